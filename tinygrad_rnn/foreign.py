"""Words of other libraries, and what to write here instead: said where one is met, never taken as a second spelling."""

from __future__ import annotations

__all__ = ["ATTRIBUTES", "FUNCTIONS", "KEYWORDS", "LAYERS", "replacement"]

KEYWORDS = {
    "a_max": "high=", "a_min": "low=", "axes": "axis=", "batch_size": "size=", "correction": "ddof=",
    "decimals": "digits=", "device": "nothing: there is one device", "dim": "axis=", "dim0": "first=",
    "dim1": "second=", "dims": "axis=", "dtype": ".astype(dtype) before the call", "embedding_dim": "features=",
    "h0": "state=", "hx": "state=", "in_features": "input_size=", "initial_state": "state=",
    "inplace": "nothing: a tensor never changes", "input": "x=", "keepdim": "keepdims=", "max": "high=",
    "min": "low=", "negative_slope": "slope=", "nonlinearity": "activation=", "num_classes": "classes=",
    "num_embeddings": "count=", "num_layers": "layers=", "order": "nothing: entries are in the order of C",
    "out": "y = f(x): a tensor is never written into", "out_features": "hidden_size=",
    "proj_size": "a layer nn.Linear after it", "retain_graph": "nothing: a graph lives as long as its output",
    "return_sequences": "nothing: the result has .outputs and .last", "return_state": "nothing: the result has .state",
    "shifts": "shift=", "start_dim": "x.reshape(shape)", "steps": "num=", "unbiased": "ddof=1",
    "units": "hidden_size=", "where": "tg.where(mask, x, other) before the call",
}  # fmt: skip
"""For a keyword that a function of ours does not take, what to write."""

ATTRIBUTES = {
    "add": "x + y", "add_": "p.assign(p + y)", "argsort": "np.argsort(x)", "base": "x.numpy().base",
    "bool": "x.astype(bool)", "byte": "x.astype(np.uint8)", "bmm": "x @ y", "cat": "tg.concatenate",
    "choose": "tg.where", "clamp": "x.clip(low, high)", "clone": "x itself: a tensor never changes",
    "compress": "x[mask]", "conj": "x", "contiguous": "x itself", "copy": "x itself: a tensor never changes",
    "copy_": "p.assign(value)", "cpu": "x itself", "ctypes": "x.numpy().ctypes",
    "cuda": "x itself: there is one device",
    "cumprod": "tg.cumsum(x.log()).exp() of positive numbers", "device": "nothing: there is one device",
    "detach_": "x.detach()", "diag": "np.diagonal(x)", "diagonal": "np.diagonal(x)", "dim": "x.ndim", "div": "x / y",
    "dot": "x @ y", "element_size": "x.dtype.itemsize", "eq": "x == y", "fill": "tg.full_like(x, value)",
    "fill_": "p.assign(tg.full_like(p, value))", "flags": "x.numpy().flags", "flat": "x.flatten()",
    "flip_": "x.flip(axis)", "ge": "x >= y", "get_shape": "x.shape", "grad_fn": "x.op", "gt": "x > y",
    "half": "nothing: floats are float32 or float64",
    "imag": "nothing: tensors are real", "index_add": "x.at[index].add(value)", "index_select": "x.take(indices, axis)",
    "int": "x.astype(int)", "is_contiguous": "x.numpy().flags.c_contiguous", "is_cuda": "nothing: there is one device",
    "itemsize": "x.dtype.itemsize", "kthvalue": "np.sort(x.numpy())", "le": "x <= y", "long": "x.astype(np.int64)",
    "lt": "x < y", "masked_select": "x[mask]", "mm": "x @ y", "mul": "x * y", "mul_": "p.assign(p * y)",
    "mv": "x @ y", "narrow": "x[start:stop]", "nbytes": "x.size * x.dtype.itemsize", "ne": "x != y", "neg": "-x",
    "new_ones": "tg.ones(shape, x.dtype)", "new_zeros": "tg.zeros(shape, x.dtype)", "nonzero": "np.nonzero(x)",
    "numel": "x.size", "partition": "np.partition(x.numpy(), k)", "permute": "x.transpose(*axes)",
    "ptp": "x.max() - x.min()", "put": "x.at[index].set(value)", "real": "x itself: tensors are real",
    "register_hook": "tg.grad(y, x) of an intermediate result", "repeat_interleave": "x.repeat(counts, axis)",
    "requires_grad_": "x.requires_grad = True", "resize": "x.reshape(shape)", "retain_grad": "tg.grad(y, x)",
    "scatter": "x.at[index].set(value)", "scatter_add": "x.at[index].add(value)",
    "searchsorted": "np.searchsorted(x, v)",
    "select": "x[index]", "sort": "x[np.argsort(x)]", "strides": "x.numpy().strides", "sub": "x - y",
    "sub_": "p.assign(p - y)", "t": "x.T", "to": "x.astype(dtype)", "tobytes": "x.numpy().tobytes()",
    "tofile": "x.numpy().tofile(file)", "topk": "np.argsort(x)[..., -k:]",
    "trace": "np.trace(x)", "type": "x.astype(dtype)",
    "type_as": "x.astype(y.dtype)", "unbind": "list(x)", "unsqueeze": "x.expand_dims(axis)", "view": "x.reshape(shape)",
    "view_as": "x.reshape(y.shape)", "where": "tg.where(mask, x, y)", "zero_": "p.assign(tg.zeros_like(p))",
}  # fmt: skip
"""For an attribute that tensors do not have, what to write."""

FUNCTIONS = {
    "FloatTensor": "tg.tensor", "LongTensor": "tg.tensor(data, np.int64)", "Variable": "tg.parameter",
    "absolute": "tg.abs", "array": "tg.tensor", "as_tensor": "tg.tensor", "asarray": "tg.tensor", "bmm": "tg.matmul",
    "cat": "tg.concatenate", "clamp": "tg.clip", "concat": "tg.concatenate", "cuda": "nothing: there is one device",
    "diff": "np.diff(x)", "dot": "x @ y", "empty": "tg.zeros", "enable_grad": "nothing: gradients are recorded",
    "from_numpy": "tg.tensor", "hstack": "tg.concatenate(tensors, axis=1)", "lerp": "a + t * (b - a)",
    "manual_seed": "np.random.default_rng(seed), handed to what draws", "mm": "tg.matmul", "mul": "tg.multiply",
    "neg": "tg.negative", "normal": "tg.random.normal", "numel": "x.size", "optimizers": "tg.optim",
    "permute": "tg.transpose", "pow": "tg.power", "rand": "tg.random.uniform",
    "randint": "tg.tensor(rng.integers(low, high, size))",
    "randn": "tg.random.normal", "scatter": "x.at[index].set(value)", "seed": "np.random.default_rng(seed)",
    "set_grad_enabled": "tg.no_grad()", "sub": "tg.subtract", "take_along_axis": "tg.gather",
    "topk": "np.argsort(x)[..., -k:]", "trace_": "tg.trace", "tril": "np.tril(x)", "triu": "np.triu(x)",
    "unbind": "list(x)", "unsqueeze": "tg.expand_dims", "view": "tg.reshape", "vstack": "tg.concatenate(tensors)",
}  # fmt: skip
"""For a name that the package does not have, what to write."""

LAYERS = {
    "BCELoss": "tg.binary_cross_entropy", "BCEWithLogitsLoss": "tg.binary_cross_entropy_with_logits",
    "CrossEntropyLoss": "tg.cross_entropy", "Dense": "nn.Linear", "HuberLoss": "tg.huber_loss",
    "MSELoss": "tg.mse_loss", "ModuleList": "a list as an attribute", "Parameter": "tg.parameter",
    "ParameterList": "a list as an attribute", "ReLU": "tg.relu", "Sigmoid": "tg.sigmoid", "SimpleRNN": "nn.RNN",
    "Softmax": "tg.softmax", "Tanh": "tg.tanh", "functional": "tg",
    "utils": "tg.optim.clip_grad_norm, nn.pad_sequences",
}  # fmt: skip
"""For a layer that ``nn`` does not have, what to write."""


def replacement(word: str, table: dict[str, str]) -> str:
    """What to write for a word, as a hint; empty if the word is unknown.

    Examples
    --------
    >>> from tinygrad_rnn.foreign import KEYWORDS, replacement
    >>> replacement("keepdim", KEYWORDS)
    'write keepdims= for keepdim'
    """
    instead = table.get(word, "")
    if instead.startswith("nothing"):
        return f"leave {word} out{instead.removeprefix('nothing')}"
    return f"write {instead} for {word}" if instead else ""
