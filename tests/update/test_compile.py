"""Compiling never ends a run and never changes it: whatever goes wrong, one line, and on with the eager step."""

import hashlib

import pytest
import torch

from ppo.types import tree_map
from ppo.update import compile as subject
from ppo.update.gradient_step import Guards, build_step


@pytest.fixture
def eager(problem, numbers, terms, monkeypatch, tmp_path):
    """(the eager step, its arguments), with a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _, network, learner, batch = problem(16, moved=0.1)
    return build_step(network, terms(), Guards()), (learner, batch, numbers())


def same(one, two):
    for a, b in zip(subject._leaves(one), subject._leaves(two), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def interpreted(graph, leaves):
    """In place of a library: the traced graph, operation by operation."""
    return lambda tensors: graph(*tensors)


def test_the_traced_step_is_the_step(eager, monkeypatch, capsys):
    monkeypatch.setattr(subject, "_load", interpreted)
    step, arguments = eager
    compiled = subject.compile_step(step, "true", 0)
    for _ in range(2):
        same(compiled(*arguments), step(*arguments))
    assert capsys.readouterr().err == ""


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
    step, arguments = eager
    compiled = subject.compile_step(step, "true", 0)
    for _ in range(2):
        same(compiled(*arguments), step(*arguments))
    assert capsys.readouterr().err == "compile: failed, the run goes on without it (g++: no such file)\n"


def test_a_library_that_cannot_be_loaded_is_one_line(eager, monkeypatch, capsys):
    monkeypatch.setattr(subject, "_build", lambda graph, leaves, library: library.parent.mkdir(parents=True))
    step, arguments = eager
    same(subject.compile_step(step, "true", 0)(*arguments), step(*arguments))
    assert capsys.readouterr().err.count("\n") == 1


def test_a_compiled_step_that_is_not_the_eager_one_is_not_used(eager, monkeypatch, capsys):
    monkeypatch.setattr(subject, "_load", lambda graph, leaves: lambda tensors: [x + 1 for x in graph(*tensors)])
    step, arguments = eager
    same(subject.compile_step(step, "true", 0)(*arguments), step(*arguments))
    assert "the compiled step is not the eager one" in capsys.readouterr().err


def test_other_shapes_and_layouts_are_left_to_the_eager_step(eager, monkeypatch):
    """A library reads as many numbers as it was built for, wherever they are."""
    monkeypatch.setattr(subject, "_load", interpreted)
    calls = []
    step, (learner, batch, knobs) = eager

    def counted(*arguments):
        calls.append(len(arguments[1].value))
        return step(*arguments)

    compiled = subject.compile_step(counted, "true", 0)
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


def test_the_hash_names_operations_constants_and_shapes(problem, numbers, terms):
    """Two steps that differ in any of them must not find each other's library."""

    def hashed(samples=16, clamp=10.0, log_std_max=2.0, **chosen):
        _, network, learner, batch = problem(samples)
        network.log_std_range = (-10.0, log_std_max)
        seen = []
        step = subject.compile_step(build_step(network, terms(**chosen), Guards(clamp)), "true", 0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subject, "_load", lambda *given: seen.append(subject._hash(*given)) or interpreted(*given))
            step(learner, batch, numbers())
        return seen[0]

    from ppo.loss import kl

    changed = [{"samples": 32}, {"clamp": 9.0}, {"log_std_max": 1.0}, {"kl": kl.k3}, {"use_kl": True}]
    hashes = [hashed(), *(hashed(**change) for change in changed)]
    assert hashes[0] == hashed() and len(set(hashes)) == len(hashes)
