"""Sequences of different lengths in one array, and the mask that says which steps are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError, brief, fail
from ..ops.checks import checked
from ..ops.core import as_array, as_tensor
from ..ops.create import tensor
from ..ops.elementwise import where
from ..tensor import Tensor, describe

__all__ = ["masked", "pad_sequences", "sequence_mask"]


def pad_sequences(sequences: Sequence[Any], *, value: float = 0, steps: int | None = None) -> tuple[Tensor, Tensor]:
    """Sequences as one batch, filled up behind their ends, and their lengths.

    Parameters
    ----------
    sequences : sequence of array_like, each (time, ...)
        Of different lengths, which may be 0; everything behind the first axis must be alike.
    value : number
        What stands behind the ends. It changes no result where the lengths are given along.
    steps : int, optional
        Number of steps of the result; that of the longest sequence by default.

    Returns
    -------
    padded : Tensor (batch, time, ...)
    lengths : Tensor (batch,), int64

    Raises
    ------
    ShapeError
        If there are no sequences, their features differ, or one is longer than `steps`.
    ValueError
        If their type does not hold `value`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> padded, lengths = tg.nn.pad_sequences([[1, 2, 3], [4]])
    >>> padded.tolist(), lengths.tolist()
    ([[1, 2, 3], [4, 0, 0]], [3, 1])
    """
    arrays = [as_array(s.numpy() if isinstance(s, Tensor) else s) for s in sequences]
    if not arrays:
        raise fail(ShapeError, "pad_sequences: there are no sequences", expected="at least one")
    for k, a in enumerate(arrays):
        if not a.ndim:
            raise fail(ShapeError, f"pad_sequences: sequence {k}", expected="(time, ...)", got="a number")
    longest = max(map(len, arrays))
    count = longest if steps is None else steps
    full = [a for a in arrays if len(a)] or arrays  # an empty list has lost its features
    features, dtype = full[0].shape[1:], np.result_type(*(a.dtype for a in full))
    for k, a in enumerate(full):
        if a.shape[1:] != features:
            raise fail(
                ShapeError, f"pad_sequences: sequence {k} has entries of shape {a.shape[1:]}", expected=str(features)
            )
    filling = np.asarray(value)
    with np.errstate(invalid="ignore"):
        holds = filling.dtype.kind in "fiub" and not filling.ndim
        holds = holds and (dtype.kind == "f" or bool(filling.astype(dtype) == filling))
    if not holds:
        raise fail(
            ValueError, f"pad_sequences: value for sequences of {dtype}", expected=f"a number that {dtype} holds",
            got=brief(value), hint="pass sequences of floats for a value with a fraction",
        )  # fmt: skip
    if longest > count:
        raise fail(ShapeError, f"pad_sequences: a sequence of {longest} steps", expected=f"at most {count}, the steps")
    padded = np.full((len(arrays), count, *features), filling, dtype)
    for row, a in zip(padded, arrays, strict=True):
        row[: len(a)] = a
    return tensor(padded), tensor(np.array([len(a) for a in arrays], np.int64))


def sequence_mask(lengths: Any, steps: int) -> Tensor:
    """Which steps are there: True up to the length of each sequence.

    Parameters
    ----------
    lengths : integer tensor (batch,)
    steps : int

    Returns
    -------
    Tensor (batch, steps), bool

    Raises
    ------
    ShapeError
        If `lengths` are not integers of shape (batch,).
    ValueError
        If one is negative or more than `steps`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.sequence_mask([2, 0], 3).tolist()
    [[True, True, False], [False, False, False]]
    """
    lengths = as_tensor(lengths)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise fail(ShapeError, f"sequence_mask: lengths {describe(lengths)}", expected="integers of shape (batch,)")
    words = "sequence_mask: length {value} of sequence {row} is out of range"
    lengths = checked(lengths, 0, steps + 1, words, expected=f"0 to {steps}, the steps", kind="ValueError")
    return tensor(np.arange(steps)) < lengths[:, None]


def masked(mask: Tensor, kept: Tensor, other: Tensor) -> Tensor:
    """`kept` for the sequences where the mask (batch,) is True, `other` for the others."""
    return where(mask.reshape(mask.shape + (1,) * (kept.ndim - 1)), kept, other)
