"""Train a character-level language model on Shakespeare, sample from it, and draw its unrolled graph.

    python examples/char_rnn.py                  two minutes on one core
    python examples/char_rnn.py --resume         go on from where the last run was interrupted (Ctrl-C saves)
    python examples/char_rnn.py --text FILE      any other text
    python examples/char_rnn.py --quick          a part of the text, to see that everything works
    python examples/char_rnn.py --eager          without compiling anything, for comparison

The text is cut into parallel streams, read window by window; the hidden state is carried from one window to the next
and detached in between (truncated backpropagation through time). The last tenth of the text is held out.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from common import DATA, existing, options, parsed, report

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, viz
from tinygrad_rnn.data import Vocabulary, Windows, split


def entropies(tokens: np.ndarray) -> tuple[float, float]:
    """Bits per character of a text given nothing, and given the character before."""
    single = _entropy(Counter(tokens.tolist()))
    pairs = _entropy(Counter(zip(tokens[:-1].tolist(), tokens[1:].tolist())))
    return single, pairs - single


def _entropy(counts: Counter) -> float:
    p = np.array(list(counts.values())) / counts.total()
    return float(-(p * np.log2(p)).sum())


def sample(
    model: nn.LanguageModel,
    letters: Vocabulary,
    start: str,
    count: int,
    temperature: float,
    generator: np.random.Generator,
) -> str:
    """Continue `start` by drawing one character after another."""

    @tg.compile
    def following(tokens, state):
        logits, state = model(tokens, state)
        return tg.softmax(logits[0, -1].astype(np.float64) / temperature), state

    known = [c for c in start if c in letters] or [letters.symbols[0]]
    tokens, state, written = letters.encode(known)[None], model.initial_state(1), known
    with tg.no_grad():
        for _ in range(count):
            p, state = following(tokens, state)
            tokens = generator.choice(len(letters), (1, 1), p=p.numpy())
            written += letters.decode(tokens[0])
    return "".join(written)


def draw(model: nn.LanguageModel, tokens: np.ndarray, path: Path) -> Path:
    """The graph of four time steps, from the characters to the loss."""
    loss, _ = model.loss(tg.tensor(tokens[None, :4]).named("tokens"), tg.tensor(tokens[None, 1:5]).named("targets"))
    return viz.draw(loss.named("loss")).save(path)


def main() -> None:
    parser = options(__doc__, "char_rnn")
    parser.add_argument("--text", type=Path, default=DATA / "shakespeare" / "shakespeare.txt", help="a text file")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument("--eager", action="store_true", help="do not compile anything")
    parser.add_argument("--cell", choices=["rnn", "lstm", "gru"], default="gru")
    parser.add_argument("--epochs", type=int, default=6, help="how often to read the text")
    parser.add_argument("--hidden", type=int, default=192, help="hidden units of a layer")
    parser.add_argument("--layers", type=int, default=1, help="recurrent layers")
    parser.add_argument("--batch", type=int, default=32, help="parallel streams")
    parser.add_argument("--steps", type=int, default=50, help="time steps of a window")
    parser.add_argument("--lr", type=float, default=4e-3, help="highest learning rate")
    parser.add_argument("--temperature", type=float, default=0.8, help="of the sample")
    args = parsed(parser)
    text = existing(args.text, "text").read_text(encoding="utf-8")
    text, epochs = (text[:100_000], 4) if args.quick else (text, args.epochs)

    letters = Vocabulary(sorted(set(text)))
    tokens = letters.encode(text)
    train, held_out = split(tokens, (0.9, 0.1))
    try:
        windows = Windows(train, batch_size=args.batch, steps=args.steps)
        held_out_windows = Windows(held_out, batch_size=16, steps=args.steps)
    except tg.errors.ShapeError as error:
        raise SystemExit(str(error)) from None
    generator = np.random.default_rng(args.seed)
    model = nn.LanguageModel(
        len(letters), 64, args.hidden, cell=args.cell, num_layers=args.layers, generator=generator
    )
    updates = epochs * len(windows)
    optimizer = optim.Adam(model, optim.warmup(optim.cosine(args.lr, updates, args.lr / 20), 20))

    unigram, bigram = entropies(tokens)
    print(f"text: {len(tokens):,} characters, {len(letters)} of them different")
    print(f"model: {model.parameter_count:,} parameters, {args.hidden} hidden units")
    try:
        history = tg.fit(
            model, windows, epochs=epochs, optimizer=optimizer, clip=1.0, validation=held_out_windows, metrics=["bits"],
            checkpoint=args.out, resume=args.resume, compile=not args.eager,
        )  # fmt: skip
    except (KeyError, ValueError) as error:
        raise SystemExit(f"the checkpoint in {args.out} does not fit: {error}") from None
    speed = updates * args.batch * args.steps / history.seconds
    report(
        trained=f"{updates} updates in {history.seconds:.1f} s: {speed:,.0f} characters per second",
        baseline=f"{bigram:.3f} bits per character given the one before, {unigram:.3f} given nothing",
        result=f"{history.evaluations[-1]['bits']:.3f} bits per character of held-out text",
    )
    print("sample:", sample(model, letters, "\n", 300, args.temperature, generator).strip(), sep="\n")
    history.plot(args.out / "history.svg")
    print(f"written to {args.out}: the model, history.svg, {draw(model, tokens, args.out / 'unrolled.svg').name}")


if __name__ == "__main__":
    main()
