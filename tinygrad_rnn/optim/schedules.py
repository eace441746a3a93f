"""Learning rates as functions of the step: pass one where a learning rate is asked for.

A schedule has no state of its own, so an optimiser that is resumed at step 1000 goes on with the right rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..settings import check_count, check_number

__all__ = ["Schedule", "constant", "cosine", "exponential", "linear", "step_decay", "warmup"]

Schedule = Callable[[int], float]


def constant(rate: float) -> Schedule:
    """Always `rate`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.optim.constant(0.1)(1000)
    0.1
    """
    rate = check_number("constant: rate", rate, 0)
    return lambda step: rate


def step_decay(rate: float, every: int, factor: float = 0.1) -> Schedule:
    """Multiply by `factor` every so many steps.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> [tg.optim.step_decay(1.0, every=10, factor=0.5)(step) for step in (0, 9, 10, 20)]
    [1.0, 1.0, 0.5, 0.25]
    """
    rate, factor = check_number("step_decay: rate", rate, 0), check_number("step_decay: factor", factor, 0)
    every = check_count("step_decay: every", every)
    return lambda step: rate * factor ** (step // every)


def exponential(rate: float, factor: float) -> Schedule:
    """Multiply by `factor` at each step.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.optim.exponential(1.0, 0.5)(3)
    0.125
    """
    rate, factor = check_number("exponential: rate", rate, 0), check_number("exponential: factor", factor, 0)
    return lambda step: rate * factor**step


def linear(rate: float, total: int, final: float = 0.0) -> Schedule:
    """From `rate` to `final` in a straight line over `total` steps, and `final` after them.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> [tg.optim.linear(1.0, total=4)(step) for step in (0, 1, 4, 9)]
    [1.0, 0.75, 0.0, 0.0]
    """
    rate, total, final = _ends("linear", rate, total, final)
    return lambda step: rate + (final - rate) * min(step / total, 1.0)


def cosine(rate: float, total: int, final: float = 0.0) -> Schedule:
    """From `rate` to `final` along half a cosine over `total` steps (Loshchilov and Hutter, 2017), then `final`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> [round(tg.optim.cosine(1.0, total=4)(step), 3) for step in (0, 2, 4, 9)]
    [1.0, 0.5, 0.0, 0.0]
    """
    rate, total, final = _ends("cosine", rate, total, final)
    return lambda step: final + (rate - final) * (1 + math.cos(math.pi * min(step / total, 1.0))) / 2


def warmup(schedule: float | Schedule, steps: int) -> Schedule:
    """Rise from near zero to the schedule over the first `steps`, then follow it.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> [tg.optim.warmup(1.0, 4)(step) for step in (0, 1, 3, 9)]
    [0.25, 0.5, 1.0, 1.0]
    """
    steps = check_count("warmup: steps", steps)
    rate = schedule if callable(schedule) else constant(check_number("warmup: schedule", schedule, 0))
    return lambda step: rate(step) * min((step + 1) / steps, 1.0)


def _ends(name: str, rate: float, total: int, final: float) -> tuple[float, int, float]:
    rate, final = check_number(f"{name}: rate", rate, 0), check_number(f"{name}: final", final, 0)
    return rate, check_count(f"{name}: total", total), final
