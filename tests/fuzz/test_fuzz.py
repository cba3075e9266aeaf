"""A thousand mutations; ``python -m tests.fuzz`` runs any number."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .run import MEMORY, fuzz

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="annbatch-fuzz-", dir=MEMORY))
    yield made
    shutil.rmtree(made)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_damaged_is_read_right_or_raises_an_error_that_names_it(folder):
    result = fuzz(folder, range(1000), seed=0, jobs=1)

    assert not result.failures, str(result)
    assert sum(result.outcomes.values()) == 1000
    assert result.outcomes["right"] > 100
    assert result.outcomes["error"] > 100
