"""Measure one framework on one workload, in this process.

usage: python -m tests.benchmarks.measure PEER WORKLOAD SECONDS; prints one JSON line
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .workloads import WORKLOADS, Training, Workload

__all__ = ["PEERS", "Peer", "installed", "measure"]

AT_LEAST = 3  # timed steps, however long they take


class Peer(NamedTuple):
    """A framework in one way of writing: a function of a module of this package, and what must be installed."""

    module: str
    function: str
    needs: str = "numpy"
    lacks: tuple[str, ...] = ()  # cells that it does not have

    @property
    def is_ours(self) -> bool:
        return self.module == "ours"

    def training(self, workload: Workload) -> Training:
        module = importlib.import_module(f".{self.module}", __package__)
        return getattr(module, self.function)(workload)


PEERS = {
    "ours": Peer("ours", "compiled"),
    "eager": Peer("ours", "eager"),
    "numpy": Peer("by_hand", "train"),
    "torch_nn": Peer("pytorch", "module", "torch", lacks=("peephole",)),
    "torch_loop": Peer("pytorch", "loop", "torch"),
    "jax": Peer("jax_scan", "train", "jax"),
}


def installed(name: str) -> bool:
    return importlib.util.find_spec(PEERS[name].needs) is not None


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss begins with the peak of the process that started this one; VmHWM does not
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def movements(workload: Workload, now: dict[str, np.ndarray]) -> dict[str, float]:
    """How far each parameter has come, weighted at random: a gradient in the wrong place moves it elsewhere."""
    rng = np.random.default_rng(2)
    start = workload.parameters()
    weighted = {k: (now[k] - start[k]).astype(np.float64) * rng.random(start[k].shape) for k in sorted(start)}
    return {k: float(np.linalg.norm(v)) for k, v in weighted.items()}


def timed(training: Training) -> tuple[float, float]:
    """Loss of one step, and its seconds."""
    began = time.perf_counter()
    loss = training.step()
    return loss, time.perf_counter() - began


def measure(peer: Peer, workload: Workload, seconds: float) -> dict[str, Any]:
    importlib.import_module(f".{peer.module}", __package__)
    base = peak_memory()
    training = peer.training(workload)
    loss, first = timed(training)
    losses = [loss, *(training.step() for _ in range(workload.counted - 1))]
    peak = peak_memory()
    moved = movements(workload, training.parameters())
    times: list[float] = []
    began, worked = time.perf_counter(), time.process_time()
    while time.perf_counter() < began + seconds or len(times) < AT_LEAST:
        times.append(timed(training)[1])
    share = (time.process_time() - worked) / (time.perf_counter() - began)
    return {
        "ms": 1e3 * statistics.median(times),
        "share": share,  # of the core: less than all of it where other programs ran on it
        "first": first,
        "peak": peak,
        "above": peak - base,
        "loss": losses[-1],
        "moved": moved,
    }


if __name__ == "__main__":
    print(json.dumps(measure(PEERS[sys.argv[1]], WORKLOADS[sys.argv[2]], float(sys.argv[3]))))
