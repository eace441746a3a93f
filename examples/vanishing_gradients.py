"""How far gradients reach: a plain recurrent network, looked at closely, and what is done about it.

    python examples/vanishing_gradients.py

prints where the gradient of a weight comes from, how it fades, and which cells learn to remember the first of 100 bits;
the plots go to examples/out/vanishing_gradients. It takes about 15 seconds.

    python examples/vanishing_gradients.py --seeds 10

tries each cell with ten seeds, and says with how many of them it learns: of 10 the LSTM with 10, the GRU with 10, skip
connections with 10, orthogonal weights with 9.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import tinygrad_rnn as tg

OUT = Path(__file__).parent / "out" / "vanishing_gradients"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=100, help="bits of each sequence (%(default)s)")
    parser.add_argument("--updates", type=int, default=2000, help="updates of each cell at most (%(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds to try each cell with (%(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="where the plots go")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    cell = tg.nn.RNNCell(1, 16, generator=0)
    xs, _ = tg.bptt.LongTermDependency(8).batch(4, generator=0)
    out = tg.nn.unroll(cell, xs, history=True)
    losses = [(out.outputs[:, t] ** 2).mean() for t in range(8)]
    print("norms of the parts of the gradient of W_h, by when they enter (lines) and by the output (columns):\n")
    print(tg.bptt.contributions(losses, cell.W_h, norms=True))

    flow = tg.bptt.flow(losses[-1])
    print(f"\n{flow}\n")
    print("norm of the Jacobian over one step:", tg.bptt.spectral_norms(out, lag=1).mean().round(2),
          "which is at most", round(tg.bptt.jacobian_bound(cell), 2))  # fmt: skip
    print("largest Lyapunov exponent:", tg.bptt.lyapunov_exponents(out, 1).mean().round(2), end="\n\n")
    flow.heatmap().figure.savefig(options.out / "flow.svg")

    task = tg.bptt.LongTermDependency(options.length)
    found = tg.bptt.compare(tg.bptt.remedies(length=options.length), task, updates=options.updates)
    found.plot().figure.savefig(options.out / "remedies.svg")
    if options.seeds > 1:
        print(f"\nof {options.seeds} seeds each learns with", learned(found, task, options))


def learned(first: tg.bptt.Comparison, task: tg.bptt.LongTermDependency, options: argparse.Namespace) -> str:
    """With how many seeds each cell learns; the first seed has been tried."""
    counts = Counter(name for name, r in first.remedies.items() if r.learned_at is not None)
    for seed in range(1, options.seeds):
        cells = tg.bptt.remedies(length=options.length, generator=seed)
        found = tg.bptt.compare(cells, task, updates=options.updates, generator=seed, show=None)
        counts.update(name for name, r in found.remedies.items() if r.learned_at is not None)
    return ", ".join(f"{name} {counts[name]}" for name in first.remedies)


if __name__ == "__main__":
    main()
