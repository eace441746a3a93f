"""Layers and initialisers against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn


def test_linear_is_a_matrix_product_and_a_shift():
    layer, x = nn.Linear(3, 2, generator=0), np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    np.testing.assert_allclose(layer(x), x @ layer.W.numpy() + layer.b.numpy(), rtol=1e-6)


def test_linear_without_bias_has_one_parameter():
    layer = nn.Linear(3, 2, bias=False)
    assert layer.b is None
    assert [name for name, _ in layer.named_parameters()] == ["W"]


def test_embedding_takes_rows_and_its_gradient_adds_up_repeats():
    layer = nn.Embedding(4, 2, generator=0)
    y = layer([[1, 3], [1, 1]])
    np.testing.assert_array_equal(y, layer.E.numpy()[[[1, 3], [1, 1]]])
    y.sum().backward()
    np.testing.assert_array_equal(layer.E.grad, [[0, 0], [3, 3], [0, 0], [1, 1]])


@pytest.mark.parametrize("token", [-1, 4])
def test_embedding_refuses_symbols_that_it_does_not_have(token):
    with pytest.raises(IndexError, match=rf"{token} at position \(0, 1\)"):
        nn.Embedding(4, 2)([[0, token]])


def test_dropout_zeroes_a_share_and_keeps_the_mean():
    x = tg.ones(100_000)
    y = nn.Dropout(0.25, generator=0)(x).numpy()
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.01


def test_dropout_is_repeatable_and_off_in_eval_mode():
    x = tg.ones(50)
    one, other = (nn.Dropout(0.5, generator=3)(x).numpy() for _ in range(2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(nn.Dropout(0.5).eval()(x), x)


def test_dropout_passes_the_gradient_where_it_passes_the_value():
    x = tg.parameter(np.ones(50))
    y = nn.Dropout(0.5, generator=0)(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y)


def test_layer_norm_normalises_and_scales():
    layer, x = nn.LayerNorm(5, eps=1e-5), np.random.default_rng(0).normal(2, 3, (4, 5))
    layer.weight.assign(np.arange(5))
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * np.arange(5)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_orthogonal_matrices_keep_lengths(rows, columns, seed):
    W = nn.init.orthogonal((rows, columns), 2.0, seed, np.float64).numpy()
    gram = W @ W.T if rows <= columns else W.T @ W
    np.testing.assert_allclose(gram, 4 * np.eye(min(rows, columns)), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "variance"),
    [
        (lambda g: nn.init.uniform((300, 200), 0.5, g), 0.5**2 / 3),
        (lambda g: nn.init.normal((300, 200), 0.5, g), 0.5**2),
        (lambda g: nn.init.xavier((300, 200), 1.0, g), 2 / 500),
        (lambda g: nn.init.kaiming((300, 200), generator=g), 2 / 300),
    ],
)
def test_initialisers_have_their_variance_and_follow_the_generator(make, variance):
    values = make(np.random.default_rng(0)).numpy()
    assert values.dtype == np.float32
    assert np.var(values) == pytest.approx(variance, rel=0.03)
    assert abs(values.mean()) < 0.02
    np.testing.assert_array_equal(values, make(np.random.default_rng(0)))


def test_initialisers_refuse_shapes_without_fans():
    with pytest.raises(ValueError, match=r"fan_in, fan_out"):
        nn.init.xavier((3,))
