"""Time steps that are padding, as the masks of the recorded graph say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ..ops.elementwise import where
from ..ops.shape import BROADCAST, RESHAPE
from ..tensor import Tensor
from .scene import Step
from .timeline import PICKS, Timeline

__all__ = ["mark_padding"]

_SHAPES = (RESHAPE, BROADCAST)


def mark_padding(steps: Sequence[Step], nodes: Sequence[Tensor], timeline: Timeline) -> None:
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
