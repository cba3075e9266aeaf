"""A thousand mutations, of which the gate tries the same ones for the same code, and so fewer.

``python -m tests.fuzz`` runs any number.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .run import MEMORY, fuzz

if TYPE_CHECKING:
    from collections.abc import Iterator


N = 400 if os.environ.get("CI") == "true" else 1000


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="annbatch-fuzz-", dir=MEMORY))
    yield made
    shutil.rmtree(made)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_damaged_is_read_right_or_raises_an_error_that_names_it(folder):
    result = fuzz(folder, range(N), seed=0, jobs=1)

    assert not result.failures, str(result)
    assert sum(result.outcomes.values()) == N
    assert result.outcomes["right"] > N / 10
    assert result.outcomes["error"] > N / 10
