"""Time steps of models that do not say them: a loop that comes back to the same line of code is a loop over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

from ..graph import Graph
from ..tensor import Tensor

__all__ = ["inferred_times"]

HOPS = 200  # how far back to look for what one turn of a loop has from the turn before


def inferred_times(whole: Graph) -> dict[int, int]:
    """Turns of the loop for the nodes that were recorded in it, from 0 on; empty where time steps are recorded."""
    if whole.times:
        return {}
    groups: dict[Hashable, list[Tensor]] = defaultdict(list)
    for t in whole.nodes:
        if t.inputs:
            groups[t.origin, t.name].append(t)
    sizes = {t.serial: len(g) for g in groups.values() for t in g}
    turns = [len(g) for g in groups.values() if len(g) > 1 and _comes_back(g, sizes)]
    if not turns:
        return {}
    count = min(turns)
    fitting = [g for g in groups.values() if len(g) % count == 0 and len(g) >= count]
    return {t.serial: k // (len(g) // count) for g in fitting for k, t in enumerate(g)}


def _comes_back(group: Sequence[Tensor], sizes: Mapping[int, int]) -> bool:
    """Whether the second of a group, and the last, come from the one before, by what the loop does each time."""
    return all(_depends(group[k], group[k - 1], sizes) for k in {1, len(group) - 1})


def _depends(t: Tensor, before: Tensor, sizes: Mapping[int, int]) -> bool:
    count, seen, stack = sizes[t.serial], {t.serial}, [t]
    while stack and len(seen) < HOPS:
        for i in stack.pop().inputs:
            if i is before:
                return True
            inside = i.serial > before.serial and sizes.get(i.serial, 0) % count == 0
            if inside and i.inputs and i.serial not in seen:
                seen.add(i.serial)
                stack.append(i)
    return False
