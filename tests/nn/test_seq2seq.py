"""Attention by hand in NumPy, and encoder-decoder models: padding, gradients, compilation, a task that they learn."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.attention import AdditiveAttention, MultiplicativeAttention
from tinygrad_rnn.nn.seq2seq import EncoderDecoder
from tinygrad_rnn.testing import check_grad

START, END = 0, 1
Q, K, V, TIME = 3, 4, 2, 5

# Attention ------------------------------------------------------------------------------------------------------------

ATTENTIONS = {
    "additive": lambda: AdditiveAttention(Q, K, 6, generator=0, dtype=np.float64),
    "general": lambda: MultiplicativeAttention(Q, K, generator=0, dtype=np.float64),
    "scaled": lambda: MultiplicativeAttention(Q, K, scaled=True, generator=0, dtype=np.float64),
    "dot": lambda: MultiplicativeAttention(K, score="dot"),
}
each_attention = pytest.mark.parametrize("kind", sorted(ATTENTIONS))


def score_by_hand(attention, query, key, scale):
    """Of one query and one key."""
    if isinstance(attention, AdditiveAttention):
        return np.tanh(query @ attention.W_q.numpy() + key @ attention.W_k.numpy()) @ attention.v.numpy()
    return scale * (query @ (key if attention.W is None else key @ attention.W.numpy()))


def by_hand(attention, query, keys, values, lengths, scale=1.0):
    contexts, weights = np.zeros((len(query), values.shape[2])), np.zeros(keys.shape[:2])
    for b, n in enumerate(lengths):
        scores = [score_by_hand(attention, query[b], key, scale) for key in keys[b, :n]]
        weights[b, :n] = np.exp(scores) / np.exp(scores).sum() if n else []
        contexts[b] = weights[b] @ values[b]
    return contexts, weights


def problem(kind, batch=3, seed=0):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(batch, K if kind == "dot" else Q))
    return ATTENTIONS[kind](), query, rng.normal(size=(batch, TIME, K)), rng.normal(size=(batch, TIME, V))


@each_attention
@given(lengths=st.lists(st.integers(0, TIME), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_attention_is_the_formula(kind, lengths, seed):
    attention, query, keys, values = problem(kind, len(lengths), seed)
    mask = np.arange(TIME) < np.array(lengths)[:, None]
    expected = by_hand(attention, query, keys, values, lengths, Q**-0.5 if kind == "scaled" else 1.0)
    for given_mask in (mask, np.array(lengths)):
        out = attention(query, keys, values, given_mask)
        np.testing.assert_allclose(out.context, expected[0], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(out.weights, expected[1], rtol=1e-12)
        assert not out.weights.numpy()[~mask].any()


@each_attention
def test_keys_are_the_values_by_default_and_may_be_projected_once(kind):
    attention, query, keys, _ = problem(kind)
    out, again = attention(query, keys), attention(query, keys, projected=attention.precompute(keys))
    np.testing.assert_array_equal(out.context, attention(query, keys, keys).context)
    np.testing.assert_array_equal(out.context, again.context)


@each_attention
def test_gradients_of_attention(kind):
    attention, query, keys, values = problem(kind, 2)
    parameters = attention if attention.parameters() else ()
    check_grad(lambda q, k, v: attention(q, k, v, [3, 0]), query[:2], keys[:2], values[:2], parameters=parameters)
    check_grad(attention, query[:2], keys[:2], order=1, parameters=parameters)


@each_attention
def test_masked_positions_have_no_influence_and_no_gradient(kind):
    attention, query, keys, values = problem(kind)
    far_keys, far_values = keys.copy(), values.copy()
    mask = np.array([[True, False, True, False, True], [False] * 5, [False, True, False, False, False]])
    far_keys[~mask], far_values[~mask] = 1e6, -1e6
    results = []
    for k, v in ((keys, values), (far_keys, far_values)):
        inputs = [tg.tensor(query), tg.tensor(k), tg.tensor(v)]
        with tg.detect_anomaly():  # no NaN on the way either
            context = attention(*inputs, mask).context
            gradients = [g.numpy() for g in tg.grad((context * context).sum(), [*inputs, *attention.parameters()])]
        assert all(np.isfinite(g).all() for g in gradients)
        assert not gradients[0][1].any()
        assert not gradients[1][~mask].any()
        assert not gradients[2][~mask].any()
        assert not context.numpy()[1].any()
        results.append([context, *gradients])
    for near, far in zip(*results, strict=True):
        np.testing.assert_array_equal(near, far)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: AdditiveAttention(3, 4, 5)(tg.ones(3), tg.ones((1, 2, 4))), tg.ShapeError, r"\(batch, q\) and"),
        (lambda: AdditiveAttention(3, 4, 5)(tg.ones((2, 3)), tg.ones((1, 2, 4))), tg.ShapeError, "query and keys"),
        (lambda: AdditiveAttention(3, 4, 5)(tg.ones((1, 7)), tg.ones((1, 2, 4))), tg.ShapeError, r"\(1, 7\) and \(3"),
        (lambda: MultiplicativeAttention(3)(tg.ones((1, 2)), tg.ones((1, 2, 3))), tg.ShapeError, r"expected: \(batch"),
        (lambda: MultiplicativeAttention(3, 4, score="dot"), tg.ShapeError, "equal sizes(.|\n)*3 and 4(.|\n)*general"),
        (lambda: MultiplicativeAttention(3, score="sum"), ValueError, "'general' or 'dot', got 'sum'"),
        (
            lambda: AdditiveAttention(3, 4, 5)(tg.ones((1, 3)), tg.ones((1, 2, 4)), tg.ones((1, 3, 4))),
            tg.ShapeError, r"values for keys(.|\n)*\(1, 3, 4\)",
        ),
        (
            lambda: AdditiveAttention(3, 4, 5)(tg.ones((1, 3)), tg.ones((1, 2, 4)), mask=[[True]]),
            tg.ShapeError, r"booleans \(1, 2\), or integer lengths \(1,\)",
        ),
        (
            lambda: AdditiveAttention(3, 4, 5)(tg.ones((1, 3)), tg.ones((1, 2, 4)), mask=tg.ones((1, 2))),
            tg.DTypeError, "expected: booleans",
        ),
        (lambda: AdditiveAttention(3, 4, 5)(tg.ones((1, 3)), tg.ones((1, 2, 4)), mask=[3]), ValueError, "0 to 2"),
    ],
)  # fmt: skip
def test_attention_refuses_what_does_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Encoder and decoder --------------------------------------------------------------------------------------------------


class NestedCell(nn.Module):
    """A cell whose state is nested, with a memory that is not its output."""

    def __init__(self, features, hidden, *, generator=None, dtype=np.float32):
        self.inner = nn.RNNCell(features, hidden, generator=generator, dtype=dtype)

    def initial_state(self, batch):
        h = self.inner.initial_state(batch)
        return h, {"memory": [tg.zeros_like(h)]}

    def forward(self, x, state):
        h, after = self.inner(x, state[0])
        memory = 0.5 * state[1]["memory"][0] + 0.5 * after
        return h + memory, (after, {"memory": [memory]})


MODELS = {
    "plain": {"cell": nn.RNNCell, "attention": None},
    "additive": {"cell": nn.RNNCell, "attention": "additive"},
    "nested": {"cell": NestedCell, "attention": "multiplicative"},
    "deep": {"cell": partial(nn.GRU, num_layers=2), "attention": "additive", "bidirectional": True},
    "both ways": {"cell": NestedCell, "attention": "additive", "bidirectional": True},
}
each_model = pytest.mark.parametrize("kind", sorted(MODELS))

SOURCE = np.array([[2, 3, 1, 4], [3, 0, 0, 0], [4, 4, 2, 0]])
TARGET = np.array([[2, 3, END, 0], [4, END, 0, 0], [5, 2, 3, END]])
LENGTHS = {"source_lengths": [4, 1, 3], "target_lengths": [3, 2, 4]}


def make(kind="additive", seed=0, dtype=np.float64, **options):
    sizes = {"features": 3, "hidden": 4, "start": START, "end": END, "generator": seed, "dtype": dtype}
    return EncoderDecoder(5, 6, **{**sizes, **MODELS[kind], **options})


def loss_and_gradients(model, source=SOURCE, target=TARGET, **lengths):
    loss = model.loss(source, target, **(lengths or LENGTHS))
    return [loss, *tg.grad(loss, model.parameters())]


@each_model
def test_the_loss_is_the_mean_over_the_tokens_of_all_sequences_each_on_its_own(kind):
    model = make(kind)
    total = count = 0
    for b, (n, m) in enumerate(zip(*LENGTHS.values(), strict=True)):
        logits = model(SOURCE[b : b + 1, :n], TARGET[b : b + 1, :m]).logits
        total += tg.cross_entropy(logits[0], TARGET[b, :m], reduction="sum").item()
        count += m
    assert model.loss(SOURCE, TARGET, **LENGTHS).item() == pytest.approx(total / count, rel=1e-12)


@each_model
def test_what_stands_in_the_padding_and_how_much_there_is_changes_nothing(kind):
    model = make(kind)
    source, target = SOURCE.copy(), TARGET.copy()
    for tokens, lengths in zip((source, target), LENGTHS.values(), strict=True):
        tokens[np.arange(4) >= np.array(lengths)[:, None]] = -99  # no token of any vocabulary
    source, target = np.pad(source, ((0, 0), (0, 2))), np.pad(target, ((0, 0), (0, 1)))
    padded = loss_and_gradients(model, source, target, **LENGTHS)
    for short, long in zip(loss_and_gradients(model), padded, strict=True):
        np.testing.assert_allclose(long, short, rtol=1e-12, atol=1e-15)
    out = model.translate(SOURCE, LENGTHS["source_lengths"], max_steps=4)
    assert out.tokens == model.translate(source, LENGTHS["source_lengths"], max_steps=4).tokens


@each_model
def test_full_lengths_are_as_good_as_none(kind):
    model = make(kind)
    full = loss_and_gradients(model, source_lengths=[4] * 3, target_lengths=[4] * 3)
    loss = model.loss(SOURCE, TARGET)
    for a, b in zip(full, [loss, *tg.grad(loss, model.parameters())], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@each_model
def test_sources_and_targets_without_tokens_have_finite_gradients(kind):
    values = loss_and_gradients(make(kind), source_lengths=[0, 1, 0], target_lengths=[0, 0, 0])
    assert values[0].item() == 0
    assert not any(g.numpy().any() for g in values)
    values = loss_and_gradients(make(kind), source_lengths=[0, 1, 0], target_lengths=[2, 2, 0])
    assert all(np.isfinite(g.numpy()).all() for g in values)


@pytest.mark.parametrize("kind", ["plain", "both ways"])
def test_gradients_of_the_loss(kind):
    model = make(kind, hidden=2, features=2)
    loss = lambda: model.loss(SOURCE[:2, :3], TARGET[:2, :3], source_lengths=[2, 1], target_lengths=[3, 2])
    check_grad(loss, parameters=model, order=1)


def test_the_way_back_begins_at_the_last_token():
    model = make("both ways")
    reverse = model.encoder.reverse_cell
    outputs, _, _ = model.encode(SOURCE, LENGTHS["source_lengths"])
    state = reverse.initial_state(1)
    for t in (2, 1, 0):
        y, state = reverse(model.encoder.embedding(SOURCE[2:, t]), state)
        np.testing.assert_allclose(outputs[2, t, 4:], y[0], rtol=1e-12)


@each_model
def test_a_compiled_training_step_is_the_eager_one(kind):
    def trained(compiled):
        model = make(kind)
        optimizer = tg.optim.Adam(model, lr=0.05)

        def step(source, target, source_lengths, target_lengths):
            loss = model.loss(source, target, source_lengths=source_lengths, target_lengths=target_lengths)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        step = tg.compile(step) if compiled else step
        arrays = [SOURCE, TARGET, *(np.array(n) for n in LENGTHS.values())]
        return [step(*arrays).item() for _ in range(4)], model.state_dict()

    (losses, state), (expected, expected_state) = trained(True), trained(False)
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    assert losses[-1] < losses[0]
    for name, value in expected_state.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-6, atol=1e-8)


def test_scopes_and_steps_are_recorded():
    out = make("both ways")(SOURCE, TARGET)
    g = tg.graph(out.logits)
    assert g.times == (0, 1, 2, 3)
    for path in ("encoder/cell", "encoder/reverse_cell", "decoder/cell", "decoder/attention"):
        nodes = g.by_scope(f"encoderdecoder/{path}")
        assert {t.time for t in nodes} >= {0, 1, 2, 3}
    assert [t.time for t in g.by_name("weights")] == [0, 1, 2, 3]
    compared = [t for t in g.by_scope("encoderdecoder/decoder/attention") if t.time is None]
    assert [t.op.name for t in compared if t.inputs] == ["matmul"]  # of all keys, before the first step
    assert out.weights.shape == (3, 4, 4)


# Teacher forcing ------------------------------------------------------------------------------------------------------


def test_with_teacher_forcing_the_decoder_is_given_the_target_one_step_later():
    out = make()(SOURCE, TARGET, target_lengths=LENGTHS["target_lengths"])
    assert out.inputs.tolist() == [[START, 2, 3, END], [START, 4, END, END], [START, 5, 2, 3]]


def test_without_teacher_forcing_the_decoder_reads_what_it_wrote():
    model = make()
    out = model(SOURCE, TARGET, teacher_forcing=0)
    np.testing.assert_array_equal(out.inputs[:, 1:], out.logits.numpy().argmax(-1)[:, :-1])
    best = model.translate(SOURCE, max_steps=4)
    for row, tokens in zip(out.inputs.tolist(), best.tokens, strict=True):
        assert row[1 : len(tokens)] == list(tokens)[:-1]


@pytest.mark.parametrize("compiled", [False, True])
def test_scheduled_sampling_draws_for_each_token(compiled):
    model, rng = make(), np.random.default_rng(0)
    target = np.full((40, 12), 5)
    run = lambda s, t: model(s, t, teacher_forcing=0.7, generator=rng)[::2]
    run = tg.compile(run) if compiled else run
    forced = []
    for _ in range(3):
        logits, inputs = (t.numpy() for t in run(np.tile(SOURCE[:1], (40, 1)), target))
        own = logits.argmax(-1)[:, :-1]
        assert ((inputs[:, 1:] == 5) | (inputs[:, 1:] == own)).all()
        assert (own != 5).all()
        forced.append(inputs[:, 1:] == 5)
    assert abs(np.mean(forced) - 0.7) < 0.05
    assert (forced[0] != forced[1]).any()
    assert (forced[1] != forced[2]).any()


def test_scheduled_sampling_follows_its_generator():
    model = make()
    one, other = (model.loss(SOURCE, TARGET, teacher_forcing=0.5, generator=np.random.default_rng(3)) for _ in range(2))
    assert one.item() == other.item()


# What it learns -------------------------------------------------------------------------------------------------------


def test_it_learns_to_reverse_sequences_and_says_where_it_looks():
    sequences = np.array(list(itertools.product([2, 3, 4, 5], repeat=3)))
    targets = np.concatenate([sequences[:, ::-1], np.full((len(sequences), 1), END)], 1)
    model = EncoderDecoder(6, 6, features=8, hidden=32, cell=nn.RNNCell, start=START, end=END, generator=0)
    optimizer = tg.optim.Adam(model, lr=0.02)

    @tg.compile
    def step(source, target):
        loss = model.loss(source, target)
        optimizer.zero_grad()
        loss.backward()
        tg.optim.clip_grad_norm(model, 1.0)
        optimizer.step()
        return loss

    losses = [step(sequences, targets).item() for _ in range(150)]
    assert losses[0] > 1.5
    assert losses[-1] < 0.05
    expected = [tuple(row) for row in targets.tolist()]
    best = model.translate(sequences, max_steps=6)
    assert np.mean([a == b for a, b in zip(best.tokens, expected, strict=True)]) > 0.98
    assert best.weights.shape == (64, 4, 3)
    np.testing.assert_allclose(best.weights.numpy().sum(-1), 1, rtol=1e-5)
    beam = model.translate(sequences, beam=3, max_steps=6)
    assert np.mean([a == b for a, b in zip(beam.tokens, expected, strict=True)]) > 0.98


@each_model
@given(seed=st.integers(0, 1000))
def test_a_beam_of_width_1_translates_as_greedy_does(kind, seed):
    model = make(kind, seed)
    options = {"source_lengths": LENGTHS["source_lengths"], "max_steps": 5}
    best, beam = model.translate(SOURCE, **options), model.translate(SOURCE, beam=1, **options)
    assert best.tokens == beam.tokens
    np.testing.assert_allclose(best.scores, beam.scores)


@each_model
def test_a_score_is_the_log_probability_of_the_tokens(kind):
    model = make(kind, 3)
    for beam in (None, 4):
        out = model.translate(SOURCE, LENGTHS["source_lengths"], beam=beam, max_steps=5)
        for b, (n, tokens, score) in enumerate(zip(LENGTHS["source_lengths"], out.tokens, out.scores, strict=True)):
            logits = model(SOURCE[b : b + 1, :n], [tokens]).logits
            assert score == pytest.approx(-tg.cross_entropy(logits[0], list(tokens), reduction="sum").item())


def test_a_cell_may_come_from_a_function():
    model = make(cell=partial(nn.RNNCell, activation="relu"))
    assert model.encoder.cell.activation == model.decoder.cell.activation == "relu"


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make(start=6), ValueError, "start must be .* 0 to 5, got 6"),
        (lambda: make(end=-1), ValueError, "end must be .* 0 to 5, got -1"),
        (lambda: make(attention="cosine"), ValueError, "'additive', 'multiplicative' or None, got 'cosine'"),
        (lambda: make()(SOURCE[0], TARGET), tg.ShapeError, r"source(.|\n)*\(batch, time\)(.|\n)*\(4,\)"),
        (lambda: make()(SOURCE, TARGET[:, :0]), tg.ShapeError, r"target(.|\n)*at least one step(.|\n)*\(3, 0\)"),
        (lambda: make()(SOURCE, TARGET[:2]), tg.ShapeError, "3 rows, as the source(.|\n)*2"),
        (lambda: make()(SOURCE * 1.0, TARGET), tg.DTypeError, "source(.|\n)*expected: integers(.|\n)*float64"),
        (lambda: make()(SOURCE, TARGET, source_lengths=[1, 2]), tg.ShapeError, r"of source(.|\n)*\(3,\)(.|\n)*\(2,\)"),
        (lambda: make()(SOURCE, TARGET, target_lengths=[1, 2, 5]), ValueError, "length 5 of sequence 2"),
        (lambda: make()(SOURCE, TARGET, teacher_forcing=1.5), ValueError, "between 0 and 1, got 1.5"),
        (lambda: make()(SOURCE, TARGET, teacher_forcing=0.5), ValueError, "pass generator=np.random.default_rng"),
        (lambda: make()(SOURCE + 3, TARGET), IndexError, "out of range"),
        (lambda: make().loss(SOURCE, TARGET + 3), IndexError, "out of range"),
        (lambda: make().translate(SOURCE, max_steps=0), ValueError, "max_steps must be .* got 0"),
        (lambda: make().translate(SOURCE, beam=0, max_steps=2), ValueError, "width must be .* got 0"),
        (lambda: tg.compile(lambda s: make().translate(s, max_steps=2)[1])(SOURCE), tg.PlaceholderError, "its value"),
    ],
)
def test_input_that_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
