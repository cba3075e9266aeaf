"""A sparse element that is copied to a device in compact form, one window at a time, and densified there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..batch import CompactWindow
from .csr import place_rows, pointer_dtype
from .element import followed_by, lend
from .form import HALVES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._anndata.variables import Variables
    from .._arrays.array import Job
    from .._arrays.rows import CsrSource
    from .._plan.pieces import Pieces, WindowLayout
    from .._plan.window_rows import DatasetRows, WindowRows
    from .._runtime.buffers import BufferPool
    from ..abc import Adapter
    from ..transforms import Transform
    from .form import MatrixForm


def staged_element(
    sources: tuple[CsrSource, ...], variables: Variables, dtype: np.dtype, form: MatrixForm
) -> StagedElement | None:
    """Return the element that is densified by windows; None where that is not possible and the host must do more.

    Raises
    ------
    ValueError
        If the host cannot make the dtype either.
    """
    assert form.adapter is not None, "windows are densified by an adapter"
    every = variables.columns
    why = (
        "the data is dense"
        if not sources
        else f"the adapter {form.adapter.name!r} does not apply {form.transform!r}"
        if form.transform is not None and not form.adapter.applies(form.transform)
        else "datasets have different columns"
        if every is not None and any(not np.array_equal(every[0], columns) for columns in every[1:])
        else None
    )
    if why is None and dtype.kind in "biuf":
        columns = None if every is None else every[0]
        half = form.half or dtype.name
        return StagedElement(sources, columns, variables.count, half, form.transform, form.adapter)
    if form.half is not None:
        raise ValueError(f"`dtype` must be one that the host can make, as float32, where {why}, got {form.half}.")
    return None


@dataclass(frozen=True, slots=True)
class StagedElement:
    """A sparse element whose dense batches the adapter makes.

    Attributes
    ----------
    sources
        One per dataset, all of one width.
    columns
        ``(n_stored_columns,)`` int32, destination of each stored column, -1 for none; None: unchanged.
    width
        Number of columns of a batch.
    dtype
        Name of the dtype of a batch.
    transform
        Transform that the adapter applies; None for none.
    adapter
        Adapter that stages windows.
    """

    sources: tuple[CsrSource, ...]
    columns: np.ndarray | None
    width: int
    dtype: str
    transform: Transform | None
    adapter: Adapter

    @property
    def computed_dtype(self) -> np.dtype:
        """Dtype of a batch on the host, which has no halves."""
        return np.dtype(np.float32 if self.dtype in HALVES else self.dtype)

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> StagedPlan:
        """Plan the reading of one window."""
        lengths, layout, pieces = place_rows(self.sources, window, shares)
        return StagedPlan(self, window.edges, lengths, layout, pieces)


@dataclass(frozen=True, slots=True)
class StagedPlan:
    """Destination of each stored row."""

    element: StagedElement
    edges: np.ndarray
    lengths: np.ndarray
    layout: WindowLayout
    pieces: tuple[tuple[int, Pieces], ...]

    @property
    def value_dtype(self) -> np.dtype:
        """Dtype of values in transit: the stored one, or that of batches where it is smaller."""
        stored = np.result_type(*(source.data.dtype for source in self.element.sources))
        requested = self.element.computed_dtype
        return requested if requested.itemsize < stored.itemsize else stored

    @property
    def index_dtype(self) -> np.dtype:
        """Dtype of column numbers in transit."""
        return np.dtype(np.uint16 if self.element.sources[0].shape[1] <= 1 << 16 else np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes in transit."""
        return self.layout.size * (self.value_dtype.itemsize + self.index_dtype.itemsize)

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[StagedWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it; the last to end sends it."""
        element, n_batches = self.element, len(self.edges) - 1
        compact = CompactWindow(
            data=lend(pool, self.layout.size, self.value_dtype),
            indices=lend(pool, self.layout.size, self.index_dtype),
            indptr=lend(pool, len(self.lengths) + n_batches, pointer_dtype(self.layout)),
            begins=self.layout.batch[:-1],
            edges=self.edges,
            columns=element.columns,
            n_columns=element.width,
            dtype=element.dtype,
            transform=element.transform,
        )
        self._fill_indptr(compact)
        jobs: list[Job] = []
        for dataset, pieces in self.pieces:
            source = element.sources[dataset]
            jobs += source.data.jobs(pieces, compact.data, n_jobs=n_jobs)
            jobs += source.indices.jobs(pieces, compact.indices, n_jobs=n_jobs)
        window = StagedWindow(compact, element, pool)
        return window, followed_by(jobs, window.send)

    def _fill_indptr(self, compact: CompactWindow) -> None:
        from .._kernels.scatter import fill_indptr

        fill_indptr(self.lengths, self.edges, self.edges + np.arange(len(self.edges)), compact.indptr)


class StagedWindow:
    """A window of which the adapter makes batches, once it has been read."""

    def __init__(self, compact: CompactWindow, element: StagedElement, pool: BufferPool) -> None:
        self._compact: CompactWindow | None = compact
        self._element = element
        self._pool = pool
        self._make: Callable[[int], Any] | None = None

    def send(self) -> None:
        """Hand the window to the adapter, and let go of it."""
        assert self._compact is not None, "a window is sent once"
        compact, self._compact = self._compact, None
        if compact.transform is not None:
            compact = self._without_repeats(compact)
        self._make = self._element.adapter.stage(compact)

    def _without_repeats(self, compact: CompactWindow) -> CompactWindow:
        from .._kernels.repeats import add_repeats

        n_columns, wide = self._element.sources[0].shape[1], compact.data
        parts = [(compact.elements(i), compact.indptr[compact.pointers(i)]) for i in range(compact.n_batches)]
        if any(add_repeats(compact.indices[part], indptr, n_columns, None) for part, indptr in parts):
            # Sums may exceed the stored dtype.
            wide = lend(self._pool, compact.data.size, self._element.computed_dtype)
            for part, indptr in parts:
                wide[part] = compact.data[part]
                add_repeats(compact.indices[part], indptr, n_columns, wide[part])
        return replace(compact, data=wide)

    def batch(self, i: int) -> Any:
        """Return batch ``i``, as the adapter makes it."""
        assert self._make is not None, "a window is sent once its jobs have run"
        return self._make(i)
