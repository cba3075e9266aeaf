"""Graphs of rows are converted with their rows: the same rows are neighbours afterwards, wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from annbatch import DatasetCollection
from annbatch.errors import StoreError

from ..conftest import files, make_counts

Write = Callable[..., str]
Edges = dict[tuple[str, str], float]


def make_graph(number: int, n_rows: int, *, kind: str = "csr", density: float = 0.05) -> ad.AnnData:
    """Return cells of which each has some neighbours."""
    cells = make_counts(number, n_rows)
    near = sparse.random(n_rows, n_rows, density, format="csr", dtype="f4", random_state=number)
    cells.obsp["near"] = near.toarray() if kind == "dense" else near.asformat(kind)
    return cells


def edges_in(sources: Sequence[ad.AnnData]) -> Edges:
    """Return the weight of each pair of names."""
    found: Edges = {}
    for source in sources:
        near, names = sparse.coo_matrix(source.obsp["near"]), source.obs_names
        found |= {(names[i], names[j]): w for i, j, w in zip(near.row, near.col, near.data.tolist(), strict=True)}
    return found


def edges_of(parts: Sequence[ad.AnnData]) -> Edges:
    """Return the same of the datasets of a collection; columns ascend within each row."""
    names = np.concatenate([part.obs_names for part in parts])
    found: Edges = {}
    for part in parts:
        near = part.obsm["near"]
        assert near.has_canonical_format
        for i in range(part.n_obs):
            columns = slice(near.indptr[i], near.indptr[i + 1])
            found |= {
                (part.obs_names[i], names[j]): w
                for j, w in zip(near.indices[columns], near.data[columns].tolist(), strict=True)
            }
    return found


def datasets(collection: DatasetCollection) -> list[ad.AnnData]:
    return [collection.to_adata(number) for number in range(len(collection))]


def convert(folder: Path, paths: Sequence[str], **how: object) -> DatasetCollection:
    how = {"dataset_size": 70, "seed": 3, "obsp": "near", "progress": False} | how
    return DatasetCollection(folder).add_adatas(paths, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
def test_neighbours_stay_neighbours(tmp_path: Path, write: Write, kind: str) -> None:
    cells = [make_graph(i, n, kind=kind) for i, n in enumerate((90, 0, 120))]
    collection = convert(tmp_path / "c.zarr", [write(one, f"{i}.h5ad") for i, one in enumerate(cells)])
    assert edges_of(datasets(collection)) == edges_in(cells)
    firsts = [int(group["obsm/near"].attrs["annbatch-first-row"]) for group in collection]
    assert firsts == [0, 70, 140]
    assert [group["obsm/near"].attrs["shape"] for group in collection] == [[70, 210]] * 3
    assert collection.verify()
    assert all(not list(group["obsp"]) for group in collection)


def test_anndata_opens_a_dataset(tmp_path: Path, write: Write) -> None:
    cells = make_graph(0, 50)
    collection = convert(tmp_path / "c.zarr", [write(cells, "0.zarr")], layout="portable", dataset_size=30)
    first = ad.read_zarr(tmp_path / "c.zarr" / "dataset_0")
    assert first.obsm["near"].shape == (30, 50)
    whole = np.vstack([ad.io.read_elem(group).obsm["near"].toarray() for group in collection])
    order = [int(name.partition("_r")[2]) for name in collection.obs([]).index]
    assert np.array_equal(whole, cells.obsp["near"].toarray()[np.ix_(order, order)])


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_that_go_through_the_disk_give_the_same_bytes(tmp_path: Path, write: Write, shuffle: bool) -> None:
    cells = [make_graph(i, n) for i, n in enumerate((90, 120))]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    in_memory = convert(tmp_path / "memory.zarr", paths, shuffle=shuffle)
    convert(tmp_path / "disk.zarr", paths, shuffle=shuffle, memory_limit="10kB")
    assert files(tmp_path / "memory.zarr") == files(tmp_path / "disk.zarr")
    assert edges_of(datasets(in_memory)) == edges_in(cells)


def test_sorted_rows(tmp_path: Path, write: Write) -> None:
    cells = make_graph(0, 150)
    collection = convert(tmp_path / "c.zarr", [write(cells, "0.h5ad")], groupby="label")
    assert edges_of(datasets(collection)) == edges_in([cells])


@pytest.mark.filterwarnings("ignore:Not in all inputs")
def test_rows_that_are_added_later_leave_the_earlier_ones(tmp_path: Path, write: Write) -> None:
    cells = [make_graph(i, n) for i, n in enumerate((90, 120))]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths[:1])
    before = files(tmp_path / "c.zarr" / "dataset_0")
    collection.add_adatas(paths[1:], obsp=["near"], seed=5, progress=False)
    assert files(tmp_path / "c.zarr" / "dataset_0") == before
    assert edges_of(datasets(collection)) == edges_in(cells)
    with pytest.warns(UserWarning, match=r"Dropping obsp/near"):
        collection.add_adatas([write(make_graph(2, 40), "2.h5ad")], seed=5, progress=False)
    assert edges_of(datasets(collection)) == edges_in(cells)  # rows without neighbours
    collection.reshuffle(7, progress=False)
    assert edges_of(datasets(collection)) == edges_in(cells)
    assert collection.verify()


@pytest.mark.slow
@settings(max_examples=settings().max_examples // 4)  # converting takes long
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    per_dataset=st.integers(5, 40),
    seed=st.integers(0, 99),
    density=st.sampled_from([0.0, 0.1, 0.7]),
)
def test_any_shuffle_and_its_repetition(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], per_dataset: int, seed: int, density: float
) -> None:
    folder = tmp_path_factory.mktemp("graphs")
    cells = [make_graph(i, n, density=density) for i, n in enumerate(sizes)]
    for i, one in enumerate(cells):
        one.write_h5ad(folder / f"{i}.h5ad")
    paths = [str(folder / f"{i}.h5ad") for i in range(len(cells))]
    collection = convert(folder / "c.zarr", paths, dataset_size=per_dataset, seed=seed)
    assert edges_of(datasets(collection)) == edges_in(cells)
    collection.reshuffle(seed + 1, progress=False)
    assert edges_of(datasets(collection)) == edges_in(cells)


def test_h5ad_files(tmp_path: Path, write: Write) -> None:
    cells = [make_graph(i, n) for i, n in enumerate((90, 120))]
    collection = DatasetCollection(tmp_path / "files", is_collection_h5ad=True)
    for i, one in enumerate(cells):
        collection.add_adatas([write(one, f"{i}.h5ad")], obsp="near", dataset_size=70, seed=i, progress=False)
    paths = [tmp_path / "files" / f"dataset_{i}.h5ad" for i in range(4)]
    assert edges_of([ad.read_h5ad(path) for path in paths]) == edges_in(cells)
    firsts = []
    for path in paths:
        with h5py.File(path) as file:
            firsts.append(int(file["obsm/near"].attrs["annbatch-first-row"]))
    assert firsts == [0, 70, 90, 160]


def test_loaded_inputs(tmp_path: Path, write: Write) -> None:
    cells = make_graph(0, 90)
    path, some = write(cells, "0.h5ad"), np.arange(0, 90, 2)
    collection = convert(tmp_path / "c.zarr", [path], load_adata=lambda path: ad.read_h5ad(path)[some])
    assert edges_of(datasets(collection)) == edges_in([cells[some].copy()])


@pytest.mark.filterwarnings("ignore:Column 'src_path'")
def test_graphs_of_another_collection_are_dropped(tmp_path: Path, write: Write) -> None:
    collection = convert(tmp_path / "c.zarr", [write(make_graph(0, 90), "0.h5ad")])
    dropped = r"Dropping obsm/near: their columns are rows of another collection"
    with pytest.warns(UserWarning, match=dropped):
        other = DatasetCollection(tmp_path / "d.zarr").add_adatas(list(collection), progress=False)
    assert all("near" not in group["obsm"] for group in other)


def test_refused(tmp_path: Path, write: Write) -> None:
    cells, without = make_graph(0, 20), make_counts(1, 20)
    path = write(cells, "0.h5ad")
    with pytest.raises(KeyError, match=r"`obsp` must be matrices in obsp of .*0\.h5ad, got \['neer'\]; did you mean"):
        convert(tmp_path / "c.zarr", [path], obsp="neer")
    with pytest.raises(KeyError, match=r"`obsp` must be matrices in obsp of .*1\.h5ad, got \['near'\]"):
        convert(tmp_path / "c.zarr", [path, write(without, "1.h5ad")])
    cells.obsm["near"] = np.ones((20, 2))
    with pytest.raises(StoreError, match=r"`obsp/near` of .*2\.h5ad must have a name that `obsm` does not have"):
        convert(tmp_path / "c.zarr", [write(cells, "2.h5ad")])
    without.obsm["near"] = np.ones((20, 2))
    mixed = convert(tmp_path / "mixed.zarr", [write(without, "3.h5ad")], obsp=())
    with pytest.raises(StoreError, match=r"`obsm/near` must come from `obsp` in all inputs, or from `obsm` in all"):
        mixed.add_adatas([path], obsp="near", progress=False)
    with h5py.File(path, "r+") as file:
        file["obsp/near"].attrs["shape"] = [20, 21]
    with pytest.raises(StoreError, match=r"`obsp/near` of .*0\.h5ad must be a matrix of numbers with 20 rows and colu"):
        convert(tmp_path / "c.zarr", [path])
    assert not (tmp_path / "c.zarr").exists()
