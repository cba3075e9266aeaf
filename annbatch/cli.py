"""The command line: ``annbatch demo``, ``convert``, ``attach``, ``info``, ``verify``, ``export`` and ``bench``."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import AnnbatchError, CorruptDataError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .collection import DatasetCollection

INTERRUPTED, NOBODY_READS = 130, 141  # as shells report a program that SIGINT or SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        Its arguments; None: those of the process.

    Returns
    -------
    int
        Exit status: 0; 1 after an error, of which one line was written to standard error; 130 after Ctrl-C;
        141 where nobody reads the output.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("annbatch: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Without this the interpreter would write the buffered output again at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except (AnnbatchError, OSError, ValueError, KeyError) as exc:
        said = str(exc.args[0] if isinstance(exc, KeyError) else exc)  # which quotes its message
        print(f"annbatch: error: {' '.join(said.split())}", file=sys.stderr)
        return 1
    return 0


def _demo(arguments: argparse.Namespace) -> None:
    from .demo import run

    run(arguments.h5ad, label=arguments.label, out=arguments.out, framework=arguments.framework)


def _convert(arguments: argparse.Namespace) -> None:
    import numpy as np

    from ._remote.open import open_group, size_of
    from ._remote.urls import without_secrets
    from ._sizes import format_bytes
    from .collection import DatasetCollection

    inputs = arguments.inputs
    for path in inputs:
        if isinstance(path, Path) and not path.exists():
            raise FileNotFoundError(f"{path}: no such file.")
    count = f"{len(inputs)} {'input' if len(inputs) == 1 else 'inputs'}"
    print(f"Converting {count} into {without_secrets(arguments.out)} ...")
    collection = DatasetCollection(arguments.out)
    # A seed that is not given is drawn by the call itself, so that one that was killed is known when it is made again.
    rng = None if arguments.seed is None else np.random.default_rng(arguments.seed)
    try:
        collection.add_adatas(
            [path if isinstance(path, Path) else open_group(path) for path in inputs],
            shuffle=arguments.shuffle,
            layout=arguments.layout,
            memory_limit=arguments.memory_limit,
            rng=rng,
            if_present=arguments.if_present,
        )
    except TypeError as exc:  # columns that hold text in one input and numbers in another
        raise StoreError(str(exc)) from exc
    _describe(collection)
    sizes = [size_of(place) for place in (*inputs, arguments.out)]
    if None not in sizes:
        *before, after = (size or 0 for size in sizes)
        print(f"  {format_bytes(sum(before))} before, {format_bytes(after)} now")


def _attach(arguments: argparse.Namespace) -> None:
    from .collection import DatasetCollection

    collection = DatasetCollection(arguments.out).attach(arguments.inputs)
    print(f"{arguments.out}: refers to {len(collection)} stores, which are read where they are")
    _describe(collection)


def _info(arguments: argparse.Namespace) -> None:
    from ._anndata.frames import stored_frame
    from ._remote.open import size_of
    from ._remote.urls import without_secrets
    from ._sizes import format_bytes
    from .collection import DatasetCollection

    collection: DatasetCollection | None = None
    group: Any = None
    try:
        collection = DatasetCollection(arguments.store, mode="r")
    except StoreError:
        group = _open_anndata(arguments.store)
        if group is None:
            raise
    size = size_of(arguments.store)
    on_disk = "of unknown size" if size is None else f"{format_bytes(size)} on disk"
    print(f"{without_secrets(arguments.store)}: {on_disk}")
    if collection is not None:
        _describe(collection)
    else:
        n_obs, n_vars = (stored_frame(group[axis]).n_rows for axis in ("obs", "var"))
        print(f"  {n_obs:,} rows x {n_vars:,} variables; an AnnData, not a collection")
        _describe_dataset(group)


def _open_anndata(place: Path | str) -> Any:
    """Open an h5ad file, or a zarr store of an AnnData; return None if it is neither."""
    import h5py
    import zarr

    from ._format.attributes import refuse_unfinished
    from ._remote.open import open_group

    try:
        if isinstance(place, Path):
            group = h5py.File(place, "r") if place.is_file() else zarr.open_group(place, mode="r")
        else:
            group = open_group(place)
    except OSError:
        return None
    refuse_unfinished(group)
    return group if "obs" in group and "var" in group else None


def _verify(arguments: argparse.Namespace) -> None:
    from ._remote.urls import without_secrets
    from .collection import DatasetCollection

    print(f"Reading {without_secrets(arguments.store)} ...")
    # Not "r": a collection may be too damaged to open.
    report = DatasetCollection(arguments.store).verify(progress=True)
    print(report)
    if not report.ok:
        more = len(report.problems) - 1
        raise CorruptDataError(
            f"{without_secrets(arguments.store)} is damaged: {report.problems[0]}"
            + (f" (and {more} more)" if more else "")
        )


def _export(arguments: argparse.Namespace) -> None:
    from .collection import DatasetCollection

    if arguments.out.exists():
        raise StoreError(f"{arguments.out} exists already: remove it, or choose another name.")
    adata = DatasetCollection(arguments.store, mode="r").to_adata(arguments.dataset)
    fresh = arguments.out.with_name(f".{arguments.out.name}.new")  # a command that is killed leaves no half file
    fresh.unlink(missing_ok=True)
    try:
        adata.write_h5ad(fresh)
        fresh.rename(arguments.out)
    finally:
        fresh.unlink(missing_ok=True)
    print(f"{arguments.out}: {adata.n_obs:,} rows x {adata.n_vars:,} variables")


def _bench(arguments: argparse.Namespace) -> None:
    from ._remote.urls import without_secrets
    from ._sizes import format_bytes
    from .collection import DatasetCollection
    from .tuning._bench import measure, verdict

    collection, measured = DatasetCollection(arguments.store, mode="r"), []
    print(f"Reading {without_secrets(arguments.store)}: {collection.n_obs:,} rows x {collection.n_vars:,} variables")
    print(
        f"{'chunk_size':>10} {'preload_nchunks':>15} {'batch_size':>10} {'rows/s':>12} {'waiting':>8} {'buffers':>9}"
        + (f" {'entropy':>8} {'chunks':>7}" if arguments.diversity else "")
    )
    rates = measure(
        collection,
        chunk_sizes=arguments.chunk_size,
        batch_size=arguments.batch_size,
        window=arguments.window,
        seconds=arguments.seconds,
        to=arguments.to,
        column=arguments.diversity,
        join=arguments.join,
    )
    for rate in rates:
        speed, diverse = rate.speed, rate.diversity
        measured.append(rate)
        print(
            f"{rate.chunk_size:>10} {rate.preload_nchunks:>15} {rate.batch_size:>10} {speed:>12,.0f} "
            f"{rate.wait_seconds / rate.seconds:>8.0%} {format_bytes(rate.peak_buffer_bytes):>9}"
            + (f" {diverse.share_of_entropy:>8.1%} {diverse.share_of_source_chunks:>7.1%}" if diverse else ""),
            flush=True,
        )
    print(verdict(measured, arguments.to))


def _describe(collection: DatasetCollection) -> None:
    from ._anndata.frames import stored_frame
    from ._format.attributes import where
    from .tuning._diversity import NOT_SHUFFLED

    datasets = f"{len(collection)} {'dataset' if len(collection) == 1 else 'datasets'}"
    print(f"  {collection.n_obs:,} rows x {collection.n_vars:,} variables in {datasets}")
    if not collection.is_attached:
        _describe_dataset(next(iter(collection)))
        return
    print(f"  {NOT_SHUFFLED}: `annbatch bench --diversity COLUMN` measures what that costs;")
    print("  small chunks of rows mix better, and `annbatch convert` makes a shuffled copy")
    for group in collection:
        print(f"  {where(group)}: {stored_frame(group['obs']).n_rows:,} rows")
        _describe_dataset(group)


def _describe_dataset(group: Any) -> None:
    from .tuning._reading import describe_elements

    for line in describe_elements(group):
        print(f"  {line}")
    print(f"  obs: {', '.join(group['obs'].attrs['column-order']) or 'no columns'}")


def _warmup(arguments: argparse.Namespace) -> None:
    from .tuning import warmup

    print("Compiling what the usual data need ...")
    done = warmup(to=arguments.to)
    print(f"  done in {done.seconds:.0f} s; kept in {done.cache}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="annbatch", description="Minibatches from AnnData stores too large for memory."
    )
    parser.add_argument("--version", action="version", version=f"annbatch {version('annbatch')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="train a classifier on h5ad files, step by step")
    demo.set_defaults(run=_demo)
    demo.add_argument("h5ad", nargs="*", type=Path, metavar="H5AD", help="your files (default: a small made-up atlas)")
    demo.add_argument(
        "--label", metavar="COLUMN", help="column of obs to predict (default: the one with the most categories)"
    )
    demo.add_argument("--framework", metavar="NAME", help="numpy, torch or jax (default: whichever is installed)")
    demo.add_argument("--out", type=Path, metavar="DIR", help="keep the files here (default: remove them)")

    convert = commands.add_parser("convert", help="make one shuffled collection of h5ad files and zarr stores")
    convert.set_defaults(run=_convert)
    convert.add_argument("inputs", nargs="+", type=_place, metavar="IN", help="h5ad file, zarr store, or URL of one")
    convert.add_argument(
        "out", type=_place, metavar="OUT.zarr", help="the collection, or its URL; an existing one is extended"
    )
    convert.add_argument(
        "--if-present",
        choices=["error", "skip", "add"],
        default="error",
        help="for inputs that the collection has already: an error, leave them out, or add their rows once more",
    )
    convert.add_argument("--no-shuffle", dest="shuffle", action="store_false", help="keep the order of the rows")
    convert.add_argument("--seed", type=int, metavar="INT", help="the same seed gives the same order")
    convert.add_argument(
        "--layout",
        choices=["compact", "portable", "random_access"],
        default="compact",
        help="smallest, or small in blocks that other readers decode fastest, or uncompressed for single random rows "
        "(default: %(default)s)",
    )
    convert.add_argument(
        "--memory-limit",
        default="4GB",
        metavar="SIZE",
        help="bound on the memory used, as in 500MB (default: %(default)s)",
    )

    attach = commands.add_parser("attach", help="make a collection of existing stores, without a copy and not shuffled")
    attach.set_defaults(run=_attach)
    attach.add_argument("out", type=Path, metavar="OUT", help="the collection: a folder, which names the stores")
    attach.add_argument("inputs", nargs="+", type=_place, metavar="IN", help="h5ad file, zarr store, or URL of one")

    info = commands.add_parser("info", help="show what a store holds and how it is read")
    info.set_defaults(run=_info)
    info.add_argument("store", type=_place, metavar="STORE", help="a collection, h5ad file or zarr store, or a URL")

    verify = commands.add_parser("verify", help="read everything and compare it with the checksums")
    verify.set_defaults(run=_verify)
    verify.add_argument("store", type=_place, metavar="STORE", help="the collection, or its URL")

    export = commands.add_parser("export", help="write a dataset to an h5ad file, in the dtypes of the inputs")
    export.set_defaults(run=_export)
    export.add_argument("store", type=_place, metavar="STORE", help="the collection, or its URL")
    export.add_argument("out", type=Path, metavar="OUT.h5ad", help="the file, which must not exist yet")
    export.add_argument("--dataset", type=int, default=0, metavar="N", help="number of the dataset (default: 0)")

    bench = commands.add_parser("bench", help="measure how fast this machine reads a collection")
    bench.set_defaults(run=_bench)
    bench.add_argument("store", type=_place, metavar="STORE", help="the collection, or its URL")
    bench.add_argument(
        "--chunk-size",
        nargs="+",
        type=_positive,
        default=[512, 64, 16, 1],
        metavar="N",
        help="contiguous rows read at once (default: 512 64 16 1)",
    )
    bench.add_argument(
        "--batch-size", type=_positive, default=4096, metavar="N", help="rows per batch (default: %(default)s)"
    )
    bench.add_argument(
        "--window", type=_positive, default=16384, metavar="N", help="rows in memory at once (default: %(default)s)"
    )
    bench.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="seconds to read at each size (default: %(default)s)"
    )
    bench.add_argument(
        "--diversity",
        metavar="COLUMN",
        help="also compare batches with uniform sampling: labels of this column, and chunks",
    )
    bench.add_argument(
        "--join",
        choices=["exact", "inner", "outer"],
        default="exact",
        help="variables and columns of obs that not all datasets have: an error, left out, or kept",
    )
    bench.add_argument("--to", metavar="NAME", help="torch, jax, cupy (default: SciPy and NumPy)")

    warmup = commands.add_parser("warmup", help="compile what the usual data need, so that first batches come at once")
    warmup.set_defaults(run=_warmup)
    warmup.add_argument("--to", metavar="NAME", help="also for torch, jax, cupy")
    return parser


def _place(text: str) -> Path | str:
    """Return a path, or a URL unchanged."""
    return text if "://" in text else Path(text)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be positive, got {number}")
    return number
