"""`Loader(rows=...)`: what is loaded, without a sampler of one's own; and ranges that are no random sample."""

from __future__ import annotations

from copy import copy

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from annbatch import DatasetCollection, Loader
from annbatch.samplers import RandomSampler, RowSet, SequentialSampler, split

N = 12


@pytest.fixture
def studies(tmp_path):
    """Two files, whose values are the numbers of their rows."""
    for study in range(2):
        obs = pd.DataFrame({"study": str(study)}, index=[f"{study}-{i}" for i in range(N)])
        ad.AnnData(np.arange(study * N, study * N + N, dtype="f4")[:, None], obs=obs).write_h5ad(
            tmp_path / f"{study}.h5ad"
        )
    return [str(tmp_path / f"{study}.h5ad") for study in range(2)]


def seen(loader):
    return sorted(np.concatenate([batch["index"] for batch in loader]).tolist())


@pytest.mark.parametrize("settings", [{}, {"shuffle": True, "seed": 1}])
@pytest.mark.parametrize(
    "rows",
    [
        slice(3, 9),
        slice(5, None),
        np.arange(N) % 3 == 1,
        [7, 2, 5],
        RowSet(slice(2, 4)),
        pd.Series(np.arange(N) < 5),
        split(N, [0.5, 0.5], chunk_size=1)["train"],
    ],
)
def test_a_loader_loads_the_given_rows(rows, settings):
    loader = Loader(batch_size=2, rows=rows, return_index=True, **settings).add_dataset(np.eye(N))
    assert seen(loader) == np.asarray(RowSet(rows, N)).tolist()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (split(N, [0.5, 0.5], chunk_size=1), r"`rows` must be one part of a split, such as split\['train'\]"),
        ("train", "`rows` must be a slice, a boolean mask, or an array of row numbers"),
        ([3, 3], "`rows` must name no row twice, got row 3"),
        (slice(-3, None), r"`rows.start` must be >= 0, got -3"),
        (np.zeros(N, dtype=bool), "`rows` must name at least one row"),
    ],
)
def test_wrong_rows_are_refused(rows, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Loader(rows=rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (slice(0, N + 1), rf"`rows.stop` must be at most the loader's n_obs {N}, got {N + 1}"),
        (slice(N, None), rf"`rows.start` must be < the loader's n_obs {N}"),
        (np.ones(N + 1, dtype=bool), rf"`rows` must have one entry per row of the loader \({N}\), got {N + 1}"),
        ([N], "`rows` must name rows of the loader's"),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_beyond_the_data_are_named_as_they_were_given(rows, message, shuffle):
    with pytest.raises(ValueError, match=message):
        next(iter(Loader(rows=rows, shuffle=shuffle).add_dataset(np.eye(N))))
    with pytest.raises(ValueError, match=message):
        RowSet(rows, N)
    with pytest.raises(ValueError, match=message.replace("rows", "mask", 1)):
        RandomSampler(1, 1, 1, mask=rows).validate(N)


def test_rows_belong_to_the_sampler_where_one_is_given():
    with pytest.raises(ValueError, match=r"`batch_sampler` excludes the sampling arguments.*got rows, too"):
        Loader(batch_sampler=SequentialSampler(1, 1, 1), rows=slice(0, 3))


def test_a_collection_knows_whether_it_is_shuffled_as_a_whole(studies, tmp_path):
    known = {"progress": False, "seed": 0}
    both = DatasetCollection(tmp_path / "both.zarr").add_adatas(studies, **known)
    assert both.is_shuffled is True
    one = DatasetCollection(tmp_path / "one.zarr")
    assert one.is_shuffled is None
    one.add_adatas(studies[:1], **known)
    assert one.is_shuffled is True
    one.add_adatas(studies[1:], **known)
    assert one.is_shuffled is False
    one.reshuffle(0, progress=False)
    assert DatasetCollection(tmp_path / "one.zarr").is_shuffled is True
    for number, settings in enumerate([{"shuffle": False}, {"groupby": "study"}]):
        collection = DatasetCollection(tmp_path / f"{number}.zarr").add_adatas(studies, **known, **settings)
        assert collection.is_shuffled is False
    assert DatasetCollection(tmp_path / "attached.zarr").attach(studies).is_shuffled is False


def test_a_slice_of_what_is_not_shuffled_as_a_whole_warns(studies, tmp_path):
    collection = DatasetCollection(tmp_path / "c.zarr").add_adatas(studies[:1], progress=False)
    assert seen(Loader(collection, rows=slice(0, 9), return_index=True)) == list(range(9))
    collection.add_adatas(studies[1:], progress=False)
    rule = r"rows 12: are no random sample of a collection that is not shuffled as a whole.*split\(collection"
    with pytest.warns(UserWarning, match=rule) as told:
        Loader(collection, rows=slice(N, None))
    with pytest.warns(UserWarning, match="rows 0:12 are no random sample") as again:
        Loader(batch_sampler=RandomSampler(1, 2, 2, mask=slice(0, N), rng=0)).use_collection(collection)
    with pytest.warns(UserWarning, match="rows 0:12 are no random sample") as replaced:  # as scvi-tools does
        copy(Loader(collection))._batch_sampler = SequentialSampler(1, 2, 2, mask=slice(0, N))
    assert {warning.filename for warning in (*told, *again, *replaced)} == {__file__}
    for rows in (
        None,
        slice(0, 2 * N),
        slice(0, None),
        RowSet(slice(0, N)),
        split(collection, [0.5, 0.5], chunk_size=1)["train"],
    ):
        Loader(collection, rows=rows)
    Loader(collection.reshuffle(0, progress=False), rows=slice(0, N))
