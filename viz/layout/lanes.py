"""A lane for each direction in which states run.

A *lane* is what lies between a state as it comes in and as it goes out; where states run in both directions, the lane
of those that run leftwards stands above the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping

from ...graph.walk import reachable
from ..scene.conveyors import is_rightward, states
from ..scene.scene import Scene

__all__ = ["above"]

Key = Hashable
_Edges = Mapping[Key, list[Key]]


def above(scene: Scene, outs: _Edges, ins: _Edges, unit_of: Mapping[Key, Key]) -> list[tuple[Key, Key]]:
    """Pairs of a lower and a higher key that put the lanes of leftward states above those of rightward ones."""
    entries: dict[bool, dict[Key, dict[Key, None]]] = {True: defaultdict(dict), False: defaultdict(dict)}
    for link in states(scene.links):
        state, entry = (unit_of.get(b.key, b.key) for b in (link.source, link.target))
        entries[is_rightward(link)][state][entry] = None
    if not all(entries.values()):
        return []
    there, back = (
        [(_between(entry, state, outs, ins), reachable(state, outs)) for state, entry in entries[rightward].items()]
        for rightward in (True, False)
    )
    pairs: dict[tuple[Key, Key], None] = {}
    for low, after_low in there:
        for high, after_high in back:
            if not (after_low & high.keys() or after_high & low.keys()):
                tops = [k for k in low if not any(o in low for o in outs[k])]
                bottoms = [k for k in high if not any(i in high for i in ins[k])]
                pairs.update({(a, b): None for a in tops for b in bottoms})
    return list(pairs)


def _between(entries: dict[Key, None], state: Key, outs: _Edges, ins: _Edges) -> dict[Key, None]:
    after: dict[Key, None] = {}
    for entry in entries:
        after.update(dict.fromkeys([entry, *reachable(entry, outs)]))
    before = reachable(state, ins)
    return {k: None for k in after if k in before or k == state}
