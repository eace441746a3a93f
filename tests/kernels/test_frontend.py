"""Which arguments a function reads, and that its numbers are of the type of its kernel, on every version of Python."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from numba import types

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import scalars
from tinygrad_rnn.kernels.frontend import arguments_read
from tinygrad_rnn.kernels.loops import specialise
from tinygrad_rnn.ops.core import registry

FLOAT = np.dtype(np.float32)
HALF = 0.5
square = tg.square
compiled = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="it is about compiled functions")


# Arguments ------------------------------------------------------------------------------------------------------------


def assigned_over(g, y, x):
    y = g * x
    return y


def in_a_branch(g, y, x):
    if y > 0:
        return g
    return g * x


def in_a_loop(g, y, x):
    for _ in range(3):
        g = g * x
    return g


def caught(g, y, x):
    try:
        return g * x
    except ZeroDivisionError as error:
        raise ValueError from error


@pytest.mark.parametrize(
    ("function", "read"),
    [
        (lambda g, y, x: g, (0,)), (lambda g, y, x: g * x, (0, 2)), (lambda g, y, x: g * (1 - y * y), (0, 1)),
        (lambda g, y, x: 7, ()), (lambda: 7, ()), (lambda g, y, x: (lambda: g * x)(), (0, 2)),
        (lambda g, y, x: tg.sum(g, axis=x), (0, 2)), (lambda g, y, x: g if x else y, (0, 1, 2)),
        (lambda g, y, *x: g, (0,)), (lambda g, y, x: x[g], (0, 2)), (lambda g, y, x: (g, x), (0, 2)),
        (assigned_over, (0, 2)), (in_a_branch, (0, 1, 2)), (in_a_loop, (0, 2)), (caught, (0, 1, 2)),
    ],
)  # fmt: skip
def test_arguments_that_are_read(function, read):
    assert arguments_read(function) == read


# Numbers --------------------------------------------------------------------------------------------------------------


def inferred(function, arguments):
    """The types that Numba finds for the variables of a function, and of those that it calls."""
    work = [specialise(function, FLOAT)]
    work[0].compile(tuple(arguments))
    found, seen = set(), set()
    while work:
        dispatcher = work.pop()
        if id(dispatcher) not in seen:
            seen.add(id(dispatcher))
            for overload in dispatcher.overloads.values():
                found.update(overload.type_annotation.typemap.values())
            work += [v for v in dispatcher.py_func.__globals__.values() if hasattr(v, "overloads")]
    return found


def wide(found):
    return {t for t in found if isinstance(t, types.Number) and t not in (types.float32, types.uint8)}


def around(value):
    return lambda x: value - x


def twice(x):
    return 2 * x


def with_a_loop(x):
    total = 0
    while total < 10:
        total += 3 * x
    return total


@compiled
@pytest.mark.parametrize(
    "function",
    [
        lambda x: 1 - x, lambda x: 0.1 * x, lambda x: 300 * x, lambda x: x**2, lambda x: -5 + x, lambda x: x * HALF,
        lambda x: x if x > 0 else 0, lambda x: max(x, 0), lambda x: x * math.pi, lambda x: x + np.e, around(3),
        around(0.3), twice, lambda x: twice(x) + 1, lambda x: square(x) * 3, with_a_loop,
        lambda x: (lambda y: 1 - y)(x), lambda x: 1e300 * x, lambda x: 2**40 * x,
    ],
)  # fmt: skip
def test_numbers_are_of_the_type_of_the_kernel(function):
    found = inferred(function, [types.float32])
    assert types.float32 in found
    assert not wide(found)


def sources():
    """Functions of the elementwise operations, with the types of their arguments."""
    for name, op in registry.items():
        kernels = getattr(op, "kernels", None)
        if not hasattr(kernels, "scalar"):
            continue
        given = [types.uint8 if t.kind == "b" else types.float32 for t in kernels.types(FLOAT)]
        if kernels.scalar.__module__ != scalars.__name__:  # those choose their numbers themselves
            yield pytest.param(kernels.scalar, given, id=name)
        for k, line in enumerate(kernels.vjp if isinstance(kernels.vjp, tuple) else ()):
            if line.__code__.co_argcount == len(given) + 2:
                yield pytest.param(line, [types.float32] * 2 + given, id=f"{name}-line{k}")


@compiled
@pytest.mark.parametrize(("function", "arguments"), list(sources()))
def test_operations_compute_in_the_type_of_their_kernels(function, arguments):
    assert not wide(inferred(function, arguments))


def test_there_are_functions_of_operations_to_look_at():
    ids = {p.id for p in sources()}
    assert len(ids) > 60
    assert {"elu", "sigmoid-line0", "elu-line0", "power-line1"} <= ids
