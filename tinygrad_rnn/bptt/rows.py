"""Many cotangents pulled back at once: reverse mode with one more axis in front, a row for each of them.

A loss at every step, or every entry of a state, wants a backward pass of its own. All of them walk over the same
nodes, so one walk carries them together. Rows that cannot have reached a node are not kept: a node of step i has none
from the outputs before it, which is causality, and half of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..grad.cotangents import through
from ..kernels.sums import add_up
from ..ops.elementwise import identity_rule, zero_rule
from ..ops.index import Placed, add_at
from ..ops.linalg import Product
from ..ops.named import by_op
from ..ops.shape import reduced_shape
from ..scope import no_grad
from ..tensor import Op, Tensor, leaf

__all__ = ["Cotangents", "Factors", "Places", "Rows", "pull_back", "total"]


@dataclass(slots=True)
class Factors:
    """Cotangents ``a.T @ g[k]`` of a weight, not multiplied out: `a` is (rows, in), `g` is (count, rows, out)."""

    a: np.ndarray
    g: np.ndarray

    def add_to(self, target: np.ndarray, start: int, stop: int) -> None:
        target += np.matmul(self.a.T, self.g[start:stop])


@dataclass(slots=True)
class Places:
    """Cotangents that are zero but for a slice of each axis: `g` is (count, *what the slices cut out)."""

    index: tuple[slice, ...]
    g: np.ndarray

    def add_to(self, target: np.ndarray, start: int, stop: int) -> None:
        target[(slice(None), *self.index)] += self.g[start:stop]


class Rows(NamedTuple):
    """Cotangents number `start`, `start` + 1 and so on of one tensor; all others are zero."""

    start: int
    values: Any  # array (count, *shape), Factors, or Places

    @property
    def stop(self) -> int:
        return self.start + len(self.values if type(self.values) is np.ndarray else self.values.g)

    def between(self, start: int, stop: int) -> Rows:
        """Those from `start` to `stop`, all of which must be there."""
        first, last, values = start - self.start, stop - self.start, self.values
        if type(values) is np.ndarray:
            return Rows(start, values[first:last])
        return Rows(start, replace(values, g=values.g[first:last]))

    def add_to(self, target: np.ndarray, start: int, stop: int) -> None:
        """Add those from `start` to `stop` to an array of that many."""
        first, last = max(start, self.start), min(stop, self.stop)
        if first < last:
            into = target[first - start : last - start]
            if type(self.values) is np.ndarray:
                into += self.values[first - self.start : last - self.start]
            else:
                self.values.add_to(into, first - self.start, last - self.start)


class Cotangents:
    """Rows that flow into nodes, by serial number; added up when a node's turn comes."""

    def __init__(self) -> None:
        self.parts: dict[int, list[Rows]] = {}

    def add(self, t: Tensor, rows: Rows) -> None:
        self.parts.setdefault(t.serial, []).append(rows)

    def pieces(self, t: Tensor) -> list[Rows]:
        """What flowed into `t`, as it came."""
        return self.parts.pop(t.serial, [])

    def pop(self, t: Tensor) -> Rows | None:
        """What flowed into `t`, added up; None if nothing did."""
        pieces = self.pieces(t)
        return total(t, pieces) if pieces else None


def total(t: Tensor, pieces: list[Rows], window: tuple[int, int] | None = None) -> Rows:
    """The sum of `pieces`, each of which may have other rows, as an array; of the rows within `window`, if given."""
    start, stop = window or (min(p.start for p in pieces), max(p.stop for p in pieces))
    if len(pieces) == 1 and type(pieces[0].values) is np.ndarray and (pieces[0].start, pieces[0].stop) == (start, stop):
        return pieces[0]
    values = np.zeros((stop - start, *t.shape), t.dtype)
    for piece in pieces:
        piece.add_to(values, start, stop)
    return Rows(start, values)


# Rules ----------------------------------------------------------------------------------------------------------------


def pull_back(node: Tensor, g: np.ndarray, wanted: list[int]) -> list[tuple[int, Any]]:
    """What inputs `wanted` of `node` get for its cotangents `g` (count, *shape), in a form that Rows take."""
    rule = BATCHED.get(node.op)
    with np.errstate(all="ignore"):
        if node.op.kernels is not None and type(node.op.vjp) is tuple:
            return [(i, _elementwise(node, i, g)) for i in wanted if node.op.vjp[i] is not zero_rule]
        if rule is None:
            return _one_by_one(node, g, wanted)
        parts = [(i, rule(i, g, node, *node.inputs, **node.params)) for i in wanted]
        return [(i, folded(p, node.inputs[i].shape) if type(p) is np.ndarray else p) for i, p in parts]


def _elementwise(node: Tensor, i: int, g: np.ndarray) -> np.ndarray:
    """The Jacobian of an elementwise operation is diagonal: its gradient rule at ones, times any cotangent."""
    rule: Any = node.op.vjp[i]  # type: ignore[index]
    return folded(g if rule is identity_rule else g * slope(node, i, g.dtype), node.inputs[i].shape)


def slope(node: Tensor, i: int, dtype: np.dtype) -> np.ndarray:
    """The derivative of an elementwise operation by input `i`, entry by entry."""
    found = through(node, i, node.op.vjp[i], np.ones(node.shape, dtype))  # type: ignore[index]
    array = found.data if type(found) is Tensor else np.asarray(found)
    return array if array.shape == node.shape else np.broadcast_to(array, node.shape)


def _one_by_one(node: Tensor, g: np.ndarray, wanted: list[int]) -> list[tuple[int, np.ndarray]]:
    """A rule that knows one cotangent only, on all that are not zero."""
    parts = {i: np.zeros((len(g), *node.inputs[i].shape), node.inputs[i].dtype) for i in wanted}
    with no_grad():
        for k in np.flatnonzero(g.reshape(len(g), -1).any(1)):
            for i, part in _ruled(node, g[k], wanted):
                _put(parts[i][k : k + 1], part)
    return list(parts.items())


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
    target += folded(array[None], target.shape[1:])


def folded(part: np.ndarray, target: tuple[int, ...]) -> np.ndarray:
    """Sum over the axes that broadcasting added or stretched; the first one has the rows."""
    shape = part.shape[1:]
    if shape == target:
        return part
    lead = len(shape) - len(target)
    axes = tuple(k + 1 for k, n in enumerate(shape) if k < lead or (target[k - lead] == 1 and n != 1))
    return np.broadcast_to(add_up(part, axes).reshape(-1, *_after(shape, axes, lead)), (len(part), *target))


def _after(shape: tuple[int, ...], axes: tuple[int, ...], lead: int) -> tuple[int, ...]:
    return tuple(1 if k + 1 in axes else n for k, n in enumerate(shape) if k >= lead)


# Rules for all cotangents at once, of what a recurrent network has in every step --------------------------------------


def _placed(i: int, g: np.ndarray, y: Tensor, x: Tensor, index: Any) -> Any:
    parts = index if type(index) is tuple else (index,)
    if all(isinstance(part, int | slice) for part in parts):
        slices = tuple(_as_slice(part, n) for part, n in zip(parts, x.shape))
        return Places(slices, g.reshape(len(g), *cut(x.shape, slices)))
    out = np.zeros((len(g), *x.shape), g.dtype)
    out[(slice(None), *parts)] = g
    return out


def _as_slice(part: int | slice, size: int) -> slice:
    return part if isinstance(part, slice) else slice(part % size, part % size + 1)


def cut(shape: tuple[int, ...], slices: tuple[slice, ...]) -> tuple[int, ...]:
    """The shape of what slices cut out."""
    return (*(len(range(n)[part]) for n, part in zip(shape, slices)), *shape[len(slices) :])


def gathered(g: np.ndarray, x: Tensor, arrays: tuple[np.ndarray, ...], index: Any) -> np.ndarray:
    """Cotangents of a table `x` that was indexed with integer arrays."""
    out = np.zeros((len(g), *x.shape), g.dtype)
    if len(index) == len(arrays) == 1 and arrays[0].size < len(g):  # rows of a table
        flat = g.reshape(len(g), -1, *x.shape[1:])
        for k, row in enumerate(arrays[0].reshape(-1)):
            out[:, row] += flat[:, k]
        return out
    for target, part in zip(out, g, strict=True):
        add_at(target, index, arrays, part)
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
        part = times(g, b)
        return part if left.ndim > 1 else part[..., 0, :]
    if right.ndim == 2:
        return Factors(a.reshape(-1, a.shape[-1]), g.reshape(len(g), -1, g.shape[-1]))
    part = np.matmul(a.swapaxes(-1, -2), g)
    return part if right.ndim > 1 else part[..., 0]


def times(g: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``g @ b.T`` for stacks of matrices; as a single product where there is one `b`."""
    if b.ndim > 2:
        return np.matmul(g, b.swapaxes(-1, -2))
    return np.dot(g.reshape(-1, g.shape[-1]), b.T).reshape(*g.shape[:-1], b.shape[0])


BATCHED: dict[Op, Callable[..., Any]] = by_op({
    "reshape": lambda i, g, y, x, shape: g.reshape(len(g), *x.shape),
    "transpose": lambda i, g, y, x, axes: g.transpose(0, *(int(k) + 1 for k in np.argsort(axes))),
    "broadcast_to": lambda i, g, y, x, shape: g,
    "concatenate": _part_of_join,
    "stack": lambda i, g, y, *inputs, axis: g[(slice(None),) * (axis + 1) + (i,)],
    "slice": _placed,
    "index": lambda i, g, y, x, *indices, index: gathered(g, x, tuple(t.data for t in indices), index),
    "sum": lambda i, g, y, x, axis, keepdims: _unreduced(g, x, axis),
    "mean": _mean,
    "cast": lambda i, g, y, x, dtype: g.astype(x.dtype),
    "matmul": _matmul,
})
