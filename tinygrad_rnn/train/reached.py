"""Whether the loss reaches all that the optimiser is to train."""

from __future__ import annotations

from typing import Any

from ..errors import DisconnectedError
from ..generators import moved_since
from ..nn.module import Module
from ..optim import Optimizer
from ..scope import warn
from ..tensor import Tensor
from ..unreached import complaint, unreached

__all__ = ["Reached"]


class Reached:
    """Looks at the gradients of the first update, and names the parameters that have none.

    A step that is not compiled may leave out a part of the model by chance; so where it has drawn random numbers, those
    are named that no update of the first epoch reaches.

    Parameters
    ----------
    model : Module
    optimizer : Optimizer
    strict : bool
        Raise instead of warning.
    drawing : sequence
        What may draw random numbers whenever it is called; nothing where it is compiled.
    """

    def __init__(self, model: Module, optimizer: Optimizer, strict: bool, drawing: Any) -> None:
        self._model, self._optimizer, self._strict = model, optimizer, strict
        self._has_drawn = moved_since(*drawing)
        self._reached: set[int] = set()  # serial numbers of parameters
        self._done = False

    def look(self) -> None:
        """To be called before an update, when the gradients are there."""
        if self._done:
            return
        self._reached |= {p.serial for p in self._optimizer.parameters if p.grad is not None}
        if not self._missing or not self._has_drawn():
            self.end()

    def end(self) -> None:
        """Name what no update so far has reached."""
        if self._done:
            return
        self._done = True
        if missing := self._missing:
            if self._strict:
                raise complaint(DisconnectedError, "fit", missing, [self._model])
            warn(complaint(RuntimeWarning, "fit", missing, [self._model]))

    @property
    def _missing(self) -> list[Tensor]:
        return unreached([self._optimizer], self._reached)
