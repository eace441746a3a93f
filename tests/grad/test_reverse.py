"""grad, backward, value_and_grad and vjp: closed forms, forms of arguments, and what there is no gradient of."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg

X = np.array([0.4, 0.9, 1.7])

CLOSED = {  # function, and its first three derivatives
    "sin": (tg.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)),
    "exp": (lambda x: tg.exp(2 * x), *[lambda x, n=n: 2**n * np.exp(2 * x) for n in (1, 2, 3)]),
    "cube": (lambda x: x * x * x, lambda x: 3 * x**2, lambda x: 6 * x, lambda x: 6 + 0 * x),
    "quintic": (lambda x: x**5, lambda x: 5 * x**4, lambda x: 20 * x**3, lambda x: 60 * x**2),
    "log": (tg.log, lambda x: 1 / x, lambda x: -1 / x**2, lambda x: 2 / x**3),
    "root": (tg.sqrt, lambda x: 0.5 * x**-0.5, lambda x: -0.25 * x**-1.5, lambda x: 0.375 * x**-2.5),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x**2, lambda x: 2 / x**3, lambda x: -6 / x**4),
    "tanh": (
        tg.tanh,
        lambda x: 1 - np.tanh(x) ** 2,
        lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
        lambda x: (6 * np.tanh(x) ** 2 - 2) * (1 - np.tanh(x) ** 2),
    ),
    "slices": (
        lambda x: tg.stack([x[2] ** 3, x[0] ** 3, x[1] ** 3])[[1, 2, 0]],
        lambda x: 3 * x**2, lambda x: 6 * x, lambda x: 6 + 0 * x,
    ),
    "matmul": (
        lambda x: (x * x * x).reshape(1, 3) @ tg.eye(3, dtype=np.float64),
        lambda x: 3 * x**2, lambda x: 6 * x, lambda x: 6 + 0 * x,
    ),
}  # fmt: skip


# Closed forms ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLOSED)
def test_derivatives_to_the_third_order(name):
    function, *expected = CLOSED[name]
    x = tg.tensor(X)
    y = function(x).sum()
    for order, closed in enumerate(expected, start=1):
        plain = tg.grad(y, x)
        assert not plain.inputs
        y = tg.grad(y, x, create_graph=True)
        np.testing.assert_allclose(y, closed(X), rtol=1e-12)
        np.testing.assert_allclose(plain, closed(X), rtol=1e-12)
        if order < 3:
            y = y.sum()


@pytest.mark.parametrize("name", CLOSED)
def test_derivatives_to_the_third_order_through_the_gradients_of_parameters(name):
    function, *expected = CLOSED[name]
    w = tg.parameter(X)
    y = function(w)
    for closed in expected:
        w.grad = None
        y.sum().backward(create_graph=True)
        np.testing.assert_allclose(w.grad, closed(X), rtol=1e-12)
        y = w.grad


@pytest.mark.parametrize("name", CLOSED)
def test_derivatives_to_the_third_order_of_a_traced_function(name):
    function, *expected = CLOSED[name]

    def derivatives(x):
        y, found = function(x), []
        for _ in expected:
            y = tg.grad(y.sum(), x)
            found.append(y)
        return found

    for value, closed in zip(tg.trace(derivatives, tg.Spec((3,), np.float64))(X), expected, strict=True):
        np.testing.assert_allclose(value, closed(X), rtol=1e-12)


def test_mixed_second_derivatives_agree():
    a, b = tg.tensor(X), tg.tensor(X[::-1].copy())
    y = (tg.sin(a * b) * tg.exp(a)).sum()
    da, db = tg.grad(y, [a, b], create_graph=True)
    np.testing.assert_allclose(tg.grad(da.sum(), b), tg.grad(db.sum(), a), rtol=1e-12)


def test_a_gradient_of_a_gradient_penalty():
    w, x = tg.parameter(X), tg.tensor(X)
    slope = tg.grad((tg.tanh(w * x)).sum(), x, create_graph=True)
    (slope * slope).sum().backward()
    t = np.tanh(X * X)
    inner = X * (1 - t**2)
    np.testing.assert_allclose(w.grad, 2 * inner * (1 - t**2 - 2 * X * X * t * (1 - t**2)), rtol=1e-10)


# Forms of arguments ---------------------------------------------------------------------------------------------------


def test_wrt_comes_back_in_its_form():
    x, y = tg.tensor(2.0), tg.tensor(3.0)
    z = x * y
    assert tg.grad(z, x).item() == 3.0
    assert [t.item() for t in tg.grad(z, [x, y])] == [3.0, 2.0]
    assert [t.item() for t in tg.grad(z, (y, x))] == [2.0, 3.0]
    assert {k: t.item() for k, t in tg.grad(z, {"b": y, "a": x}).items()} == {"b": 2.0, "a": 3.0}
    assert tg.grad(z, []) == []
    assert tg.grad(z, {}) == {}


def test_a_tensor_may_be_named_twice():
    x = tg.tensor(3.0)
    assert [t.item() for t in tg.grad(x * x, [x, x])] == [6.0, 6.0]


def test_intermediate_results_and_the_output_itself():
    x = tg.tensor(3.0)
    h = x * x
    y = h * h
    dx, dh, dy = tg.grad(y, [x, h, y])
    assert (dx.item(), dh.item(), dy.item()) == (4 * 27.0, 18.0, 1.0)
    (only,) = tg.grad(y, [y], 5.0)
    assert only.item() == 5.0


def test_wrt_one_intermediate_result_that_depends_on_another():
    a = tg.tensor(2.0) * 1
    b = a * 3
    assert [t.item() for t in tg.grad(a * b, [a, b])] == [6.0 + 2.0 * 3, 2.0]


def test_several_outputs():
    x = tg.tensor([1.0, 2.0])
    a, b = x * x, x * 3
    assert tg.grad([a, b], x, [tg.tensor([1.0, 10.0]), [1.0, 1.0]]).tolist() == [2.0 + 3, 40.0 + 3]
    assert tg.grad([a.sum(), b.sum()], x).tolist() == [5.0, 7.0]
    assert tg.grad([a, b.sum()], x, [[0.0, 1.0], None]).tolist() == [3.0, 7.0]
    assert tg.grad([a.sum()] * 3, x).tolist() == [6.0, 12.0]
    assert tg.grad([a.sum(), a], a, [1.0, [2.0, 3.0]]).tolist() == [3.0, 4.0]


def test_a_cotangent_weights_the_entries():
    x = tg.tensor([1.0, 2.0])
    weights = np.array([10, 100])
    assert tg.grad(x * x, x, weights).tolist() == [20.0, 400.0]
    assert weights.tolist() == [10, 100]
    given = tg.tensor([1.0, 1.0])
    first = tg.grad([x + 0, x * 1], x, [given, given])
    assert (first.tolist(), given.tolist()) == ([2.0, 2.0], [1.0, 1.0])


def test_numbers_given_for_float64_are_not_rounded_to_float32():
    x = tg.tensor(np.array([1.0, 1.0]))
    assert tg.grad(x * 1, x, [0.1, 0.2]).tolist() == [0.1, 0.2]
    assert tg.jvp(lambda v: v * 1, [x], [[0.1, 0.2]])[1].tolist() == [0.1, 0.2]
    assert tg.hvp(lambda v: (v * v).sum() / 2, x, (0.1, 0.2)).tolist() == [0.1, 0.2]
    assert (x * [0.1, 0.2]).tolist() == [0.1, 0.2]
    assert x.at[0].set(0.1).tolist() == [0.1, 1.0]


def test_a_gradient_depends_on_its_cotangent():
    x, v = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    pulled = tg.grad(x * x, x, v, create_graph=True)
    assert tg.grad(pulled.sum(), v).tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("y", "cotangent", "kind", "match"),
    [
        (lambda x: x * 2, None, tg.GradientError, "holds 2 values, so its gradient needs a cotangent(.|\n)*hint:"),
        (lambda x: x * 2, [1.0], tg.ShapeError, r"cotangent of tensor .*(.|\n)*expected: \(2,\)\n  got:      \(1,\)"),
        (lambda x: x * 2, 1.0, tg.ShapeError, r"got:      \(\)"),
        (lambda x: [x * 2, x], [[1.0, 1.0]], tg.GradientError, "expected: 2, one per output(.|\n)*got:      1"),
        (lambda x: x > 0, None, tg.GradientError, "cannot be differentiated(.|\n)*expected: a float tensor"),
        (lambda x: x.argmax(), None, tg.GradientError, "argmax .* int64 cannot be differentiated"),
    ],
)
def test_wrong_outputs_and_cotangents(y, cotangent, kind, match):
    x = tg.ones(2)
    with pytest.raises(kind, match=match):
        tg.grad(y(x), x, cotangent)


def test_zero_size_tensors():
    x, w = tg.zeros((0, 3)), tg.parameter(np.ones((3, 2), np.float32))
    y = tg.tanh(x @ w)
    for create_graph in (False, True):
        dx, dw = tg.grad(y.sum(), [x, w], create_graph=create_graph)
        assert (dx.shape, dw.tolist()) == ((0, 3), [[0.0, 0.0]] * 3)
        assert tg.grad(x * x, x, x, create_graph=create_graph).shape == (0, 3)
        assert tg.grad(tg.concatenate([x, x])[:, 1].sum(), x, create_graph=create_graph).shape == (0, 3)


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_keep_their_dtype(create_graph):
    single, double = tg.parameter([1.0, 2.0]), tg.parameter(np.array([3.0, 4.0]))
    y = (tg.tanh(single * 0.5) * double[0]).sum() + (single[[0, 0]] / 3 + 2).mean()
    assert y.dtype == np.float64
    a, b = tg.grad(y, [single, double], create_graph=create_graph)
    assert (a.dtype, b.dtype) == (np.float32, np.float64)
    y.backward(create_graph=create_graph)
    assert (single.grad.dtype, double.grad.dtype) == (np.float32, np.float64)
    only = (tg.exp(single) ** 2 * np.float64(3) + 1).sum()
    assert only.dtype == np.float32
    assert tg.grad(only, single, np.float64(1), create_graph=create_graph).dtype == np.float32


@pytest.mark.parametrize("create_graph", [False, True])
def test_contributions_are_summed_over_broadcast_axes(create_graph):
    x, row, column, one = tg.ones((2, 3)), tg.tensor([1.0, 2.0, 3.0]), tg.tensor([[1.0], [2.0]]), tg.tensor(2.0)
    y = x * row + column * one
    slopes = tg.grad(y.sum(), [row, column, one], create_graph=create_graph)
    assert [t.tolist() for t in slopes] == [[2.0, 2.0, 2.0], [[6.0], [6.0]], 9.0]


# Three answers --------------------------------------------------------------------------------------------------------


def test_zero_is_a_gradient():
    x = tg.tensor([1.5, 2.5])
    for y in (tg.floor(x), x * 0, tg.relu(-x), tg.sign(x), x[:0]):
        assert tg.grad(y.sum(), x).tolist() == [0.0, 0.0]
        assert tg.grad(y.sum(), x, create_graph=True).tolist() == [0.0, 0.0]


def test_disconnected_tensors_are_refused_by_name():
    x, other = tg.tensor(1.0), tg.tensor(2.0, name="other")
    with pytest.raises(tg.DisconnectedError, match=r"y' .* does not depend on tensor 'other'(.|\n)*allow_unused=True"):
        tg.grad((x * 2).named("y"), other)
    with pytest.raises(tg.DisconnectedError):
        tg.grad(x.detach() * 2, x)
    with pytest.raises(tg.DisconnectedError):
        tg.grad(x * 2, [x, other])
    with pytest.raises(tg.DisconnectedError):
        tg.grad(x, x * 2)


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: (x > 0).astype(np.float32), "greater"),
        (lambda x: x.astype(int).astype(np.float32), "to_integer"),
        (lambda x: tg.one_hot(x.argmax(), 2), "argmax"),
        (lambda x: tg.tanh(tg.dropout(tg.ones(2), 0.5, generator=np.random.default_rng(0))) * (x == x).sum(), "equal"),
    ],
)
def test_operations_without_a_gradient_are_refused_by_name(function, op):
    x = tg.tensor([0.5, 1.5], name="x")
    match = f"depends on tensor 'x' .* only through '{op}', which has no gradient"
    with pytest.raises(tg.GradientError, match=match) as e:
        tg.grad(function(x * 2).sum(), x)
    assert not isinstance(e.value, tg.DisconnectedError)
    assert __file__ in str(e.value)


def test_what_passes_beside_an_operation_without_a_gradient_counts():
    x = tg.tensor([-1.0, 2.0])
    assert tg.grad((x * (x > 0)).sum(), x).tolist() == [0.0, 1.0]


def test_allow_unused_gives_none_for_both():
    x, other = tg.tensor([1.0, 2.0]), tg.tensor(2.0)
    y = (x * 2).sum() + (other > 0)
    slopes = tg.grad(y, {"x": x, "other": other, "third": tg.ones(1)}, allow_unused=True)
    assert (slopes["x"].tolist(), slopes["other"], slopes["third"]) == ([2.0, 2.0], None, None)
    assert tg.grad(y, other, allow_unused=True) is None


def test_integers_carry_no_gradient():
    n = tg.tensor([1, 2], name="n")
    with pytest.raises(tg.GradientError, match=r"tensor 'n' \(2,\) int64 carries no gradient(.|\n)*astype"):
        tg.grad((n * 1.5).sum(), n)


# backward -------------------------------------------------------------------------------------------------------------


def test_gradients_add_up_over_calls():
    w = tg.parameter([1.0, 2.0])
    y = (w * w).sum()
    y.backward()
    first = w.grad
    y.backward()
    assert (w.grad.tolist(), first.tolist()) == ([4.0, 8.0], [2.0, 4.0])
    (w * 3).sum().backward()
    assert w.grad.tolist() == [7.0, 11.0]
    assert tg.grad(y, w).tolist() == tg.grad(y, w).tolist() == [2.0, 4.0]


def test_recorded_gradients_add_up_recorded():
    w = tg.parameter([2.0])
    (w * w * w).sum().backward(create_graph=True)
    with tg.no_grad():
        (w * w * w).sum()
    (w * w).sum().backward(create_graph=True)
    assert w.grad.tolist() == [16.0]
    assert tg.grad(w.grad.sum(), w).tolist() == [14.0]
    (w * 1).sum().backward()
    assert w.grad.tolist() == [17.0]


def test_backward_reaches_parameters_only():
    w, x = tg.parameter([1.0], name="w"), tg.tensor([2.0])
    h = w * x
    (h * h).sum().backward()
    assert (w.grad.tolist(), x.grad, h.grad) == ([8.0], None, None)
    assert not w.grad.requires_grad
    assert not w.grad.inputs


def test_backward_takes_a_cotangent():
    w = tg.parameter([1.0, 2.0])
    (w * w).backward([1.0, 10.0])
    assert w.grad.tolist() == [2.0, 40.0]
    with pytest.raises(tg.GradientError, match="needs a cotangent"):
        (w * w).backward()


def test_backward_of_a_parameter_itself():
    w = tg.parameter(3.0)
    w.backward()
    assert w.grad.item() == 1.0


def test_backward_without_a_parameter_is_refused():
    with pytest.raises(tg.GradientError, match=r"depends on no parameter(.|\n)*tg.parameter\("):
        (tg.ones(1) * 2).backward()
    with tg.no_grad():
        y = tg.parameter([1.0]) * 2
    with pytest.raises(tg.GradientError, match="depends on no parameter"):
        y.backward()


def test_backward_says_which_operation_stands_in_the_way():
    w = tg.parameter([1.0], name="w")
    with pytest.raises(tg.GradientError, match=r"depends on tensor 'w' .* only through 'greater'"):
        (w > 0).astype(np.float32).backward()


def test_backward_past_operations_without_a_gradient():
    w = tg.parameter(np.ones(100, np.float32))
    y = tg.dropout(w * 2, 0.5, generator=np.random.default_rng(0))
    y.sum().backward()
    assert w.grad.tolist() == (2 * y.numpy() / 2).tolist()


def test_a_failed_backward_changes_no_gradient():
    a, b = tg.parameter([1.0]), tg.parameter([2.0])
    y = (a * b).sum()
    b.assign([3.0])
    with pytest.raises(tg.StaleError):
        y.backward()
    assert (a.grad, b.grad) == (None, None)


def test_a_shared_parameter_is_one_parameter():
    w = tg.parameter(np.full((2, 2), 0.5, np.float32))
    x = tg.ones((1, 2))
    y = (x @ w @ w @ w).sum()
    y.backward()
    np.testing.assert_allclose(w.grad, tg.grad(y, w, create_graph=True))


# Functions ------------------------------------------------------------------------------------------------------------


def test_value_and_grad_by_position():
    f = lambda a, b, *, k=1.0: (a * b * k).sum()
    value, slope = tg.value_and_grad(f)(np.array([1.0, 2.0]), tg.tensor([3.0, 4.0]), k=2.0)
    assert (value.item(), slope.tolist()) == (22.0, [6.0, 8.0])
    _, (first, second) = tg.value_and_grad(f, (1, 0))(tg.tensor(2.0), 3.0)
    assert (first.item(), second.item()) == (2.0, 3.0)
    assert tg.value_and_grad(f, -1)(2.0, 3.0)[1].item() == 2.0


def test_value_and_grad_of_groups():
    def loss(params, x):
        return (params["w"] * x + params["b"]).sum()

    params = {"w": tg.parameter(2.0), "b": tg.parameter([1.0, 1.0])}
    value, slopes = tg.value_and_grad(loss)(params, tg.tensor([1.0, 2.0]))
    assert value.item() == 8.0
    assert {k: t.tolist() for k, t in slopes.items()} == {"w": 3.0, "b": [1.0, 1.0]}
    assert all(p.grad is None for p in params.values())
    _, both = tg.value_and_grad(lambda ps: ps[0] * ps[1])([3.0, tg.parameter(4.0)])
    assert [t.item() for t in both] == [4.0, 3.0]


def test_value_and_grad_with_more_results():
    (loss, extra), slope = tg.value_and_grad(lambda x: (x * x, {"twice": x * 2}), has_aux=True)(3.0)
    assert (loss.item(), extra["twice"].item(), slope.item()) == (9.0, 6.0, 6.0)


def test_value_and_grad_keeps_the_name_of_its_function():
    def loss(x):
        """A loss."""
        return x

    assert (tg.value_and_grad(loss).__name__, tg.value_and_grad(loss).__doc__) == ("loss", "A loss.")


def test_arguments_are_independent_of_each_other():
    w = tg.parameter(2.0)
    h = w * 3
    product = lambda a, b: a * b * b
    expected = [36.0, 2 * 2.0 * 6.0]
    assert [t.item() for t in tg.value_and_grad(product, (0, 1))(w, h)[1]] == expected
    assert [t.item() for t in tg.vjp(product, w, h)[1]()] == expected
    assert [t.item() for t in tg.vjp(product, w, w)[1]()] == [4.0, 8.0]
    assert tg.jvp(product, [w, w], [1.0, 0.0])[1].item() == 4.0
    assert tg.jvp(product, [w, h], [1.0, 0.0])[1].item() == 36.0


def test_vjp_of_several_outputs():
    y, pull = tg.vjp(lambda a: (a * 2, a * a), [1.0, 3.0])
    assert [t.tolist() for t in y] == [[2.0, 6.0], [1.0, 9.0]]
    assert pull([[1.0, 0.0], [0.0, 1.0]])[0].tolist() == [2.0, 6.0]
    with pytest.raises(tg.ShapeError, match="cotangent"):
        pull([[1.0], [1.0]])
    with pytest.raises(tg.DisconnectedError):
        tg.vjp(lambda a, b: a, 1.0, 2.0)[1]()
    assert tg.vjp(lambda a, b: a, 1.0, 2.0)[1](allow_unused=True)[1] is None


def test_a_vjp_can_be_differentiated_by_what_it_was_given():
    x = tg.tensor(3.0) * 1
    _, pull = tg.vjp(lambda v: v * v * v, x)
    assert tg.grad(pull(create_graph=True)[0], x).item() == 18.0


def test_integers_have_no_vjp():
    with pytest.raises(tg.GradientError, match="int64 carries no gradient"):
        tg.vjp(lambda n: n * 1.5, 2)[1]()


@pytest.mark.parametrize("argnums", [2, -3, (0, 2), [5]])
def test_a_position_without_an_argument_is_refused(argnums):
    with pytest.raises(IndexError, match=r"value_and_grad: argnums=.* of a call with 2 (.|\n)* from -2 to 1"):
        tg.value_and_grad(lambda a, b: (a * b).sum(), argnums=argnums)(tg.ones(2), tg.ones(2))


def test_an_argument_by_name_is_not_differentiated():
    with pytest.raises(IndexError, match=r"0 positional arguments(.|\n)*by position, not by name"):
        tg.value_and_grad(lambda a: a.sum())(a=tg.ones(2))


@pytest.mark.parametrize("argnums", [(0, 0), (1, -1)])
def test_a_position_given_twice_is_refused(argnums):
    with pytest.raises(ValueError, match="each argument once"):
        tg.value_and_grad(lambda a, b: (a * b).sum(), argnums=argnums)(tg.ones(2), tg.ones(2))


@pytest.mark.parametrize("argnums", [0.5, "0", None, True])
def test_argnums_are_integers(argnums):
    with pytest.raises((ValueError, TypeError)):
        tg.value_and_grad(lambda a: a.sum(), argnums=argnums)


def test_the_last_argument_is_minus_one():
    run = tg.value_and_grad(lambda a, b: (a * a * b).sum(), argnums=(0, -1))
    _, (first, last) = run(tg.tensor([3.0]), tg.tensor([2.0]))
    assert (first.tolist(), last.tolist()) == ([12.0], [9.0])
