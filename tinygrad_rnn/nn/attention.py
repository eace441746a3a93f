"""Attention: a weighted mean of a sequence, with weights that a query chooses."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import DTypeError, ShapeError, fail
from ..ops.core import as_tensor
from ..ops.elementwise import tanh, where
from ..ops.neural import softmax
from ..settings import check_counts, check_switch
from ..tensor import DEFAULT_FLOAT, Tensor, describe
from . import init
from .init import Seed, generator_of
from .module import Module
from .sequences import sequence_mask

__all__ = ["AdditiveAttention", "AttentionOutput", "MultiplicativeAttention"]

HIDDEN_SCORE = -1e30  # of masked positions: its exponential is 0, and unlike infinity it leaves no NaN in a masked row


class AttentionOutput(NamedTuple):
    """What attention gives.

    Attributes
    ----------
    context : Tensor (batch, v)
        The mean of the values by the weights.
    weights : Tensor (batch, time)
        Not negative; their sum is 1, or 0 where no position is valid.
    """

    context: Tensor
    weights: Tensor


class _Attention(Module):
    """What all attentions share: a score for each position, a softmax over the valid ones, a weighted mean."""

    def precompute(self, keys: Any) -> Tensor:
        """The part of the score that needs no query: once for a sequence, passed to each call as `projected`.

        Parameters
        ----------
        keys : tensor (batch, time, k)

        Returns
        -------
        Tensor (batch, time, ...)
        """
        raise NotImplementedError

    def _scores(self, query: Tensor, projected: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(
        self, query: Any, keys: Any, values: Any = None, mask: Any = None, *, projected: Tensor | None = None
    ) -> AttentionOutput:
        query, keys = as_tensor(query), as_tensor(keys)
        values = keys if values is None else as_tensor(values)
        _check_shapes(query, keys, values)
        scores = self._scores(query, self.precompute(keys) if projected is None else projected)
        weights = _weights(scores, _valid(mask, keys)).named("weights")
        return AttentionOutput((weights[:, None] @ values)[:, 0].named("context"), weights)


class AdditiveAttention(_Attention):
    """``score = v · tanh(query W_q + keys W_k)`` (Bahdanau, Cho and Bengio, 2015).

    Called as ``attention(query, keys, values=None, mask=None, *, projected=None)``:

    - `query` is (batch, q), `keys` (batch, time, k), `values` (batch, time, v); the keys are the values by default.
    - `mask` is bool (batch, time), True where a position is valid, or the lengths (batch,). Other positions have
      weight 0 and no gradient, whatever finite numbers stand there; a row without a valid position gives zeros.
    - `projected` is what ``precompute(keys)`` gave, where the same keys are asked more than once.

    Parameters
    ----------
    query_size, key_size : int
    hidden_size : int
        Size of the layer that compares them.
    generator : numpy.random.Generator or int, optional
        Source of the initial values: W_q and W_k by Glorot and Bengio, v uniform within ``1 / sqrt(hidden_size)``.

    Raises
    ------
    ShapeError
        When called with shapes that do not fit.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.attention import AdditiveAttention
    >>> attention = AdditiveAttention(3, 4, 5, generator=0)
    >>> context, weights = attention(tg.ones((1, 3)), tg.ones((1, 4, 4)), mask=[2])
    >>> context.shape, weights.tolist()
    ((1, 4), [[0.5, 0.5, 0.0, 0.0]])
    """

    def __init__(
        self,
        query_size: int,
        key_size: int,
        hidden_size: int,
        *,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        check_counts("AdditiveAttention", query_size=query_size, key_size=key_size, hidden_size=hidden_size)
        generator = generator_of(generator)
        self.W_q = init.xavier((query_size, hidden_size), 1.0, generator, dtype)
        self.W_k = init.xavier((key_size, hidden_size), 1.0, generator, dtype)
        self.v = init.uniform((hidden_size,), 1 / np.sqrt(hidden_size), generator, dtype)

    def precompute(self, keys: Any) -> Tensor:
        """``keys W_k``, (batch, time, hidden)."""
        return as_tensor(keys) @ self.W_k

    def _scores(self, query: Tensor, projected: Tensor) -> Tensor:
        return tanh((query @ self.W_q)[:, None] + projected) @ self.v


class MultiplicativeAttention(_Attention):
    """``score = query · keys``, or ``query · keys W`` (Luong, Pham and Manning, 2015). Called as additive attention is.

    Parameters
    ----------
    query_size : int
    key_size : int, optional
        As the query by default.
    score : "general" or "dot"
        With a learned W (key_size, query_size), or without.
    scaled : bool
        Whether scores are divided by ``sqrt(query_size)`` (Vaswani et al., 2017).
    generator : numpy.random.Generator or int, optional
        Source of the initial W, by Glorot and Bengio.

    Raises
    ------
    ShapeError
        If the sizes differ for "dot", or when called with shapes that do not fit.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.attention import MultiplicativeAttention
    >>> attention = MultiplicativeAttention(1, score="dot")
    >>> attention([[0.0]], [[[1.0], [3.0]]]).context.tolist()
    [[2.0]]
    """

    def __init__(
        self,
        query_size: int,
        key_size: int | None = None,
        *,
        score: str = "general",
        scaled: bool = False,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        key_size = query_size if key_size is None else key_size
        check_counts("MultiplicativeAttention", query_size=query_size, key_size=key_size)
        scaled = check_switch("MultiplicativeAttention: scaled", scaled)
        if score not in ("general", "dot"):
            raise ValueError(f"MultiplicativeAttention: score must be 'general' or 'dot', got {score!r}")
        if score == "dot" and key_size != query_size:
            raise fail(
                ShapeError, "MultiplicativeAttention: the dot product of query and keys", expected="equal sizes",
                got=f"{query_size} and {key_size}", hint="score='general' takes different sizes",
            )  # fmt: skip
        self.W = init.xavier((key_size, query_size), 1.0, generator, dtype) if score == "general" else None
        self.scale = 1 / np.sqrt(query_size) if scaled else 1.0

    def precompute(self, keys: Any) -> Tensor:
        """``keys W``, (batch, time, q); the keys themselves for "dot"."""
        keys = as_tensor(keys)
        return keys if self.W is None else keys @ self.W

    def _scores(self, query: Tensor, projected: Tensor) -> Tensor:
        if query.shape[-1] != projected.shape[-1]:
            raise fail(
                ShapeError, f"MultiplicativeAttention: query {describe(query)} for keys of size {projected.shape[-1]}",
                expected=f"(batch, {projected.shape[-1]})",
            )  # fmt: skip
        scores = (projected @ query[:, :, None])[:, :, 0]
        return scores if self.scale == 1 else scores * float(self.scale)


def _check_shapes(query: Tensor, keys: Tensor, values: Tensor) -> None:
    if query.ndim != 2 or keys.ndim != 3 or len(query) != len(keys):
        raise fail(
            ShapeError, "attention: query and keys", expected="(batch, q) and (batch, time, k)",
            got=f"{query.shape} and {keys.shape}",
        )  # fmt: skip
    if values.ndim != 3 or values.shape[:2] != keys.shape[:2]:
        raise fail(
            ShapeError, f"attention: values for keys {keys.shape}", expected=f"{keys.shape[:2]} and a third axis",
            got=str(values.shape),
        )  # fmt: skip


def _valid(mask: Any, keys: Tensor) -> Tensor | None:
    """The mask as booleans (batch, time)."""
    if mask is None:
        return None
    mask, (batch, time) = as_tensor(mask), keys.shape[:2]
    if mask.ndim == 1 and len(mask) == batch and mask.dtype.kind in "iu":
        return sequence_mask(mask, time)
    if mask.shape == (batch, time) and mask.dtype.kind != "b":
        raise fail(DTypeError, f"attention: mask {describe(mask)}", expected="booleans, True where a position is valid")
    if mask.shape != (batch, time):
        raise fail(
            ShapeError, f"attention: mask {describe(mask)} for keys {keys.shape}",
            expected=f"booleans {(batch, time)}, or integer lengths {(batch,)}",
        )  # fmt: skip
    return mask


def _weights(scores: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return softmax(scores)
    return where(valid, softmax(where(valid, scores, HIDDEN_SCORE)), 0.0)  # the outer one clears rows without any
