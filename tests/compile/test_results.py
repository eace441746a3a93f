"""Results beside results: what is returned is never what something computed later was written over."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg


def flat(result):
    if isinstance(result, tg.Tensor):
        return [result.numpy().copy()]
    return [a for r in result for a in flat(r)]


def assert_as_eager(fn, *arguments, rtol=1e-12):
    """Also on a second call, and what the first one gave stays."""
    compiled = tg.compile(fn)
    first = compiled(*arguments)
    before = flat(first)
    for scale in (1.0, 0.5):
        given = [a * a.dtype.type(scale) for a in arguments]
        expected = flat(fn(*map(tg.tensor, given)))
        for a, b in zip(flat(compiled(*given)), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    for a, b in zip(flat(first), before, strict=True):
        np.testing.assert_array_equal(a, b)


def one_part(x):
    y = tg.tanh(x)
    return y, tg.stack([y]) + 1.0


def nested(x):
    y = tg.tanh(x)
    rows = tg.stack([y, tg.sin(x)])
    return y, tg.exp(tg.concatenate([rows, tg.cos(rows)], axis=1) * 2.0)


def part_of_a_part(x):
    y = tg.tanh(x)
    inner = tg.concatenate([y, tg.sin(x)])
    return inner[1:], tg.concatenate([inner, x]) - 3.0


def join_and_part(x):
    y, z = tg.tanh(x), tg.sin(x)
    rows = tg.stack([y, z], axis=1)
    return rows * 2.0, z, (rows * 2.0)[:, 0] + 1.0


def view_of_a_result(x):
    y = tg.tanh(x)
    return y[::-1], y + 1.0, y.reshape(-1, 1) * 2.0


def gates(x):
    a, b = tg.split(tg.tanh(tg.concatenate([x, 2 * x])), 2)
    return a, tg.sigmoid(a), tg.stack([a, b]) * b


def accumulated(x):
    y = tg.tanh(x[:, None]) @ tg.ones((1, 3), x.dtype)
    return y, y + y @ tg.ones((3, 3), x.dtype), tg.stack([y])[0] * 2.0


FUNCTIONS = [one_part, nested, part_of_a_part, join_and_part, view_of_a_result, gates, accumulated]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_parts_of_results(function, dtype):
    assert_as_eager(function, np.array([0.5, -0.2, 0.9, 0.0], dtype), rtol=1e-6 if dtype == np.float32 else 1e-12)


LAYERS = {
    "rnn": lambda: tg.nn.RNN(3, 4, generator=0, dtype=np.float64),
    "gru": lambda: tg.nn.GRU(3, 4, num_layers=2, generator=0, dtype=np.float64),
    "lstm": lambda: tg.nn.LSTM(3, 4, num_layers=2, generator=0, dtype=np.float64),
    "both directions": lambda: tg.nn.LSTM(3, 4, bidirectional=True, generator=0, dtype=np.float64),
}
TOUCHES = {
    "scaled": lambda y: y * 2.0,
    "activation": tg.tanh,
    "last": lambda y: y[:, -1] + 1.0,
    "flat": lambda y: tg.exp(y.reshape(-1)),
}


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("touch", TOUCHES)
@pytest.mark.parametrize("layer", LAYERS)
def test_states_beside_outputs_that_are_worked_on(layer, touch, steps):
    """As when a network writes step by step: the state goes in again."""
    net = LAYERS[layer]()

    def run(x):
        out = net(x)
        return TOUCHES[touch](out.outputs), out.state, out.outputs

    assert_as_eager(run, np.random.default_rng(0).normal(size=(2, steps, 3)))


@pytest.mark.parametrize("layer", LAYERS)
def test_step_by_step(layer):
    """A state that is carried through many calls of one program of one step."""
    net, xs = LAYERS[layer](), np.random.default_rng(0).normal(size=(2, 12, 3))

    def step(x, state):
        out = net(x, state)
        return TOUCHES["scaled"](out.outputs), out.state

    compiled, ours, theirs, states = tg.compile(step), net.initial_state(2), net.initial_state(2), []
    for t in range(xs.shape[1]):
        y, ours = compiled(xs[:, t : t + 1], ours)
        expected, theirs = step(tg.tensor(xs[:, t : t + 1]), theirs)
        np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-12)
        states.append((ours, flat(ours)))
    for state, held in states:
        for a, b in zip(flat(state), held, strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(compiled.programs) == 1
