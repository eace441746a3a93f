"""How programs are drawn: operations from the table, one after the other, each checked on the oracle before it is kept.

All decisions go through :class:`~tinygrad_rnn.testing.fuzz.table.Choices`, so Hypothesis can make and shrink them, and
a generator of random numbers makes a hundred thousand programs without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import oracle_ops
from .motifs import add_motif, touch
from .oracle_ops import Tape, Value
from .program import LAYOUTS, GraphProgram, GraphStep, Input, statements
from .table import OPS, Choices

__all__ = ["Builder", "NumpyChoices", "add_loop", "add_state", "draw_graph"]

LIMIT = 48  # numbers that a value may hold
MARGIN = 2e-3  # how far values stay from kinks, and float32 with them
LARGEST = 2.5
MOST_KEPT = 4  # values that come out although a step takes them, of either kind
SHAPES: tuple[tuple[int, ...], ...] = (
    (), (3,), (2, 3), (3, 3), (2, 1), (1,), (4, 3), (2, 4), (2, 2, 3), (3, 2), (1, 3), (2, 1, 3), (4,), (2, 2, 1, 2),
)  # fmt: skip
EMPTY: tuple[tuple[int, ...], ...] = ((0, 3), (0,), (2, 0))
_NOTHING = SimpleNamespace(is_float=False, dtype=np.dtype("V1"), bound=0)  # fits no operation


class NumpyChoices:
    """Decisions of a random generator, which are drawn in blocks: one by one they would take longer than the rest.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.testing.fuzz.draw import NumpyChoices
    >>> c = NumpyChoices(np.random.default_rng(0))
    >>> 0 <= c.integer(0, 3) <= 3, c.choice("aaa")
    (True, 'a')
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._drawn: list[int] = []

    def integer(self, low: int, high: int) -> int:
        if not self._drawn:
            self._drawn = self._generator.integers(0, 2**62, 256).tolist()
        return low + self._drawn.pop() % (high - low + 1)

    def choice(self, options: Sequence[Any]) -> Any:
        return options[self.integer(0, len(options) - 1)]


@lru_cache(maxsize=4096)
def _code(text: str) -> Any:
    return compile(text, "<step>", "exec")


class Builder:
    """Inputs and steps so far, and their values on the oracle.

    Parameters
    ----------
    c : Choices
    dtypes : sequence of str
        What float inputs may be.
    """

    def __init__(self, c: Choices, dtypes: Sequence[str] = ("float64", "float32")) -> None:
        self.c, self.dtypes = c, dtypes
        self.tape = Tape()
        self.inputs: list[Input] = []
        self.steps: list[GraphStep] = []
        self.values: list[Value] = []
        self.names: list[str] = []
        self.first = 0
        self.hidden: set[int] = set()  # values that only certain operations may take
        self.kept: list[int] = []  # values that come out beside those that no step takes
        self.states: dict[str, Value] = {}  # last states of loops, by name

    # What is added ----------------------------------------------------------------------------------------------------

    def input(self, shape: tuple[int, ...], dtype: str | None = None, high: int = 1, layout: str | None = None) -> int:
        """Add an input, before the first step; gives its number."""
        c = self.c
        dtype = dtype or c.choice(self.dtypes)
        layout = layout or (c.choice(LAYOUTS) if c.integer(0, 2) == 2 else LAYOUTS[0])
        made = Input(shape, dtype, c.integer(0, 999), layout, high)
        value = self.tape.value(made.array(), np.dtype(dtype))
        value.bound = high if dtype == "int64" else 0
        self.inputs.append(made)
        self.values.append(value)
        self.names.append(f"x{len(self.inputs) - 1}")
        return len(self.values) - 1

    def add(self, op: str, *operands: int, body: Sequence[GraphStep] = (), **params: Any) -> int | None:
        """Add a step if its value is small, finite, and away from kinks; gives its number."""
        step = GraphStep(op, operands, params, tuple(body))
        return self._squashed(len(self.values) - 1) if self.added(step) else None

    def added(self, step: GraphStep) -> bool:
        """Add a step as it is, or refuse it."""
        own = f"v{len(self.names)}"
        scope: dict[str, Any] = {"tg": oracle_ops, "np": np, **dict(zip(self.names, self.values)), **self.states}
        before, distance = len(self.tape.values), self.tape.distance
        lines = statements([step], [*self.names, own], len(self.names))
        with np.errstate(all="ignore"):
            exec(_code("\n".join(lines)), scope)
        value = scope[own]
        if self._refused(value):
            del self.tape.values[before:]
            self.tape.distance = distance
            return False
        self.steps.append(step)
        self.values.append(value)
        self.names.append(own)
        self.states |= {f"{own}_h{k}": scope[f"{own}_h{k}"] for k in range(len(step.params.get("carry", ())))}
        return True

    def _refused(self, value: Value) -> bool:
        if value.size > LIMIT or self.tape.distance < MARGIN or not np.isfinite(value.array).all():
            return True
        return value.is_float and bool(np.abs(value.array).max(initial=0) > 1e3)

    def _squashed(self, k: int) -> int:
        """A value that is large is made small, so that long programs do not explode."""
        value = self.values[k]
        if not value.is_float or np.abs(value.array).max(initial=0) <= LARGEST:
            return k
        op = self.c.choice(["tanh", "bell", "scale"])
        params: dict[str, Any] = {"factor": 0.01} if op == "scale" else {}
        small = self.add(op, k, **params)
        return k if small is None else small

    def draw(self, names: Sequence[str], tries: int = 4) -> int | None:
        """Add one of the operations, if one of a few that are tried fits."""
        for _ in range(tries):
            op = OPS[self.c.choice(names)]
            assert op.draw is not None
            drawn = op.draw(self.c, self._offered())
            if drawn is not None:
                added = self.add(op.name, *drawn[0], **drawn[1])
                if added is not None:
                    return added
        return None

    def _offered(self) -> list[Any]:
        return [_NOTHING if k in self.hidden else v for k, v in enumerate(self.values)] if self.hidden else self.values

    # Steps inside of others -------------------------------------------------------------------------------------------

    def inner(self, values: Sequence[Value]) -> Builder:
        """A builder of the steps of a block, over values of its own numbers."""
        inside = Builder(self.c, self.dtypes)
        inside.tape = self.tape
        inside.values = list(values)
        inside.names = [f"a{k}" for k in range(len(values))]
        inside.first = len(values)
        return inside

    def checkpoint(self, names: Sequence[str]) -> int | None:
        """A checkpointed block of some steps."""
        floats = [k for k, v in enumerate(self.values) if v.is_float]
        operands = [self.c.choice(floats) for _ in range(self.c.integer(1, 2))]
        before, distance = len(self.tape.values), self.tape.distance
        inside = self.inner([self.values[k] for k in operands])
        for _ in range(self.c.integer(1, 3)):
            inside.draw(names)
        del self.tape.values[before:]
        self.tape.distance = distance
        if not inside.steps or not inside.values[-1].is_float:
            return None
        return self.add("checkpoint", *operands, body=inside.steps)

    # The end ----------------------------------------------------------------------------------------------------------

    def program(self, most: int = 3) -> GraphProgram:
        """The program: what no step takes comes out, and now and then something else, as what is taken on the way."""
        first = len(self.inputs)
        used = {k for s in self.steps for k in s.operands}
        loose = [k for k in range(first, len(self.values)) if k not in used]
        if self.c.integer(0, 3) == 3:
            loose.append(self.c.integer(0, len(self.values) - 1))
        kept = loose[-most:] or [len(self.values) - 1]
        kept += self.kept[:MOST_KEPT]
        if self.c.integer(0, 1):
            kept += [k for k in range(first, len(self.values)) if self.c.integer(0, 3) == 3][:MOST_KEPT]
        kept = list(dict.fromkeys(kept))
        if not any(self.values[k].is_float for k in kept):  # there must be something to differentiate
            kept.append(next(k for k in reversed(range(len(self.values))) if self.values[k].is_float))
        return GraphProgram(tuple(self.inputs), tuple(self.steps), tuple(kept))


FREQUENT = (
    "matmul", "multiply", "add", "lookup", "einsum", "where", "concatenate", "stack", "softmax", "layer_norm", "slice",
    "pick", "split", "matmul_T", "sum", "mean", "add_value", "set_value", "transpose", "reshape", "take", "one_hot",
    "layer_norm_affine", "cross_entropy_of", "outer", "divide", "subtract", "huber", "logical_not", "logical_and",
)  # fmt: skip
GRAPH_OPS = [op.name for op in OPS.values() if op.draw is not None]
GRAPH_OPS += [*FREQUENT, *FREQUENT]  # of what fits seldom, and of what networks are made of
SMOOTH_OPS = [op.name for op in OPS.values() if op.draw is not None and not op.kinked]
_CAST_FREE = [n for n in GRAPH_OPS if n not in ("float32", "float64")]  # most programs keep to one type: peers do too


def draw_graph(
    c: Choices,
    *,
    ops: Sequence[str] | None = None,
    max_steps: int = 8,
    dtypes: Sequence[str] = ("float64", "float32"),
    empty: bool = True,
    blocks: bool = True,
) -> GraphProgram:
    """A random program of operations from the table.

    Parameters
    ----------
    c : Choices
    ops : sequence of str, optional
        Names of operations; all by default.
    max_steps : int
    dtypes : sequence of str
        One of them for all inputs as a rule, sometimes mixed.
    empty : bool
        Whether some inputs may hold no numbers.
    blocks : bool
        Whether checkpointed blocks and loops over time may occur.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.testing.fuzz.draw import NumpyChoices, draw_graph
    >>> program = draw_graph(NumpyChoices(np.random.default_rng(0)), max_steps=3)
    >>> 1 <= len(program.steps)
    True
    """
    # All of this is drawn in any case: Hypothesis takes what needs fewer choices to be simpler.
    single, mixed, casts = c.choice(dtypes), c.integer(0, 7) == 7, c.integer(0, 7) == 7
    builder = Builder(c, dtypes if mixed else (single,))
    names = list(ops) if ops is not None else GRAPH_OPS if mixed or casts else _CAST_FREE
    shapes = SHAPES + EMPTY if empty and c.integer(0, 7) == 7 else SHAPES
    for _ in range(c.integer(1, 4)):
        builder.input(c.choice(shapes))
    if c.integer(0, 2) == 2:
        builder.input(c.choice([(2,), (3,), (2, 2), (4,), ()]), "int64", c.integer(1, 3))
    for _ in range(c.integer(1, max_steps)):
        block = c.integer(0, 15) if blocks else 0
        if block in (12, 13) and ops is None:
            add_motif(builder)
        elif block == 14:
            builder.checkpoint(names)
        elif block == 15:
            _draw_loop_in(builder, names)
        else:
            builder.draw(names)
    while not builder.steps:
        builder.add("tanh", 0)
    return builder.program()


def _draw_loop_in(builder: Builder, names: Sequence[str]) -> None:
    """A loop whose state is a value of the graph, and which walks over another along its first axis."""
    c = builder.c
    states = [k for k, v in enumerate(builder.values) if v.is_float and v.size and v.ndim]
    sequences = [k for k, v in enumerate(builder.values) if v.is_float and v.ndim and 0 < v.shape[0] < 5]
    if not states or not sequences:
        return
    h, xs = c.choice(states), c.choice(sequences)
    weights = [k for k in {c.choice(range(len(builder.values))) for _ in range(2)} if builder.values[k].is_float]
    made = add_loop(builder, [h], xs, weights, names, c.integer(1, 3), time_axis=0, past=False)
    if made is not None and c.integer(0, 1):
        add_state(builder, 0)


def add_state(builder: Builder, which: int) -> None:
    """A last state of the last loop comes out beside an operation on all of them."""
    steps = builder.steps
    loop = len(builder.inputs) + next(k for k in reversed(range(len(steps))) if steps[k].op == "loop")
    state = builder.add("state", loop, which=which)
    touched = touch(builder, loop)
    builder.kept += [k for k in (state, touched) if k is not None]


def add_loop(
    builder: Builder,
    states: Sequence[int],
    xs: int,
    weights: Sequence[int],
    names: Sequence[str],
    count: int,
    *,
    time_axis: int,
    past: bool,
    reverse: bool | None = None,
    steps: Sequence[GraphStep] | None = None,
) -> int | None:
    """A loop over time with a random body, whose last values of the right shape are the next states."""
    c, operands = builder.c, [*states, xs, *weights]
    length = builder.values[xs].shape[time_axis]
    before, distance = len(builder.tape.values), builder.tape.distance
    moment = builder.values[xs][(slice(None),) * time_axis + (0,)]  # type: ignore[index]
    earlier = [oracle_ops.stack([builder.values[states[0]]])] if past else []
    given = [*(builder.values[k] for k in states), moment, *earlier, *(builder.values[k] for k in weights)]
    inside = builder.inner(given)
    inside.hidden = {len(states) + 1} if past else set()
    if not all(inside.added(step) for step in steps or ()):
        return None
    for _ in range(count):
        inside.draw(names)
    carry = [_next_state(inside, builder.values[k], n) for n, k in enumerate(states)]
    del builder.tape.values[before:]
    builder.tape.distance = distance
    if None in carry:
        return None
    backwards = bool(c.integer(0, 1)) if reverse is None else reverse
    return builder.add(
        "loop", *operands, body=inside.steps, steps=length, axis=time_axis, carry=carry, past=past, reverse=backwards
    )  # fmt: skip


def _next_state(inside: Builder, state: Value, n: int) -> int | None:
    """A late value that can take the place of a state; of the second state an earlier one."""
    same = lambda v: v.is_float and v.shape == state.shape and v.dtype == state.dtype
    fitting = [k for k in range(inside.first, len(inside.values)) if same(inside.values[k])]
    if not fitting:
        return inside.add("tanh", n)
    return fitting[-1 - min(n, len(fitting) - 1)]
