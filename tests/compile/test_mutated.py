"""Mutated texts of programs in their short form, and what finds out that one has gone wrong."""

from __future__ import annotations

import json
import signal
import sys

import numba
import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.compile import mutated
from tests.compile.mutated_programs import subjects
from tinygrad_rnn.compile import deserialize

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there are no kernels that could crash")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def known():
    return subjects()


def test_texts_as_they_are_give_what_their_graphs_say(known):
    outcomes = {name: mutated.outcome(subject, subject.text, RNG) for name, subject in known.items()}
    assert outcomes == dict.fromkeys(known, (mutated.RAN, ""))


def test_mutated_texts_are_refused_or_run(tmp_path):
    letters, bad = mutated.run(seed=7, count=300, processes=1, folder=tmp_path)
    assert bad == []
    assert letters[mutated.RAN] > 30
    assert letters[mutated.REFUSED] > 100


def test_a_mutation_is_the_same_for_the_same_numbers(known):
    texts = {name: subject.text for name, subject in known.items()}
    assert [mutated.mutated(texts, 0, k) for k in range(20)] == [mutated.mutated(texts, 0, k) for k in range(20)]


# The finders ----------------------------------------------------------------------------------------------------------


class Crashing(mutated.Worker):
    """Ends by a signal at the second case."""

    def command(self, at):
        (self.folder / "bad").touch()
        write = f"open({str(self.folder / 'outcomes')!r}, 'a').write('r')"
        crash = "; import os; os.kill(os.getpid(), 11)"
        return [sys.executable, "-c", write + (crash if at == self.first else "")]


def test_a_crash_is_counted_and_its_text_kept(tmp_path):
    letters, bad = mutated.run(seed=0, count=3, processes=1, folder=tmp_path, worker=Crashing)
    assert letters == {mutated.REFUSED: 2, mutated.CRASHED: 1}
    assert [json.loads(case)["said"] for case in bad] == [f"code {-signal.SIGSEGV}"]
    assert (tmp_path / "1.json").exists()


def test_a_value_that_its_graph_does_not_say_is_found(known, monkeypatch):
    expected = mutated._expected
    monkeypatch.setattr(mutated, "_expected", lambda *given: [a + 1 for a in expected(*given)])
    letter, said = mutated.outcome(known["attention"], known["attention"].text, RNG)
    assert (letter, said[:8]) == (mutated.WRONG_VALUE, "result 0")


@pytest.mark.parametrize("place", ["array", "arena"])
def test_a_byte_written_outside_is_found(known, monkeypatch, place):
    subject = known["elman"]

    def written(program, *args, **kwargs):
        memory = subject._memories[0] if place == "array" else program._runner.free[0].arena.base
        memory[-1] += 1

    monkeypatch.setattr(tg.Program, "__call__", written)
    monkeypatch.setattr(mutated, "_expected", lambda *_: None)
    assert mutated.outcome(subject, subject.text, RNG)[0] == mutated.WRITTEN_OUTSIDE


def test_an_error_in_words_of_others_is_found(known, monkeypatch):
    for error in (RecursionError("deep"), AssertionError("x"), ValueError("cannot reshape array")):
        monkeypatch.setattr(deserialize, "_given_by", lambda *_, error=error: (_ for _ in ()).throw(error))
        monkeypatch.setattr(deserialize, "_REFUSALS", ())
        assert mutated.outcome(known["elman"], known["elman"].text, RNG)[0] == mutated.WRONG_ERROR
