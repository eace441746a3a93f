"""One equation for many time steps: trees that differ only by a shift in time become one with a variable.

Nobody says which steps are alike. Two trees are matched symbol by symbol: a symbol that is the same in both is the same
at every step, one that moves with them is relative to the step. Every other step is compared with what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from .expr import Expr, Node, Params, Symbol, leaves, mapped

__all__ = ["Run", "at_step", "folded", "runs", "sigma"]

FEW = 2  # terms that are written as a sum over steps, at least


class Run(NamedTuple):
    """An expression that holds from one step to another; relative to the step where there are several."""

    first: int
    last: int
    expr: Expr


def at_step(e: Expr, t: int, index: str = "t") -> Expr:
    """What a tree that is relative to a step says at one."""
    return mapped(e, lambda s: s.at((s.time or 0) + t) if s.relative == index else s)


def matched(a: Expr, b: Expr, t: int, index: str = "t") -> Expr | None:
    """The tree whose values at steps t and t + 1 are `a` and `b`; None if there is none."""
    if isinstance(a, Symbol) and isinstance(b, Symbol):
        return _matched_symbols(a, b, t, index)
    if not isinstance(a, Node) or not isinstance(b, Node):
        return a if a == b else None
    if (a.kind, a.params, a.shape, len(a.args)) != (b.kind, b.params, b.shape, len(b.args)):
        return None
    parts = []
    for x, y in zip(a.args, b.args):
        part = matched(x, y, t, index)
        if part is None:
            return None
        parts.append(part)
    return Node(a.kind, tuple(parts), a.params, a.shape)


def _matched_symbols(a: Symbol, b: Symbol, t: int, index: str) -> Symbol | None:
    if a == b:
        return a
    if a.time is None or b.time is None or a.relative or b.relative or b.time != a.time + 1 or a.family != b.family:
        return None
    return a.at(a.time - t, index)


def runs(steps: Sequence[tuple[int, Expr]], other: Callable[[Expr], Expr] = lambda e: e) -> Iterator[Run]:
    """The fewest expressions that say the same as one for each step.

    Parameters
    ----------
    steps : sequence of (int, expression)
        In order of time.
    other : callable
        Another way to write the expression of a step, to try where the first does not match.
    """
    k = 0
    while k < len(steps):
        t, e = steps[k]
        pattern, last = _longest(steps, k, other)
        yield Run(t, steps[last][0], pattern if last > k else e)
        k = last + 1


def _longest(steps: Sequence[tuple[int, Expr]], k: int, other: Callable[[Expr], Expr]) -> tuple[Expr, int]:
    t, e = steps[k]
    if k + 1 == len(steps) or steps[k + 1][0] != t + 1:
        return e, k
    following = steps[k + 1][1]
    tries = ((x, y) for x in (e, other(e)) for y in (following, other(following)))
    pattern = next((p for x, y in tries if (p := matched(x, y, t)) is not None), None)
    if pattern is None:
        return e, k
    last = k + 1
    while last + 1 < len(steps) and steps[last + 1][0] == t + last + 1 - k:
        if at_step(pattern, steps[last + 1][0]) not in (steps[last + 1][1], other(steps[last + 1][1])):
            break
        last += 1
    return pattern, last


def sigma(e: Expr, first: int, last: int, index: str) -> Expr:
    """A sum over time steps."""
    given = {"index": index, "first": first, "last": last}
    return Node("sigma", (e,), Params(f"{index}={first}..{last}", given), e.shape)


def folded(e: Expr, few: int = FEW, index: str = "t") -> Expr:
    """Sums of at least `few` terms that differ by time steps alone, written as sums over them."""
    if not isinstance(e, Node):
        return e
    args = [folded(a, few, index) for a in e.args]
    if e.kind == "add":
        joined = list(_summed(_ascending(args), few, index))
        args = joined if len(joined) < len(args) else args
        if len(args) == 1:
            return args[0]
    same = len(args) == len(e.args) and all(a is b for a, b in zip(args, e.args))
    return e if same else Node(e.kind, tuple(args), e.params, e.shape)


def _summed(terms: Sequence[Expr], few: int, index: str) -> Iterator[Expr]:
    k = 0
    while k < len(terms):
        pattern, first, last = _series(terms, k, index)
        if last - k + 1 >= few and pattern is not None:
            yield sigma(pattern, first, first + last - k, index)
            k = last + 1
        else:
            yield terms[k]
            k += 1


def _ascending(terms: Sequence[Expr]) -> Sequence[Expr]:
    """The terms in order of time, if it was the other way round: gradients add up from the last step to the first."""
    times = [_time(e) for e in terms]
    backwards = all(a is not None and b is not None and a > b for a, b in zip(times, times[1:]))  # noqa: RUF007
    return terms[::-1] if backwards else terms


def _time(e: Expr) -> int | None:
    """The last time step in a term, of derivatives where there are some."""
    timed = [x for x in leaves(e) if x.time is not None]
    leading = [x for x in timed if x.of or x.base in ("δ", "ε")] or timed
    return max((x.time for x in leading if x.time is not None), default=None)


def _series(terms: Sequence[Expr], k: int, index: str) -> tuple[Expr | None, int, int]:
    if k + 1 == len(terms):
        return None, 0, k
    moving = [x for x, y in zip(leaves(terms[k]), leaves(terms[k + 1])) if x != y and x.time is not None]
    if not moving:
        return None, 0, k
    leading = [x for x in moving if x.of or x.base in ("δ", "ε")] or moving
    first = max(x.time for x in leading if x.time is not None)
    pattern = matched(terms[k], terms[k + 1], first, index)
    last = k
    while pattern is not None and last + 1 < len(terms):
        if at_step(pattern, first + last + 1 - k, index) != terms[last + 1]:
            break
        last += 1
    return pattern, first, last
