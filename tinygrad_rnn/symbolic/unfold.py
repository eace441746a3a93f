"""The recorded graph as one would write it down: one product for each gate, one equation for each time step.

Models pack gates into one matrix and time steps into one tensor, because that is faster. Here slices are moved through
the operations to the leaves, so ``(x W + h U)[:, f]`` becomes ``x W[f] + h U[f]``, and operations on a stack of time steps
become one operation for each step. The result computes the same, holds no values, and is differentiated like any graph.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from ..graph import Graph
from ..ops.core import registry
from ..scope import Place, recording
from ..tensor import DETACH, LITERAL, Spec, Tensor, leaf, record
from .times import inferred_times

__all__ = ["Unfolded", "unfolded"]

Part = int | slice
Index = tuple[Part, ...]
Pushing = Generator[tuple[Tensor, Index], Tensor, Tensor | None]
BUDGET = 200  # nodes that moving one slice may make

SLICE, STACK, RESHAPE, BROADCAST = (registry[n] for n in ("slice", "stack", "reshape", "broadcast_to"))
ADD, DIVIDE, TRANSPOSE, MATMUL = (registry[n] for n in ("add", "divide", "transpose", "matmul"))
ALONG = ("softmax", "log_softmax")  # work along one axis, and on each row for itself


class Unfolded:
    """Nodes without values, made from those of a graph.

    Attributes
    ----------
    outputs : list of Tensor
        Those of the graph; one for each time step where an output was a stack of them.
    origin : dict
        From serial numbers of leaves to the leaves themselves, which are kept.
    """

    def __init__(self, whole: Graph) -> None:
        self.made: dict[int, Tensor] = {}
        self._sliced: dict[Any, Tensor] = {}
        self._sliced_only = _only_sliced(whole)
        self._times = inferred_times(whole)
        for t in whole.nodes:
            self.made[t.serial] = new = self._remade(t)
            if t.serial in self._times and new.inputs and new.time is None:
                new.place = Place(new.scope, self._times[t.serial])
        self.outputs = [part for t in whole.outputs for part in self._steps_of(self.made[t.serial])]

    def _steps_of(self, t: Tensor) -> Sequence[Tensor]:
        return t.inputs if _is_sequence(t) and t.name is None else (t,)

    def _remade(self, t: Tensor) -> Tensor:
        if not t.inputs:
            return t
        if "generator" in t.params:  # what is drawn at random is a given
            drawn = leaf(t.data, name=t.name or "mask")
            drawn.place, drawn._source = t.place, t._source
            return drawn
        inputs = tuple(self.made[i.serial] for i in t.inputs)
        if t.op is SLICE:
            return self._sliced_by(t, inputs[0])
        spread = self._over_steps(t, inputs)
        return spread if spread is not None else _node(t.op, inputs, t.params, t)

    def _sliced_by(self, t: Tensor, x: Tensor) -> Tensor:
        """A slice, and then the axes that it adds."""
        given = t.params["index"]
        parts = tuple(p for p in (given if isinstance(given, tuple) else (given,)) if p is not None)
        index = complete(x.shape, parts)
        found = self._slice(x, index, t, self._may_push(t, index))
        if found.shape == t.shape:
            return found
        return _node(RESHAPE, (found,), {"shape": t.shape}, t)

    def _may_push(self, t: Tensor, index: Index) -> bool:
        whole = t.inputs[0]
        if whole.serial not in self._sliced_only:
            return any(isinstance(p, int) for p in index) and _is_sequence(self.made[whole.serial])
        return whole.name is None or (whole.time is None and any(isinstance(p, int) for p in index))

    # Slices -----------------------------------------------------------------------------------------------------------

    def _slice(self, x: Tensor, index: Index, like: Tensor, push: bool) -> Tensor:
        """``x[index]``, moved to the leaves if that can be done; nothing recurses."""
        time = like.time if like.time is not None else self._times.get(like.serial, x.time)
        place = Place(like.scope, time)
        left = [BUDGET if push else 1]
        stack = [self._pushing(x, index, place, left)]
        answer: Tensor | None = None
        while stack:
            try:
                inner, wanted = stack[-1].send(answer)  # type: ignore[arg-type]
                stack.append(self._pushing(inner, wanted, place, left))
                answer = None
            except StopIteration as done:
                stack.pop()
                answer = done.value
        assert answer is not None
        if like.name is not None and answer.name is None and not answer.is_leaf:
            answer.named(like.name)
        return answer

    def _pushing(self, x: Tensor, index: Index, place: Place, left: list[int]) -> Pushing:
        if all(_is_full(p, n) for p, n in zip(index, x.shape)):
            return x
        key = (x.serial, tuple((p.start, p.stop, p.step) if isinstance(p, slice) else p for p in index))
        if key not in self._sliced:
            left[0] -= 1
            rule = _rule(x) if left[0] > 0 else None
            own = Place(x.scope, place.time)
            found = (yield from rule(x, index, own)) if rule is not None else None
            if found is None:
                found = _placed(SLICE, (x,), {"index": index}, place if x.is_leaf else Place(x.scope, place.time), x)
            if found.name is None and x.name is not None and rule is not None:
                found.named(x.name)
            self._sliced[key] = found
        return self._sliced[key]

    # Stacks of time steps ---------------------------------------------------------------------------------------------

    def _over_steps(self, t: Tensor, inputs: tuple[Tensor, ...]) -> Tensor | None:
        """An operation on a stack of time steps, as a stack of operations; None if it is none."""
        first = next((i for i in inputs if _is_sequence(i)), None)
        if first is None:
            return None
        axis, count = first.params["axis"], len(first.inputs)
        if t.op.name in ("sum", "mean"):
            return self._sum_of_steps(t, first, axis)
        if t.op.name == "transpose":
            return None
        if t.op.kernels is not None:
            axis += t.ndim - first.ndim  # broadcasting adds axes in front
        if not _spreads(t, axis, count, inputs):
            return None
        parts = []
        for k, step in enumerate(first.inputs):
            index = _one_of(t.shape, axis, k)
            inner = [self._at_step(i, sub, step, t) for i, sub in zip(inputs, _input_indices(t, inputs, index))]
            part = _placed(t.op, tuple(inner), _params_at(t, axis), Place(t.scope, step.time), t)
            parts.append(part.named(t.name) if t.name else part)
        return _placed(STACK, tuple(parts), {"axis": axis}, t.place, t)

    def _at_step(self, x: Tensor, index: Index, step: Tensor, like: Tensor) -> Tensor:
        place = Place(x.scope, step.time)
        marker = leaf(Spec(()), LITERAL)
        marker.place, marker._source = place, like._source
        return self._slice(x, index, marker, push=True)

    def _sum_of_steps(self, t: Tensor, first: Tensor, axis: int) -> Tensor | None:
        axes = t.params["axis"]
        if axis not in axes or t.params["keepdims"]:
            return None
        rest = tuple(k - (k > axis) for k in axes if k != axis)
        total: Tensor | None = None
        for part in first.inputs:
            if rest:
                params = {"axis": rest, "keepdims": False}
                part = _placed(t.op, (part,), params, Place(t.scope, part.time), t)
            total = part if total is None else _placed(ADD, (total, part), {}, t.place, t)
        assert total is not None
        if t.op.name == "mean":
            count = leaf(_number(len(first.inputs), t.dtype), LITERAL)
            total = _placed(DIVIDE, (total, count), {}, t.place, t)
        return total.named(t.name) if t.name else total


def unfolded(whole: Graph) -> Unfolded:
    """The graph with gates and time steps of their own."""
    with recording():
        return Unfolded(whole)


def _number(value: float, dtype: Any) -> Any:
    return dtype.type(value).reshape(())


def _only_sliced(whole: Graph) -> set[int]:
    """Nodes that are used by slices alone."""
    otherwise = {t.serial for t in whole.outputs}
    for t in whole.nodes:
        if t.op is not SLICE:
            otherwise.update(i.serial for i in t.inputs)
    return {t.serial for t in whole.nodes} - otherwise


# Nodes ----------------------------------------------------------------------------------------------------------------


def _node(op: Any, inputs: tuple[Tensor, ...], params: dict[str, Any], like: Tensor) -> Tensor:
    new = _placed(op, inputs, params, like.place, like)
    return new.named(like.name) if like.name else new


def _placed(op: Any, inputs: tuple[Tensor, ...], params: dict[str, Any], place: Place, like: Tensor) -> Tensor:
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


def _is_full(part: Part, n: int) -> bool:
    return isinstance(part, slice) and part.indices(n) == (0, n, 1)


def _one_of(shape: tuple[int, ...], axis: int, k: int) -> Index:
    return tuple(k if a == axis else slice(0, n, 1) for a, n in enumerate(shape))


def _aligned(index: Index, shape: tuple[int, ...], like: tuple[int, ...]) -> Index:
    """The index for an operand that is broadcast to `like`: one entry stays one entry."""
    lead = len(like) - len(shape)
    parts: list[Part] = []
    for part, n, wide in zip(index[lead:], shape, like[lead:]):
        if n == wide:
            parts.append(part)
        else:
            parts.append(0 if isinstance(part, int) else slice(0, 1, 1))
    return tuple(parts)


def _is_sequence(t: Tensor) -> bool:
    """Whether it is a stack of one quantity at different time steps."""
    if t.op is not STACK:
        return False
    times = {i.time for i in t.inputs}
    return None not in times and len(times) == len(t.inputs)


# How a slice passes an operation --------------------------------------------------------------------------------------

Rule = Callable[[Tensor, Index, Place], Pushing]


def _rule(x: Tensor) -> Rule | None:
    if x.op.kernels is not None or x.op.name in ("cast", "to_integer"):
        return _through_elementwise
    return PASSING.get(x.op.name)


def _through_elementwise(x: Tensor, index: Index, place: Place) -> Pushing:
    inputs = []
    for i in x.inputs:
        inputs.append((yield i, _aligned(index, i.shape, x.shape)))
    return _placed(x.op, tuple(inputs), x.params, place, x)


def _through_matmul(x: Tensor, index: Index, place: Place) -> Pushing:
    a, b = x.inputs
    if a.ndim < 2 or b.ndim != 2 or (isinstance(index[-1], int) and len(index) < 2):
        return None
    rows, columns = index[:-1], index[-1]
    left = yield a, (*rows, slice(0, a.shape[-1], 1))
    right = yield b, (slice(0, b.shape[0], 1), columns)
    return _placed(MATMUL, (left, right), {}, place, x)


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
    return inner if new == tuple(range(len(new))) else _placed(TRANSPOSE, (inner,), {"axes": new}, place, x)


def _through_broadcast(x: Tensor, index: Index, place: Place) -> Pushing:
    inner = yield x.inputs[0], _aligned(index, x.inputs[0].shape, x.shape)
    shape = tuple(len(range(n)[p]) for p, n in zip(index, x.shape) if isinstance(p, slice))
    return inner if inner.shape == shape else _placed(BROADCAST, (inner,), {"shape": shape}, place, x)


def _through_index(x: Tensor, index: Index, place: Place) -> Pushing:
    """Rows ``E[tokens]``, of which a slice takes the tokens."""
    table, *arrays = x.inputs
    if x.params["index"] != ("array",) or len(arrays) != 1:
        return None
    n = arrays[0].ndim
    if not all(_is_full(p, m) for p, m in zip(index[n:], x.shape[n:])):
        return None
    tokens = yield arrays[0], index[:n]
    return _placed(x.op, (table, tokens), x.params, place, x)


def _through_rows(x: Tensor, index: Index, place: Place) -> Pushing:
    """Softmax and others that work along one axis."""
    axis = x.params.get("axis", x.ndim - 1)
    if not _is_full(index[axis], x.shape[axis]):
        return None
    inner = yield x.inputs[0], index
    return _placed(x.op, (inner,), _params_after(x, index), place, x)


def _params_after(x: Tensor, index: Index) -> dict[str, Any]:
    if "axis" not in x.params:
        return x.params
    axis = x.params["axis"]
    return {**x.params, "axis": axis - sum(isinstance(p, int) for p in index[:axis])}


def _through_cross_entropy(x: Tensor, index: Index, place: Place) -> Pushing:
    logits, target = x.inputs
    inner = yield logits, (*index, slice(0, logits.shape[-1], 1))
    wanted = yield target, index
    return _placed(x.op, (inner, wanted), x.params, place, x)


def _through_reduction(x: Tensor, index: Index, place: Place) -> Pushing:
    """A sum over other axes than those that are sliced."""
    axes, keepdims, source = x.params["axis"], x.params["keepdims"], x.inputs[0]
    if keepdims and not all(_is_full(index[k], 1) for k in axes):
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
    return _placed(x.op, (inner,), {"axis": new, "keepdims": keepdims}, place, x)


def _through_reshape(x: Tensor, index: Index, place: Place) -> Pushing:
    """Only where axes of size 1 come or go."""
    source = x.inputs[0]
    if [n for n in source.shape if n != 1] != [n for n in x.shape if n != 1] or 0 in x.shape:
        return None
    if any(n == 1 and isinstance(p, slice) and not _is_full(p, n) for p, n in zip(index, x.shape)):
        return None  # nothing is taken
    wide = iter([p for p, n in zip(index, x.shape) if n != 1])
    inner = yield source, tuple(slice(0, 1, 1) if n == 1 else next(wide) for n in source.shape)
    shape = tuple(len(range(n)[p]) for p, n in zip(index, x.shape) if isinstance(p, slice))
    return inner if inner.shape == shape else _placed(RESHAPE, (inner,), {"shape": shape}, place, x)


def _through_one_hot(x: Tensor, index: Index, place: Place) -> Pushing:
    if not _is_full(index[-1], x.shape[-1]):
        return None
    tokens = yield x.inputs[0], index[:-1]
    return _placed(x.op, (tokens,), x.params, place, x)


def _through_detach(x: Tensor, index: Index, place: Place) -> Pushing:
    inner = yield x.inputs[0], index
    return _placed(DETACH, (inner,), {}, place, x)


PASSING: dict[str, Rule] = {
    "matmul": _through_matmul, "slice": _through_slice, "stack": _through_stack, "concatenate": _through_concatenate,
    "transpose": _through_transpose, "broadcast_to": _through_broadcast, "index": _through_index,
    "softmax": _through_rows, "log_softmax": _through_rows, "normalize": _through_rows,
    "cross_entropy": _through_cross_entropy, "sum": _through_reduction, "mean": _through_reduction,
    "max": _through_reduction, "min": _through_reduction, "logsumexp": _through_reduction,
    "reshape": _through_reshape, "one_hot": _through_one_hot, "detach": _through_detach,
}  # fmt: skip


# Which operations work on each time step for itself -------------------------------------------------------------------


def _spreads(t: Tensor, axis: int, count: int, inputs: tuple[Tensor, ...]) -> bool:
    if t.op.kernels is not None or t.op.name == "cast":
        return t.shape[axis] == count
    if t.op.name == "matmul":
        a, b = inputs
        return _is_sequence(a) and b.ndim == 2 and axis < t.ndim - 1 and not _is_sequence(b)
    if t.op.name in ALONG:
        return t.params["axis"] != axis
    if t.op.name == "normalize":
        return axis != t.ndim - 1
    return t.op.name == "cross_entropy" and _is_sequence(inputs[0]) and axis < t.ndim


def _input_indices(t: Tensor, inputs: tuple[Tensor, ...], index: Index) -> list[Index]:
    if t.op.name == "matmul":
        a, b = inputs
        return [(*index[:-1], slice(0, a.shape[-1], 1)), tuple(slice(0, n, 1) for n in b.shape)]
    if t.op.name == "cross_entropy":
        return [(*index, slice(0, inputs[0].shape[-1], 1)), index]
    return [_aligned(index, i.shape, t.shape) for i in inputs]


def _params_at(t: Tensor, axis: int) -> dict[str, Any]:
    return {**t.params, "axis": t.params["axis"] - (t.params["axis"] > axis)} if t.op.name in ALONG else t.params
