"""Rules as data, and the driver that applies them.

A rule is a pattern, a condition and a replacement. Patterns are small trees: ``P("matmul", P("transpose", "x"), "w")``
matches a matmul node over a transpose node and binds the names; a name that occurs twice must be the same node. The
replacement is written in tensor operations, and is recorded at the place of the node that it replaces.

What was recorded is copied once. From then on a node keeps its identity while its inputs are exchanged, so a change at
the first of a thousand steps is seen by the nodes around it, and costs nothing further on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import copysign
from typing import Any

import numpy as np

from ..graph.walk import in_order, reach
from ..ops import index, linalg, neural  # noqa: F401  (patterns name their ops)
from ..ops.core import registry
from ..ops.shape import BROADCAST
from ..tensor import Op, Tensor, describe, leaf, with_inputs
from .capture import inside
from .compiler_ops import INTERNAL

__all__ = ["Firing", "GroupRule", "P", "Rewriter", "Rule", "number", "rewrite"]

Bindings = dict[str, Tensor]


class P:
    """A pattern: an op, or the name of one that is built in; patterns of the inputs, and a name for the node itself.

    A string as an input binds a name to whatever is there; ``...`` alone stands for any inputs, `some` of which is of
    the op of that name.
    """

    def __init__(self, op: Op | str, *inputs: Any, bind: str = "", some: str = "") -> None:
        self.op = op if isinstance(op, Op) else registry.get(op) or INTERNAL[op]
        self.inputs, self.bind = inputs, bind
        self.below = [(k, p.op) for k, p in enumerate(inputs) if type(p) is P]
        self.numbers = [k for k, p in enumerate(inputs) if type(p) is number]
        self.some = registry[some] if some else None
        below = [p.depth for p in inputs if type(p) is P]
        self.depth: int = 1 + max(below, default=int(bool(some)))

    def may_match(self, inputs: tuple[Tensor, ...]) -> bool:
        """Whether the ops of the inputs fit; most patterns are refused here, before anything is bound."""
        for k, op in self.below:
            if k >= len(inputs) or inputs[k].op is not op:
                return False
        for k in self.numbers:
            if k >= len(inputs) or (type(inputs[k].data) is not np.ndarray and inputs[k].op is not BROADCAST):
                return False
        return self.some is None or any(i.op is self.some for i in inputs)

    def __repr__(self) -> str:
        return f"{self.op}({', '.join(map(str, self.inputs))})"


@dataclass(frozen=True, slots=True)
class number:
    """Matches a constant that holds one number, or the same number everywhere."""

    value: float


@dataclass(frozen=True, slots=True)
class Rule:
    """`replacement`, a function of the names bound by `pattern`, wherever `condition` holds.

    The condition gets ``(rewriter, node, bindings)``; the replacement ``(node, **bindings)``, or None to decline.
    """

    name: str
    pattern: P
    replacement: Callable[..., Tensor | None]
    condition: Callable[[Rewriter, Tensor, Bindings], bool] | None = None


@dataclass(frozen=True, slots=True)
class GroupRule:
    """A rule about many nodes at once: gives replacements by serial number."""

    name: str
    find: Callable[[Rewriter], dict[int, Tensor]]


@dataclass(frozen=True, slots=True)
class Firing:
    """That a rule fired: its name, and what the replaced node was."""

    phase: str
    rule: str
    node: Tensor

    def __str__(self) -> str:
        return f"{self.phase}: {self.rule} at {describe(self.node)}"


@dataclass
class Rewriter:
    """A graph on its way through the phases.

    What was recorded is copied first: from then on nodes keep their identity, and only their inputs are exchanged.

    Attributes
    ----------
    roots : list of Tensor
    nodes : sequence of Tensor
        In topological order. To begin with, what the roots need, as far as that is known.
    uses : dict
        How many inputs and roots each node is, by serial number.
    rank : dict
        Position in the program, by serial number: that of the recorded node that a node replaces.
    changed : set of int
        Nodes that no rule has looked at since they were made, or since their inputs were exchanged.
    chains : set of tuple of int
        Products of one matrix each of which needs the one before, as in a recurrence.
    log : list of Firing
    """

    roots: Sequence[Tensor]
    nodes: Sequence[Tensor] = ()
    log: list[Firing] = field(default_factory=list)
    rank: dict[int, float] = field(default_factory=dict)
    uses: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    changed: set[int] = field(default_factory=set)
    chains: set[tuple[int, ...]] = field(default_factory=set)
    keys: dict[int, Any] = field(default_factory=dict)  # equal for nodes of equal value
    known: dict[Any, Tensor] = field(default_factory=dict)  # nodes by their keys
    frozen: dict[int, Any] = field(default_factory=dict)  # parameters of ops, and what stands for them in the keys

    def __post_init__(self) -> None:
        copies: dict[int, Tensor] = {}
        for t in in_order([*(self.nodes or reach(self.roots)), *self.roots]):
            copy = copies[t.serial] = _copy(t, [copies[i.serial] for i in t.inputs]) if t.inputs else t
            self.rank[copy.serial] = t.serial
        self.nodes = list(copies.values())
        self.roots = [copies[t.serial] for t in self.roots]
        self.changed = set(self.rank)
        self.refresh()

    def refresh(self) -> None:
        """Count the uses of all nodes, and leave out those without."""
        uses = self.uses = defaultdict(int)
        for t in self.roots:
            uses[t.serial] += 1
        needed: list[Tensor] = []
        for t in reversed(self.nodes):
            if t.serial in uses:
                needed.append(t)
                for i in t.inputs:
                    uses[i.serial] += 1
        self.nodes = needed[::-1]

    def replace(self, replacements: dict[int, Tensor]) -> None:
        """Put other nodes in place of some, by serial number."""
        made: list[Tensor] = []
        for t in self.nodes:
            if t.serial in replacements:
                made += self.adopt(t, replacements[t.serial], 0)
        for t in [*self.nodes, *made]:
            self.relink(t, replacements)
        self.roots = [_resolved(t, replacements) for t in self.roots]
        self.nodes = in_order([*self.nodes, *self.roots])  # new ones have disturbed it
        self.refresh()

    def relink(self, t: Tensor, replacements: dict[int, Tensor]) -> bool:
        """Exchange those inputs of a node that were replaced; whether there were any."""
        for i in t.inputs:
            if i.serial in replacements:
                t.inputs = tuple([_resolved(i, replacements) for i in t.inputs])
                self.keys.pop(t.serial, None)
                self.changed.add(t.serial)
                return True
        return False

    def adopt(self, old: Tensor, new: Tensor, at: float | None = None) -> list[Tensor]:
        """The nodes that a rule made, inputs first. They are computed where the old node was, or from `at` on."""
        made: list[Tensor] = []
        work = [new]
        while work:
            t = work.pop()
            if t.serial not in self.rank:
                early = 0 if not t.inputs else None if t is new else at
                self.rank[t.serial] = self.position(old) if early is None else early
                made.append(t)
                work += t.inputs
        made.sort(key=lambda t: t.serial)
        self.changed.update([t.serial for t in made])
        return made

    def position(self, t: Tensor) -> float:
        """Where in the program a node was recorded, or the one that it replaces."""
        return self.rank.get(t.serial, t.serial)

    def ranks(self) -> dict[int, float]:
        """Where each node is computed: after its inputs, at the place of what it replaces, else as early as it can."""
        found: dict[int, float] = {}
        for t in self.nodes:
            own = self.rank.get(t.serial)
            earliest = max([found[i.serial] for i in t.inputs], default=0.0)
            if own is None:
                own = earliest if t.inputs else 0.0
            found[t.serial] = max(own, earliest)
        return found

    def key(self, t: Tensor) -> Any:
        """Equal for nodes of equal value; None for what must be computed each time, and for large constants."""
        if t.serial in self.keys:
            return self.keys[t.serial]
        key: Any = None
        if not t.inputs:
            if type(t.data) is np.ndarray and t.data.size <= 64:
                key = t.data.dtype, t.data.shape, t.data.tobytes()
        elif not t.params:
            key = t.op, tuple([i.serial for i in t.inputs])
        elif "generator" not in t.params:
            known = self.frozen.get(id(t.params))
            if known is None:
                known = self.frozen[id(t.params)] = t.params, _frozen(t.params)
            key = t.op, tuple([i.serial for i in t.inputs]), known[1]
        self.keys[t.serial] = key
        return key

    def equal(self, t: Tensor) -> Tensor:
        """A node of the same value, or this one."""
        key = self.key(t)
        if key is None:
            return t
        other = self.known.get(key, t)
        if self.keys.get(other.serial) != key or not self.uses.get(other.serial):  # it is another now, or left out
            other = t
        if other is t:
            self.known[key] = t
        return other


def _copy(t: Tensor, inputs: list[Tensor]) -> Tensor:
    new = with_inputs(t, tuple(inputs))
    new.data = t.data
    return new


def _resolved(t: Tensor, replacements: dict[int, Tensor]) -> Tensor:
    """What stands for a node in the end: replacements may be replaced."""
    while t.serial in replacements:
        t = replacements[t.serial]
    return t


def rewrite(
    rewriter: Rewriter,
    phase: str,
    rules: Sequence[Rule],
    groups: Sequence[GroupRule] = (),
    known: Sequence[Rule] = (),
) -> None:
    """Apply the rules of a phase until none fires.

    Rules look at all nodes once, and again at what was changed and at what is near it. Rules that are `known` have
    looked at all nodes that there were before.
    """
    sweep = _Sweep(rewriter, phase, rules, [*known, *rules])
    sweep.run(everywhere=True)
    while sum(_apply_group(rewriter, phase, group) for group in groups):
        sweep.run(everywhere=False)


def _by_op(rules: Sequence[Rule]) -> dict[Op, list[Rule]]:
    local: dict[Op, list[Rule]] = {}
    for rule in rules:
        local.setdefault(rule.pattern.op, []).append(rule)
    return local


def _apply_group(rewriter: Rewriter, phase: str, rule: GroupRule) -> bool:
    """Apply a rule as often as it finds something; whether it did."""
    fired = False
    while found := rule.find(rewriter):
        rewriter.log += [Firing(phase, rule.name, t) for t in rewriter.nodes if t.serial in found]
        rewriter.replace(found)
        fired = True
    return fired


_MOST_FIRINGS = 50  # for each node, on average: rules that undo each other are found out


class _Sweep:
    """Walks over the nodes in order: rules are applied, equal nodes become one, constants are folded."""

    def __init__(self, rewriter: Rewriter, phase: str, rules: Sequence[Rule], all_rules: Sequence[Rule]) -> None:
        self.rewriter, self.phase = rewriter, phase
        self.first, self.rules = _by_op(rules), _by_op(all_rules)
        self.sight: dict[Op, int] = {}  # from how far, in inputs, the rules for an op see that a node has changed
        for rule in all_rules:
            self.sight[rule.pattern.op] = max(rule.pattern.depth - 2, self.sight.get(rule.pattern.op, 0))
        self.far = max(self.sight.values(), default=0)

    def run(self, everywhere: bool) -> None:
        """Look at all nodes, or at those alone whose surroundings have changed."""
        rewriter = self.rewriter
        self.replacements: dict[int, Tensor] = {}
        self.near: dict[int, int] = {}  # of what has changed or is replaced, and how far from others that is, in inputs
        self.done: set[int] = set()
        self.order: list[Tensor] = []
        most = len(rewriter.log) + _MOST_FIRINGS * len(rewriter.nodes)
        rules = self.first if everywhere else {}
        for node in rewriter.nodes:
            if self.is_settled(node, rules.get(node.op, ())):
                self.done.add(node.serial)
                self.order.append(node)
                continue
            work = [node]
            while work:
                work += self.settle(work.pop(), everywhere)
                if len(rewriter.log) > most:
                    raise AssertionError(f"rules of the phase {self.phase!r} go round in circles: {rewriter.log[-1]}")
        rewriter.nodes = self.order
        rewriter.changed.clear()
        if self.replacements:
            rewriter.roots = [_resolved(t, self.replacements) for t in rewriter.roots]
            rewriter.refresh()

    def is_settled(self, t: Tensor, rules: Sequence[Rule]) -> bool:
        """Whether nothing has happened to a node or near it, and none of the rules may match."""
        if t.serial in self.rewriter.changed:
            return False
        for i in t.inputs:
            if i.serial in self.near:
                if self.is_near(t) or any(i.serial in self.replacements for i in t.inputs):
                    return False
                break
        return not any(rule.pattern.may_match(t.inputs) for rule in rules)

    def settle(self, t: Tensor, everywhere: bool) -> list[Tensor]:
        """Bring one node into its final form; what a rule makes of it is given back, to be settled, inputs last."""
        rewriter = self.rewriter
        rewriter.relink(t, self.replacements)
        close = self.is_near(t)
        if close or everywhere:
            fired = self.fired(t, (self.rules if close else self.first).get(t.op, ()))
            if fired is not None:
                made = rewriter.adopt(t, fired)
                self.exchange(t, fired, made)
                return made[::-1]
        if t.inputs and type(t.data) is np.ndarray:
            value = inside(t, lambda: leaf(t.data))
            made = rewriter.adopt(t, value)
            self.exchange(t, value, made)
            return made
        self.done.add(t.serial)
        other = rewriter.equal(t)
        if other is not t and other.serial in self.done:
            self.exchange(t, other, [])
        else:
            self.order.append(t)
            if other is not t:  # it comes later, and will find this one
                rewriter.changed.add(other.serial)
                rewriter.known[rewriter.keys[t.serial]] = t
        return []

    def exchange(self, old: Tensor, new: Tensor, made: Sequence[Tensor]) -> None:
        """Note that a node stands for another, and what that changes in the counts of uses."""
        uses = self.rewriter.uses
        self.replacements[old.serial] = new
        self.near[old.serial] = 0
        uses[new.serial] += uses[old.serial]
        for t in made:
            for i in t.inputs:
                uses[i.serial] += 1
        unused = [old]
        while unused:
            for i in unused.pop().inputs:
                uses[i.serial] -= 1
                if not uses[i.serial]:
                    unused.append(i)

    def is_near(self, t: Tensor) -> bool:
        """Whether a node has changed, or something that patterns can see from it."""
        if t.serial in self.rewriter.changed:
            distance = 0
        else:
            distance = 1 + min([self.near.get(i.serial, self.far) for i in t.inputs], default=self.far)
        if distance < self.far:
            self.near[t.serial] = distance
        return distance <= self.sight.get(t.op, 0)

    def fired(self, t: Tensor, rules: Sequence[Rule]) -> Tensor | None:
        """What the first rule that fits makes of a node."""
        rewriter, inputs = self.rewriter, t.inputs
        for rule in rules:
            new = _tried(rewriter, rule, t) if rule.pattern.may_match(inputs) else None
            if new is not None:
                rewriter.log.append(Firing(self.phase, rule.name, t))
                return new
        return None


def _tried(rewriter: Rewriter, rule: Rule, t: Tensor) -> Tensor | None:
    bindings: Bindings = {}
    if not _matches(rule.pattern, t, bindings):
        return None
    if rule.condition is not None and not rule.condition(rewriter, t, bindings):
        return None
    return inside(t, lambda: rule.replacement(t, **bindings))


def _matches(pattern: Any, t: Tensor, bindings: Bindings) -> bool:
    """Whether a pattern, which is as deep as its author wrote it, fits a node."""
    if type(pattern) is str:
        return bindings.setdefault(pattern, t) is t
    if type(pattern) is number:
        value = uniform(t)
        return value == pattern.value and copysign(1, value) == copysign(1, pattern.value)
    if t.op is not pattern.op:
        return False
    if pattern.bind:
        bindings[pattern.bind] = t
    if pattern.inputs == (...,):
        return True
    if len(t.inputs) != len(pattern.inputs):
        return False
    for p, i in zip(pattern.inputs, t.inputs):
        if bindings.setdefault(p, i) is not i if type(p) is str else not _matches(p, i, bindings):
            return False
    return True


def uniform(t: Tensor) -> Any:
    """The number that a constant holds everywhere, else None."""
    if t.op is BROADCAST:
        t = t.inputs[0]
    if type(t.data) is np.ndarray and t.data.size == 1:
        return t.data.item()
    return None


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple([(k, _frozen(v)) for k, v in value.items()])
    if type(value) is tuple and set(map(type, value)) == {int}:
        return value
    if isinstance(value, tuple | list):
        return tuple([_frozen(v) for v in value])
    if isinstance(value, slice):
        return "slice", value.start, value.stop, value.step
    if isinstance(value, float):
        return repr(value)  # 0.0 and -0.0 differ, NaN equals itself
    return value
