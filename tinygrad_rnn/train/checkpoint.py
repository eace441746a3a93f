"""Everything that a training depends on, in one file that is replaced whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

__all__ = ["Checkpoints", "Progress"]

VERSION = 1
KINDS = {"epoch": int, "update": int, "stale": int, "history": dict, "batches": dict, "generators": dict}


@dataclass
class Progress:
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

    def begin(self, run: Progress) -> None:
        """Write the start of a training over what was there of another one."""
        self.save(run)
        self.best.unlink(missing_ok=True)

    def save(self, run: Progress) -> None:
        """Write all that the training depends on."""
        arrays = _under("model", self._model.state_dict()) | _under("optimizer", self._optimizer.state_dict())
        leaves = [] if run.state is None else leaves_of(run.state)
        arrays |= {f"state.{k}": leaf.numpy() for k, leaf in enumerate(leaves)}
        history = asdict(run.history)
        arrays |= {f"history.{name}": np.array(history.pop(name), np.float64) for name in ("losses", "rates")}
        notes = {
            "version": VERSION, "epoch": run.epoch, "update": run.update, "stale": run.stale, "history": history,
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

    def restore(self) -> Progress | None:
        """Go on from the last file, if there is one: model, optimiser, batches and generators as they were.

        Raises
        ------
        ValueError
            If it is damaged, not of a training, or of one with other batches or generators.
        KeyError, ShapeError, DTypeError
            If it is of another model or optimiser. Whatever is raised, all is as it was.
        """
        if not self.last.is_file():
            return None
        file = load(self.last)
        notes = self._notes(file.metadata)
        if notes["generators"].keys() != self._generators.keys():
            raise fail(
                ValueError, f"fit: {self.last} is of a training with other generators",
                expected=str(sorted(self._generators)), got=str(sorted(notes["generators"])),
            )  # fmt: skip
        series = {name: a.tolist() for name, a in file.part("history").items()}
        with _damaged(self.last):
            history = History(**series, **notes["history"])
            history.check()
        with self._put_back_if_refused():
            self._batches.load_state_dict(notes["batches"])
            self._model.load_state_dict(file.part("model"))
            self._optimizer.load_state_dict(file.part("optimizer"))
            with _damaged(self.last):
                for name, generator in self._generators.items():
                    generator.bit_generator.state = notes["generators"][name]
                state = self._state(file.part("state"))
        return Progress(notes["epoch"], notes["update"], state, notes["stale"], history)

    def _notes(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        """What is written beside the arrays, of the kinds that it must have."""
        if "training" not in metadata:
            raise fail(ValueError, f"fit: {self.last} is not the checkpoint of a training", hint="use another folder")
        with _damaged(self.last):
            notes = json.loads(metadata["training"])
            version = notes["version"]
        if version != VERSION:
            raise fail(ValueError, f"fit: {self.last}", expected=f"version {VERSION}", got=f"version {version}")
        for name, kind in KINDS.items():
            if not isinstance(notes.get(name), kind) or (kind is int and notes[name] < 0):
                raise _damage(self.last, f"{name} is {notes.get(name)!r}")
        return notes

    @contextmanager
    def _put_back_if_refused(self) -> Iterator[None]:
        """Put model, optimiser, batches and generators back as they were if the block fails, wherever it does."""
        tensors = [(t, t.data, t.assigned) for _, t in self._model.named_tensors()]
        optimizer = self._optimizer
        kept = optimizer.step_count, optimizer.update_counts, list(optimizer.state)
        sources = [(s, dict(vars(s))) for s in (self._batches, getattr(self._batches, "source", None)) if s is not None]
        generators = [(g, g.bit_generator.state) for g in self._generators.values()]
        try:
            yield
        except BaseException:
            for t, data, assigned in tensors:
                t.data, t.assigned = data, assigned
            optimizer.step_count, optimizer.update_counts, optimizer.state[:] = kept
            for source, attributes in sources:
                vars(source).clear()
                vars(source).update(attributes)
            for g, before in generators:
                g.bit_generator.state = before
            raise

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


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Say of whatever goes wrong in the block that the file is damaged."""
    try:
        yield
    except Exception as error:  # a text that was changed may be anything
        raise _damage(path, f"{type(error).__name__}: {error}") from error


def _damage(path: Path, what: str) -> ValueError:
    return fail(ValueError, f"fit: {path} is damaged", got=what, hint="use another folder, or resume=False")


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
