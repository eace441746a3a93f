"""Outputs and states of Keras' recurrent layers, in float32: as they were written down, and live.

On PyTorch Keras computes most in float32 also where it is asked for float64, so the tolerance is that of float32.
`--rewrite-golden` computes the file anew, where Keras and PyTorch, which it runs on here, are installed.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import io, nn

GOLDEN = Path(__file__).parent / "golden" / "keras.safetensors"
BATCH, STEPS, INPUTS, HIDDEN = 3, 4, 2, 3
KINDS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {  # layer and options here, and there
    "rnn": ("RNN", {}, "SimpleRNN", {}),
    "rnn_relu": ("RNN", {"activation": "relu"}, "SimpleRNN", {"activation": "relu"}),
    "rnn_no_bias": ("RNN", {"bias": False}, "SimpleRNN", {"use_bias": False}),
    "lstm": ("LSTM", {}, "LSTM", {}),
    "lstm_sigmoid": ("LSTM", {"activation": "sigmoid"}, "LSTM", {"activation": "sigmoid"}),
    "lstm_no_bias": ("LSTM", {"bias": False}, "LSTM", {"use_bias": False}),
    "gru": ("GRU", {"reset_after": True, "update": "keep", "bias": "two"}, "GRU", {}),
    "gru_no_bias": ("GRU", {"reset_after": True, "update": "keep", "bias": False}, "GRU", {"use_bias": False}),
    "gru_before": ("GRU", {"update": "keep"}, "GRU", {"reset_after": False}),
}
CASES = [
    (kind, both, lengths, start)
    for kind in KINDS
    for both in (False, True)
    for lengths in (None, (4, 2, 1))
    for start in (False, True)
]


def label(case: Any) -> str:
    kind, both, lengths, start = case
    words = ["both" if both else "forward", "lengths" if lengths else "full", "h0" if start else "zero"]
    return "-".join([kind, *words])


def weights(case: Any) -> list[np.ndarray]:
    """As Keras orders them, by its documentation: kernel, recurrent kernel, bias, of the forward layer first."""
    kind, both, _, _ = case
    _, _, name, options = KINDS[kind]
    gates, rng = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[name], np.random.default_rng(1)
    bias = (2, gates * HIDDEN) if name == "GRU" and options.get("reset_after", True) else (gates * HIDDEN,)
    shapes = [(INPUTS, gates * HIDDEN), (HIDDEN, gates * HIDDEN), *([bias] if options.get("use_bias", True) else [])]
    return [rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes * (2 if both else 1)]


def data(case: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """Inputs, and initial states: h (and c) of the forward layer, then of the backward one."""
    rng = np.random.default_rng(2)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
    count = (2 if case[0].startswith("lstm") else 1) * (2 if case[1] else 1)
    return normal(BATCH, STEPS, INPUTS), [normal(BATCH, HIDDEN) for _ in range(count)]


def run_ours(case: Any) -> dict[str, np.ndarray]:
    kind, both, lengths, start = case
    name, options, _, _ = KINDS[kind]
    layer = getattr(nn, name)(INPUTS, HIDDEN, bidirectional=both, **options)
    nn.from_keras_weights(layer, weights(case))
    for back, given in zip(nn.to_keras_weights(layer), weights(case), strict=True):
        np.testing.assert_array_equal(back, given)
    x, states = data(case)
    parts = [tg.tensor(s) for s in states]
    each = [nn.LSTMState(*parts[k : k + 2]) for k in range(0, len(parts), 2)] if kind.startswith("lstm") else parts
    state = [nn.Directions(*each) if both else each[0]]
    out = layer(x, state if start else None, lengths=lengths)
    last = nn.state.leaves_of(out.state)
    return {"outputs": out.outputs.numpy(), **{f"state{k}": t.numpy() for k, t in enumerate(last)}}


def load_keras() -> Any:
    """Keras on PyTorch; the test that asks is skipped where one is missing."""
    os.environ["KERAS_BACKEND"] = "torch"
    pytest.importorskip("torch")
    with warnings.catch_warnings(action="ignore"):  # what it warns of is its own
        return pytest.importorskip("keras")


def run_keras(case: Any) -> dict[str, np.ndarray]:
    keras = load_keras()
    kind, both, lengths, start = case
    _, _, name, options = KINDS[kind]
    layer = getattr(keras.layers, name)(
        HIDDEN, return_sequences=True, return_state=True, zero_output_for_mask=True, **options
    )
    if both:
        layer = keras.layers.Bidirectional(layer, merge_mode="concat")
    x, states = data(case)
    layer.build(x.shape)
    layer.set_weights(weights(case))
    mask = None if lengths is None else np.arange(STEPS) < np.array(lengths)[:, None]
    tensor = keras.ops.convert_to_tensor
    given = {"mask": mask if mask is None else tensor(mask), "initial_state": [tensor(s) for s in states]}
    outputs, *last = layer(tensor(x), **(given if start else {"mask": given["mask"]}))
    found = {"outputs": outputs, **{f"state{k}": t for k, t in enumerate(last)}}
    with warnings.catch_warnings(action="ignore"):
        return {n: np.array(keras.ops.convert_to_numpy(t)) for n, t in found.items()}


@pytest.fixture(scope="module")
def golden(request):
    if request.config.getoption("--rewrite-golden"):
        load_keras()
        GOLDEN.parent.mkdir(exist_ok=True)
        io.save({f"{label(case)}/{n}": a for case in CASES for n, a in run_keras(case).items()}, GOLDEN)
    return {n: np.asarray(t) for n, t in io.load(GOLDEN).items()}


@pytest.mark.parametrize("case", CASES, ids=label)
def test_outputs_and_states_are_those_of_keras(case, golden):
    expected = {n.partition("/")[2]: a for n, a in golden.items() if n.startswith(label(case) + "/")}
    found = run_ours(case)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_golden_file_is_what_keras_says():
    load_keras()
    written = io.load(GOLDEN)
    for case in CASES[:: len(CASES) // 9]:
        for name, value in run_keras(case).items():
            np.testing.assert_allclose(value, np.asarray(written[f"{label(case)}/{name}"]), rtol=1e-5, atol=1e-6)


# Conversion -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [
    nn.RNN(2, 3), nn.LSTM(2, 3, bidirectional=True), nn.LSTM(2, 3, bias=False), nn.GRU(2, 3, update="keep"),
    nn.GRU(2, 3, reset_after=True, update="keep", bias="two", bidirectional=True), nn.GRUCell(2, 3, update="keep"),
    nn.Linear(2, 3), nn.Embedding(4, 3),
], ids=lambda m: type(m).__name__)  # fmt: skip
def test_to_keras_and_back(layer):
    kept = nn.to_keras_weights(layer)
    before = {n: p.numpy().copy() for n, p in layer.named_parameters()}
    for p in layer.parameters():
        p.assign(np.zeros(p.shape))
    nn.from_keras_weights(layer, kept)
    for n, p in layer.named_parameters():
        np.testing.assert_array_equal(p.numpy(), before[n])


def test_a_gru_of_keras_is_computed_with_its_own_order_of_gates():
    """z before r, z keeps, and the reset after the product with a second bias."""
    rng = np.random.default_rng(0)
    kernel, recurrent, bias = rng.normal(size=(2, 9)), rng.normal(size=(3, 9)), rng.normal(size=(2, 9))
    cell = nn.GRUCell(2, 3, reset_after=True, update="keep", bias="two", dtype=np.float64)
    nn.from_keras_weights(cell, [kernel, recurrent, bias])
    x, h = rng.normal(size=(4, 2)), rng.normal(size=(4, 3))
    sigma = lambda v: 1 / (1 + np.exp(-v))
    x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3, -1)
    u_z, u_r, u_h = np.split(h @ recurrent + bias[1], 3, -1)
    z, r = sigma(x_z + u_z), sigma(x_r + u_r)
    expected = z * h + (1 - z) * np.tanh(x_h + r * u_h)
    np.testing.assert_allclose(cell(x, tg.tensor(h))[0].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: nn.to_keras_weights(nn.LSTM(2, 3, 2)), ValueError, "one layer after the other"),
    (lambda: nn.to_keras_weights(nn.LSTM(2, 3, projection=2)), ValueError, "no projection"),
    (lambda: nn.from_keras_weights(nn.LSTM(2, 3), []), tg.ShapeError, "from_keras_weights"),
    (lambda: nn.to_keras_weights(nn.GRU(2, 3)), ValueError, "Keras has no cell that computes the same"),
    (lambda: nn.to_keras_weights(nn.LSTMCell(2, 3, layer_norm=True)), ValueError, "Keras has no cell"),
    (lambda: nn.to_keras_weights(nn.LSTM(2, 3, output_activation="identity")), ValueError, "Keras has no cell"),
    (lambda: nn.to_keras_weights(nn.RNN(2, 2, residual=True)), ValueError, "without residual"),
    (lambda: nn.to_keras_weights(nn.RNN(2, 3, bias="two")), ValueError, "two biases only in a GRU"),
    (lambda: nn.to_keras_weights(nn.Residual(nn.RNNCell(2, 2))), ValueError, "Keras has no layer"),
])  # fmt: skip
def test_what_cannot_be_converted(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_weights_that_do_not_fit_change_nothing():
    """A bias of one row is refused for a GRU that has two."""
    layer = nn.GRU(2, 3, reset_after=True, update="keep", bias="two")
    before, given = nn.to_keras_weights(layer), [w + 1 for w in nn.to_keras_weights(layer)]
    with pytest.raises(tg.ShapeError, match=r"\(2, 9\)(.|\n)*\(9,\)"):
        nn.from_keras_weights(layer, [*given[:2], given[2][0]])
    for a, b in zip(nn.to_keras_weights(layer), before, strict=True):
        np.testing.assert_array_equal(a, b)
