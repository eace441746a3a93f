"""Softmax, normalisation, losses and dropout at their edges; the table has the values and derivatives inside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_rnn as tg

INF, NAN = np.inf, np.nan


def test_softmax_neither_overflows_nor_underflows():
    x = tg.tensor([[1e4, -1e4], [-1e4, -1e4], [0.0, -INF]])
    assert tg.softmax(x).tolist() == [[1, 0], [0.5, 0.5], [1, 0]]
    assert tg.softmax([-INF, 0.0, -INF]).tolist() == [0, 1, 0]
    assert tg.log_softmax([-INF, 0.0]).tolist() == [-INF, 0]
    assert tg.log_softmax([0.0, -1e4]).tolist() == [0, -1e4]
    assert tg.logsumexp(tg.tensor([1e4, -INF])).item() == 1e4
    g = tg.grad(tg.log_softmax(x)[:, 0].sum(), x).numpy()
    np.testing.assert_allclose(g[:2], [[0, 0], [0.5, -0.5]], atol=1e-7)


@pytest.mark.parametrize(
    ("x", "expected"),
    [([NAN, 0.0], NAN), ([0.0, NAN], NAN), ([INF, INF], INF), ([-INF, -INF], -INF), ([-INF, 1.0], 1.0)],
)
def test_logsumexp_of_what_is_not_finite(x, expected):
    np.testing.assert_array_equal(tg.logsumexp(x).item(), expected)
    assert np.isnan(tg.softmax(tg.tensor(x)).numpy()).any() == (not np.isfinite(expected))


@pytest.mark.parametrize(
    ("x", "p"),
    [
        ([INF, 0.0, 1.0], [1, 0, 0]), ([INF, -INF, 1.0], [1, 0, 0]), ([INF, INF, 0.0], [NAN] * 3),
        ([INF, NAN, 0.0], [NAN] * 3), ([-INF, -INF, -INF], [NAN] * 3), ([-INF, 3.0, -INF], [0, 1, 0]), ([INF], [1]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrapped", [lambda f: f, tg.compile])
def test_a_class_that_alone_is_infinite_has_all_of_the_probability(x, p, wrapped):
    np.testing.assert_array_equal(wrapped(tg.softmax)(tg.tensor(x)).numpy(), p)
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(wrapped(tg.log_softmax)(tg.tensor(x)).numpy(), np.log(p))
        for k in range(len(x)):
            loss = wrapped(lambda x, k: tg.cross_entropy(x, k))(tg.tensor(x), tg.tensor(k))
            np.testing.assert_array_equal(loss.item(), -np.log(p)[k] + 0.0)


def with_slope(loss):
    """The value of a function and its gradient."""

    def both(x):
        y = loss(x)
        return y, tg.grad(y, x)

    return both


@pytest.mark.parametrize("wrapped", [lambda f: f, tg.compile])
@pytest.mark.parametrize(
    ("loss", "x", "value", "slope"),
    [
        (lambda x: tg.cross_entropy(x, [[0.0, 1.0, 0.0]]), [[-INF, 0.0, 1.0]], 1.3132617, [[0, -0.7310586, 0.7310586]]),
        (lambda x: tg.cross_entropy(x, [[1.0, 0.0, 0.0]]), [[-INF, 0.0, 1.0]], INF, [[-1, 0.2689414, 0.7310586]]),
        (lambda x: tg.cross_entropy(x, [1]), [[-INF, 0.0, 1.0]], 1.3132617, [[0, -0.7310586, 0.7310586]]),
        (lambda x: tg.cross_entropy(x, [0]), [[INF, 0.0, 1.0]], 0, [[0, 0, 0]]),
        (lambda x: tg.cross_entropy(x, [1]), [[INF, 0.0, 1.0]], INF, [[1, -1, 0]]),
        (lambda x: tg.cross_entropy(x, [[0.0, 1.0, 0.0]]), [[INF, 0.0, 1.0]], INF, [[1, -1, 0]]),
        (lambda x: tg.cross_entropy(x, [0]), [[NAN, 0.0, 1.0]], NAN, [[NAN] * 3]),
        (lambda x: tg.cross_entropy(x, [0], label_smoothing=0.5), [[-INF, 0.0, 0.0]], INF, [[-2 / 3, 1 / 3, 1 / 3]]),
        (lambda x: tg.cross_entropy(x, [0], label_smoothing=1.0), [[0.0, 0.0]], 0.6931472, [[0, 0]]),
        (lambda x: tg.binary_cross_entropy_with_logits(x, [0.0, 1.0]), [-INF, INF], 0, [0, 0]),
        (lambda x: tg.binary_cross_entropy_with_logits(x, [1.0, 0.5]), [-INF, INF], INF, [-0.5, 0.25]),
        (lambda x: tg.binary_cross_entropy_with_logits(x, [1.0, 0.0]), [NAN, NAN], NAN, [NAN, NAN]),
        (lambda x: tg.binary_cross_entropy(x, [0.0, 1.0]), [0.0, 1.0], 0, [0.5, -0.5]),
        (lambda x: tg.logsumexp(x), [-INF, -INF], -INF, [0, 0]), (lambda x: tg.logsumexp(x), [-INF, 1.0], 1, [0, 1]),
        (lambda x: tg.logsumexp(x), [NAN, 1.0], NAN, [NAN, NAN]),
        (lambda x: tg.huber_loss(x, [0.0, 0.0], reduction="sum"), [1e-20, -1e-30], 0, [1e-20, -1e-30]),
        (lambda x: tg.huber_loss(x, [0.0, 0.0], reduction="sum"), [INF, NAN], NAN, [1, NAN]),
    ],
)  # fmt: skip
def test_losses_at_infinity_are_limits_and_nan_is_not_hidden(loss, x, value, slope, wrapped):
    found = wrapped(with_slope(loss))(tg.tensor(x))
    np.testing.assert_allclose(found[0].item(), value, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(found[1].numpy(), slope, rtol=1e-6, atol=1e-36)


def test_logsumexp_over_nothing():
    assert tg.logsumexp(tg.zeros((0, 2)), 0).tolist() == [-INF, -INF]
    assert tg.logsumexp(tg.zeros((2, 3)), ()).shape == (2, 3)


# Losses ---------------------------------------------------------------------------------------------------------------


def test_binary_cross_entropy_at_certainty():
    loss = lambda p, t: tg.binary_cross_entropy(p, t, reduction="none").tolist()
    assert loss([0.0, 1.0], [0.0, 1.0]) == [0.0, 0.0]
    assert not np.signbit(loss([0.0, 1.0], [0.0, 1.0])).any()
    assert loss([0.0, 1.0], [1.0, 0.0]) == [INF, INF]


def test_binary_cross_entropy_has_a_gradient_by_its_target_at_zero_and_one():
    t, p = tg.tensor([0.0, 1.0, 0.5], np.float64), tg.tensor([0.3, 0.3, 0.3], np.float64)
    for recorded in (False, True):
        found = tg.grad(tg.binary_cross_entropy(p, t, reduction="sum"), t, create_graph=recorded)
        np.testing.assert_allclose(found.numpy(), np.log(0.7 / 0.3))


def test_binary_cross_entropy_with_logits_is_exact_far_out():
    x = tg.tensor([100.0, -100.0, 1e4, -1e4])
    loss = tg.binary_cross_entropy_with_logits(x, [1.0, 0.0, 0.0, 1.0], reduction="none")
    np.testing.assert_allclose(loss.numpy(), [3.72e-44, 3.72e-44, 1e4, 1e4], atol=1e-42)
    np.testing.assert_allclose(tg.grad(loss.sum(), x).numpy(), [0, 0, 1, -1], atol=1e-42)


def test_huber_far_out_and_at_its_seam():
    x = tg.tensor([np.inf, 1e30, -1e30, 1.0, -1.0, 0.0])
    loss = tg.huber_loss(x, tg.zeros(6), reduction="none")
    np.testing.assert_allclose(loss.numpy(), [np.inf, 1e30, 1e30, 0.5, 0.5, 0.0])
    for recorded in (False, True):
        assert tg.grad(loss.sum(), x, create_graph=recorded).tolist() == [1, 1, -1, 1, -1, 0]


def test_targets_that_are_ignored_count_for_nothing():
    x = tg.tensor([[1.0, 2.0], [NAN, 0.0], [0.0, 3.0]])
    target = [0, -100, 1]
    kept = tg.cross_entropy(tg.tensor([[1.0, 2.0], [0.0, 3.0]]), [0, 1])
    assert tg.cross_entropy(x, target, ignore_index=-100).item() == pytest.approx(kept.item())
    assert tg.cross_entropy(x, target, ignore_index=-100, reduction="none").tolist()[1] == 0
    clean = tg.tensor([[1.0, 2.0], [5.0, 0.0], [0.0, 3.0]])
    slope = tg.grad(tg.cross_entropy(clean, target, ignore_index=-100), clean).numpy()
    assert (slope[1] == 0).all()
    assert (slope[[0, 2]] != 0).all()
    assert np.isnan(tg.cross_entropy(clean, [7, 7, 7], ignore_index=7).item())  # a mean over nothing


def test_a_class_may_be_impossible():
    x = tg.tensor([[0.0, -INF]])
    assert tg.cross_entropy(x, [0]).item() == 0
    assert tg.cross_entropy(x, [1]).item() == INF
    assert tg.cross_entropy(tg.tensor([[-INF, 0.0]]), [1]).item() == 0


@pytest.mark.parametrize("target", [np.zeros((4, 1), int), np.zeros((), int), np.zeros(1, int), np.zeros(3, int)])
def test_targets_are_never_broadcast(target):
    for use in (
        lambda: tg.cross_entropy(tg.zeros((4, 3)), target),
        lambda: tg.trace(tg.cross_entropy, (4, 3), tg.Spec(target.shape, int)),
    ):
        with pytest.raises(tg.ShapeError, match=r"cross_entropy: logits \(4, 3\) and targets"):
            use()


@pytest.mark.parametrize(
    "loss", [tg.mse_loss, tg.huber_loss, tg.binary_cross_entropy, tg.binary_cross_entropy_with_logits]
)
def test_predictions_and_targets_have_one_shape(loss):
    with pytest.raises(
        tg.ShapeError, match=rf"{loss.__name__}: prediction \(3,\) and target \(3, 1\)[\s\S]*almost always a mistake"
    ):
        loss(tg.zeros(3), tg.zeros((3, 1)))
    with pytest.raises(ValueError, match="reduction must be one of mean, sum, none; got 'average'"):
        loss(tg.zeros(3), tg.zeros(3), reduction="average")


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (
            lambda x: tg.cross_entropy(x, [0, 0], label_smoothing=1.5),
            ValueError,
            "label_smoothing must lie between 0 and 1, got 1.5",
        ),
        (
            lambda x: tg.cross_entropy(x, [[1.0], [1.0]]),
            tg.ShapeError,
            r"probabilities\n  expected: \(2, 3\)\n  got:      \(2, 1\)",
        ),
        (lambda x: tg.cross_entropy(x, x, ignore_index=1), tg.DTypeError, "ignore_index goes with integer targets"),
        (
            lambda x: tg.cross_entropy(x, [0, 0], reduction="avg", ignore_index=1),
            ValueError,
            "reduction must be one of",
        ),
        (lambda x: tg.huber_loss(x, x, delta=0.0), ValueError, "delta must be positive, got 0.0"),
        (
            lambda x: tg.layer_norm(x, weight=tg.ones(2)),
            tg.ShapeError,
            r"layer_norm: weight .*\n  expected: \(3,\)\n  got:      \(2,\)",
        ),
        (lambda x: tg.layer_norm(1.0), tg.ShapeError, "no axis to normalise"),
        (lambda x: tg.softmax(x, 2), tg.ShapeError, "softmax: 2 is not an axis of a tensor with 2 axes"),
        (lambda x: tg.softmax(1.0), tg.ShapeError, "softmax: -1 is not an axis"),
        (
            lambda x: tg.dropout(x, 1.5, generator=np.random.default_rng(0)),
            ValueError,
            "p must lie between 0 and 1, got 1.5",
        ),
        (lambda x: tg.dropout(x, generator=0), TypeError, r"expected a numpy.random.Generator, got int; make one with"),
    ],
)
def test_mistakes_are_told(use, error, message):
    with pytest.raises(error, match=message):
        use(tg.zeros((2, 3)))


# Layer normalisation --------------------------------------------------------------------------------------------------


def test_normalised_rows_have_mean_zero_and_variance_one():
    x = tg.tensor(np.random.default_rng(0).normal(100.0, 5.0, (4, 50)))
    y = tg.layer_norm(x, eps=0.0).numpy()
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(-1), 1)


def test_a_constant_row_is_normalised_to_zero():
    x = tg.full((2, 3), 7.0)
    assert tg.layer_norm(x).tolist() == [[0.0] * 3] * 2
    assert np.isfinite(tg.grad(tg.layer_norm(x).sum(), x).numpy()).all()


# Dropout --------------------------------------------------------------------------------------------------------------


def test_dropout_keeps_the_expectation_and_the_share():
    y = tg.dropout(tg.ones(20000), 0.2, generator=np.random.default_rng(0)).numpy()
    assert set(np.unique(y)) == {0.0, 1.25}
    assert abs((y == 0).mean() - 0.2) < 4 * (0.2 * 0.8 / 20000) ** 0.5
    assert y.dtype == np.float32


def test_the_gradient_of_dropout_uses_the_mask_of_its_forward_pass():
    x = tg.ones(100)
    y = tg.dropout(x, 0.5, generator=np.random.default_rng(0))
    for recorded in (False, True):
        np.testing.assert_array_equal(tg.grad(y.sum(), x, create_graph=recorded).numpy(), y.numpy())


def test_a_traced_dropout_draws_anew_each_time():
    generator = np.random.default_rng(0)
    graph = tg.trace(lambda x: tg.dropout(x, 0.5, generator=generator), (200,))
    first, second = graph(np.ones(200, np.float32)).numpy(), graph(np.ones(200, np.float32)).numpy()
    assert (first != second).any()
    np.testing.assert_array_equal(first, tg.dropout(tg.ones(200), 0.5, generator=np.random.default_rng(0)).numpy())


@given(
    x=npst.arrays(np.float64, (2, 4), elements=st.integers(-9, 9)),
    exponent=st.sampled_from([-1000, -700, -540, 0, 520, 1000, 1020]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_layer_norm_knows_no_magnitude(x, exponent, dtype):
    x[:, 0] = 12  # no row is constant
    exponent = exponent if dtype == np.float64 else exponent // 10
    unit = dtype(2) ** exponent
    small, large = tg.parameter(x.astype(dtype)), tg.parameter(x.astype(dtype) * unit)
    eps = np.finfo(dtype).eps
    weights = np.arange(8.0).reshape(2, 4).astype(dtype)
    slope = lambda t: tg.grad((tg.layer_norm(t, eps=0.0) * weights).sum(), t)
    for run in (lambda t: tg.layer_norm(t, eps=0.0), tg.compile(lambda t: tg.layer_norm(t, eps=0.0))):
        np.testing.assert_allclose(run(large).numpy(), run(small).numpy(), rtol=8 * eps, atol=8 * eps)
    for run in (slope, tg.compile(slope)):
        found = run(large).numpy() * unit if abs(exponent) <= 1000 else run(small).numpy()
        np.testing.assert_allclose(found, slope(small).numpy(), rtol=1e3 * eps, atol=1e3 * eps)


@pytest.mark.parametrize("values", [[1e300, 2e300, 4e300], [1.7e308, -1.7e308, 0.0], [4e-300, 1e-300, 0.0]], ids=str)
def test_layer_norm_of_the_largest_numbers(values):
    with np.errstate(all="ignore"):
        expected = tg.layer_norm(np.array(values) / max(values), eps=0.0).numpy()
    np.testing.assert_allclose(tg.layer_norm(np.array(values), eps=0.0).numpy(), expected, rtol=1e-14)
    if values[0] > 1:
        np.testing.assert_allclose(tg.layer_norm(np.array(values)).numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64, np.int64])
@pytest.mark.parametrize("ignored", [-100, 255, -1, 2**70, 2])
@pytest.mark.parametrize("compiled", [False, True])
def test_any_number_can_stand_for_what_is_ignored(dtype, ignored, compiled):
    logits, target = np.random.default_rng(0).normal(size=(3, 4)), np.array([1, 2, 0], dtype)
    run = lambda x, t: tg.cross_entropy(x, t, ignore_index=ignored)
    found = (tg.compile(run) if compiled else run)(logits, target)
    kept = target.tolist() if ignored != 2 else [1, 0]
    expected = tg.cross_entropy(logits if ignored != 2 else logits[[0, 2]], kept)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-14)
