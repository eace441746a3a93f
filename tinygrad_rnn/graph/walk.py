"""Walks over a recorded graph, none of which recurses: serial numbers are its order, and inputs the way back."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TypeVar

from ..tensor import Tensor

__all__ = ["dependent", "in_order", "reach", "reachable", "topological", "users", "uses"]

K = TypeVar("K", bound=Hashable)
_inputs: Callable[[Tensor], Iterable[Tensor]] = attrgetter("inputs")


def reach(outputs: Iterable[Tensor], follow: Callable[[Tensor], Iterable[Tensor]] = _inputs) -> tuple[Tensor, ...]:
    """All that `outputs` were computed from, and they themselves, each after its inputs.

    Parameters
    ----------
    outputs : iterable of Tensor
    follow : callable
        Gives those inputs of a node to which the walk goes on; all of them by default.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.graph.walk import reach
    >>> x = tg.tensor(1.0, name="x")
    >>> y = tg.exp(x).named("y")
    >>> [t.name for t in reach([tg.sin(y).named("z")])]
    ['x', 'y', 'z']
    """
    nodes = {t.serial: t for t in outputs}
    stack = list(nodes.values())
    while stack:
        for t in follow(stack.pop()):
            if t.serial not in nodes:
                nodes[t.serial] = t
                stack.append(t)
    return tuple([nodes[serial] for serial in sorted(nodes)])


def uses(nodes: Iterable[Tensor]) -> Counter[int]:
    """How often each tensor is an input of the nodes, by serial number."""
    return Counter([i.serial for t in nodes for i in t.inputs])


def users(nodes: Iterable[Tensor]) -> dict[int, list[Tensor]]:
    """The nodes that each tensor is an input of, in order, by serial number: one twice that takes it twice."""
    found: dict[int, list[Tensor]] = defaultdict(list)
    for t in nodes:
        for i in t.inputs:
            found[i.serial].append(t)
    return found


def dependent(nodes: Iterable[Tensor], on: Collection[int]) -> set[int]:
    """Serial numbers of the nodes, in order, that are among those in `on` or are computed from one by way of others."""
    found = set(on)
    for t in nodes:
        for i in t.inputs:
            if i.serial in found:
                found.add(t.serial)
                break
    return found


def in_order(nodes: Iterable[Tensor]) -> list[Tensor]:
    """Nodes and all that they need, inputs first, otherwise in the given order."""
    done: dict[int, Tensor] = {}
    for t in nodes:
        stack: list[Tensor] = []
        while True:
            for i in t.inputs:
                if i.serial not in done:
                    stack.append(t)
                    t = i
                    break
            else:
                done.setdefault(t.serial, t)
                if not stack:
                    break
                t = stack.pop()
    return list(done.values())


# Things that are no tensors -------------------------------------------------------------------------------------------


def reachable(key: K, edges: Mapping[K, Iterable[K]]) -> set[K]:
    """All that `key` leads to; itself only where a circle leads back.

    Examples
    --------
    >>> from tinygrad_rnn.graph.walk import reachable
    >>> sorted(reachable("a", {"a": "b", "b": "cb", "c": "", "d": "a"}))
    ['b', 'c']
    """
    found: set[K] = set()
    stack = [key]
    while stack:
        for k in edges[stack.pop()]:
            if k not in found:
                found.add(k)
                stack.append(k)
    return found


def topological(keys: Sequence[K], ins: Mapping[K, Collection[K]], outs: Mapping[K, Iterable[K]]) -> list[K]:
    """Kahn's order, earliest first; where steps disagree and make a circle, the earliest of what is left goes on."""
    number = {k: n for n, k in enumerate(keys)}
    missing = {k: len(ins[k]) for k in keys}
    ready = [n for n, k in enumerate(keys) if not missing[k]]
    order: list[K] = []
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
