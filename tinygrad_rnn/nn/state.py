"""States of cells: tensors in nested tuples, named tuples, lists and dicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph import flattened, rebuilt
from ..tensor import Tensor

__all__ = ["initial_state_of", "leaves_of", "mapped_state"]


def initial_state_of(cell: Any, batch: int) -> Any:
    """The state that a cell starts from.

    Raises
    ------
    TypeError
        If the cell gives none, as a plain function does.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.state.initial_state_of(tg.nn.RNNCell(2, 3), 4).shape
    (4, 3)
    """
    if not hasattr(cell, "initial_state"):
        name = getattr(cell, "__name__", type(cell).__name__)
        raise TypeError(f"unroll: the cell {name} gives no initial state; pass one, or give it initial_state(batch)")
    return cell.initial_state(batch)


def leaves_of(state: Any) -> list[Tensor]:
    """The tensors of a nested state, in order.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> len(tg.nn.state.leaves_of(tg.nn.LSTMCell(2, 3).initial_state(1)))
    2
    """
    listed: list[Tensor] = []
    flattened(state, listed, "state")
    return listed


def mapped_state(fn: Callable[..., Tensor], *states: Any) -> Any:
    """A function of the tensors at the same place in one or several states of the same nesting.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> a, b = (tg.ones(1), tg.zeros(1)), (tg.ones(1), tg.ones(1))
    >>> [t.item() for t in tg.nn.state.mapped_state(lambda x, y: x + y, a, b)]
    [2.0, 1.0]
    """
    structure = flattened(states[0], [], "state")
    return rebuilt(structure, iter([fn(*parts) for parts in zip(*map(leaves_of, states), strict=True)]))
