"""Tensors in files, by the safetensors library."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize, numpy, safe_open

from ..atomic import write_atomically
from ..errors import DTypeError, fail, without_mask
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

    A link stays one: what it leads to is replaced. The new file has the mode of the old one.

    Parameters
    ----------
    state : Module, or dict of str to array or tensor
    path : path
        By custom with the suffix ``.safetensors``.
    metadata : dict of str to str, optional
        Words to keep with them.

    Raises
    ------
    DTypeError
        If an array is not of booleans, integers or floats.
    ValueError
        If a name is one that the format keeps for itself.
    TypeError
        If a name is no string, or metadata are no words.

    Examples
    --------
    >>> import tempfile, pathlib, tinygrad_rnn as tg
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> model = tg.nn.Linear(2, 1)
    >>> _ = tg.save(model, path)
    >>> model.load_state_dict(tg.load(path))
    """
    arrays = state.state_dict() if isinstance(state, Module) else state
    plain = {name: _plain(name, a) for name, a in arrays.items()}
    for name, value in (metadata or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"save: metadata are words by name; got {name!r}: {value!r}")
    return write_atomically(path, numpy.save(plain, metadata=dict(metadata) if metadata else None))


def load(path: str | os.PathLike[str]) -> StateFile:
    """Read a safetensors file.

    Entries of bfloat16, float8_e4m3 and float8_e5m2, which NumPy does not have, become float32, which holds them all.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If the file is not in the format, or is cut short.
    DTypeError
        If an entry is of a type that NumPy does not have, and none of these.

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
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            narrow = _narrow(path, kinds)
            read = {name: narrow[name] if name in narrow else file.get_tensor(name) for name in kinds}
            return StateFile(read, file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"load: {os.fspath(path)} is not a whole safetensors file: {error}") from None


def _plain(name: Any, array: Any) -> np.ndarray:
    if not isinstance(name, str):
        raise TypeError(f"save: names are strings; got {name!r}")
    if name == "__metadata__":
        raise fail(
            ValueError, "save: an array is called '__metadata__'", expected="another name",
            hint="the format keeps this one for the words beside the arrays; pass these as metadata=",
        )  # fmt: skip
    plain = np.asarray(array.numpy() if isinstance(array, Tensor) else without_mask(array), order="C")
    if plain.dtype.kind not in "biuf" or plain.dtype.itemsize > _WIDEST:
        raise fail(
            DTypeError, f"save: '{name}' is of {plain.dtype}", expected="booleans, integers, or floats up to float64",
            hint="convert it first, as with .astype(np.float32)",
        )  # fmt: skip
    return plain


_WIDEST = 8  # bytes of float64


def _narrow(path: str | os.PathLike[str], kinds: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The entries of floats that NumPy does not have, as float32."""
    wanted = [name for name, kind in kinds.items() if kind not in _KNOWN]
    for name in wanted:
        if kinds[name] not in _WIDENED:
            raise fail(
                DTypeError, f"load: '{name}' of {os.fspath(path)} is of {kinds[name]}",
                expected=f"a type that NumPy has, or {', '.join(_WIDENED)}", hint="convert it where it was made",
            )  # fmt: skip
    if not wanted:
        return {}
    raw = dict(deserialize(Path(path).read_bytes()))
    return {name: _WIDENED[kinds[name]](raw[name]["data"]).reshape(raw[name]["shape"]) for name in wanted}


def _from_bfloat16(data: bytes) -> np.ndarray:
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)


def _from_e5m2(data: bytes) -> np.ndarray:
    return (np.frombuffer(data, np.uint8).astype(np.uint16) << 8).view(np.float16).astype(np.float32)


def _from_e4m3(data: bytes) -> np.ndarray:
    """A sign, four bits of an exponent, three of a fraction; no infinity, and NaN where all of these are set."""
    bits = np.frombuffer(data, np.uint8).astype(np.int32)
    exponent, fraction = bits >> 3 & 15, bits & 7
    size = np.where(exponent > 0, np.ldexp(8.0 + fraction, exponent - 10), np.ldexp(1.0 * fraction, -9))
    size[bits & 127 == 127] = np.nan
    return np.copysign(size, np.where(bits & 128, -1.0, 1.0)).astype(np.float32)


_WIDENED = {"BF16": _from_bfloat16, "F8_E4M3": _from_e4m3, "F8_E5M2": _from_e5m2}
_KNOWN = {"BOOL", "C64", "F16", "F32", "F64", *(f"{kind}{size}" for kind in "IU" for size in (8, 16, 32, 64))}
