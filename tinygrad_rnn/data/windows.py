"""A long text, read window by window."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError, fail
from ..ops.core import as_array
from ..settings import check_counts
from ..tensor import Tensor
from .source import Batch, Source, read_only

__all__ = ["Windows"]


class Windows(Source):
    """Windows over one long sequence, for truncated backpropagation through time.

    The sequence is cut into parallel streams, and these into windows; each row of a batch goes on where it ended in the
    batch before, so that the model's state can be carried along, and starts anew with each epoch only. The target is
    what comes next. Windows are views that cannot be written into: nothing is copied. What fills no window at the end
    of a stream is left out.

    Parameters
    ----------
    sequence : array (time, ...)
    batch_size : int
        Number of streams.
    steps : int
        Of a window.
    names : pair of str
        Under which a batch holds windows (batch, steps, ...) and targets of the same shape.

    Raises
    ------
    ShapeError
        If the sequence is too short for one window of each stream.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.data import Windows
    >>> for batch in Windows(np.arange(10), batch_size=2, steps=2):
    ...     print(batch["tokens"].tolist(), batch["target"].tolist())
    [[0, 1], [4, 5]] [[1, 2], [5, 6]]
    [[2, 3], [6, 7]] [[3, 4], [7, 8]]
    """

    carries_state = True

    def __init__(
        self, sequence: Any, *, batch_size: int, steps: int, names: tuple[str, str] = ("tokens", "target")
    ) -> None:
        super().__init__()
        check_counts("Windows", batch_size=batch_size, steps=steps)
        whole = as_array(sequence.data if isinstance(sequence, Tensor) else sequence)
        each = (len(whole) - 1) // batch_size if whole.ndim else 0
        if each < steps:
            raise fail(
                ShapeError, f"Windows: a sequence of {len(whole) if whole.ndim else 0} is too short",
                expected=f"at least {batch_size * steps + 1}: {batch_size} streams of {steps} steps, and one more",
            )  # fmt: skip
        self.batch_size, self.steps, self.names = batch_size, steps, names
        shape = (batch_size, each, *whole.shape[1:])
        self._streams = tuple(whole[start : start + batch_size * each].reshape(shape) for start in (0, 1))

    def __len__(self) -> int:
        return self._streams[0].shape[1] // self.steps

    def _plan(self) -> range:
        return range(len(self))

    def _made(self, part: int) -> Batch:
        window = slice(part * self.steps, (part + 1) * self.steps)
        return {name: read_only(stream[:, window]) for name, stream in zip(self.names, self._streams, strict=True)}

    def _identity(self) -> dict[str, int]:
        return {**super()._identity(), "batch_size": self.batch_size, "steps": self.steps}
