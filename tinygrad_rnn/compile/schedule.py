"""The order in which nodes are computed: as recorded, and what the rewriting made where the nodes it replaces were."""

from __future__ import annotations

from ..tensor import Tensor
from .rewrite import Rewriter

__all__ = ["schedule"]


def schedule(rewriter: Rewriter) -> list[Tensor]:
    """Each node after its inputs; one that replaces another at its place; new ones as early as their inputs allow."""
    keys: dict[int, float] = {}
    for t in rewriter.nodes:  # in topological order
        own = rewriter.rank.get(t.serial)
        earliest = max([keys[i.serial] for i in t.inputs], default=0.0)
        if own is None:
            own = earliest if t.inputs else 0.0
        keys[t.serial] = max(own, earliest)
    return sorted(rewriter.nodes, key=lambda t: keys[t.serial])
