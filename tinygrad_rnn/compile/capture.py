"""Recording a function for compilation: its graph without values, and what it does besides computing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..effects import Effects
from ..errors import StaleError, fail
from ..generators import made_of_a_seed
from ..ops.core import cast
from ..ops.shape import BROADCAST
from ..scope import Place, State, current, enter, using
from ..tensor import CONSTANT, GRADIENT, LITERAL, PARAMETER, PLACEHOLDER, Op, Spec, Tensor, describe, leaf, now, remade

__all__ = ["Recording", "capture", "inside"]


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
    left, cleared : list of Tensor
        Tensors in whose ``.grad`` the function leaves something; whose ``.grad`` is None afterwards.
    effects : Effects
    segments : list of (first, last)
        Serial numbers of what was recorded in checkpointed functions.
    drawn : list of Tensor
        Random numbers, in the order in which they are drawn.
    restarted : list of (numpy.random.Generator, state)
        Generators that the function makes of a seed whenever it is called, and how they begin.
    """

    placeholders: list[Tensor]
    roots: list[Tensor]
    bound: dict[int, Tensor]
    results: int
    left: list[Tensor]
    cleared: list[Tensor]
    effects: Effects
    segments: list[tuple[int, int]]
    drawn: list[Tensor]
    restarted: list[tuple[np.random.Generator, Any]] = field(default_factory=list)

    @property
    def watched(self) -> tuple[list[Tensor], list[Any]]:
        """Whether these tensors have a gradient, and whether these modules train, is part of the signature."""
        effects = self.effects
        tensors = [t for s, (t, _) in effects.grads.items() if s not in effects.zeroed or s in effects.carried]
        return tensors, list(effects.modules.values())


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
    effects = Effects(start)
    try:
        with using(lambda s: replace(s, tracing=effects)):
            results = fn(placeholders)
    finally:
        final = effects.restore()
    for t in placeholders:
        if t.serial in effects.grads:
            raise fail(
                TypeError, f"compile: backward() leaves a gradient on an argument, {describe(t)}",
                expected="parameters that the function finds around it", hint="or use tg.grad(y, argument)",
            )  # fmt: skip
    left, cleared = _left_behind(final, effects)
    roots = [
        *results,
        *(g for _, g in left),
        *(u.gradient for u in effects.updates),
        *(inside(value, lambda v=value, t=t: cast(v, t.dtype)) for t, value, _ in effects.assigned),
        *(check.tensor for check in effects.checks),
    ]
    nodes = _since([*roots, *effects.drawn], start)
    _check_order(nodes, effects)
    given = {t.serial for t in [*placeholders, *effects.carried.values()]}
    copies, bound = _without_values(nodes, start, given)
    symbolic = [copies[t.serial] for t in roots]
    segments = _segments(effects.segments, copies)
    drawn = [copies[t.serial] for t in effects.drawn]
    kept = [t for t, _ in left]
    own = made_of_a_seed([t.params for t in nodes if "generator" in t.params])
    return Recording(placeholders, symbolic, bound, len(results), kept, cleared, effects, segments, drawn, own)


def _segments(ranges: list[tuple[int, int]], copies: dict[int, Tensor]) -> list[tuple[int, int]]:
    """The ranges of serial numbers in terms of the copies, which were made in the same order."""
    found = []
    for start, end in ranges:
        within = [c.serial for s, c in copies.items() if start <= s <= end and c.inputs]
        if within:
            found.append((min(within), max(within)))
    return found


def _left_behind(
    final: list[tuple[Tensor, Tensor | None]], effects: Effects
) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
    """What the function leaves in ``.grad``, and where it leaves nothing.

    A gradient that an update has used is not kept where the function itself forgets it on the next call.
    """
    used = {u.parameter.serial for u in effects.updates}
    left, cleared = [], []
    for t, g in final:
        if g is None or (t.serial in used and t.serial in effects.zeroed):
            cleared.append(t)
        elif g is not effects.carried.get(t.serial):
            left.append((t, g))
    return left, cleared


def _check_order(nodes: Sequence[Tensor], effects: Effects) -> None:
    """Refuse a function that reads what it has changed: its changes are carried out together, at the end."""
    changed = {u.parameter.serial: u.serial for u in effects.updates}
    changed |= {t.serial: at for t, _, at in effects.assigned}
    if len(changed) < len(effects.updates) + len(effects.assigned):
        raise TypeError("compile: a parameter is updated or assigned twice; compile a function for each change")
    for node in nodes if changed else ():
        for t in node.inputs:
            if changed.get(t.serial, node.serial) < node.serial:
                raise fail(
                    TypeError, f"compile: {describe(node)} uses {describe(t)} after the function changed it",
                    got=f"recorded at {node.source}",
                    hint="end the function with the update, and compile what follows as a function of its own",
                )  # fmt: skip


def _without_values(
    nodes: Sequence[Tensor], start: int, placeholders: set[int]
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """The graph anew, by old serial number: no values but those of constants; what was there before becomes leaves."""
    copies: dict[int, Tensor] = {}
    bound: dict[int, Tensor] = {}
    for t in nodes:
        if t.serial in placeholders:
            copies[t.serial] = t
        elif t.serial < start and t.inputs and t.requires_grad:
            raise fail(
                StaleError, f"compile: {describe(t)} was computed before from parameters that may change",
                got=f"recorded at {t.source}", hint="compute it inside the function, or pass it through .detach()",
            )  # fmt: skip
        elif t.serial < start and t.op is GRADIENT:
            raise fail(
                TypeError, f"compile: the function reads a .grad from before, {describe(t)}, and the next is another",
                hint="call backward() or tg.grad(y, x) inside the function, or pass the gradient as an argument",
            )  # fmt: skip
        elif t.serial < start or t.op is PARAMETER:
            copy = copies[t.serial] = inside(t, lambda t=t: leaf(t.spec, _stands_for(t), name=t.name))
            bound[copy.serial] = t
        else:
            inputs = tuple([copies[i.serial] for i in t.inputs])
            known = type(t.data) is np.ndarray and all(type(i.data) is np.ndarray for i in inputs)
            copies[t.serial] = inside(t, lambda t=t: constant(t.data, t.name)) if known else remade(t, inputs)
    return copies, bound


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
        number = leaf(np.asarray(flat[0]).reshape(()), LITERAL)
        repeated = leaf(Spec(data.shape, data.dtype), BROADCAST)
        repeated.inputs, repeated.params = (number,), {"shape": data.shape}
        return repeated
    return leaf(data, LITERAL if not data.ndim else CONSTANT, name=name)


def inside(t: Tensor, make: Callable[..., Any], place: Place | None = None) -> Any:
    """What `make` records, at the line of `t` and at its place, or another one."""
    state = current()
    enter(State(True, place or t.place, False, t._source, state.tracing))
    try:
        return make()
    finally:
        enter(state)
