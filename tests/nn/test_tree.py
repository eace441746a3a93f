"""Networks over trees: batches by height against one node at a time, and cells against their equations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.nn.tree import ChildSumTreeLSTMCell, RecursiveCell, TreeLSTMCell, TreeNetwork, schedule
from tinygrad_rnn.testing.strategies import trees

WORDS = 5
BINARY = ["binary", "recursive"]
CELLS = [*BINARY, "child-sum"]


def network(cell, seed=0, features=3, hidden=2):
    return TreeNetwork(WORDS, features, hidden, cell, generator=seed, dtype=np.float64)


def batches(binary):
    return st.lists(trees(vocabulary=WORDS, binary=binary, max_leaves=8), min_size=1, max_size=4)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def chain(levels, left=True):
    tree = 0
    for k in range(levels):
        tree = (tree, k % WORDS) if left else (k % WORDS, tree)
    return tree


# Cells ----------------------------------------------------------------------------------------------------------------


def children_of(cell, nodes=3, children=2, seed=0):
    rng, hidden = np.random.default_rng(seed), len(cell.b_f)
    return rng.normal(size=(nodes, children, hidden)), rng.normal(size=(nodes, children, hidden))


def gates(a, kept):
    """The last two of Tai's equations, from what goes into i, o and u."""
    i, o, u = np.split(a, 3, axis=-1)
    c = sigmoid(i) * np.tanh(u) + kept
    return sigmoid(o) * np.tanh(c), c


def test_recursive_cell_by_hand():
    cell = RecursiveCell(1, 1)
    for name, value in {"W": [[2.0], [-1.0]], "b": [0.5], "W_x": [[3.0]], "b_x": [-1.0]}.items():
        getattr(cell, name).assign(value)
    np.testing.assert_allclose(cell([[[0.5], [0.25]]]), [[np.tanh(2 * 0.5 - 0.25 + 0.5)]], rtol=1e-6)
    np.testing.assert_allclose(cell.leaf([[0.5]]), [[np.tanh(0.5)]], rtol=1e-6)


@pytest.mark.parametrize("with_input", [False, True])
def test_binary_tree_lstm_is_its_equations(with_input):
    cell = TreeLSTMCell(3, 2, node_inputs=True, generator=0, dtype=np.float64)
    (h, c), x = children_of(cell), np.random.default_rng(1).normal(size=(3, 3)) * with_input
    W, U, b, W_f, U_f, b_f = (getattr(cell, n).numpy() for n in ("W_iou", "U_iou", "b_iou", "W_f", "U_f", "b_f"))
    forget = [
        sigmoid(x @ W_f + h[:, 0] @ U_f[:2, 2 * k : 2 * k + 2] + h[:, 1] @ U_f[2:, 2 * k : 2 * k + 2] + b_f)
        for k in range(2)
    ]
    expected = gates(x @ W + h[:, 0] @ U[:2] + h[:, 1] @ U[2:] + b, forget[0] * c[:, 0] + forget[1] * c[:, 1])
    found = cell((h, c), x) if with_input else cell((h, c))
    for a, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-12)


@pytest.mark.parametrize("with_input", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_child_sum_tree_lstm_is_its_equations(count, with_input):
    cell = ChildSumTreeLSTMCell(3, 2, node_inputs=True, generator=0, dtype=np.float64)
    (h, c), x = children_of(cell, children=count), np.random.default_rng(1).normal(size=(3, 3)) * with_input
    W, U, b, W_f, U_f, b_f = (getattr(cell, n).numpy() for n in ("W_iou", "U_iou", "b_iou", "W_f", "U_f", "b_f"))
    kept = sum(sigmoid(x @ W_f + h[:, k] @ U_f + b_f) * c[:, k] for k in range(count))
    expected = gates(x @ W + sum(h[:, k] for k in range(count)) @ U + b, kept)
    found = cell((h, c), x) if with_input else cell((h, c))
    for a, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-12)


def test_children_of_a_child_sum_have_no_order_and_those_of_a_binary_cell_have():
    same, other = ChildSumTreeLSTMCell(1, 2, generator=0), TreeLSTMCell(1, 2, generator=0)
    h, c = children_of(same)
    np.testing.assert_allclose(same((h[:, ::-1], c[:, ::-1]))[0], same((h, c))[0], rtol=1e-6)
    assert not np.allclose(other((h[:, ::-1], c[:, ::-1]))[0], other((h, c))[0])


@pytest.mark.parametrize("kind", [TreeLSTMCell, ChildSumTreeLSTMCell])
def test_a_leaf_is_a_node_with_an_input_and_children_of_zeros(kind):
    cell, x = kind(3, 2, node_inputs=True, generator=0), np.ones((1, 3), np.float32)
    nothing = tg.zeros((1, 2, 2))
    for a, b in zip(cell.leaf(x), cell((nothing, nothing), x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_cells_without_node_inputs_have_no_weights_for_them():
    cell = TreeLSTMCell(3, 2)
    assert cell.W_f is None
    with pytest.raises(ValueError, match=r"inputs at inner nodes(.|\n)*node_inputs=True"):
        cell((tg.zeros((1, 2, 2)), tg.zeros((1, 2, 2))), tg.zeros((1, 3)))


# Schedule -------------------------------------------------------------------------------------------------------------


def test_a_schedule_lists_leaves_then_levels():
    plan = schedule([((1, 2), (3, (4, 0))), 2, [1]])
    assert plan.tokens.tolist() == [1, 2, 3, 4, 0, 2, 1]
    assert [level.children.tolist() for level in plan.levels] == [[[0, 1], [3, 4], [6, -1]], [[2, 8]], [[7, 10]]]
    assert plan.roots.tolist() == [11, 5, 9]
    assert [rows.tolist() for rows in plan.rows] == [[0, 1, 7, 2, 3, 4, 8, 10, 11], [5], [6, 9]]


def subtree(tree, path):
    for k in path:
        tree = tree[k]
    return tree


@given(batch=batches(binary=False), data=st.data())
def test_a_row_is_found_by_the_way_to_it(batch, data):
    k = data.draw(st.integers(0, len(batch) - 1))
    tree, path = batch[k], []
    while isinstance(tree, tuple) and data.draw(st.booleans()):
        path.append(data.draw(st.integers(0, len(tree) - 1)))
        tree = tree[path[-1]]
    model = network("child-sum")
    found = model(batch).states[schedule(batch).row(k, path)]
    np.testing.assert_allclose(found, model([tree]).roots[0], rtol=1e-12)


@given(batch=batches(binary=False))
def test_children_come_before_their_parents_and_are_used_once(batch):
    plan, used = schedule(batch), []
    for start, level in zip(np.cumsum([len(plan.tokens), *(len(v.order) for v in plan.levels)]), plan.levels):
        assert (level.children < start).all()
        used += level.children[level.children >= 0].tolist()
    count = sum(len(rows) for rows in plan.rows)
    assert sorted([*used, *plan.roots.tolist()]) == list(range(count))
    assert sorted(np.concatenate(plan.rows).tolist()) == list(range(count))


@pytest.mark.parametrize(
    ("path", "message"),
    [([2], r"child 2 at depth 0 of path \(2,\) in tree 0(.|\n)*0 to 1"), ([0, 0], "at a leaf"), ([-1], "child -1")],
)
def test_a_way_that_leads_nowhere_is_refused(path, message):
    with pytest.raises(IndexError, match=message):
        schedule([(1, (2, 3))]).row(0, path)


# Network --------------------------------------------------------------------------------------------------------------


def test_a_small_tree_by_hand():
    model = network("recursive")
    E, cell = model.embedding.E.numpy(), model.cell
    W, b = cell.W.numpy(), cell.b.numpy()
    one, two, three = (np.tanh(E[k] @ cell.W_x.numpy() + cell.b_x.numpy()) for k in (1, 2, 3))
    inner = np.tanh(np.concatenate([two, three]) @ W + b)
    root = np.tanh(np.concatenate([one, inner]) @ W + b)
    out = model([(1, (2, 3))])
    np.testing.assert_allclose(out.roots, [root], rtol=1e-12)
    np.testing.assert_allclose(out.states, [one, two, three, inner, root], rtol=1e-12)
    assert [rows.tolist() for rows in out.rows] == [[0, 1, 2, 3, 4]]


def check_batch(cell, batch, seed):
    """Values at all nodes, and gradients of a sum that weighs all of them."""
    model, rng = network(cell, seed), np.random.default_rng(seed)
    out, ones = model(batch), [model.one_by_one(tree) for tree in batch]
    for rows, root, one in zip(out.rows, out.roots, ones, strict=True):
        np.testing.assert_allclose(out.states[rows], one, rtol=1e-12)
        np.testing.assert_allclose(root, one[-1], rtol=1e-12)
    weights = [rng.normal(size=one.shape) for one in ones]
    together = [(out.states[rows] * w).sum() for rows, w in zip(out.rows, weights, strict=True)]
    apart = [(one * w).sum() for one, w in zip(ones, weights, strict=True)]
    slopes = [tg.grad(sum(losses), model.parameters(), allow_unused=True) for losses in (together, apart)]
    for a, b in zip(*slopes, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@given(batch=batches(binary=True), seed=st.integers(0, 100))
def test_a_batch_is_its_nodes_one_by_one(cell, batch, seed):
    check_batch(cell, batch, seed)


@given(batch=batches(binary=False), seed=st.integers(0, 100))
def test_a_batch_of_nodes_with_any_number_of_children_is_its_nodes_one_by_one(batch, seed):
    check_batch("child-sum", batch, seed)


@pytest.mark.parametrize("cell", CELLS)
@given(batch=batches(binary=True), data=st.data())
def test_the_order_of_trees_does_not_matter(cell, batch, data):
    order = data.draw(st.permutations(range(len(batch))))
    model = network(cell)
    one, other = model(batch), model([batch[k] for k in order])
    np.testing.assert_allclose(other.roots, one.roots.numpy()[order], rtol=1e-12)
    for k, rows in zip(order, other.rows, strict=True):
        np.testing.assert_allclose(other.states[rows], one.states[one.rows[k]], rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_on_small_trees(cell):
    model = network(cell, features=2)
    tg.testing.check_grad(lambda: model([(1, (2, 3)), ((0, 1), (1, 1)), 4]).roots, parameters=model)


def test_gradients_with_children_that_are_not_there():
    model = network("child-sum", features=2)
    tg.testing.check_grad(lambda: model([(1, (2,), (3, 4, 0))]).states, parameters=model)


@pytest.mark.parametrize("cell", CELLS)
def test_trees_of_a_single_leaf(cell):
    model = network(cell)
    out = model([3, 1])
    assert out.states.shape == (2, 2)
    np.testing.assert_array_equal(out.roots, out.states)
    np.testing.assert_allclose(out.roots[0], model.one_by_one(3)[0], rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_dtypes_are_kept(cell):
    model = TreeNetwork(WORDS, 3, 2, cell)
    out = model([(1, (2, 3)), (4, 0)])
    assert out.roots.dtype == np.float32
    assert all(g.dtype == np.float32 for g in tg.grad(out.roots.sum(), model.parameters()))


def test_lists_and_numpy_integers_are_trees_too():
    model = network("binary")
    np.testing.assert_array_equal(model([[np.int32(1), [2, 3]]]).states, model([(1, (2, 3))]).states)


@pytest.mark.parametrize(
    ("cell", "left"), [("binary", True), ("recursive", True), ("recursive", False), ("child-sum", False)]
)
def test_a_chain_of_two_thousand_levels(cell, left):
    """Values and gradients; the other tree of the batch is as good as alone."""
    model, tree = network(cell), chain(2000, left)
    out = model([tree, (1, 2)])
    assert out.states.shape == (4001 + 3, 2)
    np.testing.assert_allclose(out.roots[0], model.one_by_one(tree)[-1], rtol=1e-9)
    np.testing.assert_allclose(out.roots[1], model.one_by_one((1, 2))[-1], rtol=1e-12)
    out.roots.sum().backward()
    assert all(np.isfinite(p.grad).all() for p in model.parameters())


def test_work_is_linear_in_the_height():
    """The states of the levels below are not joined anew at each level."""
    model = network("binary")

    def moved(levels):
        return sum(t.size for t in tg.graph(model([chain(levels)]).roots) if t.op.name in ("concatenate", "index"))

    assert moved(400) < 2.1 * moved(200)


@pytest.mark.parametrize("cell", CELLS)
def test_compiled_equals_eager_for_the_same_trees(cell):
    model, batch = network(cell), [((1, 2), (3, (4, 0))), 2, (1, 1)]

    def step():
        out = model(batch)
        return out, tg.grad((out.roots**2).sum(), model.parameters())

    (out, slopes), (expected, expected_slopes) = tg.compile(step)(), step()
    np.testing.assert_allclose(out.states, expected.states, rtol=1e-12)
    np.testing.assert_allclose(out.roots, expected.roots, rtol=1e-12)
    for a, b in zip([*out.rows, *slopes], [*expected.rows, *expected_slopes], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_trees_of_the_same_forms_share_a_program():
    model = network("child-sum")
    step = tg.compile(lambda plan: model(plan).roots)
    for batch in ([(1, (2, 3, 4)), 0], [(4, (4, 0, 1)), 3]):
        np.testing.assert_allclose(step(schedule(batch)), model(batch).roots, rtol=1e-12)
    assert len(step.programs) == 1


def test_heights_are_time_steps_and_nodes_are_named():
    out = network("binary")([((1, 2), (3, (4, 0))), (1, 1)])
    g = tg.graph(out.roots)
    assert g.times == (0, 1, 2, 3)
    assert [(t.time, len(t)) for t in g.by_name("h")] == [(0, 7), (1, 3), (2, 1), (3, 1)]
    assert [t.scope for t in g.by_name("h")] == [("treenetwork", "cell")] * 4


@pytest.mark.parametrize(
    ("cell", "batch", "error", "message"),
    [
        ("binary", [], tg.ShapeError, r"no trees(.|\n)*at least one"),
        ("binary", 3, TypeError, r"trees(.|\n)*list or tuple(.|\n)*got: *int"),
        ("binary", [1, (2, WORDS)], IndexError, r"word 5 at leaf 2(.|\n)*0 to 4(.|\n)*counted from the left"),
        ("binary", [(2, -1)], IndexError, "word -1 at leaf 1"),
        ("binary", [1, (2, "a")], TypeError, r"leaf of tree 1(.|\n)*integer(.|\n)*got: *str"),
        ("binary", [(2, True)], TypeError, r"leaf of tree 0(.|\n)*got: *bool"),
        ("child-sum", [1, 2, (1, ())], tg.ShapeError, r"tree 2 has no children"),
        ("binary", [(1, 2), (1, 2, 3)], tg.ShapeError, r"TreeLSTMCell at height 1(.|\n)*2 children(.|\n)*with 3"),
        ("binary", [(1, 2), (3,)], tg.ShapeError, r"got: *a node with 1(.|\n)*child-sum"),
        ("recursive", [((1,), 2)], tg.ShapeError, r"RecursiveCell(.|\n)*got: *a node with 1"),
    ],
)
def test_trees_that_do_not_fit_are_refused(cell, batch, error, message):
    with pytest.raises(error, match=message):
        network(cell)(batch)


def test_unknown_cells_are_refused():
    with pytest.raises(ValueError, match="binary, child-sum, recursive; got 'gru'"):
        TreeNetwork(2, 2, 2, "gru")
