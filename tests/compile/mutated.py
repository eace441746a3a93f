"""Mutated texts of programs: each is refused in words of ours, or loads, runs, and gives what its graph says.

``python -m tests.compile.mutated --count 100000 --processes 2`` runs them in processes that may crash: a crash is
counted, its text is kept, and the next process goes on behind it.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tests.compile.mutated_programs import OPERATIONS, PATTERN, Subject, subjects
from tinygrad_rnn.compile.compiler_ops import INTERNAL
from tinygrad_rnn.effects import Update
from tinygrad_rnn.graph import Graph
from tinygrad_rnn.graph.evaluate import compute
from tinygrad_rnn.nested import Hole, mapped, parts
from tinygrad_rnn.ops.core import registry
from tinygrad_rnn.tensor import Spec

# How a case ends, as a letter in the file of outcomes.
REFUSED, RAN, RAISED = "r", "R", "x"
WRONG_ERROR, WRONG_VALUE, WRITTEN_OUTSIDE, CRASHED = "E", "V", "W", "C"
BAD = WRONG_ERROR + WRONG_VALUE + WRITTEN_OUTSIDE + CRASHED
WORDS = {
    REFUSED: "refused", RAN: "ran", RAISED: "ran into an error of values", WRONG_ERROR: "wrong errors",
    WRONG_VALUE: "wrong values", WRITTEN_OUTSIDE: "writes outside of arrays", CRASHED: "crashes",
}  # fmt: skip

AT_RUN = (IndexError, tg.GradientError, tg.AnomalyError)  # what depends on values
OF_VALUES = ("nonnegative: ", "bernoulli: ", "categorical: ")  # how errors of operations on values begin
ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds without an outcome, after which a process is taken to hang


# Mutations ------------------------------------------------------------------------------------------------------------

NUMBERS = [0, 1, 2, 3, 5, -1, -2, 7, 31, 10**9, 2**31, 2**63, 10**18, -(2**63), 10**30, 0.5, -0.0, 1e300, True, None]
STRINGS = ["nan", "inf", "", "x", "a", "set", "add", "object", "float16", "complex128", "U1", "datetime64", "__class__"]
OPS = [*registry, *INTERNAL, "constant", "literal", "placeholder", "parameter", "cube", "gradient", "detached"]
DTYPES = ["float32", "float64", "int64", "int32", "uint8", "bool", "int8"]
UNFIT = (ArithmeticError, AttributeError, LookupError, MemoryError, StopIteration, TypeError, ValueError)
JUNK: list[Any] = [[], {}, "nan", None, True, 1.5, [[]], {"float": "nan"}, {"slice": [None, None, -1]}, {"array": 0}]


def mutated(texts: dict[str, str], seed: int, index: int) -> tuple[str, str]:
    """Which program, and its text after one to three mutations; always the same for the same numbers."""
    rng = np.random.default_rng([seed, index])
    name = str(rng.choice(sorted(texts)))
    if rng.random() < 0.05:
        return name, _with_other_bytes(texts[name], rng)
    written = json.loads(texts[name])
    another = str(rng.choice(sorted(texts)))
    other = lambda: json.loads(texts[another])
    for _ in range(1 + int(rng.integers(3))):
        way = _WAYS[int(rng.choice(len(_WAYS), p=_SHARES))]
        with suppress(*UNFIT):  # the text is not what it was any more
            way(written, other, rng)
    if rng.random() < 0.5:
        _reinferred(written)
    return name, json.dumps(written)


def _with_other_bytes(text: str, rng: Any) -> str:
    data = bytearray(text.encode())
    for _ in range(1 + int(rng.integers(4))):
        at = int(rng.integers(len(data)))
        way = rng.integers(3)
        if way == 0:
            data[at] = int(rng.choice(list(b'0123456789-.,:[]{}"aeE tnf')))
        elif way == 1:
            del data[at : at + int(rng.integers(1, 9))]
        else:
            data[at:at] = bytes(rng.choice(list(b'0123456789[{"],-e'), int(rng.integers(1, 6))).tolist())
    return data.decode(errors="replace")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of the text with every key of it."""
    found, work = [], [value]
    while work:
        part = work.pop()
        keys = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        found += [(part, key) for key in keys]
        work += [part[key] for key in keys]
    return found


def _pick(items: Any, rng: Any) -> Any:
    return items[int(rng.integers(len(items)))]


def _somewhere(written: Any, rng: Any) -> tuple[Any, Any]:
    """A container of the text with a key of it; more often than not in a node."""
    part = _pick(written["nodes"], rng) if rng.random() < 0.6 and written.get("nodes") else written
    part = part if isinstance(part, dict | list) and part else written
    while True:
        key = _pick(list(part) if isinstance(part, dict) else range(len(part)), rng)
        if not isinstance(part[key], dict | list) or not part[key] or rng.random() < 0.3:
            return part, key
        part = part[key]


def _anywhere(written: Any, other: Any, rng: Any) -> None:
    """Another value in place of one."""
    part, key = _somewhere(written, rng)
    old = part[key]
    if type(old) is int and rng.random() < 0.6:
        part[key] = old + int(rng.integers(-2, 3))
    elif type(old) is int:
        part[key] = _pick(NUMBERS, rng)
    elif type(old) is str and rng.random() < 0.7:
        part[key] = _pick(OPS + DTYPES + STRINGS, rng)
    elif type(old) is list and old and rng.random() < 0.8:
        _shuffled(old, rng)
    else:
        part[key] = copy.deepcopy(_pick(JUNK + NUMBERS, rng))


def _shuffled(listed: list[Any], rng: Any) -> None:
    way = rng.integers(5)
    a, b = int(rng.integers(len(listed))), int(rng.integers(len(listed)))
    if way == 0:
        del listed[a]
    elif way == 1:
        listed.insert(b, copy.deepcopy(listed[a]))
    elif way == 2:
        listed[a], listed[b] = listed[b], listed[a]
    elif way == 3:
        listed.append(copy.deepcopy(_pick(JUNK + NUMBERS, rng)))
    else:
        listed[a] = copy.deepcopy(listed[b])


def _keys(written: Any, other: Any, rng: Any) -> None:
    """A key more or less, or a part of another text under the same key."""
    part, key = _somewhere(written, rng)
    if not isinstance(part, dict):
        part, key = written, _pick(sorted(written), rng)
    if rng.random() < 0.2:
        del part[key]
    elif rng.random() < 0.2:
        part[str(_pick(STRINGS + OPS, rng))] = part[key]
    else:
        same = [p[k] for p, k in _places(other()) if k == key]
        if same:
            part[key] = copy.deepcopy(_pick(same, rng))


def _deep(written: Any, other: Any, rng: Any) -> None:
    part, key = _somewhere(written, rng)
    value: Any = part[key]
    for _ in range(int(rng.choice([2, 60, 400]))):
        value = [value] if rng.random() < 0.9 else {"tuple": [value]}
    part[key] = value


def _node(written: Any, rng: Any) -> Any:
    nodes = [n for n in written["nodes"] if isinstance(n, dict) and n.get("inputs")]
    return _pick(nodes, rng) if nodes else None


def _operation(written: Any, other: Any, rng: Any) -> None:
    """Another operation on the same inputs, with parameters that such a one has somewhere."""
    node = _node(written, rng)
    if node is not None:
        node["op"] = _pick(OPS, rng)
        if rng.random() < 0.5:
            nodes = [*other()["nodes"], *written["nodes"]]
            same = [n["params"] for n in nodes if isinstance(n, dict) and n.get("op") == node["op"] and "params" in n]
            node["params"] = copy.deepcopy(_pick(same, rng)) if same else {}


def _input(written: Any, other: Any, rng: Any) -> None:
    """Another input, more often than not one of the same shape."""
    node = _node(written, rng)
    nodes = written["nodes"]
    if node is None or not isinstance(node.get("inputs"), list):
        return
    k = int(rng.integers(len(node["inputs"])))
    old = node["inputs"][k]
    end = max(1, next((at for at, n in enumerate(nodes) if n is node), 1))
    like = [
        at for at in range(end)
        if type(old) is int and 0 <= old < len(nodes) and _facts(nodes[at]) == _facts(nodes[old])
    ]  # fmt: skip
    node["inputs"][k] = _pick(like, rng) if like and rng.random() < 0.7 else int(rng.integers(end))


def _facts(node: Any) -> Any:
    return (node.get("shape"), node.get("dtype")) if isinstance(node, dict) else None


def _parameter(written: Any, other: Any, rng: Any) -> None:
    """A number somewhere in the parameters of a node."""
    nodes = [n for n in written["nodes"] if isinstance(n, dict) and n.get("params")]
    if not nodes:
        return
    places = _places(_pick(nodes, rng)["params"])
    if not places:
        return
    part, key = _pick(places, rng)
    old = part[key]
    if type(old) is int:
        part[key] = _pick([old + 1, old - 1, -old, -old - 1, 0, 1, 2, _pick(NUMBERS, rng)], rng)
    elif isinstance(old, list) and old:
        _shuffled(old, rng)
    else:
        part[key] = copy.deepcopy(_pick([*NUMBERS, *STRINGS, *JUNK, 1, 2, -1], rng))


def _place(written: Any, other: Any, rng: Any) -> None:
    """Another time step, scope or direction, or a place of another node."""
    nodes = [n for n in written["nodes"] if isinstance(n, dict)]
    if not nodes:
        return
    for _ in range(int(rng.integers(1, 6))):
        a, b = _pick(nodes, rng), _pick(nodes, rng)
        key = _pick(["time", "scope", "direction", "name"], rng)
        if key in a and key in b:
            a[key] = copy.deepcopy(b[key])
    if rng.random() < 0.5:
        written["segments"] = [sorted(int(k) for k in rng.integers(0, len(nodes), 2)) for _ in range(2)]


def _roots(written: Any, other: Any, rng: Any) -> None:
    """Other results, or more of them, with a form that fits."""
    results = written.get("results")
    if isinstance(results, list):
        results += [int(k) for k in rng.integers(0, len(written["nodes"]), int(rng.integers(1, 4)))]
        rng.shuffle(results)
        form = {"tuple": [{"array": k} for k in range(len(results))]}
        if isinstance(written.get("call"), dict):
            written["call"]["form"] = form


def _sizes(written: Any, other: Any, rng: Any) -> None:
    """One size in the place of another, everywhere: in shapes, parameters and arguments."""
    shapes = [n["shape"] for n in written["nodes"] if isinstance(n, dict) and isinstance(n.get("shape"), list)]
    sizes = sorted({n for shape in shapes for n in shape if type(n) is int})
    if not sizes:
        return
    old, new = _pick(sizes, rng), int(rng.integers(0, 6))
    for node in [*written["nodes"], *written["arguments"]]:
        if isinstance(node, dict) and node.get("op") not in ("constant", "parameter"):
            for part, key in [*_places(node.get("params", {})), *_places({"shape": node.get("shape")})]:
                if type(part[key]) is int and part[key] == old:
                    part[key] = new


def _types(written: Any, other: Any, rng: Any) -> None:
    """Another type, of one node or everywhere."""
    old, new = _pick(DTYPES, rng), _pick([*DTYPES, "object", "float16"], rng)
    if rng.random() < 0.5:
        _pick(written["nodes"], rng)["dtype"] = new
        return
    for part, key in _places(written):
        if key == "dtype" and part[key] == old:
            part[key] = new


def _insertion(written: Any, other: Any, rng: Any) -> None:
    """A node of another text put in, and what comes behind moved."""
    nodes, others = written["nodes"], other()["nodes"]
    at = int(rng.integers(1, len(nodes) + 1))
    node = copy.deepcopy(_pick(others, rng))
    like = lambda n: [k for k in range(at) if _facts(nodes[k]) == _facts(others[n])] or [int(rng.integers(at))]
    node["inputs"] = [_pick(like(n), rng) for n in node["inputs"]]
    nodes.insert(at, node)
    moved = lambda k: k + 1 if type(k) is int and k >= at else k
    for later in nodes[at + 1 :]:
        if isinstance(later, dict) and isinstance(later.get("inputs"), list):
            later["inputs"] = [moved(k) for k in later["inputs"]]
    for key in ("results", "drawn"):
        if isinstance(written.get(key), list):
            written[key] = [moved(k) for k in written[key]]
    for key in ("bound", "carried", "left"):
        for pair in written.get(key) or ():
            if isinstance(pair, list) and pair:
                pair[0] = moved(pair[0])
    for argument in written.get("arguments") or ():
        if isinstance(argument, dict):
            argument["node"] = moved(argument.get("node"))
    written["last"] = moved(written.get("last"))
    written["segments"] = []
    if isinstance(written.get("results"), list):
        written["results"].append(at)
        written["call"]["form"] = {"tuple": [{"array": k} for k in range(len(written["results"]))]}


_WAYS = [
    _anywhere, _keys, _deep, _operation, _input, _parameter, _place, _roots, _sizes, _types, _insertion,
]  # fmt: skip
_SHARES = np.array([12, 6, 1, 15, 15, 15, 6, 6, 8, 4, 12]) / 100


def _reinferred(written: Any) -> None:
    """Shapes and types as the shape rules give them, where they do: so that a lie is not found out by its shape."""
    nodes = written.get("nodes")
    for node in nodes if isinstance(nodes, list) else ():
        try:
            op = registry[node["op"]]
            specs = [Spec(tuple(nodes[k]["shape"]), np.dtype(nodes[k]["dtype"])) for k in node["inputs"]]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                spec = op.shape(*specs, **{key: _decoded(v) for key, v in node["params"].items()})
            node["shape"], node["dtype"] = list(spec.shape), spec.dtype.name
        except UNFIT:
            pass


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([_decoded(v) for v in value])
    if not isinstance(value, dict):
        return value
    if "slice" in value:
        return slice(*value["slice"])
    return np.dtype(value["dtype"]) if "dtype" in value else Ellipsis if "ellipsis" in value else None


# One case -------------------------------------------------------------------------------------------------------------


def outcome(subject: Subject, text: str, rng: Any) -> tuple[str, str]:
    """How a text ends, as a letter, and what is to be said of it."""
    subject.reset()
    given = {"generator": [np.random.default_rng(k) for k in range(len(subject.generators))] or None}
    memory = "sqrt" if rng.random() < 0.2 else None
    try:
        program = tg.Program.from_json(
            text, subject.tensors, subject.optimizers, operations=OPERATIONS, memory=memory, **given
        )
    except (KeyError, TypeError, ValueError) as error:
        return (REFUSED if "from_json" in str(error) else WRONG_ERROR), _said(error)
    except Exception as error:
        return WRONG_ERROR, _said(error)
    places = program.recording.placeholders
    if program.arena_bytes > 10**8 or sum(t.size for t in places) > 10**6:
        return RAN, "too large to run"
    return _run(subject, program, [_values(t.spec, rng) for t in places])


def _run(subject: Subject, program: Any, arrays: list[np.ndarray]) -> tuple[str, str]:
    recording = program.recording
    slack = _slack(program)
    letter, said = RAN, ""
    expected = _expected(recording, arrays)
    had = {t.serial for t in recording.carried.values()}
    gradients = [(t, t.grad if t.serial in had else None) for t in recording.watched]  # as when it was recorded
    try:
        for turn in range(2):
            for t, g in gradients:
                t.grad = g
            result = program(*_filled(program._call.args, arrays), **_filled(program._call.kwargs, arrays))
            if turn == 0 and expected is not None:
                said = _difference(program, result, expected)
                letter = WRONG_VALUE if said else RAN
                if said:
                    break
    except AT_RUN as error:
        letter, said = RAISED, _said(error)
    except Exception as error:
        letter, said = RAISED if str(error).startswith(OF_VALUES) else WRONG_ERROR, _said(error)
    if not subject.intact() or any((memory != PATTERN).any() for memory in slack):
        return WRITTEN_OUTSIDE, "bytes around an array have changed"
    return letter, said


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _slack(program: Any) -> list[np.ndarray]:
    """The bytes before and behind the arena, filled with a pattern."""
    (workspace,) = program._runner.free
    memory = workspace.arena.base
    skip = workspace.arena.ctypes.data - memory.ctypes.data
    parts = [memory[:skip], memory[skip + len(workspace.arena) :]]
    for part in parts:
        part[:] = PATTERN
    return parts


def _values(spec: Spec, rng: Any) -> np.ndarray:
    if spec.dtype.kind == "f":
        return rng.normal(size=spec.shape).astype(spec.dtype)
    return rng.integers(0, 2 if spec.dtype.kind == "b" else 3, spec.shape).astype(spec.dtype)


def _filled(structure: Any, arrays: list[np.ndarray]) -> Any:
    """Arguments with arrays in place of holes; what is neither array nor plain data is None."""

    def part(p: Any) -> Any:
        return arrays[p.number] if isinstance(p, Hole) else p if type(p) in (bool, int, float, str) else None

    return mapped(part, structure)


def _expected(recording: Any, arrays: list[np.ndarray]) -> list[np.ndarray] | None:
    """What NumPy makes of the recorded graph; None where that is not defined, or where values do not fit."""
    last = [] if recording.last is None else [recording.last]
    nodes = Graph([*recording.roots, *last, *recording.drawn, *recording.ranges]).nodes
    changes = [t.params["change"] for t in nodes if "change" in t.params]
    if any("generator" in t.params for t in nodes) or any(isinstance(c, Update) and c.step for c in changes):
        return None
    values = {t.serial: a for t, a in zip(recording.placeholders, arrays, strict=True)}
    values |= {s: t.numpy().copy() for s, t in recording.bound.items()}
    values |= {s: t.grad.numpy().copy() for s, t in recording.carried.items()}
    kept = {t.serial for t in recording.roots}
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compute(nodes, values, kept)
    except Exception:
        return None
    return [values[t.serial] for t in recording.roots[: recording.results]]


def _difference(program: Any, result: Any, expected: list[np.ndarray]) -> str:
    """In words, or nothing; rounding may add up, and what is not finite says little of it."""
    found = [t for t in parts(result) if t is not None]
    for k, (t, right) in enumerate(zip(found, expected, strict=True)):
        got = t.numpy()
        if got.shape != right.shape or got.dtype != right.dtype:
            return f"result {k}: {got.shape} {got.dtype} for {right.shape} {right.dtype}"
        if not got.size or not np.isfinite(right.astype(np.float64)).all():
            continue
        scale = max(1.0, float(np.abs(right.astype(np.float64)).max()))
        most = float(np.abs(got.astype(np.float64) - right.astype(np.float64)).max())
        if not most <= (1e-3 if got.dtype != np.float64 else 1e-6) * scale and scale < 1e6:
            return f"result {k}: {got.tolist()} for {right.tolist()}"
    return ""


# Many cases, in processes that may crash ------------------------------------------------------------------------------


def work(seed: int, first: int, end: int, folder: Path) -> None:
    """Add a letter for each case to the file of outcomes, and what is bad to another file."""
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    warnings.simplefilter("ignore")
    known = subjects()
    texts = {name: subject.text for name, subject in known.items()}
    with (folder / "outcomes").open("a") as outcomes, (folder / "bad").open("a") as bad:
        for index in range(first, end):
            name, text = mutated(texts, seed, index)
            letter, said = outcome(known[name], text, np.random.default_rng([seed, index, 1]))
            if letter in BAD:
                print(json.dumps({"index": index, "program": name, "kind": letter, "said": said}), file=bad, flush=True)
            print(letter, end="", file=outcomes, flush=True)


class Worker:
    """A process for a range of cases; where it crashes or hangs another one goes on behind the case."""

    def __init__(self, seed: int, first: int, end: int, folder: Path) -> None:
        self.seed, self.first, self.end, self.folder = seed, first, end, folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "outcomes").touch()
        self.crashes: list[tuple[int, int | None]] = []
        self.begin()

    def begin(self) -> None:
        self.process = subprocess.Popen(self.command(self.first + self.done), cwd=ROOT)
        self.seen, self.since = self.done, time.monotonic()

    def command(self, at: int) -> list[str]:
        numbers = [str(self.seed), str(at), str(self.end)]
        return [sys.executable, "-m", "tests.compile.mutated", "--work", *numbers, str(self.folder)]

    @property
    def done(self) -> int:
        return (self.folder / "outcomes").stat().st_size

    def finished(self) -> bool:
        code = self.process.poll()
        if code is None:
            if self.done != self.seen:
                self.seen, self.since = self.done, time.monotonic()
            if time.monotonic() - self.since < PATIENCE:
                return False
            self.process.kill()
            self.process.wait()
        if self.first + self.done >= self.end:
            return True
        self.crashes.append((self.first + self.done, code))
        with (self.folder / "outcomes").open("a") as outcomes:
            outcomes.write(CRASHED)
        if self.first + self.done >= self.end:
            return True
        self.begin()
        return False


def run(
    seed: int, count: int, processes: int, folder: Path, worker: type[Worker] = Worker
) -> tuple[Counter[str], list[str]]:
    """How often each outcome came, and what is bad; texts of bad cases are written into the folder."""
    ends = [k * count // processes for k in range(processes + 1)]
    workers = [worker(seed, a, b, folder / str(k)) for k, (a, b) in enumerate(pairwise(ends))]
    waiting = list(workers)
    while waiting:
        waiting = [w for w in waiting if not w.finished()]
        time.sleep(0.2)
    letters = Counter("".join((w.folder / "outcomes").read_text() for w in workers))
    bad = [json.loads(line) for w in workers for line in (w.folder / "bad").read_text().splitlines()]
    bad += [{"index": at, "kind": CRASHED, "said": f"code {code}"} for w in workers for at, code in w.crashes]
    texts = {name: subject.text for name, subject in subjects().items()} if bad else {}
    for case in bad:
        case["program"], text = mutated(texts, seed, case["index"])
        (folder / f"{case['index']}.json").write_text(text)
    return letters, [json.dumps(case) for case in bad]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="for texts of bad cases; by default a new one")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        seed, first, end, folder = given.work
        work(int(seed), int(first), int(end), Path(folder))
        return
    folder = given.folder or Path(tempfile.mkdtemp(prefix="mutated"))
    began = time.monotonic()
    letters, bad = run(given.seed, given.count, given.processes, folder)
    print("\n".join(bad[:50]))
    print(f"{given.count} texts in {time.monotonic() - began:.0f} s: "
          + ", ".join(f"{letters[k]} {words}" for k, words in WORDS.items()) + f" ({folder})")  # fmt: skip
    sys.exit(bool(bad))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
