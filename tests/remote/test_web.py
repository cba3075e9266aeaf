"""A collection on a web server, which supports byte ranges and cannot list its files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import traceback

import pytest
import zarr
from zarr.core.sync import sync
from zarr.storage import ObjectStore

from annbatch import DatasetCollection, RemoteStore
from annbatch.cli import main
from annbatch.errors import NotACollectionError, RemoteError


def forget_who_wrote(folder):
    """Remove what only annbatch writes."""
    for path in [folder / "zarr.json", *folder.glob("dataset_*/zarr.json")]:
        content = json.loads(path.read_bytes())
        content["attributes"].pop("annbatch", None)
        path.write_text(json.dumps(content))


@pytest.fixture
def served(repository, stored, tmp_path, request):
    """The URL of a collection on a web server, with a password and a signature in it."""
    folder = tmp_path / "served"
    shutil.copytree(stored("compact"), folder)
    if request.param == "another program's":
        forget_who_wrote(folder)
    command = [sys.executable, "-m", "benchmarks.link", str(folder), "--latency=0", "--rate=1e9"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=repository)
    assert server.stdout is not None
    yield f"http://me:a-secret@127.0.0.1:{int(server.stdout.readline())}?signature=a-secret"
    server.communicate()


@pytest.mark.parametrize("served", ["ours", "another program's"], indirect=True)
def test_it_is_read_described_and_verified(served, stored, load, same_batches, capsys):
    with load(served) as remote, load(stored("compact")) as local:
        same_batches(remote, local)
        assert "a-secret" not in json.dumps(remote.state_dict())
    assert main(["info", served]) == 0
    assert main(["verify", served]) == 0
    said = capsys.readouterr()
    assert "2,000 rows x 60 variables in 2 datasets" in said.out
    assert "no problem found" in said.out
    assert "a-secret" not in said.out + said.err


@pytest.mark.parametrize("served", ["ours"], indirect=True)
def test_credentials_in_the_url_of_a_zarr_store_are_shown_nowhere(served, load):
    from obstore.store import from_url

    store = ObjectStore(from_url(served, client_options={"allow_http": True}), read_only=True)
    collection = DatasetCollection(zarr.open_group(store, mode="r"), mode="r")
    assert collection.n_obs == 2000
    texts = [repr(collection), str(collection.verify())]
    with load(collection) as loader:
        next(iter(loader))
        texts += [repr(loader), repr(loader.stats)]
    for wrong in (store, store.store, served.replace("http", "ftp")):
        with pytest.raises((TypeError, ValueError), match="must be a path") as error:
            DatasetCollection(wrong)
        texts += traceback.format_exception(error.value)
    with pytest.raises(NotACollectionError) as error:
        DatasetCollection(next(iter(collection)), mode="r")
    texts += traceback.format_exception(error.value)
    assert "http://127.0.0.1" in "".join(texts)
    assert "a-secret" not in "".join(texts)


@pytest.mark.parametrize("served", ["ours"], indirect=True)
def test_impossible_operations_are_errors_that_say_so(served, cells):
    with pytest.raises(RemoteError, match=r"^http://127\.0\.0\.1:\d+ cannot be listed: web servers have no listings"):
        sync(RemoteStore(served).list_dir("").__anext__())
    with pytest.raises(RemoteError, match=r"^Writing http://127\.0\.0\.1:\d+/\.annbatch-lock failed") as error:
        DatasetCollection(served).add_adatas([cells], progress=False)
    assert "a-secret" not in str(error.value)
