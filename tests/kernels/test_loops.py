"""Loops over scalar functions and rows: every layout of operands, every combination of dtypes, and vector code."""

from __future__ import annotations

import ctypes
import math
import re
import warnings

import numba
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import loops, scalars
from tinygrad_rnn.kernels.loops import address, elementwise_loop, row_loop, specialise
from tinygrad_rnn.kernels.rows import softmax

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="it is about compiled loops")

FLOATS = [np.float32, np.float64]
FLOAT = np.dtype(np.float32)


def affine(a, b):
    return 3 * a - b


def loop(function, n_in, dtype=FLOAT, n_out=1, **options):
    dtype = np.dtype(dtype)
    return elementwise_loop(function.__name__, specialise(function, dtype), [dtype] * n_in, [dtype] * n_out, **options)


@pytest.fixture(scope="module")
def kernel():
    return loop(affine, 2)


def pair(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(FLOAT), rng.normal(size=shape).astype(FLOAT)


def test_a_loop_can_be_called_by_its_address(kernel):
    (a, b), out = pair(6), np.zeros(6, FLOAT)
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(address(kernel))
    arrays = np.array([x.ctypes.data for x in (a, b, out)])
    size, strides = np.array([3]), np.array([8, 8, 8])  # every other element
    call(arrays.ctypes.data, size.ctypes.data, strides.ctypes.data, None)
    np.testing.assert_array_equal(out[::2], (3 * a - b)[::2])
    assert not out[1::2].any()


# Layouts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (7,), (1000,), (3, 5), (2, 0, 3), (0,), (1, 1, 1)])
def test_contiguous_operands(kernel, shape):
    a, b = pair(shape)
    result = kernel(a, b)
    assert result.dtype == FLOAT
    np.testing.assert_array_equal(result, 3 * a - b)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::2], lambda a: a[::-1], lambda a: a[:, ::3], lambda a: a.T, lambda a: a[1:, 2:-1],
        lambda a: np.asfortranarray(a), lambda a: a[None, :, 0], lambda a: a[:0], lambda a: a[:, :0],
        lambda a: np.broadcast_to(a[:1], a.shape), lambda a: a[:, :1], lambda a: a[2, 3],
    ],
)  # fmt: skip
def test_strided_operands(kernel, view):
    a, b = (view(x) for x in pair((6, 9)))
    np.testing.assert_array_equal(kernel(a, b), 3 * a - b)
    mixed = np.ascontiguousarray(b)
    np.testing.assert_array_equal(kernel(a, mixed), 3 * a - b)
    np.testing.assert_array_equal(kernel(mixed, a), 3 * b - a)


@pytest.mark.parametrize(
    ("first", "second"),
    [((8,), ()), ((), (8,)), ((4, 8), (8,)), ((4, 1), (4, 8)), ((4, 8), (4, 1)), ((1, 8), (4, 1)), ((3, 1, 2), (5, 1))],
)
def test_broadcast_operands(kernel, first, second):
    a, b = pair(first)[0], pair(second)[1]
    np.testing.assert_array_equal(kernel(a, b), 3 * a - b)


def test_results_go_into_strided_arrays(kernel):
    a, b = pair((4, 6))
    target = np.full((4, 12), 9, FLOAT)
    assert kernel(a, b, out=target[:, ::2]).base is target
    np.testing.assert_array_equal(target[:, ::2], 3 * a - b)
    np.testing.assert_array_equal(target[:, 1::2], 9)


@pytest.mark.parametrize(
    "place",
    [
        lambda x: (x[:10], x[10:20], x[:10]), lambda x: (x[:10], x[10:20], x[10:20]),
        lambda x: (x[:10], x[:10], x[:10]), lambda x: (x[:10], x[1:11], x[2:12]), lambda x: (x[2:12], x[1:11], x[:10]),
        lambda x: (x[:10], x[:10][::-1], x[:10]), lambda x: (x[:10], x[3], x[:10]), lambda x: (x[4], x[:10], x[:10]),
        lambda x: (x[0:20:2], x[1:21:2], x[:10]),
    ],
)  # fmt: skip
def test_operands_may_overlap_the_result(kernel, place):
    values = np.arange(24, dtype=FLOAT)
    a, b, _ = (np.array(part) for part in place(values))
    in_place = values.copy()
    first, second, out = place(in_place)
    kernel(first, second, out=out)
    np.testing.assert_array_equal(out, 3 * a - b)


def test_several_results():
    def both(a, b):
        return a + b, a * b

    a, b = pair((5,))
    total, product = loop(both, 2, n_out=2)(a, b)
    np.testing.assert_array_equal(total, a + b)
    np.testing.assert_array_equal(product, a * b)
    out = np.empty((2, 10), FLOAT)
    loop(both, 2, n_out=2)(a, b, out=(out[0, ::2], out[1, ::2]))
    np.testing.assert_array_equal(out[:, ::2], [a + b, a * b])


def test_arguments_that_are_not_taken_are_not_read():
    def line(g, y, x):
        return g * x

    kernel = loop(line, 2, takes=(0, 2))
    g, x = pair((9,))
    assert kernel.nin == 2
    np.testing.assert_array_equal(kernel(g, x), g * x)


def test_a_repeated_input_has_a_loop_of_its_own():
    def step(w, g, rate):
        return w - rate * g

    kernel = loop(step, 3, repeated=(2,))
    w, g = pair((9,))
    np.testing.assert_allclose(kernel(w, g, FLOAT.type(0.5)), w - FLOAT.type(0.5) * g, rtol=1e-6)
    np.testing.assert_allclose(kernel(w, g, np.abs(g)), w - np.abs(g) * g, rtol=1e-6)
    np.testing.assert_allclose(kernel(w[::2], g[::2], FLOAT.type(0.5)), (w - FLOAT.type(0.5) * g)[::2], rtol=1e-6)


# Numbers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_literals_and_globals_take_the_dtype(dtype):
    def f(x):
        return 1 - 0.1 * x + SHIFT

    x = np.linspace(-1, 1, 11).astype(dtype)
    t = np.dtype(dtype).type
    result = loop(f, 1, dtype)(x)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, t(1) - t(0.1) * x + t(SHIFT), rtol=2 * np.finfo(dtype).eps)


SHIFT = 0.3


def test_dtypes_that_do_not_fit_are_refused(kernel):
    with pytest.raises(TypeError, match="affine"):
        kernel(np.ones(2), np.ones(2))


def test_booleans_and_integers():
    def choose(c, a, b):
        return a if c else b

    kernel = elementwise_loop("choose", specialise(choose, FLOAT), [bool, FLOAT, FLOAT], [FLOAT])
    a, b = pair((6,))
    c = a > 0
    np.testing.assert_array_equal(kernel(c, a, b), np.where(c, a, b))

    def less(a, b):
        return a < b

    compare = elementwise_loop("less", specialise(less, FLOAT), [FLOAT, FLOAT], [bool])
    result = compare(a, b)
    assert result.dtype == bool
    np.testing.assert_array_equal(result, a < b)


@pytest.mark.parametrize("shape", [(4,), (64,), ()])
def test_no_floating_point_warnings(shape):
    def wild(a, b):
        return a / b + a * b - math.sqrt(a)

    a, b = np.full(shape, -3e38, FLOAT), np.full(shape, 1e-45, FLOAT)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        result = loop(wild, 2)(a, b)
    assert np.isnan(result).all()
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        np.ones(4, FLOAT) / np.zeros(4, FLOAT)


def test_functions_and_operations_that_are_referred_to_become_their_scalars():
    def rule(g, y, x):
        return g * square(x) + half(y)

    g, y = pair((5,))
    x = g + 1
    np.testing.assert_allclose(loop(rule, 3)(g, y, x), g * x * x + y / 2, rtol=1e-6)


square = tg.square


def half(x):
    return 0.5 * x


VECTOR_PRODUCT = r"fmul.*<\d+ x {}>"


# Vector code ----------------------------------------------------------------------------------------------------------


def optimised(monkeypatch, function, dtype) -> str:
    """LLVM code of the loop over `function`, after LLVM's passes."""
    made, cfunc = [], numba.cfunc

    def noting(*args, **options):
        def compile_(function):
            compiled = cfunc(*args, **{**options, "cache": False})(function)
            made.append(compiled)
            return compiled

        return compile_

    monkeypatch.setattr(numba, "cfunc", noting)
    loop(function, 2, dtype)
    (compiled,) = made
    return compiled._library.get_llvm_str()


@pytest.mark.parametrize(("dtype", "element"), [(np.float32, "float"), (np.float64, "double")])
@pytest.mark.parametrize("function", [affine, lambda a, b: scalars.tanh(a) * b, lambda a, b: scalars.exp(a) / b])
def test_contiguous_loops_are_vectors(monkeypatch, function, dtype, element):
    assert re.search(VECTOR_PRODUCT.format(element), optimised(monkeypatch, function, dtype))


def test_the_first_loop_is_for_contiguous_operands():
    source = loops._elementwise_source(range(3), 3, 1, [1, 4, 4, 4], ())
    assert source.splitlines()[6].strip() == "if steps[0] == 1 and steps[1] == 4 and steps[2] == 4 and steps[3] == 4:"


def test_loops_over_calls_are_no_vectors(monkeypatch):
    code = optimised(monkeypatch, lambda a, b: math.atan2(a, b), np.float32)
    assert "LOOP" not in code
    assert not re.search(VECTOR_PRODUCT.format("float"), code)


# Rows -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def soft():
    return row_loop("softmax", softmax, "(n)->(n)", [FLOAT], [FLOAT])


@pytest.mark.parametrize(
    ("shape", "axis"), [((5,), 0), ((3, 4), 0), ((3, 4), -1), ((2, 3, 4), 1), ((2, 3, 4), 0), ((1, 1), 0), ((0, 4), -1)]
)
def test_rows(soft, shape, axis):
    x = pair(shape)[0]
    e = np.exp(x - x.max(axis, keepdims=True)) if x.size else x
    np.testing.assert_allclose(soft(x, axis=axis), e / e.sum(axis, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("view", [lambda x: x[::2], lambda x: x[:, ::2], lambda x: x[:, ::-1], lambda x: x.T])
def test_strided_rows(soft, view):
    x = pair((6, 8))[0]
    np.testing.assert_array_equal(soft(view(x)), soft(np.ascontiguousarray(view(x))))


def test_rows_with_numbers_beside_them():
    def scaled(x, factor, out):
        for i in range(x.size):
            out[i] = x[i] * factor[0]

    kernel = row_loop("scaled", scaled, "(n),()->(n)", [FLOAT, FLOAT], [FLOAT])
    x, f = pair((3, 4))[0], np.array([1, 10, 100], FLOAT)
    np.testing.assert_array_equal(kernel(x, f), x * f[:, None])
    np.testing.assert_array_equal(kernel(x, FLOAT.type(2)), x * 2)


def test_rows_to_one_number():
    def total(x, out):
        out[0] = 0
        for i in range(x.size):
            out[0] += x[i]

    kernel = row_loop("total", total, "(n)->()", [FLOAT], [FLOAT])
    x = pair((3, 4))[0]
    np.testing.assert_allclose(kernel(x), x.sum(-1), rtol=1e-5)
    assert np.shape(kernel(x[0])) == ()
