"""``check_grad``: prove the gradients of a function at a point, or say what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..grad.forward import jvp
from ..grad.reverse import grad
from ..graph import Graph
from ..ops.core import apply
from ..ops.create import tensor
from ..tensor import Tensor
from . import complexes
from .analytic import evaluate, is_analytic
from .domains import FROM_RESULT
from .numeric import Function, Slope, central, floats, largest_of, one_sided, size_of
from .report import ArrayEntry, Culprit, GradientMismatch, InconclusiveError, KinkError

__all__ = ["check_grad"]

MODES = ("vjp", "jvp", "hvp")
SHARP = 1e-5  # a derivative must be known this well, relative to its terms, to judge a rule that is off by 0.1 %
EPS = float(np.finfo(np.float64).eps)
LEAST = float(np.finfo(np.float64).tiny)  # smaller numbers have fewer digits
MOST_ENTRIES = 256  # that are looked at one by one
MOST_ALIKE = 20  # operations of one kind and shape that are looked at to find the wrong one
SAFETY = 1024  # times the rounding that was measured, once and of the engine's derivative alone


def check_grad(
    fn: Callable[..., Any],
    *inputs: Any,
    order: int = 2,
    modes: Sequence[str] = MODES,
    parameters: Any = (),
    seed: int = 0,
    kinks: str = "raise",
) -> None:
    """Compare the derivatives of a function at a point with what numbers alone say.

    Everything is computed in float64. Where the function is analytic the derivative is taken by a complex step through
    NumPy formulas, exact to rounding; else by extrapolated central differences with a measured error. One random,
    non-uniform projection is compared first, for each argument; if it differs, every entry is, so that the error can
    say which one is wrong, and every operation on its own, to say where.

    Parameters
    ----------
    fn : callable
        Takes tensors; gives a tensor, or nested tuples, lists and dicts of tensors. Float results are checked.
    *inputs : array_like
        Where to check: floats of any dtype, and integers and booleans, which are passed on.
    order : 1 or 2
        Second derivatives are checked too by default.
    modes : sequence of {"vjp", "jvp", "hvp"}
        Reverse mode; forward mode; products of the Hessian with a vector, reverse over reverse and forward over
        reverse.
    parameters : Module or sequence of tensors
        What else to differentiate by.
    seed : int
        Of the projections.
    kinks : "raise" or "skip"
        What to do where the slopes from the left and from the right differ, so that there is no derivative.

    Raises
    ------
    GradientMismatch
        Names check, op, argument, index, time step, line, analytic and numeric value, relative error and seed.
    KinkError
        If the function has a kink there.
    InconclusiveError
        If the derivative is not known well enough to judge: the function is not smooth, or not finite.
    GradientError
        If there is nothing to differentiate.

    Notes
    -----
    How far two derivatives may be apart is measured: the error of the differences by how much the extrapolation still
    moves, and rounding by what the same derivative changes when it is computed in float32, scaled to float64. Of
    functions that apply ``tanh`` or ``sigmoid``, whose slopes are computed from their results, derivatives are not
    known better than the function itself: where they saturate, to the last digits of 1.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.testing.check_grad(lambda x, w: tg.tanh(x @ w), np.ones((2, 3)), np.ones((3, 2)))
    >>> wrong = tg.elementwise(lambda x: x * x, vjp=lambda g, y, x: g * 2.002 * x, name="wrong_square")
    >>> try:
    ...     tg.testing.check_grad(wrong, [1.0, 3.0])
    ... except tg.testing.GradientMismatch as error:
    ...     print(error.check, "of", error.place, "by", error.op)
    vjp of input 0[1] by wrong_square
    """
    unknown = [m for m in modes if m not in MODES]
    if unknown:
        raise ValueError(f"check_grad: modes are {', '.join(MODES)}; got {unknown[0]!r}")
    if order not in (1, 2):
        raise ValueError(f"check_grad: order must be 1 or 2, got {order!r}")
    if kinks not in ("raise", "skip"):
        raise ValueError(f"check_grad: kinks must be 'raise' or 'skip', got {kinks!r}")
    check = _Check(Function(fn, inputs, parameters), seed)
    try:
        if "vjp" in modes:
            check.vjp()
        if "jvp" in modes:
            check.jvp()
        if "hvp" in modes and order == 2:
            check.hvp()
    except KinkError:
        if kinks == "raise":
            raise


def nonuniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A random direction without small entries, of both signs."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


@dataclass
class Found:
    """A derivative of the engine's, and how much rounding it may show."""

    values: list[np.ndarray]
    rounding: list[float]


class _Check:
    """The checks of one function at one point."""

    def __init__(self, function: Function, seed: int, alone: bool = False) -> None:
        self.f, self.seed, self.alone = function, seed, alone  # alone: the check of a single operation
        rng = np.random.default_rng(seed)
        outputs = function.values(function.arrays)
        if not all(np.isfinite(y).all() for y in outputs):
            raise InconclusiveError("check_grad: the function is not finite here, so it has no derivative to compare")
        self.cotangents = [nonuniform(rng, y.shape) for y in outputs]
        self.directions = {k: nonuniform(rng, function.arrays[k].shape) for k in function.wrt}
        largest = max([float(np.abs(y).max(initial=0)) for y in outputs])
        self.natural = largest / max([size_of(function.arrays[k]) for k in function.wrt]) or 1e-300
        self.eps = max([EPS, *(float(np.finfo(y.dtype).eps) for y in outputs)])
        self.lost = self.natural if function.uses(FROM_RESULT) else 0.0  # the size whose last digits are all there is

    # What the engine says ---------------------------------------------------------------------------------------------

    def gradients(self, arrays: Sequence[np.ndarray], recorded: bool = False) -> list[np.ndarray]:
        """The gradient of the outputs, weighted by the cotangents, by each float array."""
        with self.f.at(arrays) as inputs:
            found, wrt = self._first(inputs, recorded)
            return [_dense(g, t) for g, t in zip(found, wrt, strict=True)]

    def _first(self, inputs: list[Tensor], recorded: bool = True) -> tuple[list[Any], list[Tensor]]:
        outputs = floats(self.f.fn(*inputs))
        wrt = self._wrt(inputs)
        weights = [tensor(c.astype(y.dtype)) for c, y in zip(self.cotangents, outputs, strict=True)]
        return grad(outputs, wrt, weights, create_graph=recorded, allow_unused=True), wrt

    def _wrt(self, inputs: list[Tensor]) -> list[Tensor]:
        given = [*inputs, *self.f.parameters]
        return [given[k] for k in self.f.wrt]

    def rounded(self, compute: Callable[[Sequence[np.ndarray]], list[np.ndarray]]) -> Found:
        """A derivative, with its rounding as measured by computing it in float32 too."""
        values = compute(self.f.arrays)
        singles = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in self.f.arrays]
        with np.errstate(all="ignore"):
            coarse = compute(singles)
            ratio = self.eps / float(np.finfo(np.float32).eps)
            off = [float(np.abs(c - v).max(initial=0)) * ratio for c, v in zip(coarse, values, strict=True)]
        return Found(values, [o if np.isfinite(o) else np.inf for o in off])

    # Comparison -------------------------------------------------------------------------------------------------------

    def judge(self, found: float, numeric: float, bound: float, scale: float, rounding: float) -> bool:
        """Whether two numbers agree; inconclusive where the bound is too wide to tell.

        Where a derivative is zero, the size that it might have is that of the function over that of its arguments.
        """
        scale = max(scale, 1e-4 * self.natural)
        sharp = max(SHARP, 2e4 * self.eps)  # what computes in float32 is known less well
        allowed = bound + min(SAFETY * (rounding + self.eps * max(scale, self.lost)), sharp * scale)
        if not np.isfinite(numeric) or bound > sharp * scale:
            raise InconclusiveError(f"differences are known only to {bound:.1e}, at a scale of {scale:.1e}")
        return bool(abs(found - numeric) <= allowed + LEAST)

    # The checks -------------------------------------------------------------------------------------------------------

    def vjp(self) -> None:
        """Reverse mode, as arrays and as a recorded graph: these are two ways of running the same rules."""
        found = self.rounded(self.gradients)
        recorded = self.gradients(self.f.arrays, recorded=True)
        for n, k in enumerate(self.f.wrt):
            if not self.f.arrays[k].size:
                continue
            direction, rounding = self.directions[k], found.rounding[n] * self.f.arrays[k].size ** 0.5
            numeric, bound, scale = self.paired(self.f.slope(k, direction))
            for what, g in (("vjp", found.values[n]), ("vjp (recorded)", recorded[n])):
                mine = float((g * direction).sum())
                size = max(scale, float(np.abs(g * direction).sum()))
                if not self.settled(f"{what} of {self.f.names[k]}", mine, numeric, bound, size, rounding):
                    self.explain(what, k, g)

    def paired(self, slope: Slope) -> tuple[float, float, float]:
        """The inner product of the cotangents with a slope, its bound, and the sum of the sizes of its terms."""
        terms = [c * v for c, v in zip(self.cotangents, slope.values, strict=True)]
        bound = sum(float((np.abs(c) * b).sum()) for c, b in zip(self.cotangents, slope.bounds, strict=True))
        return sum(float(t.sum()) for t in terms), bound, sum(float(np.abs(t).sum()) for t in terms)

    def settled(self, what: str, found: float, numeric: float, bound: float, scale: float, rounding: float) -> bool:
        """Whether two numbers agree; looks for kinks where they do not."""
        try:
            agree = self.judge(found, numeric, bound, scale, rounding)
        except InconclusiveError as error:
            self.look_for_kinks()
            raise InconclusiveError(f"{what}: {error}") from None
        if not agree and self.f.traced is None:
            self.look_for_kinks()
        return agree

    def explain(self, what: str, k: int, g: np.ndarray) -> None:
        """Find the entry that is most off, and raise."""
        worst: tuple[float, Any, float, float] | None = None
        for place in self.suspects(k, g):
            direction = np.zeros(g.shape)
            direction[place] = 1.0
            numeric, bound, _ = self.paired(self.f.slope(k, direction))
            off = abs(float(g[place]) - numeric) - bound
            if worst is None or not off <= worst[0]:
                worst = off, place, float(g[place]), numeric
        assert worst is not None
        self.fail(what, self.f.names[k], *worst[1:])

    def suspects(self, k: int, g: np.ndarray) -> list[tuple[int, ...]]:
        """The entries to look at one by one; of a large array, those of the part that is most off, again and again."""
        left = np.arange(g.size)
        while left.size > MOST_ENTRIES:
            halves = np.array_split(left, 2)
            left = max(halves, key=lambda half: self.off(k, g, half))
        return [tuple(int(n) for n in np.unravel_index(n, g.shape)) for n in left]

    def off(self, k: int, g: np.ndarray, entries: np.ndarray) -> float:
        """By how much the slope along some entries differs."""
        direction = np.zeros(g.shape)
        direction.reshape(-1)[entries] = self.directions[k].reshape(-1)[entries]
        return abs(self.paired(self.f.slope(k, direction))[0] - float((g * direction).sum()))

    def jvp(self) -> None:
        places = self.f.wrt
        directions = [self.directions[k] for k in places]

        def tangents(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            with self.f.at(arrays):
                return self._push(arrays, directions)

        found = self.rounded(tangents)
        slopes = [self.f.slope(k, self.directions[k]) for k in places if self.f.arrays[k].size]
        for n, (mine, rounding) in enumerate(zip(found.values, found.rounding, strict=True)):
            numeric = sum((s.values[n] for s in slopes), np.zeros(mine.shape))
            bound = sum((s.bounds[n] for s in slopes), np.zeros(mine.shape))
            scale = float(sum(np.abs(s.values[n]).max(initial=0) for s in slopes))
            self.entries("jvp", mine, numeric, bound, scale, rounding, f"output {n}")

    def _push(self, arrays: Sequence[np.ndarray], directions: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Tangents of the outputs; parameters are moved by standing in for them."""
        if self.f.parameters:
            return self._push_by_pairs(arrays, directions)
        wrt = self.f.wrt

        def along(*moving: Tensor) -> list[Tensor]:
            given: list[Any] = [tensor(a) for a in arrays]
            for k, t in zip(wrt, moving, strict=True):
                given[k] = t
            return floats(self.f.fn(*given))

        primals = [tensor(arrays[k]) for k in wrt]
        moved = [tensor(v.astype(arrays[k].dtype)) for k, v in zip(wrt, directions, strict=True)]
        return [t.data for t in jvp(along, primals, moved)[1]]

    def _push_by_pairs(self, arrays: Sequence[np.ndarray], directions: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Forward mode by way of reverse mode twice: what a linear function of the cotangent pulls back."""
        with self.f.at(arrays) as inputs:
            outputs = floats(self.f.fn(*inputs))
            wrt = self._wrt(inputs)
            weights = [tensor(np.zeros(y.shape, y.dtype)) for y in outputs]
            pulled = grad(outputs, wrt, weights, create_graph=True, allow_unused=True)
            used = [(g, v) for g, v in zip(pulled, directions, strict=True) if g is not None]
            if not used:
                return [np.zeros(y.shape) for y in outputs]
            back = grad([g for g, _ in used], weights, [tensor(v.astype(g.dtype)) for g, v in used], allow_unused=True)
            return [_dense(t, y) for t, y in zip(back, outputs, strict=True)]

    def entries(
        self,
        what: str,
        found: np.ndarray,
        numeric: np.ndarray,
        bounds: np.ndarray,
        scale: float,
        rounding: float,
        of: str,
    ) -> None:
        """Compare entry by entry."""
        for place in np.ndindex(found.shape):
            mine, value, bound = (float(a[place]) for a in (found, numeric, bounds))
            if not self.settled(f"{what} of {of}", mine, value, bound, scale, rounding):
                self.fail(what, of, place, mine, value)

    def hvp(self) -> None:
        """Second derivatives: how the gradient changes along a direction in all arguments at once."""
        directions = [self.directions[k] for k in self.f.wrt]
        turns = self._turns(directions)
        for mode, compute in (("hvp", self._reverse_over_reverse), ("hvp (forward over reverse)", self._forward_over)):
            if mode != "hvp" and self.f.parameters:
                continue
            found = self.rounded(partial(compute, directions))
            scale = max(float(np.abs(values).max(initial=0)) for values, _ in turns)
            for k, mine, turn in zip(self.f.wrt, found.values, turns, strict=True):
                self.entries(mode, mine, *turn, scale, max(found.rounding), self.f.names[k])

    def _turns(self, directions: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The change of each gradient along the directions, by numbers, with its bound."""
        traced = self._traced_gradient()
        if traced is not None:
            slope = traced(directions)
            return list(zip(slope.values, slope.bounds, strict=True))
        sizes = [size_of(self.f.arrays[k]) for k in self.f.wrt]

        def path(t: float) -> list[np.ndarray]:
            arrays = list(self.f.arrays)
            for k, v in zip(self.f.wrt, directions, strict=True):
                arrays[k] = arrays[k] + t * v
            return self.gradients(arrays)

        slope = central(path, min(sizes), max(largest_of(self.f.arrays[k]) for k in self.f.wrt))
        return list(zip(slope.values, slope.bounds, strict=True))

    def _traced_gradient(self) -> Callable[[Sequence[np.ndarray]], Slope] | None:
        """How the recorded gradient changes along directions, by complex steps through it; None if it has kinks."""
        if self.f.traced is None:
            return None
        graph, leaves = self.f.traced
        wrt = [leaves[k] for k in self.f.wrt]
        with self.f.at(self.f.arrays):
            weights = [tensor(c) for c in self.cotangents]
            found = grad(list(graph.outputs), wrt, weights, create_graph=True, allow_unused=True)
        outputs = [g for g in found if g is not None]
        nodes = Graph(outputs).nodes
        if not is_analytic(nodes, leaves):
            return None

        def turn(directions: Sequence[np.ndarray]) -> Slope:
            values = {t.serial: a for t, a in zip(leaves, self.f.arrays, strict=True)}
            for k, v in zip(self.f.wrt, directions, strict=True):
                values[leaves[k].serial] = complexes.moved(self.f.arrays[k], v)
            computed = iter(evaluate(nodes, values, outputs))
            change = lambda: complexes.derivative(next(computed))
            slopes = [np.zeros(t.shape) if g is None else change() for g, t in zip(found, wrt)]
            return Slope(slopes, [np.zeros(s.shape) for s in slopes], "complex steps")

        return turn

    def _reverse_over_reverse(self, directions: Sequence[np.ndarray], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        with self.f.at(arrays) as inputs:
            first, wrt = self._first(inputs)
            used = [(g, v) for g, v in zip(first, directions, strict=True) if g is not None]
            if not used:
                return [np.zeros(t.shape) for t in wrt]
            back = grad([g for g, _ in used], wrt, [tensor(v.astype(g.dtype)) for g, v in used], allow_unused=True)
            return [_dense(g, t) for g, t in zip(back, wrt, strict=True)]

    def _forward_over(self, directions: Sequence[np.ndarray], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        wrt = self.f.wrt

        def slopes(*moving: Tensor) -> list[Tensor]:
            given: list[Any] = [tensor(a) for a in arrays]
            for k, t in zip(wrt, moving, strict=True):
                given[k] = t
            outputs = floats(self.f.fn(*given))
            weights = [tensor(c.astype(y.dtype)) for c, y in zip(self.cotangents, outputs, strict=True)]
            found = grad(outputs, list(moving), weights, create_graph=True, allow_unused=True)
            return [t * 0 if g is None else g for g, t in zip(found, moving, strict=True)]

        primals = [tensor(arrays[k]) for k in wrt]
        moved = [tensor(v.astype(arrays[k].dtype)) for k, v in zip(wrt, directions, strict=True)]
        return [t.data for t in jvp(slopes, primals, moved)[1]]

    # Failing ----------------------------------------------------------------------------------------------------------

    def look_for_kinks(self) -> None:
        """Raise if the slopes from both sides differ in any entry of an argument."""
        for k in self.f.wrt:
            array = self.f.arrays[k]
            for place in _places(array, self.seed):
                direction = np.zeros(array.shape)
                direction[place] = 1.0
                left, right = one_sided(self.f.moved(k, direction), size_of(array))
                for a, b in zip(left, right, strict=True):
                    jump = np.abs(a - b)
                    if (jump > 1e-3 * np.maximum(np.abs(a), np.abs(b)) + 1e-6).any():
                        at = np.unravel_index(int(np.argmax(jump)), jump.shape)
                        entry = ArrayEntry(self.f.names[k], place)
                        raise KinkError(
                            f"the function has a kink at {entry} = {float(array[place])!r}: "
                            f"its slope is {a[at]:.6g} from the left and {b[at]:.6g} from the right\n"
                            "  hint:     move the point, as with strategies.arrays(away_from=...), or pass kinks='skip'"
                        )

    def fail(self, what: str, of: str, place: tuple[int, ...], found: float, numeric: float) -> None:
        with self.f.at(self.f.arrays) as inputs:
            outputs = floats(self.f.fn(*inputs))
        raise GradientMismatch(
            what,
            ArrayEntry(of, place),
            found,
            numeric,
            seed=self.seed,
            method="complex steps" if self.f.traced is not None else "central differences",
            outputs=outputs,
            culprit=None if self.alone else _blame(outputs, self.seed),
        )


def _blame(outputs: Sequence[Tensor], seed: int) -> Culprit | None:
    """The first operation whose own derivatives are wrong at the values that it had."""
    looked_at: Counter[Any] = Counter()
    for t in Graph(outputs).nodes:
        kind = t.op, tuple(i.shape for i in t.inputs)
        looked_at[kind] += 1
        if t.inputs and t.is_float and "generator" not in t.params and looked_at[kind] <= MOST_ALIKE:
            wrong = _wrong(t, seed)
            if wrong is not None:
                return wrong
    return None


def _wrong(t: Tensor, seed: int) -> Culprit | None:
    inputs = [i.data for i in t.inputs]
    if not any(a.dtype.kind == "f" for a in inputs):
        return None
    try:
        check = _Check(Function(lambda *xs: apply(t.op, xs, t.params), inputs), seed, alone=True)
        check.vjp()
        check.jvp()
        check.hvp()
    except GradientMismatch as error:
        name = error.place.name
        return Culprit(t, int(name.removeprefix("input ")) if name.startswith("input ") else 0, error.check)
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
        return None  # it cannot be judged on its own
    return None


def _dense(g: Tensor | None, t: Tensor) -> np.ndarray:
    return np.zeros(t.shape, t.dtype) if g is None else g.data


def _places(a: np.ndarray, seed: int) -> list[tuple[int, ...]]:
    """All places of an array, or some of them at random where there are many."""
    places = list(np.ndindex(a.shape))
    if len(places) <= MOST_ENTRIES:
        return places
    chosen = np.random.default_rng(seed).choice(len(places), MOST_ENTRIES, replace=False)
    return [places[n] for n in sorted(chosen)]
