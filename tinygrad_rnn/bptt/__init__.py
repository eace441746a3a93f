"""Backpropagation through time, looked at: which parts a gradient has, how far it flows, and what helps."""

from .contributions import Contributions, contributions

__all__ = ["Contributions", "contributions"]
