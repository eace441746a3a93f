"""The main example, run as a user runs it."""

from __future__ import annotations

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


def test_it_leaves_a_model_and_a_picture(first):
    out, _ = first
    assert {"optimizer.step_count", "model.rnn.layers.0.W_h", "state.0"} <= tg.load(out / "model.safetensors").keys()
    assert (out / "unrolled.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_it_resumes_where_it_ended(first, text):
    out, _ = first
    done = run("--text", text, "--out", out, "--resume", *SMALL)
    assert done.returncode == 0, done.stderr
    assert tg.load(out / "model.safetensors")["optimizer.step_count"] == 6


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
