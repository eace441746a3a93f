"""Checkpointing: keep the inputs of a part of the model, and compute the rest again when its gradient is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from itertools import accumulate
from typing import Any

import numpy as np

from ..errors import DTypeError, fail
from ..ops.core import as_tensor
from ..ops.neural import witnessed
from ..ops.shape import concatenate, flatten, reshape
from ..scope import current, using
from ..tensor import Op, Spec, Tensor, describe, leaf, record
from .forward import push_tangents
from .reverse import grad

__all__ = ["checkpoint"]


def checkpoint(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make a version of `fn` whose intermediate results are not kept but computed again in the backward pass.

    Memory falls to the inputs and outputs; time grows by one more forward pass. Gradients of every order are the same, and
    so are those of the parameters that `fn` uses. Random operations draw the same numbers again.

    Parameters
    ----------
    fn : callable
        Takes tensors (and anything else); gives a float tensor, or a tuple or list of float tensors of one dtype.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([0.5])
    >>> y = tg.checkpoint(lambda x: tg.tanh(tg.tanh(x)))(x)
    >>> tg.graph(y).counts()["tanh"], tg.grad(y.sum(), x).tolist()
    (0, [0.6459143161773682])
    """

    @wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        state = current()
        if not state.recording or any(isinstance(a, Tensor) and a.is_symbolic for a in args):
            return fn(*args, **kwargs)
        return _run(fn, args, kwargs)

    return run


def _run(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    mark = as_tensor(0.0).serial
    with witnessed() as draws:
        result = fn(*args, **kwargs)
    outputs = _outputs(result)
    inputs = _used(outputs, mark)
    packed = np.concatenate([t.data.reshape(-1) for t in outputs])

    def again() -> Tensor:
        with using(replace(current(), recording=True)), draws.replayed():
            return concatenate([flatten(t) for t in _outputs(fn(*args, **kwargs))])

    def pull(wanted: list[int], g: Tensor, y: Tensor, *_: Tensor) -> list[Tensor]:
        return grad(again(), [inputs[i] for i in wanted], g, create_graph=current().recording)

    def push(i: int, tangent: Tensor, y: Tensor, *_: Tensor) -> Tensor:
        return push_tangents([again()], {inputs[i].serial: tangent})[0]

    def evaluate(*arrays: np.ndarray) -> np.ndarray:
        fresh = {id(t): leaf(a) for t, a in zip(inputs, arrays, strict=True) if a is not t.data}
        values = fn(*(fresh.get(id(a), a) for a in args), **kwargs)
        return np.concatenate([t.data.reshape(-1) for t in _outputs(values)])

    shape_rule = lambda *specs: Spec(packed.shape, packed.dtype)
    op = Op("checkpoint", evaluate, shape_rule, pull, push, r"\mathrm{{checkpoint}}({0}, \ldots)")
    whole = record(op, inputs, {}, packed)
    ends = accumulate(t.size for t in outputs)
    parts = [reshape(whole[end - t.size : end], t.shape) for t, end in zip(outputs, ends, strict=True)]
    if isinstance(result, Tensor):
        return parts[0]
    return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)


def _outputs(result: Any) -> list[Tensor]:
    outputs = [result] if isinstance(result, Tensor) else list(result)
    if any(not isinstance(t, Tensor) or not t.is_float or t.dtype != outputs[0].dtype for t in outputs):
        raise fail(
            DTypeError, "checkpoint: the function must give float tensors of one dtype",
            got=", ".join(describe(t) if isinstance(t, Tensor) else type(t).__name__ for t in outputs),
        )  # fmt: skip
    return outputs


def _used(outputs: list[Tensor], mark: int) -> tuple[Tensor, ...]:
    """The float tensors from before `mark` that `outputs` were computed from."""
    seen = {t.serial: t for t in outputs}
    stack = list(outputs)
    while stack:
        node = stack.pop()
        for t in node.inputs if node.serial > mark else ():
            if t.serial not in seen:
                seen[t.serial] = t
                stack.append(t)
    return tuple(t for serial, t in sorted(seen.items()) if serial < mark and t.is_float)
