"""HDF5 files that are open, whatever their paths mean by now: here, and in other processes."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

from annbatch import DatasetCollection, Loader, write_sharded
from annbatch._arrays.hdf5_files import Descriptor
from annbatch._arrays.open import open_array
from annbatch.cli import main
from annbatch.demo._label import choose_label
from annbatch.errors import CorruptDataError, StoreError

N = 40
KEYS = ("X", "obs", "obsm/p")


def cells(seed: int) -> ad.AnnData:
    obs = pd.DataFrame(
        {
            "number": np.arange(N) + 1000 * seed,
            "text": [f"{seed}-{i}" for i in range(N)],
            "kind": pd.Categorical([f"{seed}-{i % 3}" for i in range(N)]),
        },
        index=[f"c{i}" for i in range(N)],
    )
    matrix = sp.random(N, 6, 0.5, "csr", dtype="f4", random_state=seed)
    return ad.AnnData(matrix, obs, obsm={"p": np.full((N, 2), seed, "f4")})


OPENED = {
    "h5py": h5py.File,
    "backed": lambda path: ad.read_h5ad(path, backed="r"),
    "lazy": ad.experimental.read_lazy,
}


def batch_of(loader: Loader) -> dict:
    return next(iter(loader))


def assert_holds(batch: dict, adata: ad.AnnData) -> None:
    assert (batch["X"] != adata.X).nnz == 0
    pd.testing.assert_frame_equal(batch["obs"][["number", "text", "kind"]].astype(str), adata.obs.astype(str))
    np.testing.assert_array_equal(batch["obsm"]["p"], adata.obsm["p"])


def make(batch_size: int = N) -> Loader:
    return Loader(batch_size=batch_size, chunk_size=batch_size, preload_nchunks=1, keys=KEYS)


@pytest.fixture
def two(tmp_path, monkeypatch, request):
    """Two files of the same name and size in two folders, of which the first is the working directory."""
    for number, name in ((1, "mine"), (2, "other")):
        (tmp_path / name).mkdir()
        cells(number).write_h5ad(tmp_path / name / "a.h5ad", compression=request.param)
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*lazy.*|.*experimental.*")
@pytest.mark.parametrize("event", ["chdir", "rename"])
@pytest.mark.parametrize("opener", OPENED.values(), ids=OPENED)
@pytest.mark.parametrize("two", [None, "gzip"], indirect=True)
def test_an_open_file_stays_the_one_that_is_read(two, opener, event, monkeypatch):
    opened = opener("a.h5ad")
    if event == "chdir":
        monkeypatch.chdir(two / "other")
    else:
        (two / "other" / "a.h5ad").replace("a.h5ad")
    loader = make().add_adata(opened)
    collection = DatasetCollection(two / "c.zarr")
    if opener is h5py.File:
        collection.add_adatas([opened], shuffle=False)
    else:
        collection.add_adatas([two / "mine" / "a.h5ad"], shuffle=False, load_adata=lambda _: opened)
    assert_holds(batch_of(loader), cells(1))
    assert_holds(batch_of(make().use_collection(collection)), cells(1))


@pytest.mark.parametrize("opener", OPENED.values(), ids=OPENED)
@pytest.mark.parametrize("two", [None, "lzf"], indirect=True)
def test_a_pickled_loader_opens_its_file_by_path(two, opener, monkeypatch):
    pickled = pickle.dumps(make().add_adata(opener("a.h5ad")))
    monkeypatch.chdir(two / "other")
    assert_holds(batch_of(pickle.loads(pickled)), cells(1))
    Path("a.h5ad").replace(two / "mine" / "a.h5ad")
    with pytest.raises(CorruptDataError, match=r"mine/a.h5ad was replaced or changed since .* pickled"):
        pickle.loads(pickled)


@pytest.mark.parametrize("two", [None], indirect=True)
def test_a_file_without_a_path_is_not_pickled(two, monkeypatch):
    file = h5py.File("a.h5ad")
    monkeypatch.chdir(two / "other")
    loader = make().add_adata(file)
    assert_holds(batch_of(loader), cells(1))
    with pytest.raises(StoreError, match=r"a.h5ad must be a file that other processes can open by this name"):
        pickle.dumps(loader)


@pytest.mark.parametrize("two", ["gzip"], indirect=True)
def test_lazily_read_files_of_one_name_are_told_apart(two, monkeypatch):
    mine = ad.experimental.read_lazy("a.h5ad")
    monkeypatch.chdir(two / "other")
    other = ad.experimental.read_lazy("a.h5ad")
    with pytest.raises(StoreError, match=r"a.h5ad must be the name of one open file, got 2: open them by absolute"):
        make().add_adatas([mine, other])


@pytest.mark.parametrize("two", [None], indirect=True)
def test_the_arrays_of_a_file_share_a_descriptor_that_outlives_its_handle(two):
    file = h5py.File("a.h5ad")
    first, second = (open_array(file["X"][name]) for name in ("data", "indices"))
    descriptor = Descriptor.of(file)
    file.close()
    values, _ = first.read(np.array([0]), np.array([5]))
    np.testing.assert_array_equal(values, cells(1).X.data[:5])
    fd = descriptor.fd
    del descriptor, first
    os.fstat(fd)
    del second
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


@pytest.fixture
def led(tmp_path):
    """Make an h5ad file that leads to another by an external link."""
    cells(1).write_h5ad(tmp_path / "led.h5ad")
    cells(2).write_h5ad(tmp_path / "secret.h5ad")

    def link(name: str, target: str = "/X") -> Path:
        with h5py.File(tmp_path / "led.h5ad", "r+") as file:
            if name in file:
                del file[name]
            file[name] = h5py.ExternalLink("secret.h5ad", target)
        return tmp_path / "led.h5ad"

    return link


EVERY_READER = {
    "loader": lambda path: make().add_adata(path),
    "handle": lambda path: make().add_adata(h5py.File(path)),
    "group": lambda path: Loader().add_dataset(h5py.File(path)["obsm/p"]),
    "backed": lambda path: Loader().add_adata(ad.read_h5ad(path, backed="r")),
    "lazy": lambda path: make().add_adata(ad.experimental.read_lazy(path)),
    "lazy handle": lambda path: make().add_adata(ad.experimental.read_lazy(h5py.File(path))),
    "conversion": lambda path: DatasetCollection(path.parent / "c").add_adatas([path]),
    "conversion of a handle": lambda path: DatasetCollection(path.parent / "c").add_adatas([h5py.File(path)]),
    "conversion of a backed file": lambda path: DatasetCollection(path.parent / "c").add_adatas(
        [path], load_adata=lambda path: ad.read_h5ad(path, backed="r")
    ),
    "attaching": lambda path: DatasetCollection(path.parent / "c").attach([path]),
    "writing": lambda path: write_sharded(
        zarr.create_group(path.parent / "w", zarr_format=3), ad.read_h5ad(path, backed="r")
    ),
    "info": lambda path: main(["info", str(path)]),
    "h5ad collection": lambda path: DatasetCollection(
        path.rename(path.with_name("dataset_0.h5ad")).parent, is_collection_h5ad=True
    ).obs(),
    "demo": lambda path: choose_label([path], None),
}


@pytest.mark.filterwarnings("ignore:.*lazy.*|.*experimental.*")
@pytest.mark.parametrize("name", ["X", "obs/number", "uns/more"])
@pytest.mark.parametrize("reader", EVERY_READER.values(), ids=EVERY_READER)
def test_links_to_other_files_are_refused(led, reader, name, capsys):
    path = led(name, f"/{name}" if name != "uns/more" else "/X")
    message = (
        rf"`{name}` of .*(led|dataset_0).h5ad must be stored in its own file, got a link to `/.*` of 'secret.h5ad'"
    )
    if reader is EVERY_READER["info"]:
        assert reader(path) != 0
        assert re.search(message, capsys.readouterr().err)
    else:
        with pytest.raises(StoreError, match=message):
            reader(path)


def test_links_beside_a_group_are_refused_too(tmp_path, led):
    path = led("out", "/")
    with h5py.File(path, "r+") as file:
        for name in ("X", "obs", "var"):
            file.move(name, f"in/{name}")
        del file["in/X"]
        file["in/X"] = h5py.SoftLink("/out/X")
    with pytest.raises(StoreError, match=r"`out` of .*led.h5ad must be stored in its own file, got a link to `/`"):
        make().add_adata(h5py.File(path)["in"])


def test_links_within_a_file_are_followed(tmp_path, led):
    path = tmp_path / "led.h5ad"
    with h5py.File(path, "r+") as file:
        file.move("X", "elsewhere")
        file["X"] = h5py.SoftLink("/elsewhere")
        file["again"] = file["/"]
    assert_holds(batch_of(make().add_adata(path)), cells(1))
