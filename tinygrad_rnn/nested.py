"""Nested values: tuples, named tuples, lists and dicts of parts, taken apart and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

from .errors import fail
from .tensor import Tensor

__all__ = ["MOST_LEVELS", "Hole", "mapped", "parts", "rebuilt", "taken_apart"]

MOST_LEVELS = 100
_CONTAINERS = (tuple, list, dict)


@dataclass(frozen=True, slots=True)
class Hole:
    """The place of a part in a form, by its number."""

    number: int


def mapped(fn: Callable[[Any], Any], value: Any, name: str = "nested", level: int = 0) -> Any:
    """The same nesting, of the same kinds of containers, with ``fn(part)`` in place of each part.

    Raises
    ------
    TypeError
        If there are more than ``MOST_LEVELS`` levels, as in a container that holds itself; `name` is what was called.

    Examples
    --------
    >>> from tinygrad_rnn.nested import mapped
    >>> mapped(lambda n: 2 * n, {"a": (1, 2), "b": [3]})
    {'a': (2, 4), 'b': [6]}
    """
    if not isinstance(value, _CONTAINERS):
        return fn(value)
    if level >= MOST_LEVELS:
        raise fail(
            TypeError, f"{name}: the nesting of tensors", expected=f"at most {MOST_LEVELS} levels",
            got="more, or a container that holds itself",
        )  # fmt: skip
    if isinstance(value, dict):
        return _dict_as(value, {k: mapped(fn, v, name, level + 1) for k, v in value.items()})
    made = [mapped(fn, v, name, level + 1) for v in value]
    return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)


def _dict_as(like: dict[Any, Any], entries: dict[Any, Any]) -> dict[Any, Any]:
    """A dict of the same kind, as an ``OrderedDict``, with other values."""
    if type(like) is dict:
        return entries
    same = copy(like)
    dict.update(same, entries)
    return same


def parts(value: Any, name: str = "nested") -> list[Any]:
    """All that is no container, in order.

    Examples
    --------
    >>> from tinygrad_rnn.nested import parts
    >>> parts({"a": (1, 2), "b": [None]})
    [1, 2, None]
    """
    found: list[Any] = []
    mapped(found.append, value, name)
    return found


def taken_apart(value: Any, name: str) -> tuple[list[Tensor], Any]:
    """The tensors of a nested value in order, and its form, with a hole for each; None may be among them.

    Raises
    ------
    TypeError
        If there is anything but tensors and None, or None alone; `name` is what was called.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.nested import taken_apart
    >>> taken_apart((tg.zeros(1), None), "f")[1]
    (Hole(number=0), None)
    """
    tensors: list[Tensor] = []

    def hole(part: Any) -> Hole | None:
        if not isinstance(part, Tensor) and (part is not None or value is None):
            kind = type(part).__name__
            raise TypeError(f"{name}: the function must give tensors, in tuples, lists or dicts; got {kind}")
        if part is None:
            return None
        tensors.append(part)
        return Hole(len(tensors) - 1)

    return tensors, mapped(hole, value, name)


def rebuilt(form: Any, given: Iterator[Any]) -> Any:
    """A nested value with the next of `given` in place of each hole.

    Examples
    --------
    >>> from tinygrad_rnn.nested import Hole, rebuilt
    >>> rebuilt([Hole(0), {"b": Hole(1)}, None], iter("ab"))
    ['a', {'b': 'b'}, None]
    """
    if type(form) is Hole:
        return next(given)
    return mapped(lambda part: next(given) if type(part) is Hole else part, form)
