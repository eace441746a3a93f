"""Symbolic mode: functions recorded over placeholders, and graphs called with arrays."""

from __future__ import annotations

import copy
import functools
from typing import NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg


class Pair(NamedTuple):
    h: tg.Tensor
    c: tg.Tensor


def symbol(shape=(2,), dtype=np.float32):
    return tg.trace(lambda x: x, tg.Spec(shape, dtype)).placeholders[0]


# Asking a placeholder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.numpy(), lambda x: x.tolist(), bool, lambda x: x.item(), float, int, lambda x: f"{x:.2f}",
        lambda x: np.asarray(x), lambda x: 1.0 in x, lambda x: x if x > 0 else -x, lambda x: np.from_dlpack(x),
        lambda x: x[x > 0], lambda x: tg.parameter(x), lambda x: tg.tensor([1.0]).assign(x),
        lambda x: range(x.astype(int)), lambda x: tg.tensor(x),
    ],
)  # fmt: skip
def test_the_value_of_a_placeholder_is_refused_with_what_to_do(ask):
    with pytest.raises(tg.PlaceholderError, match=r"was asked for (.|\n)* while its function is being traced") as e:
        ask(symbol((1,)))
    assert "tg.where instead of if" in str(e.value)


def test_a_placeholder_knows_shape_and_dtype():
    x = symbol((2, 3), np.float64)
    assert (x.is_symbolic, x.shape, x.dtype, x.ndim, x.size, len(x)) == (True, (2, 3), np.float64, 2, 6, 2)
    assert repr(x) == "symbolic(input, shape=(2, 3), dtype=float64, name='x')"
    assert repr(x * 2) == "symbolic(⊙, shape=(2, 3), dtype=float64)"
    assert [row.shape for row in x] == [(3,), (3,)]


def test_placeholders_are_neither_assigned_nor_copied():
    with pytest.raises(tg.ImmutableError, match="has no value, so it cannot be assigned"):
        symbol().assign([1.0, 2.0])
    with pytest.raises(tg.GradientError):
        copy.deepcopy(symbol())


def test_shape_errors_come_while_tracing():
    with pytest.raises(tg.ShapeError, match="matmul") as caught:
        tg.trace(lambda x: x @ x, (2, 3))
    assert "test_trace.py" in str(caught.value)


# Arguments and results ------------------------------------------------------------------------------------------------


class Model:
    def method(self, x, y):
        return x * y

    def __call__(self, a):
        return a * 2


@pytest.mark.parametrize(
    ("fn", "count", "names"),
    [
        (lambda x, h: x + h, 2, ["x", "h"]),
        (Model().method, 2, ["x", "y"]),
        (Model(), 1, ["a"]),
        (functools.partial(lambda w, x: w * x, 3.0), 1, ["x"]),
        (tg.checkpoint(lambda z: z * 2), 1, ["z"]),
        (lambda *xs: xs[0], 2, ["x0", "x1"]),
        (lambda a, *xs: a, 2, ["a", "x1"]),
        (max, 1, ["x0"]),
    ],
)
def test_placeholders_are_named_like_the_arguments(fn, count, names):
    fn = (lambda x0: x0) if fn is max else fn
    g = tg.trace(fn, *[(1,)] * count)
    assert [t.name for t in g.placeholders] == names


@pytest.mark.parametrize(
    ("given", "shape", "dtype"),
    [
        ((2, 3), (2, 3), np.float32),
        ([4], (4,), np.float32),
        (5, (5,), np.float32),
        ((), (), np.float32),
        (tg.Spec((2,), np.int64), (2,), np.int64),
        (np.zeros((2, 2)), (2, 2), np.float64),
        (tg.ones(3), (3,), np.float32),
        (0.5, (), np.float32),
    ],
)
def test_specs(given, shape, dtype):
    (x,) = tg.trace(lambda x: x * 2, given).placeholders
    assert (x.shape, x.dtype) == (shape, dtype)


@pytest.mark.parametrize(
    "structure",
    [
        lambda a, b: a,
        lambda a, b: (a, b),
        lambda a, b: [a, [b, (a,)]],
        lambda a, b: {"h": a, "more": {"c": (b, a)}},
        lambda a, b: Pair(a, {"c": b}),
        lambda a, b: (),
        lambda a, b: [{}, a],
    ],
)
def test_results_come_in_the_form_that_the_function_gave(structure):
    g = tg.trace(lambda x: structure(x * 2, x + 1), (2,))
    result = g([1.0, 2.0])
    expected = structure(tg.tensor([2.0, 4.0]), tg.tensor([2.0, 3.0]))
    assert type(result) is type(expected)
    plain = lambda s: (
        s.tolist() if isinstance(s, tg.Tensor)
        else {k: plain(v) for k, v in s.items()} if isinstance(s, dict) else [plain(v) for v in s]
    )  # fmt: skip
    assert plain(result) == plain(expected)


def test_results_that_are_no_tensors_are_refused():
    with pytest.raises(TypeError, match=r"trace: the function must give tensors, .* got float"):
        tg.trace(lambda x: (x, 3.0), (2,))


def test_an_unused_argument_is_still_an_argument():
    g = tg.trace(lambda x, unused: x * 2, (2,), (3,))
    assert [t.name for t in g.placeholders] == ["x", "unused"]
    assert g([1.0, 2.0], [0.0] * 3).tolist() == [2.0, 4.0]
    assert '"placeholders": [0]' in g.to_json()


def test_a_constant_result():
    g = tg.trace(lambda x: (tg.ones(2), x), (1,))
    assert [t.tolist() for t in g([3.0])] == [[1.0, 1.0], [3.0]]


# The graph ------------------------------------------------------------------------------------------------------------


def test_a_traced_graph_has_the_nodes_of_the_eager_one():
    def model(x):
        h = tg.zeros(2)
        for t in tg.steps(3):
            with tg.scope("cell"):
                h = tg.tanh(x[t] + h).named("h")
        return h

    x = tg.tensor(np.linspace(-1, 1, 6).reshape(3, 2).astype(np.float32), name="x")
    eager, traced = tg.graph(model(x)), tg.trace(model, (3, 2))
    assert sorted(eager.ids.values()) == sorted(traced.ids.values())
    assert [t.spec for t in eager.outputs] == [t.spec for t in traced.outputs]
    np.testing.assert_array_equal(traced(x), eager.outputs[0])


def test_a_traced_graph_sees_later_assignments():
    w = tg.parameter([1.0, 2.0])
    g = tg.trace(lambda x: tg.sum(w * x) + tg.exp(w).sum() * 0, (2,))
    assert g([1.0, 1.0]).item() == 3.0
    w.assign([10.0, 20.0])
    assert g([1.0, 1.0]).item() == 30.0


def test_detach_and_no_grad_inside_a_traced_function_see_later_assignments():
    w = tg.parameter([1.0])

    def model(x):
        with tg.no_grad():
            scale = w * 2
        return x * scale + w.detach() + tg.grad((w * w).sum(), w)

    g = tg.trace(model, (1,))
    w.assign([10.0])
    assert g([1.0]).tolist() == [20.0 + 10.0 + 20.0]


def test_no_gradient_passes_no_grad_and_detach_inside_a_traced_function():
    def model(x):
        with tg.no_grad():
            frozen = x * 3
        return tg.grad((x * frozen + x * (x * 5).detach()).sum(), x)

    g = tg.trace(model, (2,))
    assert g([1.0, 2.0]).tolist() == [8.0, 16.0]
    assert g.counts()["detach"] == 2


@pytest.mark.parametrize("stop", [lambda x: x.detach(), lambda x: tg.no_grad()(lambda: x * 1)()])
def test_backward_passes_neither(stop):
    w = tg.parameter([3.0])

    def model(x):
        ((x * w) * stop(w * x)).sum().backward()
        return w.grad

    g = tg.trace(model, (1,))
    w.grad = None
    assert g([2.0]).tolist() == [2.0 * 2.0 * 3.0]


def test_integer_placeholders_are_indices():
    table = tg.parameter(np.arange(6.0).reshape(3, 2).astype(np.float32))

    def model(tokens, k):
        rows = table[tokens]
        slope, loss = tg.grad(rows.sum(), table), tg.cross_entropy(tg.ones((2, 3)), tokens)
        return rows, slope, tg.one_hot(tokens, 3), table[k, 0], loss

    g = tg.trace(model, tg.Spec((2,), np.int64), tg.Spec((), np.int64))
    rows, slope, hot, one, loss = g([2, 2], 1)
    assert rows.tolist() == [[4.0, 5.0], [4.0, 5.0]]
    assert slope.tolist() == [[0.0, 0.0], [0.0, 0.0], [2.0, 2.0]]
    assert hot.tolist() == [[0.0, 0.0, 1.0]] * 2
    assert one.item() == 2.0
    assert loss.item() == pytest.approx(np.log(3))
    with pytest.raises(IndexError, match="index 3 at position"):
        g([2, 3], 1)
    with pytest.raises(IndexError):
        g([2, 2], 3)


@pytest.mark.parametrize(
    "derivative",
    [
        lambda x: tg.grad((x * x * x).sum(), x),
        lambda x: tg.value_and_grad(lambda v: (v * v * v).sum())(x)[1],
        lambda x: tg.vjp(lambda v: v * v * v, x)[1](tg.ones(2))[0],
        lambda x: tg.jvp(lambda v: v * v * v, [x], [tg.ones(2)])[1],
        lambda x: tg.jacobian(lambda v: v * v * v, x).sum(1),
        lambda x: tg.hessian(lambda v: (v * v * v * v).sum(), x).sum(1) / 4,
        lambda x: tg.hvp(lambda v: (v * v * v * v).sum(), x, tg.ones(2)) / 4,
        lambda x: tg.grad(tg.grad((x**4).sum(), x).sum(), x) / 4,
        lambda x: tg.grad(tg.checkpoint(lambda v: v * v * v)(x).sum(), x),
    ],
)
def test_derivatives_inside_a_traced_function(derivative):
    g = tg.trace(derivative, tg.Spec((2,), np.float64))
    np.testing.assert_allclose(g(np.array([2.0, -3.0])), [12.0, 27.0], rtol=1e-12)
    assert g.outputs[0].is_symbolic


def test_gradients_of_a_traced_graph_are_recorded():
    g = tg.trace(lambda x: (x * x).sum(), (2,))
    slope = tg.grad(g.outputs[0], g.placeholders[0])
    assert slope.is_symbolic
    assert tg.graph(slope)([1.0, 2.0])[0].tolist() == [2.0, 4.0]
    rest = tg.graph(tg.grad(g.outputs, g.placeholders, [g.outputs[0] * 3]))
    assert rest([1.0, 2.0])[0].tolist() == [30.0, 60.0]


def test_random_numbers_are_drawn_anew_at_each_call():
    g = tg.trace(lambda x: tg.dropout(x, 0.5, generator=np.random.default_rng(0)), (100,))
    first, second = g(np.ones(100)), g(np.ones(100))
    assert set(first.tolist()) == {0.0, 2.0}
    assert first.tolist() != second.tolist()


def test_zero_size_placeholders():
    g = tg.trace(lambda x: (tg.tanh(x), x.sum(), tg.grad((x * x).sum(), x)), (0, 3))
    y, total, slope = g(np.zeros((0, 3)))
    assert (y.shape, total.item(), slope.shape) == ((0, 3), 0.0, (0, 3))


def test_a_model_is_traced_by_its_call():
    model = tg.nn.Linear(2, 3)
    g = tg.trace(model, (4, 2))
    x = np.ones((4, 2), np.float32)
    np.testing.assert_allclose(g(x), model(tg.tensor(x)))
    assert len(g.parameters) == 2


def test_placeholders_of_a_module_are_named_after_the_arguments_of_forward():
    traced = tg.trace(tg.nn.RNN(2, 3), (1, 2, 2))
    assert [t.name for t in traced.placeholders] == ["xs"]
