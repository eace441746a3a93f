"""Graph: a view of everything that some outputs were computed from, in order.

A graph copies nothing and keeps its outputs alive and nothing else. All that it offers takes time linear in its size.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from math import isfinite
from typing import Any, ClassVar

import numpy as np

from ..effects import Assignment, Check, Update
from ..nested import rebuilt
from ..tensor import LITERAL, PARAMETER, PLACEHOLDER, Tensor, leaf
from .evaluate import compute, fitting
from .walk import reach

__all__ = ["Graph", "graph"]


class Graph:
    """What ``outputs`` were computed from. Made by :func:`graph` and :func:`trace`.

    Attributes
    ----------
    outputs : tuple of Tensor
    nodes : tuple of Tensor
        Every node, each after its inputs.
    placeholders : tuple of Tensor
        The inputs of a traced function, in the order of its arguments.
    checks : tuple of Tensor
        What a traced function asks of its values, and the random numbers that it draws, needed or not: not among the
        nodes for that, but computed whenever the graph is.
    """

    _repr_svg_: ClassVar[Callable[[Graph], str | None]]  # what notebooks show; set by viz, which draws it

    def __init__(
        self,
        outputs: Sequence[Tensor],
        placeholders: Sequence[Tensor] = (),
        form: Any = None,
        checks: Sequence[Tensor] = (),
    ) -> None:
        self.outputs, self.checks = tuple(outputs), tuple(checks)
        self.nodes = reach(self.outputs)
        given = {t.serial for t in placeholders}
        loose = [t for t in self.nodes if t.op is PLACEHOLDER and t.serial not in given]
        self.placeholders = (*placeholders, *loose)
        self._form = form

    # What is in it --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.nodes)

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """Data that went in: placeholders and constants, but neither parameters nor numbers in expressions."""
        return tuple(t for t in self.nodes if t.is_leaf and t.op is not PARAMETER and t.op is not LITERAL)

    @cached_property
    def parameters(self) -> tuple[Tensor, ...]:
        """Leaves that are trained."""
        return tuple(t for t in self.nodes if t.op is PARAMETER)

    @cached_property
    def edges(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """``(input, node)`` for every use of a node by another."""
        return tuple((i, t) for t in self.nodes for i in t.inputs)

    @cached_property
    def ids(self) -> dict[int, str]:
        """A path for each node's serial number, as ``t3/lstm0/f``: unique, and the same for the same program."""
        uses: Counter[str] = Counter()
        ids: dict[int, str] = {}
        taken: set[str] = set()
        for t in self.nodes:
            path = unique = _path(t)
            while unique in taken:  # also by a node that the user named h_2
                uses[path] += 1
                unique = f"{path}_{uses[path] + 1}"
            taken.add(unique)
            ids[t.serial] = unique
        return ids

    def by_name(self, name: str) -> tuple[Tensor, ...]:
        """Nodes of that name, in order: a quantity of a recurrent network has one per time step."""
        return self._names.get(name, ())

    def by_scope(self, scope: str) -> tuple[Tensor, ...]:
        """Nodes recorded inside a scope, given as a path like ``"encoder/lstm0"``."""
        path = tuple(scope.split("/"))
        return tuple(t for t in self.nodes if t.scope[: len(path)] == path)

    def by_time(self, time: int | None) -> tuple[Tensor, ...]:
        """Nodes recorded in a time step; None for those outside of any."""
        return self._times.get(time, ())

    @cached_property
    def times(self) -> tuple[int, ...]:
        """The time steps that occur, in order."""
        return tuple(sorted(t for t in self._times if t is not None))

    def counts(self) -> Counter[str]:
        """How many nodes there are of each op."""
        return Counter(t.op.name for t in self.nodes)

    @cached_property
    def _computed(self) -> tuple[Tensor, ...]:
        return reach((*self.outputs, *self.checks)) if self.checks else self.nodes

    @cached_property
    def _output_serials(self) -> frozenset[int]:
        return frozenset(t.serial for t in self.outputs)

    @cached_property
    def _names(self) -> dict[Any, tuple[Tensor, ...]]:
        return _grouped(self.nodes, lambda t: t.name)

    @cached_property
    def _times(self) -> dict[Any, tuple[Tensor, ...]]:
        return _grouped(self.nodes, lambda t: t.time)

    # How it is shown --------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        steps = f", {len(self.times)} time steps" if self.times else ""
        return f"<Graph of {len(self)} nodes, {len(self.parameters)} parameters{steps}>"

    def __str__(self) -> str:
        return self.listing()

    def listing(self, limit: int | None = 200) -> str:
        """One line per node: id, what made it from what, shape, dtype. Beyond `limit` lines the middle is left out."""
        rows = list(self.nodes)
        if limit is not None and len(rows) > limit:
            head, tail = rows[: limit // 2], rows[len(rows) - limit // 2 :]
        else:
            head, tail = rows, []
        width = max((len(self.ids[t.serial]) for t in [*head, *tail]), default=0)
        lines = [self._line(t, width) for t in head]
        if tail:
            lines.append(f"... {len(rows) - len(head) - len(tail)} more ...")
            lines += [self._line(t, width) for t in tail]
        return "\n".join([repr(self), *lines])

    def _line(self, t: Tensor, width: int) -> str:
        arguments = [self.ids[i.serial] for i in t.inputs]
        arguments += [f"{k}={_shown(v)}" for k, v in t.params.items()]
        mark = " <- output" if t.serial in self._output_serials else ""
        call = str(t.item()) if t.op is LITERAL else f"{t.op}({', '.join(arguments)})"
        return f"  {self.ids[t.serial]:<{width}} = {call}  {t.shape} {t.dtype}{mark}"

    def to_json(self, *, values: bool = False) -> str:
        """The graph as JSON: a list of nodes, each with its op, inputs by position, parameters, shape and provenance.

        Parameters
        ----------
        values : bool
            Include what the leaves hold, as nested lists; NaN and infinities, which JSON lacks, as strings.
        """
        position = {t.serial: k for k, t in enumerate(self.nodes)}
        nodes = [_node_json(t, self.ids[t.serial], [position[i.serial] for i in t.inputs], values) for t in self.nodes]
        outputs = [position[t.serial] for t in self.outputs]
        placeholders = [position[t.serial] for t in self.placeholders if t.serial in position]
        written = {"version": 1, "nodes": nodes, "outputs": outputs, "placeholders": placeholders}
        return json.dumps(written, allow_nan=False)

    # How it is evaluated ----------------------------------------------------------------------------------------------

    def __call__(self, *arrays: Any) -> Any:
        """Compute the outputs anew from values for the placeholders, and from the parameters as they are now.

        Returns
        -------
        What the traced function returned, with tensors that hold values.

        Raises
        ------
        ShapeError, DTypeError
            If an array does not fit its placeholder.
        """
        if len(arrays) != len(self.placeholders):
            raise TypeError(f"graph: expected {len(self.placeholders)} arrays, one per placeholder; got {len(arrays)}")
        values: dict[int, Any] = {t.serial: fitting(t, a) for t, a in zip(self.placeholders, arrays, strict=True)}
        compute(self._computed, values, self._output_serials)
        results = [leaf(values[t.serial].copy(), name=t.name) for t in self.outputs]  # they may be views of parameters
        return rebuilt(self._form, iter(results)) if self._form is not None else tuple(results)


def graph(outputs: Tensor | Sequence[Tensor]) -> Graph:
    """The graph of everything that `outputs` were computed from.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w, x = tg.parameter([2.0], name="w"), tg.tensor([3.0], name="x")
    >>> print(tg.graph((w * x).named("y")))
    <Graph of 3 nodes, 1 parameters>
      w = parameter()  (1,) float32
      x = constant()  (1,) float32
      y = multiply(w, x)  (1,) float32 <- output
    """
    listed = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    for t in listed:
        if not isinstance(t, Tensor):
            raise TypeError(f"graph: expected tensors, got {type(t).__name__}")
    return Graph(listed)


def _path(t: Tensor) -> str:
    time = () if t.time is None else (f"t{t.time}",)
    direction = ("grad",) if t.place.backward else ()
    return "/".join([*direction, *time, *t.scope, t.name or t.op.name])


def _grouped(nodes: Sequence[Tensor], key: Any) -> dict[Any, tuple[Tensor, ...]]:
    groups: dict[Any, list[Tensor]] = {}
    for t in nodes:
        groups.setdefault(key(t), []).append(t)
    return {k: tuple(v) for k, v in groups.items()}


def _shown(value: Any) -> str:
    if isinstance(value, np.random.Generator):
        return type(value.bit_generator).__name__  # its repr has an address in it
    text = repr(value).replace("slice(None, None, None)", ":")
    return text if len(text) <= 60 else text[:57] + "..."


def _node_json(t: Tensor, path: str, inputs: list[int], values: bool) -> dict[str, Any]:
    node: dict[str, Any] = {
        "id": path, "op": t.op.name, "inputs": inputs, "params": {k: _plain(v) for k, v in t.params.items()},
        "shape": list(t.shape), "dtype": t.dtype.name, "name": t.name, "scope": list(t.scope), "time": t.time,
        "direction": t.direction, "source": str(t.source),
    }  # fmt: skip
    if values and t.is_leaf and not t.is_symbolic:
        node["value"] = _plain(t.tolist())
    return node


def _plain(value: Any) -> Any:
    """A parameter of an op in JSON's terms; slices and others become tagged objects."""
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, np.random.Generator):
        return {"generator": type(value.bit_generator).__name__}
    if isinstance(value, Update | Assignment | Check):
        return {"change": repr(value)}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"to_json: cannot write a parameter of type {type(value).__name__}")
