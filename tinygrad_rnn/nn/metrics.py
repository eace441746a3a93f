"""How good a prediction is: numbers to read, not to differentiate; masks hide what does not count."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, fail
from ..ops.core import as_array
from ..settings import check_count
from ..tensor import Tensor

__all__ = ["accuracy", "f1_score", "perplexity"]


def accuracy(prediction: Any, target: Any, *, mask: Any = None) -> float:
    """The share of classes that are right; NaN if nothing is shown.

    Parameters
    ----------
    prediction : integers (...), or logits (..., classes)
    target : integers (...)
    mask : bool (...), optional
        Where it is False nothing counts; zeros and ones are taken as False and True.

    Raises
    ------
    ShapeError
        If the shapes differ.
    DTypeError
        If classes are no integers, or the mask holds anything but booleans, zeros and ones.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.metrics.accuracy([[1, 2], [3, 9]], [[1, 0], [3, 4]], mask=[[True, True], [True, False]])
    0.6666666666666666
    """
    p, t = _shown("accuracy", prediction, target, mask)
    return float((p == t).mean()) if p.size else float("nan")


def f1_score(prediction: Any, target: Any, *, classes: int, mask: Any = None) -> np.ndarray:
    """The harmonic mean of precision and recall for each class; 0 for one that was neither there nor predicted.

    Parameters
    ----------
    prediction, target, mask
        As for :func:`accuracy`.
    classes : int

    Raises
    ------
    ShapeError
        If the shapes differ.
    IndexError
        If a class that is shown is negative or too large.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.metrics.f1_score([0, 0, 1, 1], [0, 1, 1, 1], classes=3).round(3).tolist()
    [0.667, 0.8, 0.0]
    """
    check_count("f1_score: classes", classes)
    p, t = _shown("f1_score", prediction, target, mask)
    for what, a in (("prediction", p), ("target", t)):
        if a.size and not 0 <= a.min() <= a.max() < classes:
            wrong = a[(a < 0) | (a >= classes)][0]
            raise fail(IndexError, f"f1_score: class {wrong} of the {what}", expected=f"0 to {classes - 1}")
    hits, predicted, there = (np.bincount(a, minlength=classes)[:classes] for a in (t[p == t], p, t))
    return 2 * hits / np.maximum(predicted + there, 1)


def perplexity(loss: Any) -> float:
    """The exponential of a cross-entropy in nats.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.metrics.perplexity(tg.cross_entropy([[0.0, 0.0, 0.0]], [1])), 4)
    3.0
    """
    return float(np.exp(_values(loss)))


def _values(x: Any) -> np.ndarray:
    return x.numpy() if isinstance(x, Tensor) else as_array(x)


def _shown(name: str, prediction: Any, target: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
    """Classes that count, one after the other."""
    p, t = _values(prediction), _values(target)
    if p.dtype.kind == "f" and p.ndim == t.ndim + 1:
        p = p.argmax(-1)
    shown = np.ones(t.shape, bool) if mask is None else _values(mask)
    for what, a in (("prediction", p), ("mask", shown)):
        if a.shape != t.shape:
            raise fail(ShapeError, f"{name}: {what} for target {t.shape}", expected=str(t.shape), got=str(a.shape))
    for what, a in (("prediction", p), ("target", t)):
        if a.dtype.kind not in "iub" and a.size:
            raise fail(
                DTypeError, f"{name}: classes of the {what}", expected="integers, or for the prediction logits with "
                "one axis more", got=str(a.dtype), hint="round them, or convert them with .astype(np.int64)",
            )  # fmt: skip
    shown = _mask(name, shown)
    return p[shown], t[shown]


def _mask(name: str, mask: np.ndarray) -> np.ndarray:
    if mask.dtype.kind != "b" and not ((mask == 0) | (mask == 1)).all():
        raise fail(DTypeError, f"{name}: mask", expected="booleans, or zeros and ones", got=str(mask.dtype))
    return mask.astype(bool)
