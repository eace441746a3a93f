"""Laws of recurrent cells, each a function of its own that raises where it is broken.

A cell is called as ``y, state = cell(x, state)``, with ``x`` of shape (batch, features). States may be nested tuples,
lists and dicts of tensors (batch, ...). `xs` is an array (batch, time, features), or integers (batch, time).
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..grad.reverse import grad
from ..nn.module import Module
from ..nn.sequences import masked
from ..nn.state import leaves_of, mapped_state
from ..ops.core import as_array
from ..ops.create import tensor, zeros_like
from ..scope import timestep
from ..tensor import Tensor
from .compare import assert_close

__all__ = [
    "batch_independence", "batch_permutation", "causality", "hidden_permutation", "padding", "run",
    "split_point", "time_shift", "truncation",
]  # fmt: skip

Cell = Callable[[Any, Any], tuple[Any, Any]]
State = Any


def run(cell: Cell, xs: Any, state: State, *, mask: Any = None, first: int = 0) -> tuple[list[Tensor], State]:
    """The outputs of all steps, and the last state.

    Parameters
    ----------
    cell : callable
    xs : array or tensor (batch, time, ...)
    state : nested tensors
    mask : bool array (batch, time), optional
        Where it is False the state stays as it is and the output is zero.
    first : int
        Number of the first time step.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3, generator=0)
    >>> outputs, state = tg.testing.cell_laws.run(cell, tg.ones((1, 4, 2)), cell.initial_state(1))
    >>> len(outputs), state.shape
    (4, (1, 3))
    """
    xs = xs if isinstance(xs, Tensor) else tensor(as_array(xs))
    outputs = []
    for t in range(xs.shape[1]):
        with timestep(first + t):
            y, after = cell(xs[:, t], state)
            if mask is not None:
                keep = tensor(np.asarray(mask)[:, t])
                y, after = masked(keep, y, zeros_like(y)), _kept(keep, after, state)
        outputs.append(y)
        state = after
    return outputs, state


def causality(cell: Cell, xs: Any, state: State, *, at: int) -> None:
    """What comes at step `at` changes no output before it, by one bit; and the gradient says so too.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3, generator=0)
    >>> tg.testing.cell_laws.causality(cell, tg.ones((1, 4, 2)), cell.initial_state(1), at=2)
    """
    array = as_array(_data(xs))
    before, _ = run(cell, array, state)
    moved = array.copy()
    moved[:, at:] = moved[:, at:][:, ::-1] + 1 if array.dtype.kind == "f" else moved[:, at:][:, ::-1]
    after, _ = run(cell, moved, state)
    for t in range(at):
        if before[t].data.tobytes() != after[t].data.tobytes():
            raise AssertionError(f"causality: the output of step {t} changes with the input of step {at} or later")
    if array.dtype.kind != "f" or not at:
        return
    leaf = tensor(array)
    outputs, _ = run(cell, leaf, state)
    (g,) = grad([y.sum() for y in outputs[:at]], [leaf], allow_unused=True)
    if g is not None and np.any(g.data[:, at:]):
        raise AssertionError(f"causality: outputs before step {at} have a gradient by the inputs from step {at} on")


def time_shift(cell: Cell, xs: Any, state: State, *, by: int = 3) -> None:
    """A cell knows no absolute time: what it does does not depend on the number of the step, nor on earlier calls.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3, generator=0)
    >>> tg.testing.cell_laws.time_shift(cell, tg.ones((1, 4, 2)), cell.initial_state(1))
    """
    early, last = run(cell, xs, state)
    late, last_late = run(cell, xs, state, first=by)
    _same("time shift: the same inputs later", [*late, *leaves_of(last_late)], [*early, *leaves_of(last)])


def split_point(cell: Cell, xs: Any, state: State, *, at: int) -> None:
    """All at once equals the first part, then the rest from the state that it left.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3, generator=0)
    >>> tg.testing.cell_laws.split_point(cell, tg.ones((1, 4, 2)), cell.initial_state(1), at=1)
    """
    array = as_array(_data(xs))
    whole, last = run(cell, array, state)
    first, between = run(cell, array[:, :at], state)
    second, end = run(cell, array[:, at:], between, first=at)
    _same(f"split point {at}", [*first, *second, *leaves_of(end)], [*whole, *leaves_of(last)])


def padding(cell: Cell, xs: Any, lengths: Any, state: State, *, parameters: Sequence[Tensor] = ()) -> None:
    """What stands behind the end of a sequence changes no output, no state and no gradient.

    The run is masked: behind the end the state stays and outputs are zero.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3, generator=0)
    >>> tg.testing.cell_laws.padding(cell, tg.ones((2, 4, 2)), [4, 1], cell.initial_state(2))
    """
    array, ends = as_array(_data(xs)), np.asarray(lengths)
    mask = np.arange(array.shape[1]) < ends[:, None]
    found = []
    for filler in (0, 1) if array.dtype.kind != "f" else (0.0, 1e3, -7.0):
        padded = array.copy()
        padded[~mask] = filler
        leaf = tensor(padded)
        outputs, last = run(cell, leaf, state, mask=mask)
        results = [*outputs, *leaves_of(last)]
        wrt = [*([leaf] if leaf.is_float else []), *parameters]
        total = [r.sum() for r in results if r.is_float]
        gradients = grad(total, wrt, allow_unused=True) if wrt else []
        for g in gradients[: int(leaf.is_float)]:
            if g is not None and np.any(g.data[~mask]):
                raise AssertionError("padding: there is a gradient by what stands behind the end of a sequence")
        found.append([*results, *(g for g in gradients if g is not None)])
    for other in found[1:]:
        _same("padding: with other content behind the ends", other, found[0])


def batch_independence(cell: Cell, xs: Any, state: State) -> None:
    """Each sequence of a batch is computed as if it were alone.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3, generator=0)
    >>> tg.testing.cell_laws.batch_independence(cell, tg.ones((2, 4, 2)), cell.initial_state(2))
    """
    array = as_array(_data(xs))
    outputs, last = run(cell, array, state)
    for k in range(array.shape[0]):
        row = slice(k, k + 1)
        own = mapped_state(operator.itemgetter(row), state)
        alone, end = run(cell, array[row], own)
        expected = [y[row] for y in [*outputs, *leaves_of(last)]]
        _same(f"batch independence: sequence {k} alone", [*alone, *leaves_of(end)], expected)


def batch_permutation(cell: Cell, xs: Any, state: State, *, order: Sequence[int]) -> None:
    """Sequences in another order give the results in that order.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3, generator=0)
    >>> tg.testing.cell_laws.batch_permutation(cell, tg.ones((2, 4, 2)), cell.initial_state(2), order=[1, 0])
    """
    array, index = as_array(_data(xs)), list(order)
    outputs, last = run(cell, array, state)
    turned, end = run(cell, array[index], mapped_state(lambda t: t[index], state))
    _same("batch permutation", [*turned, *leaves_of(end)], [y[index] for y in [*outputs, *leaves_of(last)]])


def hidden_permutation(cell: Module, xs: Any, state: State, *, order: Sequence[int]) -> None:
    """Hidden units have no order: renumbering them in all parameters renumbers states and outputs.

    An axis of a parameter, state or output belongs to the hidden units if its size is a multiple of ``len(order)``, one
    block for each gate. No other axis may be of such a size, so choose an input size that is not.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3, generator=0)
    >>> tg.testing.cell_laws.hidden_permutation(cell, tg.ones((1, 4, 2)), cell.initial_state(1), order=[2, 0, 1])
    """
    turned = copy.deepcopy(cell)
    for p in turned.parameters():
        p.assign(_renumbered(p.data, order))
    outputs, last = run(cell, xs, state)
    found, end = run(turned, xs, mapped_state(lambda t: _turned(t, order), state))
    expected = [_turned(y, order) for y in [*outputs, *leaves_of(last)]]
    _same("hidden permutation", [*found, *leaves_of(end)], expected)


def truncation(cell: Cell, xs: Any, state: State, *, at: int) -> None:
    """Where the state is detached, the later losses have no gradient by earlier inputs, and the same one by later ones.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3, generator=0)
    >>> tg.testing.cell_laws.truncation(cell, tg.ones((1, 4, 2)), cell.initial_state(1), at=2)
    """
    array = as_array(_data(xs))
    if array.dtype.kind != "f":
        return
    leaf, later = tensor(array), tensor(array[:, at:])
    _, between = run(cell, leaf[:, :at], state)
    cut = mapped_state(lambda t: t.detach(), between)
    outputs, _ = run(cell, leaf[:, at:], cut, first=at)
    alone, _ = run(cell, later, cut, first=at)
    (g,) = grad([y.sum() for y in outputs], [leaf], allow_unused=True)
    (expected,) = grad([y.sum() for y in alone], [later], allow_unused=True)
    if g is None or expected is None:
        if g is not expected:
            raise AssertionError(f"truncation at {at}: only one of the two runs depends on its inputs")
        return
    if np.any(g.data[:, :at]):
        raise AssertionError(f"truncation: losses from step {at} on have a gradient by earlier inputs")
    _same(f"truncation at {at}: gradient by the later inputs", [g[:, at:]], [expected])


# Helpers --------------------------------------------------------------------------------------------------------------


def _data(xs: Any) -> Any:
    return xs.data if isinstance(xs, Tensor) else xs


def _kept(keep: Tensor, after: State, before: State) -> State:
    return mapped_state(lambda a, b: masked(keep, a, b), after, before)


def _renumbered(a: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Blocks of ``len(order)`` entries in another order, along every axis that consists of such blocks."""
    n = len(order)
    for axis, size in enumerate(a.shape):
        if size and size % n == 0:
            index = np.concatenate([np.asarray(order) + k for k in range(0, size, n)])
            a = np.take(a, index, axis)
    return a


def _turned(t: Tensor, order: Sequence[int]) -> Tensor:
    """The features of a state or output in another order; its first axis is the batch."""
    return tensor(np.stack([_renumbered(row, order) for row in t.data]) if len(t) else t.data)


def _same(what: str, found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        scale = float(np.abs(b.data).max(initial=1)) if b.is_float else 0.0
        eps = float(np.finfo(b.dtype).eps) if b.is_float else 0.0
        assert_close(a.data, b.data, rtol=0.0, atol=1e3 * eps * scale, name=f"{what}: result {k}")
