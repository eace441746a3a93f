"""Graphs are freed by reference count at once; a backward pass neither frees nor keeps what it should not."""

from __future__ import annotations

import gc
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg


@pytest.fixture(autouse=True)
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def model(w, x):
    h = tg.zeros((1, 3))
    with tg.scope("rnn"):
        for t in tg.steps(4):
            h = tg.tanh(x[t] @ w + h).named("h")
    h = tg.concatenate([h, tg.layer_norm(h)])[:, [0, 2]]
    return tg.cross_entropy(h.at[0].set(0.5), [0, 1])


def weak(t):
    """References to every node, and every array, that ``t`` was computed from."""
    nodes = [n for n in tg.graph(t) if not n.is_leaf]
    return [weakref.ref(n) for n in nodes] + [weakref.ref(n.data) for n in nodes]


def alive(references):
    return sum(r() is not None for r in references)


@pytest.fixture
def w():
    return tg.parameter(np.eye(3, dtype=np.float32), name="w")


@pytest.fixture
def x():
    return tg.ones((4, 1, 3))


DERIVATIVES = {
    "none": lambda loss, w: None,
    "grad": lambda loss, w: tg.grad(loss, w),
    "backward": lambda loss, w: loss.backward(),
    "hessian product": lambda loss, w: tg.hvp(loss, w, tg.ones((3, 3))),
    "anomaly": lambda loss, w: tg.detect_anomaly()(lambda: tg.grad(loss, w))(),
    "listing": lambda loss, w: tg.graph(loss).to_json() + tg.graph(loss).listing(),
    "evaluation": lambda loss, w: tg.graph(loss)(),
}


@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_the_graph_is_freed_with_its_loss(w, x, derivative):
    loss = model(w, x)
    references = weak(loss)
    result = DERIVATIVES[derivative](loss, w)
    assert alive(references) == len(references) > 40
    del loss
    assert alive(references) == 0
    del result


@pytest.mark.parametrize("derivative", [
    lambda w, x: tg.value_and_grad(model)(w, x)[1],
    lambda w, x: tg.vjp(model, w, x)[1]()[0],
    lambda w, x: tg.jvp(lambda v: model(v, x), [w], [w])[1],
    lambda w, x: tg.hessian(lambda v: (v * v).sum(), w),
    lambda w, x: tg.grad(tg.checkpoint(model)(w, x), w),
])  # fmt: skip
def test_what_a_derivative_of_a_function_used_is_freed(w, x, derivative):
    nodes = []
    record = tg.tensor.__globals__["leaf"].__globals__["_new"]

    def new(kind):
        t = record(kind)
        nodes.append(weakref.ref(t))
        return t

    globals_ = tg.tensor.__globals__["leaf"].__globals__
    globals_["_new"] = new
    try:
        result = derivative(w, x)
    finally:
        globals_["_new"] = record
    assert len(nodes) > 20
    assert {r() for r in nodes} - {None} == {result}


def test_a_recorded_gradient_keeps_what_it_needs_and_no_more(w, x):
    loss = model(w, x)
    references = weak(loss)
    slope = tg.grad(loss, w, create_graph=True)
    del loss
    assert alive(references) > 0
    expected = tg.grad(slope.sum(), w).tolist()
    assert np.isfinite(expected).all()
    references += weak(slope)
    del slope
    assert alive(references) == 0


def test_products_that_wait_to_be_added_take_bounded_room():
    """A weight's gradient is one product of many steps' rows; they are multiplied out before they take much room."""
    w, h = tg.parameter(np.eye(64, dtype=np.float32)), tg.ones((64, 64))
    for _ in range(200):
        h = h @ w
    loss = h.sum()
    tracemalloc.start()
    tg.grad(loss, w)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * h.data.nbytes


def test_a_backward_pass_frees_nothing_that_is_held(w, x):
    loss = model(w, x)
    held = list(tg.graph(loss))
    before = [t.data.copy() for t in held]
    for _ in range(2):
        loss.backward()
        tg.grad(loss, [w, x])
    for t, value in zip(held, before, strict=True):
        np.testing.assert_array_equal(t, value)


def test_a_gradient_keeps_nothing_else_alive(w, x):
    loss = model(w, x)
    loss.backward()
    slope = tg.grad(loss, w)
    references = weak(loss)
    del loss
    assert alive(references) == 0
    assert slope.tolist() == w.grad.tolist()


def test_a_detached_state_lets_go_of_its_past(w, x):
    h = tg.tanh(x[0] @ w)
    references = weak(h)
    h = h.detach()
    assert alive(references) <= 1  # the array that it shares
    y = h @ w
    assert tg.grad(y.sum(), w).shape == (3, 3)


@pytest.mark.parametrize(
    "fails",
    [
        lambda a, b: a @ b, lambda a, b: a + b, lambda a, b: tg.concatenate([a, b]), lambda a, b: a[7],
        lambda a, b: a[[7]], lambda a, b: a.reshape(7), lambda a, b: tg.grad(a, b), lambda a, b: tg.grad(a.sum(), b),
        lambda a, b: bool(a), lambda a, b: tg.grad(tg.checkpoint(lambda v: v @ b)(a), a),
        lambda a, b: tg.detect_anomaly()(lambda: a / 0)(), lambda a, b: tg.where(a > 0, a, b),
        lambda a, b: tg.einsum("ij,jk->ik", a, b), lambda a, b: a.at[0].set(b), lambda a, b: a.sum(axis=9),
        lambda a, b: tg.trace(lambda v: v @ b, (2, 3)), lambda a, b: a.backward(), lambda a, b: np.linalg.svd(a),
    ],
)  # fmt: skip
def test_errors_keep_graphs_no_longer_than_their_traceback(fails):
    a, b = tg.ones((2, 3)) * 1, tg.ones((4, 5)) * 1
    references = weak(a) + weak(b)
    try:
        fails(a, b)
    except Exception:  # not pytest.raises, which holds on to it
        del a, b
    else:
        raise AssertionError("it did not fail")
    assert alive(references) == 0
    assert gc.collect() == 0


def test_training_steps_make_no_reference_cycles(w, x):
    body = tg.checkpoint(lambda v: tg.tanh(v @ w))

    def step():
        loss = model(w, x) + body(x[0]).sum()
        w.grad = None
        loss.backward()
        w.assign(w.numpy() - 0.1 * w.grad.numpy())
        with tg.no_grad(), tg.detect_anomaly():
            model(w, x)
        tg.hvp(lambda v: model(v, x), w, w)
        tg.jvp(lambda v: model(v, x), [w], [w])
        tg.trace(lambda v: tg.grad(model(w, v), v), (4, 1, 3))(x)
        return loss.item()

    step()
    gc.collect()
    for _ in range(3):
        step()
    assert gc.collect() == 0


def test_reference_counts_are_steady(w, x):
    def step():
        model(w, x).backward()
        w.grad = None

    step()
    before = sys.getrefcount(w), sys.getrefcount(x), sys.getrefcount(w.data)
    for _ in range(5):
        step()
    assert (sys.getrefcount(w), sys.getrefcount(x), sys.getrefcount(w.data)) == before
