"""What eager operation costs: a training step beside the peers, recording an operation, the import, a long chain."""

from __future__ import annotations

import importlib.util
import statistics
import time

from . import charrnn
from .figures import Figure
from .processes import json_of, python

__all__ = ["run"]


def training_step(rounds: int, seconds: float) -> list[Figure]:
    print("Training step of a tanh RNN, eager (batch 1, 25 steps, 65 symbols, 100 hidden, float32)")
    installed = [p for p in charrnn.PEERS if p in ("tinygrad_rnn", "numpy") or importlib.util.find_spec(p)]
    results: dict[str, list[dict]] = {p: [] for p in installed}
    for _ in range(rounds):
        for peer in installed:
            results[peer].append(json_of("charrnn", peer, str(seconds)))
    medians = {peer: statistics.median(r["ms"] for r in runs) for peer, runs in results.items()}
    print(f"  {'':14}{'ms':>8}{'ratio to us':>13}{'first loss':>12}{'loss ' + str(charrnn.COUNTED):>11}")
    for peer, ms in medians.items():
        run = results[peer][0]
        print(f"  {peer:14}{ms:8.3f}{ms / medians['tinygrad_rnn']:13.2f}{run['first']:12.5f}{run['last']:11.5f}")
    reference = results["tinygrad_rnn"][0]
    apart = max(abs(r[0][k] - reference[k]) for r in results.values() for k in ("first", "last"))
    figures = [Figure("eager: losses apart", apart, 1e-3)]
    if "torch" in medians:
        figures.append(Figure("eager: ours over PyTorch", medians["tinygrad_rnn"] / medians["torch"], 1.0))
    return figures


OVERHEAD = """
import timeit, numpy as np, tinygrad_rnn as tg
def us(f):
    return 1e6 * min(timeit.repeat(f, number=20000, repeat=7)) / 20000
a, b, w = tg.zeros((1, 100)), tg.ones((1, 100)), tg.ones((100, 100))
x, y, m = a.data, b.data, w.data
add, tanh = tg.add.op.kernels[x.dtype], tg.tanh.op.kernels[x.dtype]
print(us(lambda: a + b) - us(lambda: add(x, y)), us(lambda: tg.tanh(a)) - us(lambda: tanh(x)),
      us(lambda: a @ w) - us(lambda: np.dot(x, m)))
"""


def recording() -> list[Figure]:
    """Recording an operation, its kernel excluded."""
    python("-c", OVERHEAD)  # fills the kernel cache
    costs = [float(v) for v in python("-c", OVERHEAD).split()]
    return [Figure(f"recording of {name}", us, 2.0, "us") for name, us in zip(("add", "tanh", "matmul"), costs)]


def importing() -> list[Figure]:
    def seconds(code: str) -> float:
        runs = []
        for _ in range(7):
            began = time.perf_counter()
            python("-c", code)
            runs.append(time.perf_counter() - began)
        return statistics.median(runs)

    return [Figure("import, Python's own start excluded", seconds("import tinygrad_rnn") - seconds("pass"), 0.6, "s")]


CHAIN = """
import time, tinygrad_rnn as tg
def run(steps):
    x = h = tg.tensor(0.5)
    for _ in range(steps):
        h = tg.tanh(h)
    first = tg.grad(h, x, create_graph=True)
    second = tg.grad(first, x)
    return float(second)
run(10)
times = []
for _ in range(3):
    began = time.perf_counter()
    run(20000)
    times.append(time.perf_counter() - began)
print(min(times))
"""


def chain() -> list[Figure]:
    """A chain of 20,000 tanh is recorded, differentiated to second order, and freed."""
    return [Figure("chain of 20,000 tanh", float(python("-c", CHAIN)), 2.0, "s")]


def run(rounds: int, seconds: float) -> list[Figure]:
    return training_step(rounds, seconds) + recording() + importing() + chain()
