"""Sums of any length along any axes, of any layout, eager and compiled: the error is at most 8 eps times Σ|x|."""

from __future__ import annotations

from itertools import combinations
from math import prod

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_rnn as tg
from tinygrad_rnn.kernels.sums import add_up

FLOATS = [np.float32, np.float64]
LAYOUTS = {
    "contiguous": lambda x: x.copy(),
    "transposed": lambda x: x.T.copy().T,
    "sliced": lambda x: np.repeat(x, 2, -1)[..., ::2] if x.ndim else x.copy(),
    "backwards": lambda x: x[..., ::-1].copy()[..., ::-1] if x.ndim else x.copy(),
    "swapped": lambda x: x.swapaxes(0, -1).copy().swapaxes(0, -1) if x.ndim else x.copy(),
}
LONG = 3_000 if numba.config.DISABLE_JIT else 300_000


def values(shape, kind, dtype, seed=0):
    """A number that is no binary fraction, numbers of one sign, of both signs, or of many magnitudes."""
    rng = np.random.default_rng(seed)
    made = {
        "constant": lambda: np.full(shape, 0.1),
        "positive": lambda: rng.random(shape),
        "normal": lambda: rng.normal(size=shape),
        "wide": lambda: rng.normal(size=shape) * 10.0 ** rng.integers(-8, 8, shape),
    }
    return made[kind]().astype(dtype)


KINDS = ["constant", "positive", "normal", "wide"]


def flattened(x, axes):
    """Rows of what is summed, in more digits, so that NumPy adds them up pairwise."""
    lead = [k for k in range(x.ndim) if k not in axes]
    rows = x.transpose(*lead, *axes).reshape(*[x.shape[k] for k in lead], prod(x.shape[k] for k in axes))
    return np.ascontiguousarray(rows, np.longdouble)


def worst(got, x, axes):
    """The largest error, in eps times Σ|x|."""
    rows = flattened(x, axes)
    magnitude = np.abs(rows).sum(-1) * np.finfo(x.dtype).eps
    return float(np.max(np.abs(got - rows.sum(-1)) / (magnitude + np.finfo(np.float64).tiny), initial=0))


def all_axes(ndim):
    return [axes for count in range(1, ndim + 1) for axes in combinations(range(ndim), count)]


def bias_gradient(x, axes):
    """The cotangent of what was broadcast over the axes."""
    bias = tg.parameter(np.zeros([1 if k in axes else n for k, n in enumerate(x.shape)], x.dtype))
    return tg.squeeze(tg.grad(((bias + x) * x).sum(), bias), axes)


SUMS = {
    "sum": lambda x, axes: tg.sum(x, axes),
    "mean": lambda x, axes: tg.mean(x, axes) * prod(x.shape[k] for k in axes),
    "bias gradient": bias_gradient,
    "einsum": lambda x, axes: tg.einsum(
        "abcd"[: x.ndim] + "->" + "".join("abcd"[k] for k in range(x.ndim) if k not in axes), x
    ),
}


@pytest.mark.parametrize("name", SUMS)
@given(
    shape=npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=40).filter(lambda s: prod(s) < 30_000),
    layout=st.sampled_from(sorted(LAYOUTS)),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from(FLOATS),
    data=st.data(),
)
def test_every_sum_is_right(name, shape, layout, kind, dtype, data):
    x = LAYOUTS[layout](values(shape, kind, dtype))
    axes = data.draw(st.sampled_from(all_axes(x.ndim)))
    got = SUMS[name](tg.tensor(x), axes)
    assert got.dtype == dtype
    assert got.shape == tuple(n for k, n in enumerate(shape) if k not in axes)
    if 0 not in [shape[k] for k in axes] or name != "mean":
        assert worst(got.numpy(), x, axes) <= 8 + 2 * (name == "mean")


@given(
    shape=npst.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9),
    layout=st.sampled_from(sorted(LAYOUTS)),
    keep=st.booleans(),
    dtype=st.sampled_from([*FLOATS, np.int32, np.uint8, bool]),
    data=st.data(),
)
def test_sums_of_arrays_have_numpys_shapes_and_types(shape, layout, keep, dtype, data):
    x = LAYOUTS[layout](np.random.default_rng(0).integers(0, 2, shape).astype(dtype))  # whole numbers: no rounding
    axes = data.draw(st.sampled_from([(), *all_axes(x.ndim)]))
    expected = np.add.reduce(x, axes, keepdims=keep)
    got = add_up(x, axes, keep)
    np.testing.assert_array_equal(got, expected, strict=True)


SHAPES = [(LONG,), (LONG, 4), (4, LONG), (LONG // 500, 500, 4), (LONG // 300, 3, 300), (2, LONG // 2, 2)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "sliced"])
@pytest.mark.parametrize("kind", ["constant", "positive"])
def test_long_sums_are_right_eager_and_compiled(dtype, shape, layout, kind):
    x = LAYOUTS[layout](values(shape, kind, dtype))
    t = tg.tensor(x)
    t.data = x  # with its strides
    for axes in all_axes(x.ndim):
        for name in ("sum", "bias gradient"):
            run = lambda t, axes=axes, name=name: SUMS[name](t, axes)
            assert worst(run(t).numpy(), x, axes) <= 8, (name, axes)
            assert worst(tg.compile(run)(t).numpy(), x, axes) <= 8, (name, axes, "compiled")


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="it would take too long")
@pytest.mark.parametrize("shape", [(20_000_000,), (20_000_000, 1), (5_000_000, 4), (2, 10_000_000)], ids=str)
def test_twenty_million_terms(shape):
    x = np.full(shape, 0.1, np.float32)
    for axis in range(len(shape)):
        exact = float(np.float32(0.1)) * shape[axis]
        for got in (tg.sum(x, axis), tg.compile(lambda t, axis=axis: tg.sum(t, axis))(x)):
            assert np.max(np.abs(got.numpy() - exact)) <= 8 * np.finfo(np.float32).eps * exact


def test_the_law_can_fail():
    x = values((LONG, 4), "constant", np.float32)
    naive = np.add.accumulate(x)[-1]
    assert worst(naive, x, (0,)) > 8
    assert worst(add_up(x, (0,)), x, (0,)) <= 8
    assert worst(add_up(x, (0,)) * np.float32(1.001), x, (0,)) > 8


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("compiled", [False, True])
def test_running_sums_are_right(dtype, layout, axis, compiled):
    x = LAYOUTS[layout](values((LONG // 10, 2), "constant", dtype))
    run = lambda t: tg.cumsum(t, axis)
    got = (tg.compile(run) if compiled else run)(tg.tensor(x)).numpy()
    wide = np.cumsum(x.astype(np.longdouble), axis)
    assert got.dtype == dtype
    assert np.all(np.abs(got - wide) <= 8 * np.finfo(dtype).eps * wide + 1e-12 * (wide == 0))


def test_running_sums_of_zeros_infinities_and_nan():
    x = np.array([-0.0, -0.0, 1.0, np.inf, 2.0, -np.inf, 3.0, np.nan, 1.0], np.float32)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(tg.cumsum(x).numpy(), np.cumsum(x))
    assert np.signbit(tg.cumsum(x[:2]).numpy()).all()
    assert tg.cumsum(np.zeros((0, 3), np.float32), 0).shape == (0, 3)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_made_of_sums(dtype, axis, compiled):
    shape = (LONG, 2) if axis == 0 else (2, LONG) if axis == 1 else (LONG // 2, 2)
    x = values(shape, "positive", dtype)
    exact = x.astype(np.longdouble)
    mean = flattened(x, (axis,) if isinstance(axis, int) else axis).mean(-1)
    centred = exact - (mean[None] if axis == 0 else mean[:, None] if axis == 1 else mean)
    axes = (axis,) if isinstance(axis, int) else axis
    var = flattened(centred**2, axes).mean(-1)
    expected = {
        "mean": mean, "var": var, "std": np.sqrt(var), "norm": np.sqrt(flattened(exact**2, axes).sum(-1)),
        "logsumexp": np.log(flattened(np.exp(exact), axes).sum(-1)),
    }  # fmt: skip
    for name, value in expected.items():
        run = lambda t, name=name: getattr(tg, name)(t, axis=axis)
        got = (tg.compile(run) if compiled else run)(tg.tensor(x)).numpy()
        assert np.all(np.abs(got / value - 1) <= 8 * np.finfo(dtype).eps), name


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("compiled", [False, True])
def test_long_rows_of_softmax_and_losses(dtype, compiled):
    n = LONG
    x = np.full((1, n), 0.1, dtype)
    exact = np.log(np.longdouble(n))
    runs = {
        "softmax": (lambda t: tg.softmax(t).sum(), 1),
        "log_softmax": (lambda t: tg.log_softmax(t)[0, 0], -exact),
        "cross_entropy": (lambda t: tg.cross_entropy(t, np.array([3])), exact),
        "gradient": (lambda t: tg.grad(tg.cross_entropy(t, np.array([3])), t)[0, 0] * n, 1),
        "mean of losses": (lambda t: tg.mse_loss(t[0], t[0] * 0), np.longdouble(dtype(0.1)) ** 2),
    }  # fmt: skip
    for name, (run, value) in runs.items():
        t = tg.parameter(x)
        got = (tg.compile(run) if compiled else run)(t).item()
        assert abs(got / float(value) - 1) <= 16 * np.finfo(dtype).eps, name


@pytest.mark.parametrize("dtype", FLOATS)
def test_contractions_without_a_matrix_product(dtype):
    x = values((LONG, 3), "constant", dtype)
    y = values((LONG, 3), "positive", dtype)
    columns = flattened(x, (0,)).sum(-1)
    cases = {
        "ij,ij->j": ((x, y), flattened(x.astype(np.longdouble) * y, (0,)).sum(-1)),
        "ij,j->j": ((x, y[0]), columns * y[0]),
        "ji->i": ((x,), columns),
        "ij,kj->j": ((x, y[:5]), columns * y[:5].astype(np.longdouble).sum(0)),
    }
    for subscripts, (arrays, expected) in cases.items():
        got = tg.einsum(subscripts, *arrays).numpy()
        assert np.all(np.abs(got / expected - 1) <= 16 * np.finfo(dtype).eps), subscripts


def test_sums_of_as_many_axes_as_numpy_has():
    x = np.arange(64.0).reshape(2, 2, *(1,) * 58, 2, 2, 2, 2)
    for axes in [(0,), (63,), (0, 60, 63), tuple(range(64))]:
        np.testing.assert_array_equal(tg.sum(x, axes).numpy(), x.sum(axes))
        np.testing.assert_array_equal(tg.sum(x.T, axes).numpy(), x.T.sum(axes))
