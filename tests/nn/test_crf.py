"""The conditional random field against sums over all sequences of tags."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.nn.crf import CRF

TAGS = 3


def problem(seed, batch=2, time=3, tags=TAGS, dtype=np.float64):
    """A layer with scores that matter, emissions, and tags."""
    rng = np.random.default_rng(seed)
    crf = CRF(tags, generator=rng, dtype=dtype)
    for p in crf.parameters():
        p.assign(rng.normal(size=p.shape).astype(dtype))
    return crf, rng.normal(size=(batch, time, tags)).astype(dtype), rng.integers(0, tags, (batch, time))


def score(crf, emissions, tags):
    """Of one sequence, by the definition; 0 without steps."""
    if not len(tags):
        return 0.0
    transitions, start, end = (p.numpy() for p in (crf.transitions, crf.start, crf.end))
    inside = sum(e[y] for e, y in zip(emissions, tags)) + sum(transitions[a, b] for a, b in pairwise(tags))
    return start[tags[0]] + inside + end[tags[-1]]


def every(crf, emissions):
    """All sequences of tags for one sequence of emissions, with their scores."""
    sequences = np.array(list(product(range(emissions.shape[1]), repeat=len(emissions))), int)
    return sequences, np.array([score(crf, emissions, y) for y in sequences])


def log_sum(scores):
    return scores.max() + np.log(np.exp(scores - scores.max()).sum())


def losses(crf, emissions, tags, mask):
    return [
        log_sum(every(crf, e[m])[1]) - score(crf, e[m], y[m]) for e, y, m in zip(emissions, tags, mask, strict=True)
    ]


seeds = st.integers(0, 1000)
masks = st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=2, max_size=2).map(np.array)


@given(seed=seeds, tags=st.integers(1, 3), time=st.integers(1, 4))
def test_the_loss_is_the_definition(seed, tags, time):
    crf, emissions, given_tags = problem(seed, 2, time, tags)
    expected = losses(crf, emissions, given_tags, np.ones((2, time), bool))
    np.testing.assert_allclose(crf(emissions, given_tags, reduction="none"), expected, rtol=1e-10, atol=1e-12)


@given(seed=seeds, mask=masks)
def test_steps_that_are_not_there_change_nothing(seed, mask):
    """Also in front and in between, whatever they hold."""
    crf, emissions, tags = problem(seed, 2, 4)
    spoilt, wrong = np.where(mask[:, :, None], emissions, np.nan), np.where(mask, tags, -100)
    expected = losses(crf, emissions, tags, mask)
    np.testing.assert_allclose(crf(spoilt, wrong, mask=mask, reduction="none"), expected, rtol=1e-10, atol=1e-12)


@given(seed=seeds, mask=masks)
def test_steps_that_are_not_there_have_no_gradient(seed, mask):
    crf, emissions, tags = problem(seed, 2, 4)
    x = tg.tensor(np.where(mask[:, :, None], emissions, np.inf))
    loss = crf(x, tags, mask=mask)
    slopes = tg.grad(loss, [x, *crf.parameters()])
    assert not slopes[0].numpy()[~mask].any()
    assert all(np.isfinite(g.numpy()).all() for g in slopes)


@given(seed=seeds, lengths=st.lists(st.integers(0, 3), min_size=2, max_size=2), more=st.integers(0, 2))
def test_padding_changes_nothing(seed, lengths, more):
    crf, emissions, tags = problem(seed)
    wide, tags_wide = np.pad(emissions, ((0, 0), (0, more), (0, 0))), np.pad(tags, ((0, 0), (0, more)))
    lengths = np.array(lengths)
    narrow, padded = crf(emissions, tags, lengths=lengths), crf(wide, tags_wide, lengths=lengths)
    np.testing.assert_allclose(padded, narrow, rtol=1e-13)
    for a, b in zip(tg.grad(narrow, crf.parameters()), tg.grad(padded, crf.parameters()), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-14)
    one, other = crf.decode(emissions, lengths=lengths), crf.decode(wide, lengths=lengths)
    np.testing.assert_array_equal(other.tags[:, :3], one.tags)
    np.testing.assert_array_equal(other.scores, one.scores)


def test_a_tag_may_be_forbidden():
    """Minus infinity is as good as a large number: the tag has no probability, and nothing has a gradient of NaN."""
    crf, emissions, _ = problem(0)
    tags = np.full(emissions.shape[:2], 1)
    found = []
    for score in (-1e4, -np.inf):
        crf.transitions.assign(np.where(np.arange(TAGS) == 0, score, 0.1) * np.ones((TAGS, 1)))
        crf.start.assign(np.where(np.arange(TAGS) == 0, score, 0.2))
        loss = crf(emissions, tags)
        slopes = tg.grad(loss, crf.parameters())
        compiled = tg.compile(lambda x: tg.grad(crf(x, tags), crf.parameters()))(emissions)
        found.append([loss, *slopes, *compiled, crf.marginals(emissions)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-12, atol=1e-15)
    assert not found[1][-1].numpy()[:, :, 0].any()


def test_lengths_are_a_mask_and_full_lengths_are_none():
    crf, emissions, tags = problem(0)
    by_mask = crf(emissions, tags, mask=tg.nn.sequence_mask([3, 1], 3))
    np.testing.assert_array_equal(crf(emissions, tags, lengths=[3, 1]), by_mask)
    np.testing.assert_allclose(crf(emissions, tags, lengths=[3, 3]), crf(emissions, tags), rtol=1e-14)


def test_sequences_of_no_and_of_one_step():
    crf, emissions, tags = problem(1)
    none, one = crf(emissions, tags, lengths=[0, 1], reduction="none").tolist()
    scores = crf.start.numpy() + emissions[1, 0] + crf.end.numpy()
    assert none == 0
    assert one == pytest.approx(log_sum(scores) - scores[tags[1, 0]])
    decoded = crf.decode(emissions, lengths=[0, 1], padding=-7)
    assert decoded.tags.tolist() == [[-7, -7, -7], [scores.argmax(), -7, -7]]
    assert decoded.scores.tolist() == [0, pytest.approx(scores.max())]


def test_a_batch_without_any_step_has_loss_and_gradients_zero():
    crf, emissions, tags = problem(1)
    loss = crf(emissions, tags, lengths=[0, 0])
    assert loss.item() == 0
    assert not any(g.numpy().any() for g in tg.grad(loss, crf.parameters()))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_are_reduced_over_sequences(reduction):
    crf, emissions, tags = problem(2)
    each = crf(emissions, tags, reduction="none").numpy()
    np.testing.assert_allclose(crf(emissions, tags, reduction=reduction), getattr(each, reduction)(), rtol=1e-13)


@pytest.mark.parametrize("options", [{}, {"lengths": [3, 1]}, {"mask": np.array([[0, 1, 1], [1, 0, 1]], bool)}])
def test_gradients_of_the_loss(options):
    crf, emissions, tags = problem(3)
    tg.testing.check_grad(lambda e: crf(e, tags, **options), emissions, parameters=crf)


def test_gradients_of_marginals():
    crf, emissions, _ = problem(4, 1, 3, 2)
    tg.testing.check_grad(lambda e: crf.marginals(e, lengths=[2]), emissions, order=1, parameters=crf)


@given(seed=seeds, mask=masks)
def test_the_best_sequence_is_the_best_of_all(seed, mask):
    crf, emissions, _ = problem(seed, 2, 4)
    decoded = crf.decode(emissions, mask=mask)
    assert decoded.tags.dtype == np.int64
    for e, m, tags, best in zip(emissions, mask, decoded.tags.numpy(), decoded.scores.numpy(), strict=True):
        sequences, scores = every(crf, e[m])
        assert tags[m].tolist() == sequences[scores.argmax()].tolist()
        assert (tags[~m] == -1).all()
        assert best == pytest.approx(scores.max())


def test_of_equally_good_tags_the_low_ones_are_taken():
    crf = CRF(2)
    for p in crf.parameters():
        p.assign(np.zeros(p.shape))
    assert crf.decode(np.zeros((1, 3, 2))).tags.tolist() == [[0, 0, 0]]


def test_long_sequences_are_decoded_and_scored():
    """The score of the best tags is that of the loss: its negative log-likelihood plus the log-partition function."""
    crf, emissions, _ = problem(5, 2, 300)
    best = crf.decode(emissions)
    for e, y, s in zip(emissions, best.tags.numpy(), best.scores.numpy(), strict=True):
        assert score(crf, e, y) == pytest.approx(s)


@given(seed=seeds, mask=masks)
def test_marginals_are_those_of_all_sequences(seed, mask):
    crf, emissions, _ = problem(seed, 2, 4)
    found = crf.marginals(emissions, mask=mask).numpy()
    np.testing.assert_allclose(found.sum(2), mask, atol=1e-12)
    for e, m, p in zip(emissions, mask, found, strict=True):
        sequences, scores = every(crf, e[m])
        weights = np.exp(scores - log_sum(scores))
        expected = np.array([[weights[sequences[:, t] == y].sum() for y in range(TAGS)] for t in range(m.sum())])
        np.testing.assert_allclose(p[m], expected.reshape(-1, TAGS), rtol=1e-10, atol=1e-12)


def test_marginals_are_there_without_recording():
    crf, emissions, _ = problem(6)
    with tg.no_grad():
        found = crf.marginals(emissions)
    assert not found.inputs
    np.testing.assert_allclose(found, crf.marginals(emissions), rtol=1e-12)


def test_large_scores_neither_overflow_nor_vanish():
    crf, emissions, tags = problem(7, dtype=np.float32)
    x = tg.tensor(1e4 * emissions)
    loss = crf(x, tags)
    assert np.isfinite(loss.item())
    assert np.isfinite(tg.grad(loss, x)).all()
    shifted = crf(emissions + np.float32(1e3), tags, reduction="none")
    np.testing.assert_allclose(shifted, crf(emissions, tags, reduction="none"), atol=2e-3)


def test_forbidden_transitions_are_not_taken():
    crf, emissions, _ = problem(8, 4, 6)
    crf.transitions.assign(np.where(np.eye(TAGS, dtype=bool), -1e4, 0))
    tags = crf.decode(emissions).tags.numpy()
    assert (tags[:, 1:] != tags[:, :-1]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_are_kept(dtype):
    crf, emissions, tags = problem(9, dtype=dtype)
    loss = crf(emissions, tags, lengths=[3, 2])
    assert loss.dtype == dtype
    assert all(g.dtype == dtype for g in tg.grad(loss, crf.parameters()))
    assert crf.marginals(emissions).dtype == dtype
    assert crf.decode(emissions, lengths=[3, 0]).scores.dtype == dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_tags_may_be_of_any_integer_type(dtype):
    crf, emissions, tags = problem(9)
    np.testing.assert_array_equal(crf(emissions, tags.astype(dtype)), crf(emissions, tags))


def loss_and_slopes(crf):
    def step(emissions, tags, lengths):
        loss = crf(emissions, tags, lengths=lengths)
        return loss, tg.grad(loss, [emissions, *crf.parameters()]), crf.marginals(emissions, lengths=lengths)

    return step


@pytest.mark.parametrize("make", [tg.compile, lambda fn: tg.trace(fn, *problem(10)[1:], np.array([3, 2]))])
def test_compiled_and_traced_equal_eager(make):
    """Other lengths and tags on each call, without recording anew."""
    crf, emissions, tags = problem(10)
    step = make(loss_and_slopes(crf))
    for lengths in ([3, 2], [0, 1]):
        arguments = tg.tensor(emissions), tg.tensor(tags), tg.tensor(np.array(lengths))
        loss, slopes, marginals = loss_and_slopes(crf)(*arguments)
        found = step(*(a.numpy() for a in arguments))
        np.testing.assert_allclose(found[0], loss, rtol=1e-12)
        np.testing.assert_allclose(found[2], marginals, rtol=1e-10, atol=1e-12)
        for a, b in zip(found[1], slopes, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert len(getattr(step, "programs", [1])) == 1


def test_a_training_step_learns_the_tags():
    crf, emissions, tags = problem(11, 4, 5)
    model = tg.parameter(emissions)
    optimizer = tg.optim.Adam([model, *crf.parameters()], lr=0.3)

    @tg.compile
    def step(tags):
        optimizer.zero_grad()
        loss = crf(model, tags)
        loss.backward()
        optimizer.step()
        return loss

    before = step(tags).item()
    for _ in range(30):
        after = step(tags).item()
    assert after < 0.05 * before
    np.testing.assert_array_equal(crf.decode(model).tags, tags)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, e, y: c(e[0], y), tg.ShapeError, r"CRF: emissions(.|\n)*\(batch, time, 3\)(.|\n)*got: .*\(3, 3\)"),
        (lambda c, e, y: c(e[:, :, :2], y), tg.ShapeError, r"got: .*\(2, 3, 2\)"),
        (lambda c, e, y: c(e[:, :0], y[:, :0]), tg.ShapeError, "with a time step"),
        (lambda c, e, y: c(e, y[:, :2]), tg.ShapeError, r"CRF: tags(.|\n)*\(2, 3\)(.|\n)*got: *\(2, 2\)"),
        (lambda c, e, y: c(e, y * 1.0), tg.DTypeError, r"CRF: tags(.|\n)*integers(.|\n)*float"),
        (lambda c, e, y: c(e, y + 9), IndexError, r"at position \(0, 0\)(.|\n)*0 to 2"),
        (lambda c, e, y: c(e, y - 9), IndexError, r"CRF: tag -"),
        (lambda c, e, y: c(e, y, lengths=[4, 1]), ValueError, "length 4 of sequence 0"),
        (lambda c, e, y: c(e, y, lengths=[1]), tg.ShapeError, r"CRF: lengths(.|\n)*\(2,\)(.|\n)*\(1,\)"),
        (lambda c, e, y: c(e, y, mask=np.ones((2, 3))), tg.DTypeError, r"CRF: mask(.|\n)*booleans"),
        (lambda c, e, y: c(e, y, mask=np.ones((2, 2), bool)), tg.ShapeError, r"CRF: mask(.|\n)*\(2, 3\)"),
        (lambda c, e, y: c(e, y, mask=y > 0, lengths=[1, 1]), ValueError, "lengths or a mask, got both"),
        (lambda c, e, y: c(e, y, reduction="max"), ValueError, "mean, sum, none"),
        (lambda c, e, y: c.decode(e[0]), tg.ShapeError, r"CRF\.decode: emissions"),
        (lambda c, e, y: c.marginals(e[0]), tg.ShapeError, r"CRF\.marginals: emissions"),
        (lambda c, e, y: CRF(0), ValueError, "tags must be an integer of at least 1, got 0"),
        (lambda c, e, y: tg.trace(lambda x: c.decode(x).tags, e), tg.PlaceholderError, "while its function is"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(*problem(0))
