"""The chain of states, and the Jacobians between them: all rows of one in a single backward walk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import GradientError, ShapeError, fail
from ..grad.reverse import nodes_between
from ..tensor import Tensor, describe
from .rows import Cotangents, Rows, pull_back
from .states import States

__all__ = ["Chain", "between", "pulled", "stretches"]

# One Jacobian ---------------------------------------------------------------------------------------------------------


def between(name: str, later: tuple[Tensor, ...], earlier: tuple[Tensor, ...], batch: bool) -> np.ndarray:
    """The Jacobian of a state by another, with the parts of each side by side."""
    batch = _batched(name, [*later, *earlier], batch)
    sizes = [_size(t, batch) for t in later]
    n, examples = sum(sizes), later[0].shape[0] if batch else 1
    seeds, start = [], 0
    for t, size in zip(later, sizes, strict=True):
        seed = np.zeros((n + (examples > 1), examples, size), t.dtype)
        seed[np.arange(start, start + size), :, np.arange(size)] = 1
        if examples > 1:  # a row more, of the first example alone, tells whether the others have to do with it
            seed[n, 0] = np.cos(np.arange(start, start + size))
        seeds.append(seed)
        start += size
    parts = [p.reshape(len(p), examples, -1) for p in pulled(later, seeds, earlier)]
    if examples > 1 and any(p[n, 1:].any() for p in parts):
        raise _coupled(name, later[0])
    J = np.concatenate([p[:n] for p in parts], -1).swapaxes(0, 1)
    return J if batch and later[0].ndim > 1 else J[0]


def _batched(name: str, tensors: list[Tensor], batch: bool) -> bool:
    if not batch or all(t.ndim < 2 for t in tensors):
        return False
    if len({t.shape[0] if t.ndim else None for t in tensors}) > 1:
        raise fail(
            ShapeError, f"{name}: states of different batch sizes", got=", ".join(str(t.shape) for t in tensors),
            hint="pass batch=False: all entries of a state are then one vector",
        )  # fmt: skip
    return True


def _size(t: Tensor, batch: bool) -> int:
    return t.size // max(t.shape[0], 1) if batch else t.size


def _coupled(name: str, t: Tensor) -> Exception:
    return fail(
        GradientError, f"{name}: the examples of {describe(t)} depend on each other",
        expected="examples along the first axis that have nothing to do with each other",
        hint="pass batch=False: all entries of a state are then one vector",
    )  # fmt: skip


def pulled(outputs: tuple[Tensor, ...], seeds: list[np.ndarray], targets: tuple[Tensor, ...]) -> list[np.ndarray]:
    """Rows of cotangents of `targets`, each varied with the others held; those of `outputs` are `seeds`."""
    wanted = {t.serial for t in targets}
    nodes, active = nodes_between(list(outputs), wanted)
    sums, found = Cotangents(), {}
    for t, seed in zip(outputs, seeds, strict=True):
        if t.serial in active:
            sums.add(t, Rows(0, seed.reshape(len(seed), *t.shape)))
    for serial in sorted(active, reverse=True):
        node = nodes[serial]
        g = sums.pop(node)
        if g is not None and serial in wanted:
            found[serial] = g.values
        elif g is not None:
            for i, part in pull_back(node, g.values, [i for i, t in enumerate(node.inputs) if t.serial in active]):
                sums.add(node.inputs[i], Rows(0, part))
    count = len(seeds[0])
    return [found[t.serial] if t.serial in found else np.zeros((count, *t.shape), t.dtype) for t in targets]


# Many Jacobians -------------------------------------------------------------------------------------------------------


class Chain:
    """States in the order in which they were computed."""

    def __init__(self, name: str, h: Any, layer: int, batch: bool, graph: Any, inputs: Any) -> None:
        states = States(name, h, layer, graph, inputs)
        self.name, self.batch, self.states = name, batch, states
        self.steps = [states.steps[k] for k in states.order]

    def between(self, t: int, k: int) -> np.ndarray:
        return between(self.name, self.steps[t], self.steps[k], self.batch).astype(np.float64)

    def mapped(self, fn: Any, lag: int | None) -> np.ndarray:
        """`fn` of the Jacobians of all pairs, or of those of a lag."""
        count = len(self.steps)
        if lag is not None:
            if not isinstance(lag, int) or not 0 <= lag < count:
                raise fail(ValueError, f"{self.name}: lag {lag!r}", expected=f"0 to {count - 1}")
            return fn(np.stack(list(self._apart(lag))))
        rows = [fn(row) for row in self._all()]
        out = np.zeros((count, count, *rows[0].shape[1:]), rows[0].dtype)
        for t, row in enumerate(rows):
            out[t, : t + 1] = row
        return out[np.ix_(self.states.order, self.states.order)]

    def _apart(self, lag: int) -> Iterator[np.ndarray]:
        """Jacobians by the state `lag` steps before, in order of that."""
        count = len(self.steps)
        if lag < 2 or not self.states.complete():
            yield from (self.between(k + lag, k) for k in range(count - lag))
            return
        single = [self.between(k + 1, k) for k in range(count - 1)]
        for k in range(count - lag):
            product = single[k]
            for J in single[k + 1 : k + lag]:
                product = _product(J, product)
            yield product

    def _all(self) -> Iterator[np.ndarray]:
        """For each state the Jacobians by all states up to it."""
        count = len(self.steps)
        if not self.states.complete():
            yield from (np.stack([self.between(t, k) for k in range(t + 1)]) for t in range(count))
            return
        row = same = self.between(0, 0)[None]
        yield row
        for t in range(1, count):
            row = np.concatenate([_product(self.between(t, t - 1), row), same])
            yield row

    def exponents(self, count: int | None, skip: int) -> np.ndarray:
        steps = len(self.steps) - 1
        if not 0 <= skip < steps:
            raise fail(ValueError, f"{self.name}: skip {skip!r}", expected=f"fewer than the {steps} steps there are")
        if not self.states.complete():
            raise fail(
                GradientError, f"{self.name}: a state depends on the past otherwise than through the state before it",
                hint="pass complete states, as (h, c) of an LSTM",
            )  # fmt: skip
        batch = _batched(self.name, list(self.steps[-1]), self.batch)
        frame = self._frame(count, self.steps[-1][0].shape[0] if batch else 1, batch)
        logs = np.zeros((frame.shape[0], frame.shape[2]))
        for done, (later, earlier) in enumerate(zip(self.steps[:0:-1], self.steps[-2::-1], strict=True)):
            frame, r = np.linalg.qr(_frame_before(frame, later, earlier, batch))
            if done >= skip:
                with np.errstate(divide="ignore"):
                    logs += np.log(np.abs(np.diagonal(r, axis1=-2, axis2=-1)))
        return (logs if batch else logs[0]) / (steps - skip)

    def _frame(self, count: int | None, examples: int, batch: bool) -> np.ndarray:
        """An orthonormal frame (examples, n, count) in general position: no axis need stay by itself."""
        n = sum(_size(t, batch) for t in self.steps[-1])
        many = n if count is None else count
        if not isinstance(many, int) or not 0 < many <= n:
            raise fail(ValueError, f"{self.name}: count {count!r}", expected=f"1 to {n}, the size of the state")
        frame, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(n, many)))
        return np.broadcast_to(frame, (examples, n, many))


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return a @ b


def stretches(J: np.ndarray) -> np.ndarray:
    """Singular values (..., n) of matrices (..., n, n); NaN for those that are not finite."""
    finite = np.isfinite(J).all((-2, -1))
    values = np.full(J.shape[:-1], np.nan)
    values[finite] = np.linalg.svd(J[finite], compute_uv=False)
    return values


def _frame_before(frame: np.ndarray, later: tuple[Tensor, ...], earlier: tuple[Tensor, ...], batch: bool) -> np.ndarray:
    """A frame (examples, n, count) of cotangents of a state, pulled back to another."""
    ends = np.cumsum([_size(t, batch) for t in later])[:-1]
    seeds = np.split(frame.transpose(2, 0, 1), ends, axis=-1)
    parts = pulled(later, [s.astype(t.dtype) for s, t in zip(seeds, later, strict=True)], earlier)
    rows = [p.reshape(len(p), len(frame), -1) for p in parts]
    return np.concatenate(rows, -1).transpose(1, 2, 0).astype(np.float64)
