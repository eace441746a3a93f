"""Strategies of what recurrent models read: padded sequences, batches of symbols, and trees."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from ...errors import fail
from .arrays import Draw, arrays, check_count, check_dtype, check_flag, check_range, check_sizes, strategy_of

__all__ = ["Sequences", "one_hot_batches", "sequences", "token_batches", "trees"]


class Sequences(NamedTuple):
    """Sequences of different lengths, padded to the same number of steps.

    Attributes
    ----------
    xs : numpy.ndarray (batch, time, features)
    lengths : numpy.ndarray (batch,) of int64
        How many steps of each sequence belong to it, the first ones.
    mask : numpy.ndarray (batch, time) of bool
        Whether a step belongs to its sequence.
    """

    xs: np.ndarray
    lengths: np.ndarray
    mask: np.ndarray


def sequences(
    *,
    features: Any = None,
    min_steps: int = 1,
    max_steps: int = 6,
    min_batch: int = 1,
    max_batch: int = 4,
    min_length: int = 0,
    dtype: Any = np.float64,
    low: float = -3,
    high: float = 3,
    away_from: Any = (),
    gap: float = 0.05,
    padding: float | None = None,
    batch_first: bool = True,
) -> st.SearchStrategy[Sequences]:
    """Batches of sequences of different lengths, as :class:`Sequences` of arrays.

    Parameters
    ----------
    features : int, or strategy of int, optional
        Numbers per step; 1 to 3 by default.
    min_steps, max_steps, min_batch, max_batch : int
        Least and greatest number of steps and of sequences; 0 is allowed.
    min_length : int
        Least length of a sequence, `min_steps` at most; 0 by default, so that some have no step of their own.
    dtype, low, high, away_from, gap
        As for :func:`arrays`, floats only.
    padding : float, optional
        The value of what comes after the end of a sequence. By default it is drawn like the rest, so that a model
        that reads beyond the end is caught.
    batch_first : bool
        False for `xs` as (time, batch, features) and a mask (time, batch).

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind, or a range is empty.

    Notes
    -----
    Shrinks to one sequence of one step and one feature, which is 0; lengths shrink to the full length.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(sequences(), lambda batch: True)
    Sequences(xs=array([[[0.]]]), lengths=array([1]), mask=array([[ True]]))
    >>> find(sequences(features=2), lambda batch: len(set(batch.lengths)) == 2).mask
    array([[ True],
           [False]])
    """
    least, most = check_sizes("sequences", "steps", min_steps, max_steps)
    smallest, largest = check_sizes("sequences", "batch", min_batch, max_batch)
    min_length = check_count("sequences", "min_length", min_length)
    if min_length > least:
        got = f"min_length={min_length}, min_steps={least}"
        raise fail(ValueError, "sequences: a sequence is too short", expected="min_length at most min_steps", got=got)
    check_flag("sequences", "batch_first", batch_first)
    check_range("sequences", low, high, away_from, gap)
    if padding is not None and not isinstance(padding, int | float):
        raise fail(TypeError, "sequences: padding", expected="a number or None", got=repr(padding))
    width = st.integers(1, 3) if features is None else strategy_of(features, _check_features)
    checked = strategy_of(dtype, lambda d: check_dtype("sequences", d, "f"))
    sizes = st.tuples(st.integers(least, most), width)
    options = {"low": low, "high": high, "away_from": away_from, "gap": gap}
    arrays(shape=(), **options)  # raises at once if nothing is within the limits
    return _sequences(sizes, (smallest, largest), checked, min_length, padding, batch_first, options)


def _check_features(features: Any) -> int:
    return check_count("sequences", "features", features)


@st.composite
def _sequences(
    draw: Draw, sizes: Any, batch: tuple[int, int], dtype: Any, min_length: int, padding: float | None,
    batch_first: bool, options: dict[str, Any],
) -> Sequences:  # fmt: skip
    time, width = draw(sizes)
    # 0 for the full length, else one more than what is above the least: it stays the same where there are fewer steps.
    codes = draw(st.lists(st.integers(0, time - min_length), min_size=batch[0], max_size=batch[1]))
    lengths = np.array([time if code == 0 else min_length + code - 1 for code in codes], np.int64)
    mask = np.arange(time) < lengths[:, None]
    xs = draw(arrays(dtype=draw(dtype), shape=(len(codes), time, width), **options))
    if padding is not None:
        xs[~mask] = padding
    if batch_first:
        return Sequences(xs, lengths, mask)
    return Sequences(np.ascontiguousarray(xs.swapaxes(0, 1)), lengths, np.ascontiguousarray(mask.T))


_INTEGERS = st.sampled_from([np.dtype(np.int64), np.dtype(np.int32)])


def token_batches(
    *,
    classes: int,
    min_batch: int = 1,
    max_batch: int = 4,
    min_steps: int = 1,
    max_steps: int | None = 6,
    dtype: Any = _INTEGERS,
) -> st.SearchStrategy[np.ndarray]:
    """Batches of sequences of symbols: arrays (batch, time) of integers from 0 to ``classes - 1``.

    Parameters
    ----------
    classes : int
        How many symbols there are.
    min_batch, max_batch, min_steps, max_steps : int
        Least and greatest number of sequences and of steps; 0 is allowed. With ``max_steps=None`` there is no time
        axis: labels (batch,).
    dtype : dtype, or strategy of dtypes
        int64 or int32 by default.

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind, a range is empty, or the dtype cannot hold all symbols.

    Notes
    -----
    Shrinks to one step of symbol 0, in int64.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(token_batches(classes=5), lambda tokens: 4 in tokens)
    array([[4]])
    >>> find(token_batches(classes=5, max_steps=None), lambda labels: 3 in labels)
    array([3])
    """
    return _tokens("token_batches", classes, min_batch, max_batch, min_steps, max_steps, dtype)


def _tokens(
    function: str, classes: Any, min_batch: Any, max_batch: Any, min_steps: Any, max_steps: Any, dtype: Any
) -> st.SearchStrategy[np.ndarray]:
    classes = check_count(function, "classes", classes, 1)
    sides = [st.integers(*check_sizes(function, "batch", min_batch, max_batch))]
    if max_steps is not None:
        sides.append(st.integers(*check_sizes(function, "steps", min_steps, max_steps)))

    def check(dtype: Any) -> np.dtype:
        found = check_dtype(function, dtype, "iu")
        if classes - 1 > np.iinfo(found).max:
            got = f"{found} for {classes} classes"
            raise fail(ValueError, f"{function}: dtype", expected="integers that hold all classes", got=got)
        return found

    return arrays(dtype=strategy_of(dtype, check), shape=st.tuples(*sides), low=0, high=classes - 1)


def one_hot_batches(
    *,
    classes: int,
    min_batch: int = 1,
    max_batch: int = 4,
    min_steps: int = 1,
    max_steps: int | None = None,
    dtype: Any = np.float64,
) -> st.SearchStrategy[np.ndarray]:
    """Batches of symbols as vectors with a single 1: arrays (batch, classes), or (batch, time, classes).

    Parameters
    ----------
    classes : int
        How many symbols there are.
    min_batch, max_batch : int
        Least and greatest number of rows; 0 is allowed.
    min_steps, max_steps : int
        Least and greatest number of steps, where `max_steps` is given; there is no time axis otherwise.
    dtype : dtype, or strategy of dtypes
        Any that tensors have.

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind, or a range is empty.

    Notes
    -----
    Shrinks to one row that says symbol 0.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(one_hot_batches(classes=3), lambda batch: len(batch) == 2)
    array([[1., 0., 0.],
           [1., 0., 0.]])
    """
    labels = _tokens("one_hot_batches", classes, min_batch, max_batch, min_steps, max_steps, np.int64)
    checked = strategy_of(dtype, lambda d: check_dtype("one_hot_batches", d))
    return st.builds(lambda symbols, d: np.eye(classes, dtype=d)[symbols], labels, checked)


def trees(
    *,
    min_leaves: int = 1,
    max_leaves: int = 6,
    vocabulary: int = 5,
    binary: bool = True,
    max_children: int = 4,
) -> st.SearchStrategy[Any]:
    """Parse trees: a leaf is an integer, a word; a node is a tuple of its children, which are trees.

    Parameters
    ----------
    min_leaves, max_leaves : int
        Least and greatest number of words; 200 at most, as nested tuples are compared and shown by recursion.
    vocabulary : int
        How many words there are: 0 to ``vocabulary - 1``.
    binary : bool
        Whether each node has two children. If not, it has from one up to `max_children`; one that has a single child
        is not the single child of another.
    max_children : int
        At least 2; for trees that are not binary.

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind, or the range of leaves is empty.

    Notes
    -----
    Shrinks to the single leaf 0. Larger trees shrink to branches on the left, or to children of one node, with the word
    0 at their leaves.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(trees(), lambda tree: True)
    0
    >>> find(trees(min_leaves=3), lambda tree: True)
    ((0, 0), 0)
    >>> find(trees(binary=False), lambda tree: isinstance(tree, tuple) and len(tree) == 3)
    (0, 0, 0)
    """
    least, most = check_sizes("trees", "leaves", min_leaves, max_leaves, 1)
    if most > 200:
        raise fail(ValueError, "trees: max_leaves", expected="at most 200", got=str(most))
    vocabulary = check_count("trees", "vocabulary", vocabulary, 1)
    check_flag("trees", "binary", binary)
    arity = 2 if binary else check_count("trees", "max_children", max_children, 2)
    joins = st.lists(st.integers(2 if binary else 1, arity), max_size=most - 1)
    words = st.tuples(st.integers(0, vocabulary - 1), joins)
    return st.lists(words, min_size=least, max_size=most).map(lambda drawn: _tree(drawn, arity))


def _tree(words: list[tuple[int, list[int]]], arity: int) -> Any:
    """The tree that a shift-reduce parser makes: after each word come joins, each of so many of the last trees."""
    forest: list[Any] = []
    for word, joins in words:
        forest.append(word)
        for count in joins:
            if count <= len(forest) and not (count == 1 and _has_one_child(forest[-1])):
                forest[-count:] = [tuple(forest[-count:])]
    while len(forest) > 1:
        forest[:arity] = [tuple(forest[:arity])]
    return forest[0]


def _has_one_child(tree: Any) -> bool:
    return isinstance(tree, tuple) and len(tree) == 1
