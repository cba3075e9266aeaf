"""The loader that users call: it wires the stages together and holds no algorithm of its own.

``_loading/datasets``: the data. ``samplers``: the order of rows. ``_loading/epoch``: one pass over the rows.
``_loading/resources``: threads and memory. ``_loading/delivery``: batches. ``_loading/progress``: the position.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._anndata.labels import LabelRequest
from ._arguments import as_names
from ._arrays.direct_io import DirectIO
from ._elements.form import MatrixForm
from ._loading.adapters import find_adapter
from ._loading.add_datasets import AddsDatasets
from ._loading.bound_sampler import BoundSampler
from ._loading.covariates import CovariateTables
from ._loading.datasets import Datasets
from ._loading.delivery import Delivery
from ._loading.described import DescribesItself
from ._loading.encoding import EncodingRequest
from ._loading.epoch import Epoch, check_rows
from ._loading.mix import Mix as Mix
from ._loading.neighbors import NeighborRequest
from ._loading.progress import Progress
from ._loading.ranks import divides_epochs, for_ranks
from ._loading.resources import Reading
from ._loading.resumes import Resumes
from ._loading.scverse import ScverseNames, framework_of
from ._loading.selection import Selection
from ._loading.stats import LoaderStats as LoaderStats
from ._loading.take import taken
from ._loading.torch_dataset import TorchDataset
from ._plan.position import Position
from ._remote.loader_stores import RemoteStores
from ._sizes import parse_size
from .samplers._make import make_sampler
from .samplers._ranks import this_worker
from .transforms import check_transform

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike

    from ._anndata.variables import Join
    from ._loading.delivery import ObsAs
    from ._loading.neighbors import NeighborChoice
    from .abc import Adapter
    from .collection import DatasetCollection
    from .samplers._base import Sampler
    from .samplers._row_set import RowsLike
    from .tokens import Encoder
    from .transforms import Transform
    from .types import LoaderOutput


class Loader(AddsDatasets, DescribesItself, Resumes, ScverseNames, TorchDataset):
    """Yields minibatches of the rows of one or many datasets.

    Chunks of contiguous rows are read, one window of chunks at a time, and each row is copied once, to its place in its
    batch. While the user works on one window the next ones are read. Batches belong to the user: they never change,
    however long they are kept.

    Parameters
    ----------
    collection
        What :meth:`use_collection` takes; None to add datasets later.
    batch_sampler
        Order of the rows. Excludes ``chunk_size``, ``preload_nchunks``, ``batch_size``, ``shuffle``,
        ``drop_last``, ``rng``, ``seed`` and ``rows``, from which a :class:`~annbatch.samplers.RandomSampler`
        (``shuffle=True``) or :class:`~annbatch.samplers.SequentialSampler` is made otherwise.
    chunk_size
        Contiguous rows per chunk. Default 512.
    preload_nchunks
        Chunks per window; ``chunk_size * preload_nchunks`` must be a multiple of ``batch_size``. By default 32, or
        as many as come nearest to it and hold whole batches.
    shuffle
        Whether chunks, and the rows within a window, are shuffled. Default False.
    return_index
        Whether batches carry their global row numbers.
    batch_size
        Rows per batch. Default 1.
    preload_to_gpu
        Whether batches are put on the GPU: with ``to=None`` as CuPy arrays, else as arrays of the framework ``to``.
    drop_last
        Whether a last batch of fewer than ``batch_size`` rows is left out. Default False.
    to
        Framework of the arrays: None for SciPy CSR matrices and NumPy arrays, ``"torch"``, ``"jax"``, ``"cupy"``, the
        name of any installed adapter, or an :class:`~annbatch.abc.Adapter`.
    rng
        One integer is drawn from it when the sampler is made, and is the seed from then on.
    seed
        The same as ``rng=np.random.default_rng(seed)``.
    keys
        Elements to yield: ``"X"``, ``"layers/counts"``, ``"obsm/X_pca"``, ``"obs"``, all of the same rows. A
        batch holds them in dicts as their keys do: ``batch["layers"]["counts"]``. Data frames in ``obsm`` come as
        ``obs`` does. For a MuData, ``"X"`` and layers mean those of every modality; ``"mod/rna/X"`` names one.
    obs_columns
        Columns of ``obs`` to yield; default, all.
    obs_join
        ``"exact"``: all datasets have the same columns in ``obs``. ``"inner"``, ``"outer"``: the columns that all
        datasets have, or any; what a dataset lacks is missing in its rows.
    obs_as
        ``"dataframe"``, or ``"arrays"``: a dict of one array per column, categoricals as codes (see ``categories``),
        numbers and booleans converted as X is; then ``var`` is None in batches, so that they are dicts of arrays.
    var_names
        Columns of X and layers to yield, in this order; default, all. For a MuData, a dict by modality.
    var_join
        ``"exact"``: all datasets have the same columns. ``"inner"``, ``"outer"``: the columns that all datasets have,
        or any; what a dataset lacks is 0 in its rows, and ``var`` says which dataset has which.
    dtype
        Dtype of the values of X and layers; default, the dtype that the data had before it was narrowed for storage.
        ``"bfloat16"`` where a device densifies.
    densify
        Whether a sparse X or layer is yielded dense, made on the device where there is one.
    transform
        Change of the values of X and layers while they are read:
        :class:`~annbatch.transforms.NormalizeLog1p`, or any :class:`~annbatch.transforms.Transform`.
    device
        Device that is passed to the adapter.
    prefetch
        Bytes (``"1GB"`` or an int) of windows read ahead, at least one window; 0 turns reading ahead off.
    cache_dir
        Folder that caches chunks from object stores, for later epochs and other processes; None: no cache.
    cache_size
        Maximum size of the cache in bytes (``"20GB"`` or an int).
    to_torch
        Deprecated: ``True`` means ``to="torch"``, as in older programs.
    distributed
        Whether the ranks of a training run share each epoch: True is short for a
        :class:`~annbatch.samplers.DistributedSampler` around the sampler, which finds the ranks by itself, and leaves
        out rows that make no whole batch on each. Where there are several ranks, a loader whose sampler is not
        distributed warns, unless this is False.
    labels
        Column of ``obs`` that comes as ``batch["labels"]``, ``(n_rows,)``: one integer per class, int64, in JAX int32,
        as loss functions take it. Categories, strings, integers or booleans; ``classes`` of the loader has their names.
        A row without a value has -1, of which a warning tells. Independent of ``keys`` and ``obs_columns``.
    classes
        Names of the classes, in the order of their numbers, so that several loaders agree: those of another
        loader. Labels that it lacks are -1. Default: the categories over all datasets.
    neighbors
        Name of a graph in ``obsp``, such as ``"spatial_connectivities"``, or of one that a conversion kept. With each
        batch come neighbours of its rows, ``batch["neighbors"]``: a dict like a batch, of ``n_neighbors`` rows for each
        row, one after the other; with ``mask`` (bool) and ``weights`` (float32), ``(n_rows, n_neighbors)``. Where a
        row has fewer neighbours, it stands in for them itself: ``mask`` is False, and the weight 0.
    n_neighbors
        Neighbours per row.
    neighbor_choice
        Which of more neighbours: those of the ``"largest"`` weights, or of the ``"smallest"`` where weights are
        distances, in this order; or ``"random"`` ones, others in each epoch.
    encoder
        Encoder of :mod:`annbatch.tokens` that turns the rows of X into ``batch["tokens"]``: a dict of ``ids`` (int64,
        in JAX int32), ``values`` (float32) and ``mask`` (bool), ``(n_rows, width)``, and ``length`` (int32).
    encoder_key
        Matrix that is encoded, such as ``"layers/counts"`` or ``"mod/rna/X"``, whether or not ``keys`` has it. Its
        columns are those of batches; ``dtype`` and ``transform`` do not change what an encoder sees.
    rows
        Rows to load: a part of a :func:`~annbatch.samplers.split`, a :class:`~annbatch.samplers.RowSet`, a boolean
        mask, row numbers, or a slice. Default: all.
    covariates
        For a sampler of sets, such as :class:`~annbatch.samplers.SetSampler`: tables whose rows come with the sets, as
        ``batch["covariates"][name]``, ``(n_sets, ...)``. A DataFrame, Series or dict of numbers or vectors, whose keys
        are the values of the column of ``groups`` that its index names, or that is called as the table; of several
        columns with a MultiIndex. Floats come as float32.
    direct_io
        Whether files are read around the page cache where it lacks them, which Linux can. Default: if the files of the
        loader do not fit into the memory that is free.

    Raises
    ------
    ValueError
        If an argument is out of range or excludes another.
    TypeError
        If an argument is of the wrong kind.
    annbatch.errors.MissingDependencyError
        If the framework that ``to`` names is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch import Loader
    >>> loader = Loader(batch_size=4, shuffle=True, seed=0, return_index=True)
    >>> loader = loader.add_dataset(np.arange(20, dtype="float32").reshape(10, 2))
    >>> batches = list(loader)
    >>> [batch["X"].shape for batch in batches]
    [(4, 2), (4, 2), (2, 2)]
    >>> bool((batches[0]["X"][:, 0] == 2 * batches[0]["index"]).all())
    True
    """

    def __init__(
        self,
        collection: DatasetCollection | str | os.PathLike[str] | None = None,
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
        rng: np.random.Generator | int | None = None,
        seed: int | None = None,
        keys: Sequence[str] = ("X", "obs"),
        obs_columns: Sequence[str] | str | None = None,
        obs_join: Join = "exact",
        obs_as: ObsAs = "dataframe",
        var_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        var_join: Join = "exact",
        dtype: Any = None,
        densify: bool = False,
        transform: Transform | None = None,
        device: Any = None,
        prefetch: int | str = "1GB",
        cache_dir: str | os.PathLike[str] | None = None,
        cache_size: int | str = "20GB",
        to_torch: bool | None = None,
        distributed: bool | None = None,
        labels: str | None = None,
        classes: Sequence[Any] | None = None,
        neighbors: str | None = None,
        n_neighbors: int = 10,
        neighbor_choice: NeighborChoice = "largest",
        encoder: Encoder | None = None,
        encoder_key: str = "X",
        rows: RowsLike | None = None,
        covariates: Mapping[str, pd.DataFrame | pd.Series[Any] | Mapping[Any, ArrayLike]] | None = None,
        direct_io: bool | None = None,
    ) -> None:
        self._progress = Progress()
        sampler = make_sampler(
            batch_sampler,
            chunk_size=chunk_size,
            preload_nchunks=preload_nchunks,
            batch_size=batch_size,
            drop_last=drop_last,
            shuffle=shuffle,
            rng=rng,
            seed=seed,
            rows=rows,
        )
        self._batch_sampler = for_ranks(sampler, distributed)
        self._bound = BoundSampler()
        self._ranks_repeat = distributed is False
        adapter = find_adapter(framework_of(to, to_torch), device, on_gpu=preload_to_gpu)
        form = MatrixForm.of(adapter, dtype=dtype, densify=densify, transform=check_transform(transform))
        self._delivery = Delivery(form, obs_as=obs_as, return_index=return_index)
        selection = Selection(
            keys=tuple(as_names(keys, "keys")),
            obs_columns=None if obs_columns is None else as_names(obs_columns, "obs_columns"),
            obs_join=obs_join,
            var_names=var_names,
            var_join=var_join,
            labels=LabelRequest.of(labels, classes),
            sampled_columns=tuple(self._batch_sampler.obs_columns()),
            neighbors=NeighborRequest.of(
                neighbors, n_neighbors, neighbor_choice, rng=None if shuffle else rng, seed=seed
            ),
            encoding=EncodingRequest.of(
                encoder, encoder_key, rng=None if shuffle else rng, seed=None if shuffle else seed
            ),
        )
        self._covariates = CovariateTables.of(covariates)
        self._prefetch = parse_size(prefetch, name="prefetch")
        remote = RemoteStores(cache_dir=cache_dir, cache_size=cache_size)
        reading = Reading(None if adapter is None else adapter.allocate, remote, DirectIO.of(direct_io))
        super().__init__(Datasets(selection, form), remote=remote, reading=reading)
        if collection is not None:
            self.use_collection(collection)

    @property
    def batch_sampler(self) -> Sampler:
        """The sampler, which decides which rows come in which order."""
        return self._bound.of(self._batch_sampler, self._datasets)

    @property
    def sampler(self) -> Self:
        """The loader itself, as Lightning looks here for ``set_epoch``."""
        return self

    # Iteration --------------------------------------------------------------------------------------------------------

    @property
    def stats(self) -> LoaderStats:
        """Counts since this loader was made."""
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
        return self.batch_sampler.n_batches(self.n_obs)

    def __iter__(self) -> Iterator[LoaderOutput]:
        """Iterate over the batches of the next epoch, whether or not the iteration before was finished.

        Yields
        ------
        LoaderOutput
            A dict of ``X``, ``obs``, ``var`` and ``index``.

        Raises
        ------
        ValueError
            If no dataset was added, or the sampler cannot sample from that many rows.
        """
        check_rows(self._datasets)
        worker = this_worker()
        if not (self._ranks_repeat or self._reading.warned_of_ranks):
            self._reading.warned_of_ranks = not divides_epochs(self.batch_sampler)
        self._join_workers()
        Epoch(Position(self.epoch), worker, self._datasets, self.batch_sampler, self._form_of_batches()).check()
        return self._iterate(worker)

    def _iterate(self, worker: tuple[int, int]) -> Generator[LoaderOutput, None, None]:
        # The epoch begins with its first batch, not before: Lightning makes iterators that it does not use.
        progress = self._progress.begin(ranks=self.batch_sampler.n_ranks_of_epoch, workers=worker[1])
        epoch = Epoch(progress.position, worker, self._datasets, self.batch_sampler, self._form_of_batches())
        last = epoch.position.steps + epoch.n_batches
        for batch in epoch.batches(self._reading, budget=self._prefetch):
            position = progress.step()
            # A loop that counts batches, as Lightning's does, never asks for what follows the last. Among workers the
            # others may not be there yet.
            if position.steps == last and position.workers == 1:
                progress.finish()
            yield batch
        progress.finish()

    def _form_of_batches(self) -> Delivery:
        return self._delivery.with_covariates(self._covariates, self.batch_sampler)

    def take(self, rows: ArrayLike) -> LoaderOutput:
        """Return rows as one batch, in the given order: the same form of batch as an iteration yields.

        Any thread may call it, also during an iteration, whose position stays as it is. Reading many rows at once is
        faster than one call per row.

        Parameters
        ----------
        rows
            Row numbers as in ``index`` of a batch: any of them, in any order, repeated or not, whichever rows the
            sampler chooses.

        Raises
        ------
        TypeError
            If ``rows`` is not a one-dimensional array of integers.
        ValueError
            If the loader has no such row; negative numbers do not count from the end.

        Examples
        --------
        >>> import numpy as np
        >>> from annbatch import Loader
        >>> loader = Loader().add_dataset(np.arange(20).reshape(10, 2))
        >>> loader.take([7, 2, 7])["X"].tolist()
        [[14, 15], [4, 5], [14, 15]]
        """
        (batch,) = taken(rows, self._datasets, self._delivery, self._reading, self.batch_sampler, self.epoch)
        return batch

    def close(self) -> None:
        """Stop open iterations and all threads. Batches stay valid; a later iteration starts threads again.

        An open iteration may yield the rest of its window before it ends.
        """
        self._reading.close()

    def __copy__(self) -> Self:
        """Return a loader of the same data, sampler and threads, with a position of its own."""
        made = object.__new__(type(self))
        vars(made).update(
            vars(self),
            _progress=Progress(),
            _datasets=copy(self._datasets),
            _worker_epochs=None,
            _bound=copy(self._bound),
        )
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
