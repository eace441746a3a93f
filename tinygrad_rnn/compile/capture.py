"""Recording a function for compilation: its graph without values, and what it does besides computing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..effects import Effects
from ..errors import fail
from ..graph import reach
from ..ops.shape import BROADCAST
from ..scope import State, current, enter, using
from ..tensor import CONSTANT, DETACH, LITERAL, PARAMETER, PLACEHOLDER, Op, Spec, Tensor, describe, leaf, now, remade

__all__ = ["Recording", "capture", "inside", "remake"]


@dataclass(slots=True)
class Recording:
    """A recorded function.

    Attributes
    ----------
    placeholders : list of Tensor
        The arguments, in order.
    roots : list of Tensor
        All that has to be computed: results, gradients left behind, gradients for updates, assigned values, checks.
    bound : dict of int to Tensor
        The user's tensor for the serial number of a leaf that stands for it.
    results : int
        How many of the roots the function returned.
    left : list of Tensor
        Parameters in whose ``.grad`` the function left something.
    zeroed : set of int
        Serial numbers of parameters whose gradient the function set aside first.
    """

    placeholders: list[Tensor]
    roots: list[Tensor]
    bound: dict[int, Tensor]
    results: int
    left: list[Tensor]
    effects: Effects


def capture(fn: Callable[[list[Tensor]], list[Tensor]], placeholders: list[Tensor]) -> Recording:
    """Trace ``fn(placeholders)``; nothing that the user can see is changed by it.

    Raises
    ------
    PlaceholderError
        If the function asks for a value that will be another on the next call.
    TypeError
        If it uses a parameter after it has updated it.
    """
    start = min((t.serial for t in placeholders), default=now())
    effects = Effects()
    try:
        with using(lambda s: replace(s, tracing=effects)):
            results = fn(placeholders)
    finally:
        left = effects.restore()
    consumed = {u.parameter.serial for u in effects.updates}
    kept = {s: pair for s, pair in left.items() if s not in consumed}
    roots = [
        *results,
        *(g for _, g in kept.values()),
        *(u.gradient for u in effects.updates),
        *(value for _, value, _ in effects.assigned),
        *(check.tensor for check in effects.checks),
    ]
    _check_order(roots, effects)
    symbolic, bound = _without_values(roots, start, {t.serial for t in placeholders})
    return Recording(placeholders, symbolic, bound, len(results), [t for t, _ in kept.values()], effects)


def _check_order(roots: Sequence[Tensor], effects: Effects) -> None:
    """Refuse a function that reads what it has changed: its changes are carried out together, at the end."""
    changed = {u.parameter.serial: u.serial for u in effects.updates}
    if len(changed) < len(effects.updates):
        raise TypeError("compile: a parameter is updated twice; compile a function that takes one step")
    changed |= {t.serial: at for t, _, at in effects.assigned}
    for node in reach(roots) if changed else ():
        for t in node.inputs:
            if changed.get(t.serial, node.serial) < node.serial:
                raise fail(
                    TypeError, f"compile: {describe(node)} uses {describe(t)} after the function changed it",
                    got=f"recorded at {node.source}",
                    hint="end the function with the update, and compile what follows as a function of its own",
                )  # fmt: skip


def _without_values(
    roots: Sequence[Tensor], start: int, placeholders: set[int]
) -> tuple[list[Tensor], dict[int, Tensor]]:
    """The graph anew: no values but those of constants; what the user made before becomes leaves."""
    copies: dict[int, Tensor] = {}
    bound: dict[int, Tensor] = {}
    for t in _since(roots, start):
        if t.serial in placeholders:
            copies[t.serial] = t
        elif t.serial < start or t.op is PARAMETER:
            copy = copies[t.serial] = inside(t, lambda t=t: leaf(t.spec, _stands_for(t), name=t.name))
            bound[copy.serial] = t
        elif all(type(copies[i.serial].data) is np.ndarray for i in t.inputs) and "generator" not in t.params:
            copies[t.serial] = inside(t, lambda t=t: constant(t.data, t.name))
        else:
            copies[t.serial] = remake(t, tuple([copies[i.serial] for i in t.inputs]))
    return [copies[t.serial] for t in roots], bound


def _stands_for(t: Tensor) -> Op:
    return PARAMETER if t.op is PARAMETER else PLACEHOLDER


def _since(roots: Sequence[Tensor], start: int) -> list[Tensor]:
    nodes = {t.serial: t for t in roots}
    stack = list(nodes.values())
    while stack:
        node = stack.pop()
        for t in node.inputs if node.serial >= start else ():
            if t.serial not in nodes:
                nodes[t.serial] = t
                stack.append(t)
    return [nodes[s] for s in sorted(nodes)]


def constant(data: np.ndarray, name: str | None = None) -> Tensor:
    """A constant; one number broadcast where all entries are the same."""
    data = np.asarray(data)
    flat = data.reshape(-1)
    if flat.size > 1 and (flat == flat[0]).all() and (np.signbit(flat) == np.signbit(flat[0])).all():
        number = leaf(flat[0].reshape(()), LITERAL)
        repeated = leaf(Spec(data.shape, data.dtype), BROADCAST)
        repeated.inputs, repeated.params = (number,), {"shape": data.shape}
        return repeated
    return leaf(data, LITERAL if not data.ndim else CONSTANT, name=name)


def inside(t: Tensor, make: Callable[[], Tensor]) -> Tensor:
    """What `make` records, at the place and line of `t`."""
    state = current()
    enter(State(True, t.place, False, t._source, state.tracing))
    try:
        return make()
    finally:
        enter(state)


def remake(t: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """`t` with other inputs of the same shapes."""
    return inputs[0] if t.op is DETACH else remade(t, inputs)
