"""What a traced function does besides computing: gradients that it leaves in ``.grad``, updates, assignments.

While a function is traced nothing of the user's is changed. Whoever would change something (``backward``, an optimiser,
``assign``) notes it here instead; a compiled program carries it out on each call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .tensor import PLACEHOLDER, Tensor, leaf

__all__ = ["Check", "Effects", "Update", "set_grad"]


@dataclass(frozen=True, slots=True)
class Update:
    """An optimiser's step for one parameter.

    Attributes
    ----------
    optimizer : Optimizer
        Gives the numbers of each call: learning rate and others.
    parameter, gradient : Tensor
    index : int
        Which of the optimiser's parameters it is.
    serial : int
        What was recorded with a higher number came after.
    """

    optimizer: Any
    parameter: Tensor
    gradient: Tensor
    index: int
    serial: int


@dataclass(frozen=True, slots=True)
class Check:
    """A tensor that must be finite before anything is changed, and the error for the position of one that is not."""

    tensor: Tensor
    error: Callable[..., Exception]


@dataclass(slots=True)
class Effects:
    """What one traced function does besides computing.

    Attributes
    ----------
    start : int
        Tensors with lower serial numbers were there before; 0 where their values may be used, once and for all.
    grads : dict
        Every tensor whose gradient was used or set, and its gradient before, by serial number.
    carried : dict
        Stand-ins for gradients from before, by the serial number of their tensor.
    zeroed : set
        Serial numbers of tensors whose gradient the function forgot.
    """

    start: int = 0
    grads: dict[int, tuple[Tensor, Tensor | None]] = field(default_factory=dict)
    carried: dict[int, Tensor] = field(default_factory=dict)
    zeroed: set[int] = field(default_factory=set)
    segments: list[tuple[int, int]] = field(default_factory=list)  # serial numbers within checkpointed functions
    drawn: list[Tensor] = field(default_factory=list)  # random numbers
    anomaly: bool = False  # whether a part of the function is to be watched for NaN
    modules: dict[int, Any] = field(default_factory=dict)  # those that were called
    switched: dict[int, tuple[Tensor, bool]] = field(default_factory=dict)  # tensors, and requires_grad before
    updates: list[Update] = field(default_factory=list)
    assigned: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def touch(self, t: Tensor) -> None:
        """Put a stand-in in place of a gradient from before, when it is first used or set."""
        if t.serial not in self.grads:
            self.grads[t.serial] = t, t.grad
            if t.grad is not None:
                t.grad = self.carried[t.serial] = leaf(t.grad.spec, PLACEHOLDER, name=f"{t.name or 'x'}.grad")

    def restore(self) -> list[tuple[Tensor, Tensor | None]]:
        """Put all gradients back, and give those that the function left behind, with their tensors."""
        left = [(t, t.grad) for t, _ in self.grads.values()]
        for t, before in self.grads.values():
            t.grad = before
        return left


def set_grad(t: Tensor, value: Tensor | None, effects: Effects | None) -> None:
    """Give a leaf its gradient; while a function is traced it is put back afterwards."""
    if effects is not None:
        effects.touch(t)
        if value is None:
            effects.zeroed.add(t.serial)
    t.grad = value
