"""A thousand mutations, of which the gate tries the same ones for the same code, and so fewer.

``python -m tests.fuzz`` runs any number.
"""

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
def test_what_is_damaged_is_read_right_or_raises_an_error_that_names_it(folder, in_gate):
    n = 400 if in_gate else 1000
    result = fuzz(folder, range(n), seed=0, jobs=1)

    assert not result.failures, str(result)
    assert sum(result.outcomes.values()) == n
    assert result.outcomes["right"] > n / 10
    assert result.outcomes["error"] > n / 10
