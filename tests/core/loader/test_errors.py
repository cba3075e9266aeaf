"""Bad input: each error names the thing, the rule and the value."""

from __future__ import annotations

import json

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from anndata.io import write_elem

from annbatch import DatasetCollection, Loader, write_sharded
from annbatch.errors import CorruptDataError, NotACollectionError, reading
from annbatch.samplers import SequentialSampler

DENSE = np.arange(20.0).reshape(10, 2)
CSR = sp.csr_matrix(DENSE)
OBS = pd.DataFrame({"type": pd.Categorical(list("aabbaabbab")), "n": range(10)})
VAR = pd.DataFrame(index=["g1", "g2"])

ARGUMENTS = {
    "batches that do not divide a window": (
        {"chunk_size": 10, "preload_nchunks": 3, "batch_size": 7},
        r"`chunk_size \* preload_nchunks` must be divisible by batch_size.* got 10 \* 3 = 30 and batch_size 7",
    ),
    "no batch size": ({"batch_size": 0}, "`batch_size` must be positive, got 0"),
    "no chunk size": ({"chunk_size": 0}, "`chunk_size` must be positive, got 0"),
    "no chunks": ({"preload_nchunks": -1}, "`preload_nchunks` must be positive, got -1"),
    "an unknown framework": (
        {"to": "abacus"},
        r"`to` must be None, an adapter or the name of an installed one \(.*got 'abacus'",
    ),
    "a device without a framework": ({"device": "cuda"}, "`device` must be None where `to` is None, got 'cuda'"),
    "an unknown form of obs": ({"obs_as": "list"}, "`obs_as` must be 'dataframe' or 'arrays', got 'list'"),
    "a budget that is no size": ({"prefetch": "much"}, "`prefetch` must be a size such as '512MB' .* got 'much'"),
    "a negative budget": ({"prefetch": -1}, "`prefetch` must not be negative, got -1"),
    "two seeds": ({"seed": 1, "rng": np.random.default_rng(0)}, "`seed` excludes rng, got both: seed=1"),
}


@pytest.mark.parametrize(("arguments", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Loader(**arguments)


@pytest.mark.parametrize(
    "argument",
    [
        {"chunk_size": 1},
        {"preload_nchunks": 1},
        {"batch_size": 1},
        {"shuffle": False},
        {"drop_last": False},
        {"rng": np.random.default_rng(0)},
        {"seed": 0},
    ],
    ids=lambda argument: next(iter(argument)),
)
def test_a_sampler_excludes_the_sampling_arguments(argument):
    name = next(iter(argument))
    with pytest.raises(ValueError, match=f"`batch_sampler` excludes the sampling arguments.* got {name}, too"):
        Loader(batch_sampler=SequentialSampler(1, 1, 1), **argument)


def test_to_of_another_type():
    with pytest.raises(TypeError, match=r"`to` must be None, the name of an adapter or an annbatch.abc.Adapter, got 3"):
        Loader(to=3)


DATASETS = {
    "CSC": (TypeError, lambda loader: loader.add_dataset(CSR.tocsc()), r"got a SciPy csc_matrix: `.tocsr\(\)`"),
    "CSC in an AnnData": (TypeError, lambda loader: loader.add_adata(ad.AnnData(CSR.tocsc())), "csc_matrix"),
    "an AnnData without X": (
        TypeError,
        lambda loader: loader.add_adata(ad.AnnData(obs=OBS.set_index("n"))),
        "got None: name what the data holds in `keys`",
    ),
    "obs of another length": (
        ValueError,
        lambda loader: loader.add_dataset(CSR, OBS[:4]),
        r"`obs` must have one row per row of the matrix \(10\), got 4",
    ),
    "var of another length": (
        ValueError,
        lambda loader: loader.add_dataset(CSR, None, VAR[:1]),
        r"`var` of dataset 0 must have one row per column of `X` \(2\), got 1",
    ),
    "obs that is no DataFrame": (
        TypeError,
        lambda loader: loader.add_dataset(CSR, {"a": 1}),
        "`obs` must be a pandas DataFrame or None, got dict",
    ),
    "var that is no DataFrame": (
        TypeError,
        lambda loader: loader.add_dataset(CSR, None, ["g1", "g2"]),
        "`var` must be a pandas DataFrame or None, got list",
    ),
    "no AnnData at all": (ValueError, lambda loader: loader.add_adatas([]), "`adatas` must hold at least one AnnData"),
    "obs once only": (
        ValueError,
        lambda loader: loader.add_dataset(CSR, OBS).add_dataset(CSR),
        "`obs` must be given for all datasets or for none: dataset 0 is with, 1 without",
    ),
    "obs later only": (
        ValueError,
        lambda loader: loader.add_dataset(CSR).add_dataset(CSR, OBS),
        "`obs` must be given for all datasets or for none: dataset 0 is without, 1 with",
    ),
    "var once only": (
        ValueError,
        lambda loader: loader.add_dataset(CSR, None, VAR).add_dataset(CSR),
        "`var` must be given for all datasets or for none: dataset 0 is with, 1 without",
    ),
    "other columns in obs": (
        ValueError,
        lambda loader: loader.add_dataset(CSR, OBS).add_dataset(CSR, OBS.rename(columns={"n": "m"})),
        r"`obs` must have the same columns .* dataset 1 lacks \['n'\] and adds \['m'\]",
    ),
    "other genes": (
        ValueError,
        lambda loader: loader.add_dataset(CSR, None, VAR).add_dataset(CSR, None, VAR.rename(index={"g2": "g9"})),
        "`var` must be the same in all datasets: .* dataset 0 and dataset 1 1 names differ: 'g2' / 'g9'",
    ),
    "other annotations of genes": (
        ValueError,
        lambda loader: loader.add_dataset(CSR, None, VAR.assign(a=1)).add_dataset(CSR, None, VAR.assign(a=2)),
        r"`var` must be the same in all datasets: .* the names agree, annotations differ: \['a'\]",
    ),
    "another width": (
        ValueError,
        lambda loader: loader.add_dataset(CSR).add_dataset(CSR[:, :1]),
        r"rows of one shape: dataset 0 has \(2,\), dataset 1 has \(1,\)",
    ),
    "sparse and dense": (
        ValueError,
        lambda loader: loader.add_dataset(CSR).add_dataset(DENSE),
        "must be sparse in all datasets or dense in all: dataset 0 is csr, memory, dataset 1 is dense, memory",
    ),
    "lists of different lengths": (
        ValueError,
        lambda loader: loader.add_datasets([CSR, CSR], [OBS]),
        r"`obs` must have one DataFrame per dataset \(2\), got 1",
    ),
}


@pytest.mark.parametrize(("kind", "add", "message"), DATASETS.values(), ids=DATASETS)
@pytest.mark.filterwarnings("ignore:Transforming to str index")  # anndata's, of the test's own AnnData
def test_datasets_that_do_not_fit(kind, add, message):
    loader = Loader(batch_size=5, chunk_size=5)
    with pytest.raises(kind, match=message):
        add(loader)
    n_obs = loader.n_obs
    if n_obs:  # what was added before is still there, and works
        assert sum(batch["X"].shape[0] for batch in loader) == n_obs


def test_a_column_that_is_none():
    with pytest.raises(KeyError, match=r"`obs_columns` must be columns of obs, got \['zzz'\]; dataset 0 has"):
        Loader(obs_columns=["zzz"]).add_dataset(CSR, OBS)


def test_nothing_to_iterate_over():
    with pytest.raises(ValueError, match="The loader must have rows to iterate over, got 0 datasets with none"):
        iter(Loader())
    with pytest.raises(ValueError, match="The loader must have rows to iterate over, got 1 datasets with none"):
        iter(Loader().add_dataset(CSR[:0]))
    for name, told in (("n_vars", "n_vars"), ("n_var", "n_vars"), ("dataset_type", "dataset_type")):
        with pytest.raises(ValueError, match=f"`{told}` is known once a dataset has been added; got none yet"):
            getattr(Loader(), name)
    assert Loader().n_obs == 0


def test_an_epoch_is_not_negative():
    with pytest.raises(ValueError, match="`epoch` must not be negative, got -1"):
        Loader().set_epoch(-1)


# Collections ---------------------------------------------------------------------------------------------------------


def test_a_store_that_is_no_collection(tmp_path):
    zarr.open_group(tmp_path / "other.zarr", mode="w").create_group("something")
    with pytest.raises(NotACollectionError, match=r"other\.zarr"):
        DatasetCollection(tmp_path / "other.zarr", mode="r")


def test_a_store_that_does_not_exist(tmp_path):
    with pytest.raises(NotACollectionError, match=r"missing\.zarr"):
        DatasetCollection(tmp_path / "missing.zarr", mode="r")
    assert not (tmp_path / "missing.zarr").exists()


def test_an_empty_collection(tmp_path):
    with pytest.raises(ValueError, match="`collection` must have datasets, got an empty one"):
        Loader().use_collection(DatasetCollection(tmp_path / "new.zarr"))


@pytest.fixture
def collection(tmp_path) -> DatasetCollection:
    adata = ad.AnnData(CSR, obs=OBS.set_index(np.array([f"c{i}" for i in range(10)])), var=VAR)
    adata.write_h5ad(tmp_path / "a.h5ad")
    return DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.h5ad"], progress=False)


def test_a_second_collection(collection):
    loader = Loader().use_collection(collection)
    with pytest.raises(
        RuntimeError, match=r"`use_collection` can be called once: .*`annbatch.mix\(\[loader_a, loader_b\], weights"
    ):
        loader.use_collection(collection)
    assert loader.n_obs == 10


def test_a_collection_of_stores_in_csc(tmp_path):
    group = zarr.open_group(tmp_path / "csc.zarr", mode="w")
    with ad.settings.override(auto_shard_zarr_v3=False):
        write_elem(group, "dataset_0", ad.AnnData(CSR.tocsc()))
    group.attrs.update({"encoding-type": "annbatch-preshuffled", "encoding-version": "0.1.0"})
    with pytest.raises(TypeError, match=r"encoded as csc_matrix: convert it with `DatasetCollection.add_adatas`"):
        Loader().use_collection(DatasetCollection(group))


def test_a_dataset_without_x(collection, tmp_path):
    root = zarr.open_group(tmp_path / "c.zarr", mode="r+")
    del root["dataset_0/X"]
    with pytest.raises(KeyError, match=r"`keys` must be elements of the data, got 'X'; dataset 0 has \['obs'\]"):
        Loader().use_collection(collection)


# Requests of a sampler -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, "1GB"])
@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"requests": [slice(5, 11)]}, r"`requests` must lie within the loader's 0\.\.10 rows, got 5\.\.10"),
        ({"requests": np.array([-1])}, r"got -1\.\.-1"),
        ({"requests": [slice(0, 4)], "splits": [np.array([4])]}, "`splits` must be positions within the 4 requested"),
    ],
)
def test_a_sampler_that_asks_for_what_is_not_there(request_, message, prefetch):
    class Wrong(SequentialSampler):
        def _sample(self, n_obs):
            yield request_

    loader = Loader(batch_sampler=Wrong(5, 1, 5), prefetch=prefetch).add_dataset(CSR)
    with pytest.raises(ValueError, match=message):
        next(iter(loader))


def test_the_length_of_a_loader_without_datasets():
    with pytest.raises(ValueError, match="The number of batches is known once a dataset has been added; got none yet"):
        len(Loader())


CELLS = ad.AnnData(np.eye(2))
DOORS = {
    "add_adata: a list": ("add_adata", [CELLS], "got a list: `add_adatas` adds several"),
    "add_adata: a matrix": ("add_adata", np.eye(2), "got a matrix: `add_dataset` adds it"),
    "add_adata: a store": ("add_adata", zarr.storage.MemoryStore(), "got a zarr store: `zarr.open_group"),
    "add_adata: None": ("add_adata", None, "got None"),
    "add_adatas: one": (
        "add_adatas",
        CELLS,
        "a list of AnnData objects, got an AnnData .*`add_adata` adds one",
    ),
    "add_adata: a collection's group": (
        "add_adata",
        zarr.create_group({}, attributes={"encoding-type": "annbatch-preshuffled"}),
        r"encoded as annbatch-preshuffled: `use_collection\(DatasetCollection",
    ),
    "add_adatas: a path": ("add_adatas", "a.h5ad", "got a path: `add_adata` adds one"),
    "add_adatas: a dict": ("add_adatas", {"a": CELLS}, "got a dict: give its values"),
    "add_dataset: a path": ("add_dataset", "a.zarr", "got a path: open it"),
    "add_dataset: an AnnData": ("add_dataset", CELLS, "got an AnnData object: `add_adata` adds it"),
    "add_dataset: a list": ("add_dataset", [np.eye(2)], "got a list: `add_datasets` adds several"),
    "add_dataset: a frame": ("add_dataset", pd.DataFrame(np.eye(2)), "got a DataFrame: `.to_numpy"),
    "add_dataset: a group": ("add_dataset", zarr.create_group({}), "a group encoded as nothing"),
    "add_datasets: one": (
        "add_datasets",
        np.eye(2),
        "a list of matrices, got a matrix: `add_dataset` adds one",
    ),
    "add_datasets: AnnDatas": ("add_datasets", [CELLS], "got an AnnData object: `add_adata` adds it"),
    "use_collection: a group": ("use_collection", zarr.create_group({}), r"got a group: `DatasetCollection\(group"),
    "use_collection: an AnnData": ("use_collection", CELLS, "got an AnnData object: `add_adata` adds it"),
}


@pytest.mark.parametrize(("door", "value", "message"), DOORS.values(), ids=DOORS)
def test_arguments_of_the_wrong_kind_say_what_to_call(door, value, message):
    loader = Loader(batch_size=1)
    with pytest.raises(TypeError, match=message):
        getattr(loader, door)(value)
    assert "no datasets" in repr(loader)


@pytest.mark.parametrize(
    ("group", "adata", "message"),
    [
        (CELLS, zarr.create_group({}), "`group` must be a zarr group, got an AnnData object: the group comes first"),
        ("a.zarr", CELLS, "`group` must be a zarr group, got a path: open it"),
        (zarr.create_group({}), "a.h5ad", "`adata` must be an AnnData object, got a path: `anndata.read_h5ad"),
    ],
)
def test_write_sharded_takes_a_group_and_an_adata(group, adata, message):
    with pytest.raises(TypeError, match=message):
        write_sharded(group, adata)


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        ("layers/wide", (3, 5), r"`var` of .*cells.h5ad must have one row per column of `layers/wide` \(5\), got 2"),
        ("layers/short", (2, 2), "`layers/short` of .*cells.h5ad must have the 3 rows of obs, got 2"),
        ("obsm/short", (2, 2), "`obsm/short` of .*cells.h5ad must have the 3 rows of obs, got 2"),
    ],
)
def test_matrices_of_other_shapes_are_named_with_their_file(tmp_path, key, shape, message):
    ad.AnnData(np.ones((3, 2))).write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        kind, name = key.split("/")
        write_elem(file.require_group(kind), name, np.ones(shape))
    with h5py.File(tmp_path / "cells.h5ad") as file, pytest.raises(ValueError, match=message):
        Loader(keys=("X", key)).add_adata(file)


def stored_cells(path, names=("g1", "g2")):
    adata = ad.AnnData(CSR, obs=OBS.set_axis([f"c{i}" for i in range(10)]), var=pd.DataFrame(index=list(names)))
    if path.suffix == ".h5ad":
        adata.write_h5ad(path)
    else:
        with ad.settings.override(auto_shard_zarr_v3=False):
            write_elem(zarr.open_group(path.parent), path.name, adata)
    return path


def test_damaged_names_of_columns_name_their_array(tmp_path):
    store = stored_cells(tmp_path / "a.zarr")
    (chunk,) = (path for path in (store / "var/_index").rglob("0") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-5])

    with pytest.raises(CorruptDataError, match=rf"`var/_index(/values)?` of {store} cannot be read(.|\n)*Chunk c/0"):
        Loader().add_adata(zarr.open_group(store, mode="r"))


def test_attributes_that_hdf5_cannot_read_name_the_file(tmp_path):
    path = stored_cells(tmp_path / "a.h5ad")
    path.write_bytes(path.read_bytes().replace(b"GCOL", b"GCOX"))  # where strings lie

    with h5py.File(path, "r") as file:
        for add in (Loader().add_adata, lambda file: Loader().add_dataset(file["X"])):
            with pytest.raises(CorruptDataError, match=rf"{path} cannot be read"):
                add(file)


def test_a_column_whose_encoding_gives_another_number_of_rows_is_named(tmp_path):
    store = stored_cells(tmp_path / "a.zarr")
    zarr.open_group(store)["obs/type"].attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
    zarr.open_group(store)["obs/type"].create_array("values", data=np.arange(10))

    with pytest.raises(CorruptDataError, match=rf"`obs/type` of {store} must have 10 rows, .* got 3"):
        list(Loader(keys=("X", "obs"), batch_size=1).add_adata(zarr.open_group(store, mode="r")))


def test_a_dataset_that_does_not_fit_is_named(tmp_path):
    one, other = stored_cells(tmp_path / "a.zarr"), stored_cells(tmp_path / "b.zarr", ("g1", "g3"))

    with pytest.raises(ValueError, match="between dataset 0 and dataset 1 1 names differ") as caught:
        Loader().add_adatas([zarr.open_group(path, mode="r") for path in (one, other)])
    assert caught.value.__notes__ == [f"While adding {other}."]


def test_a_manifest_that_is_none_names_its_collection(tmp_path):
    stored_cells(tmp_path / "a.h5ad")
    DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.h5ad"], progress=False)
    zarr.open_group(tmp_path / "c.zarr").attrs["annbatch"] = False

    with pytest.raises(CorruptDataError, match="Attribute 'annbatch' of a collection must be a manifest") as caught:
        Loader().use_collection(DatasetCollection(tmp_path / "c.zarr", mode="r"))
    assert caught.value.__notes__ == [f"While reading {tmp_path / 'c.zarr'}."]


@pytest.mark.parametrize("n", [2**48, 2**60, 2**63 - 1, 2**63])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_larger_than_any_file_are_refused(tmp_path, zarr_format, n):
    zarr.create_array(tmp_path / "a.zarr", data=DENSE, chunks=(4, 2), zarr_format=zarr_format)
    path = tmp_path / "a.zarr" / ("zarr.json" if zarr_format == 3 else ".zarray")
    metadata = json.loads(path.read_bytes())
    if zarr_format == 3:
        metadata["chunk_grid"]["configuration"]["chunk_shape"] = [n, 2]
    else:
        metadata["chunks"] = [n, 2]
    path.write_text(json.dumps(metadata))

    with pytest.raises(
        CorruptDataError, match=rf"{path.parent} must have chunks of at most .* got chunks of \({n}, 2\)"
    ):
        Loader().add_dataset(zarr.open_array(path.parent, mode="r"))


def test_panics_of_libraries_name_what_was_read():
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    with pytest.raises(CorruptDataError, match="`X` cannot be read, PanicException: out of range"), reading("`X`"):
        raise panic("out of range")
    with pytest.raises(KeyboardInterrupt) as caught, reading("`X`"):
        raise KeyboardInterrupt
    assert not hasattr(caught.value, "__notes__")
