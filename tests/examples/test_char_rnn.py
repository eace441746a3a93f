"""The main example, run as a user runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg

SCRIPT = Path(__file__).parents[2] / "examples" / "char_rnn.py"
SMALL = ["--epochs", "1", "--hidden", "8", "--batch", "32", "--steps", "20"]


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


def test_it_reports_entropies_bits_speed_and_a_sample(first):
    _, printed = first
    entropy = re.search(r"baseline: ([\d.]+) bits per character given the one before, ([\d.]+) given nothing", printed)
    assert 0 < float(entropy[1]) < float(entropy[2]) < np.log2(30)
    assert re.search(r"result: [\d.]+ bits per character of held-out text", printed)
    assert re.search(r"trained: 5 updates in [\d.]+ s: [\d,]+ characters per second", printed)
    assert "sample:\n" in printed


def test_eager_and_compiled_runs_agree(first, text, tmp_path):
    _, printed = first
    done = run("--text", text, "--out", tmp_path, "--eager", *SMALL)
    assert done.returncode == 0, done.stderr
    bits = [re.search(r"result: ([\d.]+)", out)[1] for out in (printed, done.stdout)]
    assert abs(float(bits[0]) - float(bits[1])) <= 0.0011  # of three digits the last may be rounded another way


def test_it_leaves_a_model_and_pictures(first):
    out, _ = first
    assert {"optimizer.step_count", "model.recurrent.layers.0.W_h"} <= tg.load(out / "last.safetensors").keys()
    assert "embedding.E" in tg.load(out / "best.safetensors")
    for name in ("unrolled.svg", "history.svg"):
        assert (out / name).read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_it_resumes_where_it_ended(first, text):
    out, _ = first
    done = run("--text", text, "--out", out, "--resume", "--epochs", "2", *SMALL[2:])
    assert done.returncode == 0, done.stderr
    file = tg.load(out / "last.safetensors")
    assert file["optimizer.step_count"] == 10
    assert json.loads(file.metadata["training"])["epoch"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
    other.write_text("0123456789" * 1000)
    done = run("--text", other, "--out", out, "--resume", *SMALL)
    assert "does not fit" in done.stderr
    assert "Traceback" not in done.stderr
