from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from annbatch import DatasetCollection, Loader, write_sharded
from annbatch.errors import CorruptDataError


def cells():
    """Return cells with arrays of many kinds."""
    frame = pd.DataFrame(
        {
            "label": pd.Categorical(list("abcaabca")),
            "depth": np.arange(8) / 3,
            "age": pd.array([None, *range(1, 8)], dtype="Int64"),
            "batch": [f"b{i}" for i in range(8)],
        },
        index=[f"row{i}" for i in range(8)],
    )
    return ad.AnnData(
        sparse.eye(8, format="csr"),
        obs=frame,
        var=frame,
        obsm={"scores": frame[["depth"]]},
        varm={"loadings": np.ones((8, 2))},
        varp={"correlation": sparse.eye(8, format="csr")},
        uns={"palette": np.array(["red", "blue"]), "version": 3, "title": "cells"},
    )


@pytest.fixture
def store(tmp_path):
    """A collection of the cells."""
    cells().write_h5ad(tmp_path / "cells.h5ad")
    DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "cells.h5ad"], shuffle=False, progress=False)
    return tmp_path / "c.zarr"


def test_a_checksum_follows_every_chunk(store):
    write_sharded(zarr.open_group(store.with_name("single.zarr"), mode="w"), cells())
    for path in (store / "dataset_0", store.with_name("single.zarr")):
        arrays = {key: node for key, node in zarr.open_group(path).members(None) if isinstance(node, zarr.Array)}
        assert {key.partition("/")[0] for key in arrays} == {"X", "obs", "var", "obsm", "varm", "varp", "uns"}
        assert {str(array.compressors[-1].to_dict()["name"]) for array in arrays.values()} == {"crc32c"}


@pytest.mark.slow
def test_a_flipped_bit_in_a_table_or_an_annotation_is_an_error(store):
    keys = ("X", "obs", "obsm/scores")
    for path in sorted(path for path in store.rglob("c/*") if path.is_file() and "X" not in path.parts):
        content = path.read_bytes()
        path.write_bytes(content[:-6] + bytes([content[-6] ^ 1]) + content[-5:])
        element = path.parent.parent.relative_to(store).as_posix()
        collection = DatasetCollection(store, mode="r")
        with pytest.raises(CorruptDataError, match=element.split("/")[1]):
            collection.to_adata()
        if element.split("/")[1] in ("obs", "obsm"):
            loader = Loader(batch_size=8, chunk_size=2, preload_nchunks=4, keys=keys).use_collection(collection)
            with loader, pytest.raises(CorruptDataError, match=element):
                list(loader)
        path.write_bytes(content)
    DatasetCollection(store, mode="r").to_adata()
