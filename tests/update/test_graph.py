"""A recorded step is the step; what cannot be recorded runs as it is."""

from functools import partial

import pytest
import torch

from envs.base import seeds
from envs.batched.pendulum import Pendulum
from envs.batched.world import World, advance, result
from envs.device import constant
from ppo.buffer.data import leaves, tree_map
from ppo.loss.terms import Term, entropy
from ppo.update.compile import compile_step, compile_whole
from ppo.update.graph import Graph
from ppo.update.step import build_step
from ppo.update.total import Guards

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def given(problem, numbers, make_loss):
    """(the eager step, its arguments on the GPU)."""
    _, evaluate, learner, batch = problem(16, moved=0.1)
    term = Term("entropy", entropy)
    evaluate.network.to("cuda")
    step = build_step(evaluate, make_loss(terms=(term,)), Guards())
    return step, [tree_map(lambda x: x.to("cuda"), tree) for tree in (learner, batch, numbers(coef={term.name: 0.1}))]


def same(one, two):
    for a, b in zip(leaves(one), leaves(two), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@gpu
def test_a_recorded_step_is_the_step_for_other_numbers_too(given):
    step, (learner, batch, knobs) = given
    recorded = compile_step(step, "true", 0, on="cuda")
    assert recorded.take is not step.take
    for factor in (1.0, 0.5, 3.0):
        other = knobs._replace(lr=factor * knobs.lr, limit=factor * knobs.limit, clip_high=factor * knobs.clip_high)
        moved = batch._replace(advantage=factor * batch.advantage, mask=batch.mask & (batch.value > -1 / factor))
        same(recorded(learner, moved, other), step(learner, moved, other))
        learner, _ = recorded(learner, moved, other)
    assert isinstance(recorded.take.chosen(learner, batch, knobs), Graph)


@gpu
def test_a_result_is_not_written_over_by_the_next_call(given):
    step, (learner, batch, knobs) = given
    recorded = compile_step(step, "true", 0, on="cuda")
    first, _ = recorded(learner, batch, knobs)
    before = first.params.clone()
    recorded(first, batch, knobs)
    same(first.params, before)


@gpu
def test_the_step_of_a_world_is_recorded_as_well():
    task, step = Pendulum(), partial(advance, Pendulum())
    world = other = World.begin(task, torch.tensor(seeds(1, 5), device="cuda"))
    recorded = compile_whole(step, result, "auto", 0, on="cuda")
    for i in range(210):  # beyond an end of the episodes
        action = torch.full((5, 1), 0.01 * i, device="cuda")
        (world, shown), (other, expected) = recorded(world, action), step(other, action)
        same((world, shown), (other, expected))
    assert int(world.episode.min()) == 1


@gpu
def test_other_shapes_and_dtypes_are_not_for_it():
    graph = Graph(lambda x: 2 * x, lambda given, tensors: tensors[0], torch.ones(3, device="cuda"))
    for other in (torch.ones(4, device="cuda"), torch.full((3,), 1 / 3, device="cuda", dtype=torch.float64)):
        assert graph(other).dtype == other.dtype
        same(graph(other), 2 * other)


@gpu
def test_what_reads_back_runs_as_it_is(capsys):
    """And the device is as it was: what comes after can be recorded."""

    def reads(x):
        return x * x.sum().item()

    x = torch.ones(3, device="cuda")
    run = compile_whole(reads, lambda given, tensors: tensors[0], "true", 0, what="it", on="cuda")
    for factor in (1, 2):
        same(run(factor * x), reads(factor * x))
    assert capsys.readouterr().err.startswith("compile: failed, the run goes on without it (")
    graph = Graph(lambda x: 2 * x, lambda given, tensors: tensors[0], x)
    same(graph(x), 2 * x)


@gpu
def test_constants_are_those_of_the_host():
    values = [[1.0, 0.1], [3.0, 1e-9]]
    same(constant(torch.ones(1, device="cuda"), values).cpu(), constant(torch.ones(1), values))


def test_an_argument_elsewhere_would_be_recorded_as_a_number():
    """No GPU is asked for before that is seen."""
    with pytest.raises(RuntimeError, match="an argument is on meta, the others on cpu"):
        Graph(lambda x, y: x * y, lambda given, tensors: tensors[0], torch.ones(1), torch.ones((), device="meta"))


def test_on_a_gpu_it_pays_at_once(monkeypatch):
    """There is nothing to be compiled."""
    monkeypatch.setattr("ppo.update.compile._has_compiler", lambda: False)

    def step(x):
        return x

    assert compile_whole(step, step, "auto", 1, on="cpu") is step
    assert compile_whole(step, step, "auto", 1, on="cuda") is not step
    assert compile_whole(step, step, "false", 1, on="cuda") is step
