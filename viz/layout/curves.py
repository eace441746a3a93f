"""The points of every edge: gentle curves within a lane, elsewhere straight lines with round corners."""

from __future__ import annotations

from collections import defaultdict

from ..scene import theme
from ..scene.scene import Box, Link
from .coordinates import Coordinates
from .order import Dummy
from .route import Course, port_step
from .space import Point

__all__ = ["paths"]


def paths(at: Coordinates) -> list[list[Point]]:
    """For each link its Bézier points and the tip of its arrow."""
    ports = _ports(at)
    return [
        _direct(at, link, port) if course is None else _along(at, link, course, port)
        for link, course, port in zip(at.grid.scene.links, at.grid.courses, ports)
    ]


def _ports(at: Coordinates) -> list[float]:
    """Where along its lower (backward: upper) side each edge enters its target: in the order in which they come."""
    arriving: dict[Box, list[tuple[float, int]]] = defaultdict(list)
    links = at.grid.scene.links
    for n, (link, course) in enumerate(zip(links, at.grid.courses)):
        if course is None or course.enter is not None:
            x = at.x_of(course.gutter, course.bus) if course and course.gutter else _last_x(at, link, course)
            arriving[link.target].append((x, n))
    ports = [link.target.x for link in links]
    for entries in arriving.values():
        entries.sort()
        box = links[entries[0][1]].target
        step = port_step(box, len(entries))
        for k, (_, n) in enumerate(entries):
            ports[n] += step * (k - (len(entries) - 1) / 2)
    return ports


def _last_x(at: Coordinates, link: Link, course: Course | None) -> float:
    if course is not None:
        return link.source.x
    through, offset = _dummies(at, link), at.grid.offset
    return link.target.x + offset[through[-1]] - offset[link.target.key] if through else link.source.x


def _dummies(at: Coordinates, link: Link) -> list[Dummy]:
    rows = at.grid.rows
    a, b = rows.row[link.source.key], rows.row[link.target.key]
    sign = 1 if b > a else -1
    source = rows.unit_of.get(link.source.key, link.source.key)
    return [Dummy(source, r) for r in range(a + sign, b, sign)] if a != b else []


def _flat(a: Box, b: Box) -> list[Point]:
    """From an operator to the next one in the row of a state."""
    side = _side(b.x, a.x)
    tip = (b.x - side * b.width / 2, b.y)
    points = [(a.x + side * a.width / 2, a.y)]
    _line(points, (tip[0] - side * theme.ARROW, tip[1]))
    return [*points, tip]


def _direct(at: Coordinates, link: Link, port: float) -> list[Point]:
    a, b = link.source, link.target
    row, offset, heights = at.grid.rows.row, at.grid.offset, at.heights
    if row[a.key] == row[b.key]:
        return _flat(a, b)
    up = -1 if a.backward else 1
    points = [(a.x, a.y + up * a.height / 2)]
    _line(points, (a.x, a.y + up * heights.half[row[a.key]]))  # bend in the gap, clear of taller neighbours
    for d in _dummies(at, link):
        x, half = a.x + offset[d] - offset[a.key], up * heights.half[d.row]
        _bend(points, (x, heights.row[d.row] - half))
        _line(points, (x, heights.row[d.row] + half))
    tip = (port, b.y - up * b.height / 2)
    _bend(points, (port, b.y - up * max(heights.half[row[b.key]], b.height / 2 + theme.ARROW)))
    _line(points, (port, tip[1] - up * theme.ARROW))
    return [*points, tip]


def _along(at: Coordinates, link: Link, course: Course, port: float) -> list[Point]:
    a, b = link.source, link.target
    leave = None if course.leave is None else at.y_of(course.leave, course.bus)
    enter = None if course.enter is None else at.y_of(course.enter, course.back or course.bus)
    x = None if course.gutter is None else at.x_of(course.gutter, course.bus)
    if leave is None and x is not None:
        points = [(a.x + _side(x, a.x) * a.width / 2, a.y), (x, a.y)]
    else:
        start, side = (a.x + 0.35 * a.width, -1) if course.down else (a.x, -1 if a.backward else 1)
        points = [(start, a.y + side * a.height / 2), (start, leave or 0.0)]
        if x is not None:
            points.append((x, leave or 0.0))
    if enter is None and x is not None:
        return _rounded([*points, (x, b.y), (b.x + _side(x, b.x) * b.width / 2, b.y)])
    if x is not None:
        points.append((x, enter or 0.0))
    return _rounded([*points, (port, enter or 0.0), (port, b.y - (-1 if b.backward else 1) * b.height / 2)])


def _side(x: float, centre: float) -> int:
    return 1 if x > centre else -1


def _rounded(corners: list[Point]) -> list[Point]:
    """A line along the axes with round corners, short of the tip by an arrow; the tip comes last."""
    turns = _simplified(corners)
    tip = turns[-1]
    turns[-1] = _toward(tip, turns[-2], theme.ARROW)
    points = [turns[0]]
    for before, corner, after in zip(turns, turns[1:], turns[2:]):
        radius = min(theme.CORNER, _distance(before, corner) / 2, _distance(corner, after) / 2)
        start, end = _toward(corner, before, radius), _toward(corner, after, radius)
        _line(points, start)
        points += [_toward(start, corner, radius * 0.55), _toward(end, corner, radius * 0.55), end]
    _line(points, turns[-1])
    return [*points, tip]


def _simplified(corners: list[Point]) -> list[Point]:
    kept = corners[:1]
    for point in corners[1:]:
        if _distance(kept[-1], point) < 0.01:
            continue
        if len(kept) > 1 and any(abs(kept[-2][k] - kept[-1][k]) + abs(kept[-1][k] - point[k]) < 0.01 for k in (0, 1)):
            kept.pop()
        kept.append(point)
    return kept


def _distance(a: Point, b: Point) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _toward(a: Point, b: Point, length: float) -> Point:
    whole = _distance(a, b) or 1.0
    return a[0] + (b[0] - a[0]) * length / whole, a[1] + (b[1] - a[1]) * length / whole


def _line(points: list[Point], end: Point) -> None:
    (x, y), (u, v) = points[-1], end
    if _distance((x, y), end) < 0.05:
        return
    points += [(x + (u - x) / 3, y + (v - y) / 3), (x + (u - x) * 2 / 3, y + (v - y) * 2 / 3), end]


def _bend(points: list[Point], end: Point) -> None:
    (x, y), (u, v) = points[-1], end
    points += [(x, y + 0.45 * (v - y)), (u, v - 0.45 * (v - y)), end]
