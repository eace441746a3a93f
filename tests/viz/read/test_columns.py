"""Views: unrolled, rolled, elided, trees; which one `auto` takes; what is asked for that is not there."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tinygrad_rnn.viz.layout.layout import layout
from tinygrad_rnn.viz.read.options import Options
from tinygrad_rnn.viz.read.subject import is_tree
from tinygrad_rnn.viz.scene.build import scene

import tinygrad_rnn as tg
from tinygrad_rnn import viz

from .. import nets, zoo


def drawn(x, **options):
    return scene(tg.graph(x), Options(**options))


def kinds(s):
    return [(c.kind, len(c.times)) for c in s.columns]


class TestAuto:
    def test_short_sequences_are_unrolled(self):
        assert kinds(drawn(nets.lstm(8), view="auto")) == [("step", 1)] * 8

    def test_few_boxes_are_unrolled(self):
        assert len(drawn(nets.gradient(20)[0], view="auto").columns) == 20

    def test_long_ones_are_elided(self):
        assert kinds(drawn(nets.lstm(40), view="auto")) == [("step", 1)] * 2 + [("gap", 36)] + [("step", 1)] * 2

    def test_trees_are_trees(self):
        assert not viz.draw(zoo.ZOO["tree_one_by_one"]())._plan.columns

    def test_cost_is_linear_enough_for_a_hundred_thousand_nodes(self):
        h = tg.zeros((1, 2))
        for _ in tg.steps(33_000):
            h = tg.tanh(h * 2 + 1)
        assert repr(viz.draw(h)) == "<Drawing of 14 boxes, 13 edges, 5 columns for 33000 time steps>"


class TestRolled:
    def test_a_chain_is_one_step_with_a_delay(self):
        plan = layout(drawn(nets.gradient(9)[0], view="rolled"))
        assert [c.title for c in plan.columns] == ["t = 0 … 8  (×9)"]
        marks = [b for b in plan.scene.boxes if b.form == "delay"]
        assert [(b.width, b.lines) for b in marks] == [(8.0, ())]
        ends = {(k.source.id, k.target.id) for k in plan.scene.links if marks[0] in (k.source, k.target)}
        assert ends == {("t0../h", "delay1"), ("delay1", "t0../matmul")}

    def test_a_skip_has_its_number_on_the_mark(self):
        plan = layout(drawn(zoo.skipping(8, k=3), view="rolled"))
        assert sorted(b.lines for b in plan.scene.boxes if b.form == "delay") == [(), ("3",)]

    def test_a_delay_is_shared_by_all_that_wait_for_it(self):
        plan = layout(drawn(nets.lstm(6), view="rolled", level="gate"))
        waiting = Counter(k.source.id for k in plan.scene.links if k.source.form == "delay")
        assert sorted(waiting.values()) == [1, 4]  # c for its product, h for the four gates

    def test_steps_that_differ_stand_apart(self):
        s = drawn(nets.truncated(9, 3), view="rolled")
        assert [c.times for c in s.columns] == [(0, 1, 2, 4, 5, 7, 8), (3, 6)]
        assert [c.title for c in s.columns] == ["t = 0, 1, 2, …  (×7)", "t = 3, 6  (×2)"]

    def test_two_directions_wait_in_lanes_of_their_own(self):
        plan = layout(drawn(nets.bidirectional(5), view="rolled"))
        marks = sorted((b.y, b.backward) for b in plan.scene.boxes if b.form == "delay")
        assert len(marks) == 2

    def test_which_step_an_edge_is_of(self):
        x = [tg.zeros(2).named("x") for _ in range(5)]
        h, hs = tg.zeros(2), []
        for t in tg.steps(5):
            h = tg.tanh(h + x[t]).named("h")
            hs.append(h)
        s = drawn([hs[1] * hs[4], hs[2] + 1], view="rolled")
        labels = sorted((k.target.node.op.name, k.label) for k in s.links if k.target.column is None)
        assert labels == [("add", "t = 2"), ("multiply", "t = 1, 4")]

    def test_an_input_of_one_step_says_so(self):
        h, extra = tg.zeros(2).named("h0"), tg.ones(2).named("extra")
        for t in tg.steps(6):
            h = tg.tanh(h + h).named("h") if t != 5 else tg.tanh(h + extra).named("h")
        s = drawn(h, view="rolled")
        box = next(b for b in s.boxes if b.id == "extra")
        assert box.column == 1
        assert [c.times for c in s.columns] == [(0, 1, 2, 3, 4), (5,)]

    def test_a_gradient_looks_at_the_state_before(self):
        s = drawn(nets.gradient(12), view="rolled")
        assert [k.label for k in s.links if k.kind == "saved" and k.label] == ["t − 1"]


class TestElided:
    def test_first_and_last_two(self):
        s = drawn(nets.lstm(30), view="elided")
        assert [c.times[0] for c in s.columns if c.kind == "step"] == [0, 1, 28, 29]
        assert next(c for c in s.columns if c.kind == "gap").title == "⋯ 26 like this ⋯"

    def test_a_mark_for_each_state_in_the_middle(self):
        s = drawn(nets.lstm(30), view="elided")
        assert sorted(b.id for b in s.boxes if b.form == "gap") == ["t2..27/c", "t2..27/h"]

    def test_short_ones_are_whole(self):
        assert kinds(drawn(nets.lstm(5), view="elided")) == [("step", 1)] * 5

    def test_states_of_one_name_have_marks_of_their_own(self):
        s = drawn(zoo.truncated_chunks(9), view="elided")
        assert len({b.id for b in s.boxes}) == len(s.boxes)


class TestTree:
    def test_no_columns(self):
        s = drawn(nets.lstm(), view="tree")
        assert not s.columns
        assert {b.column for b in s.boxes} == {None}

    @pytest.mark.parametrize("name", ["tree_one_by_one", "tree_recursive"])
    def test_of_trees(self, name):
        assert is_tree(tg.graph(zoo.ZOO[name]()))

    @pytest.mark.parametrize("name", ["lstm", "tree_batched", "timeless", "one_to_one", "seq2seq"])
    def test_of_others(self, name):
        assert not is_tree(tg.graph(zoo.ZOO[name]()))

    def test_a_module_called_on_two_results_of_its_own(self):
        linear = tg.nn.Linear(4, 2, generator=0)
        leaves = [linear(tg.ones((1, 4)) * k) for k in range(2)]
        assert is_tree(tg.graph(linear(tg.concatenate(leaves, axis=1))))

    def test_a_chain_is_no_tree(self):
        linear = tg.nn.Linear(4, 4, generator=0)
        assert not is_tree(tg.graph(linear(linear(linear(tg.ones((1, 4)))))))


class TestWhatIsNotThere:
    def test_view(self):
        with pytest.raises(ValueError, match=r"no view 'wide'[\s\S]*unrolled"):
            drawn(nets.lstm(), view="wide")

    def test_level(self):
        with pytest.raises(ValueError, match=r"no level 'layers'[\s\S]*gate"):
            drawn(nets.lstm(), level="layers")

    def test_too_many_boxes(self):
        with pytest.raises(ValueError, match=r"903 boxes are too many[\s\S]*max_nodes=500[\s\S]*view=.rolled."):
            drawn(nets.gradient(450)[0], view="unrolled", max_nodes=500)


class TestPadding:
    def plan(self, lengths, T=4, **options):
        ys = tg.nn.LSTM(3, 4, generator=0)(tg.ones((2, T, 3)), lengths=lengths).outputs
        return layout(drawn(ys, **options))

    def test_how_many_are_there(self):
        titles = [c.title for c in self.plan([2, 3]).columns]
        assert titles == ["t = 0", "t = 1", "t = 2  (1 of 2)", "t = 3  (0 of 2)"]

    def test_padding_is_grey(self):
        plan = self.plan([2, 3])
        grey = plan.scene.palette.fills["padded"].fill
        assert [{b.look.fill == grey for b in c.boxes} for c in plan.columns] == [{False}] * 3 + [{True}]

    def test_without_lengths_nothing_is_padding(self):
        assert [c.title for c in self.plan(None).columns] == [f"t = {t}" for t in range(4)]

    def test_a_choice_that_is_no_mask_over_time(self):
        h = tg.zeros(2)
        for _ in tg.steps(3):
            h = tg.where(h > 0, h, tg.tanh(h) + 1)
        assert not any(c.padded for c in drawn(h).columns)

    def test_rolled(self):
        plan = self.plan([2, 2], T=6, view="rolled")
        assert [c.title for c in plan.columns] == ["t = 0 … 4  (×5)", "t = 5  (0 of 2)"]  # whose c nobody uses


def test_steps_that_are_asked_for_are_counted_from_both_ends():
    s = drawn(nets.lstm(9), steps=np.array([2, 3]).tolist())
    assert [c.times for c in s.columns] == [(2,), (3,)]
    assert s.elided == (True, True)
