"""Importing compiles nothing and pulls in nothing heavy; every public name is there and is documented."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_rnn as tg

ROOT = Path(__file__).parents[1]

CODE = """
import json, sys
from numba.core import event
recorders = [event.RecordingListener() for _ in range(2)]
for kind, recorder in zip(("numba:compile", "numba:llvm_lock"), recorders):
    event.register(kind, recorder)
import warnings
warnings.simplefilter("error")
import tinygrad_rnn
compiled = [str(e) for r in recorders for e in r.buffer]
print(json.dumps([sorted(sys.modules), compiled, len(recorders)]))
import tinygrad_rnn as tg
tg.tanh(tg.ones(2))
print(len(recorders[0].buffer))
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    plain = [sys.executable, "-c", "import tinygrad_rnn"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    options = {"env": environment, "capture_output": True, "text": True, "check": True, "timeout": 120}
    imported = subprocess.run(plain, **options)
    left = sorted(cache.rglob("*"))
    counted = subprocess.run([sys.executable, "-c", CODE], **options)
    modules, compiled, _ = json.loads(counted.stdout.splitlines()[0])
    return imported, left, modules, compiled, int(counted.stdout.splitlines()[1])


def test_importing_compiles_nothing(fresh):
    imported, left, _, compiled, afterwards = fresh
    assert (imported.stdout, imported.stderr) == ("", "")
    assert left == []
    assert compiled == []
    assert afterwards > 0, "the recorder of compilations records nothing"


@pytest.mark.parametrize("name", ["graphviz", "hypothesis", "matplotlib", "torch", "tqdm", "pytest", "IPython"])
def test_importing_pulls_in_no_optional_package(fresh, name):
    modules = fresh[2]
    assert "numpy" in modules
    assert name not in modules


# Names ----------------------------------------------------------------------------------------------------------------

PUBLIC = sorted(n for n in tg.__all__ if not inspect.ismodule(getattr(tg, n)))


def test_all_lists_what_there_is_once():
    assert len(set(tg.__all__)) == len(tg.__all__)
    assert sorted(tg.__all__) == sorted(dir_of_public_things())


def dir_of_public_things():
    """What the package holds and defines itself: functions and classes of ours, and the modules that are listed."""
    for name, value in vars(tg).items():
        ours = getattr(value, "__module__", "").startswith("tinygrad_rnn") and not inspect.ismodule(value)
        if not name.startswith("_") and (ours or name in tg.__all__):
            yield name


@pytest.mark.parametrize("name", tg.__all__)
def test_public_names_exist_and_are_documented(name):
    value = getattr(tg, name)
    assert (inspect.getdoc(value) or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_functions_have_examples(name):
    value = getattr(tg, name)
    if inspect.isclass(value) and (issubclass(value, Exception) or name in ("Tensor", "Graph")):
        assert inspect.getdoc(value)
        return
    doc = inspect.getdoc(value)
    assert "Examples\n--------\n>>>" in doc, f"{name} has no Examples section"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_functions_say_what_they_are_first(name):
    first = inspect.getdoc(getattr(tg, name)).splitlines()[0]
    assert first[0].isupper() or first[0] in "`-:"
    assert first.rstrip().endswith((".", ":", "``", ")"))


MODULES = [m.name for m in pkgutil.walk_packages(tg.__path__, "tinygrad_rnn.")]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_and_lists_names_that_exist(name):
    module = importlib.import_module(name)
    if Path(module.__file__).stat().st_size:
        assert module.__doc__
    for listed in getattr(module, "__all__", ()):
        assert hasattr(module, listed), f"{name}.{listed}"


def test_the_version_is_a_version():
    assert tuple(int(n) for n in tg.__version__.split(".")) >= (0, 1, 0)


def test_operators_of_the_class_are_its_functions():
    t = tg.ones(2)
    for method in ("tanh", "sum", "mean", "reshape", "softmax", "matmul"):
        assert getattr(tg.Tensor, method)
        assert callable(getattr(t, method))
    assert (t + t).op is tg.add.op
