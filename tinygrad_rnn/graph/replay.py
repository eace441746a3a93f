"""Numbers for graphs without values: what was traced is recorded anew from values of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import PlaceholderError, fail
from ..ops.core import apply
from ..scope import State, current, enter
from ..tensor import PLACEHOLDER, Tensor, describe, leaf
from .evaluate import fitting
from .graph import Graph
from .walk import reach

__all__ = ["with_values"]


def with_values(name: str, tensors: list[Tensor], inputs: Sequence[Any] | None, graph: Graph | None) -> list[Tensor]:
    """`tensors` with values: as they are, or where they were traced, recorded anew from `inputs`.

    Names, places and lines are kept. `inputs` are in the order of the placeholders of the `graph`, if there is one.
    """
    nodes = reach([*tensors, *(graph.checks if graph is not None else ())])
    found = graph.placeholders if graph is not None else tuple(t for t in nodes if t.op is PLACEHOLDER)
    given = [] if inputs is None else list(inputs)
    if len(given) != len(found):
        raise fail(
            PlaceholderError if found else TypeError, f"{name}: inputs",
            expected=f"{len(found)} arrays, one per placeholder" if found else "none, since nothing was traced",
            got=str(len(given)), hint="pass inputs=[...], in the order of the arguments of the traced function"
            if found else "leave inputs= out",
        )  # fmt: skip
    made = {t.serial: _leaf(t, fitting(t, value)) for t, value in zip(found, given, strict=True)}
    before = current()
    try:
        for node in nodes:
            if node.is_symbolic and node.serial not in made:
                enter(State(True, node.place, before.anomaly, node._source, None))
                made[node.serial] = _again(name, node, tuple(made.get(t.serial, t) for t in node.inputs))
    finally:
        enter(before)
    return [made.get(t.serial, t) for t in tensors]


def _again(name: str, node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    if node.is_leaf:
        raise fail(PlaceholderError, f"{name}: {describe(node)} has no value", hint="pass arrays as inputs=[...]")
    new = apply(node.op, inputs, node.params)
    new.name = node.name
    return new


def _leaf(t: Tensor, value: Any) -> Tensor:
    new = leaf(value, name=t.name)
    new.place = t.place
    return new
