"""What the examples share: their options, their folders, and how they report."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
DATA = HERE / "data"


def options(doc: str, name: str) -> argparse.ArgumentParser:
    """A parser with the options that all examples have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a part of the data, to see that everything works")
    parser.add_argument("--out", type=Path, default=HERE / "out" / name, help="folder for what it writes")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise SystemExit(f"there is no {what} {path}")
    return path


def report(**lines: Any) -> None:
    """One line for each thing to know, and how much time the processor has spent so far."""
    for name, text in {**lines, "processor time": f"{time.process_time():.0f} s"}.items():
        print(f"{name.replace('_', ' ')}: {text}")


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    cells = [list(header), *([str(c) for c in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def majority(train: Any, test: Any) -> float:
    """How often the most frequent class of the training set is right."""
    classes, counts = np.unique(np.asarray(train), return_counts=True)
    return float((np.asarray(test) == classes[counts.argmax()]).mean())
