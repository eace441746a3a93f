"""Coordinates of a scene on the time grid, in points: boxes, columns and the course of every edge. Linear in the size of the graph.

One column per time step, data upwards within it, the same quantity at the same height in all of them; see `rows` for the regions
outside of the steps, `order` for places within a row, and `route` for the edges that leave their lane.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from . import theme
from .order import LONGEST, Dummy, arranged
from .route import Channel, Course, Router, corners, curve
from .rows import Rows
from .scene import Box, Link, Scene

__all__ = ["Column", "Layout"]

Key = Hashable
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Column:
    """The frame of one time step: left, bottom, right, top."""

    time: int
    frame: tuple[float, float, float, float]
    boxes: list[Box]
    part: int  # 0, or 1, 2, ... where steps follow again above what was computed from the first


class Layout:
    """Where everything of a scene stands.

    Attributes
    ----------
    columns : list of Column
    outside : list of Box
        What belongs to no column.
    paths : list of list of point
        For each link of the scene the Bézier control points, the tip of the arrow last.
    size : tuple of float
        Width and height; all coordinates are positive.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.rows = Rows(scene)
        self._arrange()
        router = Router(scene, self.rows, self.offset, self.occupied, self.direct)
        self.courses = [router.course(link) for link in scene.links]
        self.tracks = router.tracks
        self._set_heights()
        self._set_columns()
        self._set_boxes()
        self._set_frames()
        self.paths = self._paths()

    def _arrange(self) -> None:
        """Order and offset of the boxes within their lanes; `direct` holds the pairs whose edges run between the boxes."""
        rows, lane, row = self.rows, self.rows.lane, self.rows.row
        width = {box.key: box.width for box in self.scene.boxes}
        fed = {k.target.key for k in self.scene.links if k.kind in ("state", "cut")}
        edges: dict[tuple[int, bool], dict[tuple[Key, Key], None]] = defaultdict(dict)
        for k in self.scene.links:
            a, b = k.source, k.target
            climb = (row[b.key] - row[a.key]) * (-1 if a.backward else 1)
            if a.column == b.column and a.beside is None and lane[a.key] == lane[b.key] and 0 < climb <= LONGEST:
                edges[lane[a.key]][a.key, b.key] = None
        members: dict[tuple[int, bool], dict[int, list[Key]]] = defaultdict(lambda: defaultdict(list))
        for key in sorted(rows.order, key=lambda key: key not in fed):  # states come in from the left
            for r in range(*self._span(lane[key])):
                members[lane[key]][r]  # noqa: B018
            members[lane[key]][row[key]].append(key)
        self.offset: dict[Key, float] = {}
        self.occupied: dict[tuple[int, bool], dict[int, list[Key]]] = members
        self.direct = {pair for pairs in edges.values() for pair in pairs}
        for which, levels in members.items():
            self.offset |= {(which, k) if isinstance(k, Dummy) else k: x for k, x in arranged(levels, list(edges[which]), row, width).items()}
        self.width = width

