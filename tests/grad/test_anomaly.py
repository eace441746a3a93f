"""detect_anomaly: the first NaN or infinity is found, forward and backward, and is named with all there is to know."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tinygrad_rnn as tg


def line() -> int:
    return inspect.currentframe().f_back.f_lineno


def test_forward():
    x = tg.tensor([0.0, 1.0, 4.0], name="x")
    at = line() + 2
    with tg.detect_anomaly(), tg.scope("cell"), tg.timestep(2), pytest.raises(tg.AnomalyError) as caught:
        tg.log(x)
    text = str(caught.value)
    assert text.startswith(f"log produced infinity at {__file__}:{at}, in cell/t=2")
    assert "1 of 3 entries of shape (3,); inputs: tensor 'x' (3,) float32 in [0, 4]" in text
    assert "hint:" in text
    assert (caught.value.node.op.name, caught.value.node.time) == ("log", 2)


def test_nan_is_told_from_infinity():
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match="log produced NaN"):
        tg.log(tg.tensor([-1.0, 0.0]))


def test_the_first_of_a_row_is_named():
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match="divide produced"):
        tg.tanh(tg.exp(tg.ones(1) / 0) * 0)


@pytest.mark.parametrize("create_graph", [False, True])
def test_backward(create_graph):
    x = tg.tensor([0.0, 1.0], name="x")
    with tg.scope("cell"), tg.timestep(4):
        y, at = tg.sqrt(x * x), line()
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError) as caught:
        tg.grad(y.sum(), x, create_graph=create_graph)
    text = str(caught.value)
    assert "infinity" in text
    assert f"{__file__}:{at}" in text
    assert "cell/t=4" in text
    assert "gradient of" in text
    assert ("sqrt" if not create_graph else "divide") in text
    assert caught.value.node.time == 4


def test_backward_to_a_parameter():
    w = tg.parameter([0.0])
    y = tg.sqrt(w)
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match=r"the gradient of sqrt for .* is infinity"):
        y.sum().backward()
    assert w.grad is None


@pytest.mark.parametrize(
    "model",
    [
        lambda x, big: x[0] * big,
        lambda x, big: (x.reshape(1, 2) @ tg.full((2, 1), 1e38)).sum() * big,
        lambda x, big: (tg.ones((3, 2)) @ (tg.full((2, 1), 1e38) * x.reshape(2, 1))).sum() * 1e38,
        lambda x, big: tg.concatenate([x, x]).sum() * big,
        lambda x, big: tg.max(x * big * 1e38),
        lambda x, big: x.sum() * big * big,
    ],
)
def test_a_gradient_that_overflows_is_found_on_every_kind_of_way(model):
    x, big = tg.tensor([1e-38, 1e-38]), 1e38
    y = model(x * 1e10 * 1e10, big)
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match="infinity"):
        tg.grad(y.sum(), x)


def test_contributions_that_overflow_together_are_found():
    x = tg.tensor([1e-10], name="x")
    y = x * 3e38 + x * 3e38
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match=r"gradients of tensor 'x' .* add up to infinity"):
        tg.grad(y.sum(), x)


def test_what_is_finite_passes_and_is_the_same():
    x = tg.tensor(np.linspace(-1, 1, 6).reshape(3, 2))
    w = tg.parameter(np.eye(2))

    def model():
        h = tg.zeros(2, np.float64)
        for t in tg.steps(3):
            h = tg.tanh(x[t] @ w + h)
        return (h * h).sum()

    expected = tg.grad(model(), [x, w])
    for create_graph in (False, True):
        with tg.detect_anomaly():
            found = tg.grad(model(), [x, w], create_graph=create_graph)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_it_ends_with_its_block():
    with tg.detect_anomaly():
        pass
    assert tg.log(tg.tensor([0.0])).tolist() == [-np.inf]
    with pytest.raises(tg.AnomalyError), tg.detect_anomaly():
        tg.log(tg.tensor([0.0]))
    assert tg.log(tg.tensor([0.0])).tolist() == [-np.inf]


def test_values_that_the_user_gives_are_let_in():
    with tg.detect_anomaly():
        x = tg.tensor([np.inf, np.nan])
        assert (x > 0).tolist() == [True, False]
        assert tg.where(tg.isfinite(x), x, 0.0).tolist() == [0.0, 0.0]


def test_integers_and_symbols_are_not_examined():
    with tg.detect_anomaly():
        assert (tg.tensor([1]) + 1).tolist() == [2]
        g = tg.trace(lambda x: tg.log(x), (1,))
    assert g([0.0]).tolist() == [-np.inf]


def test_it_works_as_a_decorator():
    @tg.detect_anomaly()
    def model(x):
        return tg.log(x)

    with pytest.raises(tg.AnomalyError):
        model(tg.tensor([0.0]))
    assert model(tg.tensor([1.0])).item() == 0.0
