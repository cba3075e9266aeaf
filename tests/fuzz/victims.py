"""What is damaged, and how it is read: each victim is made once, and read again after each mutation."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import mudata
import numpy as np
import pandas as pd
import zarr
from scipy import sparse
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec

from annbatch import DatasetCollection, Loader, write_sharded

from .mutate import mutate
from .objects import change_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNCHECKED = "wrong without checksum"
"""Outcome of a wrong value that nothing in the store contradicts."""

KEYS = ("X", "layers/dense", "obsm/pca", "obs")
N_ROWS, N_GENES = 24, 8


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
    judge
        Returns the outcome where a wrong value was read, given folder and damage: should a checksum have found it?
    damage
        Damages it and returns what was done; default, a file of the folder, or an object of its store.
    ways
        How many ways there are to read it.
    """

    weight: int
    make: Callable[[Path], None]
    read: Callable[[Path, int], str]
    judge: Callable[[Path, str], str] = lambda folder, what: UNCHECKED
    damage: Callable[[Path, np.random.Generator], str] = field(default=lambda folder, rng: damage_any(folder, rng))
    ways: int = 1


def entries_in(folder: Path) -> Iterator[Path]:
    """Yield all files and folders, in an order that does not depend on the file system."""
    for here, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(here, name) for name in sorted([*folders, *names]))


def damage_file(folder: Path, rng: np.random.Generator) -> str:
    """Damage the bytes of a file."""
    files = [path for path in entries_in(folder) if path.is_file() and path.name != "lock"]
    path = files[int(rng.integers(len(files)))]
    return f"{path.relative_to(folder)}: {mutate(path, rng, files)}"


def damage_any(folder: Path, rng: np.random.Generator) -> str:
    """Damage the bytes of a file, or an array, group or attribute by the library that wrote it."""
    if rng.random() < 0.3 and (what := change_store(folder, rng)):
        return what
    return damage_file(folder, rng)


def cells(n_rows: int = N_ROWS, seed: int = 0) -> ad.AnnData:
    """Return cells with every kind of element and column."""
    rng = np.random.default_rng(seed)
    counts = sparse.csr_matrix(rng.poisson(0.7, (n_rows, N_GENES)).astype(np.float32))
    obs = pd.DataFrame(
        {
            "label": pd.Categorical(rng.choice(["B", "T", "NK"], n_rows)),
            "depth": rng.integers(0, 1000, n_rows),
            "score": rng.normal(size=n_rows),
            "note": [f"note {i}" for i in range(n_rows)],
            "age": pd.array(np.where(rng.random(n_rows) < 0.2, None, 40), dtype="Int16"),
            "known": pd.array(np.where(rng.random(n_rows) < 0.2, None, True), dtype="boolean"),
        },
        index=[f"cell{i}" for i in range(n_rows)],
    )
    var = pd.DataFrame({"known": np.arange(N_GENES) % 2 == 0}, index=[f"gene{i}" for i in range(N_GENES)])
    dense = rng.integers(0, 300, (n_rows, N_GENES)).astype(np.int32)
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
    {"var_names": ["gene7", "gene2", "gene5"]},
    {"shuffle": False, "prefetch": "1MB"},
)


def loader(way: int, **more: Any) -> Loader:
    """Return a loader without data."""
    sizes = {"batch_size": 12, "chunk_size": 4, "preload_nchunks": 3, "shuffle": True, "seed": 0, "prefetch": 0}
    return Loader(**(sizes | {"keys": KEYS} | WAYS[way % len(WAYS)] | more))


def digest_of(one: Loader) -> str:
    """Return a digest of an epoch."""
    digest = hashlib.blake2b()
    with one:
        for batch in one:
            _update(digest, {key: value for key, value in batch.items() if value is not None})
    return digest.hexdigest()


# Stores ---------------------------------------------------------------------------------------------------------------


def read_collection(collection: DatasetCollection, way: int) -> str:
    """Return a digest of a collection."""
    if way == len(WAYS):
        digest = hashlib.blake2b()
        _update(digest, collection.obs())
        digest.update(repr((collection.n_obs, list(collection.var_names), repr(collection))).encode())
        return digest.hexdigest()
    return digest_of(loader(way).use_collection(collection))


def _add(folder: Path, source: Any, seed: int, **how: Any) -> DatasetCollection:
    collection = DatasetCollection(folder, is_collection_h5ad=how.pop("is_collection_h5ad", False))
    return collection.add_adatas([source], rng=np.random.default_rng(seed), progress=False, **how)


def _collection(layout: str) -> Victim:
    def make(folder: Path) -> None:
        for seed in range(2):
            cells(seed=seed).write_h5ad(folder / "in.h5ad")
            _add(folder / "store", folder / "in.h5ad", seed, layout=layout, n_obs_per_chunk=8, shard_size=16)
        (folder / "in.h5ad").unlink()

    def read(folder: Path, way: int) -> str:
        return read_collection(DatasetCollection(folder / "store", mode="r"), way)

    def judge(folder: Path, what: str) -> str:
        ok = DatasetCollection(folder / "store").verify(progress=False).ok  # compares every byte with two checksums
        return "WRONG" if ok else "wrong until verified"

    return Victim(4, make, read, judge, ways=len(WAYS) + 1)


def _attached() -> Victim:
    """An h5ad file and a zarr store that a collection names."""

    def make(folder: Path) -> None:
        cells().write_h5ad(folder / "one")
        cells(seed=1).write_zarr(folder / "other")
        DatasetCollection(folder / "store").attach([folder / "one", folder / "other"])

    def read(folder: Path, way: int) -> str:
        return read_collection(DatasetCollection(folder / "store", mode="r"), way)

    def damage(folder: Path, rng: np.random.Generator) -> str:
        if rng.random() < 0.5:
            return damage_file(folder / "store", rng)
        # What is attached must be found to have changed, unless whoever changes it keeps size and time.
        before = {path: path.stat().st_mtime_ns for path in entries_in(folder) if path.is_file()}
        what = damage_any(folder, rng)
        for path in before if rng.random() < 0.7 else ():
            if path.exists():
                os.utime(path, ns=(before[path], before[path]))
        return what

    return Victim(3, make, read, damage=damage, ways=len(WAYS) + 1)


def _written() -> Victim:
    """What ``write_sharded`` writes."""

    def make(folder: Path) -> None:
        write_sharded(zarr.open_group(folder / "store", mode="w"), cells(), n_obs_per_chunk=8, shard_size=16)

    return Victim(2, make, _read_store, ways=len(WAYS))


def _h5ad_collection() -> Victim:
    def make(folder: Path) -> None:
        cells().write_h5ad(folder / "in.h5ad")
        _add(folder / "store", folder / "in.h5ad", 0, is_collection_h5ad=True)

    def read(folder: Path, way: int) -> str:
        how = {"is_collection_h5ad": True, "if_present": "skip" if way % 2 else "add"}
        return digest_of_h5ad(_add(folder / "store", folder / "in.h5ad", 1, **how), folder / "store")

    def damage(folder: Path, rng: np.random.Generator) -> str:
        return damage_any(folder / "store", rng)

    return Victim(1, make, read, damage=damage, ways=2)


def digest_of_h5ad(collection: DatasetCollection, folder: Path) -> str:
    """Return a digest of a folder of h5ad files."""
    digest = hashlib.blake2b()
    _update(digest, collection.obs())
    digest.update(repr((collection.n_obs, list(collection.var_names), repr(collection))).encode())
    for path in sorted(folder.glob("*.h5ad")):
        with h5py.File(path, "r") as file:
            digest.update(digest_of(loader(0, keys=("X", "obs")).add_adata(file)).encode())
    return digest.hexdigest()


@contextmanager
def users_part() -> Iterator[None]:
    """Mark what users call zarr and h5py for."""
    try:
        yield
    except Exception as error:
        raise NotOpenedError(str(error)) from error


def opened(path: Path) -> Any:
    """Open a store as users do."""
    with users_part():
        return h5py.File(path, "r") if path.is_file() else zarr.open_group(path, mode="r")


def _read_store(folder: Path, way: int) -> str:
    group = opened(folder / "store")
    try:
        return digest_of(loader(way).add_adata(group))
    finally:
        if isinstance(group, h5py.File):
            group.close()


def _zarr(zarr_format: int = 3, **arrays: Any) -> Victim:
    has_checksums = any(isinstance(one, Crc32cCodec) for one in arrays.get("compressors") or ())

    def judge(folder: Path, what: str) -> str:
        inside = any(f"{path}/c/" in what for path in ("X/data", "X/indices", "layers/dense", "obsm/pca"))
        covered = has_checksums and inside and not what.endswith((" sealed", "by another", "removed"))
        return "WRONG" if covered else UNCHECKED

    def make(folder: Path) -> None:
        root = zarr.open_group(folder / "store", mode="w", zarr_format=zarr_format)

        def write(function: Any, group: Any, key: str, element: Any, dataset_kwargs: Any, iospec: Any) -> None:
            given = dict(dataset_kwargs)
            is_array = isinstance(element, np.ndarray) and element.dtype.kind in "iuf" and element.ndim == 2
            if is_array or sparse.issparse(element):
                n, rest = (8, element.shape[1:]) if is_array else (32, ())
                given |= {"chunks": (n, *rest)} | ({"shards": (2 * n, *rest)} if "shards" in arrays else {})
                given |= {name: value for name, value in arrays.items() if name != "shards"}
            function(group, key, element, dataset_kwargs=given)

        ad.experimental.write_dispatched(root, "/", cells(), write)

    return Victim(2, make, _read_store, judge, ways=len(WAYS))


def _h5ad(**how: Any) -> Victim:
    def make(folder: Path) -> None:
        chunks = {} if how.get("compression") is None else {"chunks": True}
        adata = cells()
        adata.write_h5ad(folder / "store", **how)
        if chunks:
            with h5py.File(folder / "store", "r+") as file:  # several chunks per array
                for name in ("X/data", "X/indices", "layers/dense"):
                    values, attributes = file[name][:], dict(file[name].attrs)
                    del file[name]
                    chunk = (8, *values.shape[1:]) if values.ndim > 1 else (32,)
                    file.create_dataset(name, data=values, chunks=chunk, shuffle=True, **how).attrs.update(attributes)

    return Victim(3, make, _read_store, ways=len(WAYS))


def _before_0_8() -> Victim:
    """An h5ad file of anndata 0.7: categories lie in a group of their own, to which the codes refer."""

    def make(folder: Path) -> None:
        cells().write_h5ad(folder / "store")
        with h5py.File(folder / "store", "r+") as file:
            obs = file["obs"]
            obs.attrs["encoding-version"] = "0.1.0"
            codes, categories = obs["label/codes"][:], obs["label/categories"][:]
            for name in ("label", "age", "known"):
                del obs[name]
            obs["__categories/label"] = categories
            obs["label"] = codes
            obs["label"].attrs["categories"] = obs["__categories/label"].ref
            obs.attrs["column-order"] = ["label", "depth", "score", "note"]

    return Victim(2, make, _read_store, ways=2)


def _mudata(suffix: str) -> Victim:
    def make(folder: Path) -> None:
        one, other = cells(), cells(seed=1)[4:20].copy()
        other.var_names = [f"peak{i}" for i in range(N_GENES)]
        for modality in (one, other):
            modality.obs = modality.obs[["label"]]
        both = mudata.MuData({"rna": one, "atac": other})
        if suffix == "zarr":
            both.write_zarr(folder / "store")
        else:
            both.write_h5mu(folder / "store.h5mu")
            (folder / "store.h5mu").rename(folder / "store")

    def read(folder: Path, way: int) -> str:
        group = opened(folder / "store")
        try:
            return digest_of(loader(way, keys=("X", "obs"), var_names=None).add_adata(group))
        finally:
            if isinstance(group, h5py.File):
                group.close()

    return Victim(2, make, read, ways=2)


def _conversion(of: Victim, inside: str = "") -> Victim:
    def read(folder: Path, way: int) -> str:
        out, group = folder / "out", None
        try:
            source: Any = folder / "store"
            if inside:
                group = opened(source)
                with users_part():
                    source = group[inside]
            if way == 0:
                return digest_of(loader(0, keys=("X", "obs")).use_collection(_add(out, source, 0)))
            return digest_of_h5ad(_add(out, source, 0, is_collection_h5ad=True), out)
        finally:
            if group is not None:
                group.file.close()
            shutil.rmtree(out, ignore_errors=True)

    return Victim(1, of.make, read, ways=2)


def victims() -> dict[str, Victim]:
    """Return all victims by name."""
    from .remote import remote
    from .states import states

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if hasattr(mudata, "set_options"):
            mudata.set_options(pull_on_update=False)
    collections = {layout: _collection(layout) for layout in ("compact", "random_access")}
    stores = {
        "plain": _zarr(compressors=None),
        "zstd": _zarr(),
        "gzip": _zarr(compressors=[GzipCodec()]),
        "v2": _zarr(2),
        "sharded": _zarr(shards=True, compressors=[BloscCodec(cname="lz4")]),
        "blosc_zstd": _zarr(shards=True, compressors=[BloscCodec(cname="zstd", shuffle="bitshuffle")]),
        "checksums": _zarr(shards=True, compressors=[GzipCodec(), Crc32cCodec()]),
        "written": _written(),
        "h5ad_plain": _h5ad(),
        "h5ad_gzip": _h5ad(compression="gzip"),
        "h5ad_lzf": _h5ad(compression="lzf"),
        "h5ad_before_0_8": _before_0_8(),
        "mudata": _mudata("zarr"),
        "h5mu": _mudata("h5mu"),
    }
    converted = {f"convert_{name}": _conversion(stores[name]) for name in ("zstd", "v2", "h5ad_plain", "h5ad_gzip")}
    converted["convert_h5mu"] = _conversion(stores["h5mu"], "mod/rna")
    collections |= {"h5ad_collection": _h5ad_collection(), "attached": _attached()}
    return collections | stores | converted | states() | remote(collections["compact"])
