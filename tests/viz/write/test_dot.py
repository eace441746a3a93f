"""DOT text: golden files, determinism, any name, any size."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tinygrad_rnn.viz.scene import theme

import tinygrad_rnn as tg
from tinygrad_rnn import viz

from .. import nets

GOLDEN = Path(__file__).parents[1] / "golden"
DRAWN = {
    "char_rnn": lambda: nets.char_rnn()[0],
    "lstm": nets.lstm,
    "timeless": nets.timeless,
    "gradient": nets.gradient,
    "truncated": nets.truncated,
}


@pytest.mark.parametrize("name", DRAWN)
def test_golden(name, same_as_golden):
    same_as_golden(GOLDEN / f"{name}.dot", viz.to_dot(DRAWN[name]()))


def test_the_same_in_every_process():
    code = "from tests.viz import nets; from tinygrad_rnn import viz; print(viz.to_dot(nets.gradient()))"
    root = Path(__file__).parents[3]
    texts = {
        subprocess.run([sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONHASHSEED": seed},
                       capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(texts) == 1
    assert texts.pop().decode().strip() == viz.to_dot(nets.gradient()).strip()


def test_a_tensor_tensors_and_a_graph_give_the_same():
    y = nets.lstm()
    assert viz.to_dot(y) == viz.to_dot([y]) == viz.to_dot(tg.graph(y))


def test_not_a_tensor():
    with pytest.raises(TypeError, match="expected tensors, got str"):
        viz.to_dot(["x"])


def test_no_outputs():
    assert viz.to_dot([]).startswith("digraph")


_STRING = r'"(?:[^"\\]|\\.)*"'
_LINE = re.compile(
    rf'(digraph "graph" \{{|\}}|subgraph {_STRING} \{{|(?:graph|node|edge|{_STRING}(?: -> {_STRING})?) '
    rf"\[(?: ?\w+=(?:{_STRING}|[\w.]+))*\];)"
)


@example(["\ud800", "\x00", "a%00"])
@given(st.lists(st.text(min_size=1), min_size=2, max_size=4))
def test_no_name_breaks_the_text(names):
    t = tg.ones(2).named(names[0])
    for name in names[1:]:
        t = (t * 2).named(name)
    lines = viz.to_dot(t).rstrip("\n").split("\n")
    assert [line for line in lines if not _LINE.fullmatch(line)] == []
    assert len({line.split(" [")[0] for line in lines if line.startswith('"')}) == 2 * len(names) - 1
    "\n".join(lines).encode("utf-8")


def test_names_are_shown_letter_by_letter():
    text = viz.to_dot((tg.ones(2) * 2).named('a\\n"b"&lt;<i>\n'))
    assert r'label="a\\n\"b\"&amp;lt;<i> \n× 2\n(2,)"' in text


def test_long_names_are_cut_in_the_box_only():
    name = "n" * 100
    text = viz.to_dot((tg.ones(2) * 2).named(name))
    assert f'label="{"n" * (theme.MAX_CHARS - 1)}…\\n' in text
    assert f'tooltip="{name}"' in text


@pytest.mark.parametrize("timed", [True, False])
def test_a_chain_of_twenty_thousand(timed):
    t = tg.ones(2)
    for _ in tg.steps(20_000) if timed else range(20_000):
        t = tg.tanh(t)
    assert viz.to_dot(t, view="unrolled", max_nodes=30_000).count(" -> ") == 20_000
    if timed:
        assert viz.to_dot(t, view="rolled").count(" -> ") == 3


def test_a_deep_step_and_long_edges_stay_linear():
    """Edges past many boxes take no room in every row that they pass."""
    first = t = tg.ones(2).named("x")
    for _ in range(1500):
        t = tg.tanh(t) + first
    assert len(viz.to_dot(t, max_nodes=10_000)) < 2_000_000


def luminance(color):
    channels = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", theme.PALETTES)
def test_contrast(name):
    palette = theme.palette(name)
    boxes = [look for kind, look in palette.fills.items() if kind != "mark"]
    assert all(contrast(palette.ink, look.fill) > 7 for look in (*boxes, *palette.states, *palette.gates))
    assert all(contrast(palette.ink, theme.heat(palette, v / 10)) > 4.5 for v in range(11))
    assert all(contrast(look.line, palette.page) > 3 for kind, look in palette.fills.items() if kind != "faded")
    assert all(contrast(look.line, palette.page) > 3 for look in (*palette.states, *palette.gates))
    assert contrast(palette.saved, palette.page) > 3
    assert len({look.line for look in palette.states}) == (1 if name == "print" else len(palette.states))


def test_states_differ_in_print_too():
    """On a greyscale print the boxes of neighbouring states differ in brightness or are told apart by their names."""
    for palette in theme.PALETTES.values():
        bright = sorted(luminance(look.fill) for look in palette.gates)
        assert all(b / a > 1.02 for a, b in pairwise(bright))
    assert len({look.fill for look in theme.palette("print").states}) > 1


def test_no_such_theme():
    with pytest.raises(ValueError, match=r"there is no theme 'sepia'[\s\S]*one of light, dark, print"):
        theme.palette("sepia")
