"""Conveyors and the lanes of the two directions."""

from __future__ import annotations

import pytest
from tinygrad_rnn.viz.layout.layout import layout
from tinygrad_rnn.viz.read.options import Options
from tinygrad_rnn.viz.scene.build import scene

import tinygrad_rnn as tg

from .. import nets, zoo


def plan_of(x, **options):
    return layout(scene(tg.graph(x), Options(**options)))


def named(plan, key):
    return next(b for b in plan.scene.boxes if b.key == key)


@pytest.mark.parametrize("level", ["op", "gate"])
@pytest.mark.parametrize("make", [nets.lstm, zoo.of("LSTM"), zoo.of("LSTM", peephole=True)])
def test_the_cell_state_runs_straight_through(make, level):
    plan = plan_of(make(), level=level)
    (passed,) = plan.scene.conveyors.values()
    times, plus = (named(plan, key) for key in passed)
    assert (times.lines[0], plus.lines[0]) == ("×", "c")
    assert times.y == plus.y
    assert times.x < plus.x
    level_parts = [p for k, p in zip(plan.scene.links, plan.paths) if k.kind == "carry"]
    assert len(level_parts) == 4
    assert all(abs(y - path[0][1]) < 0.01 for path in level_parts for _, y in path)


def test_the_state_goes_from_step_to_step_in_one_line():
    plan = plan_of(nets.lstm())
    paths = [p for k, p in zip(plan.scene.links, plan.paths) if k.kind == "state" and k.source.lines[0] == "c"]
    assert len(paths) == 3
    assert all(abs(y - path[0][1]) < 0.01 for path in paths for _, y in path)


def test_leftward_states_run_through_from_the_right():
    ys = tg.nn.LSTM(3, 4, bidirectional=True, generator=0)(zoo.ones(2, 3, 3)).outputs
    plan = plan_of(ys)
    there, back = ([named(plan, k) for k in keys] for keys in plan.scene.conveyors.values())
    assert there[0].x < there[1].x
    assert back[0].x < back[1].x
    assert [b.lines[0] for b in (*there, *back)] == ["×", "c", "c", "×"]


def test_a_gru_mixes_its_state_elsewhere():
    plan = plan_of(zoo.of("GRU")(), level="gate")
    assert all(len(keys) > 1 for keys in plan.scene.conveyors.values())


@pytest.mark.parametrize("view", ["unrolled", "rolled"])
@pytest.mark.parametrize("level", ["op", "gate", "cell"])
def test_the_leftward_lane_stands_above_the_other(view, level):
    for kind in ("RNN", "LSTM", "GRU"):
        ys = getattr(tg.nn, kind)(3, 4, bidirectional=True, generator=0)(zoo.ones(2, 3, 3)).outputs
        plan = plan_of(ys, level=level, view=view)
        first = plan.columns[0].boxes
        waits = {k.source: k.target for k in plan.scene.links if k.source.form == "delay"}
        states = [(k.source, waits.get(k.target, k.target)) for k in plan.scene.links if k.kind in ("state", "delay")]
        rows = {box.key: box.y for box in first}
        there = {rows[b.key] for pair in states for b in pair if "forward" in b.scope and b.key in rows}
        back = {rows[b.key] for pair in states for b in pair if "backward" in b.scope and b.key in rows}
        assert max(there) < min(back)


def test_two_layers_in_two_directions_are_four_lanes():
    ys = tg.nn.RNN(3, 4, 2, bidirectional=True, generator=0)(zoo.ones(2, 3, 3)).outputs
    boxes = plan_of(ys, level="cell").columns[0].boxes
    cells = sorted((b.y, b.scope[-2:]) for b in boxes if len(b.scope) > 2)
    expected = [(layer, way) for layer in ("layer0", "layer1") for way in ("forward", "backward")]
    assert [name for _, name in cells] == expected
