"""The black squares of recurrent graphs: on the way back to its own column a state waits for a step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from ..scene import theme
from ..scene.scene import Box, Link, Scene
from .space import Point, Room

__all__ = ["with_delays"]

Path = list[Point]


def with_delays(scene: Scene, paths: list[Path], room: Room) -> tuple[Scene, list[Path], list[Box]]:
    """Cut the edges of kind delay in two by a mark, which all edges of the same state and the same delay share."""
    marks: dict[tuple[Box, int, bool], list[Box]] = defaultdict(list)
    links: list[Link] = []
    found: list[Path] = []
    for link, path in zip(scene.links, paths):
        parts = list(_cut(link, path, marks, scene.palette, room)) if link.kind == "delay" else [(link, path)]
        links += [part for part, _ in parts]
        found += [way for _, way in parts]
    made = [mark for shared in marks.values() for mark in shared]
    for n, mark in enumerate(made):
        mark.id, mark.key = f"delay{n + 1}", ("delay", n + 1)
    return replace(scene, boxes=[*scene.boxes, *made], links=links), found, made


def _cut(
    link: Link, path: Path, marks: dict[tuple[Box, int, bool], list[Box]], palette: theme.Palette, room: Room
) -> Iterator[tuple[Link, Path]]:
    """The way to the mark, if nobody has drawn it yet, and the way from there."""
    curve, tip = path[:-1], path[-1]
    made = marks[link.source, link.delay, link.leftward]
    shared = next(_shared(curve, made), None)
    at, mark = shared or _place(link, curve, palette, room)
    (x, y), (u, _) = curve[at], curve[at + 3]
    side = 1 if u > x else -1
    if shared is None:
        made.append(mark)
        start = (mark.x - side * mark.width / 2, y)
        stop = (start[0] - side * theme.ARROW, y)
        yield replace(link, target=mark), [*curve[: at + 1], *_straight((x, y), stop), start]
    end = (mark.x + side * mark.width / 2, y)
    yield replace(link, source=mark, label=""), [end, *_straight(end, curve[at + 3]), *curve[at + 4 :], tip]


def _shared(curve: Path, marks: list[Box]) -> Iterator[tuple[int, Box]]:
    """The level part that another edge has its mark on, and the mark."""
    for k, x, u in _levels(curve, 0):
        for mark in marks:
            if abs(curve[k][1] - mark.y) < 0.01 and min(x, u) < mark.x < max(x, u):
                yield k, mark


def _place(link: Link, curve: Path, palette: theme.Palette, room: Room) -> tuple[int, Box]:
    """Which level part of a curve has room for a mark, and the mark: best on the first one, in its middle."""
    mark = _mark(link, palette)
    size = mark.width + 2, mark.height + 2
    far = mark.width / 2 + theme.ARROW + 2
    levels = list(_levels(curve, 2 * far)) or sorted(_levels(curve, 0), key=lambda e: -abs(e[2] - e[1]))
    k, x, u = levels[0]
    at = k, (x + u) / 2
    for k, x, u in levels:
        y = curve[k][1]
        if room.is_free(((x + u) / 2, y), size, y):
            at = k, (x + u) / 2
            break
        free = room.slot(min(x, u) + far, max(x, u) - far, y, size, y)
        if free is not None:
            at = k, free
            break
    mark.x, mark.y = at[1], curve[at[0]][1]
    room.put((mark.x, mark.y), (mark.width, mark.height))
    return at[0], mark


def _levels(curve: Path, least: float) -> Iterator[tuple[int, float, float]]:
    for k in range(0, len(curve) - 1, 3):
        (x, y), (u, v) = curve[k], curve[k + 3]
        if abs(u - x) > least and abs(y - v) < 0.01:
            yield k, x, u


def _mark(link: Link, palette: theme.Palette) -> Box:
    size = theme.DELAY if link.delay == 1 else theme.DELAY * 2
    text = (str(link.delay),) if link.delay > 1 else ()
    return Box(
        None, "delay", "delay", None, link.source.backward, look=palette.fills["mark"], lines=text, form="delay",
        width=size, height=size, phase=link.source.phase,
    )  # fmt: skip


def _straight(a: Point, b: Point) -> Path:
    (x, y), (u, v) = a, b
    return [(x + (u - x) / 3, y + (v - y) / 3), (x + (u - x) * 2 / 3, y + (v - y) * 2 / 3), b]
