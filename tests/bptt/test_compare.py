"""The long-term dependency toy, and remedies side by side."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg


def test_the_toy_is_that_of_the_notes():
    xs, target = tg.bptt.LongTermDependency(3).batch(200, generator=0)
    seen = {(*map(int, x[:, 0]), int(y)) for x, y in zip(xs, target, strict=True)}
    assert len(seen) == 8
    assert {(1, 0, 1, 1), (0, 0, 1, 0), (0, 0, 0, 0), (1, 1, 1, 1)} <= seen
    xs, target = tg.bptt.LongTermDependency().batch(5, generator=0)
    assert (xs.shape, xs.dtype, target.shape) == ((5, 100, 1), np.float32, (5,))
    with pytest.raises(ValueError, match="length must be an integer of at least 2; got 1"):
        tg.bptt.LongTermDependency(1)


def test_remedies_are_what_they_are_called():
    cells = tg.bptt.remedies(2, 4, length=50, generator=1)
    np.testing.assert_array_equal(cells["relu"].W_h, np.eye(4))
    W_h = cells["orthogonal"].W_h.numpy()
    np.testing.assert_allclose(W_h @ W_h.T, np.eye(4), atol=1e-6)
    assert (cells["leaky"].leak, cells["skip"].skip) == (0.02, 5)
    kept = tg.sigmoid(cells["lstm"].gates["f"].b), 1 - tg.sigmoid(cells["gru"].gates["z"].b)
    np.testing.assert_allclose(kept, 50 / 51, rtol=1e-6)


@pytest.mark.parametrize("length", [2, 50, 100])
def test_the_biases_of_gates_are_those_of_chrono_initialisation(length):
    """What the forget gate does not keep, 1 / (T + 1), the input gate writes (Tallec and Ollivier, 2018)."""
    cells = tg.bptt.remedies(2, 4, length=length, generator=1)
    biases = {gate: cells["lstm"].gates[gate].b.numpy() for gate in "ifgo"}
    np.testing.assert_allclose(biases["f"], np.log(length), rtol=1e-6)
    np.testing.assert_allclose(biases["i"], -np.log(length), rtol=1e-6)
    assert not biases["g"].any()
    np.testing.assert_array_equal(biases["o"], 2)
    written, kept = (tg.sigmoid(cells["lstm"].gates[gate].b).numpy() for gate in "if")
    np.testing.assert_allclose(written + kept, 1, rtol=1e-6)
    np.testing.assert_allclose(cells["gru"].gates["z"].b.numpy(), -np.log(length), rtol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru", "skip", "orthogonal"])
def test_the_remedies_learn_over_a_hundred_steps(name):
    cells = {name: tg.bptt.remedies()[name]}
    found = tg.bptt.compare(cells, updates=1500, progress=False, show=None)
    assert found.remedies[name].learned_at is not None
    assert found.remedies[name].accuracy > 0.98


@pytest.fixture(scope="module")
def found():
    cells = tg.bptt.remedies(hidden=16, length=40)
    chosen = {name: cells[name] for name in ("rnn", "orthogonal")}
    before = {name: cell.W_h.numpy().copy() for name, cell in chosen.items()}
    shown = []
    result = tg.bptt.compare(
        chosen, tg.bptt.LongTermDependency(40), updates=300, lr={"rnn": 0.003, "orthogonal": 0.005}, progress=False,
        show=shown.append,
    )  # fmt: skip
    assert all((cell.W_h.numpy() == before[name]).all() for name, cell in chosen.items()), "models are copied"
    assert shown == [str(result)]
    return result


def test_gradients_that_vanish_do_not_learn_and_those_that_last_do(found):
    rnn, orthogonal = found.remedies.values()
    assert rnn.learned_at is None
    assert rnn.accuracy < 0.7
    assert orthogonal.learned_at <= 300
    assert orthogonal.accuracy > 0.99
    assert rnn.rate < 0.8 < orthogonal.rate
    assert rnn.before[0] == orthogonal.before[0] == 1
    assert rnn.before[39] < 1e-6 < orthogonal.before[39]
    assert not np.array_equal(orthogonal.before, orthogonal.after)


def test_the_table(found):
    head, *lines = str(found).splitlines()
    assert head.split()[:4] == ["d=3", "d=19", "d=39", "accuracy"]
    assert [line.split()[0] for line in lines] == ["rnn", "orthogonal"]
    assert "never  vanishes by a factor of" in lines[0]
    assert f"at {found.remedies['orthogonal'].learned_at}" in lines[1]


def test_the_plot(found):
    ax = found.plot()
    assert len(ax.lines) == 4
    np.testing.assert_array_equal(ax.lines[2].get_ydata(), found.remedies["orthogonal"].before)
    assert ax.get_legend().get_texts()[0].get_text() == "rnn: does not learn"
    ax.figure.canvas.draw()
    assert found.plot(ax) is ax


def test_layers_lists_and_silence(capsys):
    models = [tg.nn.GRUCell(1, 4, generator=0), tg.nn.LSTM(1, 4, 2, generator=0), tg.nn.GRUCell(1, 4, generator=1)]
    result = tg.bptt.compare(models, tg.bptt.LongTermDependency(4), updates=2, clip=None, progress=False, show=None)
    assert list(result.remedies) == ["gru", "lstm", "gru_2"]
    assert all(r.before.shape == r.after.shape == (4,) for r in result.remedies.values())
    tg.bptt.compare(models[:1], tg.bptt.LongTermDependency(3), updates=0, progress=False)
    assert capsys.readouterr().out.splitlines()[1].startswith("gru ")


def test_errors():
    with pytest.raises(ValueError, match="there are no models"):
        tg.bptt.compare([])
    with pytest.raises(ValueError, match=r"(?s)a learning rate for each of rnn.*rates for lstm"):
        tg.bptt.compare([tg.nn.RNNCell(1, 2)], lr={"lstm": 0.1})
    with pytest.raises(ValueError, match="batch >= 1; got 10 and 0"):
        tg.bptt.compare([tg.nn.RNNCell(1, 2)], updates=10, batch=0)
