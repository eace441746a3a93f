"""What tensors can do: the operators and methods of :class:`Tensor`, one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..calls import class_answers
from ..errors import ImmutableError, fail
from ..tensor import Tensor, describe
from . import elementwise as e
from . import index, linalg, neural, reduce, shape
from .core import as_tensor, cast

_SQUARE, _ROOT = 2, 0.5


def _power(x: Tensor, exponent: Any) -> Tensor:
    if type(exponent) in (int, float) and x.is_float:
        if exponent == _SQUARE:
            return e.square(x)
        if exponent == _ROOT:
            return e.sqrt(x)
    return e.power(x, exponent)


def _iterate(x: Tensor) -> Iterator[Tensor]:
    return iter([x[k] for k in range(len(x))])


def _contains(x: Tensor, value: Any) -> bool:
    return bool(reduce.any(x == value))


def _compared(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """A comparison that leaves it to Python what a tensor is to None, to a text or to another object: not equal."""
    def compare(x: Tensor, other: Any) -> Any:
        return function(x, other) if isinstance(other, _NUMBERS) or hasattr(other, "__array__") else NotImplemented

    return compare


_NUMBERS = (Tensor, bool, int, float, list, tuple)


def _round(x: Tensor, digits: int = 0) -> Tensor:
    """Round to so many digits after the point; halves go to the even neighbour.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.tensor([1.26, 2.5]).round(1).tolist() == [1.3, 2.5], tg.tensor(2.5).round().item()
    (False, 2.0)
    """
    return e.round(x) if not digits else e.round(x * 10.0**digits) / 10.0**digits


def _logic(bits: Callable[..., Tensor], truth: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def function(*inputs: Any) -> Tensor:
        return (truth if any(as_tensor(t).is_float for t in inputs) else bits)(*inputs)

    return function


def _reflected(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda self, other: function(other, self)


def _in_place(name: str, sign: str) -> Callable[..., Any]:
    """``x += y`` is ``x = x + y``, and says so where ``x`` is a parameter, which whoever writes it means to change."""

    def function(self: Tensor, other: Any) -> Any:
        if self.may_be_written:
            raise fail(
                ImmutableError, f"{describe(self)} is not changed by {sign}=: it would name a new tensor",
                expected=f"p.assign(p {sign} ...) to change a parameter, as p.assign(p - rate * p.grad)",
                hint=f"tg.optim.SGD does so; for a tensor that is computed from it write y = p {sign} ...",
            )  # fmt: skip
        return NotImplemented  # Python then takes the operator itself

    function.__name__ = f"__i{name}__"
    return function


_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@",
    "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
}  # fmt: skip

_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": e.add, "sub": e.subtract, "mul": e.multiply, "truediv": e.divide, "floordiv": e.floor_divide, "mod": e.mod,
    "pow": _power, "matmul": linalg.matmul, "and": _logic(e.bitwise_and, e.logical_and),
    "or": _logic(e.bitwise_or, e.logical_or), "xor": _logic(e.bitwise_xor, e.logical_xor), "lshift": e.left_shift,
    "rshift": e.right_shift, "divmod": lambda a, b: (e.floor_divide(a, b), e.mod(a, b)),
}  # fmt: skip

_SPECIAL: dict[str, Any] = {
    "__neg__": e.negative, "__pos__": lambda x: x, "__abs__": e.abs, "__invert__": _logic(e.invert, e.logical_not),
    "__lt__": e.less, "__le__": e.less_equal, "__gt__": e.greater, "__ge__": e.greater_equal,
    "__eq__": _compared(e.equal), "__ne__": _compared(e.not_equal), "__getitem__": index.getitem,
    "__iter__": _iterate, "__contains__": _contains, "__rpow__": _reflected(e.power), "__round__": _round,
}  # fmt: skip

_METHODS: dict[str, Any] = {
    "abs": e.abs, "exp": e.exp, "expm1": e.expm1, "log": e.log, "log1p": e.log1p, "sqrt": e.sqrt, "rsqrt": e.rsqrt,
    "square": e.square, "sign": e.sign, "sin": e.sin, "cos": e.cos, "tanh": e.tanh, "sigmoid": e.sigmoid,
    "relu": e.relu,
    "leaky_relu": e.leaky_relu, "elu": e.elu, "softplus": e.softplus, "gelu": e.gelu, "erf": e.erf, "erfc": e.erfc,
    "maximum": e.maximum, "minimum": e.minimum, "clip": e.clip, "floor": e.floor, "ceil": e.ceil, "round": _round,
    "isnan": e.isnan, "isinf": e.isinf, "isfinite": e.isfinite, "pow": _power,
    "sum": reduce.sum, "mean": reduce.mean, "prod": reduce.prod, "max": reduce.max, "min": reduce.min,
    "var": reduce.var,
    "std": reduce.std, "logsumexp": reduce.logsumexp, "norm": reduce.norm, "argmax": reduce.argmax,
    "argmin": reduce.argmin, "cumsum": reduce.cumsum, "any": reduce.any, "all": reduce.all,
    "matmul": linalg.matmul, "outer": linalg.outer,
    "reshape": shape.reshape, "transpose": shape.transpose, "swapaxes": shape.swapaxes, "moveaxis": shape.moveaxis,
    "broadcast_to": shape.broadcast_to, "expand": shape.expand, "expand_dims": shape.expand_dims,
    "squeeze": shape.squeeze, "flatten": shape.flatten, "ravel": shape.flatten, "split": shape.split,
    "chunk": shape.chunk,
    "flip": shape.flip, "roll": shape.roll, "pad": shape.pad, "repeat": shape.repeat, "tile": shape.tile,
    "take": index.take, "gather": index.gather, "masked_fill": index.masked_fill, "one_hot": index.one_hot,
    "softmax": neural.softmax, "log_softmax": neural.log_softmax,
    "astype": cast, "float": lambda x: cast(x, np.float32), "double": lambda x: cast(x, np.float64),
    "T": property(shape.transpose), "at": property(index.At),
}  # fmt: skip


def install() -> None:
    """Give the operators and methods to the class."""
    for name, function in _OPERATORS.items():
        setattr(Tensor, f"__{name}__", function)
        if f"__r{name}__" not in _SPECIAL:
            setattr(Tensor, f"__r{name}__", _reflected(function))
    for name, sign in _SIGNS.items():
        setattr(Tensor, f"__i{name}__", _in_place(name, sign))
    for name, function in (_SPECIAL | _METHODS).items():
        setattr(Tensor, name, function)


install()
class_answers(index.At)
