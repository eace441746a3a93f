"""The memory plan: offsets in one arena, so that what is needed at the same time does not overlap."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from .views import Storage

__all__ = ["ALIGNMENT", "plan"]

ALIGNMENT = 64  # bytes of a cache line, and of the widest vector register


def plan(storages: Sequence[Storage]) -> int:
    """Give each storage its offset; returns the size of the arena.

    Best fit over the gaps that are free, in the order in which storages are first used; linear but for the searches.
    """
    used = [s for s in storages if s.first <= s.last]
    ends = sorted(used, key=lambda s: s.last)
    free = _Gaps()
    top = done = 0
    for s in sorted(used, key=lambda s: (s.first, -s.nbytes)):
        while ends[done].last < s.first:
            free.give(ends[done].offset, _rounded(ends[done].nbytes))
            done += 1
        size = _rounded(s.nbytes)
        found = free.take(size)
        if found is None:
            found, top = top, top + size
        s.offset = found
    return top


def _rounded(nbytes: int) -> int:
    return max(-(-nbytes // ALIGNMENT), 1) * ALIGNMENT


class _Gaps:
    """Free pieces, by size and by place; neighbours are joined."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []  # (size, offset), sorted
        self.starts: dict[int, int] = {}  # offset -> size
        self.ends: dict[int, int] = {}  # end -> offset

    def give(self, offset: int, size: int) -> None:
        before = self.ends.get(offset)
        if before is not None:
            size += self.starts[before]
            offset = self._remove(before)
        after = self.starts.get(offset + size)
        if after is not None:
            self._remove(offset + size)
            size += after
        insort(self.sizes, (size, offset))
        self.starts[offset] = size
        self.ends[offset + size] = offset

    def take(self, size: int) -> int | None:
        k = bisect_left(self.sizes, (size, -1))
        if k == len(self.sizes):
            return None
        whole, offset = self.sizes[k]
        self._remove(offset)
        if whole > size:
            self.give(offset + size, whole - size)
        return offset

    def _remove(self, offset: int) -> int:
        size = self.starts.pop(offset)
        del self.ends[offset + size]
        del self.sizes[bisect_left(self.sizes, (size, offset))]
        return offset
