"""Checkpointing: values of the forward pass that are computed again when the backward pass needs them.

The forward nodes are divided into segments. What a segment hands to other forward nodes is kept; all else that its
backward nodes use is computed a second time, from what was kept, just before they run. With about sqrt(T) segments of
sqrt(T) steps the memory for T steps is that of about 2 sqrt(T), for one more forward pass (Chen et al., 2016).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import isqrt
from typing import Any

from ..ops.core import apply
from ..ops.shape import stack
from ..tensor import Tensor
from .capture import inside, remake
from .homes import FREE
from .internal import CONTRACT, SCATTER
from .rewrite import Rewriter
from .schedule import keys

__all__ = ["by_position", "by_time", "recompute", "split_sums"]

Segment = Callable[[Tensor], Any]  # the segment that a forward node belongs to, or None


def by_time(rewriter: Rewriter) -> dict[int, int]:
    """Segment by time step: as many segments as there are steps in one, or nearly."""
    times = sorted({t.time for t in rewriter.nodes if t.time is not None})
    length = max(isqrt(len(times)), 1)
    return {time: k // length for k, time in enumerate(times)}


def by_position(rewriter: Rewriter, ranges: Sequence[tuple[int, int]]) -> Segment:
    """Segment by what was recorded inside one call of a checkpointed function."""

    def segment(t: Tensor) -> int | None:
        at = rewriter.position(t)
        return next((k for k, (start, end) in enumerate(ranges) if start <= at <= end), None)

    return segment


def recompute(rewriter: Rewriter, segment: Segment) -> None:
    """Let backward nodes use values that are computed again."""
    members = {t.serial: segment(t) for t in rewriter.nodes if t.inputs and not t.place.backward}
    members = {s: k for s, k in members.items() if k is not None}
    kept = _kept(rewriter, members)
    when = keys(rewriter)
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
            copy = copies[t.serial] = remake(t, tuple([copies.get(i.serial, i) for i in t.inputs]))
            rewriter.rank[copy.serial] = starts[members[t.serial]] - 0.5
    for t in rewriter.nodes:
        if t.place.backward and any(i.serial in copies for i in t.inputs):
            new = replaced[t.serial] = remake(t, tuple([copies.get(i.serial, i) for i in t.inputs]))
            rewriter.note_rank(t, new)
    rewriter.replace(replaced)


def _kept(rewriter: Rewriter, members: dict[int, Any]) -> set[int]:
    """What must stay: results, random numbers, and what forward nodes of other segments use, also by way of views."""
    kept = {t.serial for t in rewriter.roots}
    kept |= {t.serial for t in rewriter.nodes if "generator" in t.params}
    for t in reversed(rewriter.nodes):
        through = t.op.name in FREE and t.serial in kept
        for i in t.inputs:
            outside = not t.place.backward and members.get(t.serial) != members.get(i.serial)
            if through or outside:
                kept.add(i.serial)
    return kept


def split_sums(rewriter: Rewriter, segments: dict[int, int]) -> None:
    """Sums over all time steps as sums over segments, so that the summands of a segment need not outlive it."""
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


def _parts(t: Tensor, segments: dict[int, int]) -> list[Callable[..., Tensor]]:
    if t.op is CONTRACT:
        pairs = list(zip(t.inputs[::2], t.inputs[1::2], strict=True))
        groups = _grouped([g.time for _, g in pairs], segments)
        return [lambda g=g: apply(CONTRACT, tuple(x for k in g for x in pairs[k])) for g in groups]
    if t.op is SCATTER and t.inputs[1].op.name == "stack" and t.inputs[1].params["axis"] == 0:
        index, rows = t.inputs
        groups = _grouped([r.time for r in rows.inputs], segments)
        return [
            lambda g=g: apply(SCATTER, (index[g[0] : g[-1] + 1], stack([rows.inputs[k] for k in g])), t.params)
            for g in groups
        ]
    return []


def _grouped(times: list[int | None], segments: dict[int, int]) -> list[list[int]]:
    """Positions by segment, the last segment first, as the backward pass comes to them."""
    groups: dict[int, list[int]] = defaultdict(list)
    for k, time in enumerate(times):
        groups[segments.get(time, -1) if time is not None else -1].append(k)
    consecutive = all(g == list(range(g[0], g[-1] + 1)) for g in groups.values())
    return [groups[k] for k in sorted(groups, reverse=True)] if consecutive else []
