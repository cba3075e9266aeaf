"""What is damaged, and how it is read: each victim is made once, and read again after each mutation."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import zarr
from scipy import sparse

from annbatch import DatasetCollection, Loader
from annbatch.samplers import DistributedSampler, RandomSampler, Split, split

from .mutate import mutate, mutate_value

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = ("X", "layers/dense", "obsm/pca", "obs")


class NotOpenedError(Exception):
    """zarr or h5py, which the user calls, refused to open the damaged file: nothing of this package was reached."""


@dataclass(frozen=True)
class Victim:
    """Something that is damaged and read.

    Attributes
    ----------
    weight
        How often it is chosen.
    make
        Makes it in an empty folder.
    read
        Returns a digest of all that is read; the number selects among several ways to read.
    covers
        Returns whether a checksum should have found the damage, given the folder and what was done: asked where a wrong
        value was read.
    damage
        Damages it and returns what was done; default, a file of the folder.
    """

    weight: int
    make: Callable[[Path], None]
    read: Callable[[Path, int], str]
    covers: Callable[[Path, str], bool] = lambda folder, what: False
    damage: Callable[[Path, np.random.Generator], str] = field(default=lambda folder, rng: damage_file(folder, rng))


def files_in(folder: Path) -> list[Path]:
    """Return all files, in an order that does not depend on the file system."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def damage_file(folder: Path, rng: np.random.Generator) -> str:
    """Damage a file of a folder; metadata more often than their share of the files."""
    files = files_in(folder)
    path = files[int(rng.integers(len(files)))]
    return f"{path.relative_to(folder)}: {mutate(path, rng, files)}"


def cells(n_rows: int = 70, seed: int = 0) -> ad.AnnData:
    """Return cells with every kind of element and column."""
    rng = np.random.default_rng(seed)
    counts = sparse.csr_matrix(rng.poisson(0.7, (n_rows, 12)).astype(np.float32))
    obs = pd.DataFrame(
        {
            "label": pd.Categorical(rng.choice(["B", "T", "NK"], n_rows)),
            "depth": rng.integers(0, 1000, n_rows),
            "score": rng.normal(size=n_rows),
            "note": [f"note {i % 7}" for i in range(n_rows)],
            "age": pd.array(np.where(rng.random(n_rows) < 0.2, None, 40), dtype="Int16"),
        },
        index=[f"cell{i}" for i in range(n_rows)],
    )
    var = pd.DataFrame({"known": np.arange(12) % 2 == 0}, index=[f"gene{i}" for i in range(12)])
    dense = rng.integers(0, 300, (n_rows, 12)).astype(np.int32)
    return ad.AnnData(
        counts, obs=obs, var=var, layers={"dense": dense}, obsm={"pca": rng.normal(size=(n_rows, 3)).astype("f4")}
    )


# Digests --------------------------------------------------------------------------------------------------------------


def _update(digest: Any, value: Any) -> None:
    if isinstance(value, pd.DataFrame):
        for name in value:
            digest.update(repr((name, str(value[name].dtype), value[name].tolist())).encode())
        digest.update(repr(value.index.tolist()).encode())
    elif sparse.issparse(value):
        for part in (value.data, value.indices, value.indptr):
            _update(digest, part)
    elif isinstance(value, dict):
        for key in sorted(value):
            digest.update(key.encode())
            _update(digest, value[key])
    elif isinstance(value, np.ndarray):
        digest.update(repr((value.dtype.str, value.shape)).encode())
        digest.update(repr(value.tolist()).encode() if value.dtype.hasobject else np.ascontiguousarray(value).tobytes())


WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"densify": True, "obs_as": "arrays"},
    {"var_names": ["gene7", "gene2", "gene11"]},
    {"shuffle": False, "prefetch": "1MB"},
)


def loader(way: int, **more: Any) -> Loader:
    """Return a loader without data."""
    sizes = {"batch_size": 16, "chunk_size": 4, "preload_nchunks": 8, "shuffle": True, "seed": 0, "prefetch": 0}
    return Loader(**(sizes | {"keys": KEYS} | WAYS[way % len(WAYS)] | more))


def digest_of(one: Loader) -> str:
    """Return a digest of an epoch."""
    digest = hashlib.blake2b()
    with one:
        for batch in one:
            _update(digest, {key: value for key, value in batch.items() if value is not None})
    return digest.hexdigest()


# Stores ---------------------------------------------------------------------------------------------------------------


def _collection(layout: str) -> Victim:
    def make(folder: Path) -> None:
        cells().write_h5ad(folder / "in.h5ad")
        collection = DatasetCollection(folder / "store")
        for seed in range(2):
            collection.add_adatas(
                [folder / "in.h5ad"],
                layout=layout,
                n_obs_per_chunk=8,
                shard_size=40,
                rng=np.random.default_rng(seed),
                progress=False,
            )
        (folder / "in.h5ad").unlink()

    def read(folder: Path, way: int) -> str:
        collection = DatasetCollection(folder / "store", mode="r")
        if way % 5 == 4:
            digest = hashlib.blake2b()
            _update(digest, collection.obs())
            digest.update(repr((collection.n_obs, list(collection.var_names), repr(collection))).encode())
            return digest.hexdigest()
        return digest_of(loader(way).use_collection(collection))

    def covers(folder: Path, what: str) -> bool:
        return bool(DatasetCollection(folder / "store").verify())  # which compares every byte with a checksum

    return Victim(4, make, read, covers)


def _opened(path: Path) -> Any:
    """Open a store as users do."""
    try:
        return h5py.File(path, "r") if path.is_file() else zarr.open_group(path, mode="r")
    except Exception as error:
        raise NotOpenedError(str(error)) from error


def _read_store(folder: Path, way: int) -> str:
    group = _opened(folder / "store")
    try:
        return digest_of(loader(way).add_adata(group))
    finally:
        if isinstance(group, h5py.File):
            group.close()


def _zarr(zarr_format: int = 3, **arrays: Any) -> Victim:
    has_checksums = any(type(one).__name__ == "Crc32cCodec" for one in arrays.get("compressors") or ())

    def covers(folder: Path, what: str) -> bool:
        inside = any(f"{path}/c/" in what for path in ("X/data", "X/indices", "layers/dense", "obsm/pca"))
        return has_checksums and inside and not what.endswith((" sealed", "by another", "removed"))

    def make(folder: Path) -> None:
        root = zarr.open_group(folder / "store", mode="w", zarr_format=zarr_format)

        def write(function: Any, group: Any, key: str, element: Any, dataset_kwargs: Any, iospec: Any) -> None:
            given = dict(dataset_kwargs)
            is_array = isinstance(element, np.ndarray) and element.dtype.kind in "iuf" and element.size > 20
            if is_array or sparse.issparse(element):
                rest = element.shape[1:] if is_array else ()
                given |= {"chunks": (8, *rest)} | ({"shards": (48, *rest)} if "shards" in arrays else {})
                given |= {name: value for name, value in arrays.items() if name != "shards"}
            function(group, key, element, dataset_kwargs=given)

        ad.experimental.write_dispatched(root, "/", cells(), write)

    return Victim(2, make, _read_store, covers)


def _h5ad(compression: str | None) -> Victim:
    def make(folder: Path) -> None:
        cells(200).write_h5ad(folder / "store", compression=compression)

    return Victim(3, make, _read_store)


def _mudata() -> Victim:
    def make(folder: Path) -> None:
        import mudata

        one, other = cells(), cells(seed=1)[10:60].copy()
        other.var_names = [f"peak{i}" for i in range(12)]
        for modality in (one, other):
            modality.obs = modality.obs[["label"]]
        mudata.MuData({"rna": one, "atac": other}).write_zarr(folder / "store")

    def read(folder: Path, way: int) -> str:
        chosen = {"keys": ("X", "obs"), "var_names": None}
        return digest_of(loader(way, **chosen).add_adata(_opened(folder / "store")))

    return Victim(2, make, read)


def _conversion(of: Victim) -> Victim:
    def read(folder: Path, way: int) -> str:
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        try:
            collection = DatasetCollection(out).add_adatas(
                [folder / "store"], rng=np.random.default_rng(0), memory_limit="300MB", progress=False
            )
            return digest_of(loader(0).use_collection(collection))
        finally:
            shutil.rmtree(out, ignore_errors=True)

    return Victim(1, of.make, read)


# States and work ------------------------------------------------------------------------------------------------------

_rows = np.arange(400, dtype=np.float32).reshape(200, 2)


def _state(ranks: int) -> Victim:
    def make_loader() -> Loader:
        sampler: Any = RandomSampler(4, 8, 16, rng=np.random.default_rng(0))
        if ranks > 1:
            sampler = DistributedSampler(sampler, dist_info=lambda: (1, ranks))
        return Loader(batch_sampler=sampler, keys=("X",), prefetch=0).add_dataset(_rows)

    def make(folder: Path) -> None:
        one = make_loader()
        batches = iter(one)
        next(batches)
        state = one.state_dict()
        state["position"]["dealt"] = [[3, 1], [2, 1]] if ranks > 1 else []
        (folder / "state.json").write_text(json.dumps(state))

    def read(folder: Path, way: int) -> str:
        try:
            state = json.loads((folder / "state.json").read_bytes())
        except ValueError as error:
            raise NotOpenedError(str(error)) from error
        one = make_loader()
        one.load_state_dict(state)
        assert isinstance(one.state_dict(), dict)
        digest_of(one)
        return ""  # a position may be any other: what counts is that it is one

    def damage(folder: Path, rng: np.random.Generator) -> str:
        path = folder / "state.json"
        state = json.loads(path.read_bytes())
        what = mutate_value(state if rng.random() < 0.5 else state["position"], rng)
        if rng.random() < 0.1:
            state["position"]["dealt"] = [[int(10 ** rng.integers(6)), int(rng.integers(3))]] * int(
                10 ** rng.integers(6)
            )
            what = "dealt"
        path.write_text(json.dumps(state))
        return what

    return Victim(2, make, read, damage=damage)


def _split() -> Victim:
    def make(folder: Path) -> None:
        obs = pd.DataFrame({"donor": [f"donor{i % 10}" for i in range(200)]})
        split(obs, {"train": 0.8, "test": 0.2}, groupby="donor").save(folder / "split.json")

    def read(folder: Path, way: int) -> str:
        found = Split.load(folder / "split.json")
        return repr([(name, np.asarray(rows).tolist()) for name, rows in found.items()])

    return Victim(1, make, read)


def _work() -> Victim:
    """A conversion that was killed after its first pass: its work folder is damaged, and the call made again."""

    def convert(folder: Path) -> DatasetCollection:
        return DatasetCollection(folder / "store").add_adatas(
            [folder / "in.h5ad"], rng=np.random.default_rng(0), memory_limit="1MB", dataset_size=40, progress=False
        )

    def make(folder: Path) -> None:
        import annbatch.collection._runs.build as build

        cells().write_h5ad(folder / "in.h5ad")
        write, n_written = build.write_dataset, [0]

        def killed(*arguments: Any) -> None:
            n_written[0] += 1
            if n_written[0] > 1:
                raise KeyboardInterrupt
            write(*arguments)

        build.write_dataset = killed
        try:
            convert(folder)
        except KeyboardInterrupt:
            pass
        finally:
            build.write_dataset = write

    def read(folder: Path, way: int) -> str:
        return digest_of(loader(0).use_collection(convert(folder)))

    def damage(folder: Path, rng: np.random.Generator) -> str:
        return damage_file(folder / "store", rng)

    return Victim(1, make, read, damage=damage)


def victims() -> dict[str, Victim]:
    """Return all victims by name."""
    from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec

    stores = {
        "compact": _collection("compact"),
        "random_access": _collection("random_access"),
        "plain": _zarr(compressors=None),
        "zarr": _zarr(),
        "v2": _zarr(2),
        "sharded": _zarr(shards=True, compressors=[BloscCodec(cname="lz4")]),
        "checksums": _zarr(shards=True, compressors=[GzipCodec(), Crc32cCodec()]),
        "h5ad": _h5ad(None),
        "h5ad_gzip": _h5ad("gzip"),
    }
    try:
        import mudata

        if hasattr(mudata, "set_options"):
            mudata.set_options(pull_on_update=False)
        stores["mudata"] = _mudata()
    except ImportError:
        warnings.warn("mudata is not installed: its stores are not fuzzed.", stacklevel=2)
    converted = {f"convert_{name}": _conversion(stores[name]) for name in ("zarr", "v2", "h5ad", "h5ad_gzip")}
    others = {"state": _state(1), "ranks": _state(2), "split": _split(), "work": _work()}
    from .remote import remote

    return stores | converted | others | remote(stores["compact"])
