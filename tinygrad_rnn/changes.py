"""A count of the changes that a compiled program must know of: those to attributes of modules, and to ``requires_grad``.

The count only grows. A program compares it with what it was when the program last looked, and looks again where it
differs; what has changed back is then found to be as it was.
"""

from __future__ import annotations

from itertools import count
from typing import Any

__all__ = ["Watched", "note"]

_numbers = count(1)
last = 0  # no number comes twice, so that equal means unchanged


def note() -> None:
    """Say that something has changed, once it has."""
    global last
    last = next(_numbers)


class Watched:
    """An object whose attributes are part of what a compiled program was recorded for."""

    def __setattr__(self, attribute: str, value: Any) -> None:
        object.__setattr__(self, attribute, value)
        note()

    def __delattr__(self, attribute: str) -> None:
        object.__delattr__(self, attribute)
        note()
