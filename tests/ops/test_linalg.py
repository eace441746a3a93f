"""Products: random Einstein sums, special values, integers, and weights that are shared by many products."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

from .cases import MATMUL_SHAPES, complex_gradient


@st.composite
def einsums(draw):
    """Subscripts of one to three operands over four letters, repeated or alone, and the sizes of the letters."""
    sizes = dict(zip("abcd", draw(st.tuples(*[st.integers(0, 3)] * 4)), strict=True))
    terms = draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    letters = sorted(set("".join(terms)))
    result = draw(st.permutations(letters))[: draw(st.integers(0, len(letters)))]
    explicit = draw(st.booleans())
    return ",".join(terms) + ("->" + "".join(result) if explicit else ""), [
        tuple(sizes[c] for c in term) for term in terms
    ]


@given(einsums())
def test_any_einstein_sum_is_numpys(example):
    subscripts, shapes = example
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in shapes]
    found = tg.einsum(subscripts, *arrays)
    np.testing.assert_allclose(found.numpy(), np.einsum(subscripts, *arrays), rtol=1e-11, atol=1e-11)
    inputs = [tg.tensor(a) for a in arrays]
    y = tg.einsum(subscripts, *inputs)
    cotangent = rng.normal(size=y.shape)
    for i, a in enumerate(arrays):
        expected = complex_gradient(lambda *z: np.einsum(subscripts, *z), arrays, i, cotangent)
        for recorded in (False, True):
            np.testing.assert_allclose(
                tg.grad(y, inputs[i], cotangent, create_graph=recorded).numpy(), expected, rtol=1e-10, atol=1e-10
            )
        assert a.shape == expected.shape


@pytest.mark.parametrize(("a", "b"), MATMUL_SHAPES)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_products_of_integers_are_numpys(a, b, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 3, a).astype(dtype), rng.integers(0, 3, b).astype(dtype)
    np.testing.assert_array_equal((tg.tensor(x) @ tg.tensor(y)).numpy(), np.matmul(x, y), strict=True)


def test_nan_and_infinity_travel_without_a_warning():
    special = np.array([[np.inf, 1.0], [np.nan, 2.0], [0.0, -np.inf], [3e38, 3e38]], np.float32)
    other = np.array([[1.0, 0.0], [1.0, 2.0]], np.float32)
    with np.errstate(all="ignore"):
        expected = np.matmul(special, other)
    for a, b in [
        (special, other),
        (special[None], other),
        (special[None], other[None]),
        (np.asfortranarray(special), other),
    ]:
        x = tg.tensor(a)
        y = x @ tg.tensor(b)
        np.testing.assert_array_equal(y.numpy().reshape(4, 2), expected)
        tg.grad(y.sum(), x)
    tg.einsum("ij,jk->ik", special, other)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (0,)])
def test_the_gradient_of_a_weight_that_many_products_share(batch, steps):
    """Deferred products are multiplied out together: of one step or many, beside other uses of the weight."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 3))
    xs = [rng.normal(size=(*batch, 3)) for _ in range(steps)]
    w = tg.tensor(weight)
    y = (
        sum(((tg.tensor(x) @ w) * (k + 1)).sum() for k, x in enumerate(xs))
        + (w * w).sum()
        + (w @ weight).sum()
        + (w @ w).sum()
    )
    ones = np.ones((3, 3))
    expected = (
        sum((k + 1) * x.reshape(-1, 3).T @ np.ones((x.size // 3, 3)) for k, x in enumerate(xs))
        + 2 * weight
        + ones @ weight.T
    )
    expected = expected + ones @ weight.T + weight.T @ ones
    for recorded in (False, True):
        np.testing.assert_allclose(tg.grad(y, w, create_graph=recorded).numpy(), expected, rtol=1e-11)


def test_a_weight_so_small_that_its_products_are_multiplied_out_on_the_way():
    rng = np.random.default_rng(0)
    w = tg.tensor(rng.normal(size=(2, 1)))
    xs = [tg.tensor(rng.normal(size=(5000, 2))) for _ in range(30)]
    y = sum((x @ w).sum() for x in xs)
    np.testing.assert_allclose(tg.grad(y, w).numpy()[:, 0], sum(x.numpy().sum(0) for x in xs), rtol=1e-10)


def test_mixed_precision_products():
    a, b = tg.ones((2, 3)), tg.tensor(np.ones((3, 2)))
    assert (a @ b).dtype == np.float64
    assert [g.dtype for g in tg.grad((a @ b).sum(), [a, b])] == [np.float32, np.float64]
    assert (a @ np.ones((3, 1), np.float32)).dtype == np.float32
    assert (tg.tensor([1, 2]) @ tg.tensor([0.5, 0.5])).dtype == np.float32
    assert (np.ones((1, 2), np.float32) @ a).shape == (1, 3)
