"""One equation, and how several are set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .expr import Expr, Symbol, Values, evaluate
from .write import Writer

__all__ = ["TEXT", "Equation", "evaluated", "written"]


@dataclass(frozen=True, slots=True)
class Equation:
    """One equation.

    Attributes
    ----------
    left : Symbol
    right : expression
        A tree of :class:`Symbol`, :class:`Number` and :class:`Node`.
    kind : str
        ``"forward"``, ``"start"`` (a state before the first step), ``"derivative"``, ``"delta"`` (a short name for a
        derivative that several others use) or ``"gradient"`` (the derivative by a parameter).
    steps : tuple of int, or None
        The first and the last time step that it holds for, where it is written with t.
    backwards : bool
        Whether these steps are gone through from the last to the first.
    chain : expression or None
        In a derivation: the chain rule that the right side comes from.
    """

    left: Symbol
    right: Expr
    kind: str = "forward"
    steps: tuple[int, int] | None = None
    backwards: bool = False
    chain: Expr | None = None

    def evaluate(self, values: Mapping[Symbol, Any], t: int | None = None) -> np.ndarray:
        """The value of the right side.

        Parameters
        ----------
        values : mapping from Symbol to array
            As :meth:`Equations.values` gives.
        t : int, optional
            The time step, of an equation that is written with t.

        Examples
        --------
        >>> import tinygrad_rnn as tg
        >>> x, w = tg.tensor([1.0, 2.0], name="x"), tg.parameter([3.0, 4.0], name="w")
        >>> equations = tg.equations((w * x).named("y")).forward
        >>> equations[0].evaluate(equations.values()).tolist()
        [3.0, 8.0]
        """
        return np.asarray(evaluated(self.right, values, t))

    def instances(self) -> Iterator[tuple[Symbol, int | None]]:
        """The left sides that it stands for, each with its time step."""
        if self.steps is None:
            yield self.left, None
            return
        for t in range(self.steps[0], self.steps[1] + 1):
            yield self.left.at((self.left.time or 0) + t), t

    def __str__(self) -> str:
        return written(self, Writer("unicode"))


def evaluated(e: Expr, values: Mapping[Symbol, Any], t: int | None) -> Any:
    """The value of an expression; its numbers have the dtype of the values."""
    dtypes = [np.asarray(v).dtype for v in values.values() if np.asarray(v).dtype.kind == "f"]
    dtype = dtypes[0] if dtypes else np.dtype(np.float64)
    return evaluate(e, Values(values, dtype, **({} if t is None else {"t": t})))


# Text -----------------------------------------------------------------------------------------------------------------


def written(e: Equation, w: Writer) -> str:
    """An equation as text."""
    sides = [w.text(e.left), *([w.text(e.chain)] if e.chain is not None else []), w.text(e.right)]
    if len(sides) > 2 and sides[1] == sides[2]:
        del sides[1]
    equals = " &= " if w.kind == "latex" else " = "
    return equals.join(sides[:2]) + "".join(_more(w, s) for s in sides[2:]) + _span(e, w)


def _more(w: Writer, side: str) -> str:
    return rf" \\ &= {side}" if w.kind == "latex" else f" = {side}"


def _span(e: Equation, w: Writer) -> str:
    if e.steps is None:
        return ""
    w = Writer(w.kind, w.last, w.first, at_end=e.steps[1] > 1)
    ends = [w.time(t) for t in e.steps]
    if e.backwards:
        ends.reverse()
    if w.kind == "latex":
        return rf", \quad t = {ends[0]}, \ldots, {ends[1]}"
    index = "<i>t</i>" if w.kind == "html" else "t"
    return f", {index} = {ends[0]}…{ends[1]}"


def _html(lines: list[str]) -> str:
    rows = "".join(f'<div class="equation">{line}</div>' for line in lines)
    return f'<div class="equations" style="font-family: serif; line-height: 1.8">{rows}</div>'


TEXT: dict[str, Callable[[list[str]], str]] = {
    "unicode": "\n".join,
    "latex": lambda lines: "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}",
    "html": _html,
}
