"""The table of functions under test: for each public function its inputs, a NumPy reference, and what it is used with.

A case says nothing of gradients: they are compared with differences of the function itself. Inputs lie away from kinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special as special

import tinygrad_rnn as tg
from tinygrad_rnn.ops import elementwise as e

Sampler = Callable[[np.random.Generator], np.ndarray]

# Inputs ---------------------------------------------------------------------------------------------------------------


def normal(*shape: int) -> Sampler:
    """Values around zero."""
    return lambda rng: rng.normal(size=shape)


def positive(*shape: int) -> Sampler:
    """Values from 0.5 to 2."""
    return lambda rng: rng.uniform(0.5, 2.0, shape)


def fraction(*shape: int) -> Sampler:
    """Values from 0.1 to 0.9."""
    return lambda rng: rng.uniform(0.1, 0.9, shape)


def spaced(*shape: int, start: float = 0.13) -> Sampler:
    """Values of both signs, 0.4 from each other, 0.03 from any multiple of a half, 0.2 from those of start 0.33."""
    count = math.prod(shape)
    return lambda rng: (rng.permutation(count) - count // 2).reshape(shape) * 0.4 + start


def integers(low: int, high: int, *shape: int, dtype: Any = np.int64) -> Sampler:
    return lambda rng: rng.integers(low, high, shape).astype(dtype)


def booleans(*shape: int) -> Sampler:
    return lambda rng: rng.integers(0, 2, shape).astype(bool)


def fixed(value: Any) -> Sampler:
    return lambda rng: np.array(value)


def complex_gradient(f: Callable[..., Any], arrays: list[np.ndarray], i: int, cotangent: np.ndarray) -> np.ndarray:
    """Gradient of ``(cotangent * f).sum()`` by array `i`, to rounding, for an analytic NumPy function `f`."""
    out = np.zeros(arrays[i].shape)
    for place in np.ndindex(arrays[i].shape):
        array = arrays[i].astype(np.complex128)
        array[place] += 1e-30j
        out[place] = (cotangent * f(*arrays[:i], array, *arrays[i + 1 :])).imag.sum() / 1e-30
    return out


# Cases ----------------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """One use of a function: ``function(*tensors)`` against ``reference(*arrays)``."""

    name: str
    function: Callable[..., Any]
    reference: Callable[..., Any]
    inputs: tuple[Sampler, ...]
    label: str = ""
    analytic: bool = False  # the reference takes complex numbers
    single: bool = True  # float32 gives the same values, rounded

    def __str__(self) -> str:
        return self.name + (f"-{self.label}" if self.label else "")

    def arrays(self, seed: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [np.asarray(sample(rng)) for sample in self.inputs]

    @property
    def differentiable(self) -> bool:
        arrays = self.arrays()
        if not any(a.dtype.kind == "f" for a in arrays):
            return False
        outputs = self.function(*map(tg.tensor, arrays))
        return all(t.is_float for t in ([outputs] if isinstance(outputs, tg.Tensor) else outputs))


CASES: list[Case] = []


def case(name: str, function: Any, reference: Any, *inputs: Sampler, **facts: Any) -> None:
    CASES.append(Case(name, function, reference, inputs, **facts))


# Elementwise ----------------------------------------------------------------------------------------------------------

UNARY: dict[str, tuple[Callable[..., Any], Callable[..., Sampler], bool]] = {  # reference, sampler, analytic
    "abs": (np.abs, spaced, False),
    "ceil": (np.ceil, spaced, False),
    "cos": (np.cos, normal, True),
    "erf": (special.erf, normal, True),
    "erfc": (special.erfc, normal, False),
    "exp": (np.exp, normal, True),
    "expm1": (np.expm1, normal, True),
    "floor": (np.floor, spaced, False),
    "gelu": (lambda x: x * special.ndtr(x), normal, True),
    "isfinite": (np.isfinite, normal, False),
    "isinf": (np.isinf, normal, False),
    "isnan": (np.isnan, normal, False),
    "log": (np.log, positive, True),
    "log1p": (np.log1p, positive, True),
    "logical_not": (np.logical_not, normal, False),
    "negative": (np.negative, normal, True),
    "relu": (lambda x: np.maximum(x, 0), spaced, False),
    "round": (np.rint, spaced, False),
    "rsqrt": (lambda x: 1 / np.sqrt(x), positive, True),
    "sigmoid": (lambda x: 0.5 + 0.5 * np.tanh(0.5 * x), normal, True),
    "sign": (np.sign, spaced, False),
    "sin": (np.sin, normal, True),
    "softplus": (lambda x: np.logaddexp(0, x), normal, False),
    "sqrt": (np.sqrt, positive, True),
    "square": (np.square, normal, True),
    "tanh": (np.tanh, normal, True),
}
BINARY: dict[str, tuple[Callable[..., Any], Callable[..., Sampler], Callable[..., Sampler], bool]] = {
    "add": (np.add, normal, normal, True),
    "subtract": (np.subtract, normal, normal, True),
    "multiply": (np.multiply, normal, normal, True),
    "divide": (np.divide, normal, positive, True),
    "power": (np.power, positive, normal, True),
    "floor_divide": (np.floor_divide, lambda *s: spaced(*s), lambda *s: fixed(np.full(s, 1.0)), False),
    "mod": (np.mod, lambda *s: spaced(*s), lambda *s: fixed(np.full(s, 1.0)), False),
    "maximum": (np.maximum, spaced, lambda *s: spaced(*s, start=0.33), False),
    "minimum": (np.minimum, spaced, lambda *s: spaced(*s, start=0.33), False),
    "equal": (np.equal, normal, normal, False),
    "not_equal": (np.not_equal, normal, normal, False),
    "less": (np.less, normal, normal, False),
    "less_equal": (np.less_equal, normal, normal, False),
    "greater": (np.greater, normal, normal, False),
    "greater_equal": (np.greater_equal, normal, normal, False),
    "logical_and": (np.logical_and, normal, normal, False),
    "logical_or": (np.logical_or, normal, normal, False),
    "logical_xor": (np.logical_xor, normal, normal, False),
}
UNARY_SHAPES = [(), (5,), (2, 3), (0,), (2, 0), (1, 1)]
BINARY_SHAPES = [
    ((2, 3), (2, 3)), ((2, 3), (3,)), ((3,), (2, 3)), ((2, 1), (1, 3)), ((), (4,)), ((4,), ()), ((), ()),
    ((2, 1, 2), (3, 1)),
    ((0, 3), (1, 3)), ((1,), (0,)), ((2, 0), ()),
]  # fmt: skip
TERNARY_SHAPES = [((2, 3),) * 3, ((3,), (2, 1), ()), ((), (), (2,)), ((2, 3), (), ()), ((0, 2), (2,), ())]

for _name, (_reference, _sampler, _analytic) in UNARY.items():
    for _shape in UNARY_SHAPES:
        case(_name, getattr(tg, _name), _reference, _sampler(*_shape), label=str(_shape), analytic=_analytic)
for _name, (_reference, _left, _right, _analytic) in BINARY.items():
    for _a, _b in BINARY_SHAPES:
        inputs = _left(*_a), _right(*_b)
        case(_name, getattr(tg, _name), _reference, *inputs, label=f"{_a}{_b}", analytic=_analytic)
for _shapes in TERNARY_SHAPES:
    _c, _a, _b = _shapes
    case("where", tg.where, np.where, booleans(*_c), normal(*_a), normal(*_b), label=str(_shapes))
    case(
        "clip",
        tg.clip,
        np.clip,
        spaced(*_c),
        lambda rng, s=_a: np.full(s, -0.5),
        lambda rng, s=_b: np.full(s, 0.5),
        label=str(_shapes),
    )
case("power", tg.power, np.power, lambda rng: -rng.uniform(0.5, 2, 4), fixed([2, 3, -1, 0]), label="negative-base")
case("power", lambda x: x**3, lambda x: x**3, normal(3), label="cube", analytic=True)
case("clip", lambda x: tg.clip(x, -0.5), lambda x: np.maximum(x, -0.5), spaced(4), label="low")
case("clip", lambda x: tg.clip(x, high=0.5), lambda x: np.minimum(x, 0.5), spaced(4), label="high")
case("leaky_relu", tg.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x), spaced(2, 3))
case("leaky_relu", tg.leaky_relu, lambda x, a: np.where(x > 0, x, a * x), spaced(2, 3), fraction(3), label="learned")
case("elu", tg.elu, lambda x: np.where(x > 0, x, np.expm1(x)), spaced(2, 3))
case("elu", tg.elu, lambda x, a: np.where(x > 0, x, a * np.expm1(x)), spaced(2, 3), positive(3), label="learned")
for _name, _reference in {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}.items():
    case(f"bitwise_{_name}", getattr(e, f"bitwise_{_name}"), _reference, integers(0, 99, 2, 3), integers(0, 99, 3))
    case(f"bitwise_{_name}", getattr(e, f"bitwise_{_name}"), _reference, booleans(5), booleans(5), label="bool")
case("left_shift", e.left_shift, np.left_shift, integers(0, 99, 2, 3), integers(0, 5, 3))
case("right_shift", e.right_shift, np.right_shift, integers(0, 99, 2, 3), integers(0, 5, 3))
case("left_shift", e.left_shift, np.left_shift, booleans(5), booleans(5), label="bool")
case("invert", e.invert, np.invert, integers(-9, 9, 4))
case("invert", e.invert, np.invert, booleans(4), label="bool")

# Reductions -----------------------------------------------------------------------------------------------------------

_AXES = [(), (None,), (0,), (-1,), ((0, 2),), ((),), ((1, -1),)]
_REDUCED: dict[str, tuple[Any, Callable[..., Sampler], dict[str, Any]]] = {
    "sum": (np.sum, normal, {"analytic": True}),
    "mean": (np.mean, normal, {"analytic": True}),
    "prod": (np.prod, positive, {"analytic": True}),
    "max": (np.max, spaced, {}),
    "min": (np.min, spaced, {}),
    "var": (np.var, normal, {}),
    "logsumexp": (special.logsumexp, normal, {}),
    "any": (np.any, lambda *s: integers(0, 2, *s), {}),
    "all": (np.all, lambda *s: integers(0, 2, *s), {}),
}
for _name, (_reference, _sampler, _facts) in _REDUCED.items():
    _function = getattr(tg, _name)
    for _axis in _AXES:
        for _keep in (False, True):
            case(
                _name,
                lambda x, f=_function, a=_axis, k=_keep: f(x, *a, keepdims=k),
                lambda x, f=_reference, a=_axis, k=_keep: f(x, *(a or (None,)), keepdims=k),
                _sampler(2, 3, 2), label=f"{_axis}{'-keepdims' if _keep else ''}", **_facts,
            )  # fmt: skip
    case(_name, getattr(tg, _name), _reference, _sampler(), label="scalar", **_facts)
for _name in ("sum", "prod", "any", "all"):
    f, _reference = getattr(tg, _name), getattr(np, _name)
    case(_name, lambda x, f=f: f(x, 0), lambda x, f=_reference: f(x, 0), normal(0, 3), label="empty-axis")
for _name in ("max", "min", "mean", "var", "logsumexp"):
    f, _reference = getattr(tg, _name), _REDUCED[_name][0]
    case(_name, lambda x, f=f: f(x, 1), lambda x, f=_reference: f(x, axis=1), normal(0, 3), label="empty-result")
case(
    "prod", lambda x: tg.prod(x, 0), lambda x: np.prod(x, 0), fixed([[0.0, 2.0], [3.0, 0.0], [4.0, 0.0]]), label="zeros"
)
case("var", lambda x: tg.var(x, 1, ddof=1), lambda x: np.var(x, 1, ddof=1), normal(2, 4), label="ddof")
case(
    "std",
    lambda x: tg.std(x, (0, 1), True, ddof=1),
    lambda x: np.std(x, (0, 1), keepdims=True, ddof=1),
    normal(2, 3, 2),
)
case("std", tg.std, np.std, normal(5), label="all")
for _axis in (None, 0, -1, (0, 1)):
    for _ord in (1, 2, np.inf):
        case(
            "norm",
            lambda x, a=_axis, o=_ord: tg.norm(x, o, a, keepdims=True),
            lambda x, a=_axis, o=_ord: (
                np.abs(x).max(a, keepdims=True) if o == np.inf else (np.abs(x) ** o).sum(a, keepdims=True) ** (1 / o)
            ),
            spaced(2, 3), label=f"{_ord}-{_axis}",
        )  # fmt: skip
for _shape, _axis in [((4,), None), ((2, 3), None), ((2, 3), 0), ((2, 3), -1), ((0, 2), 0), ((), None)]:
    case(
        "cumsum",
        lambda x, a=_axis: tg.cumsum(x, a),
        lambda x, a=_axis: np.cumsum(x, a),
        normal(*_shape),
        label=f"{_shape}{_axis}",
    )
for _name in ("argmax", "argmin"):
    _function, _reference = getattr(tg, _name), getattr(np, _name)
    for _axis, _keep in [(None, False), (None, True), (0, False), (-1, True)]:
        case(
            _name,
            lambda x, f=_function, a=_axis, k=_keep: f(x, a, k),
            lambda x, f=_reference, a=_axis, k=_keep: f(x, a, keepdims=k),
            spaced(2, 3), label=f"{_axis}{_keep}",
        )  # fmt: skip

# Products -------------------------------------------------------------------------------------------------------------

MATMUL_SHAPES = [
    ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 2)), ((2, 2, 3), (3, 2)), ((2, 2, 3), (3,)),
    ((3,), (2, 3, 2)),
    ((2, 3), (2, 3, 2)), ((2, 2, 3), (2, 3, 2)), ((2, 1, 2, 3), (3, 3, 1)), ((1, 2, 3), (2, 3, 2)), ((2, 0), (0, 3)),
    ((0,), (0,)),
    ((0, 2), (2, 3)), ((2, 3), (3, 0)), ((2, 3, 0), (0, 2)), ((0, 2, 3), (3, 2)), ((0, 2, 3), (3,)), ((0,), (0, 2)),
    ((1, 1), (1, 1)),
]  # fmt: skip
for _a, _b in MATMUL_SHAPES:
    case("matmul", tg.matmul, np.matmul, normal(*_a), normal(*_b), label=f"{_a}{_b}", analytic=True)
case("outer", tg.outer, np.outer, normal(2), normal(3), analytic=True)
case("outer", tg.outer, np.outer, normal(2, 2), normal(), label="flattened", analytic=True)
EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 2)), ("ij,jk", (2, 3), (3, 2)), ("i,i->", (3,), (3,)), ("ij->ji", (2, 3)),
    ("ij->", (2, 3)), ("ij->j", (2, 3)),
    ("ii->i", (3, 3)), ("ii", (3, 3)), ("ii->", (3, 3)), ("iij->j", (2, 2, 3)), ("iji->ij", (2, 3, 2)),
    ("iii->i", (2, 2, 2)),
    ("i,j->ij", (2,), (3,)), ("ij,kl->il", (2, 3), (2, 2)), ("bth,hk->btk", (2, 2, 3), (3, 2)),
    ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
    ("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)), ("ij,ij,ij->ij", (2, 2), (2, 2), (2, 2)), ("ab,b->a", (2, 3), (3,)),
    (",->", (), ()),
    (",i->i", (), (3,)), ("ij,jk->ik", (2, 0), (0, 3)), ("ij->i", (0, 3)), ("ii,ij->j", (2, 2), (2, 3)), ("i->", (1,)),
]  # fmt: skip
for _term, *_shapes in EINSUMS:
    case(
        "einsum", lambda *t, s=_term: tg.einsum(s, *t), lambda *a, s=_term: np.einsum(s, *a),
        *(normal(*s) for s in _shapes),
        label=f"{_term}{_shapes}", analytic=True,
    )  # fmt: skip

# Shapes ---------------------------------------------------------------------------------------------------------------

# Name, shape of x, arguments, reference of (x, *arguments).
_SHAPED: list[tuple[str, tuple[int, ...], tuple[Any, ...], Any]] = [
    ("reshape", (2, 3), ((3, 2),), np.reshape), ("reshape", (2, 3), ((-1,),), np.reshape),
    ("reshape", (), ((1, 1),), np.reshape),
    ("reshape", (2, 3), (3, -1), lambda x, *s: x.reshape(s)), ("reshape", (0, 3), ((-1, 3),), np.reshape),
    ("reshape", (1,), ((),), np.reshape),
    ("flatten", (2, 3), (), np.ravel), ("flatten", (), (), np.ravel), ("flatten", (0, 2), (), np.ravel),
    ("expand_dims", (2, 3), (0,), np.expand_dims), ("expand_dims", (2, 3), (-1,), np.expand_dims),
    ("expand_dims", (), (0,), np.expand_dims),
    ("squeeze", (1, 3, 1), (), np.squeeze), ("squeeze", (1, 3, 1), (-1,), np.squeeze),
    ("squeeze", (1, 3, 1), ((0, 2),), np.squeeze),
    ("squeeze", (2, 3), (), np.squeeze), ("transpose", (2, 3, 4), (), np.transpose),
    ("transpose", (2, 3), ((0, 1),), np.transpose),
    ("transpose", (2, 3, 4), ((2, 0, 1),), np.transpose),
    ("transpose", (2, 3, 4), (-1, 0, 1), lambda x, *a: x.transpose(a)),
    ("transpose", (), (), np.transpose), ("swapaxes", (2, 3, 4), (0, -1), np.swapaxes),
    ("swapaxes", (2, 3), (1, 1), np.swapaxes),
    ("moveaxis", (2, 3, 4), (0, -1), np.moveaxis), ("moveaxis", (2, 3, 4), (-1, 0), np.moveaxis),
    ("moveaxis", (2, 3, 4), (1, 1), np.moveaxis),
    ("broadcast_to", (3,), ((2, 3),), np.broadcast_to), ("broadcast_to", (2, 1), ((4, 2, 3),), np.broadcast_to),
    ("broadcast_to", (), ((2, 2),), np.broadcast_to), ("broadcast_to", (1,), ((0,),), np.broadcast_to),
    ("broadcast_to", (1, 2), (2,), None),
    ("expand", (3, 1), (-1, 4), lambda x, *s: np.broadcast_to(x, (3, 4))),
    ("expand", (3, 1), ((2, -1, -1),), lambda x, s: np.broadcast_to(x, (2, 3, 1))),
    ("tile", (3,), (2,), np.tile), ("tile", (2, 3), (2,), np.tile), ("tile", (3,), ((2, 2),), np.tile),
    ("tile", (2, 3), ((1, 2, 1),), np.tile),
    ("tile", (), (3,), np.tile), ("tile", (2,), (0,), np.tile), ("tile", (0, 2), ((2, 1),), np.tile),
    ("tile", (3,), ((),), np.tile),
    ("repeat", (3,), (2,), np.repeat), ("repeat", (2, 3), (2,), np.repeat), ("repeat", (2, 3), ([1, 2], 0), np.repeat),
    ("repeat", (2, 3), ([0, 2, 1], -1), np.repeat), ("repeat", (), (3,), np.repeat),
    ("repeat", (2, 3), (0, 1), np.repeat),
    ("repeat", (2, 3), ([2], 1), np.repeat), ("flip", (2, 3), (), np.flip), ("flip", (2, 3), (0,), np.flip),
    ("flip", (2, 3), ((0, -1),), np.flip),
    ("flip", (2, 3), ((),), np.flip), ("flip", (), (), np.flip), ("roll", (5,), (2,), np.roll),
    ("roll", (5,), (-7,), np.roll),
    ("roll", (2, 3), (4,), np.roll), ("roll", (2, 3), (1, 0), np.roll), ("roll", (2, 3), (-1, -1), np.roll),
    ("roll", (2, 0), (1, 1), np.roll),
    ("roll", (3,), (0,), np.roll), ("roll", (), (1,), np.roll),
    ("pad", (3,), (1,), np.pad), ("pad", (2, 3), ((1, 2),), np.pad), ("pad", (2, 3), (((1, 2), (0, 3)),), np.pad),
    ("pad", (0, 2), (1,), np.pad),
    ("pad", (2,), ((0, 0),), np.pad), ("pad", (), (1,), lambda x, w: x),
    ("pad", (2,), (1, 5.0), lambda x, w, v: np.pad(x, w, constant_values=v)),
    ("split", (4, 2), (2,), np.split), ("split", (4, 2), ([1, 3],), np.split), ("split", (2, 6), (3, -1), np.split),
    ("split", (4,), ([-1],), np.split),
    ("split", (4,), ([3, 1],), np.split), ("split", (0, 2), (2,), np.split), ("split", (3,), ([],), np.split),
    ("chunk", (5, 2), (2,), lambda x, n: [x[:3], x[3:]]), ("chunk", (5,), (4,), lambda x, n: [x[:2], x[2:4], x[4:]]),
    ("chunk", (2, 6), (3, -1), lambda x, n, a: np.split(x, 3, 1)), ("chunk", (2,), (5,), lambda x, n: [x[:1], x[1:]]),
]  # fmt: skip
for _name, _shape, _arguments, _reference in _SHAPED:
    if _reference is not None:
        case(
            _name, lambda x, n=_name, a=_arguments: getattr(tg, n)(x, *a), lambda x, f=_reference,
            a=_arguments: f(x, *a),
            normal(*_shape), label=f"{_shape}{_arguments}",
        )  # fmt: skip
for _name, _shapes, _axis in [
    ("concatenate", ((2,), (3,)), 0), ("concatenate", ((2, 3), (2, 1), (2, 0)), -1), ("concatenate", ((1, 2),), 0),
    ("stack", ((2, 3), (2, 3)), 0), ("stack", ((2, 3),) * 3, 1), ("stack", ((2,), (2,)), -1), ("stack", ((), ()), 0),
    ("stack", ((0,), (0,)), 0),
]:  # fmt: skip
    case(
        _name, lambda *t, n=_name, a=_axis: getattr(tg, n)(t, a), lambda *t, n=_name, a=_axis: getattr(np, n)(t, a),
        *(normal(*s) for s in _shapes), label=f"{_shapes}{_axis}",
    )  # fmt: skip

# Indexing -------------------------------------------------------------------------------------------------------------

_I = np.array([[0, 2], [-1, 0]])
INDICES: list[tuple[tuple[int, ...], Any]] = [
    ((4, 3), 1), ((4, 3), -1), ((4, 3), slice(1, 3)), ((4, 3), slice(None, None, -1)), ((4, 3), slice(-1, 0, -2)),
    ((4, 3), slice(9, 12)),
    ((4, 3), (slice(None), 1)), ((4, 3), (..., -1)), ((4, 3), (None, 2)), ((4, 3), (slice(None), None, slice(0, 2))),
    ((4, 3), ...),
    ((4, 3), ()), ((), ()), ((), ...), ((), None), ((4, 3), (1, 2)), ((4, 3), [0, 2, 2]), ((4, 3), _I),
    ((4, 3), (slice(None), [0, 0])),
    ((4, 3), ([0, 1], [2, 2])), ((4, 3), ([0, 1], 2)), ((2, 3, 4), ([0, 1], slice(None), [2, 2])),
    ((2, 3, 4), (0, slice(None), [1, 1])),
    ((2, 3, 4), (slice(None), [0, 1], [2, 2])), ((2, 3, 4), ([0, 1], None, [2, 2])), ((2, 3, 4), (..., [0, 3])),
    ((2, 3, 4), (_I % 2, slice(1, 3))),
    ((2, 3, 4), (np.array([[0], [1]]), np.array([0, 2, 2]))), ((4, 3), []), ((0, 3), []), ((0, 3), slice(None)),
    ((0, 3), (slice(None), [0, 2])),
    ((4, 3), np.array([1, 1], np.uint8)), ((4, 3), np.int32(2)), ((4, 3), (slice(np.int64(1), None), np.uint8(1))),
    ((4, 3), np.zeros((2, 0), int)),
]  # fmt: skip
MASKS: list[tuple[tuple[int, ...], Any]] = [
    ((3,), [True, False, True]), ((2, 2), np.array([[True, False], [True, True]])),
    ((2, 3), (slice(None), [True, False, True])),
    ((2, 3), ([True, False],)), ((2, 3), ([False, True], [0])), ((2, 3, 2), (..., [False, True])),
    ((2, 3, 2), (0, np.ones((3, 2), bool))),
    ((2, 3), True), ((2, 3), False), ((), True), ((0, 3), np.zeros((0, 3), bool)), ((2, 3), np.zeros((2, 3), bool)),
    ((2,), np.bool_(True)),
    ((2, 3, 2), (..., np.ones((3, 2), bool))), ((2, 3), (None, [True, False])),
]  # fmt: skip
for _shape, _index in INDICES + MASKS:
    case("getitem", lambda x, i=_index: x[i], lambda x, i=_index: x[i], normal(*_shape), label=f"{_shape}[{_index}]")
for _shape, _indices, _axis in [
    ((4,), [2, 0, 2], None), ((2, 3), [5, -1], None), ((2, 3), [1, 1], 0), ((2, 3), _I, -1), ((2, 3), 1, 0),
    ((2, 3), [], 0),
]:  # fmt: skip
    case(
        "take", lambda x, i=_indices, a=_axis: tg.take(x, i, a), lambda x, i=_indices,
        a=_axis: np.take(x, np.array(i, int), a),
        normal(*_shape), label=f"{_shape}{_indices}{_axis}",
    )  # fmt: skip
case(
    "gather",
    lambda x, i: tg.gather(x, i, 1),
    lambda x, i: np.take_along_axis(x, i, 1),
    normal(3, 4),
    integers(-4, 4, 3, 5),
)
case(
    "gather",
    lambda x, i: tg.gather(x, i, 0),
    lambda x, i: np.take_along_axis(x, i, 0),
    normal(3, 2),
    integers(0, 3, 4, 2),
    label="first",
)
case(
    "gather",
    lambda x, i: tg.gather(x, i, -1),
    lambda x, i: np.take_along_axis(x[:2], i, 1),
    normal(3, 4),
    integers(0, 4, 2, 1),
    label="part",
)
case("one_hot", lambda i: tg.one_hot(i, 4), lambda i: np.eye(4)[i], integers(0, 4, 2, 3))
case(
    "one_hot",
    lambda i: tg.one_hot(i, 3, np.int32),
    lambda i: np.eye(3, dtype=np.int32)[i],
    integers(0, 3),
    label="scalar",
)
case("masked_fill", lambda x, m: tg.masked_fill(x, m, -1.0), lambda x, m: np.where(m, -1, x), normal(2, 3), booleans(3))
case(
    "masked_fill",
    tg.masked_fill,
    lambda x, m, v: np.where(m, v, x),
    normal(2, 3),
    booleans(2, 3),
    normal(3),
    label="tensor",
)


def _written(x: np.ndarray, value: np.ndarray, index: Any, mode: str) -> np.ndarray:
    out = x.copy()
    if mode == "set":
        out[index] = value
    else:
        np.add.at(out, index, value)
    return out


_UPDATES: list[tuple[tuple[int, ...], Any, tuple[int, ...]]] = [  # shape, index, shape of the value
    ((4, 3), 1, (3,)), ((4, 3), slice(0, 2), ()), ((4, 3), (slice(None), -1), (4,)), ((4, 3), [0, 2], (2, 3)),
    ((4, 3), [1, 1, 0], (3, 3)),
    ((4, 3), ([0, 0, 1], [1, 1, 2]), (3,)), ((4, 3), ([0, 0], slice(None)), (3,)),
    ((4,), [True, False, True, False], (2,)), ((4, 3), ..., (3,)),
    ((4, 3), (slice(None, None, -2), None), (2, 1, 3)), ((4, 3), [], (0, 3)), ((4, 3), _I, (2, 2, 3)), ((), (), ()),
    ((3,), [-1, 2], (2,)),
]  # fmt: skip
for _shape, _index, _value in _UPDATES:
    for _mode in ("set", "add"):
        case(
            "at", lambda x, v, i=_index, m=_mode: getattr(x.at[i], m)(v), lambda x, v, i=_index,
            m=_mode: _written(x, v, i, m),
            normal(*_shape), normal(*_value), label=f"{_mode}{_shape}[{_index}]",
        )  # fmt: skip

# Conversions ----------------------------------------------------------------------------------------------------------

case("astype", lambda x: x.astype(np.float64) * 2, lambda x: x.astype(np.float64) * 2, normal(3), label="float")
case("astype", lambda x: x.astype(np.int32), lambda x: x.astype(np.int32), spaced(3), label="int")
case("detach", lambda x: x.detach(), lambda x: x, integers(0, 5, 3))

# Networks -------------------------------------------------------------------------------------------------------------


def _softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    powers = np.exp(x)
    return powers / powers.sum(axis, keepdims=True)


for _shape, _axis in [((4,), -1), ((2, 3), 0), ((2, 3), 1), ((2, 2, 3), -2), ((0, 3), 1), ((2, 1), 1)]:
    case(
        "softmax",
        lambda x, a=_axis: tg.softmax(x, a),
        lambda x, a=_axis: _softmax(x, a),
        normal(*_shape),
        label=f"{_shape}{_axis}",
        analytic=True,
    )
    case(
        "log_softmax", lambda x, a=_axis: tg.log_softmax(x, a), lambda x, a=_axis: np.log(_softmax(x, a)),
        normal(*_shape),
        label=f"{_shape}{_axis}", analytic=True,
    )  # fmt: skip


def _layer_norm(x: np.ndarray, weight: Any = 1, bias: Any = 0, eps: float = 1e-5) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


case("layer_norm", tg.layer_norm, _layer_norm, normal(2, 4), analytic=True)
case("layer_norm", tg.layer_norm, _layer_norm, normal(2, 2, 4), normal(4), normal(4), label="affine", analytic=True)
case(
    "layer_norm",
    lambda x, b: tg.layer_norm(x, bias=b, eps=0.1),
    lambda x, b: _layer_norm(x, 1, b, 0.1),
    normal(4),
    normal(4),
    label="bias",
)
case("layer_norm", tg.layer_norm, _layer_norm, normal(0, 4), label="empty")


def _nats(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Cross-entropy of each row against a matrix of probabilities."""
    return -(target * np.log(_softmax(x))).sum(-1)


for _reduction in ("mean", "sum", "none"):
    _take = {"mean": np.mean, "sum": np.sum, "none": lambda x: x}[_reduction]
    case(
        "cross_entropy", lambda x, t, r=_reduction: tg.cross_entropy(x, t, reduction=r),
        lambda x, t, f=_take: f(_nats(x, np.eye(4)[t])), normal(3, 4), integers(0, 4, 3), label=_reduction,
        analytic=True,
    )  # fmt: skip
    case(
        "cross_entropy", lambda x, t, r=_reduction: tg.cross_entropy(x, t, reduction=r, label_smoothing=0.2),
        lambda x, t, f=_take: f(_nats(x, 0.8 * np.eye(4)[t] + 0.05)), normal(2, 3, 4),
        integers(0, 4, 2, 3, dtype=np.int32),
        label=f"{_reduction}-smooth", analytic=True,
    )  # fmt: skip
    case(
        "cross_entropy", lambda x, t, r=_reduction: tg.cross_entropy(x, t, reduction=r, label_smoothing=0.1),
        lambda x, t, f=_take: f(_nats(x, 0.9 * t + 0.1 / 4)), normal(3, 4), fraction(3, 4), label=f"{_reduction}-soft",
        analytic=True,
    )  # fmt: skip
    case(
        "cross_entropy", lambda x, t, r=_reduction: tg.cross_entropy(x, t, reduction=r, ignore_index=-100),
        lambda x, t, f=_take: f(_nats(x, np.eye(4)[t % 4]) * (t != -100)) * (4 / 3 if f is np.mean else 1),
        normal(4, 4), fixed([1, -100, 0, 3]), label=f"{_reduction}-ignore",
    )  # fmt: skip
    for _name, _function, _reference, _sampler, _other in [
        ("mse_loss", tg.mse_loss, lambda a, b: (a - b) ** 2, normal, normal),
        (
            "huber_loss", lambda a, b, **k: tg.huber_loss(a, b, delta=0.5, **k),
            lambda a, b: np.where(abs(a - b) <= 0.5, 0.5 * (a - b) ** 2, 0.5 * (abs(a - b) - 0.25)), spaced,
            lambda *s: fixed(np.zeros(s)),
        ),
        (
            "binary_cross_entropy", tg.binary_cross_entropy,
            lambda p, t: -t * np.log(p) - (1 - t) * np.log1p(-p), fraction, fraction,
        ),
        (
            "binary_cross_entropy_with_logits", tg.binary_cross_entropy_with_logits,
            lambda x, t: -t * np.log(special.expit(x)) - (1 - t) * np.log(special.expit(-x)), normal, fraction,
        ),
    ]:  # fmt: skip
        case(
            _name, lambda a, b, f=_function, r=_reduction: f(a, b, reduction=r), lambda a, b, f=_reference,
            g=_take: g(f(a, b)),
            _sampler(2, 3), _other(2, 3), label=_reduction,
        )  # fmt: skip
case(
    "cross_entropy",
    lambda x, t: tg.cross_entropy(x, t, reduction="none"),
    lambda x, t: _nats(x, np.eye(4)[t]),
    normal(4),
    fixed(2),
    label="one",
)


def _with_seed(x: tg.Tensor) -> tg.Tensor:
    return tg.dropout(x, 0.25, generator=np.random.default_rng(3))


case(
    "dropout",
    _with_seed,
    lambda x: x * (np.random.default_rng(3).random(x.shape, x.dtype) >= 0.25) / 0.75,
    normal(3, 4),
    single=False,
)
case("dropout", lambda x: tg.dropout(x, 0.0, generator=np.random.default_rng(3)), lambda x: x, normal(3), label="0")
case("dropout", lambda x: tg.dropout(x, 1.0, generator=np.random.default_rng(3)), np.zeros_like, normal(3), label="1")


def seeded(function: Callable[..., Any], *first: Any, **options: Any) -> Callable[..., Any]:
    """A function that draws, always the same numbers."""
    return lambda *inputs: function(*first, *inputs, generator=np.random.default_rng(3), **options)


case(
    "random.normal",
    seeded(tg.random.normal, (2, 3)),
    lambda loc, scale: np.random.default_rng(3).normal(loc, scale, (2, 3)),
    normal(3),
    positive(2, 1),
    single=False,
)
case(
    "random.gumbel",
    seeded(tg.random.gumbel, (2, 3)),
    lambda loc, scale: np.random.default_rng(3).gumbel(loc, scale, (2, 3)),
    normal(3),
    positive(2, 1),
    single=False,
)
case(
    "random.uniform",
    seeded(tg.random.uniform, (2, 3)),
    lambda low, high: np.random.default_rng(3).uniform(low, high, (2, 3)),
    fraction(3),
    lambda rng: rng.uniform(1.0, 2.0, (2, 1)),
    single=False,
)
case(
    "random.bernoulli",
    seeded(tg.random.bernoulli, (2, 3), dtype=np.int64),
    lambda p: (np.random.default_rng(3).random((2, 3), np.float32) >= 1 - p).astype(np.int64),
    fraction(3),
    single=False,
)
case(
    "random.categorical",
    seeded(tg.random.categorical),
    lambda logits: (logits + np.random.default_rng(3).gumbel(size=(2, 3))).argmax(-1),
    normal(2, 3),
    single=False,
)
case(
    "random.permutation",
    seeded(tg.random.permutation),
    lambda x: x[np.random.default_rng(3).permutation(4)],
    normal(4, 2),
    single=False,
)
case(
    "elementwise",
    tg.elementwise(lambda x, y: x * x * y, (lambda g, z, x, y: 2 * g * x * y, lambda g, z, x, y: g * x * x)),
    lambda x, y: x * x * y,
    normal(2, 3),
    normal(3),
    analytic=True,
)
