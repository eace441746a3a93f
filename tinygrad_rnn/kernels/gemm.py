"""Matrix products as loops for programs (``native.py``): vector code of their own, or BLAS.

A recurrent step multiplies a few rows by a matrix that does not change, and a BLAS made for large matrices spends
much of that time on copying operands into its own layout. Here a *tile* of C, a few rows by a few vectors, is held in
registers while k runs through its block: each step loads vectors from one row of B where they lie, and multiplies them
by numbers from one column of A, whatever the strides of A. Only a B that lies by columns is copied, a panel at a time.
BLAS is left what it is faster at (``_is_for_blas``), and processors without wide fused multiply-adds.

    for each block of k:
        for each strip of columns:       as wide as a tile; its part of B stays in the cache
            for each tile of rows:       as equal in height as they can be
"""

from __future__ import annotations

from functools import cache, partial
from types import SimpleNamespace
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .families import Job, family
from .loops import pointer
from .native import DGEMM, SGEMM, Loop, native

__all__ = ["gemm", "gemm_scaled"]

_BLOCK = 256  # of k: a panel of B that is as long lies in the L2 cache, and half of it in the L1 cache
_PANEL_VECTORS = 3  # the most vectors in a row of a copied panel


@cache
def gemm(dtype: Any, accumulate: bool) -> Loop:
    """The loop ``(m,k),(k,n)->(m,n)`` that writes the product of A and B to C, or adds it to C.

    A and B have unit stride along one of their axes, C along its rows; strides along axes of size 1 may be anything.
    C does not overlap A or B.
    """
    return native("gemm_add", _add, T=dtype) if accumulate else native("gemm", _overwrite, T=dtype)


@cache
def gemm_scaled(dtype: Any) -> Loop:
    """The loop ``(m,k),(k,n),()->(m,n)`` that adds the product of A and B, times a number, to C."""
    return native("gemm_scaled", _add_scaled, T=dtype)


@family
def _for_warmup(dtype: Any) -> list[Job]:
    return [partial(gemm, dtype, accumulate) for accumulate in (False, True)]


T: Any = None  # stands for the element type, which `native` supplies


def _overwrite(args, dims, steps, data):
    for i in range(dims[0]):
        a, b = pointer(args[0], i * steps[0], T), pointer(args[1], i * steps[1], T)
        c = pointer(args[2], i * steps[2], T)
        _product(a, b, c, dims, steps[3], steps[4], steps[5], steps[6], steps[7], T(1), False, data)


def _add(args, dims, steps, data):
    for i in range(dims[0]):
        a, b = pointer(args[0], i * steps[0], T), pointer(args[1], i * steps[1], T)
        c = pointer(args[2], i * steps[2], T)
        _product(a, b, c, dims, steps[3], steps[4], steps[5], steps[6], steps[7], T(1), True, data)


def _add_scaled(args, dims, steps, data):
    for i in range(dims[0]):
        a, b = pointer(args[0], i * steps[0], T), pointer(args[1], i * steps[1], T)
        c = pointer(args[3], i * steps[3], T)
        alpha = pointer(args[2], i * steps[2], T)[0]
        _product(a, b, c, dims, steps[4], steps[5], steps[6], steps[7], steps[8], alpha, True, data)


def _product(a, b, c, dims, a_m, a_k, b_k, b_n, c_m, alpha, add, data):
    """C = alpha A B, or C += alpha A B."""
    m, k, n = dims[1], dims[2], dims[3]
    size = _itemsize(a)
    by_columns = b_n != size and n != 1
    if m == 0 or n == 0:
        pass
    elif k == 0:
        if not add:
            _clear(c, m, n, c_m)
    # BLAS takes a product times zero for zero, even that of infinities.
    elif alpha != 0 and (not _has_wide_fma() or _is_for_blas(m, k, n, size, by_columns)):
        _call_blas(a, b, c, m, k, n, a_m, a_k, b_k, b_n, c_m, alpha, add, data)
    else:
        _tiled(a, b, c, m, k, n, a_m, a_k, b_k, b_n, c_m, alpha, add, by_columns)


def _is_for_blas(m, k, n, size, by_columns):
    """Whether OpenBLAS is faster, as measured with one thread, AVX-512 and all shapes of interest."""
    if n <= 4:  # hardly a vector: A times a vector, or a few
        faster = m * k >= 512
    elif by_columns and k >= max(32, 6 * m):  # the copy of B would take long, and dot products do without
        faster = m <= 2 or (m * n <= 1200 and m * n * k <= 1000000)
    else:  # larger than the caches, so copies of both pay
        faster = m >= 512 and k * n * size >= 8 << 20
    return faster


def _clear(c, m, n, c_m):
    for i in range(m):
        row = _moved(c, i * c_m)
        for j in range(n):
            row[j] = 0


# BLAS -----------------------------------------------------------------------------------------------------------------


def _call_blas(a, b, c, m, k, n, a_m, a_k, b_k, b_n, c_m, alpha, add, data):
    """Hand the transposed product to BLAS, which takes matrices to be stored by columns: C' = B' A'."""
    size = _itemsize(a)
    a_by_rows, b_by_rows = _by_rows(m, k, a_m, a_k, size), _by_rows(k, n, b_k, b_n, size)
    a_leading, b_leading = _leading(m, k, a_m, a_k, size, a_by_rows), _leading(k, n, b_k, b_n, size, b_by_rows)
    b_letter, a_letter = ord("N" if b_by_rows else "T"), ord("N" if a_by_rows else "T")
    c_leading = n if m == 1 else c_m // size
    _blas(data, b_letter, a_letter, n, m, k, alpha, b, b_leading, a, a_leading, add, c, c_leading)


def _by_rows(rows, columns, row_step, column_step, size):
    """Whether a matrix lies in memory row after row."""
    return (column_step == size or columns == 1) and (row_step >= columns * size or rows == 1)


def _leading(rows, columns, row_step, column_step, size, by_rows):
    """Elements from one row, or column, to the next; where there is no next one, a number that BLAS accepts."""
    if by_rows:
        return columns if rows == 1 else row_step // size
    return rows if columns == 1 else column_step // size


@intrinsic
def _blas(typing_context, data, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, add, c, ldc):
    """Call ``sgemm`` or ``dgemm`` at its address in the environment; all its arguments are pointers."""
    real, letter, integer = a.dtype, types.uint8, types.int32
    place = SGEMM if real == types.float32 else DGEMM
    kinds = (letter, letter, integer, integer, integer, real, a, integer, a, integer, types.boolean, a, integer)

    def build(context, builder, signature, args):
        environment, *values = args
        values[10] = builder.uitofp(values[10], context.get_value_type(real))  # beta
        passed = [v if k == a else cgutils.alloca_once_value(builder, v) for k, v in zip(kinds, values)]
        places = builder.bitcast(environment, ir.IntType(64).as_pointer())
        address = builder.load(builder.gep(places, [context.get_constant(types.intp, place)]))
        routine = ir.FunctionType(ir.VoidType(), [p.type for p in passed]).as_pointer()
        builder.call(builder.inttoptr(address, routine), passed)
        return context.get_dummy_value()

    return types.void(data, *kinds), build


# Tiles ----------------------------------------------------------------------------------------------------------------


def _tiled(a, b, c, m, k, n, a_m, a_k, b_k, b_n, c_m, alpha, add, by_columns):
    size, lanes = _itemsize(a), _lanes(a)
    width = lanes * size
    tiles = -(-m // _tile_rows(width))
    most = _tile_vectors(width, -(-m // tiles))
    if by_columns:
        panel, most = _scratch(a), min(most, _PANEL_VECTORS)
    else:
        panel = b
    vectors = -(-n // lanes)
    strips = -(-vectors // most)
    for k0 in range(0, k, _BLOCK):
        depth = min(_BLOCK, k - k0)
        v0 = 0
        for strip in range(strips):
            v1 = (strip + 1) * vectors // strips
            last = min(lanes, n - (v1 - 1) * lanes)  # how much of the last vector lies within the matrix
            if by_columns:
                step = (v1 - v0) * width
                corner = _moved(b, k0 * size + v0 * lanes * b_n)
                _copy_panel(corner, b_n, depth, (v1 - v0 - 1) * lanes + last, panel, step)
            else:
                step = b_k
                panel = _moved(b, k0 * b_k + v0 * width)
            r0 = 0
            for tile in range(tiles):
                r1 = (tile + 1) * m // tiles
                above, target = _moved(a, r0 * a_m + k0 * a_k), _moved(c, r0 * c_m + v0 * width)
                more = add or k0 > 0
                _tile(r1 - r0, v1 - v0, above, a_m, a_k, panel, step, target, c_m, depth, last, alpha, more)
                r0 = r1
            v0 = v1


def _copy_panel(b, b_n, depth, columns, panel, step):
    """Copy columns that are contiguous into rows that are `step` bytes apart."""
    lanes, size = _lanes(b), _itemsize(b)
    for j in range(0, columns, lanes):
        for i in range(0, depth, lanes):
            source, target = _moved(b, j * b_n + i * size), _moved(panel, i * step + j * size)
            _transpose(source, b_n, min(lanes, depth - i), min(lanes, columns - j), target, step)


def _tile_rows(width):
    """The height of the largest tiles, given the width of vectors in bytes: 8 by 3 vectors or 6 by 2."""
    return 8 if width == 64 else 6


def _tile_vectors(width, rows):
    """How many vectors wide a tile may be: its sums, a row of B and a number of A are to lie in registers."""
    return min(6 if rows <= 2 else 4, ((32 if width == 64 else 16) - 1) // (rows + 1))


def _vectors(context: Any, dtype: types.Type) -> SimpleNamespace:
    """The vectors of the processor that `context` compiles for, and what is done with them."""
    features = context.codegen().magic_tuple()[2].split(",")
    fma = "+avx512f" in features or ("+avx2" in features and "+fma" in features)
    width = 64 if "+avx512f" in features else 32 if fma else 16
    return SimpleNamespace(width=width, fma=fma, full=_Vector(dtype, width), half=_Vector(dtype, width // 2))


class _Vector:
    """A vector type, and the LLVM instructions that work on its values. Addresses need not be aligned."""

    def __init__(self, dtype: types.Type, width: int) -> None:
        self.size = dtype.bitwidth // 8
        self.lanes = width // self.size
        self.element = ir.FloatType() if self.size == 4 else ir.DoubleType()
        self.type = ir.VectorType(self.element, self.lanes)
        self.mask = ir.VectorType(ir.IntType(1), self.lanes)
        self.zero = ir.Constant(self.type, [0.0] * self.lanes)

    def splat(self, builder, value):
        """The vector whose elements are all `value`."""
        integers = ir.VectorType(_I32, self.lanes)
        empty = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        return builder.shuffle_vector(
            builder.insert_element(empty, value, _I32(0)), empty, ir.Constant(integers, [0] * self.lanes)
        )

    def first(self, builder, count):
        """The mask of the first `count` lanes."""
        numbers = ir.Constant(ir.VectorType(_I64, self.lanes), list(range(self.lanes)))
        return builder.icmp_signed("<", numbers, self.splat(builder, count))

    def load(self, builder, address, mask=None):
        """What lies at `address`, with zeros where the mask is not set; nothing is read there."""
        if mask is not None:
            kinds = [_BYTES, _I32, self.mask, self.type]
            return self._call(builder, "masked.load", "p0", self.type, kinds, address, _I32(self.size), mask, self.zero)
        loaded = builder.load(builder.bitcast(address, self.type.as_pointer()))
        loaded.align = self.size
        return loaded

    def store(self, builder, value, address, mask=None):
        """Put `value` at `address`, but only where the mask is set."""
        if mask is not None:
            kinds = [self.type, _BYTES, _I32, self.mask]
            self._call(builder, "masked.store", "p0", ir.VoidType(), kinds, value, address, _I32(self.size), mask)
        else:
            builder.store(value, builder.bitcast(address, self.type.as_pointer())).align = self.size

    def fma(self, builder, x, y, z):
        """x * y + z, in one instruction where the processor has it."""
        return self._call(builder, "fmuladd", None, self.type, [self.type] * 3, x, y, z)

    def _call(self, builder, name, suffix, result, kinds, *args):
        full = ".".join(filter(None, ["llvm", name, f"v{self.lanes}f{8 * self.size}", suffix]))
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, kinds), full)
        return builder.call(function, args)


_I32, _I64 = ir.IntType(32), ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()


@intrinsic
def _itemsize(typing_context, address):
    """Size of the elements that a pointer points to."""

    def build(context, builder, signature, args):
        return context.get_constant(types.intp, address.dtype.bitwidth // 8)

    return types.intp(address), build


@intrinsic
def _lanes(typing_context, address):
    """How many of the elements that a pointer points to make a vector."""

    def build(context, builder, signature, args):
        return context.get_constant(types.intp, _vectors(context, address.dtype).full.lanes)

    return types.intp(address), build


@intrinsic
def _has_wide_fma(typing_context):
    """Whether the processor is one that the tiles were made for."""

    def build(context, builder, signature, args):
        return context.get_constant(types.boolean, _vectors(context, types.float32).fma)

    return types.boolean(), build


@intrinsic
def _moved(typing_context, address, offset):
    """A pointer moved by `offset` bytes."""

    def build(context, builder, signature, args):
        moved = builder.gep(builder.bitcast(args[0], _BYTES), [args[1]])
        return builder.bitcast(moved, args[0].type)

    return address(address, types.intp), build


@intrinsic
def _scratch(typing_context, address):
    """Room for a panel of B on the stack."""

    def build(context, builder, signature, args):
        panel = ir.ArrayType(ir.IntType(8), _BLOCK * _PANEL_VECTORS * _vectors(context, address.dtype).width)
        with builder.goto_entry_block():  # Numba's own helper would write zeros to all of it
            return builder.bitcast(builder.alloca(panel), args[0].type)

    return address(address), build


@intrinsic
def _tile(typing_context, rows, vectors, a, a_m, a_k, b, b_k, c, c_m, k, last, alpha, add):
    """Compute a tile of C, whose last vector has `last` elements."""
    i = types.intp
    signature = types.void(i, i, a, i, i, a, i, a, i, i, i, a.dtype, types.boolean)

    def build(context, builder, signature, args):
        _call_apart(builder, "tile", args, partial(_choose_tile, kit=_vectors(context, a.dtype)))
        return context.get_dummy_value()

    return signature, build


def _choose_tile(builder, rows, vectors, *passed, kit):
    """Call the function for the tile's size; half a vector is twice as fast where it is enough."""
    narrow = builder.zext(builder.icmp_signed("<=", passed[8], _I64(kit.half.lanes)), _I64)
    number = builder.add(builder.mul(builder.add(builder.mul(rows, _I64(8)), vectors), _I64(2)), narrow)
    switch = builder.switch(number, builder.append_basic_block("impossible"))
    builder.position_at_end(switch.default)
    builder.unreachable()
    for height in range(1, _tile_rows(kit.width) + 1):
        for width in range(1, _tile_vectors(kit.width, height) + 1):
            for half in (False, True):
                kinds = [kit.full] * (width - 1) + [kit.half if half else kit.full]
                builder.position_at_end(builder.append_basic_block("size"))
                switch.add_case(_I64((height * 8 + width) * 2 + half), builder.block)
                _call_apart(builder, "size", passed, partial(_fill_tile, height=height, kinds=kinds))
                builder.ret_void()
    builder.position_at_end(builder.append_basic_block("after"))


def _call_apart(builder, name, args, write):
    """Call a function of its own that `write(builder, *args)` fills; LLVM takes very long over a large one."""
    passed = [builder.bitcast(v, _BYTES) if isinstance(v.type, ir.PointerType) else v for v in args]
    module = builder.module
    kind = ir.FunctionType(ir.VoidType(), [v.type for v in passed])
    function = ir.Function(module, kind, module.get_unique_name(name))
    function.linkage = "internal"
    function.attributes.add("noinline")
    inside = ir.IRBuilder(function.append_basic_block())
    write(inside, *function.args)
    inside.ret_void()
    builder.call(function, passed)


def _fill_tile(builder, a, a_m, a_k, b, b_k, c, c_m, k, last, alpha, add, *, height, kinds):
    """Compute a tile of `height` rows that consist of vectors of these `kinds`."""
    start = builder.block
    loop, done, more, fresh = (builder.append_basic_block(n) for n in ("loop", "done", "more", "fresh"))
    mask = kinds[-1].first(builder, last)
    masks = [None] * (len(kinds) - 1) + [mask]
    offsets = [sum(v.lanes * v.size for v in kinds[:j]) for j in range(len(kinds))]
    a_rows = [builder.gep(a, [builder.mul(a_m, _I64(r))]) for r in range(height)]
    builder.branch(loop)

    builder.position_at_end(loop)
    step, along, b_row = builder.phi(_I64), builder.phi(_I64), builder.phi(_BYTES)
    sums = [builder.phi(v.type) for _ in range(height) for v in kinds]
    loaded = [v.load(builder, builder.gep(b_row, [_I64(o)]), m) for v, o, m in zip(kinds, offsets, masks)]
    totals = []
    for r, a_row in enumerate(a_rows):
        number = builder.load(builder.bitcast(builder.gep(a_row, [along]), kinds[0].element.as_pointer()))
        number.align = kinds[0].size
        factors = {v: v.splat(builder, number) for v in kinds}
        row = sums[r * len(kinds) :]
        totals += [v.fma(builder, factors[v], x, s) for v, x, s in zip(kinds, loaded, row)]
    following = [builder.add(step, _I64(1)), builder.add(along, a_k), builder.gep(b_row, [b_k]), *totals]
    begin = [_I64(0), _I64(0), b, *(v.zero for _ in range(height) for v in kinds)]
    for phi, first, after in zip([step, along, b_row, *sums], begin, following):
        phi.add_incoming(first, start)
        phi.add_incoming(after, loop)
    builder.cbranch(builder.icmp_signed("<", following[0], k), loop, done)

    builder.position_at_end(done)
    scales = {v: v.splat(builder, alpha) for v in kinds}
    builder.cbranch(add, more, fresh)
    end = builder.append_basic_block("end")
    for block in (more, fresh):
        builder.position_at_end(block)
        for r in range(height):
            c_row = builder.gep(c, [builder.mul(c_m, _I64(r))])
            for v, offset, mask, total in zip(kinds, offsets, masks, totals[r * len(kinds) :]):
                place = builder.gep(c_row, [_I64(offset)])
                if block is more:
                    total = v.fma(builder, total, scales[v], v.load(builder, place, mask))
                else:
                    total = builder.fmul(total, scales[v])
                v.store(builder, total, place, mask)
        builder.branch(end)
    builder.position_at_end(end)


@intrinsic
def _transpose(typing_context, source, source_step, lanes, count, target, target_step):
    """Copy `count` columns, of which `lanes` elements are wanted, into rows; both are one vector at most."""
    i = types.intp

    def build(context, builder, signature, args):
        _call_apart(builder, "transpose", args, partial(_fill_transpose, v=_vectors(context, source.dtype).full))
        return context.get_dummy_value()

    return types.void(source, i, i, i, source, i), build


def _fill_transpose(builder, source, source_step, lanes, count, target, target_step, *, v):
    """Load the columns as vectors, exchange ever larger blocks across the diagonal, and store the rows."""
    mask = v.first(builder, lanes)
    rows = []
    for number in range(v.lanes):
        exists = builder.icmp_signed("<", _I64(number), count)
        offset = builder.select(exists, builder.mul(source_step, _I64(number)), _I64(0))
        rows.append(v.load(builder, builder.gep(source, [offset]), mask))
    run = 1
    while run < v.lanes:
        lower = [lane - run + v.lanes if lane & run else lane for lane in range(v.lanes)]
        upper = [lane + v.lanes if lane & run else lane + run for lane in range(v.lanes)]
        lower, upper = (ir.Constant(ir.VectorType(_I32, v.lanes), order) for order in (lower, upper))
        for j in range(v.lanes):
            if not j & run:
                pair = rows[j], rows[j + run]
                rows[j], rows[j + run] = (builder.shuffle_vector(*pair, order) for order in (lower, upper))
        run *= 2
    for number, row in enumerate(rows):
        v.store(builder, row, builder.gep(target, [builder.mul(target_step, _I64(number))]))
