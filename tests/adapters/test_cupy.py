"""CuPy's adapter: the shipped suite on a GPU; without one, its errors."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from annbatch.batch import CSR
from annbatch.errors import DeviceMemoryError, MissingDependencyError
from annbatch.testing import AdapterTests
from annbatch.testing._batches import compact_window, expanded, sparse_batch
from annbatch_cupy import CupyAdapter
from annbatch_cupy._adapter import _sparse_dtype


def why_not() -> str:
    """Return why CuPy cannot be used here; empty where it can."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    return "" if cupy.cuda.is_available() else "CuPy finds no CUDA device"


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("uint8", "float32"), ("int16", "float32"), ("float16", "float32"), ("int32", "float64"), ("uint64", "float64")],
)
def test_the_dtype_of_sparse_counts(dtype, expected):
    assert _sparse_dtype(np.array([0, 3], dtype)) == expected


@pytest.mark.parametrize("values", [np.array([2**53 + 1]), np.array([-(2**53) - 1]), np.array([2**64 - 1], np.uint64)])
def test_counts_that_float64_does_not_hold(values):
    with pytest.raises(
        TypeError, match=rf"CuPy has no sparse matrix of dtype .*, and float64 does not hold {values[0]}"
    ):
        _sparse_dtype(values)


@pytest.mark.gpu
@pytest.mark.skipif(bool(why_not()), reason=why_not())
class TestCupyAdapter(AdapterTests):
    sparse_dtypes = ("bool", "float32", "float64", "complex64", "complex128")
    zero_copy = False

    @property
    def adapter(self):
        return CupyAdapter()

    def to_numpy(self, array):
        return array.get()

    def csr_parts(self, matrix):
        return matrix.data, matrix.indices, matrix.indptr

    def test_a_sparse_batch_computes(self):
        import cupy

        batch = sparse_batch(self.adapter.allocate, (33, 20), "float32", seed=0, capacity=self.adapter.capacity)
        weights = np.arange(40, dtype=np.float32).reshape(20, 2)
        product = self.adapter.csr(batch) @ cupy.asarray(weights)
        np.testing.assert_array_equal(product.get(), batch.to_dense() @ weights)

    def test_indices_come_in_32_bits_where_they_fit(self):
        wide = np.array([0, 1], np.int64)
        matrix = self.adapter.csr(CSR(np.ones(1, np.float32), wide[:1], wide, (1, 5)))
        assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
        np.testing.assert_array_equal(matrix.toarray().get(), [[1, 0, 0, 0, 0]])
        with pytest.raises(TypeError, match="CuPy's sparse matrices have int32 indices, got int64 for 1 non-zeros"):
            self.adapter.csr(CSR(np.ones(1, np.float32), wide[:1], wide, (1, 2**31)))

    @pytest.mark.parametrize("device", [-1, 999, "cuda", True])
    def test_a_device_that_is_not_there(self, device):
        rule = rf"`device` must be the number of a CUDA device \(below \d+ here\), got {device!r}"
        with pytest.raises(ValueError, match=rule):
            CupyAdapter(device)

    def test_no_room(self):
        window = compact_window(self.adapter.allocate, [1024], "uint8", seed=0, wanted="float32")
        make = self.adapter.stage(replace(window, n_columns=2**31 - 1))
        rule = r"A dense batch of 8,796,093,018,112 bytes does not fit into the free memory of CUDA device 0: make `bat"
        with pytest.raises(DeviceMemoryError, match=rule):
            make(0)

    def test_bfloat16_is_refused(self):
        window = compact_window(self.adapter.allocate, [9], "uint8", seed=0, wanted="bfloat16")
        with pytest.raises(TypeError, match=r"CuPy has no dtype bfloat16: choose another \(`Loader\(dtype="):
            self.adapter.stage(window)

    def test_batches_are_kept_while_windows_come_and_go(self):
        """The blocks that windows travel to are used again while the user's stream has yet to read them."""
        import cupy

        adapter, batches = self.adapter, []
        busy = cupy.ones((8000, 8000), dtype=cupy.float32)
        for _ in range(10):
            busy = busy @ busy
        for seed in range(40):
            window = compact_window(adapter.allocate, [40, 30], "uint16", seed=seed, wanted="float32")
            batches.append((adapter.stage(window)(1), expanded(window, 1)))
        for batch, expected in batches:
            np.testing.assert_array_equal(batch.get(), expected)

    def test_windows_are_pinned(self):
        import cupy

        block = self.adapter.allocate(4096)
        attributes = cupy.cuda.runtime.pointerGetAttributes(block.ctypes.data)
        assert attributes.type == cupy.cuda.runtime.memoryTypeHost

    def test_memory_is_held_until_it_was_copied(self):
        """The copies wait behind work on the device, while the host's memory is offered for reuse at once."""
        import cupy

        from annbatch._runtime.buffers import BufferPool

        adapter = self.adapter
        pool = BufferPool(adapter.allocate)
        busy = cupy.ones((8000, 8000), dtype=cupy.float32)
        for _ in range(10):
            busy = busy @ busy
        arrays = []
        for number in range(20):
            host = pool.lend(4_000_000)
            host[:] = number
            arrays.append(adapter.dense(host))
            del host
        for number, array in enumerate(arrays):
            assert bool((array == number).all())

    def test_copies_end_before_the_adapter_is_gone(self):
        """A batch that outlives its loader: the host's memory is anyone's as soon as nothing holds it."""
        import cupy

        adapter = self.adapter
        with adapter._transfer._stream:
            busy = cupy.ones((8000, 8000), dtype=cupy.float32)
            for _ in range(10):
                busy = busy @ busy
        host = adapter.allocate(4_000_000)
        host[:] = 1
        array = adapter.dense(host)
        del adapter
        host[:] = 2
        assert bool((array == 1).all())

    def test_a_window_is_read_on_several_streams(self):
        """Its block is used again only when the slowest of them is done."""
        import cupy

        adapter, batches = self.adapter, []
        slow = cupy.cuda.Stream(non_blocking=True)
        for seed in range(20):
            window = compact_window(adapter.allocate, [40, 30], "uint16", seed=seed, wanted="float32")
            make = adapter.stage(window)
            with slow:
                busy = cupy.ones((4000, 4000), dtype=cupy.float32)
                busy = busy @ busy
                batches.append((make(0), expanded(window, 0)))
            batches.append((make(1), expanded(window, 1)))
            del make
        cupy.cuda.Device().synchronize()
        for batch, expected in batches:
            np.testing.assert_array_equal(batch.get(), expected)


@pytest.mark.skipif(why_not() != "CuPy finds no CUDA device", reason=why_not() or "CuPy finds a CUDA device")
def test_without_a_gpu():
    with pytest.raises(ValueError, match=r"`device` must be a CUDA device, and CuPy finds none here \(.*\), got None"):
        CupyAdapter()


def test_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    needs = "Adapter 'cupy' needs CuPy: `pip install cupy-cuda12x` (or `cupy-cuda13x`)."
    with pytest.raises(MissingDependencyError, match=re.escape(needs)) as error:
        CupyAdapter()
    assert isinstance(error.value.__cause__, ModuleNotFoundError)


def test_importing_the_package_imports_no_cupy():
    code = "import annbatch_cupy, sys; raise SystemExit('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
