"""Losses with a mask: what is hidden counts for nothing, whatever it is."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import testing

RNG = np.random.default_rng(0)
MASK = np.array([[True, True, False], [True, False, False]])
PROBABILITIES = RNG.dirichlet(np.ones(4), (2, 3))
LOSSES = {
    "cross_entropy": (tg.cross_entropy, RNG.normal(size=(2, 3, 4)), RNG.integers(0, 4, (2, 3))),
    "cross_entropy, smoothed": (
        lambda x, t, **o: tg.cross_entropy(x, t, label_smoothing=0.1, **o), RNG.normal(size=(2, 3, 4)),
        RNG.integers(0, 4, (2, 3)),
    ),
    "cross_entropy, probabilities": (tg.cross_entropy, RNG.normal(size=(2, 3, 4)), PROBABILITIES),
    "binary_cross_entropy": (tg.binary_cross_entropy, RNG.uniform(0.1, 0.9, (2, 3)), RNG.uniform(size=(2, 3))),
    "with logits": (tg.binary_cross_entropy_with_logits, RNG.normal(size=(2, 3, 2)), RNG.uniform(size=(2, 3, 2))),
    "mse": (tg.mse_loss, RNG.normal(size=(2, 3, 2)), RNG.normal(size=(2, 3, 2))),
    "huber": (tg.huber_loss, RNG.normal(size=(2, 3)), RNG.normal(size=(2, 3))),
}  # fmt: skip
every = pytest.mark.parametrize("name", LOSSES)


@every
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_only_what_is_shown_counts(name, reduction):
    loss, x, t = LOSSES[name]
    whole = loss(x, t, reduction="none").numpy()
    found = loss(x, t, reduction=reduction, mask=MASK).numpy()
    shown = np.where(MASK.reshape(MASK.shape + (1,) * (whole.ndim - 2)), whole, 0)
    expected = {"none": shown, "sum": shown.sum(), "mean": whole[MASK].mean()}[reduction]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@every
@pytest.mark.parametrize("filler", [np.nan, np.inf, -100])
def test_what_is_hidden_changes_neither_loss_nor_gradient(name, filler):
    loss, x, t = LOSSES[name]
    hidden = np.where(MASK[..., None] if x.ndim == 3 else MASK, x, filler)
    strange = np.where(MASK[..., None] if t.ndim == 3 else MASK, t, -100 if t.dtype.kind == "i" else filler)
    results = []
    for a, b in ((x, t), (hidden, strange.astype(t.dtype))):
        given = tg.tensor(a)
        value = loss(given, b, mask=MASK)
        results.append((value.numpy(), tg.grad(value, given).numpy()))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.any(results[1][1][~MASK])


@every
def test_gradients_and_compilation(name):
    loss, x, t = LOSSES[name]
    testing.check_grad(lambda x: loss(x, t, mask=MASK), x, kinks="skip")
    testing.laws.eager_equals_compiled(lambda x: loss(x, t, mask=MASK), x)


@every
def test_nothing_shown_is_zero(name):
    loss, x, t = LOSSES[name]
    given = tg.tensor(x)
    value = loss(given, t, mask=np.zeros((2, 3), bool))
    assert value.item() == 0
    assert not np.any(tg.grad(value, given).numpy())


def test_a_mask_over_fewer_axes_and_one_that_does_not_fit():
    _, x, t = LOSSES["mse"]
    testing.assert_close(tg.mse_loss(x, t, mask=[True, False]), tg.mse_loss(x[:1], t[:1]))
    for mask in (np.ones((2, 3)), np.ones((3, 2), bool), np.ones((2, 3, 2, 1), bool)):
        with pytest.raises(tg.ShapeError, match="mse_loss: mask"):
            tg.mse_loss(x, t, mask=mask)
    ignored = tg.cross_entropy(np.zeros((2, 2)), [0, 9], ignore_index=9, mask=[True, True])
    assert ignored.item() == pytest.approx(np.log(2))
