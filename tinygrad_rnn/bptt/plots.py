"""Where plots are drawn; matplotlib is imported when the first one is."""

from __future__ import annotations

from typing import Any

__all__ = ["new_axes"]


def new_axes(width: float, height: float) -> Any:
    """The axes of a new figure of that many inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'tinygrad-rnn[plots]'") from error
    return Figure(figsize=(width, height), layout="constrained").add_subplot()
