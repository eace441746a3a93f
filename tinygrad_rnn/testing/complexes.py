"""Recorded graphs evaluated with complex numbers, by formulas of NumPy and SciPy alone.

A function that is analytic at a point needs no differences: the imaginary part of ``f(x + ih)`` over ``h`` is its
derivative to the last digits, however small the step (Squire and Trapp, 1998). No gradient rule and no kernel is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from ..ops.core import CAST
from ..ops.elementwise import where
from ..ops.named import by_op, ops_named
from ..tensor import Op, Tensor

__all__ = ["evaluate", "is_analytic"]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(np.where(x.real > 0, -x, x))  # never more than 1
    return np.where(x.real > 0, 1, small) / (1 + small)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.where(x.real > 0, x, 0) + _log1p(np.exp(np.where(x.real > 0, -x, x)))


def _log1p(x: np.ndarray) -> np.ndarray:
    return np.log1p(x.real) + 1j * (x.imag / (1 + x.real))  # the imaginary part is a tiny step


def _expm1(x: np.ndarray) -> np.ndarray:
    return np.expm1(x.real) + 1j * (x.imag * np.exp(x.real))


def _erf(x: np.ndarray) -> np.ndarray:
    return special.erf(x.real) + 1j * (x.imag * 2 / np.sqrt(np.pi) * np.exp(-x.real * x.real))


def _erfc(x: np.ndarray) -> np.ndarray:
    return special.erfc(x.real) - 1j * _erf(x).imag


def _gelu(x: np.ndarray) -> np.ndarray:
    half = special.ndtr(x.real) + 1j * (x.imag * np.exp(-0.5 * x.real * x.real) / np.sqrt(2 * np.pi))
    return x * half


def _power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """By its real part, which is exact for whole exponents, and the two slopes."""
    value = np.power(x.real, y.real)
    by_base = np.where(y.real == 0, 0, y.real * np.power(x.real, np.where(y.real == 0, 1, y.real) - 1))
    by_exponent = np.where(y.imag == 0, 0, value * np.log(np.where(x.real > 0, x.real, 1)))
    return value + 1j * (x.imag * by_base + y.imag * by_exponent)


def _shifted(x: np.ndarray, axis: Any) -> tuple[np.ndarray, np.ndarray]:
    """`x` less its largest real part, with that part."""
    peak = x.real.max(axis, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0)
    return x - peak, peak


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(_shifted(x, axis)[0])
    return powers / powers.sum(axis, keepdims=True)


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    shifted, _ = _shifted(x, axis)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def _logsumexp(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    shifted, peak = _shifted(x, axis)
    whole = np.log(np.exp(shifted).sum(axis, keepdims=True)) + peak
    return whole if keepdims else whole.squeeze(axis)


def _normalize(x: np.ndarray, eps: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + eps)


def _cross_entropy(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    return -np.take_along_axis(_log_softmax(x, -1), target[..., None].astype(np.int64), -1)[..., 0]


def _surplus(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    return _softmax(x, -1) - (np.arange(x.shape[-1]) == target[..., None])


FORMULAS: dict[Op, Callable[..., Any]] = by_op({
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "power": _power,
    "negative": np.negative, "square": np.square, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "exp": np.exp,
    "expm1": _expm1, "log": np.log, "log1p": _log1p, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
    "sigmoid": _sigmoid, "softplus": _softplus, "gelu": _gelu, "erf": _erf, "erfc": _erfc, "softmax": _softmax,
    "log_softmax": _log_softmax, "logsumexp": _logsumexp, "normalize": _normalize, "cross_entropy": _cross_entropy,
    "surplus": _surplus, "where": np.where,
})  # fmt: skip
PLAIN = ops_named(  # linear in floats, or a product: the op's own NumPy function takes complex numbers as well
    "reshape", "transpose", "broadcast_to", "concatenate", "stack", "pad", "slice", "index", "assemble", "update",
    "sum", "mean", "cumsum", "matmul", "einsum", "detach",
)  # fmt: skip


def is_analytic(nodes: Sequence[Tensor], wrt: Sequence[Tensor]) -> bool:
    """Whether all that the nodes compute from `wrt` is analytic: no kinks, no steps, and nothing unknown."""
    active = {t.serial for t in wrt}
    for t in nodes:
        given = [i for i in t.inputs if i.serial in active and i.is_float]
        if not given:
            continue
        known = t.op in FORMULAS or t.op in PLAIN or (t.op is CAST and t.is_float)
        if not known or not t.is_float or (t.op is where.op and t.inputs[0].serial in active):
            return False
        active.add(t.serial)
    return True


def evaluate(
    nodes: Sequence[Tensor], values: Mapping[int, np.ndarray], outputs: Sequence[Tensor]
) -> list[np.ndarray]:
    """The outputs for complex `values` of leaves, by serial number; other leaves keep what they hold."""
    computed = {serial: np.asarray(value) for serial, value in values.items()}
    with np.errstate(all="ignore"):
        for t in nodes:
            if t.serial not in computed:
                computed[t.serial] = _value(t, [computed[i.serial] for i in t.inputs])
    return [computed[t.serial] for t in outputs]


def _value(t: Tensor, inputs: list[np.ndarray]) -> np.ndarray:
    if not t.inputs:
        return t.data
    if t.op is CAST:
        x = inputs[0]
        return x if t.is_float and x.dtype.kind in "fc" else x.astype(t.dtype)
    moving = any(a.dtype.kind == "c" for a in inputs)
    if moving and t.op in FORMULAS:
        return np.asarray(FORMULAS[t.op](*[_wide(a) for a in inputs], **t.params))
    assert t.op.run is not None
    return np.asarray(t.op.run(*([_wide(a) for a in inputs] if moving else inputs), **t.params))


def _wide(a: np.ndarray) -> np.ndarray:
    return a.astype(np.complex128) if a.dtype.kind in "fc" else a
