"""Order and position of the quantities within the rows of one lane, by the method of Sugiyama.

Rows are sorted by the mean place of their neighbours, a few times up and down; then each box moves as near to its
neighbours as the order and the gaps allow, which for one row is an isotonic regression and solved exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from itertools import pairwise
from typing import NamedTuple

from ..scene import theme

__all__ = ["LONGEST", "Dummy", "arranged"]

Key = Hashable
LONGEST = 8  # an edge over more rows than this runs beside the boxes instead of between them


class Dummy(NamedTuple):
    """Room for the edges of `source` where they pass through a row."""

    source: Key
    row: int


def arranged(
    rows: dict[int, list[Key]], edges: list[tuple[Key, Key]], row: dict[Key, int], width: dict[Key, float]
) -> dict[Key, float]:
    """The centre of each key and of each Dummy, around 0; `rows` come as preferred and are sorted in place."""
    near = _neighbours(rows, edges, row)
    levels = sorted(rows)
    sweeps = 6 if sum(map(len, rows.values())) < 3000 else 2
    place = {k: float(n) for r in levels for n, k in enumerate(rows[r])}
    for s in range(sweeps):
        for r in levels if s % 2 == 0 else reversed(levels):
            side = near[s % 2]
            rows[r].sort(key=lambda k: _mean([place[o] for o in side[k]], place[k]))
            place.update((k, float(n)) for n, k in enumerate(rows[r]))
    return _positions(rows, levels, near, width, sweeps)


def _neighbours(
    rows: dict[int, list[Key]], edges: list[tuple[Key, Key]], row: dict[Key, int]
) -> tuple[dict[Key, list[Key]], dict[Key, list[Key]]]:
    """Neighbours in the row below and above, with dummies where an edge passes through rows."""
    below: dict[Key, list[Key]] = defaultdict(list)
    above: dict[Key, list[Key]] = defaultdict(list)
    made = set()
    for a, b in edges:
        sign = 1 if row[b] > row[a] else -1
        last: Key = a
        for r in range(row[a] + sign, row[b] + sign, sign):
            here: Key = b if r == row[b] else Dummy(a, r)
            if here == b or here not in made:
                low, high = (last, here) if sign > 0 else (here, last)
                above[low].append(high)
                below[high].append(low)
                if here != b:
                    made.add(here)
                    rows[r].append(here)
            last = here
    return below, above


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _positions(
    rows: dict[int, list[Key]],
    levels: list[int],
    near: tuple[dict[Key, list[Key]], ...],
    width: dict[Key, float],
    sweeps: int,
) -> dict[Key, float]:
    x: dict[Key, float] = {}
    for r in levels:
        keys = rows[r]
        offset = _packed([width.get(k, theme.DUMMY) for k in keys])
        x.update((k, o - offset[-1] / 2) for k, o in zip(keys, offset))
    for s in range(2 * sweeps + 1):
        last = s == 2 * sweeps
        for r in levels if s % 2 == 0 else reversed(levels):
            keys = rows[r]
            sides = [near[0][k] + near[1][k] if last else near[s % 2][k] or near[1 - s % 2][k] for k in keys]
            if last:  # chains run straight
                sides = [
                    near[0][k] if [k] == [a for o in near[0][k] for a in near[1][o]] else s for k, s in zip(keys, sides)
                ]
            wanted = [_mean([x[o] for o in side], x[k]) for k, side in zip(keys, sides)]
            weight = [4.0 if isinstance(k, Dummy) else 1.0 for k in keys]
            x.update(zip(keys, _fitted(wanted, weight, _packed([width.get(k, theme.DUMMY) for k in keys]))))
    return x


def _packed(widths: list[float]) -> list[float]:
    """Centres of boxes that stand as close as they may, from 0."""
    centre = [0.0]
    for a, b in pairwise(widths):
        centre.append(centre[-1] + (a + b) / 2 + theme.BOX_GAP)
    return centre


def _fitted(wanted: list[float], weight: list[float], packed: list[float]) -> list[float]:
    """Positions nearest to those wanted, in order and no closer than packed: pool adjacent violators."""
    blocks: list[list[float]] = []  # mean, weight, count
    for goal, w, p in zip(wanted, weight, packed):
        blocks.append([goal - p, w, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            m, v, n = blocks.pop()
            b = blocks[-1]
            b[:] = [(b[0] * b[1] + m * v) / (b[1] + v), b[1] + v, b[2] + n]
    shift = [m for m, _, n in blocks for _ in range(int(n))]
    return [s + p for s, p in zip(shift, packed)]
