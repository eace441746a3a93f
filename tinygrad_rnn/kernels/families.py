"""Whether kernels are compiled, and the families of those that a warmup makes ahead of time.

A family is entered by the module that has it: a function that gives, for a dtype, what is to be called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numba
import numpy as np

__all__ = ["Job", "compiles", "family", "jobs", "once"]

Job = Callable[[], Any]  # makes a kernel, which is kept

_of_no_dtype: list[Callable[[], Iterable[Job]]] = []
_by_dtype: list[Callable[[np.dtype], Iterable[Job]]] = []


def compiles() -> bool:
    """Whether Numba compiles: with NUMBA_DISABLE_JIT kernels are functions of Python, and have no addresses."""
    return not numba.config.DISABLE_JIT


def family(made: Callable[[np.dtype], Iterable[Job]]) -> Callable[[np.dtype], Iterable[Job]]:
    """Enter kernels that there are for each dtype of floats."""
    _by_dtype.append(made)
    return made


def once(made: Callable[[], Iterable[Job]]) -> Callable[[], Iterable[Job]]:
    """Enter kernels that depend on no dtype."""
    _of_no_dtype.append(made)
    return made


def jobs(dtypes: Iterable[np.dtype]) -> list[Job]:
    """What is to be called so that all kernels are there."""
    found = [job for made in _of_no_dtype for job in made()]
    return found + [job for d in dtypes for made in _by_dtype for job in made(d)]
