"""What is drawn: from a tensor, a module, a function, a program or an error to a graph, and what is laid over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, log10
from typing import Any

import numpy as np

from ...errors import fail
from ...grad.reverse import grad
from ...graph import Graph, graph, trace
from ...graph.walk import dependent, reach
from ...nested import taken_apart
from ...scope import recording
from ...tensor import Tensor, leaf
from .options import FailedOp, Options, Overlay

__all__ = ["Subject", "preview", "subject"]


@dataclass(slots=True)
class Subject:
    """A graph, with what is known of it beyond the recording."""

    graph: Graph
    failure: FailedOp | None = None
    suspect: Tensor | None = None  # the node that an error blames
    numbers: Callable[[str], dict[int, float]] | None = None  # FLOPs and times of nodes, from a program

    def view(self, asked: str) -> str:
        """Trees are drawn as such when nothing else is asked for."""
        return "tree" if asked == "auto" and is_tree(self.graph) else asked

    def level(self, view: str, asked: str | None) -> str:
        """Operations, in trees cells."""
        return asked or ("cell" if self.view(view) == "tree" else "op")

    def overlay(self, options: Options, highlight: Any = None, heat: Any = None) -> Overlay:
        """What is laid over the picture."""
        over = Overlay(failure=self.failure)
        lines: dict[int, list[str]] = {}
        if options.show & {"grad", "gradnorm"}:
            self._lay_gradients(options, over, lines)
        for what in sorted(options.show & {"flops", "time"}):
            self._lay_numbers(what, over, lines)
        if heat is not None:
            over.heat_name = "gradient norm" if hasattr(heat, "by_serial") else "heat"
            over.heat, over.heat_ends = scaled(numbered(self.graph, heat))
        over.lines = {serial: tuple(said) for serial, said in lines.items()}
        if highlight is not None:
            over.lit = highlighted(self.graph, highlight)
        elif self.suspect is not None:
            over.changed = {self.suspect.serial: "failed"}
        return over

    def _lay_gradients(self, options: Options, over: Overlay, lines: dict[int, list[str]]) -> None:
        found = gradients(self.graph)
        norms = {s: float(np.linalg.norm(g.data.astype(np.float64).ravel())) for s, g in found.items()}
        for serial, g in found.items():
            if "grad" in options.show:
                lines.setdefault(serial, []).append(f"∂ {preview(g.data)}")
            if "gradnorm" in options.show:
                lines.setdefault(serial, []).append(f"‖∂‖ {norms[serial]:.2g}")
        if "gradnorm" in options.show:
            over.heat_name = "gradient norm"
            over.heat, over.heat_ends = scaled(norms)

    def _lay_numbers(self, what: str, over: Overlay, lines: dict[int, list[str]]) -> None:
        if self.numbers is None:
            raise fail(TypeError, f"draw: {what} of what has not been compiled",
                       expected="a compiled function with its inputs, or its Program",
                       hint="tg.viz.draw(tg.compile(f), x, show={'" + what + "'})")  # fmt: skip
        numbers = self.numbers(what)
        unit = "FLOPs" if what == "flops" else "ns"
        for serial, value in numbers.items():
            lines.setdefault(serial, []).append(f"{_short(value)} {unit}")
        over.heat_name = "FLOPs" if what == "flops" else "time"
        over.heat, over.heat_ends = scaled(numbers)


def preview(value: np.ndarray) -> str:
    """A short look at the values of an array."""
    flat = value.reshape(-1)
    texts = [str(v) if value.dtype.kind in "biu" else f"{v:.3g}" for v in flat[:4].tolist()]
    return ", ".join(texts) + (", …" if flat.size > 4 else "")


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def scaled(numbers: dict[int, float]) -> tuple[dict[int, float], tuple[str, str]]:
    """Numbers from 0 to 1 on a logarithmic scale of at most eight decades, and what its ends are."""
    known = [v for v in numbers.values() if v > 0 and isfinite(v)]
    if not known:
        return {}, ("", "")
    high = max(known)
    low = max(min(known), high * 1e-8)
    span = log10(high / low) or 1.0
    heat = {s: log10(max(v, low) / low) / span if isfinite(v) else 1.0 for s, v in numbers.items()}
    return heat, (f"{low:.2g}", f"{high:.2g}")


def gradients(whole: Graph) -> dict[int, Tensor]:
    """The gradient of the first output, or of its sum, with respect to every node that it depends on."""
    y = next((t for t in whole.outputs if t.dtype.kind == "f" and not t.place.backward), None)
    if y is None or y.is_symbolic:
        raise fail(ValueError, "draw: gradients of what has no values", expected="an output computed from numbers",
                   hint="give inputs as arrays instead of shapes")  # fmt: skip
    nodes = [t for t in whole.nodes if t.dtype.kind == "f" and not t.place.backward]
    found = grad(y, nodes, np.ones(y.shape, y.dtype), allow_unused=True)
    return {t.serial: g for t, g in zip(nodes, found) if g is not None}


def numbered(whole: Graph, heat: Any) -> dict[int, float]:
    """Numbers by serial number, from a dict by tensor, serial number or id, or from a flow of gradients."""
    given = getattr(heat, "by_serial", heat)
    if not isinstance(given, Mapping):
        raise fail(TypeError, "draw: heat", expected="a dict of numbers, or a flow", got=type(heat).__name__)
    serials = {id: serial for serial, id in whole.ids.items()}
    found: dict[int, float] = {}
    for key, number in given.items():
        serial = key.serial if isinstance(key, Tensor) else serials.get(key, -1) if isinstance(key, str) else key
        if serial == -1:
            raise fail(ValueError, f"draw: heat of {key!r}", expected="an id of the graph, as in graph.ids")
        found[serial] = float(number)
    return found


def highlighted(whole: Graph, highlight: Any) -> set[int]:
    """Serial numbers of what is to be lit: tensors, names, ids, or anything with `tensors`, nested as you like."""
    todo, found = [highlight], set()
    while todo:
        x = todo.pop()
        if isinstance(x, Tensor):
            found.add(x.serial)
        elif isinstance(x, str):
            named = {t.serial for t in whole.nodes if t.name == x or whole.ids[t.serial] == x}
            if not named:
                raise fail(ValueError, f"draw: nothing to highlight is called {x!r}",
                           expected="a name or an id of the graph")  # fmt: skip
            found |= named
        elif hasattr(x, "tensors"):  # a path, from its end to its beginning
            found |= {t.serial for t in x.tensors}
            for user, source in pairwise(x.tensors):
                found |= _between(user, source)
        elif isinstance(x, Iterable):
            todo += list(x)
        else:
            raise fail(TypeError, "draw: highlight", expected="tensors, names, or a path", got=type(x).__name__)
    return found


def _between(user: Tensor, source: Tensor) -> set[int]:
    """The nameless nodes by which `user` is computed from `source` without other names on the way."""
    nameless = reach([user], lambda t: [i for i in t.inputs if i is not source and not i.name])
    return dependent([t for t in nameless if t is not user], {source.serial})


# From things to graphs ------------------------------------------------------------------------------------------------


def subject(x: Any, inputs: Sequence[Any] = (), *, direction: str | None = None) -> Subject:
    """What to draw of `x`."""
    if isinstance(x, BaseException):
        return _of_error(x)
    if hasattr(x, "programs") and hasattr(x, "program"):  # a compiled function
        if not inputs and not x.programs:
            raise fail(TypeError, f"draw: {x!r} has no program yet", expected="inputs to record it with",
                       hint="tg.viz.draw(f, x)")  # fmt: skip
        return _of_program(x.program(*inputs) if inputs else x.programs[-1], inputs)
    if hasattr(x, "rewritten") and hasattr(x, "instructions"):
        return _of_program(x, inputs)
    if isinstance(x, Tensor | Graph) or not callable(x):
        if inputs:
            raise fail(TypeError, f"draw: a {type(x).__name__} takes no inputs",
                       expected="tensors alone, or a function")  # fmt: skip
        whole = x if isinstance(x, Graph) else _listed(x)
    else:
        whole = _of_call(x, inputs)
    return Subject(_with_gradient(whole) if direction in ("backward", "both") else whole)


def _listed(x: Any) -> Graph:
    if x is None or isinstance(x, str):
        raise fail(TypeError, "draw: expected tensors", got=type(x).__name__)
    if isinstance(x, Tensor | list | tuple | dict) or hasattr(x, "_fields"):
        try:
            return graph(taken_apart(x, "draw")[0])
        except TypeError:
            return graph(x)  # says what is wrong with it
    found = [v for v in getattr(x, "__dict__", {}).values() if isinstance(v, Tensor)]
    if not found:
        raise fail(TypeError, "draw: expected tensors, a graph, a module or a function", got=type(x).__name__)
    return graph(found)


def _of_call(fn: Callable[..., Any], inputs: Sequence[Any]) -> Graph:
    """The graph of a call, with values if all inputs have some."""
    if not inputs:
        raise fail(TypeError, f"draw: {type(fn).__name__} is called with nothing", expected="an example input",
                   hint="tg.viz.draw(model, x) with an array, a tensor, or a shape")  # fmt: skip
    if any(isinstance(i, tuple) and all(isinstance(n, int) for n in i) for i in inputs):
        return trace(fn, *inputs)
    names = ["x"] if len(inputs) == 1 else [f"x{k}" for k in range(len(inputs))]
    with recording():
        given = [i if isinstance(i, Tensor) else leaf(np.asarray(i), name=n) for i, n in zip(inputs, names)]
        return _listed(fn(*given))


def _with_gradient(whole: Graph) -> Graph:
    if any(t.place.backward for t in whole.nodes):
        return whole
    y = next((t for t in whole.outputs if t.dtype.kind == "f"), None)
    wrt = [p for p in whole.parameters if p.dtype.kind == "f"] or [t for t in whole.inputs if t.dtype.kind == "f"]
    if y is None or not wrt:
        raise fail(ValueError, "draw: there is no gradient to draw",
                   expected="a floating-point output that depends on parameters")  # fmt: skip
    with recording():
        total = y if y.shape == () else y.sum()
        found = grad(total, wrt, create_graph=True, allow_unused=True)
    for w, g in zip(wrt, found):
        if g is not None and g.name is None and w.name:
            g.named(f"∂{w.name}")
    return Graph([*([] if total is y else [total]), *whole.outputs, *(g for g in found if g is not None)])


def _of_program(program: Any, inputs: Sequence[Any]) -> Subject:
    def numbers(what: str) -> dict[int, float]:
        if what == "time" and not inputs:
            raise fail(TypeError, "draw: times need a run of the program", expected="its inputs",
                       hint="tg.viz.draw(program, x, show={'time'})")  # fmt: skip
        values = program.profile(*inputs).by_instruction if what == "time" else [i.flops for i in program.instructions]
        total: dict[int, float] = {}
        for i, value in zip(program.instructions, values):
            total[i.node.serial] = total.get(i.node.serial, 0.0) + value
        return total

    return Subject(program.rewritten, numbers=numbers)


def _of_error(error: BaseException) -> Subject:
    node = getattr(error, "node", None)
    if isinstance(node, Tensor):
        return Subject(graph(node), suspect=node)
    given = tuple(t for t in getattr(error, "inputs", ()) if isinstance(t, Tensor))
    if not given:
        raise fail(TypeError, f"draw: this {type(error).__name__} does not say which tensors it is about",
                   expected="an error of an operation, such as ShapeError")  # fmt: skip
    return Subject(graph(given), FailedOp(getattr(error, "op", "") or type(error).__name__, given, str(error)))


def is_tree(whole: Graph) -> bool:
    """Whether a module was called on several of its own results at once, outside of any time step."""
    if any(t.time is not None for t in whole.nodes):
        return False
    nearest: dict[int, frozenset[int]] = {}  # for each node the calls that its value comes from
    kinds: dict[int, tuple[str, ...]] = {}
    used: dict[int, set[int]] = {}  # by each call
    for t in whole.nodes:
        before = frozenset().union(*(nearest.get(i.serial, frozenset()) for i in t.inputs)) if t.inputs else frozenset()
        if not t.scope or t.is_leaf or t.place.backward:
            nearest[t.serial] = before if len(before) <= _MANY else frozenset()
            continue
        call = id(t.place)
        kinds[call] = t.scope
        used.setdefault(call, set()).update(before - {call})
        nearest[t.serial] = frozenset({call})
    return any(sum(kinds[c] == kinds[call] for c in calls) > 1 for call, calls in used.items())


_MANY = 64  # a node that collects more results than this is no node of a tree
