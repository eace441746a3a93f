"""Which quantities correspond over time, and which loops wait for one another."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad_rnn.viz.read.timeline import Timeline, is_folded

import tinygrad_rnn as tg

from .. import nets, zoo


def timeline_of(x):
    g = tg.graph(x)
    return g, Timeline(g.nodes)


def test_a_quantity_has_one_key_in_all_steps():
    g, timeline = timeline_of(nets.lstm(5))
    for name in "ifgoch":
        assert len({timeline.key[t.serial] for t in g.nodes if t.name == name}) == 1
    assert len({timeline.key[t.serial] for t in g.nodes if t.time == 2}) == len([t for t in g.nodes if t.time == 2])


def test_outside_of_steps_everything_is_alone():
    g, timeline = timeline_of(nets.timeless())
    assert timeline.key == {t.serial: t.serial for t in g.nodes}
    assert timeline.times == []


def test_layers_are_one_loop():
    _, timeline = timeline_of(nets.stacked(4))
    assert timeline.times == [(0, 1, 2, 3)]


def test_directions_are_one_loop():
    _, timeline = timeline_of(nets.bidirectional(4))
    assert timeline.times == [(0, 1, 2, 3)]


@pytest.mark.parametrize("attention", [False, True])
def test_a_decoder_waits_for_its_encoder(attention):
    g, timeline = timeline_of(zoo.encoder_decoder(3, attention))
    assert timeline.times == [(0, 1, 2), (0, 1, 2, 3)]
    phases = {t.scope[0]: timeline.phase_of(t) for t in g.nodes if t.scope and t.time is not None}
    assert phases == {"encoder": 0, "decoder": 1}


def test_three_loops_that_wait():
    h = tg.zeros(2)
    for name in ("one", "two", "three"):
        with tg.scope(name):
            for _ in tg.steps(3):
                h = tg.tanh(h * 2)
    assert timeline_of(h)[1].times == [(0, 1, 2)] * 3


def test_a_gradient_has_the_phase_of_its_loop():
    g, timeline = timeline_of(zoo.gradients_of(zoo.encoder_decoder(3)))
    for t in g.nodes:
        if t.place.backward and t.time is not None and t.scope:
            assert timeline.phase_of(t) == ("encoder", "decoder").index(t.scope[0])


def test_initial_states():
    g, timeline = timeline_of(nets.lstm(4))
    found = {t.name: timeline.initial[t.serial] for t in g.nodes if t.serial in timeline.initial}
    assert {name: (start.state.name, start.delay) for name, start in found.items()} == {"h0": ("h", 1), "c0": ("c", 1)}


def test_the_initial_state_of_the_other_direction():
    g, timeline = timeline_of(nets.bidirectional(4))
    delays = {t.name: timeline.initial[t.serial].delay for t in g.nodes if t.serial in timeline.initial}
    assert delays == {"there0": 1, "back0": -1}


def test_initial_states_of_a_skip():
    g, timeline = timeline_of(zoo.skipping(6, 3))
    assert {t.name for t in g.nodes if t.serial in timeline.initial} == {"h0_0", "h0_1", "h0_2"}


def test_cells_are_what_hands_a_state_on():
    _, timeline = timeline_of(tg.nn.LSTM(3, 4, 2, generator=0)(zoo.ones(2, 3, 3)).outputs)
    assert timeline.cells == {("lstm", "layer0"), ("lstm", "layer1")}


def test_forgotten():
    g = tg.graph(nets.lstm(3))
    timeline = Timeline(g.nodes, timed=False)
    assert (timeline.times, timeline.phase, timeline.cells) == ([], {}, set())


def test_times_are_those_of_what_is_drawn():
    g = tg.graph(nets.lstm(5))
    assert Timeline(g.nodes, [t for t in g.nodes if t.time in (None, 2, 3)]).times == [(2, 3)]


def test_a_long_chain():
    h = tg.zeros(2)
    for _ in tg.steps(20_000):
        h = h + 1
    _, timeline = timeline_of(h)
    assert len(timeline.times[0]) == 20_000


def test_what_is_folded():
    W = nets.weight("W", 2)
    assert is_folded(W)
    assert not is_folded(W * 1)
    assert not is_folded(tg.zeros(3))


def test_branches_on_one_line_are_one_quantity():
    xs, h, states = tg.ones((4, 2)), None, []
    for t in tg.steps(4):
        h = tg.tanh(xs[t]) if h is None else tg.tanh(xs[t] + h)
        states.append(h)
    _, timeline = timeline_of(h)
    assert len({s.origin for s in states}) == 2
    assert len({timeline.key[s.serial] for s in states}) == 1


def test_operations_of_one_kind_on_a_line_are_quantities_of_their_own():
    w, h, c, pairs = tg.parameter(np.eye(2)), tg.ones(2), tg.ones(2), []
    for _ in tg.steps(12):
        h, c = h @ w, c @ w
        pairs.append((h, c))
    _, timeline = timeline_of(h + c)
    assert len({(timeline.key[a.serial], timeline.key[b.serial]) for a, b in pairs}) == 1
    assert len({timeline.key[t.serial] for pair in pairs for t in pair}) == 2
