"""The part of a loader that adds datasets and describes them; each adding method returns the loader."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from .._anndata.dataset import dataset_of, matrix_dataset, stored_dataset
from .._anndata.open_path import open_path
from .._arguments import as_list, check_callable, kind_of, wrong_kind
from .._format.attributes import encoding_of
from .._remote.open import open_group
from .._remote.urls import is_url
from .._warn import warn
from ..errors import StoreError, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import h5py
    import pandas as pd
    import zarr
    from anndata import AnnData
    from mudata import MuData

    from .._remote.loader_stores import RemoteStores
    from ..collection import DatasetCollection
    from ..samplers._base import Sampler
    from .datasets import Datasets
    from .resources import Reading


_COLLECTION = "`use_collection` loads it"
_TO_COLLECTION = {
    "a group": "`DatasetCollection(group, mode='r')` opens one; `add_adata` adds the group of an AnnData",
    "an AnnData object": "`add_adata` adds it",
    "a MuData object": "`add_adata` adds it",
    "a list": "`add_adatas` adds AnnData objects",
    "a matrix": "`add_dataset` adds it",
}
_TO_ADATA = {
    "a list": "`add_adatas` adds several",
    "a DatasetCollection": _COLLECTION,
    "a matrix": "`add_dataset` adds it",
    "a zarr store": "`zarr.open_group(store, mode='r')` opens it",
    "a dict": "give its values",
    "a DataFrame": "make an `anndata.AnnData` of it",
    "the `raw` of an AnnData object": "`raw.to_adata()` makes one",
}
_TO_ENCODING = {
    "annbatch-preshuffled": "`use_collection(DatasetCollection(group, mode='r'))` loads it",
    "csr_matrix": "`add_dataset` adds it",
    "csc_matrix": "`DatasetCollection.add_adatas` converts it",
}
_TO_DATASETS = {
    "a path": "open it, with `zarr.open` or h5py",
    "a matrix": "`add_dataset` adds one",
    "a group": "`add_dataset` adds one",
    "an AnnData object": "`add_adata` adds it",
    "a MuData object": "`add_adata` adds it",
    "a DatasetCollection": _COLLECTION,
    "a zarr store": "open its arrays",
    "a dict": "give its values",
    "a DataFrame": "`.to_numpy()` makes a matrix",
    "a Series": "`.to_numpy()` makes an array",
}
_TO_FRAMES = {"a DataFrame": "`add_dataset` adds one matrix with its DataFrame"}
_TO_DATASET = _TO_DATASETS | {"a list": "`add_datasets` adds several"}
_MATRICES = ("a matrix", "a group")


def _adata(value: Any) -> Any:
    """Return what is an AnnData or MuData, or a group that may hold one, opened if need be."""
    kind = kind_of(value)
    if kind == "a path":
        value, kind = open_group(str(value)) if is_url(value) else open_path(value), "a group"
    if type(value).__module__.startswith("h5py.") and not value:
        raise ValueError("`adata` must be open, got an HDF5 file that was closed.")
    with reading(str(getattr(getattr(value, "file", None), "filename", "`adata`"))):
        is_one = hasattr(value, "obs") or hasattr(value, "attrs")
        encoding = encoding_of(value) if hasattr(value, "attrs") else ""
    if kind in _TO_ADATA or not is_one:
        raise wrong_kind("adata", "an AnnData or MuData object, or an open group of one", value, _TO_ADATA)
    if encoding in _TO_ENCODING:
        got = f"a group encoded as {encoding}: {_TO_ENCODING[encoding]}"
        raise TypeError(f"`adata` must be an AnnData or MuData object, got {got}.")
    return value


def _matrix(value: Any) -> Any:
    """Return what may be a matrix; opening it tells."""
    kind = kind_of(value)
    if kind in _TO_DATASET and kind not in _MATRICES:
        raise wrong_kind("dataset", "a matrix", value, _TO_DATASET)
    return value


def _unchanging(collection: DatasetCollection, content: str | None) -> Iterator[zarr.Group]:
    """Yield the datasets of a collection; raise ``StoreError`` if it has changed by the time the last is opened."""
    yield from collection
    if collection.fingerprint != content:
        raise StoreError(f"The collection changed while it was opened: open it again; got {collection!r}.")


class AddsDatasets:
    """The part of a loader that adds datasets and describes them.

    Parameters
    ----------
    datasets
        Empty at first.
    remote
        Object stores that are read from.
    reading
        Threads and memory of the loader.
    """

    _batch_sampler: Sampler
    _is_shuffled: bool | None = None  # the collection in use, as a whole

    if TYPE_CHECKING:

        @property
        def batch_sampler(self) -> Sampler: ...

    def __init__(self, datasets: Datasets, *, remote: RemoteStores, reading: Reading) -> None:
        self._datasets = datasets
        self._remote = remote
        self._reading = reading
        self._collection_added = False
        self._is_attached = False
        self._content: str | None = None

    def use_collection(
        self,
        collection: DatasetCollection | str | os.PathLike[str],
        *,
        load_adata: Callable[[Any], AnnData] | None = None,
    ) -> Self:
        """Load from a collection. Can be called once; :func:`annbatch.mix` mixes loaders of several collections.

        Parameters
        ----------
        collection
            A finished :class:`~annbatch.DatasetCollection`, of this package or of scverse annbatch; or its path or URL.
        load_adata
            Function that turns one dataset's ``zarr.Group`` into an AnnData, whose elements are then loaded. By
            default the elements of the group are, and nothing is read before it is needed.

        Raises
        ------
        KeyError
            If a dataset lacks an element of ``keys``.
        ValueError
            If the collection is empty, or its datasets do not fit each other or what was added before: none is added.
        RuntimeError
            If a collection is in use already.
        """
        check_callable(load_adata, "load_adata")
        if isinstance(collection, str | os.PathLike):
            from ..collection import DatasetCollection

            collection = DatasetCollection(collection, mode="r")
        if not hasattr(collection, "fingerprint"):
            raise wrong_kind("collection", "a DatasetCollection", collection, _TO_COLLECTION)
        if collection.is_empty:
            raise ValueError(f"`collection` must have datasets, got an empty one: {collection!r}.")
        if self._collection_added:
            raise RuntimeError(
                "`use_collection` can be called once: collections that were shuffled separately do not mix well. Make "
                "one collection of all files, or mix the batches of one loader per collection: "
                "`annbatch.mix([loader_a, loader_b], weights=[3, 1])`."
            )
        self._check_closed()
        content = collection.fingerprint
        groups = (self._remote.rebind(group) for group in _unchanging(collection, content))
        self._datasets.add_all(
            stored_dataset(group) if load_adata is None else dataset_of(load_adata(group), self._remote.rebind)
            for group in groups
        )
        self._collection_added = True
        self._is_attached = collection.is_attached
        self._is_shuffled = collection.is_shuffled
        self._content = content
        self._warn_of_range(self._batch_sampler)
        return self

    def _warn_of_range(self, sampler: Sampler) -> None:
        """Warn of a sampler of a range of rows where it is no random sample of the collection."""
        mask = sampler.mask
        if self._is_shuffled is not False or not isinstance(mask, slice):
            return
        start, stop, n_obs = mask.start or 0, mask.stop, self._datasets.n_obs
        if 0 < (stop or n_obs) - start < n_obs:
            warn(
                f"The rows {start}:{stop or ''} are no random sample of a collection that is not shuffled as a whole, "
                "but may be those of one study: `annbatch.samplers.split(collection, ...)` makes parts that are, and "
                "`DatasetCollection.reshuffle` shuffles all rows. `RowSet(...)` takes a range on purpose."
            )

    def add_adatas(self, adatas: Sequence[AnnData | MuData | zarr.Group | h5py.Group | str | os.PathLike[str]]) -> Self:
        """Append AnnData objects; none is added if one is refused. See :meth:`add_adata`."""
        advice = _TO_ADATA | dict.fromkeys(
            ("a path", "an AnnData object", "a MuData object", "a group"), "`add_adata` adds one"
        )
        several = [_adata(adata) for adata in as_list("adatas", "AnnData objects", adatas, advice)]
        if not several:
            raise ValueError("`adatas` must hold at least one AnnData, got none.")
        self._check_closed()
        self._datasets.add_all(dataset_of(adata, self._remote.rebind) for adata in several)
        return self

    def add_adata(self, adata: AnnData | MuData | zarr.Group | h5py.Group | str | os.PathLike[str]) -> Self:
        """Append the elements of an AnnData or MuData object that ``keys`` name.

        Parameters
        ----------
        adata
            In memory, backed by a file or lazy; or what holds one, from which nothing is read before it is needed: a
            zarr or HDF5 group, the path of an h5ad file or zarr store, or the URL of a zarr store. Matrices may be CSR
            or dense; ``obs`` without columns counts as none.

        Raises
        ------
        KeyError
            If it lacks an element of ``keys``.
        TypeError
            If a matrix cannot be read by rows (CSC, a sparse dask array).
        ValueError
            If its columns, or the presence of ``obs`` or ``var``, differ from the datasets that were added before.
        """
        self._check_closed()
        self._datasets.add_all([dataset_of(_adata(adata), self._remote.rebind)])
        return self

    def add_datasets(
        self,
        datasets: Sequence[Any],
        obs: Sequence[pd.DataFrame] | None = None,
        var: Sequence[pd.DataFrame] | None = None,
    ) -> Self:
        """Append matrices; none is added if one is refused. See :meth:`add_dataset`."""
        datasets = as_list("datasets", "matrices", datasets, _TO_DATASETS)
        for name, frames in (("obs", obs), ("var", var)):
            if frames is not None and len(as_list(name, "DataFrames", frames, _TO_FRAMES)) != len(datasets):
                raise ValueError(f"`{name}` must have one DataFrame per dataset ({len(datasets)}), got {len(frames)}.")
        all_obs = [None] * len(datasets) if obs is None else obs
        all_var = [None] * len(datasets) if var is None else var
        self._check_closed()
        self._datasets.add_all(map(matrix_dataset, map(self._remote.rebind, map(_matrix, datasets)), all_obs, all_var))
        return self

    def add_dataset(self, dataset: Any, obs: pd.DataFrame | None = None, var: pd.DataFrame | None = None) -> Self:
        """Append a matrix, with annotations of its rows and columns if there are any.

        Parameters
        ----------
        dataset
            A NumPy array, a SciPy CSR matrix, a zarr array, or a CSR group or its :class:`anndata.abc.CSRDataset`.
        obs
            One row per row of ``dataset``.
        var
            One row per column of ``dataset``; must equal ``var`` of the datasets that were added before.

        Raises
        ------
        TypeError
            If ``dataset`` cannot be read by rows, or ``obs`` or ``var`` is not a DataFrame.
        ValueError
            If shapes or annotations do not fit each other or the datasets that were added before.
        """
        self._check_closed()
        self._datasets.add_all([matrix_dataset(self._remote.rebind(_matrix(dataset)), obs, var)])
        return self

    def _check_closed(self) -> None:
        if self._reading.is_open:
            raise RuntimeError(
                "Datasets cannot be added while the loader is being iterated: finish or close the iterator first."
            )

    @property
    def dataset_type(self) -> type:
        """Type of the matrices that were added."""
        return self._datasets.first_type

    @property
    def n_obs(self) -> int:
        """Number of rows of all datasets."""
        return self._datasets.n_obs

    @property
    def n_vars(self) -> int:
        """Number of columns (size of the second axis)."""
        return self._datasets.n_vars

    @property
    def n_var(self) -> int:
        """The same as ``n_vars``, as scverse annbatch calls it."""
        return self.n_vars

    @property
    def var(self) -> pd.DataFrame | None:
        """Annotations of the columns, or None."""
        return self._datasets.var

    @property
    def categories(self) -> dict[str, pd.Index]:
        """Categories of each categorical column of ``obs``, over all datasets; codes in batches refer to them."""
        return self._datasets.categories()

    @property
    def classes(self) -> pd.Index:
        """Names of the classes of ``labels``; label ``i`` of a batch is ``classes[i]``."""
        labels = self._datasets.labels
        if labels is None:
            raise ValueError("`classes` are known of a loader with `labels` once a dataset has been added.")
        return labels.classes

    @property
    def groups(self) -> pd.DataFrame:
        """Groups of a sampler of sets; set ``i`` of a batch is of group ``groups.iloc[batch["group"][i]]``."""
        if not hasattr(self.batch_sampler, "groups"):
            name = type(self.batch_sampler).__name__
            raise AttributeError(f"`groups` are known of a loader whose sampler draws sets of rows, got {name}.")
        groups: pd.DataFrame = self.batch_sampler.groups
        return groups


def datasets_of(loader: AddsDatasets) -> Datasets:
    """Return the datasets of a loader, for tools that read some of their annotations only."""
    return loader._datasets


def reads_attached_stores(loader: AddsDatasets) -> bool:
    """Return whether the rows of a loader lie in the order of stores that were attached to a collection."""
    return loader._is_attached
