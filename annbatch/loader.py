"""The loader: what users call; wires the stages together, and holds no algorithm of its own.

``_datasets``: what is read. ``samplers``: which rows come when. ``_epoch``: one pass over the rows. ``_reading``:
threads and memory. ``_deliver``: what batches become. ``_resume``: where it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._anndata.dataset import dataset_of, matrix_dataset, stored_dataset
from ._loading.adapters import find_adapter
from ._loading.datasets import Datasets
from ._loading.delivery import Delivery
from ._loading.epoch import Epoch
from ._loading.progress import Progress, read_state, write_state
from ._loading.reader import Reading
from ._loading.selection import Selection
from ._loading.stats import LoaderStats as LoaderStats
from ._plan.position import Position
from ._remote.stores import RemoteStores
from ._sizes import parse_size
from .samplers._checks import digest, whole
from .samplers._make import make_sampler
from .samplers._ranks import this_worker
from .transforms import check_transform

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    import h5py
    import pandas as pd
    import zarr
    from anndata import AnnData
    from mudata import MuData

    from ._loading.progress import Pass
    from .abc import Adapter
    from .collection import DatasetCollection
    from .samplers._base import Sampler
    from .transforms import Transform
    from .types import LoaderOutput


class Loader:
    """Yields minibatches of the rows of one or many datasets.

    Rows are read in chunks of contiguous ones, as many chunks in memory at a time as make a window, and each row is
    written once, to its place in its batch. While the user works on one window the next ones are read. Batches are the
    user's: they stay as they are for as long as they are kept.

    Parameters
    ----------
    batch_sampler
        Says which rows come when. Excludes ``chunk_size``, ``preload_nchunks``, ``batch_size``, ``shuffle``,
        ``drop_last``, ``rng`` and ``seed``, from which otherwise a :class:`~annbatch.samplers.RandomSampler`
        (``shuffle=True``) or :class:`~annbatch.samplers.SequentialSampler` is made.
    chunk_size
        Contiguous rows that are read at once. Default 512.
    preload_nchunks
        Chunks in a window. Default 32. ``chunk_size * preload_nchunks`` must be a multiple of ``batch_size``.
    shuffle
        Whether chunks, and the rows within a window, are shuffled. Default False.
    return_index
        Whether batches carry their global row numbers.
    batch_size
        Rows per batch. Default 1.
    preload_to_gpu
        Whether batches are put on the GPU: with ``to=None`` as CuPy arrays, else as ``to`` has them.
    drop_last
        Whether a last batch of fewer than ``batch_size`` rows is left out. Default False.
    to
        What X becomes: None for SciPy CSR matrices and NumPy arrays, ``"torch"``, ``"jax"``, ``"cupy"``, the name
        of any installed adapter, or an :class:`~annbatch.abc.Adapter`.
    rng
        One integer is drawn from it when the sampler is made, and is the seed from then on.
    seed
        The same as ``rng=np.random.default_rng(seed)``.
    keys
        Which elements to yield: ``"X"``, ``"layers/counts"``, ``"obsm/X_pca"``, ``"obs"``, all of the same rows. A
        batch holds them in dicts as their keys do: ``batch["layers"]["counts"]``. Data frames in ``obsm`` come as
        ``obs`` does. Of a MuData ``"X"`` and layers are those of every modality; ``"mod/rna/X"`` names one.
    obs_columns
        Which columns of ``obs`` to yield; default, all.
    obs_join
        ``"exact"``: all datasets have the same columns in ``obs``. ``"inner"``, ``"outer"``: the columns that all
        datasets have, or any; what a dataset lacks is missing in its rows.
    obs_as
        ``"dataframe"``, or ``"arrays"``: a dict of one array a column, categoricals as codes (see ``categories``),
        numbers and booleans converted as X is; then ``var`` is None in batches, so that they are dicts of arrays.
    var_names
        Which columns of X and of layers to yield, in this order; default, all. Of a MuData, a dict by modality.
    var_join
        ``"exact"``: all datasets have the same columns. ``"inner"``, ``"outer"``: the columns that all datasets have,
        or any; what a dataset lacks is 0 in its rows, and ``var`` says which dataset has which.
    dtype
        Of the values of X and of layers; default, the dtype that the data had before it was narrowed for storage.
        ``"bfloat16"`` where a device makes them dense.
    densify
        Whether a sparse X or layer is yielded dense, made on the device where there is one.
    transform
        What is done to the values of X and of layers while they are read:
        :class:`~annbatch.transforms.NormalizeLog1p`, or any :class:`~annbatch.transforms.Transform`.
    device
        Passed to the adapter.
    prefetch
        Bytes (``"1GB"`` or an int) of windows read ahead; one is, whatever its size; 0 turns reading ahead off.
    cache_dir
        Folder in which chunks from object stores are kept, for later epochs and other processes; None: nothing is.
    cache_size
        Bytes (``"20GB"`` or an int) that it may take.

    Raises
    ------
    ValueError
        If an argument is out of range or excludes another.
    annbatch.errors.MissingDependencyError
        If the framework that ``to`` names is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch import Loader
    >>> loader = Loader(batch_size=4, chunk_size=2, preload_nchunks=4, shuffle=True, seed=0, return_index=True)
    >>> loader = loader.add_dataset(np.arange(20, dtype="float32").reshape(10, 2))
    >>> batches = list(loader)
    >>> [batch["X"].shape for batch in batches]
    [(4, 2), (4, 2), (2, 2)]
    >>> bool((batches[0]["X"][:, 0] == 2 * batches[0]["index"]).all())
    True
    """

    def __init__(
        self,
        *,
        batch_sampler: Sampler | None = None,
        chunk_size: int | None = None,
        preload_nchunks: int | None = None,
        shuffle: bool | None = None,
        return_index: bool = False,
        batch_size: int | None = None,
        preload_to_gpu: bool = False,
        drop_last: bool | None = None,
        to: str | Adapter | None = None,
        rng: np.random.Generator | None = None,
        seed: int | None = None,
        keys: Sequence[str] = ("X", "obs"),
        obs_columns: Sequence[str] | None = None,
        obs_join: str = "exact",
        obs_as: str = "dataframe",
        var_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        var_join: str = "exact",
        dtype: Any = None,
        densify: bool = False,
        transform: Transform | None = None,
        device: Any = None,
        prefetch: int | str = "1GB",
        cache_dir: str | os.PathLike[str] | None = None,
        cache_size: int | str = "20GB",
    ) -> None:
        self._batch_sampler = make_sampler(
            batch_sampler,
            chunk_size=chunk_size,
            preload_nchunks=preload_nchunks,
            batch_size=batch_size,
            drop_last=drop_last,
            shuffle=shuffle,
            rng=rng,
            seed=seed,
        )
        self._batch_sampler.draw_seed()  # once, here: workers of a DataLoader have copies, which are to agree
        if preload_to_gpu and to is None:
            to = "cupy"
        elif preload_to_gpu and device is None:
            device = {"torch": "cuda", "jax": "gpu"}.get(to) if isinstance(to, str) else None
        adapter = find_adapter(to, device)
        self._delivery = Delivery(adapter, densify=densify, obs_as=obs_as, return_index=return_index)
        host_dtype, staging = self._delivery.staging(dtype)
        self._datasets = Datasets(
            Selection(
                keys=(keys,) if isinstance(keys, str) else tuple(keys),
                obs_columns=None if obs_columns is None else list(obs_columns),
                obs_join=obs_join,
                var_names=var_names,
                var_join=var_join,
                dtype=host_dtype,
                densify=self._delivery.densifies_on_host,
                transform=check_transform(transform),
                staging=staging,
            )
        )
        self._prefetch = parse_size(prefetch, name="prefetch")
        self._remote = RemoteStores(cache_dir=cache_dir, cache_size=cache_size)
        self._reading = Reading(None if adapter is None else adapter.allocate, self._remote)
        self._collection_added = False
        self._content: str | None = None
        self._progress = Progress()

    # What is loaded ---------------------------------------------------------------------------------------------------

    def use_collection(
        self, collection: DatasetCollection, *, load_adata: Callable[[Any], AnnData] | None = None
    ) -> Self:
        """Load from a collection. Can be called once.

        Parameters
        ----------
        collection
            A finished :class:`~annbatch.DatasetCollection`, of this package or of scverse annbatch.
        load_adata
            Turns one dataset's ``zarr.Group`` into an AnnData, whose elements are then loaded; default, those of the
            group, nothing of which is read before it is needed.

        Returns
        -------
        Loader
            This loader.

        Raises
        ------
        KeyError
            If a dataset lacks an element of ``keys``.
        ValueError
            If the collection is empty, or its datasets do not fit each other or what was added before: none is added.
        RuntimeError
            If a collection is in use already.
        """
        if collection.is_empty:
            raise ValueError(f"`collection` must have datasets, got an empty one: {collection!r}.")
        if self._collection_added:
            raise RuntimeError(
                "`use_collection` can be called once: collections that were shuffled apart do not mix well. "
                "Make one collection of them, or add their datasets with `add_adatas`."
            )
        self._check_closed()
        groups = (self._remote.adopt(group) for group in collection)
        self._datasets.add_all(
            stored_dataset(group) if load_adata is None else dataset_of(load_adata(group), self._remote.adopt)
            for group in groups
        )
        self._collection_added = True
        self._content = collection.fingerprint
        return self

    def add_adatas(self, adatas: Sequence[AnnData | MuData | zarr.Group | h5py.Group]) -> Self:
        """Append AnnData objects, all or, if one is refused, none; see :meth:`add_adata`."""
        if not len(adatas):
            raise ValueError("`adatas` must hold at least one AnnData, got none.")
        self._check_closed()
        self._datasets.add_all(dataset_of(adata, self._remote.adopt) for adata in adatas)
        return self

    def add_adata(self, adata: AnnData | MuData | zarr.Group | h5py.Group) -> Self:
        """Append those elements of an AnnData or MuData object that ``keys`` name.

        Parameters
        ----------
        adata
            In memory, backed by a file or read lazily; or a zarr or HDF5 group that holds one, of which nothing is read
            before it is needed. Matrices may be CSR or dense; ``obs`` without columns counts as none.

        Returns
        -------
        Loader
            This loader.

        Raises
        ------
        KeyError
            If it lacks an element of ``keys``.
        TypeError
            If a matrix cannot be read by rows (CSC, a sparse dask array).
        ValueError
            If its columns, or the presence of ``obs`` or ``var``, differ from those of what was added before.
        """
        self._check_closed()
        self._datasets.add_all([dataset_of(adata, self._remote.adopt)])
        return self

    def add_datasets(
        self,
        datasets: Sequence[Any],
        obs: Sequence[pd.DataFrame] | None = None,
        var: Sequence[pd.DataFrame] | None = None,
    ) -> Self:
        """Append matrices, all or, if one is refused, none; see :meth:`add_dataset`."""
        for name, frames in (("obs", obs), ("var", var)):
            if frames is not None and len(frames) != len(datasets):
                raise ValueError(f"`{name}` must have one DataFrame a dataset ({len(datasets)}), got {len(frames)}.")
        all_obs = [None] * len(datasets) if obs is None else obs
        all_var = [None] * len(datasets) if var is None else var
        self._check_closed()
        self._datasets.add_all(map(matrix_dataset, map(self._remote.adopt, datasets), all_obs, all_var))
        return self

    def add_dataset(self, dataset: Any, obs: pd.DataFrame | None = None, var: pd.DataFrame | None = None) -> Self:
        """Append a matrix, with annotations of its rows and columns if there are any.

        Parameters
        ----------
        dataset
            A NumPy array, a SciPy CSR matrix, a zarr array, or a CSR group or its :class:`anndata.abc.CSRDataset`.
        obs
            One row a row of ``dataset``.
        var
            One row a column of ``dataset``; must equal that of what was added before.

        Returns
        -------
        Loader
            This loader.

        Raises
        ------
        TypeError
            If ``dataset`` cannot be read by rows, or ``obs`` or ``var`` is not a DataFrame.
        ValueError
            If shapes or annotations do not fit each other or what was added before.
        """
        self._check_closed()
        self._datasets.add_all([matrix_dataset(self._remote.adopt(dataset), obs, var)])
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
    def n_var(self) -> int:
        """Number of columns (size of the second axis)."""
        return self._datasets.n_var

    @property
    def var(self) -> pd.DataFrame | None:
        """Annotations of the columns, or None."""
        return self._datasets.var

    @property
    def categories(self) -> dict[str, pd.Index]:
        """Categories of each categorical column of ``obs``, over all datasets; codes in batches refer to them."""
        return self._datasets.categories()

    @property
    def batch_sampler(self) -> Sampler:
        """What says which rows come when."""
        return self._batch_sampler

    # Iteration --------------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next iteration yields; a full iteration adds one."""
        return self._progress.position.epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields: the order is a function of seed and epoch alone.

        A position within this epoch that :meth:`load_state_dict` restored stays.
        """
        epoch = whole(epoch, "epoch")
        if epoch < 0:
            raise ValueError(f"`epoch` must not be negative, got {epoch}.")
        self._progress.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where this loader stands: after the batch that it yielded last.

        Returns
        -------
        dict
            JSON-able, less than 10 KB however many rows there are: the epoch, how many batches of it were taken, and
            what the sampler and the rows are to be recognized by. The same on every rank, so that one saves it for all.

        Examples
        --------
        >>> import numpy as np
        >>> from annbatch import Loader
        >>> def make_loader():
        ...     loader = Loader(batch_size=4, chunk_size=2, preload_nchunks=4, shuffle=True, seed=0, return_index=True)
        ...     return loader.add_dataset(np.zeros((20, 2)))
        >>> loader = make_loader()
        >>> batches = iter(loader)
        >>> first, second = next(batches)["index"], next(batches)["index"]
        >>> state = loader.state_dict()
        >>> other = make_loader()
        >>> other.load_state_dict(state)
        >>> [*batches][0]["index"].tolist() == [*other][0]["index"].tolist()
        True
        """
        return write_state(self._progress.position, self._batch_sampler, self._data())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another loader stood: the next iteration yields exactly what was to come.

        Only the window that was open is read again, and of it only what was to come. The loader needs the same rows and
        the same sampler; one that was made without a seed takes over that of the state. Of a
        :class:`~annbatch.samplers.DistributedSampler` the number of ranks may differ: the rest of the epoch is then
        assigned to those that there are now.

        Parameters
        ----------
        state
            What :meth:`state_dict` returned.

        Raises
        ------
        ValueError
            If it is no such state, of a later version, or that of other rows or another sampler, with what differs.
        """
        self._progress.resume(read_state(state, self._batch_sampler, self._data()))

    def _data(self) -> dict[str, Any]:
        """Return what must be equal for a state to be of the same rows."""
        return {"n_obs": self.n_obs, "datasets": digest(self._datasets.starts), "content": self._content}

    @property
    def stats(self) -> LoaderStats:
        """What this loader has done since it was made."""
        return self._reading.stats

    def __len__(self) -> int:
        """Return the number of batches of one epoch.

        Raises
        ------
        ValueError
            If no dataset was added.
        """
        if not self._datasets.count:
            raise ValueError("The number of batches is known once a dataset has been added; got none yet.")
        return self._batch_sampler.n_batches(self.n_obs)

    def __iter__(self) -> Iterator[LoaderOutput]:
        """Iterate over the batches of one epoch.

        Yields
        ------
        LoaderOutput
            A dict of ``X``, ``obs``, ``var`` and ``index``.

        Raises
        ------
        ValueError
            If no dataset was added, or the sampler cannot sample from so many rows.
        """
        worker = this_worker()
        Epoch(Position(self.epoch), worker, self._datasets, self._batch_sampler, self._delivery).check()
        progress = self._progress.begin(ranks=self._batch_sampler.n_ranks, workers=worker[1])
        epoch = Epoch(progress.position, worker, self._datasets, self._batch_sampler, self._delivery)
        return self._iterate(epoch, progress)

    def _iterate(self, epoch: Epoch, progress: Pass) -> Generator[LoaderOutput, None, None]:
        last = epoch.position.steps + epoch.n_batches
        for batch in epoch.batches(self._reading, budget=self._prefetch):
            position = progress.step()
            # A loop that counts batches, as Lightning's does, never asks for what follows the last. Among workers the
            # others may not be there yet.
            if position.steps == last and position.workers == 1:
                progress.finish()
            yield batch
        progress.finish()

    def close(self) -> None:
        """Stop open iterations and all threads. Batches stay valid; a later iteration starts threads again.

        An iteration that was open may yield what is left of its window before it ends.
        """
        self._reading.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        adapter = self._delivery.adapter
        to = "NumPy" if adapter is None else adapter.name
        return f"Loader({self._datasets.describe()}, sampler={type(self._batch_sampler).__name__}, to={to})"
