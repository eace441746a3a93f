"""What a picture shows of a graph: which nodes become boxes, what is written in them, and which edges join them.

Small leaves are folded into the text of the boxes that use them. Each box has a key that it shares with the boxes of
the same quantity in the other time steps; the layout works on keys, so they stand at the same place in every column.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import fail
from ..graph import Graph, graph
from ..tensor import CONSTANT, DETACH, DETACHED, LITERAL, PARAMETER, Tensor
from . import theme
from .text import lines_of

__all__ = ["Box", "Link", "Scene", "is_folded", "scene"]

_Uses = dict[int, list[tuple[Tensor, int]]]


@dataclass(eq=False, slots=True)
class Box:
    """What is drawn as one box. `column` counts the drawn time steps; -1 and the one past the last hold initial states.

    `node` is the tensor that it stands for, `members` are all that are drawn as it; a mark stands for none. Its form is
    box, round, delay or gap.
    """

    node: Tensor | None
    id: str
    key: Hashable
    column: int | None
    backward: bool
    beside: Hashable = None  # of an initial state: the key of the state, whose height it takes
    look: theme.Fill = theme.FILLS["op"]
    lines: tuple[str, ...] = ()
    width: float = theme.BOX_WIDTH
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0
    members: tuple[Tensor, ...] = ()
    scope: tuple[str, ...] = ()
    form: str = "box"


@dataclass(eq=False, slots=True)
class Link:
    """An edge as it is drawn; its kind is data, state, saved or cut."""

    source: Box
    target: Box
    kind: str = "data"
    color: str = theme.DATA
    label: str = ""


@dataclass(eq=False, slots=True)
class Scene:
    """Boxes and links, the time steps that have columns, and whether steps were left out before and after them."""

    boxes: list[Box]
    links: list[Link]
    times: tuple[int, ...]
    elided: tuple[bool, bool]


def scene(x: Tensor | Sequence[Tensor] | Graph, steps: tuple[int, int] | None = None) -> Scene:
    """What to draw of `x`; `steps` are the first and the last time step to keep."""
    whole = x if isinstance(x, Graph) else graph(x)
    occupied = {t.time for t in whole.nodes if not is_folded(t)}
    there = tuple(t for t in whole.times if t in occupied)
    times = _chosen(there, steps)
    nodes = _kept(whole, frozenset(times)) if len(times) < len(there) else whole.nodes
    uses = _uses(nodes)
    boxes = _boxes(whole, nodes, uses, times)
    links = list(_links(nodes, boxes))
    _finish(boxes.values(), links, whole.outputs)
    elided = (times[0] != there[0], times[-1] != there[-1]) if times else (False, False)
    return Scene(list(boxes.values()), links, times, elided)


def _chosen(times: tuple[int, ...], steps: tuple[int, int] | None) -> tuple[int, ...]:
    if steps is None:
        return times
    first, last = steps
    chosen = tuple(t for t in times if first <= t <= last)
    if not chosen:
        has = f"{times[0]} to {times[-1]}" if times else "no time steps"
        raise fail(ValueError, f"draw: no time step lies in steps=({first}, {last})", expected=f"some of {has}",
                   hint="steps=(first, last) takes in both ends")  # fmt: skip
    return chosen


def _kept(whole: Graph, times: frozenset[int]) -> tuple[Tensor, ...]:
    """The nodes of the chosen steps, and of those outside of any step what still leads to a node that is drawn."""
    outputs = {t.serial for t in whole.outputs}
    wanted: set[int] = set()
    kept = []
    for t in reversed(whole.nodes):
        if t.time in times if t.time is not None else t.serial in wanted or t.serial in outputs:
            kept.append(t)
            wanted.update(i.serial for i in t.inputs)
    return tuple(reversed(kept))


def _uses(nodes: Iterable[Tensor]) -> _Uses:
    uses: _Uses = defaultdict(list)
    for t in nodes:
        for k, i in enumerate(t.inputs):
            uses[i.serial].append((t, k))
    return uses


# Boxes --------------------------------------------------------------------------------------------------------------


def is_folded(t: Tensor) -> bool:
    """Whether a leaf is written into the boxes that use it instead of having its own."""
    return t.op is PARAMETER or ((t.op is LITERAL or t.op is CONSTANT) and t.size == 1)


def _boxes(whole: Graph, nodes: Sequence[Tensor], uses: _Uses, times: tuple[int, ...]) -> dict[int, Box]:
    column = {t: k for k, t in enumerate(times)}
    keys = _keys(nodes)
    initial = _initial_states(nodes, keys)
    outputs = {t.serial for t in whole.outputs}
    boxes: dict[int, Box] = {}
    for t in reversed(nodes):  # users before what they use: a node may go to the column of its only user
        where = None if t.time is None else column.get(t.time)
        users = uses.get(t.serial, [])
        backward = t.place.backward or (t.is_leaf and bool(users) and all(u.place.backward for u, _ in users))
        box = Box(t, whole.ids[t.serial], t.serial if where is None else keys[t.serial], where, backward)
        if t.serial in initial:
            box.column, box.beside = initial[t.serial]
        elif is_folded(t) and users and t.serial not in outputs:
            continue
        elif where is None and len(times) > 1 and (t.is_leaf or t.op.name in ("slice", "index")):
            _adopt(box, [(boxes[u.serial], k) for u, k in users])
        boxes[t.serial] = box
    return dict(reversed(boxes.items()))


def _adopt(box: Box, users: list[tuple[Box, int]]) -> None:
    """Put an input that one time step alone uses into that step's column."""
    alike = [(u, argument) for u, argument in users if u.backward == box.backward]
    if len({u.column for u, _ in alike}) == 1 and alike[0][0].column is not None:
        user, argument = alike[0]
        box.column, box.key = user.column, ("input", user.key, argument)


def _keys(nodes: Sequence[Tensor]) -> dict[int, Hashable]:
    """For nodes in time steps a key that the same quantity has in every step; for others one of their own.

    What tells quantities apart is their name, if it comes back in other steps, or else the line of the user's code.
    """
    spread: dict[str, set[int]] = defaultdict(set)
    for t in nodes:
        if t.name and t.time is not None:
            spread[t.name].add(t.time)
    seen: Counter[Hashable] = Counter()
    keys: dict[int, Hashable] = {}
    for t in nodes:
        if t.time is None:
            keys[t.serial] = t.serial
            continue
        code, offset = t._source
        what = t.name if t.name and len(spread[t.name]) > 1 else (t.op.name, id(code), offset)
        path = (t.place.backward, t.op is DETACHED, t.scope, what)
        keys[t.serial] = (path, seen[t.time, path])
        seen[t.time, path] += 1
    return keys


def _initial_states(nodes: Sequence[Tensor], keys: dict[int, Hashable]) -> dict[int, tuple[int, Hashable]]:
    """Leaves that the first step has where others have a value of an earlier step: column -1 and the state's key.

    Where states run from right to left it is the last step, and the column after it.
    """
    times = sorted({t.time for t in nodes if t.time is not None})
    states: dict[Hashable, tuple[bool, Hashable]] = {}
    leaves = []
    for t in nodes:
        if t.time is None or t.place.backward:
            continue
        for k, i in enumerate(t.inputs):
            if i.serial not in keys:
                continue  # in a step that is left out
            if i.time is not None and i.time != t.time:
                states.setdefault((keys[t.serial], k), (i.time < t.time, keys[i.serial]))
            elif i.is_leaf and i.time is None and i.op is not DETACHED:
                leaves.append((i.serial, t.time, (keys[t.serial], k)))
    found: dict[int, tuple[int, Hashable]] = {}
    for serial, time, use in leaves:
        if use in states:
            rightward, key = states[use]
            if time == times[0 if rightward else -1]:
                found.setdefault(serial, (-1 if rightward else len(times), key))
    return found


# Links --------------------------------------------------------------------------------------------------------------


def _links(nodes: Sequence[Tensor], boxes: dict[int, Box]) -> Iterator[Link]:
    for t in nodes:
        target = boxes.get(t.serial)
        if target is None:
            continue
        for i in t.inputs:
            if i.serial in boxes:
                yield _link(boxes[i.serial], target)
        origin = boxes.get(t.params.get("origin", 0)) if t.op is DETACHED else None
        if origin is not None:
            yield Link(origin, target, "cut", theme.CUT)


def _link(source: Box, target: Box) -> Link:
    if target.node.op is DETACH:
        return Link(source, target, "cut", theme.CUT)
    if source.backward != target.backward:
        return Link(source, target, "saved", theme.SAVED)
    steps = source.column is not None and target.column is not None and source.column != target.column
    return Link(source, target, "state" if steps else "data")


def _finish(boxes: Iterable[Box], links: list[Link], outputs: Sequence[Tensor]) -> None:
    """Kinds, texts and sizes, and a colour for each state."""
    states: dict[Hashable, theme.Fill] = {}
    for link in links:
        if link.kind == "state" and link.source.backward:
            link.color = theme.BACKWARD_STATE
        elif link.kind == "state":
            key = link.source.beside or link.source.key
            link.color = states.setdefault(key, theme.STATES[len(states) % len(theme.STATES)]).line
    sliced = {k.target for k in links if k.source.column is None}
    out = {t.serial for t in outputs}
    width: dict[Hashable, float] = {}
    for box in boxes:
        box.look = _look(box, states, box in sliced)
        if box.node.serial in out:
            box.look = theme.Fill(box.look.fill, theme.INK, theme.OUTPUT_WIDTH)
        box.lines = lines_of(box.node, is_folded)
        box.height = theme.LINE_HEIGHT * len(box.lines) + 8
        needed = theme.BOX_PAD + theme.CHAR * max(map(len, box.lines))
        box.width = width[box.key] = max(width.get(box.key, theme.BOX_WIDTH), needed)
    for box in boxes:
        box.width = width[box.key]


def _look(box: Box, states: dict[Hashable, theme.Fill], sliced: bool) -> theme.Fill:
    t = box.node
    if t.op is DETACHED or t.op is DETACH:
        return theme.FILLS["cut"]
    if box.backward:
        return theme.FILLS["gradient"]
    state = states.get(box.beside or box.key)
    if state is not None:
        return state
    if t.is_leaf or (sliced and box.column is not None and t.op.name in ("slice", "index")):
        return theme.FILLS["input"]
    return theme.FILLS["weight" if any(i.op is PARAMETER for i in t.inputs) else "op"]
