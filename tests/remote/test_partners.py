"""Pairs, neighbours and tokens come from a bucket as they do from a folder."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from annbatch import DatasetCollection, Loader
from annbatch.samplers import PairedSampler
from annbatch.tokens import RandomGenes

N = 200


@pytest.fixture(scope="module")
def screen(bucket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of cells under drugs, with a graph, in a folder and in the bucket."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("screen")
    obs = pd.DataFrame({"line": rng.choice(["A", "B"], N), "drug": rng.choice(["DMSO", "x"], N)})
    counts = sparse.csr_matrix(rng.poisson(0.5, (N, 30)).astype(np.float32))
    cells = ad.AnnData(counts, obs=obs.set_index(np.arange(N).astype(str)))
    cells.obsp["near"] = sparse.random(N, N, 0.02, format="csr", random_state=rng)
    cells.write_h5ad(folder / "cells.h5ad")
    collection = DatasetCollection(folder / "screen")
    collection.add_adatas([folder / "cells.h5ad"], obsp="near", n_obs_per_chunk=20, seed=0, progress=False)
    for path in (folder / "screen").rglob("*"):
        if path.is_file():
            bucket.put(path.relative_to(folder).as_posix(), path)
    return folder / "screen"


def assert_same(one, other):
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_pairs_with_neighbours_and_tokens(screen, environment):
    settings = {"control": {"drug": "DMSO"}, "match_on": "line", "set_size": 8, "sets_per_batch": 2, "rng": 0}
    loaders = [
        Loader(
            DatasetCollection(place, mode="r"),
            batch_sampler=PairedSampler(["line", "drug"], **settings),
            return_index=True,
            densify=True,
            encoder=RandomGenes(5),
            neighbors="near",
            n_neighbors=3,
            neighbor_choice="random",
            covariates={"dose": pd.Series([0.0, 1.0], pd.Index(["DMSO", "x"], name="drug"))},
        )
        for place in (str(screen), "s3://bucket/screen")
    ]
    local, remote = map(list, loaders)
    assert len(local) == len(remote) > 3
    for one, other in zip(local, remote, strict=True):
        assert {"control", "neighbors", "tokens", "covariates", "group"} <= set(one)
        assert_same(one, other)
    assert loaders[1].stats.requests > 0
    assert_same(loaders[1].take(local[0]["index"])["X"], local[0]["X"])
