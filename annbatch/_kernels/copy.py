"""Copy row fragments with non-temporal stores.

Rows of a shuffled window go to addresses that no hardware prefetcher predicts. A plain store first fetches the cache
line it writes to, and waits: 9 GB/s per core, where the same machine writes 20 GB/s in order. Long fragments are
therefore written around the caches, whole lines at a time (15 GB/s), and the first lines of short ones are prefetched
while the fragment before them is copied.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types

from .intrinsics import intrinsic

LINE = 64
"""Bytes of a cache line."""

LARGE = 32 << 20
"""A target of fewer bytes is written through the caches, where the user may still find it."""

LONG = 2048
"""Fragments of fewer bytes lose more at their two ends, which are no whole lines, than they gain (measured: 1,600)."""

_PREFETCHED = 4 * LINE  # the hardware prefetcher recognizes the rest


def copy(source: Any, target: Any, non_temporal: bool) -> None:
    """Copy ``source`` to ``target``, casting. For use in kernels.

    Parameters
    ----------
    source, target
        ``(n,)`` arrays of any numeric dtypes.
    non_temporal
        Whether to write around the caches. :func:`fence` must be called before another thread reads.
    """
    raise NotImplementedError("for use in kernels")


@extending.overload(copy)
def _copy(source: Any, target: Any, non_temporal: Any) -> Any:  # numba requires the signature of what it returns
    def plain(source: Any, target: Any, non_temporal: Any) -> Any:
        for j in range(target.size):
            target[j] = source[j]

    def lines(source: Any, target: Any, non_temporal: Any) -> Any:
        n, j = target.size, 0
        if non_temporal:
            per_line = LINE // target.itemsize
            head = min(n, -target.ctypes.data % LINE // target.itemsize)
            while j < head:
                target[j] = source[j]
                j += 1
            while j + per_line <= n:
                _store_line(source, target, j)
                j += per_line
        to, rest = target[j:], source[j:]
        for k in range(n - j):
            to[k] = rest[k]

    # Floats beyond an integer type become what the processor makes of them: vectors may differ from scalars.
    old, new = source.dtype, target.dtype
    exact = isinstance(old, types.Integer) and isinstance(new, types.Integer | types.Float)
    return lines if exact or (isinstance(old, types.Float) and isinstance(new, types.Float)) else plain


@intrinsic
def _store_line(typing: Any, source: Any, target: Any, at: Any) -> Any:
    """Copy ``source[at:]`` to one aligned line ``target[at:]`` with a non-temporal store, casting."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        n = LINE * 8 // target.dtype.bitwidth
        values = builder.load(_vector(context, builder, source, arguments[0], arguments[2], n), align=1)
        pointer = _vector(context, builder, target, arguments[1], arguments[2], n)
        line = builder.store(_cast(builder, values, source.dtype, target.dtype, pointer.type.pointee), pointer, LINE)
        line.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(source, target, at), generate


@intrinsic
def prefetch(typing: Any, array: Any, at: Any) -> Any:
    """Prefetch the first lines of ``array[at:]`` for writing; ``at`` may be out of bounds."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        )
        data = context.make_array(array)(context, builder, arguments[0]).data
        first = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        for offset in range(0, _PREFETCHED, LINE):
            pointer = builder.gep(first, [ir.Constant(ir.IntType(64), offset)])
            builder.call(function, [pointer, word(1), word(3), word(1)])  # for writing; into all caches; data
        return context.get_dummy_value()

    return types.void(array, at), generate


@intrinsic
def fence(typing: Any) -> Any:
    """Order non-temporal stores before all later stores, as other threads see them."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


def _vector(context: Any, builder: ir.IRBuilder, array: Any, value: Any, at: Any, n: int) -> Any:
    data = context.make_array(array)(context, builder, value).data
    kind = ir.VectorType(context.get_data_type(array.dtype), n)
    return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())


def _cast(builder: ir.IRBuilder, values: Any, old: Any, new: Any, kind: ir.Type) -> Any:
    """Cast a vector as C does; not for floats to integers."""
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
