"""Views do with offsets and strides what NumPy does, and need a copy exactly where NumPy does."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.compile import views as vw
from tinygrad_rnn.compile.emit import walk
from tinygrad_rnn.compile.views import Storage, View

SIZES = st.integers(0, 4)
SHAPES = st.lists(SIZES, max_size=4).map(tuple)
POSITIVE = st.lists(st.integers(1, 4), max_size=4).map(tuple)


def buffer(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(prod(shape), dtype=np.float32).reshape(shape)


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def taken(array: np.ndarray, index: Any) -> np.ndarray:
    """``array[index]`` as a view, also of a single entry."""
    parts = index if type(index) is tuple else (index,)
    return array[parts if Ellipsis in parts else (*parts, ...)]


def view_of(array: np.ndarray, base: np.ndarray) -> View:
    """The view that an array, which shares memory with `base`, is."""
    offset = address(array) - address(base) if array.size else 0
    return View(Storage(base.nbytes), offset, array.shape, array.strides, array.dtype)


def assert_same(view: View, array: np.ndarray, base: np.ndarray) -> None:
    """The same place; strides count only along axes with several entries, and nothing but the shape where none is."""
    assert view.shape == array.shape
    assert view.dtype == array.dtype
    assert view.size == array.size
    if array.size:
        assert view.offset == address(array) - address(base)
        strides = zip(array.shape, view.strides, array.strides, strict=True)
        assert all(found == expected for n, found, expected in strides if n > 1)
        assert view.contiguous == array.flags.c_contiguous
        low, high = np.lib.array_utils.byte_bounds(array)
        assert view.span == (low - address(base), high - address(base))
        assert 0 <= view.span[0] < view.span[1] <= base.nbytes
    assert len(view.strides) == len(view.shape)


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """A basic index: for some of the axes an integer or a slice, with None and an ellipsis in between."""
    parts: list[Any] = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        bound = st.none() | st.integers(-n - 2, n + 2)
        step = st.none() | st.integers(-3, 3).filter(bool)
        kinds = [st.just(slice(None)), st.builds(slice, bound, bound, step)]
        parts.append(draw(st.one_of(*kinds, st.integers(-n, n - 1)) if n else st.one_of(*kinds)))
    for _ in range(draw(st.integers(0, 2))):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts = _with_ellipsis(parts, draw(st.integers(0, len(parts))), shape, draw)
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


def _with_ellipsis(parts: list[Any], at: int, shape: tuple[int, ...], draw: st.DrawFn) -> list[Any]:
    """The parts after an ellipsis belong to the last axes, so integers among them are chosen anew."""
    after = [p for p in parts[at:] if p is not None]
    sizes = iter(shape[len(shape) - len(after) :])
    tail = [p if p is None else _fitting(p, next(sizes), draw) for p in parts[at:]]
    return [*parts[:at], Ellipsis, *tail]


def _fitting(part: Any, n: int, draw: st.DrawFn) -> Any:
    if isinstance(part, slice):
        return part
    return draw(st.integers(-n, n - 1)) if n else slice(None)


@st.composite
def strided(draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, ...]] = SHAPES) -> tuple[np.ndarray, np.ndarray]:
    """An array with whatever strides indexing, transposing and broadcasting give, and the buffer that it lies in."""
    base = array = buffer(draw(shapes))
    for _ in range(draw(st.integers(0, 2))):
        array = taken(array, draw(indices(array.shape)))
        if array.ndim > 1:
            array = array.transpose(draw(st.permutations(range(array.ndim))))
    if array.ndim and draw(st.booleans()):
        array = np.broadcast_to(array, (draw(st.integers(0, 3)), *array.shape))
    return array, base


@st.composite
def factored(draw: st.DrawFn, size: int) -> tuple[int, ...]:
    """A shape of that many entries."""
    if not size:
        return draw(st.lists(SIZES, max_size=3).map(lambda s: (0, *s)))
    shape = []
    while size > 1:
        n = draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
        shape.append(n)
        size //= n
        if len(shape) == 4:
            shape.append(size)
            break
    shape += [1] * draw(st.integers(0, 1))
    return tuple(draw(st.permutations(shape)))


def reshaped_in_place(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """NumPy's reshape, or None where it copies."""
    try:
        return np.reshape(array, shape, copy=False)
    except ValueError:
        return None


@given(data=st.data())
def test_subview(data):
    array, base = data.draw(strided())
    index = data.draw(indices(array.shape))
    assert_same(vw.subview(view_of(array, base), index), taken(array, index), base)


@pytest.mark.parametrize(
    "index",
    [
        (), ..., None, 0, -1, (None, ...), (..., None), (..., 0), (0, ..., 0), (0, 1, 2), (0, 1, 2, ...),
        (None, 0, None), slice(None, None, -1), (slice(None), slice(None, None, -2)), slice(2, 0, -1),
        slice(0, 0), slice(5, 1), slice(-100, 100), (slice(1, 2), -1, slice(-1, None, -3)), (slice(0, 0), 1),
        (..., slice(None, None, -1), 0),
    ],
)  # fmt: skip
def test_indices_of_every_kind(index):
    base = buffer((2, 3, 4))
    assert_same(vw.subview(view_of(base, base), index), taken(base, index), base)


@given(data=st.data())
def test_transpose(data):
    array, base = data.draw(strided())
    axes = data.draw(st.permutations(range(array.ndim)))
    assert_same(vw.transpose(view_of(array, base), axes), array.transpose(axes), base)


@given(data=st.data())
def test_broadcast(data):
    array, base = data.draw(strided())
    lead = tuple(data.draw(st.lists(st.integers(0, 3), max_size=2)))
    shape = lead + tuple(data.draw(st.integers(0, 3)) if n == 1 else n for n in array.shape)
    assert_same(vw.broadcast(view_of(array, base), shape), np.broadcast_to(array, shape), base)


@given(data=st.data())
def test_reshape(data):
    array, base = data.draw(strided())
    shape = data.draw(factored(array.size))
    found, expected = vw.reshape(view_of(array, base), shape), reshaped_in_place(array, shape)
    assert (found is None) == (expected is None), f"{array.shape} {array.strides} -> {shape}"
    if found is not None and expected is not None:
        assert_same(found, expected, base)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda a: a[:, ::-1], (2, 3, 2, 2)),
        (lambda a: a[::-1], (2, 12)),
        (lambda a: a[::-1, ::-1, ::-1], (24,)),
        (lambda a: a[:, ::2], (2, 8)),
        (lambda a: a[:, :2], (16,)),
        (lambda a: a.transpose(1, 0, 2), (3, 8)),
        (lambda a: a.transpose(1, 0, 2), (3, 2, 2, 2)),
        (lambda a: a.transpose(2, 0, 1), (4, 6)),
        (lambda a: np.broadcast_to(a[:, :1, :1], (2, 3, 4)), (2, 12)),
        (lambda a: np.broadcast_to(a[:1], (5, 2, 3, 4)[1:]), (24,)),
        (lambda a: np.broadcast_to(a[0, 0, 0, ...], (6, 4)), (3, 8)),
        (lambda a: a[:, :0], (0, 7)),
        (lambda a: a[:1, 1:2, ::-1], (4, 1)),
        (lambda a: a[0, 0, :1], ()),
    ],
)
def test_reshapes_with_and_without_a_copy(make, shape):
    base = buffer((2, 3, 4))
    array = make(base)
    found, expected = vw.reshape(view_of(array, base), shape), reshaped_in_place(array, shape)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert_same(found, expected, base)


@given(shape=SHAPES, data=st.data())
def test_compact_strides(shape, data):
    order = data.draw(st.permutations(range(len(shape))))
    expected = np.empty([shape[k] for k in order], np.float32).transpose(np.argsort(order) if order else None)
    found = vw.compact_strides(shape, 4, order)
    assert all(f == e for n, f, e in zip(shape, found, expected.strides, strict=True) if n > 1 and expected.size)
    assert vw.compact_strides(shape, 4) == vw.compact_strides(shape, 4, range(len(shape)))


# Walking --------------------------------------------------------------------------------------------------------------


def steps_of(axes: list[tuple[int, tuple[int, ...]]], operand: int) -> list[int]:
    """The offsets at which one operand is visited, in order."""
    offsets = [0]
    for count, strides in axes:
        offsets = [o + i * strides[operand] for o in offsets for i in range(count)]
    return offsets


@given(data=st.data())
def test_a_walk_visits_every_entry_of_all_operands_once_and_together(data):
    shape = data.draw(SHAPES)
    out = buffer(shape).transpose(order := data.draw(st.permutations(range(len(shape)))))
    operands = [data.draw(like(out.shape)) for _ in range(data.draw(st.integers(0, 2)))]
    strides = [a.strides for a in [*operands, out]]
    axes = walk(out.shape, strides)
    if axes is None:
        assert not out.size, order
        return
    assert all(count > 1 for count, _ in axes)
    visited = list(zip(*(steps_of(axes, k) for k in range(len(strides))), strict=True))
    places = np.ndindex(out.shape)
    expected = [tuple(sum(i * s for i, s in zip(place, own)) for own in strides) for place in places]
    assert sorted(visited) == sorted(expected)


@st.composite
def like(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """An operand of a shape: transposed, reversed or broadcast."""
    own = tuple(n if draw(st.booleans()) else 1 for n in shape)
    order = draw(st.permutations(range(len(shape))))
    array = buffer(tuple(own[k] for k in order)).transpose(np.argsort(order) if order else None)
    array = array[tuple(slice(None, None, draw(st.sampled_from([1, -1]))) for _ in shape)]
    return np.broadcast_to(array, shape)


@given(shape=POSITIVE, data=st.data())
def test_a_walk_goes_along_the_memory_of_the_last_operand(shape, data):
    out = buffer(shape).transpose(data.draw(st.permutations(range(len(shape)))))
    axes = walk(out.shape, [data.draw(like(out.shape)).strides, out.strides])
    assert axes is not None
    assert steps_of(axes, 1) == sorted(steps_of(axes, 1))
    alone = walk(out.shape, [out.strides])
    assert alone == ([(out.size, (4,))] if out.size > 1 else [])


def test_a_walk_merges_neighbours_only_where_all_operands_allow():
    a, out = buffer((2, 3, 4)), buffer((2, 3, 4))
    assert walk(out.shape, [a.strides, out.strides]) == [(24, (4, 4))]
    assert walk(out.shape, [np.broadcast_to(a[0], out.shape).strides, out.strides]) == [(2, (0, 48)), (12, (4, 4))]
    assert walk(out.shape, [np.broadcast_to(a[:, :1, :1], out.shape).strides, out.strides]) == [
        (2, (48, 48)),
        (12, (0, 4)),
    ]
    assert walk((2, 0), [(0, 4)]) is None
    assert walk((), [()]) == []
    assert walk((1, 1), [(4, 4)]) == []


@pytest.mark.parametrize("step", [2**63, -(2**63), 2**62, 7, -7])
def test_a_step_beyond_the_end(step):
    """There is one entry, however large the step; its stride need not fit into any number."""
    fn = lambda x, k: (x[::step] @ x.T, x[:, ::step].sum(1), k[::step, None] + 1)
    x, k = np.arange(6.0).reshape(2, 3), np.arange(3)
    for _ in range(2):
        for got, right in zip(tg.compile(fn)(x, k), fn(tg.tensor(x), tg.tensor(k)), strict=True):
            np.testing.assert_allclose(got.numpy(), right.numpy())
