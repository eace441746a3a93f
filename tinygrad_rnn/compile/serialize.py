"""Programs as JSON: the recorded graph, and what the function does besides computing. Loading executes nothing.

A text is not trusted. Each node is checked by its own operation: whether it takes such inputs and parameters, and
whether its shape rule gives what is written. What has no kernel of ours is also run once, by NumPy, on zeros.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite, prod
from typing import Any

import numpy as np

from ..effects import Assignment, Check, NotFinite, Update
from ..errors import fail
from ..graph import Graph
from ..ops.core import registry
from ..scope import Place
from ..tensor import CONSTANT, LITERAL, PARAMETER, PLACEHOLDER, Op, Spec, Tensor, leaf
from .arguments import Call, Hole, Other
from .capture import Recording
from .internal import ASSIGN, CHANGES, CHANGING, CHECK, SEQUENCE, UPDATE

__all__ = ["recording_from_json", "recording_to_json"]

VERSION = 2
DTYPES = {np.dtype(c).name: np.dtype(c) for c in "?bBhHiIqQfd"}
Generators = np.random.Generator | Sequence[np.random.Generator] | None

_LEAVES = {op.name: op for op in (CONSTANT, LITERAL, PARAMETER, PLACEHOLDER)}
_CHANGING = {op.name: op for op in CHANGING}
_NUMBERS = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}
_MOST_AXES, _MOST_BYTES, _MOST_DEPTH = 32, 2**40, 50
_TRIED = 10**6  # entries up to which a node is run on zeros
_REFUSALS = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, StopIteration, TypeError, ValueError,
)  # fmt: skip


def named_tensors(given: Any) -> dict[str, Tensor]:
    """Tensors by name, of a mapping, or of something with ``named_parameters``, as a module."""
    if given is None:
        return {}
    named = dict(given.named_parameters() if hasattr(given, "named_parameters") else given)
    for name, t in named.items():
        if not isinstance(t, Tensor):
            raise fail(TypeError, f"tensors by name: {name!r}", expected="a tensor", got=type(t).__name__)
    return named


# Writing --------------------------------------------------------------------------------------------------------------


def recording_to_json(recording: Recording, given: Any = None) -> str:
    """A recording as text; the user's tensors by their names, optimisers and generators by numbers.

    Raises
    ------
    ValueError
        If two of the user's tensors, or of the user's own operations, have the same name, or a tensor has none.
    """
    last = [] if recording.last is None else [recording.last]
    graph = Graph([*recording.roots, *last, *recording.drawn], recording.placeholders)
    position = {t.serial: k for k, t in enumerate(graph.nodes)}
    tensors = [*recording.bound.values(), *recording.carried.values(), *recording.left, *recording.cleared]
    tensors += recording.written
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
        "call": {"args": _written(call.args), "kwargs": _written(call.kwargs), "form": _written(_form(call.form))},
        "bound": [[position[s], names[t.serial]] for s, t in recording.bound.items() if s in position],
        "carried": [[position[s], names[t.serial]] for s, t in recording.carried.items() if s in position],
        "results": [position[t.serial] for t in recording.roots[: recording.results]],
        "left": [[position[root.serial], names[t.serial]]
                 for root, t in zip(recording.roots[recording.results :], recording.left, strict=True)],
        "cleared": [names[t.serial] for t in recording.cleared],
        "last": position[recording.last.serial] if recording.last is not None else None,
        "drawn": [position[t.serial] for t in recording.drawn],
        "segments": _segments(recording.segments, graph.nodes),
        "optimizers": [_kind(o) for o in recording.optimizers],
        "generators": len(writer.generators),
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


def _kind(optimizer: Any) -> dict[str, Any]:
    """What kind of optimiser it is, whatever its settings."""
    return {"kind": type(optimizer).__name__, "rule": optimizer.rule.__name__, "slots": list(optimizer.slots)}


def _segments(segments: Sequence[tuple[int, int]], nodes: Sequence[Tensor]) -> list[list[int]]:
    """Ranges of serial numbers as ranges of positions."""
    found = []
    for first, last in segments:
        within = [k for k, t in enumerate(nodes) if first <= t.serial <= last]
        found += [[within[0], within[-1]]] if within else []
    return found


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
        if not _is_known(t.op):
            node["own"] = True
            if self.own.setdefault(t.op.name, t.op) is not t.op:
                raise fail(
                    ValueError, f"to_json: two operations of your own are called '{t.op.name}'",
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


def _is_known(op: Op) -> bool:
    return registry.get(op.name) is op or _LEAVES.get(op.name) is op or _CHANGING.get(op.name) is op


def _number(value: Any) -> Any:
    if isinstance(value, float) and not isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise fail(TypeError, "to_json: a value that cannot be written", got=type(value).__name__)


def _form(form: Any) -> Any:
    """A nesting of results with holes where they stand."""
    if isinstance(form, dict):
        return {k: _form(v) for k, v in form.items()}
    if isinstance(form, tuple | list):
        parts = [_form(v) for v in form]
        return parts if isinstance(form, list) else tuple(parts)
    return form if form is None else Hole(form)


def _written(value: Any) -> Any:
    """Arguments or results in JSON's terms."""
    if isinstance(value, Hole):
        return {"array": value.number}
    if isinstance(value, Other):
        return {"other": value.kind}
    if isinstance(value, dict):
        return {"dict": [[_number(k), _written(v)] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        return {"list" if isinstance(value, list) else "tuple": [_written(v) for v in value]}
    return _number(value)


# Reading: parts of the text -------------------------------------------------------------------------------------------


def _wrong(where: str, expected: str, got: Any) -> ValueError:
    shown = got if isinstance(got, str) else repr(got) if not isinstance(got, list | dict) else type(got).__name__
    return fail(ValueError, f"from_json: {where}", expected=expected, got=shown[:100])


def _parsed(text: Any) -> dict[str, Any]:
    if not isinstance(text, str):
        raise fail(TypeError, "from_json: the text", expected="a string", got=type(text).__name__)
    try:
        written = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_without_twins)
    except RecursionError:
        raise ValueError("from_json: the text is nested too deeply for a program") from None
    except ValueError as error:
        raise ValueError(f"from_json: the text is not JSON of a program: {str(error)[:200]}") from None
    if not isinstance(written, dict) or written.get("version") != VERSION or type(written["version"]) is not int:
        version = written.get("version") if isinstance(written, dict) else type(written).__name__
        raise _wrong("version", f"a program of version {VERSION}", version)
    return written


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON's")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return made


_OPTIONAL = {"own": False, "value": None}


def _fields(written: Any, where: str, kinds: dict[str, Any]) -> dict[str, Any]:
    """An object with these keys, whose values are of these types; those of `_OPTIONAL` may be missing."""
    if not isinstance(written, dict):
        raise _wrong(where, "an object", written)
    missing = [key for key in kinds if key not in written and key not in _OPTIONAL]
    unknown = [key for key in written if key not in kinds]
    if missing or unknown:
        raise _wrong(where, f"the keys {', '.join(kinds)}", ", ".join([f"no '{k}'" for k in missing] + unknown))
    for key, kind in kinds.items():
        if key in written and type(written[key]) not in (kind if isinstance(kind, tuple) else (kind,)):
            names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise _wrong(f"{where}: '{key}'", names, written[key])
    return {key: value for key, value in _OPTIONAL.items() if key in kinds} | written


def _position(written: Any, where: str, end: int) -> int:
    if type(written) is not int or not 0 <= written < end:
        raise _wrong(where, f"a number from 0 to {end - 1}" if end else "none", written)
    return written


def _strings(written: list[Any], where: str) -> tuple[str, ...]:
    for text in written:
        if type(text) is not str:
            raise _wrong(where, "strings", text)
    return tuple(written)


def _spec(shape: list[Any], dtype: str, where: str) -> Spec:
    if dtype not in DTYPES:
        raise _wrong(f"{where}: 'dtype'", f"one of {', '.join(DTYPES)}", dtype)
    if len(shape) > _MOST_AXES or not all(type(n) is int and 0 <= n <= _MOST_BYTES for n in shape):
        raise _wrong(f"{where}: 'shape'", f"at most {_MOST_AXES} sizes that are not negative", repr(shape))
    if prod([max(n, 1) for n in shape]) * DTYPES[dtype].itemsize > _MOST_BYTES:
        raise _wrong(f"{where}: 'shape'", "what fits into a memory", repr(shape))
    return Spec(tuple(shape), DTYPES[dtype])


def _array(written: Any, spec: Spec, where: str) -> np.ndarray:
    """The value of a leaf: nested lists of exactly this shape and type."""
    level = [written]
    for n in spec.shape:
        if not all(type(part) is list and len(part) == n for part in level):
            raise _wrong(f"{where}: 'value'", f"lists of shape {spec.shape}", "others")
        level = [v for part in level for v in part]
    values = [_entry(v, spec.dtype, where) for v in level]
    with np.errstate(over="ignore"):
        array = np.array(values, spec.dtype).reshape(spec.shape)
    if spec.dtype.kind == "f" and not (np.isfinite(array) | ~np.isfinite(np.array(values).reshape(spec.shape))).all():
        raise _wrong(f"{where}: 'value'", f"numbers that {spec.dtype} holds", "a larger one")
    return array


_ENTRIES = {"b": bool, "i": int, "u": int, "f": float}


def _entry(value: Any, dtype: np.dtype, where: str) -> Any:
    if dtype.kind == "f" and type(value) is str and value in _NUMBERS:
        return _NUMBERS[value]
    fits = type(value) is _ENTRIES[dtype.kind]
    if fits and dtype.kind in "iu":
        fits = bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)
    if not fits:
        raise _wrong(f"{where}: 'value'", f"entries of type {dtype}", value)
    return value


def _nested(written: Any, where: str, numbers: list[int], depth: int = 0) -> Any:
    """Arguments or results; the numbers of arrays are added to a list."""
    if depth > _MOST_DEPTH:
        raise _wrong(where, f"at most {_MOST_DEPTH} levels", "more")
    if type(written) is not dict:
        return _plain(written, where)
    if len(written) != 1:
        raise _wrong(where, "an object with one key", written)
    ((key, value),) = written.items()
    if key == "array" and type(value) is int:
        numbers.append(value)
        return Hole(value)
    if key == "other" and type(value) is str:
        return Other(value)
    if key in ("tuple", "list") and type(value) is list:
        parts = [_nested(v, where, numbers, depth + 1) for v in value]
        return tuple(parts) if key == "tuple" else parts
    if key == "dict" and type(value) is list and all(type(pair) is list and len(pair) == 2 for pair in value):
        made = {_plain(k, where): _nested(v, where, numbers, depth + 1) for k, v in value}
        if len(made) == len(value):
            return made
    return _plain(written, where)


def _plain(written: Any, where: str) -> Any:
    if type(written) is dict and [*written] == ["float"] and written["float"] in ("nan", "inf", "-inf"):
        return _NUMBERS[written["float"]]
    if type(written) in (list, dict):
        raise _wrong(where, "a number, a string, true, false, null, or an object for what JSON lacks", written)
    return written


def _call(written: Any, arguments: int, results: int) -> Call:
    fields = _fields(written, "call", {"args": dict, "kwargs": dict, "form": (dict, type(None))})
    numbers: list[int] = []
    args, kwargs = (_nested(fields[key], f"call: '{key}'", numbers) for key in ("args", "kwargs"))
    if type(args) is not tuple or type(kwargs) is not dict or not all(type(k) is str for k in kwargs):
        raise _wrong("call", "a tuple of arguments, and a dict of those with a name", "others")
    _check_numbers(numbers, arguments, "call: arrays among the arguments")
    numbers = []
    form = _numbered(_nested(fields["form"], "call: 'form'", numbers))
    _check_numbers(numbers, results, "call: arrays among the results")
    return Call(args, kwargs, form)


def _check_numbers(numbers: list[int], count: int, where: str) -> None:
    if numbers != list(range(count)):
        raise _wrong(where, f"the numbers from 0 to {count - 1}, in order" if count else "none", str(numbers))


def _numbered(form: Any) -> Any:
    """A nesting of results with their numbers where they stand."""
    if isinstance(form, dict):
        return {k: _numbered(v) for k, v in form.items()}
    if isinstance(form, tuple | list):
        parts = [_numbered(v) for v in form]
        return parts if isinstance(form, list) else tuple(parts)
    if form is not None and not isinstance(form, Hole):
        raise _wrong("call: 'form'", "results, and null", repr(form))
    return form if form is None else form.number


# Reading: the recording -----------------------------------------------------------------------------------------------

_FIELDS = {
    "version": int, "nodes": list, "arguments": list, "call": dict, "bound": list, "carried": list, "results": list,
    "left": list, "cleared": list, "last": (int, type(None)), "drawn": list, "segments": list, "optimizers": list,
    "generators": int, "anomaly": bool,
}  # fmt: skip
_NODE = {
    "id": str, "op": str, "inputs": list, "params": dict, "shape": list, "dtype": str, "name": (str, type(None)),
    "scope": list, "time": (int, type(None)), "direction": str, "source": str, "own": bool,
    "value": (list, int, float, bool, str),
}  # fmt: skip


def recording_from_json(
    text: str,
    tensors: Any = None,
    optimizers: Sequence[Any] = (),
    generator: Generators = None,
    operations: Mapping[str, Any] | None = None,
) -> Recording:
    """A recording from its text, over these tensors, optimisers, generators and operations.

    Raises
    ------
    KeyError
        If a tensor, an operation or a generator is missing.
    ValueError
        If the text is not what ``to_json`` writes, or something that it is given is not what was written for.
    TypeError
        If something that it is given is of another kind.
    """
    written = _fields(_parsed(text), "the program", _FIELDS)
    return _Reader(written, named_tensors(tensors), optimizers, generator, operations or {}).recording()


class _Reader:
    """Makes a recording of a text; all that is used of it is looked at first.

    Attributes
    ----------
    nodes : list of Tensor
        As far as they are read.
    used : dict of str to Tensor
        The user's tensors that the program uses.
    now : dict of str to Tensor
        For each tensor the leaf that stands for it, or its last change.
    changes : list of Tensor
    after : dict of int to int
        For each change and sequence, by serial number, how many of the changes it comes after.
    """

    def __init__(
        self, written: dict[str, Any], tensors: dict[str, Tensor], optimizers: Any, generator: Any,
        operations: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.written, self.tensors, self.operations = written, tensors, operations
        self.optimizers = self.checked_optimizers(list(optimizers))
        self.generators = self.checked_generators(generator)
        self.nodes: list[Tensor] = []
        self.used: dict[str, Tensor] = {}
        self.now: dict[str, Tensor] = {}
        self.changes: list[Tensor] = []
        self.after: dict[int, int] = {}
        self.step: tuple[Any, int] = (None, 0)  # what the last update belongs to, and how many changes came before
        self.taken: dict[int, int] = {}  # steps by each optimiser

    def recording(self) -> Recording:
        written, count = self.written, len(self.written["nodes"])
        bound = self.pairs("bound", count)
        carried = self.pairs("carried", count)
        names = dict(bound)
        for k, node in enumerate(written["nodes"]):
            self.node(k, _fields(node, f"node {k}", _NODE), names)
        results, drawn = self.listed("results"), self.listed("drawn")
        self.check_drawn(drawn)
        left = [(self.nodes[k], self.tensor(name, self.nodes[k], "left")) for k, name in self.pairs("left", count)]
        cleared = [self.named(name, "cleared") for name in _strings(written["cleared"], "cleared")]
        placeholders = [self.argument(k, argument) for k, argument in enumerate(written["arguments"])]
        stand_ins = {self.nodes[k].serial: self.tensor(name, self.nodes[k], "carried") for k, name in carried}
        leaves = {self.nodes[k].serial: self.tensor(name, self.nodes[k], "bound") for k, name in bound}
        self.check_leaves(placeholders, stand_ins, leaves)
        self.check_used([t for _, t in left], cleared)
        return Recording(
            placeholders, [*(self.nodes[k] for k in results), *(node for node, _ in left)], len(results),
            [t for _, t in left], cleared, leaves, stand_ins, self.changes, self.last(), self.segments(),
            [self.nodes[k] for k in drawn], written["anomaly"],
            call=_call(written["call"], len(placeholders), len(results)),
        )  # fmt: skip

    # What is given ----------------------------------------------------------------------------------------------------

    def checked_optimizers(self, given: list[Any]) -> list[Any]:
        kinds = [
            _fields(k, f"optimizers[{n}]", {"kind": str, "rule": str, "slots": list})
            for n, k in enumerate(self.written["optimizers"])
        ]
        if len(given) != len(kinds) or len({id(o) for o in given}) < len(given):
            listed = ", ".join(k["kind"] for k in kinds) or "none"
            raise _wrong("optimizers", f"{len(kinds)}, each once: {listed}", f"{len(given)}")
        for n, (optimizer, kind) in enumerate(zip(given, kinds, strict=True)):
            if not all(hasattr(optimizer, name) for name in ("parameters", "state", "rule", "slots", "kernel")):
                raise fail(
                    TypeError, f"from_json: optimizers[{n}]", expected="an optimiser", got=type(optimizer).__name__
                )
            if _kind(optimizer) != kind:
                raise fail(
                    ValueError, f"from_json: optimizers[{n}]", expected=f"{kind['kind']} (rule '{kind['rule']}')",
                    got=f"{type(optimizer).__name__} (rule '{optimizer.rule.__name__}')",
                    hint="pass optimisers of the kinds and in the order with which the program was recorded",
                )  # fmt: skip
        return given

    def checked_generators(self, given: Any) -> list[np.random.Generator]:
        """One for each number; a single one serves all."""
        count = self.written["generators"]
        if not 0 <= count <= len(self.written["nodes"]):
            raise _wrong("generators", "how many there are", count)
        if given is None and count:
            raise KeyError("from_json: the program draws random numbers; pass generator=")
        listed = [given] * count if isinstance(given, np.random.Generator) else list(given or ())
        if given is not None and len(listed) != count:
            raise _wrong("generators", f"{count}, in the order in which they are first drawn from", str(len(listed)))
        for g in listed:
            if not isinstance(g, np.random.Generator):
                raise fail(TypeError, "from_json: generator", expected="a numpy.random.Generator", got=type(g).__name__)
        return listed

    def named(self, name: str, where: str) -> Tensor:
        if name not in self.tensors:
            raise KeyError(f"from_json: {where}: the program uses a tensor '{name}', which was not given")
        t = self.used[name] = self.tensors[name]
        if t.is_symbolic or type(t.data) is not np.ndarray:
            raise fail(TypeError, f"from_json: '{name}'", expected="a tensor with a value", got="one without")
        return t

    def tensor(self, name: str, node: Tensor, where: str) -> Tensor:
        """A tensor of the user's for a node of the same shape and type."""
        t = self.named(name, where)
        if (t.shape, t.dtype) != (node.shape, node.dtype):
            raise ValueError(f"from_json: '{name}' should be {node.shape} {node.dtype}, got {t.shape} {t.dtype}")
        return t

    # Nodes ------------------------------------------------------------------------------------------------------------

    def node(self, k: int, written: dict[str, Any], names: dict[int, str]) -> None:
        where = f"node {k} ('{written['op']}')"
        op, spec = self.op(written, where), _spec(written["shape"], written["dtype"], where)
        inputs = tuple([self.nodes[_position(n, f"{where}: 'inputs'", k)] for n in written["inputs"]])
        if op in _LEAVES.values():
            t = self.leaf(op, spec, inputs, written, where)
        else:
            if written["value"] is not None:
                raise _wrong(f"{where}: 'value'", "none, as it is computed", written["value"])
            t = leaf(spec, op, name=written["name"])
            t.inputs = inputs
            t.params = self.params(t, written["params"], where)
        t.place = self.place(written, where)
        self.nodes.append(t)
        if op in CHANGES.values():
            self.changes.append(t)
            self.after[t.serial] = self.step[1]
        elif op is SEQUENCE:
            self.after[t.serial] = self.changes_before(inputs)
        if k in names:
            self.now[names[k]] = t

    def op(self, written: dict[str, Any], where: str) -> Op:
        """The operation of a node: one of ours, or one of the user's own."""
        name = written["op"]
        if not written["own"]:
            op = _LEAVES.get(name) or registry.get(name) or _CHANGING.get(name)
            if op is None:
                raise KeyError(f"from_json: {where}: there is no operation '{name}'")
            return op
        function = self.operations.get(name)
        if function is None:
            raise KeyError(f"from_json: {where}: an operation of your own; pass operations={{'{name}': {name}}}")
        op = getattr(function, "op", function)
        if not isinstance(op, Op) or op.kernels is None or _is_known(op):
            raise fail(
                TypeError, f"from_json: operations['{name}']", expected="a function made by tg.elementwise",
                got=repr(function)[:80],
            )  # fmt: skip
        if op.kernels.arity != len(written["inputs"]):
            raise _wrong(f"operations['{name}']", f"one of {len(written['inputs'])} inputs", str(op.kernels.arity))
        return op

    def leaf(self, op: Op, spec: Spec, inputs: Any, written: dict[str, Any], where: str) -> Tensor:
        holds = op in (CONSTANT, LITERAL)
        if inputs or written["params"] or (written["value"] is not None) != holds or (op is LITERAL and spec.shape):
            raise _wrong(where, "a leaf with a value" if holds else "a leaf without a value", "another")
        return leaf(_array(written["value"], spec, where) if holds else spec, op, name=written["name"])

    def place(self, written: dict[str, Any], where: str) -> Place:
        if written["direction"] not in ("forward", "backward"):
            raise _wrong(f"{where}: 'direction'", "forward or backward", written["direction"])
        scope = _strings(written["scope"], f"{where}: 'scope'")
        return Place(scope, written["time"], written["direction"] == "backward")

    def params(self, t: Tensor, written: dict[str, Any], where: str) -> dict[str, Any]:
        """The parameters of a node, after the operation itself has said that they fit."""
        if t.op in CHANGING:
            return self.change(t, written, where)
        params = {key: self.value(v, f"{where}: '{key}'") for key, v in written.items()}
        try:
            given = _given_by(t, params)
        except _REFUSALS as error:
            given = str(error).partition("\n")[0][:200]
        if given != t.spec:
            raise _wrong(f"{where}: inputs, params, shape and dtype", f"{t.shape} {t.dtype}", str(given))
        return params

    def value(self, written: Any, where: str, depth: int = 0) -> Any:
        """A parameter of an op, from JSON's terms."""
        if depth > _MOST_DEPTH:
            raise _wrong(where, f"at most {_MOST_DEPTH} levels", "more")
        if type(written) is list:
            return tuple([self.value(v, where, depth + 1) for v in written])
        if type(written) is dict and len(written) == 1:
            ((key, value),) = written.items()
            if key == "slice" and type(value) is list and len(value) == 3:
                return slice(*[_plain(v, where) for v in value])
            if key == "generator":
                return self.generators[_position(value, where, len(self.generators))]
            if key == "dtype" and type(value) is str and value in DTYPES:
                return DTYPES[value]
            if key == "ellipsis" and value is True:
                return Ellipsis
        return _plain(written, where)

    # Changes ----------------------------------------------------------------------------------------------------------

    def changes_before(self, inputs: Sequence[Tensor]) -> int:
        """How many of the changes so far come before what has these inputs: the first so many, without a gap."""
        done = max([self.after.get(t.serial, 0) for t in inputs], default=0)
        direct = {t.serial for t in inputs if t.op in CHANGES.values()}
        while done < len(self.changes) and self.changes[done].serial in direct:
            done += 1
        return done

    def change(self, t: Tensor, written: dict[str, Any], where: str) -> dict[str, Any]:
        if t.op is SEQUENCE:
            _fields(written, f"{where}: 'params'", {})
            if not t.inputs or t.spec != Spec((0,), np.dtype(bool)):
                raise _wrong(where, "inputs, and a result of shape (0,) and type bool", f"{t.shape} {t.dtype}")
            return {}
        made = {CHECK: self.check, ASSIGN: self.assignment, UPDATE: self.update}[t.op](t, written, where)
        operands = 1 if t.op is CHECK else 2
        belongs = (id(made.optimizer), made.step) if isinstance(made, Update) else None
        if belongs is None or belongs != self.step[0]:
            self.step = belongs, len(self.changes)
            self.check_step(made, where)
        elif any(made.index == c.params["change"].index for c in self.changes[self.step[1] :]):
            raise _wrong(where, "each parameter once in a step", str(made.index))
        before = t.inputs[operands:]
        if any(i.op is not SEQUENCE for i in before) or self.changes_before(before) != self.step[1]:
            raise _wrong(f"{where}: 'inputs'", f"a sequence after the {self.step[1]} changes before", "another")
        return {"change": made}

    def check_step(self, made: Any, where: str) -> None:
        if isinstance(made, Update):
            number = id(made.optimizer)
            if made.step != self.taken.get(number, 0):
                raise _wrong(f"{where}: 'step'", str(self.taken.get(number, 0)), made.step)
            self.taken[number] = made.step + 1

    def operands(self, t: Tensor, count: int, where: str, shape: Spec) -> tuple[Tensor, ...]:
        if len(t.inputs) < count or t.spec != shape or any(i.spec != t.inputs[0].spec for i in t.inputs[:count]):
            raise _wrong(f"{where}: inputs and shape", "those of a change", f"{t.shape} {t.dtype}")
        return t.inputs[:count]

    def check(self, t: Tensor, written: dict[str, Any], where: str) -> Check:
        (x,) = self.operands(t, 1, where, Spec((0,), np.dtype(bool)))
        texts = _strings(_fields(written, f"{where}: 'params'", {"texts": list})["texts"], f"{where}: 'texts'")
        if not x.is_float or len(texts) not in (1, x.size):
            raise _wrong(f"{where}: 'texts'", f"1 or {x.size}, for floats", f"{len(texts)}, for {x.dtype}")
        return Check(x, NotFinite(texts))

    def target(self, t: Tensor, name: str, where: str) -> Tensor:
        """The tensor that is changed; the change is one of what it is by then."""
        before, target = self.now.get(name), self.tensor(name, t, where)
        if before is None or before is not t.inputs[0]:
            raise _wrong(f"{where}: 'inputs'", f"'{name}', or the last change of it", "another")
        if not target.is_leaf:
            raise fail(TypeError, f"from_json: '{name}' is changed", expected="a leaf", got="a computed tensor")
        self.now[name] = t
        return target

    def assignment(self, t: Tensor, written: dict[str, Any], where: str) -> Assignment:
        fields = _fields(written, f"{where}: 'params'", {"parameter": str})
        _, value = self.operands(t, 2, where, t.spec)
        return Assignment(self.target(t, fields["parameter"], where), value)

    def update(self, t: Tensor, written: dict[str, Any], where: str) -> Update:
        kinds = {"parameter": str, "optimizer": int, "index": int, "step": int}
        fields = _fields(written, f"{where}: 'params'", kinds)
        _, gradient = self.operands(t, 2, where, t.spec)
        name, index = fields["parameter"], fields["index"]
        optimizer = self.optimizers[_position(fields["optimizer"], f"{where}: 'optimizer'", len(self.optimizers))]
        _position(index, f"{where}: 'index'", len(optimizer.parameters))
        target = self.target(t, name, where)
        if optimizer.parameters[index] is not target or not t.is_float:
            raise fail(
                ValueError, f"from_json: parameter {index} of the optimiser is {self.name_of(optimizer, index)}, the "
                f"program updates '{name}'", hint="pass optimisers over the same parameters in the same order",
            )  # fmt: skip
        state = optimizer.state[index]
        if len(state) != len(optimizer.slots) or any((a.shape, a.dtype) != (t.shape, t.dtype) for a in state):
            raise _wrong(f"state of the optimiser for '{name}'", f"{', '.join(optimizer.slots)} of {t.shape} {t.dtype}",
                         "others")  # fmt: skip
        return Update(optimizer, target, gradient, index, fields["step"])

    def name_of(self, optimizer: Any, index: int) -> str:
        p = optimizer.parameters[index]
        names = [name for name, t in self.tensors.items() if t is p] or [p.name] * (p.name is not None)
        return f"'{names[0]}'" if names else f"a tensor {p.shape} {p.dtype}"

    # The rest ---------------------------------------------------------------------------------------------------------

    def listed(self, key: str) -> list[int]:
        return [_position(k, key, len(self.nodes)) for k in self.written[key]]

    def pairs(self, key: str, count: int) -> list[tuple[int, str]]:
        """Positions of nodes, each with the name of a tensor, no name twice."""
        found = []
        for pair in self.written[key]:
            if type(pair) is not list or len(pair) != 2 or type(pair[1]) is not str:
                raise _wrong(key, "pairs of a position and a name", pair)
            found.append((_position(pair[0], key, count), pair[1]))
        if len({name for _, name in found}) < len(found):
            raise _wrong(key, "each name once", ", ".join(name for _, name in found))
        return found

    def argument(self, k: int, written: Any) -> Tensor:
        where = f"argument {k}"
        kinds = {"shape": list, "dtype": str, "name": (str, type(None)), "node": (int, type(None))}
        fields = _fields(written, where, kinds)
        spec = _spec(fields["shape"], fields["dtype"], where)
        if fields["node"] is None:
            return leaf(spec, PLACEHOLDER, name=fields["name"])
        t = self.nodes[_position(fields["node"], f"{where}: 'node'", len(self.nodes))]
        if t.op is not PLACEHOLDER or t.spec != spec:
            raise _wrong(where, f"a placeholder {spec.shape} {spec.dtype}", f"{t.op.name} {t.shape} {t.dtype}")
        return t

    def check_leaves(self, *roles: Any) -> None:
        """Each leaf without a value stands for one thing: an argument, a tensor, or a gradient from before."""
        arguments, carried, bound = roles
        serials = [*(t.serial for t in arguments), *carried, *bound]
        op = {t.serial: t.op for t in self.nodes}
        without = [t.serial for t in self.nodes if t.op in (PARAMETER, PLACEHOLDER)]
        if len(set(serials)) < len(serials) or not set(without) <= set(serials):
            raise _wrong("arguments, bound, carried", "each leaf without a value in one of them", "others")
        if any(op[s] is not PLACEHOLDER for s in carried) or any(s not in without for s in bound):
            raise _wrong("bound, carried", "leaves without a value", "others")
        if len(bound) + len(carried) < len(self.written["bound"]) + len(self.written["carried"]):
            raise _wrong("bound, carried", "each leaf once", "one of them twice")

    def check_used(self, left: list[Tensor], cleared: list[Tensor]) -> None:
        names: dict[int, str] = {}
        for name, t in self.used.items():
            if names.setdefault(t.serial, name) != name:
                raise _wrong("tensors", f"'{names[t.serial]}' and '{name}' as two tensors", "one under both names")
        forgotten = [*left, *cleared]
        if len({t.serial for t in forgotten}) < len(forgotten):
            raise _wrong("left, cleared", "each tensor once", "one of them twice")

    def check_drawn(self, drawn: list[int]) -> None:
        if drawn != sorted(set(drawn)) or any("generator" not in self.nodes[k].params for k in drawn):
            raise _wrong("drawn", "positions of random numbers, in order", str(drawn))

    def last(self) -> Tensor | None:
        k = self.written["last"]
        if k is None and not self.changes:
            return None
        t = self.nodes[_position(k, "last", len(self.nodes))]
        if self.after.get(t.serial, 0) != len(self.changes) or not self.changes:
            raise _wrong("last", f"a sequence after all {len(self.changes)} changes", k)
        return t

    def segments(self) -> list[tuple[int, int]]:
        found = []
        for pair in self.written["segments"]:
            if type(pair) is not list or len(pair) != 2:
                raise _wrong("segments", "pairs of positions", pair)
            first, last = (_position(k, "segments", len(self.nodes)) for k in pair)
            found.append((self.nodes[first].serial, self.nodes[last].serial))
        return found


def _given_by(t: Tensor, params: dict[str, Any]) -> Any:
    """The shape and type that a node has by its operation, or words of why it has none."""
    op, specs = t.op, [i.spec for i in t.inputs]
    assert op.shape is not None
    random = isinstance(params.get("generator"), np.random.Generator)
    if ("generator" in params) != random or (op.takes is not None and not op.takes(*specs, **params)):
        return "inputs or params that the operation does not take"
    given = op.shape(*specs, **params)
    if given == t.spec and op.kernels is None and sum(s.size for s in [*specs, given]) <= _TRIED:
        return _tried(op, specs, params)
    return given


def _tried(op: Op, specs: list[Spec], params: dict[str, Any]) -> Spec:
    """What NumPy makes of zeros; numbers are drawn from a generator of its own."""
    assert op.run is not None
    apart = {"generator": np.random.default_rng(0)} if "generator" in params else {}
    with np.errstate(all="ignore"):
        made = np.asarray(op.run(*[np.zeros(s.shape, s.dtype) for s in specs], **(params | apart)))
    return Spec(made.shape, made.dtype)
