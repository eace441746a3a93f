"""The workloads in PyTorch: with the modules of ``torch.nn``, and with the same cells as a loop over time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .workloads import Training, Workload

__all__ = ["loop", "module"]

torch.set_num_threads(1)

Parameters = dict[str, torch.Tensor]
State = tuple[torch.Tensor, torch.Tensor]


def rnn(P: Parameters, a: torch.Tensor, state: State) -> State:
    h, c = state
    return torch.tanh(a + h @ P["W_h"]), c


def lstm(P: Parameters, a: torch.Tensor, state: State) -> State:
    h, c = state
    i, f, g, o = torch.addmm(a, h, P["W_h"]).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def peephole(P: Parameters, a: torch.Tensor, state: State) -> State:
    h, c = state
    p = P["p"]
    i, f, g, o = torch.addmm(a, h, P["W_h"]).chunk(4, 1)
    c = torch.sigmoid(f + p[1] * c) * c + torch.sigmoid(i + p[0] * c) * torch.tanh(g)
    return torch.sigmoid(o + p[2] * c) * torch.tanh(c), c


def gru(P: Parameters, a: torch.Tensor, state: State) -> State:
    h, c = state
    x_r, x_z, x_n = a.chunk(3, 1)
    h_r, h_z, h_n = (h @ P["W_h"]).chunk(3, 1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h, c


CELLS = {"rnn": rnn, "lstm": lstm, "peephole": peephole, "gru": gru}
MODULES = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


def training(
    w: Workload, P: Parameters, y: torch.Tensor, hidden_states: Callable[[], torch.Tensor], names: dict[str, str]
) -> Training:
    """Training of the parameters `P`; those in `names` go by another name here, and are transposed."""
    optimizer = torch.optim.SGD(P.values(), lr=w.rate)
    targets = y.reshape(-1)

    def step() -> float:
        optimizer.zero_grad()
        hs = hidden_states().reshape(w.rows, w.hidden)
        loss = torch.nn.functional.cross_entropy(torch.addmm(P["b_o"], hs, P["W_o"]), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    def parameters() -> dict[str, np.ndarray]:
        values = {k: v.detach().numpy() for k, v in P.items()}
        return {names.get(k, k): (v.T if k in names else v).copy() for k, v in values.items()}

    return Training(step, parameters)


def loop(w: Workload) -> Training:
    P = {name: torch.tensor(value, requires_grad=True) for name, value in w.parameters().items()}
    x, y = map(torch.tensor, w.data())
    cell, zeros = CELLS[w.cell], torch.zeros(w.batch, w.hidden)

    def entered() -> torch.Tensor:
        if w.entry == "one-hot":
            return P["W_x"][x] + P["b"]
        return (P["E"][x] if w.entry == "tokens" else x) @ P["W_x"] + P["b"]

    def hidden_states() -> torch.Tensor:
        h = c = zeros
        hs = []
        for a in entered().unbind():
            h, c = cell(P, a, (h, c))
            hs.append(h)
        return torch.stack(hs)

    return training(w, P, y, hidden_states, {})


def module(w: Workload) -> Training:
    """With the module's second bias, which adds to the first, at zero and not trained."""
    start = w.parameters()
    x, y = map(torch.tensor, w.data())
    if w.entry == "one-hot":
        x = torch.nn.functional.one_hot(x, w.inputs).float()
    layer = MODULES[w.cell](w.inputs, w.hidden)
    names = {"weight_ih_l0": "W_x", "weight_hh_l0": "W_h", "bias_ih_l0": "b"}
    with torch.no_grad():
        for theirs, ours in names.items():
            getattr(layer, theirs).copy_(torch.tensor(start[ours].T))
        layer.bias_hh_l0.zero_()
    layer.bias_hh_l0.requires_grad_(False)
    P = {theirs: getattr(layer, theirs) for theirs in names}
    P |= {name: torch.tensor(start[name], requires_grad=True) for name in ("E", "W_o", "b_o") if name in start}

    def hidden_states() -> torch.Tensor:
        return layer(P["E"][x] if w.entry == "tokens" else x)[0]

    return training(w, P, y, hidden_states, names)
