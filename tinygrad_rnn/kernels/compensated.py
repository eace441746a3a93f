"""Sums that keep what rounding took from them, so that their errors do not grow with the number of terms.

A term is added by :func:`two_sum` in float64, which also finds the rounding error, exactly (Knuth, 1969). Terms are
best sums of short blocks, which are vector code; of these there are few, so that the care costs next to nothing.
"""

from __future__ import annotations

import numpy as np

__all__ = ["BLOCK", "FEW", "settled", "two_sum"]

BLOCK = 128  # elements that are added up without care; as vectors, few of them in a row
FEW = 32  # rows that are added to a place of a table without care, one after the other


def two_sum(total, lost, term):
    """The sum of `total` and `term` as it is rounded to float64, and `lost` with what the rounding took."""
    wide = np.float64(term)
    result = total + wide
    given = result - total
    return result, lost + ((total - (result - given)) + (wide - given))


def settled(total, lost):
    """The total with what was lost, which is no number where the total is infinite; a zero keeps its sign."""
    return total + lost if lost - lost == 0 and lost != 0 else total
