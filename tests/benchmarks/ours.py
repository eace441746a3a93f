"""The workloads in tinygrad_rnn, written as a user writes them: cells in plain Python, a loop over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinygrad_rnn as tg

from .workloads import Training, Workload

__all__ = ["compiled", "eager", "program"]

Parameters = dict[str, tg.Tensor]
State = tuple[tg.Tensor, tg.Tensor]  # hidden and cell state; cells without a cell state hand it through
Step = Callable[[tg.Tensor, tg.Tensor], tg.Tensor]


def rnn(P: Parameters, x: tg.Tensor, state: State) -> State:
    h, c = state
    return tg.tanh(x @ P["W_x"] + h @ P["W_h"] + P["b"]), c


def lstm(P: Parameters, x: tg.Tensor, state: State) -> State:
    h, c = state
    i, f, g, o = tg.split(x @ P["W_x"] + h @ P["W_h"] + P["b"], 4, axis=1)
    c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
    return tg.sigmoid(o) * tg.tanh(c), c


def peephole(P: Parameters, x: tg.Tensor, state: State) -> State:
    """An LSTM whose gates see the cell state (Gers and Schmidhuber, 2000): input and forget the old, output the new."""
    h, c = state
    p = P["p"]
    i, f, g, o = tg.split(x @ P["W_x"] + h @ P["W_h"] + P["b"], 4, axis=1)
    c = tg.sigmoid(f + p[1] * c) * c + tg.sigmoid(i + p[0] * c) * tg.tanh(g)
    return tg.sigmoid(o + p[2] * c) * tg.tanh(c), c


def gru(P: Parameters, x: tg.Tensor, state: State) -> State:
    h, c = state
    x_r, x_z, x_n = tg.split(x @ P["W_x"] + P["b"], 3, axis=1)
    h_r, h_z, h_n = tg.split(h @ P["W_h"], 3, axis=1)
    r, z = tg.sigmoid(x_r + h_r), tg.sigmoid(x_z + h_z)
    n = tg.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h, c


CELLS = {"rnn": rnn, "lstm": lstm, "peephole": peephole, "gru": gru}
ENTRIES = {
    "one-hot": lambda P, x: tg.one_hot(x, P["W_x"].shape[0]),
    "tokens": lambda P, x: P["E"][x],
    "dense": lambda P, x: x,
}


def loss_of(w: Workload, P: Parameters, x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
    cell, xs = CELLS[w.cell], ENTRIES[w.entry](P, x)
    h = c = tg.zeros((w.batch, w.hidden))
    hs = []
    for t in tg.steps(w.steps):
        h, c = cell(P, xs[t], (h, c))
        hs.append(h)
    return tg.cross_entropy(tg.stack(hs) @ P["W_o"] + P["b_o"], y)


def model(w: Workload) -> tuple[Parameters, Step]:
    """The parameters, and a training step that changes them."""
    P = {name: tg.parameter(value, name=name) for name, value in w.parameters().items()}
    optimizer = tg.optim.SGD(P.values(), lr=w.rate)

    def step(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        optimizer.zero_grad()
        loss = loss_of(w, P, x, y)
        loss.backward()
        optimizer.step()
        return loss

    return P, step


def training(w: Workload, P: Parameters, step: Step) -> Training:
    x, y = map(tg.tensor, w.data())
    return Training(lambda: step(x, y).item(), lambda: {name: value.numpy().copy() for name, value in P.items()})


def eager(w: Workload) -> Training:
    P, step = model(w)
    return training(w, P, step)


def compiled(w: Workload) -> Training:
    P, step = model(w)
    return training(w, P, tg.compile(step))


def program(w: Workload) -> Any:
    """The program of a training step, after one run."""
    _, step = model(w)
    run = tg.compile(step)
    run(*map(tg.tensor, w.data()))
    return run.programs[-1]
