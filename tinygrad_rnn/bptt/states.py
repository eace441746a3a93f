"""The sequence of states of a recurrent network, in whatever form the user has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import GradientError, ShapeError, fail
from ..graph import Graph
from ..graph.replay import with_values
from ..graph.walk import reach
from ..nn.recurrent import RecurrentOutput
from ..nn.state import leaves_of
from ..ops.shape import STACK
from ..tensor import Tensor, describe

__all__ = ["States"]


class States:
    """States by position; each is a tuple of tensors, as (h, c) of an LSTM.

    Attributes
    ----------
    steps : list of tuple of Tensor
    last_use : dict
        By serial number of a tensor the number, in order of computation, of the last state that it is part of.
    """

    def __init__(
        self, name: str, h: Any, layer: int = 0, graph: Graph | None = None, inputs: Sequence[Any] | None = None
    ) -> None:
        self.name = name
        listed = _listed(name, h, layer, graph)
        widths = {len(step) for step in listed}
        if not listed or widths == {0} or len(widths) > 1:
            got = f"{len(listed)}, of {' and '.join(map(str, sorted(widths)))} tensors" if listed else "none"
            raise fail(ShapeError, f"{name}: states", expected="at least one, all of the same make", got=got)
        flat = with_values(name, [t for step in listed for t in step], inputs, graph)
        width = len(listed[0])
        self.steps = [tuple(flat[k : k + width]) for k in range(0, len(flat), width)]
        for t in flat:
            if not t.is_float:
                raise fail(GradientError, f"{name}: {describe(t)} carries no gradient", expected="float tensors")
        backwards = max(t.serial for t in self.steps[0]) > max(t.serial for t in self.steps[-1])
        self.order = list(range(len(self.steps)))[:: -1 if backwards else 1]
        self.last_use = {t.serial: k for k, at in enumerate(self.order) for t in self.steps[at]}

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, t: int) -> tuple[Tensor, ...]:
        count = len(self.steps)
        if not isinstance(t, int) or not -count <= t < count:
            raise fail(IndexError, f"{self.name}: state {t!r}", expected=f"0 to {count - 1}, or -{count} to -1")
        return self.steps[t]

    def complete(self) -> bool:
        """Whether each state depends on earlier ones through the one before it alone, so that Jacobians multiply."""
        earliest: dict[int, int] = {}  # of each node: the earliest state that it depends on, other than through states
        every = len(self.steps)
        stop = min(t.serial for t in self.steps[self.order[0]])
        states = [t for step in self.steps for t in step]
        for node in reach(states, lambda t: [i for i in t.inputs if i.serial >= stop]):
            earliest[node.serial] = min(
                (self.last_use.get(t.serial, earliest.get(t.serial, every)) for t in node.inputs), default=every
            )
        known: set[int] = set()
        for k, at in enumerate(self.order):
            if any(earliest[t.serial] < k - 1 for t in self.steps[at] if k and t.serial not in known):
                return False
            known = {t.serial for t in self.steps[at]}
        return True


# Forms ----------------------------------------------------------------------------------------------------------------


def _listed(name: str, h: Any, layer: int, graph: Graph | None) -> list[tuple[Tensor, ...]]:
    if isinstance(h, str) or (isinstance(h, tuple) and h and all(isinstance(part, str) for part in h)):
        return _named(name, (h,) if isinstance(h, str) else h, graph)
    if isinstance(h, RecurrentOutput):
        return _from_history(name, h, layer)
    if isinstance(h, dict):
        return _side_by_side(name, [h[n] for n in ("h", "c") if n in h] or list(h.values()))
    if isinstance(h, Tensor):
        return _side_by_side(name, [h])
    if isinstance(h, list | tuple):
        return [tuple(leaves_of(state)) for state in h]
    raise fail(
        TypeError, f"{name}: states", got=type(h).__name__,
        expected="a list of states, what a layer gave with history=True, or a name with graph=",
    )  # fmt: skip


def _from_history(name: str, out: RecurrentOutput, layer: int) -> list[tuple[Tensor, ...]]:
    if out.history is None:
        raise fail(ValueError, f"{name}: the output has no history", hint="call the layer with history=True")
    if not -len(out.history) <= layer < len(out.history):
        raise fail(IndexError, f"{name}: layer {layer}", expected=f"0 to {len(out.history) - 1}")
    return _listed(name, out.history[layer], 0, None)


def _side_by_side(name: str, stacked: list[Any]) -> list[tuple[Tensor, ...]]:
    """The tensors that were stacked over time."""
    for t in stacked:
        if not isinstance(t, Tensor) or t.op is not STACK:
            raise fail(
                TypeError, f"{name}: states", expected="a tensor that was stacked over time, or a list of states",
                got=describe(t) if isinstance(t, Tensor) else type(t).__name__,
            )  # fmt: skip
    return list(zip(*(t.inputs for t in stacked), strict=True))


def _named(name: str, names: tuple[str, ...], graph: Graph | None) -> list[tuple[Tensor, ...]]:
    if graph is None:
        raise fail(
            TypeError, f"{name}: states by the name {names[0]!r}", expected="a graph to find them in",
            hint="pass graph=tg.graph(loss)",
        )  # fmt: skip
    return list(zip(*(_series(name, path, graph) for path in names), strict=True))


def _series(name: str, path: str, graph: Graph) -> list[Tensor]:
    """Tensors of a name, with the end of their scope path before it where there are several, by time step."""
    *scope, last = path.split("/")
    everywhere = [t for t in graph.by_name(last) if t.time is not None]
    found = [t for t in everywhere if not scope or t.scope[-len(scope) :] == tuple(scope)]
    found.sort(key=lambda t: t.time or 0)
    times = [t.time for t in found]
    if not found or len(set(times)) < len(times):
        paths = sorted({"/".join([*t.scope, last]) for t in found})
        raise fail(
            ValueError, f"{name}: tensors named {path!r}", expected="one in each time step",
            got=f"several: {', '.join(paths)}" if found else "none in any time step",
            hint="name one by its scope, as 'encoder/h'" if found else "name them with t.named(...) inside tg.steps",
        )  # fmt: skip
    return found
