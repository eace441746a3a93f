"""How good a model is on batches: its loss, and what else is asked for."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from ..compile import compile as compiled
from ..errors import PlaceholderError, fail
from ..nn import metrics as measures
from ..nn.module import Module
from ..scope import no_grad
from ..tensor import Tensor
from .step import LossFunction, loss_and_state, loss_of, started_state

__all__ = ["Evaluation", "Evaluator", "Metric", "evaluate"]


class Evaluation:
    """What a metric gets: a model in eval mode, batches, the mean loss, and on request predictions and targets.

    Attributes
    ----------
    model : Module
    batches : iterable of dict
    loss : float
        Mean of the losses of the batches, each counted as often as it has targets; in nats for a cross-entropy.
    """

    def __init__(self, model: Module, batches: Any, loss: float, predict: Callable[..., Any]) -> None:
        self.model, self.batches, self.loss, self._predict = model, batches, loss, predict

    @cached_property
    def outcomes(self) -> tuple[np.ndarray, np.ndarray]:
        """Predicted and true classes, one after the other; without those that lengths or a mask hide."""
        pairs = [self._shown(batch) for batch in self.batches]
        predicted, true = zip(*pairs, strict=True)
        return np.concatenate(predicted), np.concatenate(true)

    def _shown(self, batch: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        if "target" not in batch:
            raise fail(
                KeyError, "evaluate: a metric compares predictions with targets",
                expected="a batch with a 'target'", got=str(list(batch)),
                hint="pass metrics as functions of an Evaluation, {'name': fn}",
            )  # fmt: skip
        target = np.asarray(batch["target"])
        prediction = np.asarray(self._predict(batch))
        mask = _mask(batch, target)
        return (prediction.reshape(-1), target.reshape(-1)) if mask is None else (prediction[mask], target[mask])


Metric = Callable[[Evaluation], float]


def _f1(evaluation: Evaluation) -> float:
    """The mean over the classes that are there, or were predicted."""
    predicted, true = evaluation.outcomes
    seen = np.union1d(predicted, true)
    return float(measures.f1_score(predicted, true, classes=int(seen.max()) + 1)[seen].mean())


METRICS: dict[str, Metric] = {
    "accuracy": lambda evaluation: measures.accuracy(*evaluation.outcomes),
    "f1": _f1,
    "perplexity": lambda evaluation: measures.perplexity(evaluation.loss),
    "bits": lambda evaluation: evaluation.loss / math.log(2),
}


def evaluate(
    model: Module,
    batches: Iterable[Mapping[str, Any]],
    *,
    loss: LossFunction | None = None,
    metrics: Iterable[str] | Mapping[str, Metric] = (),
    compile: bool = True,
) -> dict[str, float]:
    """Loss and metrics of a model on batches, in eval mode; nothing is recorded and nothing is changed.

    Parameters
    ----------
    model, batches, loss, metrics, compile
        As for :func:`~tinygrad_rnn.fit`.

    Returns
    -------
    dict of str to float
        ``"loss"``, and the metrics by name.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.ManyToOne(4, 8, 2, vocabulary=9, generator=0)
    >>> batches = tg.data.Batches({"xs": [[1, 2], [3]], "target": [0, 1]}, batch_size=2, lengths="xs")
    >>> sorted(tg.train.evaluate(model, batches, metrics=["accuracy", "f1"]))
    ['accuracy', 'f1', 'loss']
    """
    return Evaluator(model, loss, metrics, compile)(batches)


class Evaluator:
    """Evaluates one model again and again by the same compiled functions."""

    def __init__(
        self, model: Module, loss: LossFunction | None, metrics: Iterable[str] | Mapping[str, Metric], compile: bool
    ) -> None:
        self.model, self.metrics = model, _named(metrics)
        run = loss_of(model, loss)
        self._loss = compiled(run, max_programs=64) if compile else run
        self._predict = _Predictor(model, compile)

    def __call__(self, batches: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        with evaluating(self.model), no_grad():
            evaluation = Evaluation(self.model, batches, self._mean_loss(batches), self._predict)
            return {"loss": evaluation.loss, **{name: float(fn(evaluation)) for name, fn in self.metrics.items()}}

    def _mean_loss(self, batches: Any) -> float:
        total = count = 0.0
        state: Any = None
        for batch in batches:
            if state is None and getattr(batches, "carries_state", False):
                state = started_state(self.model, batch)
            loss, state = loss_and_state(self._loss(batch, state))
            weight = _weight(batch)
            total, count = total + weight * loss.item(), count + weight
        if not count:
            raise fail(ValueError, "evaluate: there are no batches", expected="at least one, with a target")
        return total / count


class _Predictor:
    """``model.predict`` with those entries of a batch that it takes; compiled where its result needs no values."""

    def __init__(self, model: Module, compile: bool) -> None:
        self._model, self._compile = model, compile
        self._run: Any = None

    def __call__(self, batch: Mapping[str, Any]) -> np.ndarray:
        predict = getattr(self._model, "predict", None)
        if predict is None:
            raise fail(
                TypeError, f"evaluate: {type(self._model).__name__} has no method predict",
                hint="write one, or pass metrics as functions of an Evaluation, {'name': fn}",
            )  # fmt: skip
        taken = inspect.signature(predict).parameters
        inputs = {name: a for name, a in batch.items() if name in taken and name != "target"}
        if self._run is None:
            self._run = compiled(lambda inputs: predict(**inputs), max_programs=64) if self._compile else False
        if self._run:
            try:
                return self._run(inputs).numpy()
            except PlaceholderError:  # it decides by values, as a search for the best tags does
                self._run = False
        found = predict(**inputs)
        return found.numpy() if isinstance(found, Tensor) else np.asarray(found)


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Eval mode within the block; each module is then in the mode in which it was."""
    with _in_mode(model, training=False):
        yield


@contextmanager
def training(model: Module) -> Iterator[None]:
    """Train mode within the block for a model in eval mode; parts in eval mode of one that trains are left so."""
    if model.training:
        yield
        return
    with _in_mode(model, training=True):
        yield


@contextmanager
def _in_mode(model: Module, training: bool) -> Iterator[None]:
    others = [module for module in model.modules() if module.training != training]
    model.train(training)
    try:
        yield
    finally:
        for module in others:
            module.training = not training


def _named(metrics: Iterable[str] | Mapping[str, Metric]) -> dict[str, Metric]:
    if isinstance(metrics, Mapping):
        return dict(metrics)
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in names:
        if name not in METRICS:
            raise fail(
                ValueError, f"fit: the metric {name!r} is not known", expected=f"of {', '.join(METRICS)}",
                hint="pass others as functions of an Evaluation, {'name': fn}",
            )  # fmt: skip
    return {name: METRICS[name] for name in names}


def _mask(batch: Mapping[str, Any], target: np.ndarray) -> np.ndarray | None:
    """Which targets are there, where they have time steps."""
    if target.ndim < 2:
        return None
    if batch.get("mask") is not None:
        return np.asarray(batch["mask"])
    lengths = batch.get("target_lengths", batch.get("lengths"))
    return None if lengths is None else np.arange(target.shape[1]) < np.asarray(lengths)[:, None]


def _weight(batch: Mapping[str, Any]) -> float:
    """Number of targets of a batch; of examples where there are none."""
    target = batch.get("target")
    if target is None:
        return float(len(next(iter(batch.values()))))
    target = np.asarray(target)
    mask = _mask(batch, target)
    return float(target.size if mask is None else mask.sum())
