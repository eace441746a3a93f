"""Expressions: small immutable trees of symbols, numbers and operations, with their shapes.

A tree is what an equation prints and what evaluates it. Trees are kept small by naming what grows (see ``cuts.py``);
sums over many terms are one flat node, so functions over trees may recurse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from ..errors import fail
from ..tensor import Op

__all__ = ["Expr", "Node", "Number", "Params", "Symbol", "evaluate", "leaves", "mapped", "substituted"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A quantity of a model, or the derivative of a loss by one.

    Attributes
    ----------
    base : str
        Its name.
    sup : tuple of str
        What tells it from others of the name: layer, direction, part of the model.
    block : str
        Which block of a packed weight it is: a gate, or a range.
    time : int, optional
        Time step; with `relative` the steps between it and that variable.
    relative : str
        The variable, as ``"t"``, or empty.
    of : str
        Name of the loss whose derivative by the quantity it is; empty for the quantity itself.
    """

    base: str
    sup: tuple[str, ...] = ()
    block: str = ""
    time: int | None = None
    relative: str = ""
    of: str = ""
    shape: Shape = field(default=(), compare=False)

    def at(self, time: int | None, relative: str = "") -> Symbol:
        """The same quantity at another time step."""
        return Symbol(self.base, self.sup, self.block, time, relative, self.of, self.shape)

    @property
    def family(self) -> Symbol:
        """The quantity without its time step."""
        return Symbol(self.base, self.sup, self.block, None, "", self.of, self.shape)

    def derivative(self, of: str) -> Symbol:
        """The derivative of a loss by it."""
        return Symbol(self.base, self.sup, self.block, self.time, self.relative, of, self.shape)


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float
    shape: Shape = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Params:
    """What an operation takes beside its operands; compared by `key`, since slices and generators do not hash."""

    key: str = ""
    given: dict[str, Any] = field(default_factory=dict, compare=False)
    op: Op | None = None  # which operation a call is of: two may have one name


NOTHING = Params()


@dataclass(frozen=True, slots=True)
class Node:
    """An operation on expressions."""

    kind: str
    args: tuple[Expr, ...]
    params: Params = NOTHING
    shape: Shape = ()


Expr = Symbol | Number | Node


# Walks ----------------------------------------------------------------------------------------------------------------


def leaves(e: Expr) -> Iterator[Symbol]:
    """The symbols of a tree, from left to right, as often as they occur."""
    stack = [e]
    while stack:
        part = stack.pop()
        if isinstance(part, Symbol):
            yield part
        elif isinstance(part, Node):
            stack.extend(reversed(part.args))


def mapped(e: Expr, change: Callable[[Symbol], Expr]) -> Expr:
    """The tree with every symbol replaced."""
    if isinstance(e, Symbol):
        return change(e)
    if isinstance(e, Number):
        return e
    return Node(e.kind, tuple([mapped(a, change) for a in e.args]), e.params, e.shape)


def substituted(e: Expr, parts: Mapping[Expr, Expr]) -> Expr:
    """The tree with some of its parts replaced, the outermost first."""
    if e in parts:
        return parts[e]
    if not isinstance(e, Node):
        return e
    return Node(e.kind, tuple([substituted(a, parts) for a in e.args]), e.params, e.shape)


def size(e: Expr) -> int:
    """How many symbols, numbers and operations there are."""
    return 1 + sum(map(size, e.args)) if isinstance(e, Node) else 1


# Values ---------------------------------------------------------------------------------------------------------------


class Values:
    """Values of symbols, the dtype of numbers, and the time steps that variables stand for."""

    def __init__(self, known: Mapping[Symbol, Any], dtype: Any = np.float64, **index: int) -> None:
        self.known, self.dtype, self.index = known, np.dtype(dtype), index

    def of(self, s: Symbol) -> Any:
        if s.relative:
            if s.relative not in self.index:
                raise ValueError(f"evaluate: {s} stands for many time steps; say which, as in t=2")
            assert s.time is not None
            s = s.at(self.index[s.relative] + s.time)
        if s not in self.known:
            raise fail(KeyError, f"evaluate: there is no value for {s}")
        return self.known[s]

    def with_index(self, name: str, step: int) -> Values:
        return Values(self.known, self.dtype, **{**self.index, name: step})


def evaluate(e: Expr, values: Values) -> Any:
    """The value of a tree, as an array."""
    if isinstance(e, Symbol):
        return values.of(e)
    if isinstance(e, Number):
        return values.dtype.type(e.value)
    if e.kind == "sigma":
        given = e.params.given
        steps = range(given["first"], given["last"] + 1)
        return reduce(np.add, (evaluate(e.args[0], values.with_index(given["index"], t)) for t in steps))
    with np.errstate(all="ignore"):
        return _RUN[e.kind](e, *[evaluate(a, values) for a in e.args])


def _called(e: Node, *arrays: Any) -> Any:
    op = e.params.op
    assert op is not None
    assert op.run is not None
    floats = [np.asarray(a).dtype for a in arrays if np.asarray(a).dtype.kind == "f"]
    dtype = max(floats, key=lambda d: d.itemsize) if floats else None
    alike = [np.asarray(a, dtype if np.asarray(a).dtype.kind == "f" else None) for a in arrays]
    return op.run(*alike, **e.params.given)


def _summed(e: Node, x: Any) -> Any:
    return np.sum(x, axis=e.params.given["axis"], keepdims=e.params.given["keepdims"])


_RUN: dict[str, Callable[..., Any]] = {
    "add": lambda e, *a: reduce(np.add, a),
    "neg": lambda e, a: -a,
    "mul": lambda e, *a: reduce(np.multiply, a),
    "div": lambda e, a, b: a / b,
    "pow": lambda e, a, b: a**b,
    "matmul": lambda e, *a: reduce(np.matmul, a),
    "transpose": lambda e, a: np.swapaxes(a, -1, -2),
    "outer": lambda e, a, b: np.outer(a, b),
    "sum": _summed,
    "ones": lambda e: np.ones(e.shape),
    "reshape": lambda e, a: np.reshape(a, e.shape),
    "broadcast": lambda e, a: np.broadcast_to(a, e.shape),
    "indicator": lambda e, a: np.asarray(a, np.float64),
    "call": _called,
    "constant": lambda e: e.params.given["value"],
    "chain": lambda e, a, *_: a,
}
