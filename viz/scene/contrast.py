"""Contrast of colours by WCAG 2.2, and the dark counterparts of colours that were chosen for a white page."""

from __future__ import annotations

import colorsys
import re
from functools import cache

from ...errors import fail

__all__ = ["contrast", "dark_fill", "dark_line", "inks", "luminance"]

PAPER, NIGHT = "#fcfbf8", "#14161a"  # the page in both themes
_INK, _LIGHT = "#1a1a1a", "#eceae4"
_TEXT, _LINE = 4.5, 3.0  # level AA, for text and for lines
_HEX = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})\Z")
_STEPS = 40


def contrast(a: str, b: str) -> float:
    """The ratio of two colours' luminance, from 1 to 21."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@cache
def inks(fill: str) -> tuple[str, str]:
    """Colours for text and for lesser text on a fill, both of a contrast of level AA."""
    ink = max(_INK, _LIGHT, "#ffffff", "#000000", key=lambda c: (contrast(c, fill) >= _TEXT, c in (_INK, _LIGHT),
                                                                contrast(c, fill)))  # fmt: skip
    lesser = ink
    for k in range(1, 9):
        mixed = _mixed(ink, fill, k * 0.05)
        if contrast(mixed, fill) < _TEXT + 0.3:
            break
        lesser = mixed
    return ink, lesser


@cache
def dark_fill(color: str) -> str:
    """The same hue, dark enough for light text; what is lighter by day is darker by night."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*_rgb(color))
    dark = min(0.15 + 0.62 * (1 - lightness), 0.45)
    chroma = saturation * (1 - abs(2 * lightness - 1))  # what is nearly grey stays so
    return _hex(colorsys.hls_to_rgb(hue, dark, min(1.1 * chroma / dark, 0.42)))


@cache
def dark_line(color: str) -> str:
    """The same hue, light enough to be seen on a dark page."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*_rgb(color))
    for k in range(_STEPS):
        light = max(lightness, 0.5) + (1 - max(lightness, 0.5)) * k / _STEPS
        shown = _hex(colorsys.hls_to_rgb(hue, light, min(saturation, 0.65)))
        if contrast(shown, NIGHT) >= _LINE + 1.5:
            return shown
    return "#ffffff"


def luminance(color: str) -> float:
    """Relative luminance of a colour like #00795a."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _mixed(a: str, b: str, share: float) -> str:
    return _hex([x + (y - x) * share for x, y in zip(_rgb(a), _rgb(b))])


def _rgb(color: str) -> tuple[float, float, float]:
    match = _HEX.match(color)
    if match is None:
        raise fail(ValueError, "draw: a colour of the theme cannot be read", expected="a colour as #rrggbb",
                   got=repr(color), hint="write all colours of a theme with six hexadecimal digits")  # fmt: skip
    r, g, b = (int(part, 16) / 255 for part in match.groups())
    return r, g, b


def _hex(rgb: list[float] | tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in rgb)
