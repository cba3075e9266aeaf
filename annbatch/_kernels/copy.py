"""Put a piece of a row at its place in memory that is far larger than any cache, at the speed of that memory.

Rows of a shuffled window go to places that no prefetcher foresees. A plain store first fetches the line it writes to,
and waits: 9 GB/s a core, where the same machine writes 20 GB/s in order. Long pieces are therefore written past the
caches, whole lines at a time (15 GB/s), and the first lines of short ones are fetched a piece ahead.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types

from .intrinsics import intrinsic

LINE = 64
"""Bytes of a cache line."""

LARGE = 32 << 20
"""Memory of fewer bytes may well be in a cache still when the user comes to it, and is written there."""

LONG = 2048
"""Pieces of fewer bytes lose more at their two ends, which are no whole lines, than they gain (measured: 1,600)."""

_FETCHED = 4 * LINE  # from there on, the core itself sees where it goes


def place(source: Any, target: Any, past_caches: bool) -> None:
    """Copy ``source`` to ``target``, casting. To be called from kernels.

    Parameters
    ----------
    source, target
        ``(n,)`` arrays of any numeric dtypes.
    past_caches
        Whether to write past the caches. :func:`fence` must be called before another thread reads.
    """
    raise NotImplementedError("to be called from kernels")


@extending.overload(place)
def _place(source: Any, target: Any, past_caches: Any) -> Any:  # numba wants the very signature of what it returns
    def plain(source: Any, target: Any, past_caches: Any) -> Any:
        for j in range(target.size):
            target[j] = source[j]

    def lines(source: Any, target: Any, past_caches: Any) -> Any:
        n, j = target.size, 0
        if past_caches:
            each = LINE // target.itemsize
            head = min(n, -target.ctypes.data % LINE // target.itemsize)
            while j < head:
                target[j] = source[j]
                j += 1
            while j + each <= n:
                _write_line(source, target, j)
                j += each
        to, of = target[j:], source[j:]
        for k in range(n - j):
            to[k] = of[k]

    # A float that an integer type lacks becomes what the processor makes of it, which must not depend on the place.
    old, new = source.dtype, target.dtype
    known = isinstance(old, types.Integer) and isinstance(new, types.Integer | types.Float)
    return lines if known or (isinstance(old, types.Float) and isinstance(new, types.Float)) else plain


@intrinsic
def _write_line(typing: Any, source: Any, target: Any, at: Any) -> Any:
    """Copy one aligned line's elements from ``source[at:]`` to ``target[at:]``, casting, past the caches."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        n = LINE * 8 // target.dtype.bitwidth
        values = builder.load(_vector(context, builder, source, arguments[0], arguments[2], n), align=1)
        pointer = _vector(context, builder, target, arguments[1], arguments[2], n)
        line = builder.store(_cast(builder, values, source.dtype, target.dtype, pointer.type.pointee), pointer, LINE)
        line.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(source, target, at), generate


@intrinsic
def fetch_ahead(typing: Any, array: Any, at: Any) -> Any:
    """Have the first lines of ``array[at:]`` fetched, to be written to soon; ``at`` may lie anywhere."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        )
        data = context.make_array(array)(context, builder, arguments[0]).data
        first = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        for offset in range(0, _FETCHED, LINE):
            pointer = builder.gep(first, [ir.Constant(ir.IntType(64), offset)])
            builder.call(prefetch, [pointer, word(1), word(3), word(1)])  # to write; into all caches; data
        return context.get_dummy_value()

    return types.void(array, at), generate


@intrinsic
def fence(typing: Any) -> Any:
    """Make what was written past the caches visible to other threads before anything that is written later."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


def _vector(context: Any, builder: ir.IRBuilder, array: Any, value: Any, at: Any, n: int) -> Any:
    data = context.make_array(array)(context, builder, value).data
    kind = ir.VectorType(context.get_data_type(array.dtype), n)
    return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())


def _cast(builder: ir.IRBuilder, values: Any, old: Any, new: Any, kind: ir.Type) -> Any:
    """Cast a vector as C does; floats to integers are not."""
    if old == new:
        return values
    match isinstance(old, types.Integer), isinstance(new, types.Integer):
        case True, True if old.bitwidth >= new.bitwidth:
            return builder.trunc(values, kind) if old.bitwidth > new.bitwidth else values
        case True, True:
            return (builder.sext if old.signed else builder.zext)(values, kind)
        case True, False:
            return (builder.sitofp if old.signed else builder.uitofp)(values, kind)
    return (builder.fpext if old.bitwidth < new.bitwidth else builder.fptrunc)(values, kind)
