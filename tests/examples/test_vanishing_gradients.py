"""The example runs, and says what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "vanishing_gradients.py"


def test_it_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--length", "12", "--updates", "25", "--out", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "rnncell/h: the gradient vanishes by a factor of" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[-7:]] == [
        "rnn", "orthogonal", "relu", "leaky", "skip", "lstm", "gru",
    ]  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["flow.svg", "remedies.svg"]
