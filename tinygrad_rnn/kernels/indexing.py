"""Gathers, scatters, copies and checks, as loops for programs (``native.py``).

Indices are int64. A loop that meets an index out of range writes nothing for it, notes it in the environment unless
a fault is noted there already, and returns. Negative indices count from the end except where they are said not to.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np
from numba import types

from .compensated import FEW
from .families import Job, family, once
from .loops import free, itemsize, moved, parallel, pointer, scratch
from .native import FAULT, LIMIT, POSITION, VALUE, Loop, native

__all__ = [
    "INDEX_OUT_OF_RANGE", "NOT_FINITE", "cast", "check_finite", "check_range", "copy", "gather_rows", "note_fault",
    "one_hot", "pick", "put_add", "scatter_add_rows",
]  # fmt: skip

# Values of the environment's FAULT.
INDEX_OUT_OF_RANGE = 1
NOT_FINITE = 2

I, W = types.int64, types.float64
T: Any = None  # stands for the type of the elements, U for what they are converted to
U: Any = None


@cache
def gather_rows(dtype: Any, accumulate: bool = False) -> Loop:
    """The loop ``(r,w),()->(w)`` over ``table, index, out``: the row of the table put into `out`, or added to it.

    ``dims = [outer, r, w]``, ``steps = [table_outer, index_outer, out_outer, table_r, table_w, out_w]``.
    """
    return native("gather_add_rows", _gather_add, T=dtype) if accumulate else native("gather_rows", _gather, T=dtype)


@cache
def scatter_add_rows(dtype: Any) -> Loop:
    """The loop ``(),(w)->(r,w)`` over ``index, rows, table``: each row added to the row of the table at its index.

    ``dims = [outer, w, r]``, ``steps = [index_outer, rows_outer, table_outer, rows_w, table_r, table_w]``.
    """
    return native("scatter_add_rows", _scatter_add, T=dtype)


@cache
def pick(dtype: Any) -> Loop:
    """The loop ``(n),()->()`` over ``x, index, out``: of each row the entry at its index.

    ``dims = [outer, n]``, ``steps = [x_outer, index_outer, out_outer, x_n]``.
    """
    return native("pick", _pick, T=dtype)


@cache
def put_add(dtype: Any) -> Loop:
    """The loop ``(),()->(n)`` over ``index, value, x``: the value added to the row's entry at the index.

    ``dims = [outer, n]``, ``steps = [index_outer, value_outer, x_outer, x_n]``.
    """
    return native("put_add", _put_add, T=dtype)


@cache
def one_hot(dtype: Any) -> Loop:
    """The loop ``()->(n)`` over ``index, out``: rows of zeros with a one at the index, which is not negative.

    ``dims = [outer, n]``, ``steps = [index_outer, out_outer, out_n]``.
    """
    return native("one_hot", _one_hot, T=dtype)


@cache
def copy(itemsize: int) -> Loop:
    """The loop over ``x, out`` that copies elements of 1, 2, 4 or 8 bytes; with ``steps[0] == 0`` it fills `out`.

    ``dims = [n]``, ``steps = [x, out]``.
    """
    return native("copy", _copy, T=f"u{itemsize}")


@cache
def cast(source: Any, target: Any) -> Loop:
    """The loop over ``x, out`` that converts elements as NumPy's ``astype`` does.

    ``dims = [n]``, ``steps = [x, out]``.
    """
    return native("cast_bool" if np.dtype(target) == bool else "cast", _truth if np.dtype(target) == bool else _cast,
                  T=source, U=target)  # fmt: skip


@cache
def check_finite(dtype: Any) -> Loop:
    """The loop ``(n)->`` over ``x`` that notes the first entry, counted row by row, that is infinite or NaN.

    ``dims = [outer, n]``, ``steps = [x_outer, x_n]``.
    """
    return native("check_finite", _check_finite, T=dtype)


@cache
def check_range() -> Loop:
    """The loop ``()->`` over ``index``: indices below the lowest or not below the limit are faults; it writes nothing.

    ``dims = [outer, limit, lowest]``, ``steps = [index_outer]``.
    """
    return native("check_range", _check_range)


@once
def _for_warmup() -> list[Job]:
    return [check_range, *(partial(copy, size) for size in (1, 4, 8))]


@family
def _for_warmup_of(dtype: np.dtype) -> Iterator[Job]:
    for loop in (gather_rows, scatter_add_rows, one_hot, check_finite):
        yield partial(loop, dtype)
    for other in map(np.dtype, (bool, np.int32, np.int64, np.float32, np.float64)):
        if other != dtype:
            yield partial(cast, other, dtype)
            yield partial(cast, dtype, other)


def note_fault(data, fault, position, value, limit):
    """Note a fault in the environment unless there is one."""
    env = pointer(data, 0, I)
    if env[FAULT] == 0:
        env[FAULT], env[POSITION], env[VALUE], env[LIMIT] = fault, position, value, limit


def _place(index, limit, position, data):
    """Where an index is counted from the start, or -1 if it is out of range, which is noted."""
    place = index + limit if index < 0 else index
    if 0 <= place < limit:
        return place
    note_fault(data, INDEX_OUT_OF_RANGE, position, index, limit)
    return -1


def _gather(args, dims, steps, data):
    for i in range(dims[0]):
        at = _place(pointer(args[1], i * steps[1], I)[0], dims[1], i, data)
        if at < 0:
            return
        row = pointer(args[0], i * steps[0] + at * steps[3], T)
        _copy_row(row, pointer(args[2], i * steps[2], T), dims[2], steps[4], steps[5])


def _gather_add(args, dims, steps, data):
    for i in range(dims[0]):
        at = _place(pointer(args[1], i * steps[1], I)[0], dims[1], i, data)
        if at < 0:
            return
        row = pointer(args[0], i * steps[0] + at * steps[3], T)
        _add_row(row, pointer(args[2], i * steps[2], T), dims[2], steps[4], steps[5])


def _scatter_add(args, dims, steps, data):
    """A place of the table that gets many rows hands over what it has got so far to a sum in float64 now and then."""
    n, w, r = dims[0], dims[1], dims[2]
    size = itemsize(pointer(args[0], 0, I))
    counts, numbers = scratch(n >= FEW, r * size), scratch(n >= FEW, r * size)
    wide, sums = scratch(n >= FEW, min(n // FEW, r) * w * size), 0
    _clear(pointer(counts, 0, I), r if n >= FEW else 0)
    for i in range(n):
        at = _place(pointer(args[0], i * steps[0], I)[0], r, i, data)
        if at < 0:
            break
        out = pointer(args[2], i * steps[2] + at * steps[4], T)
        _add_row(pointer(args[1], i * steps[1], T), out, w, steps[3], steps[5])
        if n >= FEW:
            count = pointer(counts, at * size, I)
            count[0] += 1
            if count[0] % FEW == 0:
                number = pointer(numbers, at * size, I)
                if count[0] == FEW:
                    number[0] = sums
                    _clear(pointer(wide, sums * w * size, W), w)
                    sums += 1
                _hand_over(out, pointer(wide, number[0] * w * size, W), w, steps[5])
    for k in range(r if sums else 0):
        if pointer(counts, 0, I)[k] >= FEW:
            total = pointer(wide, pointer(numbers, 0, I)[k] * w * size, W)
            _narrow_row(total, pointer(args[2], k * steps[4], T), w, steps[5])
    free(counts)
    free(numbers)
    free(wide)


def _pick(args, dims, steps, data):
    for i in range(dims[0]):
        at = _place(pointer(args[1], i * steps[1], I)[0], dims[1], i, data)
        if at < 0:
            return
        pointer(args[2], i * steps[2], T)[0] = pointer(args[0], i * steps[0] + at * steps[3], T)[0]


def _put_add(args, dims, steps, data):
    for i in range(dims[0]):
        at = _place(pointer(args[0], i * steps[0], I)[0], dims[1], i, data)
        if at < 0:
            return
        pointer(args[2], i * steps[2] + at * steps[3], T)[0] += pointer(args[1], i * steps[1], T)[0]


def _one_hot(args, dims, steps, data):
    for i in range(dims[0]):
        at = pointer(args[0], i * steps[0], I)[0]
        if at < 0 or at >= dims[1]:
            note_fault(data, INDEX_OUT_OF_RANGE, i, at, dims[1])
            return
        for j in range(dims[1]):
            pointer(args[1], i * steps[1] + j * steps[2], T)[0] = T(0)
        pointer(args[1], i * steps[1] + at * steps[2], T)[0] = T(1)


def _copy(args, dims, steps, data):
    _copy_row(pointer(args[0], 0, T), pointer(args[1], 0, T), dims[0], steps[0], steps[1])


def _copy_row(x, out, n, x_step, out_step):
    size = itemsize(x)
    if x_step == size and out_step == size:
        for j in range(n):
            out[j] = x[j]
    elif x_step == 0 and out_step == size:
        value = x[0]
        for j in range(n):
            out[j] = value
    else:
        for j in range(n):
            moved(out, j * out_step)[0] = moved(x, j * x_step)[0]
    parallel()


def _add_row(x, out, n, x_step, out_step):
    size = itemsize(x)
    if x_step == size and out_step == size:
        for j in range(n):
            out[j] += x[j]
    else:
        for j in range(n):
            moved(out, j * out_step)[0] += moved(x, j * x_step)[0]
    parallel()


def _hand_over(x, total, n, x_step):
    for j in range(n):
        place = moved(x, j * x_step)
        total[j] += W(place[0])
        place[0] = 0.0
    parallel()


def _narrow_row(total, out, n, out_step):
    for j in range(n):
        place = moved(out, j * out_step)
        place[0] = W(place[0]) + total[j]
    parallel()


def _clear(place, n):
    for k in range(n):
        place[k] = 0
    parallel()


def _cast(args, dims, steps, data):
    x, out = pointer(args[0], 0, T), pointer(args[1], 0, U)
    if steps[0] == itemsize(x) and steps[1] == itemsize(out):
        for j in range(dims[0]):
            out[j] = U(x[j])
    else:
        for j in range(dims[0]):
            moved(out, j * steps[1])[0] = U(moved(x, j * steps[0])[0])
    parallel()


def _truth(args, dims, steps, data):
    x, out = pointer(args[0], 0, T), pointer(args[1], 0, U)
    if steps[0] == itemsize(x) and steps[1] == itemsize(out):
        for j in range(dims[0]):
            out[j] = x[j] != T(0)
    else:
        for j in range(dims[0]):
            moved(out, j * steps[1])[0] = moved(x, j * steps[0])[0] != T(0)
    parallel()


def _check_finite(args, dims, steps, data):
    for i in range(dims[0]):
        x = pointer(args[0], i * steps[0], T)
        if not _finite(x, dims[1], steps[1]):
            for j in range(dims[1]):
                value = moved(x, j * steps[1])[0]
                if value - value != 0:
                    note_fault(data, NOT_FINITE, i * dims[1] + j, 0, 0)
                    return


def _finite(x, n, step):
    """Whether all differences of an entry and itself are 0 and not NaN, without a branch for each."""
    bad = 0
    if step == itemsize(x):
        for j in range(n):
            bad |= x[j] - x[j] != 0
    else:
        for j in range(n):
            value = moved(x, j * step)[0]
            bad |= value - value != 0
    return bad == 0


def _check_range(args, dims, steps, data):
    for k in range(dims[0]):
        index = pointer(args[0], k * steps[0], I)[0]
        if index < dims[2] or index >= dims[1]:
            note_fault(data, INDEX_OUT_OF_RANGE, k, index, dims[1])
            return
