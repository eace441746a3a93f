"""LaTeX text: golden files, the scene's counts, any text; and what pdflatex makes of it, where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tinygrad_rnn.viz.write import strokes, tikz

import tinygrad_rnn as tg

from .. import nets
from ..plans import PIECES, by_hand, chain, plan_of, texts

GOLDEN = Path(__file__).parents[1] / "golden"
DRAWN = {"truncated": nets.truncated, "gradient": nets.gradient}
NODE = re.compile(r"\\node\[tg (?:box|round|delay)\b.*\] at \(([\d.]+), ([\d.]+)\) \{(.*)\};")
EDGE = re.compile(r"\\draw\[tg (data|state|carry|saved|cut) edge, [\w-]+\] (\(.*\));")
COLUMN = re.compile(r"\\draw\[tg column\].*;\n\\node at \(.*\) \{(.*)\};")
needs_latex = pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")

SHOWN = {
    r"\textbackslash{}": "\\", r"\textasciicircum{}": "^", r"\textasciitilde{}": "~", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", r"\textquotedbl{}": '"', r"\textquotesingle{}": "'",
    r"\textasciigrave{}": "`", "{[}": "[", "{]}": "]", "{*}": "*", "{:}": ":", r"\ ": " ", "{}": "",
    r"\{": "{", r"\}": "}", r"\$": "$", r"\&": "&", r"\#": "#", r"\%": "%", r"\_": "_",
}  # fmt: skip
_TOKEN = re.compile("|".join([r"\\tgchar\{([0-9A-F]+)\}", *map(re.escape, SHOWN), "."]))


def shown(latex):
    """What LaTeX shows of text in ASCII and in letters that it has no command for."""
    return "".join(chr(int(m[1], 16)) if m[1] else SHOWN.get(m[0], m[0]) for m in _TOKEN.finditer(latex))


@pytest.mark.parametrize("name", DRAWN)
def test_golden(name, same_as_golden):
    same_as_golden(GOLDEN / f"{name}.tex", tikz.written(plan_of(DRAWN[name]())))


@given(nets.recipes(), st.integers(1, 3))
def test_all_of_the_scene_is_there(recipe, T):
    plan = plan_of(recipe.run(T))
    text = tikz.written(plan)
    nodes, edges = NODE.findall(text), EDGE.findall(text)
    assert [(float(x), float(y)) for x, y, _ in nodes] == [
        pytest.approx((b.x, b.y), abs=0.06) for b in plan.scene.boxes
    ]
    assert [label.count(r"\\") + 1 for _, _, label in nodes] == [len(b.lines) for b in plan.scene.boxes]
    assert [kind for kind, _ in edges] == [k.kind for k in plan.scene.links]
    for (_, course), path in zip(edges, plan.paths):
        points = [float(n) for n in re.findall(r"[\d.]*\d", course)]
        assert points[:2] == pytest.approx(path[0], abs=0.06)
        assert points[-2:] == pytest.approx(path[-1], abs=0.06)
    assert [shown(title) for title in COLUMN.findall(text)] == [f"t = {c.time}" for c in plan.columns]


def test_every_colour_is_defined_once_and_every_style_is_defined():
    text = tikz.written(plan_of(nets.gradient()))
    defined = re.findall(r"\\definecolor\{([\w-]+)\}\{HTML\}\{(\w{6})\}", text)
    assert len({name for name, _ in defined}) == len({code for _, code in defined}) == len(defined)
    used = set(re.findall(r"(?:draw|fill|text)=(tg-[\w-]+)", text)) | set(re.findall(r" edge, ([\w-]+)\]", text))
    assert used == {name for name, _ in defined}
    styles = set(re.findall(r"(tg [\w ]+)/\.style", text))
    assert set(re.findall(r"(?<=[\[ ])(tg [\w ]+?)(?=[,\]])", text)) <= styles


plain = texts.filter(lambda text: all(c.isascii() or "\u3000" < c < "\ud800" for c in text))


@example("\\input{x}", "%")
@given(plain, plain)
def test_any_text_comes_back(first, second):
    plan = plan_of((tg.ones(2).named(first) * 2).named(second))
    labels = [label.split(r"\\") for _, _, label in NODE.findall(tikz.written(plan))]
    names = [lines[0] for lines in labels]
    assert [shown(name) for name in names] == [strokes.visible(box.lines[0]) for box in plan.scene.boxes]


@given(texts)
def test_the_text_is_ascii_and_its_braces_match(text):
    written = tikz.written(by_hand(text))
    assert written.isascii()
    bare = re.sub(r"\\[\\{}]", "", written)
    assert bare.count("{") == bare.count("}")
    assert "%" not in written.replace(r"\%", "")
    assert written.count(r"\end{document}") == 1


@pytest.mark.parametrize(
    ("text", "latex"),
    [("⊙ σ", r"$\odot$\ $\sigma$"), ("∂L/∂W", r"$\partial$L/$\partial$W"), ("1 −", r"1\ $-$"), ("W_h", r"W\_h"),
     ("Wᵀ", "W$^{T}$"), ("h₁", "h$_{1}$"), ("ℝ", r"$\mathbb{R}$"), ("é", r"\'{e}"), ("e\u0301", r"\'{e}"),
     ("ß", r"\ss{}"), ("--", "-{}-{}"), ("中", r"\tgchar{4E2D}"), ("\u202e", r"\tgchar{202E}")],
)  # fmt: skip
def test_signs(text, latex):
    assert tikz.escaped(text) == latex


def test_forms_and_labels():
    text = tikz.written(by_hand())
    assert text.count(r"\node[tg round, ") == text.count(r"\node[tg delay, ") == 1
    assert text.count(r"\node[tg label]") == 5
    assert text.count(r"\node[tg mark]") == 2
    assert [kind for kind, _ in EDGE.findall(text)] == ["data", "state", "saved", "cut", "data"]
    assert "{h\\ attention}" in text


def test_text_on_dark_colours_is_light():
    assert r"\definecolor{tg-look1-text}{HTML}{FFFFFF}" in tikz.written(by_hand(fill="#440154"))


def test_the_bare_picture_is_the_one_in_the_document():
    plan = plan_of(nets.lstm())
    whole, bare = tikz.written(plan), tikz.written(plan, bare=True)
    picture = bare.split("\n", 1)[1]
    assert picture in whole
    assert "documentclass" not in bare
    assert bare.startswith(r"% needs \usepackage{amssymb,tikz}")


@pytest.mark.parametrize("timed", [True, False])
def test_larger_than_latex_can_hold(timed):
    plan = plan_of(chain(timed=timed))
    with pytest.raises(ValueError, match=r"too large for LaTeX[\s\S]*14000 points[\s\S]*steps="):
        tikz.written(plan)


def test_a_large_picture_is_still_written():
    assert tikz.written(plan_of(chain(200))).count(" edge, ") == 200


# With LaTeX ---------------------------------------------------------------------------------------------------------


def pdf(text, folder):
    (folder / "net.tex").write_text(text, encoding="ascii")
    readable = r"\pdfcompresslevel=0\pdfobjcompresslevel=0\input{net.tex}"
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-jobname=net", readable]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]
    log = done.stdout.decode("latin-1").replace("\n", "")
    assert "Missing character" not in log
    return (folder / "net.pdf").read_bytes()


@needs_latex
@pytest.mark.parametrize("name", DRAWN)
def test_latex_draws_it_in_our_size(name, tmp_path):
    plan = plan_of(DRAWN[name]())
    found = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf(tikz.written(plan), tmp_path))
    assert [float(length) for length in found.groups()] == pytest.approx(plan.size, abs=1)


@needs_latex
def test_latex_draws_the_bare_picture(tmp_path):
    bare = tikz.written(by_hand("⊙"), bare=True)
    needed = re.match(r"% needs (.*)\n", bare)[1]
    head = f"\\documentclass{{article}}\n{needed}\n\\begin{{document}}\n"
    assert pdf(f"{head}{bare}\n\\end{{document}}\n", tmp_path).startswith(b"%PDF")


@needs_latex
def test_latex_takes_every_piece_of_text(tmp_path):
    for_each = [by_hand(piece).scene.boxes[0].lines[0] for piece in (*PIECES, *tikz.COMMANDS)]
    plan = by_hand()
    plan.scene.boxes[0].lines = tuple(for_each)
    assert pdf(tikz.written(plan), tmp_path).startswith(b"%PDF")


@needs_latex
@settings(max_examples=5)
@given(text=texts)
def test_latex_takes_any_text(text, tmp_path_factory):
    assert pdf(tikz.written(by_hand(text)), tmp_path_factory.mktemp("tex")).startswith(b"%PDF")
