"""Programs as JSON: what is loaded does what was saved."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tinygrad_rnn as tg


def model(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"E": (9, 4), "W": (4, 5), "U": (5, 5), "b": (5,), "V": (5, 3)}
    tensors = {name: tg.parameter(rng.normal(size=s), name=name) for name, s in shapes.items()}
    optimizer = tg.optim.Adam(list(tensors.values()), lr=0.05)

    def step(tokens, targets):
        optimizer.zero_grad()
        h, outputs = tg.zeros((2, 5), np.float64), []
        for t in tg.steps(4):
            h = tg.tanh(tensors["E"][tokens[t]] @ tensors["W"] + h @ tensors["U"] + tensors["b"])
            outputs.append(h[:, ::1])
        loss = tg.cross_entropy(tg.stack(outputs) @ tensors["V"], targets)
        loss.backward()
        tg.optim.clip_grad_norm(list(tensors.values()), 0.5)
        optimizer.step()
        return loss

    return tensors, optimizer, step


TOKENS = np.random.default_rng(1).integers(0, 9, (4, 2))
TARGETS = np.random.default_rng(2).integers(0, 3, (4, 2))


def test_a_training_step_goes_on_as_if_it_had_not_been_saved():
    tensors, _, step = model()
    compiled = tg.compile(step)
    text = compiled.program(TOKENS, TARGETS).to_json()
    losses = [compiled(TOKENS, TARGETS).item() for _ in range(4)]
    others, optimizer, _ = model()
    again = tg.Program.from_json(text, others, [optimizer])
    assert [again.run([TOKENS, TARGETS])[0].item() for _ in range(4)] == losses
    for name in tensors:
        np.testing.assert_array_equal(tensors[name].numpy(), others[name].numpy())
    assert optimizer.step_count == 4


def test_memory_may_be_chosen_when_loading():
    _, _, step = model()
    text = tg.compile(step).program(TOKENS, TARGETS).to_json()
    results = []
    for memory in (None, "sqrt"):
        tensors, optimizer, _ = model()
        program = tg.Program.from_json(text, tensors, [optimizer], memory=memory)
        results.append([program.run([TOKENS, TARGETS])[0].item() for _ in range(3)])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-12)


def test_random_numbers_need_a_generator():
    rng = np.random.default_rng(0)
    text = tg.compile(lambda x: tg.dropout(x, 0.5, generator=rng)).program(np.ones(8)).to_json()
    with pytest.raises(KeyError, match="generator"):
        tg.Program.from_json(text)
    program = tg.Program.from_json(text, generator=np.random.default_rng(3))
    expected = tg.dropout(tg.tensor(np.ones(8)), 0.5, generator=np.random.default_rng(3))
    np.testing.assert_array_equal(program.run([np.ones(8)])[0], expected.numpy())


def test_values_that_json_lacks():
    added = np.array([np.nan, 0.0, -np.inf, 1.0])
    text = tg.compile(lambda x: tg.pad(x, 1, np.inf) + added).program(np.ones(2)).to_json()
    json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    result = tg.Program.from_json(text).run([np.ones(2)])[0]
    np.testing.assert_array_equal(result, [np.nan, 1.0, -np.inf, np.inf])


def test_what_does_not_fit_is_refused():
    w = tg.parameter([1.0, 2.0], name="w")
    text = tg.compile(lambda x: w * x).program(np.ones(2, np.float32)).to_json()
    with pytest.raises(KeyError, match="'w'"):
        tg.Program.from_json(text)
    with pytest.raises(ValueError, match="should be"):
        tg.Program.from_json(text, {"w": tg.parameter([1.0, 2.0, 3.0])})
    with pytest.raises(ValueError, match="version"):
        tg.Program.from_json("[]")
    with pytest.raises(KeyError, match="evil"):
        tg.Program.from_json(text.replace('"multiply"', '"evil"'), {"w": w})


def test_tensors_without_names_of_their_own_are_refused():
    unnamed = tg.parameter([1.0])
    with pytest.raises(ValueError, match="names of their own"):
        tg.compile(lambda x: unnamed * x).program(np.ones(1)).to_json()
    pair = [tg.parameter([1.0], name="w") for _ in range(2)]
    with pytest.raises(ValueError, match="names of their own"):
        tg.compile(lambda x: pair[0] * x + pair[1]).program(np.ones(1)).to_json()


class Model(tg.nn.Module):
    """Two parameters of one name."""

    def __init__(self):
        self.cell = tg.nn.RNNCell(2, 3, generator=0)
        self.readout = tg.nn.Linear(3, 1, generator=1)

    def forward(self, x):
        return self.readout(self.cell(x, self.cell.initial_state(len(x)))[0])


def test_tensors_of_a_module_are_named_by_their_paths():
    model, other = Model(), Model()
    other.load_state_dict({name: 2 * value for name, value in model.state_dict().items()})
    x = np.ones((4, 2), np.float32)
    text = tg.compile(model).program(x).to_json(model)
    for given in (model, other):
        expected = tg.compile(given)(x).numpy()
        np.testing.assert_array_equal(tg.Program.from_json(text, given).run([x])[0], expected)
