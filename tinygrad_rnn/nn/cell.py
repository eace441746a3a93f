"""What all recurrent cells have in common: packed weights, gates by name, a state that goes in and comes out.

Everything is written with row vectors: ``x`` is (batch, input), ``h`` is (batch, hidden), ``W`` is (in, out).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import ShapeError, fail
from ..ops import elementwise
from ..ops.core import as_tensor
from ..ops.create import parameter, zeros
from ..ops.shape import broadcast_to
from ..settings import check_counts, check_switch
from ..tensor import Tensor, describe
from . import init
from .layers import LayerNorm
from .module import Module
from .state import named_leaves

__all__ = ["ACTIVATIONS", "Activation", "Cell", "Gate", "Stepped", "activation_of", "inside", "stepped"]

Activation = str | Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": elementwise.tanh,
    "relu": elementwise.relu,
    "sigmoid": elementwise.sigmoid,
    "identity": lambda x: x,
}


class Gate(NamedTuple):
    """The part of a cell's weights that belongs to one gate.

    Attributes
    ----------
    W_i : Tensor (input, hidden)
    W_h : Tensor (hidden, hidden) or None
    b : Tensor (hidden,) or None
    """

    W_i: Tensor
    W_h: Tensor | None
    b: Tensor | None


class Stepped(NamedTuple):
    """One step of a cell with what happened inside.

    Attributes
    ----------
    y : Tensor (batch, features)
    state : nested tensors
    gates : dict of Tensor
        By name: gates, candidates and states of this step.
    """

    y: Tensor
    state: Any
    gates: dict[str, Tensor]


def activation_of(name: str, given: Activation) -> Callable[[Any], Any]:
    """An activation by name, or a function of tensors as it is."""
    if callable(given):
        return given
    if given not in ACTIVATIONS:
        raise ValueError(f"{name}: activation must be a function or one of {', '.join(ACTIVATIONS)}; got {given!r}")
    return ACTIVATIONS[given]


def inside(cell: Any) -> Callable[..., Any]:
    """What a cell does when it is called, for those who have entered its scope; layers are cells by their one step."""
    if hasattr(cell, "one_step"):
        return cell.one_step
    plain = isinstance(cell, Module) and type(cell).__call__ is Module.__call__
    return cell.forward if plain else cell


def stepped(cell: Any, x: Any, state: Any) -> Stepped:
    """One step of any cell, for those who have entered its scope: with its gates, or where it shows none its state."""
    if _shows_gates(type(cell)):
        return cell.step(x, state)
    y, after = inside(cell)(x, state)
    return Stepped(y, after, named_leaves(after))


def _shows_gates(kind: type) -> bool:
    """Whether it has a ``step``, and what it does when it is called was not written anew upon that."""
    for base in kind.__mro__:
        if "step" in vars(base):
            return True
        if "forward" in vars(base) or "__call__" in vars(base):
            return False
    return False


class Cell(Module):
    """What the cells here have in common.

    Attributes
    ----------
    GATES : tuple of str
        Names of the blocks of the packed weights, in order.
    input_size, hidden_size : int
    W_i : Tensor (input, gates * hidden)
    W_h : Tensor (hidden, recurrent gates * hidden)
    b, b_h : Tensor (gates * hidden,) or None
        The second bias is added to the recurrent product.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.LSTMCell(3, 4)
    >>> cell.gates["f"].b.tolist(), cell.W_h.shape
    ([1.0, 1.0, 1.0, 1.0], (4, 16))
    """

    GATES: ClassVar[tuple[str, ...]] = ()
    b: Tensor | None
    b_h: Tensor | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        recurrent: int,
        blocks: tuple[str, ...] = (),
        bias: bool | str = True,
        layer_norm: bool = False,
        learn_initial_state: bool = False,
        recurrent_init: str = "uniform",
        generator: np.random.Generator,
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        check_counts(name, input_size=input_size, hidden_size=hidden_size)
        if not isinstance(bias, bool | np.bool_) and bias != "two":
            raise ValueError(f"{name}: bias must be True, False or 'two'; got {bias!r}")
        layer_norm = check_switch(f"{name}: layer_norm", layer_norm)
        learn_initial_state = check_switch(f"{name}: learn_initial_state", learn_initial_state)
        if recurrent_init not in ("uniform", "orthogonal"):
            raise ValueError(f"{name}: recurrent_init must be 'uniform' or 'orthogonal'; got {recurrent_init!r}")
        self.input_size, self.hidden_size = int(input_size), int(hidden_size)
        self.names = blocks or self.GATES
        bound, width = 1 / np.sqrt(hidden_size), len(self.names) * hidden_size
        self.W_i = init.uniform((input_size, width), bound, generator, dtype)
        self.W_h = self._recurrent(recurrent, bound, recurrent_init, generator, dtype)
        self.b = init.uniform((width,), bound, generator, dtype) if bias else None
        self.b_h = init.uniform((recurrent * hidden_size,), bound, generator, dtype) if bias == "two" else None
        self.norm_i = self._norm(len(self.names), dtype) if layer_norm else None
        self.norm_h = self._norm(recurrent, dtype) if layer_norm else None
        self.learned = [init.zeros((1, n), dtype) for n in self.state_sizes] if learn_initial_state else []

    def _recurrent(self, blocks: int, bound: float, how: str, generator: np.random.Generator, dtype: Any) -> Tensor:
        rows, columns = self.state_sizes[0], self.hidden_size
        if how == "uniform":
            return init.uniform((rows, blocks * columns), bound, generator, dtype)
        parts = [init.orthogonal((rows, columns), 1.0, generator, dtype).data for _ in range(blocks)]
        return parameter(np.concatenate(parts, 1))

    def _norm(self, blocks: int, dtype: Any) -> Any:
        return LayerNorm(blocks * self.hidden_size, dtype=dtype)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Width of each tensor of the state."""
        return (self.hidden_size,)

    @property
    def gates(self) -> dict[str, Gate]:
        """The weights of each gate by its name: slices of the packed ones, to look at."""
        found = {}
        for k, name in enumerate(self.names):
            at = slice(k * self.hidden_size, (k + 1) * self.hidden_size)
            recurrent = self.W_h[:, at] if at.stop <= self.W_h.shape[1] else None
            found[name] = Gate(self.W_i[:, at], recurrent, None if self.b is None else self.b[at])
        return found

    def initial_state(self, batch: int) -> Any:
        """Zeros, or the learned initial state for each sequence."""
        names = ("h0", "c0")
        if self.learned:
            parts = [broadcast_to(t, (batch, t.shape[1])) for t in self.learned]
        else:
            parts = [zeros((batch, n), self.W_i.dtype).named(s) for n, s in zip(self.state_sizes, names)]
        return self._state(parts)

    def _state(self, parts: list[Tensor]) -> Any:
        return parts[0]

    def from_input(self, x: Any) -> Tensor:
        """What the inputs add to all gates."""
        a = as_tensor(x) @ self.W_i
        if self.norm_i is not None:
            a = self.norm_i(a)
        return a if self.b is None else a + self.b

    def from_state(self, h: Tensor) -> Tensor:
        """What the state adds to the gates."""
        a = h @ self.W_h
        if self.norm_h is not None:
            a = self.norm_h(a)
        return a if self.b_h is None else a + self.b_h

    def _read(self, x: Any, state: Any) -> tuple[Tensor, list[Tensor]]:
        """Inputs and the tensors of the state, of one batch: nothing is broadcast in silence."""
        x = as_tensor(x)
        if x.ndim != 2 or x.shape[1] != self.input_size:
            raise fail(
                ShapeError, f"{type(self).__name__}: input {describe(x)}", expected=f"(batch, {self.input_size})",
                hint="nn.unroll(cell, xs) runs it over time" if x.ndim == 3 else "",
            )  # fmt: skip
        sizes = self.state_sizes
        parts = [state] if len(sizes) == 1 else state
        expected = [(x.shape[0], n) for n in sizes]
        if isinstance(parts, list | tuple) and not any(isinstance(s, list | tuple | dict) for s in parts):
            parts = [as_tensor(s) for s in parts]
            if [s.shape for s in parts] == expected:
                return x, parts
        shapes = ", ".join(map(str, expected))
        raise fail(
            ShapeError, f"{type(self).__name__}: state, for inputs {x.shape}",
            expected=shapes if len(sizes) == 1 else f"{len(sizes)} tensors, {shapes}", got=_shapes(state),
            hint=f"cell.initial_state({x.shape[0]}) makes one",
        )  # fmt: skip

    def step(self, x: Any, state: Any) -> Stepped:
        """One step, with the gates."""
        raise NotImplementedError(f"{type(self).__name__} has no step method")

    def forward(self, x: Any, state: Any) -> tuple[Tensor, Any]:
        y, state, _ = self.step(x, state)
        return y, state


def _shapes(state: Any) -> str:
    if isinstance(state, list | tuple):
        return f"{type(state).__name__}({', '.join(map(_shapes, state))})"
    return str(np.shape(state)) if not isinstance(state, Tensor) else str(state.shape)
