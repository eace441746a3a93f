"""Random graphs with sharing, broadcasting, views, indexing, updates and detached parts, against the naive oracle."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

import tinygrad_rnn as tg

from .. import oracle

SIZES = st.integers(0, 3)
SHAPES = st.lists(SIZES, max_size=3).map(tuple)
SLICES = st.builds(
    slice, st.none() | st.integers(-4, 4), st.none() | st.integers(-4, 4), st.sampled_from([None, 1, 2, -1, -2])
)
LIMIT = 64  # paths from a result to its leaves that the oracle is made to walk


class Pair:
    """The same quantity computed by both, with a count of the paths below it."""

    def __init__(self, tensor, value, paths=1):
        self.tensor, self.value, self.paths = tensor, value, paths


def draw(seed, shape):
    return np.random.default_rng(seed).uniform(-1, 1, shape)


class Graphs(RuleBasedStateMachine):
    """Every rule adds a quantity to both sides; after each, values agree; at the end, so do the gradients."""

    quantities = Bundle("quantities")

    @initialize(target=quantities, shapes=st.lists(SHAPES, min_size=2, max_size=3))
    def begin(self, shapes):
        self.leaves, self.results = [], []
        return multiple(*(self.leaf(k, shape) for k, shape in enumerate([(2, 3), *shapes])))

    def leaf(self, seed, shape):
        array = draw(seed, shape)
        pair = Pair(tg.parameter(array), oracle.Value(array))
        self.leaves.append(pair)
        return pair

    def made(self, tensor, value, *parents):
        paths = sum(p.paths for p in parents) or 1
        if paths > LIMIT:  # cut here, so that the oracle stays fast
            return self.made(tensor.detach(), oracle.detach(value))
        self.results.append(Pair(tensor, value, paths))
        return self.results[-1]

    @rule(target=quantities, a=quantities, name=st.sampled_from(["tanh", "sigmoid"]))
    def curve(self, a, name):
        return self.made(getattr(tg, name)(a.tensor), getattr(oracle, name)(a.value), a)

    @rule(target=quantities, a=quantities, b=quantities, name=st.sampled_from(["add", "subtract", "multiply"]))
    def combine(self, a, b, name):
        try:
            np.broadcast_shapes(a.tensor.shape, b.tensor.shape)
        except ValueError:
            with pytest.raises(tg.ShapeError, match="do not broadcast"):
                getattr(tg, name)(a.tensor, b.tensor)
            return multiple()
        return self.made(getattr(tg, name)(a.tensor, b.tensor), getattr(oracle, name)(a.value, b.value), a, b)

    @rule(target=quantities, a=quantities, b=quantities)
    def product(self, a, b):
        try:
            np.matmul(a.value.array, b.value.array)
        except ValueError:
            with pytest.raises(tg.ShapeError, match="matmul"):
                a.tensor @ b.tensor
            return multiple()
        return self.made(a.tensor @ b.tensor, oracle.matmul(a.value, b.value), a, b)

    @rule(target=quantities, a=quantities, seed=st.integers(0, 99), columns=st.integers(0, 3))
    def weigh(self, a, seed, columns):
        """A product with a fresh weight, so that products that fit are not rare."""
        shape = (a.tensor.shape[-1] if a.tensor.ndim else 0, columns)
        if not a.tensor.ndim:
            return multiple()
        weight = self.leaf(seed, shape)
        return self.made(a.tensor @ weight.tensor, oracle.matmul(a.value, weight.value), a, weight)

    @rule(target=quantities, a=quantities, data=st.data(), keep=st.booleans(), name=st.sampled_from(["sum", "mean"]))
    def reduce(self, a, data, keep, name):
        axis = data.draw(st.none() | st.integers(-a.tensor.ndim, a.tensor.ndim - 1) if a.tensor.ndim else st.none())
        counted = a.tensor.size if axis is None else a.tensor.shape[axis]
        if name == "mean" and not counted:
            return multiple()
        reference = oracle.total if name == "sum" else oracle.mean
        return self.made(getattr(tg, name)(a.tensor, axis, keep), reference(a.value, axis, keep), a)

    @rule(target=quantities, a=quantities, data=st.data())
    def view(self, a, data):
        order = data.draw(st.permutations(range(a.tensor.ndim)))
        moved = oracle.linear(a.value, lambda x: x.transpose(order))
        shape = data.draw(
            st.sampled_from([(-1,) if a.tensor.size else (0,), moved.array.shape, (1, *moved.array.shape)])
        )
        tensor = a.tensor.transpose(tuple(order)).reshape(shape)
        return self.made(tensor, oracle.linear(moved, lambda x: x.reshape(shape)), a)

    @rule(target=quantities, a=quantities, data=st.data())
    def cut(self, a, data):
        index = tuple(data.draw(st.lists(SLICES, max_size=a.tensor.ndim)))
        if data.draw(st.booleans()):
            index = (*index, None)
        return self.made(a.tensor[index], oracle.getitem(a.value, index), a)

    @rule(target=quantities, a=quantities, data=st.data())
    def pick(self, a, data):
        if not a.tensor.ndim or not a.tensor.shape[0]:
            return multiple()
        n = a.tensor.shape[0]
        places = data.draw(st.integers(-n, n - 1) | st.lists(st.integers(-n, n - 1), max_size=4))
        index = np.array(places, int) if isinstance(places, list) else places
        return self.made(a.tensor[index], oracle.getitem(a.value, index), a)

    @rule(target=quantities, a=quantities)
    def mask(self, a):
        chosen = a.value.array > 0
        return self.made(a.tensor[chosen], oracle.getitem(a.value, chosen), a)

    @rule(target=quantities, a=quantities, b=quantities, axis=st.integers(0, 1))
    def join(self, a, b, axis):
        if a.tensor.shape != b.tensor.shape or axis > a.tensor.ndim:
            return multiple()
        value = oracle.joined([a.value, b.value], lambda arrays: np.stack(arrays, axis))
        return self.made(tg.stack([a.tensor, b.tensor], axis), value, a, b)

    @rule(target=quantities, a=quantities, b=quantities, mode=st.sampled_from(["set", "add"]))
    def write(self, a, b, mode):
        if not a.tensor.ndim or not a.tensor.shape[0] or a.tensor.shape[1:] != b.tensor.shape:
            return multiple()

        def forward(arrays):
            out = arrays[0].copy()
            out[-1] = arrays[1] + (out[-1] if mode == "add" else 0)
            return out

        return self.made(getattr(a.tensor.at[-1], mode)(b.tensor), oracle.joined([a.value, b.value], forward), a, b)

    @rule(target=quantities, a=quantities)
    def cut_off(self, a):
        return self.made(a.tensor.detach(), oracle.detach(a.value))

    @invariant()
    def values_agree(self):
        for pair in getattr(self, "results", [])[-1:]:
            np.testing.assert_allclose(pair.tensor.numpy(), pair.value.array, rtol=1e-10, atol=1e-10)

    def teardown(self):
        """All results are outputs at once, so that what they share is shared in the backward pass as well."""
        outputs = getattr(self, "results", [])
        cotangents = [draw(k, p.tensor.shape) for k, p in enumerate(outputs)]
        tensors, leaves = [p.tensor for p in outputs], [p.tensor for p in getattr(self, "leaves", [])]
        pairs = list(zip(outputs, cotangents, strict=True))
        expected = (
            [sum(oracle.gradient(p.value, leaf.value, c) for p, c in pairs) for leaf in self.leaves] if outputs else []
        )
        for recorded in (False, True) if outputs else ():
            found = tg.grad(tensors, leaves, cotangents, create_graph=recorded, allow_unused=True)
            self.gradients_agree(found, expected)
        for tensor, cotangent in zip(tensors, cotangents, strict=True):
            if tensor.requires_grad:
                tensor.backward(cotangent)
        self.gradients_agree([leaf.grad for leaf in leaves] if outputs else [], expected)

    def gradients_agree(self, found, expected):
        for g, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(0 * right if g is None else g.numpy(), right, rtol=1e-9, atol=1e-9)


Graphs.TestCase.settings = settings(stateful_step_count=20, suppress_health_check=list(HealthCheck))
TestGraphs = Graphs.TestCase


def test_the_oracle_agrees_with_a_derivative_worked_out_by_hand():
    x = oracle.Value([0.5, -1.0])
    y = oracle.multiply(oracle.tanh(x), oracle.add(x, x))  # 2 x tanh x
    slope = oracle.gradient(y, x, np.ones(2))
    np.testing.assert_allclose(slope, 2 * np.tanh(x.array) + 2 * x.array / np.cosh(x.array) ** 2)
    a, b = oracle.Value(np.arange(6.0).reshape(2, 3)), oracle.Value(np.ones(3))
    np.testing.assert_array_equal(oracle.gradient(oracle.matmul(a, b), b, np.ones(2)), [3, 5, 7])
    np.testing.assert_array_equal(oracle.gradient(oracle.subtract(b, a), b, np.ones((2, 3))), [2, 2, 2])


def test_the_machine_finds_a_gradient_that_is_wrong_by_a_thousandth(monkeypatch):
    right = oracle.tanh

    def wrong(a):
        value = right(a)
        return oracle.Value(
            value.array, tuple((parent, lambda g, pull=pull: 1.001 * pull(g)) for parent, pull in value.parents)
        )

    monkeypatch.setattr(oracle, "tanh", wrong)
    enough = settings(Graphs.TestCase.settings, max_examples=100, phases=[Phase.generate], print_blob=False)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        run_state_machine_as_test(Graphs, settings=enough)
