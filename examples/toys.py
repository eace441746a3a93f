"""The smallest tasks: a review of three or four words, and a bit to be remembered for a hundred steps.

    python examples/toys.py

"movie was good" is read by a recurrent network of 27 weights (5 words, 3 hidden units, 1 output, no biases), together
with "bad", "not good" and "not bad". A bag of words, whatever its weights, gets at most three of the four right.

"1 0 1 → 1, 0 0 1 → 0, 0 0 0 → 0, 1 1 1 → 1": the answer is the first bit. The sequence is stretched by random bits; the
longer it is, the less of the gradient reaches the first step of a plain network. The LSTM starts with forget gates that
are open (a bias of 6), so that its cells keep what they hold and hand the gradient on.
"""

from __future__ import annotations

import numpy as np
from common import majority, options, parsed, percent, report, table

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, viz
from tinygrad_rnn.data import Batches, Vocabulary

WORDS = Vocabulary(["movie", "was", "good", "bad", "not"])
UNITS, TESTED = 16, 1000  # hidden units, and sequences to test on
REVIEWS = {"movie was good": 1, "movie was bad": 0, "movie was not good": 0, "movie was not bad": 1}


class Reviewer(nn.Module):
    """One-hot words, three hidden units and one logit, without biases."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.cell = nn.RNNCell(len(WORDS), 3, bias=False, generator=generator)
        self.readout = nn.Linear(3, 1, bias=False, generator=generator)

    def forward(self, xs, lengths=None):
        return self.readout(nn.unroll(self.cell, xs, lengths=lengths).last)[:, 0].named("logit")

    def loss(self, xs, target, lengths):
        return tg.binary_cross_entropy_with_logits(self(xs, lengths), target).named("loss")


def bag_of_words(counts: np.ndarray, target: np.ndarray) -> float:
    """The accuracy of logistic regression on how often each word is there."""
    model = nn.Linear(len(WORDS), 1, generator=0)
    loss = lambda model, x, target: tg.binary_cross_entropy_with_logits(model(x)[:, 0], target)
    optimizer = optim.Adam(model, 0.05)
    tg.fit(model, [{"x": counts, "target": target}], epochs=300, loss=loss, optimizer=optimizer, progress=False)
    return float(((model(counts).numpy()[:, 0] > 0) == target).mean())


def reviews(seed: int, path) -> None:
    xs = [WORDS.one_hot(review.split()) for review in REVIEWS]
    target = np.array(list(REVIEWS.values()), np.float32)
    model = Reviewer(np.random.default_rng(seed))
    batches = Batches({"xs": xs, "target": target}, batch_size=4, lengths="xs", buckets=1)
    tg.fit(model, batches, epochs=400, optimizer=optim.Adam(model, 0.03), progress=False)
    batch = next(iter(batches))
    probability = tg.sigmoid(model(batch["xs"], batch["lengths"])).numpy()
    print(table(["review", "target", "probability"], zip(REVIEWS, REVIEWS.values(), probability.round(3))))
    report(
        model=f"{model.parameter_count} weights",
        baseline=f"bag of words {percent(bag_of_words(np.stack([x.sum(0) for x in xs]), target))}",
        result=percent(((probability > 0.5) == target).mean()),
    )
    viz.draw(model(tg.tensor(xs[0][None]).named("movie was good"))).save(path)


def first_bits(count: int, steps: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Sequences of -1 and 1, and whether the first of each is a 1."""
    bits = generator.integers(0, 2, (count, steps, 1))
    return {"xs": (2 * bits - 1).astype(np.float32), "target": bits[:, 0, 0]}


def remembered(cell: str, steps: int, updates: int, seed: int) -> float:
    """How often a network tells the first bit of new sequences after it was trained on others."""
    generator = np.random.default_rng(seed)
    model = nn.ManyToOne(1, UNITS, 2, cell=cell, generator=generator)
    if cell == "lstm":
        model.recurrent = nn.Recurrent(nn.LSTMCell(1, UNITS, forget_bias=6.0, generator=generator))
    batches = Batches(first_bits(64 * updates, steps, generator), batch_size=64)
    tg.fit(model, batches, optimizer=optim.Adam(model, 0.003), clip=1.0, progress=False)
    test = Batches(first_bits(TESTED, steps, generator), batch_size=500)
    return tg.train.evaluate(model, test, metrics=["accuracy"])["accuracy"]


def plot(lengths: list[int], accuracies: dict[str, list[float]], path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axis = figure.subplots()
    for cell, values in accuracies.items():
        axis.plot(lengths, values, "o-", label=cell)
    axis.axhline(0.5, color="grey", linestyle=":", label="chance")
    axis.set(xlabel="steps", ylabel="accuracy", xscale="log", xticks=lengths, xticklabels=lengths)
    axis.legend()
    figure.savefig(path)


def main() -> None:
    args = parsed(options(__doc__, "toys"))
    reviews(args.seed, args.out / "movie_was_good.svg")
    lengths, updates = ([3, 10], 200) if args.quick else ([3, 10, 30, 100], 1500)
    cells = ["rnn", "lstm"]
    found = {cell: [remembered(cell, steps, updates, args.seed) for steps in lengths] for cell in cells}
    print()
    print(table(["the first of", *(f"{n} bits" for n in lengths)], [[c, *map(percent, found[c])] for c in cells]))
    chance = first_bits(TESTED, 3, np.random.default_rng(args.seed))["target"]
    report(
        data=f"{TESTED:,} sequences to test on",
        model=f"rnn and lstm of {UNITS} units",
        baseline=f"{percent(majority(chance, chance))} for the more frequent bit",
        result=f"{lengths[-1]} steps: rnn {percent(found['rnn'][-1])}, lstm {percent(found['lstm'][-1])}",
    )
    plot(lengths, found, args.out / "first_bit.svg")
    print(f"written to {args.out}: movie_was_good.svg, first_bit.svg")


if __name__ == "__main__":
    main()
