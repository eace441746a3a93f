"""Numbers of symbols and back; parts that have nothing in common."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.data import Vocabulary, split

texts = st.lists(st.text("abcdeé ", max_size=9), min_size=1, max_size=5)


@given(texts)
def test_what_is_encoded_can_be_decoded(sequences):
    letters = Vocabulary.of(sequences)
    for text in sequences:
        assert "".join(letters.decode(letters.encode(text))) == text
        np.testing.assert_array_equal(letters.one_hot(text).argmax(-1) if text else [], letters.encode(text))
    assert Vocabulary.from_json(letters.to_json()) == letters


@given(texts)
def test_frequent_symbols_come_first(sequences):
    whole = "".join(sequences)
    counts = [whole.count(symbol) for symbol in Vocabulary.of(sequences).symbols]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == len(whole)


@given(texts, st.integers(1, 4), st.integers(2, 5))
def test_what_is_left_out_is_unknown(sequences, min_count, max_size):
    words = Vocabulary.of(sequences, specials=["?"], unknown="?", min_count=min_count, max_size=max_size)
    whole = "".join(sequences)
    assert len(words) <= max_size
    assert all(whole.count(s) >= min_count for s in words.symbols[1:])
    assert [s for s in words.decode(words.encode(whole)) if s != "?"] == [s for s in whole if s in words]
    assert words["no such symbol"] == 0


SYMBOLS = st.recursive(
    st.text(max_size=3) | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False),
    lambda parts: st.lists(parts, max_size=3).map(tuple),
)


@given(st.lists(SYMBOLS, unique=True, max_size=8), st.data())
def test_a_vocabulary_as_text_and_back(symbols, draw):
    unknown = draw.draw(st.sampled_from([None, *symbols]))
    vocabulary = Vocabulary(symbols, unknown=unknown)
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again == vocabulary
    assert [type(s) for s in again.symbols] == [type(s) for s in symbols]


@pytest.mark.parametrize("symbol", [b"a", frozenset("a"), 1j, ("a", object())])
def test_a_symbol_that_is_no_text_is_refused(symbol):
    with pytest.raises(TypeError, match=r"Vocabulary.to_json: the symbol .*\n  expected: a string, a number"):
        Vocabulary([symbol]).to_json()


@pytest.mark.parametrize("text", [
    "", "[]", "1", "[" * 100_000, '{"symbols": 3}', '{"symbols": ["a"]}', '{"symbols": [{}], "unknown": null}',
])  # fmt: skip
def test_a_text_that_is_no_vocabulary_is_refused(text):
    with pytest.raises(ValueError, match=r"Vocabulary.from_json: the text\n  expected: what to_json gave"):
        Vocabulary.from_json(text)


@pytest.mark.parametrize(("numbers", "error"), [
    ([0.7], tg.DTypeError), (np.array([1.0]), tg.DTypeError), ([True], tg.DTypeError), (1, tg.ShapeError),
    ([[0]], tg.ShapeError), ([3], IndexError), ([-1], IndexError), (np.array([200], np.uint8), IndexError),
])  # fmt: skip
def test_what_cannot_be_decoded_is_refused(numbers, error):
    with pytest.raises(error, match=r"Vocabulary.decode: number"):
        Vocabulary("abc").decode(numbers)
    assert Vocabulary("abc").decode([]) == []


def test_mistakes_of_a_vocabulary_are_explained():
    letters = Vocabulary("abc")
    with pytest.raises(KeyError, match="'x' at position 1"):
        letters.encode("axb")
    with pytest.raises(IndexError, match="number 3"):
        letters.decode([0, 3])
    with pytest.raises(ValueError, match="'a' is there more than once"):
        Vocabulary("aba")
    with pytest.raises(ValueError, match="must be one of the symbols"):
        Vocabulary("ab", unknown="?")


shares = st.sampled_from([(1.0,), (0.5, 0.5), (0.8, 0.1, 0.1), (0.0, 1.0), (0.34, 0.33, 0.33)])


@given(st.integers(1, 60), shares, st.none() | st.integers(0, 99))
def test_each_example_is_in_one_part(count, fractions, seed):
    parts = split(np.arange(count), fractions, generator=seed)
    assert sorted(np.concatenate(parts)) == list(range(count))
    for part, share in zip(parts, fractions, strict=True):
        assert abs(len(part) - share * count) <= 1
    again = split({"x": list(range(count))}, fractions, generator=seed)
    assert [part.tolist() for part in parts] == [part["x"] for part in again]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), shares, st.none() | st.integers(0, 99))
def test_no_group_is_in_two_parts(groups, fractions, seed):
    parts = split({"group": groups, "x": np.arange(len(groups))}, fractions, generator=seed, groups=groups)
    seen = [set(part["group"]) for part in parts]
    assert sum(map(len, seen)) == len(set(groups))
    assert sorted(np.concatenate([part["x"] for part in parts])) == list(range(len(groups)))
    for part in parts:
        assert [groups[k] for k in part["x"]] == list(part["group"])


def test_without_a_generator_parts_follow_each_other():
    assert split("abcdefghij", (0.5, 0.2, 0.3)) == ["abcde", "fg", "hij"]


def test_mistakes_of_a_split_are_explained():
    with pytest.raises(ValueError, match="the sum 1"):
        split([1, 2], (0.5, 0.6))
    with pytest.raises(ValueError, match="not negative"):
        split([1, 2], (-0.5, 1.5))
    with pytest.raises(ValueError, match="x: 2, y: 1"):
        split({"x": [1, 2], "y": [1]})
    with pytest.raises(ValueError, match="groups: 1"):
        split([1, 2], groups=[0])


@pytest.mark.parametrize("fractions", [(), (np.nan, 1.0), (np.inf, 0.0), (-0.5, 1.5), (0.5,)])
def test_fractions_that_are_no_parts_of_one_are_refused(fractions):
    with pytest.raises(ValueError, match="split: fractions"):
        split([1, 2, 3], fractions)
