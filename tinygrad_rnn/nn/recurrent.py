"""Recurrent cells, and what runs a cell over time.

A cell is anything called as ``y, state = cell(x, state)``, with an ``initial_state(batch)``: a module, or a class of a
few lines. A state is a tensor, or a tuple of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import ShapeError, fail
from ..ops import elementwise
from ..ops.core import as_tensor
from ..ops.create import zeros
from ..ops.shape import stack
from ..scope import steps
from ..tensor import DEFAULT_FLOAT, Tensor, describe
from . import init
from .init import Seed, generator_of
from .layers import Dropout
from .module import Module

__all__ = ["RNN", "RNNCell", "RecurrentOutput", "unroll"]

ACTIVATIONS = {
    "tanh": elementwise.tanh,
    "relu": elementwise.relu,
    "sigmoid": elementwise.sigmoid,
    "identity": lambda x: x,
}


class RNNCell(Module):
    """Elman's cell: ``h' = g(x W_i + h W_h + b)``, which is its output and its state.

    Parameters
    ----------
    input_size, hidden_size : int
    activation : "tanh", "relu", "sigmoid" or "identity"
    bias : bool
        Whether to add `b`.
    generator : numpy.random.Generator or int, optional
        Source of the initial values, uniform within ``1 / sqrt(hidden_size)``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(3, 4)
    >>> y, h = cell(tg.ones((2, 3)), cell.initial_state(2))
    >>> y.shape, y is h
    ((2, 4), True)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: str = "tanh",
        bias: bool = True,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"RNNCell: activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}")
        generator = generator_of(generator)
        bound = 1 / np.sqrt(max(hidden_size, 1))
        self.W_i = init.uniform((input_size, hidden_size), bound, generator, dtype)
        self.W_h = init.uniform((hidden_size, hidden_size), bound, generator, dtype)
        self.b = init.uniform((hidden_size,), bound, generator, dtype) if bias else None
        self.activation = activation

    def initial_state(self, batch: int) -> Tensor:
        """Zeros of shape (batch, hidden)."""
        return zeros((batch, self.W_h.shape[0]), self.W_h.dtype).named("h0")

    def forward(self, x: Any, state: Any) -> tuple[Tensor, Tensor]:
        a = as_tensor(x) @ self.W_i + as_tensor(state) @ self.W_h
        if self.b is not None:
            a = a + self.b
        h = ACTIVATIONS[self.activation](a).named("h")
        return h, h


class RecurrentOutput(NamedTuple):
    """What a recurrent layer gives.

    Attributes
    ----------
    outputs : Tensor (batch, time, features)
        Of the last layer, at every step.
    state : state, or list of states
        After the last step; one for each layer where there are layers.
    """

    outputs: Tensor
    state: Any


def unroll(cell: Any, xs: Any, state: Any = None, *, batch_first: bool = True) -> RecurrentOutput:
    """Run a cell over the steps of `xs`, each inside its ``timestep``.

    Parameters
    ----------
    cell : callable
        ``y, state = cell(x, state)``.
    xs : tensor (batch, time, features), or sequence of tensors (batch, features)
        Integers for a cell that embeds: (batch, time).
    state : state, optional
        Where to start; ``cell.initial_state(batch)`` by default.
    batch_first : bool
        False for (time, batch, ...), in and out.

    Raises
    ------
    ShapeError
        If `xs` has no time axis, or no step.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> out = tg.nn.unroll(tg.nn.RNNCell(3, 4), tg.ones((2, 5, 3)))
    >>> out.outputs.shape, out.state.shape
    ((2, 5, 4), (2, 4))
    """
    inputs = _Steps(xs, batch_first)
    start = cell.initial_state(inputs.batch) if state is None else state
    return _run(cell, inputs, start, batch_first)


def _run(cell: Any, inputs: _Steps, state: Any, batch_first: bool) -> RecurrentOutput:
    outputs = []
    for t in steps(len(inputs)):
        y, state = cell(inputs[t], state)
        outputs.append(y)
    return RecurrentOutput(stack(outputs, axis=1 if batch_first else 0), state)


class _Steps:
    """The inputs of a loop over time; slices of one tensor are taken when asked for, inside their time step."""

    def __init__(self, xs: Any, batch_first: bool) -> None:
        if isinstance(xs, list | tuple) and xs and all(isinstance(x, Tensor) for x in xs):
            self.xs, self.count, self.batch = xs, len(xs), xs[0].shape[0]
            return
        xs = as_tensor(xs)
        layout = "(batch, time, ...)" if batch_first else "(time, batch, ...)"
        if xs.ndim < 2:
            raise fail(ShapeError, f"unroll: {describe(xs)} has no time axis", expected=layout)
        self.batch, self.count = xs.shape[:2] if batch_first else xs.shape[1::-1]
        self.xs, self.axis = xs, int(batch_first)
        if not self.count:
            raise fail(ShapeError, f"unroll: {describe(xs)} has no time step", expected=f"{layout} with at least one")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, t: int) -> Tensor:
        if isinstance(self.xs, Tensor):
            return (self.xs[:, t] if self.axis else self.xs[t]).named("x")
        return self.xs[t]


class RNN(Module):
    """Layers of :class:`RNNCell`, unrolled over time.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
        Each layer reads the outputs of the one below.
    activation, bias, generator
        As for :class:`RNNCell`.
    dropout : float
        Share of the outputs of each layer but the last that is dropped while training.
    batch_first : bool
        False for (time, batch, ...), in and out.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> out = tg.nn.RNN(3, 4, num_layers=2)(tg.ones((2, 5, 3)))
    >>> out.outputs.shape, len(out.state)
    ((2, 5, 4), 2)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        activation: str = "tanh",
        bias: bool = True,
        dropout: float = 0.0,
        batch_first: bool = True,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        if num_layers < 1:
            raise ValueError(f"RNN: num_layers must be at least 1, got {num_layers}")
        generator = generator_of(generator)
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = [
            RNNCell(n, hidden_size, activation=activation, bias=bias, generator=generator, dtype=dtype) for n in sizes
        ]
        self.dropout = Dropout(dropout, generator=generator)
        self.batch_first = batch_first

    def initial_state(self, batch: int) -> list[Any]:
        """The initial state of every layer."""
        return [cell.initial_state(batch) for cell in self.layers]

    def step(self, x: Any, state: Sequence[Any]) -> tuple[Any, list[Any]]:
        """One time step through all layers."""
        after = []
        for k, (cell, before) in enumerate(zip(self.layers, state, strict=True)):
            if k and self.dropout.p:
                x = self.dropout(x)
            x, last = cell(x, before)
            after.append(last)
        return x, after

    def forward(self, xs: Any, state: Sequence[Any] | None = None) -> RecurrentOutput:
        if state is not None and len(state) != len(self.layers):
            raise fail(
                ShapeError,
                "RNN: initial state",
                expected=f"{len(self.layers)} states, one per layer",
                got=str(len(state)),
            )
        inputs = _Steps(xs, self.batch_first)
        start = self.initial_state(inputs.batch) if state is None else state
        return _run(self.step, inputs, start, self.batch_first)
