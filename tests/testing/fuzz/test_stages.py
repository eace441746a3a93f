"""The fuzzer's laws of compiled functions: a fault of each kind is seen within a few programs."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.compile import function as compiling
from tinygrad_rnn.tensor import leaf
from tinygrad_rnn.testing.fuzz import fuzz, program_number
from tinygrad_rnn.testing.fuzz.check import check
from tinygrad_rnn.testing.fuzz.stages import STAGES


def run(code):
    exec(compile(code, "<reproduction>", "exec"), {"__name__": "reproduction"})


REMEMBERED = {}


def vars_of(owner, name, value):
    """What was remembered first for an object that may have no attributes of its own; the object lives as long."""
    return REMEMBERED.setdefault((id(owner), name), (owner, value))[1]


@pytest.fixture(autouse=True)
def nothing_remembered():
    yield
    REMEMBERED.clear()


def caught(stage, count=40):
    """The failure of a stage on some programs."""
    report = fuzz(count=count, seed=2, peers=False, most=1, shrink_seconds=1, only=[stage])
    assert report.findings, f"{stage} has seen nothing in {count} programs"
    (finding,) = report.findings
    with pytest.raises(Exception):  # noqa: B017, PT011
        run(finding.code)
    return finding.failure


@pytest.fixture
def running(monkeypatch):
    """Puts a function of the right ``Program.run`` in its place."""
    right = compiling.Program.run
    return lambda make: monkeypatch.setattr(compiling.Program, "run", make(right))


@pytest.fixture
def calling(monkeypatch):
    """Puts a function of the right call of a compiled function in its place."""
    right = compiling.Compiled.__call__
    return lambda make: monkeypatch.setattr(compiling.Compiled, "__call__", make(right))


def found_in(function, name):
    """What a function finds around it under a name."""
    return dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))[name].cell_contents


def test_results_that_are_written_over_are_found(calling):
    def make(right):
        def call(self, *given):
            results = right(self, *given)
            kept = vars_of(self, "kept", results)
            for old, new in zip(kept, results, strict=True):
                np.copyto(old.data, new.data)
            return kept

        return call

    calling(make)
    assert "has changed" in caught("compiled values").text


def test_snapshots_that_change_are_found(monkeypatch, calling):
    """A parameter that is changed in place, and tensors that share its memory."""

    def make(right):
        def call(self, *given):
            weights = found_in(self._fn, "weights").values()
            before = [w.data for w in weights]
            results = right(self, *given)
            for w, old in zip(weights, before, strict=True):
                old[...] = w.data
            return results

        return call

    calling(make)
    monkeypatch.setattr(tg.Tensor, "detach", lambda self: self if self.is_symbolic else leaf(self.data))
    assert "has changed with it" in caught("snapshots").text


@pytest.mark.parametrize("stage", ["training: SGD", "training: Adam", "training: assigned"])
def test_parameters_that_are_not_updated_are_found(calling, stage):
    def make(right):
        def call(self, *given):
            weights = found_in(self._fn, "weights").values()
            before = [w.data.copy() for w in weights]
            results = right(self, *given)
            for w, old in zip(weights, before, strict=True):
                w.assign(old)
            return results

        return call

    calling(make)
    assert caught(stage).kind == "value"


def test_a_momentum_that_is_lost_is_found(calling):
    def make(right):
        def call(self, *given):
            results = right(self, *given)
            optimizer = found_in(self._fn, "optimizer")
            optimizer.load_state_dict({k: v * (k == "step_count") for k, v in optimizer.state_dict().items()})
            return results

        return call

    calling(make)
    assert caught("training: momentum").kind == "value"


def test_another_stream_of_random_numbers_is_found(calling):
    def make(right):
        def call(self, *given):
            results = right(self, *given)
            found_in(found_in(self._fn, "drop"), "generator").random()
            return results

        return call

    calling(make)
    assert caught("dropout").kind == "value"


@pytest.mark.parametrize("stage", ["threads", "threads: program"])
def test_results_of_another_thread_are_found(calling, running, stage):
    def make(right):
        def of_whoever_came_last(self, *given):
            REMEMBERED[id(self)] = given
            time.sleep(1e-3)
            return right(self, *REMEMBERED[id(self)])

        return of_whoever_came_last

    (calling if stage == "threads" else running)(make)
    assert caught(stage).kind == "value"


def test_programs_that_are_mixed_up_are_found(calling):
    def make(right):
        def call(self, *given):
            results = right(self, *given)
            return [y * 0 if y.is_float else y for y in results] if len(self.programs) > 1 else results

        return call

    calling(make)
    assert caught("signatures").kind == "value"


def test_states_that_are_not_taken_are_found(calling):
    def make(right):
        other = lambda g: g * 0 if isinstance(g, tg.Tensor) and g.is_float else g
        return lambda self, *given: right(self, *map(other, given))

    calling(make)
    assert caught("fed back").kind == "value"


@pytest.mark.parametrize("change", [s for s in STAGES if s.startswith("changed")])
def test_what_is_trusted_for_ever_is_found(monkeypatch, change):
    """Programs that see nothing of what has changed around them."""

    def compile(function):
        compiled = compiling.Compiled(function)

        def call(*given):
            program = vars_of(call, given[0].shape if given else None, None) or compiled.program(*given)
            REMEMBERED[id(call), given[0].shape if given else None] = call, program
            return [leaf(a.copy()) for a in program.run([np.asarray(g) for g in given])]

        return call

    monkeypatch.setattr(tg, "compile", compile)
    assert caught(change).stage == change


@pytest.mark.parametrize("layer", ["RNN", "LSTM", "GRU"])
def test_outputs_of_layers_that_are_wrong_are_found(monkeypatch, layer):
    own = getattr(tg.nn, layer)
    right = own.forward
    wrong = lambda self, xs, **options: right(self, xs * 1.001 if xs.is_symbolic else xs, **options)
    monkeypatch.setattr(own, "forward", wrong)
    assert caught(f"layers: {layer}", 3).kind == "value"


def test_a_child_that_hangs_is_found(monkeypatch):
    monkeypatch.setattr(compiling.Compiled, "__call__", lambda self, *given: hang_in_children(self, *given))
    failure = check(program_number(0, 0), ["fork"])
    assert failure is not None
    assert "hangs" in failure.text


PARENT, CALL = os.getpid(), compiling.Compiled.__call__


def hang_in_children(self, *given):
    if os.getpid() != PARENT:
        time.sleep(60)
    return CALL(self, *given)
