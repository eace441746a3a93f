"""Sentiment of film reviews: RNN against LSTM against GRU, in one direction and in both, against a bag of words.

    python examples/sentiment.py

Sentences of film reviews that twenty people have rated from -4 to +4; those between -0.5 and 0.5 are left out. The
baseline is logistic regression on which words are there, trained on the same sentences.
"""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path

import numpy as np
from common import DATA, majority, options, parsed, percent, report, table

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import Batches, Vocabulary, split


def read(limit: int | None = None) -> dict[str, list]:
    """Words of each review, and whether it is positive."""
    path = DATA / "review_snippets" / "movieReviewSnippets.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [(float(rating), text) for _, rating, text in list(csv.reader(file, delimiter="\t", quoting=3))[1:]]
    rows = [row for row in rows if abs(row[0]) >= 0.5]
    rows = rows if limit is None else rows[:: len(rows) // limit]
    words = [re.findall(r"[a-z]+|n't|'s|[!?]", re.sub(r"n't\b", " n't", text.lower())) for _, text in rows]
    return {"words": words, "target": [int(rating > 0) for rating, _ in rows]}


class BagOfWords(nn.Module):
    """Logistic regression on which words are there."""

    def __init__(self, words: int) -> None:
        self.weights, self.bias = nn.init.zeros((words, 1)), nn.init.zeros(1)

    def forward(self, there):
        return (there @ self.weights + self.bias)[:, 0]

    def loss(self, there, target):
        return tg.binary_cross_entropy_with_logits(self(there), target)

    def predict(self, there):
        return (self(there) > 0).astype(np.int64)


def there(words: Vocabulary, reviews: list[list[str]]) -> np.ndarray:
    found = np.zeros((len(reviews), len(words)), np.float32)
    for row, review in zip(found, reviews, strict=True):
        row[words.encode(review)] = 1
    return found


def bag_of_words(words: Vocabulary, parts: list[dict[str, list]], seed: int) -> float:
    """Accuracy on the test part of the epoch that was best on the validation part."""
    model = BagOfWords(len(words))
    train, dev, test = (
        {"there": there(words, part["words"]), "target": np.array(part["target"], np.float32)} for part in parts
    )
    tg.fit(
        model, Batches(train, batch_size=64, generator=seed), epochs=10, validation=Batches(dev, batch_size=500),
        optimizer=optim.AdamW(model, 3e-3, weight_decay=0.05), metrics=["accuracy"], keep_best=True, progress=False,
    )  # fmt: skip
    return tg.train.evaluate(model, Batches(test, batch_size=500), metrics=["accuracy"])["accuracy"]


def trained(
    words: Vocabulary, parts: list[dict[str, list]], cell: str, both: bool, epochs: int, seed: int
) -> tuple[nn.ManyToOne, tg.train.History]:
    """A network as it was after the epoch that was best on the validation part."""
    generator = np.random.default_rng(seed)
    model = nn.ManyToOne(
        64, 64, 2, vocabulary=len(words), cell=cell, bidirectional=both, pooling="mean", dropout=0.5,
        generator=generator,
    )  # fmt: skip
    model.embedding.E.assign(model.embedding.E.numpy() * 0.1)
    batches = Batches(columns(words, parts[0]), batch_size=32, lengths="xs", buckets=4, generator=generator)
    held_out = Batches(columns(words, parts[1]), batch_size=100, lengths="xs", buckets=3)
    optimizer = optim.AdamW(model, optim.cosine(2e-3, epochs * len(batches)), weight_decay=0.01)
    history = tg.fit(
        model, batches, epochs=epochs, optimizer=optimizer, clip=1.0, validation=held_out, metrics=["accuracy"],
        monitor="accuracy", keep_best=True,
    )  # fmt: skip
    return model, history


def columns(words: Vocabulary, part: dict[str, list]) -> dict[str, list]:
    return {"xs": [words.encode(review) for review in part["words"]], "target": part["target"]}


def probabilities(model: nn.ManyToOne, words: Vocabulary, part: dict[str, list]) -> np.ndarray:
    """How probable it is that each review is positive."""
    found = np.zeros(len(part["words"]))
    batches = Batches(columns(words, part), batch_size=100, lengths="xs", buckets=3)
    model.eval()
    with tg.no_grad():
        for batch in batches:
            found[batches.rows] = tg.softmax(model(batch["xs"], lengths=batch["lengths"])).numpy()[:, 1]
    return found


def plot(model: nn.ManyToOne, words: Vocabulary, reviews: list[str], path: Path) -> None:
    """How positive the words of some reviews are, and the reviews as a whole."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.1 * len(reviews)), layout="constrained")
    with tg.no_grad():
        for axis, review in zip(figure.subplots(len(reviews), 1), reviews):
            tokens = words.encode(review.split())[None]
            p = tg.softmax(model.readout(model.read(tokens, None).outputs)).numpy()[0, :, 1]
            axis.imshow(p[None], cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
            whole = tg.softmax(model(tokens)).numpy()[0, 1]
            axis.set(xticks=range(len(p)), xticklabels=review.split(), yticks=[0], yticklabels=[f"{whole:.2f}"])
    figure.savefig(path)


def main() -> None:
    args = parsed(options(__doc__, "sentiment"))
    data = read(400 if args.quick else None)
    parts = split(data, (0.8, 0.1, 0.1), generator=args.seed)
    words = Vocabulary.of(parts[0]["words"], specials=["<unknown>"], unknown="<unknown>", min_count=2)
    base = bag_of_words(words, parts, args.seed)
    epochs, target = 1 if args.quick else 5, np.array(parts[2]["target"])
    rows, runs, together = [], [], []
    for cell in ("rnn", "lstm", "gru"):
        both = [trained(words, parts, cell, both, epochs, args.seed) for both in (False, True)]
        positive = [probabilities(model, words, parts[2]) for model, _ in both]
        accuracies = [float(((p > 0.5) == target).mean()) for p in positive]
        rows.append([cell, *map(percent, accuracies)])
        runs += zip(both, accuracies, strict=True)
        together += positive
    print(table(["", "one direction", "both"], rows))
    (model, history), accuracy = max(runs, key=lambda run: run[0][1].best_evaluation["accuracy"])
    same = percent(majority(parts[0]["target"], target))
    report(
        data=f"{len(parts[0]['words']):,} sentences to learn from, {len(target):,} others to test on",
        model=f"up to {runs[-1][0][0].parameter_count:,} parameters, most of them of {len(words):,} words",
        baseline=f"bag of words {percent(base)}, always the same {same}",
        result=f"{percent(accuracy)} by the network that is best on the validation set, "
        f"{percent(((np.mean(together, 0) > 0.5) == target).mean())} by the mean of all six",
    )
    history.plot(args.out / "history.svg")
    shown = ["the movie was good", "the movie was not good", "a dull and tedious film", "not a dull film at all"]
    plot(model, words, shown, args.out / "words.svg")
    print(f"written to {args.out}: history.svg, words.svg")


if __name__ == "__main__":
    main()
