"""Converting into a bucket, and the commands with URLs."""

from __future__ import annotations

import pickle
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import zarr

from annbatch import DatasetCollection, Loader, RemoteStore
from annbatch._remote.urls import is_url, url_of, without_secrets
from annbatch.cli import main
from annbatch.collection._runs.upload import _work_root
from annbatch.errors import NotACollectionError, RemoteError, StoreError


@pytest.fixture
def converted(cells, environment):
    """A collection that was converted into the bucket."""
    collection = DatasetCollection("s3://bucket/converted")
    if collection.is_empty:
        collection.add_adatas([cells], rng=np.random.default_rng(1), progress=False)
    return collection


def test_converting_into_a_bucket_gives_what_converting_into_a_folder_gives(
    converted, cells, tmp_path, load, same_batches
):
    rng = np.random.default_rng(1)
    local = DatasetCollection(tmp_path / "local").add_adatas([cells], rng=rng, progress=False)

    assert repr(converted).startswith("DatasetCollection at s3://bucket/converted, 1,000 rows x 60 variables")
    assert converted.obs().equals(local.obs())
    with load(converted) as ours, load(local) as theirs:
        same_batches(ours, theirs)
    for key in ("data", "indices", "indptr"):
        assert np.array_equal(next(iter(converted))["X"][key][:], next(iter(local))["X"][key][:])


def test_objects_and_files_are_attached_as_one_collection(converted, cells, bucket, tmp_path, load):
    attached = DatasetCollection(tmp_path / "all").attach([cells, "s3://bucket/converted/"])
    assert repr(attached).endswith("2,000 rows x 60 variables in 2 attached stores")
    report = attached.verify()
    assert (report.ok, report.n_obs, report.unchecked) == (True, 1_000, [str(cells)])
    batch = Loader(obs_columns=[]).use_collection(attached).take([3, 1_003])
    with load(converted) as theirs:
        assert (batch["X"][1] != theirs.take([3])["X"]).nnz == 0
    metadata = bucket.get("converted/dataset_0/zarr.json").bytes().to_bytes()
    bucket.put("converted/dataset_0/zarr.json", metadata.replace(b'"attributes": {', b'"attributes": {"more": 1, ', 1))
    with pytest.raises(StoreError, match="s3://bucket/converted/dataset_0 has changed since it was attached"):
        list(attached)
    bucket.put("converted/dataset_0/zarr.json", metadata)


def test_nothing_is_written_before_there_is_something_to_write(environment, bucket):
    assert DatasetCollection("s3://bucket/nothing").is_empty
    assert not bucket.list("nothing").collect()
    with pytest.raises(NotACollectionError, match=r"s3://bucket/nothing must be a finished collection"):
        DatasetCollection("s3://bucket/nothing", mode="r")


def test_a_conversion_that_was_cut_off_leaves_no_collection_and_can_be_made_again(cells, proxy):
    """The root's attributes are the last to be written: until then there is no collection."""

    def gone_after_a_while(seen):
        late = seen.method == "PUT" and "/X/data/c/" in seen.path
        return "403" if late else ""

    proxy.choose = gone_after_a_while
    with pytest.raises(RemoteError, match=r"Writing s3://bucket/cut/dataset_0/X/data/c/\d+ failed.*403"):
        DatasetCollection("s3://bucket/cut").add_adatas([cells], rng=np.random.default_rng(1), progress=False)
    proxy.choose = lambda seen: ""
    with pytest.raises(NotACollectionError, match="must be a finished collection"):
        DatasetCollection("s3://bucket/cut", mode="r")
    DatasetCollection("s3://bucket/cut").add_adatas([cells], rng=np.random.default_rng(1), progress=False)
    assert DatasetCollection("s3://bucket/cut", mode="r").n_obs == 1000
    assert "annbatch-unfinished" not in zarr.open_group(RemoteStore("s3://bucket/cut"), mode="r").attrs


def in_bucket(bucket, name):
    """Return the bytes of all objects of a collection."""
    keys = [entry["path"] for entry in bucket.list(f"{name}/").collect()]
    return {key.partition("/")[2]: bytes(bucket.get(key).bytes()) for key in keys}


@pytest.mark.parametrize(("machine", "memory_limit"), [("same", "4GB"), ("same", "10kB"), ("other", "4GB")])
def test_a_call_that_was_cut_off_goes_on(cells, proxy, bucket, tmp_path, monkeypatch, machine, memory_limit):
    """Datasets that are in the bucket stay there; a lock that is left on the same machine is known to be a dead one."""

    def convert(name):
        rng = np.random.default_rng(1)
        how = {"dataset_size": 400, "memory_limit": memory_limit, "progress": False}
        return DatasetCollection(f"s3://bucket/{name}").add_adatas([cells], rng=rng, **how)

    name, written, broken = f"goes-on-{machine}-{memory_limit}", [], []
    convert(f"calm-{machine}-{memory_limit}")

    def cut_off(seen):
        broken.append(seen) if seen.method == "PUT" and "/dataset_1/X/data/c/" in seen.path else None
        return "403" if broken else ""  # the lock cannot be deleted either

    def watch(seen):
        written.append(seen.path) if seen.method == "PUT" else None
        return ""

    proxy.choose = cut_off
    with pytest.raises(RemoteError, match=r"goes-on-.*/dataset_1/"):
        convert(name)
    proxy.choose = watch
    if machine == "other":
        (tmp_path / "other").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "other"))
        with pytest.raises(StoreError, match="must have one writer at a time"):
            convert(name)
        bucket.delete(f"{name}/.annbatch-lock")
    convert(name)
    assert any("/dataset_0/" in path for path in written) == (machine == "other")
    assert any("/dataset_1/" in path for path in written)
    assert in_bucket(bucket, name) == in_bucket(bucket, f"calm-{machine}-{memory_limit}")
    assert len([*tmp_path.glob("annbatch-*")]) == (machine == "other")  # which may still be completed there


def test_what_a_call_left_that_was_given_up(cells, proxy, bucket, tmp_path):
    collection = DatasetCollection("s3://bucket/given-up")
    collection.add_adatas([cells], rng=np.random.default_rng(1), progress=False)
    how = {"progress": False, "if_present": "add"}
    proxy.choose = lambda seen: "403" if seen.method == "PUT" and "/dataset_2/X/data/c/" in seen.path else ""
    with pytest.raises(RemoteError):
        collection.add_adatas([cells], dataset_size=400, **how)
    proxy.choose = lambda seen: ""
    assert collection.verify().ok
    assert any(key.startswith("dataset_1/") for key in in_bucket(bucket, "given-up"))
    collection.reshuffle(np.random.default_rng(2), progress=False)
    assert collection.verify().ok
    assert {key.partition("/")[0] for key in in_bucket(bucket, "given-up")} == {"dataset_1", "zarr.json"}


def test_a_work_folder_of_somebody_else_is_refused(cells, environment, tmp_path):
    collection = DatasetCollection("s3://bucket/elsewhere")
    place = _work_root(collection._location, ExitStack())
    place.chmod(0o777)
    with pytest.raises(StoreError, match="must be a folder that only you can write to: delete it, or set TMPDIR"):
        collection.add_adatas([cells], progress=False)
    place.rmdir()
    place.symlink_to(tmp_path)
    with pytest.raises(StoreError, match="must be a folder that only you can write to"):
        collection.add_adatas([cells], progress=False)


def test_two_writers_at_once_are_one_too_many(cells, proxy, bucket):
    """The second is refused once the first has begun, and sees its result when it is done."""
    refused = []

    def meanwhile(seen):
        if seen.method == "PUT" and "/twice/dataset_0/X/data/c/0" in seen.path and not refused:
            refused.append("")
            with pytest.raises(StoreError, match=MESSAGE) as error:
                late.add_adatas([cells], progress=False, if_present="add")
            refused.append(str(error.value))
        return ""

    late = DatasetCollection("s3://bucket/twice")
    proxy.choose = meanwhile
    DatasetCollection("s3://bucket/twice").add_adatas([cells], progress=False)
    assert len(refused) == 2
    assert not [entry["path"] for entry in bucket.list("twice").collect() if "lock" in entry["path"]]

    late.add_adatas([cells], progress=False, if_present="add")
    assert DatasetCollection("s3://bucket/twice", mode="r").n_obs == 2000


MESSAGE = (
    r"^s3://bucket/twice must have one writer at a time, and process \d+ on \S+ \(since .* UTC\) is writing to it\. "
    r"If that was killed, delete s3://bucket/twice/\.annbatch-lock\.$"
)


def test_a_writer_recognizes_its_lock_if_the_response_was_lost(cells, proxy):
    lost = []

    def lose(seen):
        if seen.method == "PUT" and seen.path.endswith(".annbatch-lock") and not lost:
            lost.append(seen)
            return "truncate"
        return ""

    proxy.choose = lose
    DatasetCollection("s3://bucket/lost").add_adatas([cells], progress=False)
    assert lost


def test_adding_to_a_collection_in_a_bucket(cells, environment):
    collection = DatasetCollection("s3://bucket/added")
    for number in range(2):
        collection.add_adatas([cells], rng=np.random.default_rng(number), progress=False, if_present="add")

    again = DatasetCollection("s3://bucket/added", mode="r")
    assert len(again) == 2
    assert again.n_obs == 2000
    assert again.obs().index.is_unique


def test_the_commands_take_urls(converted, cells, capsys):
    assert main(["info", "s3://bucket/converted"]) == 0
    assert main(["verify", "s3://bucket/converted"]) == 0
    assert main(["bench", "s3://bucket/converted", "--chunk-size", "64", "--window", "512", "--seconds", "0.01"]) == 0
    assert main(["convert", str(cells), "s3://bucket/by-command"]) == 0
    said = capsys.readouterr().out
    assert "s3://bucket/converted: " in said
    assert "1,000 rows x 60 variables in 1 dataset" in said
    assert DatasetCollection("s3://bucket/by-command", mode="r").n_obs == 1000


@pytest.mark.filterwarnings("ignore:Column 'src_path' of `obs` is replaced:UserWarning")  # the input's is a dataset's
def test_a_collection_is_converted_from_one_bucket_into_a_folder(converted, tmp_path):
    assert main(["convert", "s3://bucket/converted/dataset_0", str(tmp_path / "out"), "--seed", "1"]) == 0
    assert DatasetCollection(tmp_path / "out", mode="r").n_obs == 1000


def test_a_command_says_in_one_line_what_is_wrong(environment, capsys):
    assert main(["info", "s3://bucket/no-such"]) == 1
    assert main(["info", "s3://"]) == 1
    assert main(["info", "ftp://me:a-secret@host/cells"]) == 1
    assert main(["convert", "s3://bucket/cells.h5ad", "s3://bucket/no-such"]) == 1
    said = capsys.readouterr()
    assert "a-secret" not in said.out
    lines = said.err.splitlines()
    assert len(lines) == 4
    assert "s3://bucket/no-such must be a finished collection" in lines[0]
    assert "must name an object store" in lines[1]
    assert "`group` must be a path, or a URL of s3, s3a, " in lines[2]
    assert lines[2].endswith("got 'ftp://host/cells'.")
    assert lines[3].endswith("s3://bucket/cells.h5ad is not a zarr group: copy h5ad files to a disk first.")


@pytest.mark.parametrize(
    ("place", "url"),
    [("s3://b/k", True), ("GS://b", True), ("a/b", False), ("C://x", False), ("file:///a", False), ("s3:/b", False)],
)
def test_urls_of_object_stores_are_distinguished_from_paths(place, url):
    assert is_url(place) == url


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("az://box/a", "az://box/a"),
        ("https://me:pass@host/a?sig=pass", "https://host/a"),
        ("https://me:it's'pass@[::1]:80/a", "https://[::1]:80/a"),
    ],
)
def test_a_store_is_named_by_its_url_without_secrets(url, name):
    from obstore.store import from_url

    account = {"account_name": "me"} if url.startswith("az") else {}
    store = pickle.loads(pickle.dumps(from_url(url, **account)))
    assert url_of(store) == name
    assert "pass" not in without_secrets(url)


def other(url):
    """Return a URL of a scheme that no object store has, unless it is one that nothing can open."""
    return url.replace("https://", "gopher://") if isinstance(url, str) else url


@pytest.mark.parametrize("url", ["https://me:a/pass@host/a", "https://me:a?pass@host", "https://me:a#pass@host/a"])
def test_of_a_url_with_a_broken_password_nothing_is_shown(url):
    assert without_secrets(url) == "https://..."


@pytest.mark.parametrize(
    "url",
    [
        "https://me:pass@host/a",
        "ftp://me:pass@host/a",
        "https://me:it's-pass@host/a",
        "https:/me:pass@host/a",
        "https:///me:pass@host/a",
        "https:me:pass@host/a",
        "ftp:/me:pass@host/a",
        "https:/host/a?sig=pass",
        " https://me:pass@host/a",
        "https:\\\\me:pass@host\\a",
        "https://proxy/https://me:pass@host",
        "memory://HTTPStore(http://me:pass@host)",
        Path("https://me:pass@host/a"),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda url, folder: DatasetCollection(folder / "c").add_adatas([url]),
        lambda url, folder: DatasetCollection(folder / "c").attach([url]),
        lambda url, folder: DatasetCollection(other(url)),
        lambda url, folder: DatasetCollection(other(url), is_collection_h5ad=True),
        lambda url, folder: Loader().add_adata(other(url)),
        lambda url, folder: Loader(cache_dir=url),
    ],
    ids=["convert", "attach", "open", "h5ad", "load", "cache"],
)
def test_errors_about_urls_do_not_show_passwords(tmp_path, url, use):
    with pytest.raises((ValueError, StoreError)) as caught:
        use(url, tmp_path)
    shown = [str(caught.value), repr(caught.value), *getattr(caught.value, "__notes__", ())]
    assert not [text for text in shown if "pass" in text]
