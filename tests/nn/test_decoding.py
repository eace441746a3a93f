"""Greedy decoding, beam search and sampling on tiny models whose every sequence can be listed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.nn.decoding import beam_search, greedy, sample

START, END = 0, 1


def model(vocabulary: int, seed: int, batch: int, hidden: int = 3):
    """A step that depends on all tokens before, with a nested state that differs from sequence to sequence."""
    rng = np.random.default_rng(seed)
    E, W, U = (rng.normal(0, 1.5, shape) for shape in [(vocabulary, hidden), (hidden, hidden), (hidden, vocabulary)])

    def step(tokens, state):
        h = tg.tanh(tg.tensor(E)[tokens] + state["cell"][0] @ W)
        return h @ U, {"cell": (h, [state["cell"][1][0] + 1])}

    return step, {"cell": (tg.tensor(rng.normal(size=(batch, hidden))), [tg.zeros((batch,), np.int64)])}


def log_probability(step, state, tokens):
    total, before = 0.0, START
    for token in tokens:
        logits, state = step(tg.tensor([before]), state)
        total += float(tg.log_softmax(logits)[0, token].item())
        before = token
    return total


def row_of(state, b):
    return {"cell": (state["cell"][0][b : b + 1], [state["cell"][1][0][b : b + 1]])}


def every_sequence(vocabulary, max_steps):
    """Those that end, and those of full length that do not."""
    others = [token for token in range(vocabulary) if token != END]
    for n in range(max_steps):
        yield from ((*beginning, END) for beginning in itertools.product(others, repeat=n))
    yield from itertools.product(others, repeat=max_steps)


def fixed(*rows):
    """A step that gives logits by the last token."""
    table = tg.tensor(np.array(rows, float))
    return lambda tokens, state: (table[tokens], state)


# Beam search ----------------------------------------------------------------------------------------------------------


@given(
    vocabulary=st.integers(2, 4), max_steps=st.integers(1, 3), batch=st.integers(1, 2), seed=st.integers(0, 1000),
    alpha=st.sampled_from([0.0, 0.6, 1.0]),
)  # fmt: skip
def test_a_beam_that_covers_everything_is_an_exhaustive_search(vocabulary, max_steps, batch, seed, alpha):
    step, state = model(vocabulary, seed, batch)
    listed = list(every_sequence(vocabulary, max_steps))
    found = beam_search(
        step, state, width=len(listed), start=START, end=END, max_steps=max_steps, batch=batch, length_penalty=alpha
    )
    for b, hypotheses in enumerate(found):
        assert sorted(h.tokens for h in hypotheses) == sorted(listed)
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
        for h in hypotheses:
            logp = log_probability(step, row_of(state, b), h.tokens)
            assert h.log_probability == pytest.approx(logp, abs=1e-9)
            assert h.score == pytest.approx(logp / ((5 + len(h.tokens)) / 6) ** alpha, abs=1e-9)


@given(
    vocabulary=st.integers(2, 6), batch=st.integers(1, 4), max_steps=st.integers(1, 6), seed=st.integers(0, 1000),
    alpha=st.sampled_from([0.0, 3.0]),
)  # fmt: skip
def test_a_beam_of_width_1_is_greedy_whatever_the_length_penalty(vocabulary, batch, max_steps, seed, alpha):
    step, state = model(vocabulary, seed, batch)
    options = {"start": START, "end": END, "max_steps": max_steps, "batch": batch}
    best = greedy(step, state, **options)
    for b, (h,) in enumerate(beam_search(step, state, width=1, length_penalty=alpha, **options)):
        assert list(h.tokens) == best.tokens[b, : best.lengths[b].item()].tolist()
        assert h.log_probability == pytest.approx(best.log_probabilities[b].item())


@given(width=st.integers(1, 4), seed=st.integers(0, 1000))
def test_sequences_of_a_batch_do_not_see_each_other(width, seed):
    step, state = model(5, seed, 3)
    options = {"width": width, "start": START, "end": END, "max_steps": 4}
    together = beam_search(step, state, batch=3, **options)
    for b in range(3):
        (alone,) = beam_search(step, row_of(state, b), batch=1, **options)
        assert [h.tokens for h in together[b]] == [h.tokens for h in alone]


@given(width=st.integers(1, 6), seed=st.integers(0, 1000))
def test_every_hypothesis_has_the_probability_of_its_own_tokens(width, seed):
    """It would not if the states did not follow their beams."""
    step, state = model(4, seed, 2)
    found = beam_search(step, state, width=width, start=START, end=END, max_steps=5, batch=2)
    for b, hypotheses in enumerate(found):
        assert len({h.tokens for h in hypotheses}) == len(hypotheses) <= width
        for h in hypotheses:
            assert END not in h.tokens[:-1]
            assert h.log_probability == pytest.approx(log_probability(step, row_of(state, b), h.tokens), abs=1e-9)


def followed_to_the_end(step, state, width, max_steps, alpha):
    """Beam search that never stops before the steps run out, on lists."""
    score = lambda tokens, logp: logp / ((5 + len(tokens)) / 6) ** alpha
    ended, beams = [], [((), 0.0, state)]
    for _ in range(max_steps):
        candidates = []
        for tokens, logp, before in beams:
            logits, after = step(tg.tensor([tokens[-1] if tokens else START]), before)
            new = tg.log_softmax(logits)[0].numpy()
            candidates += [((*tokens, t), logp + new[t], after) for t in range(len(new))]
        candidates.sort(key=lambda c: -c[1])
        ended += [c[:2] for c in candidates[:width] if c[0][-1] == END]
        beams = [c for c in candidates if c[0][-1] != END][:width]
    ended += [] if len(ended) >= width else [c[:2] for c in beams]
    return sorted((score(*c) for c in ended), reverse=True)[:width]


@given(
    width=st.integers(2, 4), vocabulary=st.integers(2, 5), seed=st.integers(0, 1000), max_steps=st.integers(1, 6),
    alpha=st.sampled_from([0.0, 0.6, 2.0, -1.0]),
)  # fmt: skip
def test_stopping_early_loses_nothing(width, vocabulary, seed, max_steps, alpha):
    step, state = model(vocabulary, seed, 1)
    (found,) = beam_search(
        step, state, width=width, start=START, end=END, max_steps=max_steps, batch=1, length_penalty=alpha
    )
    expected = followed_to_the_end(step, state, width, max_steps, alpha)
    np.testing.assert_allclose([h.score for h in found], expected, atol=1e-9)


def test_a_beam_goes_on_until_the_better_hypothesis_ends():
    """Two ends of little probability come first; what is followed is by far the most probable."""
    step = fixed(*np.log([[1e-9, 0.17, 0.8, 0.03], [0.25] * 4, [1e-9, 0.06, 0.04, 0.9], [1e-9, 0.95, 0.03, 0.02]]))
    options = {"start": START, "end": END, "max_steps": 6, "batch": 1}
    assert greedy(step, (), **options).tokens.tolist() == [[2, 3, END]]
    found = beam_search(step, (), width=2, **options)[0]
    assert [h.tokens for h in found] == [(2, 3, END), (END,)]
    assert np.exp(found[0].log_probability) == pytest.approx(0.684)


def test_a_beam_finds_what_greedy_misses():
    step = fixed(*np.log([[0.01, 0.01, 0.55, 0.43], [0.25] * 4, [0.3, 0.4, 0.15, 0.15], [0.01, 0.97, 0.01, 0.01]]))
    options = {"start": START, "end": END, "max_steps": 2, "batch": 1}
    assert greedy(step, (), **options).tokens.tolist() == [[2, END]]
    assert beam_search(step, (), width=2, **options)[0][0].tokens == (3, END)


def test_the_length_penalty_favours_long_sequences():
    step = fixed(*np.log([[0.05, 0.5, 0.45], [1 / 3] * 3, [0.02, 0.96, 0.02]]))
    options = {"width": 3, "start": START, "end": END, "max_steps": 3, "batch": 1}
    assert beam_search(step, (), **options)[0][0].tokens == (END,)
    assert beam_search(step, (), length_penalty=3.0, **options)[0][0].tokens == (2, END)


def test_a_search_is_over_when_as_many_hypotheses_as_beams_have_ended():
    calls = []
    step = fixed(*np.log([[0.05, 0.5, 0.45], [1 / 3] * 3, [0.2, 0.5, 0.3]]))
    watched = lambda tokens, state: calls.append(tokens) or step(tokens, state)
    (found,) = beam_search(watched, (), width=2, start=START, end=END, max_steps=9, batch=1)
    assert [h.tokens for h in found] == [(END,), (2, END)]
    assert len(calls) == 2


def test_forbidden_tokens_are_in_no_hypothesis():
    (found,) = beam_search(fixed(*[[-np.inf, 0, 0]] * 3), (), width=4, start=START, end=END, max_steps=2, batch=1)
    assert {h.tokens for h in found} == {(END,), (2, END), (2, 2)}


# Greedy ---------------------------------------------------------------------------------------------------------------


def test_the_end_token_stops_a_sequence_and_the_last_one_the_loop():
    calls = []

    def step(tokens, state):
        calls.append(tokens.tolist())
        return tg.one_hot(tg.where(state == len(calls), END, 2), 3) * 5.0, state

    out = greedy(step, tg.tensor([1, 3]), start=START, end=END, max_steps=9, batch=2)
    assert out.tokens.tolist() == [[END, END, END], [2, 2, END]]
    assert out.lengths.tolist() == [1, 3]
    assert calls == [[START, START], [END, 2], [END, 2]]
    certain = 5 - np.log(np.exp(5) + 2)
    np.testing.assert_allclose(out.log_probabilities, [certain, 3 * certain])


def test_sequences_are_cut_when_the_steps_run_out():
    out = greedy(fixed(*[[0, 0, 9]] * 3), (), start=START, end=END, max_steps=4, batch=1)
    assert (out.tokens.tolist(), out.lengths.tolist()) == ([[2, 2, 2, 2]], [4])


def test_nothing_is_recorded():
    W = tg.parameter(np.eye(3))
    step = lambda tokens, state: (W[tokens] + state, state + W[0].sum())
    seen = []
    watched = lambda tokens, state: seen.append(step(tokens, state)) or seen[-1]
    options = {"start": START, "end": END, "max_steps": 2, "batch": 1}
    greedy(watched, tg.zeros((1, 1)), **options)
    beam_search(watched, tg.zeros((1, 1)), width=2, **options)
    assert all(t.inputs == () for pair in seen for t in pair)


# Sampling -------------------------------------------------------------------------------------------------------------

P = np.array([0.1, 0.05, 0.5, 0.3, 0.05])


def first_tokens(count=20_000, **options):
    step = fixed(*[np.log(P)] * len(P))
    rng = np.random.default_rng(0)
    out = sample(step, (), start=START, end=END, max_steps=1, batch=count, generator=rng, **options)
    return np.bincount(out.tokens.numpy()[:, 0], minlength=len(P)) / count


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, P),
        ({"temperature": 0.5}, P**2 / (P**2).sum()),
        ({"temperature": 2.0}, P**0.5 / (P**0.5).sum()),
        ({"top_k": 2}, [0, 0, 0.5 / 0.8, 0.3 / 0.8, 0]),
        ({"top_k": 99}, P),
        ({"top_p": 0.6}, [0, 0, 0.5 / 0.8, 0.3 / 0.8, 0]),
        ({"top_p": 0.85}, [0.1 / 0.9, 0, 0.5 / 0.9, 0.3 / 0.9, 0]),
        ({"top_p": 0.4}, [0, 0, 1, 0, 0]),
        ({"top_p": 1.0}, P),
        ({"top_k": 3, "top_p": 0.8}, [0, 0, 0.5 / 0.8, 0.3 / 0.8, 0]),
    ],
)
def test_samples_follow_the_distribution(options, expected):
    np.testing.assert_allclose(first_tokens(**options), expected, atol=0.015)


@given(weights=st.lists(st.integers(1, 100), min_size=3, max_size=6, unique=True), share=st.floats(0.05, 0.95))
def test_the_nucleus_is_the_smallest_set_that_holds_the_share(weights, share):
    p = np.array(weights) / sum(weights)
    out = sample(
        fixed(*[np.log(p)] * len(p)), (), start=START, end=END, max_steps=1, batch=2000, temperature=1.0, top_p=share,
        generator=np.random.default_rng(0),
    )  # fmt: skip
    drawn = set(out.tokens.numpy()[:, 0].tolist())
    order = np.argsort(-p)
    size = 1 + int(np.searchsorted(np.cumsum(p[order]), share - 1e-12))
    assert drawn <= set(order[:size].tolist())
    likely = [token for token in order[:size] if p[token] > 0.02]
    assert set(likely) <= drawn


@given(vocabulary=st.integers(2, 6), batch=st.integers(1, 4), seed=st.integers(0, 1000))
@pytest.mark.parametrize(
    "options", [{"top_k": 1}, {"temperature": 0}, {"temperature": 1e-9}, {"temperature": 1e-320}, {"top_p": 1e-9}]
)
def test_the_limits_of_sampling_are_greedy(vocabulary, batch, seed, options):
    step, state = model(vocabulary, seed, batch)
    common = {"start": START, "end": END, "max_steps": 5, "batch": batch}
    drawn = sample(step, state, generator=np.random.default_rng(0), **common, **options)
    best = greedy(step, state, **common)
    assert drawn.tokens.tolist() == best.tokens.tolist()
    np.testing.assert_array_equal(drawn.log_probabilities, best.log_probabilities)


def test_samples_are_repeatable_and_carry_the_probability_of_the_model():
    step, state = model(4, 0, 3)
    one, other = (
        sample(step, state, start=START, end=END, max_steps=6, batch=3, temperature=0.7,
               generator=np.random.default_rng(5)) for _ in range(2)
    )  # fmt: skip
    assert one.tokens.tolist() == other.tokens.tolist()
    for b in range(3):
        tokens = one.tokens[b, : one.lengths[b].item()].tolist()
        assert one.log_probabilities[b].item() == pytest.approx(log_probability(step, row_of(state, b), tokens))


# What is refused ------------------------------------------------------------------------------------------------------

COMMON = {"start": START, "end": END, "max_steps": 2, "batch": 1}
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda step: greedy(step, (), **{**COMMON, "max_steps": 0}), ValueError, "greedy: max_steps must be .* got 0"),
        (lambda step: greedy(step, (), **{**COMMON, "batch": 1.5}), ValueError, "batch must be an integer .* got 1.5"),
        (lambda step: greedy(step, (), **{**COMMON, "end": 3}), ValueError, "end must be .* 0 to 2, got 3"),
        (lambda step: greedy(step, (), **{**COMMON, "start": -1}), ValueError, "start must be .* 0 to 2, got -1"),
        (lambda step: greedy(lambda t, s: (tg.ones(3), s), (), **COMMON), tg.ShapeError, r"\(1, voc(.|\n)*\(3,"),
        (lambda step: beam_search(step, (), width=0, **COMMON), ValueError, "beam_search: width must be .* got 0"),
        (lambda step: beam_search(step, None, width=2, **COMMON), TypeError, "state: .* got NoneType"),
        (lambda step: sample(step, (), temperature=-1, generator=RNG, **COMMON), ValueError, "temperature .* got -1"),
        (lambda step: sample(step, (), top_k=0, generator=RNG, **COMMON), ValueError, "top_k must be .* got 0"),
        (lambda step: sample(step, (), top_p=0.0, generator=RNG, **COMMON), ValueError, r"top_p must lie .* got 0.0"),
        (lambda step: sample(step, (), generator=0, **COMMON), TypeError, "Generator, got int"),
    ],
)
def test_input_that_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(fixed(*[[0, 0, 1]] * 3))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_no_distribution_are_refused(wrong):
    with pytest.raises(ValueError, match="greedy: the logits of row 0 have no largest finite value"):
        greedy(fixed(*[[0, wrong, 1]] * 3), (), **COMMON)


def test_decoding_cannot_be_compiled():
    compiled = tg.compile(lambda x: greedy(lambda t, s: (s, s), x, **COMMON).tokens)
    with pytest.raises(tg.PlaceholderError, match="asked for its value while"):
        compiled(tg.ones((1, 3)))


@given(vocabulary=st.integers(2, 4), seed=st.integers(0, 1000), max_steps=st.integers(1, 5))
def test_without_an_end_token_all_steps_are_taken(vocabulary, seed, max_steps):
    step, state = model(vocabulary, seed, 2)
    options = {"start": START, "end": None, "max_steps": max_steps, "batch": 2}
    best = greedy(step, state, **options)
    drawn = sample(step, state, generator=np.random.default_rng(seed), **options)
    for found in (best, drawn):
        assert found.tokens.shape == (2, max_steps)
        assert found.lengths.tolist() == [max_steps] * 2
        for b, tokens in enumerate(found.tokens.tolist()):
            assert found.log_probabilities[b].item() == pytest.approx(log_probability(step, row_of(state, b), tokens))
    for b, hypotheses in enumerate(beam_search(step, state, width=1, **options)):
        assert hypotheses[0].tokens == tuple(best.tokens[b].tolist())
