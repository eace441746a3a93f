"""What eager mode refuses by its values, a recorded function refuses on every call: same kind of error, same words."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.nn.crf import CRF
from tinygrad_rnn.nn.tree import TreeNetwork, schedule

EMISSIONS = np.zeros((1, 3, 2), np.float32)
XS = np.zeros((1, 3, 2), np.float32)
TABLE = np.arange(6.0).reshape(2, 3)
EMBEDDING, CRF_LAYER = tg.nn.Embedding(4, 2, generator=0), CRF(2, generator=0)
READER = tg.nn.ManyToOne(2, 2, 2, vocabulary=3, generator=0)
LANGUAGE = tg.nn.LanguageModel(3, 2, 2, generator=0)
CAPTIONS = tg.nn.OneToMany(2, 3, 2, 2, start=0, end=1, generator=0)
TRANSLATOR = tg.nn.EncoderDecoder(3, 3, features=2, hidden=2, cell=tg.nn.GRUCell, start=0, end=1, generator=0)
ATTENTION = tg.nn.AdditiveAttention(2, 2, 2, generator=0)
TAGGER = tg.nn.ManyToMany(2, 2, 2, generator=0)
LSTM = tg.nn.LSTM(2, 2, generator=0)
TREES = TreeNetwork(5, 2, 2, generator=0)
TREE = schedule([(1, 2)])

SYMBOL = r"embedding: symbol {} at position {} is out of range\n  expected: 0 to {}\n"
LENGTH = r"sequence_mask: length {} of sequence 0 is out of range\n  expected: 0 to 3, the steps\n"
TAG = r"CRF: tag {} at position \(0, 2\), \(sequence, step\)\n  expected: 0 to 1\n"
ROW = r"{}: index {} at position {} is out of range for axis {} of size {}\n"
CLASS = r"{} {} at position {} is out of range for {} classes\n"

CASES = {
    "embedding, negative": (EMBEDDING, [1, 0], [1, -1], IndexError, SYMBOL.format(-1, r"\(1,\)", 3)),
    "embedding, too large": (EMBEDDING, [[1, 0]], [[1, 4]], IndexError, SYMBOL.format(4, r"\(0, 1\)", 3)),
    "embedding, uint8": (EMBEDDING, np.uint8([3]), np.uint8([255]), IndexError, SYMBOL.format(255, r"\(0,\)", 3)),
    "embedding, int8": (EMBEDDING, np.int8([3]), np.int8([-128]), IndexError, SYMBOL.format(-128, r"\(0,\)", 3)),
    "embedding, uint64": (
        EMBEDDING, np.uint64([3]), np.uint64([2**64 - 1]), IndexError, SYMBOL.format(2**64 - 1, r"\(0,\)", 3),
    ),
    "sequence_mask": (lambda n: tg.nn.sequence_mask(n, 3), [3], [4], ValueError, LENGTH.format(4)),
    "sequence_mask, negative": (lambda n: tg.nn.sequence_mask(n, 3), [0], [-1], ValueError, LENGTH.format(-1)),
    "unroll": (lambda n: LSTM(XS, lengths=n).outputs, [3], [9], ValueError, LENGTH.format(9)),
    "many to many": (lambda n: TAGGER(XS, lengths=n), [2], [9], ValueError, LENGTH.format(9)),
    "many to one": (READER, [[0, 1, 2]], [[0, 1, -1]], IndexError, SYMBOL.format(-1, r"\(0, 2\)", 2)),
    "language model": (lambda i: LANGUAGE(i)[0], [[0, 1]], [[0, 3]], IndexError, SYMBOL.format(3, r"\(0, 1\)", 2)),
    "one to many": (
        lambda i: CAPTIONS(XS[:, 0], i), [[0, 1, 2]], [[-1, 1, 2]], IndexError, SYMBOL.format(-1, r"\(0,\)", 2),
    ),
    "encoder": (
        lambda i: TRANSLATOR(i, np.array([[0, 1]])).logits, [[0, 2]], [[0, -2]], IndexError,
        SYMBOL.format(-2, r"\(0, 1\)", 2),
    ),
    "attention": (
        lambda n: ATTENTION(XS[:, 0], XS, mask=n).weights, [3], [4], ValueError, LENGTH.format(4),
    ),
    "crf": (lambda i: CRF_LAYER(EMISSIONS, i), [[0, 1, 1]], [[0, 1, -1]], IndexError, TAG.format(-1)),
    "crf, too large": (lambda i: CRF_LAYER(EMISSIONS, i), [[0, 1, 1]], [[0, 1, 2]], IndexError, TAG.format(2)),
    "crf, lengths": (
        lambda n: CRF_LAYER(EMISSIONS, [[0, 1, 0]], lengths=n), [3], [-1], ValueError, LENGTH.format(-1),
    ),
    "tree": (
        lambda w: TREES(TREE._replace(tokens=w)).roots, [1, 2], [1, 5], IndexError,
        r"TreeNetwork: word 5 at leaf 1\n  expected: 0 to 4\n  hint: .*left",
    ),
    "index": (lambda i: tg.tensor(TABLE)[i], [1, -2], [1, -3], IndexError, ROW.format("index", -3, r"\(1,\)", 0, 2)),
    "index of an inner axis": (
        lambda i: tg.tensor(TABLE)[:, i], [[2]], [[3]], IndexError, ROW.format("index", 3, r"\(0, 0\)", 1, 3),
    ),
    "two indices": (
        lambda i: tg.tensor(TABLE)[i, i], [1], [2], IndexError, ROW.format("index", 2, r"\(0,\)", 0, 2),
    ),
    "take": (lambda i: tg.take(TABLE, i), [5], [6], IndexError, ROW.format("index", 6, r"\(0,\)", 0, 6)),
    "gather": (
        lambda i: tg.gather(TABLE, i, 1), [[0], [2]], [[0], [3]], IndexError,
        ROW.format("index", 3, r"\(1, 0\)", 1, 3),
    ),
    "update": (
        lambda i: tg.tensor(TABLE).at[i].set(0.0), [1], [2], IndexError, ROW.format("update", 2, r"\(0,\)", 0, 2),
    ),
    "one_hot": (lambda i: tg.one_hot(i, 3), [2], [3], IndexError, CLASS.format("one_hot: index", 3, r"\(0,\)", 3)),
    "one_hot, negative": (
        lambda i: tg.one_hot(i, 3), [2], [-1], IndexError, CLASS.format("one_hot: index", -1, r"\(0,\)", 3),
    ),
    "cross_entropy": (
        lambda i: tg.cross_entropy(TABLE, i), [2, 0], [2, 3], IndexError,
        CLASS.format("cross_entropy: target", 3, r"\(1,\)", 3),
    ),
    "cross_entropy, ignore_index": (
        lambda i: tg.cross_entropy(TABLE, i, ignore_index=-100), [-100, 0], [-100, -1], IndexError,
        CLASS.format("cross_entropy: target", -1, r"\(1,\)", 3),
    ),
    "cross_entropy, mask": (
        lambda i: tg.cross_entropy(TABLE, i, mask=[False, True]), [9, 0], [9, 9], IndexError,
        CLASS.format("cross_entropy: target", 9, r"\(1,\)", 3),
    ),
    "cross_entropy, label_smoothing": (
        lambda i: tg.cross_entropy(TABLE, i, label_smoothing=0.1), [2, 0], [2, -1], IndexError,
        CLASS.format("cross_entropy: target", -1, r"\(1,\)", 3),
    ),
}  # fmt: skip
WAYS = {
    "eager": lambda fn, good: fn,
    "compiled": lambda fn, good: tg.compile(fn),
    "traced": lambda fn, good: tg.trace(fn, good),
    "saved": lambda fn, good: saved(fn, good),
}


def saved(fn, good):
    program = tg.compile(fn).program(good)
    tensors = {f"tensor{k}": p for k, p in enumerate(program.recording.bound.values())}
    again = tg.Program.from_json(program.to_json(tensors), tensors)
    return lambda i: again.run([i])[0]


def value(y):
    """A result as an array."""
    return y.numpy() if isinstance(y, tg.Tensor) else np.asarray(y)


def refused(fn, bad):
    with pytest.raises((IndexError, ValueError)) as caught:
        fn(bad)
    return caught.value


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_a_value_that_eager_mode_refuses_is_refused_in_the_same_words(case, way):
    fn, good, bad, kind, words = CASES[case]
    good, bad = np.asarray(good), np.asarray(bad)
    called = WAYS[way](fn, good)
    want = value(fn(good))
    np.testing.assert_allclose(value(called(good)), want, rtol=1e-6)
    error = refused(called, bad)
    assert type(error) is kind
    assert re.match(words, str(error)), str(error)
    assert way == "saved" or f"{__file__}:" in str(error)
    np.testing.assert_allclose(value(called(good)), want, rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_nobody_has_to_use_what_was_looked_at(case):
    fn, good, bad, kind, words = CASES[case]

    def unused(i):
        fn(i)
        return i + 1

    for called in (unused, tg.compile(unused), tg.trace(unused, np.asarray(good))):
        np.testing.assert_array_equal(value(called(np.asarray(good))), np.asarray(good) + 1)
        error = refused(called, np.asarray(bad))
        assert type(error) is kind
        assert re.match(words, str(error))


@pytest.mark.parametrize("memory", [None, "sqrt"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_step_that_is_refused_has_changed_nothing(memory, wrapped):
    def made():
        model = tg.nn.ManyToOne(2, 3, 2, vocabulary=4, generator=0)
        return model, tg.optim.Adam(model, 0.1)

    def stepper(model, optimizer):
        loss = lambda xs, n, y: tg.cross_entropy(model(xs, lengths=n), y)
        if wrapped:
            loss = tg.checkpoint(loss)

        def step(xs, n, y):
            optimizer.zero_grad()
            value = loss(xs, n, y)
            value.backward()
            optimizer.step()
            return value

        return step

    def everything(model, optimizer):
        grads = [None if p.grad is None else p.grad.tolist() for p in model.parameters()]
        return repr((model.state_dict(), grads, optimizer.state_dict()))

    good = (np.array([[0, 1, 3]]), np.array([2]), np.array([1]))
    bad = [
        (np.array([[0, -1, 3]]), good[1], good[2]), (good[0], np.array([4]), good[2]), (*good[:2], np.array([2])),
    ]  # fmt: skip
    eager, compiled = made(), made()
    one, other = stepper(*eager), tg.compile(stepper(*compiled), memory=memory)
    for arguments in bad:
        one(*good), other(*good)
        before = everything(*compiled)
        errors = []
        for step in (one, other):
            with pytest.raises((IndexError, ValueError)) as caught:
                step(*arguments)
            errors.append(caught.value)
        assert type(errors[0]) is type(errors[1])
        assert str(errors[0]).partition("\n")[0] == str(errors[1]).partition("\n")[0]
        assert everything(*compiled) == before
    np.testing.assert_allclose(one(*good).numpy(), other(*good).numpy(), rtol=1e-5)


def test_the_error_names_scope_and_time_step():
    def read(tokens):
        with tg.scope("reader"):
            for t in tg.steps(3):
                h = EMBEDDING(tokens[:, t])
        return h

    good, bad = np.array([[0, 1, 2]]), np.array([[0, 1, -1]])
    told = {str(refused(called, bad)) for called in (read, tg.compile(read), tg.trace(read, good))}
    assert len(told) == 1
    assert re.search(r"node: .* in reader/embedding/t=2\n", told.pop())


def test_values_that_are_there_while_a_function_is_recorded():
    lengths = tg.tensor([2])
    fn = lambda x: tg.where(tg.nn.sequence_mask(lengths, 3), x, 0.0)
    compiled, traced = tg.compile(fn), tg.trace(fn, (1, 3))
    x = np.ones((1, 3), np.float32)
    for called in (fn, compiled, traced):
        assert np.asarray(called(x)).tolist() == [[1, 1, 0]]
    lengths.assign([9])
    for called in (fn, compiled, traced):
        with pytest.raises(ValueError, match="length 9 of sequence 0"):
            called(x)
    with pytest.raises(ValueError, match="length 9 of sequence 0"):
        tg.compile(fn)(x)


def test_sequences_are_not_padded_once_and_for_all():
    sequence = tg.tensor([1, 2])
    padding = tg.compile(lambda x: tg.nn.pad_sequences([sequence])[0] + x)
    with pytest.raises(tg.PlaceholderError, match="asked for its value"):
        padding(np.array([[1, 1]]))


def test_under_no_grad():
    @tg.compile
    def read(i):
        with tg.no_grad():
            return EMBEDDING(i)

    with pytest.raises(IndexError, match="symbol -1"):
        read(np.array([-1]))


def test_two_checks_of_the_same_values_are_both_made():
    @tg.compile
    def pick(i):
        return tg.one_hot(i, 3), tg.one_hot(i, 2), EMBEDDING(i)

    with pytest.raises(IndexError, match="for 2 classes"):
        pick(np.array([2]))


def test_checks_are_neither_drawn_nor_written():
    traced = tg.trace(lambda i: EMBEDDING(i).sum(), np.array([0, 1]))
    assert traced.counts() == {"placeholder": 1, "parameter": 1, "index": 1, "sum": 1}
    assert len(traced.checks) == 1
    assert "range_check" not in traced.to_json() + str(traced)


def test_a_graph_that_is_computed_anew_is_checked():
    def read(tokens):
        h = tg.zeros((1, 2))
        for t in tg.steps(2):
            h = tg.tanh(h + EMBEDDING(tokens[:, t])).named("h")
        return h.sum()

    traced = tg.trace(read, np.array([[0, 1]]))
    assert tg.bptt.flow(traced, np.array([[0, 1]])) is not None
    with pytest.raises(IndexError, match="symbol -1 at position"):
        tg.bptt.flow(traced, np.array([[0, -1]]))


def test_a_tensor_without_a_value_outside_of_any_recording_keeps_its_check():
    i = tg.trace(lambda i: i + 0, np.array([0, 1])).outputs[0]
    again = tg.graph(EMBEDDING(i))
    assert again(np.array([0, 1]))[0].shape == (2, 2)
    with pytest.raises(IndexError, match="symbol -1 at position"):
        again(np.array([0, -1]))
