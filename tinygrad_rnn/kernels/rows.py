"""Functions of one row, for loops made by ``loops.row_loop``: arrays in, results written into the last array.

A row of length 1 stands for a number. The largest entry is subtracted before exponentials, so nothing overflows that
need not; a row of nothing but minus infinities has no such entry and gives what the formula gives.
"""

from __future__ import annotations

from .scalars import exp, log

__all__ = ["cross_entropy", "log_softmax", "logsumexp", "normalize", "softmax"]


def logsumexp(x, out):
    """Logarithm of the sum of exponentials."""
    peak = x[0]
    for i in range(x.size):
        if x[i] > peak or x[i] != x[i]:
            peak = x[i]
    if peak - peak == 0:
        total = exp(x[0] - peak)
        for i in range(1, x.size):
            total += exp(x[i] - peak)
        out[0] = peak + log(total)
    else:  # infinite, or NaN
        out[0] = peak


def softmax(x, out):
    """Exponentials divided by their sum."""
    peak = x[0]
    for i in range(x.size):
        if x[i] > peak or x[i] != x[i]:
            peak = x[i]
    for i in range(x.size):
        out[i] = exp(x[i] - peak)
    total = out[0]
    for i in range(1, x.size):
        total += out[i]
    for i in range(x.size):
        out[i] /= total


def log_softmax(x, out):
    """Each entry minus the log-sum-exp of the row."""
    peak = x[0]
    for i in range(x.size):
        if x[i] > peak or x[i] != x[i]:
            peak = x[i]
    total = exp(x[0] - peak)
    for i in range(1, x.size):
        total += exp(x[i] - peak)
    shift = log(total)
    for i in range(x.size):
        out[i] = x[i] - peak - shift


def cross_entropy(x, target, out):
    """Log-sum-exp of the row minus its entry at the index `target`, which the caller has checked."""
    logsumexp(x, out)
    out[0] -= x[target[0]]


def normalize(x, eps, out):
    """The row less its mean, divided by the root of its variance plus `eps`."""
    total = x[0]
    for i in range(1, x.size):
        total += x[i]
    mean = total / x.size
    squares = (x[0] - mean) * (x[0] - mean)
    for i in range(1, x.size):
        squares += (x[i] - mean) * (x[i] - mean)
    scale = 1 / (squares / x.size + eps[0]) ** 0.5
    for i in range(x.size):
        out[i] = (x[i] - mean) * scale
