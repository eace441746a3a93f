"""Outputs, states and gradients of PyTorch's recurrent layers, in float64: as they were written down, and live.

`--rewrite-golden` computes the file anew, where PyTorch is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import io, nn

GOLDEN = Path(__file__).parent / "golden" / "torch.safetensors"
BATCH, STEPS, INPUTS, HIDDEN = 3, 4, 2, 3
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # name of the layer, options here, options there
    "rnn": ("RNN", {"bias": "two"}, {}),
    "rnn_relu": ("RNN", {"activation": "relu"}, {"nonlinearity": "relu"}),
    "rnn_no_bias": ("RNN", {"bias": False}, {"bias": False}),
    "lstm": ("LSTM", {"bias": "two"}, {}),
    "lstm_projected": ("LSTM", {"projection": 2}, {"proj_size": 2}),
    "gru": ("GRU", {"reset_after": True, "update": "keep", "bias": "two"}, {}),
}
CASES = [
    (kind, layers, both, lengths, start)
    for kind in KINDS
    for layers in (1, 2)
    for both in (False, True)
    for lengths in (None, (4, 2, 1))
    for start in (False, True)
]


def label(case: Any) -> str:
    kind, layers, both, lengths, start = case
    words = ["both" if both else "forward", "lengths" if lengths else "full", "h0" if start else "zero"]
    return "-".join([kind, str(layers), *words])


def ours(case: Any) -> Any:
    kind, layers, both, _, _ = case
    name, options, _ = KINDS[kind]
    layer = getattr(nn, name)(INPUTS, HIDDEN, layers, bidirectional=both, dtype=np.float64, generator=0, **options)
    rng = np.random.default_rng(1)
    nn.from_torch_state_dict(layer, {n: rng.normal(0, 0.5, a.shape) for n, a in nn.to_torch_state_dict(layer).items()})
    return layer


def data(case: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, and initial hidden and cell states as (layers * directions, batch, width)."""
    kind, layers, both, _, _ = case
    rng = np.random.default_rng(2)
    width = KINDS[kind][1].get("projection", HIDDEN)
    count = layers * (2 if both else 1)
    shapes = [(BATCH, STEPS, INPUTS), (count, BATCH, width), (count, BATCH, HIDDEN)]
    x, h, c = (rng.normal(size=s) for s in shapes)
    return x, h, c


def weights(shape: tuple[int, ...]) -> np.ndarray:
    """Of the outputs in the loss."""
    return np.cos(np.arange(np.prod(shape, dtype=int))).reshape(shape)


def states_of(case: Any, h: Any, c: Any) -> list[Any]:
    """Initial states in our nesting."""
    kind, layers, both, _, _ = case
    each = [nn.LSTMState(a, b) if kind.startswith("lstm") else a for a, b in zip(h, c, strict=True)]
    return [nn.Directions(*each[2 * k : 2 * k + 2]) if both else each[k] for k in range(layers)]


def run_ours(case: Any) -> dict[str, np.ndarray]:
    _, _, _, lengths, start = case
    layer = ours(case)
    x, h, c = (tg.parameter(a) for a in data(case))
    state = states_of(case, [h[k] for k in range(len(h))], [c[k] for k in range(len(c))]) if start else None
    out = layer(x, state, lengths=lengths)
    last = nn.state.leaves_of(out.state)
    loss = (out.outputs * weights(out.outputs.shape)).sum()
    for k, t in enumerate(last):
        loss = loss + (t * weights(t.shape)).sum() * (k + 1)
    loss.backward()
    found = {"outputs": out.outputs.numpy(), "x": x.grad.numpy()}
    found |= {f"state{k}": t.numpy() for k, t in enumerate(last)}
    found |= {f"grad.{n}": g for n, g in nn.to_torch_state_dict(layer, of="grad").items()}
    if start:
        found["h0"] = h.grad.numpy()
    return found


def run_torch(case: Any) -> dict[str, np.ndarray]:
    import torch

    kind, layers, both, lengths, start = case
    name, _, options = KINDS[kind]
    layer = getattr(torch.nn, name)(INPUTS, HIDDEN, layers, batch_first=True, bidirectional=both, **options).double()
    layer.load_state_dict({n: torch.from_numpy(a) for n, a in nn.to_torch_state_dict(ours(case)).items()})
    x, h, c = (torch.from_numpy(a).requires_grad_() for a in data(case))
    given = x
    if lengths:
        given = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first=True)
    lstm = kind.startswith("lstm")
    outputs, last = layer(given, ((h, c) if lstm else h) if start else None)
    if lengths:
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True, total_length=STEPS)
    parts = [p[k] for k in range(layers * (2 if both else 1)) for p in (last if lstm else (last,))]
    loss = (outputs * torch.from_numpy(weights(tuple(outputs.shape)))).sum()
    for k, t in enumerate(parts):
        loss = loss + (t * torch.from_numpy(weights(tuple(t.shape)))).sum() * (k + 1)
    loss.backward()
    found = {"outputs": outputs, "x": x.grad} | {f"state{k}": t for k, t in enumerate(parts)}
    found |= {f"grad.{n}": p.grad for n, p in layer.named_parameters()}
    if start:
        found["h0"] = h.grad
    return {n: t.detach().numpy().copy() for n, t in found.items()}


@pytest.fixture(scope="module")
def golden(request):
    if request.config.getoption("--rewrite-golden"):
        pytest.importorskip("torch")
        everything = {f"{label(case)}/{n}": a for case in CASES for n, a in run_torch(case).items()}
        GOLDEN.parent.mkdir(exist_ok=True)
        io.save(everything, GOLDEN)
    return {n: np.asarray(t) for n, t in io.load(GOLDEN).items()}


@pytest.mark.parametrize("case", CASES, ids=label)
def test_outputs_states_and_gradients_are_pytorchs(case, golden):
    expected = {n.partition("/")[2]: a for n, a in golden.items() if n.startswith(label(case) + "/")}
    found = run_ours(case)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-10, atol=1e-11, err_msg=name)


def test_the_golden_file_is_what_pytorch_says():
    pytest.importorskip("torch")
    written = io.load(GOLDEN)
    for case in CASES[:: len(CASES) // 7]:
        for name, value in run_torch(case).items():
            np.testing.assert_allclose(value, np.asarray(written[f"{label(case)}/{name}"]), rtol=1e-9, atol=1e-10)


# Conversion -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [
    nn.RNN(2, 3), nn.LSTM(2, 3, 2, bidirectional=True, bias="two"), nn.LSTM(2, 3, projection=2),
    nn.LSTM(2, 3, bias=False), nn.GRU(2, 3, 2, reset_after=True, update="keep", bias="two"), nn.LSTMCell(2, 3),
    nn.Linear(2, 3), nn.Embedding(4, 3),
], ids=lambda m: type(m).__name__)  # fmt: skip
def test_to_pytorch_and_back(layer):
    state = nn.to_torch_state_dict(layer)
    before = {n: p.numpy().copy() for n, p in layer.named_parameters()}
    for p in layer.parameters():
        p.assign(np.zeros(p.shape))
    nn.from_torch_state_dict(layer, state)
    for n, p in layer.named_parameters():
        np.testing.assert_array_equal(p.numpy(), before[n])


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: nn.to_torch_state_dict(nn.GRU(2, 3)), ValueError, "reset_after=True, update='keep', bias='two'"),
    (lambda: nn.to_torch_state_dict(nn.LSTMCell(2, 3, peephole=True)), ValueError, "PyTorch has no cell"),
    (lambda: nn.to_torch_state_dict(nn.RNNCell(2, 3, leak=0.5)), ValueError, "PyTorch has no cell"),
    (lambda: nn.to_torch_state_dict(nn.LSTM(2, 3, activation="sigmoid")), ValueError, "PyTorch has no cell"),
    (lambda: nn.to_torch_state_dict(nn.RNN(2, 3, activation="sigmoid")), ValueError, "PyTorch has no cell"),
    (lambda: nn.to_torch_state_dict(nn.LSTM(2, 3, gate_activation="relu")), ValueError, "PyTorch has no cell"),
    (lambda: nn.to_torch_state_dict(nn.LSTM(2, 3, output_activation="identity")), ValueError, "PyTorch has no cell"),
    (lambda: nn.to_torch_state_dict(nn.RNN(2, 3, 2, residual=True)), ValueError, "without residual or skip"),
    (lambda: nn.to_torch_state_dict(nn.RNN(2, 3, 2, skip=True)), ValueError, "without residual or skip"),
    (lambda: nn.to_torch_state_dict(nn.Recurrent(nn.Zoneout(nn.RNNCell(2, 3)))), ValueError, "Zoneout: PyTorch has no"),
    (lambda: nn.to_torch_state_dict(nn.Recurrent([nn.RNNCell(2, 3), nn.LSTMCell(3, 3)])), ValueError, "of one kind"),
    (lambda: nn.to_torch_state_dict(nn.Recurrent([nn.RNNCell(2, 3), nn.RNNCell(3, 4)])), ValueError, "of one kind"),
    (lambda: nn.to_torch_state_dict(nn.LayerNorm(3)), ValueError, "PyTorch has no layer"),
    (lambda: nn.to_torch_state_dict(nn.RNN(2, 3), of="value"), ValueError, "'value'"),
    (lambda: nn.from_torch_state_dict(nn.RNN(2, 3), {}), KeyError, "misses"),
    (lambda: nn.from_torch_state_dict(nn.Linear(2, 3), {"weight": np.ones((2, 3)), "bias": np.ones(3)}), tg.ShapeError,
     "weight"),
])  # fmt: skip
def test_what_cannot_be_converted(call, error, text):
    with pytest.raises(error, match=text):
        call()


class Doubled(nn.LSTM):
    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        return out._replace(outputs=2 * out.outputs)


class Stepping(nn.LSTMCell):
    def step(self, x, state):
        return super().step(2 * x, state)


class Shifted(nn.Linear):
    def __call__(self, x):
        return super().__call__(x) + 1


class Scaled(nn.Embedding):
    def forward(self, tokens):
        return super().forward(tokens) * 3


class Turned(nn.LSTMCell):
    GATES = ("f", "i", "g", "o")


class Named(nn.LSTM):
    """Computes what its base does."""

    def __init__(self, *sizes):
        super().__init__(*sizes, generator=0)
        self.title = "words"

    def describe(self):
        return self.title


class Reset:
    """To be mixed in."""

    def from_state(self, h):
        return super().from_state(h * 0)


class Mixed(Reset, nn.RNNCell):
    pass


def patched():
    layer = nn.Linear(2, 3)
    layer.forward = lambda x: x
    return layer


@pytest.mark.parametrize("make", [
    lambda: Doubled(2, 3), lambda: Stepping(2, 3), lambda: nn.Recurrent(Stepping(2, 3)), lambda: Shifted(2, 3),
    lambda: Scaled(2, 3), lambda: Turned(2, 3), lambda: Mixed(2, 3), patched,
])  # fmt: skip
@pytest.mark.parametrize("convert", [
    nn.to_torch_state_dict, nn.to_keras_weights, lambda m: nn.from_torch_state_dict(m, {}),
    lambda m: nn.from_keras_weights(m, []),
])  # fmt: skip
def test_what_computes_something_else_than_its_base_is_not_converted(make, convert):
    with pytest.raises(ValueError, match=r"has no layer that computes the same\n  got:      .* in place of that of"):
        convert(make())


def test_a_subclass_that_computes_the_same_is_converted():
    assert nn.to_torch_state_dict(Named(2, 3)).keys() == nn.to_torch_state_dict(nn.LSTM(2, 3)).keys()
    assert len(nn.to_keras_weights(Named(2, 3))) == 3


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.RNNCell, nn.LSTMCell])
@pytest.mark.parametrize("bias", [True, "two"])
def test_the_second_bias_has_the_gradient_of_the_first(make, bias):
    layer = make(2, 3, bias=bias)
    for p in layer.parameters():
        p.grad = np.arange(p.size).reshape(p.shape)
    grads = nn.to_torch_state_dict(layer, of="grad")
    first, second = (next(g for n, g in grads.items() if n.startswith(name)) for name in ("bias_ih", "bias_hh"))
    np.testing.assert_array_equal(second, first)
    assert second.any()
