"""Where an operation is recorded: scope path, time step, direction, and the user's line.

One immutable :class:`State` per context (thread or task) says whether operations are recorded and where; the context
managers below replace it and put it back. Provenance never changes a result.
"""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from pathlib import Path
from types import CodeType
from typing import Any, TypeVar

__all__ = ["Place", "State", "no_grad", "scope", "steps", "timestep", "using", "warn"]

_PACKAGE = str(Path(__file__).parent) + os.sep
_VIZ = str(Path(__file__).parent.parent / "viz") + os.sep
_is_internal: dict[str, bool] = {}


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the model: the scope path from the outside in, the time step, and the direction.

    Each entry of a scope or a step makes a place of its own, which knows the one around it; so two calls of one module
    can be told apart.
    """

    scope: tuple[str, ...] = ()
    time: int | None = None
    backward: bool = False
    outer: Place | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True, eq=False)
class State:
    """What the next operation must know: whether to record, where, and for whom. Never changed, only replaced."""

    recording: bool
    place: Place
    anomaly: bool = False
    source: tuple[CodeType, int] | None = None  # set while a gradient rule runs: its nodes inherit their forward node's
    tracing: Any = None  # the Effects of a function that is traced: everything is recorded, and no_grad detaches
    loop: _Loop | None = None  # whose turn it is

    def at(self, place: Place) -> State:
        """The same state at another place."""
        return State(self.recording, place, self.anomaly, self.source, self.tracing)


@dataclass(slots=True, eq=False)
class _Loop:
    """An iteration over time steps: the state around it, and whether it is over."""

    before: State
    over: bool = False


def _settled(state: State) -> State:
    """A state that is put back, but at the place around those loops that are over by now."""
    around = state
    while around.loop is not None and around.loop.over:
        around = around.loop.before
    same = (state.recording, state.anomaly, state.tracing) == (around.recording, around.anomaly, around.tracing)
    return around if same else replace(state, place=around.place, loop=around.loop)


_OUTSIDE = State(True, Place())
_state: ContextVar[State] = ContextVar("tinygrad_rnn_state", default=_OUTSIDE)
current = _state.get
enter = _state.set  # for loops that put the state back themselves
Modes = dict[int, tuple[Any, bool]]
modes_seen: ContextVar[Modes | None] = ContextVar("tinygrad_rnn_modes", default=None)  # modules called, and if training
Notes = TypeVar("Notes", bound=dict[int, Any])


@contextmanager
def noting(variable: ContextVar[Notes | None], notes: Notes) -> Iterator[Notes]:
    """Have a block note things there, each as it was first; what is noted inside is noted in the outer block, too."""
    around, token = variable.get(), variable.set(notes)
    try:
        yield notes
    finally:
        variable.reset(token)
        if around is not None:
            around.update({**notes, **around})


F = TypeVar("F", bound=Callable[..., Any])


class using(ContextDecorator):
    """Change the current state within a block, or within each call of a decorated function."""

    def __init__(self, change: Callable[[State], State]) -> None:
        self._change = change
        self._before: list[State] = []

    def _recreate_cm(self) -> using:
        return using(self._change)  # calls of a decorated function may overlap

    def __enter__(self) -> None:
        before = current()
        self._before.append(before)
        enter(self._change(before))

    def __exit__(self, *_: object) -> None:
        enter(_settled(self._before.pop()))

    def __call__(self, func: F) -> F:
        if inspect.isasyncgenfunction(func):
            raise TypeError(
                f"a context of tinygrad_rnn cannot decorate {func.__qualname__}, an asynchronous generator; "
                "use it in a with statement inside, around what does not yield"
            )
        for is_kind, wrapped in _RESUMED.items():
            if is_kind(func):
                return wraps(func)(wrapped(func, self._recreate_cm))  # type: ignore[return-value]
        return super().__call__(func)


def _resumed_generator(fn: Callable[..., Any], inside: Callable[[], using]) -> Callable[..., Any]:
    """A generator function, each resumption of which runs in the changed state."""

    def run(*args: Any, **kwargs: Any) -> Iterator[Any]:
        generator = fn(*args, **kwargs)
        resume = partial(next, generator)
        try:
            while True:
                with inside():
                    made = resume()
                try:
                    resume = partial(generator.send, (yield made))
                except GeneratorExit:
                    with inside():
                        generator.close()
                    raise
                except BaseException as error:  # thrown into it
                    resume = partial(generator.throw, error)
        except StopIteration as end:
            return end.value

    return run


def _awaited(fn: Callable[..., Any], inside: Callable[[], using]) -> Callable[..., Any]:
    async def run(*args: Any, **kwargs: Any) -> Any:
        with inside():
            return await fn(*args, **kwargs)

    return run


_RESUMED = {inspect.isgeneratorfunction: _resumed_generator, inspect.iscoroutinefunction: _awaited}


def recording() -> using:
    """Record within the block, also inside ``no_grad``: what a derivative of a function needs."""
    return using(lambda s: replace(s, recording=True))


def no_grad() -> using:
    """Compute without recording: results are constants, with no history to differentiate or draw.

    As a decorator it does so for each call of a function, and each resumption of a generator.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([1.0, 2.0])
    >>> with tg.no_grad():
    ...     y = w * 2
    >>> y.inputs
    ()
    """
    return using(lambda s: replace(s, recording=False))


def scope(name: str) -> using:
    """Name the part of the model that the operations of the block belong to; scopes nest.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> with tg.scope("encoder"), tg.scope("lstm0"):
    ...     y = tg.ones(2) * 3
    >>> y.scope
    ('encoder', 'lstm0')
    """
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"scope: a name is a non-empty string without '/'; got {name!r}")
    return using(lambda s: s.at(Place((*s.place.scope, name), s.place.time, s.place.backward, s.place)))


def timestep(t: int) -> using:
    """Say that the operations of the block belong to time step `t`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> with tg.timestep(3):
    ...     y = tg.ones(2) * 3
    >>> y.time
    3
    """
    time = int(t)
    return using(lambda s: s.at(Place(s.place.scope, time, s.place.backward, s.place)))


def steps(count: int, start: int = 0, *, reverse: bool = False) -> Iterator[int]:
    """Iterate over time steps, each turn of the loop inside its ``timestep``.

    Parameters
    ----------
    count : int
        Number of steps.
    start : int
        First step.
    reverse : bool
        Run from the last step to the first, as the backward direction of a bidirectional network does.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> h = tg.zeros(1)
    >>> for t in tg.steps(3):
    ...     h = h + t
    >>> h.time, h.item()
    (2, 3.0)
    """
    if count < 0:
        raise ValueError(f"steps: the number of time steps must not be negative; got {count}")
    order = range(start, start + count)
    return _steps(reversed(order) if reverse else iter(order))


def _steps(order: Iterator[int]) -> Iterator[int]:
    loop = _Loop(current())
    around = loop.before.place
    try:
        for t in order:
            place, now = Place(around.scope, t, around.backward, around), current()  # whoever resumes may not record
            enter(State(now.recording, place, now.anomaly, now.source, now.tracing, loop))
            yield t
    finally:
        loop.over = True
        if current().loop is loop:  # else another loop, or the block around, puts the state back
            enter(_settled(current()))


def user_source() -> tuple[CodeType, int]:
    """The nearest caller outside this package, as (code, instruction offset): cheap to take, resolved when shown."""
    frame = sys._getframe(2)
    while True:
        filename = frame.f_code.co_filename
        internal = _is_internal.get(filename)
        if internal is None:
            internal = _is_internal[filename] = filename.startswith((_PACKAGE, _VIZ))
        if not internal or frame.f_back is None:
            return frame.f_code, frame.f_lasti
        frame = frame.f_back


def warn(warning: Warning) -> None:
    """Show a warning at the line of the nearest caller outside this package, as often as Python's filters say."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_PACKAGE, _VIZ)):
        frame = frame.f_back
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(warning, type(warning), frame.f_code.co_filename, frame.f_lineno, registry=registry)
