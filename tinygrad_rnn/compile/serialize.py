"""Programs as JSON: the recorded graph, and what the function does besides computing."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from ..effects import Assignment, Check, NotFinite
from ..errors import fail
from ..graph import Graph
from ..nested import Hole
from ..ops.core import registry
from ..tensor import CONSTANT, LITERAL, PARAMETER, PLACEHOLDER, Op, Tensor
from .arguments import Call, Other
from .capture import Recording
from .compiler_ops import CHANGES, CHANGING, RANGE_CHECK

__all__ = ["LEAVES", "MOST_DEPTH", "RECORDED", "VERSION", "is_known", "kind_of", "named_tensors", "recording_to_json"]

VERSION = 2
MOST_DEPTH = 50  # levels of arguments, results and parameters that are read again
LEAVES = {op.name: op for op in (CONSTANT, LITERAL, PARAMETER, PLACEHOLDER)}
RECORDED = {op.name: op for op in (*CHANGING, RANGE_CHECK)}  # beside those of the registry


def named_tensors(given: Any) -> dict[str, Tensor]:
    """Tensors by name, of a mapping, or of something with ``named_parameters``, as a module."""
    if given is None:
        return {}
    if not hasattr(given, "named_parameters") and not isinstance(given, Mapping):
        raise fail(
            TypeError, "tensors by name", expected="a module, or a dict of tensors", got=type(given).__name__
        )  # fmt: skip
    named = dict(given.named_parameters() if hasattr(given, "named_parameters") else given)
    for name, t in named.items():
        if not isinstance(t, Tensor):
            raise fail(TypeError, f"tensors by name: {name!r}", expected="a tensor", got=type(t).__name__)
    return named


def recording_to_json(recording: Recording, given: Any = None) -> str:
    """A recording as text; the user's tensors by their names, optimisers and generators by numbers.

    Raises
    ------
    ValueError
        If two of the user's tensors, or of the user's own operations, have the same name, or a tensor has none.
    """
    last = [] if recording.last is None else [recording.last]
    ranges = [t for t in recording.ranges if t.op is RANGE_CHECK]  # others were of constants
    graph = Graph([*recording.roots, *last, *recording.drawn, *ranges], recording.placeholders)
    position = {t.serial: k for k, t in enumerate(graph.nodes)}
    tensors = [*recording.bound.values(), *recording.carried.values(), *recording.left, *recording.cleared]
    tensors += [*recording.written, *recording.watched]
    names = {t.serial: t.name for t in tensors} | {t.serial: name for name, t in named_tensors(given).items()}
    _check_names(tensors, names)
    writer = _Writer(names, recording.optimizers)
    nodes = json.loads(graph.to_json(values=True))["nodes"]
    for t, node in zip(graph.nodes, nodes, strict=True):
        writer.complete(t, node)
    call = recording.call or Call.plain(len(recording.placeholders), recording.results)
    return json.dumps({
        "version": VERSION,
        "nodes": nodes,
        "arguments": [{"shape": list(t.shape), "dtype": t.dtype.name, "name": t.name, "node": position.get(t.serial)}
                      for t in recording.placeholders],
        "call": {"args": _written(call.args), "kwargs": _written(call.kwargs), "form": _written(call.form),
                 "same": call.same},
        "bound": [[position[s], names[t.serial]] for s, t in recording.bound.items() if s in position],
        "carried": [[position[s], names[t.serial]] for s, t in recording.carried.items() if s in position],
        "results": [position[t.serial] for t in recording.roots[: recording.results]],
        "left": [[position[root.serial], names[t.serial]]
                 for root, t in zip(recording.roots[recording.results :], recording.left, strict=True)],
        "cleared": [names[t.serial] for t in recording.cleared],
        "asked": [names[t.serial] for t in recording.watched],
        "last": position[recording.last.serial] if recording.last is not None else None,
        "drawn": [position[t.serial] for t in recording.drawn],
        "ranges": [position[t.serial] for t in ranges],
        "segments": _segments(recording.segments, graph.nodes),
        "optimizers": [kind_of(o) for o in recording.optimizers],
        "generators": len(writer.generators),
        "restarted": [writer.generators[id(g)] for g, _ in recording.restarted],
        "anomaly": recording.anomaly,
    }, allow_nan=False)  # fmt: skip


def _check_names(tensors: Sequence[Tensor], names: dict[int, str | None]) -> None:
    taken: dict[str, int] = {}
    for t in tensors:
        name = names[t.serial]
        if name is None or taken.setdefault(name, t.serial) != t.serial:
            raise ValueError(
                f"to_json: the tensors that a program uses need names of their own; got {name!r} for a tensor of shape "
                f"{t.shape}\n  hint:     pass the module that they are in, or a dict of them by name"
            )


def kind_of(optimizer: Any) -> dict[str, Any]:
    """What kind of optimiser it is, whatever its settings."""
    return {"kind": type(optimizer).__name__, "rule": optimizer.rule.__name__, "slots": list(optimizer.slots)}


def _segments(segments: Sequence[tuple[int, int]], nodes: Sequence[Tensor]) -> list[list[int]]:
    """Ranges of serial numbers as ranges of positions."""
    serials = [t.serial for t in nodes]
    places = [[bisect_left(serials, first), bisect_right(serials, last) - 1] for first, last in segments]
    return [place for place in places if place[0] <= place[1]]


class _Writer:
    """Writes what the JSON of a graph does not have."""

    def __init__(self, names: dict[int, str | None], optimizers: list[Any]) -> None:
        self.names, self.optimizers = names, optimizers
        self.generators: dict[int, int] = {}
        self.own: dict[str, Op] = {}

    def complete(self, t: Tensor, node: dict[str, Any]) -> None:
        if t.op in CHANGES.values():
            node["params"] = self.change(t.params["change"])
        else:
            node["params"] = {key: self.param(v) for key, v in t.params.items()}
        if not is_known(t.op):
            node["own"] = True
            if self.own.setdefault(t.op.name, t.op) is not t.op:
                raise fail(
                    ValueError, f"to_json: two operations of your own are called '{t.op}'",
                    hint="give them names, as in tg.elementwise(function, name=...)",
                )  # fmt: skip

    def change(self, change: Any) -> dict[str, Any]:
        if isinstance(change, Check):
            if not isinstance(change.error, NotFinite):
                raise fail(TypeError, "to_json: a check whose error is not plain data", expected="NotFinite")
            return {"texts": list(change.error.texts)}
        name = self.names[change.parameter.serial]
        if isinstance(change, Assignment):
            return {"parameter": name}
        number = next(k for k, o in enumerate(self.optimizers) if o is change.optimizer)
        return {"parameter": name, "optimizer": number, "index": change.index, "step": change.step}

    def param(self, value: Any) -> Any:
        """A parameter of an op in JSON's terms; what JSON lacks becomes an object with one key."""
        if isinstance(value, tuple | list):
            return [self.param(v) for v in value]
        if isinstance(value, slice):
            return {"slice": [value.start, value.stop, value.step]}
        if isinstance(value, np.random.Generator):
            return {"generator": self.generators.setdefault(id(value), len(self.generators))}
        if isinstance(value, np.dtype):
            return {"dtype": value.name}
        if value is Ellipsis:
            return {"ellipsis": True}
        return _number(value.item() if isinstance(value, np.generic) else value)


def is_known(op: Op) -> bool:
    """Whether an operation is one of ours."""
    return registry.get(op.name) is op or LEAVES.get(op.name) is op or RECORDED.get(op.name) is op


def _number(value: Any) -> Any:
    if isinstance(value, float) and not isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise fail(TypeError, "to_json: a value that cannot be written", got=type(value).__name__)


def _written(value: Any, depth: int = 0) -> Any:
    """Arguments or results in JSON's terms."""
    if depth > MOST_DEPTH:
        raise fail(
            ValueError, "to_json: the nesting of arguments and results", expected=f"at most {MOST_DEPTH} levels",
            got="more",
        )  # fmt: skip
    if isinstance(value, Hole):
        return {"array": value.number}
    if isinstance(value, Other):
        return {"other": value.kind}
    if isinstance(value, dict):
        return {"dict": [[_number(k), _written(v, depth + 1)] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        return {"list" if isinstance(value, list) else "tuple": [_written(v, depth + 1) for v in value]}
    return _number(value)
