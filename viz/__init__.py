"""Rendering of recorded graphs."""
