"""How slices pass operations: the slice of a result, computed from slices of what it was computed from.

Each rule is a generator that asks for slices of inputs, ``inner = yield (input, index)``, so that nothing recurses. It
gives None where a slice cannot pass.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from ..ops.core import CAST, TO_INTEGER
from ..ops.linalg import MATMUL
from ..ops.named import by_op
from ..ops.shape import BROADCAST, RESHAPE, STACK, TRANSPOSE
from ..scope import Place
from ..tensor import DETACH, Op, Tensor, record

__all__ = [
    "Index", "Pushing", "aligned", "complete", "is_full", "is_sequence", "node_like", "one_of", "placed", "rule_of",
]  # fmt: skip

Part = int | slice
Index = tuple[Part, ...]
Pushing = Generator[tuple[Tensor, Index], Tensor, Tensor | None]


# Nodes ----------------------------------------------------------------------------------------------------------------


def node_like(op: Any, inputs: tuple[Tensor, ...], params: dict[str, Any], like: Tensor) -> Tensor:
    new = placed(op, inputs, params, like.place, like)
    return new.named(like.name) if like.name else new


def placed(op: Any, inputs: tuple[Tensor, ...], params: dict[str, Any], place: Place, like: Tensor) -> Tensor:
    spec = op.shape(*[i.spec for i in inputs], **params)
    new = record(op, inputs, params, spec)
    new.place, new._source = place, like._source
    return new


# Indices --------------------------------------------------------------------------------------------------------------


def complete(shape: tuple[int, ...], index: Any) -> Index:
    """An index with a part for each axis, integers from 0 on."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [p for p in parts if not isinstance(p, slice)]:
        at = next(k for k, p in enumerate(parts) if p is Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    return tuple([p % n if isinstance(p, int) else _plain(p, n) for p, n in zip(parts, shape)])


def _plain(part: slice, n: int) -> slice:
    start, stop, step = part.indices(n)
    if step < 0:
        return part if part != slice(None, None, -1) else slice(None, None, -1)
    return slice(start, max(start, stop), step)


def is_full(part: Part, n: int) -> bool:
    return isinstance(part, slice) and part.indices(n) == (0, n, 1)


def one_of(shape: tuple[int, ...], axis: int, k: int) -> Index:
    return tuple(k if a == axis else slice(0, n, 1) for a, n in enumerate(shape))


def aligned(index: Index, shape: tuple[int, ...], like: tuple[int, ...]) -> Index:
    """The index for an operand that is broadcast to `like`: one entry stays one entry."""
    lead = len(like) - len(shape)
    parts: list[Part] = []
    for part, n, wide in zip(index[lead:], shape, like[lead:]):
        if n == wide:
            parts.append(part)
        else:
            parts.append(0 if isinstance(part, int) else slice(0, 1, 1))
    return tuple(parts)


def is_sequence(t: Tensor) -> bool:
    """Whether it is a stack of one quantity at different time steps."""
    if t.op is not STACK:
        return False
    times = {i.time for i in t.inputs}
    return None not in times and len(times) == len(t.inputs)


# How a slice passes an operation --------------------------------------------------------------------------------------

Rule = Callable[[Tensor, Index, Place], Pushing]


def rule_of(x: Tensor) -> Rule | None:
    if x.op.kernels is not None or x.op in (CAST, TO_INTEGER):
        return _through_elementwise
    return PASSING.get(x.op)


def _through_elementwise(x: Tensor, index: Index, place: Place) -> Pushing:
    inputs = []
    for i in x.inputs:
        inputs.append((yield i, aligned(index, i.shape, x.shape)))
    return placed(x.op, tuple(inputs), x.params, place, x)


def _through_matmul(x: Tensor, index: Index, place: Place) -> Pushing:
    a, b = x.inputs
    if a.ndim < 2 or b.ndim != 2 or (isinstance(index[-1], int) and len(index) < 2):
        return None
    rows, columns = index[:-1], index[-1]
    left = yield a, (*rows, slice(0, a.shape[-1], 1))
    right = yield b, (slice(0, b.shape[0], 1), columns)
    return placed(MATMUL, (left, right), {}, place, x)


def _through_slice(x: Tensor, index: Index, place: Place) -> Pushing:
    inner = complete(x.inputs[0].shape, x.params["index"])
    outer = iter(index)
    parts = [p if isinstance(p, int) else _within(p, next(outer)) for p in inner]
    if any(p is None for p in parts):
        return None
    return (yield x.inputs[0], tuple(parts))  # type: ignore[arg-type]


def _within(inner: slice, outer: Part) -> Part | None:
    if inner.start is None or inner.stop is None or (isinstance(outer, slice) and outer.start is None):
        return None  # backwards
    if isinstance(outer, int):
        return int(inner.start + outer * inner.step)
    step = inner.step * outer.step
    return slice(inner.start + outer.start * inner.step, inner.start + outer.stop * inner.step, step)


def _through_stack(x: Tensor, index: Index, place: Place) -> Pushing:
    axis = x.params["axis"]
    k = index[axis]
    if not isinstance(k, int):
        return None
    return (yield x.inputs[k], (*index[:axis], *index[axis + 1 :]))


def _through_concatenate(x: Tensor, index: Index, place: Place) -> Pushing:
    """Only where all comes from one of the parts."""
    axis, start = x.params["axis"], 0
    part = index[axis]
    low, high = (part, part + 1) if isinstance(part, int) else (part.start, part.stop)
    for i in x.inputs:
        n = i.shape[axis]
        if low is not None and start <= low and high <= start + n:
            own = low - start if isinstance(part, int) else slice(low - start, high - start, part.step)
            return (yield i, (*index[:axis], own, *index[axis + 1 :]))
        start += n
    return None


def _through_transpose(x: Tensor, index: Index, place: Place) -> Pushing:
    axes = x.params["axes"]
    order = sorted(range(x.ndim), key=lambda k: axes[k])
    inner = yield x.inputs[0], tuple(index[k] for k in order)
    kept = [a for k, a in enumerate(axes) if isinstance(index[k], slice)]
    ranks = {a: r for r, a in enumerate(sorted(kept))}
    new = tuple(ranks[a] for a in kept)
    return inner if new == tuple(range(len(new))) else placed(TRANSPOSE, (inner,), {"axes": new}, place, x)


def _through_broadcast(x: Tensor, index: Index, place: Place) -> Pushing:
    inner = yield x.inputs[0], aligned(index, x.inputs[0].shape, x.shape)
    shape = tuple(len(range(n)[p]) for p, n in zip(index, x.shape) if isinstance(p, slice))
    return inner if inner.shape == shape else placed(BROADCAST, (inner,), {"shape": shape}, place, x)


def _through_index(x: Tensor, index: Index, place: Place) -> Pushing:
    """Rows ``E[tokens]``, of which a slice takes the tokens."""
    table, *arrays = x.inputs
    if x.params["index"] != ("array",) or len(arrays) != 1:
        return None
    n = arrays[0].ndim
    if not all(is_full(p, m) for p, m in zip(index[n:], x.shape[n:])):
        return None
    tokens = yield arrays[0], index[:n]
    return placed(x.op, (table, tokens), x.params, place, x)


def _through_rows(x: Tensor, index: Index, place: Place) -> Pushing:
    """Softmax and others that work along one axis."""
    axis = x.params.get("axis", x.ndim - 1)
    if not is_full(index[axis], x.shape[axis]):
        return None
    inner = yield x.inputs[0], index
    return placed(x.op, (inner,), _params_after(x, index), place, x)


def _params_after(x: Tensor, index: Index) -> dict[str, Any]:
    if "axis" not in x.params:
        return x.params
    axis = x.params["axis"]
    return {**x.params, "axis": axis - sum(isinstance(p, int) for p in index[:axis])}


def _through_cross_entropy(x: Tensor, index: Index, place: Place) -> Pushing:
    logits, target = x.inputs
    inner = yield logits, (*index, slice(0, logits.shape[-1], 1))
    wanted = yield target, index
    return placed(x.op, (inner, wanted), x.params, place, x)


def _through_reduction(x: Tensor, index: Index, place: Place) -> Pushing:
    """A sum over other axes than those that are sliced."""
    axes, keepdims, source = x.params["axis"], x.params["keepdims"], x.inputs[0]
    if keepdims and not all(is_full(index[k], 1) for k in axes):
        return None
    given = iter(index)
    parts: list[Part] = []
    for k, n in enumerate(source.shape):
        reduced = k in axes
        own = next(given) if keepdims or not reduced else None
        parts.append(slice(0, n, 1) if reduced or own is None else own)
    inner = yield source, tuple(parts)
    gone = [k for k, p in enumerate(parts) if isinstance(p, int)]
    new = tuple(k - sum(g < k for g in gone) for k in axes)
    return placed(x.op, (inner,), {"axis": new, "keepdims": keepdims}, place, x)


def _through_reshape(x: Tensor, index: Index, place: Place) -> Pushing:
    """Only where axes of size 1 come or go."""
    source = x.inputs[0]
    if [n for n in source.shape if n != 1] != [n for n in x.shape if n != 1] or 0 in x.shape:
        return None
    if any(n == 1 and isinstance(p, slice) and not is_full(p, n) for p, n in zip(index, x.shape)):
        return None  # nothing is taken
    wide = iter([p for p, n in zip(index, x.shape) if n != 1])
    inner = yield source, tuple(slice(0, 1, 1) if n == 1 else next(wide) for n in source.shape)
    shape = tuple(len(range(n)[p]) for p, n in zip(index, x.shape) if isinstance(p, slice))
    return inner if inner.shape == shape else placed(RESHAPE, (inner,), {"shape": shape}, place, x)


def _through_one_hot(x: Tensor, index: Index, place: Place) -> Pushing:
    if not is_full(index[-1], x.shape[-1]):
        return None
    tokens = yield x.inputs[0], index[:-1]
    return placed(x.op, (tokens,), x.params, place, x)


def _through_detach(x: Tensor, index: Index, place: Place) -> Pushing:
    inner = yield x.inputs[0], index
    return placed(DETACH, (inner,), {}, place, x)


PASSING: dict[Op, Rule] = by_op({
    "matmul": _through_matmul, "slice": _through_slice, "stack": _through_stack, "concatenate": _through_concatenate,
    "transpose": _through_transpose, "broadcast_to": _through_broadcast, "index": _through_index,
    "softmax": _through_rows, "log_softmax": _through_rows, "normalize": _through_rows,
    "cross_entropy": _through_cross_entropy, "sum": _through_reduction, "mean": _through_reduction,
    "max": _through_reduction, "min": _through_reduction, "logsumexp": _through_reduction,
    "reshape": _through_reshape, "one_hot": _through_one_hot, "detach": _through_detach,
})  # fmt: skip
