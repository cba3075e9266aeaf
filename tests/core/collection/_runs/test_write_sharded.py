"""One AnnData object, written without shuffling."""

import shutil
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import zarr

from annbatch import DatasetCollection, Loader, write_sharded
from annbatch.cli import main
from annbatch.errors import StoreError

from ..conftest import dense, files, make_cells, make_counts, values


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


@pytest.mark.parametrize(("kind", "key"), [("csr", None), ("csc", "inner"), ("dense", "a/b"), ("dense", None)])
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
    assert np.array_equal(dense(again.raw.X), dense(cells.raw.X))
    assert np.array_equal(dense(again.obsp["near"]), np.eye(40))
    array = written["X"] if kind == "dense" else written["X/data"]
    assert array.shards[0] == 4 * array.chunks[0]


@pytest.mark.parametrize(("n_obs_per_chunk", "rows_per_shard"), [(3, 9), (5, 10), (20, 10)])
def test_a_shard_holds_no_more_whole_chunks_than_there_are_rows(
    tmp_path: Path, n_obs_per_chunk: int, rows_per_shard: int
) -> None:
    group = zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=3)
    write_sharded(group, ad.AnnData(np.eye(10)), n_obs_per_chunk=n_obs_per_chunk, shard_size=20)
    assert group["X"].shards == (rows_per_shard, 10)


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


class _InterruptedError(Exception):
    """Stands for the end of the process; a KeyboardInterrupt would end zarr's thread, too."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part:UserWarning")  # what it is is not asked
def test_a_call_that_was_interrupted_leaves_nothing_that_can_be_read(
    tmp_path: Path, before_step: Callable[..., None]
) -> None:
    cells, store = make_counts(0, 20), tmp_path / "c.zarr"
    cells.raw = cells.copy()
    cells.obsp["near"] = np.eye(20)
    write_sharded(zarr.open_group(tmp_path / "calm.zarr", mode="w", zarr_format=3), cells)
    former = make_counts(1, 30)
    former.raw = former.copy()
    write_sharded(zarr.open_group(tmp_path / "former.zarr", mode="w", zarr_format=3), former)
    zarr.consolidate_metadata(tmp_path / "former.zarr")
    n_steps = 0

    def interrupt() -> None:
        raise _InterruptedError

    def interrupt_at(step: int) -> None:
        def act() -> None:
            nonlocal n_steps, step
            n_steps, step = n_steps + 1, step - 1
            if step < 0:
                interrupt()
            before_step("os.rename", ".partial", act)

        before_step("os.rename", ".partial", act)

    shutil.copytree(tmp_path / "former.zarr", store)
    interrupt_at(1000)
    write_sharded(zarr.open_group(store, mode="a", zarr_format=3), cells)
    assert files(store) == files(tmp_path / "calm.zarr")
    for step in (None, 2, n_steps - 1):
        shutil.rmtree(store)
        shutil.copytree(tmp_path / "former.zarr", store)
        group = zarr.open_group(store, mode="a", zarr_format=3)
        if step is None:
            before_step("shutil.rmtree", "c.zarr", interrupt)
        else:
            interrupt_at(step)
        with pytest.raises(_InterruptedError):
            write_sharded(group, cells)
        group = zarr.open_group(store, mode="r")
        with pytest.raises(StoreError, match=r"c\.zarr must be complete, .*call `annbatch.write_sharded` again"):
            Loader().add_adata(group)
        with pytest.raises(StoreError, match=r"c\.zarr must be complete"):
            DatasetCollection(tmp_path / "other.zarr").add_adatas([store], progress=False)
        with pytest.raises(StoreError, match=r"c\.zarr must be complete"):
            DatasetCollection(tmp_path / "other.zarr").attach([store])
        with pytest.raises(ad._io.specs.registry.IORegistryError):
            ad.io.read_elem(group)
        write_sharded(zarr.open_group(store, mode="a", zarr_format=3), cells)
        assert files(store) == files(tmp_path / "calm.zarr")


def test_an_unfinished_dataset_of_a_collection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=3)
    write_sharded(root, make_counts(0, 20), key="dataset_0")
    root.update_attributes({"encoding-type": "annbatch-preshuffled", "encoding-version": "0.1.0"})
    assert DatasetCollection(tmp_path / "c.zarr", mode="r").n_obs == 20
    root["dataset_0"].update_attributes({"encoding-type": "annbatch-unfinished"})
    with pytest.raises(StoreError, match=r"`dataset_0` of .*c\.zarr must be complete"):
        Loader().use_collection(DatasetCollection(tmp_path / "c.zarr", mode="r"))
    assert main(["info", str(tmp_path / "c.zarr" / "dataset_0")]) == 1
    assert "dataset_0 must be complete" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csr", "dense"])
def test_elements_of_an_unfinished_group(tmp_path: Path, kind: str) -> None:
    root = zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=3)
    write_sharded(root, make_cells(0, 20, kind=kind), key="one")
    held = ad.AnnData(ad.io.sparse_dataset(root["one/X"]) if kind == "csr" else root["one/X"])
    whole = [batch["X"] for batch in Loader(batch_size=20).add_dataset(root["one/X"])]
    assert np.array_equal(dense(whole[0]), dense(make_cells(0, 20, kind=kind).X))
    root["one"].update_attributes({"encoding-type": "annbatch-unfinished"})
    adds: list[Callable[[], object]] = [
        lambda: Loader().add_dataset(root["one/X"]),
        lambda: Loader().add_datasets([root["one/layers/twice"]]),
        lambda: Loader().add_dataset(ad.experimental.read_elem_lazy(root["one/X"])),
        lambda: Loader().add_adata(held),
        lambda: DatasetCollection(tmp_path / "d.zarr").add_adatas([store], load_adata=lambda _: held, progress=False),
    ]
    store = tmp_path / "c.zarr" / "one"
    for add in adds:
        with pytest.raises(StoreError, match=r"`one/.*` of .*c\.zarr must be complete"):
            add()


@pytest.mark.slow
@pytest.mark.parametrize("key", [None, "layers", "X/inner"])
def test_what_is_read_lazily_is_not_deleted_before_it_is_read(tmp_path: Path, key: str | None) -> None:
    cells = make_cells(0, 10)
    place = tmp_path / "c.zarr"
    write_sharded(zarr.open_group(place, mode="w", zarr_format=3), cells)
    before = files(place)
    (tmp_path / "link.zarr").symlink_to(place)
    for name in ("c.zarr", "link.zarr"):
        lazy = ad.experimental.read_lazy(zarr.open_group(tmp_path / name, mode="r"))
        with pytest.raises(ValueError, match=r"`group` must not hold what `adata` reads lazily, got .*to_memory"):
            write_sharded(zarr.open_group(place, mode="r+"), lazy, key=key)
    part = ad.AnnData(layers={"l": ad.io.sparse_dataset(zarr.open_group(place, mode="r")["X"])}, obs=cells.obs)
    with pytest.raises(ValueError, match="`group` must not hold what `adata` reads lazily"):
        write_sharded(zarr.open_group(place, mode="r+"), part)
    assert files(place) == before
    write_sharded(zarr.open_group(place, mode="r+"), ad.experimental.read_lazy(zarr.open_group(place)), key="other")
    assert_same(ad.io.read_elem(zarr.open_group(place)["other"]), cells)
