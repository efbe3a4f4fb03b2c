"""A pure function of tensors on a GPU as one launch: a CUDA graph.

What a gradient step or the step of a world costs there is the launch of some hundred small kernels, one after the other by
the host. A graph holds these kernels, recorded once, and is launched at once. They are the same kernels with the same
numbers: nothing is compiled, and nothing is kept on the disk.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppo.buffer.data import leaves, with_leaves

_BEFORE = 3  # eager calls before one is recorded: libraries make their work spaces in their first


class Graph:
    """``function`` for arguments of the shapes and dtypes of ``example``, recorded; for others the function itself.

    back: its result, of its arguments and of the tensors of its result. Raises RuntimeError where it cannot be recorded:
    where it reads from the device or waits for it.
    """

    def __init__(self, function: Callable, back: Callable[[tuple, list[Tensor]], Any], *example: Any):
        tensors = leaves(example)
        device = tensors[0].device
        if elsewhere := {str(x.device) for x in tensors} - {str(device)}:
            # Such a number would be recorded as it is now.
            raise RuntimeError(f"an argument is on {', '.join(sorted(elsewhere))}, the others on {device}")
        self._function, self._back = function, back
        self._fits = [(x.shape, x.dtype) for x in tensors]
        self._given = [x.clone(memory_format=torch.contiguous_format) for x in tensors]
        copies, self._graph = iter(self._given), torch.cuda.CUDAGraph()
        given = [with_leaves(tree, copies) for tree in example]
        with torch.cuda.device(device):
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(_BEFORE):
                    function(*given)
            torch.cuda.current_stream().wait_stream(beside)
            with torch.cuda.graph(self._graph):
                self._results = [x.detach() for x in leaves(function(*given))]

    def __call__(self, *given: Any) -> Any:
        tensors = leaves(given)
        if [(x.shape, x.dtype) for x in tensors] != self._fits:
            return self._function(*given)
        _copy(self._given, tensors)
        self._graph.replay()
        results = [torch.empty_like(x) for x in self._results]  # the next call writes over those of this one
        _copy(results, self._results)
        return self._back(given, results)


def _copy(to: list[Tensor], of: list[Tensor]) -> None:
    """All of them, a launch for each dtype."""
    kinds: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
    for a, b in zip(to, of, strict=True):
        kinds[a.dtype][0].append(a), kinds[a.dtype][1].append(b)
    for a, b in kinds.values():
        torch._foreach_copy_(a, b)
