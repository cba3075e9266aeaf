"""Compile kernels before they are needed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..collection import DatasetCollection
from ..loader import Loader

if TYPE_CHECKING:
    from anndata import AnnData

_N_GENES = 300  # more than one byte of column numbers counts
_N_CELLS = 256


@dataclass(frozen=True, slots=True)
class Warmup:
    """What :func:`warmup` did.

    Attributes
    ----------
    cache
        Folder of the compiled kernels.
    seconds
        Time that it took.
    """

    cache: Path
    seconds: float


def warmup(*, to: Any = None) -> Warmup:
    """Compile what the usual data need, so that the first batch of a program comes at once.

    Kernels are compiled when data first need them, which takes a new installation several seconds, and kept in numba's
    cache. This call converts and reads a few made-up cells in the usual dtypes, and so fills it: counts and fractions,
    of float32; collections, and an h5ad file; all genes and a panel, sparse and dense. Call it where the package is
    installed, as in a Dockerfile. The cache lies in ``NUMBA_CACHE_DIR`` if that is set, else beside the package's own
    files, or in the user's folder for caches where these cannot be written. It serves machines with the same kind of
    processor.

    Parameters
    ----------
    to
        Framework whose batches are also made, as in :class:`~annbatch.Loader`.

    Examples
    --------
    >>> import annbatch.tuning
    >>> done = annbatch.tuning.warmup()  # doctest: +SKIP
    """
    began = perf_counter()
    with tempfile.TemporaryDirectory(prefix="annbatch-") as folder:
        place = Path(folder)
        cells = _cells()
        cells.write_h5ad(place / "cells.h5ad")
        cells[:, ::-1].write_h5ad(place / "turned.h5ad")  # where genes are joined, those of a row need not ascend
        files = [place / "cells.h5ad", place / "turned.h5ad"]
        for layout in ("compact", "random_access"):
            collection = DatasetCollection(place / layout).add_adatas(files, layout=layout, rng=0, progress=False)
            for chunk_size in (1, 32):  # parts of chunks, and whole ones
                _read(collection, chunk_size=chunk_size, to=to)
                _read(collection, chunk_size=chunk_size, densify=True, to=to)
                _read(collection, chunk_size=chunk_size, var_names=list(cells.var_names[::-3]), to=to)
        _read(place / "cells.h5ad", chunk_size=32, to=to)
    from .._kernels.decode import read_pieces

    return Warmup(Path(read_pieces.stats.cache_path), perf_counter() - began)  # type: ignore[attr-defined]


def _read(data: DatasetCollection | Path, *, chunk_size: int, **form: Any) -> None:
    keys = ("X", "obs") if "var_names" in form else ("X", "layers/few", "layers/log", "obsm/pca", "obs")
    loader = Loader(
        batch_size=64,
        chunk_size=chunk_size,
        preload_nchunks=128 // chunk_size,
        keys=keys,
        shuffle=True,
        direct_io=True,
        **form,
    )
    for _ in loader.add_adata(data) if isinstance(data, Path) else loader.use_collection(data):
        pass


def _cells() -> AnnData:
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    counts: Any = sp.random(_N_CELLS, _N_GENES, 0.3, format="csr", dtype="f4", rng=rng)
    counts.data[:] = rng.integers(1, 1000, counts.nnz)
    few, log = counts.copy(), counts.copy()
    few.data[:], log.data[:] = counts.data % 200 + 1, np.log1p(counts.data)
    names = pd.Index([f"cell{i}" for i in range(_N_CELLS)])
    label = pd.Categorical(rng.choice(["B", "NK", "T"], _N_CELLS))
    return ad.AnnData(
        counts,
        obs=pd.DataFrame({"label": label, "size": rng.random(_N_CELLS)}, index=names),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(_N_GENES)]),
        layers={"few": few, "log": log},
        obsm={"pca": rng.random((_N_CELLS, 16), dtype="f4")},
    )
