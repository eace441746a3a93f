"""Sentiment of film reviews: RNN against LSTM against GRU, in one direction and in both, against a bag of words.

    python examples/sentiment.py

Sentences of film reviews that twenty people have rated from -4 to +4; those between -0.5 and 0.5 are left out. What is
learned is how positive each is, 1 / (1 + exp(-rating)); what is tested is on which side it lies. The networks read
words and their first five letters, so that rare words are like others of their family. The baseline is logistic
regression on which words are there, trained on the same sentences and ratings.
"""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, majority, options, parsed, percent, report, table

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import Batches, Vocabulary, split

Part = dict[str, list]


def read(limit: int | None = None) -> Part:
    """Words of each review, its mean rating, and whether that is positive."""
    path = DATA / "review_snippets" / "movieReviewSnippets.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [(float(rating), text) for _, rating, text in list(csv.reader(file, delimiter="\t", quoting=3))[1:]]
    rows = [row for row in rows if abs(row[0]) >= 0.5]
    rows = rows if limit is None else rows[:: len(rows) // limit]
    words = [re.findall(r"[a-z]+|n't|'s|[!?]", re.sub(r"n't\b", " n't", text.lower())) for _, text in rows]
    ratings = [rating for rating, _ in rows]
    return {"words": words, "rating": ratings, "target": [int(rating > 0) for rating in ratings]}


def beginnings(words: list[str]) -> list[str]:
    return [word[:5] for word in words]


class Judge(nn.Module):
    """What both kinds of models share: one logit for each review, its loss and the side on which it lies."""

    def loss(self, rating, target, **review):
        return tg.binary_cross_entropy_with_logits(self(**review), tg.sigmoid(rating))

    def predict(self, **review):
        return (self(**review) > 0).astype(np.int64)


class BagOfWords(Judge):
    """Logistic regression on which words are there."""

    def __init__(self, words: int) -> None:
        self.weights, self.bias = nn.init.zeros((words, 1)), nn.init.zeros(1)

    def forward(self, there):
        return (there @ self.weights + self.bias)[:, 0]

    def predict(self, there):
        return super().predict(there=there)


class Reader(Judge):
    """Words and their beginnings, read by recurrent layers; the mean of their outputs is judged."""

    def __init__(self, words: int, stems: int, cell: str, both: bool, generator: np.random.Generator) -> None:
        self.words, self.stems = (nn.Embedding(count, 64, generator=generator) for count in (words, stems))
        for embedding in (self.words, self.stems):
            embedding.E.assign(0.1 * embedding.E.numpy())
        self.layers = nn.ManyToOne(
            64, 64, 1, cell=cell, bidirectional=both, pooling="mean", dropout=0.5, generator=generator
        )

    def embedded(self, words, stems):
        return self.words(words) + self.stems(stems)

    def forward(self, words, stems, lengths):
        return self.layers(self.embedded(words, stems), lengths=lengths)[:, 0]

    def predict(self, words, stems, lengths):
        return super().predict(words=words, stems=stems, lengths=lengths)


class Reviews:
    """The parts of the data, as numbers."""

    def __init__(self, data: Part, seed: int) -> None:
        self.parts = split(data, (0.8, 0.1, 0.1), generator=seed)
        rare = {"specials": ["<unknown>"], "unknown": "<unknown>", "min_count": 2}
        self.words = Vocabulary.of(self.parts[0]["words"], **rare)
        self.stems = Vocabulary.of((beginnings(words) for words in self.parts[0]["words"]), **rare)

    def judged(self, part: Part) -> dict[str, Any]:
        return {"rating": np.array(part["rating"], np.float32), "target": part["target"]}

    def bags(self, part: Part) -> dict[str, Any]:
        there = np.zeros((len(part["words"]), len(self.words)), np.float32)
        for row, words in zip(there, part["words"], strict=True):
            row[self.words.encode(words)] = 1
        return {"there": there, **self.judged(part)}

    def sequences(self, part: Part) -> dict[str, Any]:
        words = [self.words.encode(review) for review in part["words"]]
        stems = [self.stems.encode(beginnings(review)) for review in part["words"]]
        return {"words": words, "stems": stems, **self.judged(part)}


def trained(model: Judge, parts: list[dict[str, Any]], lr: float, decay: float, epochs: int, **options: Any):
    """Train a model; it is left as it was after the epoch that was best on the validation part."""
    lengths = "words" if "words" in parts[0] else None
    batches = Batches(parts[0], batch_size=32, lengths=lengths, buckets=4, **options)
    optimizer = optim.AdamW(model, optim.cosine(lr, epochs * len(batches)), weight_decay=decay)
    return tg.fit(
        model, batches, epochs=epochs, optimizer=optimizer, clip=1.0, metrics=["accuracy"], monitor="accuracy",
        validation=Batches(parts[1], batch_size=100, lengths=lengths, buckets=3), keep_best=True,
    )  # fmt: skip


def logits(model: Reader, columns: dict[str, Any]) -> np.ndarray:
    """How positive each review is."""
    found = np.zeros(len(columns["words"]))
    batches = Batches({name: columns[name] for name in ("words", "stems")}, batch_size=100, lengths="words", buckets=3)
    model.eval()
    with tg.no_grad():
        for batch in batches:
            found[batches.rows] = model(**batch).numpy()
    return found


def plot(model: Reader, data: Reviews, reviews: list[str], path: Path) -> None:
    """How positive the outputs at the words of some reviews are, and the reviews as a whole."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.1 * len(reviews)), layout="constrained")
    for axis, review in zip(figure.subplots(len(reviews), 1), reviews):
        words = review.split()
        xs = model.embedded(data.words.encode(words)[None], data.stems.encode(beginnings(words))[None])
        p = tg.sigmoid(model.layers.readout(model.layers.read(xs, None).outputs)).numpy()[0, :, 0]
        whole = tg.sigmoid(model.layers(xs)).numpy()[0, 0]
        axis.imshow(p[None], cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
        axis.set(xticks=range(len(p)), xticklabels=words, yticks=[0], yticklabels=[f"{whole:.2f}"])
    figure.savefig(path)


def main() -> None:
    args = parsed(options(__doc__, "sentiment"))
    data, epochs = Reviews(read(400 if args.quick else None), args.seed), 1 if args.quick else 5
    target = np.array(data.parts[2]["target"])
    bags, sequences = ([make(part) for part in data.parts] for make in (data.bags, data.sequences))
    bag = BagOfWords(len(data.words))
    trained(bag, bags, 5e-3, 0.05, 2 * epochs, generator=args.seed)
    base = tg.train.evaluate(bag, Batches(bags[2], batch_size=500), metrics=["accuracy"])["accuracy"]
    rows, runs = [], []
    for cell in ("rnn", "lstm", "gru"):
        for both in (False, True):
            generator = np.random.default_rng(args.seed)
            model = Reader(len(data.words), len(data.stems), cell, both, generator)
            history = trained(model, sequences, 2e-3, 0.01, epochs, generator=generator)
            said = logits(model, sequences[2])
            accuracy = float(((said > 0) == target).mean())
            runs.append((history.best_evaluation["accuracy"], accuracy, said, model, history))
        rows.append([cell, *(percent(run[1]) for run in runs[-2:])])
    print(table(["", "one direction", "both"], rows))
    _, accuracy, _, model, history = max(runs, key=lambda run: run[0])
    together = np.mean([said for _, _, said, _, _ in runs], 0)
    report(
        data=f"{len(data.parts[0]['words']):,} sentences to learn from, {len(target):,} others to test on",
        model=f"up to {runs[-1][3].parameter_count:,} parameters, most of them of {len(data.words):,} words",
        baseline=f"bag of words {percent(base)}, always the same {percent(majority(data.parts[0]['target'], target))}",
        result=f"{percent(accuracy)} by the network that is best on the validation set, "
        f"{percent(((together > 0) == target).mean())} by the mean of all six",
        uncertainty=f"one standard error is {100 * np.sqrt(accuracy * (1 - accuracy) / len(target)):.1f} points",
    )
    history.plot(args.out / "history.svg")
    shown = ["the movie was good", "the movie was not good", "a dull and tedious film", "not a dull film at all"]
    plot(model, data, shown, args.out / "words.svg")
    print(f"written to {args.out}: history.svg, words.svg")


if __name__ == "__main__":
    main()
