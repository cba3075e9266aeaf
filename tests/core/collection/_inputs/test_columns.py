"""A column is read in the same blocks from a file, from a store and from memory."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from annbatch import DatasetCollection
from annbatch._anndata.frames import MemoryFrame, StoredFrame
from annbatch.collection._inputs.columns import ColumnInfo, ColumnReader, RangeValues, unite
from annbatch.errors import CorruptDataError

COLUMNS = {
    "float": np.array([0.5, np.nan, -1], np.float32),
    "bool": np.array([True, False, True]),
    "text": np.array(["a", "ü", ""], dtype=object),
    "category": pd.Categorical(["x", None, "y"], categories=["y", "x"], ordered=True),
    "nullable": pd.array([1, None, 3], dtype="Int16"),
    "nullable bool": pd.array([True, None, False], dtype="boolean"),
    "nullable text": pd.array(["a", None, "b"], dtype="string"),
}


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("name", COLUMNS)
def test_blocks(tmp_path: Path, kind: str, name: str) -> None:
    frame = pd.DataFrame({name: COLUMNS[name]}, index=list("pqr"))
    file = h5py.File(tmp_path / "a.h5", "w") if kind == "h5ad" else zarr.open_group(tmp_path / "a.zarr", mode="w")
    with ad.settings.override(auto_shard_zarr_v3=False, allow_write_nullable_strings=True):
        ad.io.write_elem(file, "obs", frame)
    held, stored = (
        ColumnReader(one.column(name), 3, name) for one in (MemoryFrame(frame), StoredFrame(file["obs"], RangeValues))
    )
    assert held.info.kind == stored.info.kind
    for start, stop in [(0, 3), (1, 2), (2, 3), (1, 1)]:
        expected, block = (reader.read(start, stop) for reader in (held, stored))
        assert expected.dtype == block.dtype == stored.info.block_dtype
        assert block.shape == (stop - start,)
        np.testing.assert_array_equal(block, expected)
    whole = pd.Series(stored.info.assemble(stored.read(0, 3)), index=frame.index, name=name)
    pd.testing.assert_series_equal(whole, frame[name], check_dtype=False)


@pytest.mark.parametrize("other", [[1, 0], [1.0, 0.0], ["a"], [2, 3]])
def test_booleans_do_not_mix_with_other_categories(other: list[object]) -> None:
    columns = [
        ColumnInfo("categorical", np.dtype(np.int32), pd.Index(values)) for values in ([True, False], other, [True])
    ]
    with pytest.raises(TypeError, match=r"Column 'c' must hold one kind of values in all inputs, got categories \(boo"):
        unite(columns, "Column 'c'", ["a.h5ad", "b.h5ad", "c.h5ad"])


@pytest.mark.parametrize("categories", [pd.interval_range(0, 2), [1, "a"], [True, "a"], [(1, 2), (3, 4)]])
def test_categories_that_a_store_would_change_are_refused(categories: object) -> None:
    frame = pd.DataFrame({"c": pd.Categorical([None], categories=categories)})
    with pytest.raises(TypeError, match=r"Column 'c' of `obs` of a.h5ad must have categories of one kind"):
        ColumnReader(MemoryFrame(frame).column("c"), 1, "Column 'c' of `obs` of a.h5ad")


ODD = {
    "arrays of any length": np.array([np.arange(2), np.arange(1), np.arange(0)], dtype=object),
    "references": None,
    "long doubles": np.arange(3, dtype=np.longdouble),
    "records": np.zeros(3, dtype=[("a", "i4")]),
}


@pytest.mark.parametrize("what", ODD)
def test_columns_of_hdf5_that_no_store_holds_are_refused_and_not_taken_for_strings(tmp_path: Path, what: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        with ad.settings.override(auto_shard_zarr_v3=False):
            ad.io.write_elem(file, "obs", pd.DataFrame({"n": [1, 2, 3]}, index=list("pqr")))
        values, dtype = ODD[what], None
        if what == "references":
            values, dtype = np.array([file["obs"].ref] * 3, dtype=object), h5py.ref_dtype
        elif what == "arrays of any length":
            dtype = h5py.vlen_dtype(np.int64)
        del file["obs/n"]
        file["obs"].create_dataset("n", data=values, dtype=dtype)
        with pytest.raises((TypeError, CorruptDataError), match="Column 'n' of `obs`"):
            ColumnReader(StoredFrame(file["obs"], RangeValues).column("n"), 3, "Column 'n' of `obs`")


@pytest.mark.parametrize("values", [["a", "\udcff"], pd.Categorical(["\ud800", "a"])])
def test_text_that_utf_8_has_not_is_refused_before_any_work(values: object) -> None:
    frame = pd.DataFrame({"c": pd.Series(values, dtype=object if isinstance(values, list) else None)})
    with pytest.raises(TypeError, match=r"Column 'c' of `obs` must hold text that UTF-8 has, got '\\ud"):
        ColumnReader(MemoryFrame(frame).column("c"), 2, "Column 'c' of `obs`")


@pytest.mark.skipif(pd.__version__.startswith("2."), reason="before pandas 3, anndata writes no missing strings as NaN")
def test_missing_strings_stay_nan_or_na(tmp_path: Path) -> None:
    kinds = {"nan": pd.StringDtype(na_value=np.nan), "na": pd.StringDtype()}
    for name, kind in kinds.items():
        obs = pd.DataFrame({"s": pd.array(["a", None, "b"], dtype=kind)}, index=[f"{name}{i}" for i in range(3)])
        with ad.settings.override(auto_shard_zarr_v3=False, allow_write_nullable_strings=True):
            made = ad.AnnData(np.eye(3), obs=obs)
            made.write_h5ad(tmp_path / f"{name}.h5ad", convert_strings_to_categoricals=False)
    for names, kind in ((["nan"], kinds["nan"]), (["na"], kinds["na"]), (["nan", "na"], kinds["na"])):
        for load_adata in (None, ad.read_h5ad):
            collection = DatasetCollection(tmp_path / "c.zarr").add_adatas(
                [tmp_path / f"{name}.h5ad" for name in names], progress=False, load_adata=load_adata, overwrite=True
            )
            read = collection.to_adata().obs["s"]
            assert read.dtype == kind
            assert read.isna().sum() == len(names)
