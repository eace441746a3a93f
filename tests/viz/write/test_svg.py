"""SVG without a renderer: golden files, the scene's counts, any text, dark pages."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tinygrad_rnn.viz.scene import theme
from tinygrad_rnn.viz.write import strokes, svg

import tinygrad_rnn as tg

from .. import nets
from ..plans import by_hand, chain, plan_of, texts

GOLDEN = Path(__file__).parents[1] / "golden"
SVG = "{http://www.w3.org/2000/svg}"
DRAWN = {"truncated": nets.truncated, "gradient": nets.gradient}


def parsed(plan):
    return ET.fromstring(svg.written(plan))


def groups(root, kind):
    return [g for g in root.iter(f"{SVG}g") if kind in g.get("class").split()]


def shown(group):
    return [t.text for t in group.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", DRAWN)
def test_golden(name, same_as_golden):
    same_as_golden(GOLDEN / f"{name}.svg", svg.written(plan_of(DRAWN[name]())))


@given(nets.recipes(), st.integers(1, 3))
def test_all_of_the_scene_is_there(recipe, T):
    plan = plan_of(recipe.run(T))
    root = parsed(plan)
    assert [shown(g) for g in groups(root, "node")] == [list(b.lines) for b in plan.scene.boxes]
    assert [shown(g) for g in groups(root, "cluster")] == [[f"t = {c.time}"] for c in plan.columns]
    ids = {g.get("id"): g.find(f"{SVG}title").text for g in groups(root, "node")}
    assert len(ids) == len(plan.scene.boxes)
    ends = [(ids[g.get("data-source")], ids[g.get("data-target")]) for g in groups(root, "edge")]
    assert ends == [(k.source.id, k.target.id) for k in plan.scene.links]


@given(nets.recipes())
def test_coordinates_are_the_layout_s(recipe):
    plan = plan_of(recipe.run(2))
    root = parsed(plan)
    for box, group in zip(plan.scene.boxes, groups(root, "node")):
        assert drawn(group, plan.size[1]) == pytest.approx((box.x, box.y, box.width), abs=0.2)
    for path, group in zip(plan.paths, groups(root, "edge")):
        line, arrow = (p.get("d") for p in group.iter(f"{SVG}path"))
        first, last = numbers(line)[:2], numbers(arrow)[:2]
        assert (first[0], plan.size[1] - first[1]) == pytest.approx(path[0], abs=0.06)
        assert (last[0], plan.size[1] - last[1]) == pytest.approx(path[-1], abs=0.06)


def drawn(group, height):
    """The middle and the width of a box or a circle."""
    circle = group.find(f"{SVG}circle")
    if circle is not None:
        x, y, r = (float(circle.get(k)) for k in ("cx", "cy", "r"))
        return x, height - y, 2 * r
    x, y, w, h = (float(group.find(f"{SVG}rect").get(k)) for k in ("x", "y", "width", "height"))
    return x + w / 2, height - y - h / 2, w


def numbers(text):
    return [float(n) for n in re.findall(r"-?[\d.]+", text)]


@example("</svg>", "\ud800\x00\ufffe\n\t")
@given(texts, texts)
def test_any_text_comes_back(first, second):
    plan = plan_of((tg.ones(2).named(first) * 2).named(second))
    root = parsed(plan)
    for box, group in zip(plan.scene.boxes, groups(root, "node")):
        assert group.find(f"{SVG}title").text == strokes.visible(box.id)
        assert shown(group) == [strokes.visible(line) for line in box.lines]
    assert len({g.get("id") for g in groups(root, "node")}) == len(plan.scene.boxes)


@given(texts)
def test_any_text_of_edges_and_columns_comes_back(text):
    root = parsed(by_hand(text))
    assert [shown(g) for g in groups(root, "edge")] == [
        [strokes.visible(f"{text} {kind}")] for kind in ("data", "state", "saved", "cut", "attention")
    ]
    assert shown(groups(root, "cluster")[0]) == [strokes.visible(f"step {text}")]


def test_what_no_text_can_hold_is_marked():
    assert strokes.visible("a\n\tb\x00\x85\ud800\uffff") == "a  b\ufffd\ufffd\ufffd\ufffd"


def test_forms():
    box, circle, square, gap = groups(parsed(by_hand()), "node")
    tags = [[e.tag.removeprefix(SVG) for e in g] for g in (box, circle, square, gap)]
    assert tags == [["title", "rect", "text", "text"], ["title", "circle", "text"], ["title", "rect", "text"],
                    ["title", "text"]]  # fmt: skip
    assert square.find(f"{SVG}rect").get("fill") == theme.LIGHT.ink
    above = float(square.find(f"{SVG}text").get("y"))
    assert above < float(square.find(f"{SVG}rect").get("y"))


def test_kinds_of_edges():
    edges = [[dict(p.attrib) for p in g.iter(f"{SVG}path")] for g in groups(parsed(by_hand()), "edge")]
    widths = [float(line["stroke-width"]) for line, _ in edges]
    assert widths[1] > widths[0] == widths[4] > widths[2]
    assert ["stroke-dasharray" in line for line, _ in edges] == [False, False, True, True, False]
    assert [tip["fill"] == "none" for _, tip in edges] == [False, False, False, True, False]


def test_steps_left_out_are_marked():
    marks = [t for t in parsed(plan_of(nets.lstm(5), steps=(1, 2))).iter(f"{SVG}text") if t.get("class") == "mark"]
    assert len(marks) == 2
    assert not [t for t in parsed(plan_of(nets.lstm(2))).iter(f"{SVG}text") if t.get("class") == "mark"]


def test_it_can_be_read_aloud():
    root = parsed(plan_of(nets.lstm()))
    assert root.get("role") == "img"
    assert [root[0].tag, root[1].tag] == [f"{SVG}title", f"{SVG}desc"]
    assert root[0].text == "Graph of t3/h"
    assert root[1].text == "74 boxes and 88 edges in 4 time steps, 0 to 3; 8 edges carry states between them."


def test_outputs_that_are_many():
    t = tg.ones(2).named("x")
    assert parsed(plan_of([(t * k).named(f"y{k}") for k in range(5)]))[0].text == "Graph of y0, y1, y2 and 2 more"


def test_no_references_leave_the_picture():
    text = svg.written(plan_of(nets.gradient()))
    assert "url(" not in text
    assert "href" not in text


class TestWidth:
    def test_only_text_too_wide_for_its_box_is_pressed(self):
        plan = plan_of([tg.ones(2).named("W" * 20), tg.ones(2).named("i" * 20), tg.ones(2).named("中" * 20)])
        pressed = {t.text[0]: t.get("textLength") for t in parsed(plan).iter(f"{SVG}text") if t.text != "(2,)"}
        assert pressed.keys() == {"W", "i", "中"}
        assert float(pressed["W"]) == float(pressed["中"]) == pytest.approx(plan.scene.boxes[0].width - 4, abs=0.1)
        assert pressed["i"] is None

    def test_known_widths(self):
        assert strokes.width_of("", 10) == 0
        assert strokes.width_of("iM", 10) == pytest.approx(2.22 + 8.33)
        assert strokes.width_of("~ ", 10) == pytest.approx(5.84 + 2.78)
        assert strokes.width_of("e\u0301", 10) == strokes.width_of("e", 10)


class TestDark:
    def test_every_colour_of_the_theme_is_turned_over(self):
        text = svg.written(plan_of(nets.gradient()))
        style = re.search("<style>(.*)</style>", text)[1]
        turned = set(re.findall(r'\[fill="(#\w+)"\]', style))
        used = set(re.findall(r'fill="(#\w+)"', text.replace(style, "")))
        assert used - turned == {"#ffffff"}
        assert ".paper{fill:" in style
        assert "&" not in style

    def test_contrast(self):
        palette = theme.LIGHT
        looks = [look for kind, look in palette.fills.items() if kind not in ("mark", "faded")]
        for look in (*looks, *palette.states):
            assert contrast(svg.dark(palette.ink), svg.dark(look.fill)) > 7
            assert contrast(svg.dark(look.line), svg.dark("#ffffff")) > 3
        for line in (palette.data, palette.saved, palette.cut, palette.backward_state, palette.column, palette.lit):
            assert contrast(svg.dark(line), svg.dark("#ffffff")) > 3

    def test_colours_that_stand_for_numbers_stay(self):
        for fill, ink in (("#fde725", "#000000"), ("#440154", "#ffffff")):
            plan = by_hand(fill=fill)
            text = svg.written(plan)
            assert f'[fill="{fill}"]' not in text
            label = groups(ET.fromstring(text), "node")[0].find(f"{SVG}text")
            assert label.get("style") == f"fill:{ink}"  # which a style sheet cannot change
            assert label.get("fill") is None


def contrast(a, b):
    light, dark = sorted((strokes.luminance(a), strokes.luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_on_any_colour_can_be_read():
    for step in range(0, 256, 15):
        for fill in (f"#{step:02x}{step:02x}{step:02x}", f"#{step:02x}00ff", f"#00{step:02x}00"):
            assert contrast(strokes.ink(fill, theme.LIGHT), fill) >= 4.5


@pytest.mark.parametrize("timed", [True, False])
def test_a_chain_of_twenty_thousand(timed):
    text = svg.written(plan_of(chain(timed=timed)))
    assert Counter(re.findall('<g [^>]*class="(node|edge|cluster)', text)) == {
        "node": 20_001, "edge": 20_000, **({"cluster": 20_000} if timed else {})
    }  # fmt: skip


def test_nothing_at_all():
    assert groups(parsed(plan_of([])), "node") == []
