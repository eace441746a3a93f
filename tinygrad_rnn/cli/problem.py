"""What the command line says when something goes wrong: a line or two, and no traceback."""

from __future__ import annotations

import importlib
import re
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

__all__ = ["FAILURE", "USAGE", "Problem", "nearest", "of_error"]

FAILURE, USAGE = 1, 2  # exit codes
PACKAGE = Path(__file__).parents[1]
OWN = (PACKAGE, PACKAGE.parent / "viz")  # the second one in a source tree


class Problem(Exception):
    """What went wrong and, in a second line, what to do.

    Attributes
    ----------
    code : int
        What the process ends with: 2 where the command makes no sense, 1 where it failed.
    """

    def __init__(self, said: str, hint: str = "", *, code: int = FAILURE) -> None:
        super().__init__(said + (f"\n  {hint}" if hint else ""))
        self.code = code


def nearest(name: str, known: Sequence[str]) -> str:
    """A question that names what may have been meant, or nothing."""
    found = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(found)}?" if found else ""


def of_error(error: BaseException, doing: str) -> Problem:
    """Any error in two lines: of the user's code with its place, after what it was `doing`; of ours as it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    place = _place(error)
    if place or not isinstance(error, ValueError | TypeError | RuntimeError):
        doing = f"{doing} {type(error).__name__}{' at ' + place if place else ''}"
        said = ": ".join([doing, *lines[:1]])
    else:
        said = _as_options(lines[0]) if lines else type(error).__name__
    return Problem(said, _as_options("; ".join(re.sub(" +", " ", line) for line in lines[1:])))


OPTIONS = (
    (re.compile(r'\b(view|level|direction|theme)="(\w+)"'), r"--\1 \2"),
    (re.compile(r"\bsteps=\((\w+), (\w+)\)"), r"--only \1-\2"),
    (re.compile(r"\bmax_nodes=?"), "--max-nodes "),
)


def _as_options(text: str) -> str:
    """Arguments of ``draw`` as options."""
    for python, option in OPTIONS:
        text = python.sub(option, text)
    return text


def _place(error: BaseException) -> str:
    """The line of the user's that an error came from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_own(f.filename)]
    return f"{_short(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def _is_own(file: str) -> bool:
    inside = any(Path(file).is_relative_to(folder) for folder in OWN)
    return inside or file.startswith("<frozen") or file == importlib.__file__


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
