"""checkpoint: equal values and derivatives, less memory, the same random numbers."""

from __future__ import annotations

import gc
import random
import weakref
from typing import NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg


class State(NamedTuple):
    h: tg.Tensor
    c: tg.Tensor


W = tg.parameter(np.array([[0.3, -0.2], [0.5, 0.1]]), name="W")
X = np.array([[0.4, -1.1], [0.7, 0.2]])


def cell(h, x):
    return tg.tanh(h @ W + x * h)


def rnn(step, x, w=W):
    h = x * 0.5 + tg.sin(w[0])
    for _ in tg.steps(3):
        h = step(h, x)
    return (h * h).sum()


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_a_recurrence_are_equal(create_graph):
    """The state of each step depends on the closed-over weight that the step uses too."""
    x = tg.tensor(X)
    plain, saved = rnn(cell, x), rnn(tg.checkpoint(cell), x)
    assert saved.item() == plain.item()
    slopes, slopes_saved = (tg.grad(y, [x, W], create_graph=create_graph) for y in (plain, saved))
    for a, b in zip(slopes, slopes_saved, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-13)


@pytest.mark.parametrize("wrt", [0, 1])
def test_second_derivatives_are_equal(wrt):
    found = []
    for step in (cell, tg.checkpoint(cell)):
        x = tg.tensor(X)
        t = (x, W)[wrt]
        slope = tg.grad(rnn(step, x), t, create_graph=True)
        found.append((tg.grad((slope * slope).sum(), [x, W]), tg.hessian(rnn(step, x), t)))
    (first, hessian), (first_saved, hessian_saved) = found
    for a, b in zip([*first, hessian], [*first_saved, hessian_saved], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-13)


def test_third_derivatives_are_equal():
    x = tg.tensor(0.7)
    y = tg.checkpoint(lambda v: v * v * v * v)(x)
    for expected in (4 * 0.7**3, 12 * 0.7**2, 24 * 0.7):
        y = tg.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected, rel=1e-6)


def test_backward_reaches_parameters_that_are_closed_over():
    w, unused = tg.parameter([2.0, 3.0]), tg.parameter([1.0])
    tg.checkpoint(lambda x: x * w * w)(tg.ones(2)).sum().backward()
    assert (w.grad.tolist(), unused.grad) == ([4.0, 6.0], None)


@pytest.mark.parametrize("create_graph", [False, True])
def test_an_argument_that_comes_straight_from_a_parameter_counts_once(create_graph):
    w = tg.parameter(2.0)
    h = w * 3
    y = tg.checkpoint(lambda v: v * w * w)(h)
    assert tg.grad(y, w, create_graph=create_graph).item() == 9 * 2.0**2
    assert [t.item() for t in tg.grad(y, [w, h], create_graph=create_graph)] == [9 * 2.0**2, 2.0**2]
    assert tg.jvp(lambda w: tg.checkpoint(lambda v: v * w * w)(w * 3), [w], [1.0])[1].item() == 9 * 2.0**2


def test_checkpoints_nest():
    x = tg.tensor(0.5)
    inner = tg.checkpoint(lambda v: tg.tanh(v * v))
    y = tg.checkpoint(lambda v: inner(v) * inner(v * 2))(x)
    z = tg.tanh(x * x) * tg.tanh(x * 2 * x * 2)
    assert tg.grad(y, x).item() == pytest.approx(tg.grad(z, x).item(), rel=1e-6)
    slope, slope_ = tg.grad(y, x, create_graph=True), tg.grad(z, x, create_graph=True)
    assert tg.grad(slope, x).item() == pytest.approx(tg.grad(slope_, x).item(), rel=1e-5)


def test_results_come_in_the_form_that_the_function_gives():
    def step(state, x, *, scale):
        return State(state.h * x * scale, tg.concatenate([state.c, state.c]))

    state = State(tg.tensor([1.0, 2.0]), tg.zeros((0, 2)))
    new = tg.checkpoint(step)(state, 3.0, scale=2.0)
    assert isinstance(new, State)
    assert (new.h.tolist(), new.c.shape) == ([6.0, 12.0], (0, 2))
    assert tg.grad(new.h.sum(), state.h).tolist() == [6.0, 6.0]
    a, b = tg.checkpoint(lambda x: [x.reshape(2, 1), x.sum()])(state.h)
    assert (a.shape, b.shape) == ((2, 1), ())
    assert tg.grad([a, b], state.h, [[[1.0], [2.0]], 10.0]).tolist() == [11.0, 12.0]


def test_an_argument_may_be_a_result():
    x = tg.tensor([1.0, 2.0])
    y = tg.checkpoint(lambda v: v)(x)
    assert tg.grad((y * y).sum(), x).tolist() == [2.0, 4.0]
    constant = tg.checkpoint(lambda v: tg.ones(2))(x)
    with pytest.raises(tg.DisconnectedError):
        tg.grad(constant.sum(), x)


def test_arguments_that_only_choose_have_no_gradient():
    x, k = tg.parameter([1.0, 2.0]), tg.tensor([1, 1])
    y = tg.checkpoint(lambda v, k, gate: tg.where(gate > 0, v[k], 0.0))(x, k, tg.parameter([1.0, -1.0], name="gate"))
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]


def test_forward_mode_passes_through():
    x, h = tg.tensor(X), tg.tensor(X[::-1].copy())
    steps = (cell, tg.checkpoint(cell))
    found = [tg.jvp(lambda a, b, f=f: rnn(f, a) * b.sum(), [x, h], [h, x])[1].item() for f in steps]
    assert found[1] == pytest.approx(found[0], rel=1e-12)
    w = tg.parameter(X)
    slopes = [
        tg.jvp(lambda v, f=f: rnn(f(lambda h, z: tg.tanh(h @ v * z)), x, v), [w], [x])[1].item()
        for f in (lambda g: g, tg.checkpoint)
    ]
    assert slopes[1] == pytest.approx(slopes[0], rel=1e-12)


# Memory ---------------------------------------------------------------------------------------------------------------


def test_intermediate_results_are_not_kept():
    kept = []

    def body(x):
        middle = tg.tanh(x * 2)
        kept.append((weakref.ref(middle), weakref.ref(middle.data)))
        return middle * middle

    gc.disable()
    try:
        x = tg.ones(4)
        y = tg.checkpoint(body)(x)
        assert [r() for pair in kept for r in pair] == [None, None]
        slope = tg.grad(y.sum(), x)
        assert [r() for pair in kept for r in pair] == [None] * 4
        plain = body(x)
        assert kept[-1][0]() is not None
        np.testing.assert_allclose(slope, tg.grad(plain.sum(), x))
        reference = weakref.ref(y)
        del y, plain
        assert reference() is None
    finally:
        gc.enable()


def test_the_body_runs_once_forward_and_once_backward():
    runs = []

    def body(x, w):
        runs.append(1)
        return x * w * w

    x, w = tg.tensor([1.0]), tg.parameter([2.0])
    y = tg.checkpoint(body)(x, w)
    assert len(runs) == 1
    tg.grad(y.sum(), [x, w])
    assert len(runs) == 2


def test_nothing_is_kept_where_nothing_is_recorded():
    with tg.no_grad():
        y = tg.checkpoint(cell)(tg.tensor(X), tg.tensor(X))
    assert not y.inputs
    np.testing.assert_array_equal(y, cell(tg.tensor(X), tg.tensor(X)))


# Random numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_same_numbers_are_drawn_again(create_graph):
    generator = np.random.default_rng(3)
    x = tg.tensor(np.ones(200))
    before = generator.bit_generator.state
    y = tg.checkpoint(lambda v: tg.dropout(v, 0.5, generator=generator) * v)(x)
    after = generator.bit_generator.state
    assert before != after
    slope = tg.grad(y.sum(), x, create_graph=create_graph)
    np.testing.assert_array_equal(slope, 2 * y.numpy())
    assert generator.bit_generator.state == after
    generator.bit_generator.state = before
    np.testing.assert_array_equal(tg.dropout(x, 0.5, generator=generator), y)


def test_two_checkpoints_draw_different_numbers():
    generator = np.random.default_rng(3)
    body = tg.checkpoint(lambda v: tg.dropout(v, 0.5, generator=generator))
    x = tg.tensor(np.ones(100))
    a, b = body(x), body(x)
    assert a.tolist() != b.tolist()
    np.testing.assert_array_equal(tg.grad([a.sum(), b.sum()], x), a.numpy() + b.numpy())


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (lambda x: x > 0, "float tensors of one dtype(.|\n)*got: .* bool"),
        (lambda x: [x, x.astype(np.float64)], "got: .*float32.*float64"),
        (lambda x: [x, 3.0], "got: .* float"),
        (lambda x: [], "float tensors of one dtype"),
    ],
)
def test_results_that_are_refused(body, match):
    with pytest.raises(tg.DTypeError, match=match):
        tg.checkpoint(body)(tg.ones(2))


def test_an_assignment_makes_a_checkpoint_stale():
    w = tg.parameter([2.0], name="w")
    y = tg.checkpoint(lambda x: x * w)(tg.ones(1))
    w.assign([3.0])
    with pytest.raises(tg.StaleError, match="tensor 'w'"):
        y.sum().backward()


def test_errors_of_the_body_pass_through_and_leave_nothing_behind():
    generator = np.random.default_rng(0)
    calls = []

    def body(x):
        calls.append(1)
        if len(calls) > 1:
            raise KeyError("second run")
        return tg.dropout(x, 0.5, generator=generator)

    x = tg.ones(4)
    y = tg.checkpoint(body)(x)
    state = generator.bit_generator.state
    with pytest.raises(KeyError, match="second run"):
        tg.grad(y.sum(), x)
    assert generator.bit_generator.state == state
    assert (x * 1).direction == "forward"


def test_it_keeps_name_and_documentation():
    assert tg.checkpoint(cell).__name__ == "cell"


def test_recomputed_nodes_belong_to_the_time_step_of_the_checkpoint():
    x = tg.tensor(X)
    slope = tg.grad(rnn(tg.checkpoint(cell), x), x, create_graph=True)
    tanhs = [t for t in tg.graph(slope) if t.op.name == "tanh"]
    assert [t.time for t in tanhs] == [2, 1, 0]
    assert {t.direction for t in tanhs} == {"backward"}


def test_of_parameters_alone_in_a_compiled_function():
    """Their values are others on each call, also where the block detaches them."""
    w = tg.parameter(np.array(0.5))
    block = tg.checkpoint(lambda v: v * v.detach())

    def step():
        y = block(tg.sin(w))
        return [y, *tg.grad(y, [w])]

    compiled = tg.compile(step)
    for _ in range(3):
        for found, expected in zip(compiled(), step(), strict=True):
            np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)
        w.assign(w * 0.5)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("compiled", [False, True])
def test_draws_in_checkpoints_within_checkpoints(depth, compiled):
    """What is computed again draws the same numbers, also those that an inner checkpoint drew first."""

    def value_and_slope(wrap):
        g = np.random.default_rng(2)

        def block(k):
            inner = wrap(block(k - 1)) if k else (lambda v: v * v)
            return lambda v: tg.dropout(inner(v) * 1.5, 0.5, generator=g)

        def run(x):
            y = wrap(block(depth))(x)
            return y, tg.grad(y.sum(), x)

        x = np.linspace(0.1, 1, 8)
        return [t.numpy() for t in (tg.compile(run)(x) if compiled else run(tg.tensor(x)))]

    for a, b in zip(value_and_slope(tg.checkpoint), value_and_slope(lambda f: f), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def changed_number(found):
    found[0] = 3.0


def changed_container(found):
    found.append(1.0)


@pytest.mark.parametrize("change", [changed_number, changed_container, lambda found: found.clear()])
@pytest.mark.parametrize("derivative", [
    lambda f, x: f(x).sum().backward(),
    lambda f, x: tg.jvp(f, (x,), (tg.ones(2),)),
    lambda f, x: tg.hessian(f(x).sum(), x),
])  # fmt: skip
def test_what_is_computed_again_from_something_else_is_refused(change, derivative):
    found, x = [2.0], tg.parameter([1.0, 2.0])

    def body(x):
        y = x * 1.0
        for factor in found:
            y = y * factor
        return y * x

    def twice(x):
        y = tg.checkpoint(body)(x)
        change(found)
        return y

    with pytest.raises(tg.StaleError, match=r"checkpoint: body computes something else(.|\n)*pass what changes"):
        derivative(twice, x)


def test_a_change_that_moves_the_gradient_alone_is_refused():
    cut, x = [False], tg.parameter([1.0, 2.0])
    y = tg.checkpoint(lambda x: (x * 2).detach() * x if cut[0] else (x * 2) * x)(x)
    cut[0] = True
    with pytest.raises(tg.StaleError, match="computes something else"):
        y.sum().backward()


def test_dropout_masks_of_one_generator_that_change_places():
    rng, first, x = np.random.default_rng(0), [True], tg.parameter(np.ones(50))

    def body(x):
        x = tg.dropout(x, 0.5, generator=rng) if first[0] else x
        return tg.dropout(x * 2, 0.5, generator=rng)

    y = tg.checkpoint(body)(x)
    np.testing.assert_array_equal(tg.grad(y.sum(), x), y.numpy())
    first[0] = False
    with pytest.raises(tg.StaleError, match="computes something else"):
        tg.grad(y.sum(), x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("nested", [False, True])
def test_modules_are_in_the_mode_of_the_forward_pass(training, nested):
    drop = tg.nn.Sequential(tg.nn.Dropout(0.5, generator=0), tg.nn.Dropout(0.5, generator=1)).train(training)
    x = tg.parameter(np.ones(50))
    body = tg.checkpoint(lambda x: drop(x)) if nested else drop
    y = tg.checkpoint(lambda x: body(x) * x)(x)
    drop.train(not training)
    np.testing.assert_allclose(tg.grad(y.sum(), x), 2 * y.numpy())
    assert [m.training for m in drop.modules()] == [not training] * 3


RNG, BITS, OLD, OWN = np.random.default_rng(0), np.random.PCG64(0), np.random.RandomState(0), random.Random(0)


class Noisy(tg.nn.Module):
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def forward(self, x):
        return tg.tanh(x * x * self.rng.normal())


FOREIGN = {
    "a generator": lambda x: tg.tanh(x * x * RNG.normal()),
    "bits": lambda x: tg.tanh(x * x * (BITS.random_raw() / 2**64)),
    "a RandomState": lambda x: tg.tanh(x * x * OLD.normal()),
    "a random.Random": lambda x: tg.tanh(x * x * OWN.random()),
    "np.random": lambda x: tg.tanh(x * x * np.random.normal()),  # noqa: NPY002  (it is what is meant)
    "Python's random": lambda x: tg.tanh(x * x * random.random()),
    "between operations": lambda x: tg.tanh(x * x * RNG.normal() + tg.random.normal(2, generator=RNG) * RNG.normal()),
    "of a module": Noisy(),
}


@pytest.mark.parametrize("fn", FOREIGN.values(), ids=FOREIGN)
def test_what_is_drawn_by_no_operation_is_drawn_again(fn):
    def run(saved):
        np.random.seed(0)  # noqa: NPY002
        RNG.bit_generator.state = np.random.PCG64(1).state
        BITS.state = np.random.PCG64(1).state
        for g in (OLD, OWN, random):
            g.seed(1)
        if isinstance(fn, Noisy):
            fn.rng = np.random.default_rng(4)
        wrapped = tg.checkpoint(fn) if saved else fn
        x = tg.tensor(np.array([0.3, -0.7]))
        y = wrapped(x).sum() + wrapped(x * 2).sum()
        return [*tg.grad(y, x).tolist(), y.item(), tg.tensor(fn(x)).sum().item()]  # generators go on where they were

    np.testing.assert_allclose(run(True), run(False), rtol=1e-12)


def test_a_generator_that_was_exchanged_since_the_first_call_draws_again():
    layer = Noisy()
    saved = tg.checkpoint(layer)
    for seed in (1, 2):
        layer.rng = np.random.default_rng(seed)
        x = tg.tensor([0.5])
        y = saved(x).sum()
        factor = np.random.default_rng(seed).normal()
        assert tg.grad(y, x).item() == pytest.approx((1 - y.item() ** 2) * factor, rel=1e-5)


def test_a_generator_among_the_arguments_draws_again():
    fn = tg.checkpoint(lambda x, g: tg.tanh(x * x * g.normal()))
    x = tg.tensor(np.float64(0.5))
    y = fn(x, np.random.default_rng(3))
    factor = np.random.default_rng(3).normal()
    np.testing.assert_allclose(tg.grad(y, x).item(), (1 - y.item() ** 2) * 2 * 0.5 * factor, rtol=1e-12)


def test_what_is_spawned_cannot_be_spawned_again():
    for fn in (lambda x: x * RNG.spawn(1)[0].normal(), lambda x: x * tg.random.normal((), generator=RNG.spawn(1)[0])):
        with pytest.raises(tg.GeneratorError, match="checkpoint: the function spawns generators"):
            tg.checkpoint(fn)(tg.tensor(0.5))
