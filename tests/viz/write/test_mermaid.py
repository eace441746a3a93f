"""Mermaid text: golden files, the scene's counts, any text, ids that are no keywords."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tinygrad_rnn.viz.scene import theme
from tinygrad_rnn.viz.write import mermaid, strokes

import tinygrad_rnn as tg

from .. import nets
from ..plans import by_hand, chain, plan_of, texts

GOLDEN = Path(__file__).parents[1] / "golden"
DRAWN = {"truncated": nets.truncated, "gradient": nets.gradient}

NODE = re.compile(r' +(n_\w*)(?:\("|\(\("|\[")([^"]*)(?:"\)|"\)\)|"\]):::(\w+)')
EDGE = re.compile(r'  (n_\w*) (-->|==>|-\.->|-\.-x)(?:\|"([^"]*)"\|)? (n_\w*)')
SUBGRAPH = re.compile(r'  subgraph (c\d+)\["([^"]*)"\]')
REST = re.compile(
    r"flowchart (LR|BT)|  end|  linkStyle [\d,]+ stroke:#\w{6}|  class c\d+(,c\d+)* timestep|"
    r"  classDef \w+ [\w-]+:[^,]+(,[\w-]+:[^,]+)*|"
)


def read(text):
    """Nodes, edges and subgraphs of a text; no line may be anything else."""
    found = {NODE: [], EDGE: [], SUBGRAPH: []}
    for line in text.split("\n"):
        match = next((m for m in (p.fullmatch(line) for p in found) if m), None)
        assert match or REST.fullmatch(line), line
        if match:
            found[match.re].append(match.groups())
    return found[NODE], found[EDGE], found[SUBGRAPH]


def decoded(label):
    """What Mermaid shows: entity codes as their characters, and nothing for the joiner."""
    assert not re.search(r"[^\x20-\x7e](?<=[\x00-\x1f\u2028\u202e\ud800-\udfff])", label)
    plain = re.sub("#(\\d+);", lambda m: chr(int(m[1])), label)
    return plain.replace("\u00a0", " ").replace("\u2060", "")


def spaced(text):
    return strokes.visible(text).replace("\u00a0", " ").replace("\u2060", "")


@pytest.mark.parametrize("name", DRAWN)
def test_golden(name, same_as_golden):
    same_as_golden(GOLDEN / f"{name}.mmd", mermaid.written(plan_of(DRAWN[name]())))


@given(nets.recipes(), st.integers(1, 3))
def test_all_of_the_scene_is_there(recipe, T):
    plan = plan_of(recipe.run(T))
    nodes, edges, subgraphs = read(mermaid.written(plan))
    assert Counter(decoded(label) for _, label, _ in nodes) == Counter("<br>".join(b.lines) for b in plan.scene.boxes)
    assert len({name for name, _, _ in nodes}) == len(nodes)
    assert {end for a, _, _, b in edges for end in (a, b)} <= {name for name, _, _ in nodes}
    assert [arrow == "==>" for _, arrow, _, _ in edges] == [k.kind == "state" for k in plan.scene.links]
    assert [decoded(label) for _, label in subgraphs] == [f"t = {c.time}" for c in plan.columns]


def test_the_boxes_of_a_column_are_inside_of_it():
    plan = plan_of(nets.lstm(3))
    text = mermaid.written(plan)
    inside = [len(NODE.findall(part)) for part in re.findall(r"  subgraph [^\n]*\n(.*?)\n  end", text, re.S)]
    assert inside == [len(c.boxes) for c in plan.columns]


@example("+ b", '"')
@given(texts, texts)
def test_any_text_comes_back(first, second):
    plan = plan_of((tg.ones(2).named(first) * 2).named(second))
    nodes, edges, _ = read(mermaid.written(plan))
    labels = {decoded(label) for _, label, _ in nodes}
    assert labels == {"<br>".join(map(spaced, box.lines)) for box in plan.scene.boxes}
    assert len(edges) == 1


@given(texts)
def test_any_text_of_edges_and_columns_comes_back(text):
    _, edges, subgraphs = read(mermaid.written(by_hand(text)))
    assert [decoded(label) for _, _, label, _ in edges] == [
        spaced(f"{text} {kind}") for kind in ("data", "state", "saved", "cut", "attention")
    ]
    assert [decoded(label) for _, label in subgraphs] == [spaced(f"step {text}")]


@pytest.mark.parametrize(
    ("text", "coded"),
    [
        ("(2, 4)", "(2, 4)"), ("[:, 0:4]", "[:, 0:4]"), ("@ W_h", "@ W_h"), ("σ", "σ"),
        ('"', "#34;"), ("<b>", "#60;b#62;"), ("#35;", "#8288;#35;35#59;"), ("a  b ", "a #160;b#160;"),
        ("+ b", "#8288;+ b"), ("1. x", "#8288;1. x"), ("- x", "#8288;- x"),
        ("$$x$$", "#36;#8288;#36;x#36;#8288;#36;"), ("fa:fa-car", "fa:#8288;fa-car"), ("\\n", "#92;#8288;n"),
        ("a@b", "a@#8288;b"), ("http://a", "http:#8288;//a"), ("\u202e", "#8238;"),
        ("style", "#115;tyle"), ("classDef", "#99;lassDef"), ("direction TB", "#100;irection TB"),
    ],
)  # fmt: skip
def test_what_mermaid_would_read_as_something_else(text, coded):
    assert mermaid.coded(text) == coded


def test_ids():
    t = tg.ones(2).named("a/b")
    for name in ("a_b", "style", "classDef", "end", "a b", "שלום", "_"):
        t = (t * 2).named(name)
    nodes, _, _ = read(mermaid.written(plan_of(t)))
    names = [name for name, _, _ in nodes]
    assert names == ["n_a_b", "n_a_b_2", "n_tyle", "n_lassDef", "n_end", "n_a_b_3", "n_", "n__2"]


def test_forms():
    text = mermaid.written(by_hand())
    assert '((\"#8288;+\")):::op' in text
    assert 'n_t0_delay["1"]:::formdelay' in text
    assert 'n_t0_gap["⋯ 3 like this ⋯"]:::formgap' in text
    assert f"classDef formdelay fill:{theme.LIGHT.ink}" in text
    assert "classDef formgap fill:none,stroke:none" in text
    assert [arrow for _, arrow, _, _ in read(text)[1]] == ["-->", "==>", "-.->", "-.-x", "-->"]
    assert f"linkStyle 0,1,2,3,4 stroke:{theme.LIGHT.states[0].line}" in text


def test_time_runs_to_the_right_and_data_without_time_upwards():
    assert mermaid.written(plan_of(nets.lstm())).startswith("flowchart LR\n")
    assert mermaid.written(plan_of(nets.timeless())).startswith("flowchart BT\n")


def test_text_on_dark_colours_is_light():
    text = mermaid.written(by_hand(fill="#440154"))
    assert "fill:#440154,stroke:#00795a,stroke-width:1px,color:#ffffff" in text


def test_larger_than_mermaid_draws_by_default():
    text = mermaid.written(plan_of(chain(501)))
    assert text.startswith("%% 501 edges")
    assert "maxEdges" in text.split("\n")[0]
    assert not mermaid.written(plan_of(chain(400))).startswith("%%")


@pytest.mark.parametrize("timed", [True, False])
def test_a_chain_of_twenty_thousand(timed):
    text = mermaid.written(plan_of(chain(timed=timed)))
    assert text.count(" ==> " if timed else " --> ") == 20_000
    assert text.count("subgraph") == 20_000 * timed
