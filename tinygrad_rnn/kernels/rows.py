"""Functions of one row, for loops made by ``loops.row_loop``: arrays in, results written into the last array.

A row of length 1 stands for a number. The largest entry is subtracted before exponentials, so nothing overflows that
need not, and its own exponential, 1, is kept apart from the sum of the others, which may be small against it. Of rows
whose largest entry is infinite only those have a softmax in which plus infinity stands alone. Each pass over a row is
one that becomes vector code: sums are added up in blocks, and those with care (``compensated.py``).

The losses at the end are loops for programs (``native.py``), which check their targets themselves.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from .compensated import BLOCK, settled, two_sum
from .indexing import INDEX_OUT_OF_RANGE, note_fault
from .loops import free, gathered, itemsize, moved, parallel, place, pointer, scatter, scratch
from .native import Loop, native
from .scalars import add, exp, log, log1p, maximum

__all__ = [
    "checked_cross_entropy", "cross_entropy", "cross_entropy_softmax", "cumsum", "log_softmax", "logsumexp",
    "norm", "normalize", "softmax", "softmax_minus_onehot", "surplus",
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
    """Softmax of the row, less 1 at the index `target`: there, minus the sum of the others."""
    _softmax(x, _largest(x), out)
    _subtract_one(out, target[0])


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
    total, lost, ties = 0.0, 0.0, -1.0
    for first in range(0, x.size, BLOCK):
        block, powers, part, equal = x[first : first + BLOCK], out[first : first + BLOCK], zero, zero
        for i in range(block.size):
            e = exp(block[i] - peak)
            part = add(part, zero if block[i] == peak else e)
            equal = add(equal, one if block[i] == peak else zero)
            powers[i] = e
        total, lost = two_sum(total, lost, part)
        ties += equal
    others = x.dtype.type(settled(total, lost) + ties)
    scale = one / (one + others)
    for i in range(x.size):
        out[i] *= scale
    parallel()
    return others


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


_LARGE = 0.5  # a probability above this, less 1, would lose digits


def _subtract_one(p, target):
    """From one of the probabilities of a row, or of a multiple of them: it becomes minus the sum of the others."""
    zero = p.dtype.type(0)
    p[target] = zero
    total, lost = 0.0, 0.0
    for first in range(0, p.size, BLOCK):
        block, part = p[first : first + BLOCK], zero
        for i in range(block.size):
            part = add(part, block[i])
        total, lost = two_sum(total, lost, part)
    p[target] = zero - p.dtype.type(settled(total, lost))  # not the negative of zero


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
def cross_entropy_softmax(dtype: Any) -> Loop:
    """The loop ``(n),()->(k)`` over ``x, target, out`` with k = n + 1: the softmax of the row, and then its loss.

    ``dims = [outer, n, k]``, ``steps = [x_outer, target_outer, out_outer, x_n, out_k]``. Targets are not negative.
    """
    return native("cross_entropy_softmax", _cross_entropy_softmax, T=dtype)


@cache
def softmax_minus_onehot(dtype: Any) -> Loop:
    """The loop ``(n),(),()->(n)`` over ``p, target, g, out``: the loss's gradient ``g * (p - one_hot(target))``.

    ``dims = [outer, n]``, ``steps = [p_outer, target_outer, g_outer, out_outer, p_n, out_n]``.
    """
    return native("softmax_minus_onehot", _softmax_minus_onehot, T=dtype)


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


def _cross_entropy_softmax(args, dims, steps, data):
    n = dims[1]
    size = itemsize(pointer(args[0], 0, T))
    copied, apart = scratch(steps[3] != size, n * size), scratch(steps[4] != size, n * size)
    for i in range(dims[0]):
        at = _target(args[1], i * steps[1], n, i, data)
        if at < 0:
            break
        out = pointer(args[2], i * steps[2], T)
        x, row = gathered(pointer(args[0], i * steps[0], T), steps[3], n, copied), place(out, steps[4], apart)
        entry, peak = x[at], _largest(numba.carray(x, n))
        others = _softmax(numba.carray(x, n), peak, numba.carray(row, n))
        scatter(out, steps[4], n, row)
        moved(out, n * steps[4])[0] = _loss(others, peak, entry)
    free(copied)
    free(apart)


def _softmax_minus_onehot(args, dims, steps, data):
    n = dims[1]
    size = itemsize(pointer(args[0], 0, T))
    copied, apart = scratch(steps[4] != size, n * size), scratch(steps[5] != size, n * size)
    for i in range(dims[0]):
        at = _target(args[1], i * steps[1], n, i, data)
        if at < 0:
            break
        p, out = gathered(pointer(args[0], i * steps[0], T), steps[4], n, copied), pointer(args[3], i * steps[3], T)
        g, hit = pointer(args[2], i * steps[2], T)[0], p[at]
        row = place(out, steps[5], apart)  # may be that of p
        for j in range(n):
            row[j] = g * p[j]
        parallel()
        if hit > _LARGE:
            _subtract_one(numba.carray(row, n), at)
        else:
            row[at] = g * (hit - 1)
        scatter(out, steps[5], n, row)
    free(copied)
    free(apart)
