"""Values, slopes and curvatures beside a better precision: what rounding may do to each elementwise op and each loss.

The law, for a value, a first or a second derivative q of arguments x: its error is at most 16 eps (|q| + |x q'|), the
second term being what a rounding of the arguments does to it. The exact function is the op's own function of numbers,
run on numbers of 250 digits, and its derivatives are differences of that: no gradient line is used, and an op that is
added to the registry is in.
"""

from __future__ import annotations

from types import FunctionType, ModuleType, SimpleNamespace

import mpmath

from tinygrad_rnn.kernels.cache import global_names

mpmath.mp.dps = 500
LOSES = 16  # times eps, that a derivative may lose
STEP = mpmath.mpf(10) ** -50  # of the differences, relative

# Functions of numbers, exactly ----------------------------------------------------------------------------------------


def _gelu(x):
    return x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2


FUNCTIONS = SimpleNamespace(  # by the names that they have in kernels.scalars, in math and in NumPy
    exp=mpmath.exp, expm1=mpmath.expm1, log=mpmath.log, log1p=mpmath.log1p, sin=mpmath.sin, cos=mpmath.cos,
    tanh=mpmath.tanh, sigmoid=lambda x: 1 / (1 + mpmath.exp(-x)), softplus=lambda x: mpmath.log1p(mpmath.exp(x)),
    erf=mpmath.erf, erfc=mpmath.erfc, gelu=_gelu, pow=mpmath.power, sqrt=mpmath.sqrt, fabs=abs, floor=mpmath.floor,
    ceil=mpmath.ceil, rint=mpmath.nint, inf=mpmath.inf,
)  # fmt: skip
DIVISIONS = {"floor_divide": lambda a, b: mpmath.floor(a / b), "mod": lambda a, b: a - b * mpmath.floor(a / b)}


def exact(function):
    """A function of numbers with mpmath's functions in the place of those that it calls."""
    function = getattr(function, "scalar", function)
    if not isinstance(function, FunctionType):
        return function
    if function.__module__.endswith("scalars"):
        return getattr(FUNCTIONS, function.__name__)
    names = {name: function.__globals__.get(name) for name in global_names(function.__code__)}
    names = {k: FUNCTIONS if isinstance(v, ModuleType) else exact(v) for k, v in names.items()}
    return FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)


def derivative(f, places):
    """The function of numbers that is the partial derivative of `f` by the arguments at `places`, one after another."""
    if not places:
        return f
    first, *rest = places
    inner = derivative(f, rest)

    def slope(*x):
        step = abs(x[first]) * STEP
        sides = [inner(*x[:first], x[first] + h, *x[first + 1 :]) for h in (step, -step)]
        return (sides[0] - sides[1]) / (2 * step)

    return slope
