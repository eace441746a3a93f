"""What is written in a box, and how any text becomes safe DOT."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..tensor import LITERAL, Tensor
from . import theme

__all__ = ["label", "lines_of", "quoted"]

# What XML cannot hold: control characters, lone surrogates, and two that are no characters at all.
_ILLEGAL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def quoted(identifier: str) -> str:
    """A DOT identifier; different ones stay different."""
    safe = _ILLEGAL.sub(lambda m: f"%{ord(m[0]):02X}", identifier.replace("%", "%25"))
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"').replace("&", "%26") + '"'


def label(lines: tuple[str, ...]) -> str:
    """A DOT label of several lines, shown letter by letter as given."""
    return '"' + "\\n".join(_escaped(line) for line in lines) + '"'


def _escaped(text: str) -> str:
    shown = _ILLEGAL.sub("\ufffd", text.replace("\n", " ").replace("\t", " "))
    return shown.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


def lines_of(t: Tensor, is_folded: Callable[[Tensor], bool]) -> tuple[str, ...]:
    """Name, operation with the small leaves that it uses, shape; without a name the operation stands first."""
    if t.is_leaf:
        what = _value(t) if t.size == 1 and not t.is_symbolic and not t.name else t.name or t.op.label
        return _clipped(what, _shape(t))
    operation = _operation(t, is_folded)
    return _clipped(t.name, operation, _shape(t)) if t.name else _clipped(operation, _shape(t))


def _operation(t: Tensor, is_folded: Callable[[Tensor], bool]) -> str:
    if t.op.name in ("slice", "index"):
        return _indexed(t)
    shown = [_leaf_text(i) if is_folded(i) else "" for i in t.inputs]
    sign = theme.GLYPHS.get(t.op.label, t.op.label)
    if len(shown) == 2 and not sign[0].isalnum():
        return " ".join(part for part in (shown[0], sign, shown[1]) if part)
    return " ".join([sign, *(part for part in shown if part)])


def _indexed(t: Tensor) -> str:
    index = t.params.get("index")
    arrays = iter(t.inputs[1:])
    parts = index if isinstance(index, tuple) else (index,)
    return f"{t.inputs[0].name or ''}[{', '.join(_index_part(p, arrays) for p in parts)}]"


def _index_part(part: Any, arrays: Any) -> str:
    if isinstance(part, slice):
        ends = ["" if end is None else str(end) for end in (part.start, part.stop, part.step)]
        return ":".join(ends[: 3 if ends[2] else 2])
    if isinstance(part, str):
        array = next(arrays, None)
        return array.name if array is not None and array.name else "·"
    return "..." if part is Ellipsis else str(part)


def _leaf_text(t: Tensor) -> str:
    return t.name or (_value(t) if t.size == 1 and not t.is_symbolic else t.op.label)


def _value(t: Tensor) -> str:
    value = t.data.reshape(-1)[0]
    return str(value) if t.dtype.kind in "biu" else f"{value:.4g}"


def _shape(t: Tensor) -> str:
    return "" if t.op is LITERAL else str(t.shape) if t.shape else "scalar"


def _clipped(*lines: str) -> tuple[str, ...]:
    limit = theme.MAX_CHARS
    return tuple(s if len(s) <= limit else s[: limit - 1] + "…" for s in lines if s)
