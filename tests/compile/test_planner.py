"""A compiled program writes over what nobody needs any more, and over nothing else."""

from __future__ import annotations

import numba
import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.testing.faults import PLANNER

X = np.array([[0.5, -1.2], [0.3, 0.9]])


def rows_and_columns(x):
    """Slices along two axes share an entry."""
    h = tg.tanh(x)
    return tg.exp(h[0]), h[:, 1] * 2


def stack_of_a_column_and_a_row(x):
    """Their addresses are equally far apart, their strides are not the same."""
    h = tg.tanh(x)
    return tg.stack([h[:, 0], h[1, :]])


def part_of_a_stack(x):
    y = tg.tanh(x)
    return y, tg.stack([y]) + 1.0


def parts_of_a_stack(x):
    y, z = tg.tanh(x), tg.sin(x)
    return tg.stack([y, z], 1) * 2, z


def part_of_a_concatenation(x):
    y = tg.tanh(x)
    return tg.exp(tg.concatenate([y, tg.sin(x)])), y


def part_of_a_stack_in_a_stack(x):
    y = tg.tanh(x)
    return tg.stack([tg.stack([y])]) + 1.0, y


def view_of_a_part(x):
    y = tg.tanh(x)
    return tg.stack([y]) + 1.0, y.T


def split_parts(x):
    left, right = tg.split(tg.tanh(x), 2, axis=1)
    return tg.concatenate([right, left], 1) * 3, left


FUNCTIONS = [
    rows_and_columns, stack_of_a_column_and_a_row, part_of_a_stack, parts_of_a_stack, part_of_a_concatenation,
    part_of_a_stack_in_a_stack, view_of_a_part, split_parts,
]  # fmt: skip


def assert_same(function, x):
    compiled, eager = tg.compile(function)(x), function(tg.tensor(x))
    if isinstance(eager, tg.Tensor):
        compiled, eager = (compiled,), (eager,)
    for found, expected in zip(compiled, eager, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_values_are_those_of_the_function(function, dtype):
    assert_same(function, X.astype(dtype))


def test_one_number():
    y, z = tg.compile(part_of_a_stack)(np.array([0.5]))
    assert y.numpy().round(3).tolist() == [0.462]
    assert z.numpy().round(3).tolist() == [[1.462]]


@pytest.mark.parametrize("layer", [tg.nn.RNN, tg.nn.LSTM, tg.nn.GRU])
@pytest.mark.parametrize("time", [1, 2, 3, 9])
def test_states_of_layers_whose_outputs_are_touched(layer, time):
    own = layer(2, 3, generator=0, dtype=np.float64)

    def function(xs):
        result = own(xs)
        state = result.state[0]
        return [result.outputs * 2 + 1, *(state if isinstance(state, tuple) else [state])]

    assert_same(function, np.random.default_rng(0).normal(size=(2, time, 2)))


def test_a_sequence_made_step_by_step():
    """The state goes out and in again, and comes to where one long call comes."""
    layer = tg.nn.LSTM(2, 3, generator=0, dtype=np.float64)

    @tg.compile
    def step(x, state):
        result = layer(x, state)
        return tg.relu(result.outputs), result.state

    xs, state = np.random.default_rng(0).normal(size=(2, 5, 2)), layer.initial_state(2)
    for t in range(5):
        outputs, state = step(xs[:, t : t + 1], state)
    np.testing.assert_allclose(outputs.numpy(), tg.relu(layer(xs).outputs[:, -1:]).numpy(), rtol=1e-10)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="what is planned are the compiled instructions")
@pytest.mark.parametrize(("fault", "function"), [
    (PLANNER[0], rows_and_columns), (PLANNER[1], stack_of_a_column_and_a_row), (PLANNER[2], part_of_a_stack),
])  # fmt: skip
def test_these_functions_see_the_faults(fault, function, monkeypatch):
    fault.apply(monkeypatch)
    with pytest.raises(AssertionError):
        assert_same(function, X)
