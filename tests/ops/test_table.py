"""Every function of the table: values, dtypes, layouts, tracing, and derivatives of both orders in both modes."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.testing import check_grad

from .cases import CASES, complex_gradient

DIFFERENTIABLE = [case for case in CASES if case.differentiable]
every = pytest.mark.parametrize("case", CASES, ids=str)
differentiable = pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)


def listed(outputs):
    return [outputs] if isinstance(outputs, tg.Tensor) else list(outputs)


def narrowed(arrays):
    return [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays]


def widened(arrays):
    return [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]


def expected(case, arrays):
    """What the reference gives, in double precision."""
    with np.errstate(all="ignore"):
        results = case.reference(*(a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays))
    return results if isinstance(results, list) else [results]


@every
def test_values_equal_numpy(case):
    for arrays, tolerance in [(case.arrays(), 1e-12), (narrowed(case.arrays()), 1e-5)][: 1 + case.single]:
        tensors = [tg.tensor(a) for a in arrays]
        found = listed(case.function(*tensors))
        for y, reference in zip(found, expected(case, arrays), strict=True):
            reference = np.asarray(reference)
            np.testing.assert_allclose(
                y.numpy(), reference, rtol=tolerance, atol=tolerance, strict=y.dtype == reference.dtype
            )
            assert y.shape == reference.shape
            assert y.dtype.kind == reference.dtype.kind
        for t, a in zip(tensors, arrays, strict=True):
            np.testing.assert_array_equal(t.numpy(), a, err_msg="an input was changed", strict=True)


@every
def test_floats_keep_their_dtype(case):
    for dtype in (np.float32, np.float64):
        arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in case.arrays()]
        if not any(a.dtype.kind == "f" for a in arrays) or case.name == "astype":
            continue
        assert {y.dtype for y in listed(case.function(*map(tg.tensor, arrays))) if y.is_float} <= {np.dtype(dtype)}


@every
def test_a_traced_function_has_the_same_shape_dtype_and_values(case):
    arrays = narrowed(case.arrays())
    eager = listed(case.function(*map(tg.tensor, arrays)))
    graph = tg.trace(case.function, *arrays)
    for symbolic, y in zip(graph.outputs, eager, strict=True):
        assert (symbolic.shape, symbolic.dtype) == (y.shape, y.dtype)
    for y, again in zip(eager, listed(graph(*arrays)), strict=True):
        np.testing.assert_array_equal(again.numpy(), y.numpy(), strict=True)


def transposed(a):
    return tg.tensor(np.array(a.T, order="C")).T


def reversed_(a):
    return tg.flip(tg.tensor(np.flip(a)))


def strided(a):
    return tg.tensor(np.repeat(a, 2, -1))[..., ::2] if a.ndim else tg.tensor(a)


def offset(a):
    return tg.tensor(np.concatenate([a[:1], a]))[1:] if a.ndim else tg.tensor(a)


@every
def test_the_layout_of_an_input_does_not_matter(case):
    arrays = case.arrays()
    expected = _values_and_gradients(case, [tg.tensor(a) for a in arrays])
    for layout in (transposed, reversed_, strided, offset):
        inputs = [layout(a) for a in arrays]
        assert all((t.numpy() == a).all() for t, a in zip(inputs, arrays, strict=True))
        for found, right in zip(_values_and_gradients(case, inputs), expected, strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-12, err_msg=layout.__name__)


def _values_and_gradients(case, inputs):
    outputs = listed(case.function(*inputs))
    floats = [t for t in outputs if t.is_float]
    wrt = [t for t in inputs if t.is_float]
    values = [y.numpy() for y in outputs]
    if not case.differentiable:
        return values
    cotangents = [np.cos(np.arange(y.size)).reshape(y.shape) for y in floats]
    gradients = tg.grad(floats, wrt, cotangents, allow_unused=True)
    return values + [np.zeros(t.shape) if g is None else g.numpy() for g, t in zip(gradients, wrt, strict=True)]


@differentiable
def test_derivatives(case):
    for seed in range(2):
        check_grad(case.function, *case.arrays(seed), seed=seed)


@pytest.mark.parametrize("case", [c for c in DIFFERENTIABLE if c.analytic], ids=str)
def test_gradients_equal_complex_steps_through_numpy(case):
    arrays = case.arrays(1)
    inputs = [tg.tensor(a) for a in arrays]
    y = case.function(*inputs)
    cotangent = np.random.default_rng(2).normal(size=y.shape)
    for i, a in enumerate(arrays):
        if a.dtype.kind == "f":
            reference = complex_gradient(case.reference, arrays, i, cotangent)
            found = tg.grad(y, inputs[i], cotangent).numpy()
            np.testing.assert_allclose(
                found, reference, rtol=1e-11, atol=1e-12 * (1 + np.abs(reference).max(initial=0))
            )


@differentiable
def test_single_precision_gradients(case):
    """Both ways of running the rules agree, keep float32, and stay close to double precision."""
    if not case.single:
        pytest.skip("draws other numbers in single precision")
    singles = narrowed(case.arrays())
    results = []
    for arrays, recorded in [(singles, False), (singles, True), (widened(singles), False)]:
        inputs = [tg.tensor(a) for a in arrays]
        outputs = [t for t in listed(case.function(*inputs)) if t.is_float]
        wrt = [t for t in inputs if t.is_float]
        cotangents = [np.linspace(0.5, 1.5, y.size).reshape(y.shape) for y in outputs]
        gradients = tg.grad(outputs, wrt, cotangents, create_graph=recorded, allow_unused=True)
        results.append([tg.zeros_like(t) if g is None else g for t, g in zip(wrt, gradients, strict=True)])
    for fused, recorded, double in zip(*results, strict=True):
        assert fused.dtype == recorded.dtype == np.float32
        assert double.dtype == np.float64
        scale = np.abs(double.numpy()).max(initial=1)
        np.testing.assert_allclose(fused.numpy(), recorded.numpy(), rtol=2e-6, atol=2e-6 * scale)
        np.testing.assert_allclose(fused.numpy(), double.numpy(), rtol=1e-4, atol=1e-5 * scale)
