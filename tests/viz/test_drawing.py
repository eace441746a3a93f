"""Drawings: their forms, files, notebooks, sizes, and what happens where no renderer is installed."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from tinygrad_rnn.viz import drawing

import tinygrad_rnn as tg
from tinygrad_rnn import viz

from . import nets


@pytest.fixture
def without_renderer(monkeypatch):
    def rendered(*args):
        raise RuntimeError('none is installed; pip install "tinygrad-rnn[render]"')

    monkeypatch.setattr(drawing, "rendered", rendered)


BEGIN = {
    ".dot": b"digraph", ".gv": b"digraph", ".svg": b"<svg", ".SVG": b"<svg", ".png": b"\x89PNG",
    ".html": b"<!DOCTYPE html>", ".mmd": b"flowchart", ".md": b"```mermaid\nflowchart", ".tex": b"\\documentclass",
}  # fmt: skip


class TestSave:
    @pytest.mark.parametrize("suffix", BEGIN)
    def test_by_suffix(self, suffix, tmp_path):
        path = viz.draw(nets.timeless()).save(tmp_path / f"net{suffix}")
        assert path == tmp_path / f"net{suffix}"
        assert path.read_bytes().startswith(BEGIN[suffix])
        assert list(tmp_path.iterdir()) == [path]

    def test_what_was_saved_is_what_the_methods_give(self, tmp_path):
        picture = viz.draw(nets.lstm(T=2))
        for suffix, text in ((".svg", picture.svg()), (".mmd", picture.mermaid()), (".tex", picture.tikz()),
                             (".dot", picture.dot), (".html", picture.html("net"))):  # fmt: skip
            assert picture.save(tmp_path / f"net{suffix}").read_text(encoding="utf-8") == text

    def test_unknown_suffix(self, tmp_path):
        with pytest.raises(ValueError, match=r"ends in \.svg \.png \.pdf \.html"):
            viz.draw(nets.timeless()).save(tmp_path / "net.jpeg2000")

    def test_a_failure_leaves_the_old_file(self, tmp_path, without_renderer):
        old = tmp_path / "net.png"
        old.write_text("old")
        with pytest.raises(RuntimeError):
            viz.draw(nets.timeless()).save(old)
        assert old.read_text() == "old"
        assert list(tmp_path.iterdir()) == [old]


class TestWithoutRenderer:
    def test_what_needs_none(self, without_renderer):
        picture = viz.draw(nets.timeless())
        assert all((picture.dot, picture.svg(), picture.mermaid(), picture.tikz(), picture.html()))

    def test_the_message_says_what_to_install(self, without_renderer):
        with pytest.raises(RuntimeError, match=r'none is installed[\s\S]*pip install "tinygrad-rnn\[render\]"'):
            viz.draw(nets.timeless()).png()

    def test_a_notebook_shows_the_svg(self, without_renderer):
        bundle = viz.draw(nets.timeless())._repr_mimebundle_()
        ET.fromstring(bundle["image/svg+xml"])
        assert "pip install" in bundle["text/plain"]
        assert "image/png" not in bundle


class TestThemes:
    def test_the_page_is_dark(self):
        y = nets.lstm(T=2)
        assert "#14171c" in viz.draw(y, theme="dark").svg()
        assert "#14171c" not in viz.draw(y).dot

    def test_the_page_to_explore_has_both_sides_whatever_the_theme(self):
        y = nets.lstm(T=2)
        assert viz.draw(y, theme="dark").html() == viz.draw(y).html()

    def test_print_has_no_colour(self):
        text = viz.draw(nets.gradient(), theme="print", legend=True).dot
        colours = {part[:7] for part in text.split('"') if part.startswith("#") and len(part) == 7}
        assert colours
        assert all(c[1:3] == c[3:5] == c[5:7] for c in colours)


class TestSize:
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


def test_a_graph_shows_its_picture_in_a_notebook():
    y = (tg.ones(2) * 3).named("tripled")
    assert "tripled" in tg.graph(y)._repr_svg_()
