"""The README's programs run, and print what it says that they print."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
GUIDE = README.parent / "examples" / "prove_your_cell.md"
BLOCK = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize(("program", "printed"), BLOCK.findall(README.read_text(encoding="utf-8")))
def test_program_prints_what_the_readme_says(program, printed, tmp_path):
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed


def test_the_guide_prints_what_it_says(tmp_path, monkeypatch):
    """Its programs are one session."""
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    assert len(blocks) == GUIDE.read_text(encoding="utf-8").count("```python")
    session: dict[str, object] = {"__name__": "guide"}
    for program, printed in blocks:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(program, str(GUIDE), "exec"), session)
        assert out.getvalue() == printed
    assert "gate: wrong gradient" in (tmp_path / "wrong_gate.svg").read_text(encoding="utf-8")


def words(picture: Path) -> list[str]:
    return sorted(re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text(encoding="utf-8")))


def test_the_picture_is_the_one_that_the_program_draws(tmp_path):
    program, _ = BLOCK.findall(README.read_text(encoding="utf-8"))[0]
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True)
    shown = README.parent / "examples" / "pictures" / "unrolled.svg"
    assert words(tmp_path / "unrolled.svg") == words(shown)


def test_the_programs_are_found():
    text = README.read_text(encoding="utf-8")
    assert len(BLOCK.findall(text)) == text.count("```python") == 7


def test_pictures_and_files_that_it_names_exist():
    text = README.read_text(encoding="utf-8")
    for name in re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"`((?:tests|examples|tinygrad_rnn)/[\w./]+)`", text):
        if not name.startswith("examples/out"):
            assert (README.parent / name).exists(), name
