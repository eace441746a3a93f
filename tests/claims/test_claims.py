"""Every figure of the texts belongs to a claim, every claim stands in its text, and a wrong one is found out."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from . import __main__ as command
from . import claim as lists
from . import texts
from .claim import Claim, claims, unmeasured
from .numbers import agrees, digits_of, number_of
from .texts import ROOT, figures, place, sources

CLAIMS = claims()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: f"{c.file}: {c.text[:40]}")
def test_a_claim_stands_in_its_text(claim):
    assert [place(claim.file)[a:b] for a, b in claim.spans()] == claim.stated
    assert len(claim.stated) == len(claim.figures) > 0
    for stated, (pattern, allowed) in zip(claim.stated, claim.figures, strict=True):
        assert re.compile(pattern).groups == 1
        agrees(allowed, stated, 0.0)  # both can be read


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.run[:40])
def test_what_a_claim_runs_is_there(claim):
    file = claim.run.removeprefix("read ") if claim.run.startswith("read ") else shlex.split(claim.run)[0]
    assert file in ("-c", "-m") or (ROOT / file).is_file()


@pytest.mark.parametrize("file", sources())
def test_every_figure_is_measured_or_said_to_be_not(file):
    spans = [span for c in [*CLAIMS, *unmeasured()] if c.file == file for span in c.spans()]
    bare = [m for m in figures(file) if not any(a <= m.start() and m.end() <= b for a, b in spans)]
    text = place(file)
    assert [text[max(0, m.start() - 40) : m.end() + 20] for m in bare] == []


def test_nothing_is_listed_as_not_measured_that_states_no_figure():
    for entry in unmeasured():
        found = [m.span() for m in figures(entry.file)]
        assert any(a <= start and end <= b for a, b in entry.spans() for start, end in found), entry
        assert entry.why


# Test the tester ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("it takes 3.5 s of 1,200 words, and float32 `x1` h_1", ["3.5", "1,200"]),
        ("1.25 million letters in two minutes, twice as fast", ["1.25 million", "two minutes", "twice as fast"]),
        ("[a link](of/2/them)\n```text\n17\n```\n18", ["18"]),
    ],
)
def test_figures_of_a_text_are_found(text, found):
    assert [m[0] for m in figures("README.md", text)] == found


def test_figures_of_docstrings_are_found():
    lines = ["def f():", '    """Takes 5 ms and 3 axes, 12 %.', "", "    >>> 7", "    9 s", ""]
    code = "\n".join([*lines, "    Or ``3 s``, 4", '    GiB."""', '    return "8 s"', ""])
    assert [m[0] for m in figures("tinygrad_rnn/some.py", code)] == ["5 ms", "12 %", "4 GiB"]
    assert [m[0] for m in figures("examples/some.py", f'"""Of 3 words."""\n{code}')] == ["3"]


def test_a_sentence_that_is_gone_or_states_another_number_is_found_out(monkeypatch):
    claim = Claim("README.md", "it takes {3} s, and\n{4} more", "-c 1", (("a (.)", "exact"), ("b (.)", "exact")))
    says = "so it takes 3 s, and 4 more."
    monkeypatch.setattr(lists, "place", lambda file: says)
    assert [says[a:b] for a, b in claim.spans()] == ["3", "4"]
    for other in ("so it takes 5 s, and 4 more.", "nothing", says + says):
        monkeypatch.setattr(lists, "place", lambda file, other=other: other)
        with pytest.raises(AssertionError, match=r"says \d times"):
            claim.spans()


def test_a_measurement_is_read_and_judged():
    claim = Claim("f", "{1,000} words in {10} s, {97.6} % right", "", (
        (r"^words: ([\d,]+)", "exact"), (r"time: (\d+)", "time"), (r"right: ([\d.]+) %", "share of 1000"),
    ))  # fmt: skip
    right = claim.judged("words: 1,000\ntime: 14\nright: 97.1 %")
    assert (right.status, right.details, right.measured) == ("holds", (), ("1,000", "14", "97.1"))
    assert claim.rewritten(right.measured) == "{1,000} words in {14} s, {97.1} % right"
    for output in ("words: 999\ntime: 14\nright: 97.1 %", "words: 1,000\ntime: 21\nright: 97.1 %",
                   "words: 1,000\ntime: 10\nright: 50.0 %", "words: 1,000\ntime: 10"):  # fmt: skip
        wrong = claim.judged(output)
        assert (wrong.status, len(wrong.details)) == ("FAILS", 1)


@pytest.mark.parametrize(
    ("allowed", "stated", "right", "wrong"),
    [
        ("exact", "168,592", [168592], [168591, 168593]),
        ("exact", "3.582", [3.5819, 3.5824], [3.583]),
        ("exact", "1.25 million", [1_254_000], [1_256_000]),
        ("time", "two minutes", [61, 239], [59, 241]),
        ("time", "half a minute", [16, 59], [14, 61]),
        ("1 %", "2.239", [2.22, 2.26], [2.21, 2.27]),
        ("share of 1000", "97.6", [96.7, 98.5], [96.0, 99.0]),
        ("share of 1000", "100", [100, 99.6], [99.0, 47.8]),
        ("below 1", "a fraction of a second", [0.9], [1.1]),
        ("at least 9", "10", [9, 10], [8]),
    ],
)
def test_tolerances(allowed, stated, right, wrong):
    assert all(agrees(allowed, stated, value) for value in right)
    assert not any(agrees(allowed, stated, value) for value in wrong)


def test_numbers_in_words():
    assert number_of("one in ten") == 10
    assert number_of("thousand") == 1000
    assert digits_of("two") == 0
    with pytest.raises(ValueError, match="no tolerance 'nearly'"):
        agrees("nearly", "1", 1.0)


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one table, one sentence, and the claims of both."""
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "README.md").write_text("| words | 7 s |\nIt says {5} more, {no} table.\nFive: 5 s.\n")
    text = '"| words | {7} s |"', '"Five: {5} s."'
    entries = [
        f'[[claim]]\nfile = "examples/README.md"\ntext = {t}\nrun = "{run}"\nfigures = [[\'took (\\d+)\', "time"]]\n'
        for t, run in zip(text, ("-c 'print(\\\"took 9\\\")'", "-c 'print({data}/words)'"), strict=True)
    ]
    (tmp_path / "claims.toml").write_text("\n".join(entries))
    for module in (texts, command):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for module in (lists, command):
        monkeypatch.setattr(module, "LIST", tmp_path / "claims.toml")
    return tmp_path


def called(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["claims", *arguments])
    command.main()


def test_the_command_writes_tables_and_the_list(project, monkeypatch, capsys):
    called(monkeypatch, "--only", "words |")
    assert "| words | 9 s |\nIt says {5} more, {no} table.\n" in (project / "examples" / "README.md").read_text()
    assert '"| words | {9} s |"' in (project / "claims.toml").read_text()
    assert capsys.readouterr().out.splitlines()[-1] == "1 holds, 0 not run, 0 FAILS"
    called(monkeypatch, "--only", "words |")


def test_what_needs_data_is_not_run_without_them(project, monkeypatch, capsys):
    runner = command.Runner(None)
    claim = Claim("examples/README.md", "Five: {5} s.", "some.py {data}/words", (("(5)", "exact"),))
    assert runner(claim).status == "not run"
    assert "pass --data" in runner(claim).details[0]
    assert command.Runner(project)(claim).details == (f"there is no {project}/words",)
    assert runner(replace(claim, run="-c 1", needs=("no_such_module",))).details == ("there is no no_such_module",)


def test_a_claim_that_fails_ends_the_command_with_an_error(project, monkeypatch, capsys):
    text = (project / "claims.toml").read_text()
    (project / "claims.toml").write_text(text.replace("took 9", "took 90"))
    with pytest.raises(SystemExit):
        called(monkeypatch, "--only", "words |")
    printed = capsys.readouterr().out
    assert "stated 7, measured 90, allowed: time" in printed
    assert printed.splitlines()[-1] == "0 holds, 0 not run, 1 FAILS"


def test_a_command_that_ends_with_an_error_fails_and_one_that_runs_twice_runs_once(project):
    runner = command.Runner(None)
    claim = Claim("examples/README.md", "Five: {5} s.", "-c 'raise SystemExit(\"no such thing\")'", (("(5)", "exact"),))
    assert "no such thing" in runner(claim).details[0]
    written = project / "runs"
    twice = replace(claim, run=f'-c \'print(5, file=open("{written}", "a")); print(5)\'')
    assert [runner(twice).status for _ in range(2)] == ["holds", "holds"]
    assert written.read_text() == "5\n"


def test_the_command_is_one():
    done = subprocess.run(
        [sys.executable, "-m", "tests.claims", "--only", "no claim has this"], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == "0 holds, 0 not run, 0 FAILS\n"
