"""The workloads: one training step of a recurrent language model each, with shapes, data and initial parameters.

A step is forward, mean cross-entropy at every time step, backward, and gradient descent at a fixed rate, in float32.
Data are time-major. All frameworks start from the same numbers, so their losses and parameters must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["GATES", "WORKLOADS", "Training", "Workload"]

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "peephole": 4}  # LSTM: i, f, g, o; GRU: r, z, n


@dataclass(frozen=True)
class Workload:
    """A model and its batch.

    What enters the cell is a one-hot vector ("one-hot": `inputs` is the number of symbols), a row of an embedding
    ("tokens"), or a vector of floats that is given ("dense").
    """

    name: str
    cell: str
    entry: str
    batch: int
    steps: int
    inputs: int
    hidden: int
    symbols: int = 65
    rate: float = 0.1
    counted: int = 10  # losses are compared after so many steps; much later, rounding has grown into other paths

    @property
    def gates(self) -> int:
        return GATES[self.cell]

    @property
    def rows(self) -> int:
        """Number of symbols that are predicted in a step."""
        return self.steps * self.batch

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter; the gates of a cell lie side by side in the columns."""
        packed = self.gates * self.hidden
        shapes: dict[str, tuple[int, ...]] = {
            "W_x": (self.inputs, packed),
            "W_h": (self.hidden, packed),
            "b": (packed,),
            "W_o": (self.hidden, self.symbols),
            "b_o": (self.symbols,),
        }
        if self.entry == "tokens":
            shapes["E"] = (self.symbols, self.inputs)
        if self.cell == "peephole":
            shapes["p"] = (3, self.hidden)
        return shapes

    def parameters(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        bound = 1 / np.sqrt(self.hidden)
        return {k: rng.uniform(-bound, bound, shape).astype(np.float32) for k, shape in self.shapes().items()}

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs, tokens (steps, batch) or floats (steps, batch, inputs), and targets (steps, batch)."""
        rng = np.random.default_rng(1)
        x, y = rng.integers(0, self.symbols, (2, self.steps, self.batch))
        if self.entry == "dense":
            return rng.standard_normal((self.steps, self.batch, self.inputs)).astype(np.float32), y
        return x, y

    def __str__(self) -> str:
        shape = f"batch {self.batch}, {self.steps} steps, {self.entry} {self.inputs}, {self.hidden} hidden"
        return f"{self.name}: {self.cell}, {shape}"


class Training(NamedTuple):
    """A model in training: `step` does one step and returns its loss, `parameters` copies them out."""

    step: Callable[[], float]
    parameters: Callable[[], dict[str, np.ndarray]]


WORKLOADS = {
    w.name: w
    for w in (
        Workload("charrnn", "rnn", "one-hot", batch=1, steps=25, inputs=65, hidden=100),
        Workload("lstm_s", "lstm", "tokens", batch=32, steps=64, inputs=128, hidden=128),
        Workload("lstm_d", "lstm", "dense", batch=32, steps=64, inputs=128, hidden=128),
        Workload("gru_s", "gru", "tokens", batch=32, steps=64, inputs=128, hidden=128),
        Workload("peephole", "peephole", "tokens", batch=32, steps=64, inputs=128, hidden=128),
        Workload("long", "rnn", "tokens", batch=8, steps=1000, inputs=64, hidden=64),
        Workload("lstm_l", "lstm", "tokens", batch=64, steps=128, inputs=256, hidden=512, counted=3),
    )
}
