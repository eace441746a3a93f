"""Tensors from nothing."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops import create

MADE = [
    ("zeros", lambda: tg.zeros((2, 3)), np.zeros((2, 3), np.float32)),
    ("zeros", lambda: tg.zeros(2, np.int64), np.zeros(2, np.int64)),
    ("zeros", lambda: tg.zeros(()), np.zeros((), np.float32)),
    ("ones", lambda: tg.ones([2, 0]), np.ones((2, 0), np.float32)),
    ("ones", lambda: tg.ones(2, bool), np.ones(2, bool)), ("full", lambda: tg.full(2, 7.0), np.full(2, 7, np.float32)),
    ("full", lambda: tg.full(2, 7), np.full(2, 7)), ("full", lambda: tg.full((2,), True), np.full(2, True)),
    ("full", lambda: tg.full(2, np.float64(3)), np.full(2, 3.0)),
    ("full_like", lambda: tg.full_like(np.ones(2), 5), np.full(2, 5.0)),
    ("zeros_like", lambda: tg.zeros_like([1, 2]), np.zeros(2, np.int64)),
    ("ones_like", lambda: tg.ones_like(tg.ones((1, 2))), np.ones((1, 2), np.float32)),
    ("arange", lambda: tg.arange(3), np.arange(3)), ("arange", lambda: tg.arange(1, 4), np.arange(1, 4)),
    ("arange", lambda: tg.arange(5, step=2), np.arange(0, 5, 2)),
    ("arange", lambda: tg.arange(5, 0, -2), np.arange(5, 0, -2)),
    ("arange", lambda: tg.arange(0.0, 1.0, 0.25), np.arange(0, 1, 0.25, np.float32)),
    ("arange", lambda: tg.arange(3, dtype=np.float64), np.arange(3.0)),
    ("arange", lambda: tg.arange(2.5), np.arange(2.5, dtype=np.float32)),
    ("arange", lambda: tg.arange(0), np.arange(0)),
    ("linspace", lambda: tg.linspace(0, 1, 5), np.linspace(0, 1, 5, dtype=np.float32)),
    ("linspace", lambda: tg.linspace(0, 1, 3, np.float64), np.linspace(0, 1, 3)),
    ("eye", lambda: tg.eye(2), np.eye(2, dtype=np.float32)),
    ("eye", lambda: tg.eye(2, 3, np.int32), np.eye(2, 3, dtype=np.int32)),
    ("from_dlpack", lambda: tg.from_dlpack(np.arange(3.0)), np.arange(3.0)),
    ("tensor", lambda: tg.tensor(1.5), np.array(1.5, np.float32)),
    ("tensor", lambda: tg.tensor([1, 2]), np.array([1, 2])), ("tensor", lambda: tg.tensor([]), np.zeros(0, np.float32)),
    ("tensor", lambda: tg.tensor(np.float64(2)), np.array(2.0)),
    ("tensor", lambda: tg.tensor([True]), np.array([True])),
    ("tensor", lambda: tg.tensor([1, 2], np.float64), np.array([1.0, 2.0])),
    ("tensor", lambda: tg.tensor(tg.ones(2)), np.ones(2, np.float32)),
    ("parameter", lambda: tg.parameter([[0.5]]), np.array([[0.5]], np.float32)),
    ("parameter", lambda: tg.parameter([1, 2], np.float64), np.array([1.0, 2.0])),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "expected"), MADE)
def test_values_shapes_and_dtypes(name, make, expected):
    t = make()
    np.testing.assert_array_equal(t.numpy(), expected, strict=True)
    assert t.is_leaf
    assert t.requires_grad == (name == "parameter")


def test_every_function_is_made_use_of():
    assert {name for name, *_ in MADE} == set(create.__all__)


def test_names_and_gradients():
    w = tg.tensor([1.0], name="w", requires_grad=True)
    assert (w.name, w.requires_grad) == ("w", True)
    assert (
        repr(tg.parameter([1.0], name="w")) == "tensor([1.], shape=(1,), dtype=float32, name='w', requires_grad=True)"
    )


def test_values_of_numpy_are_not_shared():
    t = tg.full_like(np.ones(2), 3)
    assert t.numpy().flags.owndata is False
    assert not np.shares_memory(tg.tensor(t).numpy(), t.numpy())


@pytest.mark.parametrize("shape", [-1, (2, -3)])
def test_negative_sizes_are_refused(shape):
    with pytest.raises(ValueError, match="negative dimensions"):
        tg.zeros(shape)
