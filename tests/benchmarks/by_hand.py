"""The workloads in NumPy, backpropagation through time by hand.

The product with the inputs is one for all time steps, and so is the gradient of each weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .workloads import Training, Workload

__all__ = ["train"]

Parameters = dict[str, np.ndarray]


class Forward(NamedTuple):
    """Hidden states, the initial one first, and what the backward pass needs besides."""

    hs: np.ndarray
    saved: tuple[np.ndarray, ...] = ()


class Backward(NamedTuple):
    """Gradients of ``x @ W_x + b`` and of ``h @ W_h`` at each time step, and of the peepholes."""

    inputs: np.ndarray
    recurrent: np.ndarray
    peepholes: np.ndarray | None = None


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 0.5 * np.tanh(0.5 * a) + 0.5


def states(a: np.ndarray, H: int) -> np.ndarray:
    """Zeros for the initial state and one for each time step."""
    T, B, _ = a.shape
    return np.zeros((T + 1, B, H), np.float32)


def rnn_forward(P: Parameters, a: np.ndarray) -> Forward:
    W_h, hs = P["W_h"], states(a, a.shape[2])
    for t in range(len(a)):
        np.tanh(a[t] + hs[t] @ W_h, out=hs[t + 1])
    return Forward(hs)


def rnn_backward(P: Parameters, forward: Forward, dhs: np.ndarray) -> Backward:
    W_h, da, slope = P["W_h"].T, np.empty_like(dhs), 1 - forward.hs[1:] ** 2
    dh = np.zeros_like(dhs[0])
    for t in reversed(range(len(dhs))):
        np.multiply(dhs[t] + dh, slope[t], out=da[t])
        dh = da[t] @ W_h
    return Backward(da, da)


def lstm_forward(P: Parameters, a: np.ndarray) -> Forward:
    W_h, p, H = P["W_h"], P.get("p"), a.shape[2] // 4
    hs, cs, gates, squashed = states(a, H), states(a, H), np.empty_like(a), np.empty_like(a[:, :, :H])
    for t in range(len(a)):
        pre = hs[t] @ W_h
        pre += a[t]
        if p is not None:
            pre[:, :H] += p[0] * cs[t]
            pre[:, H : 2 * H] += p[1] * cs[t]
        i, f, g, o = np.split(gates[t], 4, axis=1)
        gates[t, :, : 2 * H] = sigmoid(pre[:, : 2 * H])
        np.tanh(pre[:, 2 * H : 3 * H], out=g)
        np.add(f * cs[t], i * g, out=cs[t + 1])
        o[:] = sigmoid(pre[:, 3 * H :] if p is None else pre[:, 3 * H :] + p[2] * cs[t + 1])
        np.tanh(cs[t + 1], out=squashed[t])
        np.multiply(o, squashed[t], out=hs[t + 1])
    return Forward(hs, (cs, gates, squashed))


def lstm_backward(P: Parameters, forward: Forward, dhs: np.ndarray) -> Backward:
    W_h, p, (cs, gates, squashed) = P["W_h"].T, P.get("p"), forward.saved
    da = np.empty_like(gates)
    dh = dc = np.zeros_like(dhs[0])
    for t in reversed(range(len(dhs))):
        i, f, g, o = np.split(gates[t], 4, axis=1)
        di, df, dg, do = np.split(da[t], 4, axis=1)
        dh = dh + dhs[t]
        np.multiply(dh * squashed[t], o * (1 - o), out=do)
        dc = dc + dh * o * (1 - squashed[t] ** 2)
        if p is not None:
            dc += do * p[2]
        np.multiply(dc * g, i * (1 - i), out=di)
        np.multiply(dc * cs[t], f * (1 - f), out=df)
        np.multiply(dc * i, 1 - g**2, out=dg)
        dc = dc * f
        if p is not None:
            dc += di * p[0] + df * p[1]
        dh = da[t] @ W_h
    return Backward(da, da, None if p is None else peephole_gradient(da, cs))


def peephole_gradient(da: np.ndarray, cs: np.ndarray) -> np.ndarray:
    di, df, _, do = np.split(da, 4, axis=2)
    pairs = ((di, cs[:-1]), (df, cs[:-1]), (do, cs[1:]))
    return np.stack([np.einsum("tbh,tbh->h", d, c) for d, c in pairs])


def gru_forward(P: Parameters, a: np.ndarray) -> Forward:
    W_h, H = P["W_h"], a.shape[2] // 3
    hs, gates, candidates = states(a, H), np.empty_like(a), np.empty_like(a[:, :, :H])
    for t in range(len(a)):
        r, z, n = np.split(gates[t], 3, axis=1)
        product = hs[t] @ W_h
        gates[t, :, : 2 * H] = sigmoid(a[t, :, : 2 * H] + product[:, : 2 * H])
        candidates[t] = product[:, 2 * H :]
        np.tanh(a[t, :, 2 * H :] + r * candidates[t], out=n)
        np.add(n, z * (hs[t] - n), out=hs[t + 1])
    return Forward(hs, (gates, candidates))


def gru_backward(P: Parameters, forward: Forward, dhs: np.ndarray) -> Backward:
    W_h, hs, (gates, candidates) = P["W_h"].T, forward.hs, forward.saved
    da, recurrent = np.empty_like(gates), np.empty_like(gates)
    H = dhs.shape[2]
    dh = np.zeros_like(dhs[0])
    for t in reversed(range(len(dhs))):
        r, z, n = np.split(gates[t], 3, axis=1)
        dr, dz, dn = np.split(da[t], 3, axis=1)
        dh = dh + dhs[t]
        np.multiply(dh * (1 - z), 1 - n**2, out=dn)
        np.multiply(dh * (hs[t] - n), z * (1 - z), out=dz)
        np.multiply(dn * candidates[t], r * (1 - r), out=dr)
        recurrent[t, :, : 2 * H] = da[t, :, : 2 * H]
        np.multiply(dn, r, out=recurrent[t, :, 2 * H :])
        dh = dh * z + recurrent[t] @ W_h
    return Backward(da, recurrent)


CELLS = {
    "rnn": (rnn_forward, rnn_backward),
    "lstm": (lstm_forward, lstm_backward),
    "peephole": (lstm_forward, lstm_backward),
    "gru": (gru_forward, gru_backward),
}


def enter(w: Workload, P: Parameters, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What enters the cell, as rows, and its product with W_x; a one-hot vector is held as its symbol."""
    if w.entry == "one-hot":
        return x.reshape(-1), P["W_x"][x.reshape(-1)]
    rows = (P["E"][x] if w.entry == "tokens" else x).reshape(w.rows, w.inputs)
    return rows, rows @ P["W_x"]


def leave(w: Workload, P: Parameters, x: np.ndarray, entered: np.ndarray, da: np.ndarray) -> Parameters:
    """Gradients of the parameters that :func:`enter` takes."""
    if w.entry == "one-hot":
        return {"W_x": sum_rows(entered, da, w.inputs)}
    gradients = {"W_x": entered.T @ da}
    if w.entry == "tokens":
        gradients["E"] = sum_rows(x.reshape(-1), da @ P["W_x"].T, w.symbols)
    return gradients


def sum_rows(symbols: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Sum of the rows of each symbol, as a product with one-hot vectors: faster than ``np.add.at``."""
    return (symbols == np.arange(count)[:, None]).astype(np.float32) @ rows


def cross_entropy(logits: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean loss, and its gradient by the logits."""
    at = np.arange(len(y)), y
    shifted = logits - logits.max(1, keepdims=True)
    q = np.exp(shifted)
    total = q.sum(1, keepdims=True)
    loss = float((np.log(total[:, 0]) - shifted[at]).mean())
    q /= total
    q[at] -= 1
    q /= np.float32(len(y))
    return loss, q


def backpropagate(w: Workload, P: Parameters, x: np.ndarray, y: np.ndarray) -> tuple[float, Parameters]:
    run_forward, run_backward = CELLS[w.cell]
    entered, a = enter(w, P, x)
    forward = run_forward(P, (a + P["b"]).reshape(w.steps, w.batch, -1))
    hs = forward.hs[1:].reshape(w.rows, -1)
    loss, dlogits = cross_entropy(hs @ P["W_o"] + P["b_o"], y.reshape(-1))
    backward = run_backward(P, forward, (dlogits @ P["W_o"].T).reshape(w.steps, w.batch, -1))
    da, recurrent = (d.reshape(w.rows, -1) for d in backward[:2])
    gradients = leave(w, P, x, entered, da)
    gradients |= {"W_h": forward.hs[:-1].reshape(w.rows, -1).T @ recurrent, "b": da.sum(0)}
    gradients |= {"W_o": hs.T @ dlogits, "b_o": dlogits.sum(0)}
    if backward.peepholes is not None:
        gradients["p"] = backward.peepholes
    return loss, gradients


def train(w: Workload) -> Training:
    P, (x, y) = w.parameters(), w.data()

    def step() -> float:
        loss, gradients = backpropagate(w, P, x, y)
        for name, value in P.items():
            value -= np.float32(w.rate) * gradients[name]
        return loss

    return Training(step, lambda: {name: value.copy() for name, value in P.items()})
