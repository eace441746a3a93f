"""Indexing and functional updates: what the table leaves out. Duplicates, bounds, masks, and indices as inputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_rnn as tg

SHAPES = npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)


@given(data=st.data())
def test_any_basic_index_is_numpys(data):
    x = np.random.default_rng(0).normal(size=data.draw(SHAPES))
    index = data.draw(npst.basic_indices(x.shape, allow_newaxis=True))
    _compare(x, index)


@given(data=st.data())
def test_any_mixed_index_is_numpys(data):
    """Slices, integers, None, one Ellipsis and integer arrays that broadcast together, in any order."""
    x = np.random.default_rng(0).normal(size=data.draw(SHAPES))
    parts = []
    for n in x.shape[: data.draw(st.integers(1, x.ndim))]:
        array = npst.arrays(np.int64, st.sampled_from([(), (1,), (2,), (2, 1), (0,)]), elements=st.integers(-n, n - 1))
        parts.append(data.draw(st.slices(n) | st.integers(-n, n - 1) | array))
        if data.draw(st.booleans()):
            parts.append(None)
    if data.draw(st.booleans()):
        parts.append(...)
    try:
        x[tuple(parts)]
    except IndexError:
        with pytest.raises(IndexError):
            tg.tensor(x)[tuple(parts)]
        return
    _compare(x, tuple(parts))


@given(data=st.data())
def test_any_mask_is_numpys(data):
    x = np.random.default_rng(0).normal(size=data.draw(SHAPES))
    start = data.draw(st.integers(0, x.ndim - 1))
    stop = data.draw(st.integers(start + 1, x.ndim))
    mask = data.draw(npst.arrays(bool, x.shape[start:stop]))
    _compare(x, (*[slice(None)] * start, mask, *([...] if data.draw(st.booleans()) else [])))
    if stop == x.ndim:
        _compare(x, (..., mask))


def _compare(x, index):
    """Value, gradient in both modes, traced value, and updates, against NumPy."""
    t, expected = tg.tensor(x), np.asarray(x[index])
    found = t[index]
    np.testing.assert_array_equal(found.numpy(), expected, strict=True)
    cotangent = np.random.default_rng(1).normal(size=expected.shape)
    right = np.zeros_like(x)
    np.add.at(right, index, cotangent)
    for recorded in (False, True):
        np.testing.assert_allclose(tg.grad(found, t, cotangent, create_graph=recorded).numpy(), right, atol=1e-12)
    np.testing.assert_array_equal(tg.trace(lambda a: a[index], x)(x).numpy(), expected, strict=True)
    np.testing.assert_allclose(t.at[index].add(cotangent).numpy(), x + right, atol=1e-12)
    written = x.copy()
    written[index] = cotangent
    np.testing.assert_array_equal(t.at[index].set(cotangent).numpy(), written)


# Duplicates -----------------------------------------------------------------------------------------------------------


def test_repeated_indices_accumulate_in_gradients():
    rows, x = tg.tensor(np.arange(6.0).reshape(3, 2)), tg.tensor([1.0, 2.0, 3.0])
    for recorded in (False, True):
        assert tg.grad(x[[0, 0, -3, 2]].sum(), x, create_graph=recorded).tolist() == [3, 0, 1]
        assert tg.grad(rows[[1, 1, -2]].sum(), rows, create_graph=recorded).tolist() == [[0, 0], [3, 3], [0, 0]]
        assert tg.grad(tg.take(rows, [5, 5]).sum(), rows, create_graph=recorded).tolist() == [[0, 0], [0, 0], [0, 2]]


@pytest.mark.parametrize("index", [[0, 0, 1], [1, -2, 1], np.array([[0], [0], [0]])[:, 0]])
def test_of_several_values_for_one_place_the_last_is_set_and_has_the_gradient(index):
    x, value = tg.tensor([1.0, 2.0, 3.0]), tg.tensor([10.0, 20.0, 30.0])
    y = x.at[index].set(value)
    expected = x.numpy().copy()
    expected[index] = value.numpy()
    np.testing.assert_array_equal(y.numpy(), expected)
    for recorded in (False, True):
        by_x, by_value = tg.grad(y, [x, value], [1.0, 10.0, 100.0], create_graph=recorded)
        last = {k % 3: v for v, k in enumerate(np.asarray(index).tolist())}
        weight = [1.0, 10.0, 100.0]
        assert by_x.tolist() == [0.0 if k in last else weight[k] for k in range(3)]
        assert by_value.tolist() == [weight[k] if v == last[k] else 0.0 for v, k in enumerate(np.asarray(index) % 3)]


def test_of_several_values_for_one_place_all_are_added_and_have_the_gradient():
    x, value = tg.tensor([1.0, 2.0]), tg.tensor([10.0, 20.0, 30.0])
    y = x.at[[0, 0, 1]].add(value)
    assert y.tolist() == [31.0, 32.0]
    by_x, by_value = tg.grad(y, [x, value], [1.0, 10.0])
    assert (by_x.tolist(), by_value.tolist()) == ([1, 10], [1, 1, 10])


def test_updates_leave_the_tensor_as_it_was():
    x = tg.tensor([1.0, 2.0])
    x.at[0].set(9.0), x.at[0].add(9.0)
    assert x.tolist() == [1.0, 2.0]
    with pytest.raises(tg.ImmutableError, match=r"write t = t.at\[index\].set\(value\)"):
        x[0] = 1.0


@pytest.mark.parametrize("mode", ["set", "add"])
def test_a_value_of_another_shape_is_refused_eagerly_and_traced(mode):
    update = lambda x, v: getattr(x.at[:], mode)(v)
    for shape in [(2,), (1, 3), (4,)]:
        with pytest.raises(tg.ShapeError, match=r"a value of shape .*\n  expected: one that broadcasts to \(3,\)"):
            update(tg.zeros(3), tg.ones(shape))
        with pytest.raises(tg.ShapeError, match="a value of shape"):
            tg.trace(update, (3,), shape)


def test_an_update_keeps_the_dtype_of_its_tensor():
    assert tg.tensor([1, 2]).at[0].set(7).dtype == np.int64
    assert tg.ones(2).at[0].add(np.float64(1)).dtype == np.float32
    assert tg.ones(2).at[0].set(np.ones((), np.float64)).dtype == np.float32


# Bounds ---------------------------------------------------------------------------------------------------------------

X = np.arange(6.0).reshape(2, 3)
OUT_OF_RANGE = [
    (lambda x: x[2], "index 2 is out of bounds for axis 0 with size 2"),
    (lambda x: x[-3], "index -3 is out of bounds for axis 0"),
    (lambda x: x[0, 7], "index 7 is out of bounds for axis 1 with size 3"),
    (lambda x: x[[0, 5]], r"index 5 at position \(1,\) is out of range for axis 0 of size 2"),
    (lambda x: x[:, [[0], [-4]]], r"index -4 at position \(1, 0\) is out of range for axis 1 of size 3"),
    (lambda x: x[..., [3]], r"index 3 at position \(0,\) is out of range for axis 1 of size 3"),
    (lambda x: x[None, [0, 2]], r"index 2 at position \(1,\) is out of range for axis 0 of size 2"),
    (lambda x: x[np.array([9], np.uint8)], r"index 9 at position \(0,\)"),
    (lambda x: x.at[[9]].add(1.0), r"update: index 9 at position \(0,\)"),
    (lambda x: x.at[9].set(1.0), "index 9 is out of bounds"),
    (lambda x: x.at[0, [1, 9]].set(1.0), r"index 9 at position \(1,\)"),
    (lambda x: tg.take(x, [6]), r"index 6 at position \(0,\) is out of range for axis 0 of size 6"),
    (lambda x: tg.take(x, 2, 0), r"index 2 at position \(\) is out of range for axis 0 of size 2"),
    (lambda x: tg.gather(x, [[0], [3]], 1), r"index 3 at position \(1, 0\) is out of range for axis 1 of size 3"),
    (lambda x: tg.one_hot([[0], [4]], 3), r"one_hot: index 4 at position \(1, 0\) is out of range for 3 classes"),
    (lambda x: tg.one_hot([-1], 3), r"one_hot: index -1 at position \(0,\)"),
    (lambda x: tg.cross_entropy(x, [0, 3]), r"cross_entropy: target 3 at position \(1,\) is out of range for 3"),
    (lambda x: tg.cross_entropy(x, [-1, 0]), r"cross_entropy: target -1 at position \(0,\)"),
    (lambda x: tg.cross_entropy(x, [0, 3], ignore_index=9), r"cross_entropy: target 3 at position \(1,\)"),
    (lambda x: x[0, 0, 0], "too many indices"), (lambda x: x[..., ...], "single ellipsis"),
    (lambda x: x[[True, False, True]], r"with a mask\n  expected: shape \(2,\)\n  got:      \(3,\)"),
    (lambda x: x[..., [True, False]], r"with a mask\n  expected: shape \(3,\)"),
    (lambda x: x[:, np.ones((2, 3), bool)], "with a mask"),
    (lambda x: x[np.ones((2, 2), bool)], r"with a mask\n  expected: shape \(2, 3\)"),
    (lambda x: tg.zeros((0, 3))[[0]], "index 0 is out of bounds for axis 0 with size 0"),
]  # fmt: skip


@pytest.mark.parametrize(("use", "message"), OUT_OF_RANGE)
def test_an_index_out_of_range_is_named_with_its_place(use, message):
    with pytest.raises(IndexError, match=message):
        use(tg.tensor(X))


@pytest.mark.parametrize("use", [lambda x, i: x[i], lambda x, i: tg.take(x, i, 0), lambda x, i: x.at[i].set(0.0)])
def test_a_traced_index_is_checked_when_it_comes(use):
    graph = tg.trace(use, X, tg.Spec((2,), np.int64))
    assert graph(X, [0, -1]).shape == use(tg.tensor(X), np.array([0, -1])).shape
    with pytest.raises(IndexError, match=r"index 2 at position \(1,\)"):
        graph(X, [0, 2])


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda x: x[1.0], tg.DTypeError, "with a tensor of dtype float64"),
        (lambda x: x["a"], tg.DTypeError, "with a tensor of dtype <U1"),
        (lambda x: x[0.5:], TypeError, "cannot be interpreted as an integer"),
        (lambda x: x[True, 0], tg.DTypeError, "one boolean among other"),
        (lambda x: tg.gather(x, np.ones((2, 3), bool), 1), tg.DTypeError, "gather: .*\n  expected: integers"),
        (lambda x: tg.take(x, [True]), tg.DTypeError, "take: .*\n  expected: integers"),
        (lambda x: tg.one_hot([0.5], 2), tg.DTypeError, "one_hot: .*\n  expected: integers"),
        (lambda x: tg.gather(x, [0], 1), tg.ShapeError, "as many axes"),
        (lambda x: tg.gather(x, np.zeros((3, 1), int), 1), tg.ShapeError, "none longer"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_index_is_refused(use, error, message):
    with pytest.raises(error, match=message):
        use(tg.tensor(X))


# Indices as inputs ----------------------------------------------------------------------------------------------------


def test_indices_may_be_inputs_of_a_traced_function():
    def pick(x, i, j):
        return x[i, j] + tg.gather(x, i[:, None], 0)[:, 0] + x.at[i].add(1.0)[0, 0]

    i, j = np.array([1, 0]), np.array([2, -1])
    graph = tg.trace(pick, X, i, j)
    np.testing.assert_array_equal(graph(X, i, j).numpy(), pick(tg.tensor(X), tg.tensor(i), tg.tensor(j)).numpy())
    other = np.array([0, 0])
    np.testing.assert_array_equal(
        graph(X, other, j).numpy(), pick(tg.tensor(X), tg.tensor(other), tg.tensor(j)).numpy()
    )


def test_gradients_through_traced_indices():
    slope = lambda x, i: tg.grad((x[i] ** 2).sum(), x)
    for i in ([0, 0], [1, -1]):
        expected = slope(tg.tensor(X), tg.tensor(i)).numpy()
        np.testing.assert_array_equal(tg.trace(slope, X, tg.Spec((2,), np.int64))(X, i).numpy(), expected)


def test_a_mask_cannot_be_traced():
    with pytest.raises(tg.PlaceholderError, match="the places where it is true"):
        tg.trace(lambda x, m: x[m], (3,), tg.Spec((3,), bool))
    with pytest.raises(tg.PlaceholderError):
        tg.trace(lambda x, m: x[m], (), tg.Spec((), bool))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int32, np.uint64])
def test_narrow_index_types_reach_beyond_their_own_range(dtype):
    x, i = tg.tensor(np.ones((300, 2))), np.array([1, 100, 1], dtype)
    for recorded in (False, True):
        g = tg.grad(x[i].sum(), x, create_graph=recorded).numpy()
        assert (g[1, 0], g[100, 1], g.sum()) == (2, 1, 6)


def test_integer_tensors_are_python_indices():
    assert [10, 20, 30][tg.tensor(1)] == 20
    assert tg.arange(5)[tg.tensor(1) : tg.tensor(3)].tolist() == [1, 2]
    with pytest.raises(TypeError, match="only an integer tensor"):
        [1][tg.tensor(0.0)]


@pytest.mark.parametrize("use", [
    lambda t, i: t[i], lambda t, i: tg.take(t, i), lambda t, i: t.at[i].add(1.0), lambda t, i: t.at[i].set(1.0),
])  # fmt: skip
@pytest.mark.parametrize("compiled", [False, True])
def test_the_largest_unsigned_numbers_are_out_of_range(use, compiled):
    """They do not count from the end."""
    run = tg.compile(use) if compiled else use
    with pytest.raises(IndexError):
        run(tg.tensor(np.arange(5.0)), tg.tensor(np.array([2**64 - 1], np.uint64)))
    assert run(tg.tensor(np.arange(5.0)), tg.tensor(np.array([4], np.uint64))) is not None
