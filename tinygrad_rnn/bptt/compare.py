"""Remedies against vanishing gradients side by side: how far gradients reach, and who learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compile import compile
from ..errors import fail
from ..nn.init import Seed, generator_of
from ..nn.layers import Linear
from ..nn.module import Module
from ..nn.recurrent import Recurrent
from ..nn.unrolling import unroll
from ..ops.neural import cross_entropy
from ..optim import Adam, clip_grad_norm
from ..scope import no_grad
from ..tensor import Tensor
from .flow import flow
from .plots import new_axes
from .task import LongTermDependency
from .words import aligned, decay, number, said

__all__ = ["Comparison", "Remedy", "compare"]

EVERY = 25  # updates between two looks at whether it has learned


@dataclass(frozen=True, eq=False)
class Remedy:
    """How one model did.

    Attributes
    ----------
    name : str
    before, after : array (length,)
        Norm of the gradient at the states (h and c of an LSTM together) d steps before the end, as a share of that at
        the end, by d; before and after training.
    rate : float
        Factor per step back, before training.
    accuracy : float
        On sequences that were not trained on.
    learned_at : int or None
        After how many updates it could do the task; None if it cannot.
    """

    name: str
    before: np.ndarray
    after: np.ndarray
    rate: float
    accuracy: float
    learned_at: int | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """What :func:`compare` found; prints as a table.

    Attributes
    ----------
    task : Any
    remedies : dict of Remedy
        By name.
    """

    task: Any
    remedies: dict[str, Remedy]

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """A line for each model: its gradient over distance before training, and whether it learned."""
        far = self.task.length - 1
        distances = sorted({max(1, far // 10), max(1, far // 2), far})
        lines = [["", *(f"d={d}" for d in distances), "accuracy", "learned", "at first the gradient"]]
        for r in self.remedies.values():
            learned = "never" if r.learned_at is None else f"at {r.learned_at}"
            reach = [number(r.before[d]) for d in distances]
            lines.append([r.name, *reach, f"{r.accuracy:.0%}", learned, said(r.rate)])
        return aligned(lines)

    def plot(self, ax: Any = None) -> Any:
        """Draw the gradient's norm against distance, before training (solid) and after it (dotted); needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = new_axes(8, 5) if ax is None else ax
        for k, r in enumerate(self.remedies.values()):
            label = f"{r.name}: {'does not learn' if r.learned_at is None else f'learns, {r.learned_at} updates'}"
            ax.semilogy(np.where(r.before > 0, r.before, np.nan), color=f"C{k}", label=label)
            ax.semilogy(np.where(r.after > 0, r.after, np.nan), color=f"C{k}", linestyle=":")
        ax.set_xlabel("steps back from the end")
        ax.set_ylabel("norm of the gradient at the state, as a share of that at the end")
        ax.set_title(repr(self.task))
        ax.legend()
        return ax


def compare(
    models: Mapping[str, Any] | Sequence[Any],
    task: Any = None,
    *,
    updates: int = 1000,
    batch: int = 32,
    lr: float | Mapping[str, float] = 0.003,
    clip: float | None = 1.0,
    generator: Seed = 0,
    progress: bool = True,
    show: Callable[[str], Any] | None = print,
) -> Comparison:
    """Train cells on a task with a long memory, and set beside each other how far their gradients reach.

    Parameters
    ----------
    models : dict or sequence of cells or recurrent layers
        They are copied, so yours stay as they are. :func:`remedies` gives those of the books. In a sequence they are
        called by their classes.
    task : optional
        :class:`LongTermDependency` over 100 steps by default, or anything with its attributes.
    updates : int
        At most; a model that can do the task is trained no longer.
    batch : int
        Sequences per update.
    lr : float, or dict of float
        Learning rate of Adam; by name, to try a smaller one.
    clip : float, optional
        Threshold of the norm of the gradient; None for no clipping.
    generator : numpy.random.Generator or int, optional
        Of the sequences; all models see the same.
    progress : bool
        Show progress bars.
    show : callable, optional
        Gets the table, ``print`` by default; None for silence.

    Returns
    -------
    Comparison
        With the table, and ``plot()``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> task = tg.bptt.LongTermDependency(3)
    >>> models = {"rnn": tg.nn.RNNCell(1, 8, generator=0), "lstm": tg.nn.LSTMCell(1, 8, generator=0)}
    >>> found = tg.bptt.compare(models, task, lr=0.02, progress=False, show=None)
    >>> [r.accuracy for r in found.remedies.values()]
    [1.0, 1.0]
    """
    task = LongTermDependency() if task is None else task
    named = dict(models) if isinstance(models, Mapping) else _called(models)
    if not named:
        raise fail(ValueError, "compare: there are no models", expected="at least one cell or layer")
    if updates < 0 or batch < 1:
        raise ValueError(f"compare: expected updates >= 0 and batch >= 1; got {updates} and {batch}")
    if isinstance(lr, Mapping) and not named.keys() <= lr.keys():
        raise fail(
            ValueError, "compare: lr", expected=f"a learning rate for each of {', '.join(named)}",
            got=f"rates for {', '.join(lr) or 'none'}",
        )  # fmt: skip
    seed = int(generator_of(generator).integers(2**32))
    found = {}
    for name, model in named.items():
        rate = lr[name] if isinstance(lr, Mapping) else lr
        found[name] = _tried(name, model, task, updates, batch, rate, clip, seed, progress)
    result = Comparison(task, found)
    if show is not None:
        show(result.table())
    return result


def _called(models: Sequence[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for model in models:
        kind = type(model).__name__.removesuffix("Cell").lower()
        named[kind if kind not in named else f"{kind}_{len(named)}"] = model
    return named


class _Reader(Module):
    """A cell or layer, and a readout of its last output."""

    def __init__(self, model: Any, task: Any, generator: np.random.Generator) -> None:
        self.model = deepcopy(model)
        with no_grad():
            width = self._last(task.batch(1, generator)[0]).shape[-1]
        self.readout = Linear(width, task.classes, generator=generator)

    def _last(self, xs: Any) -> Tensor:
        return (self.model(xs) if isinstance(self.model, Recurrent) else unroll(self.model, xs)).last

    def forward(self, xs: Any) -> Tensor:
        return self.readout(self._last(xs))

    def loss(self, xs: Any, target: Any) -> Tensor:
        return cross_entropy(self(xs), target)


def _tried(
    name: str, model: Any, task: Any, updates: int, batch: int, lr: float, clip: float | None, seed: int, progress: bool
) -> Remedy:
    generator = np.random.default_rng(seed)
    reader = _Reader(model, task, generator)
    probe, test = task.batch(batch, generator), task.batch(500, generator)
    before, rate = _by_distance(reader, probe)
    learned_at = _train(name, reader, task, updates, batch, lr, clip, generator, progress)
    after, _ = _by_distance(reader, probe)
    return Remedy(name, before, after, rate, _accuracy(reader, *test), learned_at)


def _train(
    name: str, reader: _Reader, task: Any, updates: int, batch: int, lr: float, clip: float | None,
    generator: np.random.Generator, progress: bool,
) -> int | None:  # fmt: skip
    from tqdm import tqdm  # here, as importing it takes time

    optimizer = Adam(reader.parameters(), lr=lr)

    @compile
    def step(xs: Any, target: Any) -> Tensor:
        loss = reader.loss(xs, target)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            clip_grad_norm(reader, clip)
        optimizer.step()
        return loss

    for k in tqdm(range(updates), desc=name, unit="update", disable=not progress, leave=False):
        step(*task.batch(batch, generator))
        if (k + 1) % EVERY == 0 and _accuracy(reader, *task.batch(200, generator)) > 0.995:
            return k + 1
    return None


def _accuracy(reader: _Reader, xs: np.ndarray, target: np.ndarray) -> float:
    with no_grad():
        return float((reader(xs).numpy().argmax(-1) == target).mean())


def _by_distance(reader: _Reader, probe: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, float]:
    """How the gradient at the states, all together, changes with the distance from the end, and its factor per step."""
    states = flow(reader, probe).of("state")
    if not states:
        raise fail(ValueError, "compare: a model carries no state from step to step", expected="a recurrent cell")
    norms = np.sqrt(sum(np.nan_to_num(s.norms) ** 2 for s in states))[::-1]
    return norms / (norms[0] or 1.0), decay(norms, np.arange(len(norms)))
