"""Column numbers that are stored as differences: added up where they were decoded, a vector at a time.

Sums wrap around as the dtype does, so that a difference may be negative: where a row begins, for one.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from .intrinsics import call_at, intrinsic
from .jit import inner

_BITS = 256
"""Bits of a vector: as many as AVX2 has, which halves what 128 take; 512 gain nothing more."""


@inner
def add_up(values: np.ndarray, before: np.unsignedinteger, limit: int) -> bool:
    """Replace differences by the values; return whether these are below ``limit``.

    Parameters
    ----------
    values
        Differences of unsigned integers.
    before
        Value before the first one.
    limit
        Exclusive upper bound.
    """
    done = values.size - values.size % (_BITS // 8 // values.itemsize)
    largest = add_up_vectors(values, done, before)
    last = values[done - 1] if done else before
    for j in range(done, values.size):
        values[j] += last
        last = values[j]
        largest = max(largest, last)
    return bool(largest < np.uint64(limit))


@intrinsic
def add_up_vectors(typing: Any, values: Any, n: Any, before: Any) -> Any:
    """Add up ``values[:n]``, whole vectors, from ``before`` on, in place; return the largest."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        kind = context.get_data_type(values.dtype)
        lanes = _BITS // values.dtype.bitwidth
        vector, word = ir.VectorType(kind, lanes), ir.IntType(32)
        zeros = ir.Constant(vector, None)

        def shuffled(one: Any, other: Any, numbers: list[int]) -> Any:
            return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(word, len(numbers)), numbers))

        first = builder.insert_element(zeros, arguments[2], word(0))
        carried = cgutils.alloca_once_value(builder, shuffled(first, zeros, [0] * lanes))
        largest = cgutils.alloca_once_value(builder, zeros)
        data = context.make_array(values)(context, builder, arguments[0]).data
        count = arguments[1].type
        with cgutils.for_range_slice(builder, count(0), arguments[1], count(lanes)) as (at, _):
            pointer = builder.bitcast(builder.gep(data, [at]), vector.as_pointer())
            sums = builder.load(pointer, align=1)
            shift = 1
            while shift < lanes:  # lane i gains lane i - shift
                moved = shuffled(zeros, sums, [*range(shift), *range(lanes, 2 * lanes - shift)])
                sums = builder.add(sums, moved)
                shift *= 2
            before_these = builder.load(carried)
            total = shuffled(sums, zeros, [lanes - 1] * lanes)
            builder.store(builder.add(before_these, total), carried)
            sums = builder.add(before_these, sums)
            builder.store(sums, pointer, 1)
            most = builder.load(largest)
            builder.store(builder.select(builder.icmp_unsigned(">", sums, most), sums, most), largest)
        most = builder.load(largest)
        result = builder.extract_element(most, word(0))
        for lane in range(1, lanes):
            other = builder.extract_element(most, word(lane))
            result = builder.select(builder.icmp_unsigned(">", other, result), other, result)
        return result

    return values.dtype(values, types.intp, values.dtype), generate


@intrinsic
def add_up_by_address(typing: Any, address: Any, values: Any, before: Any, limit: Any) -> Any:
    """Call :func:`add_up` of bytes by its address, so that it is compiled once and not into each kernel."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return call_at(context, builder, _SIGNATURE, arguments[0], arguments[1:])

    return _SIGNATURE.return_type(types.int64, *_SIGNATURE.args), generate


_SIGNATURE = types.boolean(types.uint8[::1], types.int64, types.int64)
_compiled: dict[int, Any] = {}


def add_up_address(size: int) -> int:
    """Return the address of :func:`add_up` for bytes of values of ``size`` bytes each, compiled if need be."""
    if size not in _compiled:  # threads that come together find it in numba's cache, behind numba's own lock
        kind: Any = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[size]

        def add_up_bytes(values: np.ndarray, before: int, limit: int) -> bool:
            return add_up(values.view(kind), kind(before), limit)

        _compiled[size] = nb.cfunc(_SIGNATURE, cache=True)(add_up_bytes)
    return int(_compiled[size].address)
