"""One cell over time: sequences of any lengths, in either direction.

A cell is anything called as ``y, state = cell(x, state)`` that gives its initial state by ``initial_state(batch)``.
The state is a value, passed in and out: no step is hidden, and every unrolled graph can be drawn. Sequences are
(batch, time, features).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..errors import ShapeError, fail
from ..ops.core import as_tensor
from ..ops.create import zeros_like
from ..ops.elementwise import where
from ..ops.reduce import cumsum
from ..ops.reduce import sum as sum_of
from ..ops.shape import stack
from ..scope import current, timestep, using
from ..tensor import Tensor, describe
from .cell import inside, stepped
from .module import entered
from .sequences import masked, sequence_mask
from .state import initial_state_of, mapped_state

__all__ = ["Directions", "Inputs", "RecurrentOutput", "joined", "last_of", "run_cell", "unroll"]


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
        ``y, state = cell(x, state)``. It is recorded in a scope named after it. Layers of one direction are a cell too.
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
        Also give what happened over time, zero behind the ends: states and gates of cells that show them by a ``step``
        method, as all here do, and the states of others.

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

    For ``h_t = tanh(x_t W_i + h_{t-1} W_h + b)`` and ``y_t = h_t W_o`` backpropagation through time has a closed form.
    At the last step ``dL/dh_T = dL/dy_T W_oᵀ``, before it ``dL/dh_t = dL/dy_t W_oᵀ + δ_{t+1} W_hᵀ``, where
    ``δ_t = dL/dh_t ⊙ (1 - h_t²)``; and ``dL/dW_o = Σ h_tᵀ dL/dy_t``, ``dL/dW_h = Σ h_{t-1}ᵀ δ_t``,
    ``dL/dW_i = Σ x_tᵀ δ_t``.

    >>> import numpy as np
    >>> cell, W_o = tg.nn.RNNCell(2, 3, dtype=np.float64), tg.parameter(np.ones((3, 1)))
    >>> x = np.random.default_rng(0).normal(size=(1, 4, 2))
    >>> h = tg.nn.unroll(cell, x).outputs
    >>> loss = ((h @ W_o) ** 2).sum()
    >>> found = tg.grad(loss, [W_o, cell.W_h, cell.W_i, *tg.graph(loss).by_name("h")])
    >>> h, W_h, O = h.numpy()[0], cell.W_h.numpy(), W_o.numpy()
    >>> dy, delta, before = 2 * h @ O, np.zeros(3), np.vstack([np.zeros(3), h[:-1]])
    >>> dW_o, dW_h, dW_i, dh = h.T @ dy, 0, 0, [None] * 4
    >>> for t in reversed(range(4)):
    ...     dh[t] = dy[t] @ O.T + delta @ W_h.T
    ...     delta = dh[t] * (1 - h[t] ** 2)
    ...     dW_h, dW_i = dW_h + np.outer(before[t], delta), dW_i + np.outer(x[0, t], delta)
    >>> all(np.allclose(a, b) for a, b in zip(found, [dW_o, dW_h, dW_i, *dh], strict=True))
    True
    """
    inputs = Inputs(xs, batch_first, lengths, mask)
    with entered(cell):
        start = initial_state_of(cell, inputs.batch) if state is None else state
        ys, last, seen = run_cell(cell, inputs, start, reverse, history)
    axis = 1 if batch_first else 0
    outputs = stack(ys, axis=axis)
    final = last_of(ys, outputs, inputs, axis, reverse)
    return RecurrentOutput(outputs, last, final, [joined(seen, axis)] if history else None)


def run_cell(
    cell: Any, inputs: Inputs, state: Any, reverse: bool = False, history: bool = False
) -> tuple[list[Tensor], Any, list[dict[str, Tensor]]]:
    """Outputs in order of time, the last state, and gates if asked for; whoever calls it has entered the cell."""
    count = len(inputs)
    outputs: list[Any] = [None] * count
    seen: list[Any] = [{}] * count
    for t in reversed(range(count)) if reverse else range(count):
        x, keep = inputs[t]
        with timestep(t):
            y, after, gates = stepped(cell, x, state) if history else (*inside(cell)(x, state), {})
            if keep is not None:
                y, after, gates = _kept(keep, y, after, state, gates)
        outputs[t], state, seen[t] = y, after, gates
    return outputs, state, seen


def _kept(keep: Tensor, y: Tensor, after: Any, before: Any, gates: dict[str, Tensor]) -> tuple[Tensor, Any, Any]:
    """The state of before and zeros for the sequences that have ended."""
    shown = lambda t: masked(keep, t, zeros_like(t))
    after = mapped_state(lambda new, old: masked(keep, new, as_tensor(old)), after, before)
    return shown(y), after, {name: shown(t) for name, t in gates.items()}


def joined(seen: list[dict[str, Tensor]], axis: int) -> dict[str, Tensor]:
    return {name: stack([step[name] for step in seen], axis=axis) for name in seen[0]}


def last_of(ys: list[Tensor], outputs: Tensor, inputs: Inputs, axis: int, reverse: bool) -> Tensor:
    """The output at the last step of each sequence, in the order of computation; time is an axis of `outputs`."""
    if inputs.mask is None:
        return ys[0 if reverse else -1]
    chosen = inputs.first_steps() if reverse else inputs.last_steps()
    chosen = chosen if axis else chosen.T
    chosen = chosen.reshape(chosen.shape + (1,) * (outputs.ndim - 2))
    return sum_of(where(chosen, outputs, zeros_like(outputs)), axis)  # of one step at most, so it is exact


class Inputs:
    """The inputs of a loop over time, and which sequences are there; each step is cut out once, for all who read it."""

    def __init__(self, xs: Any, batch_first: bool, lengths: Any = None, mask: Any = None) -> None:
        self.xs, self.axis = xs, int(batch_first)
        if isinstance(xs, list | tuple) and xs and all(isinstance(x, Tensor) for x in xs):
            self._several(xs)
        else:
            self._one(as_tensor(xs), batch_first)
        self.mask = self._mask(lengths, mask)
        self.place = current().place
        self.steps: dict[int, tuple[Tensor, Tensor | None]] = {}

    def _several(self, xs: Sequence[Tensor]) -> None:
        self.count, shape = len(xs), xs[0].shape
        for t, x in enumerate(xs):
            if not x.ndim or x.shape[0] != shape[0]:
                raise fail(
                    ShapeError, f"unroll: step {t}, {describe(x)}",
                    expected=f"({shape[0] if shape else 'batch'}, ...), the same batch at every step",
                )  # fmt: skip
        self.batch = shape[0]

    def _one(self, xs: Tensor, batch_first: bool) -> None:
        layout = "(batch, time, ...)" if batch_first else "(time, batch, ...)"
        if xs.ndim < 2:
            raise fail(ShapeError, f"unroll: {describe(xs)} has no time axis", expected=layout)
        self.batch, self.count = xs.shape[:2] if batch_first else xs.shape[1::-1]
        self.xs = xs
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

    def __getitem__(self, t: int) -> tuple[Tensor, Tensor | None]:
        """The inputs of a step, and which sequences have it, recorded where the loop as a whole is."""
        if t not in self.steps:
            with using(lambda s: s.at(replace(self.place, time=t, outer=self.place))):
                self.steps[t] = self._cut(t)
        return self.steps[t]

    def _cut(self, t: int) -> tuple[Tensor, Tensor | None]:
        """Zeros where a sequence has ended, so that nothing can come from there."""
        x = (self.xs[:, t] if self.axis else self.xs[t]).named("x") if isinstance(self.xs, Tensor) else self.xs[t]
        if self.mask is None:
            return x, None
        keep = self.mask[:, t]
        return masked(keep, x, zeros_like(x)), keep

    def above(self, ys: list[Tensor]) -> Inputs:
        """The outputs of a layer, which are zero where a sequence has ended, as inputs of the next."""
        made = object.__new__(Inputs)
        made.xs, made.count, made.batch, made.mask = ys, self.count, self.batch, self.mask
        made.steps = {t: (y, self[t][1]) for t, y in enumerate(ys)}
        return made

    def last_steps(self) -> Tensor:
        """For each sequence True at its last step, for one without steps nowhere."""
        assert self.mask is not None
        counted = cumsum(self.mask.astype(np.int64), 1)
        return self.mask & (counted == counted[:, -1:])

    def first_steps(self) -> Tensor:
        assert self.mask is not None
        return self.mask & (cumsum(self.mask.astype(np.int64), 1) == 1)
