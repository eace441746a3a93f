"""Derivatives by numbers alone: central differences with Richardson extrapolation, and complex steps.

Nothing here knows a gradient rule. Every difference comes with a bound on its error, measured and not guessed: how much
the extrapolation still moved, plus the rounding of the summed terms divided by the smallest step. A check fails as
inconclusive where the bound is too wide to catch a rule that is off by a thousandth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygrad_rnn as tg

STEPS = 0.02 / 2.0 ** np.arange(4)
EPSILON = np.finfo(np.float64).eps
SHARPNESS = 1e-5  # bounds may be this wide, relative to the largest entry of the derivative
SLACK = 1e-10  # rounding that a rule's own float64 arithmetic may show, relative to the same

Arrays = Sequence[np.ndarray]


class Inconclusive(AssertionError):
    """The difference is too inaccurate to judge a rule by: the function is not smooth near the point."""


def slope(f: Callable[[float], Any]) -> tuple[float, float]:
    """Derivative at 0 of the sum of the terms ``f(t)``, and a bound on its error (Ridders, 1982)."""
    columns, noise = [], 0.0
    for h in STEPS:
        ahead, behind = np.asarray(f(h)), np.asarray(f(-h))
        columns.append((ahead - behind).sum() / (2 * h))
        noise = max(noise, (np.abs(ahead).sum() + np.abs(behind).sum()) * EPSILON / STEPS[-1])
    best, error, before = columns[-1], np.inf, np.array(columns)
    for order in range(1, len(STEPS)):
        after = before[1:] + (before[1:] - before[:-1]) / (4.0**order - 1)
        moved = np.maximum(np.abs(after - before[1:]), np.abs(after - before[:-1]))
        if moved.min() < error:
            best, error = after[moved.argmin()], moved.min()
        before = after
    return float(best), float(error + 8 * noise)


def gradient(terms: Callable[..., Any], arrays: Arrays, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the sum of ``terms(*arrays)`` by each entry of array `i`, and their bounds."""
    values, bounds = np.zeros(arrays[i].shape), np.zeros(arrays[i].shape)
    for place in np.ndindex(arrays[i].shape):

        def moved(t: float, place: Any = place) -> Any:
            array = arrays[i].copy()
            array[place] += t
            return terms(*arrays[:i], array, *arrays[i + 1 :])

        values[place], bounds[place] = slope(moved)
    return values, bounds


def complex_gradient(f: Callable[..., Any], arrays: Arrays, i: int, cotangent: np.ndarray) -> np.ndarray:
    """Gradient of ``(cotangent * f).sum()`` by array `i`, to rounding, for an analytic NumPy function `f`."""
    out = np.zeros(arrays[i].shape)
    for place in np.ndindex(arrays[i].shape):
        array = arrays[i].astype(np.complex128)
        array[place] += 1e-30j
        out[place] = (cotangent * f(*arrays[:i], array, *arrays[i + 1 :])).imag.sum() / 1e-30
    return out


def agree(found: Any, expected: np.ndarray, bound: np.ndarray, what: str) -> None:
    """Compare a derivative with the measured one."""
    found = np.asarray(found)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    assert np.isfinite(found).all(), f"{what}: not finite: {found}"
    scale = np.abs(expected).max(initial=0)
    if (bound > SHARPNESS * scale + 1e-9).any():
        raise Inconclusive(f"{what}: differences are known only to {bound.max():.1e}, at a scale of {scale:.1e}")
    off = np.abs(found - expected)
    assert (off <= bound + SLACK * (1 + scale)).all(), (
        f"{what}: off by {off.max():.3e} where {bound.max():.1e} is allowed"
    )


# Checks of functions of tensors ---------------------------------------------------------------------------------------


def flat(outputs: Any) -> list[tg.Tensor]:
    """The float tensors among one or several outputs."""
    listed = [outputs] if isinstance(outputs, tg.Tensor) else list(outputs)
    return [t for t in listed if t.is_float]


def _pairing(fn: Callable[..., Any], cotangents: list[np.ndarray]) -> Callable[..., Any]:
    """The terms of the inner product of cotangents with outputs, as a function of arrays."""

    def terms(*arrays: np.ndarray) -> np.ndarray:
        with tg.no_grad():
            outputs = flat(fn(*(tg.tensor(a) for a in arrays)))
        return np.concatenate([(c * y.numpy()).ravel() for c, y in zip(cotangents, outputs, strict=True)])

    return terms


def _weights(tensors: Sequence[tg.Tensor], rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.uniform(0.5, 1.5, t.shape) * rng.choice([-1.0, 1.0], t.shape) for t in tensors]


def _floats(arrays: Arrays) -> list[int]:
    return [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]


def check_vjp(fn: Callable[..., Any], arrays: Arrays, seed: int = 0) -> None:
    """Reverse mode against differences, for a random cotangent, recorded and unrecorded."""
    rng = np.random.default_rng(seed)
    inputs = [tg.tensor(a) for a in arrays]
    outputs = flat(fn(*inputs))
    cotangents = _weights(outputs, rng)
    wrt = [inputs[i] for i in _floats(arrays)]
    terms = _pairing(fn, cotangents)
    measured = [gradient(terms, arrays, i) for i in _floats(arrays)]
    for recorded in (False, True):
        found = tg.grad(outputs, wrt, cotangents, create_graph=recorded, allow_unused=True)
        for i, t, g, (expected, bound) in zip(_floats(arrays), wrt, found, measured, strict=True):
            g = tg.zeros_like(t) if g is None else g
            assert g.dtype == np.float64, f"gradient of input {i} is {g.dtype}"
            agree(g.numpy(), expected, bound, f"gradient of input {i}, {'recorded' if recorded else 'unrecorded'}")


def check_jvp(fn: Callable[..., Any], arrays: Arrays, seed: int = 0) -> None:
    """Forward mode against differences along a random direction."""
    rng = np.random.default_rng(seed)
    places = _floats(arrays)
    directions = _weights([tg.tensor(arrays[i]) for i in places], rng)

    def along(*floats: tg.Tensor) -> Any:
        given = list(map(tg.tensor, arrays))
        for i, t in zip(places, floats, strict=True):
            given[i] = t
        return flat(fn(*given))

    _, tangents = tg.jvp(along, [arrays[i] for i in places], directions)
    outputs = along(*(tg.tensor(arrays[i]) for i in places))
    for k, (y, tangent) in enumerate(zip(outputs, tangents, strict=True)):
        for place in np.ndindex(y.shape):

            def entry(t: float, k: int = k, place: Any = place) -> float:
                moved = [tg.tensor(arrays[i] + t * v) for i, v in zip(places, directions, strict=True)]
                return along(*moved)[k].numpy()[place]

            value, bound = slope(entry)
            agree(tangent.numpy()[place], np.array(value), np.array(bound), f"tangent of output {k} at {place}")


def check_second(fn: Callable[..., Any], arrays: Arrays, seed: int = 0) -> None:
    """The gradient of a gradient against differences of the unrecorded first gradient."""
    rng = np.random.default_rng(seed)
    places = _floats(arrays)
    inputs = [tg.tensor(a) for a in arrays]
    outputs = flat(fn(*inputs))
    cotangents = _weights(outputs, rng)
    wrt = [inputs[i] for i in places]
    directions = _weights(wrt, rng)

    def terms(*moved: np.ndarray) -> np.ndarray:
        given = [tg.tensor(a) for a in moved]
        first = tg.grad(flat(fn(*given)), [given[i] for i in places], cotangents, allow_unused=True)
        parts = [(v * g.numpy()).ravel() for v, g in zip(directions, first, strict=True) if g is not None]
        return np.concatenate([np.zeros(1), *parts])

    first = tg.grad(outputs, wrt, cotangents, create_graph=True, allow_unused=True)
    paired = [(g * v).sum() for g, v in zip(first, directions, strict=True) if g is not None]
    found = tg.grad(paired, wrt, [np.ones(())] * len(paired), allow_unused=True)
    for i, t, second in zip(places, wrt, found, strict=True):
        expected, bound = gradient(terms, arrays, i)
        agree(
            np.zeros(t.shape) if second is None else second.numpy(), expected, bound, f"second derivative by input {i}"
        )
