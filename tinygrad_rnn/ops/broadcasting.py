"""Shapes that broadcast."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np

from ..errors import ShapeError, fail

__all__ = ["broadcast_shape", "stretched"]


def broadcast_shape(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcast shape, or a ShapeError that says which axis does not fit."""
    if shapes.count(shapes[0]) == len(shapes):
        return shapes[0]
    try:
        return stretched(*shapes)
    except ValueError:
        raise fail(
            ShapeError,
            f"{name}: shapes {' and '.join(map(str, shapes))} do not broadcast",
            expected="axes that are equal or 1, counted from the last",
            got=_clash(shapes),
            hint="insert an axis of size 1 with t[:, None] or tg.expand_dims, or check which operand is transposed",
        ) from None


def stretched(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """What NumPy's ``broadcast_shapes`` gives, which stops at 32 axes; a ValueError where shapes do not broadcast."""
    if max(map(len, shapes)) <= 32:
        return np.broadcast_shapes(*shapes)
    whole = []
    for axis in zip_longest(*[reversed(s) for s in shapes], fillvalue=1):
        sizes = {n for n in axis if n != 1} or {1}
        if len(sizes) > 1:
            raise ValueError("shapes do not broadcast")
        whole.append(sizes.pop())
    return tuple(reversed(whole))


def _clash(shapes: tuple[tuple[int, ...], ...]) -> str:
    for back in range(1, max(map(len, shapes)) + 1):
        sizes = {s[-back] for s in shapes if len(s) >= back and s[-back] != 1}
        if len(sizes) > 1:
            return f"sizes {' and '.join(map(str, sorted(sizes)))} on axis -{back}"
    return "more axes than NumPy has"
