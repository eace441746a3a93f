"""All frameworks train the same model, the floors count what they say, and the benchmark can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import against, by_hand, floors, turns
from tests.benchmarks.figures import Figure
from tests.benchmarks.measure import PEERS, measure, movements
from tests.benchmarks.workloads import WORKLOADS, Workload

SMALL: dict[str, Any] = {"batch": 3, "steps": 6, "inputs": 4, "hidden": 5, "symbols": 7, "rate": 1.0, "counted": 5}
RATES = floors.Rates(flops=1e11, bytes=1e11)


def small(name: str) -> Workload:
    w = replace(WORKLOADS[name], **SMALL)
    return replace(w, inputs=w.symbols) if w.entry == "one-hot" else w


def fake(name: str, **milliseconds: float) -> turns.Results:
    """Results as they would come of frameworks with these times."""
    moved = dict.fromkeys(WORKLOADS[name].shapes(), 1.0)
    run = {"share": 1.0, "first": 0.1, "peak": 200.0, "above": 50.0, "loss": 4.0, "moved": moved}
    return turns.Results(WORKLOADS[name], {peer: [{"ms": ms, **run}] for peer, ms in milliseconds.items()}, RATES)


# The same model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name != "lstm_l"])  # the same model as lstm_s
@pytest.mark.parametrize("peer", [name for name in PEERS if name != "numpy"])
def test_losses_and_parameters_are_those_of_backpropagation_by_hand(peer, name):
    pytest.importorskip(PEERS[peer].needs)
    w = small(name)
    if w.cell in PEERS[peer].lacks:
        pytest.skip(f"{peer} has no {w.cell} cell")
    one, other = by_hand.train(w), PEERS[peer].training(w)
    for _ in range(w.counted):
        assert other.step() == pytest.approx(one.step(), rel=1e-5)
    expected, found = one.parameters(), other.parameters()
    assert expected.keys() == found.keys()
    for k, value in expected.items():
        np.testing.assert_allclose(found[k], value, rtol=1e-4, atol=1e-5, err_msg=k)


def test_training_lowers_the_loss_and_moves_every_parameter():
    for name in WORKLOADS:
        training = by_hand.train(small(name))
        losses = [training.step() for _ in range(20)]
        assert losses[-1] < losses[0]
        assert min(movements(small(name), training.parameters()).values()) > 1e-3


def test_a_gradient_in_the_wrong_place_moves_a_parameter_elsewhere():
    w = small("lstm_s")
    now = w.parameters()
    now["b"] = now["b"] + np.arange(now["b"].size, dtype=np.float32)
    mirrored = {**now, "b": w.parameters()["b"] + np.arange(now["b"].size, dtype=np.float32)[::-1]}
    one, other = movements(w, now)["b"], movements(w, mirrored)["b"]
    assert abs(one - other) > 10 * turns.MOVEMENTS_APART * one


def test_a_measurement_holds_what_the_tables_show():
    w = small("long")
    result = measure(PEERS["numpy"], w, 0.0)
    training = by_hand.train(w)
    assert result["loss"] == [training.step() for _ in range(w.counted)][-1]
    assert result["moved"] == movements(w, training.parameters())
    assert result["ms"] > 0
    assert result["first"] > 0
    assert 0 <= result["above"] < result["peak"]


# Floors ---------------------------------------------------------------------------------------------------------------


def test_products_of_a_token_lstm():
    found = {p.what: p.flops for p in floors.products(WORKLOADS["lstm_s"])}
    recurrent, table, output = 2 * 64 * 32 * 128 * 512, 2 * 65 * 128 * 512, 2 * 64 * 32 * 128 * 65
    assert found == {
        "recurrent: forward": recurrent,
        "recurrent: back to h": recurrent,
        "recurrent: weights": recurrent,
        "input: forward": table,
        "input: weights": table,
        "input: back to E": table,
        "output: forward": output,
        "output: back to h": output,
        "output: weights": output,
    }


def test_dense_inputs_need_two_products_and_one_hot_inputs_none():
    dense = [p for p in floors.products(WORKLOADS["lstm_d"]) if p.what.startswith("input")]
    assert [p.flops for p in dense] == [2 * 64 * 32 * 128 * 512] * 2
    assert not [p for p in floors.products(WORKLOADS["charrnn"]) if p.what.startswith("input")]


def test_a_short_batch_has_fewer_rows_than_symbols():
    short = replace(WORKLOADS["lstm_s"], steps=2, batch=3)
    assert next(p.m for p in floors.products(short) if p.what == "input: forward") == 6


def test_the_floor_takes_the_slower_of_flops_and_bytes():
    w = WORKLOADS["charrnn"]
    matvec = floors.products(w)[0]
    assert (matvec.flops, matvec.bytes) == (25 * 2 * 100 * 100, 25 * 4 * (100 + 100 * 100 + 100))
    by_flops = floors.floor_seconds(w, floors.Rates(flops=1e11, bytes=1e30))
    assert by_flops == pytest.approx(floors.flops(w) / 1e11)
    by_bytes = floors.floor_seconds(w, floors.Rates(flops=1e30, bytes=1e11))
    assert by_bytes == pytest.approx(floors.moved_bytes(w) / 1e11)


def test_the_counts_are_those_of_the_readme():
    readme = (Path(__file__).parent / "README.md").read_text()
    for w in WORKLOADS.values():
        assert f"| {w.name} | {floors.flops(w) / 1e6:,.1f} | {floors.moved_bytes(w) / 1e6:,.1f} |" in readme


# The harness ----------------------------------------------------------------------------------------------------------


def test_a_figure_is_met_or_not():
    assert Figure("fast", 1.0, 2.0).met
    assert not Figure("slow", 3.0, 2.0).met
    assert Figure("ratio", 3.0, 2.0, at_least=True).met
    assert not Figure("ratio", 1.0, 2.0, at_least=True).met
    assert not Figure("unknown", float("nan"), 2.0).met
    assert str(Figure("slow", 3.0, 2.0, "s")) == "slow: 3 s, at most 2: NOT MET"


def test_ours_is_held_to_the_best_peer():
    ratio = turns.figures(fake("lstm_s", ours=10.0, eager=1.0, torch_nn=16.0, jax=20.0))[-1]
    assert (ratio.what, ratio.value, ratio.met) == ("lstm_s: torch_nn over ours", 1.6, True)
    assert not turns.figures(fake("gru_s", ours=10.0, jax=16.0))[-1].met


@pytest.mark.parametrize("key", ["loss", "moved"])
def test_frameworks_that_disagree_are_noticed(key):
    results = fake("lstm_s", ours=10.0, jax=20.0)
    assert all(figure.met for figure in turns.figures(results))
    wrong = results.runs["jax"][0]
    wrong[key] = 4.001 if key == "loss" else {**wrong["moved"], "W_h": 1.01}
    assert [figure.met for figure in turns.figures(results)].count(False) == 1


def test_a_missed_figure_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "options", lambda: None)
    monkeypatch.setattr(benchmarks, "run", lambda args: [Figure("fast", 1.0, 2.0), Figure("slow", 3.0, 2.0)])
    with pytest.raises(SystemExit, match=r"not met: slow$"):
        benchmarks.main()
    assert "fast: 1, at most 2: met" in capsys.readouterr().out


def test_tables_fit_the_line():
    results = [fake("lstm_l", ours=612.3456, torch_loop=1234.5678, jax=1300.0), fake("charrnn", numpy=0.2)]
    text = "\n".join([*map(turns.table, results), turns.summary(results)])
    assert max(map(len, text.splitlines())) <= 120
    assert "torch_loop  1234.57" in text


def test_a_shared_core_is_reported():
    results = fake("lstm_s", jax=20.0)
    assert "other programs" not in turns.table(results)
    results.runs["jax"][0]["share"] = 0.6
    assert "took up to 40% of the core" in turns.table(results)


def test_options(capsys):
    args = benchmarks.options(["--only", "long,eager", "--peers", "ours,jax", "--quick"])
    assert (args.only, args.peers, args.rounds) == (["long", "eager"], ["ours", "jax"], 1)
    with pytest.raises(SystemExit):
        benchmarks.options(["--only", "short"])
    assert "unknown: short; there are charrnn" in capsys.readouterr().err


@pytest.mark.parametrize(("before", "after", "met"), [(1.0, 1.02, True), (1.0, 0.5, True), (1.0, 1.05, False)])
def test_a_commit_that_is_slower_is_noticed(monkeypatch, capsys, before, after, met):
    """Both take turns, in either order, and the figure is the ratio of their times."""
    turns_taken = []

    class Told:
        def __init__(self, package, workload):
            self.ours = package == against.ROOT

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def turn(self, seconds):
            turns_taken.append(self.ours)
            return after if self.ours else before

    monkeypatch.setattr(against, "Worker", Told)
    monkeypatch.setattr(against, "unpacked", lambda commit, folder: folder)
    (figure,) = against.compare("abc", ["long"], 1, 2.0)
    assert (figure.value, figure.met) == (before / after, met)
    assert turns_taken[2:6] == [True, False, False, True]
    assert "Beside abc" in capsys.readouterr().out
