"""Derivatives by numbers alone, each with a bound on its error that is measured and not guessed.

Where a function can be traced and is analytic, complex steps through NumPy give its derivative to rounding. Elsewhere
central differences are extrapolated to a step of zero (Ridders, 1982), from several first steps; the bound is how much
the extrapolation still moved, plus the rounding of the values over the smallest step. No gradient rule is used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import GradientError, PlaceholderError
from ..graph import Graph, trace
from ..nested import taken_apart
from ..nn.module import Module
from ..ops.core import as_array
from ..ops.create import tensor
from ..tensor import Op, Spec, Tensor
from . import complexes
from .analytic import evaluate, is_analytic

__all__ = ["Function", "Slope", "central", "one_sided"]

HALVINGS = 4
STARTS = (2e-2, 5e-4, 1e-5)  # first steps of the extrapolation, relative to the size of what is moved

Arrays = Sequence[np.ndarray]
Path = Callable[[float], list[np.ndarray]]  # outputs along a line through a point


@dataclass(frozen=True, slots=True)
class Slope:
    """A directional derivative: for each output its values, and how far they may be off."""

    values: list[np.ndarray]
    bounds: list[np.ndarray]
    method: str


def central(path: Path, size: float = 1.0, largest: float = 1.0) -> Slope:
    """The derivative of ``path(t)`` at 0 by extrapolated central differences, the best of several first steps.

    Parameters
    ----------
    path : callable
        Gives arrays for a number.
    size, largest : float
        Typical and largest magnitude of what moves: steps are relative to the one, their rounding to the other.

    Examples
    --------
    >>> import numpy as np
    >>> slope = central(lambda t: [np.exp(1 + t)])
    >>> bool(abs(slope.values[0] - np.e) <= slope.bounds[0] < 1e-8)
    True
    """
    sizes = {1.0} if 0.1 < size < 10 else {size, 1.0}  # of the arguments, and of the function's own curvature
    firsts = sorted(start * s for s in sizes for start in STARTS)
    tries = [_ridders(path, first, largest) for first in firsts]
    results = [reduce(_sharper, candidates) for candidates in zip(*tries, strict=True)]
    return Slope([v for v, _ in results], [b for _, b in results], "central differences")


def _sharper(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of two values with bounds the better known one.

    The other comes from larger steps. They are sharper, but may have gone across a kink, a pole, or several periods:
    what contradicts the small steps does not count.
    """
    (a, bound_a), (b, bound_b) = one, other
    better = ~np.isfinite(a) | ~np.isfinite(bound_a) | ((bound_b < bound_a) & (np.abs(a - b) <= bound_a + bound_b))
    return np.where(better, b, a), np.where(better, bound_b, bound_a)


def _ridders(path: Path, step: float, largest: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each output its derivative and a bound, from steps that are halved."""
    steps = [step / 2**k for k in range(HALVINGS)]
    sides = [(path(h), path(-h)) for h in steps]
    with np.errstate(all="ignore"):
        return [_extrapolated(steps, ahead, behind, largest) for ahead, behind in _by_output(sides)]


def _by_output(sides: list[tuple[list[np.ndarray], list[np.ndarray]]]) -> list[tuple[list[Any], list[Any]]]:
    count = len(sides[0][0])
    return [([a[k] for a, _ in sides], [b[k] for _, b in sides]) for k in range(count)]


def _extrapolated(
    steps: list[float], ahead: list[Any], behind: list[Any], largest: float
) -> tuple[np.ndarray, np.ndarray]:
    eps = np.finfo(ahead[0].dtype).eps
    wide = [(np.float64(a), np.float64(b)) for a, b in zip(ahead, behind, strict=True)]
    rows = [(a - b) / (2 * h) for h, (a, b) in zip(steps, wide, strict=True)]
    noise = np.max([np.abs(a) + np.abs(b) for a, b in wide], 0) * eps / steps[-1]
    best, error = np.asarray(rows[-1]), np.full(np.shape(rows[-1]), np.inf)
    for order in range(1, len(steps)):
        after = [b + (b - a) / (4.0**order - 1) for a, b in pairwise(rows)]
        for k, v in enumerate(after):
            moved = np.maximum(np.abs(v - rows[k + 1]), np.abs(v - rows[k]))
            better = moved < error
            best, error = np.where(better, v, best), np.where(better, moved, error)
        rows = after
    moved_off = np.abs(best).max(initial=0) * largest * np.finfo(np.float64).eps / steps[-1]  # x + h is rounded too
    return best, 4 * error + 8 * noise + 4 * moved_off


def one_sided(path: Path, size: float = 1.0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Slopes of ``path`` at 0 from the left and from the right, by extrapolated differences over small steps."""
    here = path(0.0)
    h = 1e-6 * size * (np.finfo(here[0].dtype).eps / np.finfo(np.float64).eps) ** 0.5
    sides = []
    with np.errstate(all="ignore"):
        for s in (-h, h):
            near, far = path(s), path(2 * s)
            parts = zip(here, near, far, strict=True)
            sides.append([np.asarray((4 * np.float64(n) - 3 * np.float64(o) - f) / (2 * s)) for o, n, f in parts])
    return sides[0], sides[1]


class Function:
    """A function of tensors and of the parameters that it uses, as a function of arrays.

    Attributes
    ----------
    arrays : list of np.ndarray
        The float arguments as float64, integers and booleans as they are, then the parameters as float64.
    names : list of str
    wrt : list of int
        Which of the arrays have derivatives.
    """

    def __init__(self, fn: Callable[..., Any], inputs: Sequence[Any], parameters: Any = ()) -> None:
        if not callable(fn):
            raise TypeError(f"check_grad: expected a function, got {type(fn).__name__}")
        self.fn = fn
        given = [as_array(x.data if isinstance(x, Tensor) else x) for x in inputs]
        if isinstance(parameters, Module):
            listed = list(parameters.named_parameters())
        else:
            listed = [(p.name or f"parameter{k}", p) for k, p in enumerate(parameters)]
        self.parameters = [p for _, p in listed]
        self.arrays = [_double(a) for a in [*given, *(p.data for p in self.parameters)]]
        own = [x.name if isinstance(x, Tensor) else None for x in inputs]
        self.names = [n or f"input {k}" for k, n in enumerate(own)] + [n for n, _ in listed]
        self.count = len(given)
        self.wrt = [k for k, a in enumerate(self.arrays) if a.dtype.kind == "f"]
        if not self.wrt:
            raise GradientError("check_grad: there is no float among the inputs, so nothing to differentiate by")
        self._traced: Any = None

    # Evaluation -------------------------------------------------------------------------------------------------------

    @contextmanager
    def at(self, arrays: Arrays) -> Iterator[list[Tensor]]:
        """Tensors of the arguments, while the parameters hold other arrays than their own."""
        before = [p.data for p in self.parameters]
        try:
            for p, a in zip(self.parameters, arrays[self.count :], strict=True):
                p.data = a
            yield [tensor(a) for a in arrays[: self.count]]
        finally:
            for p, a in zip(self.parameters, before, strict=True):
                p.data = a

    def values(self, arrays: Arrays) -> list[np.ndarray]:
        with self.at(arrays) as inputs:
            return [t.data for t in floats(self.fn(*inputs))]

    def uses(self, ops: Collection[Op]) -> bool:
        """Whether the function applies one of some operations."""
        with self.at(self.arrays) as inputs:
            return any(t.op in ops for t in Graph(floats(self.fn(*inputs))).nodes)

    def moved(self, k: int, direction: np.ndarray, arrays: Arrays | None = None) -> Path:
        """The outputs where array `k` moves along a direction."""
        arrays = self.arrays if arrays is None else arrays

        def path(t: float) -> list[np.ndarray]:
            return self.values([*arrays[:k], arrays[k] + t * direction, *arrays[k + 1 :]])

        return path

    # Derivatives ------------------------------------------------------------------------------------------------------

    @property
    def traced(self) -> Any:
        """``(graph, leaves)`` if the function can be traced and is analytic, else None."""
        if self._traced is None:
            self._traced = self._trace() or ()
        return self._traced or None

    def _trace(self) -> Any:
        specs = [Spec(a.shape, a.dtype) for a in self.arrays[: self.count]]
        try:
            with self.at(self.arrays):
                graph = trace(lambda *xs: floats(self.fn(*xs)), *specs)
        except PlaceholderError:
            return None
        leaves = [*graph.placeholders, *self.parameters]
        random = any("generator" in t.params for t in graph.nodes)
        known = not random and is_analytic(graph.nodes, leaves)
        return (graph, leaves) if known and self._is_the_same(graph, leaves) else None

    def _is_the_same(self, graph: Any, leaves: Sequence[Tensor]) -> bool:
        """Whether the formulas give what the function gives: otherwise it is the function that counts."""
        given = {t.serial: a + 0j if a.dtype.kind == "f" else a for t, a in zip(leaves, self.arrays, strict=True)}
        for mine, y in zip(evaluate(graph.nodes, given, graph.outputs), self.values(self.arrays), strict=True):
            scale = float(np.abs(y).max(initial=0))
            if not np.allclose(mine.real, y, rtol=0, atol=1e6 * float(np.finfo(y.dtype).eps) * scale):
                return False
        return True

    def slope(self, k: int, direction: np.ndarray) -> Slope:
        """The derivative of the outputs where array `k` moves along a direction."""
        if self.traced is None:
            return central(self.moved(k, direction), size_of(self.arrays[k]), largest_of(self.arrays[k]))
        graph, leaves = self.traced
        values = {t.serial: a for t, a in zip(leaves, self.arrays, strict=True)}
        values[leaves[k].serial] = complexes.moved(self.arrays[k], direction)
        slopes = [complexes.derivative(y) for y in evaluate(graph.nodes, values, graph.outputs)]
        return Slope(slopes, [np.zeros(y.shape) for y in slopes], "complex steps")


def _double(a: np.ndarray) -> np.ndarray:
    return a.astype(np.float64) if a.dtype.kind == "f" else a


def size_of(a: np.ndarray) -> float:
    """The typical magnitude of the entries of an array; 1 where all are zero."""
    finite = np.abs(a[np.isfinite(a) & (a != 0)])
    return float(np.median(finite)) if finite.size else 1.0


def largest_of(a: np.ndarray) -> float:
    return float(np.abs(a[np.isfinite(a)]).max(initial=0))


def floats(result: Any) -> list[Tensor]:
    """The float tensors among nested results."""
    found = [t for t in taken_apart(result, "check_grad")[0] if t.is_float]
    if not found:
        raise GradientError("check_grad: the function gives no float tensor, so there is nothing to differentiate")
    return found
