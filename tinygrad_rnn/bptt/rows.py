"""Many cotangents pulled back at once: reverse mode with one more axis in front, a row for each of them.

A loss at every step, or every entry of a state, wants a backward pass of its own. All of them walk over the same
nodes, so one walk carries them together. Rows that cannot have reached a node are not kept: a node of step i has none
from the outputs before it, which is causality, and half of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..grad.sums import through
from ..ops.elementwise import passes, vanishes
from ..ops.index import Placed, add_at
from ..ops.linalg import Product
from ..ops.shape import reduced_shape
from ..tensor import Tensor, leaf

__all__ = ["Factors", "Rows", "Sums", "spread"]


class Factors(NamedTuple):
    """Cotangents ``a.T @ g[k]`` of a weight, not multiplied out: `a` is (rows, in), `g` is (count, rows, out)."""

    a: np.ndarray
    g: np.ndarray

    def __len__(self) -> int:  # type: ignore[override]
        return len(self.g)

    def between(self, start: int, stop: int) -> np.ndarray:
        return np.matmul(self.a.T, self.g[start:stop])


class Rows(NamedTuple):
    """Cotangents number `start`, `start` + 1 and so on of one tensor; all others are zero."""

    start: int
    values: Any  # array (count, *shape), or Factors

    @property
    def stop(self) -> int:
        return self.start + (len(self.values.g) if type(self.values) is Factors else len(self.values))

    def between(self, start: int, stop: int) -> np.ndarray:
        """Those from `start` to `stop`, all of which must be there."""
        first, last = start - self.start, stop - self.start
        return self.values.between(first, last) if type(self.values) is Factors else self.values[first:last]


class Sums:
    """Rows that flow into nodes, by serial number; added up when a node's turn comes."""

    def __init__(self) -> None:
        self.parts: dict[int, list[Rows]] = {}

    def add(self, t: Tensor, rows: Rows) -> None:
        self.parts.setdefault(t.serial, []).append(rows)

    def pieces(self, t: Tensor) -> list[Rows]:
        """What flowed into `t`, as it came."""
        return self.parts.pop(t.serial, [])

    def take(self, t: Tensor) -> Rows | None:
        """What flowed into `t`, added up; None if nothing did."""
        pieces = self.pieces(t)
        return total(t, pieces) if pieces else None


def total(t: Tensor, pieces: list[Rows], window: tuple[int, int] | None = None) -> Rows:
    """The sum of `pieces`, each of which may have other rows; of the rows within `window`, if there is one."""
    start, stop = window or (min(p.start for p in pieces), max(p.stop for p in pieces))
    if len(pieces) == 1 and (pieces[0].start, pieces[0].stop) == (start, stop):
        return Rows(start, pieces[0].between(start, stop))
    values = np.zeros((stop - start, *t.shape), t.dtype)
    for piece in pieces:
        first, last = max(start, piece.start), min(stop, piece.stop)
        if first < last:
            values[first - start : last - start] += piece.between(first, last)
    return Rows(start, values)


# Rules ----------------------------------------------------------------------------------------------------------------


def spread(node: Tensor, g: np.ndarray, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """What inputs `wanted` of `node` get for its cotangents `g` (count, *shape): arrays (count, *input), or Factors."""
    rule = BATCHED.get(node.op.name)
    with np.errstate(all="ignore"):
        if node.op.kernels is not None and type(node.op.vjp) is tuple:
            yield from ((i, _elementwise(node, i, g)) for i in wanted if node.op.vjp[i] is not vanishes)
        elif rule is not None:
            for i in wanted:
                part = rule(i, g, node, *node.inputs, **node.params)
                yield i, part if type(part) is Factors else _folded(part, node.inputs[i].shape)
        else:
            yield from _one_by_one(node, g, wanted)


def _elementwise(node: Tensor, i: int, g: np.ndarray) -> np.ndarray:
    """The Jacobian of an elementwise operation is diagonal: its gradient rule at ones, times any cotangent."""
    rule: Any = node.op.vjp[i]  # type: ignore[index]
    if rule is not passes:
        slope = through(node, i, rule, np.ones(node.shape, g.dtype))
        g = g * (slope.data if type(slope) is Tensor else slope)
    return _folded(g, node.inputs[i].shape)


def _one_by_one(node: Tensor, g: np.ndarray, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """A rule that knows one cotangent only, on all that are not zero."""
    parts = {i: np.zeros((len(g), *node.inputs[i].shape), node.inputs[i].dtype) for i in wanted}
    for k in range(len(g)):
        if g[k].any():
            for i, part in _ruled(node, g[k], wanted):
                _put(parts[i][k : k + 1], part)
    yield from parts.items()


def _ruled(node: Tensor, g: np.ndarray, wanted: list[int]) -> list[tuple[int, Any]]:
    rules: Any = node.op.vjp
    given = (leaf(g), node, *node.inputs)
    if type(rules) is tuple:
        return [(i, rules[i](*given, **node.params)) for i in wanted]
    return list(zip(wanted, rules(wanted, *given, **node.params), strict=True))


def _put(target: np.ndarray, part: Any) -> None:
    """Add one cotangent, as a rule gave it, to a row of zeros."""
    if part is None:
        return
    if type(part) is Placed:
        value = part.value.data if type(part.value) is Tensor else part.value
        add_at(target[0], part.template, tuple(i.data for i in part.indices), value)
        return
    if type(part) is Product:
        part = part.a.swapaxes(0, 1) @ part.g
    array = part.data if type(part) is Tensor else np.asarray(part)
    target += _folded(array[None], target.shape[1:])


def _folded(part: np.ndarray, target: tuple[int, ...]) -> np.ndarray:
    """Sum over the axes that broadcasting added or stretched; the first one has the rows."""
    shape = part.shape[1:]
    if shape == target:
        return part
    lead = len(shape) - len(target)
    axes = tuple(k + 1 for k, n in enumerate(shape) if k < lead or (target[k - lead] == 1 and n != 1))
    return np.broadcast_to(np.add.reduce(part, axes).reshape(-1, *_after(shape, axes, lead)), (len(part), *target))


def _after(shape: tuple[int, ...], axes: tuple[int, ...], lead: int) -> tuple[int, ...]:
    return tuple(1 if k + 1 in axes else n for k, n in enumerate(shape) if k >= lead)


# Rules for all cotangents at once, of the operations that a recurrent network has in every step -------------------------


def _placed(i: int, g: np.ndarray, y: Tensor, x: Tensor, index: Any) -> np.ndarray:
    out = np.zeros((len(g), *x.shape), g.dtype)
    out[(slice(None), *(index if type(index) is tuple else (index,)))] = g
    return out


def _part_of_join(i: int, g: np.ndarray, y: Tensor, *inputs: Tensor, axis: int) -> np.ndarray:
    start = sum(t.shape[axis] for t in inputs[:i])
    return g[(slice(None),) * (axis + 1) + (slice(start, start + inputs[i].shape[axis]),)]


def _unreduced(g: np.ndarray, x: Tensor, axis: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(g.reshape(len(g), *reduced_shape(x.shape, axis, True)), (len(g), *x.shape))


def _mean(i: int, g: np.ndarray, y: Tensor, x: Tensor, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    count = x.size // max(y.size, 1)
    return _unreduced(g, x, axis) / np.asarray(count, g.dtype)


def _matmul(i: int, g: np.ndarray, y: Tensor, left: Tensor, right: Tensor) -> Any:
    a = left.data if left.ndim > 1 else left.data[None]
    b = right.data if right.ndim > 1 else right.data[:, None]
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    g = g.reshape(len(g), *lead, a.shape[-2], b.shape[-1])
    if i == 0:
        part = _times(g, b)
        return part if left.ndim > 1 else part[..., 0, :]
    if right.ndim == 2:
        return Factors(a.reshape(-1, a.shape[-1]), g.reshape(len(g), -1, g.shape[-1]))
    part = np.matmul(a.swapaxes(-1, -2), g)
    return part if right.ndim > 1 else part[..., 0]


def _times(g: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``g @ b.T`` for stacks of matrices; as a single product where there is one `b`."""
    if b.ndim > 2:
        return np.matmul(g, b.swapaxes(-1, -2))
    return np.dot(g.reshape(-1, g.shape[-1]), b.T).reshape(*g.shape[:-1], b.shape[0])


BATCHED: dict[str, Callable[..., Any]] = {
    "reshape": lambda i, g, y, x, shape: g.reshape(len(g), *x.shape),
    "transpose": lambda i, g, y, x, axes: g.transpose(0, *(int(k) + 1 for k in np.argsort(axes))),
    "broadcast_to": lambda i, g, y, x, shape: g,
    "concatenate": _part_of_join,
    "stack": lambda i, g, y, *inputs, axis: g[(slice(None),) * (axis + 1) + (i,)],
    "slice": _placed,
    "sum": lambda i, g, y, x, axis, keepdims: _unreduced(g, x, axis),
    "mean": _mean,
    "cast": lambda i, g, y, x, dtype: g.astype(x.dtype),
    "matmul": _matmul,
}
