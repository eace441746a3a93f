"""``tg.compile``: record once for each signature, then run the program."""

from __future__ import annotations

import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from copy import copy
from functools import update_wrapper
from typing import Any

import numpy as np

from ..garbage import uncollected
from ..graph import flattened, rebuilt
from ..ops.core import as_array
from ..scope import current
from ..tensor import PLACEHOLDER, Spec, Tensor, leaf
from .arguments import Call
from .capture import capture
from .program import Program
from .turns import Turns

__all__ = ["Compiled", "compile"]


def compile(fn: Callable[..., Any] | None = None, *, memory: str | None = None, max_programs: int = 16) -> Any:
    """Make a version of `fn` that is recorded once for each signature, and runs as one compiled program from then on.

    Parameters
    ----------
    fn : callable
        Takes tensors, arrays, and anything else; gives tensors, in nested tuples, lists and dicts, or None. It may hold
        a complete training step: ``backward()``, clipping, ``optimizer.step()``. Parameters and the state of optimisers
        are then changed in place, in their own arrays.
    memory : "sqrt", optional
        Keep the forward values of about the square root of the number of time steps at a time, and compute the others
        again in the backward pass: less memory for one more forward pass.
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
    A function that forgets gradients and takes a step leaves None in ``.grad``; in any other way gradients are added up
    and left there as usual. Generators draw fresh numbers on each call, in the recorded order.

    Calls of one compiled function from several threads take turns. Functions that change the same parameters must not
    run at the same time, compiled or not.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([1.0, 2.0])
    >>> optimizer = tg.optim.SGD([w], lr=0.5)
    >>> @tg.compile
    ... def step(x):
    ...     optimizer.zero_grad()
    ...     loss = ((w - x) ** 2).sum()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> import numpy as np
    >>> x = np.zeros(2, np.float32)
    >>> step(x).item(), step(x).item(), w.tolist()
    (5.0, 0.0, [0.0, 0.0])
    """
    if memory not in (None, "sqrt"):
        raise ValueError(f"compile: memory must be None or 'sqrt', got {memory!r}")
    if fn is None:
        return lambda fn: Compiled(fn, max_programs, memory)
    return Compiled(fn, max_programs, memory)


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

    def __init__(self, fn: Callable[..., Any], max_programs: int = 16, memory: str | None = None) -> None:
        if not callable(fn):
            raise TypeError(f"compile: expected a function, got {type(fn).__name__}")
        if max_programs < 1:
            raise ValueError(f"compile: max_programs must be at least 1, got {max_programs}")
        update_wrapper(self, fn, updated=())
        self._fn = fn
        self._max_programs, self._memory = max_programs, memory
        self._cache: OrderedDict[Any, tuple[Program, Any]] = OrderedDict()
        self._watched: dict[Any, Any] = {}
        self._lock = Turns()  # of those who look for a program
        self._turns = Turns()  # of those who run one that changes something
        self._dropped = 0

    @property
    def programs(self) -> list[Program]:
        return [program for program, _ in self._cache.values()]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current().tracing is not None:
            return self._fn(*args, **kwargs)  # part of the function that is being recorded
        arrays: list[np.ndarray] = []
        key = self._key(args, kwargs, arrays)
        with self._lock:
            program, form = self._found(key, args, kwargs, arrays)
        results = program.run_fitting(arrays)
        return rebuilt(form, iter([leaf(a) for a in results])) if form is not None else None

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The program for these arguments, recorded if need be, but not run."""
        arrays: list[np.ndarray] = []
        key = self._key(args, kwargs, arrays)
        with self._lock:
            return self._found(key, args, kwargs, arrays)[0]

    def _key(self, args: Any, kwargs: Any, arrays: list[np.ndarray]) -> Any:
        structure = _signature((args, kwargs), arrays)
        return structure, tuple([(a.shape, a.dtype) for a in arrays]), current().recording

    def _state(self, key: Any) -> Any:
        """What else was found to matter: which tensors have a gradient, which modules train."""
        tensors, modules = self._watched.get(key, ((), ()))
        return key, tuple([t.grad is not None for t in tensors]), tuple([m.training for m in modules])

    def _found(self, key: Any, args: Any, kwargs: Any, arrays: list[np.ndarray]) -> tuple[Program, Any]:
        full = self._state(key)
        found = self._cache.get(full)
        if found is not None:
            self._cache.move_to_end(full)
            return found
        found = self._recorded(args, kwargs, arrays)
        self._watch(key, *found[0].recording.watched)
        self._cache[self._state(key)] = found
        if len(self._cache) > self._max_programs:
            self._drop()
        return found

    def _watch(self, key: Any, tensors: list[Tensor], modules: list[Any]) -> None:
        """Note what mattered to a recording, beside what mattered to others of the same signature."""
        known = self._watched.setdefault(key, ([], []))
        for listed, new in zip(known, (tensors, modules), strict=True):
            listed += [x for x in new if all(x is not y for y in listed)]

    def _drop(self) -> None:
        full, _ = self._cache.popitem(last=False)
        if all(other[0] != full[0] for other in self._cache):
            self._watched.pop(full[0], None)
        self._dropped += 1
        if self._dropped == self._max_programs:
            warnings.warn(
                f"{self!r} has been recorded for {2 * self._max_programs} signatures; pad inputs to a few lengths, "
                "pass numbers that change as arrays, or raise max_programs",
                RuntimeWarning,
                stacklevel=4,
            )

    def _recorded(self, args: Any, kwargs: Any, arrays: list[np.ndarray]) -> tuple[Program, Any]:
        began = time.perf_counter()
        named = zip(arrays, _named(args, kwargs), strict=True)
        placeholders = [leaf(Spec(a.shape, a.dtype), PLACEHOLDER, name=n, requires_grad=r) for a, (n, r) in named]
        form: list[Any] = []

        def traced(given: list[Tensor]) -> list[Tensor]:
            args_, kwargs_ = _substituted((args, kwargs), iter(given))
            result = self._fn(*args_, **kwargs_)
            outputs: list[Tensor] = []
            form.append(None if result is None else flattened(result, outputs, "compile"))
            return outputs

        with uncollected():
            recording = capture(traced, placeholders)
            recording.call = Call.of(args, kwargs, form[0])
            return Program(recording, time.perf_counter() - began, self._memory, self._turns), form[0]

    def __repr__(self) -> str:
        return f"<compiled {getattr(self._fn, '__qualname__', type(self._fn).__name__)}, {len(self._cache)} programs>"


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray | np.generic)


def _signature(value: Any, arrays: list[np.ndarray]) -> Any:
    """What does not change between calls of one program; arrays are added to the list."""
    kind = type(value)
    if kind is np.ndarray or _is_array(value):
        arrays.append(_array(value))
        return kind is Tensor and value.requires_grad
    if kind is tuple or kind is list or isinstance(value, tuple | list):
        return kind, tuple([_signature(v, arrays) for v in value])
    if isinstance(value, dict):
        return kind, tuple([(k, _signature(v, arrays)) for k, v in value.items()])
    if kind is float:
        return kind, repr(value)  # 0.0 and -0.0 differ, NaN equals itself
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
        raise TypeError("compile: an argument is symbolic, which is left of a function that was traced")
    return as_array(data)


def _named(args: Any, kwargs: Any) -> Iterator[tuple[str, bool]]:
    """For each array among the arguments a name, and whether it is a parameter."""
    for place, value in [*enumerate(args), *kwargs.items()]:
        name = f"x{place}" if isinstance(place, int) else place
        arrays = _arrays(value)
        for k, a in enumerate(arrays):
            own = a.name if isinstance(a, Tensor) else None
            yield own or (name if len(arrays) == 1 else f"{name}_{k}"), isinstance(a, Tensor) and a.requires_grad


def _arrays(value: Any) -> list[Any]:
    """The arrays and tensors in an argument."""
    if _is_array(value):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [a for part in parts for a in _arrays(part)]


def _substituted(value: Any, given: Iterator[Tensor]) -> Any:
    """`value` with placeholders instead of arrays."""
    if _is_array(value):
        return next(given)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[_substituted(v, given) for v in value])
    if isinstance(value, tuple | list):
        return type(value)([_substituted(v, given) for v in value])
    if isinstance(value, dict):
        same = copy(value)
        same.update((k, _substituted(v, given)) for k, v in value.items())
        return same
    return value
