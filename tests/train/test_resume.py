"""A training that is killed, interrupted or ended and then resumed comes to the same bits."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.train.checkpoint import Checkpoints, generators_of

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


class Noisy(tg.nn.Module):
    """Draws from generators in a list, and in a plain object."""

    def __init__(self, seeds):
        self.linear = tg.nn.Linear(2, 1, generator=0)
        self.noises = [np.random.default_rng(seed) for seed in seeds]
        self.plain = SimpleNamespace(generator=np.random.default_rng(7))

    def forward(self, x):
        masks = [tg.random.bernoulli(x.shape, 0.5, generator=g) for g in self.noises]
        return self.linear(x * masks[0] * masks[1] + tg.random.normal(x.shape, generator=self.plain.generator))


GLOBAL = np.random.default_rng(0)


def by_a_global(model, x):
    return (model(tg.dropout(x, 0.5, generator=GLOBAL)) ** 2).mean()


def by_a_closure(noise):
    return lambda model, x: (model(tg.dropout(x, 0.5, generator=noise)) ** 2).mean()


def plain_loss(model, x):
    return (model(x) ** 2).mean()


def set_up(kind, seeded):
    """A model, a loss, and generators that are given."""
    noise = np.random.Generator(seeded(3))
    GLOBAL.bit_generator.state = np.random.default_rng(5).bit_generator.state
    linear = tg.nn.Linear(2, 1, generator=0)
    if kind == "module":
        return Noisy([1, 2]), plain_loss, ()
    loss = by_a_global if kind == "global" else by_a_closure(noise)
    return linear, loss, [noise] if kind == "given" else ()


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize(
    ("kind", "seeded"),
    [
        *(("given", seeded) for seeded in (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64)),
        ("closure", np.random.PCG64),
        ("global", np.random.PCG64),
        ("module", np.random.PCG64),
    ],
)
def test_generators_are_resumed(tmp_path, kind, seeded, compile):
    def run(epochs, resume, folder):
        model, loss, given = set_up(kind, seeded)
        batches = [{"x": np.ones((4, 2), np.float32)}] * 3
        return tg.fit(model, batches, epochs=epochs, loss=loss, generators=given, checkpoint=folder, resume=resume,
                      compile=compile, progress=False).losses  # fmt: skip

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


# Refusals -------------------------------------------------------------------------------------------------------------


class Trainer:
    """A training under way, and all that a refused resumption could change of it."""

    def __init__(self, kind: str, hidden: int = 4, rule: type = tg.optim.Adam) -> None:
        if kind == "text":
            self.model = tg.nn.LanguageModel(6, 3, hidden, dropout=0.2, generator=1)
            self.batches = tg.data.Prefetch(tg.data.Windows(TEXT, batch_size=2, steps=9))
        else:
            self.model = tg.nn.ManyToOne(3, hidden, 2, vocabulary=6, dropout=0.2, generator=1)
            columns = {"xs": np.split(TEXT, 20), "target": np.arange(20) % 2}
            self.batches = tg.data.Batches(columns, batch_size=3, generator=1)
        self.optimizer, self.noise = rule(self.model, 0.01), np.random.default_rng(5)

    def fit(self, folder: Path, resume: bool = True, epochs: int = 2) -> tg.train.History:
        return tg.fit(
            self.model, self.batches, epochs=epochs, optimizer=self.optimizer, every=2, generators=[self.noise],
            checkpoint=folder, resume=resume, progress=False,
        )  # fmt: skip

    def everything(self, folder: Path) -> dict[str, object]:
        tensors = self.model.named_tensors()
        sources = [self.batches, getattr(self.batches, "source", self.batches)]
        found = {name: (id(t.data), t.data.tobytes(), t.assigned, t.grad) for name, t in tensors}
        return found | {
            "state": [(id(a), a.tobytes()) for slots in self.optimizer.state for a in slots],
            "steps": self.optimizer.step_count, "noise": repr(self.noise.bit_generator.state),
            "generators": {k: repr(g.bit_generator.state) for k, g in generators_of(self.model).items()},
            "training": [m.training for m in self.model.modules()],
            "sources": [{k: repr(v) for k, v in vars(s).items()} for s in sources],
            "files": {p.name: p.read_bytes() for p in folder.iterdir()},
        }  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, bytes]:
    """The last files of trainings that were left within an epoch."""
    files = {}
    for kind in ("text", "examples"):
        folder = tmp_path_factory.mktemp(kind)
        kept: list[bytes] = []
        trainer, original = Trainer(kind), Checkpoints.save

        def save(self, run, original=original, kept=kept):
            original(self, run)
            kept.append(self.last.read_bytes())

        Checkpoints.save = save
        try:
            trainer.fit(folder, resume=False)
        finally:
            Checkpoints.save = original
        files[kind] = kept[2]
    return files


def notes_changed(change):
    """A file whose notes `change` has changed, or put others in their place."""

    def spoil(draw, path: Path) -> None:
        file = tg.load(path)
        notes = json.loads(file.metadata["training"])
        found = change(draw, notes)
        tg.save(file, path, {"training": found if isinstance(found, str) else json.dumps(notes)})

    return spoil


def arrays_changed(change):
    def spoil(draw, path: Path) -> None:
        file = tg.load(path)
        arrays = dict(file)
        change(draw, arrays)
        tg.save(arrays, path, file.metadata)

    return spoil


def chosen(draw, arrays, *prefixes):
    return draw(st.sampled_from(sorted(k for k in arrays if k.startswith(prefixes))))


def another_shape(draw, arrays):
    name = chosen(draw, arrays, "model.", "optimizer.")
    arrays[name] = np.zeros((*arrays[name].shape, 2), arrays[name].dtype)


def another_kind(draw, arrays):
    name = chosen(draw, arrays, "optimizer.step_count")
    arrays[name] = arrays[name].astype(np.float32) * np.nan


def missing(draw, arrays):
    del arrays[chosen(draw, arrays, "model.", "optimizer.")]


def unknown(draw, arrays):
    arrays[draw(st.sampled_from(["model.x", "optimizer.x", "history.x"]))] = np.zeros(2)


def without_note(draw, notes):
    del notes[draw(st.sampled_from(["epoch", "update", "stale", "history", "batches", "generators"]))]


def other_note(draw, notes):
    name = draw(st.sampled_from(["epoch", "update", "stale", "history", "batches", "generators"]))
    notes[name] = draw(st.sampled_from([None, "abc", [1], 1.5, -1]))


def other_position(draw, notes):
    name = draw(st.sampled_from(sorted(notes["batches"])))
    notes["batches"][name] = draw(st.sampled_from([-2, None, "1", 2.5]))


def other_generator(draw, notes):
    name = draw(st.sampled_from(sorted(notes["generators"])))
    notes["generators"][name] = draw(st.sampled_from([None, {}, np.random.MT19937(0).state["bit_generator"], 3]))


def cut(draw, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: draw(st.integers(0, len(whole) - 1))])


DAMAGES = {
    "another shape": arrays_changed(another_shape), "another kind": arrays_changed(another_kind),
    "missing": arrays_changed(missing), "unknown": arrays_changed(unknown), "cut": cut,
    "without a note": notes_changed(without_note), "another note": notes_changed(other_note),
    "another position": notes_changed(other_position), "another generator": notes_changed(other_generator),
    "another version": notes_changed(lambda draw, notes: notes.update(version=2)),
    "no JSON": notes_changed(lambda draw, notes: draw(st.sampled_from(["", "{", "[1]", "null", "3"]))),
    "generators missing": notes_changed(lambda draw, notes: notes["generators"].popitem()),
    "another best": notes_changed(lambda draw, notes: notes["history"].update(best=draw(st.sampled_from([99, "a"])))),
    "no history": notes_changed(lambda draw, notes: notes["history"].update(more=1)),
}  # fmt: skip


@given(data=st.data(), kind=st.sampled_from(["text", "examples"]), how=st.sampled_from(sorted(DAMAGES)))
def test_a_checkpoint_that_is_refused_changes_nothing(tmp_path_factory, checkpoints, data, kind, how):
    folder = tmp_path_factory.mktemp("refused")
    (folder / "last.safetensors").write_bytes(checkpoints[kind])
    DAMAGES[how](data.draw, folder / "last.safetensors")
    assert_refused(Trainer(kind), folder)


def assert_refused(trainer: Trainer, folder: Path) -> None:
    for _ in zip(range(2), trainer.batches):
        pass
    trainer.noise.random()
    before = trainer.everything(folder)
    with pytest.raises((KeyError, ValueError, TypeError)) as caught:
        trainer.fit(folder)
    assert re.match(r"'?\"?(fit|load|load_state_dict|\w+\.load_state_dict): ", str(caught.value)), str(caught.value)
    assert trainer.everything(folder) == before


@pytest.mark.parametrize(
    "trainer",
    [
        lambda: Trainer("text"), lambda: Trainer("examples", hidden=5),
        lambda: Trainer("examples", rule=tg.optim.RMSprop), lambda: Trainer("examples", rule=tg.optim.SGD),
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_training_changes_nothing(tmp_path, checkpoints, trainer):
    (tmp_path / "last.safetensors").write_bytes(checkpoints["examples"])
    assert_refused(trainer(), tmp_path)


def test_a_checkpoint_that_is_taken_up_after_a_refusal(tmp_path, checkpoints):
    """What was refused is in nobody's way."""
    trainer, path = Trainer("examples"), tmp_path / "last.safetensors"
    path.write_bytes(checkpoints["examples"][:-1])
    assert_refused(trainer, tmp_path)
    path.write_bytes(checkpoints["examples"])
    again = Trainer("examples")
    other = tmp_path / "other"
    other.mkdir()
    (other / "last.safetensors").write_bytes(checkpoints["examples"])
    assert trainer.fit(tmp_path) == again.fit(other)
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, again.model.state_dict()[name])


def test_an_interruption_of_a_resumption_changes_nothing(tmp_path, checkpoints, monkeypatch):
    trainer = Trainer("examples")
    (tmp_path / "last.safetensors").write_bytes(checkpoints["examples"])
    before = trainer.everything(tmp_path)

    def interrupted(state):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.optimizer, "load_state_dict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(tmp_path)
    assert trainer.everything(tmp_path) == before
