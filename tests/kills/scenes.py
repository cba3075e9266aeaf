"""What is killed: calls that write, what they start from, and what must hold after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import zarr
from scipy import sparse

from annbatch import DatasetCollection, Loader, write_sharded
from annbatch.cli import main
from annbatch.errors import StoreError
from annbatch.samplers import split
from annbatch.samplers._split import Split

SPILLS = "100kB"
"""A memory limit at which rows go through the disk."""

_N_ROWS = [800, 3000, 700]


def make_cells(number: int, n_rows: int) -> ad.AnnData:
    """Return cells with counts, a label, an embedding and pairs."""
    rng = np.random.default_rng(number)
    counts = sparse.csr_matrix(rng.poisson(0.7, (n_rows, 30)).astype(np.float32))
    label = pd.Categorical(rng.choice(["B", "T", "NK"], n_rows))
    obs = pd.DataFrame({"label": label}, index=[f"f{number}_r{i}" for i in range(n_rows)])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(30)])
    obsm = {"pca": rng.normal(size=(n_rows, 3)).astype(np.float32)}
    pairs = sparse.random(n_rows, n_rows, 5 / n_rows, format="csr", random_state=number)
    return ad.AnnData(counts, obs=obs, var=var, obsm=obsm, obsp={"pairs": pairs})


def write_inputs(inputs: Path) -> None:
    """Write the inputs of all calls."""
    for number, n_rows in enumerate(_N_ROWS):
        make_cells(number, n_rows).write_h5ad(inputs / f"{number}.h5ad")


def bucket() -> Any:
    """Return the bucket that the environment points at."""
    from obstore.store import S3Store

    return S3Store("bucket", client_options={"allow_http": True})


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Scene:
    """A call, and what it starts from. ``at`` is a folder, and the name of a prefix in the bucket.

    Attributes
    ----------
    before
        Makes what is there before the call.
    call
        The call.
    check
        Raises unless what was there before reads, or what the call makes.
    result
        Returns what must be the same, however often the call was killed.
    once
        Whether the call refuses to be made twice; if not, it may do the same again.
    """

    before: Callable[[Path, Path], None]
    call: Callable[[Path, Path], None]
    check: Callable[[Path], None]
    result: Callable[[Path], dict[str, Any]]
    once: bool = True


def _collection(remote: bool, *, n_before: int, limit: str = "4GB", shuffle_again: bool = False) -> Scene:
    def opened(at: Path) -> DatasetCollection:
        return DatasetCollection(f"s3://bucket/{at.name}" if remote else at / "c.zarr")

    def add(at: Path, paths: list[Path], memory_limit: str) -> None:
        rng = np.random.default_rng(7)
        how: dict[str, Any] = {"dataset_size": 1500, "memory_limit": memory_limit, "obsp": "pairs", "progress": False}
        opened(at).add_adatas(paths, rng=rng, **how)

    def before(at: Path, inputs: Path) -> None:
        if n_before:
            add(at, [inputs / f"{i}.h5ad" for i in range(n_before)], "4GB")

    def call(at: Path, inputs: Path) -> None:
        if shuffle_again:
            opened(at).reshuffle(np.random.default_rng(3), memory_limit=limit, progress=False)
        else:
            add(at, [inputs / f"{i}.h5ad" for i in range(n_before, 3)], limit)

    def check(at: Path) -> None:
        collection, n_rows = opened(at), (sum(_N_ROWS[:n_before]), sum(_N_ROWS))
        if n_before or not collection.is_empty:
            report = collection.verify()
            assert report.ok, report
            assert collection.n_obs in n_rows
            names = collection.obs([]).index
            assert names.is_unique
            assert {f"f0_r{i}" for i in range(_N_ROWS[0])} <= set(names)

    def result(at: Path) -> dict[str, Any]:
        if not remote:
            return _files(at / "c.zarr") if (at / "c.zarr").exists() else {}
        keys = [entry["path"] for entry in bucket().list(at.name + "/").collect()]
        return {key.partition("/")[2]: bytes(bucket().get(key).bytes()) for key in keys}

    return Scene(before, call, check, result, once=not shuffle_again)


def _h5ad(limit: str) -> Scene:
    def add(at: Path, paths: list[Path]) -> None:
        collection = DatasetCollection(at / "files", is_collection_h5ad=True)
        rng = np.random.default_rng(7)
        how: dict[str, Any] = {"dataset_size": 1500, "memory_limit": limit, "obsp": "pairs", "progress": False}
        collection.add_adatas(paths, rng=rng, **how)

    def check(at: Path) -> None:
        found = [ad.read_h5ad(path) for path in (at / "files").glob("*.h5ad")]
        assert {f"f0_r{i}" for i in range(_N_ROWS[0])} <= {name for one in found for name in one.obs_names}

    return Scene(
        lambda at, inputs: add(at, [inputs / "0.h5ad"]),
        lambda at, inputs: add(at, [inputs / "1.h5ad", inputs / "2.h5ad"]),
        check,
        lambda at: _files(at / "files"),
    )


def _write_sharded() -> Scene:
    def write(at: Path, number: int) -> None:
        cells = make_cells(number, _N_ROWS[number])
        cells.raw = cells.copy()
        cells.obsp["near"] = sparse.eye(cells.n_obs, format="csr")
        write_sharded(zarr.open_group(at / "c.zarr", mode="a", zarr_format=3), cells, n_obs_per_chunk=8)

    def check(at: Path) -> None:
        try:
            group = zarr.open_group(at / "c.zarr", mode="r")
            loader = Loader().add_adata(group)
        except (FileNotFoundError, StoreError):  # between its deletion and the new group, or unfinished
            return
        cells = ad.io.read_elem(group)
        assert cells.raw.shape == cells.shape
        assert cells.obsp["near"].nnz == cells.n_obs == loader.n_obs
        assert cells.n_obs in _N_ROWS

    return Scene(
        lambda at, inputs: write(at, 0),
        lambda at, inputs: write(at, 1),
        check,
        lambda at: _files(at / "c.zarr"),
        once=False,
    )


def _cache() -> Scene:
    def digest(at: Path) -> str:
        found = hashlib.blake2b()
        collection = DatasetCollection("s3://bucket/cached", mode="r")
        with Loader(
            batch_size=64, chunk_size=8, preload_nchunks=64, shuffle=True, seed=1, cache_dir=at / "cache"
        ) as one:
            for batch in one.use_collection(collection):
                found.update(batch["X"].data.tobytes() + batch["X"].indices.tobytes())
        return found.hexdigest()

    def before(at: Path, inputs: Path) -> None:
        collection = DatasetCollection("s3://bucket/cached")
        paths = [inputs / f"{i}.h5ad" for i in range(3)]
        collection.add_adatas(paths, rng=np.random.default_rng(7), n_obs_per_chunk=8, progress=False, if_present="skip")

    return Scene(
        before, lambda at, inputs: print(digest(at), end=""), lambda at: None, lambda at: {"": digest(at)}, False
    )


def _split() -> Scene:
    def save(at: Path, seed: int) -> None:
        split(200_000, (0.8, 0.2), seed=seed, chunk_size=1).save(at / "split.json")

    def check(at: Path) -> None:
        assert Split.load(at / "split.json").n_obs == 200_000

    return Scene(
        lambda at, inputs: save(at, 0),
        lambda at, inputs: [save(at, seed) for seed in range(10, 0, -1)] and None,
        check,
        lambda at: {"split.json": (at / "split.json").read_bytes()},
        once=False,
    )


def _export() -> Scene:
    def before(at: Path, inputs: Path) -> None:
        DatasetCollection(at / "c.zarr").add_adatas([inputs / "1.h5ad"], rng=np.random.default_rng(0), progress=False)

    def call(at: Path, inputs: Path) -> None:
        if main(["export", str(at / "c.zarr"), str(at / "out.h5ad")]) == 1:
            raise ValueError("The file exists already.")

    def check(at: Path) -> None:
        if (at / "out.h5ad").exists():
            assert ad.read_h5ad(at / "out.h5ad").n_obs == _N_ROWS[1]

    return Scene(before, call, check, _files)


SCENES = {
    "first": _collection(False, n_before=0),
    "append": _collection(False, n_before=1),
    "reshuffle": _collection(False, n_before=3, shuffle_again=True),
    "spill": _collection(False, n_before=1, limit=SPILLS),
    "h5ad": _h5ad("4GB"),
    "h5ad spill": _h5ad(SPILLS),
    "remote first": _collection(True, n_before=0),
    "remote append": _collection(True, n_before=1),
    "remote reshuffle": _collection(True, n_before=3, shuffle_again=True),
    "remote spill": _collection(True, n_before=1, limit=SPILLS),
    "write_sharded": _write_sharded(),
    "cache": _cache(),
    "split": _split(),
    "export": _export(),
}
"""Scenes by name; those that begin with ``remote``, and ``cache``, need a bucket."""


def copy(before: Path, at: Path) -> None:
    """Copy what is there before a call, in the folder and in the bucket."""
    shutil.copytree(before, at)
    if "AWS_ENDPOINT_URL" in os.environ:
        for entry in bucket().list(before.name + "/").collect():
            bucket().put(at.name + "/" + entry["path"].partition("/")[2], bucket().get(entry["path"]).bytes())


def is_finished(result: dict[str, Any], calm: dict[str, Any]) -> bool:
    """Return whether a call has come to its end, but for the lock of its folder."""
    return json.dumps(sorted(result.keys() - {".annbatch-work/lock"})) == json.dumps(sorted(calm)) and all(
        result[name] == calm[name] for name in calm
    )
