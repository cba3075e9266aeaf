"""The loader: wires the stages together, and holds no algorithm of its own."""

from __future__ import annotations

import os
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from ._adapters import find_adapter
from ._buffers import BufferPool
from ._datasets import Datasets
from ._elements import CsrElement
from ._plan import plan_window, rows_by_dataset
from ._prefetch import ReadAhead, check_process
from ._sizes import parse_size
from ._variables import JOINS
from ._window import WindowPlan, WorkLog, begin_window
from .batch import CSR
from .samplers import RandomSampler, SequentialSampler

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from anndata import AnnData

    from ._window import LoadedWindow
    from .abc import Adapter, Sampler
    from .collection import DatasetCollection
    from .types import LoaderOutput

_SAMPLING_DEFAULTS = {"chunk_size": 512, "preload_nchunks": 32, "batch_size": 1, "drop_last": False}


@dataclass(frozen=True, slots=True)
class LoaderStats:
    """What a loader has done since it was made.

    Attributes
    ----------
    rows, batches
        Handed to the user.
    bytes_read
        Fetched from storage, in memory none.
    wait_seconds
        That the user waited for a window to be read.
    read_seconds
        That the reading threads worked, added up over threads.
    peak_buffer_bytes
        The most memory that windows held at once, read-ahead and kept batches included.
    """

    rows: int
    batches: int
    bytes_read: int
    wait_seconds: float
    read_seconds: float
    peak_buffer_bytes: int


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
    obs_columns
        Which columns of ``obs`` to yield; default, all.
    obs_as
        ``"dataframe"``, or ``"arrays"``: a dict of one array a column, categoricals as codes (see ``categories``),
        numbers and booleans converted as X is.
    var_names
        Which columns of X to yield, in this order; default, all.
    var_join
        ``"exact"``: all datasets have the same columns. ``"inner"``, ``"outer"``: the columns that all datasets have,
        or any; what a dataset lacks is 0 in its rows, and ``var`` says which dataset has which.
    dtype
        Of X's values; default, the dtype that the data had before it was narrowed for storage.
    densify
        Whether a sparse X is yielded dense, made on the device where there is one.
    device
        Passed to the adapter.
    prefetch
        Bytes (``"1GB"`` or an int) of windows read ahead; one is, whatever its size; 0 turns reading ahead off.

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
        obs_columns: Sequence[str] | None = None,
        obs_as: str = "dataframe",
        var_names: Sequence[str] | None = None,
        var_join: str = "exact",
        dtype: Any = None,
        densify: bool = False,
        device: Any = None,
        prefetch: int | str = "1GB",
    ) -> None:
        self._batch_sampler = _make_sampler(
            batch_sampler,
            chunk_size=chunk_size,
            preload_nchunks=preload_nchunks,
            batch_size=batch_size,
            drop_last=drop_last,
            shuffle=shuffle,
            rng=rng,
            seed=seed,
        )
        if obs_as not in ("dataframe", "arrays"):
            raise ValueError(f"`obs_as` must be 'dataframe' or 'arrays', got {obs_as!r}.")
        if var_join not in JOINS:
            raise ValueError(f"`var_join` must be one of {', '.join(JOINS)}, got {var_join!r}.")
        if preload_to_gpu and to is None:
            to = "cupy"
        elif preload_to_gpu and device is None:
            device = {"torch": "cuda", "jax": "gpu"}.get(to) if isinstance(to, str) else None
        self._adapter = find_adapter(to, device)
        self._return_index = return_index
        self._obs_as = obs_as
        self._densify = densify
        self._prefetch = parse_size(prefetch, name="prefetch")
        on_device = self._adapter is not None and self._adapter.densifies
        self._datasets = Datasets(
            obs_columns=None if obs_columns is None else list(obs_columns),
            var_names=None if var_names is None else list(var_names),
            var_join=var_join,
            dtype=None if dtype is None else np.dtype(dtype),
            densify=densify and not on_device,
        )
        self._collection_added = False
        self._epoch = 0
        self._rows = 0
        self._batches = 0
        self._wait_seconds = 0.0
        self._reset_threads()

    def _reset_threads(self) -> None:
        self._threads: tuple[int, ThreadPoolExecutor, ThreadPoolExecutor] | None = None
        self._pool = BufferPool() if self._adapter is None else BufferPool(self._adapter.allocate)
        self._log = WorkLog()
        self._open: weakref.WeakSet[ReadAhead[WindowPlan, LoadedWindow]] = weakref.WeakSet()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out threads and buffers, which belong to a process."""
        state = self.__dict__.copy()
        for name in ("_threads", "_pool", "_log", "_open"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset_threads()

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
            Turns one dataset's ``zarr.Group`` into an AnnData, whose ``X``, ``obs`` and ``var`` are then loaded;
            default, those of the group, nothing of which is read before it is needed.

        Returns
        -------
        Loader
            This loader.

        Raises
        ------
        ValueError
            If the collection is empty.
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
        for group in collection:
            if load_adata is None:
                self._check_closed()
                self._datasets.add_group(group)
            else:
                self.add_adata(load_adata(group))
        self._collection_added = True
        return self

    def add_adatas(self, adatas: Sequence[AnnData]) -> Self:
        """Append AnnData objects; see :meth:`add_adata`."""
        if not len(adatas):
            raise ValueError("`adatas` must hold at least one AnnData, got none.")
        for adata in adatas:
            self.add_adata(adata)
        return self

    def add_adata(self, adata: AnnData) -> Self:
        """Append an AnnData object's ``X``, ``obs`` and ``var``.

        Parameters
        ----------
        adata
            Its ``X`` may be in memory, a zarr array or a backed CSR matrix; ``obs`` without columns counts as none.

        Returns
        -------
        Loader
            This loader.

        Raises
        ------
        TypeError
            If ``X`` cannot be read by rows (CSC, lazy).
        ValueError
            If its columns, or the presence of ``obs`` or ``var``, differ from those of what was added before.
        """
        obs = adata.obs if len(adata.obs.columns) else None
        return self.add_dataset(adata.X, obs, adata.var)

    def add_datasets(
        self,
        datasets: Sequence[Any],
        obs: Sequence[pd.DataFrame] | None = None,
        var: Sequence[pd.DataFrame] | None = None,
    ) -> Self:
        """Append matrices; see :meth:`add_dataset`."""
        for name, frames in (("obs", obs), ("var", var)):
            if frames is not None and len(frames) != len(datasets):
                raise ValueError(f"`{name}` must have one DataFrame a dataset ({len(datasets)}), got {len(frames)}.")
        all_obs = [None] * len(datasets) if obs is None else obs
        all_var = [None] * len(datasets) if var is None else var
        for dataset, one_obs, one_var in zip(datasets, all_obs, all_var, strict=True):
            self.add_dataset(dataset, one_obs, one_var)
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
        self._datasets.add(dataset, obs, var)
        return self

    def _check_closed(self) -> None:
        if len(self._open):
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
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields: the order is a function of seed and epoch alone."""
        if epoch < 0:
            raise ValueError(f"`epoch` must not be negative, got {epoch}.")
        self._epoch = epoch

    @property
    def stats(self) -> LoaderStats:
        """What this loader has done since it was made."""
        return LoaderStats(
            rows=self._rows,
            batches=self._batches,
            bytes_read=self._log.bytes_read,
            wait_seconds=self._wait_seconds,
            read_seconds=self._log.read_seconds,
            peak_buffer_bytes=self._pool.peak_bytes,
        )

    def __len__(self) -> int:
        """Return the number of batches of one epoch."""
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
        if self.n_obs < 1:
            raise ValueError(
                f"The loader must have rows to iterate over, got {self._datasets.count} datasets with none."
            )
        self._batch_sampler.validate(self.n_obs)
        element = self._datasets.matrix(None)  # what cannot be made is refused here, not on a thread
        if (
            isinstance(element, CsrElement)
            and element.dtype == np.float16
            and self._adapter is None
            and not self._densify
        ):
            raise ValueError(
                "`dtype` must not be float16 for SciPy matrices, which have no such dtype: ask for float32."
            )
        return self._iterate(self._epoch)

    def _iterate(self, epoch: int) -> Generator[LoaderOutput, None, None]:
        workers, planner = self._start_threads()
        n_workers = workers._max_workers

        def begin(plan: WindowPlan) -> LoadedWindow:
            return begin_window(plan, pool=self._pool, workers=workers, n_workers=n_workers, log=self._log)

        windows = ReadAhead(self._plans(epoch), begin, planner=planner, budget=self._prefetch)
        self._open.add(windows)
        try:
            while (window := self._next_window(windows)) is not None:
                for batch in range(window.rows.n_batches):
                    output = self._output(window, batch)
                    self._batches += 1
                    self._rows += int(window.rows.edges[batch + 1] - window.rows.edges[batch])
                    yield output
            self._epoch = epoch + 1
        finally:
            windows.close()
            self._open.discard(windows)

    def _next_window(self, windows: ReadAhead[WindowPlan, LoadedWindow]) -> LoadedWindow | None:
        begin = time.perf_counter()
        window = next(windows, None)
        self._wait_seconds += time.perf_counter() - begin
        return window

    def _plans(self, epoch: int) -> Generator[WindowPlan, None, None]:
        """Plan the epoch's windows. Runs on the planning thread, ahead of the user."""
        capacity = None if self._adapter is None else self._adapter.capacity
        elements = {"X": self._datasets.matrix(capacity)}
        obs = self._datasets.obs()
        starts = self._datasets.starts
        self._batch_sampler.set_epoch(epoch)
        for number, request in enumerate(self._batch_sampler.sample(self.n_obs)):
            rows = plan_window(request, self.n_obs)
            shares = rows_by_dataset(rows.rows, starts)
            gather = None
            if obs is not None:
                gather = partial(obs.frame if self._obs_as == "dataframe" else obs.arrays, shares)
            yield WindowPlan(number, rows, {key: el.plan(rows, shares) for key, el in elements.items()}, gather)

    def _output(self, window: LoadedWindow, batch: int) -> LoaderOutput:
        start, stop = int(window.rows.edges[batch]), int(window.rows.edges[batch + 1])
        return {
            "X": self._convert(window.element("X", batch)),
            "obs": self._convert_obs(window.obs.batch(start, stop)) if window.obs is not None else None,
            "var": self._datasets.var,
            "index": window.rows.rows[start:stop] if self._return_index else None,
        }

    def _convert(self, value: Any) -> Any:
        adapter = self._adapter
        if not isinstance(value, CSR):
            return value if adapter is None else adapter.dense(value)
        if adapter is None:
            return value.to_dense() if self._densify else value.to_scipy()
        return adapter.densify(value) if self._densify else adapter.csr(value)

    def _convert_obs(self, obs: Any) -> Any:
        if self._adapter is None or isinstance(obs, pd.DataFrame):
            return obs
        return {name: self._adapter.dense(a) if a.dtype.kind in "biuf" else a for name, a in obs.items()}

    # Threads ----------------------------------------------------------------------------------------------------------

    def _start_threads(self) -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
        """Return the reading threads and the planning thread; start them in the process that iterates first."""
        if self._threads is None:
            workers = ThreadPoolExecutor(_usable_cores(), thread_name_prefix="annbatch-read")
            planner = ThreadPoolExecutor(1, thread_name_prefix="annbatch-plan")
            self._threads = (os.getpid(), workers, planner)
        owner, workers, planner = self._threads
        check_process(owner)
        return workers, planner

    def close(self) -> None:
        """Stop open iterations and all threads. Batches stay valid; a later iteration starts threads again."""
        for windows in list(self._open):
            windows.close()
        if self._threads is not None and self._threads[0] == os.getpid():
            for executor in self._threads[1:]:
                executor.shutdown(wait=True)
        self._threads = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        to = "NumPy" if self._adapter is None else self._adapter.name
        return f"Loader({self._datasets.describe()}, sampler={type(self._batch_sampler).__name__}, to={to})"


def _make_sampler(batch_sampler: Sampler | None, *, seed: int | None, **sampling: Any) -> Sampler:
    given = {name: value for name, value in {**sampling, "seed": seed}.items() if value is not None}
    if batch_sampler is not None:
        if given:
            raise ValueError(
                f"`batch_sampler` excludes the sampling arguments, which are its own; got {', '.join(given)} beside it."
            )
        return batch_sampler
    if seed is not None and "rng" in given:
        raise ValueError(f"`seed` excludes rng, got both: seed={seed}.")
    rng = np.random.default_rng(given.pop("seed", None)) if "rng" not in given else given.pop("rng")
    given.pop("rng", None)
    if given.pop("shuffle", False):
        return RandomSampler(**{**_SAMPLING_DEFAULTS, **given}, rng=rng)
    return SequentialSampler(**{**_SAMPLING_DEFAULTS, **given})


def _usable_cores() -> int:
    """Return the cores that this process may run on, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
