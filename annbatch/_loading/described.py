"""What a loader shows of itself; no column of its data is read for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._anndata.keys import split_key
from .._display import Section, Shown, Summary, listed_categories

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..samplers._base import Sampler
    from .datasets import Datasets
    from .delivery import Delivery
    from .resources import Reading
    from .stats import LoaderStats


class DescribesItself(Shown):
    """The part of a loader that shows what it reads, in which order, and how fast it was."""

    _datasets: Datasets
    _delivery: Delivery
    _batch_sampler: Sampler
    _reading: Reading

    if TYPE_CHECKING:

        def __len__(self) -> int: ...

        @property
        def epoch(self) -> int: ...

        @property
        def stats(self) -> LoaderStats: ...

    def __repr__(self) -> str:
        adapter = self._delivery.form.adapter
        to = "NumPy" if adapter is None else adapter.name
        disk = ", direct_io=True" if self._reading.direct_io.is_used else ""
        return f"Loader({_data(self._datasets)}, sampler={type(self._batch_sampler).__name__}, to={to}{disk})"

    def _summary(self) -> Summary:
        stats = self.stats
        return Summary(
            repr(self),
            [
                Section.of("Elements", self._elements, opened=True),
                Section.of("Columns of obs", self._columns, opened=True),
                Section.of("Batches", self._batches, opened=True),
                Section("So far", stats.facts() if stats.batches else []),
            ],
        )

    def _elements(self) -> Iterator[tuple[str, str, str, str]]:
        for key in self._datasets.matrix_keys():
            sources = self._datasets.matrix_sources(key)
            shape = " x ".join(f"{n:,}" for n in (self._datasets.n_obs, *sources.first.shape[1:]))
            yield key, shape, str(sources.first.dtype), sources.describe()

    def _columns(self) -> Iterator[tuple[str, str]]:
        table = self._datasets.obs()
        if table is None:
            return
        for name in table.columns:
            if table.is_lazy:
                yield name, ""
                continue
            column = table.column(name)
            kinds = None if column.categories is None else column.categories.categories
            yield name, str(column.dtype) if kinds is None else listed_categories(kinds[:5], len(kinds))

    def _batches(self) -> Iterator[tuple[str, Any]]:
        sampler, form = self._batch_sampler, self._delivery.form
        yield "order", type(sampler).__name__
        if sampler.batch_size is not None:
            yield "rows per batch", f"{sampler.batch_size:,}"
        if hasattr(sampler, "sets_per_batch"):
            yield "sets per batch", f"{sampler.sets_per_batch:,}"
        for name in ("chunk_size", "preload_nchunks"):
            if hasattr(sampler, f"_{name}") and not hasattr(sampler, "sets_per_batch"):
                yield name, f"{getattr(sampler, f'_{name}'):,}"
        if self._datasets.count:
            yield "batches per epoch", f"{len(self):,}"
        yield "next epoch", self.epoch
        direct_io = self._reading.direct_io
        if direct_io.refused:
            yield "files", f"read through the page cache: {direct_io.refused}"
        elif direct_io.is_used:
            yield "files", "read around the page cache where it lacks them"
        yield from ((name, value) for name, value in (("dtype", form.dtype), ("transform", form.transform)) if value)


def _data(datasets: Datasets) -> str:
    """Describe the data and how it is read."""
    if not datasets.count:
        return "no datasets"
    number = f"{datasets.count} dataset{'s' if datasets.count > 1 else ''}"
    matrices = [datasets.matrix_sources(key) for key in datasets.matrix_keys()]
    if len(matrices) == 1 and not split_key(matrices[0].key)[0]:
        shape = " x ".join(f"{n:,}" for n in (datasets.n_obs, *matrices[0].first.shape[1:]))
        return f"{number}, {shape}, {matrices[0].describe()}"
    parts = [f"{one.key}: {' x '.join(f'{n:,}' for n in one.first.shape[1:])}, {one.describe()}" for one in matrices]
    return ", ".join([f"{number}, {datasets.n_obs:,} rows", *parts])
