"""NumPy's protocols: its functions on tensors record our operations; arrays come out uncopied where that is safe."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

import numpy as np

from ..calls import is_library
from ..errors import GradientError, brief, fail
from ..scope import current
from ..tensor import Tensor, describe
from .core import as_tensor, is_dtype
from .numpy_functions import FUNCTIONS, UFUNCS, called, refusal

# Questions about values, whose answers are no tensors: asked of the arrays.
_QUESTIONS = {
    np.allclose, np.array_equal, np.array_equiv, np.isclose, np.count_nonzero, np.nonzero, np.argwhere,
    np.flatnonzero, np.argsort, np.searchsorted, np.digitize, np.histogram, np.array2string, np.array_repr,
    np.array_str, np.isrealobj, np.iscomplexobj, np.save, np.savetxt, np.savez, np.savez_compressed,
}  # fmt: skip


def _array_ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    name = ufunc.__name__ + ("" if method == "__call__" else f".{method}")
    function = UFUNCS.get(ufunc) if method == "__call__" else None
    if function is None:
        raise refusal(name)
    dtype = options.pop("dtype", None)
    for option, value in options.items():
        if not isinstance(value, str | bool) or value not in (True, "same_kind", "C", "K", "A"):
            raise refusal(name, option, f"{option}={brief(value)}", f"no {option}")
    if dtype is None:
        return function(*inputs)
    if not is_dtype(np.dtype(dtype)) or np.dtype(dtype).kind != "f":
        raise refusal(name, "dtype", f"dtype={np.dtype(dtype)}", "float32 or float64")
    return function(*(as_tensor(t, np.dtype(dtype)) for t in inputs))


def _array_function(self: Tensor, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    if function in FUNCTIONS:
        return called(function, args, kwargs)
    if function not in _QUESTIONS:
        raise refusal(function.__name__)
    values = {name: _value(given) for name, given in kwargs.items()}
    return function(*map(_value, args), **values)


def _value(given: Any) -> Any:
    """What was given, with arrays in place of tensors."""
    if isinstance(given, list | tuple):
        return type(given)(map(_value, given))
    return given.numpy() if isinstance(given, Tensor) else given


# Values that leave the graph ------------------------------------------------------------------------------------------


class _Given(threading.local):
    """The instruction that was last given an array, and the tensors that it was given the arrays of."""

    place: tuple[Any, int] = (None, 0)
    serials: frozenset[int] = frozenset()


_given = _Given()


def _array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    array, asker = self.numpy(), sys._getframe(1)
    if (self._requires_grad or (self.is_float and _computes(asker))) and current().recording and not _compares(asker):
        raise _lost(self)
    place = asker.f_code, asker.f_lasti
    _given.serials = (_given.serials if place == _given.place else frozenset()) | {self.serial}
    _given.place = place
    if dtype is not None and array.dtype != dtype:
        if copy is False:
            raise ValueError(f"a tensor of dtype {array.dtype} becomes {np.dtype(dtype)} only by a copy")
        return array.astype(dtype)
    return array.copy() if copy else array


def _computes(asker: FrameType) -> bool:
    """Whether a function of NumPy's asks that the user has called, and not a library, as for a picture."""
    frame: FrameType | None = asker
    while frame is not None and _is_numpys(frame):
        frame = frame.f_back
    return frame is not None and frame is not asker and not is_library(frame)


def _compares(asker: FrameType) -> bool:
    """Whether a test compares values: what it makes of them is no part of a computation."""
    return asker.f_globals.get("__name__", "").startswith("numpy.testing")


def _is_numpys(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").startswith("numpy.")


def _float(self: Tensor) -> float:
    """The value as a number; not for an array of numbers, of which NumPy asks for the array first."""
    if self.inputs and self.serial in _given.serials:
        asker = sys._getframe(1)
        same = (asker.f_code, asker.f_lasti) == _given.place
        if same and current().recording and not is_library(asker):
            raise _lost(self)
    return float(self.item())


def _lost(t: Tensor) -> GradientError:
    return fail(
        GradientError, f"np.asarray: as an array {describe(t)} would lose its gradient",
        expected="a tensor that nothing is differentiated by, or a function of NumPy's that tinygrad_rnn records",
        hint="use tg.stack for an array of tensors; take the value alone with t.numpy(), or under tg.no_grad()",
    )  # fmt: skip


def _dlpack(self: Tensor, **kwargs: Any) -> Any:
    if self._requires_grad and current().recording:
        raise _lost(self)
    if kwargs.get("copy") is False:
        raise BufferError("a tensor is exported as a copy, since its consumer could write into it")
    kwargs.pop("copy", None)
    return self.numpy().copy().__dlpack__(**kwargs)


def _dlpack_device(self: Tensor) -> tuple[int, int]:
    return self.numpy().__dlpack_device__()


def install() -> None:
    """Give the protocols to the class."""
    for name, method in {
        "__array_ufunc__": _array_ufunc, "__array_function__": _array_function, "__array__": _array,
        "__float__": _float,
        "__dlpack__": _dlpack, "__dlpack_device__": _dlpack_device,
    }.items():  # fmt: skip
        setattr(Tensor, name, method)


install()
