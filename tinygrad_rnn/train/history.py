"""What happened while a model was trained, as numbers and as a picture."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["History"]


@dataclass
class History:
    """The course of a training.

    Attributes
    ----------
    losses : list of float
        Of each update: the mean over its batches.
    rates : list of float
        The learning rate of each update.
    evaluations : list of dict
        For each evaluation ``update`` and ``epoch`` after which it was, the mean ``train_loss`` since the last one,
        and, where there is a validation set, its ``loss`` and metrics.
    best : int or None
        Which of the evaluations was the best.
    seconds : float
        Time spent, that before a resumption with it. It is not looked at when histories are compared.
    stopped : str or None
        ``"epochs"`` when all were done, ``"patience"`` when it stopped early.

    Examples
    --------
    >>> from tinygrad_rnn.train import History
    >>> history = History(losses=[2.0, 1.0], rates=[0.1, 0.1], best=0)
    >>> history.evaluations.append({"update": 2, "epoch": 1, "train_loss": 1.5, "loss": 1.25, "accuracy": 0.5})
    >>> print(history)
    update  epoch  train_loss  loss  accuracy
         2      1         1.5  1.25       0.5  best
    """

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best: int | None = None
    seconds: float = field(default=0.0, compare=False)
    stopped: str | None = None

    @property
    def best_evaluation(self) -> dict[str, float] | None:
        """The evaluation that was the best, if there was one."""
        return None if self.best is None else self.evaluations[self.best]

    def check(self) -> None:
        """Raise for fields that are not what they must be, as those of a file may be.

        Raises
        ------
        TypeError, ValueError
        """
        series = np.asarray(self.losses, float), np.asarray(self.rates, float)
        if any(s.ndim != 1 for s in series) or len(series[0]) != len(series[1]):
            raise ValueError("losses and rates must be numbers, one for each update")
        for row in self.evaluations:
            if not isinstance(row, dict) or not all(isinstance(v, int | float) for v in row.values()):
                raise TypeError("evaluations must be dicts of numbers")
        if self.best is not None and not 0 <= self.best < len(self.evaluations):
            raise ValueError(f"there is no evaluation {self.best}")
        if self.stopped not in (None, "epochs", "patience") or not isinstance(self.seconds, int | float):
            raise ValueError(f"seconds {self.seconds!r}, stopped {self.stopped!r}")

    def __str__(self) -> str:
        if not self.evaluations:
            return f"{len(self.losses)} updates, no evaluation"
        names = list(self.evaluations[-1])
        rows = [[f"{row[name]:.4g}" for name in names] for row in self.evaluations]
        widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)) for row in [names, *rows]]
        if self.best is not None:
            lines[self.best + 1] += "  best"
        return "\n".join(lines)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw losses, metrics and the learning rate over the updates, and write the picture if a path is given.

        It needs matplotlib. The loss of each update is drawn pale, its running mean over it; the best evaluation is
        marked.

        Parameters
        ----------
        path : path, optional
            Its suffix says which kind of file, as ``.svg`` or ``.png``.

        Returns
        -------
        matplotlib.figure.Figure
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("History.plot needs matplotlib: pip install matplotlib") from error
        metrics = [n for n in (self.evaluations or [{}])[-1] if n not in ("update", "epoch", "train_loss", "loss")]
        count = 1 + bool(metrics)
        figure = Figure(figsize=(7, 3 * count), layout="constrained")
        axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
        self._draw_losses(axes[0])
        for name in metrics:
            axes[-1].plot(self._column("update"), self._column(name), ".-", label=name)
        for axis in axes:
            if self.best is not None:
                axis.axvline(self.evaluations[self.best]["update"], color="grey", linestyle=":", label="best")
            axis.legend()
        axes[-1].set_xlabel("update")
        if path is not None:
            figure.savefig(Path(path))
        return figure

    def _column(self, name: str) -> list[float]:
        return [row[name] for row in self.evaluations]

    def _draw_losses(self, axis: Any) -> None:
        updates = np.arange(1, len(self.losses) + 1)
        axis.plot(updates, self.losses, color="C0", alpha=0.25, linewidth=0.7)
        axis.plot(updates, running_mean(self.losses), color="C0", label="training loss")
        if self.evaluations and "loss" in self.evaluations[-1]:
            axis.plot(self._column("update"), self._column("loss"), "C1.-", label="validation loss")
        axis.set_ylabel("loss")
        rate = axis.twinx()
        rate.plot(updates, self.rates, color="C2", linewidth=0.7)
        rate.set_ylabel("learning rate", color="C2")


def running_mean(values: list[float], over: int | None = None) -> np.ndarray:
    """Mean of the last `over` values, by default a twentieth of all, at each place."""
    width = max(1, len(values) // 20 if over is None else over)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
