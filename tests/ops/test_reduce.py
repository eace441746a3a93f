"""Reductions at their edges: nothing to reduce, NaN and infinity, ties, integers, and any axes of any shape."""

import warnings

import numpy as np
import pytest
import scipy.special as special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_rnn as tg

INF, NAN = np.inf, np.nan
REFERENCES = {
    "sum": np.sum, "mean": np.mean, "prod": np.prod, "var": np.var, "std": np.std, "any": np.any, "all": np.all,
    "max": np.max, "min": np.min,
    "logsumexp": lambda x, axis=None, keepdims=False: np.log(np.sum(np.exp(x), axis, keepdims=keepdims)),
    "norm": lambda x, axis=None, keepdims=False: np.sqrt(np.sum(x * x, axis, keepdims=keepdims)),
}  # fmt: skip


def numpys(name, x, *arguments, **options):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return REFERENCES[name](x, *arguments, **options)


@pytest.mark.parametrize("name", REFERENCES)
@given(data=st.data())
def test_any_axes_of_any_shape(name, data):
    x = np.random.default_rng(0).normal(
        size=data.draw(npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
    )
    axis = data.draw(
        st.none() | st.integers(-x.ndim, x.ndim - 1) | npst.valid_tuple_axes(x.ndim, min_size=0)
        if x.ndim
        else st.none()
    )
    keep = data.draw(st.booleans())
    try:
        expected = numpys(name, x, axis=axis, keepdims=keep)
    except ValueError:  # NumPy has no largest of nothing either
        with pytest.raises(tg.ShapeError, match=f"{name}: there is no value"):
            getattr(tg, name)(x, axis=axis, keepdims=keep)
        return
    found = getattr(tg, name)(x, axis=axis, keepdims=keep)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)
    assert found.shape == np.shape(expected)
    assert found.dtype == np.asarray(expected).dtype


ODD = [
    [1.0, INF],
    [INF, -INF],
    [-INF, 1.0],
    [NAN, 1.0],
    [1.0, NAN],
    [NAN, INF],
    [0.0, INF],
    [-0.0, 0.0],
    [1e38, 3e38],
    [1e-45, 1e-45],
    [INF, INF],
    [-INF, -INF],
]


@pytest.mark.parametrize("values", ODD, ids=str)
@pytest.mark.parametrize("name", [n for n in REFERENCES if n != "norm"])
def test_nan_and_infinity_travel_as_in_numpy(name, values):
    for x in (np.array(values), np.array(values, np.float32)):
        expected = (
            special.logsumexp(x) if name == "logsumexp" else numpys(name, x)
        )  # for moderate values, the other reference
        np.testing.assert_allclose(getattr(tg, name)(x).numpy(), expected, rtol=1e-6)
        np.testing.assert_allclose(getattr(tg, name)(x[:, None], axis=0).numpy(), [expected], rtol=1e-6)


@pytest.mark.parametrize("values", [[1.0, NAN, 3.0, NAN], [2.0, 5.0, 5.0], [-INF, -INF], [NAN, INF], [0.0, -0.0]])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_the_place_of_an_extremum_is_the_first_and_nan_wins(name, values):
    assert getattr(tg, name)(tg.tensor(values)).item() == getattr(np, name)(values)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int32, np.uint64])
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "any", "all", "cumsum", "argmax"])
def test_integers_are_reduced_in_numpys_types(name, dtype):
    x = (
        np.array([[1, 0, 1], [1, 1, 1]]).astype(dtype)
        if dtype is bool
        else np.array([[100, 100, 2], [50, 3, 100]]).astype(dtype)
    )
    reference = getattr(np, name)
    np.testing.assert_array_equal(getattr(tg, name)(x).numpy(), reference(x), strict=True)
    np.testing.assert_array_equal(getattr(tg, name)(x, 0).numpy(), reference(x, 0), strict=True)


@pytest.mark.parametrize("name", ["mean", "var", "std", "norm", "logsumexp"])
def test_averages_of_integers_are_float32(name):
    x = np.array([1, 2, 5])
    found = getattr(tg, name)(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.numpy(), REFERENCES[name](x.astype(float)), rtol=1e-6)


# Ties, zeros, and derivatives where they are delicate -----------------------------------------------------------------


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", ["max", "min"])
def test_ties_share_the_gradient(name, recorded):
    x = tg.tensor([[2.0, 2.0, 2.0], [1.0, 1.0, 5.0]]) * (1.0 if name == "max" else -1.0)
    found = tg.grad(getattr(tg, name)(x, 1), x, [3.0, 1.0], create_graph=recorded)
    np.testing.assert_allclose(found.numpy(), [[1, 1, 1], [0, 0, 1]], rtol=1e-6)


@pytest.mark.parametrize("values", [[2.0, 0.0, 4.0], [0.0, 0.0, 4.0], [3.0, 2.0, 0.5], [0.0], [2.0, 3.0]])
def test_products_with_zeros_have_exact_derivatives_of_both_orders(values):
    x = tg.tensor(np.array(values))
    n = len(values)
    without = lambda *out: np.prod([v for k, v in enumerate(values) if k not in out])
    np.testing.assert_allclose(tg.grad(tg.prod(x), x).numpy(), [without(i) for i in range(n)])
    np.testing.assert_allclose(
        tg.hessian(tg.prod(x), x).numpy(), [[0 if i == j else without(i, j) for j in range(n)] for i in range(n)]
    )


SQUARED = {
    "square": lambda x: tg.norm(x) ** 2,
    "of a row": lambda x: (tg.norm(x[None], axis=1) ** 2).sum(),
    "times a number": lambda x: -3 * tg.square(tg.norm(x)) / -3,
    "product": lambda x: tg.norm(x) * tg.norm(x),
    "inside": lambda x: tg.exp(tg.norm(x) ** 2),
    "variance": lambda x: 3 * tg.std(tg.concatenate([x, -x])) ** 2,
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("f", SQUARED.values(), ids=SQUARED)
def test_the_square_of_a_norm_is_curved_at_zero(f, compiled):
    x = tg.parameter(np.zeros(3))
    hessian = (lambda x: tg.hessian(f(x), x)) if not compiled else tg.compile(lambda x: tg.hessian(f(x), x))
    np.testing.assert_allclose(hessian(x).numpy(), 2 * np.eye(3), rtol=1e-12)


def test_a_long_product_with_a_norm_costs_what_a_short_one_does():
    x = tg.parameter(np.full(3, 0.5))
    y = tg.norm(x)
    for _ in range(100):
        y = y * 1.01
    assert tg.hessian(y * y, x).numpy() == pytest.approx(2 * 1.01**200 * np.eye(3), abs=1e-10)


def test_the_norm_neither_overflows_nor_vanishes():
    for scale in (1e30, 1e-30, 1e-40):
        x = tg.tensor(np.array([3 * scale, 4 * scale], np.float32))
        np.testing.assert_allclose(tg.norm(x).item(), 5 * scale, rtol=1e-4)
        if scale > 1e-38:
            np.testing.assert_allclose(tg.grad(tg.norm(x), x).numpy(), [0.6, 0.8], rtol=1e-5)
    for recorded in (False, True):
        zero = tg.zeros(3)
        assert tg.grad(tg.norm(zero), zero, create_graph=recorded).tolist() == [0, 0, 0]
    assert tg.norm(tg.tensor([-INF, INF])).item() == INF
    assert np.isnan(tg.norm(tg.tensor([NAN, INF])).item())
    assert tg.norm(tg.zeros(0)).item() == tg.norm(tg.zeros(0), INF).item() == 0


def test_variance_is_that_of_the_deviations():
    x = np.array([1e4, 1e4 + 1, 1e4 + 2], np.float32)  # the mean of squares less the square of the mean would be lost
    np.testing.assert_allclose(tg.var(x).item(), 2 / 3, rtol=1e-3)
    assert np.isnan(tg.var(tg.ones(1), ddof=1).item())
    np.testing.assert_array_equal(
        tg.var(tg.tensor([1.0, 2.0]), ddof=3).item(), numpys("var", np.array([1.0, 2.0]), ddof=3)
    )


def test_gradients_of_empty_reductions_have_the_shape_of_their_input():
    for name in ("sum", "mean", "prod", "var", "logsumexp", "cumsum", "norm"):
        x = tg.zeros((0, 3))
        y = getattr(tg, name)(x, axis=0)
        for recorded in (False, True):
            g = tg.grad(y, x, tg.ones_like(y), create_graph=recorded)
            assert (g.shape, g.dtype) == ((0, 3), np.float32)


def test_a_long_sum_in_single_precision_is_accurate():
    x = np.full(100_000, 0.1, np.float32)
    exact = x.astype(np.float64).sum()
    assert abs(tg.sum(x).item() / exact - 1) < 1e-6
    assert abs(tg.mean(x).item() / x[0] - 1) < 1e-6


# One axis, where there can be only one --------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [(0, 1), (), (0,), [0], 2, 1.0, True], ids=str)
@pytest.mark.parametrize("name", ["cumsum", "argmax", "argmin", "softmax", "log_softmax"])
def test_one_axis_is_taken_and_no_tuple(name, axis):
    with pytest.raises(tg.ShapeError, match=rf"{name}: .* is not an axis of a tensor with 2 axes"):
        getattr(tg, name)(np.zeros((2, 3)), axis=axis)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "var", "std", "norm", "logsumexp", "any", "all"])
def test_no_axes_leave_every_entry_by_itself(name):
    x = np.array([[0.5, 2.0, 1.0]])
    expected = {"var": 0 * x, "std": 0 * x, "any": x > 0, "all": x > 0}.get(name, x)
    np.testing.assert_array_equal(getattr(tg, name)(x, axis=()).numpy(), expected)
    np.testing.assert_array_equal(tg.compile(lambda t: getattr(tg, name)(t, axis=()))(x).numpy(), expected)


# Magnitudes -----------------------------------------------------------------------------------------------------------


ENTRIES = npst.arrays(
    np.float64, npst.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=5), elements=st.integers(-9, 9)
)


@given(x=ENTRIES, exponent=st.sampled_from([-1000, -540, 0, 520, 1000]), axis=st.sampled_from([0, -1, None]))
def test_norms_and_deviations_know_no_magnitude(x, exponent, axis):
    """A power of two changes no digit; squares would overflow, or vanish."""
    unit = 2.0**exponent
    for name in ("norm", "std"):
        run = lambda t, name=name: getattr(tg, name)(t, axis=axis)
        slope = lambda t, run=run: tg.grad(run(t).sum(), t)
        small, large = tg.parameter(x), tg.parameter(x * unit)
        for f, scale in ((run, unit), (slope, 1.0)):
            np.testing.assert_allclose(f(large).numpy(), f(small).numpy() * scale, rtol=1e-14, atol=1e-14 * scale)
            np.testing.assert_allclose(tg.compile(f)(large).numpy(), f(large).numpy(), rtol=1e-14, atol=1e-15 * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_constant_row_has_a_deviation_without_a_slope(dtype, axis):
    for value in (0.0, 3.0, -1e30):
        x = tg.parameter(np.full((4, 4), value, dtype))
        for run in (tg.std, tg.norm) if not value else (tg.std,):
            slope = lambda t, run=run: tg.grad(run(t, axis=axis).sum(), t)
            assert not run(x, axis=axis).numpy().any()
            assert not slope(x).numpy().any()
            assert not tg.compile(slope)(x).numpy().any()


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), (1, 2), None])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", ["norm", "logsumexp"])
def test_reduced_rows_compiled_over_any_axes(axis, keep, name):
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    views = [lambda t: t, lambda t: t.transpose(2, 0, 1), lambda t: t[::-1, 1:, ::2]]
    for view in views:
        run = lambda t, view=view: getattr(tg, name)(view(t), axis=axis, keepdims=keep)
        np.testing.assert_allclose(tg.compile(run)(x).numpy(), run(tg.tensor(x)).numpy(), rtol=1e-14)
