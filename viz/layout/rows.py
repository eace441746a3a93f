"""Rows of the time grid: a height for every quantity, shared by all time steps.

The picture is cut into regions from bottom to top: what is computed before the steps, the steps, what is computed from
them, and so on where steps follow again. Backward quantities have the regions mirrored: their data flows downwards.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable

from ...graph.walk import topological
from ..scene.scene import Scene
from .lanes import above

__all__ = ["GridRows"]

Key = Hashable
_Edges = dict[Key, list[Key]]


class GridRows:
    """For each key its lane (region, backward, phase) and row.

    Attributes
    ----------
    lane : dict
        Key to (region, whether backward, phase of the loop). Odd regions hold time steps; what is outside of them
        stands above or below the steps of its phase.
    row : dict
        Key to row, counted from the bottom of the picture.
    regions : dict
        Region to its first and last row.
    borders : set
        The empty rows where columns begin and end.
    units : dict
        Key of a state that runs straight through its step to the keys that it passes, from left to right.
    unit_of : dict
        Each of those keys to the key of its state; only that one is in `order`.
    """

    def __init__(self, scene: Scene) -> None:
        self.timed: dict[Key, bool] = {}
        self.backward: dict[Key, bool] = {}
        self._phase: dict[Key, int] = {}
        self.units = scene.conveyors
        self.unit_of = {member: key for key, members in self.units.items() for member in members}
        for box in scene.boxes:
            if box.beside is None and self.unit_of.get(box.key, box.key) == box.key:
                self.timed[box.key] = box.column is not None
                self.backward[box.key] = box.backward
                self._phase[box.key] = box.phase
        self.phases = sorted({step.phase for step in scene.columns}) or [0]
        self._read_edges(scene)
        self.order = topological(list(self.timed), self.ins, self.outs)
        stage = self._stages()
        depth, height = self._depths(stage)
        self._place(stage, depth, height)
        for member, key in self.unit_of.items():
            self.row[member], self.lane[member] = self.row[key], self.lane[key]
        for box in scene.boxes:  # initial states stand at the height of their state
            if box.beside is not None:
                self.row[box.key] = self.row[box.beside]
                self.lane[box.key] = self.lane[box.beside]

    def _read_edges(self, scene: Scene) -> None:
        ins: _Edges = {k: [] for k in self.timed}
        outs: _Edges = {k: [] for k in self.timed}
        seen = set()
        for link in scene.links:
            a, b = link.source, link.target
            pair = source, target = self.unit_of.get(a.key, a.key), self.unit_of.get(b.key, b.key)
            if link.kind in ("data", "state", "carry") and a.beside is None and pair not in seen and source != target:
                if a.column is not None and b.column is not None and a.column != b.column:
                    continue
                seen.add(pair)
                outs[source].append(target)
                ins[target].append(source)
        for low, high in above(scene, outs, ins, self.unit_of):
            outs[low].append(high)
            ins[high].append(low)
        self.ins, self.outs = ins, outs

    def _stages(self) -> dict[Key, int]:
        """How often the path to a quantity went into time steps and out again: even outside of them, odd inside.

        A loop that waits for another one stands beside it, so what it waits for does not count.
        """
        timed = self.timed
        stage: dict[Key, int] = {}
        for k in self.order:
            near = [i for i in self.ins[k] if i in stage and not (timed[k] and self._is_waited_for(i, k))]
            before = [stage[i] + (timed[i] != timed[k]) for i in near]
            stage[k] = max(before, default=int(timed[k]))
        placed = set()
        for k in reversed(self.order):  # as late as possible: targets stand beside the loss, not below the whole grid
            after = [stage[o] - (timed[o] != timed[k]) for o in self.outs[k] if o in placed]
            stage[k] = max(stage[k], min(after, default=stage[k]))
            placed.add(k)
        return stage

    def _is_waited_for(self, i: Key, k: Key) -> bool:
        if self.backward[k]:
            return self.backward[i] and self._phase[i] > self._phase[k]
        return self._phase[i] < self._phase[k]

    def _depths(self, stage: dict[Key, int]) -> tuple[dict[Key, int], dict[tuple[int, bool], int]]:
        depth: dict[Key, int] = {}
        for k in self.order:
            depth[k] = max((depth[i] + 1 for i in self.ins[k] if i in depth and stage[i] == stage[k]), default=0)
        height: dict[tuple[int, bool], int] = defaultdict(int)
        top: dict[tuple[int, bool], int] = defaultdict(int)
        for k in self.order:
            top[stage[k], self.backward[k]] = max(top[stage[k], self.backward[k]], depth[k])
        placed = set()
        for k in reversed(self.order):
            users = [o for o in self.outs[k] if o in placed and stage[o] == stage[k]]
            feeds = not self.timed[k] and any(stage[o] > stage[k] for o in self.outs[k])
            if not users and feeds:  # right below the steps that use it
                depth[k] = top[stage[k], self.backward[k]]
            elif users and len(users) >= sum(stage[i] == stage[k] for i in self.ins[k]):
                depth[k] = max(depth[k], min(depth[o] for o in users) - 1)
            placed.add(k)
        self._set_apart(stage, depth)
        for k in self.order:
            lane = (stage[k], self.backward[k])
            height[lane] = max(height[lane], depth[k] + 1)
        return depth, height

    def _set_apart(self, stage: dict[Key, int], depth: dict[Key, int]) -> None:
        """A row of its own for each state that runs straight through its step, above the others of its depth."""
        levels: dict[tuple[int, bool], set[tuple[int, int]]] = defaultdict(set)
        at: dict[Key, tuple[int, int]] = {}
        for n, k in enumerate(self.order):
            at[k] = depth[k], (n + 1 if k in self.units else 0)
            levels[stage[k], self.backward[k]].add(at[k])
        number = {lane: {level: n for n, level in enumerate(sorted(found))} for lane, found in levels.items()}
        for k in self.order:
            depth[k] = number[stage[k], self.backward[k]][at[k]]

    def _place(self, stage: dict[Key, int], depth: dict[Key, int], height: dict[tuple[int, bool], int]) -> None:
        top = max((s for s, backward in height if not backward), default=0)
        top += top % 2  # gradients begin outside of the steps
        region = {lane: top - lane[0] if lane[1] else lane[0] for lane in height}
        self.regions: dict[int, tuple[int, int]] = {}
        self.borders: set[int] = set()
        row = 0
        for r in sorted(set(region.values())):
            tall = max(h for lane, h in height.items() if region[lane] == r)
            if r % 2:
                self.borders.update((row, row + tall + 1))
                row += 1
            self.regions[r] = (row, row + tall - 1)
            row += tall + r % 2
        self.count = row
        self.lane: dict[Key, tuple[int, bool, int]] = {}
        self.row: dict[Key, int] = {}
        for k in self.order:
            r = region[stage[k], self.backward[k]]
            near = self.phases[max(bisect_right(self.phases, self._phase[k]) - 1, 0)]
            self.lane[k] = (r, self.backward[k], near)
            first, last = self.regions[r]
            self.row[k] = last - depth[k] if self.backward[k] else first + depth[k]
