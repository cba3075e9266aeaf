"""The demo, on little data: what it makes, what it learns, and what it says to bad input."""

from __future__ import annotations

from importlib.util import find_spec

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from annbatch.demo import run, write_atlas
from annbatch.demo._atlas import CELL_TYPES, RARE
from annbatch.demo._label import choose_label
from annbatch.demo._model import Classifier, find_framework
from annbatch.demo._stopwatch import Stopwatch
from annbatch.errors import MissingDependencyError, StoreError

FRAMEWORKS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"))
    for name in ("jax", "torch")
]


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    return write_atlas(tmp_path_factory.mktemp("atlas"), cells_per_study=300, n_genes=100, seed=0)


def write(path, obs, x=None):
    """Write an h5ad file with the given annotations."""
    x = np.ones((len(obs), 2), np.float32) if x is None else x
    ad.AnnData(x, obs=obs.set_index(obs.index.astype(str))).write_h5ad(path)
    return path


# The atlas ------------------------------------------------------------------------------------------------------------


def test_the_studies_measured_different_genes_and_met_different_types(atlas):
    studies = [ad.read_h5ad(path) for path in atlas]

    assert [study.shape for study in studies] == [(300, 90)] * 4
    assert len({frozenset(study.var_names) for study in studies}) == 4
    assert len({tuple(study.obs["cell_type"].cat.categories) for study in studies}) > 1


def test_x_holds_counts_as_real_files_do(atlas):
    x = ad.read_h5ad(atlas[0]).X

    assert isinstance(x, sparse.csr_matrix)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.data, np.rint(x.data))
    assert x.data.min() >= 1


def test_one_type_is_rare(tmp_path):
    paths = write_atlas(tmp_path, cells_per_study=5_000, n_genes=20, seed=0)
    types = pd.concat([ad.read_h5ad(path).obs["cell_type"].astype(str) for path in paths])

    assert set(types) == set(CELL_TYPES)
    assert 0.003 < (types == RARE).mean() < 0.007


def test_one_seed_gives_one_atlas(atlas, tmp_path):
    for first, second in zip(atlas, write_atlas(tmp_path, cells_per_study=300, n_genes=100, seed=0), strict=True):
        one, two = ad.read_h5ad(first), ad.read_h5ad(second)
        assert (one.X != two.X).nnz == 0
        pd.testing.assert_frame_equal(one.obs, two.obs)


def test_more_studies_begin_with_the_same(atlas, tmp_path):
    ten = write_atlas(tmp_path, cells_per_study=300, n_genes=100, n_studies=10)

    assert [path.name for path in ten[:4]] == [path.name for path in atlas]
    assert (ad.read_h5ad(ten[3]).X != ad.read_h5ad(atlas[3]).X).nnz == 0
    assert len({frozenset(ad.read_h5ad(path).var_names) for path in ten}) == 10
    with pytest.raises(ValueError, match="`n_studies` must be from 1 to 10, got 11"):
        write_atlas(tmp_path, n_studies=11)


# The label ------------------------------------------------------------------------------------------------------------


def test_the_column_with_most_categories_is_chosen(atlas):
    label, classes = choose_label(atlas, None)

    assert label == "donor"  # 16 donors, 12 cell types
    assert len(classes) == 16


def test_classes_are_those_of_all_files(atlas):
    _, classes = choose_label(atlas, "cell_type")

    assert list(classes) == sorted(CELL_TYPES)


def test_numbers_and_missing_values_can_be_labels(tmp_path):
    path = write(tmp_path / "a.h5ad", pd.DataFrame({"leiden": [3.0, 1.0, np.nan, 3.0]}))

    _, classes = choose_label([path], "leiden")

    assert list(classes) == [1.0, 3.0]


@pytest.mark.parametrize("kind", ["float64", "category"])
def test_numbers_with_hundreds_of_values_are_no_label(kind, tmp_path):
    obs = pd.DataFrame({"n_counts": pd.Series(np.arange(300) / 2).astype(kind), "kind": ["a", "b"] * 150})
    ad.AnnData(np.ones((300, 2)), obs=obs.set_index(obs.index.astype(str))).write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ValueError, match="`label` must name classes, got 'n_counts', numbers with 300 values: choose"):
        choose_label([tmp_path / "a.h5ad"], "n_counts")
    with pytest.raises(ValueError, match="got 'knd'; did you mean 'kind'"):
        choose_label([tmp_path / "a.h5ad"], "knd")


def test_a_label_that_is_not_there_lists_those_that_are(atlas):
    with pytest.raises(ValueError, match=r"blood.h5ad \(cell_type, donor, n_counts\), got 'celltype'"):
        choose_label(atlas, "celltype")


def test_a_file_without_a_categorical_asks_for_a_label(tmp_path):
    path = write(tmp_path / "a.h5ad", pd.DataFrame({"n_counts": [1, 2, 3]}))

    with pytest.raises(ValueError, match=r"`label` must be given .*a.h5ad has n_counts"):
        choose_label([path], None)


def test_a_file_without_obs_columns_says_so(tmp_path):
    path = write(tmp_path / "a.h5ad", pd.DataFrame(index=range(3)))

    with pytest.raises(ValueError, match=r"a.h5ad has no columns"):
        choose_label([path], None)


@pytest.mark.parametrize("values", [["T"] * 1500, list(map(str, range(1500)))])
def test_a_label_must_tell_rows_apart_and_not_each_from_all(values, tmp_path):
    path = write(tmp_path / "a.h5ad", pd.DataFrame({"kind": values}))

    with pytest.raises(ValueError, match=r"2 to 1,000 values, got 'kind' with"):
        choose_label([path], "kind")


def test_what_is_not_h5ad_is_named(tmp_path):
    (tmp_path / "a.h5ad").write_text("no HDF5")

    with pytest.raises(StoreError, match=r"a.h5ad: not an h5ad file"):
        choose_label([tmp_path / "a.h5ad"], None)
    with pytest.raises(FileNotFoundError, match=r"b.h5ad: no such file"):
        choose_label([tmp_path / "b.h5ad"], None)


# The model ------------------------------------------------------------------------------------------------------------


def test_an_unknown_framework_lists_the_known():
    with pytest.raises(ValueError, match=r"'jax', 'torch'.*, got 'cntk'"):
        find_framework("cntk")


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_a_framework_that_is_not_installed_tells_the_command(framework):
    if find_spec(framework) is not None:
        pytest.skip(f"{framework} is installed")
    with pytest.raises(MissingDependencyError, match=rf"pip install {framework}"):
        find_framework(framework)


def test_a_framework_that_is_installed_is_preferred_to_numpy():
    adapter = find_framework(None)

    installed = [name for name in ("jax", "torch") if find_spec(name) is not None]
    assert (adapter and adapter.name) == (installed[0] if installed else None)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_frameworks_learn_what_numpy_learns(framework):
    rng = np.random.default_rng(0)
    x = rng.poisson(3, (64, 10)).astype(np.float32) - 3
    labels = np.argmax(x[:, :3], axis=1)
    to_array = find_framework(framework).dense
    reference, classifier = Classifier(10, 3), Classifier(10, 3, to_array)
    array = to_array(x)

    for _ in range(300):
        reference.step(x, labels)
        classifier.step(array, labels)

    assert np.mean(reference.predict(x) == labels) > 0.8  # a third by chance
    assert np.mean(classifier.predict(array) == reference.predict(x)) > 0.95


# The whole ------------------------------------------------------------------------------------------------------------


def test_the_whole_way_on_an_atlas(tmp_path, capsys):
    fit = run(framework="numpy", out=tmp_path, cells_per_study=400, n_genes=300, progress=False)

    assert fit.n_train + fit.n_held_out == 1_600
    assert len(fit.truth) == fit.n_held_out
    assert fit.accuracy > 3 * fit.baseline
    told = capsys.readouterr().out
    for expected in ("1,600 cells x 300 genes", "held-out cells", "batches/s", "the rare type", f"Kept in {tmp_path}"):
        assert expected in told
    assert {path.name for path in tmp_path.iterdir()} == {
        "blood.h5ad",
        "demo.zarr",
        "gut.h5ad",
        "lung.h5ad",
        "skin.h5ad",
    }


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["numpy", *FRAMEWORKS])
def test_ten_labels_of_real_cells_are_learned(framework, shared_data):
    fit = run([shared_data / "pbmc68k_reduced.h5ad"], label="bulk_labels", framework=framework, progress=False)

    assert fit.framework == framework
    assert fit.baseline < 0.5
    assert fit.accuracy > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["numpy", *FRAMEWORKS[:1]])
def test_rows_without_a_label_are_left_out(framework, tmp_path):
    rng = np.random.default_rng(0)
    types = rng.choice(["a", "b", None], 200, p=[0.4, 0.4, 0.2])
    x = rng.poisson(np.where(types[:, None] == "a", 9, 1), (200, 5)).astype(np.float32)
    path = write(tmp_path / "a.h5ad", pd.DataFrame({"type": pd.Categorical(types)}), x)

    fit = run([path], framework=framework, progress=False)

    assert 20 <= len(fit.truth) < fit.n_held_out
    assert set(fit.truth) == {0, 1}


def test_data_that_was_normalised_already_is_taken_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    types = rng.choice(["a", "b"], 200)
    x = rng.normal(np.where(types[:, None] == "a", -2, 2), size=(200, 5)).astype(np.float32)
    path = write(tmp_path / "a.h5ad", pd.DataFrame({"type": pd.Categorical(types)}), x)

    assert run([path], framework="numpy", progress=False).accuracy > 0.9


def test_a_bad_label_is_told_before_anything_is_converted(atlas, tmp_path):
    with pytest.raises(ValueError, match="got 'nope'"):
        run(atlas, label="nope", out=tmp_path / "out", progress=False)

    assert list((tmp_path / "out").iterdir()) == []


def test_a_collection_that_is_there_is_left_alone(atlas, tmp_path):
    (tmp_path / "demo.zarr").mkdir()

    with pytest.raises(FileExistsError, match=r"demo.zarr: there is a collection already"):
        run(atlas, label="cell_type", out=tmp_path, progress=False)


def test_the_stopwatch_counts_each_activity_apart():
    clock = Stopwatch()
    with clock.measure("outer"):
        items = list(clock.each("inner", iter("abc")))

    assert items == list("abc")
    assert 0 < clock.seconds["inner"] < clock.seconds["outer"]
