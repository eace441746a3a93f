"""The pytest plugin: profiles for Hypothesis, and graphs of failed gradient checks in the report.

``--hypothesis-profile=tinygrad-ci`` (or ``-dev``, ``-short``, ``-intense``) chooses a profile; ``--save-graphs DIR``
saves a picture of the graph of each failed check; ``--warm-kernels`` compiles all kernels before the first test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LINES = 60  # of a graph that are printed


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tinygrad_rnn")
    group.addoption("--save-graphs", metavar="DIR", help="save pictures of the graphs of failed gradient checks")
    group.addoption("--warm-kernels", action="store_true", help="compile all kernels before the first test")


@pytest.hookimpl(tryfirst=True)  # before Hypothesis looks for the profile that was asked for
def pytest_configure(config: pytest.Config) -> None:
    from hypothesis import settings

    from .profiles import PROFILES, profile

    for name in PROFILES:
        settings.register_profile(f"tinygrad-{name}", profile(name))


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("--warm-kernels"):
        from ..warmup import warmup

        warmup()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    report: Any = yield
    if call.excinfo is not None:
        for error in _mismatches(call.excinfo.value):
            report.sections.append(("graph of the counterexample", _text(error.graph)))
            folder = item.config.getoption("--save-graphs")
            if folder:
                report.sections.append(("picture of the counterexample", str(_saved(error, Path(folder), item.nodeid))))
    return report


def _mismatches(error: BaseException) -> list[Any]:
    """The failed gradient checks in an error or in a group of errors."""
    from .report import GradientMismatch

    found, work = [], [error]
    while work:
        e = work.pop()
        if isinstance(e, GradientMismatch):
            found.append(e)
        work += e.exceptions if isinstance(e, BaseExceptionGroup) else ()
    return found


def _text(graph: Any) -> str:
    lines = str(graph).splitlines()
    if len(lines) > LINES:
        lines[LINES // 2 : -LINES // 2] = [f"  ... {len(lines) - LINES} more ..."]
    return "\n".join(lines)


def _saved(error: Any, folder: Path, test: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return error.draw(folder / (re.sub(r"\W+", "-", test).strip("-") + ".svg"))
