"""The operations, a file per family; each op's shape rule, kernel, gradient and formula stand together.

Reading order: ``core`` (how an op is declared and applied), ``elementwise`` (the table, of which ``elementwise_op``
makes operations), ``shape``, ``reduce``, ``linalg``, ``index``, ``random``, ``neural``, ``create``; then ``methods``
and ``interop``, which hand them to tensors and to NumPy, and ``named``, for the tables of those who read graphs.
"""
