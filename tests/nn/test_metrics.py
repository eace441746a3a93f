"""Metrics by hand, with masks."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.nn import metrics

LOGITS = np.array([[[2.0, 1.0], [0.0, 3.0]], [[1.0, 0.0], [np.nan, np.nan]]])
TARGET, MASK = [[0, 0], [0, 1]], [[True, True], [True, False]]


def test_accuracy_of_logits_and_classes_with_a_mask():
    assert metrics.accuracy(LOGITS, TARGET, mask=MASK) == pytest.approx(2 / 3)
    assert metrics.accuracy(tg.tensor([[0, 1], [0, 7]]), TARGET, mask=MASK) == pytest.approx(2 / 3)
    assert metrics.accuracy([1, 1], [1, 0]) == 0.5
    assert np.isnan(metrics.accuracy([1], [1], mask=[False]))


def test_f1_by_hand():
    found = metrics.f1_score([0, 1, 1, 2, 2], [0, 1, 2, 2, 0], classes=4)
    np.testing.assert_allclose(found, [2 / 3, 2 / 3, 1 / 2, 0])
    masked = metrics.f1_score([0, 1, 1, 2, 9], [0, 1, 2, 2, 9], classes=4, mask=[True] * 4 + [False])
    np.testing.assert_allclose(masked, [1, 2 / 3, 2 / 3, 0])


def test_shapes_must_agree():
    for call in (lambda: metrics.accuracy([1, 2], [1]), lambda: metrics.accuracy([1], [1], mask=[[True]])):
        with pytest.raises(tg.ShapeError, match="accuracy"):
            call()


def test_classes_must_be_there():
    with pytest.raises(IndexError, match=r"class 4 of the prediction(.|\n)*0 to 1"):
        metrics.f1_score([0, 4], [0, 1], classes=2)
    with pytest.raises(IndexError, match="class -1 of the target"):
        metrics.f1_score([0, 1], [0, -1], classes=2)


@pytest.mark.parametrize("kind", [int, float, np.uint8, bool])
def test_a_mask_of_zeros_and_ones_hides_as_booleans_do(kind):
    mask = np.array([0, 1, 1, 1], kind)
    assert metrics.accuracy([9, 1, 2, 3], [0, 1, 2, 3], mask=mask) == 1.0
    assert metrics.accuracy([9, 1, 2, 3], [0, 1, 2, 3], mask=tg.tensor(mask)) == 1.0
    assert metrics.f1_score([9, 1, 2, 3], [0, 1, 2, 3], classes=4, mask=mask).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("mask", [[0, 2, 1], [0.5, 1, 1], [-1, 0, 1], [float("nan"), 1, 1]])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(tg.DTypeError, match=r"mask\n  expected: booleans, or zeros and ones"):
        metrics.accuracy([0, 1, 2], [0, 1, 2], mask=mask)


@pytest.mark.parametrize("call", [metrics.accuracy, lambda p, t: metrics.f1_score(p, t, classes=3)])
def test_floats_are_no_classes(call):
    with pytest.raises(tg.DTypeError, match="classes of the prediction"):
        call([0.2, 0.9], [0, 1])
    with pytest.raises(tg.DTypeError, match="classes of the target"):
        call([0, 1], [0.0, 1.0])
    call([True, False], [True, True])
