"""The workloads in JAX: a scan over time, the whole training step under jit."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .workloads import Training, Workload

__all__ = ["train"]

Parameters = dict[str, jax.Array]
State = tuple[jax.Array, jax.Array]


def rnn(P: Parameters, a: jax.Array, state: State) -> State:
    h, c = state
    return jnp.tanh(a + h @ P["W_h"]), c


def lstm(P: Parameters, a: jax.Array, state: State) -> State:
    h, c = state
    i, f, g, o = jnp.split(a + h @ P["W_h"], 4, 1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def peephole(P: Parameters, a: jax.Array, state: State) -> State:
    h, c = state
    p = P["p"]
    i, f, g, o = jnp.split(a + h @ P["W_h"], 4, 1)
    c = jax.nn.sigmoid(f + p[1] * c) * c + jax.nn.sigmoid(i + p[0] * c) * jnp.tanh(g)
    return jax.nn.sigmoid(o + p[2] * c) * jnp.tanh(c), c


def gru(P: Parameters, a: jax.Array, state: State) -> State:
    h, c = state
    x_r, x_z, x_n = jnp.split(a, 3, 1)
    h_r, h_z, h_n = jnp.split(h @ P["W_h"], 3, 1)
    r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    n = jnp.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h, c


CELLS = {"rnn": rnn, "lstm": lstm, "peephole": peephole, "gru": gru}


def loss_of(w: Workload, P: Parameters, x: jax.Array, y: jax.Array) -> jax.Array:
    if w.entry == "one-hot":
        entered = P["W_x"][x] + P["b"]
    else:
        entered = (P["E"][x] if w.entry == "tokens" else x) @ P["W_x"] + P["b"]

    def advance(state: State, a: jax.Array) -> tuple[State, jax.Array]:
        state = CELLS[w.cell](P, a, state)
        return state, state[0]

    zeros = jnp.zeros((w.batch, w.hidden))
    _, hs = jax.lax.scan(advance, (zeros, zeros), entered)
    scores = jax.nn.log_softmax(hs @ P["W_o"] + P["b_o"])
    return -jnp.take_along_axis(scores, y[..., None], -1).mean()


def train(w: Workload) -> Training:
    P = {name: jnp.asarray(value) for name, value in w.parameters().items()}
    x, y = map(jnp.asarray, w.data())

    @partial(jax.jit, donate_argnums=0)
    def update(P: Parameters, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Parameters]:
        loss, gradients = jax.value_and_grad(loss_of, argnums=1)(w, P, x, y)
        return loss, {name: P[name] - w.rate * gradients[name] for name in P}

    def step() -> float:
        nonlocal P
        loss, P = jax.block_until_ready(update(P, x, y))
        return float(loss)

    return Training(step, lambda: {name: np.array(value) for name, value in P.items()})
