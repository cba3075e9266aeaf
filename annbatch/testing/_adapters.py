"""Tests that every adapter must pass."""

from __future__ import annotations

import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from .._runtime.buffers import ALIGNMENT, BufferPool
from ..transforms import NormalizeLog1p
from ._batches import compact_window, dense_batch, densified, expanded, sparse_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..abc import Adapter
    from ..batch import CSR

_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
_DTYPES = ("bool", *_INTEGERS, "float16", "float32", "float64", "complex64", "complex128")
_SHAPES = ((5,), (4, 3), (3, 2, 5), (2, 2, 2, 3), (0, 3))


class AdapterTests:
    """The tests of an adapter; subclass it in a test file, say what it needs to know, and run pytest.

    Attributes
    ----------
    adapter
        The adapter under test.
    dtypes
        Names of the dtypes that its dense arrays have. Others must raise ``TypeError``, or come as a dtype that holds
        every value. Default: all numeric ones.
    sparse_dtypes
        The same for its sparse matrices; default None: as ``dtypes``.
    zero_copy
        Whether its arrays share the host's memory. Default True.

    Examples
    --------
    An adapter for NumPy itself, in a test file:

    >>> from annbatch.abc import Adapter
    >>> from annbatch.testing import AdapterTests
    >>> class NumpyAdapter(Adapter):
    ...     name = "numpy"
    ...
    ...     def dense(self, array):
    ...         return array
    ...
    ...     def csr(self, matrix):
    ...         return matrix
    >>> class TestNumpyAdapter(AdapterTests):
    ...     adapter = NumpyAdapter()
    ...
    ...     def csr_parts(self, matrix):
    ...         return matrix.data, matrix.indices, matrix.indptr
    >>> TestNumpyAdapter().test_csr()
    """

    adapter: Adapter
    dtypes: Sequence[str] = _DTYPES
    sparse_dtypes: Sequence[str] | None = None
    zero_copy: bool = True

    def to_numpy(self, array: Any) -> np.ndarray:
        """Return a dense array of the framework as a NumPy one; without a copy where ``zero_copy`` is to be proved."""
        return np.asarray(array)

    def csr_parts(self, matrix: Any) -> tuple[Any, Any, Any]:
        """Return ``(data, indices, indptr)`` of a sparse matrix of the framework, as its dense arrays."""
        raise NotImplementedError(f"{type(self).__name__} must define `csr_parts`.")

    # What it is -------------------------------------------------------------------------------------------------------

    def test_name(self) -> None:
        """It has a name, by which errors call it."""
        _check(isinstance(self.adapter.name, str) and self.adapter.name, "`name` must be a string that is not empty")

    def test_pickle(self) -> None:
        """It can go to another process, as the loader that holds it can."""
        copy = pickle.loads(pickle.dumps(self.adapter))
        host = dense_batch(copy.allocate, (4, 3), self._dtype, seed=0)
        _same(self.to_numpy(copy.dense(host)), host, "after pickling")

    # Memory -----------------------------------------------------------------------------------------------------------

    def test_allocate(self) -> None:
        """Memory is flat, writable, aligned and nobody else's, whichever thread asks for it."""
        sizes = (0, 1, 63, 64, 4096, 1_000_003)
        with ThreadPoolExecutor(4) as threads:
            blocks = list(threads.map(self.adapter.allocate, sizes * 4))
        for number, (block, size) in enumerate(zip(blocks, sizes * 4, strict=True)):
            _check(isinstance(block, np.ndarray) and block.dtype == np.uint8, f"must be a uint8 array, got {block!r}")
            _check(block.shape == (size,), f"`allocate({size})` must have that many bytes, got {block.shape}")
            _check(block.flags.writeable, "memory must be writable")
            _check(size == 0 or block.ctypes.data % ALIGNMENT == 0, f"memory must be {ALIGNMENT}-byte aligned")
            block[:] = number
        for number, block in enumerate(blocks):
            _check(bool((block == number).all()), "no two blocks may overlap")

    def test_capacity(self) -> None:
        """A batch has room for its values, whichever thread asks."""
        nnzs = [0, 1, 2, 255, 256, 257, 100_000]
        with ThreadPoolExecutor(4) as threads:
            capacities = list(threads.map(self.adapter.capacity, nnzs))
        for nnz, capacity in zip(nnzs, capacities, strict=True):
            _check(isinstance(capacity, int) and capacity >= nnz, f"`capacity({nnz})` must hold them, got {capacity!r}")

    # Values -----------------------------------------------------------------------------------------------------------

    def test_dense(self) -> None:
        """Dense arrays keep dtype, shape and every value, with any number of dimensions and with no rows."""
        for dtype in self.dtypes:
            for shape in _SHAPES:
                host = dense_batch(self.adapter.allocate, shape, dtype, seed=len(shape))
                _same(self.to_numpy(self.adapter.dense(host)), host, f"dense {dtype} {shape}")

    def test_dense_read_only(self) -> None:
        """A read-only array, as pandas gives out, is taken."""
        host = dense_batch(self.adapter.allocate, (7,), self._dtype, seed=0)
        before = host.copy()
        host.flags.writeable = False
        _same(self.to_numpy(self.adapter.dense(host)), before, "dense, read-only")

    def test_csr(self) -> None:
        """Sparse matrices keep dtypes, order within rows and every value; padding holds zeros."""
        for dtype in self._sparse_dtypes:
            for batch in self._batches(dtype):
                self._same_csr(self.adapter.csr(batch), batch, f"csr {dtype} {batch.shape}")

    def test_densify(self) -> None:
        """Dense arrays of sparse batches are exact; repeated columns add up in the dtype, padding does not."""
        for dtype in self.dtypes:
            for batch in self._batches(dtype):
                expected = densified(batch)
                _same(self.to_numpy(self.adapter.densify(batch)), expected, f"densify {dtype} {batch.shape}")

    def test_stage(self) -> None:
        """Windows that travel whole become the same dense batches, whatever is left out or done to the values."""
        if not self.adapter.stages:
            return
        _check(self.adapter.densifies, "an adapter that stages must say that it `densifies`")
        panel = np.full(40, -1, dtype=np.int32)
        panel[[30, 2, 17, 5]] = [0, 1, 2, 3]
        wanted_dtypes = "float32", "float16", "uint16", "int8", "bool"
        pairs = itertools.product(("uint8", "uint16", "int32", "float32"), wanted_dtypes)
        # Batches of many sizes once, and of each pair of dtypes two of one size: a framework may compile for each.
        cases = [("uint16", "float32", columns, [5, 0, 33, 1, 64]) for columns in (None, panel)]
        cases += [(*pair, (None, panel)[number % 2], [16, 16]) for number, pair in enumerate(pairs)]
        for stored, wanted, columns, rows in cases:
            if wanted not in self.dtypes:
                continue
            window = compact_window(
                self.adapter.allocate, rows, stored, seed=len(stored), wanted=wanted, columns=columns
            )
            make = self.adapter.stage(window)
            for batch in reversed(range(len(rows))):
                expected = expanded(window, batch).astype(wanted)
                _same(self.to_numpy(make(batch)), expected, f"staged, {stored} to {wanted}, batch {batch}")

    def test_stage_with_a_transform(self) -> None:
        """A transform that it applies on the device comes to what it comes to on the host."""
        transform = NormalizeLog1p(1e4)
        if not self.adapter.stages or not self.adapter.applies(transform):
            return
        panel = np.arange(40, dtype=np.int32)
        panel[::3] = -1
        panel[panel >= 0] = np.arange((panel >= 0).sum())
        for wanted, tolerance in (("float32", 1e-6), ("float16", 1e-3)):
            for columns in (None, panel):
                window = compact_window(
                    self.adapter.allocate,
                    [7, 64],
                    "uint16",
                    seed=1,
                    wanted=wanted,
                    columns=columns,
                    transform=transform,
                )
                make = self.adapter.stage(window)
                for batch in (0, 1):
                    actual = self.to_numpy(make(batch))
                    _check(str(actual.dtype) == wanted, f"staged: dtype must be {wanted}, got {actual.dtype}")
                    np.testing.assert_allclose(actual, expanded(window, batch), rtol=tolerance)

    def test_stage_keeps_batches(self) -> None:
        """Batches of windows that travelled whole stay as they are while the memory of others is used again."""
        if not self.adapter.stages:
            return
        pool = BufferPool(self.adapter.allocate)
        kept: list[tuple[Any, np.ndarray]] = []
        for seed in range(40):
            window = compact_window(pool.lend, [40, 30], "uint16", seed=seed, wanted="float32")
            expected, make = expanded(window, 1), self.adapter.stage(window)
            del window  # the adapter alone holds on to it, for as long as it must
            kept.append((make(1), expected))
        for array, expected in kept:
            _same(self.to_numpy(array), expected, "staged, kept")

    def test_other_dtypes_are_refused(self) -> None:
        """A dtype that it lacks is an error that names the dtype, or comes as another without losing a value."""
        allocate = self.adapter.allocate
        for dtype in sorted({*_DTYPES, "datetime64[s]", "U3"} - set(self.dtypes)):
            host = (
                np.zeros(3, dtype) if dtype in ("datetime64[s]", "U3") else dense_batch(allocate, (3,), dtype, seed=0)
            )
            _refused_or_exact(lambda array: self.to_numpy(self.adapter.dense(array)), host, host, "dense")
        for dtype in sorted(set(_DTYPES) - set(self._sparse_dtypes)):
            batch = sparse_batch(allocate, (3, 4), dtype, seed=0, capacity=self.adapter.capacity)
            _refused_or_exact(self._values, batch, batch.data[: batch.nnz], "csr")

    # Ownership --------------------------------------------------------------------------------------------------------

    def test_zero_copy(self) -> None:
        """Arrays lie in the host's memory, where the adapter says so."""
        if not self.zero_copy:
            return
        host = dense_batch(self.adapter.allocate, (16, 4), self._dtype, seed=0)
        _check(np.shares_memory(self.to_numpy(self.adapter.dense(host)), host), "`dense` copied")
        batch = sparse_batch(self.adapter.allocate, (9, 5), self._sparse_dtype, seed=1, capacity=self.adapter.capacity)
        parts = self.csr_parts(self.adapter.csr(batch))
        for name, part in zip(("data", "indices", "indptr"), parts, strict=True):
            _check(np.shares_memory(self.to_numpy(part), getattr(batch, name)), f"`csr` copied `{name}`")

    def test_kept_batches(self) -> None:
        """Batches that are kept stay as they are while the memory of others is used again beneath them."""
        pool = BufferPool(self.adapter.allocate)
        kept: list[tuple[Any, CSR, Any, np.ndarray]] = []
        for seed in range(60):
            batch = sparse_batch(pool.lend, (40, 30), self._sparse_dtype, seed=seed, capacity=self.adapter.capacity)
            dense = dense_batch(pool.lend, (40, 30), self._dtype, seed=seed)
            converted = self.adapter.csr(batch), self.adapter.dense(dense)
            if seed % 3 == 0:  # the memory of the others comes back and is written to
                expected = sparse_batch(_fresh, (40, 30), self._sparse_dtype, seed=seed, capacity=self.adapter.capacity)
                kept.append((converted[0], expected, converted[1], dense.copy()))
            del batch, dense, converted
        for matrix, expected, array, values in kept:
            self._same_csr(matrix, expected, "csr, kept")
            _same(self.to_numpy(array), values, "dense, kept")

    def test_memory_comes_back(self) -> None:
        """Memory of batches that are dropped is used again: nothing in the adapter holds on to it."""
        if not self.zero_copy:
            return  # a transfer may hold it for as long as it takes
        pool = BufferPool(self.adapter.allocate)
        for seed in range(50):
            self.adapter.dense(dense_batch(pool.lend, (1000,), self._dtype, seed=seed))
        one = 1000 * np.dtype(self._dtype).itemsize
        _check(pool.peak_bytes < 10 * one, f"50 batches of {one} bytes, none kept, took {pool.peak_bytes}")

    def test_another_thread(self) -> None:
        """Batches are the same on a thread other than the one that made the adapter."""
        dtype = self._sparse_dtype
        batch = sparse_batch(self.adapter.allocate, (9, 5), dtype, seed=0, capacity=self.adapter.capacity)
        with ThreadPoolExecutor(1) as thread:
            self._same_csr(thread.submit(self.adapter.csr, batch).result(), batch, "csr on another thread")

    # Parts ------------------------------------------------------------------------------------------------------------

    @property
    def _dtype(self) -> str:
        return "float32" if "float32" in self.dtypes else self.dtypes[0]

    @property
    def _sparse_dtype(self) -> str:
        return "float32" if "float32" in self._sparse_dtypes else self._sparse_dtypes[0]

    @property
    def _sparse_dtypes(self) -> Sequence[str]:
        return self.dtypes if self.sparse_dtypes is None else self.sparse_dtypes

    def _batches(self, dtype: str) -> list[CSR]:
        """Return ordinary batches, one without rows and one without values, laid out as the loader does it."""
        shapes = ((1, 1), (17, 11), (64, 300), (0, 6))
        allocate, capacity = self.adapter.allocate, self.adapter.capacity
        batches = [sparse_batch(allocate, shape, dtype, seed=shape[0], capacity=capacity) for shape in shapes]
        return [*batches, sparse_batch(allocate, (8, 6), dtype, seed=0, capacity=capacity, density=0.0)]

    def _values(self, batch: CSR) -> np.ndarray:
        return self.to_numpy(self.csr_parts(self.adapter.csr(batch))[0])[: batch.nnz]

    def _same_csr(self, matrix: Any, batch: CSR, what: str) -> None:
        _check(tuple(matrix.shape) == batch.shape, f"{what}: shape must be {batch.shape}, got {matrix.shape}")
        data, indices, indptr = (self.to_numpy(part) for part in self.csr_parts(matrix))
        _same(indptr, batch.indptr, f"{what}: indptr")
        _same(indices[: batch.nnz], batch.indices[: batch.nnz], f"{what}: indices")
        _same(data[: batch.nnz], batch.data[: batch.nnz], f"{what}: data")
        _check(not data[batch.nnz :].any(), f"{what}: values beyond indptr[-1] must be zero")


def _fresh(nbytes: int) -> np.ndarray:
    return np.empty(nbytes, dtype=np.uint8)


def _check(right: object, rule: str) -> None:
    """Raise ``AssertionError`` by hand: pytest rewrites no ``assert`` in installed packages, and ``-O`` drops them."""
    if not right:
        raise AssertionError(rule)


def _same(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    _check(actual.dtype == expected.dtype, f"{what}: dtype must be {expected.dtype}, got {actual.dtype}")
    np.testing.assert_array_equal(actual, expected, err_msg=what, strict=True)


def _refused_or_exact(convert: Callable[[Any], np.ndarray], batch: Any, values: np.ndarray, what: str) -> None:
    what = f"{what} of {values.dtype}"
    try:
        result = convert(batch)
    except TypeError as error:
        _check(str(values.dtype) in str(error), f"{what}: the error must name the dtype, got {error}")
    else:
        _check(values.dtype.kind in "biufc", f"{what} must raise TypeError, got {result!r}")
        np.testing.assert_array_equal(result, values, err_msg=f"{what} must raise TypeError or keep every value")
