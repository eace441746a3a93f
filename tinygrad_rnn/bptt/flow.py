"""How gradients flow through time: their norms at every state, gate and weight, and what that means in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import GradientError, ShapeError, fail
from ..grad.reverse import pull
from ..graph import Graph, graph
from ..graph.replay import with_values
from ..nn.module import Module
from ..tensor import Tensor, describe, leaf
from .entries import Entries
from .plots import new_axes
from .quantities import Quantity, quantities, unique
from .rows import Rows, total
from .words import aligned, decay, number, said

__all__ = ["Flow", "Series", "flow"]


@dataclass(frozen=True, eq=False)
class Series:
    """Norms of the gradient with respect to one quantity over time.

    Attributes
    ----------
    name : str
        With its scope, as ``lstm/h``.
    kind : "state", "gate", "input" or "weight"
        What is carried to another time step; what is computed in a step; what depends on no parameter; what is trained.
    norms : array (times,)
        Of the gradient of the loss with respect to the quantity in each step; of a weight, of the part that enters in
        that step. NaN where there is none.
    reach : array (times,), or None
        Of a state: norms of what reaches each step of the gradient at the last state (in order of computation), without
        what comes from the losses of earlier steps. It tells how gradients fade, also where every step has a loss.
    distances : array (times,), or None
        How many steps each state lies before the last one.
    """

    name: str
    kind: str
    norms: np.ndarray
    reach: np.ndarray | None = None
    distances: np.ndarray | None = None

    @property
    def rate(self) -> float:
        """The factor by which the gradient changes per step back, by a fit to the logarithm; NaN if there is none."""
        return math.nan if self.reach is None or self.distances is None else decay(self.reach, self.distances)


@dataclass(frozen=True, eq=False)
class Flow:
    """How the gradient of a loss flows; made by :func:`flow`. Its text is the verdict and the table.

    Attributes
    ----------
    loss : Tensor
    times : tuple of int
        Time steps, the columns.
    series : dict of Series
        By name: states first, then gates, inputs and weights.
    weights : dict of float
        Norm of the whole gradient of each weight.
    by_serial : dict of float
        Norm of the gradient at every node that it runs through, by serial number, as for colouring a picture.
    clip : float
        The threshold that norms are compared with.
    """

    loss: Tensor
    times: tuple[int, ...]
    series: dict[str, Series]
    weights: dict[str, float]
    by_serial: dict[int, float] = field(repr=False)
    clip: float

    def of(self, kind: str) -> list[Series]:
        """The series of a kind."""
        return [s for s in self.series.values() if s.kind == kind]

    def by_id(self, of: Graph | None = None) -> dict[str, float]:
        """Norms by the id of the node in a graph, that of the loss by default."""
        ids = (graph(self.loss) if of is None else of).ids
        return {ids[serial]: norm for serial, norm in self.by_serial.items() if serial in ids}

    @property
    def norm(self) -> float:
        """Of the gradient of all weights together: what clipping by norm looks at."""
        return math.hypot(*self.weights.values())

    @property
    def clipped(self) -> float:
        """The share of time steps in which the gradient at a state is longer than the threshold."""
        norms = np.stack([np.nan_to_num(s.norms) for s in self.of("state")]) if self.of("state") else np.zeros((1, 1))
        return float((norms.max(0) > self.clip).mean())

    def verdict(self) -> str:
        """What the numbers say, a line for each state."""
        lines = [f"{s.name}: the gradient {said(s.rate)}" for s in self.of("state")]
        lines.append(f"clip threshold {self.clip:g} hit in {self.clipped:.0%} of steps")
        ratio = self.norm / self.clip
        lines.append(f"the weights' gradient has norm {self.norm:.3g}, {ratio:.2g} times the threshold")
        return "\n".join(lines)

    def table(self, columns: int = 8) -> str:
        """Norms, a line for each quantity, at no more than `columns` time steps, spread evenly.

        The last column has the norm of the whole gradient of each weight, with what enters outside of time steps.
        """
        chosen = np.unique(np.linspace(0, len(self.times) - 1, min(columns, len(self.times))).round().astype(int))
        lines = [["", *(f"t={self.times[k]}" for k in chosen), "whole"]]
        for s in self.series.values():
            whole = self.weights[s.name] if s.kind == "weight" else math.nan
            lines.append([f"{s.kind} {s.name}", *(number(s.norms[k]) for k in chosen), number(whole)])
        return aligned(lines)

    def __str__(self) -> str:
        return f"{self.verdict()}\n\n{self.table()}"

    def heatmap(self, ax: Any = None) -> Any:
        """Draw the norms over time on a logarithmic scale, a row for each quantity; needs matplotlib.

        Zeros, and what is not there, stay white.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        rows = {s.name: s.norms for s in self.series.values() if not np.isnan(s.norms).all()}
        ax = new_axes(8, 0.9 + 0.25 * len(rows)) if ax is None else ax
        with np.errstate(divide="ignore"):
            shown = np.ma.masked_invalid(np.log10(np.stack(list(rows.values()))))
        image = ax.imshow(shown, aspect="auto", interpolation="nearest")
        ax.set_yticks(range(len(rows)), list(rows))
        ticks = np.unique(np.linspace(0, len(self.times) - 1, min(11, len(self.times))).round().astype(int))
        ax.set_xticks(ticks, [str(self.times[k]) for k in ticks])
        ax.set_xlabel("time step")
        ax.figure.colorbar(image, ax=ax, label="log₁₀ of the gradient's norm")
        return ax


def flow(model: Any, batch: Any = None, *, loss: Callable[..., Tensor] | None = None, clip: float = 1.0) -> Flow:
    """Norms of the gradient of a loss with respect to each state, gate and weight in each time step.

    Parameters
    ----------
    model : Module, callable, Tensor, or Graph
        A model with a ``loss`` method, or a function that gives a loss; or a loss that was computed already, or traced.
    batch : tuple, dict, or array
        Positional or named arguments, or the only argument. For a graph, arrays for its placeholders.
    loss : callable, optional
        ``loss(model, *batch)``, for a model that gives something else.
    clip : float
        Threshold of gradient clipping, for the verdict.

    Returns
    -------
    Flow
        Prints as verdict and table; has a heat map, and numbers for colouring a picture.

    Raises
    ------
    ShapeError
        If the loss holds more than one value.
    GradientError
        If nothing in a time step has a gradient.

    Notes
    -----
    One backward pass, and one more for each state. A quantity is what has a name, and what is carried from one time
    step to another, whether it has a name or not. Nothing is added to ``.grad``.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(1, 1, activation="identity", bias=False, dtype=np.float64)
    >>> cell.load_state_dict({"W_i": [[1.0]], "W_h": [[0.5]]})
    >>> seen = tg.bptt.flow(lambda xs: (4 * tg.nn.unroll(cell, xs).last).sum(), np.ones((1, 4, 1)))
    >>> print(seen.verdict())
    rnncell/h: the gradient vanishes by a factor of 0.5 per step; half-life 1 steps
    clip threshold 1 hit in 50% of steps
    the weights' gradient has norm 13.3, 13 times the threshold
    >>> seen.series["rnncell/h"].norms.tolist()
    [0.5, 1.0, 2.0, 4.0]
    """
    if not clip > 0:
        raise ValueError(f"flow: clip must be positive, got {clip}")
    value = _loss(model, batch, loss)
    recorded = graph(value)
    found = quantities(recorded)
    weights = _weights(model, recorded, {q.name for q in found})
    entries = Entries([value], list(weights.values()), watch=[t for q in found for t in q.members])
    norms, sums, parts = _norms(entries, weights)
    times = tuple(sorted({t.time for q in found for t in q.members if t.time is not None and t.serial in norms}))
    if not times:
        raise fail(
            GradientError, f"flow: nothing that {describe(value)} depends on was recorded in a time step",
            hint="loop over time with: for t in tg.steps(T)",
        )  # fmt: skip
    series = [s for q in found if (s := _series(q, times, norms, value)) is not None]
    series += [_of_weight(name, parts[name], times) for name in weights if name in parts]
    whole = {name: float(np.linalg.norm(g.astype(np.float64))) for name, g in sums.items()}
    norms |= {weights[name].serial: norm for name, norm in whole.items()}
    order = ("state", "gate", "input", "weight")
    series.sort(key=lambda s: order.index(s.kind))
    return Flow(value, times, {s.name: s for s in series}, whole, norms, float(clip))


# What is asked for ----------------------------------------------------------------------------------------------------


def _loss(model: Any, batch: Any, loss: Any) -> Tensor:
    if isinstance(model, Tensor):
        value = model
    elif isinstance(model, Graph):
        given = batch if isinstance(batch, list | tuple) else [] if batch is None else [batch]
        value = with_values("flow", list(model.outputs), given, model)[0]
    else:
        value = _called(model, batch, loss)
    if not isinstance(value, Tensor):
        raise fail(
            TypeError, "flow: the loss", expected="a tensor of one value", got=type(value).__name__,
            hint="pass loss=lambda model, *batch: ..., which computes it",
        )  # fmt: skip
    if value.is_symbolic:
        (value,) = with_values("flow", [value], None, None)
    if value.size != 1 or not value.is_float:
        raise fail(
            ShapeError, f"flow: the loss is {describe(value)}", expected="a float tensor of one value",
            hint="reduce it, as with .mean(), or pass loss=lambda model, *batch: ..., which computes it",
        )  # fmt: skip
    return value


def _called(model: Any, batch: Any, loss: Any) -> Any:
    args = batch if isinstance(batch, tuple) else () if batch is None or isinstance(batch, dict) else (batch,)
    named = batch if isinstance(batch, dict) else {}
    if loss is not None:
        return loss(model, *args, **named)
    fn = model.loss if isinstance(model, Module) and hasattr(model, "loss") else model
    if not callable(fn):
        raise fail(TypeError, "flow: model", expected="a model, function, tensor or graph", got=type(model).__name__)
    return fn(*args, **named)


def _weights(model: Any, recorded: Graph, taken: set[str]) -> dict[str, Tensor]:
    """Parameters by name: their paths in the model, or what the graph calls them."""
    paths = {t.serial: path for path, t in model.named_parameters()} if isinstance(model, Module) else {}
    weights = [t for t in recorded.parameters if t.is_float]
    return {unique(paths.get(t.serial, recorded.ids[t.serial]), taken): t for t in weights}


# What is found --------------------------------------------------------------------------------------------------------

Parts = dict[str, dict[int | None, float]]


def _norms(entries: Entries, weights: dict[str, Tensor]) -> tuple[dict[int, float], dict[str, np.ndarray], Parts]:
    """Norms at nodes, gradients of weights, and norms of the parts of these that enter in each step."""
    names = {t.serial: name for name, t in weights.items()}
    norms: dict[int, float] = {}
    sums: dict[str, np.ndarray] = {}
    parts: Parts = {}

    def visit(node: Tensor, g: Rows) -> None:
        norms[node.serial] = _norm(g.values[0])

    def entered(time: int | None, t: Tensor, pieces: list[Rows]) -> None:
        part, name = total(t, pieces).values[0], names[t.serial]
        sums[name] = sums[name] + part if name in sums else part
        parts.setdefault(name, {})[time] = _norm(part)

    entries.walk(entered, visit)
    return norms, sums, parts


def _norm(g: np.ndarray) -> float:
    return float(np.linalg.norm(g.astype(np.float64)))


def _series(q: Quantity, times: tuple[int, ...], norms: dict[int, float], loss: Tensor) -> Series | None:
    members = [t for t in q.members if t.serial in norms]
    if not members:
        return None
    row = _over_time(members, times, norms)
    if q.kind != "state":
        return Series(q.name, q.kind, row)
    reach, distances = _reach(members, times, loss)
    return Series(q.name, q.kind, row, reach, distances)


def _over_time(members: list[Tensor], times: tuple[int, ...], norms: dict[int, float]) -> np.ndarray:
    """A column for each time; where there are several in one step, the norm of all of them together."""
    squares = dict.fromkeys(times, math.nan)
    for t in members:
        if t.time in squares and t.serial in norms:
            squares[t.time] = norms[t.serial] ** 2 + (0.0 if math.isnan(squares[t.time]) else squares[t.time])
    return np.sqrt(np.array(list(squares.values())))


def _reach(members: list[Tensor], times: tuple[int, ...], loss: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """How the gradient of the last state goes back to earlier ones, and how far these are away."""
    ordered = sorted(members, key=lambda t: t.serial)
    last = [t for t in ordered if t.time == ordered[-1].time]
    seeds = pull([loss], [leaf(np.ones(loss.shape, loss.dtype))], last, False)
    pairs = [(t, g) for t, g in zip(last, seeds, strict=True) if g is not None]
    back = pull([t for t, _ in pairs], [g for _, g in pairs], ordered, False)
    norms = {t.serial: _norm(g.data) for t, g in zip(ordered, back, strict=True) if g is not None}
    position = {time: k for k, time in enumerate(dict.fromkeys(t.time for t in ordered))}
    distances = [float(len(position) - 1 - position[t]) if t in position else math.nan for t in times]
    return _over_time(ordered, times, norms), np.array(distances)


def _of_weight(name: str, parts: dict[int | None, float], times: tuple[int, ...]) -> Series:
    return Series(name, "weight", np.array([parts.get(t, math.nan) for t in times]))
