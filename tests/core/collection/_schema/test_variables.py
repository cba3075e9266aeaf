"""What becomes of the variables of inputs: they are joined, chosen, merged and renamed as AnnData does it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from ..conftest import GENES, assert_holds, convert, make_cells, make_counts, read

Write = Callable[..., str]


@pytest.mark.parametrize("kind", ["csr", "dense"])
def test_different_genes_are_joined_in_the_order_of_appearance(tmp_path: Path, write: Write, kind: str) -> None:
    genes = [GENES[:20], GENES[10:][::-1], [*GENES[5:15], "new"]]
    cells = [make_cells(i, 15, kind=kind, genes=names) for i, names in enumerate(genes)]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths, dataset_size=30)
    assert list(collection.var_names) == [*GENES[:20], *GENES[20:][::-1], "new"]
    assert_holds(collection, dict(zip(paths, cells, strict=True)))
    if kind == "csr":
        for group in collection:
            assert ad.io.read_elem(group["X"]).has_sorted_indices


def test_var_subset_comes_in_the_order_given(tmp_path: Path, write: Write) -> None:
    cells = make_cells(0, 25)
    subset = ["gene7", "gene3", "gene29"]
    collection = convert(tmp_path / "c.zarr", [write(cells, "0.h5ad")], var_subset=subset, shuffle=False)
    (part,) = read(collection)
    assert list(part.var_names) == subset
    assert np.array_equal(part.X.toarray(), cells[:, subset].X.toarray())
    assert np.array_equal(part.layers["twice"].toarray(), cells[:, subset].layers["twice"].toarray())


def test_var_subset_with_unknown_names_warns(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 5), "0.h5ad")
    with pytest.warns(UserWarning, match=r"Dropping 1 variables of `var_subset` that no input has: \['nonsense'\]"):
        collection = convert(tmp_path / "c.zarr", [path], var_subset=["gene1", "nonsense"])
    assert list(collection.var_names) == ["gene1"]


def test_one_var_with_repeats_is_kept(tmp_path: Path, write: Write) -> None:
    repeated = ["a", "b", "a", "c"]
    cells = [make_counts(i, 10, genes=["a", "b", "x", "c"]) for i in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in cells:
            one.var_names = repeated
            one.var["id"] = ["1", "2", "3", "4"]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths)
    assert list(collection.var_names) == repeated
    assert_holds(collection, dict(zip(paths, cells, strict=True)))
    assert read(collection)[0].var["id"].tolist() == ["1", "2", "3", "4"]


def test_a_join_with_repeated_names_is_refused(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(0, 3, genes=["a", "b"]), make_counts(1, 3, genes=["a", "c"])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells[1].var_names = ["a", "a"]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    with pytest.raises(ValueError, match=r"got 1 repeated in .*1\.h5ad: 'a'\. `var_names='unique'` numbers"):
        convert(tmp_path / "c.zarr", paths)
    assert not (tmp_path / "c.zarr").exists()


@pytest.mark.parametrize("merge", [None, "same", "unique", "first", "only"])
def test_merge_agrees_with_anndata(tmp_path: Path, write: Write, merge: str | None) -> None:
    cells = [make_counts(0, 4, genes=GENES[:6]), make_counts(1, 4, genes=GENES[3:9])]
    for number, one in enumerate(cells):
        one.var["same"] = [f"id-{name}" for name in one.var_names]
        one.var["other"] = [f"{number}-{name}" for name in one.var_names]
        one.varm["w"] = np.arange(one.n_vars * 2.0).reshape(-1, 2) + number
        one.uns["title"] = "both"
        one.uns["number"] = number
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    (part,) = read(convert(tmp_path / "c.zarr", paths, merge=merge))
    for one in cells:
        one.obs, one.obsm = one.obs[[]], {}
    expected = ad.concat(cells, join="outer", merge=merge, uns_merge=merge)[:, part.var_names]
    assert set(part.var) == set(expected.var)
    for column in expected.var:
        assert (
            part.var[column].astype(object).fillna("").tolist()
            == expected.var[column].astype(object).fillna("").tolist()
        )
    assert set(part.varm) == set(expected.varm)
    for key in expected.varm:
        assert np.array_equal(part.varm[key], expected.varm[key], equal_nan=True)
    assert dict(part.uns) == dict(expected.uns)


@pytest.mark.parametrize("merge", ["same", "unique", None])
def test_annotations_that_agree_on_the_chosen_variables_are_kept(
    tmp_path: Path, write: Write, merge: str | None
) -> None:
    cells = [make_counts(0, 4, genes=GENES[:6]), make_counts(1, 4, genes=GENES[3:9])]
    subset = GENES[3:6][::-1]
    for number, one in enumerate(cells):
        one.var["id"] = [name if name in subset else f"{name}-{number}" for name in one.var_names]
        one.varm["w"] = np.array([[len(name), int(name[4:]) * (name in subset) or number] for name in one.var_names])
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    (part,) = read(convert(tmp_path / "c.zarr", paths, merge=merge, var_subset=subset))
    # Of the chosen variables both inputs have the same `var`, which is then kept whatever `merge` says.
    assert part.var["id"].tolist() == subset
    assert ("w" in part.varm) == (merge is not None)
    if merge is not None:
        assert part.varm["w"][:, 1].tolist() == [5, 4, 3]


def test_a_data_frame_in_varm_that_is_read_lazily(tmp_path: Path, write: Write) -> None:
    cells = make_counts(0, 6)
    cells.varm["table"] = pd.DataFrame({"z": range(30), "word": ["a"] * 30}, index=cells.var_names)
    path = write(cells, "0.h5ad")
    (part,) = read(convert(tmp_path / "c.zarr", [path], load_adata=ad.experimental.read_lazy, var_subset=GENES[:3]))
    assert part.varm["table"]["z"].tolist() == [0, 1, 2]
    assert part.varm["table"]["word"].tolist() == ["a", "a", "a"]


def test_one_input_keeps_everything_about_its_variables(tmp_path: Path, write: Write) -> None:
    cells = make_counts(0, 6)
    cells.var["id"] = GENES
    cells.varm["w"] = np.eye(30)
    cells.uns["settings"] = {"depth": 3}
    (part,) = read(convert(tmp_path / "c.zarr", [write(cells, "0.h5ad")]))
    assert part.var["id"].tolist() == GENES
    assert np.array_equal(part.varm["w"], np.eye(30))
    assert part.uns["settings"]["depth"] == 3


def test_names_become_unique_as_anndata_makes_them(tmp_path: Path, write: Write) -> None:
    names = [["a", "b", "a"], ["a", "a-1", "b"], ["a"]]
    cells = [make_counts(i, len(n)) for i, n in enumerate(names)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one, n in zip(cells, names, strict=True):
            one.obs_names = n
        paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
        joined = ad.concat([ad.AnnData(obs=one.obs[[]]) for one in cells])
        joined.obs_names_make_unique()
    collection = convert(tmp_path / "c.zarr", paths, shuffle=False)
    assert collection.obs().index.tolist() == joined.obs_names.tolist()


def test_data_frames_of_varm_are_joined_where_only_columns_of_var_differ(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(number, 4) for number in range(2)]
    for number, one in enumerate(cells):
        one.var[f"score_{number}"] = np.arange(len(GENES))
        one.varm["loadings"] = pd.DataFrame({"first": np.arange(len(GENES)) * 0.5}, index=GENES)
    paths = [write(one, f"{number}.h5ad") for number, one in enumerate(cells)]
    (part,) = read(convert(tmp_path / "c.zarr", paths, merge="unique"))
    assert list(part.var_names) == GENES
    assert {"score_0", "score_1"} <= set(part.var)
    pd.testing.assert_frame_equal(part.varm["loadings"], cells[0].varm["loadings"])
