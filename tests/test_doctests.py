"""The examples of every module of the package, and of the README, run as they stand."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import tinygrad_rnn
from tinygrad_rnn import viz

FOLDERS = {"tinygrad_rnn.": tinygrad_rnn.__path__, "tinygrad_rnn.viz.": viz.__path__}  # in the sources viz is elsewhere
FOUND = {m.name for name, path in FOLDERS.items() for m in pkgutil.walk_packages(path, name)}
MODULES = sorted(name for name in FOUND if not name.endswith("__main__"))
README = Path(__file__).parent.parent / "README.md"


def examples(module):
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]


@pytest.mark.parametrize("name", ["tinygrad_rnn", *MODULES])
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may write a file
    for test in examples(importlib.import_module(name)):
        failed, _ = doctest.DocTestRunner(optionflags=0).run(test)
        assert not failed, f"{test.name} prints something else: see above"


def test_functions_made_by_a_factory_are_seen():
    """``tanh`` is a closure with a composed docstring: a finder that passed it over would skip most operations."""
    names = {test.name for test in examples(importlib.import_module("tinygrad_rnn.ops.elementwise"))}
    assert {"tinygrad_rnn.ops.elementwise.tanh", "tinygrad_rnn.ops.elementwise.where"} <= names


def test_every_public_function_of_the_ops_has_an_example():
    public = [getattr(tinygrad_rnn, n) for n in tinygrad_rnn.__all__]
    bare = [
        f.__name__
        for f in public
        if getattr(f, "__module__", "").startswith("tinygrad_rnn.ops.") and ">>>" not in (f.__doc__ or "")
    ]
    assert bare == []


def test_a_wrong_example_is_caught():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1


@pytest.mark.skipif(not README.exists(), reason="an installed package has no README beside it")
def test_the_readme(tmp_path, monkeypatch):
    """Code blocks with prompts, in their order, as one session."""
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    blocks = [block for block in text.split("```")[1::2] if ">>>" in block]
    session = "\n".join(block.partition("\n")[2] for block in blocks)
    test = doctest.DocTestParser().get_doctest(session, {}, "README.md", str(README), 0)
    assert not doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed
