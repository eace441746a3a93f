"""Sums, largest and smallest entries along the last or the first axis, as loops for programs (``native.py``).

Sums are added up in vectors within blocks, and the blocks' sums with care (``compensated.py``), so that the error of a
sum of any length is below 8 units of rounding of the sum of magnitudes. NaN wins over every number in ``max`` and
``min``. The sum of nothing is 0. Eager operations call the loops for sums as ufuncs (``sums.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from types import FunctionType
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compensated import BLOCK, settled, two_sum
from .families import Job, family
from .loops import itemsize, moved, parallel, pointer
from .native import Loop, native
from .scalars import add, maximum, minimum

__all__ = ["reduce_first", "reduce_last"]

_WIDTH = 256  # columns that are reduced at once
_ROWS = 64  # rows that are added up without care: eight at a time as a tree, so that there are ten roundings in a row
_APART = 8  # elements that do not lie side by side and are added up without care
_KINDS: dict[str, tuple[Callable[..., Any], float]] = {
    "sum": (add, -0.0),  # of the two zeros the one that changes nothing
    "max": (maximum, -np.inf),
    "min": (minimum, np.inf),
}


@cache
def reduce_last(kind: str, dtype: Any, accumulate: bool = False) -> Loop:
    """The loop ``(n)->()`` over ``x, out``: the "sum", "max" or "min" of each row put into `out`, or added to it.

    ``dims = [outer, n]``, ``steps = [x_outer, out_outer, x_n]``.
    """
    return _loop(f"{kind}_last", _last, kind, dtype, accumulate)


@cache
def reduce_first(kind: str, dtype: Any, accumulate: bool = False) -> Loop:
    """The loop ``(m,n)->(n)`` over ``x, out``: the "sum", "max" or "min" of each column.

    ``dims = [outer, m, n]``, ``steps = [x_outer, out_outer, x_m, x_n, out_n]``.
    """
    return _loop(f"{kind}_first", _first, kind, dtype, accumulate)


@family
def _for_warmup(dtype: np.dtype) -> list[Job]:
    return [partial(reduce, kind, dtype) for kind in _KINDS for reduce in (reduce_last, reduce_first)]


def _loop(name: str, function: Any, kind: str, dtype: Any, accumulate: bool) -> Loop:
    combine, start = _KINDS[kind]
    filled = {"combine": combine, "START": start, "store": _store_sum if accumulate else _store}
    filled["row"], filled["columns"] = (_row_sum, _column_sums) if combine is add else (_block, _column_extremes)
    function = FunctionType(function.__code__, {**globals(), **filled}, function.__name__)
    return native(f"{name}_add" if accumulate else name, function, T=dtype)


def _store(place, value):
    place[0] = value


def _store_sum(place, value):
    place[0] += value


# What `_loop` fills in.
T: Any = None
START: Any = None
combine: Any = add
store: Any = _store
row: Any = None
columns: Any = None


@intrinsic
def _room(typing_context, like):
    """Memory on the stack for `_WIDTH` values of the type of `like`."""

    def build(context, builder, signature, args):
        return cgutils.alloca_once(builder, context.get_value_type(like), _WIDTH)

    return types.CPointer(like)(like), build


# Rows -----------------------------------------------------------------------------------------------------------------


def _last(args, dims, steps, data):
    for i in range(dims[0]):
        x, out = pointer(args[0], i * steps[0], T), pointer(args[1], i * steps[1], T)
        store(out, T(row(x, dims[1], steps[2], combine, T(START)) if dims[1] else T(0)))


def _row_sum(x, n, step, combine, start):
    block = BLOCK if step == itemsize(x) else _APART
    if n <= block:
        return _block(x, n, step, combine, start)
    total, lost = np.float64(start), 0.0
    for first in range(0, n, block):
        part = _block(moved(x, first * step), min(block, n - first), step, combine, start)
        total, lost = two_sum(total, lost, part)
    return settled(total, lost)


def _block(x, n, step, combine, start):
    total = start
    if step == itemsize(x):
        for j in range(n):
            total = combine(total, x[j])
    else:
        for j in range(n):
            total = combine(total, moved(x, j * step)[0])
    return total


# Columns --------------------------------------------------------------------------------------------------------------


def _first(args, dims, steps, data):
    m, n = dims[1], dims[2]
    for i in range(dims[0]):
        x, out = pointer(args[0], i * steps[0], T), pointer(args[1], i * steps[1], T)
        if m == 0:
            for j in range(n):
                store(moved(out, j * steps[4]), T(0))
        elif n > 1 and steps[3] == itemsize(x):
            for j in range(0, n, _WIDTH):
                total = columns(moved(x, j * steps[3]), m, min(_WIDTH, n - j), steps[2], combine, T(START))
                for k in range(min(_WIDTH, n - j)):
                    store(moved(out, (j + k) * steps[4]), total[k])
                parallel()
        else:
            for j in range(n):
                total = row(moved(x, j * steps[3]), m, steps[2], combine, T(START))
                store(moved(out, j * steps[4]), T(total))


def _column_extremes(x, m, n, step, combine, start):
    """The extremes of at most `_WIDTH` columns."""
    total = _room(start)
    _fill(total, n, start)
    _add_rows(total, x, m, n, step, combine)
    return total


def _column_sums(x, m, n, step, combine, start):
    """The sums of at most `_WIDTH` columns."""
    part, total, lost = _room(start), _room(0.0), _room(0.0)
    _fill(part, n, start)
    _add_rows(part, x, min(m, _ROWS), n, step, combine)
    if m <= _ROWS:
        return part
    for k in range(n):
        total[k], lost[k] = part[k], 0.0
    for first in range(_ROWS, m, _ROWS):
        _fill(part, n, start)
        _add_rows(part, moved(x, first * step), min(_ROWS, m - first), n, step, combine)
        for k in range(n):
            total[k], lost[k] = two_sum(total[k], lost[k], part[k])
    for k in range(n):
        part[k] = settled(total[k], lost[k])
    parallel()
    return part


def _fill(place, n, value):
    for k in range(n):
        place[k] = value
    parallel()


def _add_rows(total, x, m, n, step, combine):
    r = 0
    while r + 8 <= m:
        x0, x1, x2, x3 = _row_at(x, r, step), _row_at(x, r + 1, step), _row_at(x, r + 2, step), _row_at(x, r + 3, step)
        x4, x5, x6, x7 = (
            _row_at(x, r + 4, step), _row_at(x, r + 5, step), _row_at(x, r + 6, step), _row_at(x, r + 7, step)
        )  # fmt: skip
        for k in range(n):
            left = combine(combine(x0[k], x1[k]), combine(x2[k], x3[k]))
            right = combine(combine(x4[k], x5[k]), combine(x6[k], x7[k]))
            total[k] = combine(total[k], combine(left, right))
        r += 8
    while r < m:
        row = _row_at(x, r, step)
        for k in range(n):
            total[k] = combine(total[k], row[k])
        r += 1
    parallel()


def _row_at(x, r, step):
    return moved(x, r * step)
