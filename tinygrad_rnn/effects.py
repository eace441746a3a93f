"""What a traced function does besides computing: gradients that it leaves in ``.grad``, updates, assignments, checks.

While a function is traced nothing of the user's is changed. Whoever would change something (``backward``, an optimiser,
``assign``) notes it here instead; a compiled program carries it out on each call, in the order in which it was noted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from .errors import GradientError
from .scope import Place, current, user_source
from .tensor import PLACEHOLDER, Tensor, leaf, next_serial

__all__ = ["Assignment", "Change", "Check", "Effects", "NotFinite", "Update"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Update:
    """An optimiser's step for one parameter.

    Attributes
    ----------
    optimizer : Optimizer
        Gives the numbers of each call: learning rate and others.
    parameter, gradient : Tensor
    index : int
        Which of the optimiser's parameters it is.
    step, updates : int
        How many steps the optimiser has taken before, in the same function, and how many of them changed the parameter.
    """

    optimizer: Any
    parameter: Tensor
    gradient: Tensor
    index: int
    step: int
    updates: int = 0

    def __repr__(self) -> str:
        return f"{type(self.optimizer).__name__} of '{self.parameter.name or self.index}'"

    @property
    def operands(self) -> tuple[Tensor, ...]:
        return self.parameter, self.gradient


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Assignment:
    """A new value for a leaf."""

    parameter: Tensor
    value: Tensor

    def __repr__(self) -> str:
        return f"assignment to '{self.parameter.name or 'a tensor'}'"

    @property
    def operands(self) -> tuple[Tensor, ...]:
        return self.parameter, self.value


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Check:
    """A tensor that must be finite before anything further is changed; `error` of the position of one that is not."""

    tensor: Tensor
    error: Callable[[int], Exception]

    def __repr__(self) -> str:
        return "check of finite values"

    @property
    def operands(self) -> tuple[Tensor, ...]:
        return (self.tensor,)


@dataclass(frozen=True, slots=True)
class NotFinite:
    """Makes the error of a check: plain data, so that it can be saved with a program.

    Attributes
    ----------
    texts : tuple of str
        For each position of the tensor that is checked, or one for all.
    """

    texts: tuple[str, ...]

    def __call__(self, position: int) -> GradientError:
        return GradientError(self.texts[position if len(self.texts) > 1 else 0])


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Something that is done, after all that was recorded with a lower serial number.

    Attributes
    ----------
    what : Update, Assignment or Check
    serial : int
        Updates of one step of an optimiser have the same.
    place : Place
    source : (code, offset)
        The user's line.
    """

    what: Update | Assignment | Check
    serial: int
    place: Place
    source: tuple[CodeType, int]


@dataclass(slots=True)
class Effects:
    """What one traced function does besides computing.

    Attributes
    ----------
    start : int
        Tensors with lower serial numbers were there before; 0 where their values may be used, once and for all.
    grads : dict
        Every tensor whose gradient was used or set, and its gradient now, by serial number.
    asked : dict
        Tensors whose gradient from before mattered, by serial number.
    carried : dict
        Stand-ins for gradients from before, by the serial number of their tensor.
    zeroed : set
        Serial numbers of tensors whose gradient the function forgot.
    changes : list of Change
        In order.
    changed : dict
        When a leaf was last given a new value, by its serial number.
    """

    start: int = 0
    grads: dict[int, tuple[Tensor, Tensor | None]] = field(default_factory=dict)
    asked: dict[int, Tensor] = field(default_factory=dict)
    carried: dict[int, Tensor] = field(default_factory=dict)
    zeroed: set[int] = field(default_factory=set)
    segments: list[tuple[int, int]] = field(default_factory=list)  # serial numbers within checkpointed functions
    drawn: list[Tensor] = field(default_factory=list)  # random numbers
    ranges: list[Tensor] = field(default_factory=list)  # checks that integers are in range, for each call
    anomaly: bool = False  # whether a part of the function is to be watched for NaN
    modules: dict[int, Any] = field(default_factory=dict)  # those that were called
    meet: Callable[[Any], None] | None = None  # told of each before
    switched: dict[int, tuple[Tensor, bool]] = field(default_factory=dict)  # tensors, and requires_grad before
    changes: list[Change] = field(default_factory=list)
    changed: dict[int, int] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)  # of each optimiser, by its id
    updates: Counter[tuple[int, int]] = field(default_factory=Counter)  # by id of the optimiser, and index

    def enter(self, module: Any) -> None:
        """Note that a module is called."""
        if id(module) not in self.modules:
            self.modules[id(module)] = module
            if self.meet is not None:
                self.meet(module)

    def grad_of(self, t: Tensor, before: Tensor | None) -> Tensor | None:
        """The gradient of a tensor as the function sees it; a stand-in for one from `before`."""
        if t.serial not in self.grads:
            self.asked[t.serial] = t
            if before is not None and self.start:
                before = self.carried[t.serial] = leaf(before.spec, PLACEHOLDER, name=f"{t.name or 'x'}.grad")
            self.grads[t.serial] = t, before
        return self.grads[t.serial][1]

    def set_grad(self, t: Tensor, value: Tensor | None) -> None:
        """Give a tensor a gradient, which only the function sees."""
        self.grads[t.serial] = t, value
        if value is None:
            self.zeroed.add(t.serial)

    def note(self, *whats: Update | Assignment | Check) -> None:
        """Note changes that are made together, after all that has been recorded so far."""
        serial, place, source = next_serial(), current().place, user_source()
        for what in whats:
            self.changes.append(Change(what, serial, place, source))
            if not isinstance(what, Check):
                self.changed[what.parameter.serial] = serial

    def assign(self, t: Tensor, value: Tensor) -> None:
        self.note(Assignment(t, value))

    def step_of(self, optimizer: Any) -> int:
        """How many steps an optimiser has taken before this one, in the function."""
        taken = self.steps.get(id(optimizer), 0)
        self.steps[id(optimizer)] = taken + 1
        return taken

    def updates_of(self, optimizer: Any, index: int) -> int:
        """How many updates of a parameter an optimiser has made before this one, in the function."""
        self.updates[id(optimizer), index] += 1
        return self.updates[id(optimizer), index] - 1
