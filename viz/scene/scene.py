"""What a picture shows: boxes, the edges that join them, and the columns that they stand in.

Each box has a key that it shares with the boxes of the same quantity in the other columns; the layout works on keys, so
they stand at the same place in each. `build` makes a scene from a recorded graph.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from ...tensor import Tensor
from ..read.columns import Span
from . import theme

__all__ = ["Box", "Column", "Link", "Scene"]


@dataclass(eq=False, slots=True)
class Box:
    """What is drawn as one box. `column` counts the columns; -1 and the one past the last hold initial states.

    `node` is the tensor that it stands for, `members` are all that are drawn as it; a mark stands for none. Its form is
    box, round, delay or gap. An initial state stands beside the columns, at the height of its state, whose key is
    `beside`.
    """

    node: Tensor | None
    id: str
    key: Hashable
    column: int | None
    backward: bool
    beside: Hashable = None
    look: theme.Fill = theme.LIGHT.fills["op"]
    lines: tuple[str, ...] = ()
    width: float = theme.BOX_WIDTH
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0
    members: tuple[Tensor, ...] = ()
    scope: tuple[str, ...] = ()
    form: str = "box"
    phase: int = 0
    faded: bool = False
    is_operator: bool = False  # + or ⊙ of two values: what a state can run straight through


@dataclass(eq=False, slots=True)
class Link:
    """An edge as it is drawn.

    Its kind is data; state, from step to step; carry, within a step on the way of a state; delay, of a state that comes
    back to its own column; saved, of a forward value that a gradient looks at; or cut.
    """

    source: Box
    target: Box
    kind: str = "data"
    color: str = theme.LIGHT.data
    label: str = ""
    label_at: tuple[float, float] = (0.0, 0.0)  # its middle
    delay: int = 1  # how many steps later a state comes back
    leftward: bool = False  # whether that is to an earlier step, as in the backward direction of a layer
    faded: bool = False


@dataclass(eq=False, slots=True)
class Scene:
    """Boxes and links, the columns from left to right, the colours, and what they mean.

    `conveyors` has for each state that runs straight through its step the keys that it passes, from left to right.
    """

    boxes: list[Box]
    links: list[Link]
    columns: list[Span]
    palette: theme.Palette
    legend: list[tuple[str, theme.Fill]]
    conveyors: dict[Hashable, list[Hashable]] = field(default_factory=dict)

    @property
    def elided(self) -> tuple[bool, bool]:
        """Whether steps were left out before the first column and after the last one."""
        return (self.columns[0].before, self.columns[-1].after) if self.columns else (False, False)


@dataclass(slots=True)
class Column:
    """The frame of one time step in one region of steps: left, bottom, right, top."""

    time: int
    region: int
    frame: tuple[float, float, float, float]
    boxes: list[Box] = field(default_factory=list)
    title: str = ""
    kind: str = "step"
    name: str = ""  # of its own
    title_at: tuple[float, float] = (0.0, 0.0)  # the middle of its title
