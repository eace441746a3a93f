"""Views: which time steps get a column of their own, which are drawn as one, and which are left out.

Two steps are alike if they compute the same quantities from the same sources, where an initial state counts as the
state that it stands for. Nobody has to say which parts repeat: it is read from the recorded graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ...errors import fail
from ...ops.elementwise import where
from ...ops.shape import BROADCAST, RESHAPE
from ...tensor import Tensor
from .levels import Item, Items
from .options import Options
from .timeline import PICKS, Timeline

__all__ = ["Span", "View", "check_size", "columns", "mark_padding", "named_times", "view_named"]

View = Literal["auto", "unrolled", "rolled", "elided", "tree"]
Steps = tuple[int, int]

FULL = 8  # so many steps are all drawn before `auto` leaves out the middle
SHOWN = 2  # steps that are drawn at either end of those left out
_SHAPES = (RESHAPE, BROADCAST)  # ops that a mask passes unchanged
BOXES = 150  # with fewer than that in all, `auto` draws every step


@dataclass(eq=False, slots=True)
class Span:
    """The steps of one column: one of its own ("step"), all that are alike ("like"), or those left out ("gap")."""

    times: tuple[int, ...]
    phase: int = 0
    kind: str = "step"
    title: str = ""
    padded: bool = False
    before: bool = False  # whether steps were left out before and after it because nobody asked for them
    after: bool = False


def view_named(view: str) -> View:
    """The view of that name."""
    if view not in get_args(View):
        raise fail(ValueError, f"draw: there is no view {view!r}", expected="one of " + ", ".join(get_args(View)))
    return view  # type: ignore[return-value]


def columns(options: Options, timeline: Timeline, items: Items) -> list[Span]:
    """The columns of a view, from left to right."""
    view, steps = view_named(options.view), options.steps
    if view == "tree":
        return []
    there = [_within(times, steps) for times in timeline.times]
    if steps is not None and not any(there):
        raise _outside(timeline, steps)
    if view == "auto":
        drawn = sum(i.time is not None for i in items.all)
        view = "unrolled" if max(map(len, there), default=0) <= FULL or drawn <= BOXES else "elided"
    found: list[Span] = []
    for phase, times in enumerate(there):
        if view == "rolled":
            found += _alike(times, phase, _signatures(items, timeline, phase))
        elif view == "elided" and len(times) > 2 * SHOWN + 1:
            found += _elided(times, phase, _signatures(items, timeline, phase))
        else:
            found += [Span((t,), phase) for t in times]
        if found and times:
            whole = timeline.times[phase]
            found[-1].after = times[-1] != whole[-1]
            next(s for s in found if s.phase == phase).before = times[0] != whole[0]
    return found


def _within(times: tuple[int, ...], steps: Steps | None) -> tuple[int, ...]:
    return times if steps is None else tuple(t for t in times if steps[0] <= t <= steps[1])


def _outside(timeline: Timeline, steps: Steps) -> ValueError:
    ends = [f"{times[0]} to {times[-1]}" for times in timeline.times if times]
    return fail(
        ValueError, f"draw: no time step lies in steps=({steps[0]}, {steps[1]})",
        expected="some of " + (", or of ".join(dict.fromkeys(ends)) or "no time steps"),
        hint="steps=(first, last) takes in both ends",
    )  # fmt: skip


def _elided(times: tuple[int, ...], phase: int, signature: dict[int, Hashable]) -> list[Span]:
    first, middle, last = times[:SHOWN], times[SHOWN:-SHOWN], times[-SHOWN:]
    shown = {signature[t] for t in (*first, *last)}
    like = "like this" if all(signature[t] in shown for t in middle) else "steps"
    gap = Span(middle, phase, "gap", f"⋯ {len(middle)} {like} ⋯")
    return [*(Span((t,), phase) for t in first), gap, *(Span((t,), phase) for t in last)]


def _alike(times: tuple[int, ...], phase: int, signature: dict[int, Hashable]) -> list[Span]:
    classes: dict[Hashable, list[int]] = defaultdict(list)
    for t in times:
        classes[signature[t]].append(t)
    made = [Span(tuple(c), phase, "like" if len(c) > 1 else "step", _named(c)) for c in classes.values()]
    return sorted(made, key=lambda s: sum(s.times) / len(s.times))


def _named(times: Sequence[int]) -> str:
    return f"{named_times(times)}  (×{len(times)})" if len(times) > 1 else ""


def named_times(times: Sequence[int]) -> str:
    """Time steps, in order, in a few letters."""
    if len(times) == 1:
        return f"t = {times[0]}"
    if times[-1] - times[0] == len(times) - 1:
        return f"t = {times[0]} … {times[-1]}"
    return f"t = {', '.join(map(str, times[:3]))}" + (", …" if len(times) > 3 else "")


# What a step computes, from what ------------------------------------------------------------------------------------


def _signatures(items: Items, timeline: Timeline, phase: int) -> dict[int, Hashable]:
    """For each time step of a phase what it computes; equal for steps that are alike."""
    found: dict[int, set[Hashable]] = defaultdict(set)
    starts = _starts(items, timeline)
    for item in items.all:
        if item.phase == phase and item.time is not None:
            sources = _sources(item, starts)
            what = (item.node.op, item.node.shape) if item.whole is None else len(item.members)
            found[item.time].add((item.key, what, sources))
    return {t: frozenset(parts) for t, parts in found.items()}


def _starts(items: Items, timeline: Timeline) -> dict[tuple[Item, Item], frozenset[Hashable]]:
    """For uses of initial states the keys of the states that they stand for, and how much later those are used."""
    users = {user.serial for _, user, _ in timeline.starts}
    holders: dict[int, list[Item]] = defaultdict(list)  # a node that gates take in is part of several
    for item in items.all if users else ():
        for m in item.members:
            if m.serial in users:
                holders[m.serial].append(item)
    found: dict[tuple[Item, Item], set[Hashable]] = defaultdict(set)
    for value, user, start in timeline.starts:
        states = {(state.key, start.delay) for state in items.of.get(start.state.serial, ())}
        for i in items.of.get(value.serial, ()):
            for item in holders[user.serial]:
                found[i, item] |= states
    return {use: frozenset(states) for use, states in found.items()}


def _sources(item: Item, starts: dict[tuple[Item, Item], frozenset[Hashable]]) -> frozenset[Hashable]:
    found: set[Hashable] = set()
    for i in item.inputs:
        found |= starts.get((i, item)) or {_source(i, item)}
    return frozenset(found)


def _source(i: Item, user: Item) -> Hashable:
    if i.time is not None and user.time is not None:
        return i.key, user.time - i.time if i.phase == user.phase else i.phase
    if i.is_leaf or user.node.op in PICKS:
        return i.node.op, i.node.shape
    return i.key


def check_size(count: int, limit: int, timed: bool) -> None:
    """Refuse what nobody could read."""
    if count <= limit:
        return
    hint = (
        'view="rolled", view="elided", level="cell" or steps=(first, last) draw less'
        if timed
        else 'level="cell", "layer" or "model" draws less; so does a tensor in the middle of the graph'
    )
    raise fail(ValueError, f"draw: {count} boxes are too many to be read",
               expected=f"at most max_nodes={limit}", hint=hint)  # fmt: skip


# Padding, as the masks of the recorded graph say -------------------------------------------------------------------


def mark_padding(steps: Sequence[Span], nodes: Sequence[Tensor], timeline: Timeline) -> None:
    """Say of each column how many of its sequences are still there, where a mask over time says so.

    A step is padding if every sequence of the batch has ended before it.
    """
    there: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for t in nodes:
        phase = timeline.phase_of(t)
        if t.op is where.op and t.place.time is not None and phase is not None and not t.place.backward:
            mask = _mask_of(t)
            if mask is not None and not mask.is_symbolic:
                there[phase, t.place.time].append((int(mask.data.sum()), mask.size))
    for step in steps:
        found = [count for time in step.times for count in there.get((step.phase, time), ())]
        if found and step.kind == "step":
            alive, batch = max(found)
            step.padded = not alive
            if alive < batch:
                step.title = f"t = {step.times[0]}  ({alive} of {batch})"


def _mask_of(t: Tensor) -> Tensor | None:
    """The condition of a choice, if it is one step's part of a mask over time."""
    condition = found = t.inputs[0]
    while found.op in _SHAPES:
        found = found.inputs[0]
    is_part = found.op in PICKS and found.inputs[0].dtype.kind == "b" and found.inputs[0].time is None
    return condition if is_part else None
