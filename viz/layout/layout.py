"""Coordinates of a scene on the time grid, in points: boxes, columns and edges. Linear in the size of the graph.

One column per time step, data upwards within it, the same quantity at the same height in all of them; see `rows` for
the regions outside of the steps, `order` for places within a row, `route` for the edges that leave their lane.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, replace

from ..scene import theme
from ..scene.scene import Box, Column, Scene
from .captions import set_labels, set_titles, title_of, title_width
from .coordinates import Coordinates, heights, located
from .curves import paths
from .delays import with_delays
from .order import LONGEST, arranged
from .route import Lane, grid_of, widths
from .rows import GridRows
from .space import Point, Room

__all__ = ["Column", "Layout", "layout"]

Key = Hashable


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
    grid = grid_of(scene, rows, *_arranged(scene, rows))
    tall = heights(grid)
    columns, outside, routed, size = _drawn(located(grid, tall))
    room = Room(scene.boxes, routed)
    crowded = set_titles(columns, room)
    if crowded:
        columns, outside, routed, size = _drawn(located(grid, tall, _room_for(crowded)))
        room = Room(scene.boxes, routed)
        set_titles(columns, room)
    scene, moved, marks = with_delays(scene, routed, room)
    set_labels(scene.links, moved, room)
    entries, size = _legend(scene, columns, moved, size)
    scene = replace(scene, boxes=[*scene.boxes, *entries])
    return Layout(scene, columns, [*outside, *marks, *entries], moved, size)


def _room_for(crowded: list[Column]) -> dict[int, float]:
    """For each phase the room that the titles of these columns need."""
    room: dict[int, float] = {}
    for column in crowded:
        phase = column.boxes[0].phase
        room[phase] = max(room.get(phase, 0.0), title_width(column.title))
    return room


def _drawn(at: Coordinates) -> tuple[list[Column], list[Box], list[list[Point]], Point]:
    """Coordinates for all but titles, labels and marks: columns, what lies outside of them, courses, size."""
    for box, (x, y) in zip(at.grid.scene.boxes, at.boxes):
        box.x, box.y = x, y
    routed = paths(at)
    along = [x for path in routed for x, _ in path]
    extent = min([at.ends[0], *along]), max([at.ends[1], *along])
    columns, outside = _columns(at)
    return columns, outside, *_shifted(at.grid.scene, columns, routed, (*extent, at.heights.whole))


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


def _columns(at: Coordinates) -> tuple[list[Column], list[Box]]:
    grid, heights, frames = at.grid, at.heights, at.frames
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
            x = frames.start[box.column]
            frame = (x, heights.row[first - 1], x + frames.inner[box.column], heights.row[last + 1] + theme.BORDER / 2)
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
    scene: Scene, columns: list[Column], routed: list[list[Point]], extent: tuple[float, float, float]
) -> tuple[list[list[Point]], tuple[float, float]]:
    """Move the picture so that its lower left corner is the origin, for coordinates that read well."""
    dx, dy = theme.MARGIN - extent[0], theme.MARGIN
    for box in scene.boxes:
        box.x, box.y = box.x + dx, box.y + dy
    for column in columns:
        a, b, c, d = column.frame
        column.frame = (a + dx, b + dy, c + dx, d + dy)
    moved = [[(x + dx, y + dy) for x, y in path] for path in routed]
    return moved, (extent[1] + dx + theme.MARGIN, extent[2] + 2 * theme.MARGIN)
