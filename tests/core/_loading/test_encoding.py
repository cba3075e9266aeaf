"""``Loader(encoder=...)``: tokens beside or instead of X, the same however the rows are stored, read and divided."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from annbatch import DatasetCollection, Loader
from annbatch.errors import CorruptDataError
from annbatch.samplers import DistributedSampler, PairedSampler, RandomSampler
from annbatch.tokens import RandomGenes, TopGenes, Vocabulary
from annbatch.transforms import NormalizeLog1p

N, GENES = 90, 30
NAMES = [f"g{i}" for i in range(GENES)]
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(RNG.gamma(0.4, 4.0, (N, GENES))).astype(np.float32)
COUNTS[7] = 0
ADATA = ad.AnnData(sp.csr_matrix(COUNTS), var=pd.DataFrame(index=NAMES), obs=pd.DataFrame(index=map(str, range(N))))
RANDOM = RandomGenes(4)


def make(encoder: Any = RANDOM, **options: Any) -> Loader:
    settings = {"batch_size": 8, "chunk_size": 4, "preload_nchunks": 6, "return_index": True}
    if "batch_sampler" not in options:
        settings |= {"shuffle": True, "seed": 3}
    else:
        settings = {"return_index": True}
    return Loader(encoder=encoder, **(settings | options))


def load(source: Any = ADATA, encoder: Any = RANDOM, **options: Any) -> Loader:
    return make(encoder, **options).add_adata(source)


def by_row(batches: Any) -> dict[int, tuple[list[int], list[float], int]]:
    """Return the tokens of each row."""
    found = {}
    for batch in batches:
        tokens = batch["tokens"]
        for i, row in enumerate(batch["index"].tolist()):
            n = int(tokens["length"][i])
            assert tokens["mask"][i].tolist() == [True] * n + [False] * (len(tokens["mask"][i]) - n)
            found[row] = tokens["ids"][i, :n].tolist(), tokens["values"][i, :n].tolist(), n
    return found


EXPECTED = by_row(load())


def test_expected_tokens_are_genes_of_their_rows():
    assert sorted(EXPECTED) == list(range(N))
    for row, (ids, values, n) in EXPECTED.items():
        assert n == min(4, np.count_nonzero(COUNTS[row]))
        assert values == COUNTS[row, ids].tolist()


def test_forms_of_arrays():
    batch = next(iter(load(encoder=TopGenes(5))))
    tokens = batch["tokens"]
    assert [(name, array.shape, str(array.dtype)) for name, array in tokens.items()] == [
        ("ids", (8, 5), "int64"),
        ("values", (8, 5), "float32"),
        ("mask", (8, 5), "bool"),
        ("length", (8,), "int32"),
    ]
    assert all(array.ctypes.data % 64 == 0 for array in tokens.values())
    assert batch["X"].toarray().tolist() == COUNTS[batch["index"]].tolist()


# However it is stored -------------------------------------------------------------------------------------------------


def unsorted() -> sp.csr_matrix:
    """Return the matrix with columns in any order, each value in two parts, and zeros among them."""
    coo = sp.csr_matrix(COUNTS).tocoo()
    row = np.concatenate([coo.row, coo.row, np.arange(N)])
    column = np.concatenate([coo.col, coo.col, np.full(N, 3)])
    data = np.concatenate([coo.data - 1, np.ones(coo.nnz), np.zeros(N)]).astype(np.float32)
    order = np.lexsort((RNG.random(len(row)), row))
    indptr = np.searchsorted(row[order], np.arange(N + 1))
    return sp.csr_matrix((data[order], column[order], indptr), shape=(N, GENES))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("stored", [np.asarray, sp.csr_matrix], ids=["dense", "sparse"])
def test_dtypes(stored, dtype):
    x = stored(COUNTS)
    if stored is np.asarray:
        x = x.astype(dtype)
    else:
        x.data = x.data.astype(dtype)
    assert by_row(make(keys="obs").add_dataset(x)) == EXPECTED


def test_rows_in_any_form():
    x = unsorted()
    assert by_row(make().add_dataset(x)) == EXPECTED
    with_x = list(make(keys="X").add_dataset(x))  # what the user gets is as stored
    assert sum(batch["X"].nnz for batch in with_x) == x.nnz


@pytest.mark.parametrize("kind", ["collection", "h5ad"])
def test_stores(tmp_path, kind):
    ADATA.write_h5ad(tmp_path / "a.h5ad")
    if kind == "h5ad":
        loader = make().add_adata(tmp_path / "a.h5ad")
    else:
        collection = DatasetCollection(tmp_path / "c.zarr").add_adatas(
            [tmp_path / "a.h5ad"], progress=False, shuffle=False
        )
        loader = make().use_collection(collection)
    assert by_row(loader) == EXPECTED


# However it is delivered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"keys": "obs"},
        {"keys": ("X", "obs"), "densify": True},
        {"dtype": "float64"},
        {"dtype": "int32"},
        {"transform": NormalizeLog1p()},
        {"transform": NormalizeLog1p(), "densify": True},
        {"prefetch": 0},
        {"prefetch": 1},
        {"obs_as": "arrays"},
        {"preload_nchunks": 2},
        {"batch_size": 24},
    ],
    ids=str,
)
def test_other_options_change_no_token(options):
    batches = list(load(**options))
    assert by_row(batches) == EXPECTED
    assert ("X" in batches[0]) == (options.get("keys") != "obs")
    if "X" in batches[0]:
        plain = list(load(encoder=None, **options))
        for batch, other in zip(batches, plain, strict=True):
            x, y = (one["X"].toarray() if sp.issparse(one["X"]) else one["X"] for one in (batch, other))
            np.testing.assert_array_equal(x, y, strict=True)


def test_dense_data_and_its_transform():
    loader = make(transform=NormalizeLog1p()).add_dataset(COUNTS)
    assert by_row(loader) == EXPECTED


def test_layers_and_chosen_columns():
    adata = ADATA.copy()
    adata.layers["counts"], adata.X = adata.X.copy(), adata.X * 0.5
    assert by_row(load(adata, encoder_key="layers/counts")) == EXPECTED
    chosen = NAMES[20:3:-2]
    vocabulary = Vocabulary({name: i for i, name in enumerate(NAMES)})
    loader = load(encoder=TopGenes(3, vocabulary), var_names=chosen)
    for row, (ids, values, _) in by_row(loader).items():
        assert set(ids) <= {int(name[1:]) for name in chosen}
        assert values == sorted(COUNTS[row, [int(name[1:]) for name in chosen]], reverse=True)[: len(values)]


def test_different_columns_are_joined():
    one, other = ADATA[:40].copy(), ADATA[40:, NAMES[::-1][:-5]].copy()
    vocabulary = Vocabulary({name: i for i, name in enumerate(NAMES)})
    loader = make(TopGenes(6, vocabulary), var_join="outer", keys="X").add_adatas([one, other])
    for row, (ids, values, _) in by_row(loader).items():
        x = COUNTS[row] if row < 40 else np.where(np.arange(GENES) < 5, 0, COUNTS[row])
        assert values == x[ids].tolist() == sorted(x[x > 0], reverse=True)[:6]


def test_modalities():
    mudata = pytest.importorskip("mudata")
    if hasattr(mudata, "set_options"):
        mudata.set_options(pull_on_update=False)  # the default from 0.4 on
    rna, atac = ADATA.copy(), ADATA[::2, :5].copy()
    atac.var_names = [f"peak{i}" for i in range(5)]
    mdata = mudata.MuData({"rna": rna, "atac": atac})
    assert by_row(load(mdata, encoder_key="mod/rna/X", keys="obs")) == EXPECTED
    held = by_row(load(mdata, encoder=TopGenes(5), encoder_key="mod/atac/X"))
    assert {row for row, (_, _, n) in held.items() if n} <= set(range(0, N, 2))
    with pytest.raises(KeyError, match=r"`encoder_key` must be a matrix of the data, got 'X'.*as 'mod/rna/X'"):
        next(iter(load(mdata, keys="obs")))


def test_buckets_hold_the_longest_row_of_a_batch():
    encoder = TopGenes(20, buckets=(4, 9))
    widths, full = set(), by_row(load(encoder=TopGenes(20)))
    for options in ({}, {"batch_size": 1, "preload_nchunks": 2}):
        batches = list(load(encoder=encoder, **options))
        for batch in batches:
            tokens = batch["tokens"]
            width, longest = tokens["ids"].shape[1], tokens["length"].max()
            widths.add(width)
            assert width == min(one for one in (4, 9, 20) if one >= longest)
            assert tokens["values"].shape == tokens["mask"].shape == tokens["ids"].shape
            assert all(array.flags.c_contiguous for array in tokens.values())
        assert by_row(batches) == full
    assert widths == {4, 9, 20}


# However it is divided ------------------------------------------------------------------------------------------------


def test_a_function_of_seed_epoch_and_row():
    loader = load()
    first, second = by_row(loader), by_row(loader)
    assert first == EXPECTED
    assert second != first
    loader.set_epoch(1)
    assert by_row(loader) == second
    assert by_row(load(seed=4)) != first
    assert by_row(load(chunk_size=2, preload_nchunks=12, batch_size=3)) == first


def test_rows_in_order_depend_on_the_seed_too():
    one, same, other, none = (by_row(load(shuffle=False, seed=seed)) for seed in (1, 1, 2, None))
    assert one == same != other
    assert none == by_row(load(shuffle=False, seed=None)) != one


@pytest.mark.parametrize("seed", [3, None])
@pytest.mark.parametrize("shuffle", [True, False])
def test_resumed_at_every_step(shuffle, seed):
    loader = load(shuffle=shuffle, seed=seed)
    list(loader)
    state, expected = loader.state_dict(), list(loader)
    for steps in range(0, len(expected) + 1, 3):
        stopped, resumed = load(shuffle=shuffle, seed=seed), load(shuffle=shuffle, seed=seed)
        stopped.load_state_dict(state)
        iterator = iter(stopped)
        for _ in range(steps):
            next(iterator)
        resumed.load_state_dict(stopped.state_dict())
        if steps < len(expected):
            assert by_row(resumed) == by_row(expected[steps:])


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_ranks_make_the_same_tokens(n_ranks):
    found = {}
    for rank in range(n_ranks):
        inner = RandomSampler(4, 6, 8, rng=np.random.default_rng(3))
        sampler = DistributedSampler(inner, dist_info=lambda rank=rank: (rank, n_ranks), enforce_equal_batches=False)
        found |= by_row(load(batch_sampler=sampler))
    assert found == EXPECTED


def test_workers_and_copies():
    loader = pickle.loads(pickle.dumps(load()))
    assert by_row(loader) == EXPECTED


@pytest.mark.parametrize("kind", ["memory", "h5ad", "mudata", "joined"])
def test_partners_and_neighbours_have_the_tokens_of_their_rows(tmp_path, kind):
    adata = ADATA.copy()
    adata.obs["drug"] = np.where(np.arange(N) % 3, "x", "none")
    adata.obsp["near"] = sp.random(N, N, 0.05, format="csr", random_state=0)
    sampler = PairedSampler("drug", control={"drug": "none"}, set_size=4, sets_per_batch=3, rng=0)
    graph = {"neighbors": "near", "n_neighbors": 3} if kind != "mudata" else {}  # which is of one modality
    options = {"batch_sampler": sampler, "keys": ["obs"], **graph}
    encoder = TopGenes(GENES, Vocabulary(NAMES))
    if kind == "memory":
        loader = load(adata, encoder, **options)
    elif kind == "mudata":
        mudata = pytest.importorskip("mudata")
        if hasattr(mudata, "set_options"):
            mudata.set_options(pull_on_update=False)  # the default from 0.4 on
        both = mudata.MuData(
            {"rna": adata, "protein": ad.AnnData(np.ones((N, 2)), obs=pd.DataFrame(index=adata.obs_names))}
        )
        both.obs["drug"] = adata.obs["drug"]
        loader = load(both, encoder, encoder_key="mod/rna/X", **options)
    elif kind == "joined":
        parts = adata[:50, :25].copy(), adata[50:, 5:].copy()
        loader = make(encoder, var_join="outer", **options).add_adatas(list(parts))
    else:
        adata.write_h5ad(tmp_path / "cells.h5ad")
        loader = load(tmp_path / "cells.h5ad", encoder, **options)
    counts = COUNTS.copy()
    if kind == "joined":
        counts[:50, 25:] = counts[50:, :5] = 0
    for batch in loader:
        rows = [(batch, batch["index"]), (batch["control"], batch["control"]["index"])]
        if graph:
            index, near = batch["neighbors"]["index"], batch["neighbors"]
            rows.append((near, np.where(near["mask"], index, batch["index"][:, None]).ravel()))
        for part, numbers in rows:
            found = np.zeros((len(numbers), GENES), np.float32)
            at, place = np.nonzero(part["tokens"]["mask"])
            found[at, part["tokens"]["ids"][at, place]] = part["tokens"]["values"][at, place]
            np.testing.assert_array_equal(found, counts[numbers])


def test_taken_rows():
    loader = load()
    rows = [7, 50, 3, 50]
    taken = by_row([loader.take(rows)])
    assert taken == {row: EXPECTED[row] for row in rows}
    assert loader.take([])["tokens"]["ids"].shape == (0, 4)


def test_batches_are_kept():
    kept = list(load(preload_nchunks=2))
    before = [{name: array.copy() for name, array in batch["tokens"].items()} for batch in kept]
    by_row(load())
    for batch, copies in zip(kept, before, strict=True):
        for name, array in batch["tokens"].items():
            np.testing.assert_array_equal(array, copies[name])


def test_many_iterations_at_once():
    loader, found = load(), []
    threads = [threading.Thread(target=lambda: found.append(by_row([loader.take(np.arange(N))]))) for _ in range(6)]
    for thread in threads:
        thread.start()
    iterated = by_row(loader)
    for thread in threads:
        thread.join()
    assert iterated == EXPECTED
    assert {len(one) for one in found} == {N}


def test_an_iteration_that_is_left_or_closed():
    loader = load()
    for _ in range(3):
        next(iter(loader))
    loader.set_epoch(0)
    iterator = iter(loader)
    batches = [next(iterator)]
    loader.close()
    with pytest.raises(RuntimeError, match="closed"):
        batches.extend(iterator)
    assert by_row(batches).items() <= EXPECTED.items()


# Errors ---------------------------------------------------------------------------------------------------------------


def test_an_error_of_the_encoder_reaches_the_user():
    class Fails(TopGenes):
        def bind(self, var):
            def encode(rows, out):
                raise ArithmeticError("no")

            return encode

    with pytest.raises(ArithmeticError, match="no"):
        next(iter(load(encoder=Fails(3))))


@pytest.mark.parametrize("length", [-1, 4])
def test_wrong_lengths_are_refused(length):
    class Long(TopGenes):
        def bind(self, var):
            def encode(rows, out):
                out.length[:] = length

            return encode

    with pytest.raises(ValueError, match=rf"`encoder` .* must write lengths in 0..3, got {length} for row \d+"):
        next(iter(load(encoder=Long(3))))


def test_an_encoder_may_change_the_annotations_that_it_gets():
    class Renames(TopGenes):
        def bind(self, var):
            encode = super().bind(var)
            var.index = ["x"] * len(var)
            return encode

    batch = next(iter(load(encoder=Renames(3))))
    assert batch["var"].index.tolist() == ADATA.var_names.tolist() == NAMES


def test_wrong_matrices_are_refused():
    with pytest.raises(ValueError, match="`encoder_key` must be X or a layer, such as 'layers/counts', got 'obs'"):
        make(encoder_key="obs")
    with pytest.raises(KeyError, match="`encoder_key` must be elements of the data, got 'layers/count'"):
        load(encoder_key="layers/count")
    with pytest.raises(ValueError, match="`X` must have 2 dimensions to be encoded, got 3"):
        next(iter(make().add_dataset(np.zeros((4, 3, 2)))))
    with pytest.raises(TypeError, match="`X` must hold real numbers to be encoded, got complex64"):
        next(iter(make().add_dataset(np.zeros((4, 3), "complex64"))))


def test_damaged_columns_are_found():
    x = sp.csr_matrix(COUNTS)
    x.indices[50] = GENES
    with pytest.raises(CorruptDataError, match=r"Column numbers of `X` must lie in 0..29"):
        list(make().add_dataset(x))
