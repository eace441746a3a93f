"""From a recorded graph to a scene: what is drawn is put into columns, gets a box, and is joined by links."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from ...graph import Graph
from ...tensor import DETACH, DETACHED, Tensor
from ..read.columns import Span, check_size, columns, mark_padding, named_times
from ..read.levels import Item, Items, items, level_named
from ..read.options import Options, Overlay
from ..read.timeline import PICKS, Timeline
from .scene import Box, Link, Scene
from .style import finish
from .text import lines_of, sign_of, titled

__all__ = ["scene"]


class _Spot(NamedTuple):
    column: int | None
    key: Hashable
    beside: Hashable = None


def scene(whole: Graph, options: Options | None = None, overlay: Overlay | None = None) -> Scene:
    """What to draw of a graph."""
    options, overlay = options or Options(), overlay or Overlay()
    nodes = _directed(whole, options.direction)
    timeline = Timeline(whole.nodes, nodes, timed=options.view != "tree")
    drawn = items(nodes, {t.serial for t in whole.outputs}, timeline, level_named(options.level))
    steps = columns(options, timeline, drawn)
    mark_padding(steps, nodes, timeline)
    builder = _Builder(whole, timeline, drawn, steps, options)
    boxes, links = builder.built(overlay)
    check_size(len(boxes), options.max_nodes, bool(steps))
    return finish(boxes, links, steps, {t.serial for t in whole.outputs}, options, overlay)


def _directed(whole: Graph, direction: str | None) -> Sequence[Tensor]:
    """All nodes, or those of one direction and the forward values that it looks at."""
    if direction == "forward":
        return [t for t in whole.nodes if not t.place.backward]
    if direction != "backward":
        return whole.nodes
    wanted = {i.serial for t in whole.nodes if t.place.backward for i in (t, *t.inputs)}
    return [t for t in whole.nodes if t.serial in wanted]


class _Builder:
    """Boxes and links of one graph in one view."""

    def __init__(self, whole: Graph, timeline: Timeline, drawn: Items, steps: list[Span], options: Options) -> None:
        self._whole, self._timeline, self._items, self._steps, self._options = whole, timeline, drawn, steps, options
        self._column = {(s.phase, t): n for n, s in enumerate(steps) for t in s.times}
        self._outputs = {t.serial for t in whole.outputs}
        self._users: dict[Item, list[Item]] = defaultdict(list)
        for item in drawn.all:
            for i in item.inputs:
                self._users[i].append(item)
        self._at: dict[Item, _Spot | None] = {}
        self._outside: dict[Item, int] = {}
        self._boxes: dict[tuple[int | None, Hashable], Box] = {}
        self._links: dict[tuple[Box, Box, str, int], Link] = {}
        self._names: dict[Link, dict[str, None]] = defaultdict(dict)
        self._feeding: dict[Link, set[int]] = defaultdict(set)
        self._fed: dict[Link, set[int]] = defaultdict(set)
        self._marks: Counter[str] = Counter()

    def built(self, overlay: Overlay) -> tuple[list[Box], list[Link]]:
        self._place()
        self._outside = self._phases() if len({s.phase for s in self._steps}) > 1 else {}
        for item in self._items.all:
            self._box(item)
        for item in self._items.all:
            for i in item.inputs:
                self._join(i, item)
            self._cut(item)
        if overlay.failure is not None:
            self._fail(overlay)
        self._label()
        return list(self._boxes.values()), list(self._links.values())

    # Where everything belongs ---------------------------------------------------------------------------------------

    def _place(self) -> None:
        """Column and key, and of an initial state the key of its state; None for what is left out."""
        beside = self._initial()
        asked = self._options.steps is not None and bool(self._column)
        for item in reversed(self._items.all):  # users first: an input may go to the column of its only user
            at: _Spot | None
            if item.time is not None and item.phase is not None:
                column = self._column.get((item.phase, item.time))
                at = None if column is None else _Spot(column, item.key)
            elif asked and not self._is_wanted(item):
                at = None
            else:
                at = beside.get(item) or self._adopted(item) or _Spot(None, item.key)
            self._at[item] = at

    def _is_wanted(self, item: Item) -> bool:
        return item.node.serial in self._outputs or any(self._at.get(u) is not None for u in self._users[item])

    def _initial(self) -> dict[Item, _Spot]:
        """Initial states stand left of the first column, or right of the last one where states run leftwards."""
        found: dict[Item, _Spot] = {}
        times = self._timeline.times
        for serial, start in self._timeline.initial.items():
            rightward = start.delay > 0
            end = (0, times[0][0]) if rightward else (len(times) - 1, times[-1][-1])
            if start.phase != end[0] or end not in self._column:
                continue
            for item in self._items.of.get(serial, ()):
                for state in self._items.of.get(start.state.serial, ()):
                    found.setdefault(item, _Spot(-1 if rightward else len(self._steps), serial, state.key))
        return found

    def _adopted(self, item: Item) -> _Spot | None:
        """An input that one column alone uses goes there."""
        if len(self._column) < 2 or not (item.is_leaf or item.node.op in PICKS):
            return None
        backward = self._is_backward(item)
        users = [u for u in self._users[item] if u.backward == backward]
        places = {at if at is None else at.column for at in (self._at.get(u) for u in users)}
        if len({u.time for u in users}) != 1 or len(places) != 1:
            return None
        column = next(iter(places))
        if not isinstance(column, int) or not 0 <= column < len(self._steps):
            return None
        return _Spot(column, ("input", users[0].key, list(users[0].inputs).index(item)))

    def _is_backward(self, item: Item) -> bool:
        """A leaf belongs to the gradient if nothing else uses it."""
        users = self._users[item]
        return item.backward or (item.is_leaf and bool(users) and all(u.backward for u in users))

    def _kind(self, column: int | None) -> str:
        inside = column is not None and 0 <= column < len(self._steps)
        return self._steps[column].kind if inside else "outside"  # type: ignore[index]

    # Boxes ----------------------------------------------------------------------------------------------------------

    def _box(self, item: Item) -> None:
        at = self._at[item]
        if at is None or self._kind(at.column) == "gap" or (at.column, at.key) in self._boxes:
            return
        t = item.node
        sign = sign_of(t) if item.whole is None else ""
        id = self._whole.ids[t.serial]
        if self._kind(at.column) == "like":
            id = id.replace(f"t{t.time}", f"t{self._steps[at.column or 0].times[0]}..", 1)
        self._boxes[at.column, at.key] = Box(
            t, id, at.key, at.column, self._is_backward(item), at.beside, members=tuple(item.members),
            scope=item.whole or t.scope, form="round" if sign and not t.name else "box", phase=self._phase(item, at),
            lines=(sign,) if sign and not t.name else self._lines(item, at), is_operator=bool(sign),
        )  # fmt: skip

    def _lines(self, item: Item, at: _Spot) -> tuple[str, ...]:
        show = self._options.show
        if item.whole is None:
            return lines_of(item.node, show, self._kind(at.column) == "like", item.members)
        return titled(item.node, item.whole, item.members, show)

    def _phase(self, item: Item, at: _Spot) -> int:
        """Of what stands outside of the columns: the last phase that it waits for, or else the first that it is for."""
        if at.column is not None and 0 <= at.column < len(self._steps):
            return self._steps[at.column].phase
        return self._outside.get(item, 0)

    def _phases(self) -> dict[Item, int]:
        found: dict[Item, int] = {}
        for item in self._items.all:
            before = [found[i] for i in item.inputs if i in found]
            phase = max(before, default=None) if item.phase is None else item.phase
            if phase is not None:
                found[item] = phase
        for item in reversed(self._items.all):
            if item not in found:
                found[item] = min((found[u] for u in self._users[item] if u in found), default=0)
        return found

    def _home(self, item: Item) -> Box | None:
        """Where an item is seen: at its own box, or that of an item like it, or the mark of a gap."""
        at = self._at[item]
        return None if at is None else self._boxes.get((at.column, at.key))

    # Links ----------------------------------------------------------------------------------------------------------

    def _join(self, i: Item, item: Item) -> None:
        a, b = self._at[i], self._at[item]
        if a is None or b is None:
            return
        gaps = self._kind(a.column) == "gap", self._kind(b.column) == "gap"
        if all(gaps) or (gaps[1] and i.time is None):
            return
        source = self._gap(a, i) if gaps[0] else self._boxes[a.column, a.key]
        target = self._gap(_Spot(b.column, a.key), i) if gaps[1] else self._boxes[b.column, b.key]
        kind = self._kind_of(i, item, source, target)
        link = self._linked(source, target, kind, self._delay(i, item, source, target))
        for t in item.inputs[i]:
            if t.name:
                self._names[link][t.name] = None
        if i.time is not None:
            self._feeding[link].add(i.time)
        elif item.time is not None and source.beside is None:
            self._fed[link].add(item.time)

    def _delay(self, i: Item, item: Item, source: Box, target: Box) -> int:
        """How many steps a value waits that does not leave its column."""
        if i.time is None or item.time is None or source.column is None or source.column != target.column:
            return 0
        return item.time - i.time

    def _linked(self, source: Box, target: Box, kind: str, delay: int = 0) -> Link:
        found = self._links.get((source, target, kind, delay))
        if found is None:
            found = Link(source, target, kind, delay=abs(delay) or 1, leftward=delay < 0)
            self._links[source, target, kind, delay] = found
            if delay and kind == "saved":  # as a gradient looks at the state before
                found.label = f"t {'−' if delay > 0 else '+'} {abs(delay)}"
        return found

    def _gap(self, at: _Spot, like: Item) -> Box:
        """The mark of a state where it runs through steps that are left out."""
        box = self._boxes.get((at.column, at.key))
        if box is None:
            step = self._steps[at.column or 0]
            ends = f"t{step.times[0]}..{step.times[-1]}/"
            id = self._unique(re.sub(r"\bt\d+/", ends, self._whole.ids[like.node.serial], count=1))
            box = Box(None, id, at.key, at.column, self._is_backward(like), form="gap", lines=("⋯",), phase=step.phase)
            self._boxes[at.column, at.key] = box
        return box

    def _unique(self, id: str) -> str:
        n = self._marks[id] = self._marks[id] + 1
        return id if n == 1 else f"{id}_{n}"

    def _kind_of(self, i: Item, item: Item, source: Box, target: Box) -> str:
        if item.node.op is DETACH:
            return "cut"
        if source.backward != target.backward:
            return "saved"
        if source.column is None or target.column is None:
            return "data"
        if source.column != target.column:
            return "state"
        return "delay" if i.time is not None and i.time != item.time else "data"

    def _cut(self, item: Item) -> None:
        origin = item.node.params.get("origin", 0) if item.node.op is DETACHED else 0
        for i in self._items.of.get(origin, ()):
            a, b = self._home(i), self._home(item)
            if a is not None and b is not None and a is not b:
                self._linked(a, b, "cut")

    def _label(self) -> None:
        """Names of the values that leave a group, and which step of a column that stands for several ones."""
        for link, names in self._names.items():
            whole = link.source.node is not None and len(link.source.members) > 1 and self._options.level != "gate"
            if whole and link.kind in ("state", "delay") and len(names) > 1:
                link.label = ", ".join(names)
            if link.target.column is None:
                self._say_which(link, link.source.column, self._feeding[link])
            self._say_which(link, link.target.column, self._fed[link])

    def _say_which(self, link: Link, column: int | None, times: set[int]) -> None:
        if self._kind(column) != "like" or not 0 < len(times) < len(self._steps[column or 0].times):
            return
        said = named_times(sorted(times))
        if link.source.column == column and times is self._fed[link]:  # an input that stands in the column
            link.source.lines += (said,)
        else:
            link.label = said

    # What could not be computed -------------------------------------------------------------------------------------

    def _fail(self, overlay: Overlay) -> None:
        failure = overlay.failure
        assert failure is not None
        known = [b for i in failure.inputs for item in self._items.of.get(i.serial, ()) if (b := self._home(item))]
        column = max((b.column for b in known if b.column is not None and b.beside is None), default=None)
        shapes = " , ".join(str(i.shape) for i in failure.inputs)
        phase = max((b.phase for b in known), default=0)
        box = Box(None, "failed", ("failed",), column, False, lines=(failure.op, shapes), phase=phase)
        self._boxes[column, box.key] = box
        for b in known:
            same = b.column == column and b.beside is None
            self._linked(b, box, "data" if same or b.column is None or column is None else "state")
