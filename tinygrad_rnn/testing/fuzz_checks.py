"""What the fuzzer checks: each stage is a few lines of source, which run here and are printed where they fail."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from .graph_program import Program
from .oracle import Measured, Outcome, directions_of, evaluate

__all__ = ["STAGES", "Case", "Failure", "Stage", "check", "reproduction"]

CLOSE = 1e-6  # to a point where a derivative jumps: nothing is compared

PREAMBLE = '''
def floats(xs):
    return [x for x in xs if x.is_float]


def loss(*xs):
    return sum((y * y).sum() * (1 + 0.1 * k) for k, y in enumerate(program(*xs)) if y.is_float)


def filled(xs, found):
    return [tg.zeros_like(x) if g is None else g for x, g in zip(floats(xs), found)]


def gradient(*xs, **options):
    return filled(xs, tg.grad(loss(*xs), floats(xs), allow_unused=True, **options))


def second(*xs):
    slopes = gradient(*xs, create_graph=True)
    product = sum((g * v).sum() for g, v in zip(slopes, directions))
    return filled(xs, tg.grad(product, floats(xs), allow_unused=True))


def along(f):
    def of_floats(*moved):
        moved = iter(moved)
        return f(*[next(moved) if x.is_float else x for x in tensors])

    return of_floats


tensors = [tg.tensor(a) for a in arrays]
'''


@dataclass(frozen=True)
class Stage:
    """A check: source that finds some arrays, and what of the oracle's outcome they should be.

    Parameters
    ----------
    name : str
    source : str
    expected : tuple of str
        Names of lists of an :class:`Outcome`; with an ``other_`` in front, of that at other arrays.
    needs : str
        The stage whose variables it uses.
    share : int
        It runs on one of so many programs.
    only : str
        An operation without which the stage is left out.
    """

    name: str
    source: str
    expected: tuple[str, ...] = ()
    needs: str = ""
    share: int = 1
    only: str = ""


STAGES: dict[str, Stage] = {stage.name: stage for stage in [
    Stage("values", "found = program(*tensors)", ("values",)),
    Stage("values unrecorded", "with tg.no_grad():\n    found = program(*tensors)", ("values",), share=4),
    Stage("gradient", "found = gradient(*tensors)", ("gradient",)),
    Stage("gradient recorded", "found = gradient(*tensors, create_graph=True)", ("gradient",), share=4),
    Stage("reverse over reverse", "found = second(*tensors)", ("products",)),
    Stage("forward", "found = tg.jvp(along(lambda *xs: floats(program(*xs))), floats(tensors), directions)[1]",
          ("slopes",)),
    Stage("forward over reverse",
          "found = tg.jvp(along(lambda *xs: gradient(*xs, create_graph=True)), floats(tensors), directions)[1]",
          ("products",), share=2),
    Stage("traced", "graph = tg.trace(lambda *xs: [*program(*xs), *gradient(*xs)], *arrays)\nfound = graph(*arrays)",
          ("values", "gradient"), share=2),
    Stage("compiled",
          "compiled = tg.compile(lambda *xs: [*program(*xs), *gradient(*xs)])\n"
          "found = [*compiled(*others), *compiled(*arrays)]",
          ("other_values", "other_gradient", "values", "gradient")),
    Stage("compiled and reloaded",
          "again = tg.Program.from_json(compiled.programs[-1].to_json())\nfound = again.run(arrays)",
          ("values", "gradient"), needs="compiled"),
    Stage("compiled, little memory",
          "small = tg.compile(lambda *xs: [*program(*xs), *gradient(*xs)], memory='sqrt')\nfound = small(*arrays)",
          ("values", "gradient"), share=4, only="loop"),
    Stage("compiled, second order", "twice = tg.compile(second)\nfound = [*twice(*others), *twice(*arrays)]",
          ("other_products", "products"), share=8),
    Stage("parameters",
          "leaves = [tg.parameter(a) if a.dtype.kind == 'f' else tg.tensor(a) for a in arrays]\n"
          "tg.grad(loss(*leaves), floats(leaves), allow_unused=True)\n"
          "(loss(*leaves) + sum(0 * p.sum() for p in floats(leaves))).backward()\n"
          "found = [p.grad for p in floats(leaves)]", ("gradient",), share=4),
    Stage("drawn",
          "outputs = program(*tensors)\npicture = tg.viz.to_dot(outputs)\n"
          "assert picture.startswith('digraph') and picture == tg.viz.to_dot(outputs)"),
    Stage("written",
          "import json\n\ngraph = tg.graph([loss(*tensors)])\nnodes = json.loads(graph.to_json(values=True))['nodes']\n"
          "assert len(nodes) == len(graph) and len({n['id'] for n in nodes}) == len(nodes)\nassert str(graph)"),
    Stage("inputs unchanged",
          "found = [t.numpy() for t in tensors] + list(arrays)\n"
          "assert all(np.array_equal(a, b) for a, b in zip(found, 2 * kept))"),
    Stage("torch", "from tinygrad_rnn.testing import peers\n\nfound = peers.torch_results(data, arrays, directions)",
          ("values", "gradient", "products"), share=2),
    Stage("jax", "from tinygrad_rnn.testing import peers\n\nfound = peers.jax_results(data, arrays)",
          ("values", "gradient"), share=256),
]}  # fmt: skip

PEERS = ("torch", "jax")
PEER_FACTOR = 64.0  # their rounding is not ours to judge


@dataclass
class Failure(Exception):
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

    def __init__(self, program: Program) -> None:
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
        if not outcome.finite or outcome.distance < 1e-3:
            others, outcome = self.arrays, self.outcome
        self.other_outcome = outcome
        return others

    def usable(self) -> bool:
        return self.outcome.finite and self.outcome.distance > CLOSE

    def expected(self, stage: Stage) -> list[Measured]:
        listed: list[Measured] = []
        for name in stage.expected:
            other = name.startswith("other_")
            if other:
                _ = self.others
            listed += getattr(self.other_outcome if other else self.outcome, name.removeprefix("other_"))
        return listed

    def run(self, stage: Stage) -> None:
        """Run a stage.

        Raises
        ------
        Failure
            If it raises, or gives something else than it should.
        """
        expected = self.expected(stage)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self._execute(stage)
        except Exception as error:
            raise Failure(stage.name, type(error).__name__, f"{type(error).__name__}: {error}") from error
        if stage.expected:
            self._compare(stage, self.variables["found"], expected)

    def _execute(self, stage: Stage) -> None:
        if not self.variables:
            kept = [a.copy() for a in self.arrays]
            self.variables = _start(self.program, self.arrays, self.others, self.directions) | {"kept": kept}
            exec(_compiled(PREAMBLE), self.variables)
        if stage.needs and stage.needs not in self.done:
            self._execute(STAGES[stage.needs])
        exec(_compiled(stage.source), self.variables)
        self.done.add(stage.name)

    def _compare(self, stage: Stage, found: Sequence[Any], expected: Sequence[Measured]) -> None:
        if len(found) != len(expected):
            raise Failure(stage.name, "count", f"{len(found)} arrays, expected {len(expected)}")
        for k, (y, m) in enumerate(zip(found, expected, strict=True)):
            kind, text = _difference(np.asarray(y), m, typed=stage.name not in PEERS)
            if kind:
                raise Failure(stage.name, kind, f"array {k}: {text}")


def _start(program: Any, arrays: Any, others: Any, directions: Any) -> dict[str, Any]:
    import tinygrad_rnn

    return {
        "np": np, "tg": tinygrad_rnn, "program": program, "data": program, "arrays": arrays, "others": others,
        "directions": directions,
    }  # fmt: skip


@lru_cache(maxsize=64)
def _compiled(source: str) -> Any:
    return compile(source, "<stage>", "exec")


def _difference(found: np.ndarray, m: Measured, typed: bool) -> tuple[str, str]:
    """What differs, and how; two empty strings where nothing does."""
    if found.shape != m.array.shape:
        return "shape", f"shape {found.shape}, expected {m.array.shape}"
    if typed and found.dtype != m.dtype:
        return "dtype", f"dtype {found.dtype}, expected {m.dtype}"
    if m.dtype.kind != "f":
        return ("", "") if np.array_equal(found, m.array) else ("value", f"{found}, expected {m.array}")
    if not np.isfinite(found).all():
        return "not finite", f"{found}, expected {m.array}"
    off = np.abs(found.astype(np.float64) - m.array).max(initial=0)
    if off <= m.tolerance * (1 if typed else PEER_FACTOR):
        return "", ""
    both = f"{found.tolist()}, expected {m.array.tolist()}"
    return "value", f"off by {off:.3e} where {m.tolerance:.1e} is allowed; {both}"


def check(program: Program, stages: Sequence[str]) -> Failure | None:
    """The first failure of a program, if there is one; None also where it comes too near a kink to be judged.

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz_checks import check
    >>> from tinygrad_rnn.testing.graph_program import Input, Program, Step
    >>> check(Program((Input((2,)),), (Step("tanh", (0,)),), (1,)), ["values", "gradient"])
    """
    case = Case(program)
    if not case.usable():
        return None
    for name in stages:
        try:
            case.run(STAGES[name])
        except Failure as failure:
            return failure
    return None


def applies(stage: Stage, program: Program) -> bool:
    """Whether a stage is for a program: peers have not all operations, and mixed types mean other things to them."""
    if stage.only and stage.only not in {s.op for s in program.steps}:
        return False
    if stage.name not in PEERS:
        return True
    floats = {x.dtype for x in program.inputs if x.dtype != "int64"}
    casts = {"float32", "float64", "to_integer"} & {s.op for s in program.walk()}
    return program.has(stage.name) and len(floats) == 1 and not casts


def reproduction(program: Program, failure: Failure) -> str:
    """A failure as code that runs on its own: the program, the stage, and what the oracle expects."""
    stage, case = STAGES[failure.stage], Case(program)
    expected = [f"    ({m.array.tolist()}, {m.tolerance!r})," for m in case.expected(stage)]
    others = ", ".join(_literal(a) for a in case.others)
    before = f"{STAGES[stage.needs].source}\n" if stage.needs else ""
    parts = [
        f"# {failure.stage}: {failure.kind}", program.source(),
        "directions = [np.cos(1.0 + k + np.arange(a.size)).reshape(a.shape).astype(a.dtype)",
        "              for k, a in enumerate(a for a in arrays if a.dtype.kind == 'f')]",
        f"others = [{others}]", "kept = [a.copy() for a in arrays]", PREAMBLE,
    ]  # fmt: skip
    if failure.stage in PEERS:
        parts += ["from tinygrad_rnn.testing.graph_program import Program",
                  f"data = Program.from_json({program.to_json()!r})"]  # fmt: skip
    parts.append(before + stage.source)
    if expected:
        parts += ["expected = [", *expected, "]", "for y, (value, tolerance) in zip(found, expected, strict=True):",
                  "    np.testing.assert_allclose(np.asarray(y), np.array(value), rtol=0, atol=tolerance)"]  # fmt: skip
    return "\n".join(parts) + "\n"


def _literal(a: np.ndarray) -> str:
    return f"np.array({a.tolist()}, np.{a.dtype}).reshape({a.shape})"
