"""What a program says of itself: what memory it takes, and where its time goes."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Memory", "Profile"]


@dataclass(frozen=True)
class Memory:
    """What a program keeps.

    Attributes
    ----------
    arena : int
        Bytes of the arena.
    unshared : int
        Bytes that it would take if no memory were used twice.
    largest : list of (label, bytes, first, last)
        The largest pieces at the fullest moment, and the instructions between which they hold something.
    constants : int
        Bytes of constants.
    """

    arena: int
    unshared: int
    largest: list[tuple[str, int, int, int]]
    constants: int

    def __str__(self) -> str:
        lines = [
            f"arena {self.arena:,} bytes; {self.unshared:,} without reuse; constants {self.constants:,}",
            "largest at the fullest moment (bytes, label, instructions):",
        ]
        return "\n".join([*lines, *(f"  {n:>12,}  {label}  {a}-{b}" for label, n, a, b in self.largest)])


@dataclass(frozen=True)
class Profile:
    """Where a run of a program spent its time, in nanoseconds."""

    total: int
    by_op: dict[str, int]
    by_scope: dict[str, int]
    by_time: dict[int | None, int]
    by_instruction: list[int] = field(repr=False)

    def __str__(self) -> str:
        lines = [f"{self.total / 1e6:.3f} ms"]
        for what, table in (("op", self.by_op), ("scope", self.by_scope)):
            lines.append(f"by {what}:")
            ordered = sorted(table.items(), key=lambda item: -item[1])
            lines += [f"  {ns / 1e6:9.3f} ms {100 * ns / max(self.total, 1):5.1f} %  {name}" for name, ns in ordered]
        return "\n".join(lines)
