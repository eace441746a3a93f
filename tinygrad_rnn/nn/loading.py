"""Saved states: everything is read, checked and converted before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, fail, without_mask
from ..tensor import Spec, Tensor

__all__ = ["fitted", "read_state"]


def read_state(what: str, state: Any) -> dict[Any, Any]:
    """All entries of a saved state, each read once; a state may be a file that is read while it is asked.

    Raises
    ------
    TypeError
        If it is no mapping.
    ValueError
        If an entry cannot be read.
    """
    if not isinstance(state, Mapping):
        raise fail(
            TypeError, f"{what}: the state", expected="a dict of arrays by name", got=type(state).__name__,
            hint="pass what state_dict() gave, or tg.load(path)",
        )  # fmt: skip
    names = _read(f"{what}: the names of the state", lambda: list(state))
    return {name: _read(f"{what}: '{name}'", partial(state.__getitem__, name)) for name in names}


def fitted(what: str, value: Any, spec: Spec) -> np.ndarray:
    """A new array of that shape and dtype that holds `value`.

    Raises
    ------
    ShapeError, DTypeError
        If it has another shape, or a dtype that would be cut to fit.
    ValueError
        If it is no array, or a number is too large for the dtype.
    """
    without_mask(value)
    array = value.numpy() if isinstance(value, Tensor) else _read(what, lambda: np.asarray(value))
    if array.shape != spec.shape:
        raise fail(ShapeError, what, expected=str(spec.shape), got=str(array.shape))
    if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise fail(DTypeError, what, expected=str(spec.dtype), got=str(array.dtype))
    with np.errstate(all="ignore"):
        made = array.astype(spec.dtype, order="C")
    if _is_cut(array, made):
        raise fail(ValueError, f"{what}: a number is too large", expected=str(spec.dtype), got=str(array.dtype))
    return made


def _is_cut(array: np.ndarray, made: np.ndarray) -> bool:
    if array.dtype == made.dtype or not array.size:
        return False
    if made.dtype.kind == "f":
        return bool((np.isfinite(array) & ~np.isfinite(made)).any())
    return any(int(pick(array)) != int(pick(made)) for pick in (np.min, np.max))


def _read(what: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # whatever a mapping or an array of the user's raises
        raise fail(ValueError, f"{what} cannot be read", got=f"{type(error).__name__}: {error}") from error
