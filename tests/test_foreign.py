"""The words to write in place of other libraries' words are words of ours."""

import re

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import foreign

TABLES = (foreign.KEYWORDS, foreign.ATTRIBUTES, foreign.FUNCTIONS, foreign.LAYERS)
TOLD = [told for table in TABLES for told in table.values()]
NAMES = sorted({name for told in TOLD for name in re.findall(r"\b(?:tg|nn)\.[a-zA-Z_][\w.]*", told)})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_told_exists(name):
    found = tg if name.startswith("tg.") else tg.nn
    for part in name.split(".")[1:]:
        found = getattr(found, part)


@pytest.mark.parametrize(("table", "owner"), [
    (foreign.ATTRIBUTES, tg.tensor([1.0])), (foreign.FUNCTIONS, tg), (foreign.LAYERS, tg.nn),
])  # fmt: skip
def test_no_word_is_refused_that_there_is(table, owner):
    assert [word for word in table if word in dir(owner)] == []


def test_there_is_something_to_tell():
    assert len(NAMES) > 30
