"""Values of the nodes of a graph, computed from those of its leaves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, PlaceholderError, ShapeError, fail
from ..tensor import Tensor, describe, located

__all__ = ["compute", "fitting"]


def compute(nodes: Sequence[Tensor], values: dict[int, Any], kept: Collection[int]) -> None:
    """Add the values of `nodes` to `values`, by serial number; but for those `kept`, each goes after its last use."""
    last = {i.serial: t.serial for t in nodes for i in t.inputs}
    for t in nodes:
        if t.serial not in values:
            values[t.serial] = _evaluate(t, values)
        for i in t.inputs:
            if last[i.serial] == t.serial and i.serial not in kept:
                values.pop(i.serial, None)


def fitting(t: Tensor, value: Any, name: str = "graph") -> np.ndarray:
    """`value` as an array for a placeholder; `name` is what is called."""
    array = value.data if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype != t.dtype:
        if not np.can_cast(array.dtype, t.dtype, "same_kind") and not (t.is_float and array.dtype.kind in "iub"):
            raise fail(DTypeError, f"{name}: placeholder {describe(t)}", expected=str(t.dtype), got=str(array.dtype))
        array = array.astype(t.dtype)
    if array.shape != t.shape:
        raise fail(ShapeError, f"{name}: placeholder {describe(t)}", expected=str(t.shape), got=str(array.shape))
    return array


def _evaluate(t: Tensor, values: dict[int, Any]) -> np.ndarray:
    if t.is_symbolic and t.is_leaf:
        raise fail(PlaceholderError, f"graph: {describe(t)} has no value", hint="pass an array for each placeholder")
    if t.op.run is None:
        return t.data
    try:
        return np.asarray(t.op.run(*[values[i.serial] for i in t.inputs], **t.params))
    except (ValueError, IndexError) as error:
        raise located(error, t) from None
