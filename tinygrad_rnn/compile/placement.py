"""Placement: where a tensor is written so that joining it with others costs nothing.

An entry of a stack is computed straight into its place in the stack, a gate into its part of the gates, the operands of
a sum of products one after the other, so that the sum is one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..ops.named import ops_named
from ..ops.shape import STACK
from ..tensor import Tensor
from .compiler_ops import CONTRACT

__all__ = ["FREE", "Contiguous", "Home", "homes"]

FREE = ops_named("reshape", "transpose", "slice", "broadcast_to", "detach")  # views of their input
JOINS = ops_named("stack", "concatenate")


@dataclass(eq=False, slots=True)
class Contiguous:
    """Room for tensors of one shape, one after the other."""

    count: int
    like: Tensor


@dataclass(frozen=True, slots=True)
class Home:
    """The place of a tensor inside another, or in a row of tensors."""

    parent: Tensor | Contiguous
    index: Any


def homes(nodes: Sequence[Tensor]) -> dict[int, Home]:
    """A home for each tensor, by serial number, that is joined with others; later joins go first."""
    found: dict[int, Home] = {}
    for t in reversed(nodes):
        if t.op in JOINS:
            _place_parts(t, found)
    for t in reversed(nodes):
        if t.op is CONTRACT:
            for side in range(2):
                _place_rows(t.inputs[side::2], found)
    return found


def _movable(t: Tensor, found: dict[int, Home]) -> bool:
    """Whether a tensor is computed, so that it can be written anywhere, and has no home yet."""
    return bool(t.inputs) and t.op not in FREE and t.serial not in found


def _place_parts(t: Tensor, found: dict[int, Home]) -> None:
    axis = t.params["axis"]
    lead = (slice(None),) * axis
    at = 0
    for part in t.inputs:
        index: Any = at if t.op is STACK else slice(at, at + part.shape[axis])
        at += 1 if t.op is STACK else part.shape[axis]
        if _movable(part, found):
            found[part.serial] = Home(t, (*lead, index))


def _place_rows(operands: Sequence[Tensor], found: dict[int, Home]) -> None:
    shapes = {t.shape for t in operands}
    movable = list({t.serial: t for t in operands if _movable(t, found)}.values())
    if len(shapes) == 1 and len(movable) > 1:
        block = Contiguous(len(movable), movable[0])
        for k, t in enumerate(movable):
            found[t.serial] = Home(block, k)
