"""Checkpointing: values of the forward pass that are computed again when the backward pass needs them.

The forward nodes are divided into segments. What a segment hands to other forward nodes is kept; all else that its
backward nodes use is computed a second time, from what was kept, just before they run. With about sqrt(T) segments of
sqrt(T) steps the memory for T steps is that of about 2 sqrt(T), for one more forward pass (Chen et al., 2016).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isqrt
from typing import Any

from ..graph.walk import users
from ..ops.core import apply
from ..ops.elementwise import add
from ..ops.index import INDEX, ONE_HOT
from ..ops.linalg import MATMUL
from ..ops.shape import CONCATENATE, STACK, stack
from ..tensor import Tensor, with_inputs
from .batching import taken_at
from .capture import inside
from .compiler_ops import CHANGING, CONTRACT, LOOKUP, SCATTER
from .placement import FREE, JOINS
from .rewrite import Rewriter

__all__ = ["by_position", "by_time", "recompute", "split_sums", "times_within"]

Segment = Callable[[Tensor], Any]  # the segment that a forward node belongs to, or None


def by_time(rewriter: Rewriter) -> dict[int, int]:
    """Segment by time step: as many segments as there are steps in one, or nearly."""
    times = sorted({t.time for t in rewriter.nodes if t.time is not None})
    length = max(isqrt(len(times)), 1)
    return {time: k // length for k, time in enumerate(times)}


def by_position(rewriter: Rewriter, ranges: Sequence[tuple[int, int]]) -> Segment:
    """Segment by what was recorded inside one call of a checkpointed function, the innermost one."""
    edges = sorted((edge, side, -k) for k, pair in enumerate(ranges) for side, edge in enumerate(pair))
    within: list[int] = []
    after: list[int | None] = [None]  # the segment before the first edge, and after each one
    for _, closes, k in edges:
        if closes:
            within.remove(-k)
        else:
            within.append(-k)
        after.append(within[-1] if within else None)
    places = [(edge, side) for edge, side, _ in edges]
    return lambda t: after[bisect_left(places, (rewriter.position(t), 0.5))]


def times_within(rewriter: Rewriter, ranges: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Segment by time step, for the steps that lie within one checkpointed call."""
    segment = by_position(rewriter, ranges)
    found: dict[int, set[Any]] = defaultdict(set)
    for t in rewriter.nodes:
        if t.time is not None and t.inputs and not t.place.backward:
            found[t.time].add(segment(t))
    return {time: ks.pop() for time, ks in found.items() if len(ks) == 1 and None not in ks}


def recompute(rewriter: Rewriter, segment: Segment) -> None:
    """Let backward nodes use values that are computed again."""
    when = rewriter.ranks()
    members = _runs(rewriter, segment, when)
    kept = _kept(rewriter, members)
    starts: dict[Any, float] = {}
    for t in rewriter.nodes:
        for i in t.inputs if t.place.backward else ():
            if i.serial in members and i.serial not in kept:
                k = members[i.serial]
                starts[k] = min(starts.get(k, when[t.serial]), when[t.serial])
    copies: dict[int, Tensor] = {}
    replaced: dict[int, Tensor] = {}
    for t in rewriter.nodes:
        if t.serial in members and t.serial not in kept and members[t.serial] in starts:
            copy = copies[t.serial] = with_inputs(t, tuple([copies.get(i.serial, i) for i in t.inputs]))
            rewriter.rank[copy.serial] = starts[members[t.serial]] - 0.5
    for t in rewriter.nodes:
        if t.place.backward and any(i.serial in copies for i in t.inputs):
            replaced[t.serial] = with_inputs(t, tuple([copies.get(i.serial, i) for i in t.inputs]))
    roots = {t.serial for t in rewriter.roots}
    for t in rewriter.nodes if copies else ():
        own_room = t.serial in members and t.serial in kept - roots and t.ndim and t.op not in FREE | JOINS
        if own_room and "generator" not in t.params and t.op not in CHANGING:
            replaced[t.serial] = _in_own_room(t)
    rewriter.replace(replaced)


def _in_own_room(t: Tensor) -> Tensor:
    """A tensor written into a concatenation of it alone: not over an input, whose memory may be that of a segment."""
    same = with_inputs(t, t.inputs)
    return inside(t, lambda: apply(CONCATENATE, (same,), {"axis": 0}))


def _runs(rewriter: Rewriter, segment: Segment, when: dict[int, float]) -> dict[int, int]:
    """Forward nodes by what is computed in one go: the parts of a segment in different layers are needed in turn."""
    members: dict[int, int] = {}
    run, before = 0, None
    for t in sorted(rewriter.nodes, key=lambda t: when[t.serial]):
        k = segment(t) if t.inputs and not t.place.backward else None
        if k is not None:
            run += k != before
            members[t.serial], before = run, k
    return members


def _kept(rewriter: Rewriter, members: dict[int, Any]) -> set[int]:
    """What must stay: results, random numbers, changes, and what other segments' forward nodes use, also as views."""
    kept = {t.serial for t in rewriter.roots}
    kept |= {t.serial for t in rewriter.nodes if "generator" in t.params or t.op in CHANGING}
    for t in reversed(rewriter.nodes):
        through = t.op in FREE and t.serial in kept
        for i in t.inputs:
            outside = not t.place.backward and members.get(t.serial) != members.get(i.serial)
            if through or outside:
                kept.add(i.serial)
    return kept


def split_sums(rewriter: Rewriter, segments: dict[int, int]) -> None:
    """What was gathered from all time steps once for each segment, so that a segment need not outlive its turn."""
    rewriter.replace(_split_products(rewriter, segments))
    found = {}
    for t in rewriter.nodes:
        parts = _parts(t, segments)
        if len(parts) > 1:
            found[t.serial] = inside(t, lambda parts=parts: _total(parts))
    rewriter.replace(found)


def _total(parts: list[Callable[..., Tensor]]) -> Tensor:
    total = parts[0]()
    for part in parts[1:]:
        total = total + part()
    return total


def _split_products(rewriter: Rewriter, segments: dict[int, int]) -> dict[int, Tensor]:
    """Products of all steps with one matrix, of which each step takes a slice, as one product for each segment."""
    users_of = users(rewriter.nodes)
    roots = {t.serial for t in rewriter.roots}
    found: dict[int, Tensor] = {}
    for t in rewriter.nodes:
        product = _by_rows(t) or (t.op is add.op and any(map(_by_rows, t.inputs)))
        if product and t.ndim > 2 and t.serial not in roots:
            found |= _product_by_segment(rewriter, t, users_of[t.serial], segments)
    return found


def _by_rows(t: Tensor) -> bool:
    return t.op is MATMUL and t.inputs[1].ndim == 2


def _product_by_segment(
    rewriter: Rewriter, t: Tensor, slices: list[Tensor], segments: dict[int, int]
) -> dict[int, Tensor]:
    taken = [taken_at(u) for u in slices]
    axis = taken[0][0] if taken[0] is not None else t.ndim
    if axis >= t.ndim - 1 or any(at is None or at[0] != axis for at in taken):
        return {}
    places = [at[1] for at in taken if at is not None]
    ranges = _ranges([(_segment(u, segments), k) for u, k in zip(slices, places)])
    found: dict[int, Tensor] = {}
    for at in ranges:
        own = [(u, k) for u, k in zip(slices, places) if at.start <= k < at.stop]
        first = min((u for u, _ in own), key=rewriter.position)
        product = inside(first, lambda at=at: _piece(t, axis, at))
        rewriter.adopt(first, product)
        lead = (slice(None),) * axis
        found |= {u.serial: inside(u, lambda k=k: product[(*lead, k - at.start)]) for u, k in own}  # noqa: B023
    return found


def _ranges(places: list[tuple[int, int]]) -> list[slice]:
    """For ``(segment, place)`` pairs the range of each segment, the last first; none if there is one or they mingle."""
    groups: dict[int, list[int]] = defaultdict(list)
    for segment, k in places:
        groups[segment].append(k)
    ranges = [slice(min(groups[s]), max(groups[s]) + 1) for s in sorted(groups, reverse=True)]
    ordered = sorted(ranges, key=lambda r: r.start)
    apart = all(a.stop <= b.start for a, b in pairwise(ordered))
    return ranges if apart and len(ranges) > 1 else []


def _piece(t: Tensor, axis: int, at: slice) -> Tensor:
    """``t[at]`` along an axis, computed from what it needs alone where `t` joins steps."""
    done: dict[tuple[int, int], Tensor] = {}
    work = [(t, axis)]
    while work:
        node, k = work[-1]
        cut = _cut_inputs(node, k)
        missing = [(i, n) for i, n in zip(node.inputs, cut) if n is not None and (i.serial, n) not in done]
        if missing:
            work += missing
            continue
        work.pop()
        if any(n is not None for n in cut):
            inputs = [i if n is None else done[i.serial, n] for i, n in zip(node.inputs, cut, strict=True)]
            done[node.serial, k] = apply(node.op, tuple(inputs), node.params)
        elif node.op is STACK and node.params["axis"] == k:
            done[node.serial, k] = stack(list(node.inputs[at]), k)
        else:
            done[node.serial, k] = node[(*(slice(None),) * k, at)]
    return done[t.serial, axis]


def _cut_inputs(t: Tensor, axis: int) -> list[int | None]:
    """The axis of each input of which a part gives that part of `t` along `axis`; None where all is needed."""
    whole: list[int | None] = [None] * len(t.inputs)
    if _by_rows(t) and axis < t.ndim - 1:
        return [axis, None]
    if t.op is add.op:
        axes = [axis - t.ndim + i.ndim for i in t.inputs]
        return [k if k >= 0 and i.shape[k] > 1 else None for i, k in zip(t.inputs, axes, strict=True)]
    rows = t.op in (LOOKUP, ONE_HOT) or (t.op is INDEX and t.params["index"] == ("array",))
    return [*whole[:-1], axis] if rows and axis < t.inputs[-1].ndim else whole


def _joined(t: Tensor) -> Tensor | None:
    """The stack over time that a tensor is, or is a product of with one matrix."""
    if _by_rows(t):
        t = t.inputs[0]
    return t if t.op is STACK and t.params["axis"] < t.ndim - 1 else None


def _parts(t: Tensor, segments: dict[int, int]) -> list[Callable[..., Tensor]]:
    if t.op is CONTRACT and len(t.inputs) > 2:
        pairs = list(zip(t.inputs[::2], t.inputs[1::2], strict=True))
        groups = _grouped([(_segment(g, segments), _segment(a, segments)) for a, g in pairs])
        return [lambda g=g: apply(CONTRACT, tuple(x for k in g for x in pairs[k])) for g in groups]
    joined = _joined(t.inputs[1]) if t.op is CONTRACT or t.op is SCATTER else None
    if joined is None:
        return []
    axis = joined.params["axis"]
    if t.op is SCATTER and axis >= t.inputs[0].ndim:
        return []
    ranges = _ranges([(_segment(i, segments), k) for k, i in enumerate(joined.inputs)])
    return [lambda at=at: apply(t.op, tuple([_piece(i, axis, at) for i in t.inputs]), t.params) for at in ranges]


def _segment(t: Tensor, segments: dict[int, int]) -> int:
    return segments.get(t.time, -1) if t.time is not None else -1


def _grouped(keys: list[tuple[int, int]]) -> list[list[int]]:
    """Positions with equal keys, the last segment first, as the backward pass comes to them."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for k, key in enumerate(keys):
        groups[key].append(k)
    return [groups[k] for k in sorted(groups, reverse=True)]
