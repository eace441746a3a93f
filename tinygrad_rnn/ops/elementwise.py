"""Elementwise operations: each is a scalar function and one gradient line per input.

A gradient line is written once and used twice: on tensors, where it is recorded and can be differentiated again, and on
numbers, where Numba compiles the same line to one fused kernel for a backward pass that records nothing. It takes the
cotangent, the result and the inputs. How an entry becomes an operation is in ``elementwise_op.py``.

Float kernels are Numba's; arithmetic and comparisons of integers and booleans are NumPy's, which are vectorised
already and carry no gradient.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import fail
from ..kernels import scalars
from ..tensor import Tensor
from .core import promoted
from .elementwise_op import bits, comparison, declare, predicate

__all__ = [
    "abs", "add", "ceil", "clip", "cos", "divide", "elu", "equal", "erf", "erfc", "exp", "expm1", "floor",
    "floor_divide", "gelu", "greater", "greater_equal", "isfinite", "isinf", "isnan", "leaky_relu", "less",
    "less_equal", "log", "log1p", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum",
    "mod", "multiply", "negative", "not_equal", "power", "relu", "round", "rsqrt", "sigmoid", "sign", "sin", "softplus",
    "sqrt", "square", "subtract", "tanh", "where",
]  # fmt: skip


def identity_rule(g: Any, *_: Any) -> Any:
    """The gradient line of an input that the gradient passes through unchanged."""
    return g


def zero_rule(g: Any, *_: Any) -> Any:
    """The gradient line of a piecewise constant operation: zero, not absent."""
    return g * 0


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

add: Any = declare(
    "add", lambda a, b: a + b, (identity_rule, identity_rule),
    "Sum.", "[1.0, 2.0], 3.0 -> [4.0, 5.0]",
    arity=2, integers=np.add, formula="{0} + {1}", symbol="+",
)
subtract: Any = declare(
    "subtract", lambda a, b: a - b, (identity_rule, lambda g, y, a, b: -g),
    "Difference.", "[1.0, 2.0], 3.0 -> [-2.0, -1.0]",
    arity=2, integers=np.subtract, formula="{0} - {1}", symbol="−",
)
multiply: Any = declare(
    "multiply", lambda a, b: a * b, (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    "Product.", "[1.0, 2.0], 3.0 -> [3.0, 6.0]",
    arity=2, integers=np.multiply, formula=r"{0} \odot {1}", symbol="⊙",
)
divide: Any = declare(
    "divide", lambda a, b: a / b, (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b),
    "Quotient; division by zero gives infinity or NaN.", "[1.0, 2.0], 4.0 -> [0.25, 0.5]",
    arity=2, formula=r"{0} / {1}", symbol="÷",
)
power: Any = declare(
    "power", lambda a, b: scalars.pow(a, b),
    (
        lambda g, y, a, b: g * b * power(a, where((a == 0) & (b == 0), 1, b - 1)),  # 0 at b = 0, also where a is 0
        lambda g, y, a, b: g * y * log(where(_is_level(a, b), 1, a)),
    ),
    "First argument to the power of the second.", "[1.0, 2.0], 3.0 -> [1.0, 8.0]",
    arity=2, integers=np.power, formula="{0}^{{{1}}}", symbol="pow",
)
floor_divide: Any = declare(
    "floor_divide", lambda a, b: a // b, (zero_rule, zero_rule),
    "Quotient rounded down; its gradient is zero.", "[7.0, -7.0], 2.0 -> [3.0, -4.0]",
    arity=2, integers=np.floor_divide, formula=r"\lfloor {0} / {1} \rfloor", symbol="//",
)
mod: Any = declare(
    "mod", lambda a, b: a % b, (identity_rule, lambda g, y, a, b: -g * (a // b)),
    "Remainder with the sign of the divisor.", "[7.0, -7.0], 4.0 -> [3.0, 1.0]",
    arity=2, integers=np.mod, formula=r"{0} \bmod {1}", symbol="mod",
)
negative: Any = declare(
    "negative", lambda x: -x, (lambda g, y, x: -g,),
    "Negation.", "[1.0, -2.0] -> [-1.0, 2.0]",
    integers=np.negative, formula="-{0}", symbol="−",
)
abs: Any = declare(
    "abs", lambda x: math.fabs(x), (lambda g, y, x: g * sign(x),),
    "Absolute value; its gradient at zero is zero.", "[1.0, -2.0] -> [1.0, 2.0]",
    integers=np.abs, formula=r"\lvert {0} \rvert", symbol="|·|",
)
sign: Any = declare(
    "sign", lambda x: where(x > 0, 1, where(x < 0, -1, x)), (zero_rule,),
    "-1, 0 or 1; its gradient is zero.", "[3.0, -2.0, 0.0] -> [1.0, -1.0, 0.0]",
    integers=np.sign, formula=r"\mathrm{{sign}}({0})",
)
square: Any = declare(
    "square", lambda x: x * x, (lambda g, y, x: 2 * g * x,),
    "Square.", "[3.0, -2.0] -> [9.0, 4.0]",
    integers=np.square, formula="{0}^2", symbol="x²",
)
sqrt: Any = declare(
    "sqrt", lambda x: np.sqrt(x), (lambda g, y, x: 0.5 * g / y,),
    "Square root; NaN below zero, and an infinite gradient at zero.", "[4.0, 9.0] -> [2.0, 3.0]",
    formula=r"\sqrt{{{0}}}", symbol="√",
)
rsqrt: Any = declare(
    "rsqrt", lambda x: 1 / np.sqrt(x), (lambda g, y, x: -0.5 * g * y / x,),
    "Reciprocal square root.", "[4.0, 16.0] -> [0.5, 0.25]",
    formula=r"1 / \sqrt{{{0}}}",
)

# Exponentials and trigonometry ----------------------------------------------------------------------------------------

exp: Any = declare(
    "exp", scalars.exp, (lambda g, y, x: g * y,),
    "Exponential.", "[0.0, 1.0] -> [1.0, 2.7182817459106445]",
    formula="e^{{{0}}}",
)
expm1: Any = declare(
    "expm1", scalars.expm1, (lambda g, y, x: g * exp(x),),  # y + 1 has no digits left far down
    "Exponential minus one, exact near zero.", "[0.0, 1e-10] -> [0.0, 1.000000013351432e-10]",
    formula="e^{{{0}}} - 1",
)
log: Any = declare(
    "log", scalars.log, (lambda g, y, x: g / x,),
    "Natural logarithm; minus infinity at zero, NaN below.", "[1.0, 2.0] -> [0.0, 0.6931471824645996]",
    formula=r"\ln {0}",
)
log1p: Any = declare(
    "log1p", scalars.log1p, (lambda g, y, x: g / (1 + x),),
    "Logarithm of one plus the argument, exact near zero.", "[0.0, 1e-10] -> [0.0, 1.000000013351432e-10]",
    formula=r"\ln(1 + {0})",
)
sin: Any = declare(
    "sin", scalars.sin, (lambda g, y, x: g * cos(x),),
    "Sine of an angle in radians.", "[0.0] -> [0.0]", formula=r"\sin {0}",
)
cos: Any = declare(
    "cos", scalars.cos, (lambda g, y, x: -g * sin(x),),
    "Cosine of an angle in radians.", "[0.0] -> [1.0]", formula=r"\cos {0}",
)

# Activations ----------------------------------------------------------------------------------------------------------

# The lines of tanh and sigmoid take the result alone, which costs a training step least; where it is close to 1 they
# lose digits: derivatives q are off by up to 16 eps (|q| + |x q'| + |y|), of all other ops by the first two terms.
tanh: Any = declare(
    "tanh", scalars.tanh, (lambda g, y, x: g * (1 - y * y),),
    "Hyperbolic tangent.", "[0.0, 100.0] -> [0.0, 1.0]", formula=r"\tanh({0})",
)
sigmoid: Any = declare(
    "sigmoid", scalars.sigmoid, (lambda g, y, x: g * y * (1 - y),),
    "Logistic function.", "[0.0, 100.0] -> [0.5, 1.0]", formula=r"\sigma({0})", symbol="σ",
)
relu: Any = declare(
    "relu", lambda x: where(x <= 0, 0, x), (lambda g, y, x: where(x <= 0, 0, g),),
    "Rectified linear unit; its gradient at zero is zero.", "[-1.0, 2.0] -> [0.0, 2.0]",
    integers=lambda x: np.maximum(x, 0), formula=r"\mathrm{{relu}}({0})",
)
leaky_relu_op: Any = declare(
    "leaky_relu", lambda x, slope: where(x > 0, x, slope * x),
    (lambda g, y, x, slope: where(x > 0, g, slope * g), lambda g, y, x, slope: where(x > 0, 0, g * x)),
    "", "", arity=2, formula=r"\mathrm{{lrelu}}({0}, {1})",
)
elu_op: Any = declare(
    "elu", lambda x, alpha: where(x > 0, x, alpha * scalars.expm1(x)),
    (
        lambda g, y, x, alpha: exp(where(x > 0, 0, x)) * (g * where(x > 0, 1, alpha)),
        lambda g, y, x, alpha: where(x > 0, 0, g * expm1(where(x > 0, 0, x))),
    ),
    "", "", arity=2, formula=r"\mathrm{{elu}}({0}, {1})",
)
softplus: Any = declare(
    "softplus", scalars.softplus, (lambda g, y, x: exp(-softplus(-x)) * g,),  # sigmoid, and its slope as well
    "``log(1 + exp(x))`` without overflow.", "[0.0, 100.0] -> [0.6931471824645996, 100.0]",
    formula=r"\ln(1 + e^{{{0}}})",
)
gelu: Any = declare(
    "gelu", scalars.gelu,
    (lambda g, y, x: g * _gelu_slope(_near(x)),),
    "Gaussian error linear unit, ``x * Phi(x)`` (Hendrycks and Gimpel, 2016).", "[0.0, 100.0] -> [0.0, 100.0]",
    formula=r"\mathrm{{gelu}}({0})",
)
erf: Any = declare(
    "erf", scalars.erf, (lambda g, y, x: exp(-square(_near(x))) * (g * _2_OVER_SQRT_PI),),
    "Error function.", "[0.0, 100.0] -> [0.0, 1.0]", formula=r"\mathrm{{erf}}({0})",
)
erfc: Any = declare(
    "erfc", scalars.erfc, (lambda g, y, x: exp(-square(_near(x))) * (g * -_2_OVER_SQRT_PI),),
    "Complementary error function, ``1 - erf(x)`` without its cancellation.", "[0.0, -100.0] -> [1.0, 2.0]",
    formula=r"\mathrm{{erfc}}({0})",
)

# Choices (a tie shares the gradient) ----------------------------------------------------------------------------------

maximum: Any = declare(
    "maximum", lambda a, b: where(a != a, a, where(b > a, b, where(b != b, b, a))),
    (
        lambda g, y, a, b: where(a > b, g, where(a == b, 0.5 * g, 0)),
        lambda g, y, a, b: where(b > a, g, where(a == b, 0.5 * g, 0)),
    ),
    "The larger of two values; NaN if either is.", "[1.0, 4.0], 3.0 -> [3.0, 4.0]",
    arity=2, integers=np.maximum, formula=r"\max({0}, {1})", symbol="max",
)
minimum: Any = declare(
    "minimum", lambda a, b: where(a != a, a, where(b < a, b, where(b != b, b, a))),
    (
        lambda g, y, a, b: where(a < b, g, where(a == b, 0.5 * g, 0)),
        lambda g, y, a, b: where(b < a, g, where(a == b, 0.5 * g, 0)),
    ),
    "The smaller of two values; NaN if either is.", "[1.0, 4.0], 3.0 -> [1.0, 3.0]",
    arity=2, integers=np.minimum, formula=r"\min({0}, {1})", symbol="min",
)
where: Any = declare(
    "where", lambda c, a, b: a if c else b,
    (lambda g, y, c, a, b: zero_rule(g), lambda g, y, c, a, b: where(c, g, 0), lambda g, y, c, a, b: where(c, 0, g)),
    "The second argument where the first is true, else the third.", "[True, False], 1.0, [3.0, 4.0] -> [1.0, 4.0]",
    arity=3, condition=True, integers=np.where, formula=r"({0} \;?\; {1} : {2})",
)
clip_op: Any = declare(
    "clip", lambda x, low, high: minimum(maximum(x, low), high),
    (
        lambda g, y, x, low, high: where(x < low, 0, where(x > high, 0, g)),
        lambda g, y, x, low, high: where(x < low, where(low > high, 0, g), 0),
        lambda g, y, x, low, high: where(maximum(x, low) > high, g, 0),
    ),
    "", "", arity=3, integers=np.clip, formula=r"\mathrm{{clip}}({0}, {1}, {2})",
)

# Rounding (the gradient is zero) --------------------------------------------------------------------------------------

floor: Any = declare(
    "floor", lambda x: np.floor(x), (zero_rule,),
    "Round down; the gradient is zero.", "[1.5, -1.5] -> [1.0, -2.0]",
    integers=np.copy, formula=r"\lfloor {0} \rfloor",
)
ceil: Any = declare(
    "ceil", lambda x: np.ceil(x), (zero_rule,),
    "Round up; the gradient is zero.", "[1.5, -1.5] -> [2.0, -1.0]",
    integers=np.copy, formula=r"\lceil {0} \rceil",
)
round: Any = declare(
    "round", lambda x: np.rint(x), (zero_rule,),
    "Round to the nearest integer, halves to even; the gradient is zero.", "[1.5, 2.5] -> [2.0, 2.0]",
    integers=np.copy, formula=r"\mathrm{{round}}({0})",
)

# Comparisons and logic (results are boolean and carry no gradient) ----------------------------------------------------

equal = comparison("equal", lambda a, b: a == b, np.equal, "Whether two values are equal.", "=")
not_equal = comparison("not_equal", lambda a, b: a != b, np.not_equal, "Whether two values differ.", "≠")
less = comparison("less", lambda a, b: a < b, np.less, "Whether the first is smaller.", "<")
less_equal = comparison("less_equal", lambda a, b: a <= b, np.less_equal, "Whether the first is not larger.", "≤")
greater = comparison("greater", lambda a, b: a > b, np.greater, "Whether the first is larger.", ">")
greater_equal = comparison("greater_equal", lambda a, b: a >= b, np.greater_equal, "Whether it is not smaller.", "≥")
logical_and = comparison("logical_and", lambda a, b: (a != 0) & (b != 0), np.logical_and, "Whether both are true.", "∧")
logical_or = comparison("logical_or", lambda a, b: (a != 0) | (b != 0), np.logical_or, "Whether either is true.", "∨")
logical_xor = comparison("logical_xor", lambda a, b: (a != 0) != (b != 0), np.logical_xor, "Whether one is.", "⊕")
logical_not = predicate("logical_not", lambda x: x == 0, np.logical_not, "Whether a value is false or zero.")
isnan = predicate("isnan", lambda x: x != x, np.isnan, "Whether a value is NaN.")
isinf = predicate("isinf", lambda x: math.fabs(x) == math.inf, np.isinf, "Whether a value is infinite.")
isfinite = predicate("isfinite", lambda x: x - x == 0, np.isfinite, "Whether a value is neither NaN nor infinite.")


# Bits of integers: NumPy's functions, without a float kernel ----------------------------------------------------------


bitwise_and = bits("bitwise_and", np.bitwise_and, "Bitwise and.", "&")
bitwise_or = bits("bitwise_or", np.bitwise_or, "Bitwise or.", "|")
bitwise_xor = bits("bitwise_xor", np.bitwise_xor, "Bitwise exclusive or.", "^")
left_shift = bits("left_shift", np.left_shift, "Shift bits to the left.", "<<")
right_shift = bits("right_shift", np.right_shift, "Shift bits to the right.", ">>")
invert = bits("invert", np.invert, "Bitwise complement; logical not for booleans.", "~", arity=1)

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
