"""What a compiled program costs before it runs and beside its kernels, and how that grows with the number of steps.

usage: python -m tests.benchmarks.programs STEPS; prints one JSON line
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

from .figures import Figure
from .processes import json_of
from .workloads import WORKLOADS

__all__ = ["run"]

SHORT, LONG = 64, 1000  # time steps of the workload "long"


def prepared(steps: int) -> dict[str, Any]:
    """Figures of the program of "long" over so many time steps."""
    from . import ours

    program = ours.program(replace(WORKLOADS["long"], steps=steps))
    return {
        "seconds": program.record_seconds + program.plan_seconds,
        "instructions": len(program.instructions),
        "kernels": len({i.address for i in program.instructions if i.address}),  # 0: Python does it
        "arena": program.arena_bytes,
    }


def dispatch_overhead() -> float | None:
    """Nanoseconds from one instruction to the next, kernels excluded; None where it is not measured."""
    return None


def run() -> list[Figure]:
    json_of("programs", str(SHORT))  # fills the kernel cache
    short, long = json_of("programs", str(SHORT)), json_of("programs", str(LONG))
    print("Programs of a training step of the workload long")
    print(f"  {'steps':>6}{'record + plan s':>18}{'instructions':>15}{'kernels':>10}{'arena MB':>11}")
    for steps, p in ((SHORT, short), (LONG, long)):
        print(f"  {steps:6}{p['seconds']:18.3f}{p['instructions']:15}{p['kernels']:10}{p['arena'] / 1e6:11.2f}")
    growth = (long["seconds"] / LONG) / (short["seconds"] / SHORT)
    figures = [
        Figure(f"programs: record and plan of {LONG} steps", long["seconds"], 1.0, "s"),
        Figure(f"programs: time for a step, {LONG} over {SHORT} steps", growth, 1.5),
        Figure(f"programs: kernels, {LONG} over {SHORT} steps", long["kernels"] / short["kernels"], 1.0),
    ]
    overhead = dispatch_overhead()
    if overhead is None:
        print("  the overhead of an instruction is not measured")
        return figures
    return [*figures, Figure("programs: overhead of an instruction", overhead, 20.0, "ns")]


if __name__ == "__main__":
    print(json.dumps(prepared(int(sys.argv[1]))))
