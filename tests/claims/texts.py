"""The texts that state figures, and where in them figures stand."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ROOT", "figures", "folded", "place", "sources"]

ROOT = Path(__file__).parents[2]
COUNT = r"(?:two|three|four|five|six|seven|eight|nine|ten|thirty)"
TIME = rf"(?:half an?|a few|{COUNT}) (?:second|minute|hour)s?\b|\ba fraction of a second|\bin seconds|\btakes hours"
NUMERAL = r"(?<![\w.^])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)(?: million)?"
TIMES = rf"(?:\d|\b{COUNT}) times as\b|\btwice as (?:fast|long|much)|\bhalf as (?:fast|long|much)"
PROSE = re.compile(rf"{NUMERAL}|{TIME}|{TIMES}|(?<!\d )\b(?:ten|thirty|thousand)\b")
SHARE = rf"\bone (?:in|draw of) {COUNT}\b"
MEASURED = re.compile(rf"\d[\d,.]* ?(?:%|[µnum]?s\b|[KMGT]i?B\b)|{TIME}|{TIMES}|{SHARE}|units in the last place")
HIDDEN = "\0"


def sources() -> list[str]:
    """Files with texts for readers, from the project's root."""
    code = [p for folder in ("tinygrad_rnn", "viz", "examples") for p in sorted((ROOT / folder).rglob("*.py"))]
    return ["README.md", "examples/README.md", *(p.relative_to(ROOT).as_posix() for p in code)]


def folded(text: str) -> str:
    """A text in one line, as sentences run over several."""
    return re.sub(r"\s+", " ", text)


def place(file: str) -> str:
    return folded((ROOT / file).read_text(encoding="utf-8"))


def figures(file: str, text: str | None = None) -> Iterator[re.Match[str]]:
    """Figures in what is written for readers, by their positions in the folded text.

    In READMEs and at the head of examples these are all numbers outside of code, elsewhere those that are measured:
    times, memory, percentages, rounding errors.
    """
    text = (ROOT / file).read_text(encoding="utf-8") if text is None else text
    shown = _prose(text) if file.endswith(".md") else _docstrings(text, head=file.startswith("examples/"))
    pattern = MEASURED if file.startswith(("tinygrad_rnn/", "viz/")) else PROSE
    return pattern.finditer(folded(shown))


def _prose(text: str) -> str:
    """Markdown with blocks of code, code within lines, and the targets of links hidden."""
    return re.sub(r"^```.*?^```|``[^`]*``|`[^`\n]*`|\]\([^)]*\)", lambda m: _hidden(m[0]), text, flags=re.M | re.S)


def _docstrings(text: str, head: bool) -> str:
    """Python with all hidden but its docstrings, without their code; of examples only the one at the head."""
    lines, shown = text.splitlines(), [_hidden(line) for line in text.splitlines()]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module if head else ast.Module | ast.ClassDef | ast.FunctionDef):
            for at in _prose_lines(node, lines):
                shown[at] = re.sub(r"``[^`]*``|`[^`]*`", lambda m: _hidden(m[0]), lines[at])
    return "\n".join(shown)


def _prose_lines(node: ast.Module | ast.ClassDef | ast.FunctionDef, lines: list[str]) -> Iterator[int]:
    """The lines of a docstring that are not of an example."""
    if ast.get_docstring(node) is None:
        return
    inside = False
    for at in range(node.body[0].lineno - 1, node.body[0].end_lineno or 0):
        inside = lines[at].strip() != "" and (inside or lines[at].strip().startswith(">>>"))
        if not inside:
            yield at


def _hidden(text: str) -> str:
    return re.sub(r"\S", HIDDEN, text)
