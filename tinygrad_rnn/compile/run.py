"""Running a program: a workspace for each run at a time, and what is done after the last instruction."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..effects import Update
from ..errors import GradientError, anomaly, fail
from ..kernels.families import compiles
from ..kernels.machine import REACHED, SCRATCH, machine, profiler
from ..kernels.native import FAULT, environment
from ..scope import current
from ..tensor import GRADIENT, Spec, Tensor, describe, leaf, located, next_serial
from .bindings import Bindings, Held, Numbers, OptimizerState, usable
from .capture import Recording
from .emit import Instruction
from .memory_plan import ALIGNMENT
from .turns import Turns
from .views import View

__all__ = ["Runner", "Table", "Workspace"]


class Runner:
    """Runs a program: any number of threads at a time, each in a workspace of its own; those with effects in turn.

    Attributes
    ----------
    recording : Recording
    table : Table
    turns : Turns
    free : list of Workspace
        Those in which nobody works.
    """

    def __init__(self, recording: Recording, table: Table, changed: Sequence[tuple[Any, int]], turns: Turns) -> None:
        self.recording, self.table, self.turns = recording, table, turns
        self._has_effects = bool(recording.changes or recording.left or recording.cleared or recording.drawn)
        self._steps = _steps(changed)
        self.free = [Workspace(table)]

    def check_gradients(self) -> None:
        """Refuse to run where there are gradients from before and there were none when it was recorded, or none now."""
        had = {t.serial for t in self.recording.carried.values()}
        for t in self.recording.watched:
            if (t.grad is not None) != (t.serial in had):
                raise fail(
                    GradientError, f"program: .grad of {describe(t)}",
                    expected="one from before, as when it was recorded" if t.serial in had else
                    "None, as when it was recorded", got="None" if t.grad is None else "a gradient",
                    hint="forget it, or call backward() before; a compiled function has a program for each case",
                )  # fmt: skip

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results for arrays of the recorded shapes and types, and all changes made."""
        if not self._has_effects:
            return self._run(arrays)
        with self.turns.lock:
            return self._run(arrays)

    def _run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        workspace = self.workspace()
        try:
            workspace.stage(arrays)
            for generator, state in self.recording.restarted:
                generator.bit_generator.state = state
            workspace.run(self.recording.anomaly or current().anomaly)
            return self._finish(workspace)
        finally:
            if self._steps:
                self._note_changes(workspace.reached)
                workspace.reached = 0
            self.free.append(workspace)

    def workspace(self) -> Workspace:
        """Memory that no other run works in, be it of another thread or interrupted by this one."""
        try:
            return self.free.pop()
        except IndexError:
            return Workspace(self.table)

    def _finish(self, workspace: Workspace) -> list[np.ndarray]:
        recording = self.recording
        values = [output().copy() for output in workspace.outputs]
        for p, value in zip(recording.left, values[recording.results :], strict=True):
            p._grad = leaf(value, GRADIENT)
        for p in recording.cleared:
            p._grad = None
        return values[: recording.results]

    def _note_changes(self, reached: int) -> None:
        """Mark what was changed by the instructions that were carried out, and count the steps of optimisers."""
        for end, optimizer, tensors, indices in self._steps:
            if end <= reached:
                at = next_serial()
                for t in tensors:
                    t.assigned = at
                if optimizer is not None:
                    optimizer.count(indices)


def _steps(changed: Sequence[tuple[Any, int]]) -> list[tuple[int, Any, list[Tensor], list[int]]]:
    """After which instruction a step or an assignment is complete, of what optimiser, and what it changes."""
    steps: dict[Any, tuple[int, Any, list[Tensor], list[int]]] = {}
    for change, end in changed:
        update = isinstance(change, Update)
        key = (id(change.optimizer), change.step) if update else change
        *_, tensors, indices = steps.get(key, (0, None, [], []))
        indices = [*indices, change.index] if update else []
        steps[key] = end, change.optimizer if update else None, [*tensors, change.parameter], indices
    return list(steps.values())


class Table:
    """Instructions as the machine reads them, with what they work on; the same for all runs.

    Attributes
    ----------
    instructions : list of Instruction
    inputs, results : list of View
        Where arguments are copied to, and where results lie.
    bindings : Bindings
    arena_bytes : int
    """

    def __init__(
        self, instructions: list[Instruction], inputs: list[View], results: list[View], bindings: Bindings,
        arena_bytes: int,
    ) -> None:  # fmt: skip
        self.instructions, self.inputs, self.results = instructions, inputs, results
        self.entries, self.arena_bytes = bindings.entries, arena_bytes
        rows = [i.row() for i in instructions]
        self.starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(r) for r in rows], out=self.starts[1:])
        self.code = np.array([n for row in rows for n in row] or [0], np.int64)
        held = bindings.of_kind(Held)
        self.tensors = [(e.tensor, slot) for e, slot in held if not (e.gradient or e.renewed)]
        self.renewed = [(e.tensor, slot) for e, slot in held if e.renewed]
        self.gradients = [(e.tensor, slot) for e, slot in held if e.gradient]
        self.states = [(e.optimizer, e.index, e.slot, slot) for e, slot in bindings.of_kind(OptimizerState)]
        self.numbers = bindings.of_kind(Numbers)


class Workspace:
    """The memory of one run, to be used again by the next."""

    def __init__(self, table: Table) -> None:
        self.table = table
        memory = np.empty(table.arena_bytes + ALIGNMENT, np.uint8)
        skip = -memory.ctypes.data % ALIGNMENT
        self.arena = memory[skip : skip + table.arena_bytes]
        self.held: list[Any] = [None] * len(table.entries)
        self.written: dict[int, Any] = {}  # the numbers of optimisers, by slot
        self.bases = np.zeros(len(table.entries), np.int64)
        self.bases[0] = self.arena.ctypes.data
        for slot, entry in enumerate(table.entries):
            if isinstance(entry, np.ndarray):
                self.bind(slot, entry)
            elif isinstance(entry, Numbers):
                self.bind(slot, np.zeros(entry.spec.shape, entry.spec.dtype))
        self.environment, self.scratch = environment(), np.zeros(SCRATCH, np.int64)
        arrays = (table.code, table.starts, self.bases, self.scratch, self.environment)
        self.addresses = tuple([a.ctypes.data for a in arrays])
        self.staging = [self.array(v) for v in table.inputs]
        self.outputs = [self._array_later(v) for v in table.results]

    @property
    def reached(self) -> int:
        """How many instructions have been carried out."""
        return int(self.scratch[REACHED])

    @reached.setter
    def reached(self, count: int) -> None:
        self.scratch[REACHED] = count

    def bind(self, slot: int, array: np.ndarray) -> None:
        self.bases[slot] = array.ctypes.data
        self.held[slot] = array  # last: an interruption before it binds anew

    def array(self, view: View) -> np.ndarray:
        """A view as an array of NumPy's."""
        if not view.size:
            return np.empty(view.shape, view.dtype)
        if view.storage.slot == 0:
            return np.ndarray(view.shape, view.dtype, self.arena.data, view.storage.offset + view.offset, view.strides)
        flat = self.held[view.storage.slot].reshape(-1).view(np.uint8)
        return np.ndarray(view.shape, view.dtype, flat.data, view.offset, view.strides)

    def _array_later(self, view: View) -> Callable[[], np.ndarray]:
        if view.storage.slot and not isinstance(self.table.entries[view.storage.slot], np.ndarray):
            return lambda: self.array(view)
        array = self.array(view)  # of memory that stays where it is
        return lambda: array

    # Before -----------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take up the arrays of the user's tensors and optimisers, where they have others since the last run."""
        table, held = self.table, self.held
        for t, slot in table.tensors:
            if t.data is not held[slot]:
                self._bind_tensor(t, slot)
        for t, slot in table.renewed:
            t.data = np.array(t.data)  # whoever holds the old one keeps what it held
            self._bind_tensor(t, slot)
        for t, slot in table.gradients:
            self._bind_gradient(t, slot)
        for optimizer, index, k, slot in table.states:
            if _entry(optimizer.state, index, k) is not held[slot]:
                self._bind_state(optimizer, index, k, slot)
        for numbers, slot in table.numbers:
            new = numbers.of_next_run()
            if new != self.written.get(slot):
                held[slot][: len(numbers.updates)] = new
                self.written[slot] = new

    def _spec(self, slot: int) -> Spec:
        return self.table.entries[slot].spec

    def _bind_tensor(self, t: Tensor, slot: int) -> None:
        array = usable(t.data, self._spec(slot), f"the array of tensor '{t.name}'" if t.name else "a tensor's array")
        if array is not t.data:
            t.data = array
        self.bind(slot, array)

    def _bind_gradient(self, t: Tensor, slot: int) -> None:
        grad = t.grad
        what = f"the gradient of '{t.name}'" if t.name else "a gradient"
        self.bind(slot, usable(None if grad is None else grad.data, self._spec(slot), what))

    def _bind_state(self, optimizer: Any, index: int, k: int, slot: int) -> None:
        given = _entry(optimizer.state, index, k)
        what = f"'{optimizer.slots[k]}' of parameter {index} in the state of {type(optimizer).__name__}"
        array = usable(given, self._spec(slot), what)
        if array is not given:
            optimizer.state[index][k] = array
        self.bind(slot, array)

    # Running ----------------------------------------------------------------------------------------------------------

    def stage(self, arrays: Sequence[np.ndarray]) -> None:
        for place, array in zip(self.staging, arrays, strict=True):
            place[...] = array

    def run(self, watched: bool = False) -> None:
        """Carry out all instructions; `reached` says how far it came."""
        try:
            self.refresh()
            if watched or not compiles():
                self._one_by_one(watched)
                return
            run, at, end = machine(), 0, len(self.table.instructions)
            while at < end:
                at = run(*self.addresses, at, end)
                if at < end:
                    self._by_hand(self.table.instructions[at])
                    at += 1
                    self.reached = at
        except BaseException:
            self.environment[FAULT] = 0  # an interruption may have come before anybody looked at it
            raise

    def _one_by_one(self, watched: bool) -> None:
        """Instruction by instruction, each result examined if need be."""
        run = machine() if compiles() else None
        for at, i in enumerate(self.table.instructions):
            if run is None or i.address == 0 or run(*self.addresses, at, at + 1) == at:
                self._by_hand(i)
                self.reached = at + 1
            if watched:
                self._look_at(i)

    def time(self, times: np.ndarray) -> None:
        """Run, and add the nanoseconds of each instruction to `times`."""
        self.environment[FAULT] = 0
        self.refresh()
        at, end = 0, len(self.table.instructions)
        while at < end:
            if compiles():
                at = profiler()(*self.addresses, at, end, times.ctypes.data)
            if at < end:
                began = time.perf_counter_ns()
                self._by_hand(self.table.instructions[at])
                times[at] += time.perf_counter_ns() - began
                at += 1

    def _by_hand(self, i: Instruction) -> None:
        """What the machine has stopped at: a step for Python, or a fault."""
        if self.environment[FAULT]:
            self.environment[FAULT] = 0
            assert i.fault is not None
            view, make = i.fault
            error = make(self.array(view))
            raise located(error, i.node) if isinstance(error, IndexError | ValueError) else error
        assert i.host is not None
        try:
            i.host([self.array(v) for v in i.views])
        except (ValueError, IndexError) as error:
            raise located(error, i.node) from None

    def _look_at(self, i: Instruction) -> None:
        for view in i.views[len(i.views) - i.writes :]:
            value = self.array(view)
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                where = ", in the gradient of what was recorded there," if i.node.place.backward else ""
                raise anomaly(
                    i.node, value, f"{i.name} at {i.node.source}{where} produced", "", got=describe(i.node),
                    hint="look at the ranges of the inputs, and at the learning rate if a parameter is among them",
                )  # fmt: skip


def _entry(state: Any, index: int, k: int) -> Any:
    """An array of an optimiser's state, or None where there is none any more."""
    try:
        return state[index][k]
    except (IndexError, KeyError, TypeError):
        return None
