"""Labels: the numbers of classes, which mean the same in every batch, dataset and loader."""

from __future__ import annotations

import pickle

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import annbatch
from annbatch import DatasetCollection, Loader
from annbatch.samplers import RandomSampler

TYPES = [
    pd.Categorical(["b", "a", "b"], categories=["a", "b", "unused"]),
    pd.Categorical(["c", "b", "b", "c"], categories=["c", "b"]),
]


def adata(values, names="r"):
    obs = pd.DataFrame({"type": values, "n": range(len(values))}, index=[f"{names}{i}" for i in range(len(values))])
    return ad.AnnData(np.arange(len(values), dtype="f4")[:, None], obs=obs)


def names_of(loader):
    batches = list(loader)
    labels = np.concatenate([batch["labels"] for batch in batches])
    assert labels.dtype == np.int64
    return [loader.classes[label] for label in labels]


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        (TYPES, ["a", "b", "unused", "c"]),
        ([np.array(["b", "a"], dtype=object), np.array(["c", "b"], dtype=object)], ["a", "b", "c"]),
        ([pd.array(["b", "a"], dtype="string"), pd.Categorical(["c", "b"])], ["a", "b", "c"]),
        ([np.array([7, -1]), np.array([5, 7], dtype="u1")], [-1, 7, 5]),
        ([np.array([True, False])], [False, True]),
    ],
)
def test_a_label_means_the_same_class_in_all_datasets(columns, classes):
    loader = Loader(batch_size=2, labels="type", obs_columns=["n"]).add_adatas([adata(column) for column in columns])
    assert names_of(loader) == [value for column in columns for value in list(column)]
    assert list(loader.classes) == classes
    assert [*next(iter(loader))["obs"]] == ["n"]
    assert "labels" not in next(iter(Loader().add_adata(adata(columns[0]))))


@pytest.mark.parametrize("settings", [{"keys": ["X"]}, {"obs_as": "arrays"}])
def test_labels_come_without_obs_from_files_workers_and_resumed(tmp_path, settings):
    for i, column in enumerate(TYPES):
        adata(column, names=f"f{i}-").write_h5ad(tmp_path / f"{i}.h5ad")
    paths = [tmp_path / f"{i}.h5ad" for i in range(2)]
    collection = DatasetCollection(tmp_path / "c.zarr").add_adatas(paths, progress=False, seed=0)
    loader = Loader(collection, shuffle=True, seed=0, batch_size=3, labels="type", return_index=True, **settings)
    truth = collection.obs("type")["type"].to_numpy()
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    loader = pickle.loads(pickle.dumps(loader))
    loader.load_state_dict(state)
    rest = list(loader)
    assert len(rest) == 2
    for batch in (*rest, loader.take([5, 0, 5])):
        assert list(loader.classes[batch["labels"]]) == truth[batch["index"]].tolist()


def test_rows_without_a_label_are_minus_one_and_told():
    loader = Loader(batch_size=2, labels="type").add_adata(adata(pd.Categorical(["a", None, "b", None])))
    with pytest.warns(UserWarning, match="Rows of column 'type' have no label: .* is -1 there") as told:
        assert np.concatenate([batch["labels"] for batch in loader]).tolist() == [0, -1, 1, -1]
    assert [warning.filename for warning in told] == [__file__]
    list(loader)
    sampler = RandomSampler(1, 2, 2, mask=np.array([True, False, True, False]), rng=0)
    assert sorted(names_of(Loader(batch_sampler=sampler, labels="type").add_adata(adata(["a", None, "b", None])))) == [
        "a",
        "b",
    ]


def test_several_loaders_agree_on_given_classes():
    first = Loader(batch_size=2, labels="type").add_adata(adata(TYPES[0]))
    other = Loader(batch_size=2, labels="type").add_adata(adata(TYPES[1]))
    with pytest.raises(ValueError, match=r"`loaders` must have the same classes.*got \['a', 'b', 'unused'\] and"):
        annbatch.mix([first, other])
    classes = ["c", "b", "a"]
    mixed = annbatch.mix([Loader(batch_size=1, labels="type", classes=classes).add_adata(adata(t)) for t in TYPES])
    for batch in mixed:
        row = int(batch["X"][0, 0])
        assert classes[batch["labels"][0]] == TYPES[batch["source"]][row]
    unknown = Loader(labels="type", classes=["a"]).add_adata(adata(TYPES[0]))
    with pytest.warns(UserWarning, match="have no label, or one that `classes` lacks"):
        assert [int(batch["labels"][0]) for batch in unknown] == [-1, 0, -1]


def test_what_has_no_labels_is_refused():
    loader = Loader(labels="typ")
    with pytest.raises(ValueError, match="`classes` are known of a loader with `labels` once a dataset"):
        _ = loader.classes
    with pytest.raises(KeyError, match=r"`labels` must be a column of obs.*; did you mean"):
        loader.add_adata(adata(TYPES[0]))
    with pytest.raises(KeyError, match=r"`labels` must be a column of obs.*There are none"):
        loader.add_dataset(np.eye(3))
    assert loader.n_obs == 0
    for values, message in [
        ([0.5, 1.0], "got float64; numbers"),
        (pd.to_datetime(["2020"] * 2), "datetime64"),
    ]:
        with pytest.raises(TypeError, match=message):
            iter(Loader(labels="type").add_adata(adata(values)))
    with pytest.raises(ValueError, match="must have labels of one kind"):
        iter(Loader(labels="type").add_adatas([adata([True, False]), adata([0, 1])]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["type"]}, r"`labels` must be the name of one column of obs, got \['type'\]"),
        ({"labels": "type", "classes": "abc"}, "`classes` must be a list of names, got 'abc'"),
        ({"labels": "type", "classes": ["a", "a"]}, "`classes` must be different names"),
        ({"labels": "type", "classes": []}, "`classes` must be different names"),
        ({"classes": ["a"]}, "`classes` must be left out where `labels` is None"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Loader(**arguments)
