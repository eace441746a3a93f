"""A training that is killed, interrupted or ended and then resumed comes to the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

ROOT = Path(__file__).parents[2]

SCRIPT = textwrap.dedent(
    """
    import sys
    import numpy as np
    import tinygrad_rnn as tg

    class Slow(tg.data.Batches):
        def _made(self, part):
            import time
            time.sleep(0.01)
            return super()._made(part)

    rng = np.random.default_rng(0)
    xs = [rng.integers(0, 5, n) for n in rng.integers(1, 5, 24)]
    columns = {"xs": xs, "target": [int(x[0] % 2) for x in xs]}
    model = tg.nn.ManyToOne(3, 4, 2, vocabulary=5, cell="gru", dropout=0.2, generator=int(sys.argv[2]))
    print("ready", flush=True)
    history = tg.fit(
        model, Slow(columns, batch_size=4, lengths="xs", buckets=2, generator=int(sys.argv[2])), epochs=12, every=2,
        optimizer=tg.optim.Adam(model, tg.optim.cosine(0.05, 72)), clip=1.0, checkpoint=sys.argv[1], resume=True,
        validation=tg.data.Batches(columns, batch_size=12, lengths="xs", buckets=1), metrics=["accuracy"],
        progress=False,
    )
    print(len(history.losses), history.stopped)
    """
)


def start(folder: Path, seed: int = 0) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, str(folder), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def assert_same_files(one: Path, other: Path) -> None:
    for name in ("last", "best"):
        a, b = tg.load(one / f"{name}.safetensors"), tg.load(other / f"{name}.safetensors")
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=f"{name}: {key}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert finish(start(folder)).endswith("72 epochs\n")
    return folder


def test_a_training_that_is_killed_at_any_moment_comes_to_the_same(whole, tmp_path):
    moments = random.Random(time.time_ns())
    kills = 0
    for attempt in range(40):  # the seed of a later start does not matter: everything comes from the checkpoint
        process = start(tmp_path, 0 if attempt == 0 or not (tmp_path / "last.safetensors").exists() else 99)
        process.stdout.readline()
        try:
            process.wait(0.05 + moments.random() * 0.8 if kills < 3 else 100)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            continue
        finish(process)
        break
    assert kills, "the training was over before it could be killed"
    assert_same_files(whole, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_saves_and_the_training_goes_on_from_there(whole, tmp_path):
    process = start(tmp_path)
    process.stdout.readline()
    while not (tmp_path / "best.safetensors").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "KeyboardInterrupt: fit: interrupted after update" in err
    assert "resume=True goes on from there" in err
    done = len(tg.load(tmp_path / "last.safetensors")["history.losses"])
    assert 0 < done < 72
    assert f"after update {done};" in err
    finish(start(tmp_path, 99))
    assert_same_files(whole, tmp_path)


RNG = np.random.default_rng(0)
TEXT = RNG.integers(0, 6, 120)


def trained(epochs, folder=None, *, accumulate=1, every=None, seed=0, resume=False, cell="lstm", kind="text"):
    if kind == "text":
        model = tg.nn.LanguageModel(6, 3, 4, cell=cell, dropout=0.2, generator=seed)
        batches = tg.data.Prefetch(tg.data.Windows(TEXT, batch_size=2, steps=9))
    else:
        model = tg.nn.ManyToOne(3, 4, 2, vocabulary=6, cell=cell, dropout=0.2, generator=seed)
        columns = {"xs": np.split(TEXT, 20), "target": np.arange(20) % 2}
        batches = tg.data.Batches(columns, batch_size=3, generator=seed)
    optimizer = tg.optim.Adam(model, 0.01)
    history = tg.fit(
        model, batches, epochs=epochs, optimizer=optimizer, accumulate=accumulate, every=every, checkpoint=folder,
        resume=resume, progress=False,
    )  # fmt: skip
    return model, optimizer, history


class Stop(Exception):
    pass


@given(
    st.integers(1, 11), st.integers(1, 3), st.sampled_from([1, 2, 4]), st.sampled_from(["text", "examples"])
)
def test_it_goes_on_from_any_checkpoint(tmp_path_factory, stop, every, accumulate, kind):
    """Stopped after any write of a checkpoint, within an epoch or between two."""
    folder = tmp_path_factory.mktemp("run")
    options = {"every": every, "accumulate": accumulate, "kind": kind}
    model, optimizer, history = trained(2, **options)
    from tinygrad_rnn.train.checkpoint import Checkpoints

    writes = [0]
    original = Checkpoints.save

    def save(self, run):
        original(self, run)
        writes[0] += 1
        if writes[0] == stop:
            raise Stop

    Checkpoints.save = save
    try:
        trained(2, folder, **options)
    except Stop:
        pass
    finally:
        Checkpoints.save = original
    again, other, resumed = trained(2, folder, seed=7, resume=True, **options)
    assert resumed == history
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, again.state_dict()[name], err_msg=name)
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name], err_msg=name)


def test_more_epochs_go_on_where_fewer_ended(tmp_path):
    model, _, history = trained(3)
    trained(1, tmp_path)
    again, _, resumed = trained(3, tmp_path, seed=5, resume=True)
    assert resumed.losses == history.losses
    np.testing.assert_array_equal(model.embedding.E.numpy(), again.embedding.E.numpy())
    unchanged = trained(3, tmp_path, seed=6, resume=True)[2]
    assert unchanged == resumed


def test_without_resume_the_folder_is_begun_anew(tmp_path):
    _, _, first = trained(2, tmp_path)
    _, _, again = trained(2, tmp_path)
    assert first == again


@pytest.mark.parametrize("seeded", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_generators_of_the_loss_are_resumed(tmp_path, seeded):
    def run(epochs, resume, folder):
        noise = np.random.Generator(seeded(3))
        w = tg.nn.Linear(2, 1, generator=0)
        loss = lambda model, x: (model(tg.dropout(x, 0.5, generator=noise)) ** 2).mean()
        batches = [{"x": np.ones((4, 2), np.float32)}] * 3
        return tg.fit(w, batches, epochs=epochs, loss=loss, generators=[noise], checkpoint=folder, resume=resume,
                      progress=False).losses  # fmt: skip

    expected = run(4, False, tmp_path / "whole")
    run(2, False, tmp_path / "parts")
    assert run(4, True, tmp_path / "parts") == expected


def test_what_does_not_fit_is_not_resumed(tmp_path):
    trained(1, tmp_path)
    with pytest.raises((KeyError, ValueError)):
        trained(2, tmp_path, resume=True, kind="examples")
    tg.save({"x": np.ones(1)}, tmp_path / "last.safetensors")
    with pytest.raises(ValueError, match="is not the checkpoint of a training"):
        trained(2, tmp_path, resume=True)
