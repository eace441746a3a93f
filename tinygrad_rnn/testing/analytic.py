"""Recorded graphs evaluated with complex numbers: the formula of each op, and of which graphs all formulas are known.

The formulas are those of :mod:`tinygrad_rnn.testing.complexes`; no gradient rule and no kernel is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..ops.core import CAST
from ..ops.elementwise import where
from ..ops.named import by_op, ops_named
from ..tensor import Op, Tensor
from . import complexes

__all__ = ["evaluate", "is_analytic"]


FORMULAS: dict[Op, Callable[..., Any]] = by_op({
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "power": complexes.power,
    "negative": np.negative, "square": np.square, "sqrt": np.sqrt, "rsqrt": complexes.rsqrt, "exp": np.exp,
    "expm1": complexes.expm1, "log": np.log, "log1p": complexes.log1p, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
    "sigmoid": complexes.sigmoid, "softplus": complexes.softplus, "gelu": complexes.gelu, "erf": complexes.erf,
    "erfc": complexes.erfc, "softmax": complexes.softmax, "log_softmax": complexes.log_softmax,
    "logsumexp": complexes.logsumexp, "normalize": complexes.normalize, "cross_entropy": complexes.cross_entropy,
    "surplus": complexes.surplus, "where": np.where,
})  # fmt: skip
PLAIN = ops_named(  # linear in floats, or a product: the op's own NumPy function takes complex numbers as well
    "reshape", "transpose", "broadcast_to", "concatenate", "stack", "pad", "slice", "index", "assemble", "update",
    "sum", "mean", "cumsum", "matmul", "einsum", "detach",
)  # fmt: skip


def is_analytic(nodes: Sequence[Tensor], wrt: Sequence[Tensor]) -> bool:
    """Whether all that the nodes compute from `wrt` is analytic: no kinks, no steps, and nothing unknown."""
    active = {t.serial for t in wrt}
    for t in nodes:
        given = [i for i in t.inputs if i.serial in active and i.is_float]
        if not given:
            continue
        known = t.op in FORMULAS or t.op in PLAIN or (t.op is CAST and t.is_float)
        if not known or not t.is_float or (t.op is where.op and t.inputs[0].serial in active):
            return False
        active.add(t.serial)
    return True


def evaluate(
    nodes: Sequence[Tensor], values: Mapping[int, np.ndarray], outputs: Sequence[Tensor]
) -> list[np.ndarray]:
    """The outputs for complex `values` of leaves, by serial number; other leaves keep what they hold."""
    computed = {serial: np.asarray(value) for serial, value in values.items()}
    with np.errstate(all="ignore"):
        for t in nodes:
            if t.serial not in computed:
                computed[t.serial] = _value(t, [computed[i.serial] for i in t.inputs])
    return [computed[t.serial] for t in outputs]


def _value(t: Tensor, inputs: list[np.ndarray]) -> np.ndarray:
    if not t.inputs:
        return t.data
    if t.op is CAST:
        x = inputs[0]
        return x if t.is_float and x.dtype.kind in "fc" else x.astype(t.dtype)
    moving = any(a.dtype.kind == "c" for a in inputs)
    if moving and t.op in FORMULAS:
        return np.asarray(FORMULAS[t.op](*[_wide(a) for a in inputs], **t.params))
    assert t.op.run is not None
    return np.asarray(t.op.run(*([_wide(a) for a in inputs] if moving else inputs), **t.params))


def _wide(a: np.ndarray) -> np.ndarray:
    return a.astype(np.complex128) if a.dtype.kind in "fc" else a
