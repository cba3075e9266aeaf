"""Neighbours come with the rows of a batch: those that a graph in memory has, in every kind of data."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from annbatch import DatasetCollection, Loader
from annbatch.samplers import DistributedSampler, RandomSampler

N, K = 120, 4


def cells(number: int, n: int = N, density: float = 0.05) -> ad.AnnData:
    """Return cells whose first gene is a number of their own."""
    rng = np.random.default_rng(number)
    counts = rng.poisson(0.7, (n, 6)).astype(np.float32)
    counts[:, 0] = 1000 * number + np.arange(n) + 1
    obs = pd.DataFrame({"kind": pd.Categorical(rng.choice(["a", "b"], n))}, index=[f"{number}_{i}" for i in range(n)])
    graph = sparse.random(n, n, density, format="csr", dtype="f4", random_state=number)
    graph.data = rng.choice([0.25, 0.5, 1.0], graph.nnz).astype("f4")
    graph.setdiag(2.0)  # a row is no neighbour of its own
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, obsp={"near": graph.tocsr()})


def neighbors_of(parts: list[ad.AnnData], names: pd.Index, sign: int = 1) -> dict[int, list[tuple[int, float]]]:
    """Return the neighbours of each row, the largest weight first, as rows and weights; rows are numbered by name."""
    number = {name: i for i, name in enumerate(names)}
    found: dict[int, list[tuple[int, float]]] = {i: [] for i in range(len(names))}
    for part in parts:
        graph = sparse.coo_matrix(part.obsp["near"])
        for i, j, weight in zip(graph.row, graph.col, graph.data.tolist(), strict=True):
            if i != j:
                found[number[part.obs_names[i]]].append((number[part.obs_names[j]], weight))
    return {row: sorted(some, key=lambda one: (-sign * one[1], one[0])) for row, some in found.items()}


def check(batch: Any, expected: dict[int, list[tuple[int, float]]], first_gene: np.ndarray, count: int = K) -> None:
    """Compare the neighbours in a batch with those expected."""
    part, rows = batch["neighbors"], batch["index"]
    assert {part[name].shape for name in ("index", "mask", "weights")} == {(len(rows), count)}
    assert part["weights"].dtype == np.float32
    for row, found, mask, weights in zip(rows, part["index"], part["mask"], part["weights"], strict=True):
        wanted = expected[row][:count]
        n = len(wanted)
        assert found.tolist() == [one for one, _ in wanted] + [-1] * (count - n)
        assert mask.tolist() == [True] * n + [False] * (count - n)
        assert weights.tolist() == [weight for _, weight in wanted] + [0.0] * (count - n)
    read = np.where(part["mask"], part["index"], rows[:, None]).reshape(-1)
    x = part["X"].toarray() if sparse.issparse(part["X"]) else part["X"]
    assert np.array_equal(x[:, 0], first_gene[read])
    assert len(part["obs"]) == len(read)


def loader(**how: Any) -> Loader:
    how = {"neighbors": "near", "n_neighbors": K, "batch_size": 16, "return_index": True, "seed": 3} | how
    how = {"chunk_size": 4, "preload_nchunks": 8, "shuffle": True} | how
    return Loader(**how)


def _memory(parts: list[ad.AnnData], folder: Path) -> Loader:
    return loader().add_adatas(parts)


def _zarr(parts: list[ad.AnnData], folder: Path) -> Loader:
    with ad.settings.override(auto_shard_zarr_v3=False):
        for i, part in enumerate(parts):
            part.write_zarr(folder / f"{i}.zarr", convert_strings_to_categoricals=False)
    return loader().add_adatas([zarr.open_group(folder / f"{i}.zarr", mode="r") for i in range(len(parts))])


def _h5ad(parts: list[ad.AnnData], folder: Path) -> Loader:
    for i, part in enumerate(parts):
        part.write_h5ad(folder / f"{i}.h5ad")
    return loader().add_adatas([folder / f"{i}.h5ad" for i in range(len(parts))])


def _backed(parts: list[ad.AnnData], folder: Path) -> Loader:
    for i, part in enumerate(parts):
        part.write_h5ad(folder / f"{i}.h5ad")
    return loader().add_adatas([ad.read_h5ad(folder / f"{i}.h5ad", backed="r") for i in range(len(parts))])


def _attached(parts: list[ad.AnnData], folder: Path) -> Loader:
    for i, part in enumerate(parts):
        part.write_h5ad(folder / f"{i}.h5ad")
    paths = [folder / f"{i}.h5ad" for i in range(len(parts))]
    return loader(rows=slice(0, None)).use_collection(DatasetCollection(folder / "attached").attach(paths))


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize("made", [_memory, _zarr, _h5ad, _backed, _attached])
def test_neighbours_of_stored_graphs(made: Callable[[list[ad.AnnData], Path], Loader], tmp_path: Path) -> None:
    parts = [cells(0), cells(1, 50)]
    names = pd.Index([name for part in parts for name in part.obs_names])
    first_gene = np.concatenate([part.X.toarray()[:, 0] for part in parts])
    expected, seen = neighbors_of(parts, names), 0
    with made(parts, tmp_path) as found:
        for batch in found:
            check(batch, expected, first_gene)
            seen += len(batch["index"])
        check(found.take(np.array([5, 3, 5, 160])), expected, first_gene)
    assert seen == len(names)


def converted(parts: list[ad.AnnData], folder: Path, **how: Any) -> DatasetCollection:
    for i, part in enumerate(parts):
        part.write_h5ad(folder / f"{i}.h5ad")
    how = {"obsp": "near", "dataset_size": 45, "seed": 1, "progress": False} | how
    return DatasetCollection(folder / "c.zarr").add_adatas([folder / f"{i}.h5ad" for i in range(len(parts))], **how)


@pytest.mark.slow
@settings(max_examples=settings().max_examples // 10)  # converting takes long
@given(
    choice=st.sampled_from(["largest", "smallest"]),
    seed=st.integers(0, 99),
    per_dataset=st.integers(20, 200),
    density=st.sampled_from([0.0, 0.02, 0.3]),
)
def test_neighbours_of_collections(
    tmp_path_factory: pytest.TempPathFactory, choice: str, seed: int, per_dataset: int, density: float
) -> None:
    folder = tmp_path_factory.mktemp("neighbors")
    parts = [cells(0, density=density), cells(1, 50, density=density)]
    collection = converted(parts[:1], folder, seed=seed, dataset_size=per_dataset)
    parts[1].write_h5ad(folder / "later.h5ad")
    collection.add_adatas([folder / "later.h5ad"], obsp="near", seed=seed, progress=False)
    for _ in range(2):
        names = collection.obs([]).index
        genes = np.concatenate([collection.to_adata(i).X.toarray()[:, 0] for i in range(len(collection))])
        expected = neighbors_of(parts, names, 1 if choice == "largest" else -1)
        rows = []
        for batch in loader(neighbor_choice=choice).use_collection(collection):
            check(batch, expected, genes)
            rows += batch["index"].tolist()
        assert sorted(rows) == list(range(len(names)))
        collection.reshuffle(seed + 1, progress=False)


def test_random_neighbours_depend_on_seed_epoch_and_row_alone() -> None:
    part = cells(0, density=0.2)
    expected = neighbors_of([part], part.obs_names)

    def chosen(**how: Any) -> dict[int, list[int]]:
        found = {}
        for batch in loader(neighbor_choice="random", **how).add_adata(part):
            for row, some, mask in zip(
                batch["index"], batch["neighbors"]["index"], batch["neighbors"]["mask"], strict=True
            ):
                there = some[mask].tolist()
                assert len(set(there)) == len(there) == min(K, len(expected[row]))
                assert set(there) <= {one for one, _ in expected[row]}
                found[int(row)] = there
        return found

    first = chosen()
    assert first == chosen(batch_size=8, chunk_size=1, preload_nchunks=64) == chosen(prefetch=0)
    assert first != chosen(seed=4)
    made = loader(neighbor_choice="random").add_adata(part)
    made.set_epoch(1)
    assert any(
        first[int(row)] != [one for one in some.tolist() if one >= 0]
        for batch in made
        for row, some in zip(batch["index"], batch["neighbors"]["index"], strict=True)
    )
    in_order = chosen(shuffle=False)
    assert in_order == chosen(shuffle=False, batch_size=8)
    assert in_order != chosen(shuffle=False, seed=4)
    # Each neighbour is as likely: over epochs, all of a row's come.
    row = max(expected, key=lambda row: len(expected[row]))
    made, seen = loader(neighbor_choice="random").add_adata(part), set()
    for epoch in range(60):
        made.set_epoch(epoch)
        seen |= set(made.take([row])["neighbors"]["index"][0].tolist())
    assert seen == {one for one, _ in expected[row]}


def test_a_resumed_loader_goes_on_with_the_same_neighbours() -> None:
    def made(seed: int | None) -> Loader:
        return loader(neighbor_choice="random", seed=seed).add_adata(cells(0, density=0.2))

    one = made(None)
    batches = iter(one)
    for _ in range(3):
        next(batches)
    other = made(None)
    other.load_state_dict(one.state_dict())
    for a, b in zip(batches, other, strict=True):
        assert np.array_equal(a["index"], b["index"])
        assert np.array_equal(a["neighbors"]["index"], b["neighbors"]["index"])


def test_ranks_and_filled_batches() -> None:
    part = cells(0, 50)
    genes = part.X.toarray()[:, 0]
    expected = neighbors_of([part], part.obs_names)
    for rank in range(3):
        sampler = RandomSampler(4, 2, 8, rng=np.random.default_rng(0))
        ranks = DistributedSampler(sampler, dist_info=lambda rank=rank: (rank, 3), remainder="pad")
        made = Loader(batch_sampler=ranks, neighbors="near", n_neighbors=K, return_index=True).add_adata(part)
        for batch in made:
            assert len(batch["index"]) == 8
            check(batch, expected, genes)


def test_what_else_a_batch_holds(tmp_path: Path) -> None:
    part = cells(0)
    part.layers["twice"] = part.X * 2
    how = {"keys": ("layers/twice", "obs"), "labels": "kind", "densify": True, "obs_as": "arrays"}
    made = loader(**how, return_index=False).add_adata(part)
    batch = pickle.loads(pickle.dumps(made)).take([7])
    near = batch["neighbors"]
    assert near["index"] is None
    assert near["layers"]["twice"].shape == (K, 6)
    assert near["labels"].shape == near["obs"]["kind"].shape == (K,)
    assert "X" not in near


def test_refused(tmp_path: Path) -> None:
    part = cells(0)
    with pytest.raises(ValueError, match="`n_neighbors` must be positive, got 0"):
        loader(n_neighbors=0)
    with pytest.raises(ValueError, match=r"`neighbor_choice` must be .*'nearest'"):
        loader(neighbor_choice="nearest")
    with pytest.raises(TypeError, match=r"`neighbors` must be the name of a graph in obsp, got \['near'\]"):
        loader(neighbors=["near"])
    with pytest.raises(KeyError, match=r"`neighbors` must name a graph .* got 'neer'; did you mean 'near'\?"):
        loader(neighbors="neer").add_adata(part)
    with pytest.raises(KeyError, match=r"The object has \[\]"):
        loader().add_dataset(np.eye(3))
    part.obsp["far"] = np.eye(N)
    with pytest.raises(TypeError, match="`obsp/far` must be a CSR matrix to be read as neighbors, got a dense array"):
        loader(neighbors="far").add_adata(part)
    part.obsp["far"] = sparse.eye(N, format="csr") * 1j
    with pytest.raises(TypeError, match="`obsp/far` must hold real numbers to be read as neighbors, got complex"):
        loader(neighbors="far").add_adata(part)
    del part.obsp["far"]
    groups = list(converted([part], tmp_path))
    for some in (groups[1:], [groups[1], groups[0], groups[2]], groups[:2]):
        made = loader().add_adatas(some)
        with pytest.raises(ValueError, match="`neighbors` needs all datasets of a collection, in order"):
            next(iter(made))
    assert next(iter(loader().add_adatas(groups)))["neighbors"]["mask"].any()
