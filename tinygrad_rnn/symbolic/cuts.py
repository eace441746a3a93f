"""Which nodes of an unfolded graph are quantities with an equation of their own; all others are written inside these.

Quantities are leaves, what the user named, outputs, what is carried from one time step to another, and what would make
the equations around it hard to read: long terms, terms that occur twice, arguments that a derivative would repeat.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from ..graph.timeline import quantities
from ..ops.elementwise import subtract, where
from ..ops.index import INDEX, SLICE
from ..ops.linalg import MATMUL
from ..ops.named import ops_named
from ..ops.neural import NORMALIZE
from ..ops.shape import CONCATENATE, TRANSPOSE
from ..tensor import CONSTANT, DETACH, LITERAL, PARAMETER, Tensor

__all__ = ["Roles", "is_number", "roles", "uniform"]

LIMIT = 10  # operations in one equation
WORTH = 2.5  # operations from which on a term that occurs twice has a name
SUMS = ops_named("add", "subtract")
EXTREMA = ops_named("max", "min")
LINEAR = ops_named("add", "subtract", "negative", "multiply", "divide", "where")
# Elementwise operations whose derivative is written with their result, not with what went in.
BY_RESULT = ops_named("tanh", "sigmoid", "relu", "exp", "sqrt")
UNSEEN = ops_named("reshape", "broadcast_to", "cast")  # what is not written
KEEPS_AFFINE = (LINEAR | BY_RESULT | UNSEEN | {MATMUL, TRANSPOSE, CONCATENATE, SLICE}) - {subtract.op}
JOINED = (MATMUL, SLICE, CONCATENATE)
FREE = ops_named("reshape", "broadcast_to", "transpose", "cast", "negative", "detach", "slice", "index")


class Roles:
    """What kind of quantity each is, by serial number.

    Attributes
    ----------
    of : dict of str
        ``"parameter"``, ``"data"``, ``"block"``, ``"named"``, ``"output"``, ``"state"``, ``"start"``, ``"row"``
        (of a table), ``"activation"``, ``"affine"``, or ``"term"``.
    uses : dict of list of Tensor
        The nodes that use each node.
    numbers : dict of int
        Of each node; what an unnamed quantity has in common over time.
    """

    def __init__(self, nodes: Iterable[Tensor], outputs: Iterable[Tensor]) -> None:
        self.nodes = tuple(nodes)
        self.outputs = {t.serial for t in outputs}
        self.uses: dict[int, list[Tensor]] = defaultdict(list)
        for t in self.nodes:
            for i in {i.serial: i for i in t.inputs}.values():
                self.uses[i.serial].append(t)
        self.of: dict[int, str] = {}
        self._affine: set[int] = set()
        self._size: dict[int, float] = {}
        self.numbers = quantities(self.nodes)
        self._carried: set[int] = set()  # numbers of states
        self._packed = {t.serial for t in self.nodes if t.op is PARAMETER and self._is_packed(t)}
        for t in self.nodes:
            role = self._role(t)
            if role:
                self.of[t.serial] = role
            self._measure(t)

    def _role(self, t: Tensor) -> str:
        if t.is_leaf:
            return self._leaf(t)
        if t.op is SLICE and t.serial not in self.outputs:
            if t.inputs[0].is_leaf and t.inputs[0].op is not PARAMETER:
                return "data"
            if t.inputs[0].serial in self._packed:
                return "block"
        if t.name:
            return "named"
        if t.serial in self.outputs:
            return "output"
        return self._unnamed(t)

    def _is_packed(self, t: Tensor) -> bool:
        """Whether a parameter is used in blocks alone, which do not overlap."""
        users = self.uses[t.serial]
        if t.serial in self.outputs or not users:
            return False
        if any(u.op is not SLICE or u.name or u.serial in self.outputs for u in users):
            return False
        seen = np.zeros(t.shape, np.uint8)
        for u in users:
            if seen[u.params["index"]].any():
                return False
            seen[u.params["index"]] = 1
        return True

    def _leaf(self, t: Tensor) -> str:
        if is_number(t) or self._is_filling(t):
            return ""
        return "parameter" if t.op is PARAMETER else "data"

    def _is_filling(self, t: Tensor) -> bool:
        """A constant that stands in where a mask hides something."""
        users = self.uses[t.serial]
        chosen = bool(users) and all(u.op is where.op for u in users)
        return chosen and t.op is CONSTANT and not t.name and uniform(t)

    def _unnamed(self, t: Tensor) -> str:
        users = self.uses[t.serial]
        if self._crosses(t, users):
            self._carried.add(self.numbers[t.serial])
        if t.time is not None and self.numbers[t.serial] in self._carried:
            return "state"
        if t.time is None and any(u.time is not None for u in users) and t.op is not DETACH:
            return "start"
        if t.op is NORMALIZE:
            return "activation"  # its derivative is long
        if t.op is INDEX and t.inputs[0].op is PARAMETER:
            return "row"
        if t.op is CONCATENATE and any(u.op not in JOINED for u in users):
            return "affine"
        if any(u.op in EXTREMA for u in users):
            return "term"  # the derivative looks for the value itself
        affine = any(i.serial in self._affine for i in t.inputs)
        if t.op.kernels is not None and t.op not in LINEAR and affine:
            return "activation"
        if self._is_affine(t) and any(self._asks_for(u) for u in users):
            return "affine"
        big = self._cost(t) > LIMIT
        shared = len(users) > 1 and t.op not in FREE and self._cost(t) > WORTH
        return "term" if (big or shared) and t.is_float and t.size else ""

    def _asks_for(self, u: Tensor) -> bool:
        """Whether a derivative would repeat what goes into a node, or into the difference that it is."""
        if u.op is subtract.op:
            return any(v.op not in KEEPS_AFFINE for v in self.uses[u.serial])
        return u.op not in KEEPS_AFFINE

    def _crosses(self, t: Tensor, users: list[Tensor]) -> bool:
        if t.time is None or not t.is_float:
            return False
        later = [u for u in users if u.time is not None and u.time != t.time]
        return bool(later) and not (len(users) == 1 and t.op in SUMS and later[0].op in SUMS)

    def _is_affine(self, t: Tensor) -> bool:
        return t.op is MATMUL or (t.op in SUMS and any(i.serial in self._affine for i in t.inputs))

    def _measure(self, t: Tensor) -> None:
        cut = t.serial in self.of
        if not cut and self._is_affine(t):
            self._affine.add(t.serial)
        self._size[t.serial] = 0 if cut else self._cost(t)

    def _cost(self, t: Tensor) -> float:
        sizes = [self._size[i.serial] for i in t.inputs]
        if t.op in SUMS:  # a sum of many terms is as hard to read as its longest term
            return max([*sizes, 1])
        return sum(sizes) + (0.1 if t.op in UNSEEN else 1)


def roles(nodes: Iterable[Tensor], outputs: Iterable[Tensor]) -> Roles:
    """Choose the quantities of a graph."""
    return Roles(nodes, outputs)


def is_number(t: Tensor) -> bool:
    """Whether a leaf is written as a number."""
    return t.op is LITERAL or (t.op is CONSTANT and t.size == 1 and not t.name and not t.ndim and not t.is_symbolic)


def uniform(t: Tensor) -> bool:
    """Whether all entries of a constant are equal."""
    return bool(t.size) and not t.is_symbolic and bool(np.all(t.data == t.data.reshape(-1)[0]))
