"""The command line: ``annbatch demo``, ``convert``, ``attach``, ``info``, ``verify``, ``export`` and ``bench``."""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._command_line import make_parser
from .errors import AnnbatchError, CorruptDataError, StoreError

if TYPE_CHECKING:
    import argparse
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
    arguments = make_parser(_COMMANDS).parse_args(argv)
    try:
        with warnings.catch_warnings():  # of the whole program: no other thread of it changes filters
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_: print(
                f"annbatch: warning: {_as_flags(str(message), arguments)}", file=sys.stderr
            )
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
        print(f"annbatch: error: {_as_flags(said, arguments)}", file=sys.stderr)
        return 1
    return 0


_FLAGS = {"adata_paths": "IN", "var_subset": "--genes", "rng": "--seed"}
"""Arguments of Python whose flags have other names."""


def _as_flags(text: str, arguments: argparse.Namespace) -> str:
    """Return a message as one line that names flags of the command instead of arguments of Python."""

    def flag(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if name not in _FLAGS and name not in vars(arguments):
            return match[0]
        value = {"True": "", None: ""}.get(value, f" {value}")
        return _FLAGS.get(name, "--" + name.replace("_", "-")) + value

    return re.sub(r"`([a-z_0-9]+)(?:='?([^'`]*)'?)?`", flag, " ".join(text.split()))


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
    collection = DatasetCollection(arguments.out)
    before = collection.n_obs
    may_exist = arguments.append or arguments.overwrite or arguments.dry_run or arguments.if_present != "error"
    if not (collection.is_empty or may_exist):
        raise StoreError(
            f"{without_secrets(arguments.out)} exists already, with {before:,} rows: --append adds to it, and "
            "--overwrite replaces it."
        )
    print(f"Converting {count} into {without_secrets(arguments.out)} ...")
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
            min_overlap=arguments.min_overlap,
            groupby=arguments.groupby,
            var_subset=None if arguments.genes is None else _lines(arguments.genes),
            raw=arguments.raw,
            layer=arguments.layer,
            var_names=arguments.var_names,
            obs_columns=arguments.obs_columns,
            obsp=arguments.obsp,
            overwrite=arguments.overwrite,
            dry_run=arguments.dry_run,
        )
    except TypeError as exc:  # columns that hold text in one input and numbers in another
        raise StoreError(str(exc)) from exc
    if arguments.dry_run:
        return
    if before and arguments.overwrite:
        print(f"Replaced {before:,} rows by {collection.n_obs:,}")
    elif before:
        print(f"Added {collection.n_obs - before:,} rows to {before:,}")
    _describe(collection)
    sizes = [size_of(place) for place in (*inputs, arguments.out)]
    if None not in sizes:
        *of_inputs, after = (size or 0 for size in sizes)
        print(f"  {format_bytes(sum(of_inputs))} before, {format_bytes(after)} now")


def _lines(path: Path) -> list[str]:
    """Return the names in a text file, one per line; blank lines do not count."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} must be a text file with one name per line: {error}.") from error
    if not any(names):
        raise StoreError(f"{path} must have one name per line, got none.")
    return [name for name in names if name]


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
        modalities = sorted(group["mod"]) if "mod" in group else []
        kind = f"a MuData of {', '.join(modalities)}" if modalities else "an AnnData"
        print(f"  {n_obs:,} rows x {n_vars:,} variables; {kind}, not a collection")
        for part in [group["mod"][name] for name in modalities] or [group]:
            if modalities:
                print(f"  {part.name.rpartition('/')[2]}:")
            _describe_dataset(part)


def _open_anndata(place: Path | str) -> Any:
    """Open an h5ad file, or a zarr store of an AnnData; return None if it is neither."""
    import h5py
    import zarr

    from ._arrays.hdf5_files import refuse_external_links
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
    refuse_external_links(group)
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


_COMMANDS = {
    "demo": _demo,
    "convert": _convert,
    "attach": _attach,
    "info": _info,
    "verify": _verify,
    "export": _export,
    "bench": _bench,
    "warmup": _warmup,
}
