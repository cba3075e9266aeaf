"""Datasets of a collection in memory, in the dtypes of the inputs."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from annbatch import DatasetCollection
from annbatch.cli import INTERRUPTED, main


@pytest.fixture
def cells(tmp_path):
    counts = sparse.csr_matrix(np.array([[300, 0], [0, 300], [7, 1]], "f4"))
    obs = pd.DataFrame({"label": pd.Categorical(["a", "b", "a"])}, index=["c0", "c1", "c2"])
    dense = np.arange(6, dtype="i8").reshape(3, 2)
    made = ad.AnnData(counts, obs=obs, layers={"dense": dense}, obsm={"pca": np.ones((3, 1), "f8")}, uns={"title": "t"})
    made.write_h5ad(tmp_path / "cells.h5ad")
    return made


def assert_equal(found, made):
    assert found.X.dtype == made.X.dtype
    np.testing.assert_array_equal(found.X.multiply(found.X).toarray(), made.X.multiply(made.X).toarray())
    for one, other in ((found.layers["dense"], made.layers["dense"]), (found.obsm["pca"], made.obsm["pca"])):
        np.testing.assert_array_equal(one, other, strict=True)
    assert found.obs["label"].tolist() == made.obs["label"].tolist()


@pytest.mark.parametrize("narrow", [True, False])
def test_a_dataset_has_the_dtypes_of_the_inputs(narrow, cells, tmp_path):
    collection = DatasetCollection(tmp_path / "store")
    collection.add_adatas([tmp_path / "cells.h5ad"], shuffle=False, narrow=narrow, progress=False)

    assert_equal(collection.to_adata(), cells)
    assert main(["export", str(tmp_path / "store"), str(tmp_path / "out.h5ad")]) == 0
    assert_equal(ad.read_h5ad(tmp_path / "out.h5ad"), cells)
    assert main(["export", str(tmp_path / "store"), str(tmp_path / "out.h5ad")]) == 1  # nothing is overwritten
    with pytest.raises(ValueError, match="`dataset` must be below 1, the number of datasets, got 1"):
        collection.to_adata(dataset=1)


# anndata passes the stored column numbers on, which are unsigned
@pytest.mark.filterwarnings("ignore:indices array has non-integer dtype:UserWarning")
def test_other_readers_see_the_dtypes_of_the_inputs_if_nothing_is_narrowed(cells, tmp_path):
    collection = DatasetCollection(tmp_path / "store")
    collection.add_adatas([tmp_path / "cells.h5ad"], shuffle=False, narrow=False, progress=False)

    assert_equal(ad.read_zarr(tmp_path / "store" / "dataset_0"), cells)
    collection.reshuffle(np.random.default_rng(0), progress=False)
    assert next(iter(collection))["X/data"].dtype == np.float32


def test_an_export_that_is_interrupted_leaves_no_file(tmp_path, cells, before_step):
    DatasetCollection(tmp_path / "store").add_adatas([tmp_path / "cells.h5ad"], progress=False)
    before = sorted(path.name for path in tmp_path.iterdir())
    before_step("os.rename", ".out.h5ad.new")
    assert main(["export", str(tmp_path / "store"), str(tmp_path / "out.h5ad")]) == INTERRUPTED
    assert sorted(path.name for path in tmp_path.iterdir()) == before
