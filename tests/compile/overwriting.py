"""An independent look at a program's memory: whatever is read is still what was computed, byte for byte.

The instructions are gone through once more without computing. Each byte is marked with the instruction that wrote it
last; a node that is used must have the marks that it had when it was done. So an overwritten value is found whatever
the numbers are, also where a wrong result happens to be right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn.compile import program as programs
from tinygrad_rnn.compile.lower import Lowering
from tinygrad_rnn.compile.views import View
from tinygrad_rnn.tensor import Tensor

__all__ = ["Noted", "overwritten", "watched"]


class Noted(Lowering):
    """A lowering that remembers where each node lay, when."""

    last: Noted

    def run(self) -> None:
        Noted.last = self
        self.done: list[tuple[Tensor, int, int, View]] = []  # node, first instruction and one after the last, view
        self.moved: dict[int, dict[int, View]] = {}  # from an instruction on: new views by serial number
        super().run()

    def lower(self, t: Tensor) -> View:
        begun = len(self.emitter.instructions)
        view = super().lower(t)
        self.done.append((t, begun, len(self.emitter.instructions), view))
        return view

    def keep_before(self, node: Tensor, place: View) -> None:
        before = dict(self.views)
        super().keep_before(node, place)
        moved = {s: v for s, v in self.views.items() if v is not before[s]}
        if moved:
            self.moved[len(self.emitter.instructions)] = moved


def watched(monkeypatch: Any) -> None:
    """Let programs be made by a lowering that remembers."""
    monkeypatch.setattr(programs, "Lowering", Noted)


class _Marks:
    """Which instruction wrote each byte last, by storage."""

    def __init__(self, program: Any) -> None:
        self._arena = np.full(program.arena_bytes, -1)
        self._others: dict[int, np.ndarray] = {}

    def _of(self, view: View) -> np.ndarray:
        slot = view.storage.slot
        return self._others.setdefault(slot, np.full(view.storage.nbytes, -1)) if slot else self._arena

    def _bytes(self, view: View) -> np.ndarray:
        first = view.offset + (0 if view.storage.slot else view.storage.offset)
        at = np.full((*view.shape, view.dtype.itemsize), first)
        for k, (n, s) in enumerate(zip(view.shape, view.strides, strict=True)):
            at += (np.arange(n) * s).reshape(n, *(1,) * (len(view.shape) - k))
        return at + np.arange(view.dtype.itemsize)

    def read(self, view: View) -> np.ndarray:
        return self._of(view)[self._bytes(view)] if view.size else np.empty(0)

    def part(self, view: View, whole: View, held: np.ndarray) -> np.ndarray | None:
        """The marks of a view, given those of what it is a part of; None where it is none."""
        if whole.storage is not view.storage or not view.size:
            return None
        known = np.full(self._of(whole).size, -1_000_000)
        known[self._bytes(whole)] = held
        found = known[self._bytes(view)]
        return None if (found == -1_000_000).any() else found

    def write(self, view: View, mark: int) -> None:
        if view.size:
            self._of(view)[self._bytes(view)] = mark


def overwritten(program: Any, low: Noted) -> list[str]:
    """What is read, or returned, after something else was written over it."""
    marks, views, held, wrong = _Marks(program), {}, {}, []
    for k, view in enumerate(program._runner.table.inputs):
        marks.write(view, -2 - k)

    def look(t: Tensor, user: str) -> None:
        if not np.array_equal(marks.read(views[t.serial]), held[t.serial]):
            wrong.append(f"{t.name or t.op.name} for {user}")

    for t, begun, end, view in low.done:
        if begun == end and len(t.inputs) == 1:  # only another view: what it leaves out may have been overwritten
            part = marks.part(view, views[t.inputs[0].serial], held[t.inputs[0].serial])
            if part is not None:
                views[t.serial], held[t.serial] = view, part
                continue
        for i in t.inputs if t.size or begun < end else ():
            look(i, t.name or t.op.name)
        for at in range(begun, end):
            i = program.instructions[at]
            for written in i.views[len(i.views) - i.writes :]:
                marks.write(written, at)
            for serial, moved in low.moved.get(at + 1, {}).items():
                views[serial], held[serial] = moved, marks.read(moved)
        views[t.serial], held[t.serial] = view, marks.read(view)
    nodes = {t.serial: t for t, *_ in low.done}
    for serial in low.roots & nodes.keys():
        look(nodes[serial], "the result")
    return wrong
