"""``tg.equations``: the equations of a recorded model, forward and backward, to be read, printed and evaluated."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import fail
from ..grad.reverse import pull
from ..graph import Graph, graph
from ..graph.evaluate import compute
from ..graph.walk import reach
from ..nested import taken_apart
from ..ops.core import as_tensor
from ..scope import recording, timestep
from ..tensor import Tensor, leaf
from .derive import Derivation
from .equation import TEXT, Equation, evaluated, written
from .expr import Symbol
from .forms import FORMS
from .listing import rolled, unrolled
from .quantities import Quantities
from .write import Writer

__all__ = ["Equations", "equations"]

STYLES = ("unrolled", "rolled", "derivation")


class Equations(Sequence[Equation]):
    """Equations of a model. Printed they are text; notebooks show them set.

    Attributes
    ----------
    form, style : str
        As given to :func:`equations`.
    forward, backward : Equations
        Those of the values, and those of the derivatives.
    """

    def __init__(self, derivation: Derivation, listed: Iterable[Equation], form: str, style: str) -> None:
        self._derivation, self._listed = derivation, tuple(listed)
        self.form, self.style = form, style

    def __len__(self) -> int:
        return len(self._listed)

    def __getitem__(self, k: Any) -> Any:
        return self._listed[k]

    @property
    def forward(self) -> Equations:
        """Those of the values."""
        return self._chosen(("forward", "start"))

    @property
    def backward(self) -> Equations:
        """Those of the derivatives, from the last time step to the first, and then by the parameters."""
        return self._chosen(("derivative", "delta", "gradient"))

    def _chosen(self, kinds: tuple[str, ...]) -> Equations:
        return Equations(self._derivation, (e for e in self if e.kind in kinds), self.form, self.style)

    # Writing ----------------------------------------------------------------------------------------------------------

    def lines(self, form: str | None = None) -> list[str]:
        """Each equation as text, in the form that was asked for or another."""
        form = self.form if form is None else form
        _check("form", form, tuple(FORMS))
        span = self._derivation.q.steps if self.style != "unrolled" else None
        first, last = span if span is not None and span[1] > span[0] else (1, None)
        plain, end = Writer(form, last, first), Writer(form, last, first, at_end=True)
        late = () if last is None else (last, last - 1) if last > 2 else (last,)
        return [written(e, end if e.left.time in late and not e.left.relative else plain) for e in self]

    def text(self, form: str | None = None) -> str:
        """All of them in one text: lines, an ``aligned`` block of LaTeX, or an HTML table."""
        form = self.form if form is None else form
        return TEXT[form](self.lines(form))

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<{len(self)} equations, {self.style}>\n{self.text('unicode')}"

    def _repr_latex_(self) -> str:
        return f"$${self.text('latex')}$$"

    def _repr_html_(self) -> str:
        return self.text("html")

    # Values -----------------------------------------------------------------------------------------------------------

    def values(self, *arrays: Any) -> dict[Symbol, np.ndarray]:
        """Values of all symbols: those that were computed, and derivatives by automatic differentiation.

        Derivatives that come from outside, to outputs that are not a loss, are ones.

        Parameters
        ----------
        arrays : arrays
            For the placeholders of a traced function.

        Raises
        ------
        PlaceholderError
            If a traced function is given too few.
        """
        q, d = self._derivation.q, self._derivation
        found = q.values(*arrays)
        values = {q.symbols[s]: v for s, v in found.items() if s in q.symbols}
        values |= {start: values[own] for start, own in q.starts.items() if own in values}
        if not self.backward:
            return values
        values |= _derivatives(d, found)
        for serial in sorted(d.moving & q.locals.keys(), reverse=True):
            for name, e in d.deltas(serial).items():
                values[name] = np.asarray(evaluated(e, values, None))
        return values

    def residuals(self, *arrays: Any) -> dict[str, float]:
        """The largest difference between each right side, evaluated, and the value of the left side.

        Examples
        --------
        >>> import tinygrad_rnn as tg
        >>> w = tg.parameter([3.0], name="w")
        >>> tg.equations((w * w).sum().named("L")).residuals()
        {'L = w²': 0.0, '∂L/∂w = 2 w': 0.0}
        """
        values = self.values(*arrays)
        return {str(e): max(_difference(e, s, t, values) for s, t in e.instances()) for e in self}


def _difference(e: Equation, s: Symbol, t: int | None, values: Mapping[Symbol, Any]) -> float:
    sides = [e.right] if e.chain is None else [e.right, e.chain]
    wanted = np.asarray(values[s], np.float64)
    found = [np.broadcast_to(evaluated(x, values, t), wanted.shape) for x in sides]
    return max((float(np.max(np.abs(f - wanted), initial=0.0)) for f in found), default=0.0)


def _derivatives(d: Derivation, found: dict[int, Any]) -> dict[Symbol, Any]:
    """Derivatives by all quantities, from one pass of automatic differentiation over the whole graph."""
    q = d.q
    outputs = d.ends
    seeds = [leaf(np.ones(t.shape, t.dtype)) for t in outputs]
    targets = [q.node(s) for s in sorted(d.moving)]
    with recording():
        pulled = pull(outputs, seeds, targets, True)
    reached = [g for g in pulled if g is not None]
    known = dict(found)
    compute(reach(reached), known, {g.serial for g in reached} | found.keys())
    values = {d.derivative(t.serial): known[g.serial] for t, g in zip(targets, pulled, strict=True) if g is not None}
    return values | {d.given(t.serial): s.data for t, s in zip(outputs, seeds) if t is not d.loss
                     and d.given(t.serial) not in values}  # fmt: skip


# Making them ----------------------------------------------------------------------------------------------------------


def equations(x: Any, *inputs: Any, form: str = "unicode", style: str = "rolled") -> Equations:
    """The equations of a model, derived from its recorded graph: forward, and backward in closed form.

    Quantities have the names that the model gives them, and sensible ones where it gives none. Gates that are packed
    into one matrix have an equation each, with blocks ``W_i[f]`` of it. Which time steps are alike is found out.

    Parameters
    ----------
    x : Tensor, sequence of Tensor, Graph, or Module
        A loss, or outputs; then derivatives that come to them from outside are written ``∂L/∂y``, and ``ε`` where the
        model goes on with an output. A module is run on `inputs`; a cell, called as ``cell(x, state)``, over the steps
        of an input (batch, time, features) from its initial state.
    inputs : tensors or arrays
        Example input of a module.
    form : "unicode", "latex" or "html"
        How they are printed.
    style : "unrolled", "rolled" or "derivation"
        An equation for each time step; one for all steps that are alike; the same with the chain rule before it.

    Returns
    -------
    Equations
        A sequence of :class:`Equation`; printed it is text.

    Raises
    ------
    TypeError
        If there is nothing to take a graph from.
    ValueError
        If a form or style is unknown.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3, generator=0)
    >>> print(tg.equations(cell, np.ones((1, 4, 2))).forward)
    h₀ = 0
    h_t = tanh(x_t W_i + h_{t−1} W_h + b), t = 1…T
    """
    _check("form", form, tuple(FORMS))
    _check("style", style, STYLES)
    whole, names = _graph_of(x, inputs)
    derivation = Derivation(Quantities(whole, names))
    lines = list(derivation.forward())
    if derivation.moving - {t.serial for t in derivation.ends}:
        lines += derivation.backward()
    starts = derivation.q.starts
    listed = unrolled(lines) if style == "unrolled" else rolled(lines, starts, style == "derivation")
    return Equations(derivation, listed, form, style)


def _check(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise fail(ValueError, f"equations: {what}", expected=" or ".join(map(repr, known)), got=repr(given))


def _graph_of(x: Any, inputs: tuple[Any, ...]) -> tuple[Graph, dict[int, str]]:
    if isinstance(x, Graph) and not inputs:
        return x, {}
    if isinstance(x, Tensor | list | tuple | dict) and not inputs:
        outputs, _ = taken_apart(x, "equations")
        return graph(list(dict.fromkeys(outputs))), {}
    if callable(x) and not isinstance(x, Tensor):
        return _run(x, inputs)
    raise fail(TypeError, f"equations: a {type(x).__name__}" + (" with inputs" if inputs else ""),
               expected="a tensor, tensors, a graph, or a module with its inputs")  # fmt: skip


def _run(module: Any, inputs: tuple[Any, ...]) -> tuple[Graph, dict[int, str]]:
    """What a module computes from its inputs, which are called after the arguments."""
    parameters = [p for p in inspect.signature(getattr(module, "forward", module)).parameters.values()
                  if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]  # fmt: skip
    needed = sum(p.default is p.empty for p in parameters)
    without_state = bool(inputs) and len(inputs) == needed - 1 and hasattr(module, "initial_state")
    if len(inputs) < needed and not without_state:
        raise fail(TypeError, f"equations: {type(module).__name__} takes {needed} inputs", got=str(len(inputs)),
                   hint="pass an example of each: tg.equations(model, x)")  # fmt: skip
    with recording():
        tensors = [_as_input(module, x) for x in inputs]
        result = module(*tensors) if len(inputs) >= needed else _stepped(module, *tensors)
    outputs, _ = taken_apart(result, "equations")
    names = {t.serial: p.name for t, p in zip(tensors, parameters) if isinstance(t, Tensor) and not t.name}
    return graph(list(dict.fromkeys(outputs))), names


def _as_input(module: Any, x: Any) -> Any:
    """An example as a tensor; floats in an array have the dtype of the parameters, so that nothing is converted."""
    if not isinstance(x, np.ndarray | list | int | float):
        return x
    t = as_tensor(x)
    dtype = next((p.dtype for p in getattr(module, "parameters", list)()), t.dtype)
    return as_tensor(t.numpy().astype(dtype)) if t.is_float else t


def _stepped(cell: Any, *inputs: Any) -> Any:
    """A cell over the steps of its input, or over one step of an input without time."""
    *given, x = inputs
    if x.ndim < 3:
        with timestep(0):
            return cell(*given, x, cell.initial_state(x.shape[0]))[0]
    state, ys = cell.initial_state(x.shape[0]), []
    for t in range(x.shape[1]):
        with timestep(t):
            y, state = cell(*given, x[:, t].named("x"), state)
        ys.append(y)
    return ys
