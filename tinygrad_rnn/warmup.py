"""Compiling all kernels ahead of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np

from .kernels import indexing, reductions, rows
from .kernels.gemm import gemm
from .kernels.machine import machine, profiler
from .kernels.scatter import loop as scatter_loop
from .ops import neural, reduce
from .ops.core import registry
from .optim.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from .tensor import leaf

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
    if numba.config.DISABLE_JIT:
        return 0
    jobs: list[Callable[..., Any]] = [machine, profiler, indexing.check_range]
    jobs += [lambda n=n: indexing.copy(n) for n in (1, 4, 8)]
    jobs += [job for d in chosen for job in _jobs(d)]
    for job in tqdm(jobs, desc="kernels", unit="", disable=not progress):
        job()
    return len(jobs)


def _jobs(dtype: np.dtype) -> Iterator[Callable[..., Any]]:
    """What has to be called for each kernel of a dtype."""
    for op in registry.values():
        if op.kernels is not None:
            yield lambda op=op: op.kernels[dtype]
            lines = op.vjp if type(op.vjp) is tuple else ()
            yield from (lambda op=op, i=i: op.kernels.rule(i, dtype) for i in range(len(lines)))
    for family in (neural.SOFTMAX_ROWS, neural.LOG_SOFTMAX_ROWS, neural.NORMALIZE_ROWS, neural.CROSS_ENTROPY_ROWS):
        yield lambda family=family: family[dtype]
    yield lambda: reduce.LOGSUMEXP_ROWS[dtype]
    yield lambda: reduce.CUMSUM_ROWS[dtype]
    yield lambda: reduce.NORM_ROWS[dtype]
    for kind in ("sum", "max", "min"):
        yield lambda kind=kind: reductions.reduce_last(kind, dtype)
        yield lambda kind=kind: reductions.reduce_first(kind, dtype)
    for loop in (indexing.gather_rows, indexing.scatter_add_rows, indexing.one_hot, indexing.check_finite):
        yield lambda loop=loop: loop(dtype)
    for loop in (rows.checked_cross_entropy, rows.cross_entropy_surplus):
        yield lambda loop=loop: loop(dtype)
    for other in map(np.dtype, (bool, np.int32, np.int64, np.float32, np.float64)):
        if other != dtype:
            yield lambda other=other: indexing.cast(other, dtype)
            yield lambda other=other: indexing.cast(dtype, other)
    yield lambda: scatter_loop(dtype)
    for accumulate in (False, True):
        yield lambda accumulate=accumulate: gemm(dtype, accumulate)
    yield from (lambda o=o: o.kernel(dtype) for o in _optimizers(dtype))


def _optimizers(dtype: np.dtype) -> list[Any]:
    p = [leaf(np.zeros(1, dtype), requires_grad=True)]
    plain = [make(p, 0.1) for make in (SGD, RMSprop, Adagrad, Adam, AdamW)]
    return [*plain, SGD(p, 0.1, momentum=0.9), SGD(p, 0.1, momentum=0.9, nesterov=True)]
