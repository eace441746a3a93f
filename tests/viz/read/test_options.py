"""Options that make no sense are refused."""

from __future__ import annotations

import pytest
from tinygrad_rnn.viz.read.options import Options


def test_what_cannot_be_shown():
    with pytest.raises(ValueError, match=r"cannot show 'colour'[\s\S]*shape, dtype"):
        Options(show=frozenset({"colour"}))


def test_direction():
    with pytest.raises(ValueError, match="no direction 'up'"):
        Options(direction="up")


@pytest.mark.parametrize("steps", [3, (1,), (1, 2, 3)])
def test_steps(steps):
    with pytest.raises(TypeError, match=r"draw: steps[\s\S]*first, last"):
        Options(steps=steps)


def test_max_nodes():
    with pytest.raises(ValueError, match=r"max_nodes[\s\S]*at least 1"):
        Options(max_nodes=0)
