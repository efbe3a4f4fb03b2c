"""A network of a user's own, by the very code of the documentation."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete

import ppo
from envs.fault import closing, keep
from ppo import evaluate, export
from ppo.config.options import ConfigError
from ppo.network.distributions import Categorical, Gaussian, Several
from ppo.network.flat import flatten
from ppo.network.own import Own
from ppo.run.assemble import assemble
from tests.envs.toy import Buttons

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The words that choose it."""
    (code,) = (x for x in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S) if "class Net" in x)
    (tmp_path / "mypackage.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield ("network._target_=mypackage.Net", "trust=[mypackage]")
    sys.modules.pop("mypackage", None)


def test_the_network_of_the_documentation_is_trained_evaluated_and_taught(mine, finished, trained, capsys):
    target = ("env.task=target", "num_envs=16", "minibatch_size=128", "epochs=8", "total_steps=8192", "lr.value=3e-3")
    run = finished(*mine, *target, "eval.every=0", "eval.episodes=32", "stop=minibatch", "target_kl=0.05")
    assert run.rows[-1]["eval/return"] > -0.04 and run.rows[-1]["policy/entropy"] < run.rows[0]["policy/entropy"]
    for row in run.rows:
        assert row["check/first_log_ratio"] < 1e-5 and row["check/acting"] < 1e-5 and 0 < row["kl/final"] < 0.5
    evaluate.main([str(run.folder), "--episodes", "3", "--trust", "mypackage"])
    assert "return" in capsys.readouterr().out
    words = ("reference=checkpoint", f"reference.run={run.folder}", "total_steps=128")
    rows, _ = trained(*mine, *words, f"init={run.folder}", name="taught")
    assert rows[0]["reference/kl"] >= 0 and rows[0]["check/first_log_ratio"] < 1e-5
    with pytest.raises(SystemExit) as error:
        evaluate.main([str(run.folder), "--episodes", "1"])
    assert error.value.code == 2 and "trust=[PACKAGE]" in capsys.readouterr().err


def test_it_may_hold_numbers_that_are_not_finite(tmp_path, monkeypatch, finished):
    """A mask of actions that there are not: its logits are -inf. What it holds beside its parameters does not move."""
    (tmp_path / "masks.py").write_text(MASKS)
    monkeypatch.syspath_prepend(tmp_path)
    run = finished("network._target_=masks.Net", "trust=[masks]", "env=gym", "env.id=Acrobot-v1", "eval.episodes=0")
    assert len(run.rows) == 2 and all(row["check/first_log_ratio"] < 1e-5 for row in run.rows)
    sys.modules.pop("masks", None)


MASKS = """
import torch
from torch import nn
from ppo.network.distributions import Categorical

class Net(nn.Module):
    def __init__(self, size, actions, generator):
        super().__init__()
        self.body = nn.Linear(size, actions + 1)
        absent = torch.zeros(actions)
        absent[-1] = -torch.inf
        self.register_buffer("absent", absent)

    def policy(self, obs):
        return Categorical(self.body(obs)[..., :-1] + self.absent)

    def value(self, obs):
        return self.body(obs)[..., -1]
"""


def test_its_options_are_its_own_and_its_seed_the_runs(mine, config):
    def parameters(*words):
        parts = assemble(config(*mine, *words))
        parts.envs.close()
        return parts.flat

    assert torch.equal(parameters("seed=3"), parameters("seed=3")) and not torch.equal(
        parameters(), parameters("seed=3")
    )
    assert len(parameters("+network.width=8")) < len(parameters("+network.width=9"))
    with pytest.raises(ConfigError, match=r"network.activation: network=Net has no such option; there is width"):
        assemble(config(*mine, "network.activation=tanh"))
    with pytest.raises(ConfigError, match=r"network._target_: 'mypackage.Net' is no option .*trust=\[PACKAGE\]"):
        assemble(config(*mine, "trust=[]"))


def test_it_sees_the_columns_that_are_chosen_and_is_exported(mine, finished, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = finished(
        *mine, "env=gym", "env.id=Pendulum-v1", "observe.actor=[0,2]", "observe.critic=[0,1]", "+network.width=8"
    )
    said = export.export(run.folder, tmp_path / "policy.onnx", observations=20, trust=["mypackage"])
    assert said["columns"] == [0, 2]


class Given(torch.nn.Module):
    """Gives what it was given to give."""

    def __init__(self, policy, value=lambda obs: obs[..., 0]):
        super().__init__()
        self.policy, self.value = policy, value
        self.moves = torch.nn.Parameter(torch.zeros(1))


class Counts(Given):
    """Notes how often it was asked."""

    def __init__(self):
        super().__init__(Categorical, self.count)
        self.register_buffer("calls", torch.zeros(()))

    def count(self, obs):
        self.calls += 1
        return obs[..., 0]


class Frozen(Given):
    """Has a parameter that is not to be trained, and no other."""

    def __init__(self):
        super().__init__(Categorical)
        self.moves.requires_grad_(False)


def logits(*shape):
    return lambda obs: obs[..., :1].reshape(*obs.shape[:-1], *[1] * len(shape)) + torch.zeros(*shape)


BOX = Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("net", "space", "said"),
    [
        (torch.nn.Linear(3, 2), BOX, "Linear: needed is a torch.nn.Module with policy(obs) and value(obs)"),
        (object(), BOX, "object: needed is a torch.nn.Module"),
        (Given(lambda obs: obs), BOX, "policy(obs) gives Tensor; needed is Gaussian for actions of Box"),
        (Given(lambda obs: Categorical(obs)), BOX, "gives Categorical; needed is Gaussian"),
        (
            Given(lambda obs: Gaussian(obs[..., :2], torch.zeros(2))),
            BOX,
            "gives [2]; needed is [2, 2]; a log_std that is the",
        ),
        (Given(lambda obs: Gaussian(obs, obs)), BOX, "policy(obs [2, 3]) gives [2, 3]; needed is [2, 2]"),
        (
            Given(lambda obs: Gaussian(obs[..., :2], obs[..., :2]), lambda obs: obs[..., :1]),
            BOX,
            "value(obs [2, 3]) gives [2, 1]; needed is [2]",
        ),
        (Given(lambda obs: Categorical(obs)), Discrete(4), "gives [2, 3]; needed is [2, 4]"),
        (Given(lambda obs: Several(logits(2, 3)(obs))), MultiDiscrete([2, 3]), "does not have must be -inf"),
        (Counts(), Discrete(3), "calls changes when the network is called"),
        (Given(lambda obs: Categorical(obs + torch.rand(3))), Discrete(3), "policy(obs) gives something else when"),
        (
            Given(Categorical, lambda obs: torch.rand(obs.shape[:-1])),
            Discrete(3),
            "value(obs) gives something else when",
        ),
        (Frozen(), Discrete(3), "Frozen: has no parameters to train"),
    ],
    ids=range(13),
)
def test_what_does_not_fit_is_one_line(net, space, said):
    with pytest.raises(ValueError) as error:
        Own(net, (3, 3), space)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("policy", "space"),
    [
        (lambda obs: Categorical(logits(3)(obs) + torch.arange(3.0)), Discrete(3)),
        (lambda obs: Several(logits(2, 3)(obs) + torch.tensor([[0, 1, -math.inf], [1, 0, 2]])), MultiDiscrete([2, 3])),
    ],
    ids=["one", "several"],
)
def test_its_discrete_actions_have_the_probabilities_that_it_says(policy, space):
    network = Own(Given(policy), (3, 3), space)
    noise = network.noise(1, 20_000, torch.Generator().manual_seed(0))[0]
    action, given = network.sample(torch.zeros(20_000, 3), noise)
    every = torch.softmax(given.logits[:1], -1).reshape(-1, 3)
    for chosen, p in zip(action.reshape(20_000, -1).T, every, strict=True):
        shares = torch.bincount(chosen, minlength=3) / 20_000
        assert ((shares - p).abs() <= 4 * (p * (1 - p) / 20_000).sqrt()).all()


@pytest.mark.parametrize(
    ("made", "line"),
    [
        ("raise KeyError('width')", "KeyError: 'width' .*mynet.py:2 in net"),
        ("return Given(lambda obs: obs.means)", "AttributeError: .*no attribute 'means' .*mynet.py:2 in <lambda>"),
        ("return Given(lambda obs: obs @ obs)", "RuntimeError: .*mynet.py:2 in <lambda>"),
    ],
    ids=["made", "called", "shapes"],
)
def test_what_its_code_raises_is_one_line_with_the_place_and_the_traceback_beside_it(
    monkeypatch, config, tmp_path, made, line
):
    (tmp_path / "mynet.py").write_text(
        f"def net(obs_size, action_size, generator):\n    {made}\n\nfrom tests.run.test_own import Given\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=f"^network: its code raised {line}") as error:
        assemble(config("network._target_=mynet.net", "trust=[mynet]"))
    sys.modules.pop("mynet")
    assert "\n" not in str(error.value) and "mynet.py" in error.value.__cause__.traceback
    keep(error.value, tmp_path)
    assert str(error.value).endswith("traceback.txt")


@pytest.mark.parametrize(
    "word", ["project=trpl", "objective=vmpo", "rpo=0.1", "project=trpl network=categorical"], ids=lambda word: word
)
def test_what_needs_a_mean_is_refused_where_actions_are_discrete(mine, config, word):
    with pytest.raises(ConfigError, match=f"^{word.split()[0]}: discrete actions have no mean"):
        assemble(config(*mine, "env=gym", "env.id=CartPole-v1", "stop=none", "clip=none", *word.split()))


def test_a_network_whose_critic_would_move_the_policy_has_no_natural_step(mine, config):
    trpo = ("objective=trpo", "target_kl=0.01")
    with pytest.raises(ConfigError, match="^objective=trpo: policy and critic of this network share parameters"):
        assemble(config(*mine, *trpo))
    for words in ((*mine, *trpo, "coef.value=0"), (*mine, "stop=none"), trpo):
        assemble(config(*words)).envs.close()


def test_a_critic_of_quantiles_is_refused(mine, config):
    with pytest.raises(ConfigError, match="^network: its critic gives one number; value=quantile"):
        assemble(config(*mine, "value=quantile"))


def test_several_discrete_actions_by_a_network_of_ones_own(monkeypatch, config, tmp_path):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Buttons-v0", Buttons)
    (tmp_path / "buttons.py").write_text(
        "def net(obs_size, action_size, generator):\n"
        "    from tests.run.test_own import Given, Several, padded\n"
        "    assert action_size == (2, 3, 4)\n"
        "    return Given(lambda obs: Several(padded(obs, action_size)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ("env=gym", "env.id=Buttons-v0", "network._target_=buttons.net", "trust=[buttons]")
    parts = assemble(config(*words))
    parts.envs.close()
    assert parts.network.policy(torch.zeros(5, 3)).mode().shape == (5, 3)


def padded(obs, sizes):
    lacking = np.arange(max(sizes)) >= np.array(sizes)[:, None]
    return logits(*lacking.shape)(obs) + torch.where(torch.from_numpy(lacking), -math.inf, 0.0)


def test_a_yaml_of_ones_own_is_meant_whatever_ours_says_too(tmp_path):
    """Its eps is another function's; what the default option of the group says is not."""
    (tmp_path / "mine").mkdir()
    code = "def shrink(progress, *, eps: float = 0.2, floor: float = 0.1):\n    raise KeyError(eps, floor)\n"
    (tmp_path / "mine" / "shrink.py").write_text(code)
    (tmp_path / "mine" / "__init__.py").touch()
    (tmp_path / "conf" / "clip").mkdir(parents=True)
    (tmp_path / "conf" / "clip" / "shrink.yaml").write_text("_target_: mine.shrink.shrink\neps: 0.4\nfloor: 0.05\n")
    root = str(PAGE.parents[1])
    base = [sys.executable, "-m", "ppo.train", "--config-dir", str(tmp_path / "conf"), "trust=[mine]", "env=probe"]
    base += ["logger=none", f"hydra.run.dir={tmp_path / 'run'}", "total_steps=256", "num_steps=32"]
    environment = os.environ | {"PYTHONPATH": f"{root}:{tmp_path}"}
    named = "clip._target_=mine.shrink.shrink"
    for word, said in (("clip=shrink", "KeyError: (0.4, 0.05)"), (named, "KeyError: (0.2, 0.1)")):
        done = subprocess.run([*base, word], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert said in done.stdout + done.stderr, done.stderr


FEATURES = """
import torch
from torch import nn
from ppo.network.distributions import Gaussian

class Features(nn.Module):
    \"\"\"Random features, drawn once: some in a buffer, some in a layer that is not to be trained, some in neither.\"\"\"

    def __init__(self, obs_size, action_size, generator):
        super().__init__()
        self.register_buffer("waves", torch.randn(obs_size, 8))
        self.fixed, self.phase = nn.Linear(8, 8), torch.randn(8)
        self.fixed.requires_grad_(False)
        self.mean, self.critic = nn.Linear(8, action_size), nn.Linear(8, 1)
        self.log_std = nn.Parameter(torch.zeros(action_size))

    def seen(self, obs):
        return self.fixed(torch.sin(obs @ self.waves + self.phase))

    def policy(self, obs):
        mean = self.mean(self.seen(obs))
        return Gaussian(mean, self.log_std.expand_as(mean))

    def value(self, obs):
        return self.critic(self.seen(obs)).squeeze(-1)
"""


def test_what_is_not_trained_stays_and_comes_back_with_the_parameters(monkeypatch, config, finished, trained, tmp_path):
    (tmp_path / "features.py").write_text(FEATURES)
    monkeypatch.syspath_prepend(tmp_path)
    words = ("network._target_=features.Features", "trust=[features]")
    with closing(assemble(config(*words, "seed=5")).envs):
        pass  # what another seed draws first
    drawn = assemble(config(*words, "seed=3"))
    drawn.envs.close()
    run = finished(*words, "seed=3", "lr.value=0.1")
    with ppo.load(run.folder, trust=["features"]) as policy:
        loaded = policy._policy.network
    for name in ("net.waves", "net.fixed.weight", "net.fixed.bias"):
        assert torch.equal(loaded.state_dict()[name], drawn.network.state_dict()[name]), name
    assert torch.equal(loaded.net.phase, drawn.network.net.phase)
    assert (flatten(loaded) - drawn.flat).abs().max() > 0.05 and len(drawn.flat) == 8 + 1 + 8 + 1 + 1
    # Parameters of one seed mean nothing with the features of another; nor once that run resumes.
    other, steps = (*words, "seed=4", f"init={run.folder}", "lr.value=1e-9"), "total_steps=256"
    trained(*other, steps, name="taught")
    trained(*other, "total_steps=512", name="taught")
    with ppo.load(tmp_path / "taught", trust=["features"]) as policy:
        assert torch.equal(policy._policy.network.net.waves, loaded.net.waves)
