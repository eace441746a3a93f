"""How a program is called: the nesting of its arguments and of its results, as data that can be written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from ..errors import fail
from ..graph.evaluate import fitting
from ..nested import Hole, mapped, rebuilt
from ..tensor import Count, Tensor, leaf

__all__ = ["Call", "Other", "is_array", "repeated"]

_PLAIN = (bool, int, float, str, type(None))
_ARRAYS = (Tensor, np.ndarray, np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Other:
    """An argument that is neither array nor plain data, as a module: it is part of the program.

    Attributes
    ----------
    kind : str
        Name of its type.
    value : object
        What it was; None where that is not known, in a program from a text.
    """

    kind: str
    value: Any = None


@dataclass(slots=True, eq=False)
class Call:
    """How the recorded function was called, and what it gave.

    Attributes
    ----------
    args, kwargs
        The arguments, with a :class:`Hole` for each array and :class:`Other` for what is neither array nor plain data.
    form
        The nesting of the results, as ``rebuilt`` takes it; None if the function gave None.
    same : tuple of (number, number)
        Arrays that are one tensor, which stands in several places: a later place, and the first.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    form: Any
    same: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def of(args: Any, kwargs: Any, form: Any, same: tuple[tuple[int, int], ...] = ()) -> Call:
        hole = _holes(count())
        return Call(mapped(hole, tuple(args), "compile"), mapped(hole, kwargs, "compile"), form, same)

    @staticmethod
    def plain(arguments: int, results: int) -> Call:
        """One array after the other."""
        return Call(tuple(map(Hole, range(arguments))), {}, tuple(map(Hole, range(results))))

    def arrays(self, args: Any, kwargs: Any, placeholders: Sequence[Tensor], name: str) -> list[np.ndarray]:
        """The arrays among these arguments, in the order of the placeholders.

        Raises
        ------
        TypeError, ShapeError, DTypeError
            If they are nested in another way, or one does not fit; `name` says what was called.
        """
        given: dict[int, tuple[Any, str]] = {}
        _check_names(self.args, args, self.kwargs, kwargs, name)
        for k, (expected, value) in enumerate(zip(self.args, args, strict=True)):
            _match(expected, value, f"{name}: argument {k}", given)
        for key, expected in self.kwargs.items():
            _match(expected, kwargs[key], f"{name}: argument '{key}'", given)
        arrays = [fitting(t, *given[k]) for k, t in enumerate(placeholders)]
        self.check_same(arrays, name)
        return arrays

    def check_same(self, arrays: Sequence[np.ndarray], name: str) -> None:
        """Raise if there are different values where one tensor stood in several places."""
        for k, first in self.same:
            if not np.array_equal(arrays[k], arrays[first], equal_nan=arrays[k].dtype.kind == "f"):
                raise fail(
                    TypeError, f"{name}: arrays {first} and {k} of the arguments", expected="the same tensor, as when "
                    "it was recorded", got="different values", hint="record the function with different tensors",
                )  # fmt: skip

    def results(self, arrays: Sequence[np.ndarray]) -> Any:
        """Results, nested as the function gave them."""
        return None if self.form is None else rebuilt(self.form, iter([leaf(a) for a in arrays]))


def repeated(owners: Sequence[Any]) -> tuple[tuple[int, int], ...]:
    """Places of tensors that stand in several ones: each later place, and the first."""
    if len(owners) < 2 or len(set(map(id, owners))) == len(owners):
        return ()
    first: dict[int, int] = {}
    found = [(k, first.setdefault(id(t), k)) for k, t in enumerate(owners) if isinstance(t, Tensor)]
    return tuple([(k, at) for k, at in found if k != at])


def is_array(value: Any) -> bool:
    return isinstance(value, _ARRAYS)


def _holes(numbers: Iterator[int]) -> Callable[[Any], Any]:
    """A function that gives what is written down for a part of the arguments."""

    def hole(part: Any) -> Any:
        if is_array(part):
            return Hole(next(numbers))
        if isinstance(part, Count):
            return int(part)
        return part if type(part) in _PLAIN else Other(type(part).__name__, part)

    return hole


def _check_names(expected: Sequence[Any], args: Sequence[Any], names: Any, kwargs: Any, name: str) -> None:
    if len(args) != len(expected):
        raise fail(
            TypeError, f"{name}: arguments", expected=f"{len(expected)} without a name, as when it was recorded",
            got=str(len(args)),
        )  # fmt: skip
    if kwargs.keys() != names.keys():
        raise fail(
            TypeError, f"{name}: arguments with a name", expected=_listed(names) + ", as when it was recorded",
            got=_listed(kwargs),
        )  # fmt: skip


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "none"


def _match(expected: Any, value: Any, path: str, given: dict[int, tuple[Any, str]]) -> None:
    """Take the arrays out of an argument; its nesting is that of what is expected."""
    if isinstance(expected, Hole):
        if not is_array(value) or (isinstance(value, Tensor) and value.is_symbolic):
            raise _unlike(path, "an array, or a tensor with a value", value)
        given[expected.number] = value, path
    elif isinstance(expected, tuple | list):
        kind = tuple if isinstance(expected, tuple) else list
        if not isinstance(value, kind) or len(value) != len(expected):
            raise _unlike(path, f"a {kind.__name__} of {len(expected)}", value)
        for k, (e, v) in enumerate(zip(expected, value, strict=True)):
            _match(e, v, f"{path}[{k}]", given)
    elif isinstance(expected, dict):
        if not isinstance(value, dict) or value.keys() != expected.keys():
            raise _unlike(path, f"a dict with the keys {_listed(expected)}", value)
        for k, e in expected.items():
            _match(e, value[k], f"{path}[{k!r}]", given)
    elif isinstance(expected, Other):
        if value is not None and (expected.value is None or not _same(expected.value, value)):
            raise _unlike(path, f"the {expected.kind} with which it was recorded, or None in its place", value)
    elif type(value) is not type(expected) or repr(value) != repr(expected):
        raise _unlike(path, f"{expected!r}, with which it was recorded", value)


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and bool(a == b))


def _unlike(path: str, expected: str, value: Any) -> TypeError:
    shown = f"a {type(value).__name__}"
    if type(value) in _PLAIN:
        shown = repr(value)[:60]
    elif isinstance(value, dict):
        shown = f"a dict with the keys {_listed(value)}"
    elif isinstance(value, tuple | list):
        shown += f" of {len(value)}"
    return fail(TypeError, path, expected=expected, got=shown)
