"""The gradient as a sum over paths: each way from the loss to a weight is a product of local Jacobians.

Nodes of the paths are the named quantities of a model, as in its equations; what the user did not name is part of the
step between two of them. Paths are found one by one when they are asked for, and counted without being found.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import numpy as np

from ..errors import DisconnectedError, GradientError, fail
from ..graph import graph
from ..symbolic.derive import Derivation
from ..symbolic.expr import Expr, Symbol, Values, evaluate, substituted
from ..symbolic.quantities import Quantities
from ..symbolic.rules import simplified
from ..symbolic.write import Writer
from ..tensor import Tensor, describe

__all__ = ["Path", "Paths", "paths"]

SHOWN = 20
LONGEST = 40  # steps of a path that is written out


class Path:
    """One way from a loss to a weight.

    Attributes
    ----------
    symbols : tuple of Symbol
        The quantities on the way, from the loss to the weight.
    """

    def __init__(self, whole: Paths, serials: tuple[int, ...]) -> None:
        self._whole, self._serials = whole, serials
        self.symbols: tuple[Symbol, ...] = tuple(whole.symbol(s) for s in serials)

    def __len__(self) -> int:
        """The number of its Jacobians."""
        return len(self._serials) - 1

    def __str__(self) -> str:
        return " → ".join(map(str, self.symbols))

    def __repr__(self) -> str:
        return f"<Path {self}>"

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The nodes of the recorded graph that it goes through."""
        return tuple(t for s in self._serials if (t := self._whole.recorded(s)) is not None)

    def product(self, form: str = "unicode") -> str:
        """Its Jacobians, as ``∂L/∂h₂ ∂h₂/∂h₁ ∂h₁/∂W``."""
        writer = Writer(form)
        names = [writer.text(s) for s in self.symbols]
        return " ".join(writer.form.derivative(a, b) for a, b in pairwise(names))

    @property
    def expression(self) -> Expr:
        """The product with each Jacobian written out, in values of the forward pass alone.

        Raises
        ------
        ValueError
            For a path of more steps than one can read.
        """
        if len(self) > LONGEST:
            raise fail(ValueError, f"expression: a path of {len(self)} steps", expected=f"at most {LONGEST}",
                       hint="product() names its Jacobians, and value is their product in numbers")  # fmt: skip
        d = self._whole.derivation
        e: Expr | None = None
        for user, serial in pairwise(self._serials):
            step = self._whole.step(user, serial)
            e = step if e is None else simplified(substituted(step, {d.derivative(user): e}))
        assert e is not None
        return e

    @property
    def value(self) -> np.ndarray:
        """Its part of the gradient, of the shape of the weight."""
        g: Any = None
        for user, serial in pairwise(self._serials):
            g = self._whole.through(user, serial, g)
        return self._whole.embedded(self._serials[-1], g)


class Paths:
    """All ways from a loss to a weight; iterating finds them one by one, the direct ones first.

    Attributes
    ----------
    count : int
        How many there are; exact, however many.
    """

    def __init__(self, derivation: Derivation, loss: Tensor, weight: Tensor, blocks: Iterable[int]) -> None:
        self.derivation, self._weight = derivation, weight
        self._loss = loss.serial
        self._steps: dict[tuple[int, int], Expr] = {}
        self._ends = {weight.serial, *blocks}
        self._ways = self._counted()
        self.count = self._ways.get(self._loss, 0)

    def symbol(self, serial: int) -> Symbol:
        """What a quantity is called."""
        return self.derivation.q.symbols[serial]

    def recorded(self, serial: int) -> Tensor | None:
        """The node that the user's graph has for a quantity; None for a block of a weight and the like."""
        return self.derivation.q.recorded.get(serial)

    def _next(self, serial: int) -> list[int]:
        """The quantities that a step from one can lead to, those nearest to the weight first."""
        local = self.derivation.q.locals.get(serial)
        if local is None or serial in self._ends:
            return []
        found = [s for s in local.place if s in self._ways and self.derivation.leads(serial, s)]
        return sorted(found, key=self._away.__getitem__)

    def _counted(self) -> dict[int, int]:
        """For every quantity with a way to the weight how many there are; `_away` keeps how long the shortest is."""
        q, d = self.derivation.q, self.derivation
        ways = dict.fromkeys(self._ends & d.moving, 1)
        self._away = dict.fromkeys(ways, 0)
        for t in q.nodes:
            local = q.locals.get(t.serial)
            if local is None or t.serial not in d.moving or t.serial in ways:
                continue
            reached = [s for s in local.place if s in ways and d.leads(t.serial, s)]
            if reached:
                ways[t.serial] = sum(ways[s] for s in reached)
                self._away[t.serial] = 1 + min(self._away[s] for s in reached)
        return ways

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Path]:
        trail = [self._loss]
        choices = [iter(self._next(self._loss))]
        while choices:
            serial = next(choices[-1], None)
            if serial is None:
                choices.pop()
                trail.pop()
            elif serial in self._ends:
                yield Path(self, (*trail, serial))
            else:
                trail.append(serial)
                choices.append(iter(self._next(serial)))

    # Values -----------------------------------------------------------------------------------------------------------

    @cached_property
    def _values(self) -> dict[Symbol, Any]:
        q = self.derivation.q
        return {q.symbols[s]: v for s, v in q.values().items() if s in q.symbols}

    def step(self, user: int, serial: int) -> Expr:
        """What :meth:`through` computes, as an expression."""
        if (user, serial) not in self._steps:
            e = self.derivation.edge(user, serial)
            assert e is not None
            self._steps[user, serial] = e
        return self._steps[user, serial]

    def through(self, user: int, serial: int, g: Any) -> Any:
        """The derivative by a quantity that comes through one computed from it, given the derivative by that."""
        d = self.derivation
        e = self.step(user, serial)
        known = self._values if g is None else ChainMap({d.derivative(user): g}, self._values)
        node = d.q.node(serial)
        return np.broadcast_to(evaluate(e, Values(known, node.dtype)), node.shape)

    def embedded(self, end: int, g: Any) -> np.ndarray:
        """The part of the gradient that a path to a block of the weight gives, at its place."""
        node = self.derivation.q.node(end)
        if node is self._weight:
            return np.array(g)
        whole = np.zeros(self._weight.shape, self._weight.dtype)
        whole[node.params["index"]] = g
        return whole

    def sum(self) -> np.ndarray:
        """The sum of the values of all paths, which is the gradient; each step is taken once, not once per path."""
        q = self.derivation.q
        flow: dict[int, Any] = {self._loss: None}
        total = np.zeros(self._weight.shape, self._weight.dtype)
        for t in reversed(q.nodes):
            if t.serial not in flow:
                continue
            for s in self._next(t.serial):
                g = self.through(t.serial, s, flow[t.serial])
                if s in self._ends:
                    total = total + self.embedded(s, g)
                else:
                    flow[s] = g if s not in flow else flow[s] + g
        return total

    # Text -------------------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        """The first paths, each with its Jacobians."""
        rows = [f"{p}:  {p.product()}" for p in islice(self, SHOWN)]
        more = self.count - len(rows)
        return "\n".join([*rows, f"… and {more} more"] if more else rows)

    def __repr__(self) -> str:
        ends = f"{self.symbol(self._loss)} to {self.derivation.q.symbols[self._weight.serial]}"
        return f"<{self.count} paths from {ends}>"


def paths(loss: Tensor, weight: Tensor) -> Paths:
    """The paths from a loss to a weight: the gradient is the sum of their products of local Jacobians.

    Parameters
    ----------
    loss : Tensor
        With one value.
    weight : Tensor
        A parameter, or anything else that `loss` was computed from.

    Returns
    -------
    Paths
        Of :class:`Path`, found when they are asked for; their number is known at once.

    Raises
    ------
    GradientError
        If the loss holds more than one value.
    DisconnectedError
        If it does not depend on the weight.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> W, h = tg.parameter([[0.5]], name="W"), tg.ones((1, 1)).named("h0")
    >>> for t in tg.steps(3):
    ...     h = tg.tanh(h @ W).named("h")
    >>> found = tg.bptt.paths(h.sum().named("L"), W)
    >>> print(found)
    L → h₃ → W:  ∂L/∂h₃ ∂h₃/∂W
    L → h₃ → h₂ → W:  ∂L/∂h₃ ∂h₃/∂h₂ ∂h₂/∂W
    L → h₃ → h₂ → h₁ → W:  ∂L/∂h₃ ∂h₃/∂h₂ ∂h₂/∂h₁ ∂h₁/∂W
    >>> print(next(iter(found)).expression, round(sum(p.value for p in found).item(), 6))
    h₂ᵀ (1 − h₃²) 0.624576
    """
    if not isinstance(loss, Tensor) or loss.size != 1 or not loss.is_float:
        raise fail(GradientError, "paths: the loss", expected="a float tensor with one value",
                   got=describe(loss) if isinstance(loss, Tensor) else type(loss).__name__)  # fmt: skip
    whole = graph(loss)
    if weight is loss or all(t is not weight for t in whole.nodes):
        raise _apart(loss, weight)
    q = Quantities(whole, kept=(weight,))
    blocks = [t.serial for t in q.nodes if q.roles.of.get(t.serial) == "block" and t.inputs[0] is q.kept[0]]
    found = Paths(Derivation(q, (q.kept[0].serial, *blocks)), q.outputs[0], q.kept[0], blocks)
    if not found.count:
        raise _apart(loss, weight)
    return found


def _apart(loss: Tensor, weight: Any) -> Exception:
    what = describe(weight) if isinstance(weight, Tensor) else f"a {type(weight).__name__}"
    return fail(DisconnectedError, f"paths: {describe(loss)} does not depend on {what}",
                hint="look for detach(), no_grad() and copies of the tensor on the way")  # fmt: skip
