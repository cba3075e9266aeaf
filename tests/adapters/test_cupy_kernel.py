"""The CUDA kernel's arithmetic, without a GPU: compiled as C++, its threads are threads and its barriers barriers."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from annbatch._buffers import allocate_aligned
from annbatch.testing._batches import compact_window, expanded
from annbatch.transforms import NormalizeLog1p
from annbatch_cupy import _kernel

THREADS = 8

BEFORE = """
#include <barrier>
#include <cmath>
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
    float value;
    explicit __half(int value) : value(value) {}
    __half& operator+=(__half other) { value += other.value; return *this; }
};
inline float __half2float(__half half) { return half.value; }
inline __half __float2half(float value) { __half half(0); half.value = value; return half; }
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


@pytest.fixture
def compile_for(tmp_path, monkeypatch):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++)")
    monkeypatch.setattr(_kernel, "THREADS", THREADS)

    def compiled(*dtypes):
        kernel = _kernel.source(*dtypes)
        assert "#include <cuda_fp16.h>" in kernel
        code = tmp_path / "kernel.cpp"
        code.write_text(BEFORE + kernel.replace("#include <cuda_fp16.h>", "") + AFTER)
        command = [compiler, "-std=c++20", "-shared", "-fPIC", "-pthread", f"-DTHREADS={THREADS}", "-o"]
        done = subprocess.run([*command, tmp_path / "kernel.so", code], capture_output=True, text=True, check=False)
        if "barrier" in done.stderr and "No such file" in done.stderr:
            pytest.skip("the C++ compiler is older than C++20")
        assert done.returncode == 0, done.stderr
        return ctypes.CDLL(str(tmp_path / "kernel.so")).launch

    return compiled


def address(array):
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


@pytest.mark.parametrize(("stored", "result"), [("uint8", "float32"), ("float32", "float64"), ("uint16", "uint32")])
def test_rows_become_dense(compile_for, stored, result):
    launch = compile_for(stored, "uint16", "int32", result)
    panel = np.arange(40, dtype=np.int32)
    panel[::3] = -1
    panel[panel >= 0] = np.arange((panel >= 0).sum())[::-1]
    transforms = (None,) if result == "uint32" else (None, NormalizeLog1p(1e4))
    for columns in (None, panel):
        for transform in transforms:
            options = {"wanted": result, "columns": columns, "transform": transform}
            window = compact_window(allocate_aligned, [5, 0, 33], stored, seed=0, **options)
            for batch in range(3):
                elements, pointers, (n_rows, width) = (
                    window.elements(batch),
                    window.pointers(batch),
                    window.shape(batch),
                )
                parts = window.data[elements], window.indices[elements], window.indptr[pointers], columns
                out = np.full((n_rows, width), 77, result)
                target_sum = ctypes.c_double(0 if transform is None else transform.target_sum)
                launch(n_rows, *map(address, parts), width, target_sum, address(out))
                np.testing.assert_allclose(out, expanded(window, batch), rtol=1e-6)


def test_repeated_columns_add_up(compile_for):
    launch = compile_for("uint8", "uint16", "int32", "float32")
    data, indices = np.array([3, 4, 5], np.uint8), np.array([1, 1, 0], np.uint16)
    indptr, out = np.array([0, 2, 2, 3], np.int32), np.full((3, 2), 77, np.float32)
    launch(3, address(data), address(indices), address(indptr), None, 2, ctypes.c_double(0), address(out))
    np.testing.assert_array_equal(out, [[0, 7], [0, 0], [5, 0]])
