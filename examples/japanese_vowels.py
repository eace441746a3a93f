"""Tell nine speakers by how they say two vowels: sequences of 7 to 29 frames with 12 features, many to one.

    python examples/japanese_vowels.py

The utterances differ in length: they are padded, and lengths say where they end.
"""

from __future__ import annotations

import numpy as np
from common import DATA, options, parsed, percent, report

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import Batches


def read() -> tuple[list[np.ndarray], np.ndarray, int]:
    """Utterances (frames, 12), their features with mean 0 and variance 1; speakers; how many are to learn from."""
    file = np.load(DATA / "japanese_vowels" / "japanese_vowels.npz")
    count = int(file["n_train"])
    known = file["frames"][: file["lengths"][:count].sum()]
    frames = ((file["frames"] - known.mean(0)) / known.std(0)).astype(np.float32)
    return np.split(frames, np.cumsum(file["lengths"])[:-1]), file["labels"].astype(np.int64), count


def of_means(xs: list[np.ndarray], speakers: np.ndarray, count: int) -> float:
    """Accuracy of a linear classifier of the mean frame, which knows nothing of order."""
    means = np.stack([x.mean(0) for x in xs])
    model = nn.Linear(12, 9, generator=0)
    loss = lambda model, x, target: tg.cross_entropy(model(x), target)
    batch = {"x": means[:count], "target": speakers[:count]}
    tg.fit(model, [batch], epochs=500, loss=loss, optimizer=optim.Adam(model, 0.05), progress=False)
    return nn.metrics.accuracy(model(means[count:]), speakers[count:])


def plot(model: nn.ManyToOne, x: np.ndarray, path) -> None:
    """What the forward and the backward states say at each frame of an utterance."""
    from matplotlib.figure import Figure

    model.eval()
    with tg.no_grad():
        belief = tg.softmax(model.readout(model.read(x[None], None).outputs)[0]).numpy()
    figure = Figure(figsize=(6, 4), layout="constrained")
    for axis, image, label in zip(figure.subplots(2, 1, sharex=True), (x.T, belief.T), ("feature", "speaker")):
        axis.imshow(image, aspect="auto", cmap="viridis")
        axis.set_ylabel(label)
    axis.set_xlabel("frame")
    figure.savefig(path)


def main() -> None:
    args = parsed(options(__doc__, "japanese_vowels"))
    xs, speakers, count = read()
    model = nn.ManyToOne(
        12, 64, 9, cell="lstm", bidirectional=True, pooling="mean", dropout=0.3, generator=args.seed
    )
    train = Batches(
        {"xs": xs[:count], "target": speakers[:count]}, batch_size=30, lengths="xs", buckets=3, generator=args.seed
    )
    test = Batches({"xs": xs[count:], "target": speakers[count:]}, batch_size=100, lengths="xs")
    epochs = 30 if args.quick else 60
    optimizer = optim.Adam(model, optim.cosine(5e-3, epochs * len(train)))
    history = tg.fit(
        model, train, epochs=epochs, optimizer=optimizer, clip=1.0, validation=test, metrics=["accuracy", "f1"]
    )
    last = history.evaluations[-1]
    report(
        data=f"{count} utterances to learn from, {len(xs) - count} others of the same nine speakers",
        model=f"bidirectional LSTM, {model.parameter_count:,} parameters",
        baseline=f"{percent(of_means(xs, speakers, count))} by a linear classifier of the mean frame",
        result=f"{percent(last['accuracy'])} of the utterances, F1 {percent(last['f1'])}",
    )
    history.plot(args.out / "history.svg")
    plot(model, xs[count], args.out / "utterance.svg")
    print(f"written to {args.out}: history.svg, utterance.svg")


if __name__ == "__main__":
    main()
