"""The laws of pictures hold in every view, at every level, in both directions."""

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

LEVELS = ("op", "gate", "cell", "layer", "model")
WAYS = [*(("unrolled", level) for level in LEVELS), *(("rolled", level) for level in LEVELS), ("elided", "op"),
        ("elided", "cell"), ("tree", "op"), ("tree", "cell")]  # fmt: skip
ways = st.builds(dict, view=st.sampled_from(["unrolled", "rolled", "elided", "tree", "auto"]),
                 level=st.sampled_from(LEVELS))  # fmt: skip


@pytest.mark.parametrize("name", zoo.ZOO)
def test_known_networks(name):
    g = tg.graph(zoo.ZOO[name]())
    for view, level in WAYS:
        assert not broken(layout(scene(g, Options(view=view, level=level)))), (view, level)
    if any(t.place.backward for t in g.nodes):
        for view in ("unrolled", "rolled"):
            assert not broken(layout(scene(g, Options(view=view, direction="backward")))), view


@given(zoo.layers(), st.integers(1, 4), ways, st.sampled_from([None, "forward", "backward"]), st.booleans())
def test_layers_of_the_library(layers, T, way, direction, legend):
    g = tg.graph(layers.run(T))
    if not layers.gradient:
        direction = None
    assert not broken(layout(scene(g, Options(**way, direction=direction, legend=legend))))


@given(nets.recipes(), st.integers(1, 9), ways, st.booleans())
def test_networks_of_any_kind(recipe, T, way, legend):
    assert not broken(layout(scene(tg.graph(recipe.run(T)), Options(**way, legend=legend))))


@given(nets.recipes(), st.integers(4, 8), st.tuples(st.integers(0, 3), st.integers(0, 7)))
def test_a_part_of_the_steps(recipe, T, ends):
    whole = tg.graph(replace(recipe, summed=True).run(T))
    assert not broken(layout(scene(whole, Options(steps=(ends[0], max(ends))))))
