"""One quantity and what its equation is made of: the expression, and the derivatives by each quantity in it.

The derivatives come from the engine: the few nodes between a quantity and those it is computed from are copied, and
pulled back by the rules of their operations, which gives a graph of gradient operations; that is read as an expression
and simplified. What looks alike in all time steps is worked out once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..grad.reverse import pull
from ..graph.walk import dependent, reach, uses
from ..ops.elementwise import greater, negative, relu, subtract
from ..ops.named import ops_named
from ..scope import recording
from ..tensor import CONSTANT, PLACEHOLDER, Spec, Tensor, leaf, record
from .convert import converted
from .cuts import is_number, uniform
from .expr import Expr, Node, Number, Params, Symbol, leaves, mapped, substituted
from .rules import make

__all__ = ["Local", "Pattern", "Patterns"]

SUMMING = ops_named("add", "subtract", "negative")


@dataclass(slots=True)
class Pattern:
    """What all quantities of one form have in common, with symbols ``#0``, ``#1`` for what they are computed from.

    Attributes
    ----------
    value : expression
    deltas : dict
        From symbols ``δ0``, ``δ1`` to derivatives by parts of the expression, which several derivatives use.
    slopes : dict
        For the number of each operand the derivative of the loss by it, from the derivative ``#g`` by the quantity.
    """

    value: Expr
    deltas: dict[Symbol, Expr] = field(default_factory=dict)
    slopes: dict[int, Expr] = field(default_factory=dict)


@dataclass(slots=True)
class Local:
    """A quantity, the quantities in its equation in order of occurrence, and the pattern of both."""

    node: Tensor
    operands: tuple[Tensor, ...]
    between: tuple[Tensor, ...]
    key: Any
    place: dict[int, int] = field(init=False)  # of each operand, by serial number

    def __post_init__(self) -> None:
        self.place = {t.serial: k for k, t in enumerate(self.operands)}


def slot(k: int, shape: tuple[int, ...] = ()) -> Symbol:
    return Symbol(f"#{k}", shape=shape)


class Patterns:
    """Patterns by form, each worked out when it is first seen."""

    def __init__(self) -> None:
        self._keys: dict[Any, int] = {}
        self._known: dict[int, Pattern] = {}
        self._derived: dict[tuple[int, bool], Pattern] = {}

    def local_of(self, node: Tensor, cut: Mapping[int, Any]) -> Local:
        """The part of the graph between a quantity and those that it is computed from; alike ones have one key."""
        local = local_of(node, cut)
        local.key = self._keys.setdefault(local.key, len(self._keys))
        return local

    def value(self, local: Local) -> Pattern:
        """The pattern, with the expression."""
        if local.key not in self._known:
            self._known[local.key] = Pattern(_expression(local))
        return self._known[local.key]

    def derived(self, local: Local, seed: bool = False) -> Pattern:
        """The pattern, with the derivatives too; `seed` says that the quantity is the loss, its own derivative 1."""
        key = (local.key, seed)
        if key not in self._derived:
            pattern = Pattern(self.value(local).value)
            _derive(local, pattern, seed)
            self._derived[key] = pattern
        return self._derived[key]


def local_of(node: Tensor, cut: Mapping[int, Any]) -> Local:
    """The part of the graph between a quantity and those that it is computed from."""
    between = reach([node], lambda t: [i for i in t.inputs if i.serial not in cut])
    order = {i.serial: i for t in between for i in t.inputs if i.serial in cut}
    found = Local(node, tuple(order.values()), between, None)
    found.key = _key(found)
    return found


def _key(local: Local) -> Any:
    """What decides the pattern: operations, their parameters, shapes, and how they are joined."""
    place = {t.serial: -1 - k for k, t in enumerate(local.operands)}
    parts: list[Any] = [tuple((t.shape, t.dtype.str) for t in local.operands)]
    for k, t in enumerate(local.between):
        place[t.serial] = k
        what = _leaf_key(t) if t.is_leaf else _params_key(t.params)
        parts.append((t.op, what, t.shape, tuple(place[i.serial] for i in t.inputs)))
    return tuple(parts)


def _params_key(params: dict[str, Any]) -> Any:
    return repr(params) if params else ""


def _leaf_key(t: Tensor) -> Any:
    return t.dtype.str, t.data.tobytes()


# Expressions ----------------------------------------------------------------------------------------------------------


def _expression(local: Local) -> Expr:
    symbols = {t.serial: slot(k, t.shape) for k, t in enumerate(local.operands)}
    return _read(local.between, symbols)[local.node.serial]


def _read(nodes: Sequence[Tensor], known: Mapping[int, Expr], wanted: Iterable[int] = ()) -> dict[int, Expr]:
    """Expressions of nodes that follow each other; sums of many terms are read at once, but for those `wanted`."""
    found: dict[int, Expr] = dict(known)
    used = uses(nodes)
    used.update(wanted)
    summed = _inner_sums(nodes, used, known)
    for t in nodes:
        if t.serial in found or t.serial in summed:
            continue
        if t.is_leaf:
            found[t.serial] = _constant(t)
        elif t.op in SUMMING:
            found[t.serial] = _terms(t, summed, found)
        else:
            found[t.serial] = converted(t, tuple([found[i.serial] for i in t.inputs]))
    return found


def _inner_sums(nodes: Sequence[Tensor], used: Counter[int], known: Mapping[int, Expr]) -> set[int]:
    """Sums that are used once, by another sum of the same shape."""
    return {
        i.serial
        for t in nodes
        if t.op in SUMMING
        for i in t.inputs
        if i.op in SUMMING and used[i.serial] == 1 and i.shape == t.shape and i.serial not in known
    }


def _terms(t: Tensor, summed: set[int], found: Mapping[int, Expr]) -> Expr:
    terms: list[Expr] = []
    stack = [(t, True)]
    while stack:
        node, positive = stack.pop()
        if node is not t and node.serial not in summed:
            e = found[node.serial]
            terms.append(e if positive else make("neg", e, shape=e.shape))
            continue
        signs = [positive, not positive] if node.op is subtract.op else [positive, positive]
        if node.op is negative.op:
            signs = [not positive]
        stack.extend(reversed(list(zip(node.inputs, signs))))
    return make("add", *terms, shape=t.shape)


def _constant(t: Tensor) -> Expr:
    if (is_number(t) or uniform(t)) and t.is_float:
        number = Number(float(t.data.reshape(-1)[0]))
        return make("broadcast", number, shape=t.shape) if t.shape else number
    return Node("constant", (), Params(f"{t.dtype} {t.data.tobytes()!r}", {"value": t.data}), t.shape)


# Derivatives ----------------------------------------------------------------------------------------------------------


def _derive(local: Local, pattern: Pattern, seed: bool) -> None:
    given = [leaf(t.spec, PLACEHOLDER) for t in local.operands]
    copies = _copied(local, given)
    root = copies[local.node.serial]
    if not root.is_float:
        return
    wanted = [k for k, t in enumerate(local.operands) if t.is_float]
    cotangent = leaf(Spec(root.shape, root.dtype), PLACEHOLDER)
    with recording():
        found = pull([root], [cotangent], [given[k] for k in wanted], True)
    slopes = {k: g for k, g in zip(wanted, found, strict=True) if g is not None}
    forward = _read(
        [copies[t.serial] for t in local.between], {g.serial: slot(k, g.shape) for k, g in enumerate(given)}
    )
    known = {**forward, root.serial: Symbol("#self", shape=root.shape)}
    one = make("broadcast", Number(1.0), shape=root.shape) if root.shape else Number(1.0)
    known[cotangent.serial] = one if seed else Symbol("#g", of="#", shape=root.shape)
    folds = _folds(root, forward)
    nodes = [t for t in reach(list(slopes.values())) if t.serial not in known]
    _read_slopes(nodes, known, slopes, cotangent, pattern, folds)


def _copied(local: Local, given: Sequence[Tensor]) -> dict[int, Tensor]:
    """The nodes between, on operands without a history."""
    copies = {t.serial: g for t, g in zip(local.operands, given, strict=True)}
    with recording():
        for t in local.between:
            if t.is_leaf:
                copies[t.serial] = t
                continue
            assert t.op.shape is not None
            inputs = tuple(copies[i.serial] for i in t.inputs)
            copies[t.serial] = record(t.op, inputs, t.params, t.spec)
    return copies


def _folds(root: Tensor, forward: Mapping[int, Expr]) -> dict[Expr, Expr]:
    """What can be said by the result instead: where ``relu(a)`` is positive, a is."""
    if root.op is not relu.op:
        return {}
    sign = lambda x: Node("call", (x, Number(0.0)), Params("greater()", {}, greater.op), root.shape)
    return {sign(forward[root.inputs[0].serial]): sign(Symbol("#self", shape=root.shape))}


def _read_slopes(
    nodes: Sequence[Tensor],
    known: dict[int, Expr],
    slopes: Mapping[int, Tensor],
    cotangent: Tensor,
    pattern: Pattern,
    folds: Mapping[Expr, Expr],
) -> None:
    """Derivatives by the operands; what depends on that by the quantity and is used by several gets a name, δ."""
    moving = dependent(nodes, {cotangent.serial})
    used = Counter(i.serial for t in nodes for i in {i.serial: i for i in t.inputs}.values())
    used.update(g.serial for g in slopes.values())
    shared = [t for t in nodes if t.serial in moving and used[t.serial] > 1 and t.op not in _PLAIN]
    if not isinstance(known[cotangent.serial], Symbol):
        shared = []  # the loss itself: what its derivatives share are numbers
    start: dict[int, Expr] = dict(known)
    for t in shared:
        e = _last(nodes, start, t, folds)
        if isinstance(e, Node) and e.kind in ("mul", "add", "div", "call") and _is_proper(e):
            name = Symbol(f"#d{len(pattern.deltas)}", shape=t.shape)
            pattern.deltas[name] = e
            start[t.serial] = name
    read = _read(nodes, start, [g.serial for g in slopes.values()])
    for k, g in slopes.items():
        pattern.slopes[k] = substituted(read[g.serial], folds) if folds else read[g.serial]


def _last(nodes: Sequence[Tensor], known: Mapping[int, Expr], t: Tensor, folds: Mapping[Expr, Expr]) -> Expr:
    e = _read([n for n in nodes if n.serial <= t.serial], known, [t.serial])[t.serial]
    return substituted(e, folds) if folds else e


def _is_proper(e: Node) -> bool:
    """Whether it is more than the derivative by the quantity with a sign or a number."""
    return len(list(leaves(e))) > 1


_PLAIN = ops_named("reshape", "broadcast_to", "transpose", "negative", "slice", "cast", "assemble", "index", "sum")


def instantiated(e: Expr, symbols: Mapping[str, Symbol]) -> Expr:
    """A pattern's expression with the symbols of one quantity."""
    return mapped(e, lambda s: symbols.get(s.base, s))


def zero_like(t: Tensor) -> bool:
    """Whether a leaf is a constant zero."""
    return t.op is CONSTANT and not t.is_symbolic and not np.any(t.data)
