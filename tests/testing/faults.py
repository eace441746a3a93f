"""Deliberate faults, one for each way in which an engine like this goes wrong, and the checks that must see them.

usage: python -m tests.testing.faults; applies each in turn and prints which were caught
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import testing
from tinygrad_rnn.compile import batching, emit, lower, lowerings, memory_plan, optimise, program, rewrite, rules, run
from tinygrad_rnn.grad import checkpoint as checkpointing
from tinygrad_rnn.grad import cotangents
from tinygrad_rnn.kernels.loops import address  # noqa: F401  (kernels are there before faults are)
from tinygrad_rnn.nn import unrolling
from tinygrad_rnn.ops import elementwise, index, linalg, neural, reduce, shape
from tinygrad_rnn.ops.core import registry
from tinygrad_rnn.testing import cell_laws
from tinygrad_rnn.testing.fuzz import fuzz

Patch = pytest.MonkeyPatch
Check = Callable[[], Any]


@dataclass(frozen=True)
class Fault:
    """A way to break the engine, and the checks of which at least one must fail."""

    name: str
    apply: Callable[[Patch], None]
    checks: tuple[Check, ...]

    def caught(self) -> str | None:
        """The first words of what a check says of it; None if all pass."""
        with pytest.MonkeyPatch.context() as patch:
            self.apply(patch)
            for check in self.checks:
                try:
                    check()
                except Exception as error:
                    return f"{type(error).__name__}: {str(error).splitlines()[0]}"
        return None


# Checks ---------------------------------------------------------------------------------------------------------------


def op(name: str) -> Check:
    return lambda: testing.check_op(name)()


def cell() -> None:
    testing.check_cell(tg.nn.RNNCell)()


def unrolled_layer() -> None:
    """A layer over time equals its cell step by step."""
    it = tg.nn.RNNCell(2, 3, generator=0)
    xs = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    whole = tg.nn.unroll(it, xs).outputs
    outputs, _ = cell_laws.run(it, xs, it.initial_state(2))
    testing.assert_close(whole, tg.stack(outputs, axis=1))


def language_model() -> None:
    """Compiled = eager for a network with tokens, gates and a loss at each step, whose weights change in between."""
    rng = np.random.default_rng(0)
    E, W, U, V = (tg.parameter(rng.normal(0, 0.5, s), name=n) for n, s in
                  [("E", (7, 4)), ("W", (4, 6)), ("U", (3, 6)), ("V", (3, 7))])  # fmt: skip
    b = tg.parameter(rng.normal(size=6), name="b")
    tokens, targets = rng.integers(0, 7, (2, 3, 5))

    def run(h: Any, tokens: Any, targets: Any) -> Any:
        outputs = []
        for t in tg.steps(5):
            i, g = tg.split(E[tokens][:, t] @ W + h @ U + b, 2, axis=1)
            h = tg.tanh(g) * tg.sigmoid(i) + 0.5 * h
            outputs.append(h)
        loss = tg.cross_entropy(tg.stack(outputs, axis=1) @ V, targets)
        return [loss, *tg.grad(loss, [h, E, W, U, V, b])[1:]]

    compiled = tg.compile(run)
    for k in range(3):
        h = rng.normal(size=(3, 3))
        for found, expected in zip(compiled(h, tokens, targets), run(tg.tensor(h), tokens, targets), strict=True):
            testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
        for p in (E, W, U, V, b):
            p.assign(p.numpy() * 0.9)
        tokens, targets = np.roll(tokens, k + 1), np.roll(targets, 1)


def checkpointed() -> None:
    testing.check_grad(tg.checkpoint(lambda x: tg.sin(x * x)), [0.3, -0.8])


def fuzzed(*stages: str, count: int = 500) -> Check:
    """Random programs, by some stages of the fuzzer."""

    def check() -> None:
        for finding in fuzz(count=count, only=stages, peers=False, most=1, shrink_seconds=2).findings:
            raise finding.failure

    return check


# Faults ---------------------------------------------------------------------------------------------------------------


def slope(name: str, *lines: Any) -> Callable[[Patch], None]:
    """Other gradient lines for an elementwise op, compiled and recorded."""

    def apply(patch: Patch) -> None:
        it = registry[name]
        patch.setattr(it, "vjp", lines)
        patch.setattr(it.kernels, "vjp", lines)
        patch.setattr(it.kernels, "_rules", {})

    return apply


def rule(it: Any, **changes: Any) -> Callable[[Patch], None]:
    """Other rules for an op."""

    def apply(patch: Patch) -> None:
        for name, value in changes.items():
            patch.setattr(it, name, value)

    return apply


def _first_row(part: Any, target: Any) -> Any:
    """Broadcasting undone by taking a row instead of adding all of them."""
    lead = part.ndim - len(target)
    part = part[(0,) * lead]
    return part[tuple(slice(0, n) if n == 1 else slice(None) for n in target)]


def _without_repeats(target: Any, template: Any, indices: Any, value: Any) -> None:
    target[index.fill(template, indices)] = value


def _in_place(x: np.ndarray, axis: int) -> np.ndarray:
    x -= x.max(axis, keepdims=True)
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def _step_before(patch: Patch) -> None:
    right = unrolling.Inputs.__getitem__
    patch.setattr(unrolling.Inputs, "__getitem__", lambda self, t: right(self, max(t - 1, 0)))


def _arguments_of_the_first_call(patch: Patch) -> None:
    right = program.Program.run_fitting

    def run(self: Any, arrays: Any) -> Any:
        self.first = getattr(self, "first", None) or [a.copy() for a in arrays]
        return right(self, self.first)

    patch.setattr(program.Program, "run_fitting", run)


def _parameters_of_the_first_call(patch: Patch) -> None:
    right = run.Workspace.refresh

    def refresh(self: Any) -> None:
        if not hasattr(self, "refreshed"):
            self.refreshed = right(self)

    patch.setattr(run.Workspace, "refresh", refresh)


def _freed_too_early(patch: Patch) -> None:
    right = program.plan

    def plan(storages: Any) -> int:
        for s in storages:
            s.last = max(s.first, s.last - 1)
        return right(storages)

    patch.setattr(program, "plan", plan)


def _one_offset(patch: Patch) -> None:
    def plan(storages: Any) -> int:
        return max((s.nbytes for s in storages), default=0) + memory_plan.ALIGNMENT

    patch.setattr(program, "plan", plan)


def _next_slice(patch: Patch) -> None:
    right = batching._one_product

    def product(members: Any) -> Any:
        found = right(members)
        return dict(zip(found, [*list(found.values())[1:], next(iter(found.values()))], strict=True))

    patch.setattr(batching, "_one_product", product)


def _bias_lost(patch: Patch) -> None:
    it = next(r for r in rules.GATHER if r.name == "bias before lookup")
    lost = rewrite.Rule(it.name, it.pattern, lambda node, rows, b: rows, it.condition)
    patch.setattr(optimise, "GATHER", [lost if r is it else r for r in rules.GATHER])


def _equal_by_op(patch: Patch) -> None:
    right = rewrite._frozen
    patch.setattr(rewrite, "_frozen", lambda value: right(value) if not isinstance(value, dict) else ())


def _never_again(patch: Patch) -> None:
    patch.setattr(emit.Emitter, "touch", lambda self, view, number=None: None)


def edited(owner: Any, name: str, old: str, new: str) -> Callable[[Patch], None]:
    """A function with a part of its source replaced."""

    def apply(patch: Patch) -> None:
        right = getattr(owner, name)
        source = dedent(inspect.getsource(right))
        assert old in source, f"{name} has no {old!r} any more"
        names = dict(right.__globals__)
        exec(source.replace(old, new), names)
        patch.setattr(owner, name, names[name])

    return apply


PLANNED = (fuzzed("compiled values"),)
PLANNER = [
    Fault("planning: slices along two axes share no entry",
          edited(lower.Lowering, "_entries_differ", " and len(axes) == 1", ""), PLANNED),
    Fault("planning: a stack of parts with other strides is a view",
          edited(lowerings, "_consecutive", " and part.strides == first.strides", ""), PLANNED),
    Fault("planning: a result inside of a stack may be written over",
          edited(lower.Lowering, "_parts_needed_once", "part.serial in self.roots or ", ""), PLANNED),
]  # fmt: skip

tanh, ce = registry["tanh"], registry["cross_entropy"]
FAULTS = [
    Fault("tanh: wrong sign", slope("tanh", lambda g, y, x: g * (y * y - 1)), (op("tanh"),)),
    Fault("tanh: off by 0.1 %", slope("tanh", lambda g, y, x: g * (1 - y * y) * 1.001), (op("tanh"),)),
    Fault("sigmoid: slope of the input, not of the output", slope("sigmoid", lambda g, y, x: g * x * (1 - x)),
          (op("sigmoid"),)),
    Fault("exp: cotangent left out", slope("exp", lambda g, y, x: y), (op("exp"),)),
    Fault("multiply: operands exchanged", slope("multiply", lambda g, y, a, b: g * a, lambda g, y, a, b: g * b),
          (op("multiply"),)),
    Fault("subtract: both with the same sign", slope("subtract", elementwise.identity_rule, elementwise.identity_rule),
          (op("subtract"),)),
    Fault("where: gradient to both sides", slope("where", *[elementwise.identity_rule] * 3), (op("where"),)),
    Fault("square: second derivative lost", slope("square", lambda g, y, x: g * 2 * x.detach()), (op("square"),)),
    Fault("relu: gradient in double precision", slope("relu", lambda g, y, x: (g * (x > 0)).astype(np.float64)),
          (op("relu"),)),
    Fault("broadcasting not undone, arrays", lambda p: p.setattr(cotangents, "_fold_array", _first_row), (op("add"),)),
    Fault("broadcasting not undone, recorded", lambda p: p.setattr(cotangents, "_fold_tensor", _first_row),
          (op("add"),)),
    Fault("matmul: weight not transposed",
          rule(linalg.MATMUL, vjp=(lambda g, y, a, b: g @ b if b.ndim == 2 and b.shape[0] == b.shape[1]
                                   else linalg._left(g, y, a, b), linalg._right)), (op("matmul"), cell)),
    Fault("index: what occurs twice counts once", lambda p: p.setattr(cotangents, "add_at", _without_repeats),
          (op("index"),)),
    Fault("concatenate: cut at the wrong place",
          rule(shape.CONCATENATE, vjp=lambda wanted, g, y, *inputs, axis: [
              g[(slice(None),) * axis + (slice(0, inputs[i].shape[axis]),)] for i in wanted]), (op("concatenate"),)),
    Fault("cumsum: gradient runs forward",
          rule(registry["cumsum"], vjp=(lambda g, y, x, axis: reduce.cumsum(g, axis),)), (op("cumsum"),)),
    Fault("softmax: the mean is not taken off",
          rule(neural.SOFTMAX, vjp=(lambda g, y, x, axis: y * g,)), (op("softmax"),)),
    Fault("softmax: forward mode alone", rule(neural.SOFTMAX, jvp=lambda i, t, y, x, axis: y * t), (op("softmax"),)),
    Fault("softmax: writes into its input", rule(neural.SOFTMAX, run=_in_place), (op("softmax"),)),
    Fault("layer norm: one term forgotten",
          rule(neural.NORMALIZE, vjp=(lambda g, y, x, eps: (g - neural.mean(g, -1, keepdims=True))
                                      / (neural.std(x, -1, keepdims=True) + eps),)), (op("normalize"),)),
    Fault("max: every entry has the gradient",
          rule(registry["max"], vjp=(lambda g, y, x, axis, keepdims: reduce._unreduce(g, x, axis),)), (op("max"),)),
    Fault("cross-entropy: target not taken off",
          rule(ce, vjp=(lambda g, y, x, t: neural.expand_dims(g, -1) * neural.softmax(x), ce.vjp[1])),
          (op("cross_entropy"),)),
    Fault("time: the input of the step before", _step_before, (unrolled_layer,)),
    Fault("checkpoint: gradient of another function",
          lambda p: p.setattr(checkpointing, "recording", tg.no_grad), (checkpointed,)),
    Fault("compiled: arguments of the first call", _arguments_of_the_first_call, (op("tanh"),)),
    Fault("compiled: parameters of the first call", _parameters_of_the_first_call, (language_model,)),
    Fault("compiled: memory given away too early", _freed_too_early, (language_model,)),
    Fault("compiled: everything in one place", _one_offset, (language_model,)),
    Fault("compiled: no use is noted", _never_again, (language_model,)),
    Fault("rewriting: slices of a batched product off by one step", _next_slice, (language_model,)),
    Fault("rewriting: bias lost", _bias_lost, (language_model,)),
    Fault("rewriting: nodes equal by op and inputs alone", _equal_by_op, (language_model,)),
    *PLANNER,
]  # fmt: skip


def main() -> None:
    missed = 0
    for fault in FAULTS:
        said = fault.caught()
        missed += said is None
        print(f"{'MISSED' if said is None else 'caught':7} {fault.name:60} {(said or '')[:90]}", flush=True)
    print(f"{len(FAULTS) - missed} of {len(FAULTS)} faults caught")
    raise SystemExit(missed > 0)


if __name__ == "__main__":
    main()
