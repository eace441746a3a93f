"""Reductions as loops for programs: every layout, accuracy of long sums, NaN, and nothing written beside the result."""

from __future__ import annotations

import ctypes
from itertools import pairwise

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.native import environment
from tinygrad_rnn.kernels.reductions import reduce_first, reduce_last

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="it is about compiled loops")

FLOATS = [np.dtype(np.float32), np.dtype(np.float64)]
KINDS = ["sum", "max", "min"]
VIEWS = {
    "contiguous": lambda x: x.copy(),
    "every other": lambda x: np.repeat(np.repeat(x, 2, -1), 3, -2)[..., ::3, ::2],
    "backwards": lambda x: x[..., ::-1, ::-1].copy()[..., ::-1, ::-1],
    "transposed": lambda x: np.swapaxes(np.swapaxes(x, -1, -2).copy(), -1, -2),
}


def run(loop, arrays, dims, steps):
    """Call a loop by its address."""
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(loop.address)
    addresses = np.array([x.ctypes.data for x in arrays], np.int64)
    passed = addresses, np.array(dims, np.int64), np.array(steps, np.int64), environment()
    call(*(x.ctypes.data for x in passed))
    return passed[-1]


def last(kind, x, out, accumulate=False):
    run(reduce_last(kind, x.dtype, accumulate), [x, out], x.shape, [x.strides[0], out.strides[0], x.strides[1]])


def first(kind, x, out, accumulate=False):
    steps = [x.strides[0], out.strides[0], x.strides[1], x.strides[2], out.strides[1]]
    run(reduce_first(kind, x.dtype, accumulate), [x, out], x.shape, steps)


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def assert_sums(got, x, axis):
    exact = x.astype(np.longdouble)
    bound = 8 * np.finfo(got.dtype).eps * np.abs(exact).sum(axis)
    assert np.all(np.abs(got - exact.sum(axis)) <= bound)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("n", [0, 1, 2, 7, 64, 65, 256, 257, 1000, 1537])
def test_sums_of_rows(dtype, view, n):
    x = VIEWS[view](normal((3, n), dtype))
    out = np.full(8, 9, dtype)
    last("sum", x, out[1:7:2])
    assert_sums(out[1:7:2], x, 1)
    assert (out[[0, 2, 4, 6, 7]] == 9).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("n", [1, 2, 65, 257, 1537])
def test_extremes_of_rows(dtype, kind, n):
    for view in VIEWS.values():
        x = view(normal((3, n), dtype))
        out = np.zeros(3, dtype)
        last(kind, x, out)
        np.testing.assert_array_equal(out, getattr(x, kind)(1))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape", [(1, 1), (7, 1), (1, 7), (8, 16), (32, 512), (33, 65), (128, 3), (300, 130), (2, 300)]
)
def test_columns(dtype, kind, shape):
    for view in VIEWS.values():
        x = view(normal((2, *shape), dtype))
        out = np.full((2, 2 * shape[1]), 9, dtype)
        first(kind, x, out[:, ::2])
        assert (out[:, 1::2] == 9).all()
        if kind == "sum":
            assert_sums(out[:, ::2], x, 1)
        else:
            np.testing.assert_array_equal(out[:, ::2], getattr(x, kind)(1))


def test_the_sum_of_no_rows_is_zero():
    out = np.ones((1, 5))
    first("sum", np.zeros((1, 0, 5)), out)
    assert not out.any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_results_can_be_added(dtype):
    x, rows, columns = normal((2, 40, 30), dtype), np.full((2, 40), 5, dtype), np.full((2, 30), 5, dtype)
    for row, each in zip(rows, x):
        last("sum", each, row, accumulate=True)
    first("sum", x, columns, accumulate=True)
    np.testing.assert_allclose(rows, 5 + x.sum(2), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(columns, 5 + x.sum(1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("count", [2**16, 2**20 + 77])
def test_errors_of_long_sums_do_not_grow_with_their_length(count):
    x = np.full((1, count), np.float32(0.1))
    exact = float(np.float32(0.1)) * count
    out, column = np.zeros(1, np.float32), np.zeros((1, 1), np.float32)
    last("sum", x, out)
    first("sum", x[:, :, None], column)
    wide = np.zeros((1, 3), np.float32)
    first("sum", np.full((1, count, 3), np.float32(0.1)), wide)
    for got in (out, column, wide):
        assert np.all(np.abs(got / exact - 1) < 8 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [0, 1, 40, 63, 64, 299])
@pytest.mark.parametrize("sign", [1, -1])
def test_nan_wins(dtype, kind, place, sign):
    x = normal((300, 300), dtype)
    x[place, place], x[(place + 1) % 300, place] = np.copysign(np.nan, sign), np.inf
    rows, columns = np.zeros(300, dtype), np.zeros((1, 300), dtype)
    last(kind, x, rows)
    first(kind, x[None], columns)
    assert np.isnan(rows[place])
    assert np.isnan(columns[0, place])
    assert np.isnan(rows).sum() == np.isnan(columns).sum() == 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities_and_zeros(dtype):
    inf = np.inf
    x = np.array([[inf, 1, 2], [-inf, 1, 2], [inf, -inf, 0], [-inf, -inf, -inf], [-0.0, -0.0, -0.0]], dtype)
    for kind in KINDS:
        out, columns = np.zeros(5, dtype), np.zeros((1, 5), dtype)
        last(kind, x, out)
        first(kind, x.T[None], columns)
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(out, getattr(x, kind)(1))
        np.testing.assert_array_equal(columns[0], out)
    assert np.signbit(out[4])


@given(st.lists(st.integers(1, 700), min_size=2, max_size=4), st.integers(0, 99))
def test_parts_of_a_row_add_up_to_the_whole(lengths, seed):
    x = np.round(normal((1, sum(lengths)), np.float64, seed) * 1000)  # integers are added without error
    total, part = np.zeros(1), np.zeros(1)
    last("sum", x, total)
    for start, stop in pairwise(np.cumsum([0, *lengths])):
        last("sum", x[:, start:stop], part, accumulate=True)
    assert total == part == x.sum()
