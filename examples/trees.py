"""A recursive network computes nested expressions; a network that reads them as text is the baseline.

    python examples/trees.py

Expressions such as ``max(min(3, 8), sum(4, 9))`` over digits, the sum modulo 10, have one digit as their value. Their
meaning follows their tree: a tree LSTM goes up from the leaves, an LSTM reads the symbols with brackets from left to
right. Both learn from trees with up to 8 operations, and are tested on others of these sizes and on larger ones. The
expressions are of our own making.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import majority, options, parsed, percent, report, table

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, viz
from tinygrad_rnn.data import Batches
from tinygrad_rnn.nn.tree import schedule

OPERATIONS: dict[str, Callable[[int, int], int]] = {"min": min, "max": max, "sum": lambda a, b: (a + b) % 10}
NAMES = list(OPERATIONS)
OPEN, CLOSE = 13, 14


def made(operations: int, generator: np.random.Generator) -> tuple[Any, int, list[int]]:
    """A random tree: an operation is the first child of its node. With its value, and with its symbols as a text."""
    if not operations:
        digit = int(generator.integers(10))
        return digit, digit, [digit]
    left = int(generator.integers(operations))
    k = int(generator.integers(len(NAMES)))
    a, b = made(left, generator), made(operations - 1 - left, generator)
    return (10 + k, (a[0], b[0])), OPERATIONS[NAMES[k]](a[1], b[1]), [OPEN, 10 + k, *a[2], *b[2], CLOSE]


class OfTrees(nn.Module):
    """A binary tree LSTM, and the value of the root."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.network = nn.TreeNetwork(13, 32, 64, generator=generator)
        self.readout = nn.Linear(64, 10, generator=generator)

    def forward(self, trees):
        return self.readout(self.network(trees).roots)

    def loss(self, trees, target):
        return tg.cross_entropy(self(trees), target).named("loss")

    def predict(self, trees):
        return tg.argmax(self(trees), -1)


def listed(rows: list[tuple], size: int) -> list[dict[str, Any]]:
    """Batches of trees, ordered once: which nodes are computed together depends on their forms."""
    parts = [rows[k : k + size] for k in range(0, len(rows), size)]
    return [{"trees": schedule([t for t, _, _ in p]), "target": np.array([v for _, v, _ in p])} for p in parts]


def texts(rows: list[tuple], size: int, seed: int | None = None) -> Batches:
    columns = {"xs": [text for _, _, text in rows], "target": [value for _, value, _ in rows]}
    return Batches(columns, batch_size=size, lengths="xs", buckets=4, generator=seed)


def plot(found: dict[str, list[float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axis = figure.subplots()
    for name, values in found.items():
        axis.plot(range(1, 1 + len(values)), values, ".-", label=name)
    axis.set(xlabel="operations", ylabel="accuracy", ylim=(0, 1.02))
    axis.legend()
    figure.savefig(path)


def main() -> None:
    args = parsed(options(__doc__, "trees"))
    generator = np.random.default_rng(args.seed)
    most, epochs = (4, 8) if args.quick else (8, 10)
    counts = generator.integers(1, most + 1, 2000 if args.quick else 6000)
    train = [made(int(n), generator) for n in counts]
    tests = [[made(n, generator) for _ in range(50 if args.quick else 200)] for n in range(1, most + 5)]

    tree, reader = OfTrees(generator), nn.ManyToOne(32, 96, 10, vocabulary=15, cell="lstm", generator=generator)
    batches = listed(train, 64)
    optimizer = optim.Adam(tree, optim.cosine(4e-3, epochs * len(batches)))
    history = tg.fit(tree, batches, epochs=epochs, optimizer=optimizer, clip=1.0, compile=False)  # each form is another
    sequences = texts(train, 64, args.seed)
    optimizer = optim.Adam(reader, optim.cosine(4e-3, epochs * len(sequences)))
    tg.fit(reader, sequences, epochs=epochs, optimizer=optimizer, clip=1.0)

    score = lambda model, test, **options: tg.train.evaluate(model, test, metrics=["accuracy"], **options)["accuracy"]
    found = {
        "tree LSTM": [score(tree, listed(test, 50), compile=False) for test in tests],
        "LSTM": [score(reader, texts(test, 200)) for test in tests],
        "most frequent": [majority([v for _, v, _ in train], [v for _, v, _ in test]) for test in tests],
    }
    header = ["operations", *(str(n + 1) for n in range(len(tests)))]
    print(table(header, [[name, *(f"{100 * a:.0f}" for a in row)] for name, row in found.items()]))
    sizes, larger = slice(most), slice(most, None)
    mean = lambda name, which: percent(np.mean(found[name][which]))
    report(
        data=f"{len(train):,} expressions with up to {most} operations, of our own making",
        model=f"binary tree LSTM, {tree.parameter_count:,} parameters; LSTM, {reader.parameter_count:,}",
        baseline=f"LSTM {mean('LSTM', sizes)} of expressions of these sizes, {mean('LSTM', larger)} of larger ones",
        result=f"tree LSTM {mean('tree LSTM', sizes)} and {mean('tree LSTM', larger)}",
    )
    history.plot(args.out / "history.svg")
    plot(found, args.out / "sizes.svg")
    viz.draw(tree.loss([(11, ((10, (3, 8)), 4))], np.array([4]))).save(args.out / "tree.svg")
    print(f"written to {args.out}: history.svg, sizes.svg, tree.svg")


if __name__ == "__main__":
    main()
