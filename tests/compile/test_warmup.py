"""After a warmup nothing is left to be compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
import pytest
from numba.core import event

import tinygrad_rnn as tg
from tinygrad_rnn import optim
from tinygrad_rnn.kernels.native import native

compiled_only = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is nothing to compile")


@pytest.fixture(scope="module")
def warm() -> int:
    return tg.warmup(["float32"], progress=False)


@contextmanager
def compilations() -> Iterator[list[event.Event]]:
    """What Numba compiles in the meantime, or loads from disk."""
    recorder = event.RecordingListener()
    event.register("numba:compiler_lock", recorder)
    try:
        yield recorder.buffer
    finally:
        event.unregister("numba:compiler_lock", recorder)


def trainer(make):
    """A step of a language model over characters."""
    embedding = tg.nn.Embedding(11, 8, generator=0)
    rnn = tg.nn.RNN(8, 16, num_layers=2, dropout=0.2, generator=1)
    head = tg.nn.Linear(16, 11, generator=2)
    parameters = [p for module in (embedding, rnn, head) for p in module.parameters()]
    optimizer = make(parameters)
    optimizer.kernel(parameters[0].dtype)  # each optimiser loads its own

    def step(tokens, targets, state):
        out = rnn(embedding(tokens), state)
        loss = tg.cross_entropy(head(out.outputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm(parameters, 1.0)
        optimizer.step()
        return loss, out.state

    return rnn, step


@compiled_only
def test_the_listener_hears_of_compilations_and_of_what_is_loaded():
    with compilations() as heard:
        numba.njit(lambda x: x + 1)(2)
    assert heard
    for _ in range(2):
        with compilations() as heard:
            native("nothing", nothing)
        assert heard


def nothing(args, dims, steps, data):
    return


@compiled_only
@pytest.mark.parametrize("memory", [None, "sqrt"])
@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, lr=0.1), lambda p: optim.SGD(p, lr=0.1, momentum=0.9), optim.Adam, optim.RMSprop]
)
def test_a_training_step_compiles_nothing_more(warm, make, memory):
    rnn, step = trainer(make)
    tokens = np.random.default_rng(0).integers(0, 11, (2, 4, 6))
    compiled = tg.compile(step, memory=memory)
    with compilations() as heard:
        loss, _ = compiled(*tokens, rnn.initial_state(4))
    assert [str(e) for e in heard] == []
    assert np.isfinite(loss.item())


@compiled_only
def test_an_eager_step_compiles_nothing_more(warm):
    rnn, step = trainer(optim.Adam)
    with compilations() as heard:
        step(*map(tg.tensor, np.random.default_rng(0).integers(0, 11, (2, 4, 6))), rnn.initial_state(4))
    assert [str(e) for e in heard] == []


@compiled_only
def test_the_number_of_kernels(warm):
    assert isinstance(warm, int)
    assert warm > 100
    assert tg.warmup([np.float32], progress=False) == warm


def test_no_dtypes(warm):
    assert 0 <= tg.warmup([], progress=False) <= warm


@pytest.mark.parametrize("dtype", ["float16", "int64", np.complex64, bool])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match="warmup: expected float32 or float64, got"):
        tg.warmup(["float32", dtype], progress=False)


@compiled_only
def test_progress_goes_to_standard_error(warm, capsys):
    tg.warmup([], progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "kernels" in err


def test_without_compilation_there_is_nothing_to_do(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert tg.warmup(progress=False) == 0
