"""Properties of derivatives on programs that Hypothesis makes up: sharing, broadcasting, indexing and joins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.testing import check_grad

SHAPES = [(2, 3), (3,), (2, 1), ()]

SMOOTH_UNARY = [
    tg.tanh, tg.sin, tg.sigmoid, tg.softplus, lambda x: -x, lambda x: x * x, lambda x: tg.exp(0.5 * x),
    lambda x: x / (1.5 + x * x), lambda x: x.sum(-1, keepdims=True) if x.ndim else x, lambda x: x.mean(),
    lambda x: x[..., ::-1] if x.ndim else x, lambda x: x[..., [0, 0, -1]] if x.ndim else x,
    lambda x: tg.stack([x, x * 2]).sum(0), lambda x: tg.concatenate([x.flatten(), x.flatten() * 2])[: x.size],
    lambda x: tg.softmax(x) if x.ndim else x, lambda x: tg.logsumexp(x), lambda x: tg.layer_norm(x) if x.ndim else x,
    lambda x: x.T.reshape(x.shape), lambda x: tg.outer(x, x)[:, :1] if x.ndim < 2 else x @ x.T[:, :1],
    lambda x: x.at[..., 0].set(x[..., 0] * 3) if x.ndim else x, lambda x: x.at[...].add(x * 0.5),
    lambda x: tg.cumsum(x, -1) if x.ndim else x, lambda x: tg.pad(x, 1)[1:-1] if x.ndim == 1 else x, lambda x: x.prod(),
    lambda x: tg.checkpoint(lambda v: tg.sin(v * v))(x),
]  # fmt: skip
KINKED_UNARY = [
    tg.relu, tg.abs, lambda x: x.max(-1) if x.ndim else x, lambda x: tg.floor(x) + x,
    lambda x: tg.where(x > 0, x, 2 * x), lambda x: x * x.detach(), lambda x: tg.clip(x, -0.5, 0.5),
]  # fmt: skip
BINARY = [
    lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / (2 + b * b),
    lambda a, b: tg.where(tg.tensor([True, False, True]), a, b),
    lambda a, b: tg.concatenate([a.flatten(), b.flatten()]),
]  # fmt: skip


def bounded(t):
    """Values near one, in one of the shapes, so that programs neither explode nor fade."""
    return tg.tanh(t) if t.shape in SHAPES else tg.tanh(t.flatten()[:3] if t.size >= 3 else t.sum())


def programs(unary):
    """Programs as lists of (operation, operand, operand); they shrink to fewer and earlier operations."""
    step = st.tuples(st.integers(0, len(unary) + len(BINARY) - 1), st.integers(0, 100), st.integers(0, 100))

    def build(steps):
        def run(*inputs):
            values = list(inputs)
            for op, i, j in steps:
                a, b = values[i % len(values)], values[j % len(values)]
                values.append(bounded(unary[op](a) if op < len(unary) else BINARY[op - len(unary)](a, b)))
            return sum((v.sum() * (1 + 0.1 * k) for k, v in enumerate(values)), start=tg.tensor(np.float64(0)))

        return run

    return st.lists(step, min_size=1, max_size=8).map(build)


def arrays(seed):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1.5, 1.5, shape) for shape in SHAPES]


MANY = settings(max_examples=4 * settings.default.max_examples)


@MANY
@given(programs(SMOOTH_UNARY + KINKED_UNARY), st.integers(0, 10))
def test_recorded_unrecorded_traced_and_accumulated_gradients_agree(program, seed):
    values = arrays(seed)
    inputs = [tg.parameter(a) for a in values]
    y = program(*inputs)
    plain = tg.grad(y, inputs)
    recorded = tg.grad(y, inputs, create_graph=True)
    y.backward()
    traced = tg.trace(lambda *xs: tg.grad(program(*xs), list(xs)), *[tg.Spec(s, np.float64) for s in SHAPES])(*values)
    for a, *others in zip(plain, recorded, [t.grad for t in inputs], traced, strict=True):
        for b in others:
            assert (b.shape, b.dtype) == (a.shape, np.float64)
            np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-13)


@given(programs(SMOOTH_UNARY), st.integers(0, 10))
def test_gradients_agree_with_numbers(program, seed):
    check_grad(program, *arrays(seed), seed=seed)


@MANY
@given(programs(SMOOTH_UNARY), st.integers(0, 10))
def test_forward_mode_agrees_with_reverse_mode(program, seed):
    values, directions = arrays(seed), arrays(seed + 100)
    inputs = [tg.tensor(a) for a in values]
    slope = tg.jvp(program, inputs, directions)[1].item()
    pulled = tg.vjp(program, *inputs)[1]()
    expected = sum((v * g.numpy()).sum() for v, g in zip(directions, pulled, strict=True))
    assert slope == pytest.approx(expected, rel=1e-9, abs=1e-11)


@given(programs(SMOOTH_UNARY), st.integers(0, 10))
def test_second_derivatives_agree_in_every_order_of_modes(program, seed):
    values, directions = arrays(seed), arrays(seed + 100)
    inputs = [tg.tensor(a) for a in values]

    def slopes(*xs):
        return tg.vjp(program, *xs)[1](create_graph=True)

    over = tg.jvp(slopes, inputs, directions)[1]
    first = tg.grad(program(*inputs), inputs, create_graph=True)
    product = sum((tg.tensor(v) * g).sum() for v, g in zip(directions, first, strict=True))
    back = tg.grad(product, inputs, allow_unused=True)
    for a, b in zip(over, back, strict=True):
        np.testing.assert_allclose(a, np.zeros(a.shape) if b is None else b, rtol=1e-8, atol=1e-9)


def test_a_wrong_rule_is_found(monkeypatch):
    """The comparison of modes can fail: a tanh whose slope is off by a thousandth does not pass."""
    tanh = tg.tanh.op.vjp[0]
    wrong = (lambda g, y, x: tanh(g, y, x) * 1.001,)
    x = tg.tensor(np.array([0.3, 0.8]))
    plain = tg.grad(tg.tanh(x).sum(), x)
    monkeypatch.setattr(tg.tanh.op, "vjp", wrong)
    recorded = tg.grad(tg.tanh(x).sum(), x, create_graph=True)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(recorded, plain, rtol=1e-4)
