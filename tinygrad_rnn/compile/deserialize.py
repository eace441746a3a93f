"""Programs from JSON. Loading executes nothing, and a text is not trusted.

Each node is checked by its own operation: whether it takes such inputs and parameters, and whether its shape rule gives
what is written. What has no kernel of ours is also run once, by NumPy, on zeros.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..effects import Assignment, Check, NotFinite, Update
from ..errors import fail
from ..ops.core import registry
from ..scope import Place
from ..tensor import CONSTANT, LITERAL, PARAMETER, PLACEHOLDER, Op, Spec, Tensor, leaf
from .capture import Recording
from .compiler_ops import ASSIGN, CHANGES, CHANGING, CHECK, RANGE_CHECK, SEQUENCE, UPDATE
from .parts import (
    DTYPES,
    array_of,
    call_of,
    fields_of,
    parsed,
    plain_of,
    position_of,
    spec_of,
    strings_of,
    wrong,
)
from .serialize import LEAVES, MOST_DEPTH, RECORDED, is_known, kind_of, named_tensors

__all__ = ["Generators", "recording_from_json"]

Generators = np.random.Generator | Sequence[np.random.Generator] | None

_TRIED = 10**6  # entries up to which a node is run on zeros
_REFUSALS = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, StopIteration, TypeError, ValueError,
)  # fmt: skip
_FIELDS = {
    "version": int, "nodes": list, "arguments": list, "call": dict, "bound": list, "carried": list, "results": list,
    "left": list, "cleared": list, "asked": list, "last": (int, type(None)), "drawn": list, "ranges": list,
    "segments": list, "optimizers": list, "generators": int, "restarted": list,
    "anomaly": bool,
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
    written = fields_of(parsed(text), "the program", _FIELDS)
    operations = {} if operations is None else operations
    if not isinstance(operations, Mapping):
        raise fail(TypeError, "from_json: operations", expected="a dict by name", got=type(operations).__name__)
    return _Loader(written, named_tensors(tensors), optimizers, generator, operations).recording()


class _Loader:
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
        self.optimizers = self.checked_optimizers(_listed(optimizers, "optimizers"))
        self.generators = self.checked_generators(generator)
        self.nodes: list[Tensor] = []
        self.used: dict[str, Tensor] = {}
        self.now: dict[str, Tensor] = {}
        self.changes: list[Tensor] = []
        self.after: dict[int, int] = {}
        self.step: tuple[Any, int] = (None, 0)  # what the last update belongs to, and how many changes came before
        self.taken: dict[int, int] = {}  # steps by each optimiser
        self.updates: Counter[tuple[int, int]] = Counter()  # by optimiser and index

    def recording(self) -> Recording:
        written, count = self.written, len(self.written["nodes"])
        bound = self.pairs("bound", count)
        carried = self.pairs("carried", count)
        names = dict(bound)
        for k, node in enumerate(written["nodes"]):
            self.node(k, fields_of(node, f"node {k}", _NODE), names)
        results, drawn = self.listed("results"), self.listed("drawn")
        self.check_drawn(drawn)
        ranges = self.listed("ranges")
        if ranges != sorted(set(ranges)) or any(self.nodes[k].op is not RANGE_CHECK for k in ranges):
            raise wrong("ranges", "positions of checks of integers, in order", str(ranges))
        left = [(self.nodes[k], self.tensor(name, self.nodes[k], "left")) for k, name in self.pairs("left", count)]
        cleared = [self.named(name, "cleared") for name in strings_of(written["cleared"], "cleared")]
        asked = [self.named(name, "asked") for name in strings_of(written["asked"], "asked")]
        placeholders = [self.argument(k, argument) for k, argument in enumerate(written["arguments"])]
        stand_ins = {self.nodes[k].serial: self.tensor(name, self.nodes[k], "carried") for k, name in carried}
        leaves = {self.nodes[k].serial: self.tensor(name, self.nodes[k], "bound") for k, name in bound}
        self.check_leaves(placeholders, stand_ins, leaves)
        self.check_used([t for _, t in left], cleared)
        return Recording(
            placeholders, [*(self.nodes[k] for k in results), *(node for node, _ in left)], len(results),
            [t for _, t in left], cleared, leaves, stand_ins, self.changes, self.last(), self.segments(),
            [self.nodes[k] for k in drawn], [self.nodes[k] for k in ranges], self.restarted(),
            anomaly=written["anomaly"], watched=asked,
            call=call_of(written["call"], len(placeholders), len(results)),
        )  # fmt: skip

    # What is given ----------------------------------------------------------------------------------------------------

    def checked_optimizers(self, given: list[Any]) -> list[Any]:
        kinds = [
            fields_of(k, f"optimizers[{n}]", {"kind": str, "rule": str, "slots": list})
            for n, k in enumerate(self.written["optimizers"])
        ]
        if len(given) != len(kinds) or len({id(o) for o in given}) < len(given):
            listed = ", ".join(k["kind"] for k in kinds) or "none"
            raise wrong("optimizers", f"{len(kinds)}, each once: {listed}", f"{len(given)}")
        for n, (optimizer, kind) in enumerate(zip(given, kinds, strict=True)):
            if not all(hasattr(optimizer, name) for name in ("parameters", "state", "rule", "slots", "kernel")):
                raise fail(
                    TypeError, f"from_json: optimizers[{n}]", expected="an optimiser", got=type(optimizer).__name__
                )
            if kind_of(optimizer) != kind:
                raise fail(
                    ValueError, f"from_json: optimizers[{n}]", expected=f"{kind['kind']} (rule '{kind['rule']}')",
                    got=f"{type(optimizer).__name__} (rule '{optimizer.rule.__name__}')",
                    hint="pass optimisers of the kinds and in the order with which the program was recorded",
                )  # fmt: skip
        return given

    def checked_generators(self, given: Any) -> list[np.random.Generator]:
        """One for each number."""
        count = self.written["generators"]
        if not 0 <= count <= len(self.written["nodes"]):
            raise wrong("generators", "how many there are", count)
        single = isinstance(given, np.random.Generator)
        listed = [given] if single else [] if given is None else _listed(given, "generator")
        if len(listed) < count:
            raise fail(
                KeyError,
                f"from_json: the program draws from {count} generators, got {len(listed)}; pass generator=, or a list",
            )
        if len(listed) > count:
            raise wrong("generators", f"{count}, in the order in which they are first drawn from", str(len(listed)))
        for g in listed:
            if not isinstance(g, np.random.Generator):
                raise fail(TypeError, "from_json: generator", expected="a numpy.random.Generator", got=type(g).__name__)
        return listed

    def restarted(self) -> list[tuple[np.random.Generator, Any]]:
        """Generators that begin anew on each run, with the states that they have now."""
        places = [position_of(k, "restarted", len(self.generators)) for k in self.written["restarted"]]
        if len(set(places)) < len(places):
            raise wrong("restarted", "numbers of generators, each once", str(places))
        return [(self.generators[k], self.generators[k].bit_generator.state) for k in places]

    def named(self, name: str, where: str) -> Tensor:
        if name not in self.tensors:
            raise fail(KeyError, f"from_json: {where}: the program uses a tensor '{name}', which was not given")
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
        op, spec = self.op(written, where), spec_of(written["shape"], written["dtype"], where)
        inputs = tuple([self.nodes[position_of(n, f"{where}: 'inputs'", k)] for n in written["inputs"]])
        if op in LEAVES.values():
            t = self.leaf(op, spec, inputs, written, where)
        else:
            if written["value"] is not None:
                raise wrong(f"{where}: 'value'", "none, as it is computed", written["value"])
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
            op = LEAVES.get(name) or registry.get(name) or RECORDED.get(name)
            if op is None:
                raise fail(KeyError, f"from_json: {where}: there is no operation '{name}'")
            return op
        function = self.operations.get(name)
        if function is None:
            hint = f"pass operations={{'{name}': {name}}}"
            raise fail(KeyError, f"from_json: {where}: an operation of your own; {hint}")
        op = getattr(function, "op", function)
        if not isinstance(op, Op) or op.kernels is None or is_known(op):
            raise fail(
                TypeError, f"from_json: operations['{name}']", expected="a function made by tg.elementwise",
                got=repr(function)[:80],
            )  # fmt: skip
        if op.kernels.arity != len(written["inputs"]):
            raise wrong(f"operations['{name}']", f"one of {len(written['inputs'])} inputs", str(op.kernels.arity))
        return op

    def leaf(self, op: Op, spec: Spec, inputs: Any, written: dict[str, Any], where: str) -> Tensor:
        holds = op in (CONSTANT, LITERAL)
        if inputs or written["params"] or (written["value"] is not None) != holds or (op is LITERAL and spec.shape):
            raise wrong(where, "a leaf with a value" if holds else "a leaf without a value", "another")
        return leaf(array_of(written["value"], spec, where) if holds else spec, op, name=written["name"])

    def place(self, written: dict[str, Any], where: str) -> Place:
        if written["direction"] not in ("forward", "backward"):
            raise wrong(f"{where}: 'direction'", "forward or backward", written["direction"])
        scope = strings_of(written["scope"], f"{where}: 'scope'")
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
            raise wrong(f"{where}: inputs, params, shape and dtype", f"{t.shape} {t.dtype}", str(given))
        return params

    def value(self, written: Any, where: str, depth: int = 0) -> Any:
        """A parameter of an op, from JSON's terms."""
        if depth > MOST_DEPTH:
            raise wrong(where, f"at most {MOST_DEPTH} levels", "more")
        if type(written) is list:
            return tuple([self.value(v, where, depth + 1) for v in written])
        if type(written) is dict and len(written) == 1:
            ((key, value),) = written.items()
            if key == "slice" and type(value) is list and len(value) == 3:
                return slice(*[plain_of(v, where) for v in value])
            if key == "generator":
                return self.generators[position_of(value, where, len(self.generators))]
            if key == "dtype" and type(value) is str and value in DTYPES:
                return DTYPES[value]
            if key == "ellipsis" and value is True:
                return Ellipsis
        return plain_of(written, where)

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
            fields_of(written, f"{where}: 'params'", {})
            if not t.inputs or t.spec != Spec((0,), np.dtype(bool)):
                raise wrong(where, "inputs, and a result of shape (0,) and type bool", f"{t.shape} {t.dtype}")
            return {}
        rules: dict[Op, Any] = {CHECK: self.check, ASSIGN: self.assignment, UPDATE: self.update}
        made = rules[t.op](t, written, where)
        operands = 1 if t.op is CHECK else 2
        belongs = (id(made.optimizer), made.step) if isinstance(made, Update) else None
        if belongs is None or belongs != self.step[0]:
            self.step = belongs, len(self.changes)
            self.check_step(made, where)
        elif any(made.parameter is c.params["change"].parameter for c in self.changes[self.step[1] :]):
            raise wrong(where, "each parameter once in a step", "one twice")
        before = t.inputs[operands:]
        if any(i.op is not SEQUENCE for i in before) or self.changes_before(before) != self.step[1]:
            raise wrong(f"{where}: 'inputs'", f"a sequence after the {self.step[1]} changes before", "another")
        return {"change": made}

    def check_step(self, made: Any, where: str) -> None:
        if isinstance(made, Update):
            number = id(made.optimizer)
            if made.step != self.taken.get(number, 0):
                raise wrong(f"{where}: 'step'", str(self.taken.get(number, 0)), made.step)
            self.taken[number] = made.step + 1

    def operands(self, t: Tensor, count: int, where: str, shape: Spec) -> tuple[Tensor, ...]:
        if len(t.inputs) < count or t.spec != shape or any(i.spec != t.inputs[0].spec for i in t.inputs[:count]):
            raise wrong(f"{where}: inputs and shape", "those of a change", f"{t.shape} {t.dtype}")
        return t.inputs[:count]

    def check(self, t: Tensor, written: dict[str, Any], where: str) -> Check:
        (x,) = self.operands(t, 1, where, Spec((0,), np.dtype(bool)))
        texts = strings_of(fields_of(written, f"{where}: 'params'", {"texts": list})["texts"], f"{where}: 'texts'")
        if not x.is_float or len(texts) not in (1, x.size):
            raise wrong(f"{where}: 'texts'", f"1 or {x.size}, for floats", f"{len(texts)}, for {x.dtype}")
        return Check(x, NotFinite(texts))

    def target(self, t: Tensor, name: str, where: str) -> Tensor:
        """The tensor that is changed; the change is one of what it is by then."""
        before, target = self.now.get(name), self.tensor(name, t, where)
        if before is None or before is not t.inputs[0]:
            raise wrong(f"{where}: 'inputs'", f"'{name}', or the last change of it", "another")
        if not target.is_leaf:
            raise fail(TypeError, f"from_json: '{name}' is changed", expected="a leaf", got="a computed tensor")
        self.now[name] = t
        return target

    def assignment(self, t: Tensor, written: dict[str, Any], where: str) -> Assignment:
        fields = fields_of(written, f"{where}: 'params'", {"parameter": str})
        _, value = self.operands(t, 2, where, t.spec)
        return Assignment(self.target(t, fields["parameter"], where), value)

    def update(self, t: Tensor, written: dict[str, Any], where: str) -> Update:
        kinds = {"parameter": str, "optimizer": int, "index": int, "step": int}
        fields = fields_of(written, f"{where}: 'params'", kinds)
        _, gradient = self.operands(t, 2, where, t.spec)
        name, index = fields["parameter"], fields["index"]
        optimizer = self.optimizers[position_of(fields["optimizer"], f"{where}: 'optimizer'", len(self.optimizers))]
        position_of(index, f"{where}: 'index'", len(optimizer.parameters))
        target = self.target(t, name, where)
        if optimizer.parameters[index] is not target or not t.is_float:
            raise fail(
                ValueError, f"from_json: parameter {index} of the optimiser is {self.name_of(optimizer, index)}, the "
                f"program updates '{name}'", hint="pass optimisers over the same parameters in the same order",
            )  # fmt: skip
        state = optimizer.state[index] if index < len(optimizer.state) else []
        fits = [isinstance(a, np.ndarray) and (a.shape, a.dtype) == (t.shape, t.dtype) for a in state]
        if fits != [True] * len(optimizer.slots):
            raise wrong(f"state of the optimiser for '{name}'", f"{', '.join(optimizer.slots)} of {t.shape} {t.dtype}",
                         "others")  # fmt: skip
        self.updates[id(optimizer), index] += 1
        return Update(optimizer, target, gradient, index, fields["step"], self.updates[id(optimizer), index] - 1)

    def name_of(self, optimizer: Any, index: int) -> str:
        p = optimizer.parameters[index]
        names = [name for name, t in self.tensors.items() if t is p] or [p.name] * (p.name is not None)
        return f"'{names[0]}'" if names else f"a tensor {p.shape} {p.dtype}"

    # The rest ---------------------------------------------------------------------------------------------------------

    def listed(self, key: str) -> list[int]:
        return [position_of(k, key, len(self.nodes)) for k in self.written[key]]

    def pairs(self, key: str, count: int) -> list[tuple[int, str]]:
        """Positions of nodes, each with the name of a tensor, no name twice."""
        found = []
        for pair in self.written[key]:
            if type(pair) is not list or len(pair) != 2 or type(pair[1]) is not str:
                raise wrong(key, "pairs of a position and a name", pair)
            found.append((position_of(pair[0], key, count), pair[1]))
        if len({name for _, name in found}) < len(found):
            raise wrong(key, "each name once", ", ".join(name for _, name in found))
        return found

    def argument(self, k: int, written: Any) -> Tensor:
        where = f"argument {k}"
        kinds = {"shape": list, "dtype": str, "name": (str, type(None)), "node": (int, type(None))}
        fields = fields_of(written, where, kinds)
        spec = spec_of(fields["shape"], fields["dtype"], where)
        if fields["node"] is None:
            return leaf(spec, PLACEHOLDER, name=fields["name"])
        t = self.nodes[position_of(fields["node"], f"{where}: 'node'", len(self.nodes))]
        if t.op is not PLACEHOLDER or t.spec != spec:
            raise wrong(where, f"a placeholder {spec.shape} {spec.dtype}", f"{t.op} {t.shape} {t.dtype}")
        return t

    def check_leaves(self, *roles: Any) -> None:
        """Each leaf without a value stands for one thing: an argument, a tensor, or a gradient from before."""
        arguments, carried, bound = roles
        serials = [*(t.serial for t in arguments), *carried, *bound]
        op = {t.serial: t.op for t in self.nodes}
        without = [t.serial for t in self.nodes if t.op in (PARAMETER, PLACEHOLDER)]
        if len(set(serials)) < len(serials) or not set(without) <= set(serials):
            raise wrong("arguments, bound, carried", "each leaf without a value in one of them", "others")
        if any(op[s] is not PLACEHOLDER for s in carried) or any(s not in without for s in bound):
            raise wrong("bound, carried", "leaves without a value", "others")
        if len(bound) + len(carried) < len(self.written["bound"]) + len(self.written["carried"]):
            raise wrong("bound, carried", "each leaf once", "one of them twice")

    def check_used(self, left: list[Tensor], cleared: list[Tensor]) -> None:
        names: dict[int, str] = {}
        for name, t in self.used.items():
            if names.setdefault(t.serial, name) != name:
                raise wrong("tensors", f"'{names[t.serial]}' and '{name}' as two tensors", "one under both names")
        forgotten = [*left, *cleared]
        if len({t.serial for t in forgotten}) < len(forgotten):
            raise wrong("left, cleared", "each tensor once", "one of them twice")

    def check_drawn(self, drawn: list[int]) -> None:
        if drawn != sorted(set(drawn)) or any("generator" not in self.nodes[k].params for k in drawn):
            raise wrong("drawn", "positions of random numbers, in order", str(drawn))

    def last(self) -> Tensor | None:
        k = self.written["last"]
        if k is None and not self.changes:
            return None
        t = self.nodes[position_of(k, "last", len(self.nodes))]
        if self.after.get(t.serial, 0) != len(self.changes) or not self.changes:
            raise wrong("last", f"a sequence after all {len(self.changes)} changes", k)
        return t

    def segments(self) -> list[tuple[int, int]]:
        found = []
        for pair in self.written["segments"]:
            if type(pair) is not list or len(pair) != 2:
                raise wrong("segments", "pairs of positions", pair)
            first, last = (position_of(k, "segments", len(self.nodes)) for k in pair)
            if first > last:
                raise wrong("segments", "pairs of positions, the first one not after the last", pair)
            found.append((self.nodes[first].serial, self.nodes[last].serial))
        return found


def _listed(given: Any, what: str) -> list[Any]:
    if not isinstance(given, list | tuple):
        raise fail(TypeError, f"from_json: {what}", expected="a list", got=type(given).__name__)
    return list(given)


def _given_by(t: Tensor, params: dict[str, Any]) -> Any:
    """The shape and type that a node has by its operation, or words of why it has none."""
    op, specs = t.op, [i.spec for i in t.inputs]
    assert op.shape is not None
    random = isinstance(params.get("generator"), np.random.Generator)
    if ("generator" in params) != random or (op.takes is not None and not op.takes(*specs, **params)):
        return "inputs or params that the operation does not take"
    given = op.shape(*specs, **params)
    valued = op is RANGE_CHECK  # whether it refuses zeros depends on its ends
    if given == t.spec and op.kernels is None and not valued and sum(s.size for s in [*specs, given]) <= _TRIED:
        return _tried(op, specs, params)
    return given


def _tried(op: Op, specs: list[Spec], params: dict[str, Any]) -> Spec:
    """What NumPy makes of zeros; numbers are drawn from a generator of its own."""
    assert op.run is not None
    apart = {"generator": np.random.default_rng(0)} if "generator" in params else {}
    with np.errstate(all="ignore"):
        made = np.asarray(op.run(*[np.zeros(s.shape, s.dtype) for s in specs], **(params | apart)))
    return Spec(made.shape, made.dtype)
