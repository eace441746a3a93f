"""Loops over scalar functions and rows: every layout of operands, every combination of dtypes, and vector code."""

from __future__ import annotations

import ctypes
import itertools
import math
import re
import warnings

import numba
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import rows, scalars
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


@pytest.mark.parametrize("n", [1, 15, 255, 256, 257, 600])
@pytest.mark.parametrize("layouts", list(itertools.product(["contiguous", "number", "strided"], repeat=3)))
def test_every_layout_of_three_operands(three, n, layouts):
    layout = {
        "contiguous": lambda x: x.copy(), "strided": lambda x: np.repeat(x, 3)[::3],
        "number": lambda x: np.broadcast_to(x[0], n),
    }  # fmt: skip
    rng = np.random.default_rng(1)
    a, b, c = (layout[each](rng.normal(size=n).astype(FLOAT)) for each in layouts)
    out = np.full(2 * n + 2, 9, FLOAT)
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(address(three))
    for target in (out[1 : n + 1], out[1 : 2 * n + 1 : 2]):
        out[:] = 9
        addresses = np.array([x.ctypes.data for x in (a, b, c, target)])
        size, strides = np.array([n]), np.array([x.strides[0] for x in (a, b, c, target)])
        call(addresses.ctypes.data, size.ctypes.data, strides.ctypes.data, None)
        np.testing.assert_allclose(target, a * b - c, rtol=1e-5, atol=1e-6)
        target[:] = 9
        assert (out == 9).all()


@pytest.fixture(scope="module")
def three():
    def multiply_and_subtract(a, b, c):
        return a * b - c

    return loop(multiply_and_subtract, 3)


@pytest.mark.parametrize("operand", [0, 1, 2])
@pytest.mark.parametrize("n", [5, 300, 1000])
def test_results_may_take_the_place_of_any_operand(three, operand, n):
    operands = list(np.random.default_rng(2).normal(size=(3, n)).astype(FLOAT))
    expected = three(*operands)
    strided = [np.repeat(x, 2)[::2] for x in operands]
    for arrays in (operands, strided):
        three(*arrays, out=arrays[operand])
        np.testing.assert_array_equal(arrays[operand], expected)


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


def test_several_results_in_place():
    def turn(a, b, c, s):
        return c * a - s * b, s * a + c * b

    kernel = loop(turn, 4, n_out=2, repeated=(2, 3))
    for n in (7, 100):
        a, b = pair((n,))
        c, s = np.array([0.6, 0.8], FLOAT)
        expected = kernel(a, b, c, s)
        np.testing.assert_allclose(expected, [c * a - s * b, s * a + c * b], rtol=1e-5, atol=1e-6)
        kernel(a, b, c, s, out=(a, b))
        np.testing.assert_array_equal((a, b), expected)


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


def scaled(by):
    return lambda a, b: by * a + b


@pytest.mark.parametrize(
    ("dtype", "element", "other"), [(np.float32, "float", "double"), (np.float64, "double", "float")]
)
@pytest.mark.parametrize(
    "function",
    [
        affine, lambda a, b: scalars.tanh(a) * b, lambda a, b: scalars.exp(a) / b, lambda a, b: a * (1 - b * b),
        lambda a, b: a * 1000 - b, lambda a, b: 0.1 * a - b, lambda a, b: SHIFT * a - b, lambda a, b: math.pi * a - b,
        scaled(3), scaled(0.1),
    ],
)  # fmt: skip
def test_contiguous_loops_are_vectors(monkeypatch, function, dtype, element, other):
    code = optimised(monkeypatch, function, dtype)
    assert re.search(VECTOR_PRODUCT.format(element), code)
    assert not re.search(rf"\b{other}\b", code)


@pytest.mark.parametrize("function", [affine, lambda a, b: scalars.tanh(a) * b])
def test_no_loop_asks_whether_its_operands_overlap(monkeypatch, function):
    code = optimised(monkeypatch, function, np.float32)
    assert "vector.body" in code
    assert "memcheck" not in code


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


def test_rows_go_into_strided_arrays_and_over_their_operand(soft):
    x = pair((6, 8))[0]
    expected = soft(x)
    target = np.full((6, 16), 9, FLOAT)
    soft(x[:, ::-1], out=target[:, ::2])
    np.testing.assert_array_equal(target[:, 1::2], 9)
    np.testing.assert_allclose(target[:, ::2], expected[:, ::-1], rtol=1e-6)
    columns = x.T.copy()
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(address(soft))
    for array in (x, columns.T):
        addresses, sizes = np.array([array.ctypes.data] * 2), np.array(array.shape)
        strides = np.array([array.strides[0]] * 2 + [array.strides[1]] * 2)
        call(addresses.ctypes.data, sizes.ctypes.data, strides.ctypes.data, None)
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [1, 2, 16, 65, 79, 1000])
def test_functions_of_rows_are_accurate(dtype, n):
    x = (5 * np.random.default_rng(n).normal(size=(3, n))).astype(dtype)
    wide, eps = x.astype(np.longdouble), np.finfo(dtype).eps
    e = np.exp(wide - wide.max(1, keepdims=True))
    total, kind = e.sum(1, keepdims=True), np.dtype(dtype)

    def close(got, expected, scale=1.0):
        assert got.dtype == dtype
        assert np.max(np.abs(got - expected) / (np.abs(expected) + scale)) < (8 + n / 8) * eps

    def kernel(function, signature, *ins):
        return row_loop(function.__name__, function, signature, [kind, *map(np.dtype, ins)], [kind])

    close(kernel(rows.softmax, "(n)->(n)")(x), e / total, scale=0.0)
    close(kernel(rows.log_softmax, "(n)->(n)")(x), np.log(e / total), scale=np.abs(x).max())
    close(kernel(rows.logsumexp, "(n)->()")(x), np.log(total[:, 0]) + wide.max(1), scale=np.abs(x).max())
    target = np.arange(3) % n
    losses = np.log(total[:, 0]) + wide.max(1) - wide[np.arange(3), target]
    close(kernel(rows.cross_entropy, "(n),()->()", np.int64)(x, target), losses, scale=np.abs(x).max())
    centred = wide - wide.mean(1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    close(kernel(rows.normalize, "(n),()->(n)", dtype)(x, kind.type(1e-5)), normal)


def test_rows_of_infinities_and_nan():
    inf, nan = np.inf, np.nan
    kernels = [row_loop(f.__name__, f, "(n)->(n)", [FLOAT], [FLOAT]) for f in (rows.softmax, rows.log_softmax)]
    kernels.append(row_loop("logsumexp", rows.logsumexp, "(n)->()", [FLOAT], [FLOAT]))
    for n in (2, 3, 40):
        for place in (0, 1, n - 1):
            for value, rest in [(nan, 0), (nan, inf), (nan, -inf), (-nan, inf), (inf, inf), (-inf, -inf)]:
                x = np.full((1, n), rest, FLOAT)
                x[0, place] = value
                assert np.isnan(kernels[0](x)).all()
                assert np.isnan(kernels[1](x)).any()
                np.testing.assert_array_equal(kernels[2](x), [value])
            x = np.zeros((1, n), FLOAT)
            x[0, place] = inf  # alone, it has all of the probability
            np.testing.assert_array_equal(kernels[0](x), np.isinf(x))
            np.testing.assert_array_equal(kernels[2](x), [inf])
            x = np.full((1, n), -inf, FLOAT)
            x[0, place] = 1e30
            np.testing.assert_array_equal(kernels[0](x), np.isfinite(x))
            np.testing.assert_array_equal(kernels[1](x), np.where(np.isfinite(x), 0, -inf))
            np.testing.assert_array_equal(kernels[2](x), FLOAT.type([1e30]))


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
