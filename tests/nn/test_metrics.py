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
