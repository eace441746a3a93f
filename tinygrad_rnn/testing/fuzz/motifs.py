"""Groups of operations that a planner may get wrong: parts of joins that come out too, slices that share memory.

A graph in which each operation is drawn on its own seldom has them: most faults of compiled programs lay here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["MOTIFS", "add_motif"]

TOUCHES = ("shift", "scale", "tanh", "exp", "double", "sin", "complement", "square")


def touch(b: Any, k: int | None) -> int | None:
    """An elementwise operation, which may write over its operand where nobody else needs that."""
    op = b.c.choice(TOUCHES)
    params = {"factor": b.c.choice([0.5, -1.25, 2.0])} if op in ("shift", "scale") else {}
    return None if k is None else b.add(op, k, **params)


def _fresh(b: Any, wanted: Callable[[Any], bool] = lambda v: True) -> int | None:
    """The result of an elementwise operation that nothing else takes so far."""
    fitting = [k for k, v in enumerate(b.values) if v.is_float and v.size and wanted(v)]
    return touch(b, b.c.choice(fitting)) if fitting else None


def _keep(b: Any, k: int | None, one_of: int = 2) -> None:
    if b.c.integer(0, one_of - 1) and k is not None:
        b.kept.append(k)


def _slice_at(b: Any, k: int, axis: int) -> int | None:
    at = b.c.integer(0, b.values[k].shape[axis] - 1)
    return b.add("slice", k, index=(slice(None),) * axis + (at,))


def part_of_a_join(b: Any) -> None:
    """A stack of one, or a join of some, whose parts come out while an operation follows on the whole."""
    y = _fresh(b)
    if y is None:
        return
    value = b.values[y]
    op = b.c.choice(["stack", "concatenate"]) if value.ndim else "stack"
    parts = [y]
    for _ in range(b.c.choice([0, 1, 2])):
        parts.append(b.c.choice([touch(b, y), y]) or y)
    joined = b.add(op, *parts, axis=b.c.integer(0, value.ndim - (op == "concatenate")))
    if joined is not None and b.c.integer(0, 3) == 3:
        joined = b.add("stack", joined, axis=0) or joined
    touch(b, joined)
    for part in parts:
        _keep(b, part)
    _keep(b, joined, 4)


def slices_apart(b: Any) -> None:
    """Entries of one value, along one axis or two, each of them changed."""
    y = _fresh(b, lambda v: v.ndim > 0)
    if y is None:
        return
    for _ in range(b.c.integer(1, 3)):
        part = _slice_at(b, y, b.c.integer(0, b.values[y].ndim - 1))
        _keep(b, touch(b, part))
    _keep(b, y, 4)


def stacked_slices(b: Any) -> None:
    """Entries along different axes of one value, or at any distance from each other, put together."""
    y = _fresh(b, lambda v: v.ndim > 1 and v.shape[0] == v.shape[1])
    if y is None:
        y = _fresh(b, lambda v: v.ndim > 0)
    if y is None:
        return
    same = b.values[y].ndim > 1 and b.values[y].shape[0] == b.values[y].shape[1]
    parts = [_slice_at(b, y, b.c.integer(0, 1) if same else 0) for _ in range(b.c.integer(1, 3))]
    if None not in parts:
        joined = b.add("stack", *parts, axis=b.c.integer(0, b.values[y].ndim - 1))
        _keep(b, touch(b, joined))


def views_of_a_result(b: Any) -> None:
    """Another view of a value comes out, and so may the value, and what is computed of them."""
    y = _fresh(b)
    if y is None:
        return
    value = b.values[y]
    views: list[tuple[str, dict[str, Any]]] = [("T", {}), ("flatten", {}), ("expand_dims", {"axis": 0})]
    if value.ndim:
        views += [("slice", {"index": (slice(None, None, -1),)}), ("slice", {"index": (0,)}),
                  ("slice", {"index": (slice(1, None),)}), ("flip", {"axis": None})]  # fmt: skip
        if value.shape[-1] > 1:
            views.append(("split", {"sections": (1,), "axis": -1, "part": b.c.integer(0, 1)}))
    for _ in range(b.c.integer(1, 2)):
        op, params = b.c.choice(views)
        view = b.add(op, y, **params)
        _keep(b, view)
        touch(b, view)
    if b.c.integer(0, 1):
        touch(b, y)
    _keep(b, y)


MOTIFS: tuple[Callable[[Any], None], ...] = (part_of_a_join, slices_apart, stacked_slices, views_of_a_result)


def add_motif(b: Any) -> None:
    """Add one of the groups, where it fits."""
    b.c.choice(MOTIFS)(b)
