"""Pictures of recorded graphs: to DOT text on a time grid, and from there to SVG, PNG and PDF."""

from .drawing import Drawing, compare, draw, to_dot

__all__ = ["Drawing", "compare", "draw", "to_dot"]
