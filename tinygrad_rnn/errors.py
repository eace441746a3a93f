"""The errors that users see: each says the operation, what was expected, what came, where, and what to do."""

from __future__ import annotations

import reprlib
from typing import Any, TypeVar

import numpy as np

__all__ = [
    "AnomalyError",
    "DTypeError",
    "DisconnectedError",
    "GeneratorError",
    "GradientError",
    "ImmutableError",
    "PlaceholderError",
    "ShapeError",
    "StaleError",
]


class ShapeError(ValueError):
    """Shapes, axes or sizes that an operation cannot work on.

    Attributes
    ----------
    op : str
        Name of the operation that refused.
    inputs : tuple of Tensor
        What it was given, so that the graph up to the failure can still be drawn.
    """

    op: str = ""
    inputs: tuple[Any, ...] = ()


class DTypeError(TypeError):
    """A dtype that an operation does not take."""


class PlaceholderError(TypeError):
    """The value of a symbolic tensor was asked for while a function is being traced."""


class GeneratorError(TypeError):
    """A generator was drawn from while a function was recorded, and not by an operation."""


class ImmutableError(TypeError):
    """An attempt to write into a tensor in place."""


class GradientError(RuntimeError):
    """A gradient that does not exist: an integer tensor, an op without a rule, a missing cotangent."""


class DisconnectedError(GradientError):
    """A tensor that the output does not depend on."""


class StaleError(GradientError):
    """A parameter was assigned after the graph that is being differentiated had used its old value."""


class AnomalyError(FloatingPointError):
    """NaN or infinity, found under ``detect_anomaly``.

    Attributes
    ----------
    node : Tensor
        The first node that produced it.
    """

    node: Any = None


E = TypeVar("E", bound=Exception)


def fail(kind: type[E], what: str, *, expected: str = "", got: str = "", hint: str = "") -> E:
    """Compose an error of type `kind` from its parts; the caller raises it."""
    lines = [what]
    if expected:
        lines.append(f"  expected: {expected}")
    if got:
        lines.append(f"  got:      {got}")
    if hint:
        lines.append(f"  hint:     {hint}")
    text = "\n".join(lines)
    return kind(_Shown(text) if kind is KeyError else text)


class _Shown(str):
    """A text that a KeyError shows as it is; of others it shows the `repr`."""

    __slots__ = ()
    __repr__ = str.__str__


def brief(value: Any) -> str:
    """How messages show what was given: its `repr` if that is short, else its type, and its shape if it has one."""
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, type):
        return value.__name__
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{type(value).__name__} of shape {shape}"
    try:
        text = reprlib.repr(value) if isinstance(value, _SHOWN) else ""
    except ValueError:  # a number of more digits than Python writes
        text = ""
    if text and len(text) <= _SHORT:
        return text
    return f"an object of type {type(value).__name__}"


_SHORT = 60
_SHOWN = (int, float, complex, str, bytes, list, tuple, set, frozenset, dict, slice, type(None), type(...))


def lost_mask(array: np.ma.MaskedArray) -> DTypeError:
    """What to raise for a masked array: a tensor holds all of its entries."""
    return fail(
        DTypeError, "tensor: a masked array would lose its mask", expected="an array without a mask",
        got=f"{int(np.ma.count_masked(array))} of {array.size} entries masked",
        hint="write array.filled(value), and pass ~np.ma.getmaskarray(array) as a mask of its own",
    )  # fmt: skip


def without_mask(value: Any) -> Any:
    """`value`, which must be no masked array."""
    if isinstance(value, np.ma.MaskedArray):
        raise lost_mask(value)
    return value


def anomaly(node: Any, array: np.ndarray, before: str, after: str, *, got: str, hint: str) -> AnomalyError:
    """What to raise for NaN or infinity in `array`, which comes of `node`: ``before NaN after``."""
    found = "NaN" if np.isnan(array).any() else "infinity"
    wrong = f"{int((~np.isfinite(array)).sum())} of {array.size} entries of shape {array.shape}; {got}"
    error = fail(AnomalyError, f"{before} {found}{after}", expected="finite values", got=wrong, hint=hint)
    error.node = node
    return error
