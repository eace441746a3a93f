"""Read pictures of digits row by row, as sequences of 28 steps with 28 features.

    python examples/digits.py

4,000 pictures of MNIST to learn from, each also shifted by a pixel in four directions; 1,000 others to test on.
"""

from __future__ import annotations

import numpy as np
from common import DATA, options, parsed, percent, report

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import Batches

SHIFTS = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]


def read(count: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Pictures (28, 28) with values from 0 to 1, and their digits, to learn from and to test on."""
    file = np.load(DATA / "mnist5k" / "mnist5k.npz")
    images, digits = file["images"].astype(np.float32) / 255, file["labels"].astype(np.int64)
    return {"xs": images[:count], "target": digits[:count]}, {"xs": images[4000:], "target": digits[4000:]}


def shifted(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All pictures, and all of them shifted by one pixel in each direction."""
    images = [np.roll(columns["xs"], shift, (1, 2)) for shift in SHIFTS]
    return {"xs": np.concatenate(images), "target": np.tile(columns["target"], len(SHIFTS))}


def linear(train: Batches, test: dict[str, np.ndarray], epochs: int) -> float:
    """Accuracy of a linear classifier of all pixels."""
    model = nn.Linear(28 * 28, 10, generator=0)
    loss = lambda model, xs, target: tg.cross_entropy(model(xs.reshape(len(xs), 28 * 28)), target)
    tg.fit(model, train, epochs=epochs, loss=loss, optimizer=optim.Adam(model, 1e-3), progress=False)
    return nn.metrics.accuracy(model(test["xs"].reshape(-1, 28 * 28)), test["target"])


def plot(model: nn.ManyToOne, images: np.ndarray, path) -> None:
    """Some pictures, and what the network holds each for after every row."""
    from matplotlib.figure import Figure

    model.eval()
    with tg.no_grad():
        belief = tg.softmax(model.readout(model.read(images, None).outputs)).numpy()
    figure = Figure(figsize=(6, 1.6 * len(images)), layout="constrained")
    for (left, right), image, p in zip(figure.subplots(len(images), 2), images, belief):
        left.imshow(image, cmap="gray_r")
        left.set_axis_off()
        right.imshow(p, aspect="auto", vmin=0, vmax=1, cmap="viridis")
        right.set(ylabel="row", xticks=range(10))
    right.set_xlabel("digit")
    figure.savefig(path)


def main() -> None:
    parser = options(__doc__, "digits")
    parser.add_argument("--cell", choices=["rnn", "lstm", "gru"], default="gru")
    args = parsed(parser)
    train, test = read(1000 if args.quick else 4000)
    epochs = 5 if args.quick else 10
    model = nn.ManyToOne(28, 128, 10, cell=args.cell, dropout=0.2, generator=args.seed)
    batches = Batches(shifted(train), batch_size=50, generator=args.seed)
    optimizer = optim.Adam(model, optim.cosine(3e-3, epochs * len(batches)))
    history = tg.fit(
        model, batches, epochs=epochs, optimizer=optimizer, clip=1.0, validation=Batches(test, batch_size=200),
        metrics=["accuracy"],
    )  # fmt: skip
    report(
        data=f"{len(train['xs']):,} pictures and their shifts, {len(test['xs']):,} others to test on",
        model=f"{args.cell.upper()}, {model.parameter_count:,} parameters",
        baseline=f"{percent(linear(batches, test, epochs))} by a linear classifier of all pixels",
        result=f"{percent(history.evaluations[-1]['accuracy'])} of the digits",
    )
    history.plot(args.out / "history.svg")
    plot(model, test["xs"][:4], args.out / "row_by_row.svg")
    print(f"written to {args.out}: history.svg, row_by_row.svg")


if __name__ == "__main__":
    main()
