"""The gallery's pictures and pages are those that its program makes."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections import Counter
from html import unescape
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[2] / "examples" / "gallery"
PICTURES = sorted(p.stem for p in GALLERY.glob("*.svg"))
SIZE = 1_500_000  # bytes of all that is kept


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    command = [sys.executable, str(GALLERY / "make.py"), "--out", str(folder)]
    subprocess.run(command, capture_output=True, text=True, check=True)
    return folder


def words(picture):
    """Whatever draws them, the texts of a picture are the same."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text(encoding="utf-8"))
    return Counter(" ".join(unescape(t).split()) for t in texts)


def test_all_are_there(made):
    assert sorted(p.stem for p in made.glob("*.svg")) == PICTURES
    assert len(PICTURES) > 40


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_the_one_that_is_drawn(made, name):
    assert words(made / f"{name}.svg") == words(GALLERY / f"{name}.svg")


@pytest.mark.parametrize("name", ["README.md", "index.html"])
def test_the_pages_show_all(made, name):
    page = (GALLERY / name).read_text(encoding="utf-8")
    assert page == (made / name).read_text(encoding="utf-8")
    assert sorted(set(re.findall(r"([\w-]+)\.svg", page))) == PICTURES


def test_no_two_are_the_same_and_all_are_explained():
    sections = runpy.run_path(str(GALLERY / "pictures.py"))["SECTIONS"]
    pictures = [p for section in sections for p in section.pictures]
    for part in ("name", "command", "says"):
        assert len({getattr(p, part) for p in pictures}) == len(pictures)
    assert all(p.says.endswith(".") for p in pictures)


def test_it_is_small():
    assert sum(p.stat().st_size for p in GALLERY.iterdir() if p.is_file()) < SIZE
