"""The order in which nodes are computed: as recorded, and what the rewriting made where the nodes it replaces were."""

from __future__ import annotations

from ..tensor import Tensor, now
from .rewrite import Rewriter

__all__ = ["keys", "schedule"]


def schedule(rewriter: Rewriter) -> list[Tensor]:
    """The nodes in the order in which they are computed, and numbered in that order; the rewriter is done with."""
    when = keys(rewriter)
    nodes = sorted(rewriter.nodes, key=lambda t: when[t.serial])
    for t in nodes:
        if t.inputs:
            t.serial = now()
    return nodes


def keys(rewriter: Rewriter) -> dict[int, float]:
    """Each node after its inputs; one that replaces another at its place; new ones as early as their inputs allow."""
    found: dict[int, float] = {}
    for t in rewriter.nodes:  # in topological order
        own = rewriter.rank.get(t.serial)
        earliest = max([found[i.serial] for i in t.inputs], default=0.0)
        if own is None:
            own = earliest if t.inputs else 0.0
        found[t.serial] = max(own, earliest)
    return found
