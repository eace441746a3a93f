"""Coordinates of a scene on the time grid, in points: boxes, columns and edges. Linear in the size of the graph.

One column per time step, data upwards within it, the same quantity at the same height in all of them; see `rows` for
the regions outside of the steps, `order` for places within a row, `route` for the edges that leave their lane.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from ..scene import theme
from ..scene.scene import Box, Column, Scene
from .captions import label_size, set_labels, set_titles, title_of, title_width
from .curves import paths
from .delays import with_delays
from .order import LONGEST, Dummy, arranged
from .route import Grid, widths
from .rows import GridRows
from .space import Point, Room

__all__ = ["Column", "Layout", "layout"]

Key = Hashable
Lane = tuple[int, bool, int]


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
    rows = GridRows(scene)
    lanes, direct, offset = _arranged(scene, rows)
    grid = Grid(scene, rows, lanes, direct, offset)
    height = _set_heights(grid)
    columns, outside, routed, size = _drawn(grid, height)
    room = Room(scene.boxes, routed)
    crowded = set_titles(columns, room)
    if crowded:
        for column in crowded:
            phase, width = column.boxes[0].phase, title_width(column.title)
            grid.title_room[phase] = max(grid.title_room.get(phase, 0.0), width)
        columns, outside, routed, size = _drawn(grid, height)
        room = Room(scene.boxes, routed)
        set_titles(columns, room)
    scene, moved, marks = with_delays(scene, routed, room)
    set_labels(scene.links, moved, room)
    entries, size = _legend(scene, columns, moved, size)
    scene = replace(scene, boxes=[*scene.boxes, *entries])
    return Layout(scene, columns, [*outside, *marks, *entries], moved, size)


def _drawn(grid: Grid, height: float) -> tuple[list[Column], list[Box], list[list[Point]], Point]:
    """Coordinates for all but titles, labels and marks: columns, what lies outside of them, courses, size."""
    extent = _set_columns(grid)
    routed = paths(grid)
    along = [x for path in routed for x, _ in path]
    extent = min([extent[0], *along]), max([extent[1], *along])
    columns, outside = _columns(grid)
    return columns, outside, *_shifted(grid, columns, routed, (*extent, height))


def _arranged(
    scene: Scene, rows: GridRows
) -> tuple[dict[Lane, dict[int, list[Key]]], set[tuple[Key, Key]], dict[Key, float]]:
    """The rows of each lane in order, the pairs whose edges run between the boxes, and the offsets within the lane."""
    own = widths(scene)
    width = dict(own)
    for key, members in rows.units.items():
        width[key] = sum(width[m] for m in members) + theme.BOX_GAP * (len(members) - 1)
    unit_of = rows.unit_of
    fed = {k.target.key for k in scene.links if k.kind in ("state", "cut")}
    edges: dict[Lane, dict[tuple[Key, Key], None]] = defaultdict(dict)
    for link in scene.links:
        a, b = link.source, link.target
        climb = (rows.row[b.key] - rows.row[a.key]) * (-1 if a.backward else 1)
        inside = a.column == b.column and a.beside is None and b.beside is None
        if inside and rows.lane[a.key] == rows.lane[b.key] and 0 < climb <= LONGEST:
            edges[rows.lane[a.key]][unit_of.get(a.key, a.key), unit_of.get(b.key, b.key)] = None
    lanes: dict[Lane, dict[int, list[Key]]] = defaultdict(lambda: defaultdict(list))
    for key in sorted(rows.order, key=lambda key: key not in fed):  # states come in from the left
        lanes[rows.lane[key]][rows.row[key]].append(key)
    offset: dict[Key, float] = {}
    for lane, levels in lanes.items():
        offset |= arranged(levels, list(edges[lane]), rows.row, width)
    for key, members in rows.units.items():
        _spread(members, own, offset, offset[key] - width[key] / 2)
        level = lanes[rows.lane[key]][rows.row[key]]
        at = level.index(key)
        level[at : at + 1] = members
    return lanes, {pair for pairs in edges.values() for pair in pairs}, offset


def _spread(members: list[Key], width: dict[Key, float], offset: dict[Key, float], left: float) -> None:
    """Side by side from `left`."""
    for member in members:
        offset[member] = left + width[member] / 2
        left += width[member] + theme.BOX_GAP


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
    grid.gutter = max([grid.gutter_width("column"), *_labels_between(grid.scene)])
    bands = {
        (region, phase): _band(grid, spans, region, phase)
        for region in grid.rows.regions
        if region % 2 == 0
        for phase in grid.rows.phases
    }
    wide: dict[int, float] = {}
    for (_, phase), parts in bands.items():
        wide[phase] = max(wide.get(phase, 0.0), sum(parts))
    base = _set_frames(grid, spans, wide)
    left, right = 0.0, max(grid.start[-1] - grid.gutter, 0.0)
    for (region, phase), (there, space, back) in bands.items():
        start = grid.centre.get(phase, 0.0) - (there + space + back) / 2
        f, b = spans.get((region, False, phase), (0.0, 0.0)), spans.get((region, True, phase), (0.0, 0.0))
        grid.band[region, phase] = (start - f[0], start + there + space - b[0], start + there)
        left, right = min(left, start), max(right, start + there + space + back)
    _set_boxes(grid, base)
    left = min([left, *(b.x - b.width / 2 for b in grid.scene.boxes)])
    right = max([right, *(b.x + b.width / 2 for b in grid.scene.boxes)])
    grid.far = (min(left, -grid.gutter * bool(grid.scene.columns)), max(right, grid.start[-1]))
    return left, right


def _band(grid: Grid, spans: dict[Lane, tuple[float, float]], region: int, phase: int) -> tuple[float, float, float]:
    """How wide what stands outside of the steps of a phase is: forward, the space between, backward."""
    there, back = (spans.get((region, backward, phase)) for backward in (False, True))
    space = grid.gutter_width("band", (region, phase)) if there and back else 0.0
    return there[1] - there[0] if there else 0.0, space, back[1] - back[0] if back else 0.0


def _labels_between(scene: Scene) -> Iterator[float]:
    """Room for the labels of states on their way from column to column."""
    for link in scene.links:
        if link.label and link.kind == "state":
            yield label_size(link.label)[0] + 2 * theme.ARROW


def _set_frames(
    grid: Grid, spans: dict[Lane, tuple[float, float]], wide: dict[int, float]
) -> list[dict[bool, float]]:
    """Where columns begin, how wide they are, and for each the x from which the offsets of both lanes count.

    The columns of a phase keep as far from those of others as the things above and below them need, `wide`.
    """
    of: dict[int, tuple[float, float, dict[bool, float]]] = {}
    for phase in {step.phase for step in grid.scene.columns}:
        mine: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for (region, backward, p), span in spans.items():
            if region % 2 and p == phase:
                mine[backward].append(span)
        there, back = _hull(mine[False]), _hull(mine[True])
        gap = grid.gutter_width("middle") if all(mine.values()) else 0.0
        middle = theme.COLUMN_PAD + there[1] - there[0]
        base = {False: theme.COLUMN_PAD - there[0], True: middle + gap - back[0]}
        of[phase] = (middle + gap + back[1] - back[0] + theme.COLUMN_PAD, middle, base)
    end = 0.0
    grid.start, grid.inner, grid.middle, bases = [], [], [], []
    for phase, steps in groupby(grid.scene.columns, key=lambda step: step.phase):
        inner, middle, base = of[phase]
        room = grid.title_room.get(phase, 0.0)  # where edges leave none, at the left of all else
        titles = [title_width(title_of(step)) for step in steps]
        shifts = [room + max(title - inner - room, 0.0) / 2 for title in titles]
        widths = [max(inner + room, title) for title in titles]
        whole = sum(widths) + grid.gutter * (len(widths) - 1)
        over = max(wide.get(phase, 0.0) - whole, 0.0) / 2
        x = 0.0
        if grid.start:
            grid.between[phase] = end
            x = end + grid.gutter + max(theme.PHASE_GAP, grid.gutter_width("phase", phase)) + over
        grid.centre[phase], end = x + whole / 2, x + whole + over
        for shift, width in zip(shifts, widths):
            grid.start.append(x)
            grid.inner.append(width)
            grid.middle.append(middle + shift)
            bases.append({backward: x0 + shift for backward, x0 in base.items()})
            x += width + grid.gutter
    grid.start.append(x if grid.start else 0.0)
    return bases


def _set_boxes(grid: Grid, base: list[dict[bool, float]]) -> None:
    taken: dict[tuple[int, int], float] = defaultdict(float)
    for box in grid.scene.boxes:
        row = grid.rows.row[box.key]
        box.y = grid.row_y[row]
        if box.beside is not None:  # initial states, side by side where they belong to one row
            side = -1 if box.column == -1 else 1
            edge = -grid.gutter if side < 0 else grid.start[-1]
            box.x = edge + side * (taken[side, row] + box.width / 2)
            taken[side, row] += box.width + theme.BOX_GAP
        elif box.column is None:
            box.x = grid.offset[box.key] + grid.band[grid.rows.lane[box.key][::2]][box.backward]
        else:
            box.x = grid.offset[box.key] + grid.start[box.column] + base[box.column][box.backward]


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
            x = grid.start[box.column]
            frame = (x, grid.row_y[first - 1], x + grid.inner[box.column], grid.row_y[last + 1] + theme.BORDER / 2)
            step = grid.scene.columns[box.column]
            column = Column(step.times[0], region, frame, title=title_of(step), kind=step.kind)
            found[region, box.column] = column
            more = [f"loop{step.phase + 1}"] * (step.phase > 0) + [str(region // 2 + 1)] * (region != 1)
            column.name = "_".join([f"t{step.times[0]}", *more])
        column.boxes.append(box)
    return [found[k] for k in sorted(found)], outside


def _legend(
    scene: Scene, columns: list[Column], routed: list[list[Point]], size: tuple[float, float]
) -> tuple[list[Box], tuple[float, float]]:
    """What the colours mean, in rows below the picture, which moves up for it."""
    x, rows, entries = theme.MARGIN, 1, []
    for n, (text, look) in enumerate(scene.legend):
        width = theme.BOX_PAD + theme.CHAR * len(text)
        if x > theme.MARGIN and x + width > max(size[0], theme.LEGEND_WIDTH) - theme.MARGIN:
            x, rows = theme.MARGIN, rows + 1
        entries.append(Box(
            None, f"legend/{n + 1}", ("legend", n), None, False, look=look, lines=(text,), width=width,
            height=theme.LINE_HEIGHT + 8, x=x + width / 2, y=-rows * theme.LEGEND_HEIGHT,
        ))  # fmt: skip
        x += width + theme.BOX_GAP
    if not entries:
        return [], size
    height = (rows + 1) * theme.LEGEND_HEIGHT
    _lift([*scene.boxes, *entries], columns, routed, height)
    for link in scene.links:
        link.label_at = (link.label_at[0], link.label_at[1] + height)
    right = max(box.x + box.width / 2 for box in entries) + theme.MARGIN
    return entries, (max(size[0], right), size[1] + height)


def _lift(boxes: list[Box], columns: list[Column], routed: list[list[Point]], height: float) -> None:
    for box in boxes:
        box.y += height
    for c in columns:
        c.frame = (c.frame[0], c.frame[1] + height, c.frame[2], c.frame[3] + height)
        c.title_at = (c.title_at[0], c.title_at[1] + height)
    for n, path in enumerate(routed):
        routed[n] = [(x, y + height) for x, y in path]


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
