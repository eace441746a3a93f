"""Tensors in files, by the safetensors library."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, numpy, safe_open

from ..atomic import write_atomically
from ..errors import without_mask
from ..nn.module import Module
from ..tensor import Tensor

__all__ = ["StateFile", "load", "save"]


class StateFile(dict[str, np.ndarray]):
    """The arrays of a file by name, with the words that were saved beside them.

    Attributes
    ----------
    metadata : dict of str to str
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
        super().__init__(arrays)
        self.metadata = dict(metadata)

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose names begin with ``prefix.``, without it."""
        return {name.removeprefix(f"{prefix}."): a for name, a in self.items() if name.startswith(f"{prefix}.")}


def save(
    state: Module | Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a module's tensors, or named arrays, to a safetensors file; the file is replaced whole or not at all.

    Parameters
    ----------
    state : Module, or dict of str to array or tensor
    path : path
        By custom with the suffix ``.safetensors``.
    metadata : dict of str to str, optional
        Words to keep with them.

    Examples
    --------
    >>> import tempfile, pathlib, tinygrad_rnn as tg
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> model = tg.nn.Linear(2, 1)
    >>> _ = tg.save(model, path)
    >>> model.load_state_dict(tg.load(path))
    """
    arrays = state.state_dict() if isinstance(state, Module) else state
    given = {name: a.numpy() if isinstance(a, Tensor) else without_mask(a) for name, a in arrays.items()}
    plain = {name: np.asarray(a, order="C") for name, a in given.items()}
    for name, value in (metadata or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"save: metadata are words by name; got {name!r}: {value!r}")
    return write_atomically(path, numpy.save(plain, metadata=dict(metadata) if metadata else None))


def load(path: str | os.PathLike[str]) -> StateFile:
    """Read a safetensors file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If the file is not in the format, or is cut short.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np, tinygrad_rnn as tg
    >>> path = tg.save({"x": np.arange(3)}, pathlib.Path(tempfile.mkdtemp()) / "x.safetensors", {"by": "me"})
    >>> state = tg.load(path)
    >>> state["x"].tolist(), state.metadata["by"]
    ([0, 1, 2], 'me')
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"load: there is no file {os.fspath(path)}")
    try:
        with safe_open(path, framework="numpy") as file:
            return StateFile({name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"load: {os.fspath(path)} is not a whole safetensors file: {error}") from None
