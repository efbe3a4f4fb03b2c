"""From Python: the same runs as by the command line, on environments that nobody registered."""

import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

import ppo
from envs.base import EnvError
from ppo import evaluate
from ppo.compare.load import load
from ppo.compare.trial import CompareError
from ppo.config.options import ConfigError
from ppo.logging.jsonl import read

SMALL = (
    "logger=none",
    "compile=false",
    "workers=0",
    "network.actor=[8]",
    "network.critic=[8]",
    "num_envs=4",
    "epochs=2",
)
SMALL += ("num_steps=32", "minibatch_size=32", "total_steps=256", "eval.episodes=2", "normalise.warmup=false")


class Follow(gymnasium.Env):
    """The best action is the first entry of the observation."""

    observation_space, action_space = Box(-1, 1, (2,)), Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.draw(), {}

    def draw(self):
        self.target = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.target

    def step(self, action):
        self.t += 1
        reward = -float((action[0] - self.target[0]) ** 2)
        return self.draw(), reward, False, self.t >= 10, {}


@pytest.fixture
def fit(tmp_path):
    """Runs in folders of this test."""

    def train(*words, name="run", **given):
        own = {} if given.get("resume") else {"folder": tmp_path / name}
        return ppo.fit(*SMALL, *words, **own | given)

    return train


def test_a_run_on_a_class_that_nobody_registered(fit, capsys):
    seen = []
    run = fit(env=Follow, seed=3, lr__value=1e-3, on_update=seen.append)
    assert [row["update"] for row in seen] == [1, 2] and "eval/return" in seen[-1]
    assert run.metrics["env_steps"].tolist() == [128, 256] and run.metrics["lr"][0] == 1e-3
    assert len(run.metrics["eval/return"]) == 2 and run.metrics["eval/return"][1] == run.result
    assert "kl/exact" in run.metrics and "nothing" not in run.metrics
    assert "finished, 2 updates" in repr(run)


def test_the_same_words_are_the_run_of_the_command_line(fit, tmp_path, monkeypatch):
    from ppo import cli

    words = ("env=probe", "env.task=target", "seed=5")
    run = fit(*words)
    folder = tmp_path / "typed"
    monkeypatch.setattr("sys.argv", ["ppo-train", *SMALL, *words, f"hydra.run.dir={folder}"])
    with pytest.raises(SystemExit):
        cli.main()
    typed = torch.tensor([row["loss/total"] for row in read(folder / "metrics.jsonl")])
    assert torch.equal(torch.tensor(run.metrics["loss/total"]), typed.double())


def test_two_runs_in_one_process_do_not_disturb_each_other(fit):
    before = torch.get_num_threads()
    first = fit("env=probe", "env.task=target", name="first").metrics["loss/total"]
    fit(env=Follow, seed=9, name="between")
    again = fit("env=probe", "env.task=target", name="again").metrics["loss/total"]
    assert first.tolist() == again.tolist() and torch.get_num_threads() == before


def test_a_run_that_is_over_is_not_ended_by_what_on_update_says_of_its_last_row(fit):
    run = fit(env=Follow, on_update=lambda row: row["env_steps"] == 256)
    assert "finished" in repr(run) and load([run.folder])[0].failed is None


def test_resume_may_be_none_and_its_folder_may_have_any_name(fit, tmp_path, monkeypatch):
    run = fit(env=Follow, resume=None, folder=tmp_path / "it's a=b,c")
    assert fit(env=Follow, resume=run.folder).folder == run.folder
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fit(env=Follow, folder="~/run").folder == tmp_path / "run"
    with pytest.raises(ConfigError, match="env=probe: beside env="):
        fit("env=probe", env=Follow)
    with pytest.raises(ConfigError, match="logger=null: choose one of"):
        ppo.fit(logger=None)


def test_what_on_update_says_ends_the_run_and_resume_goes_on(fit):
    run = fit(env=Follow, on_update=lambda row: row["update"] == 1)
    assert "interrupted, 1 updates" in repr(run)
    resumed = fit(env=Follow, resume=str(run.folder))
    assert resumed.folder == run.folder and "finished, 2 updates" in repr(resumed)
    whole = fit(env=Follow, name="whole")
    assert whole.metrics["loss/total"].tolist() == resumed.metrics["loss/total"].tolist()


def test_a_policy_acts_on_one_observation_and_on_many(fit, capsys):
    run = fit(env=Follow)
    with run.policy as policy:
        obs = np.float32([[0.5, 0.1], [-0.5, 0.2]])
        both = policy(obs)
        assert both.shape == (2, 1) and policy(obs[0]).shape == (1,)
        np.testing.assert_allclose(policy(obs[0]), both[0], atol=1e-6)
        np.testing.assert_allclose(policy([0.5, 0.1]), both[0], atol=1e-6)
        sampled = [policy(obs[0], stochastic=True, seed=seed) for seed in (1, 1, 2)]
        assert sampled[0] == sampled[1] != sampled[2]
        with pytest.raises(ValueError, match=r"obs has shape \(3,\), needed is \[2\] or \[N, 2\]"):
            policy([0, 0, 0])
        returns = policy.evaluate(3)
    evaluate.main([str(run.folder), "--episodes", "3"])
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"return {returns.mean():.2f} ")


def test_a_policy_with_memory_is_stepped(fit):
    run = fit(env=Follow, network="gru", network__hidden=4, network__chunk=8)
    with run.policy as policy:
        action, memory = policy.step([0.5, 0.1])
        assert action.shape == (1,) and memory.shape == (1, 8) and memory.all()
        later, _ = policy.step([0.5, 0.1], memory)
        afresh, _ = policy.step([0.5, 0.1], 0 * memory)
        for wrong in (np.zeros((2, 8)), np.zeros((1, 9)), np.zeros(8)):
            with pytest.raises(ValueError, match=r"memory has shape .*, needed is \(1, 8\) or \(\)"):
                policy.step([0.5, 0.1], wrong)
        assert policy.step([0.5, 0.1], memory.astype(np.float64))[0] == later  # as np.zeros gives it
        assert afresh == action != later and policy.step([0.5, 0.1], memory, stochastic=True)[1].shape == (1, 8)
        with pytest.raises(ValueError, match=r"has a memory: action, memory = policy\.step\(obs, memory\)"):
            policy([0.5, 0.1])
        assert len(policy.evaluate(3)) == 3


def test_a_policy_of_a_class_is_filmed_and_refuses_a_window_where_there_is_none(fit, tmp_path, monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    for name in ("WAYLAND_DISPLAY", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    class Drawn(Follow):
        metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012

        def __init__(self, render_mode=None):
            self.render_mode = render_mode

        def render(self):
            return np.zeros((16, 16, 3), np.uint8)

    with fit(env=Drawn).policy as policy:
        assert policy.film(tmp_path / "a.gif").endswith("(10 states, 2.00 s at 5 a second)")
        assert (tmp_path / "a.gif").stat().st_size > 0
        with pytest.raises(ConfigError, match="must end in .mp4 or .gif"):
            policy.film(tmp_path / "a.avi")
        if sys.platform.startswith("linux"):
            with pytest.raises(EnvError, match="there is no display here"):
                policy.watch()


def test_an_environment_of_another_process_is_asked_for(fit, monkeypatch):
    run = fit(env=Follow)
    monkeypatch.setattr("envs.gym._MADE", {})
    with pytest.raises(EnvError, match=r"ppo.load\(RUN, env="):
        ppo.load(run.folder)
    with ppo.load(run.folder, env=Follow, checkpoint="best") as policy:
        assert policy([0.0, 0.0]).shape == (1,)


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"env": "Nope-v0"}, EnvError, "Nope"),
        ({"lr__val": 1}, ConfigError, "lr.val: no such key or group; did you mean value?"),
        ({"kl": "k9"}, ConfigError, "kl=k9: no such option"),
        ({"epochs": 0}, ConfigError, "epochs=0: must be at least 1"),
    ],
    ids=str,
)
def test_a_mistake_is_the_line_of_the_command_line(fit, given, kind, said):
    with pytest.raises(kind) as error:
        fit(**given)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        (("+sweep=kl",), {}, "+sweep=kl: for the command line"),
        (("hydra.run.dir=/tmp/x",), {}, "fit trains one run, in folder="),
        (("-m",), {}, "for the command line"),
        ((), {"resume": "o'brien"}, "o'brien: no run there"),
        (
            (
                "seed=1",
                "env.id=a b[",
            ),
            {},
            "cannot be read",
        ),
    ],
    ids=str,
)
def test_what_only_the_command_line_has_is_refused(fit, words, given, said):
    with pytest.raises(ConfigError, match="^[^\n]*$") as error:
        ppo.fit(*words, **given)
    assert said in str(error.value)


def test_a_refused_run_leaves_no_folder_and_a_fault_its_traceback(fit, tmp_path):
    class Broken(Follow):
        def step(self, action):
            raise KeyError("x")

    with pytest.raises(ConfigError):
        fit(epochs=0)
    assert not (tmp_path / "run").exists()
    with pytest.raises(EnvError, match="traceback.txt"):
        fit(env=Broken)
    assert "KeyError" in (tmp_path / "run" / "traceback.txt").read_text()


def test_two_makers_of_one_name_are_not_mixed_up(fit):
    fit(env=lambda: Follow())
    with pytest.raises(EnvError, match="another environment of this program already"):
        fit(env=lambda: Follow(), name="other")


def test_a_loaded_policy_is_the_one_that_is_evaluated(fit):
    run = fit(env=Follow, on_update=lambda row: True)
    with run.policy as policy:
        before = policy.evaluate(3).tolist()
        fit(env=Follow, resume=str(run.folder))
        assert policy.evaluate(3).tolist() == before
    with run.policy as later:
        assert later.evaluate(3).tolist() != before


def test_a_ctrl_c_ends_one_run_and_not_the_next(fit):
    import os
    import signal

    with pytest.raises(KeyboardInterrupt, match="resume=.* continues the run"):
        fit(env=Follow, on_update=lambda row: os.kill(os.getpid(), signal.SIGINT))
    assert "finished" in repr(fit(env=Follow, name="next"))


def test_hydra_and_torch_are_as_they_were(fit, tmp_path):
    from hydra import compose, initialize_config_dir

    from ppo.config.options import CONF

    before = torch.get_num_threads()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run = fit(env=Follow)
        assert compose("config", ["seed=7"]).seed == 7
    run.policy.close()
    assert torch.get_num_threads() == before


def test_lists_and_texts_are_columns_too(fit):
    metrics = dict(fit(env=Follow).metrics)
    assert metrics["update/stop"][0] in ("none", "minibatch") and isinstance(metrics["trace/k1"][0], list)


def test_the_observation_of_a_dict_is_one_row(fit):
    class Told(Follow):
        observation_space = gymnasium.spaces.Dict(there=Box(-1, 1, (2,)), here=Box(-1, 1, (1,)))

        def draw(self):
            return {"there": super().draw(), "here": np.zeros(1, np.float32)}

    with fit(env=Told).policy as policy:
        one = policy({"there": np.float32([0.1, 0.2]), "here": np.float32([0])})
        np.testing.assert_allclose(one, policy([0.1, 0.2, 0]), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (2,)])
def test_an_observation_of_several_axes_is_one_observation(fit, shape):
    """As the environment gives it, such as a stack of frames: no batch; many of them are rows."""

    class Stacked(Follow):
        observation_space = Box(-1, 1, shape)

        def draw(self):
            return super().draw().reshape(shape)

    Stacked.__qualname__ += str(shape)  # three environments, of three names
    with fit(env=Stacked).policy as policy:
        one = policy(np.float32([0.1, 0.2]).reshape(shape))
        assert one.shape == (1,)
        np.testing.assert_allclose(
            one, policy([[0.1, 0.2], [0.3, 0.4]])[0] if shape == (2,) else policy([0.1, 0.2]), atol=1e-6
        )


def test_a_number_is_an_observation_of_a_discrete_space(fit):
    class Counted(Follow):
        observation_space = gymnasium.spaces.Discrete(4, start=1)

        def draw(self):
            super().draw()
            return 2

    with fit(env=Counted).policy as policy:
        np.testing.assert_allclose(policy(2), policy(np.int64(2)))
        np.testing.assert_allclose(policy(2), policy([0, 1, 0, 0]), atol=1e-6)
        with pytest.raises(ValueError, match="obs has shape"):
            policy(7)


def test_a_list_of_discrete_observations_is_a_batch(fit):
    class Four(Follow):
        observation_space = gymnasium.spaces.Discrete(4)

        def draw(self):
            super().draw()
            return int(self.t % 4)

    with fit(env=Four).policy as policy:
        for states in ([0, 1, 2, 3], [3, 1], np.array([2, 2, 0, 1, 1])):
            np.testing.assert_allclose(policy(states), [policy(state) for state in states], atol=1e-6)


def test_an_instance_is_refused_with_what_to_pass(fit):
    with pytest.raises(EnvError, match="env=lambda"):
        fit(env=Follow())


def test_a_verdict_says_its_sentences(tmp_path):
    rows = [f"E,{arm},{seed},1,{shift + seed % 5}" for arm, shift in (("a", 10), ("b", 0)) for seed in range(8)]
    (tmp_path / "table.csv").write_text("\n".join(["env,arm,seed,step,return", *rows, ""]))
    verdict = ppo.compare(tmp_path / "table.csv", baseline="b")
    assert "a is higher than b by 10" in repr(verdict) and verdict.numbers["pairs"][0]["difference"] == 10
    shown = verdict._repr_html_()
    assert "a is higher than b by 10" in shown and shown.count("<iframe") == 1 and "sandbox" in shown
    assert verdict.save(tmp_path / "new" / "page.html").read_text().startswith("<!doctype html>")
    with pytest.raises(CompareError):
        ppo.compare(tmp_path / "nothing.csv")


def test_factors_and_keys_are_one_text_or_several():
    from ppo.compare.arms import split

    assert split("target_kl") == split(["target_kl"]) == ["target_kl"]
    assert split("kl, norm") == split(["kl", "norm"]) == ["kl", "norm"] and split("") == split(()) == []


def test_importing_it_is_light():
    import subprocess

    said = "import sys, ppo, ppo.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", said]).returncode == 0


def test_a_policy_keeps_its_environment_whoever_is_loaded_with_another(fit):
    """The harder variant is another policy object's; neither the run nor its other policies come to play it."""

    class Hard(Follow):
        def step(self, action):
            obs, reward, *rest = super().step(action)
            return obs, reward - 100.0, *rest

    run = fit(env=Follow)
    with run.policy as easy, ppo.load(run.folder, env=Hard) as hard, run.policy as again:
        before = easy.evaluate(2).mean()
        assert hard.evaluate(2).mean() < before - 100
        assert easy.evaluate(2).mean() == again.evaluate(2).mean() == before
        assert hard.name == easy.name and "@" not in repr(hard)


def test_the_policy_of_a_run_of_code_of_ones_own_is_had_without_asking_again(fit, tmp_path, monkeypatch):
    code = "import gymnasium\nfrom tests.test_api import Follow\ngymnasium.register('Own-v0', Follow, max_episode_steps=9)\n"
    (tmp_path / "ownpackage.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    try:
        with fit(env="ownpackage:Own-v0").policy as policy:
            assert policy([0.0, 0.0]).shape == (1,)
    finally:
        sys.modules.pop("ownpackage", None)


@pytest.mark.parametrize("space", [Box(-1, 1, (2, 1)), Box(-1, 1, ()), Box(-1, 1, (1,)), gymnasium.spaces.Discrete(3)])
def test_an_action_is_what_the_environment_receives(fit, space):
    class Shaped(Follow):
        action_space = space

        def step(self, action):
            assert self.action_space.contains(action)
            return super().step(np.zeros(1, np.float32))

    Shaped.__qualname__ += str(space)
    with fit(
        env=Shaped, **({"network": "categorical"} if isinstance(space, gymnasium.spaces.Discrete) else {})
    ).policy as policy:
        assert space.contains(policy([0.1, 0.2]))
        assert np.shape(policy([[0.1, 0.2], [0.3, 0.4]])) == (2, *space.shape)
