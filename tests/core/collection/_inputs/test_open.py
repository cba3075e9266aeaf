"""Inputs are opened with what they hold, or refused with their name, the element and the way out, before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from annbatch import DatasetCollection, Loader
from annbatch.errors import StoreError

pytestmark = pytest.mark.filterwarnings("ignore:Forward slashes:FutureWarning")  # by anndata


def cells() -> ad.AnnData:
    names = [f"c{i}" for i in range(6)]
    x = sparse.random(6, 3, 0.5, format="csr", dtype="f4", random_state=0)
    return ad.AnnData(x, obs=pd.DataFrame({"k": pd.Categorical(list("ababab"))}, index=names))


def add(element: str, key: object, values: object) -> Callable[[ad.AnnData], None]:
    return lambda adata: getattr(adata, element).__setitem__(key, values)


MATRIX = np.ones((6, 2), "f4")
REFUSED = {
    "a slash in obs": (add("obs", "G2/M", 1), "Column 'G2/M' of `obs`"),
    "a name of anndata's own": (add("obs", "dtype", 1), "Column 'dtype' of `obs`"),
    "a slash in var": (add("var", "G2/M", 1), "Column 'G2/M' of `var`"),
    "a slash in layers": (add("layers", "a/b", np.ones((6, 3))), r"`layers/a(/b)?` of"),
    "a slash in obsm": (add("obsm", "a/b", MATRIX), r"`obsm/a(/b)?` of"),
    "a slash in a data frame": (
        add("obsm", "t", pd.DataFrame({"a/b": range(6)}, index=[f"c{i}" for i in range(6)])),
        "Column 'a/b' of `obsm/t`",
    ),
    "a reserved name": (add("obs", "zarr.json", 1), "Column 'zarr.json' of `obs`"),
    "a name of dots": (add("obs", "..", 1), r"Column '\.\.' of `obs`"),
    "a long name": (add("obs", "x" * 256, 1), "Column 'xxx"),
    "a name that is a number": (add("obs", 0, 1), "Column 0 of `obs`"),
    "a slash in the index": (lambda adata: setattr(adata.obs.index, "name", "a/b"), "Index 'a/b' of `obs`"),
    "repeated names": (
        lambda adata: setattr(adata, "obs", pd.concat([adata.obs, adata.obs], axis=1)),
        r"`obs` of .* must not repeat names of columns, got \['k'\]",
    ),
    "strings in obsm": (add("obsm", "s", np.array([["a"], ["b"]] * 3)), "`obsm/s` of .* must be a dense or sparse m"),
    "records in obsm": (
        add("obsm", "r", np.array([(1, 2.0)] * 6, dtype=[("a", "i4"), ("b", "f4")])),
        "`obsm/r` of .* must be a dense or sparse m",
    ),
    "objects in uns": (add("uns", "o", object()), "`uns` of .* cannot be written: .*`load_adata`"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_collection_cannot_hold_is_refused_before_any_work(tmp_path, change, message) -> None:
    def load(path: Path) -> ad.AnnData:
        adata = cells()
        change(adata)
        return adata

    (tmp_path / "a.h5ad").touch()
    collection = DatasetCollection(tmp_path / "c.zarr")
    with pytest.raises((StoreError, ValueError), match=message) as caught:
        collection.add_adatas([tmp_path / "a.h5ad"], load_adata=load, progress=False)
    assert "a.h5ad" in str(caught.value)
    assert "rename" in str(caught.value) or "convert" in str(caught.value)
    assert not (tmp_path / "c.zarr").exists()


@pytest.mark.parametrize("where", ["obs", "var", "layers", "obsm"])
def test_a_slash_in_a_file_is_refused_before_any_work(tmp_path: Path, where: str) -> None:
    adata = cells()
    change, message = REFUSED[f"a slash in {where}"]
    try:
        change(adata)
        adata.write_h5ad(tmp_path / "a.h5ad")
    except ValueError:
        pytest.skip("this version of anndata writes no names with slashes")
    with pytest.raises(StoreError, match=f"{message}.*a.h5ad.*rename"):
        DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.h5ad"], progress=False)
    assert not (tmp_path / "c.zarr").exists()


def test_a_column_src_path_is_replaced_with_a_warning(tmp_path: Path) -> None:
    adata = cells()
    adata.obs["src_path"] = "mine"
    adata.write_h5ad(tmp_path / "a.h5ad")
    with pytest.warns(UserWarning, match=r"Column 'src_path' of `obs` is replaced .*a.h5ad: rename it with `load_ada"):
        DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.h5ad"], progress=False)


def test_an_index_named_src_path_is_no_column(tmp_path: Path) -> None:
    adata = cells()
    adata.obs.index.name = "src_path"
    adata.write_h5ad(tmp_path / "a.h5ad")
    obs = DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.h5ad"], shuffle=False, progress=False).obs()
    assert obs.index.tolist() == adata.obs_names.tolist()
    assert set(obs["src_path"]) == {str(tmp_path / "a.h5ad")}


def test_names_of_variables_that_are_numbers_join_as_strings(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.h5ad", "b.h5ad")]
    for path, names in zip(paths, ([7, 8, 9], [9, 7, 5]), strict=True):
        adata = cells()
        adata.var["gene"] = [f"g{name}" for name in names]
        adata.write_h5ad(path)
        with h5py.File(path, "r+") as file:
            del file["var/_index"]
            ad.io.write_elem(file["var"], "_index", np.array(names))
    collection = DatasetCollection(tmp_path / "c.zarr")
    collection.add_adatas(paths, shuffle=False, progress=False, merge="first")
    dataset = ad.io.read_elem(next(iter(collection)))
    assert dataset.var["gene"].dropna().to_dict() == {"7": "g7", "8": "g8", "9": "g9"}  # as anndata merges
    assert dataset.var_names.tolist() == ["7", "8", "9", "5"]
    x = cells().X.toarray()
    np.testing.assert_array_equal(dataset.X.toarray()[:6, :3], x)
    np.testing.assert_array_equal(dataset.X.toarray()[6:, [2, 0, 3]], x)


def make_old(file: h5py.File, kind: str) -> None:
    """Store a sparse matrix as anndata 0.6 did, or attributes as R and Julia do."""
    if kind == "0.6":
        x = file["X"]
        x.attrs["h5sparse_format"], x.attrs["h5sparse_shape"] = "csr", x.attrs["shape"]
        for key in ("encoding-type", "encoding-version", "shape"):
            del x.attrs[key]
        return

    def fix(_: str, element: Any) -> None:
        for key, value in list(element.attrs.items()):
            if isinstance(value, str):
                element.attrs[key] = np.bytes_(value)
            elif isinstance(value, np.ndarray) and value.dtype.kind == "O" and len(value):
                element.attrs[key] = np.array([name.encode() for name in value])

    file.visititems(fix)
    fix("", file)


@pytest.mark.parametrize("kind", ["0.6", "bytes"])
def test_old_and_foreign_files_are_read_as_anndata_reads_them(tmp_path: Path, kind: str) -> None:
    adata = cells()
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        make_old(file, kind)
    collection = DatasetCollection(tmp_path / "c.zarr")
    collection.add_adatas([tmp_path / "a.h5ad"], shuffle=False, progress=False)
    dataset = ad.io.read_elem(next(iter(collection)))
    np.testing.assert_array_equal(dataset.X.toarray(), adata.X.toarray())
    assert dataset.obs["k"].tolist() == adata.obs["k"].tolist()
    with h5py.File(tmp_path / "a.h5ad") as file:
        batch = next(iter(Loader(batch_size=6, chunk_size=6, preload_nchunks=1).add_adata(file)))
    np.testing.assert_array_equal(batch["X"].toarray(), adata.X.toarray())
    assert batch["obs"]["k"].tolist() == adata.obs["k"].tolist()


def test_data_frames_of_anndata_0_6_are_refused_with_the_way_out(tmp_path: Path) -> None:
    cells().write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        del file["obs"]
        file["obs"] = np.array([(b"c0", 1)] * 6, dtype=[("index", "S2"), ("k", "i1")])
    with pytest.raises(StoreError, match=r"`obs` of .*a.h5ad must be a data frame .*`load_adata`"):
        DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.h5ad"], progress=False)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("X/data", "`X` of .*a.h5ad cannot be read, KeyError"),
        ("obs/_index", "`obs` of .*a.h5ad cannot be read, KeyError"),
        ("var/_index", "`var` of .*a.h5ad cannot be read, KeyError"),
        ("obs/k/codes", "Column 'k' of `obs` of .*a.h5ad cannot be read, KeyError"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, path: str, message: str) -> None:
    cells().write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        del file[path]
    with pytest.raises(StoreError, match=message):
        DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.h5ad"], progress=False)
    with h5py.File(tmp_path / "a.h5ad") as file, pytest.raises(StoreError, match=message):
        next(iter(Loader(batch_size=6, chunk_size=6, preload_nchunks=1).add_adata(file)))


def test_an_error_of_load_adata_has_a_note_with_the_input(tmp_path: Path) -> None:
    (tmp_path / "a.h5ad").touch()
    with pytest.raises(ZeroDivisionError) as caught:
        DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.h5ad"], load_adata=lambda path: 1 / 0)
    assert caught.value.__notes__ == [f"While reading {tmp_path / 'a.h5ad'}."]


@pytest.mark.parametrize("column", ["k", "zeros"])
def test_a_chunk_of_obs_that_goes_missing_is_not_read_as_zeros(tmp_path: Path, column: str) -> None:
    adata = cells()
    adata.obs["zeros"] = 0
    adata.obs["k"] = pd.Categorical(["a"] * 6)
    adata.write_h5ad(tmp_path / "a.h5ad")
    collection = DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.h5ad"], progress=False)
    (missing,) = (tmp_path / "c.zarr" / "dataset_0" / "obs" / column).rglob("codes/c/0" if column == "k" else "c/0")
    missing.unlink()
    loader = Loader(batch_size=6, chunk_size=6, preload_nchunks=1).use_collection(collection)
    for act in (lambda: next(iter(loader)), collection.obs, collection.reshuffle):
        with pytest.raises(StoreError, match=rf"obs/{column}.* missing|obs/{column}.*must have 1 chunks, got 0"):
            act()


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_a_backed_view_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    counts = np.ones((4, 3), np.float32)
    ad.AnnData(sparse.csr_matrix(counts) if kind == "sparse" else counts).write_h5ad(tmp_path / "a.h5ad")
    backwards = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")[::-1]
    for add in (
        lambda: DatasetCollection(tmp_path / "c.zarr").add_adatas(
            [tmp_path / "a.h5ad"], load_adata=lambda _: backwards, progress=False
        ),
        lambda: Loader(keys="X").add_adata(backwards),
    ):
        # anndata 0.13 reads a sparse one with too few rows.
        with pytest.raises((StoreError, ValueError), match=r"`X` of .*a\.h5ad must (be a selection of a backed|have)"):
            add()
