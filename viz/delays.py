"""The black squares of recurrent graphs: on the way back to its own column a state waits for a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from . import theme
from .scene import Box, Link, Scene

__all__ = ["with_delays"]

Point = tuple[float, float]
Path = list[Point]


def with_delays(scene: Scene, paths: list[Path]) -> tuple[Scene, list[Path], list[Box]]:
    """Cut the edges of kind delay in two by a mark, which all edges of the same state and the same delay share."""
    marks: dict[tuple[Box, int], Box] = {}
    links: list[Link] = []
    found: list[Path] = []
    for link, path in zip(scene.links, paths):
        parts = list(_cut(link, path, marks, scene.palette)) if link.kind == "delay" else [(link, path)]
        links += [part for part, _ in parts]
        found += [way for _, way in parts]
    return replace(scene, boxes=[*scene.boxes, *marks.values()], links=links), found, list(marks.values())


def _cut(
    link: Link, path: Path, marks: dict[tuple[Box, int], Box], palette: theme.Palette
) -> Iterator[tuple[Link, Path]]:
    """The way to the mark, if nobody has drawn it yet, and the way from there."""
    curve, tip = path[:-1], path[-1]
    at = next(k for k in range(0, len(curve) - 1, 3) if abs(curve[k + 3][0] - curve[k][0]) > theme.DELAY * 3)
    (x, y), (u, _) = curve[at], curve[at + 3]
    side = 1 if u > x else -1
    mark = marks.get((link.source, link.delay))
    if mark is None:
        mark = _mark(link, (x + u) / 2, y, len(marks) + 1, palette)
        marks[link.source, link.delay] = mark
        start = (mark.x - side * mark.width / 2, y)
        stop = (start[0] - side * theme.ARROW, y)
        yield replace(link, target=mark), [*curve[: at + 1], *_straight((x, y), stop), start]
    end = (mark.x + side * mark.width / 2, y)
    yield replace(link, source=mark, label=""), [end, *_straight(end, curve[at + 3]), *curve[at + 4 :], tip]


def _mark(link: Link, x: float, y: float, number: int, palette: theme.Palette) -> Box:
    size = theme.DELAY if link.delay == 1 else theme.DELAY * 2
    text = (str(link.delay),) if link.delay > 1 else ()
    return Box(
        None, f"delay{number}", ("delay", number), None, link.source.backward, look=palette.fills["mark"], lines=text,
        form="delay", width=size, height=size, x=x, y=y, phase=link.source.phase,
    )  # fmt: skip


def _straight(a: Point, b: Point) -> Path:
    (x, y), (u, v) = a, b
    return [(x + (u - x) / 3, y + (v - y) / 3), (x + (u - x) * 2 / 3, y + (v - y) * 2 / 3), b]
