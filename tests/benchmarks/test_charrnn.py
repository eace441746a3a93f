"""The eager benchmark measures the same thing in each framework."""

from __future__ import annotations

import importlib.util

import pytest

from tests.benchmarks import charrnn


@pytest.mark.parametrize("peer", [p for p in charrnn.PEERS if p != "numpy"])
def test_losses_are_those_of_backpropagation_by_hand(peer):
    if peer in ("torch", "autograd") and importlib.util.find_spec(peer) is None:
        pytest.skip(f"{peer} is not installed")
    by_hand, step = charrnn.numpy(), charrnn.PEERS[peer]()
    for _ in range(10):
        assert step() == pytest.approx(by_hand(), abs=1e-5)
