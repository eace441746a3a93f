"""What gives batches knows where it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import fail
from ..nn.loading import read_state
from ..settings import check_count

__all__ = ["Batch", "Source", "read_only"]

Batch = dict[str, Any]


def read_only(array: np.ndarray) -> np.ndarray:
    """A view through which the data set cannot be written into."""
    view = array.view()
    view.flags.writeable = False
    return view


class Source(ABC):
    """Base of what gives batches, an epoch with each iteration.

    An iteration begins a new epoch, but for the first one after :meth:`load_state_dict`, which goes on from there.

    Attributes
    ----------
    epoch : int
        Number of epochs before this one.
    position : int
        Number of batches that this epoch has given.
    carries_state : bool
        Whether a batch goes on where the one before ended, so that the model's state is to be carried along.

    Examples
    --------
    >>> from tinygrad_rnn.data import Batches
    >>> numbers = Batches({"x": list(range(6))}, batch_size=2)
    >>> for batch in numbers:
    ...     break
    >>> saved = numbers.state_dict()
    >>> again = Batches({"x": list(range(6))}, batch_size=2)
    >>> again.load_state_dict(saved)
    >>> [batch["x"].tolist() for batch in again]
    [[2, 3], [4, 5]]
    """

    carries_state = False

    def __init__(self) -> None:
        self.epoch = self.position = 0
        self._resumed = False

    @abstractmethod
    def __len__(self) -> int:
        """Number of batches of an epoch."""

    @abstractmethod
    def _plan(self) -> Sequence[Any]:
        """What the batches of this epoch are made of, in their order."""

    @abstractmethod
    def _made(self, part: Any) -> Batch:
        """A batch of what the plan holds for it."""

    def __iter__(self) -> Iterator[Batch]:
        if self.position and not self._resumed:
            self.epoch, self.position = self.epoch + 1, 0
        self._resumed = False
        return self._rest()

    def _rest(self) -> Iterator[Batch]:
        plan = self._plan()
        for part in plan[self.position :]:
            self.position += 1
            yield self._made(part)
        self.epoch, self.position = self.epoch + 1, 0

    def _identity(self) -> dict[str, int]:
        """What must be the same wherever a position is to be loaded."""
        return {"batches": len(self)}

    def _expected(self, given: Mapping[str, Any]) -> dict[str, int]:
        """The identity that a position needs to have."""
        return self._identity()

    def state_dict(self) -> dict[str, int]:
        """The position: behind the batch that was given last."""
        return {"epoch": self.epoch, "position": self.position, **self._identity()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a position with the next iteration.

        Raises
        ------
        ValueError
            If it comes from other batches, or is no position. Nothing is changed then.
        """
        what = f"{type(self).__name__}.load_state_dict"
        given = read_state(what, state)
        for name, own in self._expected(given).items():
            if not isinstance(given.get(name), int | np.integer) or given[name] != own:
                raise fail(
                    ValueError, f"{what}: the position is one among other batches", expected=f"{name} = {own}",
                    got=str(given.get(name)),
                )  # fmt: skip
        epoch, position = (check_count(f"{what}: '{name}'", given.get(name), 0) for name in ("epoch", "position"))
        if position >= len(self):  # saved with the last batch of an epoch
            epoch, position = epoch + 1, 0
        self.epoch, self.position, self._resumed = epoch, position, True
