"""Pictures from DOT text: by the Graphviz that is installed, or by its pip-installable port.

Both take the same command line and only draw, since all coordinates are given. Nothing is imported or searched for
before the first picture.
"""

from __future__ import annotations

import base64
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..atomic import write_atomically
from ..errors import fail
from ..graph import Graph
from ..tensor import Tensor
from .dot import written
from .layout import layout
from .scene import scene

__all__ = ["Drawing", "draw"]

LIMIT = 4000  # boxes that a reader can make something of
TIMEOUT = 60.0  # seconds
_DPI, _LEAST_DPI = 144, 48
_MAX_PIXELS = 30_000  # along one side; Graphviz cannot draw larger bitmaps
_PURE = "graphviz-pure"


def draw(x: Tensor | Sequence[Tensor] | Graph, *, steps: tuple[int, int] | None = None) -> Drawing:
    """Draw a graph on its time grid: one column per time step, data upwards, states from left to right.

    Parameters
    ----------
    x : Tensor, sequence of Tensor, or Graph
        What to draw, with everything that it was computed from.
    steps : tuple of int, optional
        First and last time step to draw; the others are left out.

    Returns
    -------
    Drawing
        Shows itself in a notebook; ``.save("net.svg")`` writes a file.

    Raises
    ------
    ValueError
        If no time step lies in `steps`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> h = tg.zeros((1, 2)).named("h0")
    >>> w = tg.parameter([[0.5, 0.0], [0.0, 0.5]], name="W")
    >>> for t in tg.steps(3):
    ...     h = tg.tanh(h @ w).named("h")
    >>> tg.viz.draw(h)
    <Drawing of 7 boxes, 6 edges, 3 time steps>
    >>> tg.viz.draw(h, steps=(1, 2))
    <Drawing of 4 boxes, 3 edges, 2 time steps>
    """
    shown = scene(x, steps)
    plan = layout(shown)
    return Drawing(written(plan), len(shown.boxes), len(shown.links), shown.times, plan.size)


class Drawing:
    """A picture of a graph; made by :func:`draw`.

    Attributes
    ----------
    dot : str
        The picture as DOT text, for which nothing needs to be installed.
    """

    def __init__(self, dot: str, boxes: int, edges: int, times: tuple[int, ...], size: tuple[float, float]) -> None:
        self.dot = dot
        self._counts = boxes, edges
        self._times = times
        self._size = size

    def __repr__(self) -> str:
        steps = f", {len(self._times)} time steps" if self._times else ""
        return "<Drawing of {} boxes, {} edges{}>".format(*self._counts, steps)

    def svg(self) -> str:
        """The picture as SVG text.

        Raises
        ------
        RuntimeError
            If no renderer is installed, or it fails.
        ValueError
            If the picture would be too large to be read.
        """
        return self._rendered("svg").decode("utf-8")

    def png(self) -> bytes:
        """The picture as a PNG file, at 144 dots per inch where that is not too large; raises like :meth:`svg`."""
        dpi = min(_DPI, int(_MAX_PIXELS * 72 / max(*self._size, 1.0)))
        if dpi < _LEAST_DPI:
            raise self._too_large("a bitmap")
        return self._rendered("png", f"-Gdpi={dpi}")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file, by suffix: .dot, .gv, .svg, .png, and .pdf where the renderer can.

        The file appears complete or not at all.

        Examples
        --------
        >>> import tempfile
        >>> import tinygrad_rnn as tg
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tg.viz.draw(tg.ones(2) * 3).save(f"{folder}/net.dot").name
        'net.dot'
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix in (".dot", ".gv"):
            content = self.dot.encode("utf-8")
        elif suffix == ".png":
            content = self.png()
        elif suffix in (".svg", ".pdf"):
            content = self._rendered(suffix[1:])
        else:
            raise fail(ValueError, f"save: cannot tell the format of '{path}'",
                       expected="a name that ends in .dot, .gv, .svg, .png or .pdf", got=repr(suffix))  # fmt: skip
        return write_atomically(path, content)

    def _rendered(self, kind: str, *options: str) -> bytes:
        if self._counts[0] > LIMIT:
            raise self._too_large("a picture")
        return rendered(self.dot, kind, *options)

    def _too_large(self, what: str) -> ValueError:
        boxes, first = self._counts[0], self._times[0] if self._times else 0
        hint = (
            f"draw some of its {len(self._times)} time steps: draw(x, steps=({first}, {first + 9}))"
            if self._times
            else "draw a tensor in the middle of the graph instead of its end, or open time steps with tg.steps"
        )
        size = "{:.0f} by {:.0f} points".format(*self._size)
        what = f"draw: {what} of {boxes} boxes, {size}, is too large to be read"
        return fail(ValueError, what, hint=f"{hint}; .dot holds the text all the same")

    # Notebooks: nothing raises here, a message stands in for the picture.

    def _repr_svg_(self) -> str:
        try:
            return self.svg()
        except Exception as error:
            return _message(str(error))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        bundle = {"text/plain": repr(self), "image/svg+xml": self._repr_svg_()}
        try:
            bundle["image/png"] = base64.b64encode(self.png()).decode("ascii")
        except Exception as error:
            bundle["text/plain"] += f"\n{error}"
        return {k: v for k, v in bundle.items() if (not include or k in include) and k not in (exclude or ())}


def _message(text: str) -> str:
    lines = re.sub("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text).splitlines() or [""]
    spans = "".join(f'<tspan x="8" dy="18">{escape(line)}</tspan>' for line in lines)
    size = f'width="{16 + 8 * max(map(len, lines))}" height="{18 * len(lines) + 12}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><text y="4" font-family="monospace">{spans}</text></svg>'


# Back ends ----------------------------------------------------------------------------------------------------------


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


def _show(graph: Graph) -> str | None:
    return draw(graph)._repr_svg_()


Graph._repr_svg_ = _show
