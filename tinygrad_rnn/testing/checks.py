"""``check_op``, ``check_cell``, ``check_module``: tests of all laws at once, one line in a test file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import Phase, given
from hypothesis import strategies as st

from ..graph import graph
from ..nested import rebuilt, taken_apart
from ..nn.module import Module
from ..nn.state import leaves_of, mapped_state
from ..ops import elementwise
from ..ops.core import as_array, as_tensor, registry
from ..ops.create import tensor
from ..tensor import Op, Tensor
from . import cell_laws, laws
from .domains import ARGUMENTS, BROKEN, RANGES, Argument, Use
from .gradients import check_grad
from .profiles import profile

__all__ = ["CELL_LAWS", "LAWS", "check_cell", "check_module", "check_op"]

LAWS: dict[str, Callable[..., Any]] = {
    "gradients": lambda fn, *inputs, **facts: check_grad(fn, *inputs, kinks="skip", **facts),
    "duality": laws.duality,
    "linearity_of_cotangent": laws.linearity_of_cotangent,
    "hessian_symmetry": laws.hessian_symmetry,
    "dtype_kept": laws.dtype_kept,
    "inputs_not_mutated": laws.inputs_not_mutated,
    "no_reference_leak": laws.no_reference_leak,
    "determinism": laws.determinism,
    "eager_equals_compiled": laws.eager_equals_compiled,
}
VALUE_LAWS = ("inputs_not_mutated", "no_reference_leak", "determinism", "eager_equals_compiled")  # without gradients
SEEDED = ("gradients", "duality", "linearity_of_cotangent", "hessian_symmetry")
SEEDS = st.integers(0, 2**32 - 1)


def check_op(
    op: Any,
    *,
    inputs: Sequence[tuple[int, ...]] | None = None,
    low: float = -2.0,
    high: float = 2.0,
    reference: Callable[..., Any] | None = None,
    skip: Sequence[str] = (),
    max_examples: int = 20,
) -> Callable[[], None]:
    """A test of every law for an operation.

    Parameters
    ----------
    op : str, function or Op
        A built-in by its name; what :func:`tg.elementwise` made; or any function of tensors, with `inputs`.
    inputs : sequence of shapes, optional
        Of the arguments. Elementwise ops are given all kinds of shapes that broadcast, built-ins what suits them.
    low, high : float
        Range of the arguments.
    reference : callable, optional
        NumPy function that gives the same values.
    skip : sequence of str
        Laws that the op does not keep.
    max_examples : int

    Returns
    -------
    function
        A Hypothesis test without arguments: give it a name that begins with ``test_``, or call it.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cube = tg.elementwise(lambda x: x * x * x, vjp=lambda g, y, x: 3 * g * x * x, name="cube")
    >>> test_cube = tg.testing.check_op(cube)
    >>> test_cube()
    """
    uses = _uses(op, inputs, low, high)
    name = op if isinstance(op, str) else getattr(op, "name", getattr(op, "__name__", "op"))
    broken = BROKEN.get(_op_of(op), ())
    _check_skip("check_op", skip, LAWS)

    @_configured(max_examples)
    @given(uses, SEEDS)
    def test(use: Use, seed: int) -> None:
        rng = np.random.default_rng(seed)
        arrays = [a.draw(rng) for a in use.arguments]
        for law in _applicable(use.function, arrays):
            if law not in skip and law not in broken:
                with _named(f"{name}: {law}", arrays):
                    LAWS[law](use.function, *arrays, **({"seed": seed % 997} if law in SEEDED else {}))
        if reference is not None and "equals_reference" not in skip:
            with _named(f"{name}: equals_reference", arrays):
                laws.equals_reference(use.function, reference, *arrays)

    return _finished(test, f"test_{name}", f"Laws of {name}.")


def check_module(
    module: Any,
    inputs: Sequence[Any],
    *,
    skip: Sequence[str] = (),
    max_examples: int = 10,
) -> Callable[[], None]:
    """A test of every law for a layer, its parameters included.

    Parameters
    ----------
    module : Module, or callable
        A module, or a function without arguments that makes one.
    inputs : sequence of shapes or arrays
        Of the arguments of its forward. Arrays (of integers, say) are passed as they are.
    skip : sequence of str
        Laws that the layer does not keep.
    max_examples : int

    Returns
    -------
    function
        A Hypothesis test without arguments.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> test_linear = tg.testing.check_module(tg.nn.Linear(3, 2, generator=0), [(4, 3)])
    >>> test_linear()
    """
    _check_skip("check_module", skip, LAWS)
    if not isinstance(module, Module) and not callable(module):
        raise TypeError(f"check_module: expected a module or a function that makes one, got {type(module).__name__}")
    name = type(module).__name__ if isinstance(module, Module) else getattr(module, "__name__", "module")

    @_configured(max_examples)
    @given(SEEDS)
    def test(seed: int) -> None:
        made = module if isinstance(module, Module) else module()
        rng = np.random.default_rng(seed)
        arrays = [rng.uniform(-2, 2, x) if isinstance(x, tuple) else as_array(x) for x in inputs]
        _keep_laws(name, made, made, arrays, seed, skip)

    return _finished(test, f"test_{name}", f"Laws of {name}.")


def _keep_laws(name: str, fn: Any, parameters: Any, arrays: list[np.ndarray], seed: int, skip: Sequence[str]) -> None:
    for law in LAWS:
        if law in skip or (law == "duality" and not any(a.dtype.kind == "f" for a in arrays)):
            continue
        facts: dict[str, Any] = {} if law == "duality" else {"parameters": parameters}
        with _named(f"{name}: {law}", arrays):
            LAWS[law](fn, *arrays, **facts, **({"seed": seed % 997} if law in SEEDED else {}))


# Cells ----------------------------------------------------------------------------------------------------------------


@dataclass
class _CellRun:
    """A cell, a batch of sequences, and a state to start from."""

    cell: Any
    xs: np.ndarray
    state: Any
    rng: np.random.Generator

    @property
    def steps(self) -> int:
        return self.xs.shape[1]

    @property
    def parameters(self) -> list[Tensor]:
        return list(self.cell.parameters()) if isinstance(self.cell, Module) else []

    def at(self) -> int:
        return int(self.rng.integers(0, self.steps + 1)) if self.steps else 0


def _split(r: _CellRun) -> None:
    cell_laws.split_point(r.cell, r.xs, r.state, at=r.at())


def _pad(r: _CellRun) -> None:
    lengths = r.rng.integers(0, r.steps + 1, len(r.xs))
    cell_laws.padding(r.cell, r.xs, lengths, r.state, parameters=r.parameters)


def _permute_hidden(r: _CellRun) -> None:
    if isinstance(r.cell, Module):
        width = leaves_of(r.state)[0].shape[-1]
        cell_laws.hidden_permutation(r.cell, r.xs, r.state, order=r.rng.permutation(width).tolist())


CELL_LAWS: dict[str, Callable[[_CellRun], None]] = {
    "causality": lambda r: cell_laws.causality(r.cell, r.xs, r.state, at=r.at()),
    "time_shift": lambda r: cell_laws.time_shift(r.cell, r.xs, r.state),
    "split_point": _split,
    "batch_independence": lambda r: cell_laws.batch_independence(r.cell, r.xs, r.state),
    "batch_permutation": lambda r: cell_laws.batch_permutation(
        r.cell, r.xs, r.state, order=r.rng.permutation(len(r.xs)).tolist()
    ),
    "padding": _pad,
    "hidden_permutation": _permute_hidden,
    "truncation": lambda r: cell_laws.truncation(r.cell, r.xs, r.state, at=r.at()),
}


def check_cell(
    cell: Any,
    *,
    input_size: int | None = None,
    state: Callable[[int], Any] | None = None,
    reference: Callable[..., Any] | None = None,
    skip: Sequence[str] = (),
    max_examples: int = 10,
) -> Callable[[], None]:
    """A test of every law for a recurrent cell: those of all functions, for a run over time, and those of time.

    Parameters
    ----------
    cell : class, Module, or function
        A class is made for several sizes, as ``cell(input_size, hidden_size)``, with ``generator=`` if it takes one. A
        cell is called as ``y, state = cell(x, state)``.
    input_size : int, optional
        Of a cell that is there already; taken from its attribute ``input_size`` or its weight ``W_i`` by default.
    state : callable, optional
        ``state(batch)``, the initial state; ``cell.initial_state`` by default.
    reference : callable, optional
        ``reference(x, *state)`` over float64 arrays: the output and the parts of the next state, by NumPy.
    skip : sequence of str
        Laws that the cell does not keep: one whose units differ by design does not keep hidden_permutation, say.
    max_examples : int

    Returns
    -------
    function
        A Hypothesis test without arguments.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> test_my_cell = tg.testing.check_cell(tg.nn.RNNCell, max_examples=2)
    >>> test_my_cell()
    """
    _check_skip("check_cell", skip, [*LAWS, *CELL_LAWS])
    if not callable(cell):
        raise TypeError(f"check_cell: expected a cell or a class of cells, got {type(cell).__name__}")
    name = cell.__name__ if hasattr(cell, "__name__") else type(cell).__name__
    made = _maker(cell, input_size)

    @_configured(max_examples)
    @given(st.integers(1, 4), st.integers(1, 3), st.sampled_from([(2, 3), (1, 3), (3, 2), (2, 5)]), SEEDS)
    def test(steps: int, batch: int, sizes: tuple[int, int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        it, features = made(sizes, seed % 997)
        start = _random_state((state or it.initial_state)(batch), rng)
        xs = rng.uniform(-2, 2, (batch, steps, features)).astype(leaves_of(start)[0].dtype)
        run = _CellRun(it, xs, start, rng)
        for law, keep in CELL_LAWS.items():
            if law not in skip:
                with _named(f"{name}: {law}", [xs]):
                    keep(run)
        over_time, leaves = _unrolled(it, start), [t.data for t in leaves_of(start)]
        used = it if isinstance(it, Module) else graph(over_time(xs, *leaves)).parameters
        _keep_laws(name, over_time, used, [xs, *leaves], seed, skip)
        if reference is not None and "equals_reference" not in skip:
            with _named(f"{name}: equals_reference", [xs]):
                _against(it, start, reference, xs)

    return _finished(test, f"test_{name}", f"Laws of the cell {name}.")


def _maker(cell: Any, input_size: int | None) -> Callable[[tuple[int, int], int], tuple[Any, int]]:
    """What gives a cell for sizes and a seed, and the size of its inputs."""
    if isinstance(cell, type):
        seeded = "generator" in inspect.signature(cell).parameters
        return lambda sizes, seed: (cell(*sizes, **({"generator": seed} if seeded else {})), sizes[0])
    features = input_size or getattr(cell, "input_size", None)
    if features is None and isinstance(getattr(cell, "W_i", None), Tensor):
        features = cell.W_i.shape[0]
    if features is None:
        raise TypeError("check_cell: the size of the inputs is not known; say input_size=")
    return lambda sizes, seed: (cell, int(features))


def _random_state(state: Any, rng: np.random.Generator) -> Any:
    return mapped_state(lambda t: tensor(rng.uniform(-1, 1, t.shape).astype(t.dtype)) if t.is_float else t, state)


def _unrolled(cell: Any, state: Any) -> Callable[..., list[Tensor]]:
    """A run as a function of the inputs and the parts of the initial state, which gives a list of tensors."""
    _, form = taken_apart(state, "state")

    def run(xs: Any, *parts: Any) -> list[Tensor]:
        outputs, last = cell_laws.run(cell, xs, rebuilt(form, iter([as_tensor(p) for p in parts])))
        return [*outputs, *leaves_of(last)]

    return run


def _against(cell: Any, state: Any, reference: Callable[..., Any], xs: np.ndarray) -> None:
    """One step against NumPy's."""
    _, form = taken_apart(state, "state")

    def step(x: Any, *parts: Any) -> list[Tensor]:
        y, after = cell(x, rebuilt(form, iter(parts)))
        return [y, *leaves_of(after)]

    laws.equals_reference(step, reference, xs[:, 0], *(t.data for t in leaves_of(state)), rtol=1e-10)


# Operations -----------------------------------------------------------------------------------------------------------


def _uses(op: Any, inputs: Sequence[tuple[int, ...]] | None, low: float, high: float) -> st.SearchStrategy[Use]:
    """Functions that use an op, with arguments."""
    found = _op_of(op)
    if found is None:
        raise ValueError(f"check_op: there is no op {op!r}; there are {', '.join(registry)}")
    function = _function_of(found) if isinstance(op, str | Op) else op
    if inputs is not None and function is not None:
        return st.just(Use(function, tuple(Argument(tuple(s), low, high) for s in inputs)))
    if isinstance(found, Op) and found in ARGUMENTS:
        return st.sampled_from(ARGUMENTS[found])
    if isinstance(found, Op) and found.kernels is not None and function is not None:
        ranges = RANGES.get(found, [(low, high)] * found.kernels.arity)
        return st.sampled_from(SHAPES).map(lambda shapes: _broadcasting(function, shapes, ranges))
    raise ValueError("check_op: how to call the op is not known; pass a function of tensors and inputs=, the shapes")


def _op_of(op: Any) -> Any:
    """The op that is meant by a name, or that a function applies; else what was given."""
    return registry.get(op) if isinstance(op, str) else getattr(op, "op", op)


def _function_of(op: Op) -> Any:
    """The elementwise function that applies an op, if it is one that is built in."""
    return getattr(elementwise, op.name, None) if registry.get(op.name) is op else None


SHAPES = [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2,)), ((0, 3), (1, 3)), ((1,), (1,)), ((2, 3), ())]


def _broadcasting(
    function: Callable[..., Any], shapes: Sequence[tuple[int, ...]], ranges: Sequence[tuple[float, float]]
) -> Use:
    return Use(function, tuple(Argument(shapes[k % 2], *r) for k, r in enumerate(ranges)))


def _applicable(fn: Callable[..., Any], arrays: list[np.ndarray]) -> Sequence[str]:
    """The laws of gradients only where there are some."""
    outputs = leaves_of(fn(*map(tensor, arrays)))
    floats = any(a.dtype.kind == "f" for a in arrays) and all(y.is_float for y in outputs)
    return VALUE_LAWS if not floats or any(type(y.op.vjp) is str for y in outputs) else list(LAWS)


# Helpers --------------------------------------------------------------------------------------------------------------


def _check_skip(name: str, skip: Sequence[str], known: Iterable[str]) -> None:
    for law in skip:
        if law not in (*known, "equals_reference"):
            raise ValueError(f"{name}: skip {law!r} is not a law; there are {', '.join(known)}")


def _configured(max_examples: int) -> Callable[[Any], Any]:
    phases = [phase for phase in Phase if phase is not Phase.explain]  # the law says what is wrong
    return profile("ci", max_examples=max_examples, report_multiple_bugs=False, phases=phases, database=None)


def _finished(test: Any, name: str, doc: str) -> Callable[[], None]:
    test.__name__ = test.__qualname__ = name
    test.__doc__ = doc
    return test


@contextmanager
def _named(what: str, arrays: Sequence[np.ndarray]) -> Iterator[None]:
    """Say which law of what was broken, and for which arguments."""
    try:
        yield
    except Exception as error:
        shapes = ", ".join(f"{a.dtype}{list(a.shape)}" for a in arrays)
        error.add_note(f"law broken by {what}, for arguments {shapes}")
        raise
