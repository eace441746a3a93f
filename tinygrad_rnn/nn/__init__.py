"""Building blocks of models: modules that own parameters, initialisers, layers, recurrent cells and their unrolling."""

from typing import Any

from ..errors import fail as _fail
from ..foreign import LAYERS as _LAYERS
from ..foreign import replacement as _replacement
from . import init, metrics, wrappers
from .attention import AdditiveAttention, AttentionOutput, MultiplicativeAttention
from .cell import Cell, Gate, Stepped
from .cells import GRUCell, LSTMCell, LSTMState, RNNCell
from .convert import from_keras_weights, from_torch_state_dict, to_keras_weights, to_torch_state_dict
from .crf import CRF
from .decoding import Decoded, Hypothesis, beam_search, greedy, sample
from .layers import Dropout, Embedding, LayerNorm, Linear, Sequential
from .models import LanguageModel, ManyToMany, ManyToOne, OneToMany, OneToOne
from .module import Module
from .recurrent import GRU, LSTM, RNN, Recurrent
from .seq2seq import EncoderDecoder, EncoderDecoderOutput, Translation
from .sequences import pad_sequences, sequence_mask
from .tree import ChildSumTreeLSTMCell, RecursiveCell, TreeLSTMCell, TreeNetwork, TreeOutput, schedule
from .truncation import Chunk, tbptt
from .unrolling import Directions, RecurrentOutput, unroll
from .wrappers import DeepTransition, DroppedState, Residual, VariationalDropout, Zoneout

__all__ = [
    "CRF", "GRU", "LSTM", "RNN", "AdditiveAttention", "AttentionOutput", "Cell", "ChildSumTreeLSTMCell", "Chunk",
    "Decoded", "DeepTransition", "Directions", "Dropout", "DroppedState", "Embedding", "EncoderDecoder",
    "EncoderDecoderOutput", "GRUCell", "Gate", "Hypothesis", "LSTMCell", "LSTMState", "LanguageModel", "LayerNorm",
    "Linear", "ManyToMany", "ManyToOne", "Module", "MultiplicativeAttention", "OneToMany", "OneToOne", "RNNCell",
    "Recurrent", "RecurrentOutput", "RecursiveCell", "Residual", "Sequential", "Stepped", "Translation",
    "TreeLSTMCell", "TreeNetwork", "TreeOutput", "VariationalDropout", "Zoneout", "beam_search", "from_keras_weights",
    "from_torch_state_dict", "greedy", "init", "metrics", "pad_sequences", "sample", "schedule", "sequence_mask",
    "tbptt", "to_keras_weights", "to_torch_state_dict", "unroll", "wrappers",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    raise _fail(AttributeError, f"module {__name__!r} has no attribute {name!r}", hint=_replacement(name, _LAYERS))
