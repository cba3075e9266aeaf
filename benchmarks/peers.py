"""Other loaders of the same cells, each in a separate environment: ``python -m benchmarks.peers FOLDER [NAME ...]``.

Makes one virtual environment per peer in FOLDER; ``python -m benchmarks --peers FOLDER`` finds them there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Peer:
    """Another loader.

    Attributes
    ----------
    name
        Name in tables.
    worker
        File in ``workers/``, without suffix.
    distribution
        Name of the distribution on PyPI.
    requirements
        Requirements for pip.
    probe
        Python expression: whether an environment has it.
    """

    name: str
    worker: str
    distribution: str
    requirements: tuple[str, ...]
    probe: str


PEERS = (
    Peer(
        "scverse annbatch",
        "scverse_annbatch",
        "annbatch",
        ("annbatch>=0.3,<0.4", "zarrs"),
        # It has our import name, but only it has this module.
        "__import__('importlib.util').util.find_spec('annbatch.io') is not None",
    ),
    Peer(
        "scDataset",
        "scdataset_blocks",
        "scdataset",
        ("scdataset", "anndata>=0.12"),
        "__import__('importlib.util').util.find_spec('scdataset') is not None",
    ),
    Peer(
        "BioNeMo SCDL",
        "bionemo_scdl",
        "bionemo-scdl",
        ("bionemo-scdl",),
        "__import__('importlib.util').util.find_spec('bionemo.scdl') is not None",
    ),
    Peer(
        "cell-load",
        "cell_load_sets",
        "cell-load",
        ("cell-load>=0.10,<0.11", "torch"),
        "__import__('importlib.util').util.find_spec('cell_load') is not None",
    ),
    Peer(
        "SLAF",
        "slaf_tokens",
        "slafdb",
        ("slafdb>=0.5,<0.6", "torch", "psutil"),
        "__import__('importlib.util').util.find_spec('slaf') is not None",
    ),
    Peer(
        "AnnLoader",
        "anndata_annloader",
        "anndata",
        ("anndata>=0.12", "torch"),
        "hasattr(__import__('anndata.experimental').experimental, 'AnnLoader')"
        " and __import__('importlib.util').util.find_spec('torch') is not None",
    ),
)


def find_peers(folders: Iterable[Path]) -> dict[str, str]:
    """Find installed peers.

    Parameters
    ----------
    folders
        Virtual environments, or folders of them.

    Returns
    -------
    dict
        Interpreter for each worker that can run, from the first environment that has it.
    """
    found: dict[str, str] = {}
    for folder in folders:
        pythons = [folder / "bin" / "python", *sorted(folder.glob("*/bin/python"))]
        for python in pythons:
            for peer in PEERS:
                if python.exists() and peer.worker not in found and _has(python, peer):
                    found[peer.worker] = str(python)
    return found


def peer_versions(found: dict[str, str]) -> dict[str, str]:
    """Return the versions of the peers found, by their names in tables."""
    versions = {}
    for peer in PEERS:
        if peer.worker in found:
            ask = f"import importlib.metadata as m; print(m.version({peer.distribution!r}))"
            command = [found[peer.worker], "-I", "-c", ask]
            versions[peer.name] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return versions


def _has(python: Path, peer: Peer) -> bool:
    probe = f"raise SystemExit(not ({peer.probe}))"
    return subprocess.run([python, "-I", "-W", "ignore", "-c", probe], capture_output=True, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "names", nargs="*", choices=[peer.worker for peer in PEERS], help="default: all", metavar="NAME"
    )
    arguments = parser.parse_args()
    failed = []
    for peer in PEERS:
        if arguments.names and peer.worker not in arguments.names:
            continue
        environment = arguments.folder / peer.worker
        print(f"{peer.name}: {environment}", flush=True)
        venv.create(environment, with_pip=True, symlinks=True)
        install = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", *peer.requirements]
        if subprocess.run(install, check=False).returncode:
            failed.append(peer.name)
    if failed:
        print(f"not installed: {', '.join(failed)}; the others are ready.", file=sys.stderr)


if __name__ == "__main__":
    main()
