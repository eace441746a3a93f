"""The equations of the lecture notes, symbol by symbol, and every printed one in numbers."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(1, 4, 2))


def weight(name, *shape):
    return tg.parameter(RNG.normal(0, 0.5, shape), name=name)


def elman(g=tg.tanh, T=4, batch=1, hidden=3):
    """The network of the notes as one would type it: its outputs and parameters."""
    W_i, W_h, b = weight("W_i", 2, hidden), weight("W_h", hidden, hidden), weight("b", hidden)
    W_o, c = weight("W_o", hidden, 1), weight("c", 1)
    xs = tg.tensor(RNG.normal(size=(T, batch, 2)), name="xs")
    h, ys = tg.zeros((batch, hidden), np.float64).named("h0"), []
    for t in tg.steps(T):
        h = g(xs[t] @ W_i + h @ W_h + b).named("h")
        ys.append((h @ W_o + c).named("y"))
    return ys, [W_i, W_h, b, W_o, c]


def true_in_numbers(equations):
    """Whether every right side, and every chain rule, has the value that automatic differentiation has."""
    wrong = {text: r for text, r in equations.residuals().items() if not r <= 1e-12}
    assert not wrong, wrong
    return equations


def lines(x, **options):
    return true_in_numbers(tg.equations(x, **options)).lines("unicode")


# Set A: Elman's network and backpropagation through time --------------------------------------------------------------


def test_backpropagation_through_time_in_closed_form():
    """Also the two derivatives that the notes leave to the reader, and that by the bias."""
    assert lines(elman()[0]) == [
        "h₀ = 0",
        "h_t = tanh(x_t W_i + h_{t−1} W_h + b), t = 1…T",
        "y_t = h_t W_o + c, t = 1…T",
        "∂L/∂h_T = ∂L/∂y_T W_oᵀ",
        "∂L/∂h_t = ∂L/∂y_t W_oᵀ + (∂L/∂h_{t+1} ⊙ (1 − h_{t+1}²)) W_hᵀ, t = T−1…1",
        "δ_t = ∂L/∂h_t ⊙ (1 − h_t²), t = T…1",
        "∂L/∂W_i = Σ_t x_tᵀ δ_t",
        "∂L/∂W_h = Σ_t h_{t−1}ᵀ δ_t",
        "∂L/∂b = Σ_t δ_t",
        "∂L/∂W_o = Σ_t h_tᵀ ∂L/∂y_t",
        "∂L/∂c = Σ_t ∂L/∂y_t",
    ]


@pytest.mark.parametrize(
    ("g", "forward", "slope"),
    [
        (tg.sigmoid, "σ(x_t W_i + h_{t−1} W_h + b)", "∂L/∂h_t ⊙ h_t ⊙ (1 − h_t)"),
        (tg.relu, "relu(x_t W_i + h_{t−1} W_h + b)", "∂L/∂h_t ⊙ [h_t > 0]"),
    ],
)
def test_other_activations(g, forward, slope):
    found = lines(elman(g)[0])
    assert f"h_t = {forward}, t = 1…T" in found
    assert f"δ_t = {slope}, t = T…1" in found


def test_a_linear_network_has_no_deltas():
    assert lines(elman(lambda a: a)[0])[3:6] == [
        "∂L/∂h_T = ∂L/∂y_T W_oᵀ",
        "∂L/∂h_t = ∂L/∂y_t W_oᵀ + ∂L/∂h_{t+1} W_hᵀ, t = T−1…1",
        "∂L/∂W_i = Σ_t x_tᵀ ∂L/∂h_t",
    ]


def test_step_by_step():
    assert lines(elman(T=2)[0], style="unrolled") == [
        "h₀ = 0",
        "h₁ = tanh(x₁ W_i + h₀ W_h + b)",
        "y₁ = h₁ W_o + c",
        "h₂ = tanh(x₂ W_i + h₁ W_h + b)",
        "y₂ = h₂ W_o + c",
        "∂L/∂h₂ = ∂L/∂y₂ W_oᵀ",
        "δ₂ = ∂L/∂h₂ ⊙ (1 − h₂²)",
        "∂L/∂h₁ = ∂L/∂y₁ W_oᵀ + (∂L/∂h₂ ⊙ (1 − h₂²)) W_hᵀ",
        "δ₁ = ∂L/∂h₁ ⊙ (1 − h₁²)",
        "∂L/∂W_i = x₁ᵀ δ₁ + x₂ᵀ δ₂",
        "∂L/∂W_h = h₀ᵀ δ₁ + h₁ᵀ δ₂",
        "∂L/∂b = δ₁ + δ₂",
        "∂L/∂W_o = h₁ᵀ ∂L/∂y₁ + h₂ᵀ ∂L/∂y₂",
        "∂L/∂c = ∂L/∂y₁ + ∂L/∂y₂",
    ]


def test_the_chain_rule_before_anything_is_put_in():
    found = lines(elman()[0], style="derivation")
    assert (
        "∂L/∂h_t = ∂L/∂y_t ∂y_t/∂h_t + ∂L/∂h_{t+1} ∂h_{t+1}/∂h_t"
        " = ∂L/∂y_t W_oᵀ + (∂L/∂h_{t+1} ⊙ (1 − h_{t+1}²)) W_hᵀ, t = T−1…1"
    ) in found
    assert "∂L/∂W_h = Σ_t ∂L/∂h_t ∂h_t/∂W_h = Σ_t h_{t−1}ᵀ δ_t" in found


def test_a_loss_over_time():
    ys, _ = elman()
    target = tg.tensor(RNG.normal(size=(4, 1, 1)), name="d")
    total = tg.tensor(np.float64(0))
    for t, y in enumerate(ys):
        total = total + ((y - target[t]) ** 2).sum()
    found = lines(total.named("L"))
    assert "L = Σ_t (y_t − d_t)²" in found
    assert "∂L/∂y_t = 2 (y_t − d_t), t = T…1" in found


def test_a_batch_sums_over_its_rows():
    assert "∂L/∂b = Σ_t 𝟏ᵀ δ_t" in lines(elman(batch=2)[0])


# Sets A, B, C, E: LSTM ------------------------------------------------------------------------------------------------


def unrolled(cell, **options):
    y = nn.unroll(cell, X, **options).outputs
    return y


def test_lstm():
    assert lines(unrolled(nn.LSTMCell(2, 3, dtype=np.float64, generator=0))) == [
        "h₀ = 0",
        "c₀ = 0",
        "i_t = σ(x_t W_i[i] + h_{t−1} W_h[i] + b[i]), t = 1…T",
        "g_t = tanh(x_t W_i[g] + h_{t−1} W_h[g] + b[g]), t = 1…T",
        "f_t = σ(x_t W_i[f] + h_{t−1} W_h[f] + b[f]), t = 1…T",
        "c_t = f_t ⊙ c_{t−1} + i_t ⊙ g_t, t = 1…T",
        "o_t = σ(x_t W_i[o] + h_{t−1} W_h[o] + b[o]), t = 1…T",
        "h_t = o_t ⊙ tanh(c_t), t = 1…T",
        "∂L/∂h_T = ε_T",
        "∂L/∂h_t = ε_t + δⁱ_{t+1} W_h[i]ᵀ + δᵍ_{t+1} W_h[g]ᵀ + δᶠ_{t+1} W_h[f]ᵀ + δᵒ_{t+1} W_h[o]ᵀ, t = T−1…1",
        "∂L/∂o_t = ∂L/∂h_t ⊙ tanh(c_t), t = T…1",
        "δᵒ_t = ∂L/∂o_t ⊙ o_t ⊙ (1 − o_t), t = T…1",
        "∂L/∂c_T = ∂L/∂h_T ⊙ o_T ⊙ (1 − tanh(c_T)²)",
        "∂L/∂c_t = ∂L/∂h_t ⊙ o_t ⊙ (1 − tanh(c_t)²) + ∂L/∂c_{t+1} ⊙ f_{t+1}, t = T−1…1",
        "∂L/∂f_t = ∂L/∂c_t ⊙ c_{t−1}, t = T…1",
        "δᶠ_t = ∂L/∂f_t ⊙ f_t ⊙ (1 − f_t), t = T…1",
        "∂L/∂g_t = ∂L/∂c_t ⊙ i_t, t = T…1",
        "δᵍ_t = ∂L/∂g_t ⊙ (1 − g_t²), t = T…1",
        "∂L/∂i_t = ∂L/∂c_t ⊙ g_t, t = T…1",
        "δⁱ_t = ∂L/∂i_t ⊙ i_t ⊙ (1 − i_t), t = T…1",
        *(f"∂L/∂{w} = Σ_t {left}δ{mark}_t" for gate, mark in zip("ifgo", "ⁱᶠᵍᵒ")
          for w, left in ((f"W_i[{gate}]", "x_tᵀ "), (f"b[{gate}]", ""), (f"W_h[{gate}]", "h_{t−1}ᵀ "))),
    ]  # fmt: skip


def test_gates_that_a_user_packs_into_one_matrix_have_an_equation_each():
    W, U, b = weight("W", 2, 12), weight("U", 3, 12), weight("b", 12)
    h, c = tg.zeros((1, 3), np.float64).named("h0"), tg.zeros((1, 3), np.float64).named("c0")
    for t in tg.steps(4):
        i, f, g, o = tg.split(tg.tensor(X[:, t], name="x") @ W + h @ U + b, 4, axis=1)
        i, f, o = tg.sigmoid(i).named("i"), tg.sigmoid(f).named("f"), tg.sigmoid(o).named("o")
        c = (f * c + i * tg.tanh(g)).named("c")
        h = (o * tg.tanh(c)).named("h")
    assert lines(h)[:7] == [
        "h₀ = 0",
        "c₀ = 0",
        "i_t = σ(x_t W[i] + h_{t−1} U[i] + b[i]), t = 1…T",
        "f_t = σ(x_t W[f] + h_{t−1} U[f] + b[f]), t = 1…T",
        "o_t = σ(x_t W[o] + h_{t−1} U[o] + b[o]), t = 1…T",
        "c̃_t = tanh(x_t W[c_tilde] + h_{t−1} U[c_tilde] + b[c_tilde]), t = 1…T",
        "c_t = f_t ⊙ c_{t−1} + i_t ⊙ c̃_t, t = 1…T",
    ]


# Set D: the variants of the LSTM, and the GRU -------------------------------------------------------------------------


def test_lstm_with_a_logistic_state():
    cell = nn.LSTMCell(2, 3, activation="sigmoid", dtype=np.float64, generator=0)
    found = lines(unrolled(cell))
    assert "g_t = σ(x_t W_i[g] + h_{t−1} W_h[g] + b[g]), t = 1…T" in found
    assert "h_t = o_t ⊙ σ(c_t), t = 1…T" in found
    assert "∂L/∂c_T = ∂L/∂h_T ⊙ o_T ⊙ σ(c_T) ⊙ (1 − σ(c_T))" in found


def test_lstm_without_a_forget_gate():
    found = lines(unrolled(nn.LSTMCell(2, 3, forget_gate=False, dtype=np.float64, generator=0)))
    assert "c_t = c_{t−1} + i_t ⊙ g_t, t = 1…T" in found
    assert "∂L/∂c_t = ∂L/∂h_t ⊙ o_t ⊙ (1 − tanh(c_t)²) + ∂L/∂c_{t+1}, t = T−1…1" in found


def test_gru():
    assert lines(unrolled(nn.GRUCell(2, 3, dtype=np.float64, generator=0))) == [
        "h₀ = 0",
        "r_t = σ(x_t W_i[r] + h_{t−1} W_h[r] + b[r]), t = 1…T",
        "z_t = σ(x_t W_i[z] + h_{t−1} W_h[z] + b[z]), t = 1…T",
        "n_t = tanh(x_t W_i[n] + (r_t ⊙ h_{t−1}) W_h[n] + b[n]), t = 1…T",
        "h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ n_t, t = 1…T",
        "∂L/∂h_T = ε_T",
        "∂L/∂h_t = ε_t + δʳ_{t+1} W_h[r]ᵀ + δᶻ_{t+1} W_h[z]ᵀ + (δⁿ_{t+1} W_h[n]ᵀ) ⊙ r_{t+1}"
        " + ∂L/∂h_{t+1} ⊙ (1 − z_{t+1}), t = T−1…1",
        "∂L/∂n_t = ∂L/∂h_t ⊙ z_t, t = T…1",
        "δⁿ_t = ∂L/∂n_t ⊙ (1 − n_t²), t = T…1",
        "∂L/∂z_t = ∂L/∂h_t ⊙ (n_t − h_{t−1}), t = T…1",
        "δᶻ_t = ∂L/∂z_t ⊙ z_t ⊙ (1 − z_t), t = T…1",
        "∂L/∂r_t = (δⁿ_t W_h[n]ᵀ) ⊙ h_{t−1}, t = T…1",
        "δʳ_t = ∂L/∂r_t ⊙ r_t ⊙ (1 − r_t), t = T…1",
        "∂L/∂W_i[r] = Σ_t x_tᵀ δʳ_t",
        "∂L/∂b[r] = Σ_t δʳ_t",
        "∂L/∂W_i[z] = Σ_t x_tᵀ δᶻ_t",
        "∂L/∂b[z] = Σ_t δᶻ_t",
        "∂L/∂W_i[n] = Σ_t x_tᵀ δⁿ_t",
        "∂L/∂b[n] = Σ_t δⁿ_t",
        "∂L/∂W_h[r] = Σ_t h_{t−1}ᵀ δʳ_t",
        "∂L/∂W_h[z] = Σ_t h_{t−1}ᵀ δᶻ_t",
        "∂L/∂W_h[n] = Σ_t (r_t ⊙ h_{t−1})ᵀ δⁿ_t",
    ]


def test_gru_with_a_logistic_candidate_and_both_meanings_of_z():
    found = lines(unrolled(nn.GRUCell(2, 3, activation="sigmoid", update="keep", dtype=np.float64, generator=0)))
    assert "n_t = σ(x_t W_i[n] + (r_t ⊙ h_{t−1}) W_h[n] + b[n]), t = 1…T" in found
    assert "h_t = (1 − z_t) ⊙ n_t + z_t ⊙ h_{t−1}, t = 1…T" in found


def test_gru_that_resets_after_the_product():
    found = lines(unrolled(nn.GRUCell(2, 3, reset_after=True, bias="two", dtype=np.float64, generator=0)))
    assert "n_t = tanh(x_t W_i[n] + b[n] + r_t ⊙ (h_{t−1} W_h[n] + b_h[n])), t = 1…T" in found
    assert "∂L/∂r_t = δⁿ_t ⊙ (h_{t−1} W_h[n] + b_h[n]), t = T…1" in found


# Sets B and E: what helps against vanishing gradients -----------------------------------------------------------------


def test_leaky_unit():
    found = lines(unrolled(nn.RNNCell(2, 3, leak=0.3, dtype=np.float64, generator=0)))
    assert found[1:3] == [
        "h̃_t = tanh(x_t W_i + h_{t−1} W_h + b), t = 1…T",
        "h_t = 0.7 h_{t−1} + 0.3 h̃_t, t = 1…T",
    ]
    assert "∂L/∂h_t = ε_t + (∂L/∂h̃_{t+1} ⊙ (1 − h̃_{t+1}²)) W_hᵀ + 0.7 ∂L/∂h_{t+1}, t = T−1…1" in found


def test_skip_over_time():
    found = lines(unrolled(nn.RNNCell(2, 3, skip=2, dtype=np.float64, generator=0)))
    assert found[:3] == [
        "h₋₁ = 0",
        "h₀ = 0",
        "h_t = tanh(x_t W_i + h_{t−1} W_h + h_{t−2} W_s + b), t = 1…T",
    ]
    assert found[3:6] == [
        "∂L/∂h_T = ε_T",
        "∂L/∂h_{T−1} = ε_{T−1} + (∂L/∂h_T ⊙ (1 − h_T²)) W_hᵀ",
        "∂L/∂h_t = ε_t + δ_{t+1} W_hᵀ + δ_{t+2} W_sᵀ, t = 2…1",
    ]
    assert "∂L/∂W_s = Σ_t h_{t−2}ᵀ δ_t" in found


def test_peephole_lstm():
    found = lines(unrolled(nn.LSTMCell(2, 3, peephole=True, dtype=np.float64, generator=0)))
    assert "f_t = σ(x_t W_i[f] + h_{t−1} W_h[f] + c_{t−1} ⊙ p[f] + b[f]), t = 1…T" in found
    assert "o_t = σ(x_t W_i[o] + h_{t−1} W_h[o] + c_t ⊙ p[o] + b[o]), t = 1…T" in found
    assert "∂L/∂p[o] = Σ_t δᵒ_t ⊙ c_t" in found


def test_state_gated_lstm():
    found = lines(unrolled(nn.LSTMCell(2, 3, state_gated=True, dtype=np.float64, generator=0)))
    assert "f_t = σ(x_t W_i[f] + c_{t−1} W_h[f] + b[f]), t = 1…T" in found
    assert "g_t = tanh(x_t W_i[g] + b[g]), t = 1…T" in found
    assert "∂L/∂W_h[f] = Σ_t c_{t−1}ᵀ δᶠ_t" in found


# Sets C and E: arrangements -------------------------------------------------------------------------------------------


def test_stacked_layers():
    found = lines(nn.RNN(2, 3, 2, dtype=np.float64, generator=0)(X).outputs)
    assert found[2:4] == [
        "h⁽¹⁾_t = tanh(x_t W⁽¹⁾_i + h⁽¹⁾_{t−1} W⁽¹⁾_h + b⁽¹⁾), t = 1…T",
        "h⁽²⁾_t = tanh(h⁽¹⁾_t W⁽²⁾_i + h⁽²⁾_{t−1} W⁽²⁾_h + b⁽²⁾), t = 1…T",
    ]
    assert "∂L/∂h⁽¹⁾_t = δ⁽²⁾_t W⁽²⁾_iᵀ + δ⁽¹⁾_{t+1} W⁽¹⁾_hᵀ, t = T−1…1" in found


def test_both_directions():
    out = nn.RNN(2, 3, bidirectional=True, dtype=np.float64, generator=0)(X)
    found = lines((out.outputs @ weight("W_o", 6, 1)).named("y"))
    assert found[:5] == [
        "h⃗₀ = 0",
        "h⃖_{T+1} = 0",
        "h⃗_t = tanh(x_t W⃗_i + h⃗_{t−1} W⃗_h + b⃗), t = 1…T",
        "h⃖_t = tanh(x_t W⃖_i + h⃖_{t+1} W⃖_h + b⃖), t = T…1",
        "y_t = [h⃗_t, h⃖_t] W_o, t = 1…T",
    ]
    assert "∂L/∂W⃖_h = Σ_t h⃖_{t+1}ᵀ δ⃖_t" in found


def test_encoder_and_decoder():
    model = nn.EncoderDecoder(7, 8, features=3, hidden=4, cell=nn.RNNCell, attention=None, start=0, end=1,
                              generator=0, dtype=np.float64)  # fmt: skip
    found = lines(model.loss(RNG.integers(0, 7, (2, 5)), RNG.integers(0, 8, (2, 3))))
    assert "h^dec₀ = h^enc₅" in found
    assert "h^enc_t = tanh(x^enc_t W^enc_i + h^enc_{t−1} W^enc_h + b^enc/cell), t = 1…5" in found
    assert "h^dec_t = tanh(x^dec_t W^dec_i + h^dec_{t−1} W^dec_h + b^dec/cell), t = 1…3" in found


def test_recursive_network():
    from tinygrad_rnn.nn.tree import TreeNetwork

    found = lines(TreeNetwork(10, 3, 4, "recursive", generator=0, dtype=np.float64)([((4, 7), (2, 3))]).roots)
    assert found[:4] == [
        "x₁ = E[k]",
        "h₁ = tanh(x₁ W_x + b_x)",
        "h₂ = tanh(h₁[n₂] W + b)",
        "h₃ = tanh(h₂[n₃] W + b)",
    ]
    assert "∂L/∂E = onehot(k)ᵀ ∂L/∂x₁" in found
    assert "∂L/∂W = h₁[n₂]ᵀ δ₂ + h₂[n₃]ᵀ δ₃" in found
