"""Parameters that an optimiser holds and the loss does not reach: they are never trained, and nothing else says so."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from .errors import E, fail
from .tensor import Tensor

__all__ = ["complaint", "unreached"]

MOST = 10  # names in one message


def unreached(optimizers: Iterable[Any], reached: Container[int]) -> list[Tensor]:
    """What the optimisers train and nothing reaches, given the serial numbers of what something does."""
    return [p for o in optimizers for p in o.parameters if p.requires_grad and p.serial not in reached]


def complaint(kind: type[E], who: str, parameters: list[Tensor], modules: Iterable[Any]) -> E:
    """An error or a warning that names these parameters by their paths in the modules."""
    paths = _paths(modules)
    names = [paths.get(id(p), repr(p.name) if p.name else f"a parameter of shape {p.shape}") for p in parameters]
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return fail(
        kind, f"{who}: the loss does not reach {', '.join(names[:MOST])}{more}, which an optimiser holds",
        expected="a gradient for every parameter", got="none, so they stay as they are",
        hint="look for a module that is used no more, as after an attribute was renamed, and for detach() on the way; "
        "freeze what is not to be trained by requires_grad = False, or leave it out of the optimiser",
    )  # fmt: skip


def _paths(modules: Iterable[Any]) -> dict[int, str]:
    """The longest path of each tensor, which is the one from the outermost module."""
    found: dict[int, str] = {}
    for module in modules:
        for path, t in module.named_tensors():
            if len(path) > len(found.get(id(t), "")):
                found[id(t)] = path
    return {at: repr(path) for at, path in found.items()}
