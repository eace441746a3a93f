"""What a reader may ask of one tensor: how it was made, what it holds, and which line of code made it."""

from __future__ import annotations

import linecache
import os
import re
from typing import Any

import numpy as np

from ...tensor import DETACHED, Spec, Tensor
from ..read.timeline import PICKS
from ..scene.text import index_text
from .mathml import formula, number

__all__ = ["brief", "details"]

ROWS, COLUMNS = 6, 8  # of a value that are shown
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
TEXT = 200  # letters of a parameter, or of a line of code


def details(t: Tensor) -> dict[str, Any]:
    """All that is told of a tensor, in JSON's terms.

    The keys are name, op, formula (a tree of MathML, or None), shape, dtype, value and grad (previews, or None),
    params (pairs of texts), scope, time, direction, trained, file, line and code (the text of that line, if it can be
    read).
    """
    source = t.source
    line = source.line
    return {
        **brief(t),
        "dtype": t.dtype.name,
        "value": _preview(t.data),
        "grad": None if t.grad is None else _preview(t.grad.data),
        "params": [[k, _param(t, k, v)] for k, v in t.params.items() if t.op is not DETACHED],  # a serial number
        "scope": list(t.scope),
        "time": t.time,
        "direction": t.direction,
        "trained": t.is_leaf and t.requires_grad,
        "file": os.fspath(source.file),
        "line": line,
        "code": _clipped(linecache.getline(source.file, line).strip()),
    }


def brief(t: Tensor) -> dict[str, Any]:
    """Name, operation, formula and shape alone: what is told of one of many that are drawn as one."""
    return {"name": t.name, "op": t.op.name, "formula": formula(t), "shape": list(t.shape)}


def _param(t: Tensor, key: str, value: Any) -> str:
    if key == "index" and t.op in PICKS:
        return f"[{index_text(t)}]"
    if isinstance(value, np.random.Generator):
        return type(value.bit_generator).__name__  # its repr has an address in it
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return _clipped(value.name if isinstance(value, np.dtype) else _ADDRESS.sub("", repr(value)))


def _clipped(text: str) -> str:
    return text if len(text) <= TEXT else text[: TEXT - 1] + "…"


def _preview(data: np.ndarray | Spec) -> dict[str, Any] | None:
    """The first numbers, as rows of texts, whether there are more, and figures of all of them."""
    if isinstance(data, Spec):
        return None
    table = np.atleast_2d(data)
    while table.ndim > 2:
        table = table[0] if len(table) else table.reshape(0, table.shape[-1])
    shown = table[:ROWS, :COLUMNS].tolist()
    return {
        "rows": [[number(v) for v in row] for row in shown],
        "more": data.size > sum(map(len, shown)),
        "figures": _figures(data),
    }


def _figures(data: np.ndarray) -> list[list[str]]:
    """Smallest, largest, mean and norm of the finite numbers, and how many are not."""
    if data.size < 2 or data.dtype.kind not in "fiu":
        return []
    finite = np.isfinite(data)
    bad = int(data.size - np.count_nonzero(finite))
    rest = (data[finite] if bad else data).astype(np.float64).reshape(-1)
    found = [["not finite", str(bad)]] if bad else []
    if not rest.size:
        return found
    largest = float(np.abs(rest).max())
    norm = largest * float(np.linalg.norm(rest / largest)) if largest else 0.0
    facts = {"min": rest.min(), "max": rest.max(), "mean": rest.mean(), "norm": norm}
    return [*([name, number(float(value))] for name, value in facts.items()), *found]
