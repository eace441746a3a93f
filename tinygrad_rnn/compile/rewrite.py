"""Rules as data, and the driver that applies them.

A rule is a pattern, a condition and a replacement. Patterns are small trees: ``P("matmul", P("transpose", "x"), "w")``
matches a matmul node over a transpose node and binds the names; a name that occurs twice must be the same node. The
replacement is written in tensor operations, and is recorded at the place of the node that it replaces.

Every node is made after its inputs, so serial numbers are a topological order before and after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import copysign
from typing import Any

import numpy as np

from ..graph import reach
from ..ops import index, linalg, neural  # noqa: F401  (patterns name their ops)
from ..ops.core import registry
from ..ops.shape import BROADCAST
from ..tensor import Tensor, describe, leaf
from .capture import inside, remake
from .internal import INTERNAL

__all__ = ["Firing", "GroupRule", "P", "Rewriter", "Rule", "number", "rewrite"]

Bindings = dict[str, Tensor]


class P:
    """A pattern: op name, patterns of the inputs, and a name for the node itself.

    A string as an input binds a name to whatever is there; ``...`` alone stands for any inputs, `some` of which is of
    the op of that name.
    """

    def __init__(self, op: str, *inputs: Any, bind: str = "", some: str = "") -> None:
        self.op = registry.get(op) or INTERNAL[op]
        self.inputs, self.bind = inputs, bind
        self.below = [(k, p.op) for k, p in enumerate(inputs) if type(p) is P]
        self.numbers = [k for k, p in enumerate(inputs) if type(p) is number]
        self.some = registry[some] if some else None

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
        return f"{self.op.name}({', '.join(map(str, self.inputs))})"


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

    Attributes
    ----------
    roots : list of Tensor
    nodes : tuple of Tensor
        In topological order.
    uses : Counter
        How many inputs and roots each node is, by serial number.
    rank : dict
        Position in the program, by serial number, of nodes that replace others.
    log : list of Firing
    """

    roots: list[Tensor]
    log: list[Firing] = field(default_factory=list)
    rank: dict[int, float] = field(default_factory=dict)
    nodes: tuple[Tensor, ...] = ()
    uses: Counter[int] = field(default_factory=Counter)
    unseen: bool = False  # whether rules made nodes that no rule has looked at
    tried: dict[str, set[int]] = field(default_factory=dict)  # nodes that the rules of a phase have looked at
    keys: dict[int, Any] = field(default_factory=dict)  # equal for nodes of equal value
    frozen: dict[int, Any] = field(default_factory=dict)  # parameters of ops, and what stands for them in the keys

    def __post_init__(self) -> None:
        self.refresh()
        self.rank = {t.serial: t.serial for t in self.nodes}

    def refresh(self) -> None:
        self.nodes = reach(self.roots)
        self.uses = Counter([i.serial for t in self.nodes for i in t.inputs])
        self.uses.update(t.serial for t in self.roots)

    def replace(self, replacements: dict[int, Tensor]) -> None:
        """Put other nodes in place of some, and make their consumers anew."""
        done: dict[int, Tensor] = {}
        stack = list(self.roots)
        while stack:
            t = stack[-1]
            other = replacements.get(t.serial)
            missing = [i for i in ((other,) if other is not None else t.inputs) if i.serial not in done]
            if missing and t.serial not in done:
                stack += missing
                continue
            stack.pop()
            if t.serial not in done:
                new = done[t.serial] = self.remade(t, done) if other is None else done[other.serial]
                self.note_rank(t, new)
        self.roots = [done[t.serial] for t in self.roots]
        self.refresh()

    def position(self, t: Tensor) -> float:
        """Where in the program a node was recorded, or the one that it replaces."""
        return self.rank.get(t.serial, t.serial)

    def remade(self, t: Tensor, mapping: dict[int, Tensor]) -> Tensor:
        for i in t.inputs:
            if mapping.get(i.serial, i) is not i:
                return remake(t, tuple([mapping.get(i.serial, i) for i in t.inputs]))
        return t

    def note_ranks(self, old: Tensor, new: Tensor) -> None:
        """All that a rule made is computed where the old node was; below its root no rule has looked yet."""
        work = [new]
        while work:
            t = work.pop()
            if t.serial not in self.rank:
                self.note_rank(old, t)
                self.unseen = self.unseen or (t is not new and bool(t.inputs))
                work += [i for i in t.inputs if i.serial > old.serial]

    def note_rank(self, old: Tensor, new: Tensor) -> None:
        """The new node is computed where the old one was."""
        if old is not new and new.inputs and old.serial in self.rank:
            self.rank.setdefault(new.serial, self.rank[old.serial])


def rewrite(
    rewriter: Rewriter,
    phase: str,
    rules: Sequence[Rule],
    groups: Sequence[GroupRule] = (),
    known: Sequence[Rule] = (),
) -> None:
    """Apply the rules of a phase until none fires.

    A node is looked at once by the rules of a phase; what comes of a change is new, and is looked at again. Rules that
    are `known` have looked at all nodes that there were before.
    """
    local, new = _by_op(rules), _by_op([*known, *rules])
    before = {t.serial for t in rewriter.nodes} if known else set()
    for _ in range(_MOST_ROUNDS):
        rewriter.unseen = False
        _sweep(rewriter, phase, new, local, before)
        together = len(rewriter.log)
        for group in groups:
            while _apply_group(rewriter, phase, group):
                pass
        if len(rewriter.log) == together and not rewriter.unseen:
            return


_MOST_ROUNDS = 50


def _by_op(rules: Sequence[Rule]) -> dict[str, list[Rule]]:
    local: dict[str, list[Rule]] = {}
    for rule in rules:
        local.setdefault(rule.pattern.op.name, []).append(rule)
    return local


def _apply_group(rewriter: Rewriter, phase: str, rule: GroupRule) -> bool:
    found = rule.find(rewriter)
    if found:
        by_serial = {t.serial: t for t in rewriter.nodes}
        rewriter.log += [Firing(phase, rule.name, by_serial[s]) for s in found]
        rewriter.replace(found)
    return bool(found)


def _sweep(
    rewriter: Rewriter, phase: str, rules: dict[str, list[Rule]], fewer: dict[str, list[Rule]], before: set[int]
) -> None:
    """One walk over the nodes; equal nodes become one, constants are folded. Those of `before` need `fewer` rules."""
    mapping: dict[int, Tensor] = {}
    known: dict[Any, Tensor] = {}
    tried = rewriter.tried.setdefault(phase, set())
    keys = rewriter.keys
    for t in rewriter.nodes:
        new = rewriter.remade(t, mapping)
        if new is not t:
            rewriter.uses[new.serial] = rewriter.uses[t.serial]
            rewriter.note_rank(t, new)
        if new.serial not in tried:
            new = _simplified(rewriter, phase, fewer if new.serial in before else rules, rules, new)
            tried.add(new.serial)
        if new.serial in keys:
            key = keys[new.serial]
        else:
            key = keys[new.serial] = _key(new, rewriter.frozen)
        if key is not None:
            new = known.setdefault(key, new)
        if new is not t:
            rewriter.note_rank(t, new)
        mapping[t.serial] = new
    rewriter.roots = [mapping[t.serial] for t in rewriter.roots]
    rewriter.refresh()


def _simplified(
    rewriter: Rewriter, phase: str, first: dict[str, list[Rule]], rules: dict[str, list[Rule]], t: Tensor
) -> Tensor:
    for k in range(20):
        new = _first(rewriter, (rules if k else first).get(t.op.name, ()), t)
        if new is None:
            break
        rule, replacement = new
        rewriter.log.append(Firing(phase, rule.name, t))
        rewriter.uses[replacement.serial] += rewriter.uses[t.serial]
        rewriter.note_ranks(t, replacement)
        t = replacement
    if t.inputs and type(t.data) is np.ndarray:
        t = inside(t, lambda: leaf(t.data))
    return t


def _first(rewriter: Rewriter, rules: Sequence[Rule], t: Tensor) -> tuple[Rule, Tensor] | None:
    inputs = t.inputs
    for rule in rules:
        if rule.pattern.may_match(inputs):
            found = _tried(rewriter, rule, t)
            if found is not None:
                return rule, found
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
    return all(_matches(p, i, bindings) for p, i in zip(pattern.inputs, t.inputs, strict=True))


def uniform(t: Tensor) -> Any:
    """The number that a constant holds everywhere, else None."""
    if t.op.name == "broadcast_to":
        t = t.inputs[0]
    if type(t.data) is np.ndarray and t.data.size == 1:
        return t.data.item()
    return None


def _key(t: Tensor, frozen: dict[int, Any]) -> Any:
    """Equal for nodes of equal value; None for what must be computed each time, and for large constants."""
    if not t.inputs:
        if type(t.data) is not np.ndarray or t.data.size > 64:
            return None
        return t.data.dtype, t.data.shape, t.data.tobytes()
    if "generator" in t.params:
        return None
    if not t.params:
        return t.op, tuple([i.serial for i in t.inputs])
    known = frozen.get(id(t.params))
    if known is None:
        known = frozen[id(t.params)] = t.params, _frozen(t.params)
    return t.op, tuple([i.serial for i in t.inputs]), known[1]


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple([(k, _frozen(v)) for k, v in value.items()])
    if isinstance(value, tuple | list):
        return tuple([_frozen(v) for v in value])
    if isinstance(value, slice):
        return "slice", value.start, value.stop, value.step
    if isinstance(value, float):
        return repr(value)  # 0.0 and -0.0 differ, NaN equals itself
    return value
