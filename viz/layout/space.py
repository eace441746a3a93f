"""Where a picture is empty: places for titles, labels and marks that no edge crosses and no box covers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ..scene.scene import Box

__all__ = ["Point", "Rect", "Room"]

Point = tuple[float, float]
Rect = tuple[float, float, float, float]  # left, bottom, right, top

_CELL = 48.0
_PIECES = 8  # that a bent part of an edge is cut into
_SMALL = 12.0  # but not one of this size
_CLEAR = 2.0  # between an edge and what is put beside it


class Room:
    """What takes up room: straight parts of edges by the line that they lie on, everything else in square cells."""

    def __init__(self, boxes: Iterable[Box], paths: Sequence[Sequence[Point]]) -> None:
        self._cells: dict[tuple[int, int], list[Rect]] = defaultdict(list)
        for b in boxes:
            self.take((b.x - b.width / 2, b.y - b.height / 2, b.x + b.width / 2, b.y + b.height / 2))
        for path in paths:
            (x, y), (u, v) = path[-2], path[-1]  # the head of its arrow
            self.take((min(x, u) - 3, min(y, v) - 3, max(x, u) + 3, max(y, v) + 3))
        parts = _parts(paths)
        low, high = parts.min(axis=1), parts.max(axis=1)
        level, upright = (high - low < 0.05).T[::-1]
        self._level = _Lines(low[level, 1], low[level, 0], high[level, 0])
        self._upright = _Lines(low[upright, 0], low[upright, 1], high[upright, 1])
        small = (high - low).max(axis=1) <= _SMALL
        bent = ~(level | upright)
        ends = np.concatenate([low - _CLEAR, high + _CLEAR], axis=1)
        for rect in chain(ends[bent & small].tolist(), _pieces(parts[bent & ~small])):
            self.take(rect)

    def put(self, middle: Point, size: Point) -> None:
        """Put something of that size there."""
        self.take(_around(middle, size))

    def take(self, rect: Rect) -> None:
        """Fill a rectangle."""
        left, low, right, high = (int(v // _CELL) for v in rect)
        if left == right and low == high:
            self._cells[left, low].append(rect)
        else:
            for cell in _cells(rect):
                self._cells[cell].append(rect)

    def hits(self, rect: Rect, along: float | None = None) -> Iterator[Rect]:
        """What lies there; but for edges at the height `along`."""
        left, low, right, high = rect
        seen = (r for cell in _cells(rect) for r in self._cells.get(cell, ()))
        yield from (r for r in seen if r[0] < right and left < r[2] and r[1] < high and low < r[3])
        for y, a, b in self._level.crossing(low - _CLEAR, high + _CLEAR, left, right):
            if along is None or abs(y - along) > 0.5:
                yield a, y, b, y
        for x, a, b in self._upright.crossing(left - _CLEAR, right + _CLEAR, low, high):
            yield x, a, x, b

    def is_free(self, middle: Point, size: Point, along: float | None = None) -> bool:
        """Whether something of that size would touch nothing there."""
        return next(self.hits(_around(middle, size), along), None) is None

    def slot(self, first: float, last: float, y: float, size: Point, along: float | None = None) -> float | None:
        """The first middle, from `first` to `last`, of something of that size at height `y` that touches nothing."""
        x = first
        while x <= last:
            end = max((r[2] for r in self.hits(_around((x, y), size), along)), default=None)
            if end is None:
                return x
            x = max(end + size[0] / 2 + _CLEAR, x + 1.0)
        return None


def _around(middle: Point, size: Point) -> Rect:
    return middle[0] - size[0] / 2, middle[1] - size[1] / 2, middle[0] + size[0] / 2, middle[1] + size[1] / 2


class _Lines:
    """Stretches on parallel lines: for each line, by its place, the union of what lies on it."""

    def __init__(self, place: np.ndarray, start: np.ndarray, stop: np.ndarray) -> None:
        place = place.round(1)
        order = np.lexsort((start, place))
        self._on: dict[float, tuple[list[float], list[float]]] = {}
        for p, a, b in zip(place[order].tolist(), start[order].tolist(), stop[order].tolist()):
            starts, stops = self._on.setdefault(p, ([], []))
            if stops and a <= stops[-1]:
                stops[-1] = max(stops[-1], b)
            else:
                starts.append(a)
                stops.append(b)
        self._places = list(self._on)

    def crossing(self, first: float, last: float, start: float, stop: float) -> Iterator[tuple[float, float, float]]:
        """Place, start and stop of the stretches in a rectangle."""
        for p in self._places[bisect_left(self._places, first) : bisect_right(self._places, last)]:
            starts, stops = self._on[p]
            for k in range(bisect_right(stops, start), bisect_left(starts, stop)):
                yield p, starts[k], stops[k]


def _parts(paths: Sequence[Sequence[Point]]) -> np.ndarray:
    """The Bézier parts of all paths, (parts, 4 points, 2)."""
    flat = np.fromiter(chain.from_iterable(chain.from_iterable(paths)), np.float64).reshape(-1, 2)
    lengths = np.fromiter(map(len, paths), np.int64, len(paths))
    starts = np.cumsum(lengths) - lengths
    count = (lengths - 2) // 3  # the last point is the tip of the arrow
    first = np.repeat(starts - 3 * (np.cumsum(count) - count), count) + 3 * np.arange(count.sum())
    return flat[first[:, None] + np.arange(4)]


def _pieces(parts: np.ndarray) -> Iterator[Rect]:
    """Rectangles along curves."""
    t = np.linspace(0, 1, _PIECES + 1)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3], axis=1)
    points = np.einsum("nk,pkd->pnd", weights, parts)
    low, high = np.minimum(points[:, :-1], points[:, 1:]), np.maximum(points[:, :-1], points[:, 1:])
    rects: Any = np.concatenate([low - _CLEAR, high + _CLEAR], axis=2).reshape(-1, 4).tolist()
    yield from rects


def _cells(rect: Rect) -> Iterator[tuple[int, int]]:
    for i in range(int(rect[0] // _CELL), int(rect[2] // _CELL) + 1):
        for k in range(int(rect[1] // _CELL), int(rect[3] // _CELL) + 1):
            yield i, k
