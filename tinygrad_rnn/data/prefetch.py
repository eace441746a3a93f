"""Batches made ahead, in a thread of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from queue import Full, Queue
from threading import Event, Thread
from typing import Any

from ..settings import check_count
from .source import Batch, Source

__all__ = ["Prefetch"]


class Prefetch:
    """The batches of a source, the next ones made while the last is worked on.

    Arrays are handed over, not copied. The position is that of what was given, not of what was made; the source itself
    must not be used elsewhere meanwhile.

    Parameters
    ----------
    source : Source
    ahead : int
        How many batches are kept ready.

    Examples
    --------
    >>> from tinygrad_rnn.data import Batches, Prefetch
    >>> batches = Prefetch(Batches({"x": list(range(5))}, batch_size=2))
    >>> [batch["x"].tolist() for batch in batches]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, source: Source, ahead: int = 2) -> None:
        self.source, self.ahead = source, check_count("Prefetch: ahead", ahead)
        self._state = source.state_dict()
        self._ended = True  # whether the source is where this is

    @property
    def carries_state(self) -> bool:
        """As the source."""
        return self.source.carries_state

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Batch]:
        if not self._ended:  # an iteration was left early, and the source may be ahead
            self.source.load_state_dict(self._state)
            self.source._resumed = False
        return self._handed_over(iter(self.source))

    def _handed_over(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        ready: Queue[tuple[str, Any, Any]] = Queue(self.ahead)
        left = Event()
        self._ended = False
        worker = Thread(target=self._work, args=(batches, ready, left), daemon=True)
        worker.start()
        try:
            while True:
                kind, made, state = ready.get()
                if kind == "failed":
                    raise made
                self._state = state
                if kind == "ended":
                    self._ended = True
                    return
                yield made
        finally:
            left.set()
            worker.join()

    def _work(self, batches: Iterator[Batch], ready: Queue, left: Event) -> None:
        try:
            for batch in batches:
                if not _put(ready, left, ("made", batch, self.source.state_dict())):
                    return
            _put(ready, left, ("ended", None, self.source.state_dict()))
        except BaseException as error:  # raised again where the batches are waited for
            _put(ready, left, ("failed", error, None))

    def state_dict(self) -> dict[str, int]:
        """The position: behind the batch that was given last."""
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a position with the next iteration; see :class:`Source`."""
        self.source.load_state_dict(state)
        self._state, self._ended = self.source.state_dict(), True


def _put(ready: Queue, left: Event, item: Any) -> bool:
    """Whether the item could be put before the iteration was left."""
    while not left.is_set():
        try:
            ready.put(item, timeout=0.05)
            return True
        except Full:
            continue
    return False
