"""What a compiled training step says of itself."""

import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg

X = np.ones((4, 3))


def step_of(model):
    optimizer = tg.optim.SGD(model, lr=0.1)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    return tg.compile(step)


def test_a_float32_model_that_is_trained_in_float64():
    step = step_of(tg.nn.Linear(3, 2))
    with pytest.warns(RuntimeWarning, match=r"step: data of float64 meet(.|\n)*astype\(np.float32\)") as told:
        step(X)
    assert [w.filename for w in told] == [__file__]
    step(X[:2])  # it says so once


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_that_is_trained_in_its_own_dtype(dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step_of(tg.nn.Linear(3, 2, dtype=dtype))(X.astype(dtype))


def test_a_parameter_that_is_made_wide_by_its_user():
    w = tg.parameter(np.ones(3, np.float32))
    optimizer = tg.optim.SGD([w], lr=0.1)

    def step(x):
        (w.astype(np.float64) * x).sum().backward()
        optimizer.step()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tg.compile(step)(X.astype(np.float32))


def test_fit_says_so():
    model = tg.nn.Linear(3, 2)
    optimizer = tg.optim.SGD(model, lr=0.1)
    with pytest.warns(RuntimeWarning, match="fit: data of float64 meet"):
        tg.train.fit(model, [{"x": X}], optimizer=optimizer, loss=lambda m, x: m(x).sum(), progress=False)
