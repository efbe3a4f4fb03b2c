import numpy as np
import pytest

from envs.base import EnvError
from envs.envpool import envpool


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "envpool", None)
    with pytest.raises(EnvError, match="pip install") as error:
        envpool(1, 0, id="HalfCheetah-v5")
    assert "\n" not in str(error.value)


def test_every_row_is_a_real_step():
    pytest.importorskip("envpool")
    env, twin = envpool(3, 1, id="Hopper-v5"), envpool(3, 2, id="Hopper-v5")
    obs = env.reset(1).copy()
    np.testing.assert_array_equal(obs, twin.reset(1))
    rng = np.random.default_rng(0)
    returns, ends = np.zeros(3), 0
    for _ in range(300):
        action = rng.uniform(-1, 1, (3, 3))
        step = env.step(action)
        for a, b in zip(step, twin.step(action)):
            np.testing.assert_array_equal(a, b)
        done = step.terminated | step.truncated
        returns += step.reward
        np.testing.assert_allclose(step.episode_return[done], returns[done])
        returns[done] = 0
        ends += done.sum()
        # The next episode begins at once, upright and about 1.25 m high; elsewhere the world goes on.
        assert (np.abs(step.obs[done, 0] - 1.25) < 0.01).all()
        np.testing.assert_array_equal(step.obs[~done], step.next_obs[~done])
    assert ends > 5
    np.testing.assert_array_equal(env.reset(1), obs)
    with pytest.raises(EnvError, match="mujoco"):
        env.state()
    env.close()
    env.close()
    with pytest.raises(EnvError, match="after close"):
        env.reset(0)


@pytest.mark.parametrize("num_envs, workers, threads", [(4, 0, 1), (4, 1, 2), (4, 9, 4)])
def test_there_is_a_thread_for_each_worker_and_one_in_place_of_this_process(monkeypatch, num_envs, workers, threads):
    library = pytest.importorskip("envpool")
    make, asked = library.make_gymnasium, []
    monkeypatch.setattr(library, "make_gymnasium", lambda *a, **k: asked.append(k["num_threads"]) or make(*a, **k))
    envpool(num_envs, workers, id="Hopper-v5").close()
    assert asked == [threads]


def test_an_unknown_task():
    pytest.importorskip("envpool")
    with pytest.raises(EnvError, match="Nope-v5"):
        envpool(1, 0, id="Nope-v5")
