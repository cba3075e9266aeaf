"""Sparse rows on the host, before an adapter passes them to a framework; and single rows of a batch, after it did."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ._runtime.buffers import allocate_aligned

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from scipy.sparse import csr_matrix

    from .transforms import Transform


@dataclass(frozen=True, slots=True)
class CSR:
    """A batch of sparse rows: views into a window's buffers.

    The arrays belong to the batch for as long as anything refers to them: their memory is reused only when
    the last reference is gone. Each starts on a 64-byte boundary.

    Attributes
    ----------
    data
        ``(capacity,)`` values. ``capacity`` is ``indptr[-1]``, or more if the adapter asked for padding; values beyond
        ``indptr[-1]`` are zero.
    indices
        ``(capacity,)`` column numbers, int32 (int64 only if there are too many columns for int32), in stored order;
        ``shape[1]``, which is not a column, beyond ``indptr[-1]``.
    indptr
        ``(n_rows + 1,)`` int32 (int64 only if the batch needs it); row ``i`` lies in ``indptr[i]:indptr[i + 1]``.
    shape
        ``(n_rows, n_columns)``.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    shape: tuple[int, int]

    @property
    def nnz(self) -> int:
        """Number of stored values, without padding."""
        return int(self.indptr[-1])

    def to_scipy(self) -> csr_matrix:
        """Return the batch as a SciPy matrix over the same memory.

        Returns
        -------
        scipy.sparse.csr_matrix
            Shares ``data``, ``indices`` and ``indptr``, without padding.

        Examples
        --------
        >>> import numpy as np
        >>> from annbatch.batch import CSR
        >>> indptr = np.array([0, 1], dtype=np.int32)
        >>> batch = CSR(np.ones(1, np.float32), np.zeros(1, np.int32), indptr, (1, 2))
        >>> batch.to_scipy().toarray()
        array([[1., 0.]], dtype=float32)
        """
        matrix = copy(_empty_matrix(self.shape, self.data.dtype))
        matrix.data = self.data[: self.nnz]
        matrix.indices = self.indices[: self.nnz]
        matrix.indptr = self.indptr
        return matrix

    def to_dense(self) -> np.ndarray:
        """Return the batch as a new dense array.

        Returns
        -------
        numpy.ndarray
            ``shape`` with the dtype of ``data``, C-contiguous, 64-byte aligned. Repeated columns in a row add up in
            that dtype, as in SciPy.

        Examples
        --------
        >>> import numpy as np
        >>> from annbatch.batch import CSR
        >>> indices, indptr = (
        ...     np.array([1, 1], dtype=np.int32),
        ...     np.array([0, 2], dtype=np.int32),
        ... )
        >>> CSR(np.array([3, 4], np.uint8), indices, indptr, (1, 2)).to_dense()
        array([[0, 7]], dtype=uint8)
        """
        import numpy as np

        from ._kernels.scatter import densify

        n_rows, n_columns = self.shape
        dtype = self.data.dtype
        nbytes = n_rows * n_columns * dtype.itemsize
        out = allocate_aligned(nbytes, zeroed=True).view(dtype).reshape(self.shape)
        if dtype == np.float16:  # numba has no float16 on the CPU
            rows = np.repeat(np.arange(n_rows), np.diff(self.indptr))
            np.add.at(out, (rows, self.indices[: self.nnz]), self.data[: self.nnz])
        else:
            densify(self.data, self.indices, self.indptr, out)
        return out


@lru_cache(maxsize=16)
def _empty_matrix(shape: tuple[int, int], dtype: np.dtype) -> csr_matrix:
    """Return a matrix to copy: SciPy's constructors take 35 us even if there is nothing to check."""
    from scipy.sparse import csr_matrix

    return csr_matrix(shape, dtype=dtype)


def split_rows(batch: Mapping[str, Any], n_rows: int, dense: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """Return the rows of a batch one by one, as map-style datasets yield them.

    Parameters
    ----------
    batch
        Batch of a loader.
    n_rows
        Number of its rows.
    dense
        Function that returns an array of an adapter's framework as a dense one.

    Returns
    -------
    list of dict
        Each like the batch, with arrays that lack their first axis, so that they can be stacked. Data frames are dicts
        of one value per column; what the batch has not, and ``var``, are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch import Loader
    >>> from annbatch.batch import split_rows
    >>> batch = (
    ...     Loader(return_index=True)
    ...     .add_dataset(np.arange(6).reshape(3, 2))
    ...     .take([2, 0])
    ... )
    >>> split_rows(batch, 2, dense=np.asarray)[0]
    {'X': array([4, 5]), 'index': np.int64(2)}
    """
    columns = _of_rows(batch, dense)
    return [_at(columns, number) for number in range(n_rows)]


def _of_rows(batch: Mapping[str, Any], dense: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the parts of a batch that have one item per row."""
    parts = {key: value for key, value in batch.items() if value is not None and key != "var"}
    modalities = {name: _of_rows(part, dense) for name, part in parts.pop("mod", {}).items()}
    return {key: _column(value, dense) for key, value in parts.items()} | ({"mod": modalities} if modalities else {})


def _column(value: Any, dense: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {name: _column(one, dense) for name, one in value.items()}
    if hasattr(value, "columns"):  # a data frame
        return {name: value[name].array for name in value.columns}
    return dense(value)


def _at(value: Any, number: int) -> Any:
    return {name: _at(one, number) for name, one in value.items()} if isinstance(value, dict) else value[number]


@dataclass(frozen=True, slots=True)
class CompactWindow:
    """The sparse rows of a window in the form that travels to a device, and how to make them dense there.

    Values and column numbers are of the types in which they are stored: with counts in uint8 or uint16 and columns in
    uint16, a third or half of the bytes of a float32 batch. Ownership is as for :class:`CSR`.

    Attributes
    ----------
    data
        ``(size,)`` values; undefined between batches and beyond the last.
    indices
        ``(size,)`` stored column numbers: uint16, or int32 if there are too many columns for uint16.
    indptr
        ``(n_rows + n_batches,)`` int32 (int64 only if a batch needs it): the row pointers of each batch, starting
        from 0, concatenated.
    begins
        ``(n_batches,)`` int64, start of each batch in ``data`` and ``indices``.
    edges
        ``(n_batches + 1,)`` int64, first row of each batch.
    columns
        ``(n_stored_columns,)`` int32, target of each stored column, -1 to drop it; None: columns stay in place.
    n_columns
        Number of columns in a dense batch.
    dtype
        Name of the dtype of a dense batch: a NumPy dtype, or ``"bfloat16"``.
    transform
        Transform of the values in columns that stay; None for no transform.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    begins: np.ndarray
    edges: np.ndarray
    columns: np.ndarray | None
    n_columns: int
    dtype: str
    transform: Transform | None

    @property
    def n_batches(self) -> int:
        """Number of batches."""
        return len(self.begins)

    @property
    def nbytes(self) -> int:
        """Bytes to transfer."""
        return self.data.nbytes + self.indices.nbytes + self.indptr.nbytes

    def shape(self, batch: int) -> tuple[int, int]:
        """Return the shape of a dense batch."""
        return int(self.edges[batch + 1] - self.edges[batch]), self.n_columns

    def pointers(self, batch: int) -> slice:
        """Return the range of a batch's row pointers in ``indptr``."""
        return slice(int(self.edges[batch]) + batch, int(self.edges[batch + 1]) + batch + 1)

    def elements(self, batch: int) -> slice:
        """Return the range of a batch's values in ``data`` and ``indices``."""
        begin = int(self.begins[batch])
        return slice(begin, begin + int(self.indptr[self.pointers(batch)][-1]))
