"""How states run through a step: straight on through the operators that change them, and in a lane for each direction.

A *conveyor* is the row of operators by which a state is carried on, as the cell state of an LSTM: c times f, plus what
is new. A *lane* is what lies between a state as it comes in and as it goes out; where states run in both directions,
the lane of those that run leftwards stands above the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from ..graph.walk import reachable
from .scene import Box, Link, Scene

__all__ = ["above", "conveyors"]

Key = Hashable
_Edges = Mapping[Key, list[Key]]
_LONGEST = 3  # operators in one conveyor


def conveyors(all_boxes: Iterable[Box], links: Sequence[Link]) -> dict[Key, list[Key]]:
    """For each state that runs straight through its step the keys of the operators that it passes, itself the last."""
    boxes = {box.key: box for box in all_boxes if box.form != "gap"}
    users: dict[Key, dict[Key, None]] = defaultdict(dict)
    for link in links:
        if link.source.column == link.target.column and link.kind == "data" and link.source.beside is None:
            users[link.source.key][link.target.key] = None
    found: dict[Key, list[Key]] = {}
    taken: set[Key] = set()
    for link in _states(links):
        state = link.source.key
        chain = _chain(link.target.key, state, users, boxes)
        if state not in found and len(chain) > 1 and not taken.intersection(chain):
            taken.update(chain)
            found[state] = chain if _rightward(link) else chain[::-1]
    return found


def _chain(key: Key, state: Key, users: Mapping[Key, dict[Key, None]], boxes: dict[Key, Box]) -> list[Key]:
    chain = [key]
    while len(chain) < _LONGEST and chain[-1] != state:
        after = list(users.get(chain[-1], ()))
        if len(after) != 1:
            return []
        chain += after
    return chain if chain[-1] == state and all(k in boxes and boxes[k].is_operator for k in chain) else []


def _states(links: Iterable[Link]) -> Iterator[Link]:
    """Edges of one loop from step to step, all of whose ends are drawn."""
    for link in links:
        a, b = link.source, link.target
        own = link.kind in ("state", "delay") and not a.backward and a.beside is None and a.phase == b.phase
        if own and a.form != "gap" and b.form != "gap":
            yield link


def _rightward(link: Link) -> bool:
    """Whether a state runs to later steps."""
    if link.kind == "delay":
        return not link.leftward
    return (link.source.column or 0) <= (link.target.column or 0)


def above(scene: Scene, outs: _Edges, ins: _Edges, unit_of: Mapping[Key, Key]) -> list[tuple[Key, Key]]:
    """Pairs of a lower and a higher key that put the lanes of leftward states above those of rightward ones."""
    entries: dict[bool, dict[Key, dict[Key, None]]] = {True: defaultdict(dict), False: defaultdict(dict)}
    for link in _states(scene.links):
        state, entry = (unit_of.get(b.key, b.key) for b in (link.source, link.target))
        entries[_rightward(link)][state][entry] = None
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
