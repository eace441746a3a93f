"""Parts of a data set that have nothing in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError, fail
from ..nn.init import Seed, generator_of

__all__ = ["split"]


def split(
    data: Any, fractions: Sequence[float] = (0.8, 0.1, 0.1), *, generator: Seed = None, groups: Any = None
) -> list[Any]:
    """Cut examples into parts: for training, validation and test. Each example is in exactly one of them.

    Parameters
    ----------
    data : array, list, str, or dict of columns
        Examples; columns as for :class:`Batches`.
    fractions : sequence of float
        Of the examples, for each part; their sum is 1.
    generator : numpy.random.Generator or int, optional
        Shuffles. Without it parts follow each other: for texts and time series, where neighbours tell of each other.
    groups : sequence, optional
        Of each example what it belongs to (a speaker, a document). Those of a group are in the same part, so fractions
        are kept only as well as the sizes of groups allow.

    Returns
    -------
    list
        As many parts as fractions, each of the kind that `data` is of.

    Raises
    ------
    ValueError
        If fractions are negative or do not add up to 1.
    ShapeError
        If columns or groups differ in their number of examples.

    Examples
    --------
    >>> from tinygrad_rnn.data import split
    >>> split("abcdefghij")
    ['abcdefgh', 'i', 'j']
    >>> train, test = split({"x": [1, 2, 3, 4], "y": [5, 6, 7, 8]}, (0.5, 0.5), generator=0)
    >>> train["y"] == [x + 4 for x in train["x"]]
    True
    """
    if not all(f >= 0 for f in fractions) or not abs(sum(fractions) - 1) <= 1e-6:  # NaN is neither
        raise fail(ValueError, "split: fractions", expected="not negative, with the sum 1", got=str(tuple(fractions)))
    columns = data if isinstance(data, Mapping) else {"data": data}
    counts = {name: len(column) for name, column in columns.items()}
    counts |= {} if groups is None else {"groups": len(groups)}
    if len(set(counts.values())) != 1:
        raise fail(ShapeError, "split: the columns do not fit together", expected="as many examples in each",
                   got=", ".join(f"{name}: {count}" for name, count in counts.items()))  # fmt: skip
    blocks = _blocks(next(iter(counts.values())), groups)
    if generator is not None:
        blocks = [blocks[k] for k in generator_of(generator).permutation(len(blocks))]
    parts = _parts(blocks, np.cumsum(fractions))
    found = [{name: _taken(column, rows) for name, column in columns.items()} for rows in parts]
    return found if isinstance(data, Mapping) else [part["data"] for part in found]


def _blocks(count: int, groups: Any) -> list[np.ndarray]:
    """Examples that stay together, in order of their first."""
    if groups is None:
        return [np.array([k]) for k in range(count)]
    together: dict[Any, list[int]] = {}
    for k, group in enumerate(groups.tolist() if isinstance(groups, np.ndarray) else groups):
        together.setdefault(group, []).append(k)
    return [np.array(rows) for rows in together.values()]


def _parts(blocks: list[np.ndarray], shares: np.ndarray) -> list[np.ndarray]:
    """Examples of each part: a block belongs where its middle is, as a share of all."""
    sizes = np.array([len(b) for b in blocks])
    ends = np.round(shares * sizes.sum(), 6)
    place = np.searchsorted(ends, np.cumsum(sizes) - sizes / 2, side="right")
    place = np.minimum(place, len(shares) - 1)
    none = np.zeros(0, np.int64)
    return [np.concatenate([none, *(b for b, p in zip(blocks, place) if p == k)]) for k in range(len(shares))]


def _taken(column: Any, rows: np.ndarray) -> Any:
    if isinstance(column, str):
        return "".join(column[k] for k in rows)
    return [column[k] for k in rows] if isinstance(column, list | tuple) else column[rows]
