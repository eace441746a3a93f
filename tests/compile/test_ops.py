"""Compiled = eager for every function of the table: values, first and second derivatives."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.ops.cases import CASES

DIFFERENTIABLE = [case for case in CASES if case.differentiable]


def outputs(result):
    return [result] if isinstance(result, tg.Tensor) else list(result)


def assert_same(compiled, eager, factor=1.0):
    """Equal to rounding: the same formula may be evaluated in another order."""
    for a, b in zip(outputs(compiled), outputs(eager), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if a.is_float:
            eps = np.finfo(a.dtype).eps * 64 * factor
            scale = np.nanmax(np.abs(b.numpy()), initial=1.0, where=np.isfinite(b.numpy()))
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=eps, atol=eps * scale)
        else:
            assert np.array_equal(a.numpy(), b.numpy())


def taken_by_value(arrays):
    """Whether a function of these takes a mask of booleans, whose places a recorded function cannot know."""
    return any(a.dtype.kind == "b" for a in arrays)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value(case, dtype):
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in case.arrays()]
    eager = case.function(*map(tg.tensor, arrays))
    try:
        compiled = tg.compile(case.function)(*arrays)
    except tg.PlaceholderError:
        assert taken_by_value(arrays)
        return
    assert_same(compiled, eager)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_gradients(case):
    arrays = case.arrays(1)
    places = [k for k, a in enumerate(arrays) if a.dtype.kind == "f"]

    def first(*inputs):
        y = sum((t * t).sum() for t in outputs(case.function(*inputs)))
        return tg.grad(y, [inputs[k] for k in places], create_graph=True, allow_unused=True)

    def both(*inputs):
        gradients = [g for g in first(*inputs) if g is not None]
        total = sum((g * g).sum() for g in gradients)
        seconds = tg.grad(total, [inputs[k] for k in places], allow_unused=True)
        return [*gradients, *(s for s in seconds if s is not None)]

    eager = both(*map(tg.tensor, arrays))
    try:
        compiled = tg.compile(both)(*arrays)
    except tg.PlaceholderError:
        assert taken_by_value(arrays)
        return
    assert_same(compiled, eager, 1e3)
