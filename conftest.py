"""Runs the examples of the README, the documentation and the docstrings.

Each page, and each module, runs in a temporary folder of its own, from top to bottom. A page's folder holds the files
of the demo's atlas, in a smaller size: ``blood.h5ad``, ``gut.h5ad``, ``lung.h5ad`` and ``skin.h5ad``.
"""

from __future__ import annotations

import doctest
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

if TYPE_CHECKING:
    from collections.abc import Iterator

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Work in an empty folder for the duration of a module's examples."""
    folder, before = tmp_path_factory.mktemp("examples"), Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def atlas_folder(empty_folder: Path) -> Path:
    """Work in a folder that holds a few h5ad files for the duration of a page's examples."""
    from annbatch.demo import write_atlas

    write_atlas(empty_folder, cells_per_study=500, n_genes=200, seed=0)
    return empty_folder


pages = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=FLAGS), SkipParser()],
    patterns=["*.md"],
    fixtures=["atlas_folder"],
)
docstrings = Sybil(
    parsers=[DocTestParser(FLAGS)],
    patterns=["annbatch/*.py", "annbatch/**/*.py", "adapters/**/*.py"],
    fixtures=["empty_folder"],
)
pytest_collect_file = (pages + docstrings).pytest()
