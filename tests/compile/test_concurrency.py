"""Threads, forks and signal handlers: each call has memory of its own, and what one records no other sees."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numba
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim
from tinygrad_rnn.compile import run
from tinygrad_rnn.kernels.machine import machine

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
needs_signals = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")


def deep(x, w):
    """Many instructions, some of them left to Python, so that calls overlap."""
    for _ in range(20):
        x = tg.tanh(x @ w + tg.cumsum(x, axis=1) * 0.01)
    return x, x.sum()


def made(seed=0):
    w = tg.parameter(np.random.default_rng(seed).normal(size=(6, 6)), name="w")
    return lambda x: deep(x, w)


def inputs(count):
    return np.random.default_rng(1).normal(size=(count, 5, 6))


@pytest.mark.parametrize("by_program", [True, False])
def test_eight_threads(by_program):
    """Each gets its own result, whether the function is called or its program is run."""
    fn = made()
    compiled, xs = tg.compile(fn), inputs(240)
    program = compiled.program(xs[0])
    call = (lambda x: program.run([x])[0]) if by_program else (lambda x: compiled(x)[0].numpy())
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(call, xs))
    for x, y in zip(xs, found, strict=True):
        np.testing.assert_allclose(y, fn(tg.tensor(x))[0].numpy(), rtol=1e-12)


def test_profiles_beside_calls():
    fn = made()
    compiled, xs = tg.compile(fn), inputs(120)
    program = compiled.program(xs[0])
    with ThreadPoolExecutor(4) as pool:
        profiles = [pool.submit(program.profile, x, repeats=2) for x in xs[:40]]
        found = list(pool.map(lambda x: compiled(x)[0].numpy(), xs))
    assert all(p.result().total > 0 for p in profiles)
    for x, y in zip(xs, found, strict=True):
        np.testing.assert_allclose(y, fn(tg.tensor(x))[0].numpy(), rtol=1e-12)


def trained(seed=0):
    w = tg.parameter(np.random.default_rng(seed).normal(size=(6, 6)), name="w")
    optimizer = optim.SGD([w], lr=0.01)

    def step(x):
        optimizer.zero_grad()
        loss = deep(x, w)[1]
        loss.backward()
        optimizer.step()
        return loss

    return w, optimizer, step


def test_steps_and_profiles_take_turns():
    """Every step is taken, and a profile puts back what it changed and nothing else."""
    w, optimizer, step = trained()
    other, _, same = trained()
    compiled, alone, x = tg.compile(step), tg.compile(same), inputs(1)[0]
    program = compiled.program(x)
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(compiled, x) for _ in range(30)] + [pool.submit(program.profile, x) for _ in range(10)]
    for d in done:
        d.result()
    for _ in range(30):
        alone(x)
    assert optimizer.step_count == 30
    np.testing.assert_array_equal(w.numpy(), other.numpy())


def test_what_is_recorded_is_not_seen_by_others():
    """Gradients, while another thread records a function that leaves some."""
    w = tg.parameter(np.ones(3), name="w")
    (w * 2).sum().backward()
    inside, seen = threading.Event(), threading.Event()
    found = []

    def slow(x):
        w.grad = None
        (w * x).sum().backward()
        inside.set()
        assert seen.wait(10)
        return w.grad * 1

    def look():
        assert inside.wait(10)
        found.append(w.grad)
        w.grad = tg.tensor(np.full(3, 7.0))
        found.append(w.grad.tolist())
        seen.set()

    thread = threading.Thread(target=look)
    thread.start()
    result = tg.compile(slow)(np.arange(3.0))
    thread.join()
    assert found[0].tolist() == [2, 2, 2]
    assert found[1] == [7, 7, 7]
    assert result.tolist() == w.grad.tolist() == [0, 1, 2]


def run_in_child(work):
    """Whether `work` comes back with something true in a forked process, within ten seconds."""
    child = os.fork()
    if child == 0:  # pragma: no branch
        signal.alarm(10)
        os._exit(0 if work() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_other_threads_run():
    """The child can call what a thread of the parent was inside of, and what a thread was recording."""
    *_, step = trained()
    compiled, xs, stop = tg.compile(step), inputs(4), threading.Event()
    compiled(xs[0])

    def work(x):
        while not stop.is_set():
            compiled(x)

    recording = tg.compile(lambda x: (time.sleep(0.3), x * 2)[1])
    threads = [threading.Thread(target=work, args=(x,)) for x in xs]
    threads.append(threading.Thread(target=recording, args=(xs[0],)))
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    try:
        for _ in range(5):
            assert run_in_child(lambda: np.isfinite(compiled(xs[0]).item()) and recording(xs[1]).shape == (5, 6))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def interrupted_by(work, every=0.002):
    """Within the block a timer interrupts what runs, again and again, with `work`."""

    def handler(*_):
        work()
        signal.setitimer(signal.ITIMER_REAL, every)  # only now: a slow machine would do nothing else

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, every)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@needs_signals
def test_a_signal_handler_that_calls_the_function_it_interrupts():
    fn = made()
    compiled, xs = tg.compile(fn), inputs(2)
    expected = [fn(tg.tensor(x))[0].numpy() for x in xs]
    compiled(xs[0])
    wrong = []

    def work():
        wrong.append(not np.allclose(compiled(xs[1])[0].numpy(), expected[1], rtol=1e-12))

    with interrupted_by(work):
        while len(wrong) < 30:
            np.testing.assert_allclose(compiled(xs[0])[0].numpy(), expected[0], rtol=1e-12)
    assert not any(wrong)


@needs_signals
def test_a_signal_handler_that_takes_a_step():
    """Each step is taken whole."""
    w, optimizer, step = trained()
    compiled, x = tg.compile(step), inputs(1)[0]
    compiled(x)
    taken = [1]

    def work():
        compiled(x)
        taken[0] += 1

    with interrupted_by(work):
        for _ in range(100):
            work()
    assert optimizer.step_count == taken[0]
    assert np.isfinite(w.numpy()).all()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is no machine to return from")
def test_an_interruption_when_the_machine_returns(monkeypatch):
    """Ctrl-C during a run is raised as soon as the machine is back: what was changed by then is counted and marked."""
    w, optimizer, step = trained()
    compiled, x = tg.compile(step), inputs(1)[0]
    compiled(x)
    before, count, marked = w.numpy().copy(), optimizer.step_count, w.assigned
    stale = (w * 2.0).sum()
    real = machine()

    def interrupted(*arguments):
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "machine", lambda: interrupted)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            compiled(x)
    monkeypatch.undo()
    changed = not np.array_equal(w.numpy(), before)
    assert (optimizer.step_count > count, w.assigned > marked) == (changed, changed)
    if changed:
        with pytest.raises(tg.StaleError):
            tg.grad(stale, w)
    compiled(x)
    assert optimizer.step_count > count


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_collects_garbage():
    """Also one that was forked while a thread had put the collection off to record."""
    inside, go = threading.Event(), threading.Event()
    recorded = tg.compile(lambda x: (inside.set(), go.wait(10), x * 2)[2])
    thread = threading.Thread(target=recorded, args=(np.ones(2),))
    thread.start()
    assert inside.wait(10)
    try:
        assert run_in_child(gc.isenabled)
    finally:
        go.set()
        thread.join()
    assert gc.isenabled()
