"""A compiled step names the parameters that its optimisers hold and its loss does not reach, when it is recorded."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg

X = np.ones((2, 3), np.float32)


class Forgetful(tg.nn.Module):
    """Uses one of two layers, and the second one where the batch is of two."""

    def __init__(self) -> None:
        self.used, self.sometimes = tg.nn.Linear(3, 1, generator=0), tg.nn.Linear(3, 1, generator=1)
        self.unused = tg.nn.Linear(3, 1, generator=2)

    def forward(self, x):
        y = self.used(x)
        return (y + self.sometimes(x) if x.shape[0] == 2 else y).mean()


def step_of(model, optimizer, compiled=True):
    def step(x):
        loss = model(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return tg.compile(step) if compiled else step


def test_they_are_named_when_it_is_recorded_and_once():
    model = Forgetful()
    step = step_of(model, tg.optim.Adam(model))
    with pytest.warns(
        RuntimeWarning, match=r"compile, step_of.*step: the loss does not reach 'unused\.W', 'unused\.b', "
    ) as shown:
        step(X)
    assert len(shown) == 1
    assert shown[0].filename == __file__
    step(X)
    step(X[:1])
    assert len(step.programs) == 2


def test_one_that_another_program_trains_is_named_only_before_it_is_known():
    model = Forgetful()
    step = step_of(model, tg.optim.SGD(model, 0.1))
    with pytest.warns(RuntimeWarning, match=r"reach 'sometimes\.W', 'sometimes\.b', 'unused\.W', 'unused\.b', which"):
        step(X[:1])
    step(X)


def test_a_program_that_is_not_run_names_them_too():
    model = Forgetful()
    with pytest.warns(RuntimeWarning, match="'unused"):
        step_of(model, tg.optim.SGD(model, 0.1)).program(X)


def test_frozen_ones_and_those_that_no_optimiser_holds_are_not_named():
    model = Forgetful()
    step_of(model, tg.optim.SGD([*model.used.parameters(), *model.sometimes.parameters()], 0.1))(X)
    optimizer = tg.optim.SGD(model, 0.1)
    for p in model.unused.parameters():
        p.requires_grad = False
    step_of(model, optimizer)(X)


def test_a_loop_written_by_hand_and_a_function_that_takes_no_step_are_silent():
    model = Forgetful()
    step_of(model, tg.optim.SGD(model, 0.1), compiled=False)(X)
    tg.compile(model)(X)


def test_what_one_of_several_steps_or_optimisers_in_the_function_changes_is_reached():
    model = Forgetful()
    whole, rest = tg.optim.SGD([*model.used.parameters(), *model.sometimes.parameters()], 0.1), tg.optim.Adam(model)

    @tg.compile
    def step(x):
        for layer in (model.used, model.sometimes):
            for optimizer in (whole, rest):
                model.zero_grad()
                layer(x).mean().backward()
                optimizer.step()
        model.zero_grad()
        model.unused(x).mean().backward()
        rest.step()

    step(X)


def test_gradients_from_before_count():
    model = Forgetful()
    optimizer = tg.optim.SGD(model, 0.1)
    model.unused(X).mean().backward()

    @tg.compile
    def step(x):
        model(x).backward()
        optimizer.step()

    step(X)
