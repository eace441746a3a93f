"""What a program says of itself: its instructions, what memory it takes, and where its time goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..tensor import describe
from .emit import Instruction
from .run import Runner, Table, Workspace
from .views import Storage, View

__all__ = ["Memory", "Profile", "listing_of", "memory_of", "profile_of"]

_CLOCK_NS = 25  # what reading the clock adds to an instruction


@dataclass(frozen=True)
class Memory:
    """What a program keeps.

    Attributes
    ----------
    arena : int
        Bytes of the arena.
    unshared : int
        Bytes that it would take if no memory were used twice.
    largest : list of (label, bytes, first, last)
        The largest pieces at the fullest moment, and the instructions between which they hold something.
    constants : int
        Bytes of constants.
    """

    arena: int
    unshared: int
    largest: list[tuple[str, int, int, int]]
    constants: int

    def __str__(self) -> str:
        lines = [
            f"arena {self.arena:,} bytes; {self.unshared:,} without reuse; constants {self.constants:,}",
            "largest at the fullest moment (bytes, label, instructions):",
        ]
        return "\n".join([*lines, *(f"  {n:>12,}  {label}  {a}-{b}" for label, n, a, b in self.largest)])


@dataclass(frozen=True)
class Profile:
    """Where a run of a program spent its time, in nanoseconds."""

    total: int
    by_op: dict[str, int]
    by_scope: dict[str, int]
    by_time: dict[int | None, int]
    by_instruction: list[int] = field(repr=False)

    def __str__(self) -> str:
        lines = [f"{self.total / 1e6:.3f} ms"]
        for what, table in (("op", self.by_op), ("scope", self.by_scope)):
            lines.append(f"by {what}:")
            ordered = sorted(table.items(), key=lambda item: -item[1])
            lines += [f"  {ns / 1e6:9.3f} ms {100 * ns / max(self.total, 1):5.1f} %  {name}" for name, ns in ordered]
        return "\n".join(lines)


def memory_of(storages: Sequence[Storage], table: Table) -> Memory:
    used = [s for s in storages if s.first <= s.last]
    top = max(used, key=lambda s: s.offset + s.nbytes, default=None)
    alive = [s for s in used if top is not None and s.first <= top.first <= s.last]
    alive.sort(key=lambda s: -s.nbytes)
    largest = [(s.label, s.nbytes, s.first, s.last) for s in alive[:10]]
    constants = sum(e.nbytes for e in table.entries if isinstance(e, np.ndarray))
    return Memory(table.arena_bytes, sum(s.nbytes for s in used), largest, constants)


def profile_of(runner: Runner, arrays: Sequence[np.ndarray], repeats: int) -> Profile:
    """Run on these arrays with a clock, and put everything back that is changed by it."""
    times = np.zeros(len(runner.table.instructions), np.int64)
    workspace = runner.workspace()
    try:
        with runner.turns.lock, _put_back(runner, workspace):
            for _ in range(repeats):
                workspace.stage(arrays)
                workspace.time(times)
    finally:
        workspace.reached = 0  # nothing of it is to be counted by the run that works here next
        runner.free.append(workspace)
    return _summed_up(runner.table.instructions, times // repeats)


@contextmanager
def _put_back(runner: Runner, workspace: Workspace) -> Iterator[None]:
    """Undo what runs within the block change."""
    workspace.refresh()
    table, written = runner.table, {id(t) for t in runner.recording.written}
    slots = [slot for t, slot in table.tensors if id(t) in written] + [slot for *_, slot in table.states]
    arrays = [workspace.held[slot] for slot in slots]
    copies = [a.copy() for a in arrays]
    renewed = [(t, t.data) for t, _ in table.renewed]
    used = [i.node.params.get("generator") for i in table.instructions]
    generators = {id(g): g for g in used if g is not None}
    states = [(g, g.bit_generator.state) for g in generators.values()]
    try:
        yield
    finally:
        for a, copy in zip(arrays, copies, strict=True):
            a[...] = copy
        for t, data in renewed:
            t.data = data
        for g, state in states:
            g.bit_generator.state = state


def _summed_up(instructions: Sequence[Instruction], times: np.ndarray) -> Profile:
    """Nanoseconds of each instruction, summed up by operation, scope and time step."""
    each = [max(int(ns) - _CLOCK_NS, 0) for ns in times]
    tables: list[dict[Any, int]] = [defaultdict(int), defaultdict(int), defaultdict(int)]
    for i, ns in zip(instructions, each, strict=True):
        direction = "gradient of " if i.node.place.backward else ""
        keys = i.name, direction + ("/".join(i.node.scope) or "(top)"), i.node.time
        for table, key in zip(tables, keys, strict=True):
            table[key] += ns
    by_op, by_scope, by_time = map(dict, tables)
    return Profile(sum(each), by_op, by_scope, by_time, each)


def listing_of(instructions: Sequence[Instruction], limit: int | None) -> list[str]:
    numbered = list(enumerate(instructions))
    if limit is not None and len(numbered) > limit:
        numbered = numbered[: limit // 2] + numbered[len(numbered) - limit // 2 :]
    lines, before = [], -1
    for k, i in numbered:
        if k != before + 1:
            lines.append(f"... {k - before - 1} more ...")
        before = k
        operands = " ".join(map(_told, i.views))
        lines.append(f"{k:6} {i.name + ('' if i.address else ' (Python)'):24} {operands}  # {describe(i.node)}")
    return lines


def _told(v: View) -> str:
    """Where a view lies: in the arena, or in what is called so."""
    where = v.storage.label if v.storage.slot else f"@{v.storage.offset + v.offset}"
    return f"{where}{list(v.shape)}"
