"""Things in the order of what depends on what."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

__all__ = ["topological"]

_K = TypeVar("_K", bound=Hashable)


def topological(keys: Sequence[_K], ins: Mapping[_K, Collection[_K]], outs: Mapping[_K, Iterable[_K]]) -> list[_K]:
    """Kahn's order, earliest first; where steps disagree and make a circle, the earliest of what is left goes on."""
    number = {k: n for n, k in enumerate(keys)}
    missing = {k: len(ins[k]) for k in keys}
    ready = [n for n, k in enumerate(keys) if not missing[k]]
    order: list[_K] = []
    done = set()
    stuck = iter(range(len(keys)))
    while len(order) < len(keys):
        n = heapq.heappop(ready) if ready else next(stuck)
        k = keys[n]
        if k in done:
            continue
        done.add(k)
        order.append(k)
        for o in outs[k]:
            missing[o] -= 1
            if not missing[o]:
                heapq.heappush(ready, number[o])
    return order
