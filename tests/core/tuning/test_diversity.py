"""What batches hold is measured against what uniform sampling gives, and settings are proposed by it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from annbatch import DatasetCollection, Loader, diversity, suggest
from annbatch.samplers import SequentialSampler

N_OBS = 6_000
LABELS = np.sort(np.random.default_rng(0).choice(list("abcdefgh"), N_OBS))
OBS = pd.DataFrame({"type": LABELS, "number": np.arange(N_OBS) % 3}, index=[f"cell{i}" for i in range(N_OBS)])
X = np.random.default_rng(1).poisson(1, (N_OBS, 10)).astype("f4")


def loader_of(obs=OBS, **settings) -> Loader:
    return Loader(**{"shuffle": True, "seed": 0, "batch_size": 120, **settings}).add_dataset(X, obs)


def test_single_rows_of_all_are_as_good_as_uniform():
    found = diversity(loader_of(chunk_size=1, preload_nchunks=6_000), "type")
    assert abs(found.share_of_entropy - 1) < 0.02
    assert abs(found.source_chunks / found.ideal_source_chunks - 1) < 0.02
    assert found.n_batches == 50


def test_large_chunks_of_sorted_rows_are_not():
    found = diversity(loader_of(chunk_size=120, preload_nchunks=2), "type")
    assert found.share_of_entropy < 0.5
    assert 1.5 < found.source_chunks < 2.1
    assert 35 < found.ideal_source_chunks < 50
    assert repr(found).startswith("Diversity of 50 batches\n  labels of type: 0.")


def test_large_chunks_of_shuffled_rows_are():
    shuffled = OBS.sample(frac=1, random_state=0)
    found = diversity(loader_of(shuffled, chunk_size=120, preload_nchunks=2), "type")
    assert found.share_of_entropy > 0.97


def test_the_figures_are_those_of_the_batches():
    loader = loader_of(chunk_size=30, preload_nchunks=8, return_index=True)
    found = diversity(loader, "number", n_batches=1_000)
    assert loader.epoch == 0
    entropies, chunks = [], []
    for batch in loader:
        shares = batch["obs"]["number"].value_counts(normalize=True)
        entropies.append(-(shares * np.log2(shares)).sum())
        shares = pd.Series(batch["index"] // 30).value_counts(normalize=True)
        chunks.append(1 / (shares**2).sum())
    assert found.n_batches == len(entropies) == 50
    assert found.entropy == pytest.approx(np.mean(entropies))
    assert found.source_chunks == pytest.approx(np.mean(chunks))


def test_one_label_is_as_diverse_as_it_gets():
    found = diversity(loader_of(OBS.assign(type="a"), chunk_size=30, preload_nchunks=4), "type")
    assert (found.entropy, found.share_of_entropy) == (0, 1)


def test_rows_outside_the_mask_are_no_part_of_the_ideal():
    only_a = SequentialSampler(30, 4, 120, mask=np.flatnonzero(LABELS == "a"))
    loader = Loader(batch_sampler=only_a).add_dataset(X, OBS)
    assert diversity(loader, "type").ideal_entropy == 0


def test_wrong_arguments_are_refused():
    with pytest.raises(KeyError, match=r"`column` must be a column of obs, got \['tissue'\]"):
        diversity(loader_of(chunk_size=120), "tissue")
    with pytest.raises(KeyError, match=r"got .*'tissue'.* There are none"):
        diversity(Loader().add_dataset(X), "tissue")
    with pytest.raises(ValueError, match="`n_batches` must be positive, got 0"):
        diversity(loader_of(chunk_size=120), "type", n_batches=0)


@pytest.fixture(scope="module", params=["dense", "sparse"])
def collections(request, tmp_path_factory):
    from scipy import sparse

    folder = tmp_path_factory.mktemp("collections")
    x = X if request.param == "dense" else sparse.csr_matrix(X)
    ad.AnnData(x, obs=OBS.astype({"type": "category"})).write_h5ad(folder / "cells.h5ad")
    return {
        name: DatasetCollection(folder / f"{name}.zarr").add_adatas(
            [folder / "cells.h5ad"], shuffle=name == "shuffled", progress=False
        )
        for name in ("sorted", "shuffled")
    }


def test_settings_are_proposed_by_what_comes_of_them(collections):
    memory = 3 * 1_200 * 80
    shuffled, ordered = (suggest(collections[name], 120, memory) for name in ("shuffled", "sorted"))
    assert shuffled.chunk_size > ordered.chunk_size
    for one in (shuffled, ordered):
        assert one.window_bytes <= memory / 3
        assert [of.column for of in one.diversity] == ["type"]
        with Loader(**one.arguments, seed=0).use_collection(collections["sorted"]) as loader:
            assert len(next(iter(loader))["X"].shape) == 2
    assert shuffled.diversity[0].share_of_entropy > 0.98
    assert "of the entropy of type with uniform sampling" in repr(shuffled)
    assert suggest(collections["sorted"], 120, memory, columns=[]).chunk_size >= 8


def test_what_cannot_be_proposed_for_is_refused(collections, tmp_path):
    with pytest.raises(ValueError, match=r"`memory` must hold 3 batches of 500 rows, .*, got 1KB"):
        suggest(collections["shuffled"], 500, "1KB")
    with pytest.raises(ValueError, match="`batch_size` must be positive, got 0"):
        suggest(collections["shuffled"], 0)
    with pytest.raises(ValueError, match="`collection` must have datasets, got an empty one"):
        suggest(DatasetCollection(tmp_path / "none.zarr"), 10)


@pytest.mark.parametrize("wrong", ["c.zarr", [1], None])
def test_other_kinds_of_arguments_are_refused(wrong):
    with pytest.raises(TypeError, match=r"`loader` must be a Loader, got (a path: `Loader|a list: call|None)"):
        diversity(wrong, "type")
    with pytest.raises(TypeError, match=r"`collection` must be a DatasetCollection, got (a path: `Data|a list|None)"):
        suggest(wrong, 4)
