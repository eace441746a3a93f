"""Recording a function for compilation: its graph without values, and what it does besides computing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from ..effects import Change, Check, Effects, Update
from ..errors import StaleError, fail
from ..generators import made_of_a_seed
from ..graph.walk import reach
from ..ops.core import apply, cast
from ..ops.shape import BROADCAST
from ..scope import Place, State, current, enter, using
from ..tensor import (
    CONSTANT,
    GRADIENT,
    LITERAL,
    PARAMETER,
    PLACEHOLDER,
    Spec,
    Tensor,
    describe,
    leaf,
    next_serial,
    with_inputs,
)
from .arguments import Call
from .compiler_ops import ASSIGN, CHANGES, CHECK, SEQUENCE

__all__ = ["Recording", "capture", "inside"]


@dataclass(slots=True)
class Recording:
    """A recorded function.

    Attributes
    ----------
    placeholders : list of Tensor
        The arguments, in order.
    roots : list of Tensor
        What the function returned, and the gradients that it leaves behind.
    results : int
        How many of the roots the function returned.
    left, cleared : list of Tensor
        Tensors in whose ``.grad`` the function leaves something; whose ``.grad`` is None afterwards.
    bound : dict of int to Tensor
        The user's tensor for the serial number of a leaf that stands for it.
    carried : dict of int to Tensor
        The user's tensor for the serial number of a leaf that stands for its gradient from before.
    changes : list of Tensor
        Updates, assignments and checks, in order.
    last : Tensor, optional
        Comes after all changes.
    segments : list of (first, last)
        Serial numbers of what was recorded in checkpointed functions.
    drawn : list of Tensor
        Random numbers, in the order in which they are drawn.
    ranges : list of Tensor
        Checks of integers, whether anybody uses these or not.
    restarted : list of (numpy.random.Generator, state)
        Generators that the function makes of a seed whenever it is called, and how they begin.
    anomaly : bool
        Whether a part of the function is to be watched for NaN.
    watched : list of Tensor
        It matters whether these have a gradient.
    call : Call, optional
        How arguments and results are nested; one after the other if it is not known.
    """

    placeholders: list[Tensor]
    roots: list[Tensor]
    results: int
    left: list[Tensor]
    cleared: list[Tensor]
    bound: dict[int, Tensor]
    carried: dict[int, Tensor]
    changes: list[Tensor] = field(default_factory=list)
    last: Tensor | None = None
    segments: list[tuple[int, int]] = field(default_factory=list)
    drawn: list[Tensor] = field(default_factory=list)
    ranges: list[Tensor] = field(default_factory=list)
    restarted: list[tuple[np.random.Generator, Any]] = field(default_factory=list)
    anomaly: bool = False
    watched: list[Tensor] = field(default_factory=list)
    call: Call | None = None

    @property
    def shown(self) -> list[Tensor]:
        """All that is computed: the roots, and what goes into changes."""
        return [*self.roots, *(computed(change) for change in self.changes)]

    @property
    def optimizers(self) -> list[Any]:
        """In the order of their steps."""
        whats = [change.params["change"] for change in self.changes]
        return list({id(w.optimizer): w.optimizer for w in whats if isinstance(w, Update)}.values())

    @property
    def written(self) -> list[Tensor]:
        """The user's tensors that are changed."""
        whats = [change.params["change"] for change in self.changes]
        return list({w.parameter.serial: w.parameter for w in whats if not isinstance(w, Check)}.values())


def computed(change: Tensor) -> Tensor:
    """What goes into a change: a gradient, a new value, or what is checked."""
    return change.inputs[0 if change.op is CHECK else 1]


def capture(
    fn: Callable[[list[Tensor]], list[Tensor]], placeholders: list[Tensor], meet: Callable[[Any], None] | None = None,
) -> Recording:  # fmt: skip
    """Trace ``fn(placeholders)``; nothing that the user can see is changed by it but what its Python sets.

    Parameters
    ----------
    meet : callable, optional
        Called with each module before the function calls it for the first time.

    Raises
    ------
    PlaceholderError
        If the function asks for a value that will be another on the next call.
    TypeError
        If it changes what it makes itself, a parameter or the state of an optimiser: on the next call that would go on
        from where it was, while the function would make it anew.
    """
    start = min((t.serial for t in placeholders), default=next_serial())
    effects = Effects(start, meet=meet)
    with using(lambda s: replace(s, tracing=effects)):
        results = fn(placeholders)
    _check_arguments(placeholders, effects)
    _check_changed(effects)
    _check_switched(effects)
    kept = _kept(effects)
    lasting = [(t, g) for t, g in effects.grads.values() if not _is_passing(t, effects, kept)]
    left, cleared = _left_behind(lasting, effects)
    roots = [*results, *(g for _, g in left)]
    copying = _Copying(effects, placeholders)
    outputs = [*roots, *effects.drawn, *effects.ranges, *_operands(effects)]
    nodes = reach(outputs, lambda t: t.inputs if t.serial >= start else ())
    copying.run(nodes)
    return Recording(
        placeholders, [copying.now(t) for t in roots], len(results), [t for t, _ in left], cleared, copying.bound,
        {stand_in.serial: effects.grads[s][0] for s, stand_in in effects.carried.items()},
        copying.changes, copying.last, _segments(effects.segments, copying.copies),
        [copying.copies[t.serial] for t in effects.drawn], [copying.copies[t.serial] for t in effects.ranges],
        made_of_a_seed([t.params for t in nodes if "generator" in t.params]), effects.anomaly,
        [t for t, _ in lasting if t.serial in effects.asked],
    )  # fmt: skip


def _check_arguments(placeholders: list[Tensor], effects: Effects) -> None:
    for t in placeholders:
        if effects.grads.get(t.serial, (t, None))[1] is not None:
            raise fail(
                TypeError, f"compile: backward() leaves a gradient on an argument, {describe(t)}",
                expected="parameters that the function finds around it", hint="or use tg.grad(y, argument)",
            )  # fmt: skip


def _check_changed(effects: Effects) -> None:
    """Refuse changes of what the function makes, and does not keep in a module: each call should make it anew."""
    kept = _kept(effects)
    for what in (change.what for change in effects.changes):
        if isinstance(what, Check):
            continue
        if _is_passing(what.parameter, effects, kept):
            raise fail(
                TypeError, f"compile: the function makes {describe(what.parameter)} and changes it",
                expected="changes of tensors that are there before", got=f"made at {what.parameter.source}",
                hint="make it outside of the function; inside, compute new values with tg.grad(y, x) instead",
            )  # fmt: skip
        if isinstance(what, Update) and what.optimizer.remembers and _is_passing(what.optimizer, effects, kept):
            raise fail(
                TypeError, f"compile: the function makes its optimiser, {type(what.optimizer).__name__}",
                hint="make it outside of the function, so that its state is kept from call to call",
            )  # fmt: skip


def _check_switched(effects: Effects) -> None:
    """Refuse a function that leaves ``requires_grad`` of what it found as another: it would do so only once."""
    left = [(t, before) for t, before in effects.switched.values() if t.requires_grad is not before]
    for t, before in left:
        t.requires_grad = before
    if left:
        t, before = left[0]
        raise fail(
            TypeError, f"compile: the function changes requires_grad of {describe(t)} and leaves it so",
            got=f"{not before}, which was {before}",
            hint="put it back in the function, or change it outside: the next call records anew",
        )  # fmt: skip


def _kept(effects: Effects) -> set[int]:
    """The ids of what the modules hold that were called."""
    modules = effects.modules.values()
    held = {id(value) for module in modules for value in vars(module).values()}
    return held | {id(t) for module in modules for _, t in module.named_tensors()}


def _is_passing(made: Any, effects: Effects, kept: set[int]) -> bool:
    """Whether a tensor or an optimiser was made by the function, for this call alone."""
    return made.serial >= effects.start and id(made) not in kept


def _operands(effects: Effects) -> list[Tensor]:
    return [t for change in effects.changes for t in change.what.operands]


def _segments(ranges: list[tuple[int, int]], copies: dict[int, Tensor]) -> list[tuple[int, int]]:
    """The ranges of serial numbers in terms of the copies, which were made in the same order."""
    made = sorted((serial, c.serial) for serial, c in copies.items() if c.inputs)
    found = []
    for start, end in ranges:
        within = made[bisect_left(made, (start, 0)) : bisect_left(made, (end + 1, 0))]
        if within:
            found.append((within[0][1], within[-1][1]))
    return found


def _left_behind(
    grads: list[tuple[Tensor, Tensor | None]], effects: Effects
) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
    """What the function leaves in ``.grad``, and where it leaves nothing.

    A gradient that an update has used is not kept where the function itself forgets it on the next call.
    """
    updates = [change.what for change in effects.changes if isinstance(change.what, Update)]
    used = {(u.parameter.serial, id(u.gradient)) for u in updates}
    left, cleared = [], []
    for t, g in grads:
        if t.serial in effects.zeroed and (g is None or (t.serial, id(g)) in used):
            cleared.append(t)
        elif g is not None and g is not effects.carried.get(t.serial):
            left.append((t, g))
    return left, cleared


class _Copying:
    """Makes the graph anew: no values but those of constants; what was there before becomes leaves.

    What reads a parameter after it was changed takes the change as its input instead.

    Attributes
    ----------
    copies : dict
        By old serial number.
    bound : dict
        The user's tensor for the serial number of the leaf that stands for it.
    changes : list of Tensor
    last : Tensor, optional
        Comes after all changes so far.
    """

    def __init__(self, effects: Effects, placeholders: list[Tensor]) -> None:
        self.effects, self.start = effects, effects.start
        self.given = {t.serial for t in [*placeholders, *effects.carried.values()]}
        self.copies: dict[int, Tensor] = {}
        self.changed: dict[int, Tensor] = {}  # the last change of each leaf, by its serial number
        self.bound: dict[int, Tensor] = {}
        self.changes: list[Tensor] = []
        self.last: Tensor | None = None

    def run(self, nodes: Sequence[Tensor]) -> None:
        """Copy nodes and make the changes, in the order in which they were recorded."""
        steps = [list(group) for _, group in groupby(self.effects.changes, key=lambda change: change.serial)]
        at = 0
        for t in nodes:
            while at < len(steps) and steps[at][0].serial < t.serial:
                self.change(steps[at])
                at += 1
            self.copies[t.serial] = t if t.serial in self.given else self.copy(t)
        for step in steps[at:]:
            self.change(step)

    def now(self, t: Tensor) -> Tensor:
        """What stands for a tensor of the function's at this point."""
        changed = self.changed.get(t.serial)
        return self.copies[t.serial] if changed is None else changed

    def copy(self, t: Tensor) -> Tensor:
        if t.serial < self.start or t.op is PARAMETER:
            _check_outside(t, self.start)
            copy = inside(t, lambda: leaf(t.spec, PARAMETER if t.op is PARAMETER else PLACEHOLDER, name=t.name))
            self.bound[copy.serial] = t
            return copy
        inputs = tuple([self.now(i) for i in t.inputs])
        known = type(t.data) is np.ndarray and all(type(i.data) is np.ndarray for i in inputs)
        return inside(t, lambda: constant(t.data, t.name)) if known else with_inputs(t, inputs)

    def change(self, changes: list[Change]) -> None:
        """Changes that are made together: each comes after all that goes into any of them, and after those before."""
        after = tuple([self.last] if self.last is not None else [])
        if isinstance(changes[0].what, Update):
            gradients = [self.now(change.what.operands[1]) for change in changes]
            after = (inside_of(changes[0], lambda: apply(SEQUENCE, (*gradients, *after))),)
        made = [self.noted(change, after) for change in changes]
        self.changes += made
        self.last = inside_of(changes[0], lambda: apply(SEQUENCE, tuple(made)))
        for change, node in zip(changes, made, strict=True):
            if not isinstance(change.what, Check):
                self.changed[change.what.parameter.serial] = node

    def noted(self, change: Change, after: tuple[Tensor, ...]) -> Tensor:
        what = change.what
        op = CHANGES[type(what)]

        def record() -> Tensor:
            operands = [self.now(t) for t in what.operands]
            if op is ASSIGN:
                operands[1] = cast(operands[1], what.operands[0].dtype)
            return apply(op, (*operands, *after), {"change": what})

        return inside_of(change, record)


def _check_outside(t: Tensor, start: int) -> None:
    """Refuse what was there before and is another on the next call."""
    if t.serial < start and t.is_symbolic:
        raise fail(
            StaleError, f"compile: {describe(t)} has no value: a function left it somewhere while it was recorded",
            got=f"recorded at {t.source}", hint="return it from there, and pass it here as an argument",
        )  # fmt: skip
    if t.serial < start and t.inputs and t.requires_grad:
        raise fail(
            StaleError, f"compile: {describe(t)} was computed before from parameters that may change",
            got=f"recorded at {t.source}", hint="compute it inside the function, or pass it through .detach()",
        )  # fmt: skip
    if t.serial < start and t.op is GRADIENT:
        raise fail(
            TypeError, f"compile: the function reads a .grad from before, {describe(t)}, and the next is another",
            hint="read it inside the function, or pass the gradient as an argument",
        )  # fmt: skip


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


def inside_of(change: Change, make: Callable[..., Any]) -> Any:
    """What `make` records, at the place of a change."""
    state = current()
    enter(State(True, change.place, False, change.source, state.tracing))
    try:
        return make()
    finally:
        enter(state)
