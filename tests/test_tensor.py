"""What tensors are to Python, NumPy and other libraries; leaves and how they change."""

from __future__ import annotations

import copy
import gc
import math
import operator
import pickle
import re
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg

# As Python sees them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t", "text"),
    [
        (tg.tensor([1.0, 2.0]), "tensor([1., 2.], shape=(2,), dtype=float32)"),
        (tg.tensor([1, 2], name="n"), "tensor([1, 2], shape=(2,), dtype=int64, name='n')"),
        (tg.tensor(True), "tensor(True, shape=(), dtype=bool)"),
        (tg.parameter(2.0), "tensor(2., shape=(), dtype=float32, requires_grad=True)"),
        (tg.parameter(2.0) * 1, "tensor(2., shape=(), dtype=float32)"),
        (tg.zeros((0, 3)), "tensor([], shape=(0, 3), dtype=float32)"),
        (tg.ones((2, 2)), "tensor([[1., 1.],\n        [1., 1.]], shape=(2, 2), dtype=float32)"),
    ],
)
def test_repr(t, text):
    assert repr(t) == text
    assert f"{t}" == str(t) == text


def test_repr_of_a_large_tensor_is_short():
    assert len(repr(tg.zeros(10_000))) < 120
    assert "..." in repr(tg.zeros(10_000))


def test_spec_repr_and_equality():
    spec = tg.ones((2, 3)).spec
    assert spec == tg.Spec((2, 3), np.float32) == tg.Spec([2, 3])
    assert (spec.ndim, spec.size, tg.Spec(4).shape, tg.Spec(()).size) == (2, 6, (4,), 1)
    assert repr(spec) == "Spec(shape=(2, 3), dtype=dtype('float32'))"


def test_len_and_iteration():
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1.0, 2.0], [3.0, 4.0]]
    a, b = x
    assert a.inputs == b.inputs == (x,)
    assert list(tg.zeros((0, 2))) == []
    for scalar in (len, list):
        with pytest.raises(TypeError, match=r"len.. of a tensor without axes"):
            scalar(tg.tensor(1.0))


def test_truth_value():
    assert bool(tg.tensor([[2.0]]))
    assert not tg.tensor(0)
    with pytest.raises(ValueError, match=r"truth value of tensor 'x' \(2,\) float32 is ambiguous(.|\n)*use .any\(\)"):
        bool(tg.ones(2).named("x"))


def test_numbers():
    t = tg.tensor([2.5])
    assert (float(t), int(t), t.item(), f"{t:.2f}", math.sqrt(tg.tensor(4.0))) == (2.5, 2, 2.5, "2.50", 2.0)
    assert type(t.item()) is float
    assert type(tg.tensor(3).item()) is int
    assert list(range(tg.tensor(3))) == [0, 1, 2]
    assert "abc"[tg.tensor([1])] == "b"
    with pytest.raises(TypeError, match="only an integer tensor"):
        "abc"[t]
    for number in (float, int, lambda t: t.item(), lambda t: f"{t:.2f}"):
        with pytest.raises(tg.ShapeError, match=r"holds 2 values(.|\n)*tolist"):
            number(tg.ones(2))


def test_round():
    assert round(tg.tensor([1.26]), 1).item() == pytest.approx(1.3)
    assert round(tg.tensor([2.5])).item() == 2.0


def test_containment():
    assert 2.0 in tg.tensor([1.0, 2.0])
    assert 3.0 not in tg.tensor([1.0, 2.0])


def test_equality_is_by_element_and_hash_by_identity():
    a, b = tg.tensor([1.0, 2.0]), tg.tensor([1.0, 3.0])
    assert (a == b).tolist() == [True, False]
    assert (a != b).tolist() == [False, True]
    assert (a == 1.0).dtype == bool
    assert len({a, b, a}) == 2
    assert {a: 1, b: 2}[b] == 2


def test_tolist_and_numpy():
    x = tg.tensor([[1, 2], [3, 4]])
    assert x.tolist() == [[1, 2], [3, 4]]
    view = x.numpy()
    assert np.shares_memory(view, x.data)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 7
    assert x.data.flags.writeable


def test_writing_into_a_tensor_is_refused_with_the_way_to_write_it():
    x = tg.zeros(3).named("h")
    with pytest.raises(tg.ImmutableError, match=r"'h' .*cannot be written into(.|\n)*t.at\[index\].set(.|\n)*assign"):
        x[0] = 1.0
    with pytest.raises(tg.ImmutableError):
        x[:] += 1
    assert x.tolist() == [0.0, 0.0, 0.0]


def test_augmented_assignment_makes_a_new_tensor():
    x = y = tg.zeros(2)
    x += 1
    assert (x.tolist(), y.tolist()) == ([1.0, 1.0], [0.0, 0.0])
    assert x.inputs[0] is y


def test_a_tensor_is_not_called():
    with pytest.raises(TypeError, match=r"write tg.tensor\(data\)"):
        tg.Tensor([1.0])
    with pytest.raises(AttributeError):
        tg.ones(1).attribute = 3


def test_tensor_copies_what_it_is_given():
    array = np.ones(2)
    made = [tg.tensor(array), tg.parameter(array), tg.tanh(array).inputs[0], tg.from_dlpack(array)]
    array[:] = 7
    assert [t.tolist() for t in made] == [[1.0, 1.0]] * 4
    x = tg.tensor(made[0])
    assert x.is_leaf
    assert not np.shares_memory(x.data, made[0].data)


def test_numbers_too_large_for_float32_are_infinite_without_a_warning():
    assert tg.tensor([1e300]).tolist() == [np.inf]
    assert (tg.ones(1) * 1e300).tolist() == [np.inf]
    assert (tg.ones(1) * [-1e300]).tolist() == [-np.inf]


# assign and detach ----------------------------------------------------------------------------------------------------


def test_assign_gives_a_new_value_and_leaves_the_old_array():
    w = tg.parameter([1.0, 2.0], name="w")
    old = w.numpy()
    assert w.assign(np.array([3.0, 4.0])) is w
    assert (w.tolist(), old.tolist(), w.dtype) == ([3.0, 4.0], [1.0, 2.0], np.float32)
    given = tg.tensor([5.0, 6.0])
    w.assign(given)
    assert not np.shares_memory(w.data, given.data)
    w.assign([1, 2])
    assert w.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("value", "kind", "match"),
    [
        ([1.0], tg.ShapeError, r"assign: tensor 'w' \(2,\) float32(.|\n)*expected: \(2,\)(.|\n)*got:      \(1,\)"),
        (1.0, tg.ShapeError, r"got:      \(\)"),
        ([1j, 2], tg.DTypeError, "expected: float32(.|\n)*got:      complex128"),
        (["a", "b"], tg.DTypeError, "got:      <U1"),
    ],
)
def test_assign_refuses_what_does_not_fit(value, kind, match):
    w = tg.parameter([1.0, 2.0], name="w")
    with pytest.raises(kind, match=match):
        w.assign(value)
    assert (w.tolist(), w.assigned) == ([1.0, 2.0], 0)


def test_assign_cuts_no_fractions_off():
    n = tg.tensor([1, 2])
    with pytest.raises(tg.DTypeError, match=r"expected: int64(.|\n)*got:      float64"):
        n.assign([1.5, 2.0])
    assert n.assign(np.array([3, 4], np.int32)).tolist() == [3, 4]


def test_results_are_not_assigned_to():
    with pytest.raises(tg.ImmutableError, match=r"was computed, so it cannot be assigned(.|\n)*detach"):
        (tg.ones(2) * 2).assign([1.0, 1.0])


@pytest.mark.parametrize("differentiate", [lambda y, w: tg.grad(y, w), lambda y, w: y.backward()])
def test_a_graph_from_before_an_assignment_is_stale(differentiate):
    w = tg.parameter([1.0, 2.0], name="w")
    y = (w * w).sum()
    w.assign([3.0, 4.0])
    with pytest.raises(tg.StaleError, match=r"tensor 'w' .* was assigned a new value after (.|\n)*optimizer.step\(\)"):
        differentiate(y, w)
    assert w.grad is None
    assert tg.grad((w * w).sum(), w).tolist() == [6.0, 8.0]


def test_an_assignment_elsewhere_makes_nothing_stale():
    w, other = tg.parameter(1.0), tg.parameter(2.0)
    y = w * w
    other.assign(3.0)
    assert tg.grad(y, w).item() == 2.0


def test_detach_cuts_the_history_and_remembers_where():
    w = tg.parameter([2.0])
    h = (w * 3).named("h")
    cut = h.detach()
    assert (cut.tolist(), cut.is_leaf, cut.requires_grad, cut.name) == ([6.0], True, False, "h")
    assert cut.params == {"origin": h.serial}
    with pytest.raises(tg.DisconnectedError):
        tg.grad(cut.sum(), w)


def test_detach_frees_the_history():
    gc.disable()
    try:
        x = tg.ones(3)
        h = tg.tanh(x * 2)
        inner = weakref.ref(h.inputs[0])
        cut = h.detach()
        del h
        assert inner() is None
        assert cut.tolist() == pytest.approx([math.tanh(2)] * 3)
    finally:
        gc.enable()


def test_detach_keeps_the_value_when_the_parameter_is_assigned():
    w = tg.parameter([1.0])
    cut = w.detach()
    w.assign([2.0])
    assert cut.tolist() == [1.0]


# Copies ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize(
    "leaf",
    [tg.parameter([[1.0, 2.0]], name="w"), tg.tensor(np.arange(3)), tg.tensor(2.0), (tg.ones(2) * 3).detach()],
    ids=["parameter", "integers", "scalar", "detached"],
)
def test_leaves_are_copied(again, leaf):
    other = again(leaf)
    assert other is not leaf
    assert (other.tolist(), other.spec, other.name) == (leaf.tolist(), leaf.spec, leaf.name)
    assert (other.requires_grad, other.is_leaf, other.serial != leaf.serial) == (leaf.requires_grad, True, True)
    assert not np.shares_memory(other.data, leaf.data)
    assert tg.graph(other).nodes == (other,)
    if again is copy.deepcopy:
        assert (other.op, other.params) == (leaf.op, leaf.params)


def test_deepcopy_keeps_what_is_shared_shared():
    w = tg.parameter([1.0])
    first, second = copy.deepcopy([w, w])
    assert first is second
    assert first is not w


@pytest.mark.parametrize("again", [copy.deepcopy, pickle.dumps, copy.copy], ids=["deepcopy", "pickle", "copy"])
def test_computed_tensors_are_not_copied(again):
    y = (tg.parameter([1.0]) * 2).named("y")
    with pytest.raises(tg.GradientError, match=r"tensor 'y' .* was computed(.|\n)*\.detach\(\) or \.numpy\(\)"):
        again(y)


def test_a_result_that_needs_no_gradient_is_its_own_copy():
    """It does not change; drawing libraries copy what they are given."""
    y = tg.tensor([1.0]) * 2
    assert copy.copy(y) is y
    w = tg.parameter([1.0])
    assert copy.copy(w) is not w


# NumPy ----------------------------------------------------------------------------------------------------------------


def test_numpy_functions_record_our_operations():
    t, u = tg.tensor([0.5, -1.0]), tg.tensor([2.0, 3.0])
    joined = np.concatenate([t, u])
    assert (joined.op.name, joined.inputs) == ("concatenate", (t, u))
    y = np.tanh(t)
    assert (y.op.name, y.inputs) == ("tanh", (t,))
    np.testing.assert_allclose(y, np.tanh(t.numpy()), rtol=1e-6)
    assert np.add(t, u).op.name == "add"
    assert np.where(t > 0, t, u).tolist() == [0.5, 3.0]
    assert np.sum(t).op.name == "sum"


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a + b, lambda a, b: b + a, lambda a, b: a - b, lambda a, b: b * a, lambda a, b: a / b,
        lambda a, b: a**2 - b, lambda a, b: a @ b, lambda a, b: b @ a, lambda a, b: a // b, lambda a, b: a % b,
        lambda a, b: a < b, lambda a, b: a == b, lambda a, b: np.maximum(a, b), lambda a, b: a ** b,
    ],
)  # fmt: skip
def test_arrays_and_tensors_mix(function):
    a, b = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[2.0, 2.0], [0.5, 3.0]])
    expected = function(a, b)
    for first, second in ((a, tg.tensor(b)), (tg.tensor(a), b), (tg.tensor(a), tg.tensor(b))):
        result = function(first, second)
        assert isinstance(result, tg.Tensor)
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=1e-14)


def test_an_array_is_not_changed_in_place_by_a_tensor():
    array = np.ones(2)
    with pytest.raises(TypeError, match=r"np.add with out on a tensor cannot be recorded"):
        array += tg.ones(2)
    assert array.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("number", [2.0, 2, np.float64(2), np.float32(2), np.int64(2), True, np.bool_(True)])
def test_numbers_do_not_promote_float32(number):
    t = tg.ones(2)
    for y in (t * number, number * t, t + number, number - t, t / number, number**t, np.multiply(number, t)):
        assert isinstance(y, tg.Tensor)
        assert y.dtype == np.float32
    assert (t * number).tolist() == [float(number)] * 2


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda t: np.linalg.svd(t), "np.svd"),
        (lambda t: np.fft.fft(t), "np.fft"),
        (lambda t: np.sort(t), "np.sort"),
        (lambda t: np.arctan2(t, t), "np.arctan2"),
        (lambda t: np.add.reduce(t), "np.add.reduce"),
        (lambda t: np.add(t, t, where=[True, False]), "np.add with where"),
        (lambda t: np.exp(t, dtype=np.int64), "np.exp with dtype"),
    ],
)
def test_other_numpy_functions_are_refused_with_a_way_out(call, name):
    with pytest.raises(TypeError, match=rf"{name} on a tensor cannot be recorded\n[\s\S]*  hint: .*numpy\(\)"):
        call(tg.ones(2))


def test_asarray_shares_memory_and_array_copies():
    t = tg.ones(2)
    shared, copied = np.asarray(t), np.array(t)
    assert np.shares_memory(shared, t.data)
    assert not shared.flags.writeable
    assert not np.shares_memory(copied, t.data)
    assert copied.flags.writeable
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="only by a copy"):
        np.asarray(t, dtype=np.float64, copy=False)


# DLPack ---------------------------------------------------------------------------------------------------------------


def test_dlpack_to_and_from_numpy():
    t = tg.tensor(np.arange(6.0).reshape(2, 3))
    array = np.from_dlpack(t)
    assert array.tolist() == t.tolist()
    assert not np.shares_memory(array, t.data)
    assert tg.from_dlpack(array).tolist() == t.tolist()
    with pytest.raises(BufferError, match="exported as a copy"):
        np.from_dlpack(t, copy=False)


def test_dlpack_to_and_from_torch():
    torch = pytest.importorskip("torch")
    t = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    theirs = torch.from_dlpack(t.T)
    assert theirs.tolist() == t.T.tolist()
    theirs[0, 0] = 9.0
    assert t.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    back = tg.from_dlpack(theirs)
    assert (back.tolist(), back.dtype) == (theirs.tolist(), np.float32)
    theirs[0, 0] = 7.0
    assert back.tolist()[0][0] == 9.0


def test_dlpack_of_integers_and_booleans():
    torch = pytest.importorskip("torch")
    assert torch.from_dlpack(tg.tensor([1, 2])).dtype == torch.int64
    assert tg.from_dlpack(torch.tensor([True, False])).tolist() == [True, False]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("value", "error", "message"), [
    (np.ones((3, 2)), tg.ShapeError, r"grad: .*\n  expected: \(2, 3\)\n  got:      \(3, 2\)"),
    (tg.ones(3), tg.ShapeError, r"expected: \(2, 3\)\n  got:      \(3,\)"),
    (1.0, tg.ShapeError, r"got:      \(\)"),
    ([[1.0], [1.0, 2.0]], tg.ShapeError, "grad: .*\n.*\n.*inhomogeneous"),
    (np.ones((2, 3), complex), tg.DTypeError, "expected: float32\n  got:      complex128"),
    (np.full((2, 3), "a"), tg.DTypeError, "expected: float32"),
    ("text", tg.ShapeError, r"expected: \(2, 3\)"),
])  # fmt: skip
def test_a_gradient_that_does_not_fit_is_refused(value, error, message, compiled):
    w = tg.parameter(np.ones((2, 3), np.float32))

    def put():
        w.grad = value

    with pytest.raises(error, match=message):
        (tg.compile(put) if compiled else put)()
    assert w.grad is None


@pytest.mark.parametrize("value", [
    np.ones((2, 3)), np.ones((2, 3), int), [[1, 1, 1], [1, 1, 1]], tg.ones((2, 3), np.float64),
])  # fmt: skip
def test_a_gradient_becomes_a_tensor_of_the_parameters_type(value):
    w = tg.parameter(np.ones((2, 3), np.float32))
    w.grad = value
    assert isinstance(w.grad, tg.Tensor)
    assert w.grad.dtype == np.float32
    assert w.grad.tolist() == [[1.0] * 3] * 2


def test_integers_take_no_gradient():
    with pytest.raises(tg.DTypeError, match="takes no gradient"):
        tg.tensor([1, 2]).grad = [1, 2]


IN_PLACE = {
    "+": operator.iadd, "-": operator.isub, "*": operator.imul, "/": operator.itruediv, "//": operator.ifloordiv,
    "%": operator.imod, "**": operator.ipow, "@": operator.imatmul,
}  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("sign", IN_PLACE)
def test_a_parameter_is_not_changed_in_place_without_a_word(sign, compiled):
    w = tg.parameter(np.ones((2, 2)), name="w")
    run = lambda: IN_PLACE[sign](w, tg.ones((2, 2)))
    with pytest.raises(tg.ImmutableError, match=rf"w.* is not changed by {re.escape(sign)}=(.|\n)*p\.assign\(p"):
        (tg.compile(run) if compiled else run)()


def test_gradient_descent_by_hand():
    w = tg.parameter([1.0, 2.0])
    (w * w).sum().backward()
    for p in [w]:
        p.assign(p - 0.5 * p.grad)
    assert w.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("sign", IN_PLACE)
def test_other_names_are_given_to_new_tensors(sign):
    x = tg.tensor(np.ones((2, 2)))
    y = IN_PLACE[sign](x, 2 * np.ones((2, 2)))
    assert isinstance(y, tg.Tensor)
    assert y is not x
    assert x.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    h = x * 1
    with np.errstate(all="ignore"):
        expected = IN_PLACE[sign](np.ones((2, 2)), y.numpy())
    np.testing.assert_array_equal(IN_PLACE[sign](h, y).numpy(), expected)


@pytest.mark.parametrize("value", ["no", 1, None])
def test_requires_grad_is_a_switch(value):
    w = tg.parameter([1.0])
    with pytest.raises(TypeError, match="requires_grad must be True or False"):
        w.requires_grad = value
    assert w.requires_grad


def test_an_op_is_its_name_in_messages():
    assert f"{tg.tanh.op} {tg.tanh.op!r}" == "tanh <op tanh>"
