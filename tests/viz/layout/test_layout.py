"""Laws of the time grid, on random recurrent networks and on known ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinygrad_rnn.viz.layout.layout import layout
from tinygrad_rnn.viz.read.options import Options
from tinygrad_rnn.viz.scene.build import scene

import tinygrad_rnn as tg

from .. import nets, zoo
from ..picture_laws import broken

known = pytest.mark.parametrize(
    "name", ["char_rnn", "lstm", "stacked", "bidirectional", "truncated", "timeless", "gradient"]
)


def plan_of(x, **options):
    return layout(scene(tg.graph(x), Options(**options)))


@known
def test_laws_hold_for_known_networks(name):
    assert not broken(plan_of(zoo.ZOO[name]()))


@given(nets.recipes(), st.integers(1, 4))
def test_laws_hold_for_random_networks(recipe, T):
    assert not broken(plan_of(recipe.run(T)))


@given(nets.recipes(), st.integers(2, 3))
def test_laws_hold_for_random_gradients(recipe, T):
    W = nets.weight("w", 2)
    ends = recipe.run(T)
    loss = tg.stack([e * W for e in (ends if isinstance(ends, list) else [ends])]).sum()
    assert not broken(plan_of([loss, tg.grad(loss, W, create_graph=True)]))


@given(nets.recipes())
def test_states_run_from_left_to_right(recipe):
    plan = plan_of(recipe.run(3))
    states = [k for k in plan.scene.links if k.kind == "state"]
    for k in states:
        assert k.source.x + k.source.width / 2 < k.target.x - k.target.width / 2
    assert len({k.color for k in states}) == len({k.source.beside or k.source.key for k in states})


@given(nets.recipes())
def test_a_step_looks_the_same_when_there_are_more_of_them(recipe):
    short, long = (places(plan_of(replace(recipe, summed=True).run(T)).columns[:2]) for T in (5, 7))
    assert short.keys() == long.keys()
    assert all(long[k] == pytest.approx(v) for k, v in short.items())


def places(columns):
    return {b.id: (b.y, b.x - c.frame[0]) for c in columns for b in c.boxes}


def test_data_flows_upwards_and_gradients_downwards():
    plan = plan_of(nets.gradient())
    for k in plan.scene.links:
        if k.kind == "data" and k.source.column == k.target.column:
            assert (k.source.y > k.target.y) == k.source.backward


def test_before_the_loop_is_below_and_after_it_above():
    plan = plan_of(nets.char_rnn()[0])
    low, high = plan.columns[0].frame[1], plan.columns[0].frame[3]
    y = {b.id: b.y for b in plan.outside}
    assert max(y["tokens"], y["xs"]) < low
    assert high < min(y["stack"], y["logits"], y["targets"], y["loss"])


def test_layers_batched_over_time_stack_up():
    """A layer that reads the whole sequence of the layer below has its steps above it."""
    xs, W = tg.ones((3, 2)).named("xs"), nets.weight("W", 2, 2)
    for layer in range(2):
        h, hs = tg.zeros(2), []
        with tg.scope(f"layer{layer}"):
            for t in tg.steps(3):
                h = tg.tanh(xs[t, :] + h).named("h")
                hs.append(h)
            xs = (tg.stack(hs) @ W).named("ys")
    plan = plan_of(xs)
    assert [(c.region, c.time) for c in plan.columns] == [(1, 0), (1, 1), (1, 2), (3, 0), (3, 1), (3, 2)]
    assert not broken(plan)


def test_initial_states_stand_at_the_height_of_their_state():
    boxes = {b.id: b for b in plan_of(nets.lstm()).scene.boxes}
    assert boxes["h0"].y == boxes["t0/h"].y
    assert boxes["c0"].y == boxes["t0/c"].y
    assert boxes["h0"].x < boxes["t0/h"].x


def test_small_leaves_are_folded():
    boxes = plan_of(nets.timeless()).scene.boxes
    assert not [b for b in boxes if b.node.op.name in ("parameter", "literal")]
    texts = [b.lines for b in boxes]
    assert ("@ W", "(2, 4)") in texts
    assert ("+ b", "(2, 4)") in texts
    assert ("1 −", "(2, 3)") in texts


def test_a_leaf_alone_is_drawn():
    plan = plan_of(nets.weight("W", 2, 2))
    assert [b.lines for b in plan.scene.boxes] == [("W", "(2, 2)")]


def test_a_cut_is_an_edge_of_its_own_kind():
    links = plan_of(nets.truncated()).scene.links
    assert [(k.source.id, k.target.node.op.name) for k in links if k.kind == "cut"] == [("t2/h", "detached")]


def test_a_cut_in_a_traced_function():
    g = tg.trace(lambda x: (tg.tanh(x).detach() * x).sum(), (2,))
    plan = plan_of(g)
    assert [k.target.node.op.name for k in plan.scene.links if k.kind == "cut"] == ["detach"]
    assert not broken(plan)


def test_second_order():
    W = nets.weight("W", 4, 4)
    h = tg.zeros((2, 4)) + 1
    for _ in tg.steps(3):
        h = tg.tanh(h @ W)
    first = tg.grad(h.sum(), W, create_graph=True)
    assert not broken(plan_of(tg.grad((first * first).sum(), W, create_graph=True)))


def test_a_parameter_made_in_a_step_opens_no_column():
    with tg.timestep(5):
        W = nets.weight("W", 2)
    with tg.timestep(7):
        plan = plan_of(tg.tanh(W))
    assert [c.time for c in plan.columns] == [7]


def test_names_with_the_number_of_the_step_still_correspond():
    h = tg.zeros(2)
    for t in tg.steps(4):
        h = tg.tanh(h * 2).named(f"h{t}")
    plan = plan_of(h)
    assert len({b.y for c in plan.columns for b in c.boxes}) == 2


class TestSteps:
    def test_only_those_steps_are_drawn(self):
        plan = plan_of(nets.char_rnn(T=9)[0], steps=(3, 5))
        assert [c.time for c in plan.columns] == [3, 4, 5]
        assert plan.scene.elided == (True, True)
        assert {"xs", "loss"} <= {b.id for b in plan.outside}
        assert not broken(plan)

    def test_none_of_them_there(self):
        with pytest.raises(ValueError, match=r"no time step lies in steps=\(7, 9\)[\s\S]*some of 0 to 3"):
            plan_of(nets.lstm(), steps=(7, 9))

    def test_no_steps_at_all(self):
        with pytest.raises(ValueError, match="no time steps"):
            plan_of(nets.timeless(), steps=(0, 1))
