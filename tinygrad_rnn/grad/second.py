"""Jacobians and second derivatives, put together from reverse mode.

Each takes either tensors that were computed already, or a function and the point to evaluate it at.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError, fail
from ..ops import reduce, shape
from ..ops.core import as_tensor
from ..ops.create import zeros_like
from ..ops.elementwise import multiply
from ..scope import current, recording
from ..tensor import Tensor, describe, leaf
from .reverse import grad, separated

__all__ = ["hessian", "hvp", "jacobian"]


def jacobian(y: Any, x: Any, *, create_graph: bool = False) -> Tensor:
    """All partial derivatives of `y` by `x`, of shape ``y.shape + x.shape``; one backward pass per entry of `y`.

    Parameters
    ----------
    y : tensor or callable
        A tensor computed from `x`, or a function of it.
    x : tensor
    create_graph : bool
        Record the result, so that it can be differentiated again.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.jacobian(lambda x: x * x, [1.0, 2.0]).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    y, x = _evaluated(y, x)
    if not y.size:
        grad(y, x, zeros_like(y))  # raises where there is no way from y to x
    rows = [_row(y, x, k, create_graph) for k in range(y.size)]
    return _joined(rows, y, x, create_graph)


def hessian(y: Any, x: Any, *, create_graph: bool = False) -> Tensor:
    """All second partial derivatives of a scalar `y` by `x`, of shape ``x.shape + x.shape``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.hessian(lambda x: (x * x * x).sum(), [1.0, 2.0]).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    y, x = _evaluated(y, x)
    slope = grad(y, x, create_graph=True)
    rows = [_row(slope, x, k, create_graph, allow_unused=True) for k in range(x.size)]
    return _joined(rows, x, x, create_graph)


def hvp(y: Any, x: Any, v: Any, *, create_graph: bool = False) -> Tensor:
    """The product of the Hessian of a scalar `y` with `v`, of the shape of `x`, without forming the Hessian.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.hvp(lambda x: (x * x * x).sum(), [1.0, 2.0], [1.0, 1.0]).tolist()
    [6.0, 12.0]
    """
    y, x = _evaluated(y, x)
    v = as_tensor(v, x.dtype)
    if v.shape != x.shape:
        raise fail(ShapeError, f"hvp: vector for {describe(x)}", expected=str(x.shape), got=str(v.shape))
    slope = grad(y, x, create_graph=True)
    with recording():
        product = reduce.sum(multiply(slope, v))
    result = grad(product, x, create_graph=create_graph, allow_unused=True)
    return zeros_like(x) if result is None else result


def _evaluated(y: Any, x: Any) -> tuple[Tensor, Tensor]:
    x = as_tensor(x)
    if callable(y):
        (x,), _ = separated([x])
        with recording():
            y = y(x)
    return y, x


def _row(y: Tensor, x: Tensor, k: int, create_graph: bool, allow_unused: bool = False) -> Tensor:
    seed = np.zeros(y.size, y.dtype)
    seed[k] = 1
    row = grad(y, x, leaf(seed.reshape(y.shape)), create_graph=create_graph, allow_unused=allow_unused)
    return zeros_like(x) if row is None else row  # a slope without x in it: its derivative is zero


def _joined(rows: list[Tensor], y: Tensor, x: Tensor, create_graph: bool) -> Tensor:
    """Rows of derivatives by `x`, one for each entry of `y`, as one tensor; recorded where they are."""
    if not rows:
        return leaf(np.zeros((*y.shape, *x.shape), x.dtype))
    if create_graph or current().tracing is not None or any(t.is_symbolic for t in rows):
        with recording():
            return shape.reshape(shape.stack(rows), (*y.shape, *x.shape))
    return leaf(np.stack([t.data for t in rows]).reshape((*y.shape, *x.shape)))
