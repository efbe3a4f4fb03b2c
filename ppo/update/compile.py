"""Compile the gradient step where it pays, and never let a compiler's trouble end a run.

The step is traced to a graph and compiled ahead of time to a library, which is kept between runs under the graph's
hash. A later run only loads it: no compiler is imported, and a call pays for no guards. Its first step is compared with
the eager one before it is trusted.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from ppo.types import Batch, tree_map
from ppo.update.gradient_step import Knobs
from ppo.update.optim import Learner

PAYS_FROM = 10_000  # gradient steps: compiling takes some 20 s the first time, a compiled step saves 2 ms or more
TOLERANCE = 1e-5  # how far a compiled step may be from the eager one
Step = Callable[[Learner, Batch, Knobs], tuple[Learner, Tensor]]


def compile_step(step: Step, choice: str, planned_steps: int) -> Step:
    """``step`` compiled whole, or as it is.

    choice: "true", "false", or "auto": where the run plans enough steps to pay for it and a C++ compiler is there.
    Anything that fails (no compiler, a corrupt cache, unsupported code, a compiled step that is not the eager one) is
    told in one line and the run goes on eagerly: the same function, the same numbers to rounding.
    """
    if choice == "false" or (choice == "auto" and (planned_steps < PAYS_FROM or not _has_compiler())):
        return step
    chosen: Step | None = None

    def first_compiled(learner: Learner, batch: Batch, knobs: Knobs) -> tuple[Learner, Tensor]:
        nonlocal chosen
        if chosen is None:
            try:
                chosen = _compiled(step, learner, batch, knobs)
            except Exception as error:  # whatever a compiler raises; the step is pure, so nothing has happened yet
                why = (str(error).strip() or type(error).__name__).splitlines()[0]
                print(f"compile: failed, the run goes on without it ({why})", file=sys.stderr, flush=True)
                chosen = step
        return chosen(learner, batch, knobs)

    return first_compiled


def cache_folder() -> Path:
    """Where compiled steps are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "proximal" / "compile"


def _compiled(step: Step, learner: Learner, batch: Batch, knobs: Knobs) -> Step:
    """The compiled step for arguments of these shapes, proven on them."""
    example = (learner, batch, knobs)
    leaves = list(_leaves(example))

    def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        learner, metrics = step(*(tree_map(lambda _: next(given), tree) for tree in example))
        return (*learner, metrics)

    graph = make_fx(flat)(*leaves)
    shapes = [x.shape for x in leaves]
    run = _load(graph, leaves)

    def compiled(learner: Learner, batch: Batch, knobs: Knobs) -> tuple[Learner, Tensor]:
        tensors = [*learner, *_leaves(batch), *knobs]
        # The library believes what it is told: other shapes would read beyond the end of the data.
        if [x.shape for x in tensors] != shapes or not all(x.is_contiguous() for x in tensors):
            return step(learner, batch, knobs)
        *new, metrics = run(tensors)
        return Learner(*new), metrics

    for ours, eager in zip(_leaves(compiled(*example)), _leaves(step(*example)), strict=True):
        torch.testing.assert_close(
            ours, eager, rtol=1e-3, atol=TOLERANCE, equal_nan=True, msg="the compiled step is not the eager one"
        )
    return compiled


def _leaves(tree) -> Iterator[Tensor]:
    for x in tree:
        if isinstance(x, Tensor):
            yield x
        else:
            yield from _leaves(x)


def _load(graph: GraphModule, leaves: list[Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
    """The library of this graph, built where the cache holds none that is whole."""
    library = cache_folder() / f"{_hash(graph, leaves)}.so"
    if not _whole(library):
        _build(graph, leaves, library)
    native = torch._C._aoti
    if leaves[0].device.type == "cuda":
        return native.AOTIModelContainerRunnerCuda(str(library), 1, str(leaves[0].device)).run
    return native.AOTIModelContainerRunnerCpu(str(library), 1).run


def _hash(graph: GraphModule, leaves: list[Tensor]) -> str:
    """Of everything the library depends on: operations, constants, shapes, PyTorch, processor, threads."""
    digest = hashlib.sha256(graph.code.encode())
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            digest.update(getattr(graph, node.target).cpu().numpy().tobytes())
    digest.update(repr([(x.shape, x.dtype, x.device) for x in leaves]).encode())
    machine = (torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
    digest.update(repr(machine).encode())
    processor = Path("/proc/cpuinfo")
    if processor.exists():
        digest.update("".join(x for x in processor.read_text().splitlines(True) if x.startswith("flags")).encode())
    return digest.hexdigest()[:32]


def _whole(library: Path) -> bool:
    """Whether it is there as it was written: loading a torn library can crash the interpreter."""
    checksum = library.with_suffix(".sha256")
    if not (library.exists() and checksum.exists()):
        return False
    return hashlib.sha256(library.read_bytes()).hexdigest() == checksum.read_text()


def _build(graph: GraphModule, leaves: list[Tensor], library: Path) -> None:
    """Compile into ``library``, which appears whole or not at all."""
    from torch._inductor import aot_compile  # some 50 MB that a run with a warm cache does not need
    from torch._inductor.utils import fresh_cache

    for node in graph.graph.nodes:
        node.meta.clear()  # what the tracer noted of shapes belongs to the tracer; the compiler makes its own notes
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as work, fresh_cache(dir=work), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, about its own code
        built = Path(work, "step.so")
        aot_compile(graph, tuple(leaves), options={"aot_inductor.output_path": str(built)})
        library.with_suffix(".sha256").write_text(hashlib.sha256(built.read_bytes()).hexdigest())
        os.replace(built, library)


def _has_compiler() -> bool:
    return shutil.which(os.environ.get("CXX", "g++")) is not None
