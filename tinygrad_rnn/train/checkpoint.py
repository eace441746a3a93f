"""Everything that a training depends on, in one file that is replaced whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import fail
from ..generators import found_around
from ..io import load, save
from ..nn.module import Module
from ..nn.state import leaves_of, mapped_state
from ..ops.create import tensor
from ..optim import Optimizer
from .history import History

__all__ = ["Checkpoints", "Run"]


@dataclass
class Run:
    """Where a training is.

    Attributes
    ----------
    epoch, update : int
        How many are done.
    state : nested tensors or None
        The model's, carried from batch to batch.
    stale : int
        Number of evaluations since the best one.
    history : History
    """

    epoch: int = 0
    update: int = 0
    state: Any = None
    stale: int = 0
    history: History = field(default_factory=History)


class Checkpoints:
    """Two files in a folder: ``last.safetensors`` has all of a training, ``best.safetensors`` the best model.

    Parameters
    ----------
    folder : path
    model : Module
    optimizer : Optimizer
    batches : Source
    generators : sequence of numpy.random.Generator
    functions : sequence of callable
        Whose generators are saved as well: those that they find around them, as the model's modules do.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: Module,
        optimizer: Optimizer,
        batches: Any,
        generators: Sequence[np.random.Generator],
        functions: Sequence[Any] = (),
    ) -> None:
        self.last, self.best = (Path(folder) / f"{name}.safetensors" for name in ("last", "best"))
        self.last.parent.mkdir(parents=True, exist_ok=True)
        self._model, self._optimizer, self._batches = model, optimizer, batches
        given = {f"given.{k}": g for k, g in enumerate(generators)}
        around = {f"around.{where}": g for where, g in found_around(model, *functions).items()}
        self._generators = _each_once({**generators_of(model), **given, **around})

    def begin(self, run: Run) -> None:
        """Write the start of a training over what was there of another one."""
        self.save(run)
        self.best.unlink(missing_ok=True)

    def save(self, run: Run) -> None:
        """Write all that the training depends on."""
        arrays = _under("model", self._model.state_dict()) | _under("optimizer", self._optimizer.state_dict())
        leaves = [] if run.state is None else leaves_of(run.state)
        arrays |= {f"state.{k}": leaf.numpy() for k, leaf in enumerate(leaves)}
        history = asdict(run.history)
        arrays |= {f"history.{name}": np.array(history.pop(name), np.float64) for name in ("losses", "rates")}
        notes = {
            "epoch": run.epoch, "update": run.update, "stale": run.stale, "history": history,
            "batches": self._batches.state_dict(),
            "generators": {name: g.bit_generator.state for name, g in self._generators.items()},
        }  # fmt: skip
        save(arrays, self.last, {"training": json.dumps(notes, default=_plain)})

    def save_best(self, evaluation: Mapping[str, float]) -> None:
        """Write the model, with how good it is."""
        save(self._model, self.best, {"evaluation": json.dumps(dict(evaluation))})

    def load_best(self) -> None:
        """Give the model the tensors that were the best."""
        self._model.load_state_dict(load(self.best))

    def restore(self) -> Run | None:
        """Go on from the last file, if there is one: model, optimiser, batches and generators as they were.

        Raises
        ------
        ValueError
            If it is not of a training, or of one with other batches or generators.
        KeyError, ShapeError
            If it is of another model or optimiser.
        """
        if not self.last.is_file():
            return None
        file = load(self.last)
        if "training" not in file.metadata:
            raise fail(ValueError, f"fit: {self.last} is not the checkpoint of a training", hint="use another folder")
        notes = json.loads(file.metadata["training"])
        if notes["generators"].keys() != self._generators.keys():
            raise fail(
                ValueError, f"fit: {self.last} is of a training with other generators",
                expected=str(sorted(self._generators)), got=str(sorted(notes["generators"])),
            )  # fmt: skip
        self._batches.load_state_dict(notes["batches"])
        self._model.load_state_dict(file.part("model"))
        self._optimizer.load_state_dict(file.part("optimizer"))
        for name, generator in self._generators.items():
            generator.bit_generator.state = notes["generators"][name]
        series = {name: a.tolist() for name, a in file.part("history").items()}
        return Run(
            notes["epoch"], notes["update"], self._state(file.part("state")), notes["stale"],
            History(**series, **notes["history"]),
        )  # fmt: skip

    def _state(self, arrays: Mapping[str, np.ndarray]) -> Any:
        """The carried state, nested as the model nests it."""
        if not arrays:
            return None
        values = iter([tensor(a) for _, a in sorted(arrays.items(), key=lambda item: int(item[0]))])
        rows = len(arrays["0"])
        return mapped_state(lambda _: next(values), self._model.initial_state(rows))  # type: ignore[attr-defined]


def generators_of(model: Module) -> dict[str, np.random.Generator]:
    """The generators that a model's modules draw from, as dropout does, by path."""
    return {
        f"{path}.{attribute}".removeprefix("."): value
        for path, module in model.named_modules()
        for attribute, value in vars(module).items()
        if isinstance(value, np.random.Generator)
    }


def _each_once(generators: Mapping[str, Any]) -> dict[str, np.random.Generator]:
    """Those that operations can draw from, by their first names."""
    first: dict[int, str] = {}
    for name, g in generators.items():
        if isinstance(g, np.random.Generator):
            first.setdefault(id(g), name)
    return {name: generators[name] for name in first.values()}


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def _plain(value: Any) -> Any:
    """Arrays and numbers of NumPy, as some generators have them in their state, as lists and numbers."""
    return value.tolist()
