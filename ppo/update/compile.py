"""Compile the gradient step, and the step of a world that is one function of tensors, where it pays, and never let a
compiler's trouble end a run.

On a GPU its kernels are recorded and launched together: ``ppo.update.graph``. On the CPU the function is traced to a graph
and compiled ahead of time to a library, which is kept between runs if one step of it is the eager one. A later run only
loads it: no compiler is imported, and a call pays for no guards. Which library fits is decided by what was bound
(``ppo.update.fingerprint``), the shapes, PyTorch and the machine.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch import Tensor

from envs.native import cache_folder, processor
from ppo.buffer.data import Batch, leaves, tree_map, with_leaves
from ppo.logging.files import write_atomically
from ppo.update.fingerprint import fingerprint
from ppo.update.graph import Graph
from ppo.update.optim import Learner
from ppo.update.passes import Native, native_pass
from ppo.update.step import Step, one_by_one
from ppo.update.total import Knobs

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None

PAYS_FROM = 10_000  # gradient steps: compiling takes some 20 s the first time, a compiled step saves 2 ms or more
TOLERANCE = 1e-5  # how far a compiled step may be from the eager one
_ON_CPU = {  # options of the compiler
    # tanh as 2 / (1 + exp(-2x)) - 1: right to 1e-7, and three times as fast as the library's, which was a quarter of a step
    # of 1,024 samples.
    "cpp.use_decompose_tanh": True,
    # A sum over the columns of an action stays a loop, which is vectorised. Written out, as the compiler likes to, all that
    # comes before it was not: a seventh of a step of 1,024 samples, and half of the time it takes to compile.
    "unroll_reductions_threshold": 1,
}
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from ppo.update.compile import main; main()"


def compile_step(
    step: Step, choice: str, planned_steps: int, *, on: str = "cpu", agree: Callable[[bool], bool] = bool
) -> Step:
    """``step`` compiled whole, or as it is.

    choice: "true", "false", or "auto": on a GPU; on the CPU where the run plans enough steps to pay for it and a C++ compiler
    is there. on: the type of the device.
    agree: whether all processes that train this policy can, since two programs round differently.
    Anything that fails (no compiler, a corrupt cache, unsupported code, a compiled step that is not the eager one) is
    reported in one line and the run goes on eagerly: the same function, the same numbers to rounding.
    """
    take = compile_whole(step.take, _taken, choice, planned_steps, on=on, agree=agree)
    return step if take is step.take else step._replace(take=take, over=partial(_over, take))


def _over(
    take: "AtFirstCall", learner: Learner, minibatches: Batch, knobs: Knobs, rows: Tensor, leave: bool
) -> tuple[Learner, int]:
    """``Step.over``, in one call where the compiled step can be had so."""
    first = tree_map(lambda x: x[0], minibatches)
    compiled = take.chosen(learner, first, knobs)
    if not isinstance(compiled, Compiled) or not compiled.native or not compiled.fits(leaves((learner, first, knobs))):
        return one_by_one(take, learner, minibatches, knobs, rows, leave)
    carried, stacked, fixed = (leaves(tree) for tree in (learner, minibatches, knobs))
    stopped = next(i for i, x in enumerate(carried) if x is learner.stopped)
    last, done = compiled.native(carried, stacked, fixed, rows, stopped, leave)
    return with_leaves(learner, last), done


def _taken(given: tuple, tensors: list[Tensor]) -> tuple[Learner, Tensor]:
    *new, metrics = tensors
    return with_leaves(given[0], new), metrics


def compile_whole(
    function: Callable,
    back: Callable[[tuple, list[Tensor]], Any],
    choice: str,
    planned: int,
    *,
    what: str = "the gradient step",
    on: str = "cpu",
    agree: Callable = bool,
) -> Any:
    """A pure ``function`` of trees of tensors, compiled at its first call, or as it is; see ``compile_step``.

    back: its result, of its arguments and of the tensors of its result. planned: calls of the whole run.
    what: it is, in words.
    """
    pays = on == "cuda" or (planned >= PAYS_FROM and _has_compiler())
    if not agree(choice == "true" or (choice == "auto" and pays)):
        return function
    return AtFirstCall(what, function, back, agree)


class AtFirstCall:
    """A function that is compiled when it is first called, for arguments of these shapes; as it is where that fails."""

    def __init__(self, what: str, function: Callable, back: Callable, agree: Callable):
        self._what, self._function, self._back, self._agree = what, function, back, agree
        self._chosen: Callable | None = None

    def __call__(self, *given: Any) -> Any:
        return self.chosen(*given)(*given)

    def chosen(self, *example: Any) -> Callable:
        """The compiled function, or the function itself."""
        if self._chosen is None:
            chosen: Callable = self._function
            try:
                on_gpu = leaves(example)[0].is_cuda
                chosen = (_recorded if on_gpu else _compiled)(self._what, self._function, self._back, *example)
            except Exception as error:  # whatever a compiler raises; the function is pure, so nothing has happened yet
                why = (str(error).strip() or type(error).__name__).splitlines()[0]
                _say(f"compile: failed, the run goes on without it ({why})")
            self._chosen = chosen if self._agree(chosen is not self._function) else self._function
        return self._chosen


class Compiled:
    """A library's function for arguments of the shapes that it was built for; for others the function that it was made of."""

    def __init__(self, function: Callable, back: Callable, shapes: list[torch.Size], library: Path):
        self._function, self._back, self._shapes, self._library = function, back, shapes, library
        self._run = _load(library)

    def __call__(self, *given: Any) -> Any:
        tensors = leaves(given)
        return self._back(given, self._run(tensors)) if self.fits(tensors) else self._function(*given)

    def fits(self, tensors: list[Tensor]) -> bool:
        """The library believes what it is told: other shapes would read beyond the end of the data."""
        return [x.shape for x in tensors] == self._shapes and all(x.is_contiguous() for x in tensors)

    @cached_property
    def native(self) -> Native | None:
        """Many calls in one."""
        return native_pass(self._library)


def _recorded(what: str, function: Callable, back: Callable[[tuple, list[Tensor]], Any], *example: Any) -> Graph:
    """The function for arguments of these shapes, as one launch on a GPU."""
    graph = Graph(function, back, *example)
    _check(leaves(graph(*example)), leaves(function(*example)))
    return graph


def _compiled(what: str, function: Callable, back: Callable[[tuple, list[Tensor]], Any], *example: Any) -> Compiled:
    """The compiled function for arguments of these shapes."""
    tensors = leaves(example)
    library = cache_folder() / f"{_hash(function, tensors)}.so"
    with _alone(library):
        began = None if _whole(library) else time.perf_counter()
        if began is not None:
            _say(f"compile: {what}, once for this configuration and machine; compile=false does without")
            _apart(_build, function, example, library)
    compiled = Compiled(function, back, [x.shape for x in tensors], library)
    if began is not None:
        _say(f"compile: done in {time.perf_counter() - began:.0f} s; later runs load it")
    return compiled


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _load(library: Path) -> Callable[[list[Tensor]], list[Tensor]]:
    return torch._C._aoti.AOTIModelContainerRunnerCpu(str(library), 1).run


def _hash(function: Callable, tensors: list[Tensor]) -> str:
    """Of everything a library depends on: what was bound, the shapes, PyTorch, the processor, threads."""
    digest = hashlib.sha256(fingerprint(function).encode())
    digest.update(repr([(x.shape, x.dtype, x.device) for x in tensors]).encode())
    machine = (torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), _ON_CPU)
    digest.update(repr(machine).encode())
    digest.update(processor())
    return digest.hexdigest()[:32]


def _whole(library: Path) -> bool:
    """Whether it is there as it was written: loading a torn library can crash the interpreter."""
    checksum = library.with_suffix(".sha256")
    if not (library.exists() and checksum.exists()):
        return False
    return hashlib.sha256(library.read_bytes()).hexdigest() == checksum.read_text()


@contextmanager
def _alone(library: Path) -> Generator[None]:
    """Of the processes that want this library, one at a time: the others find it built."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with open(library.with_suffix(".lock"), "w") as lock:
        if fcntl:  # elsewhere two of them may build it twice
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _apart(function: Callable, *arguments) -> None:
    """``function(*arguments)`` in a process of its own, whose end gives back what a compiler takes: some 150 MB that
    would stay. What it raised there is raised here as a RuntimeError of one line."""
    task = cloudpickle.dumps((function, arguments, torch.get_num_threads()))
    command = [sys.executable, "-c", _BOOT, json.dumps(sys.path)]
    done = subprocess.run(command, input=task, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(said[-1] if said else f"the compiler ended with exit code {done.returncode}")


def main() -> None:
    """The other process: do what standard input says."""
    function, arguments, threads = cloudpickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    try:
        function(*arguments)
    except Exception as error:
        sys.exit((str(error).strip() or type(error).__name__).splitlines()[0])


def _build(function: Callable, example: tuple, library: Path) -> None:
    """Trace and compile the function into ``library``, which appears whole or not at all, and only if it is the function."""
    from torch._inductor import aot_compile, config
    from torch._inductor.utils import fresh_inductor_cache as fresh_cache  # this name is there from PyTorch 2.7 to 2.15
    from torch.fx.experimental.proxy_tensor import make_fx

    tensors = leaves(example)

    def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        return tuple(leaves(function(*(with_leaves(tree, given) for tree in example))))

    graph = make_fx(flat)(*tensors)
    for node in graph.graph.nodes:
        node.meta.clear()  # what the tracer noted of shapes belongs to the tracer; the compiler makes its own notes
    known = set(config.get_config_copy())  # 2.7 does not know all of them
    options = {name: value for name, value in _ON_CPU.items() if name in known}
    with tempfile.TemporaryDirectory(dir=library.parent) as work, fresh_cache(dir=work), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, about its own code
        built = Path(work, "step.so")
        aot_compile(graph, tuple(tensors), options=options | {"aot_inductor.output_path": str(built)})
        _check(_load(built)(tensors), flat(*tensors))
        write_atomically(library.with_suffix(".sha256"), hashlib.sha256(built.read_bytes()).hexdigest())
        os.replace(built, library)


def _check(ours: Sequence[Tensor], eager: Sequence[Tensor]) -> None:
    for one, other in zip(ours, eager, strict=True):
        check_same(one, other)


def check_same(ours: Tensor, eager: Tensor) -> None:
    """AssertionError where a compiled result is not the eager one. In a matrix, whose rows are worlds or samples, rounding is
    counted in units of the largest entry of a column, if that is above 1: a difference of large numbers has their rounding."""
    if eager.ndim > 1 and eager.is_floating_point():
        unit = eager.abs().nan_to_num(0.0, 0.0, 0.0).amax(0).clamp(min=1)
        ours, eager = ours / unit, eager / unit
    torch.testing.assert_close(
        ours, eager, rtol=1e-3, atol=TOLERANCE, equal_nan=True, msg="the compiled step is not the eager one"
    )


def _has_compiler() -> bool:
    return shutil.which(os.environ.get("CXX", "g++")) is not None
