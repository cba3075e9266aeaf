"""CUDA source of the kernel that makes compact rows dense, for any dtypes."""

from __future__ import annotations

THREADS = 256
"""Threads per row."""

_TYPES = {
    "bool": "bool",
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned int",
    "int64": "long long",
    "uint64": "unsigned long long",
    "float16": "__half",
    "float32": "float",
    "float64": "double",
}

# One block of threads per row: it zeroes the row, sums its values if they are normalised, and adds each to its
# column. atomicAdd, because a row may hold a column twice; nearly always it meets a zero.
_SOURCE = """
#include <cuda_fp16.h>

typedef {value} Value;
typedef {index} Index;
typedef {pointer} Pointer;
typedef {result} Result;
typedef {computed} Computed;

template <typename T> __device__ Computed number(T value) {{ return (Computed)value; }}
__device__ Computed number(__half value) {{ return (Computed)__half2float(value); }}

template <typename T> __device__ void add(T* to, Computed value) {{ atomicAdd(to, (T)value); }}
__device__ void add(__half* to, Computed value) {{ atomicAdd(to, __float2half((float)value)); }}

extern "C" __global__ void expand_rows(
    const Value* data, const Index* indices, const Pointer* indptr, const int* columns, const int n_columns,
    const double target_sum, Result* out)
{{
    __shared__ double sums[{threads}];
    const int thread = threadIdx.x;
    const Pointer begin = indptr[blockIdx.x], end = indptr[blockIdx.x + 1];
    Result* row = out + (long long)blockIdx.x * n_columns;
    for (int column = thread; column < n_columns; column += {threads})
        row[column] = (Result)0;
    Computed scale = 1;
    if (target_sum > 0) {{
        double sum = 0;
        for (Pointer i = begin + thread; i < end; i += {threads})
            if (columns == nullptr || columns[indices[i]] >= 0)
                sum += (double)number(data[i]);
        sums[thread] = sum;
        for (int half = {threads} / 2; half > 0; half /= 2) {{
            __syncthreads();
            if (thread < half)
                sums[thread] += sums[thread + half];
        }}
        __syncthreads();
        if (sums[0] != 0)
            scale = (Computed)(target_sum / sums[0]);
    }}
    __syncthreads();
    for (Pointer i = begin + thread; i < end; i += {threads}) {{
        const int column = columns == nullptr ? (int)indices[i] : columns[indices[i]];
        if (column < 0)
            continue;
        Computed value = number(data[i]);
        if (target_sum > 0)
            value = {log1p}(value * scale);
        add(row + column, value);
    }}
}}
"""


def source(value: str, index: str, pointer: str, result: str) -> str:
    """Return the source for these dtypes: values, column numbers, row pointers and the result.

    The kernel computes in the dtype of the result, in float32 for float16.

    >>> from annbatch_cupy._kernel import source
    >>> "typedef unsigned short Index;" in source("uint8", "uint16", "int32", "float32")
    True
    """
    computed = "float32" if result == "float16" else result
    return _SOURCE.format(
        value=_TYPES[value],
        index=_TYPES[index],
        pointer=_TYPES[pointer],
        result=_TYPES[result],
        computed=_TYPES[computed],
        threads=THREADS,
        log1p="log1p" if result == "float64" else "log1pf",
    )
