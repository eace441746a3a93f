"""Strategies of models and of what trains them: cells, modules, optimisers.

What there is to choose from stands in tables; a new kind of cell, layer or optimiser is one entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from ... import nn, optim
from ...ops import elementwise
from ...tensor import Tensor
from .arrays import Draw, check_choice, check_count, check_flag, dtype_strategy, strategy_of

__all__ = ["MakeOptimizer", "cells", "modules", "optimizers"]

_SEEDS = st.integers(0, 2**32 - 1)
_USUALLY = st.sampled_from([True, False])  # shrinks to True

# Cells ----------------------------------------------------------------------------------------------------------------


class CellKind(NamedTuple):
    """A class of cells, called as ``make(input_size, hidden_size, generator=, dtype=, **options)``."""

    make: Callable[..., Any]
    options: dict[str, st.SearchStrategy[Any]]
    smooth: dict[str, st.SearchStrategy[Any]] = {}  # noqa: RUF012  (instead of options of the same name)


CELLS: dict[str, CellKind] = {
    "rnn": CellKind(
        nn.RNNCell,
        {"activation": st.sampled_from(["tanh", "identity", "sigmoid", "relu"]), "bias": _USUALLY},
        smooth={"activation": st.sampled_from(["tanh", "identity", "sigmoid"])},
    ),
    "lstm": CellKind(
        nn.LSTMCell,
        {"bias": _USUALLY, "forget_gate": _USUALLY, "peephole": st.sampled_from([False, True, "previous"])},
    ),
    "gru": CellKind(
        nn.GRUCell,
        {"bias": _USUALLY, "reset_after": st.booleans(), "update": st.sampled_from(["write", "keep"])},
    ),
}


def cells(
    *,
    kinds: Any = None,
    input_size: Any = None,
    hidden_size: Any = None,
    max_input: int = 3,
    max_hidden: int = 4,
    dtype: Any = np.float64,
    smooth: bool = False,
) -> st.SearchStrategy[Any]:
    """Recurrent cells of the library, with options and initial values at random.

    Parameters
    ----------
    kinds : str or tuple of str, optional
        Which cells: ``"rnn"``, ``"lstm"``, ``"gru"``; all by default.
    input_size, hidden_size : int, or strategy of int, optional
        1 to `max_input` and 1 to `max_hidden` by default. The size that was drawn is ``cell.W_i.shape[0]``.
    max_input, max_hidden : int
        Greatest sizes where none is given.
    dtype : dtype, or strategy of dtypes
        A float dtype; float64 by default.
    smooth : bool
        Whether to leave out cells with a kink, which differences are wrong at.

    Raises
    ------
    ValueError, TypeError
        If a kind is unknown, or an argument is not of its kind.

    Notes
    -----
    Shrinks to the first kind with one input and one hidden unit, its default options, and the seed 0.

    Examples
    --------
    >>> from hypothesis import find
    >>> cell = find(cells(), lambda cell: True)
    >>> cell, cell.activation
    (RNNCell(W_i(1, 1), W_h(1, 1), b(1,)), 'tanh')
    """
    kinds = check_choice("cells", "kinds", tuple(CELLS) if kinds is None else kinds, CELLS)
    inputs = _sizes("cells", "input_size", input_size, check_count("cells", "max_input", max_input, 1))
    hidden = _sizes("cells", "hidden_size", hidden_size, check_count("cells", "max_hidden", max_hidden, 1))
    check_flag("cells", "smooth", smooth)
    checked = dtype_strategy("cells", dtype, "f")
    return st.one_of([_made(CELLS[kind], inputs, hidden, checked, smooth) for kind in kinds])


def _made(kind: CellKind, inputs: Any, hidden: Any, dtype: Any, smooth: bool) -> st.SearchStrategy[Any]:
    options = {**kind.options, **(kind.smooth if smooth else {})}
    return st.builds(kind.make, inputs, hidden, generator=_SEEDS, dtype=dtype, **options)


def _sizes(function: str, name: str, size: Any, most: int) -> st.SearchStrategy[int]:
    return st.integers(1, most) if size is None else strategy_of(size, lambda n: check_count(function, name, n, 1))


# Modules --------------------------------------------------------------------------------------------------------------

SMOOTH = {name: getattr(elementwise, name) for name in ("tanh", "sigmoid", "softplus", "gelu", "sin")}
KINKED = {name: getattr(elementwise, name) for name in ("relu", "leaky_relu", "elu")}


class LayerKind(NamedTuple):
    """A class of layers, called as ``make(in_features, out_features, generator=, dtype=, **options)``."""

    make: Callable[..., Any]
    options: tuple[str, ...] = ()  # which of "bias" and "function" it takes
    resizes: bool = False  # whether the number of features may change


def _activation(n: int, m: int, *, generator: Any, dtype: Any, function: Any) -> Any:
    return function


def _layer_norm(n: int, m: int, *, generator: Any, dtype: Any) -> nn.Module:
    return nn.LayerNorm(n, dtype=dtype)


def _sequential(n: int, m: int, *, generator: Any, dtype: Any, function: Any) -> nn.Module:
    return nn.Sequential(nn.Linear(n, m, generator=generator, dtype=dtype), function)


LAYERS: dict[str, LayerKind] = {
    "linear": LayerKind(nn.Linear, ("bias",), resizes=True),
    "activation": LayerKind(_activation, ("function",)),
    "layer_norm": LayerKind(_layer_norm),
    "sequential": LayerKind(_sequential, ("function",), resizes=True),
}


def modules(
    *,
    in_features: Any,
    out_features: Any = None,
    kinds: Any = None,
    max_layers: int = 3,
    max_features: int = 4,
    dtype: Any = np.float64,
    smooth: bool = False,
) -> st.SearchStrategy[nn.Module]:
    """Small modules from (batch, in_features) to (batch, out_features): a Linear, or a Sequential that has one.

    They have parameters, and give the same result each time that they are called: there is no dropout.

    Parameters
    ----------
    in_features : int, or strategy of int
    out_features : int, or strategy of int, optional
        1 to `max_features` by default.
    kinds : str or tuple of str, optional
        What there may be before the last Linear: ``"linear"``, ``"activation"``, ``"layer_norm"``, and
        ``"sequential"``, which is a Sequential inside the other. A function may come after it in any case.
    max_layers : int
        Greatest number of layers, not counting that function.
    max_features : int
        Greatest width of the layers between.
    dtype : dtype, or strategy of dtypes
        A float dtype; float64 by default.
    smooth : bool
        Whether to leave out functions with a kink, which differences are wrong at.

    Raises
    ------
    ValueError, TypeError
        If a kind is unknown, or an argument is not of its kind.

    Notes
    -----
    Shrinks to a Linear of one output, with a bias and the seed 0.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(modules(in_features=2), lambda module: True)
    Linear(W(2, 1), b(1,))
    >>> module = find(modules(in_features=2), lambda module: "LayerNorm" in repr(module))
    >>> [type(layer).__name__ for layer in module.layers]
    ['LayerNorm', 'Linear']
    """
    kinds = check_choice("modules", "kinds", tuple(LAYERS) if kinds is None else kinds, LAYERS)
    max_layers = check_count("modules", "max_layers", max_layers, 1)
    widths = st.integers(1, check_count("modules", "max_features", max_features, 1))
    check_flag("modules", "smooth", smooth)
    ends = [strategy_of(in_features, lambda n: check_count("modules", "in_features", n, 1)),
            _sizes("modules", "out_features", out_features, max_features)]  # fmt: skip
    functions = st.sampled_from(list((SMOOTH if smooth else SMOOTH | KINKED).values()))
    layers = st.lists(st.sampled_from(kinds), max_size=max_layers - 1)
    return _modules(ends, layers, widths, functions, dtype_strategy("modules", dtype, "f"))


@st.composite
def _modules(draw: Draw, ends: Any, kinds: Any, widths: Any, functions: Any, dtypes: Any) -> nn.Module:
    (n, last), dtype, generator = [draw(s) for s in ends], draw(dtypes), np.random.default_rng(draw(_SEEDS))
    options = {"bias": _USUALLY, "function": functions}
    layers: list[Any] = []

    def add(kind: LayerKind, m: int) -> None:
        drawn = {name: draw(options[name]) for name in kind.options}
        layers.append(kind.make(n, m, generator=generator, dtype=dtype, **drawn))

    for name in draw(kinds):
        kind = LAYERS[name]
        m = draw(widths) if kind.resizes else n
        add(kind, m)
        n = m
    add(LAYERS["linear"], last)
    if draw(st.booleans()):
        layers.append(draw(functions))
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


# Optimisers -----------------------------------------------------------------------------------------------------------


def _numbers(usual: Iterable[float], low: float, high: float) -> st.SearchStrategy[float]:
    """The usual values first, and any between the limits."""
    return st.sampled_from(list(usual)) | st.floats(low, high, allow_subnormal=False)


class OptimizerKind(NamedTuple):
    """A class of optimisers, and its settings besides learning rate and weight decay."""

    make: Callable[..., optim.Optimizer]
    options: dict[str, st.SearchStrategy[Any]]


_SHARES = _numbers([0.9, 0.5, 0.99], 0.1, 0.999)
_EPS = st.sampled_from([1e-8, 1e-6, 1e-10])

OPTIMIZERS: dict[str, OptimizerKind] = {
    "sgd": OptimizerKind(optim.SGD, {"momentum": st.just(0.0) | _SHARES, "nesterov": st.booleans()}),
    "rmsprop": OptimizerKind(optim.RMSprop, {"alpha": _SHARES, "eps": _EPS}),
    "adagrad": OptimizerKind(optim.Adagrad, {"eps": _EPS}),
    "adam": OptimizerKind(optim.Adam, {"betas": st.tuples(_SHARES, _SHARES), "eps": _EPS}),
    "adamw": OptimizerKind(optim.AdamW, {"betas": st.tuples(_SHARES, _SHARES), "eps": _EPS}),
}

_RATES = _numbers([0.1, 0.01, 0.001], 1e-4, 0.5)
_STEPS = st.integers(1, 20)

# Schedules by name, with their arguments after the rate.
SCHEDULES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "constant": {},
    "linear": {"total": _STEPS},
    "cosine": {"total": _STEPS},
    "exponential": {"factor": _SHARES},
    "step_decay": {"every": _STEPS, "factor": _SHARES},
    "warmup": {"steps": _STEPS},
}


@dataclass(frozen=True)
class _Schedule:
    """A schedule that can be shown."""

    name: str
    rate: float
    arguments: dict[str, Any]

    def make(self) -> Callable[[int], float]:
        return getattr(optim, self.name)(self.rate, **self.arguments)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join([repr(self.rate), *(f'{k}={v!r}' for k, v in self.arguments.items())])})"


@dataclass(frozen=True)
class MakeOptimizer:
    """Makes an optimiser of one kind and setting, for the parameters that it is called with.

    Attributes
    ----------
    kind : str
        Key of the table of optimisers, as in ``optimizers(kinds=...)``.
    settings : dict
        Keyword arguments of its class.

    Examples
    --------
    >>> from hypothesis import find
    >>> import tinygrad_rnn as tg
    >>> make = find(optimizers(kinds="adam"), lambda make: True)
    >>> make([tg.parameter([1.0])]).lr
    0.1
    """

    kind: str
    settings: dict[str, Any] = field(hash=False)

    def __call__(self, parameters: nn.Module | Iterable[Tensor]) -> optim.Optimizer:
        given = {k: v.make() if isinstance(v, _Schedule) else v for k, v in self.settings.items()}
        return OPTIMIZERS[self.kind].make(parameters, **given)

    def __repr__(self) -> str:
        name = getattr(OPTIMIZERS[self.kind].make, "__name__", self.kind)
        return f"{name}({', '.join(['...', *(f'{k}={v!r}' for k, v in self.settings.items())])})"


def optimizers(
    *, kinds: Any = None, schedules: bool = True, weight_decay: bool = True
) -> st.SearchStrategy[MakeOptimizer]:
    """Optimisers with valid settings, as functions of the parameters: ``make(parameters)``.

    Each call makes a new optimiser of the same settings, so that two can be compared.

    Parameters
    ----------
    kinds : str or tuple of str, optional
        ``"sgd"``, ``"rmsprop"``, ``"adagrad"``, ``"adam"``, ``"adamw"``; all by default.
    schedules : bool
        Whether some have a schedule as their learning rate.
    weight_decay : bool
        Whether some have a weight decay; if not, none has, AdamW included.

    Raises
    ------
    ValueError, TypeError
        If a kind is unknown, or an argument is not of its kind.

    Notes
    -----
    Shrinks to gradient descent with the learning rate 0.1, without momentum and weight decay.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(optimizers(), lambda make: True)
    SGD(..., lr=0.1, weight_decay=0.0, momentum=0.0)
    >>> find(optimizers(), lambda make: make.settings.get("nesterov"))
    SGD(..., lr=0.1, weight_decay=0.0, momentum=0.9, nesterov=True)
    """
    kinds = check_choice("optimizers", "kinds", tuple(OPTIMIZERS) if kinds is None else kinds, OPTIMIZERS)
    check_flag("optimizers", "schedules", schedules)
    check_flag("optimizers", "weight_decay", weight_decay)
    rates = _RATES | _schedules() if schedules else _RATES
    decays = st.just(0.0) | _numbers([0.01, 0.1], 1e-3, 0.2) if weight_decay else st.just(0.0)
    return _optimizers(st.sampled_from(kinds), rates, decays)


def _schedules() -> st.SearchStrategy[_Schedule]:
    return st.one_of(
        [st.builds(_Schedule, st.just(n), _RATES, st.fixed_dictionaries(a)) for n, a in SCHEDULES.items()]
    )


@st.composite
def _optimizers(draw: Draw, kinds: Any, rates: Any, decays: Any) -> MakeOptimizer:
    kind = draw(kinds)
    settings: dict[str, Any] = {"lr": draw(rates), "weight_decay": draw(decays)}
    for name, option in OPTIMIZERS[kind].options.items():
        if name != "nesterov" or settings["momentum"]:  # which it needs
            settings[name] = draw(option)
    return MakeOptimizer(kind, settings)
