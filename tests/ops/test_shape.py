"""Changes of shape: what is a view, what is not, and that order survives any chain of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_rnn as tg

X = np.arange(24.0).reshape(2, 3, 4)
VIEWS = [
    lambda t: t.reshape(6, 4), lambda t: t.T, lambda t: t.transpose(1, 0, 2), lambda t: t[1], lambda t: t[:, ::-1, 1:],
    lambda t: t[..., None],
    lambda t: tg.broadcast_to(t, (5, 2, 3, 4)), lambda t: tg.expand_dims(t, 0), lambda t: tg.flip(t),
    lambda t: tg.split(t, 3, 1)[2], lambda t: t.swapaxes(0, 2),
    lambda t: tg.moveaxis(t, 0, -1), lambda t: tg.squeeze(t[:1]), lambda t: t.flatten(), lambda t: tg.chunk(t, 2)[1],
]  # fmt: skip


@pytest.mark.parametrize("use", VIEWS)
def test_views_share_memory(use):
    t = tg.tensor(X)
    assert np.shares_memory(use(t).numpy(), t.numpy())


@pytest.mark.parametrize(
    "use",
    [*VIEWS, lambda t: tg.roll(t, 1, 0), lambda t: tg.pad(t, 1), lambda t: tg.stack([t, t]), lambda t: tg.tile(t, 2)],
)
def test_gradients_are_arrays_of_their_own(use):
    """Nothing that a caller does to a gradient may reach the tensor, the cotangent, or another gradient."""
    t = tg.parameter(X)
    y = use(t)
    cotangent = np.ones(y.shape)
    g = tg.grad(y, t, cotangent)
    assert not np.shares_memory(g.numpy(), t.numpy())
    y.backward(tg.tensor(cotangent))
    y.backward(tg.tensor(cotangent))
    np.testing.assert_array_equal(t.grad.numpy(), 2 * g.numpy())


@given(data=st.data())
def test_any_chain_of_views_is_numpys(data):
    x = np.random.default_rng(0).normal(
        size=data.draw(npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    )
    t, expected = tg.tensor(x), np.arange(x.size).reshape(x.shape)
    y = t
    for _ in range(data.draw(st.integers(1, 5))):
        name = data.draw(st.sampled_from(["transpose", "flip", "flatten", "expand_dims", "roll", "repeat"]))
        axis = data.draw(st.integers(-y.ndim, y.ndim - 1))
        order = tuple(data.draw(st.permutations(range(y.ndim))))
        use = {
            "transpose": lambda m, a, p=order: m.transpose(a, p),
            "flip": lambda m, a, k=axis: m.flip(a, k), "flatten": lambda m, a: m.reshape(a, (-1,)),
            "expand_dims": lambda m, a, k=axis: m.expand_dims(a, k),
            "roll": lambda m, a, k=axis: m.roll(a, 1, k), "repeat": lambda m, a,
            k=axis: m.repeat(a, 2, k) if a.size < 100 else a,
        }[name]  # fmt: skip
        y, expected = use(tg, y), use(np, expected)
    np.testing.assert_array_equal(y.numpy(), x.ravel()[expected])
    cotangent = np.random.default_rng(1).normal(size=y.shape)
    right = np.bincount(expected.ravel(), cotangent.ravel(), x.size).reshape(
        x.shape
    )  # where each entry of the result came from
    for recorded in (False, True):
        np.testing.assert_allclose(tg.grad(y, t, cotangent, create_graph=recorded).numpy(), right, atol=1e-12)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
def test_shapes_change_for_every_dtype(dtype):
    x = (X % 3).astype(dtype)
    uses = [
        lambda m, a: m.reshape(a, (4, 6)), lambda m, a: m.transpose(a), lambda m, a: m.stack([a, a]), lambda m,
        a: m.concatenate([a, a], 1), lambda m, a: m.pad(a, 1),
        lambda m, a: m.tile(a, 2), lambda m, a: m.repeat(a, 2, 1), lambda m, a: m.roll(a, 5), lambda m, a: m.flip(a),
        lambda m, a: a[1, :, [0, 2]],
    ]  # fmt: skip
    for use in uses:
        np.testing.assert_array_equal(use(tg, tg.tensor(x)).numpy(), use(np, x), strict=True)


def test_joining_promotes_like_arithmetic():
    single, double, whole = tg.ones(2), tg.tensor(np.ones(2)), tg.tensor([1, 2])
    for join in (tg.concatenate, tg.stack):
        assert join([single, whole]).dtype == np.float32
        assert join([whole, single]).dtype == np.float32
        assert join([single, double]).dtype == np.float64
        assert join([whole, tg.tensor([True, False])]).dtype == np.int64
    assert tg.stack([single.sum(), 2.0, np.float64(3)]).dtype == np.float32
    assert tg.stack([whole.sum(), 2]).dtype == np.int64
    assert [g.dtype for g in tg.grad(tg.stack([single, double]).sum(), [single, double])] == [np.float32, np.float64]


def test_the_same_tensor_joined_twice_gets_both_gradients():
    x = tg.tensor([1.0, 2.0])
    for recorded in (False, True):
        assert tg.grad(tg.concatenate([x, x * 3, x]).sum(), x, create_graph=recorded).tolist() == [5.0, 5.0]


def test_what_changes_nothing_may_give_the_tensor_itself():
    x = tg.tensor([1.0, 2.0])
    for y in (tg.broadcast_to(x, (2,)), tg.expand(x, -1), x.astype(np.float32), +x):
        assert y is x
