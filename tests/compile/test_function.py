"""The compiled function as users hold it: signatures, structures, modes, threads, and looking at its programs."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import threading
import weakref
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numba
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim


class Pair(NamedTuple):
    first: object
    second: object


X = np.array([1.0, 2.0])
needs_machine = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="only the compiled machine counts and times")


# Signatures -----------------------------------------------------------------------------------------------------------


def test_new_shapes_and_types_are_recorded_anew_and_old_ones_are_not():
    calls = []

    @tg.compile
    def double(x):
        calls.append(x.shape)
        return x * 2

    for x in (X, X + 1, tg.tensor(X), X[::-1], np.float64(1) * X):
        np.testing.assert_array_equal(double(x).numpy(), 2 * np.asarray(x))
    assert len(double.programs) == len(calls) == 1
    for k, x in enumerate([X.astype(np.float32), X[None], X[:1], X[:0], np.array(1.0), X.astype(np.int64)], 2):
        assert double(x).dtype == x.dtype
        np.testing.assert_array_equal(double(x).numpy(), 2 * x)
        assert len(double.programs) == len(calls) == k


def test_numbers_and_strings_are_part_of_the_signature():
    power = tg.compile(lambda x, n, name="": x**n if name != "root" else x**0.5)
    results = [power(X, 2), power(X, 3), power(X, 2), power(X, 2.0), power(X, n=2), power(X, 2, "root"), power(X, True)]
    expected = [X**2, X**3, X**2, X**2, X**2, X**0.5, X]
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-12)
    assert len(power.programs) == 6


def test_numbers_of_numpy_are_arrays():
    scale = tg.compile(lambda x, a: x * a)
    for a in (np.float64(2), np.float64(3), np.array(4.0)):
        np.testing.assert_array_equal(scale(X, a).numpy(), X * a)
    assert len(scale.programs) == 1


def test_signs_of_zero_differ():
    divide = tg.compile(lambda x, a: x / a)
    for a in (0.0, -0.0, 0.0):
        np.testing.assert_array_equal(divide(X, a).numpy(), np.copysign(np.inf, [a, a]))
    zeros = tg.compile(lambda x, a: x / a[0])
    assert [zeros(X, [a])[0].item() for a in (0.0, -0.0)] == [np.inf, -np.inf]


def test_nan_is_equal_to_itself_in_a_signature():
    fill = tg.compile(lambda x, a: tg.where(x > 1, x, a))
    for _ in range(3):
        np.testing.assert_array_equal(fill(X, float("nan")).numpy(), [np.nan, 2])
    assert len(fill.programs) == 1


@pytest.mark.parametrize(
    "other", [None, "text", b"x", 3, 2.5, (1, "a"), [1, 2], {"a": 1}, np.float32, tg.tanh, tg.Spec((2,))]
)
def test_other_arguments(other):
    seen = []
    run = tg.compile(lambda x, a: (seen.append(a), x * 2)[1])
    for _ in range(2):
        assert run(X, copy.deepcopy(other)).tolist() == [2, 4]
    assert seen == [other]


def test_lists_and_tuples_are_different():
    kinds = tg.compile(lambda a: a[0] * (2 if isinstance(a, list) else 3))
    assert [kinds([X]).tolist(), kinds((X,)).tolist()] == [[2, 4], [3, 6]]
    assert len(kinds.programs) == 2


def test_where_arrays_stand_is_part_of_the_signature():
    run = tg.compile(lambda a, b=None: a if b is None else a - b)
    assert run(X, X).tolist() == [0, 0]
    assert run((X, X)[0]).tolist() == [1, 2]
    nested = tg.compile(lambda t: t[0][0] - t[1] if isinstance(t[0], tuple) else t[0] - t[1][0])
    assert nested(((X,), 2 * X)).tolist() == [-1, -2]
    assert nested((X, (3 * X,))).tolist() == [-2, -4]


def test_the_same_array_twice():
    run = tg.compile(lambda a, b: a - 2 * b)
    assert run(X, X).tolist() == [-1, -2]
    assert run(X, np.zeros(2)).tolist() == [1, 2]


def products(pair):
    y = (pair["a"] * pair["b"][0]).sum()
    return y, tg.grad(y, pair["a"])


def test_the_same_tensor_twice():
    """Its gradient is that by both places; with two tensors the function is recorded anew."""
    run, a, b = tg.compile(products), tg.tensor(X), tg.tensor(X.copy())
    for pair in ({"a": a, "b": [a]}, {"a": a, "b": [b]}, {"a": b, "b": [b]}):
        for ours, theirs in zip(run(pair), products(pair), strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert len(run.programs) == 2
    program = tg.Program.from_json(run.program({"a": a, "b": [a]}).to_json())
    assert program({"a": b, "b": [b]})[1].tolist() == (2 * X).tolist()
    for call in (lambda: program({"a": a, "b": [a * 2]}), lambda: program.run([X, X + 1])):
        with pytest.raises(TypeError, match="the same tensor"):
            call()


def test_arguments_are_left_as_they_are():
    x = X.copy()
    x.flags.writeable = False
    run = tg.compile(lambda x: (tg.tanh(x), x.at[0].set(5.0), x))
    for _ in range(2):
        results = run(x)
        assert x.tolist() == [1, 2]
        assert results[1].tolist() == [5, 2]
        assert not np.shares_memory(results[2].numpy(), x)


def test_arrays_in_any_memory_order():
    run = tg.compile(lambda x: x * 2 + x.T)
    whole = np.random.default_rng(0).normal(size=(6, 6))
    for x in (
        whole[::2, ::2],
        whole[:3, :3].T,
        np.asfortranarray(whole[:3, :3]),
        whole[2::-1, :3],
        whole[:1].repeat(3, 0)[:, :3],
    ):
        np.testing.assert_allclose(run(x).numpy(), 2 * x + x.T, rtol=1e-12)
    stretched = np.broadcast_to(np.arange(3.0), (3, 3))
    np.testing.assert_allclose(run(stretched).numpy(), 2 * stretched + stretched.T, rtol=1e-12)
    assert len(run.programs) == 1


def test_the_least_used_program_goes_first():
    recorded = []
    run = tg.compile(lambda x: (recorded.append(x.shape[0]), x * 2)[1], max_programs=2)
    for n in (1, 2, 1, 3, 1):
        run(np.ones(n))
    assert recorded == [1, 2, 3]
    assert len(run.programs) == 2


def test_many_signatures_warn_once():
    run = tg.compile(lambda x: x * 2, max_programs=2)
    for n in range(1, 4):
        run(np.ones(n))
    with pytest.warns(RuntimeWarning, match="pad inputs"):
        run(np.ones(4))
    for n in range(5, 8):
        run(np.ones(n))


@pytest.mark.parametrize("count", [0, -1])
def test_max_programs_is_at_least_one(count):
    with pytest.raises(ValueError, match="max_programs"):
        tg.compile(lambda x: x, max_programs=count)


# Structures -----------------------------------------------------------------------------------------------------------


def test_nested_arguments_and_results():
    @tg.compile
    def run(pair, *rest, scale, table):
        a, (b, c) = pair
        return {
            "pair": Pair(a * scale, [b, (c,)]), "sum": rest[0] + rest[1]["x"], 3: (table["k"], []), "empty": {},
        }  # fmt: skip

    for k in range(2):
        x = X + k
        found = run(Pair(x, (2 * x, 3 * x)), x, {"x": x}, scale=4, table=OrderedDict(k=5 * x))
        assert type(found["pair"]) is Pair
        assert found["pair"].first.tolist() == (4 * x).tolist()
        assert [t.tolist() for t in (found["pair"].second[0], found["pair"].second[1][0])] == [
            (2 * x).tolist(),
            (3 * x).tolist(),
        ]
        assert found["sum"].tolist() == (2 * x).tolist()
        assert found[3][0].tolist() == (5 * x).tolist()
        assert (found[3][1], found["empty"], list(found)) == ([], {}, ["pair", "sum", 3, "empty"])
    assert len(run.programs) == 1


def test_subclasses_of_dict():
    given = defaultdict(list, a=X, b=2 * X)
    assert tg.compile(lambda d: d["a"] + d["b"])(given).tolist() == [3, 6]
    assert tg.compile(lambda d: d["a"])(OrderedDict(a=X)).tolist() == [1, 2]


def test_the_order_of_keys_does_not_mix_up_values():
    run = tg.compile(lambda d=None, **k: (d or k)["a"] - (d or k)["b"])
    for arguments in ({"a": X, "b": 3 * X}, {"b": 3 * X, "a": X}):
        assert run(arguments).tolist() == [-2, -4]
        assert run(**arguments).tolist() == [-2, -4]


def test_the_same_result_several_times():
    run = tg.compile(lambda x: (lambda y: (y, y, [y.reshape(1, 2)], y[::-1], x, x))(x * 2))
    a, b, (c,), d, e, f = run(X)
    assert [t.tolist() for t in (a, b, c, d, e, f)] == [[2, 4], [2, 4], [[2, 4]], [4, 2], [1, 2], [1, 2]]
    assert not np.shares_memory(a.numpy(), b.numpy())


def test_results_that_depend_on_nothing():
    run = tg.compile(lambda x: (tg.ones(2), tg.arange(3), tg.tensor(2.0), W, W.T))
    for _ in range(2):
        ones, numbers, two, w, turned = run(X)
        assert (ones.tolist(), numbers.tolist(), two.item()) == ([1, 1], [0, 1, 2], 2)
        assert (w.tolist(), turned.tolist()) == ([[1, 2]], [[1], [2]])


W = tg.parameter(np.array([[1.0, 2.0]]))


@pytest.mark.parametrize("result", [None, (), [], {}])
def test_no_result(result):
    run = tg.compile(lambda x: result)
    assert run(X) == result
    assert tg.compile(lambda: result)() == result


def test_no_arguments():
    w = tg.parameter(X)
    run = tg.compile(lambda: w * 2)
    assert run().tolist() == [2, 4]
    w.assign(X + 1)
    assert run().tolist() == [4, 6]
    assert len(run.programs) == 1


def test_results_are_leaves():
    w = tg.parameter(X)
    y = tg.compile(lambda x: w * x)(X)
    assert y.is_leaf
    assert not y.requires_grad
    with pytest.raises(tg.GradientError):
        y.sum().backward()


# What can be compiled -------------------------------------------------------------------------------------------------


def test_name_and_documentation():
    def model(x):
        """What it does."""
        return x

    compiled = tg.compile(model)
    assert (compiled.__name__, compiled.__doc__, compiled.__wrapped__) == ("model", "What it does.", model)
    assert "model" in repr(compiled)
    assert "0 programs" in repr(compiled)
    compiled(X)
    assert re.fullmatch(r"<compiled .*model, 1 program>", repr(compiled))


class Net(tg.nn.Module):
    def __init__(self):
        self.linear = tg.nn.Linear(2, 2, generator=0, dtype=np.float64)
        self.dropout = tg.nn.Dropout(0.5, generator=np.random.default_rng(0))

    def forward(self, x):
        return self.dropout(self.linear(x)) + 100

    def other(self, x):
        return self.dropout(x) * 2


def dropped(y, net, x):
    return not np.allclose(y.numpy(), net.eval()(tg.tensor(x)).numpy())


BIG = np.random.default_rng(0).normal(size=(20, 2))


@pytest.mark.parametrize("made", [
    lambda net: tg.compile(net), lambda net: tg.compile(net.forward), lambda net: tg.compile(net.__call__),
    lambda net: tg.compile(lambda x: net(x)), lambda net: tg.compile(partial(net)),
    lambda net: partial(tg.compile(lambda net, x: net(x)), net),
    lambda net: partial(tg.compile(lambda holder, x: holder["net"](x)), {"net": net}),
    lambda net: tg.compile(tg.nn.Sequential(net)),
], ids=["module", "method", "call", "closure", "partial", "argument", "inside an argument", "inside"])  # fmt: skip
def test_train_and_eval(made):
    """Switching a module is seen, however the function came to it."""
    net = Net()
    run = made(net)
    for training in (True, False, True, False, False):
        net.train(training)
        y = run(BIG)
        assert dropped(y, net, BIG) == training


def test_a_branch_on_the_mode_of_one_of_two_modules():
    """A module that one branch does not call decides all the same."""
    drop, norm = tg.nn.Dropout(0.5, generator=np.random.default_rng(0)), tg.nn.LayerNorm(2)
    run = tg.compile(lambda x: drop(x) * 0 + 1 if drop.training else norm(x) * 0 + 2)
    x = np.ones((1, 2), np.float32)
    for training in (True, False, True, False, True):
        drop.train(training)
        assert run(x).tolist() == [[1, 1] if training else [2, 2]]


def test_a_program_for_each_mode():
    net = Net()
    run = tg.compile(net)
    for training in (True, False, True, False):
        net.train(training)
        run(BIG)
    assert len(run.programs) == 2


def test_bound_methods_and_partials():
    net = Net().eval()
    assert tg.compile(net.other)(X).tolist() == [2, 4]
    assert tg.compile(partial(lambda a, x: x * a, 3))(X).tolist() == [3, 6]
    assert tg.compile(tg.tanh)(X).tolist() == np.tanh(X).tolist()


def test_two_modules_of_one_function_are_not_mixed_up():
    run = tg.compile(lambda net, x: net(x))
    nets = [tg.nn.Linear(2, 2, generator=k, dtype=np.float64) for k in range(2)]
    for net in (*nets, *nets):
        np.testing.assert_allclose(run(net, X[None]).numpy(), net(tg.tensor(X[None])).numpy(), rtol=1e-12)
    assert len(run.programs) == 2


def test_a_module_that_is_changed():
    """Parameters put in place of others are those that count; or else the function says that it cannot see it."""
    net = tg.nn.Linear(2, 2, generator=0, dtype=np.float64)
    run = tg.compile(net)
    run(X[None])
    net.load_state_dict(tg.nn.Linear(2, 2, generator=1, dtype=np.float64).state_dict())
    np.testing.assert_allclose(run(X[None]).numpy(), net(tg.tensor(X[None])).numpy(), rtol=1e-12)


def test_the_first_call_may_be_without_gradients():
    w = tg.parameter(X)
    run = tg.compile(lambda x: tg.grad((w * w * x).sum(), w))
    with tg.no_grad(), pytest.raises(tg.GradientError):
        run(X)
    assert run(X).tolist() == [2, 8]

    @tg.compile
    def maybe(x):
        y = (w * x).sum()
        if y.requires_grad:
            y.backward()
        return y

    with tg.no_grad():
        maybe(X)
    assert w.grad is None
    maybe(X)
    assert w.grad.tolist() == [1, 2]


def test_derivatives_of_every_kind_inside():
    f = lambda z: (tg.sin(z) * z * z).sum()
    run = tg.compile(lambda x, v: [
        *tg.jvp(f, [x], [v]), tg.hessian(f, x), tg.hvp(f(x), x, v), tg.jacobian(lambda z: tg.tanh(z) * z[0], x),
        tg.value_and_grad(f)(x)[1], *tg.vjp(lambda z: z * z, x)[1](v), tg.checkpoint(f)(x),
    ])  # fmt: skip
    x, v = tg.tensor(X), tg.tensor(np.array([0.3, -0.7]))
    expected = run.__wrapped__(x, v)
    for a, b in zip(run(X, v), expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)


# Methods --------------------------------------------------------------------------------------------------------------


class Trainer:
    """Methods compiled in all ways; nobody can hash it."""

    __hash__ = None

    def __init__(self, factor):
        self.factor = factor
        self.held = tg.compile(self.plain)

    def plain(self, x):
        return x * self.factor

    @tg.compile
    def step(self, x, power=1):
        """Scales."""
        return x**power * self.factor

    @tg.compile(max_programs=2)
    def other(self, x):
        return self.step(x) + 1

    @classmethod
    @tg.compile
    def of_class(cls, x):
        return x * len(cls.__name__)

    @tg.compile
    @classmethod
    def of_class_too(cls, x):
        return x * len(cls.__name__)

    @staticmethod
    @tg.compile
    def static(x):
        return x * 4

    @tg.compile
    @staticmethod
    def static_too(x):
        return x * 4


class Sub(Trainer):
    @tg.compile
    def step(self, x):
        return super().step(x) + 100


class Scaled(tg.nn.Module):
    def __init__(self, factor):
        self.w = tg.parameter(np.array([factor, factor]))
        self.factor = 1.0

    @tg.compile
    def forward(self, x):
        return x * self.w * self.factor


@dataclass
class Data:
    factor: float

    @tg.compile
    def step(self, x):
        return x * self.factor


@dataclass(slots=True)
class Slots:
    factor: float

    @tg.compile
    def step(self, x):
        return x * self.factor


@dataclass(slots=True, weakref_slot=True)
class WeakSlots:
    factor: float

    @tg.compile
    def step(self, x):
        return x * self.factor


@pytest.mark.parametrize("kind", [Trainer, Data, Slots, WeakSlots])
def test_a_method_binds_its_object(kind):
    two, three = kind(2.0), kind(3.0)
    for _ in range(2):
        assert two.step(X).tolist() == kind.step(two, X).tolist() == [2, 4]
        assert three.step(X).tolist() == [3, 6]
    assert [len(t.step.programs) for t in (two, three)] == [1, 1]
    assert kind.step.programs == []
    assert kind.step.program(two, X) is two.step.program(X) is two.step.programs[0]
    assert two.step.__name__ == "step"
    assert "step, 1 program>" in repr(two.step)


def test_methods_of_one_object():
    trainer = Trainer(2.0)
    assert (trainer.step(X).tolist(), trainer.step(X, power=2).tolist()) == ([2, 4], [2, 8])
    assert trainer.other(X).tolist() == [3, 5]
    for x in (X[:1], X[None]):
        trainer.other(x)
    assert (len(trainer.step.programs), len(trainer.other.programs)) == (2, 2)
    assert Trainer.step.__doc__ == trainer.step.__doc__ == "Scales."


def test_methods_of_classes():
    trainer = Trainer(2.0)
    for name, factor in [("of_class", 7), ("of_class_too", 7), ("static", 4), ("static_too", 4)]:
        for holder in (trainer, Trainer):
            assert getattr(holder, name)(X).tolist() == (X * factor).tolist()
    assert Sub.of_class(X).tolist() == Sub.of_class_too(X).tolist() == [3, 6]
    assert (len(Trainer.of_class_too.programs), len(Trainer.static_too.programs)) == (1, 1)


def test_methods_that_are_inherited():
    sub = Sub(2.0)
    assert (sub.step(X).tolist(), Trainer.step(sub, X).tolist()) == ([102, 104], [2, 4])
    assert sub.other(X).tolist() == [103, 105]
    assert (len(sub.step.programs), len(super(Sub, sub).step.programs)) == (1, 1)


def test_a_module_with_a_compiled_forward():
    a, b = Scaled(2.0), Scaled(3.0)
    for _ in range(2):
        assert (a(X).tolist(), b(X).tolist()) == ([2, 4], [3, 6])
    a.factor = 10.0
    assert a(X).tolist() == [20, 40]
    assert (len(a.forward.programs), len(b.forward.programs)) == (2, 1)
    assert [name for name, _ in a.named_parameters()] == ["w"]


@pytest.mark.parametrize("kind", [Trainer, Scaled, Data, WeakSlots])
def test_programs_do_not_keep_an_object_alive(kind):
    held = kind(2.0)
    (held.forward if kind is Scaled else held.step)(X)
    gone = weakref.ref(held)
    del held
    gc.collect()
    assert gone() is None


def test_objects_that_cannot_be_referred_to_weakly_are_few():
    for k in range(40):
        assert Slots(float(k)).step(X).tolist() == (X * k).tolist()
    gc.collect()
    assert sum(type(o) is Slots for o in gc.get_objects()) <= 16


def test_a_method_keeps_its_object_alive():
    step = WeakSlots(2.0).step
    gc.collect()
    assert step(X).tolist() == [2, 4]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copy_of_an_object_has_programs_of_its_own(copied):
    for made in (Scaled, Data):
        first = made(2.0)
        method = "forward" if made is Scaled else "step"
        getattr(first, method)(X)
        twin = copied(first)
        twin.factor = 5.0
        assert getattr(twin, method).programs == []
        assert getattr(twin, method)(X).tolist() == (getattr(first, method)(X).numpy() * (5 / first.factor)).tolist()


def test_a_deep_copy_of_what_holds_a_compiled_function():
    first = Trainer(2.0)
    first.step(X)
    first.held(X)
    twin = copy.deepcopy(first)
    assert (twin.held.programs, twin.step.programs) == ([], [])
    twin.factor = 7.0
    assert (twin.held(X).tolist(), first.held(X).tolist()) == ([7, 14], [2, 4])
    assert twin.held.__wrapped__.__self__ is twin
    alone = copy.deepcopy(first.held)
    owner = alone.__wrapped__.__self__
    assert owner.held is alone
    assert owner is not first


def test_a_deep_copy_of_a_compiled_module_and_function():
    model = Scaled(2.0)
    run = tg.compile(tg.nn.Sequential(model))
    run(X)
    twin = copy.deepcopy(run)
    model.w.assign([0.0, 0.0])
    assert (run(X).tolist(), twin(X).tolist()) == ([0, 0], [2, 4])
    double = tg.compile(lambda x: x * 2, max_programs=3)
    double(X)
    for twin in (copy.copy(double), copy.deepcopy(double)):
        assert (twin.programs, twin(X).tolist(), len(double.programs)) == ([], [2, 4], 1)


# Arguments ------------------------------------------------------------------------------------------------------------


def test_the_order_of_names_makes_no_signature():
    run = tg.compile(lambda x, *, a, b: x * a - b)
    assert run(X, a=2 * X, b=X).tolist() == run(X, b=X, a=2 * X).tolist() == [1, 6]
    assert len(run.programs) == 1
    module = tg.compile(Keyword())
    assert module(b=X, a=2 * X).tolist() == module(a=2 * X, b=X).tolist() == [1, 2]
    assert len(module.programs) == 1


class Keyword(tg.nn.Module):
    def forward(self, a, b):
        return a - b


def test_the_order_of_names_that_a_function_can_see_does():
    run = tg.compile(lambda **named: list(named.values()))
    assert [t.tolist() for t in run(b=X, a=2 * X)] == [[1, 2], [2, 4]]
    assert [t.tolist() for t in run(a=2 * X, b=X)] == [[2, 4], [1, 2]]


def test_modules_are_told_apart_by_identity():
    class Equal(Scaled):
        def __eq__(self, other):
            return True

    run = tg.compile(lambda net, x: x * net.w)
    assert [run(Equal(f), X).tolist() for f in (2.0, 3.0)] == [[2, 4], [3, 6]]


def test_defaults():
    net = Scaled(2.0)
    run = tg.compile(lambda x, net=net, n=3: net(x) * n)
    assert run(X).tolist() == [6, 12]
    net.factor = 0.0
    assert run(X).tolist() == [0, 0]


def test_what_cannot_be_part_of_a_signature():
    with pytest.raises(TypeError, match="an argument of type Trainer cannot be part of a signature"):
        tg.compile(lambda t, x: x)(Trainer(1.0), X)


def test_programs_die_with_their_function():
    run = tg.compile(lambda x: x * 2)
    run(X)
    gone = weakref.ref(run.programs[0])
    del run
    gc.collect()
    assert gone() is None


# Threads --------------------------------------------------------------------------------------------------------------


def in_threads(work, count=4):
    errors = []

    def guarded(k):
        try:
            work(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(k,)) for k in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


CELL = tg.nn.RNNCell(3, 4, generator=0, dtype=np.float64)


def sequence(x):
    out = tg.nn.unroll(CELL, x).outputs
    return out, tg.grad((out * out).sum(), x)


@pytest.mark.parametrize("shared", [True, False])
def test_four_threads(shared):
    """On one function or on two, with several signatures: each call gets its own results."""
    functions = [tg.compile(sequence)] * 2 if shared else [tg.compile(sequence) for _ in range(2)]

    def work(k):
        rng = np.random.default_rng(k)
        for n in range(25):
            x = rng.normal(size=(2, 1 + n % 3, 3))
            for a, b in zip(functions[k % 2](x), sequence(tg.tensor(x)), strict=True):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)

    in_threads(work)
    assert all(len(f.programs) == 3 for f in functions)


def test_training_in_several_threads():
    """Steps of one function take turns; those of models of their own do not disturb each other."""
    w = tg.parameter(np.zeros(3))
    optimizer = optim.SGD([w], lr=1.0)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    in_threads(lambda k: [step(np.full(3, -1.0)) for _ in range(50)])
    assert w.tolist() == [200] * 3
    assert optimizer.step_count == 200


def test_eager_code_beside_a_recording():
    """Nothing of what one thread records shows in another."""
    stop = threading.Event()
    run = tg.compile(lambda x, n: sum((x * k).sum() for k in range(n)), max_programs=50)

    def work(k):
        if k:
            while not stop.is_set():
                w = tg.parameter(X)
                (w * w).sum().backward()
                assert w.grad.tolist() == [2, 4]
                assert (w * 2).tolist() == [2, 4]
            return
        try:
            for n in range(1, 40):
                assert run(X, n).item() == 3 * n * (n - 1) / 2
        finally:
            stop.set()

    in_threads(work, 3)


# Looking at programs --------------------------------------------------------------------------------------------------


def trained():
    net = Net()
    optimizer = optim.Adam(net, lr=0.1)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return net, optimizer, step


@needs_machine
def test_looking_at_a_program():
    _, _, step = trained()
    program = step.program(BIG)
    assert step.programs == [program]
    for text in (
        repr(program),
        program.listing(),
        program.listing(4),
        str(program.memory),
        str(program.graph),
        str(program.rewritten),
    ):
        assert text
    assert "instructions" in repr(program)
    assert len(program.listing(None).splitlines()) == 1 + len(program.instructions)
    assert "Net" in program.listing() or "net" in program.listing()
    assert {"adam"} <= set(program.kernels)
    assert program.flops > 0 < program.bytes
    assert all(str(firing) for firing in program.log)
    assert program.graph.to_json()
    assert program.rewritten.to_json()


def test_memory():
    run = tg.compile(lambda x: sum(tg.tanh(x * k) for k in range(2, 30)))
    memory = run.program(np.ones((100, 10))).memory
    assert 8000 <= memory.arena < memory.unshared / 3
    assert memory.largest[0][1] == 8000
    assert memory.constants < 8000
    assert tg.compile(lambda: None).program().memory.arena == 0


@needs_machine
def test_profile_changes_nothing():
    net, optimizer, step = trained()
    step(BIG)
    before = net.state_dict(), optimizer.state_dict(), net.dropout.generator.bit_generator.state
    profile = step.programs[0].profile(BIG, repeats=3)
    after = net.state_dict(), optimizer.state_dict(), net.dropout.generator.bit_generator.state
    for one, other in zip(before[:2], after[:2]):
        assert all(np.array_equal(one[k], other[k]) for k in one)
    assert before[2] == after[2]
    assert all(p.grad is None for p in net.parameters())
    assert profile.total == sum(profile.by_op.values()) == sum(profile.by_time.values()) == sum(profile.by_instruction)
    assert len(profile.by_instruction) == len(step.programs[0].instructions)
    assert "by scope" in str(profile)


def test_profile_puts_back_generators_whose_numbers_nobody_needs():
    generator = np.random.default_rng(0)
    program = tg.compile(lambda x: (tg.random.normal((3,), generator=generator), x * 2)[1]).program(X)
    before = generator.bit_generator.state
    program.profile(X, repeats=2)
    assert generator.bit_generator.state == before


@needs_machine
def test_a_run_that_fails_before_it_begins_does_not_count_what_a_profile_did():
    _, optimizer, step = trained()
    step(BIG)
    step.programs[0].profile(BIG, repeats=1)
    count, w = optimizer.step_count, optimizer.parameters[0]
    w.data = np.ones(np.add(w.shape, 1), w.dtype)
    with pytest.raises(tg.ShapeError, match="has changed its shape"):
        step(BIG)
    assert optimizer.step_count == count


@needs_machine
def test_profile_takes_arguments_as_the_function_does():
    run = tg.compile(lambda pair, d: pair[0] + d["x"])
    run((X, 3), {"x": tg.tensor(X)})
    assert run.programs[0].profile((X, 3), {"x": tg.tensor(X)}, repeats=1).total >= 0
    with pytest.raises(TypeError, match="profile"):
        run.programs[0].profile(np.ones(3), repeats=1)


def test_program_records_once():
    calls = []
    run = tg.compile(lambda x: (calls.append(1), x)[1])
    assert run.program(X) is run.program(X)
    run(X)
    assert calls == [1]


@pytest.mark.parametrize("pool", [tg.sum, tg.mean], ids=lambda f: f.__name__)
def test_pooling_over_the_states_of_all_steps(pool):
    """The cotangent is one value that every step reads: none may overwrite it."""
    w = np.random.default_rng(0).normal(size=(3, 3))

    def run(x, w):
        h, states = x, []
        for _ in tg.steps(4):
            h = tg.tanh(h @ w)
            states.append(h)
        loss = tg.tanh(pool(tg.stack(states), 0)).sum()
        return [loss, *tg.grad(loss, [x, w])]

    x = np.random.default_rng(1).normal(size=(2, 3))
    for found, expected in zip(tg.compile(run)(x, w), run(tg.tensor(x), tg.tensor(w)), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_join_is_not_overwritten_while_a_part_of_a_part_is_needed(depth):
    """Parts lie inside the join that they are parts of, however deep joins are nested."""

    def fn(x):
        first = joined = tg.tanh(x)
        for _ in range(depth):
            joined = tg.concatenate([joined, tg.tanh(2 * joined)], -1)
        y = tg.exp(joined)
        return y, y.sum() * first

    x = np.random.default_rng(0).normal(size=(2, 3))
    for compiled, eager in zip(tg.compile(fn)(x), fn(x), strict=True):
        np.testing.assert_allclose(compiled.numpy(), eager.numpy(), rtol=1e-12)


def test_an_argument_that_is_called_self():
    scaled = tg.compile(lambda self, args: self * args)
    assert scaled(self=np.ones(2), args=np.full(2, 3.0)).tolist() == [3, 3]
    assert scaled.program(self=np.ones(2), args=np.ones(2))(self=np.ones(2), args=np.ones(2)).tolist() == [1, 1]


def test_objects_at_the_address_of_another():
    """A copy carries the programs' holder of what it is a copy of; a third object may come to lie where that was."""

    class Plain:
        def __init__(self, w):
            self.w = w

        @tg.compile
        def f(self, x):
            return self.w * x

    for k in range(60):
        a = Plain(tg.parameter([1.0]))
        a.f(np.ones(1))
        b = copy.copy(a)
        b.w = tg.parameter([2.0 + k])
        del a
        c = copy.copy(b)
        assert c.f(np.ones(1)).tolist() == [2 + k]


@pytest.mark.parametrize("repeats", [0, -1, 1.5, None])
def test_a_profile_is_of_one_run_or_more(repeats):
    program = tg.compile(lambda x: x * 2).program(X)
    with pytest.raises(ValueError, match="profile: repeats\n  expected: 1 or more\n  got"):
        program.profile(X, repeats=repeats)


class Table(dict):
    """Has something besides what it holds."""

    def __init__(self, *given, unit=None, **named):
        super().__init__(*given, **named)
        self.unit = unit


RESULTS = {
    "ordered": lambda x: OrderedDict([("b", x), ("a", (x * 2, None))]),
    "moved": lambda x: (lambda d: (d.move_to_end("b"), d)[1])(OrderedDict(b=x, a=x * 2)),
    "with a default": lambda x: defaultdict(list, a=x),
    "with an attribute": lambda x: Table({"a": [x]}, unit="m"),
}


@pytest.mark.parametrize("fn", RESULTS.values(), ids=RESULTS)
def test_dicts_of_results_are_of_the_kind_that_the_function_gave(fn):
    run, expected = tg.compile(fn), fn(tg.tensor(X))
    for found in (run(X), run(X), tg.trace(fn, X)(X)):
        assert type(found) is type(expected)
        assert [*found] == [*expected]
        assert vars(found) == vars(expected) if hasattr(expected, "__dict__") else not hasattr(found, "__dict__")
        assert getattr(found, "default_factory", None) is getattr(expected, "default_factory", None)
    assert run(X) is not run(X)


def nested(value, levels):
    for _ in range(levels):
        value = [value]
    return value


def test_results_that_are_nested_too_deeply():
    found = tg.compile(lambda x: nested(x, 100))(X)
    for _ in range(100):
        (found,) = found
    assert found.tolist() == X.tolist()
    for levels in (101, 5000):
        with pytest.raises(TypeError, match="compile: the nesting of tensors\n  expected: at most 100 levels"):
            tg.compile(lambda x, levels=levels: nested(x, levels))(X)
    circle = []
    circle.append(circle)
    with pytest.raises(TypeError, match="holds itself"):
        tg.compile(lambda x: circle)(X)
    with pytest.raises(ValueError, match="compile: an argument is nested too deeply, or contains itself"):
        tg.compile(lambda x: x)(circle)


def test_a_run_that_fails_after_a_profile_counts_no_step():
    p = tg.parameter([1.0, 2.0], name="p")
    optimizer = tg.optim.SGD([p], 0.1)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        (p * x).sum().backward()
        optimizer.step()

    step(X := np.ones(2, np.float32))
    program = step.programs[-1]
    program.profile(X)
    p.data = np.ones(3, np.float32)
    with pytest.raises(tg.ShapeError, match="has changed its shape"):
        program(X)
    assert (optimizer.step_count, optimizer.update_counts) == (1, [1])


def test_a_profile_puts_generators_back_whose_numbers_nobody_uses():
    generator = np.random.default_rng(0)

    @tg.compile
    def f(x):
        tg.random.normal(2, generator=generator)
        return x * 2

    program, before = f.program(np.ones(2)), generator.bit_generator.state
    program.profile(np.ones(2))
    assert generator.bit_generator.state == before


def test_a_profile_asks_for_the_gradients_that_a_run_asks_for():
    p = tg.parameter([1.0], name="p")

    @tg.compile
    def add(x):
        (p * x).sum().backward()

    add(np.ones(1))
    add(np.ones(1))
    p.grad = None
    with pytest.raises(tg.GradientError, match="grad of tensor 'p'"):
        add.programs[-1].profile(np.ones(1))


def test_how_many_programs_there_may_be_is_a_count():
    for wrong in (0, 2.5, True, "3"):
        with pytest.raises(ValueError, match="compile: max_programs must be"):
            tg.compile(abs, max_programs=wrong)


def test_a_target_out_of_range_is_told_of_in_the_words_of_eager_mode():
    slope = tg.compile(lambda x, t: tg.grad(tg.cross_entropy(x, t, reduction="sum"), x))
    x, t = np.zeros((2, 3)), np.array([1, 3])
    slope(x, np.array([1, 2]))
    with pytest.raises(IndexError) as compiled:
        slope(x, t)
    with pytest.raises(IndexError) as eager:
        tg.cross_entropy(x, t)
    assert str(compiled.value).splitlines()[0] == str(eager.value).splitlines()[0]
