"""The arguments of the commands, and their help."""

from __future__ import annotations

import argparse
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ._arguments import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


class _Parser(argparse.ArgumentParser):
    """A parser whose errors ask what a misspelt command, flag or choice may mean."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_known_args(_with_commas(sys.argv[1:] if args is None else args), namespace)

    def error(self, message: str) -> NoReturn:
        known: list[str] = []
        if found := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            known = re.findall(r"[\w-]+", found[2])
        elif found := re.search(r"unrecognized arguments: (--[\w-]+)", message):
            known = [flag for parser in self._parsers() for flag in parser._option_string_actions]
        mean = did_you_mean([found[1]], known) if found else ""
        super().error(message + (f"{mean}?" if mean else ""))

    def _parsers(self) -> Iterator[argparse.ArgumentParser]:
        yield self
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from action.choices.values()


def _with_commas(arguments: Sequence[str]) -> list[str]:
    """Return arguments in which the numbers after ``--chunk-size`` are one, so that the store may follow them.

    >>> _with_commas(["bench", "--chunk-size", "64", "16", "cells.zarr"])
    ['bench', '--chunk-size', '64,16', 'cells.zarr']
    """
    joined: list[str] = []
    for argument in arguments:
        follows = len(joined) > 1 and joined[-2] == "--chunk-size" and re.fullmatch(r"\d[\d,]*", joined[-1])
        if follows and argument.isdecimal():
            joined[-1] += f",{argument}"
        else:
            joined.append(argument)
    return joined


def make_parser(run: Mapping[str, Callable[[argparse.Namespace], None]]) -> argparse.ArgumentParser:
    """Return the parser; ``run`` has the function of each command."""
    parser = _Parser(prog="annbatch", description="Minibatches from AnnData stores too large for memory.")
    parser.add_argument("--version", action="version", version=f"annbatch {version('annbatch')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    parser.set_defaults(run=lambda _: parser.print_help())

    demo = commands.add_parser("demo", help="train a classifier on h5ad files, step by step")
    demo.set_defaults(run=run["demo"])
    demo.add_argument("h5ad", nargs="*", type=Path, metavar="H5AD", help="your files (default: a small made-up atlas)")
    demo.add_argument(
        "--label", metavar="COLUMN", help="column of obs to predict (default: the one with the most categories)"
    )
    demo.add_argument("--framework", metavar="NAME", help="numpy, torch or jax (default: whichever is installed)")
    demo.add_argument("--out", type=Path, metavar="DIR", help="keep the files here (default: remove them)")

    convert = commands.add_parser("convert", help="make one shuffled collection of h5ad files and zarr stores")
    convert.set_defaults(run=run["convert"])
    convert.add_argument("inputs", nargs="+", type=_place, metavar="IN", help="h5ad file, zarr store, or URL of one")
    convert.add_argument("out", type=_place, metavar="OUT.zarr", help="the collection, or its URL")
    existing = convert.add_mutually_exclusive_group()
    existing.add_argument("--append", action="store_true", help="add to the collection that is there")
    existing.add_argument(
        "--overwrite", action="store_true", help="replace the collection that is there, once the new one is complete"
    )
    convert.add_argument("--dry-run", action="store_true", help="examine the inputs and tell what would be written")
    convert.add_argument("--raw", choices=["use", "keep", "drop"], help="raw in place of X, beside it, or left out")
    convert.add_argument("--layer", metavar="NAME", help="layer to convert in place of X")
    convert.add_argument(
        "--var-names",
        choices=["error", "unique"],
        default="error",
        help="for names of variables that repeat within an input: an error where names must be matched, or number them",
    )
    convert.add_argument(
        "--genes", type=Path, metavar="FILE", help="variables to keep, one name per line, in this order"
    )
    convert.add_argument(
        "--obs-columns", type=_names, metavar="A,B", help="columns of obs to keep, separated by commas (default: all)"
    )
    convert.add_argument(
        "--obsp", type=_names, default=(), metavar="A,B", help="pairwise matrices to keep, separated by commas"
    )
    convert.add_argument("--groupby", type=_names, metavar="A,B", help="columns of obs by which rows are sorted")
    convert.add_argument(
        "--if-present",
        choices=["error", "skip", "add"],
        default="error",
        help="for inputs that the collection has already: an error, leave them out, or add their rows once more",
    )
    convert.add_argument(
        "--min-overlap",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="share of variables that inputs must have in common, of those of the smaller one (default: %(default)s)",
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
    attach.set_defaults(run=run["attach"])
    attach.add_argument("out", type=Path, metavar="OUT", help="the collection: a folder, which names the stores")
    attach.add_argument("inputs", nargs="+", type=_place, metavar="IN", help="h5ad file, zarr store, or URL of one")

    info = commands.add_parser("info", help="show what a store holds and how it is read")
    info.set_defaults(run=run["info"])
    info.add_argument("store", type=_place, metavar="STORE", help="a collection, h5ad file or zarr store, or a URL")

    verify = commands.add_parser("verify", help="read everything and compare it with the checksums")
    verify.set_defaults(run=run["verify"])
    verify.add_argument("store", type=_place, metavar="STORE", help="the collection, or its URL")

    export = commands.add_parser("export", help="write a dataset to an h5ad file, in the dtypes of the inputs")
    export.set_defaults(run=run["export"])
    export.add_argument("store", type=_place, metavar="STORE", help="the collection, or its URL")
    export.add_argument("out", type=Path, metavar="OUT.h5ad", help="the file, which must not exist yet")
    export.add_argument("--dataset", type=int, default=0, metavar="N", help="number of the dataset (default: 0)")

    bench = commands.add_parser("bench", help="measure how fast this machine reads a collection")
    bench.set_defaults(run=run["bench"])
    bench.add_argument("store", type=_place, metavar="STORE", help="the collection, or its URL")
    bench.add_argument(
        "--chunk-size",
        type=_several,
        default=[512, 64, 16, 1],
        metavar="N,N",
        help="contiguous rows read at once, separated by commas or spaces (default: 512,64,16,1)",
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
    warmup.set_defaults(run=run["warmup"])
    warmup.add_argument("--to", metavar="NAME", help="also for torch, jax, cupy")
    return parser


def _place(text: str) -> Path | str:
    """Return a path, or a URL unchanged."""
    return text if "://" in text else Path(text)


def _names(text: str) -> list[str]:
    return text.split(",")


def _several(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be positive, got {number}")
    return number
