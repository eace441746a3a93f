"""Which quantities of different time steps are the same one, and which loops over time run after one another.

All of it is found from the recorded graph. A quantity has a key that it shares with its like in the other steps. Keys
that feed one another within a step make a loop; a loop that waits for the end of another one, as a decoder does for its
encoder, has a later phase and gets columns of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from ...graph.timeline import quantities
from ...ops.index import INDEX, SLICE
from ...tensor import CONSTANT, DETACHED, LITERAL, PARAMETER, Tensor

__all__ = ["PICKS", "Start", "Timeline", "is_folded"]

PICKS = (SLICE, INDEX)  # ops that take one step's part out of a sequence

Key = int


class Start(NamedTuple):
    """An initial state: a later value of the same state, after how many steps it is used, the phase of its loop."""

    state: Tensor
    delay: int
    phase: int


_Edge = tuple[Tensor, Tensor]


class Timeline:
    """The time steps of the nodes of a graph, given in topological order.

    Attributes
    ----------
    key : dict
        Serial number to the key of the quantity: negative and shared over time steps, or the serial number itself
        outside of steps.
    phase : dict
        Key of a quantity in time steps to the phase of its loop, from 0.
    cells : set of tuple of str
        Scopes that hand a state from step to step.
    times : list of tuple of int
        For each phase the time steps of what is drawn, in order.
    initial : dict
        Serial number of an initial state to the :class:`Start` that it is.
    starts : list
        Each use of a value that stands for a state: the value, its user, and the start that it is there.
    """

    def __init__(self, nodes: Sequence[Tensor], drawn: Sequence[Tensor] | None = None, timed: bool = True) -> None:
        """`drawn` are those to draw, all by default; with `timed` False the steps are forgotten."""
        if not timed:
            self.key, self.phase, self.cells = {t.serial: t.serial for t in nodes}, {}, set()
            self.times, self.initial, self.starts = [], {}, []
            return
        self.key = _keys(nodes)
        self._join(nodes)
        self.phase = self._phases(nodes)
        self.cells = {
            _common(i.scope, t.place.scope)
            for i, t in self._timed_edges(nodes)
            if i.place.time != t.place.time and not t.place.backward and self._loop(i) == self._loop(t)
        }
        self.times = self._times(nodes if drawn is None else drawn)
        self.starts = list(self._starts(nodes))
        self.initial = {
            i.serial: start
            for i, _, start in reversed(self.starts)
            if i.is_leaf and i.op is not DETACHED and i.place.time is None
        }

    def phase_of(self, t: Tensor) -> int | None:
        """The phase of a node; None outside of time steps."""
        return self.phase.get(self.key[t.serial])

    def _times(self, nodes: Sequence[Tensor]) -> list[tuple[int, ...]]:
        times: dict[int, set[int]] = defaultdict(set)
        for t in nodes:
            phase = self.phase_of(t)
            if t.place.time is not None and phase is not None and not is_folded(t):
                times[phase].add(t.place.time)
        return [tuple(sorted(times[p])) for p in range(max(times, default=-1) + 1)]

    def _starts(self, nodes: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor, Start]]:
        """Values that a step has in place of a state of its phase, with their users and the starts that they are."""
        states: dict[tuple[Key, int], Start] = {}
        others: list[tuple[Tensor, Tensor, tuple[Key, int]]] = []
        for t in nodes:
            if t.place.time is None or t.place.backward:
                continue
            phase = self.phase_of(t)
            for k, i in enumerate(t.inputs):
                if i.serial not in self.key:
                    continue  # of the direction that is left out
                use = self.key[t.serial], k
                if i.place.time is None or self.phase_of(i) != phase:
                    others.append((i, t, use))
                elif i.place.time != t.place.time and use not in states:
                    states[use] = Start(i, t.place.time - i.place.time, phase or 0)
        for i, t, use in others:
            start = states.get(use)
            if start is not None and start.state.shape == i.shape and self._is_before(t, start):
                yield i, t, start

    def _is_before(self, user: Tensor, start: Start) -> bool:
        """Whether the step that the state would come from is before the first one, or after the last one."""
        times, time = self.times[start.phase], (user.place.time or 0) - start.delay
        return time < times[0] if start.delay > 0 else time > times[-1]


    # Loops: keys joined because they always meet within one step ----------------------------------------------------

    def _join(self, nodes: Sequence[Tensor]) -> None:
        together: dict[tuple[Key, Key], bool] = {}
        for i, t in self._timed_edges(nodes):
            pair = self.key[i.serial], self.key[t.serial]
            together[pair] = together.get(pair, True) and i.place.time == t.place.time
        self._root: dict[Key, Key] = {}
        for (a, b), always in together.items():
            if always:
                self._root[self._find(a)] = self._find(b)

    def _timed_edges(self, nodes: Sequence[Tensor]) -> Iterator[_Edge]:
        for t in nodes:
            if t.place.time is not None:
                for i in t.inputs:
                    if i.place.time is not None and i.serial in self.key:
                        yield i, t

    def _find(self, key: Key) -> Key:
        root = self._root
        while root.get(key, key) != key:
            root[key] = root.get(root[key], root[key])
            key = root[key]
        return key

    def _loop(self, t: Tensor) -> Key:
        return self._find(self.key[t.serial])

    # Phases: the longest chain of loops that wait for one another ---------------------------------------------------

    def _phases(self, nodes: Sequence[Tensor]) -> dict[Key, int]:
        timed = [t for t in nodes if t.place.time is not None]
        forward = [t for t in timed if not t.place.backward]
        loop_phase = _longest({self._loop(t): None for t in forward}, self._waits(nodes))
        by_scope = {t.place.scope: loop_phase[self._loop(t)] for t in forward}
        phase: dict[Key, int] = {}
        for t in timed:
            found = loop_phase.get(self._loop(t))
            phase.setdefault(self.key[t.serial], by_scope.get(t.place.scope, 0) if found is None else found)
        return phase

    def _waits(self, nodes: Sequence[Tensor]) -> dict[tuple[Key, Key], int]:
        """Pairs of loops: 1 where the second one starts from what the first one ends with, else 0."""
        waits: dict[tuple[Key, Key], int] = {}
        seen: dict[int, dict[Key, None]] = {}  # loops that a node outside of steps was computed from
        delays: dict[tuple[Key, Key], list[int]] = defaultdict(list)  # of the edges between two quantities
        for t in nodes:
            if t.place.backward:
                continue
            if t.place.time is None:
                seen[t.serial] = {loop: None for i in t.inputs for loop in self._loops_of(i, seen)}
                continue
            here = self._loop(t)
            for i in t.inputs:
                if i.serial not in self.key:
                    continue
                if i.place.time is not None:
                    delays[self.key[i.serial], self.key[t.serial]].append(t.place.time - i.place.time)
                    continue
                for loop in self._loops_of(i, seen):
                    if loop != here:
                        waits[loop, here] = max(waits.get((loop, here), 0), int(t.op not in PICKS))
        for (a, b), found in delays.items():
            pair = self._find(a), self._find(b)
            if pair[0] != pair[1]:
                step_by_step = min(found) > 0 or (len(found) > 1 and min(found) == max(found))
                waits[pair] = max(waits.get(pair, 0), int(not step_by_step))
        return waits

    def _loops_of(self, t: Tensor, seen: dict[int, dict[Key, None]]) -> dict[Key, None]:
        if t.place.time is None or t.serial not in self.key:
            return seen.get(t.serial, {})
        return {self._loop(t): None}


def is_folded(t: Tensor) -> bool:
    """Whether a leaf is written into the boxes that use it instead of having its own."""
    return t.op is PARAMETER or ((t.op is LITERAL or t.op is CONSTANT) and t.size == 1)


def _common(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return a[:n]


def _longest(loops: dict[Key, None], waits: dict[tuple[Key, Key], int]) -> dict[Key, int]:
    """For each loop the number of waits on the longest chain before it; loops in a circle come where they can."""
    after: dict[Key, list[tuple[Key, int]]] = defaultdict(list)
    missing = Counter(b for _, b in waits)
    for (a, b), step in waits.items():
        after[a].append((b, step))
    phase = dict.fromkeys(loops, 0)
    ready = [loop for loop in loops if not missing[loop]]
    while ready:
        loop = ready.pop()
        for other, step in after[loop]:
            phase[other] = max(phase[other], phase[loop] + step)
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
    return phase


def _keys(nodes: Sequence[Tensor]) -> dict[int, Key]:
    """What tells quantities apart is their name, if it comes back in other steps, or the expression of the user's code.

    Gradients are told apart by the values that they look at too: not every step has all of them.
    """
    spread: dict[str, set[int]] = defaultdict(set)
    for t in nodes:
        if t.name and t.place.time is not None:
            spread[t.name].add(t.place.time)
    keys: dict[int, Key] = {t.serial: t.serial for t in nodes if t.place.time is None}
    timed = [t for t in nodes if t.place.time is not None]
    count: Counter[Hashable] = Counter()
    number: dict[Hashable, Key] = {}
    looks_at: dict[int, Key] = {}
    numbers = quantities(timed)
    for backward in (False, True):
        for t in timed:
            if t.place.backward != backward:
                continue
            what: Hashable = t.name
            if not t.name or len(spread[t.name]) == 1:
                values = (i.serial if i.op is PARAMETER else looks_at.get(i.serial) for i in t.inputs)
                what = (numbers[t.serial], *(v for v in values if v is not None))
            path = (backward, t.op is DETACHED, t.place.scope, what)
            turn = (t.place.time, path)
            full = (path, count[turn])
            count[turn] += 1
            keys[t.serial] = number.setdefault(full, -1 - len(number))
        if not backward:
            looks_at = _values(timed, keys)
    return keys


def _values(timed: Sequence[Tensor], keys: dict[int, Key]) -> dict[int, Key]:
    """Keys of the values in time steps, and of initial states those of their states."""
    found: dict[int, Key] = {}
    states: dict[tuple[Key, int], Key] = {}
    forward = [t for t in timed if not t.place.backward]
    for t in forward:
        found[t.serial] = keys[t.serial]
        for k, i in enumerate(t.inputs):
            if i.place.time is not None and i.place.time != t.place.time:
                states.setdefault((keys[t.serial], k), keys[i.serial])
    for t in forward:
        for k, i in enumerate(t.inputs):
            if i.is_leaf and i.place.time is None and (keys[t.serial], k) in states:
                found.setdefault(i.serial, states[keys[t.serial], k])
    return found
