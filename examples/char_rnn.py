"""Train a character-level language model on Shakespeare, sample from it, and draw its unrolled graph.

    python examples/char_rnn.py                  half a minute on one core
    python examples/char_rnn.py --resume         go on from where the last run ended
    python examples/char_rnn.py --text FILE      any other text
    python examples/char_rnn.py --quick          a few steps, to see that everything works
    python examples/char_rnn.py --eager          without compiling anything, for comparison

The text is cut into parallel streams, read window by window; the hidden state is carried from one window to the next
and detached in between (truncated backpropagation through time). The last tenth of the text is held out.

The training step is plain Python, recorded once and compiled: forward and backward pass, clipping and the optimiser's
step are one program, which changes the parameters in place. The state goes through it as argument and result.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, viz

HERE = Path(__file__).parent


@dataclass
class Text:
    """A text as integers, cut into a training part and a held-out part."""

    symbols: str
    train: np.ndarray
    held_out: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Text:
        if not path.is_file():
            raise SystemExit(f"there is no text {path}")
        text = path.read_text(encoding="utf-8")
        if len(text) < 1000:
            raise SystemExit(f"{path} holds {len(text)} characters; a language model needs a thousand at the least")
        symbols = "".join(sorted(set(text)))
        number = {c: k for k, c in enumerate(symbols)}
        tokens = np.array([number[c] for c in text])
        cut = len(tokens) * 9 // 10
        return cls(symbols, tokens[:cut], tokens[cut:])

    def entropies(self) -> tuple[float, float]:
        """Bits per character of the whole text given nothing, and given the character before."""
        tokens = np.concatenate([self.train, self.held_out])
        single = _entropy(Counter(tokens.tolist()))
        pairs = _entropy(Counter(zip(tokens[:-1].tolist(), tokens[1:].tolist())))
        return single, pairs - single


def _entropy(counts: Counter) -> float:
    p = np.array(list(counts.values())) / counts.total()
    return float(-(p * np.log2(p)).sum())


class CharModel(nn.Module):
    """Embedding, recurrent layers, and a linear layer to the logits of the next character."""

    def __init__(self, symbols: int, hidden: int, layers: int, generator: np.random.Generator) -> None:
        self.embedding = nn.Embedding(symbols, 64, generator=generator)
        self.rnn = nn.RNN(64, hidden, layers, generator=generator)
        self.output = nn.Linear(hidden, symbols, generator=generator)

    def forward(self, tokens, state=None):
        out = self.rnn(self.embedding(tokens), state)
        return self.output(out.outputs).named("logits"), out.state

    def initial_state(self, batch: int) -> list[tg.Tensor]:
        return self.rnn.initial_state(batch)


def windows(tokens: np.ndarray, batch: int, steps: int) -> np.ndarray:
    """Parallel streams cut into windows, (windows, batch, steps + 1); one's last character is the next one's first."""
    length = (len(tokens) - 1) // batch
    count = length // steps
    if count < 1:
        raise SystemExit(f"the text is too short for {batch} streams of {steps} characters; use a smaller --batch")
    streams = tokens[: batch * length + 1]
    starts = np.arange(batch)[:, None] * length + np.arange(steps + 1)
    return np.stack([streams[starts + k * steps] for k in range(count)])


def halves(window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is read, and what comes next."""
    return window[:, :-1], window[:, 1:]


def loss_of(model: CharModel, tokens, targets, state: list) -> tuple[tg.Tensor, list]:
    logits, state = model(tokens, state)
    return tg.cross_entropy(logits, targets).named("loss"), state


def train_step(model: CharModel, optimizer: optim.Optimizer, tokens, targets, state: list) -> tuple[tg.Tensor, list]:
    loss, state = loss_of(model, tokens, targets, state)
    optimizer.zero_grad()
    loss.backward()
    optim.clip_grad_norm(model, 1.0)
    optimizer.step()
    return loss, [h.detach() for h in state]


def following(model: CharModel, tokens, state: list, temperature: float) -> tuple[tg.Tensor, list]:
    """Probabilities of the next character."""
    logits, state = model(tokens, state)
    return tg.softmax(logits[0, -1].astype(np.float64) / temperature), state


def maybe_compiled(fn: Callable, eager: bool) -> Callable:
    return fn if eager else tg.compile(fn)


def evaluate(model: CharModel, tokens: np.ndarray, batch: int, steps: int, eager: bool = False) -> float:
    """Bits per character on a text, the state carried along."""
    state, losses = model.initial_state(batch), []
    run = maybe_compiled(loss_of, eager)
    with tg.no_grad():
        for window in windows(tokens, batch, steps):
            loss, state = run(model, *halves(window), state)
            losses.append(loss.item())
    return float(np.mean(losses)) / math.log(2)


def sample(
    model: CharModel,
    text: Text,
    start: str,
    count: int,
    temperature: float,
    generator: np.random.Generator,
    eager: bool = False,
) -> str:
    """Continue `start` by drawing one character after another."""
    tokens = [text.symbols.index(c) for c in start if c in text.symbols] or [0]
    state, written = model.initial_state(1), list(tokens)
    run = maybe_compiled(following, eager)
    with tg.no_grad():
        for _ in range(count):
            p, state = run(model, np.array([tokens]), state, temperature)
            tokens = [int(generator.choice(len(text.symbols), p=p.numpy()))]
            written += tokens
    return "".join(text.symbols[k] for k in written)


# Keeping a run, and going on with it ----------------------------------------------------------------------------------


def save_run(path: Path, model: CharModel, optimizer: optim.Optimizer, state: list, notes: dict) -> None:
    arrays = {f"model.{k}": v for k, v in model.state_dict().items()}
    arrays |= {f"optimizer.{k}": v for k, v in optimizer.state_dict().items()}
    arrays |= {f"state.{k}": h for k, h in enumerate(state)}
    tg.save(arrays, path, {"notes": json.dumps(notes)})


def load_run(path: Path, model: CharModel, optimizer: optim.Optimizer, symbols: str) -> tuple[list, dict]:
    if not path.is_file():
        raise SystemExit(f"there is no run to resume: {path} does not exist")
    file = tg.load(path)
    notes = json.loads(file.metadata["notes"])
    if notes["symbols"] != symbols:
        raise SystemExit(f"{path} was trained on a text with other characters")
    model.load_state_dict(file.part("model"))
    optimizer.load_state_dict(file.part("optimizer"))
    return [tg.tensor(h) for _, h in sorted(file.part("state").items(), key=lambda item: int(item[0]))], notes


def draw(model: CharModel, text: Text, path: Path) -> Path:
    """The graph of four time steps, from the characters to the loss."""
    tokens, targets = map(tg.tensor, halves(text.train[:5][None]))
    loss, _ = loss_of(model, tokens.named("tokens"), targets.named("targets"), model.initial_state(1))
    return viz.draw(loss).save(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--text", type=Path, default=HERE / "data" / "shakespeare" / "shakespeare.txt", help="a text file"
    )
    parser.add_argument("--out", type=Path, default=HERE / "out" / "char_rnn", help="folder for model and picture")
    parser.add_argument("--resume", action="store_true", help="go on from the model in the folder")
    parser.add_argument("--quick", action="store_true", help="20 steps only")
    parser.add_argument("--eager", action="store_true", help="do not compile anything")
    parser.add_argument("--updates", type=int, default=4000, help="training steps of this run")
    parser.add_argument("--hidden", type=int, default=256, help="hidden units of a layer")
    parser.add_argument("--layers", type=int, default=1, help="recurrent layers")
    parser.add_argument("--batch", type=int, default=32, help="parallel streams")
    parser.add_argument("--steps", type=int, default=50, help="time steps of a window")
    parser.add_argument("--lr", type=float, default=4e-3, help="highest learning rate")
    parser.add_argument("--temperature", type=float, default=0.8, help="of the sample")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    updates = 20 if args.quick else args.updates
    text = Text.read(args.text)
    generator = np.random.default_rng(args.seed)
    model = CharModel(len(text.symbols), args.hidden, args.layers, generator)
    optimizer = optim.Adam(model, optim.warmup(optim.cosine(args.lr, updates, args.lr / 20), 20))
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "model.safetensors"
    state, position = model.initial_state(args.batch), 0
    if args.resume:
        state, notes = load_run(path, model, optimizer, text.symbols)
        position = notes["position"]
        optimizer.schedule = optim.cosine(args.lr / 4, optimizer.step_count + updates, args.lr / 20)

    unigram, bigram = text.entropies()
    print(f"text: {len(text.train) + len(text.held_out):,} characters, {len(text.symbols)} of them different")
    print(f"model: {model.parameter_count:,} parameters, {args.hidden} hidden units")
    print(f"entropy of the text: {unigram:.2f} bits per character, {bigram:.2f} given the one before")

    batches = windows(text.train, args.batch, args.steps)
    step = maybe_compiled(train_step, args.eager)
    if isinstance(step, tg.Compiled):
        program = step.program(model, optimizer, *halves(batches[0]), state)
        seconds = program.record_seconds + program.plan_seconds
        print(f"training step: recorded and compiled in {seconds:.1f} s, {len(program.instructions)} instructions")

    recent: deque[float] = deque(maxlen=50)
    started, size = time.perf_counter(), args.batch * args.steps
    with tqdm(total=updates * size, desc="training", unit="char", unit_scale=True, dynamic_ncols=True) as bar:
        for _ in range(updates):
            if position % len(batches) == 0:
                state = model.initial_state(args.batch)  # the streams begin anew
            loss, state = step(model, optimizer, *halves(batches[position % len(batches)]), state)
            position += 1
            recent.append(loss.item() / math.log(2))
            bar.set_postfix_str(f"{sum(recent) / len(recent):.3f} bits/char", refresh=False)
            bar.update(size)
    seconds = time.perf_counter() - started
    save_run(path, model, optimizer, state, {"symbols": text.symbols, "position": position, "hidden": args.hidden})

    bits = evaluate(model, text.held_out[:20_000] if args.quick else text.held_out, 16, args.steps, args.eager)
    print(f"trained for {updates} steps in {seconds:.1f} s: {updates * size / seconds:,.0f} characters per second")
    print(f"held-out text: {bits:.3f} bits per character (bigram entropy {bigram:.3f}, unigram {unigram:.3f})")
    written = sample(model, text, "\n", 300, args.temperature, generator, args.eager)
    print("sample:", written.strip(), sep="\n")
    print(f"model: {path}")
    print(f"picture: {draw(model, text, args.out / 'unrolled.svg')}")


if __name__ == "__main__":
    main()
