"""The phases of rewriting: from a recorded graph to the nodes that are computed, in the order in which they are."""

from __future__ import annotations

from collections.abc import Sequence

from ..tensor import Tensor, next_serial
from . import remat
from .batching import BIASES, CROSS_ENTROPY, OVER_TIME
from .compiler_ops import RANGE_CHECK
from .rewrite import Rewriter, rewrite
from .rules import CLEAN, FOLD, GATHER, gradient_lines

__all__ = ["optimised", "schedule"]


def optimised(
    roots: Sequence[Tensor],
    nodes: Sequence[Tensor] = (),
    segments: Sequence[tuple[int, int]] = (),
    memory: str | None = None,
) -> Rewriter:
    """The graph after all phases of rewriting; `nodes` are those that are known to be needed, in order."""
    rewriter = Rewriter(roots, nodes)
    for t in rewriter.nodes:
        if t.op is RANGE_CHECK:
            rewriter.rank[t.serial] = 0  # as early as its indices are there
    rewrite(rewriter, "clean", CLEAN, OVER_TIME)
    rewrite(rewriter, "gather", GATHER, OVER_TIME, known=CLEAN)
    rewrite(rewriter, "fuse", gradient_lines(), CROSS_ENTROPY)
    if memory == "sqrt":
        remat.split_sums(rewriter, remat.by_time(rewriter))
    elif segments:
        remat.split_sums(rewriter, remat.times_within(rewriter, segments))
    rewrite(rewriter, "fold", FOLD, BIASES)
    if segments:
        remat.recompute(rewriter, remat.by_position(rewriter, segments))
    if memory == "sqrt":
        times = remat.by_time(rewriter)
        remat.recompute(rewriter, lambda t: None if t.time is None else times[t.time])
    return rewriter


def schedule(rewriter: Rewriter) -> list[Tensor]:
    """The nodes in the order in which they are computed, with new serial numbers in that order; the last phase."""
    rank = rewriter.ranks()
    nodes = sorted(rewriter.nodes, key=lambda t: rank[t.serial])
    for t in nodes:
        if t.inputs:
            t.serial = next_serial()
    return nodes
