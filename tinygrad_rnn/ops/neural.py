"""Softmax and normalisation, losses, and dropout. Classes and features are on the last axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, fail
from ..kernels import rows
from ..kernels.loops import RowKernels
from ..scope import current
from ..settings import check_count, check_number
from ..tensor import Spec, Tensor, describe
from .checks import checked, look, of_classes
from .core import (
    NO_PARAMS,
    apply,
    are_floats,
    as_float,
    as_tensor,
    cast,
    define,
    is_axis,
    promoted,
    refusal,
    refused,
)
from .elementwise import abs as absolute
from .elementwise import exp, isinf, log, log1p, maximum, rsqrt, softplus, square, where
from .random import bernoulli, check_generator
from .reduce import mean, std, sum
from .shape import broadcast_to, expand_dims, normalize_axes, reshape

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "dropout", "huber_loss", "layer_norm",
    "log_softmax", "mse_loss", "softmax",
]  # fmt: skip

REDUCTIONS = ("mean", "sum", "none")

# Softmax --------------------------------------------------------------------------------------------------------------


def _along(kernels: RowKernels) -> Any:
    def run(x: np.ndarray, axis: int) -> np.ndarray:
        return kernels[x.dtype](x, axis=axis) if x.size else x.copy()

    return run


def _balanced(rest: Tensor, p: Tensor, axis: int) -> Tensor:
    """Numbers whose sum is 0: what rounding made of it goes back to where it came from, a probability close to 1."""
    return rest - p * sum(rest, axis, keepdims=True)


def _softmax_rule(g: Tensor, y: Tensor, x: Tensor, axis: int) -> Tensor:
    return _balanced(y * (g - sum(g * y, axis, keepdims=True)), y, axis)


def _log_softmax_rule(g: Tensor, y: Tensor, x: Tensor, axis: int) -> Tensor:
    p = exp(y)
    return _balanced(g - p * sum(g, axis, keepdims=True), p, axis)


SOFTMAX_ROWS = RowKernels("softmax", rows.softmax, "(n)->(n)")
LOG_SOFTMAX_ROWS = RowKernels("log_softmax", rows.log_softmax, "(n)->(n)")
SOFTMAX = define(
    "softmax",
    run=_along(SOFTMAX_ROWS),
    shape=lambda x, axis: x,
    vjp=(_softmax_rule,),
    jvp=lambda i, t, y, x, axis: _softmax_rule(t, y, x, axis),  # its Jacobian is symmetric
    formula=r"\mathrm{{softmax}}({0})",
    takes=lambda x, *, axis: are_floats(x) and is_axis(axis, x.ndim),
)
LOG_SOFTMAX = define(
    "log_softmax",
    run=_along(LOG_SOFTMAX_ROWS),
    shape=lambda x, axis: x,
    vjp=(_log_softmax_rule,),
    jvp=lambda i, t, y, x, axis: t - sum(t * exp(y), axis, keepdims=True),
    formula=r"\ln \mathrm{{softmax}}({0})",
    takes=lambda x, *, axis: are_floats(x) and is_axis(axis, x.ndim),
)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """``exp(x) / sum(exp(x))`` along `axis`, without overflow.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.softmax([1000.0, 1000.0]).tolist()
    [0.5, 0.5]
    """
    x = as_float(x)
    return apply(SOFTMAX, (x,), {"axis": normalize_axes("softmax", (axis,), x.ndim, x)[0]})


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """Logarithm of :func:`softmax`, exact where the softmax itself would be rounded to zero.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.log_softmax([0.0, 1000.0]).tolist()
    [-1000.0, 0.0]
    """
    x = as_float(x)
    return apply(LOG_SOFTMAX, (x,), {"axis": normalize_axes("log_softmax", (axis,), x.ndim, x)[0]})


# Layer normalisation --------------------------------------------------------------------------------------------------

NORMALIZE_ROWS = RowKernels("normalize", rows.normalize, "(n),()->(n)")


def _normalize_run(x: np.ndarray, eps: float) -> np.ndarray:
    return NORMALIZE_ROWS[x.dtype](x, x.dtype.type(eps)) if x.size else x.copy()


def _normalize_rule(g: Tensor, y: Tensor, x: Tensor, eps: float) -> Tensor:
    deviation = std(x, -1, keepdims=True)
    unit = maximum(deviation, math.sqrt(eps)).detach()  # so that squares neither overflow nor vanish
    scale = rsqrt(square(deviation / unit) + square(math.sqrt(eps) / unit)) / unit
    return scale * (g - mean(g, -1, keepdims=True) - y * mean(g * y, -1, keepdims=True))


NORMALIZE = define(
    "normalize",
    run=_normalize_run,
    shape=lambda x, eps: x,
    vjp=(_normalize_rule,),
    jvp=lambda i, t, y, x, eps: _normalize_rule(t, y, x, eps),  # its Jacobian is symmetric
    formula=r"\mathrm{{norm}}({0})",
    takes=lambda x, *, eps: are_floats(x) and x.ndim > 0 and type(eps) is float,
)


def layer_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift (Ba, Kiros and Hinton, 2016).

    Parameters
    ----------
    x : tensor (..., features)
    weight, bias : tensors (features,), optional
    eps : float
        Added to the variance.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.layer_norm([1.0, 3.0], eps=0.0).tolist()
    [-1.0, 1.0]
    """
    x, eps = as_float(x), check_number("layer_norm: eps", eps, 0)
    if not x.ndim:
        raise refused((x,), "layer_norm: the tensor has no axis to normalise", expected="(..., features)")
    y = apply(NORMALIZE, (x,), {"eps": eps})
    for what, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and as_tensor(parameter).shape != x.shape[-1:]:
            raise refused(
                (x, as_tensor(parameter)), f"layer_norm: {what} for features of {describe(x)}",
                expected=str(x.shape[-1:]), got=str(as_tensor(parameter).shape),
            )  # fmt: skip
    if weight is not None:
        y = y * weight
    return y if bias is None else y + bias


# Losses ---------------------------------------------------------------------------------------------------------------

CROSS_ENTROPY_ROWS = RowKernels("cross_entropy", rows.cross_entropy, "(n),()->()", "fif")


def _cross_entropy_run(x: np.ndarray, target: np.ndarray) -> Any:
    look(target, 0, x.shape[-1], of_classes("cross_entropy: target", x.shape[-1]))
    return CROSS_ENTROPY_ROWS[x.dtype](x, target) if target.size else np.zeros(target.shape, x.dtype)


def _cross_entropy_shape(x: Spec, target: Spec) -> Spec:
    if not x.ndim or x.shape[:-1] != target.shape:
        raise fail(
            ShapeError, f"cross_entropy: logits {x.shape} and targets {target.shape}",
            expected="logits (..., classes) and integer targets (...), or probabilities (..., classes)",
        )  # fmt: skip
    return Spec(target.shape, x.dtype)


def _surplus_run(x: np.ndarray, target: np.ndarray) -> Any:
    look(target, 0, x.shape[-1], of_classes("surplus: target", x.shape[-1]))
    return SURPLUS_ROWS[x.dtype](x, target) if x.size else x.copy()


def _surplus_rule(g: Tensor, y: Tensor, x: Tensor, target: Tensor) -> Tensor:
    return _softmax_rule(g, softmax(x), x, x.ndim - 1)


SURPLUS_ROWS = RowKernels("surplus", rows.surplus, "(n),()->(n)", "fif")
SURPLUS = define(  # the slope of the loss; softmax minus one-hot, as two ops, would cancel where a target is certain
    "surplus",
    run=_surplus_run,
    shape=lambda x, target: Spec((*_cross_entropy_shape(x, target).shape, x.shape[-1]), x.dtype),
    vjp=(_surplus_rule, lambda g, y, x, target: g),  # targets are integers: never asked for
    jvp=lambda i, t, y, x, target: _surplus_rule(t, y, x, target),
    formula=r"(\mathrm{{softmax}}({0}) - \mathrm{{onehot}}({1}))",
    symbol="softmax − onehot",
    takes=lambda x, target: are_floats(x) and target.dtype == np.int64,
)


def _surplus(x: Tensor, target: Tensor) -> Tensor:
    return apply(SURPLUS, (x, target))


CROSS_ENTROPY = define(
    "cross_entropy",
    run=_cross_entropy_run,
    shape=_cross_entropy_shape,
    vjp=(
        lambda g, y, x, target: expand_dims(g, -1) * _surplus(x, target),
        lambda g, y, x, target: g,  # targets are integers: never asked for
    ),
    jvp=lambda i, t, y, x, target: sum(t * _surplus(x, target), -1),
    formula=r"\mathrm{{CE}}({0}, {1})",
    symbol="cross-entropy",
    takes=lambda x, target: are_floats(x) and target.dtype == np.int64,
)


def cross_entropy(
    logits: Any,
    target: Any,
    *,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    mask: Any = None,
) -> Tensor:
    """Cross-entropy of logits against classes or probabilities, in nats.

    Parameters
    ----------
    logits : tensor (..., classes)
    target : integer tensor (...), or tensor of probabilities (..., classes)
    ignore_index : int, optional
        Integer targets of this value count for nothing, in the mean too.
    label_smoothing : float
        Share of the target that is spread evenly over the classes (Szegedy et al., 2016).
    reduction : "mean", "sum" or "none"
    mask : bool tensor (...), optional
        Where it is False nothing counts, in the mean neither, whatever stands there: behind the ends of sequences.

    Raises
    ------
    IndexError
        If a target is not a class.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.cross_entropy([[0.0, 0.0], [0.0, 0.0]], [0, 1]).item()
    0.6931471824645996
    """
    logits, target = as_float(logits), as_tensor(target)
    there = _mask("cross_entropy", mask, logits.shape[:-1])
    if there is not None:
        logits, target = _shown(there, logits), _shown(there, target)
    check_number("cross_entropy: label_smoothing", label_smoothing, 0, 1)
    if ignore_index is not None:
        ignore_index = check_count("cross_entropy: ignore_index", ignore_index, least=None)
    if target.is_float:
        if ignore_index is not None:
            raise fail(DTypeError, "cross_entropy: ignore_index goes with integer targets", got=describe(target))
        return _soft_cross_entropy(logits, target, label_smoothing, reduction, there)
    if ignore_index is None:
        return reduced(_hard_cross_entropy(logits, target, label_smoothing), reduction, there)
    kept = target != ignore_index
    loss = _hard_cross_entropy(logits, where(kept, target, 0), label_smoothing)
    if there is None and reduction == "mean":
        return sum(where(kept, loss, 0)) / cast(sum(kept), loss.dtype)  # NaN if there is nothing to average
    return reduced(loss, reduction, kept if there is None else kept & there)


def _hard_cross_entropy(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    target = cast(target, np.int64)
    if logits.shape[:-1] != target.shape:  # the kernel would broadcast them
        raise refusal(CROSS_ENTROPY, (logits, target), NO_PARAMS, ValueError())
    if current().tracing is not None:
        checked(target, 0, logits.shape[-1], of_classes("cross_entropy: target", logits.shape[-1]))
    loss = apply(CROSS_ENTROPY, (logits, target))
    if not smoothing:
        return loss
    spread = -smoothing * mean(log_softmax(logits), -1)
    return spread if smoothing == 1 else (1 - smoothing) * loss + spread


def _soft_cross_entropy(
    logits: Tensor, target: Tensor, smoothing: float, reduction: str, mask: Tensor | None
) -> Tensor:
    if target.shape != logits.shape:
        expected, got = str(logits.shape), str(target.shape)
        raise refused((logits, target), "cross_entropy: probabilities", expected=expected, got=got)
    if smoothing:
        target = (1 - smoothing) * target + smoothing / logits.shape[-1]
    return reduced(-sum(_weighted(target, log_softmax(logits)), -1), reduction, mask)


def _weighted(weight: Tensor, x: Tensor) -> Tensor:
    """``weight * x``, and 0 where the weight is 0, also of what is infinite."""
    return weight * where((weight == 0) & isinf(x), 0, x)


def reduced(loss: Tensor, reduction: str, mask: Tensor | None = None) -> Tensor:
    """A loss summed, averaged, or as it is; of what the mask shows, and zero if that is nothing."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}; got {reduction!r}")
    if mask is not None:
        loss = where(_over(mask, loss), loss, 0)
        if reduction == "mean":
            count = cast(sum(broadcast_to(_over(mask, loss), loss.shape)), loss.dtype)
            return sum(loss) / where(count > 0, count, 1)
    return {"mean": mean, "sum": sum, "none": lambda x: x}[reduction](loss)


def _mask(name: str, mask: Any, lead: tuple[int, ...]) -> Tensor | None:
    """A mask over the first axes, checked."""
    if mask is None:
        return None
    mask = as_tensor(mask)
    if mask.dtype.kind != "b" or mask.shape != lead[: mask.ndim]:
        raise refused((mask,), f"{name}: mask {describe(mask)}", expected=f"booleans for the first axes of {lead}")
    return mask


def _over(mask: Tensor, x: Tensor) -> Tensor:
    return reshape(mask, (*mask.shape, *(1,) * (x.ndim - mask.ndim)))


def _shown(mask: Tensor, x: Tensor) -> Tensor:
    """Zero where the mask hides: not even a NaN there has a gradient."""
    return where(_over(mask, x), x, 0)


def _masked_pair(
    name: str, prediction: Any, target: Any, mask: Any
) -> tuple[Tensor, Tensor, Tensor | None]:
    a, b = _pair(name, prediction, target)
    there = _mask(name, mask, a.shape)
    return (a, b, None) if there is None else (_shown(there, a), _shown(there, b), there)


def _pair(name: str, prediction: Any, target: Any) -> tuple[Tensor, Tensor]:
    prediction = as_float(prediction)
    a, b = promoted((prediction, target))
    if a.shape != b.shape:
        raise refused(
            (a, b), f"{name}: prediction {a.shape} and target {b.shape}", expected="equal shapes",
            hint="reshape one of them; broadcasting a loss is almost always a mistake",
        )  # fmt: skip
    return a, b


def binary_cross_entropy(probability: Any, target: Any, *, reduction: str = "mean", mask: Any = None) -> Tensor:
    """``-(t log p + (1 - t) log(1 - p))``, in nats; infinite where a certain prediction is wrong.

    `mask` (bool, over the first axes) hides what does not count, here and in the losses below.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.binary_cross_entropy([0.5, 1.0], [1.0, 1.0], reduction="none").tolist()
    [0.6931471824645996, 0.0]
    """
    p, t, there = _masked_pair("binary_cross_entropy", probability, target, mask)
    yes = t * log(where((t == 0) & (p == 0), 1, p))  # 0 at t = 0, also where p is 0
    no = (1 - t) * log1p(where((t == 1) & (p == 1), 0, -p))
    return reduced(0 - yes - no, reduction, there)  # "0 -" for a zero that is not negative


def binary_cross_entropy_with_logits(
    logits: Any, target: Any, *, reduction: str = "mean", mask: Any = None
) -> Tensor:
    """Binary cross-entropy of ``sigmoid(logits)``, in nats, exact for large logits of either sign.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.binary_cross_entropy_with_logits([0.0, 100.0], [1.0, 0.0], reduction="none").tolist()
    [0.6931471824645996, 100.0]
    """
    x, t, there = _masked_pair("binary_cross_entropy_with_logits", logits, target, mask)
    positive, negative = where(x > 0, x, 0), where(x > 0, 0, x)
    wrong = _weighted(1 - t, positive) + _weighted(t, -negative)
    return reduced(wrong + softplus(negative - positive), reduction, there)


def mse_loss(prediction: Any, target: Any, *, reduction: str = "mean", mask: Any = None) -> Tensor:
    """Squared error ``(prediction - target)^2``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.mse_loss([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """
    a, b, there = _masked_pair("mse_loss", prediction, target, mask)
    return reduced(square(a - b), reduction, there)


def huber_loss(
    prediction: Any, target: Any, *, delta: float = 1.0, reduction: str = "mean", mask: Any = None
) -> Tensor:
    """Half the squared error where it is at most `delta` away, linear beyond (Huber, 1964).

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.huber_loss([0.5, 4.0], [0.0, 0.0], reduction="none").tolist()
    [0.125, 3.5]
    """
    a, b, there = _masked_pair("huber_loss", prediction, target, mask)
    check_number("huber_loss: delta", delta, above=0)
    distance = absolute(a - b)
    near = distance <= delta
    squared = square(where(near, distance, 0))  # not of what is far away, whose gradient would overflow
    return reduced(where(near, 0.5 * squared, delta * (distance - 0.5 * delta)), reduction, there)


# Dropout --------------------------------------------------------------------------------------------------------------


def dropout(x: Any, p: float = 0.5, *, generator: np.random.Generator) -> Tensor:
    """Set entries to zero with probability `p` and scale the others by ``1 / (1 - p)`` (Srivastava et al., 2014).

    Parameters
    ----------
    x : tensor
    p : float
        Probability of zero.
    generator : numpy.random.Generator
        Where the randomness comes from; draws anew each time a recorded graph is evaluated.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.dropout(tg.ones(6), 0.5, generator=np.random.default_rng(0)).tolist()
    [2.0, 2.0, 2.0, 0.0, 0.0, 0.0]
    """
    x = as_float(x)
    check_number("dropout: p", p, 0, 1)
    check_generator("dropout", generator)
    if p == 0:
        return x
    mask = bernoulli(x.shape, 1 - p, generator=generator, dtype=x.dtype)
    return x * (mask / (1 - p) if p < 1 else mask)
