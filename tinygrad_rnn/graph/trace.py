"""A function recorded over placeholders."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ..effects import Effects
from ..generators import unmoved
from ..nested import taken_apart
from ..scope import using
from ..tensor import PLACEHOLDER, Spec, Tensor, leaf
from .graph import Graph

__all__ = ["trace"]


def trace(fn: Any, *specs: Any) -> Graph:
    """Record `fn` over placeholders, which have shape and dtype but no value.

    Parameters
    ----------
    fn : callable
        Takes tensors; gives a tensor, or nested tuples, lists and dicts of tensors.
    specs : Spec, shape, or array
        For each argument: a :class:`Spec`, a shape (float32), or an array or tensor to take both from.

    Returns
    -------
    Graph
        To be drawn, printed, differentiated, and called with arrays.

    Raises
    ------
    PlaceholderError
        If `fn` asks a placeholder for its value, as ``if x > 0`` does.
    GeneratorError
        If `fn` draws random numbers itself and not by ``tg.random``.
    TypeError
        If `fn` changes parameters, or gives anything but tensors.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> g = tg.trace(lambda x: tg.grad((x * x).sum(), x), (2,))
    >>> g([1.0, 2.0]).tolist()
    [2.0, 4.0]
    """
    names = _argument_names(fn, len(specs))
    placeholders = [leaf(_spec(s), PLACEHOLDER, name=n) for s, n in zip(specs, names, strict=True)]
    effects = Effects()
    with unmoved("trace", fn), using(lambda s: replace(s, tracing=effects)):
        result = fn(*placeholders)
    if effects.changed:
        raise TypeError("trace: the function changes parameters, which a graph cannot do; use tg.compile")
    outputs, form = taken_apart(result, "trace")
    return Graph(outputs, placeholders, form, [*effects.ranges, *effects.drawn])


def _spec(given: Any) -> Spec:
    if isinstance(given, Spec):
        return given
    if isinstance(given, int | tuple | list):
        return Spec(tuple([given] if isinstance(given, int) else given))
    if isinstance(given, float):
        return Spec(())
    array = given if isinstance(given, Tensor) else np.asarray(given)
    return Spec(array.shape, array.dtype)


def _argument_names(fn: Any, count: int) -> list[str]:
    parameters: Iterable[inspect.Parameter] = ()
    with suppress(TypeError, ValueError):  # some builtins have no signature
        parameters = inspect.signature(getattr(fn, "forward", fn)).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [names[k] if k < len(names) else f"x{k}" for k in range(count)]
