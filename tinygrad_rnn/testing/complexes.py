"""Formulas of functions of complex numbers whose imaginary part is a tiny step, by NumPy and SciPy alone.

A function that is analytic at a point needs no differences: the imaginary part of ``f(x + ih)`` over ``h`` is its
derivative to the last digits, however small the step (Squire and Trapp, 1998). Where NumPy's own function loses digits
for such numbers, the formula is the real function and its slope. The gradient checks and the fuzzer's oracle read them
here; nothing of the engine is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

__all__ = [
    "bell", "cross_entropy", "derivative", "erf", "erfc", "expm1", "gelu", "lifted", "log1p", "log_softmax",
    "logsumexp", "moved", "normalize", "power", "rsqrt", "sigmoid", "softmax", "softplus", "surplus",
]  # fmt: skip

STEP = 1e-20  # its square vanishes beside any number that matters


def moved(x: np.ndarray, direction: Any) -> np.ndarray:
    """A step from `x` along a direction, in the imaginary part.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.testing.complexes import derivative, moved
    >>> bool(derivative(np.exp(moved(np.array(1.0), 2.0))) == 2 * np.exp(1.0))
    True
    """
    return x + 1j * STEP * direction


def derivative(y: Any) -> np.ndarray:
    """How `y` changes by the step that its arguments took."""
    return np.asarray(np.imag(y)) / STEP


def lifted(f: Callable[..., Any], slope: Callable[..., Any]) -> Callable[..., Any]:
    """A real function for such numbers, by its slope; real numbers stay real.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.testing.complexes import lifted
    >>> square = lifted(np.square, lambda x: 2 * x)
    >>> square(np.array(3 + 0.25j)).item(), square(np.array(3.0)).item()
    ((9+1.5j), 9.0)
    """
    return lambda x: f(x.real) + 1j * (x.imag * slope(x.real)) if x.dtype.kind == "c" else f(x)


# Elementwise ----------------------------------------------------------------------------------------------------------


def bell(x: np.ndarray) -> np.ndarray:
    """The slope of ``erf``."""
    return 2 / np.sqrt(np.pi) * np.exp(-x * x)


log1p = lifted(np.log1p, lambda x: 1 / (1 + x))
expm1 = lifted(np.expm1, np.exp)
erf = lifted(special.erf, bell)
erfc = lifted(special.erfc, lambda x: -bell(x))
_normal = lifted(special.ndtr, lambda x: np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi))


def rsqrt(x: np.ndarray) -> np.ndarray:
    return 1 / np.sqrt(x)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * _normal(x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(np.where(x.real > 0, -x, x))  # never more than 1
    return np.where(x.real > 0, 1, small) / (1 + small)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.where(x.real > 0, x, 0) + log1p(np.exp(np.where(x.real > 0, -x, x)))


def power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """By its real part, which is exact for whole exponents, and the two slopes."""
    value = np.power(x.real, y.real)
    by_base = np.where(y.real == 0, 0, y.real * np.power(x.real, np.where(y.real == 0, 1, y.real) - 1))
    by_exponent = np.where(y.imag == 0, 0, value * np.log(np.where(x.real > 0, x.real, 1)))
    return value + 1j * (x.imag * by_base + y.imag * by_exponent)


# Rows -----------------------------------------------------------------------------------------------------------------


def _shifted(x: np.ndarray, axis: Any) -> tuple[np.ndarray, np.ndarray]:
    """`x` less its largest real part, with that part."""
    peak = x.real.max(axis, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0)
    return x - peak, peak


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(_shifted(x, axis)[0])
    return powers / powers.sum(axis, keepdims=True)


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    shifted, _ = _shifted(x, axis)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def logsumexp(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    shifted, peak = _shifted(x, axis)
    whole = np.log(np.exp(shifted).sum(axis, keepdims=True)) + peak
    return whole if keepdims else whole.squeeze(axis)


def normalize(x: np.ndarray, eps: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + eps)


def cross_entropy(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    return -np.take_along_axis(log_softmax(x, -1), target[..., None].astype(np.int64), -1)[..., 0]


def surplus(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    return softmax(x, -1) - (np.arange(x.shape[-1]) == target[..., None])
