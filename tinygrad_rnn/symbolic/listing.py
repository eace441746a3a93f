"""Lines of single time steps as equations: step by step, or rolled over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from .derive import Line
from .equation import Equation
from .expr import Expr, Node, Symbol, substituted
from .rolled import Run, folded, runs

__all__ = ["rolled", "unrolled"]

MANY = 9  # terms from which on a sum over time steps is written as one, also where steps are unrolled


def unrolled(lines: Iterable[Line]) -> Iterator[Equation]:
    """An equation for each line."""
    for line in lines:
        yield Equation(line.left, folded(line.right, MANY), line.kind)


def rolled(lines: Iterable[Line], starts: Mapping[Symbol, Symbol], chains: bool) -> Iterator[Equation]:
    """The fewest equations that say the same as the lines.

    `starts` are states before the first step, and what stands there under a name of its own.
    """
    groups: dict[tuple[str, Symbol], list[Line]] = defaultdict(list)
    for line in lines:
        groups[line.kind, line.left.family].append(line)
    for (kind, family), group in groups.items():
        if kind == "forward":
            yield from (Equation(start, own, "start") for start, own in starts.items() if start.family == family)
        yield from _Quantity(group, starts, chains).equations()


class _Quantity:
    """The lines of one quantity."""

    def __init__(self, lines: list[Line], starts: Mapping[Symbol, Symbol], chains: bool) -> None:
        self.lines, self.chains = lines, chains
        self.timed = {line.left.time: line for line in lines if line.left.time is not None}
        self.renamed: dict[Expr, Expr] = {own: start for start, own in starts.items()}

    def equations(self) -> Iterator[Equation]:
        for line in self.lines:
            if line.left.time is None:
                chain = self._sums(line.chain) if self.chains and line.chain is not None else None
                yield Equation(line.left, self._sums(line.right), line.kind, None, False, chain)
        steps = [(t, folded(self.timed[t].right, index="s")) for t in sorted(self.timed)]
        if self.lines[0].kind == "start":
            yield from (self._equation(Run(t, t, e), False) for t, e in steps)
            return
        found = list(runs(steps, self._other))
        backwards = list(self.timed) != sorted(self.timed)
        yield from (self._equation(run, backwards) for run in (reversed(found) if backwards else found))

    def _other(self, e: Expr) -> Expr:
        """With states before the first step written as states."""
        return substituted(e, self.renamed)

    def _sums(self, e: Expr) -> Expr:
        """With sums over time steps; starts are written as states where they only so fit in."""
        return min(folded(e), folded(self._other(e)), key=_terms)

    def _equation(self, run: Run, backwards: bool) -> Equation:
        line = self.timed[run.first]
        if run.first == run.last:
            chain = folded(line.chain, index="s") if self.chains and line.chain is not None else None
            return Equation(line.left, run.expr, line.kind, None, False, chain)
        return Equation(line.left.at(0, "t"), run.expr, line.kind, (run.first, run.last), backwards, self._chain(run))

    def _chain(self, run: Run) -> Expr | None:
        """The chain rule of several steps; None where they differ in it."""
        chains = [(t, self.timed[t].chain) for t in range(run.first, run.last + 1)]
        steps = [(t, folded(chain, index="s")) for t, chain in chains if chain is not None]
        found = list(runs(steps, self._other)) if self.chains else []
        return found[0].expr if len(found) == 1 else None


def _terms(e: Expr) -> int:
    return len(e.args) if isinstance(e, Node) and e.kind == "add" else 1
