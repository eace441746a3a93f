"""NumPy's functions under NumPy's names of parameters, each by operations of ours.

A line is called as NumPy calls it: positions, keywords and defaults are those of NumPy, and what it says of an option
that it does not use is the value under which NumPy does not use it either. Any other value is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from inspect import Parameter, Signature, signature
from string import ascii_letters
from typing import Any

import numpy as np

from ..errors import brief, fail
from ..tensor import DEFAULT_FLOAT, Tensor
from . import create, index, linalg, reduce, shape
from . import elementwise as e
from .broadcasting import broadcast_shape
from .core import as_tensor, cast, promoted

__all__ = ["FUNCTIONS", "UFUNCS", "called", "refusal"]


def refusal(name: str, option: str = "", got: str = "", expected: str = "") -> TypeError:
    """The error for what cannot be recorded."""
    return fail(
        TypeError, f"np.{name}{option and ' with '}{option} on a tensor cannot be recorded",
        expected=expected or "a function of NumPy's that stands for operations of tinygrad_rnn", got=got,
        hint=f"use an operation of tinygrad_rnn, or np.{name}(t.numpy()) for the value alone",
    )  # fmt: skip


# Calls ----------------------------------------------------------------------------------------------------------------

# Options that ask for what a recorded operation does not do: they may only say what it does anyway.
_IDLE = {"out", "where", "order", "casting", "subok", "mode", "optimize", "initial", "correction", "prepend", "mean"}
_SAME = {"order": ("C", "K", "A"), "optimize": (True, False, "greedy", "optimal"), "subok": (True, False)}


def called(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `function`, one of the table, gives for a call as NumPy takes it."""
    ours, takes = FUNCTIONS[function], _signature(function)
    try:
        given = takes.bind(*args, **kwargs)
    except TypeError as error:
        raise refusal(function.__name__, got=str(error), expected=f"{function.__name__}{takes}") from None
    for name in _IDLE & given.arguments.keys():
        _check_idle(function.__name__, name, given.arguments[name], takes.parameters[name])
    return ours(*given.args, **given.kwargs)


@cache
def _signature(function: Any) -> Signature:
    return signature(FUNCTIONS[function])


def _check_idle(function: str, name: str, value: Any, parameter: Parameter) -> None:
    idle = (parameter.default, *_SAME.get(name, ()))
    plain = value is None or value is np._NoValue or isinstance(value, str | bool)
    if not plain or not any(value is i or (isinstance(value, str) and value == i) for i in (*idle, np._NoValue)):
        raise refusal(function, name, f"{name}={brief(value)}", f"{name}={parameter.default!r}, or none")


# Reductions -----------------------------------------------------------------------------------------------------------


def _of(x: Any, dtype: Any) -> Tensor:
    return as_tensor(x) if dtype is None else cast(as_tensor(x), dtype)


def _kept(keepdims: Any) -> bool:
    return keepdims is not np._NoValue and bool(keepdims)


def _adding(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A sum or product: of a dtype, and beginning with a number."""
    return lambda a, axis=None, dtype=None, out=None, keepdims=False, initial=None, where=True: function(
        _of(a, dtype), axis, _kept(keepdims)
    )


def _averaging(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda a, axis=None, dtype=None, out=None, keepdims=False, *, where=True: function(
        _of(a, dtype), axis, _kept(keepdims)
    )


def _spreading(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def spread(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False, *,
        where: Any = True, mean: Any = None, correction: Any = None,
    ) -> Tensor:  # fmt: skip
        return function(_of(a, dtype), axis, _kept(keepdims), ddof=ddof)

    return spread


def _extremum(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda a, axis=None, out=None, keepdims=False, initial=None, where=True: function(a, axis, _kept(keepdims))


def _logical(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda a, axis=None, out=None, keepdims=False, *, where=True: function(a, axis, _kept(keepdims))


def _picking(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda a, axis=None, out=None, *, keepdims=False: function(a, axis, _kept(keepdims))


def _cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Tensor:
    return reduce.cumsum(_of(a, dtype), axis)


def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Tensor:
    return reduce.max(a, axis, _kept(keepdims)) - reduce.min(a, axis, _kept(keepdims))


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Tensor:
    x = as_tensor(x)
    axes = shape.normalize_axes("norm", axis, x.ndim)
    if ord is not None and len(axes) != 1:
        raise refusal("linalg.norm", "ord over several axes, a matrix norm", f"ord={ord!r}", "one axis, or ord=None")
    if ord is not None and ord not in (1, 2, np.inf):
        raise refusal("linalg.norm", "ord", f"ord={ord!r}", "1, 2 or infinity")
    return reduce.norm(x, 2 if ord is None else ord, axes, keepdims)


def _diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue) -> Tensor:
    x = as_tensor(a)
    _refuse_given("diff", prepend=prepend, append=append)
    if not isinstance(n, int | np.integer) or n < 0:
        raise refusal("diff", "n", f"n={n!r}", "0 or more")
    k = shape.normalize_axes("diff", (axis,), x.ndim, x)[0]
    lead = (slice(None),) * k
    for _ in range(n):
        x = x[(*lead, slice(1, None))] - x[(*lead, slice(None, -1))]
    return x


def _refuse_given(function: str, **options: Any) -> None:
    for name, value in options.items():
        if value is not np._NoValue:
            raise refusal(function, name, f"{name}={brief(value)}", f"no {name}")


# Products -------------------------------------------------------------------------------------------------------------


def _dot(a: Any, b: Any, out: Any = None) -> Tensor:
    a, b = promoted((a, b))
    if not a.ndim or not b.ndim:
        return e.multiply(a, b)
    if a.ndim > 1 and b.ndim > 2:
        what = "a stack of matrices on the right, which is not a matrix product"
        raise refusal("dot", what, str(b.shape), "two axes at most, or np.matmul")
    return linalg.matmul(a, b)


def _inner(a: Any, b: Any) -> Tensor:
    a, b = promoted((a, b))
    if not a.ndim or not b.ndim:
        return e.multiply(a, b)
    return _tensordot(a, b, (-1, -1))


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Tensor:
    a, b = promoted((a, b))
    left, right = (range(a.ndim - axes, a.ndim), range(axes)) if isinstance(axes, int) else axes
    left = _axes_in_order("tensordot", left, a)
    right = _axes_in_order("tensordot", right, b)
    letters = iter(ascii_letters)
    first = [next(letters) for _ in range(a.ndim)]
    second = [next(letters) for _ in range(b.ndim)]
    if len(left) != len(right):
        raise refusal("tensordot", "axes", f"axes={axes!r}", "as many axes of the first as of the second")
    for i, j in zip(left, right, strict=True):
        second[j] = first[i]
    kept = [c for k, c in enumerate(first) if k not in left] + [c for k, c in enumerate(second) if k not in right]
    return linalg.einsum(f"{''.join(first)},{''.join(second)}->{''.join(kept)}", a, b)


def _axes_in_order(name: str, axes: Any, x: Tensor) -> list[int]:
    listed = [axes] if isinstance(axes, int) else list(axes)
    shape.normalize_axes(name, listed, x.ndim, x)
    return [k % x.ndim for k in listed]


def _einsum(
    *operands: Any, out: Any = None, optimize: Any = False, dtype: Any = None, order: Any = "K", casting: Any = "safe"
) -> Tensor:
    if operands and isinstance(operands[0], str):
        subscripts, given = operands[0], operands[1:]
    else:
        subscripts, given = _subscripts(operands)
    return linalg.einsum(subscripts, *(_of(t, dtype) for t in given))


def _subscripts(operands: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """``A, [0, 1], [1, 0]`` as ``"ab->ba", A``."""
    given, terms = operands[::2], operands[1::2]
    result = None
    if len(operands) % 2:
        given, result = operands[:-1:2], operands[-1]
    try:
        left = ",".join("".join(ascii_letters[k] for k in term) for term in terms)
        right = "" if result is None else "->" + "".join(ascii_letters[k] for k in result)
    except (TypeError, IndexError):
        what = "operands, each with a list of its axes' numbers from 0 to 51"
        raise refusal("einsum", "these subscripts", brief(operands[1:]), what) from None
    return left + right, given


# Shapes ---------------------------------------------------------------------------------------------------------------


def _reshape(a: Any, shape_: Any = None, order: Any = "C") -> Tensor:
    return shape.reshape(a, *(shape_ if isinstance(shape_, tuple | list) else (shape_,)))


def _pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Tensor:
    if mode != "constant" or np.ndim(constant_values):
        asked = f"mode={mode!r}, constant_values={brief(constant_values)}"
        raise refusal("pad", asked, asked, "mode='constant' and one number")
    if isinstance(pad_width, dict):
        raise refusal("pad", "pad_width", "a dict", "one number, a pair, or a pair per axis")
    return shape.pad(array, pad_width, constant_values)


def _pieces(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    return shape.split(ary, indices_or_sections, axis)


def _array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Parts that may differ by one, the longer ones first."""
    if not isinstance(indices_or_sections, int):
        return shape.split(ary, indices_or_sections, axis)
    x = as_tensor(ary)
    k = shape.normalize_axes("array_split", (axis,), x.ndim, x)[0]
    if indices_or_sections < 1:
        raise refusal("array_split", "indices_or_sections", repr(indices_or_sections), "a positive number of parts")
    size, longer = divmod(x.shape[k], indices_or_sections)
    cuts = np.cumsum([size + (j < longer) for j in range(indices_or_sections)])[:-1]
    return shape.split(x, [int(c) for c in cuts], k)


def _at_least(ndim: int) -> Callable[..., Any]:
    def at_least(*arys: Any) -> Any:
        lifted = tuple(_lifted(as_tensor(x), ndim) for x in arys)
        return lifted[0] if len(lifted) == 1 else lifted

    return at_least


def _lifted(x: Tensor, ndim: int) -> Tensor:
    if x.ndim >= ndim:
        return x
    return x.reshape(*{1: (1,), 2: (1, x.size), 3: (1, x.size, 1) if x.ndim < 2 else (*x.shape, 1)}[ndim])


def _stacked(ndim: int, axis: int) -> Callable[..., Tensor]:
    def stacked(tup: Sequence[Any], *, dtype: Any = None, casting: Any = "same_kind") -> Tensor:
        parts = [_lifted(as_tensor(t), ndim) for t in tup]
        along = 0 if axis == 1 and ndim == 1 and parts and parts[0].ndim == 1 else axis
        return _of(shape.concatenate(parts, along), dtype)

    return stacked


def _column_stack(tup: Sequence[Any]) -> Tensor:
    columns = [as_tensor(t) for t in tup]
    return shape.concatenate([c if c.ndim > 1 else c.reshape(c.size, 1) for c in columns], 1)


def _joined(arrays: Sequence[Any], axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: Any = "same_kind"):
    parts = [shape.flatten(t) for t in arrays] if axis is None else arrays
    return _of(shape.concatenate(parts, 0 if axis is None else axis), dtype)


def _stack(arrays: Sequence[Any], axis: int = 0, out: Any = None, *, dtype: Any = None, casting: Any = "same_kind"):
    return _of(shape.stack(arrays, axis), dtype)


def _append(arr: Any, values: Any, axis: int | None = None) -> Tensor:
    return _joined((arr, values), axis)


# Picking --------------------------------------------------------------------------------------------------------------


def _take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Tensor:
    x, indices = as_tensor(arr), as_tensor(indices)
    if axis is None:
        x, axis = shape.flatten(x), 0
    k = shape.normalize_axes("take_along_axis", (axis,), x.ndim, x)[0]
    if indices.ndim == x.ndim:  # NumPy broadcasts the other axes of both
        wide = broadcast_shape("take_along_axis", *((*t.shape[:k], 1, *t.shape[k + 1 :]) for t in (x, indices)))
        x, indices = (shape.broadcast_to(t, (*wide[:k], t.shape[k], *wide[k + 1 :])) for t in (x, indices))
    return index.gather(x, indices, k)


def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    x = as_tensor(a)
    first, second = _axes_in_order("diagonal", (axis1, axis2), x)
    moved = shape.moveaxis(x, (first, second), (0, 1))
    rows, columns = moved.shape[:2]
    size = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    steps = np.arange(size)
    picked = moved[steps - min(offset, 0), steps + max(offset, 0)]
    return shape.moveaxis(picked, 0, -1)


def _trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Tensor:
    return reduce.sum(_of(_diagonal(a, offset, axis1, axis2), dtype), -1)


def _triangle(part: Callable[..., Any]) -> Callable[..., Tensor]:
    def triangle(m: Any, k: int = 0) -> Tensor:
        x = as_tensor(m)
        if x.ndim < 2:
            raise refusal(part.__name__, "m", str(x.shape), "two axes or more")
        return e.where(part(np.ones(x.shape[-2:], bool), k), x, 0)

    return triangle


# Elementwise ----------------------------------------------------------------------------------------------------------


def _floats(*inputs: Any) -> Any:
    return [t if t.is_float else cast(t, DEFAULT_FLOAT) for t in promoted(inputs)]


def _clip(
    a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None,
    dtype: Any = None, casting: Any = "same_kind",
) -> Tensor:  # fmt: skip
    return e.clip(_of(a, dtype), min if a_min is None else a_min, max if a_max is None else a_max)


def _where(*choice: Any) -> Tensor:
    if len(choice) != 3:
        raise refusal("where", f"{len(choice)} arguments: where takes 3 arguments; got {len(choice)}")
    return e.where(*choice)


UFUNCS: dict[Any, Any] = {
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

FUNCTIONS: dict[Any, Any] = {
    # reductions
    np.sum: _adding(reduce.sum), np.prod: _adding(reduce.prod), np.mean: _averaging(reduce.mean),
    np.max: _extremum(reduce.max), np.min: _extremum(reduce.min), np.amax: _extremum(reduce.max),
    np.amin: _extremum(reduce.min), np.var: _spreading(reduce.var), np.std: _spreading(reduce.std),
    np.argmax: _picking(reduce.argmax), np.argmin: _picking(reduce.argmin), np.any: _logical(reduce.any),
    np.all: _logical(reduce.all), np.cumsum: _cumsum, np.ptp: _ptp, np.linalg.norm: _norm, np.diff: _diff,
    # products
    np.dot: _dot, np.inner: _inner, np.tensordot: _tensordot, np.einsum: _einsum,
    np.outer: lambda a, b, out=None: linalg.outer(a, b),
    np.vdot: lambda a, b: linalg.matmul(shape.flatten(a), shape.flatten(b)),
    # shapes
    np.reshape: lambda a, shape=None, order="C", *, newshape=None, copy=None: _reshape(
        a, newshape if shape is None else shape
    ),
    np.ravel: lambda a, order="C": shape.flatten(a),
    np.transpose: lambda a, axes=None: shape.transpose(a, axes),
    np.matrix_transpose: lambda x, /: shape.swapaxes(x, -1, -2),
    np.swapaxes: lambda a, axis1, axis2: shape.swapaxes(a, axis1, axis2),
    np.moveaxis: lambda a, source, destination: shape.moveaxis(a, source, destination),
    np.broadcast_to: lambda array, shape, subok=False: _broadcast_to(array, shape),
    np.expand_dims: lambda a, axis: shape.expand_dims(a, axis),
    np.squeeze: lambda a, axis=None: shape.squeeze(a, axis),
    np.atleast_1d: _at_least(1), np.atleast_2d: _at_least(2), np.atleast_3d: _at_least(3),
    np.pad: _pad, np.tile: lambda A, reps: shape.tile(A, reps),
    np.repeat: lambda a, repeats, axis=None: shape.repeat(a, repeats, axis),
    np.flip: lambda m, axis=None: shape.flip(m, axis), np.flipud: lambda m: shape.flip(m, 0),
    np.fliplr: lambda m: shape.flip(m, 1), np.roll: lambda a, shift, axis=None: shape.roll(a, shift, axis),
    # joining and cutting
    np.concatenate: _joined, np.stack: _stack, np.vstack: _stacked(2, 0), np.hstack: _stacked(1, 1),
    np.dstack: _stacked(3, 2), np.column_stack: _column_stack, np.append: _append, np.split: _pieces,
    np.array_split: _array_split, np.vsplit: lambda ary, indices_or_sections: _pieces(ary, indices_or_sections, 0),
    np.hsplit: lambda ary, indices_or_sections: _pieces(ary, indices_or_sections, 1 if np.ndim(ary) > 1 else 0),
    # picking
    np.take: lambda a, indices, axis=None, out=None, mode="raise": index.take(a, indices, axis),
    np.take_along_axis: _take_along_axis, np.diagonal: _diagonal, np.trace: _trace, np.tril: _triangle(np.tril),
    np.triu: _triangle(np.triu), np.where: _where,
    # elementwise
    np.clip: _clip, np.round: lambda a, decimals=0, out=None: round(as_tensor(a), decimals),
    np.copy: lambda a, order="K", subok=False: as_tensor(a),
    np.astype: lambda x, dtype, /, *, copy=True, device=None: cast(as_tensor(x), dtype),
    # of the same shape, and about shapes
    np.zeros_like: lambda a, dtype=None, order="K", subok=True: create.zeros_like(_of(a, dtype)),
    np.ones_like: lambda a, dtype=None, order="K", subok=True: create.ones_like(_of(a, dtype)),
    np.empty_like: lambda prototype, dtype=None, order="K", subok=True: create.zeros_like(_of(prototype, dtype)),
    np.full_like: lambda a, fill_value, dtype=None, order="K", subok=True: _full_like(_of(a, dtype), fill_value),
    np.shape: lambda a: a.shape, np.ndim: lambda a: a.ndim,
    np.size: lambda a, axis=None: a.size if axis is None else a.shape[axis],
}  # fmt: skip


def _broadcast_to(array: Any, to: Any) -> Tensor:
    return shape.broadcast_to(array, to)


def _full_like(a: Tensor, value: Any) -> Tensor:
    return shape.broadcast_to(cast(as_tensor(value), a.dtype), a.shape)
