"""Modules: what they hold, what they are called, how they are saved."""

from __future__ import annotations

import copy

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
