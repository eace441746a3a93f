"""Where an operation is recorded: scope path, time step, direction, and the user's line.

One immutable :class:`State` per context (thread or task) says whether operations are recorded and where; the context
managers below replace it and put it back. Provenance never changes a result.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType

__all__ = ["Place", "Source", "State", "no_grad", "scope", "steps", "timestep"]

_PACKAGE = str(Path(__file__).parent) + os.sep
_VIZ = str(Path(__file__).parent.parent / "viz") + os.sep
_is_internal: dict[str, bool] = {}


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the model: the scope path from the outside in, the time step, and the direction."""

    scope: tuple[str, ...] = ()
    time: int | None = None
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """The instruction of the user's code that an operation came from; the line number is worked out on demand."""

    code: CodeType
    offset: int

    @property
    def file(self) -> str:
        return self.code.co_filename

    @property
    def line(self) -> int:
        for start, end, line in self.code.co_lines():
            if start <= self.offset < end and line is not None:
                return line
        return self.code.co_firstlineno

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class State:
    """What the next operation must know: whether to record, where, and for whom."""

    recording: bool = True
    place: Place = field(default_factory=Place)
    anomaly: bool = False
    source: tuple[CodeType, int] | None = None  # set while a gradient rule runs: its nodes inherit their forward node's


_state: ContextVar[State] = ContextVar("tinygrad_rnn_state", default=State())
current = _state.get


@contextmanager
def using(state: State) -> Iterator[None]:
    """Make `state` the current one within the block."""
    before = _state.get()
    _state.set(state)
    try:
        yield
    finally:
        _state.set(before)


def enter(state: State) -> None:
    """Set the current state without a block; for loops that restore it themselves."""
    _state.set(state)


def no_grad():
    """Compute without recording: results are constants, with no history to differentiate or draw.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([1.0, 2.0])
    >>> with tg.no_grad():
    ...     y = w * 2
    >>> y.inputs
    ()
    """
    return using(replace(_state.get(), recording=False))


def scope(name: str):
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
    state = _state.get()
    place = replace(state.place, scope=(*state.place.scope, name))
    return using(replace(state, place=place))


def timestep(t: int):
    """Say that the operations of the block belong to time step `t`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> with tg.timestep(3):
    ...     y = tg.ones(2) * 3
    >>> y.time
    3
    """
    state = _state.get()
    return using(replace(state, place=replace(state.place, time=int(t))))


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
    before = _state.get()
    try:
        for t in order:
            _state.set(replace(before, place=replace(before.place, time=t)))
            yield t
    finally:
        _state.set(before)


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
