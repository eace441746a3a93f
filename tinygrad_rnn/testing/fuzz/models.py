"""Random recurrent models, as programs: what goes in, the cell of each layer, and a loss at some or all steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .draw import Builder, add_loop, add_state
from .program import GraphProgram, GraphStep
from .table import Choices

__all__ = ["Model", "draw_model"]

CELLS = ("plain", "lstm", "gru", "attention", "random")
CELL_OPS = [
    "tanh", "sigmoid", "multiply", "add", "matmul", "complement", "layer_norm", "softmax", "subtract", "concatenate",
    "relu", "split", "rejoin", "scale", "detach", "where_greater", "slice", "lookup", "one_hot", "matmul_T", "double",
    "divide", "T", "softplus", "mean", "sum", "reshape", "maximum", "detached_factor", "stack", "transpose",
]  # fmt: skip


class Model:
    """Draws a model into a builder.

    Parameters
    ----------
    builder : Builder
        Without inputs and steps.
    max_time, max_layers : int
    tokens : bool, optional
        Whether indices go in; either by default.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.testing.fuzz.draw import Builder, NumpyChoices
    >>> from tinygrad_rnn.testing.fuzz.models import Model
    >>> model = Model(Builder(NumpyChoices(np.random.default_rng(0)), ("float64",)), 3, 1, True)
    >>> model.program().inputs[0].dtype
    'int64'
    """

    def __init__(self, builder: Builder, max_time: int, max_layers: int, tokens: bool | None) -> None:
        self.b, c = builder, builder.c
        # one step often, since it is a case of its own; nine, since Python rewrites what runs more than eight times
        self.batch, self.time = c.choice([2, 1]), min(max_time, c.choice([1, 1, 1, 2, 2, 3, 3, 4, 9, 9]))
        if self.time > 4:
            self.batch = 1  # values stay small
        self.axis = c.integer(0, 1)
        self.features, self.hidden, self.words = c.choice([2, 1, 3]), c.choice([2, 3, 1]), c.integer(2, 4)
        self.tokens = bool(c.integer(0, 1)) if tokens is None else tokens
        self.layers = c.integer(1, max_layers)
        self.both_ways = c.integer(0, 3) == 0
        self.cell = c.choice(CELLS)
        self.loss = c.choice(["classes", "squares", "states", "last", "some"])

    def program(self) -> GraphProgram:
        xs, targets = self._sequence(), self._targets()
        state, cell = self.b.input((self.batch, self.hidden)), self.b.input((self.batch, self.hidden))
        weights = [self._weights(self.tokens, self.words if self.tokens else self.features)]
        if self.layers > 1:
            weights.append(self._weights(False, self.hidden))
        readout = self.b.input((self.hidden, self.words))
        for layer, own in enumerate(weights):
            xs = self._layer(xs, [state, cell], own, self.tokens and layer == 0)
        self._add_loss(xs, readout, targets)
        if self.b.c.integer(0, 1):
            add_state(self.b, self.b.c.integer(0, 1) if self.cell == "lstm" else 0)
        return self.b.program(2)

    def _order(self, *rest: int) -> tuple[int, ...]:
        return (self.time, self.batch, *rest) if self.axis == 0 else (self.batch, self.time, *rest)

    def _sequence(self) -> int:
        if self.tokens:
            return self.b.input(self._order(), "int64", self.words)
        return self.b.input(self._order(self.features))

    def _targets(self) -> int:
        return self.b.input(self._order(), "int64", self.words)

    def _weights(self, tokens: bool, width: int) -> dict[str, int]:
        """Those of one layer; a table of embeddings where tokens come in, which then are as wide as the state."""
        gates = {"lstm": 4, "gru": 1}.get(self.cell, 1) * self.hidden
        own = {"E": self.b.input((self.words, self.hidden))} if tokens else {}
        own["W"] = self.b.input((self.hidden if tokens else width, gates))
        own["U"] = self.b.input((self.hidden, gates))
        own["b"] = self.b.input((gates,))
        if self.cell == "gru":
            own["U_z"] = self.b.input((self.hidden, self.hidden))
        return own

    def _layer(self, xs: int, states: list[int], own: dict[str, int], tokens: bool) -> int:
        count = 2 if self.cell == "lstm" else 1
        there = self._run(xs, states[:count], own, tokens, False)
        if not self.both_ways:
            return there
        back = self._run(xs, states[:count], own, tokens, True)
        return self._kept(self.b.add(self.b.c.choice(["add", "multiply"]), there, back), there)

    def _run(self, xs: int, states: list[int], own: dict[str, int], tokens: bool, reverse: bool) -> int:
        past = self.cell == "attention"
        names = list(own)
        place = {"h": 0, "c": 1, "x": len(states), "past": len(states) + 1}
        place |= {n: len(states) + 1 + past + k for k, n in enumerate(names)}
        first = len(states) + 1 + past + len(names)
        extra = self.b.c.integer(0, 3)  # drawn for all cells, so that a plain one is no longer than another
        weights = [own[n] for n in names]
        options: dict[str, Any] = {"time_axis": self.axis, "past": past, "reverse": reverse}
        for kind, count in ((self.cell, 0 if self.cell == "lstm" else extra + (self.cell == "random")), ("", 0)):
            # What is refused, being near a kink or too large, is made anew as it is in books.
            steps = self._cell(kind or (self.cell if self.cell != "random" else "plain"), place, first, tokens)
            made = add_loop(self.b, states, xs, weights, CELL_OPS, count, steps=steps, **options)
            if made is not None:
                return made
        raise AssertionError("a cell of small numbers and no kinks was refused")

    def _cell(self, kind: str, p: dict[str, int], first: int, tokens: bool) -> list[GraphStep]:
        """The steps of a cell; a random one goes on from the input alone."""
        steps: list[GraphStep] = []

        def add(op: str, *operands: int, **params: object) -> int:
            steps.append(GraphStep(op, operands, params))
            return first + len(steps) - 1

        x = add("lookup", p["E"], p["x"]) if tokens else p["x"]
        if kind == "random":
            return steps
        z = add("affine", x, p["W"], p["h"], p["U"], p["b"])
        if kind == "lstm":
            state = add("lstm_state", z, p["c"])
            add("lstm_output", z, state)
        elif kind == "gru":
            gate = add("matmul", p["h"], p["U_z"])
            add("blend", gate, p["h"], add("tanh", z))
        elif kind == "attention":
            add("tanh", add("add", z, add("attend", p["h"], p["past"])))
        else:
            add("tanh", z)
        return steps

    def _kept(self, made: int | None, otherwise: int) -> int:
        return otherwise if made is None else made

    def _add_loss(self, states: int, readout: int, targets: int) -> None:
        """A loss at all steps, at the last, or at every second."""
        b = self.b
        if self.loss == "states":
            return
        if self.loss in ("last", "some"):
            part = -1 if self.loss == "last" else slice(None, None, 2)
            index = (part,) if self.axis == 0 else (slice(None), part)
            states = self._kept(b.add("time_slice", states, index=index), states)
            if self.loss == "some":
                targets = self._kept(b.add("time_slice", targets, index=index), targets)
        logits = self._kept(b.add("matmul", states, readout), states)
        if self.loss in ("classes", "some") and b.values[logits].shape[-1] == self.words:
            b.add("cross_entropy_of", logits, targets)
        elif self.loss == "squares":
            b.add("square", logits)


def draw_model(
    c: Choices,
    *,
    max_time: int = 9,
    max_layers: int = 2,
    dtypes: Sequence[str] = ("float64", "float32"),
    tokens: bool | None = None,
) -> GraphProgram:
    """A random recurrent model: cells with gates, attention over past states, one or two layers or directions, a loss.

    Parameters
    ----------
    c : Choices
    max_time, max_layers : int
    dtypes : sequence of str
        One of them for the whole model.
    tokens : bool, optional
        Whether indices go in rather than floats; either by default.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.testing.fuzz.draw import NumpyChoices
    >>> from tinygrad_rnn.testing.fuzz.models import draw_model
    >>> program = draw_model(NumpyChoices(np.random.default_rng(0)), max_time=3)
    >>> "loop" in [step.op for step in program.steps]
    True
    """
    return Model(Builder(c, (c.choice(dtypes),)), max_time, max_layers, tokens).program()
