"""Each law holds for what is right, and each is broken by something that breaks it alone."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.testing import cell_laws, laws
from tinygrad_rnn.testing.checks import CELL_LAWS, LAWS


def network(x, w, k):
    return {"a": tg.softmax(tg.tanh(x @ w)), "b": [x[k].sum(), tg.argmax(x)]}


INPUTS = [np.random.default_rng(0).normal(size=s) for s in [(3, 2), (2, 4)]] + [np.array([0, 2, 2])]
PLAIN = [name for name in laws.__all__ if name != "equals_reference"]


@pytest.mark.parametrize("name", PLAIN)
def test_a_network_keeps_every_law(name):
    getattr(laws, name)(network, *INPUTS)


@pytest.mark.parametrize("name", [n for n in PLAIN if n != "duality"])
def test_a_layer_keeps_every_law_with_its_parameters(name):
    layer = tg.nn.Sequential(tg.nn.Linear(3, 4, generator=0), tg.tanh, tg.nn.LayerNorm(4))
    getattr(laws, name)(layer, np.ones((2, 3), np.float32), parameters=layer)


def test_no_law_is_left_out_of_the_checks():
    assert set(LAWS) == {*PLAIN, "gradients"}
    assert set(CELL_LAWS) == set(cell_laws.__all__) - {"run"}


# What breaks each -----------------------------------------------------------------------------------------------------


def op(vjp, **changes):
    made = tg.elementwise(lambda x: x * x * x, vjp=vjp, name="cube")
    for name, value in changes.items():
        setattr(made.op, name, value)
    return made


crooked = tg.elementwise(
    lambda x, y: x * y, vjp=(lambda g, z, x, y: g * y * y, lambda g, z, x, y: g * x), name="crooked"
)


class Remembering:
    """Gives another result on each call."""

    def __init__(self):
        self.calls = 0
        self.kept = []

    def __call__(self, x):
        self.calls += 1
        return x * float(self.calls)

    def keep(self, x):
        self.kept.append(tg.tanh(x))
        return self.kept[-1] * 2


def writes(x):
    x.data[...] = 0
    return x * 2


BREAKING = {
    "duality": op(lambda g, y, x: 3 * g * x * x, jvp=lambda i, t, y, x: 2 * t * x * x),
    "linearity_of_cotangent": op(lambda g, y, x: g * g * x),
    "hessian_symmetry": lambda x: crooked(x[:1], x[1:]),
    "dtype_kept": lambda x: x.astype(np.float64),
    "inputs_not_mutated": writes,
    "no_reference_leak": Remembering().keep,
    "determinism": Remembering(),
    "eager_equals_compiled": Remembering(),
}


@pytest.mark.parametrize("name", PLAIN)
def test_each_law_can_be_broken(name):
    words = {"inputs_not_mutated": "not mutated", "eager_equals_compiled": "compiled", "hessian_symmetry": "Hessian"}
    with pytest.raises(AssertionError, match=words.get(name, name.split("_")[0])):
        getattr(laws, name)(BREAKING[name], np.array([0.5, -1.5]))


def test_a_reference_must_agree_in_values_shape_and_number():
    laws.equals_reference(lambda x: (tg.exp(x), x.sum()), lambda x: (np.exp(x), x.sum()), [0.5, 1.0])
    with pytest.raises(AssertionError, match=r"result 0\[1\] is"):
        laws.equals_reference(tg.exp, lambda x: np.exp(x) + np.array([0, 1e-9]), [0.5, 1.0])
    with pytest.raises(AssertionError, match="shape"):
        laws.equals_reference(tg.exp, lambda x: np.exp(x)[None], [0.5, 1.0])
    with pytest.raises(AssertionError, match="1 results"):
        laws.equals_reference(tg.exp, lambda x: (np.exp(x), x), [0.5, 1.0])


def test_a_leak_says_which_tensor_lives_on():
    kept = []
    with pytest.raises(AssertionError, match=r"first tensor 'hidden' \(2,\) float64"):
        laws.no_reference_leak(lambda x: kept.append(tg.tanh(x).named("hidden")) or kept[-1], np.array([0.5, -1.5]))


# Cells ----------------------------------------------------------------------------------------------------------------


def calls(cell, state=None, xs=None):
    """Each law of cells for one run."""
    rng = np.random.default_rng(1)
    xs = rng.normal(size=(3, 4, 2)).astype(np.float32) if xs is None else xs
    state = cell.initial_state(3) if state is None else state
    return {
        "causality": lambda: cell_laws.causality(cell, xs, state, at=2),
        "time_shift": lambda: cell_laws.time_shift(cell, xs, state),
        "split_point": lambda: cell_laws.split_point(cell, xs, state, at=2),
        "padding": lambda: cell_laws.padding(cell, xs, [4, 0, 2], state, parameters=list(cell.parameters())),
        "batch_independence": lambda: cell_laws.batch_independence(cell, xs, state),
        "batch_permutation": lambda: cell_laws.batch_permutation(cell, xs, state, order=[2, 0, 1]),
        "hidden_permutation": lambda: cell_laws.hidden_permutation(cell, xs, state, order=[1, 2, 0]),
        "truncation": lambda: cell_laws.truncation(cell, xs, state, at=2),
    }


class Cell(tg.nn.RNNCell):
    """A right cell, to derive wrong ones from."""

    def __init__(self):
        super().__init__(2, 3, generator=0)
        self.log = []


class Counts(Cell):
    def forward(self, x, state):
        self.log.append(1)
        y, state = super().forward(x, state)
        return y * len(self.log), state


class LooksAtTheClock(Cell):
    def forward(self, x, state):
        y, state = super().forward(x, state)
        return y * (1 + (y.time or 0)), state


class Mixes(Cell):
    def forward(self, x, state):
        return super().forward(x, state + 0.1 * state.mean(0, keepdims=True))


class MixesInputs(Cell):
    def forward(self, x, state):
        return super().forward(x + 0.1 * x.mean(0, keepdims=True), state)


class FirstRow(Cell):
    def forward(self, x, state):
        return super().forward(x + 0.1 * x[:1], state)


class FirstUnit(Cell):
    def forward(self, x, state):
        y, state = super().forward(x, state)
        return y, state.at[:, 0].add(1.0)


class Remembers(Cell):
    """Goes on with its own state whatever it is given."""

    own = None

    def forward(self, x, state):
        y, self.own = super().forward(x, state if self.own is None else self.own)
        return y, self.own


@pytest.mark.parametrize("name", CELL_LAWS)
def test_a_cell_keeps_every_law(name):
    calls(Cell())[name]()


@pytest.mark.parametrize(("name", "make"), [
    ("time_shift", Counts), ("time_shift", LooksAtTheClock), ("split_point", Counts), ("padding", MixesInputs),
    ("batch_independence", Mixes), ("batch_permutation", FirstRow), ("hidden_permutation", FirstUnit),
    ("truncation", Remembers),
], ids=str)  # fmt: skip
def test_a_wrong_cell_breaks_the_law(name, make):
    with pytest.raises(AssertionError):
        calls(make())[name]()


def test_a_cell_that_looks_ahead(monkeypatch):
    right = cell_laws.run

    def peeking(cell, xs, state):
        outputs, last = right(cell, xs, state)
        return [y + tg.tensor(xs)[:, -1:, 0] for y in outputs], last

    monkeypatch.setattr(cell_laws, "run", peeking)
    with pytest.raises(AssertionError, match="output of step 0 changes with the input of step 2"):
        calls(Cell())["causality"]()


def test_states_may_be_nested_and_inputs_may_be_tokens():
    table = tg.parameter(np.random.default_rng(0).normal(size=(5, 3)))

    class Two(tg.nn.Module):
        def forward(self, x, state):
            h, parts = state
            h = tg.tanh(table[x] + 0.5 * h + parts["c"])
            return h, (h, {"c": 0.9 * parts["c"] + h})

    cell, tokens = Two(), np.random.default_rng(1).integers(0, 5, (3, 4))
    state = (tg.zeros((3, 3), np.float64), {"c": tg.ones((3, 3), np.float64)})
    for name, call in calls(cell, state, tokens).items():
        if name != "hidden_permutation":
            call()
