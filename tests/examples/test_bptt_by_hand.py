"""The walk through backpropagation by hand, as a user runs it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "bptt_by_hand.py"


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> tuple[str, str]:
    page = tmp_path_factory.mktemp("walk") / "walk.html"
    command = [sys.executable, SCRIPT, "--html", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("bptt_by_hand", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bptt_by_hand"] = module
    spec.loader.exec_module(module)
    return module


def test_it_shows_the_paths_of_the_notes_and_that_they_add_up(walk):
    printed, _ = walk
    for path in ("L → ŷ → O₃ → W_i", "L → ŷ → O₃ → O₂ → W_i", "L → ŷ → O₃ → O₂ → O₁ → W_i"):
        assert f"\n{path}\n" in printed
    assert "∂L/∂ŷ ∂ŷ/∂O₃ ∂O₃/∂O₂ ∂O₂/∂W_i = " in printed
    assert float(re.search(r"largest difference: (\S+)", printed)[1]) < 1e-15
    before, after = map(float, re.search(r"L was (\S+) and is (\S+)", printed).groups())
    assert after < before


def test_its_numbers_are_those_of_numpy(walk, script):
    printed, _ = walk
    W_i, W_h, W_o = (w.numpy() for w in script.network())
    O = np.zeros(3)
    for k in range(3):
        O = np.tanh(W_i[k] + O @ W_h)
    y = 1 / (1 + np.exp(-O @ W_o))
    assert re.search(r"ŷ = σ\(O₃ W_o\)\s+(\S+)", printed)[1] == f"{y.item():.4f}"
    assert re.search(r"L = \(ŷ − 1\)²\s+(\S+)", printed)[1] == f"{((y - 1) ** 2).item():.4f}"
    assert sum(w.size for w in (W_i, W_h, W_o)) == 27


def test_the_page_holds_the_same_beside_pictures(walk):
    printed, page = walk
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawn) == 4
    for svg in drawn:
        ET.fromstring(svg)
    for line in ("L → ŷ → O₃ → O₂ → O₁ → W_i", "∂L/∂W_h = Σ_t O_{t−1}ᵀ δ^O_t"):
        assert line in printed
        assert line in page


def test_a_path_knows_what_to_light(script):
    net = script.network()
    loss = script.loss_of(net)
    lines = list(script.paths(loss, net.W_i))
    last = [line.path for line in lines if line.path is not None][-1]
    assert [t.name for t in last.tensors] == ["L", "y_hat", "O", "O", "O", "W_i"]
