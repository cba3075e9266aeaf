"""Rows are held out as their columns say, controls stay in training, and no row is in two parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from annbatch import DatasetCollection
from annbatch.errors import CorruptDataError
from annbatch.samplers import Split, read_holdout, split
from annbatch.samplers._holdout import is_at

LINES, GENES, CONTROL = ["A", "B", "C"], ["none", "FOS", "JUN", "MYC"], {"gene": "none"}


def screen(n_obs: int, seed: int) -> pd.DataFrame:
    """Return cells of all lines and perturbations."""
    rng = np.random.default_rng(seed)
    every = [(line, gene) for line in LINES for gene in GENES]
    drawn = [every[i] for i in rng.integers(0, len(every), n_obs - len(every))]
    obs = pd.DataFrame([*every, *drawn], columns=["line", "gene"])
    obs["gene"] = obs["gene"].astype("category")
    return obs.sample(frac=1, random_state=seed, ignore_index=True)


def matches(row: Any, condition: dict[str, Any]) -> bool:
    return all(row[column] in ([values] if isinstance(values, str) else values) for column, values in condition.items())


CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "line": st.one_of(st.sampled_from(LINES), st.lists(st.sampled_from(LINES), min_size=1, max_size=2)),
        "gene": st.one_of(st.sampled_from(GENES), st.lists(st.sampled_from(GENES), min_size=1, max_size=2)),
    },
).filter(bool)


@given(
    held=st.dictionaries(
        st.sampled_from(["valid", "test"]),
        st.one_of(CONDITIONS, st.lists(CONDITIONS, min_size=1, max_size=3)),
        min_size=1,
    ),
    with_control=st.booleans(),
    seed=st.integers(0, 99),
)
def test_each_row_is_where_a_loop_over_the_rows_puts_it(held: dict[str, Any], with_control: bool, seed: int) -> None:
    obs = screen(60, seed)
    wanted, leaks = [], False
    for _, row in obs.iterrows():
        found = [
            name
            for name, some in held.items()
            if any(matches(row, one) for one in (some if isinstance(some, list) else [some]))
        ]
        found = [] if with_control and row["gene"] == "none" else found
        leaks |= len(found) > 1
        wanted.append(found[0] if found else "train")
    control = CONTROL if with_control else None
    if leaks:
        with pytest.raises(ValueError, match="`holdout` must hold out each row for one part, got rows for both"):
            split(obs, holdout=held, control=control)
        return
    if {*wanted} != {"train", *held}:
        with pytest.raises(ValueError, match=r"`holdout` must (leave rows for training|give rows to every part)"):
            split(obs, holdout=held, control=control)
        return
    parts = split(obs, holdout=held, control=control)
    assert list(parts) == ["train", *held]
    for name, rows in parts.items():
        assert list(rows) == [i for i, one in enumerate(wanted) if one == name]


def test_fractions_are_of_the_other_rows_and_controls_in_the_first_part(tmp_path: Path) -> None:
    obs = screen(400, 0)
    held = {"test": {"line": "B"}}
    parts = split(obs, {"train": 0.8, "valid": 0.2}, holdout=held, control=CONTROL, groupby="gene")
    assert set(obs["line"].iloc[list(parts["test"])]) == {"B"}
    assert (obs["gene"] == "none").sum() == (obs["gene"].iloc[list(parts["train"])] == "none").sum()
    genes = [set(obs["gene"].iloc[list(parts[name])]) for name in ("train", "valid")]
    assert not genes[0] & genes[1]
    assert sum(map(len, parts.values())) == len(obs)
    # The same in another order of rows, and after saving.
    other = obs.sample(frac=1, random_state=1)
    parts.save(tmp_path / "split.json")
    for again in (parts.of(other), Split.load(tmp_path / "split.json").of(other)):
        for name, rows in parts.items():
            assert sorted(other.index[list(again[name])]) == list(rows)
    one_by_one = split(obs, [0.8, 0.2], holdout={"zero": {"line": "B"}}, chunk_size=1)
    with pytest.raises(ValueError, match="`of` needs a split by groups"):
        one_by_one.of(obs)


def test_of_new_rows_without_all_that_was_held_out(tmp_path: Path) -> None:
    parts = split(screen(100, 0), holdout={"valid": {"gene": "JUN"}, "test": {"line": ["B", "C"], "gene": "MYC"}})
    obs = pd.DataFrame({"line": ["A", "B", "A", "D"], "gene": ["MYC", "MYC", "JUN", "new"]})
    parts.save(tmp_path / "split.json")
    for made in (parts, Split.load(tmp_path / "split.json")):
        assert {name: list(rows) for name, rows in made.of(obs).items()} == {"train": [0, 3], "valid": [2], "test": [1]}
    content = (tmp_path / "split.json").read_text()
    for wrong in (
        content.replace('"valid": [', '"other": ['),
        content.replace('"holdout": {', '"holdout": [], "a": {'),
    ):
        (tmp_path / "wrong.json").write_text(wrong)
        with pytest.raises(CorruptDataError, match=r"wrong\.json is damaged"):
            Split.load(tmp_path / "wrong.json")


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ({}, ValueError, "`fractions` must be given"),
        ({"fractions": [0.5, 0.5], "control": CONTROL}, ValueError, "`holdout` must be given"),
        ({"holdout": ["A"]}, TypeError, "`holdout` must be a dict of parts"),
        ({"holdout": {}}, ValueError, r"`holdout` must name parts other than 'train', got \[\]"),
        ({"holdout": {"train": {"line": "A"}}}, ValueError, r"other than 'train', got \['train'\]"),
        ({"holdout": {"test": []}}, ValueError, r"`holdout\['test'\]` must hold out some rows, got none"),
        ({"holdout": {"test": {}}}, ValueError, r"`holdout\['test'\]` must name a column, got none"),
        ({"holdout": {"test": {"line": []}}}, ValueError, r"`holdout\['test'\]` must name values of 'line', got none"),
        ({"holdout": {"test": "A"}}, TypeError, r"`holdout\['test'\]` must be values of columns"),
        ({"holdout": {"test": {"line": [["A"]]}}}, TypeError, r"name single values of 'line', got \['A'\]"),
        ({"holdout": {"test": {"lines": "A"}}}, KeyError, "columns of obs, got 'lines'; did you mean 'line'"),
        ({"holdout": {"test": {"line": ["A", "Z"]}}}, ValueError, r"values of 'line' that rows have, got \['Z'\]"),
        ({"holdout": {"test": {"line": "A"}}, "control": {"gene": "no"}}, ValueError, "`control` must name values of"),
        ({"holdout": {"test": {"line": LINES}}}, ValueError, "`holdout` must leave rows for training, got all 60"),
        (
            {"holdout": {"test": {"line": "A"}}, "fractions": {"train": 0.5, "test": 0.5}},
            ValueError,
            "`holdout` and `fractions` must have different parts, got 'test' in both",
        ),
        ({"rows": 60, "holdout": {"test": {"line": "A"}}}, ValueError, "`holdout` needs obs instead of the number"),
    ],
)
def test_refused(how: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        split(**{"rows": screen(60, 0)} | how)


TOML = """
h5ad_csv_path = "x.csv"
[datasets]
one = "{folder}/one/"
two = "{folder}/{{two,three}}.h5ad"
[training]
one = "train"
[zeroshot]
"one.A" = "test"
"two.B" = "val"
[fewshot]
[fewshot."one.B"]
val = ["FOS"]
test = ["JUN", "MYC"]
[fewshot."two.C"]
test = ["MYC"]
"""


@pytest.mark.parametrize("by", ["src_path", "study"])
def test_a_file_of_cell_load(tmp_path: Path, by: str) -> None:
    (tmp_path / "one").mkdir()
    paths = [tmp_path / "one" / "a.h5ad", tmp_path / "one" / "b.h5ad", tmp_path / "two.h5ad", tmp_path / "three.h5ad"]
    studies = ["one", "one", "two", "two"]
    for number, (path, study) in enumerate(zip(paths, studies, strict=True)):
        obs = screen(50, number).assign(study=study).set_axis([f"{number}_{i}" for i in range(50)])
        ad.AnnData(sparse.eye(50, 3, format="csr"), obs=obs).write_h5ad(path)
    collection = DatasetCollection(tmp_path / "c.zarr").add_adatas(paths, seed=0, progress=False)
    (tmp_path / "a.toml").write_text(TOML.format(folder=tmp_path))
    how = {"cell_type": "line", "control": "none", "dataset": None if by == "src_path" else by}
    parts = split(collection, holdout=read_holdout(tmp_path / "a.toml", **how))
    obs, wanted = collection.obs(), {"train": [], "val": [], "test": []}
    for i, (study, line, gene) in enumerate(zip(obs["study"], obs["line"], obs["gene"], strict=True)):
        part = {("one", "A"): "test", ("two", "B"): "val"}.get((study, line), "train" if study == "one" else None)
        if (study, line) == ("one", "B"):
            part = {"FOS": "val", "JUN": "test", "MYC": "test"}.get(gene, "train")
        if (study, line) == ("two", "C"):
            part = "test" if gene == "MYC" else "train"
        if part is not None:
            wanted["train" if gene == "none" else part].append(i)
    assert {name: list(rows) for name, rows in parts.items()} == wanted


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("[datasets]", "[datasets"), "`path` must be a TOML file, got"),
        (
            ("[zeroshot]", "[zero_shot]"),
            "must have the sections datasets, .*, got 'zero_shot'",
        ),
        (
            ('one = "train"', 'one = "test"'),
            "must say 'train' of each dataset, got 'test' of 'one'",
        ),
        (('"one.A" = "test"', '"one.A" = "valid"'), "must name the parts train, val, test, got 'valid' for 'one.A'"),
        (
            ('"one.A" = "test"', '"three.A" = "test"'),
            "must have all datasets, got none called 'three'",
        ),
        (('"one.A" = "test"', '"one" = "test"'), "must name cell types as 'dataset.cell type', got 'one'"),
        (('"one.A" = "test"', '"one.B" = "test"'), "in \\[zeroshot\\] or in \\[fewshot\\], got 'one.B' in both"),
        (('val = ["FOS"]', 'val = ["FOS", "MYC"]'), "got 'MYC' of 'one.B' for both 'val' and 'test'"),
        (('val = ["FOS"]', 'val = "FOS"'), "must list perturbations, got 'FOS' for 'val' of 'one.B'"),
        (('val = ["FOS"]', 'val = [["FOS"]]'), r"must list perturbations, got \['FOS'\] for 'val' of 'one.B'"),
        (('one = "', 'none = [1]\none = "'), r"must have the place of each dataset, got \[1\] of 'none'"),
        (("[zeroshot]", "a = " + "[" * 5000 + "]" * 5000), "`path` must be a TOML file, got .*recursion"),
        (("[zeroshot]", "a = " + "9" * 5000), "`path` must be a TOML file, got .*Exceeds the limit"),
        (("[fewshot]", '[fewshot]\n"one.C" = "test"'), "must have perturbations by part, got 'test' for 'one.C'"),
    ],
)
def test_wrong_files(tmp_path: Path, change: tuple[str, str], match: str) -> None:
    (tmp_path / "a.toml").write_text(TOML.format(folder=tmp_path).replace(*change, 1))
    with pytest.raises(ValueError, match=match):
        read_holdout(tmp_path / "a.toml")


def test_a_file_that_holds_nothing_out_or_control_twice(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[datasets]\none = "one"\n[training]\none = "train"\n')
    with pytest.raises(ValueError, match="must hold out some rows, got none"):
        read_holdout(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text(TOML.format(folder=tmp_path))
    held = read_holdout(tmp_path / "a.toml")
    with pytest.raises(ValueError, match="`control` must be left out where `holdout` was read from a file"):
        split(screen(60, 0), holdout=held, control=CONTROL)


@pytest.mark.parametrize(
    ("path", "place", "there"),
    [
        ("data/a.h5ad", "data/a.h5ad", True),
        ("data/a.h5ad", "data/", True),
        ("data2/a.h5ad", "data", False),
        ("data/sub/a.h5ad", "data/*", True),
        ("data/a.h5ad", "data/{b,a}.h5*", True),
        ("data/a.h5ad", "data/{b,c}.h5ad", False),
        ("data_1/a.h5ad", "data_?", True),
        ("data/ac.h5ad", "data/{a{b,c},d}.h5ad", True),
        ("data/ab.h5ad", "data/{a{b,c},d}.h5ad", True),
        ("data/ad.h5ad", "data/{a{b,c},d}.h5ad", False),
    ],
)
def test_places(path: str, place: str, there: bool) -> None:
    assert is_at(path, place) is there


def test_a_place_that_stands_for_too_many_patterns_is_refused():
    with pytest.raises(
        ValueError, match=r"`holdout` must have places that stand for at most 10,000 patterns, got '/{a,b}"
    ):
        is_at("/a", "/" + "{a,b}" * 40)
