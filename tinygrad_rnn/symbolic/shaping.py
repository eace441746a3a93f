"""Rules for matrices, changes of shape, and choices. Each gives a simpler expression of the same value, or None."""

from __future__ import annotations

import math

from ..ops.elementwise import logical_not, where
from ..ops.named import op_named
from .expr import Expr, Node, Number, Params
from .make import ONE, is_kind, is_zero, make, negated, times

# Matrices -------------------------------------------------------------------------------------------------------------


def flat_matmul(e: Node) -> Expr | None:
    if any(len(a.shape) > 2 for a in e.args[1:]) or not any(is_kind(a, "matmul") for a in e.args):
        return None
    first = e.args[0]
    flat: list[Expr] = [*first.args] if isinstance(first, Node) and first.kind == "matmul" else [first]
    for a in e.args[1:]:
        flat += a.args if isinstance(a, Node) and a.kind == "matmul" and len(first.shape) == 2 else (a,)
    return Node("matmul", tuple(flat), shape=e.shape) if len(flat) > len(e.args) else None


def number_of_matmul(e: Node) -> Expr | None:
    """Signs, numbers and divisors go in front."""
    for k, a in enumerate(e.args):
        if not isinstance(a, Node):
            continue
        others = lambda part, k=k: make("matmul", *e.args[:k], part, *e.args[k + 1 :], shape=e.shape)
        if a.kind == "neg":
            return negated(others(a.args[0]))
        if a.kind == "div" and isinstance(a.args[1], Number):
            return make("div", others(a.args[0]), a.args[1], shape=e.shape)
        if a.kind == "mul" and isinstance(a.args[0], Number):
            rest = make("mul", *a.args[1:], shape=a.shape)
            if rest.shape == a.shape:
                return times(a.args[0].value, others(rest))
    return None


def vector_as_row(e: Node) -> Expr | None:
    """``(1, n)`` made of a vector, times a matrix: the vector itself, and the result as a row."""
    first = e.args[0]
    if not (isinstance(first, Node) and first.kind == "reshape") or len(first.args[0].shape) != 1:
        return None
    if first.shape != (1, *first.args[0].shape) or any(len(a.shape) != 2 for a in e.args[1:]):
        return None
    row = make("matmul", first.args[0], *e.args[1:], shape=e.shape[1:])
    return make("reshape", row, shape=e.shape)


def transposed(e: Node) -> Expr | None:
    a = e.args[0]
    if len(a.shape) < 2 or isinstance(a, Number):
        return a
    return a.args[0] if isinstance(a, Node) and a.kind == "transpose" else None


# Shapes ---------------------------------------------------------------------------------------------------------------


def reshaped(e: Node) -> Expr | None:
    a = e.args[0]
    if a.shape == e.shape:
        return a
    if isinstance(a, Node) and a.kind == "reshape":
        return make("reshape", a.args[0], shape=e.shape)
    if isinstance(a, Node) and a.kind in ("ones", "neg") and not isinstance(a, Number):
        return Node("ones", (), shape=e.shape) if a.kind == "ones" else negated(_as_shape(a.args[0], e.shape))
    if isinstance(a, Node) and a.kind == "mul" and isinstance(a.args[0], Number) and len(a.args) > 1:
        return times(a.args[0].value, _as_shape(make("mul", *a.args[1:], shape=a.shape), e.shape))
    if isinstance(a, Node) and a.kind == "div" and isinstance(a.args[1], Number):
        return make("div", _as_shape(a.args[0], e.shape), a.args[1], shape=e.shape)
    return _filled(a, e.shape)


def _as_shape(a: Expr, shape: tuple[int, ...]) -> Expr:
    return make("reshape", a, shape=shape)


def broadcast(e: Node) -> Expr | None:
    a = e.args[0]
    if a.shape == e.shape:
        return a
    if isinstance(a, Node) and a.kind == "broadcast":
        return make("broadcast", a.args[0], shape=e.shape)
    if isinstance(a, Node) and a.kind == "ones":
        return Node("ones", (), shape=e.shape)
    if isinstance(a, Node) and a.kind == "mul" and isinstance(a.args[0], Number) and len(a.args) == 2:
        return times(a.args[0].value, make("broadcast", a.args[1], shape=e.shape))
    if isinstance(a, Node) and a.kind == "reshape" and not a.args[0].shape:
        return make("broadcast", a.args[0], shape=e.shape)  # a scalar
    return _filled(a, e.shape)


def _filled(a: Expr, shape: tuple[int, ...]) -> Expr | None:
    """A number for every entry."""
    if not isinstance(a, Number):
        return None
    ones = Node("ones", (), shape=shape)
    return a if not shape else ones if a == ONE else Node("mul", (a, ones), shape=shape)


def summed(e: Node) -> Expr | None:
    a, axis = e.args[0], e.params.given["axis"]
    if all(a.shape[k] == 1 for k in axis):
        return make("reshape", a, shape=e.shape)
    if isinstance(a, Node) and a.kind == "ones":
        count = Number(float(math.prod(a.shape[k] for k in axis)))
        return make("broadcast", count, shape=e.shape) if e.shape else count
    if isinstance(a, Node) and a.kind == "neg":
        return negated(make("sum", a.args[0], shape=e.shape, params=e.params))
    if isinstance(a, Node) and a.kind == "div" and isinstance(a.args[1], Number):
        return make("div", make("sum", a.args[0], shape=e.shape, params=e.params), a.args[1], shape=e.shape)
    if isinstance(a, Node) and a.kind == "mul" and isinstance(a.args[0], Number) and len(a.args) > 1:
        rest = make("mul", *a.args[1:], shape=a.shape)
        return times(a.args[0].value, make("sum", rest, shape=e.shape, params=e.params))
    return None


# Choices --------------------------------------------------------------------------------------------------------------

_PAIRS = (("less_equal", "greater"), ("greater_equal", "less"), ("equal", "not_equal"))
OPPOSITE = {op_named(a): op_named(b) for pair in _PAIRS for a, b in (pair, pair[::-1])}


def choice(e: Node) -> Expr | None:
    """``c ? g : 0`` is ``g ⊙ [c]``."""
    if e.params.op is not where.op:
        return None
    condition, a, b = e.args
    zero_a, zero_b = is_zero(a), is_zero(b)
    if zero_a == zero_b:
        return None
    hit = condition if zero_b else _opposite(condition)
    chosen = a if zero_b else b
    if hit is None or chosen.shape != e.shape:
        return None
    return make("mul", chosen, Node("indicator", (hit,), shape=hit.shape), shape=e.shape)


def _opposite(condition: Expr) -> Expr | None:
    op = condition.params.op if isinstance(condition, Node) else None
    if op in OPPOSITE:
        assert isinstance(condition, Node)
        other = OPPOSITE[op]
        return Node("call", condition.args, Params(f"{other.name}()", {}, other), condition.shape)
    return Node("call", (condition,), Params("logical_not()", {}, logical_not.op), condition.shape)
