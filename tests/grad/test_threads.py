"""Threads and tasks that record and differentiate at once do not disturb each other."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops.core import quiet


@pytest.fixture(autouse=True)
def switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


W = tg.parameter(np.array([[0.4, -0.3], [0.2, 0.6]]), name="W")


def rnn(x, steps=10):
    h = tg.zeros(2, np.float64)
    for t in tg.steps(steps):
        with tg.scope("cell"):
            h = tg.tanh(h @ W + x * (t + 1))
    return (h * h).sum()


def work(seed):
    """Values, gradients of first and second order, and provenance of one model over a shared weight."""
    x = tg.tensor(np.random.default_rng(seed).normal(size=2))
    with tg.scope(f"job{seed}"):
        y = rnn(x)
        plain = tg.grad(y, [x, W])
        slope = tg.grad(y, x, create_graph=True)
        second = tg.grad(slope.sum(), W)
        with tg.no_grad():
            unrecorded = rnn(x)
        forward = tg.jvp(rnn, [x], [np.ones(2)])[1]
        traced = tg.trace(lambda v: tg.grad(rnn(v), v), tg.Spec((2,), np.float64))(x)
    scopes = {t.scope for t in tg.graph(slope) if t.time is not None}
    return [t.tolist() for t in (y, *plain, slope, second, unrecorded, forward, traced)], scopes, unrecorded.inputs


def test_threads_give_the_results_of_one_thread():
    alone = [work(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            together = list(pool.map(work, range(8)))
            assert together == alone
    assert [scopes for _, scopes, _ in alone] == [{(f"job{k}", "cell")} for k in range(8)]


def test_kernels_asked_for_by_two_threads_at_once():
    op = tg.elementwise(lambda x: x * x + 1, vjp=lambda g, y, x: 2 * g * x, name="threaded")
    barrier, found = threading.Barrier(2), []

    def ask():
        barrier.wait(timeout=300)
        x = tg.tensor([1.0, 3.0])
        y = op(x)
        found.append((y.tolist(), tg.grad(y.sum(), x).tolist()))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [([2.0, 10.0], [2.0, 6.0])] * 2


def test_kernels_are_silent_in_every_thread_and_inside_each_other():
    single = quiet(lambda x: x / np.float32(0))
    inner = quiet(lambda x: x * np.float32(1e38))
    outer = quiet(lambda x: inner(inner(x)) / np.float32(0))

    def overflow(_):
        assert np.geterr()["over"] == "warn"
        ones = np.ones(2, np.float32)
        return [single(ones).tolist(), outer(ones).tolist()]

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(overflow, range(6))) == [[[np.inf, np.inf]] * 2] * 6
    with pytest.raises(RuntimeError, match="of the kernel's own"):
        quiet(_fails)()
    with pytest.raises(RuntimeWarning, match="divide by zero"):
        np.ones(2) / 0


def _fails():
    raise RuntimeError("of the kernel's own")


def test_backward_of_separate_graphs_in_threads():
    weights = [tg.parameter([float(k)]) for k in range(6)]

    def train(w):
        for _ in range(20):
            (w * w).sum().backward()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(train, weights))
    assert [w.grad.item() for w in weights] == [20 * 2.0 * k for k in range(6)]


def test_tasks_take_turns():
    async def task(seed):
        x = tg.tensor(np.random.default_rng(seed).normal(size=2))
        h, used = tg.zeros(2, np.float64), []
        with tg.scope(f"task{seed}"):
            for _ in tg.steps(5):
                h = tg.tanh(h @ W + x)
                used.append(h)
                await asyncio.sleep(0)
            slope = tg.grad(h.sum(), x)
        return slope.tolist(), [(t.scope, t.time) for t in used]

    async def main():
        return await asyncio.gather(*(task(k) for k in range(3)))

    for seed, (slope, places) in enumerate(asyncio.run(main())):
        alone, _ = asyncio.run(task(seed))
        assert slope == alone
        assert places == [((f"task{seed}",), t) for t in range(5)]
