"""Arguments of wrong kinds at the door of a loader: refused by name, before anything is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from annbatch import Loader
from annbatch.samplers import ClassSampler, DistributedSampler, RandomSampler, SequentialSampler

NO_NAMES = [0, 1.5, True, b"x", object(), np.array(1), Path("x"), [None]]
NO_FLAG = ["no", [], 2, 1.5, np.array([True, False]), pd.DataFrame(), object()]
WRONG = {
    "keys": [*NO_NAMES, None, [1]],
    "obs_columns": NO_NAMES,
    "var_names": [*NO_NAMES, {"rna": 1}],
    "dtype": [0, "x", [], ["x"], object(), Path("x"), "S3", "O"],
    "n_neighbors": [None, "x", 1.5, [], np.array([1, 2])],
    "cache_dir": [0, b"x", [], object()],
    **dict.fromkeys(("return_index", "preload_to_gpu", "densify", "drop_last", "shuffle", "distributed"), NO_FLAG),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_kinds_are_refused(name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(TypeError, match=f"`{name}` must be"):
            Loader(batch_size=2, **{name: value})


def test_numbers_and_flags_of_numpy_are_taken() -> None:
    loader = Loader(batch_size=np.int64(2), drop_last=np.True_, shuffle=0, densify=np.False_, return_index=1)
    assert [batch["index"].tolist() for batch in loader.add_dataset(np.eye(5))] == [[0, 1], [2, 3]]


def test_wrong_kinds_that_are_added_are_refused() -> None:
    for value in (0, object(), pd.DataFrame()):
        with pytest.raises(TypeError, match="`obs` must be a list of DataFrames, got"):
            Loader(batch_size=2).add_datasets([np.eye(3)], obs=value)
    with pytest.raises(TypeError, match=r"`dataset` must be a matrix, got a Series: `.to_numpy\(\)` makes an array"):
        Loader(batch_size=2).add_dataset(pd.Series([1.0]))
    with pytest.raises(TypeError, match="`load_adata` must be a function or None, got 'read'"):
        Loader(batch_size=2).use_collection("c.zarr", load_adata="read")  # type: ignore[arg-type]


def test_samplers_refuse_wrong_kinds() -> None:
    sampler = SequentialSampler(2, 1, 2)
    for value in NO_FLAG:
        with pytest.raises(TypeError, match="`drop_last` must be True or False"):
            SequentialSampler(2, 1, 2, drop_last=value)
        with pytest.raises(TypeError, match="`replacement` must be True or False"):
            RandomSampler(2, 1, 2, replacement=value)
        with pytest.raises(TypeError, match="`enforce_equal_batches` must be True or False"):
            DistributedSampler(sampler, dist_info=lambda: (0, 1), enforce_equal_batches=value)
    wrong: Any
    for wrong in ("x", {}, object(), ["x"]):
        with pytest.raises(TypeError, match="`weights` must be an array of numbers"):
            RandomSampler(2, 1, 2, weights=wrong)
        with pytest.raises(TypeError, match="`class_weights` must be an array of numbers"):
            ClassSampler(2, 1, 2, classes=pd.Categorical(["a", "b"]), num_samples=2, class_weights=wrong)
    for wrong in (1, None, (0,), "01"):
        with pytest.raises(TypeError, match="`dist_info` must return a rank and the number of ranks, got"):
            DistributedSampler(sampler, dist_info=lambda: wrong)  # noqa: B023
