"""What a compiled program costs before it runs and beside its kernels, and how that grows with the number of steps.

usage: python -m tests.benchmarks.programs STEPS|dispatch|calls; prints one JSON line
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
        machine()(*addresses, 0, count)
        times.append((time.perf_counter_ns() - began) / count)
    return statistics.median(times)


class Unguarded:
    """Guards that look at nothing."""

    sets = ()

    def hold(self) -> bool:
        return True


def calls() -> dict[str, float]:
    """Microseconds of a call of a small model with 20 parameters, with guards and without."""
    import tinygrad_rnn as tg

    layers = [tg.nn.Linear(2, 2, generator=k) for k in range(10)]
    model = tg.nn.Sequential(*layers)
    run = tg.compile(lambda x: model(x))
    x = np.zeros((1, 2), np.float32)
    run(x)
    (recorded,) = run._cache.order
    kinds = {"guarded": recorded.guards, "unguarded": Unguarded()}
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(200):
        for kind, recorded.guards in kinds.items():
            began = time.perf_counter_ns()
            for _ in range(100):
                run(x)
            times[kind].append((time.perf_counter_ns() - began) / 100_000)
    return {kind: statistics.median(t) for kind, t in times.items()}


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
    call = json_of("programs", "calls")
    guards = call["guarded"] - call["unguarded"]
    print(f"  a call with 20 parameters takes {call['guarded']:.1f} µs, {call['unguarded']:.1f} µs without guards")
    return [
        *figures,
        Figure("programs: overhead of an instruction", overhead, 20.0, "ns"),
        Figure("programs: guards of a call with 20 parameters", guards, 2.0, "µs"),
    ]


MEASURED = {"dispatch": dispatch_overhead, "calls": calls}

if __name__ == "__main__":
    print(json.dumps(MEASURED[sys.argv[1]]() if sys.argv[1] in MEASURED else prepared(int(sys.argv[1]))))
