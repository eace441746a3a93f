"""One training step of a character RNN, written as the same loop in each framework.

    python -m tests.benchmarks.charrnn PEER SECONDS     prints one JSON line: median step in ms, losses

A tanh RNN over 25 steps, batch 1, 65 one-hot symbols, 100 hidden units, float32: forward, cross-entropy at every step,
backward, gradient descent. A one-hot times a matrix is written as a row of it. All peers start from the same numbers,
so their losses must agree.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np

STEPS, SYMBOLS, HIDDEN, RATE = 25, 65, 100, 0.1
COUNTED = 20  # the loss is compared after so many steps; much later, rounding has grown into other paths


def problem() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    bound = 1 / np.sqrt(HIDDEN)
    shapes = {
        "W_x": (SYMBOLS, HIDDEN),
        "W_h": (HIDDEN, HIDDEN),
        "b": (HIDDEN,),
        "W_o": (HIDDEN, SYMBOLS),
        "c": (SYMBOLS,),
    }
    parameters = {k: rng.uniform(-bound, bound, shape).astype(np.float32) for k, shape in shapes.items()}
    return parameters, rng.integers(0, SYMBOLS, (STEPS, 1)), rng.integers(0, SYMBOLS, STEPS)


def ours() -> Callable[[], float]:
    import tinygrad_rnn as tg

    start, x, y = problem()
    p = {k: tg.parameter(v, name=k) for k, v in start.items()}
    tokens, targets = tg.tensor(x), tg.tensor(y)
    optimizer = tg.optim.SGD(p.values(), RATE)

    def step() -> float:
        xw = p["W_x"][tokens] + p["b"]
        h, hs = tg.zeros((1, HIDDEN)), []
        for t in range(STEPS):
            h = tg.tanh(xw[t] + h @ p["W_h"])
            hs.append(h)
        loss = tg.cross_entropy((tg.stack(hs) @ p["W_o"] + p["c"]).reshape(-1, SYMBOLS), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch() -> Callable[[], float]:
    import torch

    torch.set_num_threads(1)
    start, x, y = problem()
    p = {k: torch.tensor(v, requires_grad=True) for k, v in start.items()}
    tokens, targets = torch.tensor(x), torch.tensor(y)
    optimizer = torch.optim.SGD(p.values(), RATE, foreach=True)

    def step() -> float:
        xw = p["W_x"][tokens] + p["b"]
        h, hs = torch.zeros(1, HIDDEN), []
        for t in range(STEPS):
            h = torch.tanh(xw[t] + h @ p["W_h"])
            hs.append(h)
        loss = torch.nn.functional.cross_entropy((torch.stack(hs) @ p["W_o"] + p["c"]).reshape(-1, SYMBOLS), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def autograd() -> Callable[[], float]:
    import autograd.numpy as anp
    from autograd import value_and_grad

    p, x, y = problem()

    def loss_of(p: dict) -> float:
        xw = p["W_x"][x] + p["b"]
        h, hs = np.zeros((1, HIDDEN), np.float32), []
        for t in range(STEPS):
            h = anp.tanh(xw[t] + anp.dot(h, p["W_h"]))
            hs.append(h)
        logits = anp.reshape(anp.dot(anp.stack(hs), p["W_o"]) + p["c"], (-1, SYMBOLS))
        shifted = logits - anp.max(logits, 1, keepdims=True)
        return -anp.mean(shifted[np.arange(STEPS), y] - anp.log(anp.sum(anp.exp(shifted), 1)))

    differentiate = value_and_grad(loss_of)

    def step() -> float:
        loss, gradient = differentiate(p)
        for k in p:
            p[k] = (p[k] - np.float32(RATE) * gradient[k]).astype(np.float32)
        return float(loss)

    return step


def numpy() -> Callable[[], float]:
    """Backpropagation through time by hand."""
    p, x, y = problem()

    def step() -> float:
        xw = p["W_x"][x[:, 0]] + p["b"]
        h = np.zeros((STEPS + 1, HIDDEN), np.float32)
        for t in range(STEPS):
            np.tanh(xw[t] + h[t] @ p["W_h"], out=h[t + 1])
        logits = h[1:] @ p["W_o"] + p["c"]
        e = np.exp(logits - logits.max(1, keepdims=True))
        q = e / e.sum(1, keepdims=True)
        loss = -np.log(q[np.arange(STEPS), y]).mean()
        q[np.arange(STEPS), y] -= 1
        q /= STEPS
        dh_out = q @ p["W_o"].T
        da = np.empty((STEPS, HIDDEN), np.float32)
        dh = np.zeros(HIDDEN, np.float32)
        for t in reversed(range(STEPS)):
            da[t] = (dh + dh_out[t]) * (1 - h[t + 1] ** 2)
            dh = da[t] @ p["W_h"].T
        dW_x = np.zeros_like(p["W_x"])
        np.add.at(dW_x, x[:, 0], da)
        gradient = {"W_x": dW_x, "W_h": h[:-1].T @ da, "b": da.sum(0), "W_o": h[1:].T @ q, "c": q.sum(0)}
        for k in p:
            p[k] -= np.float32(RATE) * gradient[k]
        return float(loss)

    return step


PEERS = {"tinygrad_rnn": ours, "torch": torch, "autograd": autograd, "numpy": numpy}


def measure(peer: str, seconds: float) -> dict:
    step = PEERS[peer]()
    losses = [step() for _ in range(COUNTED)]
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return {"peer": peer, "ms": 1e3 * float(np.median(times)), "first": losses[0], "last": losses[-1]}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], float(sys.argv[2]))))
