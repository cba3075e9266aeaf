"""The public class for collections."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import h5py
import pandas as pd
import zarr

from .._anndata.frames import stored_frame
from .._arguments import as_names, check_choice, drawn_seed, flag, in_words, whole
from .._arrays.hdf5_files import refuse_external_links
from .._remote.urls import refuse_urls
from .._sizes import parse_size
from ..errors import MissingCollectionError, NotACollectionError
from ._array_format import Format
from ._resources.limit import Memory
from ._runs.attach import AttachesStores
from ._runs.described import DescribesItself
from ._runs.read_back import ReadsBack, table_in
from ._state.location import Location, check_place
from ._state.manifest import files_of
from ._state.verify import Report, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np

    from ._array_format import Layout
    from ._inputs.chosen import Raw, VarNames
    from ._inputs.open import LoadAdata, Source
    from ._runs.request import H5adCompressor, IfPresent
    from ._schema.variables import Merge


T = TypeVar("T")


class DatasetCollection(AttachesStores, DescribesItself, ReadsBack):
    """A shuffled collection of AnnData datasets with the same variables, in one zarr store; or stores as they are.

    Parameters
    ----------
    group
        Path or URL of the collection, or an open zarr v3 group. Nothing is written before ``add_adatas``.
    mode
        ``"r"`` only reads; ``"r+"`` writes, too; ``"a"`` also creates the collection if there is none.
    is_collection_h5ad
        Whether the collection is a folder of h5ad files instead of a zarr store.

    Raises
    ------
    annbatch.errors.NotACollectionError
        If there is no finished collection and ``mode`` is not ``"a"``; ``MissingCollectionError`` if there is nothing.
    """

    def __init__(
        self,
        group: zarr.Group | str | os.PathLike[str],
        *,
        mode: Literal["a", "r", "r+"] = "a",
        is_collection_h5ad: bool = False,
    ) -> None:
        check_choice("mode", mode, ("a", "r", "r+"))
        check_place(group)
        self._mode = mode
        self._h5ad: Path | None = None
        if flag(is_collection_h5ad, "is_collection_h5ad"):
            if isinstance(group, zarr.Group):
                raise ValueError("`group` must be a path where `is_collection_h5ad` is True, got a zarr group.")
            refuse_urls(group, "group")
            self._h5ad = Path(group).absolute()
            if mode != "a" and not files_of(self._h5ad):
                kind = NotACollectionError if self._h5ad.exists() else MissingCollectionError
                raise kind(f"{group} must be a folder with dataset_0.h5ad, got none.")
        self._location = Location(group, "a" if is_collection_h5ad else mode)

    def __iter__(self) -> Iterator[zarr.Group]:
        if self._h5ad is not None:
            raise ValueError(f"{self._location} holds h5ad files, not zarr groups: open them with `anndata.read_h5ad`.")
        yield from self._location.datasets()

    def __len__(self) -> int:
        return len(self._location.dataset_names() if self._h5ad is None else files_of(self._h5ad))

    @property
    def _dataset_keys(self) -> list[str]:
        """Names of the datasets: programs for scverse annbatch read them here."""
        return self._location.dataset_names()

    @property
    def is_empty(self) -> bool:
        """Whether there is no finished collection yet."""
        return len(self) == 0

    @property
    def fingerprint(self) -> str | None:
        """Short hash of the stored data, independent of its location; None if another program wrote any of it."""
        known = self._location.manifest().datasets
        checksums = [known[name].get("metadata_crc32c") for name in self._location.dataset_names()]
        if not checksums or None in checksums:
            return None
        return hashlib.blake2b(repr(checksums).encode(), digest_size=12).hexdigest()

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return sum(self._tables("obs", _n_rows))

    @property
    def n_vars(self) -> int:
        """Number of variables; of attached stores, of all together."""
        return len(self.var_names) if self.is_attached else next(self._tables("var", _n_rows), 0)

    @property
    def var_names(self) -> pd.Index:
        """Names of the variables; of attached stores, those of any of them, in the order of their first appearance."""
        names = self._tables("var", _names)
        first = next(names, pd.Index([], dtype=object))
        return first.append([*names]).unique() if self.is_attached and len(self) > 1 else first

    def _tables(self, name: str, read: Callable[[Any], T]) -> Iterator[T]:
        """Yield the result of ``read`` for a table of each dataset."""
        if self._h5ad is None:
            for group in self._location.datasets():
                yield read(table_in(group, name))
        else:
            for path in files_of(self._h5ad):
                with h5py.File(path, "r") as file:
                    refuse_external_links(file)
                    yield read(table_in(file, name))

    def add_adatas(
        self,
        adata_paths: Iterable[Source],
        *,
        load_adata: LoadAdata | None = None,
        groupby: str | Iterable[str] | None = None,
        var_subset: Iterable[str] | None = None,
        n_obs_per_chunk: int = 64,
        shard_size: int | str = "1GB",
        zarr_compressor: Any | None = None,
        h5ad_compressor: H5adCompressor | None = "gzip",
        dataset_size: int | str = "20GB",
        shuffle_chunk_size: int = 1000,
        shuffle: bool = True,
        rng: np.random.Generator | int | None = None,
        merge: Merge = None,
        layout: Layout = "compact",
        narrow: bool = True,
        memory_limit: int | str = "4GB",
        client: Any | None = None,
        progress: bool = True,
        if_present: IfPresent = "error",
        min_overlap: float = 0.1,
        seed: int | None = None,
        raw: Raw | None = None,
        layer: str | None = None,
        var_names: VarNames = "error",
        obs_columns: str | Iterable[str] | None = None,
        obsp: str | Iterable[str] = (),
        overwrite: bool = False,
        dry_run: bool = False,
    ) -> Self:
        """Add the rows of AnnData files to the collection; the first call creates it.

        A call that was killed resumes when it is made again with the same arguments.

        Parameters
        ----------
        adata_paths
            h5ad files, zarr stores, open h5py or zarr groups. ``obs`` gains a column ``src_path`` with the input of
            each row. Names of rows are made unique across inputs.
        load_adata
            Function that returns the AnnData object for a path: in memory, backed or lazily loaded, and the same each
            time it is called. By default, files are read by range, a block of rows at a time.
        groupby
            Columns of ``obs`` by which rows are sorted within each dataset.
        var_subset
            Names of the variables to keep, in their new order.
        n_obs_per_chunk
            Rows per inner chunk; for sparse matrices, as many values as that many rows have on average.
        shard_size
            Rows per shard, or its uncompressed size.
        zarr_compressor, h5ad_compressor
            zarr codecs instead of those of ``layout``; compression of h5ad files.
        dataset_size
            Rows per dataset, or the size of its rows as stored in the inputs.
        shuffle_chunk_size
            No effect, as rows are shuffled one by one; accepted for programs written for annbatch 0.3.
        shuffle
            Whether to put the rows in uniformly random order.
        rng, seed
            Random generator or its seed. One integer is drawn from it; the order is a function of that integer alone.
        merge
            Which columns of ``var`` to keep where inputs differ in them, as in :func:`anndata.concat`; all are kept
            where all inputs have the same ``var``. Inputs with different variables are joined: all variables, in the
            order of first appearance.
        layout
            ``"compact"``: compressed by Blosc in small blocks, and column numbers stored as differences, the smallest
            and fastest to read. ``"portable"``: the same without differences, for other readers of zarr, most of which
            decode them slowly or not at all. ``"random_access"``: not compressed, for reading single rows at random.
        narrow
            Whether numbers are stored in the smallest integer dtype that holds all of them. ``Loader`` and
            :meth:`to_adata` return the dtype of the inputs; other readers see the stored one, in which products of
            counts may overflow: False keeps the dtype of the inputs for them. h5ad files always do.
        memory_limit
            Bound on the memory used beyond the interpreter's.
        client
            A ``dask.distributed.Client`` whose workers do the work, each within ``memory_limit``. They must see inputs
            and collection under the same paths. The same seed gives the same bytes as without a client.
        progress
            Whether to show progress, with rate and remaining time.
        if_present
            What to do with an input that is in the collection already, or twice in the call, under any name:
            ``"error"``, ``"skip"`` it, or ``"add"`` its rows once more.
        min_overlap
            Share of variables that inputs must have in common with the collection, or with each other where there is
            none yet: of those of the one that has fewer, so that a panel of genes fits to all genes. Fewer are an
            error before any work, as names are likely of two kinds; 0 allows any.
        raw
            ``"use"`` converts ``raw`` in place of ``X``, without layers, which have other variables; ``"keep"`` stores
            it beside ``X``, shuffled with it, if all inputs have it; ``"drop"`` does not. By default, what
            ``load_adata`` returns is kept, and ``raw`` of files is dropped, with a warning.
        layer
            Layer to convert in place of ``X``.
        var_names
            What to do with names of variables that repeat within an input: ``"unique"`` numbers the repeats, as
            :meth:`anndata.AnnData.var_names_make_unique` does; ``"error"`` refuses them where names must be matched.
        obs_columns
            Columns of ``obs`` to keep; all by default. ``src_path`` is always added.
        obsp
            Pairwise matrices to keep, which all inputs have in ``obsp``. Rows and columns are renumbered together. A
            dataset has them in ``obsm``, with a column per row of the collection.
        overwrite
            Whether the rows replace those of the collection, which stay until the new ones are complete.
        dry_run
            Whether to examine the inputs and tell what would be added, without writing anything.

        Returns
        -------
        DatasetCollection
            The collection itself.

        Raises
        ------
        FileNotFoundError
            If an input does not exist.
        KeyError
            If an input lacks a matrix of ``obsp``, or a column of ``obs_columns``.
        ValueError
            If an input is in the collection already, and ``if_present`` is ``"error"``; if variables do not match.
        annbatch.errors.StoreError
            If an input is not an AnnData object, or does not fit the others.
        annbatch.errors.NotACollectionError
            If the path holds something that is not a collection.
        """
        self._check_writable()
        whole(shuffle_chunk_size, "shuffle_chunk_size", least=1)
        from ._inputs.chosen import Choice
        from ._inputs.open import as_sources
        from ._runs.request import AddRequest

        request = AddRequest(
            sources=as_sources(adata_paths),
            load_adata=load_adata,
            groupby=None if groupby is None else as_names(groupby, "groupby"),
            var_subset=None if var_subset is None else [*map(str, as_names(var_subset, "var_subset"))],
            form=Format(n_obs_per_chunk, shard_size, layout, zarr_compressor),
            h5ad_compressor=h5ad_compressor,
            dataset_size=dataset_size,
            shuffle=shuffle,
            seed=drawn_seed(rng, seed),
            merge=merge,
            narrow=narrow,
            memory=_memory_within(memory_limit),
            client=client,
            progress=progress,
            if_present=if_present,
            min_overlap=min_overlap,
            choice=Choice(
                raw,
                layer,
                var_names,
                None if obs_columns is None else as_names(obs_columns, "obs_columns"),
                as_names(obsp, "obsp"),
            ),
            overwrite=overwrite,
            dry_run=dry_run,
        )
        self._refuse_client(client)
        if self._h5ad is not None:
            if overwrite or dry_run:
                raise ValueError(f"`overwrite` and `dry_run` need a zarr store, and {self._location} holds h5ad files.")
            from ._runs.h5ad import add_h5ad

            add_h5ad(self._h5ad, request)
        else:
            self._location.refuse_other_contents()
            from ._runs.add import add

            add(self._location, request)
        return self

    def _refuse_client(self, client: Any | None) -> None:
        if client is not None and not hasattr(client, "scatter"):
            raise TypeError(f"`client` must be a `dask.distributed.Client` or None, got {in_words(client)}.")
        if client is not None and (self._h5ad is not None or self._location.folder is None):
            kind = "a folder of h5ad files" if self._h5ad is not None else "no local folder"
            got = f"{self._location}, {kind}"
            raise ValueError(f"`client` needs a zarr store in a folder that its workers see, got {got}.")

    def reshuffle(
        self,
        rng: np.random.Generator | int | None = None,
        *,
        memory_limit: int | str = "4GB",
        client: Any | None = None,
        progress: bool = True,
    ) -> Self:
        """Put all rows of the collection in a new uniformly random order, across its datasets.

        The collection changes only at the end, so that the disk must hold it twice.

        Parameters
        ----------
        rng
            Random generator, or a seed. One integer is drawn from it; the order is a function of that integer and of
            the present order.
        memory_limit, client, progress
            As in :meth:`add_adatas`.

        Returns
        -------
        DatasetCollection
            The collection itself.

        Raises
        ------
        ValueError
            If the collection is empty, or was opened with mode ``"r"``.
        """
        self._check_writable()
        if self._h5ad is not None:
            raise ValueError(f"{self._location} must be a zarr store to be reshuffled, and holds h5ad files.")
        if self.is_empty:
            raise ValueError(f"{self._location} must have rows to shuffle, and is empty.")
        self._refuse_client(client)
        from ._runs.add import reshuffle

        reshuffle(self._location, drawn_seed(rng), _memory_within(memory_limit), client, progress)
        return self

    def verify(self, *, progress: bool = False) -> Report:
        """Read everything and compare it with the checksums in the collection.

        Parameters
        ----------
        progress
            Whether to show progress.

        Returns
        -------
        Report
            Result: true if there is no problem; ``problems`` lists them.

        Examples
        --------
        >>> import anndata, numpy
        >>> from annbatch import DatasetCollection
        >>> anndata.AnnData(numpy.eye(3)).write_h5ad("three.h5ad")
        >>> collection = DatasetCollection("three.zarr").add_adatas(
        ...     ["three.h5ad"], progress=False
        ... )
        >>> print(collection.verify())
        three.zarr: 3 rows in 1 dataset, ... files, no problem found
        """
        if self._h5ad is not None:
            raise ValueError(f"{self._location} must be a zarr store to be verified, and holds h5ad files.")
        return verify(self._location, progress)


def _memory_within(memory_limit: int | str) -> Memory:
    return Memory.within(parse_size(memory_limit, name="memory_limit", least=1))


def _names(table: Any) -> pd.Index:
    return stored_frame(table).read_index()


def _n_rows(table: Any) -> int:
    return stored_frame(table).n_rows
