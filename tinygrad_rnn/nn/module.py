"""Module: something with parameters that can be called, saved and trained."""

from __future__ import annotations

from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import takewhile
from types import GeneratorType, MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np

from ..calls import answered
from ..changes import Observed
from ..errors import fail
from ..scope import current, modes_seen, scope, using
from ..tensor import Tensor
from .loading import fitted, read_state

__all__ = ["Module", "entered"]


class Module(Observed):
    """Base of all layers and models: write ``forward``, and set tensors and modules as attributes.

    Parameters are the attributes made by ``tg.parameter``, also inside lists, tuples, deques, dicts and dataclasses,
    and these in each other, in the order in which they were set; other tensors are saved with them but not trained.
    They are named after their attributes, as ``blocks.0.1.W`` in ``self.blocks = [[layer, layer], [layer]]``, and
    what ``forward`` computes is recorded in a scope of the module, named after the attribute too: ``layer1`` for the
    second one of ``self.layers``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> class Affine(tg.nn.Module):
    ...     def __init__(self):
    ...         self.w = tg.parameter([2.0])
    ...         self.b = tg.parameter([1.0])
    ...
    ...     def forward(self, x):
    ...         return self.w * x + self.b
    >>> model = Affine()
    >>> model(3.0).tolist(), [name for name, _ in model.named_parameters()]
    ([7.0], ['w', 'b'])
    """

    training: bool = True
    _name: str | None = None

    def __setattr__(self, attribute: str, value: Any) -> None:
        for path, child in _children(attribute, value):
            if isinstance(child, Tensor) and child.name is None and child.is_leaf:
                child.named(path)
            elif isinstance(child, Module) and child._name is None:
                object.__setattr__(child, "_name", _singular(path))
        super().__setattr__(attribute, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result; each kind of module defines its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method: define one that takes its inputs")

    @answered
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with entered(self):
            return self.forward(*args, **kwargs)

    # What it holds --------------------------------------------------------------------------------------------------

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """``(path, tensor)`` of all that is saved: the parameters, also frozen ones, and other tensors."""
        seen, paths = set[int](), set[str]()
        for prefix, module in self.named_modules():
            for attribute, value in vars(module).items():
                for name, child in _children(attribute, value):
                    if isinstance(child, Tensor) and child.is_leaf and id(child) not in seen:
                        seen.add(id(child))
                        path = f"{prefix}.{name}" if prefix else name
                        _check_new(path, paths)
                        yield path, child

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """``(path, parameter)`` of this module and those inside; one that is shared appears once."""
        return ((path, t) for path, t in self.named_tensors() if t.requires_grad)

    def parameters(self) -> list[Tensor]:
        """The tensors that are trained."""
        return [t for _, t in self.named_parameters()]

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """``(path, module)`` of this module, whose path is empty, and of all inside it, outside first."""
        work: list[tuple[str, Module]] = [("", self)]
        seen: set[int] = set()
        while work:
            prefix, module = work.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield prefix, module
            inside = [
                (f"{prefix}.{path}" if prefix else path, child)
                for attribute, value in vars(module).items()
                for path, child in _children(attribute, value)
                if isinstance(child, Module)
            ]
            work.extend(reversed(inside))

    def modules(self) -> list[Module]:
        """This module and all inside it."""
        return [module for _, module in self.named_modules()]

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(t.size for t in self.parameters())

    # How it is trained ------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Switch dropout and the like on, here and in all modules inside."""
        for module in self.modules():
            Observed.__setattr__(module, "training", bool(mode))
        return self

    def eval(self) -> Module:
        """Switch dropout and the like off, here and in all modules inside."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for t in self.parameters():
            t.grad = None

    # How it is kept ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all tensors by path, to be saved or loaded into a module of the same make."""
        return {path: t.numpy().copy() for path, t in self.named_tensors()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Assign tensors by path. Either all fit and are assigned, or nothing is changed.

        Raises
        ------
        KeyError
            If paths are missing or unknown.
        ShapeError, DTypeError
            If a shape differs, or a dtype is of another kind.
        TypeError, ValueError
            If the state is no mapping; if an entry cannot be read or does not fit into the tensor's dtype.
        """
        own, given = dict(self.named_tensors()), read_state("load_state_dict", state)
        missing, unknown = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys(), key=str)
        if missing or unknown:
            raise fail(
                KeyError,
                f"load_state_dict: for {type(self).__name__} the state misses {missing or 'nothing'} "
                f"and has {unknown or 'nothing'} that it does not know",
            )
        if current().tracing is not None:
            values = {path: v.detach() if isinstance(v, Tensor) else v for path, v in given.items()}  # all from before
            for path, t in own.items():
                t.assign(values[path])
            return
        arrays = [fitted(f"load_state_dict: '{path}'", given[path], t.spec) for path, t in own.items()]
        for t, array in zip(own.values(), arrays, strict=True):
            t.replace_data(array)

    def __repr__(self) -> str:
        lines = []
        for path, module in self.named_modules():
            depth = path.count(".") + 1 if path else 0
            tensors = [
                f"{p}{tuple(c.shape)}"
                for a, v in vars(module).items()
                for p, c in _children(a, v)
                if isinstance(c, Tensor)
            ]
            label = f"{path.rpartition('.')[2]}: " if path else ""
            lines.append("  " * depth + f"{label}{type(module).__name__}({', '.join(tensors)})")
        return "\n".join(lines)


def entered(called: Any, name: str | None = None) -> using:
    """The scope of what a module, or anything else that is called, computes in the block.

    It has the name that is given here, that of the attribute which holds the module, or that of its kind.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3)
    >>> with tg.nn.module.entered(cell, "layer0"):
    ...     y = cell.from_input(tg.ones((1, 2)))
    >>> y.scope
    ('layer0',)
    """
    effects = current().tracing
    if effects is not None and isinstance(called, Module):
        effects.enter(called)
    modes = modes_seen.get()
    if modes is not None and isinstance(called, Module):
        modes.setdefault(id(called), (called, called.training))
    own = called._name if isinstance(called, Module) else None
    return scope(name or own or _kind(called))


def _check_new(path: str, paths: set[str]) -> None:
    if path in paths:
        raise fail(
            ValueError, f"Module: two tensors are called '{path}'", expected="a name of its own for each",
            hint="keys of dicts become parts of names: let no two be written alike, as 1 and '1', or 'a.b' and a dict "
            "in a dict",
        )  # fmt: skip
    paths.add(path)


def _singular(path: str) -> str:
    """What one of several is called: ``layer0`` for ``layers.0``, ``block0_1`` for ``blocks.0.1``."""
    parts = path.split(".")
    numbers = list(takewhile(str.isdigit, reversed(parts[1:])))[::-1]
    name = parts[-1 - len(numbers)]
    return name.removesuffix("s") + "_".join(numbers) if numbers else name


def _kind(called: Any) -> str:
    found = getattr(called, "__name__", type(called).__name__).lower()
    return found if found.isidentifier() else "cell"  # a lambda is called <lambda>


def _children(attribute: str, value: Any) -> Iterator[tuple[str, Any]]:
    """``(path, value)`` of an attribute, or of all that is in it where it is a container, or containers in each other.

    Raises
    ------
    TypeError
        If a set, an array of objects or an iterator holds what is trained: it gives no names, or gives it once only.
    """
    work, seen = [iter([(attribute, value)])], set[int]()
    while work:
        for path, v in work[-1]:
            if not _is_container(v):
                _check_nameable(path, v)
                yield path, v
            elif id(v) not in seen:  # one that holds itself is entered once
                seen.add(id(v))
                work.append(_entries(path, v))
                break
        else:
            work.pop()


_SEQUENCES = (list, tuple, deque, UserList)
_MAPPINGS = (dict, UserDict, MappingProxyType, ChainMap)
_ONCE: tuple[Any, ...] = (iter([]), iter(()), iter(set()), iter({}), {}.keys(), {}.values(), {}.items())
_ITERATORS = (GeneratorType, map, filter, zip, enumerate, reversed, *map(type, _ONCE))


def _is_container(value: Any) -> bool:
    kind = type(value)
    known = issubclass(kind, (*_SEQUENCES, *_MAPPINGS, SimpleNamespace))
    return known or (is_dataclass(kind) and not issubclass(kind, Module))


def _entries(path: str, container: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(container, _SEQUENCES):
        pairs: Any = enumerate(container)
    elif isinstance(container, _MAPPINGS):
        pairs = container.items()
    elif isinstance(container, SimpleNamespace):
        pairs = vars(container).items()
    else:
        pairs = ((f.name, getattr(container, f.name, None)) for f in fields(container))
    return ((f"{path}.{key}", v) for key, v in pairs)


def _check_nameable(path: str, value: Any) -> None:
    objects = isinstance(value, np.ndarray) and value.dtype.hasobject
    inside = value.flat if objects else value if isinstance(value, set | frozenset) else ()
    once = isinstance(value, _ITERATORS)
    if once or any(isinstance(v, Module | Tensor) for v in inside):
        whose = "which may hold parameters that" if once else "whose parameters"
        raise fail(
            TypeError, f"Module: '{path}' is a {type(value).__name__}, {whose} would be neither trained nor saved",
            expected="modules and parameters as attributes, or in lists, tuples, deques and dicts",
            hint="make it a list, which has an order that names can be taken from",
        )  # fmt: skip
