"""Python's search for circles of references, put off where it would find nothing, slowly."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


_waiting: list[None] = []  # an entry for each block that has put the search off


def _go_on() -> None:
    """In a forked child, where the threads that had put it off are not there any more."""
    if _waiting:
        _waiting.clear()
        gc.enable()


if hasattr(os, "register_at_fork"):  # systems without it do not fork
    os.register_at_fork(after_in_child=_go_on)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the search for circles: a graph has many nodes and no circle."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    _waiting.append(None)
    try:
        yield
    finally:
        if _waiting:
            _waiting.pop()
        gc.enable()
