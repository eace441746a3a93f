"""Checks of integers: what passes, and what the error says of what does not."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops.checks import checked

WORDS = "find: number {value} at {position}, row {row}"


@pytest.mark.parametrize("values", [[], [[]], 0, [0, 2], np.uint8([2]), np.int8([[0], [1]])])
def test_values_in_range_are_given_back_as_they_are(values):
    t = tg.tensor(np.asarray(values, getattr(values, "dtype", np.int64)))
    assert checked(t, 0, 3, WORDS) is t


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 3, -1], "number 3 at (1,), row 1"), ([[0, 0], [-1, 9]], "number -1 at (1, 0), row 1"),
        (3, "number 3 at (), row 0"), (np.uint64([2**63]), f"number {2**63} at (0,), row 0"),
        (np.int8([-128]), "number -128 at (0,), row 0"),
    ],
)  # fmt: skip
def test_the_first_value_that_is_out_of_range_is_named(values, words):
    with pytest.raises(IndexError) as caught:
        checked(tg.tensor(values), 0, 3, WORDS)
    assert str(caught.value).startswith(f"find: {words}\n")


def test_the_kind_of_error_and_its_lines():
    with tg.scope("here"), tg.timestep(2), pytest.raises(ValueError, match="number 5") as caught:
        checked(tg.tensor([5]), 0, 3, WORDS, expected="0 to 2", hint="count again", kind="ValueError")
    lines = str(caught.value).split("\n")
    assert lines[1:3] == ["  expected: 0 to 2", "  hint:     count again"]
    assert lines[3].endswith("(1,) int64 in here/t=2")
    assert __file__ in lines[4]


def test_braces_in_a_message_are_left_alone():
    with pytest.raises(IndexError, match=r"\{other\} \{0\.__class__\} 7"):
        checked(tg.tensor([7]), 0, 3, "find: {other} {0.__class__} {value}")


def test_a_check_that_passes_records_nothing_in_eager_mode():
    t = tg.tensor([1])
    assert len(tg.graph(checked(t, 0, 3, WORDS))) == 1


def test_what_a_gradient_looks_up_was_looked_at_before():
    table = tg.parameter(np.ones((3, 2)))
    traced = tg.trace(lambda i: tg.grad(table[i].sum(), table), np.array([0, 1]))
    assert [c.params["words"] for c in traced.checks] == [
        "index: index {value} at position {position} is out of range for axis 0 of size 3"
    ]
