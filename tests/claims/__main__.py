"""Measure every figure that a README or a docstring states, and write the tables of examples/README.md anew.

usage: python -m tests.claims [--data DIR] [--only WORD]

The list is ``claims.toml``. Accuracies may be off by two standard errors and times by a factor of two; what needs data
or packages that are not there is not run. All commands run at full settings, one after the other, which takes about a
quarter of an hour. Exits with an error if a claim fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from .claim import LIST, Claim, Result, claims
from .texts import ROOT

TABLES = "examples/README.md"


class Runner:
    """Runs commands, each once.

    Parameters
    ----------
    data : Path, optional
        The folder of what may not be passed on.
    """

    def __init__(self, data: Path | None) -> None:
        self.data = data
        self.output = cache(self._output)

    def __call__(self, claim: Claim) -> Result:
        if missing := self._missing(claim):
            return Result("not run", (f"there is no {missing}",))
        try:
            claim.spans()
            return claim.judged(self.output(claim.run))
        except AssertionError as error:
            return Result("FAILS", (str(error),))
        except subprocess.CalledProcessError as error:
            return Result("FAILS", (f"{claim.run} ended with {error.returncode}: {error.stderr[-500:]}",))

    def _missing(self, claim: Claim) -> str:
        """What a claim needs and is not there."""
        modules = [name for name in claim.needs if importlib.util.find_spec(name) is None]
        paths = [word for word in shlex.split(claim.run) if word.startswith("{data}")]
        if modules:
            return modules[0]
        if paths and self.data is None:
            return "folder of data: pass --data"
        return next((p for p in map(self._filled, paths) if not Path(p).exists()), "")

    def _filled(self, text: str, out: str = "") -> str:
        return text.replace("{data}", str(self.data)).replace("{out}", out)

    def _output(self, run: str) -> str:
        if run.startswith("read "):
            return (ROOT / run.removeprefix("read ")).read_text(encoding="utf-8")
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with tempfile.TemporaryDirectory() as out:
            done = subprocess.run(
                [sys.executable, *shlex.split(self._filled(run, out))], cwd=ROOT, env={**os.environ, **threads},
                capture_output=True, text=True, encoding="utf-8", check=True,
            )  # fmt: skip
        took = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began.ru_utime
        return f"{done.stdout}\nthe command took {took:.1f} s of the processor\n"


def write_tables(results: Sequence[tuple[Claim, Result]]) -> None:
    """Put what was measured into the tables, and into the list of claims."""
    for claim, result in results:
        if claim.file == TABLES and claim.text.startswith("|") and result.measured and result.status == "holds":
            old, new = claim.text, claim.rewritten(result.measured)
            _replace(LIST, old, new)
            _replace(ROOT / TABLES, *(text.replace("{", "").replace("}", "") for text in (old, new)))


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file} should have once: {old}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the data that may not be passed on")
    parser.add_argument("--only", default="", metavar="WORD", help="only claims whose command or text has this word")
    args = parser.parse_args()
    runner, results = Runner(args.data and args.data.resolve()), []
    for claim in claims():
        if args.only in claim.run or args.only in claim.text:
            results.append((claim, runner(claim)))
            status, details = results[-1][1].status, results[-1][1].details
            print(f"{status:8} {claim.file}: {claim.sentence[:100]}", *details, sep="\n           ", flush=True)
    write_tables(results)
    counts = {status: sum(r.status == status for _, r in results) for status in ("holds", "not run", "FAILS")}
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    if counts["FAILS"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
