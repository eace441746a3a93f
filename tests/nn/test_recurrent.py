"""Recurrent layers against loops in NumPy, against PyTorch where it is installed, and by their laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn

FUNCTIONS = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "identity": lambda a: a,
}


def by_hand(cell: nn.RNNCell, xs: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Outputs (batch, time, hidden) by the formula."""
    W_i, W_h, b = cell.W_i.numpy(), cell.W_h.numpy(), 0 if cell.b is None else cell.b.numpy()
    outputs = []
    for t in range(xs.shape[1]):
        h = FUNCTIONS[cell.activation](xs[:, t] @ W_i + h @ W_h + b)
        outputs.append(h)
    return np.stack(outputs, 1)


sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))


def problem(batch: int, time: int, features: int, hidden: int, seed: int, **options):
    rng = np.random.default_rng(seed)
    cell = nn.RNNCell(features, hidden, generator=rng, dtype=np.float64, **options)
    return cell, rng.normal(size=(batch, time, features)), rng.normal(size=(batch, hidden))


@given(sizes=sizes, activation=st.sampled_from(sorted(FUNCTIONS)), bias=st.booleans())
def test_unrolled_cell_is_the_formula(sizes, activation, bias):
    cell, xs, h = problem(*sizes, activation=activation, bias=bias)
    out = nn.unroll(cell, xs, tg.tensor(h))
    expected = by_hand(cell, xs, h)
    np.testing.assert_allclose(out.outputs, expected, rtol=1e-12)
    np.testing.assert_array_equal(out.state, out.outputs[:, -1])


@given(sizes=sizes)
def test_time_major_is_batch_major_with_the_axes_exchanged(sizes):
    cell, xs, _ = problem(*sizes)
    batch_first = nn.unroll(cell, xs).outputs
    time_first = nn.unroll(cell, xs.swapaxes(0, 1), batch_first=False).outputs
    np.testing.assert_array_equal(batch_first, time_first.swapaxes(0, 1))


@given(sizes=sizes, data=st.data())
def test_the_state_carries_a_sequence_over_a_split(sizes, data):
    cell, xs, h = problem(*sizes)
    whole = nn.unroll(cell, xs, tg.tensor(h))
    if xs.shape[1] < 2:
        return
    cut = data.draw(st.integers(1, xs.shape[1] - 1))
    first = nn.unroll(cell, xs[:, :cut], tg.tensor(h))
    second = nn.unroll(cell, xs[:, cut:], first.state)
    np.testing.assert_allclose(tg.concatenate([first.outputs, second.outputs], 1), whole.outputs, rtol=1e-13)


@given(sizes=sizes, data=st.data())
def test_outputs_do_not_depend_on_later_inputs(sizes, data):
    cell, xs, h = problem(*sizes)
    cut = data.draw(st.integers(0, xs.shape[1] - 1))
    changed = xs.copy()
    changed[:, cut:] += 1
    before, after = (nn.unroll(cell, x, tg.tensor(h)).outputs.numpy() for x in (xs, changed))
    np.testing.assert_array_equal(before[:, :cut], after[:, :cut])


@given(sizes=sizes)
def test_gradients_are_backpropagation_through_time_by_hand(sizes):
    """The closed forms: delta_t = (dL/dy_t + delta_{t+1} W_h^T) g'(a_t), dL/dW_h = sum_t h_{t-1}^T delta_t."""
    cell, xs, h = problem(*sizes)
    outputs = nn.unroll(cell, xs, tg.tensor(h)).outputs
    weights = np.random.default_rng(1).normal(size=outputs.shape)
    got = tg.grad(outputs, [cell.W_i, cell.W_h, cell.b], weights)
    hs = np.concatenate([h[:, None], outputs.numpy()], 1)
    delta, sums = np.zeros_like(h), [0.0, 0.0, 0.0]
    for t in reversed(range(xs.shape[1])):
        delta = (weights[:, t] + delta @ cell.W_h.numpy().T) * (1 - hs[:, t + 1] ** 2)
        for k, term in enumerate((xs[:, t].T @ delta, hs[:, t].T @ delta, delta.sum(0))):
            sums[k] = sums[k] + term
    for ours, theirs in zip(got, sums, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@given(sizes=sizes, layers=st.integers(1, 3))
def test_layers_are_unrolled_cells_one_above_the_other(sizes, layers):
    _, xs, _ = problem(*sizes)
    rnn = nn.RNN(xs.shape[2], sizes[3], layers, generator=0, dtype=np.float64)
    out = rnn(xs)
    expected = xs
    for cell, last in zip(rnn.layers, out.state, strict=True):
        expected = by_hand(cell, expected, np.zeros((xs.shape[0], sizes[3])))
        np.testing.assert_allclose(last, expected[:, -1], rtol=1e-12)
    np.testing.assert_allclose(out.outputs, expected, rtol=1e-12)


def test_a_function_with_an_initial_state_is_a_cell():
    class Counter:
        def initial_state(self, batch):
            return tg.zeros((batch, 1))

        def __call__(self, x, state):
            return state * 10, state + x

    out = nn.unroll(Counter(), tg.ones((1, 3, 1)))
    assert out.outputs.tolist() == [[[0], [10], [20]]]
    assert out.state.item() == 3


def test_steps_scopes_and_names_are_recorded():
    out = nn.RNN(3, 4, 2)(tg.ones((2, 3, 3)))
    g = tg.graph(out.outputs)
    assert g.times == (0, 1, 2)
    assert [t.time for t in g.by_name("h")] == [0, 1, 2, 0, 1, 2]  # layer by layer
    assert {t.scope for t in g.by_name("h")} == {("rnn", "layer0"), ("rnn", "layer1")}
    assert len(g.by_name("x")) == 3


def test_dropout_between_layers_acts_in_training_only():
    rnn, xs = nn.RNN(3, 4, 2, dropout=0.5, generator=0), tg.ones((2, 3, 3))
    assert "bernoulli" in tg.graph(rnn(xs).outputs).counts()
    assert "bernoulli" not in tg.graph(rnn.eval()(xs).outputs).counts()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.RNN(3, 4)(tg.ones(3)), r"no time axis(.|\n)*\(batch, time"),
        (lambda: nn.RNN(3, 4)(tg.ones((2, 0, 3))), "no time step"),
        (lambda: nn.RNN(3, 4)(tg.ones((2, 5, 7))), r"RNNCell: input(.|\n)*\(batch, 3\)"),
        (lambda: nn.RNN(3, 4, 2)(tg.ones((2, 5, 3)), [tg.zeros((2, 4))]), "2 states, one per layer"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(call, message):
    with pytest.raises(tg.ShapeError, match=message):
        call()


def test_a_shape_error_inside_names_the_time_step():
    with pytest.raises(tg.ShapeError, match=r"t=0"):
        nn.RNN(3, 4)(tg.ones((2, 5, 7)))


def test_unknown_activations_are_refused():
    with pytest.raises(ValueError, match="tanh, relu, sigmoid, identity"):
        nn.RNNCell(1, 1, activation="swish")


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("layers", [1, 3])
def test_outputs_and_gradients_equal_pytorchs(activation, layers):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.RNN(3, 5, layers, nonlinearity=activation, batch_first=True, dtype=torch.float64)
    ours = nn.RNN(3, 5, layers, activation=activation, dtype=np.float64)
    for k, cell in enumerate(ours.layers):
        cell.W_i.assign(getattr(theirs, f"weight_ih_l{k}").detach().numpy().T)
        cell.W_h.assign(getattr(theirs, f"weight_hh_l{k}").detach().numpy().T)
        cell.b.assign((getattr(theirs, f"bias_ih_l{k}") + getattr(theirs, f"bias_hh_l{k}")).detach().numpy())
    xs = np.random.default_rng(0).normal(size=(2, 6, 3))
    out, expected = ours(xs).outputs, theirs(torch.tensor(xs))[0]
    np.testing.assert_allclose(out, expected.detach(), rtol=1e-10)
    (out * out).sum().backward()
    (expected * expected).sum().backward()
    for k, cell in enumerate(ours.layers):
        np.testing.assert_allclose(cell.W_h.grad, getattr(theirs, f"weight_hh_l{k}").grad.numpy().T, rtol=1e-9)
        np.testing.assert_allclose(cell.W_i.grad, getattr(theirs, f"weight_ih_l{k}").grad.numpy().T, rtol=1e-9)
        np.testing.assert_allclose(cell.b.grad, getattr(theirs, f"bias_ih_l{k}").grad.numpy(), rtol=1e-9)


def test_a_history_changes_nothing_about_where_operations_are():
    model = tg.nn.LSTM(2, 3, num_layers=2)
    xs = np.ones((1, 3, 2), np.float32)
    plain, seen = (tg.graph(model(xs, history=h).outputs) for h in (False, True))
    assert list(seen.ids.values()) == list(plain.ids.values())
