"""Layers without time: linear maps, embeddings, dropout, normalisation, and layers one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import brief, fail
from ..ops import neural
from ..ops.checks import checked
from ..ops.core import as_tensor
from ..ops.create import ones, parameter
from ..ops.index import rows_of
from ..settings import check_count, check_number, check_switch
from ..tensor import DEFAULT_FLOAT, Tensor
from . import init
from .init import Seed, generator_of
from .module import Module

__all__ = ["Dropout", "Embedding", "LayerNorm", "Linear", "Sequential"]


class Linear(Module):
    """``x @ W + b``, from ``(..., in_features)`` to ``(..., out_features)``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Whether to add `b`.
    generator : numpy.random.Generator or int, optional
        Source of the initial values, uniform within ``1 / sqrt(in_features)``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.Linear(3, 2)(tg.ones((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        generator = generator_of(generator)
        in_features = check_count("Linear: in_features", in_features, 0)
        out_features = check_count("Linear: out_features", out_features)
        bias = check_switch("Linear: bias", bias)
        bound = 1 / np.sqrt(max(in_features, 1))
        self.W = init.uniform((in_features, out_features), bound, generator, dtype)
        self.b = init.uniform((out_features,), bound, generator, dtype) if bias else None

    def forward(self, x: Any) -> Tensor:
        y = as_tensor(x) @ self.W
        return y if self.b is None else y + self.b


class Embedding(Module):
    """A vector for each of `count` symbols: integers ``(...)`` to ``(..., features)``.

    Raises
    ------
    IndexError
        When called with an integer that is negative or not less than `count`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.Embedding(10, 4)([[1, 2, 3]]).shape
    (1, 3, 4)
    """

    def __init__(self, count: int, features: int, *, generator: Seed = None, dtype: Any = DEFAULT_FLOAT) -> None:
        count, features = check_count("Embedding: count", count), check_count("Embedding: features", features)
        self.E = init.normal((count, features), 1.0, generator, dtype)

    def forward(self, tokens: Any) -> Tensor:
        tokens = as_tensor(tokens)
        if tokens.dtype.kind not in "iu":
            return self.E[tokens]
        words = "embedding: symbol {value} at position {position} is out of range"
        return rows_of(self.E, checked(tokens, 0, len(self.E), words, expected=f"0 to {len(self.E) - 1}"))


class Dropout(Module):
    """Zero a share `p` of the entries while training, and scale the others up; nothing in eval mode.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> drop = tg.nn.Dropout(0.5, generator=0)
    >>> drop.eval()(tg.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, p: float = 0.5, *, generator: Seed = None) -> None:
        self.p = check_number("Dropout: p", p, 0, 1)
        self.generator = generator_of(generator)

    def forward(self, x: Any) -> Tensor:
        return neural.dropout(x, self.p, generator=self.generator) if self.training else as_tensor(x)


class LayerNorm(Module):
    """Normalise the last axis to mean 0 and variance 1, then scale and shift with learned vectors.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.LayerNorm(2, eps=0.0)([[1.0, 3.0]]).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(self, features: int, *, eps: float = 1e-5, dtype: Any = DEFAULT_FLOAT) -> None:
        self.eps = check_number("LayerNorm: eps", eps, 0)
        features = check_count("LayerNorm: features", features)
        self.weight = parameter(ones(features, dtype))
        self.bias = init.zeros(features, dtype)

    def forward(self, x: Any) -> Tensor:
        return neural.layer_norm(x, self.weight, self.bias, self.eps)


class Sequential(Module):
    """Modules or functions, each applied to the result of the one before.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.Sequential(tg.nn.Linear(3, 8), tg.tanh, tg.nn.Linear(8, 2))(tg.ones((1, 3))).shape
    (1, 2)
    """

    def __init__(self, *layers: Callable[..., Any]) -> None:
        for k, layer in enumerate(layers):
            if not callable(layer):
                raise fail(TypeError, f"Sequential: layer {k}", expected="a module or a function", got=brief(layer))
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x
