"""Fonts, colours and distances of the pictures: everything that is a matter of taste, in one place.

The hues are those of Okabe and Ito, which survive colour blindness; fills are light and differ in lightness, so that they
also survive a greyscale printer; every text stands at a contrast of at least 7:1 on its fill.
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
    "state": Fill("#fbe3cd", "#a8480a", 1.6),
    "output": Fill("#ffffff", "#1a1a1a", 2.2),
    "gradient": Fill("#f3dcea", "#9c3f74"),
    "cut": Fill("#eeeeee", "#4d4d4d"),
}

DATA = "#4a5261"
SAVED = "#9a8fa0"  # a forward value that a gradient rule looks at
CUT = "#4d4d4d"
CUT_MARK = "//"
BACKWARD_STATE = "#9c3f74"
STATES = ("#b34700", "#0060a0", "#00795a", "#7a5195", "#8a6d00", "#a8326e")
COLUMN = "#8a94a6"

BOX_WIDTH, BOX_PAD = 46.0, 14.0
BOX_GAP = 14.0  # between neighbours in a row
DUMMY = 10.0  # room that an edge takes where it passes through a row
ROW_GAP, TRACK = 24.0, 8.0  # a gap between rows grows by a track for each run of edges along it
GUTTER = 22.0  # the same between columns
COLUMN_PAD = 16.0
BORDER = 22.0  # height of a column's upper and lower border, where its title stands
MARGIN = 12.0
CORNER = 8.0  # radius at the turns of edges
ARROW = 6.0  # length of an arrowhead
