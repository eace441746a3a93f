"""Settings of layers, optimisers and functions: checked where they are given, so that a wrong one is named at once."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = ["check_count", "check_counts", "check_number", "check_switch"]


def check_number(
    what: str, value: Any, low: float = -math.inf, high: float = math.inf, *, above: float = -math.inf,
    below: float = math.inf, finite: bool = True,
) -> float:  # fmt: skip
    """`value`, a real number from `low` to `high`, more than `above` and less than `below`.

    Raises
    ------
    TypeError
        If it is none, as True and texts are.
    ValueError
        If it is out of range, NaN, or infinite where it must be finite.

    Examples
    --------
    >>> from tinygrad_rnn.settings import check_number
    >>> check_number("Adam: eps", 1e-8, 0)
    1e-08
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{what} must be a number, got {value!r}")
    try:
        x = float(value)
    except OverflowError:  # an integer beyond all floats
        x = math.inf
    if math.isnan(x) or (finite and math.isinf(x)):
        raise ValueError(f"{what} must be {'a finite number' if finite else 'a number'}, got {value!r}")
    if not (low <= x <= high and above < x) or (x >= below and math.isfinite(below)):
        raise ValueError(f"{what} must {_range(low, high, above, below)}, got {value!r}")
    return x


def _range(low: float, high: float, above: float, below: float) -> str:
    first, last = max(low, above), min(high, below)
    if math.isinf(last):
        bound = "not be negative" if low == 0 else "be positive" if above == 0 else f"be at least {first:g}"
    elif low == first and high == last:
        bound = f"lie between {first:g} and {last:g}"
    else:
        bound = f"lie in {'[' if low == first else '('}{first:g}, {last:g}{']' if high == last else ')'}"
    return bound


def check_count(what: str, value: Any, least: int | None = 1, most: int | None = None) -> int:
    """`value`, an integer of at least `least` and at most `most`, or any.

    Raises
    ------
    ValueError
        If it is none, as True and 2.0 are, or less, or more.

    Examples
    --------
    >>> from tinygrad_rnn.settings import check_count
    >>> check_count("LSTM: num_layers", 2)
    2
    """
    wrong = isinstance(value, bool) or not isinstance(value, Integral)
    if wrong or (least is not None and value < least):
        bound = "an integer" if least is None else f"an integer of at least {least}"
        raise ValueError(f"{what} must be {bound}, got {value!r}")
    if most is not None and value > most:
        raise ValueError(f"{what} must be at most {most}, got {value!r}")
    return int(value)


def check_counts(name: str, **values: Any) -> None:
    """Each of the sizes of something, integers of at least 1.

    Examples
    --------
    >>> from tinygrad_rnn.settings import check_counts
    >>> check_counts("LSTM", input_size=3, hidden_size=4)
    """
    for what, value in values.items():
        check_count(f"{name}: {what}", value)


def check_switch(what: str, value: Any) -> bool:
    """`value`, which is True or False.

    Raises
    ------
    TypeError
        If it is neither.

    Examples
    --------
    >>> from tinygrad_rnn.settings import check_switch
    >>> check_switch("LSTM: bidirectional", True)
    True
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{what} must be True or False, got {value!r}")
    return bool(value)
