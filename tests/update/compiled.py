"""Programs for processes of their own, where shape checks are off. Each asserts.

python tests/update/compiled.py same [WORD ...]     eager and compiled updates agree, for these choices
python tests/update/compiled.py sigma               100 000 steps that push sigma about
python tests/update/compiled.py runs                whole runs of one seed, ten updates, stay together
"""

import math
import random
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from hydra import compose, initialize_config_dir

from ppo.buffer.data import Batch, Pairs, tree_map
from ppo.control.stop import Limits
from ppo.logging.base import Run
from ppo.loss import kl, norm, objective, value
from ppo.network.actor_critic import mlp, widen
from ppo.network.categorical import categorical
from ppo.network.flat import flatten
from ppo.network.gsde import gsde
from ppo.network.state_std import state_std
from ppo.run.record import Record
from ppo.train import train
from ppo.update.compile import compile_step
from ppo.update.loop import update
from ppo.update.measure import build_measure
from ppo.update.optim import Learner
from ppo.update.step import Guards, Knobs, Terms, build_step

INF = math.inf
BUILDS = {
    "gsde": gsde,
    "state_std": partial(state_std, squash=True),
    "squash": partial(mlp, squash=True),
    "categorical": categorical,
}
ROOT = Path(__file__).parents[2]


def problem(samples: int, width: int = 16, build=mlp):
    g = torch.Generator().manual_seed(0)
    network = build(3, 2, g, actor=[width], critic=[width], activation="tanh")
    obs = torch.randn(samples, 3, generator=g)
    with torch.no_grad():
        policy, prediction = network(obs)
        action = policy.sample(g)
        batch = Batch(
            obs=obs,
            action=action,
            policy=tree_map(torch.clone, policy),
            value=prediction,
            target=prediction + torch.randn(samples, generator=g),
            advantage=torch.randn(samples, generator=g),
            group=torch.arange(samples) % 3,
            mask=torch.rand(samples, generator=g) < 0.9,
            noise=torch.zeros(samples, 0),
        )
    return network, Learner.start(flatten(network)), batch


def same(words: list[str]) -> None:
    """Parameters and moments to 1e-6 after two updates of two epochs, the second with other numbers and a stop."""
    build = next((BUILDS[word] for word in words if word in BUILDS), mlp)
    network, learner, batch = problem(256, build=build)
    penalised, parts = "penalty" in words, 2 if "micro" in words else 1
    estimator = kl.k3 if "k3" in words else kl.exact
    critic = next((getattr(value, word) for word in words if hasattr(value, word)), value.mse)
    aim = next((getattr(objective, word) for word in words if hasattr(objective, word)), objective.ppo)
    if critic is value.quantile:
        widen(network, 32)
        learner = Learner.start(flatten(network))
    aim = partial(aim, dual=1.5) if "dual" in words else aim
    terms = Terms(aim, estimator, critic, use_noise="rpo" in words, use_entropy=penalised, use_kl=penalised)
    if "pulled" in words:
        terms = terms._replace(reference=lambda policy, reference: policy.kl(reference), use_demo=True)
        pairs = Pairs(batch.obs + 0.1, batch.action)
        batch = batch._replace(reference=tree_map(lambda x: x + 0.1, batch.policy), demo=pairs)
    reason, limits = ("ratio", Limits(ratio=0.15)) if "ratio" in words else ("minibatch", Limits(0.004))
    at = (limits.minibatch, limits.ratio)
    eager = build_step(network, terms, Guards(), micro_batches=parts)
    measure, ends = build_measure(network, estimator, clamp=10.0), []
    for step in (eager, compile_step(eager, "true", 0, " ".join(words))):
        state, g = learner, torch.Generator().manual_seed(1)
        for numbers, now in (((3e-3, 0.8, 1.2, INF, INF, 0.5), Limits()), ((1e-2, 0.7, 1.4, *at, INF), limits)):
            knobs = Knobs(*torch.tensor([*numbers, 0.5, 0.01, 0.1, 0.2, 0.3]))
            state, halt, _ = update(
                step,
                measure,
                state,
                batch,
                knobs,
                now,
                norm.group,
                g,
                epochs=2,
                minibatch_size=64,
                rpo=0.3 * ("rpo" in words),
            )
        ends.append((state, halt))
    (one, halt), (two, other) = ends
    assert halt and other and halt.reason == other.reason == reason and halt[3:] == other[3:], (halt, other)
    for x, y in zip(one, two, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-6)
    assert (one.params - learner.params).abs().max() > 0.01


def sigma() -> None:
    """Sigma stays within [e^-10, e^2] and finite, every step is taken, and from either bound it comes back."""
    network, learner, batch = problem(4, width=1)
    batch = batch._replace(mask=torch.ones(4, dtype=torch.bool), target=batch.value)
    free = lambda log_ratio, advantage, low, high: log_ratio * advantage  # noqa: E731  the gradient never vanishes
    chosen = Terms(free, kl.exact, value.mse, use_value=False, use_entropy=True)
    step = compile_step(build_step(network, chosen, Guards()), "true", 0, "sigma")
    at = [name for name, p in network.named_parameters() for _ in range(p.numel())].index("log_std")
    draw, touched = random.Random(0), []
    for push in range(1000):
        direction = draw.choice((-1.0, 1.0))
        knobs = Knobs(
            *torch.tensor([10 ** draw.uniform(-3, 0), 0.8, 1.2, INF, INF, INF, 0.0, 100 * direction, 0.0, 0.0, 0.0])
        )
        learner = learner._replace(m=torch.zeros_like(learner.m), v=torch.zeros_like(learner.v))
        before = learner.params[at].item()
        for _ in range(100):
            learner, row = step(learner, batch, knobs)
        log_std = learner.params[at : at + 2]
        assert learner.stopped == 0 and torch.isfinite(learner.params).all(), push
        assert ((log_std >= -10) & (log_std <= 2)).all() and (log_std.exp() > 0).all(), log_std
        if before in (-10.0, 2.0) and (before < -4) == (direction > 0):
            assert learner.params[at].item() != before, push
        touched.append(learner.params[at].item())
    assert min(touched) == -10 and max(touched) == 2


def runs() -> None:
    """Parameters to 1e-4 after each of ten updates. A task whose physics does not amplify rounding: there, none could."""
    words = (
        "env=probe",
        "env.task=target",
        "logger=none",
        "num_envs=8",
        "num_steps=64",
        "total_steps=5120",
        "epochs=4",
    )
    words += ("network.actor=[32,32]", "network.critic=[32,32]", "lr.value=1e-3", "eval.every=0")
    seen: dict[str, list[torch.Tensor]] = {"true": [], "false": []}
    for choice, params in seen.items():
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), tempfile.TemporaryDirectory() as folder:
            with mock.patch.object(
                Record, "save", lambda _, state, worlds, to=params: to.append(state.learner.params.clone())
            ):
                train(compose("config", [*words, f"compile={choice}"]), Run(Path(folder, "run"), "run", {}))
    assert len(seen["true"]) == len(seen["false"]) == 1 + 10  # and where both begin
    for one, two in zip(*seen.values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-4)
    assert (seen["true"][0] - seen["true"][-1]).abs().max() > 0.05


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"same": same, "sigma": lambda words: sigma(), "runs": lambda words: runs()}[sys.argv[1]](sys.argv[2:])
