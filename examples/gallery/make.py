"""Draw every picture of the gallery, and write the pages that show them.

    python examples/gallery/make.py              all of it, here
    python examples/gallery/make.py --out DIR    somewhere else
"""

from __future__ import annotations

import argparse
import shlex
from html import escape
from pathlib import Path

from pictures import SECTIONS, Picture

from tinygrad_rnn.atomic import write_atomically
from tinygrad_rnn.cli import main as command_line

HERE = Path(__file__).parent
TITLE = "Gallery"
ABOUT = (
    "Cells, arrangements and graphs of recurrent networks, drawn from what was recorded when they were computed. Each "
    "picture is made by the command next to it; all of them, and this page, by"
)
MAKE = "python examples/gallery/make.py"

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 2.5rem 0; display: grid; gap: 1rem 2rem; align-items: center; }
@media (min-width: 60rem) { figure { grid-template-columns: minmax(0, 2fr) minmax(0, 1fr); } }
figure img { max-width: 100%; height: auto; border-radius: 6px; }
code { font-size: 0.85em; }
"""


def command(picture: Picture) -> str:
    return f"python -m tinygrad_rnn draw {picture.command} -o {picture.name}.svg"


def draw(picture: Picture, folder: Path) -> None:
    code = command_line(["draw", *shlex.split(picture.command), "-o", str(folder / f"{picture.name}.svg")])
    if code:
        raise SystemExit(code)


def markdown() -> str:
    parts = [f"# {TITLE}", ABOUT, f"    {MAKE}"]
    for section in SECTIONS:
        parts += [f"## {section.title}", section.says]
        for p in section.pictures:
            parts += [f"![{p.name}]({p.name}.svg)", p.says, f"    {command(p)}"]
    return "\n\n".join(parts) + "\n"


def html() -> str:
    parts = [
        "<!DOCTYPE html>", '<html lang="en">', '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">', f"<title>{TITLE}</title>",
        f"<style>{STYLE}</style>", f"<h1>{TITLE}</h1>", f"<p>{ABOUT} <code>{MAKE}</code>.</p>",
    ]  # fmt: skip
    for section in SECTIONS:
        parts += [f"<h2>{escape(section.title)}</h2>", f"<p>{escape(section.says)}</p>"]
        parts += [
            f'<figure id="{p.name}"><a href="{p.name}.svg"><img src="{p.name}.svg" alt="{escape(p.says)}" '
            f'loading="lazy"></a>\n<figcaption>{escape(p.says)}<br><code>{escape(command(p))}</code></figcaption></figure>'
            for p in section.pictures
        ]
    return "\n".join(parts) + "\n</html>\n"


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [p for section in SECTIONS for p in section.pictures]
    for p in pictures:
        draw(p, folder)
    write_atomically(folder / "README.md", markdown().encode("utf-8"))
    write_atomically(folder / "index.html", html().encode("utf-8"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for pictures and pages")
    make(parser.parse_args().out)
