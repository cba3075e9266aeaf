"""The CUDA kernel without a GPU: its arithmetic, compiled as C++ with threads for threads; as NVIDIA compiles it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from annbatch._runtime.buffers import allocate_aligned
from annbatch.testing._batches import compact_window, expanded
from annbatch.transforms import NormalizeLog1p
from annbatch_cupy import _kernel

THREADS = 8
KINDS = (
    ("uint8", "uint16", "int32", "float32"),
    ("float32", "int32", "int64", "float64"),
    ("uint16", "uint16", "int32", "uint32"),
    ("uint16", "uint16", "int32", "float16"),
    ("float16", "int32", "int32", "float32"),
    ("int64", "uint16", "int32", "uint64"),
    ("bool", "int32", "int64", "int32"),
)
"""Values, column numbers, row pointers and results: each of the kernel's ways with types."""

BEFORE = """
#include <barrier>
#include <cmath>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>
#define __global__
#define __device__ inline
#define __shared__ static
#define __syncthreads() barrier.arrive_and_wait()
struct Place { int x; };
thread_local Place threadIdx, blockIdx;
static std::barrier barrier(THREADS);
static std::mutex one_at_a_time;
struct __half {
    unsigned short bits;
    explicit __half(float value);
};
inline float __half2float(__half half)  // of zeros and normal numbers
{
    unsigned int bits = half.bits & 0x7fff ? ((half.bits & 0x7fff) + (112 << 10)) << 13 : 0;
    bits |= (half.bits & 0x8000) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline __half::__half(float value)
{
    unsigned int all;
    std::memcpy(&all, &value, 4);
    const unsigned int nearest = (all + 0xfff + (all >> 13 & 1)) >> 13 & 0x3ffff;
    bits = (all >> 16 & 0x8000) | (all << 1 ? nearest - (112 << 10) : 0);
}
inline __half __float2half(float value) { return __half(value); }
inline __half& operator+=(__half& to, __half value) { return to = __half(__half2float(to) + __half2float(value)); }
template <typename T> void atomicAdd(T* to, T value)
{
    std::lock_guard<std::mutex> lock(one_at_a_time);
    *to += value;
}
"""
AFTER = """
extern "C" void launch(int n_rows, const Value* data, const Index* indices, const Pointer* indptr, const int* columns,
                       int n_columns, double target_sum, Result* out)
{
    std::vector<std::thread> threads;
    for (int number = 0; number < THREADS; number++)
        threads.emplace_back([=] {
            for (int row = 0; row < n_rows; row++) {
                threadIdx.x = number;
                blockIdx.x = row;
                expand_rows(data, indices, indptr, columns, n_columns, target_sum, out);
                __syncthreads();
            }
        });
    for (auto& thread : threads)
        thread.join();
}
"""
INCLUDE = "#include <cuda_fp16.h>"


def sources(after=""):
    """Return the kernel's source for all kinds in one, the names of which differ by the kind's number."""
    text = ""
    for number, kind in enumerate(KINDS):
        kernel = _kernel.source(*kind)
        assert INCLUDE in kernel
        kernel = (kernel.replace(INCLUDE, "") + after).replace("launch(", f"launch_{number}(")
        text += f"namespace kind_{number} {{{kernel.replace('expand_rows(', f'expand_rows_{number}(')}}}\n"
    return text


def compiled(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "barrier" in done.stderr and "No such file" in done.stderr:
        pytest.skip("the C++ compiler is older than C++20")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++)")
    folder = tmp_path_factory.mktemp("kernel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernel, "THREADS", THREADS)
        (folder / "kernel.cpp").write_text(BEFORE + sources(AFTER))
    options = ["-std=c++20", "-shared", "-fPIC", "-pthread", f"-DTHREADS={THREADS}"]
    compiled(compiler, *options, "-o", folder / "kernel.so", folder / "kernel.cpp")
    return ctypes.CDLL(str(folder / "kernel.so"))


def address(array):
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def launch(library, kind, out, data, indices, indptr, columns=None, target_sum=0.0):
    """Do what CuPy would, of arrays cast to the kind's types."""
    value, index, pointer, result = KINDS[kind]
    parts = data.astype(value), indices.astype(index), indptr.astype(pointer), columns
    assert out.dtype == result
    call = getattr(library, f"launch_{kind}")
    call(len(out), *map(address, parts), out.shape[1], ctypes.c_double(target_sum), address(out))


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=["-".join(kind) for kind in KINDS])
def test_rows_become_dense(library, kind):
    """Of batches with empty rows and without rows, whose last value is the last in memory; of all columns or some."""
    stored, _, _, result = KINDS[kind]
    panel = np.arange(40, dtype=np.int32)
    panel[::3] = -1
    panel[panel >= 0] = np.arange((panel >= 0).sum())[::-1]
    transforms = (None, NormalizeLog1p(1e4)) if result.startswith("float") else (None,)
    for columns in (None, panel):
        for transform in transforms:
            options = {"wanted": result, "columns": columns, "transform": transform}
            window = compact_window(allocate_aligned, [5, 0, 33], stored, seed=0, **options)
            for batch in range(3):
                elements, pointers = window.elements(batch), window.pointers(batch)
                parts = window.data[elements], window.indices[elements], window.indptr[pointers], columns
                out = np.full(window.shape(batch), 77, result)
                launch(library, kind, out, *parts, 0 if transform is None else transform.target_sum)
                tolerance = 1e-3 if result == "float16" else 1e-6
                np.testing.assert_allclose(out, expanded(window, batch).astype(result), rtol=tolerance)


def test_repeated_columns_add_up_and_empty_rows_are_zero(library):
    out = np.full((4, 2), 77, np.float32)
    launch(library, 0, out, np.array([3, 4, 5]), np.array([1, 1, 0]), np.array([0, 0, 2, 2, 3]))
    np.testing.assert_array_equal(out, [[0, 0], [0, 7], [0, 0], [5, 0]])


def test_nothing_is_written_beyond_the_last_row(library):
    out = np.full((5, 7), 77, np.float16)
    row = np.arange(7)
    launch(library, 3, out[:4], np.full(28, 9), np.tile(row, 4), np.arange(0, 29, 7), target_sum=63.0)
    np.testing.assert_array_equal(out[:4], np.log1p(np.full((4, 7), 9, np.float32)).astype(np.float16))
    assert (out[4] == 77).all()


def test_a_row_whose_total_is_zero_stays_as_it_is(library):
    out = np.full((2, 3), 77, np.float32)
    panel = np.array([0, -1, 1, 2], np.int32)
    launch(library, 0, out, np.array([5, 8]), np.array([1, 2]), np.array([0, 1, 2]), panel, 10.0)
    np.testing.assert_allclose(out, [[0, 0, 0], [0, np.log1p(10), 0]], rtol=1e-6)


def test_nvidia_s_compiler_takes_it(tmp_path):
    compiler = shutil.which("nvcc")
    if compiler is None:
        pytest.skip("no CUDA compiler (nvcc)")
    (tmp_path / "kernel.cu").write_text(f"{INCLUDE}\n{sources()}")
    options = ["-arch=sm_90", "-Werror=all-warnings", "-ptx"]
    compiled(compiler, *options, "-o", tmp_path / "kernel.ptx", tmp_path / "kernel.cu")
    ptx = (tmp_path / "kernel.ptx").read_text()
    assert all(f".visible .entry expand_rows_{number}(" in ptx for number in range(len(KINDS)))
