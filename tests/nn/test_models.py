"""The ready models: shapes, padding, learning, and what they write."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, testing

TOKENS, LENGTHS = np.array([[1, 2, 3], [4, 0, 0], [2, 2, 0]]), np.array([3, 1, 2])
F64 = {"generator": 0, "dtype": np.float64}


def losses():
    """Of each model with padding: a function of what stands behind the ends."""
    classes, tags = np.array([0, 1, 1]), np.array([[0, 1, 2], [2, 0, 0], [1, 1, 0]])
    there = np.arange(3) < LENGTHS[:, None]
    one = nn.ManyToOne(4, 3, 2, vocabulary=5, bidirectional=True, **F64)
    mean = nn.ManyToOne(4, 3, 2, vocabulary=5, pooling="mean", cell="gru", **F64)
    largest = nn.ManyToOne(4, 3, 2, vocabulary=5, pooling="max", cell="rnn", **F64)
    tagger = nn.ManyToMany(4, 3, 3, vocabulary=5, bidirectional=True, **F64)
    crf = nn.ManyToMany(4, 3, 3, vocabulary=5, crf=True, **F64)
    writer = nn.OneToMany(2, 5, 4, 3, start=0, end=1, **F64)
    language = nn.LanguageModel(5, 4, 3, tied=True, **F64)
    x = np.random.default_rng(0).normal(size=(3, 2))
    padded = lambda a, filler: np.where(there, a, filler)
    return {
        "many to one": (one, lambda f: one.loss(padded(TOKENS, f), classes, lengths=LENGTHS)),
        "many to one, mean": (mean, lambda f: mean.loss(padded(TOKENS, f), classes, lengths=LENGTHS)),
        "many to one, max": (largest, lambda f: largest.loss(padded(TOKENS, f), classes, lengths=LENGTHS)),
        "tagger": (tagger, lambda f: tagger.loss(padded(TOKENS, f), padded(tags, f), lengths=LENGTHS)),
        "tagger with CRF": (crf, lambda f: crf.loss(padded(TOKENS, f), padded(tags, f), lengths=LENGTHS)),
        "one to many": (writer, lambda f: writer.loss(x, padded(TOKENS, f), lengths=LENGTHS)),
        "language model": (
            language, lambda f: language.loss(padded(TOKENS, f), padded(TOKENS, f), lengths=LENGTHS)[0]
        ),
    }  # fmt: skip


NAMES = list(losses())


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_neither_loss_nor_gradient(name):
    model, loss = losses()[name]
    found = []
    for filler in (0, 3, -100):
        model.zero_grad()
        value = loss(filler)
        value.backward()
        found.append([value.numpy(), *(p.grad.numpy() for p in model.parameters() if p.grad is not None)])
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_compilation(name):
    model, loss = losses()[name]
    testing.check_grad(lambda s: loss(0) * s, 1.0, parameters=model, order=1, kinks="skip")
    compiled = tg.compile(lambda: loss(0))
    testing.assert_close(compiled(), loss(0), rtol=1e-12)
    assert "digraph" in tg.viz.to_dot(loss(0))


def trained(model, loss, steps=60, lr=0.05):
    optimizer = optim.Adam(list(model.parameters()), lr=lr)

    @tg.compile
    def step():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value

    return [step().item() for _ in range(steps)]


def test_the_smallest_review_task():
    """movie was good, movie was bad, movie was not good, movie was not bad."""
    words = {w: k for k, w in enumerate(["movie", "was", "good", "bad", "not"])}
    texts = ["movie was good", "movie was bad", "movie was not good", "movie was not bad"]
    tokens, lengths = nn.pad_sequences([[words[w] for w in text.split()] for text in texts])
    model = nn.ManyToOne(5, 8, 2, vocabulary=5, cell="gru", generator=0)
    trained(model, lambda: model.loss(tokens, [1, 0, 0, 1], lengths=lengths), 150)
    assert model.predict(tokens, lengths=lengths).tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("crf", [False, True])
def test_a_tagger_learns(crf):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 4, (8, 5))
    tags = (tokens + np.roll(tokens, 1, axis=1) * (np.arange(5) > 0)) % 3  # depends on the token before
    lengths = rng.integers(1, 6, 8)
    model = nn.ManyToMany(6, 16, 3, vocabulary=4, cell="gru", crf=crf, generator=0)
    trained(model, lambda: model.loss(tokens, tags, lengths=lengths), 120)
    found = model.predict(tokens, lengths=lengths).numpy()
    there = np.arange(5) < lengths[:, None]
    assert (found[there] == tags[there]).mean() > 0.97
    assert (found[~there] == -1).all()


def test_one_to_many_spells():
    names = [[2, 3, 1], [4, 1], [3, 3, 2, 1]]
    targets, lengths = nn.pad_sequences(names, value=1)
    x = np.eye(3, dtype=np.float32)
    model = nn.OneToMany(3, 5, 6, 16, start=0, end=1, generator=0)
    trained(model, lambda: model.loss(x, targets, lengths=lengths), 120)
    written = model.generate(x, max_steps=6)
    assert [t[:n].tolist() for t, n in zip(written.tokens, written.lengths.tolist(), strict=True)] == names
    assert [h[0].tokens for h in model.generate(x, max_steps=6, beam=3)] == names or [
        list(h[0].tokens) for h in model.generate(x, max_steps=6, beam=3)
    ] == names


def test_a_language_model_goes_on():
    text = np.tile([1, 2, 3, 4], 6)[None]
    model = nn.LanguageModel(5, 6, 16, cell="gru", tied=True, generator=0)
    trained(model, lambda: model.loss(text[:, :-1], text[:, 1:])[0], 120)
    rng = np.random.default_rng(0)
    written = model.generate([[1, 2], [3, 4]], max_steps=5, end=0, temperature=0, generator=rng)
    assert written.tokens.tolist() == [[3, 4, 1, 2, 3], [1, 2, 3, 4, 1]]
    logits, state = model(text[:, :7])
    testing.assert_close(model(text[:, 7:], state)[0], model(text)[0][:, 7:], rtol=1e-4, atol=1e-5)
    assert logits.shape == (1, 7, 5)


def test_one_to_one_learns_exclusive_or():
    x, y = np.float32([[0, 0], [0, 1], [1, 0], [1, 1]]), [0, 1, 1, 0]
    model = nn.OneToOne(2, 2, hidden=[8], generator=0)
    trained(model, lambda: tg.cross_entropy(model(x), y), 200)
    assert tg.argmax(model(x), -1).tolist() == y


def test_floats_and_dropout_and_layers():
    model = nn.ManyToOne(2, 3, 4, cell="rnn", num_layers=2, dropout=0.5, generator=0)
    x = tg.ones((2, 5, 2))
    assert not np.array_equal(model(x).numpy(), model(x).numpy())
    model.eval()
    np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())
    assert "digraph" in tg.viz.to_dot(model(x))


def paths(loss):
    return {"/".join(t.scope) for t in tg.graph(loss)}


def test_parts_of_models_have_scopes():
    """What a cell does, and what a CRF does, is recorded inside the model."""
    tagger = nn.ManyToMany(2, 3, 2, vocabulary=5, crf=True, bidirectional=True)
    found = paths(tagger.loss([[1, 2]], [[1, 0]], lengths=[1]))
    assert {"manytomany/recurrent/layer0/forward", "manytomany/recurrent/layer0/backward"} <= found
    assert {"manytomany/embedding", "manytomany/readout", "manytomany/crf"} <= found
    assert "crf" not in found
    language = nn.LanguageModel(5, 3, 4, num_layers=2)
    assert {f"languagemodel/recurrent/layer{k}" for k in range(2)} <= paths(language.loss([[1, 2]], [[1, 0]])[0])
    assert "recurrent.layers.1.W_h" in language.state_dict()
    writer = nn.OneToMany(2, 5, 4, 3, start=0, end=1)
    assert {"onetomany/begin", "onetomany/cell", "onetomany/readout"} <= paths(writer.loss(np.ones((1, 2)), [[1, 0]]))
    assert {"onetoone/layer0", "onetoone/layer1"} <= paths(nn.OneToOne(2, 5)(tg.ones((1, 2))))


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda m: m([1, 2]), tg.ShapeError, r"ManyToOne(.|\n)*tokens \(batch, time\)"),
    (lambda m: m(np.ones((2, 3, 4))), tg.ShapeError, "tokens"),
    (lambda m: m(np.ones((2, 3))), tg.DTypeError, "which are integers(.|\n)*float64"),
    (lambda m: m([[1, 2]], lengths=[1], mask=[[True, True]]), TypeError, "give one of them"),
    (lambda m: m([[1, 2]], mask=[[True]]), tg.ShapeError, r"booleans of shape \(1, 2\)"),
    (lambda m: m([[1, 2]], lengths=[3]), ValueError, "length 3 of sequence 0"),
    (lambda m: nn.ManyToMany(2, 3, 2)([[1, 2]]), tg.ShapeError, r"\(batch, time, features\).*vocabulary="),
    (lambda m: nn.LanguageModel(5, 3, 4)([1, 2]), tg.ShapeError, "LanguageModel"),
])  # fmt: skip
def test_sequences_that_do_not_fit_are_refused(call, error, text):
    with pytest.raises(error, match=text):
        call(nn.ManyToOne(2, 3, 2, vocabulary=5))


@pytest.mark.parametrize(("call", "text"), [
    (lambda m: m(tg.ones(2), [[1, 2]]), r"vectors(.|\n)*\(batch, 2\)"),
    (lambda m: m(tg.ones((1, 3)), [[1, 2]]), r"vectors(.|\n)*\(batch, 2\)"),
    (lambda m: m(tg.ones((1, 2)), [[1, 2], [3, 4]]), r"\(1, time\), as many"),
    (lambda m: m.loss(tg.ones((1, 2)), np.zeros((1, 0), int)), "at least one step"),
    (lambda m: m.loss(tg.ones((1, 2)), [1, 2], lengths=[1]), r"tokens \(batch, time\)"),
    (lambda m: nn.OneToMany(2, 5, 4, 3, start=5, end=1), "start must be a token of the vocabulary, 0 to 4, got 5"),
    (lambda m: nn.OneToMany(2, 5, 4, 3, start=0, end=-1), "end must be"),
])  # fmt: skip
def test_vectors_and_targets_that_do_not_fit_are_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call(nn.OneToMany(2, 5, 4, 3, start=0, end=1))


def test_sequences_without_steps_have_finite_losses_and_gradients():
    for pooling in ("last", "mean", "max"):
        model = nn.ManyToOne(2, 3, 2, vocabulary=5, pooling=pooling, bidirectional=True)
        loss = model.loss([[9, 9], [1, 2]], [0, 1], lengths=[0, 2])
        loss.backward()
        assert np.isfinite(loss.item())
        assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters())


@pytest.mark.parametrize(("call", "text"), [
    (lambda: nn.ManyToOne(2, 3, 2, cell="lstn"), "'lstn'"), (lambda: nn.ManyToOne(2, 3, 2, pooling="first"), "'first'"),
    (lambda: nn.OneToOne(2, 3, activation="than"), "'than'"),
    (lambda: nn.OneToMany(2, 5, 4, 3, start=0, end=1)(np.ones((1, 2)), [1, 2]), "OneToMany: target"),
    (lambda: nn.LanguageModel(5, 4, 3).generate([1], max_steps=1, end=0, generator=np.random.default_rng(0)), "prompt"),
])  # fmt: skip
def test_what_makes_no_sense(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_a_language_model_writes_without_an_end_token():
    model = nn.LanguageModel(5, 3, 4, generator=0)
    for prompt in ([[1, 2]], [[3], [4]]):
        written = model.generate(prompt, max_steps=6, generator=np.random.default_rng(0))
        assert written.tokens.shape == (len(prompt), 6)
        assert written.lengths.tolist() == [6] * len(prompt)
