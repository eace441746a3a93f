"""The tester is tested: differences are as good as they say, a right rule passes, one wrong by 0.1 % does not."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg

from . import numerical

FUNCTIONS = {
    "exp": (math.exp, math.exp),
    "sin": (math.sin, math.cos),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x**2),
    "cube": (lambda x: x**3, lambda x: 3 * x * x),
    "large": (lambda x: 1e8 + math.tanh(x), lambda x: 1 - math.tanh(x) ** 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("x", [0.3, 0.9, 2.0])
def test_the_bound_of_a_difference_holds(name, x):
    f, exact = FUNCTIONS[name]
    value, bound = numerical.slope(lambda t: f(x + t))
    assert abs(value - exact(x)) <= bound
    assert bound < (1e-8 * max(1, abs(exact(x))) if name != "large" else 1e-3)


def test_complex_steps_are_exact():
    x = np.array([0.3, -1.2, 2.0])
    found = numerical.complex_gradient(lambda a: np.sin(a) * np.exp(a), [x], 0, np.ones(3))
    np.testing.assert_allclose(found, (np.sin(x) + np.cos(x)) * np.exp(x), rtol=1e-14)


CHECKS = [numerical.check_vjp, numerical.check_jvp, numerical.check_second]


def with_error(error):
    """x tanh(y) with a rule that is off by a factor in one of its two lines."""
    return tg.elementwise(
        lambda x, y: x * math.tanh(y),
        vjp=(lambda g, z, x, y: g * tg.tanh(y), lambda g, z, x, y: g * (x - z * tg.tanh(y)) * (1 + error)),
        name="wrong",
    )


@pytest.mark.parametrize("check", CHECKS)
def test_a_right_rule_passes_every_seed(check):
    op = with_error(0.0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        check(op, [rng.normal(size=(2, 3)), rng.normal(size=3)], seed)


@pytest.mark.parametrize("error", [1e-3, -1e-3, 1e-4])
@pytest.mark.parametrize("check", CHECKS[:2])
def test_a_slightly_wrong_rule_is_caught_for_every_seed(check, error):
    op = with_error(error)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        with pytest.raises(AssertionError, match="off by"):
            check(op, [rng.normal(size=(2, 3)), rng.normal(size=3)], seed)


def test_a_wrong_second_derivative_is_caught_where_the_first_is_right():
    # detach() hides from the second derivative that the slope depends on x.
    square = tg.elementwise(
        lambda x: x * x, vjp=lambda g, y, x: g * 2 * (x.detach() if isinstance(x, tg.Tensor) else x)
    )
    x = [np.array([0.5, -1.5])]
    numerical.check_vjp(square, x)
    with pytest.raises(AssertionError, match="second derivative"):
        numerical.check_second(square, x)


@pytest.mark.parametrize("check", CHECKS[:2])
def test_a_kink_is_inconclusive_rather_than_right(check):
    with pytest.raises(numerical.Inconclusive):
        check(tg.abs, [np.array([0.003])])


def test_a_transposed_gradient_is_caught():
    wrong = lambda a, b: tg.matmul(a, b.T)
    right = lambda a, b: tg.matmul(a, b)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    expected, bound = numerical.gradient(lambda x, y: (x @ y).ravel(), [a, b], 0)
    x = tg.tensor(a)
    numerical.agree(tg.grad(right(x, b).sum(), x).numpy(), expected, bound, "product")
    with pytest.raises(AssertionError, match="off by"):
        numerical.agree(tg.grad(wrong(x, tg.tensor(b)).sum(), x).numpy(), expected, bound, "product")
