"""Paths from a loss to a weight: what they are, what each is worth, and that they add up to the gradient."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.testing.strategies.graphs import graphs, recurrent_models
from tinygrad_rnn.testing.strategies.models import cells

RNG = np.random.default_rng(0)


def three_steps(T=3):
    """The smallest example of set B: hidden states O, one output at the end, 27 weights."""
    W_i, W_h, W_o = (tg.parameter(RNG.normal(0, 0.5, s), name=n)
                     for n, s in (("W_i", (5, 3)), ("W_h", (3, 3)), ("W_o", (3, 1))))  # fmt: skip
    xs = tg.tensor(RNG.normal(size=(T, 1, 5)), name="xs")
    O = tg.zeros((1, 3), np.float64).named("O0")
    for t in tg.steps(T):
        O = tg.tanh(xs[t] @ W_i + O @ W_h).named("O")
    y = tg.sigmoid(O @ W_o).named("y_hat")
    return ((y - 1.0) ** 2).sum().named("L"), [W_i, W_h, W_o]


def test_the_paths_of_the_notes():
    loss, (W_i, W_h, W_o) = three_steps()
    assert list(map(str, tg.bptt.paths(loss, W_i))) == [
        "L → ŷ → O₃ → W_i", "L → ŷ → O₃ → O₂ → W_i", "L → ŷ → O₃ → O₂ → O₁ → W_i",
    ]  # fmt: skip
    assert [p.product() for p in tg.bptt.paths(loss, W_i)] == [
        "∂L/∂ŷ ∂ŷ/∂O₃ ∂O₃/∂W_i",
        "∂L/∂ŷ ∂ŷ/∂O₃ ∂O₃/∂O₂ ∂O₂/∂W_i",
        "∂L/∂ŷ ∂ŷ/∂O₃ ∂O₃/∂O₂ ∂O₂/∂O₁ ∂O₁/∂W_i",
    ]
    first, second, _ = tg.bptt.paths(loss, W_h)
    assert str(first.expression) == "2 O₂ᵀ ((((ŷ − 1) ⊙ ŷ ⊙ (1 − ŷ)) W_oᵀ) ⊙ (1 − O₃²))"
    assert len(second) == 4
    assert [str(s) for s in second.symbols] == ["L", "ŷ", "O₃", "O₂", "W_h"]
    assert list(map(str, tg.bptt.paths(loss, W_o))) == ["L → ŷ → W_o"]


def test_each_path_is_a_product_of_jacobians():
    """Compared with Jacobians of single steps that are put together by hand."""
    loss, (W_i, _, _) = three_steps()
    whole = tg.graph(loss)
    (y,), states = whole.by_name("y_hat"), whole.by_name("O")
    backward = tg.jacobian(loss, y).numpy().reshape(1, -1) @ _local(y, states[2])
    for k, path in zip((2, 1, 0), tg.bptt.paths(loss, W_i), strict=True):
        x = whole.by_name("xs")[0].numpy()[k]
        slope = backward.reshape(1, 3) * (1 - states[k].numpy() ** 2)
        np.testing.assert_allclose(path.value, x.T @ slope, atol=1e-12)
        if k:
            backward = backward @ _local(states[k], states[k - 1])


def _local(y, x):
    """The Jacobian of one step, which does not go through earlier ones."""
    return tg.jacobian(y, x).numpy().reshape(y.size, x.size)


def test_a_path_knows_the_tensors_that_it_goes_through():
    loss, (W_i, _, _) = three_steps()
    whole = tg.graph(loss)
    path = next(iter(tg.bptt.paths(loss, W_i)))
    expected = loss, whole.by_name("y_hat")[0], whole.by_name("O")[2], W_i
    assert list(map(id, path.tensors)) == list(map(id, expected))


def test_paths_to_a_packed_weight_end_in_its_blocks():
    cell = nn.LSTMCell(2, 3, dtype=np.float64, generator=0)
    loss = (nn.unroll(cell, RNG.normal(size=(2, 2, 2))).outputs[:, -1] ** 2).sum().named("L")
    found = tg.bptt.paths(loss, cell.W_h)
    assert str(next(iter(found))) == "L → h₂ → o₂ → W_h[o]"
    assert found.count == len(list(found)) == len(found)
    assert next(iter(found)).value.shape == cell.W_h.shape
    np.testing.assert_allclose(sum(p.value for p in found), tg.grad(loss, cell.W_h).numpy(), atol=1e-12)


def test_paths_to_a_state_and_to_data():
    loss, _ = three_steps()
    state, data = tg.graph(loss).by_name("O")[0], tg.graph(loss).by_name("O0")[0]
    assert list(map(str, tg.bptt.paths(loss, state))) == ["L → ŷ → O₃ → O₂ → O₁"]
    assert list(map(str, tg.bptt.paths(loss, data))) == ["L → ŷ → O₃ → O₂ → O₁ → O₀"]
    np.testing.assert_allclose(tg.bptt.paths(loss, state).sum(), tg.grad(loss, state).numpy(), atol=1e-12)


def test_too_many_to_list_are_counted():
    """Two ways at each of a hundred steps: 2¹⁰⁰ paths through the last, and all those that end before."""
    w = tg.parameter(np.array([[0.3]]), name="w")
    h = tg.ones((1, 1), np.float64).named("h0")
    for _ in tg.steps(100):
        u = tg.tanh(h * 0.5).named("u")
        h = (u @ w + tg.tanh(h)).named("h")
    found = tg.bptt.paths(h.sum().named("L"), w)
    assert found.count == 2**100 - 1
    assert str(next(iter(found))) == "L → h₁₀₀ → w"
    assert len({str(p) for p in islice(found, 50)}) == 50
    assert str(found).endswith(f"… and {2**100 - 1 - 20} more")
    np.testing.assert_allclose(found.sum(), tg.grad(h.sum(), w).numpy(), rtol=1e-10)
    with pytest.raises(OverflowError):
        len(found)


def test_a_thousand_steps():
    loss, (W_i, _, _) = three_steps(1000)
    found = tg.bptt.paths(loss, W_i)
    assert found.count == 1000
    np.testing.assert_allclose(found.sum(), tg.grad(loss, W_i).numpy(), atol=1e-10)
    longest = next(islice(found, 999, None))
    assert len(longest) == 1002
    assert longest.product().endswith("∂O₂/∂O₁ ∂O₁/∂W_i")
    with pytest.raises(ValueError, match=r"expression: a path of 1002 steps\n  expected: at most 40"):
        _ = longest.expression
    assert str(next(islice(found, 37, None)).expression).startswith("2 x")


def test_paths_of_a_traced_function_have_no_values():
    w = tg.parameter([[2.0]], name="w")
    traced = tg.trace(lambda x: tg.tanh(x @ w).sum(), (1, 1))
    path = next(iter(tg.bptt.paths(traced.outputs[0], w)))
    assert str(path) == "L → h → w"
    with pytest.raises(tg.PlaceholderError, match="its inputs have no values"):
        _ = path.value


def test_what_stops_a_gradient_stops_paths():
    w = tg.parameter([2.0], name="w")
    a, b = (w * 3.0).named("a"), (w * w).named("b")
    loss = (a.detach() * b).sum().named("L")
    assert list(map(str, tg.bptt.paths(loss, w))) == ["L → b → w"]


def check_sum(loss, weight):
    gradient = tg.grad(loss, weight, allow_unused=True)
    if gradient is None:
        with pytest.raises(tg.DisconnectedError):
            tg.bptt.paths(loss, weight)
        return
    found = tg.bptt.paths(loss, weight)
    np.testing.assert_allclose(found.sum(), gradient.numpy(), rtol=1e-10, atol=1e-10)
    if found.count <= 50:
        listed = list(found)
        assert len(listed) == found.count == len({p._serials for p in listed})
        np.testing.assert_allclose(sum(p.value for p in listed), gradient.numpy(), rtol=1e-10, atol=1e-10)


@given(st.one_of(graphs(dtypes=["float64"], empty=False, smooth=True), recurrent_models(dtypes=["float64"])))
def test_paths_of_any_program_add_up_to_the_gradient(program):
    xs = [tg.parameter(a) if a.dtype.kind == "f" else tg.tensor(a) for a in program.arrays()]
    outputs = [y for y in program(*xs) if isinstance(y, tg.Tensor) and y.is_float]
    loss = sum((y.sum() * (1 + 0.1 * k) for k, y in enumerate(outputs)), start=tg.tensor(np.float64(0)))
    for x in xs:
        if x.is_float and any(x is t for t in tg.graph(loss)):
            check_sum(loss, x)


@given(cells(), st.integers(1, 3))
def test_paths_of_any_cell_add_up_to_the_gradient(cell, steps):
    x = np.random.default_rng(0).normal(size=(2, steps, cell.W_i.shape[0]))
    loss = (nn.unroll(cell, x).outputs ** 2).sum()
    for weight in cell.parameters():
        check_sum(loss, weight)


def test_a_wrong_rule_is_found(monkeypatch):
    loss, (W_i, _, _) = three_steps()
    gradient = tg.grad(loss, W_i).numpy()
    monkeypatch.setattr(tg.tanh.op, "vjp", (lambda g, y, x: g * (1 - y * y) * 1.001,))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(tg.bptt.paths(loss, W_i).sum(), gradient, rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda w: tg.bptt.paths(w * 2, w), tg.GradientError, "the loss\n  expected: a float tensor with one value"),
        (lambda w: tg.bptt.paths(3.0, w), tg.GradientError, "got:      float"),
        (lambda w: tg.bptt.paths(w.sum(), tg.ones(2)), tg.DisconnectedError, "does not depend on tensor const"),
        (lambda w: tg.bptt.paths(w.detach().sum() + tg.parameter(1.0), w), tg.DisconnectedError, "look for detach"),
        (lambda w: tg.bptt.paths(w.sum(), "w"), tg.DisconnectedError, "does not depend on a str"),
    ],
)  # fmt: skip
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call(tg.parameter([1.0, 2.0], name="w"))


def test_paths_of_an_encoder_with_its_decoder_sum_to_the_gradient():
    model = tg.nn.EncoderDecoder(
        6, 7, features=2, hidden=3, cell=tg.nn.GRUCell, start=0, end=1, dtype=np.float64, generator=0
    )
    loss = model.loss([[2, 3]], [[2, 1]])
    for weight in (model.encoder.cell.W_h, model.decoder.cell.W_i, model.decoder.attention.W_k):
        found = tg.bptt.paths(loss, weight)
        assert len(list(found)) == found.count > 1
        np.testing.assert_allclose(found.sum(), tg.grad(loss, weight).numpy(), rtol=0, atol=1e-10)


def test_paths_of_a_tree_sum_to_the_gradient():
    network = tg.nn.TreeNetwork(10, 3, 2, dtype=np.float64, generator=0)
    loss = (network([((4, 1), (2, 3))]).roots ** 2).sum()
    for name, weight in network.named_parameters():
        found = tg.bptt.paths(loss, weight)
        np.testing.assert_allclose(found.sum(), tg.grad(loss, weight).numpy(), rtol=0, atol=1e-10, err_msg=name)
