"""Recursive networks: models over trees, whose nodes are computed from their children.

A tree is a word, which is an integer, or a tuple or list of trees. The nodes of a batch of trees that have the same
height are computed together; :func:`schedule` says which these are, so that the tensors see gathers and products only.
Nothing recurses: trees may be thousands of levels high.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..calls import no_circle
from ..errors import ShapeError, fail
from ..ops.checks import checked
from ..ops.core import as_tensor
from ..ops.create import zeros
from ..ops.elementwise import sigmoid, tanh
from ..ops.reduce import sum as sum_of
from ..ops.shape import concatenate, expand_dims, reshape, split, stack
from ..scope import steps, timestep
from ..settings import check_counts, check_switch
from ..tensor import DEFAULT_FLOAT, Tensor
from . import init
from .init import Seed, generator_of
from .layers import Embedding
from .module import Module, entered

__all__ = [
    "ChildSumTreeLSTMCell", "Level", "RecursiveCell", "Schedule", "TreeLSTMCell", "TreeNetwork", "TreeOutput",
    "schedule",
]  # fmt: skip

ABSENT = -1  # the row, and the level, of a child that a node does not have

# Cells ----------------------------------------------------------------------------------------------------------------


class RecursiveCell(Module):
    """The recursive network of Goller and Küchler (1996) and Socher et al. (2011): ``h = tanh([h_l; h_r] W + b)``.

    A leaf with the input x has the state ``tanh(x W_x + b_x)``.

    Parameters
    ----------
    input_size, hidden_size : int
    generator : numpy.random.Generator or int, optional
        Source of the initial values, uniform within ``1 / sqrt(hidden_size)``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.tree import RecursiveCell
    >>> cell = RecursiveCell(3, 4)
    >>> leaves = cell.leaf(tg.ones((2, 3)))
    >>> cell(leaves.reshape(1, 2, 4)).shape
    (1, 4)
    """

    arity: int | None = 2

    def __init__(self, input_size: int, hidden_size: int, *, generator: Seed = None, dtype: Any = DEFAULT_FLOAT):
        check_counts(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        draw = _drawer(hidden_size, generator, dtype)
        self.W_x, self.b_x = draw(input_size, hidden_size), draw(hidden_size)
        self.W, self.b = draw(2 * hidden_size, hidden_size), draw(hidden_size)

    def leaf(self, x: Any) -> Tensor:
        """States (nodes, hidden) of leaves with inputs (nodes, features)."""
        return tanh(as_tensor(x) @ self.W_x + self.b_x).named("h")

    def forward(self, children: Any) -> Tensor:
        """States (nodes, hidden) of nodes from those of their children (nodes, 2, hidden)."""
        return tanh(_side_by_side(as_tensor(children)) @ self.W + self.b).named("h")


class _TreeLSTM(Module):
    """What both kinds of tree LSTM share: they differ in what the gates see of the children."""

    arity: int | None = None
    seen = 1  # how many states, side by side, the gates see

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        node_inputs: bool = False,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        name = type(self).__name__
        check_counts(name, input_size=input_size, hidden_size=hidden_size)
        node_inputs = check_switch(f"{name}: node_inputs", node_inputs)
        draw, n = _drawer(hidden_size, generator, dtype), self.seen * hidden_size
        self.W_iou, self.U_iou = draw(input_size, 3 * hidden_size), draw(n, 3 * hidden_size)
        self.b_iou = draw(3 * hidden_size)
        self.U_f, self.b_f = draw(n, n), draw(hidden_size)
        self.W_f = draw(input_size, hidden_size) if node_inputs else None

    def leaf(self, x: Any) -> tuple[Tensor, Tensor]:
        """States ``(h, c)``, each (nodes, hidden), of leaves with inputs (nodes, features)."""
        return _open(as_tensor(x) @ self.W_iou + self.b_iou)

    def forward(self, children: tuple[Any, Any], x: Any = None) -> tuple[Tensor, Tensor]:
        """States ``(h, c)`` of nodes from those of their children, each (nodes, children, hidden), and their inputs."""
        h, c = (as_tensor(part) for part in children)
        a, f = self._gates(h)
        a, f = a + self.b_iou, f + self.b_f
        if x is not None:
            if self.W_f is None:
                raise fail(
                    ValueError, f"{type(self).__name__}: inputs at inner nodes", expected="none",
                    hint="make the cell with node_inputs=True",
                )  # fmt: skip
            x = as_tensor(x)
            a, f = a + x @ self.W_iou, f + expand_dims(x @ self.W_f, 1)
        return _open(a, sum_of(sigmoid(f).named("f") * c, 1))

    def _gates(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """What children give to i, o and u (nodes, 3 hidden), and to the forget gates (nodes, children, hidden)."""
        raise NotImplementedError


class TreeLSTMCell(_TreeLSTM):
    """Binary tree LSTM: the N-ary one of Tai, Socher and Manning (2015) with N = 2.

    With children 1 and 2, in their order, and a forget gate for each of them::

        i   = σ(x W_i + h_1 U_i1 + h_2 U_i2 + b_i)        o and u alike, u with tanh
        f_k = σ(x W_f + h_1 U_f1k + h_2 U_f2k + b_f)
        c   = i ⊙ u + f_1 ⊙ c_1 + f_2 ⊙ c_2
        h   = o ⊙ tanh(c)

    A leaf has no children, and an inner node no input x unless it is given one.

    Parameters
    ----------
    input_size, hidden_size : int
    node_inputs : bool
        Whether inner nodes may have inputs, so that there is a `W_f`.
    generator : numpy.random.Generator or int, optional
        Source of the initial values, uniform within ``1 / sqrt(hidden_size)``.

    Attributes
    ----------
    W_iou, U_iou, b_iou : Tensor
        Of i, o and u side by side; rows of `U_iou` are ``[h_1; h_2]``.
    W_f, U_f, b_f : Tensor
        Of the forget gates; columns of `U_f` are f_1 and f_2.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.tree import TreeLSTMCell
    >>> cell = TreeLSTMCell(3, 4)
    >>> h, c = cell.leaf(tg.ones((2, 3)))
    >>> h, c = cell((h.reshape(1, 2, 4), c.reshape(1, 2, 4)))
    >>> h.shape, c.shape
    ((1, 4), (1, 4))
    """

    arity = seen = 2

    def _gates(self, h: Tensor) -> tuple[Tensor, Tensor]:
        both = _side_by_side(h)
        return both @ self.U_iou, reshape(both @ self.U_f, h.shape)


class ChildSumTreeLSTMCell(_TreeLSTM):
    """Child-sum tree LSTM of Tai, Socher and Manning (2015): any number of children, whose order does not matter.

    With children k, and a forget gate for each of them::

        i   = σ(x W_i + (Σ_k h_k) U_i + b_i)              o and u alike, u with tanh
        f_k = σ(x W_f + h_k U_f + b_f)
        c   = i ⊙ u + Σ_k f_k ⊙ c_k
        h   = o ⊙ tanh(c)

    A child whose states are zeros counts for nothing, as if it were not there.

    Parameters
    ----------
    input_size, hidden_size : int
    node_inputs : bool
        Whether inner nodes may have inputs, as in dependency trees, so that there is a `W_f`.
    generator : numpy.random.Generator or int, optional
        Source of the initial values, uniform within ``1 / sqrt(hidden_size)``.

    Attributes
    ----------
    W_iou, U_iou, b_iou : Tensor
        Of i, o and u side by side.
    W_f, U_f, b_f : Tensor
        Of the forget gates.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.tree import ChildSumTreeLSTMCell
    >>> cell = ChildSumTreeLSTMCell(3, 4)
    >>> h, c = cell.leaf(tg.ones((3, 3)))
    >>> h, c = cell((h.reshape(1, 3, 4), c.reshape(1, 3, 4)))
    >>> h.shape, c.shape
    ((1, 4), (1, 4))
    """

    def _gates(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return sum_of(h, 1) @ self.U_iou, h @ self.U_f


def _drawer(hidden_size: int, seed: Seed, dtype: Any) -> Callable[..., Tensor]:
    generator, bound = generator_of(seed), 1 / np.sqrt(max(hidden_size, 1))
    return lambda *shape: init.uniform(shape, bound, generator, dtype)


def _side_by_side(h: Tensor) -> Tensor:
    """States of children (nodes, children, hidden) as rows (nodes, children * hidden)."""
    return reshape(h, (h.shape[0], h.shape[1] * h.shape[2]))


def _open(a: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """``(h, c)`` from what goes into i, o and u, and from what the forget gates let through."""
    i, o, u = split(a, 3, axis=-1)
    c = sigmoid(i).named("i") * tanh(u).named("u")
    c = (c if kept is None else c + kept).named("c")
    return (sigmoid(o).named("o") * tanh(c)).named("h"), c


# Schedule -------------------------------------------------------------------------------------------------------------


class Level(NamedTuple):
    """The inner nodes of one height, and where their children are.

    Attributes
    ----------
    children : array (nodes, most)
        Rows of the children in order; -1 where a node has fewer than others.
    sources : tuple of (level, rows)
        The same children by the level that they are on: which of its rows are taken. Level 0 are the leaves, -1 is a
        row of zeros for children that are not there.
    order : array (nodes, most)
        Where each child is in the concatenated rows of all sources.
    """

    children: Any
    sources: tuple[tuple[int, Any], ...]
    order: Any


class Schedule(NamedTuple):
    """In which order the nodes of some trees are computed; made by :func:`schedule`.

    Every node has a row, which is its number in that order: the leaves come first, then the nodes of height 1, and so
    on. It consists of arrays, so it can be an argument of a compiled function: trees of the same forms with other words
    share a program.

    Attributes
    ----------
    tokens : array (leaves,)
    levels : tuple of Level
        Heights 1, 2 and so on.
    roots : array (batch,)
        Row of each tree's root.
    rows : tuple of arrays
        For each tree the rows of its nodes, children before their parents and left before right (post-order).
    """

    tokens: Any
    levels: tuple[Level, ...]
    roots: Any
    rows: tuple[Any, ...]

    def row(self, tree: int, path: Sequence[int] = ()) -> int:
        """Row of a node: `path` says which child to take at each node, from the root on.

        Examples
        --------
        >>> from tinygrad_rnn.nn.tree import schedule
        >>> plan = schedule([(4, (2, 3))])
        >>> plan.row(0, [1, 0]), int(plan.tokens[plan.row(0, [1, 0])])
        (1, 2)
        """
        starts = np.cumsum([0, len(self.tokens), *(len(level.order) for level in self.levels)])
        row = int(self.roots[tree])
        for depth, k in enumerate(path):
            height = int(np.searchsorted(starts, row, side="right")) - 1
            children = self.levels[height - 1].children[row - starts[height]] if height else np.array([], np.int64)
            children = children[children != ABSENT]
            if not 0 <= k < len(children):
                where = f"Schedule.row: child {k} at depth {depth} of path {tuple(path)} in tree {tree}"
                expected = f"0 to {len(children) - 1}" if height else "the path to end there, at a leaf"
                raise fail(IndexError, where, expected=expected)
            row = int(children[k])
        return row


def schedule(trees: Sequence[Any]) -> Schedule:
    """Order the nodes of some trees by height, so that all of one height can be computed at once.

    Parameters
    ----------
    trees : sequence of trees
        A tree is an integer, or a tuple or list of at least one tree.

    Raises
    ------
    ShapeError
        If there are no trees, or a node has no children.
    TypeError
        If a leaf is no integer, or `trees` is one.

    Examples
    --------
    >>> from tinygrad_rnn.nn.tree import schedule
    >>> plan = schedule([(4, (2, 3)), (5, 6)])
    >>> plan.tokens.tolist(), [level.children.tolist() for level in plan.levels], plan.roots.tolist()
    ([4, 2, 3, 5, 6], [[[1, 2], [3, 4]], [[0, 5]]], [7, 6])
    """
    if not isinstance(trees, tuple | list):
        raise fail(TypeError, "schedule: trees", expected="a list or tuple of trees", got=type(trees).__name__)
    if not trees:
        raise fail(ShapeError, "schedule: there are no trees", expected="at least one")
    no_circle("schedule", "trees", trees)
    tokens, children, roots = _forest(trees)
    heights = _heights(children)
    order = np.argsort(heights, kind="stable")
    rows = np.empty(len(order), np.int64)
    rows[order] = np.arange(len(order))
    starts = np.searchsorted(heights[order], np.arange(heights.max() + 1))
    levels = [_level([rows[children[n]] for n in nodes], starts) for nodes in np.split(order, starts[1:])[1:]]
    of_trees = tuple(np.split(rows, roots[:-1] + 1))
    leaves = np.array([tokens[n] for n in order if not children[n]], np.int64)
    return Schedule(leaves, tuple(levels), rows[roots], of_trees)


def _forest(trees: Sequence[Any]) -> tuple[list[int], list[list[int]], np.ndarray]:
    """All nodes in post-order: words of the leaves, numbers of the children of each node, and those of the roots.

    From the last tree and the right on, a stack gives parents before their children: post-order, read backwards.
    """
    nodes: list[Any] = []
    parents: list[int] = []
    stack, left = [(tree, ABSENT) for tree in trees], len(trees)
    while stack:
        node, parent = stack.pop()
        left -= parent == ABSENT
        _check_node(node, left)
        if not _is_leaf(node):
            stack.extend((child, len(nodes)) for child in node)
        nodes.append(node)
        parents.append(parent)
    last = len(nodes) - 1
    children: list[list[int]] = [[] for _ in nodes]
    for n, parent in enumerate(reversed(parents)):
        if parent != ABSENT:
            children[last - parent].append(n)
    roots = [n for n, parent in enumerate(reversed(parents)) if parent == ABSENT]
    return [int(t) if _is_leaf(t) else ABSENT for t in reversed(nodes)], children, np.array(roots)


def _is_leaf(tree: Any) -> bool:
    return not isinstance(tree, tuple | list)


def _check_node(node: Any, tree: int) -> None:
    if _is_leaf(node):
        if isinstance(node, bool) or not isinstance(node, int | np.integer):
            raise fail(TypeError, f"schedule: a leaf of tree {tree}", expected="an integer", got=type(node).__name__)
    elif not node:
        raise fail(ShapeError, f"schedule: a node of tree {tree} has no children", expected="at least one")


def _heights(children: list[list[int]]) -> np.ndarray:
    """Leaves have height 0, other nodes one more than the highest of their children, which come before them."""
    heights: list[int] = []
    for own in children:
        heights.append(1 + max(heights[n] for n in own) if own else 0)
    return np.array(heights)


def _level(children: list[np.ndarray], starts: np.ndarray) -> Level:
    most = max(len(own) for own in children)
    padded = np.full((len(children), most), ABSENT, np.int64)
    for row, own in zip(padded, children, strict=True):
        row[: len(own)] = own
    flat = padded.reshape(-1)
    levels = np.searchsorted(starts, flat, side="right") - 1
    by_level = np.argsort(levels, kind="stable")
    order = np.empty(len(flat), np.int64)
    order[by_level] = np.arange(len(flat))
    local = flat - np.where(levels == ABSENT, ABSENT, starts[levels])  # the zeros are row 0 of their own table
    sources = tuple((int(k), local[levels == k]) for k in np.unique(levels))
    return Level(padded, sources, order.reshape(padded.shape))


# Network --------------------------------------------------------------------------------------------------------------


class TreeOutput(NamedTuple):
    """What a network over trees gives.

    Attributes
    ----------
    roots : Tensor (batch, hidden)
    states : Tensor (nodes, hidden)
        Of every node of every tree.
    rows : tuple of integer tensors
        For each tree the rows of its nodes in `states`, children before their parents and left before right, so the
        root comes last. ``schedule(trees).row(tree, path)`` finds one by the way to it.
    """

    roots: Tensor
    states: Tensor
    rows: tuple[Tensor, ...]


CELLS: dict[str, Callable[..., Any]] = {
    "binary": TreeLSTMCell,
    "child-sum": ChildSumTreeLSTMCell,
    "recursive": RecursiveCell,
}


class TreeNetwork(Module):
    """Embeds the words at the leaves of trees, and computes all other nodes from their children, bottom up.

    The nodes of one height of all trees are one matrix product. Their height is recorded as their time step.

    Parameters
    ----------
    vocabulary : int
        Words are 0 to ``vocabulary - 1``.
    features, hidden : int
        Sizes of the embedding and of the states.
    cell : "binary", "child-sum" or "recursive"
        :class:`TreeLSTMCell`, :class:`ChildSumTreeLSTMCell` or :class:`RecursiveCell`; the first and the last take
        nodes of two children only.
    generator : numpy.random.Generator or int, optional

    Examples
    --------
    >>> from tinygrad_rnn.nn.tree import TreeNetwork
    >>> network = TreeNetwork(10, 3, 4, generator=0)
    >>> out = network([(4, (2, 3)), (5, 6), 7])
    >>> out.roots.shape, out.states.shape, [rows.tolist() for rows in out.rows]
    ((3, 4), (9, 4), [[0, 1, 2, 6, 8], [3, 4, 7], [5]])
    """

    def __init__(
        self,
        vocabulary: int,
        features: int,
        hidden: int,
        cell: str = "binary",
        *,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        if cell not in CELLS:
            raise ValueError(f"TreeNetwork: cell must be one of {', '.join(CELLS)}; got {cell!r}")
        check_counts("TreeNetwork", vocabulary=vocabulary, features=features, hidden=hidden)
        generator = generator_of(generator)
        self.embedding = Embedding(vocabulary, features, generator=generator, dtype=dtype)
        self.cell = CELLS[cell](features, hidden, generator=generator, dtype=dtype)
        self.hidden = hidden

    def forward(self, trees: Any) -> TreeOutput:
        """States of all nodes of a batch of trees.

        Parameters
        ----------
        trees : sequence of trees, or Schedule
            In a compiled function a schedule may be an argument, and is then read on each call.

        Raises
        ------
        IndexError
            If a word is not in the vocabulary.
        ShapeError
            If there are no trees, or a node has not two children where the cell needs them.
        """
        plan = trees if isinstance(trees, Schedule) else schedule(trees)
        self._check(plan)
        nothing = (zeros((1, self.hidden), self.embedding.E.dtype),)
        states = {ABSENT: nothing * (1 if isinstance(self.cell, RecursiveCell) else 2)}
        words, count = "TreeNetwork: word {value} at leaf {row}", len(self.embedding.E)
        with timestep(0):
            tokens = checked(
                as_tensor(plan.tokens), 0, count, words, expected=f"0 to {count - 1}",
                hint="leaves are counted from the left through all trees, the first one is 0",
            )  # fmt: skip
            states[0] = self._leaves(tokens)
        for t in steps(len(plan.levels), start=1):
            states[t] = self._composed(tuple(_collect(states, plan.levels[t - 1])))
        everything = [states[t][0] for t in range(len(states) - 1)]
        h = everything[0] if len(everything) == 1 else concatenate(everything)
        return TreeOutput(h[plan.roots], h, tuple(as_tensor(rows) for rows in plan.rows))

    def one_by_one(self, tree: Any) -> Tensor:
        """States (nodes, hidden) of one tree, each node on its own: the definition, to compare with.

        Nodes are in post-order, so the root is the last; ``forward([tree])`` has them in the order of its `rows`.

        Examples
        --------
        >>> from tinygrad_rnn.nn.tree import TreeNetwork
        >>> TreeNetwork(10, 3, 4, generator=0).one_by_one((4, (2, 3))).shape
        (5, 4)
        """
        with entered(self):
            return concatenate(self._each(tree))

    def _each(self, tree: Any) -> list[Tensor]:
        """The state of each node, in post-order."""
        done: list[Tensor] = []
        waiting: list[tuple[Tensor, ...]] = []  # states of nodes whose parents are still to come
        for node in _postorder(tree):
            if _is_leaf(node):
                state = self._leaves([node])
            else:
                children = waiting[-len(node) :]
                del waiting[-len(node) :]
                state = self._joined(children)
            waiting.append(state)
            done.append(state[0])
        return done

    def _joined(self, children: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """The state of one node; putting its children side by side is part of the node."""
        with entered(self.cell):
            states = tuple(stack(list(parts), 1) for parts in zip(*children, strict=True))
            return _parts(self.cell.forward(states if len(states) > 1 else states[0]))

    def _leaves(self, tokens: Any) -> tuple[Tensor, ...]:
        x = self.embedding(tokens)
        with entered(self.cell):
            return _parts(self.cell.leaf(x))

    def _composed(self, children: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return _parts(self.cell(children if len(children) > 1 else children[0]))

    def _check(self, plan: Schedule) -> None:
        """Refuse nodes with another number of children than the cell takes."""
        if self.cell.arity is None:
            return
        for t, level in enumerate(plan.levels, start=1):
            most, absent = level.order.shape[1], level.sources[0][0] == ABSENT
            if most != self.cell.arity or absent:
                raise fail(
                    ShapeError, f"TreeNetwork: {type(self.cell).__name__} at height {t}",
                    expected=f"{self.cell.arity} children at each node",
                    got=f"a node with {most if most != self.cell.arity else most - 1}",
                    hint="make the trees binary, or use cell='child-sum'",
                )  # fmt: skip


def _parts(state: Any) -> tuple[Tensor, ...]:
    """A state as a tuple, also where it is a single tensor."""
    return state if isinstance(state, tuple) else (state,)


def _collect(states: dict[int, tuple[Tensor, ...]], level: Level) -> Iterator[Tensor]:
    """States of the children of a level's nodes, (nodes, most, hidden) each.

    Rows are taken from the levels where they are: joining all levels below at each level would take quadratic time.
    """
    for part in range(len(states[ABSENT])):
        taken = [states[k][part][rows] for k, rows in level.sources]
        if len(taken) > 1:
            yield concatenate(taken)[level.order]
        else:
            yield reshape(taken[0], (*level.order.shape, taken[0].shape[-1]))


def _postorder(tree: Any) -> Iterator[Any]:
    """Every node after its children, from left to right."""
    work = [(tree, False)]
    while work:
        node, ready = work.pop()
        if ready or _is_leaf(node):
            yield node
        else:
            work.append((node, True))
            work.extend((child, False) for child in reversed(node))
