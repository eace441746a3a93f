"""Where titles of columns and labels of edges stand, so that no edge runs through them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ..read.columns import Span
from ..scene import theme
from ..scene.scene import Column, Link
from .space import Point, Room

__all__ = ["label_size", "set_labels", "set_titles", "title_of", "title_width"]

_ABOVE = 7.0  # from an edge to the middle of its label


def title_of(span: Span) -> str:
    """What stands over a column."""
    return span.title or f"t = {span.times[0]}"


def title_width(title: str) -> float:
    """Room for the title of a column, with space at its sides."""
    return theme.TITLE_CHAR * len(title) + 12


def label_size(label: str) -> Point:
    """Room for the label of an edge."""
    return theme.CHAR * len(label), theme.LABEL_HEIGHT


def set_titles(columns: Iterable[Column], room: Room) -> list[Column]:
    """In the upper border of the frames, as far to the left as is free, or in the lower one where that has room for
    more of a row of them; gives those without room."""
    crowded = []
    rows: dict[int, list[Column]] = defaultdict(list)
    for column in columns:
        rows[column.region].append(column)
    for row in rows.values():
        places = [[_title_place(column, upper, room) for column in row] for upper in (True, False)]
        first = 0 if places[0].count(None) <= places[1].count(None) else 1
        for column, *found in zip(row, places[first], places[1 - first]):
            place = found[0] or found[1]
            if place is None:
                crowded.append(column)
                place = column.frame[0] + title_width(column.title) / 2, column.frame[3] - theme.BORDER / 2
            column.title_at = place
    return crowded


def _title_place(column: Column, upper: bool, room: Room) -> Point | None:
    left, low, right, high = column.frame
    width = title_width(column.title)
    y = high - theme.BORDER / 2 if upper else low + theme.BORDER / 2
    x = room.slot(left + width / 2, right - width / 2, y, (width - 6, theme.BORDER / 2))
    return None if x is None else (x, y)


def set_labels(links: Iterable[Link], paths: Sequence[Sequence[Point]], room: Room) -> None:
    """Beside a straight part of an edge, best above the longest level one."""
    for link, path in zip(links, paths):
        if link.label:
            places = list(_label_places(link.label, path))
            size = label_size(link.label)
            free = (p for p in (_free(room, size, *place) for place in places) if p is not None)
            link.label_at = next(free, None) or _middle(*places[0])
            room.put(link.label_at, size)


def _label_places(label: str, path: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """Lines on which the middle of a label may lie, the best one first."""
    ends = [(path[k], path[k + 3]) for k in range(0, len(path) - 4, 3)]
    level = [(a, b) for a, b in ends if abs(a[1] - b[1]) < 0.1]
    upright = [(a, b) for a, b in ends if abs(a[0] - b[0]) < 0.1]
    for side in (1, -1):
        for (x, y), (u, _) in sorted(level, key=lambda e: -abs(e[0][0] - e[1][0])):
            yield (x, y + side * _ABOVE), (u, y + side * _ABOVE)
    beside = label_size(label)[0] / 2 + 4
    for side in (1, -1):
        for (x, y), (_, v) in sorted(upright, key=lambda e: -abs(e[0][1] - e[1][1])):
            yield (x + side * beside, y), (x + side * beside, v)
    yield (*ends[0],)


def _middle(a: Point, b: Point) -> Point:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def _free(room: Room, size: Point, a: Point, b: Point) -> Point | None:
    """The free place on a line that is nearest to its middle."""
    for share in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9, 0.0, 1.0):
        place = a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])
        if room.is_free(place, size):
            return place
    return None
