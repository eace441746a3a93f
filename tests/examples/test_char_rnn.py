"""The main example, run as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg

SCRIPT = Path(__file__).parents[2] / "examples" / "char_rnn.py"
SMALL = ["--updates", "3", "--hidden", "8", "--batch", "4", "--steps", "10"]


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("der Würfel fällt, und was er zeigt, gilt. " * 100, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def first(text, tmp_path_factory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("run")
    done = run("--text", text, "--out", out, *SMALL)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_it_reports_entropies_bits_and_a_sample(first):
    _, printed = first
    entropy = re.search(r"entropy of the text: ([\d.]+) bits per character, ([\d.]+) given", printed)
    assert 0 < float(entropy[2]) < float(entropy[1]) < np.log2(30)
    assert re.search(r"held-out text: [\d.]+ bits per character \(bigram entropy", printed)
    assert "sample:\n" in printed


def test_it_reports_characters_per_second_of_training(first):
    _, printed = first
    assert "training step: recorded and compiled in" in printed
    assert re.search(r"trained for 3 steps in [\d.]+ s: [\d,]+ characters per second", printed)


def test_eager_and_compiled_runs_agree(first, text, tmp_path):
    _, printed = first
    done = run("--text", text, "--out", tmp_path, "--eager", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "recorded and compiled" not in done.stdout
    bits = [re.search(r"held-out text: ([\d.]+)", out)[1] for out in (printed, done.stdout)]
    assert abs(float(bits[0]) - float(bits[1])) <= 0.0011  # of three digits the last may be rounded another way


def test_it_leaves_a_model_and_a_picture(first):
    out, _ = first
    assert {"optimizer.step_count", "model.rnn.layers.0.W_h", "state.0"} <= tg.load(out / "model.safetensors").keys()
    assert (out / "unrolled.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_it_resumes_where_it_ended(first, text):
    out, _ = first
    done = run("--text", text, "--out", out, "--resume", *SMALL)
    assert done.returncode == 0, done.stderr
    file = tg.load(out / "model.safetensors")
    assert file["optimizer.step_count"] == 6
    assert json.loads(file.metadata["notes"])["position"] == 6


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("char_rnn", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["char_rnn"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["char_rnn"]


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_resumed_run_goes_on_exactly(example, text, tmp_path, layers, eager):
    corpus = example.Text.read(text)
    batches = example.windows(corpus.train, 4, 10)
    path = tmp_path / "model.safetensors"

    def start(seed):
        model = example.CharModel(len(corpus.symbols), 8, layers, np.random.default_rng(seed))
        step = example.maybe_compiled(example.train_step, eager)
        return model, tg.optim.Adam(model, 0.01), step, model.initial_state(4)

    def train(model, optimizer, step, state, places):
        losses = []
        for k in places:
            loss, state = step(model, optimizer, *example.halves(batches[k]), state)
            losses.append(loss.item())
        return losses, state

    model, optimizer, step, state = start(0)
    _, state = train(model, optimizer, step, state, range(3))
    example.save_run(path, model, optimizer, state, {"symbols": corpus.symbols, "position": 3})
    expected, _ = train(model, optimizer, step, state, range(3, 6))

    again, optimizer, step, _ = start(1)
    state, notes = example.load_run(path, again, optimizer, corpus.symbols)
    losses, _ = train(again, optimizer, step, state, range(notes["position"], 6))
    assert losses == expected
    for (name, one), (_, other) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "no run to resume"),
        (["--batch", "4000"], "too short"),
        (["--text", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_mistakes_end_with_a_sentence(arguments, message, text, tmp_path):
    done = run("--text", text, "--out", tmp_path, *SMALL, *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_on_another_text_is_not_resumed(first, tmp_path):
    out, _ = first
    other = tmp_path / "other.txt"
    other.write_text("0123456789" * 200)
    done = run("--text", other, "--out", out, "--resume", *SMALL)
    assert "other characters" in done.stderr
