"""Inputs of every kind, and the check that a collection holds exactly their rows."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from annbatch import DatasetCollection

GENES = [f"gene{i}" for i in range(30)]
MATRICES: dict[str, Callable[[np.ndarray], object]] = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "dense": np.asarray,
}


def make_cells(
    number: int,
    n_rows: int,
    *,
    kind: str = "csr",
    dtype: str = "float32",
    genes: Sequence[str] = GENES,
    fraction: bool = False,
) -> ad.AnnData:
    """Return cells with elements of every kind; they and their names differ by ``number``."""
    rng = np.random.default_rng(number)
    counts = rng.poisson(0.7, (n_rows, len(genes))).astype(dtype)
    counts[rng.random(n_rows) < 0.1] = 0  # rows without a value
    if fraction:
        counts += (counts > 0) * np.asarray(0.25, dtype)
    make = MATRICES[kind]
    obs = pd.DataFrame(
        {
            "label": pd.Categorical(rng.choice(["B", "T", "NK"][number % 2 :], n_rows)),
            "word": rng.choice(["a", "bb", "ünï"], n_rows).astype(object),
            "dose": rng.normal(size=n_rows).astype("f4"),
            "batch": rng.integers(0, 2**40, n_rows),
            "good": rng.random(n_rows) < 0.5,
            "age": pd.array(np.where(rng.random(n_rows) < 0.3, None, rng.integers(0, 90, n_rows)), dtype="Int64"),
            "ill": pd.array(np.where(rng.random(n_rows) < 0.3, None, rng.random(n_rows) < 0.5), dtype="boolean"),
        },
        index=[f"f{number}_r{i}" for i in range(n_rows)],
    )
    adata = ad.AnnData(make(counts), obs=obs, var=pd.DataFrame(index=list(genes)))
    adata.layers["twice"] = make(counts * 2)
    adata.obsm["pca"] = rng.normal(size=(n_rows, 5))
    adata.obsm["image"] = rng.integers(0, 300, (n_rows, 2, 3)).astype("i4")
    adata.obsm["near"] = sparse.random(n_rows, 7, 0.3, format="csr", random_state=number)
    adata.obsm["table"] = pd.DataFrame({"u": rng.normal(size=n_rows), "v": obs["label"].to_numpy()}, index=obs.index)
    return adata


def make_counts(
    number: int, n_rows: int, *, kind: str = "csr", genes: Sequence[str] = GENES, **columns: object
) -> ad.AnnData:
    """Return cells with counts and one label, or more columns of ``obs``: a tenth of what `make_cells` has to write."""
    rng = np.random.default_rng(number)
    counts = rng.poisson(0.7, (n_rows, len(genes))).astype(np.float32)
    label = pd.Categorical(rng.choice(["B", "T", "NK"], n_rows))
    obs = pd.DataFrame({"label": label, **columns}, index=[f"f{number}_r{i}" for i in range(n_rows)])
    return ad.AnnData(MATRICES[kind](counts), obs=obs, var=pd.DataFrame(index=list(genes)))


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files under a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes an AnnData object to a file and returns its path."""

    def write_one(adata: ad.AnnData, name: str, **kwargs: object) -> str:
        path = tmp_path / name
        # Columns stay as they are: anndata would make categories of strings.
        with ad.settings.override(allow_write_nullable_strings=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name.endswith(".zarr"):
                adata.write_zarr(path)
            else:
                adata.write_h5ad(path, **kwargs)
        return str(path)

    return write_one


def convert(path: Path, sources: list[object], **kwargs: object) -> DatasetCollection:
    """Return a collection of sources in an order that is always the same."""
    kwargs = {"rng": np.random.default_rng(3), "progress": False} | kwargs
    return DatasetCollection(path).add_adatas(sources, **kwargs)


def dense(matrix: object) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def read(collection: DatasetCollection) -> list[ad.AnnData]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names of variables that repeat
        return [ad.io.read_elem(group) for group in collection]


def values(column: pd.Series) -> list[object]:
    """Return a column's values as plain objects, None where one is missing."""
    return [None if pd.isna(value) else value for value in column.astype(object)]


def assert_holds(collection: DatasetCollection, sources: dict[str, ad.AnnData]) -> None:
    """Check that the collection holds every row of every source exactly once, with its values and dtypes."""
    seen: dict[str, set[str]] = {name: set() for name in sources}
    for part, group in zip(read(collection), collection, strict=True):
        matrices = {"X": (part.X, group["X"])}
        matrices |= {f"layers/{k}": (v, group["layers"][k]) for k, v in part.layers.items() if k}
        matrices |= {f"obsm/{k}": (v, group["obsm"][k]) for k, v in part.obsm.items()}
        for name, source in sources.items():
            mine = np.flatnonzero((part.obs["src_path"] == name).to_numpy())
            names = part.obs_names[mine]
            assert names.is_unique
            assert not seen[name] & set(names)
            seen[name] |= set(names)
            of = source.obs_names.get_indexer(names)
            assert (of >= 0).all()
            columns = part.var_names.get_indexer(source.var_names) if source.var_names.is_unique else None
            for path, (stored, node) in matrices.items():
                place, _, key = path.partition("/")
                original = source.X if path == "X" else getattr(source, place)[key]
                if isinstance(original, pd.DataFrame):
                    for column in original:
                        assert values(stored[column].iloc[mine]) == values(original[column].iloc[of])
                    continue
                rows = dense(stored)[mine].astype(node.attrs.get("annbatch-dtype", dense(stored).dtype))
                if place != "obsm" and columns is not None:
                    others = np.setdiff1d(np.arange(rows.shape[1]), columns)
                    assert not rows[:, others].any()
                    rows = rows[:, columns]
                expected = dense(original)[of]
                assert rows.dtype == expected.dtype
                assert rows.shape == expected.shape
                assert rows.tobytes() == expected.tobytes()
            for column in source.obs:
                assert values(part.obs[column].iloc[mine]) == values(source.obs[column].iloc[of])
    assert {name: len(names) for name, names in seen.items()} == {name: s.n_obs for name, s in sources.items()}


_watching: list[tuple[str, str, Callable[[], None]]] = []


def _watch(event: str, args: tuple[object, ...]) -> None:
    for watched in list(_watching):
        of, ending, act = watched
        if event == of and str(args[0]).endswith(ending):
            _watching.remove(watched)
            act()


@pytest.fixture(scope="session")
def _hook() -> None:
    sys.addaudithook(_watch)


@pytest.fixture
def before_step(_hook: None) -> Iterator[Callable[..., None]]:
    """Return a function that interrupts a call, or has something else happen, before a step on a path."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    def before(event: str, ending: str, act: Callable[[], None] = interrupt) -> None:
        _watching.append((event, ending, act))

    yield before
    _watching.clear()
