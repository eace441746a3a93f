"""Loading a saved state is all or nothing: a state with anything wrong in it leaves everything as it was."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.nn.loading import fitted, read_state


class Broken(Mapping):
    """A state that cannot give one of its entries."""

    def __init__(self, entries, name):
        self.entries, self.name = entries, name

    def __getitem__(self, name):
        if name == self.name:
            raise OSError("the disk is gone")
        return self.entries[name]

    def __iter__(self):
        return iter(self.entries)

    def __len__(self):
        return len(self.entries)


class NoArray:
    def __array__(self, *_, **__):
        raise RuntimeError("lives elsewhere")


def replaced(how):
    """A state with `how` of the entry in its place."""
    return lambda state, name: {**state, name: how(np.asarray(state[name]))}


WRONG = {  # what is done to an entry, the errors that may come of it, and words of theirs
    "string": (replaced(lambda a: "abc"), (tg.ShapeError, tg.DTypeError), "expected"),
    "strings": (replaced(lambda a: np.full(a.shape, "abc")), (tg.DTypeError,), "got: *<U3"),
    "objects": (replaced(lambda a: a.astype(object)), (tg.DTypeError,), "got: *object"),
    "complex": (replaced(lambda a: a + 1j), (tg.DTypeError,), "got: *complex"),
    "None": (replaced(lambda a: None), (tg.ShapeError, tg.DTypeError), "expected"),
    "dates": (replaced(lambda a: np.full(a.shape, "2026-01-01", "M8[D]")), (tg.DTypeError,), "got: *datetime64"),
    "another shape": (replaced(lambda a: np.zeros((*a.shape, 2))), (tg.ShapeError,), "expected"),
    "ragged": (replaced(lambda a: [[1.0], [1.0, 2.0]]), (ValueError,), "cannot be read"),
    "no array": (replaced(lambda a: NoArray()), (ValueError,), r"cannot be read(.|\n)*lives elsewhere"),
    "unreadable": (Broken, (ValueError,), r"cannot be read(.|\n)*OSError: the disk is gone"),
    "missing": (lambda state, name: {k: v for k, v in state.items() if k != name}, (KeyError,), "misses|differs"),
    "of other keys": (lambda state, name: {**state, f"{name}_": state[name], 3: 4}, (KeyError,), "not know|differs"),
    "too large": (
        replaced(lambda a: np.full(a.shape, 1e300) if a.dtype.kind == "f" else np.full(a.shape, 2**64 - 1, np.uint64)),
        (ValueError,), "too large|expected: 0 or more",
    ),
}  # fmt: skip


def model():
    """A module with tensors of several dtypes, and an optimiser that has taken steps."""
    made = tg.nn.ManyToOne(2, 3, 2, vocabulary=4, cell="gru", generator=0)
    made.W64 = tg.parameter(np.ones(2))
    made.counts = tg.tensor(np.array([1, 2, 3], np.int32))
    optimizer = tg.optim.Adam(made, 0.1)
    loss = tg.cross_entropy(made(np.array([[0, 1, 3]])), [1]) + (made.W64 * made.W64).sum().astype(np.float32)
    loss.backward()
    optimizer.step()
    return made, optimizer


def everything(made, optimizer):
    """All that could be changed: the very arrays, what they hold, and when tensors were assigned last."""
    tensors = [(id(t.data), t.data.tobytes(), t.assigned) for _, t in made.named_tensors()]
    grads = [None if t.grad is None else t.grad.numpy().tobytes() for _, t in made.named_tensors()]
    state = [(id(a), a.tobytes()) for slots in optimizer.state for a in slots]
    return tensors, grads, state, optimizer.step_count


@given(data=st.data(), how=st.sampled_from(sorted(WRONG)), target=st.sampled_from(["model", "optimizer"]))
def test_a_state_with_one_wrong_entry_changes_nothing(data, how, target):
    parts = dict(zip(("model", "optimizer"), model(), strict=True))
    good = {k: v + 1 for k, v in parts[target].state_dict().items()}
    name = data.draw(st.sampled_from(list(good)))
    assume(how != "too large" or good[name].dtype != np.float64)
    change, kinds, words = WRONG[how]
    before = everything(**_named(parts))
    with pytest.raises(kinds, match=words) as caught:
        parts[target].load_state_dict(change(good, name))
    assert type(caught.value) in kinds
    assert name in str(caught.value)
    assert everything(**_named(parts)) == before
    parts[target].load_state_dict(good)
    for key, value in parts[target].state_dict().items():
        np.testing.assert_array_equal(value, good[key])
        assert value.dtype == good[key].dtype


def _named(parts):
    return {"made": parts["model"], "optimizer": parts["optimizer"]}


@pytest.mark.parametrize("state", [None, [1], "abc", 3, np.ones(3)])
@pytest.mark.parametrize("target", [0, 1])
def test_a_state_that_is_no_mapping_changes_nothing(state, target):
    parts = model()
    before = everything(*parts)
    with pytest.raises(TypeError, match=r"load_state_dict: the state\n  expected: a dict of arrays(.|\n)*got"):
        parts[target].load_state_dict(state)
    assert everything(*parts) == before


@pytest.mark.parametrize(
    ("count", "kind", "words"),
    [
        (np.nan, tg.DTypeError, "'step_count'"), (2.5, tg.DTypeError, "int64"), (np.inf, tg.DTypeError, "int64"),
        ([1], tg.ShapeError, "'step_count'"), (-1, ValueError, "0 or more"), ("3", tg.DTypeError, "'step_count'"),
        (10**30, tg.DTypeError, "'step_count'"),
    ],
)  # fmt: skip
def test_a_count_of_steps_that_is_none(count, kind, words):
    made, optimizer = model()
    before = everything(made, optimizer)
    with pytest.raises(kind, match=words):
        optimizer.load_state_dict({**optimizer.state_dict(), "step_count": count})
    assert everything(made, optimizer) == before


def test_a_state_is_read_once():
    class Once(dict):
        def __getitem__(self, name):
            return self.pop(name)

    made, optimizer = model()
    state = made.state_dict()
    made.load_state_dict(Once(state))
    optimizer.load_state_dict(Once(optimizer.state_dict()))
    for name, value in made.state_dict().items():
        np.testing.assert_array_equal(value, state[name])


def test_what_is_loaded_is_a_copy():
    made, optimizer = model()
    state, steps = made.state_dict(), optimizer.state_dict()
    made.load_state_dict(state), optimizer.load_state_dict(steps)
    kept = made.state_dict(), optimizer.state_dict()
    for array in [*state.values(), *steps.values()]:
        array[...] = 7
    for own, before in zip((made.state_dict(), optimizer.state_dict()), kept, strict=True):
        for name in own:
            np.testing.assert_array_equal(own[name], before[name])


def test_infinities_and_narrower_integers_fit():
    spec = tg.Spec((2,), np.float32)
    assert fitted("w", [np.inf, np.nan], spec).tolist()[0] == np.inf
    assert fitted("n", np.array([1, 2], np.int64), tg.Spec((2,), np.int32)).dtype == np.int32
    with pytest.raises(ValueError, match=r"n: a number is too large\n  expected: int32"):
        fitted("n", np.array([1, 2**31], np.int64), tg.Spec((2,), np.int32))


def test_a_state_that_cannot_be_gone_through():
    with pytest.raises(ValueError, match="load: the names of the state cannot be read"):
        read_state("load", Broken(None, 0))


@given(data=st.data(), how=st.sampled_from([h for h in sorted(WRONG) if h not in ("missing", "of other keys")]))
def test_weights_of_other_frameworks_change_all_or_nothing(data, how):
    change, kinds, words = WRONG[how]
    layer = tg.nn.GRU(2, 3, reset_after=True, update="keep", bias="two", generator=0)
    before = [(id(t.data), t.data.tobytes()) for t in layer.parameters()]
    torch = {k: v + 1 for k, v in tg.nn.to_torch_state_dict(layer).items()}
    name = data.draw(st.sampled_from(list(torch)))
    with pytest.raises(kinds, match=words) as caught:
        tg.nn.from_torch_state_dict(layer, change(torch, name))
    assert name in str(caught.value)
    if how != "unreadable":
        keras = dict(enumerate(tg.nn.to_keras_weights(layer)))
        place = data.draw(st.sampled_from(list(keras)))
        with pytest.raises(kinds, match=words) as caught:
            tg.nn.from_keras_weights(layer, list(change(keras, place).values()))
        assert f"weight {place}" in str(caught.value)
    assert [(id(t.data), t.data.tobytes()) for t in layer.parameters()] == before
