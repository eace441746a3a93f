"""The smallest task that needs a long memory, and cells that have one or have not."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..nn.cell import Cell
from ..nn.cells import GRUCell, LSTMCell, RNNCell
from ..nn.init import Seed, generator_of

__all__ = ["LongTermDependency", "remedies"]

OPEN = 2.0  # the bias of a gate that lets nine tenths through


class LongTermDependency:
    """Say at the end which bit came first: 1 0 1 → 1, 0 0 1 → 0, 0 0 0 → 0, 1 1 1 → 1, stretched to `length` steps.

    The bits after the first are random and say nothing. A task for :func:`compare` has what this one has.

    Parameters
    ----------
    length : int
        Number of bits, at least 2.

    Attributes
    ----------
    length, features, classes : int
        Steps, features of each (1), and answers to choose from (2).

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> xs, target = tg.bptt.LongTermDependency(3).batch(4, generator=1)
    >>> xs[:, :, 0].astype(int).tolist(), target.tolist()
    ([[0, 1, 1], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [0, 1, 1, 0])
    """

    features, classes = 1, 2

    def __init__(self, length: int = 100) -> None:
        if not isinstance(length, int) or length < 2:
            raise ValueError(f"LongTermDependency: length must be an integer of at least 2; got {length!r}")
        self.length = length

    def __repr__(self) -> str:
        return f"LongTermDependency({self.length})"

    def batch(self, count: int, generator: Seed = None) -> tuple[np.ndarray, np.ndarray]:
        """Sequences (count, length, features), and answers (count,)."""
        bits = generator_of(generator).integers(0, 2, (count, self.length))
        return bits[:, :, None].astype(np.float32), bits[:, 0]


def remedies(features: int = 1, hidden: int = 32, length: int = 100, *, generator: Seed = 0) -> dict[str, Any]:
    """A plain recurrent cell and what is done against vanishing gradients, for :func:`compare`.

    Parameters
    ----------
    features, hidden : int
    length : int
        Number of steps to remember over: where a cell has a time constant, it is set to that.
    generator : numpy.random.Generator or int, optional

    Returns
    -------
    dict
        ``rnn``: tanh. ``orthogonal``: tanh, recurrent weights orthogonal at first (Saxe et al., 2014). ``relu``:
        another activation, recurrent weights the identity at first (Le, Jaitly and Hinton, 2015). ``leaky``: units that
        take a share ``1 / length`` of what is new. ``skip``: connections over a tenth of the length. ``lstm`` and
        ``gru``: gates, with biases that keep the state for T = `length` steps at first (Tallec and Ollivier, 2018):
        log T for the forget gate and -log T for the input gate, -log T for the update gate. Of the LSTM the output gate
        is open at first and the recurrent weights are orthogonal too, as little is written and must not get lost.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> list(tg.bptt.remedies())
    ['rnn', 'orthogonal', 'relu', 'leaky', 'skip', 'lstm', 'gru']
    """
    options: dict[str, Any] = {"generator": generator_of(generator)}
    sizes = (features, hidden)
    relu = RNNCell(*sizes, activation="relu", **options)
    relu.W_h.assign(np.eye(hidden))
    lasting = float(np.log(length))
    gru = _biased(GRUCell(*sizes, **options), z=-lasting)
    return {
        "rnn": RNNCell(*sizes, **options),
        "orthogonal": RNNCell(*sizes, recurrent_init="orthogonal", **options),
        "relu": relu,
        "leaky": RNNCell(*sizes, leak=1 / length, **options),
        "skip": RNNCell(*sizes, skip=max(2, length // 10), **options),
        "lstm": _biased(LSTMCell(*sizes, recurrent_init="orthogonal", **options), i=-lasting, f=lasting, o=OPEN),
        "gru": gru,
    }


def _biased(cell: Cell, **biases: float) -> Cell:
    """The cell, with these biases of its gates."""
    assert cell.b is not None
    b = cell.b.numpy().copy()
    for gate, value in biases.items():
        b.reshape(len(cell.names), -1)[cell.names.index(gate)] = value
    cell.b.assign(b)
    return cell
