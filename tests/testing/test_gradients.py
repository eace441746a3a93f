"""check_grad: right rules pass whatever the seed, wrong ones do not, and the report says which."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.testing import GradientMismatch, InconclusiveError, KinkError, check_grad
from tinygrad_rnn.testing.numeric import Function, central, one_sided

SEEDS = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "intense" else 100

# Differences ----------------------------------------------------------------------------------------------------------

SMOOTH = {
    "exp": (np.exp, np.exp),
    "sin": (np.sin, np.cos),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x**2),
    "cube": (lambda x: x**3, lambda x: 3 * x * x),
    "log": (np.log, lambda x: 1 / x),
    "shifted": (lambda x: 1e8 + np.tanh(x), lambda x: 1 - np.tanh(x) ** 2),
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("x", [1e-8, 0.3, 0.9, 2.0, 1e4])
def test_the_bound_of_a_difference_holds(name, x):
    f, exact = SMOOTH[name]
    with np.errstate(all="ignore"):
        slope = central(lambda t: [np.asarray(f(x + t))], size=x, largest=x)
        expected = exact(x)
    if np.isfinite(expected):
        assert abs(slope.values[0] - expected) <= slope.bounds[0] + 1e-15 * abs(expected)
        if name != "shifted" and x < 1e3:
            assert slope.bounds[0] <= 1e-7 * max(abs(expected), 1e-3 if name == "cube" else 1.0)


def test_one_sided_slopes_tell_a_kink_from_a_curve():
    left, right = one_sided(lambda t: [np.array([abs(t), 5 * t * t + t])])
    np.testing.assert_allclose(left[0], [-1, 1], atol=1e-6)
    np.testing.assert_allclose(right[0], [1, 1], atol=1e-6)


@pytest.mark.parametrize("fn", [
    tg.tanh, tg.sigmoid, tg.softplus, tg.gelu, tg.erf, tg.erfc, tg.expm1, lambda x: tg.log1p(x * x),
    lambda x: tg.sqrt(x * x + 1), lambda x: tg.rsqrt(x * x + 1), lambda x: (x * x + 0.5) ** 1.5, lambda x: 1.5**x,
    lambda x: x**3, tg.softmax, tg.log_softmax, tg.logsumexp, tg.layer_norm,
    lambda x: tg.cross_entropy(x, np.array([1, 0])), lambda x: tg.einsum("ij,kj->ik", x, x),
    lambda x: tg.where(tg.tensor([True, False, True]), x, 2 * x), lambda x: x.at[0].set(x[1] * x[0]),
    lambda x: x[[0, 0, 1]].sum(0), lambda x: tg.cumsum(x, 1) / (1 + x * x), lambda x: tg.sqrt(tg.var(x)) * tg.var(x),
    lambda x: x.astype(np.float64).mean() * x,
])  # fmt: skip
def test_complex_steps_agree_with_differences(fn):
    """Two ways that share nothing: formulas of complex numbers, and the function itself at several points."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3))
    function, direction = Function(fn, [x]), rng.normal(size=(2, 3))
    assert function.traced is not None
    exact = function.slope(0, direction)
    assert exact.method == "complex steps"
    rough = central(function.moved(0, direction), 1.0, 3.0)
    for value, measured, bound in zip(exact.values, rough.values, rough.bounds, strict=True):
        assert (np.abs(value - measured) <= bound + 1e-9).all()


# Right and wrong ------------------------------------------------------------------------------------------------------


def with_error(error):
    """x tanh(y) with a rule that is off by a factor in one of its two lines."""
    return tg.elementwise(
        lambda x, y: x * math.tanh(y),
        vjp=(lambda g, z, x, y: g * tg.tanh(y), lambda g, z, x, y: g * (x - z * tg.tanh(y)) * (1 + error)),
        name="wrong" if error else "right",
    )


def network(x, h, w, u, b):
    for t in tg.steps(3):
        h = tg.tanh(x[:, t] @ w + h @ u + b)
    return tg.softmax(h) * tg.layer_norm(h)


def arrays(rng):
    return [rng.normal(size=s) for s in [(2, 3, 2), (2, 3), (2, 3), (3, 3), (3,)]]


def test_a_right_rule_passes_every_seed():
    """By differences, since Numba's function is not known in complex numbers."""
    op = with_error(0.0)
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        check_grad(op, rng.normal(size=(2, 3)), rng.normal(size=3), seed=seed)


def test_a_right_network_passes_every_seed():
    for seed in range(max(SEEDS // 2, 1)):
        check_grad(network, *arrays(np.random.default_rng(seed)), seed=seed)


def test_kinked_functions_pass_every_seed():
    def kinked(x):
        return tg.relu(x) * tg.abs(x - 0.3) + tg.maximum(x, -x[::-1]) + x.max(1, keepdims=True)

    for seed in range(SEEDS):
        check_grad(kinked, np.random.default_rng(seed).normal(size=(2, 3)), seed=seed, kinks="skip")


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e4, 1e12])
def test_sizes_of_inputs_and_outputs_do_not_matter(scale):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(2, 3))
        check_grad(lambda x: tg.tanh(x / scale) * scale, x * scale, seed=seed)
        check_grad(lambda x: tg.relu(x / scale) + (x / scale) ** 2, x * scale, seed=seed, kinks="skip")


@pytest.mark.parametrize("error", [1e-3, -1e-3, 1e-4])
@pytest.mark.parametrize("modes", [("vjp",), ("jvp",), ("hvp",)], ids=str)
def test_a_slightly_wrong_rule_is_caught_for_every_seed(error, modes):
    op = with_error(error)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        with pytest.raises(GradientMismatch):
            check_grad(op, rng.normal(size=(2, 3)), rng.normal(size=3), seed=seed, modes=modes)


def test_a_wrong_second_derivative_is_caught_where_the_first_is_right():
    flat = lambda x: x.detach() if isinstance(x, tg.Tensor) else x
    square = tg.elementwise(lambda x: x * x, vjp=lambda g, y, x: g * 2 * flat(x), name="flat_square")
    check_grad(square, [0.5, -1.5], order=1)
    with pytest.raises(GradientMismatch, match="hvp of input 0") as caught:
        check_grad(square, [0.5, -1.5])
    assert caught.value.op == "flat_square"


def test_a_gradient_that_stops_is_found_and_the_place_named():
    with pytest.raises(GradientMismatch, match=r"stops at .*test_gradients.py"):
        check_grad(lambda x: x * x.detach(), [2.0])


def test_parameters_are_checked_too():
    layer = tg.nn.Linear(3, 2, generator=0)
    check_grad(layer, np.ones((2, 3)), parameters=layer)
    assert layer.W.dtype == np.float32

    def wrong(x):
        return layer(x) + layer.b.detach()

    with pytest.raises(GradientMismatch, match=r"vjp of b\["):
        check_grad(wrong, np.ones((2, 3)), parameters=layer)


def test_float32_inputs_are_checked_in_double_precision():
    check_grad(lambda x: tg.tanh(x) * x, np.float32([0.3, -0.2]))


def test_a_function_that_computes_in_single_precision():
    check_grad(lambda x: tg.tanh(x.astype(np.float32)) * 2, [0.3, -0.2], order=1)
    with pytest.raises(GradientMismatch):
        check_grad(lambda x: with_error(0.2)(x.astype(np.float32), x.astype(np.float32)), [0.3, -0.2], order=1)


def test_functions_that_look_at_values():
    check_grad(lambda x: x * x if x.sum().item() > 0 else -x, [0.5, 2.0])


def test_integers_and_booleans_are_passed_on():
    table = np.random.default_rng(0).normal(size=(4, 3))
    check_grad(lambda E, k, m: tg.where(m, E[k], 0.0), table, [[0, 3], [3, 3]], np.array([True, False, True]))


def test_nested_results_and_sizes_of_zero():
    check_grad(lambda x, y: {"a": (x.sum(), [y * 2]), "b": tg.argmax(x)}, np.ones((2, 2)), np.ones((0, 3)))


def test_a_single_wrong_entry_of_many_is_found():
    mask = np.zeros(5000)
    mask[1234] = 1e-3
    lines = (lambda g, y, x, m: 2 * g * x * (1 + m), lambda g, y, x, m: g * 0 * m)
    bent = tg.elementwise(lambda x, m: x * x, vjp=lines, name="bent")
    with pytest.raises(GradientMismatch) as caught:
        check_grad(lambda x: bent(x, tg.tensor(mask)), np.linspace(1, 2, 5000), order=1)
    assert caught.value.place.index == (1234,)


def test_a_wrong_value_is_seen_although_its_formula_is_right(monkeypatch):
    """The derivative is that of what the function gives, not that of what its name says."""
    kernels = tg.tanh.op.kernels
    right = kernels[np.dtype(np.float64)]
    monkeypatch.setitem(kernels, np.dtype(np.float64), lambda x, out=None: right(1.01 * x))
    with pytest.raises(GradientMismatch):
        check_grad(tg.tanh, [0.3, -0.2], order=1)


# Reports --------------------------------------------------------------------------------------------------------------


def test_the_report_names_op_argument_index_time_line_and_seed(tmp_path):
    op = with_error(1e-3)

    def f(x, w):
        h = x
        for t in tg.steps(3):
            h = op(h, w) if t == 2 else tg.tanh(h * w)
        return h

    with pytest.raises(GradientMismatch) as caught:
        check_grad(f, [0.5, 1.0], [1.5, -1.0], seed=7)
    error = caught.value
    assert (error.check, error.op, error.argument, error.time, error.seed) == ("vjp", "wrong", 1, 2, 7)
    assert error.place.name == "input 1"
    assert error.relative_error > 1e-5
    text = str(error)
    for part in ("vjp of input 1[", "analytic: ", "numeric:  ", "wrong, vjp by argument 1", "t=2", "seed:     7"):
        assert part in text
    assert "test_gradients.py:" in text
    assert error.picture is not None
    assert error.picture.stat().st_size
    saved = error.draw(tmp_path / "graph.svg")
    assert "wrong gradient" in saved.read_text()


def test_names_of_tensors_are_used():
    with pytest.raises(GradientMismatch, match=r"vjp of W\["):
        check_grad(lambda W: W * W.detach(), tg.tensor([1.0, 2.0]).named("W"))


@pytest.mark.parametrize(("fn", "at"), [
    (tg.abs, [0.0, 1.0]), (tg.relu, [1.0, 0.0]), (lambda x: x.max(), [1.0, 1.0]),
    (lambda x: tg.clip(x, 0.5, 2.0), [0.5]),
])  # fmt: skip
def test_kinks_are_called_kinks(fn, at):
    with pytest.raises(KinkError, match="kink at input 0") as caught:
        check_grad(fn, at)
    assert "from the left" in str(caught.value)
    check_grad(fn, at, kinks="skip")


def test_what_has_no_derivative_is_inconclusive():
    with pytest.raises(InconclusiveError, match="not finite"):
        check_grad(tg.log, [-1.0])
    with pytest.raises(InconclusiveError):
        check_grad(lambda x: tg.relu(x - 1e-9) + tg.floor(x * 1e9), [1e-9])


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: check_grad(3, [1.0]), TypeError, "expected a function"),
    (lambda: check_grad(tg.tanh, [1.0], order=3), ValueError, "order must be 1 or 2"),
    (lambda: check_grad(tg.tanh, [1.0], modes=["vjp", "vpj"]), ValueError, "'vpj'"),
    (lambda: check_grad(tg.tanh, [1.0], kinks="ignore"), ValueError, "kinks"),
    (lambda: check_grad(lambda k: k, [1, 2]), tg.GradientError, "no float among the inputs"),
    (lambda: check_grad(lambda x: tg.argmax(x), [1.0]), tg.GradientError, "gives no float"),
])  # fmt: skip
def test_calls_that_make_no_sense(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_long_chain():
    def chain(x):
        for _ in range(2000):
            x = tg.tanh(x)
        return x

    check_grad(chain, [0.3])
