"""Elementary functions of one element, written so that a loop over them becomes vector instructions.

A kernel of this package is a compiled loop that calls one scalar function per element.  When that function is the
``tanh`` of the C library the loop makes a call for every element; the functions on this page are instead straight
lines of arithmetic (both sides of every case are computed and one is selected), which LLVM inlines and widens.

Each public function exists twice.  Its Python body is what runs when it is called from Python, or when Numba is
switched off; it asks NumPy or ``math`` and never raises for a float.  Inside compiled code Numba takes the function
registered for the width of the argument, float32 or float64, and the result has that width.

The compiled functions are grown from recipes: a recipe receives the constants of one width and returns the function
for it.  Recipes are registered when this module is imported and compiled only when a kernel uses them.  Products
and sums may be contracted to fused multiply-adds, and every recipe is accurate with and without them; no other
liberty is taken with the arithmetic, so NaN, infinities and the sign of zero come out right.

The largest errors, in units in the last place of either width: 0.9 for ``exp``, ``log``, ``log1p`` and ``pow``, 1.1
for ``expm1``, 1.5 for ``tanh`` and ``erf``, 1.9 for ``sigmoid`` and ``softplus``, 4.5 for ``gelu`` and 5.5 for
``erfc``, far tails included; ``sin`` and ``cos`` are those of the C library.

Polynomial coefficients interpolate the function at Chebyshev nodes, computed with 200 bits, and are then rounded;
the error stated beside each is the largest in exact arithmetic, relative to the result unless stated otherwise.
"""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, overload, type_callable

# Numba's own error model would put a branch before every division.
_OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}, "forceinline": True}


# ---------------------------------------------------------------------------------------------- constants by width


def _constants(real, **values):
    """The constants of one width, every float (also inside a tuple) being of the type ``real``."""
    width = SimpleNamespace(real=real, zero=real(0), half=real(0.5), one=real(1), two=real(2))
    width.infinity, width.nan = real(math.inf), real(math.nan)
    width.log2_e = real(1.4426950408889634)
    width.smallest_normal, width.epsilon = np.finfo(real).smallest_normal, np.finfo(real).eps
    for name, value in values.items():
        setattr(width, name, tuple(map(real, value)) if isinstance(value, tuple) else real(value))
    return width


# A literal in compiled code is a float64 and would widen float32 arithmetic, so each constant is typed here.
_SINGLE = _constants(
    np.float32,
    # Adding 1.5 * 2**23 to a small number rounds it to an integer; with the exponent bias added as well, the low
    # bits of the sum are the exponent field of two to that integer.
    shifter=1.5 * 2**23 + 127,
    # ln 2 in two parts, the first short enough that multiplying it by any exponent is exact.
    ln2_high=0.693145751953125,
    ln2_low=1.4286068e-06,
    # Beyond these exp is 0 or infinity, and expm1 is -1.
    exp_lowest=-104,
    exp_highest=89,
    expm1_lowest=-18,
    # (e**r - 1 - r) / r**2 for |r| < 0.3477: error 2**-31.
    exp=(0.5, 1.6666667e-01, 4.1666463e-02, 8.3333105e-03, 1.393391e-03, 1.9891279e-04),
    # (2 artanh(s) - 2 s) / s**3 in s**2, for |s| < 0.1717: error 2**-28.
    log=(6.6666687e-01, 3.998876e-01, 2.9580986e-01),
    # The same for |s| < 1/3: error 2**-31.
    softplus=(6.666667e-01, 3.9999706e-01, 2.8592366e-01, 2.170646e-01, 2.3224922e-01),
    # What makes a subnormal number normal.
    log_rescale=2.0**24,
    log_rescale_exponent=24,
    # (tanh(x) / x - 1) / x**2 in x**2, for |x| < 0.55: error 2**-27.9.
    tanh_split=0.55,
    tanh=(-3.333333e-01, 1.3333112e-01, -5.3909134e-02, 2.1307591e-02, -6.6068512e-03),
    # erf(x) / x - 1 in x**2, for |x| < 1: error 2**-29.5.
    erf=(1.2837917e-01, -3.7612626e-01, 1.1283594e-01, -2.6854211e-02, 5.1890872e-03, -8.0168643e-04, 7.875875e-05),
    erf_highest=4,
    erfc_highest=10.25,
    gelu_highest=15,
    # exp(a**2) erfc(a) / t in 2 t - 1, where t = 2 / (2 + a), for 0 <= a < 10.7: error 2**-27.4.
    tail_scale=2,
    tail=(
        *(5.1079136e-01, 3.4358037e-01, 1.3973586e-01, 1.8220691e-02, -1.0752604e-02, -3.2367478e-03),
        *(1.5300908e-03, 4.1348528e-04, -2.9384828e-04, -2.1733442e-05, 3.309338e-05),
    ),
)
_DOUBLE = _constants(
    np.float64,
    shifter=1.5 * 2**52 + 1023,
    ln2_high=0.693147180559663,
    ln2_low=2.8235290563031577e-13,
    exp_lowest=-746,
    exp_highest=710,
    expm1_lowest=-40,
    # As above; error 2**-60.
    exp=(
        *(0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333325966, 0.0013888888888883629),
        *(0.0001984126987540889, 2.4801587325967827e-05, 2.7557254656202336e-06, 2.7557273111810967e-07),
        *(2.5105525761140995e-08, 2.091490745304636e-09),
    ),
    # Error 2**-57.
    log=(
        *(0.666666666666667, 0.3999999999989889, 0.28571428626253836, 0.22222211089379496, 0.1818289243253687),
        *(0.15331611722055008, 0.14617807153417325),
    ),
    # Error 2**-62.
    softplus=(
        *(0.6666666666666666, 0.3999999999999952, 0.28571428571600266, 0.22222222198216113, 0.1818181989926796),
        *(0.15384543917753166, 0.13335179661515711, 0.11734265179376593, 0.10845291032779812),
        *(0.07491639460673266, 0.15631534707431224),
    ),
    # ((2 artanh(s) - 2 s) / s**3 - 2/3) / s**2, for |s| < 0.1717: error 2**-69 of the logarithm.
    long_log=(
        *(0.4, 0.2857142857142937, 0.22222222221652765, 0.18181818336099848),
        *(0.1538459488700718, 0.1333480879881234, 0.11706126464563398, 0.11724327060846747),
    ),
    log_rescale=2.0**54,
    log_rescale_exponent=54,
    # Error 2**-58.
    tanh_split=0.55,
    tanh=(
        *(-0.3333333333333333, 0.13333333333332703, -0.05396825396742142, 0.021869488493092518),
        *(-0.00886323438457671, 0.0035921102042911148, -0.0014556604371294875, 0.0005889291909515755),
        *(-0.00023461438521470235, 8.507979756524806e-05, -2.0579619058830006e-05),
    ),
    # Error 2**-62.
    erf=(
        *(0.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792),
        *(0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271, -1.4925595266831182e-05),
        *(1.6461000484121368e-06, -1.6350312701054695e-07, 1.4659775274047436e-08, -1.1372848856791674e-09),
        5.957176147748911e-11,
    ),
    erf_highest=6,
    erfc_highest=28,
    gelu_highest=39,
    # exp(a**2) erfc(a) / t in 2 t - 1, where t = 3 / (3 + a), for 0 <= a < 28: error 2**-57.
    tail_scale=3,
    tail=(
        *(0.3580023023627799, 0.2944648177232945, 0.1967427857013668, 0.10348908730018966, 0.039842587095793074),
        *(0.008942411541481586, -0.00040413887644671974, -0.0010113540002614032, -0.0001827698886076952),
        *(9.22592807892039e-05, 3.585376847144312e-05, -1.0132710510568365e-05, -5.8232639277539516e-06),
        *(1.583014998907162e-06, 9.211040620327149e-07, -3.327449037321119e-07, -1.348265055852503e-07),
        *(7.733650769128099e-08, 1.4195868765482115e-08, -1.615833214327655e-08, 2.498299335227744e-10),
        *(2.2260511861734624e-09, -3.663039347827476e-10, -6.568517791280423e-11),
    ),
)
_WIDTHS = {types.float32: _SINGLE, types.float64: _DOUBLE}


# ------------------------------------------------------------------- primitives that Numba's Python does not offer


def _integer(x):
    """The bits of a NumPy float as an integer of its size."""
    return x.view(np.int32 if x.dtype == np.float32 else np.int64)


def _polynomial(x, coefficients):
    """The polynomial with these coefficients, lowest power first, by Horner's rule."""
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


def _power_of_two(shifted):
    """Two to the integer that was rounded by adding ``shifter`` to it."""
    layout = _LAYOUTS[types.float32 if shifted.dtype == np.float32 else types.float64]
    return (_integer(shifted) << layout.mantissa).view(shifted.dtype)


def _exponent(x):
    """The k, as a float, for which a positive normal x is 2**k times a number in [sqrt(1/2), sqrt(2))."""
    layout = _LAYOUTS[types.float32 if x.dtype == np.float32 else types.float64]
    return x.dtype.type((int(_integer(x)) - layout.root_half) >> layout.mantissa)


def _significand(x):
    """The number in [sqrt(1/2), sqrt(2)) that a positive normal x is a power of two times."""
    layout = _LAYOUTS[types.float32 if x.dtype == np.float32 else types.float64]
    fraction = (int(_integer(x)) - layout.root_half) & layout.fraction_mask
    return _integer(x).dtype.type(fraction + layout.root_half).view(x.dtype)


def _head(x):
    """x without the lower half of its mantissa, so that the square of the result is exact."""
    layout = _LAYOUTS[types.float32 if x.dtype == np.float32 else types.float64]
    return (_integer(x) & _integer(x).dtype.type(layout.head_mask)).view(x.dtype)


def _with_sign(magnitude, sign):
    """magnitude, which is not negative, with the sign of the other argument."""
    return np.copysign(magnitude, sign)


def _floor(x):
    """The largest integer not above x, as a float."""
    return np.floor(x)


def add(x, y):
    """x + y, one of the additions of a sum that may be carried out in any order, and so in vectors."""
    return x + y


def maximum(x, y):
    """The larger of two numbers of one type, or NaN if either is: what a vector of them can be reduced by."""
    with np.errstate(invalid="ignore"):
        return np.maximum(x, y)


def minimum(x, y):
    """The smaller of two numbers of one type, or NaN if either is."""
    with np.errstate(invalid="ignore"):
        return np.minimum(x, y)


_LAYOUTS = {
    types.float32: SimpleNamespace(
        integer=ir.IntType(32), mantissa=23, root_half=0x3F3504F3, fraction_mask=2**23 - 1, head_mask=-(2**12)
    ),
    types.float64: SimpleNamespace(
        integer=ir.IntType(64), mantissa=52, root_half=0x3FE6A09E667F3BCD, fraction_mask=2**52 - 1, head_mask=-(2**27)
    ),
}


def _lowered(primitive):
    """Register the decorated function as what writes the LLVM instructions of a primitive."""
    # The result has the type of the first argument.
    if primitive.__code__.co_argcount == 1:
        type_callable(primitive)(lambda context: lambda x: x if x in _LAYOUTS else None)
    else:
        type_callable(primitive)(lambda context: lambda x, second: x if x in _LAYOUTS else None)

    def register(write):
        @lower_builtin(primitive, types.Float)
        @lower_builtin(primitive, types.Float, types.Any)
        def lower(context, builder, signature, values):
            return write(builder, _LAYOUTS[signature.args[0]], *values)

        return lower

    return register


@_lowered(_polynomial)
def _(builder, layout, x, coefficients):
    # Written out term by term: a loop over a tuple would have to be unrolled first, once per use.
    terms = [builder.extract_value(coefficients, power) for power in range(coefficients.type.count)]
    if len(terms) < 12:
        return _horner(builder, x, terms)
    # A long chain waits for its own results, so the high powers are summed as two polynomials in the square of x.
    square = builder.fmul(x, x)
    even, odd = (_horner(builder, square, terms[start::2]) for start in (3, 4))
    return _horner(builder, x, [*terms[:3], _horner(builder, x, [even, odd])])


def _horner(builder, x, terms):
    *lower, total = terms
    for term in reversed(lower):
        total = builder.fadd(builder.fmul(total, x, flags=("contract",)), term, flags=("contract",))
    return total


@_lowered(_power_of_two)
def _(builder, layout, shifted):
    bits = builder.bitcast(shifted, layout.integer)
    return builder.bitcast(builder.shl(bits, layout.integer(layout.mantissa)), shifted.type)


@_lowered(_exponent)
def _(builder, layout, x):
    offset = builder.sub(builder.bitcast(x, layout.integer), layout.integer(layout.root_half))
    exponent = builder.ashr(offset, layout.integer(layout.mantissa))
    if layout.integer.width == 64:  # processors without AVX-512 convert only vectors of 32-bit integers
        exponent = builder.trunc(exponent, ir.IntType(32))
    return builder.sitofp(exponent, x.type)


@_lowered(_significand)
def _(builder, layout, x):
    offset = builder.sub(builder.bitcast(x, layout.integer), layout.integer(layout.root_half))
    fraction = builder.and_(offset, layout.integer(layout.fraction_mask))
    return builder.bitcast(builder.add(fraction, layout.integer(layout.root_half)), x.type)


@_lowered(_head)
def _(builder, layout, x):
    bits = builder.bitcast(x, layout.integer)
    return builder.bitcast(builder.and_(bits, layout.integer(layout.head_mask)), x.type)


@_lowered(_with_sign)
def _(builder, layout, magnitude, sign):
    function_type = ir.FunctionType(sign.type, [sign.type, sign.type])
    copysign = builder.module.declare_intrinsic("llvm.copysign", [sign.type], function_type)
    return builder.call(copysign, [magnitude, sign])


@_lowered(_floor)
def _(builder, layout, x):
    return builder.call(builder.module.declare_intrinsic("llvm.floor", [x.type]), [x])


@_lowered(add)
def _(builder, layout, x, y):
    return builder.fadd(x, y, flags=("reassoc", "contract"))


@_lowered(maximum)
def _(builder, layout, x, y):
    return _extreme(builder, "llvm.maximum", x, y)


@_lowered(minimum)
def _(builder, layout, x, y):
    return _extreme(builder, "llvm.minimum", x, y)


def _extreme(builder, name, x, y):
    function_type = ir.FunctionType(x.type, [x.type, x.type])
    return builder.call(builder.module.declare_intrinsic(name, [x.type], function_type), [x, y], fastmath=("nsz",))


# --------------------------------------------------------------------------------------- registering what is below


# By function, so that an algorithm can also be run uncompiled on NumPy floats.
_RECIPES: dict[Any, Any] = {}


def _compiles(function):
    """Register the decorated recipe as what ``function`` means in compiled code."""

    def register(recipe):
        _RECIPES[function] = recipe

        def choose(*arguments):
            known = arguments[0] in _WIDTHS and len(set(arguments)) == 1
            return recipe(_WIDTHS[arguments[0]]) if known else None

        overload(function, jit_options=_OPTIONS, strict=False)(choose)
        return recipe

    return register


def _shared(recipe):
    """Turn a recipe into a function that other recipes call, and that also runs in Python on NumPy floats."""

    def function(*arguments):
        return recipe(_SINGLE if arguments[0].dtype == np.float32 else _DOUBLE)(*arguments)

    function.__name__ = recipe.__name__  # for Numba's messages
    _compiles(function)(recipe)
    return function


def _in_python(function, *arguments):
    """``function`` evaluated in float64 and rounded to the type of the first argument."""
    kind = type(arguments[0]) if isinstance(arguments[0], (float, np.floating)) else float
    with np.errstate(all="ignore"):
        return kind(function(*map(np.float64, arguments)))


# --------------------------------------------------------------------------------------------- exp and its kindred


def exp(x):
    """The exponential of x."""
    return _in_python(np.exp, x)


def expm1(x):
    """exp(x) - 1 without the cancellation near zero."""
    return _in_python(np.expm1, x)


def sigmoid(x):
    """The logistic function 1 / (1 + exp(-x))."""
    return _in_python(lambda v: np.exp(min(v, 0.0)) / (1.0 + np.exp(-abs(v))), x)


def tanh(x):
    """The hyperbolic tangent of x."""
    return _in_python(np.tanh, x)


@_shared
def _scaled_exp(width):
    lowest, highest, log2_e, shifter = width.exp_lowest, width.exp_highest, width.log2_e, width.shifter
    ln2_high, ln2_low, coefficients, half, one = width.ln2_high, width.ln2_low, width.exp, width.half, width.one

    def scaled_exp(factor, x, rest):
        """factor * exp(x - rest) for a rest much smaller than x."""
        # The order of the arguments matters: this way NaN is kept.
        x = min(max(x, lowest), highest)
        shifted = x * log2_e + shifter
        n = shifted - shifter
        high = x - n * ln2_high
        low = n * ln2_low + rest
        r = high - low
        # 1 + high loses digits that are added back: the largest error left is that of the last sum.
        total = one + high
        lost = high - (total - one)
        mantissa = factor * total + factor * (lost + (r * r * _polynomial(r, coefficients) - low))
        # 2**n may itself overflow or underflow; of two factors only the last can, so the result is rounded once.
        first = n * half + shifter
        second = (n - (first - shifter)) + shifter
        return mantissa * _power_of_two(first) * _power_of_two(second)

    return scaled_exp


@_compiles(exp)
def _(width):
    one, zero = width.one, width.zero
    return lambda x: _scaled_exp(one, x, zero)


@_compiles(expm1)
def _(width):
    lowest, highest, log2_e, shifter = width.expm1_lowest, width.exp_highest, width.log2_e, width.shifter
    ln2_high, ln2_low, coefficients, half, one = width.ln2_high, width.ln2_low, width.exp, width.half, width.one
    tiny = width.epsilon * width.half * width.half

    def impl(x):
        clamped = min(max(x, lowest), highest)
        shifted = clamped * log2_e + shifter
        n = shifted - shifter
        high = clamped - n * ln2_high
        low = n * ln2_low
        r = high - low
        # Half of 2**n (e**r - 1) + (2**n - 1), the two large terms being added without error.
        scale = _power_of_two(shifted - one)
        offset = scale - half
        linear = scale * high
        total = offset + linear
        lost = linear - (total - offset)
        result = total + (lost + scale * (r * r * _polynomial(r, coefficients) - low))
        return x if abs(x) < tiny else result + result

    return impl


@_compiles(sigmoid)
def _(width):
    zero, one, small = width.zero, width.one, width.real(0.15)

    def impl(x):
        e = exp(-abs(x))
        lower = e / (one + e)
        # Where e is small the first rounding of that sum matters less in this form.
        lower = e - e * lower if e < small else lower
        return lower if x < zero else one - lower

    return impl


@_compiles(tanh)
def _(width):
    split, coefficients, one, two = width.tanh_split, width.tanh, width.one, width.two

    def impl(x):
        a = abs(x)
        square = a * a
        small = a + a * (square * _polynomial(square, coefficients))
        # Above the split the result is at least one half, and what is subtracted from 1 at most that.
        large = one - two / (exp(a + a) + one)
        return _with_sign(small if a < split else large, x)

    return impl


# ------------------------------------------------------------------------------------------------------ logarithms


def log(x):
    """The natural logarithm of x: -inf at zero, NaN below."""
    return _in_python(np.log, x)


def log1p(x):
    """log(1 + x) without the rounding of the sum."""
    return _in_python(np.log1p, x)


def softplus(x):
    """log(1 + exp(x))."""
    return _in_python(lambda v: np.logaddexp(0.0, v), x)


@_shared
def _log_sum(width):
    ln2_high, ln2_low, coefficients = width.ln2_high, width.ln2_low, width.log
    half, two = width.half, width.two

    def log_sum(exponent, f, rest):
        """exponent * ln 2 + log(1 + f) + rest for f in [sqrt(1/2) - 1, sqrt(2) - 1) and a tiny rest."""
        # log(1 + f) = f - f**2 / 2 + s (f**2 / 2 + R) with s = f / (2 + f) and R the series of 2 artanh(s) / s
        # past its first term.  All but f is small against f, so that the errors of the rest hardly count.
        s = f / (two + f)
        square = s * s
        half_square = half * f * f
        series = s * (half_square + square * _polynomial(square, coefficients))
        return exponent * ln2_high - ((half_square - (series + (exponent * ln2_low + rest))) - f)

    return log_sum


@_compiles(log)
def _(width):
    smallest, rescale, rescale_exponent = width.smallest_normal, width.log_rescale, width.log_rescale_exponent
    zero, one, infinity, nan = width.zero, width.one, width.infinity, width.nan

    def impl(x):
        subnormal = x < smallest
        normal = x * rescale if subnormal else x
        scaled_by = rescale_exponent if subnormal else zero
        result = _log_sum(_exponent(normal) - scaled_by, _significand(normal) - one, zero)
        result = result if x < infinity else x
        result = nan if x < zero else result
        return -infinity if x == zero else result

    return impl


@_compiles(log1p)
def _(width):
    zero, one, infinity, nan = width.zero, width.one, width.infinity, width.nan
    tiny = width.epsilon * width.half * width.half

    def impl(x):
        total = one + x
        lost_above = one - (total - x)
        lost_below = x - (total - one)
        lost = lost_above if x > one else lost_below
        exponent = _exponent(total)
        near = exponent == zero
        f = x if near else _significand(total) - one
        result = _log_sum(exponent, f, zero if near else lost / total)
        result = result if x < infinity else x
        result = nan if x < -one else result
        result = -infinity if x == -one else result
        return x if abs(x) < tiny else result

    return impl


@_compiles(softplus)
def _(width):
    coefficients, zero, two = width.softplus, width.zero, width.two

    def impl(x):
        # log(1 + e) as in log, where e, being between 0 and 1, needs no exponent taken off.
        e = exp(-abs(x))
        s = e / (two + e)
        square = s * s
        return max(zero, x) + (e - s * (e - square * _polynomial(square, coefficients)))

    return impl


# ------------------------------------------------------------------------------------------------- the error function


def erf(x):
    """The error function of x."""
    return _in_python(math.erf, x)


def erfc(x):
    """1 - erf(x) without the cancellation for large x."""
    return _in_python(math.erfc, x)


def gelu(x):
    """x times the normal distribution function of x; the limit -0 at -inf."""
    return _in_python(lambda v: 0.5 * max(v, -1e3) * math.erfc(-v / math.sqrt(2.0)), x)


@_shared
def _scaled_erfc(width):
    coefficients, scale, one, two = width.tail, width.tail_scale, width.one, width.two

    def scaled_erfc(a):
        """exp(a**2) erfc(a) for a >= 0."""
        # t = scale / (scale + a), by way of the smaller of t and 1 - t, whose relative error is smaller.
        near = a < scale
        smaller = (a if near else scale) / (scale + a)
        t = one - smaller if near else smaller
        return t * _polynomial(two * t - one, coefficients)

    return scaled_erfc


@_compiles(erf)
def _(width):
    highest, coefficients, zero, one = width.erf_highest, width.erf, width.zero, width.one

    def impl(x):
        a = min(abs(x), highest)
        square = a * a
        small = a + a * _polynomial(square, coefficients)
        large = one - _scaled_exp(_scaled_erfc(a), -square, zero)
        return _with_sign(small if a < one else large, x)

    return impl


@_compiles(erfc)
def _(width):
    highest, zero, two = width.erfc_highest, width.zero, width.two

    def impl(x):
        a = min(abs(x), highest)
        # Far out the rounding of a**2 would be multiplied by a**2, so the square is passed on in two parts.
        head = _head(a)
        tail = _scaled_exp(_scaled_erfc(a), -(head * head), (a - head) * (a + head))
        return two - tail if x < zero else tail

    return impl


@_compiles(gelu)
def _(width):
    highest, zero, half, one, two = width.gelu_highest, width.zero, width.half, width.one, width.two
    # With w = a / (scale + a), a / 2 times the factor 1 - w of the scaled erfc is w times half the scale.
    stretch = math.sqrt(2.0) * float(width.tail_scale)
    scale = width.real(stretch)
    coefficients = tuple(width.real(stretch / 2 * float(coefficient)) for coefficient in width.tail)

    def impl(x):
        a = min(abs(x), highest)
        # |x| times the normal distribution function of -|x|, that is |x| erfc(|x| / sqrt(2)) / 2.
        head = _head(a)
        rest = half * ((a - head) * (a + head))
        w = a / (scale + a)
        tail = _scaled_exp(w * _polynomial(one - two * w, coefficients), -(half * head * head), rest)
        return x - tail if x >= zero else -tail

    return impl


# ----------------------------------------------------------------------------------- powers and circular functions


def pow(x, y):
    """x to the power of y with the special cases of C: NaN and infinities are returned, nothing is raised."""
    return _in_python(np.float_power, x, y)  # np.power takes a square root where y is 0.5, wrong for -inf and -0


def sin(x):
    """The sine of x; NaN at the infinities."""
    return _in_python(np.sin, x)


def cos(x):
    """The cosine of x; NaN at the infinities."""
    return _in_python(np.cos, x)


@_shared
def _power_cases(width):
    zero, half, one, infinity, nan = width.zero, width.half, width.one, width.infinity, width.nan

    def power_cases(magnitude, x, y):
        """x to the power of y, given |x| to the power of y where neither that nor an argument is a special case."""
        a = abs(x)
        grows = (a > one) == (y > zero)
        extreme = infinity if grows else zero
        result = extreme if (a == zero) | (a == infinity) | (abs(y) == infinity) else magnitude
        result = one if a == one else result
        whole = _floor(y) == y
        odd = whole & (_floor(y * half) != y * half)
        result = _with_sign(result, x) if odd else result
        result = nan if (x < zero) & (a < infinity) & (not whole) else result
        result = nan if np.isnan(x) | np.isnan(y) else result
        return one if (x == one) | (y == zero) else result

    return power_cases


@_shared
def _long_log(width):
    smallest, rescale, rescale_exponent = width.smallest_normal, width.log_rescale, width.log_rescale_exponent
    ln2_high, ln2_low, zero, one, two = width.ln2_high, width.ln2_low, width.zero, width.one, width.two
    # The first coefficient of the series, 2/3, in two parts.
    first_high, first_low, higher = width.real(0.6666666666666666), width.real(3.700743415417188e-17), width.long_log

    def long_log(x):
        """log(x) in two parts for a positive finite x, to about 68 bits."""
        # Products are taken of numbers cut to half their digits, which makes them exact whether or not they are
        # contracted with a sum.
        subnormal = x < smallest
        normal = x * rescale if subnormal else x
        k = _exponent(normal) - (rescale_exponent if subnormal else zero)
        f = _significand(normal) - one
        divisor = two + f
        divisor_head = _head(divisor)
        s = _head(f / divisor)
        s_rest = ((f - s * divisor_head) - s * (f - (divisor_head - two))) / divisor
        square = _head(s * s)
        square_rest = (s * s - square) + (s + s + s_rest) * s_rest
        tail = (square + square_rest) * _polynomial(square + square_rest, higher)
        series = _head(first_high + tail)
        series_rest = ((first_high - series) + tail) + first_low
        cube = _head(square * series)
        cube_rest = (square * series - cube) + (square * series_rest + square_rest * (series + series_rest))
        # k ln 2 + 2 s + s**3 (2/3 + ...), largest first.
        first = k * ln2_high + (s + s)
        first_lost = (s + s) - (first - k * ln2_high)
        high = first + s * cube
        high_lost = s * cube - (high - first)
        low = s * cube_rest + s_rest * (cube + cube_rest) + (s_rest + s_rest) + k * ln2_low
        return high, first_lost + (high_lost + low)

    return long_log


@_compiles(pow)
def _(width):
    return _power_in_double(width) if width is _SINGLE else _power_in_parts(width)


def _power_in_double(width):
    single, double = np.float32, np.float64

    def impl(x, y):
        return _power_cases(single(exp(double(y) * log(double(abs(x))))), x, y)

    return impl


def _power_in_parts(width):
    # Past the first as an exponent every base but 1 gives 0 or infinity; past the second so does exp.
    most, large, zero, one = width.real(2.0**64), width.real(1000), width.zero, width.one

    def impl(x, y):
        high, low = _long_log(abs(x))
        exponent = min(max(y, -most), most)
        head = _head(high)
        rest = (high - head) + low
        exponent_head = _head(exponent)
        product = exponent_head * head
        product_rest = exponent_head * rest + (exponent - exponent_head) * (head + rest)
        total = product + product_rest
        lost = (total - product) - product_rest
        lost = lost if abs(total) < large else zero
        return _power_cases(_scaled_exp(one, total, lost), x, y)

    return impl


# The C library's, one call per element: reducing a large argument takes a table, which would cost every element of a
# vector what only the rare ones need.
@_compiles(sin)
def _(width):
    return lambda x: math.sin(x)


@_compiles(cos)
def _(width):
    return lambda x: math.cos(x)
