"""Calls of public functions: whatever is wrong with one is said in words of ours.

A function runs as it is. If it raises what none of our lines raised, an AttributeError from inside or an overflow of
NumPy's, then the call is looked at: whether it fits the signature, and its arguments what the signature says of them;
and the error says operation, expected, got, and what to do. What a function of the user's raises that we call is left
alone, and so is what the system says of files.
"""

from __future__ import annotations

import collections.abc
import dis
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import update_wrapper
from pathlib import Path
from types import FrameType, FunctionType, TracebackType, UnionType
from typing import Any, TypeVar

import numpy as np

from .errors import brief, fail
from .foreign import KEYWORDS, replacement

__all__ = ["answered", "answers", "as_it_is", "class_answers", "is_library", "no_circle", "wrong_call"]

_LIBRARIES = (str(Path(np.__file__).parent.parent) + os.sep, str(Path(os.__file__).parent) + os.sep, "<frozen")
F = TypeVar("F", bound=Callable[..., Any])
_KEPT = (OSError, ImportError, AssertionError, MemoryError, Warning)  # what the system says, and what a test found


def answers(module: str) -> None:
    """Have the public functions and classes of a module, and of the modules in it, answer for wrong calls.

    Parameters
    ----------
    module : str
        Its ``__name__``; what its ``__all__`` lists is taken, and put back also where it is defined.
    """
    names = vars(sys.modules[module])
    for name in names["__all__"]:
        found = names.get(name)
        if isinstance(found, types.ModuleType) and found.__name__.startswith(__package__):
            answers(found.__name__)
        elif inspect.isclass(found) and not issubclass(found, Exception):
            for kind in found.__mro__:
                if kind.__module__.startswith(__package__):
                    class_answers(kind)
        elif isinstance(found, FunctionType):
            names[name] = answer = answered(found)
            home = vars(sys.modules[found.__module__])
            if home.get(answer.__name__) is found:
                home[answer.__name__] = answer


def class_answers(kind: type) -> None:
    """Have the public methods of a class answer for wrong calls, and how an instance is made."""
    for name, member in list(vars(kind).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, FunctionType):
            setattr(kind, name, answered(member))
        elif isinstance(member, classmethod | staticmethod) and isinstance(member.__func__, FunctionType):
            setattr(kind, name, type(member)(answered(member.__func__)))


def answered(function: Any) -> Any:
    """The function, which answers for wrong calls; itself where it does so already.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.sum([1.0, 2.0], dim=0)
    Traceback (most recent call last):
        ...
    TypeError: sum: got an unexpected keyword argument 'dim'
      expected: sum(x, axis=None, keepdims=False)
      got:      [1.0, 2.0], dim=0
      hint:     write axis= for dim
    """
    if hasattr(function, "answers") or hasattr(function, "scalar"):
        return function
    template = _generating if inspect.isgeneratorfunction(function) else _calling
    # A function of the module that it comes from: doctest, and whoever asks whose code it is, look at the globals.
    made = template(function)
    call = FunctionType(made.__code__, function.__globals__, function.__name__, None, made.__closure__)
    update_wrapper(call, function).answers = True  # type: ignore[attr-defined]
    return call


def as_it_is(method: F) -> F:
    """Keep a method from answering, which only this package calls, and on each step: its caller answers."""
    method.answers = True  # type: ignore[attr-defined]
    return method


def _calling(function: Callable[..., Any]) -> Any:
    raised, caller = _raised, sys._getframe

    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs) if kwargs else function(*args)
        except Exception as error:
            raised(function, args, kwargs, error, caller(1))
            raise

    return call


def _generating(function: Callable[..., Any]) -> Any:
    raised, caller = _raised, sys._getframe

    def call(*args, **kwargs):
        try:
            return (yield from function(*args, **kwargs))
        except Exception as error:
            raised(function, args, kwargs, error, caller(1))
            raise

    return call


def _raised(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception, caller: FrameType) -> None:
    """Raise what is to be said instead of an error, if it is to be; the function that the user called says it."""
    inside = _is_ours(caller) and caller.f_code.co_name != "__call__"
    if not inside and not _is_kept(error):
        raise _answer(function, args, kwargs, error) from error


# What arguments must be, where nothing would fail ---------------------------------------------------------------------

def no_circle(operation: str, name: str, value: Any) -> None:
    """Refuse lists, tuples and dicts that contain themselves, in which a walk does not come to an end."""
    around: set[int] = set()
    done: set[int] = set()
    stack: list[tuple[Any, bool]] = [(value, True)]
    while stack:
        part, enters = stack.pop()
        if not isinstance(part, list | tuple | dict) or id(part) in done:
            continue
        if not enters:
            around.remove(id(part))
            done.add(id(part))
            continue
        if id(part) in around:
            what = f"{operation}: {name} contain themselves"
            raise fail(ValueError, what, expected="lists that end", got=brief(part))
        around.add(id(part))
        stack.append((part, False))
        stack += [(inner, True) for inner in (part.values() if isinstance(part, dict) else part)]


# Whose error it is ----------------------------------------------------------------------------------------------------


def _is_kept(error: Exception) -> bool:
    """Whether an error says already what is wrong: one that a line of ours raised, or that is none of ours to say."""
    if isinstance(error, _KEPT) or type(error).__module__.partition(".")[0] in ("tinygrad_rnn", "hypothesis"):
        return True
    entries = list(_entries(error.__traceback__))[1:]
    if entries and entries[-1].tb_frame.f_code.co_name == "__getattr__":
        entries.pop()  # an attribute that there is not is the fault of who asks for it
    frames = [e.tb_frame for e in entries]
    if any(not _is_ours(frame) and not is_library(frame) for frame in frames):
        return True
    return bool(frames) and _is_ours(frames[-1]) and _raises(entries[-1])


def _is_ours(frame: FrameType) -> bool:
    """By the module, as methods that a decorator has made have no file; an example in a docstring is the user's."""
    if frame.f_code.co_filename.startswith("<doctest"):
        return False
    return frame.f_globals.get("__name__", "").partition(".")[0] == __package__


def is_library(frame: FrameType) -> bool:
    """Whether code is of Python itself or of an installed package, and not of the user's."""
    file = frame.f_code.co_filename
    made = file.endswith((".pyx", ".pxd")) or frame.f_globals.get("__name__", "").startswith("namedtuple_")
    return made or file.startswith(_LIBRARIES)


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _raises(entry: TracebackType) -> bool:
    """Whether it is a ``raise`` statement that the error came from."""
    return dis.opname[entry.tb_frame.f_code.co_code[entry.tb_lasti]] == "RAISE_VARARGS"


# What is wrong with the call ------------------------------------------------------------------------------------------

def _answer(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> Exception:
    try:
        given = inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return wrong_call(function, args, kwargs)
    passed = [name for name in kwargs if str(error).endswith(f"unexpected keyword argument {name!r}")]
    if passed:  # one of those that a function hands on
        return wrong_call(function, args, kwargs, f"got an unexpected keyword argument {passed[0]!r}")
    wrong = _misfit(function, given.arguments)
    if wrong:
        name, expected = wrong
        got = brief(given.arguments[name])
        what = f"{_called(function, args)}: argument {name}"
        return fail(TypeError, what, expected=expected, got=got, hint=_first(error))
    told = ", ".join(f"{name}={brief(value)}" for name, value in given.arguments.items() if name not in ("self", "cls"))
    kind = IndexError if isinstance(error, IndexError) else ValueError
    return fail(
        TypeError if isinstance(error, TypeError | AttributeError) else kind,
        f"{_called(function, args)}: these arguments do not fit together", expected=_form(function, args),
        got=told or "none", hint=_first(error),
    )  # fmt: skip


def _first(error: Exception) -> str:
    """What went wrong inside, in one line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def wrong_call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], wrong: str = "") -> TypeError:
    """The error for a call that does not fit the signature: an unknown keyword, one argument too many or too few."""
    takes = inspect.signature(function).parameters
    hints = [replacement(name, KEYWORDS) for name in kwargs if name not in takes and _is_taken(name, takes)]
    told = [brief(a) for a in (args[1:] if next(iter(takes), "") in ("self", "cls") else args)]
    return fail(
        TypeError, f"{_called(function, args)}: {wrong or _unbound(function, args, kwargs)}",
        expected=_form(function, args), got=", ".join(told + [f"{k}={brief(v)}" for k, v in kwargs.items()]) or "none",
        hint="; ".join(filter(None, hints)) or f"see help({_called(function, args)})",
    )  # fmt: skip


def _is_taken(name: str, takes: Mapping[str, inspect.Parameter]) -> bool:
    """Whether a function has the keyword that should be written for another one."""
    instead, found, _ = KEYWORDS.get(name, "").partition("=")
    return not found or instead in takes or any(p.kind is p.VAR_KEYWORD for p in takes.values())


def _unbound(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Why a call does not fit a signature."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return "these arguments do not fit together"


def _called(function: Any, args: tuple[Any, ...]) -> str:
    """How messages call a function: by its class for `__init__`, as a method of its class, or by its name."""
    name = function.__name__
    if next(iter(inspect.signature(function).parameters), "") not in ("self", "cls") or not args:
        return name
    owner = (args[0] if isinstance(args[0], type) else type(args[0])).__name__
    return owner if name in ("__init__", "__call__", "forward") else f"{owner}.{name}"


def _form(function: Any, args: tuple[Any, ...]) -> str:
    """A call as it is written, without types."""
    shown: list[str] = []
    before: Any = None
    for p in inspect.signature(function).parameters.values():
        star = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
        default = "" if p.default is p.empty else f"={brief(p.default)}"
        if before is p.POSITIONAL_ONLY and p.kind is not before:
            shown.append("/")
        before = p.kind
        if p.kind is p.KEYWORD_ONLY and not any(s.startswith("*") for s in shown):
            shown.append("*")
        shown.append(f"{star}{p.name}{default}")
    if before is inspect.Parameter.POSITIONAL_ONLY:
        shown.append("/")
    return f"{_called(function, args)}({', '.join(s for s in shown if s not in ('self', 'cls'))})"


def _misfit(function: Any, arguments: dict[str, Any]) -> tuple[str, str] | None:
    """The first argument that is not what its annotation says, and that."""
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # names that only a type checker knows
        return None
    for name, value in arguments.items():
        parameter = inspect.signature(function).parameters[name]
        plain = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if plain and name in hints and not _fits(value, hints[name]):
            return name, _words(hints[name])
    return None


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, as far as that can be seen without looking into it."""
    origin = typing.get_origin(kind)
    if kind is Any:
        return True
    if origin in (typing.Union, UnionType):
        return any(_fits(value, k) for k in typing.get_args(kind))
    if origin is typing.Literal:
        return value in typing.get_args(kind)
    outer = origin or kind
    if outer is float:
        return isinstance(value, int | float | np.number | np.ndarray) or hasattr(value, "__float__")
    if outer is int:
        return isinstance(value, int | np.integer) or hasattr(value, "__index__")
    if outer is collections.abc.Callable:
        return callable(value)
    return isinstance(value, outer) if inspect.isclass(outer) else True


def _words(kind: Any) -> str:
    if isinstance(kind, type) and not isinstance(kind, types.GenericAlias):
        return "None" if kind is type(None) else kind.__name__
    if typing.get_origin(kind) in (typing.Union, UnionType):
        return " or ".join(_words(k) for k in typing.get_args(kind))
    return str(kind).replace("typing.", "").replace("collections.abc.", "").replace("tinygrad_rnn.", "")
