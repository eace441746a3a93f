"""How boxes and links look: colours by kind, by state, by heat; sizes by their text; and what the legend says of it."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

from ...ops.named import ops_named
from ...tensor import DETACH, DETACHED, PARAMETER, Tensor
from ..read.columns import Span
from ..read.options import Options, Overlay
from ..read.timeline import PICKS
from . import theme
from .conveyors import conveyors
from .scene import Box, Link, Scene

__all__ = ["finish"]

_States = dict[Hashable, theme.Fill]

ACTIVATIONS = ops_named("sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "softplus", "softmax", "clip")


def finish(
    boxes: Sequence[Box], links: Sequence[Link], steps: Sequence[Span], outputs: Collection[int],
    options: Options, overlay: Overlay,
) -> Scene:  # fmt: skip
    """The scene of some boxes and links, coloured and measured."""
    palette = theme.palette(options.theme)
    states = _color_links(links, palette)
    sliced = {k.target for k in links if k.source.column is None}
    gates = _gates(boxes, states, palette)
    kinds: dict[str, theme.Fill] = {}
    for box in boxes:
        kind, look = _look(box, states, gates, box in sliced, steps, palette)
        kind, look = _overlaid(box, kind, look, overlay, palette)
        kinds.setdefault(kind, look)
        is_output = box.node is not None and any(m.serial in outputs for m in box.members or (box.node,))
        box.look = theme.Fill(look.fill, palette.ink, theme.OUTPUT_WIDTH) if is_output and overlay.lit is None else look
        box.lines += overlay.lines.get(box.node.serial, ()) if box.node is not None else ()
    _measure(boxes)
    passed = conveyors(boxes, links)
    _color_carried(passed, links, states)
    for link in links:
        link.faded = link.source.faded or link.target.faded
        if link.faded:
            link.color = palette.fills["faded"].line
        elif overlay.lit is not None:
            link.color = palette.lit
    legend = [(theme.MEANINGS.get(kind, kind), look) for kind, look in kinds.items() if kind] if options.legend else []
    if options.legend and overlay.heat:
        legend += [(f"{overlay.heat_name} {end}", theme.Fill(theme.heat(palette, v), palette.data))
                   for end, v in zip(overlay.heat_ends, (0.0, 1.0))]  # fmt: skip
    return Scene(list(boxes), list(links), list(steps), palette, legend, passed)


def _color_links(links: Sequence[Link], palette: theme.Palette) -> _States:
    """A colour for each state, given to its edges."""
    states: _States = {}
    for link in links:
        link.color = {"saved": palette.saved, "cut": palette.cut}.get(link.kind, palette.data)
        if link.kind in ("state", "delay"):
            key = link.source.beside or link.source.key
            if link.source.backward:
                link.color = palette.backward_state
            else:
                link.color = states.setdefault(key, palette.states[len(states) % len(palette.states)]).line
    return states


def _color_carried(passed: dict[Hashable, list[Hashable]], links: Sequence[Link], states: _States) -> None:
    of = {key: state for state, keys in passed.items() for key in keys}
    for link in links:
        a, b = link.source, link.target
        if link.kind == "data" and a.key in of and of[a.key] == of.get(b.key) and a.column == b.column:
            link.kind, link.color = "carry", states[of[a.key]].line


def _gates(boxes: Sequence[Box], states: _States, palette: theme.Palette) -> dict[str, theme.Fill]:
    """A colour for each named activation in time steps that is no state, by its name."""
    gates: dict[str, theme.Fill] = {}
    for box in boxes:
        t = box.node
        if t is None or t.place.time is None or box.column is None or box.backward:
            continue
        if t.name and len(t.inputs) == 1 and t.op in ACTIVATIONS and box.key not in states:
            gates.setdefault(t.name, palette.gates[len(gates) % len(palette.gates)])
    return gates


def _look(
    box: Box, states: _States, gates: dict[str, theme.Fill], sliced: bool, steps: Sequence[Span], palette: theme.Palette
) -> tuple[str, theme.Fill]:
    """The kind of a box, by which the legend knows it, and its look."""
    t, fills = box.node, palette.fills
    if box.form == "gap":
        return "", theme.Fill(palette.page, palette.page)
    if t is None:
        return "failed", fills["failed"]
    if box.column is not None and 0 <= box.column < len(steps) and steps[box.column].padded:
        return "padded", fills["padded"]
    if t.op is DETACHED or t.op is DETACH:
        return "cut", fills["cut"]
    if box.backward:
        return "gradient", fills["gradient"]
    state = states.get(box.beside or box.key)
    if state is not None:
        return f"state {_state_name(t)}", state
    if t.name in gates and t.place.time is not None and t.op in ACTIVATIONS:
        return f"gate {t.name}", gates[t.name]
    kind = _kind_of(box, t, sliced)
    return kind, fills[kind]


def _state_name(t: Tensor) -> str:
    return (t.name or t.op.label).rstrip("0123456789")


def _kind_of(box: Box, t: Tensor, sliced: bool) -> str:
    if t.is_leaf or "generator" in t.params or (sliced and box.column is not None and t.op in PICKS):
        return "input"
    if len(box.members) > 1 and box.scope:
        return "group" if not t.name or len(box.members) > 8 else "weight"
    return "weight" if any(i.op is PARAMETER for m in box.members or (t,) for i in m.inputs) else "op"


def _overlaid(
    box: Box, kind: str, look: theme.Fill, overlay: Overlay, palette: theme.Palette
) -> tuple[str, theme.Fill]:
    change = overlay.changed.get(box.node.serial) if box.node is not None else None
    if change is not None:
        kind, look = change, palette.fills[change]
    value = overlay.heat_of(box.node)
    if value is not None and box.form != "gap":
        kind, look = "", theme.Fill(theme.heat(palette, value), look.line, look.width)
    if overlay.lit is not None and not any(m.serial in overlay.lit for m in box.members):
        box.faded = True
        kind, look = "", palette.fills["faded"]
    elif overlay.lit is not None:
        look = theme.Fill(look.fill, palette.lit, theme.OUTPUT_WIDTH)
    return kind, look


def _measure(boxes: Sequence[Box]) -> None:
    """Sizes by the text; the same width in all columns."""
    width: dict[Hashable, float] = {}
    for box in boxes:
        if box.form == "round":
            box.width = box.height = max(theme.ROUND, theme.LINE_HEIGHT * len(box.lines) + 8)
            continue
        box.height = theme.LINE_HEIGHT * len(box.lines) + 8
        needed = theme.BOX_PAD + theme.CHAR * max(map(len, box.lines), default=0)
        least = 24.0 if box.form == "gap" else theme.BOX_WIDTH
        width[box.key] = max(width.get(box.key, least), needed)
    for box in boxes:
        if box.form != "round":
            box.width = width[box.key]
