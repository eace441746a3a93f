"""Gradient clipping, the first remedy against exploding gradients (Pascanu, Mikolov and Bengio, 2013)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..effects import Check, Effects, NotFinite
from ..errors import GradientError, fail
from ..nn.module import Module
from ..ops.elementwise import clip, sqrt, square, where
from ..ops.reduce import norm
from ..ops.shape import stack
from ..scope import current
from ..settings import check_number
from ..tensor import GRADIENT, Tensor, describe, leaf
from .optimizers import parameters_of

__all__ = ["clip_grad_norm", "clip_grad_value"]


def clip_grad_norm(parameters: Module | Iterable[Tensor], max_norm: float) -> float | Tensor:
    """Scale all gradients by one factor so that their joint Euclidean norm is at most `max_norm`.

    Parameters
    ----------
    parameters : Module or iterable of Tensor
        Those without a gradient are passed over.
    max_norm : float

    Returns
    -------
    float
        The norm before; a tensor while a function is traced.

    Raises
    ------
    GradientError
        If the norm is NaN or infinite: it names the first parameter to blame, and no gradient is changed.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([3.0, 4.0])
    >>> (0.5 * w * w).sum().backward()
    >>> tg.optim.clip_grad_norm([w], 1.0)
    5.0
    >>> [round(g, 4) for g in w.grad.tolist()]
    [0.6, 0.8]
    """
    check_number("clip_grad_norm: max_norm", max_norm, above=0, finite=False)
    effects = current().tracing
    given = _given(parameters)
    if effects is not None:
        return _traced_clip(given, max_norm, effects)
    _check_finite("clip_grad_norm", given)
    norms = [norm(_grad(p).astype(np.float64)).item() for p in given]
    for p, length in zip(given, norms, strict=True):
        if length == math.inf:
            raise _not_finite("clip_grad_norm", p, "a norm beyond the largest number")
    peak = max(norms, default=0.0)
    whole = math.hypot(*(length / peak for length in norms)) if peak else 0.0
    total = peak * whole
    if total > max_norm:
        factor = max_norm / peak / whole  # also where the total would be infinite
        for p in given:
            g = _grad(p)
            p.grad = leaf(g * g.dtype.type(factor), GRADIENT)
    return total


def clip_grad_value(parameters: Module | Iterable[Tensor], limit: float) -> None:
    """Limit every entry of the gradients to the range from ``-limit`` to ``limit``.

    Raises
    ------
    GradientError
        If an entry is NaN or infinite: it names the parameter, and no gradient is changed.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([3.0, 0.1])
    >>> (0.5 * w * w).sum().backward()
    >>> tg.optim.clip_grad_value([w], 1.0)
    >>> [round(g, 4) for g in w.grad.tolist()]
    [1.0, 0.1]
    """
    check_number("clip_grad_value: limit", limit, above=0, finite=False)
    effects = current().tracing
    given = _given(parameters)
    if effects is None:
        _check_finite("clip_grad_value", given)
    for p in given:
        if effects is None:
            p.grad = leaf(np.clip(_grad(p), -limit, limit), GRADIENT)
        elif p.grad is not None:
            effects.note(Check(p.grad, _blame("clip_grad_value", [p])))
            p.grad = clip(p.grad, -limit, limit)


def _given(parameters: Module | Iterable[Tensor]) -> list[Tensor]:
    """Parameters that have a gradient."""
    return [p for p in parameters_of(parameters) if p.grad is not None]


def _traced_clip(given: list[Tensor], max_norm: float, effects: Effects) -> Tensor:
    """The same as recorded operations; whether the norms are finite is checked when they are known."""
    if not given:
        return leaf(np.zeros((), np.float64))
    norms = stack([norm(p.grad) for p in given])
    effects.note(Check(norms, _blame("clip_grad_norm", given)))
    peak = norms.max()
    unit = where(peak > 0, peak, 1.0)  # so that squares neither overflow nor vanish
    whole = sqrt(square(norms / unit).sum())
    total = peak * whole
    factor = where(total > max_norm, max_norm / unit / whole, 1.0)
    for p in given:
        p.grad = p.grad * factor.astype(p.dtype)
    return total


def _grad(p: Tensor) -> np.ndarray:
    assert p.grad is not None
    return p.grad.data


def _check_finite(name: str, parameters: list[Tensor]) -> None:
    for p in parameters:
        g = _grad(p)
        wrong = ~np.isfinite(g)
        if wrong.any():
            found = "NaN" if np.isnan(g).any() else "infinity"
            raise _not_finite(name, p, f"{found} in {int(wrong.sum())} of {g.size} entries")


def _blame(name: str, parameters: list[Tensor]) -> NotFinite:
    """For one parameter every position is that of an entry, for several that of a norm."""
    return NotFinite(tuple([str(_not_finite(name, p, "NaN or infinity")) for p in parameters]))


def _not_finite(name: str, p: Tensor, found: str) -> Exception:
    return fail(
        GradientError, f"{name}: the gradient of {describe(p)} is not finite", expected="finite values",
        got=f"{found}; no gradient was changed",
        hint="run the step inside tg.detect_anomaly() to find the operation, or lower the learning rate",
    )  # fmt: skip
