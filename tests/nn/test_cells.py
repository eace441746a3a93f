"""Every cell with every option keeps all laws, and computes what its equations say."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, testing
from tinygrad_rnn.nn.state import leaves_of

OPTIONS = {
    "RNNCell": [
        {}, {"activation": "relu"}, {"activation": "sigmoid"}, {"activation": "identity"}, {"activation": tg.softplus},
        {"bias": False}, {"bias": "two"}, {"leak": 0.3}, {"skip": 3}, {"layer_norm": True},
        {"learn_initial_state": True}, {"recurrent_init": "orthogonal"},
        {"skip": 2, "leak": 0.5, "learn_initial_state": True},
    ],
    "LSTMCell": [
        {}, {"forget_gate": False}, {"peephole": True}, {"peephole": "previous"},
        {"peephole": True, "forget_gate": False},
        {"state_gated": True}, {"state_gated": True, "forget_gate": False}, {"activation": "sigmoid"},
        {"output_activation": "identity"}, {"bias": "two"}, {"bias": False}, {"layer_norm": True},
        {"learn_initial_state": True}, {"recurrent_init": "orthogonal"},
    ],
    "GRUCell": [
        {}, {"reset_after": True}, {"update": "keep"}, {"reset_after": True, "update": "keep", "bias": "two"},
        {"bias": "two"}, {"bias": False}, {"activation": "sigmoid"}, {"reset_after": True, "layer_norm": True},
        {"layer_norm": True}, {"layer_norm": True, "bias": "two", "update": "keep"},
        {"learn_initial_state": True}, {"recurrent_init": "orthogonal"},
    ],
}  # fmt: skip
CASES = [(name, options) for name, several in OPTIONS.items() for options in several]
every = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(v) or "plain"
)


def made(name, options, inputs=2, hidden=3, **more):
    return getattr(nn, name)(inputs, hidden, generator=0, **options, **more)


@every
def test_laws(name, options):
    testing.check_cell(made(name, options), max_examples=4)()


test_laws_over_sizes_rnn = testing.check_cell(nn.RNNCell)
test_laws_over_sizes_lstm = testing.check_cell(nn.LSTMCell)
test_laws_over_sizes_gru = testing.check_cell(nn.GRUCell)


def test_a_projection_keeps_the_laws_that_it_can():
    """Projected units are not those of the cell, so that they have no common order."""
    testing.check_cell(made("LSTMCell", {"projection": 4}), skip=["hidden_permutation"], max_examples=4)()


@every
def test_each_is_drawn_and_compiled(name, options):
    cell = made(name, options)
    out = nn.unroll(cell, tg.ones((2, 3, 2)))
    assert "digraph" in tg.viz.to_dot(out.outputs)
    compiled = tg.compile(lambda xs: nn.unroll(cell, xs).outputs)
    testing.assert_close(compiled(np.ones((2, 3, 2), np.float32)), out.outputs)


# Equations ------------------------------------------------------------------------------------------------------------


def sigma(x):
    return 1 / (1 + np.exp(-x))


def random_case(cell, batch=4):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(batch, cell.input_size))
    state = nn.state.mapped_state(lambda t: tg.tensor(rng.normal(size=t.shape)), cell.initial_state(batch))
    weights = {n: p.numpy().astype(np.float64) for n, p in cell.named_parameters()}
    gates = {
        n: tuple(None if w is None else w.numpy().astype(np.float64) for w in gate) for n, gate in cell.gates.items()
    }
    return x, state, weights, gates


def compare(cell, x, state, expected):
    y, after = cell(x, state)
    for found, value in zip([y, *leaves_of(after)], expected, strict=True):
        np.testing.assert_allclose(found.numpy(), value, rtol=1e-6, atol=1e-7)


def test_rnn_equations():
    cell = made("RNNCell", {"leak": 0.3, "bias": "two"})
    x, h, w, gates = random_case(cell)
    W_i, W_h, b = gates["h"]
    h0 = h.numpy()
    new = 0.7 * h0 + 0.3 * np.tanh(x @ W_i + h0 @ W_h + b + w["b_h"])
    compare(cell, x, h, [new, new])


def test_skip_equations():
    cell = made("RNNCell", {"skip": 2})
    x, (h1, h2), w, _ = random_case(cell)
    new = np.tanh(x @ w["W_i"] + h1.numpy() @ w["W_h"] + h2.numpy() @ w["W_s"] + w["b"])
    compare(cell, x, (h1, h2), [new, new, h1.numpy()])


@pytest.mark.parametrize("options", [o for n, o in CASES if n == "LSTMCell" and "layer_norm" not in o], ids=str)
def test_lstm_equations(options):
    cell = made("LSTMCell", options)
    x, state, w, gates = random_case(cell)
    h, c = state.h.numpy(), state.c.numpy()
    g_, out = {"sigmoid": (sigma, sigma)}.get(options.get("activation"), (np.tanh, np.tanh))
    out = (lambda v: v) if options.get("output_activation") == "identity" else out
    seen = [n for n in cell.names if n != "g"]
    p = dict(zip(seen, w["p"].reshape(-1, 3), strict=True)) if "p" in w else {}

    def a(n, peeped=None):
        W_i, W_h, b = gates[n]
        total = x @ W_i + (0 if b is None else b)
        if options.get("state_gated"):
            total = total + (0 if n == "g" else c @ W_h)
        else:
            total = total + h @ W_h
        return total + (0 if peeped is None or n not in p else peeped * p[n])

    i, g = sigma(a("i", c)), g_(a("g"))
    f = sigma(a("f", c)) if options.get("forget_gate", True) else 1.0
    new = f * c + i * g
    o = sigma(a("o", c if options.get("peephole") == "previous" else new))
    compare(cell, x, state, [o * out(new), o * out(new), new])


def layer_norm(a):
    return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)


def norms(cell):
    """Layer norm of the products of gates and candidate, with scales and shifts that are not 1 and 0."""
    rng, parts = np.random.default_rng(5), {}
    for name, norm in cell.named_modules():
        if isinstance(norm, nn.LayerNorm):
            norm.weight.assign(rng.normal(1, 0.3, norm.weight.shape))
            norm.bias.assign(rng.normal(0, 0.3, norm.bias.shape))
            parts[name] = norm.weight.numpy().astype(np.float64), norm.bias.numpy().astype(np.float64)
    return lambda name, a: layer_norm(a) * parts[name][0] + parts[name][1]


def test_lstm_equations_with_layer_norm():
    """Both products are normalised over all gates together, and the cell state on its way out."""
    cell = made("LSTMCell", {"layer_norm": True})
    normed = norms(cell)
    x, state, w, _ = random_case(cell)
    h, c = state.h.numpy(), state.c.numpy()
    a = normed("norm_i", x @ w["W_i"]) + w["b"] + normed("norm_h", h @ w["W_h"])
    i, f, g, o = np.split(a, 4, -1)
    new = sigma(f) * c + sigma(i) * np.tanh(g)
    y = sigma(o) * np.tanh(normed("norm_c", new))
    compare(cell, x, state, [y, y, new])


def test_rnn_equations_with_layer_norm():
    cell = made("RNNCell", {"layer_norm": True})
    normed = norms(cell)
    x, h, w, _ = random_case(cell)
    new = np.tanh(normed("norm_i", x @ w["W_i"]) + w["b"] + normed("norm_h", h.numpy() @ w["W_h"]))
    compare(cell, x, h, [new, new])


@pytest.mark.parametrize("options", [
    {}, {"reset_after": True}, {"bias": "two", "update": "keep"}, {"reset_after": True, "bias": "two"}
], ids=str)  # fmt: skip
def test_gru_equations_with_layer_norm(options):
    """Of the supplement of Ba, Kiros and Hinton, and with the reset before the product."""
    cell = made("GRUCell", {**options, "layer_norm": True})
    normed = norms(cell)
    x, state, w, _ = random_case(cell)
    s, b, b_h = state.numpy(), w["b"], w.get("b_h", np.zeros(9))
    xs, W_h = x @ w["W_i"], w["W_h"]
    gates = normed("norm_i.gates", xs[:, :6]) + b[:6] + normed("norm_h.gates", s @ W_h[:, :6]) + b_h[:6]
    r, z = np.split(sigma(gates), 2, -1)
    own = normed("norm_i.candidate", xs[:, 6:]) + b[6:]
    if cell.reset_after:
        n = np.tanh(own + r * (normed("norm_h.candidate", s @ W_h[:, 6:]) + b_h[6:]))
    else:
        n = np.tanh(own + normed("norm_h.candidate", (r * s) @ W_h[:, 6:]) + b_h[6:])
    new = (1 - z) * s + z * n if cell.update == "write" else (1 - z) * n + z * s
    compare(cell, x, state, [new, new])


@pytest.mark.parametrize("options", [o for n, o in CASES if n == "GRUCell" and "layer_norm" not in o], ids=str)
def test_gru_equations(options):
    cell = made("GRUCell", options)
    x, state, w, gates = random_case(cell)
    s, H = state.numpy(), 3
    b_h = w.get("b_h", np.zeros(9))
    a = {n: x @ gates[n].__getitem__(0) + (0 if gates[n][2] is None else gates[n][2]) for n in "rzn"}
    r, z = (sigma(a[n] + s @ gates[n][1] + b_h[k * H : k * H + H]) for k, n in enumerate("rz"))
    after = r * (s @ gates["n"][1] + b_h[2 * H :]) if cell.reset_after else (r * s) @ gates["n"][1] + b_h[2 * H :]
    n = (sigma if options.get("activation") == "sigmoid" else np.tanh)(a["n"] + after)
    new = (1 - z) * s + z * n if cell.update == "write" else (1 - z) * n + z * s
    compare(cell, x, state, [new, new])


def test_worked_examples_of_the_cell_state():
    """Forget everything, half, or nothing of the state (4, 5, 6), with the input gate closed."""
    cell = nn.LSTMCell(1, 3, dtype=np.float64)
    for p in cell.parameters():
        p.assign(np.zeros(p.shape))
    for forget, expected in [(0.5, [2, 2.5, 3]), (1.0, [4, 5, 6]), (0.0, [0, 0, 0])]:
        logit = {0.5: 0.0, 1.0: 50.0, 0.0: -50.0}[forget]
        b = np.zeros(12)
        b[0:3], b[3:6] = -50.0, logit
        cell.b.assign(b)
        _, state = cell(np.zeros((1, 1)), nn.LSTMState(tg.zeros((1, 3), np.float64), tg.tensor([[4.0, 5.0, 6.0]])))
        np.testing.assert_allclose(state.c.numpy()[0], expected, atol=1e-12)
    np.testing.assert_allclose(np.tanh([1, 2, 3]), [0.76159, 0.96403, 0.99505], atol=5e-6)


def test_the_smallest_network_of_the_notes_has_27_weights():
    cell, readout = nn.RNNCell(5, 3, bias=False), nn.Linear(3, 1, bias=False)
    assert cell.parameter_count + readout.parameter_count == 5 * 3 + 3 * 3 + 3 * 1 == 27


# Initial values -------------------------------------------------------------------------------------------------------


def test_the_forget_bias_is_one_and_the_others_zero():
    cell = nn.LSTMCell(2, 3)
    assert cell.gates["f"].b.tolist() == [1, 1, 1]
    assert all(cell.gates[n].b.tolist() == [0, 0, 0] for n in "igo")
    assert nn.LSTMCell(2, 3, forget_bias=2.5).gates["f"].b.tolist() == [2.5] * 3


def test_orthogonal_recurrent_weights_gate_by_gate():
    cell = nn.LSTMCell(2, 4, recurrent_init="orthogonal", generator=0)
    for gate in cell.gates.values():
        np.testing.assert_allclose((gate.W_h @ gate.W_h.T).numpy(), np.eye(4), atol=1e-6)


def test_a_learned_initial_state_is_a_parameter_with_a_gradient():
    cell = nn.LSTMCell(2, 3, learn_initial_state=True, generator=0)
    assert [n for n, _ in cell.named_parameters() if n.startswith("learned")] == ["learned.0", "learned.1"]
    nn.unroll(cell, tg.ones((2, 3, 2))).outputs.sum().backward()
    assert all(p.grad is not None and np.any(p.grad.numpy()) for p in cell.learned)


def test_names_of_gates_are_recorded():
    out = nn.unroll(nn.LSTMCell(2, 3), tg.ones((1, 2, 2)))
    assert set("ifgoch") <= {t.name for t in tg.graph(out.outputs)}


@pytest.mark.parametrize(("call", "text"), [
    (lambda: nn.RNNCell(0, 3), "input_size must be an integer of at least 1, got 0"),
    (lambda: nn.RNNCell(2, 3, activation="than"), "'than'"), (lambda: nn.RNNCell(2, 3, leak=0), "leak"),
    (lambda: nn.RNNCell(2, 3, skip=0), "skip"), (lambda: nn.RNNCell(2, 3, bias="three"), "'three'"),
    (lambda: nn.RNNCell(2, 3, recurrent_init="eye"), "'eye'"), (lambda: nn.LSTMCell(2, 3, peephole="next"), "'next'"),
    (lambda: nn.LSTMCell(2, 3, state_gated=True, peephole=True), "state-gated"),
    (lambda: nn.GRUCell(2, 3, update="both"), "'both'"),
    (lambda: nn.VariationalDropout(nn.RNNCell(2, 3), 1.0), "p must lie"),
    (lambda: nn.Zoneout(nn.RNNCell(2, 3), 2), "p must"),
    (lambda: nn.DeepTransition(nn.RNNCell(2, 3), 0), "depth"),
    (lambda: nn.DeepTransition(nn.LSTMCell(2, 3)), "state is one tensor.*LSTMCell is a LSTMState"),
    (lambda: nn.LSTMCell(2, 3, projection=0), "projection must be"), (lambda: nn.RNNCell(2, 3, skip=1.5), "skip"),
    (lambda: nn.RNN(2, 3, 1.5), "num_layers"), (lambda: nn.RNN(2, 3, 2, skip=3), r"RNNCell\(..., skip=k\)"),
    (lambda: nn.unroll(nn.Residual(nn.RNNCell(1, 3)), tg.ones((1, 2, 1))), "Residual: output"),
    (lambda: nn.unroll(nn.RNNCell(2, 3), [tg.ones((2, 2)), tg.ones((1, 2))]), "step 1.*"),
    (lambda: nn.unroll(nn.RNNCell(2, 3), [tg.ones(()), tg.ones(())]), "step 0"),
    (lambda: nn.LSTM(2, 3)(tg.ones((1, 2, 2)), nn.LSTMCell(2, 3).initial_state(1)), "one for each layer"),
    (lambda: nn.RNN(2, 3)(tg.ones((1, 2, 2)), tg.zeros((1, 3))), "into a list"),
    (lambda: nn.RNN(2, 3, bidirectional=True)(tg.ones((1, 2, 2)), [tg.zeros((1, 3))]), "of layer 0(.|\n)*Directions"),
])  # fmt: skip
def test_options_that_make_no_sense(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize("cell", [
    nn.RNNCell(2, 3), nn.RNNCell(2, 3, skip=2), nn.LSTMCell(2, 3), nn.LSTMCell(2, 3, projection=4), nn.GRUCell(2, 3)
], ids=lambda c: type(c).__name__)  # fmt: skip
def test_inputs_and_states_that_do_not_fit_are_refused(cell):
    """Where broadcasting, or taking a tensor apart, would make something of it too."""
    name, state = type(cell).__name__, cell.initial_state(2)
    for x in (tg.ones((2, 2, 2)), tg.ones(2), tg.ones((2, 3)), tg.ones((2, 1))):
        with pytest.raises(tg.ShapeError, match=rf"{name}: input(.|\n)*\(batch, 2\)"):
            cell(x, state)
    wrong = [cell.initial_state(1), cell.initial_state(3), tg.zeros((2, 4)), (), [state], (state, state), {"h": state}]
    for given in wrong if name != "RNNCell" or cell.skip == 1 else wrong[:-2]:
        with pytest.raises(tg.ShapeError, match=rf"{name}: state, for inputs \(2, 2\)(.|\n)*initial_state\(2\)"):
            cell(tg.ones((2, 2)), given)
    narrow = nn.state.mapped_state(lambda t: t[:, :1], state)
    with pytest.raises(tg.ShapeError, match="state"):
        cell(tg.ones((2, 2)), narrow)


def test_a_state_may_be_a_plain_pair_of_arrays():
    cell, h = nn.LSTMCell(2, 3, generator=0), np.ones((1, 3), np.float32)
    y, _ = cell(tg.ones((1, 2)), (h, h))
    np.testing.assert_array_equal(y, cell(tg.ones((1, 2)), nn.LSTMState(tg.tensor(h), tg.tensor(h)))[0])


def test_batches_may_be_empty():
    for cell in (nn.RNNCell(2, 3), nn.LSTMCell(2, 3), nn.GRUCell(2, 3)):
        assert cell(tg.ones((0, 2)), cell.initial_state(0))[0].shape == (0, 3)


# Wrappers -------------------------------------------------------------------------------------------------------------

WRAPPED = {
    "dropout in eval mode": lambda: nn.VariationalDropout(nn.RNNCell(2, 3, generator=0), 0.5, generator=0).eval(),
    "zoneout in eval mode": lambda: nn.Zoneout(nn.RNNCell(2, 3, generator=0), 0.3, generator=0).eval(),
    "zoneout of an LSTM in eval mode": lambda: nn.Zoneout(nn.LSTMCell(2, 3, generator=0), (0.3, 0.1)).eval(),
    "dropout of an LSTM in eval mode": lambda: nn.VariationalDropout(nn.LSTMCell(2, 3, generator=0), 0.5).eval(),
    "deep transition": lambda: nn.DeepTransition(nn.GRUCell(2, 3, generator=0), 2, skip=True, generator=1),
    "deep transition without skips": lambda: nn.DeepTransition(nn.RNNCell(2, 3, generator=0), 2, generator=1),
    "residual": lambda: nn.Residual(nn.LSTMCell(2, 2, generator=0)),
    "residual of zoneout of a deep transition": lambda: nn.Residual(
        nn.Zoneout(nn.DeepTransition(nn.GRUCell(2, 2, generator=0), generator=1), 0.2)
    ).eval(),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_cells_keep_the_laws(name):
    cell = WRAPPED[name]()
    skip = ["gradients", "dtype_kept"] if "dropout" in name else []  # a random state has any mask
    skip += ["hidden_permutation"] if "residual" in name else []  # the inputs, which are added, keep their order
    testing.check_cell(cell, input_size=2, skip=skip, max_examples=4)()


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_cells_are_drawn_and_compiled(name):
    cell, x, lengths = WRAPPED[name](), np.random.default_rng(0).normal(size=(2, 3, 2)), np.array([3, 1])
    out = nn.unroll(cell, x, lengths=lengths, history=True)
    assert "digraph" in tg.viz.to_dot(out.outputs)
    compiled = tg.compile(lambda xs, n: tuple(nn.unroll(cell, xs, lengths=n, history=True)))
    for a, b in zip(leaves_of(list(compiled(x, lengths))), leaves_of(list(out)), strict=True):
        testing.assert_close(a, b, atol=1e-12)


def test_a_compiled_function_with_zoneout_draws_anew_and_knows_whether_it_trains():
    cell, x = nn.Zoneout(nn.LSTMCell(2, 20, generator=0), 0.5, generator=0), np.ones((1, 3, 2), np.float32)
    compiled = tg.compile(lambda xs: nn.unroll(cell, xs, history=True).outputs)
    assert not np.array_equal(compiled(x), compiled(x))
    cell.eval()
    testing.assert_close(compiled(x), nn.unroll(cell, x).outputs, atol=1e-6)


def test_the_same_units_are_dropped_after_a_split():
    cell = nn.VariationalDropout(nn.GRUCell(2, 9, generator=0), 0.5, generator=0)
    x, start = np.random.default_rng(0).normal(size=(2, 6, 2)).astype(np.float32), cell.initial_state(2)
    whole, first = nn.unroll(cell, x, start), nn.unroll(cell, x[:, :2], start)
    second = nn.unroll(cell, x[:, 2:], first.state)
    testing.assert_close(tg.concatenate([first.outputs, second.outputs], 1), whole.outputs, atol=1e-6)


def test_variational_dropout_drops_the_same_units_at_every_step():
    cell = nn.VariationalDropout(nn.RNNCell(2, 50, generator=0), 0.5, generator=0)
    state = cell.initial_state(3)
    mask = state.mask.numpy()
    assert set(mask.ravel().tolist()) == {0.0, 2.0}
    out = nn.unroll(cell, tg.ones((3, 4, 2)), state)
    assert np.array_equal(out.state.mask.numpy(), mask)
    assert not np.array_equal(cell.initial_state(3).mask.numpy(), mask)
    plain = nn.unroll(cell.cell, tg.ones((3, 1, 2))).outputs
    np.testing.assert_array_equal(out.outputs[:, :1].numpy(), plain.numpy())
    assert cell.eval().initial_state(3).mask.numpy().min() == 1


@pytest.mark.parametrize("p", [0.3, (0.3,)])
def test_zoneout_leaves_the_past_states_of_a_skip_as_they_were(p):
    inner = nn.RNNCell(2, 3, skip=3, generator=0)
    cell, x = nn.Zoneout(inner, p).eval(), tg.ones((1, 2))
    past = tuple(tg.tensor(np.full((1, 3), k, np.float32)) for k in (1.0, 2.0, 3.0))
    y, state = cell(x, past)
    plain, _ = inner(x, past)
    np.testing.assert_allclose(y.numpy(), 0.3 * past[0].numpy() + 0.7 * plain.numpy(), rtol=1e-6)
    assert state[0] is y
    assert state[1:] == past[:2]


def test_zoneout_wants_a_probability_for_each_state_that_changes():
    cell = nn.Zoneout(nn.RNNCell(2, 3, skip=3), (0.1, 0.2))
    with pytest.raises(ValueError, match="2 probabilities for a state of 1 tensors that change"):
        cell(tg.ones((1, 2)), cell.initial_state(1))


def test_zoneout_keeps_units_at_random():
    cell = nn.Zoneout(nn.LSTMCell(2, 100, generator=0), (0.25, 0.75), generator=0)
    before = cell.initial_state(20)
    y, after = cell(tg.ones((20, 2)), before)
    kept = [float((a == b).numpy().mean()) for a, b in zip(leaves_of(after), leaves_of(before))]
    np.testing.assert_allclose(kept, [0.25, 0.75], atol=0.05)
    assert y is after.h
    assert nn.Zoneout(nn.RNNCell(2, 3), 1.0)(tg.ones((1, 2)), tg.ones((1, 3)))[1].tolist() == [[1, 1, 1]]


def test_a_residual_adds_the_input():
    cell = nn.RNNCell(3, 3, generator=0)
    x = tg.tensor(np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32))
    testing.assert_close(nn.unroll(nn.Residual(cell), x).outputs, nn.unroll(cell, x).outputs + x)
