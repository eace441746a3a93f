"""Views: where the value of a node lies. All of NumPy's free changes of shape, as arithmetic on offsets and strides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

__all__ = ["Storage", "View", "broadcast", "compact_strides", "reshape", "subview", "transpose"]


@dataclass(eq=False, slots=True)
class Storage:
    """A piece of memory: part of the arena, or an array that is bound to the program.

    Attributes
    ----------
    nbytes : int
    slot : int
        Place of its base address in the program's table of bases; 0 is the arena.
    offset : int
        Where it begins in the arena, once that is planned.
    first, last : int
        Instructions between which it holds something.
    label : str
        Of the node that it was made for.
    """

    nbytes: int
    slot: int = 0
    offset: int = 0
    first: int = 1 << 60
    last: int = -1
    label: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """Shape and strides (in bytes) of a value inside a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """Whether the values lie one after the other in row-major order."""
        step = self.dtype.itemsize
        for n, s in zip(self.shape[::-1], self.strides[::-1], strict=True):
            if n != 1 and s != step:
                return False
            step *= n
        return True

    @property
    def span(self) -> tuple[int, int]:
        """First byte, and the one after the last, within the storage."""
        low = high = self.offset
        for n, s in zip(self.shape, self.strides, strict=True):
            if n == 0:
                return self.offset, self.offset
            low, high = (low + (n - 1) * s, high) if s < 0 else (low, high + (n - 1) * s)
        return low, high + self.dtype.itemsize


def compact_strides(shape: Sequence[int], itemsize: int, order: Sequence[int] | None = None) -> tuple[int, ...]:
    """Strides without gaps; `order` lists the axes from the outermost to the innermost, row-major by default."""
    strides = [0] * len(shape)
    step = itemsize
    for k in reversed(range(len(shape)) if order is None else order):
        strides[k] = step
        step *= max(shape[k], 1)
    return tuple(strides)


def transpose(v: View, axes: Sequence[int]) -> View:
    return View(v.storage, v.offset, tuple([v.shape[k] for k in axes]), tuple([v.strides[k] for k in axes]), v.dtype)


def broadcast(v: View, shape: tuple[int, ...]) -> View:
    if v.shape == shape:
        return v
    lead = len(shape) - len(v.shape)
    own = zip(v.shape, v.strides, shape[lead:], strict=True)
    strides = (0,) * lead + tuple([0 if n == 1 and m != 1 else s for n, s, m in own])
    return View(v.storage, v.offset, shape, strides, v.dtype)


def subview(v: View, index: Any) -> View:
    """Basic indexing: integers, slices, None and an ellipsis."""
    parts = index if type(index) is tuple else (index,)
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        used = sum(p is not None and p is not Ellipsis for p in parts)
        parts = (*parts[:at], *(slice(None),) * (len(v.shape) - used), *parts[at + 1 :])
    offset, axis = v.offset, 0
    shape: list[int] = []
    strides: list[int] = []
    for part in parts:
        if part is None:
            shape.append(1)
            strides.append(0)
            continue
        n, s = v.shape[axis], v.strides[axis]
        axis += 1
        if isinstance(part, slice):
            start, stop, step = part.indices(n)
            count = len(range(start, stop, step))
            offset += start * s if count else 0
            shape.append(count)
            strides.append(s * step if count > 1 else s)  # a step may be larger than any memory
        else:
            offset += (part + n if part < 0 else part) * s
    shape += v.shape[axis:]
    strides += v.strides[axis:]
    return View(v.storage, offset, tuple(shape), tuple(strides), v.dtype)


def reshape(v: View, shape: tuple[int, ...]) -> View | None:
    """The same values in row-major order under another shape, or None where that needs a copy."""
    if v.contiguous or not v.size:
        return View(v.storage, v.offset, shape, compact_strides(shape, v.dtype.itemsize), v.dtype)
    groups = _merged([(n, s) for n, s in zip(v.shape, v.strides, strict=True) if n != 1])
    strides: list[int] = []
    given = iter(reversed(groups))
    left, step = 1, 0
    for n in reversed(shape):
        if n == 1:
            strides.append(0)
            continue
        if left == 1:
            left, step = next(given)
        if left % n:
            return None
        strides.append(step)
        left, step = left // n, step * n
    return View(v.storage, v.offset, shape, tuple(strides[::-1]), v.dtype)


def _merged(axes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbouring axes as one wherever the outer one's stride is the extent of the inner one."""
    merged: list[tuple[int, int]] = []
    for n, s in axes:
        if merged and merged[-1][1] == n * s:
            merged[-1] = merged[-1][0] * n, s
        else:
            merged.append((n, s))
    return merged
