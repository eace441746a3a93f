"""Fonts, colours and distances of the pictures: everything that is a matter of taste, in one place.

The hues are near those of Okabe and Ito, which survive colour blindness. No meaning rests on colour alone: frames, line
styles, columns and rows say the same on a greyscale print. Text stands at a contrast of at least 7:1 on its fill.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CHAR", "FILLS", "INK", "STATES", "Fill"]


class Fill(NamedTuple):
    """How boxes of one kind look."""

    fill: str
    line: str
    width: float = 1.0


INK = "#1a1a1a"
FONT = "Helvetica"
FONT_SIZE = 10
LINE_HEIGHT = 12.0
CHAR = 5.8  # width of a letter, on the wide side so that no text leaves its box
MAX_CHARS = 28  # longer lines of a label are cut; the tooltip has the whole id

FILLS = {
    "input": Fill("#d9f0e6", "#00795a"),
    "op": Fill("#f4f6fa", "#5b6b82"),
    "weight": Fill("#dce8f6", "#1f5f9e"),
    "gradient": Fill("#f3dcea", "#9c3f74"),
    "cut": Fill("#eeeeee", "#4d4d4d"),
}

OUTPUT_WIDTH = 2.4  # outputs have the fill of their kind in a bold frame
GLYPHS = {"⊙": "×"}  # signs that common fonts lack

DATA = "#4a5261"
SAVED = "#9a8fa0"  # a forward value that a gradient rule looks at
CUT = "#4d4d4d"
CUT_MARK = "//"
BACKWARD_STATE = "#9c3f74"
STATES = (  # each state's edges and border, and the fill of its boxes
    Fill("#fbe3cd", "#b34700", 1.6), Fill("#d3e6f8", "#0060a0", 1.6), Fill("#e9def3", "#7a5195", 1.6),
    Fill("#f3eab8", "#7d6200", 1.6), Fill("#cfeee2", "#00694e", 1.6), Fill("#f9d9e6", "#a8326e", 1.6),
)  # fmt: skip
COLUMN = "#8a94a6"

BOX_WIDTH, BOX_PAD = 46.0, 14.0
BOX_GAP = 14.0  # between neighbours in a row
DUMMY = 10.0  # room that an edge takes where it passes through a row
ROW_GAP, TRACK = 24.0, 8.0  # a gap between rows grows by a track for each run of edges along it
GUTTER = 22.0  # the same between columns
COLUMN_PAD = 21.0
BORDER = 22.0  # height of a column's upper and lower border, where its title stands
MARGIN = 12.0
CORNER = 8.0  # radius at the turns of edges
ARROW = 6.0  # length of an arrowhead
