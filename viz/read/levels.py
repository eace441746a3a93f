"""What is drawn as one thing at a level of detail: an operation, a gate, a cell, a layer, or the whole model of a step.

Small leaves are folded into the text of what uses them. A gate takes in the weighted sums that nobody else looks at, so
that gates packed into one matrix still come out as gates of their own. Cells, layers and models are scopes of the
recorded graph; two calls of one module are two things.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from ...errors import fail
from ...graph.walk import topological
from ...ops.linalg import MATMUL
from ...ops.named import ops_named
from ...ops.shape import TRANSPOSE
from ...scope import Place
from ...tensor import PARAMETER, Tensor
from .timeline import PICKS, Timeline, is_folded

__all__ = ["Item", "Items", "Level", "items", "level_named"]

Level = Literal["op", "gate", "cell", "layer", "model"]

_SUMS = ops_named("add", "subtract")
_VIEWS = ops_named("slice", "reshape", "transpose", "broadcast_to")


@dataclass(eq=False, slots=True)
class Item:
    """One thing to draw: `node` is the tensor that it stands for, `members` all that are drawn as it."""

    node: Tensor
    members: list[Tensor]
    key: Hashable
    phase: int | None  # of its loop; None outside of steps
    whole: tuple[str, ...] | None = None  # the scope that it is, where it is more than an operation
    inputs: dict[Item, list[Tensor]] = field(default_factory=dict)  # and which of its tensors are used
    time: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.time = self.node.place.time

    @property
    def backward(self) -> bool:
        return self.node.place.backward

    @property
    def is_leaf(self) -> bool:
        return self.node.is_leaf


def level_named(level: str) -> Level:
    """The level of that name."""
    if level not in get_args(Level):
        raise fail(ValueError, f"draw: there is no level {level!r}", expected="one of " + ", ".join(get_args(Level)))
    return level  # type: ignore[return-value]


class Items(NamedTuple):
    """The things to draw, each after what it is computed from, and for each tensor the things in its place."""

    all: list[Item]
    of: dict[int, tuple[Item, ...]]


def items(nodes: Sequence[Tensor], outputs: Collection[int], timeline: Timeline, level: Level) -> Items:
    """What to draw; `outputs` are serial numbers of what must not be folded."""
    return _Collapse(nodes, outputs, timeline, level).run()


class _Collapse:
    def __init__(self, nodes: Sequence[Tensor], outputs: Collection[int], timeline: Timeline, level: Level) -> None:
        self._nodes, self._outputs, self._timeline = nodes, outputs, timeline
        self._scopes = _Scopes(nodes, timeline, level) if level in ("cell", "layer", "model") else None
        self._absorbed = _turned(nodes, outputs) | (_absorbed(nodes, outputs) if level == "gate" else set())
        self._of: dict[int, tuple[Item, ...]] = {}
        self._groups: dict[Hashable, Item] = {}
        self._turns: Counter[Hashable] = Counter()
        self._carried: dict[int, list[Tensor]] = {}  # what an absorbed node brings along
        self._reads: dict[int, list[tuple[Item, Tensor]]] = {}  # and what it is computed from
        self._picked: dict[Hashable, Item] = {}
        self._merges_picks = level != "op"

    def run(self) -> Items:
        folded = _folded(self._nodes, self._outputs)
        found: dict[Item, None] = {}
        for t in self._nodes:
            if t.serial in folded:
                continue
            if t.serial in self._absorbed:
                self._reads[t.serial] = list(dict.fromkeys(use for x in t.inputs for use in self._uses(x)))
                self._of[t.serial] = tuple(dict.fromkeys(i for i, _ in self._reads[t.serial]))
                self._carried[t.serial] = self._with_carried(t)
                continue
            item = self._item(t)
            found[item] = None
            self._connect(t, item)
        listed = list(found)
        if self._scopes is not None:  # what a part of the model uses may come between its members
            listed = _sorted(listed)
            _choose_heads(listed, self._outputs)
        return Items(listed, self._of)

    def _item(self, t: Tensor) -> Item:
        group = self._scopes.of(t) if self._scopes else None
        phase = self._timeline.phase_of(t)
        if group is None and self._merges_picks and t.op in PICKS and t.inputs[0].time is None:
            part = t.place.time, t.place.backward, repr(t.params), tuple(i.serial for i in t.inputs)
            return self._picked.setdefault(part, Item(t, [], self._timeline.key[t.serial], phase))
        if group is None:
            return Item(t, [], self._timeline.key[t.serial], phase)
        if group not in self._groups:
            assert self._scopes is not None
            self._groups[group] = Item(t, [], self._group_key(t, group, phase), phase, self._scopes.cut(t))
        return self._groups[group]

    def _group_key(self, t: Tensor, group: Hashable, phase: int | None) -> Hashable:
        """One key for the same scope in all time steps; outside of them each call has its own."""
        assert self._scopes is not None
        if phase is None:
            return group
        kind = ("scope", self._scopes.cut(t), t.place.backward, phase)
        turn = kind, t.place.time
        self._turns[turn] += 1
        return kind, self._turns[turn]

    def _connect(self, t: Tensor, item: Item) -> None:
        item.members += self._with_carried(t) if self._carried else (t,)
        self._of[t.serial] = (item,)
        for x in t.inputs:
            for i, used in self._uses(x):
                if i is not item:
                    item.inputs.setdefault(i, []).append(used)

    def _uses(self, x: Tensor) -> Sequence[tuple[Item, Tensor]]:
        """In whose place a tensor is used, and which of their tensors that is."""
        if x.serial in self._reads:
            return self._reads[x.serial]
        return [(i, x) for i in self._of.get(x.serial, ())]

    def _with_carried(self, t: Tensor) -> list[Tensor]:
        return [*dict.fromkeys(m for x in t.inputs for m in self._carried.get(x.serial, ())), t]


def _sorted(found: Sequence[Item]) -> list[Item]:
    users: dict[Item, list[Item]] = {item: [] for item in found}
    for item in found:
        for i in item.inputs:
            users[i].append(item)
    return topological(found, {item: list(item.inputs) for item in found}, users)


def _choose_heads(found: Sequence[Item], outputs: Collection[int]) -> None:
    """A group stands for an output, or else for the last of its members that others use."""
    for item in found:
        if item.whole is not None:
            item.node = next((m for m in reversed(item.members) if m.serial in outputs), item.members[-1])
    used: dict[Item, Tensor] = {}
    for item in found:
        for i, tensors in item.inputs.items():
            last = max(tensors, key=lambda t: t.serial)
            used[i] = max(used.get(i, last), last, key=lambda t: t.serial)
    for i, t in used.items():
        if i.whole is not None and i.node.serial not in outputs:
            i.node = t


def _folded(nodes: Sequence[Tensor], outputs: Collection[int]) -> set[int]:
    used = {i.serial for t in nodes for i in t.inputs}
    return {t.serial for t in nodes if is_folded(t) and t.serial in used and t.serial not in outputs}


def _turned(nodes: Sequence[Tensor], outputs: Collection[int]) -> set[int]:
    """Transposes in a gradient that one product alone uses."""
    uses = Counter(i.serial for t in nodes for i in t.inputs)
    return {
        i.serial
        for t in nodes
        for i in t.inputs
        if t.op is MATMUL and i.op is TRANSPOSE and i.place.backward and t.place == i.place
        and uses[i.serial] == 1 and i.serial not in outputs
    }  # fmt: skip


# Gates --------------------------------------------------------------------------------------------------------------


def _absorbed(nodes: Sequence[Tensor], outputs: Collection[int]) -> set[int]:
    """Unnamed weighted sums, with slices and biases, that only gates and other such sums of the same step use."""
    linear = _linear(nodes)
    users: dict[int, list[Tensor]] = defaultdict(list)
    for t in nodes:
        for i in t.inputs:
            users[i.serial].append(t)
    absorbed: set[int] = set()
    for t in reversed(nodes):
        if t.serial not in linear or t.name or t.serial in outputs:
            continue
        mine = users[t.serial]
        if mine and all(_takes_in(u, t, absorbed) for u in mine):
            absorbed.add(t.serial)
    return absorbed


def _linear(nodes: Sequence[Tensor]) -> set[int]:
    linear: set[int] = set()
    for t in nodes:
        if t.place.backward or t.is_leaf:
            continue
        sources = [i.serial in linear or i.op is PARAMETER for i in t.inputs]
        if t.op is MATMUL or (t.op in _SUMS and any(sources)) or (t.op in _VIEWS and sources[0]):
            linear.add(t.serial)
    return linear


def _takes_in(user: Tensor, t: Tensor, absorbed: set[int]) -> bool:
    here = user.time == t.place.time and user.scope == t.place.scope and not user.place.backward
    return here and (user.serial in absorbed or bool(user.name))


# Cells, layers, models ----------------------------------------------------------------------------------------------


class _Scopes:
    """Which scope a node is drawn as, if any."""

    def __init__(self, nodes: Sequence[Tensor], timeline: Timeline, level: Level) -> None:
        self._level, self._timeline = level, timeline
        scopes = {t.place.scope for t in nodes if not t.is_leaf}
        inner = {s[:k] for s in scopes for k in range(len(s))}
        self._innermost = scopes - inner - {()}
        self._shared = len(_shared(scopes - {()})) if level == "layer" else 0
        self._stage = _stages(nodes, timeline)
        self._cut: dict[tuple[tuple[str, ...], bool], tuple[str, ...] | None] = {}
        sizes = Counter(group for t in nodes if (group := self._group(t)) is not None)
        self._large = {group for group, size in sizes.items() if size > 1}

    def of(self, t: Tensor) -> Hashable:
        """The group of a node; None for what stays an operation."""
        group = self._group(t)
        return group if group in self._large else None

    def cut(self, t: Tensor) -> tuple[str, ...] | None:
        """The scope that a node is drawn as."""
        kind = t.place.scope, t.place.time is not None
        if kind not in self._cut:
            self._cut[kind] = self._find_cut(*kind)
        return self._cut[kind]

    def _find_cut(self, scope: tuple[str, ...], timed: bool) -> tuple[str, ...] | None:
        if self._level == "model":
            return scope[:1] or None
        if self._level == "layer":
            return scope[: self._shared + 1] if len(scope) > self._shared else None
        if timed:
            for k in range(len(scope) + 1):
                if scope[:k] in self._timeline.cells:
                    return scope[:k]
        return scope if scope in self._innermost else None

    def _group(self, t: Tensor) -> Hashable:
        cut = None if t.is_leaf else self.cut(t)
        if cut is None:
            return None
        phase = self._timeline.phase_of(t)
        call = id(_call(t.place, len(cut), self._level == "cell")) if cut else None
        return cut, t.place.time, phase, t.place.backward, call, self._stage[t.serial]


def _stages(nodes: Sequence[Tensor], timeline: Timeline) -> dict[int, int]:
    """How often the way to a node went into time steps and out again: a part of the model that does so is several.

    What a loop waits for, as a decoder does for its encoder, does not count.
    """
    stage: dict[int, int] = {}
    phase: dict[int, int | None] = {}  # outside of steps that of what a node was computed from
    for t in nodes:
        own, timed = timeline.phase_of(t), t.place.time is not None
        near = [i for i in t.inputs if i.serial in stage]
        if timed:
            near = [i for i in near if phase[i.serial] in (None, own)]
        before = (stage[i.serial] + ((i.place.time is not None) != timed) for i in near)
        stage[t.serial] = max(before, default=int(timed))
        known = [p for i in near if (p := phase[i.serial]) is not None]
        phase[t.serial] = own if timed else (min if t.place.backward else max)(known, default=None)
    return stage


def _call(place: Place, depth: int, within_step: bool) -> Place:
    """The call of the module at that depth of the scope which a place lies in.

    A layer or model may have a loop over time inside, a cell has not: two loops are two directions.
    """
    while place.outer is not None and len(place.outer.scope) >= depth:
        if within_step and place.outer.time != place.time:
            break
        place = place.outer
    return place


def _shared(scopes: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """What all scopes begin with, less its last part where that is a scope of its own."""
    first, last = min(scopes, default=()), max(scopes, default=())
    n = 0
    while n < min(len(first), len(last)) and first[n] == last[n]:
        n += 1
    return first[: n - 1] if len(scopes) == 1 and n else first[:n]
