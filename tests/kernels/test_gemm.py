"""Matrix products by address: every layout, both ways of computing them, and nothing written outside of C."""

from __future__ import annotations

import ctypes
import math

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinygrad_rnn.kernels import gemm as module
from tinygrad_rnn.kernels.gemm import gemm, gemm_scaled
from tinygrad_rnn.kernels.native import environment, native

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="it is about compiled loops")

FLOATS = [np.float32, np.float64]
BOTH = pytest.mark.parametrize("dtype", FLOATS)
GUARD = -7.0
# Products that `gemm` computes itself and products that it leaves to BLAS, where it does compute any.
SHAPES = [(32, 128, 96), (8, 64, 64), (25, 300, 65), (3, 5, 7), (1, 100, 100), (2, 40, 9), (70, 33, 1), (6, 1, 20)]


def call(loop, operands, dims, steps):
    arrays = np.array([x.ctypes.data for x in operands])
    sizes, strides = np.array(dims, np.int64), np.array(steps, np.int64)
    env = environment()
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(loop.address)
    run(arrays.ctypes.data, sizes.ctypes.data, strides.ctypes.data, env.ctypes.data)


def product(loop, a, b, c, alpha=None):
    """Call `loop` on one product, or on as many as there are along the first axis of `c`."""
    outer = c.shape[0] if c.ndim == 3 else 1
    operands = [a, b, c] if alpha is None else [a, b, alpha, c]
    leading = [x.strides[0] if x.ndim == 3 or (x is alpha and x.size > 1) else 0 for x in operands]
    core = [s for x in (a, b, c) for s in x.strides[-2:]]
    call(loop, operands, [outer, a.shape[-2], a.shape[-1], b.shape[-1]], [*leading, *core])


def matrix(rng, rows, columns, dtype, by_columns=False, padding=0):
    """Random numbers in an array that lies by rows or by columns, which may be further apart than they are long."""
    shape = (columns, rows + padding) if by_columns else (rows, columns + padding)
    base = rng.normal(size=shape).astype(dtype)
    return base.T[:rows] if by_columns else base[:, :columns]


def target(m, n, dtype, value, padding=3):
    """An array with guards around a window for C, and the window."""
    whole = np.full((m + 2, n + 2 * padding), GUARD, dtype)
    window = whole[1 : m + 1, padding : padding + n]
    window[...] = value
    return whole, window


def check(result, start, a, b, alpha=1.0):
    exact = start + alpha * (a.astype(np.float64) @ b.astype(np.float64))
    scale = 1 + abs(start) + abs(alpha) * (abs(a).astype(np.float64) @ abs(b).astype(np.float64))
    np.testing.assert_array_less(
        abs(result - exact) / scale, 4 * np.finfo(result.dtype).eps * math.sqrt(a.shape[1] + 1)
    )


def check_guards(whole, window):
    window[...] = GUARD
    assert (whole == GUARD).all()


layouts = st.fixed_dictionaries(
    {
        "m": st.integers(0, 40),
        "k": st.integers(0, 70) | st.integers(250, 600),
        "n": st.integers(0, 140),
        "a_by_columns": st.booleans(),
        "b_by_columns": st.booleans(),
        "a_padding": st.integers(0, 3),
        "b_padding": st.integers(0, 3),
        "dtype": st.sampled_from(FLOATS),
        "mode": st.sampled_from(["overwrite", "add", "scaled"]),
        "seed": st.integers(0, 99),
    }
)
PLAIN = {"a_by_columns": False, "b_by_columns": False, "a_padding": 0, "b_padding": 0, "dtype": np.float32, "seed": 0}


@given(layouts)
@example({**PLAIN, "m": 5, "k": 0, "n": 7, "mode": "overwrite"})
@example({**PLAIN, "m": 17, "k": 513, "n": 49, "mode": "overwrite", "b_by_columns": True})
@example({**PLAIN, "m": 1, "k": 300, "n": 100, "mode": "add", "b_by_columns": True})
def test_any_layout(case):
    rng, dtype, (m, k, n) = np.random.default_rng(case["seed"]), case["dtype"], (case[s] for s in "mkn")
    a = matrix(rng, m, k, dtype, case["a_by_columns"], case["a_padding"])
    b = matrix(rng, k, n, dtype, case["b_by_columns"], case["b_padding"])
    alpha = np.array([-0.37], dtype) if case["mode"] == "scaled" else None
    start = math.nan if case["mode"] == "overwrite" else 0.5
    whole, c = target(m, n, dtype, start)
    loop = gemm_scaled(dtype) if case["mode"] == "scaled" else gemm(dtype, case["mode"] == "add")
    product(loop, a, b, c, alpha)
    check(c, 0.0 if case["mode"] == "overwrite" else 0.5, a, b, 1.0 if alpha is None else float(alpha[0]))
    check_guards(whole, c)


# Each way of computing a product, whatever the shape ------------------------------------------------------------------


def _add_by_blas(args, dims, steps, data):
    a, b, c = pointer(args[0], 0, T), pointer(args[1], 0, T), pointer(args[2], 0, T)  # noqa: F821
    blas(a, b, c, dims[1], dims[2], dims[3], steps[3], steps[4], steps[5], steps[6], steps[7], T(1), True, data)  # noqa: F821


def _add_by_tiles(args, dims, steps, data):
    a, b, c = pointer(args[0], 0, T), pointer(args[1], 0, T), pointer(args[2], 0, T)  # noqa: F821
    by_columns = steps[6] != itemsize(a)
    tiled(a, b, c, dims[1], dims[2], dims[3], steps[3], steps[4], steps[5], steps[6], steps[7], T(1), True, by_columns)  # noqa: F821


pointer, blas, tiled, itemsize = module.pointer, module._call_blas, module._tiled, module._itemsize


@BOTH
@pytest.mark.parametrize("way", [_add_by_blas, _add_by_tiles])
def test_both_ways(way, dtype):
    loop, rng = native(way.__name__, way, T=dtype), np.random.default_rng(0)
    for m, k, n in SHAPES:
        for a_by_columns in (False, True):
            for b_by_columns in (False, True):
                a = matrix(rng, m, k, dtype, a_by_columns, padding=1)
                b = matrix(rng, k, n, dtype, b_by_columns, padding=1)
                whole, c = target(m, n, dtype, 0.5)
                product(loop, a, b, c)
                check(c, 0.5, a, b)
                check_guards(whole, c)


@BOTH
@pytest.mark.parametrize("rows", range(1, 20))
def test_every_size_of_tile(rows, dtype):
    rng = np.random.default_rng(0)
    a = matrix(rng, rows, 9, dtype)
    for columns in range(1, 140, 3):
        b = matrix(rng, 9, columns, dtype)
        whole, c = target(rows, columns, dtype, math.nan)
        product(gemm(dtype, False), a, b, c)
        check(c, 0.0, a, b)
        check_guards(whole, c)


# Special values -------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("b_by_columns", [False, True])
@pytest.mark.parametrize("a_by_columns", [False, True])
@pytest.mark.parametrize("special", [math.nan, math.inf])
@pytest.mark.parametrize("shape", SHAPES)
def test_special_values_times_zero(shape, special, a_by_columns, b_by_columns, dtype):
    m, k, n = shape
    rng, at = np.random.default_rng(0), k // 2
    a, b = matrix(rng, m, k, dtype, a_by_columns), matrix(rng, k, n, dtype, b_by_columns)
    a[m // 2, at], b[at] = special, 0
    c = np.full((m, n), math.nan, dtype)
    product(gemm(dtype, False), a, b, c)
    assert np.isnan(c[m // 2]).all()
    assert np.isfinite(np.delete(c, m // 2, 0)).all()
    a[:, at], b[at], b[at, n // 2] = 0, 1, special
    c[...] = 0
    product(gemm(dtype, True), a, b, c)
    assert np.isnan(c[:, n // 2]).all()
    assert np.isfinite(np.delete(c, n // 2, 1)).all()


@BOTH
@pytest.mark.parametrize("b_by_columns", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_factor_of_zero_hides_nothing(shape, b_by_columns, dtype):
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b, c = matrix(rng, m, k, dtype), matrix(rng, k, n, dtype, b_by_columns), np.ones((m, n), dtype)
    a[0, 0] = math.inf
    product(gemm_scaled(dtype), a, b, c, np.zeros(1, dtype))
    assert np.isnan(c[0]).all()
    assert (c[1:] == 1).all()


# Strides --------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("accumulate", [False, True])
def test_many_products(accumulate, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4, 5)).astype(dtype), rng.normal(size=(3, 5, 6)).astype(dtype)
    for lefts, rights in [(a, b), (a, b[0]), (a[0], b), (a[0], b[0]), (a[::-1], b)]:
        c = np.ones((3, 4, 6), dtype)
        product(gemm(dtype, accumulate), lefts, rights, c)
        np.testing.assert_allclose(c, np.broadcast_to(lefts @ rights + accumulate, c.shape), 2e-5, 1e-5)


@BOTH
def test_sums_over_the_outer_axis(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4, 5)).astype(dtype), rng.normal(size=(3, 5, 6)).astype(dtype)
    c = np.zeros((4, 6), dtype)
    call(
        gemm(dtype, True),
        [a, b, c],
        [3, 4, 5, 6],
        [*(x.strides[0] for x in (a, b)), 0, *a.strides[1:], *b.strides[1:], *c.strides],
    )
    np.testing.assert_allclose(c, (a @ b).sum(0), 2e-5, 1e-5)


@BOTH
def test_many_scales(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4, 5)).astype(dtype), rng.normal(size=(3, 5, 6)).astype(dtype)
    c, alpha = np.ones((3, 4, 6), dtype), np.array([1, -2, 0.5], dtype)
    product(gemm_scaled(dtype), a, b, c, alpha)
    np.testing.assert_allclose(c, 1 + alpha[:, None, None] * (a @ b), 2e-5, 1e-5)


@BOTH
def test_no_products(dtype):
    c = np.ones((4, 6), dtype)
    call(gemm(dtype, False), [c, c, c], [0, 4, 5, 6], [0] * 9)
    assert (c == 1).all()


@BOTH
@pytest.mark.parametrize("stride", [0, 3, -8, 4096])
@pytest.mark.parametrize(
    "shape", [(1, 60, 40), (30, 1, 40), (30, 60, 1), (1, 1, 40), (1, 60, 1), (30, 1, 1), (1, 1, 1)]
)
def test_strides_of_single_elements_mean_nothing(shape, stride, dtype):
    rng, (m, k, n) = np.random.default_rng(0), shape
    for a_by_columns in (False, True):
        for b_by_columns in (False, True):
            a, b = matrix(rng, m, k, dtype, a_by_columns), matrix(rng, k, n, dtype, b_by_columns)
            whole, c = target(m, n, dtype, 0.5)
            size = c.itemsize
            steps = [*a.strides, *b.strides, *c.strides]
            sizes = [m, k, k, n, m, n]
            # One stride of each operand is that of an element.
            for place in (0, 1, 2, 3, 4):
                if sizes[place] == 1 and (place == 4 or steps[place ^ 1] == size):
                    steps[place] = stride
            call(gemm(dtype, True), [a, b, c], [1, m, k, n], [0, 0, 0, *steps])
            check(c, 0.5, a, b)
            check_guards(whole, c)


@BOTH
def test_unaligned_operands(dtype):
    rng, (m, k, n) = np.random.default_rng(0), (9, 40, 37)
    size = np.dtype(dtype).itemsize
    raw = [np.zeros(x * y * size + 64, np.uint8) for x, y in [(m, k), (k, n), (m, n)]]
    starts = [(4 - r.ctypes.data) % 64 for r in raw]
    a, b, c = (
        r[o : o + x * y * size].view(dtype).reshape(x, y) for r, o, (x, y) in zip(raw, starts, [(m, k), (k, n), (m, n)])
    )
    a[...], b[...] = rng.normal(size=a.shape), rng.normal(size=b.shape)
    product(gemm(dtype, False), a, b, c)
    check(c.copy(), 0.0, a, b)


def test_results_do_not_depend_on_when():
    rng = np.random.default_rng(0)
    a, b = matrix(rng, 32, 300, np.float32), matrix(rng, 300, 70, np.float32)
    results = []
    for _ in range(2):
        c = np.zeros((32, 70), np.float32)
        product(gemm(np.float32, False), a.copy(), b.copy(), c)
        results.append(c)
    np.testing.assert_array_equal(*results)
