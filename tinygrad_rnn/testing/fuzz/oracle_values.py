"""Values of the oracle: arrays in float64 or complex128 that keep pairs of a parent and a pull-back.

Every operation is analytic where it is differentiable, also its pull-back. So an imaginary part of 1e-20 in an input
comes out as an exact derivative: of the values (first order), and of the gradient (second order).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

__all__ = [
    "BOOL", "FLOAT32", "FLOAT64", "INT64", "Pull", "Tape", "Value", "as_value", "axes_of", "elementwise", "floating",
    "gradient", "picked", "promoted", "smooth", "summed_to", "tape_of",
]  # fmt: skip

Pull = Callable[[np.ndarray], np.ndarray]
FLOAT32, FLOAT64, INT64, BOOL = (np.dtype(t) for t in (np.float32, np.float64, np.int64, np.bool_))


class Tape:
    """All values of one evaluation, in order, and how near it came to a kink.

    Parameters
    ----------
    noise : float
        Relative size of random errors that are added to every value and cotangent, to see how they grow.
    seed : int
        Of these errors.

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz import oracle_ops
    >>> tape = oracle_ops.Tape()
    >>> y = oracle_ops.relu(tape.value([-1.0, 0.25]))
    >>> y.array.tolist(), tape.distance
    ([0.0, 0.25], 0.25)
    """

    def __init__(self, noise: float = 0.0, seed: int = 0) -> None:
        self.values: list[Value] = []
        self.distance = np.inf
        self.cotangents: dict[int, Any] = {}  # of the last gradient, by serial number
        self._noise = noise
        self._rng = np.random.default_rng(seed) if noise else None

    def value(self, array: Any, dtype: Any = None) -> Value:
        array = np.asarray(array)
        return Value(self, array, np.dtype(dtype) if dtype is not None else array.dtype)

    def disturbed(self, array: np.ndarray) -> np.ndarray:
        if self._rng is None or array.dtype.kind not in "fc":
            return array
        off = 1 + self._errors(array.shape)
        if array.dtype.kind == "f":
            return array * off[0]
        return array.real * off[0] + 1j * (array.imag * off[1])  # derivatives have rounding errors of their own

    def roughened(self, array: np.ndarray, x: np.ndarray, size: float) -> np.ndarray:
        """With errors that do not shrink with entries: the slope of tanh is ``1 - y * y``, also where y is near 1."""
        if self._rng is None:
            return array
        off = self._errors(x.shape)
        return array + size * off[0] + (1j * off[1] * np.abs(x.imag) if x.dtype.kind == "c" else 0)

    def _errors(self, shape: tuple[int, ...]) -> np.ndarray:
        """Of either sign, and none of them small by chance."""
        assert self._rng is not None
        drawn = self._rng.uniform(-0.5, 0.5, (2, *shape))
        return self._noise * (drawn + np.copysign(0.5, drawn))

    def near(self, gaps: Any) -> None:
        """Note distances to the points where a derivative jumps."""
        gaps = np.abs(np.real(gaps))
        if gaps.size:
            self.distance = min(self.distance, float(gaps.min()))


class Value:
    """An array, the dtype that the engine should give it, and how cotangents go to its parents."""

    def __init__(self, tape: Tape | None, array: Any, dtype: Any, parents: Sequence[tuple[Value, Pull]] = ()) -> None:
        self.tape, self.dtype, self.parents = tape, dtype, parents
        self.bound = 0  # of integers that are indices: how many there are
        array = np.asarray(array)
        if array.dtype == FLOAT32:
            array = array.astype(np.float64)
        self.array = tape.disturbed(array) if tape is not None else array
        if tape is not None:
            self.serial = len(tape.values)
            tape.values.append(self)

    shape = property(lambda self: self.array.shape)
    ndim = property(lambda self: self.array.ndim)
    size = property(lambda self: self.array.size)
    is_float = property(lambda self: self.dtype is not None and self.dtype.kind == "f")

    def astype(self, dtype: Any) -> Value:
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            return Value(self.tape, self.array * 1.0, dtype, [(self, lambda g: g)] if self.is_float else [])
        if self.is_float:
            tape_of(self).near(self.array.real - np.round(self.array.real))
            return Value(self.tape, self.array.real.astype(dtype), dtype)
        return Value(self.tape, self.array.astype(dtype), dtype)

    def __len__(self) -> int:
        return len(self.array)

    def detach(self) -> Value:
        return Value(self.tape, self.array.real.copy(), self.dtype)

    if TYPE_CHECKING:  # what oracle_ops puts in

        def _with(self, other: Any) -> Value: ...

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = _with

        def __neg__(self) -> Value: ...


def gradient(outputs: Sequence[Value], cotangents: Sequence[Any], wrt: Sequence[Value]) -> list[np.ndarray]:
    """Cotangents of `wrt`: one walk over the tape, from the last value to the first.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.testing.fuzz import oracle_ops
    >>> x = oracle_ops.Tape().value([0.0, 1.0])
    >>> oracle_ops.gradient([x * x], [np.ones(2)], [x])[0].tolist()
    [0.0, 2.0]
    """
    tape = tape_of(*wrt)
    found: dict[int, Any] = {}
    for y, g in zip(outputs, cotangents, strict=True):
        found[y.serial] = found.get(y.serial, 0) + np.asarray(g)
    for value in reversed(tape.values):
        if value.serial not in found:
            continue
        for parent, pull in value.parents:
            g = tape.disturbed(pull(found[value.serial]))
            found[parent.serial] = found.get(parent.serial, 0) + g
    tape.cotangents = found
    return [np.zeros(x.shape) + found.get(x.serial, 0) for x in wrt]


# What all are made of -------------------------------------------------------------------------------------------------


def tape_of(*values: Any) -> Tape:
    tapes = [v.tape for v in values if isinstance(v, Value) and v.tape is not None]
    if not tapes:
        raise ValueError("oracle: none of the operands is on a tape")
    return tapes[0]


def as_value(x: Any) -> Value:
    """A number or a list as a value: numbers are of no dtype, since they take that of their partner."""
    if isinstance(x, Value):
        return x
    array = np.asarray(x)
    return Value(None, array, None if array.ndim == 0 else FLOAT32 if array.dtype == FLOAT64 else array.dtype)


def promoted(*values: Value) -> np.dtype:
    dtypes = [v.dtype for v in values if v.dtype is not None]
    floats = [d for d in dtypes if d.kind == "f"]
    if floats:
        return FLOAT64 if FLOAT64 in floats else FLOAT32
    if any(v.dtype is None and v.array.dtype.kind == "f" for v in values):
        return FLOAT32
    return np.result_type(*dtypes) if dtypes else FLOAT32


def summed_to(shape: tuple[int, ...]) -> Pull:
    def pull(g: np.ndarray) -> np.ndarray:
        g = g.sum(axis=tuple(range(g.ndim - len(shape))))
        stretched = tuple(k for k, n in enumerate(shape) if n == 1 and g.shape[k] != 1)
        return g.sum(axis=stretched, keepdims=True) if stretched else g

    return pull


def elementwise(array: np.ndarray, *parts: tuple[Value, Any]) -> Value:
    """A result and its partial derivative by each operand."""
    parents = []
    for v, d in parts:
        if v.is_float and v.tape is not None:
            back = summed_to(v.shape)
            parents.append((v, lambda g, d=d, back=back: back(g * d)))
    return Value(tape_of(*(v for v, _ in parts)), array, promoted(*(v for v, _ in parts)), parents)


def floating(x: Value) -> Value:
    return x if x.is_float else x.astype(FLOAT32)


def smooth(f: Callable[..., Any], slope: Callable[..., Any]) -> Callable[[Any], Value]:
    """A function of one number, and its derivative by argument and result."""

    def function(x: Any) -> Value:
        x = floating(x)
        tape, y = tape_of(x), f(x.array)
        return elementwise(tape.roughened(y, x.array, 0), (x, tape.roughened(slope(x.array, y), x.array, 1)))

    return function


def picked(values: Sequence[Value], f: Callable[..., np.ndarray]) -> Value:
    """Entries of some arrays in another order: `f` is done to their positions in memory."""
    whole = np.concatenate([v.array.reshape(-1) for v in values])
    ends = np.cumsum([0, *(v.size for v in values)])
    places = f(*[np.arange(a, a + v.size).reshape(v.shape) for a, v in zip(ends, values)])

    def pull(g: np.ndarray, k: int) -> np.ndarray:
        back = np.zeros(whole.size, g.dtype)
        np.add.at(back, places.reshape(-1), g.reshape(-1))
        return back[ends[k] : ends[k + 1]].reshape(values[k].shape)

    parents = [(v, lambda g, k=k: pull(g, k)) for k, v in enumerate(values) if v.is_float and v.tape is not None]
    y = Value(tape_of(*values), whole[places], promoted(*values), parents)
    y.bound = values[0].bound if len(values) == 1 else 0
    return y


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    listed = range(ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    return tuple(sorted(k % ndim for k in listed))
