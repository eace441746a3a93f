"""Checks of values: at once where there are values, and on every later call of a function that is recorded.

A check is recorded beside what it looks at, not in its way: pictures, equations and gradients do not see it, and
rewriting cannot lose it. Whoever computes a recorded function anew computes its checks too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import fail
from ..scope import current
from ..tensor import Op, Spec, Tensor, leaf, located
from .core import are_integers

__all__ = ["RANGE_CHECK", "checked", "look", "of_classes", "out_of_range"]

KINDS = {"IndexError": IndexError, "ValueError": ValueError}


def checked(
    values: Tensor, low: int, high: int, words: str, *, expected: str = "", hint: str = "", kind: str = "IndexError"
) -> Tensor:
    """`values`, integers each of which must be at least `low` and less than `high`.

    Parameters
    ----------
    values : integer tensor
    low, high : int
    words : str
        What the error says, beginning with the operation; ``{value}``, ``{position}`` and ``{row}`` stand for the first
        value that is out of range, for where it is, and for that along the first axis.
    expected, hint : str
        Further lines of the error.
    kind : "IndexError" or "ValueError"

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.ops.checks import checked
    >>> checked(tg.tensor([1, 2]), 0, 3, "find: number {value} at position {position}").tolist()
    [1, 2]
    """
    symbolic, state = values.is_symbolic, current()
    if not symbolic and _has_wrong(values.data, low, high):
        error = out_of_range(values.data, low, high, words, expected, hint, kind)
        raise located(error, leaf(values.spec, RANGE_CHECK))
    if (state.tracing is None and not symbolic) or state.place.backward:  # gradients look where the function has looked
        return values
    told = {"words": words, "expected": expected, "hint": hint, "kind": kind}
    node = leaf(values.data, RANGE_CHECK)  # also under no_grad
    node.inputs, node.params = (values,), {"low": int(low), "high": int(high), **told}
    if state.tracing is None:  # nobody keeps it but those who use it
        return node
    state.tracing.ranges.append(node)
    return values


def of_classes(what: str, classes: int) -> str:
    """The words for an index that is not the number of a class."""
    return f"{what} {{value}} at position {{position}} is out of range for {classes} classes"


def out_of_range(
    values: np.ndarray, low: int, high: int, words: str, expected: str = "", hint: str = "", kind: str = "IndexError"
) -> Exception:
    """The error for the first of `values` that is out of range."""
    place = tuple(int(k) for k in np.argwhere((values < low) | (values >= high))[0])
    facts = {"{value}": values[place], "{position}": place, "{row}": place[0] if place else 0}
    for mark, fact in facts.items():
        words = words.replace(mark, str(fact))
    return fail(KINDS[kind], words, expected=expected, hint=hint)


def _has_wrong(values: np.ndarray, low: int, high: int) -> bool:
    return bool(values.size) and not (low <= values.min() and values.max() < high)


def look(values: np.ndarray, low: int, high: int, words: str, **told: str) -> np.ndarray:
    """`values`, or the error for the first of them that is out of range."""
    if _has_wrong(values, low, high):
        raise out_of_range(values, low, high, words, **told)
    return values


def _shape(values: Spec, **_: object) -> Spec:
    return values


def _takes(
    values: Spec, *, low: Any, high: Any, words: Any, expected: Any = "", hint: Any = "", kind: Any = "IndexError"
) -> bool:
    ends = all(type(n) is int and -_MOST <= n <= _MOST for n in (low, high))
    texts = all(type(text) is str for text in (words, expected, hint))
    return are_integers(values) and ends and texts and kind in KINDS


_MOST = 2**62  # of what a program takes as an int64
RANGE_CHECK = Op("range_check", look, _shape, "integers carry no gradient", formula="{0}", takes=_takes)
