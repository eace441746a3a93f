"""A claim: a sentence with figures, the command that measures them, and how far off they may be."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .numbers import agrees
from .texts import folded, place

__all__ = ["LIST", "Claim", "Result", "Unmeasured", "claims", "unmeasured"]

LIST = Path(__file__).parent / "claims.toml"
HOLE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Result:
    """What became of a claim: "holds", "FAILS" or "not run", why, and the figures as they were measured."""

    status: str
    details: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """One entry of the list.

    Attributes
    ----------
    file, text : str
        Where it stands, and the sentence, its figures in braces.
    run : str
        Arguments for Python, with ``{data}`` for the folder of what may not be passed on and ``{out}`` for one to write
        into; or the file to read if it ends in none of ours.
    figures : tuple of (pattern, allowed)
        For each figure a pattern whose group finds it in what is printed, and what :func:`~.numbers.agrees` allows.
    needs : tuple of str
        Modules without which it is not run.
    """

    file: str
    text: str
    run: str
    figures: tuple[tuple[str, str], ...]
    needs: tuple[str, ...] = ()

    @property
    def stated(self) -> list[str]:
        return HOLE.findall(self.text)

    @property
    def sentence(self) -> str:
        """The sentence as it must stand in the file."""
        return folded(HOLE.sub(r"\1", self.text))

    def spans(self) -> list[tuple[int, int]]:
        """Where its figures stand in the folded file.

        Raises
        ------
        AssertionError
            If the file does not say this, or says it twice.
        """
        found = place(self.file)
        assert found.count(self.sentence) == 1, f"{self.file} says {found.count(self.sentence)} times: {self.sentence}"
        start, shift, spans = found.index(self.sentence), 0, []
        for hole in HOLE.finditer(folded(self.text)):
            at = start + hole.start() - shift
            spans.append((at, at + len(hole[1])))
            shift += 2
        return spans

    def judged(self, output: str) -> Result:
        """Whether what was printed agrees with what is stated."""
        details, measured = [], []
        for stated, (pattern, allowed) in zip(self.stated, self.figures, strict=True):
            found = re.search(pattern, output, re.M)
            measured.append(stated if found is None else found[1])
            if found is None:
                details.append(f"{stated}: nothing printed fits {pattern}")
            elif not agrees(allowed, stated, float(found[1].replace(",", ""))):
                details.append(f"stated {stated}, measured {found[1]}, allowed: {allowed}")
        return Result("FAILS" if details else "holds", tuple(details), tuple(measured))

    def rewritten(self, measured: tuple[str, ...]) -> str:
        """The text with what was measured, where what is stated is not the same number."""
        new = iter(
            stated if allowed.startswith(("exact", "below", "at least")) else _tidy(value)
            for stated, value, (_, allowed) in zip(self.stated, measured, self.figures, strict=True)
        )
        return HOLE.sub(lambda _: f"{{{next(new)}}}", self.text)


@dataclass(frozen=True)
class Unmeasured:
    """Figures that nobody measures, and why."""

    file: str
    text: str
    why: str

    def spans(self) -> list[tuple[int, int]]:
        found, text = place(self.file), folded(self.text)
        spans = [(m.start(), m.end()) for m in re.finditer(re.escape(text), found)]
        assert spans, f"{self.file} does not say: {text}"
        return spans


def _read() -> dict[str, Any]:
    return tomllib.loads(LIST.read_text(encoding="utf-8"))


def claims() -> list[Claim]:
    """The list, in order."""
    return [
        Claim(c["file"], c["text"], c["run"], tuple((p, a) for p, a in c["figures"]), tuple(c.get("needs", ())))
        for c in _read()["claim"]
    ]


def unmeasured() -> list[Unmeasured]:
    """What is stated and not measured."""
    return [Unmeasured(**u) for u in _read()["unmeasured"]]


def _tidy(value: str) -> str:
    return "100" if value == "100.0" else value
