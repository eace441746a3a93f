"""Levels: operations, gates, cells, layers, models of the library's networks."""

from __future__ import annotations

from collections import Counter

import pytest
from tinygrad_rnn.viz.layout.layout import layout
from tinygrad_rnn.viz.read.levels import items
from tinygrad_rnn.viz.read.options import Options
from tinygrad_rnn.viz.read.timeline import Timeline
from tinygrad_rnn.viz.scene.build import scene

import tinygrad_rnn as tg

from .. import nets, zoo


def step(x, level, t=1, **options):
    """The boxes of one time step."""
    s = scene(tg.graph(x), Options(level=level, **options))
    return [b for b in s.boxes if b.column == t]


def first_lines(boxes):
    return sorted(b.lines[0] for b in boxes)


class TestGates:
    def test_lstm(self):
        assert first_lines(step(zoo.of("LSTM")(), "gate")) == ["c", "f", "g", "h", "i", "o", "tanh", "x", "×", "×"]

    def test_lstm_written_by_hand(self):
        assert first_lines(step(nets.lstm(), "gate")) == ["c", "f", "g", "h", "i", "o", "tanh", "x", "×", "×"]

    def test_gru(self):
        boxes = first_lines(step(zoo.of("GRU")(), "gate"))
        assert {"r", "z", "n", "h"} <= set(boxes)
        assert not any(line.startswith("@") for line in boxes)

    def test_a_gate_brings_its_weighted_sums_along(self):
        (gate,) = (b for b in step(nets.lstm(), "gate") if b.lines[0] == "f")
        assert Counter(m.op.name for m in gate.members) == {"matmul": 2, "add": 2, "slice": 1, "sigmoid": 1}

    def test_the_states_enter_the_gates(self):
        s = scene(tg.graph(zoo.of("LSTM")()), Options(level="gate"))
        fed = sorted(k.target.lines[0] for k in s.links if k.kind == "state" and k.source.id == "t0/lstm/layer0/h")
        assert fed == ["f", "g", "i", "o"]


class TestOperations:
    def test_operators_are_round(self):
        boxes = step(zoo.of("LSTM")(), "op")
        assert {b.form for b in boxes if b.lines[0] in ("×", "+")} == {"round"}
        assert {b.form for b in boxes if b.lines[0] not in ("×", "+")} == {"box"}

    def test_weights_are_written_into_their_users(self):
        assert {"@ W_i", "@ W_h", "+ b"} <= set(first_lines(step(zoo.of("LSTM")(), "op")))

    def test_transposes_in_gradients_are_written_into_their_products(self):
        g = tg.graph(nets.gradient())
        boxes = scene(g, Options()).boxes
        assert not [b for b in boxes if b.node.op.name == "transpose"]
        products = Counter(b.lines[0] for b in boxes if b.backward and b.node.op.name == "matmul")
        assert products == {"@ Wᵀ": 2, "ᵀ @": 3}

    def test_a_transpose_that_is_asked_for_stays(self):
        x = nets.weight("x", 2, 3)
        y = (x.T @ tg.ones((2, 2))).sum()
        (g,) = tg.grad(y, [x], create_graph=True)
        assert any(b.node is g for b in scene(tg.graph([y, g]), Options()).boxes)


class TestCells:
    def test_one_box_for_each_layer_and_step(self):
        assert first_lines(step(zoo.of("LSTM", num_layers=2)(), "cell")) == ["lstm/layer0", "lstm/layer1", "x"]

    def test_both_states_on_one_edge(self):
        s = scene(tg.graph(zoo.of("LSTM")()), Options(level="cell"))
        assert {k.label for k in s.links if k.kind == "state" and k.source.beside is None} == {"h, c"}

    def test_two_calls_in_a_step_are_two_boxes(self):
        boxes = step(zoo.twice_a_step(), "cell")
        assert first_lines(boxes) == ["lstmcell", "lstmcell", "x", "x"]
        assert len({b.key for b in boxes}) == 4

    def test_two_calls_in_one_step_follow_each_other(self):
        plan = layout(scene(tg.graph(zoo.twice_a_step()), Options(level="cell")))
        low, high = sorted((b for b in plan.columns[1].boxes if b.scope == ("lstmcell",)), key=lambda b: b.y)
        assert any((k.source, k.target) == (low, high) for k in plan.scene.links)

    def test_a_decoder_with_attention_is_one_box_a_step(self):
        s = scene(tg.graph(zoo.encoder_decoder(3, attention=True)), Options(level="cell"))
        per_step = Counter((b.column, b.scope) for b in s.boxes if b.scope == ("decoder",))
        assert sorted(per_step.values()) == [1] * 4

    def test_a_loop_without_scopes_is_one_box_a_step(self):
        assert first_lines(step(nets.lstm(), "cell")) == ["step", "x"]

    def test_forward_and_gradient_are_two(self):
        y = tg.nn.LSTM(3, 4, generator=0)(zoo.ones(2, 3, 3)).last.sum()
        assert {"lstm/layer0", "∂ lstm/layer0"} <= set(first_lines(step(zoo.gradients_of(y), "cell")))


class TestLayersAndModels:
    def test_layers(self):
        assert first_lines(step(zoo.of("LSTM", num_layers=2)(), "layer")) == ["lstm/layer0", "lstm/layer1", "x"]

    def test_layers_of_a_model_with_a_loss(self):
        s = scene(tg.graph(zoo.language_model()), Options(level="layer"))
        names = {b.lines[0] for b in s.boxes if b.scope[:1] == ("languagemodel",)}
        assert {"languagemodel/recurrent", "languagemodel/readout"} <= names

    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_a_model_is_one_box_a_step(self, bidirectional):
        ys = zoo.of("LSTM", num_layers=2, bidirectional=bidirectional)()
        assert first_lines(step(ys, "model")) == ["lstm"]

    def test_two_readings_are_two_boxes(self):
        rnn = tg.nn.RNN(3, 3, generator=0)
        ys = rnn(rnn(tg.ones((1, 3, 3))).outputs).outputs
        assert first_lines(step(ys, "model")) == ["rnn", "rnn"]

    @pytest.mark.parametrize("level", ["layer", "model"])
    def test_less_than_at_the_level_below(self, level):
        for name in ("language_model", "seq2seq", "LSTM_bidirectional"):
            g = tg.graph(zoo.ZOO[name]())
            assert len(scene(g, Options(level=level)).boxes) <= len(scene(g, Options(level="cell")).boxes)

    def test_what_a_model_does_before_and_after_its_steps_is_two_things(self):
        boxes = scene(tg.graph(zoo.language_model()), Options(level="model")).boxes
        outside = [b for b in boxes if b.column is None and b.scope[:1] == ("languagemodel",)]
        assert len({b.key for b in outside}) == len(outside) > 0


@pytest.mark.parametrize("name", zoo.ZOO)
def test_things_come_after_what_they_are_computed_from(name):
    g = tg.graph(zoo.ZOO[name]())
    timeline = Timeline(g.nodes)
    for level in ("op", "gate", "cell", "layer", "model"):
        place = {item: n for n, item in enumerate(items(g.nodes, {t.serial for t in g.outputs}, timeline, level).all)}
        late = [(i, item) for item in place for i in item.inputs if place[i] > place[item]]
        assert not late or level in ("layer", "model"), level
        assert all(i.time != item.time for i, item in late), "two directions in one box wait for each other, no others"
