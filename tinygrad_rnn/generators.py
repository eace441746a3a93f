"""Generators that a function finds around it, and what happens to those that are not drawn from by operations.

A function is recorded once. What it draws then by itself, and not by an operation of ``tg.random``, would be the same
numbers on every later call; so a generator that has moved while a function was recorded is an error.
"""

from __future__ import annotations

import dis
import random
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import islice
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from .errors import GeneratorError, fail
from .reading import JUMPS, imported, names_in
from .tensor import Op, Spec, Tensor

__all__ = [
    "Random", "check_made", "found_around", "made_of_a_seed", "moved_since", "put_back", "spawned_by", "state_of",
    "unmoved",
]  # fmt: skip

Random = (
    np.random.Generator | np.random.RandomState | random.Random | np.random.BitGenerator | np.random.SeedSequence
)  # fmt: skip
_METHODS: dict[str, Any] = {"np.random's global generator": np.random.rand, "Python's random": random.random}
GLOBAL: dict[str, Random] = {name: method.__self__ for name, method in _METHODS.items()}
MOST = 20_000  # values that are looked at; what lies behind more data is not looked for
_LIBRARIES = {*sys.stdlib_module_names, "tinygrad_rnn"}
_FRESH, _MOST_FRESH = 96, 128  # a number of so many bits was hardly written by hand, nor is it of the system's entropy
_INSTALLED = ("site-packages", "dist-packages")
_CALLED = {"__call__", "forward", "step", "initial_state", "loss"}  # methods that this package calls
_MAKERS = {"default_rng", "RandomState", "Random", "SeedSequence", "PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"}
_BETWEEN = ("PRECALL", "PUSH_NULL", "CACHE")  # instructions between a name and its call
_LOOPS = ("FOR_ITER", "SEND")  # they jump when a loop is over, which has had a turn before
_PLAIN = (int, float, complex, str, bytes, type(None), np.ndarray, np.generic, np.dtype, Tensor, Spec, Op, CodeType)


@contextmanager
def unmoved(name: str, fn: Any, *given: Any) -> Iterator[None]:
    """Raise if `fn`, which is recorded within the block, draws random numbers by itself.

    A generator that `fn` does not find around it and that moves while there are other threads was moved by one of them.

    Raises
    ------
    GeneratorError
        If NumPy's or Python's global generator has moved, or one that the function finds around it.
    """
    around = found_around(fn, *given)
    before = _states(around)
    reached = {id(g) for g in around.values()}
    alone = threading.active_count() == 1
    yield
    alone = alone and threading.active_count() == 1
    for where, g, state in before:
        if (alone or id(g) in reached) and _watched(g) != state:
            raise fail(
                GeneratorError, f"{name}: {_described(where, g)} moved while the function was recorded",
                expected="random numbers by operations, which draw on each call",
                got="numbers that would be the same on every call",
                hint="draw with tg.random, as tg.random.normal(shape, generator=rng); draw what is to stay the same, "
                "and spawn other generators, outside of the function",
            )  # fmt: skip


def moved_since(*given: Any) -> Callable[[], bool]:
    """Tells whether a generator has moved since, of those that functions find around them, or a global one.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.generators import moved_since
    >>> layer = tg.nn.Dropout(0.5)
    >>> has_drawn = moved_since(layer)
    >>> before, _ = has_drawn(), layer(tg.ones(3))
    >>> before, has_drawn()
    (False, True)
    """
    before = _states(found_around(*given)) if given else []
    return lambda: any(_watched(g) != state for _, g, state in before)


def _states(around: dict[str, Random]) -> list[tuple[str, Random, Any]]:
    """Generators and the global ones, each once, by where they are and with their states."""
    reached = {id(g) for g in around.values()}
    every = [*around.items(), *((where, g) for where, g in GLOBAL.items() if id(g) not in reached)]
    return [(where, g, _watched(g)) for where, g in every]


def check_made(name: str, codes: Iterable[CodeType], drawn: Sequence[Tensor], fn: Any, *given: Any) -> None:
    """Raise if these codes make a generator without a seed, and all draws are from those that `fn` finds around it.

    What one of them makes on a condition, as where none was given, does not count.

    Raises
    ------
    GeneratorError
        With the line that makes it.
    """
    found = [(code, line) for code in codes for line in _fresh_lines(code)]
    if not found:
        return
    known = {id(g) for g in found_around(fn, *given).values()}
    if any(id(t.params["generator"]) not in known for t in drawn):
        return
    code, line = found[0]
    raise fail(
        GeneratorError, f"{name}: {code.co_name}() makes a generator without a seed, {code.co_filename}:{line}",
        expected="one from outside, from which operations draw on each call",
        got="numbers that would be the same on every call",
        hint="make rng = np.random.default_rng() outside, and draw with tg.random.normal(shape, generator=rng)",
    )  # fmt: skip


def _described(where: str, g: Random) -> str:
    for name, known in GLOBAL.items():
        if g is known:
            return name
    inner = f"({type(g.bit_generator).__name__})" if isinstance(g, np.random.Generator) else ""
    return f"{type(g).__name__}{inner} '{where}'"


def _watched(g: Random) -> Any:
    """What moves with each draw, and with what is spawned."""
    return _comparable(state_of(g)), spawned_by(g)


def state_of(g: Random) -> Any:
    """What the next draws depend on; of a seed nothing, as it gives the same again."""
    if isinstance(g, np.random.Generator | np.random.BitGenerator):
        return _bits(g).state
    if isinstance(g, np.random.SeedSequence):
        return None
    return g.get_state(legacy=False) if isinstance(g, np.random.RandomState) else g.getstate()


def put_back(g: Random, state: Any) -> None:
    """Let a generator go on from a state that it was in."""
    if isinstance(g, np.random.Generator | np.random.BitGenerator):
        _bits(g).state = state
    elif isinstance(g, np.random.RandomState):
        g.set_state(state)
    elif isinstance(g, random.Random):
        g.setstate(state)


def spawned_by(g: Random) -> int:
    """How many others were made of a generator."""
    seed = g if isinstance(g, np.random.SeedSequence) else getattr(_bits(g), "seed_seq", None)
    return getattr(seed, "n_children_spawned", 0)


def _bits(g: Random) -> Any:
    return g.bit_generator if isinstance(g, np.random.Generator) else g


def _comparable(value: Any) -> Any:
    """A state in which arrays are bytes, so that it can be compared."""
    if isinstance(value, dict):
        return {k: _comparable(v) for k, v in value.items()}
    return value.tobytes() if isinstance(value, np.ndarray) else value


def made_of_a_seed(params: Sequence[dict[str, Any]]) -> list[tuple[np.random.Generator, Any]]:
    """Generators that nothing holds but these parameters of draws, with their states, if they were made of a seed.

    The function made them while it was recorded, and makes them anew, in the same state, whenever it is called. What
    was made of fresh entropy may as well go on.
    """
    holders: dict[int, list[dict[str, Any]]] = {}
    for held in params:
        holders.setdefault(id(held["generator"]), []).append(held)
    return [
        (held[0]["generator"], held[0]["generator"].bit_generator.state)
        for held in holders.values()
        if sys.getrefcount(held[0]["generator"]) == len({id(h) for h in held}) + 1
        and _is_seeded(held[0]["generator"].bit_generator)
    ]


def _is_seeded(bits: np.random.BitGenerator) -> bool:
    """Whether a number was given that is no entropy of the system's, of which NumPy takes 128 bits, or a state."""
    sequence: Any = getattr(bits, "seed_seq", None)
    entropy = getattr(sequence, "entropy", None)
    if isinstance(entropy, int) and 2**_FRESH <= entropy < 2**_MOST_FRESH:
        return _comparable(type(bits)(sequence).state) != _comparable(bits.state)
    return entropy is not None


def found_around(*given: Any) -> dict[str, Random]:
    """Generators that a function finds around it, by where they are, each once.

    They are looked for in its arguments, its closure, the globals that its code names, the user's functions that it
    calls, and the attributes of what is found.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.generators import found_around
    >>> list(found_around(tg.nn.Sequential(tg.nn.Dropout(0.5), tg.tanh)))
    ['layers[0].generator']
    """
    walk = _Search()
    for value in given:
        walk.begin(value)
    walk.run()
    return walk.found


class _Search:
    """From a function to all that it may use."""

    def __init__(self) -> None:
        self.found: dict[str, Random] = {}
        self.seen: dict[int, Any] = {}  # kept, so that no other object gets the same id
        self.todo: list[tuple[str, Any]] = []
        self.names = set(_CALLED)  # of attributes, in the code that was read
        self.classes: dict[type, str] = {}
        self.own: set[str] = set()  # packages of what the walk begins with, wherever they are installed

    def begin(self, value: Any) -> None:
        self.own.add(_top(getattr(value, "__module__", None)))
        self.push("", value)

    def run(self) -> None:
        while self.todo and len(self.seen) < MOST:
            where, value = self.todo.pop()
            self.look(where, value)
            if not self.todo:
                self.push_methods()

    def push(self, where: str, value: Any) -> None:
        if not isinstance(value, _PLAIN) and id(value) not in self.seen:
            self.seen[id(value)] = value
            self.todo.append((where, value))

    def look(self, where: str, value: Any) -> None:
        owner = value.__self__ if isinstance(value, MethodType | BuiltinMethodType) else None
        if isinstance(value, Random):
            self.note(where or type(value).__name__, value)
        elif isinstance(owner, Random):
            self.push(where.rpartition(".")[0] or where, owner)
        elif isinstance(value, MethodType):
            self.push(where, value.__self__)
            self.push(where, value.__func__)
        elif isinstance(value, FunctionType):
            self.function(value)
        elif isinstance(value, partial):
            for part in (value.func, value.args, value.keywords):
                self.push(where, part)
        elif isinstance(value, dict):
            for k, v in islice(value.items(), MOST):
                self.push(f"{where}[{k!r}]", v)
        elif isinstance(value, list | tuple | deque | set | frozenset):
            for k, v in enumerate(islice(value, MOST)):
                self.push(f"{where}[{k}]" if where else f"argument {k}", v)
        elif isinstance(value, type):
            self.classes.setdefault(value, where)
        elif not isinstance(value, ModuleType):
            self.instance(where, value)

    def note(self, where: str, g: Random) -> None:
        if isinstance(g, random.SystemRandom):
            return  # it has no state
        name, k = where, 2
        while name in self.found:
            name, k = f"{where} ({k})", k + 1
        self.found[name] = g

    def instance(self, where: str, value: Any) -> None:
        own = getattr(value, "__dict__", {})
        if "__wrapped__" in own:  # a function in a wrapper
            self.push(where, own["__wrapped__"])
            return
        self.classes.setdefault(type(value), where)
        slots = [s for kind in type(value).__mro__ for s in getattr(kind, "__slots__", ()) if isinstance(s, str)]
        held = {s: getattr(value, s) for s in slots if not s.startswith("__") and hasattr(value, s)}
        for name, part in {**held, **own}.items():
            self.push(f"{where}.{name}".lstrip("._"), part)

    def is_own(self, module: str | None) -> bool:
        """Whether code is the user's, so that what it names is looked for."""
        top = _top(module)
        return top not in _LIBRARIES and (top in self.own or not _is_installed(top))

    def function(self, fn: FunctionType) -> None:
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
        around = {name: cell.cell_contents for name, cell in cells.items() if _is_filled(cell)}
        for name, value in around.items():
            self.push(name, value)
        for value in (fn.__defaults__, fn.__kwdefaults__):
            self.push(fn.__name__, value)
        if not self.is_own(fn.__globals__.get("__name__")):  # a decorator may have exchanged __module__
            return
        named = names_in(fn.__code__)
        self.names |= named.read
        for chain in named.chains:
            self.chain(chain, around.get(chain[0], fn.__globals__.get(chain[0])))
        for name, taken in named.imports:
            module = imported(name, fn.__globals__)
            for part in taken or (named.read if module is not None and self.is_own(module.__name__) else ()):
                self.chain((name, part), module)

    def chain(self, chain: tuple[str, ...], value: Any) -> None:
        """What a dotted name in the code stands for, through modules."""
        depth = 1
        while isinstance(value, ModuleType) and depth < len(chain):
            value = vars(value).get(chain[depth])
            depth += 1
        if value is not None:
            self.push(".".join(chain[:depth]), value)

    def push_methods(self) -> None:
        """The methods of the user's classes whose names are called anywhere."""
        for kind, where in list(self.classes.items()):
            for part in kind.__mro__:
                own = vars(part).keys() if self.is_own(part.__module__) else ()
                for name in [n for n in own if n in self.names or (n.startswith("__") and callable(vars(part)[n]))]:
                    method = vars(part)[name]
                    self.push(where, getattr(method, "fget", None) or getattr(method, "__func__", method))


def _top(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _is_installed(top: str) -> bool:
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return any(folder in file for folder in _INSTALLED)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of the functions in it."""
    todo = [code]
    while todo:
        inner = todo.pop()
        todo += [c for c in inner.co_consts if isinstance(c, CodeType)]
        yield inner


@lru_cache(maxsize=4096)
def _fresh_lines(code: CodeType) -> tuple[int, ...]:
    """The lines that surely make a generator without a seed when the code runs, as ``np.random.default_rng()``."""
    lines: list[int] = []
    for inner in _codes(code):
        made, line, sure_from = False, inner.co_firstlineno, 0
        for i in dis.get_instructions(inner):
            line = i.positions.lineno if i.positions is not None and i.positions.lineno else line
            if i.opname.startswith("CALL") and made and not i.arg and i.offset >= sure_from:
                lines.append(line)
            if i.opname not in _BETWEEN:
                made = i.argval in _MAKERS
            if i.opname.startswith("RETURN") and i.offset < sure_from:
                break  # what follows may be left out
            if i.opcode in JUMPS and i.opname not in _LOOPS and i.argval > i.offset:
                sure_from = max(sure_from, i.argval)
    return tuple(lines)
