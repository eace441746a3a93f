"""Simplification: each rule is a function of a node that gives a simpler expression of the same value, or None.

:func:`make` applies the rules of a kind to a new node until none fits; its operands are simple already. To add a rule,
write it and enter it in ``RULES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops.core import registry
from .expr import NOTHING, Expr, Node, Number, Params, Symbol

__all__ = ["RULES", "make", "negated", "simplified"]

ONE, ZERO = Number(1.0), Number(0.0)
Rule = Callable[[Node], Expr | None]


def make(kind: str, *args: Expr, shape: tuple[int, ...], params: Params = NOTHING) -> Expr:
    """A simplified node."""
    e: Expr = Node(kind, args, params, shape)
    while isinstance(e, Node):
        node = e
        for rule in RULES.get(node.kind, ()):
            better = rule(node)
            if better is not None and better != node:
                e = better
                break
        else:
            return e
    return e


def simplified(e: Expr) -> Expr:
    """A tree made anew by the rules, after parts of it were replaced."""
    if not isinstance(e, Node):
        return e
    return make(e.kind, *map(simplified, e.args), shape=e.shape, params=e.params)


def _joint(args: Any) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(*(a.shape for a in args))
    except ValueError:
        return None


def _is(e: Expr, kind: str) -> bool:
    return isinstance(e, Node) and e.kind == kind


def negated(e: Expr) -> Expr:
    return make("neg", e, shape=e.shape)


def times(factor: float, e: Expr) -> Expr:
    return make("mul", Number(factor), e, shape=e.shape)


# Sums -----------------------------------------------------------------------------------------------------------------


def _flat_sum(e: Node) -> Expr | None:
    if not any(_is(a, "add") and a.shape == e.shape for a in e.args):
        return None
    terms: list[Expr] = []
    for a in e.args:
        terms += a.args if isinstance(a, Node) and a.kind == "add" and a.shape == e.shape else (a,)
    return Node("add", tuple(terms), shape=e.shape)


def _sum_without_zeros(e: Node) -> Expr | None:
    kept = tuple(a for a in e.args if not _is_zero(a))
    if len(kept) == len(e.args) or (kept and _joint(kept) != e.shape):
        return None
    return Node("add", kept, shape=e.shape) if kept else None


def _is_zero(a: Expr) -> bool:
    return a == ZERO or (isinstance(a, Node) and a.kind == "mul" and ZERO in a.args)


def _sum_of_one(e: Node) -> Expr | None:
    return e.args[0] if len(e.args) == 1 else None


def _without_broadcast(e: Node) -> Expr | None:
    """Operands that are broadcast need not be: the operation does it."""
    bare = tuple(_bare(a, e.shape) for a in e.args)
    return Node(e.kind, bare, shape=e.shape) if bare != e.args and _joint(bare) == e.shape else None


def _bare(a: Expr, shape: tuple[int, ...]) -> Expr:
    if isinstance(a, Node) and a.kind in ("broadcast", "reshape"):
        inner = a.args[0]
        lead = a.shape[: len(a.shape) - len(inner.shape)]
        if a.kind == "broadcast" or (set(lead) <= {1} and a.shape[len(lead) :] == inner.shape):
            return inner
    return a


def _numbers_of_sum(e: Node) -> Expr | None:
    numbers = [a for a in e.args if isinstance(a, Number)]
    if len(numbers) < 2:
        return None
    total = Number(math.fsum(a.value for a in numbers))
    rest = tuple(a for a in e.args if not isinstance(a, Number))
    return Node("add", (total, *rest), shape=e.shape) if rest else total


def _equal_terms(e: Node) -> Expr | None:
    if len(e.args) > 50:
        return None
    counts: dict[Expr, float] = {}
    for a in e.args:
        n, rest = _coefficient(a)
        counts[rest] = counts.get(rest, 0.0) + n
    if len(counts) == len(e.args):
        return None
    return Node("add", tuple(times(n, rest) for rest, n in counts.items()), shape=e.shape)


def _coefficient(e: Expr) -> tuple[float, Expr]:
    if isinstance(e, Node) and e.kind == "neg":
        n, rest = _coefficient(e.args[0])
        return -n, rest
    if isinstance(e, Node) and e.kind == "mul" and isinstance(e.args[0], Number) and len(e.args) > 1:
        return e.args[0].value, make("mul", *e.args[1:], shape=e.shape)
    return 1.0, e


def _common_derivative(e: Node) -> Expr | None:
    """``G ⊙ a - G ⊙ b`` is ``G ⊙ (a - b)``, for the derivative G that all terms have."""
    if len(e.args) > 8:
        return None
    factors = [_factors(a) for a in e.args]
    shared = [f for f in factors[0][1] if isinstance(f, Symbol) and f.of and f.shape == e.shape]
    shared = [f for f in shared if all(f in fs for _, fs in factors[1:])]
    if not shared or len(e.args) < 2:
        return None
    rest = [_rest(sign, fs, shared[0], e.shape) for sign, fs in factors]
    return make("mul", shared[0], make("add", *rest, shape=_joint(rest) or e.shape), shape=e.shape)


def _bias_last(e: Node) -> Expr | None:
    """``x W + b + h U`` is ``x W + h U + b``."""
    vectors = [a for a in e.args if isinstance(a, Symbol) and 0 < len(a.shape) < len(e.shape)]
    last = max((k for k, a in enumerate(e.args) if _is(a, "matmul")), default=0)
    early = [a for a in e.args[:last] if a in vectors]
    if not early or len(e.args) > 50:
        return None
    return Node("add", (*(a for a in e.args if a not in vectors), *vectors), shape=e.shape)


def _positive_first(e: Node) -> Expr | None:
    """``-a + b`` is ``b - a``."""
    k = next((k for k, a in enumerate(e.args) if not _is(a, "neg")), 0)
    return Node("add", (e.args[k], *e.args[:k], *e.args[k + 1 :]), shape=e.shape) if k else None


def _side_by_side(e: Node) -> Expr | None:
    """Parts at their places, added up, are parts at their places."""
    placed = [a for a in e.args if isinstance(a, Node) and _is_placed(a)]
    if len(placed) < 2 or any(a.shape != e.shape for a in placed):
        return None
    places = tuple(p for a in placed for p in a.params.given["places"])
    given = {"shape": e.shape, "places": places}
    parts = tuple(x for a in placed for x in a.args)
    joined = Node("call", parts, Params(f"assemble{given}", given, placed[0].params.op), e.shape)
    rest = [a for a in e.args if a not in placed]
    return Node("add", (*rest, joined), shape=e.shape) if rest else joined


def _is_placed(a: Node) -> bool:
    return a.kind == "call" and a.params.op is not None and a.params.op.name == "assemble" and all(
        isinstance(p, slice | int) for place in a.params.given["places"] for p in place
    )


def _factors(e: Expr) -> tuple[bool, tuple[Expr, ...]]:
    if isinstance(e, Node) and e.kind == "neg":
        negative, factors = _factors(e.args[0])
        return not negative, factors
    return False, e.args if isinstance(e, Node) and e.kind == "mul" else (e,)


def _rest(negative: bool, factors: tuple[Expr, ...], shared: Expr, shape: tuple[int, ...]) -> Expr:
    left = list(factors)
    left.remove(shared)
    rest = make("mul", *left, shape=_joint(left) or ()) if left else ONE
    return negated(rest) if negative else rest


# Products -------------------------------------------------------------------------------------------------------------


def _flat_product(e: Node) -> Expr | None:
    if not any(_is(a, "mul") for a in e.args):
        return None
    factors: list[Expr] = []
    for a in e.args:
        factors += a.args if isinstance(a, Node) and a.kind == "mul" else (a,)
    return Node("mul", tuple(factors), shape=e.shape)


def _sign_of_product(e: Node) -> Expr | None:
    negatives = sum(_is(a, "neg") for a in e.args)
    if not negatives:
        return None
    bare = tuple(a.args[0] if isinstance(a, Node) and a.kind == "neg" else a for a in e.args)
    product = make("mul", *bare, shape=e.shape)
    return negated(product) if negatives % 2 else product


def _numbers_of_product(e: Node) -> Expr | None:
    """One number in front, none where it is 1."""
    numbers = [a for a in e.args if isinstance(a, Number)]
    rest = tuple(a for a in e.args if not isinstance(a, Number))
    if not rest:
        return Number(math.prod(a.value for a in numbers)) if not e.shape else None
    value = math.prod(a.value for a in numbers)
    if value < 0 and numbers:
        return negated(make("mul", Number(-value), *rest, shape=e.shape))
    front = () if value == 1.0 else (Number(value),)
    return Node("mul", (*front, *rest), shape=e.shape)


def _quotients_by_numbers(e: Node) -> Expr | None:
    """``(a / 3) ⊙ b`` is ``(a ⊙ b) / 3``."""
    found = next((a for a in e.args if isinstance(a, Node) and a.kind == "div" and isinstance(a.args[1], Number)), None)
    if found is None or len(e.args) < 2:
        return None
    rest = make("mul", *(found.args[0] if a is found else a for a in e.args), shape=e.shape)
    return make("div", rest, found.args[1], shape=e.shape)


def _product_without_ones(e: Node) -> Expr | None:
    kept = tuple(a for a in e.args if not _is(a, "ones"))
    if len(kept) == len(e.args) or not kept or _joint(kept) != e.shape:
        return None
    return Node("mul", kept, shape=e.shape)


def _powers(e: Node) -> Expr | None:
    """Equal factors become a power."""
    exponents: dict[Expr, float] = {}
    for a in e.args:
        base, n = (a.args[0], a.args[1].value) if _is_power(a) else (a, 1.0)
        exponents[base] = exponents.get(base, 0.0) + n
    if len(exponents) == len(e.args):
        return None
    parts = tuple(b if n == 1 else make("pow", b, Number(n), shape=b.shape) for b, n in exponents.items())
    return Node("mul", parts, shape=e.shape)


def _is_power(a: Expr) -> Any:
    return isinstance(a, Node) and a.kind == "pow" and isinstance(a.args[1], Number)


def _outer_product(e: Node) -> Expr | None:
    """A column times a row, of two vectors."""
    if len(e.args) != 2 or len(e.shape) != 2:
        return None
    column, row = e.args
    if not (isinstance(column, Node) and column.kind == "reshape" and column.shape[1:] == (1,)):
        return None
    row = row.args[0] if isinstance(row, Node) and row.kind == "reshape" and row.shape[0] == 1 else row
    if len(column.args[0].shape) != 1 or len(row.shape) != 1:
        return None
    return Node("outer", (column.args[0], row), shape=e.shape)


def _product_of_one(e: Node) -> Expr | None:
    return e.args[0] if len(e.args) == 1 and e.args[0].shape == e.shape else None


def _sign(e: Node) -> Expr | None:
    a = e.args[0]
    if isinstance(a, Number):
        return Number(-a.value)
    return a.args[0] if isinstance(a, Node) and a.kind == "neg" else None


def _quotient(e: Node) -> Expr | None:
    a, b = e.args
    if b == ONE and a.shape == e.shape:
        return a
    if isinstance(a, Number) and isinstance(b, Number) and b.value:
        return Number(a.value / b.value)
    if isinstance(a, Node) and a.kind == "neg":
        return negated(make("div", a.args[0], b, shape=e.shape))
    if not (isinstance(b, Number) and isinstance(a, Node) and b.value):
        return None
    if a.kind == "div" and isinstance(a.args[1], Number):
        return make("div", a.args[0], Number(a.args[1].value * b.value), shape=e.shape)
    if a.kind == "mul" and isinstance(a.args[0], Number) and len(a.args) > 1:
        return _share(a.args[0].value, b.value, make("mul", *a.args[1:], shape=a.shape), e.shape)
    return None


def _share(above: float, below: float, rest: Expr, shape: tuple[int, ...]) -> Expr | None:
    """``2 x / 6`` is ``x / 3``, and ``6 x / 4`` is ``1.5 x``."""
    if above and (below / above).is_integer():
        return make("div", rest, Number(below / above), shape=shape)
    return make("mul", Number(above / below), rest, shape=shape)


def _power(e: Node) -> Expr | None:
    base, exponent = e.args
    if exponent == ONE:
        return base
    if isinstance(base, Number) and isinstance(exponent, Number) and base.value > 0:
        return Number(base.value**exponent.value)
    return None


# Matrices -------------------------------------------------------------------------------------------------------------


def _flat_matmul(e: Node) -> Expr | None:
    if any(len(a.shape) > 2 for a in e.args[1:]) or not any(_is(a, "matmul") for a in e.args):
        return None
    first = e.args[0]
    flat: list[Expr] = [*first.args] if isinstance(first, Node) and first.kind == "matmul" else [first]
    for a in e.args[1:]:
        flat += a.args if isinstance(a, Node) and a.kind == "matmul" and len(first.shape) == 2 else (a,)
    return Node("matmul", tuple(flat), shape=e.shape) if len(flat) > len(e.args) else None


def _number_of_matmul(e: Node) -> Expr | None:
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


def _vector_as_row(e: Node) -> Expr | None:
    """``(1, n)`` made of a vector, times a matrix: the vector itself, and the result as a row."""
    first = e.args[0]
    if not (isinstance(first, Node) and first.kind == "reshape") or len(first.args[0].shape) != 1:
        return None
    if first.shape != (1, *first.args[0].shape) or any(len(a.shape) != 2 for a in e.args[1:]):
        return None
    row = make("matmul", first.args[0], *e.args[1:], shape=e.shape[1:])
    return make("reshape", row, shape=e.shape)


def _transposed(e: Node) -> Expr | None:
    a = e.args[0]
    if len(a.shape) < 2 or isinstance(a, Number):
        return a
    return a.args[0] if isinstance(a, Node) and a.kind == "transpose" else None


# Shapes ---------------------------------------------------------------------------------------------------------------


def _reshaped(e: Node) -> Expr | None:
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


def _broadcast(e: Node) -> Expr | None:
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


def _summed(e: Node) -> Expr | None:
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

OPPOSITE = {"less_equal": "greater", "greater_equal": "less", "less": "greater_equal", "greater": "less_equal",
            "equal": "not_equal", "not_equal": "equal"}  # fmt: skip


def _choice(e: Node) -> Expr | None:
    """``c ? g : 0`` is ``g ⊙ [c]``."""
    if e.params.key != "where()":
        return None
    condition, a, b = e.args
    zero_a, zero_b = _is_zero(a), _is_zero(b)
    if zero_a == zero_b:
        return None
    hit = condition if zero_b else _opposite(condition)
    chosen = a if zero_b else b
    if hit is None or chosen.shape != e.shape:
        return None
    return make("mul", chosen, Node("indicator", (hit,), shape=hit.shape), shape=e.shape)


def _opposite(condition: Expr) -> Expr | None:
    name = condition.params.op.name if isinstance(condition, Node) and condition.params.op else ""
    if name in OPPOSITE:
        assert isinstance(condition, Node)
        other = registry[OPPOSITE[name]]
        return Node("call", condition.args, Params(f"{other.name}()", {}, other), condition.shape)
    no = registry["logical_not"]
    return Node("call", (condition,), Params("logical_not()", {}, no), condition.shape)


RULES: dict[str, tuple[Rule, ...]] = {
    "add": (_flat_sum, _sum_of_one, _without_broadcast, _sum_without_zeros, _numbers_of_sum, _equal_terms,
            _common_derivative, _bias_last, _positive_first, _side_by_side),
    "mul": (_flat_product, _sign_of_product, _without_broadcast, _product_without_ones, _numbers_of_product,
            _quotients_by_numbers, _powers, _outer_product, _product_of_one),
    "neg": (_sign,),
    "div": (_quotient,),
    "pow": (_power,),
    "matmul": (_flat_matmul, _number_of_matmul, _vector_as_row),
    "transpose": (_transposed,),
    "reshape": (_reshaped,),
    "broadcast": (_broadcast,),
    "sum": (_summed,),
    "call": (_choice,),
}  # fmt: skip
