"""Gradients that many uses add up to: rows of tables, entries, parameters of many steps, eager and compiled."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_rnn as tg
from tinygrad_rnn.ops.index import add_at

FLOATS = [np.float32, np.float64]
USES = 3_000 if numba.config.DISABLE_JIT else 100_000
WITHIN = {np.float32: 1e-6, np.float64: 1e-10}

_ZEROS = np.zeros(USES, np.int64)
_LAST = np.where(np.arange(USES) % 3 == 0, 1, -3)  # the same row, and another one, from either end
TABLES = {
    "rows of a table": ((5, 3), lambda E: E[_ZEROS], (0,)),
    "negative indices": ((4, 3), lambda E: E[np.full(USES, -4)], (0,)),
    "entries": ((5,), lambda E: E[_ZEROS], (0,)),
    "matrices": ((5, 3, 2), lambda E: E[_ZEROS], (0,)),
    "columns": ((2, 5, 3), lambda E: E[:, _ZEROS], (slice(None), 0)),
    "last axis": ((2, 5), lambda E: E[..., _ZEROS], (slice(None), 0)),
    "one row of several": ((2, 5, 3), lambda E: E[0, _ZEROS], (0, 0)),
    "two indices": ((2, 5, 3), lambda E: E[_ZEROS, _ZEROS], (0, 0)),
    "taken": ((5, 3), lambda E: tg.take(E, _ZEROS, 0), (0,)),
    "gathered": ((5, 1), lambda E: tg.gather(E, _ZEROS[:, None], 0), (0,)),
    "looked up step by step": (
        (5, 3), lambda E: tg.stack([E[_ZEROS[:50]] for _ in range(USES // 50)]), (0,),
    ),
    "one slice": ((5, 3), lambda E: tg.stack([E[0] for _ in range(USES // 100)] * 100), (0,)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("compiled", [False, True])
def test_rows_that_are_used_often(dtype, name, compiled):
    shape, pick, place = TABLES[name]
    table = tg.parameter(np.zeros(shape, dtype))
    run = lambda table: tg.grad((pick(table) * dtype(0.1)).sum(), table)
    got = (tg.compile(run) if compiled else run)(table).numpy()
    exact = float(dtype(0.1)) * USES
    assert got.dtype == dtype
    np.testing.assert_allclose(got[place], exact, rtol=WITHIN[dtype])
    assert np.count_nonzero(got) == np.asarray(got[place]).size


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("compiled", [False, True])
def test_rows_used_often_beside_others(dtype, compiled):
    table, cotangent = tg.parameter(np.zeros((7, 3), dtype)), np.random.default_rng(0).random((USES, 3)).astype(dtype)
    index = np.random.default_rng(1).integers(0, 7, USES)
    index[: USES // 2] = 2
    index[index == 5] = 6
    index[-3:] = -2, 5, 0
    run = lambda table: tg.grad((table[index] * cotangent).sum(), table)
    got = (tg.compile(run) if compiled else run)(table).numpy()
    exact = np.zeros((7, 3), np.longdouble)
    np.add.at(exact, index, cotangent.astype(np.longdouble))
    np.testing.assert_allclose(got, exact.astype(float), rtol=WITHIN[dtype])


def test_naive_addition_would_be_caught():
    naive = np.zeros((5, 3), np.float32)
    np.add.at(naive, np.zeros(100_000, np.int64), np.float32(0.1))
    assert abs(naive[0, 0] / (float(np.float32(0.1)) * 100_000) - 1) > 1e-4


def _uses_of_a_bias(bias, steps):
    losses = []
    for _ in range(steps):
        losses.append((bias * bias.dtype.type(0.1)).sum())
    return tg.stack(losses).sum()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("route", ["eager", "recorded", "compiled"])
def test_parameters_of_many_steps(dtype, route):
    steps = 500 if route == "compiled" else 5000
    bias = tg.parameter(np.zeros(3, dtype))
    run = lambda bias: tg.grad(_uses_of_a_bias(bias, steps), bias, create_graph=route == "recorded")
    got = (tg.compile(run) if route == "compiled" else run)(bias).numpy()
    np.testing.assert_allclose(got, float(dtype(0.1)) * steps, rtol=16 * np.finfo(dtype).eps)


def test_few_uses_are_added_in_their_order():
    """As before there were many: what a recorded backward pass looks like for a few steps does not change."""
    bias = tg.parameter([1.0])
    total = tg.grad(_uses_of_a_bias(bias, 4), bias, create_graph=True)
    chain = 0
    while total.op.name == "add":
        total, chain = total.inputs[0], chain + 1
    assert chain == 3


@given(
    shape=npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
    dtype=st.sampled_from([*FLOATS, np.int64, np.int32, np.uint8]),
    data=st.data(),
)
def test_adding_at_any_index_is_numpys(shape, dtype, data):
    rng = np.random.default_rng(0)
    target = rng.integers(0, 9, shape).astype(dtype)
    layout = data.draw(st.sampled_from([np.copy, np.asfortranarray, lambda a: np.repeat(a, 2, -1)[..., ::2]]), "layout")
    axes = data.draw(st.integers(1, len(shape)), "axes that are indexed")
    begin = data.draw(st.integers(0, len(shape) - axes), "axes before")
    count = data.draw(st.sampled_from([(), (1,), (3,), (2, 2), (50,), (0,)]), "shape of the indices")
    if 0 in shape[begin : begin + axes]:
        count = (0,)
    wrapped = rng.integers(0, 2, axes)  # which of them count from the end
    limits = [max(n, 1) for n in shape[begin : begin + axes]]
    arrays = tuple(rng.integers(0, n, count) - n * w for n, w in zip(limits, wrapped, strict=True))
    template = (slice(None, None, -1),) * begin + ("array",) * axes
    index = (slice(None, None, -1),) * begin + arrays
    value = rng.integers(0, 9, target[index].shape).astype(dtype)
    expected, got = target.copy(), layout(target)
    np.add.at(expected, index, value)
    add_at(got, template, tuple(np.asarray(a) for a in arrays), value)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("f", [
    lambda x: [x[np.array([1, 0, 1])], x], lambda x: [x, x[np.array([1, 0, 1])]],
    lambda x: [x[:, np.array([1, 0, 1])], x * 2, x], lambda x: [x, x * 2, x[np.array([[1], [-1]]), ::2]],
])  # fmt: skip
def test_uses_of_any_layout_add_up(f, compiled):
    """What was added up so far may lie in another order than the uses that come after it."""

    def slope(x):
        return tg.grad(sum((y * y).sum() for y in f(x)), x)

    x = np.random.default_rng(0).normal(size=(3, 2)).T
    expected = slope(tg.tensor(np.ascontiguousarray(x))).numpy()
    np.testing.assert_allclose((tg.compile(slope) if compiled else slope)(tg.tensor(x)).numpy(), expected, rtol=1e-12)


def test_booleans_are_added_as_numpy_adds_them():
    got = tg.zeros((3, 2), bool).at[np.array([0, 0, 2])].add(np.array([[True, False]] * 3)).numpy()
    np.testing.assert_array_equal(got, [[True, False], [False, False], [True, False]])


def test_an_index_out_of_range_is_named():
    with pytest.raises(IndexError, match=r"index 7 at position \(1,\) is out of range for axis 1 of size 4"):
        tg.zeros((2, 4)).at[:, np.array([0, 7])].add(1.0)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="what stands in for compiled loops has 32 axes at most")
@pytest.mark.parametrize("ndim", [31, 32, 33, 40, 64])
@pytest.mark.parametrize("place", ["first", "last", "between"])
@pytest.mark.parametrize("compiled", [False, True])
def test_as_many_axes_as_numpy_has(ndim, place, compiled):
    """NumPy's ``add.at`` breaks the process with more than 32."""
    picked = np.array([0, 0, 3])
    shape, index = {
        "first": ((4, *(1,) * (ndim - 1)), (picked,)),
        "last": ((*(1,) * (ndim - 1), 4), (..., picked)),
        "between": ((*(1,) * (ndim - 2), 4, 2), (0, ..., picked, slice(None))),
    }[place]
    x = tg.parameter(np.arange(np.prod(shape), dtype=np.float64).reshape(shape) + 1)
    run = lambda x: (tg.grad((x[index] ** 2).sum(), x), x.at[index].add(1.0))
    gradient, updated = (tg.compile(run) if compiled else run)(x)
    axis = {"first": 0, "last": ndim - 1, "between": ndim - 2}[place]
    uses = np.moveaxis(np.zeros(shape), axis, 0)
    uses[0], uses[3] = 2, 1
    uses = np.moveaxis(uses, 0, axis)
    np.testing.assert_array_equal(gradient.numpy(), 2 * x.numpy() * uses)
    np.testing.assert_array_equal(updated.numpy(), x.numpy() + uses)
