"""Wrappers that turn any cell into another one: regularisation, depth within a step, residual connections.

They take whatever is called as ``y, state = cell(x, state)`` and has ``initial_state(batch)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import ShapeError, fail
from ..nested import rebuilt, taken_apart
from ..ops.core import as_tensor
from ..ops.create import tensor
from ..ops.random import bernoulli
from ..settings import check_count, check_number, check_switch
from ..tensor import DEFAULT_FLOAT, Tensor
from . import init
from .cell import Activation, Stepped, activation_of, stepped
from .init import Seed, generator_of
from .module import Module, entered
from .state import initial_state_of, leaves_of

__all__ = ["DeepTransition", "DroppedState", "Residual", "VariationalDropout", "Zoneout"]


class _Wrapper(Module):
    cell: Any

    def initial_state(self, batch: int) -> Any:
        """That of the cell inside."""
        with entered(self.cell, "cell"):
            return initial_state_of(self.cell, batch)

    def step(self, x: Any, state: Any) -> Stepped:
        """One step, with what the cell inside shows of it."""
        raise NotImplementedError(f"{type(self).__name__} has no step method")

    def forward(self, x: Any, state: Any) -> tuple[Tensor, Any]:
        y, state, _ = self.step(x, state)
        return y, state

    def _inner(self, x: Any, state: Any) -> Stepped:
        with entered(self.cell, "cell"):
            return stepped(self.cell, x, state)


class DroppedState(NamedTuple):
    """A state with the masks that are kept for the whole sequence.

    Attributes
    ----------
    state : nested tensors
    mask : Tensor (batch, hidden)
    """

    state: Any
    mask: Any


class VariationalDropout(_Wrapper):
    """The same units of the hidden state are dropped at every step of a sequence (Gal and Ghahramani, 2016).

    The mask is drawn by `initial_state` and is part of the state. It is laid over the first tensor of the state, the
    hidden state, on its way into the cell; the cell state of an LSTM stays whole. In eval mode nothing is dropped.

    Parameters
    ----------
    cell : cell
    p : float
        Share of units that are dropped; the others are scaled up.
    generator : numpy.random.Generator or int, optional

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.VariationalDropout(tg.nn.LSTMCell(3, 4), 0.5, generator=0)
    >>> out = tg.nn.unroll(cell, tg.ones((2, 5, 3)))
    >>> out.outputs.shape, sorted(set(out.state.mask.numpy().ravel().tolist()))
    ((2, 5, 4), [0.0, 2.0])
    """

    def __init__(self, cell: Any, p: float = 0.5, *, generator: Seed = None) -> None:
        self.cell, self.p = cell, check_number("VariationalDropout: p", p, 0, below=1)
        self.generator = generator_of(generator)

    def initial_state(self, batch: int) -> DroppedState:
        """The cell's own with a mask, drawn anew on each call."""
        state = super().initial_state(batch)
        hidden = leaves_of(state)[0]
        if self.training and self.p:
            mask = bernoulli(hidden.shape, 1 - self.p, generator=self.generator, dtype=hidden.dtype) / (1 - self.p)
        else:
            mask = tensor(np.ones(hidden.shape, hidden.dtype))
        return DroppedState(state, mask.named("mask"))

    def step(self, x: Any, state: DroppedState) -> Stepped:
        inner, mask = state
        (hidden, *others), form = taken_apart(inner, "state")
        y, after, gates = self._inner(x, rebuilt(form, iter([hidden * mask, *others])))
        return Stepped(y, DroppedState(after, mask), gates)


class Zoneout(_Wrapper):
    """Units keep their old value at random (Krueger et al., 2017); in eval mode each takes the mean of both.

    Parameters
    ----------
    cell : cell
    p : float or sequence of float
        Probability of keeping the old value; one for each tensor of the state (hidden and cell state of an LSTM). What
        the cell hands on as it was, as the past states of an RNNCell with a skip, does not count.
    generator : numpy.random.Generator or int, optional

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.Zoneout(tg.nn.LSTMCell(3, 4), (0.1, 0.5), generator=0)
    >>> tg.nn.unroll(cell, tg.ones((2, 5, 3))).outputs.shape
    (2, 5, 4)
    """

    def __init__(self, cell: Any, p: float | Sequence[float] = 0.1, *, generator: Seed = None) -> None:
        shares = list(p) if isinstance(p, list | tuple | np.ndarray) else [p]
        self.cell, self.p = cell, [check_number("Zoneout: p", q, 0, 1) for q in shares]
        self.generator = generator_of(generator)

    def step(self, x: Any, state: Any) -> Stepped:
        y, after, gates = self._inner(x, state)
        before, (now, form) = leaves_of(state), taken_apart(after, "state")
        handed_on = set(map(id, before))
        new = [(a, b) for a, b in zip(before, now, strict=True) if id(b) not in handed_on]
        shares = self.p * len(new) if len(self.p) == 1 else self.p
        if len(shares) != len(new):
            raise ValueError(f"Zoneout: {len(shares)} probabilities for a state of {len(new)} tensors that change")
        instead = {id(b): self._kept(q, as_tensor(a), b) for q, (a, b) in zip(shares, new, strict=True)}
        kept = [instead.get(id(b), b) for b in now]
        gates = {name: instead.get(id(t), t) for name, t in gates.items()}
        return Stepped(instead.get(id(y), y), rebuilt(form, iter(kept)), gates)

    def _kept(self, p: float, before: Tensor, now: Tensor) -> Tensor:
        if not p:
            return now
        if not self.training:
            return p * before + (1 - p) * now
        fresh = bernoulli(now.shape, 1 - p, generator=self.generator, dtype=now.dtype)
        return (before + fresh * (now - before)).named("h")


class Residual(_Wrapper):
    """The input is added to the output, which must be as wide (He et al., 2016).

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.unroll(tg.nn.Residual(tg.nn.RNNCell(4, 4)), tg.ones((2, 5, 4))).outputs.shape
    (2, 5, 4)
    """

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def step(self, x: Any, state: Any) -> Stepped:
        x = as_tensor(x)
        y, state, gates = self._inner(x, state)
        if y.shape != x.shape:
            raise fail(
                ShapeError, f"Residual: output {y.shape} of {type(self.cell).__name__}",
                expected=f"{x.shape}, as the input, to be added to it",
            )  # fmt: skip
        return Stepped(y + x, state, gates)


class DeepTransition(_Wrapper):
    """More layers inside one time step (Pascanu et al., 2014): the new hidden state goes through `depth` layers.

    For cells whose state is one tensor, which is their output.

    Parameters
    ----------
    cell : cell
    depth : int
        Number of layers behind the cell.
    skip : bool
        Add what went into each layer to what comes out, which shortens the path of the gradient.
    activation : "tanh", "relu", "sigmoid", "identity", or a function of tensors
    generator : numpy.random.Generator or int, optional

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.DeepTransition(tg.nn.RNNCell(3, 4), 2, skip=True, generator=0)
    >>> tg.nn.unroll(cell, tg.ones((2, 5, 3))).outputs.shape
    (2, 5, 4)
    """

    def __init__(
        self,
        cell: Any,
        depth: int = 1,
        *,
        skip: bool = False,
        activation: Activation = "tanh",
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        depth = check_count("DeepTransition: depth", depth, most=10**6)
        self.cell, self.skip = cell, check_switch("DeepTransition: skip", skip)
        self.g = activation_of("DeepTransition", activation)
        state, generator = initial_state_of(cell, 1), generator_of(generator)
        if not isinstance(state, Tensor):
            raise ValueError(
                f"DeepTransition: expected a cell whose state is one tensor, its output, as RNNCell and GRUCell have; "
                f"the state of {type(cell).__name__} is a {type(state).__name__}"
            )
        n = state.shape[-1]
        bound = 1 / np.sqrt(n)
        self.W = [init.uniform((n, n), bound, generator, dtype) for _ in range(depth)]
        self.b = [init.zeros((n,), dtype) for _ in range(depth)]

    def step(self, x: Any, state: Any) -> Stepped:
        h, _, gates = self._inner(x, state)
        for W, b in zip(self.W, self.b, strict=True):
            deeper = self.g(h @ W + b)
            h = deeper + h if self.skip else deeper
        h = h.named("h")
        return Stepped(h, h, gates | {"h": h})
