"""One workload in every framework, in turns, and what comes of it: a table, and figures that are held to a limit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .figures import Figure
from .floors import Rates, floor_seconds, flops, moved_bytes
from .measure import PEERS
from .processes import json_of
from .workloads import Workload

__all__ = ["AT_LEAST", "TO_REACH", "Results", "figures", "summary", "table", "take_turns"]

AT_LEAST = {  # how many times as fast as the best peer a compiled program must be
    "charrnn": 1.8, "lstm_s": 1.5, "lstm_d": 1.1, "gru_s": 1.8, "peephole": 1.8, "long": 1.8, "lstm_l": 1.5,
}  # fmt: skip
TO_REACH = {  # milliseconds of a step, for information: they were set on one machine
    "charrnn": 0.10, "lstm_s": 12.5, "lstm_d": 17.0, "gru_s": 10.0, "peephole": 13.0, "long": 8.0, "lstm_l": 650.0,
}  # fmt: skip
LOSSES_APART, MOVEMENTS_APART = 1e-5, 1e-3
UNDISTURBED = 0.95  # of the core


@dataclass(frozen=True)
class Results:
    """What each framework printed in each of its turns, and the best rates that were seen between them."""

    workload: Workload
    runs: dict[str, list[dict[str, Any]]]
    rates: Rates

    def median(self, name: str, key: str) -> float:
        return statistics.median(run[key] for run in self.runs[name])

    @property
    def floor_ms(self) -> float:
        return 1e3 * floor_seconds(self.workload, self.rates)

    @property
    def best_peer(self) -> str | None:
        peers = [name for name in self.runs if not PEERS[name].is_ours]
        return min(peers, key=lambda name: self.median(name, "ms"), default=None)

    @property
    def least_share(self) -> float:
        """Of the core, in the turn that other programs disturbed most."""
        return min(run["share"] for runs in self.runs.values() for run in runs)


def take_turns(w: Workload, names: Sequence[str], rounds: int, seconds: float) -> Results:
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names if w.cell not in PEERS[name].lacks}
    rates = []
    for _ in range(rounds):
        rates.append(Rates(**json_of("floors")))
        for name, done in runs.items():
            done.append(json_of("measure", name, w.name, str(seconds)))
    return Results(w, runs, Rates(max(r.flops for r in rates), max(r.bytes for r in rates)))


def table(results: Results) -> str:
    w, rates, best = results.workload, results.rates, results.best_peer
    lines = [
        str(w),
        f"  floor {results.floor_ms:.3g} ms: {flops(w) / 1e6:.4g} MFLOP at {rates.flops / 1e9:.0f} GFLOP/s, "
        f"{moved_bytes(w) / 1e6:.3g} MB at {rates.bytes / 1e9:.0f} GB/s where that is longer",
        f"  {'':12}{'ms':>10}{'best peer/it':>14}{'it/floor':>10}{'first call s':>14}{'peak MB':>9}"
        f"{'above import':>14}{'loss ' + str(w.counted):>12}",
    ]
    for name in results.runs:
        ms, first, peak, above, loss = (results.median(name, k) for k in ("ms", "first", "peak", "above", "loss"))
        ratio = results.median(best, "ms") / ms if best else None
        lines.append(
            f"  {name:12}{ms:10.3f}{cell(ratio, 14)}{ms / results.floor_ms:10.2f}"
            f"{first:14.3f}{peak:9.0f}{above:14.0f}{loss:12.6f}"
        )
    if results.least_share < UNDISTURBED:
        lines.append(f"  other programs took up to {1 - results.least_share:.0%} of the core: these times mean little")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> float:
    return max(values) - min(values)


def figures(results: Results) -> list[Figure]:
    """Whether all computed the same, and whether ours is fast enough."""
    name, runs = results.workload.name, [run for done in results.runs.values() for run in done]
    moved = {k: [run["moved"][k] for run in runs] for k in results.workload.shapes()}
    found = [
        Figure(f"{name}: losses apart", spread([run["loss"] for run in runs]), LOSSES_APART),
        Figure(f"{name}: movements apart", max(spread(m) / max(m) for m in moved.values()), MOVEMENTS_APART),
    ]
    if "ours" in results.runs and results.best_peer:
        ratio = results.median(results.best_peer, "ms") / results.median("ours", "ms")
        found.append(Figure(f"{name}: {results.best_peer} over ours", ratio, AT_LEAST[name], at_least=True))
    return found


def summary(everything: Sequence[Results]) -> str:
    """A line for each workload: ours beside what it has to reach."""
    lines = [
        f"  {'':10}{'ours ms':>9}{'to reach':>10}{'best peer ms':>21}{'ratio':>8}{'at least':>10}"
        f"{'floor ms':>10}{'ours/floor':>12}{'peak MB':>9}{'of PyTorch':>12}"
    ]
    for results in everything:
        name, best = results.workload.name, results.best_peer
        ours = results.median("ours", "ms") if "ours" in results.runs else None
        peer = results.median(best, "ms") if best else None
        torch = next((n for n in ("torch_nn", "torch_loop") if n in results.runs), None)
        peak = results.median("ours", "peak") if ours else None
        share = peak / results.median(torch, "peak") if peak and torch else None
        lines.append(
            f"  {name:10}{cell(ours, 9)}{TO_REACH[name]:10.2f}{best or '-':>12}{cell(peer, 9)}"
            f"{cell(peer and ours and peer / ours, 8)}{AT_LEAST[name]:10.1f}{cell(results.floor_ms, 10, 3)}"
            f"{cell(ours and ours / results.floor_ms, 12)}{cell(peak, 9, 0)}{cell(share, 12)}"
        )
    return "\n".join(lines)


def cell(value: float | None, width: int, digits: int = 2) -> str:
    """A number, or a dash where it was not measured."""
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"
