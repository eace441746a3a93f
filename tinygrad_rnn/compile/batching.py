"""Rules about many nodes at once: what a loop over time records a thousand times is computed once.

Products of different steps with one matrix become one product where no step needs the result of another; the weight
gradients of all steps become one sum of products; slices that cover a tensor become that tensor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ..ops.core import apply
from ..ops.elementwise import add
from ..ops.index import ASSEMBLE, INDEX, ONE_HOT, SLICE, result_shape
from ..ops.linalg import MATMUL
from ..ops.named import op_named
from ..ops.neural import CROSS_ENTROPY as LOSS
from ..ops.neural import SURPLUS
from ..ops.reduce import sum as reduce_sum
from ..ops.shape import CONCATENATE, RESHAPE, STACK, TRANSPOSE, reshape, stack
from ..scope import Place
from ..tensor import Op, Spec, Tensor, replacement_for
from .capture import inside
from .compiler_ops import CONTRACT, CROSS_ENTROPY_SURPLUS, LOOKUP
from .rewrite import GroupRule, Rewriter

__all__ = ["BIASES", "CROSS_ENTROPY", "OVER_TIME", "STACKS", "taken_at"]

Pair = tuple[Tensor, Tensor]


# Stacks of slices, slices of stacks -----------------------------------------------------------------------------------


def taken_at(t: Tensor) -> tuple[int, int] | None:
    """``(axis, i)`` if a node is entry `i` of its input along one axis, all of the other axes."""
    if t.op is not SLICE:
        return None
    index = t.params["index"]
    parts = index if type(index) is tuple else (index,)
    axis = len(parts) - 1
    if axis < 0 or type(parts[axis]) is not int or any(p != slice(None) for p in parts[:axis]):
        return None
    return axis, parts[axis] % t.inputs[0].shape[axis]


def _entries(parts: Sequence[Tensor]) -> tuple[Tensor | None, int, list[int]]:
    """The tensor whose entries along an axis `parts` are, each of them once; the axis, and the parts in its order."""
    first = taken_at(parts[0])
    if first is None:
        return None, 0, []
    axis, whole = first[0], parts[0].inputs[0]
    taken = [taken_at(t) if t.inputs and t.inputs[0] is whole else None for t in parts]
    places = [at[1] for at in taken if at is not None and at[0] == axis]
    complete = len(places) == len(parts) and sorted(places) == list(range(whole.shape[axis]))
    return whole if complete else None, axis, sorted(range(len(places)), key=places.__getitem__)


def _stacks_of_slices(rewriter: Rewriter) -> dict[int, Tensor]:
    """A stack of all entries of a tensor, in order and along the same axis, is that tensor."""
    found = {}
    for t in rewriter.nodes:
        if t.op is STACK:
            whole, axis, order = _entries(t.inputs)
            if whole is not None and axis == t.params["axis"] and order == sorted(order):
                found[t.serial] = whole
    return found


_SHARED: dict[Op, tuple[int, ...]] = {ONE_HOT: (), LOOKUP: (0,), INDEX: (0,)}  # inputs that all members have in common


def _stacks_of_lookups(rewriter: Rewriter) -> dict[int, Tensor]:
    """A stack of the same lookup at each step is one lookup with a stack of the indices."""
    found = {}
    for t in rewriter.nodes:
        first = t.inputs[0] if t.op is STACK else None
        if first is None or first.op not in _SHARED or t.params["axis"] > first.inputs[-1].ndim:
            continue
        shared = [first.inputs[k] for k in _SHARED[first.op]]
        if len(first.inputs) != len(shared) + 1 or (first.op is INDEX and first.params["index"] != ("array",)):
            continue
        if all(_same_call(i, first, shared) for i in t.inputs):
            found[t.serial] = inside(t, lambda t=t, first=first, shared=shared: apply(
                first.op, (*shared, stack([i.inputs[-1] for i in t.inputs], t.params["axis"])), first.params
            ))  # fmt: skip
    return found


def _same_call(t: Tensor, first: Tensor, shared: list[Tensor]) -> bool:
    same = t.op is first.op and t.params == first.params and t.inputs[-1].dtype == first.inputs[-1].dtype
    return same and all(a is b for a, b in zip(t.inputs, shared))


def _assembled(rewriter: Rewriter) -> dict[int, Tensor]:
    """An assembly whose parts cover it, each place once, is a stack or a concatenation."""
    found = {}
    for t in rewriter.nodes:
        if t.op is ASSEMBLE and len(t.inputs) == len(t.params["places"]) and _parts_fill(t):
            joined = _covering(t)
            if joined is not None:
                found[t.serial] = joined
    return found


def _parts_fill(t: Tensor) -> bool:
    """Whether each part has the shape of its place, into which it might also be broadcast."""
    whole = Spec(t.params["shape"])
    return all(i.shape == result_shape(whole, p, ()) for i, p in zip(t.inputs, t.params["places"], strict=True))


def _covering(t: Tensor) -> Tensor | None:
    shape, places = t.params["shape"], t.params["places"]
    axis = max((k for place in places for k, p in enumerate(place) if p != slice(None)), default=None)
    if axis is None:
        return t.inputs[0] if len(places) == 1 and t.inputs[0].shape == shape else None
    if any(p != slice(None) for place in places for p in place[:axis]) or any(len(p) <= axis for p in places):
        return None
    cuts = [place[axis] for place in places]
    if any(len(p) > axis + 1 and any(q != slice(None) for q in p[axis + 1 :]) for p in places):
        return None
    if all(type(c) is int for c in cuts):
        order = sorted(range(len(cuts)), key=lambda k: cuts[k] % shape[axis])
        if [cuts[k] % shape[axis] for k in order] == list(range(shape[axis])):
            return inside(t, lambda: stack([t.inputs[k] for k in order], axis))
        return None
    if not all(isinstance(c, slice) for c in cuts):
        return None
    ranges = [range(*c.indices(shape[axis])) for c in cuts]
    order = sorted(range(len(cuts)), key=lambda k: ranges[k].start)
    if [n for k in order for n in ranges[k]] != list(range(shape[axis])):
        return None
    parts = tuple([t.inputs[k] for k in order if len(ranges[k])]) or t.inputs[:1]
    return inside(t, lambda: apply(CONCATENATE, parts, {"axis": axis}))


def _same_places(rewriter: Rewriter) -> dict[int, Tensor]:
    """An assembly with several parts of one shape at one place has their sum there."""
    found = {}
    for t in rewriter.nodes:
        places = t.params["places"] if t.op is ASSEMBLE else ()
        if len(t.inputs) != len(places):  # there are indices among them
            continue
        parts: dict[Any, tuple[Any, list[Tensor]]] = {}
        for place, part in zip(places, t.inputs, strict=True):
            parts.setdefault((repr(place), part.shape), (place, []))[1].append(part)
        if len(parts) < len(places):
            params = {"shape": t.params["shape"], "places": tuple([place for place, _ in parts.values()])}
            found[t.serial] = inside(t, lambda t=t, parts=parts, params=params: apply(
                t.op, tuple([_total(same) for _, same in parts.values()]), params
            ))  # fmt: skip
    return found


def _total(addends: list[Tensor]) -> Tensor:
    """Neighbours are added, and then their sums: none is ever a long row."""
    while len(addends) > 1:
        pairs = [a + b for a, b in zip(addends[::2], addends[1::2])]
        addends = pairs + addends[2 * len(pairs) :]
    return addends[0]


def _scatters(rewriter: Rewriter) -> dict[int, Tensor]:
    """An assembly of rows at indices of several steps is one with a stack of them."""
    found = {}
    for t in rewriter.nodes:
        places = t.params["places"] if t.op is ASSEMBLE else ()
        if len(places) > 1 and t.ndim == 2 and all(p == ("array",) for p in places):
            rows, indices = t.inputs[::2], t.inputs[1::2]
            same = len({r.shape for r in rows}) == len({(i.shape, i.dtype) for i in indices}) == 1
            if same and rows[0].shape == (*indices[0].shape, t.shape[1]):
                order = sorted(range(len(rows)), key=lambda k: rewriter.position(indices[k]))
                parts = [stack([group[k] for k in order]) for group in (rows, indices)]
                params = {"shape": t.params["shape"], "places": (("array",),)}
                found[t.serial] = inside(t, lambda t=t, parts=parts, params=params: apply(t.op, tuple(parts), params))
    return found


STACKS = [
    GroupRule("stack of all slices", _stacks_of_slices),
    GroupRule("stack of lookups", _stacks_of_lookups),
    GroupRule("parts at the same place", _same_places),
    GroupRule("assembly of all parts", _assembled),
    GroupRule("assembly of rows over time", _scatters),
]


# Products batched over time -------------------------------------------------------------------------------------------


def _batched(rewriter: Rewriter) -> dict[int, Tensor]:
    """Products of several matrices with one, none of which needs another, as one product of a stack."""
    groups: dict[Any, list[tuple[int, Tensor]]] = defaultdict(list)
    for k, t in enumerate(rewriter.nodes):
        if t.op is MATMUL and t.inputs[0].ndim == 2 == t.inputs[1].ndim and t.inputs[0].op is not TRANSPOSE:
            groups[t.inputs[1].serial, t.inputs[0].shape].append((k, t))
    for members in groups.values():
        found: dict[int, Tensor] = {}
        key = tuple([t.serial for _, t in members])
        for together in _independent(rewriter, members) if len(members) > 1 and key not in rewriter.chains else ():
            found |= _one_product(_in_order(rewriter, together))
        if found:
            return found  # other groups are looked at in what comes of it
        rewriter.chains.add(key)
    return {}


def _independent(rewriter: Rewriter, members: list[tuple[int, Tensor]]) -> list[list[Tensor]]:
    """Sets of members that are computed from equally many others, one after the other, so from none of their set.

    Members come with their places among the nodes.
    """
    serials = {t.serial for _, t in members}
    depth: dict[int, int] = {}
    for t in rewriter.nodes[members[0][0] : members[-1][0] + 1]:
        deepest = 0
        for i in t.inputs:
            before = depth.get(i.serial, 0)
            if before > deepest:
                deepest = before
        if deepest or t.serial in serials:
            depth[t.serial] = deepest + (t.serial in serials)
    levels: dict[int, list[Tensor]] = defaultdict(list)
    for _, t in members:
        levels[depth[t.serial]].append(t)
    return [level for level in levels.values() if len(level) > 1]


def _in_order(rewriter: Rewriter, members: list[Tensor]) -> list[Tensor]:
    """By the index of the slices that are multiplied, else by time, else as recorded."""
    taken = [taken_at(t.inputs[0]) for t in members]
    times = [t.time for t in members]
    if None not in taken and len({(t.inputs[0].inputs[0].serial, at[0]) for t, at in zip(members, taken) if at}) == 1:
        keys: list[Any] = [at[1] for at in taken if at]
    elif None not in times and len(set(times)) == len(times):
        keys = times
    else:
        keys = [rewriter.position(t) for t in members]
    return [members[k] for k in sorted(range(len(members)), key=keys.__getitem__)]


def _one_product(members: list[Tensor]) -> dict[int, Tensor]:
    w = members[0].inputs[1]
    last = members[-1]
    taken = taken_at(members[0].inputs[0])
    axis = taken[0] if taken is not None and taken[0] < 2 else 0
    alone = len({t.time for t in members}) == 1
    at = last.place if alone else Place(last.scope, None, last.place.backward)  # it belongs to no step alone
    product = inside(last, lambda: stack([t.inputs[0] for t in members], axis) @ w, at)
    lead = (slice(None),) * axis
    return {t.serial: replacement_for(t, SLICE, (product,), {"index": (*lead, k)}) for k, t in enumerate(members)}


# Weight gradients -----------------------------------------------------------------------------------------------------


def _contracted(rewriter: Rewriter) -> dict[int, Tensor]:
    """A sum of products ``aᵀ @ g`` is one contraction over the rows of all of them."""
    found = {}
    for t in _sums_of_products(rewriter):
        new = inside(t, lambda t=t: _shortened(t) if t.op is CONTRACT else _sum_of_products(rewriter, t))
        if new is not None:
            found[t.serial] = new
    return found


def _shortened(t: Tensor) -> Tensor | None:
    pairs = list(zip(t.inputs[::2], t.inputs[1::2], strict=True))
    fewer = _merged(pairs)
    return _contraction(fewer) if len(fewer) < len(pairs) else None


def _contraction(pairs: list[Pair]) -> Tensor:
    return apply(CONTRACT, tuple([x for pair in pairs for x in pair]))


def _sums_of_products(rewriter: Rewriter) -> list[Tensor]:
    """Weight gradients and sums with one among the addends; not those that are addends of another sum themselves."""
    found: dict[int, Tensor] = {}
    for t in rewriter.nodes:
        if t.op is CONTRACT or (t.op is MATMUL and t.inputs[0].op is TRANSPOSE and t.is_float):
            found[t.serial] = t
        elif t.op is add.op and t.is_float:
            addends = [i for i in t.inputs if i.serial in found and i.shape == t.shape]
            if addends:
                found[t.serial] = t
            for i in addends:
                if rewriter.uses[i.serial] == 1 and i.op is not CONTRACT:
                    found[i.serial] = t
    return [t for serial, t in found.items() if t.serial == serial]


def _sum_of_products(rewriter: Rewriter, t: Tensor) -> Tensor | None:
    products: list[tuple[Tensor, Pair]] = []
    others: list[Tensor] = []
    for node in _addends(rewriter, t):
        factors = _factors(node) if node is t or rewriter.uses[node.serial] == 1 else None
        if factors is not None:
            products.append((node, factors))
        else:
            others.append(node)
    if len(products) < 2 and not any(node.op is MATMUL and a.ndim > 2 for node, (a, _) in products):
        return None
    pairs = sorted([pair for _, pair in products], key=lambda pair: rewriter.position(pair[0]))
    total = _contraction(_merged(pairs))
    for other in others:
        total = total + other
    return total


def _merged(pairs: list[Pair]) -> list[Pair]:
    """Pairs of one shape together; many of them as one pair of stacks where they are slices of one tensor."""
    groups: dict[Any, list[Pair]] = defaultdict(list)
    for a, g in pairs:
        groups[a.shape, g.shape].append((a, g))
    return [pair for group in groups.values() for pair in _as_stacks(group)]


def _as_stacks(group: list[Pair]) -> list[Pair]:
    """Slices that make up a tensor are that tensor; rows looked up in one table are one lookup."""
    sides = [[pair[side] for pair in group] for side in range(2)]
    for side in range(2):
        whole, axis, order = _entries(sides[side])
        if whole is not None and axis < whole.ndim - 1:
            other = stack([sides[1 - side][k] for k in order], axis)
            return [(whole, other) if side == 0 else (other, whole)]
    first = sides[0][0]
    rows = first.op is INDEX and first.params["index"] == ("array",)
    if len(group) > 1 and (rows or first.op in (ONE_HOT, LOOKUP)):
        shared = first.inputs[:-1]
        if all(_same_call(a, first, list(shared)) for a in sides[0]):
            return [(stack(sides[0]), stack(sides[1]))]
    return group


def _factors(t: Tensor) -> Pair | None:
    """``(a, g)`` if a node is ``aᵀ @ g``."""
    if t.op is CONTRACT and len(t.inputs) == 2:
        return t.inputs[0], t.inputs[1]
    if t.op is not MATMUL or t.inputs[0].op is not TRANSPOSE or t.inputs[1].ndim != 2:
        return None
    left = t.inputs[0]
    if left.params["axes"] != (1, 0):
        return None
    return _unflattened(left.inputs[0], t.inputs[1])


def _unflattened(a: Tensor, g: Tensor) -> Pair:
    """The factors before their leading axes were merged, if both were in the same way."""
    if a.op is RESHAPE and g.op is RESHAPE:
        x, y = a.inputs[0], g.inputs[0]
        if (
            x.shape[:-1] == y.shape[:-1]
            and x.shape[-1:] == a.shape[-1:]
            and y.shape[-1:] == g.shape[-1:]
            and x.ndim > 1
        ):
            return x, y
    return a, g


OVER_TIME = [
    *STACKS,
    GroupRule("weight gradients over time", _contracted),
    GroupRule("products over time", _batched),
]


# Bias gradients -------------------------------------------------------------------------------------------------------


_SMALL = 2048  # entries of a part: larger ones are best summed while they are in the processor's cache


def _summed(rewriter: Rewriter) -> dict[int, Tensor]:
    """A sum with the rows of all parts of a stack among its addends has the rows of the stack instead."""
    stacks: dict[int, list[Tensor]] = defaultdict(list)
    for t in rewriter.nodes:
        if t.op is STACK and t.params["axis"] == 0 and t.ndim == 3 and t.inputs[0].size <= _SMALL:
            for part in t.inputs:
                stacks[part.serial].append(t)
    found = {}
    for t, addends in _sums(rewriter) if stacks else ():
        rows = {x.serial: k for k, a in enumerate(addends) if (x := _summed_rows(a)) is not None}
        left, wholes = dict(enumerate(addends)), []
        for whole in {s.serial: s for serial in rows for s in stacks[serial]}.values():
            places = {rows.get(part.serial, -1) for part in whole.inputs}
            if len(places) == len(whole.inputs) > 1 and places <= left.keys():
                wholes.append(whole)
                for k in places:
                    del left[k]
        if wholes:
            found[t.serial] = inside(t, lambda t=t, wholes=wholes, left=left: _total(
                [reshape(reduce_sum(whole, (0, 1)), t.shape) for whole in wholes] + list(left.values())
            ))  # fmt: skip
    return found


def _sums(rewriter: Rewriter) -> list[tuple[Tensor, list[Tensor]]]:
    """Sums that are not addends of another one, with all that they add up."""
    sums = [t for t in rewriter.nodes if t.op is add.op and all(i.spec == t.spec for i in t.inputs) and t.is_float]
    inner = {i.serial for t in sums for i in t.inputs if rewriter.uses[i.serial] == 1}
    return [(t, _addends(rewriter, t)) for t in sums if t.serial not in inner]


def _addends(rewriter: Rewriter, t: Tensor) -> list[Tensor]:
    """All that a node adds up, also by way of sums of its shape that nobody else uses."""
    found, work = [], [t]
    while work:
        node = work.pop()
        alone = node.op is add.op and (node is t or rewriter.uses[node.serial] == 1)
        if alone and all(i.shape == t.shape for i in node.inputs):
            work += node.inputs[::-1]
        else:
            found.append(node)
    return found


def _summed_rows(t: Tensor) -> Tensor | None:
    """The matrix of which a node is the sum of the rows, or the only one."""
    x = t
    while x.op is RESHAPE:
        x = x.inputs[0]
    summed = x.op is _SUM and x.params["axis"] == (0,)
    x = x.inputs[0] if summed else x
    matrix = x.ndim == 2 and x.shape[-1] == t.size and x.dtype == t.dtype
    return x if matrix and (summed or x.shape[0] == 1) else None


_SUM = op_named("sum")
BIASES = [GroupRule("bias gradients over time", _summed)]


# Cross-entropy --------------------------------------------------------------------------------------------------------


def _cross_entropies(rewriter: Rewriter) -> dict[int, Tensor]:
    """A loss and its slope from one pass of exponentials."""
    losses = {(t.inputs[0].serial, t.inputs[1].serial): t for t in rewriter.nodes if t.op is LOSS}
    found: dict[int, Tensor] = {}
    for t in rewriter.nodes:
        if t.op is SURPLUS:
            first = losses.get((t.inputs[0].serial, t.inputs[1].serial), t)
            packed = inside(first, lambda t=t: apply(CROSS_ENTROPY_SURPLUS, t.inputs))
            found[t.serial] = inside(t, lambda packed=packed: packed[..., :-1])
            if first is not t:
                found[first.serial] = inside(first, lambda packed=packed: packed[..., -1])
    return found


CROSS_ENTROPY = [GroupRule("softmax with cross-entropy", _cross_entropies)]
