"""Symbols and their numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, fail
from ..ops.core import as_array
from ..settings import check_count
from ..tensor import DEFAULT_FLOAT, Tensor

__all__ = ["Vocabulary"]


class Vocabulary:
    """Different symbols (characters, words, tags), each with a number.

    Parameters
    ----------
    symbols : iterable of hashable
        In the order of their numbers, each once.
    unknown : symbol, optional
        One of them, which stands for all that are not there; without it these raise.

    Examples
    --------
    >>> from tinygrad_rnn.data import Vocabulary
    >>> letters = Vocabulary("abc")
    >>> letters.encode("cab").tolist(), "".join(letters.decode([2, 0, 1]))
    ([2, 0, 1], 'cab')
    >>> words = Vocabulary.of([["movie", "was", "good"], ["movie", "was", "bad"]], specials=["<pad>", "?"], unknown="?")
    >>> words.symbols, words.encode(["movie", "was", "long"]).tolist()
    (('<pad>', '?', 'movie', 'was', 'good', 'bad'), [2, 3, 1])
    """

    def __init__(self, symbols: Iterable[Hashable], *, unknown: Hashable = None) -> None:
        self.symbols = tuple(symbols)
        self._number = {symbol: k for k, symbol in enumerate(self.symbols)}
        if len(self._number) < len(self.symbols):
            twice = next(s for s, count in Counter(self.symbols).items() if count > 1)
            raise ValueError(f"Vocabulary: the symbol {twice!r} is there more than once")
        if unknown is not None and unknown not in self._number:
            raise ValueError(f"Vocabulary: unknown={unknown!r} must be one of the symbols; list it among the specials")
        self.unknown = unknown

    @classmethod
    def of(
        cls,
        sequences: Iterable[Iterable[Hashable]],
        *,
        specials: Sequence[Hashable] = (),
        unknown: Hashable = None,
        min_count: int = 1,
        max_size: int | None = None,
    ) -> Vocabulary:
        """The symbols of some sequences, the most frequent first; of equally frequent ones that which came first.

        Parameters
        ----------
        sequences : iterable of iterables of symbols
            A text is one too: its characters are the symbols.
        specials : sequence of symbols
            Come first, counted or not.
        unknown : symbol, optional
            One of the specials.
        min_count : int
            Rarer symbols are left out.
        max_size : int, optional
            Of the vocabulary, with the specials; the rarest are left out.
        """
        min_count = check_count("Vocabulary.of: min_count", min_count)
        if max_size is not None:
            max_size = check_count("Vocabulary.of: max_size", max_size)
        counts = Counter(chain.from_iterable(sequences))
        common = [s for s, count in counts.most_common() if count >= min_count and s not in set(specials)]
        return cls([*specials, *common][:max_size], unknown=unknown)

    def encode(self, sequence: Iterable[Hashable]) -> np.ndarray:
        """Numbers of the symbols, int64.

        Raises
        ------
        KeyError
            If a symbol is not there, and there is none for unknown ones.
        """
        number, symbols = self._number, list(sequence)
        if self.unknown is not None:
            other = number[self.unknown]
            return np.array([number.get(s, other) for s in symbols], np.int64)
        try:
            return np.array([number[s] for s in symbols], np.int64)
        except KeyError as error:
            place = next(k for k, s in enumerate(symbols) if s not in number)
            raise fail(
                KeyError, f"Vocabulary.encode: {symbols[place]!r} at position {place}",
                expected=f"one of the {len(self)} symbols",
                hint="make the vocabulary of all sequences, or give it a symbol for unknown ones",
            ) from error  # fmt: skip

    def decode(self, numbers: Any) -> list[Any]:
        """The symbols of an array of numbers (time,).

        Raises
        ------
        IndexError
            If a number is negative or too large.
        DTypeError, ShapeError
            If they are no integers, or not in a row.
        """
        array = as_array(numbers.numpy() if isinstance(numbers, Tensor) else numbers)
        if array.dtype.kind not in "iu" and array.size:
            raise fail(DTypeError, "Vocabulary.decode: numbers", expected="integers", got=str(array.dtype))
        if array.ndim != 1:
            raise fail(
                ShapeError, "Vocabulary.decode: numbers", expected="(time,)", got=str(array.shape),
                hint="decode the sequences of a batch one after the other",
            )  # fmt: skip
        if array.size and not 0 <= array.min() <= array.max() < len(self):
            wrong = array[(array < 0) | (array >= len(self))][0]
            raise fail(IndexError, f"Vocabulary.decode: number {wrong}", expected=f"0 to {len(self) - 1}")
        return [self.symbols[k] for k in array.tolist()]

    def one_hot(self, sequence: Iterable[Hashable], dtype: Any = DEFAULT_FLOAT) -> np.ndarray:
        """Each symbol as a row with a single one, (time, symbols).

        Examples
        --------
        >>> from tinygrad_rnn.data import Vocabulary
        >>> Vocabulary("abc").one_hot("ca").tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
        """
        return np.eye(len(self), dtype=dtype)[self.encode(sequence)]

    def __getitem__(self, symbol: Hashable) -> int:
        """Number of a symbol."""
        return int(self.encode([symbol])[0])

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: Hashable) -> bool:
        return symbol in self._number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.symbols, self.unknown) == (other.symbols, other.unknown)

    __hash__ = None  # type: ignore[assignment]  # as lists: equal ones are not the same

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self)} symbols>"

    def to_json(self) -> str:
        """As text, where the symbols are strings, numbers, None, or tuples of them.

        Raises
        ------
        TypeError
            If one is something else.

        Examples
        --------
        >>> from tinygrad_rnn.data import Vocabulary
        >>> words = Vocabulary(["?", "good"], unknown="?")
        >>> Vocabulary.from_json(words.to_json()) == words
        True
        """
        symbols = [_written(symbol) for symbol in self.symbols]
        return json.dumps({"symbols": symbols, "unknown": _written(self.unknown)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """What :meth:`to_json` wrote.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            given = json.loads(text)
            symbols, unknown = [_read(symbol) for symbol in given["symbols"]], _read(given["unknown"])
        except (TypeError, KeyError, RecursionError, json.JSONDecodeError) as error:
            raise fail(
                ValueError, "Vocabulary.from_json: the text", expected="what to_json gave",
                got=f"{type(error).__name__}: {error}",
            ) from error  # fmt: skip
        return cls(symbols, unknown=unknown)


def _written(symbol: Any) -> Any:
    """A symbol in JSON's terms, where a list stands for a tuple."""
    if isinstance(symbol, tuple):
        return [_written(part) for part in symbol]
    if symbol is None or isinstance(symbol, str | bool | int | float):
        return symbol
    if isinstance(symbol, np.generic) and symbol.dtype.kind in "biuf":
        return symbol.item()
    raise fail(
        TypeError, f"Vocabulary.to_json: the symbol {symbol!r}", got=type(symbol).__name__,
        expected="a string, a number, None, or a tuple of them",
    )  # fmt: skip


def _read(symbol: Any) -> Any:
    if isinstance(symbol, list):
        return tuple([_read(part) for part in symbol])
    if isinstance(symbol, dict):
        raise TypeError("a symbol is an object")
    return symbol
