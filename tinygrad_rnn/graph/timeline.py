"""What of a recorded graph is one quantity at different time steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ..tensor import Origin, Tensor

__all__ = ["quantities"]


def quantities(nodes: Sequence[Tensor]) -> dict[int, int]:
    """For each node, by serial number, the number of the quantity that it is at its time step: one for each origin.

    Branches of a condition on one line are one quantity. They are told from operations that stand beside each other on
    the line by this: no time step has two of them.
    """
    numbers: dict[Origin, int] = {}
    found = {t.serial: numbers.setdefault(t.origin, len(numbers)) for t in nodes}
    steps: list[set[tuple[int, bool]]] = [set() for _ in numbers]
    for t in nodes:
        if t.place.time is not None:
            steps[found[t.serial]].add((t.place.time, t.place.backward))
    on_line: dict[Origin, list[int]] = defaultdict(list)
    same = list(range(len(numbers)))
    for origin, k in numbers.items():
        beside = on_line[origin.line]
        same[k] = next((n for n in beside if steps[k] and steps[n].isdisjoint(steps[k])), k)
        if same[k] != k:
            steps[same[k]] |= steps[k]
        elif steps[k]:
            beside.append(k)
    return {serial: same[k] for serial, k in found.items()}
