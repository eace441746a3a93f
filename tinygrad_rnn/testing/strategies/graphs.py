"""Strategies of differentiable programs: graphs of any operations, and recurrent models.

What is drawn is data: a :class:`~tinygrad_rnn.testing.fuzz.program.GraphProgram` can be called, printed as code that
runs, written as JSON, and run on the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from ...errors import fail
from ..fuzz.draw import GRAPH_OPS, SMOOTH_OPS, draw_graph
from ..fuzz.models import draw_model
from ..fuzz.program import GraphProgram, GraphStep, Input
from .arrays import check_choice, check_count, check_flag

__all__ = ["GraphProgram", "GraphStep", "Input", "graphs", "recurrent_models"]

FLOATS = ("float64", "float32")


class _Choices:
    """Decisions that Hypothesis makes; they shrink to the lowest integer and the first option."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))

    def choice(self, options: Sequence[Any]) -> Any:
        return options[self._draw(st.integers(0, len(options) - 1))]


def graphs(
    *,
    ops: Sequence[str] | None = None,
    smooth: bool = False,
    max_steps: int = 8,
    dtypes: Sequence[str] = FLOATS,
    empty: bool = True,
    blocks: bool = True,
) -> st.SearchStrategy[GraphProgram]:
    """Random programs over tensors, to differentiate and to compile.

    They share values, broadcast, slice, reverse, index, scatter, reduce, multiply, join and split, detach and
    checkpoint, and have loops over time with shared weights. Values stay small, and away from where a derivative jumps.

    Parameters
    ----------
    ops : sequence of str, optional
        Names of operations in :data:`tinygrad_rnn.testing.fuzz.table.OPS`. All by default.
    smooth : bool
        Leave out operations with kinks and steps; only where `ops` is not given.
    max_steps : int
        How many operations there are at most, but for those that make large values small.
    dtypes : sequence of str
        What inputs may be: float64, float32; as a rule one of them for a whole program.
    empty : bool
        Whether inputs may hold no numbers.
    blocks : bool
        Whether there may be checkpointed blocks and loops.

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind.

    Notes
    -----
    Shrinks to fewer operations over fewer and smaller inputs, in the end one ``tanh`` of a number in float64.

    Examples
    --------
    >>> from hypothesis import find
    >>> from tinygrad_rnn.testing.strategies.graphs import graphs
    >>> find(graphs(), lambda program: True).steps
    (GraphStep(op='tanh', operands=(0,), params={}, body=()),)
    """
    check_flag("graphs", "smooth", smooth)
    names = None if ops is None else check_choice("graphs", "ops", ops, GRAPH_OPS)
    if smooth and names is None:
        names = tuple(SMOOTH_OPS)
    options = {
        "ops": names,
        "max_steps": check_count("graphs", "max_steps", max_steps, 1),
        "dtypes": check_choice("graphs", "dtypes", dtypes, FLOATS),
        "empty": check_flag("graphs", "empty", empty),
        "blocks": check_flag("graphs", "blocks", blocks),
    }
    return _drawn(draw_graph, options)


def recurrent_models(
    *,
    max_time: int = 4,
    max_layers: int = 2,
    dtypes: Sequence[str] = FLOATS,
    tokens: bool | None = None,
) -> st.SearchStrategy[GraphProgram]:
    """Random recurrent models with inputs and a loss, as programs.

    Cells are plain, LSTM, GRU, with attention over past states, or random, and go on with random operations; there are
    one or two layers or directions, and losses at all steps, some, or the last.

    Parameters
    ----------
    max_time : int
        How many time steps there are at most.
    max_layers : int
        1 or 2.
    dtypes : sequence of str
        What a model may be in: float64, float32.
    tokens : bool, optional
        Whether indices go in, which are embedded, or floats; either by default.

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind.

    Notes
    -----
    Shrinks to one layer of a simple cell over one time step, in float64.

    Examples
    --------
    >>> from hypothesis import find
    >>> from tinygrad_rnn.testing.strategies.graphs import recurrent_models
    >>> program = find(recurrent_models(max_time=2, tokens=True), lambda program: True)
    >>> program.inputs[0].dtype, program.steps[0].op
    ('int64', 'loop')
    """
    if check_count("recurrent_models", "max_layers", max_layers, 1) > 2:
        raise fail(ValueError, "recurrent_models: max_layers", expected="1 or 2", got=str(max_layers))
    options = {
        "max_time": check_count("recurrent_models", "max_time", max_time, 1),
        "max_layers": int(max_layers),
        "dtypes": check_choice("recurrent_models", "dtypes", dtypes, FLOATS),
        "tokens": check_flag("recurrent_models", "tokens", tokens, (None,)),
    }
    return _drawn(draw_model, options)


@st.composite
def _drawn(draw: Callable[..., Any], make: Callable[..., GraphProgram], options: dict[str, Any]) -> GraphProgram:
    return make(_Choices(draw), **options)
