"""Draw anything that has a graph; what comes out shows itself in notebooks and writes itself to files."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from ..atomic import write_atomically
from ..errors import fail
from ..garbage import uncollected
from ..graph import Graph
from .compare import pair
from .layout.layout import Layout, layout
from .read.options import MAX_NODES, Options
from .read.subject import Subject, subject
from .scene.build import scene
from .write import dot, mermaid, page, svg, tikz
from .write.backends import rendered

__all__ = ["Drawing", "compare", "draw", "planned", "to_dot"]

_DPI, _LEAST_DPI = 144, 48
_MAX_PIXELS = 30_000  # along one side; Graphviz cannot draw larger bitmaps


def draw(
    x: Any,
    *inputs: Any,
    view: str = "auto",
    level: str | None = None,
    steps: tuple[int, int] | None = None,
    show: Collection[str] = ("shape",),
    direction: str | None = None,
    highlight: Any = None,
    heat: Any = None,
    theme: str = "light",
    max_nodes: int = MAX_NODES,
    legend: bool = False,
) -> Drawing:
    """Draw a graph as books do: one column per time step, data upwards, states from left to right.

    Parameters
    ----------
    x : Tensor, sequence of Tensor, Graph, Module, callable, compiled function, Program, or error
        What to draw, with everything that it was computed from. A module or function is called with `inputs`; of an
        error that says which tensors did not fit, the graph so far is drawn, with the failing operation in red.
    *inputs
        What to call `x` with, for modules and functions: tensors, arrays, or shapes.
    view : {"auto", "unrolled", "rolled", "elided", "tree"}
        Every time step; or steps that are alike drawn as one, with a black square where a state waits for a step; or
        the first two and last two steps; or no steps at all. "auto" draws every step of short sequences and leaves out
        the middle of long ones.
    level : {"op", "gate", "cell", "layer", "model"}, optional
        What becomes one box. By default an operation, in trees a cell.
    steps : tuple of int, optional
        First and last time step to draw; the others are left out.
    show : collection of {"shape", "dtype", "value", "grad", "gradnorm", "params", "source", "flops", "time"}
        What is written in the boxes. Gradients are those of `x`, or of its sum; gradient norms, FLOPs and times also
        colour the boxes. FLOPs and times are those of a program.
    direction : {"forward", "backward", "both"}, optional
        "backward" and "both" record the gradient of `x` with respect to its parameters if it is not there yet. By
        default what is recorded.
    highlight : tensors, names, or a path of :func:`tinygrad_rnn.bptt.paths`, optional
        What to light up; everything else fades.
    heat : dict, or what :func:`tinygrad_rnn.bptt.flow` gives, optional
        A number for nodes, by tensor, serial number or id, which colours them.
    theme : {"light", "dark", "print"}
    max_nodes : int
        Refuse to draw more boxes than that.
    legend : bool
        Explain the colours below the picture.

    Returns
    -------
    Drawing
        Shows itself in a notebook; ``.save("net.svg")`` writes a file, ``.save("net.html")`` a page to explore.

    Raises
    ------
    ValueError
        If an option has no such choice, no time step lies in `steps`, or there are too many boxes; the message names
        the option to use.
    TypeError
        If `x` has no graph.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> h = tg.zeros((1, 2)).named("h0")
    >>> w = tg.parameter([[0.5, 0.0], [0.0, 0.5]], name="W")
    >>> for t in tg.steps(100):
    ...     h = tg.tanh(h @ w).named("h")
    >>> tg.viz.draw(h, view="unrolled")
    <Drawing of 201 boxes, 200 edges, 100 time steps>
    >>> tg.viz.draw(h, view="rolled")
    <Drawing of 4 boxes, 4 edges, 1 column for 100 time steps>
    >>> tg.viz.draw(h, steps=(1, 2))
    <Drawing of 4 boxes, 3 edges, 2 time steps>
    >>> tg.viz.draw(tg.nn.LSTM(3, 4), tg.ones((1, 5, 3)), level="cell")
    <Drawing of 14 boxes, 21 edges, 5 time steps>
    """
    given = subject(x, inputs, direction=direction)
    options = Options(
        view=given.view(view), level=given.level(view, level), steps=steps, show=frozenset(show), direction=direction,
        theme=theme, max_nodes=max_nodes, legend=legend,
    )  # fmt: skip
    return Drawing(lambda theme: planned(given, replace(options, theme=theme), highlight, heat), options.theme)


def compare(before: Any, after: Any = None, **options: Any) -> Drawing:
    """Draw two graphs side by side, with what is missing in the second one and what is new in it marked.

    Parameters
    ----------
    before, after : Tensor, sequence of Tensor, or Graph
        What to compare; or one compiled function or program alone, before and after rewriting.
    **options
        As for :func:`draw`: `view`, `level`, `steps`, `direction`, `theme`, `max_nodes`, `legend`.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> step = tg.compile(lambda x: (x * 1 + 0).sum())
    >>> tg.viz.compare(step.program(np.ones(3)))
    <Drawing of 9 boxes, 5 edges>
    """
    chosen = Options(**{"view": "auto", **options})
    return Drawing(lambda theme: pair(before, after, replace(chosen, theme=theme)), chosen.theme)


def planned(given: Subject, options: Options, highlight: Any = None, heat: Any = None) -> Layout:
    """The layout of a picture."""
    return layout(scene(given.graph, options, given.overlay(options, highlight, heat)))


def to_dot(x: Any, *inputs: Any, **options: Any) -> str:
    """The picture as DOT text with all coordinates; the same arguments as :func:`draw`.

    A pure function of the graph, to be drawn by ``neato -n2`` or ``dot -Kneato -n2``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0], name="x")
    >>> text = tg.viz.to_dot(tg.tanh(x).named("y"))
    >>> print(text.splitlines()[-2])
    "x" -> "y" [pos="e,35,74 35,50 35,58.1 35,59.9 35,68"];
    """
    return draw(x, *inputs, **options).dot


class Drawing:
    """A picture of a graph; made by :func:`draw`.
    """

    def __init__(self, make: Callable[[str], Layout], theme: str = "light") -> None:
        self._make, self._theme = make, theme
        self._plan = self._planned(theme)

    def _planned(self, theme: str) -> Layout:
        with uncollected():
            return self._make(theme)

    def __repr__(self) -> str:
        scene = self._plan.scene
        columns, steps = len(scene.columns), sum(len(s.times) for s in scene.columns)
        said = [f"{len(scene.boxes)} boxes", f"{len(scene.links)} edges"]
        if steps > columns:
            said.append(f"{_counted(columns, 'column')} for {steps} time steps")
        elif steps:
            said.append(_counted(steps, "time step"))
        return f"<Drawing of {', '.join(said)}>"

    @cached_property
    def dot(self) -> str:
        """The picture as DOT text, for which nothing needs to be installed."""
        return dot.written(self._plan)

    def svg(self) -> str:
        """The picture as SVG text, for which nothing needs to be installed; it turns dark with the reader's system."""
        return svg.written(self._plan)

    def mermaid(self) -> str:
        """The picture as Mermaid text, which shows in READMEs; Mermaid lays it out anew."""
        return mermaid.written(self._plan)

    def tikz(self, *, bare: bool = False) -> str:
        """The picture as a LaTeX document, or with `bare` as a ``tikzpicture`` alone.

        Raises
        ------
        ValueError
            If it is larger than TeX's lengths.
        """
        return tikz.written(self._plan, bare=bare)

    def html(self, title: str = "Graph") -> str:
        """The picture as one page to explore in a browser, without any network: zoom, search, values, time."""
        plan = self._plan if self._theme == "light" else self._planned("light")  # the page has a dark side of its own
        return page.written(plan, title=title)

    def pdf(self) -> bytes:
        """The picture as a PDF file; raises like :meth:`png`."""
        return self._rendered("pdf")

    def png(self) -> bytes:
        """The picture as a PNG file, at 144 dots per inch where that is not too large.

        Raises
        ------
        RuntimeError
            If no renderer is installed, or it fails.
        ValueError
            If the picture is too large for a bitmap.
        """
        dpi = min(_DPI, int(_MAX_PIXELS * 72 / max(*self._plan.size, 1.0)))
        if dpi < _LEAST_DPI:
            raise self._too_large("a bitmap")
        return self._rendered("png", f"-Gdpi={dpi}")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file, by suffix: .svg .png .pdf .html .dot .gv .mmd .md .tex.

        A .md file holds the Mermaid text as a code block; .png and .pdf need Graphviz or one of its ports.

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
        return write_atomically(path, self._as(path))

    def _as(self, path: Path) -> bytes:
        """What a file of that name is to hold."""
        forms: dict[str, Callable[[], str | bytes]] = {
            ".svg": self.svg,
            ".png": self.png,
            ".pdf": self.pdf,
            ".html": lambda: self.html(path.stem),
            ".dot": lambda: self.dot,
            ".gv": lambda: self.dot,
            ".mmd": self.mermaid,
            ".md": lambda: f"```mermaid\n{self.mermaid()}```\n",
            ".tex": self.tikz,
        }
        if path.suffix.lower() not in forms:
            raise fail(ValueError, f"save: cannot tell the format of '{path}'",
                       expected="a name that ends in " + " ".join(forms), got=repr(path.suffix))  # fmt: skip
        content = forms[path.suffix.lower()]()
        return content.encode("utf-8") if isinstance(content, str) else content

    def _rendered(self, kind: str, *options: str) -> bytes:
        return rendered(self.dot, kind, *options)

    def _too_large(self, what: str) -> ValueError:
        size = "{:.0f} by {:.0f} points".format(*self._plan.size)
        return fail(ValueError, f"draw: {what} of {size} is too large",
                    hint='view="rolled" or view="elided" draw fewer steps; SVG and DOT have no limit')  # fmt: skip

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


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _show(graph: Graph) -> str | None:
    return draw(graph)._repr_svg_()


Graph._repr_svg_ = _show
