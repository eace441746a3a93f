"""Makes a program that fails a check smaller, as long as it fails in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from . import oracle_ops
from .check import StageFailure, check
from .oracle import evaluate
from .oracle_ops import Tape
from .program import GraphProgram, GraphStep, Input, locals_of

__all__ = ["rebuilt", "shrunk", "size"]

Node = Input | GraphStep


def shrunk(
    program: GraphProgram,
    failure: StageFailure,
    *,
    seconds: float = 30.0,
    fails: Callable[[GraphProgram], bool] | None = None,
) -> GraphProgram:
    """The smallest program found that fails as `program` does.

    Parameters
    ----------
    program : GraphProgram
    failure : StageFailure
        Its stage, and the kind of what went wrong.
    seconds : float
        How long to look.
    fails : callable, optional
        Whether a program fails; by default by the stage of the failure.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.testing.fuzz.check import StageFailure
    >>> from tinygrad_rnn.testing.fuzz.shrink import shrunk
    >>> from tinygrad_rnn.testing.fuzz.draw import NumpyChoices, draw_graph
    >>> program = draw_graph(NumpyChoices(np.random.default_rng(2)), ops=["tanh", "sin", "cos"], blocks=False)
    >>> small = shrunk(program, StageFailure("", "", ""), fails=lambda p: len(p.steps) > 0)
    >>> len(program.steps) > 1, len(small.steps)
    (True, 1)
    """
    still = fails or (lambda p: _same(p, failure))
    end = time.monotonic() + seconds
    best, found = program, True
    while found and time.monotonic() < end:
        found = False
        for candidate in _smaller(best):
            if time.monotonic() > end:
                break
            if size(candidate) < size(best) and _holds(still, candidate):
                best, found = candidate, True
                break
    return best


def _same(program: GraphProgram, failure: StageFailure) -> bool:
    again = check(program, [failure.stage])
    return again is not None and (again.stage, again.kind) == (failure.stage, failure.kind)


def _holds(still: Callable[[GraphProgram], bool], program: GraphProgram) -> bool:
    """What the oracle cannot run, or cannot differentiate, is no program."""
    try:
        evaluate(program, program.arrays())
    except Exception:
        return False
    return still(program)


def size(program: GraphProgram) -> tuple[int, ...]:
    """What is made smaller: steps first, then numbers, then details."""
    steps, inputs = list(program.walk()), program.inputs
    return (
        sum(_weight(s) for s in steps),
        len(program.outputs),
        len(inputs) + sum(len(s.operands) for s in steps),
        sum(int(np.prod(x.shape)) for x in inputs),
        sum(len(x.shape) for x in inputs),
        sum(x.layout != "contiguous" for x in inputs) + sum(x.dtype == "float32" for x in inputs),
        sum(x.seed + x.high for x in inputs),
    )


def _weight(step: GraphStep) -> int:
    """A loop weighs more than its turns one after the other, so that these take its place if they can."""
    if step.op != "loop":
        return 1
    return 2 + int(step.params["steps"]) * (len(step.body) + 1 + bool(step.params["past"]))


def rebuilt(nodes: Sequence[Node], outputs: Sequence[int]) -> GraphProgram:
    """A program of those nodes that outputs need: inputs first, and numbered anew."""
    needed, waiting = set(), list(outputs)
    while waiting:
        k = waiting.pop()
        node = nodes[k]
        if k not in needed and isinstance(node, GraphStep):
            waiting += node.operands
        needed.add(k)
    inputs = [k for k in sorted(needed) if isinstance(nodes[k], Input)]
    steps = [k for k in sorted(needed) if isinstance(nodes[k], GraphStep)]
    place = {k: n for n, k in enumerate([*inputs, *steps])}
    moved = [replace(nodes[k], operands=tuple(place[n] for n in nodes[k].operands)) for k in steps]  # type: ignore
    return GraphProgram(tuple(nodes[k] for k in inputs), tuple(moved), tuple(place[k] for k in outputs))  # type: ignore


def _shapes(program: GraphProgram) -> list[Any]:
    with np.errstate(all="ignore"):
        tape = Tape()
        inputs = [tape.value(a) for a in program.arrays()]
        return program.values(*inputs, form="oracle", module=oracle_ops)


def _smaller(program: GraphProgram) -> Iterator[GraphProgram]:
    nodes: list[Node] = [*program.inputs, *program.steps]
    count = len(program.inputs)
    for attempt in (_outputs, _cuts, _blocks, _sizes, _details):
        yield from attempt(program, nodes, count)


def _outputs(program: GraphProgram, nodes: list[Node], count: int) -> Iterator[GraphProgram]:
    """One output alone, early ones first; then one less."""
    values = _shapes(program)
    for k in range(count, len(nodes)):
        if values[k].is_float:
            yield rebuilt(nodes, [k])
    for n in range(len(program.outputs)):
        if len(program.outputs) > 1:
            yield rebuilt(nodes, [k for i, k in enumerate(program.outputs) if i != n])


def _cuts(program: GraphProgram, nodes: list[Node], count: int) -> Iterator[GraphProgram]:
    """An input in place of a step, or one of its operands."""
    values = _shapes(program)
    for k in reversed(range(count, len(nodes))):
        v = values[k]
        if v.is_float:
            yield rebuilt([*nodes[:k], Input(v.shape, v.dtype.name, k), *nodes[k + 1 :]], program.outputs)
        for n in set(nodes[k].operands):  # type: ignore[union-attr]
            yield _instead(program, nodes, k, n)


def _instead(program: GraphProgram, nodes: list[Node], k: int, n: int) -> GraphProgram:
    put = lambda m: n if m == k else m
    steps = [replace(s, operands=tuple(map(put, s.operands))) if isinstance(s, GraphStep) else s for s in nodes]
    return rebuilt(steps, [put(m) for m in program.outputs])


# Blocks ---------------------------------------------------------------------------------------------------------------


def _blocks(program: GraphProgram, nodes: list[Node], count: int) -> Iterator[GraphProgram]:
    for k in range(count, len(nodes)):
        step = nodes[k]
        assert isinstance(step, GraphStep)
        for smaller in _smaller_blocks(step) if step.body else ():
            yield rebuilt([*nodes[:k], smaller, *nodes[k + 1 :]], program.outputs)
        if step.op == "loop":
            yield _opened(program, nodes, k, *_turns(step, k))
        elif step.body:
            yield _opened(program, nodes, k, _inside(step, step.operands, k))


def _opened(
    program: GraphProgram, nodes: list[Node], k: int, steps: Sequence[GraphStep], states: Sequence[int] = ()
) -> GraphProgram:
    """`steps`, of which the last gives the same, in place of a block, and numbers of the last states of a loop."""
    grown = len(steps) - 1
    named = {n: states[s.params["which"]] for n, s in enumerate(nodes)
             if isinstance(s, GraphStep) and s.op == "state" and s.operands == (k,)}  # fmt: skip
    later = lambda n: named[n] if n in named else n + grown if n >= k else n
    rest = [replace(s, operands=tuple(map(later, s.operands))) for s in nodes[k + 1 :] if isinstance(s, GraphStep)]
    return rebuilt([*nodes[:k], *steps, *rest], [later(n) for n in program.outputs])


def _inside(step: GraphStep, given: Sequence[int], start: int) -> list[GraphStep]:
    """The steps of a block, over values of the program; the first becomes number `start`."""
    place = lambda n: given[n] if n < len(given) else start + n - len(given)
    return [replace(s, operands=tuple(place(n) for n in s.operands)) for s in step.body]


def _turns(step: GraphStep, k: int) -> tuple[list[GraphStep], list[int]]:
    """The turns of a loop one after the other, and the stack of their states; then the numbers of the last states."""
    p, made, states = step.params, list[GraphStep](), list[int]()
    count = len(p["carry"])
    own, weights = list(step.operands[:count]), step.operands[count + 1 :]
    turns = range(int(p["steps"]))
    for t in reversed(turns) if p["reverse"] else turns:
        made.append(GraphStep("time_slice", (step.operands[count],), {"index": (slice(None),) * p["axis"] + (t,)}))
        given = [*own, k + len(made) - 1]
        if p["past"]:
            made.append(GraphStep("stack", tuple(states or own[:1]), {"axis": 0}))
            given.append(k + len(made) - 1)
        given += weights
        start = k + len(made)
        made += _inside(step, given, start)
        own = [given[n] if n < len(given) else start + n - len(given) for n in p["carry"]]
        states.append(own[0])
    return [*made, GraphStep("stack", tuple(states[::-1] if p["reverse"] else states), {"axis": p["axis"]})], own


def _smaller_blocks(step: GraphStep) -> Iterator[GraphStep]:
    if step.op == "loop":
        for n in range(1, int(step.params["steps"])):
            yield replace(step, params={**step.params, "steps": n})
        if step.params["reverse"]:
            yield replace(step, params={**step.params, "reverse": False})
    first = locals_of(step)
    for k in reversed(range(len(step.body))):
        for n in set(step.body[k].operands):
            yield _without(step, first, k, n)
    yield from _without_operands(step, first)


def _without(step: GraphStep, first: int, k: int, n: int) -> GraphStep:
    """A block without its step k, whose value is that of number n instead."""
    gone = first + k
    put = lambda m: n if m == gone else m - (m > gone)
    body = tuple(replace(s, operands=tuple(map(put, s.operands))) for s in step.body[:k] + step.body[k + 1 :])
    carry = {"carry": tuple(map(put, step.params["carry"]))} if step.op == "loop" else {}
    return replace(step, body=body, params={**step.params, **carry})


def _without_operands(step: GraphStep, first: int) -> Iterator[GraphStep]:
    """Weights that no step of the block takes are left away."""
    loop = step.op == "loop"
    shift = int(bool(step.params["past"])) if loop else 0
    used = {n for s in step.body for n in s.operands} | set(step.params.get("carry", ()))
    for k in range(len(step.params["carry"]) + 1 if loop else 0, len(step.operands)):
        if k + shift not in used and len(step.operands) > 1:
            put = lambda m, gone=k + shift: m - (m > gone)
            body = tuple(replace(s, operands=tuple(map(put, s.operands))) for s in step.body)
            carry = {"carry": tuple(map(put, step.params["carry"]))} if loop else {}
            operands = step.operands[:k] + step.operands[k + 1 :]
            yield replace(step, operands=operands, body=body, params={**step.params, **carry})


# Sizes and details ----------------------------------------------------------------------------------------------------


def _sizes(program: GraphProgram, nodes: list[Node], count: int) -> Iterator[GraphProgram]:
    """One size everywhere at once, then axis by axis; then axes fewer."""
    sizes = sorted({n for x in program.inputs for n in x.shape if n > 1}, reverse=True)
    for n in sizes:
        for m in (1, n - 1):
            put = lambda k, n=n, m=m: m if k == n else k
            yield _resized(program, [tuple(map(put, x.shape)) for x in program.inputs], {n: m})
    for i, x in enumerate(program.inputs):
        shapes = [y.shape for y in program.inputs]
        for axis, n in enumerate(x.shape):
            for m in {1, n - 1} - {n} if n > 1 else ():
                yield _resized(program, [*shapes[:i], (*x.shape[:axis], m, *x.shape[axis + 1 :]), *shapes[i + 1 :]], {})
        if x.shape:
            yield _resized(program, [*shapes[:i], x.shape[1:], *shapes[i + 1 :]], {})
            yield _resized(program, [*shapes[:i], (), *shapes[i + 1 :]], {})


def _resized(program: GraphProgram, shapes: Sequence[tuple[int, ...]], changed: dict[int, int]) -> GraphProgram:
    inputs = tuple(replace(x, shape=s) for x, s in zip(program.inputs, shapes))
    put = lambda step: (
        replace(step, params={**step.params, "shape": tuple(changed.get(n, n) for n in step.params["shape"])})
        if "shape" in step.params
        else step
    )
    return replace(program, inputs=inputs, steps=tuple(map(put, program.steps)))


def _details(program: GraphProgram, nodes: list[Node], count: int) -> Iterator[GraphProgram]:
    inputs = program.inputs
    yield replace(program, inputs=tuple(replace(x, layout="contiguous") for x in inputs))
    yield replace(program, inputs=tuple(replace(x, dtype=x.dtype.replace("32", "64")) for x in inputs))
    yield replace(program, inputs=tuple(replace(x, seed=k) for k, x in enumerate(inputs)))
    for k, x in enumerate(inputs):
        simpler = [replace(x, layout="contiguous"), replace(x, dtype=x.dtype.replace("32", "64")), replace(x, seed=k)]
        simpler += [replace(x, high=1)] if x.high > 1 else []
        for y in simpler:
            yield replace(program, inputs=(*inputs[:k], y, *inputs[k + 1 :]))
