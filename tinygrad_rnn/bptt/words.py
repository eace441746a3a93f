"""Numbers about gradients as words and tables."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["aligned", "decay", "number", "said"]


def decay(norms: np.ndarray, distances: np.ndarray) -> float:
    """The factor per step of norms that fall or rise like a power of it: a least-squares fit to their logarithms."""
    good = np.isfinite(norms) & np.isfinite(distances) & (norms > 0)
    if good.sum() < 2:
        return math.nan
    x, y = distances[good], np.log(norms[good])
    x = x - x.mean()
    return float(np.exp((x * (y - y.mean())).sum() / (x * x).sum()))


def said(rate: float) -> str:
    """A rate of decay in words."""
    if math.isnan(rate):
        return "does not go from step to step"
    if rate < 0.99:
        return f"vanishes by a factor of {rate:.2g} per step; half-life {math.log(0.5) / math.log(rate):.2g} steps"
    if rate > 1.01:
        return f"explodes by a factor of {rate:.3g} per step; doubles in {math.log(2) / math.log(rate):.2g} steps"
    return f"is kept, with a factor of {rate:.3g} per step"


def number(x: float) -> str:
    """Two digits, or nothing for NaN."""
    return "" if math.isnan(x) else f"{x:.2g}"


def aligned(lines: list[list[str]]) -> str:
    """A table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [[text.rjust(n) if k else text.ljust(n) for k, (text, n) in enumerate(zip(line, widths))] for line in lines]
    return "\n".join("  ".join(row).rstrip() for row in rows)
