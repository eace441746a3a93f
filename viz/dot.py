"""DOT text of a layout: positions and curves are given, so that Graphviz only draws (``neato -n2``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..graph import Graph
from ..tensor import Tensor
from . import theme
from .layout import Column, Layout, layout
from .scene import Box, Link, scene
from .text import label, quoted

__all__ = ["to_dot", "written"]


def to_dot(x: Tensor | Sequence[Tensor] | Graph, *, steps: tuple[int, int] | None = None) -> str:
    """The picture of a graph as DOT text, with all coordinates: a pure function of the graph.

    Parameters
    ----------
    x : Tensor, sequence of Tensor, or Graph
        What to draw, with everything that it was computed from.
    steps : tuple of int, optional
        First and last time step to draw; the others are left out.

    Returns
    -------
    str
        To be drawn by ``neato -n2`` or ``dot -Kneato -n2``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0], name="x")
    >>> text = tg.viz.to_dot(tg.tanh(x).named("y"))
    >>> print(text.splitlines()[-2])
    "x" -> "y" [pos="e,35,74 35,50 35,58.1 35,59.9 35,68"];
    """
    return written(layout(scene(x, steps)))


def written(plan: Layout) -> str:
    """The text of a layout."""
    names = _names(plan.scene.boxes)
    lines = ['digraph "graph" {', *_head(plan)]
    for column in plan.columns:
        lines += _cluster(column, names)
    lines += [_node(box, names) for box in plan.outside]
    lines += _ellipses(plan)
    lines += [_edge(link, path, names) for link, path in zip(plan.scene.links, plan.paths)]
    return "\n".join([*lines, "}", ""])


def _names(boxes: list[Box]) -> dict[int, str]:
    return {box.node.serial: quoted(box.id) for box in boxes}


def _head(plan: Layout) -> Iterator[str]:
    width, height = plan.size
    font = f'fontname="{theme.FONT}" fontcolor="{theme.INK}"'
    yield f'graph [bb="0,0,{_n(width)},{_n(height)}" outputorder="edgesfirst" bgcolor="white" {font} fontsize=11];'
    yield f'node [shape=box style="rounded,filled" fixedsize=true {font} fontsize={theme.FONT_SIZE}];'
    yield f'edge [color="{theme.DATA}" arrowsize={theme.ARROW / 10:g} {font} fontsize=12];'


def _cluster(column: Column, names: dict[int, str]) -> Iterator[str]:
    a, b, c, d = column.frame
    suffix = "" if column.region == 1 else f"_{column.region // 2 + 1}"
    title = f"t = {column.time}"
    yield f'subgraph "cluster_t{column.time}{suffix}" {{'
    at = f'bb="{_n(a)},{_n(b)},{_n(c)},{_n(d)}" lp="{_n(a + 10 + 3.2 * len(title))},{_n(d - 11)}"'
    yield f'graph [label="{title}" style="rounded,dashed" color="{theme.COLUMN}" {at}];'
    yield from (_node(box, names) for box in column.boxes)
    yield "}"


def _node(box: Box, names: dict[int, str]) -> str:
    look = box.look
    style = f'fillcolor="{look.fill}" color="{look.line}"' + (f" penwidth={look.width:g}" if look.width != 1 else "")
    size = f'width={box.width / 72:.4g} height={box.height / 72:.4g} pos="{_n(box.x)},{_n(box.y)}!"'
    name = names[box.node.serial]
    return f"{name} [label={label(box.lines)} tooltip={label((box.id,))} {size} {style}];"


def _edge(link: Link, path: list[tuple[float, float]], names: dict[int, str]) -> str:
    (x, y), curve = path[-1], " ".join(f"{_n(u)},{_n(v)}" for u, v in path[:-1])
    look = f'pos="e,{_n(x)},{_n(y)} {curve}"'
    if link.kind != "data":
        look += f' color="{link.color}"'
    if link.kind == "state":
        look += " penwidth=2"
    elif link.kind == "saved":
        look += ' style="dashed" penwidth=0.8'
    elif link.kind == "cut":
        u, v = path[len(path) // 2]
        look += f' style="dotted" penwidth=1.6 arrowhead="tee" label="{theme.CUT_MARK}" lp="{_n(u)},{_n(v)}"'
    return f"{names[link.source.node.serial]} -> {names[link.target.node.serial]} [{look}];"


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


def _n(value: float) -> str:
    """A coordinate, to a tenth of a point."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text
