"""The two-index sum: its closed forms, its sum, its causality, and where it puts what is used outside of time."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.bptt.nets import SEEDS, added, cells, inputs, per_step_losses

T = 5
MODULE = import_module("tinygrad_rnn.bptt.contributions")


def contributions(losses, weight, **options):
    """Checked against autodiff: they sum to the gradient, and the norms are theirs."""
    found = tg.bptt.contributions(losses, weight, **options)
    total = losses if isinstance(losses, tg.Tensor) else added(losses)
    np.testing.assert_allclose(found.total(), tg.grad(total, weight).numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found.total(), np.asarray(found).sum((0, 1)))
    norms = np.sqrt((found.array**2).sum(axis=tuple(range(2, found.array.ndim))))
    np.testing.assert_allclose(found.norms, norms, rtol=1e-9, atol=1e-14)
    alone = tg.bptt.contributions(losses, weight, norms=True, **options)
    np.testing.assert_allclose(alone.norms, norms, rtol=1e-9, atol=1e-14)
    assert (alone.times, alone.outputs) == (found.times, found.outputs)
    return found


# Closed forms ---------------------------------------------------------------------------------------------------------


class Elman:
    """h_t = tanh(x_t W_i + h_{t-1} W_h + b), y_t = h_t W_o, L_t = |y_t - d_t|² / 2, in tensors and in numbers."""

    def __init__(self, batch=2):
        rng = np.random.default_rng(3)
        shapes = {"W_i": (2, 3), "W_h": (3, 3), "b": (3,), "W_o": (3, 2)}
        self.weights = {n: tg.parameter(rng.normal(0, 0.7, s), name=n) for n, s in shapes.items()}
        self.x, self.d = rng.normal(size=(T, batch, 2)), rng.normal(size=(T, batch, 2))
        self.h, self.losses = [tg.tensor(rng.normal(size=(batch, 3)))], []
        w = self.weights
        for t in tg.steps(T):
            self.h.append(tg.tanh(self.x[t] @ w["W_i"] + self.h[-1] @ w["W_h"] + w["b"]))
            self.losses.append(0.5 * ((self.h[-1] @ w["W_o"] - self.d[t]) ** 2).sum())

    def delta(self, i, j):
        """∂L_j/∂a_i by the recursion of the notes."""
        W_h, W_o, h = self.weights["W_h"].numpy(), self.weights["W_o"].numpy(), [t.numpy() for t in self.h]
        back = (h[j + 1] @ W_o - self.d[j]) @ W_o.T
        for t in range(j, i, -1):
            back = (back * (1 - h[t + 1] ** 2)) @ W_h.T
        return back * (1 - h[i + 1] ** 2)


@pytest.mark.parametrize("name", ["W_i", "W_h", "b"])
def test_each_part_has_its_closed_form(name):
    net = Elman()
    before = {"W_i": net.x, "W_h": [h.numpy() for h in net.h], "b": np.ones((T, 2, 1))}[name]
    found = contributions(net.losses, net.weights[name])
    assert found.times == found.outputs == tuple(range(T))
    for i in range(T):
        for j in range(i, T):
            part = before[i].T @ net.delta(i, j)
            np.testing.assert_allclose(found.array[i, j], part.reshape(found.weight.shape), rtol=1e-10, atol=1e-13)
        assert not found.array[i, :i].any()


def test_a_readout_is_used_once_for_each_output():
    net = Elman()
    found = contributions(net.losses, net.weights["W_o"]).array
    for j in range(T):
        dy = net.h[j + 1].numpy() @ net.weights["W_o"].numpy() - net.d[j]
        np.testing.assert_allclose(found[j, j], net.h[j + 1].numpy().T @ dy)
        assert not found[j, np.arange(T) != j].any()


def test_one_loss_at_the_end_of_three_steps_has_three_paths():
    """L → y → O3 → W_i, through O2, and through O1: each is a product of local Jacobians."""
    W_i, W_h, W_o = (tg.parameter(np.array([[v]])) for v in (0.4, -0.8, 1.5))
    x, o = [0.5, -1.0, 2.0], tg.zeros((1, 1), np.float64)
    states = []
    for t in tg.steps(3):
        o = tg.tanh(np.array([[x[t]]]) @ W_i + o @ W_h)
        states.append(o.item())
    y = o @ W_o
    found = contributions((0.5 * (y - 1.0) ** 2).sum(), W_i)
    slope = [1 - s**2 for s in states]
    start = (y.item() - 1.0) * 1.5
    assert found.outputs == (2,)
    np.testing.assert_allclose(found.array[2, 0], start * slope[2] * x[2])
    np.testing.assert_allclose(found.array[1, 0], start * slope[2] * -0.8 * slope[1] * x[1])
    np.testing.assert_allclose(found.array[0, 0], start * slope[2] * -0.8 * slope[1] * -0.8 * slope[0] * x[0])


def test_a_weight_of_its_own_for_each_step_tells_the_parts_apart():
    """Used several times in a step, transposed, and cut: by copies that are differentiated by on their own."""
    rng = np.random.default_rng(0)
    W, x = rng.normal(0, 0.5, (3, 3)), rng.normal(size=(T, 2, 3))

    def run(weights):
        h, losses = tg.zeros((2, 3), np.float64), []
        for t in tg.steps(T):
            w = weights[t]
            h = tg.tanh(x[t] @ w + tg.sigmoid(h @ w.T) * (h @ w[:, :1]) + w.sum())
            losses.append((h * h).sum())
        return losses

    shared, copies = tg.parameter(W), [tg.parameter(W) for _ in range(T)]
    found = contributions(run([shared] * T), shared).array
    for j, loss in enumerate(run(copies)):
        for i, copy in enumerate(copies):
            part = tg.grad(loss, copy, allow_unused=True)
            np.testing.assert_allclose(found[i, j], np.zeros((3, 3)) if part is None else part, rtol=1e-10, atol=1e-13)


# Laws -----------------------------------------------------------------------------------------------------------------


@given(cells(), st.integers(1, 4), st.integers(1, 3), SEEDS)
def test_they_sum_to_the_gradient_and_nothing_comes_from_the_future(cell, steps, batch, seed):
    losses = per_step_losses(cell, inputs(seed, batch, steps, cell.input_size))
    total = added(losses)
    for weight in cell.parameters():
        if tg.grad(total, weight, allow_unused=True) is None:
            continue  # as a peephole weight is not
        found = contributions(losses, weight)
        for row, i in enumerate(found.times):
            if i is not None:
                assert not found.array[row, :i].any()
        np.testing.assert_allclose(contributions(total, weight).total(), found.total(), rtol=1e-10, atol=1e-12)


@given(st.sampled_from([tg.nn.RNN, tg.nn.LSTM, tg.nn.GRU]), st.booleans(), st.booleans(), st.integers(1, 2), SEEDS)
def test_layers_and_directions(kind, bidirectional, residual, layers, seed):
    model = kind(2, 3, layers, bidirectional=bidirectional, residual=residual, dtype=np.float64, generator=seed)
    out = model(inputs(seed, 2, 4, 2), lengths=[4, 3]).outputs
    losses = [(out[:, t] ** 2).sum() for t in range(4)]
    for weight in model.parameters():
        found = contributions(losses, weight)
        assert found.times == (0, 1, 2, 3)
        one = contributions((out**2).sum(), weight)
        np.testing.assert_allclose(one.array, found.array, rtol=1e-9, atol=1e-12)
        if layers == 1:
            of_backward = any(weight is p for p in (model.backward or [model.layers[0]])[0].parameters())
            late = np.tril(found.norms, -1) if not (bidirectional and of_backward) else np.triu(found.norms, 1)
            assert not late.any()


@given(SEEDS)
def test_ways_to_add_up_losses_are_one(seed):
    cell = tg.nn.GRUCell(2, 3, dtype=np.float64, generator=seed)
    xs, running = inputs(seed, 2, 4, 2), tg.tensor(np.float64(0))
    losses = per_step_losses(cell, xs)
    for t in tg.steps(4):
        running = running + losses[t]
    expected = contributions(losses, cell.W_h).array
    for loss, scale in [(running, 1), (added(losses), 1), (tg.stack(losses).mean(), 0.25), (-2 * running / 4, -0.5)]:
        found = contributions(loss, cell.W_h)
        assert found.outputs == (0, 1, 2, 3)
        np.testing.assert_allclose(found.array, expected * scale, rtol=1e-10, atol=1e-13)


# Outside of time ------------------------------------------------------------------------------------------------------


def sequence(W, V, how):
    """h_t = tanh(x_t W + h_{t-1} V) with W used at once for all steps, in several ways."""
    x = tg.tensor(inputs(0, 2, 4, 3))
    a, cut, pieces = x @ W, tg.concatenate([W[:1], W[1:]]), tg.stack([x[:, t] @ W for t in range(4)])
    first, scaled = a.swapaxes(0, 1), a * 2 / 2 + W[0, 0] * 0
    drive = {
        "in the step": lambda t: x[:, t] @ W,
        "one product": lambda t: a[:, t],
        "time first": lambda t: first[t],
        "elementwise": lambda t: scaled[:, t],
        "steps and slices": lambda t: a[:, t : t + 1].sum(1),
        "ellipsis": lambda t: a[..., t, :],
        "weight put together": lambda t: x[:, t] @ cut,
        "stacked": lambda t: pieces[t],
        "one feature at a time": lambda t: tg.concatenate([a[:, t, :1], a[:, t, 1:]], 1),
    }[how]
    h, losses = tg.zeros((2, 2), np.float64), []
    for t in tg.steps(4):
        h = tg.tanh(drive(t) + h @ V)
        losses.append((h * h).sum())
    return losses


HOWS = ["one product", "time first", "elementwise", "steps and slices", "ellipsis", "weight put together", "stacked",
        "one feature at a time"]  # fmt: skip


@pytest.mark.parametrize("how", HOWS)
def test_what_is_done_to_a_weight_before_counts_where_it_is_used(how):
    W, V = tg.parameter(inputs(1, 3, 2)), tg.parameter(inputs(2, 2, 2))
    expected = contributions(sequence(W, V, "in the step"), W)
    found = contributions(sequence(W, V, how), W)
    assert found.times == expected.times
    np.testing.assert_allclose(found.array, expected.array, rtol=1e-10, atol=1e-13)


def test_a_weight_for_each_step_enters_in_its_step():
    scale, x = tg.parameter(inputs(1, 4, 1)), tg.tensor(inputs(0, 2, 4, 3))
    scaled, h, losses = x * scale, tg.zeros((2, 3), np.float64), []
    for t in tg.steps(4):
        h = tg.tanh(scaled[:, t] + h)
        losses.append((h * h).sum())
    found = contributions(losses, scale).array
    for i in range(4):
        assert not np.delete(found[i], i, 1).any()
        assert found[i, i:, i].all()


def test_a_unit_that_leaks_is_not_taken_for_a_sum_of_losses():
    cell = tg.nn.RNNCell(1, 1, leak=0.3, dtype=np.float64, generator=0)
    found = contributions(tg.nn.unroll(cell, inputs(0, 1, 4, 1)).last.sum(), cell.W_i)
    assert (found.times, found.outputs) == ((0, 1, 2, 3), (3,))


def test_an_embedding_enters_where_its_words_are_read():
    model = tg.nn.LanguageModel(5, 2, 3, dtype=np.float64, generator=0)
    tokens = np.array([[1, 2, 3, 1], [4, 4, 0, 2]])
    logits, _ = model(tokens)
    losses = [tg.cross_entropy(logits[:, t], [0, 1]) for t in range(4)]
    found = contributions(losses, model.embedding.E)
    assert found.times == (0, 1, 2, 3)
    for i in range(4):
        read = np.unique(tokens[:, i])
        assert found.array[i, 3, read].any(-1).all()
        assert not np.delete(found.array[i], read, 1).any()


def test_what_is_used_outside_of_time_has_the_last_row():
    net = Elman()
    W = net.weights["W_h"]
    found = contributions(added(net.losses) + 0.5 * (W * W).sum(), W)
    assert found.times == found.outputs == (*range(T), None)
    np.testing.assert_allclose(found.array[-1, -1], W.numpy())
    np.testing.assert_allclose(found.array[:-1, :-1], contributions(net.losses, W).array)
    assert not found.array[-1, :-1].any()
    assert str(found).splitlines()[-1].split()[0] == "–"


def test_between_two_layers_that_run_one_after_the_other():
    """Outside of time steps, but read in them: V enters where the second layer reads its results."""
    first, second = (tg.nn.RNN(2, 2, dtype=np.float64, generator=k) for k in (0, 1))
    V, xs = tg.parameter(inputs(2, 2, 2)), inputs(0, 2, 3, 2)
    out = second(first(xs).outputs @ V).outputs
    losses = [(out[:, t] ** 2).sum() for t in range(3)]
    for weight in (V, first.layers[0].W_h, second.layers[0].W_h):
        found = contributions(losses, weight)
        assert found.times == (0, 1, 2)
        assert not np.tril(found.norms, -1).any()
    assert np.triu(contributions(losses, V).norms)[np.triu_indices(3)].all()


def test_outputs_that_the_loss_and_a_second_layer_read():
    first, second = (tg.nn.RNN(2, 2, dtype=np.float64, generator=k) for k in (0, 1))
    below = first(inputs(0, 2, 3, 2)).outputs
    above = second(below).outputs
    for weight in (first.layers[0].W_h, second.layers[0].W_h):
        found = contributions((above**2).sum() + (below**3).sum(), weight)
        listed = contributions([(above[:, t] ** 2).sum() + (below[:, t] ** 3).sum() for t in range(3)], weight)
        np.testing.assert_allclose(found.array, listed.array, rtol=1e-9, atol=1e-13)


def test_encoder_and_decoder_have_steps_of_their_own():
    model = tg.nn.EncoderDecoder(
        6, 7, features=3, hidden=4, cell=tg.nn.GRUCell, start=0, end=1, dtype=np.float64, generator=0
    )
    loss = model.loss([[2, 3, 4, 5], [5, 4, 3, 3]], [[2, 3, 1], [4, 5, 1]])
    for name, weight in model.named_parameters():
        found = contributions(loss, weight)
        if name.endswith("W_h") and "cell" in name:
            assert found.times == ((0, 1, 2, 3) if "encoder" in name else (0, 1, 2))


@pytest.mark.parametrize("cell", ["binary", "child-sum", "recursive"])
def test_trees_have_heights_for_steps(cell):
    network = tg.nn.TreeNetwork(10, 3, 4, cell, dtype=np.float64, generator=0)
    out = network([((4, 1), (2, 3)), (5, 6)])
    found = {p.name: contributions((out.roots**2).sum(), p) for p in network.parameters()}
    assert found["E"].times == (0,)
    assert found["W" if cell == "recursive" else "U_iou"].times == (1, 2)
    assert found["E"].norms[0, -2:].all()


def test_a_state_may_take_the_place_of_the_weight():
    net = Elman()
    found = contributions(net.losses, net.h[3])
    assert found.times == (2, 3)  # its own output, and the next state
    assert not found.array[:, :2].any()


# Ways to ask ----------------------------------------------------------------------------------------------------------


def test_a_traced_graph_is_computed_for_given_inputs():
    cell = tg.nn.LSTMCell(2, 3, dtype=np.float64, generator=0)
    xs = inputs(0, 2, 4, 2)
    run = lambda xs: (tg.nn.unroll(cell, xs).outputs ** 2).sum()
    traced = tg.trace(run, tg.Spec(xs.shape, np.float64))
    expected = contributions(run(xs), cell.W_h)
    found = tg.bptt.contributions(traced, cell.W_h, inputs=[xs])
    np.testing.assert_allclose(found.array, expected.array)
    assert found.times == expected.times
    with pytest.raises(tg.PlaceholderError, match=r"(?s)1 arrays, one per placeholder.*inputs=\[...\]"):
        tg.bptt.contributions(traced, cell.W_h)
    with pytest.raises(TypeError, match=r"(?s)none, since nothing was traced"):
        tg.bptt.contributions(run(xs), cell.W_h, inputs=[xs])


def test_little_room_changes_nothing(monkeypatch):
    cell = tg.nn.GRUCell(2, 3, dtype=np.float64, generator=0)
    losses = per_step_losses(cell, inputs(0, 2, 6, 2))
    loss = tg.stack(losses).sum() + (cell.W_h**2).sum()
    expected = [contributions(x, cell.W_h).array for x in (losses, loss)]
    monkeypatch.setattr(MODULE, "ROOM", 300)
    for x, array in zip((losses, loss), expected, strict=True):
        np.testing.assert_allclose(contributions(x, cell.W_h).array, array, rtol=1e-12, atol=1e-15)


def test_float32_stays_float32():
    cell = tg.nn.RNNCell(2, 3)
    found = tg.bptt.contributions(tg.nn.unroll(cell, np.ones((1, 3, 2), np.float32)).outputs.sum(), cell.W_h)
    assert found.array.dtype == np.float32
    assert found.norms.dtype == np.float64


def test_a_chain_of_twenty_thousand_steps():
    w, h = tg.parameter(1.0), tg.tensor(2.0)
    for _ in tg.steps(20_000):
        h = h * w
    found = tg.bptt.contributions(h, w)
    assert found.array.shape == (20_000, 1)
    assert (found.array == 2).all()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda w: ([], w), tg.errors.ShapeError, "there are no losses"),
        (lambda w: ([w * 2], w), tg.errors.ShapeError, r"(?s)expected: one value.*got:      3.*reduce it"),
        (lambda w: (tg.ones(()), w), tg.DisconnectedError, "no loss depends on tensor 'w'"),
        (lambda w: (w.detach().sum(), w), tg.DisconnectedError, r"detach\(\)"),
        (lambda w: (w.argmax(), w), tg.GradientError, "carries no gradient"),
        (lambda w: (w.sum(), 3.0), TypeError, "expected tensors, got float"),
    ],
)  # fmt: skip
def test_errors(make, error, text):
    losses, weight = make(tg.parameter(np.ones(3), name="w"))
    with pytest.raises(error, match=text):
        tg.bptt.contributions(losses, weight)


def test_parts_that_take_too_much_room_are_refused_and_norms_are_not(monkeypatch):
    monkeypatch.setattr(MODULE, "LIMIT", 1000)
    cell = tg.nn.RNNCell(2, 4)
    losses = per_step_losses(cell, np.ones((1, 5, 2), np.float32))
    with pytest.raises(MemoryError, match=r"(?s)5 times 5 of them.*pass norms=True"):
        tg.bptt.contributions(losses, cell.W_h)
    found = tg.bptt.contributions(losses, cell.W_h, norms=True)
    assert found.norms.shape == (5, 5)
    with pytest.raises(ValueError, match="only their norms were kept"):
        found.total()
