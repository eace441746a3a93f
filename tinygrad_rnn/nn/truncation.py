"""Truncated backpropagation through time: long sequences in pieces, whose graphs end somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..ops.core import as_tensor
from ..ops.shape import stack
from ..scope import no_grad, timestep
from ..settings import check_count
from ..tensor import Tensor
from .cell import inside
from .module import entered
from .state import initial_state_of, mapped_state
from .unrolling import Inputs

__all__ = ["Chunk", "tbptt"]


class Chunk(NamedTuple):
    """A piece of a sequence; its graph ends where the truncation says.

    Attributes
    ----------
    outputs : Tensor (batch, steps, features)
    state : state
        After the last step, detached.
    start, stop : int
        The steps that it covers.
    """

    outputs: Tensor
    state: Any
    start: int
    stop: int


def tbptt(cell: Any, xs: Any, k1: int, k2: int | None = None, *, state: Any = None) -> Iterator[Chunk]:
    """Truncated backpropagation through time (Williams and Peng, 1990).

    Every `k1` steps it gives a chunk of outputs, whose graph reaches `k2` steps back from its end.

    Take a loss of each chunk, call ``backward()``, step, and go on: the state is carried as a value. With ``k1`` of the
    whole length it is plain backpropagation through time.

    Parameters
    ----------
    cell : cell, or layer of one direction
    xs : tensor (batch, time, ...)
        For a layer with ``batch_first=False`` (time, batch, ...); so are the outputs.
    k1, k2 : int
        Steps between updates, and steps that gradients go back, ``k1`` by default and never fewer.
    state : state, optional

    Raises
    ------
    ValueError
        If not ``1 <= k1 <= k2``, or the layer has two directions.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(3, 4)
    >>> [(c.start, c.stop) for c in tg.nn.tbptt(cell, tg.ones((2, 5, 3)), 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    k1 = check_count("tbptt: k1", k1)
    k2 = k1 if k2 is None else check_count("tbptt: k2", k2)
    if k2 < k1:
        raise ValueError(f"tbptt: expected 1 <= k1 <= k2; got k1={k1}, k2={k2}")
    batch_first = getattr(cell, "batch_first", True)
    inputs = Inputs(xs, batch_first)
    with entered(cell):
        now = initial_state_of(cell, inputs.batch) if state is None else state
    begun = {0: _detached(now)}
    for start in range(0, len(inputs), k1):
        stop = min(start + k1, len(inputs))
        first = max(start - (k2 - k1), 0)
        before = begun[first]
        ys = []
        for t in range(first, stop):
            x, _ = inputs[t]
            with timestep(t), entered(cell):
                y, before = inside(cell)(x, before)
            if t >= start:
                ys.append(y)
            begun.setdefault(t + 1, _detached(before))
        yield Chunk(stack(ys, axis=int(batch_first)), begun[stop], start, stop)
        begun = {at: s for at, s in begun.items() if at >= stop - (k2 - k1)}


def _detached(state: Any) -> Any:
    with no_grad():
        return mapped_state(lambda t: as_tensor(t).detach(), state)
