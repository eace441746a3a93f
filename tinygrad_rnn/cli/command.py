"""``tinygrad-rnn draw lstm --steps 4 -o lstm.svg``: arguments, and what they do."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import traceback
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from .. import __version__, viz
from ..atomic import write_atomically
from ..tensor import Spec
from ..viz.read.columns import View
from ..viz.read.levels import Level
from ..viz.read.options import MAX_NODES, SHOW
from ..viz.scene.theme import PALETTES
from .catalogue import CATALOGUE
from .problem import FAILURE, USAGE, Problem, of_error
from .target import found

__all__ = ["FORMATS", "main"]

FORMATS = ("svg", "png", "pdf", "dot", "gv", "mmd", "md", "tex", "html")
BITS = ("png", "pdf")  # what no terminal can show

HELP = """\
WHAT is the name of something built in (--list shows them all), or of something of your own:

  module:name    a function, tensor, graph, module or program; the current folder is searched too
  file.py:name   the same, in a file

A function is called with the number of steps if it has a parameter called steps, and else with nothing. It
returns tensors, a graph or a program, or a module and what to call it with: (model, x).

  %(prog)s lstm --steps 4 --level op -o lstm.svg
  %(prog)s gru --view rolled --open
  %(prog)s training --direction both --only 0-1
  %(prog)s model.py:net --input 1,5,3 --level layer
"""


def main(argv: Sequence[str] | None = None, prog: str = "tinygrad-rnn") -> int:
    """Do what the command line says, `argv` or the arguments of the process; the exit code of the process.

    Examples
    --------
    >>> from tinygrad_rnn.cli import main
    >>> main(["draw", "rnn", "--steps", "2", "-o", "rnn.dot"])
    rnn.dot
    0
    """
    parser = _parser(prog)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        return _list() if args.list else _draw(args)
    except Problem as problem:
        if args.traceback and problem.__cause__ is not None:
            traceback.print_exception(problem.__cause__)
        print(f"{prog}: {problem}", file=sys.stderr)
        return problem.code
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()  # else Python complains when it flushes
        return FAILURE
    except KeyboardInterrupt:
        return 130


# Arguments ------------------------------------------------------------------------------------------------------------


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Recurrent networks: pictures of their graphs.")
    parser.add_argument("--version", action="version", version=f"tinygrad-rnn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    draw = commands.add_parser(
        "draw", help="draw something built in, or of your own", description="Draw a recorded graph.",
        epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    draw.add_argument("what", nargs="?", metavar="WHAT", help="see below")
    draw.add_argument("--list", action="store_true", help="list what is built in")
    _add_contents(draw.add_argument_group("what is drawn"))
    _add_looks(draw.add_argument_group("how it looks"))
    _add_output(draw.add_argument_group("where it goes"))
    draw.set_defaults(parser=draw)
    return parser


def _add_contents(group: Any) -> None:
    group.add_argument("--steps", type=_count, metavar="N", help="time steps of the example, or given to the function")
    group.add_argument("--only", type=_range, metavar="FIRST-LAST", help="time steps to draw, both ends included")
    group.add_argument(
        "--input", type=_spec, action="append", default=[], metavar="SHAPE", dest="inputs",
        help="shape of an input of a module or function, such as 1,5,3 or 1,5:int64; once for each input",
    )  # fmt: skip
    group.add_argument("--view", choices=get_args(View), default="auto", help="default: auto")
    group.add_argument(
        "--level", choices=get_args(Level), help="what becomes one box; what is built in comes at the one that suits it"
    )
    group.add_argument("--direction", choices=("forward", "backward", "both"), help="draw gradients too")
    group.add_argument("--max-nodes", type=_count, default=MAX_NODES, metavar="N", help="refuse to draw more boxes")


def _add_looks(group: Any) -> None:
    group.add_argument(
        "--show", type=_shown, default=frozenset({"shape"}), metavar="WHAT,...",
        help=f"what is written in the boxes: none, or some of {', '.join(SHOW)}; default: shape",
    )  # fmt: skip
    group.add_argument(
        "--highlight", action="append", metavar="NAME", help="light up a node by its name or id; may be repeated"
    )
    group.add_argument("--theme", choices=tuple(PALETTES), default="light", help="default: light")
    group.add_argument("--legend", action="store_true", help="explain the colours below the picture")


def _add_output(group: Any) -> None:
    group.add_argument(
        "-o", "--output", metavar="FILE", help="default: the name of what is drawn; - for standard output"
    )
    group.add_argument("--format", choices=FORMATS, help="default: by the ending of the file's name, else svg")
    group.add_argument("--open", action="store_true", help="show the picture in the browser")
    group.add_argument("--traceback", action="store_true", help="show where exactly an error came from")


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)


def _range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not match or int(match[2] or match[1]) < int(match[1]):
        raise argparse.ArgumentTypeError(f"expected FIRST-LAST, such as 2-5, or one step; got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def _shown(text: str) -> frozenset[str]:
    names = [] if text == "none" else [part.strip() for part in text.split(",")]
    for name in names:
        if name not in SHOW:
            raise argparse.ArgumentTypeError(f"expected none, or some of {', '.join(SHOW)}; got {name!r}")
    return frozenset(names)


def _spec(text: str) -> Spec:
    shape, _, dtype = text.partition(":")
    try:
        return Spec(tuple(int(n) for n in shape.replace("x", ",").strip("()").split(",") if n), np.dtype(dtype or "f4"))
    except (ValueError, TypeError):
        raise argparse.ArgumentTypeError(f"expected a shape, such as 1,5,3 or 1,5:int64; got {text!r}") from None


# What they do ---------------------------------------------------------------------------------------------------------


def _list() -> int:
    width = max(map(len, CATALOGUE))
    for name, example in CATALOGUE.items():
        print(f"{name:{width}}  {example.says}")
    return 0


def _draw(args: argparse.Namespace) -> int:
    if args.what is None:
        args.parser.error("name what to draw, or --list to see what is built in")
    if args.output == "-" and args.open:
        args.parser.error("--open needs a file, but -o - writes to standard output")
    path, kind = _destination(args)
    drawing, problem = _drawn(args)
    _write(drawing, path, kind)
    if path is not None:
        print(path)
    if problem is not None:
        where = "" if path is None else f"the graph so far, and the operation, are in {path}"
        raise Problem(str(problem), where) from problem.__cause__
    if args.open and path is not None and not webbrowser.open(path.resolve().as_uri()):
        raise Problem(f"no browser could be opened; the picture is {path}")
    return 0


def _drawn(args: argparse.Namespace) -> tuple[viz.Drawing, Problem | None]:
    """The picture; where an operation failed, that of the graph so far, and what is wrong."""
    level = args.level
    try:
        target = found(args.what, args.steps, args.inputs)
        level = level or target.level
        return _picture(args, level, target.x, *target.inputs), None
    except Problem:
        raise
    except (Exception, SystemExit) as error:
        problem = of_error(error, f"{args.what} raised")
        if not getattr(error, "inputs", ()) and getattr(error, "node", None) is None:
            raise problem from error
        problem.__cause__ = error
        try:
            return _picture(args, level, error), problem
        except Exception:  # it cannot be drawn either; what matters is the first error
            raise problem from error


def _picture(args: argparse.Namespace, level: str | None, x: Any, *inputs: Any) -> viz.Drawing:
    return viz.draw(
        x, *inputs, view=args.view, level=level, steps=args.only, show=args.show, direction=args.direction,
        highlight=args.highlight, theme=args.theme, max_nodes=args.max_nodes, legend=args.legend,
    )  # fmt: skip


def _destination(args: argparse.Namespace) -> tuple[Path | None, str]:
    """The file, if any, and its format."""
    if args.output == "-":
        kind = args.format or "svg"
        if kind in BITS and sys.stdout.isatty():
            args.parser.error(f"{kind.upper()} is nothing for a terminal; give a file by -o, or send it to one")
        return None, kind
    name = re.sub(r"[^\w.-]+", "-", args.what.rpartition(":")[2]) + f".{args.format or 'svg'}"
    path = Path(args.output or name)
    if path.is_dir():
        path = path / name
    kind = args.format or path.suffix[1:].lower()
    if kind not in FORMATS:
        endings = ", ".join(f".{f}" for f in FORMATS)
        raise Problem(f"cannot tell the format of {path}", f"end its name in {endings}, or say --format", code=USAGE)
    return path, kind


def _write(drawing: viz.Drawing, path: Path | None, kind: str) -> None:
    try:
        data = _bytes(drawing, path.stem if path else "picture", kind)
    except (RuntimeError, ValueError) as error:
        raise of_error(error, "") from error
    if path is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        write_atomically(path, data)
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror or error}") from error


def _bytes(drawing: viz.Drawing, stem: str, kind: str) -> bytes:
    """What a file of that kind holds."""
    with tempfile.TemporaryDirectory() as folder:
        return drawing.save(Path(folder) / f"{stem}.{kind}").read_bytes()
