"""Forward mode: tangents travel through the recorded nodes from the first to the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..errors import GradientError, ShapeError, fail
from ..ops.core import apply, as_tensor
from ..ops.create import zeros_like
from ..ops.elementwise import add, zero_rule
from ..ops.shape import broadcast_to
from ..scope import current, recording, using
from ..tensor import Tensor, describe
from .reverse import cut_off, nodes_between, separated

__all__ = ["jvp"]


def jvp(fn: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], *, create_graph: bool = False) -> Any:
    """The value of ``fn(*primals)`` and its derivative in the direction of `tangents`, in one forward pass.

    Parameters
    ----------
    fn : callable
        Gives a tensor, or a tuple or list of tensors.
    primals, tangents : sequences of tensors
        Inputs and directions, of equal shapes.
    create_graph : bool
        Record the tangents, so that they can be differentiated. Always so while a function is being traced.

    Raises
    ------
    GradientError
        If an operation on the way has no derivative.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> y, slope = tg.jvp(lambda x: x * x, [3.0], [1.0])
    >>> y.item(), slope.item()
    (9.0, 6.0)
    """
    if len(primals) != len(tangents):
        raise fail(GradientError, "jvp: tangents", expected=f"{len(primals)}, one per primal", got=str(len(tangents)))
    inputs, after = separated([as_tensor(p) for p in primals])
    directions = {t.serial: _direction(t, v) for t, v in zip(inputs, tangents, strict=True)}
    with recording():
        y = fn(*inputs)
    outputs = [y] if isinstance(y, Tensor) else list(y)
    recorded = create_graph or current().tracing is not None or any(t.is_symbolic for t in outputs)
    with using(lambda s: replace(s, recording=recorded)):
        results = list(cut_off(dict(enumerate(push_tangents(outputs, directions, after))), create_graph).values())
    return y, results[0] if isinstance(y, Tensor) else results


def _direction(t: Tensor, tangent: Any) -> Tensor:
    if not t.is_float:
        raise fail(GradientError, f"jvp: {describe(t)} has no tangent", expected="a float tensor")
    tangent = as_tensor(tangent, t.dtype)
    if tangent.shape != t.shape:
        raise fail(ShapeError, f"jvp: tangent of {describe(t)}", expected=str(t.shape), got=str(tangent.shape))
    return tangent


def push_tangents(outputs: list[Tensor], tangents: dict[int, Tensor], after: int = 0) -> list[Tensor]:
    """Tangents of `outputs`, given those of some nodes by serial number; nodes up to `after` are not walked into."""
    nodes, active = nodes_between(outputs, set(tangents), after)
    for serial in sorted(active):
        node = nodes.get(serial)
        if node is not None and serial not in tangents:
            tangents[serial] = _through(node, tangents)
    return [tangents[t.serial] if t.serial in tangents else zeros_like(t) for t in outputs]


def _through(node: Tensor, tangents: dict[int, Tensor]) -> Tensor:
    op, inputs, params = node.op, node.inputs, node.params
    rules: Any = op.vjp
    moving = [(i, tangents[t.serial]) for i, t in enumerate(inputs) if t.serial in tangents]
    if op.jvp == "linear":
        return apply(op, tuple(_moved(t, tangents) for t in inputs), params)
    if op.jvp == "multilinear":
        parts = [apply(op, (*inputs[:i], v, *inputs[i + 1 :]), params) for i, v in moving]
    elif op.jvp == "diagonal":
        parts = [_diagonal(rules[i], v, node) for i, v in moving]
    elif callable(op.jvp):
        parts = [op.jvp(i, v, node, *inputs, **params) for i, v in moving]
    else:
        raise fail(GradientError, f"jvp: '{op}' has no forward rule", got=describe(node))
    total = parts[0]
    for part in parts[1:]:
        total = add(total, part)
    return total


def _moved(t: Tensor, tangents: dict[int, Tensor]) -> Tensor:
    """What a linear operation is applied to: tangents, and indices as they are."""
    if t.serial in tangents:
        return tangents[t.serial]
    return zeros_like(t) if t.is_float else t


def _diagonal(rule: Any, tangent: Tensor, node: Tensor) -> Tensor:
    """An elementwise op's Jacobian is diagonal, so its rule serves forwards as well."""
    if rule is zero_rule:
        return zeros_like(node)
    return broadcast_to(rule(broadcast_to(tangent, node.shape), node, *node.inputs), node.shape)
