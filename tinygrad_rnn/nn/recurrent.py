"""Unrolling over time: layers and directions of any cells, sequences of different lengths, truncated gradients.

A cell is anything called as ``y, state = cell(x, state)`` that gives its initial state by ``initial_state(batch)``.
The state is a value, passed in and out: no step is hidden, and every unrolled graph can be drawn. Sequences are
(batch, time, features).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import ShapeError, fail
from ..ops.core import as_tensor
from ..ops.create import tensor, zeros_like
from ..ops.shape import concatenate, stack
from ..scope import no_grad, scope, timestep
from ..tensor import DEFAULT_FLOAT, Tensor, describe
from .cells import GRUCell, LSTMCell, RNNCell
from .init import Seed, generator_of
from .layers import Dropout
from .module import Module
from .sequences import masked, sequence_mask
from .state import initial_state_of, mapped_state

__all__ = ["GRU", "LSTM", "RNN", "Chunk", "Directions", "Recurrent", "RecurrentOutput", "tbptt", "unroll"]


class RecurrentOutput(NamedTuple):
    """What a recurrent layer gives.

    Attributes
    ----------
    outputs : Tensor (batch, time, features)
        Of the last layer, at every step; zero behind the end of a sequence.
    state : state, or list of states
        After the last step of each sequence; one for each layer where there are layers, and ``Directions`` of them
        where there are two directions.
    last : Tensor (batch, features)
        The output of the last step of each sequence; of both directions, the last of the forward one beside that which
        the backward one has at the first step. Zero for a sequence without steps.
    history : list of dict of Tensor, or None
        On request, for each layer (and direction, the forward one first): states and gates by name, (batch, time, ...).
    """

    outputs: Tensor
    state: Any
    last: Any = None
    history: Any = None


class Directions(NamedTuple):
    """What belongs to the forward and to the backward direction."""

    forward: Any
    backward: Any


# One cell over time ---------------------------------------------------------------------------------------------------


def unroll(
    cell: Any,
    xs: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    batch_first: bool = True,
    reverse: bool = False,
    history: bool = False,
) -> RecurrentOutput:
    """Run a cell over the steps of `xs`, each inside its ``timestep``.

    Behind the end of a sequence the state stays as it is and outputs are zero, whatever stands there.

    Parameters
    ----------
    cell : callable
        ``y, state = cell(x, state)``.
    xs : tensor (batch, time, features), or sequence of tensors (batch, features)
        Integers for a cell that embeds: (batch, time).
    state : state, optional
        Where to start; ``cell.initial_state(batch)`` by default.
    lengths : integers (batch,), optional
        Number of steps of each sequence; may be 0.
    mask : bool (batch, time), optional
        Which steps are there, instead of `lengths`; gaps are passed over.
    batch_first : bool
        False for (time, batch, ...), in and out; `lengths` and `mask` stay as they are.
    reverse : bool
        From the last step of each sequence to the first; outputs stay at their places.
    history : bool
        Also give states and gates over time, of cells that have a ``step`` method.

    Raises
    ------
    ShapeError
        If `xs` has no time axis or no step, or lengths or mask do not fit.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> out = tg.nn.unroll(tg.nn.RNNCell(3, 4), tg.ones((2, 5, 3)), lengths=[5, 2])
    >>> out.outputs.shape, out.state.shape, out.outputs[1, 2:].tolist()[0]
    ((2, 5, 4), (2, 4), [0.0, 0.0, 0.0, 0.0])

    For ``h_t = tanh(x_t W_i + h_{t-1} W_h + b)`` and ``y_t = h_t W_o`` backpropagation through time has a closed form:
    from the last step to the first ``dL/dh_t = dL/dy_t W_oᵀ + δ_{t+1} W_hᵀ`` with ``δ_t = dL/dh_t ⊙ (1 - h_t²)``, and
    then ``dL/dW_o = Σ h_tᵀ dL/dy_t``, ``dL/dW_h = Σ h_{t-1}ᵀ δ_t``, ``dL/dW_i = Σ x_tᵀ δ_t``.

    >>> import numpy as np
    >>> cell, W_o = tg.nn.RNNCell(2, 3, dtype=np.float64), tg.parameter(np.ones((3, 1)))
    >>> x = np.random.default_rng(0).normal(size=(1, 4, 2))
    >>> h = tg.nn.unroll(cell, x).outputs
    >>> loss = ((h @ W_o) ** 2).sum()
    >>> found = tg.grad(loss, [W_o, cell.W_h, cell.W_i])
    >>> h, W_h, O = h.numpy()[0], cell.W_h.numpy(), W_o.numpy()
    >>> dy, delta, before = 2 * h @ O, np.zeros(3), np.vstack([np.zeros(3), h[:-1]])
    >>> dW_o, dW_h, dW_i = h.T @ dy, 0, 0
    >>> for t in reversed(range(4)):
    ...     delta = (dy[t] @ O.T + delta @ W_h.T) * (1 - h[t] ** 2)
    ...     dW_h, dW_i = dW_h + np.outer(before[t], delta), dW_i + np.outer(x[0, t], delta)
    >>> [bool(np.allclose(a, b)) for a, b in zip(found, [dW_o, dW_h, dW_i])]
    [True, True, True]
    """
    inputs = _Steps(xs, batch_first, lengths, mask)
    start = initial_state_of(cell, inputs.batch) if state is None else state
    ys, last, seen = _run(cell, inputs, start, reverse, history)
    axis = 1 if batch_first else 0
    outputs = stack(ys, axis=axis)
    return RecurrentOutput(outputs, last, _last(ys, inputs, reverse), [_joined(seen, axis)] if history else None)


def _run(
    cell: Any, inputs: _Steps, state: Any, reverse: bool = False, history: bool = False
) -> tuple[list[Tensor], Any, list[dict[str, Tensor]]]:
    """Outputs in order of time, the last state, and gates if asked for."""
    count = len(inputs)
    outputs: list[Any] = [None] * count
    seen: list[Any] = [{}] * count
    for t in reversed(range(count)) if reverse else range(count):
        with timestep(t):
            if history and hasattr(cell, "step"):
                y, after, seen[t] = _stepped(cell, inputs[t], state)
            else:
                y, after = cell(inputs[t], state)
            if inputs.mask is not None:
                keep = inputs.mask[:, t]
                y = masked(keep, y, zeros_like(y))
                after = mapped_state(lambda new, old, keep=keep: masked(keep, new, as_tensor(old)), after, state)
        outputs[t], state = y, after
    return outputs, state, seen


def _stepped(cell: Any, x: Any, state: Any) -> Any:
    """A step with its gates, in the scope of the cell, as when it is called."""
    step = cell.step
    return cell._scoped(step, x, state) if isinstance(cell, Module) else step(x, state)


def _joined(seen: list[dict[str, Tensor]], axis: int) -> dict[str, Tensor]:
    return {name: stack([step[name] for step in seen], axis=axis) for name in seen[0]}


def _last(ys: list[Tensor], inputs: _Steps, reverse: bool) -> Tensor:
    """The output at the last step of each sequence, in the order of computation."""
    if inputs.mask is None or reverse:  # backwards every sequence ends with its first step
        return ys[0 if reverse else -1] if inputs.mask is None else _at(ys, inputs.first_steps())
    return _at(ys, inputs.last_steps())


def _at(ys: list[Tensor], chosen: Tensor) -> Tensor:
    """For each sequence the output at a step, by a mask (batch, time) with at most one True for each."""
    total = zeros_like(ys[0])
    for t, y in enumerate(ys):
        total = masked(chosen[:, t], y, total)
    return total


class _Steps:
    """The inputs of a loop over time; slices of one tensor are taken when asked for, inside their time step."""

    def __init__(self, xs: Any, batch_first: bool, lengths: Any = None, mask: Any = None) -> None:
        self.xs: Any = xs
        if isinstance(xs, list | tuple) and xs and all(isinstance(x, Tensor) for x in xs):
            self.count, self.batch = len(xs), xs[0].shape[0]
        else:
            self._one(as_tensor(xs), batch_first)
        self.mask = self._mask(lengths, mask)

    def _one(self, xs: Tensor, batch_first: bool) -> None:
        layout = "(batch, time, ...)" if batch_first else "(time, batch, ...)"
        if xs.ndim < 2:
            raise fail(ShapeError, f"unroll: {describe(xs)} has no time axis", expected=layout)
        self.batch, self.count = xs.shape[:2] if batch_first else xs.shape[1::-1]
        self.xs, self.axis = xs, int(batch_first)
        if not self.count:
            raise fail(ShapeError, f"unroll: {describe(xs)} has no time step", expected=f"{layout} with at least one")

    def _mask(self, lengths: Any, mask: Any) -> Tensor | None:
        if lengths is None and mask is None:
            return None
        if lengths is not None and mask is not None:
            raise TypeError("unroll: lengths and mask say the same; give one of them")
        found = sequence_mask(lengths, self.count) if mask is None else as_tensor(mask)
        if found.shape != (self.batch, self.count) or found.dtype.kind != "b":
            raise fail(
                ShapeError, f"unroll: {'lengths' if mask is None else 'mask ' + describe(found)}",
                expected=f"({self.batch},)" if mask is None else f"booleans of shape ({self.batch}, {self.count})",
            )  # fmt: skip
        return found

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, t: int) -> Tensor:
        """The inputs of a step; zeros where a sequence has ended, so that nothing can come from there."""
        x = (self.xs[:, t] if self.axis else self.xs[t]).named("x") if isinstance(self.xs, Tensor) else self.xs[t]
        return x if self.mask is None else masked(self.mask[:, t], x, zeros_like(x))

    def above(self, ys: list[Tensor]) -> _Steps:
        """The outputs of a layer as inputs of the next."""
        made = object.__new__(_Steps)
        made.xs, made.count, made.batch, made.mask = ys, self.count, self.batch, self.mask
        return made

    def last_steps(self) -> Tensor:
        """For each sequence True at its last step."""
        assert self.mask is not None
        later = concatenate([self.mask[:, 1:], zeros_like(self.mask[:, :1])], 1)
        return self.mask & (_counted_from_behind(later) == 0)

    def first_steps(self) -> Tensor:
        assert self.mask is not None
        counted = self.mask.astype(np.int64)
        return self.mask & (counted.sum(1, keepdims=True) - _counted_from_behind(self.mask) == 0)


def _counted_from_behind(mask: Tensor) -> Tensor:
    """How many steps there are from each step on, this one included."""
    steps = mask.shape[1]
    ahead = tensor(np.tril(np.ones((steps, steps), np.int64)))
    return mask.astype(np.int64) @ ahead


# Layers and directions ------------------------------------------------------------------------------------------------


class Recurrent(Module):
    """Any cells as layers over time, in one or two directions.

    Parameters
    ----------
    cells : cell, or sequence of cells
        One for each layer; each reads the outputs of the one below.
    backward : cell or sequence of cells, optional
        Cells that run from the last step to the first; outputs of both directions stand side by side.
    residual : bool
        Add the inputs of each layer to its outputs where they are as wide.
    skip : bool
        Each layer above the first also reads the inputs, beside the outputs of the layer below (Graves, 2013).
    dropout : float
        Share of the outputs of each layer but the last that is dropped while training.
    batch_first : bool
        False for (time, batch, ...), in and out.
    generator : numpy.random.Generator or int, optional
        Of the dropout.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cells = [tg.nn.LSTMCell(3, 4), tg.nn.GRUCell(4, 5)]
    >>> out = tg.nn.Recurrent(cells)(tg.ones((2, 6, 3)), lengths=[6, 3])
    >>> out.outputs.shape, out.last.shape, type(out.state[0]).__name__
    ((2, 6, 5), (2, 5), 'LSTMState')
    """

    def __init__(
        self,
        cells: Any,
        *,
        backward: Any = None,
        residual: bool = False,
        skip: bool = False,
        dropout: float = 0.0,
        batch_first: bool = True,
        generator: Seed = None,
    ) -> None:
        self.layers = list(cells) if isinstance(cells, list | tuple) else [cells]
        if not self.layers:
            raise ValueError("Recurrent: there are no cells; pass at least one")
        several = isinstance(backward, list | tuple)
        self.backward = None if backward is None else list(backward) if several else [backward]
        if self.backward is not None and len(self.backward) != len(self.layers):
            raise ValueError(f"Recurrent: {len(self.layers)} cells forward and {len(self.backward)} backward")
        self.dropout = Dropout(dropout, generator=generator_of(generator))
        self.residual, self.skip, self.batch_first = bool(residual), bool(skip), bool(batch_first)

    def initial_state(self, batch: int) -> list[Any]:
        """The initial state of every layer."""
        ahead = [initial_state_of(cell, batch) for cell in self.layers]
        if self.backward is None:
            return ahead
        return [Directions(a, initial_state_of(cell, batch)) for a, cell in zip(ahead, self.backward, strict=True)]

    def forward(
        self,
        xs: Any,
        state: Sequence[Any] | None = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        history: bool = False,
    ) -> RecurrentOutput:
        """Outputs, states, last outputs and, on request, the history; see :func:`unroll` for the arguments."""
        if state is not None and len(state) != len(self.layers):
            raise fail(
                ShapeError, f"{type(self).__name__}: initial state",
                expected=f"{len(self.layers)} states, one per layer", got=str(len(state)),
            )  # fmt: skip
        inputs = first = _Steps(xs, self.batch_first, lengths, mask)
        start = self.initial_state(inputs.batch) if state is None else state
        after, seen = [], []
        for k, before in enumerate(start):
            ys, state_k, inside = self._layer(k, inputs, before, history)
            after.append(state_k)
            seen += inside
            if self.residual:
                ys = [_added(y, inputs[t], t) for t, y in enumerate(ys)]
            if k + 1 < len(self.layers):
                ys = [self._dropped(y, t) for t, y in enumerate(ys)]
                inputs = first.above([_beside(y, first[t], t) for t, y in enumerate(ys)] if self.skip else ys)
        axis = 1 if self.batch_first else 0
        outputs, gates = stack(ys, axis=axis), [_joined(g, axis) for g in seen] if history else None
        return RecurrentOutput(outputs, after, self._last(ys, inputs), gates)

    def _last(self, ys: list[Tensor], inputs: _Steps) -> Tensor:
        """What each direction gives at its own last step."""
        if self.backward is None:
            return _last(ys, inputs, False)
        width = ys[0].shape[-1] // 2
        return concatenate([_last(ys, inputs, False)[:, :width], _last(ys, inputs, True)[:, width:]], -1)

    def _dropped(self, y: Tensor, t: int) -> Tensor:
        with timestep(t):
            return self.dropout(y) if self.dropout.p else y

    def _layer(self, k: int, inputs: _Steps, state: Any, history: bool) -> tuple[list[Tensor], Any, list[Any]]:
        if self.backward is None:
            ys, after, seen = _run(self.layers[k], inputs, state, False, history)
            return ys, after, [seen] if history else []
        with scope("forward"):
            ahead, first, seen = _run(self.layers[k], inputs, state[0], False, history)
        with scope("backward"):
            behind, second, seen_behind = _run(self.backward[k], inputs, state[1], True, history)
        ys = [_beside(a, b, t) for t, (a, b) in enumerate(zip(ahead, behind, strict=True))]
        return ys, Directions(first, second), [seen, seen_behind] if history else []


def _added(y: Tensor, x: Tensor, t: int) -> Tensor:
    with timestep(t):
        return y + x if y.shape == x.shape else y


def _beside(a: Tensor, b: Tensor, t: int) -> Tensor:
    with timestep(t):
        return concatenate([a, b], -1)


class _Stacked(Recurrent):
    """Layers of one kind of cell."""

    cell: Any = None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        residual: bool = False,
        skip: bool = False,
        dropout: float = 0.0,
        batch_first: bool = True,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
        **options: Any,
    ) -> None:
        if num_layers < 1:
            raise ValueError(f"{type(self).__name__}: num_layers must be at least 1, got {num_layers}")
        generator = generator_of(generator)
        width = (options.get("projection") or hidden_size) * (2 if bidirectional else 1)
        sizes = [input_size] + [width + input_size * skip] * (num_layers - 1)
        each = [n for n in sizes for _ in range(1 + bidirectional)]
        cells = [self.cell(n, hidden_size, generator=generator, dtype=dtype, **options) for n in each]
        super().__init__(
            cells[:: 1 + bidirectional], backward=cells[1::2] if bidirectional else None, residual=residual,
            skip=skip, dropout=dropout, batch_first=batch_first, generator=generator,
        )  # fmt: skip


class RNN(_Stacked):
    """Layers of :class:`RNNCell`, unrolled over time.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
        Each layer reads the outputs of the one below.
    bidirectional : bool
        A second cell in each layer runs backwards; outputs are twice as wide.
    residual, skip, dropout, batch_first
        As for :class:`Recurrent`.
    generator : numpy.random.Generator or int, optional
    **options
        Of the cell: activation, bias, leak and the others (but its `skip` over time: for that make the cells yourself).

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> out = tg.nn.RNN(3, 4, num_layers=2, activation="relu")(tg.ones((2, 5, 3)))
    >>> out.outputs.shape, len(out.state)
    ((2, 5, 4), 2)
    """

    cell = RNNCell


class LSTM(_Stacked):
    """Layers of :class:`LSTMCell`, unrolled over time; parameters as for :class:`RNN`, options those of the cell.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> out = tg.nn.LSTM(3, 4, bidirectional=True)(tg.ones((2, 5, 3)), lengths=[5, 3])
    >>> out.outputs.shape, out.last.shape, out.state[0].backward.c.shape
    ((2, 5, 8), (2, 8), (2, 4))
    """

    cell = LSTMCell


class GRU(_Stacked):
    """Layers of :class:`GRUCell`, unrolled over time; parameters as for :class:`RNN`, options those of the cell.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> out = tg.nn.GRU(3, 4, reset_after=True)(tg.ones((2, 5, 3)), history=True)
    >>> out.history[0]["z"].shape
    (2, 5, 4)
    """

    cell = GRUCell


# Truncated gradients --------------------------------------------------------------------------------------------------


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
    cell : cell, or layer that takes (xs, state)
    xs : tensor (batch, time, ...)
    k1, k2 : int
        Steps between updates, and steps that gradients go back, ``k1`` by default and never fewer.
    state : state, optional

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(3, 4)
    >>> [(c.start, c.stop) for c in tg.nn.tbptt(cell, tg.ones((2, 5, 3)), 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    k2 = k1 if k2 is None else k2
    if k1 < 1 or k2 < k1:
        raise ValueError(f"tbptt: expected 1 <= k1 <= k2; got k1={k1}, k2={k2}")
    inputs = _Steps(xs, True)
    current = initial_state_of(cell, inputs.batch) if state is None else state
    begun = {0: _detached(current)}
    for start in range(0, len(inputs), k1):
        stop = min(start + k1, len(inputs))
        first = max(start - (k2 - k1), 0)
        before = begun[first]
        ys = []
        for t in range(first, stop):
            with timestep(t):
                y, before = cell(inputs[t], before)
            if t >= start:
                ys.append(y)
            begun.setdefault(t + 1, _detached(before))
        yield Chunk(stack(ys, axis=1), begun[stop], start, stop)
        begun = {at: s for at, s in begun.items() if at >= stop - (k2 - k1)}


def _detached(state: Any) -> Any:
    with no_grad():
        return mapped_state(lambda t: as_tensor(t).detach(), state)
