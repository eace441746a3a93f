"""DOT text of a layout: positions and curves are given, so that Graphviz only draws (``neato -n2``)."""

from __future__ import annotations

from collections.abc import Iterator

from ..layout.layout import Layout
from ..scene import theme
from ..scene.scene import Box, Column, Link
from .strokes import ILLEGAL, visible
from .strokes import coordinate as _n

__all__ = ["written"]


def written(plan: Layout) -> str:
    """The text of a layout."""
    names = {box: _quoted(box.id) for box in plan.scene.boxes}
    lines = ['digraph "graph" {', *_head(plan)]
    for column in plan.columns:
        lines += _cluster(column, names, plan.scene.palette)
    lines += [_node(box, names) for box in plan.outside]
    lines += _ellipses(plan)
    lines += [_edge(link, path, names) for link, path in zip(plan.scene.links, plan.paths)]
    return "\n".join([*lines, "}", ""])


def _head(plan: Layout) -> Iterator[str]:
    width, height = plan.size
    look = plan.scene.palette
    font = f'fontname="{theme.FONT}" fontcolor="{look.ink}"'
    page = f'outputorder="edgesfirst" bgcolor="{look.page}"'
    yield f'graph [bb="0,0,{_n(width)},{_n(height)}" {page} {font} fontsize=11];'
    yield f'node [shape=box style="rounded,filled" fixedsize=true {font} fontsize={theme.FONT_SIZE}];'
    yield f'edge [color="{look.data}" arrowsize={theme.ARROW / 10:g} {font} fontsize=12];'


def _cluster(column: Column, names: dict[Box, str], palette: theme.Palette) -> Iterator[str]:
    a, b, c, d = column.frame
    frame = palette.page if column.kind == "gap" else palette.column
    yield f'subgraph {_quoted("cluster_" + column.name)} {{'
    x, y = column.title_at
    at = f'bb="{_n(a)},{_n(b)},{_n(c)},{_n(d)}" lp="{_n(x)},{_n(y)}"'
    yield f'graph [label={_label((column.title,))} style="rounded,dashed" color="{frame}" {at}];'
    yield from (_node(box, names) for box in column.boxes)
    yield "}"


_FORMS = {
    "box": "",
    "round": " shape=circle style=filled",
    "gap": ' shape=plaintext style="" fontsize=14',
    "delay": ' shape=square style=filled fontcolor="white"',
}


def _node(box: Box, names: dict[Box, str]) -> str:
    look = box.look
    style = f'fillcolor="{look.fill}" color="{look.line}"' + (f" penwidth={look.width:g}" if look.width != 1 else "")
    size = f'width={box.width / 72:.4g} height={box.height / 72:.4g} pos="{_n(box.x)},{_n(box.y)}!"'
    return f"{names[box]} [label={_label(box.lines)} tooltip={_label((box.id,))} {size} {style}{_FORMS[box.form]}];"


def _edge(link: Link, path: list[tuple[float, float]], names: dict[Box, str]) -> str:
    (x, y), curve = path[-1], " ".join(f"{_n(u)},{_n(v)}" for u, v in path[:-1])
    look = f'pos="e,{_n(x)},{_n(y)} {curve}"'
    if link.kind != "data" or link.faded:
        look += f' color="{link.color}"'
    if link.kind in ("state", "delay", "carry"):
        look += " penwidth=2"
    elif link.kind == "saved":
        look += ' style="dashed" penwidth=0.8'
    elif link.kind == "cut":
        u, v = path[len(path) // 2]
        look += f' style="dotted" penwidth=1.6 arrowhead="tee" label="{theme.CUT_MARK}" lp="{_n(u)},{_n(v)}"'
    if link.label:
        u, v = link.label_at
        look += f' label={_label((link.label,))} lp="{_n(u)},{_n(v)}" fontsize=9'
    return f"{names[link.source]} -> {names[link.target]} [{look}];"


def _ellipses(plan: Layout) -> Iterator[str]:
    """Marks where time steps were left out."""
    if not plan.columns:
        return
    first, last = plan.columns[0].frame, plan.columns[-1].frame
    for wanted, name, x in zip(plan.scene.elided, ("before", "after"), (first[0] - 11, last[2] + 11)):
        if wanted:
            y = (first[1] + first[3]) / 2
            look = 'label="..." shape=plaintext style="" width=0.4 height=0.4 fontsize=18'
            yield f'"... {name}" [{look} pos="{_n(x)},{_n(y)}!"];'


# Any text as safe DOT -----------------------------------------------------------------------------------------------


def _quoted(identifier: str) -> str:
    """An identifier; different ones stay different."""
    safe = ILLEGAL.sub(lambda m: f"%{ord(m[0]):02X}", identifier.replace("%", "%25"))
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"').replace("&", "%26") + '"'


def _label(lines: tuple[str, ...]) -> str:
    """A label of several lines, shown letter by letter as given."""
    return '"' + "\\n".join(_escaped(line) for line in lines) + '"'


def _escaped(text: str) -> str:
    return visible(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
