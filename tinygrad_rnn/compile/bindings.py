"""What stands in the slots of a program: arrays that are not its own, looked at before their addresses are taken.

Slot 0 is the arena. Behind it come, in the order in which the lowering asks for them, the user's tensors, the state of
optimisers, the numbers of their steps, and constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..effects import Update
from ..errors import DTypeError, ShapeError, fail
from ..tensor import Spec, Tensor
from .views import Storage, View, compact_strides, subview

__all__ = ["Bindings", "Held", "Numbers", "OptimizerState", "usable"]


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor of the user's, or its gradient from before.

    Attributes
    ----------
    tensor : Tensor
    spec : Spec
        As it was recorded.
    gradient : bool
    renewed : bool
        Whether it gets a new array on each run, as it may be changed while others hold the old one.
    """

    tensor: Tensor
    spec: Spec
    gradient: bool = False
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """An array that an optimiser keeps for a parameter."""

    optimizer: Any
    index: int
    slot: int
    spec: Spec


@dataclass(frozen=True, slots=True)
class Numbers:
    """Learning rate, weight decay and settings of an optimiser's step, a row for each parameter.

    Attributes
    ----------
    optimizer : Optimizer
    step : int
        How many it has taken before in the function.
    updates : dict of int
        Of the parameters of the step, by index: how many they have had before in the function.
    spec : Spec
    """

    optimizer: Any
    step: int
    updates: dict[int, int]
    spec: Spec

    def of_next_run(self) -> Any:
        """The numbers of the next run: one row where it is the same for all parameters, as it mostly is."""
        taken = self.optimizer.update_counts
        counts = [taken[k] + more for k, more in self.updates.items()]
        numbers = self.optimizer.numbers(set(counts), self.step)
        return [numbers[n] for n in counts] if len(numbers) > 1 else numbers[counts[0]]


class Bindings:
    """The slots of one program.

    Attributes
    ----------
    entries : list of Held, OptimizerState, Numbers or np.ndarray
        Behind the arena, in order; an array is a constant.
    """

    def __init__(self) -> None:
        self.entries: list[Any] = [None]
        self._held: dict[tuple[int, bool], View] = {}
        self._numbers: dict[tuple[int, int, np.dtype], tuple[Numbers, View]] = {}

    def _view(self, entry: Any, spec: Spec, label: str) -> View:
        storage = Storage(spec.size * spec.dtype.itemsize, slot=len(self.entries), label=label)
        self.entries.append(entry)
        return View(storage, 0, spec.shape, compact_strides(spec.shape, spec.dtype.itemsize), spec.dtype)

    def constant(self, array: np.ndarray) -> View:
        array = np.ascontiguousarray(array).reshape(array.shape)
        return self._view(array, Spec(array.shape, array.dtype), "constant")

    def held(self, t: Tensor, gradient: bool = False, renewed: bool = False) -> View:
        key = t.serial, gradient
        if key not in self._held:
            label = f"{t.name or 'tensor'}{'.grad' if gradient else ''}"
            self._held[key] = self._view(Held(t, t.spec, gradient, renewed), t.spec, label)
        return self._held[key]

    def state(self, optimizer: Any, index: int, slot: int, spec: Spec) -> View:
        return self._view(OptimizerState(optimizer, index, slot, spec), spec, optimizer.slots[slot])

    def numbers(self, change: Update, dtype: np.dtype) -> View:
        key = id(change.optimizer), change.step, dtype
        if key not in self._numbers:
            spec = Spec((len(change.optimizer.parameters), len(change.optimizer.numbers([0])[0])), dtype)
            entry = Numbers(change.optimizer, change.step, {}, spec)
            self._numbers[key] = entry, self._view(entry, spec, "numbers")
        entry, view = self._numbers[key]
        entry.updates[change.index] = change.updates
        return subview(view, len(entry.updates) - 1)

    def of_kind(self, kind: type) -> list[tuple[Any, int]]:
        """Entries of a kind, with their slots."""
        return [(entry, slot) for slot, entry in enumerate(self.entries) if isinstance(entry, kind)]


def usable(array: Any, spec: Spec, what: str) -> np.ndarray:
    """The array, or a copy of it where it does not lie in memory as kernels need it.

    Raises
    ------
    TypeError, ShapeError, DTypeError
        If it is no array, or not one of that shape and type.
    """
    if type(array) is not np.ndarray:
        raise fail(TypeError, f"compile: {what}", expected="a NumPy array", got=type(array).__name__)
    if array.shape != spec.shape:
        raise fail(
            ShapeError, f"compile: {what} has changed its shape", expected=str(spec.shape), got=str(array.shape),
            hint="assign values of the same shape, with .assign(value); make a new tensor for another shape",
        )  # fmt: skip
    if array.dtype != spec.dtype:
        raise fail(
            DTypeError, f"compile: {what} has changed its type", expected=str(spec.dtype), got=str(array.dtype),
            hint="assign values with .assign(value), which converts them",
        )  # fmt: skip
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned and flags.writeable else np.array(array, order="C")
