"""Microseconds of a gradient step: the textbook loop in eager torch, and our step eager and compiled.

One turn is one epoch over the minibatches of a rollout, ready in memory: forward, loss, backward, norm clip, Adam, and
what each program does besides in its epoch: advantage normalisation for all, KL and clip fraction for the textbook loop,
all metrics, guards and the stop for ours. Gathering the minibatches is in none. The programs take turns in one process.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from typing import NamedTuple

import torch
from torch import Tensor

from ppo.buffer.data import Batch, tree_map
from ppo.buffer.minibatches import unstack
from ppo.config.options import option
from ppo.loss import kl, norm, objective, value
from ppo.network.actor_critic import ActorCritic
from ppo.network.flat import build_evaluate, flatten, unflatten
from ppo.update.compile import compile_step
from ppo.update.optim import Learner
from ppo.update.step import build_step
from ppo.update.total import Guards, Knobs, Loss
from scripts.benchmarks.peers.cleanrl_form import Agent, Minibatch, gradient_step
from scripts.benchmarks.table import Row, Samples, rows, table, versions
from scripts.benchmarks.workloads import WORKLOADS, Workload, pick

PEER = "cleanrl_form, eager"
SAME_AFTER = 5  # steps, from the same start, after which the parameters are compared
QUICK_SECONDS = 12  # after these no further workload is begun: a first compilation takes up to half a minute


class Shape(NamedTuple):
    """The network and the minibatches of ``like``."""

    name: str
    like: Workload
    obs: int
    actions: int


SHAPES = {
    s.name: s
    for s in (
        Shape("64x64-64", WORKLOADS["W1"], 17, 6),
        Shape("64x64-1024", WORKLOADS["W3"], 17, 6),
        Shape("256x256-128", WORKLOADS["zoo-ant"], 28, 8),
    )
}


def start(shape: Shape) -> tuple[ActorCritic, Tensor, Batch]:
    """(network, its flat parameters, K minibatches of samples of its own policy), the same in every call."""
    w, generator = shape.like, torch.Generator().manual_seed(0)
    build = option(
        "network",
        "mlp",
        actor=w.hidden,
        critic=w.hidden,
        activation=w.activation,
        log_std=w.log_std,
        orthogonal=w.orthogonal,
    )
    network = build(shape.obs, shape.actions, generator)
    flat = flatten(network)
    obs = torch.randn(w.batch // w.minibatch, w.minibatch, shape.obs, generator=generator)
    policy, old_value = network(obs)
    policy = tree_map(torch.clone, policy)  # the deviations are an expanded view of the parameters
    action = policy.sample(generator)
    target, advantage = torch.randn(2, *old_value.shape, generator=generator)
    group, mask = torch.zeros_like(target, dtype=torch.int64), torch.ones_like(target, dtype=torch.bool)
    return network, flat, Batch(obs, action, policy, old_value, target, advantage, group, mask, obs[:, :0])


Run = Callable[[int], dict[str, Tensor]]  # so many steps, and the parameters after them


def textbook(shape: Shape) -> Run:
    """``torch.optim.Adam`` on a module, loss and statistics written out."""
    network, _, batch = start(shape)
    agent = Agent(shape.obs, shape.actions, shape.like)
    agent.load_state_dict(network.state_dict())
    optimiser = torch.optim.Adam(agent.parameters(), lr=shape.like.lr, eps=1e-5)
    fields = (batch.obs, batch.action, batch.policy.log_prob(batch.action), batch.advantage, batch.target)
    minibatches = [Minibatch(*m) for m in zip(*fields)]

    def run(steps: int) -> dict[str, Tensor]:
        for minibatch in islice(cycle(minibatches), steps):
            gradient_step(agent, optimiser, minibatch, shape.like.clip)
        return dict(agent.named_parameters())

    return run


def ours(shape: Shape, compiled: str) -> Run:
    """The step that ``ppo.train`` takes."""
    network, flat, batch = start(shape)
    w = shape.like
    numbers = {"lr": w.lr, "clip_low": 1 - w.clip, "clip_high": 1 + w.clip, "limit": math.inf}
    numbers |= {"max_grad_norm": 0.5, "value": 0.5}
    knobs = Knobs(**{name: torch.tensor(x) for name, x in numbers.items()}, coef={}, width={})
    loss = Loss(partial(objective.ppo, dual=None), kl.exact, value.mse)
    step = compile_step(build_step(build_evaluate(network), loss, Guards()), compiled, 0)
    learner = Learner.start(flat.clone())

    def run(steps: int) -> dict[str, Tensor]:
        nonlocal learner
        advantage, _ = norm.minibatch(batch.advantage, batch.group, batch.mask, None)
        minibatches = unstack(batch._replace(advantage=advantage))
        for minibatch in islice(cycle(minibatches), steps):
            learner, _ = step(learner, minibatch, knobs)
            if learner.stopped:
                break
        return unflatten(network)(learner.params)

    return run


PROGRAMS: dict[str, Callable[[Shape], Run]] = {
    PEER: textbook,
    "exactkl, eager": partial(ours, compiled="false"),
    "exactkl, compiled": partial(ours, compiled="true"),
}


def bench(shape: Shape, names: Sequence[str], repeats: int) -> list[Row]:
    """Turns of the programs ``names``. Before, a few steps of each: to compile, to warm up, and to compare."""
    runs = {name: PROGRAMS[name](shape) for name in names}
    after = {name: run(SAME_AFTER) for name, run in runs.items()}
    same = [
        Row("update-difference", shape.name, name, largest, "absolute", largest, largest)
        for name in names
        if name != PEER
        for largest in [max((after[name][key] - x).abs().max().item() for key, x in after[PEER].items())]
    ]
    taken: Samples = {name: [] for name in names}
    steps = shape.like.batch // shape.like.minibatch
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            run(steps)
            taken[name].append((time.perf_counter() - began) / steps * 1e6)
    return rows("update", shape.name, "µs/step", taken, PEER, more_is_better=False) + same


def options(parser) -> None:
    parser.add_argument("--workloads", default=",".join(SHAPES), help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eager", action="store_true", help="leave out the compiled step, whose first call takes long")


def main(args) -> Iterator[list[Row]]:
    """The rows of each shape as soon as they are known; prints a table after each."""
    began = time.monotonic()
    torch.set_num_threads(args.threads)
    print(f"torch {versions('torch')['torch']}, {args.threads} thread(s)")
    names = [name for name in PROGRAMS if not (args.eager and "compiled" in name)]
    for shape in pick(args.workloads, SHAPES).values():
        if args.quick and time.monotonic() - began > QUICK_SECONDS:
            print(f"quick: {shape.name} skipped, compiling could take too long", file=sys.stderr)
            continue
        made = bench(shape, names, args.repeats or (3 if args.quick else 15))
        print("\n" + table(made), flush=True)
        yield made
