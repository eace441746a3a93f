"""A layout as one self-contained HTML page, to look around in: a pure function of the layout and of the user's code.

What comes from the user stands in two blocks of JSON alone, and the page sets it as text. The page's own script and
styles are let in by their digests; its policy forbids all others, and every connection.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from ..layout.layout import Layout
from ..layout.space import Point
from ..scene import theme
from ..scene.contrast import NIGHT, PAPER, dark_fill, dark_line, inks
from ..scene.scene import Box, Link
from .details import brief, details
from .frames import Frame, frames
from .strokes import label_of, label_place

__all__ = ["written"]

_VIZ = __name__.rsplit(".", 2)[0]  # the package that the assets lie in
SCRIPTS = ("graph", "draw", "camera", "light", "panel", "outline", "search", "play", "main")
BRIEFS = 60  # of the tensors that are drawn as one box, those that are told of
_MARK = re.compile(r"\{\{(\w+)\}\}")
_UNSAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_ILLEGAL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_KINDS = {
    "data": "value",
    "state": "state, to another step",
    "saved": "value kept for the gradient",
    "cut": "cut: no gradient passes",
    "delay": "state, to the next step",
    "carry": "state, within a step",
}


def written(plan: Layout, *, title: str) -> str:
    """The page of a layout, as HTML text."""
    shown = frames(plan)
    boxes = [box for frame in shown for box in frame.boxes]
    looks, edges = _looks(boxes), _edges(plan.scene.links)
    style = _asset("page.css") + _colors(looks, edges)
    script = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}\n}})();'
    parts = {
        "title": html.escape(_ILLEGAL.sub("\ufffd", title)),
        "policy": f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'",
        "style": style,
        "graph": _json(_graph(plan, title, shown, boxes, looks, edges)),
        "details": _json([_told(box) for box in boxes]),
        "script": script,
    }
    return _MARK.sub(lambda m: parts[m[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return (files(_VIZ) / "assets" / name).read_text("utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _json(value: Any) -> str:
    """JSON of plain letters, in which no text can end the element that it stands in."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).translate(_UNSAFE)


# Geometry -----------------------------------------------------------------------------------------------------------


def _graph(
    plan: Layout, title: str, shown: list[Frame], boxes: list[Box], looks: dict[Any, int], edges: dict[Any, int]
) -> dict[str, Any]:
    index = {box: k for k, box in enumerate(boxes)}
    columns = {box: k for k, column in enumerate(plan.columns) for box in column.boxes}
    height = plan.size[1]
    return {
        "title": title,
        "steps": sum(len(step.times) for step in plan.scene.columns),
        "size": [_n(v) for v in plan.size],
        "boxes": [_box(box, plan, columns.get(box), height, looks) for box in boxes],
        "links": [
            [index[link.source], index[link.target], edges[link.kind, link.color], *_edge(link, path, height)]
            for link, path in zip(plan.scene.links, plan.paths)
        ],
        "edges": [kind if kind in _KINDS else "data" for kind, _ in edges],
        "columns": [
            {
                "title": column.title,
                "at": [_n(column.title_at[0]), _n(height - column.title_at[1])],
                "gap": column.kind == "gap",
                "frame": [_n(left), _n(height - high), _n(right - left), _n(high - low)],
            }
            for column in plan.columns
            for left, low, right, high in (column.frame,)
        ],
        "frames": [[f.title, len(f.boxes), f.backward] for f in shown],
        "legend": _legend(boxes, looks, edges, plan.scene.palette),
    }


def _box(box: Box, plan: Layout, column: int | None, height: float, looks: dict[Any, int]) -> dict[str, Any]:
    node = box.node
    return {
        "id": box.id,
        "name": node.name if node is not None else None,
        "op": node.op.name if node is not None else None,
        "shape": list(node.shape) if node is not None else None,
        "at": [_n(box.x), _n(height - box.y), _n(box.width), _n(box.height)],
        "lines": list(box.lines),
        "look": looks[box.look],
        "form": box.form,
        "time": None if column is None else plan.columns[column].time,
        "backward": box.backward,
        "scope": list(box.scope or (node.scope if node is not None else ())),
        "count": max(len(box.members), 1),
    }


def _edge(link: Link, path: list[Point], height: float) -> tuple[str, list[float], str, list[float]]:
    """The data of an SVG path, the two ends of its arrowhead, its text, and where that stands."""
    text = label_of(link)
    at = label_place(link, path) if text else (0.0, 0.0)
    points = [(_n(x), _n(height - y)) for x, y in path]
    *curve, tip = points
    parts = [f"M{_pair(curve[0])}"]
    for k in range(1, len(curve) - 2, 3):
        a, b, c, d = curve[k - 1 : k + 3]
        straight = _beside(b, a, d) and _beside(c, a, d)
        parts.append(f"L{_pair(d)}" if straight else f"C{_pair(b)} {_pair(c)} {_pair(d)}")
    return "".join(parts), [*curve[-1], *tip], text, [_n(at[0]), _n(height - at[1])] if text else []


def _beside(p: Point, a: Point, b: Point) -> bool:
    """Whether p lies within a twentieth of a point of the line from a to b."""
    across = (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])
    return abs(across) <= 0.05 * (abs(b[0] - a[0]) + abs(b[1] - a[1]))


def _pair(point: Point) -> str:
    return ",".join(f"{v:.1f}".removesuffix(".0") for v in point)


def _n(value: float) -> float:
    return round(float(value), 1) + 0.0  # without a negative zero


# Colours and their meaning ------------------------------------------------------------------------------------------


def _looks(boxes: Iterable[Box]) -> dict[Any, int]:
    return {look: k for k, look in enumerate(dict.fromkeys(box.look for box in boxes))}


def _edges(links: Iterable[Link]) -> dict[Any, int]:
    return {edge: k for k, edge in enumerate(dict.fromkeys((link.kind, link.color) for link in links))}


def _colors(looks: dict[Any, int], edges: dict[Any, int]) -> str:
    """The styles of all colours that occur, for both themes."""
    rules = [f":root{{--paper:{PAPER}}}[data-theme=dark]{{--paper:{NIGHT}}}"]
    for look, k in looks.items():
        night = dark_fill(look.fill)
        rules.append(f".k{k}{{{_inked(look.fill, look.line)};--w:{look.width:g}}}")
        rules.append(f"[data-theme=dark] .k{k}{{{_inked(night, dark_line(look.line))}}}")
    for (_, color), k in edges.items():
        rules.append(f".e{k}{{--l:{color}}}[data-theme=dark] .e{k}{{--l:{dark_line(color)}}}")
    return "\n".join(rules) + "\n"


def _inked(fill: str, line: str) -> str:
    ink, lesser = inks(fill)
    return f"--f:{fill};--l:{line};--t:{ink};--m:{lesser}"


def _legend(
    boxes: list[Box], looks: dict[Any, int], edges: dict[Any, int], palette: theme.Palette
) -> dict[str, Any]:
    """What each look and each kind of edge stands for."""
    kinds = {(fill.fill, fill.line): name for name, fill in palette.fills.items()}
    states = {(fill.fill, fill.line) for fill in palette.states}
    gates = {(fill.fill, fill.line) for fill in palette.gates}
    meanings: dict[str, int] = {}
    for box in boxes:
        colors = box.look.fill, box.look.line
        if colors in kinds:
            meanings.setdefault(theme.MEANINGS.get(kinds[colors], kinds[colors]), looks[box.look])
        elif colors in gates and box.node is not None and box.node.name:
            meanings.setdefault(f"gate {box.node.name}", looks[box.look])
        elif colors in states and box.node is not None and box.node.name and not box.node.is_leaf:
            meanings.setdefault(f"state {box.node.name}", looks[box.look])
    lines = {_KINDS[kind]: k for (kind, _), k in reversed(edges.items()) if kind in _KINDS}
    return {"boxes": list(meanings.items()), "edges": list(reversed(lines.items()))}


# Words --------------------------------------------------------------------------------------------------------------


def _told(box: Box) -> dict[str, Any] | None:
    """What the panel tells of a box, and briefly of the others that are drawn as it."""
    if box.node is None:
        return None
    others = [t for t in box.members if t is not box.node]
    return {**details(box.node), "others": [brief(t) for t in others[:BRIEFS]], "left": len(others[BRIEFS:])}
