"""Building blocks of models: modules that own parameters, initialisers, layers, recurrent cells and their unrolling."""

from . import init
from .layers import Dropout, Embedding, LayerNorm, Linear, Sequential
from .module import Module
from .recurrent import RNN, RecurrentOutput, RNNCell, unroll

__all__ = [
    "RNN", "Dropout", "Embedding", "LayerNorm", "Linear", "Module", "RNNCell", "RecurrentOutput", "Sequential", "init",
    "unroll",
]  # fmt: skip
