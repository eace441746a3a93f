"""Two graphs side by side, with what is only in one of them marked: what a rewrite changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Any

from ..errors import fail
from ..graph import Graph
from ..tensor import LITERAL, Tensor
from .layout.layout import Layout, layout
from .read.options import Options, Overlay
from .read.subject import subject
from .scene import theme
from .scene.build import scene
from .scene.scene import Box

__all__ = ["pair"]

_BETWEEN = 60.0


def pair(before: Any, after: Any, options: Options) -> Layout:
    """The layout of both graphs; without `after` those of a program before and after rewriting."""
    graphs = _of_program(before) if after is None else (subject(before).graph, subject(after).graph)
    return _beside([_marked(*graphs, "removed", options), _marked(*graphs[::-1], "added", options)])


def _of_program(program: Any) -> tuple[Graph, Graph]:
    if hasattr(program, "programs") and program.programs:
        program = program.programs[-1]
    if not (hasattr(program, "rewritten") and hasattr(program, "graph")):
        raise fail(TypeError, "compare: one thing alone", expected="a program, or a compiled function that has run",
                   got=type(program).__name__, hint="give two graphs, or program = f.program(x)")  # fmt: skip
    return program.graph, program.rewritten


def _marked(whole: Graph, other: Graph, change: str, options: Options) -> Layout:
    """The layout of a graph in which what the other one lacks is marked."""
    there = Counter(_signature(t) for t in other.nodes)
    changed: dict[int, str] = {}
    for t in whole.nodes:
        signature = _signature(t)
        there[signature] -= 1
        if there[signature] < 0:
            changed[t.serial] = change
    return layout(scene(whole, options, Overlay(changed=changed)))


def _signature(t: Tensor) -> Hashable:
    """What a node is, whatever feeds it: a change does not spread upwards."""
    own = t.data.item() if t.op is LITERAL else repr(sorted(t.params.items(), key=repr))
    place = t.place.scope, t.place.time, t.place.backward
    return t.op, t.name, t.shape, place, own


def _beside(plans: Iterable[Layout]) -> Layout:
    """One layout of several, from left to right, each below its title."""
    plans = list(plans)
    tall = max(plan.size[1] for plan in plans)
    boxes, links, columns, outside, paths = [], [], [], [], []
    x = 0.0
    for name, plan in zip(("before", "after"), plans):
        title = _title(name, plan, x, tall)
        for box in plan.scene.boxes:
            box.x, box.y, box.id = box.x + x, box.y + tall - plan.size[1], f"{name}/{box.id}"
        for column in plan.columns:
            a, b, c, d = column.frame
            up = tall - plan.size[1]
            column.frame = (a + x, b + up, c + x, d + up)
            column.title_at = (column.title_at[0] + x, column.title_at[1] + up)
            column.name = f"{name}_{column.name}"
        for link in plan.scene.links:
            link.label_at = (link.label_at[0] + x, link.label_at[1] + tall - plan.size[1])
        paths += [[(u + x, v + tall - plan.size[1]) for u, v in path] for path in plan.paths]
        boxes += [*plan.scene.boxes, title]
        links += plan.scene.links
        columns += plan.columns
        outside += [*plan.outside, title]
        x += plan.size[0] + _BETWEEN
    whole = replace(plans[0].scene, boxes=boxes, links=links)
    return Layout(whole, columns, outside, paths, (x - _BETWEEN, tall + 2 * theme.LINE_HEIGHT + theme.MARGIN))


def _title(name: str, plan: Layout, left: float, height: float) -> Box:
    text = f"{name}: {len(plan.scene.boxes)} boxes, {len(plan.scene.links)} edges"
    palette = plan.scene.palette
    width = theme.BOX_PAD + theme.CHAR * len(text)
    return Box(
        None, f"{name} title", ("title", name), None, False, look=theme.Fill(palette.page, palette.page), lines=(text,),
        width=width, height=theme.LINE_HEIGHT + 8, x=left + max(plan.size[0], width) / 2, y=height + theme.LINE_HEIGHT,
        form="gap",
    )  # fmt: skip
