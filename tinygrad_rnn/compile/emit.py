"""Instructions: a kernel with where its operands lie and how it walks along them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tensor import Tensor
from .views import Storage, View, compact_strides

__all__ = ["Emitter", "Instruction", "walk"]

Walk = list[tuple[int, tuple[int, ...]]]  # (count, stride of each operand) for each axis, outermost first


@dataclass(eq=False, slots=True)
class Instruction:
    """One call of a kernel, or of Python.

    Attributes
    ----------
    name : str
        Of the kernel.
    address : int
        0 where Python does it.
    node : Tensor
        What it computes, for messages and listings.
    views : sequence of View
        The operands.
    dims, steps : list of int
        As the kernel takes them.
    cores : sequence of sequence of int
        For each operand the positions in `dims` of its own axes: the kernel's signature.
    loops : list
        Axes around the kernel.
    writes : int
        How many of the operands, the last ones, are written.
    host : callable, optional
        What Python does.
    flops : int
    fault : (View, callable), optional
        For a fault that the kernel found: the view of what is at fault, and what makes the error from its values.
    """

    name: str
    address: int
    node: Tensor
    views: Sequence[View]
    dims: list[int]
    steps: list[int]
    cores: Sequence[Sequence[int]]
    loops: Walk
    writes: int
    flops: int = 0
    host: Callable[..., None] | None = None
    fault: tuple[View, Callable[[np.ndarray], Exception]] | None = None

    def reach(self, k: int) -> tuple[int, int]:
        """The lowest and the highest offset at which operand `k` is touched (of first bytes), or (0, -1) if none is."""
        axes = [(n, strides[k]) for n, strides in self.loops]
        axes.append((self.dims[0], self.steps[k]))
        if self.cores[k]:
            before = len(self.views) + sum([len(core) for core in self.cores[:k]])
            axes += [(self.dims[d], self.steps[before + j]) for j, d in enumerate(self.cores[k])]
        low = high = self.views[k].offset
        for n, s in axes:
            if not n:
                return 0, -1
            if s < 0:
                low += (n - 1) * s
            else:
                high += (n - 1) * s
        return low, high

    def row(self) -> list[int]:
        """The instruction as the machine reads it."""
        row = [self.address, len(self.views), len(self.loops), len(self.dims), len(self.steps)]
        for v in self.views:
            row += (v.storage.slot, v.offset + v.storage.offset)
        row += self.dims
        row += self.steps
        for count, strides in self.loops:
            row.append(count)
            row += strides
        return row


class Emitter:
    """The instructions of a program, and the storages that they use."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.storages: list[Storage] = []

    def storage(self, nbytes: int, label: str = "") -> Storage:
        made = Storage(nbytes, label=label)
        self.storages.append(made)
        return made

    def room(self, shape: tuple[int, ...], dtype: Any, label: str = "", order: Sequence[int] | None = None) -> View:
        """A new piece of the arena; `order` lists the axes from the outermost to the innermost."""
        strides = compact_strides(shape, dtype.itemsize, order)
        size = dtype.itemsize
        for n in shape:
            size *= n
        return View(self.storage(size, label), 0, shape, strides, dtype)

    def touch(self, view: View, number: int | None = None) -> None:
        """Note that a view is used by the instruction that comes next, or by another one."""
        at = len(self.instructions) if number is None else number
        storage = view.storage
        if at < storage.first:
            storage.first = at
        if at > storage.last:
            storage.last = at

    def emit(
        self,
        node: Tensor,
        name: str,
        address: int,
        views: Sequence[View],
        dims: list[int],
        steps: list[int],
        cores: Sequence[Sequence[int]],
        loops: Walk,
        writes: int = 1,
        flops: int = 0,
        fault: Any = None,
    ) -> None:
        for v in views:
            self.touch(v)
        made = Instruction(name, address, node, views, dims, steps, cores, loops, writes, flops, None, fault)
        self.instructions.append(made)

    def emit_host(self, node: Tensor, name: str, views: Sequence[View], host: Callable[..., None]) -> None:
        """A step that Python takes: ``host(arrays)`` with an array for each view, the last one written."""
        for v in views:
            self.touch(v)
        self.instructions.append(Instruction(name, 0, node, views, [], [], [()] * len(views), [], 1, 0, host))

    def elementwise(self, node: Tensor, name: str, address: int, views: Sequence[View], writes: int = 1) -> None:
        """A kernel of numbers over operands of one shape (after broadcasting)."""
        axes = walk(views[-1].shape, [v.strides for v in views])
        if axes is None:
            return
        count, strides = axes[-1] if axes else (1, (0,) * len(views))
        loops = axes[:-1]
        total = count
        for n, _ in loops:
            total *= n
        cores = [()] * len(views)
        self.emit(node, name, address, views, [count], list(strides), cores, loops, writes, total)

    def over_rows(
        self,
        node: Tensor,
        name: str,
        address: int,
        views: Sequence[View],
        cores: Sequence[Sequence[int]],
        sizes: list[int],
        **facts: Any,
    ) -> None:
        """A kernel of rows: the last ``len(cores[k])`` axes of operand `k` are the kernel's, the others are walked."""
        leads = [v.strides[: len(v.strides) - len(core)] for v, core in zip(views, cores, strict=True)]
        own = [s for v, core in zip(views, cores, strict=True) for s in v.strides[len(v.strides) - len(core) :]]
        last = views[-1]
        axes = walk(last.shape[: len(last.shape) - len(cores[-1])], leads)
        if axes is None:
            return
        count, strides = axes[-1] if axes else (1, (0,) * len(views))
        self.emit(node, name, address, views, [count, *sizes], [*strides, *own], cores, axes[:-1], **facts)


def walk(shape: tuple[int, ...], strides: Sequence[tuple[int, ...]]) -> Walk | None:
    """The axes to walk along, outermost first, neighbours merged wherever that is possible; None for nothing to do.

    The axes are ordered by the strides of the last operand, which is the one that is written.
    """
    if 0 in shape:
        return None
    axes = [(n, tuple([s[k] for s in strides])) for k, n in enumerate(shape) if n != 1]
    if len(axes) > 1:
        axes.sort(key=lambda axis: -abs(axis[1][-1]))
        merged = [axes[0]]
        for n, own in axes[1:]:
            count, outer = merged[-1]
            if all(o == n * s for o, s in zip(outer, own)):
                merged[-1] = count * n, own
            else:
                merged.append((n, own))
        return merged
    return axes
