"""What was tried and how often: stages, operations by type, layout and order, and which operation fed which."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .program import GraphProgram, GraphStep, locals_of
from .table import OPS

__all__ = ["Tally", "features_of", "layout_of", "pairs_of"]

COLUMNS = [(d, v) for d in ("float32", "float64") for v in ("contiguous", "view", "empty")]


def layout_of(array: np.ndarray) -> str:
    """How an array lies in memory: contiguous, a view, or empty.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.testing.fuzz.report import layout_of
    >>> layout_of(np.ones((2, 2))), layout_of(np.ones((2, 3)).T), layout_of(np.ones(0))
    ('contiguous', 'view', 'empty')
    """
    if not array.size:
        return "empty"
    return "contiguous" if array.flags.c_contiguous else "view"


def pairs_of(program: GraphProgram) -> list[tuple[str, str]]:
    """Which operation feeds which, also inside of blocks.

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz.report import pairs_of
    >>> from tinygrad_rnn.testing.fuzz.program import Input, GraphProgram, GraphStep
    >>> pairs_of(GraphProgram((Input(()),), (GraphStep("tanh", (0,)), GraphStep("sin", (1,))), (2,)))
    [('input', 'tanh'), ('tanh', 'sin')]
    """
    pairs: list[tuple[str, str]] = []
    waiting: list[tuple[tuple[GraphStep, ...], int]] = [(program.steps, len(program.inputs))]
    while waiting:
        steps, first = waiting.pop()
        for step in steps:
            pairs += [("input" if n < first else steps[n - first].op, step.op) for n in step.operands]
            if step.body:
                waiting.append((step.body, locals_of(step)))
    return pairs


_VIEWS = ("T", "reshape", "transpose", "slice", "flip", "split", "flatten", "expand_dims", "time_slice", "squeeze")


def features_of(program: GraphProgram) -> list[str]:
    """What faults of compiled programs hang on, beside single operations.

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz.report import features_of
    >>> from tinygrad_rnn.testing.fuzz.program import Input, GraphProgram, GraphStep
    >>> steps = GraphStep("tanh", (0,)), GraphStep("stack", (1,), {"axis": 0})
    >>> features_of(GraphProgram((Input((2,)),), steps, (1, 2)))
    ['intermediate result', 'part of a join', 'stack of one']
    """
    first, outputs = len(program.inputs), set(program.outputs)
    made = [k for k in outputs if k >= first]
    uses = [(k, s) for s in program.steps for k in s.operands]
    joined = {k for k, s in uses if s.op in ("stack", "concatenate")}
    viewed = {k for k, s in uses if s.op in _VIEWS}
    loops = [s for s in program.steps if s.op == "loop"]
    found = {
        "intermediate result": any(k in made for k, _ in uses),
        "part of a join": any(k in joined for k in made),
        "result and a view of it": any(k in viewed for k in made),
        "view that comes out": any(program.steps[k - first].op in _VIEWS for k in made),
        "slices of one value": any(sum(k == n and s.op == "slice" for n, s in uses) > 1 for k in viewed),
        "stack of one": any(s.op == "stack" and len(s.operands) == 1 for s in program.steps),
        "last state": any(s.op == "state" for s in program.steps),
        "float32": any(x.dtype == "float32" for x in program.inputs),
        **{f"loop of {n}": any(s.params["steps"] == n for s in loops) for n in (1, 2, 3, 9)},
    }
    return [name for name, has in found.items() if has]


@dataclass
class Tally:
    """Counts of a run."""

    programs: int = 0
    skipped: int = 0
    elapsed: float = 0.0
    steps: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    covered: Counter[tuple[str, str, str, int]] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count what another process counted."""
        self.programs += other.programs
        self.skipped += other.skipped
        self.elapsed += other.elapsed
        self.steps += other.steps
        for own, more in ((self.stages, other.stages), (self.failed, other.failed), (self.features, other.features)):
            own.update(more)
        self.pairs.update(other.pairs)
        self.covered.update(other.covered)
        for name, seconds in other.seconds.items():
            self.seconds[name] += seconds

    def skip(self) -> None:
        """Count a program that comes too near a kink, or is not finite."""
        self.programs += 1
        self.skipped += 1

    def note(self, program: GraphProgram, case: Any, order: int, seconds: float) -> None:
        """Count a program that was checked with derivatives up to an order."""
        self.programs += 1
        self.steps += len(list(program.walk()))
        self.elapsed += seconds
        self.pairs.update(pairs_of(program))
        self.features.update(features_of(program))
        values = self._values(program, case)
        for step in program.steps:
            if step.operands and values:
                operand = values[step.operands[0]]
                for k in range(order + 1):
                    self.covered[step.op, operand.dtype.name, layout_of(operand.data), k] += 1

    def _values(self, program: GraphProgram, case: Any) -> list[Any]:
        """The engine's own arrays, since how they lie in memory is its affair."""
        try:
            return program.values(*case.variables["tensors"])
        except Exception:
            return []  # reported as a mismatch

    def table(self) -> str:
        """All of it as text."""
        return "\n".join([*self._stage_lines(), "", *self._op_lines(), "", *self._pair_lines(), *self._feature_lines()])

    def _stage_lines(self) -> list[str]:
        checked = max(self.programs - self.skipped, 1)
        lines = [
            f"{self.programs} programs of {self.steps / checked:.1f} operations, {self.skipped} of them left out near "
            f"a kink; {1e3 * self.elapsed / checked:.1f} ms each",
            "",
            f"{'stage':<26}{'programs':>10}{'failed':>8}{'ms':>8}",
        ]
        for name, n in self.stages.items():
            lines.append(f"{name:<26}{n:>10}{self.failed[name]:>8}{1e3 * self.seconds[name] / n:>8.2f}")
        return lines

    def _op_lines(self) -> list[str]:
        heads = "".join(f"{d.removeprefix('float') + ' ' + v:>20}" for d, v in COLUMNS)
        lines = ["how often each operation ran, by type and layout of its first operand: values/gradients/second order",
                 f"{'operation':<20}{heads}{'other':>10}"]  # fmt: skip
        for op in OPS:
            cells = ["/".join(str(self.covered[op, d, v, k]) for k in range(3)) for d, v in COLUMNS]
            known = {(op, d, v, 0) for d, v in COLUMNS}
            other = sum(n for key, n in self.covered.items() if key[0] == op and key[3] == 0 and key not in known)
            lines.append(f"{op:<20}{''.join(f'{c:>20}' for c in cells)}{other:>10}")
        return lines

    def _feature_lines(self) -> list[str]:
        return ["programs with: " + ", ".join(f"{name} {n}" for name, n in self.features.most_common())]

    def _pair_lines(self) -> list[str]:
        """How many of all pairs occurred, and the most frequent ones."""
        possible = len(OPS) ** 2
        seen = [p for p in self.pairs if p[0] != "input"]
        most = ", ".join(f"{a} > {b} {n}" for (a, b), n in self.pairs.most_common(12))
        few = sum(1 for p in seen if self.pairs[p] < 5)
        return [
            f"{len(seen)} of {possible} pairs of operations, one feeding the other; {few} of them fewer than 5 times",
            f"most often: {most}",
        ]
