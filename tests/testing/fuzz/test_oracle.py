"""The oracle: its derivatives against differences and complex steps, and its sense of kinks and rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_rnn.testing.fuzz import oracle_ops, program_number
from tinygrad_rnn.testing.fuzz.check import STAGES, Case
from tinygrad_rnn.testing.fuzz.draw import NumpyChoices, draw_graph
from tinygrad_rnn.testing.fuzz.models import draw_model
from tinygrad_rnn.testing.fuzz.oracle import directions_of, evaluate
from tinygrad_rnn.testing.fuzz.program import GraphProgram, GraphStep, Input
from tinygrad_rnn.testing.fuzz.table import OPS
from tinygrad_rnn.testing.strategies.graphs import graphs

H = 1e-4


def total(program, arrays):
    """The loss of which the oracle gives the gradient, from values alone."""
    values = [m.array for m in evaluate(program, arrays).values]
    return sum((1 + 0.1 * k) * (v * v).sum() for k, v in enumerate(values) if v.dtype.kind == "f")


def moved(arrays, directions, t):
    directions = iter(directions)
    return [a + t * next(directions) if a.dtype.kind == "f" else a for a in arrays]


def differences(f, arrays, directions):
    """Central differences with one step of Richardson's extrapolation."""
    slope = lambda h: (f(moved(arrays, directions, h)) - f(moved(arrays, directions, -h))) / (2 * h)
    return (4 * slope(H) - slope(2 * H)) / 3


def compare(program):
    """First and second order along a direction; the gradient entry by entry is tested through it."""
    arrays = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in program.arrays()]
    directions = directions_of(arrays)
    outcome = evaluate(program, arrays)
    if outcome.distance < 5e-4 or not outcome.finite:
        return
    slope = sum((m.array * v).sum() for m, v in zip(outcome.gradient, directions))
    assert slope == pytest.approx(differences(lambda xs: total(program, xs), arrays, directions), rel=1e-6, abs=1e-7)
    for k, m in enumerate(outcome.products):
        of_gradient = differences(lambda xs, k=k: evaluate(program, xs).gradient[k].array, arrays, directions)
        np.testing.assert_allclose(m.array, of_gradient, rtol=1e-5, atol=1e-6 * (1 + np.abs(m.array).max(initial=0)))


def detaching(program):
    return any("detach" in s.op for s in program.walk())


@settings(max_examples=60)
@given(graphs(dtypes=["float64"], max_steps=5))
def test_derivatives_of_graphs_agree_with_differences(program):
    if not detaching(program):  # whose derivative is not that of its value
        compare(program)


@pytest.mark.parametrize("seed", range(12))
def test_derivatives_of_models_agree_with_differences(seed):
    program = draw_model(NumpyChoices(np.random.default_rng(seed)), dtypes=["float64"], max_time=3)
    if not detaching(program):
        compare(program)


@pytest.mark.parametrize("name", [n for n, op in OPS.items() if op.draw and "detach" not in n])
def test_every_operation_agrees_with_differences(name):
    tried = 0
    for seed in range(6):
        program = draw_graph(
            NumpyChoices(np.random.default_rng([7, seed])), ops=[name, name, "tanh"], dtypes=["float64"],
            max_steps=3, blocks=False,
        )  # fmt: skip
        tried += name in [s.op for s in program.steps]
        compare(program)
    assert tried or name in ("where", "logical_not", "logical_and", "lookup", "take", "one_hot", "cross_entropy_of",
                             "layer_norm_affine", "set_value", "add_value", "outer", "huber")  # fmt: skip


def test_operations_that_fit_seldom_agree_with_differences():
    seldom = ["where", "logical_not", "logical_and", "lookup", "take", "one_hot", "cross_entropy_of", "positive",
              "layer_norm_affine", "set_value", "add_value", "outer", "huber", "matmul"]  # fmt: skip
    tried = set()
    for seed in range(150):
        c = NumpyChoices(np.random.default_rng([8, seed]))
        program = draw_graph(c, ops=seldom, dtypes=["float64"], max_steps=4, blocks=False)
        tried |= {s.op for s in program.steps}
        compare(program)
    assert set(seldom) <= tried


@given(st.integers(0, 10**6))
def test_slopes_are_those_of_the_values(seed):
    """Complex steps of values against the gradient: two ways through the oracle that share little."""
    program = draw_graph(NumpyChoices(np.random.default_rng(seed)), dtypes=["float64"])
    arrays = program.arrays()
    outcome = evaluate(program, arrays)
    if detaching(program):
        return
    floats = [m for m in outcome.values if m.dtype.kind == "f"]
    weights = [1 + 0.1 * k for k, m in enumerate(outcome.values) if m.dtype.kind == "f"]
    along = sum(2 * w * (m.array * s.array).sum() for w, m, s in zip(weights, floats, outcome.slopes))
    slope = sum((g.array * v).sum() for g, v in zip(outcome.gradient, directions_of(arrays)))
    assert along == pytest.approx(slope, rel=1e-9, abs=1e-11)


def test_detached_values_have_no_derivative():
    program = GraphProgram((Input((3,), seed=1),), (GraphStep("detached_factor", (0, 0)),), (1,))
    (x,) = program.arrays()
    outcome = evaluate(program, [x])
    np.testing.assert_allclose(outcome.gradient[0].array, 2 * x * x * x)
    np.testing.assert_allclose(outcome.products[0].array, 2 * x * x * directions_of([x])[0])


def test_shared_values_take_linear_time():
    tape = oracle_ops.Tape()
    y = x = tape.value(np.array(1.0))
    for _ in range(2000):
        y = (y + y) * 0.5
    assert oracle_ops.gradient([y], [np.array(1.0)], [x])[0] == 1.0
    assert len(tape.values) == 4001


@pytest.mark.parametrize(("op", "x"), [("relu", 0.1317), ("abs", -0.0713), ("clip", -0.5317), ("positive", 0.1317)])
def test_kinks_are_near(op, x):
    program = GraphProgram((Input(()),), (GraphStep(op, (0,)), GraphStep("add", (0, 0))), (1, 2))
    assert evaluate(program, [np.array(x)]).distance < 1e-15
    assert evaluate(program, [np.array(x + 0.01)]).distance == pytest.approx(0.01)


def test_tolerances_grow_with_what_is_lost():
    """Where a large number is taken off, what is left is known less well."""

    def bound(factor):
        steps = GraphStep("shift", (0,), {"factor": factor}), GraphStep("shift", (1,), {"factor": -factor})
        return evaluate(GraphProgram((Input(()),), steps, (2,)), [np.array(0.3)]).values[0].tolerance

    assert bound(1e6) > 1e3 * bound(1.0)


def test_float32_anywhere_widens_tolerances():
    steps = (GraphStep("float32", (0,)), GraphStep("float64", (1,)))
    program = GraphProgram((Input((2,)),), steps, (2,))
    outcome = evaluate(program, program.arrays())
    assert outcome.values[0].dtype == np.float64
    assert outcome.values[0].tolerance > 1e-7


def test_a_difference_is_believed_only_after_many_draws_of_noise():
    program = GraphProgram((Input((3,)),), (GraphStep("tanh", (0,)),), (1,))
    case = Case(program)
    (value,) = case.outcome.values
    case.outcome = replace(case.outcome, values=[replace(value, array=np.nextafter(value.array, 2), tolerance=0.0)])
    case.run(STAGES["values"])
    assert case.outcome.values[0].tolerance > 0


def test_more_draws_of_noise_allow_no_less():
    for number in range(20):
        program = program_number(5, number)
        one, many = evaluate(program, program.arrays()), evaluate(program, program.arrays(), draws=4)
        for a, b in zip([*one.values, *one.gradient, *one.slopes], [*many.values, *many.gradient, *many.slopes]):
            np.testing.assert_array_equal(a.array, b.array)
            assert not a.tolerance > b.tolerance
