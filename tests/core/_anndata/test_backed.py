"""Lazily read zarr stores that were named by a relative path, while the working directory changes."""

from __future__ import annotations

import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from annbatch import DatasetCollection, Loader
from annbatch.errors import StoreError

pytest.importorskip("xarray", reason="reading lazily needs xarray")
pytestmark = pytest.mark.filterwarnings(
    "ignore:Writing zarr v2 data will no longer be the default",  # anndata before 0.13
    "ignore:Concatenating with a pandas numeric:UserWarning",
)

N = 12
KEYS = ("X", "obs", "layers/dense", "obsm/table")
COLUMNS = ["number", "text", "kind", "masked"]


def cells(seed: int, *, names: str = "c", n_stored: int = 2 * N) -> ad.AnnData:
    obs = pd.DataFrame(
        {
            "number": np.arange(N) + 100 * seed,
            "text": [f"{seed}-{i}" for i in range(N)],
            "kind": pd.Categorical([f"{seed}-{i % 3}" for i in range(N)]),
            "masked": pd.array([None, *[seed] * (N - 1)], dtype="Int64"),
        },
        index=[f"{names}{i}" for i in range(N)],
    )
    matrix = sp.random(N, 6, n_stored / N / 6, "csr", dtype="f4", random_state=seed)
    dense, table = np.full((N, 6), seed, "f4"), obs[["number", "kind"]]
    return ad.AnnData(matrix, obs, obsm={"table": table}, layers={"dense": dense})


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Change the working directory to one of two folders that hold stores of the same name; begin in the first."""

    def to(name: str, adata: ad.AnnData | None = None) -> None:
        folder = tmp_path / name
        if adata is not None:
            folder.mkdir()
            with ad.settings.override(auto_shard_zarr_v3=False):
                adata.write_zarr(folder / "a.zarr", convert_strings_to_categoricals=False)
        monkeypatch.chdir(folder)

    to("mine", cells(1))
    return to


def make() -> Loader:
    return Loader(batch_size=N, chunk_size=N, preload_nchunks=1, keys=KEYS)


def assert_holds(batch: dict, adata: ad.AnnData) -> None:
    assert (batch["X"] != adata.X).nnz == 0
    np.testing.assert_array_equal(batch["layers"]["dense"], adata.layers["dense"])
    for found, frame in ((batch["obs"][COLUMNS], adata.obs), (batch["obsm"]["table"], adata.obsm["table"])):
        pd.testing.assert_frame_equal(found.astype(str), frame.astype(str))


def test_a_loader_stays_in_the_folder_in_which_it_was_made(go):
    loader = make().add_adata(ad.experimental.read_lazy("a.zarr"))
    go("other", cells(2))
    assert_holds(next(iter(loader)), cells(1))


def test_concatenated_stores_stay_in_their_folders(go):
    both = ad.concat([ad.experimental.read_lazy("a.zarr") for _ in range(2)], index_unique="-")
    loader = Loader(batch_size=2 * N, chunk_size=N, preload_nchunks=2, keys=("obs", "layers/dense")).add_adata(both)
    go("other", cells(2))
    batch = next(iter(loader))
    twice = pd.concat([cells(1).obs] * 2)[COLUMNS[:3]]  # concatenating makes floats of nullable integers
    assert batch["obs"][COLUMNS[:3]].astype(str).to_dict("list") == twice.astype(str).to_dict("list")
    assert (batch["layers"]["dense"] == 1).all()


def test_a_conversion_reads_the_store_that_was_opened(go, tmp_path):
    lazy = ad.experimental.read_lazy("a.zarr")
    Loader(batch_size=N).add_adata(lazy)
    go("other", cells(2))
    collection = DatasetCollection(tmp_path / "c.zarr").add_adatas(["a"], load_adata=lambda _: lazy, shuffle=False)
    assert_holds(next(iter(make().use_collection(collection))), cells(1))


OTHERS = {
    "names": (lambda: cells(2, names="d"), r"other/a.zarr must have the names of rows that the lazily read"),
    "shapes": (
        lambda: cells(2, n_stored=3 * N),
        r"`X/\w+` of a.zarr must be the array of shape \(24,\) .* got another of shape \(36,\) .*other/a.zarr: open",
    ),
    "nothing": (None, r"X/\w+` of a.zarr must be the array .* that was opened, got none in .*other/a.zarr: open"),
}


USES = {
    "load": lambda lazy, folder: make().add_adata(lazy),
    "convert": lambda lazy, folder: DatasetCollection(folder / "c.zarr").add_adatas(["a"], load_adata=lambda _: lazy),
}


@pytest.mark.parametrize(("other", "message"), OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("use", USES)
def test_another_store_of_the_name_is_an_error(go, tmp_path, other, message, use):
    lazy = ad.experimental.read_lazy("a.zarr")
    if other is None:
        go("other", cells(1))
        shutil.rmtree("a.zarr")
    else:
        go("other", other())
    with pytest.raises(StoreError, match=message):
        USES[use](lazy, tmp_path)


def test_selected_rows_are_read_of_the_store_that_was_opened(go):
    loader = Loader(batch_size=4, keys=("obs",)).add_adata(ad.experimental.read_lazy("a.zarr")[[5, 1, 7, 3]])
    go("other", cells(2))
    obs = next(iter(loader))["obs"]
    pd.testing.assert_frame_equal(obs[COLUMNS].astype(str), cells(1).obs.iloc[[5, 1, 7, 3]].astype(str))
