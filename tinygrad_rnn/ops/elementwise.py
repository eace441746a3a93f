"""Elementwise operations: each is a scalar function and one gradient line per input.

A gradient line is written once and used twice: on tensors, where it is recorded and can be differentiated again, and on
numbers, where Numba compiles the same line to one fused kernel for a backward pass that records nothing.

Float kernels are Numba's; arithmetic and comparisons of integers and booleans are NumPy's, which are vectorised
already and carry no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from inspect import CO_VARARGS, Parameter, Signature
from itertools import zip_longest
from types import FunctionType
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from ..calls import wrong_call
from ..errors import DTypeError, ShapeError, fail
from ..kernels import scalars
from ..kernels.cache import fingerprint
from ..kernels.frontend import arguments_read
from ..kernels.loops import elementwise_loop, specialise
from ..tensor import DEFAULT_FLOAT, Op, Spec, Tensor, record
from .core import (
    NO_PARAMS,
    apply,
    are_floats,
    as_tensor,
    cast,
    comparable,
    literal,
    of_one_dtype,
    promoted,
    refusal,
    register,
)

__all__ = [
    "abs",
    "add",
    "ceil",
    "clip",
    "cos",
    "divide",
    "elementwise",
    "elu",
    "equal",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "gelu",
    "greater",
    "greater_equal",
    "isfinite",
    "isinf",
    "isnan",
    "leaky_relu",
    "less",
    "less_equal",
    "log",
    "log1p",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "negative",
    "not_equal",
    "power",
    "relu",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "softplus",
    "sqrt",
    "square",
    "subtract",
    "tanh",
    "where",
]  # fmt: skip

BOOL = np.dtype(bool)
Line = Callable[..., Any]


class Kernels(dict):
    """The kernels of one elementwise op by dtype, and those of its gradient lines; each made when first asked for."""

    def __init__(
        self, name: str, scalar: Line, vjp: Any, arity: int, result: str, integers: Any, condition: bool
    ) -> None:
        super().__init__()
        self.name, self.scalar, self.vjp, self.arity = name, scalar, vjp, arity
        self.result, self.integers, self.condition = result, integers, condition
        self._rules: dict[tuple[int, np.dtype], Any] = {}

    def __missing__(self, dtype: np.dtype) -> Any:
        if dtype.kind == "f":
            kernel = self.compiled(dtype)
        else:
            kernel = self.integers and _supported(self.name, self.integers)
        self[dtype] = kernel
        return kernel

    def compiled(self, dtype: np.dtype) -> Any:
        """The loop over the scalar function."""
        try:
            return _loop(self.name, specialise(self.scalar, dtype), self.types(dtype), [self.out(dtype)])
        except NumbaError as error:
            raise fail(
                TypeError, f"{self.name}: Numba cannot compile its function of numbers", got=_last_line(error),
                hint="use arithmetic, conditions, math, and functions imported by name: from tinygrad_rnn import tanh",
            ) from error  # fmt: skip

    def types(self, dtype: np.dtype) -> list[np.dtype]:
        """Dtypes of the inputs."""
        return [BOOL if self.condition and k == 0 else dtype for k in range(self.arity)]

    def out(self, dtype: np.dtype) -> np.dtype:
        """Dtype of the result."""
        if self.result == "bool":
            return BOOL
        if dtype.kind == "f" or self.integers is None:
            return dtype if dtype.kind == "f" else DEFAULT_FLOAT
        return self[dtype](*(np.empty(0, t) for t in self.types(dtype))).dtype  # np.square makes int8 of bool

    def rule(self, i: int, dtype: np.dtype) -> Any:
        """``(kernel, takes)`` of gradient line `i`: the fused kernel and which of (g, y, *inputs) it takes.

        None for a user's line that Numba cannot compile, or that reads no argument: it is run on tensors instead.
        """
        try:
            return self._rules[i, dtype]
        except KeyError:
            pass
        line = self.vjp[i]
        plain = isinstance(line, FunctionType) and not line.__code__.co_flags & CO_VARARGS
        takes = arguments_read(line) if plain else ()
        types = [dtype, dtype, *self.types(dtype)]
        rule = None
        if takes:
            loop = f"{self.name}_vjp{i}", specialise(line, dtype), [types[k] for k in takes], [dtype], takes
            with suppress(NumbaError):
                rule = _loop(*loop), takes
        self._rules[i, dtype] = rule
        return rule


_made: dict[str, Any] = {}  # loops by what they compute


def _loop(
    name: str, scalar: Line, ins: list[np.dtype], outs: list[np.dtype], takes: tuple[int, ...] | None = None
) -> Any:
    """The loop over a function: Numba gives no memory of compiled code back, so it is compiled once in a process."""
    key = fingerprint(name, scalar, *map(str, ins), "to", *map(str, outs), takes)
    if key not in _made:
        _made[key] = elementwise_loop(name, scalar, ins, outs, takes)
    return _made[key]


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if not line.startswith(("File", "During"))]
    said = [line.strip() for line in lines if line.strip()]
    return next((line for line in said if not line.startswith("Failed in")), "")


def _supported(name: str, integers: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's function of integers, with an error of ours for what it does not take: subtracting booleans, say."""

    @wraps(integers)
    def run(*arrays: Any, **options: Any) -> Any:
        try:
            return integers(*arrays, **options)
        except TypeError as error:
            kinds = " and ".join(str(a.dtype) for a in arrays)
            raise fail(
                DTypeError, f"{name}: not defined for {kinds}", got=str(error).partition(",")[0],
                hint="convert first, as with .astype(int), or use & | ^ ~ on booleans",
            ) from None  # fmt: skip

    return run


def passes(g: Any, *_: Any) -> Any:
    """The gradient line of an input that the gradient passes through unchanged."""
    return g


def vanishes(g: Any, *_: Any) -> Any:
    """The gradient line of a piecewise constant operation: zero, not absent."""
    return g * 0


def elementwise_op(
    name: str,
    scalar: Line,
    vjp: Any,
    *,
    arity: int = 1,
    integers: Any = None,
    result: str = "same",
    condition: bool = False,
    formula: str,
    symbol: str = "",
    builtin: bool = True,
) -> Op:
    """Declare an elementwise op; `integers` is NumPy's function for integers, without which they become float32."""
    kernels = Kernels(name, scalar, vjp, arity, result, integers, condition)

    def run(*arrays: Any) -> Any:
        return kernels[arrays[-1].dtype](*arrays)

    def shape(*specs: Spec) -> Spec:
        last = specs[-1]
        shape, dtype = broadcast_shape(name, *[s.shape for s in specs]), kernels.out(last.dtype)
        return last if shape == last.shape and dtype is last.dtype else Spec(shape, dtype)

    def takes(*specs: Spec) -> bool:
        return [s.dtype for s in specs] == kernels.types(specs[-1].dtype) and _takes(kernels, specs[-1].dtype)

    op = Op(name, run, shape, vjp, "diagonal", formula, symbol, kernels, takes=takes)
    return register(op) if builtin else op


def broadcast_shape(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcast shape, or a ShapeError that says which axis does not fit."""
    if shapes.count(shapes[0]) == len(shapes):
        return shapes[0]
    try:
        return stretched(*shapes)
    except ValueError:
        raise fail(
            ShapeError,
            f"{name}: shapes {' and '.join(map(str, shapes))} do not broadcast",
            expected="axes that are equal or 1, counted from the last",
            got=_clash(shapes),
            hint="insert an axis of size 1 with t[:, None] or tg.expand_dims, or check which operand is transposed",
        ) from None


def stretched(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """What NumPy's ``broadcast_shapes`` gives, which stops at 32 axes; a ValueError where shapes do not broadcast."""
    if max(map(len, shapes)) <= 32:
        return np.broadcast_shapes(*shapes)
    whole = []
    for axis in zip_longest(*[reversed(s) for s in shapes], fillvalue=1):
        sizes = {n for n in axis if n != 1} or {1}
        if len(sizes) > 1:
            raise ValueError("shapes do not broadcast")
        whole.append(sizes.pop())
    return tuple(reversed(whole))


def _clash(shapes: tuple[tuple[int, ...], ...]) -> str:
    for back in range(1, max(map(len, shapes)) + 1):
        sizes = {s[-back] for s in shapes if len(s) >= back and s[-back] != 1}
        if len(sizes) > 1:
            return f"sizes {' and '.join(map(str, sorted(sizes)))} on axis -{back}"
    return "more axes than NumPy has"


def _unary(op: Op, doc: str) -> Any:
    kernels = op.kernels

    def function(x=MISSING, *more, **words):
        if more or words or x is MISSING:
            raise wrong_call(function, _given(x, *more), words)
        if not isinstance(x, Tensor):
            x = as_tensor(x)
        data = x.data
        if type(data) is not np.ndarray:
            return apply(op, (x,)) if _takes(kernels, data.dtype) else function(cast(x, DEFAULT_FLOAT))
        kernel = kernels[data.dtype]
        if kernel is None:
            return function(cast(x, DEFAULT_FLOAT))
        out = kernel(data)
        if type(out) is not np.ndarray:
            out = np.asarray(out)
        return record(op, (x,), NO_PARAMS, out)

    return _dressed(function, op, doc)


def _binary(op: Op, doc: str) -> Any:
    kernels = op.kernels
    ndarray = np.ndarray

    def function(a=MISSING, b=MISSING, *more, **words):
        if more or words or b is MISSING or a is MISSING:
            raise wrong_call(function, _given(a, b, *more), words)
        if type(a) is not Tensor or type(b) is not Tensor:
            return general(a, b)
        x, y = a.data, b.data
        if type(x) is not ndarray or type(y) is not ndarray or x.dtype is not y.dtype:
            return general(a, b)
        kernel = kernels[x.dtype]
        if kernel is None:
            return general(a, b)
        try:
            out = kernel(x, y)
        except ValueError as error:
            raise refusal(op, (a, b), NO_PARAMS, error) from None
        if type(out) is not ndarray:
            out = np.asarray(out)
        return record(op, (a, b), NO_PARAMS, out)

    def general(a, b):
        if type(a) is Tensor and type(b) in (int, float) and a.data.dtype.kind == "f":
            b = literal(b, a.data.dtype)
        elif type(b) is Tensor and type(a) in (int, float) and b.data.dtype.kind == "f":
            a = literal(a, b.data.dtype)
        else:
            a, b = _floats(kernels, promoted(comparable((a, b)) if kernels.result == "bool" else (a, b)))
        return apply(op, (a, b))

    return _dressed(function, op, doc)


def _variadic(op: Op, doc: str) -> Any:
    kernels = op.kernels

    def function(*inputs, **words):
        if len(inputs) != kernels.arity or words:
            raise wrong_call(function, inputs, words)
        if not kernels.condition:
            return apply(op, _floats(kernels, promoted(inputs)))
        return apply(op, (cast(as_tensor(inputs[0]), BOOL), *_floats(kernels, promoted(inputs[1:]))))

    return _dressed(function, op, doc)


MISSING = object()  # an argument that was not given: the call is looked at only where it is wrong


def _given(*inputs: Any) -> tuple[Any, ...]:
    return tuple(t for t in inputs if t is not MISSING)


def _takes(kernels: Kernels, dtype: np.dtype) -> bool:
    return dtype.kind == "f" or kernels.integers is not None


def _floats(kernels: Kernels, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if _takes(kernels, inputs[-1].dtype):
        return inputs
    return tuple(cast(t, DEFAULT_FLOAT) for t in inputs)


def _dressed(function: Any, op: Op, doc: str) -> Any:
    """Give a function its name, documentation, op and scalar."""
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = doc
    names = ["x"] if op.kernels.arity == 1 else scalar_names(op.kernels.scalar, op.kernels.arity)
    function.__signature__ = Signature([Parameter(n, Parameter.POSITIONAL_ONLY) for n in names])
    function.op = op
    function.scalar = op.kernels.scalar
    return function


def scalar_names(scalar: Any, arity: int) -> tuple[str, ...]:
    """The names of the inputs, as the function of numbers calls them."""
    code = getattr(getattr(scalar, "py_func", scalar), "__code__", None)
    return code.co_varnames[:arity] if code else tuple("abcdefgh"[:arity])


def _declare(name: str, scalar: Line, vjp: Any, summary: str, example: str, **facts: Any) -> Any:
    """An elementwise op and its public function; `example` is ``inputs -> result`` as doctests print them."""
    op = elementwise_op(name, scalar, vjp, **facts)
    call, _, result = example.partition(" -> ")
    formula = op.formula.format("x", "y", "z")
    doc = _DOC.format(summary=summary, formula=formula, name=name, call=call, result=result) if example else formula
    return {1: _unary, 2: _binary}.get(op.kernels.arity, _variadic)(op, doc)


_DOC = """{summary}

Works element by element with NumPy's broadcasting. float32 stays float32; integers become float32 where the result is
not an integer.

Formula: ``{formula}``

Examples
--------
>>> import tinygrad_rnn as tg
>>> tg.{name}({call}).tolist()
{result}
"""

# Constants and parts of the gradient lines. (Programs know a line by its form, and ``g * exp(x)`` is that of expm1:
# where an exponential is part of a longer line it comes first.)
_2_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
_SQRT_HALF = math.sqrt(0.5)
_1_OVER_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
_INFINITY = math.inf


def _near(x: Any) -> Any:
    """`x` no farther out than where ``exp(-x * x / 2)`` is 0 in every dtype: at infinity its products would be NaN."""
    return clip_op(x, -40, 40)


def _gelu_slope(x: Any) -> Any:
    """``Phi(x) + x phi(x)`` of the normal distribution, where 1 + erf(x) would have no digits left far down."""
    return 0.5 * erfc(-_SQRT_HALF * x) + exp(-0.5 * square(x)) * (_1_OVER_SQRT_2PI * x)


def _is_level(a: Any, b: Any) -> Any:
    """Whether powers of `a` are 0 for exponents near `b`, or 0 to the 0: there the slope by the exponent is 0."""
    return (a == 0) & (b >= 0) | (a == _INFINITY) & (b < 0)


# Arithmetic -----------------------------------------------------------------------------------------------------------

add: Any = _declare(
    "add", lambda a, b: a + b, (passes, passes),
    "Sum.", "[1.0, 2.0], 3.0 -> [4.0, 5.0]",
    arity=2, integers=np.add, formula="{0} + {1}", symbol="+",
)
subtract: Any = _declare(
    "subtract", lambda a, b: a - b, (passes, lambda g, y, a, b: -g),
    "Difference.", "[1.0, 2.0], 3.0 -> [-2.0, -1.0]",
    arity=2, integers=np.subtract, formula="{0} - {1}", symbol="−",
)
multiply: Any = _declare(
    "multiply", lambda a, b: a * b, (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    "Product.", "[1.0, 2.0], 3.0 -> [3.0, 6.0]",
    arity=2, integers=np.multiply, formula=r"{0} \odot {1}", symbol="⊙",
)
divide: Any = _declare(
    "divide", lambda a, b: a / b, (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b),
    "Quotient; division by zero gives infinity or NaN.", "[1.0, 2.0], 4.0 -> [0.25, 0.5]",
    arity=2, formula=r"{0} / {1}", symbol="÷",
)
power: Any = _declare(
    "power", lambda a, b: scalars.pow(a, b),
    (
        lambda g, y, a, b: g * b * power(a, where((a == 0) & (b == 0), 1, b - 1)),  # 0 at b = 0, also where a is 0
        lambda g, y, a, b: g * y * log(where(_is_level(a, b), 1, a)),
    ),
    "First argument to the power of the second.", "[1.0, 2.0], 3.0 -> [1.0, 8.0]",
    arity=2, integers=np.power, formula="{0}^{{{1}}}", symbol="pow",
)
floor_divide: Any = _declare(
    "floor_divide", lambda a, b: a // b, (vanishes, vanishes),
    "Quotient rounded down; its gradient is zero.", "[7.0, -7.0], 2.0 -> [3.0, -4.0]",
    arity=2, integers=np.floor_divide, formula=r"\lfloor {0} / {1} \rfloor", symbol="//",
)
mod: Any = _declare(
    "mod", lambda a, b: a % b, (passes, lambda g, y, a, b: -g * (a // b)),
    "Remainder with the sign of the divisor.", "[7.0, -7.0], 4.0 -> [3.0, 1.0]",
    arity=2, integers=np.mod, formula=r"{0} \bmod {1}", symbol="mod",
)
negative: Any = _declare(
    "negative", lambda x: -x, (lambda g, y, x: -g,),
    "Negation.", "[1.0, -2.0] -> [-1.0, 2.0]",
    integers=np.negative, formula="-{0}", symbol="−",
)
abs: Any = _declare(
    "abs", lambda x: math.fabs(x), (lambda g, y, x: g * sign(x),),
    "Absolute value; its gradient at zero is zero.", "[1.0, -2.0] -> [1.0, 2.0]",
    integers=np.abs, formula=r"\lvert {0} \rvert", symbol="|·|",
)
sign: Any = _declare(
    "sign", lambda x: where(x > 0, 1, where(x < 0, -1, x)), (vanishes,),
    "-1, 0 or 1; its gradient is zero.", "[3.0, -2.0, 0.0] -> [1.0, -1.0, 0.0]",
    integers=np.sign, formula=r"\mathrm{{sign}}({0})",
)
square: Any = _declare(
    "square", lambda x: x * x, (lambda g, y, x: 2 * g * x,),
    "Square.", "[3.0, -2.0] -> [9.0, 4.0]",
    integers=np.square, formula="{0}^2", symbol="x²",
)
sqrt: Any = _declare(
    "sqrt", lambda x: np.sqrt(x), (lambda g, y, x: 0.5 * g / y,),
    "Square root; NaN below zero, and an infinite gradient at zero.", "[4.0, 9.0] -> [2.0, 3.0]",
    formula=r"\sqrt{{{0}}}", symbol="√",
)
rsqrt: Any = _declare(
    "rsqrt", lambda x: 1 / np.sqrt(x), (lambda g, y, x: -0.5 * g * y / x,),
    "Reciprocal square root.", "[4.0, 16.0] -> [0.5, 0.25]",
    formula=r"1 / \sqrt{{{0}}}",
)

# Exponentials and trigonometry ----------------------------------------------------------------------------------------

exp: Any = _declare(
    "exp", scalars.exp, (lambda g, y, x: g * y,),
    "Exponential.", "[0.0, 1.0] -> [1.0, 2.7182817459106445]",
    formula="e^{{{0}}}",
)
expm1: Any = _declare(
    "expm1", scalars.expm1, (lambda g, y, x: g * exp(x),),  # y + 1 has no digits left far down
    "Exponential minus one, exact near zero.", "[0.0, 1e-10] -> [0.0, 1.000000013351432e-10]",
    formula="e^{{{0}}} - 1",
)
log: Any = _declare(
    "log", scalars.log, (lambda g, y, x: g / x,),
    "Natural logarithm; minus infinity at zero, NaN below.", "[1.0, 2.0] -> [0.0, 0.6931471824645996]",
    formula=r"\ln {0}",
)
log1p: Any = _declare(
    "log1p", scalars.log1p, (lambda g, y, x: g / (1 + x),),
    "Logarithm of one plus the argument, exact near zero.", "[0.0, 1e-10] -> [0.0, 1.000000013351432e-10]",
    formula=r"\ln(1 + {0})",
)
sin: Any = _declare(
    "sin", scalars.sin, (lambda g, y, x: g * cos(x),),
    "Sine of an angle in radians.", "[0.0] -> [0.0]", formula=r"\sin {0}",
)
cos: Any = _declare(
    "cos", scalars.cos, (lambda g, y, x: -g * sin(x),),
    "Cosine of an angle in radians.", "[0.0] -> [1.0]", formula=r"\cos {0}",
)

# Activations ----------------------------------------------------------------------------------------------------------

# The lines of tanh and sigmoid take the result alone, which costs a training step least; where it is close to 1 they
# lose digits: derivatives q are off by up to 16 eps (|q| + |x q'| + |y|), of all other ops by the first two terms.
tanh: Any = _declare(
    "tanh", scalars.tanh, (lambda g, y, x: g * (1 - y * y),),
    "Hyperbolic tangent.", "[0.0, 100.0] -> [0.0, 1.0]", formula=r"\tanh({0})",
)
sigmoid: Any = _declare(
    "sigmoid", scalars.sigmoid, (lambda g, y, x: g * y * (1 - y),),
    "Logistic function.", "[0.0, 100.0] -> [0.5, 1.0]", formula=r"\sigma({0})", symbol="σ",
)
relu: Any = _declare(
    "relu", lambda x: where(x <= 0, 0, x), (lambda g, y, x: where(x <= 0, 0, g),),
    "Rectified linear unit; its gradient at zero is zero.", "[-1.0, 2.0] -> [0.0, 2.0]",
    integers=lambda x: np.maximum(x, 0), formula=r"\mathrm{{relu}}({0})",
)
leaky_relu_op: Any = _declare(
    "leaky_relu", lambda x, slope: where(x > 0, x, slope * x),
    (lambda g, y, x, slope: where(x > 0, g, slope * g), lambda g, y, x, slope: where(x > 0, 0, g * x)),
    "", "", arity=2, formula=r"\mathrm{{lrelu}}({0}, {1})",
)
elu_op: Any = _declare(
    "elu", lambda x, alpha: where(x > 0, x, alpha * scalars.expm1(x)),
    (
        lambda g, y, x, alpha: exp(where(x > 0, 0, x)) * (g * where(x > 0, 1, alpha)),
        lambda g, y, x, alpha: where(x > 0, 0, g * expm1(where(x > 0, 0, x))),
    ),
    "", "", arity=2, formula=r"\mathrm{{elu}}({0}, {1})",
)
softplus: Any = _declare(
    "softplus", scalars.softplus, (lambda g, y, x: exp(-softplus(-x)) * g,),  # sigmoid, and its slope as well
    "``log(1 + exp(x))`` without overflow.", "[0.0, 100.0] -> [0.6931471824645996, 100.0]",
    formula=r"\ln(1 + e^{{{0}}})",
)
gelu: Any = _declare(
    "gelu", scalars.gelu,
    (lambda g, y, x: g * _gelu_slope(_near(x)),),
    "Gaussian error linear unit, ``x * Phi(x)`` (Hendrycks and Gimpel, 2016).", "[0.0, 100.0] -> [0.0, 100.0]",
    formula=r"\mathrm{{gelu}}({0})",
)
erf: Any = _declare(
    "erf", scalars.erf, (lambda g, y, x: exp(-square(_near(x))) * (g * _2_OVER_SQRT_PI),),
    "Error function.", "[0.0, 100.0] -> [0.0, 1.0]", formula=r"\mathrm{{erf}}({0})",
)
erfc: Any = _declare(
    "erfc", scalars.erfc, (lambda g, y, x: exp(-square(_near(x))) * (g * -_2_OVER_SQRT_PI),),
    "Complementary error function, ``1 - erf(x)`` without its cancellation.", "[0.0, -100.0] -> [1.0, 2.0]",
    formula=r"\mathrm{{erfc}}({0})",
)

# Choices (a tie shares the gradient) ----------------------------------------------------------------------------------

maximum: Any = _declare(
    "maximum", lambda a, b: where(a != a, a, where(b > a, b, where(b != b, b, a))),
    (
        lambda g, y, a, b: where(a > b, g, where(a == b, 0.5 * g, 0)),
        lambda g, y, a, b: where(b > a, g, where(a == b, 0.5 * g, 0)),
    ),
    "The larger of two values; NaN if either is.", "[1.0, 4.0], 3.0 -> [3.0, 4.0]",
    arity=2, integers=np.maximum, formula=r"\max({0}, {1})", symbol="max",
)
minimum: Any = _declare(
    "minimum", lambda a, b: where(a != a, a, where(b < a, b, where(b != b, b, a))),
    (
        lambda g, y, a, b: where(a < b, g, where(a == b, 0.5 * g, 0)),
        lambda g, y, a, b: where(b < a, g, where(a == b, 0.5 * g, 0)),
    ),
    "The smaller of two values; NaN if either is.", "[1.0, 4.0], 3.0 -> [1.0, 3.0]",
    arity=2, integers=np.minimum, formula=r"\min({0}, {1})", symbol="min",
)
where: Any = _declare(
    "where", lambda c, a, b: a if c else b,
    (lambda g, y, c, a, b: vanishes(g), lambda g, y, c, a, b: where(c, g, 0), lambda g, y, c, a, b: where(c, 0, g)),
    "The second argument where the first is true, else the third.", "[True, False], 1.0, [3.0, 4.0] -> [1.0, 4.0]",
    arity=3, condition=True, integers=np.where, formula=r"({0} \;?\; {1} : {2})",
)
clip_op: Any = _declare(
    "clip", lambda x, low, high: minimum(maximum(x, low), high),
    (
        lambda g, y, x, low, high: where(x < low, 0, where(x > high, 0, g)),
        lambda g, y, x, low, high: where(x < low, where(low > high, 0, g), 0),
        lambda g, y, x, low, high: where(maximum(x, low) > high, g, 0),
    ),
    "", "", arity=3, integers=np.clip, formula=r"\mathrm{{clip}}({0}, {1}, {2})",
)

# Rounding (the gradient is zero) --------------------------------------------------------------------------------------

floor: Any = _declare(
    "floor", lambda x: np.floor(x), (vanishes,),
    "Round down; the gradient is zero.", "[1.5, -1.5] -> [1.0, -2.0]",
    integers=np.copy, formula=r"\lfloor {0} \rfloor",
)
ceil: Any = _declare(
    "ceil", lambda x: np.ceil(x), (vanishes,),
    "Round up; the gradient is zero.", "[1.5, -1.5] -> [2.0, -1.0]",
    integers=np.copy, formula=r"\lceil {0} \rceil",
)
round: Any = _declare(
    "round", lambda x: np.rint(x), (vanishes,),
    "Round to the nearest integer, halves to even; the gradient is zero.", "[1.5, 2.5] -> [2.0, 2.0]",
    integers=np.copy, formula=r"\mathrm{{round}}({0})",
)

# Comparisons and logic (results are boolean and carry no gradient) ----------------------------------------------------

_NO_BOOL = "its result is boolean"


def _compare(name: str, scalar: Line, numpy: Any, summary: str, symbol: str, example: str = "[1.0, 2.0], 2.0") -> Any:
    result = str(numpy(np.array([1.0, 2.0]), 2.0).tolist())
    return _declare(
        name, scalar, _NO_BOOL, summary, f"{example} -> {result}",
        arity=2, integers=numpy, result="bool", formula="{0} " + symbol + " {1}", symbol=symbol,
    )  # fmt: skip


def _test(name: str, scalar: Line, numpy: Any, summary: str) -> Any:
    result = str(numpy(np.array([1.0, 0.0])).tolist())
    return _declare(
        name, scalar, _NO_BOOL, summary, f"[1.0, 0.0] -> {result}",
        integers=numpy, result="bool", formula=rf"\mathrm{{{{{name}}}}}({{0}})",
    )  # fmt: skip


equal = _compare("equal", lambda a, b: a == b, np.equal, "Whether two values are equal.", "=")
not_equal = _compare("not_equal", lambda a, b: a != b, np.not_equal, "Whether two values differ.", "≠")
less = _compare("less", lambda a, b: a < b, np.less, "Whether the first is smaller.", "<")
less_equal = _compare("less_equal", lambda a, b: a <= b, np.less_equal, "Whether the first is not larger.", "≤")
greater = _compare("greater", lambda a, b: a > b, np.greater, "Whether the first is larger.", ">")
greater_equal = _compare("greater_equal", lambda a, b: a >= b, np.greater_equal, "Whether it is not smaller.", "≥")
logical_and = _compare("logical_and", lambda a, b: (a != 0) & (b != 0), np.logical_and, "Whether both are true.", "∧")
logical_or = _compare("logical_or", lambda a, b: (a != 0) | (b != 0), np.logical_or, "Whether either is true.", "∨")
logical_xor = _compare("logical_xor", lambda a, b: (a != 0) != (b != 0), np.logical_xor, "Whether one is.", "⊕")
logical_not = _test("logical_not", lambda x: x == 0, np.logical_not, "Whether a value is false or zero.")
isnan = _test("isnan", lambda x: x != x, np.isnan, "Whether a value is NaN.")
isinf = _test("isinf", lambda x: math.fabs(x) == math.inf, np.isinf, "Whether a value is infinite.")
isfinite = _test("isfinite", lambda x: x - x == 0, np.isfinite, "Whether a value is neither NaN nor infinite.")


# Bits of integers: NumPy's functions, without a float kernel ----------------------------------------------------------


def _bits(name: str, numpy: Any, summary: str, symbol: str, arity: int = 2) -> Any:
    formula = symbol.join(["{0}", "{1}"][:arity])

    def shape(*specs: Spec) -> Spec:
        dtype = numpy(*[np.empty(0, s.dtype) for s in specs]).dtype  # a shift of bool makes int8
        return Spec(broadcast_shape(name, *[s.shape for s in specs]), dtype)

    def takes(*specs: Spec) -> bool:
        return len(specs) == arity and of_one_dtype(*specs) and not are_floats(specs[0])

    op = register(Op(name, numpy, shape, "its inputs are integers", None, formula, symbol, takes=takes))

    def function(*inputs):
        inputs = promoted(inputs)
        if inputs[0].is_float:
            raise fail(DTypeError, f"{name}: expected integers or booleans, got {inputs[0].dtype}")
        return apply(op, inputs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{summary}\n\nFor integers and booleans only.\n"
    return function


bitwise_and = _bits("bitwise_and", np.bitwise_and, "Bitwise and.", "&")
bitwise_or = _bits("bitwise_or", np.bitwise_or, "Bitwise or.", "|")
bitwise_xor = _bits("bitwise_xor", np.bitwise_xor, "Bitwise exclusive or.", "^")
left_shift = _bits("left_shift", np.left_shift, "Shift bits to the left.", "<<")
right_shift = _bits("right_shift", np.right_shift, "Shift bits to the right.", ">>")
invert = _bits("invert", np.invert, "Bitwise complement; logical not for booleans.", "~", arity=1)

# With defaults --------------------------------------------------------------------------------------------------------


def leaky_relu(x: Any, slope: Any = 0.01) -> Tensor:
    """``x`` where positive, else ``slope * x`` (Maas, Hannun and Ng, 2013); `slope` may be a tensor that is learned.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.leaky_relu([-2.0, 3.0], 0.5).tolist()
    [-1.0, 3.0]
    """
    return leaky_relu_op(x, slope)


def elu(x: Any, alpha: Any = 1.0) -> Tensor:
    """``x`` where positive, else ``alpha * (exp(x) - 1)`` (Clevert, Unterthiner and Hochreiter, 2015).

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.elu([-100.0, 3.0]).tolist()
    [-1.0, 3.0]
    """
    return elu_op(x, alpha)


def clip(x: Any, low: Any = None, high: Any = None) -> Tensor:
    """``x`` limited to the range from `low` to `high`; None leaves a side open.

    The gradient is passed through inside the range and at its ends, and is zero outside. `high` wins where the limits
    cross, as in NumPy.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.clip([-2.0, 0.5, 3.0], 0.0, 1.0).tolist()
    [0.0, 0.5, 1.0]
    """
    if low is None and high is None:
        raise fail(TypeError, "clip: give low, high, or both", expected="clip(x, low, high)", got="neither")
    x, limit = promoted((x, high if low is None else low)) if low is None or high is None else (x, None)
    if limit is None:
        return clip_op(x, low, high)
    if not limit.is_float:
        return minimum(x, limit) if low is None else maximum(x, limit)
    return clip_op(x, -np.inf, limit) if low is None else clip_op(x, limit, np.inf)


def elementwise(scalar: Line, vjp: Any = None, *, name: str | None = None, formula: str = "") -> Any:
    """Make an operation of your own from a function of numbers: jitted, recorded, differentiable.

    Parameters
    ----------
    scalar : callable
        Takes one number per input and returns a number; what Numba can compile.
    vjp : callable or tuple of callables, optional
        A gradient line per input, ``line(g, y, *inputs)``, written with operators and tinygrad_rnn functions so that it
        can be differentiated again. Without it the operation has no gradient, and says so when asked.
    name : str, optional
        Shown in pictures and messages; the function's name by default.
    formula : str, optional
        LaTeX with ``{0}``, ``{1}`` for the inputs.

    Returns
    -------
    callable
        Takes tensors, arrays and numbers with NumPy's broadcasting.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cube = tg.elementwise(lambda x: x * x * x, vjp=lambda g, y, x: 3 * g * x * x, name="cube")
    >>> x = tg.parameter([1.0, 2.0])
    >>> tg.grad(cube(x).sum(), x).tolist()
    [3.0, 12.0]
    """
    code = getattr(scalar, "__code__", None)
    if code is None:
        raise TypeError(f"elementwise: expected a Python function of numbers, got {scalar!r}")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"elementwise: name must be a string, got {name!r}")
    arity = code.co_argcount
    called = name or scalar.__name__.replace("<lambda>", "elementwise")
    lines = vjp if isinstance(vjp, tuple) or vjp is None else (vjp,)
    if not arity:
        raise TypeError(f"elementwise: {called} needs at least one named argument")
    if lines is not None and len(lines) != arity:
        raise TypeError(f"elementwise: {called} has {arity} inputs, so vjp needs as many lines; got {len(lines)}")
    for line in lines or ():
        _check_line(called, line, arity)
    op = elementwise_op(
        called, scalar, lines or "it was made without a vjp", arity=arity,
        formula=formula or called + "(" + ", ".join(f"{{{k}}}" for k in range(arity)) + ")", builtin=False,
    )  # fmt: skip
    doc = scalar.__doc__ or f"{called}, made by tinygrad_rnn.elementwise."
    return {1: _unary, 2: _binary}.get(arity, _variadic)(op, doc)


def _check_line(called: str, line: Any, arity: int) -> None:
    code = getattr(line, "__code__", None)
    if code is None or code.co_flags & CO_VARARGS:
        return
    names = ", ".join(code.co_varnames[: code.co_argcount])
    if code.co_argcount != arity + 2:
        raise TypeError(f"elementwise: a line of {called} takes (g, y, *inputs), {arity + 2} arguments; got ({names})")
    if 0 not in arguments_read(line):
        raise TypeError(
            f"elementwise: the line ({names}) of {called} does not use its gradient {names.partition(',')[0]}\n"
            f"  hint:     multiply by it; a gradient of zero is g * 0"
        )
