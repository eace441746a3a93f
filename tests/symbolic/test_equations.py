"""Equations of any model: true in numbers, readable without names, in every style and form, and for long chains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.testing.strategies.graphs import graphs, recurrent_models
from tinygrad_rnn.testing.strategies.models import cells

STYLES = ("unrolled", "rolled", "derivation")
RNG = np.random.default_rng(1)
X = RNG.normal(size=(2, 4, 2))
DOUBLE = {"dtype": np.float64, "generator": 0}


def worst(equations):
    return max(equations.residuals().values())


def parameters(*shapes):
    return [tg.parameter(RNG.normal(0, 0.5, s)) for s in shapes]


# True in numbers ------------------------------------------------------------------------------------------------------

MODELS = {
    "layer norm": lambda: nn.LSTM(2, 3, projection=2, layer_norm=True, **DOUBLE)(X).outputs,
    "learned start": lambda: nn.RNN(2, 3, learn_initial_state=True, **DOUBLE)(X).outputs,
    "lengths": lambda: nn.GRU(2, 3, **DOUBLE)(X, lengths=[4, 2]).last,
    "deep in both directions": lambda: nn.LSTM(2, 3, 2, bidirectional=True, residual=True, **DOUBLE)(X).outputs,
    "deep transition": lambda: nn.unroll(nn.DeepTransition(nn.RNNCell(2, 3, **DOUBLE), 2, skip=True, **DOUBLE), X),
    "zoneout": lambda: nn.unroll(nn.Zoneout(nn.GRUCell(2, 3, **DOUBLE), 0.5, generator=0), X).outputs,
    "dropout": lambda: nn.unroll(nn.VariationalDropout(nn.RNNCell(2, 3, **DOUBLE), generator=0), X).outputs,
    "attention": lambda: nn.EncoderDecoder(
        7, 8, features=3, hidden=4, cell=nn.RNNCell, bidirectional=True, start=0, end=1, **DOUBLE
    ).loss(RNG.integers(0, 7, (2, 4)), RNG.integers(0, 8, (2, 3))),
    "language model": lambda: nn.LanguageModel(7, 3, 4, tied=False, **DOUBLE).loss(
        RNG.integers(0, 7, (2, 4)), RNG.integers(0, 7, (2, 4))
    ),
    "tree": lambda: nn.tree.TreeNetwork(10, 3, 4, "child-sum", **DOUBLE)([(4, (2, 3), 1), 5]).states,
    "classifier": lambda: nn.ManyToOne(2, 3, 2, cell="lstm", **DOUBLE)(X),
    "without time": lambda: nn.OneToOne(2, 3, hidden=(4, 4), **DOUBLE)(X[:, 0]),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", MODELS)
def test_every_printed_equation_is_true(name, style):
    equations = tg.equations(MODELS[name](), style=style)
    assert len(equations.forward) > 1
    assert len(equations.backward) > 1
    assert worst(equations) < 1e-12


@given(cells(), st.integers(1, 4), st.integers(1, 3), st.sampled_from(STYLES))
def test_equations_of_any_cell_are_true(cell, steps, batch, style):
    x = np.random.default_rng(0).normal(size=(batch, steps, cell.W_i.shape[0]))
    assert worst(tg.equations(nn.unroll(cell, x).outputs, style=style)) < 1e-12


PROGRAMS = st.one_of(graphs(dtypes=["float64"], empty=False), recurrent_models(dtypes=["float64"]))


@given(PROGRAMS, st.sampled_from(STYLES))
def test_equations_of_any_program_are_true(program, style):
    xs = [tg.parameter(a) if a.dtype.kind == "f" else tg.tensor(a) for a in program.arrays()]
    outputs = [y for y in program(*xs) if isinstance(y, tg.Tensor) and y.is_float]
    loss = sum((y.sum() * (1 + 0.1 * k) for k, y in enumerate(outputs)), start=tg.tensor(np.float64(0)))
    equations = tg.equations(loss, style=style)
    values = equations.values()
    scale = max(1.0, *(float(np.nanmax(np.abs(np.asarray(v, float)), initial=0)) for v in values.values()))
    assert worst(equations) <= 1e-9 * scale
    check_against_the_recorded(equations, loss)


def check_against_the_recorded(equations, loss):
    """What equations call a quantity, and its derivative, are those of the model as it was run."""
    quantities = equations._derivation.q
    values = equations.values()
    for serial, t in quantities.recorded.items():
        s = quantities.symbols.get(serial)
        if s is None:
            continue
        np.testing.assert_allclose(values[s], t.numpy(), rtol=1e-9, atol=1e-9)
        slope = values.get(s.derivative(equations._derivation.of))
        if slope is not None and t.op.name == "parameter":
            np.testing.assert_allclose(slope, tg.grad(loss, t).numpy(), rtol=1e-9, atol=1e-9)


def test_derivatives_by_parameters_are_those_of_the_recorded_model():
    """Those of packed gates are blocks of the gradient of the whole."""
    cell = nn.LSTMCell(2, 3, **DOUBLE)
    loss = (nn.unroll(cell, X).outputs ** 2).sum().named("L")
    equations = tg.equations(loss)
    values, found = equations.values(), {}
    for e in equations:
        found[str(e.left)] = e.evaluate(values) if e.kind == "gradient" else None
    for weight, name in zip(tg.grad(loss, [cell.W_i, cell.W_h, cell.b]), ("W_i", "W_h", "b"), strict=True):
        joined = np.concatenate([found[f"∂L/∂{name}[{gate}]"] for gate in "ifgo"], -1)
        np.testing.assert_allclose(joined, weight.numpy(), atol=1e-12)


def test_a_wrong_derivative_is_found(monkeypatch):
    """The comparison can fail: with a rule that is off in the seventh digit, residuals are not zero."""
    w, = parameters((3,))
    loss = tg.tanh(w).sum()
    right = tg.equations(loss)
    monkeypatch.setattr(tg.tanh.op, "vjp", (lambda g, y, x: g * (1 - y * y) * 1.0000001,))
    wrong = tg.equations(loss)
    assert right.residuals().keys() != wrong.residuals().keys()
    monkeypatch.undo()
    assert worst(right) < 1e-15
    assert 1e-9 < worst(wrong) < 1e-6


def test_a_traced_function_needs_values_for_its_inputs():
    cell = nn.RNNCell(2, 3, **DOUBLE)
    traced = tg.trace(lambda xs: nn.unroll(cell, xs).outputs.sum(), tg.Spec((2, 4, 2), np.float64))
    equations = tg.equations(traced)
    assert str(equations[0]) == "h₀ = 0"
    assert max(equations.residuals(X).values()) < 1e-12
    with pytest.raises(tg.PlaceholderError, match=r"values: the function was traced.*\n  expected: 1 arrays"):
        equations.values()


def test_equations_of_a_gradient():
    w, x = tg.parameter([2.0, 3.0], name="w"), tg.tensor([1.0, 4.0], name="x")
    loss = (w * w * x).sum().named("L")
    found = tg.equations(tg.grad(loss, w, create_graph=True).named("g"))
    assert found.forward.lines() == ["g = 2 x ⊙ w"]


def test_one_equation_in_numbers():
    cell = nn.RNNCell(2, 3, **DOUBLE)
    equations = tg.equations(cell, X)
    values, h = equations.values(), nn.unroll(cell, X).outputs.numpy()
    step = next(e for e in equations if str(e.left) == "h_t")
    assert step.steps == (1, 4)
    np.testing.assert_allclose(step.evaluate(values, t=3), h[:, 2], atol=1e-12)
    with pytest.raises(ValueError, match="x_t stands for many time steps"):
        step.evaluate(values)
    with pytest.raises(KeyError, match="there is no value for x₉"):
        step.evaluate(values, t=9)


def test_a_loss_among_other_outputs_is_what_is_differentiated():
    w = tg.parameter(np.ones((2, 2)), name="w")
    h = (tg.tensor(X[:, 0], name="x") @ w).named("h")
    assert tg.equations({"loss": (h * h).sum().named("L"), "states": [h]}).backward.lines() == [
        "∂L/∂h = 2 h", "∂L/∂w = xᵀ ∂L/∂h",
    ]  # fmt: skip


# Names ----------------------------------------------------------------------------------------------------------------


def test_a_model_without_any_names_or_time_steps_is_readable():
    W, U, b, V = parameters((2, 3), (3, 3), (3,), (3, 1))
    h, xs, loss = tg.zeros((2, 3), np.float64), tg.tensor(X), 0
    for t in range(4):
        h = tg.tanh(xs[:, t] @ W + h @ U + b)
        loss = loss + ((h @ V - xs[:, t, :1]) ** 2).sum()
    assert tg.equations(loss).lines() == [
        "h₀ = 0",
        "h_t = tanh(x_t W + h_{t−1} U + b), t = 1…T",
        "y_t = h_t V, t = 1…T",
        "L = Σ_t Σ (y_t − d_t[0:1])²",
        "∂L/∂y_t = 2 (y_t − d_t[0:1]), t = T…1",
        "∂L/∂h_T = ∂L/∂y_T Vᵀ",
        "∂L/∂h_t = ∂L/∂y_t Vᵀ + (∂L/∂h_{t+1} ⊙ (1 − h_{t+1}²)) Uᵀ, t = T−1…1",
        "δ_t = ∂L/∂h_t ⊙ (1 − h_t²), t = T…1",
        "∂L/∂W = Σ_t x_tᵀ δ_t",
        "∂L/∂U = Σ_t h_{t−1}ᵀ δ_t",
        "∂L/∂b = Σ_t 𝟏ᵀ δ_t",
        "∂L/∂V = Σ_t h_tᵀ ∂L/∂y_t",
    ]


def test_a_chain_of_layers_is_no_loop_over_time():
    assert tg.equations(nn.OneToOne(2, 3, hidden=(4, 4), **DOUBLE), X[:, 0]).forward.lines() == [
        "h = tanh(x W⁽¹⁾ + b⁽¹⁾)",
        "u = tanh(h W⁽²⁾ + b⁽²⁾)",
        "y = u W⁽³⁾ + b⁽³⁾",
    ]


def test_names_that_are_taken_twice_are_told_apart():
    a, b, c = (tg.parameter([k + 1.0], name="w") for k in range(3))
    with tg.scope("reader"):
        first = (a * 2).named("h")
    with tg.scope("writer"):
        second = (first * b).named("h")
    assert tg.equations((second * c).named("y")).forward.lines() == [
        "h^reader = 2 w^reader", "h^writer = h^reader ⊙ w^writer", "y = h^writer ⊙ w",
    ]  # fmt: skip
    twice = (a * 2).named("h"), (b * 3).named("h")
    assert tg.equations(list(twice)).forward.lines() == ["h = 2 w", "h′ = 3 w′"]


def test_names_that_derivatives_have_too():
    w = tg.parameter(np.full((1, 2), 0.5), name="δ")
    h = tg.tanh(w @ np.eye(2)).named("L")
    equations = tg.equations(tg.tanh(h @ tg.parameter(np.eye(2), name="W")).named("ε"))
    assert len({str(e.left) for e in equations}) == len(equations)
    assert "Δ = ∂E/∂ε ⊙ (1 − ε²)" in equations.lines()
    assert worst(equations) < 1e-15


def test_two_starts_of_one_state():
    W, U = parameters((3, 3), (3, 3))
    first, second = (tg.tensor(RNG.normal(size=(1, 3)), name="h0") for _ in range(2))
    a, b = first, second
    for _ in tg.steps(3):
        a = b = tg.tanh(a @ W + b @ U).named("h")
    equations = tg.equations(a, style="unrolled")
    assert equations.forward.lines()[0] == "h₁ = tanh(h₀ W + h0 U)"
    assert worst(equations) < 1e-15


def test_a_start_with_a_name_of_its_own_keeps_it():
    W, = parameters((3, 3))
    start = tg.tensor(RNG.normal(size=(1, 3)), name="memory")
    h = start
    for _ in tg.steps(3):
        h = tg.tanh(h @ W).named("h")
    assert tg.equations(h).forward.lines() == ["h₀ = memory", "h_t = tanh(h_{t−1} W), t = 1…T"]
    assert tg.equations(h, style="unrolled").forward.lines()[0] == "h₁ = tanh(memory W)"


def test_steps_may_begin_with_one():
    W, = parameters((3, 3))
    h = tg.ones((1, 3), np.float64).named("h0")
    for _ in tg.steps(3, start=1):
        h = tg.tanh(h @ W).named("h")
    assert tg.equations(h, style="unrolled").forward.lines()[-1] == "h₃ = tanh(h₂ W)"


def test_a_module_names_its_input_after_its_argument():
    assert tg.equations(nn.Linear(2, 1, **DOUBLE), X[:, 0]).forward.lines() == ["y = x W + b"]


def test_examples_have_the_dtype_of_the_module():
    """Or else the first step would have a conversion that the others have not."""
    equations = tg.equations(nn.GRUCell(2, 3, generator=0), X)
    assert equations.forward.lines()[1] == "r_t = σ(x_t W_i[r] + h_{t−1} W_h[r] + b[r]), t = 1…T"
    assert equations.values()[equations[1].left.at(2)].dtype == np.float32


def test_a_cell_of_ones_own_over_one_step():
    class Cell(nn.RNNCell):
        def forward(self, x, state):
            h = (state + x @ self.W_i).named("h")
            return h, h

    assert tg.equations(Cell(2, 3, **DOUBLE), X[:, 0]).forward.lines() == ["h₀ = 0", "h₁ = h₀ + x W_i"]


def test_what_is_drawn_at_random_is_a_given():
    x = tg.parameter(np.ones(3), name="x")
    equations = tg.equations(tg.dropout(x, 0.5, generator=np.random.default_rng(0)).named("y"))
    assert equations.forward.lines() == ["y = x ⊙ mask / 0.5"]
    assert worst(equations) == 0


def test_noise_is_a_given_and_a_checked_scale_is_only_the_scale():
    mu, s = tg.parameter(np.zeros(3), name="mu"), tg.parameter(np.ones(3), name="s")
    z = tg.random.normal(3, mu, tg.exp(s), generator=np.random.default_rng(0)).named("z")
    equations = tg.equations(z)
    assert equations.forward.lines() == ["z = mu + exp(s) ⊙ normal"]
    assert worst(equations) == 0


def test_long_terms_are_split_and_no_equation_is_longer_than_one_can_read():
    x = tg.parameter([0.1, 0.2], name="x")
    y = x
    exec("\n".join(["y = tg.tanh(y)"] * 100), scope := {"tg": tg, "y": y})
    equations = tg.equations(scope["y"])
    assert len(equations.forward) >= 10
    assert max(map(len, equations.forward.lines())) < 120
    assert worst(equations) < 1e-7


# Long chains ----------------------------------------------------------------------------------------------------------


def test_a_chain_of_twenty_thousand_steps():
    h, W = tg.ones((1, 1)).named("h0"), tg.parameter([[0.5]], name="W")
    for _ in tg.steps(20_000):
        h = tg.tanh(h @ W).named("h")
    assert tg.equations(h.sum().named("L")).lines()[:4] == [
        "h_t = tanh(h_{t−1} W), t = 1…T",
        "L = h_T",
        "∂L/∂h_T = 𝟏",
        "∂L/∂h_t = (∂L/∂h_{t+1} ⊙ (1 − h_{t+1}²)) Wᵀ, t = T−1…1",
    ]


def test_a_sum_of_many_terms():
    x, total = tg.tensor(np.ones((3000, 1)), name="xs"), 0.0
    w = tg.parameter([2.0], name="w")
    for t in tg.steps(3000):
        total = total + w * x[t]
    equations = tg.equations(total.sum().named("L"))
    assert equations.lines() == ["L = Σ_{t=1}^{3000} w ⊙ x_t", "∂L/∂w = Σ_{t=1}^{3000} x_t"]
    assert worst(equations) == 0


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: tg.equations(3.0), TypeError, "equations: a float\n  expected: a tensor, tensors, a graph"),
        (lambda: tg.equations(tg.ones(2), tg.ones(2)), TypeError, "equations: a Tensor with inputs"),
        (lambda: tg.equations(tg.ones(2) * 2, form="tex"), ValueError, "form\n  expected: 'unicode' or 'latex'"),
        (lambda: tg.equations(tg.ones(2) * 2, style="short"), ValueError, "style\n  expected: 'unrolled'"),
        (lambda: tg.equations(nn.Linear(2, 1)), TypeError, "Linear takes 1 inputs\n  got:      0\n  hint: "),
        (lambda: tg.equations(nn.RNN(2, 1)), TypeError, "RNN takes 1 inputs\n  got:      0\n  hint: "),
        (lambda: tg.equations([1.0]), TypeError, "equations: the function must give tensors"),
    ],
)  # fmt: skip
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_what_cannot_be_differentiated_has_forward_equations_alone():
    equations = tg.equations(tg.argmax(tg.tensor([1.0, 2.0], name="x")).named("k"))
    assert equations.lines() == ["k = argmax(x)"]
    assert len(equations.backward) == 0
