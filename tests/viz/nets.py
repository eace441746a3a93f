"""Small networks to draw, written as plain loops, and a strategy for random ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import tinygrad_rnn as tg


def weight(name, *shape):
    return tg.parameter(np.linspace(-0.5, 0.5, int(np.prod(shape)), dtype=np.float32).reshape(shape), name=name)


def char_rnn(T=4):
    """Embedding and input projection before the loop, output projection and loss after it."""
    tokens = tg.tensor(np.arange(2 * T).reshape(T, 2) % 5, name="tokens")
    targets = tg.tensor(np.arange(1, 2 * T + 1).reshape(T, 2) % 5, name="targets")
    E, W_x, W_h, W_o = weight("E", 5, 3), weight("W_x", 3, 4), weight("W_h", 4, 4), weight("W_o", 4, 5)
    xs = (E[tokens] @ W_x).named("xs")
    h = tg.zeros((2, 4)).named("h0")
    hs = []
    for t in tg.steps(T):
        h = tg.tanh(xs[t, :] + h @ W_h).named("h")
        hs.append(h)
    logits = (tg.stack(hs) @ W_o).named("logits")
    return tg.cross_entropy(logits, targets).named("loss"), [E, W_x, W_h, W_o]


def lstm(T=4):
    xs = [tg.tensor(np.ones((2, 3), np.float32), name="x") for _ in range(T)]
    W, U, b = weight("W", 3, 16), weight("U", 4, 16), weight("b", 16)
    h, c = tg.zeros((2, 4)).named("h0"), tg.zeros((2, 4)).named("c0")
    for t in tg.steps(T):
        i, f, g, o = tg.split(xs[t] @ W + h @ U + b, 4, axis=1)
        i, f, o = tg.sigmoid(i).named("i"), tg.sigmoid(f).named("f"), tg.sigmoid(o).named("o")
        c = (f * c + i * tg.tanh(g).named("g")).named("c")
        h = (o * tg.tanh(c)).named("h")
    return h


def stacked(T=4):
    """Two layers, the second one step by step upon the first."""
    W0, U0, W1, U1 = weight("W0", 3, 4), weight("U0", 4, 4), weight("W1", 4, 4), weight("U1", 4, 4)
    xs = tg.tensor(np.ones((T, 2, 3), np.float32), name="xs")
    first, second = tg.zeros((2, 4)).named("a0"), tg.zeros((2, 4)).named("b0")
    for t in tg.steps(T):
        with tg.scope("layer0"):
            first = tg.tanh(xs[t, :] @ W0 + first @ U0).named("a")
        with tg.scope("layer1"):
            second = tg.tanh(first @ W1 + second @ U1).named("b")
    return second


def bidirectional(T=4):
    """Two directions over the same inputs; the second one runs from the right to the left."""
    W, U, V = weight("W", 3, 4), weight("U", 4, 4), weight("V", 4, 4)
    xs = [tg.tensor(np.ones((2, 3), np.float32), name="x") for _ in range(T)]
    there, back = tg.zeros((2, 4)).named("there0"), tg.zeros((2, 4)).named("back0")
    ends = []
    with tg.scope("there"):
        for t in tg.steps(T):
            there = tg.tanh(xs[t] @ W + there @ U).named("h")
            ends.append(there)
    with tg.scope("back"):
        for t in tg.steps(T, reverse=True):
            back = tg.tanh(xs[t] @ W + back @ V).named("h")
            ends.append(back)
    return tg.stack(ends)


def truncated(T=6, every=3):
    W = weight("W", 4, 4)
    h, hs = tg.zeros((2, 4)).named("h0"), []
    for t in tg.steps(T):
        if t and t % every == 0:
            h = h.detach()
        h = tg.tanh(h @ W).named("h")
        hs.append(h)
    return tg.stack(hs).sum()


def timeless():
    x = tg.tensor(np.ones((2, 3), np.float32), name="x")
    hidden = tg.tanh(x @ weight("W", 3, 4) + weight("b", 4)).named("hidden")
    return (1 - tg.softmax(hidden @ weight("V", 4, 3)) * x).sum().named("score")


def gradient(T=3):
    W = weight("W", 4, 4)
    h = tg.zeros((2, 4)).named("h0")
    for _ in tg.steps(T):
        h = tg.tanh(h @ W).named("h")
    loss = (h * h).sum().named("loss")
    return [loss, tg.grad(loss, W, create_graph=True).named("dW")]


_UNARY = (tg.tanh, tg.sigmoid, tg.exp)
_BINARY = (tg.add, tg.multiply, tg.subtract)


@dataclass(frozen=True)
class Recipe:
    """A random recurrent network: what one step computes, independent of the number of steps."""

    steps: tuple[tuple[int, int, int], ...]
    states: tuple[int, ...]
    names: tuple[str, ...]
    sliced: bool
    summed: bool

    def run(self, T):
        xs = tg.ones((T, 2)).named("xs")
        apart = [tg.ones(2).named("x") for _ in range(T)]
        state = [tg.zeros(2).named(f"{name}0") for name in self.names]
        seen = []
        for t in tg.steps(T):
            pool = [xs[t, :] if self.sliced else apart[t], *state]
            for op, a, b in self.steps:
                a, b = pool[a % len(pool)], pool[b % len(pool)]
                pool.append(_UNARY[op](a) if op < 3 else _BINARY[op - 3](a, b))
            state = [tg.tanh(pool[-1 - k % len(self.steps)]).named(n) for k, n in zip(self.states, self.names)]
            seen.append(state[0])
        return tg.stack(seen).sum() if self.summed else state


@st.composite
def recipes(draw):
    """Recipes of up to eight operations and three states; shrinks to one operation on the input, one state."""
    steps = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8))
    states = draw(st.lists(st.integers(0, 7), min_size=1, max_size=3))
    names = tuple("hcs"[: len(states)])
    return Recipe(tuple(steps), tuple(states), names, draw(st.booleans()), draw(st.booleans()))
