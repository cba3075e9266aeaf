"""The command line: ``annbatch demo``, ``convert`` and ``info``."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import AnnbatchError

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
        # What is buffered has nowhere to go; without this the interpreter tries again at exit, and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except (AnnbatchError, OSError, ValueError) as exc:
        print(f"annbatch: error: {' '.join(str(exc).split())}", file=sys.stderr)
        return 1
    return 0


def _demo(arguments: argparse.Namespace) -> None:
    from .demo import run

    run(arguments.h5ad, label=arguments.label, out=arguments.out, framework=arguments.framework)


def _convert(arguments: argparse.Namespace) -> None:
    import numpy as np

    from ._sizes import size_on_disk, spell_bytes
    from .collection import DatasetCollection

    for path in arguments.inputs:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file.")
    print(f"Converting {len(arguments.inputs)} file{'s' * (len(arguments.inputs) > 1)} into {arguments.out} ...")
    collection = DatasetCollection(arguments.out).add_adatas(
        arguments.inputs,
        shuffle=arguments.shuffle,
        layout=arguments.layout,
        rng=np.random.default_rng(arguments.seed),
    )
    print(_shape(collection))
    before, after = sum(map(size_on_disk, arguments.inputs)), size_on_disk(arguments.out)
    print(f"{spell_bytes(before)} before, {spell_bytes(after)} as a collection ({after / before:.0%})")


def _info(arguments: argparse.Namespace) -> None:
    from ._sizes import size_on_disk, spell_bytes
    from .collection import DatasetCollection

    collection = DatasetCollection(arguments.store, mode="r")
    print(f"{arguments.store}: {spell_bytes(size_on_disk(arguments.store))} on disk")
    print(_shape(collection))


def _shape(collection: DatasetCollection) -> str:
    return f"{collection.n_obs:,} rows x {collection.n_vars:,} columns in {len(collection)} dataset(s)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="annbatch", description="Minibatches from AnnData stores too large for memory."
    )
    parser.add_argument("--version", action="version", version=f"annbatch {version('annbatch')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="h5ad files to a trained classifier, telling what happens")
    demo.set_defaults(run=_demo)
    demo.add_argument("h5ad", nargs="*", type=Path, metavar="H5AD", help="your files; none: a small atlas is made")
    demo.add_argument("--label", metavar="COLUMN", help="column of obs to learn (default: the most varied one)")
    demo.add_argument("--framework", metavar="NAME", help="numpy, torch or jax (default: whichever is installed)")
    demo.add_argument("--out", type=Path, metavar="DIR", help="keep the files here (default: remove them)")

    convert = commands.add_parser("convert", help="h5ad files and zarr stores to one shuffled collection")
    convert.set_defaults(run=_convert)
    convert.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="h5ad file or zarr store")
    convert.add_argument("out", type=Path, metavar="OUT.zarr", help="the collection; one that exists is added to")
    convert.add_argument("--no-shuffle", dest="shuffle", action="store_false", help="keep the order of the rows")
    convert.add_argument("--seed", type=int, metavar="INT", help="the same seed gives the same order")
    convert.add_argument(
        "--layout",
        choices=["compact", "random_access"],
        default="compact",
        help="small on disk, or uncompressed for single random rows (default: %(default)s)",
    )

    info = commands.add_parser("info", help="what a collection holds")
    info.set_defaults(run=_info)
    info.add_argument("store", type=Path, metavar="STORE", help="the collection")
    return parser
