"""Saving and loading tensors in the safetensors format: no code is ever executed by loading a file."""

from .safetensors import StateFile, load, save

__all__ = ["StateFile", "load", "save"]
