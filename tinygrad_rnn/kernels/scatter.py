"""Accumulation at indices. NumPy's ``add.at`` is right but slow for rows; here rows are added whole.

The caller has checked that every index lies within the first axis.
"""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba import types

from .cache import anchor, fingerprint, kept

__all__ = ["add_rows"]


def _add_rows(target, index, rows):
    for k in range(index.size):
        for j in range(target.shape[1]):
            target[index[k], j] += rows[k, j]


@cache
def add_rows(dtype: np.dtype) -> Any:
    """``add_rows(dtype)(target, index, rows)``: add ``rows[k]`` to ``target[index[k]]``, arrays in C order."""
    if numba.config.DISABLE_JIT:
        return _add_rows
    # One signature for each name: of two processes that keep different ones under one name, Numba mixes up the files.
    name = f"add_rows_{dtype.kind}{dtype.itemsize}_{fingerprint(_add_rows)}"
    code = _add_rows.__code__.replace(co_filename=anchor(), co_name=name, co_qualname=name)
    function = FunctionType(code, {"__name__": __name__, "range": range}, name)
    element = numba.from_dtype(dtype)
    given = types.Array(types.int64, 1, "C", readonly=True), types.Array(element, 2, "C", readonly=True)
    signature = types.void(element[:, ::1], *given)
    return kept(lambda on_disk: numba.njit(signature, cache=on_disk, error_model="numpy")(function))
