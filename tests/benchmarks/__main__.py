"""Measure speed beside the peers and print ratios: each in a process of its own, on one core, in turns.

usage: python -m tests.benchmarks [--rounds N] [--seconds S] [--only WORKLOADS] [--peers PEERS] [--against COMMIT]
                                  [--quick]

Besides the workloads there are the sections "eager" (what an operation costs) and "programs" (what compiling costs).
Exits with an error if a figure misses its limit. See README.md beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence

from . import against, eager, programs, turns
from .figures import Figure
from .measure import PEERS, installed
from .workloads import WORKLOADS

SECTIONS = (*WORKLOADS, "programs", "eager")


def some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """Type of an option that lists some names, with commas between them."""

    def names(text: str) -> list[str]:
        given = text.split(",")
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return given

    return names


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns that each framework gets")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn")
    parser.add_argument("--only", type=some_of(SECTIONS), default=list(SECTIONS), help=f"some of {', '.join(SECTIONS)}")
    parser.add_argument("--peers", type=some_of(PEERS), default=list(PEERS), help=f"some of {', '.join(PEERS)}")
    parser.add_argument("--against", metavar="COMMIT", help="measure this tree beside another commit instead of peers")
    parser.add_argument("--quick", action="store_true", help="one short turn: shows that all works, times mean little")
    args = parser.parse_args(arguments)
    if args.quick:
        args.rounds, args.seconds = 1, 0.2
    return args


def run(args: argparse.Namespace) -> list[Figure]:
    """Measure, print the tables, and return all figures."""
    if args.against:
        named = [name for name in WORKLOADS if name in args.only]
        return against.compare(args.against, named, args.rounds, args.seconds)
    figures: list[Figure] = []
    everything: list[turns.Results] = []
    names = [name for name in args.peers if installed(name)]
    for name in (name for name in WORKLOADS if name in args.only):
        results = turns.take_turns(WORKLOADS[name], names, args.rounds, args.seconds)
        print(turns.table(results), end="\n\n", flush=True)
        everything.append(results)
        figures += turns.figures(results)
    if everything:
        print("All workloads", turns.summary(everything), sep="\n", end="\n\n", flush=True)
    if "programs" in args.only:
        figures += programs.run()
    if "eager" in args.only:
        figures += eager.run(args.rounds, args.seconds)
    return figures


def main() -> None:
    figures = run(options())
    print("\nFigures", *figures, sep="\n  ")
    if missed := [figure.what for figure in figures if not figure.met]:
        raise SystemExit(f"figures that are not met: {', '.join(missed)}")


if __name__ == "__main__":
    main()
