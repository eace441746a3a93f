"""Program: a recorded function as a table of instructions over one arena."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numba
import numpy as np

from ..effects import Effects, Update
from ..errors import anomaly
from ..graph import Graph
from ..kernels import indexing
from ..kernels.loops import address
from ..kernels.machine import MOST_OPERANDS, MOST_REPEATS, SCRATCH, machine
from ..kernels.native import FAULT, environment
from ..ops.core import apply
from ..scope import current
from ..tensor import GRADIENT, Tensor, describe, leaf, now
from . import lowerings, remat  # noqa: F401  (lowerings enters them)
from . import views as vw
from .arena import ALIGNMENT, plan
from .capture import Recording, inside
from .emit import Instruction
from .groups import CROSS_ENTROPY, OVER_TIME
from .internal import RANGE_CHECK
from .lower import Lowering
from .report import Memory, Profile
from .rewrite import Firing, Rewriter, rewrite
from .rules import CLEAN, FOLD, GATHER, gradient_lines
from .saved import Generators, named_tensors, recording_from_json, recording_to_json
from .schedule import schedule
from .views import Storage, View

__all__ = ["Memory", "Profile", "Program"]


_CLOCK_NS = 25  # what reading the clock adds to an instruction


def optimised(
    roots: Sequence[Tensor],
    nodes: Sequence[Tensor] = (),
    segments: Sequence[tuple[int, int]] = (),
    memory: str | None = None,
) -> Rewriter:
    """The graph after all phases of rewriting; `nodes` are those that are known to be needed, in order."""
    rewriter = Rewriter(roots, nodes)
    for t in rewriter.nodes:
        if t.op is RANGE_CHECK:
            rewriter.rank[t.serial] = 0  # as early as its indices are there
    rewrite(rewriter, "clean", CLEAN, OVER_TIME)
    rewrite(rewriter, "gather", GATHER, OVER_TIME, known=CLEAN)
    rewrite(rewriter, "fuse", gradient_lines(), CROSS_ENTROPY)
    if memory == "sqrt":
        remat.split_sums(rewriter, remat.by_time(rewriter))
    elif segments:
        remat.split_sums(rewriter, remat.times_within(rewriter, segments))
    rewrite(rewriter, "fold", FOLD)
    if segments:
        remat.recompute(rewriter, remat.by_position(rewriter, segments))
    if memory == "sqrt":
        times = remat.by_time(rewriter)
        remat.recompute(rewriter, lambda t: None if t.time is None else times[t.time])
    return rewriter


def _range_checks(graph: Graph) -> list[Tensor]:
    """A check of each index tensor that looks up rows: rewriting may leave out what nobody uses."""
    checks = []
    for t in graph.nodes:
        if t.place.backward:
            continue  # its indices are those of a forward node
        rows = t.op.name == "index" and t.params["index"] == ("array",) and t.inputs[1].dtype.kind in "iu"
        if rows or t.op.name == "one_hot":
            limit = t.inputs[0].shape[0] if rows else t.params["classes"]
            params = {"limit": limit, "wrap": rows, "name": t.op.name}
            checks.append(inside(t, lambda t=t, params=params: apply(RANGE_CHECK, t.inputs[-1:], params)))
    return checks


def _first(pairs: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [pair[0] for pair in pairs]


class Program:
    """A function recorded for one signature; made by :func:`compile`.

    Attributes
    ----------
    graph, rewritten : Graph
        Before and after rewriting.
    log : list of Firing
        Which rule fired where.
    instructions : list of Instruction
    arena_bytes, flops, bytes : int
        Size of the arena; arithmetic operations, and bytes read and written, of one run.
    record_seconds, plan_seconds : float
        How long it took to record the function, and to make the program of it.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> program = tg.compile(lambda x: tg.tanh(x).sum()).program(np.ones(2))
    >>> [i.name for i in program.instructions]
    ['tanh', 'sum_last']
    """

    def __init__(self, recording: Recording, record_seconds: float = 0.0, memory: str | None = None) -> None:
        began = time.perf_counter()
        self.recording = recording
        self.record_seconds = record_seconds
        self.graph = Graph(recording.roots, recording.placeholders)
        drawn = recording.drawn  # also those that nobody needs: generators go on as they do in eager mode
        roots = [*recording.roots, *drawn, *_range_checks(self.graph)]
        rewriter = optimised(roots, self.graph.nodes, recording.segments, memory)
        self.log: list[Firing] = rewriter.log
        nodes = schedule(rewriter)
        self.rewritten = Graph(rewriter.roots, recording.placeholders)
        self._build(nodes, rewriter.roots)
        self.plan_seconds = time.perf_counter() - began

    # Making -----------------------------------------------------------------------------------------------------------

    def _build(self, nodes: list[Tensor], roots: Sequence[Tensor]) -> None:
        bound = self._bind(nodes)
        low = Lowering(nodes, roots, bound)
        self._stage(low)
        low.run()
        self._results = self._settled(low, roots)
        self._effects(low, roots)
        self.instructions = low.emitter.instructions
        self._storages = low.emitter.storages
        end = len(self.instructions)
        for view in self._results[: self.recording.results + len(self.recording.left)]:
            view.storage.last = end
        self.arena_bytes = plan(self._storages) if self._storages else 0
        self._constants = low.constants
        self._verify()
        self._table()

    def _bind(self, nodes: Sequence[Tensor]) -> dict[int, Storage]:
        """Slots for the user's tensors: their memory is used as it is."""
        self._tensors: list[Tensor] = []
        bound: dict[int, Storage] = {}
        slots: dict[int, Storage] = {}
        changed = [u.parameter for u in self.recording.effects.updates]
        changed += [t for t, _, _ in self.recording.effects.assigned]
        for t in [*(self.recording.bound[n.serial] for n in nodes if n.serial in self.recording.bound), *changed]:
            if t.serial not in slots:
                nbytes = t.size * t.dtype.itemsize
                slots[t.serial] = Storage(nbytes, slot=1 + len(self._tensors), label=t.name or "")
                self._tensors.append(t)
        self._slots = slots
        stands_for = {leaf.serial: serial for serial, leaf in self.recording.effects.carried.items()}
        self._carried: list[tuple[Tensor, int]] = []
        for node in nodes:
            if node.serial in stands_for:
                t = self.recording.effects.grads[stands_for[node.serial]][0]
                bound[node.serial] = Storage(node.size * node.dtype.itemsize, slot=1 + len(self._tensors))
                self._carried.append((t, len(self._tensors)))
                self._tensors.append(t)
            if node.serial in self.recording.bound:
                bound[node.serial] = slots[self.recording.bound[node.serial].serial]
        return bound

    def _stage(self, low: Lowering) -> None:
        """Room for the arguments, into which they are copied before each run."""
        low.slots = 1 + len(self._tensors)
        self._inputs: list[View] = []
        for t in self.recording.placeholders:
            view = low.emitter.room(t.shape, t.dtype, t.name or "argument")
            low.emitter.touch(view, -1)
            low.bound[t.serial] = view.storage
            self._inputs.append(view)

    def _settled(self, low: Lowering, roots: Sequence[Tensor]) -> list[View]:
        """Where the roots lie once everything is computed: not in memory that the program is about to change."""
        effects = self.recording.effects
        changed = {self._slots[t.serial] for t in [*(u.parameter for u in effects.updates), *_first(effects.assigned)]}
        settled = []
        for recorded, t in zip(self.recording.roots, roots):
            view = low.view(t)
            if view.storage in changed and recorded.inputs:
                room = low.emitter.room(view.shape, view.dtype, "before the change")
                low.copy(t, view, room)
                view = room
            settled.append(view)
        return settled

    def _effects(self, low: Lowering, roots: Sequence[Tensor]) -> None:
        """Checks, then updates and assignments, after everything that is computed."""
        effects = self.recording.effects
        updated, assigned, checked = self._split(roots, effects)
        for check, (t, view) in zip(effects.checks, checked, strict=True):
            view = low.compact(t, view)
            flat = View(view.storage, view.offset, (view.size,), (view.dtype.itemsize,), view.dtype)
            make = lambda values, check=check: check.error(int(np.argmin(np.isfinite(values))))
            self._check(low, t, flat, make)
        self._numbers: dict[Any, tuple[Any, View, np.ndarray]] = {}
        self._state: list[tuple[Any, int, int, int]] = []  # (optimizer, parameter, slot of its state, slot of bases)
        for update, (g, view) in zip(effects.updates, updated, strict=True):
            self._update(low, update, g, view)
        for (target, _, _), (value, view) in zip(effects.assigned, assigned, strict=True):
            low.copy(value, view, self._bound_view(target))

    def _check(self, low: Lowering, t: Tensor, flat: View, make: Callable[[np.ndarray], Exception]) -> None:
        """An instruction that stops the program where a value is not finite."""

        def look(arrays: list[np.ndarray]) -> None:
            if not np.isfinite(arrays[0]).all():
                raise make(arrays[0])

        if numba.config.DISABLE_JIT:
            low.emitter.emit_host(t, "check_finite", [flat], look)
        elif flat.size:
            loop = indexing.check_finite(flat.dtype)
            whole = vw.subview(flat, None)
            cores, sizes = ((1,),), [flat.size]
            low.emitter.over_rows(t, "check_finite", loop.address, [whole], cores, sizes, writes=0, fault=(flat, make))

    def _split(self, roots: Sequence[Tensor], effects: Effects) -> tuple[list[tuple[Tensor, View]], ...]:
        """The roots of updates, of assignments and of checks, and where they lie."""
        placed = zip(roots, self._results)
        for _ in range(self.recording.results + len(self.recording.left)):
            next(placed)
        return tuple([list(islice(placed, len(e))) for e in (effects.updates, effects.assigned, effects.checks)])

    def _bound_view(self, t: Tensor) -> View:
        return View(self._slots[t.serial], 0, t.shape, vw.compact_strides(t.shape, t.dtype.itemsize), t.dtype)

    def _update(self, low: Lowering, update: Update, g: Tensor, gradient: View) -> None:
        """An optimiser's step, in place: parameter, gradient, state and the numbers of this call."""
        optimizer, p = update.optimizer, update.parameter
        key = id(optimizer), p.dtype
        if key not in self._numbers:
            numbers = np.zeros(len(optimizer.numbers()), p.dtype)
            self._numbers[key] = optimizer, low.constant(numbers), numbers
        view = self._numbers[key][1]
        settings = [vw.broadcast(vw.subview(view, k), p.shape) for k in range(view.shape[0])]
        place = self._bound_view(p)
        states = []
        for k in range(len(optimizer.slots)):
            view = low.constant(np.zeros(p.shape, p.dtype))
            self._state.append((optimizer, update.index, k, view.storage.slot))
            states.append(view)
        views = [place, gradient, *states, *settings, place, *states]
        kernel, writes, name = optimizer.kernel(p.dtype), 1 + len(states), optimizer.rule.__name__

        def host(arrays: list[np.ndarray]) -> None:
            out = tuple(arrays[-writes:])
            kernel(*arrays[:-writes], out=out if writes > 1 else out[0])

        if numba.config.DISABLE_JIT:
            low.emitter.emit_host(g, name, views, host)
        else:
            low.emitter.elementwise(g, name, address(kernel), views, writes=writes)

    def _verify(self) -> None:
        """Every operand of every instruction lies within its storage, and storages within the arena."""
        for s in self._storages:
            if s.first <= s.last and not 0 <= s.offset <= self.arena_bytes - s.nbytes:
                raise AssertionError(f"program: {s} does not lie in the arena of {self.arena_bytes} bytes")
        for i in self.instructions:
            if i.address == 0:
                continue
            if len(i.views) > MOST_OPERANDS or len(i.loops) > MOST_REPEATS:
                raise AssertionError(f"program: {i.name} for {describe(i.node)} has too many operands or axes")
            for k, view in enumerate(i.views):
                (low, high), storage = i.reach(k), view.storage
                if low < 0 or (high + view.dtype.itemsize > storage.nbytes and high >= low):
                    raise AssertionError(
                        f"program: operand {k} of {i.name} for {describe(i.node)} reaches from {low} to {high} "
                        f"of {storage.nbytes} bytes"
                    )

    def _table(self) -> None:
        rows = [i.row() for i in self.instructions]
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(r) for r in rows], out=starts[1:])
        self._starts = starts
        self._code = np.array([n for row in rows for n in row] or [0], np.int64)
        self._memory = np.empty(self.arena_bytes + ALIGNMENT, np.uint8)
        skip = -self._memory.ctypes.data % ALIGNMENT
        self._arena = self._memory[skip : skip + self.arena_bytes]
        self._bases = np.zeros(1 + len(self._tensors) + len(self._constants), np.int64)
        self._bases[0] = self._arena.ctypes.data
        for k, c in enumerate(self._constants):
            self._bases[1 + len(self._tensors) + k] = c.ctypes.data
        self._held: list[Any] = [None] * len(self._tensors)
        self._state_slots = {base: k for k, (*_, base) in enumerate(self._state)}
        self._held_state: list[Any] = [None] * len(self._state)
        self._environment, self._scratch = environment(), np.zeros(SCRATCH, np.int64)
        arrays = (self._code, self._starts, self._bases, self._scratch, self._environment)
        self._addresses = tuple(a.ctypes.data for a in arrays)
        self._staging = [self._array(v) for v in self._inputs]
        self._outputs = [self._array_later(v) for v in self._results]

    # Running ----------------------------------------------------------------------------------------------------------

    def _array_later(self, view: View) -> Callable[[], np.ndarray]:
        if view.storage.slot == 0 or view.storage.slot > len(self._tensors):
            array = self._array(view)  # of memory that stays where it is
            return lambda: array
        return lambda: self._array(view)

    def _array(self, view: View) -> np.ndarray:
        """A view as an array of NumPy's."""
        slot = view.storage.slot
        if not view.size:
            return np.empty(view.shape, view.dtype)
        if slot == 0:
            return np.ndarray(view.shape, view.dtype, self._arena.data, view.storage.offset + view.offset, view.strides)
        if slot <= len(self._tensors):
            whole = self._held[slot - 1]
        elif slot in self._state_slots:
            whole = self._held_state[self._state_slots[slot]]
        else:
            whole = self._constants[slot - 1 - len(self._tensors)]
        flat = whole.reshape(-1).view(np.uint8)
        return np.ndarray(view.shape, view.dtype, flat.data, view.offset, view.strides)

    def _refresh(self) -> None:
        """Take up the arrays of the user's tensors, where they have others since the last run."""
        for t, k in self._carried:
            assert t.grad is not None
            self._held[k] = np.ascontiguousarray(t.grad.data)
            self._bases[1 + k] = self._held[k].ctypes.data
        for k, t in enumerate(self._tensors[: len(self._tensors) - len(self._carried)]):
            data = t.data
            if data is not self._held[k]:
                if not (data.flags.c_contiguous and data.flags.aligned and data.flags.writeable):
                    data = t.data = np.array(data, order="C")
                self._held[k] = data
                self._bases[1 + k] = data.ctypes.data
        for k, (optimizer, index, slot, base) in enumerate(self._state):
            data = optimizer.state[index][slot]
            if data is not self._held_state[k]:
                self._held_state[k] = data
                self._bases[base] = data.ctypes.data
        for optimizer, _, numbers in self._numbers.values():
            numbers[:] = optimizer.numbers()

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run once on arrays of the recorded shapes and types; gives the results, and changes what has to change."""
        for place, array in zip(self._staging, arrays, strict=True):
            place[...] = array
        for generator, state in self.recording.restarted:
            generator.bit_generator.state = state
        self._refresh()
        if current().anomaly or self.recording.effects.anomaly:
            self._run_watched()
        else:
            self._execute(machine()[0] if not numba.config.DISABLE_JIT else None)
        return self._finish()

    def _execute(self, run: Any, extra: tuple[int, ...] = ()) -> None:
        at, end = 0, len(self.instructions)
        while at < end:
            if run is not None:
                at = run(*self._addresses, at, end, *extra)
            if at < end:
                if self._environment[FAULT]:
                    raise self._fault(self.instructions[at])
                self._call_host(self.instructions[at])
                at += 1

    def _call_host(self, i: Instruction) -> None:
        assert i.host is not None
        try:
            i.host([self._array(v) for v in i.views])
        except (ValueError, IndexError) as error:
            raise self._placed(error, i.node) from None

    def _fault(self, i: Instruction) -> Exception:
        self._environment[FAULT] = 0
        assert i.fault is not None
        view, make = i.fault
        error = make(self._array(view))
        return error if not isinstance(error, IndexError) else self._placed(error, i.node)

    def _placed(self, error: Exception, node: Tensor) -> Exception:
        return type(error)(f"{error}\n  node:     {describe(node)}\n  recorded at {node.source}")

    def _run_watched(self) -> None:
        """Instruction by instruction, each result examined."""
        run = None if numba.config.DISABLE_JIT else machine()[0]
        for at, i in enumerate(self.instructions):
            if i.address == 0:
                self._call_host(i)
            elif run is not None and run(*self._addresses, at, at + 1) == at:
                raise self._fault(i)
            for view in i.views[len(i.views) - i.writes :]:
                value = self._array(view)
                if value.dtype.kind == "f" and not np.isfinite(value).all():
                    where = ", in the gradient of what was recorded there," if i.node.place.backward else ""
                    raise anomaly(
                        i.node, value, f"{i.name} at {i.node.source}{where} produced", "", got=describe(i.node),
                        hint="look at the ranges of the inputs, and at the learning rate if a parameter is among them",
                    )  # fmt: skip

    def _finish(self) -> list[np.ndarray]:
        effects, recording = self.recording.effects, self.recording
        results = [self._outputs[k]().copy() for k in range(recording.results)]
        at = recording.results
        for p in recording.left:
            p.grad = leaf(self._outputs[at]().copy(), GRADIENT)
            at += 1
        for p in recording.cleared:
            p.grad = None
        if effects.updates or effects.assigned:
            self._note_changes(effects)
        return results

    def _flat(self, args: Any) -> list[np.ndarray]:
        arrays: list[np.ndarray] = []
        work = [args]
        while work:
            value = work.pop()
            if isinstance(value, Tensor | np.ndarray | np.generic):
                arrays.append(np.asarray(value.data if isinstance(value, Tensor) else value))
            elif isinstance(value, dict):
                work += reversed(value.values())
            elif isinstance(value, tuple | list):
                work += reversed(value)
        if [(a.shape, a.dtype) for a in arrays] != [(v.shape, v.dtype) for v in self._inputs]:
            raise TypeError("profile: expected arguments of the program's own shapes and types")
        return arrays

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        """Undo what runs within the block change."""
        self._refresh()
        arrays = [a for a in [*self._held, *self._held_state] if a is not None]
        copies = [a.copy() for a in arrays]
        generators = {id(g): g for t in self.graph.nodes for g in [t.params.get("generator")] if g is not None}
        states = [(g, g.bit_generator.state) for g in generators.values()]
        try:
            yield
        finally:
            for a, copy in zip(arrays, copies, strict=True):
                a[...] = copy
            for g, state in states:
                g.bit_generator.state = state

    def _run_timed(self, arrays: Sequence[np.ndarray], times: np.ndarray) -> None:
        for place, array in zip(self._staging, arrays, strict=True):
            place[...] = array
        self._refresh()
        at, end = 0, len(self.instructions)
        while at < end:
            if not numba.config.DISABLE_JIT:
                at = machine()[1](*self._addresses, at, end, times.ctypes.data)
            if at < end:
                if self._environment[FAULT]:
                    raise self._fault(self.instructions[at])
                began = time.perf_counter_ns()
                self._call_host(self.instructions[at])
                times[at] += time.perf_counter_ns() - began
                at += 1

    def _note_changes(self, effects: Effects) -> None:
        at = now()
        for u in effects.updates:
            u.parameter.assigned = at
        for t, _, _ in effects.assigned:
            t.assigned = at
        for optimizer in {id(u.optimizer): u.optimizer for u in effects.updates}.values():
            optimizer.step_count += 1

    def profile(self, *args: Any, repeats: int = 10) -> Profile:
        """Where time goes; `args` are those of the function, arrays or tensors, nested as it takes them.

        Nothing is changed by it: parameters, the state of optimisers and generators are put back.
        """
        arrays = self._flat(args)
        times = np.zeros(len(self.instructions), np.int64)
        with self._put_back():
            for _ in range(repeats):
                self._run_timed(arrays, times)
        each = [max(int(ns) // repeats - _CLOCK_NS, 0) for ns in times]
        tables: list[dict[Any, int]] = [defaultdict(int), defaultdict(int), defaultdict(int)]
        for i, ns in zip(self.instructions, each, strict=True):
            direction = "gradient of " if i.node.place.backward else ""
            for table, key in zip(
                tables, (i.name, direction + ("/".join(i.node.scope) or "(top)"), i.node.time), strict=True
            ):
                table[key] += ns
        by_op, by_scope, by_time = map(dict, tables)
        return Profile(sum(each), by_op, by_scope, by_time, each)

    # Looking at it ----------------------------------------------------------------------------------------------------

    @property
    def flops(self) -> int:
        return sum(i.flops for i in self.instructions)

    @property
    def bytes(self) -> int:
        return sum(v.size * v.dtype.itemsize for i in self.instructions for v in i.views)

    @property
    def kernels(self) -> list[str]:
        """Names of the kernels that the program calls; their number does not depend on the number of time steps."""
        return sorted({i.name for i in self.instructions})

    def listing(self, limit: int | None = 200) -> str:
        """One line per instruction: kernel, operands as memory and shape, and the node that it computes.

        Beyond `limit` lines the middle is left out.
        """
        numbered = list(enumerate(self.instructions))
        if limit is not None and len(numbered) > limit:
            numbered = numbered[: limit // 2] + numbered[len(numbered) - limit // 2 :]
        lines, before = [repr(self)], -1
        for k, i in numbered:
            if k != before + 1:
                lines.append(f"... {k - before - 1} more ...")
            before = k
            operands = " ".join(self._place(v) for v in i.views)
            lines.append(f"{k:6} {i.name + ('' if i.address else ' (Python)'):24} {operands}  # {describe(i.node)}")
        return "\n".join(lines)

    def _place(self, v: View) -> str:
        slot = v.storage.slot
        if slot == 0:
            where = f"@{v.storage.offset + v.offset}"
        elif slot <= len(self._tensors):
            where = self._tensors[slot - 1].name or f"tensor{slot}"
        else:
            where = "const"
        return f"{where}{list(v.shape)}"

    @property
    def memory(self) -> Memory:
        """How much memory the program takes, and what takes it."""
        used = [s for s in self._storages if s.first <= s.last]
        top = max(used, key=lambda s: s.offset + s.nbytes, default=None)
        alive = [s for s in used if top is not None and s.first <= top.first <= s.last]
        alive.sort(key=lambda s: -s.nbytes)
        largest = [(s.label, s.nbytes, s.first, s.last) for s in alive[:10]]
        constants = sum(c.nbytes for c in self._constants)
        return Memory(self.arena_bytes, sum(s.nbytes for s in used), largest, constants)

    def to_json(self, names: Any = None) -> str:
        """The program as text, from which :meth:`from_json` makes it again; nothing is executed by loading.

        Parameters
        ----------
        names : Module, or dict of tensors by name, optional
            How the tensors that the program uses are called; by default by the names that they have.

        Raises
        ------
        ValueError
            If two of the tensors that it uses have the same name, or one has none.
        """
        return recording_to_json(self.recording, names)

    @staticmethod
    def from_json(
        text: str,
        tensors: Any = None,
        optimizers: Sequence[Any] = (),
        *,
        generator: Generators = None,
        memory: str | None = None,
    ) -> Program:
        """A program from its text, over these tensors and optimisers.

        Parameters
        ----------
        text : str
        tensors : Module, or dict of tensors by name, optional
            What the program uses, under the names with which it was written.
        optimizers : sequence of Optimizer
            In the order of their steps.
        generator : numpy.random.Generator, or sequence of them, optional
            Where random numbers come from, in the order in which they are first drawn from.
        memory : "sqrt", optional
            As for :func:`compile`.

        Examples
        --------
        >>> import numpy as np, tinygrad_rnn as tg
        >>> w = tg.parameter([1.0, 2.0], name="w")
        >>> text = tg.compile(lambda x: (w * x).sum()).program(np.ones(2, np.float32)).to_json()
        >>> tg.Program.from_json(text, {"w": w}).run([np.array([3.0, 4.0])])
        [array(11., dtype=float32)]
        """
        return Program(recording_from_json(text, named_tensors(tensors), optimizers, generator), memory=memory)

    def __repr__(self) -> str:
        return (
            f"<Program of {len(self.instructions)} instructions, {self.arena_bytes:,} bytes, {self.flops:,} flops; "
            f"{len(self.graph)} nodes recorded, {len(self.rewritten)} left>"
        )
