"""What a recording found around it, beside its arguments, and whether all of that is still as it was before it.

Guarded are the attributes of modules, ``requires_grad``, which tensors had a gradient, and the variables that the code
names. Variables are looked at on each call; modules and ``requires_grad`` when the count of changes has moved.
"""

from __future__ import annotations

import inspect
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, is_dataclass
from itertools import chain, islice
from numbers import Number
from operator import is_
from types import CodeType, FunctionType, MappingProxyType, MemberDescriptorType, SimpleNamespace
from typing import Any

import numpy as np

from .. import changes
from ..changes import Observed
from ..reading import names_in
from ..tensor import Count, Tensor
from .reach import (
    MISSING,
    MOST,
    FreeVariable,
    GlobalVariable,
    Reach,
    content,
    is_foreign_class,
    slot_of,
    visible,
)

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
    kind, key = type(value), plain_key(value)
    if key is not None:
        return key
    if kind is Tensor and value.is_symbolic:
        return kind, value.shape, value.dtype  # one was left by each recording, and none can be computed with
    held = _opened(value) if deep else value
    if not isinstance(held, _CONTAINERS if deep else tuple) or id(held) in around or len(held) > MOST:
        return Same(value)
    if isinstance(held, set | frozenset):
        return kind, frozenset([_frozen(v, False) for v in held])
    inside = (*around, id(held))
    return kind, tuple([_frozen(v, deep, inside) for v in _inside(held)])


def plain_key(value: Any) -> Any:
    """Equal for numbers and texts that mean the same to a function; None for all else.

    1, True and 1.0 do not mean the same, nor do 0.0 and -0.0; NaN does.

    Examples
    --------
    >>> from tinygrad_rnn.compile.guards import plain_key
    >>> plain_key(1) == plain_key(True), plain_key(0.0) == plain_key(-0.0), plain_key([])
    (False, False, None)
    """
    kind = type(value)
    if kind in _BY_VALUE:
        return kind, value
    if isinstance(value, np.generic):
        return kind, value.tobytes()
    if isinstance(value, Count):
        return int, int(value)  # the size of a tensor
    return (kind, repr(value)) if isinstance(value, Number) else None


_BY_VALUE = (int, bool, str, bytes, type(None))
_CONTAINERS = (tuple, list, deque, dict, MappingProxyType, set, frozenset)


def _opened(value: Any) -> Any:
    """The list or dict in which an object of some kinds keeps what it holds; else the value."""
    if isinstance(value, UserList | UserDict):
        return value.data
    if isinstance(value, ChainMap):
        return value.maps
    if isinstance(value, SimpleNamespace):
        return value.__dict__
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

    def held(self) -> list[Any]:
        """What it was, with what was in it, and what it is now."""
        return [self.value, *(inside for _, inside in self.containers), self.read(self.owner, self.name)]

    def has_no_value(self) -> bool:
        """Whether it is or holds now a tensor that has a value on each call, and none that is there."""
        now = self.read(self.owner, self.name)
        inside = chain([now], *(inside for _, inside in _containers(now)))
        return any(isinstance(v, Tensor) and v.is_symbolic for v in inside)

    @property
    def cause(self) -> Cause:
        return id(self.owner), self.name


def _attribute(module: Observed, name: str) -> Any:
    own = vars(module)
    if name in own:
        return own[name]
    found = getattr(type(module), name, MISSING)
    return slot_of(module, name) if isinstance(found, MemberDescriptorType) else found


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


def _set_attribute(owner: Any, name: str, value: Any) -> None:
    if value is MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


def _set_global(names: Any, name: str, value: Any) -> None:
    if isinstance(names, type):
        _set_attribute(names, name, value)
    elif value is MISSING:
        del names[name]
    else:
        names[name] = value


def _set_content(cell: Any, _: str, value: Any) -> None:
    _set_attribute(cell, "cell_contents", value)


_WRITERS: dict[Any, Callable[[Any, str, Any], None]] = {
    _attribute: _set_attribute, _global: _set_global, _content: _set_content,
}  # fmt: skip


def _is_plain(value: Any) -> bool:
    """Whether a value is the same whenever it is made."""
    if type(value) is tuple:
        return all(map(_is_plain, value))
    return plain_key(value) is not None or value is MISSING


def _variable(v: GlobalVariable | FreeVariable) -> Entry:
    if isinstance(v, GlobalVariable):
        return Entry(v.names, v.name, v.label, _global)
    return Entry(v.cell, "", v.label, _content)


def _switch(t: Tensor, label: str) -> Entry:
    return Entry(t, "requires_grad", f"{label}.requires_grad", _flag)


class Guards:
    """What one recording finds around it, as it is before.

    What the function sets itself is set again on each call. Where that cannot be done, as for a list that grows or a
    parameter that is made anew, the recording is good for one call.

    Parameters
    ----------
    reach : Reach
        What the function and its arguments lead to.
    ignored : set
        Causes that are not guarded.

    Attributes
    ----------
    changed : dict of cause to Entry
        What the function reads, and sets itself.
    sets : dict of cause to (Entry, value)
        What the function sets, read or not, to a value that is the same whenever it is made.
    left : list of Entry
        What holds tensors now that had no value while it was recorded.
    """

    def __init__(self, reach: Reach, ignored: set[Cause]) -> None:
        self._verified = changes.last
        self._reach, self._codes, self._ignored = reach, reach.codes, ignored
        self._modules: dict[int, tuple[Observed, str, set[str]]] = {}
        self._kinds: dict[int, type] = {}
        self._entries: dict[Cause, Entry] = {}
        self.changed: dict[Cause, Entry] = {}
        self.sets: dict[Cause, tuple[Entry, Any]] = {}
        self.left: list[Entry] = []
        self._take()

    @property
    def modules(self) -> list[Observed]:
        """Those whose attributes are looked at."""
        return [module for module, _, _ in self._modules.values()]

    def meet(self, module: Observed) -> None:
        """Look at a module that the function is about to call."""
        if id(module) not in self._modules:
            self._reach.follow([(getattr(module, "_name", None) or type(module).__name__, module)])
            self._take()

    def _take(self) -> None:
        """Note what has been come to, as it is now; what was noted before stays."""
        reach = self._reach
        for label, module in islice(reach.modules.values(), len(self._modules), None):
            names = [name for name, _ in visible(module)]
            self._modules[id(module)] = module, label, set(names)
            self._kinds[id(module)] = type(module)
            for name in names:
                self._note((id(module), name), Entry, module, name, f"{label}.{name}", _attribute, True)
        for cause, variable in reach.variables.items():
            self._note(cause, _variable, variable)
        for label, t in reach.tensors:
            self._note((id(t), "requires_grad"), _switch, t, label)

    def _note(self, cause: Cause, make: Callable[..., Entry], *given: Any) -> None:
        if cause not in self._entries and cause not in self._ignored:
            self._entries[cause] = make(*given)

    def settle(self, tensors: Iterable[Tensor], with_gradient: Iterable[Tensor]) -> None:
        """Add what the recording has used, and find what it has changed.

        Parameters
        ----------
        tensors : iterable of Tensor
            Those that it used.
        with_gradient : iterable of Tensor
            Those for which it matters whether they have a gradient.
        """
        self._reach.follow_imports()
        self._take()
        for t in tensors:
            self._note((id(t), "requires_grad"), _switch, t, t.name or "a tensor")
        for t in with_gradient:
            self._note((id(t), "grad"), Entry, t, "grad", f"{t.name or 'a tensor'}.grad", _had_gradient)
        for entry in list(self.differences()):
            if entry.has_no_value():
                self.left.append(entry)
            after = entry.read(entry.owner, entry.name)
            if _is_plain(after) and entry.read in _WRITERS:
                self.sets[entry.cause] = entry, after
            if self.is_read(entry):
                self.changed[entry.cause] = entry
            else:
                self._leave(entry)
        del self._reach  # it keeps all alive that it has seen
        self._prepare()

    def _leave(self, entry: Entry) -> None:
        """Do not guard something, as the function sets it and does not read it."""
        self._entries.pop(entry.cause, None)
        if id(entry.owner) in self._modules:
            self._modules[id(entry.owner)][2].add(entry.name)

    def _prepare(self) -> None:
        """Gather what is looked at on each call."""
        entries = list(self._entries.values())
        self._globals = [(_dict_of(e.owner), e.name, e.value) for e in entries if e.read is _global]
        self._cells = [(e.owner, e.value) for e in entries if e.read is _content]
        self._gradients = [(e.owner, e.value) for e in entries if e.read is _had_gradient]
        self._containers = [c for e in entries for c in e.containers]
        self._spent = not self.changed.keys() <= self.sets.keys()

    def hold(self) -> bool:
        """Whether all is as it was."""
        at = changes.last
        if self._verified == at and self._same_variables():
            return not self._spent
        if self._spent or next(self.differences(), None) is not None:
            return False
        self._prepare()
        self._verified = at
        return True

    def set_again(self) -> None:
        """Set what the function sets."""
        for entry, after in self.sets.values():
            if _frozen(entry.read(entry.owner, entry.name), False) != _frozen(after, False):
                _WRITERS[entry.read](entry.owner, entry.name, after)

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

    def causes(self) -> list[Entry]:
        """Why another recording is needed."""
        return list(self.differences()) or list(self.changed.values())

    def differences(self) -> Iterator[Entry]:
        """What is not as it was."""
        for entry in self._entries.values():
            if entry.differs():
                yield entry
        for module, label, names in self._modules.values():
            if type(module) is not self._kinds[id(module)]:
                yield Entry(module, "__class__", f"{label}.__class__", _attribute, True)
            for name, value in visible(module):
                if name not in names and (id(module), name) not in self._ignored:
                    entry = Entry(module, name, f"{label}.{name}", _attribute, True)
                    if _frozen(value, True) != _frozen(_of_class(module, name), True):
                        yield entry

    def is_read(self, entry: Entry) -> bool:
        """Whether any code may need it: that of the user's functions, or methods of this package's.

        What is set before it is read, in the same code, is not needed.
        """
        if not isinstance(entry.owner, Observed) or _is_trained(entry.held()):
            return True
        kinds = [k for k in type(entry.owner).__mro__ if is_foreign_class(k) and Observed not in k.__bases__]
        named = map(names_in, chain(self._codes, *map(_codes_of, kinds)))
        return any(entry.name in names.needed or names.may_need_any for names in named)

    def concern(self, changed: set[int]) -> bool:
        """Whether anything of these ids is guarded."""
        return bool(changed) and any(id(e.owner) in changed for e in self._entries.values())

    def forget(self, cause: Cause) -> None:
        """Look at something no more."""
        for held in (self.changed, self.sets, self._entries):
            held.pop(cause, None)
        self._prepare()


def _is_trained(value: Any) -> bool:
    """Whether a value holds modules or parameters, which ``parameters()`` reads by no name."""
    work, seen = [value], set[int]()
    while work:
        v = _opened(work.pop())
        if isinstance(v, Observed) or (isinstance(v, Tensor) and v.requires_grad and v.is_leaf):
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
