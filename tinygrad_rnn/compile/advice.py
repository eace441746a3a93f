"""What a recorded training step says of itself that the user may not have meant."""

from __future__ import annotations

import numpy as np

from ..errors import fail
from ..ops.core import CAST
from ..tensor import describe
from .program import Program

__all__ = ["widened"]

WIDE = np.dtype(np.float64)


def widened(name: str, program: Program) -> RuntimeWarning | None:
    """A warning for a step that trains parameters of float32, and computes in float64 as its arguments are of that."""
    recording = program.recording
    trained = {id(t): t.dtype for t in recording.written if t.is_float}
    if WIDE in trained.values() or all(t.dtype != WIDE for t in recording.placeholders):
        return None
    bound = recording.bound
    cast = [t.inputs[0].serial for t in program.graph.nodes if t.op is CAST and t.dtype == WIDE]
    found = [bound[s] for s in cast if s in bound and id(bound[s]) in trained]
    if not found:
        return None
    return fail(
        RuntimeWarning, f"{name}: data of float64 meet parameters of float32, and all is computed in float64",
        expected=f"data of the dtype of what is trained, as {describe(found[0])}", got="twice the time or more",
        hint="pass x.astype(np.float32), or make the model with dtype=np.float64",
    )  # fmt: skip
