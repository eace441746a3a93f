"""Files: what is saved comes back, bad files are refused, and a failed save leaves the old file."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_rnn as tg
from tinygrad_rnn import io, nn

arrays = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@given(state=st.dictionaries(st.text(min_size=1, max_size=8), arrays, max_size=4))
def test_arrays_come_back_bit_for_bit(tmp_path_factory, state):
    path = tg.save(state, tmp_path_factory.mktemp("io") / "s.safetensors")
    back = tg.load(path)
    assert back.keys() == state.keys()
    for name, array in state.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == np.asarray(array, order="C").tobytes()


def test_transposed_arrays_are_saved_as_they_look(tmp_path):
    array = np.arange(6).reshape(2, 3).T
    np.testing.assert_array_equal(tg.load(tg.save({"a": array}, tmp_path / "a"))["a"], array)


def test_a_module_and_its_words_come_back(tmp_path):
    model, other = nn.RNN(3, 4, generator=0), nn.RNN(3, 4, generator=1)
    path = tg.save(model, tmp_path / "m.safetensors", {"note": "trained"})
    file = tg.load(path)
    assert file.metadata == {"note": "trained"}
    other.load_state_dict(file)
    x = tg.ones((1, 2, 3))
    np.testing.assert_array_equal(model(x).outputs, other(x).outputs)


def test_parts_of_a_file(tmp_path):
    file = tg.load(tg.save({"model.w": np.ones(1), "optimizer.w": np.zeros(1)}, tmp_path / "p"))
    assert list(file.part("model")) == ["w"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        tg.load(tmp_path / "nowhere")


@pytest.mark.parametrize("spoil", [lambda b: b[:-3], lambda b: b"not a tensor file", lambda b: b""])
def test_a_spoilt_file_is_refused(tmp_path, spoil):
    path = tg.save({"a": np.arange(10)}, tmp_path / "a")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        tg.load(path)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tg.save({"a": np.arange(3)}, tmp_path / "a")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        tg.save({"a": np.zeros(3)}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    np.testing.assert_array_equal(io.load(path)["a"], np.arange(3))


def test_metadata_must_be_words(tmp_path):
    with pytest.raises(TypeError, match="words by name"):
        tg.save({}, tmp_path / "a", {"step": 3})
