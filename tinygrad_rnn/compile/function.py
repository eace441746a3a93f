"""``tg.compile``: record once for each signature, then run the program."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from typing import Any

import numpy as np

from ..graph import flattened, rebuilt
from ..nn.module import Module
from ..ops.core import as_array
from ..tensor import PLACEHOLDER, Spec, Tensor, leaf
from .capture import capture
from .program import Program

__all__ = ["Compiled", "compile"]


def compile(fn: Callable[..., Any], *, max_programs: int = 16) -> Compiled:
    """Make a version of `fn` that is recorded once for each signature, and runs as one compiled program from then on.

    Parameters
    ----------
    fn : callable
        Takes tensors, arrays, and anything else; gives tensors, in nested tuples, lists and dicts, or None. It may hold
        a complete training step: ``backward()``, clipping, ``optimizer.step()``. Parameters and the state of optimisers
        are then changed in place, in their own arrays.
    max_programs : int
        How many signatures are kept; the one that was not used for longest goes first.

    Returns
    -------
    Compiled
        Called as `fn` is. Arrays and tensors may hold other values on each call; everything else (Python numbers,
        strings, modules) is part of the signature, and a new value is recorded anew.

    Raises
    ------
    PlaceholderError
        On a call, where `fn` asks for a value, as ``if x > 0`` does: there is none while it is recorded.

    Notes
    -----
    Gradients that an optimiser's step has used up are gone afterwards; those that `fn` only computes are added to
    ``.grad`` as usual. Generators draw fresh numbers on each call.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([1.0, 2.0])
    >>> optimizer = tg.optim.SGD([w], lr=0.5)
    >>> @tg.compile
    ... def step(x):
    ...     loss = ((w - x) ** 2).sum()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> import numpy as np
    >>> x = np.zeros(2, np.float32)
    >>> step(x).item(), step(x).item(), w.tolist()
    (5.0, 0.0, [0.0, 0.0])
    """
    return Compiled(fn, max_programs)


class Compiled:
    """A compiled function; see :func:`compile`.

    Attributes
    ----------
    programs : list of Program
        One for each signature, the last used one last.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> double = tg.compile(lambda x: x * 2)
    >>> double(np.ones(2)).tolist(), len(double.programs)
    ([2.0, 2.0], 1)
    """

    def __init__(self, fn: Callable[..., Any], max_programs: int) -> None:
        if not callable(fn):
            raise TypeError(f"compile: expected a function, got {type(fn).__name__}")
        if max_programs < 1:
            raise ValueError(f"compile: max_programs must be at least 1, got {max_programs}")
        update_wrapper(self, fn, updated=())
        self._fn = fn
        self._max_programs = max_programs
        self._cache: OrderedDict[Any, tuple[Program, Any]] = OrderedDict()
        self._lock = threading.RLock()  # a program has one arena, so calls take turns
        self._dropped = 0

    @property
    def programs(self) -> list[Program]:
        return [program for program, _ in self._cache.values()]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        arrays: list[np.ndarray] = []
        structure = _signature((args, kwargs), arrays)
        key = structure, tuple([(a.shape, a.dtype) for a in arrays]), self._mode()
        with self._lock:
            found = self._cache.get(key)
            if found is None:
                found = self._recorded(key, args, kwargs, arrays)
            else:
                self._cache.move_to_end(key)
            program, form = found
            results = program.run(arrays)
        return rebuilt(form, iter([leaf(a) for a in results])) if form is not None else None

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The program for these arguments, recorded if need be, but not run."""
        arrays: list[np.ndarray] = []
        structure = _signature((args, kwargs), arrays)
        key = structure, tuple([(a.shape, a.dtype) for a in arrays]), self._mode()
        with self._lock:
            return (self._cache.get(key) or self._recorded(key, args, kwargs, arrays))[0]

    def _mode(self) -> Any:
        """Whether the modules that the function is a method of are training."""
        owner = self._fn if isinstance(self._fn, Module) else getattr(self._fn, "__self__", None)
        return tuple([m.training for m in owner.modules()]) if isinstance(owner, Module) else ()

    def _recorded(self, key: Any, args: Any, kwargs: Any, arrays: list[np.ndarray]) -> tuple[Program, Any]:
        began = time.perf_counter()
        placeholders = [leaf(Spec(a.shape, a.dtype), PLACEHOLDER, name=n) for a, n in zip(arrays, _names(args, kwargs))]
        form: list[Any] = []

        def traced(given: list[Tensor]) -> list[Tensor]:
            args_, kwargs_ = _substituted((args, kwargs), iter(given))
            result = self._fn(*args_, **kwargs_)
            outputs: list[Tensor] = []
            form.append(None if result is None else flattened(result, outputs))
            return outputs

        with _uncollected():
            recording = capture(traced, placeholders)
            found = Program(recording, time.perf_counter() - began), form[0]
        self._cache[key] = found
        if len(self._cache) > self._max_programs:
            self._cache.popitem(last=False)
            self._dropped += 1
            if self._dropped == self._max_programs:
                warnings.warn(
                    f"{self!r} has been recorded for {2 * self._max_programs} signatures; pad inputs to a few lengths, "
                    "pass numbers that change as arrays, or raise max_programs",
                    RuntimeWarning,
                    stacklevel=3,
                )
        return found

    def __repr__(self) -> str:
        return f"<compiled {getattr(self._fn, '__qualname__', type(self._fn).__name__)}, {len(self._cache)} programs>"


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for circles: a graph has many nodes and no circle, so it would find nothing, slowly."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray | np.generic)


def _signature(value: Any, arrays: list[np.ndarray]) -> Any:
    """What does not change between calls of one program; arrays are added to the list."""
    kind = type(value)
    if kind is np.ndarray or _is_array(value):
        arrays.append(_array(value))
        return None
    if kind is tuple or kind is list or isinstance(value, tuple | list):
        return kind, tuple([_signature(v, arrays) for v in value])
    if isinstance(value, dict):
        return kind, tuple([(k, _signature(v, arrays)) for k, v in value.items()])
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"compile: an argument of type {kind.__name__} cannot be part of a signature; pass arrays, tensors, "
            "numbers, and tuples, lists and dicts of them"
        ) from None
    return kind, value


def _array(value: Any) -> np.ndarray:
    data = value.data if isinstance(value, Tensor) else value
    if type(data) is Spec:
        raise TypeError("compile: a compiled function cannot be called while another function is traced")
    return as_array(data)


def _names(args: Any, kwargs: Any) -> Iterator[str]:
    """A name for each array among the arguments."""
    for place, value in [*enumerate(args), *kwargs.items()]:
        arrays: list[np.ndarray] = []
        _signature(value, arrays)
        name = f"x{place}" if isinstance(place, int) else place
        yield from ([name] if len(arrays) == 1 else [f"{name}_{k}" for k in range(len(arrays))])


def _substituted(value: Any, given: Iterator[Tensor]) -> Any:
    """`value` with placeholders instead of arrays."""
    if _is_array(value):
        return next(given)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[_substituted(v, given) for v in value])
    if isinstance(value, tuple | list):
        return type(value)([_substituted(v, given) for v in value])
    if isinstance(value, dict):
        return type(value)((k, _substituted(v, given)) for k, v in value.items())
    return value
