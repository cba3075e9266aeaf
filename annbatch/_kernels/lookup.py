"""Which of a row's columns are wanted: one bit a stored column, looked up many at a time.

The bits of 62,710 columns are 8 KB, which stay in the first-level cache. Column numbers of a row ascend, nearly always:
where 32 of them lie within 4,096 columns, all bits that they can need are eight registers of AVX-512, and four
permutations look all of them up (0.4 us for 50 of 1,606 elements, one by one 1.0).
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types

from .intrinsics import intrinsic

GROUP = 32
"""Columns looked up at a time."""

_LANES = 16  # of a register of positions
_WORD = 16
_REGISTERS = 8
_REACH = _REGISTERS * GROUP  # words of as many bits


def bits_of(wanted: np.ndarray) -> np.ndarray:
    """Return one bit a column as uint64, from the lowest on, and room for a look-up that begins at the last column.

    Parameters
    ----------
    wanted
        ``(n_stored_columns,)`` bool.
    """
    packed = np.packbits(wanted, bitorder="little")
    bits = np.zeros(len(packed) // 8 + 1 + _REACH * _WORD // 64, dtype="<u8")
    bits.view(np.uint8)[: len(packed)] = packed
    return bits


@intrinsic
def keep_group(typing: Any, indices: Any, at: Any, bits: Any, positions: Any, n: Any) -> Any:
    """Write to ``positions[n:]`` which of ``indices[at:at + GROUP]`` are wanted columns; return how many are, an int64.

    -1 where they reach too far from the first of them, and always where the processor has no AVX-512 or positions are
    not of 32 bits: what is written for those who get it is then all that is compiled. What lies behind is overwritten,
    up to ``positions[n + GROUP]``.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        if "+avx512bw" not in context.codegen().magic_tuple()[-1] or positions.dtype.bitwidth != 32:
            return ir.Constant(ir.IntType(64), -1)
        width = indices.dtype.bitwidth
        columns = _load(builder, _element(context, builder, indices, arguments[0], arguments[1]), width, GROUP)
        if width < _WORD:
            columns = builder.zext(columns, _integers(_WORD, GROUP))
        hits, known = _hits(context, builder, columns, bits, arguments[2])
        first, kept = builder.trunc(arguments[1], ir.IntType(32)), arguments[4]
        for half in range(2):
            lanes = list(range(half * _LANES, (half + 1) * _LANES))
            some = _lanes(builder, hits, lanes)
            numbers = builder.add(_spread(builder, first, _LANES), ir.Constant(_integers(32, _LANES), lanes))
            place = _element(context, builder, positions, arguments[3], kept)
            store = builder.bitcast(place, _integers(32, _LANES).as_pointer())
            builder.store(_compress(builder, numbers, some), store, align=4)
            n_hits = builder.ctpop(builder.bitcast(some, ir.IntType(_LANES)))
            kept = builder.add(kept, builder.zext(n_hits, ir.IntType(64)))
        return builder.select(known, builder.sub(kept, arguments[4]), ir.Constant(ir.IntType(64), -1))

    return types.int64(indices, types.int64, bits, positions, types.int64), generate


@nb.njit(nogil=True, cache=True)
def find_wanted(indices: np.ndarray, bits: np.ndarray, positions: np.ndarray) -> int:
    """Write to ``positions``, as long as ``indices``, which of these are wanted columns; return how many are.

    Positions of 32 bits are found the fastest. They are written and then kept or overwritten: which columns are wanted
    is beyond prediction, and branches that depend on it cost 0.6 us a row (46 wanted of 1,606 elements).
    """
    one, last = np.uint64(1), np.uint64(63)
    n = j = 0
    while j < indices.size:
        stop = min(j + GROUP, indices.size)
        hits = keep_group(indices, j, bits, positions, n) if stop == j + GROUP else -1
        if hits < 0:
            hits = 0
            for k in range(j, stop):
                positions[n + hits] = k
                column = np.uint64(indices[k])
                hits += np.int64((bits[column >> np.uint64(6)] >> (column & last)) & one)
        n += hits
        j = stop
    return n


def _hits(context: Any, builder: ir.IRBuilder, columns: Any, bits: Any, value: Any) -> tuple[Any, Any]:
    """Return one bit a column, 1 where it is wanted, and whether they lie close enough together to say so."""
    wide, word = columns.type.element, ir.IntType(_WORD)
    first = builder.and_(builder.extract_element(columns, _index(0)), wide(-_WORD))
    from_first = builder.sub(columns, _spread(builder, first, GROUP))
    near = builder.icmp_unsigned("<", from_first, _all(wide, _REACH * _WORD))
    behind = builder.icmp_unsigned(">=", columns, _spread(builder, first, GROUP))
    every = builder.bitcast(builder.and_(near, behind), ir.IntType(GROUP))
    if wide.width > _WORD:
        from_first = builder.trunc(from_first, _integers(_WORD, GROUP))
    words = _words_of_bits(context, builder, bits, value, first)
    number = builder.lshr(from_first, _all(word, 4))
    found = [_permute(builder, words[k], words[k + 1], number) for k in range(0, _REGISTERS, 2)]
    while len(found) > 1:
        *found, low, high = found
        below = builder.icmp_unsigned("<", number, _all(word, 2 * GROUP * (len(found) + 1)))
        found.append(builder.select(below, low, high))
    bit = builder.lshr(found[0], builder.and_(from_first, _all(word, _WORD - 1)))
    hits = builder.trunc(bit, _integers(1, GROUP))
    return hits, builder.icmp_unsigned("==", every, ir.IntType(GROUP)(-1))


def _element(context: Any, builder: ir.IRBuilder, array: Any, value: Any, at: Any) -> Any:
    return builder.gep(context.make_array(array)(context, builder, value).data, [at])


def _words_of_bits(context: Any, builder: ir.IRBuilder, bits: Any, value: Any, column: Any) -> list[Any]:
    """Load registers of bits, from a column on whose number is a multiple of 16."""
    byte = builder.lshr(column, column.type(3))
    if column.type.width < 64:
        byte = builder.zext(byte, ir.IntType(64))
    start = builder.bitcast(context.make_array(bits)(context, builder, value).data, ir.IntType(8).as_pointer())
    step = GROUP * _WORD // 8
    return [
        _load(builder, builder.gep(start, [builder.add(byte, byte.type(step * k))]), _WORD, GROUP)
        for k in range(_REGISTERS)
    ]


def _load(builder: ir.IRBuilder, pointer: Any, width: int, n: int) -> Any:
    return builder.load(builder.bitcast(pointer, _integers(width, n).as_pointer()), align=1)


def _permute(builder: ir.IRBuilder, low: Any, high: Any, number: Any) -> Any:
    """Return words of two registers, by the lowest six bits of their numbers."""
    kind = _integers(_WORD, GROUP)
    return _call(builder, "llvm.x86.avx512.vpermi2var.hi.512", kind, [low, number, high])


def _compress(builder: ir.IRBuilder, numbers: Any, mask: Any) -> Any:
    """Return the numbers that the mask has, one after the other, in the first lanes."""
    nothing = ir.Constant(numbers.type, None)
    return _call(builder, f"llvm.x86.avx512.mask.compress.v{_LANES}i32", numbers.type, [numbers, nothing, mask])


def _call(builder: ir.IRBuilder, name: str, returned: Any, arguments: list[Any]) -> Any:
    function = builder.module.globals.get(name)
    if function is None:
        kinds = [argument.type for argument in arguments]
        function = ir.Function(builder.module, ir.FunctionType(returned, kinds), name)
    return builder.call(function, arguments)


def _lanes(builder: ir.IRBuilder, values: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(values, values, ir.Constant(_integers(32, len(lanes)), lanes))


def _integers(width: int, n: int) -> ir.VectorType:
    return ir.VectorType(ir.IntType(width), n)


def _all(kind: ir.IntType, value: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(kind, GROUP), [value] * GROUP)


def _index(number: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), number)


def _spread(builder: ir.IRBuilder, value: Any, n: int) -> Any:
    none = ir.Constant(ir.VectorType(value.type, n), ir.Undefined)
    first = builder.insert_element(none, value, _index(0))
    return builder.shuffle_vector(first, none, ir.Constant(_integers(32, n), [0] * n))
