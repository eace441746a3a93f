"""What a function can come to from its code: modules, and the variables that it and the functions it calls name.

Functions of the user's are followed, which are those outside of this package, of Python's library, and of what is
installed. So are the modules, methods, partial functions and small containers that they name.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections import UserDict, UserList, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from types import CellType, CodeType, FunctionType, MappingProxyType, MemberDescriptorType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..changes import Observed
from ..reading import imported, names_in
from ..tensor import Tensor

__all__ = [
    "MISSING", "MOST", "FreeVariable", "GlobalVariable", "Reach", "content", "is_foreign_class", "slot_of", "visible",
]  # fmt: skip

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "missing"})()
MOST = 1000  # a longer container holds data
HIDDEN = ("_name", "_compiled_methods")  # attributes of modules that change no result

_PACKAGE = Path(__file__).parent.parent
_FOREIGN = tuple(
    {str(_PACKAGE) + os.sep, str(_PACKAGE.parent / "viz") + os.sep}
    | {sysconfig.get_path(kind) + os.sep for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_HOOKS = ("forward", "initial_state")
_METHODS = (FunctionType, property, staticmethod, classmethod)
_CALLED_BY_NOBODY = ("__init__", "__annotate_func__")  # unless a class is called, or asked for its annotations
_NAME = __name__.partition(".")[0] + "."
_DATA = (Tensor, np.ndarray, np.generic, str, bytes, int, float, complex, type(None), np.dtype, CodeType, ModuleType)


@dataclass(frozen=True, slots=True)
class GlobalVariable:
    """A name in the globals of a function, in those of a module of the user's, or in a class."""

    names: dict[str, Any] | type
    name: str
    label: str


@dataclass(frozen=True, slots=True)
class FreeVariable:
    """A variable of the function around a function."""

    cell: CellType
    label: str


@dataclass(slots=True)
class Reach:
    """All that was come to; see :meth:`follow`.

    Attributes
    ----------
    modules : dict of id to (label, module)
    variables : dict of (id of what holds it, name) to GlobalVariable or FreeVariable
    codes : list of code
        Of the user's functions.
    tensors : list of (label, tensor)
        Those that variables and modules hold.
    read : set of str
        Names of attributes that the codes read.
    """

    modules: dict[int, tuple[str, Observed]] = field(default_factory=dict)
    variables: dict[tuple[int, str], GlobalVariable | FreeVariable] = field(default_factory=dict)
    codes: list[CodeType] = field(default_factory=list)
    tensors: list[tuple[str, Tensor]] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    _pending: dict[str, list[tuple[str, Any, bool]]] = field(default_factory=dict)  # methods that are not named yet
    _seen: dict[int, Any] = field(default_factory=dict)
    _classes: set[type] = field(default_factory=set)
    _later: list[tuple[str, tuple[str, ...], dict[str, Any]]] = field(default_factory=list)  # imports to come
    _opened: dict[int, tuple[str, ModuleType]] = field(default_factory=dict)  # the user's, held as values
    _work: deque[tuple[str, Any, bool]] = field(default_factory=deque)

    def follow(self, roots: Iterable[tuple[str, Any]]) -> Reach:
        """Add what these values, with labels for messages, lead to; what is come to first gives the label."""
        self._add(roots)
        while self._work:
            label, value, through = self._work.popleft()
            if id(value) not in self._seen:
                self._seen[id(value)] = value
                self._visit(label, value, through)
            if not self._work:
                self._names_of_opened()
        of_modules = {base for _, module in self.modules.values() for base in type(module).__mro__}
        for base in self._classes:
            self._class_attributes(base, plain=base in of_modules)
        return self

    def follow_imports(self) -> None:
        """Add what has been imported meanwhile."""
        later, self._later = self._later, []
        for given in later:
            self._imported(*given)
        self.follow(())

    def _names_of_opened(self) -> None:
        """What some code may take of a module that it has under another name, or in a variable of its own."""
        for label, module in self._opened.values():
            new = [name for name in self.read & vars(module).keys() if (id(vars(module)), name) not in self.variables]
            self._add([(f"{label}.{name}", self._attribute(module, name, f"{label}.{name}")) for name in sorted(new)])

    def _attribute(self, module: ModuleType, name: str, label: str) -> Any:
        """What a name stands for in a module of the user's."""
        names = vars(module)
        self._variable(names, GlobalVariable(names, name, label))
        return names.get(name, MISSING)

    def _add(self, values: Iterable[tuple[str, Any]], through: bool = True) -> None:
        self._work.extend((label, value, through) for label, value in values)

    def _visit(self, label: str, value: Any, through: bool) -> None:
        if isinstance(value, Tensor):
            self.tensors.append((label, value))
        elif isinstance(value, ModuleType):
            if not _is_foreign_module(value):
                self._opened[id(value)] = label, value
        elif isinstance(value, _DATA):
            return
        elif isinstance(value, Observed):
            self.modules[id(value)] = label, value
            self._add((f"{label}.{name}", v) for name, v in visible(value))
            self._class(type(value))
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, MethodType):
            self._method(value)
        elif isinstance(value, list | tuple | deque | dict | set | frozenset):
            self._add(_parts(label, value), through)
        elif isinstance(value, UserList | UserDict | MappingProxyType):
            self._add(_parts(label, getattr(value, "data", value)), through)
        elif isinstance(value, partial):
            self._add([(label, value.func), *_parts(label, value.args), *value.keywords.items()])
        elif isinstance(value, property):
            self._add([(label, value.fget)])
        elif isinstance(value, staticmethod | classmethod):
            self._add([(label, value.__func__)])
        elif isinstance(value, type):
            self._class(value)
            self._work.extend(self._pending.pop("__init__", ()))
        else:
            self._object(label, value, through)

    def _object(self, label: str, value: Any, through: bool) -> None:
        """Methods of an object of the user's, and what it holds, but not what is held by that."""
        held = attributes(value)
        if "__wrapped__" in held:
            self._add([(label, held["__wrapped__"])])
        elif not is_foreign_class(type(value)):
            self._class(type(value))
            if through:
                self._add(((f"{label}.{name}", v) for name, v in held.items()), through=False)

    def _method(self, method: MethodType) -> None:
        owner = method.__self__
        self._add([("self", owner), ("", method.__func__)])
        if not isinstance(owner, Observed | type) and is_foreign_class(type(owner)):
            self._add(((name.lstrip("_"), v) for name, v in attributes(owner).items()), through=False)

    def _class(self, kind: type) -> None:
        """What a user's class defines: what is called by no name that is seen here, and, once it is named, the rest."""
        for base in kind.__mro__:
            if base in self._classes or is_foreign_class(base):
                continue
            self._classes.add(base)
            for name, value in vars(base).items():
                found = f"{base.__name__}.{name}", value, True
                if name in self.read or _is_hook(kind, name):
                    self._work.append(found)
                else:
                    self._pending.setdefault(name, []).append(found)

    def _class_attributes(self, base: type, plain: bool) -> None:
        """What a user's class defines that some code names: methods, and where `plain` also values, as of modules."""
        for name, value in list(vars(base).items()):
            method = isinstance(value, _METHODS) and (name in self.read or _is_hook(base, name))
            data = plain and name in self.read and not name.startswith("__") and not hasattr(type(value), "__get__")
            if method or data:
                self._variable(base, GlobalVariable(base, name, f"{base.__name__}.{name}"))

    def _function(self, fn: FunctionType) -> None:
        code, cells = fn.__code__, fn.__closure__ or ()
        around = dict(zip(code.co_freevars, cells, strict=True))
        self._add(_numbered("", fn.__defaults__ or ()))
        self._add((fn.__kwdefaults__ or {}).items())
        if _is_foreign(code.co_filename):
            self._add((name, content(cell)) for name, cell in around.items())
            return
        self.codes.append(code)
        for name in names_in(code).read - self.read:
            self._work.extend(self._pending.pop(name, ()))
        self.read |= names_in(code).read
        for name, cell in around.items():
            if name != "__class__" and content(cell) is not MISSING:
                self._variable(cell, FreeVariable(cell, name))
            self._add([(name, content(cell))])
        for chain in names_in(code).chains:
            self._resolve(chain, around, fn.__globals__)
        for name, taken in names_in(code).imports:
            self._imported(name, taken, fn.__globals__)

    def _imported(self, name: str, taken: tuple[str, ...], names: dict[str, Any]) -> None:
        """A module that a function imports itself, and what it takes of it; later, if it has not been imported yet."""
        module = imported(name, names)
        if module is None:
            self._later.append((name, taken, names))
        if module is None or _is_foreign_module(module):
            return
        if not taken:
            self._add([(name, module)])
        self._add([(a, self._attribute(module, a, f"{name}.{a}")) for a in taken])

    def _resolve(self, chain: tuple[str, ...], around: dict[str, CellType], names: dict[str, Any]) -> None:
        """A name, and the attributes of it that are names in modules of the user's."""
        first, *attributes = chain
        if first in around:
            value = content(around[first])
        else:
            value = names.get(first, MISSING)
            self._variable(names, GlobalVariable(names, first, first))
        label = first
        for attribute in attributes:
            if not isinstance(value, ModuleType) or _is_foreign_module(value):
                break
            label += f".{attribute}"
            value = self._attribute(value, attribute, label)
        self._add([(label, value)])

    def _variable(self, holder: Any, variable: GlobalVariable | FreeVariable) -> None:
        name = variable.name if isinstance(variable, GlobalVariable) else ""
        self.variables.setdefault((id(holder), name), variable)


def _numbered(label: str, values: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"{label}.{k}" if label else f"argument {k}", v) for k, v in enumerate(values))


def _parts(label: str, value: Any) -> Iterable[tuple[str, Any]]:
    """What is in a container, unless it holds data."""
    if len(value) > MOST:
        return ()
    if isinstance(value, dict | MappingProxyType):
        return [*((f"{label}.{k}", v) for k, v in value.items()), *((label, k) for k in value)]
    return _numbered(label, value)


def visible(module: Observed) -> Iterator[tuple[str, Any]]:
    """The attributes of a module that may change what it computes."""
    return ((name, value) for name, value in list(attributes(module).items()) if name not in HIDDEN)


def attributes(value: Any) -> dict[str, Any]:
    """What an object holds itself, also in slots."""
    own: dict[str, Any] = getattr(value, "__dict__", None) or {}
    slots = _slots(type(value))
    return {**own, **{name: v for name in slots if (v := slot_of(value, name)) is not MISSING}} if slots else own


def _slots(kind: type) -> list[str]:
    """Those of the user's classes."""
    found = _known_slots.get(kind)
    if found is None:
        kinds = [k for k in reversed(kind.__mro__) if not is_foreign_class(k)]
        found = [name for k in kinds for name, v in vars(k).items() if isinstance(v, MemberDescriptorType)]
        _known_slots[kind] = found
    return found


_known_slots: WeakKeyDictionary[type, list[str]] = WeakKeyDictionary()


def slot_of(value: Any, name: str) -> Any:
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return MISSING


def content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty one
        return MISSING


@lru_cache(4096)
def _is_foreign(file: str) -> bool:
    return file.startswith(_FOREIGN)


def _is_foreign_module(module: ModuleType | None) -> bool:
    file = getattr(module, "__file__", None)
    return _is_foreign(file) if file else getattr(module, "__spec__", None) is not None


def _is_hook(kind: type, name: str) -> bool:
    """Whether a method is called by Python, or by this package in place of its own, so that no code need name it."""
    if name.startswith("__"):
        return name not in _CALLED_BY_NOBODY
    return name in _HOOKS or any(name in vars(base) for base in kind.__mro__ if base.__module__.startswith(_NAME))


def is_foreign_class(kind: type) -> bool:
    return kind.__module__ == "builtins" or _is_foreign_module(sys.modules.get(kind.__module__))
