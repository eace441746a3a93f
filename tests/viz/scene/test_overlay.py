"""What is laid over a picture: colours by kind and theme, what is lit, gradients, legends, errors."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad_rnn.viz.layout.layout import layout
from tinygrad_rnn.viz.read.options import FailedOp, Options, Overlay
from tinygrad_rnn.viz.read.subject import scaled
from tinygrad_rnn.viz.scene import theme
from tinygrad_rnn.viz.scene.build import scene

import tinygrad_rnn as tg
from tinygrad_rnn import viz

from .. import nets
from ..picture_laws import broken


def brightness(color):
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in theme._channels(color)]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(a, b):
    low, high = sorted((brightness(a), brightness(b)))
    return (high + 0.05) / (low + 0.05)


class TestThemes:
    @pytest.mark.parametrize("name", theme.PALETTES)
    def test_text_can_be_read(self, name):
        palette = theme.palette(name)
        looks = [look for kind, look in palette.fills.items() if kind != "mark"] + list(palette.states)
        assert all(contrast(palette.ink, look.fill) >= 7 for look in looks)
        assert contrast(palette.ink, palette.page) >= 7
        assert all(contrast(palette.ink, theme.heat(palette, v / 10)) >= 4.5 for v in range(11))

    @pytest.mark.parametrize("name", theme.PALETTES)
    def test_edges_can_be_seen(self, name):
        palette = theme.palette(name)
        lines = [palette.data, palette.cut, palette.backward_state, palette.lit, *(s.line for s in palette.states)]
        assert all(contrast(line, palette.page) >= 4.5 for line in lines)

    def test_print_is_grey(self):
        palette = theme.palette("print")
        colors = [c for look in (*palette.fills.values(), *palette.states) for c in (look.fill, look.line)]
        assert all(len(set(theme._channels(c))) == 1 for c in (*colors, palette.data, palette.hot))

    def test_no_such_theme(self):
        with pytest.raises(ValueError, match=r"no theme 'sepia'[\s\S]*light, dark, print"):
            viz.draw(nets.lstm(), theme="sepia")

    def test_the_same_places_in_all(self):
        plans = [layout(scene(tg.graph(nets.lstm()), Options(theme=name))) for name in theme.PALETTES]
        assert plans[0].paths == plans[1].paths == plans[2].paths


class TestLegend:
    def test_a_kind_is_explained_once(self):
        s = scene(tg.graph(nets.gradient()), Options(legend=True))
        said = [text for text, _ in s.legend]
        assert len(said) == len(set(said))
        assert {"gradient", "state h"} <= set(said)

    def test_it_stands_below_everything(self):
        plan = layout(scene(tg.graph(nets.lstm()), Options(legend=True)))
        entries = [b for b in plan.scene.boxes if b.id.startswith("legend/")]
        others = [b for b in plan.scene.boxes if not b.id.startswith("legend/")]
        assert entries
        assert max(b.y + b.height / 2 for b in entries) < min(b.y - b.height / 2 for b in others)
        assert not broken(plan)

    def test_none_unless_asked_for(self):
        assert not scene(tg.graph(nets.lstm()), Options()).legend

    def test_heat_has_its_ends(self):
        overlay = Overlay(heat_name="gradient norm", heat_ends=("1e-3", "2"), heat={0: 1.0})
        s = scene(tg.graph(nets.lstm()), Options(legend=True), overlay)
        assert [text for text, _ in s.legend][-2:] == ["gradient norm 1e-3", "gradient norm 2"]


class TestLit:
    def test_all_else_fades(self):
        h = nets.lstm()
        g = tg.graph(h)
        s = scene(g, Options(), Overlay(lit={h.serial}))
        assert [b.id for b in s.boxes if not b.faded] == [g.ids[h.serial]]
        assert all(k.faded for k in s.links)

    def test_a_group_is_lit_by_its_members(self):
        g = tg.graph(nets.lstm())
        gate = next(t for t in g.nodes if t.name == "f")
        s = scene(g, Options(level="cell"), Overlay(lit={gate.serial}))
        assert [b.column for b in s.boxes if not b.faded] == [0]

    def test_a_path_through_time(self):
        g = tg.graph(nets.lstm())
        s = scene(g, Options(), Overlay(lit={t.serial for t in g.nodes if t.name == "c"}))
        lit = {(k.source.id, k.target.id): k.faded for k in s.links if k.kind == "state"}
        assert all(lit.values()), "c goes on through a product that is not lit"

    def test_by_name(self):
        drawing = viz.draw(nets.lstm(), highlight="c")
        assert sum(not b.faded for b in drawing._plan.scene.boxes) == 4

    def test_an_unknown_name(self):
        with pytest.raises(ValueError, match="nothing to highlight is called 'q'"):
            viz.draw(nets.lstm(), highlight="q")


class TestGradients:
    def test_norms_colour_the_boxes(self):
        plan = viz.draw(nets.lstm(6), show={"gradnorm"})._plan
        fills = {b.look.fill for c in plan.columns for b in c.boxes}
        assert len(fills) > 2
        assert sum(any(line.startswith("‖∂‖") for line in b.lines) for b in plan.scene.boxes) > 50

    def test_the_scale(self):
        heat, ends = scaled({1: 1e-4, 2: 1e-2, 3: 1.0, 4: 0.0, 5: np.inf})
        assert heat == pytest.approx({1: 0, 2: 0.5, 3: 1, 4: 0, 5: 1})
        assert ends == ("0.0001", "1")

    def test_nothing_to_scale(self):
        assert scaled({1: 0.0}) == ({}, ("", ""))


class TestErrors:
    def failed(self):
        x = tg.ones((2, 3)).named("x")
        h = tg.tanh(x).named("h")
        with pytest.raises(Exception) as caught:  # noqa: PT011
            h @ nets.weight("W", 4, 5)
        return caught.value

    def test_the_graph_so_far_with_the_failing_operation(self):
        plan = viz.draw(self.failed())._plan
        (box,) = (b for b in plan.scene.boxes if b.id == "failed")
        assert box.lines == ("matmul", "(2, 3) , (4, 5)")
        assert box.look == plan.scene.palette.fills["failed"]
        assert {"x", "h"} <= {b.id for b in plan.scene.boxes}
        assert any((k.source.id, k.target.id) == ("h", "failed") for k in plan.scene.links)
        assert not broken(plan)

    def test_in_a_step(self):
        h = tg.zeros(3).named("h0")
        with pytest.raises(Exception) as caught:  # noqa: PT011, PT012
            for t in tg.steps(4):
                h = tg.tanh(h + 1 if t < 2 else h + tg.ones(4)).named("h")
        plan = viz.draw(caught.value)._plan
        (box,) = (b for b in plan.scene.boxes if b.id == "failed")
        assert box in plan.columns[2].boxes
        assert not broken(plan)

    def test_what_was_lost_on_the_way(self):
        with pytest.raises(TypeError, match="does not say which tensors"):
            viz.draw(ValueError("no tensors"))

    def test_inputs_that_are_left_out(self):
        g = tg.graph(nets.lstm())
        lost = FailedOp("matmul", (tg.ones(2), tg.ones(3)), "no")
        boxes = scene(g, Options(), Overlay(failure=lost)).boxes
        assert [b.id for b in boxes if b.lines[:1] == ("matmul",)] == ["failed"]
