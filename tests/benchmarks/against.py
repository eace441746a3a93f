"""This tree beside another commit: two processes on one core that take turns of a fraction of a second.

usage: python -m tests.benchmarks.against WORKLOAD; then, for each line of seconds on standard input, the median
milliseconds of a step over so long
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from .figures import Figure
from .measure import AT_LEAST, PEERS, timed
from .processes import ONE_THREAD, ROOT, pin
from .workloads import WORKLOADS

__all__ = ["compare"]

NOT_BELOW = 0.97  # of the speed of the other commit
TURN = 0.25  # seconds


class Worker:
    """A process that takes steps of one workload when it is told to, with the package of one tree."""

    def __init__(self, package: Path, workload: str) -> None:
        paths = os.pathsep.join([str(package), str(ROOT)])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.against", workload],
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": paths}, cwd=package, preexec_fn=pin, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def turn(self, seconds: float) -> float:
        """Median milliseconds of a step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(seconds, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process of the benchmark has failed")
        return json.loads(line)


def unpacked(commit: str, folder: Path) -> Path:
    """The package as it is at a commit."""
    archive = subprocess.run(
        ["git", "archive", commit, "tinygrad_rnn", "viz"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def compare(commit: str, names: Sequence[str], rounds: int, seconds: float) -> list[Figure]:
    """Print both times for each workload, and how many times as fast this tree is; in each round both take turns."""
    print(f"Beside {commit}: median ms of a step, and how many times as fast this tree is (quartiles over the turns)")
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        package = unpacked(commit, Path(folder))
        for name in names:
            with ExitStack() as stack:
                theirs, ours = (stack.enter_context(Worker(p, name)) for p in (package, ROOT))
                pairs = _in_turn(theirs, ours, max(round(rounds * seconds / TURN), 2))
            ratios = [a / b for a, b in pairs]
            low, ratio, high = statistics.quantiles(ratios, n=4)
            before, after = (statistics.median(times) for times in zip(*pairs, strict=True))
            print(f"  {name:10}{before:10.3f}{after:10.3f}{ratio:8.3f}  ({low:.3f} to {high:.3f})", flush=True)
            figures.append(Figure(f"{name}: speed beside {commit}", ratio, NOT_BELOW, at_least=True))
    return figures


def _in_turn(theirs: Worker, ours: Worker, count: int) -> list[tuple[float, float]]:
    """Times of both; who goes first changes from round to round."""
    for worker in (theirs, ours):
        worker.turn(TURN)
    pairs = []
    for k in range(count):
        order = (theirs, ours) if k % 2 else (ours, theirs)
        times = {worker: worker.turn(TURN) for worker in order}
        pairs.append((times[theirs], times[ours]))
    return pairs


def serve(workload: str) -> None:
    """Take steps for so many seconds whenever a line says so."""
    training = PEERS["ours"].training(WORKLOADS[workload])
    training.step()
    for line in sys.stdin:
        times: list[float] = []
        end = time.perf_counter() + float(line)
        while time.perf_counter() < end or len(times) < AT_LEAST:
            times.append(timed(training)[1])
        print(json.dumps(1e3 * statistics.median(times)), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
