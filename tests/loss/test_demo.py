"""Demonstrations: read, drawn, cloned, and kept from drowning the reward."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from envs.action import tanh
from ppo.buffer.data import Pairs
from ppo.config.options import ConfigError, option
from ppo.control.progress import Progress, Seen
from ppo.loss.demo import Demo, none
from ppo.loss.terms import Term, demonstrations, entropy
from ppo.network.normaliser import ObsNormaliser
from ppo.update.step import build_step
from ppo.update.total import Guards, build_loss
from tests.update.steps import turn

SEEN, DONE = Box(-1, 1, (3,), np.float32), Box(np.float32([-1, 0]), np.float32([1, 4]))


@pytest.fixture
def recorded(tmp_path):
    """A factory of .npz files."""

    def write(obs, action, **others):
        np.savez(tmp_path / "demo.npz", obs=obs, action=action, **others)
        return str(tmp_path / "demo.npz")

    return write


def npz(*spaces, **given):
    return option("demo", "npz", **given)(*spaces)


def minari(*spaces, **given):
    return option("demo", "minari", **given)(*spaces)


def pairs(n=50, actions=DONE, seed=0):
    g = np.random.default_rng(seed)
    return g.uniform(-1, 1, (n, 3)), g.uniform(actions.low, actions.high, (n, 2))


def test_without_demonstrations_there_are_none():
    assert none(SEEN, DONE, False) is None


def test_what_is_drawn_was_demonstrated_together(recorded):
    obs, action = pairs()
    demo = npz(SEEN, DONE, False, path=recorded(obs, action))
    normalise = ObsNormaliser(torch.full((3,), 0.5), torch.full((3,), 2.0), 10.0)
    drawn = demo.draw(torch.Generator().manual_seed(0), normalise, (40, 25))
    assert drawn.obs.shape == (40, 25, 3) and drawn.action.dtype == torch.float32
    known = {tuple(np.float32(a)): o for o, a in zip(obs, action)}
    rows = list(zip(drawn.obs.flatten(0, 1), drawn.action.flatten(0, 1)))
    for o, a in rows:
        np.testing.assert_allclose(known[tuple(a.numpy())], 2 * o.numpy() + 0.5, atol=1e-6)
    assert len({tuple(a.tolist()) for _, a in rows}) == 50


def test_with_tanh_the_action_is_the_one_that_tanh_makes_it_of(recorded):
    obs, action = pairs()
    action[0] = DONE.high  # a bound has no finite one
    demo = npz(SEEN, DONE, True, path=recorded(obs, action))
    np.testing.assert_allclose(tanh(demo.action.numpy(), DONE), action, atol=3e-3)
    assert demo.action.abs().max() < 4


def test_discrete_actions_count_from_zero(recorded):
    demo = npz(SEEN, Discrete(3, start=5), False, path=recorded(np.zeros((4, 3)), np.array([5, 6, 7, 5])))
    assert demo.action.tolist() == [0, 1, 2, 0] and demo.action.dtype == torch.int64


@pytest.mark.parametrize(
    ("obs", "action", "named"),
    [
        (np.zeros((4, 2)), np.zeros((4, 2)), "do not fit"),
        (np.zeros((4, 3)), np.zeros((5, 2)), "do not fit"),
        (np.zeros((0, 3)), np.zeros((0, 2)), "do not fit"),
        (np.full((4, 3), np.nan), np.zeros((4, 2)), "not finite"),
        (np.array([None]), np.zeros((4, 2)), "cannot be read"),  # a pickled object
        (np.full((4, 3), "0.5"), np.zeros((4, 2)), "holds <U3; numbers were expected"),
    ],
)
def test_a_recording_that_does_not_fit_is_refused(recorded, obs, action, named):
    with pytest.raises(ConfigError, match=named) as error:
        npz(SEEN, DONE, False, path=recorded(obs, action))
    assert "\n" not in str(error.value)


def test_other_mistakes_are_one_line(recorded, tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        npz(SEEN, DONE, False, path=str(tmp_path / "nowhere.npz"))
    with pytest.raises(ConfigError, match=r"demo.coef=-1"):
        npz(SEEN, DONE, False, path=recorded(*pairs()), coef=-1.0)
    with pytest.raises(ConfigError, match="not among the 2"):
        npz(SEEN, Discrete(2), False, path=recorded(np.zeros((2, 3)), np.array([0, 2])))
    with pytest.raises(ConfigError, match="not among the 2"):  # 0.9 is no action
        npz(SEEN, Discrete(2), False, path=recorded(np.zeros((2, 3)), np.array([0, 0.9])))


@pytest.mark.parametrize("damage", ["torn", "empty", "one array"])
def test_a_file_that_is_no_archive_is_one_line(recorded, tmp_path, damage):
    content = Path(recorded(*pairs())).read_bytes()
    if damage == "one array":
        np.save(tmp_path / "demo.npz.npy", np.zeros(3))
        content = (tmp_path / "demo.npz.npy").read_bytes()
    file = tmp_path / "damaged.npz"
    file.write_bytes({"torn": content[: len(content) // 2], "empty": b""}.get(damage, content))
    with pytest.raises(ConfigError, match="cannot be read") as error:
        npz(SEEN, DONE, False, path=str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("episodes", "named"),
    [
        ([SimpleNamespace(observations={"x": np.zeros((3, 3))}, actions=np.zeros((2, 2)))], "are dict; arrays"),
        ([], "no episode"),
    ],
)
def test_a_minari_data_set_of_another_kind_is_refused(monkeypatch, episodes, named):
    library = SimpleNamespace(load_dataset=lambda name: SimpleNamespace(iterate_episodes=lambda: iter(episodes)))
    monkeypatch.setitem(sys.modules, "minari", library)
    with pytest.raises(ConfigError, match=named):
        minari(SEEN, DONE, False, dataset="some/such-v0")


def test_the_loss_is_the_coefficient_times_the_mean_of_minus_log_prob(problem, numbers, make_loss):
    p, other = problem(moved=0.1), problem(moved=0.2, seed=1)
    batch = p.batch._replace(demo=Pairs(other.batch.obs, other.batch.action))
    mask = torch.arange(64) < 48
    with_it, without = (
        build_loss(p.evaluate, make_loss(terms=terms), Guards())(
            p.learner.params, batch, mask.float() / 48, numbers(coef={"demo": 0.3})
        )[0]
        for terms in ((demonstrations(),), ())
    )
    expected = -p.module.policy(other.batch.obs).log_prob(other.batch.action)[mask].mean()
    torch.testing.assert_close(with_it - without, 0.3 * expected)


def test_the_share_of_the_term_is_the_length_of_its_gradient_over_that_of_the_rest(problem, numbers, make_loss):
    p, other = problem(moved=0.1), problem(moved=0.2, seed=1)
    batch = p.batch._replace(demo=Pairs(other.batch.obs, other.batch.action))
    both, knobs = make_loss(terms=(Term("entropy", entropy), demonstrations())), {"entropy": 0.1, "demo": 0.3}
    found = turn(build_step(p.evaluate, both, Guards()), p.learner, batch, numbers(coef=knobs)).metrics
    rest = make_loss(terms=(Term("entropy", entropy),))
    alone = make_loss(terms=(demonstrations(),), policy=False, critic=False)
    of_rest, of_term = (
        turn(build_step(p.evaluate, loss, Guards()), p.learner, batch, numbers(coef=knobs)).metrics["grad/norm"]
        for loss in (rest, alone)
    )
    assert found["bc/ppo_ratio"] == pytest.approx(of_term / of_rest, rel=1e-4)


def test_an_adaptive_coefficient_holds_the_ratio_at_one():
    """Whatever the last weight was, the next is the one at which the last update's ratio would have been 1."""
    fixed, adaptive = (Demo(torch.zeros(1, 1), torch.zeros(1, 1), 0.5, x) for x in (False, True))

    def after(last, ratio):
        return Progress(last=last, seen=Seen(demo_ratio=ratio))

    assert (
        fixed.next_coef(after(0.5, 9.0)) == adaptive.next_coef(Progress()) == adaptive.next_coef(after(0.5, 0.0)) == 0.5
    )
    assert [adaptive.next_coef(after(0.5, ratio)) for ratio in (1.0, 2.0, 10.0)] == [0.5, 0.25, 0.05]
    assert adaptive.next_coef(after(0.05, 0.5)) == 0.1 and adaptive.next_coef(after(0.4, 0.1)) == 0.5
    assert [adaptive.next_coef(after(0.5, ratio)) for ratio in (1e9, math.inf, math.nan)] == [0.01] * 3


# Whole runs

TARGET = ("env=probe", "env.task=target", "eval.every=0")


@pytest.fixture
def teacher(tmp_path):
    """The best action of the task `target`: obs / 2."""
    obs = np.linspace(-1, 1, 201)[:, None]
    np.savez(tmp_path / "teacher.npz", obs=obs, action=obs / 2)
    return f"demo.path={tmp_path / 'teacher.npz'}"


def test_a_teacher_is_cloned(trained, teacher):
    """In so few steps reward alone does not come near; an imitator does."""
    words = (*TARGET, "total_steps=1024", "lr.value=1e-2", "epochs=4", "network.log_std_min=-1")
    alone, _ = trained(*words, name="alone")
    cloned, _ = trained(*words, "demo=npz", "demo.coef=1", teacher, name="cloned")
    assert cloned[-1]["eval/return"] > -0.003 > alone[-1]["eval/return"]
    assert cloned[-1]["bc/loss"] < cloned[0]["bc/loss"] and "bc/loss" not in alone[-1]
    assert all(0 < row["bc/ppo_ratio"] < math.inf for row in cloned)


def test_a_large_term_is_warned_about_and_an_adaptive_one_lowered(trained, teacher, capsys):
    words = (*TARGET, "demo=npz", "demo.coef=50", teacher)
    rows, _ = trained(*words, name="fixed")
    assert rows[0]["bc/ppo_ratio"] > 2 and "lower demo.coef" in capsys.readouterr().out
    adaptive, _ = trained(*words, "demo.adaptive=true", name="adaptive")
    assert adaptive[0]["bc/coef"] == 50
    assert adaptive[1]["bc/coef"] == pytest.approx(max(0.01, 50 / adaptive[0]["bc/ppo_ratio"]), rel=1e-4)


def test_minari_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ConfigError, match="^demo=minari needs an extra: "):
        minari(SEEN, DONE, False, dataset="mujoco/hopper/expert-v0")


def test_a_minari_data_set_is_read(monkeypatch, tmp_path):
    """One that Minari itself wrote: as many pairs as steps, each with the observation that was acted on."""
    library = pytest.importorskip("minari")
    pytest.importorskip("jax")  # which Minari needs for writing
    import gymnasium

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = library.DataCollector(gymnasium.make("Pendulum-v1", max_episode_steps=5))
    done = []
    for seed in (0, 1):
        obs, _ = env.reset(seed=seed)
        for _ in range(5):
            action = np.array([0.1 * len(done)], np.float32)
            done.append((obs, action))
            obs, *_ = env.step(action)
    env.create_dataset(dataset_id="pendulum/ours-v0")
    demo = minari(env.observation_space, env.action_space, False, dataset="pendulum/ours-v0")
    for i, x in enumerate((demo.obs, demo.action)):
        np.testing.assert_allclose(x.numpy(), np.stack([row[i] for row in done]), atol=1e-6)
    with pytest.raises(ConfigError, match="demo.dataset=none/such-v0"):
        minari(SEEN, DONE, False, dataset="none/such-v0")
