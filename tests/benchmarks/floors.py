"""A floor under the time of a training step: its products at this machine's best rate, after the best known algebra.

usage: python -m tests.benchmarks.floors; prints the rates of this machine as one JSON line

Each product takes as long as its FLOPs at the rate of a large product, or as its operands and its result, once
each, at the rate of a copy inside the cache, whichever is longer: the second is so only for products with few rows.
Gradient descent reads a parameter and its gradient and writes the parameter. All else is taken as free.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .workloads import Workload

__all__ = ["Product", "Rates", "floor_seconds", "flops", "measured_rates", "moved_bytes", "products"]

FLOAT = 4  # bytes


class Product(NamedTuple):
    """`times` products of an (m, k) and a (k, n) matrix."""

    what: str
    times: int
    m: int
    k: int
    n: int

    @property
    def flops(self) -> int:
        return 2 * self.times * self.m * self.k * self.n

    @property
    def bytes(self) -> int:
        return FLOAT * self.times * (self.m * self.k + self.k * self.n + self.m * self.n)


class Rates(NamedTuple):
    flops: float  # of a large product, per second
    bytes: float  # read and written by a copy inside the second-level cache, per second


def products(w: Workload) -> list[Product]:
    """The matrix products of a training step that no algebra is known to save."""
    H, N, V, packed = w.hidden, w.rows, w.symbols, w.gates * w.hidden
    recurrent = [
        Product("recurrent: forward", w.steps, w.batch, H, packed),
        Product("recurrent: back to h", w.steps, w.batch, packed, H),
        Product("recurrent: weights", 1, H, N, packed),
    ]
    output = [
        Product("output: forward", 1, N, H, V),
        Product("output: back to h", 1, N, V, H),
        Product("output: weights", 1, H, N, V),
    ]
    return recurrent + input_products(w) + output


def input_products(w: Workload) -> list[Product]:
    """A one-hot vector takes a row of the weight; tokens commute: ``E[x] @ W_x`` is ``(E @ W_x)[x]``, a row a symbol.

    The gradients follow: those of a symbol's rows are summed first. Dense inputs need no gradient themselves.
    """
    packed, rows = w.gates * w.hidden, min(w.symbols, w.rows)
    if w.entry == "one-hot":
        return []
    if w.entry == "dense":
        return [
            Product("input: forward", 1, w.rows, w.inputs, packed),
            Product("input: weights", 1, w.inputs, w.rows, packed),
        ]
    return [
        Product("input: forward", 1, rows, w.inputs, packed),
        Product("input: weights", 1, w.inputs, rows, packed),
        Product("input: back to E", 1, rows, packed, w.inputs),
    ]


def update_bytes(w: Workload) -> int:
    return 3 * FLOAT * sum(int(np.prod(shape)) for shape in w.shapes().values())


def flops(w: Workload) -> int:
    return sum(p.flops for p in products(w))


def moved_bytes(w: Workload) -> int:
    return sum(p.bytes for p in products(w)) + update_bytes(w)


def floor_seconds(w: Workload, rates: Rates) -> float:
    return sum(max(p.flops / rates.flops, p.bytes / rates.bytes) for p in products(w)) + update_bytes(w) / rates.bytes


def fastest(run: Callable[[], object], seconds: float) -> float:
    """Least time of a call."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def measured_rates(seconds: float = 0.4) -> Rates:
    rng = np.random.default_rng(0)
    n, copies = 512, 64  # each takes less than the turn of a process on a shared core
    a, b, product = rng.random((n, n), np.float32), rng.random((n, n), np.float32), np.empty((n, n), np.float32)
    source, target = np.ones(32 * 1024, np.float32), np.empty(32 * 1024, np.float32)  # together a quarter of a megabyte

    def copy() -> None:
        for _ in range(copies):
            np.copyto(target, source)

    multiplied = fastest(lambda: np.matmul(a, b, out=product), seconds)
    copied = fastest(copy, seconds)
    return Rates(2 * n**3 / multiplied, copies * 2 * source.nbytes / copied)


if __name__ == "__main__":
    print(json.dumps(measured_rates()._asdict()))
