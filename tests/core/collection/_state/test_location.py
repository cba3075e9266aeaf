from __future__ import annotations

import os
from contextlib import suppress

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr

from annbatch import DatasetCollection, Loader
from annbatch._format.metadata_files import parse_json
from annbatch.collection._state import location
from annbatch.errors import CorruptDataError, StoreError


@pytest.fixture
def store(tmp_path):
    """A collection."""
    obs = pd.DataFrame({"depth": np.arange(8)}, index=[f"cell{i}" for i in range(8)])
    ad.AnnData(np.eye(8), obs=obs).write_h5ad(tmp_path / "cells.h5ad")
    DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "cells.h5ad"], shuffle=False, progress=False)
    return tmp_path / "c.zarr"


def damaged(content, at):
    flipped = bytearray(content)
    flipped[at] ^= 1 << (at % 8)
    return bytes(flipped)


def test_a_flipped_bit_in_the_root_metadata_is_an_error_or_has_no_effect(store):
    path, whole = store / "zarr.json", DatasetCollection(store, mode="r").obs()
    content, errors = path.read_bytes(), []
    for at in range(0, len(content), 7):
        path.write_bytes(damaged(content, at))
        try:
            assert DatasetCollection(store, mode="r").obs().equals(whole)
        except CorruptDataError as error:
            errors.append(str(error))
    assert set(errors) == {f"{path} does not match its checksum: it was damaged, or changed by another program."}
    assert len(errors) > 0.9 * len(content) // 7


def test_a_flipped_bit_in_the_metadata_of_a_dataset_is_an_error(store):
    path = store / "dataset_0" / "zarr.json"
    content = path.read_bytes()
    for at in (content.index(b" "), content.index(b"0.1.0")):
        path.write_bytes(damaged(content, at))
        with pytest.raises(CorruptDataError, match=r"dataset_0/zarr\.json does not match its checksum"):
            DatasetCollection(store, mode="r").obs()


def test_other_programs_may_add_attributes_to_the_root_and_consolidate_metadata(store):
    group = zarr.open_group(store)
    group.attrs["title"] = "cells"
    with pytest.warns(UserWarning, match="Consolidated metadata"):
        zarr.consolidate_metadata(store)
    collection = DatasetCollection(store, mode="r")
    assert collection.obs()["depth"].tolist() == list(range(8))
    assert next(iter(collection)).metadata.consolidated_metadata is None


def test_the_root_metadata_are_parsed_once(store, monkeypatch):
    parsed = []
    monkeypatch.setattr(location, "parse_json", lambda data: parsed.append(data) or parse_json(data))
    collection = DatasetCollection(store, mode="r")
    Loader().use_collection(collection)
    assert (len(collection), collection.n_obs, bool(repr(collection))) == (1, 8, True)
    assert parsed == [(store / "zarr.json").read_bytes()]


def test_what_another_process_writes_meanwhile_is_seen(store):
    path, collection = store / "zarr.json", DatasetCollection(store, mode="r")
    content, times = path.read_bytes(), path.stat()
    assert len(collection) == 1
    for at in range(0, len(content), 41):
        path.write_bytes(damaged(content, at))  # of the same size, and at the same time
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        with suppress(CorruptDataError):
            assert collection.obs()["depth"].tolist() == list(range(8))
        path.write_bytes(content)
        assert collection.obs()["depth"].tolist() == list(range(8))
    DatasetCollection(store).add_adatas([store.parent / "cells.h5ad"], progress=False, if_present="add")
    assert (len(collection), collection.n_obs) == (2, 16)


NO_METADATA = [b"null", b"5", b"[]", b"[" * 100_000, b"<html>", b'{"attributes": 5}', b"\x1f\x8b\x08"]


@pytest.mark.parametrize("written", NO_METADATA)
@pytest.mark.parametrize(
    "use",
    [
        lambda path: DatasetCollection(path, mode="r"),
        lambda path: DatasetCollection(path).add_adatas([path], progress=False),
        lambda path: Loader().add_adata(path),
    ],
    ids=["open", "convert", "load"],
)
def test_what_is_no_metadata_of_a_group_is_an_error_that_names_the_folder(tmp_path, written, use):
    (tmp_path / "zarr.json").write_bytes(written)
    with pytest.raises(StoreError, match=f"^{tmp_path} (must be a zarr group|cannot be read)"):
        use(tmp_path)
