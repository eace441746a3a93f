"""Compiling all kernels ahead of time, which modules have entered in ``kernels/families.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .kernels.families import compiles, jobs

__all__ = ["warmup"]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def warmup(dtypes: Any = FLOATS, *, progress: bool = True) -> int:
    """Compile all kernels for the given dtypes; on later calls, and in later processes, they are loaded from disk.

    Without it each kernel is compiled when it is first needed, which takes a fraction of a second for most of them.

    Parameters
    ----------
    dtypes : sequence of dtype
        float32 and float64 by default.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    int
        How many kernels there are.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.warmup(["float32"], progress=False) > 100
    True
    """
    from tqdm import tqdm  # here, as importing it takes time

    chosen = [np.dtype(d) for d in dtypes]
    for d in chosen:
        if d not in FLOATS:
            raise ValueError(f"warmup: expected float32 or float64, got {d}")
    if not compiles():
        return 0
    due = jobs(chosen)
    for job in tqdm(due, desc="kernels", unit="", disable=not progress):
        job()
    return len(due)
