"""Objects written to a bucket have checksums, and damage to them is found and named."""

from __future__ import annotations

import json

import numpy as np
import pytest

from annbatch import DatasetCollection
from annbatch.cli import main
from annbatch.errors import CorruptDataError, NotACollectionError, RemoteError

URL = "s3://bucket/verified"


@pytest.fixture
def written(cells, environment):
    """A collection that was converted into the bucket, of two datasets."""
    collection = DatasetCollection(URL)
    if collection.is_empty:
        rng = np.random.default_rng(1)
        collection.add_adatas([cells], rng=rng, dataset_size=600, layout="random_access", progress=False)
    return collection


@pytest.fixture
def altered(bucket):
    """Change an object, and restore it at the end."""
    before = {}

    def alter(name, change):
        key = f"verified/{name}"
        before.setdefault(key, bytes(bucket.get(key).bytes()))
        data = change(bytearray(before[key]))
        bucket.delete(key) if data is None else bucket.put(key, bytes(data))

    yield alter
    for key, data in before.items():
        bucket.put(key, data)


def flip(data):
    data[len(data) // 2] ^= 1
    return data


def test_an_undamaged_collection_has_no_problem_and_every_object_is_read(written, proxy):
    report = DatasetCollection(URL).verify()

    assert report.ok
    assert str(report).startswith(f"{URL}: 1,000 rows in 2 datasets, ")
    assert not report.unchecked
    read = [seen.path for seen in proxy.seen if seen.method == "GET" and "/bucket/verified/" in seen.path]
    assert len(set(read)) == report.n_files


@pytest.mark.parametrize("name", ["dataset_1/X/data/c/0", "dataset_0/obs/label/codes/c/0"])
def test_one_flipped_bit_is_found_and_named(written, altered, name, capsys):
    altered(name, flip)

    assert written.verify().problems == [f"{name}: its checksum does not match"]
    assert main(["verify", URL]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"annbatch: error: {URL} is damaged: {name}: its checksum does not match"
    )


def test_missing_truncated_and_superfluous_objects_are_named(written, altered, bucket):
    altered("dataset_1/X/indices/c/0", lambda data: None)
    altered("dataset_0/X/data/c/0", lambda data: data[:-1])
    bucket.put("verified/dataset_0/more", b"more")
    bucket.put("verified/notes.txt", b"notes")
    problems = written.verify().problems
    bucket.delete(["verified/dataset_0/more", "verified/notes.txt"])

    size = len(bytes(bucket.get("verified/dataset_0/X/data/c/0").bytes())) + 1
    assert sorted(problems) == [
        f"dataset_0/X/data/c/0: must have {size} bytes, has {size - 1}",
        "dataset_0/more: does not belong to the collection",
        "dataset_1/X/indices/c/0: is missing",
        "notes.txt: does not belong to the collection",
    ]


def test_damaged_metadata_are_named(written, altered):
    altered("dataset_0/zarr.json", flip)
    assert written.verify().problems == [
        "dataset_0/zarr.json: its checksum does not match; its files cannot be checked"
    ]
    altered("zarr.json", lambda data: data.replace(b'"seed":', b'"sead":'))
    assert DatasetCollection(URL).verify().problems == ["zarr.json: its checksum does not match"]
    altered("zarr.json", lambda data: data[:100])
    (problem,) = DatasetCollection(URL).verify().problems
    assert problem.startswith("zarr.json: is damaged: JSONDecodeError")
    with pytest.raises(CorruptDataError, match=f"^{URL}/zarr.json does not match its checksum"):
        DatasetCollection(URL, mode="r")


def test_a_server_that_refuses_is_no_damage(written, proxy):
    proxy.choose = lambda seen: "403" if "/X/data/c/" in seen.path else ""

    with pytest.raises(RemoteError, match=r"dataset_\d/X/data/c/0.*access was denied"):
        DatasetCollection(URL).verify()


def test_a_collection_that_was_converted_locally_and_copied_is_checked_too(stored, environment, bucket):
    stored("compact")
    assert DatasetCollection("s3://bucket/compact").verify().ok
    assert DatasetCollection("s3://bucket/compact").fingerprint == DatasetCollection(stored("compact")).fingerprint


def test_the_bytes_are_those_of_a_local_collection(written, cells, tmp_path):
    rng = np.random.default_rng(1)
    local = DatasetCollection(tmp_path / "c").add_adatas(
        [cells], rng=rng, dataset_size=600, layout="random_access", progress=False
    )
    assert written.fingerprint == local.fingerprint


def test_an_unfinished_collection_is_none(environment, bucket, tmp_path, cells):
    local = DatasetCollection(tmp_path / "c").add_adatas([cells], progress=False)
    root = json.loads((tmp_path / "c" / "zarr.json").read_bytes())
    bucket.put("half/zarr.json", json.dumps(root | {"attributes": {"annbatch-unfinished": True}}).encode())
    bucket.put("half/dataset_0/zarr.json", tmp_path / "c" / "dataset_0" / "zarr.json")
    assert not local.is_empty

    with pytest.raises(NotACollectionError, match="must be a finished collection to be verified"):
        DatasetCollection("s3://bucket/half").verify()
