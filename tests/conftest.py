"""Hypothesis profiles, and an option to rewrite golden files."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tinygrad_rnn import testing

for _name in ("dev", "ci", "short", "intense"):
    settings.register_profile(_name, testing.profile(_name))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-golden", action="store_true", help="write the golden files anew instead of comparing")


@pytest.fixture
def rewrite_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite-golden"))
