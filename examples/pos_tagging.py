"""Part-of-speech tagging with and without a conditional random field, from words and their characters.

    python examples/pos_tagging.py                    on sentences of our own making, from a small grammar
    python examples/pos_tagging.py --data FOLDER      on a treebank in the format CoNLL-U

The grammar's sentences are not natural language: they are there so that the example runs without any download. Real
figures come from treebanks of Universal Dependencies, published at universaldependencies.org and on GitHub as
UniversalDependencies/UD_English-EWT and others; FOLDER holds files whose names contain train, dev and test (.conllu, or
.tsv with the columns form and tag and empty lines between sentences; also gzipped).

The baseline gives each word the tag that it has most often, and unknown words the one that rare words have most often.
"""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from common import existing, options, parsed, percent, report

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import Batches, Vocabulary

Sentence = list[tuple[str, str]]
WIDTH = 12  # characters of a word that are looked at


# Sentences ------------------------------------------------------------------------------------------------------------


def read(folder: Path, part: str) -> list[Sentence]:
    """Sentences of a treebank: pairs of a form and its universal tag."""
    files = sorted(p for p in existing(folder, "folder").iterdir() if p.suffix in (".gz", ".conllu", ".tsv"))
    found = [p for p in files if part in p.name]
    if not found:
        raise SystemExit(f"{folder} holds no file of which the name contains {part!r} and ends in .conllu, .tsv or .gz")
    opened = gzip.open if found[0].suffix == ".gz" else open
    with opened(found[0], "rt", encoding="utf-8") as file:
        return [_tokens(block) for block in file.read().strip().split("\n\n")]


def _tokens(block: str) -> Sentence:
    rows = [line.split("\t") for line in block.splitlines() if "\t" in line]
    if len(rows[0]) == 10:  # CoNLL-U; ranges and words that are left out do not count
        return [(row[1], row[3]) for row in rows if row[0].isdigit()]
    return [(row[0], row[1]) for row in rows]


NOUNS = ["duck", "can", "light", "saw", "fish", "bear", "watch", "fly", "ship", "play", "box", "plant"]
VERBS = ["duck", "light", "saw", "fish", "bear", "watch", "fly", "ship", "play", "box", "plant"]
ADJECTIVES = ["light", "fine", "fast", "still", "clear", "green"]
ADVERBS = ["fast", "still", "fine", "clearly", "slowly"]


def made(count: int, generator: np.random.Generator) -> list[Sentence]:
    """Sentences of a small grammar in which most words have several tags."""
    pick = lambda words: str(generator.choice(words))

    def noun_phrase() -> Sentence:
        adjective = [(pick(ADJECTIVES), "ADJ")] if generator.random() < 0.4 else []
        return [(pick(["the", "a", "that", "her"]), "DET"), *adjective, (pick(NOUNS), "NOUN")]

    def sentence() -> Sentence:
        subject = noun_phrase() if generator.random() < 0.7 else [(pick(["they", "that", "we", "her"]), "PRON")]
        auxiliary = [(pick(["can", "will", "may"]), "AUX")] if generator.random() < 0.5 else []
        adverb = [(pick(ADVERBS), "ADV")] if generator.random() < 0.3 else []
        place = [(pick(["in", "by", "that"]), "ADP"), *noun_phrase()] if generator.random() < 0.3 else []
        return [*subject, *auxiliary, (pick(VERBS), "VERB"), *noun_phrase(), *place, *adverb, (".", "PUNCT")]

    return [sentence() for _ in range(count)]


# Model ----------------------------------------------------------------------------------------------------------------


class Tagger(nn.Module):
    """Words and their characters, read by recurrent layers in both directions."""

    def __init__(self, words: int, characters: int, tags: int, crf: bool, generator: np.random.Generator) -> None:
        self.words = nn.Embedding(words, 64, generator=generator)
        self.characters = nn.Embedding(characters, 24, generator=generator)
        self.spelling = nn.GRU(24, 32, bidirectional=True, generator=generator)
        self.drop = nn.Dropout(0.3, generator=generator)
        self.context = nn.LSTM(64 + 64, 96, bidirectional=True, generator=generator)
        self.readout = nn.Linear(192, tags, generator=generator)
        self.crf = nn.CRF(tags, generator=generator) if crf else None

    def forward(self, words, characters, lengths):
        batch, time, width = characters.shape
        letters = self.characters(characters.reshape(batch * time, width))
        spelled = self.spelling(letters).last.reshape(batch, time, 64)
        xs = self.drop(tg.concatenate([self.words(words), spelled], -1))
        return self.readout(self.drop(self.context(xs, lengths=lengths).outputs))

    def loss(self, words, characters, target, lengths):
        scores = self(words, characters, lengths)
        if self.crf is not None:
            return self.crf(scores, target, lengths=lengths)
        return tg.cross_entropy(scores, target, mask=nn.sequence_mask(lengths, target.shape[1]))

    def predict(self, words, characters, lengths):
        scores = self(words, characters, lengths)
        return tg.argmax(scores, -1) if self.crf is None else self.crf.decode(scores, lengths=lengths).tags


class Alphabet:
    """The words, characters and tags of a training set."""

    def __init__(self, train: list[Sentence]) -> None:
        forms = [[form.lower() for form, _ in sentence] for sentence in train]
        self.words = Vocabulary.of(forms, specials=["<unknown>"], unknown="<unknown>", min_count=2)
        self.characters = Vocabulary.of(
            (form for s in train for form, _ in s), specials=["<none>", "<unknown>"], unknown="<unknown>", min_count=5
        )
        tags = {tag for sentence in train for _, tag in sentence}
        self.tags = Vocabulary(["<unknown>", *sorted(tags)], unknown="<unknown>")  # none of them is ever right

    def spelled(self, form: str) -> np.ndarray:
        """The first character and the last ones, at the end of an array of fixed length."""
        shown = form if len(form) <= WIDTH else form[0] + form[1 - WIDTH :]
        return np.concatenate([np.zeros(WIDTH - len(shown), np.int64), self.characters.encode(shown)])

    def columns(self, sentences: list[Sentence]) -> dict[str, Any]:
        return {
            "words": [self.words.encode(form.lower() for form, _ in s) for s in sentences],
            "characters": [np.stack([self.spelled(form) for form, _ in s]) for s in sentences],
            "target": [self.tags.encode(tag for _, tag in s) for s in sentences],
        }


def most_frequent(train: list[Sentence], test: list[Sentence]) -> float:
    """Accuracy of the tag that each word has most often."""
    counts: dict[str, Counter] = {}
    for form, tag in (token for sentence in train for token in sentence):
        counts.setdefault(form, Counter())[tag] += 1
    rare = Counter(c.most_common(1)[0][0] for c in counts.values() if c.total() == 1)
    unknown = (rare or Counter(["NOUN"])).most_common(1)[0][0]
    best = {form: counter.most_common(1)[0][0] for form, counter in counts.items()}
    return float(np.mean([best.get(form, unknown) == tag for sentence in test for form, tag in sentence]))


def trained(alphabet: Alphabet, parts: list[list[Sentence]], crf: bool, epochs: int, seed: int):
    """Accuracy on the test part after the last epoch, with the model and its history."""
    generator = np.random.default_rng(seed)
    model = Tagger(len(alphabet.words), len(alphabet.characters), len(alphabet.tags), crf, generator)
    longest = max(len(sentence) for part in parts for sentence in part)
    limits = sorted({min(n, longest) for n in (6, 12, 20, 30, 45, longest)})
    train, dev, test = (alphabet.columns(part) for part in parts)
    batches = Batches(train, batch_size=32, lengths="words", buckets=limits, generator=generator)
    held_out, unseen = (Batches(part, batch_size=64, lengths="words", buckets=limits) for part in (dev, test))
    optimizer = optim.Adam(model, optim.warmup(optim.cosine(4e-3, epochs * len(batches), 1e-4), 50))
    history = tg.fit(
        model, batches, epochs=epochs, optimizer=optimizer, clip=1.0, validation=held_out, metrics=["accuracy"]
    )
    return tg.train.evaluate(model, unseen, metrics=["accuracy"])["accuracy"], model, history


def plot(model: Tagger, tags: Vocabulary, path: Path) -> None:
    """How well each tag follows each other one, as the random field has learned."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(model.crf.transitions.numpy(), cmap="RdBu_r")
    axis.set(xlabel="next tag", ylabel="tag")
    axis.set_xticks(range(len(tags)), tags.symbols, rotation=90)
    axis.set_yticks(range(len(tags)), tags.symbols)
    figure.colorbar(image)
    figure.savefig(path)


def main() -> None:
    parser = options(__doc__, "pos_tagging")
    parser.add_argument("--data", type=Path, help="folder with a treebank")
    parser.add_argument("--epochs", type=int, help="how often to read the training set")
    args = parsed(parser)
    generator = np.random.default_rng(args.seed)
    if args.data is None:
        print("without --data: sentences of our own making, from a small grammar, not natural language")
        parts, epochs = [made(count, generator) for count in (2000, 300, 300)], 2
    else:
        parts, epochs = [[s for s in read(args.data, part) if s] for part in ("train", "dev", "test")], 3
    if args.quick:
        parts, epochs = [part[:300] for part in parts], 8
    epochs = args.epochs or epochs
    alphabet = Alphabet(parts[0])
    accuracies = {}
    for crf in (False, True):
        accuracies[crf], model, history = trained(alphabet, parts, crf, epochs, args.seed)
    report(
        data=f"{len(parts[0]):,} sentences to learn from, {sum(map(len, parts[2])):,} words of others to test on",
        model=f"GRU of characters, LSTM of words, {model.parameter_count:,} parameters",
        baseline=f"{percent(most_frequent(parts[0], parts[2]))} by the most frequent tag of each word",
        result=f"{percent(accuracies[False])} of the words without, {percent(accuracies[True])} with a random field",
    )
    history.plot(args.out / "history.svg")
    plot(model, alphabet.tags, args.out / "transitions.svg")
    print(f"written to {args.out}: history.svg, transitions.svg")


if __name__ == "__main__":
    main()
