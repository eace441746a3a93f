"""From texts, sequences and arrays to batches: what every epoch gives is known, and can be gone on with exactly.

A batch is a dict of arrays whose names are arguments of the loss, so that ``model.loss(**batch)`` is all that training
needs. Everything that gives batches here is iterated over once for each epoch, knows its position, and gives it by
``state_dict()``; nothing is drawn but from an explicit generator.
"""

from ..calls import answers
from .batches import Batches
from .prefetch import Prefetch
from .source import Source
from .splits import split
from .vocabulary import Vocabulary
from .windows import Windows

__all__ = ["Batches", "Prefetch", "Source", "Vocabulary", "Windows", "split"]

answers(__name__)
