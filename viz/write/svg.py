"""SVG text of a layout, without any renderer: every coordinate is known.

Colours are attributes, which every viewer understands; a style sheet turns them over for readers who prefer dark
pages. It names colours of the theme only: a colour that stands for a number keeps its meaning. Arrowheads are shapes
of their own, for references to markers would reach across the pictures of one page.
"""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Iterator
from html import escape
from math import hypot
from urllib.parse import quote

from ..layout.layout import Layout
from ..layout.space import Point
from ..scene import theme
from ..scene.scene import Box, Column, Link
from ..scene.theme import Palette
from .strokes import STROKES, ink, is_output, kind_of, label_of, label_place, looks, marks, visible, width_of
from .strokes import coordinate as _n

__all__ = ["dark", "written"]

FONTS = f"{theme.FONT}, Arial, 'Liberation Sans', sans-serif"  # of the same widths
ROUND = 5.0  # radius of a box's corners


def written(plan: Layout) -> str:
    """The picture as SVG text: a pure function of the layout.

    Groups have the classes that Graphviz gives them (cluster, edge, node), and those of their kind and look. A node's
    `id` is ``node-`` and its stable path; an edge names the ids of its ends in ``data-source`` and ``data-target``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.viz.write import svg
    >>> from tinygrad_rnn.viz.scene.build import scene
    >>> from tinygrad_rnn.viz.layout.layout import layout
    >>> y = tg.tanh(tg.tensor([1.0, 2.0], name="x")).named("y")
    >>> print(svg.written(layout(scene(tg.graph(y)))).splitlines()[1])
    <title>Graph of y</title>
    """
    names, palette = looks(plan), plan.scene.palette
    ids = {box: f"node-{quote(box.id, errors='surrogatepass')}" for box in plan.scene.boxes}
    colours = {look: ink(look.fill, palette) for look in names}
    inside = [
        _tag("rect", 'class="paper" width="100%" height="100%"', palette.page),
        *(line for column in plan.columns for line in _cluster(column, plan.size[1], palette)),
        *(_edge(link, path, ids, plan.size[1], palette) for link, path in zip(plan.scene.links, plan.paths)),
        *(_node(box, ids[box], names[box.look], colours[box.look], plan.size[1], palette) for box in plan.scene.boxes),
        *(_text("⋯", x, plan.size[1] - y, palette.ink, 'class="mark" font-size="18"') for x, y in marks(plan)),
    ]
    style = _style(plan)
    return "\n".join([*_head(plan, f"tg-{zlib.crc32(style.encode()):08x}", style), *inside, "</svg>", ""])


def _head(plan: Layout, scope: str, style: str) -> Iterator[str]:
    width, height = (_n(length) for length in plan.size)
    size = f'width="{width}pt" height="{height}pt" viewBox="0 0 {width} {height}"'
    font = f'font-family="{escape(FONTS)}" font-size="{theme.FONT_SIZE}" text-anchor="middle"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" class="{scope}" {font} xml:space="preserve">'
    yield f"<title>{_xml(_title(plan))}</title>"
    yield f"<desc>{_xml(_description(plan))}</desc>"
    yield f"<style>{style.replace('&', '.' + scope)}</style>"


def _title(plan: Layout) -> str:
    ends = [box.id for box in plan.scene.boxes if is_output(box.look)]
    more = f" and {len(ends) - 3} more" if len(ends) > 3 else ""
    return f"Graph of {', '.join(ends[:3])}{more}" if ends else "Graph"


def _description(plan: Layout) -> str:
    boxes, links = len(plan.scene.boxes), plan.scene.links
    times = [t for step in plan.scene.columns for t in step.times]
    states = sum(link.kind in ("state", "delay") for link in links)
    said = f"{boxes} boxes and {len(links)} edges"
    if times:
        said += f" in {len(times)} time steps, {min(times)} to {max(times)}; {states} edges carry states between them"
    return f"{said}."


# Shapes -------------------------------------------------------------------------------------------------------------


def _cluster(column: Column, height: float, palette: Palette) -> Iterator[str]:
    a, b, c, d = column.frame
    place = f'x="{_n(a)}" y="{_n(height - d)}" width="{_n(c - a)}" height="{_n(d - b)}" rx="12"'
    yield '<g class="cluster">'
    if column.kind != "gap":
        yield _tag("rect", f'{place} stroke="{palette.column}" stroke-dasharray="5 2"', "none")
    x, y = column.title_at
    yield _text(column.title, x, height - y, palette.ink, 'font-size="11"')
    yield "</g>"


def _node(box: Box, name: str, look: str, colour: str, height: float, palette: Palette) -> str:
    x, y = box.x, height - box.y
    parts = [f'<g id="{name}" class="node {box.form} {look}"><title>{_xml(box.id)}</title>', _shape(box, x, y, palette)]
    if box.form in ("delay", "gap"):
        colour = palette.ink
    if box.form == "delay":
        y -= box.height / 2 + 3 + theme.LINE_HEIGHT * len(box.lines) / 2
    signs = box.form == "round" and len(box.lines) == 1 and len(box.lines[0]) < 3
    size = theme.FONT_SIZE + 3 if signs else theme.FONT_SIZE
    top = y - theme.LINE_HEIGHT * (len(box.lines) - 1) / 2
    room = box.width - 4 if box.form == "box" else float("inf")
    paint = f'fill="{colour}"' if colour == palette.ink else f'style="fill:{colour}"'  # the latter stays on dark pages
    for k, line in enumerate(box.lines):
        fit = f'textLength="{_n(room)}" lengthAdjust="spacingAndGlyphs"' if width_of(line, size) > room else ""
        parts.append(_text(line, x, top + theme.LINE_HEIGHT * k, paint, fit, size))
    return "\n".join([*(part for part in parts if part), "</g>"])


def _shape(box: Box, x: float, y: float, palette: Palette) -> str:
    w, h, look = box.width, box.height, box.look
    if box.form == "gap":
        return ""
    line = f'stroke="{look.line}"' + (f' stroke-width="{look.width:g}"' if look.width != 1 else "")
    if box.form == "round":
        return _tag("circle", f'cx="{_n(x)}" cy="{_n(y)}" r="{_n(min(w, h) / 2)}" {line}', look.fill)
    place = f'x="{_n(x - w / 2)}" y="{_n(y - h / 2)}" width="{_n(w)}" height="{_n(h)}"'
    if box.form == "delay":
        return _tag("rect", place, palette.ink)
    return _tag("rect", f'{place} rx="{ROUND:g}" {line}', look.fill)


def _edge(link: Link, path: list[Point], ids: dict[Box, str], height: float, palette: Palette) -> str:
    points = [(x, height - y) for x, y in path]
    pen = STROKES[kind_of(link)]
    line = f'stroke="{link.color}" stroke-width="{pen.width:g}"'
    dashes = ' stroke-dasharray="{:g} {:g}"'.format(*pen.dashes) if pen.dashes else ""
    ends = f'data-source="{ids[link.source]}" data-target="{ids[link.target]}"'
    parts = [
        f'<g class="edge {escape(link.kind)}" {ends}>',
        f"<title>{_xml(link.source.id)} → {_xml(link.target.id)}</title>",
        _tag("path", f'd="{_course(points[:-1])}" {line}{dashes}', "none"),
        _tag("path", f'd="{_tee(points)}" {line}', "none") if pen.tee
        else _tag("path", f'd="{_arrow(points, 1.9 + 0.6 * pen.width)}"', link.color),
    ]  # fmt: skip
    if label_of(link):
        x, y = label_place(link, path)
        halo = f'class="label" stroke="{palette.page}" stroke-width="3" paint-order="stroke"'
        parts.append(_text(label_of(link), x, height - y, palette.ink, halo, 9 if link.label else 12))
    return "\n".join([*parts, "</g>"])


def _course(points: list[Point]) -> str:
    """Bézier curves, and lines where they are straight."""
    x, y = points[0]
    parts = [f"M{_n(x)} {_n(y)}"]
    for k in range(1, len(points), 3):
        (a, b), (c, d), (u, v) = points[k : k + 3]
        if x == a == c == u:
            parts.append(f"V{_n(v)}")
        elif y == b == d == v:
            parts.append(f"H{_n(u)}")
        else:
            parts.append(f"C{_n(a)} {_n(b)} {_n(c)} {_n(d)} {_n(u)} {_n(v)}")
        x, y = u, v
    return "".join(parts)


def _arrow(points: list[Point], half: float) -> str:
    (x, y), (u, v) = points[-2:]
    across = half / (hypot(u - x, v - y) or 1.0)
    p, q = (v - y) * across, (x - u) * across
    return f"M{_n(u)} {_n(v)}L{_n(x + p)} {_n(y + q)}L{_n(x - p)} {_n(y - q)}Z"


def _tee(points: list[Point]) -> str:
    """The rest of the line, with a bar across shortly before its end."""
    (x, y), (u, v) = points[-2:]
    across = 4.0 / (hypot(u - x, v - y) or 1.0)
    p, q = (v - y) * across, (x - u) * across
    s, t = (x + 2 * u) / 3, (y + 2 * v) / 3
    return f"M{_n(x)} {_n(y)}L{_n(s)} {_n(t)}M{_n(s + p)} {_n(t + q)}L{_n(s - p)} {_n(t - q)}"


def _text(line: str, x: float, y: float, paint: str, more: str, size: float = 11) -> str:
    """A line of text whose capitals stand about `y`."""
    if size != theme.FONT_SIZE and "font-size" not in more:
        more = f'font-size="{size:g}" {more}'
    paint = paint if "=" in paint else f'fill="{paint}"'
    return f'<text x="{_n(x)}" y="{_n(y + 0.35 * size)}" {paint} {more}'.rstrip() + f">{_xml(line)}</text>"


def _tag(name: str, attributes: str, fill: str) -> str:
    return f'<{name} {attributes} fill="{fill}"/>'


def _xml(text: str) -> str:
    return escape(visible(text))


# Colours ------------------------------------------------------------------------------------------------------------


def _style(plan: Layout) -> str:
    """Rules that keep spaces and replace the theme's colours; ``&`` stands for the picture's class."""
    palette = plan.scene.palette
    keep = "& text{white-space:pre}"
    if palette != theme.LIGHT:  # a theme that was asked for stays
        return keep
    paper = dark(palette.page)
    used = {palette.ink, palette.column, *(link.color for link in plan.scene.links)}
    used.update(colour for look in looks(plan) for colour in look[:2])
    turned = [
        f'& [{paint}="{colour}"]{{{paint}:{dark(colour)}}}'
        for colour in dict.fromkeys(_colours(palette))
        if colour in used
        for paint in ("fill", "stroke")
    ]
    rules = f"& .paper{{fill:{paper}}}& .label{{stroke:{paper}}}{''.join(turned)}"
    return f"{keep}@media (prefers-color-scheme: dark){{{rules}}}"


def _colours(p: Palette) -> list[str]:
    pairs = [colour for look in (*p.fills.values(), *p.states, *p.gates) for colour in look[:2]]
    return [*pairs, p.ink, p.data, p.saved, p.cut, p.column, p.backward_state, p.lit]


def dark(colour: str) -> str:
    """The colour of the same hue that stands out from black as this one does from white."""
    hue, light, saturation = colorsys.rgb_to_hls(*(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)))
    turned = 0.09 + 0.5 * (1 - light) if light > 0.75 else max(0.95 - 0.86 * light, 0.55)  # a surface, or a line
    return "#" + "".join(f"{round(255 * c):02x}" for c in colorsys.hls_to_rgb(hue, turned, min(saturation, 0.75)))
