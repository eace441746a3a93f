"""Accumulation at indices. NumPy's ``add.at`` is right but slow for rows; here rows are added whole.

The caller has checked that every index lies within the first axis.
"""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any

import numba

from .cache import anchor, fingerprint

__all__ = ["add_rows"]


def _add_rows(target, index, rows):
    for k in range(index.size):
        for j in range(target.shape[1]):
            target[index[k], j] += rows[k, j]


@cache
def add_rows() -> Any:
    """``add_rows()(target, index, rows)``: add ``rows[k]`` to ``target[index[k]]``, for C-contiguous 2-D arrays."""
    if numba.config.DISABLE_JIT:
        return _add_rows
    name = f"add_rows_{fingerprint(_add_rows)}"
    code = _add_rows.__code__.replace(co_filename=anchor(), co_name=name, co_qualname=name)
    function = FunctionType(code, {"__name__": __name__, "range": range}, name)
    return numba.njit(cache=True, error_model="numpy")(function)
