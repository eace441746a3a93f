"""States of cells: tensors in nested tuples, named tuples, lists and dicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..nested import rebuilt, taken_apart
from ..tensor import Tensor

__all__ = ["initial_state_of", "leaves_of", "mapped_state", "named_leaves"]


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
    return taken_apart(state, "state")[0]


def named_leaves(state: Any) -> dict[str, Tensor]:
    """The tensors of a nested state by the way to them: keys, fields or positions; "state" for a single one.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> list(tg.nn.state.named_leaves(tg.nn.LSTMCell(2, 3).initial_state(1)))
    ['h', 'c']
    >>> list(tg.nn.state.named_leaves({"h": tg.zeros(1), "past": (tg.zeros(1), tg.zeros(1))}))
    ['h', 'past.0', 'past.1']
    """
    return dict(zip(_ways(state), leaves_of(state), strict=True))


def _ways(state: Any) -> list[str]:
    if isinstance(state, Tensor):
        return ["state"]
    if isinstance(state, dict):
        parts = {str(k): v for k, v in state.items()}
    else:
        parts = dict(zip(getattr(state, "_fields", map(str, range(len(state)))), state, strict=True))
    return [
        k if isinstance(v, Tensor) else f"{k}.{way}" for k, v in parts.items() if v is not None for way in _ways(v)
    ]


def mapped_state(fn: Callable[..., Tensor], *states: Any) -> Any:
    """A function of the tensors at the same place in one or several states of the same nesting.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> a, b = (tg.ones(1), tg.zeros(1)), (tg.ones(1), tg.ones(1))
    >>> [t.item() for t in tg.nn.state.mapped_state(lambda x, y: x + y, a, b)]
    [2.0, 1.0]
    """
    _, form = taken_apart(states[0], "state")
    return rebuilt(form, iter([fn(*parts) for parts in zip(*map(leaves_of, states), strict=True)]))
