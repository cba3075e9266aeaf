"""One AnnData object, written without shuffling."""

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import zarr

from annbatch import write_sharded

from ..conftest import dense, make_cells, values


def assert_same(one: ad.AnnData, other: ad.AnnData) -> None:
    assert one.shape == other.shape
    assert list(one.obs_names) == list(other.obs_names)
    assert list(one.var_names) == list(other.var_names)
    for place in ("layers", "obsm", "varm", "obsp", "varp"):
        assert set(getattr(one, place)) == set(getattr(other, place))
    for matrix, expected in [(one.X, other.X), *((one.layers[k], v) for k, v in other.layers.items())]:
        assert dense(matrix).dtype == dense(expected).dtype
        assert dense(matrix).tobytes() == dense(expected).tobytes()
    assert list(one.obs) == list(other.obs)
    for column in other.obs:
        assert values(one.obs[column]) == values(other.obs[column])


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
@pytest.mark.parametrize("key", [None, "inner", "a/b"])
def test_everything_is_written_unchanged(tmp_path: Path, kind: str, key: str | None) -> None:
    cells = make_cells(0, 40, kind=kind)
    cells.obsp["near"] = np.eye(40)
    cells.varm["w"] = np.eye(30)
    cells.raw = cells.copy()
    group = zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=3)
    write_sharded(group, cells, key=key, n_obs_per_chunk=4, shard_size=16)
    written = zarr.open_group(tmp_path / "c.zarr", mode="r", path=key or "")
    again = ad.io.read_elem(written)
    assert_same(again, cells)
    assert again.raw.shape == cells.raw.shape
    assert np.array_equal(dense(again.obsp["near"]), np.eye(40))
    array = written["X"] if kind == "dense" else written["X/data"]
    assert array.shards[0] == 4 * array.chunks[0]


def test_former_contents_are_deleted_first(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=3)
    write_sharded(group, make_cells(0, 40), key="one")
    smaller = make_cells(1, 3)
    del smaller.layers["twice"]
    write_sharded(group, smaller, key="one")
    assert_same(ad.io.read_elem(group["one"]), smaller)


@pytest.mark.parametrize("n_rows", [0, 1])
def test_few_rows(tmp_path: Path, n_rows: int) -> None:
    cells = make_cells(0, n_rows)
    group = zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=3)
    write_sharded(group, cells)
    assert_same(ad.io.read_elem(zarr.open_group(tmp_path / "c.zarr", mode="r")), cells)


def test_zarr_2_is_refused(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=2)
    with pytest.raises(ValueError, match="`group` must be of zarr format 3, got 2"):
        write_sharded(group, make_cells(0, 3))
