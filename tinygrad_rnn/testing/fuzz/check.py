"""Runs the stages of the fuzzer on a program, compares what they find with what they should, and shows it as code."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from ...tensor import Tensor
from .oracle import Measured, Outcome, directions_of, evaluate
from .program import GraphProgram, Input
from .stages import PEERS, PREAMBLE, STAGES, Stage

__all__ = ["STAGES", "Case", "Stage", "StageFailure", "check", "reproduction"]

CLOSE = 1e-6  # to a point where a derivative jumps: nothing is compared
LARGEST = 1e12  # beyond that squares of float32 overflow
DRAWS = 16  # of noise, before a difference is believed
PEER_FACTOR = 64.0  # their rounding is not ours to judge


@dataclass
class StageFailure(Exception):
    """A stage that gave something else than expected, or raised.

    Attributes
    ----------
    stage : str
    kind : str
        What went wrong, for comparison while a program is shrunk: the type of an exception, or what differed.
    text : str
    """

    stage: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.text}"


class Case:
    """A program, its arrays, and what they should give."""

    def __init__(self, program: GraphProgram) -> None:
        self.program = program
        self.arrays = program.arrays()
        self.directions = directions_of(self.arrays)
        self.variables: dict[str, Any] = {}
        self.done: set[str] = set()

    @cached_property
    def outcome(self) -> Outcome:
        return evaluate(self.program, self.arrays)

    @cached_property
    def others(self) -> list[np.ndarray]:
        """Other arrays of the same kinds, if they stay away from kinks; else the same."""
        others = self.program.arrays(shift=1)
        outcome = evaluate(self.program, others)
        if not outcome.finite or outcome.distance < 1e-3 or outcome.largest > LARGEST:
            others, outcome = self.arrays, self.outcome
        self.other_outcome = outcome
        return others

    @cached_property
    def resized(self) -> list[np.ndarray]:
        """Arrays of other shapes, or else other types, that the program takes as well; else the same."""
        for inputs in _resizings(self.program.inputs):
            arrays = [x.array() for x in inputs]
            try:
                outcome = evaluate(self.program, arrays)
                self.program(*_tensors(arrays))
            except Exception:  # it has sizes of its own, or losses of shapes that the oracle would broadcast
                continue
            if outcome.finite and outcome.distance > 1e-3 and outcome.largest < LARGEST:
                break
        else:
            arrays, outcome = self.arrays, self.outcome
        self.resized_outcome = outcome
        return arrays

    @cached_property
    def rate(self) -> float:
        """How fast parameters may move: far enough to be seen."""
        steepest = max((np.abs(m.array).max(initial=0) for m in self.outcome.gradient), default=0.0)
        return float(f"{0.02 / max(1.0, float(steepest)):.2g}")

    def usable(self) -> bool:
        return self.outcome.finite and self.outcome.distance > CLOSE and self.outcome.largest < LARGEST

    def expected(self, stage: Stage) -> list[Measured]:
        if stage.twin:
            return self._expected_of_twin(stage)
        outcomes = {"other": lambda: (self.others, self.other_outcome)[1],
                    "resized": lambda: (self.resized, self.resized_outcome)[1]}  # fmt: skip
        listed: list[Measured] = []
        for name in stage.expected:
            whose, _, what = name.rpartition("_")
            listed += getattr(outcomes[whose]() if whose else self.outcome, what)
        return listed

    def run(self, stage: Stage) -> None:
        """Run a stage.

        Raises
        ------
        StageFailure
            If it raises, or gives something else than it should.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.filterwarnings("ignore", ".*data of float64 meet parameters of float32")  # they are to
                self._execute(stage)
                expected = self.expected(stage)
        except Exception as error:
            raise StageFailure(stage.name, type(error).__name__, f"{type(error).__name__}: {error}") from error
        if not stage.twin and not stage.expected:
            return
        try:
            self._compare(stage, self.variables["found"], expected)
        except StageFailure as failure:
            if stage.twin or failure.kind != "value":
                raise
            self._measure_again()
            self._compare(stage, self.variables["found"], self.expected(stage))

    def _measure_again(self) -> None:
        """Measure with more draws how rounding errors grow: a single one may have met nothing of it by chance."""
        self.outcome = evaluate(self.program, self.arrays, DRAWS)
        for name in ("others", "resized"):
            if name in vars(self):
                outcome = evaluate(self.program, getattr(self, name), DRAWS)
                setattr(self, f"{name.removesuffix('s')}_outcome", outcome)

    def _execute(self, stage: Stage) -> None:
        if not self.variables:
            self.variables = self._start()
            exec(_compiled(PREAMBLE), self.variables)
        if stage.needs and stage.needs not in self.done:
            self._execute(STAGES[stage.needs])
        if "resized" in stage.source:
            self.variables["resized"] = self.resized
        if stage.twin:
            self.variables["found"] = self._experiment(stage, "tg.compile")
        else:
            exec(_compiled(stage.source), self.variables)
        self.done.add(stage.name)

    def _start(self, **changed: Any) -> dict[str, Any]:
        return {
            "np": np, "tg": tg, "program": self.program, "data": self.program, "arrays": self.arrays,
            "others": self.others, "directions": self.directions, "rate": self.rate,
            "kept": [a.copy() for a in self.arrays], **changed,
        }  # fmt: skip

    def _experiment(self, stage: Stage, wrap: str, **changed: Any) -> list[Any]:
        """What a twin gives, compiled or eagerly; an experiment has names of its own, which it may change."""
        variables = self._start(**changed)
        exec(_compiled(stage.preamble + stage.source), variables)
        return list(eval(f"experiment({wrap})", variables))

    def _expected_of_twin(self, stage: Stage) -> list[Measured]:
        """What the eager run gives; how far from it the other may lie is looked into where it is."""
        found = self.variables["found"]
        eager = [_array(y) for y in self._experiment(stage, "eager")]
        base = max(m.tolerance for m in self._measured())
        exact = [Measured(y, y.dtype, max(base, 64 * self.outcome.eps * _size(y))) for y in eager]
        if all(not _difference(_array(y), m)[0] for y, m in zip(found, exact)):
            return exact
        for seed in range(8):
            disturbed = {name: [self._disturbed(a, seed) for a in getattr(self, name)] for name in ("arrays", "others")}
            moved = self._experiment(stage, "eager", **disturbed)
            with np.errstate(all="ignore"):  # a step may have gone beyond all numbers
                off = [_size(_array(y).astype(np.float64) - m.array) for y, m in zip(moved, exact)]
            exact = [replace(m, tolerance=max(m.tolerance, 64 * float(d))) for m, d in zip(exact, off)]
        return exact

    def _measured(self) -> Iterator[Measured]:
        _ = self.others
        for outcome in (self.outcome, self.other_outcome):
            yield from (*outcome.values, *outcome.gradient)

    def _disturbed(self, a: np.ndarray, seed: int) -> np.ndarray:
        """Off by some units of rounding."""
        if a.dtype.kind != "f":
            return a
        errors = np.random.default_rng(seed).choice([-16.0, 16.0], a.shape) * self.outcome.eps
        return np.asarray(a + errors).astype(a.dtype)

    def _compare(self, stage: Stage, found: Sequence[Any], expected: Sequence[Measured]) -> None:
        if len(found) != len(expected):
            raise StageFailure(stage.name, "count", f"{len(found)} arrays, expected {len(expected)}")
        for k, (y, m) in enumerate(zip(found, expected, strict=True)):
            if not m.finite:  # also the eager run has left the numbers that can be compared
                continue
            kind, text = _difference(_array(y), m, PEER_FACTOR if stage.name in PEERS else 1.0)
            if kind:
                raise StageFailure(stage.name, kind, f"array {k}: {text}")


def _tensors(arrays: Sequence[np.ndarray]) -> list[Any]:
    return [tg.tensor(a) for a in arrays]


def _array(y: Any) -> np.ndarray:
    return y.numpy() if isinstance(y, Tensor) else np.asarray(y)


def _size(y: np.ndarray) -> float:
    return float(np.abs(np.asarray(y, np.float64)).max(initial=0))


def _resizings(inputs: Sequence[Input]) -> Iterator[list[Input]]:
    """Another size in place of one wherever it stands, as batches have; in the end the other type of floats."""
    sizes = sorted({n for x in inputs for n in x.shape})
    first = inputs[0].seed
    for k in range(len(sizes)):
        n = sizes[(first + k) % len(sizes)]
        for m in ((n + 1, 1, 0), (0, n + 1, 1), (1, 0, n + 1))[first % 3]:
            if m != n:
                yield [replace(x, shape=tuple(m if s == n else s for s in x.shape)) for x in inputs]
    other = {"float32": "float64", "float64": "float32"}
    yield [replace(x, dtype=other.get(x.dtype, x.dtype)) for x in inputs]


@lru_cache(maxsize=128)
def _compiled(source: str) -> Any:
    return compile(source, "<stage>", "exec")


def _difference(found: np.ndarray, m: Measured, factor: float = 1.0) -> tuple[str, str]:
    """What differs, and how; two empty strings where nothing does."""
    if found.shape != m.array.shape:
        return "shape", f"shape {found.shape}, expected {m.array.shape}"
    if factor == 1 and found.dtype != m.dtype:
        return "dtype", f"dtype {found.dtype}, expected {m.dtype}"
    if m.dtype.kind != "f" and np.array_equal(found, m.array):
        return "", ""
    if not np.isfinite(found).all():
        return "not finite", f"{found}, expected {m.array}"
    off = np.abs(found.astype(np.float64) - m.array).max(initial=0)
    if off <= m.tolerance * factor:
        return "", ""
    both = f"{found.tolist()}, expected {m.array.tolist()}"
    return "value", f"off by {off:.3e} where {m.tolerance:.1e} is allowed; {both}"


def check(program: GraphProgram, stages: Sequence[str]) -> StageFailure | None:
    """The first failure of a program, if there is one; None also where it comes too near a kink to be judged.

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz.check import check
    >>> from tinygrad_rnn.testing.fuzz.program import Input, GraphProgram, GraphStep
    >>> check(GraphProgram((Input((2,)),), (GraphStep("tanh", (0,)),), (1,)), ["values", "gradient"])
    """
    case = Case(program)
    if not case.usable():
        return None
    for name in stages:
        try:
            case.run(STAGES[name])
        except StageFailure as failure:
            return failure
    return None


def applies(stage: Stage, program: GraphProgram) -> bool:
    """Whether a stage is for a program: peers have not all operations, and mixed types mean other things to them."""
    if stage.only and stage.only not in {s.op for s in program.steps}:
        return False
    if stage.name not in PEERS:
        return True
    floats = {x.dtype for x in program.inputs if x.dtype != "int64"}
    casts = {"float32", "float64", "to_integer"} & {s.op for s in program.walk()}
    return program.has(stage.name) and len(floats) == 1 and not casts


def reproduction(program: GraphProgram, failure: StageFailure) -> str:
    """A failure as code that runs on its own: the program, the stage, and what is expected."""
    stage, case = STAGES[failure.stage], Case(program)
    return "\n".join([f"# {failure.stage}: {failure.kind}", program.source(), *_setting(case, stage),
                      *(_twin(case, stage) if stage.twin else _judged(case, stage))]) + "\n"  # fmt: skip


def _setting(case: Case, stage: Stage) -> Iterator[str]:
    """What the source of a stage finds around it."""
    if not stage.twin:
        yield "directions = [np.cos(1.0 + k + np.arange(a.size)).reshape(a.shape).astype(a.dtype)"
        yield "              for k, a in enumerate(a for a in arrays if a.dtype.kind == 'f')]"
        yield "kept = [a.copy() for a in arrays]"
    yield f"others = [{', '.join(_literal(a) for a in case.others)}]"
    if "resized" in stage.source:
        yield f"resized = [{', '.join(_literal(a) for a in case.resized)}]"
    if "rate" in stage.source:
        yield f"rate = {case.rate}"
    yield stage.preamble
    if stage.name in PEERS:
        yield "from tinygrad_rnn.testing.fuzz.program import GraphProgram"
        yield f"data = GraphProgram.from_json({case.program.to_json()!r})"


def _judged(case: Case, stage: Stage) -> Iterator[str]:
    if stage.needs:
        yield STAGES[stage.needs].source
    yield stage.source
    expected = case.expected(stage)
    if expected:
        yield "expected = ["
        yield from (f"    ({m.array.tolist()}, {m.tolerance!r})," for m in expected)
        yield "]"
        yield "with tg.no_grad():"
        yield "    for y, (value, tolerance) in zip(found, expected, strict=True):"
        yield "        np.testing.assert_allclose(np.asarray(y), np.array(value), rtol=0, atol=tolerance)"


def _twin(case: Case, stage: Stage) -> Iterator[str]:
    yield stage.source
    yield "found, expected = list(experiment(tg.compile)), list(experiment(eager))"
    yield f"tolerances = {_tolerances(case, stage)}"
    yield "with tg.no_grad():"
    yield "    for y, value, tolerance in zip(found, expected, tolerances, strict=True):"
    yield "        np.testing.assert_allclose(np.asarray(y), np.asarray(value), rtol=0, atol=tolerance)"


def _tolerances(case: Case, stage: Stage) -> list[float]:
    """As they were when the stage failed; none where it raised."""
    with suppress(StageFailure):
        case.run(stage)
    try:
        return [m.tolerance for m in case.expected(stage)]
    except Exception:
        return []


def _literal(a: np.ndarray) -> str:
    return f"np.array({a.tolist()}, np.{a.dtype}).reshape({a.shape})"
