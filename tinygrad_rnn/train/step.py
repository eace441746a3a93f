"""One update of a model: compiled into one program, or gathered from several batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..compile import Compiled
from ..errors import fail
from ..nn.module import Module
from ..nn.state import mapped_state
from ..optim import Optimizer, clip_grad_norm
from ..settings import check_number
from ..tensor import Tensor
from .reached import Reached

__all__ = ["Clip", "LossFunction", "TrainingStep", "loss_and_state", "loss_of", "started_state"]

LossFunction = Callable[..., Any]
Clip = float | Callable[[Module], Any]


def loss_of(model: Module, loss: LossFunction | None) -> Callable[[Any, Any], Any]:
    """The loss as a function of a batch, and of the state that is carried along, if any."""
    own = getattr(model, "loss", None)
    if loss is None and own is None:
        raise fail(
            TypeError, f"fit: {type(model).__name__} has no method loss",
            hint="write one, or pass loss=, a function loss(model, **batch) that gives a scalar",
        )  # fmt: skip

    def run(batch: Mapping[str, Any], state: Any) -> Any:
        given = dict(batch) if state is None else {**batch, "state": state}
        return loss(model, **given) if loss is not None else own(**given)  # type: ignore[misc]

    return run


def loss_and_state(result: Any) -> tuple[Tensor, Any]:
    """What a loss function gave: a scalar, or a scalar and the state to carry along."""
    loss, state = result if isinstance(result, tuple) else (result, None)
    if not isinstance(loss, Tensor) or loss.shape != ():
        got = f"shape {loss.shape}" if isinstance(loss, Tensor) else type(loss).__name__
        raise fail(TypeError, "fit: the loss of a batch", expected="a scalar tensor, or (scalar, state)", got=got)
    return loss, state


def started_state(model: Module, batch: Mapping[str, Any]) -> Any:
    """The state that the streams of a batch begin with."""
    if not hasattr(model, "initial_state"):
        raise fail(
            TypeError, f"fit: {type(model).__name__} has no method initial_state",
            expected="one, as the batches carry a state along",
        )  # fmt: skip
    return model.initial_state(len(next(iter(batch.values()))))


class TrainingStep:
    """Updates a model by the gradient of the mean loss of one or several batches.

    Parameters
    ----------
    model : Module
    optimizer : Optimizer
    loss : callable or None
    clip : float, callable or None
    compile : bool
    accumulate : int
        Whether there are batches to gather; then gradients are added up in ``.grad``.
    strict : bool
        Raise where the first update does not reach a parameter.

    Attributes
    ----------
    reached : Reached
    """

    def __init__(
        self, model: Module, optimizer: Optimizer, loss: LossFunction | None, clip: Clip | None, compile: bool,
        accumulate: int, strict: bool,
    ) -> None:  # fmt: skip
        self._model, self._optimizer, self._clip = model, optimizer, _clipping(clip)
        self._loss = loss_of(model, loss)
        self.reached = Reached(model, optimizer, strict, [] if compile else [self._loss, model, loss])
        wrapped = (lambda fn: Compiled(fn, max_programs=64, part_of="fit")) if compile else (lambda fn: fn)
        self._whole = wrapped(self._updated)
        self._gathered, self._finish = wrapped(self._added), wrapped(self._finished)
        self._accumulate = accumulate

    def __call__(self, batches: Sequence[Mapping[str, Any]], state: Any) -> tuple[float, Any]:
        """Mean loss of the batches, which belong to one update, and the state after the last."""
        if self._accumulate == 1:
            loss, state = self._whole(batches[0], state)
            return loss.item(), state
        self._optimizer.zero_grad()
        share, total = np.array(1 / len(batches), np.float32), 0.0
        for batch in batches:
            loss, state = self._gathered(batch, state, share)
            total += loss.item()
        self._finish()
        return total / len(batches), state

    def _updated(self, batch: Any, state: Any) -> tuple[Tensor, Any]:
        self._optimizer.zero_grad()
        loss, state = loss_and_state(self._loss(batch, state))
        loss.backward()
        self._apply()
        return loss.detach(), _detached(state)

    def _added(self, batch: Any, state: Any, share: Any) -> tuple[Tensor, Any]:
        loss, state = loss_and_state(self._loss(batch, state))
        (loss * share).backward()
        return loss.detach(), _detached(state)

    def _finished(self) -> None:
        self._apply()
        self._optimizer.zero_grad()

    def _apply(self) -> None:
        """Change the parameters by the gradients that are there."""
        self.reached.look()
        self._clip(self._model)
        self._optimizer.step()


def _clipping(clip: Clip | None) -> Callable[[Module], Any]:
    if clip is None:
        return lambda model: None
    if callable(clip):
        return clip
    limit = check_number("fit: clip", clip, above=0, finite=False)
    return lambda model: clip_grad_norm(model, limit)


def _detached(state: Any) -> Any:
    return None if state is None else mapped_state(Tensor.detach, state)
