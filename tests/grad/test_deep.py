"""Chains of 20,000 steps under the default recursion limit, and T slices, T outputs and T operands in linear room."""

from __future__ import annotations

import copy
import json
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg

DEPTH = 20_000


@pytest.fixture(scope="module", autouse=True)
def default_limit():
    assert sys.getrecursionlimit() <= 1000 + 50


def deep(x, w=1.0, depth=DEPTH):
    for _ in range(depth):
        x = x * w
    return x


@pytest.fixture(scope="module")
def x():
    return tg.tensor(2.0, name="x")


@pytest.fixture(scope="module")
def w():
    return tg.parameter(1.0, name="w")


@pytest.fixture(scope="module")
def chain(x, w):
    return deep(x, w)


def test_recording_and_repr(chain):
    assert repr(chain) == "tensor(2., shape=(), dtype=float32)"
    assert chain.item() == 2.0
    assert f"{chain:.1f}" == "2.0"


def test_first_and_second_order(chain, x, w):
    assert tg.grad(chain, w).item() == 2.0 * DEPTH
    slope = tg.grad(chain, w, create_graph=True)
    assert slope.item() == 2.0 * DEPTH
    assert tg.grad(slope, w).item() == pytest.approx(2.0 * DEPTH * (DEPTH - 1), rel=1e-3)
    assert len(tg.graph(slope)) > 2 * DEPTH
    assert tg.grad(slope, x).item() == DEPTH


def test_backward(chain, w):
    w.grad = None
    chain.backward()
    assert w.grad.item() == 2.0 * DEPTH
    w.grad = None
    chain.backward(create_graph=True)
    assert w.grad.item() == 2.0 * DEPTH
    w.grad = None


def test_functions_of_functions(x):
    assert tg.value_and_grad(deep)(x)[1].item() == 1.0
    assert tg.vjp(deep, x, 1.0)[1]()[1].item() == 2.0 * DEPTH
    assert tg.jvp(deep, [x, 1.0], [1.0, 1.0])[1].item() == 1.0 + 2.0 * DEPTH
    assert tg.jvp(deep, [x], [1.0], create_graph=True)[1].item() == 1.0
    assert tg.hvp(deep, x, 1.0).item() == 0.0
    assert tg.jacobian(lambda v: deep(v, depth=DEPTH // 4), [1.0, 2.0]).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert tg.hessian(lambda v: deep(v * v, depth=DEPTH // 4), x).item() == 2.0


def test_graphs(chain, x, w):
    g = tg.graph(chain)
    assert repr(g) == f"<Graph of {DEPTH + 2} nodes, 1 parameters>"
    assert (g.inputs, g.parameters, len(g.edges)) == ((x,), (w,), 2 * DEPTH)
    assert len(set(g.ids.values())) == DEPTH + 2
    assert len(g.listing().splitlines()) == 202
    assert len(g.listing(limit=None).splitlines()) == DEPTH + 3
    assert len(json.loads(g.to_json(values=True))["nodes"]) == DEPTH + 2
    assert (len(g.by_time(None)), g.times, g.counts()["multiply"]) == (DEPTH + 2, (), DEPTH)
    assert g()[0].item() == 2.0


def test_tracing():
    g = tg.trace(lambda x: [deep(x), tg.grad(deep(x), x)], ())
    y, slope = g(3.0)
    assert (y.item(), slope.item()) == (3.0, 1.0)


def test_checkpoints(x):
    y = tg.checkpoint(deep)(x)
    assert len(tg.graph(y)) < 10
    assert tg.grad(y, x).item() == 1.0
    links = x
    link = tg.checkpoint(lambda v: v * 1.0)
    for _ in range(DEPTH // 4):
        links = link(links)
    assert tg.grad(links, x).item() == 1.0


def test_anomalies(chain, x, w):
    with tg.detect_anomaly():
        assert tg.grad(deep(x, 1.0, 5000), x).item() == 1.0
        assert tg.grad(chain, w, create_graph=True).item() == 2.0 * DEPTH
        assert tg.grad(chain, w).item() == 2.0 * DEPTH


def test_refusals(chain, x):
    with pytest.raises(tg.GradientError, match="was computed"):
        copy.deepcopy(chain)
    with pytest.raises(tg.DisconnectedError):
        tg.grad(chain, tg.tensor(1.0))
    with pytest.raises(tg.GradientError, match="only through 'greater'"):
        tg.grad((chain > 0) * 1.0, x)
    w = tg.parameter(1.0)
    y = deep(w)
    w.assign(2.0)
    with pytest.raises(tg.StaleError):
        y.backward()


def test_freeing():
    first = tg.ones(1) * 1
    gone = weakref.ref(first)
    y = deep(first, first, depth=50_000)
    slope = tg.grad(deep(y, depth=DEPTH), first, [1.0], create_graph=True)
    del first, y
    assert gone() is not None
    del slope
    assert gone() is None


def test_steps_and_scopes():
    h = tg.zeros(1)
    for _ in tg.steps(DEPTH):
        with tg.scope("cell"):
            h = h + 1
    assert (h.item(), h.time) == (DEPTH, DEPTH - 1)
    assert len(tg.graph(h).times) == DEPTH


# Linear room ----------------------------------------------------------------------------------------------------------


def slices(steps, create_graph):
    x = tg.ones((steps, 8))
    return tg.grad(sum((x[t] for t in range(steps)), start=tg.zeros(8)).sum(), x, create_graph=create_graph)


def gathers(steps, create_graph):
    x = tg.ones((steps, 8))
    return tg.grad(sum((x[[t]] for t in range(steps)), start=tg.zeros(8)).sum(), x, create_graph=create_graph)


def stacked(steps, create_graph):
    x = tg.ones(8)
    return tg.grad(tg.stack([x * 2 for _ in range(steps)]).sum(), x, create_graph=create_graph)


def joined(steps, create_graph):
    parts = [tg.ones(8) for _ in range(steps)]
    y = tg.concatenate(parts)
    slopes = tg.grad((y * y).sum(), parts, create_graph=create_graph)
    return tg.concatenate(slopes)


def twice(steps, create_graph):
    x = tg.ones((steps, 8))
    slope = tg.grad(tg.stack([tg.square(x[t]) for t in range(steps)]).sum(), x, create_graph=True)
    return tg.grad(slope.sum(), x, create_graph=create_graph)


def forward(steps, create_graph):
    model = lambda x: tg.stack([x[t] * 2 for t in range(steps)])
    return tg.jvp(model, [tg.ones((steps, 8))], [tg.ones((steps, 8))], create_graph=create_graph)[1]


def watched(steps, create_graph):
    with tg.detect_anomaly():
        return slices(steps, create_graph)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("model", [slices, gathers, stacked, joined, twice, forward, watched])
def test_room_grows_like_the_number_of_steps(model, create_graph):
    """Room in bytes at its peak: quadrupling the steps would multiply a quadratic one by sixteen."""
    model(20, create_graph)
    peaks = []
    for steps in (100, 400):
        tracemalloc.start()
        model(steps, create_graph)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 5.5 * peaks[0]


class Entries:
    """Counts the array entries that NumPy functions of the sums are given."""

    def __init__(self):
        self.count = 0

    def counting(self, function):
        def counted(array, *rest, **options):
            self.count += np.size(array)
            return function(array, *rest, **options)

        return counted


def test_watching_examines_each_contribution_once(monkeypatch):
    steps, entries = 50, Entries()
    monkeypatch.setattr(np, "isfinite", entries.counting(np.isfinite))
    x = tg.ones((steps, 8))
    loss = sum((x[t].sum() for t in range(steps)), start=tg.tensor(0.0))
    with tg.detect_anomaly():
        tg.grad(loss, x)
    assert steps * 8 <= entries.count < 6 * steps * 8


def test_a_wide_join_of_twenty_thousand():
    x = tg.tensor(2.0)
    y = tg.stack([x] * DEPTH)
    assert tg.grad(y.sum(), x).item() == DEPTH
    parts = list(tg.concatenate([y, y]))
    assert len(parts) == 2 * DEPTH
    total = tg.stack(parts).sum()
    assert tg.grad(total, x, create_graph=True).item() == 2 * DEPTH
    assert tg.jvp(lambda v: tg.stack([v] * DEPTH).sum(), [x], [1.0])[1].item() == DEPTH
    assert len(tg.graph(total).ids) == 2 * DEPTH + 5


def test_twenty_thousand_outputs():
    x = tg.tensor(2.0)
    outputs = [x * 2 for _ in range(DEPTH)]
    assert tg.grad(outputs, x).item() == 2.0 * DEPTH
    assert len(tg.graph(outputs).listing(limit=None).splitlines()) == 2 * DEPTH + 2
