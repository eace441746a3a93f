"""Reductions over any axes, with ``keepdims``.

Extrema run in NumPy, whose loops are vectorised; sums (``kernels/sums.py``), cumulative sums and log-sum-exp in loops
of our own, which are right for any number of terms along any axis. Products, variances and norms are composed of these.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ShapeError, fail
from ..kernels import rows
from ..kernels.loops import RowKernels
from ..kernels.sums import add_up
from ..tensor import Spec, Tensor
from .core import apply, are_axes, are_floats, as_float, as_tensor, cast, define, is_axis, quiet
from .elementwise import abs as absolute
from .elementwise import add, divide, exp, multiply, negative, where
from .shape import broadcast_to, flip, normalize_axes, reduced_shape, reshape

__all__ = [
    "all", "any", "argmax", "argmin", "cumsum", "logsumexp", "max", "mean", "min", "norm", "prod", "std", "sum", "var",
]  # fmt: skip

Axis = int | tuple[int, ...] | None


def _unreduce(g: Tensor, x: Tensor, axis: tuple[int, ...]) -> Tensor:
    """Bring a reduced tensor back to the shape of `x`."""
    return broadcast_to(reshape(g, reduced_shape(x.shape, axis, True)), x.shape)


def _share(y: Tensor, x: Tensor, axis: tuple[int, ...]) -> Tensor:
    """How much each entry of `x` has of its extremum `y`: ties share equally."""
    hits = cast(x == _unreduce(y, x, axis), x.dtype)
    return hits / _unreduce(sum(hits, axis), x, axis)


def _share_of_sum(y: Tensor, x: Tensor, axis: tuple[int, ...]) -> Tensor:
    """How much each exponential has of the sum whose logarithm is `y`: nothing where all are 0."""
    return exp(x - _unreduce(where(y == -np.inf, 0, y), x, axis))


def _same(dtype: np.dtype) -> np.dtype:
    return dtype


def _widened(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.kind == "f" else np.add.reduce(np.empty(0, dtype)).dtype


def _boolean(dtype: np.dtype) -> np.dtype:
    return np.dtype(bool)


def _reduction(
    name: str,
    run: Any,
    vjp: Any,
    jvp: Any,
    formula: str,
    dtype: Any = _same,
    empty: bool = True,
    floats: bool = False,
) -> Any:
    """An op of ``(x, axis, keepdims)`` and the function that applies it."""

    def shape(x: Spec, axis: tuple[int, ...], keepdims: bool) -> Spec:
        if not empty and 0 in [x.shape[k] for k in axis]:
            raise fail(
                ShapeError, f"{name}: there is no value to take over axes {axis} of shape {x.shape}",
                expected="at least one value", hint="check for an empty batch or sequence",
            )  # fmt: skip
        return Spec(reduced_shape(x.shape, axis, keepdims), dtype(x.dtype))

    def takes(x: Spec, *, axis: Any, keepdims: Any) -> bool:
        return are_axes(axis, x.ndim) and type(keepdims) is bool and (are_floats(x) or not floats)

    op = define(name, run=quiet(run), shape=shape, vjp=vjp, jvp=jvp, formula=formula, takes=takes)

    def reduce(x: Any, axis: Axis, keepdims: bool) -> Tensor:
        x = as_tensor(x)
        return apply(op, (x,), {"axis": normalize_axes(name, axis, x.ndim, x), "keepdims": bool(keepdims)})

    return reduce


_sum = _reduction(
    "sum",
    lambda x, axis, keepdims: add_up(x, axis, keepdims),
    (lambda g, y, x, axis, keepdims: _unreduce(g, x, axis),),
    "linear",
    r"\sum {0}",
    dtype=_widened,
)
_mean = _reduction(
    "mean",
    lambda x, axis, keepdims: add_up(x, axis, keepdims) / x.dtype.type(_count(x.shape, axis)),
    (lambda g, y, x, axis, keepdims: _unreduce(g, x, axis) / _count(x.shape, axis),),
    "linear",
    r"\mathrm{{mean}}({0})",
    floats=True,
)
_max, _min = [
    _reduction(
        name,
        lambda x, axis, keepdims, extremum=extremum: extremum.reduce(x, axis, keepdims=keepdims),
        (lambda g, y, x, axis, keepdims: _unreduce(g, x, axis) * _share(y, x, axis),),
        lambda i, t, y, x, axis, keepdims: sum(t * _share(y, x, axis), axis, keepdims),
        rf"\{name} {{0}}",
        empty=False,
    )
    for name, extremum in (("max", np.maximum), ("min", np.minimum))
]
LOGSUMEXP_ROWS = RowKernels("logsumexp", rows.logsumexp, "(n)->()")
_logsumexp = _reduction(
    "logsumexp",
    lambda x, axis, keepdims: _reduce_rows(LOGSUMEXP_ROWS, x, axis, keepdims, -np.inf),
    (lambda g, y, x, axis, keepdims: _unreduce(g, x, axis) * _share_of_sum(y, x, axis),),
    lambda i, t, y, x, axis, keepdims: sum(t * _share_of_sum(y, x, axis), axis, keepdims),
    r"\ln \sum e^{{{0}}}",
    floats=True,
)
_any, _all = [
    _reduction(
        name,
        lambda x, axis, keepdims, logic=logic: logic.reduce(x, axis, keepdims=keepdims),
        "its result is boolean",
        None,
        rf"\mathrm{{{{{name}}}}}({{0}})",
        dtype=_boolean,
    )
    for name, logic in (("any", np.logical_or), ("all", np.logical_and))
]


def _count(shape: tuple[int, ...], axis: tuple[int, ...]) -> int:
    count = 1
    for k in axis:
        count *= shape[k]
    return count


def _reduce_rows(kernels: RowKernels, x: np.ndarray, axis: tuple[int, ...], keepdims: bool, empty: float) -> np.ndarray:
    shape = reduced_shape(x.shape, axis, keepdims)
    n = _count(x.shape, axis)
    if n == 0:
        return np.full(shape, empty, x.dtype)
    lead = [k for k in range(x.ndim) if k not in axis]
    flat = x.transpose(*lead, *axis).reshape(*[x.shape[k] for k in lead], n)
    return np.asarray(kernels[x.dtype](flat)).reshape(shape)


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum over `axis` (all axes by default). Integers and booleans are summed as int64.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.sum([[1.0, 2.0], [3.0, 4.0]], axis=0).tolist()
    [4.0, 6.0]
    """
    return _sum(x, axis, keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over `axis` (all axes by default); NaN over no values.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.mean([[1.0, 2.0], [3.0, 4.0]], axis=1).tolist()
    [1.5, 3.5]
    """
    return _mean(as_float(x), axis, keepdims)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Largest value over `axis`; NaN where there is one. Ties share the gradient equally.

    Raises
    ------
    ShapeError
        If there is no value to take.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.max([[1.0, 5.0], [3.0, 4.0]], axis=1).tolist()
    [5.0, 4.0]
    """
    return _max(x, axis, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Smallest value over `axis`; NaN where there is one. Ties share the gradient equally.

    Raises
    ------
    ShapeError
        If there is no value to take.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.min([[1.0, 5.0], [3.0, 4.0]], axis=1).tolist()
    [1.0, 3.0]
    """
    return _min(x, axis, keepdims)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` over `axis`, without overflow; minus infinity over no values.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.logsumexp([1000.0, 1000.0]).item()
    1000.6931762695312
    """
    return _logsumexp(as_float(x), axis, keepdims)


def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether some value over `axis` is true or not zero.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.any([False, True]).item()
    True
    """
    return _any(x, axis, keepdims)


def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether every value over `axis` is true or not zero.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.all([False, True]).item()
    False
    """
    return _all(x, axis, keepdims)


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Product over `axis`, multiplied pairwise like a tree, so that gradients are right where factors are zero.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> x = tg.parameter([2.0, 0.0, 4.0])
    >>> tg.grad(tg.prod(x), x).tolist()
    [0.0, 8.0, 0.0]
    """
    x = as_tensor(x)
    x = cast(x, _widened(x.dtype))
    axes = normalize_axes("prod", axis, x.ndim, x)
    lead = [k for k in range(x.ndim) if k not in axes]
    flat = reshape(x.transpose(*axes, *lead), (_count(x.shape, axes), *(x.shape[k] for k in lead)))
    if not len(flat):
        flat = flat.sum(0, keepdims=True) + 1
    while len(flat) > 1:
        half = len(flat) // 2
        product = multiply(flat[:half], flat[half : 2 * half])
        flat = product if len(flat) % 2 == 0 else multiply_last(product, flat[-1])
    return reshape(flat, reduced_shape(x.shape, axes, keepdims))


def multiply_last(product: Tensor, rest: Tensor) -> Tensor:
    """Multiply the last row of `product` by `rest`."""
    return product.at[-1].set(product[-1] * rest)


def var(x: Any, axis: Axis = None, keepdims: bool = False, *, ddof: int = 0) -> Tensor:
    """Variance over `axis`, divided by the number of values less `ddof`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.var([1.0, 2.0, 3.0]).item(), tg.var([1.0, 2.0, 3.0], ddof=1).item()
    (0.6666666865348816, 1.0)
    """
    x = as_float(x)
    axes = normalize_axes("var", axis, x.ndim, x)
    centred = x - mean(x, axes, keepdims=True)
    n = _count(x.shape, axes) - ddof
    return sum(centred * centred, axes, keepdims) / (n if n > 0 else 0)


def std(x: Any, axis: Axis = None, keepdims: bool = False, *, ddof: int = 0) -> Tensor:
    """Standard deviation over `axis`, of any magnitude: the root of :func:`var`. Where it is zero its gradient is zero.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.std([1.0, 3.0]).item()
    1.0
    """
    x = as_float(x)
    axes = normalize_axes("std", axis, x.ndim, x)
    n = _count(x.shape, axes) - ddof
    return norm(x - mean(x, axes, keepdims=True), 2, axes, keepdims) / math.sqrt(n if n > 0 else 0)


def norm(x: Any, ord: float = 2, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Vector norm over `axis` (all axes by default): ``ord`` 1, 2 or infinity.

    Squares of the Euclidean norm neither overflow nor vanish; its gradient at zero is zero.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.norm([3e30, 4e30]).item()
    4.9999999241216036e+30
    """
    x = as_float(x)
    axes = normalize_axes("norm", axis, x.ndim, x)
    if ord == 1:
        return sum(absolute(x), axes, keepdims)
    if ord not in (2, np.inf):
        raise ValueError(f"norm: expected ord 1, 2 or infinity, got {ord!r}")
    if _count(x.shape, axes) == 0:
        return sum(x, axes, keepdims)
    if ord == np.inf:
        return max(absolute(x), axes, keepdims)
    return _norm(x, axes, keepdims)


NORM_ROWS = RowKernels("norm", rows.norm, "(n)->()")
_norm = _reduction(
    "norm",
    lambda x, axis, keepdims: _reduce_rows(NORM_ROWS, x, axis, keepdims, 0.0),
    (lambda g, y, x, axis, keepdims: _norm_gradient(g, y, x, axis),),
    lambda i, t, y, x, axis, keepdims: sum(t * _direction(y, x, axis), axis, keepdims),
    r"\lVert {0} \rVert",
    floats=True,
)


def _norm_gradient(g: Tensor, y: Tensor, x: Tensor, axis: tuple[int, ...]) -> Tensor:
    """``g * x / y``; without a division where `g` is a product with `y`, as for a squared norm, to be smooth at 0."""
    share = _without_factor(g, y)
    if share is None:
        return _unreduce(g, x, axis) * _direction(y, x, axis)
    return _unreduce(broadcast_to(share, y.shape), x, axis) * x


# What each operation leaves of ``op(a, b)`` when a factor is taken out, given what that leaves of `a` and of `b`.
_LEFT: dict[Any, Any] = {
    multiply.op: lambda a, b, p, q: p * b if p is not None else None if q is None else a * q,
    divide.op: lambda a, b, p, q: None if p is None else p / b,
    add.op: lambda a, b, p, q: None if p is None or q is None else p + q,
    negative.op: lambda a, b, p, q: None if p is None else -p,
}
_MOST = 32  # nodes that are looked at, so that the cost of a long recurrence stays linear


def _without_factor(product: Tensor, factor: Tensor) -> Tensor | None:
    """What a product, or a sum of products, is without one factor; None if it was not computed with it."""
    left: dict[int, Any] = {}
    stack = [product]
    while stack:
        t = stack[-1]
        rule = _LEFT.get(t.op)
        if rule is None or t.serial in left:
            left.setdefault(t.serial, 1.0 if _is_same(t, factor) else None)
            stack.pop()
            continue
        missing = [i for i in t.inputs if i.serial not in left]
        if missing and len(left) + len(stack) > _MOST:
            return None
        stack += missing
        if not missing:
            a, b = t.inputs[0], t.inputs[-1]
            left[t.serial] = rule(a, b, left[a.serial], left[b.serial])
    found = left[product.serial]
    return None if found is None else cast(as_tensor(found), factor.dtype)


def _is_same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.op is b.op and a.inputs[0] is b.inputs[0] and a.params == b.params)


def _direction(y: Tensor, x: Tensor, axis: tuple[int, ...]) -> Tensor:
    length = _unreduce(y, x, axis)
    return x / where(length == 0, 1, length)


def cumsum(x: Any, axis: int | None = None) -> Tensor:
    """Running sum along `axis`; of the flattened tensor by default.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.cumsum([1.0, 2.0, 3.0]).tolist()
    [1.0, 3.0, 6.0]
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    return apply(_CUMSUM, (x,), {"axis": normalize_axes("cumsum", (axis,), x.ndim, x)[0]})


CUMSUM_ROWS = RowKernels("cumsum", rows.cumsum, "(n)->(n)")


def _cumsum_run(x: np.ndarray, axis: int) -> np.ndarray:
    if x.dtype.kind == "f" and x.size:
        return CUMSUM_ROWS[x.dtype](x, axis=axis)
    return np.add.accumulate(x, axis, dtype=_widened(x.dtype))


_CUMSUM = define(
    "cumsum",
    run=quiet(lambda x, axis: _cumsum_run(x, axis)),
    shape=lambda x, axis: Spec(x.shape, _widened(x.dtype)),
    vjp=(lambda g, y, x, axis: flip(cumsum(flip(g, axis), axis), axis),),
    jvp="linear",
    formula=r"\mathrm{{cumsum}}({0})",
    takes=lambda x, *, axis: is_axis(axis, x.ndim),
)


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index of the largest value along `axis` (of the flattened tensor by default); the first of several.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.argmax([[1.0, 5.0], [3.0, 2.0]], axis=1).tolist()
    [1, 0]
    """
    return _arg("argmax", x, axis, keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index of the smallest value along `axis` (of the flattened tensor by default); the first of several.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.argmin([[1.0, 5.0], [3.0, 2.0]], axis=1).tolist()
    [0, 1]
    """
    return _arg("argmin", x, axis, keepdims)


def _arg(name: str, x: Any, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    k = None if axis is None else normalize_axes(name, (axis,), x.ndim, x)[0]
    return apply(_ARGS[name], (x,), {"axis": k, "keepdims": bool(keepdims)})


def _arg_shape(x: Spec, axis: int | None, keepdims: bool) -> Spec:
    axes = tuple(range(x.ndim)) if axis is None else (axis,)
    if 0 in [x.shape[k] for k in axes]:
        raise fail(
            ShapeError, f"there is no value to take over axes {axes} of shape {x.shape}",
            expected="at least one value", hint="check for an empty batch or sequence",
        )  # fmt: skip
    return Spec(reduced_shape(x.shape, axes, keepdims), np.dtype(np.int64))


_ARGS = {
    name: define(
        name,
        run=lambda x, axis, keepdims, pick=pick: pick(x, axis, keepdims=keepdims),
        shape=_arg_shape,
        vjp="its result is an integer index",
        formula=rf"\mathrm{{{{{name}}}}}({{0}})",
        takes=lambda x, *, axis, keepdims: (axis is None or is_axis(axis, x.ndim)) and type(keepdims) is bool,
    )
    for name, pick in (("argmax", np.argmax), ("argmin", np.argmin))
}
