"""Measure speed beside the peers and print ratios: each in a process of its own, on one core, in turns.

usage: python -m tests.benchmarks [--rounds N] [--seconds S]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from . import charrnn

ROOT = Path(__file__).parent.parent.parent
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def python(*arguments: str) -> str:
    """Standard output of Python run on one core."""
    pin = None
    if hasattr(os, "sched_setaffinity"):
        core = min(os.sched_getaffinity(0))
        pin = lambda: os.sched_setaffinity(0, {core})
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **THREADS},
        preexec_fn=pin,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


missed: list[str] = []


def verdict(what: str, value: float, limit: float) -> str:
    """Whether a figure is met; remembered where it is not."""
    if value <= limit:
        return "met"
    missed.append(what)
    return "NOT MET"


def training_step(rounds: int, seconds: float) -> None:
    print("Training step of a tanh RNN, eager (batch 1, 25 steps, 65 symbols, 100 hidden, float32)")
    installed = [p for p in charrnn.PEERS if p in ("tinygrad_rnn", "numpy") or importlib.util.find_spec(p)]
    results: dict[str, list[dict]] = {p: [] for p in installed}
    for _ in range(rounds):
        for peer in installed:
            results[peer].append(json.loads(python("-m", "tests.benchmarks.charrnn", peer, str(seconds))))
    medians = {peer: statistics.median(r["ms"] for r in runs) for peer, runs in results.items()}
    print(f"  {'':14}{'ms':>8}{'ratio to us':>13}{'first loss':>12}{'loss ' + str(charrnn.COUNTED):>11}")
    for peer, ms in medians.items():
        run = results[peer][0]
        print(f"  {peer:14}{ms:8.3f}{ms / medians['tinygrad_rnn']:13.2f}{run['first']:12.5f}{run['last']:11.5f}")
    reference = results["tinygrad_rnn"][0]
    apart = max(abs(r[0][k] - reference[k]) for r in results.values() for k in ("first", "last"))
    print(f"  losses agree within {apart:.1e}: {verdict('losses', apart, 1e-3)}")
    if "torch" in medians:
        ratio = medians["tinygrad_rnn"] / medians["torch"]
        print(f"  ours over PyTorch: {ratio:.2f}, at most 1: {verdict('training step', ratio, 1.0)}")


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


def recording() -> None:
    python("-c", OVERHEAD)  # fills the kernel cache
    costs = [float(v) for v in python("-c", OVERHEAD).split()]
    print("Recording an operation, its kernel excluded")
    for name, us in zip(("add", "tanh", "matmul"), costs, strict=True):
        print(f"  {name:8}{us:6.2f} us, at most 2: {verdict(name, us, 2.0)}")


def importing() -> None:
    def seconds(code: str) -> float:
        runs = []
        for _ in range(7):
            began = time.perf_counter()
            python("-c", code)
            runs.append(time.perf_counter() - began)
        return statistics.median(runs)

    bare, whole = seconds("pass"), seconds("import tinygrad_rnn")
    print(f"import tinygrad_rnn: {whole - bare:.2f} s ({whole:.2f} s with Python's own start), at most 0.6: ", end="")
    print(verdict("import", whole - bare, 0.6))


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


def chain() -> None:
    seconds = float(python("-c", CHAIN))
    met = verdict("chain", seconds, 2.0)
    print(f"20,000 tanh in a chain, recorded, differentiated to second order, freed: {seconds:.2f} s, at most 2: {met}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns that each framework gets")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn")
    args = parser.parse_args()
    training_step(args.rounds, args.seconds)
    recording()
    importing()
    chain()
    if missed:
        raise SystemExit(f"figures that are not met: {', '.join(missed)}")


if __name__ == "__main__":
    main()
