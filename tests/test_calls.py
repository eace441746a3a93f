"""Every public callable answers a wrong call with an error of ours; and the test would see one that does not."""

from __future__ import annotations

import copy
import inspect
import operator
import pickle
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import calls, symbolic, testing
from tinygrad_rnn.errors import brief, fail

from .wrong_calls import BAD, CALLS, Call, Endless, within

RIGHT = {text: Call(text) for line in CALLS.strip().splitlines() for text in line.split(" | ")}
KINDS = (ValueError, TypeError, IndexError)
FOUND = AssertionError  # what a function of the testing kit has to say
SECONDS = 20.0


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a wrong call may write a file
    tg.save({"w": tg.ones(2)}, "state.safetensors")


def is_ours(error):
    """Whether an error is one of ours, or says in our form what is wrong, or what a function of the user's raised."""
    if type(error).__module__.startswith("tinygrad_rnn") or isinstance(error, OSError):
        return True  # what the system says of a path is for the system to say
    entries = list(calls._entries(error.__traceback__))
    if any(e.tb_frame.f_code.co_filename == "<user>" for e in entries):
        return True
    told = "\n  expected: " in str(error) or "\n  hint: " in str(error)
    raised = calls._is_ours(entries[-1].tb_frame) and calls._raises(entries[-1])
    users = isinstance(error, TypeError) and str(error).startswith(("square()", "follow()", "loss()", "Module()"))
    return isinstance(error, (*KINDS, FOUND)) and (told or raised or users)


def check(call, changed):
    """A call gives something, or an error of ours; and it comes to an end."""
    try:
        with warnings.catch_warnings(), within(SECONDS):
            warnings.simplefilter("ignore")
            call.run(changed)
    except Endless:
        pytest.fail(f"{call.text} with {changed} does not come to an end")
    except Exception as error:
        assert is_ours(error), f"{call.text} with {changed}: {type(error).__name__}: {error}"  # noqa: PT017


@pytest.mark.parametrize("text", RIGHT)
def test_the_calls_are_right_ones(text):
    with within(120):
        RIGHT[text].run()


@settings(deadline=None)
@given(st.data())
def test_a_wrong_call_is_answered_in_our_words(data):
    """Any argument of any call exchanged for what does not belong there, or two."""
    call = RIGHT[data.draw(st.sampled_from(sorted(RIGHT)), label="call")]
    slots = data.draw(st.lists(st.sampled_from(call.slots()), min_size=1, max_size=2, unique=True), label="slots")
    bad = [data.draw(st.sampled_from(sorted(BAD)), label="instead") for _ in slots]
    check(call, {slot: BAD[name]() for slot, name in zip(slots, bad, strict=True)})


@pytest.mark.parametrize("name", ["None", "text", "10**20", "nan", "itself", "object"])
@pytest.mark.parametrize("text", RIGHT)
def test_each_first_argument_is_answered_for(text, name):
    call = RIGHT[text]
    for slot in call.slots()[:1]:
        check(call, {slot: BAD[name]()})


# Nothing is left out --------------------------------------------------------------------------------------------------


def public(module, prefix):
    for name in module.__all__:
        found = getattr(module, name)
        if inspect.ismodule(found):
            if found.__name__.startswith("tinygrad_rnn"):
                yield from public(found, f"{prefix}.{name}")
        elif not (inspect.isclass(found) and issubclass(found, Exception)):
            yield f"{prefix}.{name}", found


PUBLIC = dict([*public(tg, "tg"), *public(symbolic, "symbolic"), *public(testing, "testing")])
# Classes of results, made by functions that are called above; and the parts of the testing kit that take a test.
RESULTS = [name for name, found in PUBLIC.items() if inspect.isclass(found) and not hasattr(found, "forward")]


@pytest.mark.parametrize("name", [n for n in PUBLIC if n not in RESULTS])
def test_every_public_function_answers(name):
    found = PUBLIC[name]
    if inspect.isclass(found):
        assert hasattr(found.__init__, "answers") or found.__init__ is object.__init__
    else:
        assert hasattr(found, "answers") or hasattr(found, "scalar")


@pytest.mark.parametrize("name", [n for n, f in PUBLIC.items() if inspect.isclass(f) and not issubclass(f, tuple)])
def test_every_public_class_answers(name):
    for method, found in vars(PUBLIC[name]).items():
        if isinstance(found, types.FunctionType) and not method.startswith("_"):
            assert hasattr(found, "answers") or hasattr(found, "scalar"), method


def test_elementwise_functions_answer():
    for name, found in PUBLIC.items():
        if hasattr(found, "scalar"):
            for args in [(), (None,), ("a", "b", "c", "d", "e"), ([None], {}, object())]:
                with pytest.raises(KINDS) as caught:
                    found(*args)
                assert is_ours(caught.value), name
            with pytest.raises(TypeError, match=r"unexpected keyword argument 'inplace'[\s\S]*leave inplace out"):
                found(*[tg.ones(2)] * found.op.kernels.arity, inplace=True)


def test_a_function_that_answers_is_the_same_to_all_who_ask():
    assert tg.sum.__name__ == "sum"
    assert inspect.signature(tg.sum).parameters.keys() == {"x", "axis", "keepdims"}
    assert pickle.loads(pickle.dumps(tg.sum)) is tg.sum is copy.copy(tg.sum)
    assert calls.answered(tg.sum) is tg.sum
    assert tg.nn.LSTM.__init__.__module__ == "tinygrad_rnn.nn.recurrent"


# The test sees what leaks out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("leak", [
    lambda x: x.nothing, lambda x: {}[x], lambda x: next(iter(())), lambda x: np.zeros(2, int).__setitem__(0, 10**20),
    lambda x: x + "a", lambda x: np.dot(x, [1, 2, 3]), lambda x: int("x"),
])  # fmt: skip
def test_an_error_from_inside_is_told_from_one_of_ours(leak):
    inside = types.FunctionType(leak.__code__, {"__name__": "tinygrad_rnn.inside", "np": np})
    with pytest.raises(Exception, match=None) as caught:  # noqa: PT011  (whatever leaks out)
        inside([1.0])
    assert not is_ours(caught.value)
    with pytest.raises(KINDS, match=r"expected: [\s\S]*got:  [\s\S]*hint: ") as told:
        calls.answered(inside)([1.0])
    assert is_ours(told.value)
    assert type(told.value.__cause__) is type(caught.value)


def test_what_the_users_function_raises_is_left_alone():
    def wrong(x):
        return {}["here"]

    for use in (lambda: tg.jvp(wrong, [1.0], [1.0]), lambda: tg.trace(wrong, (2,)), lambda: tg.compile(wrong)([1.0])):
        with pytest.raises(KeyError, match=r"^'here'$"):
            use()


# Words ----------------------------------------------------------------------------------------------------------------

X = tg.ones((2, 3))
FOREIGN = {
    "sum dim": (lambda: tg.sum(X, dim=0), "write axis= for dim"),
    "sum keepdim": (lambda: X.sum(0, keepdim=True), "write keepdims= for keepdim"),
    "softmax dim": (lambda: X.softmax(dim=1), "write axis= for dim"),
    "stack dim": (lambda: tg.stack([X, X], dim=0), "write axis= for dim"),
    "std unbiased": (lambda: X.std(unbiased=False), "write ddof=1 for unbiased"),
    "view": (lambda: X.view(3, 2), r"write x.reshape\(shape\) for view"),
    "permute": (lambda: X.permute(1, 0), r"write x.transpose\(\*axes\) for permute"),
    "unsqueeze": (lambda: X.unsqueeze(0), r"write x.expand_dims\(axis\) for unsqueeze"),
    "size": (lambda: X.size(), r"write x.shape"),
    "size of an axis": (lambda: X.size(0), r"write x.shape\[0\]"),
    "cat": (lambda: tg.cat([X, X]), "write tg.concatenate for cat"),
    "tg.unsqueeze": (lambda: tg.unsqueeze(X, 0), "write tg.expand_dims for unsqueeze"),
    "nonlinearity": (lambda: tg.nn.RNN(2, 3, nonlinearity="relu"), "write activation= for nonlinearity"),
    "proj_size": (lambda: tg.nn.LSTM(2, 3, proj_size=2), "write a layer nn.Linear after it for proj_size"),
    "Dense": (lambda: tg.nn.Dense(2), "write nn.Linear for Dense"),
    "layers": (
        lambda: tg.nn.LSTM(3, 4, 2)(tg.ones((1, 5, 3)), (tg.zeros((2, 1, 4)), tg.zeros((2, 1, 4)))),
        r"take apart what is stacked by layer: \[LSTMState\(h\[k\], c\[k\]\)",
    ),
    "GRU layers": (
        lambda: tg.nn.GRU(3, 4, 2)(tg.ones((1, 5, 3)), tg.zeros((2, 1, 4))),
        "put the state of a single layer into a list; one stacked by layer becomes list",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_words_of_other_libraries_are_refused_with_the_word_to_write(name):
    use, hint = FOREIGN[name]
    with pytest.raises((*KINDS, AttributeError), match=rf"[\s\S]*\n  [a-z]*: *{hint}"):
        use()


def test_an_unknown_attribute_is_none():
    assert not hasattr(X, "nothing")
    assert not hasattr(X, "view")
    assert getattr(X, "nothing", 3) == 3
    with pytest.raises(AttributeError, match=r"module 'tinygrad_rnn' has no attribute 'nothing'$"):
        tg.nothing  # noqa: B018


def test_size_is_a_number():
    assert (X.size, type(X.reshape(X.size).shape[0]), X.size + 1) == (6, int, 7)
    assert tg.take(X, [5]).tolist() == [1.0]
    assert X.reshape(-1)[X.size - 1].item() == 1.0


@pytest.mark.parametrize("other", [None, "text", object(), {}, print, b"x", ...])
def test_a_tensor_is_not_equal_to_what_is_no_number(other):
    assert (other == X) is False
    assert (other != X) is True
    assert (other == X) is False
    assert other not in X
    with pytest.raises(TypeError):
        operator.lt(X, other)


def test_comparisons_with_numbers_are_tensors():
    for other in (1, 1.0, True, np.float32(1), np.ones((2, 3)), [[1, 1, 1]], X):
        assert (other == X).all()
        assert not (other != X).any()


def test_texts_of_unknown_names_are_shown_as_they_are():
    with pytest.raises(KeyError) as caught:
        tg.nn.Linear(2, 3).load_state_dict({"W": np.ones((2, 3))})
    assert str(caught.value).startswith("load_state_dict: ")
    assert "\\n" not in str(caught.value)
    assert type(caught.value) is KeyError
    assert caught.value.args[0] == str(caught.value)
    with pytest.raises(KeyError, match=r"^Vocabulary.encode: 'c' at position 0\n"):
        tg.data.Vocabulary("ab").encode("c")


def test_each_key_error_of_ours_is_composed_so_that_its_text_is_shown():
    root = Path(tg.__file__).parent
    raised = [str(f) for f in root.rglob("*.py") if "raise KeyError" in f.read_text(encoding="utf-8")]
    assert raised == []


def test_dir_shows_what_there_is():
    assert set(tg.__all__) <= set(dir(tg))
    assert {"data", "bptt", "train", "fit", "equations", "testing", "symbolic"} <= set(dir(tg))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"), ("a", "'a'"), (np.zeros((2, 3)), "ndarray of shape (2, 3)"), (X, "Tensor of shape (2, 3)"),
        (object(), "an object of type object"), (np.float32, "float32"), (np.dtype("f8"), "float64"), (int, "int"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, ...]"), ("x" * 99, "'" + "x" * 12 + "..." + "x" * 13 + "'"),
    ],
)  # fmt: skip
def test_what_was_given_is_shown_in_short(value, text):
    assert brief(value) == text


def test_a_number_of_more_digits_than_python_writes_is_named():
    assert brief(10**5000) == "an object of type int"


def test_an_error_in_our_form_is_composed_once():
    error = fail(TypeError, "f: wrong", expected="a", got="b", hint="c")
    assert is_ours(error) if error.__traceback__ else str(error).count("\n") == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda: tg.tanh(X, dim=0), lambda: tg.round(X, decimals=1), lambda: tg.nn.Linear(3, units=4),
        lambda: tg.where(c=X > 0, a=X, b=X),
    ],
)  # fmt: skip
def test_no_hint_names_a_keyword_that_there_is_not(call):
    with pytest.raises(TypeError) as error:
        call()
    assert "write" not in str(error.value)


def test_inputs_without_a_keyword_are_shown_as_such():
    with pytest.raises(TypeError, match=r"expected: where\(c, a, b, /\)"):
        tg.where(X > 0)


def test_too_little_memory_is_no_wrong_call():
    with pytest.raises(MemoryError):
        tg.ones((10**6, 10**6))
