"""Operations of the oracle, under the names of the package's functions, so that the source of a program runs on it.

Nothing of the engine is used. What is not elementary is put together from what is, by the formula in the books.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import complexes
from .oracle_values import (
    BOOL,
    FLOAT32,
    INT64,
    Tape,
    Value,
    as_value,
    axes_of,
    elementwise,
    gradient,
    picked,
    promoted,
    smooth,
    summed_to,
    tape_of,
)

__all__ = ["Tape", "Value", "gradient"]

# Elementwise ----------------------------------------------------------------------------------------------------------


def add(a: Any, b: Any) -> Value:
    a, b = as_value(a), as_value(b)
    return elementwise(a.array + b.array, (a, 1), (b, 1))


def subtract(a: Any, b: Any) -> Value:
    a, b = as_value(a), as_value(b)
    return elementwise(a.array - b.array, (a, 1), (b, -1))


def multiply(a: Any, b: Any) -> Value:
    a, b = as_value(a), as_value(b)
    return elementwise(a.array * b.array, (a, b.array), (b, a.array))


def divide(a: Any, b: Any) -> Value:
    a, b = as_value(a), as_value(b)
    return elementwise(a.array / b.array, (a, 1 / b.array), (b, -a.array / b.array**2))


def power(a: Any, b: Any) -> Value:
    a, b = as_value(a), as_value(b)
    if b.dtype is None:
        return elementwise(a.array**b.array, (a, b.array * a.array ** (b.array - 1)))
    y = a.array**b.array
    return elementwise(y, (a, b.array * a.array ** (b.array - 1)), (b, y * np.log(a.array)))


def _choice(a: Any, b: Any, sign: int) -> Value:
    a, b = as_value(a), as_value(b)
    gap = sign * (a.array.real - b.array.real)
    tape_of(a, b).near(gap)
    return elementwise(np.where(gap > 0, a.array, b.array), (a, gap > 0), (b, ~(gap > 0)))


maximum = lambda a, b: _choice(a, b, 1)
minimum = lambda a, b: _choice(a, b, -1)
negative = smooth(lambda x: -x, lambda x, y: -1.0)
square = smooth(lambda x: x * x, lambda x, y: 2 * x)
tanh = smooth(np.tanh, lambda x, y: 1 / np.cosh(x) ** 2)
sin = smooth(np.sin, lambda x, y: np.cos(x))
cos = smooth(np.cos, lambda x, y: -np.sin(x))
exp = smooth(np.exp, lambda x, y: y)
expm1 = smooth(complexes.expm1, lambda x, y: np.exp(x))
log = smooth(np.log, lambda x, y: 1 / x)
log1p = smooth(complexes.log1p, lambda x, y: 1 / (1 + x))
sqrt = smooth(np.sqrt, lambda x, y: 0.5 / y)
rsqrt = smooth(complexes.rsqrt, lambda x, y: -0.5 * y / x)
sigmoid = smooth(complexes.sigmoid, lambda x, y: np.exp(-x) * y**2)
softplus = smooth(complexes.softplus, lambda x, y: complexes.sigmoid(x))
erf = smooth(complexes.erf, lambda x, y: complexes.bell(x))


def gelu(x: Value) -> Value:
    return x * (erf(x * np.sqrt(0.5)) + 1) * 0.5


def _bent(f: Callable[..., Any], slope: Callable[..., Any], *kinks: float) -> Callable[[Any], Value]:
    whole = smooth(f, slope)

    def function(x: Value) -> Value:
        for kink in kinks:
            tape_of(x).near(x.array.real - kink)
        return whole(x)

    return function


relu = _bent(lambda x: np.where(x.real > 0, x, 0), lambda x, y: (x.real > 0) * 1.0, 0)
abs = _bent(lambda x: x * np.sign(x.real), lambda x, y: np.sign(x.real), 0)
sign = _bent(lambda x: np.sign(x.real), lambda x, y: 0.0, 0)
elu = _bent(lambda x: np.where(x.real > 0, x, complexes.expm1(x)), lambda x, y: np.where(x.real > 0, 1, np.exp(x)), 0)


def _stepped(f: Callable[..., Any], offset: float) -> Callable[[Any], Value]:
    constant = smooth(lambda x: f(x.real), lambda x, y: 0.0)

    def function(x: Value) -> Value:
        tape_of(x).near(x.array.real + offset - np.round(x.array.real + offset))
        return constant(x)

    return function


floor, ceil, round = _stepped(np.floor, 0), _stepped(np.ceil, 0), _stepped(np.round, 0.5)


def leaky_relu(x: Value, slope: float = 0.01) -> Value:
    return _bent(lambda x: np.where(x.real > 0, x, slope * x), lambda x, y: np.where(x.real > 0, 1, slope), 0)(x)


def clip(x: Value, low: float, high: float) -> Value:
    inside = lambda x: (x.real > low) & (x.real < high)
    f = lambda x: np.where(inside(x), x, np.clip(x.real, low, high))
    return _bent(f, lambda x, y: inside(x) * 1.0, low, high)(x)


def where(mask: Any, a: Any, b: Any) -> Value:
    mask, a, b = as_value(mask), as_value(a), as_value(b)
    m = mask.array.astype(bool)
    y = elementwise(np.where(m, a.array, b.array), (a, m), (b, ~m))
    return y


def masked_fill(x: Value, mask: Any, value: float) -> Value:
    return where(mask, value, x)


def _compared(f: Callable[..., Any]) -> Callable[..., Value]:
    def function(a: Any, b: Any) -> Value:
        a, b = as_value(a), as_value(b)
        tape = tape_of(a, b)
        if a.is_float or b.is_float:
            tape.near(a.array - b.array)
        return Value(tape, f(a.array.real, b.array.real), BOOL)

    return function


greater, less, equal = _compared(np.greater), _compared(np.less), _compared(np.equal)


def logical_not(a: Value) -> Value:
    return Value(a.tape, ~a.array.astype(bool), BOOL)


def logical_and(a: Value, b: Value) -> Value:
    return Value(tape_of(a, b), a.array.astype(bool) & b.array.astype(bool), BOOL)


# Shape and indexing ---------------------------------------------------------------------------------------------------


def tensor(data: Any) -> Value:
    return as_value(np.asarray(data))


def reshape(x: Value, shape: Any) -> Value:
    return picked([x], lambda p: p.reshape(shape))


def flatten(x: Value) -> Value:
    return reshape(x, -1)


def transpose(x: Value, axes: Any = None) -> Value:
    return picked([x], lambda p: np.transpose(p, axes))


def _moved(name: str) -> Callable[..., Value]:
    return lambda x, *args, **kwargs: picked([x], lambda p: getattr(np, name)(p, *args, **kwargs))


swapaxes, moveaxis, expand_dims, squeeze = (_moved(n) for n in ("swapaxes", "moveaxis", "expand_dims", "squeeze"))
broadcast_to, tile, repeat, flip, roll = (_moved(n) for n in ("broadcast_to", "tile", "repeat", "flip", "roll"))


def pad(x: Value, widths: Any, value: float = 0.0) -> Value:
    filling = Value(tape_of(x), np.array([value]), x.dtype)
    return picked([x, filling], lambda p, f: np.pad(p, widths, constant_values=f[0]))


def stack(values: Sequence[Value], axis: int = 0) -> Value:
    return picked(values, lambda *places: np.stack(places, axis))


def concatenate(values: Sequence[Value], axis: int = 0) -> Value:
    return picked(values, lambda *places: np.concatenate(places, axis))


def split(x: Value, sections: Any, axis: int = 0) -> list[Value]:
    count = sections if isinstance(sections, int) else len(sections) + 1
    return [picked([x], lambda p, k=k: np.split(p, sections, axis)[k]) for k in range(count)]


def _plain(index: Any) -> Any:
    if isinstance(index, Value):
        return index.array
    return tuple(_plain(i) for i in index) if isinstance(index, tuple) else index


def _getitem(x: Value, index: Any) -> Value:
    return picked([x], lambda p: p[_plain(index)])


def take(x: Value, indices: Any, axis: int | None = None) -> Value:
    return picked([x], lambda p: np.take(p, _plain(indices), axis))


def gather(x: Value, indices: Any, axis: int) -> Value:
    """As PyTorch's: other axes of the indices may be shorter."""
    indices = np.asarray(_plain(indices))
    own = tuple(slice(None) if k == axis % x.ndim else slice(0, n) for k, n in enumerate(indices.shape))
    return picked([x], lambda p: np.take_along_axis(p[own], indices, axis))


def one_hot(indices: Value, classes: int, dtype: Any = FLOAT32) -> Value:
    return Value(indices.tape, np.eye(classes)[indices.array], np.dtype(dtype))


class _Indexed:
    def __init__(self, x: Value, index: Any = ...) -> None:
        self._x, self._index = x, index

    def __getitem__(self, index: Any) -> _Indexed:
        return _Indexed(self._x, _plain(index))

    def set(self, value: Any) -> Value:
        x, value = self._x, self._fitting(value)

        def written(p: np.ndarray, q: np.ndarray) -> np.ndarray:
            p = p.copy()
            p[self._index] = q
            return p

        return picked([x, value], written)

    def add(self, value: Any) -> Value:
        x, value = self._x, self._fitting(value)
        at_places = picked([x], lambda p: p[self._index])
        spread = summed_to(value.shape)
        array = x.array + 0 * value.array.sum()
        np.add.at(array, self._index, value.array)
        parents = [(x, lambda g: g), (value, lambda g: spread(np.zeros(at_places.shape) + g[self._index]))]
        return Value(tape_of(x), array, x.dtype, parents)

    def _fitting(self, value: Any) -> Value:
        value = as_value(value)
        x = self._x
        return value.astype(x.dtype) if value.tape is not None else Value(tape_of(x), value.array, x.dtype)


# Reductions and products ----------------------------------------------------------------------------------------------


def _kept(x: Value, axis: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    axes = axes_of(axis, x.ndim)
    return axes, tuple(1 if k in axes else n for k, n in enumerate(x.shape))


def _cut(y: Value, axes: tuple[int, ...], keepdims: bool) -> Value:
    return y if keepdims else reshape(y, tuple(n for k, n in enumerate(y.shape) if k not in axes))


def sum(x: Value, axis: Any = None, keepdims: bool = False) -> Value:
    axes, kept = _kept(x, axis)
    spread = lambda g: np.zeros(x.shape) + g
    y = Value(tape_of(x), x.array.sum(axes, keepdims=True).reshape(kept), x.dtype, [(x, spread)])
    return _cut(y, axes, keepdims)


def mean(x: Value, axis: Any = None, keepdims: bool = False) -> Value:
    total = sum(x, axis, keepdims)
    return total * (total.size / x.size)


def prod(x: Value, axis: Any = None, keepdims: bool = False) -> Value:
    """Slice after slice: a product of what is left out takes no division."""
    axes, kept = _kept(x, axis)
    rest = [k for k in range(x.ndim) if k not in axes]
    n = int(np.prod([x.shape[k] for k in axes], dtype=int))
    rows = reshape(transpose(x, (*axes, *rest)), (n, int(np.prod([x.shape[k] for k in rest], dtype=int))))
    left = lambda g: np.stack([g * np.prod(np.delete(rows.array, k, 0), axis=0) for k in range(n)]) if n else rows.array
    y = Value(tape_of(x), rows.array.prod(0), x.dtype, [(rows, left)])
    return _cut(reshape(y, kept), axes, keepdims)


def _extreme(x: Value, axis: Any, keepdims: bool, sign: int) -> Value:
    axes, kept = _kept(x, axis)
    rest = [k for k in range(x.ndim) if k not in axes]
    rows = reshape(transpose(x, (*axes, *rest)), (-1, int(np.prod([x.shape[k] for k in rest], dtype=int))))
    order = np.sort(sign * rows.array.real, axis=0)
    if len(order) > 1:
        tape_of(x).near(order[-1] - order[-2])
    place = (sign * rows.array.real).argmax(0)
    y = picked([rows], lambda p: p[place, np.arange(p.shape[1])])
    return _cut(reshape(y, kept), axes, keepdims)


def max(x: Value, axis: Any = None, keepdims: bool = False) -> Value:
    return _extreme(x, axis, keepdims, 1)


def min(x: Value, axis: Any = None, keepdims: bool = False) -> Value:
    return _extreme(x, axis, keepdims, -1)


def argmax(x: Value, axis: int | None = None) -> Value:
    max(x, axis)  # for its distance from a tie
    y = Value(tape_of(x), x.array.real.argmax(axis), INT64)
    y.bound = x.size if axis is None else x.shape[axis]
    return y


def var(x: Value, axis: Any = None, keepdims: bool = False) -> Value:
    centred = x - mean(x, axis, True)
    return mean(centred * centred, axis, keepdims)


def _rooted(y: Value) -> Value:
    tape_of(y).near(y.array)
    return sqrt(y)


def std(x: Value, axis: Any = None, keepdims: bool = False) -> Value:
    return _rooted(var(x, axis, keepdims))


def norm(x: Value, ord: float = 2, axis: Any = None, keepdims: bool = False) -> Value:
    return _rooted(sum(x * x, axis, keepdims)) if ord == 2 else sum(abs(x), axis, keepdims)


def logsumexp(x: Value, axis: Any = None, keepdims: bool = False) -> Value:
    return log(sum(exp(x), axis, keepdims))  # values are bounded, so nothing need be taken off first


def cumsum(x: Value, axis: int | None = None) -> Value:
    if axis is None:
        return cumsum(flatten(x), 0)
    back = lambda g: np.flip(np.cumsum(np.flip(g, axis), axis), axis)
    return Value(tape_of(x), np.cumsum(x.array, axis), x.dtype, [(x, back)])


def matmul(a: Any, b: Any) -> Value:
    """Of any rank: what is a vector becomes a matrix, and batches are broadcast."""
    if a.ndim == 1 or b.ndim == 1:
        wide = matmul(reshape(a, (1, -1)) if a.ndim == 1 else a, reshape(b, (-1, 1)) if b.ndim == 1 else b)
        cut = [] if b.ndim > 1 else [wide.ndim - 1]
        return _cut(wide, tuple([wide.ndim - 2, *cut] if a.ndim == 1 else cut), False)
    by_a = lambda g: summed_to(a.shape)(g @ np.swapaxes(b.array, -1, -2))
    by_b = lambda g: summed_to(b.shape)(np.swapaxes(a.array, -1, -2) @ g)
    return Value(tape_of(a, b), a.array @ b.array, promoted(a, b), [(a, by_a), (b, by_b)])


def outer(a: Value, b: Value) -> Value:
    return reshape(a, (-1, 1)) * reshape(b, (1, -1))


def einsum(subscripts: str, *operands: Value) -> Value:
    """By the definition: everything is multiplied in the space of all indices, and what is not in the result summed."""
    terms, result = subscripts.split("->")
    letters = result + "".join(sorted(set(terms) - set(result) - {","}))
    product: Value | None = None
    for term, x in zip(terms.split(","), operands, strict=True):
        ordered = transpose(x, [term.index(k) for k in letters if k in term])
        sizes = iter(ordered.shape)
        part = reshape(ordered, tuple(next(sizes) if k in term else 1 for k in letters))
        product = part if product is None else product * part
    assert product is not None
    return sum(product, tuple(range(len(result), len(letters)))) if len(letters) > len(result) else product


# Neural ---------------------------------------------------------------------------------------------------------------


def softmax(x: Value, axis: int = -1) -> Value:
    e = exp(x)
    return e / sum(e, axis, True)


def log_softmax(x: Value, axis: int = -1) -> Value:
    return x - logsumexp(x, axis, True)


def layer_norm(x: Value, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Value:
    y = (x - mean(x, -1, True)) / sqrt(var(x, -1, True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def cross_entropy(logits: Value, target: Any, *, reduction: str = "mean") -> Value:
    target = np.asarray(_plain(target))
    lost = -picked([log_softmax(logits)], lambda p: np.take_along_axis(p, target[..., None], -1)[..., 0])
    return {"mean": mean, "sum": sum, "none": lambda x: x}[reduction](lost)


def mse_loss(a: Value, b: Value) -> Value:
    return mean((a - b) * (a - b))


def huber_loss(a: Value, b: Value) -> Value:
    d = abs(a - b)
    near = minimum(d, 1.0)
    return mean(near * near * 0.5 + d - near)


def binary_cross_entropy_with_logits(x: Value, t: Value) -> Value:
    return mean(t * softplus(-x) + (1 - t) * softplus(x))


# What only orders the work --------------------------------------------------------------------------------------------

checkpoint = lambda f: f
steps = lambda count, reverse=False: range(count - 1, -1, -1) if reverse else range(count)


def _operators() -> None:
    both: dict[str, Callable[..., Value]] = {
        "add": add, "sub": subtract, "mul": multiply, "truediv": divide, "pow": power, "matmul": matmul,
    }  # fmt: skip
    for name, f in both.items():
        setattr(Value, f"__{name}__", f)
        setattr(Value, f"__r{name}__", lambda a, b, f=f: f(b, a))
    one: dict[str, Any] = {"neg": negative, "getitem": _getitem, "gt": greater, "lt": less, "and": logical_and}
    for name, f in one.items():
        setattr(Value, f"__{name}__", f)
    Value.T = property(transpose)  # type: ignore[attr-defined]
    Value.at = property(_Indexed)  # type: ignore[attr-defined]


_operators()
