"""Jacobians, Hessians and products with them."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops.core import apply

A = np.array([[2.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 4.0]])
X = np.array([0.5, -1.0, 2.0])


def quadratic(x):
    return 0.5 * (x @ tg.tensor(A) @ x)


def quartic(x):
    return (x * x * x * x).sum() + x[0] * x[1] * x[2]


QUARTIC_HESSIAN = np.diag(12 * X**2) + np.array([[0, X[2], X[1]], [X[2], 0, X[0]], [X[1], X[0], 0]])


def test_jacobian_of_a_linear_map_is_its_matrix():
    assert tg.jacobian(lambda x: tg.tensor(A) @ x, X).tolist() == A.tolist()
    m = tg.jacobian(lambda x: tg.outer(x, x), X)
    assert m.shape == (3, 3, 3)
    np.testing.assert_allclose(m, np.einsum("ik,j->ijk", np.eye(3), X) + np.einsum("i,jk->ijk", X, np.eye(3)))


def test_jacobian_of_tensors_that_were_computed():
    x = tg.tensor(X)
    y = x[:2] * x[1:]
    assert tg.jacobian(y, x).tolist() == [[X[1], X[0], 0.0], [0.0, X[2], X[1]]]
    with pytest.raises(tg.DisconnectedError):
        tg.jacobian(y, tg.ones(3))
    with pytest.raises(tg.DisconnectedError):
        tg.jacobian(tg.zeros(0), x)


def test_jacobian_of_a_scalar_is_its_gradient():
    assert tg.jacobian(quadratic, X).tolist() == tg.grad(quadratic(x := tg.tensor(X)), x).tolist()


@pytest.mark.parametrize("create_graph", [False, True])
def test_hessians(create_graph):
    np.testing.assert_allclose(tg.hessian(quadratic, X, create_graph=create_graph), A, rtol=1e-12)
    np.testing.assert_allclose(tg.hessian(quartic, X, create_graph=create_graph), QUARTIC_HESSIAN, rtol=1e-12)
    x = tg.tensor(X)
    np.testing.assert_allclose(tg.hessian(quartic(x), x, create_graph=create_graph), QUARTIC_HESSIAN, rtol=1e-12)


def test_a_hessian_of_a_matrix_argument_has_its_axes_twice():
    h = tg.hessian(lambda m: (m @ m).sum(), tg.tensor(A))
    assert h.shape == (3, 3, 3, 3)
    flat = h.numpy().reshape(9, 9)
    np.testing.assert_allclose(flat, flat.T)


@pytest.mark.parametrize("v", [[1.0, 0.0, 0.0], [0.3, -2.0, 1.0]])
def test_products_with_a_hessian(v):
    x = tg.tensor(X)
    expected = QUARTIC_HESSIAN @ np.array(v)
    np.testing.assert_allclose(tg.hvp(quartic, X, v), expected, rtol=1e-12)
    np.testing.assert_allclose(tg.hvp(quartic(x), x, v), expected, rtol=1e-12)
    forward = tg.jvp(lambda z: tg.grad(quartic(z), z, create_graph=True), [x], [v])[1]
    np.testing.assert_allclose(forward, expected, rtol=1e-12)


def test_third_derivatives_by_way_of_each():
    third = 24 * X
    cubes = lambda x: (x * x * x * x).sum()
    x = tg.tensor(X) * 1
    for second in (
        tg.hessian(cubes, x, create_graph=True),
        tg.hvp(cubes, x, tg.ones(3), create_graph=True),
        tg.jacobian(lambda z: 4 * z * z * z, x, create_graph=True),
    ):
        np.testing.assert_allclose(tg.grad(second.sum(), x), third, rtol=1e-12)


def test_hessians_of_linear_and_piecewise_linear_functions_are_zero():
    for f in (lambda x: x.sum(), lambda x: tg.relu(x).sum(), lambda x: tg.abs(x).sum()):
        assert tg.hessian(f, X).tolist() == np.zeros((3, 3)).tolist()
        assert tg.hvp(f, X, X).tolist() == [0.0, 0.0, 0.0]


def test_a_missing_second_derivative_is_refused_and_is_not_zero():
    square = tg.square.op
    slope_only = type(square)("slope_only", square.run, square.shape, "it was left out", "diagonal")
    op = type(square)("parabola", square.run, square.shape, (lambda g, y, x: g * apply(slope_only, (x,)),))
    x = tg.tensor(X)
    y = apply(op, (x,)).sum()
    slope = tg.grad(y, x, create_graph=True)
    with pytest.raises(tg.GradientError, match="only through 'slope_only', which has no gradient: it was left out"):
        tg.grad(slope.sum(), x)


@pytest.mark.parametrize("derivative", [tg.hessian, lambda f, x: tg.hvp(f, x, x), tg.jacobian])
def test_empty_arguments(derivative):
    result = derivative(lambda x: (x * x).sum() if derivative is not tg.jacobian else x * x, np.zeros((0, 2)))
    assert result.size == 0
    assert result.shape[-2:] == (0, 2)


def test_wrong_arguments():
    with pytest.raises(tg.ShapeError, match=r"hvp: vector for .*(.|\n)*expected: \(3,\)(.|\n)*got:      \(2,\)"):
        tg.hvp(quadratic, X, [1.0, 2.0])
    with pytest.raises(tg.GradientError, match="needs a cotangent"):
        tg.hessian(lambda x: x * x, X)
    with pytest.raises(tg.GradientError, match="carries no gradient"):
        tg.jacobian(lambda n: n * 1.0, [1, 2])


def test_float32_stays_float32():
    for derivative in (tg.jacobian, tg.hessian, lambda f, x: tg.hvp(f, x, [1.0, 2.0])):
        assert derivative(lambda x: (x * x).sum(), [1.0, 2.0]).dtype == np.float32
