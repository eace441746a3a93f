"""Rules for sums, elementwise products, quotients and powers: each gives something simpler of equal value, or None."""

from __future__ import annotations

import math

from ..ops.index import ASSEMBLE
from .expr import Expr, Node, Number, Params, Symbol
from .make import ONE, is_kind, is_zero, joint, make, negated, times

# Sums -----------------------------------------------------------------------------------------------------------------


def flat_sum(e: Node) -> Expr | None:
    if not any(is_kind(a, "add") and a.shape == e.shape for a in e.args):
        return None
    terms: list[Expr] = []
    for a in e.args:
        terms += a.args if isinstance(a, Node) and a.kind == "add" and a.shape == e.shape else (a,)
    return Node("add", tuple(terms), shape=e.shape)


def sum_without_zeros(e: Node) -> Expr | None:
    kept = tuple(a for a in e.args if not is_zero(a))
    if len(kept) == len(e.args) or (kept and joint(kept) != e.shape):
        return None
    return Node("add", kept, shape=e.shape) if kept else None


def sum_of_one(e: Node) -> Expr | None:
    return e.args[0] if len(e.args) == 1 else None


def without_broadcast(e: Node) -> Expr | None:
    """Operands that are broadcast need not be: the operation does it."""
    bare = tuple(_bare(a, e.shape) for a in e.args)
    return Node(e.kind, bare, shape=e.shape) if bare != e.args and joint(bare) == e.shape else None


def _bare(a: Expr, shape: tuple[int, ...]) -> Expr:
    if isinstance(a, Node) and a.kind in ("broadcast", "reshape"):
        inner = a.args[0]
        lead = a.shape[: len(a.shape) - len(inner.shape)]
        if a.kind == "broadcast" or (set(lead) <= {1} and a.shape[len(lead) :] == inner.shape):
            return inner
    return a


def numbers_of_sum(e: Node) -> Expr | None:
    numbers = [a for a in e.args if isinstance(a, Number)]
    if len(numbers) < 2:
        return None
    total = Number(math.fsum(a.value for a in numbers))
    rest = tuple(a for a in e.args if not isinstance(a, Number))
    return Node("add", (total, *rest), shape=e.shape) if rest else total


def equal_terms(e: Node) -> Expr | None:
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


def common_derivative(e: Node) -> Expr | None:
    """``G ⊙ a - G ⊙ b`` is ``G ⊙ (a - b)``, for the derivative G that all terms have."""
    if len(e.args) > 8:
        return None
    factors = [_factors(a) for a in e.args]
    shared = [f for f in factors[0][1] if isinstance(f, Symbol) and f.of and f.shape == e.shape]
    shared = [f for f in shared if all(f in fs for _, fs in factors[1:])]
    if not shared or len(e.args) < 2:
        return None
    rest = [_rest(sign, fs, shared[0], e.shape) for sign, fs in factors]
    return make("mul", shared[0], make("add", *rest, shape=joint(rest) or e.shape), shape=e.shape)


def bias_last(e: Node) -> Expr | None:
    """``x W + b + h U`` is ``x W + h U + b``."""
    vectors = [a for a in e.args if isinstance(a, Symbol) and 0 < len(a.shape) < len(e.shape)]
    last = max((k for k, a in enumerate(e.args) if is_kind(a, "matmul")), default=0)
    early = [a for a in e.args[:last] if a in vectors]
    if not early or len(e.args) > 50:
        return None
    return Node("add", (*(a for a in e.args if a not in vectors), *vectors), shape=e.shape)


def positive_first(e: Node) -> Expr | None:
    """``-a + b`` is ``b - a``."""
    k = next((k for k, a in enumerate(e.args) if not is_kind(a, "neg")), 0)
    return Node("add", (e.args[k], *e.args[:k], *e.args[k + 1 :]), shape=e.shape) if k else None


def side_by_side(e: Node) -> Expr | None:
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
    return a.kind == "call" and a.params.op is ASSEMBLE and all(
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
    rest = make("mul", *left, shape=joint(left) or ()) if left else ONE
    return negated(rest) if negative else rest


# Products -------------------------------------------------------------------------------------------------------------


def flat_product(e: Node) -> Expr | None:
    if not any(is_kind(a, "mul") for a in e.args):
        return None
    factors: list[Expr] = []
    for a in e.args:
        factors += a.args if isinstance(a, Node) and a.kind == "mul" else (a,)
    return Node("mul", tuple(factors), shape=e.shape)


def sign_of_product(e: Node) -> Expr | None:
    negatives = sum(is_kind(a, "neg") for a in e.args)
    if not negatives:
        return None
    bare = tuple(a.args[0] if isinstance(a, Node) and a.kind == "neg" else a for a in e.args)
    product = make("mul", *bare, shape=e.shape)
    return negated(product) if negatives % 2 else product


def numbers_of_product(e: Node) -> Expr | None:
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


def quotients_by_numbers(e: Node) -> Expr | None:
    """``(a / 3) ⊙ b`` is ``(a ⊙ b) / 3``."""
    found = next((a for a in e.args if isinstance(a, Node) and a.kind == "div" and isinstance(a.args[1], Number)), None)
    if found is None or len(e.args) < 2:
        return None
    rest = make("mul", *(found.args[0] if a is found else a for a in e.args), shape=e.shape)
    return make("div", rest, found.args[1], shape=e.shape)


def product_without_ones(e: Node) -> Expr | None:
    kept = tuple(a for a in e.args if not is_kind(a, "ones"))
    if len(kept) == len(e.args) or not kept or joint(kept) != e.shape:
        return None
    return Node("mul", kept, shape=e.shape)


def powers(e: Node) -> Expr | None:
    """Equal factors become a power."""
    exponents: dict[Expr, float] = {}
    for a in e.args:
        base, n = _base_and_exponent(a)
        exponents[base] = exponents.get(base, 0.0) + n
    if len(exponents) == len(e.args):
        return None
    parts = tuple(b if n == 1 else make("pow", b, Number(n), shape=b.shape) for b, n in exponents.items())
    return Node("mul", parts, shape=e.shape)


def _base_and_exponent(a: Expr) -> tuple[Expr, float]:
    if isinstance(a, Node) and a.kind == "pow":
        base, exponent = a.args
        if isinstance(exponent, Number):
            return base, exponent.value
    return a, 1.0


def outer_product(e: Node) -> Expr | None:
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


def product_of_one(e: Node) -> Expr | None:
    return e.args[0] if len(e.args) == 1 and e.args[0].shape == e.shape else None


def sign(e: Node) -> Expr | None:
    a = e.args[0]
    if isinstance(a, Number):
        return Number(-a.value)
    return a.args[0] if isinstance(a, Node) and a.kind == "neg" else None


def quotient(e: Node) -> Expr | None:
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


def power(e: Node) -> Expr | None:
    base, exponent = e.args
    if exponent == ONE:
        return base
    if isinstance(base, Number) and isinstance(exponent, Number) and base.value > 0:
        return Number(base.value**exponent.value)
    return None
