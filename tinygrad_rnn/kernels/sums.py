"""Sums of arrays over any axes, for eager operations, with errors that do not grow with the number of terms.

NumPy adds up pairwise along the axis that lies densest and term by term along all others. The loops of programs
(``reductions.py``) do better along every axis; here they are ufuncs.
"""

from __future__ import annotations

from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from .families import compiles
from .reductions import reduce_first, reduce_last

__all__ = ["add_up"]

_ufuncs = import_module("numba.np.ufunc._internal")
_reduce: Any = np.add.reduce  # whose type does not know of tuples
_FEW = 16  # terms that are right enough in any order
_PAIRWISE = 1024  # terms that NumPy adds up well enough when it adds up all of an array


def add_up(x: np.ndarray, axes: tuple[int, ...], keepdims: bool = False) -> Any:
    """Sum over `axes`, sorted and not negative; floats keep their dtype, as in NumPy. Overflow may warn."""
    shape, count = x.shape, 1
    for k in axes:
        count *= shape[k]
    ordered, whole = x.flags.c_contiguous, x.ndim == len(axes)
    if count <= _FEW or x.dtype.kind != "f" or x.size <= (_PAIRWISE if whole and ordered else 0):
        return _reduce(x, axes, keepdims=keepdims)
    if not compiles():
        return _reduce(x, axes, np.longdouble, keepdims=keepdims).astype(x.dtype)
    if axes[-1] - axes[0] < len(axes) and ordered:  # one run of axes, as mostly
        before, behind = shape[: axes[0]], shape[axes[-1] + 1 :]
        total = _over_run(x, before, count, behind)
        if len(behind) > 1:
            total = total.reshape(before + behind)
    elif x.flags.f_contiguous:
        total = np.transpose(add_up(x.T, tuple([x.ndim - 1 - k for k in reversed(axes)])))
    else:
        total = _over_axes(x, axes)
    return np.reshape(total, [1 if k in axes else n for k, n in enumerate(shape)]) if keepdims else total


def _over_run(x: np.ndarray, before: tuple[int, ...], count: int, behind: tuple[int, ...]) -> Any:
    """Sum over neighbouring axes with `count` entries together; what is behind them becomes one axis."""
    rows, columns = _UFUNCS[x.dtype]
    if not behind:
        return rows(x.reshape(*before, count))
    return columns(x.reshape(*before, count, prod(behind)))  # a copy only where what is behind has gaps


def _over_axes(x: np.ndarray, axes: tuple[int, ...]) -> Any:
    """One axis after the other, the densest first; neighbours that lie like one axis are one."""
    order = sorted(range(x.ndim), key=lambda k: -abs(x.strides[k]))
    dense = x.transpose(order)
    summed = [k in axes for k in order]
    while True in summed:
        k = len(summed) - 1 - summed[::-1].index(True)
        while k and summed[k - 1] and dense.strides[k - 1] == dense.strides[k] * dense.shape[k]:
            shape = (*dense.shape[: k - 1], dense.shape[k - 1] * dense.shape[k], *dense.shape[k + 1 :])
            dense, summed, k = dense.reshape(shape), summed[: k - 1] + summed[k:], k - 1
        before, behind = dense.shape[:k], dense.shape[k + 1 :]
        dense = np.reshape(_over_run(dense, before, dense.shape[k], behind), (*before, *behind))
        summed.pop(k)
    kept = [k for k in order if k not in axes]
    return np.transpose(dense, [kept.index(k) for k in sorted(kept)])


class _Ufuncs(dict):
    """For each dtype the sums of rows and those of columns, made when they are first asked for."""

    def __missing__(self, dtype: np.dtype) -> Any:
        self[dtype] = (
            _ufunc("sums_of_rows", reduce_last("sum", dtype), "(n)->()", dtype),
            _ufunc("sums_of_columns", reduce_first("sum", dtype), "(m,n)->(n)", dtype),
        )
        return self[dtype]


_UFUNCS = _Ufuncs()


def _ufunc(name: str, loop: Any, signature: str, dtype: np.dtype) -> Any:
    return _ufuncs.fromfunc(name, name, [loop.address], [[dtype.num] * 2], 1, 1, [None], loop, 0, signature)
