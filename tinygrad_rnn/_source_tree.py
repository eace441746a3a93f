"""Installed, ``viz`` lies inside this package; in the source tree it lies beside it, and is found here."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def _load_viz() -> None:
    here = Path(__file__).parent
    beside = here.parent / "viz" / "__init__.py"
    if (here / "viz").is_dir() or not beside.is_file():
        return
    spec = spec_from_file_location(f"{__package__}.viz", beside)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])


_load_viz()
