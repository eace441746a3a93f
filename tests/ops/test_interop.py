"""NumPy's functions on tensors, and arrays to and from other libraries."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops import numpy_functions

A = np.array([[0.5, 1.5, 2.5], [3.5, 0.25, 1.0]])
V = A[0]
IDENTITIES = {
    np.left_shift: lambda f: f(np.array([1, 2]), 1), np.right_shift: lambda f: f(np.array([4, 2]), 1),
    np.invert: lambda f: f(np.array([1, -2])),
    np.bitwise_and: lambda f: f(np.array([1, 3]), 2), np.bitwise_or: lambda f: f(np.array([1, 3]), 2),
    np.bitwise_xor: lambda f: f(np.array([1, 3]), 2),
}  # fmt: skip
def check(found, expected):
    for y, right in zip(found, expected, strict=True) if isinstance(expected, list | tuple) else [(found, expected)]:
        assert isinstance(y, tg.Tensor) or not isinstance(right, np.ndarray)
        np.testing.assert_allclose(np.asarray(y), right, rtol=1e-12)


@pytest.mark.parametrize("ufunc", numpy_functions.UFUNCS, ids=lambda f: f.__name__)
def test_ufuncs_record_our_operations_and_give_numpys_values(ufunc):
    if ufunc in IDENTITIES:
        check(IDENTITIES[ufunc](lambda *a: ufunc(*map(tg.tensor, a))), IDENTITIES[ufunc](ufunc))
        return
    b = np.array([[2.0], [0.5]])
    arrays = {1: (A,), 2: (A, A.T if ufunc is np.matmul else b)}[ufunc.nin]
    expected = ufunc(*arrays)
    check(ufunc(*map(tg.tensor, arrays)), expected)
    if ufunc.nin == 2:
        check(ufunc(arrays[0], tg.tensor(arrays[1])), expected)
        check(ufunc(tg.tensor(arrays[0]), arrays[1]), expected)


def test_gradients_flow_through_numpys_functions():
    x = tg.tensor(A)
    y = np.sum(np.tanh(np.dot(x, np.ones((3, 2)))) * 2)
    expected = tg.grad((tg.tanh(x @ np.ones((3, 2))) * 2).sum(), x)
    np.testing.assert_array_equal(tg.grad(y, x).numpy(), expected.numpy())


def test_dtypes_follow_our_rules():
    x = tg.tensor([1.0, 2.0])
    for y in (
        np.float64(2) * x,
        x * np.float64(2),
        np.float_power(x, 2),
        np.float_power(tg.tensor([1, 2]), tg.tensor([2, -3])),
        np.reciprocal(tg.tensor([2])),
    ):
        assert y.dtype == np.float32
    assert np.float_power(tg.tensor([2]), -1).tolist() == [0.5]


REFUSED = [
    (lambda x: np.add(x, x, out=np.zeros(3)), r"np.add with out on a tensor cannot be[\s\S]*np.add\(t.numpy\(\)\)"),
    (lambda x: np.add.reduce(x), "np.add.reduce on a tensor"), (lambda x: np.multiply.outer(x, x), "np.multiply.outer"),
    (lambda x: np.sinh(x), "np.sinh"),
    (lambda x: np.add(x, x, where=[True, False, True]), "np.add with where"),
    (lambda x: np.sort(x), "np.sort on a tensor"), (lambda x: np.linalg.svd(x), "np.svd"),
    (lambda x: np.linalg.norm(np.stack([x, x]), 2), "a matrix norm"),
    (lambda x: np.linalg.norm(np.stack([x, x]), 1), "a matrix norm"),
    (lambda x: np.dot(np.ones((2, 3)), tg.ones((2, 3, 4))), "which is not a matrix product"),
    (lambda x: np.pad(x, 1, mode="edge"), "mode='edge'"),
    (lambda x: np.where(x), "where takes 3 arguments"),
]  # fmt: skip


@pytest.mark.parametrize(("use", "message"), REFUSED)
def test_what_cannot_be_recorded_is_refused_and_never_silently_wrong(use, message):
    with pytest.raises(TypeError, match=message):
        use(tg.tensor(V))


# Arrays in and out ----------------------------------------------------------------------------------------------------


def test_arrays_come_out_read_only_without_a_copy():
    x = tg.tensor(A)
    view = np.asarray(x)
    assert np.shares_memory(view, x.numpy())
    assert not view.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    copy = np.array(x)
    copy[0] = 9
    assert (x.numpy() == A).all()
    assert np.asarray(x, np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="only by a copy"):
        np.array(x, np.float32, copy=False)


def test_a_tensor_holds_a_copy_of_the_array_it_was_made_from():
    source = A.copy()
    tensors = [tg.tensor(source), tg.parameter(source), tg.from_dlpack(source), source + tg.zeros(())]
    source[:] = -1
    assert all((t.numpy() == A).all() for t in tensors)
    constant = tg.tensor(A) + source  # as an operand, too
    expected = A - 1
    source[:] = 5
    np.testing.assert_array_equal(constant.numpy(), expected)
    x = tg.tensor(A)
    y = x * source
    source[:] = 0
    np.testing.assert_array_equal(tg.grad(y.sum(), x).numpy(), np.full(A.shape, 5.0))


def test_dlpack_exports_a_copy():
    x = tg.tensor(A)
    out = np.from_dlpack(x)
    np.testing.assert_array_equal(out, A)
    assert not np.shares_memory(out, x.numpy())
    with pytest.raises(BufferError, match="exported as a copy"):
        x.__dlpack__(copy=False)


@pytest.mark.parametrize("limits", [{"a_min": 0.5, "a_max": 1}, {"min": 0.5, "max": 1}, {"a_min": 0.5, "a_max": None}])
def test_clip_takes_numpys_keywords(limits):
    np.testing.assert_array_equal(np.clip(tg.tensor(A), **limits), np.clip(A, **limits))
