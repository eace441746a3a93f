"""A count of the changes that a compiled program must know of: to attributes of modules, and to ``requires_grad``.

The count only grows. A program compares it with what it was when the program last looked, and looks again where it
differs; what has changed back is then found to be as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import get_ident
from typing import Any

__all__ = ["Observed", "note", "seen_elsewhere"]

_numbers = count(1)
last = 0  # no number comes twice, so that equal means unchanged
_watching: dict[object, tuple[int, set[int]]] = {}


def note(owner: Any) -> None:
    """Say that something of `owner` changes: before, for who reads it meanwhile, and again after."""
    global last
    last = next(_numbers)
    for thread, changed in list(_watching.values()) if _watching else ():
        if thread != get_ident():
            changed.add(id(owner))


@contextmanager
def seen_elsewhere() -> Iterator[set[int]]:
    """The ids of what other threads change while the block runs."""
    key, changed = object(), set[int]()
    _watching[key] = get_ident(), changed
    try:
        yield changed
    finally:
        del _watching[key]


class Observed:
    """An object whose attributes are part of what a compiled program was recorded for."""

    def __setattr__(self, attribute: str, value: Any) -> None:
        note(self)
        object.__setattr__(self, attribute, value)
        note(self)

    def __delattr__(self, attribute: str) -> None:
        note(self)
        object.__delattr__(self, attribute)
        note(self)
