"""Every example runs quickly, tells its baseline and its result, and writes its pictures."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PICTURES = {
    "agreement": ["distance.svg"],
    "digit_names": ["history.svg", "names.svg"],
    "digits": ["history.svg", "row_by_row.svg"],
    "forecasting": ["history.svg", "forecasts.svg"],
    "g2p": ["history.svg", "alignment.svg"],
    "japanese_vowels": ["history.svg", "utterance.svg"],
    "pos_tagging": ["history.svg", "transitions.svg"],
    "sentiment": ["history.svg", "words.svg"],
    "toys": ["movie_was_good.svg", "first_bit.svg"],
    "trees": ["history.svg", "sizes.svg", "tree.svg"],
}


def run(name: str, *arguments: object) -> str:
    """What it prints; a warning, as of parameters that the loss does not reach, is an error."""
    command = [sys.executable, "-W", "error::RuntimeWarning", EXAMPLES / f"{name}.py", "--quick", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Runs an example once; gives what it printed, and where its pictures are."""

    @cache
    def quick(name):
        out = tmp_path_factory.mktemp(name)
        return run(name, "--out", out), out

    return quick


def test_every_example_is_tested():
    scripts = {path.stem for path in EXAMPLES.glob("*.py") if "def main()" in path.read_text(encoding="utf-8")}
    assert scripts - {"char_rnn"} >= PICTURES.keys()


@pytest.mark.parametrize("name", PICTURES)
def test_an_example_reports_and_draws(name, quick):
    printed, out = quick(name)
    for line in ("baseline: ", "result: ", "model: ", "processor time: "):
        assert f"\n{line}" in printed, f"{name} does not tell its {line}"
    for picture in PICTURES[name]:
        assert (out / picture).read_text(encoding="utf-8").rstrip().endswith("</svg>")


LESS_IS_BETTER = ("char_rnn", "forecasting", "g2p")  # bits, mean errors, errors in a hundred


@pytest.mark.parametrize("name", ["char_rnn", *PICTURES])
def test_the_quick_form_beats_its_baseline(name, quick):
    """What is told first counts; of forecasts that of every series, some of which are no better than linear ones."""
    printed, _ = quick(name)
    count = None if name == "forecasting" else 1
    told = [re.findall(r"\d+\.\d+", line)[:count] for line in re.findall("^(?:baseline|result): .*", printed, re.M)]
    pairs = [(float(b), float(r)) for bases, results in zip(told[::2], told[1::2]) for b, r in zip(bases, results)]
    gains = [b - r if name in LESS_IS_BETTER else r - b for b, r in pairs]
    assert gains
    assert min(gains) >= 0 if name == "forecasting" else min(gains) > 0, pairs
    assert max(gains) > 0, pairs


def test_the_smallest_review_task_is_solved_and_a_bag_of_words_cannot(quick):
    printed, _ = quick("toys")
    assert "model: 27 weights" in printed
    bag, network = re.search(r"bag of words ([\d.]+) %\nresult: ([\d.]+) %", printed).groups()
    assert float(bag) <= 75 < float(network) == 100
    assert re.search(r"lstm +100.0 % +100.0 %", printed)


TREEBANK = """# text = The duck can duck.
1\tThe\tthe\tDET\tDT\t_\t2\tdet\t_\t_
2\tduck\tduck\tNOUN\tNN\t_\t4\tnsubj\t_\t_
3-4\tcan't\t_\t_\t_\t_\t_\t_\t_\t_
3\tca\tcan\tAUX\tMD\t_\t4\taux\t_\t_
4\tn't\tnot\tPART\tRB\t_\t0\troot\t_\t_

"""


@pytest.mark.parametrize("kind", ["conllu", "tsv.gz"])
def test_a_treebank_can_be_given(kind, tmp_path):
    rows = [line.split("\t") for line in TREEBANK.splitlines() if line[:1].isdigit() and "-" not in line[:3]]
    table = "".join(f"{row[1]}\t{row[3]}\n" for row in rows) + "\n"
    for part in ("train", "dev", "test"):
        path = tmp_path / f"xx-{part}.{kind}"
        if kind == "conllu":
            path.write_text(TREEBANK * 10, encoding="utf-8")
        else:
            path.write_bytes(gzip.compress((table * 10).encode()))
    printed = run("pos_tagging", "--data", tmp_path, "--out", tmp_path / "out")
    assert "10 sentences to learn from, 40 words of others to test on" in printed
    assert "baseline: 100.0 %" in printed


def test_real_prefixes_can_be_given(tmp_path):
    path = tmp_path / "prefixes.tsv"
    rows = ["plur\t1\tThe keys to the cabinet", "sing\t0\tThe key"] * 20
    path.write_text("\n".join(["number\tattractors\tprefix", *rows]), encoding="utf-8")
    printed = run("agreement", "--data", path, path, "--out", tmp_path / "out")
    assert re.search(r"no attractor +20 ", printed)
    assert re.search(r"\nattractors +20 ", printed)


def test_a_path_that_is_not_there_ends_with_a_sentence(tmp_path):
    command = [sys.executable, EXAMPLES / "pos_tagging.py", "--data", tmp_path / "nowhere", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "there is no folder" in done.stderr
    assert "Traceback" not in done.stderr
