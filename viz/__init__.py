"""Pictures of recorded graphs: to DOT text on a time grid, and from there to SVG, PNG and PDF."""

from .dot import to_dot
from .render import Drawing, draw

__all__ = ["Drawing", "draw", "to_dot"]
