"""Grapheme to phoneme: read the letters of an English word, write how it is pronounced.

    python examples/g2p.py

An encoder reads the letters in both directions, a decoder with attention writes phonemes (39 of them, stress left out),
greedily or by beam search. The phoneme error rate is the number of insertions, deletions and substitutions that
it takes to come to the right pronunciation, over the number of phonemes.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
from common import DATA, options, parsed, percent, report

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import Batches, Vocabulary

Words = list[tuple[str, list[str]]]


def read(name: str) -> Words:
    """Words and their phonemes without stress."""
    with open(DATA / "cmudict" / f"{name}.tsv", newline="", encoding="utf-8") as file:
        return [(word, [p.rstrip("012") for p in said.split()]) for word, said in csv.reader(file, delimiter="\t")]


def edits(a: list[str], b: list[str]) -> int:
    """The distance of Levenshtein."""
    row = np.arange(len(b) + 1)
    for k, x in enumerate(a, 1):
        diagonal, row[0] = row[0], k
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return int(row[-1])


def error_rates(found: list[list[str]], words: Words) -> tuple[float, float]:
    """Of phonemes, and of words."""
    wrong = [edits(f, said) for f, (_, said) in zip(found, words, strict=True)]
    return sum(wrong) / sum(len(said) for _, said in words), float(np.mean(np.array(wrong) > 0))


def letter_by_letter(train: Words, words: Words) -> list[list[str]]:
    """Baseline: each letter says what it says most often in words with as many letters as phonemes."""
    counts: dict[str, Counter] = {}
    for word, said in train:
        for letter, phoneme in zip(word, said) if len(word) == len(said) else ():
            counts.setdefault(letter, Counter())[phoneme] += 1
    best = {letter: counter.most_common(1)[0][0] for letter, counter in counts.items()}
    return [[best[letter] for letter in word if letter in best] for word, _ in words]


class Speller:
    """A model with its two alphabets."""

    def __init__(self, train: Words, hidden: int, generator: np.random.Generator) -> None:
        self.letters = Vocabulary("abcdefghijklmnopqrstuvwxyz")
        self.phonemes = Vocabulary(["<start>", "<end>", *sorted({p for _, said in train for p in said})])
        self.model = nn.EncoderDecoder(
            len(self.letters), len(self.phonemes), features=48, hidden=hidden, cell=nn.GRUCell, attention="additive",
            bidirectional=True, start=0, end=1, generator=generator,
        )  # fmt: skip

    def batches(self, words: Words, size: int, generator: int | None = None) -> Batches:
        columns = {
            "source": [self.letters.encode(word) for word, _ in words],
            "target": [self.phonemes.encode([*said, "<end>"]) for _, said in words],
        }
        lengths = {"source_lengths": "source", "target_lengths": "target"}
        return Batches(columns, batch_size=size, lengths=lengths, buckets=5, generator=generator)

    def pronounced(self, words: Words, beam: int | None = None) -> list[list[str]]:
        found: dict[int, list[str]] = {}
        batches = self.batches(words, 100)
        for batch in batches:
            tokens = self.model.translate(batch["source"], batch["source_lengths"], beam=beam, max_steps=20).tokens
            found |= {int(row): self.said(t) for row, t in zip(batches.rows, tokens, strict=True)}
        return [found[k] for k in range(len(words))]

    def said(self, tokens: tuple[int, ...]) -> list[str]:
        return [self.phonemes.symbols[t] for t in tokens if t > 1]


def plot(speller: Speller, words: list[str], path: Path) -> None:
    """For each phoneme that is written, the letters that are looked at."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for axis, word in zip(figure.subplots(1, len(words)), words):
        found = speller.model.translate(speller.letters.encode(word)[None], max_steps=20)
        said = speller.said(found.tokens[0])
        axis.imshow(found.weights.numpy()[0, : len(said)], cmap="gray_r", vmin=0, vmax=1)
        axis.set(xticks=range(len(word)), xticklabels=list(word), yticks=range(len(said)), yticklabels=said)
    figure.savefig(path)


def main() -> None:
    parser = options(__doc__, "g2p")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=12)
    args = parsed(parser)
    train, dev, test = (read(name) for name in ("train", "dev", "test"))
    epochs = args.epochs
    if args.quick:
        train, dev, test, epochs = train[::10], dev[:200], test[:200], 8
    generator = np.random.default_rng(args.seed)
    speller = Speller(train, args.hidden, generator)
    batches = speller.batches(train, 64, generator)
    optimizer = optim.Adam(speller.model, optim.warmup(optim.cosine(3e-3, epochs * len(batches), 1e-5), 50))
    history = tg.fit(
        speller.model, batches, epochs=epochs, optimizer=optimizer, clip=1.0, validation=speller.batches(dev, 200),
        keep_best=True,
    )  # fmt: skip

    (base, _), (greedy, wrong), (beam, wrong_beam) = (
        error_rates(found, test)
        for found in (letter_by_letter(train, test), speller.pronounced(test), speller.pronounced(test, beam=4))
    )
    for word, said in zip(test[:400:80], speller.pronounced(test[:400:80], beam=4), strict=True):
        print(f"  {word[0]}: {' '.join(said)}" + ("" if said == word[1] else f"  (right: {' '.join(word[1])})"))
    report(
        data=f"{len(train):,} words to learn from, {len(test):,} others to test on, stress left out",
        model=f"bidirectional GRU encoder, decoder with attention, {speller.model.parameter_count:,} parameters",
        baseline=f"phoneme error {percent(base)} letter by letter",
        result=f"phoneme error {percent(beam)} by beam search, {percent(greedy)} greedily; "
        f"words with an error {percent(wrong_beam)} and {percent(wrong)}",
    )
    history.plot(args.out / "history.svg")
    plot(speller, ["thought", "education", "knight"], args.out / "alignment.svg")
    print(f"written to {args.out}: history.svg, alignment.svg")


if __name__ == "__main__":
    main()
