"""What a recording found around it, beside its arguments, and whether all of that is still as it was.

Guarded are the attributes of modules, ``requires_grad``, which tensors had a gradient, and the variables that the code
names. Variables are looked at on each call; modules and ``requires_grad`` when the count of changes has moved.
"""

from __future__ import annotations

import inspect
from collections import UserDict, UserList, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, is_dataclass
from itertools import chain
from operator import is_
from types import CodeType, FunctionType, MappingProxyType
from typing import Any

import numpy as np

from .. import changes
from ..changes import Observed
from ..tensor import Tensor
from .reach import MISSING, MOST, FreeVariable, GlobalVariable, Reach, content, names_in, visible

__all__ = ["Cause", "Entry", "Guards", "Same"]

Cause = tuple[int, str]


class Same:
    """Equal to what stands for the very same object."""

    __slots__ = ("_object",)

    def __init__(self, value: Any) -> None:
        self._object = value

    def __eq__(self, other: object) -> bool:
        return type(other) is Same and other._object is self._object

    def __hash__(self) -> int:
        return id(self._object)


def _frozen(value: Any, deep: bool, around: tuple[int, ...] = ()) -> Any:
    """Equal for values that mean the same to a function: numbers and texts by type and value, objects by identity.

    Lists, dicts and sets are looked into where `deep`.
    """
    kind = type(value)
    if kind in _BY_VALUE:
        return kind, value
    if kind is float:
        return kind, value.hex()  # 0.0 and -0.0 differ, NaN equals itself
    if isinstance(value, np.generic):
        return kind, value.tobytes()
    held = _opened(value) if deep else value
    if not isinstance(held, _CONTAINERS if deep else tuple) or id(held) in around or len(held) > MOST:
        return Same(value)
    if isinstance(held, set | frozenset):
        return kind, frozenset(held)
    inside = (*around, id(held))
    return kind, tuple([_frozen(v, deep, inside) for v in _inside(held)])


_BY_VALUE = (int, bool, str, bytes, complex, type(None))
_CONTAINERS = (tuple, list, deque, dict, MappingProxyType, set, frozenset)


def _opened(value: Any) -> Any:
    """The list or dict in which an object of some kinds keeps what it holds; else the value."""
    if isinstance(value, UserList | UserDict):
        return value.data
    if is_dataclass(value) and not isinstance(value, type | Observed):
        return getattr(value, "__dict__", value)
    return value


def _containers(value: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """All lists, dicts and sets in a value, which may be changed in place, and what is in them."""
    found, work, seen = [], [value], set()
    while work:
        v = _opened(work.pop())
        if isinstance(v, _CONTAINERS) and id(v) not in seen and len(v) <= MOST:
            seen.add(id(v))
            inside = tuple(_inside(v))
            if not isinstance(v, tuple | frozenset):
                found.append((v, inside))
            work += inside
    return found


_MAPPINGS = (dict, MappingProxyType)


def _inside(container: Any) -> Iterable[Any]:
    return chain(container, container.values()) if isinstance(container, _MAPPINGS) else container


@dataclass(slots=True, eq=False)
class Entry:
    """One thing that was found, and what it was.

    Attributes
    ----------
    owner, name
        What holds it, and what it is called there.
    label : str
        For messages.
    read : callable
        ``read(owner, name)`` gives it as it is now.
    deep : bool
        Whether to look into lists and dicts.
    """

    owner: Any
    name: str
    label: str
    read: Callable[[Any, str], Any]
    deep: bool = False
    value: Any = None
    containers: list[Any] = field(default_factory=list)
    frozen: Any = None

    def __post_init__(self) -> None:
        self.value = self.read(self.owner, self.name)
        self.containers = _containers(self.value) if self.deep else []
        self.frozen = _frozen(self.value, self.deep)

    def differs(self) -> bool:
        """Whether it is another now; an equal one is taken in its place."""
        found = self.read(self.owner, self.name)
        if found is self.value and not self.containers:
            return False
        containers = _containers(found) if self.deep else []
        if _frozen(found, self.deep) != self.frozen:
            return True
        self.value, self.containers = found, containers
        return False

    def again(self) -> Entry:
        """The same thing as it is now."""
        return Entry(self.owner, self.name, self.label, self.read, self.deep)

    @property
    def cause(self) -> Cause:
        return id(self.owner), self.name


def _attribute(module: Observed, name: str) -> Any:
    own = vars(module)
    return own[name] if name in own else getattr(type(module), name, MISSING)


def _of_class(module: Observed, name: str) -> Any:
    return getattr(type(module), name, MISSING)


def _global(names: Any, name: str) -> Any:
    return _dict_of(names).get(name, MISSING)


def _dict_of(names: Any) -> Any:
    return vars(names) if isinstance(names, type) else names


def _content(cell: Any, _: str) -> Any:
    return content(cell)


def _flag(t: Tensor, _: str) -> bool:
    return t.requires_grad


def _had_gradient(t: Tensor, _: str) -> bool:
    return t.grad is not None


def _variable(v: GlobalVariable | FreeVariable) -> Entry:
    if isinstance(v, GlobalVariable):
        return Entry(v.names, v.name, v.label, _global)
    return Entry(v.cell, "", v.label, _content)


def _switch(t: Tensor, label: str) -> Entry:
    return Entry(t, "requires_grad", f"{label}.requires_grad", _flag)


class Guards:
    """What one recording found around it.

    Parameters
    ----------
    reach : Reach
        What the function, its arguments, and the modules that it called lead to.
    tensors : iterable of Tensor
        Those that it used.
    with_gradient : iterable of Tensor
        Those for which it matters whether they have a gradient.
    ignored : set
        Causes that are not guarded.
    """

    def __init__(
        self, reach: Reach, tensors: Iterable[Tensor], with_gradient: Iterable[Tensor], ignored: set[Cause],
    ) -> None:  # fmt: skip
        self._verified = changes.last
        self._codes, self._ignored = reach.codes, ignored
        self._modules = [
            (module, label, frozenset(name for name, _ in visible(module))) for label, module in reach.modules.values()
        ]
        listed = chain(
            (Entry(m, name, f"{label}.{name}", _attribute, True) for m, label, own in self._modules for name in own),
            map(_variable, reach.variables.values()),
            (_switch(t, label) for label, t in reach.tensors),
            (_switch(t, t.name or "a tensor") for t in tensors),
            (Entry(t, "grad", f"{t.name or 'a tensor'}.grad", _had_gradient) for t in with_gradient),
        )
        self._entries: dict[Cause, Entry] = {}
        for entry in listed:
            if entry.cause not in ignored:
                self._entries.setdefault(entry.cause, entry)
        self._prepare()

    def _prepare(self) -> None:
        """Gather what is looked at on each call."""
        entries = list(self._entries.values())
        self._globals = [(_dict_of(e.owner), e.name, e.value) for e in entries if e.read is _global]
        self._cells = [(e.owner, e.value) for e in entries if e.read is _content]
        self._gradients = [(e.owner, e.value) for e in entries if e.read is _had_gradient]
        self._containers = [c for e in entries for c in e.containers]

    def hold(self) -> bool:
        """Whether all is as it was."""
        at = changes.last
        if self._verified == at and self._same_variables():
            return True
        for _ in self.differences():
            return False
        self._prepare()
        self._verified = at
        return True

    def _same_variables(self) -> bool:
        try:
            for names, name, value in self._globals:
                if names.get(name, MISSING) is not value:
                    return False
            for cell, value in self._cells:
                if cell.cell_contents is not value:
                    return False
        except ValueError:  # a cell that is empty now
            return False
        for t, had in self._gradients:
            if (t._grad is not None) is not had:
                return False
        for container, inside in self._containers:
            size = 2 * len(container) if isinstance(container, _MAPPINGS) else len(container)
            if size != len(inside) or not all(map(is_, _inside(container), inside)):
                return False
        return True

    def differences(self) -> Iterator[Entry]:
        """What is not as it was."""
        for entry in self._entries.values():
            if entry.differs():
                yield entry
        for module, label, names in self._modules:
            for name, value in visible(module):
                if name not in names and (id(module), name) not in self._ignored:
                    entry = Entry(module, name, f"{label}.{name}", _attribute, True)
                    if _frozen(value, True) != _frozen(_of_class(module, name), True):
                        yield entry

    def is_read(self, entry: Entry) -> bool:
        """Whether any code may read it: that of the user's functions, or the methods of the module that has it."""
        if not isinstance(entry.owner, Observed) or _is_trained(entry.value):
            return True
        kinds = [kind for kind in type(entry.owner).__mro__ if Observed not in kind.__bases__]
        named = map(names_in, chain(self._codes, *map(_codes_of, kinds)))
        return any(entry.name in names.read or names.may_read_any for names in named)

    def concern(self, changed: set[int]) -> bool:
        """Whether anything of these ids is guarded."""
        return bool(changed) and any(id(e.owner) in changed for e in self._entries.values())

    def forget(self, cause: Cause) -> None:
        """Look at something no more."""
        if self._entries.pop(cause, None) is not None:
            self._prepare()


def _is_trained(value: Any) -> bool:
    """Whether a value holds modules or parameters, which ``parameters()`` reads by no name."""
    work, seen = [value], set[int]()
    while work:
        v = _opened(work.pop())
        if isinstance(v, Observed) or (isinstance(v, Tensor) and v.requires_grad):
            return True
        if isinstance(v, _CONTAINERS) and id(v) not in seen:
            seen.add(id(v))
            work += _inside(v)
    return False


def _codes_of(kind: type) -> list[CodeType]:
    """The code of the methods and properties of a class."""
    found = []
    for value in vars(kind).values():
        fn: Any = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        fn = inspect.unwrap(fn)
        if isinstance(fn, FunctionType):
            found.append(fn.__code__)
    return found
