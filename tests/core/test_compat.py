"""What programs for scverse annbatch import, from modules that it documents and from others."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from annbatch import DatasetCollection, Loader, io, types, utils


def test_modules_are_found_without_being_imported():
    names = "annbatch.io.V1_ENCODING, annbatch.utils.split_given_size, annbatch.loader.Loader, annbatch.compat"
    code = f"import annbatch; {names}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_collections_and_types_have_their_names():
    assert io.DatasetCollection is DatasetCollection
    assert types.LoaderOutput[np.ndarray] is not None
    assert types.OutputInMemoryArray_T is not None
    assert types.LoadRequest(requests=[slice(0, 2)]) == {"requests": [slice(0, 2)]}


@pytest.mark.parametrize("name", import_module("annbatch.compat").__all__)
def test_classes_of_frameworks_are_theirs_or_of_nothing(name):
    module, of = import_module("annbatch.compat")._HOMES[name]
    found = getattr(import_module("annbatch.compat"), name)
    if find_spec(module.partition(".")[0]) is None:
        assert not isinstance(np.zeros(2), found)
    else:
        assert found is getattr(import_module(module), of)


def test_a_class_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Tensr'"):
        import_module("annbatch.compat").Tensr  # noqa: B018 - looking it up is the test


def test_split_given_size_copies_if_asked():
    rows = np.arange(5)
    for copy in (False, True):
        parts = utils.split_given_size(rows, 2, copy=copy)
        assert [part.tolist() for part in parts] == [[0, 1], [2, 3], [4]]
        assert np.shares_memory(parts[0], rows) != copy
    with pytest.raises(ValueError, match=r"`n` must be at least 1, got 0"):
        utils.check_lt_1([1, 0], ["m", "n"])


@pytest.mark.parametrize("as_matrix", [np.asarray, sparse.csr_matrix])
def test_functions_that_load_are_ones_for_collections(as_matrix, tmp_path):
    counts = np.arange(12, dtype="f4").reshape(4, 3)
    obs = pd.DataFrame({"depth": np.arange(4.0)}, index=list("abcd"))
    matrices = {"layers": {"twice": as_matrix(2 * counts)}, "obsm": {"frame": obs, "pca": counts[:, :2]}}
    adata = ad.AnnData(as_matrix(counts), obs=obs, var=pd.DataFrame({"n": [1, 2, 3]}, index=list("xyz")), **matrices)
    adata.write_h5ad(tmp_path / "a.h5ad")
    collection = DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.h5ad"], shuffle=False, progress=False)
    for load in (utils.load_all_aligned, utils.load_x_and_obs_and_var):
        (batch,) = Loader(batch_size=4).use_collection(collection, load_adata=load)
        found = batch["X"].toarray() if sparse.issparse(batch["X"]) else batch["X"]
        np.testing.assert_array_equal(found, counts)
        assert batch["obs"]["depth"].tolist() == [0, 1, 2, 3]
        assert batch["var"].index.tolist() == list("xyz")
        assert not len(batch["var"].columns)
    (group,) = collection
    assert set(utils.load_all_aligned(group).layers) - {None} == {"twice"}  # None: X, in anndata 0.13
    assert list(utils.load_all_aligned(group).obsm) == ["pca"]
    assert not set(utils.load_x_and_obs_and_var(group).layers) - {None}


@pytest.mark.parametrize("rng", [True, "seed", 1.5, [1]])
def test_what_seeds_no_generator_is_refused(rng):
    with pytest.raises(TypeError, match=r"`rng` must be a `numpy.random.Generator` or an integer, got"):
        Loader(rng=rng, shuffle=True)
