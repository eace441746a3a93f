"""Comparison of tensors, with a message that says where they differ most."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor

__all__ = ["assert_close"]


def assert_close(
    found: Any, expected: Any, *, rtol: float | None = None, atol: float | None = None, name: str = "found"
) -> None:
    """Raise unless two tensors or arrays agree in shape, dtype kind and values, NaN and infinities included.

    Parameters
    ----------
    found, expected : array_like
    rtol, atol : float, optional
        An entry may be off by ``atol + rtol * |expected|``. By default 256 units of the last place of the coarser
        dtype: of the entry, and of the largest entry.
    name : str
        What messages call `found`.

    Raises
    ------
    AssertionError
        It shows the worst entry, its index, and how many others are off.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.testing.assert_close(tg.tensor([1.0, 2.0]), [1.0, 2.0])
    >>> tg.testing.assert_close([1.0, 2.5], [1.0, 2.0], atol=0.1, name="y")
    Traceback (most recent call last):
        ...
    AssertionError: y[1] is 2.5, expected 2.0: off by 0.5, where 0.1 is allowed
      1 of 2 entries are off
    """
    a, b = (np.asarray(x.data if isinstance(x, Tensor) else x) for x in (found, expected))
    if a.shape != b.shape:
        raise AssertionError(f"{name} has shape {a.shape}, expected {b.shape}")
    if a.dtype.kind != b.dtype.kind and "f" in (a.dtype.kind, b.dtype.kind):
        raise AssertionError(f"{name} has dtype {a.dtype}, expected {b.dtype}")
    if a.dtype.kind != "f":
        _compare(name, a, b, np.zeros(a.shape))
        return
    eps = max(_eps(a), _eps(b))
    finite = np.abs(b, where=np.isfinite(b), out=np.zeros(b.shape))
    relative = 256 * eps if rtol is None else rtol
    absolute = 256 * eps * float(finite.max(initial=0)) if atol is None else atol
    _compare(name, a.astype(np.float64), b.astype(np.float64), absolute + relative * finite)


def _eps(a: np.ndarray) -> float:
    """Arrays of float64 that came from Python numbers are compared as float32 would be only if the other one is."""
    return float(np.finfo(a.dtype).eps)


def _compare(name: str, a: np.ndarray, b: np.ndarray, allowed: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        off = np.where(a == b, 0.0, np.abs(a.astype(np.float64) - b.astype(np.float64)))
        off = np.where(np.isnan(a.astype(np.float64)) & np.isnan(b.astype(np.float64)), 0.0, off)
        off = np.where(np.isnan(off), np.inf, off)
    wrong = off > allowed
    if not wrong.any():
        return
    excess = np.where(wrong, off / np.maximum(allowed, 1e-300), 0)
    place = tuple(int(n) for n in np.unravel_index(int(np.argmax(excess)), a.shape))
    where = name + (f"[{', '.join(map(str, place))}]" if place else "")
    raise AssertionError(
        f"{where} is {a[place].item()!r}, expected {b[place].item()!r}: off by {off[place]:.3g}, "
        f"where {allowed[place]:.3g} is allowed\n  {int(wrong.sum())} of {a.size} entries are off"
    )
