"""What code names: the variables from outside, and the attributes that it takes of anything."""

from __future__ import annotations

import dis
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import resolve_name
from types import CodeType, ModuleType
from typing import Any

__all__ = ["JUMPS", "Names", "imported", "names_in"]

_ANY = {"getattr", "vars", "attrgetter", "eval", "__dict__", "__getattribute__"}
_CELLS = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", *_CELLS}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "LOAD_SUPER_METHOD"}
JUMPS = {*dis.hasjrel, *dis.hasjabs}  # opcodes


@dataclass(frozen=True, slots=True)
class Names:
    """What a code names.

    Attributes
    ----------
    chains : tuple of tuple of str
        Variables from outside, each with the attributes that are taken of it, in order.
    imports : tuple of (module, names)
        Modules that it imports when it runs, dots in front where that is relative, and what it takes of each.
    read : set of str
        Attributes that are read, and texts, which may be names for ``getattr``.
    needed : set of str
        Those of them that may be read before the same code has set them.
    """

    chains: tuple[tuple[str, ...], ...]
    imports: tuple[tuple[str, tuple[str, ...]], ...]
    read: frozenset[str]
    needed: frozenset[str]

    @property
    def may_need_any(self) -> bool:
        """Whether it may read attributes by names that it makes."""
        return not self.read.isdisjoint(_ANY) or any(chain[0] in _ANY for chain in self.chains)


@lru_cache(4096)
def names_in(code: CodeType) -> Names:
    """What a code names, with the functions defined in it."""
    chains: dict[tuple[str, ...], None] = {}
    imports: list[tuple[str, tuple[str, ...]]] = []
    read: set[str] = set()
    needed: set[str] = set()
    work = [code]
    while work:
        inner = work.pop()
        instructions = [i for i in dis.get_instructions(inner) if i.opname != "EXTENDED_ARG"]  # it belongs to the next
        _add_chains(instructions, chains, code.co_freevars)
        imports += _imports(instructions)
        loads, needs = _attributes(inner, instructions)
        texts = {c for c in inner.co_consts if isinstance(c, str)}
        read |= loads | texts
        needed |= needs | texts
        work += [c for c in inner.co_consts if isinstance(c, CodeType)]
    return Names(tuple(chains), tuple(imports), frozenset(read), frozenset(needed))


def imported(name: str, names: dict[str, Any]) -> ModuleType | None:
    """The module that code with these globals imports by a name; None if it has not been imported yet."""
    try:
        return sys.modules.get(resolve_name(name, names.get("__package__") or names.get("__name__", "")))
    except ImportError:  # relative to no package
        return None


def _imports(instructions: list[dis.Instruction]) -> list[tuple[str, tuple[str, ...]]]:
    """The two instructions before an import load how many dots there are, and the names."""
    return [
        ("." * instructions[k - 2].argval + i.argval, instructions[k - 1].argval or ())
        for k, i in enumerate(instructions)
        if i.opname == "IMPORT_NAME"
    ]


def _add_chains(
    instructions: list[dis.Instruction], chains: dict[tuple[str, ...], None], free: tuple[str, ...]
) -> None:
    """Variables of the code itself that a function defined in it uses are none from outside: only `free` ones are."""
    chain: tuple[str, ...] = ()
    for instruction in instructions:
        kind, name = instruction.opname, instruction.argval
        if chain and kind in _ATTRIBUTES:
            chain = (*chain, name)
            continue
        if chain:
            chains[chain] = None
        chain = (name,) if kind in _LOADS and (kind not in _CELLS or name in free) else ()


def _attributes(code: CodeType, instructions: list[dis.Instruction]) -> tuple[set[str], set[str]]:
    """Attributes that are read, and those of them that are not surely set before, as attributes of ``self``."""
    read: set[str] = set()
    needed: set[str] = set()
    stored: set[str] = set()
    straight = not code.co_exceptiontable  # no instruction before this one is left out
    own = code.co_varnames[:1] if code.co_argcount else ()
    owner: Any = None  # the variable whose attribute is meant
    for instruction in instructions:
        kind, name = instruction.opname, instruction.argval
        of_self = owner in own
        if kind in _ATTRIBUTES or kind == "DELETE_ATTR":
            read.add(name)
            if not (of_self and name in stored):
                needed.add(name)
        elif kind == "STORE_ATTR" and of_self and straight:
            stored.add(name)
        straight = straight and instruction.opcode not in JUMPS
        owner = (name[-1] if isinstance(name, tuple) else name) if "LOAD_FAST" in kind else None
    return read, needed
