"""Finding where NaN or infinity first appears."""

from __future__ import annotations

from dataclasses import replace

from ..scope import using

__all__ = ["detect_anomaly"]


def detect_anomaly() -> using:
    """Raise at the first operation of the block, forward or backward, that produces NaN or infinity.

    The AnomalyError names the operation, its time step and scope, the shapes and ranges of its inputs, and the user's
    line. Every result is examined, so it costs time: for looking for a fault, not for training.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> with tg.detect_anomaly():
    ...     tg.log(tg.tensor([0.0], name="x"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tinygrad_rnn.errors.AnomalyError: log produced infinity at ...
    """
    return using(lambda s: replace(s, anomaly=True))
