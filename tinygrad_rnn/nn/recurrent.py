"""Recurrent layers: any cells one above the other, in one or two directions, unrolled over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError, fail
from ..ops.core import as_tensor
from ..ops.shape import concatenate, stack
from ..scope import scope, timestep
from ..settings import check_counts, check_number, check_switch
from ..tensor import DEFAULT_FLOAT, Tensor, describe
from .cell import inside
from .cells import GRUCell, LSTMCell, RNNCell
from .init import Seed, generator_of
from .layers import Dropout
from .module import Module, entered
from .state import initial_state_of
from .unrolling import Directions, Inputs, RecurrentOutput, joined, last_of, run_cell

__all__ = ["GRU", "LSTM", "RNN", "Recurrent"]


_STACKED = 3  # axes of what PyTorch takes for a state: (layers, batch, hidden)


def _is_stacked(state: Any, cell: Any) -> bool:
    """Whether this is one tensor of a state for all layers, where a cell has none of so many axes."""
    if not isinstance(state, Tensor | np.ndarray) or state.ndim != _STACKED:
        return False
    own = initial_state_of(cell, 1)
    return not isinstance(own, Tensor) or own.ndim != _STACKED


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
        name = type(self).__name__
        self.dropout = Dropout(check_number(f"{name}: dropout", dropout, 0, 1), generator=generator_of(generator))
        self.residual, self.skip = check_switch(f"{name}: residual", residual), check_switch(f"{name}: skip", skip)
        self.batch_first = check_switch(f"{name}: batch_first", batch_first)
        if self.dropout.p and len(self.layers) == 1:
            raise fail(
                ValueError, f"{name}: dropout={dropout} of one layer", expected="several, as it acts between layers",
                hint="give it more layers, or apply nn.Dropout to the outputs",
            )  # fmt: skip

    def initial_state(self, batch: int) -> list[Any]:
        """The initial state of every layer."""
        return [self._initial_state(k, batch) for k in range(len(self.layers))]

    def _initial_state(self, k: int, batch: int) -> Any:
        with scope(f"layer{k}"):
            if self.backward is None:
                return initial_state_of(self.layers[k], batch)
            with scope("forward"):
                ahead = initial_state_of(self.layers[k], batch)
            with scope("backward"):
                return Directions(ahead, initial_state_of(self.backward[k], batch))

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
        inputs = first = Inputs(xs, self.batch_first, lengths, mask)
        start = self.initial_state(inputs.batch) if state is None else self._given(state)
        after, seen = [], []
        for k, before in enumerate(start):
            with entered(self.layers[k], f"layer{k}"):
                ys, state_k, seen_k, width = self._layer(k, inputs, before, history)
            after.append(state_k)
            seen += seen_k
            if k + 1 < len(self.layers):
                inputs = first.above([_beside(y, first[t][0], t) for t, y in enumerate(ys)] if self.skip else ys)
        axis = 1 if self.batch_first else 0
        outputs, gates = stack(ys, axis=axis), [joined(g, axis) for g in seen] if history else None
        last = last_of(ys, outputs, inputs, axis, reverse=False)
        if self.backward is not None:
            back = last_of(ys, outputs, inputs, axis, reverse=True)
            last = concatenate([last[:, :width], back[:, width:]], -1)
        return RecurrentOutput(outputs, after, last, gates)

    def _given(self, state: Any) -> Sequence[Any]:
        """An initial state, which must be nested as the one that comes out."""
        name, count = type(self).__name__, len(self.layers)
        if not isinstance(state, list | tuple) or isinstance(state, Directions) or hasattr(state, "_fields"):
            got = describe(state) if isinstance(state, Tensor) else type(state).__name__
            hint = "put the state of a single layer into a list; one stacked by layer becomes list(state)"
            raise fail(ShapeError, f"{name}: initial state", expected=f"a list of {count}, one for each layer", got=got,
                       hint=hint)  # fmt: skip
        stacked = [s.shape for s, cell in zip(state, self.layers) if _is_stacked(s, cell)]
        if stacked or len(state) != count:
            raise fail(
                ShapeError, f"{name}: initial state", expected=f"{count} states, one per layer",
                got=f"tensors of shapes {stacked}, stacked by layer" if stacked else str(len(state)),
                hint="take apart what is stacked by layer: [LSTMState(h[k], c[k]) for k in range(len(h))]",
            )  # fmt: skip
        for k, own in enumerate(state if self.backward is not None else ()):
            if not isinstance(own, list | tuple) or len(own) != 2:
                raise fail(
                    ShapeError, f"{name}: initial state of layer {k}", expected="Directions(forward, backward)",
                    got=describe(own) if isinstance(own, Tensor) else type(own).__name__,
                )  # fmt: skip
        return state

    def one_step(self, x: Any, state: Sequence[Any]) -> tuple[Tensor, list[Any]]:
        """All layers at a single step, not for two directions: by this layers are a cell to `unroll` and to wrappers.

        Examples
        --------
        >>> import tinygrad_rnn as tg
        >>> layer = tg.nn.LSTM(3, 4, 2)
        >>> y, state = layer.one_step(tg.ones((2, 3)), layer.initial_state(2))
        >>> y.shape, len(state)
        ((2, 4), 2)
        """
        if self.backward is not None:
            raise ValueError(f"{type(self).__name__}: the backward direction needs the whole sequence, not one step")
        x, y, after = as_tensor(x), as_tensor(x), []
        for k, before in enumerate(self._given(state)):
            below = concatenate([y, x], -1) if self.skip and k else y
            with entered(self.layers[k], f"layer{k}"):
                y, own = inside(self.layers[k])(below, before)
                y = y + below if self.residual and y.shape == below.shape else y
                if k + 1 < len(self.layers) and self.dropout.p:
                    y = self.dropout(y)
            after.append(own)
        return y, after

    def _layer(self, k: int, inputs: Inputs, state: Any, history: bool) -> tuple[list[Tensor], Any, list[Any], int]:
        """Outputs of a layer as the next one reads them, the state after, gates for each direction, forward width."""
        ys, after, seen, width = self._directions(k, inputs, state, history)
        if self.residual:
            ys = [_added(y, inputs[t][0], t) for t, y in enumerate(ys)]
        if k + 1 < len(self.layers) and self.dropout.p:
            ys = [self._dropped(y, t) for t, y in enumerate(ys)]
        return ys, after, seen if history else [], width

    def _directions(
        self, k: int, inputs: Inputs, state: Any, history: bool
    ) -> tuple[list[Tensor], Any, list[Any], int]:
        if self.backward is None:
            ys, after, seen = run_cell(self.layers[k], inputs, state, False, history)
            return ys, after, [seen], ys[0].shape[-1]
        there, back = self.layers[k], self.backward[k]
        with entered(there, "forward"):
            ahead, first, seen = run_cell(there, inputs, state[0], False, history)
        with entered(back, "backward"):
            behind, second, seen_behind = run_cell(back, inputs, state[1], True, history)
        ys = [_beside(a, b, t) for t, (a, b) in enumerate(zip(ahead, behind, strict=True))]
        return ys, Directions(first, second), [seen, seen_behind], ahead[0].shape[-1]

    def _dropped(self, y: Tensor, t: int) -> Tensor:
        with timestep(t):
            return self.dropout(y)


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
        name = type(self).__name__
        check_counts(name, num_layers=num_layers, input_size=input_size, hidden_size=hidden_size)
        bidirectional = check_switch(f"{name}: bidirectional", bidirectional)
        if not isinstance(skip, bool | np.bool_):
            raise ValueError(
                f"{name}: skip must be True or False, for layers that also read the inputs; got {skip!r}. "
                "For a skip over time steps use Recurrent([RNNCell(..., skip=k)])"
            )
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

    The gradient of a weight is a sum over paths, and each path is a product of local derivatives. With three steps of
    one unit there are ``L → ŷ → h3 → W_i``, ``L → ŷ → h3 → h2 → W_i`` and ``L → ŷ → h3 → h2 → h1 → W_i``:

    >>> import numpy as np
    >>> rnn = tg.nn.RNN(1, 1, bias=False, dtype=np.float64, generator=0)
    >>> W_i, W_h = rnn.layers[0].W_i, rnn.layers[0].W_h
    >>> x = np.array([[[0.5], [-1.0], [2.0]]])
    >>> loss = ((rnn(x).last * 3.0 - 1.0) ** 2).sum()
    >>> h = tg.graph(loss).by_name("h")
    >>> into = [(1 - h_t.item() ** 2) * x_t for h_t, x_t in zip(h, x.ravel())]  # h_t by W_i, for a given h_{t-1}
    >>> back = [(1 - h_t.item() ** 2) * W_h.item() for h_t in h]  # h_t by h_{t-1}
    >>> L = tg.grad(loss, h[2]).item()  # L by h3, through ŷ
    >>> paths = [L * into[2], L * back[2] * into[1], L * back[2] * back[1] * into[0]]
    >>> bool(np.isclose(sum(paths), tg.grad(loss, W_i).item()))
    True

    Between distant steps stands the product of the Jacobians ``dh_t/dh_{t-1} = diag(1 - h_t²) W_hᵀ``. Here its norm
    falls with the distance, and the gradient vanishes; with large recurrent weights it explodes.

    >>> rnn = tg.nn.RNN(2, 3, dtype=np.float64, generator=0)
    >>> out = rnn(np.ones((1, 8, 2)))
    >>> h, product, norms = tg.graph(out.outputs).by_name("h"), np.eye(3), []
    >>> for h_t in reversed(h[1:]):
    ...     product = product @ np.diag(1 - h_t.numpy()[0] ** 2) @ rnn.layers[0].W_h.numpy().T
    ...     norms.append(np.linalg.norm(product, 2))
    >>> found = np.stack([tg.grad(out.last[0, k], h[0]).numpy()[0] for k in range(3)])
    >>> bool(np.allclose(found, product)), bool(norms[-1] < 0.05 * norms[0])
    (True, True)
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
