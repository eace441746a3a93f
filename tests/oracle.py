"""A naive reverse mode to compare with: float64 NumPy, define-by-run, recursive, one small rule after the other.

It shares no code with the package, and not its ideas either: a value keeps a list of (parent, pull-back) pairs, and a
gradient is the sum over all paths, each walked on its own. That is exponentially slow where much is shared, and plainly
right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Pull = Callable[[np.ndarray], np.ndarray]


class Value:
    """An array and how a change of each parent changes it."""

    def __init__(self, array: Any, parents: tuple[tuple[Value, Pull], ...] = ()) -> None:
        self.array = np.asarray(array, dtype=np.float64)
        self.parents = parents


def gradient(y: Value, x: Value, cotangent: np.ndarray) -> np.ndarray:
    """The derivative of ``(cotangent * y).sum()`` by `x`: summed over every path from `y` down to `x`."""
    total = cotangent.astype(np.float64) if y is x else np.zeros_like(x.array)
    for parent, pull in y.parents:
        total = total + gradient(parent, x, pull(cotangent))
    return total


def summed_to(shape: tuple[int, ...]) -> Pull:
    """Undo broadcasting from `shape`: add what was repeated."""

    def pull(g: np.ndarray) -> np.ndarray:
        while g.ndim > len(shape):
            g = g.sum(axis=0)
        for axis, n in enumerate(shape):
            if n == 1:
                g = g.sum(axis=axis, keepdims=True)
        return g

    return pull


def broadcasting(array: np.ndarray, *parts: tuple[Value, np.ndarray | float]) -> Value:
    """An elementwise result and its partial derivative by each operand."""
    return Value(array, tuple((v, lambda g, v=v, d=d: summed_to(v.array.shape)(g * d)) for v, d in parts))


def add(a: Value, b: Value) -> Value:
    return broadcasting(a.array + b.array, (a, 1.0), (b, 1.0))


def subtract(a: Value, b: Value) -> Value:
    return broadcasting(a.array - b.array, (a, 1.0), (b, -1.0))


def multiply(a: Value, b: Value) -> Value:
    return broadcasting(a.array * b.array, (a, b.array), (b, a.array))


def tanh(a: Value) -> Value:
    return broadcasting(np.tanh(a.array), (a, np.cosh(a.array) ** -2.0))


def sigmoid(a: Value) -> Value:
    s = 1 / (1 + np.exp(-a.array))
    return broadcasting(s, (a, s * (1 - s)))


def detach(a: Value) -> Value:
    return Value(a.array)


def linear(a: Value, forward: Pull) -> Value:
    """A linear function of one array; its transpose is found column by column, from the images of unit arrays."""
    columns = []
    for k in range(a.array.size):
        unit = np.zeros(a.array.size)
        unit[k] = 1
        columns.append(forward(unit.reshape(a.array.shape)).ravel())
    image = forward(a.array)
    matrix = np.array(columns).reshape(a.array.size, image.size)
    return Value(image, ((a, lambda g: (matrix @ g.ravel()).reshape(a.array.shape)),))


def total(a: Value, axis: int | None, keepdims: bool) -> Value:
    return linear(a, lambda x: np.asarray(x.sum(axis=axis, keepdims=keepdims)))


def mean(a: Value, axis: int | None, keepdims: bool) -> Value:
    return linear(a, lambda x: np.asarray(x.mean(axis=axis, keepdims=keepdims)))


def getitem(a: Value, index: Any) -> Value:
    return linear(a, lambda x: np.asarray(x[index]))


def matmul(a: Value, b: Value) -> Value:
    by_left, by_right = linear(a, lambda x: x @ b.array), linear(b, lambda x: a.array @ x)
    return Value(a.array @ b.array, (*by_left.parents, *by_right.parents))


def joined(values: list[Value], forward: Callable[[list[np.ndarray]], np.ndarray]) -> Value:
    """A function of several arrays that is linear in all of them together, as stacking is."""
    zeros = [np.zeros_like(v.array) for v in values]
    parts = [linear(v, lambda x, k=k: forward([*zeros[:k], x, *zeros[k + 1 :]])) for k, v in enumerate(values)]
    return Value(forward([v.array for v in values]), tuple(pair for part in parts for pair in part.parents))
