"""What can be drawn: tensors, graphs, modules, functions, programs and errors; and what is laid over a picture."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from tinygrad_rnn.viz.drawing import planned
from tinygrad_rnn.viz.read.options import Options
from tinygrad_rnn.viz.read.subject import gradients, highlighted, is_tree, scaled, subject

import tinygrad_rnn as tg
from tinygrad_rnn import nn, viz

from .. import nets


def ids(x, *inputs, direction=None, **options):
    given = subject(x, inputs, direction=direction)
    return {box.id for box in planned(given, Options(direction=direction, **options)).scene.boxes}


class TestWhatIsDrawn:
    def test_tensors_nested_in_any_way(self):
        x = tg.ones(2).named("x")
        a, b = (x * 2).named("a"), (x + 1).named("b")
        assert ids([a, b]) == ids({"one": a, "other": (b,)}) == ids(tg.graph([a, b])) == {"x", "a", "b"}

    def test_what_a_module_gives_for_an_example(self):
        layer, x = nn.LSTM(3, 4), np.ones((1, 2, 3), np.float32)
        assert ids(layer, x) == ids(layer(tg.tensor(x, name="x")))

    def test_a_shape_is_enough(self):
        picture = viz.draw(nn.RNN(3, 4), (1, 2, 3), level="cell")
        assert "(1, 2, 4)" in picture.dot

    def test_named_results(self):
        out = nn.RNN(3, 4)(tg.ones((1, 2, 3)))
        assert ids(out) == ids([out.outputs, out.state, out.last])

    def test_a_function(self):
        assert ids(lambda x: tg.tanh(x).named("y"), np.ones(2)) == {"x", "y"}

    def test_a_program_is_drawn_as_it_runs(self):
        step = tg.compile(lambda x: (tg.tanh(x) * 1).named("y"))
        program = step.program(np.ones(2))
        assert viz.to_dot(step, np.ones(2)) == viz.to_dot(program) == viz.to_dot(program.rewritten)

    @pytest.mark.parametrize(
        ("x", "inputs", "message"),
        [
            (None, (), "expected tensors"),
            ("x", (), "expected tensors"),
            (3, (), "expected tensors"),
            ([1, 2], (), "draw: the function must give tensors|expected tensors"),
            (tg.ones(2), (1,), "a Tensor takes no inputs"),
            (tg.tanh, (), r"is called with nothing[\s\S]*tg\.viz\.draw\(model, x\)"),
            (tg.compile(tg.tanh), (), "has no program yet"),
            (ValueError("no"), (), "this ValueError does not say which tensors"),
        ],
    )
    def test_what_cannot_be_drawn(self, x, inputs, message):
        with pytest.raises(TypeError, match=message):
            viz.draw(x, *inputs)

    def test_options_are_checked(self):
        y = tg.ones(2) * 2
        for options, message in [
            ({"view": "round"}, "no view 'round'[\\s\\S]*rolled"),
            ({"level": "atom"}, "no level 'atom'[\\s\\S]*gate"),
            ({"show": {"colour"}}, "cannot show 'colour'[\\s\\S]*gradnorm"),
            ({"direction": "up"}, "no direction 'up'"),
            ({"theme": "sepia"}, "no theme 'sepia'"),
            ({"max_nodes": 0}, "max_nodes[\\s\\S]*at least 1"),
            ({"highlight": "nobody"}, "nothing to highlight is called 'nobody'"),
        ]:
            with pytest.raises(ValueError, match=message):
                viz.draw(y, **options)
        with pytest.raises(TypeError, match=r"steps[\s\S]*\(first, last\)"):
            viz.draw(y, steps=3)


class TestErrors:
    def test_an_operation_that_failed_is_drawn_in_red_with_both_shapes(self):
        x, W = tg.ones((2, 3)).named("x"), tg.tanh(tg.ones((4, 5))).named("W")
        with pytest.raises(tg.errors.ShapeError) as caught:
            x @ W
        picture = viz.draw(caught.value)
        line = next(line for line in picture.dot.splitlines() if line.startswith('"failed"'))
        assert 'label="matmul\\n(2, 3) , (4, 5)"' in line
        assert "#b3261e" in line
        assert '"x" -> "failed"' in picture.dot
        assert '"W" -> "failed"' in picture.dot

    def test_inside_a_loop_it_stands_in_its_step(self):
        h, W = tg.zeros((1, 3)), nets.weight("W", 3, 3)
        for _ in tg.steps(2):
            h = tg.tanh(h @ W).named("h")
        with pytest.raises(tg.errors.ShapeError) as caught, tg.timestep(2):
            h @ nets.weight("V", 5, 5)
        dot = viz.draw(caught.value).dot
        assert '"t1/h" -> "failed"' in dot

    def test_the_node_that_gave_nan(self):
        with pytest.raises(tg.errors.AnomalyError) as caught, tg.detect_anomaly():
            tg.log(tg.tensor([-1.0], name="x")).named("y")
        assert viz.draw(caught.value).dot


class TestDirection:
    def test_the_gradient_is_recorded_if_it_is_not_there(self):
        loss = nets.char_rnn(T=2)[0]
        forward, both = ids(loss), ids(loss, direction="both")
        assert forward < both
        assert {"∂W_h", "∂E"} <= {i.split("/")[-1] for i in both}
        assert ids(loss, direction="forward") == forward

    def test_backward_has_only_the_gradient_and_what_it_looks_at(self):
        loss = nets.char_rnn(T=2)[0]
        backward = ids(loss, direction="backward")
        assert "t1/h" in backward
        assert "loss" not in backward or "logits" in backward
        assert backward < ids(loss, direction="both")

    def test_nothing_to_differentiate(self):
        with pytest.raises(ValueError, match="there is no gradient to draw"):
            viz.draw(tg.tensor([1, 2]) + 1, direction="backward")


class TestOverlays:
    def test_gradients_are_those_of_the_engine(self):
        loss, weights = nets.char_rnn(T=3)
        found = gradients(tg.graph(loss))
        for W, g in zip(weights, tg.grad(loss, weights)):
            np.testing.assert_allclose(found[W.serial].data, g.data, rtol=1e-6)

    def test_norms_are_written_and_coloured(self):
        dot = viz.draw(nets.char_rnn(T=3)[0], show={"gradnorm"}, legend=True).dot
        assert dot.count("‖∂‖") >= 9
        assert "gradient norm" in dot

    def test_a_gradient_that_vanishes_is_seen(self):
        h, W = tg.ones((1, 2)), tg.parameter(np.eye(2) * 0.1)
        for _ in tg.steps(6):
            h = (h @ W).named("h")
        heat = subject(h.sum()).overlay(Options(show=frozenset({"gradnorm"}))).heat
        hs = [heat[t.serial] for t in tg.graph(h).by_name("h")]
        assert all(a < b for a, b in pairwise(hs))

    def test_values_dtypes_parameters_and_lines(self):
        y = (tg.tensor([1.0, 2.5], name="x") * nets.weight("W", 2)).named("y")
        dot = viz.draw(y, show={"shape", "dtype", "value", "params", "source"}).dot
        assert "(2,) float32" in dot
        assert "1, 2.5" in dot
        assert "W (2,)" in dot
        assert "test_subject.py:" in dot

    def test_flops_and_times_of_a_program(self):
        step = tg.compile(lambda x: (x @ x).sum())
        x = np.ones((8, 8))
        assert "1.02 k FLOPs" in viz.draw(step, x, show={"flops"}).dot
        assert " ns" in viz.draw(step, x, show={"time"}).dot
        with pytest.raises(TypeError, match="flops of what has not been compiled"):
            viz.draw(tg.ones(2) * 2, show={"flops"})
        with pytest.raises(TypeError, match="times need a run"):
            viz.draw(step.program(x), show={"time"})

    def test_highlight_fades_the_rest(self):
        h = nets.lstm(T=2)
        dot = viz.draw(h, highlight=["c", h]).dot
        faded = [line for line in dot.splitlines() if "#b9bfc9" in line and " -> " not in line]
        lit = [line for line in dot.splitlines() if "#b34700" in line and " -> " not in line]
        assert {line.split('"')[1] for line in lit if not line.startswith("graph")} == {"t0/c", "t1/c", "t1/h"}
        assert faded

    def test_a_path_is_lit_with_what_lies_between_its_names(self):
        loss, (_, _, W_h, _) = nets.char_rnn(T=3)
        h = {t.time: t for t in tg.graph(loss).by_name("h")}
        path = SimpleNamespace(tensors=(h[2], h[1], W_h))
        whole = tg.graph(loss)
        found = {whole.ids[s] for s in highlighted(whole, path)}
        assert {"t2/h", "t1/h", "W_h"} < found
        inside = {i for i in found if i not in ("t2/h", "t1/h", "W_h")}
        assert {i.split("/")[0] for i in inside} == {"t1", "t2"}
        assert not any("slice" in i for i in inside)

    def test_the_flow_of_gradients_colours_a_picture(self):
        model = tg.nn.RNN(2, 3, generator=0)
        found = tg.bptt.flow(lambda xs: (model(xs).last ** 2).sum(), np.ones((1, 5, 2), np.float32))
        heat = subject(found.loss).overlay(Options(), heat=found).heat
        whole = tg.graph(found.loss)
        states = [heat[t.serial] for t in whole.by_name("h")]
        assert len(states) == 5
        assert all(a < b for a, b in pairwise(states))
        assert viz.draw(found.loss, heat=found, legend=True).dot.count("gradient norm") == 2

    def test_any_numbers_colour_a_picture(self):
        x = tg.ones(2).named("x")
        y = (x * 2).named("y")
        assert viz.draw(y, heat={x: 1.0, "y": 2}).dot == viz.draw(y, heat={x.serial: 1.0, y.serial: 2.0}).dot
        with pytest.raises(ValueError, match="heat of 'z'"):
            viz.draw(y, heat={"z": 1})
        with pytest.raises(TypeError, match="a dict of numbers, or a flow"):
            viz.draw(y, heat=3)

    def test_a_scale_of_numbers(self):
        heat, ends = scaled({1: 1.0, 2: 10.0, 3: 100.0, 4: 0.0, 5: float("inf")})
        assert heat == {1: 0.0, 2: pytest.approx(0.5), 3: 1.0, 4: 0.0, 5: 1.0}
        assert ends == ("1", "1e+02")
        assert scaled({1: 0.0}) == ({}, ("", ""))


class TestTrees:
    def test_a_module_called_on_its_own_results(self):
        cell = nn.Linear(4, 2)
        leaves = [tg.ones((1, 2)) for _ in range(4)]
        low = [cell(tg.concatenate(leaves[k : k + 2], 1)) for k in (0, 2)]
        top = cell(tg.concatenate(low, 1))
        assert is_tree(tg.graph(top))
        assert viz.draw(top).dot == viz.draw(top, view="tree", level="cell").dot

    def test_not_a_stack_of_layers(self):
        cell = nn.Linear(2, 2)
        assert not is_tree(tg.graph(cell(cell(tg.ones((1, 2))))))

    def test_not_a_loop(self):
        assert not is_tree(tg.graph(nets.lstm()))


class TestCompare:
    def test_what_a_rewrite_changed(self):
        program = tg.compile(lambda x: (tg.tanh(x) * 1).sum().named("s")).program(np.ones(3))
        dot = viz.compare(program).dot
        assert "before: " in dot
        assert "after: " in dot
        changed = [line for line in dot.splitlines() if "#b3261e" in line]
        assert len(changed) == 1
        assert "×" in changed[0]

    def test_two_graphs_that_are_the_same(self):
        dot = viz.compare(nets.lstm(), nets.lstm()).dot
        assert "#b3261e" not in dot
        assert '"before/t0/c"' in dot
        assert '"after/t0/c"' in dot

    def test_one_alone(self):
        with pytest.raises(TypeError, match="compare: one thing alone"):
            viz.compare(tg.ones(2))
