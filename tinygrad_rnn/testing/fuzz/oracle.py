"""What a program should give: values and derivatives of first and second order, by plain NumPy in float64.

One run with complex numbers gives all of it. The inputs are moved by 1e-20 times a direction along the imaginary axis,
and the imaginary parts of values and of the gradient are exact derivatives. A second run, in which every value and
cotangent is off by 1e-8 or so, shows how much rounding errors grow: tolerances are measured, not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..complexes import derivative, moved
from . import oracle_ops
from .oracle_ops import FLOAT32, Tape, Value
from .program import GraphProgram

__all__ = ["Measured", "Outcome", "directions_of", "evaluate"]

NOISE = 1e-8
FACTOR = 256.0  # what an engine may be off by, in units of its eps and the measured growth
SMALLER = 16.0  # the same in units of its eps and the largest value on the way, of which little may be left


@dataclass(frozen=True)
class Measured:
    """An expected array, its dtype in the engine, and how far from it a computed one may lie."""

    array: np.ndarray
    dtype: np.dtype
    tolerance: float

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.array).all()) and np.isfinite(self.tolerance)


@dataclass(frozen=True)
class Outcome:
    """What a program should give at some arrays.

    Attributes
    ----------
    values : list of Measured
        The outputs.
    gradient : list of Measured
        For each float input, of the sum of the weighted squares of the outputs.
    slopes : list of Measured
        Derivatives of the float outputs along the directions.
    products : list of Measured
        The derivative of the gradient along the directions.
    distance : float
        How near the program came to a point where a derivative jumps.
    largest : float
        The largest of all numbers and derivatives on the way.
    eps : float
        Of the widest rounding that an engine does on the way.
    """

    values: list[Measured]
    gradient: list[Measured]
    slopes: list[Measured]
    products: list[Measured]
    distance: float
    largest: float
    eps: float

    @property
    def finite(self) -> bool:
        return all(m.finite for m in [*self.values, *self.gradient, *self.slopes, *self.products])


def directions_of(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A direction for each float array, of numbers around one.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.testing.fuzz.oracle import directions_of
    >>> directions_of([np.zeros(2), np.zeros(1, int)])[0].round(2).tolist()
    [0.54, -0.42]
    """
    floats = [a for a in arrays if a.dtype.kind == "f"]
    return [np.cos(1.0 + k + np.arange(a.size)).reshape(a.shape).astype(a.dtype) for k, a in enumerate(floats)]


def evaluate(program: GraphProgram | Callable[..., Any], arrays: Sequence[np.ndarray], draws: int = 1) -> Outcome:
    """Values, gradient, slopes and second-order products of a program.

    Parameters
    ----------
    program : GraphProgram
    arrays : sequence of arrays
        Floats and integers, for its inputs.
    draws : int
        How often to measure how much rounding errors grow.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.testing.fuzz.program import Input, GraphProgram, GraphStep
    >>> from tinygrad_rnn.testing.fuzz.oracle import evaluate
    >>> double = GraphProgram((Input(()),), (GraphStep("scale", (0,), {"factor": 2.0}),), (1,))
    >>> outcome = evaluate(double, [np.array(3.0)])
    >>> outcome.values[0].array.tolist(), outcome.gradient[0].array.tolist()  # of 2 x, and of (2 x)^2
    (6.0, 24.0)
    """
    with np.errstate(all="ignore"):
        exact, *noisy = (_run(program, arrays, Tape(NOISE if k else 0.0, k)) for k in range(draws + 1))
    eps = max(np.finfo(d).eps for d in exact.floats) if exact.floats else 0.0
    parts = [
        [_measured(a, b, d, eps, largest) for a, *b, d in zip(own, *others, dtypes, strict=True)]
        for own, *others, dtypes, largest in zip(
            exact.parts, *[n.parts for n in noisy], exact.dtypes, exact.largest, strict=True
        )
    ]
    values, gradient, slopes, products = parts
    return Outcome(values, gradient, slopes, products, exact.distance, float(max(exact.largest)), float(eps))


def _measured(exact: np.ndarray, noisy: list[np.ndarray], dtype: np.dtype, eps: float, largest: float) -> Measured:
    if dtype.kind != "f":
        return Measured(exact, dtype, 0.0)
    with np.errstate(all="ignore"):
        growth = max(np.abs(n - exact).max(initial=0) for n in noisy) / NOISE
        scale = np.abs(exact).max(initial=0)
        tolerance = eps * (FACTOR * (growth + scale) + SMALLER * largest)
    return Measured(exact, dtype, float(tolerance + np.finfo(dtype).tiny))


@dataclass(frozen=True)
class _Evaluated:
    parts: list[list[np.ndarray]]
    dtypes: list[list[np.dtype]]
    floats: set[np.dtype]
    distance: float
    largest: list[float]


def _run(program: GraphProgram | Callable[..., Any], arrays: Sequence[np.ndarray], tape: Tape) -> _Evaluated:
    directions = iter(directions_of(arrays))
    inputs = [tape.value(_started(a, directions), a.dtype) for a in arrays]
    outputs = _outputs(program, inputs)
    wrt = [x for x in inputs if x.is_float]
    weighted = [(y, 2 * (1 + 0.1 * k) * y.array) for k, y in enumerate(outputs) if y.is_float]
    gradient = oracle_ops.gradient([y for y, _ in weighted], [g for _, g in weighted], wrt)
    values = [np.real(y.array) if y.is_float else y.array for y in outputs]
    slopes = [derivative(y.array) for y, _ in weighted]
    parts = [values, [np.real(g) for g in gradient], slopes, [derivative(g) for g in gradient]]
    own = [x.dtype for x in wrt]
    dtypes = [[y.dtype for y in outputs], own, [y.dtype for y, _ in weighted], own]
    floats = {FLOAT32} if any(v.dtype == FLOAT32 for v in tape.values) else {v.dtype for v in tape.values if v.is_float}
    forward = _sizes([v.array for v in tape.values if v.is_float])
    backward = _sizes([np.asarray(g) for g in tape.cotangents.values()])
    return _Evaluated(parts, dtypes, floats, tape.distance, [forward[0], backward[0], forward[1], backward[1]])


def _sizes(arrays: list[np.ndarray]) -> tuple[float, float]:
    """The largest of all numbers, and the largest derivative among their imaginary parts."""
    whole = np.concatenate([a.reshape(-1) for a in arrays]) if arrays else np.zeros(0)
    return np.abs(whole.real).max(initial=0), np.abs(derivative(whole)).max(initial=0)


def _outputs(program: GraphProgram | Callable[..., Any], inputs: list[Value]) -> list[Value]:
    if not isinstance(program, GraphProgram):
        return list(program(*inputs))
    values = program.values(*inputs, form="oracle", module=oracle_ops)
    return [values[k] for k in program.outputs]


def _started(array: np.ndarray, directions: Any) -> np.ndarray:
    return moved(array, next(directions)) if array.dtype.kind == "f" else array
