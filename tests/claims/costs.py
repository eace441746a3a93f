"""Small costs that texts state: ``python -m tests.claims.costs`` prints them. Times are those of the processor."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import timeit
from typing import Any

import numpy as np
from hypothesis import Phase, given, settings

import tinygrad_rnn as tg
from tinygrad_rnn.testing import strategies

FIRST = """
import time, numpy as np, tinygrad_rnn as tg
x = tg.tensor(np.ones((3, 4), np.float32))
began = time.process_time()
{}
print(time.process_time() - began)
"""
USES = ("tg.tanh(x)", "x + x", "x.sum(0)", "tg.softmax(x)", "x @ x.T", "tg.sigmoid(x)", "x[:, [0, 2]]")
DRAWS = 3000


def ufunc_call() -> float:
    """Microseconds of a call of a loop through its ufunc, beyond those of the loop: for one number."""
    x = np.ones(1, np.float32)
    kernel = tg.tanh.op.kernels[x.dtype]
    return 1e6 * min(timeit.repeat(lambda: kernel(x), timer=time.process_time, number=20000, repeat=7)) / 20000


def first_use() -> float:
    """Seconds that the first use of an operation takes where no kernel is kept, the median of some."""
    times = []
    for use in USES:
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
            command = [sys.executable, "-c", FIRST.format(use)]
            times.append(float(subprocess.run(command, env=environment, capture_output=True, check=True).stdout))
    return float(np.median(times))


def picture() -> float:
    """Seconds to draw a graph of 100,000 nodes."""
    whole = tg.graph(tg.nn.LSTM(3, 4)(tg.ones((1, 5600, 3))).outputs)
    assert len(whole) > 100_000
    began = time.process_time()
    tg.viz.draw(whole).svg()
    return time.process_time() - began


def draws_for_empty_side(strategy: Any) -> float:
    """How many draws there are to one with a side of 0."""
    found: list[bool] = []

    @settings(max_examples=DRAWS, database=None, phases=[Phase.generate], derandomize=True)
    @given(strategy)
    def drawn(value: Any) -> None:
        found.append(any(0 in shape for shape in getattr(value, "input_shapes", [value])))

    drawn()
    return 1 / float(np.mean(found))


def main() -> None:
    print(f"a call through a ufunc: {ufunc_call():.2f} us")
    print(f"first use of a kernel: {first_use():.2f} s")
    print(f"a picture of 100,000 nodes: {picture():.1f} s")
    print(f"shapes, one with a side of 0 in {draws_for_empty_side(strategies.shapes()):.1f}")
    several = strategies.broadcastable_shapes()
    print(f"broadcast shapes, one with a side of 0 in {draws_for_empty_side(several):.1f}")


if __name__ == "__main__":
    main()
