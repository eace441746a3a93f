"""Where compiled kernels are kept between processes, and how a stale one is told from a fresh one.

Numba's own cache looks at one source file's content; a kernel here is put together from a template, a scalar function
and what that calls. So each kernel's name carries a fingerprint of all code that it reaches, and its source is said to
lie in an anchor file inside a cache directory that can be written.
"""

from __future__ import annotations

import dis
import hashlib
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
import platformdirs

__all__ = ["anchor", "fingerprint", "global_names", "kept"]

NOWHERE = "<kernels of tinygrad_rnn>"  # in place of a path, where nothing can be written


@cache
def anchor() -> str:
    """Path of the anchor file: in ``NUMBA_CACHE_DIR``, else the user's cache, else a temporary one; or NOWHERE."""
    places = [numba.config.CACHE_DIR] if numba.config.CACHE_DIR else []
    places.append(platformdirs.user_cache_dir("tinygrad_rnn", appauthor=False))
    for place in places:
        path = _try_anchor(Path(place))
        if path:
            return path
    warnings.warn(
        f"no cache directory can be written (tried {', '.join(places)}), so kernels are compiled anew in each process; "
        "set NUMBA_CACHE_DIR to a directory of yours to keep them",
        RuntimeWarning,
        stacklevel=2,
    )
    try:
        return _try_anchor(Path(tempfile.mkdtemp(prefix="tinygrad_rnn-"))) or NOWHERE
    except OSError:
        return NOWHERE


def kept(compiled: Callable[[bool], Any]) -> Any:
    """What ``compiled(True)`` gives, which Numba keeps on disk; where that cannot be, it is compiled for this process.

    So kernels work on a full disk, and where a folder stands in the place of a file; one warning says so.
    """
    if not Path(anchor()).is_file():
        return compiled(False)
    try:
        return compiled(True)
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        _say_not_kept(Path(anchor()).parent, f"{type(error).__name__}: {error}")
        return compiled(False)


_said: set[Path] = set()


def _say_not_kept(directory: Path, reason: str) -> None:
    if directory not in _said:
        _said.add(directory)
        warnings.warn(
            f"compiled kernels cannot be kept in {directory} ({reason}), so they are compiled anew in each process; "
            "make room there, or set NUMBA_CACHE_DIR to a directory of yours",
            RuntimeWarning,
            stacklevel=3,
        )


_ANCHOR = b'"""Compiled kernels of tinygrad_rnn are kept beside this file; delete freely."""\n'


def _try_anchor(directory: Path) -> str | None:
    path = directory / "tinygrad_rnn_kernels.py"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            beside = directory / f"{path.name}.{os.getpid()}"
            try:
                beside.write_bytes(_ANCHOR)
                os.utime(beside, (0, 0))  # Numba looks at its time: the same, whichever process wrote it last
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return None
    return str(path)


def fingerprint(*parts: Any) -> str:
    """Hash of values and functions, and of all Python code that functions reach through globals and closures."""
    digest = hashlib.sha256(_kernel_sources() + bytes([bool(numba.config.BOUNDSCHECK)]))
    seen: set[int] = set()
    work: list[Any] = list(parts)
    while work:
        item = getattr(work[-1], "py_func", work[-1])
        work.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, FunctionType):
            names = sorted(global_names(item.__code__))
            work.extend(item.__globals__[n] for n in names if n in item.__globals__)
            work.extend(_compiled_members(item))
            work.extend(cell.cell_contents for cell in item.__closure__ or ())
            item = item.__code__
        if isinstance(item, CodeType):
            digest.update(item.co_code + repr((item.co_names, _plain(item.co_consts))).encode())
            work.extend(c for c in item.co_consts if isinstance(c, CodeType))
        elif isinstance(item, np.ndarray):
            digest.update(repr(item.dtype).encode() + item.tobytes())
        elif isinstance(item, ModuleType | BuiltinFunctionType | type):
            digest.update(item.__name__.encode())
        else:
            digest.update(repr(item).encode())
    return digest.hexdigest()[:16]


def global_names(code: CodeType) -> set[str]:
    """The globals that `code`, and the functions defined inside it, refer to."""
    names: set[str] = set()
    work = [code]
    while work:
        code = work.pop()
        names.update(i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL")
        work.extend(c for c in code.co_consts if isinstance(c, CodeType))
    return names


def _compiled_members(function: FunctionType) -> list[Any]:
    """Compiled functions that `function` calls by way of modules, as in ``module.name(x)``."""
    names = global_names(function.__code__) & function.__globals__.keys()
    modules = [m for m in (function.__globals__[n] for n in names) if isinstance(m, ModuleType)]
    members = [getattr(m, n, None) for m in modules for n in sorted(function.__code__.co_names)]
    return [m for m in members if hasattr(m, "py_func")]


def _plain(consts: tuple[Any, ...]) -> list[Any]:
    return [c for c in consts if not isinstance(c, CodeType)]


@cache
def _kernel_sources() -> bytes:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()
