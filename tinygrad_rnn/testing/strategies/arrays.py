"""Strategies of dtypes, shapes, arrays and tensors.

An array is two strings of bytes to Hypothesis: a byte of the first chooses a round number for each entry, a byte of the
second how far beside it the entry lies. So large arrays are drawn as fast as small ones, and entries shrink one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Any, TypeVar

import numpy as np
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.extra import numpy as npst

from ...errors import fail
from ...ops.create import parameter
from ...tensor import Tensor, leaf

__all__ = ["arrays", "broadcastable_shapes", "dtypes", "shapes", "tensors"]

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[T]], T]
Shape = tuple[int, ...]

# Arguments ------------------------------------------------------------------------------------------------------------


def check_count(function: str, name: str, value: Any, least: int = 0) -> int:
    """A size, as a Python integer of at least `least`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise fail(TypeError, f"{function}: {name}", expected="an integer", got=repr(value))
    if value < least:
        raise fail(ValueError, f"{function}: {name}", expected=f"at least {least}", got=str(value))
    return int(value)


def check_order(function: str, name: str, low: int, high: int) -> None:
    if low > high:
        raise fail(
            ValueError, f"{function}: the range of {name} is empty",
            expected=f"min_{name} at most max_{name}", got=f"min_{name}={low}, max_{name}={high}",
        )  # fmt: skip


def check_sizes(function: str, name: str, low: Any, high: Any, least: int = 0) -> tuple[int, int]:
    """``min_name`` and ``max_name`` as integers, in order."""
    low, high = check_count(function, f"min_{name}", low, least), check_count(function, f"max_{name}", high, least)
    check_order(function, name, low, high)
    return low, high


def check_flag(function: str, name: str, value: Any, also: tuple[Any, ...] = ()) -> Any:
    if not any(value is accepted for accepted in (True, False, *also)):
        accepted = ", ".join(map(repr, (True, False, *also)))
        raise fail(TypeError, f"{function}: {name}", expected=f"one of {accepted}", got=repr(value))
    return value


def check_choice(function: str, name: str, chosen: Any, known: Iterable[str], hint: str = "") -> tuple[str, ...]:
    """One name or several of those that are known, in the order given."""
    known = tuple(known)
    names = (chosen,) if isinstance(chosen, str) else chosen
    if not isinstance(names, list | tuple) or not names or not all(n in known for n in names):
        expected = f"one or more of {', '.join(map(repr, known))}"
        raise fail(ValueError, f"{function}: {name}", expected=expected, got=repr(chosen), hint=hint)
    return tuple(names)


_DTYPES = {"f": (np.float64, np.float32), "i": (np.int64, np.int32), "u": (np.uint8,), "b": (np.bool_,)}


def check_dtype(function: str, dtype: Any, kinds: str = "fiub") -> np.dtype:
    """A dtype that tensors can have, of one of the kinds."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise fail(TypeError, f"{function}: dtype", expected="a dtype", got=repr(dtype)) from None
    if found.kind not in kinds or (found.kind == "f" and found not in _DTYPES["f"]) or not found.isnative:
        names = {"f": "float32, float64", "i": "signed integers", "u": "unsigned integers", "b": "bool"}
        expected = "one of " + ", ".join(names[k] for k in kinds)
        raise fail(ValueError, f"{function}: dtype", expected=expected, got=str(found))
    return found


def strategy_of(value: Any, check: Callable[[Any], T]) -> st.SearchStrategy[T]:
    """A strategy as it is, with what it draws checked; or the one value, checked at once."""
    return value.map(check) if isinstance(value, st.SearchStrategy) else st.just(check(value))


def dtype_strategy(function: str, dtype: Any, kinds: str = "fiub") -> st.SearchStrategy[np.dtype]:
    return strategy_of(dtype, lambda d: check_dtype(function, d, kinds))


# Dtypes and shapes ----------------------------------------------------------------------------------------------------


def dtypes(*, kinds: str = "f", sizes: Iterable[int] | None = None) -> st.SearchStrategy[np.dtype]:
    """Dtypes that tensors can have.

    Parameters
    ----------
    kinds : str
        Letters of NumPy's kinds: "f" for float64 and float32, "i" for int64 and int32, "u" for uint8, "b" for bool.
    sizes : iterable of int, optional
        Only those of so many bits; bool has 8.

    Raises
    ------
    ValueError
        If a kind is unknown, or nothing is left to choose from.

    Notes
    -----
    Shrinks to the first kind, and to the widest dtype of a kind: float64 by default.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(dtypes(), lambda dtype: True)
    dtype('float64')
    >>> find(dtypes(kinds="if"), lambda dtype: dtype.itemsize == 4)
    dtype('int32')
    """
    if not isinstance(kinds, str) or not kinds or set(kinds) - set(_DTYPES):
        raise fail(ValueError, "dtypes: kinds", expected="letters out of 'fiub', at least one", got=repr(kinds))
    chosen = [np.dtype(d) for kind in dict.fromkeys(kinds) for d in _DTYPES[kind]]
    if sizes is not None:
        bits = {check_count("dtypes", "sizes", n) for n in sizes}
        left = [d for d in chosen if 8 * d.itemsize in bits]
        if not left:
            offered = ", ".join(f"{d} ({8 * d.itemsize} bits)" for d in chosen)
            got = f"sizes={sorted(bits)}"
            raise fail(ValueError, "dtypes: no dtype has one of the sizes", expected=f"sizes of {offered}", got=got)
        chosen = left
    return st.sampled_from(chosen)


def shapes(
    *, min_dims: int = 0, max_dims: int = 4, min_side: int = 0, max_side: int = 5, max_size: int | None = None
) -> st.SearchStrategy[Shape]:
    """Shapes of arrays; about one in ten has a side of 0 where `min_side` allows it.

    Parameters
    ----------
    min_dims, max_dims : int
        Least and greatest number of axes; 32 at most.
    min_side, max_side : int
        Least and greatest length of an axis.
    max_size : int, optional
        Greatest number of entries.

    Raises
    ------
    ValueError
        If no shape is within the limits.

    Notes
    -----
    Shrinks to `min_dims` axes, ``()`` by default. Sides shrink to 1, or to `min_side` where that is more: an array
    without entries comes up, but is shown only where one with entries passes.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(shapes(), lambda shape: len(shape) == 2)
    (1, 1)
    >>> find(shapes(), lambda shape: 0 in shape)
    (0,)
    """
    min_dims, max_dims = check_sizes("shapes", "dims", min_dims, max_dims)
    min_side, max_side = check_sizes("shapes", "side", min_side, max_side)
    if max_dims > 32:
        raise fail(ValueError, "shapes: max_dims", expected="at most 32, as many as arrays have", got=str(max_dims))
    least = max(min_side, min(1, max_side))
    if max_size is not None:
        max_size = check_count("shapes", "max_size", max_size, 1)
        if least**min_dims > max_size:
            got = f"max_size={max_size} for at least {min_dims} axes of at least {min_side}"
            raise fail(ValueError, "shapes: no shape is small enough", expected=f"at least {least**min_dims}", got=got)
        max_dims = max(n for n in range(min_dims, max_dims + 1) if least**n <= max_size)
    empty = st.integers(0, 15).map(lambda n: n == 15) if min_side < least else st.just(False)
    side = st.tuples(st.integers(least, max_side), empty)
    drawn = st.integers(min_dims, max_dims).flatmap(lambda ndim: st.tuples(*[side] * ndim))
    return drawn.map(lambda sides: _shape(sides, least, max_size))


def _shape(drawn: tuple[tuple[int, bool], ...], least: int, max_size: int | None) -> Shape:
    sides = [side for side, _ in drawn]
    if max_size is not None:  # each axis leaves room for those after it
        for k, side in enumerate(sides):
            sides[k] = min(side, max_size // (math.prod(sides[:k]) * least ** (len(sides) - k - 1)))
    return tuple(0 if empty else side for side, (_, empty) in zip(sides, drawn, strict=True))


def broadcastable_shapes(
    *,
    signature: str = "(m,n),(n,p)->(m,p)",
    min_side: int = 0,
    max_side: int = 4,
    min_dims: int = 0,
    max_dims: int = 2,
) -> st.SearchStrategy[npst.BroadcastableShapes]:
    """Shapes for the inputs of a function with a signature, whose leading axes broadcast against each other.

    Parameters
    ----------
    signature : str
        That of a generalised ufunc with one output: ``"(),()->()"`` for an elementwise function of two inputs,
        ``"(m?,n),(n,p?)->(m?,p?)"`` for a product that takes vectors too.
    min_side, max_side : int
        Least and greatest length of an axis. Where `min_side` is 0 a side of 0 comes up in about one draw of ten; less
        often where a signature has fewer axes.
    min_dims, max_dims : int
        Least and greatest number of leading axes of an input.

    Returns
    -------
    strategy
        Of named tuples ``(input_shapes, result_shape)``, as those of
        :func:`hypothesis.extra.numpy.mutually_broadcastable_shapes`.

    Raises
    ------
    ValueError
        If the signature cannot be read, or no shape is within the limits.

    Notes
    -----
    Shrinks to `min_dims` leading axes, and to sides of 1, or of `min_side` where that is more.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(broadcastable_shapes(), lambda shapes: True)
    BroadcastableShapes(input_shapes=((1, 1), (1, 1)), result_shape=(1, 1))
    >>> find(broadcastable_shapes(signature="(),()->()"), lambda shapes: shapes.result_shape).result_shape
    (1,)
    """
    min_side, max_side = check_sizes("broadcastable_shapes", "side", min_side, max_side)
    min_dims, max_dims = check_sizes("broadcastable_shapes", "dims", min_dims, max_dims)
    least = max(min_side, min(1, max_side))

    def within(low: int) -> st.SearchStrategy[npst.BroadcastableShapes]:
        return npst.mutually_broadcastable_shapes(
            signature=signature, min_side=low, max_side=max_side, min_dims=min_dims, max_dims=max_dims
        )

    full, possibly_empty = within(least), within(min_side)
    try:
        full.validate()
    except InvalidArgument as error:
        raise fail(
            ValueError, f"broadcastable_shapes: {error}",
            expected="a signature such as '(m,n),(n,p)->(m,p)' or '(),()->()'", got=repr(signature),
            hint="the names of the result's axes are names of axes of the inputs",
        ) from None  # fmt: skip
    if least == min_side:
        return full
    return st.integers(0, 3).flatmap(lambda k: possibly_empty if k == 3 else full)


# Values ---------------------------------------------------------------------------------------------------------------

_MOST_CODES = 509  # a prime: larger arrays repeat so many entries, and neither rows nor columns of theirs look alike
_MOST_SLOTS = 4096
_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
# How far beside a round number an entry lies, in grid steps, by its second byte: for a quarter of them not at all.
# Over a prime, so that sums of entries are rounded.
_OFFSETS = np.array([0.0] * 64 + [(f - 159.5) / 197 for f in range(64, 256)])


@dataclass(frozen=True)
class Limits:
    """What entries may be, and the numbers that they are made of."""

    dtype: np.dtype
    low: float
    high: float
    away_from: tuple[float, ...]
    gap: float

    def allow(self, values: np.ndarray) -> np.ndarray:
        """Which of the values, rounded to the dtype already, are within the limits."""
        values = values.astype(np.float64)
        allowed = (values >= self.low) & (values <= self.high)
        for point in self.away_from:
            allowed &= np.abs(values - point) >= self.gap
        return allowed

    def keep(self, values: Any) -> np.ndarray:
        """Those that are allowed, once each, the roundest first."""
        values = np.asarray(values, np.float64)
        cast = self.cast(values[(values >= self.low) & (values <= self.high)])
        return np.array(sorted(np.unique(cast[self.allow(cast)]).tolist(), key=_roundness), np.float64)

    def cast(self, values: np.ndarray) -> np.ndarray:
        """What the values become in the dtype: neither subnormal nor a negative zero."""
        values = np.rint(values) if self.whole else values
        cast = np.where(np.abs(values) < _TINY, 0.0, values).astype(self.dtype)
        return cast.astype(np.float64)

    def grid(self, step: float) -> np.ndarray:
        return np.arange(math.ceil(self.low / step), math.floor(self.high / step) + 1) * step

    @property
    def whole(self) -> bool:
        return self.dtype.kind != "f"


def _roundness(value: float) -> tuple[int, float, bool]:
    """Whole numbers before halves before quarters, small ones before large ones, positive ones before negative ones."""
    return value.as_integer_ratio()[1], abs(value), value < 0


def _power_of_two(x: float, least: float = 0.0) -> float:
    """The greatest power of two up to `x`."""
    return max(2.0 ** math.floor(math.log2(x)), least) if x > 0 else least or 1.0


_NICE = [0, 1, -1, 2, -2, 3, -3, 0.5, -0.5]


@lru_cache(maxsize=256)
def _round_numbers(limits: Limits) -> tuple[np.ndarray, float]:
    """Round numbers within the limits, and the step between most of them; finer where points to avoid leave few."""
    least = 1.0 if limits.whole else 0.0
    step = _power_of_two((limits.high - limits.low) / (100 if limits.whole else 16), least)
    while True:
        numbers = limits.keep([*limits.grid(step), *_NICE, limits.low, limits.high])
        finest = step <= least or (limits.high - limits.low) / step > _MOST_SLOTS or limits.low == limits.high
        if len(numbers) >= 8 or finest:
            return numbers[:256], step
        step = max(step / 2, least)


@lru_cache(maxsize=256)
def _slots(limits: Limits) -> np.ndarray:
    """Numbers within the limits that keep the gap from each other, the roundest first."""
    step = 2.0 ** math.ceil(math.log2(limits.gap))
    step = max(step, 2.0 ** math.ceil(math.log2(max((limits.high - limits.low) / _MOST_SLOTS, step))))
    grid = limits.keep(limits.grid(max(step, 1.0) if limits.whole else step))
    grid = grid if len(grid) else _round_numbers(limits)[0][:1]
    apart, last = [], -math.inf
    for value in sorted(grid.tolist()):  # rounding to the dtype may have moved some closer
        if value - last >= limits.gap:
            apart.append(value)
            last = value
    return np.array(sorted(apart, key=_roundness), np.float64)


def _near(limits: Limits, codes: np.ndarray, level: int) -> np.ndarray:
    """Entries from their bytes: round numbers, and from level 2 on most of them beside these where that is allowed."""
    numbers, step = _round_numbers(limits)
    base = numbers[codes[:, 0] % len(numbers)]
    if level == 0:
        return _nearest(_roundest(numbers), base)
    if level == 1:
        return base
    moved = limits.cast(np.clip(base + step * _OFFSETS[codes[:, 1]], limits.low, limits.high))
    return np.where(limits.allow(moved), moved, base)


def _roundest(numbers: np.ndarray) -> np.ndarray:
    """Those as round as the third one: whole numbers, where there are three."""
    third = numbers[min(2, len(numbers) - 1)]
    return np.array([v for v in numbers.tolist() if _roundness(v)[0] <= _roundness(float(third))[0]])


def _nearest(numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    return numbers[np.abs(values[:, None] - numbers).argmin(1)]


def _few(limits: Limits, codes: np.ndarray, level: int) -> np.ndarray:
    """Entries that are one of three numbers, or of fewer where there are fewer entries: some are equal."""
    pool = _near(limits, codes[: max(min(3, len(codes) - 1), 1)], level)
    return pool[codes[:, 0] % len(pool)]


def _distinct(limits: Limits, codes: np.ndarray, level: int) -> np.ndarray:
    """Entries taken out of the slots one after another; codes of zeros take them in their order."""
    slots = _slots(limits)
    left = slots[: max(len(_roundest(slots)), len(codes))].tolist() if level == 0 else slots.tolist()
    return np.array([left.pop((int(a) + 256 * int(b)) % len(left)) for a, b in codes], np.float64)


_ENTRIES = {None: _near, True: _few, False: _distinct}
_LEVELS = st.integers(0, 5)  # how round the numbers of an array are: 0 whole, 1 round, else any


def _limits(function: str, dtype: np.dtype, low: Any, high: Any, away_from: Any, gap: float) -> Limits:
    """The limits for a dtype; raises where no entry is possible."""
    if dtype.kind == "b":
        low, high, away_from = 0, 1, ()
    elif dtype.kind != "f":
        info: Any = np.iinfo(dtype)
        low, high = max(math.ceil(low), info.min, -(2**53)), min(math.floor(high), info.max, 2**53)
    limits = Limits(dtype, float(low), float(high), tuple(away_from), gap)
    if low > high or not len(_round_numbers(limits)[0]):
        beside = f" at least {gap} away from {', '.join(map(str, away_from))}" if away_from else ""
        raise fail(
            ValueError, f"{function}: no {dtype} is within the limits", expected="room for at least one number",
            got=f"numbers from {low} to {high}{beside}", hint="widen low and high, or make gap smaller",
        )  # fmt: skip
    return limits


def _check_number(function: str, name: str, value: Any, what: str = "a finite number") -> float:
    """A bound or a point; none of them so small that it is subnormal in float32."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise fail(TypeError, f"{function}: {name}", expected=what, got=repr(value))
    number = float(value)
    small = 0 < abs(number) < _TINY
    if not abs(number) <= _HUGE or small:
        hint = "subnormal numbers are not drawn; give 0 or at least 1.2e-38" if small else ""
        raise fail(ValueError, f"{function}: {name}", expected=f"{what} in the range of float32", got=repr(value),
                   hint=hint)  # fmt: skip
    return number


def check_range(function: str, low: Any, high: Any, away_from: Any, gap: Any) -> tuple[float, float, Any, float]:
    """The arguments that limit the values, as numbers."""
    low, high = _check_number(function, "low", low), _check_number(function, "high", high)
    if low > high:
        got = f"low={low}, high={high}"
        raise fail(ValueError, f"{function}: the range of values is empty", expected="low at most high", got=got)
    points = away_from if isinstance(away_from, list | tuple) else (away_from,)
    points = tuple(_check_number(function, "away_from", p, "numbers") for p in points)
    gap = _check_number(function, "gap", gap)
    if not gap > 0:
        raise fail(ValueError, f"{function}: gap", expected="a positive number", got=str(gap))
    return low, high, points, gap


def _shape_of(function: str) -> Callable[[Any], Shape]:
    def check(shape: Any) -> Shape:
        sides = shape if isinstance(shape, list | tuple) else (shape,)
        return tuple(check_count(function, "a side of the shape", n) for n in sides)

    return check


# Layouts --------------------------------------------------------------------------------------------------------------

# Values that no entry has where a float kernel might read beside the array by mistake.
_BESIDE = {"f": math.nan, "i": 99, "u": 99, "b": True}


def _contiguous(draw: Draw, a: np.ndarray) -> np.ndarray:
    return a


def _transposed(draw: Draw, a: np.ndarray) -> np.ndarray:
    if a.ndim < 2:
        return a
    orders = list(permutations(range(a.ndim)))[1:] if a.ndim < 5 else [tuple(range(a.ndim))[::-1]]
    order = draw(st.sampled_from(orders))
    return np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))


def _reversed(draw: Draw, a: np.ndarray) -> np.ndarray:
    axis = _axis(draw, a)
    return a if axis is None else np.flip(np.ascontiguousarray(np.flip(a, axis)), axis)


def _strided(draw: Draw, a: np.ndarray) -> np.ndarray:
    axis = _axis(draw, a)
    return a if axis is None else _inside(a, axis, slice(None, None, 2), 2 * a.shape[axis])


def _offset(draw: Draw, a: np.ndarray) -> np.ndarray:
    axis = _axis(draw, a)
    return a if axis is None else _inside(a, axis, slice(1, 1 + a.shape[axis]), a.shape[axis] + 2)


def _broadcast(draw: Draw, a: np.ndarray) -> np.ndarray:
    axis = _axis(draw, a)
    if axis is None or not a.shape[axis]:
        return a
    return np.broadcast_to(np.take(a, [0], axis), a.shape)


def _axis(draw: Draw, a: np.ndarray) -> int | None:
    return draw(st.integers(0, a.ndim - 1)) if a.ndim else None


def _inside(a: np.ndarray, axis: int, part: slice, length: int) -> np.ndarray:
    """A copy of `a` as a part of a longer array."""
    larger = np.full((*a.shape[:axis], length, *a.shape[axis + 1 :]), _BESIDE[a.dtype.kind], a.dtype)
    view = larger[(slice(None),) * axis + (part,)]
    view[...] = a
    return view


_LAYOUTS: dict[str, Callable[[Draw, np.ndarray], np.ndarray]] = {
    "contiguous": _contiguous,
    "transposed": _transposed,
    "offset": _offset,
    "strided": _strided,
    "reversed": _reversed,
    "broadcast": _broadcast,
}


def _check_layouts(function: str, layouts: Any, ties: bool | None) -> tuple[str, ...]:
    if layouts is False:
        return ("contiguous",)
    hint = "True is for all of them, False for contiguous arrays only"
    names = check_choice(function, "layouts", tuple(_LAYOUTS) if layouts is True else layouts, _LAYOUTS, hint)
    if ties is False and "broadcast" in names:  # which has ties
        if layouts is not True:
            got = "layouts with 'broadcast', and ties=False"
            raise fail(ValueError, f"{function}: a broadcast view has equal entries", expected="one or the other",
                       got=got, hint="leave 'broadcast' out, or ties")  # fmt: skip
        names = tuple(n for n in names if n != "broadcast")
    return names


# Arrays and tensors ---------------------------------------------------------------------------------------------------


def arrays(
    *,
    dtype: Any = np.float64,
    shape: Any = None,
    low: float = -3,
    high: float = 3,
    away_from: Any = (),
    gap: float = 0.05,
    ties: bool | None = None,
    layouts: bool | str | tuple[str, ...] | list[str] = False,
) -> st.SearchStrategy[np.ndarray]:
    """NumPy arrays of finite numbers: round ones, the limits, and others between them.

    Parameters
    ----------
    dtype : dtype, or strategy of dtypes
        float64 by default, which comparisons with differences need.
    shape : int, tuple of int, or strategy of shapes, optional
        :func:`shapes` by default.
    low, high : float
        Limits of the entries, both included. Integers are limited by their dtype as well; bool has no limits.
    away_from : float or tuple of float
        Points that all entries keep away from, such as ``0`` for ReLU. Not for bool.
    gap : float
        How far they keep away: at least so much, after rounding to the dtype.
    ties : bool, optional
        False for entries that keep the gap from each other too, as ``max`` and sorting need it where they are
        differentiated; True for entries some of which are equal, if there are two or more. By default it is left to
        chance.
    layouts : bool, str or tuple of str
        How they may lie in memory: some of ``"contiguous"``, ``"transposed"``, ``"offset"`` and ``"strided"`` (a
        part of a larger array, NaN around it), ``"reversed"`` and ``"broadcast"`` (read-only); True for all. Those
        that need axes are contiguous where there are none. A failing example notes strides that are not the usual.

    Raises
    ------
    ValueError
        If no number is within the limits; with ``ties=False`` also when a shape has more entries than keep the gap
        from each other, which is known only when it is drawn if `shape` is a strategy.

    Notes
    -----
    Shrinks to zeros, or to the roundest number within the limits, in the smallest shape, C-contiguous. Each entry
    shrinks by itself: to a whole number if possible, then to a half, a quarter, and so on. With ``ties=False`` it
    shrinks to the roundest numbers in their order. No entry is subnormal or a negative zero. Arrays of more than 509
    entries repeat themselves; with ``ties=False`` they do not.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(arrays(shape=3), lambda a: a[1] > 1.2)
    array([0., 2., 0.])
    >>> find(arrays(shape=(2, 2), away_from=0, ties=False), lambda a: True)
    array([[ 1., -1.],
           [ 2., -2.]])
    >>> find(arrays(shape=3, layouts=True), lambda a: not a.flags.c_contiguous).strides
    (16,)
    """
    return _array_strategy("arrays", dtype, shape, low, high, away_from, gap, ties, layouts)


def _array_strategy(
    function: str, dtype: Any, shape: Any, low: Any, high: Any, away_from: Any, gap: Any, ties: Any, layouts: Any
) -> st.SearchStrategy[np.ndarray]:
    bounds = check_range(function, low, high, away_from, gap)
    check_flag(function, "ties", ties, (None,))
    names = _check_layouts(function, layouts, ties)
    limits_of = lambda d: _limits(function, check_dtype(function, d), *bounds)
    shape_of = _shape_of(function)
    if not isinstance(dtype, st.SearchStrategy) and not isinstance(shape, st.SearchStrategy | None):
        _check_room(function, limits_of(dtype), math.prod(shape_of(shape)), ties)
    shape = None if shape is None else strategy_of(shape, shape_of)
    return _arrays(function, strategy_of(dtype, limits_of), shape, ties, names)


def _check_room(function: str, limits: Limits, size: int, ties: bool | None) -> None:
    if ties is False and size > len(_slots(limits)):
        raise fail(
            ValueError, f"{function}: too many entries to keep {limits.gap} from each other",
            expected=f"at most {len(_slots(limits))} entries of {limits.dtype} from {limits.low} to {limits.high}",
            got=f"a shape of {size} entries",
            hint="make gap smaller or the range larger, or give shapes(max_size=...)",
        )  # fmt: skip


@st.composite
def _arrays(
    draw: Draw, function: str, limits: Any, shape: Any, ties: bool | None, layouts: tuple[str, ...]
) -> np.ndarray:
    within: Limits = draw(limits)
    if shape is None:
        shape = shapes(max_size=len(_slots(within)) if ties is False else None)
    sides = draw(shape)
    size = math.prod(sides)
    _check_room(function, within, size, ties)
    count = min(max(size, 1), _MOST_CODES)  # one for an empty array too: it would be the simplest if it drew less
    level, codes = draw(_LEVELS), np.zeros((size, 2), np.uint8)
    for column in range(2 if level >= 2 else 1):
        drawn = draw(st.binary(min_size=count, max_size=count))
        codes[:, column] = np.resize(np.frombuffer(drawn, np.uint8), size)
    entries = _ENTRIES[ties](within, codes, level) if size else np.zeros(0)
    return _laid_out(draw, entries.astype(within.dtype).reshape(sides), layouts)


def _laid_out(draw: Draw, array: np.ndarray, layouts: tuple[str, ...]) -> np.ndarray:
    if layouts == ("contiguous",):
        return array
    view = _LAYOUTS[draw(st.sampled_from(layouts))](draw, array)
    if view.strides != array.strides:
        note(f"an array of shape {view.shape} and dtype {view.dtype} has the strides {view.strides}")
    return view


def tensors(
    *,
    dtype: Any = np.float64,
    shape: Any = None,
    low: float = -3,
    high: float = 3,
    away_from: Any = (),
    gap: float = 0.05,
    ties: bool | None = None,
    names: bool = True,
    layouts: bool | str | tuple[str, ...] | list[str] = True,
    requires_grad: bool | None = False,
) -> st.SearchStrategy[Tensor]:
    """Tensors without a history: constants, or parameters.

    Parameters
    ----------
    dtype, shape, low, high, away_from, gap, ties
        As for :func:`arrays`.
    names : bool
        Whether some are named.
    layouts : bool, str or tuple of str
        As for :func:`arrays`, but all by default. Parameters are copies and have their own memory: only
        ``"transposed"`` makes some that are not C-contiguous.
    requires_grad : bool, optional
        True for parameters, as :func:`tinygrad_rnn.parameter` makes them; None for either. Integers and bool never
        require gradients where it is None.

    Raises
    ------
    ValueError
        As for :func:`arrays`, and for a dtype that is not float with ``requires_grad=True``.

    Notes
    -----
    Shrinks to a constant 0 without axes and without a name; as :func:`arrays` for the rest.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(tensors(), lambda t: t.ndim == 1)
    tensor([0.], shape=(1,), dtype=float64)
    >>> find(tensors(shape=2, requires_grad=True), lambda t: t[1].item() > 1)
    tensor([0., 2.], shape=(2,), dtype=float64, requires_grad=True)
    """
    check_flag("tensors", "names", names)
    check_flag("tensors", "requires_grad", requires_grad, (None,))
    if requires_grad:
        dtype = _floats_only(dtype)
    values = _array_strategy("tensors", dtype, shape, low, high, away_from, gap, ties, layouts)
    return _tensors(values, names, requires_grad)


def _floats_only(dtype: Any) -> Any:
    check = lambda d: check_dtype("tensors: requires_grad=True needs floats", d, "f")
    return dtype.map(check) if isinstance(dtype, st.SearchStrategy) else check(dtype)


_NAMES = st.none() | st.sampled_from(["x", "h", "W_h", "a name with spaces"])


@st.composite
def _tensors(draw: Draw, values: Any, names: bool, requires_grad: bool | None) -> Tensor:
    array = draw(values)
    trained = draw(st.booleans()) if requires_grad is None and array.dtype.kind == "f" else bool(requires_grad)
    name = draw(_NAMES) if names else None
    return parameter(array, name=name) if trained else leaf(array, name=name)
