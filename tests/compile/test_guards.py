"""What a compiled function finds around it: a change is seen, and what changes back is found again."""

from __future__ import annotations

import copy
import importlib
import math
import sys
import threading
import types
import warnings
from collections import ChainMap, OrderedDict, UserList, deque
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial, wraps

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import changes, optim
from tinygrad_rnn.compile.reach import Reach

X = np.array([1.0, 2.0])
scale = 2.0
shift = tg.tensor(X)
settings_of = types.ModuleType("settings_of")
settings_of.power = 2


class Scaled(tg.nn.Module):
    def __init__(self, k):
        self.k = k


@dataclass
class Settings:
    rate: float = 1.0


class Net(tg.nn.Module):
    """One of each kind of attribute."""

    __slots__ = ("empty", "slotted")
    factor = 1.0  # for all of them

    def __init__(self):
        self.slotted = 2.0
        self.latest, self.ordered = deque([1.0, 2.0]), OrderedDict(a=1.0, b=2.0)
        self.users, self.settings = UserList([Scaled(1.0)]), Settings()
        self.held = deque([[Scaled(2.0)]]), OrderedDict(a=deque([Scaled(1.0)])), {Scaled(2.0): 0}
        self.inner = tg.nn.Linear(2, 2, generator=0, dtype=np.float64)
        self.layers = [tg.nn.Linear(2, 2, generator=k, dtype=np.float64) for k in (1, 2)]
        self.named = {"a": tg.parameter(np.array([1.0, -1.0]))}
        self.number, self.flag, self.text, self.none = 2, True, "tanh", None
        self.pair, self.numbers, self.table = (1.0, 2), [1.0, 2.0], {"a": 1.0}
        self.some = {1, 2}
        self.array = np.array([1.0, 2.0])
        self.function = math.cos
        self.w = tg.parameter(X.copy())

    def forward(self, x):
        x = self.inner(x)
        for layer in self.layers:
            x = layer(x)
        x = x * self.number + self.pair[0] * self.pair[1] + sum(self.numbers) + self.table["a"] + len(self.some)
        x = tg.tanh(x) if self.text == "tanh" else tg.sigmoid(x)
        x = x * self.slotted * len(self.latest) + self.latest[0] + next(iter(self.ordered.values()))
        for scaled in (self.held[0][0][0], self.held[1]["a"][0], *self.held[2], *self.users):
            x = x * scaled.k * self.settings.rate  # it is not called
        x = x * self.w * self.named["a"] * self.factor + self.array + self.function(1.0)
        return x if self.flag and self.none is None else -x


def same_as_eager(compiled, *args):
    given = [tg.tensor(a) if isinstance(a, np.ndarray) else a for a in args]
    expected = compiled.__wrapped__(*given).numpy()
    np.testing.assert_allclose(compiled(*args).numpy(), expected, rtol=1e-12, atol=1e-14)


def replaced(net, attribute, value):
    before = getattr(net, attribute)
    setattr(net, attribute, value)
    return lambda: setattr(net, attribute, before)


def in_place(container, key, value):
    before = container[key]
    container[key] = value
    return lambda: container.__setitem__(key, before)


def appended(net):
    net.layers.append(tg.nn.Linear(2, 2, generator=5, dtype=np.float64))
    return net.layers.pop


def moved(net):
    net.ordered.move_to_end("a")
    return lambda: net.ordered.move_to_end("a", last=False)


def deleted(net):
    net.factor = 3.0
    return lambda: delattr(net, "factor")


def of_class(net):
    Net.factor = 4.0
    return lambda: setattr(Net, "factor", 1.0)


linear = partial(tg.nn.Linear, 2, 2, generator=7, dtype=np.float64)
CHANGES = {
    "number": lambda net: replaced(net, "number", 3),
    "type of a number": lambda net: replaced(net, "number", 2.5),
    "flag": lambda net: replaced(net, "flag", False),
    "text": lambda net: replaced(net, "text", "sigmoid"),
    "none": lambda net: replaced(net, "none", 1),
    "tuple": lambda net: replaced(net, "pair", (1.0, 3)),
    "list": lambda net: replaced(net, "numbers", [1.0, 3.0]),
    "entry of a list": lambda net: in_place(net.numbers, 1, 7.0),
    "entry of a dict": lambda net: in_place(net.table, "a", 7.0),
    "set": lambda net: replaced(net, "some", {1, 2, 3}),
    "slot": lambda net: replaced(net, "slotted", 3.0),
    "deque": lambda net: replaced(net, "latest", deque([2.0])),
    "entry of a deque": lambda net: in_place(net.latest, 0, 3.0),
    "order of a dict": moved,
    "entry of a user's list": lambda net: in_place(net.users, 0, Scaled(1.5)),
    "module in a user's list": lambda net: replaced(net.users[0], "k", 1.5),
    "entry of a dataclass": lambda net: replaced(net.settings, "rate", 1.5),
    "module in a deque": lambda net: replaced(net.held[0][0][0], "k", 1.5),
    "module in a list in a deque": lambda net: in_place(net.held[0][0], 0, Scaled(1.5)),
    "module in a deque in a dict": lambda net: replaced(net.held[1]["a"][0], "k", 1.5),
    "module as a key": lambda net: replaced(next(iter(net.held[2])), "k", 1.5),
    "array": lambda net: replaced(net, "array", np.array([5.0, 6.0])),
    "function": lambda net: replaced(net, "function", math.sin),
    "parameter": lambda net: replaced(net, "w", tg.parameter(np.array([3.0, 4.0]))),
    "parameter inside": lambda net: replaced(net.inner, "W", tg.parameter(np.eye(2))),
    "parameter in a list": lambda net: replaced(net.layers[1], "b", tg.parameter(np.ones(2))),
    "parameter in a dict": lambda net: in_place(net.named, "a", tg.parameter(np.ones(2))),
    "module": lambda net: replaced(net, "inner", linear()),
    "module in a list": lambda net: in_place(net.layers, 0, linear()),
    "one more module": appended,
    "attribute in place of the class's": deleted,
    "attribute of the class": of_class,
}
MADE = {
    "global": lambda net: tg.compile(lambda x: GLOBAL[0](x)),
    "cell": lambda net: tg.compile(lambda x: net(x)),
    "argument": lambda net: tg.compile(lambda net, x: net(x)),
    "module": lambda net: tg.compile(net),
    "method": lambda net: tg.compile(net.forward),
}
GLOBAL = [None]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_a_change_of_a_module_records_anew_and_back_again_does_not(change, made):
    net = GLOBAL[0] = Net()
    run = made(net)
    args = (net, X[None]) if made is MADE["argument"] else (X[None],)
    before = run(*args).tolist()
    back = change(net)
    same_as_eager(run, *args)
    assert run(*args).tolist() != before
    assert len(run.programs) == 2
    back()
    assert run(*args).tolist() == before
    assert len(run.programs) == 2
    again = change(net)
    same_as_eager(run, *args)
    again()


def test_dropout_that_is_switched_off():
    dropout = tg.nn.Dropout(0.5, generator=np.random.default_rng(0))
    run = tg.compile(lambda x: dropout(x))
    big = np.ones(100)
    assert set(run(big).tolist()) == {0, 2}
    dropout.p = 0.0
    assert set(run(big).tolist()) == {1}


def test_an_attribute_that_is_gone():
    net = Net()
    run = tg.compile(net)
    run(X[None])
    del net.w
    with pytest.raises(AttributeError, match="'w'"):
        run(X[None])


def test_modes_are_kept_whether_they_were_set_or_not():
    net = Net()
    run = tg.compile(net)
    for mode in (None, True, False, True, False, False):
        if mode is not None:
            net.train(mode)
        run(X[None])
    assert len(run.programs) == 2


def test_equal_values_are_the_same_program():
    net = Net()
    run = tg.compile(net)
    for k in range(4):
        net.numbers, net.table, net.number = [1.0, 2.0], {"a": float("1")}, int(f"{2}")
        net.some, net.pair = {2, 1}, (float("1.0"), 2)
        net.extra = None if k == 3 else 0
        del net.extra
        run(X[None])
    assert len(run.programs) == 1


def test_numbers_of_other_types_and_signs_are_others():
    class Number(tg.nn.Module):
        def __init__(self):
            self.n = 2

        def forward(self, x):
            return x / self.n if self.n == 0 else x**self.n

    net = Number()
    run = tg.compile(net)
    for net.n in (1, True, 1.0):
        run(np.array([2]))
    assert len(run.programs) == 3
    for net.n in (0.0, -0.0):
        assert run(X).tolist() == [math.copysign(math.inf, net.n)] * 2
    assert len(run.programs) == 5


def test_a_view_of_a_dict():
    net, table = Scaled(2.0), {"a": Scaled(3.0)}
    net.shown = types.MappingProxyType(table)
    net.forward = lambda x: x * sum(scaled.k for scaled in net.shown.values())
    run = tg.compile(net)
    for change in (lambda: None, lambda: replaced(table["a"], "k", 4.0), lambda: table.update(b=Scaled(1.0))):
        change()
        same_as_eager(run, X)
    assert len(run.programs) == 3


def test_a_list_that_holds_itself():
    net = Net()
    net.numbers.append(0.0)
    net.circle = []
    net.circle.append(net.circle)
    run = tg.compile(net)
    for _ in range(2):
        same_as_eager(run, X[None])
    assert len(run.programs) == 1


# requires_grad --------------------------------------------------------------------------------------------------------


def test_frozen_parameters_do_not_move_and_others_do():
    a, b = tg.parameter(X.copy()), tg.parameter(X.copy())
    optimizer = optim.SGD([a, b], lr=1.0)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        loss = (a * x).sum() + (b * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    moved = []
    for frozen in ((), (a,), (b,), (a,), ()):
        for t in (a, b):
            t.requires_grad = all(t is not f for f in frozen)
        before = [t.tolist() for t in (a, b)]
        step(X)
        moved.append([t.tolist() != was for t, was in zip((a, b), before, strict=True)])
    assert moved == [[True, True], [False, True], [True, False], [False, True], [True, True]]
    assert len(step.programs) == 3


def test_a_constant_that_becomes_a_parameter():
    held = {"w": tg.tensor(X.copy())}

    @tg.compile
    def run(x):
        (held["w"] * x).sum().backward()

    with pytest.raises(tg.GradientError):
        run(X)
    held["w"].requires_grad = True
    run(X)
    assert held["w"].grad.tolist() == [1, 2]
    held["w"].grad = None
    held["w"].requires_grad = False
    with pytest.raises(tg.GradientError):
        run(X)


def test_frozen_within_the_function():
    w, v = tg.parameter(X.copy()), tg.parameter(X.copy())

    @tg.compile
    def run(x):
        w.requires_grad = False
        (w * v * x).sum().backward()
        w.requires_grad = True

    run(X)
    assert (w.grad, v.grad.tolist(), w.requires_grad) == (None, [1, 4], True)


def test_left_frozen_by_the_function():
    w = tg.parameter(X.copy())

    @tg.compile
    def run(x):
        w.requires_grad = False
        return w * x

    with pytest.raises(TypeError, match="leaves it so"):
        run(X)
    assert w.requires_grad


# Variables ------------------------------------------------------------------------------------------------------------


def helper(x):
    return deeper(x) + shift


def deeper(x):
    return sum([x * scale for _ in range(1)]) ** settings_of.power


def other(x):
    return x - scale


def decorated(fn):
    @wraps(fn)
    def run(x):
        return fn(x) + 1

    return run


@decorated
def wrapped(x):
    return x * scale


class Static:
    bias = 1.0

    @staticmethod
    def twice(x):
        return x * scale

    @classmethod
    def thrice(cls, x):
        return x * scale * cls.bias

    def __call__(self, x):
        return x * scale + 1


class WithStatic(tg.nn.Module):
    @staticmethod
    def twice(x):
        return x * scale

    @classmethod
    def thrice(cls, x):
        return x * scale

    def forward(self, x):
        return self.twice(x) + self.thrice(x)


TABLE = {"helper": helper}
CALLED = {
    "direct": lambda x: x * scale,
    "through functions": lambda x: helper(x),
    "in a comprehension": lambda x: sum([x * scale for _ in "a"]),
    "in a function inside": lambda x: (lambda y: y * scale)(x),
    "partial": lambda x: PARTIAL(x),
    "default": lambda x, fn=(helper,): fn[0](x),
    "default with a name": lambda x, *, fn=helper: fn(x),
    "property": lambda x: PROPERTY.scaled(x),
    "held by an object": lambda x: HELD.fn(x),
    "initialised": lambda x: x * Initialised().factor,
    "in a table": lambda x: TABLE["helper"](x),
    "decorated": lambda x: wrapped(x),
    "static": lambda x: Static.twice(x),
    "of a class": lambda x: Static.thrice(x),
    "static by an object": lambda x: STATIC.twice(x),
    "static of a module": lambda x: WITH_STATIC(x),
    "callable": lambda x: Static()(x),
    "compiled": lambda x: INNER(x),
}
INNER = tg.compile(helper)
PARTIAL = partial(helper)
STATIC, WITH_STATIC = Static(), WithStatic()


class Held:
    def __init__(self):
        self.fn = helper


class Property:
    @property
    def scaled(self):
        return lambda x: x * scale


class Initialised:
    def __init__(self):
        self.factor = scale


HELD, PROPERTY = Held(), Property()


def test_initialising_counts_only_where_it_is_done():
    """An object that is there already was initialised before."""
    held = Initialised()
    reach = Reach().follow([("", lambda x: x * held.factor)])
    assert Initialised.__init__.__code__ not in reach.codes


def test_annotations_are_not_computed_with():
    """Since Python 3.14 a class has a function that gives its annotations."""
    space = {"__name__": __name__, "Module": tg.nn.Module, "Size": int, "factor": 2.0}
    source = "class Scaled(Module):\n    size: Size\n\n    def forward(self, x):\n        return x * factor"
    exec(compile(source, __file__, "exec", dont_inherit=True), space)
    reach = Reach().follow([("", space["Scaled"]())])
    assert {v.label for v in reach.variables.values()} == {"factor", "Scaled.forward"}


def test_long_lists_hold_data():
    assert Reach().follow([("", [helper] * 1000)]).codes
    assert not Reach().follow([("", [helper] * 1001)]).codes


@pytest.mark.parametrize("fn", CALLED.values(), ids=CALLED)
def test_a_global_that_is_bound_anew(fn, monkeypatch):
    run = tg.compile(fn)
    values = (2.0, 3.0, 2.0, 3.0)
    for value in values:
        monkeypatch.setattr("tests.compile.test_guards.scale", value)
        same_as_eager(run, tg.tensor(X))
    assert len(run.programs) == 2


@pytest.mark.parametrize(("name", "value"), [
    ("shift", tg.tensor(X * 10)), ("deeper", other), ("helper", other), ("scale", 2), ("scale", np.float64(5)),
])  # fmt: skip
def test_globals_of_each_kind(name, value, monkeypatch):
    run = tg.compile(lambda x: helper(x))
    run(X)
    monkeypatch.setattr(f"tests.compile.test_guards.{name}", value)
    same_as_eager(run, tg.tensor(X))
    assert len(run.programs) == 2
    monkeypatch.undo()
    same_as_eager(run, tg.tensor(X))
    assert len(run.programs) == 2


def test_a_name_in_a_module_of_the_users(monkeypatch):
    run = tg.compile(lambda x: x**settings_of.power)
    run(X)
    monkeypatch.setattr(settings_of, "power", 3)
    assert run(X).tolist() == [1, 8]


def test_a_global_that_hides_a_builtin(monkeypatch):
    run = tg.compile(lambda x: x * abs(-2.0))
    assert run(X).tolist() == [2, 4]
    monkeypatch.setattr("tests.compile.test_guards.abs", lambda x: 5.0, raising=False)
    assert run(X).tolist() == [5, 10]


def test_variables_of_the_function_around():
    factor, tensor, fn = 2.0, tg.tensor(X), tg.tanh

    def change(**new):
        nonlocal factor, tensor, fn
        factor, tensor, fn = new.get("factor", factor), new.get("tensor", tensor), new.get("fn", fn)

    run = tg.compile(lambda x: fn(x * factor) + tensor)
    for new in ({}, {"factor": 3.0}, {"tensor": tg.tensor(X + 1)}, {"fn": tg.sigmoid}):
        change(**new)
        same_as_eager(run, tg.tensor(X))
    change(factor=float("3"))
    run(X)
    assert len(run.programs) == 4


def test_a_variable_that_is_gone():
    value = 2.0
    run = tg.compile(lambda x: x * value)  # noqa: F821
    run(X)
    del value
    with pytest.raises(NameError, match="value"):
        run(X)


def test_entries_of_other_objects_are_constants():
    held, holder = {"a": 2.0}, types.SimpleNamespace(a=3.0)
    run = tg.compile(lambda x: x * held["a"] * holder.a)
    assert run(X).tolist() == [6, 12]
    held["a"] = holder.a = 1.0
    assert run(X).tolist() == [6, 12]
    assert len(run.programs) == 1


class Counting:
    """A method that is not compiled uses a global that always changes."""

    def work(self, x):
        global calls
        calls += 1
        return self.step(x)

    @tg.compile
    def step(self, x):
        return self.part(x) * scale

    def part(self, x):
        return x + offset


calls, offset = 0, 1


def test_methods_that_are_not_called_do_not_count():
    counting = Counting()
    for _ in range(5):
        assert counting.work(X).tolist() == [4, 6]
    assert len(counting.step.programs) == 1


def test_methods_that_are_called_count(monkeypatch):
    counting = Counting()
    counting.step(X)
    monkeypatch.setattr("tests.compile.test_guards.offset", 0.0)
    assert counting.step(X).tolist() == [2, 4]


def test_a_loss_function_of_fit_is_followed(monkeypatch):
    """What the training loop compiles comes to the user's function through its own."""
    from tinygrad_rnn.train.step import TrainingStep

    net = linear()
    optimizer = optim.SGD(net, lr=0.0)
    step = TrainingStep(net, optimizer, lambda model, x: (model(x) * scale).sum(), None, True, 1, False)
    first, _ = step([{"x": X[None]}], None)
    monkeypatch.setattr("tests.compile.test_guards.scale", 4.0)
    second, _ = step([{"x": X[None]}], None)
    assert second == pytest.approx(2 * first)


# What changes again and again -----------------------------------------------------------------------------------------


class Rated(tg.nn.Module):
    def __init__(self):
        self.rate, self.epoch = 1.0, 0
        self.extra = tg.parameter(X.copy())

    def forward(self, x):
        return x * self.rate


class Counter(tg.nn.Module):
    """Sets what it reads, what it has set before, and what nothing but a method reads that is not called."""

    def __init__(self):
        self.calls, self.seen, self.shown = 0, [], 0

    def forward(self, x):
        self.calls += 1
        self.seen.append(x.shape)
        self.last = self.shown = x.shape
        return x * 2 if self.last else x

    def log(self):
        return f"after {len(self.seen)} calls, {self.shown}"


class Setting(Counter):
    def forward(self, x):
        self.last = self.shown = x.shape
        return x * 2 if self.last else x


def test_what_the_function_sets_before_it_reads_it_does_not_record_anew():
    net = Setting()
    run = tg.compile(lambda x: net(x))
    for _ in range(4):
        for x in (X, X[:1]):
            run(x)
        assert net.shown == net.last == (1,)
    net.shown = None  # nothing reads it, but it is set on each call
    run(X)
    assert net.shown == (2,)
    assert len(run.programs) == 2


def test_modes_that_the_function_sets():
    model = tg.nn.Sequential(linear(), tg.nn.Dropout(0.5, generator=0))
    modes = []

    @tg.compile
    def step(x):
        model.train()
        return model(x)

    for _ in range(6):
        model.eval()
        step(X[None])
        modes.append([m.training for m in model.modules()])
    assert modes == [[True] * 3] * 6
    assert len(step.programs) == 1


def in_turns(run, given=(X, X[:1])):
    for _ in range(8):
        for x in given:
            run(x)


def set_in_turn(module, attribute, values, run):
    for value in values:
        setattr(module, attribute, value)
        same_as_eager(run, X)


def test_two_signatures_do_not_push_each_other_out_for_ever():
    net = Counter()
    run = tg.compile(lambda x: net(x))
    with pytest.warns(RuntimeWarning) as found:
        in_turns(run)
    said = sorted(str(w.message).partition("because ")[2].partition(" has")[0] for w in found)
    assert said == ["net.calls", "net.seen"]
    assert all("sets it itself" in str(w.message) and w.filename == __file__ for w in found)
    assert len(run.programs) == 7
    run(X[None])  # nor is it looked at for what is recorded from now on
    net(tg.tensor(X))
    in_turns(run)
    run(X[None])
    assert len(run.programs) == 8


def test_what_no_code_reads_is_looked_at_three_times():
    model = Rated()
    run = tg.compile(lambda x: model(x))
    with pytest.warns(RuntimeWarning, match=r"compiled .*lambda.* model.epoch has changed.*array argument") as found:
        set_in_turn(model, "epoch", range(8), run)
    assert len(found) == 1
    assert len(run.programs) == 4


def test_what_is_read_stays_right_however_often_it_changes():
    model = Rated()
    run = tg.compile(lambda x: model(x), max_programs=4)
    with pytest.warns(RuntimeWarning) as found:
        set_in_turn(model, "rate", map(float, range(10)), run)
    assert len([w for w in found if "model.rate" in str(w.message)]) == 1
    assert len(run.programs) == 4


def test_what_is_read_by_a_name_that_is_made():
    """No code has the name in it, but it may be read."""

    class Indirect(Rated):
        def forward(self, x):
            return x * getattr(self, "".join(["epo", "ch"]))

    model = Indirect()
    run = tg.compile(lambda x: model(x))
    with pytest.warns(RuntimeWarning, match=r"model.epoch has changed"):
        set_in_turn(model, "epoch", map(float, range(10)), run)


def test_long_tables_cost_nothing():
    """A vocabulary in a module is data, and not looked into."""
    model = Rated()
    model.words = {f"word{k}": k for k in range(50_000)}
    run = tg.compile(lambda x: model(x))
    run(X)
    entries = run._cache.by_key.popitem()[1][0].guards._containers
    assert all(len(inside) < 10_000 for _, inside in entries)


def test_the_change_since_the_last_call_is_the_cause():
    """A warning would be an error here: neither has changed three times."""
    a = b = 1.0

    def bind(*new):
        nonlocal a, b
        a, b = new

    run = tg.compile(lambda x: x * a + b)
    for new in [(1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 2.0), (1.0, 3.0)]:
        bind(*new)
        same_as_eager(run, X)


def test_parameters_are_read_by_no_name():
    model = Rated()
    run = tg.compile(lambda x: model(x) * sum(p.sum() for p in model.parameters()))
    with pytest.warns(RuntimeWarning, match=r"because model\.extra has changed; pass"):
        set_in_turn(model, "extra", [tg.parameter(X * k) for k in range(6)], run)


def test_a_cell_and_a_global_that_count():
    n = 0

    @tg.compile
    def run(x):
        nonlocal n
        n += 1
        return x * 2

    with pytest.warns(RuntimeWarning, match="because n has changed"):
        in_turns(run)
    assert n == len(run.programs) == 7


# What the function sets itself ----------------------------------------------------------------------------------------


class Remembering(tg.nn.Module):
    total = 0

    def __init__(self, way="once"):
        self.way, self.count, self.cache, self.history, self.table = way, 0, None, [], {}
        self.pair = 0, "0"

    def forward(self, x):
        return x * getattr(self, f"{self.way}_")()

    def once_(self):
        if self.cache is None:
            self.cache = 3.0
            return 2.0
        return self.cache

    def new_(self):
        if not hasattr(self, "made"):
            self.made = 3.0
            return 2.0
        return self.made

    def removed_(self):
        if "cache" in vars(self):
            del self.cache
            return 2.0
        return 3.0

    def counted_(self):
        self.count += 1
        return min(1, self.count / 10)

    def appended_(self):
        self.history.append(0)
        return len(self.history)

    def entered_(self):
        return self.table.setdefault("a", 1.0 + len(self.table)) + len(self.table)

    def of_the_class_(self):
        Remembering.total = 5.0
        return 1.0 + Remembering.total

    def turned_(self):
        self.count = not self.count
        return 2.0 if self.count else 3.0

    def around_(self):
        self.count = (self.count + 1) % 3
        self.pair = self.count, str(self.count)
        return float(self.pair[0])

    def in_training_(self):
        result = 2.0 if self.training else 3.0
        self.train(not self.training)
        return result


def lazily(x):
    global lazy
    if lazy is None:
        lazy = 3.0
        return x
    return x * lazy


lazy = None


def in_a_cell():
    factor = None

    def run(x):
        nonlocal factor
        if factor is None:
            factor = 3.0
            return x
        return x * factor

    return run


def turning():
    forward = True

    def run(x):
        nonlocal forward
        forward = not forward
        return x if forward else x[::-1]

    return run


def rolling(x):
    global lazy
    lazy = 1 if lazy is None else -lazy
    Remembering.total = -Remembering.total if Remembering.total else 2
    return x * lazy + Remembering.total


def coming_and_going(x):
    """Set and deleted in turn."""
    if "gone" in vars(GOING):
        del GOING.gone
        return x
    GOING.gone = 1
    return x * 2


GOING = Remembering()


def counting():
    n = 0

    def run(x):
        nonlocal n
        n += 1
        return x * n

    return run


def held_by(module):
    held = types.SimpleNamespace(part=module)
    return lambda x: held.part(x)


WAYS = ["once", "new", "removed", "counted", "appended", "entered", "of_the_class", "turned", "around", "in_training"]
SETTING = {
    **{way: lambda way=way: Remembering(way) for way in WAYS},
    "in a function": lambda: (lambda net: lambda x: net(x))(Remembering()),
    "in a module that is only called": lambda: held_by(Remembering()),
    "a count in one": lambda: held_by(Remembering("counted")),
    "a method": lambda: Remembering().forward,
    "a global": lambda: lazily,
    "a cell": in_a_cell,
    "a count in a cell": counting,
    "in turn in a cell": turning,
    "in turn in globals": lambda: rolling,
    "in turn set and deleted": lambda: coming_and_going,
    "in turn in a module that is only called": lambda: held_by(Remembering("turned")),
}
COUNTING = ("counted", "appended", "a count in one", "a count in a cell")


def told(run, *args):
    """The result, and what the call warned of."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        return run(*args).tolist(), [str(w.message) for w in found]


@pytest.mark.parametrize("name", SETTING)
def test_what_the_function_sets_itself_is_as_in_eager_mode(name, monkeypatch):
    """On every call, until a warning says what is frozen; then it is."""
    this = "tests.compile.test_guards"
    monkeypatch.setattr(Remembering, "total", 0)
    results = []
    for compiled in (False, True):
        monkeypatch.setattr(f"{this}.lazy", None)
        Remembering.total = 0
        run = tg.compile(SETTING[name]()) if compiled else SETTING[name]()
        results.append([told(run, X if compiled else tg.tensor(X)) for _ in range(8)])
    eager, found = results
    frozen = next((k for k, (_, said) in enumerate(found) if said), 8)
    assert (frozen < 8) == (name in COUNTING)
    assert [result for result, _ in found[: frozen + 1]] == [result for result, _ in eager[: frozen + 1]]
    assert all(result == found[frozen][0] for result, _ in found[frozen + 1 :])
    assert all("it is frozen from now on" in text for _, said in found for text in said)
    assert len(run.programs) <= (4 if name in COUNTING else 3)


def test_what_is_made_once_is_made_again_after_it_was_forgotten():
    ours, eager = Remembering(), Remembering()
    run = tg.compile(ours)
    results = []
    for net, call in ((ours, lambda: run(X)), (eager, lambda: eager(tg.tensor(X)))):
        for forget in (False, False, True, False):
            if forget:
                net.cache = None
            results.append((call().tolist(), net.cache))
    assert results[:4] == results[4:]


def test_the_warning_names_what_counts():
    net = Remembering("counted")
    run = tg.compile(net)
    with pytest.warns(RuntimeWarning, match=r"Remembering\.count has changed; the function sets it itself.*is frozen"):
        in_turns(run, [X])
    assert net.count == len(run.programs) == 4


def test_a_parameter_that_is_made_when_it_is_needed():
    class Lazy(tg.nn.Module):
        w = None

        def forward(self, x):
            if self.w is None:
                self.w = tg.parameter(np.ones(x.shape[-1]))
            return (x * self.w).sum()

    net = Lazy()
    run = tg.compile(lambda x: net(x))
    assert [run(X).item() for _ in range(3)] == [3, 3, 3]
    assert len(run.programs) == 2
    net.w.assign(X)
    assert run(X).item() == 5


def test_copies_and_methods_each_set_their_own():
    class Own(Remembering):
        step = tg.compile(Remembering.forward)

    net = Own()
    assert [net.step(X).tolist() for _ in range(3)] == [[2, 4], [3, 6], [3, 6]]
    twin = copy.deepcopy(net)
    twin.cache = None
    assert [twin.step(X).tolist() for _ in range(3)] == [[2, 4], [3, 6], [3, 6]]


def test_a_recording_that_fails_leaves_no_guard():
    net = Remembering("counted")

    def fails(x):
        y = net(x)
        if net.count < 3:
            raise RuntimeError("not yet")
        return y

    run = tg.compile(fails)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not yet"):
            run(X)
    assert (run.programs, run._cache.causes, net.count) == ([], {}, 2)
    np.testing.assert_allclose(run(X).numpy(), X * 0.3)
    np.testing.assert_allclose(run(X).numpy(), X * 0.4)


class Keeping(tg.nn.Module):
    last = None

    def forward(self, x):
        self.last = tg.tanh(x)
        return self.last * 2


def test_a_tensor_that_is_left_in_a_module_is_told_of_once():
    net = Keeping()
    run = tg.compile(lambda x: net(x))
    with pytest.warns(RuntimeWarning, match=r"leaves a tensor without a value in net\.last.*return it, and") as found:
        results = [run(x).shape for x in (X, X, X[:1], X)]
    assert results == [(2,), (2,), (1,), (2,)]
    assert len(found) == 1
    assert found[0].filename == __file__
    assert len(run.programs) == 2
    with pytest.raises(tg.PlaceholderError):
        net.last.numpy()


def test_a_tensor_that_is_left_in_a_list_is_told_of():
    net = Remembering()
    net.forward = lambda x: net.history.append(x * 2) or x
    run = tg.compile(lambda x: net(x))
    with pytest.warns(RuntimeWarning, match=r"without a value in net\.history"):
        run(X)


def test_a_tensor_that_a_recording_left_cannot_be_computed_with():
    class Stateful(Keeping):
        def forward(self, x):
            y = x if self.last is None else x + self.last
            self.last = tg.tanh(y)
            return y

    net = Stateful()
    run = tg.compile(lambda x: net(x))
    with pytest.warns(RuntimeWarning, match=r"net\.last"):
        run(X)
    with pytest.raises(tg.StaleError, match="has no value: a function left it somewhere while it was recorded"):
        run(X)
    net.last = None
    assert run(X).tolist() == X.tolist()


def test_the_name_of_a_module_that_was_only_called():
    held = types.SimpleNamespace(part=Rated())
    run = tg.compile(lambda x: held.part(x))
    with pytest.warns(RuntimeWarning, match=r"because Rated\.epoch has changed"):
        set_in_turn(held.part, "epoch", range(4), run)


def test_modules_are_walked_only_when_something_has_changed(monkeypatch):
    net = Net()
    run = tg.compile(lambda x: net(x))
    run(X[None])
    guards = next(iter(run._cache.order)).guards
    looked = []
    monkeypatch.setattr(type(guards), "differences", lambda self: looked.append(1) or iter(()))
    for _ in range(3):
        run(X[None])
    assert not looked
    net.number = net.number
    for _ in range(3):
        run(X[None])
    assert len(looked) == 1


def test_the_count_moves_with_each_kind_of_change():
    net, w = Net(), tg.parameter(X)
    for change in (
        lambda: setattr(net, "number", 1), lambda: delattr(net, "number"), net.train, net.eval,
        lambda: setattr(w, "requires_grad", False),
    ):  # fmt: skip
        before = changes.last
        change()
        assert changes.last > before


# Threads --------------------------------------------------------------------------------------------------------------


def elsewhere(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("change", ["number", "training", "w"])
def test_what_another_thread_changes_during_a_recording(change):
    """The program may be of either state; it is not taken for one of the new state."""
    net = Net()
    new = {"number": 5, "training": False, "w": tg.parameter(X + 5)}[change]

    def twice(x):
        y = net(x) * (1 if net.training else 2)
        if disturb:
            elsewhere(lambda: setattr(net, change, new))
        return y

    run, disturb = tg.compile(twice), [True]
    run(X[None])
    disturb.clear()
    same_as_eager(run, tg.tensor(X[None]))


class Slow(tg.nn.Module):
    """Setting its attribute takes until it is told to go on."""

    def __init__(self):
        self._rate, self.inside, self.go = 1.0, threading.Event(), threading.Event()

    @property
    def rate(self):
        return self._rate

    @rate.setter
    def rate(self, value):
        vars(self)["_rate"] = value
        self.inside.set()
        self.go.wait()


def test_a_change_that_is_half_made_when_the_recording_ends():
    net = Slow()

    def scaled(x):
        y = x * net.rate
        if not net.inside.is_set():
            thread.start()
            net.inside.wait()
        return y

    thread = threading.Thread(target=lambda: setattr(net, "rate", 3.0))
    run = tg.compile(scaled)
    run(X)
    net.go.set()
    thread.join()
    assert run(X).tolist() == [3, 6]


@pytest.mark.filterwarnings("ignore:.*recorded anew for the third time")
def test_flags_that_other_threads_toggle():
    net = Net()
    run = tg.compile(lambda x: net(x))
    results = {}
    for net.flag in (True, False):
        results[net.flag] = net(tg.tensor(X[None])).numpy()
    stop = threading.Event()

    def toggle():
        while not stop.is_set():
            net.flag = not net.flag

    threads = [threading.Thread(target=toggle) for _ in range(2)]
    for t in threads:
        t.start()
    for _ in range(20):
        found = run(X[None]).numpy()
        assert any(np.allclose(found, r, rtol=1e-12) for r in results.values())
    stop.set()
    for t in threads:
        t.join()
    for net.flag in (True, False, True):
        np.testing.assert_allclose(run(X[None]).numpy(), results[net.flag], rtol=1e-12)


# The law --------------------------------------------------------------------------------------------------------------


class World:
    """Everything that a step finds around it, with a compiled and an eager copy of the same step."""

    def __init__(self):
        self.net, self.drop = Net(), tg.nn.Dropout(0.5, generator=np.random.default_rng(1))
        self.factor, self.tensor = 1.0, tg.tensor(X)
        self.optimizer = optim.SGD([self.net.w, self.net.inner.W], lr=0.1)
        self.setting = Remembering()
        self.step = self.made()

    def made(self):
        world, net, drop, optimizer = self, self.net, self.drop, self.optimizer
        factor, tensor, setting, calls = self.factor, self.tensor, self.setting, 0

        def bind(new_factor, new_tensor):
            nonlocal factor, tensor
            factor, tensor = new_factor, new_tensor

        def step(x):
            nonlocal calls
            if setting.way == "appended":
                calls = (calls + 1) % 3
            y = drop(setting(net(x)) * factor + tensor + calls)
            loss = (y * y).sum()
            net.zero_grad()
            optimizer.zero_grad()
            loss.backward()
            if any(p.grad is not None for p in optimizer.parameters):
                optimizer.step()
            return loss, y

        world.bind = bind
        return step


def frozen(world, at):
    t = (world.net.w, world.net.inner.W, world.net.named["a"])[at % 3]
    t.requires_grad = not t.requires_grad


def changed_layer(world, k):
    layer = tg.nn.Linear(2, 2, generator=k, dtype=np.float64)
    if len(world.net.layers) < 3 and k % 2:
        world.net.layers.append(layer)
    else:
        world.net.layers[k % len(world.net.layers)] = layer


def bound(world, k):
    world.factor, world.tensor = float(k % 3), world.tensor if k % 2 else tg.tensor(X * k)
    world.bind(world.factor, world.tensor)


MUTATIONS = [
    lambda world, k: world.net.train(k % 2),
    lambda world, k: world.drop.train(k % 2),
    lambda world, k: setattr(world.drop, "p", (0.0, 0.25, 0.5)[k % 3]),
    lambda world, k: setattr(world.net, "flag", bool(k % 2)),
    lambda world, k: setattr(world.net, "number", (1, 1.0, 2)[k % 3]),
    lambda world, k: setattr(world.net, "text", ("tanh", "sigmoid")[k % 2]),
    lambda world, k: setattr(world.net.layers[0], "b", tg.parameter(X * k)),
    lambda world, k: in_place(world.net.named, "a", tg.parameter(X + k)),
    lambda world, k: in_place(world.net.numbers, k % 2, float(k)),
    lambda world, k: setattr(world.setting, "way", ("once", "counted", "appended", "turned", "new", "removed")[k]),
    lambda world, k: setattr(world.setting, *(("cache", None), ("cache", 2.0), ("count", 1), ("history", []))[k % 4]),
    changed_layer, frozen, bound,
]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, len(MUTATIONS) - 1), st.integers(0, 5), st.integers(0, 3)), max_size=12))
def test_compiled_is_eager_whatever_changes_between_calls(mutations):
    """And whatever the step sets itself, until a warning says that it is frozen."""
    ours, eager = World(), World()
    compiled = tg.compile(ours.step)
    for which, k, calls in [(0, 1, 1), *mutations, (0, 1, 1)]:
        for world in (ours, eager):
            MUTATIONS[which](world, k)
        for _ in range(calls):
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                results = compiled(X[None])
            for a, b in zip(results, eager.step(tg.tensor(X[None])), strict=True):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)
            for path, t in ours.net.state_dict().items():
                np.testing.assert_allclose(t, eager.net.state_dict()[path], rtol=1e-9, atol=1e-12)
            if any("frozen" in str(w.message) for w in found):
                return


def test_a_module_that_is_copied_is_another():
    net = Net()
    run = tg.compile(lambda net, x: net(x))
    run(net, X[None])
    twin = copy.deepcopy(net)
    twin.number = 7
    same_as_eager(run, twin, X[None])
    same_as_eager(run, net, X[None])
    assert len(run.programs) == 2


def test_a_size_that_a_function_sets_is_a_number():
    class Sized(tg.nn.Module):
        n = 0

        def forward(self, x):
            before, self.n = self.n, x.size
            return x + before

    ours, theirs = Sized(), Sized()
    compiled = tg.compile(ours)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size in (3, 3, 5, 5, 3, 5, 3):
            assert compiled(np.zeros(size)).tolist() == theirs(tg.zeros(size)).tolist()


def test_all_switches_are_put_back():
    a, b = (tg.parameter([1.0], name=name) for name in "ab")

    @tg.compile
    def freeze(x):
        a.requires_grad = b.requires_grad = False
        return x * a * b

    with pytest.raises(TypeError, match="changes requires_grad of tensor 'a'"):
        freeze(np.ones(1))
    assert a.requires_grad
    assert b.requires_grad


CAPTURED = {
    "a generator": "def f(xs):\n    return sum((xs[t] * 2 for t in range(2)), 0.0)",
    "a lambda": "def f(xs):\n    return (lambda v: v + xs)(xs * 2)",
    "a comprehension": "def f(xs):\n    c = xs * 2\n    return [q * c for q in (c, xs)]",
    "a class": "def f(xs):\n    class A:\n        y = xs * 2\n    return A.y",
}


@pytest.mark.parametrize("source", CAPTURED.values(), ids=CAPTURED)
def test_an_argument_that_an_inner_function_takes_is_no_global(source):
    names = {"xs": None, "np": np}
    exec(source, names)
    compiled = tg.compile(names["f"])
    for k in range(5):
        names["xs"] = np.full(2, float(k))
        compiled(names["xs"])
    assert len(compiled.programs) == 1


@pytest.fixture
def imported(tmp_path, monkeypatch):
    (tmp_path / "module_of_mine.py").write_text("K = 2.0\ndef scale(x):\n    return x * K\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("module_of_mine")
    yield module
    del sys.modules["module_of_mine"]


def from_function(x):
    from module_of_mine import scale

    return scale(x)


def from_constant(x):
    from module_of_mine import K

    return x * K


def whole_import(x):
    import module_of_mine

    return x * module_of_mine.K


def aliased(x):
    import module_of_mine as m

    return m.scale(x)


@pytest.mark.parametrize("fn", [from_function, from_constant, whole_import, aliased], ids=lambda f: f.__name__)
def test_what_a_function_imports_itself_is_guarded(fn, imported):
    compiled = tg.compile(fn)
    for k in (2.0, 6.0, 2.0):
        imported.K = k
        assert compiled(np.ones(2)).tolist() == [k, k]
    assert len(compiled.programs) == 2


@pytest.mark.parametrize("fn", [from_function, from_constant, whole_import, aliased], ids=lambda f: f.__name__)
def test_a_module_that_the_function_is_the_first_to_import(fn, imported):
    del sys.modules["module_of_mine"]
    compiled = tg.compile(fn)
    for k in (2.0, 6.0):
        if k == 6.0:
            sys.modules["module_of_mine"].K = k
        assert compiled(np.ones(2)).tolist() == [k, k]


def test_a_module_in_a_variable_is_looked_into(imported):
    def fn(x):
        m = imported
        return x * m.K

    compiled = tg.compile(fn)
    for k in (2.0, 6.0):
        imported.K = k
        assert compiled(np.ones(1)).tolist() == [k]


@pytest.mark.parametrize("holder", [types.SimpleNamespace(s=1.0), ChainMap({"s": 1.0}, {})], ids=["namespace", "chain"])
def test_what_namespaces_and_chains_of_maps_hold(holder):
    layer = tg.nn.Module()
    layer.c = holder
    read = (lambda: layer.c.s) if isinstance(holder, types.SimpleNamespace) else (lambda: layer.c["s"])
    compiled = tg.compile(lambda x: x * read())
    assert compiled(np.ones(1)).item() == 1
    if isinstance(holder, ChainMap):
        layer.c["s"] = 2.0
    else:
        layer.c.s = 2.0
    assert compiled(np.ones(1)).item() == 2


def test_methods_that_are_exchanged():
    class Layer(tg.nn.Module):
        def forward(self, x):
            return self.helper(x)

        def helper(self, x):
            return x * 5

    class Other(Layer):
        def helper(self, x):
            return x * 3

    class Plain:
        def scaled(self, x):
            return x * 2

    layer, plain = Layer(), Plain()
    compiled = tg.compile(lambda x: layer(x) + plain.scaled(x))
    assert compiled(np.ones(1)).item() == 7
    Layer.helper = lambda self, x: x * 7
    assert compiled(np.ones(1)).item() == 9
    Layer.forward = lambda self, x: x * 11
    assert compiled(np.ones(1)).item() == 13
    Plain.scaled = lambda self, x: x * 100
    assert compiled(np.ones(1)).item() == 111
    layer.__class__ = Other
    Other.forward = lambda self, x: self.helper(x)
    assert compiled(np.ones(1)).item() == 103


@pytest.mark.parametrize(
    ("one", "other"),
    [(complex(1, 0.0), complex(1, -0.0)), ({1: 0}, {True: 0}), (frozenset({1}), frozenset({True})), ((1,), (1.0,)),
     (Decimal("1"), Decimal("1.00")), (Fraction(1, 2), 0.5)],
)  # fmt: skip
def test_equal_values_that_are_not_the_same(one, other):
    layer = tg.nn.Module()
    by_argument = tg.compile(lambda x, v: x * len(repr(v)))
    by_attribute = tg.compile(lambda x: x * len(repr(layer.value)))
    for value in (one, other, one):
        layer.value = value
        assert by_argument(np.ones(1), value).item() == by_attribute(np.ones(1)).item() == len(repr(value))
    assert len(by_argument.programs) == len(by_attribute.programs) == 2
    by_argument(np.ones(1), math.nan)
    by_argument(np.ones(1), float("nan"))
    assert len(by_argument.programs) == 3
