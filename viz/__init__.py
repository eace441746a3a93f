"""Pictures of recorded graphs: to DOT text on a time grid, and from there to SVG, PNG and PDF.

Read the rooms in the order in which data flows: ``read`` (what is asked of a graph), ``scene`` (boxes, links, colours),
``layout`` (coordinates), ``write`` (formats); then ``compare``, and ``drawing``, which puts all of it together. A room
imports only from those before it.
"""

from .drawing import Drawing, compare, draw, to_dot

__all__ = ["Drawing", "compare", "draw", "to_dot"]
