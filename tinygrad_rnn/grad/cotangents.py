"""Running sums of cotangents, by serial number: what flows between the nodes of a backward pass.

As arrays, where nothing is recorded: elementwise rules run as fused kernels, and contributions are added in place. As
tensors, where the rules' operations become nodes that can be differentiated again. Un-broadcasting and accumulation
happen here and in no rule; a rule may give None for an input that it sends nothing to.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..errors import anomaly
from ..kernels.compensated import FEW
from ..kernels.sums import add_up
from ..ops import reduce, shape
from ..ops.create import zeros_like
from ..ops.elementwise import add, identity_rule, zero_rule
from ..ops.index import Placed, add_at, assemble
from ..ops.linalg import Product
from ..tensor import Tensor, describe, leaf

__all__ = ["ADD", "Arrays", "Tensors", "Watched", "through"]


def through(node: Tensor, i: int, rule: Any, g: np.ndarray) -> Any:
    """What input `i` of an elementwise operation gets for the cotangent `g`."""
    if rule is zero_rule:
        return np.zeros(node.shape, g.dtype)
    fused = node.op.kernels.rule(i, g.dtype)
    if fused is None:
        return rule(leaf(g), node, *node.inputs)
    kernel, takes = fused
    return kernel(*[g if k == 0 else node.data if k == 1 else node.inputs[k - 2].data for k in takes])


class Parts:
    """Partial sums of one cotangent, each of few addends, so that errors do not grow with the number of time steps."""

    def __init__(self) -> None:
        self.levels: list[list[Any]] = []  # for each level the sums of the one before: none is ever a long row

    def keep(self, total: Any) -> None:
        for level in self.levels:
            level.append(total)
            if len(level) < FEW:
                return
            total = _added(level)
            level.clear()
        self.levels.append([total])

    def total(self, rest: Any) -> Any:
        """All of them, in the order in which they came, and the rest, which may be None."""
        return _added([part for level in reversed(self.levels) for part in level] + ([] if rest is None else [rest]))


def _added(addends: list[Any]) -> Any:
    total = addends[0]
    for part in addends[1:]:
        total = add(total, part) if type(part) is Tensor else np.asarray(ADD[part.dtype](total, part))
    return total


class Arrays:
    """Sums as arrays."""

    def __init__(self) -> None:
        self.sums: dict[int, np.ndarray] = {}
        self.owned: dict[int, float] = {}  # sums made here, which may be added to in place: addends of an entry so far
        self.parts: dict[int, Parts] = {}  # of sums with many addends
        self.products: dict[int, list[Product]] = {}  # of weights; multiplied out together

    def pop(self, node: Tensor) -> np.ndarray | None:
        serial = node.serial
        if serial in self.products:
            self._multiply_out(node)
        total = self.sums.pop(serial, None)
        return self.parts.pop(serial).total(total) if serial in self.parts else total

    def pull_back(self, node: Tensor, g: np.ndarray, active: Any) -> None:
        op, inputs = node.op, node.inputs
        rules: Any = op.vjp
        if op.kernels is not None and type(rules) is tuple:
            for i, t in enumerate(inputs):
                if t.serial in active:
                    rule = rules[i]
                    self.add(t, g if rule is identity_rule else through(node, i, rule, g))
            return
        given: tuple[Any, ...]
        if op.plain:  # the rules can do with arrays
            given = (g, node.data, *[t.data for t in inputs])
        else:
            given = (leaf(g), node, *inputs)
        if type(rules) is tuple:
            for i, t in enumerate(inputs):
                if t.serial in active:
                    self.add(t, rules[i](*given, **node.params))
        else:
            wanted = [i for i, t in enumerate(inputs) if t.serial in active]
            for i, part in zip(wanted, rules(wanted, *given, **node.params), strict=True):
                if part is not None:
                    self.add(inputs[i], part)

    def add(self, t: Tensor, part: Any) -> None:
        if type(part) is not np.ndarray:
            if type(part) is Placed:
                return self._place(t, part)
            if type(part) is Product:
                return self._defer(t, part)
            part = part.data if type(part) is Tensor else np.asarray(part)
        if part.shape != t.data.shape:
            part = _fold_array(part, t.data.shape)
        serial = t.serial
        before = self.sums.get(serial)
        if before is None:
            self.sums[serial] = part
        elif serial in self.owned:
            ADD[part.dtype](before, part, out=before)
            self._count(serial, 1)
        else:
            self.sums[serial] = np.asarray(ADD[part.dtype](before, part))
            self.owned[serial] = 2
        return None

    def _count(self, serial: int, addends: float) -> None:
        """Begin another sum where each entry of one has got many addends."""
        self.owned[serial] += addends
        if self.owned[serial] >= FEW:
            self.parts.setdefault(serial, Parts()).keep(self.sums.pop(serial))
            del self.owned[serial]

    def _place(self, t: Tensor, part: Placed) -> None:
        serial = t.serial
        before = self.sums.get(serial)
        if serial not in self.owned:
            self.sums[serial] = np.zeros(t.shape, t.dtype) if before is None else before.copy()
            self.owned[serial] = 0 if before is None else 1
        elif before is not None and not before.flags.c_contiguous:
            self.sums[serial] = before.copy()
        add_at(self.sums[serial], part.template, _arrays(part.indices), part.value)
        self._count(serial, part.value.size / max(t.size, 1))

    def _defer(self, t: Tensor, part: Product) -> None:
        """Keep a product until its weight's turn comes, or until those kept take more room than the weight."""
        if type(part.a) is Tensor:
            part = Product(part.a.data, part.g.data)
        waiting = self.products.setdefault(t.serial, [])
        waiting.append(part)
        if len(waiting) * (part.a.size + part.g.size) > 4 * t.size + 65536:
            self._multiply_out(t)

    def _multiply_out(self, t: Tensor) -> None:
        waiting = self.products.pop(t.serial)
        a = waiting[0].a if len(waiting) == 1 else np.concatenate([p.a for p in waiting])
        g = waiting[0].g if len(waiting) == 1 else np.concatenate([p.g for p in waiting])
        self.add(t, np.dot(a.T, g))


class Watched(Arrays):
    """Sums as arrays under ``detect_anomaly``: contributions are examined as they come, and sums when complete."""

    source: Tensor | None = None  # whose rule is running

    def pop(self, node: Tensor) -> np.ndarray | None:
        g = super().pop(node)
        if g is not None:
            self._examine(g, node, f"the gradients of {describe(node)} add up to")
        return g

    def pull_back(self, node: Tensor, g: np.ndarray, active: Any) -> None:
        self.source = node
        super().pull_back(node, g, active)

    def add(self, t: Tensor, part: Any) -> None:
        if type(part) is Product:
            part = part.a.swapaxes(0, 1) @ part.g
        value = part.value if type(part) is Placed else part
        if self.source is not None:
            value = value.data if type(value) is Tensor else value
            self._examine(value, self.source, f"the gradient of {self.source.op} for {describe(t)} is")
        super().add(t, part)

    def _examine(self, g: np.ndarray, node: Tensor, what: str) -> None:
        if np.isfinite(g).all():
            return
        raise anomaly(
            node, np.asarray(g), what, "", got=f"{describe(node)}, recorded at {node.source}",
            hint="look at the values that the operation was given: a zero under a root, a logarithm or a division",
        )  # fmt: skip


def _arrays(indices: tuple[Any, ...]) -> tuple[np.ndarray, ...]:
    return tuple([i.data if type(i) is Tensor else i for i in indices])


ADD = add.op.kernels  # np.add would warn of overflow


def _fold_array(part: np.ndarray, target: tuple[int, ...]) -> np.ndarray:
    """Sum over the axes that broadcasting added or stretched."""
    lead = part.ndim - len(target)
    axes = tuple([k for k in range(part.ndim) if k < lead or (target[k - lead] == 1 and part.shape[k] != 1)])
    if any(part.shape[k] != 1 for k in axes):
        with np.errstate(all="ignore"):
            part = add_up(part, axes)
    part = np.asarray(part)
    # What is left may still be smaller than the target where a rule gave one value for many.
    return np.broadcast_to(part, target) if part.size < prod(target) else part.reshape(target)


class Tensors:
    """Sums as recorded tensors; indexed parts wait until they are all there."""

    def __init__(self) -> None:
        self.sums: dict[int, Tensor] = {}
        self.addends: dict[int, int] = {}
        self.parts: dict[int, Parts] = {}  # of sums with many addends
        self.placed: dict[int, list[Placed]] = {}

    def pop(self, node: Tensor) -> Tensor | None:
        total = self.sums.pop(node.serial, None)
        if node.serial in self.parts:
            total = self.parts.pop(node.serial).total(total)
        placed = self.placed.pop(node.serial, None)
        if placed is None:
            return total
        assembled = assemble(placed, node.shape)
        return assembled if total is None else add(total, assembled)

    def pull_back(self, node: Tensor, g: Tensor, active: Any) -> None:
        inputs = node.inputs
        rules: Any = node.op.vjp
        if type(rules) is tuple:
            for i, t in enumerate(inputs):
                if t.serial in active:
                    rule = rules[i]
                    self.add(t, zeros_like(node) if rule is zero_rule else rule(g, node, *inputs, **node.params))
            return
        wanted = [i for i, t in enumerate(inputs) if t.serial in active]
        for i, part in zip(wanted, rules(wanted, g, node, *inputs, **node.params), strict=True):
            if part is not None:
                self.add(inputs[i], part)

    def add(self, t: Tensor, part: Any) -> None:
        if type(part) is Placed:
            self.placed.setdefault(t.serial, []).append(part)
            return
        if type(part) is Product:
            part = part.a.swapaxes(0, 1) @ part.g
        if part.shape != t.shape:
            part = _fold_tensor(part, t.shape)
        before, count = self.sums.get(t.serial), self.addends.get(t.serial, 0) + 1
        total = part if before is None else add(before, part)
        if count < FEW:
            self.sums[t.serial], self.addends[t.serial] = total, count
        else:
            self.parts.setdefault(t.serial, Parts()).keep(total)
            del self.sums[t.serial], self.addends[t.serial]


def _fold_tensor(part: Tensor, target: tuple[int, ...]) -> Tensor:
    lead = part.ndim - len(target)
    axes = tuple(k for k in range(part.ndim) if k < lead or (target[k - lead] == 1 and part.shape[k] != 1))
    if any(part.shape[k] != 1 for k in axes):
        part = reduce.sum(part, axes)
    if part.size < prod(target):
        return shape.broadcast_to(part, target)
    return shape.reshape(part, target) if part.shape != target else part
