"""The flow of gradients: every norm is that of a gradient, and the verdict says what is so."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given

import tinygrad_rnn as tg
from tests.bptt.nets import SEEDS, cells, inputs
from tinygrad_rnn.bptt.words import decay, said


def decaying(factor, steps=8, last_only=True):
    """h_t = factor · h_{t-1} + w x, with a loss at the end or at every step."""
    w, h, losses = tg.parameter(np.ones((1, 2)), name="w"), tg.zeros((1, 2), np.float64), []
    for _ in tg.steps(steps):
        h = (factor * h + w).named("h")
        losses.append(h.sum())
    return losses[-1] if last_only else tg.stack(losses).sum()


def norm(t):
    return np.linalg.norm(t.numpy())


@given(cells(), SEEDS)
def test_norms_are_those_of_gradients(cell, seed):
    readout = tg.nn.Linear(cell.state_sizes[0], 2, dtype=np.float64, generator=1)
    loss = (readout(tg.nn.unroll(cell, inputs(seed, 2, 4, cell.input_size), history=True).outputs) ** 2).mean()
    found, graph = tg.bptt.flow(loss), tg.graph(loss)
    for name in ("h", "c", "f", "z", "x"):
        members = [t for t in graph.by_name(name) if t.time is not None]
        series = [s for s in found.series.values() if s.name.endswith(f"/{name}") or s.name == name]
        assert bool(members) == bool(series)
        for t in members:
            expected = norm(tg.grad(loss, t))
            np.testing.assert_allclose(series[0].norms[t.time], expected, rtol=1e-9, atol=1e-13)
            np.testing.assert_allclose(found.by_serial[t.serial], expected, rtol=1e-9, atol=1e-13)
    reached = [p for p in graph.parameters if tg.grad(loss, p, allow_unused=True) is not None]
    assert len(found.weights) == len(reached)
    whole = [norm(tg.grad(loss, p)) for p in reached]
    np.testing.assert_allclose(sorted(found.weights.values()), sorted(whole), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(found.norm, np.linalg.norm(whole), rtol=1e-9)


def test_parts_of_weights_are_sums_of_contributions():
    cell = tg.nn.GRUCell(2, 3, dtype=np.float64, generator=0)
    loss = (tg.nn.unroll(cell, inputs(0, 2, 5, 2)).outputs ** 2).sum()
    found = tg.bptt.flow(loss)
    parts = tg.bptt.contributions(loss, cell.W_h).array.sum(1)
    np.testing.assert_allclose(found.series["W_h"].norms, np.linalg.norm(parts.reshape(5, -1), axis=1), rtol=1e-10)


@pytest.mark.parametrize("last_only", [True, False])
@pytest.mark.parametrize("factor", [0.61, 1.3, 1.0])
def test_the_factor_per_step_is_found_wherever_the_losses_are(factor, last_only):
    found = tg.bptt.flow(decaying(factor, last_only=last_only))
    series = found.series["h"]
    np.testing.assert_allclose(series.rate, factor, rtol=1e-12)
    np.testing.assert_allclose(series.reach, np.sqrt(2) * factor ** np.arange(7.0, -1, -1), rtol=1e-12)
    assert series.distances.tolist() == list(range(7, -1, -1))
    if not last_only:
        expected = [sum(factor**d for d in range(8 - t)) for t in range(8)]
        np.testing.assert_allclose(series.norms, np.sqrt(2) * np.array(expected), rtol=1e-12)


def test_words():
    assert said(0.61) == "vanishes by a factor of 0.61 per step; half-life 1.4 steps"
    assert said(1.3) == "explodes by a factor of 1.3 per step; doubles in 2.6 steps"
    assert said(0.999) == "is kept, with a factor of 0.999 per step"
    assert said(decay(np.array([1.0]), np.array([0.0]))) == "does not go from step to step"
    assert np.isnan(decay(np.array([0.0, 1.0, np.nan]), np.arange(3.0)))


def test_verdict_and_table():
    found = tg.bptt.flow(decaying(0.5, steps=4), clip=0.5)
    assert str(found) == (
        "h: the gradient vanishes by a factor of 0.5 per step; half-life 1 steps\n"
        "clip threshold 0.5 hit in 50% of steps\n"
        "the weights' gradient has norm 2.65, 5.3 times the threshold\n"
        "\n"
        "           t=0   t=1   t=2  t=3  whole\n"
        "state h   0.18  0.35  0.71  1.4\n"
        "weight w  0.18  0.35  0.71  1.4    2.7"
    )
    assert len(tg.bptt.flow(decaying(0.5, steps=40)).table(columns=5).splitlines()[0].split()) == 6


def test_a_network_without_names():
    W, h = tg.parameter(np.eye(3) * 0.5), tg.ones((1, 3), np.float64)
    for _ in tg.steps(5):
        h = tg.sin(h @ W)
    found = tg.bptt.flow(h.sum())
    assert [(s.name, s.kind) for s in found.series.values()] == [("state", "state"), ("parameter", "weight")]
    assert not np.isnan(found.series["state"].norms).any(), "the last one too, which no step reads"


def test_a_weight_and_a_state_may_have_one_name():
    w, h = tg.parameter(0.5, name="h"), tg.tensor(1.0)
    for _ in tg.steps(3):
        h = (h * w).named("h")
    found = tg.bptt.flow(h)
    assert {n: s.kind for n, s in found.series.items()} == {"h": "state", "h_2": "weight"}
    assert found.weights == {"h_2": 0.75}


def test_layers_directions_and_paths_of_a_module():
    model = tg.nn.ManyToOne(2, 3, 2, cell="lstm", bidirectional=True, num_layers=2, dtype=np.float64, generator=0)
    found = tg.bptt.flow(model, (inputs(0, 2, 4, 2), [0, 1]))
    states = [s.name for s in found.of("state")]
    assert len(states) == 8
    assert "manytoone/recurrent/layer1/backward/c" in states
    assert set(found.weights) == {name for name, _ in model.named_parameters()}
    backward = found.series["manytoone/recurrent/layer1/backward/h"]
    assert backward.distances.tolist() == [0, 1, 2, 3]
    assert [s.kind for s in found.series.values() if s.name.endswith("/x")] == ["input"]


def test_trees_and_encoder_decoder():
    network = tg.nn.TreeNetwork(10, 3, 4, dtype=np.float64, generator=0)
    found = tg.bptt.flow(lambda trees: (network(trees).roots ** 2).sum(), [((4, 1), (2, 3)), (5, 6)])
    assert found.times == (0, 1, 2)
    assert [s.name for s in found.of("state")] == ["treenetwork/cell/c", "treenetwork/cell/h"]
    model = tg.nn.EncoderDecoder(
        6, 7, features=3, hidden=4, cell=tg.nn.GRUCell, start=0, end=1, dtype=np.float64, generator=0
    )
    found = tg.bptt.flow(model, {"source": [[2, 3, 4, 5]], "target": [[2, 3, 1]]})
    assert len(found.of("state")) == 2
    assert found.times == (0, 1, 2, 3)


def test_ways_to_ask():
    cell = tg.nn.RNNCell(2, 3, dtype=np.float64, generator=0)
    xs = inputs(0, 2, 4, 2)
    run = lambda xs: (tg.nn.unroll(cell, xs).outputs ** 2).mean()
    loss = run(xs)
    traced = tg.trace(run, tg.Spec(xs.shape, np.float64))
    asked = [
        tg.bptt.flow(loss), tg.bptt.flow(run, xs), tg.bptt.flow(traced, [xs]), tg.bptt.flow(traced, xs),
        tg.bptt.flow(cell, (xs,), loss=lambda model, xs: (tg.nn.unroll(model, xs).outputs ** 2).mean()),
    ]  # fmt: skip
    for found in asked:
        np.testing.assert_allclose(found.series["rnncell/h"].norms, asked[0].series["rnncell/h"].norms, rtol=1e-12)
    assert cell.W_h.grad is None


def test_numbers_for_colouring_a_picture():
    loss = decaying(0.5, steps=3)
    found, graph = tg.bptt.flow(loss), tg.graph(loss)
    by_id = found.by_id(graph)
    assert by_id == found.by_id()
    np.testing.assert_allclose([by_id[f"t{t}/h"] for t in range(3)], np.sqrt(2) * 0.5 ** np.array([2, 1, 0]))
    np.testing.assert_allclose(by_id["w"], found.norm)


def test_a_heat_map_has_a_row_for_each_quantity():
    model = tg.nn.ManyToOne(2, 3, 2, cell="gru", generator=0)
    found = tg.bptt.flow(model, (np.ones((1, 30, 2), np.float32), [0]))
    ax = found.heatmap()
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels == [n for n, s in found.series.items() if not np.isnan(s.norms).all()]
    assert "readout.W" not in labels
    shown = ax.images[0].get_array()
    assert shown.shape == (len(labels), 30)
    np.testing.assert_allclose(10 ** shown[0], found.series[labels[0]].norms)
    ax.figure.canvas.draw()
    assert found.heatmap(ax.figure.add_subplot()) is not ax


def test_plots_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'tinygrad-rnn\[plots\]'"):
        tg.bptt.flow(decaying(0.5)).heatmap()


@pytest.mark.parametrize(
    ("model", "batch", "error", "text"),
    [
        (lambda: tg.ones(3), None, tg.errors.ShapeError, r"(?s)the loss is tensor.*one value.*\.mean\(\)"),
        (lambda: lambda x: tg.nn.RNN(1, 2)(x), np.ones((1, 2, 1), np.float32), TypeError, "got: +RecurrentOutput"),
        (lambda: (tg.parameter(2.0) * 3), None, tg.GradientError, r"(?s)recorded in a time step.*tg.steps\(T\)"),
        (lambda: 3, None, TypeError, r"(?s)a model, function, tensor or graph.*int"),
    ],
)  # fmt: skip
def test_errors(model, batch, error, text):
    with pytest.raises(error, match=text):
        tg.bptt.flow(model(), batch)


def test_clip_must_be_positive():
    with pytest.raises(ValueError, match="clip must be positive, got 0"):
        tg.bptt.flow(decaying(0.5), clip=0)


def test_twenty_thousand_steps():
    found = tg.bptt.flow(decaying(0.999, steps=20_000))
    np.testing.assert_allclose(found.series["h"].rate, 0.999, rtol=1e-9)
