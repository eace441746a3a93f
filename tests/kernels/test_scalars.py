"""The scalar functions of the kernels: accuracy, special values, vectorisation, and the two ways of calling them."""

import itertools
import math
import re

import numpy as np
import pytest
import scipy.special
from llvmlite import binding
from numba import cfunc, config, errors, types

from tinygrad_rnn.kernels import scalars

DTYPES = [np.float32, np.float64]
# The largest error that is allowed, in units in the last place of the exact result.
LIMITS = {
    "exp": 1.0,
    "expm1": 1.25,
    "log": 1.0,
    "log1p": 1.0,
    "tanh": 1.75,
    "sigmoid": 2.0,
    "softplus": 2.0,
    "erf": 1.75,
    "erfc": 6.0,
    "gelu": 4.5,
    "sin": 1.0,
    "cos": 1.0,
}
ODD = ["expm1", "log1p", "tanh", "erf", "sin"]
VECTORISED = [name for name in [*LIMITS, "pow"] if name not in ("sin", "cos")]
INF, NAN = math.inf, math.nan
SPECIAL = {
    "exp": [(0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (1e4, INF), (-1e4, 0)],
    "expm1": [(INF, INF), (-INF, -1), (1e4, INF), (-1e4, -1)],
    "log": [(0, -INF), (-0.0, -INF), (1, 0), (INF, INF), (-1, NAN), (-INF, NAN), (-1e-40, NAN)],
    "log1p": [(-1, -INF), (INF, INF), (-1.5, NAN), (-INF, NAN)],
    "tanh": [(INF, 1), (-INF, -1), (1e4, 1), (-1e30, -1)],
    "sigmoid": [(0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0), (1e4, 1), (-1e4, 0)],
    "softplus": [(INF, INF), (-INF, 0), (1e4, 1e4), (-1e4, 0)],
    "erf": [(INF, 1), (-INF, -1), (1e4, 1), (-1e30, -1)],
    "erfc": [(0, 1), (-0.0, 1), (INF, 0), (-INF, 2), (1e4, 0), (-1e30, 2)],
    "gelu": [(0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -0.0), (1e4, 1e4), (-1e30, -0.0)],
    "sin": [(INF, NAN), (-INF, NAN)],
    "cos": [(0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN)],
}
LONG = np.longdouble
# Where a long double is no longer than a double the references below are themselves off by about one unit.
SLACK = 0.0 if np.finfo(LONG).nmant > 60 else 2.0

compiled_only = pytest.mark.skipif(config.DISABLE_JIT, reason="compilation is switched off")


# ---------------------------------------------------------------------------------------------- loops over elements


_LOOPS = {}


def loop_over(name, dtype):
    """The compiled loop that sets every element of its last array to the function of those of the other arrays."""
    if (name, dtype) not in _LOOPS:
        function = getattr(scalars, name)
        pointer = types.CPointer(types.float32 if dtype is np.float32 else types.float64)
        if name == "pow":

            @cfunc(types.void(pointer, pointer, pointer, types.intp))
            def loop(a, b, out, count):
                for i in range(count):
                    out[i] = function(a[i], b[i])

        else:

            @cfunc(types.void(pointer, pointer, types.intp))
            def loop(a, out, count):
                for i in range(count):
                    out[i] = function(a[i])

        _LOOPS[name, dtype] = loop
    return _LOOPS[name, dtype]


def evaluate(name, *arrays):
    """The compiled function of every element."""
    function = loop_over(name, arrays[0].dtype.type).ctypes
    out = np.empty_like(arrays[0])
    pointers = [array.ctypes.data_as(function.argtypes[0]) for array in (*arrays, out)]
    function(*pointers, out.size)
    return out


# ------------------------------------------------------------------------------------------------------- references


def reference(name, x):
    """The function of every element of a float64 or long double array, in that precision or better."""
    if name == "sigmoid":
        return np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x)))
    if name == "softplus":
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    if name in ("erf", "erfc", "gelu"):
        special = (lambda v: long_erf(v)) if x.dtype == LONG else scipy.special.erf
        if name == "erf":
            return special(x)
        complement = long_erfc if x.dtype == LONG else scipy.special.erfc
        if name == "erfc":
            return complement(x)
        root = np.sqrt(x.dtype.type(2))
        return np.where(x == -np.inf, -0.0, x * complement(-x / root) / 2)
    return getattr(np, name)(x)


def long_erf(x):
    """erf by its series of positive terms up to 2, and beyond that by the complement."""
    a = np.minimum(np.abs(x), 2)
    term = 2 * a / np.sqrt(LONG(np.pi) + LONG(1.2246467991473532e-16)) * np.exp(-a * a)
    total = np.zeros_like(a)
    for n in range(1, 70):
        total += term
        term = term * (2 * a * a / (2 * n + 1))
    return np.copysign(np.where(np.abs(x) <= 2, total, 1 - erfc_fraction(np.abs(x))), x)


def long_erfc(x):
    """erfc by the series near zero, by its continued fraction beyond."""
    return np.where(x < 1, 1 - long_erf(x), erfc_fraction(x))


def erfc_fraction(x):
    """erfc for x >= 1, from the continued fraction of exp(x**2) erfc(x)."""
    a = np.clip(x, 1, 200)
    below = a
    for n in range(400, 0, -1):
        below = a + LONG(n) / 2 / below
    # The square in two parts, lest its rounding be multiplied by the square.
    head = a.astype(np.float32).astype(LONG)
    square = np.exp(-head * head) * np.exp(-(a - head) * (a + head))
    return square / below / np.sqrt(LONG(np.pi) + LONG(1.2246467991473532e-16))


def exact(name, x):
    """The reference for an array of either width, with at least ten bits to spare where the machine has them."""
    with np.errstate(all="ignore"):
        return reference(name, x.astype(np.float64 if x.dtype == np.float32 else LONG))


def error_in_ulp(got, expected):
    """The distance of every result from the exact value in units in the last place of its own type."""
    kind = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        exponent = np.frexp(np.abs(expected))[1]
        unit = np.ldexp(np.ones_like(expected), np.maximum(exponent - kind.nmant - 1, kind.minexp - kind.nmant))
        error = np.abs(got.astype(expected.dtype) - expected) / unit
        rounded = expected.astype(got.dtype)
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    # Infinity is right where the exact result rounds to it.
    return np.where(np.isfinite(error), error, np.where(same, 0.0, np.inf)).astype(np.float64)


# ----------------------------------------------------------------------------------------------------- the arguments


THRESHOLDS = [
    *(0.15, 0.2929, 0.34657, 0.4142, 0.5, 0.55, 0.7071, 1, 1.4142, 2, 3, 4, 6, 9.1, 10.25, 13.9, 14.4, 15, 17.3, 18),
    *(26.6, 27.3, 28, 37.5, 38.5, 39, 40, 87.34, 88.72, 89, 103.97, 104, 708.4, 709.78, 710, 744.4, 745.13, 746),
    *(math.pi / 2, math.pi, 100 * math.pi, 1e5),
]


def arguments(dtype):
    """Arguments of all sizes and both signs, close around every threshold and at the ends of the range."""
    random = np.random.default_rng(5)
    integer, count = (np.uint32, 100_000) if dtype is np.float32 else (np.uint64, 3_000)
    if dtype is np.float32:
        everywhere = np.arange(0, 2**32, 4093, dtype=np.uint64).astype(np.uint32).view(dtype)
    else:
        everywhere = random.integers(0, 2**64, 10 * count, dtype=np.uint64).view(dtype)
    kind = np.finfo(dtype)
    around = np.array([*THRESHOLDS, kind.smallest_normal, kind.eps, kind.eps / 4], dtype).view(integer)
    close = (around[:, None] + np.arange(-40, 40).astype(integer)).ravel().view(dtype)
    ends = np.concatenate([np.arange(100).astype(integer).view(dtype), kind.max - np.arange(3) * (kind.max * kind.eps)])
    sizes = [random.uniform(-limit, limit, count) for limit in (0.3, 1, 3, 10, 40, 120, 750)]
    near_one = 1 + random.uniform(-1, 1, count) * 10.0 ** random.uniform(-9, 0, count)
    found = [everywhere, close, -close, ends, -ends, *sizes, near_one, random.normal(size=count)]
    with np.errstate(all="ignore"):
        return np.concatenate([part.astype(dtype) for part in found])


ARGUMENTS = {dtype: arguments(dtype) for dtype in DTYPES}


def powers(dtype):
    """Bases and exponents whose powers span the range of the type."""
    random = np.random.default_rng(6)
    count = 20_000
    highest = 104 if dtype is np.float32 else 745
    bases = [
        *(random.uniform(0, 3, count), np.exp(random.uniform(-80, 80, count)), 1 + random.normal(size=count) * 1e-3),
        random.integers(2, 50, count),
    ]
    exponents = [random.uniform(-highest, highest, count) / np.log(base) for base in bases]
    bases, exponents = [*bases, random.normal(size=count)], [*exponents, random.integers(-20, 20, count)]
    return np.concatenate(bases).astype(dtype), np.concatenate(exponents).astype(dtype)


def special_powers(dtype):
    """Every pair of numbers at which a power does something of its own."""
    kind = np.finfo(dtype)
    values = [0, 1, 2, 3, 0.5, 1.5, 1e20, INF, kind.max, kind.smallest_subnormal, np.nextafter(dtype(1), dtype(2))]
    values = [*values, 2 / kind.eps - 1, 2 / kind.eps]  # the largest odd number, and an even one
    pairs = np.array(list(itertools.product([*values, *(-value for value in values), NAN], repeat=2)), dtype)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def assert_powers(got, x, y):
    """Powers with an error below 1.5 units, and exactly right where they are zero, infinite, NaN or exactly 1."""
    with np.errstate(all="ignore"):
        expected = np.float_power(x.astype(np.float64), y.astype(np.float64)).astype(x.dtype)
    assert got.dtype == x.dtype
    assert np.max(error_in_ulp(got, expected.astype(np.float64))) <= 1.5
    exact_ones = (x == 1) | (np.abs(x) == 1) & np.isinf(y) | (y == 0)
    peculiar = ~np.isfinite(expected) | (expected == 0) | exact_ones
    assert_same(got[peculiar], expected[peculiar])


def assert_same(got, expected):
    """Equal including the signs of zeros, NaN being equal to NaN."""
    np.testing.assert_array_equal(got, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(expected)[number])


# --------------------------------------------------------------------------------------------------- compiled loops


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LIMITS)
def test_error_is_within_its_limit_over_the_whole_range(name, dtype):
    x = ARGUMENTS[dtype]
    got = evaluate(name, x)
    error = error_in_ulp(got, exact(name, x))
    worst = int(np.argmax(error))
    limit = LIMITS[name] + (SLACK if dtype is np.float64 else 0)
    assert error[worst] <= limit, f"{name}({x[worst]!r}) = {got[worst]!r} is off by {error[worst]:.2f} units"


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
def test_error_of_pow_is_within_its_limit(dtype):
    x, y = powers(dtype)
    got = evaluate("pow", x, y)
    with np.errstate(all="ignore"):
        wide = np.float64 if dtype is np.float32 else LONG
        error = error_in_ulp(got, np.power(x.astype(wide), y.astype(wide)))
    worst = int(np.argmax(error))
    assert error[worst] <= 1.0 + (SLACK if dtype is np.float64 else 0), (x[worst], y[worst], got[worst], error[worst])


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LIMITS)
def test_special_values(name, dtype):
    x, expected = np.array([*SPECIAL[name], (NAN, NAN)], dtype).T.copy()
    assert_same(evaluate(name, x), expected)


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ODD)
def test_sign_of_zero_is_kept_and_the_smallest_numbers_are_returned(name, dtype):
    smallest = np.finfo(dtype).smallest_subnormal
    x = np.array([0.0, -0.0, smallest, -smallest, 3 * smallest], dtype)
    expected = np.round(x / smallest * (2 / math.sqrt(math.pi) if name == "erf" else 1)) * smallest
    assert_same(evaluate(name, x), expected.astype(dtype))


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_underflows_gradually(dtype):
    kind = np.finfo(dtype)
    x = np.linspace(math.log(kind.smallest_subnormal) - 2, math.log(kind.smallest_normal) + 1, 2000).astype(dtype)
    got = evaluate("exp", x)
    assert got[0] == 0
    assert np.count_nonzero((got > 0) & (got < kind.smallest_normal)) > 1000
    assert np.all(np.diff(got) >= 0)


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_cases_of_pow(dtype):
    x, y = special_powers(dtype)
    assert_powers(evaluate("pow", x, y), x, y)


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VECTORISED)
def test_loop_is_vectorised(name, dtype):
    features = binding.get_host_cpu_features()
    if not any(features.get(feature) for feature in ("sse2", "neon", "sve")):
        pytest.skip("this processor has no vectors")
    code = loop_over(name, dtype).inspect_llvm()
    assert re.search(r"<\d+ x (float|double)>", code)
    assert not re.search(rf"call .*@(llvm\.)?({name}|exp|log|pow)[.f(]", code)


# ------------------------------------------------------------------------------------------------------- in Python


def plain_arguments():
    """A few numbers of every kind, the same for both widths."""
    return [0.0, -0.0, 1e-30, -1e-3, 0.3, -0.6, 1.0, -1.0, 2.5, -7.0, 50.0, -95.0, 1e4, -1e4, INF, -INF, NAN]


@pytest.mark.parametrize("kind", [float, *DTYPES])
@pytest.mark.parametrize("name", LIMITS)
def test_python_body_raises_nothing_and_keeps_the_type(name, kind):
    with np.errstate(all="raise"):
        results = [getattr(scalars, name)(kind(value)) for value in plain_arguments()]
    assert {type(result) for result in results} == {kind}
    for value, expected in [*SPECIAL[name], (NAN, NAN)]:
        assert_same(np.array(getattr(scalars, name)(kind(value))), np.array(kind(expected)))


@pytest.mark.parametrize("name", LIMITS)
def test_python_body_takes_integers(name):
    result = getattr(scalars, name)(2)
    assert type(result) is float
    assert result == getattr(scalars, name)(2.0)


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LIMITS)
def test_python_body_agrees_with_the_compiled_function(name, dtype):
    x = np.array([*plain_arguments(), *np.random.default_rng(7).normal(size=300) * 3], dtype)
    got = np.array([getattr(scalars, name)(value) for value in x])
    compiled = evaluate(name, x)
    # In float64 the body of gelu rounds the argument of erfc, which counts far down the negative tail.
    allowed = 100 if name == "gelu" and dtype is np.float64 else LIMITS[name] + 1.5
    assert np.max(error_in_ulp(compiled, got.astype(np.float64 if dtype is np.float32 else LONG))) <= allowed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in LIMITS if name in VECTORISED])
def test_recipe_is_right_when_it_runs_in_python(name, dtype):
    """The compiled algorithm itself, without compilation and so without fused multiply-adds."""
    width = scalars._SINGLE if dtype is np.float32 else scalars._DOUBLE
    function = scalars._RECIPES[getattr(scalars, name)](width)
    x = np.array([*plain_arguments(), *np.random.default_rng(8).normal(size=60) * 3], dtype)
    with np.errstate(all="ignore"):
        got = np.array([function(value) for value in x])
    assert got.dtype == dtype
    assert np.max(error_in_ulp(got, exact(name, x))) <= LIMITS[name] + 0.5 + SLACK


@pytest.mark.parametrize("dtype", DTYPES)
def test_pow_in_python(dtype):
    x, y = special_powers(dtype)
    recipe = scalars._RECIPES[scalars.pow](scalars._SINGLE if dtype is np.float32 else scalars._DOUBLE)
    with np.errstate(all="raise"):
        assert_powers(np.array([scalars.pow(a, b) for a, b in zip(x, y, strict=True)]), x, y)
    with np.errstate(all="ignore"):
        assert_powers(np.array([recipe(a, b) for a, b in zip(x, y, strict=True)]), x, y)
    assert type(scalars.pow(2.0, 3.0)) is float
    assert scalars.pow(0.0, -1.0) == INF
    assert math.isnan(scalars.pow(-1.0, 0.5))


@compiled_only
def test_other_types_are_refused_in_compiled_code():
    with pytest.raises(errors.TypingError):

        @cfunc(types.float64(types.int64))
        def loop(a):
            return scalars.exp(a)
