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

import torch
from hydra import compose, initialize_config_dir

from envs.native import cache_folder
from ppo.buffer.data import Batch, Pairs, leaves, tree_map
from ppo.buffer.minibatches import random_order, shuffle
from ppo.config.options import option
from ppo.control.stop import Limits
from ppo.logging.base import Run
from ppo.loss import kl, norm, objective, value
from ppo.loss.terms import Term, decoupled, demonstrations, entropy, penalty, projection, reference
from ppo.network.actor_critic import ActorCritic, widen
from ppo.network.flat import Evaluate, build_evaluate, flatten
from ppo.run import checkpoint
from ppo.train import train
from ppo.update.compile import compile_step
from ppo.update.duals import build_duals
from ppo.update.loop import Update, update
from ppo.update.measure import build_measure
from ppo.update.optim import Learner, adam, follow_kl
from ppo.update.passes import native_pass
from ppo.update.step import GOING, LIMIT, Step, build_step, one_by_one
from ppo.update.total import Guards, Knobs, Loss

NETWORKS = {
    "gsde": ("gsde", {}),
    "state_std": ("state_std", {"squash": True}),
    "squash": ("mlp", {"squash": True}),
    "scalar": ("mlp", {"std_type": "scalar"}),
    "categorical": ("categorical", {}),
    "gru": ("gru", {"hidden": 8, "chunk": 4}),
}
ROOT = Path(__file__).parents[2]


def build(name: str = "mlp", *, width: int = 16, **options) -> ActorCritic:
    option_of = option("network", name, actor=[width], critic=[width], activation="tanh", **options)
    return option_of(3, 2, torch.Generator().manual_seed(0))


def problem(network: ActorCritic, samples: int) -> tuple[Evaluate, Learner, Batch]:
    g = torch.Generator().manual_seed(1)
    obs = torch.randn(samples, 3, generator=g)
    memory = first = ()
    if size := network.memory_size:
        memory, first = torch.randn(samples, size, generator=g), torch.rand(samples, generator=g) < 0.2
    given = (memory[:: network.chunk], first) if size else ()
    with torch.no_grad():
        policy, value = network.policy(obs, *given), network.value(obs, *given)
        action = policy.sample(g)
        batch = Batch(
            obs=obs,
            action=action,
            policy=tree_map(torch.clone, policy),
            value=value,
            target=value + torch.randn(samples, generator=g),
            advantage=torch.randn(samples, generator=g),
            group=torch.arange(samples) % 3,
            mask=torch.rand(samples, generator=g) < 0.9,
            noise=torch.zeros(samples, 0),
            memory=memory,
            first=first,
        )
    flat = flatten(network)
    return build_evaluate(network), Learner.start(flat), batch


def knobs_of(coef: dict[str, float] | None = None, **numbers: float) -> Knobs:
    """No limit, a weight of 0.5 of the critic's loss."""
    plain = {"lr": 3e-3, "clip_low": 0.8, "clip_high": 1.2, "limit": math.inf, "max_grad_norm": math.inf, "value": 0.5}
    tensors = {name: torch.tensor(x) for name, x in (plain | numbers).items()}
    return Knobs(**tensors, coef={name: torch.tensor(x) for name, x in (coef or {}).items()})


def same(words: list[str]) -> None:
    """Parameters and moments to 1e-6 after two updates of two epochs, the second with other numbers and a stop."""
    name, options = next((NETWORKS[word] for word in words if word in NETWORKS), ("mlp", {}))
    network = build(name, **options)
    critic = next((word for word in words if hasattr(value, word)), "mse")
    if critic == "quantile":
        widen(network, 32)
    evaluate, learner, batch = problem(network, 256)
    aim = next((word for word in words if hasattr(objective, word)), "ppo")
    estimator = kl.k3 if "k3" in words else kl.exact
    terms = [Term("entropy", entropy), penalty(estimator)] if "penalty" in words else []
    if "trpl" in words:
        terms += [projection()]
    if "pulled" in words:
        terms += [reference(lambda policy, frozen: policy.kl(frozen)), demonstrations()]
        pairs = Pairs(batch.obs + 0.1, batch.action)
        batch = batch._replace(reference=tree_map(lambda x: x + 0.1, batch.policy), demo=pairs)
    loss = Loss(
        option("objective", aim, **({"dual": 1.5} if "dual" in words else {})),
        estimator,
        option("value", critic),
        terms=tuple(terms),
        noise="rpo" in words,
        project=option("project", "trpl", mean=1e-3, deviation=1e-5)().project if "trpl" in words else None,
    )
    if aim == "vmpo":
        duals, move = build_duals(loss.objective.keywords, adam, learner.params)
        learner, loss = learner._replace(duals=duals), loss._replace(terms=decoupled(), duals=move)
    limits = Limits("minibatch", step=0.004)
    if "ratio" in words:
        limits = Limits("ratio", step=0.15, metric="ratio/deviation")
    rate = None
    if "rate" in words:
        learner = learner._replace(lr=torch.tensor(1e-3))
        rate = partial(follow_kl, target=0.001, tolerance=2.0, factor=1.5, min=1e-5, max=1e-2)
    eager = build_step(
        evaluate, loss, Guards(), watch=limits.metric, micro_batches=2 if "micro" in words else 1, rate=rate
    )
    weights = {"projection": 1.0, "entropy": 0.01, "kl": 0.1, "reference": 0.2, "demo": 0.3}
    coef = {term.name: weights[term.name] for term in terms}
    first = knobs_of(coef, max_grad_norm=0.5)
    second = knobs_of(coef, lr=1e-2, clip_low=0.7, clip_high=1.4, limit=limits.step)
    ends = []
    for step in (eager, compile_step(eager, "true", 0)):
        bound = Update(
            step=step,
            measure=build_measure(evaluate, estimator, clamp=10.0),
            norm=norm.group,
            limits=Limits("none"),
            epochs=2,
            minibatch_size=64,
            rpo=0.3 * ("rpo" in words),
            chunk=network.chunk,
        )
        g = torch.Generator().manual_seed(1)
        state, _, _ = update(bound, learner, batch, first, g)
        ends.append(update(bound._replace(limits=limits), state, batch, second, g)[:2])
        if step is not eager:
            noise = torch.rand(batch.action.shape, generator=g) if "rpo" in words else batch.noise
            minibatches = shuffle(batch._replace(noise=noise), 64, random_order(256, network.chunk, g))
            for leave, limit, taken in ((True, math.inf, 4), (True, 0.0, 1), (False, 0.0, 4)):
                knobs = second._replace(limit=torch.tensor(limit))
                one_call(step, state, minibatches, knobs, leave, taken)
    (one, halt), (two, other) = ends
    assert halt and other and halt.reason == other.reason == limits.name, (halt, other)
    assert (halt.epoch, halt.minibatch) == (other.epoch, other.minibatch), (halt, other)
    for x, y in zip(leaves(one), leaves(two), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-6)
    assert (one.params - learner.params).abs().max() > 0.01


def one_call(step: Step, learner: Learner, minibatches: Batch, knobs: Knobs, leave: bool, expected: int) -> None:
    """A pass in one call of compiled code is, to the bit, that of a call a step, and leaves where it should."""
    assert step.over is not None and native_pass(next(cache_folder().glob("[0-9a-f]*.so"))) is not None
    ends = []
    for over in (step.over, partial(one_by_one, step.take)):
        rows = torch.full((len(minibatches.value), len(step.reduce)), -1.0)
        after, taken = over(learner, minibatches, knobs, rows, leave)
        ends.append([*leaves(after), rows, torch.tensor(taken)])
        assert taken == expected and after.stopped == (GOING if knobs.limit > 0 else LIMIT)
    for x, y in zip(*ends, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0)


def sigma() -> None:
    """Sigma stays within [e^-10, e^2] and finite, every step is taken, and from either bound it comes back."""
    evaluate, learner, batch = problem(build(width=1), 4)
    batch = batch._replace(mask=torch.ones(4, dtype=torch.bool), target=batch.value)
    free = lambda log_ratio, advantage, low, high: log_ratio * advantage  # noqa: E731  the gradient never vanishes
    chosen = Loss(free, kl.exact, value.mse, terms=(Term("entropy", entropy),), critic=False)
    step = compile_step(build_step(evaluate, chosen, Guards()), "true", 0)
    at = [name for name, p in evaluate.network.named_parameters() for _ in range(p.numel())].index("log_std")
    draw, touched = random.Random(0), []
    for push in range(1000):
        direction = draw.choice((-1.0, 1.0))
        knobs = knobs_of({"entropy": 100 * direction}, lr=10 ** draw.uniform(-3, 0), value=0.0)
        learner = learner._replace(m=torch.zeros_like(learner.m), v=torch.zeros_like(learner.v))
        before = learner.params[at].item()
        for _ in range(100):
            learner, row = step(learner, batch, knobs)
        log_std = learner.params[at : at + 2]
        assert learner.stopped == GOING and torch.isfinite(learner.params).all(), push
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
    words += (
        "network.actor=[32,32]",
        "network.critic=[32,32]",
        "lr.value=1e-3",
        "eval.every=0",
        "checkpoint.every=512",
    )
    seen: dict[str, list[torch.Tensor]] = {}
    for choice in ("true", "false"):
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), tempfile.TemporaryDirectory() as folder:
            train(compose("config", [*words, f"compile={choice}"]), Run(Path(folder, "run"), "run", {}))
            saved = sorted(Path(folder, "run", "checkpoints").glob("step_*.safetensors"))
            seen[choice] = [checkpoint.load(path)[0]["learner.params"] for path in saved]
    assert len(seen["true"]) == len(seen["false"]) == 10
    for one, two in zip(*seen.values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-4)
    assert (seen["true"][0] - seen["true"][-1]).abs().max() > 0.05


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"same": same, "sigma": lambda words: sigma(), "runs": lambda words: runs()}[sys.argv[1]](sys.argv[2:])
