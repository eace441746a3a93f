"""Hypothesis strategies of what operations, cells and layers are tested with.

All take keyword arguments only, check them at once, and say what they shrink to. Floats are float64 unless a dtype is
given, as comparisons with differences need it; they are finite, and neither subnormal nor negative zeros.
"""

from .arrays import arrays, broadcastable_shapes, dtypes, shapes, tensors
from .graphs import graphs, recurrent_models
from .models import MakeOptimizer, cells, modules, optimizers
from .sequences import Sequences, one_hot_batches, sequences, token_batches, trees

__all__ = [
    "MakeOptimizer", "Sequences", "arrays", "broadcastable_shapes", "cells", "dtypes", "graphs", "modules",
    "one_hot_batches", "optimizers", "recurrent_models", "sequences", "shapes", "tensors", "token_batches", "trees",
]  # fmt: skip
