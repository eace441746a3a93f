"""Random programs: they run everywhere alike, are data, and shrink."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.errors import PlaceholderError
from tinygrad_rnn.testing.fuzz.draw import LARGEST, LIMIT, NumpyChoices, draw_graph
from tinygrad_rnn.testing.fuzz.models import draw_model
from tinygrad_rnn.testing.fuzz.oracle import evaluate
from tinygrad_rnn.testing.fuzz.peers import installed, jax_results
from tinygrad_rnn.testing.fuzz.program import LAYOUTS, GraphProgram, GraphStep, Input
from tinygrad_rnn.testing.fuzz.table import OPS
from tinygrad_rnn.testing.strategies.graphs import graphs, recurrent_models

PROGRAMS = st.one_of(graphs(), recurrent_models(max_time=3))


def tensors(program):
    return [tg.tensor(a) for a in program.arrays()]


def many(count=200):
    """Programs of the generator without Hypothesis."""
    c = NumpyChoices(np.random.default_rng(0))
    return [draw_model(c) if k % 8 == 0 else draw_graph(c) for k in range(count)]


def minimal(strategy, condition=lambda program: True):
    options = {"max_examples": 500, "database": None, "derandomize": True}
    return find(strategy, condition, settings=settings(phases=[Phase.generate, Phase.shrink], **options))


@given(PROGRAMS)
def test_values_are_those_of_the_oracle(program):
    expected = evaluate(program, program.arrays()).values
    for y, m in zip(program(*tensors(program)), expected, strict=True):
        assert (y.shape, y.dtype) == (m.array.shape, m.dtype)
        assert (np.abs(y.numpy() - m.array) <= m.tolerance).all() if y.is_float else np.array_equal(y, m.array)


@given(PROGRAMS)
def test_json_goes_there_and_back(program):
    assert GraphProgram.from_json(program.to_json()) == program
    assert GraphProgram.from_json(program.to_json()).source() == program.source()


@given(PROGRAMS)
def test_the_source_runs_on_its_own(program):
    names = {}
    exec(program.source(), names)
    for own, array in zip(names["arrays"], program.arrays(), strict=True):
        np.testing.assert_array_equal(own, array, strict=True)
    outputs = names["program"](*[tg.tensor(a) for a in names["arrays"]])
    for a, b in zip(outputs, program(*tensors(program)), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), strict=True)


@given(PROGRAMS)
def test_values_stay_small(program):
    values = program.values(*tensors(program))
    floats = [v for v in values if v.is_float]
    assert all(v.size <= LIMIT and np.isfinite(v.numpy()).all() for v in values)
    assert np.mean([np.abs(v.numpy()).max(initial=0) <= LARGEST + 1e-6 for v in floats]) > 0.2


@given(PROGRAMS)
def test_programs_can_be_traced(program):
    """Nothing asks for a value on the way."""
    try:
        tg.trace(lambda *xs: program(*xs), *program.arrays())
    except PlaceholderError as error:  # pragma: no cover
        pytest.fail(str(error))


def test_everything_comes_up():
    programs = many(1200)
    seen = {step.op for p in programs for step in p.walk()}
    assert set(OPS) - seen <= {"to_integer", "float32", "float64"}
    inputs = [x for p in programs for x in p.inputs]
    assert {x.layout for x in inputs} == set(LAYOUTS)
    assert {x.dtype for x in inputs} == {"float32", "float64", "int64"}
    assert {0, 1} <= {n for x in inputs for n in x.shape}
    assert {0, 1, 2, 3, 4} <= {len(x.shape) for x in inputs}
    assert {bool(s.params["reverse"]) for p in programs for s in p.steps if s.op == "loop"} == {True, False}
    shared = [p for p in programs if len([k for s in p.steps for k in s.operands]) > len({k for s in p.steps
              for k in s.operands})]  # fmt: skip
    assert len(shared) > 100


def test_models_have_cells_and_losses():
    c = NumpyChoices(np.random.default_rng(1))
    models = [draw_model(c) for _ in range(100)]
    loops = [[s for s in p.steps if s.op == "loop"] for p in models]
    assert {len(found) for found in loops} >= {1, 2, 4}
    assert {len(s.params["carry"]) for found in loops for s in found} == {1, 2}
    inner = {b.op for found in loops for s in found for b in s.body}
    assert {"affine", "lstm_state", "blend", "attend", "lookup", "layer_norm"} <= inner
    assert any("cross_entropy_of" in [s.op for s in p.steps] for p in models)
    assert {p.inputs[0].dtype for p in models} == {"float32", "float64", "int64"}


def test_the_same_choices_give_the_same_program():
    assert many(20) == many(20)


# Shrinking ------------------------------------------------------------------------------------------------------------


def test_graphs_shrink_to_one_operation():
    program = minimal(graphs())
    assert [s.op for s in program.steps] == ["tanh"]
    assert program.inputs == (Input((), "float64", 0),)


def test_graphs_shrink_to_what_matters():
    program = minimal(graphs(max_steps=4), lambda p: "sin" in [s.op for s in p.steps])
    assert [s.op for s in program.steps] == ["sin"]


def test_models_shrink_to_one_step():
    program = minimal(recurrent_models(tokens=False))
    loops = [s for s in program.steps if s.op == "loop"]
    assert loops[0].body[0].op == "affine"
    assert len(loops[0].body) <= 3
    assert (len(loops), loops[0].params["steps"]) == (1, 1)


# Arguments ------------------------------------------------------------------------------------------------------------


@given(graphs(ops=["tanh", "multiply"], dtypes=["float32"], empty=False, blocks=False, max_steps=3))
def test_arguments_of_graphs_are_kept(program):
    assert {s.op for s in program.steps} <= {"tanh", "multiply", "bell", "scale"}
    assert {x.dtype for x in program.inputs} <= {"float32", "int64"}
    assert all(0 not in x.shape for x in program.inputs)


@given(graphs(smooth=True))
def test_smooth_graphs_have_no_kinks(program):
    assert not any(OPS[s.op].kinked for s in program.walk())


@given(recurrent_models(max_time=2, max_layers=1, tokens=True))
def test_arguments_of_models_are_kept(program):
    assert program.inputs[0].dtype == "int64"
    assert all(s.params["steps"] <= 2 for s in program.steps if s.op == "loop")


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: graphs(max_steps=0), "max_steps"), (lambda: graphs(ops=["cosh"]), "ops"),
        (lambda: graphs(dtypes=["int8"]), "dtypes"), (lambda: graphs(smooth=1), "smooth"),
        (lambda: graphs(empty=None), "empty"), (lambda: recurrent_models(max_layers=3), "max_layers"),
        (lambda: recurrent_models(max_time=0), "max_time"), (lambda: recurrent_models(tokens="no"), "tokens"),
    ],
)  # fmt: skip
def test_arguments_are_checked_at_once(call, match):
    with pytest.raises((ValueError, TypeError), match=match):
        call()


# What is not a program ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(version=2), lambda d: d["steps"][0].update(op="__import__('os')"),
        lambda d: d["steps"][0].update(operands=[5]), lambda d: d["inputs"][0].update(dtype="object"),
        lambda d: d["inputs"][0].update(layout="x'); print('"), lambda d: d.update(outputs=[9]),
        lambda d: d["steps"][0].update(params={"a b": 1}),
    ],
)  # fmt: skip
def test_other_text_is_refused(change):
    program = GraphProgram((Input((2,)),), (GraphStep("scale", (0,), {"factor": 2.0}),), (1,))
    read = json.loads(program.to_json())
    change(read)
    with pytest.raises(ValueError, match=r"GraphProgram|GraphStep|Input"):
        GraphProgram.from_json(json.dumps(read))


@pytest.mark.parametrize("text", ["1); raise SystemExit((1", "__import__('os').getcwd()"])
def test_parameters_are_literals(text):
    """What a file says is never run: strings stay strings, and sizes are integers."""
    program = GraphProgram((Input((2,)),), (GraphStep("scale", (0,), {"factor": text}),), (1,))
    assert repr(text) in program.source()
    loop = GraphStep("loop", (0, 0), {"steps": text, "axis": 0, "carry": (0,), "past": False, "reverse": False})
    with pytest.raises(ValueError, match="invalid literal"):
        GraphProgram((Input((2,)),), (loop,), (1,)).source()


def test_parameters_must_be_plain():
    with pytest.raises(TypeError, match="cannot be written"):
        GraphStep("scale", (0,), {"factor": object()})


@pytest.mark.skipif(not installed("jax"), reason="needs JAX")
def test_jax_agrees():
    steps = GraphStep("softmax", (0,), {"axis": -1}), GraphStep("layer_norm", (1,))
    program = GraphProgram((Input((2, 3)),), steps, (2,))
    outcome = evaluate(program, program.arrays())
    for y, m in zip(jax_results(program, program.arrays()), [*outcome.values, *outcome.gradient], strict=True):
        np.testing.assert_allclose(y, m.array, rtol=0, atol=100 * m.tolerance)
