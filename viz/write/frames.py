"""The order in which a forward pass, and then a backward pass, come to the boxes of a picture."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import inf

from ..layout.layout import Layout
from ..scene.scene import Box

__all__ = ["Frame", "frames"]

_NAMED = 3  # names in the title of a frame outside of the time steps


@dataclass(slots=True)
class Frame:
    """Boxes that are computed in one go: those of a time step, or of what lies before, between and after them."""

    boxes: list[Box]
    time: int | None
    backward: bool

    @property
    def title(self) -> str:
        if self.time is not None:
            return f"t = {self.time}"
        names = [b.node.name or b.node.op.label for b in self.boxes if b.node is not None]
        named = [b.node.name for b in self.boxes if b.node is not None and b.node.name]
        shown = list(dict.fromkeys(named or names))
        return ", ".join(shown[:_NAMED]) + ("…" if len(shown) > _NAMED else "") or "…"


def frames(plan: Layout) -> list[Frame]:
    """All boxes in the order of computation, those of the gradient last, cut where the time step changes."""
    users = _users(plan)
    times: dict[Box, int | None] = {box: column.time for column in plan.columns for box in column.boxes}
    places = _places(plan, users)
    for box in plan.scene.boxes:
        if box not in times and users[box]:  # an initial state goes with the step that it is for
            first = min(users[box], key=places.__getitem__)
            if box.node is None or box.node.is_leaf:
                times[box] = times.get(first)
    ordered = sorted(plan.scene.boxes, key=lambda box: (box.backward, places[box]))
    runs: list[Frame] = []
    for box in ordered:
        time = times.get(box)
        if runs and (runs[-1].backward, runs[-1].time) == (box.backward, time):
            runs[-1].boxes.append(box)
        else:
            runs.append(Frame([box], time, box.backward))
    return _joined(runs)


def _users(plan: Layout) -> dict[Box, list[Box]]:
    users: dict[Box, list[Box]] = defaultdict(list)
    for link in plan.scene.links:
        users[link.source].append(link.target)
    return users


def _places(plan: Layout, users: dict[Box, list[Box]]) -> dict[Box, float]:
    """When each box is computed; a leaf and a mark just before what first uses it."""
    places = {b: float(b.node.serial) for b in plan.scene.boxes if b.node is not None and not b.node.is_leaf}
    for box in plan.scene.boxes:
        if box not in places:
            alike = [places.get(u, inf) for u in users[box] if u.backward == box.backward]
            places[box] = min(alike, default=inf) - 0.5
    return places


def _joined(runs: list[Frame]) -> list[Frame]:
    """What lies outside of the steps between two pieces of one step goes with it."""
    joined: list[Frame] = []
    for k, run in enumerate(runs):
        after = runs[k + 1] if k + 1 < len(runs) else None
        last = joined[-1] if joined else None
        if last is not None and last.backward == run.backward and (
            last.time == run.time or (run.time is None and after is not None and
                                      (after.time, after.backward) == (last.time, last.backward))
        ):  # fmt: skip
            last.boxes += run.boxes
        else:
            joined.append(run)
    return joined
