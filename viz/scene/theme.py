"""Fonts, colours and distances of the pictures: everything that is a matter of taste, in one place.

The hues are near those of Okabe and Ito, which survive colour blindness. No meaning rests on colour alone: frames, line
styles, columns and rows say the same on a greyscale print. Text stands at a contrast of at least 7:1 on its fill.
"""

from __future__ import annotations

from typing import NamedTuple

from ...errors import fail

__all__ = ["CHAR", "MEANINGS", "PALETTES", "Fill", "Palette", "heat", "palette"]


class Fill(NamedTuple):
    """How boxes of one kind look."""

    fill: str
    line: str
    width: float = 1.0


class Palette(NamedTuple):
    """The colours of a theme.

    Attributes
    ----------
    page, ink, column : str
        Background, text, and the frames of time steps.
    fills : dict
        For each kind of box how it looks.
    states : tuple of Fill
        For each state the colour of its edges, and the look of its boxes.
    gates : tuple of Fill
        The same for named activations, which differ in brightness too.
    data, saved, cut, backward_state, lit : str
        Edges: values, forward values that a gradient rule looks at, cuts, cotangents of states, what is highlighted.
    cold, hot : str
        The ends of the scale that `heat` mixes.
    """

    page: str
    ink: str
    column: str
    fills: dict[str, Fill]
    states: tuple[Fill, ...]
    gates: tuple[Fill, ...]
    data: str
    saved: str
    cut: str
    backward_state: str
    lit: str
    cold: str
    hot: str


LIGHT = Palette(
    page="#ffffff",
    ink="#1a1a1a",
    column="#8a94a6",
    fills={
        "input": Fill("#d9f0e6", "#00795a"),
        "op": Fill("#f4f6fa", "#5b6b82"),
        "weight": Fill("#dce8f6", "#1f5f9e"),
        "group": Fill("#e8ecf3", "#33425b", 1.4),
        "gradient": Fill("#f3dcea", "#9c3f74"),
        "cut": Fill("#eeeeee", "#4d4d4d"),
        "padded": Fill("#f2f2f2", "#8a8a8a"),
        "failed": Fill("#fbd9d3", "#b3261e", 2.4),
        "removed": Fill("#fbe0dc", "#b3261e", 1.4),
        "added": Fill("#d9f0e6", "#00694e", 1.8),
        "faded": Fill("#fafafa", "#b9bfc9"),
        "mark": Fill("#1a1a1a", "#1a1a1a"),
    },
    states=(
        Fill("#fbe3cd", "#b34700", 1.6), Fill("#d3e6f8", "#0060a0", 1.6), Fill("#e9def3", "#7a5195", 1.6),
        Fill("#f3eab8", "#7d6200", 1.6), Fill("#cfeee2", "#00694e", 1.6), Fill("#f9d9e6", "#a8326e", 1.6),
    ),
    gates=(
        Fill("#a9d3f5", "#1f5f9e"), Fill("#fdf3c4", "#7d6200"), Fill("#d3c1ea", "#6a4795"),
        Fill("#c4e8b4", "#3c6e1f"), Fill("#f7c8b8", "#a03c14"), Fill("#e4e4e0", "#55554d"),
    ),
    data="#4a5261",
    saved="#9a8fa0",
    cut="#4d4d4d",
    backward_state="#9c3f74",
    lit="#b34700",
    cold="#eef1f6",
    hot="#f59a5b",
)  # fmt: skip

DARK = Palette(
    page="#14171c",
    ink="#f2f4f7",
    column="#6d7789",
    fills={
        "input": Fill("#0e3a2f", "#4cc7a2"),
        "op": Fill("#232932", "#93a1b5"),
        "weight": Fill("#17314d", "#6fb0ee"),
        "group": Fill("#2a313d", "#c0cad9", 1.4),
        "gradient": Fill("#42203a", "#e28abf"),
        "cut": Fill("#303030", "#b5b5b5"),
        "padded": Fill("#1d1f23", "#7c7c7c"),
        "failed": Fill("#571a15", "#ff8a7e", 2.4),
        "removed": Fill("#4a1c17", "#ff8a7e", 1.4),
        "added": Fill("#0e3a2f", "#4cc7a2", 1.8),
        "faded": Fill("#191c21", "#6d7480"),
        "mark": Fill("#f2f4f7", "#f2f4f7"),
    },
    states=(
        Fill("#4a2a0d", "#ffa25c", 1.6), Fill("#0d3252", "#66b6f5", 1.6), Fill("#382748", "#c59ce8", 1.6),
        Fill("#3d330a", "#dcbc3f", 1.6), Fill("#0b3b2e", "#4fcfa5", 1.6), Fill("#4a1c33", "#f08cba", 1.6),
    ),
    gates=(
        Fill("#1c4468", "#8cc4f5"), Fill("#3a3208", "#e3cd63"), Fill("#463062", "#cbaef0"),
        Fill("#23431a", "#9fd682"), Fill("#55291a", "#f5a585"), Fill("#2c2c2a", "#b9b9b0"),
    ),
    data="#a8b2c1",
    saved="#8d8396",
    cut="#b5b5b5",
    backward_state="#e28abf",
    lit="#ffa25c",
    cold="#232932",
    hot="#a8480a",
)  # fmt: skip


def _grey(p: Palette) -> Palette:
    """A palette for black and white print: brightness kept, frames and widths tell the kinds apart."""
    fills = {name: Fill(_to_grey(f.fill), _to_grey(f.line), f.width) for name, f in p.fills.items()}
    states = tuple(Fill(_to_grey(f.fill), "#222222", f.width) for f in p.states)
    gates = tuple(Fill(_to_grey(f.fill), "#444444", f.width) for f in p.gates)
    names = ("column", "data", "saved", "cut", "backward_state", "lit", "cold", "hot")
    return p._replace(fills=fills, states=states, gates=gates, **{name: _to_grey(getattr(p, name)) for name in names})


def _channels(color: str) -> list[int]:
    return [int(color[k : k + 2], 16) for k in (1, 3, 5)]


def _to_grey(color: str) -> str:
    r, g, b = _channels(color)
    return "#" + f"{round(0.2126 * r + 0.7152 * g + 0.0722 * b):02x}" * 3


PALETTES = {"light": LIGHT, "dark": DARK, "print": _grey(LIGHT)}


MEANINGS = {
    "input": "input",
    "op": "operation",
    "weight": "uses a weight",
    "group": "part of the model",
    "gradient": "gradient",
    "cut": "cut: no gradient passes",
    "padded": "padding",
    "failed": "could not be computed",
    "removed": "removed",
    "added": "new",
    "mark": "a step of delay",
}


def palette(name: str) -> Palette:
    """The palette of a theme.

    Raises
    ------
    ValueError
        If there is no such theme.
    """
    if name not in PALETTES:
        raise fail(ValueError, f"draw: there is no theme {name!r}", expected="one of " + ", ".join(PALETTES))
    return PALETTES[name]


def heat(p: Palette, value: float) -> str:
    """The colour of a value from 0 (cold) to 1 (hot)."""
    mixed = [round(a + (b - a) * min(max(value, 0.0), 1.0)) for a, b in zip(_channels(p.cold), _channels(p.hot))]
    return "#" + "".join(f"{c:02x}" for c in mixed)


FONT = "Helvetica"
FONT_SIZE = 10
LINE_HEIGHT = 12.0
LABEL_HEIGHT = 9.0  # of the letters beside an edge
CHAR = 5.8  # width of a letter, on the wide side so that no text leaves its box
TITLE_CHAR = 6.4  # the same for the titles of columns
MAX_CHARS = 28  # longer lines of a label are cut; the tooltip has the whole id

OUTPUT_WIDTH = 2.4  # outputs have the fill of their kind in a bold frame
GLYPHS = {"⊙": "×"}  # signs that common fonts lack
CUT_MARK = "//"

BOX_WIDTH, BOX_PAD = 46.0, 14.0
ROUND = 24.0  # diameter of an operator
DELAY = 8.0  # side of the black square that delays a state by a step
BOX_GAP = 14.0  # between neighbours in a row
DUMMY = 10.0  # room that an edge takes where it passes through a row
ROW_GAP, TRACK = 24.0, 8.0  # a gap between rows grows by a track for each run of edges along it
GUTTER = 22.0  # the same between columns
COLUMN_PAD = 21.0
BORDER = 22.0  # height of a column's upper and lower border, where its title stands
MARGIN = 12.0
CORNER = 8.0  # radius at the turns of edges
ARROW = 6.0  # length of an arrowhead
PHASE_GAP = 40.0  # between the columns of a loop and those of one that waits for it
LEGEND_HEIGHT, LEGEND_WIDTH = 28.0, 480.0
