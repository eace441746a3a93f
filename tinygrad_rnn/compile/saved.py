"""Programs as JSON: the recorded graph, and what the function does besides computing. Loading executes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..effects import Assignment, Check, Update
from ..errors import GradientError, fail
from ..graph import Graph
from ..ops.core import registry
from ..scope import Place
from ..tensor import CONSTANT, LITERAL, PARAMETER, PLACEHOLDER, Op, Spec, Tensor, leaf
from .capture import Recording
from .internal import ASSIGN, CHANGES, CHECK, INTERNAL

__all__ = ["named_tensors", "recording_from_json", "recording_to_json"]

VERSION = 2
Generators = np.random.Generator | Sequence[np.random.Generator] | None
_LEAVES = {op.name: op for op in (CONSTANT, LITERAL, PARAMETER, PLACEHOLDER)}
_NUMBERS = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


def named_tensors(given: Any) -> dict[str, Tensor]:
    """Tensors by name, of a mapping, or of something with ``named_parameters``, as a module."""
    if given is None:
        return {}
    return dict(given.named_parameters() if hasattr(given, "named_parameters") else given)


def recording_to_json(recording: Recording, given: Any = None) -> str:
    """A recording as text; the user's tensors by their names, and optimisers by their numbers.

    Raises
    ------
    ValueError
        If two of the user's tensors have the same name, or one has none.
    """
    last = [] if recording.last is None else [recording.last]
    graph = Graph([*recording.roots, *last, *recording.drawn, *recording.ranges], recording.placeholders)
    position = {t.serial: k for k, t in enumerate(graph.nodes)}
    tensors = [*recording.bound.values(), *recording.carried.values(), *recording.left, *recording.cleared]
    tensors += recording.written
    names = {t.serial: t.name for t in tensors} | {t.serial: name for name, t in named_tensors(given).items()}
    _check_names(tensors, names)
    written = json.loads(graph.to_json(values=True))
    optimizers = recording.optimizers
    for t in recording.changes:
        written["nodes"][position[t.serial]]["params"] = _change_json(t.params["change"], optimizers, names)
    return json.dumps({
        "version": VERSION,
        "graph": _with_numbers(written, graph.nodes),
        "arguments": [[list(t.shape), t.dtype.name, t.name, position.get(t.serial)] for t in recording.placeholders],
        "bound": {position[s]: names[t.serial] for s, t in recording.bound.items() if s in position},
        "carried": {position[s]: names[t.serial] for s, t in recording.carried.items() if s in position},
        "results": recording.results,
        "left": [names[t.serial] for t in recording.left],
        "cleared": [names[t.serial] for t in recording.cleared],
        "changes": [position[t.serial] for t in recording.changes],
        "drawn": len(recording.drawn),
        "ranges": len(recording.ranges),
        "segments": recording.segments,
    })  # fmt: skip


def _change_json(change: Any, optimizers: list[Any], names: dict[int, str | None]) -> dict[str, Any]:
    if isinstance(change, Check):
        return {}
    name = names[change.parameter.serial]
    if isinstance(change, Assignment):
        return {"parameter": name}
    return {"parameter": name, "optimizer": optimizers.index(change.optimizer), "index": change.index,
            "step": change.step}  # fmt: skip


def _with_numbers(written: dict[str, Any], nodes: Sequence[Tensor]) -> dict[str, Any]:
    """The graph with a number for each generator, in the order in which they are first drawn from."""
    numbers: dict[int, int] = {}
    for node, t in zip(written["nodes"], nodes, strict=True):
        if "generator" in t.params:
            number = numbers.setdefault(id(t.params["generator"]), len(numbers))
            node["params"]["generator"]["number"] = number
    return written


def _check_names(tensors: Sequence[Tensor], names: dict[int, str | None]) -> None:
    taken: dict[str, int] = {}
    for t in tensors:
        name = names[t.serial]
        if name is None or taken.setdefault(name, t.serial) != t.serial:
            raise ValueError(
                f"to_json: the tensors that a program uses need names of their own; got {name!r} for a tensor of shape "
                f"{t.shape}\n  hint:     pass the module that they are in, or a dict of them by name"
            )


def recording_from_json(
    text: str,
    tensors: Mapping[str, Tensor] = {},
    optimizers: Sequence[Any] = (),
    generator: Generators = None,
) -> Recording:
    """A recording from its text, over these tensors and optimisers.

    Raises
    ------
    KeyError
        If a tensor or an operation is missing.
    ValueError
        If the text is of another version, or a tensor of another shape or type.
    """
    written = json.loads(text)
    if not isinstance(written, dict) or written.get("version") != VERSION:
        raise ValueError(f"from_json: expected a program of version {VERSION}")
    nodes: list[Tensor] = []
    generators = [generator] if isinstance(generator, np.random.Generator) else list(generator or ())
    for node in written["graph"]["nodes"]:
        nodes.append(_node(node, nodes, generators, tensors, optimizers))
    bound = {nodes[int(k)].serial: _fitting(tensors, name, nodes[int(k)]) for k, name in written["bound"].items()}
    carried = {nodes[int(k)].serial: _fitting(tensors, name, nodes[int(k)]) for k, name in written["carried"].items()}
    outputs = [nodes[k] for k in written["graph"]["outputs"]]
    changes = [nodes[k] for k in written["changes"]]
    kept, cleared = ([_named(tensors, name) for name in written[key]] for key in ("left", "cleared"))
    roots, rest = outputs[: written["results"] + len(kept)], outputs[written["results"] + len(kept) :]
    placeholders = [
        nodes[k] if k is not None else leaf(Spec(tuple(shape), np.dtype(dtype)), PLACEHOLDER, name=name)
        for shape, dtype, name, k in written["arguments"]
    ]
    segments = [(nodes[0].serial, nodes[-1].serial)] if written["segments"] else []
    end = len(rest) - written["ranges"]
    return Recording(
        placeholders, roots, written["results"], kept, cleared, bound, carried, changes,
        rest[0] if changes else None, segments, rest[end - written["drawn"] : end], rest[end:],
    )  # fmt: skip


def _change(op: Op, written: dict[str, Any], inputs: Sequence[Tensor], tensors: Any, optimizers: Any) -> Any:
    """What a change does, to these tensors and by these optimisers."""
    if op is CHECK:
        return Check(inputs[0], _not_finite)
    target = _named(tensors, written["parameter"])
    if op is ASSIGN:
        return Assignment(target, inputs[1])
    return Update(optimizers[written["optimizer"]], target, inputs[1], written["index"], written["step"])


def _not_finite(position: int) -> Exception:
    return fail(GradientError, "a gradient is not finite", expected="finite values", got=f"entry {position} is not")


def _named(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise KeyError(f"from_json: the program uses a tensor '{name}', which was not given")
    return tensors[name]


def _fitting(tensors: Mapping[str, Tensor], name: str, node: Tensor) -> Tensor:
    t = _named(tensors, name)
    if (t.shape, t.dtype) != (node.shape, node.dtype):
        raise ValueError(f"from_json: '{name}' should be {node.shape} {node.dtype}, got {t.shape} {t.dtype}")
    return t


def _node(written: dict[str, Any], nodes: list[Tensor], generators: Any, tensors: Any, optimizers: Any) -> Tensor:
    name, spec = written["op"], Spec(tuple(written["shape"]), np.dtype(written["dtype"]))
    op = _LEAVES.get(name) or registry.get(name) or INTERNAL.get(name)
    if op is None:
        raise KeyError(f"from_json: there is no operation '{name}'; those of your own must be written in Python")
    data: Any = spec
    if "value" in written:
        data = np.array(written["value"], spec.dtype).reshape(spec.shape)
    t = leaf(data, op, name=written["name"])
    t.inputs = tuple([nodes[k] for k in written["inputs"]])
    if op in CHANGES.values():
        t.params = {"change": _change(op, written["params"], t.inputs, tensors, optimizers)}
    else:
        t.params = {key: _value(key, v, generators) for key, v in written["params"].items()}
    t.place = Place(tuple(written["scope"]), written["time"], written["direction"] == "backward")
    return t


def _value(key: str, written: Any, generators: Sequence[np.random.Generator]) -> Any:
    """A parameter of an op, from JSON's terms."""
    if isinstance(written, dict):
        if "slice" in written:
            return slice(*written["slice"])
        if "generator" in written:
            if not written["number"] < len(generators):
                raise KeyError(
                    f"from_json: the program draws from {written['number'] + 1} generators or more, got "
                    f"{len(generators)}; pass generator=, or a list of them"
                )
            return generators[written["number"]]
        return Ellipsis
    if isinstance(written, list):
        return tuple([_value("", v, generators) for v in written])
    if key == "dtype":
        return np.dtype(written)
    return _NUMBERS.get(written, written) if isinstance(written, str) else written
