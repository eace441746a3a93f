"""Hypothesis profiles, and an option to rewrite golden files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tinygrad_rnn import testing

for _name in ("dev", "ci", "short", "intense"):
    settings.register_profile(_name, testing.profile(_name))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-golden", action="store_true", help="write the golden files anew instead of comparing")


@pytest.fixture
def same_as_golden(rewrite_golden: bool) -> Callable[[Path, str], None]:
    """Compares a text with a file, or writes the file anew."""

    def same(file: Path, text: str) -> None:
        if rewrite_golden:
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), "see the difference, then run pytest --rewrite-golden"

    return same


@pytest.fixture
def rewrite_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite-golden"))
