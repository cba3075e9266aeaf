"""Copy row fragments with non-temporal stores.

Rows of a shuffled window go to addresses that no hardware prefetcher predicts. A plain store first fetches the cache
line it writes to, and waits: 9 GB/s per core, where the same machine writes 20 GB/s in order. Long fragments are
therefore written around the caches, whole lines at a time (15 GB/s), and the first lines of short ones are prefetched
while the fragment before them is copied.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .intrinsics import array_at, caller, intrinsic
from .jit import address_of

if TYPE_CHECKING:
    import numpy as np

LINE = 64
"""Bytes of a cache line."""

LARGE = 32 << 20
"""A target of fewer bytes is written through the caches, where the user may still find it."""

LONG = 2048
"""Fragments of fewer bytes lose more at their two ends, which are no whole lines, than they gain (measured: 1,600)."""

_PREFETCHED = 4 * LINE  # the hardware prefetcher recognizes the rest


@intrinsic
def copy(typing: Any, source: Any, target: Any, non_temporal: Any) -> Any:
    """Copy ``source`` to ``target``, casting.

    Written in LLVM's terms, of which a cast takes a third of the time to compile that numba takes for a loop in Python.

    Parameters
    ----------
    source, target
        ``(n,)`` contiguous arrays of any numeric dtypes.
    non_temporal
        Whether to write around the caches. :func:`fence` must be called before another thread reads.
    """
    old, new = source.dtype, target.dtype
    # Floats beyond an integer type become what the processor makes of them: vectors may differ from scalars.
    exact = isinstance(old, types.Integer) and isinstance(new, types.Integer | types.Float)
    in_lines = exact or (isinstance(old, types.Float) and isinstance(new, types.Float))

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        values, to = (
            context.make_array(kind)(context, builder, arguments[i]) for i, kind in enumerate(signature.args[:2])
        )
        n, word = to.nitems, to.nitems.type

        def copy_each(first: Any, count: Any) -> None:
            from_first, to_first = (builder.gep(data, [first], inbounds=True) for data in (values.data, to.data))
            with cgutils.for_range(builder, count) as loop:
                value = context.unpack_value(builder, old, builder.gep(from_first, [loop.index], inbounds=True))
                value = context.cast(builder, value, old, new)
                context.pack_value(builder, new, value, builder.gep(to_first, [loop.index], inbounds=True))

        done = cgutils.alloca_once_value(builder, word(0))
        if in_lines:
            with builder.if_then(arguments[2]):
                per_line, address = LINE * 8 // new.bitwidth, builder.ptrtoint(to.data, word)
                head = builder.udiv(builder.and_(builder.neg(address), word(LINE - 1)), word(new.bitwidth // 8))
                head = builder.select(builder.icmp_signed("<", head, n), head, n)
                copy_each(word(0), head)
                lines = builder.sub(n, builder.urem(builder.sub(n, head), word(per_line)))
                with cgutils.for_range_slice(builder, head, lines, word(per_line)) as (at, _):
                    source_at, target_at = (builder.gep(data, [at]) for data in (values.data, to.data))
                    _store_line(context, builder, source_at, target_at, old, new, per_line)
                builder.store(lines, done)
        first = builder.load(done)
        copy_each(first, builder.sub(n, first))
        return context.get_dummy_value()

    return types.void(source, target, types.boolean), generate


def _store_line(
    context: Any, builder: ir.IRBuilder, source: Any, target: Any, old: Any, new: Any, per_line: int
) -> None:
    """Copy values to an aligned line with a non-temporal store, casting."""
    vectors = [ir.VectorType(context.get_data_type(kind), per_line) for kind in (old, new)]
    source, target = (
        builder.bitcast(at, kind.as_pointer()) for at, kind in zip((source, target), vectors, strict=True)
    )
    values = _cast(builder, builder.load(source, align=1), old, new, vectors[1])
    line = builder.store(values, target, LINE)
    line.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Prefetch the first lines at an address for writing; it may be any."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        )
        first = builder.inttoptr(arguments[0], byte)
        for offset in range(0, _PREFETCHED, LINE):
            pointer = builder.gep(first, [ir.Constant(ir.IntType(64), offset)])
            builder.call(function, [pointer, word(1), word(3), word(1)])  # for writing; into all caches; data
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def fence(typing: Any) -> Any:
    """Order non-temporal stores before all later stores, as other threads see them."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


_SIGNATURE = types.void(types.int64, types.int64, types.int64, types.int64)

copy_by_address = caller(_SIGNATURE)
"""Call a function of :func:`copy_address`: ``copy_by_address(address, source, target, n, non_temporal)``."""


@functools.cache
def copy_address(source: np.dtype, target: np.dtype) -> int:
    """Return the address of :func:`copy` of ``n`` values at one address to another, compiled if need be."""
    old, new = source.type, target.type

    def copy_at(source: int, target: int, n: int, non_temporal: int) -> None:
        copy(array_at(old, source, n), array_at(new, target, n), non_temporal != 0)

    return address_of(copy_at, _SIGNATURE)


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
