"""``tg.fit``: the same numbers as a loop written by hand, evaluations, early stopping, and errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.data import Batches, Prefetch, Windows

RNG = np.random.default_rng(0)
XS = [RNG.integers(0, 5, n) for n in RNG.integers(1, 7, 23)]
COLUMNS = {"xs": XS, "target": np.array([x[-1] % 2 for x in XS])}
TEXT = RNG.integers(0, 6, 200)


def classifier(seed=0, **options):
    return tg.nn.ManyToOne(3, 4, 2, vocabulary=5, cell="gru", generator=seed, **options)


def batches(seed=1, **options):
    return Batches(COLUMNS, **{"batch_size": 4, "lengths": "xs", "generator": seed, "buckets": 2, **options})


def fitted(model, source, **options):
    options = {"epochs": 2, "progress": False, **options}
    optimizer = options.pop("optimizer", None) or tg.optim.Adam(model, 0.02)
    return tg.fit(model, source, optimizer=optimizer, **options)


def assert_same(one, other, rtol=0.0):
    for (name, p), (_, q) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_it_does_what_a_loop_by_hand_does(compile, accumulate):
    model, by_hand = classifier(), classifier()
    history = fitted(model, batches(), compile=compile, accumulate=accumulate, clip=0.5)
    source, optimizer, losses = batches(), tg.optim.Adam(by_hand, 0.02), []
    for _ in range(2):
        group = list(source)
        for start in range(0, len(group), accumulate):
            part = group[start : start + accumulate]
            loss = sum(by_hand.loss(**batch) for batch in part) / len(part)
            optimizer.zero_grad()
            loss.backward()
            tg.optim.clip_grad_norm(by_hand, 0.5)
            optimizer.step()
            losses.append(loss.item())
    np.testing.assert_allclose(history.losses, losses, rtol=1e-4)
    assert_same(model, by_hand, rtol=1e-4)
    assert optimizer.step_count == len(history.losses)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
@pytest.mark.parametrize("compile", [True, False])
def test_a_state_is_carried_through_an_epoch(cell, compile):
    model = tg.nn.LanguageModel(6, 3, 4, cell=cell, generator=0)
    by_hand = tg.nn.LanguageModel(6, 3, 4, cell=cell, generator=0)
    windows = Windows(TEXT, batch_size=2, steps=7)
    history = fitted(model, windows, compile=compile)
    optimizer, losses = tg.optim.Adam(by_hand, 0.02), []
    for _ in range(2):
        state = by_hand.initial_state(2)
        for batch in windows:
            loss, state = by_hand.loss(**batch, state=tg.nn.state.mapped_state(tg.Tensor.detach, state))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    np.testing.assert_allclose(history.losses, losses, rtol=1e-4)
    assert_same(model, by_hand, rtol=1e-3)


@pytest.mark.parametrize("compile", [True, False])
def test_the_same_seeds_give_the_same_bits(compile):
    runs = []
    for _ in range(2):
        model = classifier(dropout=0.3)
        history = fitted(model, Prefetch(batches()), compile=compile, validation=batches(None), metrics=["accuracy"])
        runs.append((model, history))
    assert_same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    other = classifier(dropout=0.3)
    assert fitted(other, batches(2)).losses != runs[0][1].losses


def test_a_list_of_batches_and_a_loss_of_ones_own_will_do():
    w = tg.nn.Linear(2, 1, bias=False, generator=0)
    x = RNG.normal(size=(8, 2)).astype(np.float32)
    listed = [{"x": x, "y": x @ np.array([[1.0], [-2.0]], np.float32)}]
    history = tg.fit(
        w, listed, epochs=300, loss=lambda model, x, y: tg.mse_loss(model(x), y), progress=False,
        optimizer=tg.optim.Adam(w, tg.optim.cosine(0.1, 300)),
    )  # fmt: skip
    np.testing.assert_allclose(w.W.numpy().ravel(), [1, -2], atol=1e-2)
    assert history.rates == [tg.optim.cosine(0.1, 300)(k) for k in range(300)]


def test_shapes_are_recorded_once_each(monkeypatch):
    from tinygrad_rnn.compile import function

    recorded = []
    original = function.capture
    monkeypatch.setattr(function, "capture", lambda *a: recorded.append(1) or original(*a))
    fitted(classifier(), batches(buckets=3), epochs=4)
    assert len(recorded) <= 4, "three buckets, and a last batch that is not full"


# Evaluations ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compile", [True, False])
def test_evaluations_are_those_of_the_whole_set(compile):
    model = classifier(dropout=0.5)
    found = tg.train.evaluate(
        model, batches(None), metrics=["accuracy", "f1", "perplexity", "bits"], compile=compile
    )
    assert model.training
    model.eval()
    padded, lengths = tg.nn.pad_sequences(XS)
    loss = model.loss(padded, COLUMNS["target"], lengths=lengths).item()
    predicted = model.predict(padded, lengths=lengths).numpy()
    true = COLUMNS["target"]
    scores = []
    for c in set(true) | set(predicted):
        hits = ((predicted == c) & (true == c)).sum()
        scores.append(2 * hits / ((predicted == c).sum() + (true == c).sum()))
    expected = {"loss": loss, "accuracy": (predicted == true).mean(), "f1": np.mean(scores),
                "perplexity": math.exp(loss), "bits": loss / math.log(2)}  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("crf", [False, True])
def test_tags_behind_the_ends_do_not_count(crf):
    model = tg.nn.ManyToMany(3, 4, 3, vocabulary=5, crf=crf, generator=0)
    columns = {"xs": XS, "target": [x % 3 for x in XS]}
    found = tg.train.evaluate(model, Batches(columns, batch_size=6, lengths="xs"), metrics=["accuracy"])
    hits = [(model.predict(x[None]).numpy()[0] == x % 3) for x in XS]
    assert found["accuracy"] == pytest.approx(np.concatenate(hits).mean())
    if not crf:
        losses = [tg.cross_entropy(model(x[None]), x[None] % 3, reduction="sum").item() for x in XS]
        assert found["loss"] == pytest.approx(sum(losses) / sum(map(len, XS)), rel=1e-5)


def test_a_metric_of_ones_own_sees_model_and_batches():
    seen = []

    def count(evaluation):
        seen.append(evaluation.model.training)
        return len(list(evaluation.batches))

    model = classifier()
    history = fitted(model, batches(), validation=batches(None), metrics={"count": count}, epochs=1)
    assert history.evaluations[0]["count"] == len(batches(None))
    assert seen == [False]
    assert model.training


def test_evaluations_come_every_so_often_and_at_the_end():
    assert [r["update"] for r in fitted(classifier(), batches(), epochs=2).evaluations] == [6, 12]
    assert [r["update"] for r in fitted(classifier(), batches(), epochs=2, every=5).evaluations] == [5, 10, 12]
    rows = fitted(classifier(), batches(), epochs=2, every=4).evaluations
    assert [(r["update"], r["epoch"]) for r in rows] == [(4, 0), (8, 1), (12, 2)]


def scripted(values):
    """A metric that goes through given values."""
    left = iter(values)
    return {"score": lambda evaluation: next(left)}


@pytest.mark.parametrize(
    ("mode", "values", "stops_after", "best"),
    [
        ("min", [3.0, 2.0, 2.0, 2.5, 1.0], 4, 1),
        ("max", [3.0, 4.0, float("nan"), 4.0, 9.0], 4, 1),
        (None, [3.0, 2.0, 1.0, 0.5, 0.25], 5, 4),
    ],
)
def test_it_stops_early_and_keeps_the_best(mode, values, stops_after, best, tmp_path):
    for folder in (None, tmp_path / "run"):
        model, kept = classifier(), []
        metric = scripted(values)["score"]
        history = fitted(
            model, batches(), epochs=5, validation=batches(None), monitor="score", mode=mode, patience=2,
            keep_best=True,
            metrics={"score": lambda e, metric=metric, kept=kept: kept.append(e.model.state_dict()) or metric(e)},
            checkpoint=folder,
        )  # fmt: skip
        assert len(history.evaluations) == stops_after
        assert history.best == best
        assert history.stopped == ("patience" if stops_after < 5 else "epochs")
        for name, array in kept[best].items():
            np.testing.assert_array_equal(model.state_dict()[name], array)


def test_a_history_is_a_table_and_a_picture(tmp_path):
    history = fitted(classifier(), batches(), validation=batches(None), metrics=["accuracy"])
    lines = str(history).splitlines()
    assert lines[0].split() == ["update", "epoch", "train_loss", "loss", "accuracy"]
    assert len(lines) == 3
    assert sum("best" in line for line in lines) == 1
    figure = history.plot(tmp_path / "history.svg")
    assert (tmp_path / "history.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    shown = {line.get_label(): line.get_ydata() for axis in figure.axes for line in axis.lines}
    np.testing.assert_allclose(shown["validation loss"], [row["loss"] for row in history.evaluations])
    np.testing.assert_allclose(shown["accuracy"], [row["accuracy"] for row in history.evaluations])


def test_the_running_mean_of_a_history():
    from tinygrad_rnn.train.history import running_mean

    np.testing.assert_allclose(running_mean([1.0, 2.0, 3.0, 6.0], 3), [1, 1.5, 2, 11 / 3])


def test_the_bar_shows_loss_and_held_out_numbers(capsys):
    fitted(classifier(), batches(), validation=batches(None), metrics=["accuracy"], progress=True)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert "12/12" in shown
    assert "held out accuracy" in shown


# Mistakes -------------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    model = classifier()
    fitted(model, batches(), checkpoint=tmp_path)
    saved = (tmp_path / "last.safetensors").read_bytes()
    nan = lambda model, **batch: model.loss(**batch) * float("nan")
    with pytest.raises(tg.AnomalyError, match="the loss of update 13 is nan"):
        fitted(classifier(), batches(), epochs=3, loss=nan, checkpoint=tmp_path, resume=True)
    assert (tmp_path / "last.safetensors").read_bytes() == saved


MISTAKES = {
    "epochs": ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
    "accumulate": ({"accumulate": 0}, "accumulate must be"),
    "every": ({"every": 1.5}, "every must be an integer"),
    "mode": ({"mode": "up"}, "mode must be 'min' or 'max'"),
    "clip": ({"clip": -1.0}, "clip must be positive"),
    "metric": ({"validation": [{}], "metrics": ["speed"]}, "'speed' is not known"),
    "monitor": ({"validation": [{**COLUMNS, "xs": np.zeros((23, 2), int)}], "monitor": "speed"}, "one of .'loss'."),
    "nothing held out": ({"keep_best": True}, "look at a validation set"),
    "nothing to evaluate on": ({"validation": []}, "there are no batches"),
    "loss": ({"loss": lambda model, **batch: model(batch["xs"])}, "a scalar tensor, or"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained(name):
    options, message = MISTAKES[name]
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        fitted(classifier(), batches(), **options)


def test_what_cannot_be_trained_is_explained():
    with pytest.raises(TypeError, match="batches are a generator"):
        fitted(classifier(), (b for b in batches()))
    with pytest.raises(ValueError, match="there are no batches"):
        fitted(classifier(), [])
    with pytest.raises(TypeError, match="Linear has no method loss"):
        fitted(tg.nn.Linear(1, 1), batches())
    with pytest.raises(TypeError, match="no method initial_state"):
        fitted(classifier(), Windows(TEXT, batch_size=2, steps=7))

    class Silent(tg.nn.Linear):
        def loss(self, xs, target, lengths):
            return tg.mse_loss(self(xs[:, :1].astype(np.float32))[:, 0], target.astype(np.float32))

    with pytest.raises(TypeError, match="Silent has no method predict"):
        tg.train.evaluate(Silent(1, 1), batches(None), metrics=["accuracy"])


def test_a_batch_without_targets_has_no_accuracy():
    linear = tg.nn.Linear(1, 1)
    listed = [{"x": np.ones((2, 1), np.float32)}]
    with pytest.raises(KeyError, match="a batch with a 'target'"):
        tg.train.evaluate(linear, listed, loss=lambda model, x: model(x).sum(), metrics=["accuracy"])


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_a_model_in_eval_mode_is_trained_in_train_mode_and_in_eval_mode_again(compile, fails):
    model = tg.nn.Sequential(tg.nn.Dropout(0.5, generator=0), tg.nn.Linear(4, 1, generator=0)).eval()
    seen = []

    def loss(model, x):
        seen.append({m.training for m in model.modules()})
        return model(x).sum() * (np.nan if fails else 1)

    fit = lambda: tg.fit(model, [{"x": np.ones((2, 4), np.float32)}], loss=loss, compile=compile, progress=False)
    if fails:
        with pytest.raises(tg.AnomalyError):
            fit()
    else:
        fit()
    assert seen[-1] == {True}
    assert {m.training for m in model.modules()} == {False}


def test_parts_in_eval_mode_of_a_model_that_trains_are_left_so():
    model = tg.nn.Sequential(tg.nn.Dropout(0.5, generator=0).eval(), tg.nn.Linear(4, 1, generator=0))
    seen = []

    def loss(model, x):
        seen.append([m.training for m in model.modules()])
        return model(x).sum()

    tg.fit(model, [{"x": np.ones((2, 4), np.float32)}], loss=loss, compile=False, progress=False)
    assert seen == [[m.training for m in model.modules()]] == [[True, False, True]]
