"""Reverse mode: one walk over the recorded nodes, from the last to the first.

Serial numbers are a topological order, so nothing recurses. Which nodes take part is found out first; what flows
between them is kept in ``cotangents.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, KeysView, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..calls import answered
from ..errors import DisconnectedError, GradientError, ShapeError, StaleError, fail
from ..graph import graph, walk
from ..nested import mapped, parts
from ..ops.core import as_tensor
from ..ops.elementwise import add
from ..ops.shape import reshape
from ..scope import Place, State, current, enter, recording, user_source
from ..settings import check_count
from ..tensor import GRADIENT, Tensor, describe, leaf, next_serial
from .cotangents import ADD, Arrays, Tensors, Watched

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
        Record the gradient, so that it can be differentiated again and drawn. Always so while a function is traced.
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
    results = pull(outputs, cotangents, targets, create_graph)
    if not allow_unused:
        _check_reached(outputs, targets, results)
    if isinstance(wrt, dict):
        return dict(zip(wrt, results, strict=True))
    return results[0] if isinstance(wrt, Tensor) else results


def pull(
    outputs: list[Tensor], cotangents: list[Tensor], targets: list[Tensor], create_graph: bool, after: int = 0
) -> list[Tensor | None]:
    """Cotangents of `targets`, None where there is no way to one; nodes up to number `after` are not walked into."""
    wanted = {t.serial for t in targets}
    nodes, active = nodes_between(outputs, wanted, after)
    found = cut_off(_walk(outputs, cotangents, nodes, active, wanted, create_graph, after), create_graph)
    return [found.get(t.serial) for t in targets]


def cut_off(results: dict[int, Tensor], create_graph: bool) -> dict[int, Tensor]:
    """Derivatives in a function that is recorded to be compiled, where they are constants unless asked otherwise."""
    effects = current().tracing
    if create_graph or effects is None or not effects.start:
        return results
    return {serial: t.detach() for serial, t in results.items()}


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
        raise _no_parameter(y)
    found = _walk(outputs, cotangents, nodes, active, set(leaves), create_graph)
    for serial, result in cut_off(found, create_graph).items():
        leaf_ = leaves[serial]
        if leaf_.grad is None:
            leaf_.grad = result
            if not result.inputs:
                result.op = GRADIENT
        elif result.inputs or result.is_symbolic:
            with recording():
                leaf_.grad = add(leaf_.grad, result)
        else:
            leaf_.grad = leaf(np.asarray(ADD[result.dtype](leaf_.grad.data, result.data)), GRADIENT)


def value_and_grad(
    fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Make a function that gives the value of `fn` and its gradient with respect to some of its arguments.

    Parameters
    ----------
    fn : callable
        Gives a tensor with one value, or such a tensor and anything else where `has_aux` is set.
    argnums : int or sequence of ints
        Positions of the arguments: tensors, or tuples, lists and dicts of them, nested as they may be.
    has_aux : bool
        Whether `fn` gives a tuple whose first part is the value.

    Raises
    ------
    IndexError
        When it is called without an argument of such a position.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> value, slope = tg.value_and_grad(lambda x: x * x)(tg.tensor(3.0))
    >>> value.item(), slope.item()
    (9.0, 6.0)
    """

    positions = [argnums] if isinstance(argnums, int) else list(argnums)
    for k in positions:
        check_count("value_and_grad: argnums", k, least=None)

    @wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        places = _places(positions, len(args))
        groups = [args[k] for k in places]
        targets, after = separated([as_tensor(t) for t in parts(groups, "value_and_grad")])
        given = iter(targets)
        replaced = dict(zip(places, mapped(lambda _: next(given), groups), strict=True))
        with recording():
            out = fn(*[replaced.get(k, a) for k, a in enumerate(args)], **kwargs)
        gradients = iter(_pulled(out[0] if has_aux else out, targets, None, after))
        results = mapped(lambda _: next(gradients), groups)
        return out, results[0] if isinstance(argnums, int) else tuple(results)

    return answered(run)


def _places(positions: list[int], count: int) -> list[int]:
    """Positions among `count` arguments, counted from the front."""
    for k in positions:
        if not -count <= k < count:
            raise fail(
                IndexError, f"value_and_grad: argnums={k} of a call with {count} positional arguments",
                expected=f"a position from {-count} to {count - 1}" if count else "at least one argument",
                hint="pass what is to be differentiated by position, not by name",
            )  # fmt: skip
    places = [k % count for k in positions]
    if len(set(places)) < len(places):
        raise fail(ValueError, "value_and_grad: argnums", expected="each argument once", got=str(tuple(positions)))
    return places


def vjp(fn: Callable[..., Any], *inputs: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of ``fn(*inputs)``, and a function from cotangents of it to cotangents of the inputs.

    The function takes ``create_graph`` and ``allow_unused`` too, as :func:`grad` does.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> y, pull = tg.vjp(lambda a, b: a * b, [1.0, 2.0], [3.0, 4.0])
    >>> [t.tolist() for t in pull([1.0, 1.0])]
    [[3.0, 4.0], [1.0, 2.0]]
    """
    targets, after = separated([as_tensor(t) for t in inputs])
    with recording():
        y = fn(*targets)
    return y, lambda cotangent=None, **options: _pulled(y, targets, cotangent, after, **options)


def separated(tensors: list[Tensor]) -> tuple[list[Tensor], int]:
    """Arguments for a function that is differentiated by each of them, and the serial number that its nodes come after.

    The derivative by one argument does not run through the history of another, since that came before; a tensor that is
    given twice goes in through nodes of its own.
    """
    after, uses = next_serial(), Counter(t.serial for t in tensors)
    with recording():
        return [t if uses[t.serial] == 1 else reshape(t, t.shape) for t in tensors], after


def _pulled(
    y: Any, targets: list[Tensor], cotangent: Any, after: int, create_graph: bool = False, allow_unused: bool = False
) -> list[Tensor | None]:
    outputs, cotangents = _seeds(y, cotangent)
    results = pull(outputs, cotangents, _targets(targets), create_graph, after)
    if not allow_unused:
        _check_reached(outputs, targets, results)
    return results


# Arguments ------------------------------------------------------------------------------------------------------------


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
    cotangent = as_tensor(cotangent, y.dtype)
    if cotangent.shape != y.shape:
        raise fail(ShapeError, f"grad: cotangent of {describe(y)}", expected=str(y.shape), got=str(cotangent.shape))
    return cotangent


# Which nodes take part ------------------------------------------------------------------------------------------------


def nodes_between(outputs: list[Tensor], targets: set[int], after: int = 0) -> tuple[dict[int, Tensor], set[int]]:
    """Nodes between `outputs` and `targets` by serial number, and which of them a derivative by a target reaches."""
    lowest, changed = min(targets, default=0), _changed()

    def follow(node: Tensor) -> list[Tensor]:
        if type(node.op.vjp) is str or node.serial <= after:
            return []
        _check_fresh(node, changed)
        return [t for t in node.inputs if t.serial >= lowest]

    nodes = {t.serial: t for t in walk.reach(outputs, follow)}
    passing = [t for t in nodes.values() if type(t.op.vjp) is not str and t.serial > after]
    return nodes, walk.dependent(passing, targets & nodes.keys())


def _requiring(outputs: list[Tensor]) -> tuple[dict[int, Tensor], KeysView[int]]:
    """Nodes between `outputs` and the parameters, by serial number; all of them take part."""
    changed = _changed()

    def follow(node: Tensor) -> list[Tensor]:
        _check_fresh(node, changed)
        return [t for t in node.inputs if t._requires_grad]

    nodes = {t.serial: t for t in walk.reach([t for t in outputs if t.requires_grad], follow)}
    return nodes, nodes.keys()


def _check_fresh(node: Tensor, changed: dict[int, int]) -> None:
    """Raise where an input was changed after the node was computed from it."""
    for t in node.inputs:
        if t.assigned > node.serial or changed.get(t.serial, 0) > node.serial:
            raise fail(
                StaleError,
                f"{describe(t)} was assigned a new value after {describe(node)} had been computed from the old one",
                hint="call backward() or grad() before optimizer.step(), and run the model again for a new gradient",
            )


def _changed() -> dict[int, int]:
    """When the function that is traced has changed leaves, by their serial numbers."""
    effects = current().tracing
    return effects.changed if effects is not None else {}


def _check_reached(outputs: list[Tensor], targets: list[Tensor], results: list[Tensor | None]) -> None:
    for target, result in zip(targets, results, strict=True):
        if result is None:
            raise _unreached(outputs, target)


def _unreached(outputs: list[Tensor], target: Tensor) -> Exception:
    """Say whether nothing connects the output with `target`, or what on the way has no gradient."""
    smooth, barrier = {target.serial}, None
    for node in graph(outputs).nodes:
        if any(t.serial in smooth for t in node.inputs):
            if type(node.op.vjp) is str:
                barrier = node
            else:
                smooth.add(node.serial)
    if barrier is None:
        return fail(
            DisconnectedError, f"grad: {describe(outputs[0])} does not depend on {describe(target)}",
            hint="pass allow_unused=True for None; look for detach(), no_grad() and copies of the tensor on the way",
        )  # fmt: skip
    return fail(
        GradientError, f"grad: {describe(outputs[0])} depends on {describe(target)} only through '{barrier.op}', "
        f"which has no gradient: {barrier.op.vjp}", got=f"'{barrier.op}' at {barrier.source}",
    )  # fmt: skip


def _no_parameter(y: Tensor) -> Exception:
    for t in graph(y).parameters:
        return _unreached([y], t)
    return fail(
        GradientError, f"backward: {describe(y)} depends on no parameter",
        hint="make one with tg.parameter(...), or ask for tg.grad(y, x) with respect to any tensor",
    )  # fmt: skip


# The walk -------------------------------------------------------------------------------------------------------------


def _walk(
    outputs: list[Tensor],
    cotangents: list[Tensor],
    nodes: dict[int, Tensor],
    active: set[int] | KeysView[int],
    targets: set[int],
    create_graph: bool,
    after: int = 0,
) -> dict[int, Tensor]:
    """Cotangents of `targets`, by serial number."""
    state = current()
    recorded = create_graph or state.tracing is not None or any(t.is_symbolic for t in [*outputs, *cotangents])
    sums: Any = Tensors() if recorded else Watched() if state.anomaly else Arrays()
    found: dict[int, Tensor] = {}
    try:
        source = state.source or user_source()
        enter(State(recorded, state.place, state.anomaly and recorded, source, state.tracing))
        with np.errstate(all="ignore"):
            for y, cotangent in zip(outputs, cotangents, strict=True):
                if y.serial in active:  # a gradient must not change with a parameter that was its cotangent
                    sums.add(y, cotangent if recorded or not cotangent.may_be_written else cotangent.detach())
            for serial in sorted(active, reverse=True):
                node = nodes[serial]
                if recorded:
                    enter(_inheriting(state, node))
                g = sums.pop(node)
                if g is None:
                    continue
                if serial in targets:
                    found[serial] = g if recorded else leaf(g)
                if node.inputs and serial > after:
                    sums.pull_back(node, g, active)
    finally:
        enter(state)
    return found


def _inheriting(state: State, node: Tensor) -> State:
    """The state in which the rule of `node` is recorded: its place and its line, backward."""
    at = Place(node.place.scope, node.place.time, True, node.place)
    return State(True, at, state.anomaly, node._source, state.tracing)


Tensor.backward = backward
