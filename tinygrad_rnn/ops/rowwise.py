"""Row kernels by dtype, made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..kernels.loops import row_loop


class RowKernels(dict):
    """``kernels[dtype]``: the generalised ufunc of a row function for that float dtype.

    Letters of `dtypes` stand for the operands: ``f`` for the float dtype asked for, ``i`` for int64.
    """

    def __init__(self, name: str, function: Callable[..., Any], signature: str, dtypes: str = "") -> None:
        super().__init__()
        self.name, self.function, self.signature = name, function, signature
        self.dtypes = dtypes or "f" * (signature.count(",") + 2)

    def __missing__(self, dtype: np.dtype) -> Any:
        types = [np.dtype(np.int64) if letter == "i" else dtype for letter in self.dtypes]
        self[dtype] = row_loop(self.name, self.function, self.signature, types[:-1], types[-1:])
        return self[dtype]
