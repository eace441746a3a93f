"""Numba kernels over plain arrays and addresses; nothing here knows of tensors, graphs or ops.

``scalars.py``   functions of one element, written so that loops over them vectorise
``loops.py``     turns a scalar or a row function into a loop with NumPy's ufunc signature
``rows.py``      functions of one row: softmax, log-sum-exp, cross-entropy, layer norm
``scatter.py``   accumulation at indices
``families.py``  whether kernels are compiled, and which of them a warmup makes
``cache.py``     where compiled kernels are kept between processes
"""
