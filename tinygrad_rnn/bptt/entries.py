"""Where in time gradients leave the losses, and where they enter tensors: one backward walk that keeps both apart.

A cotangent enters a weight in the time step of the operation that uses it. What is done to a weight outside of time
steps (a slice of it, its transpose, the embedding of a whole sequence) is part of the weight as it were: what counts is
the step in which its result is used. So the graph falls into two parts: the *body*, where rows of cotangents for all
outputs run together, and the *roots*, nodes outside of time between the body and the tensors asked for, where what
entered in each step goes on by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush

import numpy as np

from ..grad.reverse import nodes_between
from ..graph.walk import dependent, reach
from ..ops.elementwise import divide, multiply
from ..ops.named import ops_named
from ..tensor import CONSTANT, LITERAL, Tensor
from .rows import Cotangents, Factors, Rows, pull_back, total
from .slices import pull_back_pieces

__all__ = ["Entries"]

Entered = Callable[[int | None, Tensor, list[Rows]], None]
Visit = Callable[[Tensor, Rows], None]


class Entries:
    """The parts of the gradient of some losses with respect to some tensors, by the step that they enter in.

    Attributes
    ----------
    times : list of int or None
        Steps in which something enters one of the targets, in order; None, the last, is outside of all.
    columns : list
        What rows of cotangents stand for: numbers of the losses, or, for a single loss that is `split`, the steps that
        its terms come from, and None for what comes from no step.
    """

    def __init__(
        self, losses: Sequence[Tensor], targets: Sequence[Tensor], *, split: bool = False, watch: Iterable[Tensor] = ()
    ) -> None:
        self.losses, self.targets = list(losses), list(targets)
        self.wanted = {t.serial for t in self.targets}
        watched = {t.serial for t in watch}
        self.nodes, active = nodes_between(self.losses, self.wanted | watched)
        self.active = sorted(s for s in active if type(self.nodes[s].op.vjp) is not str or not self.nodes[s].inputs)
        self.roots = self._roots()
        self.last = self._last_uses()
        self.body = self._body(watched)
        self.times = sorted(t for t in self.last if t is not None) + [None] * self._outside()
        self.spine = self._spine() if split else set()
        self.columns: list[int | None] = self._exits() if split else list(range(len(self.losses)))
        self.position = {column: k for k, column in enumerate(self.columns)}
        self.split = split

    @property
    def reached(self) -> bool:
        """Whether the losses depend on all targets."""
        return all(t.serial in self.roots for t in self.targets)

    # What there is --------------------------------------------------------------------------------------------------

    def _roots(self) -> set[int]:
        roots = self.wanted & self.nodes.keys()
        for serial in self.active:
            node = self.nodes[serial]
            if node.time is None and any(t.serial in roots for t in node.inputs):
                roots.add(serial)
        return roots

    def _last_uses(self) -> dict[int, int]:
        """For each time step the first node of it that uses a root: the last one that a walk back comes to."""
        last: dict[int, int] = {}
        for serial in self.active:
            node = self.nodes[serial]
            if node.time is not None and self._uses_root(node):
                last.setdefault(node.time, serial)
        return last

    def _outside(self) -> bool:
        return any(loss.serial in self.roots for loss in self.losses)

    def _body(self, watched: set[int]) -> set[int]:
        """Nodes whose cotangents something in a time step, or something that is watched, depends on."""
        active = [self.nodes[serial] for serial in self.active]
        first = {t.serial for t in active if t.time is not None and self._uses_root(t)}
        return dependent(active, first | (watched & self.nodes.keys()))

    # What leaves the loss -------------------------------------------------------------------------------------------

    def _spine(self) -> set[int]:
        """The single loss and the partial sums that it is the sum of, whatever step they were added up in."""
        nodes = reach(self.losses[:1], lambda node: [t for t in _terms(node) if t.size == 1])
        return {t.serial for t in nodes if _terms(t)}

    def _exits(self) -> list[int | None]:
        """Steps in which a path from the loss back first comes to an operation of a step."""
        free, times, active = {self.losses[0].serial}, set(), set(self.active)
        for serial in reversed(self.active):
            node = self.nodes[serial]
            if serial not in free:
                continue
            if self._leaves(node) or (node.time is not None and self._uses_root(node)):
                times.add(node.time)
            if serial in self.wanted:
                times.add(None)
            if not self._leaves(node):
                free.update(t.serial for t in node.inputs if t.serial in active)
        return [*sorted(t for t in times if t is not None), *([None] if None in times else [])]

    def _uses_root(self, node: Tensor) -> bool:
        return any(t.serial in self.roots for t in node.inputs)

    def _leaves(self, t: Tensor) -> bool:
        return t.time is not None and t.serial not in self.spine

    # The walk -------------------------------------------------------------------------------------------------------

    def walk(self, entered: Entered, visit: Visit | None = None, window: tuple[int, int] | None = None) -> None:
        """Call ``entered(time, target, pieces)`` for all that enters, and ``visit(node, rows)`` at nodes of the body.

        Only columns within `window` are computed.
        """
        _Walk(self, entered, visit, window or (0, len(self.columns))).run()

    def largest(self) -> int:
        """How many bytes a cotangent takes at most in the body, and those that enter all together in the roots."""
        body = max((self.nodes[s].size * self.nodes[s].dtype.itemsize for s in self.body), default=1)
        roots = [self.nodes[s].size * self.nodes[s].dtype.itemsize for s in self.roots - self.wanted]
        return max(body, max(roots, default=1), 1)


class _Walk:
    def __init__(self, entries: Entries, entered: Entered, visit: Visit | None, window: tuple[int, int]) -> None:
        self.entries, self.entered, self.visit, self.window = entries, entered, visit, window
        self.flowing = Cotangents()
        self.entering: dict[int | None, Cotangents] = {}
        self.unplaced = len(entries.columns)  # the row of what comes from the loss and has not met a time step yet

    def run(self) -> None:
        entries = self.entries
        done = {serial: time for time, serial in entries.last.items()}
        self._seed()
        self._finish(None)
        for serial in sorted(entries.body, reverse=True):
            node = entries.nodes[serial]
            g = self.flowing.pop(node)
            if g is not None:
                if self.visit is not None:
                    self.visit(node, g)
                self._pull_back(node, g)
            if serial in done:
                self._finish(done[serial])

    def _seed(self) -> None:
        entries = self.entries
        for k, loss in enumerate(entries.losses):
            if not entries.split and not self.window[0] <= k < self.window[1]:
                continue
            rows = Rows(self.unplaced if entries.split else k, np.ones((1, *loss.shape), loss.dtype))
            if loss.serial in entries.body:
                self._flow(loss, rows)
            if loss.serial in entries.roots:
                self._enter(None, loss, rows)

    def _pull_back(self, node: Tensor, g: Rows) -> None:
        """Pass cotangents on within the body, and from a time step into the roots."""
        entries = self.entries
        wanted = [i for i, t in enumerate(node.inputs) if t.serial in entries.body or self._crosses(node, t)]
        for i, part in pull_back(node, g.values, wanted):
            t, rows = node.inputs[i], Rows(g.start, part)
            if self._crosses(node, t):
                self._enter(node.time, t, rows)
            if t.serial in entries.body:
                self._flow(t, rows)

    def _crosses(self, node: Tensor, t: Tensor) -> bool:
        return node.time is not None and t.serial in self.entries.roots

    def _flow(self, t: Tensor, rows: Rows) -> None:
        for kept in self._settled(rows, t.time) if self.entries._leaves(t) else [rows]:
            self.flowing.add(t, kept)

    def _enter(self, time: int | None, t: Tensor, rows: Rows) -> None:
        for kept in self._settled(rows, time):
            self.entering.setdefault(time, Cotangents()).add(t, kept)

    def _settled(self, rows: Rows, time: int | None) -> list[Rows]:
        """What came from a single loss and had met no time step comes from `time`."""
        if rows.stop <= self.unplaced:
            return [rows]
        known = [rows.between(rows.start, self.unplaced)] if rows.start < self.unplaced else []
        column = self.entries.position[time]
        if not self.window[0] <= column < self.window[1]:
            return known
        return [*known, Rows(column, rows.between(self.unplaced, rows.stop).values)]

    def _finish(self, time: int | None) -> None:
        """Follow what entered in a time step through the roots to the targets."""
        sums = self.entering.pop(time, None)
        if sums is None:
            return
        entries = self.entries
        waiting = [-serial for serial in sums.parts]
        heapify(waiting)
        while waiting:
            node = entries.nodes[-heappop(waiting)]
            pieces = sums.pieces(node)
            if node.serial in entries.wanted:
                self.entered(time, node, pieces)
            wanted = [i for i, t in enumerate(node.inputs) if t.serial in entries.roots]
            for i, rows in pull_back_pieces(node, pieces, wanted) if wanted else ():
                t = node.inputs[i]
                if t.serial not in sums.parts:
                    heappush(waiting, -t.serial)
                sums.add(t, rows)


def _terms(node: Tensor) -> tuple[Tensor, ...]:
    """Inputs that a node with one value is the sum of, up to constant factors outside of time; none for others."""
    if node.size != 1:
        return ()
    op, constant = node.op, [t.op in (CONSTANT, LITERAL) for t in node.inputs]
    if op in _SUMS or (node.time is None and op in _PASSING):
        return node.inputs
    if node.time is None and op is multiply.op and any(constant):
        return tuple(t for t, fixed in zip(node.inputs, constant, strict=True) if not fixed)
    return node.inputs[:1] if node.time is None and op is divide.op and constant[1] else ()


_SUMS = ops_named("add", "subtract")
_PASSING = ops_named("negative", "cast", "reshape", "sum", "mean")


def norms_of(t: Tensor, pieces: list[Rows], columns: int, room: int) -> np.ndarray:
    """Frobenius norms (columns,) of the sums of `pieces`, never more than `room` bytes of them at a time."""
    norms = np.zeros(columns)
    if len(pieces) == 1 and type(pieces[0].values) is Factors and len(pieces[0].values.a) == 1:
        outer = pieces[0].values  # its norm is the product of the norms
        norms[pieces[0].start : pieces[0].stop] = np.linalg.norm(outer.a) * np.linalg.norm(outer.g[:, 0], axis=-1)
        return norms
    first, last = min(p.start for p in pieces), max(p.stop for p in pieces)
    many = max(1, room // max(1, t.size * t.dtype.itemsize))
    for start in range(first, last, many):
        stop = min(last, start + many)
        norms[start:stop] = np.linalg.norm(total(t, pieces, (start, stop)).values.reshape(stop - start, -1), axis=1)
    return norms
