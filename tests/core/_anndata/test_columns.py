"""Columns of stored data frames: of old versions, of other languages, and damaged ones, which are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from annbatch import Loader
from annbatch._anndata.frames import StoredFrame, stored_frame
from annbatch._format.attributes import COMPLETE_ATTRIBUTE
from annbatch.collection._inputs.columns import RangeValues
from annbatch.errors import CorruptDataError, StoreError

FRAME = pd.DataFrame(
    {
        "label": pd.Categorical(["b", None, "a"], categories=["b", "a"]),
        "age": pd.array([1, None, 3], dtype="Int64"),
        "ill": pd.array([True, None, False], dtype="boolean"),
        "note": pd.array(["x", None, "y"], dtype="string"),
        "text": np.array(["u", "ü", ""], dtype=object),
        "n": [1, 2, 3],
    },
    index=pd.Index(list("pqr"), dtype=object),
)
FRAME["text"] = FRAME["text"].astype(object)  # which pandas 3 takes for another dtype, which may be missing
READERS = pytest.mark.parametrize("open_values", [None, RangeValues], ids=["loading", "conversion"])
KINDS = pytest.mark.parametrize("kind", ["h5", "zarr"])


def store(folder: Path, kind: str, frame: pd.DataFrame = FRAME) -> Any:
    root = h5py.File(folder / "a.h5", "w") if kind == "h5" else zarr.open_group(folder / "a.zarr", mode="w")
    with ad.settings.override(auto_shard_zarr_v3=False, allow_write_nullable_strings=True):
        ad.io.write_elem(root, "obs", frame)
    return root["obs"]


def read(group: Any, open_values: Any) -> pd.DataFrame:
    frame = StoredFrame(group, open_values)
    rows = np.arange(frame.n_rows)
    columns = {name: pd.Series(values := frame.column(name).take(rows), dtype=values.dtype) for name in frame.columns}
    return pd.DataFrame(columns).set_axis(pd.Index(frame.read_names(), dtype=object, name=frame.index_name))


def make_old(group: Any, names: list[str], *, reference: bool = True) -> None:
    """Store categorical columns as anndata 0.7 did: codes, and categories beside them."""
    group.attrs["encoding-version"] = "0.1.0"
    for name in names:
        codes, categories, ordered = group[name]["codes"][:], group[name]["categories"][:], group[name].attrs["ordered"]
        del group[name]
        if isinstance(group, h5py.Group):
            group[name] = codes
            group[f"__categories/{name}"] = categories
            target = group[f"__categories/{name}"]
            target.attrs["ordered"] = ordered
            group[name].attrs["categories"] = target.ref if reference else h5py.Reference()
        else:
            group.create_array(name, data=codes)
            with ad.settings.override(auto_shard_zarr_v3=False):
                ad.io.write_elem(group.require_group("__categories"), name, categories)
            group[f"__categories/{name}"].attrs["ordered"] = bool(ordered)
            if reference:
                group[name].attrs["categories"] = f"__categories/{name}"
    for name in group.attrs["column-order"]:
        for key in ("encoding-type", "encoding-version"):
            group[name].attrs.pop(key, None)


@READERS
@KINDS
@pytest.mark.parametrize("reference", [True, False], ids=["", "lost reference"])
def test_categories_of_anndata_0_7_are_labels_and_not_codes(tmp_path, kind, open_values, reference):
    frame = FRAME[["label", "text", "n"]].assign(grade=pd.Categorical(["lo", "hi", "lo"], ["lo", "hi"], ordered=True))
    frame.index = pd.CategoricalIndex(frame.index)
    group = store(tmp_path, kind, frame)
    make_old(group, ["label", "grade", "_index"], reference=reference)
    pd.testing.assert_frame_equal(read(group, open_values), frame.set_axis(frame.index.astype(object)))


@READERS
def test_text_of_fixed_length_is_decoded(tmp_path, open_values):
    group = store(tmp_path, "h5", FRAME[["text", "label"]].rename_axis("cell"))

    def fix(_: str, element: Any) -> None:
        for key, value in list(element.attrs.items()):
            if isinstance(value, str):
                element.attrs[key] = np.bytes_(value)
            elif isinstance(value, np.ndarray) and value.dtype.kind == "O":
                element.attrs[key] = np.array([name.encode() for name in value])

    group.visititems(fix)
    fix("", group)
    for name in ("text", "cell"):
        values = [value.encode() for value in group[name].asstr()[:]]
        attributes = dict(group[name].attrs)
        del group[name]
        group[name] = np.array(values)
        group[name].attrs.update(attributes)
    pd.testing.assert_frame_equal(read(group, open_values), FRAME[["text", "label"]].rename_axis("cell"))


def put(name: str, values: Any) -> Callable[[Any], None]:
    """Return a function that replaces an array of a group, and keeps its attributes."""

    def act(group: Any) -> None:
        attributes = dict(group[name].attrs)
        del group[name]
        if isinstance(group, h5py.Group):
            group[name] = values
        else:
            group.create_array(name, data=np.asarray(values))
        group[name].attrs.update(attributes)

    return act


def drop(name: str) -> Callable[[Any], None]:
    return lambda group: group.__delitem__(name)


DAMAGE = {
    "a code that is too large": ("label", put("label/codes", np.array([0, 2, 1], "i1")), "codes from -1 to 1, got 2"),
    "a negative code": ("label", put("label/codes", np.array([0, -2, 1], "i1")), "codes from -1 to 1, got -2"),
    "an unsigned code": ("label", put("label/codes", np.array([0, 2**64 - 1, 1], "u8")), "codes from -1 to 1"),
    "codes that are floats": ("label", put("label/codes", [0.0, 1.0, 0.0]), "integers as codes, got float64"),
    "too few codes": ("label", put("label/codes", np.array([0], "i1")), "must have 3 rows, as the index has, got 1"),
    "codes of two dimensions": ("label", put("label/codes", np.zeros((3, 2), "i1")), "one dimension"),
    "no codes": ("label", drop("label/codes"), "cannot be read, KeyError"),
    "no categories": ("label", drop("label/categories"), "cannot be read, KeyError"),
    "repeated categories": ("label", put("label/categories", [1, 1]), r"cannot be read, \w+Error"),
    "a category that is missing": ("label", put("label/categories", [1, np.nan]), r"cannot be read, \w+Error"),
    "a short mask": ("age", put("age/mask", [True]), "boolean mask of the same shape"),
    "a mask of numbers": ("age", put("age/mask", [0, 1, 0]), "boolean mask of the same shape"),
    "fractions as integers": ("age", put("age/values", [0.5, 1, 0]), "values of its encoding"),
    "numbers as booleans": ("ill", put("ill/values", [0, 1, 0]), "values of its encoding"),
    "a short mask of strings": ("note", put("note/mask", [True]), "boolean mask of the same shape"),
    "no mask": ("note", drop("note/mask"), "cannot be read, KeyError"),
    "too few numbers": ("n", put("n", [1, 2]), "must have 3 rows, as the index has, got 2"),
    "numbers of two dimensions": ("n", put("n", np.ones((3, 2))), "cannot be read, ValueError"),
    "no column": ("n", drop("n"), "cannot be read, KeyError"),
    "no index": ("_index", drop("_index"), "cannot be read, KeyError"),
    "no name of the index": ("obs", lambda group: group.attrs.__delitem__("_index"), "cannot be read, KeyError"),
    "repeated names": ("n", lambda group: group.attrs.__setitem__("column-order", ["n", "n"]), "repeat names of col"),
    "an unknown encoding": ("n", lambda group: group["n"].attrs.__setitem__("encoding-type", "new"), "IORegistryErr"),
}


@pytest.mark.slow
@READERS
@KINDS
@pytest.mark.parametrize(("column", "damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_column_is_named_with_its_file(tmp_path, kind, open_values, column, damage, message):
    group = store(tmp_path, kind)
    damage(group)
    with pytest.raises(CorruptDataError, match=message) as caught:
        read(group, open_values)
    assert column in str(caught.value)
    assert f"a.{kind}" in str(caught.value)


@READERS
def test_bytes_that_are_not_utf_8_are_named(tmp_path, open_values):
    group = store(tmp_path, "h5", FRAME[["text"]])
    put("text", np.array([b"a", b"\xff", b"c"]))(group)
    with pytest.raises(CorruptDataError, match=r"`obs/text` of .*a.h5 cannot be read, UnicodeDecodeError"):
        read(group, open_values)


@READERS
@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 20, 30], ["10", "20", "30"]),
        ([0.5, 1, 2], ["0.5", "1.0", "2.0"]),
        (np.array([b"x", "ü".encode(), b"z"]), ["x", "ü", "z"]),
        (pd.Categorical(["b", "a", "b"]), ["b", "a", "b"]),
        (pd.array(["b", "a", "c"], dtype="string"), ["b", "a", "c"]),
    ],
)
def test_names_of_any_type_become_strings(tmp_path, open_values, values, names):
    group = store(tmp_path, "h5", FRAME[["n"]])
    del group["_index"]
    with ad.settings.override(allow_write_nullable_strings=True):
        ad.io.write_elem(group, "_index", values)
    assert StoredFrame(group, open_values).read_names().tolist() == names


@READERS
def test_codes_may_be_unsigned(tmp_path, open_values):
    names = [f"c{i:03}" for i in range(200)]
    group = store(tmp_path, "h5", pd.DataFrame({"label": pd.Categorical(names)}, index=names))
    put("label/codes", np.arange(200, dtype="u1"))(group)
    assert read(group, open_values)["label"].tolist() == names


@READERS
@pytest.mark.parametrize("name", ["label/codes", "text", "age/mask", "_index"])
def test_a_missing_chunk_of_a_complete_array_is_damage(tmp_path, open_values, name):
    group = store(tmp_path, "zarr")
    group[name].attrs[COMPLETE_ATTRIBUTE] = True
    (tmp_path / "a.zarr" / "obs" / name / "c" / "0").unlink()
    with pytest.raises(CorruptDataError, match=rf"obs/{name}"):
        read(zarr.open_group(tmp_path / "a.zarr", mode="r")["obs"], open_values)


@READERS
@pytest.mark.parametrize("name", ["x" * 5_000, "a\0b", "../../etc", "x/zarr.json/y", ".", ""])
def test_a_name_that_can_be_none_is_an_error(tmp_path: Path, open_values: Any, name: str) -> None:
    frame = store(tmp_path, "zarr")
    frame.attrs["column-order"] = [name]
    with pytest.raises(CorruptDataError, match=r"`obs` of .*cannot be read"):
        read(frame, open_values)


@KINDS
@READERS
def test_categories_and_names_of_other_machines(tmp_path: Path, kind: str, open_values: Any) -> None:
    obs = store(tmp_path, kind)
    for name, values in (("label/categories", np.array([3, 1], ">i4")), ("n", np.array([1, 2, 3], ">f8"))):
        del obs[name]
        place, _, last = name.rpartition("/")
        holder = obs[place] if place else obs
        holder.create_dataset(last, data=values) if kind == "h5" else holder.create_array(last, data=values)
    read = StoredFrame(obs, open_values).read(["label", "n"])
    expected = pd.Series(
        pd.Categorical.from_codes([0, -1, 1], np.array([3, 1], np.int32)), index=FRAME.index, name="label"
    )
    pd.testing.assert_series_equal(read["label"], expected, check_index_type=False, check_categorical=True)
    assert read["n"].tolist() == [1.0, 2.0, 3.0]
    assert read["label"].cat.categories.dtype.isnative


def test_a_frame_without_an_attribute_is_refused_by_that(tmp_path: Path) -> None:
    obs = store(tmp_path, "h5")
    for lacking in ("_index", "column-order"):
        kept = obs.attrs[lacking]
        del obs.attrs[lacking]
        with pytest.raises(StoreError, match=f"`obs` of .* got one without the attribute '{lacking}'"):
            stored_frame(obs)
        obs.attrs[lacking] = kept


def test_a_column_of_any_name_makes_no_frame_lazy() -> None:
    adata = ad.AnnData(np.eye(3), obs=pd.DataFrame({"true_index": [1, 2, 3], "ds": 1}, index=list("abc")))
    adata.obsm["frame"] = adata.obs.copy()
    batch = next(iter(Loader(batch_size=3, keys=("X", "obs", "obsm/frame")).add_adata(adata)))
    assert batch["obs"]["true_index"].tolist() == batch["obsm"]["frame"]["true_index"].tolist() == [1, 2, 3]


def test_an_index_of_several_levels_is_refused() -> None:
    adata = ad.AnnData(np.eye(3), obs=pd.DataFrame({"n": [1, 2, 3]}, index=list("abc")))
    adata.obs.index = pd.MultiIndex.from_product([["a"], range(3)])
    with pytest.raises(ValueError, match=r"`obs` must have one name per row, got an index of 2 levels"):
        Loader(batch_size=3).add_adata(adata)


def test_a_frame_that_is_read_lazily_keeps_categories_that_no_row_has(tmp_path: Path) -> None:
    label = pd.Categorical(["a", None, "b"], categories=["z", "b", "a"], ordered=True)
    adata = ad.AnnData(np.eye(3), obs=pd.DataFrame({"label": label}, index=list("abc")))
    adata.write_h5ad(tmp_path / "a.h5ad")
    loader = Loader(batch_size=3).add_adata(ad.experimental.read_lazy(tmp_path / "a.h5ad"))
    (batch,) = loader
    assert batch["obs"]["label"].tolist() == adata.obs["label"].tolist()
    assert batch["obs"]["label"].cat.categories.tolist() == ["z", "b", "a"]
    assert batch["obs"]["label"].cat.ordered
