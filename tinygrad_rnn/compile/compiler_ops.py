"""Operations that only the compiler writes. Each can run in NumPy, so that a rewritten graph can be evaluated."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..effects import Assignment, Check, Update
from ..ops.checks import RANGE_CHECK, look, of_classes
from ..ops.core import quiet, registry
from ..ops.index import ARRAY, add_at
from ..ops.neural import CROSS_ENTROPY_ROWS, SURPLUS_ROWS
from ..tensor import Op, Spec

__all__ = [
    "ASSIGN", "CHANGES", "CHANGING", "CHECK", "CONTRACT", "CROSS_ENTROPY_SURPLUS", "INTERNAL", "LOOKUP", "MATMUL_ADD",
    "RANGE_CHECK", "SCATTER", "SEQUENCE", "UPDATE",
]  # fmt: skip

_NO_GRADIENT = "it is made by the compiler, after differentiation"
INTERNAL: dict[str, Op] = {}


def _internal(name: str, run: Any, shape: Any, formula: str, symbol: str = "") -> Op:
    assert name not in registry  # a saved program tells them apart by their names
    INTERNAL[name] = Op(name, quiet(run), shape, _NO_GRADIENT, None, formula, symbol)
    return INTERNAL[name]


def _rows(index: np.ndarray, count: int, wrap: bool, name: str) -> np.ndarray:
    index = index.astype(np.int64)
    low = -count if wrap else 0
    wrong = np.argwhere((index < low) | (index >= count))
    if len(wrong):
        place = tuple(int(k) for k in wrong[0])
        raise IndexError(f"{name}: index {index[place]} at position {place} is out of range for axis 0 of size {count}")
    return np.where(index < 0, index + count, index)


INTERNAL[RANGE_CHECK.name] = RANGE_CHECK

LOOKUP = _internal(
    "lookup",
    lambda table, index, wrap: table[_rows(index, len(table), wrap, "lookup")],
    lambda table, index, wrap: Spec((*index.shape, *table.shape[1:]), table.dtype),
    r"{0}_{{[{1}]}}",
    "[ ]",
)


def _scatter(index: np.ndarray, rows: np.ndarray, count: int, wrap: bool) -> np.ndarray:
    out = np.zeros((count, *rows.shape[index.ndim :]), rows.dtype)
    add_at(out, (ARRAY,), (_rows(index, count, wrap, "scatter"),), rows)
    return out


SCATTER = _internal(
    "scatter",
    _scatter,
    lambda index, rows, count, wrap: Spec((count, *rows.shape[index.ndim :]), rows.dtype),
    r"\mathrm{{scatter}}({1}; {0})",
)

MATMUL_ADD = _internal(
    "matmul_add",
    lambda c, a, b: c + a @ b,
    lambda c, a, b: Spec((*a.shape[:-1], b.shape[-1]), a.dtype),
    "{0} + {1} {2}",
    "+ @",
)


def _contract(*arrays: np.ndarray) -> Any:
    total: Any = 0
    for a, g in zip(arrays[::2], arrays[1::2], strict=True):
        rows = prod(a.shape[:-1])
        total = total + a.reshape(rows, a.shape[-1]).T @ g.reshape(rows, g.shape[-1])
    return total


CONTRACT = _internal(
    "contract",
    _contract,
    lambda a, g, *_: Spec((a.shape[-1], g.shape[-1]), a.dtype),
    r"\sum_t {0}_t^\top {1}_t",
    "Σ ᵀ@",
)


def _cross_entropy_surplus(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    look(target, 0, x.shape[-1], of_classes("cross_entropy: target", x.shape[-1]))
    if not target.size:
        return np.zeros((*x.shape[:-1], x.shape[-1] + 1), x.dtype)
    loss = np.asarray(CROSS_ENTROPY_ROWS[x.dtype](x, target))
    return np.concatenate([SURPLUS_ROWS[x.dtype](x, target), loss[..., None]], -1)


CROSS_ENTROPY_SURPLUS = _internal(
    "cross_entropy_surplus",
    _cross_entropy_surplus,
    lambda x, target: Spec((*x.shape[:-1], x.shape[-1] + 1), x.dtype),
    r"[\mathrm{{softmax}}({0}) - \mathrm{{onehot}}({1}), \mathrm{{CE}}({0}, {1})]",
)


# Changes --------------------------------------------------------------------------------------------------------------
# They take what they must come after as further inputs, and give the new value, or nothing.

_NOTHING = Spec((0,), np.dtype(np.bool_))


def _update(p: np.ndarray, g: np.ndarray, *_: np.ndarray, change: Update) -> np.ndarray:
    """The new value; the state of the optimiser is left as it is."""
    optimizer = change.optimizer
    state = [a.copy() for a in optimizer.state[change.index]]
    count = optimizer.update_counts[change.index] + change.updates
    numbers = optimizer.numbers([count], change.step)[count]
    new = optimizer.kernel(p.dtype)(p, g, *state, *map(p.dtype.type, numbers))
    return new[0] if isinstance(new, tuple) else new


def _check_finite(x: np.ndarray, *_: np.ndarray, change: Check) -> np.ndarray:
    if not np.isfinite(x).all():
        raise change.error(int(np.argmin(np.isfinite(x))))
    return np.zeros(0, bool)


UPDATE = _internal("apply_update", _update, lambda p, *_, change: p, r"{0}'")
ASSIGN = _internal("assign", lambda p, value, *_, change: value, lambda p, *_, change: p, r"{1}")
CHECK = _internal("check_finite", _check_finite, lambda x, *_, change: _NOTHING, r"\mathrm{{finite}}({0})")
SEQUENCE = _internal("sequence", lambda *_: np.zeros(0, bool), lambda *_: _NOTHING, "")
CHANGES: dict[type, Op] = {Update: UPDATE, Assignment: ASSIGN, Check: CHECK}
CHANGING = frozenset([*CHANGES.values(), SEQUENCE])
