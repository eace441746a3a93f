"""Built-in ops by their names, for tables: a user's own op may have any name, so no reader asks a node for its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ..errors import fail
from ..tensor import Op
from . import elementwise, index, linalg, neural, reduce, shape  # noqa: F401  (they fill the registry)
from .core import registry

__all__ = ["by_op", "op_named", "ops_named"]

T = TypeVar("T")


def op_named(name: str) -> Op:
    """The built-in op of that name.

    Raises
    ------
    KeyError
        If there is none: a table that names it is wrong.

    Examples
    --------
    >>> from tinygrad_rnn.ops.named import op_named
    >>> op_named("tanh")
    <op tanh>
    """
    if name not in registry:
        raise fail(KeyError, f"there is no op {name!r}")
    return registry[name]


def ops_named(*names: str) -> frozenset[Op]:
    """The built-in ops of those names.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.ops.named import ops_named
    >>> mine = tg.elementwise(lambda x: 2 * x, name="sum")
    >>> tg.ones(2).sum().op in ops_named("sum", "mean"), mine.op in ops_named("sum", "mean")
    (True, False)
    """
    return frozenset(map(op_named, names))


def by_op(table: Mapping[str, T]) -> dict[Op, T]:
    """A table by the names of built-in ops as one by the ops themselves.

    Examples
    --------
    >>> from tinygrad_rnn.ops.named import by_op
    >>> by_op({"exp": "e", "log": "ln"})
    {<op exp>: 'e', <op log>: 'ln'}
    """
    return {op_named(name): value for name, value in table.items()}
