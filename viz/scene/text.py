"""What is written in a box."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import PurePath
from typing import Any

from ...ops.linalg import MATMUL
from ...ops.shape import TRANSPOSE
from ...tensor import LITERAL, PARAMETER, Tensor
from ..read.subject import preview
from ..read.timeline import PICKS, is_folded
from . import theme

__all__ = ["index_text", "lines_of", "sign_of", "titled"]

def lines_of(
    t: Tensor, show: Collection[str], any_step: bool = False, members: Collection[Tensor] = ()
) -> tuple[str, ...]:
    """Name, operation with the small leaves that it uses, and what is to be shown; nameless operations stand first.

    A box that stands for several steps, `any_step`, has t for the number of the step in an index. Of the transposes
    among its `members` only the sign is shown.
    """
    if t.is_leaf:
        what = _value(t) if t.size == 1 and not t.is_symbolic and not t.name else t.name or t.op.label
        return _clipped(what, *_shown(t, show))
    return _clipped(t.name or "", _operation(t, any_step, {m.serial for m in members}), *_shown(t, show))


def titled(t: Tensor, scope: tuple[str, ...], members: Sequence[Tensor], show: Collection[str]) -> tuple[str, ...]:
    """The text of a part of the model: its path, and what it gives."""
    name = "/".join(scope[-2:]) or "step"
    weights = dict.fromkeys(i for m in members for i in m.inputs if i.op is PARAMETER)
    lines = [f"∂ {name}" if t.place.backward else name]
    if "params" in show:
        lines += [f"{w.name or 'weight'} {w.shape}" for w in weights]
        lines.append(f"{sum(w.size for w in weights):,} weights" if weights else "")
    return _clipped(*lines, *_shown(t, show))


def sign_of(t: Tensor) -> str:
    """The sign of an operator that stands between two values of the graph; nothing for all other operations."""
    if len(t.inputs) != 2 or t.op.label[:1].isalnum() or t.op is MATMUL or t.op in PICKS:
        return ""
    return "" if any(is_folded(i) for i in t.inputs) else theme.GLYPHS.get(t.op.label, t.op.label)


def _shown(t: Tensor, show: Collection[str]) -> list[str]:
    lines = []
    if t.op is not LITERAL:
        shape = (str(t.shape) if t.shape else "scalar") if "shape" in show else ""
        lines.append(f"{shape} {t.dtype}".strip() if "dtype" in show else shape)
    if "params" in show and not t.is_leaf:
        lines += [f"{i.name or 'weight'} {i.shape}" for i in t.inputs if i.op is PARAMETER]
    if "value" in show and not t.is_symbolic:
        lines.append(preview(t.data))
    if "source" in show:
        lines.append(f"{PurePath(t.source.file).name}:{t.source.line}")
    return lines


def _operation(t: Tensor, any_step: bool, members: Collection[int]) -> str:
    if t.op in PICKS:
        return f"{t.inputs[0].name or ''}[{index_text(t, any_step)}]"
    shown = [_operand(i, members) for i in t.inputs]
    sign = theme.GLYPHS.get(t.op.label, t.op.label)
    if len(shown) == 2 and not sign[0].isalnum():
        return " ".join(part for part in (shown[0], sign, shown[1]) if part)
    return " ".join([sign, *(part for part in shown if part)])


def _operand(t: Tensor, members: Collection[int]) -> str:
    """What the text of an operation says of an operand that has no box of its own."""
    if t.serial in members and t.op is TRANSPOSE:
        return f"{_operand(t.inputs[0], ())}ᵀ"
    return _leaf_text(t) if is_folded(t) else ""


def index_text(t: Tensor, any_step: bool = False) -> str:
    """What stands between the brackets of an indexed tensor; t for the number of the step in `any_step`."""
    index = t.params.get("index")
    arrays = iter(t.inputs[1:])
    parts = index if isinstance(index, tuple) else (index,)
    return ", ".join("t" if any_step and p == t.time else _index_part(p, arrays) for p in parts)


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


def _clipped(*lines: str) -> tuple[str, ...]:
    limit = theme.MAX_CHARS
    return tuple(s if len(s) <= limit else s[: limit - 1] + "…" for s in lines if s)
