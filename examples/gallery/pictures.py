"""What the gallery shows: for each picture its name, the command that draws it, and what it illustrates."""

from __future__ import annotations

from typing import NamedTuple


class Picture(NamedTuple):
    name: str
    command: str  # of ``python -m tinygrad_rnn draw``
    says: str


class Section(NamedTuple):
    title: str
    says: str
    pictures: list[Picture]


CELLS = Section(
    "Cells",
    "What is computed in one time step. States run from left to right, each in its own colour; inputs come in from "
    "below.",
    [
        Picture(
            "rnn", "rnn --level op",
            "Elman's cell: the input and the state before are weighted, added up and squashed; what comes out is the "
            "new state, and every step uses the same weights.",
        ),
        Picture(
            "rnn-rolled", "rnn --view rolled",
            "The same network as a loop. The black square keeps a state for one step, which makes the loop computable.",
        ),
        Picture(
            "rnn-backward", "rnn --steps 2 --level op --direction both",
            "With its gradients: the error runs against the arrows of the state, and each step adds its share to the "
            "gradients of the weights that all steps have in common.",
        ),
        Picture(
            "lstm", "lstm",
            "An LSTM writes to its cell state c through the input gate, keeps it through the forget gate, and shows it "
            "through the output gate. On its way through time c is only scaled and added to.",
        ),
        Picture(
            "lstm-operations", "lstm --steps 2 --level op",
            "As it is computed: one product for all four gates, then a slice for each of them.",
        ),
        Picture(
            "lstm-rolled", "lstm --view rolled",
            "Two states, so two delays: the hidden state goes back to all gates, the cell state to the sum alone.",
        ),
        Picture(
            "lstm-backward", "lstm --steps 3 --level cell --direction both",
            "Backwards every cell hands the gradients of both its states to the cell before it, and adds its share to "
            "those of the weights; dashed is what it looks up of the forward pass.",
        ),
        Picture(
            "logistic-lstm", "logistic-lstm --steps 2",
            "Selective write, forget and read with a logistic function in place of both hyperbolic tangents.",
        ),
        Picture(
            "ungated-lstm", "ungated-lstm",
            "Without a forget gate the cell state can only be added to; everything ever written stays.",
        ),
        Picture(
            "peephole-lstm", "peephole-lstm --steps 2",
            "Peepholes: the input and the forget gate look at the old cell state, the output gate at the new one, each "
            "unit at its own only.",
        ),
        Picture(
            "state-gated-lstm", "state-gated-lstm",
            "Here the gates see all of the cell state and nothing of the hidden state, which is an output only.",
        ),
        Picture(
            "gru", "gru",
            "A GRU has one state and two gates: r says what of the old state the candidate sees, z how much of the old "
            "state makes room for it.",
        ),
        Picture("gru-rolled", "gru --view rolled", "As a loop, with a single delay."),
        Picture(
            "gru-backward", "gru --steps 3 --level cell --direction both",
            "The same for a GRU, whose update gate lets gradients past all weights as the forget gate does.",
        ),
        Picture(
            "reset-after-gru", "reset-after-gru --steps 2",
            "PyTorch and Keras reset after the product instead of before it, and z says how much is kept.",
        ),
        Picture(
            "leaky", "leaky",
            "A leaky unit keeps a fixed part of its state at every step: a gate whose opening is not learned, and the "
            "first step from the simple cell to the LSTM.",
        ),
        Picture("leaky-rolled", "leaky --view rolled", "As a loop: one branch of it is linear."),
        Picture(
            "skip", "skip --steps 5",
            "Connections from two steps before halve the number of steps that a gradient has to pass.",
        ),
        Picture(
            "skip-rolled", "skip --steps 8 --view rolled",
            "As a loop: a delay of one step, and one of two.",
        ),
    ],
)  # fmt: skip

WIRINGS = Section(
    "Wirings",
    "Where inputs go in and outputs come out; cells are single boxes.",
    [
        Picture("one-to-one", "one-to-one", "One to one: a network without time, layer upon layer."),
        Picture(
            "one-to-many", "one-to-many",
            "One to many: a picture becomes the first state, and a caption is written word by word.",
        ),
        Picture(
            "many-to-one", "many-to-one",
            "Many to one: a review is read to its end before it is judged; all that is known of it is in the last "
            "state.",
        ),
        Picture(
            "many-to-many", "many-to-many",
            "Many to many, of equal length: a tag for every word as it is read.",
        ),
        Picture(
            "encoder-decoder", "encoder-decoder",
            "Many to many, of unequal length: one network reads, its last state is where another one starts to write, "
            "and both are trained together.",
        ),
        Picture(
            "encoder-decoder-rolled", "encoder-decoder --view rolled",
            "Rolled up: two loops, each with its own number of steps.",
        ),
        Picture(
            "attention", "attention",
            "With attention the decoder looks at the states of all steps that were read, and not at the last one "
            "alone.",
        ),
        Picture(
            "translation", "translation --level cell --steps 2",
            "The ready model: embeddings, additive attention, a word of the target as the next input, and the loss.",
        ),
    ],
)  # fmt: skip

DEPTH = Section(
    "Depth and direction",
    "More than one cell in a time step, or more than one way through time.",
    [
        Picture(
            "stacked", "stacked",
            "A deep network: the states of each layer are the inputs of the layer above it.",
        ),
        Picture(
            "stacked-elided", "stacked --steps 100 --view elided",
            "A hundred steps of it, with what repeats left out.",
        ),
        Picture("stacked-rolled", "stacked --view rolled", "Rolled up: every layer has delays of its own."),
        Picture(
            "deep-transition", "deep-transition --steps 3",
            "A deep transition: more layers between one state and the next make the path through time longer.",
        ),
        Picture(
            "deep-transition-skip", "deep-transition-skip --steps 3",
            "Connections past these layers make it short again.",
        ),
        Picture(
            "residual", "residual",
            "A residual connection: the input is added to the output, so a layer has to learn the difference only.",
        ),
        Picture(
            "bidirectional", "bidirectional",
            "Two directions: a second state runs from the end to the start, so that an output knows what comes after "
            "it.",
        ),
        Picture(
            "bidirectional-rolled", "bidirectional --view rolled",
            "Rolled up: each direction has a delay of its own.",
        ),
        Picture(
            "both-ends", "both-ends",
            "A whole text as one vector: the last state of the forward direction beside the first of the backward one.",
        ),
        Picture(
            "padded", "padded --steps 5",
            "Sequences of different lengths in one batch: where none is left a step is grey, and changes nothing.",
        ),
        Picture(
            "crf-tagger", "crf-tagger",
            "Tags that depend on each other: a conditional random field runs over the scores of a bidirectional "
            "network.",
        ),
    ],
)  # fmt: skip

TREES = Section(
    "Trees",
    "Recursive networks: what is computed from what follows a tree, not a line.",
    [
        Picture(
            "recursive", "recursive",
            "The same cell joins two parts into one at every node; between N leaves and the root of a balanced tree "
            "there are log N of them instead of N.",
        ),
        Picture(
            "recursive-operations", "recursive --view tree --level op",
            "The same, operation by operation.",
        ),
        Picture(
            "tree-lstm", "tree-lstm",
            "A tree LSTM hands on a hidden state and a cell state, and forgets each child apart.",
        ),
        Picture(
            "child-sum-tree", "child-sum-tree",
            "Where children are summed up there may be any number of them.",
        ),
        Picture(
            "recursive-backward", "recursive --direction both",
            "Gradients run from the root to the leaves, and every node adds its share to the weights.",
        ),
        Picture(
            "tree-network", "tree-network",
            "How trees of a batch are computed: all nodes of one height together, as if heights were time steps.",
        ),
    ],
)  # fmt: skip

GRAPHS = Section(
    "The computational graph of training",
    "The same network with outputs and losses: rolled, unrolled, and backwards.",
    [
        Picture(
            "training-rolled", "training --view rolled",
            "The recurrent graph: a circuit with a delay of one step from the state to itself.",
        ),
        Picture(
            "training", "training",
            "Unrolled: a piece of the graph for every step, one set of weights for all of them, and a loss that sums "
            "up what each step contributes.",
        ),
        Picture(
            "training-backward", "training --steps 2 --direction both",
            "Information runs forward for outputs and losses, and backward for gradients. A state gets its gradient "
            "from two sides: from the output of its step, and from the state after it.",
        ),
        Picture(
            "training-path",
            "training --highlight t2/L --highlight t2/y --highlight t2/h --highlight t1/h --highlight t0/h",
            "One of the paths whose products of derivatives add up to the gradient of the weights: from the last loss "
            "to the first step. There is one for every loss and every step before it.",
        ),
        Picture(
            "training-elided", "training --steps 1000 --view elided",
            "A thousand steps: those in the middle are all alike.",
        ),
        Picture(
            "vanishing", "rnn --steps 8 --show gradnorm --legend",
            "How much the last state depends on earlier ones, as colour: in a simple cell the gradient shrinks by a "
            "factor at each step back.",
        ),
        Picture(
            "remembering", "lstm --steps 5 --show gradnorm --legend",
            "In an LSTM, whose forget gate is rather open at first, much of it is still there along the cell state.",
        ),
        Picture(
            "truncated", "truncated",
            "Truncated backpropagation: the state goes on, but no gradient comes back over the cut.",
        ),
    ],
)  # fmt: skip

SECTIONS = [CELLS, WIRINGS, DEPTH, TREES, GRAPHS]
