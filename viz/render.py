"""Pictures from DOT text: by the Graphviz that is installed, or by its pip-installable port.

Both take the same command line and only draw, since all coordinates are given. Nothing is imported or searched for
before the first picture.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import fail

__all__ = ["programs", "rendered"]

TIMEOUT = 60.0  # seconds
_PURE = "graphviz-pure"


def rendered(dot: str, kind: str, *options: str) -> bytes:
    """Run the first renderer that can make this kind of picture."""
    problem = "none is installed"
    for program in programs():
        try:
            return _run(program, dot, kind, options)
        except RuntimeError as error:
            problem = str(error)
    hint = "install Graphviz itself (https://graphviz.org/download)"
    if kind != "pdf":
        hint = 'pip install "tinygrad-rnn[render]", or ' + hint
    raise fail(RuntimeError, f"draw: no renderer could make the {kind.upper()} picture: {problem}",
               hint=f"{hint}; the picture's .dot works without")  # fmt: skip


def programs() -> Iterator[str]:
    """Paths of the renderers, best first."""
    found = [shutil.which("dot"), *_pure_places()]
    yield from dict.fromkeys(p for p in found if p and os.access(p, os.X_OK))


def _pure_places() -> Iterator[str | None]:
    yield shutil.which(_PURE, path=str(Path(sys.executable).parent))
    yield shutil.which(_PURE)
    try:
        files = importlib.metadata.files(_PURE) or []
    except importlib.metadata.PackageNotFoundError:
        return
    yield from (str(Path(str(f.locate())).resolve()) for f in files if f.stem == _PURE)


def _run(program: str, dot: str, kind: str, options: tuple[str, ...]) -> bytes:
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
