"""Locks that a forked child finds open: threads that held them in the parent are not there any more."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet

__all__ = ["Turns"]


class Turns:
    """Threads take turns; the thread whose turn it is may come again, as a signal handler does.

    Attributes
    ----------
    lock : threading.RLock
        To be used in a ``with`` statement.

    Examples
    --------
    >>> from tinygrad_rnn.compile.turns import Turns
    >>> turns = Turns()
    >>> with turns.lock, turns.lock:
    ...     print("in turn")
    in turn
    """

    def __init__(self) -> None:
        self.renew()
        _ALL.add(self)

    def renew(self) -> None:
        """Forget who has the turn."""
        self.lock = threading.RLock()

    def __deepcopy__(self, memo: dict[int, object]) -> Turns:
        return Turns()


_ALL: WeakSet[Turns] = WeakSet()


def _renew_all() -> None:
    for turns in list(_ALL):
        turns.renew()


if hasattr(os, "register_at_fork"):  # systems without it do not fork
    os.register_at_fork(after_in_child=_renew_all)
