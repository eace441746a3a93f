"""Simplification: for each kind of node the rules that :func:`make` tries in order until none fits.

To add a rule, write it beside those of its kind and enter it here.
"""

from __future__ import annotations

from . import arithmetic as a
from . import shaping as s
from .make import RULES, Rule, make, negated, simplified

__all__ = ["RULES", "make", "negated", "simplified"]

TABLE: dict[str, tuple[Rule, ...]] = {
    "add": (a.flat_sum, a.sum_of_one, a.without_broadcast, a.sum_without_zeros, a.numbers_of_sum, a.equal_terms,
            a.common_derivative, a.bias_last, a.positive_first, a.side_by_side),
    "mul": (a.flat_product, a.sign_of_product, a.without_broadcast, a.product_without_ones, a.numbers_of_product,
            a.quotients_by_numbers, a.powers, a.outer_product, a.product_of_one),
    "neg": (a.sign,),
    "div": (a.quotient,),
    "pow": (a.power,),
    "matmul": (s.flat_matmul, s.number_of_matmul, s.vector_as_row),
    "transpose": (s.transposed,),
    "reshape": (s.reshaped,),
    "broadcast": (s.broadcast,),
    "sum": (s.summed,),
    "call": (s.choice,),
}  # fmt: skip
RULES.update(TABLE)
