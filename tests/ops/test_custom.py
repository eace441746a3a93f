"""Operations that users make with ``elementwise``."""

import functools
import gc
import math
import re
from pathlib import Path

import numba
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import tanh
from tinygrad_rnn.ops import core
from tinygrad_rnn.testing import check_grad


def collatz_like(x, y):
    """Branches and a loop, as a formula cannot have them."""
    total = x
    for k in range(3):
        if total > y:
            total = total / 2 - k
        else:
            total = 3 * total + 1
    return total


def by_hand(x, y):
    total, slope = x, 1.0
    for k in range(3):
        if total > y:
            total, slope = total / 2 - k, slope / 2
        else:
            total, slope = 3 * total + 1, 3 * slope
    return slope


branching = tg.elementwise(
    collatz_like,
    vjp=(lambda g, z, x, y: g * (z * 0 + 1) * slope_of(x, y), lambda g, z, x, y: g * 0),
    name="branching",
    formula=r"c({0}, {1})",
)
slope_of = tg.elementwise(by_hand, vjp=(lambda g, z, x, y: g * 0, lambda g, z, x, y: g * 0))
soft = tg.elementwise(
    lambda x: tanh(x) * x, vjp=lambda g, y, x: g * (tanh(x) + x * (1 - tanh(x) * tanh(x))), name="soft"
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_function_with_branches_and_loops(dtype):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 4)).astype(dtype) * 3, rng.normal(size=4).astype(dtype)
    found = branching(tg.tensor(x), tg.tensor(y))
    expected = np.vectorize(collatz_like)(x.astype(float), y.astype(float))
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    a = tg.tensor(x)
    for recorded in (False, True):
        slope = tg.grad(branching(a, y).sum(), a, create_graph=recorded)
        np.testing.assert_allclose(slope.numpy(), np.vectorize(by_hand)(x.astype(float), y.astype(float)), rtol=1e-5)


def test_derivatives_of_a_function_that_uses_ours():
    check_grad(soft, np.random.default_rng(0).normal(size=(2, 3)))


def test_its_line_is_fused_and_traced():
    assert soft.op.kernels.rule(0, np.dtype(np.float32)) is not None
    graph = tg.trace(lambda x: tg.grad(soft(x).sum(), x), (2,))
    x = tg.tensor([0.5, -1.0])
    np.testing.assert_allclose(graph(x).numpy(), tg.grad(soft(x).sum(), x).numpy(), rtol=1e-6)
    assert graph.counts()["soft"] == 0  # the gradient does not use the value


@pytest.mark.parametrize(
    "line",
    [
        lambda g, y, x: g * 2 * x.reshape(x.shape),  # a method that numbers have not
        lambda g, y, x: g * 2 * tg.abs(x) * tg.sign(x),  # an attribute of a module
        functools.partial(lambda k, g, y, x: g * k * x, 2.0),  # not a plain function
        lambda g, y, x: g * (lambda t: t * x)(2.0),  # an argument that an inner function closes over
        lambda g, *rest: g * 2 * rest[1],
    ],
)
def test_a_line_that_numba_cannot_compile_is_run_on_tensors(line):
    square = tg.elementwise(lambda x: x * x, vjp=line)
    x = tg.tensor([1.0, -3.0])
    for recorded in (False, True):
        found = tg.grad(square(x).sum(), x, create_graph=recorded)
        assert (found.tolist(), found.dtype) == ([2.0, -6.0], np.float32)


def scaled(factor):
    return tg.elementwise(lambda x: factor * x, vjp=lambda g, y, x: factor * g)


def test_closures_over_different_values_are_different_operations():
    x = tg.tensor([1.0])
    for factor in (2.0, 3.0, 4.0):
        y = scaled(factor)(x)
        assert (y.item(), tg.grad(y, x).item()) == (factor, factor)


def test_it_takes_numbers_arrays_and_integers():
    assert soft([1, 2]).dtype == np.float32
    assert soft(np.ones(2)).dtype == np.float64
    assert soft(1.0).shape == ()
    assert branching(tg.ones((2, 1)), np.ones(3, np.float32)).shape == (2, 3)


def test_it_is_not_in_the_registry_and_names_may_repeat():
    before = dict(core.registry)
    for _ in range(2):
        assert tg.elementwise(lambda x: x + 1, name="tanh")(1.0).op.name == "tanh"
    assert core.registry == before


def test_without_a_vjp_it_says_so():
    x = tg.tensor([1.0])
    step = tg.elementwise(lambda x: math.floor(x) * 1.0, name="step")
    with pytest.raises(tg.GradientError, match="only through 'step', which has no gradient: it was made without a vjp"):
        tg.grad(step(x).sum(), x)
    with pytest.raises(tg.GradientError, match="'step'"):
        step(tg.parameter([1.0])).sum().backward()


WRONG_CALLS = [
    (lambda: soft(1.0, 2.0), r"soft: too many positional arguments\n  expected: soft\(x, /\)"),
    (lambda: branching(1.0), "branching: missing a required argument: 'y'"),
    (lambda: tg.elementwise(lambda a, b, c: a, name="three")(1.0, 2.0), "three: missing a required argument: 'c'"),
    (lambda: tg.elementwise(lambda: 1.0), "needs at least one named argument"),
    (lambda: tg.elementwise(lambda *x: x[0]), "needs at least one named argument"),
    (lambda: tg.elementwise(np.sin), "expected a Python function of numbers, got <ufunc 'sin'>"),
    (
        lambda: tg.elementwise(lambda x, y: x, vjp=lambda g, z, x, y: g),
        "has 2 inputs, so vjp needs as many lines; got 1",
    ),
    (lambda: tg.elementwise(lambda x: x, vjp=lambda g, x: g), r"takes \(g, y, \*inputs\), 3 arguments; got \(g, x\)"),
    (
        lambda: tg.elementwise(lambda x: x, vjp=lambda g, y, x: 2 * x),
        r"does not use its gradient g[\s\S]*g \* 0",
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG_CALLS)
def test_mistakes_are_told(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="compilation is switched off")
@pytest.mark.parametrize("scalar", [lambda x: object() + x, lambda x: tg.tanh(x)])
def test_a_function_that_numba_cannot_compile_is_told_in_a_few_lines(scalar):
    with pytest.raises(TypeError) as caught:
        tg.elementwise(scalar, name="odd")(1.0)
    told, got, hint = str(caught.value).splitlines()  # what got says is Numba's own, another with each of its versions
    assert told == "odd: Numba cannot compile its function of numbers"
    assert re.fullmatch(r"  got:      \S.*", got)
    assert hint.endswith("functions imported by name: from tinygrad_rnn import tanh")


@pytest.mark.parametrize("name", ["0", "2x", "a b", "λ", "n" * 300])
def test_any_name(name):
    triple = tg.elementwise(lambda x: 3 * x, vjp=lambda g, y, x: 3 * g, name=name)
    x = tg.parameter([1.0, 2.0])
    assert tg.grad(triple(x).sum(), x).tolist() == [3, 3]
    assert tg.compile(lambda x: triple(x) + 1)(np.ones(2)).tolist() == [4, 4]


def test_a_name_that_is_no_string():
    with pytest.raises(TypeError, match="name must be a string"):
        tg.elementwise(lambda x: 3 * x, name=3)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")
def test_an_operation_that_is_made_again_takes_no_memory():
    def make():
        f = tg.elementwise(lambda x, y: x * y + 1.5, vjp=(lambda g, z, x, y: g * y, lambda g, z, x, y: g * x))
        x = tg.parameter([1.0, 2.0])
        assert tg.grad(f(x, x).sum(), x).tolist() == [2.0, 4.0]

    for _ in range(10):
        make()
    gc.collect()
    before = resident()
    for _ in range(100):
        make()
    gc.collect()
    assert resident() - before < 100 * 20_000


def test_operations_that_differ_in_what_is_around_them_do_not_share_a_kernel():
    def scaled(factor):
        return tg.elementwise(lambda x: x * factor, vjp=lambda g, y, x: g * factor, name="scaled")

    x = tg.parameter([1.0])
    for factor in (2.0, 3.0, 2, np.float32(2.5)):
        y = scaled(factor)(x)
        assert y.tolist() == tg.grad(y.sum(), x).tolist() == [float(factor)]
