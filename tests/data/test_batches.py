"""Every example exactly once per epoch, the same order for the same seed, and exact positions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.data import Batches, Prefetch, Windows
from tinygrad_rnn.data.batches import boundaries

seeds = st.none() | st.integers(0, 1000)


@st.composite
def sources(draw, *, drop_last: bool = False):
    """How to make batches of sequences that are all different: the k-th is filled with k + 1."""
    lengths = draw(st.lists(st.integers(0, 12), min_size=1, max_size=30))
    columns = {
        "xs": [np.full(n, k + 1) for k, n in enumerate(lengths)],
        "target": np.arange(len(lengths)),
        "tags": [np.full(2 * n, k + 1) for k, n in enumerate(lengths)],
    }
    options = {
        "batch_size": draw(st.integers(1, 8)),
        "buckets": draw(st.integers(1, 4)),
        "generator": draw(seeds),
        "lengths": {"lengths": "xs", "tag_lengths": "tags"},
        "drop_last": drop_last,
    }
    return lambda: Batches(columns, **options)


def flat(batches) -> list:
    return [{name: a.tolist() for name, a in batch.items()} for batch in batches]


@given(sources(), st.integers(1, 3))
def test_an_epoch_gives_every_example_exactly_once(make, epochs):
    batches = make()
    for _ in range(epochs):
        given_ = [batch["target"] for batch in batches]
        assert len(given_) == len(batches)
        assert sorted(np.concatenate(given_)) == list(range(batches.count))


@given(sources())
def test_a_row_holds_one_example_and_zeros_behind_it(make):
    batches = make()
    for batch in batches:
        assert batches.rows.tolist() == batch["target"].tolist()
        for name, lengths, each in (("xs", "lengths", 1), ("tags", "tag_lengths", 2)):
            for row, length, k in zip(batch[name], batch[lengths], batch["target"], strict=True):
                assert row[:length].tolist() == [k + 1] * length
                assert not row[length:].any()
                assert length == each * batch["lengths"][batch["target"].tolist().index(k)]


@given(sources())
def test_there_are_no_more_shapes_than_buckets_and_one(make):
    batches = make()
    shapes = {batch["xs"].shape for _ in range(3) for batch in batches}
    assert len({shape[1] for shape in shapes}) <= 4
    assert len({shape for shape in shapes if shape[0] != batches.batch_size}) <= 1


@given(sources())
def test_the_same_seed_gives_the_same_order(make):
    one, other = make(), make()
    for _ in range(2):
        assert flat(one) == flat(other)


@given(sources(drop_last=True))
def test_all_batches_are_full_if_the_last_is_dropped(make):
    batches = make()
    shown = [batch["target"] for batch in batches]
    assert all(len(rows) == batches.batch_size for rows in shown)
    assert len(shown) == len(batches) == batches.count // batches.batch_size
    assert len(set(np.concatenate([[], *shown]))) == len(shown) * batches.batch_size


@given(sources(), st.integers(0, 40), st.booleans())
def test_a_saved_position_is_gone_on_from_exactly(make, taken, ahead):
    batches = Prefetch(make()) if ahead else make()
    expected, saved = [], None
    for _ in range(3):
        for batch in batches:
            if saved is not None:
                expected += flat([batch])
            elif taken == 0:
                saved = batches.state_dict()
            taken -= 1
    if saved is None:
        saved = batches.state_dict()
        expected = flat(batches)
    again = Prefetch(make()) if ahead else make()
    again.load_state_dict(saved)
    found = []
    while len(found) < len(expected):
        found += flat(again)
    assert found == expected


def test_epochs_differ_and_do_not_depend_on_what_was_drawn_before():
    batches = Batches({"x": np.arange(50)}, batch_size=5, generator=3)
    first, second = flat(batches), flat(batches)
    assert first != second
    again = Batches({"x": np.arange(50)}, batch_size=5, generator=3)
    next(iter(again))
    assert flat(again) == second, "an epoch that was left is over"


def test_a_generator_is_asked_for_one_number_only():
    rng = np.random.default_rng(5)
    batches = Batches({"x": np.arange(50)}, batch_size=5, generator=rng)
    state = rng.bit_generator.state
    list(batches)
    assert rng.bit_generator.state == state


def test_batches_of_arrays_in_order_are_views():
    x = np.arange(20).reshape(10, 2)
    assert all(np.shares_memory(batch["x"], x) for batch in Batches({"x": x}, batch_size=4))


@pytest.mark.parametrize("make", [
    lambda x: Batches({"x": x}, batch_size=4),
    lambda x: Batches({"x": x}, batch_size=4, generator=0),
    lambda x: Batches({"x": x[:2]}, batch_size=1, generator=0),
    lambda x: Batches({"x": tg.tensor(x)}, batch_size=4),
    lambda x: Batches({"x": list(x)}, batch_size=4),
    lambda x: Windows(x, batch_size=2, steps=2, names=("x", "y")),
    lambda x: Windows(tg.tensor(x), batch_size=2, steps=2, names=("x", "y")),
    lambda x: Prefetch(Batches({"x": x}, batch_size=4)),
])  # fmt: skip
def test_a_batch_does_not_lead_into_the_data_set(make):
    x = np.arange(20).reshape(10, 2)
    for batch in make(x):
        for array in batch.values():
            if array.flags.writeable:
                array[...] = -1
            else:
                with pytest.raises(ValueError, match="read-only"):
                    array[...] = -1
    np.testing.assert_array_equal(x, np.arange(20).reshape(10, 2))


def test_prefetched_batches_are_those_of_the_source_not_copies():
    x = np.arange(20).reshape(10, 2)
    shown = list(Prefetch(Batches({"x": x}, batch_size=4)))
    assert all(np.shares_memory(batch["x"], x) for batch in shown)
    assert [len(batch["x"]) for batch in shown] == [4, 4, 2]


def test_a_mistake_in_the_source_reaches_whoever_waits_for_batches():
    class Broken(Batches):
        def _made(self, part):
            raise RuntimeError("broken on purpose")

    with pytest.raises(RuntimeError, match="broken on purpose"):
        list(Prefetch(Broken({"x": np.arange(3)}, batch_size=1)))


def test_prefetching_ends_its_thread_when_it_is_left():
    import threading

    before = threading.active_count()
    for _ in Prefetch(Batches({"x": np.arange(100)}, batch_size=1)):
        break
    assert threading.active_count() == before


@given(sources())
def test_a_prefetched_epoch_that_was_left_is_over(make):
    plain, ahead = make(), Prefetch(make())
    for batches in (plain, ahead):
        for _ in batches:
            break
    assert flat(plain) == flat(ahead)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(1, 4))
def test_boundaries_pad_least(lengths, count):
    import itertools

    def padded(limits) -> int:
        return sum(min(b for b in limits if b >= n) for n in lengths)

    found = boundaries(lengths, count)
    assert len(found) <= count
    assert list(found) == sorted(set(found))
    others = [c for k in range(1, count + 1) for c in itertools.combinations(range(10), k) if max(c) >= max(lengths)]
    assert padded(found) == min(map(padded, others))


@given(
    st.integers(1, 4), st.integers(1, 5), st.integers(0, 7), st.integers(1, 3), st.integers(1, 2)
)
def test_windows_go_on_where_they_ended(batch_size, steps, rest, count, features):
    length = batch_size * steps * count + 1 + rest % batch_size
    text = np.arange(length * features).reshape(length, features)
    windows = Windows(text, batch_size=batch_size, steps=steps)
    shown = list(windows)
    assert len(shown) == len(windows) == count
    tokens = np.concatenate([batch["tokens"] for batch in shown], 1)
    targets = np.concatenate([batch["target"] for batch in shown], 1)
    assert (targets - tokens == features).all(), "the target is what comes next"
    assert (tokens[:, 1:] - tokens[:, :-1] == features).all(), "no step is left out within a stream"
    assert len(np.unique(tokens[..., 0])) == batch_size * steps * count, "no step comes twice"
    assert all(np.shares_memory(batch[name], text) for batch in shown for name in batch)


def test_windows_resume():
    text = np.arange(101)
    windows = Windows(text, batch_size=2, steps=5)
    for k, _ in enumerate(windows):
        if k == 3:
            break
    again = Windows(text, batch_size=2, steps=5)
    again.load_state_dict(windows.state_dict())
    assert [b["tokens"][0, 0] for b in again] == [20, 25, 30, 35, 40, 45]
    assert again.epoch == 1


def test_a_model_learns_from_batches_as_they_come():
    model = tg.nn.ManyToMany(3, 4, 2, vocabulary=9, generator=0)
    columns = {"xs": [[1, 2, 3], [4], [5, 6]], "target": [[0, 1, 0], [1], [1, 1]]}
    for batch in Batches(columns, batch_size=2, lengths="xs"):
        assert model.loss(**batch).item() > 0


MISTAKES = {
    "no columns": ({}, {}, "no columns"),
    "no examples": ({"x": []}, {}, "no examples"),
    "a number": ({"x": 3}, {}, "no examples"),
    "columns that differ": ({"x": [1, 2], "y": [1]}, {}, "x: 2, y: 1"),
    "no batch": ({"x": [1]}, {"batch_size": 0}, "at least 1, got 0"),
    "strings": ({"x": [[1], "good"]}, {}, "example 1 of column 'x' is a string"),
    "lengths of an array": ({"x": [1], "s": [[1]]}, {"lengths": "x"}, r"a column of sequences, of \['s'\]"),
    "lengths of nothing": ({"x": [1]}, {"lengths": {"n": "z"}}, "lengths of 'z'"),
    "beyond the limits": ({"x": [[1, 2, 3], [1]]}, {"buckets": [1, 2]}, "example 0 has 3 steps"),
    "no bucket": ({"x": [[1, 2, 3], [1]]}, {"buckets": 0}, "at least 1, got 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained(name):
    columns, options, message = MISTAKES[name]
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        Batches(columns, **{"batch_size": 1, **options})


def test_a_position_among_other_batches_is_refused():
    saved = Batches({"x": np.arange(5)}, batch_size=2).state_dict()
    with pytest.raises(ValueError, match="examples = 6"):
        Batches({"x": np.arange(6)}, batch_size=2).load_state_dict(saved)
    with pytest.raises(ValueError, match="steps = 3"):
        Windows(np.arange(10), batch_size=1, steps=3).load_state_dict({"batches": 3, "batch_size": 1, "steps": 2})


@given(st.data(), st.sampled_from(["batches", "in order", "windows", "ahead"]))
def test_a_position_that_is_refused_changes_nothing(data, kind):
    def made(seed):
        columns = {"xs": [[1, 2], [3], [4, 5, 6], [7], [8, 9]]}
        return {
            "batches": lambda: Batches(columns, batch_size=2, generator=seed),
            "in order": lambda: Batches(columns, batch_size=2),
            "windows": lambda: Windows(np.arange(40), batch_size=2, steps=3),
            "ahead": lambda: Prefetch(Batches(columns, batch_size=2, generator=seed)),
        }[kind]()

    def everything(source):
        return [{k: repr(v) for k, v in vars(s).items()} for s in (source, getattr(source, "source", source))]

    source, other = made(0), made(1)
    for _ in zip(range(2), source):
        pass
    next(iter(other))
    state = other.state_dict()
    name = data.draw(st.sampled_from(sorted(state)))
    wrong = [None, "1", 2.5, -3, [1], np.ones(2), np.nan, 1j]
    state = data.draw(st.sampled_from([
        *({**state, name: w} for w in wrong), {k: v for k, v in state.items() if k != name}, None, [1], "abc",
    ]))  # fmt: skip
    before = everything(source)
    with pytest.raises((ValueError, TypeError), match=r"load_state_dict: (the|'epoch|'position)"):
        source.load_state_dict(state)
    assert everything(source) == before
    source.load_state_dict(other.state_dict())
    assert source.state_dict() == other.state_dict()


def test_windows_say_what_they_need():
    with pytest.raises(tg.errors.ShapeError, match="at least 13: 3 streams of 4 steps"):
        Windows(np.arange(12), batch_size=3, steps=4)
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1, got 0"):
        Windows(np.arange(12), batch_size=0, steps=4)
    with pytest.raises(ValueError, match="ahead must be an integer of at least 1"):
        Prefetch(Windows(np.arange(12), batch_size=1, steps=4), ahead=0)
