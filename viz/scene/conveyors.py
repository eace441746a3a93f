"""States that run straight through a step, on through the operators that change them.

A *conveyor* is the row of operators by which a state is carried on, as the cell state of an LSTM: c times f, plus what
is new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from .scene import Box, Link

__all__ = ["conveyors", "is_rightward", "states"]

Key = Hashable
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
    for link in states(links):
        state = link.source.key
        chain = _chain(link.target.key, state, users, boxes)
        if state not in found and len(chain) > 1 and not taken.intersection(chain):
            taken.update(chain)
            found[state] = chain if is_rightward(link) else chain[::-1]
    return found


def _chain(key: Key, state: Key, users: Mapping[Key, dict[Key, None]], boxes: dict[Key, Box]) -> list[Key]:
    chain = [key]
    while len(chain) < _LONGEST and chain[-1] != state:
        after = list(users.get(chain[-1], ()))
        if len(after) != 1:
            return []
        chain += after
    return chain if chain[-1] == state and all(k in boxes and boxes[k].is_operator for k in chain) else []


def states(links: Iterable[Link]) -> Iterator[Link]:
    """Edges of one loop from step to step, all of whose ends are drawn."""
    for link in links:
        a, b = link.source, link.target
        own = link.kind in ("state", "delay") and not a.backward and a.beside is None and a.phase == b.phase
        if own and a.form != "gap" and b.form != "gap":
            yield link


def is_rightward(link: Link) -> bool:
    """Whether a state runs to later steps."""
    if link.kind == "delay":
        return not link.leftward
    return (link.source.column or 0) <= (link.target.column or 0)
