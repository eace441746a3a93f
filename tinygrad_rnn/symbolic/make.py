"""Making nodes: simplified by rules, which ``rules.py`` enters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .expr import NOTHING, Expr, Node, Number, Params

__all__ = ["ONE", "RULES", "ZERO", "Rule", "is_kind", "is_zero", "joint", "make", "negated", "simplified", "times"]

ONE, ZERO = Number(1.0), Number(0.0)
Rule = Callable[[Node], Expr | None]
RULES: dict[str, tuple[Rule, ...]] = {}


def make(kind: str, *args: Expr, shape: tuple[int, ...], params: Params = NOTHING) -> Expr:
    """A simplified node."""
    e: Expr = Node(kind, args, params, shape)
    while isinstance(e, Node):
        node = e
        for rule in RULES.get(node.kind, ()):
            better = rule(node)
            if better is not None and better != node:
                e = better
                break
        else:
            return e
    return e


def simplified(e: Expr) -> Expr:
    """A tree made anew by the rules, after parts of it were replaced."""
    if not isinstance(e, Node):
        return e
    return make(e.kind, *map(simplified, e.args), shape=e.shape, params=e.params)


def joint(args: Any) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(*(a.shape for a in args))
    except ValueError:
        return None


def is_kind(e: Expr, kind: str) -> bool:
    return isinstance(e, Node) and e.kind == kind


def negated(e: Expr) -> Expr:
    return make("neg", e, shape=e.shape)


def times(factor: float, e: Expr) -> Expr:
    return make("mul", Number(factor), e, shape=e.shape)


def is_zero(a: Expr) -> bool:
    return a == ZERO or (isinstance(a, Node) and a.kind == "mul" and ZERO in a.args)
