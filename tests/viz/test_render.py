"""Back ends, files and notebooks; each test of a renderer runs for every renderer that is installed."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinygrad_rnn.viz import render

import tinygrad_rnn as tg
from tinygrad_rnn import viz

from . import nets

PROGRAMS = list(render.programs())
each_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: Path(p).name)
DRAWN = {"lstm": nets.lstm, "gradient": nets.gradient, "truncated": nets.truncated, "timeless": nets.timeless}
SVG = "{http://www.w3.org/2000/svg}"


def counts(svg):
    classes = [g.get("class") for g in ET.fromstring(svg).iter(f"{SVG}g")]
    return {c: classes.count(c) for c in ("node", "edge", "cluster")}


def only(monkeypatch, *programs):
    monkeypatch.setattr(render, "programs", lambda: iter(programs))


def test_a_renderer_is_installed():
    assert PROGRAMS


@each_program
@pytest.mark.parametrize("name", DRAWN)
def test_all_of_the_graph_is_in_the_svg(program, name, monkeypatch):
    only(monkeypatch, program)
    picture = viz.draw(DRAWN[name]())
    nodes = len(re.findall(r'^"[^"]*" \[', picture.dot, re.M))
    expected = {"node": nodes, "edge": picture.dot.count(" -> "), "cluster": picture.dot.count("subgraph")}
    assert counts(picture.svg()) == expected


@each_program
def test_our_coordinates_are_kept(program, monkeypatch):
    only(monkeypatch, program)
    picture = viz.draw(nets.lstm())
    width, height = (float(v) for v in re.search(r'bb="0,0,([\d.]+),([\d.]+)"', picture.dot).groups())
    root = ET.fromstring(picture.svg())
    frame = [float(v) for v in root.get("viewBox").split()]
    assert frame[2:] == pytest.approx([width, height], abs=50)


@each_program
def test_png(program, monkeypatch):
    only(monkeypatch, program)
    assert viz.draw(nets.timeless()).png().startswith(b"\x89PNG")


@each_program
@settings(max_examples=10)
@given(name=st.text(min_size=1))
def test_no_name_breaks_the_svg(program, name):
    dot = viz.to_dot((tg.ones(2).named(name) * 2).named(name[::-1]))
    assert counts(render._run(program, dot, "svg", ()))["node"] == 2


class TestSave:
    @pytest.mark.parametrize("suffix", [".dot", ".gv", ".svg", ".png", ".PNG"])
    def test_by_suffix(self, suffix, tmp_path):
        path = viz.draw(nets.timeless()).save(tmp_path / f"net{suffix}")
        assert path == tmp_path / f"net{suffix}"
        assert path.read_bytes()[:4] in (b"digr", b"<?xm", b"\x89PNG")
        assert list(tmp_path.iterdir()) == [path]

    def test_unknown_suffix(self, tmp_path):
        with pytest.raises(ValueError, match=r"ends in \.dot, \.gv, \.svg, \.png or \.pdf"):
            viz.draw(nets.timeless()).save(tmp_path / "net.jpeg2000")

    def test_a_failure_leaves_the_old_file(self, tmp_path, monkeypatch):
        only(monkeypatch)
        old = tmp_path / "net.svg"
        old.write_text("old")
        with pytest.raises(RuntimeError):
            viz.draw(nets.timeless()).save(old)
        assert old.read_text() == "old"
        assert list(tmp_path.iterdir()) == [old]


class TestWithoutRenderer:
    def test_dot_works(self, monkeypatch, tmp_path):
        only(monkeypatch)
        picture = viz.draw(nets.timeless())
        assert picture.save(tmp_path / "net.dot").read_text(encoding="utf-8") == picture.dot

    def test_the_message_says_what_to_install(self, monkeypatch):
        only(monkeypatch)
        with pytest.raises(RuntimeError, match=r'none is installed[\s\S]*pip install "tinygrad-rnn\[render\]"'):
            viz.draw(nets.timeless()).svg()

    def test_a_notebook_shows_the_message(self, monkeypatch):
        only(monkeypatch)
        picture = viz.draw(nets.timeless())
        ET.fromstring(picture._repr_svg_())
        bundle = picture._repr_mimebundle_()
        assert "pip install" in bundle["image/svg+xml"]
        assert "pip install" in bundle["text/plain"]
        assert "image/png" not in bundle

    def test_nothing_on_the_path(self, monkeypatch):
        monkeypatch.setattr(render.shutil, "which", lambda *a, **k: None)
        monkeypatch.setattr(render.importlib.metadata, "files", lambda name: [])
        assert list(render.programs()) == []

    def test_graphviz_pure_is_found_beside_python(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert [Path(p).stem for p in render.programs()] == ["graphviz-pure"]

    def test_graphviz_pure_is_found_by_its_files(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(render.sys, "executable", "/nowhere/python")
        assert [Path(p).stem for p in render.programs()] == ["graphviz-pure"]


class TestFailures:
    def test_the_next_renderer_is_tried(self, monkeypatch):
        only(monkeypatch, "/nowhere/dot", PROGRAMS[-1])
        assert "<svg" in viz.draw(nets.timeless()).svg()

    def test_what_it_said_is_shown(self, monkeypatch):
        only(monkeypatch, PROGRAMS[-1])
        with pytest.raises(RuntimeError, match=r"no renderer could make the SVG picture: .* failed: .*syntax error"):
            render.rendered("digraph {", "svg")

    def test_timeout(self, monkeypatch):
        only(monkeypatch, PROGRAMS[-1])
        monkeypatch.setattr(render, "TIMEOUT", 1e-6)
        with pytest.raises(RuntimeError, match=r"took longer than 1e-06 s; draw fewer time steps with steps="):
            viz.draw(nets.lstm()).svg()

    def test_too_large_to_be_read(self):
        h = tg.zeros(2)
        for _ in tg.steps(400):
            h = tg.tanh(h)
        with pytest.raises(ValueError, match=r"401 boxes are too many[\s\S]*max_nodes=300[\s\S]*view=\"rolled\""):
            viz.draw(h, view="unrolled", max_nodes=300)
        assert viz.draw(h, steps=(0, 9), max_nodes=300).svg()

    def test_too_long_for_a_bitmap(self):
        h = tg.zeros(2)
        for _ in tg.steps(1000):
            h = tg.tanh(h)
        with pytest.raises(ValueError, match=r"a bitmap of \d+ by \d+ points is too large[\s\S]*view=\"rolled\""):
            viz.draw(h, view="unrolled").png()

    def test_large_without_steps(self):
        h = tg.zeros(2)
        for _ in range(20):
            h = tg.tanh(h)
        with pytest.raises(ValueError, match=r'level="cell", "layer" or "model" draws less'):
            viz.draw(h, max_nodes=10)


def test_a_notebook_gets_svg_and_png():
    bundle = viz.draw(nets.timeless())._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml", "image/png"}
    assert set(viz.draw(nets.timeless())._repr_mimebundle_(include=["image/svg+xml"])) == {"image/svg+xml"}


def test_graphviz_is_imported_for_the_first_picture_only():
    code = "import sys, tinygrad_rnn, tinygrad_rnn.viz; sys.exit('graphviz' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@each_program
def test_pdf_or_what_to_install_for_it(program, monkeypatch, tmp_path):
    only(monkeypatch, program)
    if Path(program).stem == "graphviz-pure":
        with pytest.raises(RuntimeError, match=r"no renderer could make the PDF[\s\S]*install Graphviz itself"):
            viz.draw(nets.timeless()).save(tmp_path / "net.pdf")
    else:
        assert viz.draw(nets.timeless()).save(tmp_path / "net.pdf").read_bytes().startswith(b"%PDF")


def test_a_graph_shows_its_picture_in_a_notebook():
    y = (tg.ones(2) * 3).named("tripled")
    assert "tripled" in tg.graph(y)._repr_svg_()
