"""Loops that are called by their address alone, with the signature of NumPy's ufunc loops.

    void loop(char **args, intp *dims, intp *steps, void *data)

`args` are addresses, `dims` sizes, `steps` strides in bytes, in the order of a generalised ufunc's signature: for
``(m,k),(k,n)->(m,n)`` the sizes are those of the outer loop and then m, k, n; the strides are the outer ones, one for
each operand, and then those of the operands' own axes. `data` is the program's environment, an array of int64: what a
loop found wrong, and the addresses of the BLAS routines that it may call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import get_cython_function_address

from .cache import anchor, fingerprint, global_names, kept
from .loops import SIGNATURE, compiled, pointer

__all__ = ["DGEMM", "ENV_SIZE", "FAULT", "LIMIT", "POSITION", "SGEMM", "VALUE", "Loop", "environment", "native"]

# Places in the environment.
FAULT = 0  # not zero after an index out of range, or another fault
POSITION = 1  # which index it was, counted along the flattened index array
VALUE = 2  # its value
LIMIT = 3  # the size of the axis
SGEMM = 4  # addresses of the BLAS routines
DGEMM = 5
ENV_SIZE = 8


@cache
def _blas(name: str) -> int:
    return get_cython_function_address("scipy.linalg.cython_blas", name)


def environment() -> np.ndarray:
    """A fresh environment, for one run of a program at a time."""
    env = np.zeros(ENV_SIZE, np.int64)
    env[SGEMM], env[DGEMM] = _blas("sgemm"), _blas("dgemm")
    return env


class Loop:
    """A compiled loop, which lives as long as the process."""

    def __init__(self, name: str, loop: Any) -> None:
        self.name, self._loop, self.address = name, loop, loop.address

    def __repr__(self) -> str:
        return f"<loop {self.name}>"


def native(name: str, function: Callable[..., Any], **dtypes: Any) -> Loop:
    """Compile ``function(args, dims, steps, data)``, in which each keyword is a global name for an element type.

    Names of other functions in its module are compiled with it.
    """
    letters = "".join(f"{np.dtype(d).kind}{np.dtype(d).itemsize}" for d in dtypes.values())
    kinds = {k: types.uint8 if np.dtype(d).kind == "b" else numba.from_dtype(np.dtype(d)) for k, d in dtypes.items()}
    called = f"{name}_{letters}_{fingerprint(function)}"
    names = global_names(function.__code__) & function.__globals__.keys()
    scope: dict[str, Any] = {"__name__": __name__, "__builtins__": __builtins__}
    scope |= {n: compiled(function.__globals__[n]) for n in names} | {"pointer": pointer} | kinds
    code = function.__code__.replace(co_filename=anchor(), co_name=called, co_qualname=called)
    made = FunctionType(code, scope, called)
    return Loop(called, kept(lambda on_disk: numba.cfunc(SIGNATURE, cache=on_disk, error_model="numpy")(made)))
