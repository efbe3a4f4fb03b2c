"""Compiling never ends a run and never changes it: whatever goes wrong, one line, and on with the eager step."""

import hashlib
import math
import os
import re
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch._inductor

from ppo.buffer.data import leaves, tree_map
from ppo.loss import kl
from ppo.loss.terms import Term, entropy
from ppo.update import compile as subject
from ppo.update.step import build_step
from ppo.update.total import Guards

BEGINS = "compile: the gradient step, once for this configuration and machine; compile=false does without"


@pytest.fixture
def eager(problem, numbers, make_loss, monkeypatch, tmp_path):
    """(the eager step, its arguments), with a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _, evaluate, learner, batch = problem(16, moved=0.1)
    term = Term("entropy", entropy)
    step = build_step(evaluate, make_loss(terms=(term,)), Guards())
    return step, (learner, batch, numbers(coef={term.name: 0.1}))


def same(one, two):
    for a, b in zip(leaves(one), leaves(two), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.fixture
def interpreted(monkeypatch):
    """In place of a compiled library: the traced graph, operation by operation, changed by ``interpreted.append``."""
    change = []

    def compile_graph(graph, leaves, options):
        Path(options["aot_inductor.output_path"]).write_bytes(b"library")
        monkeypatch.setattr(
            subject,
            "_load",
            lambda library: lambda tensors: [f(x) for x in graph(*tensors) for f in change or [_same]],
        )

    monkeypatch.setattr(torch._inductor, "aot_compile", compile_graph)
    monkeypatch.setattr(subject, "_apart", _here)
    return change


def _here(function, *arguments):
    function(*arguments)


def _same(x):
    return x


def test_the_traced_step_is_the_step(eager, interpreted, capsys):
    step, arguments = eager
    compiled = subject.compile_step(step, "true", 0)
    for _ in range(2):
        same(compiled(*arguments), step(*arguments))
    begins, done = capsys.readouterr().err.splitlines()
    assert begins == BEGINS and re.fullmatch(r"compile: done in \d+ s; later runs load it", done)


def test_what_was_built_once_is_not_built_again(eager, interpreted, monkeypatch, capsys):
    step, arguments = eager
    subject.compile_step(step, "true", 0)(*arguments)
    monkeypatch.setattr(subject, "_build", lambda *_: pytest.fail("built again"))
    capsys.readouterr()
    same(subject.compile_step(step, "true", 0)(*arguments), step(*arguments))
    assert capsys.readouterr().err == ""  # it is loaded, which takes no time


@pytest.mark.parametrize(
    "choice, planned, compiler", [("false", 10**9, True), ("auto", 9999, True), ("auto", 10**9, False)]
)
def test_where_it_does_not_pay_the_step_stays_as_it_is(eager, monkeypatch, choice, planned, compiler):
    monkeypatch.setattr(subject, "_has_compiler", lambda: compiler)
    assert subject.compile_step(eager[0], choice, planned) is eager[0]


def test_a_failed_compilation_is_one_line(eager, monkeypatch, capsys):
    def build(*_):
        raise RuntimeError("g++: no such file\nand forty lines more")

    monkeypatch.setattr(subject, "_build", build)
    monkeypatch.setattr(subject, "_apart", _here)
    step, arguments = eager
    compiled = subject.compile_step(step, "true", 0)
    for _ in range(2):
        same(compiled(*arguments), step(*arguments))
    failed = "compile: failed, the run goes on without it (g++: no such file)"
    assert capsys.readouterr().err.splitlines() == [BEGINS, failed]


def _fail():
    raise ValueError("no space\nleft on device")


@pytest.mark.slow
def test_the_other_process_says_in_one_line_what_it_raised():
    with pytest.raises(RuntimeError, match="^no space$"):
        subject._apart(_fail)
    with pytest.raises(RuntimeError, match="exit code -9"):
        subject._apart(_kill)


def _kill():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_library_that_cannot_be_loaded_is_one_line(eager, monkeypatch, capsys):
    monkeypatch.setattr(subject, "_apart", lambda *_: None)
    step, arguments = eager
    same(subject.compile_step(step, "true", 0)(*arguments), step(*arguments))
    begins, failed = capsys.readouterr().err.splitlines()
    assert begins == BEGINS and failed.startswith("compile: failed, the run goes on without it")


def test_a_compiled_step_that_is_not_the_eager_one_is_not_used_and_not_kept(eager, interpreted, capsys):
    interpreted.append(lambda x: x + 1)
    step, arguments = eager
    same(subject.compile_step(step, "true", 0)(*arguments), step(*arguments))
    assert "the compiled step is not the eager one" in capsys.readouterr().err
    assert not [path for path in subject.cache_folder().iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize(
    ("off", "where", "ends"),
    [
        (8e-5, (0, 0), False),
        (8e-5, (0, 1), True),
        (1e-2, (0, 0), True),
        (math.nan, (0, 0), True),
        (math.inf, (1, 0), True),
    ],
)
def test_rounding_is_counted_in_units_of_a_column(off, where, ends):
    """Speeds of up to 20 in the first, angles of up to 1 in the second; by themselves, 0 of a vector is 0."""
    eager = torch.tensor([[0.0, 0.0], [20.0, 1.0], [math.nan, 0.5]])
    ours = eager.clone()
    ours[where] += off
    with pytest.raises(AssertionError, match="not the eager one") if ends else nullcontext():
        subject.check_same(ours, eager)
    with pytest.raises(AssertionError):
        subject.check_same(torch.tensor([8e-5, 20.0]), torch.tensor([0.0, 20.0]))


def test_other_shapes_and_layouts_are_left_to_the_eager_step(eager, interpreted):
    """A library reads as many numbers as it was built for, wherever they are."""
    calls = []
    step, (learner, batch, knobs) = eager

    def counted(*arguments):
        calls.append(len(arguments[1].value))
        return step.take(*arguments)

    compiled = subject.compile_step(step._replace(take=counted), "true", 0)
    compiled(learner, batch, knobs)
    calls.clear()
    compiled(learner, batch, knobs)
    assert calls == []
    smaller = tree_map(lambda x: x[:8], batch)
    same(compiled(learner, smaller, knobs), step(learner, smaller, knobs))
    spread = batch._replace(obs=batch.obs.T.contiguous().T)
    same(compiled(learner, spread, knobs), step(learner, spread, knobs))
    assert calls == [8, 16]


def test_a_torn_library_is_not_whole(tmp_path):
    library = tmp_path / "step.so"
    library.write_bytes(b"0123456789")
    assert not subject._whole(library)
    library.with_suffix(".sha256").write_text(hashlib.sha256(b"0123456789").hexdigest())
    assert subject._whole(library)
    library.write_bytes(b"01234")
    assert not subject._whole(library)


def test_a_library_is_that_of_the_step_shapes_and_threads(eager, problem, make_loss):
    """What makes two steps the same is tested with the fingerprint."""
    step, arguments = eager
    tensors = list(leaves(arguments))
    one = subject._hash(step.take, tensors)
    other = build_step(problem(16).evaluate, make_loss(kl=kl.k3), Guards())
    smaller = list(leaves((arguments[0], tree_map(lambda x: x[:8], arguments[1]), arguments[2])))
    assert one == subject._hash(step.take, tensors)
    assert len({one, subject._hash(other.take, tensors), subject._hash(step.take, smaller)}) == 3
    torch.set_num_threads(2)
    try:
        assert subject._hash(step.take, tensors) != one
    finally:
        torch.set_num_threads(1)


def test_the_ranks_of_a_run_compile_together_or_not_at_all(eager, monkeypatch):
    """Two programs round differently: where one has no compiler, or fails, all go on eagerly."""
    monkeypatch.setattr(subject, "_compiled", lambda *_: lambda *_: pytest.fail("compiled alone"))
    step, arguments = eager
    asked = []

    def agree(here):
        asked.append(here)
        return len(asked) == 1

    compiled = subject.compile_step(step, "true", 0, agree=agree)
    for _ in range(2):
        same(compiled(*arguments), step(*arguments))
    assert asked == [True, True]
    assert subject.compile_step(step, "true", 0, agree=lambda here: False) is step
