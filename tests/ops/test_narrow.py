"""Whole numbers beside tensors whose type cannot hold them: compared as numbers are, and else refused in words."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

DTYPES = [np.uint8, np.int8, np.int16, np.uint32, np.int64, np.uint64]
NUMBERS = st.integers(-300, 300) | st.integers(-(2**70), 2**70) | st.sampled_from([10**400, -(10**5000)])
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
ARITHMETIC = [
    operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, operator.and_, tg.maximum, tg.minimum,
    lambda a, b: tg.where(np.array([True, False, True]), a, b),
]  # fmt: skip


def entries(dtype):
    ends = np.iinfo(dtype)
    return st.lists(st.integers(int(ends.min), int(ends.max)), min_size=3, max_size=3)


@given(data=st.data(), dtype=st.sampled_from(DTYPES), number=NUMBERS, compare=st.sampled_from(COMPARISONS))
def test_comparisons_are_those_of_whole_numbers(data, dtype, number, compare):
    values = data.draw(entries(dtype))
    t = tg.tensor(np.array(values, dtype))
    for other in [number, *([np.int64(number)] if -(2**63) <= number < 2**63 else [])]:
        assert compare(t, other).tolist() == [compare(v, number) for v in values]
        assert compare(number, t).tolist() == [compare(number, v) for v in values]


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("number", [-1, 256, 2**64])
def test_compiled_comparisons(compare, number):
    values = np.array([0, 1, 255], np.uint8)
    found = tg.compile(lambda t: compare(t, number))(values)
    assert found.tolist() == [compare(v, number) for v in values.tolist()]


@given(data=st.data(), dtype=st.sampled_from(DTYPES), number=NUMBERS, compute=st.sampled_from(ARITHMETIC))
def test_arithmetic_is_numpys_or_refused(data, dtype, number, compute):
    values = data.draw(entries(dtype))
    x = np.array([v or 1 for v in values], dtype)
    if np.iinfo(dtype).min <= number <= np.iinfo(dtype).max and number:
        assert compute(tg.tensor(x), number).dtype == dtype
        return
    if number:
        for inputs in ((tg.tensor(x), number), (number, tg.tensor(x))):
            with pytest.raises(tg.DTypeError, match="does not fit a tensor of dtype"):
                compute(*inputs)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.at[0].set(-1), lambda t: t.at[0].add(256), lambda t: tg.pad(t, (1, 1), -1), lambda t: t.clip(-1, 9),
        lambda t: tg.masked_fill(t, t == 1, 300), lambda t: tg.full_like(t, -1), lambda t: tg.tensor([300], np.uint8),
        lambda t: tg.tensor(-1, np.uint8), lambda t: tg.full(2, 256, np.uint8), lambda t: t + np.int64(-1),
        lambda t: t ** -1,
    ],
)  # fmt: skip
def test_whatever_takes_a_number_says_which_ones(call):
    with pytest.raises(tg.DTypeError, match="expected: numbers from 0 to 255"):
        call(tg.tensor(np.array([1, 2, 255], np.uint8)))


def test_floats_take_every_number():
    x = tg.tensor([1.0, np.inf])
    assert (x + 10**400).tolist() == [np.inf, np.inf]
    assert (x * 10**39).tolist() == [np.inf, np.inf]
    assert (x < 10**400).tolist() == [True, False]
    assert (x > -(10**400)).tolist() == [True, True]
