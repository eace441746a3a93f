"""NumPy's protocols: its functions on tensors record our operations; arrays come out uncopied where that is safe."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import DEFAULT_FLOAT, Tensor
from . import elementwise as e
from . import index, linalg, reduce, shape
from .core import as_tensor, cast, promoted

_UFUNCS: dict[Any, Any] = {
    np.add: e.add, np.subtract: e.subtract, np.multiply: e.multiply, np.true_divide: e.divide, np.power: e.power,
    np.float_power: lambda a, b: e.power(*_floats(a, b)), np.floor_divide: e.floor_divide, np.remainder: e.mod,
    np.negative: e.negative,
    np.positive: lambda x: x, np.absolute: e.abs, np.fabs: e.abs, np.sign: e.sign, np.square: e.square, np.sqrt: e.sqrt,
    np.reciprocal: lambda x: 1 / x, np.exp: e.exp, np.expm1: e.expm1, np.log: e.log, np.log1p: e.log1p, np.sin: e.sin,
    np.cos: e.cos, np.tanh: e.tanh, np.maximum: e.maximum, np.minimum: e.minimum, np.floor: e.floor, np.ceil: e.ceil,
    np.rint: e.round, np.equal: e.equal, np.not_equal: e.not_equal, np.less: e.less, np.less_equal: e.less_equal,
    np.greater: e.greater, np.greater_equal: e.greater_equal, np.logical_and: e.logical_and,
    np.logical_or: e.logical_or, np.logical_xor: e.logical_xor, np.logical_not: e.logical_not, np.isnan: e.isnan,
    np.isinf: e.isinf, np.isfinite: e.isfinite, np.bitwise_and: e.bitwise_and, np.bitwise_or: e.bitwise_or,
    np.bitwise_xor: e.bitwise_xor, np.invert: e.invert, np.left_shift: e.left_shift, np.right_shift: e.right_shift,
    np.matmul: linalg.matmul, np.divmod: lambda a, b: (e.floor_divide(a, b), e.mod(a, b)),
}  # fmt: skip

_FUNCTIONS: dict[Any, Any] = {
    np.sum: reduce.sum, np.mean: reduce.mean, np.prod: reduce.prod, np.max: reduce.max, np.min: reduce.min,
    np.var: reduce.var, np.std: reduce.std, np.argmax: reduce.argmax, np.argmin: reduce.argmin,
    np.cumsum: reduce.cumsum,
    np.any: reduce.any, np.all: reduce.all, np.linalg.norm: lambda *a, **k: _norm(*a, **k),
    np.dot: lambda a, b: _dot(a, b), np.outer: linalg.outer, np.einsum: linalg.einsum,
    np.reshape: shape.reshape, np.ravel: shape.flatten, np.transpose: shape.transpose, np.swapaxes: shape.swapaxes,
    np.moveaxis: shape.moveaxis, np.broadcast_to: shape.broadcast_to, np.expand_dims: shape.expand_dims,
    np.squeeze: shape.squeeze, np.concatenate: shape.concatenate, np.stack: shape.stack, np.split: shape.split,
    np.flip: shape.flip, np.roll: shape.roll, np.pad: lambda *a, **k: _pad(*a, **k),
    np.repeat: shape.repeat, np.tile: shape.tile,
    np.where: e.where, np.clip: lambda *a, **k: _clip(*a, **k), np.round: round, np.take: index.take,
    np.take_along_axis: lambda *a, **k: _take_along_axis(*a, **k),
    np.shape: lambda x: x.shape, np.ndim: lambda x: x.ndim, np.size: lambda x: x.size,
}  # fmt: skip


# Where NumPy's function does more, or something else, than ours of the same name.


def _floats(*inputs: Any) -> Any:
    return [t if t.is_float else cast(t, DEFAULT_FLOAT) for t in promoted(inputs)]


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    x = as_tensor(x)
    axes = shape.normalize_axes("norm", axis, x.ndim)
    if ord is not None and len(axes) != 1:
        raise TypeError(_refusal("linalg.norm", {"ord over several axes, a matrix norm": ord}))
    return reduce.norm(x, 2 if ord is None else ord, axes, keepdims)


def _dot(a: Any, b: Any) -> Tensor:
    a, b = promoted((a, b))
    if not a.ndim or not b.ndim:
        return e.multiply(a, b)
    if a.ndim > 1 and b.ndim > 2:
        raise TypeError(_refusal("dot", {"a stack of matrices on the right, which is not a matrix product": b}))
    return linalg.matmul(a, b)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Tensor:
    return e.clip(a, min if a_min is None else a_min, max if a_max is None else a_max)


def _pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: float = 0) -> Tensor:
    if mode != "constant" or np.ndim(constant_values):
        raise TypeError(_refusal("pad", {f"mode={mode!r}, constant_values={constant_values!r}": None}))
    return shape.pad(array, pad_width, constant_values)


def _take_along_axis(x: Any, indices: Any, axis: int = -1) -> Tensor:
    x, indices = as_tensor(x), as_tensor(indices)
    k = shape.normalize_axes("take_along_axis", (axis,), x.ndim)[0]
    if indices.ndim == x.ndim:  # NumPy broadcasts the other axes
        indices = shape.broadcast_to(indices, (*x.shape[:k], indices.shape[k], *x.shape[k + 1 :]))
    return index.gather(x, indices, k)

# Questions about values, whose answers are no tensors: asked of the arrays.
_QUESTIONS = {np.allclose, np.array_equal, np.isclose, np.count_nonzero, np.array2string, np.array_repr, np.array_str}


def _array_ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    function = _UFUNCS.get(ufunc) if method == "__call__" else None
    if function is None or kwargs:
        raise TypeError(_refusal(ufunc.__name__ + ("" if method == "__call__" else f".{method}"), kwargs))
    return function(*inputs)


def _array_function(self: Tensor, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    if function in _QUESTIONS:
        return function(*[a.numpy() if isinstance(a, Tensor) else a for a in args], **kwargs)
    ours = _FUNCTIONS.get(function)
    if ours is None:
        raise TypeError(_refusal(function.__name__, {}))
    return ours(*args, **kwargs)


def _refusal(name: str, kwargs: dict[str, Any]) -> str:
    options = f" with {', '.join(kwargs)}" if kwargs else ""
    return (
        f"np.{name}{options} on a tensor cannot be recorded\n"
        f"  hint:     use an operation of tinygrad_rnn, or np.{name}(t.numpy()) for the value alone"
    )


def _array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    array = self.numpy()
    if dtype is not None and array.dtype != dtype:
        if copy is False:
            raise ValueError(f"a tensor of dtype {array.dtype} becomes {np.dtype(dtype)} only by a copy")
        return array.astype(dtype)
    return array.copy() if copy else array


def _dlpack(self: Tensor, **kwargs: Any) -> Any:
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
        "__dlpack__": _dlpack, "__dlpack_device__": _dlpack_device,
    }.items():  # fmt: skip
        setattr(Tensor, name, method)


install()
