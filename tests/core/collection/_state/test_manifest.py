from __future__ import annotations

from typing import Any

import pytest

from annbatch.collection._state.manifest import ATTRIBUTE, Manifest, dataset_number
from annbatch.errors import CorruptDataError


@pytest.mark.parametrize(
    "name",
    [
        "dataset_",
        "dataset_1/",
        "../dataset_1",
        "dataset_1.h5ad",
        "dataset_\u0661",
        "dataset_1\n",
        "dataset_" + "9" * 19,
    ],
)
def test_other_names_are_no_datasets(name: str) -> None:
    assert dataset_number(name) is None
    with pytest.raises(CorruptDataError, match="must describe datasets named dataset_<number>, got "):
        Manifest.from_attributes({ATTRIBUTE: {"datasets": {name: {}}, "history": []}})


@pytest.mark.parametrize(
    "own",
    [
        {},
        [],
        1,
        "text",
        {"datasets": 1, "history": []},
        {"datasets": {}},
        {"datasets": {"dataset_0": 1}, "history": []},
    ],
)
def test_what_is_no_manifest(own: Any) -> None:
    with pytest.raises(CorruptDataError, match=r"must (be a manifest|describe datasets)"):
        Manifest.from_attributes({ATTRIBUTE: own})
