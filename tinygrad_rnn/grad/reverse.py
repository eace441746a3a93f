"""Reverse mode: one walk over the recorded nodes, from the last to the first.

Serial numbers are a topological order, so nothing recurses. There are two ways to walk. Recorded: cotangents are tensors, the
rules' operations become nodes, and can be differentiated again. Unrecorded: cotangents are arrays, elementwise
rules run as fused kernels, and contributions are added in place. Un-broadcasting and accumulation happen here and in no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import AnomalyError, DisconnectedError, GradientError, ShapeError, StaleError, fail
from ..ops import reduce, shape
from ..ops.core import as_tensor, cast
from ..ops.create import zeros_like
from ..ops.elementwise import add, passes, vanishes
from ..ops.index import Placed, add_at, assemble
from ..ops.linalg import Product
from ..scope import State, current, enter
from ..tensor import Tensor, describe, leaf

__all__ = ["backward", "grad", "value_and_grad", "vjp"]


def grad(
    y: Tensor | Sequence[Tensor],
    wrt: Any,
    cotangent: Any = None,
    *,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """Gradient of `y` with respect to tensors that it was computed from; nothing else is changed.

    Parameters
    ----------
    y : tensor or sequence of tensors
        What is differentiated.
    wrt : tensor, or sequence or dict of tensors
        Leaves or intermediate results, with or without ``requires_grad``.
    cotangent : tensor or sequence of tensors, optional
        Weights of the entries of `y`, of its shape. Not needed where `y` holds one value.
    create_graph : bool
        Record the gradient, so that it can be differentiated again and drawn. Always so while a function is being traced.
    allow_unused : bool
        Give None for a tensor that `y` does not depend on, instead of an error.

    Returns
    -------
    tensor, or a list or dict of tensors, as `wrt` is
        With the shape and dtype of what they are the gradient of.

    Raises
    ------
    DisconnectedError
        If `y` does not depend on a tensor.
    GradientError
        If a tensor holds integers, an operation on the way has no gradient, or a cotangent is missing.
    StaleError
        If a parameter was assigned after `y` had been computed from it.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0])
    >>> tg.grad((x * x).sum(), x).tolist()
    [2.0, 4.0]
    """
    outputs, cotangents = _seeds(y, cotangent)
    targets = _targets(wrt)
    nodes, active = _dependent(outputs, {t.serial for t in targets})
    found = _walk(outputs, cotangents, nodes, active, {t.serial for t in targets}, create_graph)
    results = [found.get(t.serial) for t in targets]
    for target, result in zip(targets, results, strict=True):
        if result is None and not allow_unused:
            raise _unreached(outputs, target)
    if isinstance(wrt, dict):
        return dict(zip(wrt, results, strict=True))
    return results[0] if isinstance(wrt, Tensor) else results


def backward(y: Tensor, cotangent: Any = None, *, create_graph: bool = False) -> None:
    """Add the gradient of `y` to ``.grad`` of every parameter that it depends on.

    Parameters
    ----------
    y : tensor
        What is differentiated.
    cotangent : tensor, optional
        Weights of the entries of `y`; not needed where it holds one value.
    create_graph : bool
        Record the gradients, so that they can be differentiated again.

    Raises
    ------
    GradientError
        If `y` depends on no parameter, or as in :func:`grad`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([1.0, 2.0])
    >>> (w * w).sum().backward()
    >>> w.grad.tolist()
    [2.0, 4.0]
    """
    outputs, cotangents = _seeds(y, cotangent)
    nodes, active = _requiring(outputs)
    leaves = {s: t for s, t in nodes.items() if not t.inputs and t.requires_grad}
    if not leaves:
        raise fail(
            GradientError, f"backward: {describe(y)} depends on no parameter",
            hint="make one with tg.parameter(...), or ask for tg.grad(y, x) with respect to any tensor",
        )  # fmt: skip
    for serial, result in _walk(outputs, cotangents, nodes, active, set(leaves), create_graph).items():
        leaf_ = leaves[serial]
        with_history = leaf_.grad is not None and create_graph
        if leaf_.grad is None:
            leaf_.grad = result
        else:
            leaf_.grad = add(leaf_.grad, result) if with_history else leaf(np.add(leaf_.grad.data, result.data))


def value_and_grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Make a function that gives the value of `fn` and its gradient with respect to some of its arguments.

    Parameters
    ----------
    fn : callable
        Gives a tensor with one value, or such a tensor and anything else where `has_aux` is set.
    argnums : int or sequence of ints
        Positions of the arguments: tensors, or lists or dicts of tensors.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> value, slope = tg.value_and_grad(lambda x: x * x)(tg.tensor(3.0))
    >>> value.item(), slope.item()
    (9.0, 6.0)
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        places = [argnums] if isinstance(argnums, int) else list(argnums)
        args = tuple(_as_tensors(a) if k in places else a for k, a in enumerate(args))
        out = fn(*args, **kwargs)
        y = out[0] if has_aux else out
        groups = [args[k] for k in places]
        flat = [t for group in groups for t in _targets(group)]
        gradients = iter(grad(y, flat))
        results = [_like(group, gradients) for group in groups]
        return out, results[0] if isinstance(argnums, int) else tuple(results)

    return run


def vjp(fn: Callable[..., Any], *inputs: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of ``fn(*inputs)``, and a function from cotangents of it to cotangents of the inputs.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> y, pull = tg.vjp(lambda a, b: a * b, [1.0, 2.0], [3.0, 4.0])
    >>> [t.tolist() for t in pull([1.0, 1.0])]
    [[3.0, 4.0], [1.0, 2.0]]
    """
    tensors = [as_tensor(t) for t in inputs]
    y = fn(*tensors)
    return y, lambda cotangent, **options: grad(y, tensors, cotangent, **options)


# Arguments ----------------------------------------------------------------------------------------------------------------


def _as_tensors(argument: Any) -> Any:
    if isinstance(argument, dict):
        return {k: as_tensor(v) for k, v in argument.items()}
    return [as_tensor(v) for v in argument] if isinstance(argument, list | tuple) else as_tensor(argument)


def _like(group: Any, gradients: Any) -> Any:
    if isinstance(group, dict):
        return {k: next(gradients) for k in group}
    return [next(gradients) for _ in group] if isinstance(group, list | tuple) else next(gradients)


def _targets(wrt: Any) -> list[Tensor]:
    targets = [wrt] if isinstance(wrt, Tensor) else list(wrt.values() if isinstance(wrt, dict) else wrt)
    for t in targets:
        if not isinstance(t, Tensor):
            raise TypeError(f"grad: expected tensors to differentiate by, got {type(t).__name__}")
        if not t.is_float:
            raise fail(
                GradientError, f"grad: {describe(t)} carries no gradient", expected="a float tensor",
                hint="integers and booleans are not differentiable; convert with .astype(np.float32) before computing",
            )  # fmt: skip
    return targets


def _seeds(y: Any, cotangent: Any) -> tuple[list[Tensor], list[Tensor]]:
    outputs = [y] if isinstance(y, Tensor) else list(y)
    given = [cotangent] if isinstance(y, Tensor) or cotangent is None else list(cotangent)
    if cotangent is None:
        given = [None] * len(outputs)
    if len(given) != len(outputs):
        raise fail(GradientError, "grad: cotangents", expected=f"{len(outputs)}, one per output", got=str(len(given)))
    return outputs, [_seed(o, c) for o, c in zip(outputs, given, strict=True)]


def _seed(y: Tensor, cotangent: Any) -> Tensor:
    if not isinstance(y, Tensor):
        raise TypeError(f"grad: expected a tensor to differentiate, got {type(y).__name__}")
    if not y.is_float:
        raise fail(GradientError, f"grad: {describe(y)} cannot be differentiated", expected="a float tensor")
    if cotangent is None:
        if y.size != 1:
            raise fail(
                GradientError, f"grad: {describe(y)} holds {y.size} values, so its gradient needs a cotangent",
                hint="reduce it first, as with .sum() or .mean(), or pass cotangent= of its shape",
            )  # fmt: skip
        return leaf(np.ones(y.shape, y.dtype))
    cotangent = cast(as_tensor(cotangent), y.dtype)
    if cotangent.shape != y.shape:
        raise fail(ShapeError, f"grad: cotangent of {describe(y)}", expected=str(y.shape), got=str(cotangent.shape))
    return cotangent


# Which nodes take part ----------------------------------------------------------------------------------------------------


def _dependent(outputs: list[Tensor], targets: set[int]) -> tuple[dict[int, Tensor], set[int]]:
    """Nodes between `outputs` and `targets` by serial number, and which of them depend on a target."""
    lowest = min(targets, default=0)
    nodes = {t.serial: t for t in outputs}
    stack = list(nodes.values())
    while stack:
        node = stack.pop()
        if type(node.op.vjp) is str:
            continue
        for t in node.inputs:
            if t.assigned > node.serial:
                raise _stale(t, node)
            if t.serial not in nodes and t.serial >= lowest:
                nodes[t.serial] = t
                stack.append(t)
    active = set(targets)
    for serial in sorted(nodes):
        node = nodes[serial]
        if type(node.op.vjp) is not str:
            for t in node.inputs:
                if t.serial in active:
                    active.add(serial)
                    break
    return nodes, active


def _requiring(outputs: list[Tensor]) -> tuple[dict[int, Tensor], set[int]]:
    """Nodes between `outputs` and the parameters, by serial number; all of them take part."""
    nodes = {t.serial: t for t in outputs if t.requires_grad}
    stack = list(nodes.values())
    while stack:
        node = stack.pop()
        if type(node.op.vjp) is str:
            continue
        for t in node.inputs:
            if t.assigned > node.serial:
                raise _stale(t, node)
            if t.requires_grad and t.serial not in nodes:
                nodes[t.serial] = t
                stack.append(t)
    return nodes, nodes.keys()  # type: ignore


def _stale(t: Tensor, node: Tensor) -> Exception:
    return fail(
        StaleError, f"{describe(t)} was assigned a new value after {describe(node)} had been computed from the old one",
        hint="call backward() or grad() before optimizer.step(), and run the model again for a new gradient",
    )  # fmt: skip


def _unreached(outputs: list[Tensor], target: Tensor) -> Exception:
    """Say whether nothing connects the output with `target`, or what on the way has no gradient."""
    seen, stack, barriers = {t.serial for t in outputs}, list(outputs), []
    while stack:
        node = stack.pop()
        if type(node.op.vjp) is str and node.inputs:
            barriers.append(node)
        for t in node.inputs:
            if t.serial not in seen:
                seen.add(t.serial)
                stack.append(t)
    if target.serial in seen and barriers:
        barrier = barriers[0]
        return fail(
            GradientError, f"grad: {describe(outputs[0])} depends on {describe(target)} only through '{barrier.op.name}', "
            f"which has no gradient: {barrier.op.vjp}", got=f"'{barrier.op.name}' at {barrier.source}",
        )  # fmt: skip
    return fail(
        DisconnectedError, f"grad: {describe(outputs[0])} does not depend on {describe(target)}",
        hint="pass allow_unused=True to get None, and check for detach(), no_grad() and copies of the tensor on the way",
    )  # fmt: skip


# The walk -----------------------------------------------------------------------------------------------------------------


def _walk(
    outputs: list[Tensor],
    cotangents: list[Tensor],
    nodes: dict[int, Tensor],
    active: set[int],
    targets: set[int],
    create_graph: bool,
) -> dict[int, Tensor]:
    """Cotangents of `targets`, by serial number."""
    recorded = create_graph or any(t.is_symbolic for t in [*outputs, *cotangents])
    sums: _Arrays | _Tensors = _Tensors() if recorded else _Arrays()
    state = current()
    found: dict[int, Tensor] = {}
    try:
        enter(replace(state, recording=recorded, source=state.source or _HERE, anomaly=state.anomaly and recorded))
        with np.errstate(all="ignore"):
            for y, cotangent in zip(outputs, cotangents, strict=True):
                if y.serial in active:
                    sums.add(y, cotangent if recorded else cotangent.data)
            for serial in sorted(active, reverse=True):
                node = nodes[serial]
                g = sums.take(node)
                if g is None:
                    continue
                if recorded:
                    enter(_inheriting(state, node))
                if serial in targets:
                    found[serial] = g if recorded else leaf(g)
                if node.inputs:
                    sums.spread(node, g, active)
                    if state.anomaly and not recorded:
                        _check_contributions(sums, node)
    finally:
        enter(state)
    return found


_HERE = (_walk.__code__, 0)


def _inheriting(state: State, node: Tensor) -> State:
    """The state in which the rule of `node` is recorded: its place and its line, backward."""
    return State(True, replace(node.place, backward=True), state.anomaly, node._source)


class _Arrays:
    """Running sums of cotangents as arrays, by serial number."""

    def __init__(self) -> None:
        self.sums: dict[int, np.ndarray] = {}
        self.owned: set[int] = set()  # sums made here, which may be added to in place
        self.products: dict[int, list[Product]] = {}  # of weights; multiplied out together

    def take(self, node: Tensor) -> np.ndarray | None:
        serial = node.serial
        if serial in self.products:
            self._multiply_out(node)
        return self.sums.pop(serial, None)

    def spread(self, node: Tensor, g: np.ndarray, active: Any) -> None:
        op, inputs = node.op, node.inputs
        rules = op.vjp
        if op.kernels is not None and type(rules) is tuple:
            for i, t in enumerate(inputs):
                if t.serial in active:
                    rule = rules[i]
                    self.add(t, g if rule is passes else self._elementwise(node, i, rule, g))
            return
        if op.plain:  # the rules can do with arrays
            y, operands = node.data, [t.data for t in inputs]
        else:
            g, y, operands = leaf(g), node, inputs  # type: ignore
        if type(rules) is tuple:
            for i, t in enumerate(inputs):
                if t.serial in active:
                    self.add(t, rules[i](g, y, *operands, **node.params))
        else:
            wanted = [i for i, t in enumerate(inputs) if t.serial in active]
            for i, part in zip(wanted, rules(wanted, g, y, *operands, **node.params), strict=True):  # type: ignore
                self.add(inputs[i], part)

    def _elementwise(self, node: Tensor, i: int, rule: Any, g: np.ndarray) -> Any:
        if rule is vanishes:
            return np.zeros(node.shape, g.dtype)
        fused = node.op.kernels.rule(i, g.dtype)
        if fused is None:
            return rule(leaf(g), node, *node.inputs)
        kernel, takes = fused
        return kernel(*[g if k == 0 else node.data if k == 1 else node.inputs[k - 2].data for k in takes])

    def add(self, t: Tensor, part: Any) -> None:
        if type(part) is not np.ndarray:
            if type(part) is Placed:
                return self._place(t, part)
            if type(part) is Product:
                return self._defer(t, part)
            part = part.data if type(part) is Tensor else np.asarray(part)
        if part.shape != t.data.shape:
            part = _fold_array(part, t.data.shape)
        serial = t.serial
        before = self.sums.get(serial)
        if before is None:
            self.sums[serial] = part
        elif serial in self.owned:
            _ADD[part.dtype](before, part, out=before)
        else:
            self.sums[serial] = np.asarray(_ADD[part.dtype](before, part))
            self.owned.add(serial)
        return None

    def _place(self, t: Tensor, part: Placed) -> None:
        serial = t.serial
        if serial not in self.owned:
            before = self.sums.get(serial)
            self.sums[serial] = np.zeros(t.shape, t.dtype) if before is None else np.array(before)
            self.owned.add(serial)
        add_at(self.sums[serial], part.template, _arrays(part.indices), part.value)

    def _defer(self, t: Tensor, part: Product) -> None:
        """Keep a product until its weight's turn comes, or until those kept take more room than the weight."""
        if type(part.a) is Tensor:
            part = Product(part.a.data, part.g.data)
        waiting = self.products.setdefault(t.serial, [])
        waiting.append(part)
        if len(waiting) * (part.a.size + part.g.size) > 4 * t.size + 65536:
            self._multiply_out(t)

    def _multiply_out(self, t: Tensor) -> None:
        waiting = self.products.pop(t.serial)
        a = waiting[0].a if len(waiting) == 1 else np.concatenate([p.a for p in waiting])
        g = waiting[0].g if len(waiting) == 1 else np.concatenate([p.g for p in waiting])
        self.add(t, np.dot(a.T, g))


def _arrays(indices: tuple[Any, ...]) -> tuple[np.ndarray, ...]:
    return tuple([i.data if type(i) is Tensor else i for i in indices])


_ADD = add.op.kernels


def _fold_array(part: np.ndarray, target: tuple[int, ...]) -> np.ndarray:
    """Sum over the axes that broadcasting added or stretched."""
    lead = part.ndim - len(target)
    axes = tuple([k for k in range(part.ndim) if k < lead or (target[k - lead] == 1 and part.shape[k] != 1)])
    if any(part.shape[k] != 1 for k in axes):
        with np.errstate(all="ignore"):
            part = np.add.reduce(part, axes)
    part = np.asarray(part)
    # What is left may still be smaller than the target where a rule gave one value for many.
    return np.broadcast_to(part, target) if part.size < _size(target) else part.reshape(target)


def _size(dimensions: tuple[int, ...]) -> int:
    size = 1
    for n in dimensions:
        size *= n
    return size


class _Tensors:
    """Running sums of cotangents as recorded tensors, by serial number; indexed parts wait until they are all there."""

    def __init__(self) -> None:
        self.sums: dict[int, Tensor] = {}
        self.parts: dict[int, list[Placed]] = {}

    def take(self, node: Tensor) -> Tensor | None:
        total = self.sums.pop(node.serial, None)
        parts = self.parts.pop(node.serial, None)
        if parts is None:
            return total
        placed = assemble(parts, node.shape)
        return placed if total is None else add(total, placed)

    def spread(self, node: Tensor, g: Tensor, active: Any) -> None:
        inputs, rules = node.inputs, node.op.vjp
        if type(rules) is tuple:
            for i, t in enumerate(inputs):
                if t.serial in active:
                    self.add(t, zeros_like(node) if rules[i] is vanishes else rules[i](g, node, *inputs, **node.params))
            return
        wanted = [i for i, t in enumerate(inputs) if t.serial in active]
        for i, part in zip(wanted, rules(wanted, g, node, *inputs, **node.params), strict=True):  # type: ignore
            self.add(inputs[i], part)

    def add(self, t: Tensor, part: Any) -> None:
        if type(part) is Placed:
            self.parts.setdefault(t.serial, []).append(part)
            return
        if type(part) is Product:
            part = part.a.swapaxes(0, 1) @ part.g
        if part.shape != t.shape:
            part = _fold_tensor(part, t.shape)
        before = self.sums.get(t.serial)
        self.sums[t.serial] = part if before is None else add(before, part)


def _fold_tensor(part: Tensor, target: tuple[int, ...]) -> Tensor:
    lead = part.ndim - len(target)
    axes = tuple(k for k in range(part.ndim) if k < lead or (target[k - lead] == 1 and part.shape[k] != 1))
    if any(part.shape[k] != 1 for k in axes):
        part = reduce.sum(part, axes)
    if part.size < _size(target):
        return shape.broadcast_to(part, target)
    return shape.reshape(part, target) if part.shape != target else part


def _check_contributions(sums: _Arrays, node: Tensor) -> None:
    for t in node.inputs:
        if t.serial in sums.products:
            sums._multiply_out(t)
        g = sums.sums.get(t.serial)
        if g is None or np.isfinite(g).all():
            continue
        found = "NaN" if np.isnan(g).any() else "infinity"
        error = fail(
            AnomalyError, f"the gradient of {node.op.name} produced {found} for {describe(t)}", expected="finite values",
            got=f"{int((~np.isfinite(g)).sum())} of {g.size} entries; {describe(node)}, recorded at {node.source}",
            hint="look at the values that the operation was given: a zero under a root, a logarithm or a division",
        )  # fmt: skip
        error.node = node
        raise error


Tensor.backward = backward  # type: ignore
