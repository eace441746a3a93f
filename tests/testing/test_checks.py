"""check_op, check_cell, check_module: what is right passes, what is wrong is found and named, by one line."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import testing
from tinygrad_rnn.ops.core import registry

from .faults import FAULTS


@pytest.mark.parametrize("name", registry)
def test_every_op_of_the_registry_keeps_all_laws(name):
    testing.check_op(name)()


test_rnn_cell = testing.check_cell(tg.nn.RNNCell)
test_relu_cell = testing.check_cell(tg.nn.RNNCell(2, 3, activation="relu", generator=0))
test_layer_over_time = testing.check_module(tg.nn.RNN(3, 4, 2, generator=0), [(2, 3, 3)])
test_embedding = testing.check_module(tg.nn.Embedding(5, 3, generator=0), [np.array([[0, 4], [1, 1]])])
test_layers = testing.check_module(
    lambda: tg.nn.Sequential(tg.nn.Linear(3, 4, generator=0), tg.tanh, tg.nn.LayerNorm(4)), [(2, 3)]
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_every_fault_is_caught(fault):
    assert fault.caught() is not None


def softsign(factor=1.0):
    return tg.elementwise(
        lambda x: x / (1 + abs(x)), vjp=lambda g, y, x: g * (1 - tg.abs(y)) ** 2 * factor, name="softsign"
    )


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus", "gelu", "elu", "erf", "erfc", "expm1"])
def test_ops_keep_their_laws_far_out(name):
    testing.check_op(name, low=-50, high=50)()


@pytest.mark.parametrize(("op", "high"), [(tg.sigmoid, 20), (tg.tanh, 10)])
def test_a_slope_from_a_result_is_let_off_its_last_digits_and_no_more(op, high, monkeypatch):
    check_grad = partial(testing.check_grad, op, [float(high)])
    check_grad()
    off = lambda factor: monkeypatch.setattr(op.op, "vjp", (lambda g, y, x: slope(g, y, x) * factor,))
    slope = op.op.vjp[0]
    off(1.001)
    with pytest.raises(testing.GradientMismatch):
        check_grad()


def test_an_op_of_ones_own_that_cancels_is_not_let_off():
    own = tg.elementwise(tg.sigmoid.scalar, vjp=lambda g, y, x: g * y * (1 - y), name="logistic")
    with pytest.raises(testing.GradientMismatch):
        testing.check_grad(own, [30.0])


def test_an_op_of_ones_own_with_a_reference():
    testing.check_op(softsign(), reference=lambda x: x / (1 + np.abs(x)))()
    with pytest.raises(AssertionError, match="equals reference"):
        testing.check_op(softsign(), reference=lambda x: x / (1 + np.abs(x)) + 1e-9)()
    with pytest.raises(testing.GradientMismatch) as caught:
        testing.check_op(softsign(1.001))()
    assert any("law broken by softsign: gradients" in note for note in caught.value.__notes__)


def test_a_function_with_shapes():
    testing.check_op(lambda x, w: tg.tanh(x @ w), inputs=[(2, 3), (3, 1)])()
    testing.check_op("tanh", inputs=[(2, 3)], low=-9, high=9)()
    with pytest.raises(testing.GradientMismatch):
        testing.check_op(lambda x: x * x.detach(), inputs=[(2,)], skip=["eager_equals_compiled"])()


def test_a_function_as_a_cell():
    w, u = (tg.parameter(np.random.default_rng(k).normal(size=(n, 3))) for k, n in enumerate([2, 3]))

    def cell(x, h):
        h = tg.tanh(x @ w + h @ u)
        return h, h

    def reference(x, h):
        h = np.tanh(x @ w.numpy() + h @ u.numpy())
        return h, h

    state = lambda batch: tg.zeros((batch, 3), np.float64)
    testing.check_cell(cell, input_size=2, state=state, reference=reference)()
    with pytest.raises(AssertionError, match="equals reference"):
        testing.check_cell(cell, input_size=2, state=state, reference=lambda x, h: (h, h))()


class Leaking(tg.nn.RNNCell):
    """Its rows are not independent."""

    def forward(self, x, h):
        return super().forward(x, h + 0.01 * h.mean(0, keepdims=True))


def test_a_wrong_cell_is_found_and_the_law_named():
    with pytest.raises(AssertionError) as caught:
        testing.check_cell(Leaking)()
    assert any("law broken by Leaking: " in note for note in caught.value.__notes__)
    testing.check_cell(Leaking, skip=["padding", "batch_independence"])()


def test_the_tests_have_names_and_take_no_arguments():
    test = testing.check_cell(tg.nn.RNNCell)
    assert (test.__name__, test.__doc__) == ("test_RNNCell", "Laws of the cell RNNCell.")
    assert testing.check_op("tanh").__name__ == "test_tanh"
    assert testing.check_module(tg.nn.Linear(2, 2), [(1, 2)]).__name__ == "test_Linear"


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: testing.check_op("thanh"), ValueError, "no op 'thanh'"),
    (lambda: testing.check_op(lambda x: x), ValueError, "inputs="),
    (lambda: testing.check_op("tanh", skip=["gradient"]), ValueError, "'gradient' is not a law"),
    (lambda: testing.check_cell(tg.nn.RNNCell, skip=["casuality"]), ValueError, "'casuality'"),
    (lambda: testing.check_cell(3), TypeError, "expected a cell"),
    (lambda: testing.check_cell(lambda x, h: (h, h)), TypeError, "input_size="),
    (lambda: testing.check_module(3, [(1,)]), TypeError, "expected a module"),
    (lambda: testing.check_module(tg.nn.Linear(2, 2), [(1, 2)], skip=["dualty"]), ValueError, "'dualty'"),
    (lambda: testing.profile("quick"), ValueError, "'quick'"),
])  # fmt: skip
def test_calls_that_make_no_sense(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_profiles():
    ci = testing.profile("ci", max_examples=7)
    assert (ci.max_examples, ci.deadline, ci.derandomize) == (7, None, True)
    assert not testing.profile("dev").derandomize
    assert testing.profile("intense").max_examples == 1000


# Comparison -----------------------------------------------------------------------------------------------------------


def test_assert_close_shows_the_worst_entry():
    testing.assert_close(np.float32([1, np.nan, np.inf]), np.array([1 + 1e-7, np.nan, np.inf]))
    x = np.zeros((3, 4))
    y = x.copy()
    y[1, 2], y[0, 0] = 0.5, 0.1
    with pytest.raises(AssertionError, match=r"h\[1, 2\] is 0\.0, expected 0\.5: off by 0\.5.*\n  2 of 12 entries"):
        testing.assert_close(x, y, name="h")


@pytest.mark.parametrize(("a", "b", "text"), [
    (np.zeros(2), np.zeros(3), "shape"), (np.zeros(2, int), np.zeros(2), "dtype"),
    ([1.0, np.nan], [1.0, 2.0], r"\[1\]"),
    ([1.0, 2.0], [1.0, np.nan], r"\[1\]"), ([np.inf], [-np.inf], "inf"), ([1, 2], [1, 3], r"\[1\] is 2, expected 3"),
    (1.0, 1.1, "found is 1.0"), ([True], [False], "True"),
])  # fmt: skip
def test_assert_close_finds_differences(a, b, text):
    with pytest.raises(AssertionError, match=text):
        testing.assert_close(a, b)


def test_tolerances():
    testing.assert_close([1.0], [1.1], rtol=0.2)
    testing.assert_close([1.0], [1.1], atol=0.2)
    with pytest.raises(AssertionError):
        testing.assert_close([1.0], [1.1], rtol=0.05, atol=0.01)
    testing.assert_close(np.zeros((0, 2)), np.zeros((0, 2)))
