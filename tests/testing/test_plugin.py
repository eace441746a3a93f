"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAILING = """
import tinygrad_rnn as tg

wrong = tg.elementwise(lambda x: x * x, vjp=lambda g, y, x: g * 2.002 * x, name="wrong_square")


def f(x):
    for t in tg.steps(2):
        x = wrong(tg.tanh(x))
    return x


def test_f():
    tg.testing.check_grad(f, [1.0])


def test_right():
    tg.testing.check_grad(tg.tanh, [1.0])
"""


def run(folder, *options):
    plugin = () if _installed() else ("-p", "tinygrad_rnn.testing.plugin")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *options, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def _installed():
    """Whether pytest finds the plugin by itself; the package may be run from its sources."""
    from importlib.metadata import entry_points

    return any(e.value == "tinygrad_rnn.testing.plugin" for e in entry_points(group="pytest11"))


def test_graphs_of_failures_are_printed_and_saved(tmp_path):
    (tmp_path / "test_it.py").write_text(FAILING)
    done = run(tmp_path, "--save-graphs", "graphs", "--hypothesis-profile=tinygrad-ci")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "graph of the counterexample" in done.stdout
    assert "t1/wrong_square" in done.stdout
    assert "vjp of input 0[0] is off by 0.002" in done.stdout
    (saved,) = (tmp_path / "graphs").iterdir()
    assert "test_f" in saved.name


def test_nothing_is_saved_unless_asked(tmp_path):
    (tmp_path / "test_it.py").write_text(FAILING)
    assert run(tmp_path).returncode == 1
    assert not (tmp_path / "graphs").exists()


def test_long_graphs_are_cut():
    from tinygrad_rnn.testing import plugin

    text = plugin._text("\n".join(map(str, range(1000))))
    assert text.count("\n") == plugin.LINES
    assert "940 more" in text
    assert plugin._text("a\nb") == "a\nb"


def test_mismatches_within_groups_are_found():
    import tinygrad_rnn as tg
    from tinygrad_rnn.testing import plugin

    with pytest.raises(tg.testing.GradientMismatch) as caught:
        tg.testing.check_grad(lambda x: x * x.detach(), [2.0])
    group = ExceptionGroup("two", [ValueError(), ExceptionGroup("one", [caught.value])])
    assert plugin._mismatches(group) == [caught.value]
