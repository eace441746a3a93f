"""The quantities of a model: each node that has an equation or a value of its own, with its symbol."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np

from ..errors import PlaceholderError, fail
from ..graph import Graph
from ..graph.evaluate import compute
from ..graph.walk import reach
from ..ops.index import SLICE
from ..tensor import PARAMETER, Tensor, describe
from .cuts import Roles
from .expr import Symbol
from .local import Local, Patterns
from .names import Family, baptised, singular
from .unfold import unfolded

__all__ = ["Quantities"]


class Quantities:
    """Quantities of a graph.

    Attributes
    ----------
    whole : Graph
    nodes : tuple of Tensor
        Of the unfolded graph.
    outputs, kept : tuple of Tensor
        Those of the graph, and others that are quantities whatever they are.
    recorded : dict
        From serial numbers to the nodes of the graph that they were made of.
    locals : dict
        By serial number: what each computed quantity is made of.
    symbols : dict
        By serial number.
    starts : dict
        Symbols of states before the first step, and the quantity that stands there under its own name.
    first, last : int or None
        The first and the last time step, as they are written.
    """

    def __init__(self, whole: Graph, names: Mapping[int, str] | None = None, kept: Sequence[Tensor] = ()) -> None:
        self.whole, self.given = whole, dict(names or {})
        unfolding = unfolded(whole)
        self.outputs = tuple(dict.fromkeys(unfolding.outputs))
        self.nodes = reach(self.outputs)
        self.kept = tuple(unfolding.made[t.serial] for t in kept)
        self.recorded = {unfolding.made[t.serial].serial: t for t in whole.nodes}
        self.roles = Roles(self.nodes, (*self.outputs, *(t for t in self.kept if not t.is_leaf)))
        self.patterns = Patterns()
        self.locals = self._locals()
        self.times = self._times()
        self.families: dict[int, Family] = {}
        self.members: dict[tuple[Family, int | None], Tensor] = {}
        self._gather()
        self.aliases = self._initial_states()
        self._adopt_names()
        self._shift = self._first_step()
        ends = [t.serial for t in self.outputs if t.serial in self.families]
        baptised(dict.fromkeys(self.families[s] for s in (*ends, *self.families) if not self.is_start(s)))
        shown = (t for t in self.nodes if t.serial in self.families or self.roles.of.get(t.serial) == "block")
        self.symbols = _all_different({t.serial: self._symbol(t) for t in shown})
        self.starts = self._starts()

    # What they are made of ----------------------------------------------------------------------------------------

    def _locals(self) -> dict[int, Local]:
        leaves = ("parameter", "data", "block", "")
        kept = [t for t in self.nodes if self.roles.of.get(t.serial, "") not in leaves]
        return {t.serial: self.patterns.local_of(t, self.roles.of) for t in kept}

    @cached_property
    def consumers(self) -> dict[int, list[Tensor]]:
        """For each quantity those that are computed from it."""
        found: dict[int, list[Tensor]] = defaultdict(list)
        for local in self.locals.values():
            for operand in local.operands:
                found[operand.serial].append(local.node)
        return found

    def _times(self) -> dict[int, int | None]:
        """Time steps; that of a leaf is the one that it is used in, if it is one of several of its kind."""
        times = {t.serial: t.time for t in self.nodes}
        times |= {t.serial: None for t in self.outputs if not t.name and not t.shape}  # a loss, added up over the steps
        alone: dict[Hashable, list[tuple[Tensor, int]]] = defaultdict(list)
        for t in self.nodes:
            if t.serial in self.roles.of and self.roles.of[t.serial] == "data":
                used = {u.time for u in self.roles.uses[t.serial]}
                step = used.pop() if len(used) == 1 else None
                if t.is_leaf:
                    times[t.serial] = None
                if step is not None and times[t.serial] is None:
                    alone[t.name or self._slot(t)].append((t, step))
        self._count_slices(times)
        for group in alone.values():
            if len(group) > 1 and len({step for _, step in group}) == len(group):
                times |= {t.serial: step for t, step in group}
        return times

    def _count_slices(self, times: dict[int, int | None]) -> None:
        """Entries of data that were taken one after the other outside of time steps, are those of the steps."""
        steps = {t.time for t in self.nodes if t.time is not None}
        taken: dict[int, list[tuple[Tensor, int]]] = defaultdict(list)
        for t in self.nodes:
            if t.op is SLICE and times[t.serial] is None and self.roles.of.get(t.serial) == "data":
                numbers = [p for p in t.params["index"] if isinstance(p, int)]
                taken[t.inputs[0].serial] += [(t, numbers[0] if len(numbers) == 1 else -1)]
        for group in taken.values():
            if {k for _, k in group} == steps:
                times |= {t.serial: k for t, k in group}

    def _slot(self, t: Tensor) -> Hashable:
        user = self.roles.uses[t.serial][0]
        return self.roles.numbers[user.serial], [i is t for i in user.inputs].index(True)

    # Families -------------------------------------------------------------------------------------------------------

    def _gather(self) -> None:
        known: dict[Hashable, Family] = {}
        seen: Counter[Hashable] = Counter()
        for t in self.nodes:
            if self.roles.of.get(t.serial, "block") == "block" or self._is_only_sliced(t):
                continue
            key, name, role, path = self._facts(t)
            time = self.times[t.serial]
            count = seen[key, time]
            seen[key, time] += 1
            full = (key, count)
            family = known.setdefault(full, Family(full, name, role, path))
            self.families[t.serial] = family
            family.times.add(time)
            self.members[family, time] = t

    def _is_only_sliced(self, t: Tensor) -> bool:
        """Data that no equation shows as a whole."""
        users = self.roles.uses[t.serial]
        return self.roles.of[t.serial] == "data" and bool(users) and all(u.serial in self.roles.of and u.op is SLICE
                                                                         for u in users)  # fmt: skip

    def _facts(self, t: Tensor) -> tuple[Hashable, str | None, str, tuple[str, ...]]:
        """What a quantity has in common with itself at other time steps, its name, role and path."""
        role, name = self.roles.of[t.serial], self.given.get(t.serial, t.name)
        if role in ("parameter", "data"):
            return self._leaf_facts(t, name)
        if name:
            return ("named", name, t.scope), name, role, t.scope
        if not t.shape and t.is_float and role != "term":
            role = "loss"
        return self.roles.numbers[t.serial], None, role, t.scope

    def _leaf_facts(self, t: Tensor, name: str | None) -> tuple[Hashable, str | None, str, tuple[str, ...]]:
        path, timed = self._path(t), self.times[t.serial] is not None
        if t.op is SLICE:
            whole = t.inputs[0]
            inner = self.given.get(whole.serial, whole.name)
            called = t.name or (singular(inner) if inner and timed else inner)
            return ("slice", whole.serial, ranges(t, timed)), called, _pool(t), path
        key: Hashable = ("data", name or self._slot(t)) if timed else ("leaf", t.serial)
        return key, name, _pool(t), path

    def _path(self, t: Tensor) -> tuple[str, ...]:
        """The scope that all uses of a leaf share."""
        scopes = []
        for u in self.roles.uses[t.serial]:
            deeper = self.roles.uses[u.serial] if self.roles.of.get(u.serial) == "block" else [u]
            scopes += [d.scope for d in deeper]
        shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*scopes))
        return tuple(parts[0] for parts in shared)

    # Initial states ---------------------------------------------------------------------------------------------------

    def _initial_states(self) -> dict[int, tuple[Family, int]]:
        """What stands at the first step where other steps have the state of the step before, or the step after."""
        found: dict[int, tuple[Family, int]] = {}
        before = -1
        while len(found) > before:  # of a state of several steps before, one start after the other
            before = len(found)
            for (family, time), t in self.members.items():
                if time is None or t.serial not in self.locals:
                    continue
                for step in (1, -1):
                    other = self.members.get((family, time + step))
                    if other is not None and other.serial in self.locals:
                        self._compare(t, other, time, time + step, found)
        return self._by_name(found)

    def _by_name(self, found: dict[int, tuple[Family, int]]) -> dict[int, tuple[Family, int]]:
        """Leaves called h0 where there is a state h, of which one step is not enough to see it."""
        states = {f.name: f for f in self.families.values() if f.name and f.times and None not in f.times}
        for t in self.nodes:
            match = _INITIAL.match(t.name or "") if t.is_leaf and t.serial in self.families else None
            state = states.get(match.group(1)) if match else None
            if state is not None and state not in [f for f, _ in found.values()]:
                found.setdefault(t.serial, (state, min(time for time in state.times if time is not None) - 1))
        return found

    def _compare(self, t: Tensor, other: Tensor, time: int, its: int, found: dict[int, tuple[Family, int]]) -> None:
        own, shown = self.locals[t.serial], self.locals[other.serial]
        if own.key != shown.key:
            return
        for a, b in zip(own.operands, shown.operands):
            state, there = found.get(b.serial, (self.families.get(b.serial), self.times[b.serial]))
            if a is b or state is None or there is None or there == its or self.roles.of[a.serial] == "block":
                continue
            at, computed = there - its + time, b.serial in self.locals or b.serial in found
            if (state, at) in found.values() and found.get(a.serial) != (state, at):
                continue  # something else stands there already
            if (state, at) not in self.members and self.families[a.serial] is not state and computed:
                found.setdefault(a.serial, (state, at))

    def _adopt_names(self) -> None:
        """A state without a name whose initial value is called ``h0`` is called h."""
        for serial, (family, _) in self.aliases.items():
            found = _INITIAL.match(self.families[serial].name or "")
            if found and not family.name:
                family.name = found.group(1)
                for other in dict.fromkeys(self.families.values()):  # what a mask lets through, or not
                    if other is not family and other.name == family.name:
                        other.name = f"{family.name}_tilde"
        for serial, family in self.families.items():
            if family.role == "activation" and not family.name:
                family.name = self._candidate(serial)

    def _candidate(self, serial: int) -> str | None:
        """What goes into one named quantity alone is called after it, as a candidate for the state is."""
        users = {self.families[u.serial].name for u in self.consumers.get(serial, ())}
        name = users.pop() if len(users) == 1 else None
        called = f"{name}_tilde"
        same = [f for s, f in self.families.items() if f.role == "activation" and self.times[s] == self.times[serial]]
        taken = any(f.name == called and f is not self.families[serial] for f in self.families.values())
        return called if name and "_" not in name and len(same) == 1 and not taken else None

    def is_start(self, serial: int) -> bool:
        """Whether it is a state before the first step that is called after the state, for want of a better name."""
        if serial not in self.aliases or (serial in self.locals and self.times[serial] is not None):
            return False
        name, (family, _) = self.families[serial].name, self.aliases[serial]
        return not name or name in (f"{family.name}0", f"{family.name}_0")

    def _first_step(self) -> int:
        times = [t for t in self.times.values() if t is not None]
        return 1 if times and min(times) == 0 else 0

    def _starts(self) -> dict[Symbol, Symbol]:
        own = {s: self._of(family, time, self.symbols[s].shape) for s, (family, time) in self.aliases.items()}
        return {start: self.symbols[s] for s, start in own.items() if not self.is_start(s)}

    # Symbols ----------------------------------------------------------------------------------------------------------

    def _of(self, family: Family, time: int | None, shape: tuple[int, ...], block: str = "") -> Symbol:
        shown = None if time is None else time + self._shift
        return Symbol(family.base, family.sup, block, shown, shape=shape)

    def _symbol(self, t: Tensor) -> Symbol:
        if self.is_start(t.serial):
            return self._of(*self.aliases[t.serial], t.shape)
        if self.roles.of[t.serial] == "block":
            return self._of(self.families[t.inputs[0].serial], None, t.shape, self._label(t))
        time = self.times[t.serial]
        block = ranges(t, time is not None) if t.op is SLICE and t.inputs[0].is_leaf else ""
        return self._of(self.families[t.serial], time, t.shape, block)

    def _label(self, t: Tensor) -> str:
        """What a block of a parameter is for: the gate that it belongs to, if it is one, else where it is."""
        own = self._users(t)
        others = [u for u in self.roles.uses[t.inputs[0].serial] if u is not t]
        unique = len(own) == 1 and all(self._users(u) != own for u in others)
        return own.pop() if unique else ranges(t)

    def _users(self, t: Tensor) -> set[str]:
        return {self.families[u.serial].base for u in self.consumers.get(t.serial, ())}

    @cached_property
    def _by_serial(self) -> dict[int, Tensor]:
        return {t.serial: t for t in self.nodes}

    def node(self, serial: int) -> Tensor:
        """The node of a serial number."""
        return self._by_serial[serial]

    @cached_property
    def steps(self) -> tuple[int, int] | None:
        """The first and the last time step of what is computed, as they are written; None where these differ."""
        spans: dict[Symbol, list[int]] = defaultdict(list)
        for serial in self.locals:
            s = self.symbols[serial]
            if s.time is not None and serial not in self.aliases:
                spans[s.family].append(s.time)
        last = max((max(times) for times in spans.values()), default=None)
        for serial in self.locals:  # the last value of a state may be of no use
            family = self.symbols[serial].family
            if self.families[serial].role == "state" and family in spans and max(spans[family]) + 1 == last:
                del spans[family]
        found = {(min(times), max(times)) for times in spans.values()}
        return found.pop() if len(found) == 1 else None

    # Values -----------------------------------------------------------------------------------------------------------

    def values(self, *arrays: Any) -> dict[int, Any]:
        """Values of all quantities by serial number, from those of the leaves, and arrays for placeholders.

        Raises
        ------
        PlaceholderError
            If placeholders are left without a value.
        """
        placeholders = [t for t in self.whole.placeholders if t.is_symbolic]
        if len(arrays) != len(placeholders):
            raise fail(
                PlaceholderError, "values: the function was traced, so its inputs have no values",
                expected=f"{len(placeholders)} arrays, one per placeholder", got=str(len(arrays)),
                hint=f"pass them in the order {', '.join(describe(t) for t in placeholders)}",
            )  # fmt: skip
        found: dict[int, Any] = {t.serial: np.asarray(a, t.dtype) for t, a in zip(placeholders, arrays, strict=True)}
        compute(self.nodes, found, self.roles.of.keys())
        return found


_INITIAL = re.compile(r"^(\D+?)_?0$")


def _all_different(symbols: dict[int, Symbol]) -> dict[int, Symbol]:
    """The symbols with a mark where one would stand for two quantities."""
    seen: set[Symbol] = set()
    for serial, s in symbols.items():
        while s in seen:
            s = Symbol(s.base, (*s.sup, "′"), s.block, s.time, shape=s.shape)
        seen.add(s)
        symbols[serial] = s
    return symbols


def _pool(t: Tensor) -> str:
    if t.op is PARAMETER:
        return {0: "scalar", 1: "vector"}.get(t.ndim, "matrix")
    return "data" if t.is_float else "mask" if t.dtype.kind == "b" else "index"


def ranges(t: Tensor, timed: bool = False) -> str:
    """Which part of a leaf a slice takes, but for single time steps: empty for all of it."""
    whole, parts = t.inputs[0], []
    for part, n in zip(t.params["index"], whole.shape, strict=True):
        if isinstance(part, slice) and part.indices(n) != (0, n, 1):
            parts.append(f"{part.start}:{part.stop}" + (f":{part.step}" if part.step != 1 else ""))
        elif isinstance(part, int) and not timed:
            parts.append(str(part))
    return ", ".join(parts)
