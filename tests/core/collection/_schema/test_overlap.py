"""Variables that inputs have in common: how few are an error, which reason is guessed, and what is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from annbatch import DatasetCollection
from annbatch.cli import main

Write = Callable[..., str]
HUMAN = [f"GENE{i}A" for i in range(100)]
MOUSE = [name.title() for name in HUMAN]
ENSEMBL = [f"ENSG{i:011}" for i in range(100)]
OTHER = [f"other{i}" for i in range(100)]


def cells(names: Sequence[str], n_rows: int = 5, *, seed: int = 0, **var: object) -> ad.AnnData:
    counts = sparse.csr_matrix(np.random.default_rng(seed).poisson(1.0, (n_rows, len(names))).astype("f4"))
    obs = pd.DataFrame(index=[f"c{seed}_{i}" for i in range(n_rows)])
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(var, index=list(names)))


@pytest.fixture
def paths(write: Write) -> Callable[..., list[str]]:
    """Return a function that writes one file per list of names, or per AnnData object."""

    def write_all(*several: Sequence[str] | ad.AnnData) -> list[str]:
        adatas = [one if isinstance(one, ad.AnnData) else cells(one, seed=i) for i, one in enumerate(several)]
        return [write(adata, f"{i}.h5ad") for i, adata in enumerate(adatas)]

    return write_all


def convert(folder: Path, inputs: list[str], **arguments: object) -> DatasetCollection:
    return DatasetCollection(folder).add_adatas(inputs, progress=False, **arguments)


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (
            HUMAN,
            MOUSE,
            r"100 would match if upper and lower case were the same, as 'GENE0A' and 'Gene0A'",
        ),
        (
            ENSEMBL,
            HUMAN,
            r"0\.h5ad has Ensembl IDs \('ENSG0+', 'ENSG0+1'\), and .*1\.h5ad other names, such as symbols \('GENE0A', ",
        ),
        (HUMAN, ENSEMBL, r"1\.h5ad has Ensembl IDs .*, and .*0\.h5ad other names, such as symbols"),
        (
            [f"{name}.{i % 7}" for i, name in enumerate(ENSEMBL)],
            ENSEMBL,
            r"100 would match without the versions behind dots, as 'ENSG0+\.0' and 'ENSG0+'",
        ),
        ([f" {name}" for name in HUMAN], HUMAN, r"without whitespace around them, as ' GENE0A' and 'GENE0A'"),
        (
            [f"{name} " for name in MOUSE],
            HUMAN,
            "100 would match without whitespace around them and if upper and lower case were the same, as ",
        ),
        (ENSEMBL, [f"ENSMUSG{i:011}" for i in range(100)], r"the IDs are of human \(ENSG\) and mouse \(ENSMUSG\)"),
        (HUMAN, OTHER, "names differ, as 'GENE0A', 'GENE1A' and 'other0', 'other1'"),
    ],
)
def test_a_first_conversion_of_names_that_differ_is_an_error(tmp_path, paths, one, other, reason):
    inputs = paths(one, other)

    with pytest.raises(ValueError, match=r"share at least 10 % .*\(100\) and .*1\.h5ad \(100\) share 0: .*" + reason):
        convert(tmp_path / "c.zarr", inputs)
    assert not (tmp_path / "c.zarr").exists()

    assert convert(tmp_path / "c.zarr", inputs, min_overlap=0).n_vars == 200


@pytest.mark.parametrize("h5ad", [False, True])
def test_an_input_whose_names_the_collection_lacks_is_an_error(tmp_path, paths, h5ad):
    human, mouse = paths(HUMAN, [*MOUSE, HUMAN[3]])
    collection = DatasetCollection(tmp_path / "c", is_collection_h5ad=h5ad).add_adatas([human], progress=False)

    text = r"1\.h5ad \(101\) and .*dataset_0.* \(100\) share 1: 100 would match if .*`min_overlap=0` converts"
    with pytest.raises(ValueError, match=text):
        collection.add_adatas([mouse], progress=False)
    assert collection.n_obs == 5

    with pytest.warns(UserWarning, match="Dropping 100 variables"):
        collection.add_adatas([mouse], progress=False, min_overlap=0)
    assert collection.n_obs == 10


@pytest.mark.parametrize(("n_shared", "passes"), [(9, False), (10, True)])
def test_the_share_is_that_of_the_smaller_input(tmp_path, paths, n_shared, passes):
    inputs = paths(HUMAN + ENSEMBL, [*HUMAN[:n_shared], *OTHER[n_shared:]])

    if passes:
        convert(tmp_path / "c.zarr", inputs)
    else:
        with pytest.raises(ValueError, match=f"share {n_shared}: "):
            convert(tmp_path / "c.zarr", inputs)
        convert(tmp_path / "c.zarr", inputs, min_overlap=0.09)


def test_a_panel_of_genes_fits_to_all_genes_either_way(tmp_path, paths):
    every, panel = paths(HUMAN, HUMAN[:2])

    assert convert(tmp_path / "one.zarr", [every, panel]).n_vars == 100
    collection = convert(tmp_path / "two.zarr", [panel])
    with pytest.warns(UserWarning, match="Dropping 98 variables"):
        collection.add_adatas([every], progress=False)


def test_two_kinds_of_inputs_are_found_wherever_they_stand(tmp_path, paths):
    inputs = paths(HUMAN, HUMAN[:50], MOUSE, HUMAN[50:], MOUSE[:50], HUMAN, MOUSE)

    with pytest.raises(ValueError, match=r"0\.h5ad \(100\) and .*2\.h5ad \(100\) share 0"):
        convert(tmp_path / "c.zarr", inputs)


def test_inputs_that_a_third_one_connects_match(tmp_path, paths):
    assert convert(tmp_path / "c.zarr", paths(HUMAN, ENSEMBL, HUMAN[:50] + ENSEMBL[:50])).n_vars == 200


def test_inputs_without_rows_or_variables_match_all(tmp_path, paths):
    inputs = paths(HUMAN, cells(OTHER, n_rows=0), cells([]))

    collection = convert(tmp_path / "c.zarr", inputs)

    assert (collection.n_obs, collection.n_vars) == (10, 100)


def test_raw_is_compared_where_it_is_kept(tmp_path, paths):
    inputs = []
    for seed, genes in enumerate((HUMAN, MOUSE)):
        adata = cells(OTHER, seed=seed)
        adata.raw = cells(genes, seed=seed)
        inputs.append(adata)
    one, other = paths(*inputs)

    text = r"of their variables of raw \(.*raw of .*0\.h5ad \(100\) and raw of .*1\.h5ad \(100\) share 0"
    with pytest.raises(ValueError, match=text):
        convert(tmp_path / "c.zarr", [one, other], raw="keep")
    with pytest.raises(ValueError, match=r"of their variables \(.*upper and lower case"):
        convert(tmp_path / "c.zarr", [one, other], raw="use")
    with pytest.raises(ValueError, match="variables of raw"):
        convert(tmp_path / "c.zarr", [one], raw="keep").add_adatas([other], raw="keep", progress=False)
    convert(tmp_path / "d.zarr", [one, other], raw="drop")


def test_var_subset_takes_the_place_of_the_collection(tmp_path, paths):
    inputs = paths(HUMAN, ENSEMBL)

    with pytest.raises(ValueError, match=r"1\.h5ad \(100\) and `var_subset` \(30\) share 0: .*has Ensembl IDs"):
        convert(tmp_path / "c.zarr", inputs, var_subset=HUMAN[:30])
    assert convert(tmp_path / "c.zarr", inputs, var_subset=HUMAN[:30] + ENSEMBL[:4]).n_vars == 34


@pytest.mark.parametrize("kind", ["category", "object"])
def test_a_column_of_var_that_has_the_names_is_named(tmp_path, paths, kind):
    symbols = pd.Series(HUMAN, index=ENSEMBL, dtype=kind)
    inputs = paths(cells(ENSEMBL, feature_name=symbols, mean=1.0), cells(HUMAN, seed=1))

    text = r"has Ensembl IDs .*; column 'feature_name' of `var` of .*0\.h5ad has such names: make it the index\."
    with pytest.raises(ValueError, match=text):
        convert(tmp_path / "c.zarr", inputs)


def test_names_that_repeat_are_counted_once(tmp_path, paths):
    with pytest.warns(UserWarning, match="Variable names are not unique"):
        inputs = paths(HUMAN * 2, MOUSE)

    with pytest.raises(ValueError, match=r"0\.h5ad \(100\) and .*1\.h5ad \(100\) share 0"):
        convert(tmp_path / "c.zarr", inputs)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), "10%", True, None])
def test_a_share_that_is_none_is_refused(tmp_path, paths, share):
    with pytest.raises(ValueError, match=r"`min_overlap` must be a share from 0 to 1.*, got "):
        convert(tmp_path / "c.zarr", paths(HUMAN), min_overlap=share)


def test_what_is_shared_is_told(tmp_path, paths, capsys):
    one, other, third = paths(HUMAN, HUMAN[10:] + OTHER[:50], HUMAN[50:])

    collection = DatasetCollection(tmp_path / "c.zarr").add_adatas([one, other])
    assert "Variables: 100 to 140 in each input, 90 shared by all, 150 in the collection.\n" in capsys.readouterr().out
    collection.add_adatas([third])
    assert "Variables: 50 in the input, 50 shared by all, 150 in the collection.\n" in capsys.readouterr().out
    DatasetCollection(tmp_path / "d.zarr").add_adatas([one, other], dry_run=True, progress=False)
    assert "Variables: 100 to 140 in each input, 90 shared by all, 150 in the collection.\n" in capsys.readouterr().out
    DatasetCollection(tmp_path / "h5ad", is_collection_h5ad=True).add_adatas([one, other])
    assert "Variables: 100 to 140 in each input, 90 shared by all, 150 in the collection.\n" in capsys.readouterr().out


def test_the_command_names_its_flag_and_takes_it(tmp_path, paths, capsys):
    command = ["convert", *paths(HUMAN, MOUSE), str(tmp_path / "c.zarr")]

    assert main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "(--min-overlap), and " in line
    assert line.endswith("as 'GENE0A' and 'Gene0A', like human and mouse. --min-overlap 0 converts them nonetheless.")
    assert main([*command, "--min-overlap", "0"]) == 0
    assert "Variables: 100 in each input, 0 shared by all, 200 in the collection." in capsys.readouterr().out
