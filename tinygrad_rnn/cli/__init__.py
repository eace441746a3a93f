"""The command line: pictures of built-in models and of one's own."""

from .command import main

__all__ = ["main"]
