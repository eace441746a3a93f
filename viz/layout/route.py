"""Which way every edge goes: within a lane past the boxes, elsewhere along gaps and gutters, which hold no boxes.

An edge that leaves its lane goes to the gap at its source, along it, up or down where no box stands in the way, at the
worst through the gutter beside a column, and along the gap at its target. Edges from one quantity share a track.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..scene import theme
from ..scene.scene import Box, Link, Scene
from .order import Dummy
from .rows import GridRows

__all__ = ["SEVERAL", "Course", "Grid", "Gutter", "Lane", "Lanes", "grid_of", "port_step", "widths"]

Key = Hashable
Lane = tuple[int, bool, int]
Lanes = Mapping[Lane, Mapping[int, list[Key]]]
Gutter = tuple[str, Any]  # column, middle, band, phase, left or right; and at which column, or which of them

_TRACKS = 10  # so many edges side by side in one gap or gutter; more share the last one
SEVERAL = ("band", "phase")  # gutters that have their tracks to themselves; all columns have the same
_LOOK = 6  # so many rows that hold something are looked at for a way straight through


@dataclass(frozen=True, slots=True)
class Course:
    """Gaps and gutter that an edge takes; a gap of None means that it leaves or enters at the side of the box."""

    leave: int | None
    enter: int | None
    gutter: Gutter | None
    bus: Key
    down: bool = False  # whether it leaves at the bottom, towards steps that lie lower
    back: Key = None  # the track on which it comes back along the gap that it left by, if it does


def widths(scene: Scene) -> dict[Key, float]:
    """The room that a quantity needs in any column."""
    width: dict[Key, float] = {}
    for box in scene.boxes:
        width[box.key] = max(width.get(box.key, 0.0), box.width)
    return width


def port_step(box: Box, count: int) -> float:
    """The distance between so many edges that enter a box side by side."""
    return min(12.0, 0.7 * box.width / max(count, 1))


@dataclass(frozen=True, slots=True)
class Grid:
    """What rows, gaps and gutters hold; `coordinates` says where they are.

    Attributes
    ----------
    lanes : dict
        For each lane its rows, and for each row the keys and dummies from left to right.
    offset : dict
        For each of those the place of its middle in its lane.
    width : dict
        The room that a quantity needs in any column.
    courses : list of Course or None
        For each link of the scene the way that it takes; None if it runs within a lane, past the boxes.
    tracks : dict
        For each gap and gutter the numbers of the tracks in it.
    """

    scene: Scene
    rows: GridRows
    lanes: Mapping[Lane, Mapping[int, Sequence[Key]]]
    offset: Mapping[Key, float]
    width: Mapping[Key, float]
    courses: Sequence[Course | None]
    tracks: Mapping[tuple[str, Key], Mapping[Key, int]]

    def count(self, kind: str, number: Key = 0) -> int:
        """How many tracks a gap or gutter has."""
        return len(self.tracks.get((kind, number), ()))

    def gutter_width(self, kind: str, number: Key = 0) -> float:
        """The room that a gutter needs."""
        return theme.GUTTER + theme.TRACK * max(self.count(kind, number) - 1, 0)

    def track(self, kind: str, number: Key, bus: Key) -> float:
        """How far a track is from the first one."""
        return theme.TRACK * self.tracks.get((kind, number), {}).get(bus, _TRACKS - 1)


def grid_of(
    scene: Scene, rows: GridRows, lanes: Lanes, direct: Collection[tuple[Key, Key]], offset: Mapping[Key, float]
) -> Grid:
    """Find a way for every edge; those of the pairs `direct` run within their lane."""
    router = _Router(scene, rows, lanes, direct, offset)
    courses = [router.course(link) for link in scene.links]
    return Grid(scene, rows, lanes, offset, router.width, courses, dict(router.tracks))


class _Router:
    """Which way every edge goes, one after the other: later ones find what the earlier ones have taken."""

    def __init__(
        self,
        scene: Scene,
        rows: GridRows,
        lanes: Lanes,
        direct: Collection[tuple[Key, Key]],
        offset: Mapping[Key, float],
    ) -> None:
        self.scene, self.rows, self.lanes, self.direct, self.offset = scene, rows, lanes, direct, offset
        self.width = widths(scene)
        self._in_order = sorted(rows.regions)  # from bottom to top
        self._firsts = [rows.regions[k][0] for k in self._in_order]
        self.taken = {lane: sorted(r for r, keys in levels.items() if keys) for lane, levels in lanes.items()}
        self.centres = {
            lane: {r: [offset[k] for k in keys] for r, keys in levels.items()} for lane, levels in lanes.items()
        }
        self.both = any(region % 2 and backward for region, backward, _ in lanes)
        self.tracks: dict[tuple[str, Key], dict[Key, int]] = defaultdict(dict)
        initial = [box for box in scene.boxes if box.beside is not None]
        self.initial = {(box.column, rows.row[box.key]): box for box in reversed(initial)}  # the nearest to the steps
        self.marks: dict[tuple[int, int], list[Box]] = defaultdict(list)  # of states in a column of a gap, by row
        for box in sorted((b for b in scene.boxes if b.form == "gap"), key=lambda b: (b.backward, offset[b.key])):
            self.marks[box.column or 0, rows.row[box.key]].append(box)
        self.arriving = Counter(link.target for link in scene.links)
        self.side_of: dict[tuple[int, int], Key] = {}

    def course(self, link: Link) -> Course | None:
        a, b = link.source, link.target
        unit_of = self.rows.unit_of
        source, target = unit_of.get(a.key, a.key), unit_of.get(b.key, b.key)
        within = link.kind in ("data", "carry") and a.column == b.column
        if within and (source == target or (source, target) in self.direct):
            return None
        row = self.rows.row
        leave = row[a.key] + (not a.backward)
        enter = row[b.key] + b.backward
        bus = b.key if a.column is not None and b.column is None else a.beside or a.key
        if link.label and link.kind == "saved":
            bus = "label", a.key, link.label
        if link.kind == "delay":
            bus = ("delay", a.key, link.delay, link.leftward)
            gutter = ("column", (b.column or 0) + (b.backward or link.leftward))
            course = self._enter_at_side(Course(leave, enter, gutter, bus), a, b)
            if course.enter == leave:
                course = replace(course, back=("back", bus))
        elif a.beside is not None:
            front = self.initial[a.column, row[a.key]] is a
            gutter = ("column", max(a.column or 0, 0))
            course = self._enter_at_side(Course(None if front else leave, enter, gutter, bus), a, b)
        elif leave == enter:
            course = Course(leave, enter, None, bus)
        elif self._is_right_above(a, b):
            course = Course(row[a.key], enter, ("column", b.column or 0), ("down", bus), down=True)
        else:
            course = self._straight(a, b, leave, enter, bus) or self._around(a, b, leave, enter, bus)
        self._take(course)
        return course

    def _is_right_above(self, a: Box, b: Box) -> bool:
        """Whether a value computed after some steps goes down again into others, as what a decoder attends to."""
        region, lower = self.rows.lane[a.key][0], self.rows.lane[b.key][0]
        outside = a.column is None and b.column is not None and not a.backward and not b.backward
        return outside and lower == region - 1 and self.rows.row[a.key] == self.rows.regions[region][0]

    def _straight(self, a: Box, b: Box, leave: int, enter: int, bus: Key) -> Course | None:
        """One gap only, if the way between it and one of the ends is free."""
        ways = [(enter, a, 0.0), (leave, b, self._spread(b))]
        crossed = range(min(leave, enter), max(leave, enter))
        for gap, box, spread in ways if a.column is not None else reversed(ways):
            if self._free(box, crossed, spread):
                return Course(gap, gap, None, bus)
        return None

    def _spread(self, box: Box) -> float:
        """How far from the middle of a box edges may enter it."""
        count = self.arriving[box]
        return port_step(box, count) * (count - 1) / 2

    def _free(self, box: Box, rows: range, spread: float = 0.0) -> bool:
        """Whether nothing stands above (or below) a box in some rows, as far as `spread` from its middle."""
        if box.beside is not None:
            return False
        own = self.rows.lane[box.key]
        left = _LOOK
        for region in self._regions(rows):
            if region != own[0] and (region % 2 == 0 or box.column is None):
                return False
            lane = region, box.backward, own[2]
            taken = self.taken.get(lane, [])
            first, last = bisect_left(taken, rows.start), bisect_left(taken, rows.stop)
            left -= last - first
            if left < 0 or any(self._blocked(lane, r, self.offset[box.key], spread) for r in taken[first:last]):
                return False
        return True

    def _blocked(self, lane: Lane, row: int, x: float, spread: float) -> bool:
        keys = self.lanes[lane][row]
        n, m = bisect_left(self.centres[lane][row], x - spread), bisect_left(self.centres[lane][row], x + spread)
        near = keys[max(n - 1, 0) : m + 1]
        return any(abs(self.offset[k] - x) < self.width.get(k, theme.DUMMY) / 2 + 5 + spread for k in near)

    def _around(self, a: Box, b: Box, leave: int, enter: int, bus: Key) -> Course:
        above = self._rises_between(a, b, enter, bus)
        if above is not None:
            return above
        leave, enter = self._slid(a, leave, enter, 0.0), self._slid(b, enter, leave, self._spread(b))
        crossed = range(min(leave, enter), max(leave, enter))
        gutter = self._gutter(a, b)
        if gutter and gutter[0] == "band":
            return self._beside_lane(Course(leave, enter, gutter, bus), a, b)
        if gutter is None or any(r % 2 == 0 for r in self._regions(crossed)):
            return Course(leave, enter, self._past_all(a, b), bus)
        course = Course(leave, enter, gutter, bus)
        if gutter[0] == "middle":
            return self._beside_lane(course, a, b)
        if a.column is not None and b.column is not None:
            if self._faces(a, gutter[1]) and self._owns_row(a, gutter[1], bus):
                course = replace(course, leave=None)
            return self._enter_at_side(course, a, b)
        return course

    def _rises_between(self, a: Box, b: Box, enter: int, bus: Key) -> Course | None:
        """From a step straight up and between the two directions of what stands above it."""
        region, backward, phase = self.rows.lane[b.key]
        first = self.rows.regions[region][0]
        rises = a.column is not None and not a.backward and b.column is None and backward
        if not rises or region != self.rows.lane[a.key][0] + 1 or (region, False, phase) not in self.lanes:
            return None
        if not self._free(a, range(self.rows.row[a.key] + 1, first)):
            return None
        return Course(first, enter, ("band", (region, phase)), bus)

    def _past_all(self, a: Box, b: Box) -> Gutter:
        """The way past whole regions: between the columns of two loops, or at the far left or right."""
        first, last = sorted(self.rows.lane[box.key][2] for box in (a, b))
        phases = self.rows.phases
        if first != last:
            return "phase", last
        if not b.backward:
            return ("left", 0) if last == phases[0] else ("phase", last)
        return ("right", 0) if last == phases[-1] else ("phase", phases[phases.index(last) + 1])

    def _slid(self, box: Box, gap: int, goal: int, spread: float) -> int:
        """The gap farthest towards the goal, short of the columns, in reach of a box outside of them."""
        step = 1 if goal > gap else -1
        for _ in range(_LOOK if box.column is None else 0):
            crossed = gap if step > 0 else gap - 1
            if gap == goal or crossed in self.rows.borders or not self._free(box, range(crossed, crossed + 1), spread):
                break
            gap += step
        return gap

    def _beside_lane(self, course: Course, a: Box, b: Box) -> Course:
        """From a lane to that of the other direction beside it, through the sides of boxes where they are free."""
        if self._is_end(a, 0 if a.backward else -1):
            course = replace(course, leave=None)
        return replace(course, enter=None) if self._is_end(b, 0 if b.backward else -1) else course

    def _regions(self, rows: range) -> list[int]:
        first = max(bisect_right(self._firsts, rows.start) - 1, 0)
        last = bisect_left(self._firsts, rows.stop)
        return [k for k in self._in_order[first:last] if self.rows.regions[k][1] >= rows.start]

    def _gutter(self, a: Box, b: Box) -> Gutter | None:
        """The gutter next to the target, on the side that the edge comes from."""
        if a.column is None and b.column is None:
            region, backward, phase = self.rows.lane[a.key]
            beside = self.rows.lane[b.key] == (region, not backward, phase)
            return ("band", (region, phase)) if beside else None
        if a.column is None or b.column is None:
            at = a.column if b.column is None else b.column
            return "column", at or 0
        if a.column == b.column:
            return ("middle" if self.both else "column"), b.column
        return "column", b.column if a.column < b.column else b.column + 1

    def _enter_at_side(self, course: Course, a: Box, b: Box) -> Course:
        if course.gutter and self._faces(b, course.gutter[1]) and self._owns_row(b, course.gutter[1], course.bus):
            return replace(course, enter=None)
        return course

    def _faces(self, box: Box, gutter: int) -> bool:
        """Whether nothing stands between a box in a column and the gutter beside it."""
        if box.column is None:
            return False
        if box.form == "gap":
            marks = self.marks[box.column, self.rows.row[box.key]]
            return (gutter == box.column and marks[0] is box) or (gutter == box.column + 1 and marks[-1] is box)
        if gutter == box.column:
            return not box.backward and self._is_end(box, 0)
        return gutter - 1 == box.column and box.backward == self.both and self._is_end(box, -1)

    def _owns_row(self, box: Box, gutter: int, bus: Key) -> bool:
        """Whether the edges at the sides of a row are all of one quantity, so that they cannot run into each other."""
        return self.side_of.setdefault((self.rows.row[box.key], gutter), bus) == bus

    def _is_end(self, box: Box, end: int) -> bool:
        """Whether a box is the first or last of its row; that edges run up beside it does not matter."""
        level = self.lanes[self.rows.lane[box.key]][self.rows.row[box.key]]
        return next(k for k in (level if end == 0 else reversed(level)) if not isinstance(k, Dummy)) == box.key

    def _take(self, course: Course) -> None:
        channels = [("gap", gap) for gap in dict.fromkeys((course.leave, course.enter)) if gap is not None]
        if course.gutter:
            kind, number = course.gutter
            channels.append((kind, number if kind in SEVERAL else 0))
        for channel in channels:
            taken, delayed = self.tracks[channel], _is_delay(course.bus)
            for bus in (*_with_room(course.bus), *([course.back] if course.back else ())):
                if len(taken) < _TRACKS or delayed:  # whose marks would lie in the way
                    taken.setdefault(bus, len(taken))

def _is_delay(bus: Key) -> bool:
    return isinstance(bus, tuple) and bus[0] == "delay"


def _with_room(bus: Key) -> list[Key]:
    """A track, and for labels and marks with a number the ones beside it."""
    if isinstance(bus, tuple) and bus[0] == "label":
        return [bus, ("over", bus)]
    large = isinstance(bus, tuple) and _is_delay(bus) and bus[2] > 1
    return [("under", bus), bus, ("over", bus)] if large else [bus]
