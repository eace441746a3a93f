"""Where operations can be checked: for each op of the registry functions that use it, and what they take.

Elementwise ops are given arrays of shapes that broadcast, within a range; the others are listed with their arguments.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..grad.reverse import grad
from ..ops import elementwise, index, linalg, neural, random, reduce, shape
from ..ops.core import apply, cast
from ..ops.named import by_op, ops_named
from ..tensor import Op

__all__ = ["ARGUMENTS", "BROKEN", "FROM_RESULT", "RANGES", "Argument", "Use"]


@dataclass(frozen=True, slots=True)
class Argument:
    """An array that a function takes: floats between `low` and `high`, integers below `high`, or booleans."""

    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    kind: str = "f"

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        if self.kind == "f":
            return rng.uniform(self.low, self.high, self.shape)
        if self.kind == "b":
            return rng.integers(0, 2, self.shape).astype(bool)
        return rng.integers(int(self.low), int(self.high), self.shape)


@dataclass(frozen=True, slots=True)
class Use:
    """A function that uses an op, and its arguments."""

    function: Callable[..., Any]
    arguments: tuple[Argument, ...]


def _f(*dims: int, low: float = -2.0, high: float = 2.0) -> Argument:
    return Argument(dims, low, high)


def _i(high: int, *dims: int, low: int = 0) -> Argument:
    return Argument(dims, low, high, "i")


def _b(*dims: int) -> Argument:
    return Argument(dims, kind="b")


# Elementwise: the range of each operand, where it is not from -2 to 2.
RANGES: dict[Op, list[tuple[float, float]]] = by_op({
    "log": [(0.2, 4)], "sqrt": [(0.2, 4)], "rsqrt": [(0.2, 4)], "log1p": [(-0.8, 3)],
    "power": [(0.2, 3), (-2, 2)], "divide": [(-2, 2), (0.4, 3)], "floor_divide": [(-4, 4), (0.7, 2)],
    "mod": [(-4, 4), (0.7, 2)],
})  # fmt: skip


def _reduced(function: Callable[..., Any], least: int = 0) -> list[Use]:
    uses = [
        Use(lambda x: function(x), (_f(2, 3),)), Use(lambda x: function(x, 0), (_f(2, 3),)),
        Use(lambda x: function(x, (0, 2), True), (_f(2, 3, 2),)), Use(lambda x: function(x, -1), (_f(1,),)),
    ]  # fmt: skip
    return uses if least else [*uses, Use(lambda x: function(x, 1), (_f(2, 0),))]


def _rows(function: Callable[..., Any]) -> list[Use]:
    return [Use(function, (_f(3),)), Use(function, (_f(2, 3),)), Use(function, (_f(0, 3),)), Use(function, (_f(2, 1),))]


def _seeded(function: Callable[..., Any], *first: Any) -> Callable[..., Any]:
    """A function that draws, always the same numbers."""
    return lambda *inputs: function(*first, *inputs, generator=np.random.default_rng(0))


def _surplus(x: Any, target: Any) -> Any:
    return apply(neural.SURPLUS, (x, cast(target, np.int64)))


def _gathered(x: Any) -> Any:
    """The gradient of slices, which is assembled from parts."""
    return grad((x[0] * x[0]).sum() + (x[1:] * x[1:] * x[1:]).sum(), x, create_graph=True)


# Their gradient lines take the result alone, which close to 1 has no digits left for 1 minus it: first and second
# derivatives q are off by up to 16 eps (|q| + |x q'| + |y|), those of all other elementwise ops by the first two terms.
# Lines that are exact would cost 5 to 10 % of a training step of an LSTM.
FROM_RESULT = ops_named("tanh", "sigmoid")
BROKEN = by_op({  # laws that an op breaks on purpose
    "detach": ("gradients",),  # its gradient is none
})
ARGUMENTS: dict[Op, list[Use]] = by_op({
    "detach": [Use(lambda x: x.detach(), (_f(2, 3),))],
    "cast": [Use(lambda x: cast(x, np.float64), (_f(2, 3),)), Use(lambda x: cast(x, np.float64), (_i(5, 3),))],
    "to_integer": [Use(lambda x: cast(x, np.int64), (_f(2, 3),))],
    "reshape": [
        Use(lambda x: shape.reshape(x, (3, 2)), (_f(2, 3),)), Use(lambda x: shape.reshape(x, (-1,)), (_f(0, 3),)),
        Use(lambda x: shape.reshape(x.T, (6,)), (_f(2, 3),)), Use(lambda x: shape.reshape(x, (1, 1)), (_f(),)),
    ],
    "transpose": [
        Use(lambda x: x.T, (_f(2, 3),)), Use(lambda x: shape.transpose(x, (1, 2, 0)), (_f(2, 1, 3),)),
        Use(lambda x: x.T, (_f(0, 2),)),
    ],
    "broadcast_to": [
        Use(lambda x: shape.broadcast_to(x, (2, 3)), (_f(3),)),
        Use(lambda x: shape.broadcast_to(x, (2, 3)), (_f(2, 1),)),
        Use(lambda x: shape.broadcast_to(x, (0, 2)), (_f(),)),
    ],
    "concatenate": [
        Use(lambda x, y: shape.concatenate([x, y, x], 1), (_f(2, 3), _f(2, 1))),
        Use(lambda x, y: shape.concatenate([x, y]), (_f(0,), _f(2,))),
    ],
    "stack": [
        Use(lambda x, y: shape.stack([x, y, x], 1), (_f(2, 3), _f(2, 3))), Use(lambda x: shape.stack([x]), (_f(),)),
    ],
    "pad": [
        Use(lambda x: shape.pad(x, ((1, 0), (0, 2))), (_f(2, 3),)), Use(lambda x: shape.pad(x, 1, 3.0), (_f(2),)),
    ],
    "slice": [
        Use(lambda x: x[1], (_f(2, 3),)), Use(lambda x: x[:, ::-2], (_f(2, 3),)),
        Use(lambda x: x[None, ..., -1], (_f(2, 3),)), Use(lambda x: x[:0], (_f(2, 3),)),
    ],
    "index": [
        Use(lambda x, k: x[k], (_f(4, 2), _i(4, 3, low=-4))), Use(lambda x, k: x[:, k], (_f(2, 4), _i(4, 2, 2))),
        Use(lambda x, k: x[k, k], (_f(3, 3), _i(3, 4))), Use(lambda x, k: x[k], (_f(4), _i(4, 0))),
    ],
    "assemble": [Use(_gathered, (_f(3, 2),))],
    "update": [
        Use(lambda x, v: x.at[1].set(v), (_f(3, 2), _f(2))),
        Use(lambda x, v, k: x.at[k].add(v), (_f(3), _f(4), _i(3, 4))),
        Use(lambda x, v: x.at[:, ::2].set(v), (_f(2, 3), _f())),
    ],
    "last_write": [Use(lambda x, v, k: x.at[k].set(v), (_f(3), _f(4), _i(3, 4)))],
    "one_hot": [Use(lambda k: index.one_hot(k, 4), (_i(4, 2, 3),)), Use(lambda k: index.one_hot(k, 4), (_i(4, 0),))],
    "sum": _reduced(reduce.sum), "mean": _reduced(reduce.mean, 1), "max": _reduced(reduce.max, 1),
    "min": _reduced(reduce.min, 1), "logsumexp": _reduced(reduce.logsumexp, 1), "any": _reduced(reduce.any),
    "all": _reduced(reduce.all), "argmax": [Use(lambda x: reduce.argmax(x, 1), (_f(2, 3),))],
    "argmin": [Use(lambda x: reduce.argmin(x), (_f(2, 3),))],
    "norm": [Use(lambda x: reduce.norm(x), (_f(2, 3),)), Use(lambda x: reduce.norm(x, axis=1), (_f(2, 3, low=0.3),))],
    "cumsum": [Use(lambda x: reduce.cumsum(x, 1), (_f(2, 3),)), Use(lambda x: reduce.cumsum(x, 0), (_f(0, 2),))],
    "softmax": [*_rows(neural.softmax), Use(lambda x: neural.softmax(x, 0), (_f(2, 3),))],
    "log_softmax": [*_rows(neural.log_softmax), Use(lambda x: neural.log_softmax(x, 0), (_f(2, 3),))],
    "normalize": [Use(neural.layer_norm, (_f(2, 4),)), Use(neural.layer_norm, (_f(3, low=-9, high=9),))],
    "cross_entropy": [
        Use(neural.cross_entropy, (_f(2, 4), _i(4, 2))), Use(neural.cross_entropy, (_f(2, 3, 4), _i(4, 2, 3))),
        Use(lambda x, k: neural.cross_entropy(x, k, reduction="none"), (_f(2, 4), _i(4, 2))),
    ],
    "surplus": [Use(_surplus, (_f(2, 4), _i(4, 2))), Use(_surplus, (_f(3), _i(3)))],
    "normal": [
        Use(_seeded(random.normal, (2, 3)), (_f(3), _f(2, 1, low=0.1))),
        Use(_seeded(random.normal, (0, 3)), (_f(), _f(3, low=0.1))),
    ],
    "uniform": [Use(_seeded(random.uniform, (2, 3)), (_f(3, high=0), _f(2, 1, low=0.1)))],
    "gumbel": [Use(_seeded(random.gumbel, 3), (_f(3), _f(1, low=0.1)))],
    "nonnegative": [Use(lambda x: apply(random.NONNEGATIVE, (x,), {"what": "x"}), (_f(2, 3, low=0.1),))],
    "bernoulli": [Use(lambda x: neural.dropout(x, 0.5, generator=np.random.default_rng(0)), (_f(3, 4),))],
    "bernoulli_of": [Use(_seeded(random.bernoulli, (2, 3)), (_f(3, low=0, high=1),))],
    "categorical": [Use(_seeded(random.categorical), (_f(2, 3),)), Use(_seeded(random.categorical), (_f(0, 3),))],
    "permutation": [Use(_seeded(random.permutation), (_f(4, 2),)), Use(_seeded(random.permutation), (_f(0, 2),))],
    "matmul": [
        Use(linalg.matmul, (_f(2, 3), _f(3, 2))), Use(linalg.matmul, (_f(3), _f(3))),
        Use(linalg.matmul, (_f(2, 3), _f(3))),
        Use(linalg.matmul, (_f(3), _f(2, 3, 1))), Use(linalg.matmul, (_f(2, 1, 2, 3), _f(3, 3, 2))),
        Use(linalg.matmul, (_f(2, 0), _f(0, 3))), Use(lambda x, w: x.T @ w.T, (_f(3, 2), _f(1, 3))),
    ],
    "einsum": [
        Use(lambda x, y: linalg.einsum("bth,hk->btk", x, y), (_f(2, 2, 3), _f(3, 2))),
        Use(lambda x: linalg.einsum("ii->i", x), (_f(3, 3),)), Use(lambda x: linalg.einsum("ij->", x), (_f(2, 3),)),
    ],
    "where": [Use(elementwise.where, (_b(2, 3), _f(2, 3), _f(3)))],
    "clip": [Use(lambda x: elementwise.clip(x, -0.513, 0.897), (_f(2, 3),))],
    "isnan": [Use(elementwise.isnan, (_f(2, 3),))],
    "logical_not": [Use(elementwise.logical_not, (_b(2, 3),))],
    "invert": [Use(operator.invert, (_i(9, 2, 3),))],
    "bitwise_and": [Use(operator.and_, (_i(9, 2, 3), _i(9, 3)))],
    "bitwise_or": [Use(operator.or_, (_i(9, 2, 3), _i(9, 3)))],
    "bitwise_xor": [Use(operator.xor, (_i(9, 2, 3), _i(9, 3)))],
    "left_shift": [Use(operator.lshift, (_i(9, 2, 3), _i(4, 3)))],
    "right_shift": [Use(operator.rshift, (_i(9, 2, 3), _i(4, 3)))],
})  # fmt: skip
