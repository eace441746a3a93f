"""The recorded graph as one would write it down: one product for each gate, one equation for each time step.

Models pack gates into one matrix and time steps into one tensor, because that is faster. Here slices are moved through
the operations to the leaves, so ``(x W + h U)[:, f]`` becomes ``x W[f] + h U[f]``, and operations on a stack of time
steps become one operation for each step. The result computes the same, holds no values, and is differentiated like any
graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import Graph
from ..ops.core import CAST
from ..ops.elementwise import add, divide
from ..ops.index import SLICE
from ..ops.linalg import MATMUL
from ..ops.named import op_named, ops_named
from ..ops.neural import CROSS_ENTROPY, NORMALIZE
from ..ops.random import BERNOULLI_OF, CATEGORICAL, NONNEGATIVE
from ..ops.shape import RESHAPE, STACK, TRANSPOSE
from ..scope import Place, recording
from ..tensor import LITERAL, Spec, Tensor, leaf
from .passing import Index, Pushing, aligned, complete, is_full, is_sequence, node_like, one_of, placed, rule_of
from .times import inferred_times

__all__ = ["Unfolded", "unfolded"]

BUDGET = 200  # nodes that moving one slice may make

SUM, MEAN = op_named("sum"), op_named("mean")
ALONG = ops_named("softmax", "log_softmax")  # work along one axis, and on each row for itself
_CHOICES = (BERNOULLI_OF, CATEGORICAL)  # by noise that is nothing else


class Unfolded:
    """Nodes without values, made from those of a graph.

    Attributes
    ----------
    outputs : list of Tensor
        Those of the graph; one for each time step where an output was a stack of them.
    made : dict
        What was made of each node, by its serial number. Leaves are kept as they are.
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
        return t.inputs if is_sequence(t) and t.name is None else (t,)

    def _remade(self, t: Tensor) -> Tensor:
        if "generator" in t.params or t.op in _CHOICES:  # what is drawn at random is a given
            drawn = leaf(t.data, name=t.name or t.op.label)
            drawn.place, drawn._source = t.place, t._source
            return drawn
        if not t.inputs:
            return t
        inputs = tuple(self.made[i.serial] for i in t.inputs)
        if t.op is NONNEGATIVE:  # it is only looked at
            return inputs[0]
        if t.op is SLICE:
            return self._sliced_by(t, inputs[0])
        spread = self._over_steps(t, inputs)
        return spread if spread is not None else node_like(t.op, inputs, t.params, t)

    def _sliced_by(self, t: Tensor, x: Tensor) -> Tensor:
        """A slice, and then the axes that it adds."""
        given = t.params["index"]
        parts = tuple(p for p in (given if isinstance(given, tuple) else (given,)) if p is not None)
        index = complete(x.shape, parts)
        found = self._slice(x, index, t, self._may_push(t, index))
        if found.shape == t.shape:
            return found
        return node_like(RESHAPE, (found,), {"shape": t.shape}, t)

    def _may_push(self, t: Tensor, index: Index) -> bool:
        whole = t.inputs[0]
        if whole.serial not in self._sliced_only:
            return any(isinstance(p, int) for p in index) and is_sequence(self.made[whole.serial])
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
        if all(is_full(p, n) for p, n in zip(index, x.shape)):
            return x
        key = (x.serial, tuple((p.start, p.stop, p.step) if isinstance(p, slice) else p for p in index))
        if key not in self._sliced:
            left[0] -= 1
            rule = rule_of(x) if left[0] > 0 else None
            own = Place(x.scope, place.time)
            found = (yield from rule(x, index, own)) if rule is not None else None
            if found is None:
                found = placed(SLICE, (x,), {"index": index}, place if x.is_leaf else Place(x.scope, place.time), x)
            if found.name is None and x.name is not None and rule is not None:
                found.named(x.name)
            self._sliced[key] = found
        return self._sliced[key]

    # Stacks of time steps ---------------------------------------------------------------------------------------------

    def _over_steps(self, t: Tensor, inputs: tuple[Tensor, ...]) -> Tensor | None:
        """An operation on a stack of time steps, as a stack of operations; None if it is none."""
        first = next((i for i in inputs if is_sequence(i)), None)
        if first is None:
            return None
        axis, count = first.params["axis"], len(first.inputs)
        if t.op in (SUM, MEAN):
            return self._sum_of_steps(t, first, axis)
        if t.op is TRANSPOSE:
            return None
        if t.op.kernels is not None:
            axis += t.ndim - first.ndim  # broadcasting adds axes in front
        if not _spreads(t, axis, count, inputs):
            return None
        parts = []
        for k, step in enumerate(first.inputs):
            index = one_of(t.shape, axis, k)
            inner = [self._at_step(i, sub, step, t) for i, sub in zip(inputs, _input_indices(t, inputs, index))]
            part = placed(t.op, tuple(inner), _params_at(t, axis), Place(t.scope, step.time), t)
            parts.append(part.named(t.name) if t.name else part)
        return placed(STACK, tuple(parts), {"axis": axis}, t.place, t)

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
                part = placed(t.op, (part,), params, Place(t.scope, part.time), t)
            total = part if total is None else placed(add.op, (total, part), {}, t.place, t)
        assert total is not None
        if t.op is MEAN:
            count = leaf(_number(len(first.inputs), t.dtype), LITERAL)
            total = placed(divide.op, (total, count), {}, t.place, t)
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


# Which operations work on each time step for itself -------------------------------------------------------------------


def _spreads(t: Tensor, axis: int, count: int, inputs: tuple[Tensor, ...]) -> bool:
    if t.op.kernels is not None or t.op is CAST:
        return t.shape[axis] == count
    if t.op is MATMUL:
        a, b = inputs
        return is_sequence(a) and b.ndim == 2 and axis < t.ndim - 1 and not is_sequence(b)
    if t.op in ALONG:
        return t.params["axis"] != axis
    if t.op is NORMALIZE:
        return axis != t.ndim - 1
    return t.op is CROSS_ENTROPY and is_sequence(inputs[0]) and axis < t.ndim


def _input_indices(t: Tensor, inputs: tuple[Tensor, ...], index: Index) -> list[Index]:
    if t.op is MATMUL:
        a, b = inputs
        return [(*index[:-1], slice(0, a.shape[-1], 1)), tuple(slice(0, n, 1) for n in b.shape)]
    if t.op is CROSS_ENTROPY:
        return [(*index, slice(0, inputs[0].shape[-1], 1)), index]
    return [aligned(index, i.shape, t.shape) for i in inputs]


def _params_at(t: Tensor, axis: int) -> dict[str, Any]:
    return {**t.params, "axis": t.params["axis"] - (t.params["axis"] > axis)} if t.op in ALONG else t.params
