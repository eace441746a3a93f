"""Values, slopes and curvatures beside a better precision: what rounding may do to every elementwise op and every loss.

The law, for a value, a first or a second derivative q of arguments x: its error is at most 16 eps (|q| + |x q'|), the
second term being what a rounding of the arguments does to it. The exact function is the op's own function of numbers,
run on numbers of many digits, and its derivatives are differences of that: no gradient line is used, and an op that is
added to the registry is in.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from types import FunctionType, ModuleType, SimpleNamespace

import mpmath
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels.cache import global_names
from tinygrad_rnn.ops import neural
from tinygrad_rnn.ops.core import apply, registry
from tinygrad_rnn.testing.domains import FROM_RESULT

DIGITS = 320  # of the exact numbers: three differences, and 1 less a number close to it, leave enough
STEP = 40  # digits of the steps of the differences, relative
LOST = 16  # times eps
FLOATS = [np.float32, np.float64]


# Exact functions of numbers -------------------------------------------------------------------------------------------

EXACT = SimpleNamespace(  # by the names that functions have in kernels.scalars, in math and in NumPy
    exp=mpmath.exp, expm1=mpmath.expm1, log=mpmath.log, log1p=mpmath.log1p, sin=mpmath.sin, cos=mpmath.cos,
    tanh=mpmath.tanh, sigmoid=lambda x: 1 / (1 + mpmath.exp(-x)), softplus=lambda x: mpmath.log1p(mpmath.exp(x)),
    erf=mpmath.erf, erfc=mpmath.erfc, gelu=lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2, pow=mpmath.power,
    sqrt=mpmath.sqrt, fabs=abs, floor=mpmath.floor, ceil=mpmath.ceil, rint=mpmath.nint, inf=mpmath.inf,
)  # fmt: skip
DIVISIONS = {"floor_divide": lambda a, b: mpmath.floor(a / b), "mod": lambda a, b: a - b * mpmath.floor(a / b)}


def exact(function):
    """A function of numbers, with exact functions in the place of those that it calls."""
    function = getattr(function, "scalar", function)
    if not isinstance(function, FunctionType):
        return function
    if function.__module__.endswith("scalars"):
        return getattr(EXACT, function.__name__)
    names = {name: function.__globals__.get(name) for name in global_names(function.__code__)}
    names = {name: EXACT if isinstance(value, ModuleType) else exact(value) for name, value in names.items()}
    return FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)


def differentiated(f, places):
    """The partial derivative of a function of numbers by the arguments at some places, one after the other."""
    if not places:
        return f
    first, *rest = places
    inner = differentiated(f, rest)

    def slope(*x):
        step = (abs(x[first]) or 1) * mpmath.mpf(10) ** -STEP
        ahead, behind = (inner(*x[:first], x[first] + h, *x[first + 1 :]) for h in (step, -step))
        return (ahead - behind) / (2 * step)

    return slope


def precise(f, x, wrt):
    """For the value and each derivative of first and second order: itself, and what roundings of `x` do to it."""
    with mpmath.workdps(DIGITS):
        given = [mpmath.mpf(float(v)) if k in wrt else v for k, v in enumerate(x)]
        found = {}
        for places in orders(wrt):
            moved = [given[k] * differentiated(f, [k, *places])(*given) for k in wrt]
            found[places] = differentiated(f, places)(*given), mpmath.fsum(map(abs, moved))
        return found


def orders(wrt):
    """The value, the first and the second derivatives, as what they are taken by."""
    return [(), *((k,) for k in wrt), *combinations_with_replacement(wrt, 2)]


# What the package computes --------------------------------------------------------------------------------------------


def derivatives(f, arrays, wrt):
    """Values and derivatives by every way that there is, by what they are taken by: recorded, at once, compiled."""

    def recorded(*x):
        y = f(*x)
        slopes = {k: tg.grad(y.sum(), x[k], create_graph=True) for k in wrt}
        curved = [tg.grad(slopes[j].sum(), x[k], allow_unused=True) for j, k in combinations_with_replacement(wrt, 2)]
        seconds = [x[k] * 0 if t is None else t for t, (_, k) in zip(curved, combinations_with_replacement(wrt, 2))]
        return [y, *slopes.values(), *seconds]

    def at_once(*x):
        y = f(*x)
        return [y, *(tg.grad(y.sum(), x[k]) for k in wrt)]

    for way in (recorded, at_once, tg.compile(recorded), tg.compile(at_once)):
        results = [t.numpy() for t in way(*map(tg.tensor, arrays))]
        yield from zip(orders(wrt), results, strict=False)


@dataclass
class Breach:
    """A derivative at a point that is off by more than the law allows."""

    places: tuple[int, ...]
    x: list[float]
    found: float
    exact: float
    allowed: float

    def __str__(self):
        return f"derivative by {self.places} at {self.x}: {self.found!r}, exactly {self.exact!r} +- {self.allowed:.1e}"


def broken(f, g, columns, wrt, dtype, more=lambda x: 0):
    """Where the law is broken by tensors' function `f` for numbers' function `g`; `more` is what else may be lost."""
    limits, eps = np.finfo(dtype), float(np.finfo(dtype).eps)
    arrays = [c.astype(dtype) if c.dtype.kind == "f" else c for c in columns]
    points = [[c[n].item() for c in arrays] for n in range(len(arrays[0]))]
    exactly = [precise(g, x, wrt) for x in points]
    for places, values in derivatives(f, arrays, wrt):
        for x, known, found in zip(points, exactly, values, strict=True):
            q, moved = known[places]
            if isinstance(q, mpmath.mpc) or not abs(q) < float(limits.max):
                continue  # not real, or it overflows
            allowed = LOST * eps * float(abs(q) + moved + more(x)) + 4 * float(limits.tiny)
            if not abs(mpmath.mpf(float(found)) - q) <= allowed:
                yield Breach(places, x, float(found), float(q), allowed)


# Elementwise ops ------------------------------------------------------------------------------------------------------

OPS = [op for op in registry.values() if op.kernels is not None and type(op.vjp) is tuple]
SIZES = [1e-12, 1e-6, 1e-3, 0.1, 0.5, 0.75, 1, 1.4142135, 3, 6, 9.5, 12, 17, 40]


@cache
def columns(arity, seed=0):
    """Arguments of both signs and all sizes, in single precision, which both widths can hold; no two are equal."""
    rng = np.random.default_rng(seed)
    numbers = np.array([s * m for m in SIZES for s in (1, -1)])
    drawn = [rng.permutation(numbers) * rng.uniform(0.95, 1.05, numbers.size) for _ in range(arity)]
    return [np.float32(a) for a in drawn]


def functions_of(op):
    """The op as a function of tensors and as one of numbers, arguments, and places of floats among them."""
    given, wrt = columns(op.kernels.arity), list(range(op.kernels.arity))
    if op.kernels.condition:
        given, wrt = [given[0] > 0, *given[1:]], wrt[1:]
    return lambda *x: apply(op, x), DIVISIONS.get(op.name) or exact(op.kernels.scalar), given, wrt


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_elementwise_ops_lose_nothing_to_cancellation(op, dtype):
    f, g, given, wrt = functions_of(op)
    more = (lambda x: abs(g(*map(mpmath.mpf, x)))) if op in FROM_RESULT else lambda x: 0
    assert not [str(b) for b in broken(f, g, given, wrt, dtype, more)]


@pytest.mark.parametrize("op", FROM_RESULT, ids=lambda op: op.name)
def test_only_slopes_from_results_need_to_be_let_off(op):
    f, g, given, wrt = functions_of(op)
    assert list(broken(f, g, given, wrt, np.float64))


@pytest.mark.parametrize(
    ("scalar", "vjp"),
    [
        (tg.expm1.scalar, lambda g, y, x: g * (y + 1)), (tg.square.scalar, lambda g, y, x: g * 2.002 * x),
        (tg.gelu.scalar, lambda g, y, x: g * (0.5 + 0.5 * tg.erf(x * 0.7071) + 0.39894 * x * tg.exp(-0.5 * x * x))),
    ],
)  # fmt: skip
def test_lines_that_cancel_or_are_wrong_are_found(scalar, vjp):
    op = tg.elementwise(scalar, vjp, name="own").op
    f, g, given, wrt = functions_of(op)
    assert any(len(b.places) == 1 for b in broken(f, g, given, wrt, np.float64))


# Losses ---------------------------------------------------------------------------------------------------------------


def log_likelihoods(x):
    whole = mpmath.log(mpmath.fsum(map(mpmath.exp, x)))
    return [v - whole for v in x]


def logit_entropy(x, t):
    return t * mpmath.log1p(mpmath.exp(-x)) + (1 - t) * mpmath.log1p(mpmath.exp(x))


def huber(a, b):
    d = abs(a - b)
    return d * d / 2 if d <= 1 else d - mpmath.mpf(1) / 2


LOSSES = {  # of numbers: those of a row of logits with probabilities for each
    "mse_loss": lambda a, b: (a - b) ** 2,
    "huber_loss": huber,
    "binary_cross_entropy": lambda p, t: -t * mpmath.log(p) - (1 - t) * mpmath.log(1 - p),
    "binary_cross_entropy_with_logits": logit_entropy,
    "cross_entropy": lambda *x: -mpmath.fsum(t * v for t, v in zip(x[3:], log_likelihoods(x[:3]))),
}


def arguments_of(name):
    near, far = columns(2)
    if name == "binary_cross_entropy":
        return [np.float32([1e-9, 1e-4, 0.1, 0.5, 0.9, 0.9999]), np.float32([0.3, 0, 1e-3, 1, 0.5, 1])]
    if name == "binary_cross_entropy_with_logits":
        return [near, np.float32(np.arange(near.size) % 3 / 2)]
    if name == "cross_entropy":
        given = columns(3, seed=1)
        hot = np.eye(3, dtype=np.float32)[np.arange(given[0].size) % 3]
        return [*given, *hot.T]
    return [near, far]


def in_rows(*x):
    return tg.cross_entropy(tg.stack(x[:3], 1), tg.stack(x[3:], 1), reduction="none")


def of_classes(*x):
    return tg.cross_entropy(tg.stack(x[:3], 1), tg.argmax(tg.stack(x[3:], 1), 1), reduction="none")


def smoothed(*x):
    target = tg.argmax(tg.stack(x[3:], 1), 1)
    return tg.cross_entropy(tg.stack(x[:3], 1), target, reduction="none", label_smoothing=0.25)


def smoothed_entropy(*x):
    return LOSSES["cross_entropy"](*x[:3], *(t * 0.75 + mpmath.mpf(0.25) / 3 for t in x[3:]))


def test_every_loss_has_an_exact_one():
    losses = {n for n in neural.__all__ if "reduction" in inspect.signature(getattr(neural, n)).parameters}
    assert losses == set(LOSSES)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [n for n in LOSSES if n != "cross_entropy"])
def test_losses_lose_nothing_to_cancellation(name, dtype):
    loss = getattr(tg, name)
    f = lambda *x: loss(*x, reduction="none")
    assert not [str(b) for b in broken(f, LOSSES[name], arguments_of(name), [0, 1], dtype)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("f", [of_classes, in_rows, smoothed])
def test_cross_entropies_lose_nothing_to_cancellation(f, dtype):
    g = smoothed_entropy if f is smoothed else LOSSES["cross_entropy"]
    assert not [str(b) for b in broken(f, g, arguments_of("cross_entropy"), [0, 1, 2], dtype)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("target", [0, 1, 2])
def test_what_logits_have_in_common_costs_no_digits(target, dtype):
    """A common shift of all logits changes nothing, so that the law holds for what they are more than that."""
    x = np.array([1e6, 1e6 + 1, 1e6 - 1], dtype)
    right = np.logaddexp.reduce([0.0, 1.0, -1.0]) - [0.0, 1.0, -1.0][target]
    for loss in (tg.cross_entropy, tg.compile(tg.cross_entropy)):
        np.testing.assert_allclose(loss(x[None], [target]).item(), right, rtol=4 * np.finfo(dtype).eps)
    soft = tg.cross_entropy(x[None], np.eye(3, dtype=dtype)[[target]]).item()
    np.testing.assert_allclose(soft, right, rtol=4 * np.finfo(dtype).eps)
