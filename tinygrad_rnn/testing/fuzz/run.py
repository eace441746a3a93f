"""Random graphs and models against the oracle and its peers: ``python -m tinygrad_rnn.testing.fuzz --minutes 10``.

Every program is run eagerly, differentiated twice and forwards, traced, compiled, written and drawn, and some are
trained, changed between calls, and run by threads; what differs from the oracle or the eager run, or raises, is made
smaller, printed as code that runs, and saved.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic import write_atomically
from ...errors import fail
from .check import Case, StageFailure, applies, check, reproduction
from .draw import NumpyChoices, draw_graph
from .models import draw_model
from .peers import installed
from .program import GraphProgram
from .report import Tally
from .shrink import shrunk
from .stages import PEERS, STAGES

__all__ = ["Finding", "Report", "fuzz", "in_processes", "main", "program_number", "replay"]

MODELS = 8  # one program of so many is a recurrent model
MOST_FINDINGS = 10
MOST_ALIKE = 3  # mismatches of one stage and kind that are made smaller; all are counted


@dataclass
class Finding:
    """A mismatch.

    Attributes
    ----------
    number : int
        Of the program, with which it can be made again.
    original, program : GraphProgram
        As it was drawn, and made smaller.
    failure : StageFailure
        Of the smaller one.
    code : str
        Python that runs and shows it.
    """

    number: int
    original: GraphProgram
    program: GraphProgram
    failure: StageFailure
    code: str

    def to_json(self) -> str:
        return json.dumps({
            "stage": self.failure.stage, "kind": self.failure.kind, "text": self.failure.text, "number": self.number,
            "program": json.loads(self.program.to_json()), "original": json.loads(self.original.to_json()),
        }, indent=1)  # fmt: skip


@dataclass
class Report:
    """What was tried, and what was found."""

    tally: Tally = field(default_factory=Tally)
    findings: list[Finding] = field(default_factory=list)


def program_number(seed: int, number: int) -> GraphProgram:
    """The program of that number of a run with that seed.

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz import program_number
    >>> program_number(0, 3) == program_number(0, 3)
    True
    """
    c = NumpyChoices(np.random.default_rng([seed, number]))
    return draw_model(c) if number % MODELS == MODELS - 1 else draw_graph(c)


def fuzz(
    *,
    seed: int = 0,
    count: int | None = None,
    minutes: float | None = None,
    peers: bool = True,
    save: Path | None = None,
    progress: bool = False,
    shrink_seconds: float = 30.0,
    most: int = MOST_FINDINGS,
    only: Sequence[str] = (),
    part: tuple[int, int] = (0, 1),
) -> Report:
    """Check programs until one of the limits is reached, or Ctrl-C.

    Parameters
    ----------
    seed : int
    count : int, optional
        How many programs.
    minutes : float, optional
    peers : bool
        Whether to compare with PyTorch and JAX too, where they are installed.
    save : Path, optional
        A directory for what is found.
    progress : bool
        Whether to show a bar.
    shrink_seconds : float
        How long to make one program smaller.
    most : int
        Stop after so many mismatches that differ.
    only : sequence of str
        Names of stages, or how they begin, which then run on every program that they are for; all by default.
    part : (int, int)
        Which one of so many equal parts of the programs to take.

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz import fuzz
    >>> report = fuzz(count=3, peers=False)
    >>> report.tally.programs, report.findings
    (3, [])
    """
    report = Report()
    stages = _chosen(only, peers)
    seen: set[Any] = set()
    alike: Counter[Any] = Counter()
    try:
        for number in _numbers(count, minutes, progress, report, part):
            program = program_number(seed, number)
            due = [s for s in stages if only or STAGES[s].due(number)]
            failure = _checked(program, due, report.tally)
            if failure is None or (known := (failure.stage, failure.kind, _operations(program))) in seen:
                continue
            alike[failure.stage, failure.kind] += 1
            if alike[failure.stage, failure.kind] > MOST_ALIKE:
                continue
            finding = _finding(number, program, failure, shrink_seconds)
            mark = (finding.failure.stage, finding.failure.kind, _operations(finding.program))
            if mark not in seen:
                report.findings.append(finding)
                _tell(finding, save)
            seen |= {mark, known}
            if len(report.findings) >= most:
                break
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return report


def _chosen(only: Sequence[str], peers: bool) -> list[str]:
    for name in only:
        if not any(s.startswith(name) for s in STAGES):
            raise fail(ValueError, "fuzz: only", expected=f"names of stages, {', '.join(STAGES)}", got=repr(name))
    chosen = [s for s in STAGES if not only or s.startswith(tuple(only))]
    return [s for s in chosen if s not in PEERS or (peers and installed(s))]


def in_processes(processes: int, **options: Any) -> Report:
    """What :func:`fuzz` gives, by several processes that each take a part of the programs.

    Parameters
    ----------
    processes : int
    **options
        Those of :func:`fuzz`.

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz import in_processes
    >>> in_processes(1, count=3, peers=False).tally.programs
    3
    """
    if processes == 1:
        return fuzz(**options)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        first = pool.submit(fuzz, **options, part=(0, processes))
        quiet = {**options, "progress": False}
        others = [pool.submit(fuzz, **quiet, part=(k, processes)) for k in range(1, processes)]
        return _merged([done.result() for done in [first, *others]])


def _merged(reports: Sequence[Report]) -> Report:
    whole, seen = Report(), set[Any]()
    for report in reports:
        whole.tally.add(report.tally)
        for finding in report.findings:
            mark = (finding.failure.stage, finding.failure.kind, _operations(finding.program))
            if mark not in seen:
                whole.findings.append(finding)
            seen.add(mark)
    return whole


def _operations(program: GraphProgram) -> frozenset[str]:
    return frozenset(s.op for s in program.walk())


def _numbers(
    count: int | None, minutes: float | None, progress: bool, report: Report, part: tuple[int, int]
) -> Iterator[int]:
    end = time.monotonic() + 60 * minutes if minutes is not None else np.inf
    numbers: Any = range(part[0], count if count is not None else 10**9, part[1])
    if progress:
        from tqdm import tqdm

        total = len(numbers) if count is not None else None
        numbers = tqdm(iter(numbers), total=total, unit=" programs", mininterval=1.0)
    for number in numbers:
        if time.monotonic() > end:
            break
        if progress and number % 100 == 0:
            numbers.set_postfix(mismatches=len(report.findings))
        yield number
    if progress:
        numbers.close()


def _checked(program: GraphProgram, stages: Sequence[str], tally: Tally) -> StageFailure | None:
    """Run the stages that are due, up to the first that fails."""
    began = time.perf_counter()
    case = Case(program)
    try:
        usable = case.usable()
    except Exception as error:  # a draw that makes no sense, or a fault of the oracle
        return StageFailure("values", type(error).__name__, f"the oracle raised {error!r}")
    if not usable:
        tally.skip()
        return None
    due = [STAGES[s] for s in stages if applies(STAGES[s], program)]
    failure = None
    for stage in due:
        tally.stages[stage.name] += 1
        start = time.perf_counter()
        try:
            case.run(stage)
        except StageFailure as found:
            tally.failed[stage.name] += 1
            failure = found
            break
        finally:
            tally.seconds[stage.name] += time.perf_counter() - start
    order = 2 if any("products" in s.expected for s in due) else 1
    tally.note(program, case, order, time.perf_counter() - began)
    return failure


def _finding(number: int, program: GraphProgram, failure: StageFailure, seconds: float) -> Finding:
    small = shrunk(program, failure, seconds=seconds)
    try:
        again = check(small, [failure.stage]) or failure
        code = reproduction(small, again)
    except Exception as error:  # the oracle itself failed
        again, code = failure, f"{small.source()}\n# {error!r}\n"
    return Finding(number, program, small, again, code)


def _tell(finding: Finding, save: Path | None) -> None:
    print(f"\n# program {finding.number}: {finding.failure}\n{finding.code}", flush=True)
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"\W+", "_", f"{finding.failure.stage} {finding.number}")  # a colon is part of no name on Windows
        write_atomically(save / f"{stem}.json", finding.to_json().encode("utf-8"))
        write_atomically(save / f"{stem}.py", finding.code.encode("utf-8"))


def replay(path: Path, *, original: bool = False) -> StageFailure | None:
    """Check a saved program again, by the stage that failed and by all others.

    Parameters
    ----------
    path : Path
        A file that :func:`fuzz` saved, or a program's own JSON.
    original : bool
        Take the program as it was drawn.
    """
    read = json.loads(path.read_text(encoding="utf-8"))
    saved = read if "program" not in read else read["original" if original else "program"]
    program = GraphProgram.from_json(json.dumps(saved))
    first = [read["stage"]] if "stage" in read else []
    rest = [s for s in STAGES if (s not in PEERS or installed(s)) and applies(STAGES[s], program) and s not in first]
    return check(program, [*first, *rest])


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; gives 1 where there is a mismatch."""
    parser = argparse.ArgumentParser(prog="python -m tinygrad_rnn.testing.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, help="how long (10, where no --count is given)")
    parser.add_argument("--count", type=int, help="how many programs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, metavar="DIR", help="where to put what is found")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True,
                        help="compare with PyTorch (half of all) and JAX (one of 256), where installed")  # fmt: skip
    parser.add_argument("--most", type=int, default=MOST_FINDINGS, help="stop after so many mismatches that differ")
    parser.add_argument("--only", nargs="+", default=[], metavar="STAGE", help="these alone, or those that begin so")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="how many share the work")
    parser.add_argument("--replay", type=Path, metavar="FILE.json", help="check a saved program again")
    args = parser.parse_args(argv)
    if args.replay is not None:
        failure = replay(args.replay)
        print(failure or "passes")
        return int(failure is not None)
    minutes = 10.0 if args.minutes is None and args.count is None else args.minutes
    report = in_processes(
        args.processes, seed=args.seed, count=args.count, minutes=minutes, peers=args.peers, save=args.save,
        most=args.most, only=args.only, progress=True,
    )  # fmt: skip
    print(report.tally.table())
    print(f"{len(report.findings)} mismatches that differ, {report.tally.failed.total()} in all")
    return int(bool(report.findings))
