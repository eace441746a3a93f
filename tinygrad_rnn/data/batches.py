"""Examples in batches, shuffled by an explicit generator, those of like length together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError, fail
from ..nn.init import Seed, generator_of
from ..nn.loading import read_state
from ..nn.sequences import pad_sequences
from ..ops.core import as_array
from ..settings import check_count, check_switch
from ..tensor import Tensor
from .source import Batch, Source, read_only

__all__ = ["Batches", "boundaries"]


class Batches(Source):
    """Batches of examples: every epoch gives each example once.

    Sequences are padded with zeros. They are put into few buckets by their length, and a batch is padded to the longest
    of its bucket, so that there are few different shapes and a compiled step is recorded for each of them only. What
    does not fill a batch goes up into the next bucket: all batches but one are full.

    Parameters
    ----------
    columns : dict of str to array or sequence
        What there is of each example, under the names of the loss's arguments. Arrays have an example in each row; a
        list of lists or arrays holds sequences, (time, ...) each, whose lengths may differ.
    batch_size : int
    lengths : str, or dict of str to str, optional
        Column of the sequences whose lengths are to be given along as ``"lengths"``; or for each name under which
        lengths are given the column that they are of.
    buckets : int or sequence of int
        Number of buckets, whose limits are chosen so that least is padded; or these limits. They are of the lengths of
        the first column that `lengths` names, else of the first one of sequences.
    generator : numpy.random.Generator or int, optional
        Shuffles. It is asked for a single number, from which the order of each epoch comes. Without it examples come in
        their order, in each bucket.
    drop_last : bool
        Leave out the batch that is not full.

    Notes
    -----
    Batches of neighbouring rows of an array are views of it, which cannot be written into; copy them to change them.

    Attributes
    ----------
    rows : array of int
        Which examples are in the batch that was given last.

    Raises
    ------
    ShapeError
        If columns differ in their number of examples, there are none, or one is longer than all limits.

    Examples
    --------
    >>> from tinygrad_rnn.data import Batches
    >>> columns = {"xs": [[1, 2], [3, 3], [4, 5, 6, 7], [8]], "target": [0, 1, 1, 0]}
    >>> for batch in Batches(columns, batch_size=2, lengths="xs", buckets=2):
    ...     print(batch["xs"].tolist(), batch["lengths"].tolist(), batch["target"].tolist())
    [[1, 2], [3, 3]] [2, 2] [0, 1]
    [[8, 0, 0, 0], [4, 5, 6, 7]] [1, 4] [0, 1]
    """

    def __init__(
        self,
        columns: Mapping[str, Any],
        *,
        batch_size: int,
        lengths: str | Mapping[str, str] | None = None,
        buckets: int | Sequence[int] = 4,
        generator: Seed = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__()
        if not columns:
            raise fail(ValueError, "Batches: there are no columns", expected="at least one, by the loss's argument")
        self.batch_size = check_count("Batches: batch_size", batch_size)
        self.drop_last = check_switch("Batches: drop_last", drop_last)
        self._columns = {name: _column(name, column) for name, column in columns.items()}
        self.count = _count(self._columns)
        self._lengths = _measured(lengths, self._columns)
        self._buckets, self._steps = self._bucketed(buckets)
        self._seed = -1 if generator is None else int(generator_of(generator).integers(2**63))
        self.rows = np.zeros(0, np.int64)

    def _bucketed(self, buckets: int | Sequence[int]) -> tuple[list[np.ndarray], list[dict[str, int]]]:
        """Examples of each bucket, and how long each column of sequences becomes in it."""
        sizes = {name: np.array([len(s) for s in c]) for name, c in self._columns.items() if isinstance(c, list)}
        if not sizes:
            return [np.arange(self.count)], [{}]
        key = sizes[next(iter(self._lengths.values()), next(iter(sizes)))]
        several = isinstance(buckets, Sequence | np.ndarray) and not isinstance(buckets, str)
        limits = np.unique(buckets) if several else boundaries(key, buckets)  # type: ignore[arg-type]
        if key.max() > limits[-1]:
            raise fail(
                ShapeError, f"Batches: example {key.argmax()} has {key.max()} steps", expected=f"at most {limits[-1]}",
                hint="cut it, or give a larger limit in buckets",
            )  # fmt: skip
        place = np.searchsorted(limits, key)
        members = [np.flatnonzero(place == k) for k in range(len(limits))]
        reach = [np.flatnonzero(place <= k) for k in range(len(limits))]  # those of the buckets below may come up
        return members, [{name: int(size[r].max(initial=0)) for name, size in sizes.items()} for r in reach]

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch_size)
        return full + bool(rest and not self.drop_last)

    def _plan(self) -> list[tuple[np.ndarray, int]]:
        """For each batch its examples, and the bucket that it is padded as."""
        rng = None if self._seed < 0 else np.random.default_rng([self._seed, self.epoch])
        plan: list[tuple[np.ndarray, int]] = []
        left = np.zeros(0, np.int64)
        for k, members in enumerate(self._buckets):
            rows = np.concatenate([left, members])
            rows = rows if rng is None else rng.permutation(rows)
            full = len(rows) - len(rows) % self.batch_size
            plan += [(rows[n : n + self.batch_size], k) for n in range(0, full, self.batch_size)]
            left = rows[full:]
        if len(left) and not self.drop_last:
            plan.append((left, len(self._buckets) - 1))
        return plan if rng is None else [plan[n] for n in rng.permutation(len(plan))]

    def _made(self, part: tuple[np.ndarray, int]) -> Batch:
        self.rows, bucket = part
        batch: Batch = {}
        for name, column in self._columns.items():
            if isinstance(column, list):
                chosen, steps = [column[r] for r in self.rows], self._steps[bucket][name]
                batch[name] = pad_sequences(chosen, steps=steps)[0].numpy()
            else:
                rows = _slice(self.rows)
                batch[name] = read_only(column[rows]) if isinstance(rows, slice) else column[rows]
        for name, of in self._lengths.items():
            batch[name] = np.array([len(self._columns[of][r]) for r in self.rows], np.int64)
        return batch

    def _identity(self) -> dict[str, int]:
        return {**super()._identity(), "examples": self.count, "batch_size": self.batch_size, "seed": self._seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a position, and in its order, with the next iteration; see :class:`Source`."""
        given = read_state(f"{type(self).__name__}.load_state_dict", state)
        super().load_state_dict(given)
        self._seed = int(given["seed"])

    def _expected(self, given: Mapping[str, Any]) -> dict[str, int]:
        """Batches that are shuffled take up the order that is saved."""
        own, seed = self._identity(), given.get("seed")
        if self._seed >= 0 and isinstance(seed, int | np.integer) and 0 <= seed < 2**63:
            own["seed"] = int(seed)
        return own


def _column(name: str, column: Any) -> np.ndarray | list[np.ndarray]:
    """An array with an example in each row, or a list of sequences."""
    if isinstance(column, Tensor):
        return column.numpy()
    if isinstance(column, list | tuple) and column and all(hasattr(s, "__len__") for s in column):
        wrong = next((k for k, s in enumerate(column) if isinstance(s, str)), None)
        if wrong is not None:
            raise fail(
                TypeError, f"Batches: example {wrong} of column {name!r} is a string", expected="numbers",
                hint="encode strings by a Vocabulary",
            )  # fmt: skip
        return [as_array(s.data if isinstance(s, Tensor) else s) for s in column]
    return as_array(column)


def _count(columns: dict[str, Any]) -> int:
    counts = {name: len(c) if isinstance(c, list) or c.ndim else 0 for name, c in columns.items()}
    if len(set(counts.values())) > 1:
        raise fail(ShapeError, "Batches: the columns do not fit together", expected="as many examples in each",
                   got=", ".join(f"{name}: {count}" for name, count in counts.items()))  # fmt: skip
    if not next(iter(counts.values())):
        raise fail(ShapeError, "Batches: there are no examples", expected="at least one")
    return next(iter(counts.values()))


def _measured(lengths: str | Mapping[str, str] | None, columns: dict[str, Any]) -> dict[str, str]:
    """For each name under which lengths are given the column of sequences that they are of."""
    wanted = {"lengths": lengths} if isinstance(lengths, str) else dict(lengths or {})
    for column in wanted.values():
        if not isinstance(columns.get(column), list):
            there = [name for name, c in columns.items() if isinstance(c, list)]
            what = f"Batches: lengths of {column!r}"
            raise fail(KeyError, what, expected=f"a column of sequences, of {there}")
    return wanted


def _slice(rows: np.ndarray) -> Any:
    """Neighbouring rows as a slice, which copies nothing."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if (np.diff(rows) == 1).all() else rows


def boundaries(lengths: Any, count: int) -> np.ndarray:
    """At most `count` limits such that least is padded if each sequence is padded to the next limit.

    Dynamic programming over the different lengths: the cheapest way to cover the shortest `j` of them with `k` limits.

    Parameters
    ----------
    lengths : integers (examples,)
    count : int

    Returns
    -------
    array of int
        In growing order; the last is the greatest length.

    Examples
    --------
    >>> from tinygrad_rnn.data.batches import boundaries
    >>> boundaries([3, 3, 3, 4, 19, 20], 2).tolist()
    [4, 20]
    """
    check_count("boundaries: count", count)
    sizes, counts = np.unique(np.asarray(lengths), return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    cost = np.where(np.arange(len(sizes) + 1) > 0, np.inf, 0.0)  # of the shortest j without any limit
    chosen: list[np.ndarray] = []
    for _ in range(min(count, len(sizes))):
        # total[i, j]: sequences i to j - 1 padded to size j - 1, those before in the best way so far
        total = cost[:, None] + (below[None, 1:] - below[:, None]) * sizes[None, :]
        total[np.arange(len(sizes) + 1)[:, None] > np.arange(len(sizes))[None, :]] = np.inf
        chosen.append(np.concatenate([[0], total.argmin(0)]))
        cost = np.concatenate([[np.inf], total.min(0)])
    limits, j = [], len(sizes)
    for before in reversed(chosen):
        limits.append(sizes[j - 1])
        j = before[j]
    return np.array(limits[::-1])
