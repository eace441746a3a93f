"""Checkpointing: keep the inputs of a part of the model, and compute the rest again when its gradient is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import accumulate
from typing import Any

import numpy as np

from .. import changes
from ..errors import DTypeError, GeneratorError, StaleError, brief, fail
from ..generators import Random, found_around, spawned_by
from ..graph.evaluate import compute
from ..graph.walk import reach
from ..ops.random import witnessed
from ..ops.shape import concatenate, flatten, reshape
from ..scope import Modes, current, modes_seen, noting, recording
from ..tensor import Op, Spec, Tensor, describe, next_serial, record
from .forward import push_tangents
from .reverse import pull

__all__ = ["checkpoint"]


def checkpoint(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make a version of `fn` whose intermediate results are not kept but computed again in the backward pass.

    Memory falls to the inputs and outputs; time grows by one more forward pass. Gradients of every order are the same,
    and so are those of the parameters that `fn` uses. Random operations, and generators that `fn` finds around it, draw
    the same numbers again, and modules are in the mode that they were in, training or not; in a compiled function the
    numbers of operations are kept.

    Parameters
    ----------
    fn : callable
        Takes tensors (and anything else); gives a float tensor, or a tuple or list of float tensors of one dtype.

    Raises
    ------
    StaleError
        In the backward pass, if `fn` computes something else by then, as after a change of what it finds around it.
    GeneratorError
        If `fn` makes others of a generator that it finds around it, as ``spawn`` does.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([0.5])
    >>> y = tg.checkpoint(lambda x: tg.tanh(tg.tanh(x)))(x)
    >>> tg.graph(y).counts()["tanh"], tg.grad(y.sum(), x).tolist()
    (0, [0.6398079991340637])
    """

    if not callable(fn):
        raise fail(TypeError, "checkpoint: fn", expected="a function", got=brief(fn))
    known: list[Any] = [None, ()]  # the count of changes of modules, and the generators that were found then

    def around() -> list[Random]:
        if known[0] != changes.last:
            known[:] = changes.last, list(found_around(fn).values())
        return known[1]

    @wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not current().recording:
            return fn(*args, **kwargs)
        return _run(fn, args, kwargs, [*around(), *found_around(*args, *kwargs.values()).values()])

    return run


def _run(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], around: list[Random]) -> Any:
    start = next_serial()
    with witnessed() as draws, _without_spawning(around), noting(modes_seen, Modes()) as modes:
        for generator in around:
            draws.note(generator)
        result = fn(*args, **kwargs)
    outputs = _outputs(result)
    effects = current().tracing
    if effects is not None:
        effects.segments.append((start, next_serial()))
        return result  # no values are spared yet, and those of parameters will be others on each call
    if any(t.is_symbolic for t in outputs):
        return result
    inputs, ops = _used(outputs, start)
    packed = np.concatenate([t.data.reshape(-1) for t in outputs])

    def again() -> list[Tensor]:
        with recording(), draws.replayed(), _in(modes):
            return _outputs(fn(*args, **kwargs))

    def same() -> Tensor:
        after = next_serial()
        outputs = again()
        with recording():
            y = concatenate([flatten(t) for t in outputs])
        if _used(outputs, after)[1] != ops or not (y.is_symbolic or _is_close(y.data, packed)):
            raise fail(
                StaleError, f"checkpoint: {getattr(fn, '__name__', 'the function')} computes something else when it is "
                "computed again", expected="the same operations and values as in the forward pass",
                hint="pass what changes as an argument, and change what it finds around it after the backward pass",
            )  # fmt: skip
        return y

    def vjp(wanted: list[int], g: Tensor, y: Tensor, *_: Tensor) -> list[Tensor | None]:
        after = next_serial()
        return pull([same()], [g], [inputs[i] for i in wanted], current().recording, after)

    def jvp(i: int, tangent: Tensor, y: Tensor, *_: Tensor) -> Tensor:
        after = next_serial()
        return push_tangents([same()], {inputs[i].serial: tangent}, after)[0]

    def run(*arrays: np.ndarray) -> np.ndarray:
        with recording():
            y = concatenate([flatten(t) for t in again()])
        values = dict(zip([t.serial for t in inputs], arrays, strict=True))
        compute(reach([y], lambda t: () if t.serial in values else t.inputs), values, {y.serial})
        return values[y.serial]

    spec = Spec(packed.shape, packed.dtype)
    op = Op("checkpoint", run, lambda *_: spec, vjp, jvp, r"\mathrm{{checkpoint}}({0}, \ldots)")
    whole = record(op, inputs, {}, packed)
    ends = accumulate(t.size for t in outputs)
    parts = [reshape(whole[end - t.size : end], t.shape) for t, end in zip(outputs, ends, strict=True)]
    if isinstance(result, Tensor):
        return parts[0]
    return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)


@contextmanager
def _without_spawning(generators: list[Random]) -> Iterator[None]:
    before = [spawned_by(g) for g in generators]
    yield
    if [spawned_by(g) for g in generators] != before:
        raise fail(
            GeneratorError, "checkpoint: the function spawns generators, and others when it is computed again",
            expected="draws from those that are there before", hint="spawn outside of the function",
        )  # fmt: skip


def _outputs(result: Any) -> list[Tensor]:
    outputs = [result] if isinstance(result, Tensor) else list(result)
    if not outputs or any(not isinstance(t, Tensor) or not t.is_float or t.dtype != outputs[0].dtype for t in outputs):
        raise fail(
            DTypeError, "checkpoint: the function must give float tensors of one dtype",
            got=", ".join(describe(t) if isinstance(t, Tensor) else type(t).__name__ for t in outputs),
        )  # fmt: skip
    return outputs


@contextmanager
def _in(modes: Modes) -> Iterator[None]:
    """Put modules into the modes that were noted, for the block."""
    switched = [(module, training) for module, training in modes.values() if module.training != training]
    try:
        for module, training in switched:
            module.training = training
        yield
    finally:
        for module, training in switched:
            module.training = not training


def _is_close(now: np.ndarray, then: np.ndarray) -> bool:
    """Whether values are equal up to what another order of sums may change."""
    if now.shape != then.shape:
        return False
    largest = np.abs(then, where=np.isfinite(then), out=np.zeros_like(then)).max(initial=0)
    slack = 1e4 * np.finfo(then.dtype).eps
    return bool(np.isclose(now, then, rtol=slack, atol=slack * largest, equal_nan=True).all())


def _used(outputs: list[Tensor], start: int) -> tuple[tuple[Tensor, ...], int]:
    """The tensors from before `start` that `outputs` were computed from, and a number for the operations since."""
    nodes = reach(outputs, lambda t: t.inputs if t.serial > start else ())
    # By name: a checkpoint within makes an op of its own each time.
    ops = hash(tuple([t.op.name for t in nodes if t.serial > start]))
    return tuple([t for t in nodes if t.serial < start]), ops
