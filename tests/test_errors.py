"""Errors: each names the operation, what was expected, what came, where, and what to do."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import errors


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (tg.ShapeError, ValueError),
        (tg.DTypeError, TypeError),
        (tg.PlaceholderError, TypeError),
        (tg.ImmutableError, TypeError),
        (tg.GradientError, RuntimeError),
        (tg.DisconnectedError, tg.GradientError),
        (tg.StaleError, tg.GradientError),
        (tg.AnomalyError, FloatingPointError),
    ],
)
def test_errors_can_be_caught_as_pythons_own(kind, base):
    assert issubclass(kind, base)
    assert getattr(errors, kind.__name__) is kind
    assert inspect.getdoc(kind)


def test_an_error_is_put_together_from_its_parts():
    full = errors.fail(tg.ShapeError, "add: no", expected="(2,)", got="(3,)", hint="transpose")
    assert str(full) == "add: no\n  expected: (2,)\n  got:      (3,)\n  hint:     transpose"
    assert str(errors.fail(tg.ShapeError, "add: no")) == "add: no"


def test_a_refusal_says_operation_inputs_place_and_line():
    a, b = tg.ones((2, 3)).named("a"), tg.ones((4, 5)).named("W")
    with pytest.raises(tg.ShapeError) as caught, tg.scope("lstm0"), tg.timestep(3):
        a @ b
    text = str(caught.value)
    line = inspect.currentframe().f_lineno - 2
    assert text.startswith("matmul: shapes (2, 3) and (4, 5) do not fit")
    assert "expected: the last axis of the first (3) to equal the second to last of the second (4)" in text
    assert "input 0:  tensor 'a' (2, 3) float32" in text
    assert "input 1:  tensor 'W' (4, 5) float32" in text
    assert f"at {__file__}:{line}, in lstm0/t=3" in text


def test_a_shape_error_holds_what_was_given_so_that_it_can_be_drawn():
    a, b = tg.ones(2) * 1, tg.ones(3)
    with pytest.raises(tg.ShapeError, match=r"shapes .* do not broadcast") as caught:
        a + b
    assert caught.value.op == "add"
    assert caught.value.inputs == (a, b)


@pytest.mark.parametrize(
    ("wrong", "kind", "match"),
    [
        (lambda x: x + tg.ones(3), tg.ShapeError, r"add: shapes \(2,\) and \(3,\) do not broadcast(.|\n)*hint:"),
        (lambda x: np.ones(3) + x, tg.ShapeError, "add: shapes"),
        (lambda x: x.reshape(3), tg.ShapeError, r"reshape: \(2,\) -> \(3,\)(.|\n)*product is 2"),
        (lambda x: x[5], IndexError, "index 5 is out of bounds"),
        (lambda x: x[[0, 7]], IndexError, "index 7 at position"),
        (lambda x: x.sum(axis=4), tg.ShapeError, "sum: 4 is not an axis"),
        (lambda x: tg.concatenate([]), tg.ShapeError, "no tensors given"),
        (lambda x: tg.tensor(["a"]), tg.DTypeError, "dtype <U1 are not supported(.|\n)*expected: float32"),
        (lambda x: tg.tensor([1], requires_grad=True), tg.DTypeError, "carries no gradient(.|\n)*requires_grad out"),
        (lambda x: tg.tensor([x, x]), tg.DTypeError, "a list of tensors is not a tensor(.|\n)*tg.stack"),
        (lambda x: tg.tanh([[x], [x]]), tg.DTypeError, "a list of tensors is not a tensor(.|\n)*tg.stack"),
        (lambda x: x.astype(complex), tg.DTypeError, "complex128 are not supported"),
        (lambda x: tg.Tensor([1.0]), TypeError, r"Tensor is not called: write tg.tensor\(data\)"),
        (lambda x: tg.graph([x, 3]), TypeError, "graph: expected tensors, got int"),
        (lambda x: tg.grad(x.sum(), 3.0), TypeError, "not iterable"),
        (lambda x: tg.grad(x.sum(), [3.0]), TypeError, "expected tensors to differentiate by, got float"),
        (lambda x: tg.grad([1.0], x), TypeError, "expected a tensor to differentiate, got float"),
    ],
)
def test_messages(wrong, kind, match):
    with pytest.raises(kind, match=match):
        wrong(tg.ones(2))
