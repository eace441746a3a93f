"""What SVG, TikZ and Mermaid have in common: strokes, names of looks, places of marks, characters."""

from __future__ import annotations

import re
import unicodedata
from itertools import count
from typing import NamedTuple

from ..layout.layout import Layout
from ..layout.space import Point
from ..scene import theme
from ..scene.contrast import luminance
from ..scene.scene import Link
from ..scene.theme import Fill, Palette

__all__ = [
    "ILLEGAL",
    "STROKES",
    "Stroke",
    "coordinate",
    "ink",
    "is_output",
    "kind_of",
    "label_of",
    "label_place",
    "looks",
    "marks",
    "visible",
    "width_of",
]


class Stroke(NamedTuple):
    """How an edge of one kind is drawn; dashes are lengths on and off, a tee stands in place of the arrowhead."""

    width: float = 1.0
    dashes: tuple[float, float] | None = None
    tee: bool = False


STROKES = {
    "data": Stroke(),
    "state": Stroke(2.0),
    "delay": Stroke(2.0),
    "carry": Stroke(2.0),
    "saved": Stroke(0.8, (5.0, 2.0)),
    "cut": Stroke(1.6, (1.5, 3.0), tee=True),
}


def kind_of(link: Link) -> str:
    """Which of the strokes an edge has; kinds without one of their own are drawn as data."""
    return link.kind if link.kind in STROKES else "data"


def label_of(link: Link) -> str:
    """The text at an edge, or nothing."""
    return link.label or (theme.CUT_MARK if link.kind == "cut" else "")


def marks(plan: Layout) -> list[Point]:
    """Where time steps were left out before the first and after the last column."""
    if not plan.columns:
        return []
    (left, low, _, high), (_, _, right, _) = plan.columns[0].frame, plan.columns[-1].frame
    ends = (left - 11, (low + high) / 2), (right + 11, (low + high) / 2)
    return [end for end, wanted in zip(ends, plan.scene.elided) if wanted]


def label_place(link: Link, path: list[Point]) -> Point:
    """Where the text at an edge stands: a label above it, the mark of a cut on the middle of its longest piece."""
    if link.label:
        return link.label_at
    pieces = [path[k : k + 4] for k in range(0, len(path) - 4, 3)]
    a, b, c, d = max(pieces, key=lambda p: abs(p[0][0] - p[3][0]) + abs(p[0][1] - p[3][1]))
    return (a[0] + 3 * b[0] + 3 * c[0] + d[0]) / 8, (a[1] + 3 * b[1] + 3 * c[1] + d[1]) / 8


def coordinate(value: float) -> str:
    """A length in points, to a tenth."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


# Looks --------------------------------------------------------------------------------------------------------------


def is_output(look: Fill) -> bool:
    return look.width >= theme.OUTPUT_WIDTH


def looks(plan: Layout) -> dict[Fill, str]:
    """A name for each look of a picture: letters and digits only."""
    numbers = count(1)
    palette = plan.scene.palette
    known = {look.fill: name for name, look in _known(palette).items()}
    exact = {look: name for name, look in _known(palette).items()}
    names: dict[Fill, str] = {}
    for look in dict.fromkeys(box.look for box in plan.scene.boxes):
        name = exact.get(look)
        if name is None and is_output(look) and look.line == palette.ink and look.fill in known:
            name = f"{known[look.fill]}output"
        names[look] = name or f"look{next(numbers)}"
    return names


def _known(palette: Palette) -> dict[str, Fill]:
    states = {f"state{k}": look for k, look in enumerate(palette.states, 1)}
    states |= {f"gate{k}": look for k, look in enumerate(palette.gates, 1)}
    return {"".join(filter(str.isalnum, name)): look for name, look in palette.fills.items()} | states


def ink(fill: str, palette: Palette) -> str:
    """The colour of text on a fill: the palette's ink, and on colours that it is not made for the one that shows."""
    if fill == palette.page or fill in (look.fill for look in _known(palette).values()):
        return palette.ink
    return "#000000" if luminance(fill) > 0.179 else "#ffffff"


# Text ---------------------------------------------------------------------------------------------------------------

# What XML cannot hold: control characters, lone surrogates, and some that are no characters at all.
ILLEGAL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def visible(text: str) -> str:
    """The text as one line in which all characters can be shown."""
    return ILLEGAL.sub("\ufffd", text.replace("\n", " ").replace("\t", " "))


# Advance widths of Helvetica, Arial and Liberation Sans from the space to the tilde, in thousandths of the font size.
_ADVANCE = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556,
    833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500,
    556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500,
    334, 260, 334, 584,
]  # fmt: skip


def width_of(text: str, size: float) -> float:
    """About how wide a line of text is."""
    return sum(_advance(character) for character in text) * size / 1000


def _advance(character: str) -> int:
    if " " <= character <= "~":
        return _ADVANCE[ord(character) - 32]
    if unicodedata.combining(character):
        return 0
    return 1000 if unicodedata.east_asian_width(character) in "WF" else 650
