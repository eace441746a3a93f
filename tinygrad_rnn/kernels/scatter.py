"""Accumulation at indices. NumPy's ``add.at`` is right but slow for rows; here rows are added whole.

The caller has checked that every index lies within the first axis.
"""

from __future__ import annotations

from functools import cache, partial
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba import types

from .cache import anchor, fingerprint, kept
from .compensated import FEW
from .families import Job, compiles, family

__all__ = ["add_rows"]


def add_rows(target: np.ndarray, index: np.ndarray, rows: np.ndarray) -> None:
    """Add ``rows[k]`` to ``target[index[k]]``, arrays of one dtype in C order; floats add up in float64."""
    order = np.argsort(index) if index.size > FEW else np.arange(index.size)
    loop(target.dtype)(target, index, order, rows, np.empty(target.shape[1], _wide(target.dtype)))


def _wide(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float64) if dtype.kind == "f" else dtype


def _add_rows(target, index, order, rows, total):
    first = 0
    while first < order.size:
        place, last = index[order[first]], first + 1
        while last < order.size and index[order[last]] == place:
            last += 1
        if last - first <= FEW:
            for k in range(first, last):
                for j in range(total.size):
                    target[place, j] += rows[order[k], j]
        else:
            for j in range(total.size):
                total[j] = target[place, j]
            for k in range(first, last):
                for j in range(total.size):
                    total[j] += rows[order[k], j]
            for j in range(total.size):
                target[place, j] = total[j]
        first = last


@cache
def loop(dtype: np.dtype) -> Any:
    """``loop(dtype)(target, index, order, rows, total)``: what :func:`add_rows` does, in an order by place."""
    if not compiles():
        return _add_rows
    # One signature for each name: of two processes that keep different ones under one name, Numba mixes up the files.
    name = f"add_rows_{dtype.kind}{dtype.itemsize}_{fingerprint(_add_rows)}"
    code = _add_rows.__code__.replace(co_filename=anchor(), co_name=name, co_qualname=name)
    function = FunctionType(code, {"__name__": __name__, "range": range, "FEW": FEW}, name)
    element = numba.from_dtype(dtype)
    given = [types.Array(kind, n, "C", readonly=True) for kind, n in ((types.int64, 1), (types.int64, 1), (element, 2))]
    signature = types.void(element[:, ::1], *given, numba.from_dtype(_wide(dtype))[::1])
    return kept(lambda on_disk: numba.njit(signature, cache=on_disk, error_model="numpy")(function))


@family
def _for_warmup(dtype: np.dtype) -> list[Job]:
    return [partial(loop, dtype)]
