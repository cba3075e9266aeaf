"""Chunks that are pickles: no code of theirs runs, by whichever way a store is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata as ad
import numcodecs
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import write_elem

from annbatch import DatasetCollection, Loader
from annbatch.errors import CorruptDataError


class Planted:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def store(path: Path, element: str, ran: Path) -> zarr.Group:
    """Write an AnnData in zarr v2, with an element that is a pickle."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    obs = pd.DataFrame({"note": ["a", "b"]}, index=["cell0", "cell1"])
    adata = ad.AnnData(np.eye(2, dtype="f4"), obs=obs, uns={"deep": {"numbers": np.arange(2)}})
    write_elem(group, "/", adata)
    if isinstance(group[element], zarr.Group):  # as anndata 0.13 writes strings
        element = f"{element}/values"
    metadata = path / element / ".zarray"
    changed = json.loads(metadata.read_text()) | {"compressor": {"id": "pickle"}}
    metadata.write_text(json.dumps(changed))
    chunk = path / element / ".".join("0" * len(changed["shape"]))
    chunk.write_bytes(numcodecs.Pickle().encode(np.array([Planted(ran)], dtype=object)))
    return zarr.open_group(path, mode="r")


@pytest.mark.parametrize("element", ["X", "obs/_index", "obs/note", "uns/deep/numbers", "var/_index"])
def test_pickles_are_refused_and_do_not_run(tmp_path: Path, element: str) -> None:
    ran = tmp_path / "ran"
    group = store(tmp_path / "a.zarr", element, ran)
    with pytest.raises(CorruptDataError, match="pickle"):
        DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.zarr"], progress=False)
    if not element.startswith("uns"):
        with pytest.raises(CorruptDataError, match="pickle"):
            list(Loader().add_adata(group))
    assert not ran.exists()
