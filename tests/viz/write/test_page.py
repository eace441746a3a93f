"""The page as text: all of the picture is in it, in safe JSON, with colours that can be read; and what details tell."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinygrad_rnn.viz.scene import theme
from tinygrad_rnn.viz.scene.contrast import NIGHT, PAPER, contrast, dark_fill, dark_line, inks
from tinygrad_rnn.viz.scene.scene import Box
from tinygrad_rnn.viz.write import page
from tinygrad_rnn.viz.write.details import details
from tinygrad_rnn.viz.write.frames import frames
from tinygrad_rnn.viz.write.mathml import formula

import tinygrad_rnn as tg

from .. import nets
from ..plans import plan_of

NETS = {
    "char_rnn": lambda: nets.char_rnn()[0], "lstm": nets.lstm, "stacked": nets.stacked, "gradient": nets.gradient,
    "bidirectional": nets.bidirectional, "truncated": nets.truncated, "timeless": nets.timeless,
}  # fmt: skip
each_net = pytest.mark.parametrize("name", NETS)
NASTY = [
    "</script>", "<!--", "]]>", "\u2028\u2029", '"', "\\", "&lt;", "\ud800", "\u202eabc", "\x00\x1b", "{{title}}",
    "é中🙂",
]  # fmt: skip
texts = st.one_of(st.text(min_size=1, max_size=12), st.sampled_from(NASTY))


class Reader(HTMLParser):
    """Collects the tags, and the text of each script, style and title."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.held, self._inside = [], [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = None
        if tag in ("script", "style", "title"):
            self._inside = [tag, dict(attrs).get("id"), ""]
            self.held.append(self._inside)

    def handle_data(self, data):
        if self._inside is not None:
            self._inside[2] += data

    def handle_endtag(self, tag):
        self._inside = None

    def text(self, tag, id=None):
        (found,) = [text for t, i, text in self.held if (t, i) == (tag, id)]
        return found


def read(x, title="A picture"):
    plan = plan_of(x)
    reader = Reader(page.written(plan, title=title))
    return plan, reader, *(json.loads(reader.text("script", f"{k}-data")) for k in ("graph", "details"))


@each_net
def test_all_of_the_picture_is_there(name):
    plan, _, graph, told = read(NETS[name]())
    assert sorted(b["id"] for b in graph["boxes"]) == sorted(b.id for b in plan.scene.boxes)
    ids = [b["id"] for b in graph["boxes"]]
    edges = sorted((ids[s], ids[t]) for s, t, *_ in graph["links"])
    assert edges == sorted((k.source.id, k.target.id) for k in plan.scene.links)
    assert [c["title"] for c in graph["columns"]] == [f"t = {c.time}" for c in plan.columns]
    assert len(told) == len(ids)


@each_net
def test_y_grows_downwards_from_the_top_left(name):
    plan, _, graph, _ = read(NETS[name]())
    places = {b.id: (b.x, plan.size[1] - b.y, b.width, b.height) for b in plan.scene.boxes}
    for box in graph["boxes"]:
        assert box["at"] == pytest.approx(places[box["id"]], abs=0.06)


@each_net
def test_edges_start_and_end_at_their_boxes(name):
    _, _, graph, _ = read(NETS[name]())
    for s, t, _, d, ends, *_ in graph["links"]:
        start = [float(v) for v in re.match(r"M(-?[\d.]+),(-?[\d.]+)", d).groups()]
        for (x, y), box in ((start, graph["boxes"][s]), (ends[2:], graph["boxes"][t])):
            u, v, w, h = box["at"]
            assert abs(x - u) <= w / 2 + 1
            assert abs(y - v) <= h / 2 + 1


@each_net
def test_the_page_is_a_pure_function_of_the_layout(name):
    x = NETS[name]()
    first, again = (page.written(plan_of(x), title="A picture") for _ in range(2))
    assert first == again
    assert page.written(plan_of(NETS[name]()), title="A picture") == first


def test_the_page_needs_nothing_from_outside():
    text = page.written(plan_of(nets.lstm()), title="A picture")
    reader = Reader(text)
    for tag, attributes in reader.tags:
        assert tag not in ("link", "img", "iframe", "base")
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    assert set(re.findall(r"https?://[\w./]+", text)) == {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML",
    }  # fmt: skip
    assert not re.search(r"url\(|@import|@font-face|\bfetch\(|XMLHttpRequest|WebSocket|innerHTML|\beval\(", text)


def test_the_policy_lets_in_the_pages_own_script_and_style_alone():
    _, reader, *_ = read(nets.lstm())
    (policy,) = [a["content"] for t, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy"]
    digests = [base64.b64encode(hashlib.sha256(reader.text(t).encode()).digest()).decode() for t in ("script", "style")]
    assert policy == f"default-src 'none'; script-src 'sha256-{digests[0]}'; style-src 'sha256-{digests[1]}'"


@settings(max_examples=60)
@given(name=texts, scope=texts.filter(lambda s: "/" not in s), title=texts)
def test_no_text_breaks_the_page(name, scope, title):
    with tg.scope(scope):
        y = (tg.ones(2).named(name) * 2).named(name[::-1])
    _, reader, graph, told = read(y, title)
    _, plain, *_ = read((tg.ones(2).named("x") * 2).named("y"))
    assert reader.tags[3:] == plain.tags[3:]  # the second is the policy, with the digest of the same script
    assert reader.text("script") == plain.text("script")
    assert graph["title"] == title
    assert [b["name"] for b in graph["boxes"]] == [name, name[::-1]]
    assert graph["boxes"][1]["scope"] == [scope]
    assert told[1]["name"] == name[::-1]
    page.written(plan_of(y), title=title).encode("utf-8")


def test_json_holds_no_letter_that_html_reads():
    _, reader, *_ = read(tg.ones(2).named("</script><!--&\u2028") * 2)
    for block in ("graph", "details"):
        assert not re.search("[<>&\u2028\u2029]|[^\x20-\x7e]", reader.text("script", f"{block}-data"))


@settings(max_examples=25)
@given(recipe=nets.recipes(), T=st.integers(1, 4))
def test_frames_are_an_order_of_computation(recipe, T):
    plan = plan_of(recipe.run(T))
    order = [box for frame in frames(plan) for box in frame.boxes]
    at = {box: k for k, box in enumerate(order)}
    assert len(at) == len(plan.scene.boxes)
    assert all(at[link.source] < at[link.target] for link in plan.scene.links)


def test_a_long_chain():
    y = tg.ones(2).named("x")
    for _ in tg.steps(20_000):
        y = tg.tanh(y).named("h")
    _, _, graph, told = read(y)
    assert len(graph["boxes"]) == len(told) == len(graph["frames"]) + 1 == 20_001


def test_frames_of_a_gradient_go_forward_in_time_and_then_back():
    passes = [(f.backward, f.time) for f in frames(plan_of(nets.gradient(3)))]
    timed = [p for p in passes if p[1] is not None]
    assert timed == [(False, 0), (False, 1), (False, 2), (True, 2), (True, 1), (True, 0)]
    assert passes == sorted(passes, key=lambda p: p[0])


def test_frames_outside_of_the_steps_are_called_by_the_names_in_them():
    titles = [f.title for f in frames(plan_of(nets.char_rnn(2)[0]))]
    assert titles == ["tokens, xs", "t = 0", "t = 1", "logits, targets, loss"]


class TestForms:
    """What a scene may hold besides boxes that stand for one tensor."""

    @pytest.fixture
    def plan(self):
        return plan_of(nets.lstm(2))

    def test_marks_without_a_tensor(self, plan):
        box = plan.scene.boxes[0]
        gap = Box(None, "gap", "gap", None, False, look=box.look, lines=("⋯ 121 like this ⋯",), form="gap")
        plan.scene.boxes.append(gap)
        reader = Reader(page.written(plan, title=""))
        told = json.loads(reader.text("script", "details-data"))
        shown = {b["id"]: (k, b) for k, b in enumerate(json.loads(reader.text("script", "graph-data"))["boxes"])}
        k, mark = shown["gap"]
        assert told[k] is None
        assert (mark["form"], mark["lines"], mark["op"]) == ("gap", ["⋯ 121 like this ⋯"], None)

    def test_unknown_kinds_of_edges_are_drawn_like_values(self, plan):
        plan.scene.links[0].kind = "attention"
        graph = json.loads(Reader(page.written(plan, title="")).text("script", "graph-data"))
        assert graph["edges"][graph["links"][0][2]] == "data"

    def test_members_are_told_of_briefly(self, plan):
        nodes = [b.node for b in plan.scene.boxes]
        box = plan.scene.boxes[-1]
        box.members = tuple(nodes) * 5
        told = json.loads(Reader(page.written(plan, title="")).text("script", "details-data"))
        graph = json.loads(Reader(page.written(plan, title="")).text("script", "graph-data"))
        k = [b["id"] for b in graph["boxes"]].index(box.id)
        assert len(told[k]["others"]) == page.BRIEFS
        assert len(told[k]["others"]) + told[k]["left"] == 5 * (len(nodes) - 1)
        assert graph["boxes"][k]["count"] == 5 * len(nodes)


class TestColours:
    @pytest.mark.parametrize("color", sorted({f.fill for f in [*theme.LIGHT.fills.values(), *theme.LIGHT.states]}))
    def test_text_is_of_level_aa_in_both_themes(self, color):
        for fill in (color, dark_fill(color)):
            assert all(contrast(ink, fill) >= 4.5 for ink in inks(fill))

    @given(st.integers(0, 0xFFFFFF))
    def test_text_can_be_read_on_any_fill(self, value):
        color = f"#{value:06x}"
        for fill in (color, dark_fill(color)):
            assert all(contrast(ink, fill) >= 4.5 for ink in inks(fill))
        assert contrast(dark_line(color), NIGHT) >= 3

    def test_lines_are_seen_on_paper(self):
        palette = theme.LIGHT
        lines = [look.line for kind, look in palette.fills.items() if kind != "faded"]
        lines += [look.line for look in palette.states]
        assert all(contrast(line, PAPER) >= 3 for line in [*lines, palette.data, palette.cut, palette.backward_state])

    def test_contrast_of_black_and_white(self):
        assert contrast("#000000", "#ffffff") == pytest.approx(21)
        assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)

    def test_lighter_by_day_is_darker_by_night(self):
        shades = [dark_fill(f"#{v:02x}{v:02x}ff") for v in range(128, 256, 16)]
        assert shades == sorted(shades, reverse=True)

    def test_a_colour_that_cannot_be_read(self):
        with pytest.raises(ValueError, match=r"expected:? +a colour as #rrggbb"):
            dark_fill("red; } body { display: none")

    def test_the_styles_of_the_page_are_of_level_aa(self):
        """The page's own text, on its own ground, in both themes."""
        styles = page._asset("page.css")
        for selector, paper in ((":root", PAPER), ("[data-theme=dark]", NIGHT)):
            block = styles[styles.index(selector + " {") :].split("}")[0]
            colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block))
            for ground in (paper, colors["card"], colors["wash"]):
                assert all(contrast(colors[name], ground) >= 4.5 for name in ("ink", "soft", "accent", "down"))


def text_of(tree):
    """A formula on one line."""
    tag, *children = tree
    parts = [c if isinstance(c, str) else text_of(c) for c in children]
    if tag == "mspace":
        return " "
    if tag in ("msub", "msup"):
        return parts[0] + {"msub": "_", "msup": "^"}[tag] + parts[1]
    return f"√{parts[0]}" if tag == "msqrt" else parts[0] if tag == "mi" else "".join(parts)


class TestFormula:
    def test_of_a_cell(self):
        assert text_of(formula(nets.lstm(3))) == "h_2=o_2⊙tanh(c_2)"

    def test_inputs_without_a_name_are_written_out(self):
        x, W, b = tg.ones((2, 3)).named("x"), nets.weight("W_x", 3, 4), nets.weight("b", 4)
        assert text_of(formula(tg.tanh(x @ W + b).named("y"))) == "y=tanh(x W_x+b)"

    def test_brackets_only_where_they_change_the_meaning(self):
        a, b, c = (tg.ones((2, 2)).named(k) for k in "abc")
        cases = {
            "a b c": a @ b @ c, "(a⊙b) c": (a * b) @ c, "a⊙(b+c)": a * (b + c), "a b⊙c": (a @ b) * c,
            "a−(b+c)": a - (b + c), "a+b−c": a + b - c, "(a+b)^⊤": (a + b).transpose((1, 0)),
            "a/(b⊙c)": a / (b * c), "a⊙b+c": a * b + c,
            "2⊙a": 2 * a, "a+(−1)": a + (-1), "(1−a)^2": tg.square(1 - a), "√a+b": tg.sqrt(a + b),
        }  # fmt: skip
        assert {shown: text_of(formula(y)) for shown, y in cases.items()} == {shown: shown for shown in cases}

    def test_an_index(self):
        x = tg.ones((4, 3)).named("x")
        assert text_of(formula(x[1:3, ..., 0])) == "x_[1:3, ..., 0]"
        assert text_of(formula(x[tg.tensor([0, 1], name="k")])) == "x_[k]"

    def test_a_leaf_has_none(self):
        assert formula(tg.ones(2)) is None

    def test_a_long_chain_is_cut(self):
        y = tg.ones(2).named("x")
        for _ in range(2000):
            y = y + 1
        assert text_of(formula(y)) == "…+1+1+1+1+1"

    @settings(max_examples=30)
    @given(st.text(alphabet="{}01\\^_ abσ()[]+-", max_size=12))
    def test_any_formula_of_the_users_is_shown(self, template):
        y = tg.ones(2).named("x") + tg.ones(2).named("z")
        y.op = replace(y.op, formula=template)
        json.dumps(formula(y))

    def test_a_formula_of_the_second_input_alone(self):
        y = tg.ones(2).named("x") + tg.ones(2).named("z")
        y.op = replace(y.op, formula="{1}^2")
        assert text_of(formula(y)) == "z^2"

    @given(name=texts)
    def test_any_name_stands_in_it_as_text(self, name):
        tree = formula(tg.tanh(tg.ones(2).named(name)))
        leaves = []
        stack = [tree]
        while stack:
            tag, *children = stack.pop()
            assert re.fullmatch("m[a-z]+", tag)
            leaves += [c for c in children if isinstance(c, str)]
            stack += [c for c in children if not isinstance(c, str)]
        assert name in leaves or set(name.partition("_")[::2]) <= set(leaves)


class TestDetails:
    def test_what_is_told(self):
        with tg.scope("cell"), tg.timestep(2):
            y = tg.tanh(tg.ones((2, 3)).named("x")).named("y")
        told = details(y)
        assert (told["name"], told["op"], told["shape"], told["dtype"]) == ("y", "tanh", [2, 3], "float32")
        assert (told["scope"], told["time"], told["direction"], told["grad"]) == (["cell"], 2, "forward", None)
        assert told["file"] == __file__
        assert told["code"] == 'y = tg.tanh(tg.ones((2, 3)).named("x")).named("y")'
        assert told["value"]["rows"] == [["0.7616"] * 3] * 2
        json.dumps(told)

    def test_a_large_value_is_cut(self):
        value = details(tg.tensor(np.arange(4000.0).reshape(4, 50, 20)))["value"]
        assert len(value["rows"]) == 6
        assert value["rows"][1][0] == "20"
        assert value["more"]
        assert dict(value["figures"])["max"] == "3999"

    @pytest.mark.parametrize("array", [np.zeros((0, 3)), np.zeros(()), np.array([True]), np.zeros((2, 0, 3)), [1]])
    def test_any_shape(self, array):
        json.dumps(details(tg.tensor(array)))

    def test_what_is_not_finite_is_counted(self):
        told = details(tg.tensor([1.0, float("nan"), float("-inf"), 3e38]))["value"]
        assert told["rows"] == [["1", "nan", "−inf", "3e+38"]]
        figures = dict(told["figures"])
        assert figures["not finite"] == "2"
        assert figures["max"] == "3e+38"
        assert dict(details(tg.tensor([float("nan")] * 2))["value"]["figures"]) == {"not finite": "2"}

    def test_a_gradient_that_is_known(self):
        w = tg.parameter([1.0, 2.0], name="w")
        (w * w).sum().backward()
        told = details(w)
        assert told["grad"]["rows"] == [["2", "4"]]
        assert told["trained"]
        assert told["formula"] is None

    def test_a_traced_tensor_has_no_value(self):
        graph = tg.trace(lambda x: tg.tanh(x), tg.Spec((2, 3)))
        assert details(graph.outputs[0])["value"] is None

    def test_code_that_is_not_in_a_file(self):
        space = {"tg": tg}
        exec(compile("y = tg.ones(2) * 3", "<nowhere>", "exec"), space)
        told = details(space["y"])
        assert (told["file"], told["line"], told["code"]) == ("<nowhere>", 1, "")

    def test_parameters_of_the_operation(self):
        x = tg.ones((4, 3)).named("x")
        assert details(x[1:3])["params"] == [["index", "[1:3]"]]
        assert ["axis", "(0,)"] in [[k, v] for k, v in details(x.sum(axis=0))["params"]]


def test_the_frame_of_the_page_is_well_formed():
    """Every element of the page is closed, as an XML reader would have it."""
    body = page._asset("page.html").split("</head>")[1].removesuffix("</html>\n")
    body = re.sub(r"<(input[^>]*)>", r"<\1/>", body)
    ET.fromstring(re.sub(r"\shidden(?=[>\s])", ' hidden=""', body))
