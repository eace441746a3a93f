"""What a traced function does besides computing: gradients that it leaves in ``.grad``, updates, assignments.

While a function is traced nothing of the user's is changed. Whoever would change something (``backward``, an optimiser,
``assign``) notes it here instead; a compiled program carries it out on each call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tensor import Tensor

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
    error: Callable[[int], Exception]


@dataclass(slots=True)
class Effects:
    """What one traced function does besides computing."""

    grads: dict[int, tuple[Tensor, Tensor | None]] = field(default_factory=dict)  # as they were before
    zeroed: set[int] = field(default_factory=set)  # parameters whose gradient was set aside by the function itself
    updates: list[Update] = field(default_factory=list)
    assigned: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def touch(self, t: Tensor) -> None:
        """Set the gradient of `t` aside before it is written for the first time."""
        if t.serial not in self.grads:
            self.grads[t.serial] = t, t.grad
            t.grad = None

    def restore(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Put all gradients back, and give those that the function left behind, by serial number."""
        left = {s: (t, t.grad) for s, (t, _) in self.grads.items() if t.grad is not None}
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
