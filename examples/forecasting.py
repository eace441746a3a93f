"""Forecast time series: sunspots, the sea's temperature in the El Niño region, airline passengers.

    python examples/forecasting.py

A GRU reads the last months and gives the next ones at once, added to a linear map of the same months that starts from
least squares (after Lai et al., 2018): the GRU learns what is not linear. The forecast is the mean of five such
networks. Values are scaled by mean and deviation of the years to learn from, which come first; the last years are held
out. Baselines: nothing changes (persistence); the same month of the last season (a year; of sunspots eleven); the
linear map alone.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import DATA, options, parsed, report, table

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import Batches, split

FOLDER = DATA / "timeseries"
NETWORKS = 5


@dataclass
class Series:
    """Monthly values, how many of them are read and forecast, and the length of a season."""

    name: str
    values: np.ndarray
    reads: int
    ahead: int
    season: int
    logarithmic: bool = False


def sunspots() -> np.ndarray:
    lines = (FOLDER / "sunspots_monthly.dat").read_text().splitlines()
    rows = [line.split() for line in lines if line[:4].isdigit()]
    return np.array([float(cell) for row in rows for cell in row[1:13]])


def el_nino() -> np.ndarray:
    with open(FOLDER / "elnino.csv", newline="") as file:
        return np.array([float(cell) for row in list(csv.reader(file))[1:] for cell in row[1:]])


def passengers() -> np.ndarray:
    with open(FOLDER / "airline_passengers.csv", newline="") as file:
        return np.array([float(row[1]) for row in list(csv.reader(file))[1:]])


class Forecaster(nn.Module):
    """A linear part, and a recurrent one that says nothing at first."""

    def __init__(self, weights: np.ndarray, generator: np.random.Generator) -> None:
        reads, ahead = weights[:-1].shape
        self.layers = nn.GRU(1, 32, generator=generator)
        self.readout = nn.Linear(32, ahead, generator=generator)
        self.readout.W.assign(np.zeros((32, ahead)))
        self.readout.b.assign(weights[-1])
        self.linear = nn.Linear(reads, ahead, bias=False, generator=generator)
        self.linear.W.assign(weights[:-1])

    def forward(self, xs):
        return self.readout(self.layers(xs[..., None]).last) + self.linear(xs)

    def loss(self, xs, target):
        return tg.mse_loss(self(xs), target).named("loss")


def cut(values: np.ndarray, reads: int, ahead: int) -> dict[str, np.ndarray]:
    """All windows of what is read, and what comes after each."""
    windows = np.lib.stride_tricks.sliding_window_view(values.astype(np.float32), reads + ahead)
    return {"xs": windows[:, :reads], "target": windows[:, reads:]}


def with_ones(xs: np.ndarray) -> np.ndarray:
    return np.column_stack([xs, np.ones(len(xs))])


def least_squares(train: dict[str, np.ndarray]) -> np.ndarray:
    """The best linear map (read + 1, ahead), its constants in the last row, with a small penalty."""
    a = with_ones(train["xs"]).astype(np.float64)
    return np.linalg.solve(a.T @ a + 0.1 * np.eye(a.shape[1]), a.T @ train["target"])


def trained(
    columns: dict[str, np.ndarray], weights: np.ndarray, epochs: int, seed: int
) -> tuple[Forecaster, tg.train.History]:
    generator = np.random.default_rng(seed)
    model = Forecaster(weights, generator)
    batches = Batches(columns, batch_size=32, generator=generator)
    optimizer = optim.AdamW(model, optim.cosine(4e-3, epochs * len(batches)), weight_decay=0.01)
    return model, tg.fit(model, batches, epochs=epochs, optimizer=optimizer, clip=1.0)


def forecast(
    series: Series, epochs: int, seed: int
) -> tuple[dict[str, float], dict[str, np.ndarray], tg.train.History]:
    """Mean absolute error of each method on the last fifth, the last forecast of each, and the training."""
    values = np.log(series.values) if series.logarithmic else series.values
    known, new = split(values, (0.8, 0.2))
    mean, deviation = known.mean(), known.std()
    scaled = lambda a: (a - mean) / deviation
    train = cut(scaled(known), series.reads, series.ahead)
    test = cut(scaled(np.concatenate([known[-series.reads :], new])), series.reads, series.ahead)
    weights = least_squares(train)
    trainings = [trained(train, weights, epochs, seed + k) for k in range(NETWORKS)]
    xs = test["xs"]
    with tg.no_grad():
        found = {
            "persistence": np.repeat(xs[:, -1:], series.ahead, 1),
            "last season": xs[:, -series.season :][:, : series.ahead],
            "linear": with_ones(xs) @ weights,
            "GRU": np.mean([model(xs).numpy() for model, _ in trainings], 0),
        }
    back = lambda a: np.exp(a * deviation + mean) if series.logarithmic else a * deviation + mean
    errors = {name: float(np.abs(back(f) - back(test["target"])).mean()) for name, f in found.items()}
    last = {"read": back(xs[-1]), "true": back(test["target"][-1]), **{name: back(f[-1]) for name, f in found.items()}}
    return errors, last, trainings[0][1]


def plot(series: list[Series], lasts: list[dict[str, np.ndarray]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6 * len(series)), layout="constrained")
    for axis, one, last in zip(figure.subplots(len(series), 1), series, lasts):
        axis.plot(range(-one.reads, 0), last.pop("read"), color="black")
        axis.plot(range(one.ahead), last.pop("true"), color="black", linestyle=":", label="what came")
        for name, values in last.items():
            axis.plot(range(one.ahead), values, label=name, linewidth=2 if name == "GRU" else 1)
        axis.set(title=one.name, xlabel="month")
        axis.legend(fontsize="small")
    figure.savefig(path)


def main() -> None:
    args = parsed(options(__doc__, "forecasting"))
    listed = [
        Series("sunspots", sunspots(), reads=132, ahead=12, season=132),
        Series("El Niño, °C", el_nino(), reads=24, ahead=6, season=12),
        Series("passengers, thousands", passengers(), reads=24, ahead=12, season=12, logarithmic=True),
    ]
    listed, epochs = (listed[1:], [2, 2]) if args.quick else (listed, [12, 20, 20])
    found = [forecast(series, n, args.seed) for series, n in zip(listed, epochs, strict=True)]
    methods = list(found[0][0])
    rows = [
        [series.name, f"{series.ahead} months", *(f"{errors[m]:.2f}" for m in methods)]
        for series, (errors, _, _) in zip(listed, found, strict=True)
    ]
    print(table(["mean absolute error", "ahead", *methods], rows))
    shown = [
        (series.name, errors["GRU"], min(errors[m] for m in methods[:3]))
        for series, (errors, _, _) in zip(listed, found, strict=True)
    ]
    report(
        data=f"the first four fifths of {', '.join(f'{len(s.values):,} months of {s.name}' for s in listed)}",
        model=f"GRU, {Forecaster(np.zeros((25, 12)), np.random.default_rng(0)).parameter_count:,} parameters",
        baseline=", ".join(f"{name} {best:.2f}" for name, _, best in shown) + ", each by the best of three",
        result=", ".join(f"{name} {error:.2f}" for name, error, _ in shown),
    )
    found[0][2].plot(args.out / "history.svg")
    plot(listed, [last for _, last, _ in found], args.out / "forecasts.svg")
    print(f"written to {args.out}: history.svg, forecasts.svg")


if __name__ == "__main__":
    main()
