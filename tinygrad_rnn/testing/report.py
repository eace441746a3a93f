"""What a failed check says: which derivative, of what, where, by how much, and what the graph looked like."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..graph import Graph
from ..tensor import DETACH, DETACHED, Tensor, describe
from ..viz import draw

__all__ = ["ArrayEntry", "Culprit", "GradientMismatch", "InconclusiveError", "KinkError"]

MOST_NODES = 400  # that a picture of a failure is drawn for


class InconclusiveError(AssertionError):
    """The derivative is not known well enough to judge a rule by: the function is not smooth, or not finite, there."""


class KinkError(InconclusiveError):
    """The slopes from the left and from the right differ: there is no derivative."""


@dataclass(frozen=True, slots=True)
class ArrayEntry:
    """An entry of an argument or of an output."""

    name: str
    index: tuple[int, ...]

    def __str__(self) -> str:
        return self.name + (f"[{', '.join(map(str, self.index))}]" if self.index else "")


@dataclass(frozen=True, slots=True)
class Culprit:
    """The operation whose own rule is wrong: its node, which of its arguments, and in which check."""

    node: Tensor
    argument: int
    check: str

    def __str__(self) -> str:
        return f"{self.node.op}, {self.check} by argument {self.argument}, at {self.node.source}"


class GradientMismatch(AssertionError):
    """A derivative differs from what numbers alone say.

    Attributes
    ----------
    check : str
        Which derivative: vjp, jvp, or hvp.
    place : ArrayEntry
        Argument (or output) and index.
    analytic, numeric, relative_error : float
    seed : int
    op : str or None
        The operation whose own rule is wrong, where there is one.
    argument, time : int or None
        Of that operation.
    graph : Graph
        What the function recorded.
    """

    def __init__(
        self,
        check: str,
        place: ArrayEntry,
        analytic: float,
        numeric: float,
        *,
        seed: int,
        method: str,
        outputs: Sequence[Tensor],
        culprit: Culprit | None,
    ) -> None:
        self.check, self.place, self.seed, self.method, self.culprit = check, place, seed, method, culprit
        self.analytic, self.numeric = analytic, numeric
        self.relative_error = abs(analytic - numeric) / max(abs(numeric), abs(analytic), 1e-300)
        self.graph = Graph(outputs)
        super().__init__(check, place, analytic, numeric)

    @property
    def op(self) -> str | None:
        return str(self.culprit.node.op) if self.culprit is not None else None

    @property
    def argument(self) -> int | None:
        return self.culprit.argument if self.culprit is not None else None

    @property
    def time(self) -> int | None:
        return self.culprit.node.time if self.culprit is not None else None

    @cached_property
    def picture(self) -> Path | None:
        """A picture of the graph, drawn when it is first asked for; None where it has too many nodes."""
        if len(self.graph) > MOST_NODES:
            return None
        folder = Path(tempfile.gettempdir()) / "tinygrad-rnn-failures"
        folder.mkdir(exist_ok=True)
        name = re.sub(r"\W+", "-", f"{self.check} {self.op or self.place.name}").strip("-")
        return self.draw(folder / f"{name}.svg")

    def draw(self, path: Any) -> Path:
        """Write the graph as a picture, the wrong operation named; as DOT text where no Graphviz is installed."""
        if self.culprit is not None:
            self.culprit.node.named(f"{self.op}: wrong gradient")
        drawing = draw(self.graph)
        try:
            return drawing.save(path)
        except RuntimeError:
            return drawing.save(Path(path).with_suffix(".dot"))

    def __str__(self) -> str:
        lines = [
            f"{self.check} of {self.place} is off by {self.relative_error:.3g} (relative)",
            f"  analytic: {self.analytic!r}",
            f"  numeric:  {self.numeric!r}, by {self.method}",
        ]
        if self.culprit is not None:
            lines += [f"  op:       {self.culprit}", f"  node:     {describe(self.culprit.node)}"]
        else:
            lines.append(f"  op:       the rule of each operation is right by itself{_stops(self.graph)}")
        lines.append(f"  seed:     {self.seed}")
        if self.picture is not None:
            lines.append(f"  picture:  {self.picture}")
        return "\n".join(lines)


def _stops(graph: Graph) -> str:
    """Where gradients stop on purpose, which is the usual reason when no rule is wrong."""
    stops = [t for t in graph.nodes if t.op in (DETACH, DETACHED)]
    if stops:
        return f"; the gradient stops at {describe(stops[0])}, recorded at {stops[0].source}"
    return "; look for values taken out of the graph, as with .numpy() or .detach()"
