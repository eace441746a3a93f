"""Lowering: from nodes to instructions over views.

What changes only shape becomes another view of the same memory. Every other op has a lowering in ``LOWERINGS``, where
``lowerings.py`` enters them, or is an elementwise op with a kernel. What has neither is left to Python, one call of the
op's own NumPy function.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..graph.walk import users
from ..kernels import indexing
from ..kernels.families import compiles
from ..kernels.loops import address
from ..kernels.machine import MOST_OPERANDS, MOST_REPEATS
from ..ops.linalg import MATMUL
from ..ops.shape import STACK
from ..tensor import Op, Tensor
from . import views as vw
from .batching import taken_at
from .bindings import Bindings
from .compiler_ops import ASSIGN, MATMUL_ADD, UPDATE
from .emit import Emitter
from .placement import FREE, JOINS, Contiguous, Home, homes
from .views import Storage, View

__all__ = ["Lowering"]

WRITING = (ASSIGN, UPDATE)
INT64 = np.dtype(np.int64)


class Lowering:
    """Nodes, in the order in which they are computed, as instructions.

    Attributes
    ----------
    views : dict
        Where the value of each node lies, by serial number.
    emitter : Emitter
    bindings : Bindings
        What is not in the arena.
    bound : dict
        Where the leaves lie that stand for something of the user's, by serial number.
    """

    def __init__(
        self, nodes: Sequence[Tensor], roots: Sequence[Tensor], bound: dict[int, View], emitter: Emitter,
        bindings: Bindings,
    ) -> None:  # fmt: skip
        self.nodes = nodes
        self.roots = {t.serial for t in roots}
        self.users = users(nodes)
        self.homes = homes(nodes)
        self.emitter, self.bindings, self.bound = emitter, bindings, bound
        self.views: dict[int, View] = {}
        self.places: dict[int, View] = {}  # of stacks and rows whose parts are being computed
        self.outside: dict[Storage, list[int]] = defaultdict(list)  # nodes that lie in a tensor of the user's
        self.last_use = self._last_uses()
        self.changed: list[tuple[Any, int]] = []  # updates and assignments, and after which instruction they are made
        products = [t for t in nodes if t.op is MATMUL or t.op is MATMUL_ADD]
        self.rights = Counter(t.inputs[-1].serial for t in products)
        self.by_rows: dict[int, View] = {}  # transposed matrices that many products need, copied once
        self.aliases: set[int] = set()  # stacks that are views of what their parts are slices of
        self._known_apart: dict[int, bool] = {}

    def _last_uses(self) -> dict[int, int]:
        """After which node, by position, the value of each is needed no more."""
        found: dict[int, int] = {}
        for at, t in enumerate(self.nodes):
            found |= dict.fromkeys([i.serial for i in t.inputs], at)
        return found | dict.fromkeys(self.roots, len(self.nodes))

    def run(self) -> None:
        for at, t in enumerate(self.nodes):
            self.at = at
            view = self.views[t.serial] = self.lower(t)
            if view.storage.slot:
                self.outside[view.storage].append(t.serial)
        end = len(self.emitter.instructions)
        for t in self.nodes:
            if t.serial in self.roots:
                self.emitter.touch(self.views[t.serial], end)

    # Where a result goes ----------------------------------------------------------------------------------------------

    def view(self, t: Tensor) -> View:
        return self.views[t.serial]

    def inputs(self, t: Tensor) -> list[View]:
        return [self.views[i.serial] for i in t.inputs]

    def label(self, t: Tensor) -> str:
        return t.name or t.op.name

    def destination(self, t: Tensor, like: View | None = None) -> View:
        """Where `t` is written: into its home, or into new room laid out like `like`."""
        home = self.homes.get(t.serial)
        if home is not None:
            return self.at_home(home)
        order = None
        if like is not None and len(like.shape) == len(t.shape) > 1:
            order = sorted(range(t.ndim), key=lambda k: -abs(like.strides[k]))
            if order == list(range(t.ndim)) or 0 in like.strides:
                order = None
        return self.emitter.room(t.shape, t.dtype, self.label(t), order)

    def at_home(self, home: Home) -> View:
        parent = home.parent
        key = id(parent)
        if key not in self.places:
            if isinstance(parent, Contiguous):
                like = parent.like
                self.places[key] = self.emitter.room((parent.count, *like.shape), like.dtype, self.label(like))
            else:
                self.places[key] = self.join_place(parent)
        return vw.subview(self.places[key], home.index)

    def join_place(self, t: Tensor) -> View:
        """Where a stack or concatenation lies; a stack has its entries one after the other."""
        if t.serial in self.homes:
            return self.at_home(self.homes[t.serial])
        order = None
        if t.op is STACK:
            axis = t.params["axis"]
            order = [axis, *(k for k in range(t.ndim) if k != axis)]
        return self.emitter.room(t.shape, t.dtype, self.label(t), order)

    def overwritable(self, t: Tensor) -> bool:
        """Whether nobody needs the value of `t` after the node that uses it now, so that its memory may be taken."""
        while True:
            if t.serial in self.roots or not t.inputs:
                return False
            if len(self.users[t.serial]) > 1 and not self._apart(t):
                return False
            if t.op not in FREE:
                return t.serial not in self.aliases and self._parts_needed_once(t)
            t = t.inputs[0]

    def _parts_needed_once(self, t: Tensor) -> bool:
        """Whether nobody else needs what lies inside a join, nor inside the joins that it consists of."""
        work = [t]
        while work:
            node = work.pop()
            parts = node.inputs if node.op in JOINS else ()
            if any(part.serial in self.roots or len(self.users[part.serial]) > 1 for part in parts):
                return False
            work += parts
        return True

    def _apart(self, t: Tensor) -> bool:
        """Whether all that use a tensor take different entries of it along one axis."""
        if t.serial not in self._known_apart:
            self._known_apart[t.serial] = self._entries_differ(t)
        return self._known_apart[t.serial]

    def _entries_differ(self, t: Tensor) -> bool:
        taken = [taken_at(user) for user in self.users[t.serial]]
        places = {at for at in taken if at is not None}
        axes = {axis for axis, _ in places}
        apart = all(self.views[t.serial].strides[axis] for axis in axes)  # entries of a broadcast are one and the same
        return len(places) == len(taken) and len(axes) == 1 and apart

    def takeover(self, t: Tensor, candidates: Sequence[Tensor]) -> View | None:
        """The memory of an input that nobody needs any more, for a result of the same shape and type."""
        if t.serial in self.homes:
            return None
        for i in candidates:
            view = self.views[i.serial]
            same = i.shape == t.shape and i.dtype == t.dtype and view.storage.slot == 0 and 0 not in view.strides
            if same and view.size and self.overwritable(i):
                return view
        return None

    # Helpers ----------------------------------------------------------------------------------------------------------

    def constant(self, array: np.ndarray) -> View:
        return self.bindings.constant(array)

    def keep_before(self, node: Tensor, place: View) -> None:
        """Before something of the user's is written into, copy it for those that still need what it held."""
        later = [s for s in self.outside[place.storage] if self.last_use.get(s, -1) > self.at]
        if later:
            room = self.emitter.room(place.shape, place.dtype, "before the change")
            self.copy(node, place, room)
            for s in later:
                self.views[s] = replace(self.views[s], storage=room.storage)
        self.outside[place.storage] = []

    def copy(self, node: Tensor, source: View, target: View) -> None:
        if source.storage is target.storage and (source.offset, source.strides) == (target.offset, target.strides):
            return
        views = [vw.broadcast(source, target.shape), target]
        if not compiles():
            self.emitter.emit_host(node, "copy", views, lambda arrays: np.copyto(arrays[1], arrays[0]))
        else:
            self.emitter.elementwise(node, "copy", indexing.copy(source.dtype.itemsize).address, views)

    def fill(self, node: Tensor, target: View, value: float) -> None:
        self.copy(node, self.constant(np.asarray(value, target.dtype)), target)

    def compact(self, node: Tensor, view: View) -> View:
        """The view itself if it lies in row-major order, else a copy that does."""
        if view.contiguous:
            return view
        room = self.emitter.room(view.shape, view.dtype, "copy")
        self.copy(node, view, room)
        return room

    def as_index(self, node: Tensor, view: View) -> View:
        """Indices as int64."""
        if view.dtype == INT64:
            return view
        room = self.emitter.room(view.shape, INT64, "index")
        loop = indexing.cast(view.dtype, INT64)
        self.emitter.elementwise(node, "cast", loop.address, [view, room])
        return room

    # Nodes ------------------------------------------------------------------------------------------------------------

    def lower(self, t: Tensor) -> View:
        if not t.inputs and t.op.run is None:
            return self.leaf(t)
        if t.op in LOWERED_CHANGES:
            return self.change(t)
        if not compiles():
            return self.host(t)
        begun = len(self.emitter.instructions)
        view = self.native(t)
        if view is None or any(len(i.loops) > MOST_REPEATS for i in self.emitter.instructions[begun:]):
            del self.emitter.instructions[begun:]
            return self.host(t)
        return view

    def change(self, t: Tensor) -> View:
        view = LOWERED_CHANGES[t.op](self, t)
        if t.op in WRITING:
            self.changed.append((t.params["change"], len(self.emitter.instructions)))
        return view

    def native(self, t: Tensor) -> View | None:
        """By the op's own lowering, or its kernel of numbers; None where it has neither."""
        special = LOWERINGS.get(t.op)
        view = special(self, t) if special is not None else None
        if view is not None:
            return view
        if t.op.kernels is not None and t.inputs[-1].dtype.kind == "f" and len(t.inputs) < MOST_OPERANDS:
            return self.elementwise(t)
        return None

    def leaf(self, t: Tensor) -> View:
        return self.bound[t.serial] if t.serial in self.bound else self.constant(t.data)

    def elementwise(self, t: Tensor) -> View:
        kernel = t.op.kernels[t.inputs[-1].dtype]
        ins = [vw.broadcast(v, t.shape) for v in self.inputs(t)]
        like = next((v for v, i in zip(ins, t.inputs) if i.shape == t.shape and 0 not in v.strides), None)
        out = self.takeover(t, t.inputs) or self.destination(t, like)
        self.emitter.elementwise(t, t.op.name, address(kernel), [*ins, out])
        return out

    def host(self, t: Tensor) -> View:
        """Leave it to Python."""
        run, params = t.op.run, t.params
        assert run is not None

        def compute(arrays: list[np.ndarray]) -> None:
            arrays[-1][...] = run(*arrays[:-1], **params)

        out = self.destination(t)
        self.emitter.emit_host(t, t.op.name, [*self.inputs(t), out], compute)
        return out


LOWERINGS: dict[Op, Callable[[Lowering, Tensor], View | None]] = {}
LOWERED_CHANGES: dict[Op, Callable[[Lowering, Tensor], View]] = {}  # of what changes tensors, or stops a run


def lowers(*ops: Op) -> Any:
    def enter(function: Any) -> Any:
        LOWERINGS.update(dict.fromkeys(ops, function))
        return function

    return enter
