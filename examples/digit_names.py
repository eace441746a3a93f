"""One to many: look at a picture of a digit once, and spell its name letter by letter.

    python examples/digit_names.py

The picture becomes the initial state of a GRU, which reads each letter that it has written.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from common import options, parsed, percent, report, table
from digits import read, shifted

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import Batches, Vocabulary

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LETTERS = Vocabulary.of(NAMES, specials=["<start>", "<end>"])


def columns(images: dict[str, np.ndarray]) -> dict[str, object]:
    """Flat pictures, and the names with the end behind them."""
    names = [LETTERS.encode([*NAMES[digit], "<end>"]) for digit in images["target"]]
    return {"x": images["xs"].reshape(-1, 28 * 28), "target": names}


def spelled(model: nn.OneToMany, x: np.ndarray, beam: int | None = None) -> list[str]:
    found = model.generate(x, max_steps=8, beam=beam)
    rows = found.tokens.tolist() if beam is None else [hypotheses[0].tokens for hypotheses in found]
    return ["".join(LETTERS.decode(row)).partition("<end>")[0] for row in rows]


def plot(images: np.ndarray, names: list[str], path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    for axis, image, name in zip(figure.subplots(2, 6).flat, images, names):
        axis.imshow(image, cmap="gray_r")
        axis.set_title(name)
        axis.set_axis_off()
    figure.savefig(path)


def main() -> None:
    args = parsed(options(__doc__, "digit_names"))
    train, test = read(1000 if args.quick else 4000)
    epochs = 3 if args.quick else 12
    model = nn.OneToMany(
        28 * 28, len(LETTERS), 16, 192, start=LETTERS["<start>"], end=LETTERS["<end>"], generator=args.seed
    )
    batches = Batches(columns(shifted(train)), batch_size=50, lengths="target", buckets=3, generator=args.seed)
    optimizer = optim.AdamW(model, optim.cosine(2e-3, epochs * len(batches)), weight_decay=0.01)
    history = tg.fit(
        model, batches, epochs=epochs, optimizer=optimizer, clip=1.0,
        validation=Batches(columns(test), batch_size=200, lengths="target", buckets=1),
    )  # fmt: skip
    x, true = columns(test)["x"], [NAMES[digit] for digit in test["target"]]
    names = spelled(model, x)
    right = np.mean([a == b for a, b in zip(names, true)])
    by_beam = np.mean([a == b for a, b in zip(spelled(model, x, beam=3), true)])
    common = Counter(NAMES[digit] for digit in train["target"]).most_common(1)[0][0]
    mistakes = Counter((b, a) for a, b in zip(names, true) if a != b).most_common(4)
    print(table(["picture of", "spelled", "times"], [[*pair, count] for pair, count in mistakes]))
    report(
        data=f"{len(train['xs']):,} pictures and their shifts, {len(test['xs']):,} others to test on",
        model=f"one-to-many GRU, {model.parameter_count:,} parameters",
        baseline=f"{percent(np.mean([name == common for name in true]))} for always writing {common!r}",
        result=f"{percent(right)} of the names without a mistake; {percent(by_beam)} by beam search",
    )
    history.plot(args.out / "history.svg")
    plot(test["xs"][:12], names[:12], args.out / "names.svg")
    print(f"written to {args.out}: history.svg, names.svg")


if __name__ == "__main__":
    main()
