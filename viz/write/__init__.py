"""From a layout to text in a format, and from DOT text to pictures by a renderer.

Read in this order: ``strokes`` (what formats share), ``dot``, ``svg``, ``tikz``, ``mermaid``; for the page to explore
``mathml``, ``details``, ``frames`` and ``page``; ``backends``.
"""
