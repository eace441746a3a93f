"""Rooms of the pictures stand in the order in which data flows, and import only from those before them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tinygrad_rnn import viz

ROOMS = ("read", "scene", "layout", "write", "viz")  # the last one is what stands on top of them
ROOT = Path(viz.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def imported(text, package):
    """Full names of the modules, or of what is imported from them, of all relative imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


def wrong(text, package):
    """The imports of a module that go up, or to where equations are written."""
    here = ROOMS.index(package[-1])
    for name in imported(text, package):
        parts = name.split(".")
        if parts[:2] == ["tinygrad_rnn", "viz"]:
            if ROOMS.index(parts[2] if parts[2] in ROOMS else "viz") > here:
                yield name
        elif parts[1] == "symbolic":
            yield name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_point_to_rooms_before(file):
    package = ("tinygrad_rnn", "viz", *file.relative_to(ROOT).parts[:-1])
    assert list(wrong(file.read_text(encoding="utf-8"), package)) == []


@pytest.mark.parametrize(
    ("room", "line", "found"),
    [
        ("scene", "from ..layout.rows import GridRows", "tinygrad_rnn.viz.layout.rows.GridRows"),
        ("write", "from ..drawing import draw", "tinygrad_rnn.viz.drawing.draw"),
        ("read", "from ...symbolic.write import latex", "tinygrad_rnn.symbolic.write.latex"),
        ("read", "from .. import compare", "tinygrad_rnn.viz.compare"),
    ],
)
def test_an_arrow_that_points_up_is_seen(room, line, found):
    allowed = "from . import columns\nfrom ..read.options import Options\nfrom ...errors import fail\n"
    assert list(wrong(allowed + line, ("tinygrad_rnn", "viz", room))) == [found]
