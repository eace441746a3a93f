"""What quantities are called: the user's names, and sensible ones where there are none, all of them different."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Family", "baptised", "singular"]

# Names for what has none, by role, the best first.
POOLS: dict[str, tuple[str, ...]] = {
    "state": ("h", "s", "q"),
    "activation": ("h", "u", "v", "g", "p", "r", "q"),
    "affine": ("y", "a", "z"), "output": ("y", "o"),
    "loss": ("L", "E", "J"), "data": ("x", "d", "e"), "index": ("k", "n", "m", "j"), "start": ("s", "e"),
    "row": ("x", "e"), "term": ("v", "u", "w"),
    "matrix": ("W", "U", "V"), "vector": ("b", "c"), "scalar": ("w",), "mask": ("m",),
}  # fmt: skip
ARROWS = {"forward": "→", "backward": "←"}
_SHORT = {"encoder": "enc", "decoder": "dec"}
_CELL = re.compile(r"^(.+?)_?cell(\d*)$")
_DIGITS = re.compile(r"^(.*?)(\d+)$")


@dataclass(eq=False, slots=True)
class Family:
    """One quantity over all time steps.

    Attributes
    ----------
    key : hashable
    name : str or None
        As the user has it.
    role : str
        Which pool to take a name from where there is none.
    path : tuple of str
        Scopes, from the outside in.
    times : set of int or None
        The steps that it is computed in.
    """

    key: Hashable
    name: str | None
    role: str
    path: tuple[str, ...]
    times: set[int | None] = field(default_factory=set)
    base: str = ""
    sup: tuple[str, ...] = ()


def singular(name: str) -> str:
    """What one of several is called: ``xs`` is made of ``x``."""
    return name[:-1] if len(name) > 1 and name.endswith("s") and not name.endswith("ss") else name


def baptised(families: Iterable[Family]) -> None:
    """Give every family a base and what tells it from others of that base."""
    families = list(families)
    by_base: dict[Any, list[Family]] = defaultdict(list)
    for f in families:
        if f.name:
            f.base, f.sup = _numbered(f.name)
            by_base[f.base, f.sup].append(f)
    for alike in by_base.values():
        _tell_apart(alike)
    taken = {base for base, _ in by_base}
    for f in families:
        if not f.name:
            f.base = _free(POOLS[f.role], taken)
            taken.add(f.base)


def _numbered(name: str) -> tuple[str, tuple[str, ...]]:
    """A parameter from a list, as ``W.0``, is the first of several W."""
    stem, dot, number = name.rpartition(".")
    return (stem, (f"({int(number) + 1})",)) if dot and number.isdecimal() else (name, ())


def _free(pool: Sequence[str], taken: set[str]) -> str:
    for name in pool:
        if name not in taken:
            return name
    k = len(pool)
    while f"{pool[0]}_{k + 1}" in taken:
        k += 1
    return f"{pool[0]}_{k + 1}"


def _tell_apart(alike: list[Family]) -> None:
    for f in alike:
        f.path = tuple(_SHORT.get(part, _CELL.sub(r"\1\2", part)) for part in f.path)
    paths = dict.fromkeys(f.path for f in alike)
    times = [t for f in alike for t in f.times]
    if len(alike) == 1 or (None not in times and len(set(times)) == len(times)):
        return  # one quantity, or one that is computed by several parts of the model in turn
    marks = distinguishing(list(paths))
    for path in paths:
        same = [f for f in alike if f.path == path]
        for k, f in enumerate(same):
            f.sup += marks[path] + (_ordinal(k, len(same)),) * (len(same) > 1 and k > 0)


def _ordinal(k: int, count: int) -> str:
    return "′" * k if count <= 3 else f"({k + 1})"


def distinguishing(paths: list[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """For each of several scope paths the least that tells it from the others: a layer, a direction, a part."""
    if len(paths) == 1:
        return {paths[0]: ()}
    depth = max(map(len, paths))
    padded = {p: p + ("",) * (depth - len(p)) for p in paths}
    columns = [[padded[p][k] for p in paths] for k in range(depth)]
    telling = _least(columns)
    marks = {p: _short([padded[p][k] for k in telling], [columns[k] for k in telling]) for p in paths}
    if len(set(marks.values())) < len(paths):
        marks = {p: tuple(padded[p][k] for k in telling if padded[p][k]) for p in paths}
    return marks


def _least(columns: list[list[str]]) -> list[int]:
    """The columns that tell all rows apart: one where that will do, else those that say anything."""
    telling = [k for k, column in enumerate(columns) if len(set(column)) > 1]
    alone = [k for k in telling if len(set(columns[k])) == len(columns[k])]
    return alone[:1] or telling


def _short(parts: list[str], columns: list[list[str]]) -> tuple[str, ...]:
    shown: list[str] = []
    for part, column in zip(parts, columns):
        numbers = [_DIGITS.match(c) for c in column if c]
        own = _DIGITS.match(part)
        if part in ARROWS:
            shown.append(ARROWS[part])
        elif own and all(numbers):
            if len({m.group(2) for m in numbers if m}) > 1:
                shown.append(f"({int(own.group(2)) + 1})")
        elif part:
            shown.append(part)
    words = [s for s in shown if s[0] not in "(→←"]
    marks = [s for s in shown if s[0] in "(→←"]
    return (*(("/".join(words),) if words else ()), *marks)
