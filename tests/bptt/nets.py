"""Small recurrent networks in float64, with options at random."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

import tinygrad_rnn as tg

SEEDS = st.integers(0, 2**16)
OPTIONS = {
    tg.nn.RNNCell: {
        "activation": st.sampled_from(["tanh", "sigmoid", "identity"]), "leak": st.sampled_from([1.0, 0.3]),
        "bias": st.sampled_from([True, False, "two"]), "skip": st.sampled_from([1, 2, 3]), "layer_norm": st.booleans(),
        "learn_initial_state": st.booleans(),
    },
    tg.nn.LSTMCell: {
        "bias": st.sampled_from([True, False, "two"]), "forget_gate": st.booleans(),
        "peephole": st.sampled_from([False, True, "previous"]), "layer_norm": st.booleans(),
        "learn_initial_state": st.booleans(), "projection": st.sampled_from([None, 2]),
    },
    tg.nn.GRUCell: {
        "bias": st.sampled_from([True, False, "two"]), "reset_after": st.booleans(),
        "update": st.sampled_from(["write", "keep"]),
    },
}  # fmt: skip


@st.composite
def cells(draw):
    kind = draw(st.sampled_from(list(OPTIONS)))
    options = {name: draw(values) for name, values in OPTIONS[kind].items()}
    return kind(draw(st.integers(1, 3)), draw(st.integers(1, 4)), dtype=np.float64, generator=draw(SEEDS), **options)


def inputs(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def states_of(cell, xs):
    """All states from the initial one on, each step inside its time step; xs is (batch, time, features)."""
    states = [cell.initial_state(len(xs))]
    for t in tg.steps(xs.shape[1]):
        states.append(cell(xs[:, t], states[-1])[1])
    return states


def output(state):
    """The tensor of a state that goes out."""
    return state if isinstance(state, tg.Tensor) else state[0]


def per_step_losses(cell, xs, seed=1):
    """A loss of each step's output, recorded in its step."""
    rng = np.random.default_rng(seed)
    losses, state = [], cell.initial_state(len(xs))
    for t in tg.steps(xs.shape[1]):
        y, state = cell(xs[:, t], state)
        losses.append((y * rng.normal(size=y.shape) + 0.1 * y * y).sum())
    return losses


def added(losses):
    return sum(losses[1:], start=losses[0])
