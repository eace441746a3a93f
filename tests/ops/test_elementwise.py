"""Elementwise operations: extreme values, integers and booleans, promotion, operators, and gradients at kinks."""

import itertools
import math
import operator

import numpy as np
import pytest
import scipy.special as special

import tinygrad_rnn as tg

from .cases import BINARY, UNARY

INF, NAN = math.inf, math.nan
FLOATS = [np.float32, np.float64]
WHOLE = [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64]


def extremes(dtype):
    facts = np.finfo(dtype)
    values = [0, 0.5, 1, 1.5, 2, 3, 80, 700, 1e4, facts.max, facts.tiny, facts.smallest_subnormal, facts.eps, INF]
    return np.array([*values, *(-v for v in values), NAN], dtype)


def silently(function, *arrays):
    with np.errstate(all="ignore"):
        return function(*arrays)


def same_class(found, expected, err_msg):
    """NaN, infinities and zeros stand at the same places."""
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected), err_msg)
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected), err_msg)
    np.testing.assert_array_equal(np.signbit(found[np.isinf(found)]), np.signbit(expected[np.isinf(expected)]), err_msg)


# Extreme values -------------------------------------------------------------------------------------------------------

AT_EXTREMES = {name: reference for name, (reference, *_) in UNARY.items()} | {
    "gelu": lambda x: np.where(np.isneginf(x), 0, x * special.ndtr(x)),
    "relu": lambda x: np.where(x <= 0, 0, x),
    "sigmoid": special.expit,
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", AT_EXTREMES)
def test_extreme_values_of_one_argument(name, dtype):
    x = extremes(dtype)
    if name in ("sin", "cos"):
        x = x[~(np.abs(x) > 1e5) | ~np.isfinite(x)]
    expected = silently(AT_EXTREMES[name], x.astype(np.float64)).astype(np.float64)
    with np.errstate(all="ignore"):
        rounded = expected.astype(dtype)
    found = getattr(tg, name)(tg.tensor(x)).numpy()
    if found.dtype == bool:
        np.testing.assert_array_equal(found, rounded.astype(bool))
        return
    same_class(found, rounded, name)
    tiny = 4 * np.finfo(dtype).tiny
    np.testing.assert_allclose(found, rounded, rtol=8 * np.finfo(dtype).eps, atol=tiny)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", BINARY)
def test_extreme_values_of_two_arguments(name, dtype):
    a, b = (x.ravel() for x in np.meshgrid(extremes(dtype), extremes(dtype)))
    expected = silently(BINARY[name][0], a, b)  # in the same precision: these are exact, or rounded once
    found = getattr(tg, name)(tg.tensor(a), tg.tensor(b)).numpy()
    if found.dtype == bool:
        np.testing.assert_array_equal(found, expected)
        return
    same_class(found, expected, name)
    np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", FLOATS)
def test_extreme_values_of_clip_and_where(dtype):
    grid = np.array([0, 1, -1, INF, -INF, NAN], dtype)
    x, low, high = (a.ravel() for a in np.meshgrid(grid, grid, grid))
    np.testing.assert_array_equal(tg.clip(x, low, high).numpy(), np.clip(x, low, high))
    np.testing.assert_array_equal(tg.clip(x, low).numpy(), np.maximum(x, low))
    np.testing.assert_array_equal(tg.clip(x, high=high).numpy(), np.minimum(x, high))
    np.testing.assert_array_equal(tg.where(x, low, high).numpy(), np.where(x, low, high))


def test_the_branch_of_where_that_is_not_taken_does_not_poison_the_gradient():
    x = tg.tensor([-1.0, 0.0, 4.0])
    root = tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1.0)), 0.0)
    assert tg.grad(root.sum(), x).tolist() == [0.0, 0.0, 0.25]
    for recorded in (False, True):
        assert tg.grad(tg.where(x > 0, x * 2, NAN).sum(), x, create_graph=recorded).tolist() == [0.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("name", "x", "slope"),
    [
        ("tanh", [1e3, -INF], [0, 0]), ("sigmoid", [1e3, -1e3, -INF], [0, 0, 0]), ("exp", [-INF], [0]),
        ("relu", [NAN, INF], [1, 1]),
        ("softplus", [1e4, -1e4], [1, 0]), ("elu", [-1e4, 1e4], [0, 1]), ("gelu", [1e3, -1e3], [1, 0]),
        ("erf", [1e3, -1e3], [0, 0]),
        ("expm1", [-1e4], [0]), ("sqrt", [0.0], [INF]), ("log", [0.0], [INF]), ("abs", [-INF, INF], [-1, 1]),
        ("square", [1e30], [2e30]),
    ],
)  # fmt: skip
def test_slopes_far_out(name, x, slope):
    x = tg.tensor(x)
    for recorded in (False, True):
        np.testing.assert_allclose(
            tg.grad(getattr(tg, name)(x).sum(), x, create_graph=recorded).numpy(), slope, rtol=1e-6
        )


AT_INFINITY = {  # value, slope and curvature at minus infinity, and at infinity
    "exp": ([0, 0, 0], [INF, INF, INF]), "expm1": ([-1, 0, 0], [INF, INF, INF]),
    "square": ([INF, -INF, 2], [INF, INF, 2]),
    "sqrt": (None, [INF, 0, 0]), "rsqrt": (None, [0, 0, 0]), "log": (None, [INF, 0, 0]), "log1p": (None, [INF, 0, 0]),
    "abs": ([INF, -1, 0], [INF, 1, 0]), "tanh": ([-1, 0, 0], [1, 0, 0]), "sigmoid": ([0, 0, 0], [1, 0, 0]),
    "elu": ([-1, 0, 0], [INF, 1, 0]), "softplus": ([0, 0, 0], [INF, 1, 0]), "gelu": ([0, 0, 0], [INF, 1, 0]),
    "erf": ([-1, 0, 0], [1, 0, 0]), "erfc": ([2, 0, 0], [0, 0, 0]),
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", AT_INFINITY)
def test_values_slopes_and_curvatures_at_infinity_are_limits(name, dtype):
    function = getattr(tg, name)

    def derivatives(x):
        slope = tg.grad(function(x), x, create_graph=True)
        return function(x), slope, tg.grad(slope, x)

    for x, expected in zip((-INF, INF), AT_INFINITY[name], strict=True):
        if expected is not None:
            x = tg.tensor(x, dtype)
            at_once = tg.grad(function(x), x)
            assert [t.item() for t in derivatives(x)] == [t.item() for t in tg.compile(derivatives)(x)] == expected
            assert at_once.item() == expected[1]


@pytest.mark.parametrize("name", AT_INFINITY)
def test_nan_is_not_hidden(name):
    x = tg.tensor(NAN)
    for recorded in (False, True):
        assert math.isnan(tg.grad(getattr(tg, name)(x), x, create_graph=recorded).item())


# Kinks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "x", "slopes"),
    [
        (tg.abs, [0.0], [[0]]), (tg.relu, [0.0], [[0]]), (tg.sign, [0.0], [[0]]),
        (lambda x: tg.leaky_relu(x, 0.1), [0.0], [[0.1]]),
        (tg.elu, [0.0], [[1]]), (lambda x: tg.clip(x, 0.0, 1.0), [0.0, 1.0, 2.0, -1.0], [[1, 1, 0, 0]]),
        (lambda x: tg.clip(x, 0.0), [0.0], [[1]]),
        (lambda x: tg.clip(x, high=0.0), [0.0], [[1]]), (lambda x: tg.maximum(x, 1.0), [1.0, 2.0, 0.0], [[0.5, 1, 0]]),
        (lambda x: tg.minimum(x, 1.0), [1.0, 2.0, 0.0], [[0.5, 0, 1]]), (lambda x: tg.maximum(x, x), [3.0], [[1]]),
        (tg.floor, [1.0], [[0]]), (tg.round, [0.5], [[0]]), (lambda x: x % 1.0, [2.0], [[1]]),
    ],
)  # fmt: skip
def test_conventions_at_kinks(function, x, slopes):
    x = tg.tensor(x)
    for recorded in (False, True):
        np.testing.assert_allclose(tg.grad(function(x).sum(), x, create_graph=recorded).numpy(), slopes[0])


POWERS = [  # base, exponent, slope by the base, slope by the exponent
    (0.0, 0.0, 0, 0), (0.0, 1.0, 1, 0), (0.0, 2.0, 0, 0), (0.0, 3.0, 0, 0), (0.0, 0.5, INF, 0), (-2.0, 2.0, -4, NAN),
    (-2.0, 3.0, 12, NAN),
    (-2.0, 0.0, 0, NAN), (-2.0, 0.5, NAN, NAN), (2.0, 0.0, 0, math.log(2)), (2.0, -1.0, -0.25, 0.5 * math.log(2)),
    (1.0, 5.0, 5, 0), (0.0, -1.0, -INF, -INF), (0.0, -2.0, -INF, -INF), (INF, -1.0, 0, 0),
]  # fmt: skip


@pytest.mark.parametrize(("base", "exponent", "by_base", "by_exponent"), POWERS)
@pytest.mark.parametrize("recorded", [False, True])
def test_slopes_of_powers(base, exponent, by_base, by_exponent, recorded):
    a, b = tg.tensor(base, np.float64), tg.tensor(exponent, np.float64)
    found = tg.grad(tg.power(a, b), [a, b], create_graph=recorded)
    np.testing.assert_allclose([g.item() for g in found], [by_base, by_exponent])
    if not isinstance(by_base, float) or not math.isnan(by_base):
        np.testing.assert_allclose(tg.grad(a**exponent, a, create_graph=recorded).item(), by_base)


@pytest.mark.parametrize(("base", "exponent"), [(2.0, 0.0), (0.5, 1.0), (3.0, 2.0)])
def test_mixed_second_derivative_of_a_power(base, exponent):
    a, b = tg.tensor(base, np.float64), tg.tensor(exponent, np.float64)
    mixed = tg.grad(tg.grad(tg.power(a, b), a, create_graph=True), b)
    np.testing.assert_allclose(mixed.item(), base ** (exponent - 1) * (1 + exponent * math.log(base)))


# Integers and booleans ------------------------------------------------------------------------------------------------

INTEGER_UNARY = [
    "abs",
    "negative",
    "sign",
    "square",
    "relu",
    "floor",
    "ceil",
    "round",
    "logical_not",
    "isnan",
    "isinf",
    "isfinite",
]
INTEGER_BINARY = [*BINARY]


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("name", INTEGER_UNARY)
def test_integers_stay_integers(name, dtype):
    x = np.array([0, 1, 2, 7], dtype)
    x = np.concatenate([x, -x[1:]]) if np.dtype(dtype).kind == "i" else x
    kept = {"floor": lambda a: a, "ceil": lambda a: a, "round": np.round, "relu": lambda a: np.maximum(a, 0)}
    expected = kept.get(name, UNARY[name][0])(x)
    np.testing.assert_array_equal(getattr(tg, name)(tg.tensor(x)).numpy(), expected, strict=True)


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("name", [n for n in INTEGER_BINARY if n not in ("divide", "power")])
def test_integer_arithmetic_is_numpys(name, dtype):
    a, b = np.array([0, 1, 7, 100], dtype), np.array([1, 2, 3, 100], dtype)
    np.testing.assert_array_equal(
        getattr(tg, name)(tg.tensor(a), tg.tensor(b)).numpy(), BINARY[name][0](a, b), strict=True
    )


@pytest.mark.parametrize(("a", "b"), [*itertools.combinations([*WHOLE, bool], 2)])
def test_integers_promote_as_in_numpy(a, b):
    x, y = np.array([1, 1], a), np.array([1, 0], b)
    expected = x + y
    assert (tg.tensor(x) + tg.tensor(y)).dtype == expected.dtype
    assert (tg.tensor(y) + tg.tensor(x)).dtype == expected.dtype


def test_integers_become_float32_where_the_result_is_not_whole():
    x = tg.tensor([1, 2, 4])
    for y in (
        x / 2,
        tg.sqrt(x),
        tg.exp(x),
        tg.tanh(x),
        tg.sigmoid(x),
        x / x,
        tg.softmax(x),
        tg.mean(x),
        tg.var(x),
        tg.leaky_relu(x),
    ):
        assert y.dtype == np.float32


def test_integer_division_by_zero_is_zero_with_numpys_warning():
    x = tg.tensor([7, -7, 0])
    for function in (operator.floordiv, operator.mod):
        with pytest.warns(RuntimeWarning, match="divide by zero"):
            assert function(x, 0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("function", [operator.floordiv, operator.mod])
def test_integer_division_by_zero_means_the_same_compiled(function):
    x, zero = np.array([7, -7, 0]), np.array([0, 2, 0])
    told = []
    for way in (function, tg.compile(function), tg.trace(function, tg.Spec((3,), int), tg.Spec((3,), int))):
        with pytest.warns(RuntimeWarning, match="divide by zero") as warnings:
            values = way(tg.tensor(x), tg.tensor(zero)).tolist()
        told.append((values, [str(w.message) for w in warnings]))
    assert told[0] == told[1] == told[2]


def test_integers_to_negative_powers_are_refused_as_in_numpy():
    with pytest.raises(ValueError, match=r"power: Integers to negative integer powers[\s\S]*input 1:"):
        tg.tensor([1, 2]) ** -1


@pytest.mark.parametrize(
    "function", [operator.add, operator.mul, operator.and_, operator.or_, operator.xor, operator.eq, operator.lt]
)
def test_boolean_arithmetic_is_numpys(function):
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    np.testing.assert_array_equal(function(tg.tensor(a), tg.tensor(b)).numpy(), function(a, b), strict=True)
    np.testing.assert_array_equal((~tg.tensor(a)).numpy(), ~a, strict=True)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda b: b - b, "subtract: not defined for bool and bool"), (lambda b: -b, "negative: not defined for bool"),
        (lambda b: tg.sign(b), "sign: not defined for bool"),
        (lambda b: b.astype(float) << 1, "left_shift: expected integers or booleans"),
    ],
)  # fmt: skip
def test_what_booleans_cannot_do_says_what_to_do(use, message):
    with pytest.raises(tg.DTypeError, match=message):
        use(tg.tensor([True, False]))


# Promotion ------------------------------------------------------------------------------------------------------------

NUMBERS = [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2), np.uint8(2), np.bool_(True)]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: type(n).__name__)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", BINARY)
def test_numbers_never_promote_floats(name, number, dtype):
    x = tg.tensor(np.array([0.5, 1.5], dtype))
    function = getattr(tg, name)
    for y in (function(x, number), function(number, x)):
        assert y.dtype in (np.dtype(dtype), np.dtype(bool))
    np.testing.assert_allclose(
        function(number, x).numpy(), silently(BINARY[name][0], np.asarray(number, dtype), x.numpy()), rtol=1e-6
    )


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: type(n).__name__)
@pytest.mark.parametrize(
    "function",
    [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow, divmod],
)
def test_operators_with_numbers_on_either_side(function, number):
    values = np.array([0.5, 1.5, 3.0], np.float32)
    x = tg.tensor(values)
    for found, expected in [
        (function(x, number), function(values, np.float32(number))),
        (function(number, x), function(np.float32(number), values)),
    ]:
        for part, right in zip(found, expected, strict=True) if function is divmod else [(found, expected)]:
            assert part.dtype == np.float32
            np.testing.assert_allclose(part.numpy(), right, rtol=1e-6)


def test_arrays_promote_by_their_dtype():
    single, double, whole = tg.tensor([1.0]), tg.tensor(np.array([1.0])), tg.tensor([1])
    assert (single + whole).dtype == np.float32
    assert (whole + single).dtype == np.float32
    assert (single + double).dtype == np.float64
    assert (single + np.ones(1)).dtype == np.float64
    assert (np.ones(1) + single).dtype == np.float64
    assert (double + whole).dtype == np.float64
    assert (whole + 0.5).dtype == np.float32
    assert (tg.tensor([True]) + 1).dtype == np.int64
    assert tg.where([True], 1, 2.5).dtype == np.float32
    assert tg.where([True], single, 2).dtype == np.float32
    assert tg.clip(whole, 0, 1).dtype == np.int64
    assert tg.clip(whole, 0.5).dtype == np.float32


def test_gradients_keep_the_dtype_of_their_input_in_mixed_expressions():
    single, double = tg.tensor([2.0]), tg.tensor(np.array([3.0]))
    for recorded in (False, True):
        a, b = tg.grad((single * double + single).sum(), [single, double], create_graph=recorded)
        assert (a.dtype, b.dtype) == (np.float32, np.float64)
        assert (a.tolist(), b.tolist()) == ([4.0], [2.0])


# Operators ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "eq", "ne", "lt", "le", "gt", "ge"],
)
def test_operators_are_numpys(name):
    function = getattr(operator, name)
    a, b = np.array([1.5, 2.0, 3.0]), np.array([[2.0], [1.5]])
    for found in (function(tg.tensor(a), tg.tensor(b)), function(tg.tensor(a), b), function(a, tg.tensor(b))):
        np.testing.assert_allclose(found.numpy(), function(a, b))


def test_the_other_operators():
    x = tg.tensor([1.25, -2.75])
    assert (+x).tolist() == [1.25, -2.75]
    assert (-x).tolist() == [-1.25, 2.75]
    assert abs(x).tolist() == [1.25, 2.75]
    assert round(x).tolist() == [1.0, -3.0]
    assert round(x, 1).tolist() == pytest.approx([1.2, -2.8])
    assert (1.25 in x, 7.0 in x) == (True, False)
    assert [t.item() for t in x] == [1.25, -2.75]
    assert (tg.tensor([6, 3]) >> 1).tolist() == [3, 1]
    assert (1 << tg.tensor([2, 3])).tolist() == [4, 8]
    assert (x & [1.0, 0.0]).tolist() == [True, False]  # of floats: whether both are true


def test_squares_and_roots_are_recorded_as_such():
    x = tg.tensor([4.0])
    assert [(x**p).op.name for p in (2, 2.0, 0.5, 3)] == ["square", "square", "sqrt", "power"]


def test_methods_are_the_functions():
    x = tg.tensor([0.5, 1.5])
    for name in (
        "abs",
        "exp",
        "log",
        "sqrt",
        "tanh",
        "sigmoid",
        "relu",
        "gelu",
        "erf",
        "softplus",
        "elu",
        "floor",
        "isnan",
        "softmax",
    ):
        np.testing.assert_array_equal(getattr(x, name)().numpy(), getattr(tg, name)(x).numpy())
