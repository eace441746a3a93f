"""``tg.fit`` names the parameters that its optimiser holds and the loss does not reach."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.errors import DisconnectedError

RNG = np.random.default_rng(0)
BATCHES = [
    {"xs": RNG.normal(size=(3, steps, 1)).astype(np.float32), "target": np.array([0, 1, 0])} for steps in (4, 3, 4, 2)
]
WAYS = [{"compile": c, "accumulate": a} for c in (True, False) for a in (1, 3)]


def renamed() -> tg.nn.ManyToOne:
    """As in a program written before ``layers`` became ``recurrent``."""
    model = tg.nn.ManyToOne(1, 4, 2, cell="rnn", generator=0)
    model.layers = tg.nn.Recurrent(tg.nn.LSTMCell(1, 4, generator=0))
    return model


def fitted(model, batches=BATCHES, **options):
    return tg.fit(model, batches, epochs=3, progress=False, **options)


@pytest.mark.parametrize("way", WAYS)
def test_they_are_named_once(way):
    with pytest.warns(RuntimeWarning, match="fit: the loss does not reach") as shown:
        fitted(renamed(), **way)
    (warning,) = shown
    told = "'layers.layers.0.W_i', 'layers.layers.0.W_h', 'layers.layers.0.b', which an optimiser holds"
    assert told in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.parametrize("way", WAYS)
def test_strict_refuses_the_first_update(way):
    model = renamed()
    before = model.state_dict()
    optimizer = tg.optim.SGD(model, 0.1)
    with pytest.raises(DisconnectedError, match=r"(?s)'layers\.layers\.0\.b'.*hint: +look for a module"):
        fitted(model, optimizer=optimizer, strict=True, **way)
    assert optimizer.step_count == 0
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@pytest.mark.parametrize("way", WAYS)
def test_the_warning_comes_before_anything_is_changed(way):
    model = renamed()
    before = model.state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            fitted(model, **way)
    assert all((value == before[name]).all() for name, value in model.state_dict().items())


@pytest.mark.parametrize("way", WAYS)
def test_nobody_is_named_whom_the_optimiser_does_not_hold_or_who_is_frozen(way):
    model = renamed()
    used = [p for name, p in model.named_parameters() if not name.startswith("layers")]
    fitted(model, optimizer=tg.optim.Adam(used), strict=True, **way)

    model = renamed()
    optimizer = tg.optim.Adam(model)
    for p in model.layers.parameters():
        p.requires_grad = False
    fitted(model, optimizer=optimizer, strict=True, **way)


def test_of_many_only_some_are_named():
    model = tg.nn.ManyToOne(1, 4, 2, cell="rnn", generator=0)
    model.unused = [tg.parameter(1.0) for _ in range(25)]
    with pytest.warns(RuntimeWarning, match=r"'unused\.8', 'unused\.9' and 15 more, which"):
        fitted(model)


# What is used at some updates only ------------------------------------------------------------------------------------


class LayerDropout(tg.nn.Module):
    """A layer that is passed over by chance (stochastic depth), and one that is never used."""

    def __init__(self, unused: bool) -> None:
        self.rng = np.random.default_rng(1)
        self.first, self.second = tg.nn.Linear(1, 4, generator=0), tg.nn.Linear(4, 4, generator=1)
        self.readout = tg.nn.Linear(4, 2, generator=2)
        if unused:
            self.forgotten = tg.nn.Linear(4, 4, generator=3)
        self.used: list[bool] = []

    def loss(self, xs, target):
        x = self.first(xs[:, 0])
        self.used.append(bool(self.rng.random() < 0.5))
        return tg.cross_entropy(self.readout(self.second(x) if self.used[-1] else x), target)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_layer_that_is_left_out_by_chance_is_no_false_alarm(accumulate):
    model = LayerDropout(unused=False)
    fitted(model, compile=False, accumulate=accumulate, strict=True)
    assert not any(model.used[:accumulate]), "or the first update would have reached all"
    assert any(model.used[: len(BATCHES)])


def test_beside_such_a_layer_one_that_is_never_used_is_named_after_an_epoch():
    with pytest.warns(RuntimeWarning, match=r"reach 'forgotten\.W', 'forgotten\.b', which") as shown:
        fitted(LayerDropout(unused=True), compile=False)
    assert len(shown) == 1
    model = LayerDropout(unused=True)
    with pytest.raises(DisconnectedError, match="reach 'forgotten"):
        fitted(model, compile=False, strict=True)
    assert len(model.used) == len(BATCHES)


@pytest.mark.parametrize("way", WAYS)
def test_a_layer_whose_part_a_recorded_mask_takes_away_is_reached(way):
    class Masked(LayerDropout):
        def loss(self, xs, target):
            x = self.first(xs[:, 0])
            kept = tg.random.bernoulli((), 0.5, generator=self.rng).astype(np.float32)
            return tg.cross_entropy(self.readout(x + kept * self.second(x)), target)

    fitted(Masked(unused=False), strict=True, **way)


@pytest.mark.parametrize("way", WAYS)
def test_rows_of_an_embedding_that_no_batch_needs_are_no_parameters(way):
    model = tg.nn.ManyToOne(3, 4, 2, vocabulary=50, generator=0, dropout=0.5)
    batches = [{"xs": np.zeros((2, 3), np.int64), "target": np.array([0, 1])}] * 3
    fitted(model, batches, strict=True, **way)


def test_what_later_shapes_do_not_need_is_trained_all_the_same():
    class Deeper(LayerDropout):
        def loss(self, xs, target):
            x = self.first(xs[:, 0])
            return tg.cross_entropy(self.readout(self.second(x) if xs.shape[1] > 3 else x), target)

    fitted(Deeper(unused=False), strict=True)
