"""Gathers, scatters, copies, conversions and checks: values as NumPy's, faults noted, and nothing written after one."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.test_reductions import run
from tinygrad_rnn.kernels.indexing import (
    INDEX_OUT_OF_RANGE,
    NOT_FINITE,
    cast,
    check_finite,
    copy,
    gather_rows,
    one_hot,
    pick,
    put_add,
    scatter_add_rows,
)  # fmt: skip
from tinygrad_rnn.kernels.native import FAULT, LIMIT, POSITION, VALUE
from tinygrad_rnn.kernels.rows import checked_cross_entropy, cross_entropy_surplus

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="it is about compiled loops")

FLOATS = [np.dtype(np.float32), np.dtype(np.float64)]
LAYOUTS = [lambda x: x.copy(), lambda x: np.repeat(x, 2, -1)[:, ::2], lambda x: x[::-1, ::-1].copy()[::-1, ::-1]]


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def indices(count, low, high, seed=0):
    return np.random.default_rng(seed).integers(low, high, count)


def gather(table, index, out, accumulate=False):
    steps = [0, index.strides[0], out.strides[0], *table.strides, out.strides[1]]
    return run(gather_rows(table.dtype, accumulate), [table, index, out], [len(index), *table.shape], steps)


def scatter(index, rows, table):
    steps = [index.strides[0], rows.strides[0], 0, rows.strides[1], *table.strides]
    dims = [len(index), rows.shape[1], len(table)]
    return run(scatter_add_rows(table.dtype), [index, rows, table], dims, steps)


def assert_fault(env, position, value, limit):
    assert [env[k] for k in (FAULT, POSITION, VALUE, LIMIT)] == [INDEX_OUT_OF_RANGE, position, value, limit]


# Rows of tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, np.dtype(np.int64)])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("width", [0, 1, 5, 65])
def test_gathered_rows(dtype, layout, width):
    table, index = layout((100 * normal((10, width), np.float64)).astype(dtype)), indices(14, -10, 10)[::2]
    out = layout(np.full((7, width), 3, dtype))
    assert not gather(table, index, out)[FAULT]
    np.testing.assert_array_equal(out, table[index])
    gather(table, index, out, accumulate=True)
    np.testing.assert_array_equal(out, table[index] + table[index])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("width", [0, 1, 5, 65])
def test_scattered_rows(dtype, layout, width):
    table, index, rows = layout(normal((6, width), dtype)), indices(20, -6, 6), layout(normal((20, width), dtype, 1))
    expected = table.copy()
    np.add.at(expected, index, rows)
    assert not scatter(index, rows, table)[FAULT]
    np.testing.assert_array_equal(table, expected)


@pytest.mark.parametrize("bad", [6, -7, 2**62, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("place", [0, 3, 4])
def test_indices_out_of_range_of_a_table(bad, place):
    index = np.array([0, 5, -6, -1, 2])
    index[place] = bad
    table, out = normal((6, 4), np.float32), np.full((5, 4), 9, np.float32)
    assert_fault(gather(table, index, out), place, bad, 6)
    np.testing.assert_array_equal(out[:place], table[index[:place]])
    assert (out[place:] == 9).all()
    guarded = np.zeros((18, 4), np.float32)
    assert_fault(scatter(index, np.ones((5, 4), np.float32), guarded[6:12]), place, bad, 6)
    assert guarded.sum() == 4 * place == guarded[6:12].sum()


def test_an_empty_table_has_no_rows():
    out = np.full((1, 4), 9, np.float32)
    assert_fault(gather(np.zeros((0, 4), np.float32), np.array([0]), out), 0, 0, 0)
    assert (out == 9).all()


@given(st.lists(st.integers(-12, 12), max_size=8))
def test_the_first_fault_is_noted(index):
    index = np.array(index, np.int64)
    table, out = normal((10, 3), np.float64), np.zeros((len(index), 3))
    wrong = np.flatnonzero((index < -10) | (index >= 10))
    env = gather(table, index, out)
    count = wrong[0] if wrong.size else len(index)
    np.testing.assert_array_equal(out[:count], table[index[:count]])
    assert not out[count:].any()
    if wrong.size:
        assert_fault(env, wrong[0], index[wrong[0]], 10)
    else:
        assert not env[FAULT]


# Entries of rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_picked_entries(dtype, layout):
    x, index, out = layout(normal((6, 9), dtype)), indices(6, -9, 9), np.zeros(6, dtype)
    steps = [x.strides[0], 8, out.itemsize, x.strides[1]]
    assert not run(pick(dtype), [x, index, out], x.shape, steps)[FAULT]
    np.testing.assert_array_equal(out, x[np.arange(6), index])
    expected = x.copy()
    expected[np.arange(6), index] += out
    assert not run(put_add(dtype), [index, out, x], x.shape, [8, out.itemsize, *x.strides])[FAULT]
    np.testing.assert_array_equal(x, expected)
    before, index[2] = x.copy(), 9
    assert_fault(run(pick(dtype), [x, index, out], x.shape, steps), 2, 9, 9)
    assert_fault(run(put_add(dtype), [index, out, x], x.shape, [8, out.itemsize, *x.strides]), 2, 9, 9)
    np.testing.assert_array_equal(x[2:], before[2:])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_hot_rows(dtype, layout):
    out, index = layout(np.full((5, 7), 9, dtype)), indices(5, 0, 7)
    assert not run(one_hot(dtype), [index, out], out.shape, [8, *out.strides])[FAULT]
    np.testing.assert_array_equal(out, np.eye(7)[index])
    for bad in (-1, 7):
        out[:], index[3] = 9, bad
        assert_fault(run(one_hot(dtype), [index, out], out.shape, [8, *out.strides]), 3, bad, 7)
        assert (out[3:] == 9).all()


# Losses ---------------------------------------------------------------------------------------------------------------


def exact_losses(x, target):
    wide = x.astype(np.longdouble)
    with np.errstate(invalid="ignore"):
        wide -= wide.max(-1, keepdims=True)
        e = np.exp(wide)
        total, at = e.sum(-1), (np.arange(len(x)), target)
        slope = e / total[:, None]
        slope[at] = (e[at] - total) / total
        return slope.astype(float), (np.log(total) - wide[at]).astype(float)


def fused(x, target, out):
    steps = [x.strides[0], target.strides[0], out.strides[0], x.strides[1], out.strides[1]]
    return run(cross_entropy_surplus(x.dtype), [x, target, out], [len(x), x.shape[1], out.shape[1]], steps)


def loss(x, target, out):
    steps = [x.strides[0], target.strides[0], out.strides[0], x.strides[1]]
    return run(checked_cross_entropy(x.dtype), [x, target, out], x.shape, steps)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n", [1, 2, 15, 16, 65, 79, 1000])
def test_losses_and_their_slope(dtype, layout, n):
    x, target, out = layout(5 * normal((4, n), dtype)), indices(4, 0, n), layout(np.zeros((4, n + 1), dtype))
    assert not fused(x, target, out)[FAULT]
    slope, losses = exact_losses(x, target)
    eps = np.finfo(dtype).eps
    # The sum has an error of its own for each time that a number is added to one of its parts.
    np.testing.assert_allclose(out[:, :n], slope, rtol=(20 + n / 8) * eps, atol=np.finfo(dtype).tiny)
    np.testing.assert_allclose(out[:, n], losses, rtol=4 * eps, atol=40 * eps)
    alone = np.zeros(8, dtype)
    assert not loss(x, target, alone[::2])[FAULT]
    np.testing.assert_allclose(alone[::2], losses, rtol=4 * eps, atol=40 * eps)
    assert not alone[1::2].any()


@pytest.mark.parametrize("bad", [-1, 5, 2**40])
def test_targets_out_of_range(bad):
    x, target = normal((4, 5), np.float32), np.array([0, 4, bad, bad])
    out, alone = np.full((4, 6), 9, np.float32), np.full(4, 9, np.float32)
    assert_fault(fused(x, target, out), 2, bad, 5)
    assert_fault(loss(x, target, alone), 2, bad, 5)
    assert (out[2:] == 9).all()
    assert (alone[2:] == 9).all()


def test_losses_of_infinities_and_nan():
    inf, nan = np.inf, np.nan
    x = np.array([[-inf, -inf], [inf, 0], [0, -inf], [nan, inf], [-inf, nan], [1e30, -1e30]], np.float32)
    out, alone, target = np.zeros((6, 3), np.float32), np.zeros(6, np.float32), np.array([1, 1, 1, 1, 0, 0])
    fused(x, target, out)
    loss(x, target, alone)
    np.testing.assert_array_equal(out, [[nan] * 3, [1, -1, inf], [1, -1, inf], [nan] * 3, [nan] * 3, [0, 0, 0]])
    np.testing.assert_array_equal(alone, out[:, 2])


# Copies, conversions and checks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.bool_, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("n", [0, 1, 7, 300])
def test_copies(dtype, n):
    x = indices(2 * n + 1, 0, 2).astype(dtype)
    for source in (x[:n], x[: 2 * n : 2], x[:n][::-1], np.broadcast_to(x[0], n)):
        for step in (1, 3):
            out = np.full(3 * n + 3, 1, dtype)
            target = out[: step * n : step]
            expected = out.copy()
            expected[: step * n : step] = source
            run(copy(out.itemsize), [source, target], [n], [source.strides[0], target.strides[0]])
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("source", [np.float32, np.float64, np.int64, np.int32, np.bool_])
@pytest.mark.parametrize("target", [np.float32, np.float64, np.int64, np.int32, np.bool_])
def test_conversions(source, target):
    x = (100 * normal(201, np.float64)).astype(source)
    x[0] = 0
    if np.dtype(source).kind == "f":
        x[1:3] = [-0.0, -0.75]
        if np.dtype(target).kind in "fb":
            x[3:6] = np.nan, np.inf, -np.inf
    loop = cast(np.dtype(source), np.dtype(target))
    out = np.zeros(201, target)
    run(loop, [x, out], [201], [x.itemsize, out.itemsize])
    np.testing.assert_array_equal(out, x.astype(target))
    out[:] = 0
    run(loop, [x[::2], out[1::2]], [100], [2 * x.itemsize, 2 * out.itemsize])
    np.testing.assert_array_equal(out[1::2], x[:-1:2].astype(target))
    assert not out[::2].any()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found(dtype, layout, value):
    x = layout(normal((4, 70), dtype))
    x[0, 0], x[1, 1] = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    assert not run(check_finite(dtype), [x], x.shape, x.strides).any(where=np.arange(8) < 4)
    for row, column in [(3, 69), (2, 40), (2, 0), (0, 1)]:
        x[row, column] = value
        env = run(check_finite(dtype), [x], x.shape, x.strides)
        assert [env[FAULT], env[POSITION]] == [NOT_FINITE, row * 70 + column]
    assert not run(check_finite(dtype), [x], [0, 70], x.strides)[FAULT]
