"""How each op becomes instructions. A lowering gives the view of its result, or None where it does not know how."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..kernels import indexing
from ..kernels.gemm import gemm
from ..kernels.loops import address
from ..kernels.reductions import reduce_first, reduce_last
from ..kernels.rows import checked_cross_entropy, cross_entropy_surplus
from ..ops import elementwise as ew
from ..ops import neural, reduce
from ..ops.checks import of_classes, out_of_range
from ..ops.core import CAST, TO_INTEGER
from ..ops.index import ASSEMBLE, ONE_HOT, SLICE, is_crowded
from ..ops.linalg import MATMUL
from ..ops.named import by_op
from ..ops.neural import CROSS_ENTROPY, LOG_SOFTMAX, NORMALIZE, SOFTMAX
from ..ops.shape import BROADCAST, CONCATENATE, PAD, RESHAPE, STACK, TRANSPOSE
from ..tensor import DETACH, Tensor
from . import views as vw
from .compiler_ops import (
    CONTRACT,
    CROSS_ENTROPY_SURPLUS,
    LOOKUP,
    MATMUL_ADD,
    RANGE_CHECK,
    SCATTER,
)
from .emit import walk
from .lower import Lowering, lowers
from .views import View

__all__: list[str] = []


# Views ----------------------------------------------------------------------------------------------------------------


@lowers(RESHAPE)
def _reshape(low: Lowering, t: Tensor) -> View:
    source = low.view(t.inputs[0])
    view = vw.reshape(source, t.shape) or vw.reshape(low.compact(t, source), t.shape)
    assert view is not None
    return view


@lowers(TRANSPOSE)
def _transpose(low: Lowering, t: Tensor) -> View:
    return vw.transpose(low.view(t.inputs[0]), t.params["axes"])


@lowers(SLICE)
def _slice(low: Lowering, t: Tensor) -> View:
    return vw.subview(low.view(t.inputs[0]), t.params["index"])


@lowers(BROADCAST)
def _broadcast(low: Lowering, t: Tensor) -> View:
    return vw.broadcast(low.view(t.inputs[0]), t.shape)


@lowers(DETACH)
def _same(low: Lowering, t: Tensor) -> View:
    return low.view(t.inputs[0])


@lowers(CAST, TO_INTEGER)
def _cast(low: Lowering, t: Tensor) -> View | None:
    kinds = (np.float32, np.float64, np.int64, np.int32, np.bool_)
    source = low.view(t.inputs[0])
    if source.dtype not in kinds or t.dtype not in kinds:
        return None
    if source.dtype == t.dtype:
        return source
    out = low.destination(t, source)
    low.emitter.elementwise(t, "cast", indexing.cast(source.dtype, t.dtype).address, [source, out])
    return out


# Joins ----------------------------------------------------------------------------------------------------------------


@lowers(STACK, CONCATENATE)
def _join(low: Lowering, t: Tensor) -> View:
    parts = low.inputs(t)
    consecutive = _consecutive(t, parts) if id(t) not in low.places and t.op is STACK else None
    if consecutive is not None:
        low.aliases.add(t.serial)
        return consecutive
    whole = low.places.pop(id(t), None) or low.join_place(t)
    axis, at = t.params["axis"], 0
    for i, part in zip(t.inputs, parts, strict=True):
        size = 1 if t.op is STACK else i.shape[axis]
        index: Any = at if t.op is STACK else slice(at, at + size)
        low.copy(t, part, vw.subview(whole, (slice(None),) * axis + (index,)))
        at += size
    return whole


def _consecutive(t: Tensor, parts: list[View]) -> View | None:
    """The parts of a stack as one view, where they lie at equal distances in one storage."""
    first = parts[0]
    step = parts[1].offset - first.offset if len(parts) > 1 else 0
    for k, part in enumerate(parts):
        same = part.storage is first.storage and part.strides == first.strides
        if not same or part.offset != first.offset + k * step:
            return None
    axis = t.params["axis"]
    strides = (*first.strides[:axis], step, *first.strides[axis:])
    return View(first.storage, first.offset, t.shape, strides, first.dtype)


@lowers(ASSEMBLE)
def _assemble(low: Lowering, t: Tensor) -> View | None:
    if len(t.inputs) != len(t.params["places"]) or not t.is_float or is_crowded(t.shape, t.inputs):
        return None
    out = low.destination(t)
    low.fill(t, out, 0.0)
    add = address(ew.add.op.kernels[t.dtype])
    for place, part in zip(t.params["places"], low.inputs(t), strict=True):
        target = vw.subview(out, place)
        low.emitter.elementwise(t, "add", add, [target, vw.broadcast(part, target.shape), target])
    return out


@lowers(PAD)
def _pad(low: Lowering, t: Tensor) -> View:
    out = low.destination(t)
    low.fill(t, out, t.params["value"])
    inside = tuple(slice(a, a + n) for n, (a, _) in zip(t.inputs[0].shape, t.params["widths"], strict=True))
    low.copy(t, low.view(t.inputs[0]), vw.subview(out, inside))
    return out


# Products -------------------------------------------------------------------------------------------------------------


@lowers(MATMUL)
def _matmul(low: Lowering, t: Tensor) -> View | None:
    if not t.is_float:
        return None
    a, b = low.view(t.inputs[0]), _right(low, t)
    out = low.destination(t, a if len(b.shape) == 2 and len(a.shape) == t.ndim else None)
    _product(low, t, a, b, out, False)
    return out


@lowers(MATMUL_ADD)
def _matmul_add(low: Lowering, t: Tensor) -> View | None:
    if not t.is_float:
        return None
    c, a, b = low.view(t.inputs[0]), low.view(t.inputs[1]), _right(low, t)
    out = low.takeover(t, t.inputs[:1])
    if out is None or out.strides[-1] != t.dtype.itemsize:
        out = low.destination(t, a)
        low.copy(t, c, out)
    _product(low, t, a, b, out, True)
    return out


_OFTEN = 128  # rows multiplied by one matrix for which a copy of it by rows pays


def _right(low: Lowering, t: Tensor) -> View:
    """The right factor; where a matrix lies by columns and is multiplied by often, a copy of it by rows."""
    matrix = t.inputs[-1]
    view = low.view(matrix)
    by_rows = len(view.shape) != 2 or view.strides[1] == view.dtype.itemsize
    if by_rows or low.rights[matrix.serial] * prod(t.shape[:-1]) < _OFTEN:
        return view
    if matrix.serial not in low.by_rows:
        low.by_rows[matrix.serial] = low.compact(t, view)
    return low.by_rows[matrix.serial]


def _product(low: Lowering, t: Tensor, a: View, b: View, out: View, accumulate: bool) -> None:
    """``out = a @ b``, or ``out += a @ b``."""
    if len(a.shape) == 1:
        a = vw.subview(a, (None,))
        out = vw.subview(out, (..., None, slice(None)) if len(b.shape) > 1 else (None,))
    if len(b.shape) == 1:
        b = vw.subview(b, (..., None))
        out = vw.subview(out, (..., None))
    a, b = _usable(low, t, a), _usable(low, t, b)
    if 0 in out.shape:
        return
    item = out.dtype.itemsize
    if (out.strides[-1] != item and out.shape[-1] != 1) or (out.shape[-2] > 1 and abs(out.strides[-2]) < item):
        room = low.emitter.room(out.shape, out.dtype, "product")
        if accumulate:
            low.copy(t, out, room)
        _gemms(low, t, a, b, room, accumulate)
        low.copy(t, room, out)
    else:
        _gemms(low, t, a, b, out, accumulate)


def _usable(low: Lowering, t: Tensor, v: View) -> View:
    """A view with unit stride along one of its last two axes, and no overlap along the other; a copy if need be."""
    (m, n), (row, column), item = v.shape[-2:], v.strides[-2:], v.dtype.itemsize
    by_rows = (column == item or n == 1) and (m == 1 or row >= n * item) and row % item == 0
    by_columns = (row == item or m == 1) and (n == 1 or column >= m * item) and column % item == 0
    return v if by_rows or by_columns or not v.size else low.compact(t, v)


def _gemms(low: Lowering, t: Tensor, a: View, b: View, out: View, accumulate: bool) -> None:
    lead = out.shape[:-2]
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    a = vw.broadcast(a, (*lead, m, k))
    if len(b.shape) == 2 and lead:
        axes = walk((*lead, m), [a.strides[:-1], out.strides[:-1]])
        assert axes is not None
        rows, (a_m, out_m) = axes[-1] if axes else (1, (k * a.dtype.itemsize, n * out.dtype.itemsize))
        fits = a.strides[-1] == a.dtype.itemsize or k == 1
        if fits and a_m >= k * a.dtype.itemsize and out_m >= n * out.dtype.itemsize:
            loops = [(count, (s, 0, o)) for count, (s, o) in axes[:-1]]
            steps = [0, 0, 0, a_m, a.strides[-1], *b.strides, out_m, out.strides[-1]]
            return _gemm(low, t, a, b, out, [1, rows, k, n], steps, loops, accumulate)
    b = vw.broadcast(b, (*lead, k, n))
    axes = walk(lead, [v.strides[:-2] for v in (a, b, out)]) or []
    count, outer = axes[-1] if axes else (1, (0, 0, 0))
    steps = [*outer, *a.strides[-2:], *b.strides[-2:], *out.strides[-2:]]
    return _gemm(low, t, a, b, out, [count, m, k, n], steps, axes[:-1], accumulate)


_GEMM_CORES = ((1, 2), (2, 3), (1, 3))


def _gemm(
    low: Lowering, t: Tensor, a: View, b: View, out: View, dims: list[int], steps: list[int], loops: Any, add: bool
) -> None:
    loop = gemm(out.dtype, add)
    flops = 2 * prod(dims) * prod(c for c, _ in loops)
    name = "gemm_add" if add else "gemm"
    low.emitter.emit(t, name, loop.address, [a, b, out], dims, steps, _GEMM_CORES, loops, flops=flops)


@lowers(CONTRACT)
def _contract(low: Lowering, t: Tensor) -> View | None:
    if not t.is_float:
        return None
    out = low.destination(t)
    if 0 in t.shape:
        return out
    views = low.inputs(t)
    added = False
    for a, g in _runs(low, t, views[::2], views[1::2]):
        if a.shape[0]:
            _product(low, t, vw.transpose(a, (1, 0)), g, out, added)
            added = True
    if not added:
        low.fill(t, out, 0.0)
    return out


def _runs(low: Lowering, t: Tensor, lefts: list[View], rights: list[View]) -> list[tuple[View, View]]:
    """Pairs of matrices whose rows are contracted: operands that lie one after the other become one."""
    runs: list[list[View]] = []
    for a, g in zip(lefts, rights, strict=True):
        flat = _flat(low, t, a, g)
        if runs and all(_follows(*pair) for pair in zip(runs[-1], flat)):
            runs[-1] = [_joined(*pair) for pair in zip(runs[-1], flat)]
        else:
            runs.append(flat)
    return [(a, g) for a, g in runs]


def _flat(low: Lowering, t: Tensor, a: View, g: View) -> list[View]:
    """Two operands with their leading axes merged in the same order, whatever that is."""
    axes = walk(a.shape[:-1], [a.strides[:-1], g.strides[:-1]])
    if axes is not None and len(axes) <= 1:
        rows, strides = axes[0] if axes else (1, (a.shape[-1] * a.dtype.itemsize, g.shape[-1] * g.dtype.itemsize))
        pairs = zip((a, g), strides, strict=True)
        return [View(v.storage, v.offset, (rows, v.shape[-1]), (s, v.strides[-1]), v.dtype) for v, s in pairs]
    flat = [vw.reshape(low.compact(t, v), (prod(v.shape[:-1]), v.shape[-1])) for v in (a, g)]
    assert flat[0] is not None
    assert flat[1] is not None
    return [flat[0], flat[1]]


def _follows(before: View, after: View) -> bool:
    same = before.storage is after.storage and before.strides == after.strides
    return same and after.offset == before.offset + before.shape[0] * before.strides[0]


def _joined(before: View, after: View) -> View:
    rows = before.shape[0] + after.shape[0]
    return View(before.storage, before.offset, (rows, before.shape[1]), before.strides, before.dtype)


# Reductions -----------------------------------------------------------------------------------------------------------


_REDUCED = by_op({"sum": "sum", "max": "max", "min": "min"})  # what their loops are called


@lowers(*_REDUCED)
def _reduce(low: Lowering, t: Tensor) -> View | None:
    x = t.inputs[0]
    if not t.is_float or x.dtype != t.dtype:
        return None
    source, axes = low.view(x), list(t.params["axis"])
    kept = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
    out = low.destination(t)
    whole = View(out.storage, out.offset, kept, _with_axes(out, t), out.dtype)
    if 0 in x.shape:
        low.fill(t, out, 0.0)
        return out
    _reduce_axes(low, t, source, [k for k in axes if x.shape[k] != 1], whole)
    return out


def _with_axes(out: View, t: Tensor) -> tuple[int, ...]:
    """Strides of the result with the reduced axes still there."""
    if t.params["keepdims"]:
        return out.strides
    given = iter(out.strides)
    return tuple([0 if k in t.params["axis"] else next(given) for k in range(t.inputs[0].ndim)])


def _reduce_axes(low: Lowering, t: Tensor, source: View, axes: list[int], out: View) -> None:
    """Reduce one axis, or several that lie together, at a time."""
    if not axes:
        low.copy(t, source, out)
    while axes:
        together = _together(source, axes)
        rest = [k for k in axes if k not in together]
        shape = tuple(1 if k in together else n for k, n in enumerate(source.shape))
        target = out if not rest else low.emitter.room(shape, source.dtype, "partial")
        _reduce_one(low, t, source, together, target)
        source, axes = target, rest


def _together(v: View, axes: list[int]) -> list[int]:
    """The reduced axes that can be walked as one with the innermost of them."""
    order = sorted(axes, key=lambda k: v.strides[k])
    together = [order[0]]
    for k in order[1:]:
        inner = together[-1]
        if v.strides[k] == v.strides[inner] * v.shape[inner]:
            together.append(k)
        else:
            break
    return together


def _reduce_one(low: Lowering, t: Tensor, source: View, axes: list[int], out: View) -> None:
    count = prod(source.shape[k] for k in axes)
    step = min((source.strides[k] for k in axes), key=abs)
    kept = [k for k in range(len(source.shape)) if k not in axes]
    lead = tuple(source.shape[k] for k in kept)
    strides = tuple(source.strides[k] for k in kept)
    into = tuple(out.strides[k] for k in kept)
    item = source.dtype.itemsize
    flops, name = source.size, _REDUCED[t.op]
    if step != item and lead:
        inner = next((j for j in range(len(lead)) if strides[j] == item and lead[j] > 1), None)
        if inner is not None:  # whole rows are added up
            rest = [j for j in range(len(lead)) if j != inner]
            around = walk(tuple(lead[j] for j in rest), [tuple(s[j] for j in rest) for s in (strides, into)]) or []
            outer, steps = around[-1] if around else (1, (0, 0))
            loop = reduce_first(name, source.dtype)
            low.emitter.emit(
                t, f"{name}_rows", loop.address, [source, out], [outer, count, lead[inner]],
                [*steps, step, strides[inner], into[inner]], ((1, 2), (2,)), around[:-1], flops=flops,
            )  # fmt: skip
            return
    around = walk(lead, [strides, into]) or []
    outer, steps = around[-1] if around else (1, (0, 0))
    loop = reduce_last(name, source.dtype)
    low.emitter.emit(
        t, f"{name}_last", loop.address, [source, out], [outer, count], [*steps, step], ((1,), ()), around[:-1],
        flops=flops,
    )  # fmt: skip


# Rows -----------------------------------------------------------------------------------------------------------------

_ROW_KERNELS = {SOFTMAX: neural.SOFTMAX_ROWS, LOG_SOFTMAX: neural.LOG_SOFTMAX_ROWS}


@lowers(SOFTMAX, LOG_SOFTMAX)
def _softmax(low: Lowering, t: Tensor) -> View:
    source = low.view(t.inputs[0])
    out = low.destination(t, source)
    axis = t.params["axis"]
    order = [*(k for k in range(t.ndim) if k != axis), axis]
    pair = [vw.transpose(v, order) for v in (source, out)]
    kernel = _ROW_KERNELS[t.op][t.dtype]
    sizes = [t.shape[axis]]
    if t.size:
        low.emitter.over_rows(t, t.op.name, address(kernel), pair, ((1,), (1,)), sizes, flops=4 * t.size)
    return out


_REDUCED_ROWS = by_op({"logsumexp": reduce.LOGSUMEXP_ROWS, "norm": reduce.NORM_ROWS})


@lowers(*_REDUCED_ROWS)
def _reduced_rows(low: Lowering, t: Tensor) -> View | None:
    x, axes = t.inputs[0], t.params["axis"]
    if not x.size or not axes:
        return None
    lead = [k for k in range(x.ndim) if k not in axes]
    source, shape = vw.transpose(low.view(x), [*lead, *axes]), [x.shape[k] for k in lead]
    size = prod(x.shape[k] for k in axes)
    rows = vw.reshape(source, (*shape, size)) or vw.reshape(low.compact(t, source), (*shape, size))
    assert rows is not None
    out = low.destination(t)
    result = vw.subview(out, tuple(0 if k in axes else slice(None) for k in range(x.ndim)) if t.ndim == x.ndim else ())
    kernel = _REDUCED_ROWS[t.op][t.dtype]
    low.emitter.over_rows(t, t.op.name, address(kernel), [rows, result], ((1,), ()), [size], flops=4 * x.size)
    return out


@lowers(NORMALIZE)
def _normalize(low: Lowering, t: Tensor) -> View | None:
    if not t.size:
        return None
    source = low.view(t.inputs[0])
    out = low.destination(t, source)
    eps = vw.broadcast(low.constant(np.asarray(t.params["eps"], t.dtype)), t.shape[:-1])
    views = [source, eps, out]
    kernel = neural.NORMALIZE_ROWS[t.dtype]
    low.emitter.over_rows(t, "normalize", address(kernel), views, ((1,), (), (1,)), [t.shape[-1]], flops=6 * t.size)
    return out


# Indices --------------------------------------------------------------------------------------------------------------


_OF_TARGETS = (CROSS_ENTROPY, CROSS_ENTROPY_SURPLUS)


def _fault(t: Tensor, index: View, limit: int) -> tuple[View, Callable[[np.ndarray], Exception]]:
    """Where to look after a fault, and the error for the first index that is out of range, as eager mode words it."""
    low = -limit if t.params.get("wrap", False) else 0
    words = f"{t.op.name}: index {{value}} at position {{position}} is out of range for size {limit}"
    if t.op in _OF_TARGETS:
        words = of_classes("cross_entropy: target", limit)
    return index, lambda values: out_of_range(values, low, limit, words)


@lowers(LOOKUP)
def _lookup(low: Lowering, t: Tensor) -> View | None:
    table, index = low.inputs(t)
    if len(table.shape) != 2:
        return None
    index = low.compact(t, low.as_index(t, index))
    out = low.destination(t)
    loop = indexing.gather_rows(out.dtype)
    views = [vw.broadcast(table, (*index.shape, *table.shape)), index, out]
    _indexed(low, t, "gather", loop, views, ((1, 2), (), (2,)), list(table.shape), index, table.shape[0])
    return out


@lowers(RANGE_CHECK)
def _range_check(low: Lowering, t: Tensor) -> View | None:
    if t.dtype == np.uint64:  # whose largest numbers would be negative
        return None
    index = low.compact(t, low.as_index(t, low.view(t.inputs[0])))
    if prod(index.shape):
        loop, fault = indexing.check_range(), (index, lambda values: out_of_range(values, **t.params))
        limits = [t.params["high"], t.params["low"]]
        low.emitter.over_rows(t, "check_range", loop.address, [index], ((),), limits, writes=0, fault=fault)
    return low.view(t.inputs[0])


def _indexed(
    low: Lowering,
    t: Tensor,
    name: str,
    loop: Any,
    views: list[View],
    cores: Any,
    sizes: list[int],
    index: View,
    limit: int,
) -> None:
    if prod(index.shape):
        low.emitter.over_rows(t, name, loop.address, views, cores, sizes, fault=_fault(t, index, limit))


@lowers(SCATTER)
def _scatter(low: Lowering, t: Tensor) -> View | None:
    if t.ndim != 2 or not t.is_float:
        return None
    index, rows = low.inputs(t)
    index = low.compact(t, low.as_index(t, index))
    if len(walk(index.shape, [rows.strides[:-1]]) or ()) > 1:  # all rows in one loop, which knows where many add up
        rows = low.compact(t, rows)
    out = low.destination(t)
    low.fill(t, out, 0.0)
    loop = indexing.scatter_add_rows(t.dtype)
    views = [index, rows, vw.broadcast(out, (*index.shape, *out.shape))]
    _indexed(low, t, "scatter", loop, views, ((), (1,), (2, 1)), [t.shape[1], t.shape[0]], index, t.shape[0])
    return out


@lowers(ONE_HOT)
def _one_hot(low: Lowering, t: Tensor) -> View | None:
    if not t.is_float:
        return None
    index = low.compact(t, low.as_index(t, low.view(t.inputs[0])))
    out = low.destination(t)
    _indexed(low, t, "one_hot", indexing.one_hot(t.dtype), [index, out], ((), (1,)), [t.shape[-1]], index, t.shape[-1])
    return out


@lowers(CROSS_ENTROPY)
def _cross_entropy(low: Lowering, t: Tensor) -> View | None:
    logits, index = low.inputs(t)
    index = low.compact(t, low.as_index(t, index))
    out = low.destination(t)
    n = logits.shape[-1]
    loop = checked_cross_entropy(t.dtype)
    _indexed(low, t, "cross_entropy", loop, [logits, index, out], ((1,), (), ()), [n], index, n)
    return out


@lowers(CROSS_ENTROPY_SURPLUS)
def _cross_entropy_surplus(low: Lowering, t: Tensor) -> View:
    logits, index = low.inputs(t)
    index = low.compact(t, low.as_index(t, index))
    out = low.destination(t, None)
    n = logits.shape[-1]
    loop, views = cross_entropy_surplus(t.dtype), [logits, index, out]
    _indexed(low, t, "cross_entropy_surplus", loop, views, ((1,), (), (2,)), [n, n + 1], index, n)
    return out
