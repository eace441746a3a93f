"""Cotangents of slices, pulled back through what was done to a whole sequence.

The embedding of all tokens, or one product of all inputs with a weight, is cut into time steps later. What comes back
from one step is zero in all others; to carry these zeros along would take the time of the whole sequence for each step.
So where an operation treats positions alike and apart, only the slice is pulled back through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..ops.elementwise import identity_rule, zero_rule
from ..ops.named import by_op
from ..tensor import Op, Tensor
from .rows import Factors, Places, Rows, folded, gathered, pull_back, slope, times, total

__all__ = ["pull_back_pieces"]


def pull_back_pieces(node: Tensor, pieces: list[Rows], wanted: list[int]) -> Iterator[tuple[int, Rows]]:
    """What inputs `wanted` of `node` get for `pieces` of its cotangents: slices by themselves where that can be."""
    rule = _rule(node)
    cuts = [p for p in pieces if rule is not None and type(p.values) is Places]
    for piece in cuts:
        assert rule is not None
        parts = [(i, rule(i, piece.values, node)) for i in wanted]
        if any(part is None for _, part in parts):
            break
        yield from ((i, Rows(piece.start, part)) for i, part in parts)
        pieces = [p for p in pieces if p is not piece]
    if pieces:
        whole = total(node, pieces)
        yield from ((i, Rows(whole.start, part)) for i, part in pull_back(node, whole.values, wanted))


Rule = Callable[[int, Places, Tensor], Any]


def _rule(node: Tensor) -> Rule | None:
    if node.op.kernels is not None and type(node.op.vjp) is tuple:
        return _elementwise
    return RULES.get(node.op)


def _elementwise(i: int, places: Places, node: Tensor) -> Any:
    t, rule, g = node.inputs[i], node.op.vjp[i], places.g  # type: ignore[index]
    if rule is zero_rule:
        return np.zeros((len(g), *t.shape), g.dtype)
    if rule is not identity_rule:
        g = g * slope(node, i, g.dtype)[places.index]
    if t.shape == node.shape:
        return Places(places.index, g)
    padded = (1,) * (node.ndim - t.ndim) + t.shape
    apart = all(n == 1 for n, part in zip(padded, places.index) if part != slice(None))
    return folded(g, t.shape) if apart else None


def _matmul(i: int, places: Places, node: Tensor) -> Any:
    left, right = node.inputs
    if right.ndim != 2 or len(places.index) >= left.ndim:
        return None
    if i == 0:
        return Places(places.index, times(places.g, right.data))
    a = left.data[places.index]
    return Factors(a.reshape(-1, a.shape[-1]), places.g.reshape(len(places.g), -1, places.g.shape[-1]))


def _gather(i: int, places: Places, node: Tensor) -> Any:
    """Rows of a table, for some of the indices."""
    x, *indices = node.inputs
    if len(indices) != 1 or len(node.params["index"]) != 1 or len(places.index) > indices[0].ndim:
        return None
    return gathered(places.g, x, (indices[0].data[places.index],), node.params["index"])


def _transpose(i: int, places: Places, node: Tensor) -> Any:
    axes = node.params["axes"]
    every = [*places.index, *[slice(None)] * (node.ndim - len(places.index))]
    back = [int(k) for k in np.argsort(axes)]
    index = tuple(every[k] for k in back)
    return Places(index, places.g.transpose(0, *(k + 1 for k in back)))


RULES: dict[Op, Rule] = by_op({
    "matmul": _matmul,
    "index": _gather,
    "transpose": _transpose,
    "cast": lambda i, places, node: Places(places.index, places.g.astype(node.inputs[i].dtype)),
})
