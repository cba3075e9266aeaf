"""Run scvi-tools' own tests of its data module, and those of ``tests/contract``: ``python -m tests.scvi_tools``.

scvi-tools is installed in a temporary environment on top of this one, which needs pip, PyTorch, Lightning and the extra
``test``; its tests come from its source distribution. Further arguments are pytest's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from importlib.metadata import distributions
from pathlib import Path

RELEASE = "1.5.1"
"""It asks for Python 3.12 or later, and runs on 3.11, too."""

NOT_OURS = "test_annbatch_setup_scvi"
"""Builds a collection again while a loader reads it, and goes on reading, which is an error here."""

QUICK = "test_annbatch_ and not with_covariates and not memory_contract and not downstream_tasks or two_epochs"
"""Leaves out ``test_annbatch`` and three more, which take longer than all others together, and the tutorial."""

ROOT = Path(__file__).parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scvi_tools", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the longest")
    arguments, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        python = _environment(Path(folder) / "venv")
        source = _source(python, Path(folder))
        _pip(python, "install", "--no-deps", "--ignore-requires-python", str(source))
        (scvi,) = distributions(name="scvi-tools", path=[_packages(python)])
        needed = [one for one in scvi.requires or () if "extra ==" not in one]
        _pip(python, "install", "-c", str(ROOT / "constraints.txt"), "anndata[lazy]", *needed)
        options = ["-q", *(["-k", QUICK] if arguments.quick else ()), *others]
        theirs = "tests/dataloaders/test_annbatch.py"
        how = ["--custom-dataloader-tests", "-o", "addopts=--import-mode=importlib", "-W", "ignore"]
        failed = _pytest(python, source, theirs, f"--deselect={theirs}::{NOT_OURS}", *how, *options)
        return _pytest(python, ROOT, "tests/contract/test_scvi_tools.py", *options) or failed


def _environment(folder: Path) -> Path:
    """Make an environment that has the packages of this one, too, and so its pip; return its interpreter."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    below = sysconfig.get_path("purelib")
    Path(_packages(python), "below.pth").write_text(f"import site; site.addsitedir({below!r})\n")
    return python


def _packages(python: Path) -> str:
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


def _source(python: Path, folder: Path) -> Path:
    """Download the source of scvi-tools; return its folder."""
    options = ("--no-deps", "--no-binary", "scvi-tools", "--ignore-requires-python", "--dest", str(folder))
    _pip(python, "download", *options, f"scvi-tools=={RELEASE}")
    (archive,) = folder.glob("scvi*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def _pip(python: Path, *arguments: str) -> None:
    subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def _pytest(python: Path, folder: Path, *arguments: str) -> int:
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
