"""Initial values of parameters, drawn from an explicit generator. Weights are ``(fan_in, fan_out)``: ``x @ W``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import brief, fail
from ..ops.create import parameter
from ..tensor import DEFAULT_FLOAT, Tensor

__all__ = ["generator_of", "kaiming", "normal", "orthogonal", "uniform", "xavier", "zeros"]

Shape = int | tuple[int, ...]
Seed = np.random.Generator | int | None


def generator_of(seed: Seed) -> np.random.Generator:
    """A generator as it is, or a new one from a seed; from fresh entropy for None."""
    if isinstance(seed, np.random.Generator):
        return seed
    numbers = seed if isinstance(seed, list | tuple) else [] if seed is None else [seed]
    if not all(isinstance(n, int | np.integer) and n >= 0 for n in numbers):
        raise fail(
            TypeError, "generator: not a source of random numbers", expected="np.random.Generator, a seed, or None",
            got=brief(seed), hint="a seed is an integer that is not negative",
        )  # fmt: skip
    return np.random.default_rng(seed)


def zeros(shape: Shape, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """A parameter of zeros.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.init.zeros(2).tolist()
    [0.0, 0.0]
    """
    return parameter(np.zeros(shape, dtype))


def uniform(shape: Shape, bound: float, generator: Seed = None, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """A parameter with values uniform between ``-bound`` and ``bound``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> bool((abs(tg.nn.init.uniform((3, 4), 0.5, generator=0)) <= 0.5).all())
    True
    """
    return parameter(generator_of(generator).uniform(-bound, bound, shape).astype(dtype))


def normal(shape: Shape, std: float = 1.0, generator: Seed = None, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """A parameter with values from a normal distribution of mean 0.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.init.normal((3, 4), generator=0).shape
    (3, 4)
    """
    return parameter((std * generator_of(generator).standard_normal(shape)).astype(dtype))


def xavier(shape: tuple[int, int], gain: float = 1.0, generator: Seed = None, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """Uniform with bound ``gain * sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio, 2010), for tanh units.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> bool((abs(tg.nn.init.xavier((2, 4), generator=0)) <= 1.0).all())
    True
    """
    fan_in, fan_out = _fans(shape)
    return uniform(shape, gain * np.sqrt(6 / (fan_in + fan_out)), generator, dtype)


def kaiming(shape: tuple[int, int], gain: float = 2**0.5, generator: Seed = None, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """Uniform with bound ``gain * sqrt(3 / fan_in)`` (He et al., 2015); the default gain is that of ReLU units.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> bool((abs(tg.nn.init.kaiming((6, 4), generator=0)) <= 1.0).all())
    True
    """
    return uniform(shape, gain * np.sqrt(3 / _fans(shape)[0]), generator, dtype)


def orthogonal(shape: tuple[int, int], gain: float = 1.0, generator: Seed = None, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """A matrix with orthonormal rows or columns, times `gain` (Saxe, McClelland and Ganguli, 2013).

    Uniformly distributed over such matrices: the signs of the QR factor are fixed by the diagonal of R.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> W = tg.nn.init.orthogonal((3, 3), generator=0)
    >>> bool((abs(W @ W.T - tg.eye(3)) < 1e-6).all())
    True
    """
    rows, columns = _fans(shape)
    square = generator_of(generator).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(square)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return parameter((gain * (q if rows >= columns else q.T)).astype(dtype))


def _fans(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"init: expected a matrix shape (fan_in, fan_out), got {shape}")
    return shape
