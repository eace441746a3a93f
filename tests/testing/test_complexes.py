"""Formulas of complex numbers: value and slope to the last digits, by mpmath; nothing of the engine is in them."""

from __future__ import annotations

import ast
from pathlib import Path

import mpmath
import numpy as np
import pytest

from tinygrad_rnn.testing import complexes

POINTS = [-20.0, -3.0, -0.7, -1e-9, 1e-12, 0.3, 2.0, 9.0]
FUNCTIONS = {
    "erf": mpmath.erf, "erfc": mpmath.erfc, "expm1": mpmath.expm1, "gelu": lambda x: x * mpmath.ncdf(x),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "log1p": mpmath.log1p, "rsqrt": lambda x: 1 / mpmath.sqrt(x),
}  # fmt: skip
LEAST = {"log1p": -0.9, "rsqrt": 0.0}


def off(formula, name, x):
    """How far the value and the slope of a formula lie from those of mpmath, relative to the larger."""
    y = formula(complexes.moved(np.array(x), 1.0))
    found = float(np.real(y)), float(complexes.derivative(y))
    with mpmath.workdps(300):  # the slope of erf at -20 is 1e-174
        exact = FUNCTIONS[name](mpmath.mpf(x)), mpmath.diff(FUNCTIONS[name], mpmath.mpf(x), h=mpmath.mpf("1e-20"))
        return [float(abs(a - b) / max(abs(b), mpmath.mpf("1e-290"))) for a, b in zip(found, exact, strict=True)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_slopes_have_all_digits(name):
    for x in POINTS:
        if x > LEAST.get(name, -np.inf):
            assert max(off(getattr(complexes, name), name, x)) < 3e-14, x


def test_a_slope_that_is_a_thousandth_off_is_seen():
    wrong = complexes.lifted(np.expm1, lambda x: 1.001 * np.exp(x))
    assert off(wrong, "expm1", 0.3)[1] == pytest.approx(1e-3, rel=1e-6)


@pytest.mark.parametrize("name", ["erf", "erfc", "expm1", "gelu", "sigmoid", "softplus", "log1p"])
def test_real_numbers_stay_real(name):
    x = np.array([-0.5, 0.0, 2.0])
    found = getattr(complexes, name)(x)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.real(getattr(complexes, name)(x.astype(complex))))


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.0, 2.0), (-2.0, 3.0), (0.7, -1.5), (3.0, 0.0)])
def test_powers_have_both_slopes(x, y):
    by_base = complexes.derivative(complexes.power(complexes.moved(np.array(x), 1.0), np.array(y + 0j)))
    assert by_base == pytest.approx(y * x ** (y - 1) if y else 0.0, rel=1e-14)
    if x > 0:
        by_exponent = complexes.derivative(complexes.power(np.array(x + 0j), complexes.moved(np.array(y), 1.0)))
        assert by_exponent == pytest.approx(x**y * np.log(x), rel=1e-14)


def test_rows_of_large_numbers_do_not_overflow():
    x = complexes.moved(np.array([[1000.0, 999.0], [-1000.0, -1000.0]]), np.array([[1.0, 0.0], [0.0, 2.0]]))
    soft = complexes.softmax(x, -1)
    p = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(np.real(soft), [[p, 1 - p], [0.5, 0.5]], rtol=1e-14)
    change = p * (1 - p)
    np.testing.assert_allclose(complexes.derivative(soft), [[change, -change], [-0.5, 0.5]], rtol=1e-13)
    np.testing.assert_allclose(complexes.derivative(complexes.logsumexp(x, (-1,), False)), [p, 1.0], rtol=1e-14)
    lost = complexes.cross_entropy(x, np.array([0, 1]))
    np.testing.assert_allclose(complexes.derivative(lost), [p - 1, -1.0], rtol=1e-14)


def test_nothing_of_the_engine_is_in_them():
    """The oracle reads them, which is to share nothing with what it judges."""
    tree = ast.parse(Path(complexes.__file__).read_text(encoding="utf-8"))
    assert [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level] == []
