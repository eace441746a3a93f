"""Nested values, taken apart and put together again."""

from collections import OrderedDict, namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.nested import MOST_LEVELS, Hole, mapped, parts, rebuilt, taken_apart

Pair = namedtuple("Pair", "first second")


def containers(inner):
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.tuples(inner, inner).map(lambda two: Pair(*two)),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.dictionaries(st.text(max_size=2), inner, max_size=3).map(OrderedDict),
    )


nestings = st.recursive(st.integers(), containers, max_leaves=12)


def kinds(value):
    """The nesting alone."""
    if isinstance(value, dict):
        return type(value), [(k, kinds(v)) for k, v in value.items()]
    return (type(value), list(map(kinds, value))) if isinstance(value, tuple | list) else None


@given(nestings)
def test_parts_come_in_order_and_the_nesting_is_kept(value):
    numbered = iter(range(1000))
    made = mapped(lambda part: next(numbered), value)
    assert kinds(made) == kinds(value)
    assert parts(made) == list(range(len(parts(value))))
    assert mapped(lambda part: part, value) == value


@given(nestings)
def test_what_was_taken_apart_is_put_together_again(value):
    tensors = mapped(tg.tensor, value)
    found, form = taken_apart(tensors, "f")
    assert [t.item() for t in found] == parts(value)
    assert [hole.number for hole in parts(form)] == list(range(len(found)))
    assert rebuilt(form, iter(parts(value))) == value
    assert kinds(rebuilt(form, iter(found))) == kinds(value)


def test_none_stands_where_it_stood():
    found, form = taken_apart([tg.ones(1), None, (None,)], "f")
    assert len(found) == 1
    assert form == [Hole(0), None, (None,)]
    assert rebuilt(form, iter("a")) == ["a", None, (None,)]


@pytest.mark.parametrize("value", [None, 1.0, [tg.ones(1), 2], {"a": object()}])
def test_other_parts_are_refused(value):
    with pytest.raises(TypeError, match="f: the function must give tensors, in tuples, lists or dicts; got"):
        taken_apart(value, "f")


def test_nestings_without_an_end_are_refused():
    inside = deep = []
    for _ in range(MOST_LEVELS - 1):
        deep = [deep]
    assert parts(deep) == []
    endless = [inside]
    inside.append(endless)
    for value in (endless, [deep, [deep]]):
        with pytest.raises(TypeError, match="f: the nesting of tensors\n  expected: at most 100 levels"):
            parts(value, "f")
