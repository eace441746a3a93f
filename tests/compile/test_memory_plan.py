"""The memory plan: nothing overlaps while it is needed, and little is wasted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.compile import memory_plan
from tinygrad_rnn.compile.memory_plan import ALIGNMENT, plan
from tinygrad_rnn.compile.views import Storage


def storage(nbytes: int, first: int, last: int) -> Storage:
    return Storage(nbytes, first=first, last=last)


def rounded(nbytes: int) -> int:
    return max(-(-nbytes // ALIGNMENT), 1) * ALIGNMENT


@st.composite
def lifetimes(draw: st.DrawFn) -> list[Storage]:
    count, span = draw(st.integers(0, 40)), draw(st.integers(0, 30))
    moments = st.integers(-1, span)
    sizes = st.integers(0, 300) | st.sampled_from([0, 1, 63, 64, 65, 128])
    return [
        storage(draw(sizes), min(a, b), max(a, b))
        for a, b in draw(st.lists(st.tuples(moments, moments), min_size=count, max_size=count))
    ]


def assert_apart(storages: list[Storage], size: int) -> None:
    """Storages of lifetimes that overlap lie apart, aligned, inside the arena."""
    for k, a in enumerate(storages):
        assert a.offset % ALIGNMENT == 0
        assert 0 <= a.offset <= size - a.nbytes
        for b in storages[:k]:
            if a.first <= b.last and b.first <= a.last:
                assert a.offset + rounded(a.nbytes) <= b.offset or b.offset + rounded(b.nbytes) <= a.offset


def peak(storages: list[Storage]) -> int:
    """The most bytes, rounded up, that are needed at one moment."""
    return max((sum(rounded(s.nbytes) for s in storages if s.first <= t.first <= s.last) for t in storages), default=0)


@given(storages=lifetimes())
def test_what_is_needed_together_does_not_overlap(storages):
    size = plan(storages)
    assert_apart(storages, size)
    assert peak(storages) <= size <= sum(rounded(s.nbytes) for s in storages)
    assert size % ALIGNMENT == 0


@given(storages=lifetimes())
def test_the_plan_depends_on_the_lifetimes_alone(storages):
    again = [storage(s.nbytes, s.first, s.last) for s in storages]
    assert plan(storages) == plan(again)
    assert [s.offset for s in storages] == [s.offset for s in again]


def test_an_instruction_does_not_write_over_what_it_reads():
    a, b = storage(64, 0, 5), storage(64, 5, 9)
    assert plan([a, b]) == 128
    a, b = storage(64, 0, 5), storage(64, 6, 9)
    assert plan([a, b]) == 64


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("nbytes", [64, 100, 4096])
def test_a_chain_takes_its_peak(width, nbytes):
    """Storage `k` lives until `width` later ones have been made."""
    storages = [storage(nbytes, k, k + width) for k in range(50)]
    assert plan(storages) == peak(storages) == (width + 1) * rounded(nbytes)


def test_a_recurrent_network_takes_what_it_must_keep():
    """A forward pass whose states wait for the backward pass, with scratch at each step."""
    steps = 30
    states = [storage(256, t, 2 * steps - t) for t in range(steps)]
    scratch = [storage(1024, t, t) for t in range(2 * steps)]
    storages = [*states, *scratch]
    assert plan(storages) <= peak(storages) + 1024
    assert_apart(storages, plan(storages))


def test_freed_neighbours_become_one_piece():
    small = [storage(64, 0, 1) for _ in range(8)]
    assert plan([*small, storage(512, 2, 3)]) == 512
    assert plan([*small, storage(512, 2, 3), storage(256, 4, 5), storage(256, 4, 5)]) == 512


def test_the_best_fit_is_taken():
    large, between, small, after = storage(640, 0, 1), storage(256, 0, 9), storage(128, 0, 1), storage(64, 0, 9)
    new = storage(100, 2, 9)
    plan([large, between, small, after, new])
    assert new.offset == small.offset


def test_what_is_not_used_takes_no_room():
    unused = Storage(1 << 40)
    assert plan([unused]) == 0
    assert plan([]) == 0
    assert plan([unused, storage(10, 0, 0)]) == 64


def test_nothing_but_room_for_an_empty_tensor():
    storages = [storage(0, 0, 5), storage(0, 0, 5)]
    assert plan(storages) == 128
    assert storages[0].offset != storages[1].offset


def many(count: int) -> list[Storage]:
    """Lifetimes and sizes as a training step has them: most short, some until the backward pass."""
    rng = np.random.default_rng(0)
    long = rng.random(count) < 0.3
    ends = np.where(long, 2 * count - np.arange(count), np.arange(count) + rng.integers(0, 4, count))
    return [storage(int(n), k, int(e)) for k, (n, e) in enumerate(zip(rng.integers(1, 5000, count), ends))]


def test_twenty_thousand_storages(monkeypatch):
    """No more than a few dealings with gaps for each storage, so the work is linear but for the searches."""
    counts: Counter[str] = Counter()

    def counting(name: str) -> Any:
        original = getattr(memory_plan._Gaps, name)

        def counted(self: Any, *args: int) -> Any:
            counts[name] += 1
            return original(self, *args)

        return counted

    for name in ("give", "_remove"):
        monkeypatch.setattr(memory_plan._Gaps, name, counting(name))
    storages = many(20_000)
    size = plan(storages)
    assert max(counts.values()) <= 5 * 20_000
    assert size <= 1.2 * peak_of_sorted(storages)


def peak_of_sorted(storages: list[Storage]) -> int:
    change = np.zeros(max(s.last for s in storages) + 2, np.int64)
    for s in storages:
        change[s.first] += rounded(s.nbytes)
        change[s.last + 1] -= rounded(s.nbytes)
    return int(np.cumsum(change).max())
