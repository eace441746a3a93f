"""Modules: what they hold, what they are called, how they are saved."""

from __future__ import annotations

import copy
from collections import ChainMap, OrderedDict, UserDict, UserList, deque
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class Nested(nn.Module):
    def __init__(self):
        self.first = nn.Linear(3, 4, generator=0)
        self.blocks = [nn.Linear(4, 4, generator=1), nn.Linear(4, 2, generator=2)]
        self.by_key = {"norm": nn.LayerNorm(2)}
        self.table = tg.tensor([1.0, 2.0])
        self.scale = tg.parameter([3.0, 4.0])

    def forward(self, x):
        for layer in (self.first, *self.blocks, self.by_key["norm"]):
            x = layer(x)
        return x * self.scale


def test_parameters_are_found_in_attributes_lists_and_dicts_in_order():
    names = [name for name, _ in Nested().named_parameters()]
    assert names == [
        "scale", "first.W", "first.b", "blocks.0.W", "blocks.0.b", "blocks.1.W", "blocks.1.b", "by_key.norm.weight",
        "by_key.norm.bias",
    ]  # fmt: skip


def test_constants_are_saved_but_not_trained():
    model = Nested()
    assert "table" in model.state_dict()
    assert "table" not in dict(model.named_parameters())


def test_parameter_count_counts_numbers():
    assert nn.Linear(3, 4).parameter_count == 3 * 4 + 4


def test_a_shared_parameter_appears_once():
    class Tied(nn.Module):
        def __init__(self):
            self.a = nn.Linear(2, 2)
            self.b = self.a
            self.w = self.a.W

    assert len(Tied().parameters()) == 2


def test_parameters_are_named_after_their_attributes():
    model = Nested()
    assert model.scale.name == "scale"
    assert model.blocks[0].W.name == "W"


def test_calls_are_recorded_in_scopes():
    y = Nested()(tg.ones((1, 3)))
    scopes = {t.scope for t in tg.graph(y)}
    assert ("nested", "first") in scopes
    assert ("nested", "block0") in scopes
    assert y.scope == ("nested",)


def test_state_dict_round_trip_gives_the_same_outputs():
    one, other = Nested(), Nested()
    x = tg.ones((2, 3))
    for p in one.parameters():
        p.assign(p.numpy() + 0.5)
    assert not np.allclose(one(x), other(x))
    other.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(one(x), other(x))


def test_state_dict_is_a_copy():
    model = nn.Linear(2, 2)
    before = model.W.numpy().copy()
    model.state_dict()["W"][:] = 7
    np.testing.assert_array_equal(model.W, before)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("b"), KeyError, "misses .*'b'"),
        (lambda s: s.update(extra=np.zeros(1)), KeyError, "has .*'extra'.* not know"),
        (lambda s: s.update(b=np.zeros(3)), tg.ShapeError, r"'b'(.|\n)*expected: \(2,\)(.|\n)*got: *\(3,\)"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, error, message):
    model = nn.Linear(2, 2)
    before = model.state_dict()
    state = {k: v + 1 for k, v in before.items()}
    change(state)
    with pytest.raises(error, match=message):
        model.load_state_dict(state)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_train_and_eval_reach_all_modules():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5, generator=0))
    assert not any(m.training for m in model.eval().modules())
    assert all(m.training for m in model.train().modules())


def test_zero_grad_forgets_gradients():
    model = nn.Linear(2, 1)
    model(tg.ones((1, 2))).sum().backward()
    assert model.W.grad is not None
    model.zero_grad()
    assert model.W.grad is None


def test_a_module_can_be_copied_and_the_copy_is_independent():
    model = nn.Linear(2, 2)
    twin = copy.deepcopy(model)
    twin.W.assign(np.zeros((2, 2)))
    assert np.any(model.W.numpy() != 0)


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


def test_repr_shows_the_tree():
    text = repr(Nested())
    assert "first: Linear(W(3, 4), b(4,))" in text
    assert "norm: LayerNorm(weight(2,), bias(2,))" in text


@dataclass
class Pair:
    first: Any
    second: Any = None


def containers(make):
    """Ways to hold what `make` gives, and the names of these."""
    return {
        "lists of lists": ([[make(), make()], [make()]], ["0.0", "0.1", "1.0"]),
        "dict of lists": ({"down": [make()], "up": [make(), make()]}, ["down.0", "up.0", "up.1"]),
        "dict of dicts": ({"a": {"b": make()}, 3: {"b": make()}}, ["a.b", "3.b"]),
        "deque": (deque([make(), (make(),)]), ["0", "1.0"]),
        "tuples": (((make(),), (make(),)), ["0.0", "1.0"]),
        "ordered dict": (OrderedDict(b=make(), a=[make()]), ["b", "a.0"]),
        "user's list": (UserList([make(), make()]), ["0", "1"]),
        "user's dict": (UserDict(a=make()), ["a"]),
        "namespace": (SimpleNamespace(a=make()), ["a"]),
        "chain of maps": (ChainMap({"a": make()}), ["a"]),
        "read-only dict": (MappingProxyType({"a": [make()]}), ["a.0"]),
        "dataclass": ([Pair(make(), Pair(make()))], ["0.first", "0.second.first"]),
    }


HOLDERS = list(containers(lambda: None))


class Holder(tg.nn.Module):
    def __init__(self, blocks):
        self.blocks = blocks

    def forward(self, x):
        return sum((p * p).sum() for p in self.parameters()) * x


@pytest.mark.parametrize("kind", HOLDERS)
def test_modules_in_containers_are_trained_saved_and_switched(kind):
    blocks, names = containers(lambda: tg.nn.Sequential(tg.nn.Linear(2, 2, bias=False), tg.nn.Dropout()))[kind]
    model = Holder(blocks)
    assert [name for name, _ in model.named_parameters()] == [f"blocks.{name}.layers.0.W" for name in names]
    assert all(not m.training for m in model.eval().modules())
    state = {name: np.full((2, 2), k, np.float32) for k, name in enumerate(model.state_dict())}
    model.load_state_dict(state)
    assert [p.numpy()[0, 0] for p in model.parameters()] == list(range(len(names)))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", HOLDERS)
def test_parameters_in_containers_are_trained(kind, compiled):
    blocks, names = containers(lambda: tg.parameter([1.0]))[kind]
    model = Holder(blocks)
    optimizer = tg.optim.SGD(model, lr=0.25)

    def step(x):
        optimizer.zero_grad()
        model(x).backward()
        optimizer.step()

    (tg.compile(step) if compiled else step)(tg.tensor(1.0))
    assert [p.name for p in model.parameters()] == [f"blocks.{name}" for name in names]
    assert [p.tolist() for p in model.parameters()] == [[0.5]] * len(names)


@pytest.mark.parametrize("put", [
    lambda model, block: model.blocks.__setitem__(0, [block]),
    lambda model, block: model.blocks[0].append(block),
    lambda model, block: model.more.append(block),
    lambda model, block: setattr(model, "more", deque([block])),
])  # fmt: skip
def test_a_compiled_function_sees_what_is_put_into_containers(put):
    model = Holder([[tg.nn.Linear(1, 1)]])
    model.more = deque()
    run = tg.compile(lambda x: model(x))
    run(tg.tensor(1.0))
    put(model, tg.nn.Linear(1, 1))
    np.testing.assert_allclose(run(tg.tensor(1.0)).numpy(), model(tg.tensor(1.0)).numpy())


def test_scopes_of_nested_modules():
    model = Holder([[tg.nn.Linear(1, 1), tg.nn.Linear(1, 1)], {"norm": tg.nn.Linear(1, 1)}])
    scopes = [block(tg.ones((1, 1))).scope for block in (*model.blocks[0], model.blocks[1]["norm"])]
    assert scopes == [("block0_0",), ("block0_1",), ("norm",)]


def test_a_container_that_holds_itself():
    blocks: list[Any] = [tg.parameter([1.0])]
    blocks.append(blocks)
    assert [name for name, _ in Holder(blocks).named_parameters()] == ["blocks.0"]


def test_a_deep_container():
    blocks: list[Any] = [tg.parameter([1.0])]
    for _ in range(20_000):
        blocks = [blocks]
    assert len(Holder(blocks).parameters()) == 1


@pytest.mark.parametrize("blocks", [
    {tg.nn.Linear(1, 1)}, [frozenset([tg.parameter([1.0])])], np.array([tg.nn.Linear(1, 1)], object),
    (tg.nn.Linear(1, 1) for _ in range(2)), map(tg.nn.Linear, [1], [1]), {"a": zip([tg.nn.Linear(1, 1)])},
])  # fmt: skip
def test_containers_without_names_are_refused(blocks):
    with pytest.raises(TypeError, match=r"'blocks.*neither trained nor saved(.|\n)*make it a list"):
        Holder(blocks)


@pytest.mark.parametrize("blocks", [{1: tg.parameter([1.0]), "1": tg.parameter([1.0])},
                                    {"a.b": tg.parameter([1.0]), "a": {"b": tg.parameter([1.0])}}])  # fmt: skip
def test_names_that_are_alike_are_refused(blocks):
    with pytest.raises(ValueError, match="two tensors are called 'blocks"):
        Holder(blocks).state_dict()


KEPT = {"a": tg.parameter([1.0])}


@pytest.mark.parametrize(("blocks", "put"), [
    (UserList([tg.parameter([1.0])]), lambda blocks, p: blocks.__setitem__(0, p)),
    (UserDict(a=tg.parameter([1.0])), lambda blocks, p: blocks.__setitem__("a", p)),
    (MappingProxyType(KEPT), lambda _, p: KEPT.__setitem__("a", p)),
    ([Pair(tg.parameter([1.0]))], lambda blocks, p: setattr(blocks[0], "first", p)),
    (Pair((deque([tg.parameter([1.0])]),)), lambda blocks, p: blocks.first[0].__setitem__(0, p)),
])  # fmt: skip
def test_a_compiled_function_sees_what_is_exchanged_in_containers(blocks, put):
    model = Holder(blocks)
    run = tg.compile(lambda x: model(x))
    assert run(tg.tensor(1.0)).item() == 1.0
    put(blocks, tg.parameter([3.0]))
    assert run(tg.tensor(1.0)).item() == 9.0
