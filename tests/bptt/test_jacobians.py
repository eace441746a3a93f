"""Jacobians through time against closed forms, autodiff and differences; Lyapunov exponents that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.bptt.nets import SEEDS, added, cells, inputs, output, per_step_losses, states_of
from tinygrad_rnn.bptt.chain import pulled

STEPS = 5


def by_autodiff(later, earlier):
    """(batch, n, n) from the full Jacobian, whose blocks between examples are zero."""
    full = tg.jacobian(later, earlier).numpy()
    return np.stack([full[b, :, b] for b in range(len(full))])


def flat(state):
    return np.concatenate([t.numpy() for t in ([state] if isinstance(state, tg.Tensor) else state)], -1)


# Closed forms ---------------------------------------------------------------------------------------------------------


SLOPES = {"tanh": lambda h: 1 - h**2, "sigmoid": lambda h: h * (1 - h), "relu": lambda h: (h > 0) * 1.0,
          "identity": np.ones_like}  # fmt: skip


@pytest.mark.parametrize(("activation", "slope"), SLOPES.items())
def test_of_an_elman_network_it_is_the_product_of_the_notes(activation, slope):
    cell = tg.nn.RNNCell(2, 3, activation=activation, dtype=np.float64, generator=0)
    out = tg.nn.unroll(cell, inputs(0, 2, STEPS, 2), history=True)
    for b in range(2):
        factors = [np.diag(slope(h)) @ cell.W_h.numpy().T for h in out.outputs.numpy()[b]]
        J = tg.bptt.state_jacobian(out, 4, 1)[b]
        np.testing.assert_allclose(J, factors[4] @ factors[3] @ factors[2], rtol=1e-10, atol=1e-14)
        values = np.linalg.svd(J, compute_uv=False)
        np.testing.assert_allclose(tg.bptt.singular_values(out)[4, 1, b], values, rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(tg.bptt.spectral_norms(out, lag=3)[1, b], values[0], rtol=1e-9)


def test_of_an_lstm_the_state_is_a_pair():
    """∂c_t/∂c_{t-1} with h held is the forget gate, the path on which gradients last."""
    cell = tg.nn.LSTMCell(2, 3, dtype=np.float64, generator=0)
    out = tg.nn.unroll(cell, inputs(0, 2, STEPS, 2), history=True)
    J = tg.bptt.state_jacobian(out, 3, 2)
    assert J.shape == (2, 6, 6)
    f = out.history[0]["f"].numpy()[:, 3]
    np.testing.assert_allclose(J[:, 3:, 3:], f[:, :, None] * np.eye(3), rtol=1e-12)
    c = tg.bptt.state_jacobian(out.history[0]["c"], 3, 2)
    np.testing.assert_allclose(c, by_autodiff(*(out.history[0]["c"].inputs[k] for k in (3, 2))), rtol=1e-10)
    assert np.abs(c - J[:, 3:, 3:]).max() > 1e-4, "c alone also acts through h"


@given(cells(), SEEDS)
def test_the_gradient_at_a_state_is_that_at_the_last_times_the_jacobian(cell, seed):
    states = states_of(cell, inputs(seed, 2, STEPS, cell.input_size))
    last = [output(states[-1])] if isinstance(states[-1], tg.Tensor) else list(states[-1])
    given_ = [inputs(k, *t.shape) for k, t in enumerate(last)]
    whole = tg.bptt.state_jacobian(states, STEPS, 1)
    expected = np.einsum("bi,bij->bj", np.concatenate(given_, -1), whole)
    chained = np.concatenate(given_, -1)
    for t in range(STEPS, 1, -1):
        chained = np.einsum("bi,bij->bj", chained, tg.bptt.state_jacobian(states, t, t - 1))
    np.testing.assert_allclose(chained, expected, rtol=1e-10, atol=1e-13)
    first = states[1] if isinstance(states[1], tg.Tensor) else states[1][0]
    loss = sum((t * g).sum() for t, g in zip(last, given_, strict=True))
    if isinstance(states[1], tg.Tensor):
        np.testing.assert_allclose(tg.grad(loss, first).numpy(), expected, rtol=1e-10, atol=1e-13)


@given(cells(), SEEDS)
def test_differences_agree(cell, seed):
    xs = inputs(seed, 2, STEPS, cell.input_size)
    states = states_of(cell, xs)
    J = tg.bptt.state_jacobian(states, 4, 2)
    parts = [states[2]] if isinstance(states[2], tg.Tensor) else list(states[2])
    ends = np.cumsum([t.shape[1] for t in parts])

    def run(vector):
        pieces = np.split(vector, ends[:-1], axis=-1)
        state = pieces[0] if isinstance(states[2], tg.Tensor) else type(states[2])(*pieces) if hasattr(
            states[2], "_fields") else tuple(pieces)  # fmt: skip
        for t in (2, 3):
            _, state = cell(xs[:, t], state)
        return flat(state)

    point, step = flat(states[2]), 1e-6
    for k in range(ends[-1]):
        away = step * np.eye(ends[-1])[k]
        change = (run(point + away) - run(point - away)) / (2 * step)
        np.testing.assert_allclose(change, J[:, :, k], rtol=1e-5, atol=1e-7)


@given(cells(), SEEDS)
def test_contributions_are_made_of_jacobians(cell, seed):
    """What enters in step i and comes from output j is the gradient of output j at state i, by the use in step i."""
    xs = inputs(seed, 1, 3, cell.input_size)
    losses = per_step_losses(cell, xs)
    total = tg.bptt.contributions(losses, cell.W_i).total()
    np.testing.assert_allclose(total, tg.grad(added(losses), cell.W_i).numpy(), rtol=1e-10, atol=1e-12)


# Forms of states ------------------------------------------------------------------------------------------------------


def test_states_may_be_given_in_many_ways():
    cell = tg.nn.GRUCell(2, 3, dtype=np.float64, generator=0)
    xs = inputs(0, 2, STEPS, 2)
    out = tg.nn.unroll(cell, xs, history=True)
    expected = tg.bptt.state_jacobian(out, 3, 1)
    graph = tg.graph(out.outputs)
    for h in (out.outputs, out.history[0], out.history[0]["h"], list(out.outputs.inputs)):
        np.testing.assert_array_equal(tg.bptt.state_jacobian(h, 3, 1), expected)
    for name in ("h", ("h",), "grucell/h"):
        np.testing.assert_array_equal(tg.bptt.state_jacobian(name, 3, 1, graph=graph), expected)
    traced = tg.trace(lambda xs: tg.nn.unroll(cell, xs).outputs, tg.Spec(xs.shape, np.float64))
    np.testing.assert_allclose(tg.bptt.state_jacobian("h", 3, 1, graph=traced, inputs=[xs]), expected, rtol=1e-12)
    np.testing.assert_array_equal(tg.bptt.state_jacobian(out, -2, -4), expected)


def test_names_in_several_layers_need_a_scope():
    model = tg.nn.LSTM(2, 3, 2, dtype=np.float64, generator=0)
    out = model(inputs(0, 1, 3, 2), history=True)
    graph = tg.graph(out.outputs)
    with pytest.raises(ValueError, match=r"(?s)one in each time step.*several: lstm/layer0/h, lstm/layer1/h"):
        tg.bptt.state_jacobian("h", 2, 0, graph=graph)
    found = tg.bptt.state_jacobian(("layer1/h", "layer1/c"), 2, 0, graph=graph)
    np.testing.assert_array_equal(found, tg.bptt.state_jacobian(out, 2, 0, layer=1))
    assert np.abs(found - tg.bptt.state_jacobian(out, 2, 0, layer=0)).max() > 1e-6


def test_backwards_in_time():
    model = tg.nn.RNN(2, 3, bidirectional=True, dtype=np.float64, generator=0)
    out = model(inputs(0, 2, STEPS, 2), history=True)
    h = out.history[1]["h"].inputs
    np.testing.assert_allclose(tg.bptt.state_jacobian(out, 1, 4, layer=1), by_autodiff(h[1], h[4]), rtol=1e-10)
    assert not tg.bptt.state_jacobian(out, 4, 1, layer=1).any()
    norms = tg.bptt.spectral_norms(out, layer=1)
    assert norms.shape == (STEPS, STEPS, 2)
    assert not norms[np.tril_indices(STEPS, -1)].any()
    assert norms[np.triu_indices(STEPS)].all()


def test_a_state_that_is_not_complete_is_walked_through_pair_by_pair():
    cell = tg.nn.RNNCell(2, 3, skip=3, dtype=np.float64, generator=0)
    states = states_of(cell, inputs(0, 2, STEPS, 2))
    alone = [s[0] for s in states]
    values = tg.bptt.singular_values(alone)
    for t in range(2, STEPS):
        expected = np.linalg.svd(by_autodiff(alone[t + 1], alone[t - 1]), compute_uv=False)
        np.testing.assert_allclose(values[t + 1, t - 1], expected, rtol=1e-9)
        np.testing.assert_allclose(tg.bptt.singular_values(alone, lag=2)[t - 1], expected, rtol=1e-9)
    assert tg.bptt.lyapunov_exponents(states).shape == (2, 9)
    with pytest.raises(tg.GradientError, match=r"(?s)otherwise than through the state before.*complete states"):
        tg.bptt.lyapunov_exponents(alone)


def test_products_that_overflow_are_not_numbers():
    states = [tg.ones((1, 1))]
    for _ in tg.steps(12):
        states.append(states[-1] * 1e30)
    norms = tg.bptt.spectral_norms(states)[:, :, 0]
    np.testing.assert_allclose(norms[10, 0], 1e300, rtol=1e-5)
    assert np.isnan(norms[12, 0])
    np.testing.assert_allclose(norms[12, 11], 1e30, rtol=1e-6)


def test_without_a_batch():
    W = tg.tensor(inputs(0, 3, 3))
    states = [tg.ones(3, np.float64)]
    for _ in tg.steps(3):
        states.append(W @ states[-1])
    assert tg.bptt.state_jacobian(states, 3, 1).shape == (3, 3)
    np.testing.assert_allclose(tg.bptt.state_jacobian(states, 3, 1), W.numpy() @ W.numpy(), rtol=1e-12)
    assert tg.bptt.singular_values(states).shape == (4, 4, 3)


def test_examples_that_depend_on_each_other_are_not_taken_for_a_batch():
    h = tg.tensor(inputs(0, 3, 2))
    later = tg.tanh(h - h.mean(0, keepdims=True))
    with pytest.raises(tg.GradientError, match=r"(?s)depend on each other.*batch=False"):
        tg.bptt.state_jacobian([h, later], 1, 0)
    whole = tg.bptt.state_jacobian([h, later], 1, 0, batch=False)
    np.testing.assert_allclose(whole, tg.jacobian(later, h).numpy().reshape(6, 6), rtol=1e-12)
    with pytest.raises(tg.errors.ShapeError, match="different batch sizes"):
        tg.bptt.state_jacobian([h, h[:2]], 1, 0)


def test_levels_of_a_tree():
    network = tg.nn.TreeNetwork(10, 3, 2, "recursive", dtype=np.float64, generator=0)
    out = network([((4, 1), (2, 3))])
    leaves, _, root = (tg.graph(out.roots).by_time(t)[-1] for t in (0, 1, 2))
    leaves = next(t for t in tg.graph(out.roots).by_name("h") if t.time == 0)
    found = tg.bptt.state_jacobian([leaves, out.roots], 1, 0, batch=False)
    np.testing.assert_allclose(found, tg.jacobian(out.roots, leaves).numpy().reshape(2, 8), rtol=1e-12)
    assert root.time == 2


# Exponents and bounds -------------------------------------------------------------------------------------------------


def test_exponents_of_a_linear_map_are_logarithms_of_its_eigenvalues():
    basis = inputs(0, 3, 3)
    A = basis @ np.diag([1.5, 0.7, -0.2]) @ np.linalg.inv(basis)
    states = [tg.ones((2, 3), np.float64)]
    for _ in tg.steps(80):
        states.append(states[-1] @ tg.tensor(A) / 1.0)
    found = tg.bptt.lyapunov_exponents(states, skip=40)
    np.testing.assert_allclose(found, np.log([[1.5, 0.7, 0.2]] * 2), atol=1e-6)
    np.testing.assert_allclose(tg.bptt.lyapunov_exponents(states, 2, skip=40), found[:, :2], atol=1e-12)


def test_the_logistic_map_is_chaotic_with_exponent_ln_2():
    states = [tg.tensor(np.array([[0.1234]]))]
    for _ in tg.steps(4000):
        states.append(4 * states[-1] * (1 - states[-1]))
    np.testing.assert_allclose(tg.bptt.lyapunov_exponents(states), np.log(2), atol=0.01)


@given(cells(), SEEDS)
def test_exponents_sum_to_the_mean_logarithm_of_determinants(cell, seed):
    states = states_of(cell, inputs(seed, 2, STEPS, cell.input_size))
    if isinstance(states[0], tuple) and not isinstance(cell, tg.nn.LSTMCell):
        return  # a skip: the oldest state is forgotten, and in a single step determinants are about zero
    singles = [tg.bptt.state_jacobian(states, t + 1, t) for t in range(STEPS)]
    logs = np.linalg.slogdet(np.array(singles))[1]
    found = tg.bptt.lyapunov_exponents(states).sum(-1)
    if (logs > -25).all():
        np.testing.assert_allclose(found, logs.mean(0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "identity"])
@pytest.mark.parametrize("leak", [1.0, 0.3])
def test_norms_keep_below_the_bound(activation, leak):
    cell = tg.nn.RNNCell(2, 4, activation=activation, leak=leak, dtype=np.float64, generator=3)
    out = tg.nn.unroll(cell, 3 * inputs(0, 2, 6, 2), history=True)
    norms = tg.bptt.spectral_norms(out)
    lags = np.subtract.outer(np.arange(6), np.arange(6))
    for a in (None, out.history[0]["a"]):
        bound = tg.bptt.jacobian_bound(cell, np.maximum(lags, 0), a=a)
        assert (norms[lags > 0] <= bound[lags > 0][:, None] * (1 + 1e-12)).all()
    if activation == "tanh":
        assert tg.bptt.jacobian_bound(cell, a=out.history[0]["a"]) < tg.bptt.jacobian_bound(cell)
    if activation == "identity":
        np.testing.assert_allclose(norms[1, 0], np.linalg.norm((1 - leak) * np.eye(4) + leak * cell.W_h.numpy(), 2))


def test_the_bound_needs_a_slope():
    cell = tg.nn.RNNCell(2, 3, activation=tg.sin, generator=0)
    with pytest.raises(ValueError, match="pass slope=, or preactivations a="):
        tg.bptt.jacobian_bound(cell)
    assert tg.bptt.jacobian_bound(cell, 2, slope=0.5) == pytest.approx(
        0.25 * np.linalg.norm(cell.W_h.numpy(), 2) ** 2, rel=1e-6)  # fmt: skip
    with pytest.raises(TypeError, match=r"(?s)an RNNCell without skip and layer norm.*spectral_norms"):
        tg.bptt.jacobian_bound(tg.nn.LSTMCell(2, 3))


# The engine -----------------------------------------------------------------------------------------------------------

EYE = tg.tensor(np.eye(3))
OPERATIONS = [
    lambda x: tg.tanh(x) * x, lambda x: x @ EYE + x, lambda x: x.T @ x, lambda x: x[:, ::-1][1:], lambda x: x.sum(0),
    lambda x: x.mean(keepdims=True) * x, lambda x: tg.softmax(x), lambda x: tg.stack([x, x * x], 1).sum(1),
    lambda x: tg.concatenate([x, 2 * x], 1)[:, 2:5], lambda x: x[[0, 1, 1, 0]], lambda x: x[..., None, :2],
    lambda x: tg.einsum("ij,kj->ik", x, x), lambda x: tg.layer_norm(x), lambda x: tg.logsumexp(x, 0),
    lambda x: x[0] @ x.T,
    lambda x: x @ x[1], lambda x: x[0] @ x[1], lambda x: x.reshape(1, 2, 3) @ x.T, lambda x: x.T.reshape(1, 3, 2) @ x,
    lambda x: tg.stack([x, x]) @ tg.stack([x.T, 2 * x.T]), lambda x: tg.cumsum(x, 1), lambda x: tg.relu(x).max(0),
    lambda x: tg.broadcast_to(x[:1], (4, 3)), lambda x: tg.where(x > 0, x, x * x), lambda x: x.at[0].set(x[1]),
    lambda x: tg.checkpoint(lambda v: v * v)(x), lambda x: tg.floor(x) + x, lambda x: tg.pad(x, 1), lambda x: x ** 3,
    lambda x: x / (1 + x * x).sum(1, keepdims=True), lambda x: x.astype(np.float32).astype(np.float64),
    lambda x: x[tg.tensor([[0, 1], [1, 1]])], lambda x: x[:, [0, 2]], lambda x: x[np.array([[True, False, True]] * 2)],
    lambda x: (x.T @ x.T.reshape(2, 3)), lambda x: x.reshape(2, 1, 3) @ x.reshape(2, 3, 1), lambda x: tg.outer(x, x),
    lambda x: x[0, None] * x[:, :1],
]  # fmt: skip


@given(st.integers(0, len(OPERATIONS) - 1), SEEDS)
def test_many_cotangents_give_what_each_gives(k, seed):
    x = tg.tensor(inputs(seed, 2, 3))
    y = OPERATIONS[k](x)
    cotangents = inputs(seed + 1, 4, *y.shape)
    cotangents[2] = 0
    (found,) = pulled((y,), [cotangents], (x,))
    for g, row in zip(cotangents, found, strict=True):
        np.testing.assert_allclose(row, tg.grad(y, x, g).numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("k", range(len(OPERATIONS)))
def test_every_operation_at_a_point(k):
    x = tg.tensor(inputs(k, 2, 3))
    y = OPERATIONS[k](x)
    found = tg.bptt.state_jacobian([x, y], 1, 0, batch=False)
    np.testing.assert_allclose(found.reshape(*y.shape, *x.shape), tg.jacobian(y, x).numpy(), rtol=1e-9, atol=1e-12)


# Errors ---------------------------------------------------------------------------------------------------------------


def test_errors():
    cell = tg.nn.RNNCell(2, 3, generator=0)
    out = tg.nn.unroll(cell, np.ones((1, 4, 2), np.float32))
    with pytest.raises(ValueError, match="history=True"):
        tg.bptt.state_jacobian(out, 1, 0)
    with pytest.raises(IndexError, match=r"(?s)state 4.*0 to 3, or -4 to -1"):
        tg.bptt.state_jacobian(out.outputs, 4, 0)
    with pytest.raises(TypeError, match="a tensor that was stacked over time"):
        tg.bptt.state_jacobian(out.last, 1, 0)
    with pytest.raises(TypeError, match=r"(?s)a graph to find them in.*graph=tg.graph\(loss\)"):
        tg.bptt.state_jacobian("h", 1, 0)
    with pytest.raises(ValueError, match="none in any time step"):
        tg.bptt.state_jacobian("hidden", 1, 0, graph=tg.graph(out.outputs))
    with pytest.raises(TypeError, match=r"(?s)a list of states.*got: +int"):
        tg.bptt.state_jacobian(3, 1, 0)
    with pytest.raises(tg.errors.ShapeError, match="all of the same make"):
        tg.bptt.state_jacobian([(tg.ones(1), tg.ones(1)), tg.ones(1)], 1, 0)
    with pytest.raises(tg.errors.ShapeError, match=r"got: +none"):
        tg.bptt.singular_values([])
    with pytest.raises(tg.GradientError, match="float tensors"):
        tg.bptt.state_jacobian([tg.arange(2), tg.arange(2)], 1, 0)
    with pytest.raises(ValueError, match=r"(?s)lag 4.*0 to 3"):
        tg.bptt.spectral_norms(out.outputs, lag=4)
    with pytest.raises(ValueError, match=r"(?s)count 4.*1 to 3, the size of the state"):
        tg.bptt.lyapunov_exponents(out.outputs, 4)
    with pytest.raises(ValueError, match="fewer than the 3 steps"):
        tg.bptt.lyapunov_exponents(out.outputs, skip=3)
    with pytest.raises(IndexError, match=r"(?s)layer 1.*0 to 0"):
        tg.bptt.state_jacobian(tg.nn.unroll(cell, np.ones((1, 2, 2), np.float32), history=True), 1, 0, layer=1)


def test_thousands_of_steps():
    states = [tg.tensor(np.array([[0.3]]))]
    for _ in tg.steps(20_000):
        states.append(tg.sin(states[-1]))
    assert tg.bptt.state_jacobian(states, -1, 0)[0, 0, 0] > 0
    assert tg.bptt.spectral_norms(states, lag=1).shape == (20_000, 1)
    assert -0.001 < tg.bptt.lyapunov_exponents(states)[0, 0] < 0
