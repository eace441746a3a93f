"""The command line: what it draws and where to, and what it says when something is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest
from tinygrad_rnn.viz.scene.theme import DARK

import tinygrad_rnn as tg
from tinygrad_rnn import viz
from tinygrad_rnn.cli import main
from tinygrad_rnn.cli.catalogue import CATALOGUE

OWN = """
import numpy as np
import tinygrad_rnn as tg

cell = tg.nn.RNNCell(3, 4, generator=0)
loss = (tg.ones((2, 2)).named("a") * 2).named("loss")
graph = tg.graph(loss)
twice = tg.compile(lambda x: x * 2)

class Net(tg.nn.Module):
    def __init__(self):
        self.inside = tg.nn.Linear(3, 4, generator=0)

    def forward(self, x):
        return self.inside(x).named("net_output")

    @classmethod
    def small(cls):
        return cls(), np.ones((1, 3), np.float32)

net = Net()

def unrolled(steps=2):
    return tg.nn.unroll(cell, tg.ones((1, steps, 3))).state

def needs_steps(steps):
    return unrolled(steps)

def of_two(a, b):
    return (a * b).named("product")

def nothing():
    pass

def raises():
    return {}["key"]

def leaves():
    raise SystemExit("had enough")

def wrong_shapes():
    h = tg.ones((2, 3)).named("h") @ tg.ones((3, 4)).named("W")
    return h.named("fine") + tg.ones((2, 5)).named("misfit")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("own", None)


@pytest.fixture
def run(capfdbinary):
    def run(*argv):
        """The exit code, and what was printed on standard output and on standard error."""
        try:
            code = main(argv)
        except SystemExit as done:
            code = done.code
        out, err = capfdbinary.readouterr()
        return code, out.decode("utf-8", "replace"), err.decode("utf-8")

    return run


def drawn(run, *argv):
    """DOT text of a picture that comes out without complaint."""
    code, out, err = run("draw", *argv, "-o", "-", "--format", "dot")
    assert (code, err) == (0, "")
    return out


def fails(run, code, *argv):
    """What is said of a command that cannot be carried out."""
    done, out, err = run("draw", *argv)
    assert (done, out) == (code, ""), err
    assert "Traceback" not in err
    return err


def nodes(dot):
    return re.findall(r'^"([^"]*)" \[', dot, re.M)


# What is drawn --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CATALOGUE)
def test_everything_built_in_is_drawn(run, name):
    assert len(nodes(drawn(run, name))) > 4


@pytest.mark.parametrize("name", [n for n, e in CATALOGUE.items() if e.steps])
def test_built_in_things_have_as_many_steps_as_asked_for(name):
    few, more = (tg.graph(CATALOGUE[name].make(n)) for n in (2, 5))
    assert few.times in ((0, 1), (0, 1, 2))  # a decoder writes one word more
    assert len(more.times) == len(few.times) + 3


def test_a_picture_is_the_same_each_time(run):
    assert drawn(run, "crf-tagger") == drawn(run, "crf-tagger")


def test_options_reach_the_picture(run):
    plain = drawn(run, "lstm", "--steps", "6")
    assert drawn(run, "LSTM", "--steps", "6") == plain
    assert "×6" in drawn(run, "lstm", "--steps", "6", "--view", "rolled")
    assert len(nodes(drawn(run, "lstm", "--steps", "6", "--level", "cell"))) < len(nodes(plain))
    assert len(nodes(drawn(run, "lstm", "--steps", "6", "--level", "op"))) > len(nodes(plain))
    assert "t2/" not in drawn(run, "lstm", "--steps", "6", "--only", "3-4")
    assert "t3/" in drawn(run, "lstm", "--steps", "6", "--only", "3")
    assert "∂W_h" in drawn(run, "lstm", "--direction", "both")
    assert DARK.page in drawn(run, "lstm", "--theme", "dark")
    assert "(1, 4)" not in drawn(run, "lstm", "--show", "none")
    assert "float32" in drawn(run, "lstm", "--show", "shape,dtype")
    assert drawn(run, "lstm", "--legend") != drawn(run, "lstm")
    assert drawn(run, "lstm", "--highlight", "c") != drawn(run, "lstm", "--highlight", "c", "--highlight", "h")


def test_the_list_names_all(run):
    code, out, err = run("draw", "--list")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(CATALOGUE)


class TestOwnCode:
    @pytest.mark.parametrize("where", ["own", "own.py", "./own.py"])
    def test_functions(self, run, where):
        assert drawn(run, f"{where}:unrolled").count("subgraph") == 2

    def test_steps(self, run):
        assert drawn(run, "own:unrolled", "--steps", "3").count("subgraph") == 3
        assert drawn(run, "own:needs_steps").count("subgraph") == 4

    @pytest.mark.parametrize("name", ["loss", "graph"])
    def test_tensors_and_graphs(self, run, name):
        assert nodes(drawn(run, f"own:{name}"))[-1] == "loss"

    def test_modules_with_inputs_by_shape(self, run):
        assert "(7, 4)" in drawn(run, "own:net", "--input", "7,3")
        assert "(7, 4)" in drawn(run, "own:Net", "--input", "7,3")

    def test_modules_that_come_with_their_inputs(self, run):
        assert "net_output" in drawn(run, "own:Net.small")

    def test_functions_of_inputs(self, run):
        dot = drawn(run, "own:of_two", "--input", "2,3:int64", "--input", "3:int64", "--show", "dtype")
        assert "product" in dot
        assert "int64" in dot

    def test_compiled_functions(self, run):
        assert "FLOPs" in drawn(run, "own:twice", "--input", "2,3", "--show", "flops")

    def test_files_elsewhere_import_their_neighbours(self, run, folder):
        (folder / "far").mkdir()
        (folder / "far" / "near_by.py").write_text("import tinygrad_rnn as tg\ny = tg.ones(2).named('near') * 2\n")
        (folder / "far" / "asks.py").write_text("def f():\n    import near_by\n    return near_by.y\n")
        before = list(sys.path)
        assert "near" in drawn(run, "far/asks.py:f")
        assert sys.path == before
        sys.modules.pop("near_by")


# Where it goes --------------------------------------------------------------------------------------------------------


class TestOutput:
    def test_by_default_it_is_named_after_what_is_drawn(self, run, folder):
        assert run("draw", "gru") == (0, "gru.svg\n", "")
        assert "<svg" in (folder / "gru.svg").read_text(encoding="utf-8")
        assert run("draw", "own:Net.small", "--format", "dot") == (0, "Net.small.dot\n", "")

    def test_by_ending_or_by_format(self, run, folder):
        assert run("draw", "gru", "-o", "a.PNG")[0] == 0
        assert (folder / "a.PNG").read_bytes().startswith(b"\x89PNG")
        assert run("draw", "gru", "-o", "a.txt", "--format", "dot")[0] == 0
        assert (folder / "a.txt").read_text(encoding="utf-8").startswith("digraph")

    def test_into_a_folder(self, run, folder):
        (folder / "pictures").mkdir()
        assert run("draw", "gru", "-o", "pictures")[1] == f"{Path('pictures/gru.svg')}\n"

    def test_to_standard_output(self, run, folder):
        code, out, err = run("draw", "gru", "-o", "-")
        assert (code, err, "<svg" in out) == (0, "", True)
        assert sorted(p.name for p in folder.iterdir() if p.suffix == ".svg") == []

    def test_in_the_browser(self, run, folder, monkeypatch):
        shown = []
        monkeypatch.setattr(webbrowser, "open", lambda uri: shown.append(uri) or True)
        assert run("draw", "gru", "--open")[0] == 0
        assert shown == [(folder / "gru.svg").as_uri()]


# What can go wrong ----------------------------------------------------------------------------------------------------


class TestUsage:
    def test_unknown_names(self, run):
        assert "nothing built in is called 'ltsm'\n  did you mean lstm?" in fails(run, 2, "ltsm")
        assert "--list shows all names" in fails(run, 2, "quux")
        assert "own.py:function" in fails(run, 2, "own.py")
        assert "module:function" in fails(run, 2, ":f")

    def test_unknown_endings(self, run, folder):
        said = fails(run, 2, "lstm", "-o", "lstm.jpeg2000")
        assert "cannot tell the format of lstm.jpeg2000\n  end its name in .svg, .png" in said
        assert not (folder / "lstm.jpeg2000").exists()

    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            ([], "name what to draw, or --list"),
            (["lstm", "--view", "sideways"], "invalid choice: 'sideways'"),
            (["lstm", "--steps", "0"], "expected a number from 1 on, got '0'"),
            (["lstm", "--only", "5-2"], "expected FIRST-LAST, such as 2-5, or one step; got '5-2'"),
            (["lstm", "--show", "shape,size"], "some of shape, dtype, value, grad"),
            (["own:net", "--input", "1,a"], "expected a shape, such as 1,5,3 or 1,5:int64; got '1,a'"),
            (["own:net", "--input", "1:no"], "expected a shape, such as 1,5,3 or 1,5:int64; got '1:no'"),
            (["lstm", "-o", "-", "--open"], "--open needs a file"),
            (["recursive", "--steps", "3"], "recursive has no time steps"),
            (["lstm", "--input", "3"], "lstm has inputs of its own"),
            (["own:loss", "--steps", "3"], "loss is no function"),
            (["own:loss", "--input", "3"], "loss is a Tensor, which takes no --input"),
            (["own:Net", "--steps", "3"], "Net has no parameter called steps"),
            (["own:net"], "net is a module, which has no graph before it is called\n  give the shape of its input"),
            (["own:of_two"], "of_two wants to be called with a, b\n  give the shape of each by --input"),
        ],
    )
    def test_commands_that_make_no_sense(self, run, argv, said):
        assert said in fails(run, 2, *argv)

    def test_pictures_are_not_thrown_at_a_terminal(self, run, monkeypatch):
        monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
        assert "PNG is nothing for a terminal" in fails(run, 2, "lstm", "-o", "-", "--format", "png")


class TestFailures:
    def test_imports(self, run, folder):
        assert "there is no module nowhere" in fails(run, 1, "nowhere:f")
        assert "there is no file nowhere.py" in fails(run, 1, "nowhere.py:f")
        (folder / "broken.py").write_text("x = 1 +\n")
        assert re.search(r"importing broken raised SyntaxError.*line 1", fails(run, 1, "broken:x"))
        (folder / "lacks.py").write_text("import nowhere_at_all\n")
        said = fails(run, 1, "lacks.py:x")
        assert "importing lacks.py raised ModuleNotFoundError at lacks.py:1: No module named 'nowhere_at_all'" in said

    def test_missing_names(self, run):
        assert "own has no unroled\n  did you mean unrolled?" in fails(run, 1, "own:unroled")
        assert "own has no net.weights" in fails(run, 1, "own:net.weights")

    def test_errors_of_functions_come_with_their_line(self, run):
        line = 1 + OWN[: OWN.index('{}["key"]')].count("\n")
        assert f"own:raises raised KeyError at own.py:{line}: 'key'" in fails(run, 1, "own:raises")
        assert "raised SystemExit" in fails(run, 1, "own:leaves")
        assert "nothing returned None\n  expected tensors" in fails(run, 1, "own:nothing")

    def test_what_has_no_graph(self, run, folder):
        (folder / "odd.py").write_text("answer = 42\n")
        assert "expected tensors" in fails(run, 1, "odd:answer")

    def test_a_failed_operation_is_drawn(self, run, folder):
        code, out, err = run("draw", "own:wrong_shapes", "-o", "wrong.dot")
        assert (code, out) == (1, "wrong.dot\n")
        line = 1 + OWN[: OWN.index('.named("misfit")')].count("\n")
        assert f"own:wrong_shapes raised ShapeError at own.py:{line}: " in err
        assert "the graph so far, and the operation, are in wrong.dot" in err
        assert {"fine", "misfit"} <= set(nodes((folder / "wrong.dot").read_text(encoding="utf-8")))

    def test_options_of_draw_are_named_as_here(self, run):
        said = fails(run, 1, "lstm", "--steps", "50", "--view", "unrolled", "--max-nodes", "300")
        assert re.search(r"\d+ boxes are too many to be read\n", said)
        assert re.search(r"--max-nodes 300; .*--view rolled.*--only first-last", said)
        assert "no time step lies in --only 7-9" in fails(run, 1, "lstm", "--only", "7-9")
        assert "nothing to highlight is called 'q'" in fails(run, 1, "lstm", "--highlight", "q")

    def test_every_message_has_two_lines_at_most(self, run):
        crowded, idle = ["lstm", "--max-nodes", "2"], ["lstm", "--show", "flops"]
        for argv in (["ltsm"], crowded, ["own:raises"], ["nowhere:f"], idle):
            assert 1 <= len(run("draw", *argv)[2].splitlines()) <= 2

    def test_files_that_cannot_be_written(self, run):
        assert "cannot write nowhere/a.dot: No such file or directory" in fails(run, 1, "lstm", "-o", "nowhere/a.dot")

    def test_no_renderer(self, run, monkeypatch):
        def save(self, path):
            raise RuntimeError("draw: no renderer could make the PNG picture\n  hint:     pip install")

        monkeypatch.setattr(viz.Drawing, "save", save)
        said = fails(run, 1, "lstm", "-o", "lstm.png")
        assert "no renderer could make the PNG picture\n  hint: pip install" in said

    def test_no_browser(self, run, monkeypatch):
        monkeypatch.setattr(webbrowser, "open", lambda uri: False)
        code, _, err = run("draw", "gru", "--open")
        assert (code, "no browser could be opened; the picture is gru.svg" in err) == (1, True)

    def test_the_traceback_on_request(self, run, folder):
        (folder / "broken.py").write_text("1 / 0\n")
        for what, last in (("own:raises", "'key'"), ("own:wrong_shapes", ".svg"), ("broken:x", "division by zero")):
            code, _, err = run("draw", what, "--traceback")
            assert (code, "Traceback" in err, err.endswith(f"{last}\n")) == (1, True, True)


# The process ----------------------------------------------------------------------------------------------------------


def test_as_a_process(folder):
    command = [sys.executable, "-m", "tinygrad_rnn", "draw", "nothing-of-the-kind"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("python -m tinygrad_rnn: nothing built in")


def test_help_and_version(run):
    assert run()[1].startswith("usage: tinygrad-rnn")
    assert run("--version")[1] == f"tinygrad-rnn {tg.__version__}\n"
    assert "--only FIRST-LAST" in run("draw", "--help")[1]


def test_a_reader_that_goes_away():
    command = f"{sys.executable} -m tinygrad_rnn draw lstm --steps 200 --view unrolled -o - --format dot"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -c 10; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=False
    )
    assert (len(done.stdout), done.stderr) == (10, "")
