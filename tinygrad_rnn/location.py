"""Places in the user's code, as values that tell whether two operations came from the same expression."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import CodeType

__all__ = ["Location", "location"]


@dataclass(frozen=True, slots=True, eq=False)
class Location:
    """An expression of the user's code: file, lines and columns, the same each time that it runs.

    The offset of its instruction is not: since Python 3.11 a loop that has run a few times is specialised, and its
    instructions are counted from another place. Where columns are not kept (``PYTHONNODEBUGRANGES``), the line tells.

    Attributes
    ----------
    line, end_line, column, end_column : int or None
        Lines are counted from 1, columns in bytes from 0, as in :meth:`code.co_positions`.
    whole_line : Location or None
        What all expressions of the line have in common; None for that itself.
    """

    code: CodeType
    line: int
    end_line: int | None = None
    column: int | None = None
    end_column: int | None = None
    whole_line: Location | None = field(default=None, repr=False)
    _hash: int = field(init=False, repr=False)  # that of code objects takes long

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.file, self.code.co_name, self._span)))

    @property
    def file(self) -> str:
        return self.code.co_filename

    @property
    def _span(self) -> tuple[int | None, ...]:
        return self.line, self.end_line, self.column, self.end_column

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, Location):
            return self is other
        same_code = self.code is other.code or (self.file == other.file and self.code == other.code)
        return self._span == other._span and same_code

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


_MOST = 256  # code objects whose tables are kept
_tables: dict[int, tuple[CodeType, list[Location]]] = {}  # a table holds its code, so that the id stays that of it


def location(code: CodeType, offset: int) -> Location:
    """The expression that an instruction belongs to, by a table that is made once for each code object."""
    found = _tables.get(id(code))
    if found is None:
        if len(_tables) >= _MOST:
            _tables.clear()
        found = _tables[id(code)] = code, _table(code)
    return found[1][max(offset, 0) // 2]


def _table(code: CodeType) -> list[Location]:
    """The location of each instruction; instructions of one expression share it."""
    positions = list(code.co_positions())
    positions += [(None, None, None, None)] * (len(code.co_code) // 2 - len(positions))  # a table may be stripped
    lines = {line: Location(code, line or code.co_firstlineno) for line, *_ in positions}
    known = {p: Location(code, lines[p[0]].line, p[1], p[2], p[3], lines[p[0]]) for p in set(positions)}
    return [known[p] for p in positions]
