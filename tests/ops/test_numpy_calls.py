"""Calls as a user of NumPy writes them: each gives NumPy's value and the right gradient, or an error in our words."""

import inspect

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops import numpy_functions

A = np.array([[0.53, 1.51, 2.47], [3.57, 0.26, 1.08]])  # no kink of a function called here is near
STEP = 1e-6

CALLS = """
np.sum(a) | np.sum(a, 0) | np.sum(a, axis=(0, 1)) | np.sum(a, axis=1, keepdims=True) | np.sum(a, 0, None, None, True)
np.sum(a, dtype=np.float64) | np.sum(a, dtype=np.int64) | np.sum(a, where=True) | np.sum(a, where=a > 1)
np.sum(a, initial=1.0) | np.sum(a, out=np.zeros(())) | np.prod(a, axis=1) | np.prod(a, dtype=np.float64)
np.mean(a, axis=-1, keepdims=True) | np.mean(a, dtype=np.float64) | np.mean(a, where=[True, False, True])
np.max(a, 0) | np.max(a, axis=1, keepdims=True) | np.max(a, initial=9.0) | np.amax(a, axis=0) | np.min(a)
np.amin(a, 0) | np.var(a, axis=0, ddof=1) | np.var(a, correction=1) | np.std(a, axis=1) | np.std(a, dtype=np.float64)
np.var(a, mean=np.zeros(())) | np.std(a, 0, mean=np.ones(3)) | np.diff(a, n=-1) | np.diff(a, n=0)
np.ptp(a, axis=1) | np.argmax(a, axis=1) | np.argmin(a, axis=0, keepdims=True) | np.argmax(a, out=np.zeros((), int))
np.any(a, axis=1) | np.all(a > 0, axis=0, keepdims=True) | np.cumsum(a) | np.cumsum(a, axis=1)
np.cumsum(a, 0, np.float64) | np.linalg.norm(a) | np.linalg.norm(a[0], 1) | np.linalg.norm(a, 2, 1)
np.linalg.norm(a, np.inf, 0) | np.linalg.norm(a, None, 1) | np.linalg.norm(a, ord=2) | np.linalg.norm(a, ord="fro")
np.linalg.norm(a, ord=3, axis=0) | np.linalg.norm(a, axis=1, keepdims=True) | np.diff(a) | np.diff(a, 2)
np.diff(a, axis=0) | np.diff(a, prepend=0.0) | np.dot(a, a.T) | np.dot(a, 2.0) | np.dot(a[0], a[1])
np.dot(a, b=a[0]) | np.dot(a, np.ones((2, 3, 4))) | np.dot(np.ones(2), np.ones((3, 2, 1)) * a[0, 0])
np.matmul(a, a.T) | np.inner(a, a) | np.inner(a, 2.0) | np.vdot(a, a) | np.outer(a[0], a[1]) | np.tensordot(a, a)
np.tensordot(a, a, axes=([0], [0])) | np.tensordot(a, a, axes=(1, 1)) | np.tensordot(a, a, axes=0)
np.tensordot(a, a, axes=([0, 1], [0])) | np.einsum("ij->ji", a) | np.einsum("ij,kj->ik", a, a, optimize=True)
np.einsum(a, [0, 1], [1, 0]) | np.einsum(a, [0, 1], a, [0, 1]) | np.einsum(a, [0, 1], a, [2, 1], [2, 0])
np.einsum("...j->...", a) | np.einsum(a, [0, 99]) | np.einsum("ij->i", a, dtype=np.float64)
np.einsum("ij->i", a, out=np.zeros(2)) | np.reshape(a, (3, 2)) | np.reshape(a, -1) | np.reshape(a, shape=(6,))
np.reshape(a, (3, 2), order="C") | np.reshape(a, (3, 2), order="F") | np.ravel(a) | np.ravel(a, order="F")
np.transpose(a) | np.transpose(a, (1, 0)) | np.transpose(a, axes=(1, 0)) | np.transpose(a, axes=[1, 0])
np.matrix_transpose(a) | np.permute_dims(a, (1, 0)) | np.swapaxes(a, 0, 1) | np.swapaxes(a, axis1=0, axis2=-1)
np.moveaxis(a, 0, 1) | np.moveaxis(a, [0, 1], [1, 0]) | np.moveaxis(a, source=0, destination=-1)
np.moveaxis(a, (0, 1), (0,)) | np.broadcast_to(a, (2, 2, 3)) | np.broadcast_to(a, shape=(2, 2, 3), subok=True)
np.expand_dims(a, 1) | np.expand_dims(a, axis=(0, 3)) | np.expand_dims(a, (0, 0)) | np.squeeze(a[None])
np.squeeze(a[None], axis=0) | np.atleast_1d(a[0, 0]) | np.atleast_2d(a[0]) | np.atleast_3d(a) | np.atleast_3d(a[0])
np.atleast_2d(a[0], a)[0] | np.pad(a, 1) | np.pad(a, (1, 2)) | np.pad(a, pad_width=((1, 0), (0, 2)), mode="constant")
np.pad(a, 1, constant_values=2.0) | np.pad(a, 1, mode="edge") | np.tile(a, 2) | np.tile(a, reps=(2, 1))
np.repeat(a, 2) | np.repeat(a, [1, 2], axis=0) | np.repeat(a, repeats=2, axis=1) | np.flip(a)
np.flip(a, axis=(0, 1)) | np.flipud(a) | np.fliplr(a) | np.roll(a, 2) | np.roll(a, 1, axis=1)
np.roll(a, (1, 2), axis=(0, 1)) | np.roll(a, 1, axis=(0, 1)) | np.roll(a, (1, 1), axis=1)
np.roll(a, (1, 1, 1), axis=(0, 1)) | np.concatenate([a, a]) | np.concatenate((a, a), axis=1)
np.concatenate([a, a], axis=None) | np.concat([a, a], axis=-1) | np.concatenate([a, a], dtype=np.float64)
np.concatenate([a, a], out=np.zeros((4, 3))) | np.stack([a, a], axis=1) | np.stack(arrays=[a, a], axis=-1)
np.vstack([a, a]) | np.vstack([a[0], a[1]]) | np.hstack([a, a]) | np.hstack([a[0], a[1]]) | np.dstack([a, a])
np.dstack([a[0], a[1]]) | np.column_stack([a[0], a[1]]) | np.column_stack([a, a[:, 0]]) | np.append(a, a)
np.append(a, a, axis=0) | np.split(a, 3, axis=1)[1] | np.split(a, [1], axis=1)[1]
np.split(a, indices_or_sections=2)[0] | np.array_split(a, 2, axis=1)[0] | np.array_split(a, [1, 2], 1)[2]
np.vsplit(a, 2)[1] | np.hsplit(a, 3)[2] | np.take(a, [4, 0]) | np.take(a, [[1]], axis=0)
np.take(a, indices=[1], axis=1, mode="raise") | np.take(a, [9], mode="wrap")
np.take_along_axis(a, np.array([[1], [0]]), 1) | np.take_along_axis(a, np.array([[1, 0]]), 1)
np.take_along_axis(a, np.array([[1, 0, 1]]), axis=0) | np.take_along_axis(a[:1], np.array([[1], [0]]), axis=1)
np.take_along_axis(a, np.array([1, 5]), None) | np.diagonal(a) | np.diagonal(a, offset=1) | np.diagonal(a, -1, 1, 0)
np.trace(a) | np.trace(a, offset=-1) | np.trace(a, 0, 0, 1, np.float64) | np.tril(a) | np.triu(a, k=1) | np.tril(a[0])
np.where(a > 1, a, 0.0) | np.where(a > 1) | np.where([True, False, True], a, -a) | np.clip(a, 0.5, 1.0)
np.clip(a, 1.0, None) | np.clip(a, a_min=0.5, a_max=1.0) | np.clip(a, min=0.75)
np.clip(a, 0.5, 1.0, out=np.zeros((2, 3))) | np.round(a * 3, 1) | np.round(a, decimals=0) | np.copy(a)
np.astype(a, np.float64) | np.zeros_like(a) | np.ones_like(a, dtype=np.int64) | np.full_like(a, 3.0)
np.full_like(a, a[0]) | np.shape(a) | np.ndim(a) | np.size(a) | np.size(a, 1) | np.size(a, axis=0) | np.allclose(a, A)
np.allclose(a, b=A, rtol=1e-3) | np.array_equal(a, A) | np.isclose(a, 1.0) | np.count_nonzero(a)
np.argsort(a, axis=1) | np.nonzero(a > 1)[0] | np.argwhere(a > 1) | np.searchsorted(np.arange(3.0), a) | np.add(a, a)
np.add(a, 1, dtype=np.float64) | np.add(a, a, out=np.zeros((2, 3))) | np.add(a, a, where=a > 1) | np.add.reduce(a)
np.add.outer(a, a) | np.exp(a, dtype=np.float64) | np.exp(a, casting="same_kind") | np.tanh(a, order="K")
np.exp(a, dtype=int) | np.exp(a, None) | np.hypot(a, a) | np.sinh(a) | np.heaviside(a, 0.5) | np.maximum(a, 1.0)
np.divmod(a, 2.0)[1] | np.modf(a)[0] | np.sort(a) | np.median(a) | np.percentile(a, 50) | np.nansum(a) | np.cumprod(a)
np.average(a) | np.cross(a, a) | np.kron(a, a) | np.interp(a, [0.0, 4.0], [0.0, 1.0]) | np.gradient(a)
np.convolve(a[0], a[1]) | np.fft.fft(a) | np.linalg.det(a[:, :2]) | np.linalg.inv(a[:, :2]) | np.linalg.svd(a)
np.linalg.solve(a[:, :2], a) | np.linalg.qr(a) | np.mean([a[0, 0], a[1, 1]]) | np.array([a[0, 0] * 3, a[1, 1]])
np.r_[a[0, 0], a[1, 1]] | np.c_[a[0], a[1]] | np.vectorize(lambda v: v * v)(a) | np.full(2, a[0, 0])
np.linspace(0.0, a[0, 0], 3) | np.ma.array(a) * 2 | a + 1 | 1 - a | a / 2 | 2 ** a | a ** 2 | a @ a.T
np.ones((2, 2)) @ a | -a | abs(a) | a // 1 | a % 1 | divmod(a, 1)[0] | a > 1 | a.reshape(3, 2) | a.reshape((3, 2))
a.reshape(-1) | a.reshape(3, 2, order="F") | a.sum(axis=0) | a.sum(0, keepdims=True) | a.sum(axis=(0, 1))
a.sum(dtype=np.float64) | a.mean(axis=1, keepdims=True) | a.max(axis=0) | a.min() | a.var(ddof=1) | a.std(axis=0)
a.prod(axis=1) | a.argmax(axis=1) | a.argmin() | a.cumsum(axis=1) | a.any() | a.all(axis=0) | a.T | a.transpose()
a.transpose(1, 0) | a.transpose((1, 0)) | a.swapaxes(0, 1) | a.ravel() | a.flatten() | a.squeeze()
a.repeat(2, axis=0) | a.take([1], axis=1) | a.clip(0.5, 1.0) | a.clip(min=0.5) | a.round() | a.round(1)
a.astype(np.float64) | a.astype("float64") | a.astype("nonsense") | a.item(0) | a[0, 0].item() | a.tolist()
a.dot(a.T) | a.copy() | a.trace() | a.diagonal() | a.sort() | a.argsort() | a.nonzero() | a.ptp() | a.fill(0) | a.real
a.imag | a.nbytes | a.flat | a.strides | a.view() | a.cumprod() | a[0] | a[:, 1] | a[..., None] | a[a > 1]
a[[0, 1], [2, 0]] | a[::-1] | a.shape | a.ndim | a.size | a.dtype | len(a)
"""
CALLS = [call.strip() for line in CALLS.strip().splitlines() for call in line.split(" | ")]
OURS = (tg.ShapeError, tg.DTypeError, tg.GradientError)


def outcome(call, a):
    """What a call gives: as arrays, numbers or the like; or the error that it raised."""
    try:
        return eval(call, {"np": np, "a": a, "A": A})
    except Exception as error:
        return error


def in_our_words(error):
    """Whether an error says operation, what is expected or came, and what to do; or only what there is instead."""
    text = str(error)
    return isinstance(error, OURS) or "\n  hint: " in text or "\n  expected: " in text


def plain(value):
    return np.asarray(value.numpy() if isinstance(value, tg.Tensor) else value)


def agree(found, expected, what):
    """The same numbers, or the same text or dtype."""
    if not isinstance(expected, np.ndarray | np.number | float | int | bool | np.bool_):
        assert found == expected, what
    else:
        np.testing.assert_allclose(plain(found), plain(expected), rtol=1e-12, err_msg=what)


def slope(call, weights):
    """The gradient of the weighted sum of a call's result, by differences."""
    found = np.zeros_like(A)
    for place in np.ndindex(*A.shape):
        ends = []
        for step in (STEP, -STEP):
            moved = A.copy()
            moved[place] += step
            ends.append((eval(call, {"np": np, "a": moved, "A": A}) * weights).sum())
        found[place] = (ends[0] - ends[1]) / (2 * STEP)
    return found


def check(call):
    """NumPy's value and the gradient that differences give, or our words."""
    expected, found = outcome(call, A.copy()), outcome(call, tg.parameter(A))
    if isinstance(found, Exception):
        assert in_our_words(found) or in_our_words(found.__cause__), f"{type(found).__name__}: {found}"
        return
    assert not isinstance(expected, Exception), f"NumPy refuses what we compute: {expected}"
    agree(found, expected, call)
    if isinstance(found, tg.Tensor) and found.requires_grad:
        weights = np.random.default_rng(0).normal(size=found.shape)
        x = tg.parameter(A)
        y = (eval(call, {"np": np, "a": x, "A": A}) * weights).sum()
        np.testing.assert_allclose(tg.grad(y, x).numpy(), slope(call, weights), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_of_numpys_gives_its_value_and_the_right_gradient_or_says_why_not(call):
    check(call)


WORK = [c for c in CALLS if c.startswith(("np.", "a.")) and not isinstance(outcome(c, tg.tensor(A)), Exception)]


def test_most_calls_work():
    assert len(WORK) > 200


def test_every_function_of_the_table_is_called():
    named = {eval(c.partition("(")[0], {"np": np}) for c in WORK if c.startswith("np.")}
    assert set(numpy_functions.FUNCTIONS) - named - {np.empty_like} == set()


@pytest.mark.parametrize("data", [tg.tensor, tg.parameter])
def test_what_numpy_takes_apart_is_not_detached_in_silence(data):
    x = data([1.0, 2.0])
    for use in (
        lambda: np.array([x[0] * 3, x[1]]), lambda: np.r_[x[0] * 3, x[1]], lambda: np.mean([x[0] * 3, x[1]]),
        lambda: np.vectorize(lambda v: 3 * v)(x), lambda: x * [x[0] * 3, x[1]], lambda: np.full(2, x[0]),
    ):  # fmt: skip
        with pytest.raises((tg.GradientError, tg.DTypeError, ValueError)) as caught:
            use()
        told = caught.value if type(caught.value) is not ValueError else caught.value.__cause__
        assert "\n  hint:     use tg.stack" in str(told)


# Every function that NumPy hands to us --------------------------------------------------------------------------------

FORMS = ["f(a)", "f(a, axis=0)", "f(a, 1)", "f(a, a)", "f([a, a])", "f(a, a, a)", "f(a, out=np.zeros((2, 3)))"]
APART = {np.save, np.savez, np.savez_compressed, np.savetxt, np.empty_like}  # write files; hold anything
HOMES = {"np": np, "np.linalg": np.linalg, "np.fft": np.fft}
DISPATCHED = {
    f"{home}.{name}": function
    for home, module in HOMES.items()
    for name, function in inspect.getmembers(module)
    if (hasattr(function, "_implementation") or isinstance(function, np.ufunc)) and function not in APART
}


@pytest.mark.parametrize("name", DISPATCHED)
def test_every_function_of_numpys_agrees_or_is_refused_in_our_words(name):
    refused = 0
    for form in FORMS:
        call = form.replace("f(", f"{name}(")
        expected, found = outcome(call, A.copy()), outcome(call, tg.tensor(A))
        if isinstance(expected, Exception):
            continue
        if isinstance(found, Exception):
            assert in_our_words(found), f"{call}: {type(found).__name__}: {found}"
            refused += 1
            continue
        for y, right in zip(*[v if isinstance(v, list | tuple) else [v] for v in (found, expected)], strict=True):
            agree(y, right, call)
    assert refused < len(FORMS)


@pytest.mark.parametrize("form", ["reduce(a)", "accumulate(a)", "outer(a, a)", "reduceat(a, [0, 1])", "at(a, 0, 1.0)"])
def test_methods_of_ufuncs_are_refused(form):
    with pytest.raises(TypeError, match=r"on a tensor cannot be recorded[\s\S]*hint"):
        eval(f"np.add.{form}", {"np": np, "a": tg.tensor(A)})


# Values that may leave ------------------------------------------------------------------------------------------------


def test_values_without_a_gradient_go_out_as_before():
    w, x = tg.parameter(A), tg.tensor(A)
    with tg.no_grad():
        results = [np.asarray(w), np.asarray(w * 2), np.array([w[0, 0], w[0, 1]]), np.vectorize(abs)(w)]
    results += [np.asarray(x), np.asarray(x * 2), np.asarray(w.detach()), w.numpy(), (w * 2).numpy(), np.asarray(w > 1)]
    assert all(type(r) is np.ndarray for r in results)
    np.testing.assert_allclose(x * 2, 2 * A)
    np.testing.assert_allclose(tg.sum(x), A.sum())
    np.testing.assert_array_equal(w > 1, A > 1)
    assert float(w.sum()) == (w * 1).sum().item() == A.sum()
    assert (w * 2).tolist() == (2 * A).tolist()
    assert [float(v) for v in w[0]] == A[0].tolist()


def test_an_array_of_what_needs_a_gradient_is_refused():
    w = tg.parameter(A)
    for use in (np.asarray, np.array, np.from_dlpack, np.ma.array):
        with pytest.raises(tg.GradientError, match=r"would lose its gradient[\s\S]*t.numpy\(\)"):
            use(w * 2)


def test_a_test_may_compare_what_needs_a_gradient():
    w = tg.parameter(A)
    np.testing.assert_allclose(w * 2, 2 * A)
    np.testing.assert_array_equal(w.sum(), A.sum())
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        np.testing.assert_allclose(w * 2, A)


def test_masks_do_not_vanish():
    masked, x = np.ma.array([1.0, 2.0], mask=[False, True]), tg.tensor([1.0, 2.0])
    for use in (
        lambda: tg.tensor(masked), lambda: tg.tensor([masked, masked]), lambda: x * masked,
        lambda: tg.where(masked, x, 0.0), lambda: tg.parameter([0.0, 0.0]).assign(masked), lambda: x == masked,
        lambda: np.add(x, masked), lambda: tg.save({"x": masked}, "never.safetensors"), lambda: x[masked > 0],
        lambda: tg.nn.Linear(2, 1).load_state_dict({"W": masked, "b": np.zeros(1)}),
    ):  # fmt: skip
        with pytest.raises(tg.DTypeError, match=r"would lose its mask[\s\S]*1 of 2 entries masked[\s\S]*filled"):
            use()
    with pytest.raises(tg.GradientError, match="would lose its gradient"):
        masked * x


def test_results_can_be_plotted():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    x = tg.tensor(A)
    figure, axes = plt.subplots()
    axes.plot(x[0], x[1] * 2)
    axes.bar([0, 1, 2], x[0] * 2)
    axes.scatter(x[0], x[1])
    axes.imshow(x * 2)
    axes.hist(x[0] * 1)
    axes.fill_between(x[0], x[1])
    axes.errorbar(x[0], x[1], yerr=x[0])
    axes.set_xlim(0, (x * 2).max())
    figure.canvas.draw()
    plt.close(figure)
