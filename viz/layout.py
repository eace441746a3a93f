"""Coordinates of a scene on the time grid, in points: boxes, columns and edges. Linear in the size of the graph.

One column per time step, data upwards within it, the same quantity at the same height in all of them; see `rows` for
the regions outside of the steps, `order` for places within a row, `route` for the edges that leave their lane.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field

from . import theme
from .order import LONGEST, Dummy, arranged
from .route import Grid, Point, paths
from .rows import Rows
from .scene import Box, Scene

__all__ = ["Column", "Layout", "layout"]

Key = Hashable
Lane = tuple[int, bool]


@dataclass(slots=True)
class Column:
    """The frame of one time step in one region of steps: left, bottom, right, top."""

    time: int
    region: int
    frame: tuple[float, float, float, float]
    boxes: list[Box] = field(default_factory=list)
    title: str = ""


@dataclass(slots=True)
class Layout:
    """Where everything of a scene stands; the coordinates are in its boxes.

    Attributes
    ----------
    columns : list of Column
    outside : list of Box
        What belongs to no column.
    paths : list of list of point
        For each link of the scene its Bézier control points, and then the tip of its arrow.
    size : tuple of float
        Width and height; the origin is at the lower left.
    """

    scene: Scene
    columns: list[Column]
    outside: list[Box]
    paths: list[list[Point]]
    size: tuple[float, float]


def layout(scene: Scene) -> Layout:
    """Lay a scene out."""
    rows = Rows(scene)
    lanes, direct, offset = _arranged(scene, rows)
    grid = Grid(scene, rows, lanes, direct, offset)
    height = _set_heights(grid)
    extent = _set_columns(grid)
    routed = paths(grid)
    along = [x for path in routed for x, _ in path]
    extent = min([extent[0], *along]), max([extent[1], *along])
    columns, outside = _columns(grid)
    return Layout(scene, columns, outside, *_shifted(grid, columns, routed, (*extent, height)))


def _arranged(
    scene: Scene, rows: Rows
) -> tuple[dict[Lane, dict[int, list[Key]]], set[tuple[Key, Key]], dict[Key, float]]:
    """The rows of each lane in order, the pairs whose edges run between the boxes, and the offsets within the lane."""
    width = {box.key: box.width for box in scene.boxes}
    fed = {k.target.key for k in scene.links if k.kind in ("state", "cut")}
    edges: dict[Lane, dict[tuple[Key, Key], None]] = defaultdict(dict)
    for link in scene.links:
        a, b = link.source, link.target
        climb = (rows.row[b.key] - rows.row[a.key]) * (-1 if a.backward else 1)
        inside = a.column == b.column and a.beside is None and b.beside is None
        if inside and rows.lane[a.key] == rows.lane[b.key] and 0 < climb <= LONGEST:
            edges[rows.lane[a.key]][a.key, b.key] = None
    lanes: dict[Lane, dict[int, list[Key]]] = defaultdict(lambda: defaultdict(list))
    for key in sorted(rows.order, key=lambda key: key not in fed):  # states come in from the left
        lanes[rows.lane[key]][rows.row[key]].append(key)
    offset: dict[Key, float] = {}
    for lane, levels in lanes.items():
        offset |= arranged(levels, list(edges[lane]), rows.row, width)
    return lanes, {pair for pairs in edges.values() for pair in pairs}, offset


def _set_heights(grid: Grid) -> float:
    """The height of every row, and of every gap by the number of edges that run along it; gives the whole."""
    tall = [theme.BORDER if r in grid.rows.borders else 0.0 for r in range(grid.rows.count)]
    for box in grid.scene.boxes:
        r = grid.rows.row[box.key]
        tall[r] = max(tall[r], box.height)
    y = 0.0
    for r, height in enumerate([*tall, 0.0]):
        runs = len(grid.tracks["gap", r])
        edge = r in grid.rows.borders or r - 1 in grid.rows.borders or r in (0, len(tall))
        grid.gap_y[r] = y + theme.ROW_GAP / 2
        y += theme.ROW_GAP + theme.TRACK * (runs - 1) if runs else (theme.ROW_GAP / 4 if edge else theme.ROW_GAP)
        grid.row_y[r], grid.row_half[r] = y + height / 2, height / 2
        y += height
    return y


def _set_columns(grid: Grid) -> tuple[float, float]:
    """The x of boxes, gutters and frames; gives the left and right end of the picture."""
    spans = {lane: _span(grid, lane) for lane in grid.lanes}
    timed = [s for (region, backward), s in spans.items() if region % 2 and not backward]
    timed_back = [s for (region, backward), s in spans.items() if region % 2 and backward]
    forward, back = _hull(timed), _hull(timed_back)
    middle = grid.gutter_width("middle") if timed and timed_back else 0.0
    gutter = grid.gutter_width("column")
    grid.inner = 2 * theme.COLUMN_PAD + forward[1] - forward[0] + middle + back[1] - back[0]
    grid.pitch = grid.inner + gutter
    count = len(grid.scene.times)
    left, right = 0.0, max(count * grid.pitch - gutter, 0.0)
    grid.middle = theme.COLUMN_PAD + forward[1] - forward[0]
    base = {False: theme.COLUMN_PAD - forward[0], True: grid.middle + middle - back[0]}
    centre = right / 2
    for region in grid.rows.regions:
        if region % 2 == 0:
            f, b = spans.get((region, False), (0.0, 0.0)), spans.get((region, True), (0.0, 0.0))
            space = grid.gutter_width("band", region) if (region, False) in spans and (region, True) in spans else 0.0
            start = centre - (f[1] - f[0] + space + b[1] - b[0]) / 2
            grid.band[region] = (start - f[0], start + f[1] - f[0] + space - b[0], start + f[1] - f[0])
            left, right = min(left, start), max(right, 2 * centre - start)
    _set_boxes(grid, base, gutter)
    left = min([left, *(b.x - b.width / 2 for b in grid.scene.boxes)])
    right = max([right, *(b.x + b.width / 2 for b in grid.scene.boxes)])
    grid.far = (min(left, -gutter * bool(count)), max(right, count * grid.pitch))
    return left, right


def _set_boxes(grid: Grid, base: dict[bool, float], gutter: float) -> None:
    taken: dict[tuple[int, int], float] = defaultdict(float)
    count = len(grid.scene.times)
    for box in grid.scene.boxes:
        row = grid.rows.row[box.key]
        box.y = grid.row_y[row]
        if box.beside is not None:  # initial states, side by side where they belong to one row
            side = -1 if box.column == -1 else 1
            edge = -gutter if side < 0 else count * grid.pitch
            box.x = edge + side * (taken[side, row] + box.width / 2)
            taken[side, row] += box.width + theme.BOX_GAP
        elif box.column is None:
            box.x = grid.offset[box.key] + grid.band[grid.rows.lane[box.key][0]][box.backward]
        else:
            box.x = grid.offset[box.key] + box.column * grid.pitch + base[box.backward]


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


def _columns(grid: Grid) -> tuple[list[Column], list[Box]]:
    found: dict[tuple[int, int], Column] = {}
    outside = []
    for box in grid.scene.boxes:
        if box.column is None or box.beside is not None:
            outside.append(box)
            continue
        region = grid.rows.lane[box.key][0]
        column = found.get((region, box.column))
        if column is None:
            first, last = grid.rows.regions[region]
            x = box.column * grid.pitch
            frame = (x, grid.row_y[first - 1], x + grid.inner, grid.row_y[last + 1] + theme.BORDER / 2)
            column = found[region, box.column] = Column(grid.scene.times[box.column], region, frame)
        column.boxes.append(box)
    return [found[k] for k in sorted(found)], outside


def _shifted(
    grid: Grid, columns: list[Column], routed: list[list[Point]], extent: tuple[float, float, float]
) -> tuple[list[list[Point]], tuple[float, float]]:
    """Move the picture so that its lower left corner is the origin, for coordinates that read well."""
    dx, dy = theme.MARGIN - extent[0], theme.MARGIN
    for box in grid.scene.boxes:
        box.x, box.y = box.x + dx, box.y + dy
    for column in columns:
        a, b, c, d = column.frame
        column.frame = (a + dx, b + dy, c + dx, d + dy)
    moved = [[(x + dx, y + dy) for x, y in path] for path in routed]
    return moved, (extent[1] + dx + theme.MARGIN, extent[2] + 2 * theme.MARGIN)
