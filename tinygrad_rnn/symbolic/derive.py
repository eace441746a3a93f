"""The equations of a model, one for each quantity: forward, and backward as the chain rule gives them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, count
from typing import Any

from ..errors import GradientError, fail
from ..tensor import PARAMETER, Tensor
from .expr import Expr, Node, Number, Symbol, leaves, size, substituted
from .local import Local, Pattern, instantiated, zero_like
from .quantities import Quantities
from .rules import make, simplified

__all__ = ["Derivation", "Line"]

INLINE = 14  # symbols and operations of a δ that is written out where it is used once
LOSSES = ("L", "E", "J", "Loss")


@dataclass(frozen=True, slots=True)
class Line:
    """One equation of one time step.

    Attributes
    ----------
    left : Symbol
    right : expression
    kind : "forward", "start", "derivative", "delta" or "gradient"
    chain : expression or None
        Of derivatives: the chain rule before anything is put in.
    """

    left: Symbol
    right: Expr
    kind: str
    chain: Expr | None = None


class Derivation:
    """Forward and backward equations of a graph.

    Parameters
    ----------
    quantities : Quantities
    wrt : iterable of int
        Serial numbers of what to differentiate by; parameters by default, or float data where there are none.
    """

    def __init__(self, quantities: Quantities, wrt: Iterable[int] = ()) -> None:
        self.q = quantities
        self._wrt = set(wrt)
        self._own: dict[int, dict[str, Symbol]] = {}  # symbols of what a quantity is made of, and of its derivatives
        self._symbols = quantities.symbols

    # Forward ----------------------------------------------------------------------------------------------------------

    def forward(self) -> Iterator[Line]:
        """One line for each computed quantity, and for states that begin with zeros."""
        for t in self.q.nodes:
            if t.serial in self.q.locals:
                yield Line(self._symbols[t.serial], self.value(t.serial), "forward")
            elif t.serial in self.q.aliases and self.q.is_start(t.serial) and zero_like(t):
                yield Line(self._symbols[t.serial], Number(0.0), "start")

    def value(self, serial: int) -> Expr:
        """What a quantity is computed from."""
        local = self.q.locals[serial]
        return instantiated(self.q.patterns.value(local).value, self._operands(local))

    def _operands(self, local: Local) -> dict[str, Symbol]:
        return {f"#{k}": self._symbols[t.serial] for k, t in enumerate(local.operands)}

    # What is differentiated -------------------------------------------------------------------------------------------

    @cached_property
    def loss(self) -> Tensor | None:
        """The output that is a single number, if there is one."""
        outputs = self.q.outputs
        numbers = [t for t in outputs if t.size == 1 and t.is_float and (not t.shape or len(outputs) == 1)]
        return numbers[0] if len(numbers) == 1 else None

    @cached_property
    def ends(self) -> list[Tensor]:
        """What is differentiated: the loss, or all outputs."""
        return [self.loss] if self.loss is not None else [t for t in self.q.outputs if t.is_float]

    @cached_property
    def _open(self) -> set[int]:
        """Outputs that derivatives come to from outside."""
        return set() if self.loss is not None else {t.serial for t in self.ends}

    @cached_property
    def of(self) -> str:
        """What the loss is called, also where the model has none."""
        if self.loss is not None:
            return self._symbols[self.loss.serial].base
        return self._unused(*LOSSES)

    @cached_property
    def moving(self) -> set[int]:
        """Quantities that depend on what is differentiated by; those have derivatives."""
        floats = {t.serial for t in self.q.nodes if t.is_float and t.serial in self._symbols}
        roots = self._wrt or {s for s in floats if self._is_parameter(s)}
        found = set(roots or floats - self.q.locals.keys())
        for t in self.q.nodes:
            operands = self.q.locals[t.serial].place if t.serial in self.q.locals and t.serial in floats else ()
            if any(s in found for s in operands):
                found.add(t.serial)
        return found & self._upstream

    def _is_parameter(self, serial: int) -> bool:
        t = self.q.node(serial)
        return t.op is PARAMETER or (t.serial not in self.q.locals and bool(t.inputs) and t.inputs[0].op is PARAMETER)

    @cached_property
    def _upstream(self) -> set[int]:
        """Quantities that a float output is computed from, by operations that have a gradient."""
        found = {t.serial for t in self.ends}
        for t in reversed(self.q.nodes):
            if t.serial in found and t.serial in self.q.locals:
                local = self.q.locals[t.serial]
                slopes = self._pattern(local).slopes
                found.update(o.serial for k, o in enumerate(local.operands) if k in slopes)
        return found

    def _pattern(self, local: Local) -> Pattern:
        return self.q.patterns.derived(local, local.node is self.loss)

    # Backward ---------------------------------------------------------------------------------------------------------

    def backward(self) -> Iterator[Line]:
        """Derivatives by quantities from the last to the first, then those by parameters.

        Raises
        ------
        GradientError
            If no output depends on anything that can be differentiated by.
        """
        if not self.moving - {t.serial for t in self.ends}:
            raise fail(
                GradientError, "equations: there is nothing to differentiate by",
                hint="the outputs depend on no parameter and on no float data through differentiable operations",
            )  # fmt: skip
        last = []
        for t in reversed(self.q.nodes):
            if t.serial not in self.moving or t is self.loss:
                continue
            if t.serial in self.q.locals:
                yield from self._lines(t)
            else:
                last.append(t)
        for t in reversed(last):
            terms = list(self.terms(t.serial))
            if terms:
                yield self._total(t, terms, "gradient")

    def _lines(self, t: Tensor) -> Iterator[Line]:
        terms = list(self.terms(t.serial))
        if terms:
            line = self._total(t, terms, "derivative")
            yield replace(line, right=self._inlined(line))
        for name, e in self.deltas(t.serial).items():
            yield Line(name, e, "delta")

    def _total(self, t: Tensor, terms: list[tuple[Tensor | None, Expr]], kind: str) -> Line:
        left = self.derivative(t.serial)
        chain = [self._chained(u, t, e) for u, e in terms]
        right = make("add", *(e for _, e in terms), shape=t.shape)
        through = any(u is not None for u, _ in terms)
        return Line(left, right, kind, make("add", *chain, shape=t.shape) if through else None)

    def _chained(self, u: Tensor | None, t: Tensor, e: Expr) -> Expr:
        """The term of the chain rule that comes through u, which evaluates to what it stands for."""
        if u is None:
            return e
        outer: tuple[Expr, ...] = () if u is self.loss else (self.derivative(u.serial),)
        inner = replace(self._symbols[t.serial], of="")
        return Node("chain", (e, *outer, self._symbols[u.serial], inner), shape=t.shape)

    def derivative(self, serial: int) -> Symbol:
        """The symbol of the derivative of the loss by a quantity."""
        return self._symbols[serial].derivative(self.of)

    def given(self, serial: int) -> Symbol:
        """The derivative that comes to an output from outside: the whole of it unless the model uses it as well."""
        s = self._symbols[serial]
        if s.family not in self._used_outputs:
            return self.derivative(serial)
        return replace(s, base=self._unused("ε", "e"), sup=_mark(s, self._used_outputs))

    def _unused(self, *names: str) -> str:
        """The first of several names that no quantity has."""
        numbered = (f"{names[0]}_{k}" for k in count())
        return next(n for n in chain(names, numbered) if n not in self._taken)

    @cached_property
    def _taken(self) -> set[str]:
        return {s.base for s in self._symbols.values()}

    @cached_property
    def _used_outputs(self) -> set[Symbol]:
        used = [t for t in self.ends if any(u.serial in self.moving for u in self.q.consumers.get(t.serial, ()))]
        return {self._symbols[t.serial].family for t in used}

    def terms(self, serial: int) -> Iterator[tuple[Tensor | None, Expr]]:
        """What comes to a quantity through each that is computed from it, those of its own time step first."""
        if serial in self._open and self.given(serial) != self.derivative(serial):
            yield None, self.given(serial)
        users = [u for u in self.q.consumers.get(serial, ()) if u.serial in self.moving]
        for u in sorted(users, key=self._by_time if self.q.times[serial] is None else self._by_distance(serial)):
            e = self.slope(u.serial, serial)
            if e is not None:
                yield u, e

    def _by_distance(self, serial: int) -> Any:
        own = self.q.times[serial]

        def distance(u: Tensor) -> tuple[int, int]:
            time = self.q.times[u.serial]
            return (0 if time is None or own is None else abs(time - own)), u.serial

        return distance

    def _by_time(self, u: Tensor) -> tuple[int, int]:
        """Quantity by quantity, each in order of time."""
        return self._order[self._symbols[u.serial].family], self.q.times[u.serial] or 0

    @cached_property
    def _order(self) -> dict[Symbol, int]:
        order: dict[Symbol, int] = {}
        for t in self.q.nodes:
            if t.serial in self.q.locals:
                order.setdefault(self._symbols[t.serial].family, t.serial)
        return order

    def slope(self, user: int, serial: int) -> Expr | None:
        """The derivative by a quantity through one that is computed from it, in terms of the derivative by that."""
        local = self.q.locals[user]
        pattern = self._pattern(local)
        k = local.place[serial]
        if k not in pattern.slopes:
            return None
        return self._without_rare(user, instantiated(pattern.slopes[k], self._all_symbols(local)))

    def leads(self, user: int, serial: int) -> bool:
        """Whether a derivative goes from one quantity to one that it is computed from."""
        local = self.q.locals[user]
        return local.place[serial] in self._pattern(local).slopes

    def edge(self, user: int, serial: int) -> Expr | None:
        """As :meth:`slope`, with every δ written out."""
        e = self.slope(user, serial)
        symbols = self._all_symbols(self.q.locals[user])
        deltas = self._pattern(self.q.locals[user]).deltas
        parts: dict[Expr, Expr] = {symbols[n.base]: instantiated(d, symbols) for n, d in deltas.items()}
        while e is not None and any(s in parts for s in leaves(e)):
            e = simplified(substituted(e, parts))
        return e

    def _all_symbols(self, local: Local) -> dict[str, Symbol]:
        serial = local.node.serial
        if serial not in self._own:
            symbols = self._operands(local)
            symbols["#self"], symbols["#g"] = self._symbols[serial], self.derivative(serial)
            self._own[serial] = symbols | self._delta_symbols(serial)
        return self._own[serial]

    # Derivatives by what has no name of its own -----------------------------------------------------------------------

    @cached_property
    def _shared(self) -> dict[Any, set[str]]:
        """For each quantity, over all time steps, which of its δ are used more than once."""
        found: dict[Any, set[str]] = defaultdict(set)
        for serial, local in self.q.locals.items():
            if serial not in self.moving:
                continue
            pattern = self._pattern(local)
            if not pattern.deltas:
                continue
            wanted = [e for k, e in pattern.slopes.items() if local.operands[k].serial in self.moving]
            counts = Counter(s.base for e in [*wanted, *pattern.deltas.values()] for s in leaves(e))
            found[self._symbols[serial].family] |= {d.base for d in pattern.deltas if counts[d.base] > 1}
        return found

    @cached_property
    def _delta_bases(self) -> set[Symbol]:
        return {family for family, names in self._shared.items() if names}

    def _delta_symbols(self, serial: int) -> dict[str, Symbol]:
        s = self._symbols[serial]
        name, sup = self._unused("δ", "Δ"), _mark(s, self._delta_bases)
        pattern = self._pattern(self.q.locals[serial])
        return {
            d.base: Symbol(name, (*sup, *(("′" * k,) if k else ())), s.block, s.time, shape=d.shape)
            for k, d in enumerate(pattern.deltas)
        }

    def deltas(self, serial: int) -> dict[Symbol, Expr]:
        """The δ of a quantity that are used more than once."""
        local = self.q.locals[serial]
        pattern, symbols = self._pattern(local), self._all_symbols(local)
        kept = self._shared[self._symbols[serial].family]
        return {
            symbols[d.base]: self._without_rare(serial, instantiated(e, symbols))
            for d, e in pattern.deltas.items()
            if d.base in kept
        }

    def _without_rare(self, serial: int, e: Expr) -> Expr:
        """With every δ written out that is used only once."""
        local = self.q.locals[serial]
        if not self._pattern(local).deltas:
            return e
        kept, symbols = self._shared[self._symbols[serial].family], self._all_symbols(local)
        deltas = self._pattern(local).deltas.items()
        parts: dict[Expr, Expr] = {symbols[d.base]: instantiated(x, symbols) for d, x in deltas if d.base not in kept}
        while any(s in parts for s in leaves(e)):
            e = simplified(substituted(e, parts))
        return e

    def _inlined(self, line: Line) -> Expr:
        """With the δ of another time step written out if there is but one, as notes do."""
        e = line.right
        found = [s for s in leaves(e) if s in self._definitions]
        if len(found) != 1 or found[0].time in (None, line.left.time) or size(self._definitions[found[0]]) > INLINE:
            return e
        return simplified(substituted(e, {found[0]: self._definitions[found[0]]}))

    @cached_property
    def _definitions(self) -> dict[Symbol, Expr]:
        return {s: e for n in self.q.locals if n in self.moving for s, e in self.deltas(n).items()}


def _mark(s: Symbol, families: set[Symbol]) -> tuple[str, ...]:
    """What marks a δ or ε as that of a quantity: its name too, where others of other names have one."""
    return s.sup if len({x.base for x in families}) == 1 else (s.base, *s.sup)
