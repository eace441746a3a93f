"""The fuzzer: it finds planted faults, makes them small, and shows them as code that runs; what is right passes."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import count

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.testing.fuzz import Finding, fuzz, main, program_number, replay
from tinygrad_rnn.testing.fuzz import run as fuzzer
from tinygrad_rnn.testing.fuzz.check import Case, StageFailure, applies, check, reproduction
from tinygrad_rnn.testing.fuzz.peers import installed
from tinygrad_rnn.testing.fuzz.program import GraphProgram, GraphStep, Input
from tinygrad_rnn.testing.fuzz.report import features_of, pairs_of
from tinygrad_rnn.testing.fuzz.shrink import rebuilt, shrunk, size
from tinygrad_rnn.testing.fuzz.stages import STAGES

SMALL = GraphProgram((Input((2,)),), (GraphStep("tanh", (0,)), GraphStep("multiply", (0, 1))), (2,))
EVERY = [s for s in STAGES if s != "jax"]


@pytest.fixture
def wrong_tanh(monkeypatch):
    """The slope of tanh off by a thousandth, where it is recorded."""
    right = tg.tanh.op.vjp[0]
    monkeypatch.setattr(tg.tanh.op, "vjp", (lambda g, y, x: right(g, y, x) * 1.001,))


def test_what_is_right_passes():
    report = fuzz(count=30, seed=5, peers=False)
    assert report.findings == []
    assert report.tally.programs == 30
    assert {"values", "gradient", "compiled", "reverse over reverse", "forward"} <= set(report.tally.stages)


@pytest.mark.parametrize("number", [1, 7, 15, 20])
def test_every_stage_passes(number):
    program = program_number(11, number)
    stages = [s for s in EVERY if applies(STAGES[s], program) and (s != "torch" or installed("torch"))]
    assert check(program, stages) is None


# Planted faults -------------------------------------------------------------------------------------------------------


def run(code):
    exec(compile(code, "<reproduction>", "exec"), {"__name__": "reproduction"})


def test_a_wrong_gradient_is_found_and_made_small(wrong_tanh, tmp_path, capsys):
    report = fuzz(count=60, peers=False, save=tmp_path, most=1, shrink_seconds=600, only=["gradient", "reverse"])
    (finding,) = report.findings
    assert [s.op for s in finding.program.walk()] == ["tanh"]
    assert size(finding.program) < size(finding.original)
    assert sum(int(np.prod(x.shape)) for x in finding.program.inputs) <= 2
    assert finding.failure.kind == "value"
    with pytest.raises(AssertionError):
        run(finding.code)
    assert finding.code in capsys.readouterr().out
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".py"}


def test_the_code_passes_once_the_fault_is_gone(monkeypatch):
    right = tg.tanh.op.vjp[0]
    with monkeypatch.context() as patch:
        patch.setattr(tg.tanh.op, "vjp", (lambda g, y, x: right(g, y, x) * 1.001,))
        failure = check(SMALL, ["reverse over reverse"])
        assert failure is not None
        code = reproduction(SMALL, failure)
        with pytest.raises(AssertionError):
            run(code)
    run(code)


def test_a_wrong_value_is_found(monkeypatch):
    right = tg.softmax
    monkeypatch.setattr(tg, "softmax", lambda x, axis=-1: right(x, axis) * 1.001)
    report = fuzz(count=120, peers=False, most=1, shrink_seconds=600, only=["values"])
    (finding,) = report.findings
    assert (finding.failure.stage, [s.op for s in finding.program.walk()]) == ("values", ["softmax"])


def test_an_exception_is_found(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("planted")

    monkeypatch.setattr(tg.viz, "to_dot", broken)
    failure = check(SMALL, EVERY[: EVERY.index("torch")])
    assert failure is not None
    assert (failure.stage, failure.kind) == ("drawn", "RuntimeError")
    with pytest.raises(RuntimeError, match="planted"):
        run(reproduction(SMALL, failure))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden(monkeypatch, bad):
    right = tg.tanh
    monkeypatch.setattr(tg, "tanh", lambda x: right(x) + bad)
    failure = check(SMALL, ["values"])
    assert failure is not None
    assert failure.kind == "not finite"


@pytest.mark.parametrize(("fault", "kind"), [
    (lambda y: y[None], "shape"), (lambda y: y.astype(np.float32), "dtype"), (lambda y: y * (1 + 1e-11), "value"),
])  # fmt: skip
def test_other_differences_are_told_apart(monkeypatch, fault, kind):
    right = tg.tanh
    monkeypatch.setattr(tg, "tanh", lambda x: fault(right(x)))
    failure = check(GraphProgram((Input((2,)),), (GraphStep("tanh", (0,)),), (1,)), ["values"])
    assert failure is not None
    assert failure.kind == kind


def test_changed_inputs_are_found(monkeypatch):
    right = tg.tanh

    def careless(x):
        y = right(x)
        if not x.is_symbolic:
            x.data[...] *= 1.5
        return y

    monkeypatch.setattr(tg, "tanh", careless)
    failure = check(GraphProgram((Input((2,)),), (GraphStep("tanh", (0,)),), (1,)), ["values", "inputs unchanged"])
    assert failure is not None
    assert failure.stage == "inputs unchanged"


def test_warnings_are_failures(monkeypatch):
    import warnings

    right = tg.tanh
    monkeypatch.setattr(tg, "tanh", lambda x: (warnings.warn("careful", stacklevel=1), right(x))[1])
    failure = check(SMALL, ["values"])
    assert failure is not None
    assert failure.kind == "UserWarning"


# What is drawn --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_programs_go_where_faults_lived(seed):
    found = Counter(name for k in range(300) for name in features_of(program_number(seed, k)))
    least = {
        "intermediate result": 100, "part of a join": 25, "result and a view of it": 40, "view that comes out": 50,
        "slices of one value": 30, "stack of one": 10, "last state": 30, "float32": 120, "loop of 1": 12,
        "loop of 2": 15, "loop of 3": 12, "loop of 9": 3,
    }  # fmt: skip
    assert {name: found[name] for name in least if found[name] < least[name]} == {}


def test_stages_run_on_their_share_of_all_kinds_of_programs():
    """Also on recurrent models, which are every eighth program."""
    for stage in STAGES.values():
        numbers = [k for k in range(200 * stage.share) if stage.due(k)]
        assert 120 < len(numbers) < 280 or stage.share == 1
        assert any(k % 8 == 7 for k in numbers)


def test_stages_can_be_chosen():
    report = fuzz(count=4, only=["gradient", "threads"])
    assert set(report.tally.stages) == {"gradient", "gradient recorded", "threads", "threads: program"}
    with pytest.raises(ValueError, match="signatures"):
        fuzz(count=1, only=["nothing of that name"])


def test_processes_share_the_work():
    options = {"count": 5, "seed": 4, "peers": False, "only": ["values"]}
    alone, together = fuzz(**options), fuzzer.in_processes(2, **options)
    assert together.findings == []
    assert together.tally.programs == alone.tally.programs == 5
    assert together.tally.features == alone.tally.features


# Shrinking ------------------------------------------------------------------------------------------------------------


def test_programs_of_what_is_needed():
    steps = [GraphStep("tanh", (1,)), GraphStep("sin", (0,)), GraphStep("cos", (2,))]
    program = rebuilt([Input((1,)), Input((2,)), *steps], [4])
    assert program == GraphProgram((Input((2,)),), (GraphStep("tanh", (0,)), GraphStep("cos", (1,))), (2,))


def needed(program):
    """Without steps that no output takes."""
    return rebuilt([*program.inputs, *program.steps], program.outputs)


def contains(*names):
    return lambda program: set(names) <= {s.op for s in program.steps}


@pytest.mark.parametrize("names", [("matmul",), ("loop",), ("loop", "tanh"), ("checkpoint",), ("stack", "multiply")])
def test_programs_become_small(names):
    fails = contains(*names)
    program = next(p for k in range(10**4) if fails(p := needed(program_number(3, k))) and len(p.steps) > 2)
    small = shrunk(program, StageFailure("", "", ""), fails=fails, seconds=600)
    assert fails(small)
    assert len(list(small.walk())) <= len(names)
    assert sum(int(np.prod(x.shape)) for x in small.inputs) <= 8


def test_a_loop_in_which_a_state_matters_keeps_it():
    """A program that no longer runs is never taken."""
    program = program_number(0, 7)
    small = shrunk(program, StageFailure("", "", ""), fails=contains("loop"), seconds=600)
    assert Case(small).usable()


# Files, and the command line ------------------------------------------------------------------------------------------


def test_saved_programs_are_replayed(wrong_tanh, tmp_path, capsys):
    fuzz(count=60, peers=False, save=tmp_path, most=1, shrink_seconds=600)
    (path,) = tmp_path.glob("*.json")
    failure = replay(path)
    assert failure is not None
    assert failure.stage == json.loads(path.read_text())["stage"]
    assert replay(path, original=True) is not None
    assert main(["--replay", str(path)]) == 1
    assert "off by" in capsys.readouterr().out


def test_programs_alone_are_replayed(tmp_path, capsys):
    path = tmp_path / "program.json"
    path.write_text(SMALL.to_json())
    assert main(["--replay", str(path)]) == 0
    assert "passes" in capsys.readouterr().out


def test_the_table(capsys):
    assert main(["--count", "20", "--no-peers", "--seed", "5"]) == 0
    out = capsys.readouterr().out
    assert "20 programs of" in out
    assert "pairs of operations" in out
    assert "0 mismatches" in out
    assert all(any(line.startswith(f"{op} ") for line in out.splitlines()) for op in ("tanh", "matmul", "loop"))


def test_mismatches_are_the_exit_status(wrong_tanh, monkeypatch):
    monkeypatch.setattr(fuzzer, "shrunk", lambda program, failure, seconds: program)
    assert main(["--count", "60", "--no-peers", "--most", "1"]) == 1


def test_minutes_are_kept(monkeypatch):
    seconds = count()  # one passes between any two looks at the clock
    monkeypatch.setattr(fuzzer.time, "monotonic", lambda: next(seconds))
    assert fuzz(minutes=0.05, peers=False).tally.programs == 3


def test_ctrl_c_prints_the_table():
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from tinygrad_rnn.testing.fuzz import main; print('ready', flush=True); sys.exit(main(['--no-peers']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "0 mismatches" in out


def test_pairs_inside_of_blocks_are_counted():
    inner = (GraphStep("sin", (0,)), GraphStep("cos", (1,)))
    program = GraphProgram((Input(()),), (GraphStep("tanh", (0,)), GraphStep("checkpoint", (1,), body=inner)), (2,))
    assert pairs_of(program) == [("input", "tanh"), ("tanh", "checkpoint"), ("input", "sin"), ("sin", "cos")]


def test_hypothesis_is_not_needed_by_programs():
    """The fuzzer's own modules leave Hypothesis to the strategies."""
    from pathlib import Path

    modules = [*Path(fuzzer.__file__).parent.glob("*.py")]
    assert len(modules) > 10
    for path in modules:
        assert "import hypothesis" not in (text := path.read_text(encoding="utf-8"))
        assert "from hypothesis" not in text


@pytest.mark.parametrize("seed", range(6))
def test_turns_of_a_loop_give_what_it_gives(seed):
    from tinygrad_rnn.testing.fuzz.draw import NumpyChoices
    from tinygrad_rnn.testing.fuzz.models import draw_model
    from tinygrad_rnn.testing.fuzz.shrink import _opened, _turns

    program = draw_model(NumpyChoices(np.random.default_rng(seed)))
    nodes = [*program.inputs, *program.steps]
    k = next(k for k, s in enumerate(nodes) if isinstance(s, GraphStep) and s.op == "loop")
    unrolled = _opened(program, nodes, k, *_turns(nodes[k], k))
    names = dict(zip([id(x) for x in program.inputs], program.arrays()))
    arrays = [next(names[id(y)] for y in program.inputs if y is x) for x in unrolled.inputs]
    for a, b in zip(unrolled(*map(tg.tensor, arrays)), program(*map(tg.tensor, program.arrays())), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_finding_goes_from_one_process_to_another():
    """Also once its program has been called."""
    program = program_number(1, 2)
    program(*map(tg.tensor, program.arrays()))
    finding = Finding(2, program, program, StageFailure("values", "value", "array 0 differs"), "code")
    again = pickle.loads(pickle.dumps(finding))
    assert (again.number, again.program, again.original) == (2, program, program)
    assert str(again.failure) == "values: array 0 differs"
