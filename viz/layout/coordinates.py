"""Where rows, columns, gaps, gutters and boxes lie, in points, once it is known how many edges run where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..scene import theme
from ..scene.scene import Scene
from .captions import label_size, title_of, title_width
from .order import Dummy
from .route import SEVERAL, Grid, Gutter, Lane
from .space import Point

__all__ = ["Coordinates", "Heights", "heights", "located"]

Key = Hashable
_Spans = Mapping[Lane, tuple[float, float]]
_Bands = Mapping[tuple[int, int], tuple[float, float, float]]  # by region and phase


@dataclass(frozen=True, slots=True)
class Heights:
    """The middle and half the height of every row, the first track of every gap, and the height of the whole."""

    row: Mapping[int, float]
    half: Mapping[int, float]
    gap: Mapping[int, float]
    whole: float


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of the columns.

    Attributes
    ----------
    gutter : float
        The width of what lies between two of them.
    start : list of float
        Their left ends, and one more.
    inner : list of float
        Their widths.
    middle : list of float
        Where the forward half of each ends.
    base : list of dict
        For each the place from which offsets in the forward and in the backward lane count.
    between : dict
        By phase, where the space before its columns begins.
    centre : dict
        By phase, the middle of its columns.
    """

    gutter: float
    start: Sequence[float]
    inner: Sequence[float]
    middle: Sequence[float]
    base: Sequence[Mapping[bool, float]]
    between: Mapping[int, float]
    centre: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where everything in a grid is.

    Attributes
    ----------
    band : dict
        For what stands outside of the steps, by region and phase: the place from which forward and from which backward
        offsets count, and where the space between the two begins.
    boxes : list of point
        The middle of each box of the scene.
    ends : tuple of float
        The left and right end of the picture without its edges.
    far : tuple of float
        Where edges may run past everything, at the left and at the right.
    """

    grid: Grid
    heights: Heights
    frames: Frames
    band: _Bands
    boxes: Sequence[Point]
    ends: tuple[float, float]
    far: tuple[float, float]

    def y_of(self, gap: int, bus: Key) -> float:
        """The height of a track."""
        return self.heights.gap[gap] + self.grid.track("gap", gap, bus)

    def x_of(self, gutter: Gutter, bus: Key) -> float:
        """The place of a track in a gutter."""
        kind, column = gutter
        frames = self.frames
        run = theme.GUTTER / 2 + self.grid.track(kind, column if kind in SEVERAL else 0, bus)
        if kind == "band":
            return self.band[column][2] + run
        if kind == "phase":
            return frames.between[column] + run
        if kind == "left":
            return self.far[0] - run
        if kind == "right":
            return self.far[1] + run
        if kind == "middle":
            return frames.start[column] + frames.middle[column] + run
        return frames.start[column] - frames.gutter + run


def heights(grid: Grid) -> Heights:
    """The height of every row, and of every gap by the number of edges that run along it."""
    rows = grid.rows
    tall = [theme.BORDER if r in rows.borders else 0.0 for r in range(rows.count)]
    for box in grid.scene.boxes:
        r = rows.row[box.key]
        tall[r] = max(tall[r], box.height)
    row: dict[int, float] = {}
    half: dict[int, float] = {}
    gap: dict[int, float] = {}
    y = 0.0
    for r, height in enumerate([*tall, 0.0]):
        runs = grid.count("gap", r)
        edge = r in rows.borders or r - 1 in rows.borders or r in (0, len(tall))
        gap[r] = y + theme.ROW_GAP / 2
        y += theme.ROW_GAP + theme.TRACK * (runs - 1) if runs else (theme.ROW_GAP / 4 if edge else theme.ROW_GAP)
        row[r], half[r] = y + height / 2, height / 2
        y += height
    return Heights(row, half, gap, y)


def located(grid: Grid, tall: Heights, title_room: Mapping[int, float] | None = None) -> Coordinates:
    """Say where everything is; `title_room` is what titles need at the left of all else in the columns of a phase."""
    spans = {lane: _span(grid, lane) for lane in grid.lanes}
    even = [region for region in grid.rows.regions if region % 2 == 0]
    parts = {(region, phase): _band(grid, spans, region, phase) for region in even for phase in grid.rows.phases}
    wide: dict[int, float] = {}
    for (_, phase), widths in parts.items():
        wide[phase] = max(wide.get(phase, 0.0), sum(widths))
    frames = _frames(grid, spans, wide, title_room or {})
    band, left, right = _bands(frames, spans, parts)
    boxes = _boxes(grid, tall, frames, band)
    sides = list(zip(boxes, grid.scene.boxes))
    left = min([left, *(x - box.width / 2 for (x, _), box in sides)])
    right = max([right, *(x + box.width / 2 for (x, _), box in sides)])
    far = min(left, -frames.gutter * bool(grid.scene.columns)), max(right, frames.start[-1])
    return Coordinates(grid, tall, frames, band, boxes, (left, right), far)


def _span(grid: Grid, lane: Lane) -> tuple[float, float]:
    """The left and right end of a lane in its own coordinates."""
    ends = [
        (grid.offset[k] - w, grid.offset[k] + w)
        for level in grid.lanes[lane].values()
        for k in (level[0], level[-1])
        for w in (theme.DUMMY / 2 if isinstance(k, Dummy) else grid.width[k] / 2,)
    ]
    return _hull(ends)


def _hull(spans: list[tuple[float, float]]) -> tuple[float, float]:
    return min((s[0] for s in spans), default=0.0), max((s[1] for s in spans), default=0.0)


def _band(grid: Grid, spans: _Spans, region: int, phase: int) -> tuple[float, float, float]:
    """How wide what stands outside of the steps of a phase is: forward, the space between, backward."""
    there, back = (spans.get((region, backward, phase)) for backward in (False, True))
    space = grid.gutter_width("band", (region, phase)) if there and back else 0.0
    return there[1] - there[0] if there else 0.0, space, back[1] - back[0] if back else 0.0


def _bands(frames: Frames, spans: _Spans, parts: _Bands) -> tuple[_Bands, float, float]:
    """Where what stands outside of the steps lies, in the middle of the columns of its phase, and the ends of all."""
    band: dict[tuple[int, int], tuple[float, float, float]] = {}
    left, right = 0.0, max(frames.start[-1] - frames.gutter, 0.0)
    for (region, phase), (there, space, back) in parts.items():
        start = frames.centre.get(phase, 0.0) - (there + space + back) / 2
        f, b = spans.get((region, False, phase), (0.0, 0.0)), spans.get((region, True, phase), (0.0, 0.0))
        band[region, phase] = (start - f[0], start + there + space - b[0], start + there)
        left, right = min(left, start), max(right, start + there + space + back)
    return band, left, right


def _frames(grid: Grid, spans: _Spans, wide: Mapping[int, float], title_room: Mapping[int, float]) -> Frames:
    """The columns of a phase keep as far from those of others as the things above and below them need, `wide`."""
    gutter = max([grid.gutter_width("column"), *_labels_between(grid.scene)])
    of = {phase: _column(grid, spans, phase) for phase in {step.phase for step in grid.scene.columns}}
    start: list[float] = []
    inner: list[float] = []
    middle: list[float] = []
    bases: list[Mapping[bool, float]] = []
    between: dict[int, float] = {}
    centre: dict[int, float] = {}
    end = 0.0
    for phase, steps in groupby(grid.scene.columns, key=lambda step: step.phase):
        own, forward, base = of[phase]
        room = title_room.get(phase, 0.0)
        titles = [title_width(title_of(step)) for step in steps]
        shifts = [room + max(title - own - room, 0.0) / 2 for title in titles]
        widths = [max(own + room, title) for title in titles]
        whole = sum(widths) + gutter * (len(widths) - 1)
        over = max(wide.get(phase, 0.0) - whole, 0.0) / 2
        x = 0.0
        if start:
            between[phase] = end
            x = end + gutter + max(theme.PHASE_GAP, grid.gutter_width("phase", phase)) + over
        centre[phase], end = x + whole / 2, x + whole + over
        for shift, width in zip(shifts, widths):
            start.append(x)
            inner.append(width)
            middle.append(forward + shift)
            bases.append({backward: x0 + shift for backward, x0 in base.items()})
            x += width + gutter
    start.append(x if start else 0.0)
    return Frames(gutter, start, inner, middle, bases, between, centre)


def _column(grid: Grid, spans: _Spans, phase: int) -> tuple[float, float, dict[bool, float]]:
    """Of a column of a phase, without its title: width, end of the forward half, and where offsets count from."""
    mine: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for (region, backward, p), span in spans.items():
        if region % 2 and p == phase:
            mine[backward].append(span)
    there, back = _hull(mine[False]), _hull(mine[True])
    gap = grid.gutter_width("middle") if all(mine.values()) else 0.0
    forward = theme.COLUMN_PAD + there[1] - there[0]
    base = {False: theme.COLUMN_PAD - there[0], True: forward + gap - back[0]}
    return forward + gap + back[1] - back[0] + theme.COLUMN_PAD, forward, base


def _labels_between(scene: Scene) -> Iterator[float]:
    """Room for the labels of states on their way from column to column."""
    for link in scene.links:
        if link.label and link.kind == "state":
            yield label_size(link.label)[0] + 2 * theme.ARROW


def _boxes(grid: Grid, tall: Heights, frames: Frames, band: _Bands) -> list[Point]:
    taken: dict[tuple[int, int], float] = defaultdict(float)
    found: list[Point] = []
    for box in grid.scene.boxes:
        row = grid.rows.row[box.key]
        if box.beside is not None:  # initial states, side by side where they belong to one row
            side = -1 if box.column == -1 else 1
            edge = -frames.gutter if side < 0 else frames.start[-1]
            x = edge + side * (taken[side, row] + box.width / 2)
            taken[side, row] += box.width + theme.BOX_GAP
        elif box.column is None:
            x = grid.offset[box.key] + band[grid.rows.lane[box.key][::2]][box.backward]
        else:
            x = grid.offset[box.key] + frames.start[box.column] + frames.base[box.column][box.backward]
        found.append((x, tall.row[row]))
    return found
