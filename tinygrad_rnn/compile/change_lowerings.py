"""How checks, updates and assignments become instructions: in place, in the order in which they were recorded."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..effects import Update
from ..kernels import indexing
from ..kernels.families import compiles
from ..kernels.loops import address
from ..tensor import Tensor
from . import views as vw
from .compiler_ops import ASSIGN, CHECK, SEQUENCE, UPDATE
from .lower import LOWERED_CHANGES, Lowering
from .views import View

__all__: list[str] = []


def changes(op: Any) -> Any:
    def enter(function: Any) -> Any:
        LOWERED_CHANGES[op] = function
        return function

    return enter


@changes(SEQUENCE)
def _sequence(low: Lowering, t: Tensor) -> View:
    """Nothing: the order of the nodes is that of the instructions."""
    return low.emitter.room(t.shape, t.dtype)


@changes(CHECK)
def _check(low: Lowering, t: Tensor) -> View:
    """Stop the program where a value is not finite."""
    error = t.params["change"].error
    view = low.compact(t, low.view(t.inputs[0]))
    flat = View(view.storage, view.offset, (view.size,), (view.dtype.itemsize,), view.dtype)

    def fault(values: np.ndarray) -> Exception:
        return error(int(np.argmin(np.isfinite(values))))

    def look(arrays: list[np.ndarray]) -> None:
        if not np.isfinite(arrays[0]).all():
            raise fault(arrays[0])

    if not compiles():
        low.emitter.emit_host(t, "check_finite", [flat], look)
    elif flat.size:
        loop = indexing.check_finite(flat.dtype)
        whole = vw.subview(flat, None)
        low.emitter.over_rows(
            t, "check_finite", loop.address, [whole], ((1,),), [flat.size], writes=0, fault=(flat, fault)
        )
    return low.emitter.room(t.shape, t.dtype)


@changes(UPDATE)
def _update(low: Lowering, t: Tensor) -> View:
    """An optimiser's step, in place: parameter, gradient, state and the numbers of this call."""
    change: Update = t.params["change"]
    optimizer, gradient = change.optimizer, low.view(t.inputs[1])
    place = low.bindings.held(change.parameter)
    numbers = low.bindings.numbers(change, t.dtype)
    settings = [vw.broadcast(vw.subview(numbers, k), t.shape) for k in range(numbers.shape[0])]
    states = [low.bindings.state(optimizer, change.index, k, t.spec) for k in range(len(optimizer.slots))]
    if gradient.storage is place.storage:
        gradient = _copied(low, t, gradient)
    low.keep_before(t, place)
    views = [place, gradient, *states, *settings, place, *states]
    kernel, writes, name = optimizer.kernel(t.dtype), 1 + len(states), optimizer.rule.__name__

    def host(arrays: list[np.ndarray]) -> None:
        out = tuple(arrays[-writes:])
        kernel(*arrays[:-writes], out=out if writes > 1 else out[0])

    if not compiles():
        low.emitter.emit_host(t, name, views, host)
    else:
        low.emitter.elementwise(t, name, address(kernel), views, writes=writes)
    return place


@changes(ASSIGN)
def _assign(low: Lowering, t: Tensor) -> View:
    place = low.bindings.held(t.params["change"].parameter)
    value = low.view(t.inputs[1])
    if value.storage is place.storage:
        value = _copied(low, t, value)
    low.keep_before(t, place)
    low.copy(t, value, place)
    return place


def _copied(low: Lowering, t: Tensor, view: View) -> View:
    room = low.emitter.room(view.shape, view.dtype, "copy")
    low.copy(t, view, room)
    return room
