"""Recorded operations as expressions: arithmetic and products as such, all others as calls of their names."""

from __future__ import annotations

from collections.abc import Callable

from ..ops.named import by_op
from ..tensor import Op, Tensor
from .expr import Expr, Number, Params
from .rules import make, negated

__all__ = ["converted"]


def converted(t: Tensor, args: tuple[Expr, ...]) -> Expr:
    """The expression of a recorded operation on expressions."""
    convert = _CONVERT.get(t.op)
    e = convert(t, args) if convert is not None else None
    return _call(t, args) if e is None else e


def _call(t: Tensor, args: tuple[Expr, ...]) -> Expr:
    key = f"{t.op}({', '.join(f'{k}={v!r}' for k, v in t.params.items())})"
    return make("call", *args, shape=t.shape, params=Params(key, t.params, t.op))


def _swap_of_last(t: Tensor, args: tuple[Expr, ...]) -> Expr | None:
    axes, n = t.params["axes"], t.ndim
    swapped = (*range(n - 2), n - 1, n - 2)
    return make("transpose", args[0], shape=t.shape) if n > 1 and tuple(axes) == swapped else None


def _summed_up(t: Tensor, args: tuple[Expr, ...]) -> Expr | None:
    if not t.is_float:
        return None
    axis, keepdims = t.params["axis"], t.params["keepdims"]
    return make("sum", args[0], shape=t.shape, params=Params(f"{axis}{keepdims}", t.params))


def _new_axes(t: Tensor, args: tuple[Expr, ...]) -> Expr | None:
    index = t.params["index"]
    parts = index if isinstance(index, tuple) else (index,)
    only = all(p is None or p is Ellipsis or p == slice(None) for p in parts)
    return make("reshape", args[0], shape=t.shape) if only else None


_CONVERT: dict[Op, Callable[[Tensor, tuple[Expr, ...]], Expr | None]] = by_op({
    "add": lambda t, a: make("add", *a, shape=t.shape),
    "subtract": lambda t, a: make("add", a[0], negated(a[1]), shape=t.shape),
    "negative": lambda t, a: negated(a[0]),
    "multiply": lambda t, a: make("mul", *a, shape=t.shape),
    "divide": lambda t, a: make("div", *a, shape=t.shape),
    "power": lambda t, a: make("pow", *a, shape=t.shape) if isinstance(a[1], Number) else None,
    "square": lambda t, a: make("pow", a[0], Number(2.0), shape=t.shape),
    "matmul": lambda t, a: make("matmul", *a, shape=t.shape),
    "transpose": _swap_of_last,
    "reshape": lambda t, a: make("reshape", a[0], shape=t.shape),
    "broadcast_to": lambda t, a: make("broadcast", a[0], shape=t.shape),
    "sum": _summed_up,
    "slice": _new_axes,
})
