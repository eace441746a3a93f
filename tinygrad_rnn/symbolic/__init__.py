"""Equations of recorded models: expressions read from graphs, simplified, rolled over time, and written."""

from ..calls import answers
from .equation import Equation
from .equations import Equations, equations
from .expr import Node, Number, Symbol

__all__ = ["Equation", "Equations", "Node", "Number", "Symbol", "equations"]

answers(__name__)
