"""No program overwrites what it still needs; a planner that is wrong is found."""

from __future__ import annotations

import inspect
import textwrap

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.compile import overwriting
from tests.compile.test_changes import KINDS, OPTIMIZERS, X
from tests.compile.test_results import FUNCTIONS, LAYERS
from tinygrad_rnn.compile import lower, lowerings
from tinygrad_rnn.testing.strategies import graphs, recurrent_models

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="what is planned are the compiled instructions")


@pytest.fixture
def made(monkeypatch):
    """Makes a program, and tells what it overwrites."""
    overwriting.watched(monkeypatch)

    def make(fn, *arguments, **options):
        program = tg.compile(fn, **options).program(*arguments)
        return overwriting.overwritten(program, overwriting.Noted.last)

    return make


@pytest.mark.parametrize("memory", [None, "sqrt"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", KINDS)
def test_training(made, kind, optimizer, memory):
    assert made(KINDS[kind](OPTIMIZERS[optimizer])[0], X, memory=memory) == []


@pytest.mark.parametrize("steps", [1, 9])
@pytest.mark.parametrize("layer", LAYERS)
def test_layers(made, layer, steps):
    net = LAYERS[layer]()
    optimizer = tg.optim.Adam(net, lr=0.1)

    def step(x):
        optimizer.zero_grad()
        out = net(x)
        loss = (tg.tanh(out.outputs) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss, out

    assert made(step, np.ones((2, steps, 3))) == []


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_results(made, function):
    assert made(function, np.ones(4)) == []


@given(program=st.one_of(graphs(), recurrent_models()), every=st.integers(2, 5))
@settings(max_examples=4 * settings.default.max_examples)
def test_random_programs(program, every):
    """With gradients, and with some of what is computed on the way among the results."""

    def run(*xs):
        ys = list(program(*xs))
        between = [t for t in tg.graph(ys).nodes if t.inputs][::every]
        total = sum((tg.sum(y) for y in ys if y.is_float), tg.zeros(()))
        inputs = [x for x in xs if x.is_float]
        return ys, between, tg.grad(total, inputs, allow_unused=True) if total.inputs else None

    with pytest.MonkeyPatch.context() as patch:
        overwriting.watched(patch)
        compiled = tg.compile(run).program(*program.arrays())
        assert overwriting.overwritten(compiled, overwriting.Noted.last) == []


# Planners that are wrong ----------------------------------------------------------------------------------------------


def changed(function, old, new):
    """A function with a piece of its text exchanged."""
    text = inspect.getsource(function)
    assert old in text
    scope = dict(function.__globals__)
    exec(textwrap.dedent(text).replace(old, new), scope)
    return scope[function.__name__]


WRONG = {
    "a part that is a result": (
        lower.Lowering, "_parts_needed_once", "part.serial in self.roots or ", "",
        lambda x: (lambda y: (y, tg.stack([y]) + 1.0))(tg.tanh(x)),
    ),
    "entries along different axes": (
        lower.Lowering, "_entries_differ", "len(axes) == 1", "True",
        lambda x: (lambda h: (tg.exp(h[0]), h[:, 1] * 2))(tg.tanh(x)),
    ),
    "results are overwritten": (
        lower.Lowering, "overwritable", "t.serial in self.roots or ", "",
        lambda x: (lambda y: (y, tg.exp(y)))(tg.tanh(x)),
    ),
    "used once more": (
        lower.Lowering, "overwritable", "len(self.users[t.serial]) > 1", "len(self.users[t.serial]) > 2",
        lambda x: (lambda y: tg.exp(y) * y)(tg.tanh(x)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_planner_is_found(made, monkeypatch, fault):
    owner, name, old, new, function = WRONG[fault]
    x = np.array([[0.5, 0.1], [-0.3, 0.7]])
    assert made(function, x) == []
    monkeypatch.setattr(overwriting.Noted, name, changed(getattr(owner, name), old, new))
    assert made(function, x) != []


def test_rows_at_equal_distances_that_are_none(monkeypatch):
    """A stack is a view of what its parts lie in only if all of them have the same strides."""
    function, x = lambda x: (lambda h: tg.stack([h[:, 0], h[1, :]]))(tg.tanh(x)), np.array([[0.5, 0.1], [-0.3, 0.7]])
    np.testing.assert_allclose(tg.compile(function)(x).numpy(), function(tg.tensor(x)).numpy(), rtol=1e-12)
    wrong = changed(lowerings._consecutive, " and part.strides == first.strides", "")
    monkeypatch.setattr(lowerings, "_consecutive", wrong)
    assert not np.allclose(tg.compile(function)(x).numpy(), function(tg.tensor(x)).numpy(), rtol=1e-12)
