"""Column numbers that are stored as differences: added up where they were decoded, a vector at a time.

Sums wrap around as the dtype does, so that a difference may be negative: where a row begins, for one.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from .intrinsics import array_at, caller, intrinsic
from .jit import address_of

_BITS = 256
"""Bits of a vector: as many as AVX2 has, which halves what 128 take; 512 gain nothing more."""


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


_SIGNATURE = types.boolean(types.int64, types.int64, types.int64, types.int64)

add_up_by_address = caller(_SIGNATURE)
"""Call a function of :func:`add_up_address`: ``add_up_by_address(address, values, n_bytes, before, limit)``."""


@functools.cache
def add_up_address(size: int) -> int:
    """Return the address of a function that replaces differences by the values, compiled if need be.

    It takes the address of the differences, their bytes, the value before the first one and a limit; and returns
    whether the values are below the limit, which is negative if there is none.

    Parameters
    ----------
    size
        Bytes per value, an unsigned integer.
    """
    kind: Any = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[size]
    per_vector = _BITS // 8 // size

    def add_up(address: int, n_bytes: int, before: int, limit: int) -> bool:
        values = array_at(kind, address, n_bytes // size)
        done = values.size - values.size % per_vector
        largest = add_up_vectors(values, done, kind(before))
        last = values[done - 1] if done else kind(before)
        for j in range(done, values.size):
            values[j] += last
            last = values[j]
            if last > largest:
                largest = last
        return bool(limit < 0 or largest < np.uint64(limit))

    return address_of(add_up, _SIGNATURE)
