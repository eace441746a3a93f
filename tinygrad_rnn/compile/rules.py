"""The rewrite rules about few nodes, by phase.

``CLEAN`` takes away what computes nothing. ``GATHER`` moves matrix products from looked-up rows to their tables.
``FOLD`` adds into products, and ``gradient_lines`` replaces recorded gradient lines by single kernels. Rules about many
nodes at once, over time, are in ``batching.py``. None changes a value by more than rounding, and none hides a NaN or an
infinity that can be seen: no rule turns a product with zero into zero. Only rows of a table that nobody looks up are
left out of account: a product of one-hot rows does not multiply them by zero, and a gradient by way of the table does.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from math import prod
from typing import Any

import numpy as np

from ..ops import elementwise as ew
from ..ops.broadcasting import stretched
from ..ops.core import apply, registry
from ..ops.index import SLICE
from ..ops.reduce import sum as reduce_sum
from ..ops.shape import BROADCAST, broadcast_to, reshape, transpose
from ..tensor import Op, Spec, Tensor, leaf, replacement_for
from .compiler_ops import LOOKUP, MATMUL_ADD, SCATTER
from .rewrite import Bindings, P, Rewriter, Rule, number

__all__ = ["CLEAN", "FOLD", "GATHER", "gradient_lines"]


# Redundant operations -------------------------------------------------------------------------------------------------


def _same_spec(_: Rewriter, node: Tensor, b: Bindings) -> bool:
    return node.shape == b["x"].shape and node.dtype == b["x"].dtype


def _one_value(_: Rewriter, node: Tensor, b: Bindings) -> bool:
    return b["x"].size == 1


def _spread(node: Tensor, x: Tensor) -> Tensor:
    return broadcast_to(reshape(x, ()), node.shape)


def _composed(node: Tensor, x: Tensor, inner: Tensor) -> Tensor:
    return transpose(x, tuple(inner.params["axes"][k] for k in node.params["axes"]))


def _ordered(_: Rewriter, node: Tensor, b: Bindings) -> bool:
    return node.params["axes"] == tuple(range(node.ndim))


def _lossless(_: Rewriter, node: Tensor, b: Bindings) -> bool:
    x, between = b["x"], b["between"]
    return node.dtype == x.dtype and np.can_cast(x.dtype, between.dtype, "safe")


def _parts(node: Tensor) -> tuple[Any, ...]:
    index = node.params["index"]
    return index if type(index) is tuple else (index,)


def _takes_all(_: Rewriter, node: Tensor, b: Bindings) -> bool:
    return node.shape == b["x"].shape and all(isinstance(p, slice) and p.step in (None, 1) for p in _parts(node))


def _of_stack(node: Tensor, joined: Tensor) -> Tensor | None:
    parts, axis = _parts(node), joined.params["axis"]
    if len(parts) <= axis or type(parts[axis]) is not int or any(p != slice(None) for p in parts[:axis]):
        return None
    rest = (*parts[:axis], *parts[axis + 1 :])
    part = joined.inputs[parts[axis]]
    return part if all(p == slice(None) for p in rest) else part[rest]


def _neutral(op: str, value: float, places: tuple[int, ...]) -> list[Rule]:
    patterns = [P(op, *(number(value) if k == place else "x" for k in range(2))) for place in places]
    return [Rule(f"{op}: {value:g} is neutral", p, lambda node, x: x, _same_spec) for p in patterns]


def _mean(node: Tensor, x: Tensor) -> Tensor:
    count = prod(x.shape[k] for k in node.params["axis"])
    return reduce_sum(x, node.params["axis"], node.params["keepdims"]) / leaf(np.asarray(count, x.dtype))


CLEAN: list[Any] = [
    Rule("reshape to the same shape", P("reshape", "x"), lambda node, x: x, _same_spec),
    Rule("reshape of a reshape", P("reshape", P("reshape", "x")), lambda node, x: reshape(x, node.shape)),
    Rule("reshape of one repeated number", P("reshape", P("broadcast_to", "x")), _spread, _one_value),
    Rule("slice of one repeated number", P("slice", P("broadcast_to", "x")), _spread, _one_value),
    Rule("transpose in order", P("transpose", "x"), lambda node, x: x, _ordered),
    Rule("transpose of a transpose", P("transpose", P("transpose", "x", bind="inner")), _composed),
    Rule("broadcast to the same shape", P("broadcast_to", "x"), lambda node, x: x, _same_spec),
    Rule(
        "broadcast of a broadcast", P("broadcast_to", P("broadcast_to", "x")),
        lambda node, x: broadcast_to(x, node.shape),
    ),
    Rule("cast to the same type", P("cast", "x"), lambda node, x: x, _same_spec),
    Rule("cast there and back", P("cast", P("cast", "x", bind="between")), lambda node, x, between: x, _lossless),
    Rule("detached value", P("detach", "x"), lambda node, x: x),
    Rule("slice of everything", P("slice", "x"), lambda node, x: x, _takes_all),
    Rule("slice of a stack", P("slice", P("stack", ..., bind="joined")), _of_stack),
    Rule("concatenation of one", P("concatenate", "x"), lambda node, x: x),
    Rule("mean as a sum", P("mean", "x"), _mean),
    Rule("negative of a negative", P("negative", P("negative", "x")), lambda node, x: x),
    *_neutral("multiply", 1.0, (0, 1)),
    *_neutral("divide", 1.0, (1,)),
    *_neutral("add", -0.0, (0, 1)),  # 0 itself would turn -0 into 0
    *_neutral("subtract", 0.0, (1,)),
]  # fmt: skip


# Broadcasts go outwards -----------------------------------------------------------------------------------------------


def _smaller(node: Tensor) -> Tensor | None:
    """An elementwise operation on what was broadcast, before it is."""
    cores = [t.inputs[0] if t.op is BROADCAST else t for t in node.inputs]
    if all(a is b for a, b in zip(cores, node.inputs, strict=True)):
        return None
    shape = stretched(*(t.shape for t in cores))
    if prod(shape) >= node.size:
        return None
    return broadcast_to(apply(node.op, tuple(cores), node.params), node.shape)


_ELEMENTWISE = [op for op in registry.values() if op.kernels is not None]
CLEAN += [Rule("broadcast after the operation", P(op, ..., some="broadcast_to"), _smaller) for op in _ELEMENTWISE]


# Looked-up rows -------------------------------------------------------------------------------------------------------
# E[tokens] @ W has the same rows as (E @ W)[tokens], which is cheaper when the table has fewer rows than are looked up.


def _is_lookup(_: Rewriter, node: Tensor, b: Bindings) -> bool:
    return node.params["index"] == ("array",) and b["table"].ndim == 2 and b["index"].dtype.kind in "iu"


def _lookup(table: Tensor, index: Tensor, wrap: bool) -> Tensor:
    """With negative indices counted from the end, as indexing has it, or refused, as one-hot has it."""
    return apply(LOOKUP, (table, index), {"wrap": wrap})


def _scatter(index: Tensor, rows: Tensor, count: int, wrap: bool) -> Tensor:
    return apply(SCATTER, (index, rows), {"count": count, "wrap": wrap})


def _is_scatter(_: Rewriter, node: Tensor, b: Bindings) -> bool:
    shape, index = node.params["shape"], b["index"]
    fits = b["rows"].shape == (*index.shape, *shape[1:])
    return node.params["places"] == (("array",),) and len(shape) == 2 and fits


def _table_is_smaller(rewriter: Rewriter, node: Tensor, b: Bindings) -> bool:
    return b["rows"].inputs[0].shape[0] < b["rows"].inputs[1].size and b["w"].ndim == 2


def _product_first(node: Tensor, rows: Tensor, w: Tensor) -> Tensor:
    table, index = rows.inputs
    return _lookup(table @ w, index, rows.params["wrap"])


def _bias_fits(rewriter: Rewriter, node: Tensor, b: Bindings) -> bool:
    table, index = b["rows"].inputs
    whole = index.inputs[0] if index.op is SLICE else index  # one table with the bias serves all steps
    lookups = max(whole.size, index.size * rewriter.uses[table.serial])
    fits = b["b"].shape in (table.shape[1:], (1, *table.shape[1:])) and node.shape == b["rows"].shape
    return fits and index.ndim > 0 and table.shape[0] < lookups


def _bias_first(node: Tensor, rows: Tensor, b: Tensor) -> Tensor:
    table, index = rows.inputs
    return replacement_for(node, LOOKUP, (table + b, index), rows.params)


def _slice_of_lookup(node: Tensor, rows: Tensor) -> Tensor | None:
    table, index = rows.inputs
    parts = _parts(node)
    if len(parts) > index.ndim or any(p is None or p is Ellipsis for p in parts):
        return None
    return replacement_for(node, LOOKUP, (table, apply(node.op, (index,), node.params)), rows.params)


def _scattered_product(rewriter: Rewriter, node: Tensor, b: Bindings) -> bool:
    return b["w"].ndim == 2 and node.params["count"] < b["index"].size


def _is_one_hot_product(_: Rewriter, node: Tensor, b: Bindings) -> bool:
    return b["w"].ndim == 2 and b["hot"].dtype == b["w"].dtype


def _contracted_lookup(node: Tensor, rows: Tensor, g: Tensor) -> Tensor:
    table, index = rows.inputs
    return table.T @ _scatter(index, g, table.shape[0], rows.params["wrap"])


def _rows_contracted(_: Rewriter, node: Tensor, b: Bindings) -> bool:
    table, index = b["rows"].inputs
    return table.shape[0] < index.size and b["g"].shape[:-1] == index.shape


def _hot_contracted(_: Rewriter, node: Tensor, b: Bindings) -> bool:
    return b["g"].shape[:-1] == b["index"].shape and b["hot"].dtype == b["g"].dtype


def _is_bias(x: Tensor, b: Tensor) -> bool:
    return b.shape == x.shape[-1:] and x.ndim > 1


def _with_bias_first(node: Tensor, x: Tensor, b: Tensor, product: Tensor, **_: Tensor) -> Tensor:
    return replacement_for(node, node.op, (replacement_for(node, node.op, (x, b)), product))


def _bias_inside(_: Rewriter, node: Tensor, b: Bindings) -> bool:
    return _is_bias(node, b["b"]) and b["x"].shape == node.shape == b["product"].shape


def _bias_of_batch(rewriter: Rewriter, node: Tensor, b: Bindings) -> bool:
    taken, whole = _parts(b["taken"]), b["taken"].inputs[0]
    entry = bool(taken) and type(taken[-1]) is int and all(p == slice(None) for p in taken[:-1])
    return entry and len(taken) < whole.ndim and _is_bias(node, b["b"])


_PRODUCT = P("matmul", "y", "w", bind="product")
_TAKEN = P("slice", P("matmul", ...), bind="taken")

GATHER = [
    *(
        Rule("bias to what does not recur", P("add", P("add", *pair), "b"), _with_bias_first, _bias_inside)
        for x in (P("lookup", ..., bind="x"), P("slice", P("matmul", ...), bind="x"))
        for pair in ((x, _PRODUCT), (_PRODUCT, x))
    ),
    Rule(
        "bias before the slice", P("add", _TAKEN, "b"),
        lambda node, taken, b: (taken.inputs[0] + b)[taken.params["index"]], _bias_of_batch,
    ),
    Rule(
        "indexing of rows is a lookup", P("index", "table", "index"),
        lambda node, table, index: _lookup(table, index, True), _is_lookup,
    ),
    Rule(
        "assembly of rows is a scatter", P("assemble", "rows", "index"),
        lambda node, rows, index: _scatter(index, rows, node.params["shape"][0], True), _is_scatter,
    ),
    Rule(
        "one-hot rows times a matrix are a lookup", P("matmul", P("one_hot", "index", bind="hot"), "w"),
        lambda node, index, hot, w: _lookup(w, index, False), _is_one_hot_product,
    ),
    Rule("product before lookup", P("matmul", P("lookup", ..., bind="rows"), "w"), _product_first, _table_is_smaller),
    Rule("bias before lookup", P("add", P("lookup", ..., bind="rows"), "b"), _bias_first, _bias_fits),
    Rule("slice of a lookup", P("slice", P("lookup", ..., bind="rows")), _slice_of_lookup),
    Rule(
        "product after scatter", P("scatter", "index", P("matmul", "x", "w")),
        lambda node, index, x, w: _scatter(index, x, **node.params) @ w, _scattered_product,
    ),
    Rule(
        "weight gradient of one-hot rows is a scatter", P("contract", P("one_hot", "index", bind="hot"), "g"),
        lambda node, index, hot, g: _scatter(index, g, node.shape[0], False), _hot_contracted,
    ),
    Rule(
        "weight gradient of looked-up rows", P("contract", P("lookup", ..., bind="rows"), "g"),
        _contracted_lookup, _rows_contracted,
    ),
]  # fmt: skip


# Fusion ---------------------------------------------------------------------------------------------------------------


def _addend_fits(rewriter: Rewriter, node: Tensor, b: Bindings) -> bool:
    c, product = b["c"], b["product"]
    return (
        node.is_float
        and rewriter.uses[product.serial] == 1
        and product.shape == node.shape
        and c.dtype == node.dtype
        and b["w"].ndim == 2
        and b["x"].ndim >= 2
    )


def _matmul_add(node: Tensor, c: Tensor, x: Tensor, w: Tensor, product: Tensor) -> Tensor:
    return replacement_for(node, MATMUL_ADD, (c, x, w))


_ADDED_TO = P("matmul", "x", "w", bind="product")
FOLD = [
    Rule("addition into a product", P("add", "c", _ADDED_TO), _matmul_add, _addend_fits),
    Rule("addition into a product", P("add", _ADDED_TO, "c"), _matmul_add, _addend_fits),
]


class _LineKernels(dict):
    """The kernel of a gradient line by dtype."""

    def __init__(self, op: Op, i: int) -> None:
        super().__init__()
        self.op, self.i = op, i

    def __missing__(self, dtype: np.dtype) -> Any:
        self[dtype] = self.op.kernels.rule(self.i, dtype)[0]
        return self[dtype]


@cache
def fused_line(op: Op, i: int) -> Op:
    """The compiled gradient line `i` of an elementwise op as an op of its own."""
    kernels = _LineKernels(op, i)

    def run(*arrays: np.ndarray) -> Any:
        return kernels[arrays[-1].dtype](*arrays)

    def shape(*specs: Spec) -> Spec:
        return Spec(stretched(*(s.shape for s in specs)), specs[-1].dtype)

    return Op(
        f"{op.name}_vjp{i}", run, shape, "it is made by the compiler", None, f"{op.name}'", f"{op.name}'", kernels
    )


def gradient_lines() -> list[Rule]:
    """For each gradient line of more than one operation: what it records becomes its fused kernel."""
    rules = []
    for op in registry.values():
        if op.kernels is None or type(op.vjp) is not tuple or op.kernels.condition:
            continue
        for i, line in enumerate(op.vjp):
            made = [_line_rule(op, i, line, np.dtype(t)) for t in (np.float32, np.float64)]
            rules += [rule for rule in made if rule is not None]
    return rules


@cache  # recording a line takes longer than the small programs that need it
def _line_rule(op: Op, i: int, line: Any, dtype: np.dtype) -> Rule | None:
    if line in (ew.identity_rule, ew.zero_rule):
        return None
    arity = op.kernels.arity
    names = ["g", "y", *(f"x{k}" for k in range(arity))]
    given = [leaf(Spec((2,), dtype), name=n) for n in names]
    recorded = line(*given)
    pattern = _pattern_of(recorded, {t.serial: t.name for t in given})
    if pattern is None or all(type(p) is str for p in pattern.inputs):
        return None
    fused = op, i

    def replacement(node: Tensor, **bound: Tensor) -> Tensor | None:
        rule = op.kernels.rule(i, node.dtype)
        if rule is None:
            return None
        return replacement_for(node, fused_line(*fused), tuple([bound[names[k]] for k in rule[1]]))

    def fits(rewriter: Rewriter, node: Tensor, b: Bindings) -> bool:
        same = node.dtype == dtype and all(t.dtype == dtype for t in b.values())
        return same and _inner_used_once(rewriter, pattern, node)

    return Rule(f"gradient line {i} of {op.name}", pattern, replacement, fits)


def _inner_used_once(rewriter: Rewriter, pattern: P, node: Tensor) -> bool:
    """Whether nobody else needs what lies between the names of a pattern and its root."""
    work, met = [(pattern, node)], Counter({node.serial: rewriter.uses[node.serial]})
    while work:
        p, t = work.pop()
        inner = [(q, i) for q, i in zip(p.inputs, t.inputs) if type(q) is P]
        work += {i.serial: (q, i) for q, i in inner if i.serial not in met}.values()
        met.update(i.serial for _, i in inner)
    return all(rewriter.uses[serial] == count for serial, count in met.items())


def _pattern_of(t: Tensor, names: dict[int, Any]) -> Any:
    """The pattern of a recorded gradient line, which has a handful of operations."""
    if t.serial in names:
        return names[t.serial]
    if not t.inputs:
        return number(t.data.item()) if type(t.data) is np.ndarray and t.size == 1 else None
    inputs = [_pattern_of(i, names) for i in t.inputs]
    return None if None in inputs else P(t.op, *inputs)
