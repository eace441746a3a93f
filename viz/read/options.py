"""What can be asked of a picture."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from ...errors import fail
from ...tensor import Tensor

__all__ = ["SHOW", "FailedOp", "Options", "Overlay"]

SHOW = ("shape", "dtype", "value", "grad", "gradnorm", "params", "source", "flops", "time")
MAX_NODES = 4000  # boxes that a reader can make something of


@dataclass(frozen=True, slots=True)
class Options:
    """The options of :func:`draw`, checked."""

    view: str = "unrolled"
    level: str = "op"
    steps: tuple[int, int] | None = None
    show: frozenset[str] = frozenset({"shape"})
    direction: str | None = None
    theme: str = "light"
    max_nodes: int = MAX_NODES
    legend: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.show) - set(SHOW))
        if unknown:
            raise fail(ValueError, f"draw: cannot show {unknown[0]!r}", expected="some of " + ", ".join(SHOW))
        if self.direction not in (None, "forward", "backward", "both"):
            raise fail(ValueError, f"draw: there is no direction {self.direction!r}",
                       expected="'forward', 'backward' or 'both'")  # fmt: skip
        steps = self.steps
        if steps is not None and (not isinstance(steps, tuple | list) or len(steps) != 2):
            raise fail(TypeError, "draw: steps", expected="(first, last), both drawn", got=repr(steps))
        if self.max_nodes < 1:
            raise fail(ValueError, "draw: max_nodes", expected="at least 1", got=str(self.max_nodes))


@dataclass(frozen=True, slots=True)
class FailedOp:
    """An operation that could not be computed, and what it was given."""

    op: str
    inputs: tuple[Tensor, ...]
    message: str


@dataclass(slots=True)
class Overlay:
    """What is laid over a picture, by serial number of the nodes.

    Attributes
    ----------
    lines : dict
        More lines for their boxes.
    heat : dict
        A number from 0 to 1 that colours them; `heat_name` says of what.
    lit : collection or None
        What to light up; everything else fades.
    changed : dict
        "removed" or "added" by a rewrite.
    failure : FailedOp or None
    """

    lines: dict[int, tuple[str, ...]] = field(default_factory=dict)
    heat: dict[int, float] = field(default_factory=dict)
    heat_name: str = ""
    heat_ends: tuple[str, str] = ("", "")
    lit: Collection[int] | None = None
    changed: dict[int, str] = field(default_factory=dict)
    failure: FailedOp | None = None

    def heat_of(self, node: Any) -> float | None:
        """How hot a node is, if that is known."""
        return None if node is None else self.heat.get(node.serial)
