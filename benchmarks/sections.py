"""The sections of the benchmark: each yields cases, and is sent their results."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from annbatch import Loader

from .cases import Case, Contender
from .cold import cold_cases
from .conversion import CONVERSION, compress, conversion_cases
from .in_place import h5ad_cases, memory_cases, rows_of, zarr_cases
from .sets import set_cases
from .setup import OURS, PEER, Cases, Setup
from .stores import LAYOUTS, SCVERSE

PANEL_GENES = 1_000
IN_PLACE = {CONVERSION, "memory", "h5ad", "foreign"}
"""Sections that read no collection."""

TRAINING_WINDOWS = 24


def limits(setup: Setup) -> Cases:
    """Measure the machine: copying memory, reading files, decoding stored arrays; on one core, and on all."""
    for threads in _threads():
        who = "1 core" if threads else "all cores"
        machine = [Contender("copy memory", "limits", {"kind": "copy"}, threads=threads, unit="bytes")]
        for store, path in setup.stores.sparse.items():
            task = {"store": str(path)}
            machine += [
                Contender(f"pread, {store} store", "limits", {"kind": "pread", **task}, threads=threads, unit="bytes"),
                *(
                    Contender(
                        f"decode {array}, {store} store",
                        "limits",
                        {"kind": "decode", "array": number, **task},
                        threads=threads,
                        unit="values",
                    )
                    for number, array in enumerate(("values", "columns"))
                    if store != "random_access"  # nothing to decode
                ),
            ]
        yield Case("limits", who, tuple(machine))


def sparse(setup: Setup) -> Cases:
    """Compare sparse stores over chunk sizes, each loader with its defaults, with all of obs."""
    for chunk_size in setup.chunk_sizes:
        contenders, baseline = _peer_of(setup, chunk_size)
        for store in setup.stores.sparse:
            limit = setup.limit(store, chunk_size)
            matrix = f"{OURS}, {store} store, X only"
            contenders += [
                limit,
                setup.sparse("this_package", f"{OURS}, {store} store", store, chunk_size, limit=limit.name),
                setup.sparse("this_package", matrix, store, chunk_size, limit=limit.name, obs=False),
            ]
        if setup.has_scverse and "portable" in setup.stores.sparse:
            name = f"{PEER}, portable store"
            contenders.append(setup.sparse("scverse_annbatch", name, "portable", chunk_size))
        yield Case("sparse", f"chunks of {chunk_size}", tuple(contenders), baseline)


def batches(setup: Setup) -> Cases:
    """Compare large and small batches, with and without columns of obs."""
    chunk_size, two = _middle(setup), setup.stores.obs_columns()
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("no obs", {"obs": False}),
        ("two columns", {"obs_columns": two}),
        ("all obs", {}),
    ]
    for batch_size in (setup.batch_size, 128):
        contenders, baseline = [], None
        if setup.has_scverse and SCVERSE in setup.stores.sparse:
            baseline = f"{PEER}, two columns"
            contenders = [
                setup.sparse("scverse_annbatch", f"{PEER}, {kind}", SCVERSE, chunk_size, batch_size=batch_size, **more)
                for kind, more in kinds[:2]
            ]
        contenders += [
            setup.sparse("this_package", f"{OURS}, {kind}", setup.usual, chunk_size, batch_size=batch_size, **more)
            for kind, more in kinds
        ]
        arrays = {"obs_columns": two, "obs_as": "arrays"}
        name = f"{OURS}, two columns as arrays"
        contenders.append(setup.sparse("this_package", name, setup.usual, chunk_size, batch_size=batch_size, **arrays))
        yield Case("batches", f"batches of {batch_size}", tuple(contenders), baseline)


def small_batches(setup: Setup) -> Cases:
    """Compare large batches with small ones: two columns of obs, this package alone."""
    two = {"obs_columns": setup.stores.obs_columns()}
    contenders = tuple(
        setup.sparse("this_package", f"batches of {n}", setup.usual, _middle(setup), batch_size=n, **two)
        for n in (setup.batch_size, 128)
    )
    yield Case("small batches", "two columns of obs", contenders, contenders[0].name)


def dense(setup: Setup) -> Cases:
    """Compare dense rows: images, genotypes, embeddings, in batches of 256."""
    for kind, paths in setup.stores.dense.items():
        for chunk_size in (64, 16):
            contenders = []
            for store, path in paths.items():
                task, size = setup.dense(kind, path, chunk_size)
                limit = Contender(f"limit, {store} store", "limits", task, **size)
                ours = Contender(f"{OURS}, {store} store", "this_package", task, limit=limit.name, **size)
                contenders += [limit, ours]
                if setup.has_scverse and store == SCVERSE:
                    contenders.append(Contender(_scverse(SCVERSE), "scverse_annbatch", task, **size))
            baseline = _scverse(SCVERSE) if setup.has_scverse else None
            yield Case("dense", f"{kind}, chunks of {chunk_size}", tuple(contenders), baseline)


def panel(setup: Setup) -> Cases:
    """Compare a gene panel with the whole matrix."""
    if "var_names" not in inspect.signature(Loader).parameters:
        return
    whole = setup.sparse("this_package", "all genes", setup.usual, _middle(setup), obs=False)
    some = setup.sparse("this_package", "1,000 genes", setup.usual, _middle(setup), obs=False, panel=PANEL_GENES)
    yield Case("panel", "gene panel", (whole, some), whole.name)


def take(setup: Setup) -> Cases:
    """Compare windows of rows that ``Loader.take`` reads with those that an iteration reads ahead."""
    for chunk_size in dict.fromkeys((_middle(setup), setup.chunk_sizes[-1])):
        contenders = tuple(
            setup.sparse("this_package", f"{how}, {store} store", store, chunk_size, obs=False, take=how == "taken")
            for store in _layouts(setup)
            for how in ("iterated", "taken")
        )
        yield Case("take", f"windows of chunks of {chunk_size}", contenders, contenders[0].name)


def tokens(setup: Setup) -> Cases:
    """Compare tokens with the plain batches of the same rows that they are made of."""
    rows = setup.sparse("this_package", "plain batches", setup.usual, _middle(setup), obs=False)
    encoded = [
        setup.sparse("this_package", name, setup.usual, _middle(setup), encoder=encoder, limit=rows.name)
        for encoder, name in (("ranks", "Geneformer's ranks, 2,048"), ("bins", "scGPT's bins, 1,200"))
    ]
    if "slaf_tokens" in setup.peers and setup.stores.h5ad:
        file = setup.stores.h5ad[0]
        n_rows = min(rows_of(file), 2 * setup.window)  # it makes tokens of thousands of rows before it yields the first
        encoded += [
            Contender(
                f"SLAF, {name}",
                "slaf_tokens",
                {"h5ad": [str(file)], "tokenizer": tokenizer, "max_len": max_len},
                least=n_rows,
                most=n_rows,
            )
            for tokenizer, name, max_len in (("geneformer", "ranks", 2_048), ("scgpt", "bins", 1_200))
        ]
    yield Case("tokens", "of all genes", (rows, *encoded), rows.name)


def threads(setup: Setup) -> Cases:
    """Compare loaders on one core."""
    if not hasattr(os, "sched_setaffinity"):
        return
    for chunk_size in dict.fromkeys((setup.chunk_sizes[0], _middle(setup), setup.chunk_sizes[-1])):
        contenders, baseline = _peer_of(setup, chunk_size, threads=1)
        for store in _layouts(setup):
            limit = setup.limit(store, chunk_size, threads=1)
            name = f"{OURS}, {store} store"
            contenders += [
                limit,
                setup.sparse("this_package", name, store, chunk_size, limit=limit.name, threads=1),
            ]
        yield Case("one core", f"chunks of {chunk_size}", tuple(contenders), baseline)


def cold(setup: Setup) -> Cases:
    """Compare loaders whose files are not in the page cache with what the disk gives."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.sync()  # unwritten pages cannot be dropped
    yield from cold_cases(setup)


def training(setup: Setup) -> Cases:
    """Compare a loop that trains while the next window is read with one that loads and trains in turn.

    A step sleeps for as long as loading a batch takes, like a host whose GPU is at work.
    """
    rows = TRAINING_WINDOWS * setup.window
    more: dict[str, Any] = {"replacement": True, "obs": False}

    def contender(name: str, **task: Any) -> Contender:
        made = setup.sparse("this_package", name, setup.usual, _middle(setup), **more, **task)
        return Contender(name, made.worker, made.task, least=rows, most=rows)

    loaded = yield Case("training", "loading alone", (contender("nothing read ahead", prefetch=0),))
    rate = loaded["contenders"][0].get("per_second")
    if rate is None:
        return
    step = {"step_seconds": setup.batch_size / rate}
    turns = contender("in turn (prefetch=0)", prefetch=0, **step)
    yield Case("training", "a step as long as a load", (turns, contender("overlapped", **step)), turns.name)


def others(setup: Setup) -> Cases:
    """Compare with loaders of other formats: random single rows, and blocks of 16."""
    h5ad = [str(path) for path in setup.stores.h5ad]
    ours = {
        chunk_size: [
            setup.sparse("this_package", f"{OURS}, {store} store", store, chunk_size, obs=False)
            for store in _layouts(setup)
        ]
        for chunk_size in (1, 16)
    }
    rows = min(setup.window, setup.n_obs)
    if "bionemo_scdl" in setup.peers and setup.stores.scdl is not None:
        task = {"kind": "sparse", "store": str(setup.stores.scdl), "batch_size": setup.batch_size}
        scdl = Contender("BioNeMo SCDL", "bionemo_scdl", task, least=rows, most=rows)
        yield Case("others", "single rows, BioNeMo SCDL", (scdl, *ours[1]), scdl.name)
    if "anndata_annloader" in setup.peers and h5ad:
        few = min(1_024, rows)
        task = {"kind": "sparse", "h5ad": h5ad, "batch_size": few}
        annloader = Contender("AnnLoader, h5ad files", "anndata_annloader", task, least=few, most=few)
        yield Case("others", "single rows, AnnLoader", (annloader, *ours[1]), annloader.name)
    if "scdataset_blocks" in setup.peers and h5ad:
        task = {"kind": "sparse", "h5ad": h5ad, "batch_size": 64, "window": setup.window, "chunk_size": 16}
        blocks = Contender("scDataset, h5ad files", "scdataset_blocks", task, least=rows, most=rows)
        yield Case("others", "blocks of 16 rows, scDataset", (blocks, *ours[16]), blocks.name)


def conversion(setup: Setup) -> Cases:
    """Compare conversions of h5ad files."""
    h5ad = setup.stores.h5ad
    yield from conversion_cases(h5ad, compress(h5ad, setup.folder), setup.folder, has_scverse=setup.has_scverse)


def memory(setup: Setup) -> Cases:
    """Compare batches of cells in memory."""
    h5ad = setup.stores.h5ad
    yield from memory_cases(h5ad, rows_of(h5ad[0]), window=setup.window, batch_size=setup.batch_size)


def h5ad(setup: Setup) -> Cases:
    """Compare readings of h5ad files."""
    files, more = setup.stores.h5ad, {"window": setup.window, "batch_size": setup.batch_size}
    yield from h5ad_cases(files, compress(files[:1], setup.folder), rows_of(files[0]), **more)


def foreign(setup: Setup) -> Cases:
    """Compare readings of a store that anndata wrote."""
    files, more = setup.stores.h5ad, {"window": setup.window, "batch_size": setup.batch_size}
    yield from zarr_cases(files, setup.folder, rows_of(files[0]), has_scverse=setup.has_scverse, **more)


def sets(setup: Setup) -> Cases:
    """Compare matched sets with plain batches."""
    shuffled = setup.stores.sparse.get("random_access", setup.stores.sparse[setup.usual])
    if not (h5ad := setup.stores.h5ad):
        return
    yield from set_cases(h5ad, shuffled, setup.folder, setup.n_obs, window=setup.window, peers=setup.peers)


SECTIONS: dict[str, Callable[[Setup], Cases]] = {
    "limits": limits,
    "sparse": sparse,
    "batches": batches,
    "small": small_batches,
    "dense": dense,
    "panel": panel,
    "take": take,
    "sets": sets,
    "tokens": tokens,
    "threads": threads,
    "cold": cold,
    "training": training,
    "others": others,
    CONVERSION: conversion,
    "memory": memory,
    "h5ad": h5ad,
    "foreign": foreign,
}


def _threads() -> tuple[int | None, ...]:
    return (1, None) if hasattr(os, "sched_setaffinity") else (None,)


def _layouts(setup: Setup) -> list[str]:
    """Return the layouts for which there is a store."""
    return [name for name in LAYOUTS if name in setup.stores.sparse]


def _middle(setup: Setup) -> int:
    return 64 if 64 in setup.chunk_sizes else setup.chunk_sizes[len(setup.chunk_sizes) // 2]


def _scverse(store: str) -> str:
    return f"{PEER}, {store} store"


def _peer_of(setup: Setup, chunk_size: int, **more: Any) -> tuple[list[Contender], str | None]:
    """Return scverse annbatch with its defaults on the store that it wrote, and its name, if available."""
    if not setup.has_scverse or SCVERSE not in setup.stores.sparse:
        return [], None
    name = _scverse(SCVERSE)
    return [setup.sparse("scverse_annbatch", name, SCVERSE, chunk_size, **more)], name
