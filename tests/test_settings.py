"""Settings out of range: every one of every constructor is refused by its name, and what is in range is not."""

from __future__ import annotations

import inspect
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim

NO_NUMBERS = ["x", True, [0.5], 1j, math.nan, np.float32("nan"), 10**400, -math.inf]
NO_COUNTS = [0, -1, 1.5, 2.0, True, math.nan, math.inf, "2", [2], np.float64(3)]
BAD = {
    "count": [*NO_COUNTS, None],
    "count or None": NO_COUNTS,
    "count from 0": [*NO_COUNTS[1:], None],
    "integer": [1.5, True, math.nan, "2", [2]],
    "token or None": [-1, 99, 1.5, True, "2"],
    "token": [-1, 99, 1.5, True, "2", None],
    "finite": [*NO_NUMBERS, None, math.inf],
    "from 0": [*NO_NUMBERS, None, math.inf, -1e-9],
    "positive": [*NO_NUMBERS, None, math.inf, -1e-9, 0],
    "positive or infinite": [*NO_NUMBERS[:6], -1e-9, 0],
    "share": [*NO_NUMBERS, None, math.inf, -1e-9, 1.000001],
    "share below 1": [*NO_NUMBERS, None, math.inf, -1e-9, 1.0, 1.5],
    "share above 0": [*NO_NUMBERS, math.inf, 0, 1.5],
    "shares": [*(v for v in NO_NUMBERS if v != [0.5]), None, math.inf, 1.5, [0.5, 1.5], [None]],
    "counts": [*NO_COUNTS[:-2], None, np.float64(3)],
    "shares below 1": [(1.0, 0.999), (0.9, 1.0), (0.9,), (0.9, -1), (0.9, "x"), 0.9, None, (math.nan, 0.9)],
    "switch": [1, 0, "no", None, 2.5, [], 10**20],
}  # fmt: skip
GOOD = {
    "count": [np.int64(2)], "count or None": [np.int64(2)], "count from 0": [0, 1], "integer": [-100, np.int64(1)],
    "token": [0, 1], "token or None": [0, 1, None],
    "finite": [-1.0, 0, np.float32(1)], "from 0": [0, 0.5, Fraction(1, 2)], "positive": [0.5, 2],
    "positive or infinite": [1, math.inf], "share": [0, 0.5], "share below 1": [0, 0.5], "share above 0": [0.5, 1],
    "shares below 1": [(0, 0.5), [0.9, 0.999]], "switch": [True, False, np.True_],
    "shares": [0, 1, [0.5], (1,), np.array([0.5])], "counts": [1, [1, 2], np.array([2])],
}  # fmt: skip

W = [tg.parameter([1.0])]
RNN = {"input_size": (2, "count"), "hidden_size": (4, "count")}
CELL = {**RNN, "layer_norm": (False, "switch"), "learn_initial_state": (False, "switch")}
LAYERS = {
    **RNN, "num_layers": (2, "count"), "bidirectional": (False, "switch"), "residual": (False, "switch"),
    "skip": (False, "switch"), "dropout": (0.0, "share"), "batch_first": (True, "switch"),
}  # fmt: skip
READER = {
    "features": (3, "count"), "hidden": (4, "count"), "classes": (2, "count"), "vocabulary": (5, "count or None"),
    "num_layers": (1, "count"), "bidirectional": (False, "switch"), "dropout": (0.1, "share"),
}  # fmt: skip
TREE = {**RNN, "node_inputs": (False, "switch")}
DECODING = {"start": (0, "token"), "end": (1, "token or None"), "max_steps": (2, "count"), "batch": (1, "count")}
LR = {"lr": (0.1, "from 0"), "weight_decay": (0.0, "from 0")}
ADAM = {**LR, "betas": ((0.9, 0.99), "shares below 1"), "eps": (1e-8, "from 0")}
SCHEDULE = {"rate": (0.1, "from 0"), "total": (3, "count"), "final": (0.0, "from 0")}
RNG = np.random.default_rng(0)
LOGITS, CLASSES = tg.tensor([[0.0, 1.0]]), np.array([1])


def step(tokens, state):
    return tg.zeros((tokens.shape[0], 3)), state


def clipped(clip):
    w = tg.parameter([1.0])
    w.grad = tg.tensor([1.0])
    return clip([w])


def trained(**options):
    model = nn.Linear(1, 1)
    return tg.fit(model, [{"x": np.ones((1, 1), np.float32)}], loss=lambda m, x: m(x).sum(), **options)


CASES = {  # what is made, and its settings: one that is right, and of what kind it is
    optim.SGD: (lambda **o: optim.SGD(W, **o),
                {**LR, "momentum": (0.5, "share below 1"), "nesterov": (False, "switch")}),
    optim.RMSprop: (lambda **o: optim.RMSprop(W, **o), {**LR, "alpha": (0.9, "share below 1"), "eps": (0.1, "from 0")}),
    optim.Adagrad: (lambda **o: optim.Adagrad(W, **o), {**LR, "eps": (0.1, "from 0")}),
    optim.Adam: (lambda **o: optim.Adam(W, **o), ADAM),
    optim.AdamW: (lambda **o: optim.AdamW(W, **o), ADAM),
    optim.clip_grad_norm: (lambda max_norm: clipped(lambda p: optim.clip_grad_norm(p, max_norm)),
                           {"max_norm": (1.0, "positive or infinite")}),
    optim.clip_grad_value: (lambda limit: clipped(lambda p: optim.clip_grad_value(p, limit)),
                            {"limit": (1.0, "positive or infinite")}),
    optim.constant: (optim.constant, {"rate": (0.1, "from 0")}),
    optim.step_decay: (optim.step_decay, {"rate": (0.1, "from 0"), "every": (2, "count"), "factor": (0.1, "from 0")}),
    optim.exponential: (optim.exponential, {"rate": (0.1, "from 0"), "factor": (0.1, "from 0")}),
    optim.linear: (optim.linear, SCHEDULE),
    optim.cosine: (optim.cosine, SCHEDULE),
    optim.warmup: (optim.warmup, {"schedule": (0.1, "from 0"), "steps": (3, "count")}),
    nn.Linear: (nn.Linear,
                {"in_features": (2, "count from 0"), "out_features": (3, "count"), "bias": (True, "switch")}),
    nn.Embedding: (nn.Embedding, {"count": (3, "count"), "features": (2, "count")}),
    nn.Dropout: (nn.Dropout, {"p": (0.5, "share")}),
    nn.LayerNorm: (nn.LayerNorm, {"features": (2, "count"), "eps": (1e-5, "from 0")}),
    nn.RNNCell: (nn.RNNCell, {**CELL, "leak": (1.0, "share above 0"), "skip": (1, "count")}),
    nn.LSTMCell: (nn.LSTMCell, {
        **CELL, "forget_gate": (True, "switch"), "forget_bias": (1.0, "finite"), "state_gated": (False, "switch"),
        "projection": (None, "count or None"),
    }),
    nn.GRUCell: (nn.GRUCell, {**CELL, "reset_after": (False, "switch")}),
    nn.RNN: (nn.RNN, LAYERS),
    nn.LSTM: (nn.LSTM, LAYERS),
    nn.GRU: (nn.GRU, LAYERS),
    nn.Recurrent: (lambda **o: nn.Recurrent([nn.RNNCell(2, 2)] * 2, **o),
                   {k: LAYERS[k] for k in ("residual", "skip", "dropout", "batch_first")}),
    nn.VariationalDropout: (lambda p: nn.VariationalDropout(nn.RNNCell(2, 2), p), {"p": (0.5, "share below 1")}),
    nn.Zoneout: (lambda p: nn.Zoneout(nn.RNNCell(2, 2), p), {"p": (0.5, "shares")}),
    nn.DeepTransition: (lambda **o: nn.DeepTransition(nn.RNNCell(2, 2), **o),
                        {"depth": (1, "count"), "skip": (False, "switch")}),
    nn.AdditiveAttention: (nn.AdditiveAttention,
                           dict.fromkeys(("query_size", "key_size", "hidden_size"), (2, "count"))),
    nn.MultiplicativeAttention: (nn.MultiplicativeAttention, {
        "query_size": (2, "count"), "key_size": (2, "count or None"), "scaled": (False, "switch"),
    }),
    nn.CRF: (nn.CRF, {"tags": (2, "count")}),
    nn.RecursiveCell: (nn.RecursiveCell, RNN),
    nn.TreeLSTMCell: (nn.TreeLSTMCell, TREE),
    nn.ChildSumTreeLSTMCell: (nn.ChildSumTreeLSTMCell, TREE),
    nn.TreeNetwork: (nn.TreeNetwork, dict.fromkeys(("vocabulary", "features", "hidden"), (3, "count"))),
    nn.OneToOne: (nn.OneToOne, {"in_features": (2, "count from 0"), "out_features": (2, "count")}),
    nn.ManyToOne: (nn.ManyToOne, READER),
    nn.ManyToMany: (nn.ManyToMany, {**READER, "crf": (False, "switch")}),
    nn.OneToMany: (nn.OneToMany, {
        **dict.fromkeys(("in_features", "vocabulary", "features", "hidden"), (3, "count")),
        "start": (0, "token"), "end": (1, "token"),
    }),
    nn.LanguageModel: (nn.LanguageModel, {
        **dict.fromkeys(("vocabulary", "features", "hidden"), (3, "count")), "num_layers": (1, "count"),
        "tied": (False, "switch"), "dropout": (0.1, "share"),
    }),
    nn.EncoderDecoder: (lambda **o: nn.EncoderDecoder(cell=nn.RNNCell, **o), {
        **dict.fromkeys(("source_vocabulary", "target_vocabulary", "features", "hidden"), (3, "count")),
        "bidirectional": (False, "switch"), "start": (0, "token"), "end": (1, "token"),
    }),
    nn.greedy: (lambda **o: nn.greedy(step, (), **o), DECODING),
    nn.sample: (lambda **o: nn.sample(step, (), generator=RNG, **o), {
        **DECODING, "temperature": (1.0, "from 0"), "top_k": (None, "count or None"), "top_p": (0.5, "share above 0"),
    }),
    nn.beam_search: (lambda **o: nn.beam_search(step, (), **o),
                     {**DECODING, "width": (2, "count"), "length_penalty": (0.0, "finite")}),
    nn.tbptt: (lambda **o: list(nn.tbptt(nn.RNNCell(2, 2), tg.ones((1, 3, 2)), **o)),
               {"k1": (1, "count"), "k2": (2, "count or None")}),
    nn.metrics.f1_score: (lambda classes: nn.metrics.f1_score([0], [0], classes=classes), {"classes": (2, "count")}),
    data.Batches: (lambda **o: data.Batches({"x": [[1], [2, 3]]}, **o),
                   {"batch_size": (1, "count"), "drop_last": (False, "switch"), "buckets": (2, "counts")}),
    data.Windows: (lambda **o: data.Windows(np.arange(20), **o), {"batch_size": (1, "count"), "steps": (2, "count")}),
    data.Prefetch: (lambda ahead: data.Prefetch(data.Windows(np.arange(20), batch_size=1, steps=2), ahead),
                    {"ahead": (2, "count")}),
    data.Vocabulary.of: (lambda **o: data.Vocabulary.of(["ab"], **o),
                         {"min_count": (1, "count"), "max_size": (None, "count or None")}),
    tg.cross_entropy: (lambda **o: tg.cross_entropy(LOGITS, CLASSES, **o),
                       {"ignore_index": (-100, "integer"), "label_smoothing": (0.1, "share")}),
    tg.huber_loss: (lambda delta: tg.huber_loss(LOGITS, LOGITS, delta=delta), {"delta": (1.0, "positive")}),
    tg.layer_norm: (lambda eps: tg.layer_norm(LOGITS, eps=eps), {"eps": (1e-5, "from 0")}),
    tg.dropout: (lambda p: tg.dropout(LOGITS, p, generator=RNG), {"p": (0.5, "share")}),
    tg.fit: (trained, {
        "epochs": (1, "count"), "accumulate": (1, "count"), "every": (1, "count or None"),
        "patience": (None, "count or None"),
        "clip": (1.0, "positive or infinite"), "keep_best": (False, "switch"), "resume": (False, "switch"),
        "compile": (False, "switch"), "progress": (False, "switch"),
    }),
}  # fmt: skip
WRONG = [
    pytest.param(made, setting, value, id=f"{made.__qualname__}-{setting}-{value!r:.12}")
    for made, (_, settings) in CASES.items() for setting, (_, kind) in settings.items() for value in BAD[kind]
]  # fmt: skip


@pytest.mark.parametrize(("made", "setting", "value"), WRONG)
def test_a_setting_out_of_range_is_named(made, setting, value):
    make, settings = CASES[made]
    with pytest.raises((ValueError, TypeError)) as caught:
        make(**{**{name: right for name, (right, _) in settings.items()}, setting: value})
    name = {"buckets": "count"}.get(setting, setting)
    assert f"{name} must" in str(caught.value)


@pytest.mark.parametrize("made", CASES, ids=lambda made: made.__qualname__)
def test_settings_in_range_are_taken(made):
    make, settings = CASES[made]
    right = {name: value for name, (value, _) in settings.items()}
    make(**right)
    for setting, (_, kind) in settings.items():
        for value in GOOD[kind]:
            if setting not in ("patience", "keep_best", "resume"):  # these need more
                make(**{**right, setting: value})


def test_every_constructor_with_settings_is_here():
    kinds = {"int", "float", "bool", "float | Schedule", "int | None", "float | None"}
    missing = []
    for module in (optim, nn, data):
        for name in module.__all__:
            made = getattr(module, name)
            if not inspect.isclass(made) or issubclass(made, tuple) or name in ("Optimizer", "Cell"):
                continue
            listed = CASES.get(made, (None, {}))[1]
            for setting, p in inspect.signature(made).parameters.items():
                if str(p.annotation) in kinds and setting not in listed:
                    missing.append(f"{name}.{setting}")
    assert not missing


@pytest.mark.parametrize("rate", [math.inf, math.nan, -0.1, "0.1", None])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_schedule_that_gives_no_rate_is_refused(rate, compiled):
    w = tg.parameter([1.0])
    optimizer = optim.SGD([w], lr=lambda step: rate if step else 0.1)

    def train():
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()

    run = tg.compile(train) if compiled else train
    run()
    before = w.tolist()
    with pytest.raises((ValueError, TypeError), match="the learning rate of step 1 must"):
        run()
    assert w.tolist() == before


@given(st.floats() | st.integers())
def test_a_rate_is_taken_if_it_can_be_used(rate):
    try:
        optimizer = optim.SGD(W, lr=rate)
    except ValueError:
        assert not 0 <= rate < math.inf
    else:
        assert optimizer.lr == rate
