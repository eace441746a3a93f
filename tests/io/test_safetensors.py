"""Files: what is saved comes back, bad files are refused, and a failed save leaves the old file."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time

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


def raw_file(path, entries):
    """A file written by hand: name, the format's word for the type, shape, bytes."""
    header, data = {}, b""
    for name, kind, shape, content in entries:
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_narrow_floats_become_float32(tmp_path):
    every = bytes(range(256))
    path = raw_file(tmp_path / "narrow", [
        ("b", "BF16", [2, 2], bytes.fromhex("803f00c0807f0100")), ("e4m3", "F8_E4M3", [256], every),
        ("e5m2", "F8_E5M2", [256], every), ("w", "F32", [1], np.float32([2.5]).tobytes()),
        ("none", "BF16", [0, 3], b""),
    ])  # fmt: skip
    state = tg.load(path)
    assert {a.dtype for a in state.values()} == {np.dtype(np.float32)}
    assert state["b"].tolist() == [[1.0, -2.0], [np.inf, 2.0**-133]]
    assert (state["w"].tolist(), state["none"].shape) == ([2.5], (0, 3))
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name, kind in (("e4m3", ml_dtypes.float8_e4m3fn), ("e5m2", ml_dtypes.float8_e5m2)):
        np.testing.assert_array_equal(state[name], np.frombuffer(every, kind).astype(np.float32))


def test_float8_by_hand(tmp_path):
    codes = {0x00: 0.0, 0x01: 2.0**-9, 0x07: 7 * 2.0**-9, 0x08: 2.0**-6, 0x38: 1.0, 0x3C: 1.5, 0x7E: 448.0, 0xB8: -1.0}
    state = tg.load(raw_file(tmp_path / "f8", [("a", "F8_E4M3", [len(codes)], bytes(codes))]))
    assert state["a"].tolist() == list(codes.values())
    codes = {0x00: 0.0, 0x01: 2.0**-16, 0x3C: 1.0, 0x3E: 1.5, 0x7B: 57344.0, 0x7C: np.inf, 0xBC: -1.0}
    state = tg.load(raw_file(tmp_path / "f8", [("a", "F8_E5M2", [len(codes)], bytes(codes))]))
    assert state["a"].tolist() == list(codes.values())


def test_a_type_that_numpy_does_not_have_is_named(tmp_path):
    path = raw_file(tmp_path / "s", [("scale", "F8_E8M0", [1], b"x")])
    with pytest.raises(tg.DTypeError, match=r"load: 'scale' of .* is of F8_E8M0"):
        tg.load(path)


@pytest.mark.parametrize(("state", "error", "message"), [
    ({"__metadata__": np.ones(2)}, ValueError, "'__metadata__'(.|\n)*pass these as metadata="),
    ({1: np.ones(2)}, TypeError, "names are strings; got 1"),
    ({"a": np.ones(2, complex)}, tg.DTypeError, "'a' is of complex128"),
    ({"a": np.array(["text"])}, tg.DTypeError, "'a' is of <U4"),
    ({"a": np.array([object()])}, tg.DTypeError, "'a' is of object"),
    ({"a": np.ones(2, np.longdouble)}, tg.DTypeError, "'a' is of"),
])  # fmt: skip
def test_what_cannot_be_saved_is_named(tmp_path, state, error, message):
    with pytest.raises(error, match=message):
        tg.save(state, tmp_path / "s")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="links and modes of POSIX")
def test_links_and_modes_are_kept(tmp_path):
    target, link = tmp_path / "folder" / "real", tmp_path / "link"
    target.parent.mkdir()
    link.symlink_to(target)
    for mode in (None, 0o600, 0o640):
        if mode is not None:
            target.chmod(mode)
        assert tg.save({"a": np.ones(1)}, link) == link
        assert link.is_symlink()
        assert mode is None or target.stat().st_mode & 0o777 == mode
    assert tg.load(link)["a"].tolist() == [1.0]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["folder", "link", "real"]


KILLED = """
import os, signal, sys
import numpy as np
import tinygrad_rnn as tg

os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)
tg.save({"a": np.ones(3)}, sys.argv[1])
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_what_a_killed_process_has_begun_is_removed_by_the_next(tmp_path):
    path = tmp_path / "s.safetensors"
    tg.save({"a": np.zeros(3)}, path)
    run = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    assert tg.load(path)["a"].tolist() == [0.0] * 3
    (tmp_path / f".other.{'0' * 8}.1.{'0' * 8}").touch()
    tg.save({"a": np.ones(3)}, path)
    assert sorted(p.name[:6] for p in tmp_path.iterdir()) == [".other", "s.safe"]


def test_names_may_be_as_long_as_a_system_takes(tmp_path):
    path = tmp_path / ("s" * 255)
    tg.save({"a": np.ones(3)}, path)
    assert tg.load(path)["a"].tolist() == [1.0] * 3


def test_what_other_machines_write_is_left_for_a_day(tmp_path):
    path, now = tmp_path / "s", time.time()
    name = hashlib.sha256(b"s").hexdigest()[:8]
    recent, old = (tmp_path / f".{name}.{'0' * 8}.{k}.{'0' * 8}" for k in (1, 2))
    for file, age in ((recent, 3600), (old, 2 * 24 * 3600)):
        file.touch()
        os.utime(file, (now - age, now - age))
    tg.save({"a": np.ones(3)}, path)
    assert set(tmp_path.iterdir()) == {path, recent}
