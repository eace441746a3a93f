"""Functions of one row, for loops made by ``loops.row_loop``: arrays in, results written into the last array.

A row of length 1 stands for a number. The largest entry is subtracted before exponentials, so nothing overflows that
need not, and its own exponential, 1, is kept apart from the sum of the others, which may be small against it. Of rows
whose largest entry is infinite only those have a softmax in which plus infinity stands alone. Each pass over a row is
one that becomes vector code: sums are added up in blocks, and those with care (``compensated.py``).

The losses at the end are loops for programs (``native.py``), which check their targets themselves.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import numba
import numpy as np
from numba import types

from .compensated import BLOCK, settled, two_sum
from .families import Job, family
from .indexing import INDEX_OUT_OF_RANGE, note_fault
from .loops import free, gathered, itemsize, moved, parallel, place, pointer, scatter, scratch
from .native import Loop, native
from .scalars import add, exp, log, log1p, maximum

__all__ = [
    "checked_cross_entropy", "cross_entropy", "cross_entropy_surplus", "cumsum", "log_softmax", "logsumexp",
    "norm", "normalize", "softmax", "surplus",
]  # fmt: skip


def logsumexp(x, out):
    """Logarithm of the sum of exponentials."""
    out[0] = _logsumexp(x)


def softmax(x, out):
    """Exponentials divided by their sum."""
    _softmax(x, _largest(x), out)


def log_softmax(x, out):
    """Each entry minus the log-sum-exp of the row."""
    peak = _largest(x)
    if peak - peak != 0:
        others = _others_of_infinity(x, peak)
        for i in range(x.size):
            out[i] = log(others + (x[i] == peak))
    else:
        shift = log1p(_others(x, peak))
        for i in range(x.size):
            out[i] = x[i] - peak - shift
        parallel()


def cross_entropy(x, target, out):
    """Log-sum-exp of the row minus its entry at the index `target`, which the caller has checked."""
    out[0] = _cross_entropy_of(x, target[0])


def surplus(x, target, out):
    """Softmax of the row, less 1 at the index `target`."""
    _surplus(x, target[0], out)


def cumsum(x, out):
    """Running sum."""
    total, lost = -0.0, 0.0  # of the two zeros the one that changes nothing
    for i in range(x.size):
        total, lost = two_sum(total, lost, x[i])
        out[i] = settled(total, lost)


def norm(x, out):
    """The root of the sum of squares, which neither overflow nor vanish."""
    squares = _deviations(x, 1.0, 0.0)
    if _SAFE[0] < squares < _SAFE[1]:
        out[0] = squares**0.5
    else:
        scale = _scale(_magnitude(x))
        out[0] = _deviations(x, scale, 0.0) ** 0.5 / scale


def normalize(x, eps, out):
    """The row less its mean, divided by the root of its variance plus `eps`; in float64."""
    mean, spread = _moments(x, 1.0)
    spread += eps[0]
    if _SAFE[0] < spread < _SAFE[1]:
        _standardize(x, 1.0, mean, spread, out)
    else:  # squares may have overflowed or vanished
        scale = _scale(_magnitude(x))
        mean, spread = _moments(x, scale)
        _standardize(x, scale, mean, spread + (eps[0] * scale) * scale if eps[0] != 0 else spread, out)


_SAFE = 1e-200, 1e200  # sums of squares with no terms that matter out of range


def _moments(x, scale):
    """Mean and variance of the row times `scale`."""
    total, lost = 0.0, 0.0
    for first in range(0, x.size, BLOCK):
        block, part = x[first : first + BLOCK], 0.0  # whose indices are seen not to be negative
        for i in range(block.size):
            part = add(part, np.float64(block[i]) * scale)
        total, lost = two_sum(total, lost, part)
    mean = settled(total, lost) / x.size
    return mean, _deviations(x, scale, mean) / x.size


def _deviations(x, scale, mean):
    """The sum of the squares of the row times `scale` less `mean`."""
    total, lost = 0.0, 0.0
    for first in range(0, x.size, BLOCK):
        block, part = x[first : first + BLOCK], 0.0
        for i in range(block.size):
            distance = np.float64(block[i]) * scale - mean
            part = add(part, distance * distance)
        total, lost = two_sum(total, lost, part)
    return settled(total, lost)


def _standardize(x, scale, mean, spread, out):
    root = 1 / spread**0.5
    for i in range(x.size):
        out[i] = (np.float64(x[i]) * scale - mean) * root
    parallel()


def _scale(peak):
    """The power of two that brings `peak` below 1, as far as there is one."""
    return math.ldexp(1.0, -max(math.frexp(peak)[1], -1000)) if peak - peak == 0 else 1.0


def _magnitude(x):
    """The largest magnitude, or NaN if there is one."""
    peak = x.dtype.type(0)
    for i in range(x.size):
        peak = maximum(peak, abs(x[i]))
    return peak


def _largest(x):
    """The largest entry, or NaN if there is one."""
    peak = x[0]
    for i in range(x.size):
        peak = maximum(peak, x[i])
    return peak


def _others(x, peak):
    """The sum of the exponentials of the entries less `peak`, but for one entry that is the largest."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    total, lost, ties = 0.0, 0.0, -1.0
    for first in range(0, x.size, BLOCK):
        block, part, equal = x[first : first + BLOCK], zero, zero
        for i in range(block.size):
            part = add(part, zero if block[i] == peak else exp(block[i] - peak))
            equal = add(equal, one if block[i] == peak else zero)
        total, lost = two_sum(total, lost, part)
        ties += equal
    return x.dtype.type(settled(total, lost) + ties)


def _logsumexp(x):
    peak = _largest(x)
    return peak + log1p(_others(x, peak)) if peak - peak == 0 else peak  # infinite, or NaN


def _softmax(x, peak, out):
    """The softmax written into `out`; what :func:`_others` gives is returned."""
    if peak - peak == 0:
        return _finite_softmax(x, peak, out)
    others = _others_of_infinity(x, peak)
    for i in range(x.size):
        out[i] = others + (x[i] == peak)
    return others


def _finite_softmax(x, peak, out):
    zero, one = x.dtype.type(0), x.dtype.type(1)
    total, lost = 0.0, 0.0
    for first in range(0, x.size, BLOCK):
        block, powers, part = x[first : first + BLOCK], out[first : first + BLOCK], zero
        for i in range(block.size):
            e = exp(block[i] - peak)
            part = add(part, e)
            powers[i] = e
        total, lost = two_sum(total, lost, part) if first else (np.float64(part), 0.0)
    others = settled(total, lost) - 1.0
    others = x.dtype.type(others if others > _SMALL else _below_one(out))
    scale = one / (one + others)
    for i in range(x.size):
        out[i] *= scale
    parallel()
    return others


_SMALL = 0.5  # a sum that has lost digits when 1 is subtracted from it


def _below_one(x):
    """The sum of the entries, which are at most 1, but for one 1."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    total, lost, ones = 0.0, 0.0, -1.0
    for first in range(0, x.size, BLOCK):
        block, part, equal = x[first : first + BLOCK], zero, zero
        for i in range(block.size):
            part = add(part, block[i] if block[i] < one else zero)
            equal = add(equal, zero if block[i] < one else one)
        total, lost = two_sum(total, lost, part) if first else (np.float64(part), 0.0)
        ones += equal
    return settled(total, lost) + ones


def _loss(others, peak, entry):
    """Minus the logarithm of the probability of an entry; large entries are subtracted before anything is added."""
    return log1p(others) if entry == peak else log1p(others) + (peak - entry)


def _cross_entropy_of(x, target):
    peak = _largest(x)
    others = _others(x, peak) if peak - peak == 0 else _others_of_infinity(x, peak)
    return _loss(others, peak, x[target])


def _others_of_infinity(x, peak):
    """0 if one entry alone is plus infinity, and so has all of the probability; else NaN."""
    ties = 0
    for i in range(x.size):
        ties += x[i] == peak
    return x.dtype.type(0) if ties == 1 and peak > 0 else peak - peak


def _surplus(x, target, out):
    """The slope of the loss written into `out`, which may be `x`; the loss is returned."""
    entry, peak = x[target], _largest(x)
    others = _softmax(x, peak, out)
    one = x.dtype.type(1)
    if entry == peak:  # its probability less 1 would lose digits
        out[target] = x.dtype.type(0) - others * out[target]  # not the negative of zero
    else:
        out[target] -= one
    return _loss(others, peak, entry)


# Losses ---------------------------------------------------------------------------------------------------------------

I = types.int64
T: Any = None  # stands for the type of the elements


@cache
def checked_cross_entropy(dtype: Any) -> Loop:
    """The loop ``(n),()->()`` over ``x, target, out``: log-sum-exp of the row minus its entry at the target.

    ``dims = [outer, n]``, ``steps = [x_outer, target_outer, out_outer, x_n]``. Targets are not negative.
    """
    return native("cross_entropy", _cross_entropy, T=dtype)


@cache
def cross_entropy_surplus(dtype: Any) -> Loop:
    """The loop ``(n),()->(k)`` over ``x, target, out`` with k = n + 1: the slope of the row's loss, and then the loss.

    ``dims = [outer, n, k]``, ``steps = [x_outer, target_outer, out_outer, x_n, out_k]``. Targets are not negative.
    """
    return native("cross_entropy_surplus", _cross_entropy_surplus, T=dtype)


@family
def _for_warmup(dtype: np.dtype) -> list[Job]:
    return [partial(checked_cross_entropy, dtype), partial(cross_entropy_surplus, dtype)]


def _target(address, offset, n, position, data):
    """The target at an address, or -1 if it is out of range, which is noted."""
    target = pointer(address, offset, I)[0]
    if 0 <= target < n:
        return target
    note_fault(data, INDEX_OUT_OF_RANGE, position, target, n)
    return -1


def _cross_entropy(args, dims, steps, data):
    n = dims[1]
    copied = scratch(steps[3] != itemsize(pointer(args[0], 0, T)), n * itemsize(pointer(args[0], 0, T)))
    for i in range(dims[0]):
        at = _target(args[1], i * steps[1], n, i, data)
        if at < 0:
            break
        x = gathered(pointer(args[0], i * steps[0], T), steps[3], n, copied)
        pointer(args[2], i * steps[2], T)[0] = _cross_entropy_of(numba.carray(x, n), at)
    free(copied)


def _cross_entropy_surplus(args, dims, steps, data):
    n = dims[1]
    size = itemsize(pointer(args[0], 0, T))
    copied, apart = scratch(steps[3] != size, n * size), scratch(steps[4] != size, n * size)
    for i in range(dims[0]):
        at = _target(args[1], i * steps[1], n, i, data)
        if at < 0:
            break
        out = pointer(args[2], i * steps[2], T)
        x, row = gathered(pointer(args[0], i * steps[0], T), steps[3], n, copied), place(out, steps[4], apart)
        loss = _surplus(numba.carray(x, n), at, numba.carray(row, n))
        scatter(out, steps[4], n, row)
        moved(out, n * steps[4])[0] = loss
    free(copied)
    free(apart)
