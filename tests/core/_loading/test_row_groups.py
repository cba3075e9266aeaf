"""Statistics by group of rows, against NumPy on the rows of each."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annbatch import DatasetCollection, Loader, statistics
from annbatch.transforms import NormalizeLog1p


def counts(n_rows: int = 300, n_columns: int = 40, most: float = 3.0) -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    dense = rng.poisson(rng.gamma(0.2, most, n_columns), (n_rows, n_columns))
    dense[3], dense[:, 1] = 0, 0
    return sp.csr_matrix(dense.astype("float32"))


def check_all(found, x) -> None:
    """Compare the statistics of all rows with those of one pass without groups."""
    alone = statistics(Loader().add_dataset(x))
    pd.testing.assert_frame_equal(found.cells, alone.cells)
    np.testing.assert_array_equal(found.genes["n_nonzero"], alone.genes["n_nonzero"])
    np.testing.assert_allclose(found.genes.to_numpy(), alone.genes.to_numpy(), rtol=1e-9, atol=1e-12)


def check_groups(found, x, labels, *, ddof: int = 1, rtol: float = 1e-12) -> None:
    """Compare the statistics of each group with NumPy's on its rows; sums of integers must be the same."""
    dense = np.asarray(x.toarray() if sp.issparse(x) else x).astype(np.float64)
    names = found.groups.index
    assert found.genes_by_group["mean"].columns.equals(names)
    for name in names:
        rows = dense[np.asarray(labels) == name]
        assert found.groups.loc[name, "n_cells"] == len(rows)
        of_group = found.genes_by_group.xs(name, axis=1, level=1)
        np.testing.assert_allclose(of_group["mean"], rows.mean(axis=0), rtol=rtol)
        variance = rows.var(axis=0, ddof=ddof) if len(rows) > ddof else np.full(dense.shape[1], np.nan)
        np.testing.assert_allclose(of_group["variance"], variance, rtol=max(rtol, 1e-9), atol=1e-12)
        np.testing.assert_array_equal(of_group["n_nonzero"], (rows != 0).sum(axis=0))
        if (dense == np.rint(dense)).all():
            np.testing.assert_array_equal(of_group["total"], rows.sum(axis=0))
        np.testing.assert_allclose(of_group["total"], rows.sum(axis=0), rtol=rtol)


def labelled(x, **columns) -> ad.AnnData:
    names = [f"c{row}" for row in range(x.shape[0])]
    return ad.AnnData(x, obs=pd.DataFrame(columns, index=names))


@pytest.mark.slow
@pytest.mark.parametrize("most", [3, 1e5], ids=["small", "large"])
def test_each_group_is_measured_as_numpy_does(tmp_path, most):
    x, kind = counts(most=most), np.random.default_rng(1).choice(["b", "a", "c"], 300)
    labelled(x, kind=pd.Categorical(kind, categories=["c", "b", "a", "none"])).write_h5ad(tmp_path / "a.h5ad")
    labelled(x[:7], kind=["d"] * 7).write_h5ad(tmp_path / "b.h5ad")
    collection = DatasetCollection(tmp_path / "all.zarr").add_adatas(
        [tmp_path / "a.h5ad", tmp_path / "b.h5ad"], shuffle=False, progress=False, n_obs_per_chunk=4
    )
    both, labels = sp.vstack([x, x[:7]]), np.append(kind, ["d"] * 7)

    found = statistics(collection, "kind")

    check_all(found, both)
    check_groups(found, both, labels)
    assert found.groups.index.tolist() == [*collection.obs()["kind"].cat.categories.drop("none")]
    assert found.groups.index.name == "kind"
    pd.testing.assert_frame_equal(found.genes, statistics(collection).genes)
    for data in (tmp_path / "all.zarr", collection.to_adata(), Loader(collection)):
        pd.testing.assert_frame_equal(statistics(data, "kind").genes_by_group, found.genes_by_group, check_names=False)
    assert statistics(collection).groups is statistics(collection).genes_by_group is None


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("form", [sp.csr_matrix, np.asarray], ids=["sparse", "dense"])
def test_groups_of_matrices_of_every_dtype(monkeypatch, form, dtype):
    monkeypatch.setattr("annbatch._elements.measured.MEASURED_ROWS", 16)
    x = counts(most=100).toarray() * {"f": 0.37, "i": -1}.get(dtype[0], 1)
    if form is sp.csr_matrix and dtype == "float16":
        pytest.skip("SciPy has no such matrices")
    x, labels = x.astype(dtype), np.arange(300) // 7 % 5

    for groupby in (labels, pd.Series(labels), pd.Categorical(labels), pd.Index(labels)):
        found = statistics(Loader().add_dataset(form(x)), groupby)
        check_all(found, x)
        check_groups(found, x, labels, rtol=1e-9)


def test_combinations_of_columns_are_groups(tmp_path):
    x, rng = counts(), np.random.default_rng(0)
    donor, kind = rng.choice(["d1", "d2"], 300), rng.choice(["a", "b"], 300)
    kind[donor == "d2"] = "b"  # so that one combination has no cells

    found = statistics(labelled(x, donor=donor, kind=kind), ["donor", "kind"])

    assert found.groups.index.names == ["donor", "kind"]
    assert found.groups.index.tolist() == [("d1", "a"), ("d1", "b"), ("d2", "b")]
    assert found.genes_by_group.columns.names == ["statistic", "donor", "kind"]
    rows = x.toarray()[(donor == "d1") & (kind == "b")]
    np.testing.assert_array_equal(found.genes_by_group["total", "d1", "b"], rows.sum(axis=0))


def test_rows_without_a_label_are_in_no_group():
    x, kind = counts(), np.array(["a", "b", None] * 100, dtype=object)
    adata = labelled(x, kind=pd.Categorical(kind))

    with pytest.warns(
        UserWarning, match=r"Rows without a label in column 'kind' are in no group: 100 of 300\."
    ) as seen:
        found = statistics(adata, "kind")

    assert seen[0].filename == __file__
    check_all(found, x)
    check_groups(found, x, kind)
    assert found.groups["n_cells"].tolist() == [100, 100]
    with pytest.raises(ValueError, match=r"`groupby` must give labels to rows, got none in column 'kind' for 1 rows"):
        statistics(adata, "kind", rows=[2])


def test_groups_of_some_rows_columns_and_values(tmp_path):
    x, labels = counts(), np.arange(300) % 4
    adata = labelled(x, kind=labels.astype(str))
    adata.var_names = [f"gene{column}" for column in range(40)]
    rows = np.arange(0, 300, 3)

    found = statistics(adata, "kind", rows=rows, ddof=0)
    check_groups(found, x[rows], labels[rows].astype(str), ddof=0)

    names = ["gene7", "gene2", "gene39"]
    loader = Loader(var_names=names, transform=NormalizeLog1p(1e4), batch_size=300).add_adata(adata)
    found = statistics(loader, "kind")
    check_groups(found, next(iter(loader))["X"], labels.astype(str), rtol=1e-6)
    assert found.genes_by_group.index.tolist() == names


def test_more_rows_in_a_group_than_a_bit_field_holds():
    x, labels = np.full((80_000, 2), 63, np.uint8), np.repeat([0, 1, 0, 2], 20_000)

    check_groups(statistics(Loader().add_dataset(sp.csr_matrix(x)), labels), x, labels)


def test_a_column_that_a_row_repeats_counts_once_in_its_group():
    data, indices = np.array([200, 100, 1, 7, 5, 0], np.uint8), np.array([2, 2, 0, 1, 0, 2])
    x = sp.csr_matrix((data, indices, [0, 3, 3, 6]), shape=(3, 3))

    found = statistics(Loader().add_dataset(x), np.array(["a", "a", "b"]))

    check_groups(found, np.array([[1, 0, 300], [0, 0, 0], [5, 7, 0]]), ["a", "a", "b"])
    assert x.data.tolist() == data.tolist()


def test_groups_of_the_rows_of_a_modality():
    mudata = pytest.importorskip("mudata", reason="needs mudata: pip install mudata")
    if hasattr(mudata, "set_options"):
        mudata.set_options(pull_on_update=False)  # the default from 0.4 on
    x, kind = counts(20, 4), np.repeat(["a", "b"], 10)
    part = ad.AnnData(x[::2], obs=pd.DataFrame(index=[f"c{row}" for row in range(0, 20, 2)]))
    part.var_names = [f"p{column}" for column in range(4)]
    data = mudata.MuData({"rna": labelled(x), "part": part})
    data.obs["kind"] = kind
    loader = Loader(keys=["mod/part/X", "obs"]).add_adata(data)

    check_groups(statistics(loader, "kind", key="mod/part/X"), x[::2], kind[::2])


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_groups_of_any_counts(data):
    n_rows, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 6))
    x = data.draw(arrays(np.int64, (n_rows, width), elements=st.sampled_from([0, 0, 1, 2, 63, 64, 70_000, -3])))
    labels = data.draw(arrays(np.int64, n_rows, elements=st.integers(0, 5)))

    found = statistics(Loader().add_dataset(sp.csr_matrix(x)), labels)

    check_all(found, x)
    check_groups(found, x, labels, rtol=1e-9)


def test_wrong_groups_are_refused_before_any_row_is_read(tmp_path):
    adata = labelled(counts(), kind=["a"] * 300, row=np.arange(300))

    with pytest.raises(KeyError, match=r"`groupby` must be columns of obs.*got \['kin'\]; did you mean 'kind'\?"):
        statistics(adata, "kin")
    with pytest.raises(KeyError, match="`groupby` must be columns of obs that the loader reads"):
        statistics(Loader(keys=["X"]).add_adata(adata), ["kind", "row"])
    with pytest.raises(ValueError, match=r"`groupby` must have one label per row of the data \(300\), got 3"):
        statistics(adata, np.arange(3))
    for wrong in (3, [], [1, 2], ["kind", 3], np.ones((300, 2))):
        with pytest.raises(TypeError, match="`groupby` must be a column of obs, a list of columns, or an array"):
            statistics(adata, wrong)
    with pytest.raises(
        ValueError, match=r"`memory_limit` must be at least 1\.1 MB for 300 groups of 40 columns, got 1"
    ):
        statistics(adata, "row", memory_limit="1 MB")
    with pytest.raises(ValueError, match="must have rows"):
        statistics(Loader(), "kind")


def test_groups_are_shown():
    found = statistics(labelled(counts(), kind=["a", "b"] * 150, donor=["x"] * 300), ["donor", "kind"])

    assert repr(found).splitlines()[-1] == "  groups: 2 by donor, kind; genes_by_group"
    assert "<td" in found._repr_html_()
    assert "x, a" in found._repr_html_()
