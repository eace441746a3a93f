"""What a compiled program costs before it runs and beside its kernels, and how that grows with the number of steps.

usage: python -m tests.benchmarks.programs STEPS|dispatch; prints one JSON line
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np

from .figures import Figure
from .processes import json_of
from .workloads import WORKLOADS

__all__ = ["run"]

SHORT, LONG = 64, 1000  # time steps of the workload "long"


def prepared(steps: int) -> dict[str, Any]:
    """Figures of the program of "long" over so many time steps; a short one before it loads the kernels."""
    from . import ours

    short, program = (ours.program(replace(WORKLOADS["long"], steps=n)) for n in (2, steps))
    return {
        "load": short.record_seconds + short.plan_seconds,
        "seconds": program.record_seconds + program.plan_seconds,
        "instructions": len(program.instructions),
        "kernels": len({i.address for i in program.instructions if i.address}),  # 0: Python does it
        "arena": program.arena_bytes,
    }


def dispatch_overhead() -> float:
    """Nanoseconds from one instruction to the next, with a kernel that has next to nothing to do."""
    from tinygrad_rnn.kernels.indexing import copy
    from tinygrad_rnn.kernels.machine import SCRATCH, machine
    from tinygrad_rnn.kernels.native import environment

    count, numbers = 20_000, np.zeros(2, np.float32)
    row = [copy(4).address, 2, 0, 1, 2, 0, 0, 0, 4, 1, 4, 4]  # one number from the first place to the second
    arrays = [
        np.array(row * count),
        np.arange(count + 1) * len(row),
        np.array([numbers.ctypes.data]),
        np.zeros(SCRATCH, np.int64),
        environment(),
    ]
    addresses = [a.ctypes.data for a in arrays]
    times = []
    for _ in range(20):
        began = time.perf_counter_ns()
        machine()[0](*addresses, 0, count)
        times.append((time.perf_counter_ns() - began) / count)
    return statistics.median(times)


def run() -> list[Figure]:
    json_of("programs", str(SHORT))  # fills the kernel cache
    short, long = json_of("programs", str(SHORT)), json_of("programs", str(LONG))
    print(f"Programs of a training step of the workload long; to load kernels: {long['load']:.2f} s")
    print(f"  {'steps':>6}{'record + plan s':>18}{'instructions':>15}{'kernels':>10}{'arena MB':>11}")
    for steps, p in ((SHORT, short), (LONG, long)):
        print(f"  {steps:6}{p['seconds']:18.3f}{p['instructions']:15}{p['kernels']:10}{p['arena'] / 1e6:11.2f}")
    growth = (long["seconds"] / LONG) / (short["seconds"] / SHORT)
    figures = [
        Figure(f"programs: record and plan of {LONG} steps", long["seconds"], 1.0, "s"),
        Figure(f"programs: time for a step, {LONG} over {SHORT} steps", growth, 1.5),
        Figure(f"programs: kernels, {LONG} over {SHORT} steps", long["kernels"] / short["kernels"], 1.0),
    ]
    overhead = json_of("programs", "dispatch")
    print(f"  an instruction takes {overhead:.1f} ns beside its kernel's work")
    return [*figures, Figure("programs: overhead of an instruction", overhead, 20.0, "ns")]


if __name__ == "__main__":
    print(json.dumps(dispatch_overhead() if sys.argv[1] == "dispatch" else prepared(int(sys.argv[1]))))
