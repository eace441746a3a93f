"""The training loop."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from ..data.prefetch import Prefetch
from ..data.source import Batch, Source
from ..errors import AnomalyError, fail
from ..nn.module import Module
from ..optim import Adam, Optimizer
from ..settings import check_count, check_counts, check_switch
from .checkpoint import Checkpoints, Progress
from .evaluation import Evaluator, Metric, training
from .history import History
from .interrupt import Interruptible
from .step import Clip, LossFunction, TrainingStep, started_state

__all__ = ["fit"]

HIGHER_IS_BETTER = ("accuracy", "f1")


def fit(
    model: Module,
    batches: Source | Prefetch | Sequence[Mapping[str, Any]],
    *,
    epochs: int = 1,
    optimizer: Optimizer | None = None,
    loss: LossFunction | None = None,
    clip: Clip | None = None,
    accumulate: int = 1,
    validation: Iterable[Mapping[str, Any]] | None = None,
    metrics: Iterable[str] | Mapping[str, Metric] = (),
    every: int | None = None,
    monitor: str = "loss",
    mode: str | None = None,
    patience: int | None = None,
    keep_best: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    generators: Sequence[np.random.Generator] = (),
    compile: bool = True,
    progress: bool = True,
    strict: bool = False,
) -> History:
    """Train a model.

    The same model, batches and seeds give the same parameters, bit for bit; so does a training that was killed at any
    moment and then resumed.

    Parameters
    ----------
    model : Module
        Trained in train mode, whichever it is in; afterwards it is in that again.
    batches : Batches, Windows, Prefetch, or list of dict
        Dicts of arrays, by the names of the loss's arguments. Of batches that go on where the one before ended the
        state is carried along, from ``model.initial_state(batch)`` at the beginning of each epoch.
    epochs : int
        How often to go through the batches, what a resumed training has done already counted.
    optimizer : Optimizer, optional
        Adam with a learning rate of 0.001 by default; schedules are learning rates of an optimiser.
    loss : callable, optional
        ``loss(model, **batch)`` gives a scalar tensor; if a state is carried along it also takes ``state``, and gives
        ``(scalar, state)``. By default ``model.loss(**batch)``.
    clip : float or callable, optional
        Largest norm of all gradients together; or what is to be done with the model's gradients, as
        ``lambda model: tg.optim.clip_grad_value(model, 1.0)``.
    accumulate : int
        Number of batches for each update, whose gradient is that of the mean of their losses; fewer at the end of an
        epoch.
    validation : batches, optional
        Held out, and evaluated with the model in eval mode.
    metrics : names, or dict of name to function
        Of the validation set: "accuracy" and "f1" (the mean over classes), for which ``model.predict`` gives classes;
        "perplexity", and "bits" (the loss in bits: of a character model bits per character). A function takes an
        :class:`~tinygrad_rnn.train.Evaluation`.
    every : int, optional
        Number of updates between evaluations, and checkpoints; by default they come with the end of each epoch. The
        last update is followed by them in any case.
    monitor : str
        The loss or metric of the validation set that says which model is the best.
    mode : "min" or "max", optional
        Whether that is the lowest or the highest; by default the highest for accuracy and f1, the lowest for all else.
    patience : int, optional
        Stop early, after so many evaluations in a row that were none the best.
    keep_best : bool
        Leave the model as it was at its best evaluation, not as it was at last.
    checkpoint : path, optional
        A folder for ``last.safetensors``, from which to resume, and ``best.safetensors``, the tensors of the best
        model for ``model.load_state_dict(tg.load(path))``. Each is replaced whole or not at all.
    resume : bool
        Go on from the folder's checkpoint exactly, if there is one. Else what is there is overwritten.
    generators : sequence of numpy.random.Generator
        To be saved and resumed too; those are known that the model, `loss` and `clip` find around them: in attributes,
        closures, and the globals that their code names.
    compile : bool
        Make one program of the training step for each shape of batches.
    progress : bool
        Show a progress bar with loss, rate, and time left.
    strict : bool
        Raise where there would be a warning: at the first update, of parameters that the optimiser holds and the loss
        does not reach, frozen ones apart. Where the step is not compiled and draws random numbers, so that it may leave
        out other parts each time, after the first epoch, of those that none of its updates reaches.

    Returns
    -------
    History
        Losses, learning rates and evaluations; its ``plot()`` draws them.

    Raises
    ------
    AnomalyError
        If a loss is NaN or infinite. No checkpoint is written then.
    DisconnectedError
        With `strict`, if the loss does not reach a parameter.
    KeyboardInterrupt
        After Ctrl-C, when the update under way is done and the checkpoint is written. A second one does not wait.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> rng = np.random.default_rng(0)
    >>> bits = [rng.integers(0, 2, n) for n in rng.integers(2, 9, 300)]        # which bit came first?
    >>> train, held_out = tg.data.split({"xs": bits, "target": [b[0] for b in bits]}, (0.8, 0.2))
    >>> model = tg.nn.ManyToOne(4, 8, 2, vocabulary=2, cell="gru", generator=0)
    >>> history = tg.fit(
    ...     model, tg.data.Batches(train, batch_size=20, lengths="xs", generator=0), epochs=8,
    ...     optimizer=tg.optim.Adam(model, 0.02), clip=1.0, metrics=["accuracy"], progress=False,
    ...     validation=tg.data.Batches(held_out, batch_size=60, lengths="xs"),
    ... )
    >>> history.evaluations[-1]["accuracy"]
    1.0
    """
    _check(epochs, accumulate, every, patience, mode)
    for name, value in {"keep_best": keep_best, "resume": resume, "compile": compile, "progress": progress}.items():
        check_switch(f"fit: {name}", value)
    source = batches if isinstance(batches, Source | Prefetch) else _Listed(batches)
    if validation is None and (keep_best or metrics or patience is not None):
        raise fail(ValueError, "fit: metrics, keep_best and patience look at a validation set", hint="pass validation=")
    optimizer = Adam(model, 1e-3) if optimizer is None else optimizer
    trainer = _Trainer(
        model, source, optimizer, TrainingStep(model, optimizer, loss, clip, compile, accumulate, strict), accumulate,
        evaluator=None if validation is None else Evaluator(model, loss, metrics, compile),
        validation=validation,
        judge=_Judge(monitor, mode, patience),
        every=every,
        checkpoints=None
        if checkpoint is None
        else Checkpoints(checkpoint, model, optimizer, source, generators, [loss, clip]),
        keep_best=keep_best,
    )  # fmt: skip
    with training(model):
        return trainer.train(epochs, resume, progress)


@dataclass
class _Trainer:
    model: Module
    batches: Any
    optimizer: Optimizer
    step: TrainingStep
    accumulate: int
    evaluator: Evaluator | None
    validation: Any
    judge: _Judge
    every: int | None
    checkpoints: Checkpoints | None
    keep_best: bool
    run: Progress = field(default_factory=Progress)
    best: dict[str, np.ndarray] | None = None

    def train(self, epochs: int, resume: bool, progress: bool) -> History:
        self._begin(resume)
        updates = -(-len(self.batches) // self.accumulate)
        if self.run.history.stopped == "epochs" and self.run.epoch < epochs:
            self.run.history.stopped = None  # more are asked for than before
        began, before = time.perf_counter(), self.run.history.seconds
        with Interruptible() as interrupt, _Bar(progress, epochs * updates, self.run) as bar:
            while self.run.history.stopped is None and self.run.epoch < epochs:
                for group, ends_epoch in self._groups():
                    self._update(group, ends_epoch)
                    self.run.history.seconds = before + time.perf_counter() - began
                    self._look(ends_epoch, epochs)
                    bar.show(self.run, epochs)
                    if interrupt.asked:
                        self._interrupted()
                    if self.run.history.stopped is not None:
                        break
        if self.keep_best:
            self._restore_best()
        return self.run.history

    def _begin(self, resume: bool) -> None:
        restored = self.checkpoints.restore() if resume and self.checkpoints else None
        if restored is not None:
            self.run = restored
        elif self.checkpoints:
            self.checkpoints.begin(self.run)

    def _groups(self) -> Iterator[tuple[list[Batch], bool]]:
        """The batches of each update of the rest of an epoch, and whether they are the last."""
        batches, total = iter(self.batches), len(self.batches)
        while group := list(islice(batches, self.accumulate)):
            yield group, self.batches.state_dict()["position"] in (0, total)

    def _update(self, group: list[Batch], ends_epoch: bool) -> None:
        run = self.run
        if self.batches.carries_state and run.state is None:
            run.state = started_state(self.model, group[0])
        rate = self.optimizer.lr
        loss, run.state = self.step(group, run.state)
        run.update += 1
        if not math.isfinite(loss):
            raise fail(
                AnomalyError, f"fit: the loss of update {run.update} is {loss}", expected="a finite number",
                hint="lower the learning rate, clip gradients, or run with compile=False inside tg.detect_anomaly()",
            )  # fmt: skip
        run.history.losses.append(loss)
        run.history.rates.append(rate)
        if ends_epoch:
            self.step.reached.end()
            run.epoch, run.state = run.epoch + 1, None

    def _look(self, ends_epoch: bool, epochs: int) -> None:
        """Evaluate and save when it is time to."""
        run = self.run
        at_end = run.epoch >= epochs
        if not at_end and (run.update % self.every if self.every else not ends_epoch):
            return
        self._evaluate()
        if self.judge.tired(run):
            run.history.stopped = "patience"
        elif at_end:
            run.history.stopped = "epochs"
        if self.checkpoints:
            self.checkpoints.save(run)

    def _evaluate(self) -> None:
        run, rows = self.run, self.run.history.evaluations
        since = int(rows[-1]["update"]) if rows else 0
        row = {"update": run.update, "epoch": run.epoch, "train_loss": float(np.mean(run.history.losses[since:]))}
        if self.evaluator is not None:
            row |= self.evaluator(self.validation)
        rows.append(row)
        if self.evaluator is None:
            return
        if self.judge.better(row, run.history.best_evaluation):
            run.history.best, run.stale = len(rows) - 1, 0
            self._keep(row)
        else:
            run.stale += 1

    def _keep(self, row: dict[str, float]) -> None:
        if self.checkpoints:
            self.checkpoints.save_best(row)
        elif self.keep_best:
            self.best = self.model.state_dict()

    def _restore_best(self) -> None:
        if self.checkpoints and self.checkpoints.best.is_file():
            self.checkpoints.load_best()
        elif self.best is not None:
            self.model.load_state_dict(self.best)

    def _interrupted(self) -> None:
        saved = "nothing is saved, as there is no checkpoint folder"
        if self.checkpoints:
            self.checkpoints.save(self.run)
            saved = f"saved in {self.checkpoints.last}; resume=True goes on from there"
        raise KeyboardInterrupt(f"fit: interrupted after update {self.run.update}; {saved}")


class _Judge:
    """Which model is the best, and when to give up waiting for a better one."""

    def __init__(self, monitor: str, mode: str | None, patience: int | None) -> None:
        self.monitor, self.patience = monitor, patience
        self._sign = 1 if (mode or ("max" if monitor in HIGHER_IS_BETTER else "min")) == "max" else -1

    def better(self, row: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        if self.monitor not in row:
            there = [name for name in row if name not in ("update", "epoch", "train_loss")]
            raise fail(KeyError, f"fit: monitor={self.monitor!r} is not evaluated", expected=f"one of {there}")
        return not math.isnan(row[self.monitor]) and (
            best is None or self._sign * row[self.monitor] > self._sign * best[self.monitor]
        )

    def tired(self, run: Progress) -> bool:
        return self.patience is not None and run.stale >= self.patience


class _Bar:
    """A progress bar; without one nothing is shown, and tqdm is not needed."""

    def __init__(self, wanted: bool, total: int, run: Progress) -> None:
        self._wanted, self._total, self._start = wanted, total, run.update
        self._recent: deque[float] = deque(maxlen=50)
        self._bar: Any = None

    def __enter__(self) -> _Bar:
        if self._wanted:
            from tqdm import tqdm

            self._bar = tqdm(total=self._total, initial=self._start, unit="update", dynamic_ncols=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, run: Progress, epochs: int) -> None:
        if self._bar is None:
            return
        self._recent.append(run.history.losses[-1])
        numbers = {"loss": sum(self._recent) / len(self._recent)}
        row = run.history.evaluations[-1] if run.history.evaluations else {}
        numbers |= {f"held out {k}": v for k, v in row.items() if k not in ("update", "epoch", "train_loss")}
        self._bar.set_description(f"epoch {min(run.epoch + 1, epochs)}/{epochs}", refresh=False)
        self._bar.set_postfix_str(", ".join(f"{k} {v:.4g}" for k, v in numbers.items()), refresh=False)
        self._bar.update(1)


class _Listed(Source):
    """A list of batches as a source."""

    def __init__(self, batches: Any) -> None:
        super().__init__()
        if not hasattr(batches, "__getitem__") or not hasattr(batches, "__len__") or isinstance(batches, Mapping):
            raise fail(
                TypeError, f"fit: batches are a {type(batches).__name__}",
                expected="tg.data.Batches or Windows, or a list of dicts of arrays",
                hint="what can be gone through once only cannot be trained on for epochs",
            )  # fmt: skip
        if not len(batches):
            raise fail(ValueError, "fit: there are no batches", expected="at least one")
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def _plan(self) -> Any:
        return range(len(self._batches))

    def _made(self, part: int) -> Batch:
        return self._batches[part]


def _check(epochs: int, accumulate: int, every: int | None, patience: int | None, mode: str | None) -> None:
    check_counts("fit", epochs=epochs, accumulate=accumulate)
    for name, number in {"every": every, "patience": patience}.items():
        if number is not None:
            check_count(f"fit: {name}", number)
    if mode not in (None, "min", "max"):
        raise ValueError(f"fit: mode must be 'min' or 'max', got {mode!r}")
