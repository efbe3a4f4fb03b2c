"""A pass over the minibatches as one call of compiled code: between the steps there is no way back to Python."""

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from envs import native

_SOURCE = Path(__file__).with_name("passes.c")
_STEPS = {  # what a library exports
    "run": "AOTInductorModelContainerRun",
    "create": "AOTInductorModelContainerCreateWithDevice",
    "delete": "AOTInductorModelContainerDelete",
}
_SHIM = {  # what PyTorch exports for libraries, in the order of the C struct
    "wrap": "aoti_torch_create_tensor_from_blob",
    "data_of": "aoti_torch_get_data_ptr",
    "drop": "aoti_torch_delete_tensor_object",
}
_DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


class _Torch(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("run", *_SHIM)]


class _Argument(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("axes", ctypes.c_int64),
        ("sizes", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("dtype", ctypes.c_int32),
        ("jump", ctypes.c_int64),
        ("bytes", ctypes.c_int64),
    ]


class Native:
    """Calls of a step that PyTorch compiled into ``library``, for the CPU. Raises OSError or AttributeError where its C
    interface is not the one known here."""

    def __init__(self, library: Path, ours: ctypes.CDLL):
        step = ctypes.CDLL(str(library))
        shim = ctypes.CDLL(str(next(Path(torch.__file__).parent.glob("lib/*torch_cpu*"))))
        self._dtypes = {getattr(torch, name): getattr(shim, f"aoti_torch_dtype_{name}")() for name in _DTYPES}
        exported = [getattr(step, _STEPS["run"]), *(getattr(shim, name) for name in _SHIM.values())]
        self._torch = _Torch(*(ctypes.cast(function, ctypes.c_void_p) for function in exported))
        self._arguments: Any = None
        self._container = ctypes.c_void_p()
        create = getattr(step, _STEPS["create"])
        create.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_char_p]
        if create(ctypes.byref(self._container), 1, b"cpu", None):
            raise OSError(f"{library.name}: cannot be opened")
        self._delete = getattr(step, _STEPS["delete"])
        self._pass = ours["pass"]
        self._pass.restype = ctypes.c_int64
        self._pass.argtypes = [
            ctypes.POINTER(_Torch),
            ctypes.c_void_p,
            ctypes.POINTER(_Argument),
            *[ctypes.c_int64] * 3,
            ctypes.c_void_p,
            *[ctypes.c_int64] * 2,
            ctypes.c_int32,
            ctypes.POINTER(ctypes.c_void_p),
        ]

    def __call__(
        self,
        carried: list[Tensor],
        stacked: list[Tensor],
        fixed: list[Tensor],
        rows: Tensor,
        stopped: int,
        leave: bool,
    ) -> tuple[list[Tensor], int]:
        """Step after step with the next of each of ``stacked [K, ...]``, until there is none or, with ``leave``, until the
        carried number ``stopped`` is not 0.

        Returns what is carried after the last step, and how many there were; their rows are in ``rows``. All are
        contiguous, of the shapes that the library was built for.
        """
        given = [*((x, 0) for x in carried), *((x, x.stride(0) * x.element_size()) for x in stacked)]
        given += [(x, 0) for x in fixed]
        if self._arguments is None:
            in_a_step = (*carried, *(x[0] for x in stacked), *fixed)
            self._arguments = (_Argument * len(given))(*map(self._described, in_a_step))
        for argument, (x, jump) in zip(self._arguments, given, strict=True):
            argument.data, argument.jump = x.data_ptr(), jump
        last = [torch.empty_like(x) for x in carried]
        into = (ctypes.c_void_p * len(last))(*(x.data_ptr() for x in last))
        done = self._pass(
            self._torch,
            self._container,
            self._arguments,
            len(given),
            len(carried),
            len(stacked[0]),
            rows.data_ptr(),
            rows.shape[1] * rows.element_size(),
            stopped,
            leave,
            into,
        )
        if done < 0:
            raise RuntimeError("the compiled gradient step failed within a pass over the minibatches")
        return last, done

    def _described(self, x: Tensor) -> _Argument:
        """``x`` as it is in one step: what does not change from one pass to the next."""
        numbers = ctypes.c_int64 * x.ndim
        return _Argument(
            axes=x.ndim,
            sizes=numbers(*x.shape),
            strides=numbers(*x.stride()),
            dtype=self._dtypes[x.dtype],
            bytes=x.numel() * x.element_size(),
        )

    def __del__(self) -> None:
        if getattr(self, "_container", None):
            self._delete(self._container)


def native_pass(library: Path) -> Native | None:
    """``Native`` of this library; None where there is no compiler for the C of it, or PyTorch's interface is another."""
    ours = native.load(_SOURCE)
    if ours is None:
        return None
    try:
        return Native(library, ours)
    except (OSError, AttributeError, StopIteration):
        return None
