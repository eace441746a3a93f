"""Figures as they stand in texts, as numbers, and how far off a measurement may be."""

from __future__ import annotations

import math
import re

__all__ = ["agrees", "digits_of", "number_of"]

WORDS = {
    "half": 0.5, "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "thirty": 30, "hundred": 100, "thousand": 1e3, "million": 1e6,
    "us": 1, "second": 1, "seconds": 1, "minute": 60, "minutes": 60, "hour": 3600, "hours": 3600,
}  # fmt: skip
FILLING = ("in", "draw", "of")  # one in ten
NUMERAL = re.compile(r"\d[\d,]*(?:\.\d+)?")


def number_of(text: str) -> float:
    """The number that a text says: ``1.25 million``, ``half a minute``, ``22,891``.

    Examples
    --------
    >>> number_of("1.25 million"), number_of("half a minute"), number_of("22,891")
    (1250000.0, 30.0, 22891.0)
    """
    words = [w for w in re.findall(r"[a-z]+|[\d,.]+", text) if w not in FILLING]
    return float(math.prod(WORDS[w] if w in WORDS else float(w.replace(",", "")) for w in words))


def digits_of(text: str) -> float:
    """Half a unit of the last digit that a text states: what rounding may have taken.

    Examples
    --------
    >>> digits_of("2.239"), digits_of("12"), digits_of("1.25 million")
    (0.0005, 0.5, 5000.0)
    """
    numeral = NUMERAL.search(text)
    if numeral is None:
        return 0.0
    unit = 0.5 * 10.0 ** -len(numeral[0].partition(".")[2])
    return unit * number_of(text.replace(numeral[0], "1"))


def agrees(allowed: str, stated: str, measured: float) -> bool:
    """Whether a measurement is what a text states.

    Parameters
    ----------
    allowed : str
        "exact": as it is rounded there. "time": within a factor of two. "3 %": off by so much of what is stated at
        most. "share of 1000": a percentage of so many cases, within two standard errors. "below 60" and "at least 9":
        what words mean.
    """
    number = number_of(stated) if not allowed.startswith(("below", "at least")) else math.nan
    kind, _, amount = allowed.rpartition(" ")
    if allowed == "exact":
        return abs(measured - number) <= digits_of(stated) * (1 + 1e-9)
    if allowed == "time":
        return number / 2 <= measured <= 2 * number
    if kind == "share of":
        return abs(measured - number) <= 2 * _standard_error(number / 100, int(amount)) * 100 + digits_of(stated)
    if kind == "below":
        return measured < float(amount)
    if kind == "at least":
        return measured >= float(amount)
    if amount == "%":
        return abs(measured - number) <= float(kind) / 100 * abs(number)
    raise ValueError(f"there is no tolerance {allowed!r}")


def _standard_error(share: float, count: int) -> float:
    """Of a share of so many cases; two more of either kind are counted, so that it is not zero where all are right."""
    share = (share * count + 2) / (count + 4)
    return math.sqrt(share * (1 - share) / (count + 4))
