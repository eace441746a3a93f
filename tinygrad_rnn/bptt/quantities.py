"""The quantities of a recurrent network, found in its graph: what has a name, and what is carried through time."""

from __future__ import annotations

from typing import NamedTuple

from ..graph import Graph
from ..graph.timeline import quantities as numbered
from ..tensor import Tensor

__all__ = ["Quantity", "quantities", "unique"]


class Quantity(NamedTuple):
    """What has a value in each time step.

    Attributes
    ----------
    name : str
        With its scope path.
    kind : "state", "gate" or "input"
    members : list of Tensor
        In the order in which they were computed.
    """

    name: str
    kind: str
    members: list[Tensor]


def quantities(graph: Graph) -> list[Quantity]:
    """What was computed in time steps under one name; and states, which go into another step, without one.

    Tensors without a name belong together if the same expression made them in the same scope.
    """
    carried, numbers = _carried(graph), numbered(graph.nodes)
    groups: dict[object, list[Tensor]] = {}
    for t in graph.nodes:
        if t.time is not None and t.is_float and not (t.is_leaf and t.name is None):
            key = (t.scope, t.name) if t.name is not None else numbers[t.serial]
            groups.setdefault(key, []).append(t)
    found: list[Quantity] = []
    taken: set[str] = set()
    for members in groups.values():
        state = any(t.serial in carried for t in members)
        if state or members[0].name is not None:
            name = unique("/".join([*members[0].scope, members[0].name or "state"]), taken)
            kind = "state" if state else "gate" if any(t.requires_grad for t in members) else "input"
            found.append(Quantity(name, kind, members))
    return found


def _carried(graph: Graph) -> set[int]:
    """Serial numbers of what is used in another time step than its own."""
    return {i.serial for i, t in graph.edges if i.time is not None and t.time is not None and i.time != t.time}


def unique(name: str, taken: set[str]) -> str:
    """`name`, with a number if it is taken; it is taken then."""
    found, k = name, 2
    while found in taken:
        found, k = f"{name}_{k}", k + 1
    taken.add(found)
    return found
