"""The two-index sum of backpropagation through time: which output changes a weight through which of its uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DisconnectedError, GradientError, ShapeError, fail
from ..graph import Graph
from ..graph.replay import with_values
from ..tensor import Tensor, describe
from .entries import Entries, norms_of
from .rows import Rows, total
from .words import aligned

__all__ = ["Contributions", "contributions"]

ROOM = 2**26  # bytes of cotangents that are carried together
LIMIT = 2**32  # bytes of contributions that are kept


@dataclass(frozen=True, eq=False)
class Contributions:
    """The parts of a weight's gradient, by when they enter the weight and by which output they come from.

    ``np.asarray`` gives `array`.

    Attributes
    ----------
    weight : Tensor
    times : tuple of int or None
        What the rows are: the time steps in which the weight is used; the last one is None if it is used outside of
        time steps as well.
    outputs : tuple of int or None
        What the columns are: numbers of the losses, or for a single loss the time steps of the outputs that it was
        computed from; None, the last, is for what comes from no time step.
    norms : array (times, outputs)
        Frobenius norms.
    array : array (times, outputs, *weight.shape), or None
        The parts themselves, unless only norms were asked for.
    """

    weight: Tensor
    times: tuple[int | None, ...]
    outputs: tuple[int | None, ...]
    norms: np.ndarray
    array: np.ndarray | None = None

    def total(self) -> np.ndarray:
        """Their sum, the gradient of all losses with respect to the weight.

        Raises
        ------
        ValueError
            If only norms were computed.
        """
        return self._parts().sum((0, 1))

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self._parts(), dtype=dtype, copy=copy)

    def _parts(self) -> np.ndarray:
        if self.array is None:
            raise fail(
                ValueError, f"contributions to {describe(self.weight)}: only their norms were kept",
                hint="leave norms=True out",
            )  # fmt: skip
        return self.array

    def __str__(self) -> str:
        """A table of the norms: a line for each time step, a column for each output."""
        lines = [["enters at", *map(_called, self.outputs)]]
        lines += [[_called(i), *(f"{n:.3g}" for n in row)] for i, row in zip(self.times, self.norms, strict=True)]
        return aligned(lines)


def contributions(
    losses: Tensor | Sequence[Tensor] | Graph,
    weight: Tensor,
    *,
    norms: bool = False,
    inputs: Sequence[Any] | None = None,
) -> Contributions:
    """The gradient of a weight as a sum over two indices, ``∇L = Σ_j Σ_i (∇L)_{i,j}``.

    ``(∇L)_{i,j}`` is what comes from the output at time j and enters the weight at time i: the sum over all paths from
    that output to a use of the weight in time step i. Where time runs forwards it is zero for i > j.

    Parameters
    ----------
    losses : sequence of Tensor, Tensor, or Graph
        One loss for each output, of one value each. Or a single loss: it is taken apart into what comes from the
        outputs of each time step, which is the first time step on a path from the loss back; sums of losses of time
        steps, wherever they are added up, count as sums. Of a graph its outputs are taken.
    weight : Tensor
        What the gradient is taken by: a parameter, or anything that the losses were computed from. A part of it that
        is cut out, transposed or looked up outside of time steps counts where it is used.
    norms : bool
        Compute the norms of the parts only; the parts are not kept.
    inputs : sequence of arrays, optional
        Values of the placeholders, where the losses were traced.

    Raises
    ------
    DisconnectedError
        If no loss depends on the weight.
    ShapeError
        If a loss holds more than one value.
    MemoryError
        If the parts would take more than 4 GiB.

    Notes
    -----
    One backward pass carries the cotangents of all losses as rows of one array, so that time is quadratic in the number
    of steps, as the result is, and the number of operations is linear.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w, h, losses = tg.parameter(0.5, name="w"), tg.tensor(1.0), []
    >>> for t in tg.steps(3):
    ...     h = h * w
    ...     losses.append(h * 8.0)
    >>> parts = tg.bptt.contributions(losses, w)
    >>> parts.array.tolist()
    [[8.0, 4.0, 2.0], [0.0, 4.0, 2.0], [0.0, 0.0, 2.0]]
    >>> parts.total().item() == tg.grad(sum(losses), w).item() == 22.0
    True
    >>> print(tg.bptt.contributions(sum(losses), w, norms=True))
    enters at  0  1  2
    0          8  4  2
    1          0  4  2
    2          0  0  2
    """
    split = isinstance(losses, Tensor) or (isinstance(losses, Graph) and len(losses.outputs) == 1)
    listed, weight = _arguments(losses, weight, inputs)
    entries = Entries(listed, [weight], split=split)
    if not entries.reached:
        raise fail(
            DisconnectedError, f"contributions: no loss depends on {describe(weight)}",
            hint="look for detach(), no_grad() and copies of the tensor on the way",
        )  # fmt: skip
    shape = (len(entries.times), len(entries.columns))
    found = np.zeros(shape)
    parts = None if norms else _room_for((*shape, *weight.shape), weight)
    row = {time: k for k, time in enumerate(entries.times)}

    def entered(time: int | None, _: Tensor, pieces: list[Rows]) -> None:
        found[row[time]] += norms_of(weight, pieces, shape[1], ROOM)
        if parts is not None:
            whole = total(weight, pieces)
            parts[row[time], whole.start : whole.stop] += whole.values

    _in_windows(entries, entered)
    return Contributions(weight, tuple(entries.times), tuple(entries.columns), found, parts)


def _in_windows(entries: Entries, entered: Any) -> None:
    """As many columns at a time as there is room for."""
    many = max(1, ROOM // entries.largest())
    for start in range(0, len(entries.columns), many):
        entries.walk(entered, window=(start, min(start + many, len(entries.columns))))


def _arguments(losses: Any, weight: Any, inputs: Any) -> tuple[list[Tensor], Tensor]:
    graph = losses if isinstance(losses, Graph) else None
    listed = list(graph.outputs) if graph else [losses] if isinstance(losses, Tensor) else list(losses)
    if not listed:
        raise fail(ShapeError, "contributions: there are no losses", expected="at least one")
    for t in [*listed, weight]:
        if not isinstance(t, Tensor):
            raise TypeError(f"contributions: expected tensors, got {type(t).__name__}")
        if not t.is_float:
            raise fail(GradientError, f"contributions: {describe(t)} carries no gradient", expected="a float tensor")
    for t in listed:
        if t.size != 1:
            raise fail(
                ShapeError, f"contributions: loss {describe(t)}", expected="one value", got=str(t.size),
                hint="reduce it, as with .sum() or .mean(), or give one loss for each output",
            )  # fmt: skip
    *listed, weight = with_values("contributions", [*listed, weight], inputs, graph)
    return listed, weight


def _room_for(shape: tuple[int, ...], weight: Tensor) -> np.ndarray:
    size = int(np.prod(shape, dtype=object)) * weight.dtype.itemsize
    if size > LIMIT:
        raise fail(
            MemoryError, f"contributions to {describe(weight)}: {shape[0]} times {shape[1]} of them",
            expected="at most 4 GiB", got=f"{size / 2**30:.1f} GiB", hint="pass norms=True",
        )  # fmt: skip
    return np.zeros(shape, weight.dtype)


def _called(step: int | None) -> str:
    return "–" if step is None else str(step)
