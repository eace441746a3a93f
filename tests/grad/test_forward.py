"""jvp: against closed forms, differences and reverse mode, of first and higher order."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops.core import apply


def test_value_and_slope():
    y, slope = tg.jvp(lambda x: x * x, [tg.tensor([1.0, 3.0])], [[1.0, 10.0]])
    assert (y.tolist(), slope.tolist(), slope.inputs) == ([1.0, 9.0], [2.0, 60.0], ())


def test_several_inputs_and_outputs():
    ys, slopes = tg.jvp(lambda a, b: [a * b, a + 1, b * 0], [2.0, 3.0], [1.0, 10.0])
    assert [t.item() for t in ys] == [6.0, 3.0, 0.0]
    assert [t.item() for t in slopes] == [23.0, 1.0, 0.0]
    _, (first, second) = tg.jvp(lambda a, b: (a, tg.ones(2)), [2.0, 3.0], [5.0, 0.0])
    assert (first.item(), second.tolist()) == (5.0, [0.0, 0.0])


def test_dtypes_follow_the_primal():
    _, slope = tg.jvp(tg.tanh, [tg.ones(2)], [np.ones(2)])
    assert slope.dtype == np.float32


@pytest.mark.parametrize("order", [1, 2, 3])
def test_nested_jvps_give_higher_derivatives(order):
    f = lambda x: tg.sin(x) * x
    for _ in range(order):
        f = lambda x, f=f: tg.jvp(f, [x], [tg.ones_like(x)], create_graph=True)[1]
    x = np.array([0.3, 1.2])
    closed = {1: np.cos(x) * x + np.sin(x), 2: 2 * np.cos(x) - np.sin(x) * x, 3: -3 * np.sin(x) - np.cos(x) * x}[order]
    np.testing.assert_allclose(f(tg.tensor(x)), closed, rtol=1e-12)


def test_a_jvp_can_be_differentiated_by_primal_and_tangent():
    x, v = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    _, slope = tg.jvp(lambda z: z * z * z, [x * 1], [v], create_graph=True)
    dx, dv = tg.grad(slope.sum(), [x, v])
    assert dx.tolist() == [6 * 1 * 3.0, 6 * 2 * 4.0]
    assert dv.tolist() == [3.0, 12.0]


def test_the_history_of_an_argument_takes_no_part():
    x = tg.tensor([1.0, 2.0])
    h = tg.cumsum(x) * x.argmax()
    assert tg.jvp(lambda a, b: a * b, [x, h], [[1.0, 1.0], [0.0, 0.0]])[1].tolist() == h.tolist()


def test_slopes_of_piecewise_constant_functions_are_zero():
    for f in (tg.floor, tg.sign, lambda x: (x > 0) * 1.0, lambda x: x.detach(), lambda x: x.astype(int).astype(float)):
        assert tg.jvp(f, [tg.tensor([1.5])], [[1.0]])[1].tolist() == [0.0]


@pytest.mark.parametrize(
    ("call", "kind", "match"),
    [
        (lambda: tg.jvp(tg.tanh, [[1.0, 2.0]], [[1.0]]), tg.ShapeError, r"tangent of .*(.|\n)*expected: \(2,\)"),
        (lambda: tg.jvp(tg.tanh, [1], [1]), tg.GradientError, "int64 has no tangent(.|\n)*expected: a float tensor"),
        (lambda: tg.jvp(tg.tanh, [1.0], [1.0, 2.0]), tg.GradientError, "expected: 1, one per primal(.|\n)*got:      2"),
    ],
)
def test_wrong_tangents(call, kind, match):
    with pytest.raises(kind, match=match):
        call()


def test_an_operation_without_a_forward_rule_is_refused_by_name():
    tanh = tg.tanh.op
    op = type(tanh)("reverse_only", tanh.run, tanh.shape, tanh.vjp)
    with pytest.raises(tg.GradientError, match="'reverse_only' has no forward rule"):
        tg.jvp(lambda x: apply(op, (x,)), [1.0], [1.0])


def test_what_does_not_move_has_a_tangent_of_zero():
    x = tg.tensor([2.0])
    others = [tg.ones(1) for _ in range(10)]
    _, slope = tg.jvp(lambda v: tg.concatenate([*others[:5], v, *others[5:]]), [x], [[3.0]])
    assert slope.tolist() == [0.0] * 5 + [3.0] + [0.0] * 5
