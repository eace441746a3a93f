"""Subject-verb agreement: does the verb at the end belong to a singular or a plural, however far its subject is?

    python examples/agreement.py                    on sentences of our own making
    python examples/agreement.py --data FILE ...    also test on real prefixes, or learn from the first of several files

"The flights the airline was cancelling were full": a network reads what stands before a verb and says whether the verb
is singular or plural. Sentences of our own making come from a small grammar with prepositional phrases and relative
clauses inside each other, so that one has to know which of the nouns still waits for its verb. The networks learn from
sentences with up to two nouns between subject and verb, and are tested on up to six.

FILEs are tables with the tab-separated columns number (sing, plur), prefix and attractors, train first and then test;
such prefixes can be derived from the treebanks of Universal Dependencies, published at universaldependencies.org. The
baselines are the more frequent number, and the number of the last noun.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from common import existing, majority, options, parsed, percent, report, table

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import Batches, Vocabulary, split

SINGULAR = ["flight", "airline", "author", "senator", "key", "cabinet", "report", "child", "bank", "customer"]
PLURAL = ["flights", "airlines", "authors", "senators", "keys", "cabinets", "reports", "children", "banks", "customers"]
NOUNS = {word: number for number, words in enumerate((SINGULAR, PLURAL)) for word in words}
VERBS = (["cancels", "sees", "knows", "likes"], ["cancel", "see", "know", "like"])


def noun(number: int, generator: np.random.Generator) -> str:
    return str(generator.choice((SINGULAR, PLURAL)[number]))


def noun_phrase(nouns: int, words: list[str], verbs: list, generator: np.random.Generator, other: int = 0) -> int:
    """Add a phrase with so many nouns to the words, and the places before its verbs; gives its number.

    Behind the first noun come prepositional phrases and relative clauses with the others. A place is ``(position,
    number of the verb there, nouns between subject and verb)``.
    """
    number = int(generator.random() < 0.7) ^ other  # mostly another number than that of the noun around it
    words += ["the", noun(number, generator)]
    left = nouns - 1
    while left:
        inside = int(generator.integers(1, left + 1))
        left -= inside
        if generator.random() < 0.5:
            words.append(str(generator.choice(["near", "of", "with", "behind"])))
            noun_phrase(inside, words, verbs, generator, number)
        else:
            words.append("that")
            theirs = noun_phrase(inside, words, verbs, generator, number)
            verbs.append((len(words), theirs, inside - 1))
            words.append(str(generator.choice(VERBS[theirs])))
    return number


def sentence(between: int, generator: np.random.Generator) -> tuple[list[str], int]:
    """What stands before a verb, and its number; it may be the verb of a clause inside another."""
    while True:
        speaker = ["the", noun(int(generator.integers(2)), generator), "said", "that"]
        words: list[str] = speaker if generator.random() < 0.5 else []
        verbs: list[tuple[int, int, int]] = []
        nouns = between + 1 + int(generator.integers(3))
        number = noun_phrase(nouns, words, verbs, generator, int(generator.integers(2)))
        fitting = [verb for verb in [*verbs, (len(words), number, nouns - 1)] if verb[2] == between]
        if fitting:
            position, number, _ = fitting[generator.integers(len(fitting))]
            return words[:position], number


def made(count: int, between: list[int], generator: np.random.Generator) -> dict[str, list]:
    rows = [sentence(int(generator.choice(between)), generator) for _ in range(count)]
    return {"words": [words for words, _ in rows], "target": [number for _, number in rows]}


def read(path: Path) -> dict[str, list]:
    with open(existing(path, "file"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {
        "words": [row["prefix"].lower().split()[-30:] for row in rows],
        "target": [int(row["number"] == "plur") for row in rows],
        "attractors": [int(row["attractors"]) for row in rows],
    }


def batches(columns: dict[str, list], words: Vocabulary, size: int, seed: int | None = None) -> Batches:
    numbers = [words.encode(prefix) for prefix in columns["words"]]
    return Batches(
        {"xs": numbers, "target": columns["target"]}, batch_size=size, lengths="xs", buckets=4, generator=seed
    )


def trained(cell: str, columns: dict[str, list], words: Vocabulary, epochs: int, seed: int) -> nn.ManyToOne:
    model = nn.ManyToOne(32, 64, 2, vocabulary=len(words), cell=cell, dropout=0.2, generator=seed)
    source = batches(columns, words, 32, seed)
    optimizer = optim.Adam(model, optim.cosine(3e-3, epochs * len(source)))
    tg.fit(model, source, epochs=epochs, optimizer=optimizer, clip=1.0)
    return model


def accuracy(model: nn.ManyToOne, columns: dict[str, list], words: Vocabulary) -> float:
    return tg.train.evaluate(model, batches(columns, words, 200), metrics=["accuracy"])["accuracy"]


def last_noun(columns: dict[str, list]) -> float:
    """Accuracy of taking the number of the last noun, of a sentence of our own making."""
    numbers = [next(NOUNS[w] for w in reversed(prefix) if w in NOUNS) for prefix in columns["words"]]
    return float((np.array(numbers) == columns["target"]).mean())


def own(args, generator: np.random.Generator) -> None:
    print("sentences of our own making, from a small grammar:")
    train = made(500 if args.quick else 6000, [0, 1, 2], generator)
    tests = {k: made(100 if args.quick else 500, [k], generator) for k in range(7)}
    words = Vocabulary.of(train["words"], specials=["<unknown>"], unknown="<unknown>")
    models = {cell: trained(cell, train, words, 2 if args.quick else 6, args.seed) for cell in ("rnn", "lstm", "gru")}
    found = {cell: [accuracy(model, test, words) for test in tests.values()] for cell, model in models.items()}
    found["the last noun"] = [last_noun(test) for test in tests.values()]
    print(table(["nouns between", *map(str, tests)], [[name, *map(percent, row)] for name, row in found.items()]))
    report(
        data=f"{len(train['words']):,} sentences with up to two nouns between subject and verb to learn from",
        model=f"LSTM, {models['lstm'].parameter_count:,} parameters",
        baseline=f"{percent(np.mean(found['the last noun'][3:]))} by the last noun, with three to six nouns between",
        result=", ".join(f"{cell.upper()} {percent(np.mean(found[cell][3:]))}" for cell in models),
    )
    plot(found, args.out / "distance.svg")


def plot(found: dict[str, list[float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axis = figure.subplots()
    for name, values in found.items():
        axis.plot(values, ".-", label=name)
    axis.axvspan(-0.2, 2.2, alpha=0.1, label="learned from")
    axis.set(xlabel="nouns between subject and verb", ylabel="accuracy")
    axis.legend()
    figure.savefig(path)


def real(args) -> None:
    parts = [read(path) for path in args.data]
    train, test = (parts[0], parts[-1]) if len(parts) > 1 else split(parts[0], (0.8, 0.2), generator=args.seed)
    if args.quick:
        train = {name: column[:500] for name, column in train.items()}
    words = Vocabulary.of(train["words"], specials=["<unknown>"], unknown="<unknown>", min_count=3)
    models = {cell: trained(cell, train, words, 1 if args.quick else 6, args.seed) for cell in ("rnn", "lstm")}
    groups = {"all": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "no attractor": [0], "attractors": list(range(1, 10))}
    rows = []
    for name, counts in groups.items():
        rows_of = [k for k, n in enumerate(test["attractors"]) if n in counts]
        part = {column: [values[k] for k in rows_of] for column, values in test.items()}
        rows.append([name, len(rows_of), percent(majority(train["target"], part["target"])),
                     *(percent(accuracy(model, part, words)) for model in models.values())])  # fmt: skip
    print("real prefixes:")
    print(table(["", "prefixes", "more frequent", *models], rows))


def main() -> None:
    parser = options(__doc__, "agreement")
    parser.add_argument("--data", type=Path, nargs="+", help="tables of real prefixes: train, then test")
    args = parsed(parser)
    own(args, np.random.default_rng(args.seed))
    if args.data:
        real(args)
    print(f"written to {args.out}: distance.svg")


if __name__ == "__main__":
    main()
