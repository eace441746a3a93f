"""``tg.compile``: record once for each signature, then run the program."""

from __future__ import annotations

import inspect
import threading
import time
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import update_wrapper
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from ..changes import Observed, seen_elsewhere
from ..errors import GeneratorError, fail
from ..garbage import uncollected
from ..generators import check_made, unmoved
from ..nested import mapped, parts, rebuilt, taken_apart
from ..ops.core import as_array
from ..scope import current, warn
from ..settings import check_count
from ..tensor import PLACEHOLDER, Spec, Tensor, leaf
from ..unreached import complaint, unreached
from .advice import widened
from .arguments import Call, is_array, repeated
from .capture import Recording, capture
from .guards import Cause, Entry, Guards, Same, plain_key
from .program import Program
from .reach import Reach
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
    GeneratorError
        On a call, where `fn` draws random numbers itself and not by ``tg.random``: they would be the same for ever.

    Notes
    -----
    A function that forgets gradients and takes a step leaves None in ``.grad``; in any other way gradients are added up
    and left there as usual. What ``tg.random`` and dropout draw is fresh on each call, in the recorded order; a
    generator that `fn` makes of a seed begins anew, as it does when `fn` is called.

    What the function finds around it is guarded, and a change records anew: attributes of modules, ``requires_grad``,
    methods of the user's classes, and the globals, imports and variables of outer functions that its code names, or
    that of the user's functions that it calls. What it sets itself counts as a change too, and is set again on each
    call. What has changed for the third time gets a warning that names it, and is frozen from then on if the function
    sets it itself. Entries of other objects are constants. Programs keep the modules and tensors alive that they were
    recorded with.

    Parameters that an optimiser of the function holds and its loss does not reach are named in a warning when it is
    recorded, once, frozen ones apart.

    As a method it binds ``self``, and each object has programs of its own, which are gone when the object is.

    Several threads may call one compiled function at the same time; those calls that change something take turns.
    Different functions that change the same parameters must not run at the same time, compiled or not.

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


@dataclass(slots=True, eq=False)
class _Recorded:
    """A program, what it was recorded for, and the form of its results."""

    key: Any
    program: Program
    form: Any
    guards: Guards


class _Cache:
    """The programs of one function, or of one method of one object."""

    def __init__(self) -> None:
        self.seekers, self.turns = Turns(), Turns()  # to look for a program; to run one that changes something
        self.by_key: dict[Any, list[_Recorded]] = {}  # the last used one last
        self.order: OrderedDict[_Recorded, None] = OrderedDict()  # the last used one last
        self.causes: dict[Any, Counter[Cause]] = {}  # how many programs were recorded because of what, by key
        self.warned: set[Cause] = set()
        self.warned_of_left: set[Cause] = set()
        self.reached: set[int] = set()  # serial numbers of parameters that are trained, or of which it was said
        self.warned_of_width = False
        self.ignored: dict[Cause, Any] = {}  # what is not guarded, and what holds it
        self.dropped = 0

    def found(self, key: Any) -> _Recorded | None:
        """The program whose guards hold, the last used one first."""
        listed = self.by_key.get(key, [])
        for k in range(len(listed) - 1, -1, -1):
            recorded = listed[k]
            if recorded.guards.hold():
                if k != len(listed) - 1:
                    listed.append(listed.pop(k))
                self.order.move_to_end(recorded)
                return recorded
        return None

    def add(self, recorded: _Recorded) -> None:
        self.by_key.setdefault(recorded.key, []).append(recorded)
        self.order[recorded] = None

    def drop(self) -> None:
        """Forget the program that was not used for longest."""
        recorded, _ = self.order.popitem(last=False)
        listed = self.by_key[recorded.key]
        listed.remove(recorded)
        if not listed:
            del self.by_key[recorded.key]
            self.causes.pop(recorded.key, None)
        self.dropped += 1

    def causes_of(self, key: Any) -> list[Entry]:
        """What has changed since the program was recorded that comes nearest to being right."""
        return min([r.guards.causes() for r in reversed(self.by_key.get(key, ()))], key=len, default=[])

    def count(self, key: Any, causes: list[Entry]) -> None:
        """Count what has made another program necessary."""
        self.causes.setdefault(key, Counter()).update(entry.cause for entry in causes)

    def forget(self, entry: Entry) -> None:
        """Guard something no more."""
        self.ignored[entry.cause] = entry.owner
        for recorded in self.order:
            recorded.guards.forget(entry.cause)


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

    def __init__(
        self, fn: Callable[..., Any], max_programs: int = 16, memory: str | None = None, part_of: str = ""
    ) -> None:
        if not callable(fn) and not isinstance(fn, classmethod):
            raise TypeError(f"compile: expected a function, got {type(fn).__name__}")
        check_count("compile: max_programs", max_programs)
        update_wrapper(self, fn, updated=())
        self._fn: Any = fn
        self._max_programs, self._memory = max_programs, memory
        self._part_of = part_of  # what also looks at which parameters the loss reaches
        self._ordered = _takes_any_name(fn)
        self._owner: type | None = None  # the class whose method it is
        self._cache, self._objects = _Cache(), _Objects()

    @property
    def programs(self) -> list[Program]:
        with self._cache.seekers.lock:
            return [recorded.program for recorded in self._cache.order]

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if self._owner is not None and args and isinstance(args[0], self._owner):
            return self.__get__(args[0])(*args[1:], **kwargs)
        if current().tracing is not None:
            return self._fn(*args, **kwargs)  # part of the function that is being recorded
        arrays: list[np.ndarray] = []
        args, kwargs, key = self._key(args, kwargs, arrays)
        with self._cache.seekers.lock:
            recorded = self._found(key, args, kwargs, arrays)
        results = recorded.program.run_fitting(arrays)
        return rebuilt(recorded.form, iter([leaf(a) for a in results])) if recorded.form is not None else None

    def program(self, /, *args: Any, **kwargs: Any) -> Program:
        """The program for these arguments, recorded if need be, but not run."""
        if self._owner is not None and args and isinstance(args[0], self._owner):
            return self.__get__(args[0]).program(*args[1:], **kwargs)
        arrays: list[np.ndarray] = []
        args, kwargs, key = self._key(args, kwargs, arrays)
        with self._cache.seekers.lock:
            return self._found(key, args, kwargs, arrays).program

    def _key(self, args: Any, kwargs: Any, arrays: list[np.ndarray]) -> tuple[Any, Any, Any]:
        """The arguments, those with names in a fixed order where order says nothing, and their signature."""
        if len(kwargs) > 1 and not self._ordered:
            kwargs = dict(sorted(kwargs.items()))
        owners: list[Any] = []
        try:
            structure = _signature(args, arrays, owners), _signature(kwargs, arrays, owners)
        except RecursionError:
            raise fail(
                ValueError, "compile: an argument is nested too deeply, or contains itself",
                expected="arrays, tensors, numbers, and tuples, lists and dicts of them",
            ) from None  # fmt: skip
        specs = tuple([(a.shape, a.dtype) for a in arrays])
        return args, kwargs, (structure, specs, current().recording, repeated(owners))

    def _found(self, key: Any, args: Any, kwargs: Any, arrays: list[np.ndarray]) -> _Recorded:
        cache = self._cache
        found = cache.found(key)
        if found is not None:
            if found.guards.sets:
                found.guards.set_again()
            return found
        with seen_elsewhere() as changed:
            causes = cache.causes_of(key)
            recorded = self._recorded(key, args, kwargs, arrays)
        self._tell(recorded.program, recorded.guards.modules)
        cache.count(key, causes)
        if recorded.guards.concern(changed):
            return recorded  # good for this call; of the next it is not known which state it was recorded in
        cache.add(recorded)
        for entry in causes:
            if cache.causes[key][entry.cause] >= 3 and entry.cause not in cache.ignored:
                unread = None if recorded.guards.is_read(entry) else "does not read it"
                self._often(entry, "sets it itself" if entry.cause in recorded.guards.changed else unread)
        for entry in recorded.guards.left:
            self._warn_of_left(entry)
        if len(cache.order) > self._max_programs:
            self._drop()
        return recorded

    def _tell(self, program: Program, modules: list[Observed]) -> None:
        """Warn once of parameters that an optimiser holds and no program has a gradient for, and of wide arguments."""
        cache, recording = self._cache, program.recording
        name = self._part_of or f"compile, {getattr(self._fn, '__qualname__', type(self._fn).__name__)}"
        cache.reached |= {t.serial for t in recording.written}
        missing = unreached(recording.optimizers, cache.reached) if not self._part_of else []
        if missing:
            warn(complaint(RuntimeWarning, name, missing, modules))
            cache.reached |= {p.serial for p in missing}
        wide = None if cache.warned_of_width else widened(name, program)
        if wide is not None:
            cache.warned_of_width = True
            warn(wide)

    def _often(self, entry: Entry, idle: str | None) -> None:
        """Warn of what changes again and again; guard it no more if the function, as `idle` says, has no use for it."""
        cache = self._cache
        if idle is not None:
            cache.forget(entry)
        if entry.cause not in cache.warned:
            cache.warned.add(entry.cause)
            then = f"; the function {idle}, so it is not looked at any more: it is frozen from now on" if idle else ""
            warn(RuntimeWarning(
                f"{self!r} was recorded anew for the third time because {entry.label} has changed{then}; "
                "pass what changes as an array argument, or keep it out of the module"
            ))  # fmt: skip

    def _warn_of_left(self, entry: Entry) -> None:
        """Warn of a tensor that the function keeps somewhere: no call but the recording one does so."""
        cause = entry.cause
        if cause not in self._cache.warned_of_left:
            self._cache.warned_of_left.add(cause)
            warn(RuntimeWarning(
                f"{self!r} leaves a tensor without a value in {entry.label}, which it sets only while it is recorded; "
                "return it, and pass it as an argument where a later call uses it"
            ))  # fmt: skip

    def _drop(self) -> None:
        self._cache.drop()
        if self._cache.dropped == self._max_programs:
            warn(RuntimeWarning(
                f"{self!r} has been recorded for {2 * self._max_programs} signatures; pad inputs to a few lengths, "
                "pass numbers that change as arrays, or raise max_programs"
            ))  # fmt: skip

    def _recorded(self, key: Any, args: Any, kwargs: Any, arrays: list[np.ndarray]) -> _Recorded:
        began = time.perf_counter()
        named = zip(arrays, _named(args, kwargs), strict=True)
        placeholders = [leaf(Spec(a.shape, a.dtype), PLACEHOLDER, name=n, requires_grad=r) for a, (n, r) in named]
        form: list[Any] = [None]
        same = dict(key[-1])

        def traced(given: list[Tensor]) -> list[Tensor]:
            given = [given[same.get(k, k)] for k in range(len(given))]
            args_, kwargs_ = mapped(_next_array_of(given), (args, kwargs), "compile")
            result = self._fn(*args_, **kwargs_)
            outputs, form[0] = taken_apart(result, "compile") if result is not None else ([], None)
            return outputs

        with uncollected():
            recording, guards = self._captured(traced, placeholders, args, kwargs)
            recording.call = Call.of(args, kwargs, form[0], key[-1])
            guards.settle([*recording.bound.values(), *recording.watched], recording.watched)
            program = Program(recording, time.perf_counter() - began, self._memory, self._cache.turns)
        return _Recorded(key, program, form[0], guards)

    def _captured(self, traced: Any, placeholders: list[Tensor], args: Any, kwargs: Any) -> tuple[Recording, Guards]:
        """Record; once more if a generator has moved that another thread may have drawn from."""
        for patience in (0.01, 0.1, None):
            reach = Reach().follow(_roots(self._fn, args, kwargs))
            guards = Guards(reach, set(self._cache.ignored))
            try:
                with unmoved("compile", self._fn, args, kwargs):
                    recording = capture(traced, placeholders, guards.meet)
            except GeneratorError:
                if patience is None or threading.active_count() == 1:
                    raise
                time.sleep(patience)
            else:
                check_made("compile", reach.codes, recording.drawn, self._fn, args, kwargs)
                return recording, guards
        raise AssertionError("one of the attempts returns or raises")

    # As a method ----------------------------------------------------------------------------------------------------

    def __set_name__(self, owner: type, name: str) -> None:
        if isinstance(self._fn, FunctionType):
            self._owner = owner

    def __get__(self, instance: Any, owner: type | None = None) -> Compiled:
        """The function for one object, with programs of its own."""
        if isinstance(self._fn, classmethod):
            kind = owner if owner is not None else type(instance)
            return self._of(self._fn.__get__(None, kind), self._cache_of(kind))
        if instance is None or not isinstance(self._fn, FunctionType):
            return self
        return self._of(self._fn.__get__(instance, type(instance)), self._cache_of(instance))

    def _cache_of(self, instance: Any) -> _Cache:
        """The programs for an object, which holds them where it can, so that they are gone when it is."""
        own = None if isinstance(instance, type) else getattr(instance, "__dict__", None)
        if own is None:
            return self._objects.cache_of(instance, self._max_programs)
        methods = own.get("_compiled_methods")
        if methods is None or methods.owner is not instance:  # or that of another, of which this one is a copy
            methods = own["_compiled_methods"] = _Methods(instance)
        found = methods.caches.get(self)
        return found if found is not None else methods.caches.setdefault(self, _Cache())

    def _of(self, fn: Any, cache: _Cache) -> Compiled:
        """As this one, but of another function, with these programs."""
        other = object.__new__(Compiled)
        vars(other).update(vars(self))
        other._fn = other.__wrapped__ = fn  # type: ignore[attr-defined]
        other._cache, other._owner, other._objects = cache, None, _Objects()
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        copy = memo[id(self)] = self._of(self._fn, _Cache())
        copy._fn = copy.__wrapped__ = deepcopy(self._fn, memo)  # type: ignore[attr-defined]
        copy._owner = self._owner
        return copy

    def __reduce__(self) -> Any:
        return Compiled, (self._fn, self._max_programs, self._memory, self._part_of)

    def __repr__(self) -> str:
        name = getattr(self._fn, "__qualname__", type(self._fn).__name__)
        count = len(self._cache.order)
        return f"<compiled {name}, {count} program{'s' if count != 1 else ''}>"


class _Methods:
    """The programs of an object's compiled methods, kept in its ``__dict__``; a copy of it has none."""

    def __init__(self, owner: Any = None) -> None:
        self._owner: Callable[[], Any]
        try:
            self._owner = weakref.ref(owner)
        except TypeError:  # there are no weak references to it, nor to None
            self._owner = lambda: owner
        self.caches: dict[Compiled, _Cache] = {}

    @property
    def owner(self) -> Any:
        return self._owner()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Methods:
        return _Methods()

    def __reduce__(self) -> Any:
        return _Methods, ()


class _Objects:
    """The programs of a compiled method for objects without a ``__dict__``, and for classes.

    Those to which there are no weak references are kept alive, but no more of them than there may be programs.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[Callable[[], Any], _Cache]] = OrderedDict()

    def cache_of(self, instance: Any, most: int) -> _Cache:
        at = id(instance)
        found = self._kept.get(at)
        if found is not None and found[0]() is instance:
            return found[1]
        kept, cache = self._kept, _Cache()
        try:
            kept[at] = weakref.ref(instance, lambda _: kept.pop(at, None)), cache
        except TypeError:
            kept[at] = (lambda: instance), cache
            strong = [k for k, (refer, _) in kept.items() if not isinstance(refer, weakref.ref)]
            for k in strong[:-most]:
                del kept[k]
        return cache


def _takes_any_name(fn: Any) -> bool:
    """Whether the order of arguments with names may say something, as it does where any names are taken."""
    try:
        taken = inspect.signature(fn.forward if isinstance(fn, Observed) and hasattr(fn, "forward") else fn).parameters
    except (TypeError, ValueError):
        return True
    return any(p.kind is p.VAR_KEYWORD for p in taken.values())


def _roots(fn: Any, args: Any, kwargs: Any) -> Iterator[tuple[str, Any]]:
    """The function and its arguments, as messages call them."""
    yield (type(fn).__name__ if isinstance(fn, Observed) else ""), fn
    code = getattr(inspect.unwrap(getattr(fn, "__func__", fn)), "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    names = names[isinstance(fn, MethodType) :]
    for k, value in enumerate(args):
        yield (names[k] if k < len(names) else f"argument {k}"), value
    yield from kwargs.items()


_SEQUENCES = (tuple, list)  # ready: a step asks for each of its arguments


def _signature(value: Any, arrays: list[np.ndarray], owners: list[Any]) -> Any:
    """What does not change between calls of one program; arrays, and what they are of, are added to the lists."""
    kind = type(value)
    if kind is Tensor or is_array(value):
        arrays.append(_array(value))
        owners.append(value)
        return kind is Tensor and value._requires_grad
    if isinstance(value, _SEQUENCES):
        return kind, tuple([_signature(v, arrays, owners) for v in value])
    if isinstance(value, dict):
        return kind, tuple([(_fixed(k), _signature(v, arrays, owners)) for k, v in value.items()])
    if isinstance(value, Observed):
        return Same(value)
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"compile: an argument of type {kind.__name__} cannot be part of a signature; pass arrays, tensors, "
            "numbers, and tuples, lists and dicts of them"
        ) from None
    return _fixed(value)


def _fixed(value: Any) -> Any:
    """A value that is part of the signature, as it is compared."""
    kind = type(value)
    if kind is tuple or kind is frozenset:
        return kind, kind(map(_fixed, value))
    return plain_key(value) or (kind, value)


def _array(value: Any) -> np.ndarray:
    data = value.data if isinstance(value, Tensor) else value
    if type(data) is Spec:
        raise TypeError("compile: an argument is symbolic, which is left of a function that was traced")
    return as_array(data)


def _named(args: Any, kwargs: Any) -> Iterator[tuple[str, bool]]:
    """For each array among the arguments a name, and whether it is a parameter."""
    for place, value in [*enumerate(args), *kwargs.items()]:
        name = f"x{place}" if isinstance(place, int) else place
        arrays = [part for part in parts(value, "compile") if is_array(part)]
        for k, a in enumerate(arrays):
            own = a.name if isinstance(a, Tensor) else None
            yield own or (name if len(arrays) == 1 else f"{name}_{k}"), isinstance(a, Tensor) and a.requires_grad


def _next_array_of(given: list[Tensor]) -> Callable[[Any], Any]:
    """A function that exchanges arrays and tensors for those that are given."""
    left = iter(given)
    return lambda part: next(left) if is_array(part) else part
