"""Backpropagation through time, taken apart."""

from .paths import Path, Paths, paths

__all__ = ["Path", "Paths", "paths"]
